//! Accounts of channels to which nothing comes (F12).

use openclaw_channels::Fault;

use super::{Facts, Problem, note, problem};
use crate::channels::AccountFacts;

/// One for each account that does not receive: `channel.*`.
pub fn find(facts: &Facts<'_>) -> Vec<Problem> {
    facts.accounts.iter().filter_map(|account| of(account, facts.receives)).collect()
}

fn of(about: &AccountFacts, receives: bool) -> Option<Problem> {
    let AccountFacts { channel, label, account, .. } = about;
    let (subject, what) = (format!("{channel}/{account}"), format!("{label} {account}"));
    let status = match &about.status {
        Ok(status) => status,
        Err(why) => {
            let fix = format!("give it what it needs in channels.{channel}, or take it out of the configuration");
            return Some(problem("channel.unusable", &subject, format!("{what} cannot start: {why}"), fix));
        }
    };
    if !status.enabled {
        return None;
    }
    if about.linked == Some(false) {
        let text = format!("{what} is not linked: nothing comes in and nothing goes out there");
        let fix = format!("link it, or switch it off: `openclaw config set channels.{channel}.enabled false`");
        return Some(problem("channel.notLinked", &subject, text, fix));
    }
    if !receives {
        let text = format!("{what} was not started: OPENCLAW_SKIP_CHANNELS is set");
        return Some(note("channel.skipped", &subject, text, "start the gateway without OPENCLAW_SKIP_CHANNELS"));
    }
    let why = status.last_error.as_deref().unwrap_or("no reason is known");
    Some(match status.fault? {
        Fault::Credentials => {
            let text = format!("{what} receives nothing any more: {why}");
            problem(
                "channel.stopped",
                &subject,
                text,
                "correct the credential; the channel begins anew with the change",
            )
        }
        Fault::Conflict => {
            let text = format!("{what} receives nothing: somebody else receives with the same credential: {why}");
            let fix = "stop the other program, or give it a credential of its own; then it goes on by itself";
            problem("channel.conflict", &subject, text, fix)
        }
        Fault::Disturbed => {
            let text = format!("{what} receives nothing at present: {why}");
            let fix = "it is tried again by itself; if it lasts, see whether this machine reaches the service: `openclaw \
                       channels status --probe`";
            problem("channel.disturbed", &subject, text, fix)
        }
        Fault::Silent => {
            let text = format!("{what} receives nothing: the service has not answered for more than a minute");
            let fix = "see whether this machine reaches the service: `openclaw channels status --probe`";
            problem("channel.silent", &subject, text, fix)
        }
    })
}
