//! One gateway per state directory (decision D23, F22).
//!
//! Two locks say so: the one on `gateway.lock`, which also names its holder, and the one on the open database itself, which
//! stays when somebody removes that file (S35).
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // the binary's own file access, outside the storage seam

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Seek as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use openclaw_server::store;

use crate::{clock, failure::Failure};

/// Its name in the state directory.
pub const FILE: &str = "gateway.lock";
/// A command that only asks whether the lock is held has it for an instant; whoever takes it tries so often,
const TRIES: usize = 5;
/// with this pause.
const PAUSE: Duration = Duration::from_millis(10);
/// Between two looks whether the lock file still stands in its place.
pub const WATCH: Duration = Duration::from_secs(5);

/// Who has the lock, as it wrote itself down; an unlocked file may name one that was killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its line: `pid 7, port 18789, since ..., sockets 5 6`.
    line: String,
    /// The gateway's process id.
    pub pid: Option<u32>,
    /// The gateway's port; `None` for other commands.
    pub port: Option<u16>,
    /// Numbers (inodes) of the sockets on which it listens; none before it does, and where the system does not tell.
    pub sockets: Vec<u64>,
}

impl Holder {
    fn parse(line: &str) -> Option<Self> {
        let field = |name: &str| line.split(", ").find_map(|part| part.strip_prefix(name));
        let sockets = field("sockets ").map(|list| list.split(' ').filter_map(|n| n.parse().ok()).collect());
        (!line.is_empty()).then(|| Self {
            line: line.to_owned(),
            pid: field("pid ").and_then(|pid| pid.parse().ok()),
            port: field("port ").and_then(|port| port.parse().ok()).filter(|port| *port > 0),
            sockets: sockets.unwrap_or_default(),
        })
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.line.split(", sockets ").next().unwrap_or(&self.line))
    }
}

/// Who wrote itself into the lock of `state_dir`.
pub fn holder(state_dir: &Path) -> Option<Holder> {
    Holder::parse(std::fs::read_to_string(state_dir.join(FILE)).ok()?.trim())
}

/// Who holds the lock of `state_dir` now: the file's word counts only while a living process has it locked.
pub fn held_by(state_dir: &Path) -> Option<Holder> {
    let file = File::open(state_dir.join(FILE)).ok()?;
    // Let go of at once when it was free.
    if !matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)) {
        return None;
    }
    Holder::parse(std::io::read_to_string(file).ok()?.trim())
}

/// Who wrote itself into a lock file that nobody holds any more: it was killed.
pub fn left_behind(state_dir: &Path) -> Option<Holder> {
    let left = holder(state_dir)?;
    held_by(state_dir).is_none().then_some(left)
}

/// The lock; the operating system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct StateLock {
    dir: PathBuf,
    path: PathBuf,
    file: File,
    line: String,
}

impl StateLock {
    /// Takes the lock of `state_dir` and writes down who holds it.
    ///
    /// # Errors
    /// Temporary (75), naming the holder, when another gateway has it, or has the database open.
    pub fn take(state_dir: &Path, port: u16) -> Result<Self, Failure> {
        let since = clock::now().strftime("%Y-%m-%d %H:%M:%S UTC");
        let line = format!("pid {}, port {port}, since {since}", std::process::id());
        let lock = Self::lock(state_dir, line)?;
        if is_open_elsewhere(&state_dir.join(store::FILE)) {
            return Err(taken(state_dir, &format!("it has {} open; its lock file was removed", store::FILE)));
        }
        Ok(lock)
    }

    fn lock(state_dir: &Path, line: String) -> Result<Self, Failure> {
        let mut tries = 1;
        loop {
            match Self::try_take(state_dir, &line)? {
                Attempt::Taken(lock) => return Ok(lock),
                Attempt::Gone => {}
                Attempt::Held if tries < TRIES => {
                    tries += 1;
                    std::thread::sleep(PAUSE);
                }
                Attempt::Held => {
                    let holder = holder(state_dir).map_or_else(|| "holder unknown".to_owned(), |h| h.to_string());
                    return Err(taken(state_dir, &holder));
                }
            }
        }
    }

