//! The state directory and the configuration file.

use super::{Facts, Problem, problem};
use crate::limits::DISK_LOW;

/// `storage.refuses`, `disk.low`, `config.notInForce`.
pub fn find(facts: &Facts<'_>) -> Vec<Problem> {
    let mut found = vec![];
    if let Some(why) = facts.refuses {
        let fix =
            "free space on its disk, or put back what was removed; the gateway goes on by itself once it can write";
        found.push(problem("storage.refuses", facts.state_dir, format!("nothing new is accepted: {why}"), fix));
    }
    if let Some(free) = facts.free.filter(|free| *free < DISK_LOW) {
        let text = format!("{} MiB are free on the disk of the state directory {}", free >> 20, facts.state_dir);
        let fix = "free some, or move the state directory; on a full disk nothing new is accepted";
        found.push(problem("disk.low", facts.state_dir, text, fix));
    }
    if let Some(why) = facts.not_in_force {
        let text = format!("the configuration file is not in force: {why}");
        let fix =
            "correct the file; `openclaw config validate` lists what is wrong, what was in force stays so until then";
        found.push(problem("config.notInForce", facts.config_path, text, fix));
    }
    found
}
