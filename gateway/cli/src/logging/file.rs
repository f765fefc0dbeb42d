//! The log file: private, and never more than its bound (D24).
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // the log file may lie outside the state directory

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use openclaw_platform::Millis;

/// When a new file is begun and when old ones go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of one file.
    pub max_bytes: u64,
    /// Age of a file, counted from its beginning while it is written, from its last line afterwards.
    pub max_age: Duration,
    /// Old files kept beside the current one: `NAME.1` is the youngest.
    pub keep: u64,
}

/// Appends lines to a file that is replaced in time.
pub struct RotatingFile {
    path: PathBuf,
    bounds: Bounds,
    now: Box<dyn Fn() -> Millis + Send>,
    open: Option<Open>,
}

struct Open {
    file: File,
    size: u64,
    began: Millis,
}

impl RotatingFile {
    /// Opens (or creates, 0600) the file; `now` is wall time.
    ///
    /// # Errors
    /// When the directory or the file cannot be made or opened.
    pub fn open(path: &Path, bounds: Bounds, now: impl Fn() -> Millis + Send + 'static) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        let mut this = Self { path: path.to_owned(), bounds, now: Box::new(now), open: None };
        this.open = Some(this.open_current()?);
        this.drop_old();
        Ok(this)
    }

    fn open_current(&self) -> io::Result<Open> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
        let meta = file.metadata()?;
        if meta.is_file() && meta.permissions().mode() & 0o077 != 0 {
            file.set_permissions(Permissions::from_mode(0o600))?;
        }
        // Not every file system knows when a file was made; its last change is the next best.
        let born = meta.created().or_else(|_| meta.modified()).ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        let began = if meta.len() == 0 { None } else { born.map(|d| d.as_millis() as Millis) };
        Ok(Open { file, size: meta.len(), began: began.unwrap_or_else(|| (self.now)()) })
    }

    /// Adds `line` (with its line end). A line longer than a whole file is cut.
    ///
    /// # Errors
    /// When the disk refuses; the next call tries anew.
    pub fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let line = &line[..line.len().min(usize::try_from(self.bounds.max_bytes).unwrap_or(usize::MAX))];
        let now = (self.now)();
        let due = self.open.as_ref().is_some_and(|open| {
            let age = Duration::from_millis(now.saturating_sub(open.began));
            open.size > 0 && (open.size + line.len() as u64 > self.bounds.max_bytes || age > self.bounds.max_age)
        });
        if due {
            self.rotate()?;
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.open_current()?,
        };
        open.file.write_all(line)?;
        open.size += line.len() as u64;
        self.open = Some(open);
        Ok(())
    }

    fn numbered(&self, n: u64) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{n}"));
        name.into()
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.open = None;
        if self.bounds.keep == 0 {
            fs::remove_file(&self.path)?;
        } else {
            for n in (1..self.bounds.keep).rev() {
                match fs::rename(self.numbered(n), self.numbered(n + 1)) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                    _ => {}
                }
            }
            fs::rename(&self.path, self.numbered(1))?;
        }
        self.open = Some(self.open_current()?);
        self.drop_old();
        Ok(())
    }

    /// Removes files beyond the count or the age; a file that cannot be removed is tried again next time.
    fn drop_old(&self) {
        let now = UNIX_EPOCH + Duration::from_millis((self.now)());
        // 100 is the largest `keep`; what an earlier, larger setting left goes, too.
        for n in 1..=100 {
            let path = self.numbered(n);
            let Ok(modified) = fs::metadata(&path).and_then(|m| m.modified()) else { continue };
            if n > self.bounds.keep || now.duration_since(modified).is_ok_and(|age| age > self.bounds.max_age) {
                let _ = fs::remove_file(&path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use super::*;

    const DAY: u64 = 86_400_000;

    struct Fixture {
        dir: tempfile::TempDir,
        time: Arc<AtomicU64>,
    }

    impl Fixture {
        fn new() -> Self {
            let now = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
            Self { dir: tempfile::tempdir().unwrap(), time: Arc::new(AtomicU64::new(now)) }
        }
        fn path(&self) -> PathBuf {
            self.dir.path().join("logs/gateway.log")
        }
        fn open(&self, max_bytes: u64, keep: u64) -> RotatingFile {
            let time = self.time.clone();
            let bounds = Bounds { max_bytes, max_age: Duration::from_millis(7 * DAY), keep };
            RotatingFile::open(&self.path(), bounds, move || time.load(Ordering::Relaxed)).unwrap()
        }
        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.dir.path().join("logs")).unwrap();
            let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
        fn total(&self) -> u64 {
            fs::read_dir(self.dir.path().join("logs")).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum()
        }
    }

    #[test]
    fn d24_size_is_bounded_and_the_newest_lines_are_kept() {
        let f = Fixture::new();
        let mut log = f.open(100, 2);
        for i in 0..200 {
            log.write(format!("line {i:03}\n").as_bytes()).unwrap();
            assert!(f.total() <= 300, "{}", f.total());
        }
        assert_eq!(f.names(), ["gateway.log", "gateway.log.1", "gateway.log.2"]);
        assert!(fs::read_to_string(f.path()).unwrap().ends_with("line 199\n"));
        log.write(&[b'x'; 500]).unwrap();
        assert!(f.total() <= 300);
    }

    #[test]
    fn d24_age_begins_a_new_file_and_drops_old_ones() {
        let f = Fixture::new();
        let mut log = f.open(1000, 5);
        log.write(b"old\n").unwrap();
        f.time.fetch_add(8 * DAY, Ordering::Relaxed);
        log.write(b"new\n").unwrap();
        // The old file was last written eight days ago, which is over the limit as well.
        assert_eq!(f.names(), ["gateway.log"]);
        assert_eq!(fs::read_to_string(f.path()).unwrap(), "new\n");
    }

    #[test]
    fn s17_the_file_is_private_and_a_restart_goes_on_with_it() {
        let f = Fixture::new();
        f.open(1000, 5).write(b"one\n").unwrap();
        fs::set_permissions(f.path(), Permissions::from_mode(0o644)).unwrap();
        f.open(1000, 5).write(b"two\n").unwrap();
        assert_eq!(fs::read_to_string(f.path()).unwrap(), "one\ntwo\n");
        assert_eq!(fs::metadata(f.path()).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(f.dir.path().join("logs")).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn keep_none_keeps_none_and_a_smaller_count_cleans_up() {
        let f = Fixture::new();
        let mut log = f.open(10, 3);
        for _ in 0..10 {
            log.write(b"12345678\n").unwrap();
        }
        assert_eq!(f.names().len(), 4);
        let mut log = f.open(10, 0);
        log.write(b"12345678\n").unwrap();
        assert_eq!(f.names(), ["gateway.log"]);
    }
}
