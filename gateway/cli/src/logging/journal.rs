//! systemd's journal as the console: each line says its priority (sd-daemon(3)), and the journal knows the time.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // the binary's own stdout

use std::os::fd::AsFd;

use tracing::Level;

use crate::env::Env;

/// True when stdout goes to the journal: JOURNAL_STREAM names it by device and inode, since a program started from a service
/// inherits the variable but not always the stream.
pub fn is_stdout(env: &Env) -> bool {
    env.get("JOURNAL_STREAM").is_some_and(|stream| is(stream, std::io::stdout()))
}

fn is(stream: &str, file: impl AsFd) -> bool {
    rustix::fs::fstat(file).is_ok_and(|found| stream == format!("{}:{}", found.st_dev, found.st_ino))
}

/// `<N>`, as syslog counts.
pub fn prefix(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        _ => "<7>",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_known_by_device_and_inode() {
        let file = tempfile::tempfile().unwrap();
        let found = rustix::fs::fstat(&file).unwrap();
        assert!(is(&format!("{}:{}", found.st_dev, found.st_ino), &file));
        for other in ["", "1", "0:0", &format!("{}:{}", found.st_dev, found.st_ino + 1)] {
            assert!(!is(other, &file), "{other}");
        }
    }
}
