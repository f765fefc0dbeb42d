//! `gateway hash-password`: so that the configuration need not hold the password itself.

use std::io::{IsTerminal as _, Read as _};

use openclaw_platform::os::OsEntropy;
use openclaw_server::auth::hash_password;
use serde_json::json;

use crate::{failure::Failure, output, session::Session};

/// More than any password has.
const MAX_INPUT: u64 = 64 << 10;

/// Reads one line, prints its hash.
///
/// # Errors
/// Usage: nothing, or too much, on standard input.
pub fn run(session: &Session) -> Result<(), Failure> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        output::note("Type the password and press Enter, then Ctrl-D (it is shown while you type; a pipe hides it).");
    }
    let mut text = String::new();
    let read = stdin.lock().take(MAX_INPUT).read_to_string(&mut text);
    read.map_err(|e| Failure::Usage(format!("cannot read the password from standard input: {e}")))?;
    let password = text.strip_suffix('\n').map_or(text.as_str(), |t| t.strip_suffix('\r').unwrap_or(t));
    let hash = hash_password(&OsEntropy, password).map_err(|e| Failure::Usage(e.to_string()))?;
    if session.out.json { output::json(&json!({ "hash": hash })) } else { output::line(hash) }
}
