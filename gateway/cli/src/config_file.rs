//! The configuration file on disk: read, and replaced as a whole (F18), private, with the last version as `.bak`.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // it may lie outside the state directory

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use openclaw_config::{Loaded, Problem};
use openclaw_platform::os::temporary::{self, Temporary};

use crate::{config_around::Around, failure::Failure, regular_file, session::Session};

/// The file's text; `None` when there is no file.
///
/// # Errors
/// When it is there but cannot be read.
pub fn read(path: &Path) -> Result<Option<String>, Failure> {
    match read_text(path) {
        Ok(text) => Ok(text),
        Err(e) => Err(Failure::Config(format!("cannot read the configuration {}: {e}", path.display()))),
    }
}

/// The same with the operating system's error, for the running gateway.
pub fn read_text(path: &Path) -> io::Result<Option<String>> {
    let read = || {
        let mut text = String::new();
        regular_file::open(path)?.take(regular_file::MAX_BYTES).read_to_string(&mut text).map(|_| text)
    };
    match read() {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// The text of a file that holds one secret, without the line end.
///
/// # Errors
/// When it cannot be read as text.
pub fn read_secret(path: &Path) -> io::Result<String> {
    /// A secret is short.
    const MAX: u64 = 64 << 10;
    let mut text = String::new();
    regular_file::open(path)?.take(MAX).read_to_string(&mut text)?;
    Ok(text.trim().to_owned())
}

/// What the file says.
pub enum State {
    /// It is valid, or there is none (all defaults).
    Valid(Box<Loaded>),
    /// It is not; all reasons.
    Invalid(Vec<Problem>),
}

/// Reads and checks the file, as a start does.
///
/// # Errors
/// When it is there but cannot be read.
pub fn load(session: &Session) -> Result<State, Failure> {
    let text = read(&session.paths.config)?.unwrap_or_default();
    Ok(match openclaw_config::read(&text, &Around(session)) {
        Ok(loaded) => State::Valid(Box::new(loaded)),
        Err(problems) => State::Invalid(problems),
    })
}

/// Replaces the file (0600, directory 0700 when it has to be made); the previous text goes to `.bak`.
///
/// # Errors
/// When the disk refuses; the old file is then still whole.
pub fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let write = || {
        make_parent(path)?;
        temporary::sweep_beside(path);
        if let Some(old) = read_text(path)? {
            temporary::replace(&backup(path), old.as_bytes())?;
        }
        // The target of a symbolic link is replaced, not the link: people keep their files in other places.
        let target = match fs::canonicalize(path) {
            Ok(target) => target,
            Err(_) if fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink()) => {
                let text = "it is a link to a file that is not there; put that file there, or remove the link";
                return Err(io::Error::new(io::ErrorKind::NotFound, text));
            }
            Err(_) => path.to_owned(),
        };
        // Who has made it so wants it to stay as it is.
        if fs::metadata(&target).is_ok_and(|meta| meta.permissions().readonly()) {
            let text = format!("{} is read-only; make it writable first (chmod u+w)", target.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        temporary::replace(&target, text.as_bytes())
    };
    write().map_err(|e| Failure::Runtime(format!("cannot write the configuration {}: {e}", path.display())))
}

/// Changes the file under the lock that every program of ours takes which writes it: `change` is given its text (none: there is no
/// file) and gives the new one, or none to leave it.
///
/// # Errors
/// What `change` says; Temporary when another program keeps the lock; Runtime when the disk refuses. The file is as it was.
pub fn change<T>(
    path: &Path,
    change: impl FnOnce(Option<&str>) -> Result<(Option<String>, T), Failure>,
) -> Result<T, Failure> {
    let _lock = lock(path)?;
    let (new, result) = change(read(path)?.as_deref())?;
    if let Some(text) = new {
        replace(path, &text)?;
    }
    Ok(result)
}

/// The lock of whoever writes the file: on its directory, so that nothing lies about. Where the system has no such locks, the
/// check of what was read before remains.
fn lock(path: &Path) -> Result<Option<File>, Failure> {
    /// Another writer is done sooner than this.
    const TRIES: usize = 250;
    const PAUSE: Duration = Duration::from_millis(20);
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let fail = |e: io::Error| Failure::Runtime(format!("cannot write the configuration {}: {e}", path.display()));
    make_parent(&target).map_err(fail)?;
    let Some(dir) = target.parent().and_then(|dir| File::open(dir).ok()) else { return Ok(None) };
    for _ in 0..TRIES {
        match dir.try_lock() {
            Ok(()) => return Ok(Some(dir)),
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            Err(TryLockError::Error(_)) => return Ok(None),
        }
    }
    let text = format!("another program is writing the configuration {}; try again", path.display());
    Err(Failure::Temporary(text))
}

/// Writes the file if there is none. False when there is one.
///
/// # Errors
/// When the disk refuses.
pub fn create(path: &Path, text: &str) -> Result<bool, Failure> {
    let write = || {
        make_parent(path)?;
        let mut temporary = Temporary::beside(path)?;
        temporary.file().write_all(text.as_bytes())?;
        // Two set-ups at once cannot overwrite each other.
        match temporary.create() {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            other => other.map(|()| true),
        }
    };
    write().map_err(|e| Failure::Runtime(format!("cannot write the configuration {}: {e}", path.display())))
}

/// Makes `dir` (0700) and what is above it.
///
/// # Errors
/// When the disk refuses.
pub fn make_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), make_dir)
}

