//! What launchd keeps of the gateway's stderr: nobody else bounds it.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // the supervisor's file

use std::{fs::File, path::PathBuf};

use crate::session::Session;

/// A start that finds more empties it, bytes.
const MAX_BYTES: u64 = 4 << 20;

/// Where it lies.
pub fn path(session: &Session) -> PathBuf {
    session.paths.state_dir.join("logs/gateway.err.log")
}

/// Empties it when it has grown too large, in a gateway that launchd started. launchd appends, so that it goes on from the
/// beginning.
pub fn bound(session: &Session) {
    if session.env.get("OPENCLAW_LAUNCHD_LABEL").is_none() {
        return;
    }
    let path = path(session);
    if path.metadata().is_ok_and(|meta| meta.is_file() && meta.len() > MAX_BYTES) {
        // What cannot be emptied is only large.
        let _ = File::options().write(true).open(path).and_then(|file| file.set_len(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::session_with;

    #[test]
    fn row_159_what_launchd_keeps_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let (started, by_hand) = (
            session_with(dir.path(), false, &[("OPENCLAW_LAUNCHD_LABEL", "bot.molt.gateway")]),
            session_with(dir.path(), false, &[]),
        );
        let file = path(&started);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let size = || file.metadata().unwrap().len();
        std::fs::write(&file, "why").unwrap();
        bound(&started);
        assert_eq!(size(), 3);
        File::options().write(true).open(&file).unwrap().set_len(MAX_BYTES + 1).unwrap();
        bound(&by_hand);
        assert_eq!(size(), MAX_BYTES + 1, "not ours to empty");
        bound(&started);
        assert_eq!(size(), 0);
    }
}
