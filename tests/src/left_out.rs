//! Tests that cannot work on a machine say so where it is read.

use std::{fs::File, io::Write as _};

/// A file for whoever runs them all (`.ci/run`): nobody reads what a passed test prints.
const LIST: &str = "OPENCLAW_LEFT_OUT";

/// Says that `what` was not tested, and why.
///
/// # Panics
/// When the list cannot be written.
pub fn left_out(what: &str, why: &str) {
    let line = format!("{what}: {why}\n");
    // Not captured, as printing would be.
    let _ = std::io::stderr().write_all(format!("SKIPPED {line}").as_bytes());
    if let Some(file) = std::env::var_os(LIST) {
        let open = File::options().create(true).append(true).open(file);
        open.and_then(|mut file| file.write_all(line.as_bytes())).expect("the list of what is left out");
    }
}
