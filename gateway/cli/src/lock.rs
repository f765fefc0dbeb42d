//! One gateway per state directory (decision D23, known-failures F22).
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // the binary's own file access, outside the storage seam

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Seek as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use crate::failure::Failure;

const FILE: &str = "gateway.lock";

/// Who has the lock, as it wrote itself down; an unlocked file may name one that was killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its line: `pid 7, port 18789, since ...`.
    line: String,
    /// The gateway's port; `None` for other commands.
    pub port: Option<u16>,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.line)
    }
}

/// Who wrote itself into the lock of `state_dir`.
pub fn holder(state_dir: &Path) -> Option<Holder> {
    let text = std::fs::read_to_string(state_dir.join(FILE)).ok()?;
    let line = text.trim().to_owned();
    let port = line.split(", ").find_map(|part| part.strip_prefix("port ")?.parse().ok()).filter(|port| *port > 0);
    (!line.is_empty()).then_some(Holder { line, port })
}

/// The lock; the operating system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct StateLock {
    path: PathBuf,
    file: File,
}

impl StateLock {
    /// Takes the lock of `state_dir` and writes down who holds it.
    ///
    /// # Errors
    /// Temporary (75), naming the holder, when another gateway has it.
    pub fn take(state_dir: &Path, port: u16) -> Result<Self, Failure> {
        loop {
            if let Some(lock) = Self::try_take(state_dir, port)? {
                return Ok(lock);
            }
        }
    }

    /// `None` when the holder ended and removed the file between opening and locking it: what was locked then is not
    /// what the next one would find.
    fn try_take(state_dir: &Path, port: u16) -> Result<Option<Self>, Failure> {
        let path = state_dir.join(FILE);
        let io = |e: std::io::Error| Failure::Runtime(format!("{}: {e}", path.display()));
        // It is emptied and written: a link would do that to another file (S38).
        let no_link = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let mut open = OpenOptions::new();
        open.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(no_link);
        let open = open.open(&path);
        let mut file = open.map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(e)) => return Err(io(e)),
            Err(TryLockError::WouldBlock) => {
                let holder = holder(state_dir).map_or_else(|| "holder unknown".to_owned(), |h| h.to_string());
                let dir = state_dir.display();
                return Err(Failure::Temporary(format!(
                    "a gateway is already running on the state directory {dir} ({holder}); stop it first, or give this \
                     one its own OPENCLAW_STATE_DIR, OPENCLAW_CONFIG_PATH and port"
                )));
            }
        }
        let found = path.metadata().and_then(|there| Ok(there.ino() == file.metadata()?.ino()));
        if !found.unwrap_or(false) {
            return Ok(None);
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(io)?;
        let since = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC");
        writeln!(file, "pid {}, port {port}, since {since}", std::process::id()).map_err(io)?;
        Ok(Some(Self { path, file }))
    }
}

impl Drop for StateLock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second one is refused and told who is first (F22).
    #[test]
    fn f22_the_second_is_refused_and_told_who_is_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateLock::take(dir.path(), 7).unwrap();
        let Err(Failure::Temporary(text)) = StateLock::take(dir.path(), 8) else { panic!("taken twice") };
        assert!(text.contains(&format!("pid {}, port 7, since 2", std::process::id())), "{text}");
        assert_eq!(holder(dir.path()).unwrap().port, Some(7));
        drop(first);
        assert!(StateLock::take(dir.path(), 8).is_ok());
        // A file that a killed process left behind holds nobody off.
        std::fs::write(dir.path().join(FILE), "pid 1, port 7").unwrap();
        assert!(StateLock::take(dir.path(), 8).is_ok());
    }
}