    fn try_take(state_dir: &Path, line: &str) -> Result<Attempt, Failure> {
        let path = state_dir.join(FILE);
        let io = |e: std::io::Error| Failure::Runtime(format!("{}: {e}", path.display()));
        // It is emptied and written: a link would do that to another file (S38).
        let no_link = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let mut open = OpenOptions::new();
        open.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(no_link);
        let open = open.open(&path);
        let file = open.map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(e)) => return Err(io(e)),
            Err(TryLockError::WouldBlock) => return Ok(Attempt::Held),
        }
        if !stands(&path, &file) {
            return Ok(Attempt::Gone);
        }
        let mut lock = Self { dir: state_dir.to_owned(), path: path.clone(), file, line: line.to_owned() };
        lock.write().map_err(io)?;
        Ok(Attempt::Taken(lock))
    }

    fn write(&mut self) -> std::io::Result<()> {
        let text = format!("{}\n", self.line);
        // In place: on a full disk an emptied file would stay empty.
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())?;
        self.file.set_len(text.len() as u64)
    }

    /// Writes down the numbers of the sockets on which the holder listens, so that the command line can tell its port
    /// from somebody else's before it sends a credential there.
    pub fn listens(&mut self, sockets: &[u64]) {
        let numbers: Vec<String> = sockets.iter().map(u64::to_string).collect();
        if !numbers.is_empty() {
            self.line = format!("{}, sockets {}", self.line, numbers.join(" "));
        }
        if let Err(error) = self.write() {
            tracing::warn!(%error, "{} cannot be written", self.path.display());
        }
    }

    /// Takes the lock again when somebody removed its file; the database kept the state locked meanwhile.
    pub fn keep(&mut self) {
        if stands(&self.path, &self.file) || !self.dir.is_dir() {
            return;
        }
        match Self::lock(&self.dir, self.line.clone()) {
            Ok(lock) => {
                tracing::warn!(
                    "the lock file {} was removed while the gateway runs; it is there again",
                    self.path.display()
                );
                *self = lock;
            }
            Err(error) => tracing::error!("the lock file {} was removed: {error}", self.path.display()),
        }
    }
}

/// How an attempt to take the lock ended.
enum Attempt {
    /// It is taken.
    Taken(StateLock),
    /// Somebody has it.
    Held,
    /// The holder ended and removed the file between opening and locking it: what was locked then is not what the next
    /// one would find.
    Gone,
}

/// True when `file` is what stands at `path`.
fn stands(path: &Path, file: &File) -> bool {
    let same = path.metadata().and_then(|there| {
        let open = file.metadata()?;
        Ok((there.dev(), there.ino()) == (open.dev(), open.ino()))
    });
    same.unwrap_or(false)
}

/// True when another process has the database open: it is locked as long as that is so.
fn is_open_elsewhere(database: &Path) -> bool {
    let Ok(file) = File::open(database) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

fn taken(state_dir: &Path, holder: &str) -> Failure {
    Failure::Temporary(format!(
        "a gateway is already running on the state directory {} ({holder}); stop it first, or give this one its own \
         OPENCLAW_STATE_DIR, OPENCLAW_CONFIG_PATH and port",
        state_dir.display()
    ))
}

impl Drop for StateLock {
    fn drop(&mut self) {
        // A file that took its place is somebody else's.
        if stands(&self.path, &self.file) {
            let _ = std::fs::remove_file(&self.path);
        }
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
        let mut first = StateLock::take(dir.path(), 7).unwrap();
        let Err(Failure::Temporary(text)) = StateLock::take(dir.path(), 8) else { panic!("taken twice") };
        assert!(text.contains(&format!("pid {}, port 7, since 2", std::process::id())), "{text}");
        first.listens(&[11, 12]);
        let holder = holder(dir.path()).unwrap();
        assert_eq!((holder.port, holder.sockets.as_slice()), (Some(7), [11, 12].as_slice()));
        assert_eq!(held_by(dir.path()), Some(holder));
        drop(first);
        assert!(StateLock::take(dir.path(), 8).is_ok());
        // A file that a killed process left behind holds nobody off, and vouches for nobody.
        std::fs::write(dir.path().join(FILE), "pid 1, port 7").unwrap();
        assert_eq!(held_by(dir.path()), None);
        assert!(StateLock::take(dir.path(), 8).is_ok());
    }

    /// Without its lock file a gateway still has its database, and takes the lock again.
    #[test]
    fn s35_a_removed_lock_file_lets_nobody_in() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = StateLock::take(dir.path(), 7).unwrap();
        let storage = openclaw_platform::os::OsStorage::open(dir.path()).unwrap();
        let database = openclaw_platform::Storage::block_file(&storage, store::FILE).unwrap();
        std::fs::remove_file(dir.path().join(FILE)).unwrap();
        let Err(Failure::Temporary(text)) = StateLock::take(dir.path(), 8) else { panic!("taken twice") };
        assert!(text.contains("its lock file was removed"), "{text}");
        first.keep();
        assert_eq!(held_by(dir.path()).unwrap().port, Some(7));
        drop(database);
        let Err(Failure::Temporary(text)) = StateLock::take(dir.path(), 8) else { panic!("taken twice") };
        assert!(text.contains("port 7"), "{text}");
    }
}