/// Where the text before the last change lies.
pub fn backup(path: &Path) -> PathBuf {
    suffixed(path, ".bak")
}

/// A file beside another one.
pub fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn s17_f18_the_file_is_private_replaced_whole_and_backed_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/openclaw.json");
        assert_eq!(read(&path).unwrap(), None);
        assert!(create(&path, "{}").unwrap());
        assert!(!create(&path, "{x:1}").unwrap());
        replace(&path, "{a:1}").unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("{a:1}"));
        assert_eq!(fs::read_to_string(dir.path().join("state/openclaw.json.bak")).unwrap(), "{}");
        let mode = |p: &str| fs::metadata(dir.path().join(p)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("state"), 0o700);
        assert_eq!((mode("state/openclaw.json"), mode("state/openclaw.json.bak")), (0o600, 0o600));
        assert_eq!(fs::read_dir(dir.path().join("state")).unwrap().count(), 2);
    }

    /// What was put there before is neither followed nor written to.
    #[test]
    fn s38_no_temporary_file_and_no_backup_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, victim) = (dir.path().join("openclaw.json"), dir.path().join("victim"));
        fs::write(&victim, "v").unwrap();
        for name in ["openclaw.json.tmp", "openclaw.json.bak", "openclaw.json.bak.tmp", "openclaw.json.new"] {
            symlink(&victim, dir.path().join(name)).unwrap();
        }
        assert!(create(&path, "{}").unwrap());
        replace(&path, "{a:1}").unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "v");
        assert_eq!(fs::read_to_string(dir.path().join("openclaw.json.bak")).unwrap(), "{}");
    }

    /// Of many that count one up at once, none is lost.
    #[test]
    fn d21_two_writers_take_turns() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("openclaw.json");
        fs::write(&path, "0").unwrap();
        let count = || {
            for _ in 0..20 {
                let more = |old: Option<&str>| Ok((Some((old.unwrap().parse::<u32>().unwrap() + 1).to_string()), ()));
                change(&path, more).unwrap();
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(count))));
        assert_eq!(read(&path).unwrap().as_deref(), Some("80"));
        let kept: Result<(), Failure> = change(&path, |_| Err(Failure::Config("no".into())));
        assert_eq!((kept.unwrap_err().code(), read(&path).unwrap().as_deref()), (78, Some("80")));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "the file and its backup");
    }

    #[test]
    fn a_file_that_is_read_only_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("openclaw.json");
        fs::write(&path, "{}").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
        let failure = replace(&path, "{a:1}").unwrap_err().to_string();
        assert!(failure.contains("read-only") && fs::read_to_string(&path).unwrap() == "{}", "{failure}");
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let (pipe, link) = (dir.path().join("pipe"), dir.path().join("link"));
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(read_text(&pipe).unwrap_err().to_string().contains("no regular file"));
        assert!(read_text(Path::new("/dev/zero")).is_err());
        symlink(dir.path().join("nowhere"), &link).unwrap();
        assert!(replace(&link, "{}").unwrap_err().to_string().contains("link to a file that is not there"));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn a_symbolic_link_stays_one() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real.json"), dir.path().join("openclaw.json"));
        fs::write(&real, "{}").unwrap();
        symlink(&real, &link).unwrap();
        replace(&link, "{a:1}").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&real).unwrap(), "{a:1}");
    }
}
