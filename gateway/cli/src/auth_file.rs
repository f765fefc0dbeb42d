//! `gateway.auth` read again from the configuration file while the gateway runs, by the rules of a start (S04, F56).

use std::{io, os::unix::fs::MetadataExt as _, path::Path, sync::Mutex};

use openclaw_config::{Loaded, secrets_in};
use openclaw_platform::{Clock as _, os::OsClock, sync::LockExt as _};
use openclaw_server::AuthInForce;

use crate::{
    args::RunArgs,
    config_file::{self, State},
    gateway_plan::{allowances, credentials},
    session::Session,
};

/// A file that was written within this time may be written again without any trace but its content, in milliseconds.
const FRESH_MS: u64 = 2_000;

/// What tells one version of the file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let meta = path.metadata()?;
        Ok(Self {
            file: (meta.dev(), meta.ino()),
            len: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }

    fn is_fresh(&self, now_ms: u64) -> bool {
        let changed = u64::try_from(self.changed.0).unwrap_or_default().saturating_mul(1000);
        now_ms.abs_diff(changed) <= FRESH_MS
    }
}

#[derive(Debug, Default)]
struct Seen {
    /// The version that was read last, unless it could be another one by now.
    stamp: Option<Stamp>,
    /// What was said about it, so that it is said once.
    trouble: Option<String>,
}

/// The configuration file as far as it says who may connect.
pub struct AuthFile {
    session: Session,
    args: RunArgs,
    /// Keeps a value out of the log from now on (S17).
    hide: Box<dyn Fn(&str) + Send + Sync>,
    seen: Mutex<Seen>,
}

impl AuthFile {
    /// The file of this session, with the flags of this start. `hide` is given every secret that it holds.
    pub fn new(session: Session, args: RunArgs, hide: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { session, args, hide: Box::new(hide), seen: Mutex::default() }
    }

    /// What the file says now; `None` when it is the version that was read last, or there is no file. Blocks.
    ///
    /// # Errors
    /// Why the file cannot be used, once for each reason; what was in force stays so.
    pub fn read(&self) -> Result<Option<AuthInForce>, String> {
        let mut seen = self.seen.locked();
        let Ok(stamp) = Stamp::of(&self.session.paths.config) else { return Ok(None) };
        if seen.stamp == Some(stamp) {
            return Ok(None);
        }
        seen.stamp = Some(stamp).filter(|s| !s.is_fresh(OsClock.wall()));
        let trouble = match self.load() {
            Ok((auth, is_alone)) => {
                seen.trouble = None;
                // What it includes may change without it.
                seen.stamp = seen.stamp.filter(|_| is_alone);
                return Ok(Some(auth));
            }
            Err(trouble) => trouble,
        };
        if seen.trouble.as_ref() == Some(&trouble) {
            return Ok(None);
        }
        seen.trouble = Some(trouble.clone());
        Err(trouble)
    }

    fn load(&self) -> Result<(AuthInForce, bool), String> {
        let path = &self.session.paths.config;
        let loaded = match config_file::load(&self.session).map_err(|e| e.to_string())? {
            State::Valid(loaded) => loaded,
            State::Invalid(problems) => {
                let first = problems.first().map(ToString::to_string).unwrap_or_default();
                return Err(format!("{} has {} problems, the first: {first}", path.display(), problems.len()));
            }
        };
        let Loaded { config, value, files, secrets, .. } = *loaded;
        // Before anything is said.
        for secret in secrets_in(&value).into_iter().chain(secrets) {
            (self.hide)(&secret);
        }
        let shared = credentials(&self.session, &config, &self.args).map_err(|e| e.to_string())?;
        for secret in [&shared.token, &shared.password].into_iter().flatten() {
            (self.hide)(secret.expose());
        }
        Ok((allowances(&config, shared), files.is_empty()))
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // outside of the gateway
mod tests {
    use std::fs;

    use super::*;
    use crate::tests::session;

    fn token(read: Result<Option<AuthInForce>, String>) -> Option<String> {
        read.unwrap().map(|auth| auth.shared.token.unwrap().expose().to_owned())
    }

    #[test]
    fn s04_another_version_of_the_file_is_read_and_a_broken_one_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path(), false);
        let path = session.paths.config.clone();
        let write = |text: &str| config_file::replace(&path, text).unwrap();
        write("{gateway:{mode:'local',auth:{token:'first-0123456789'}}}");
        let file = AuthFile::new(session, RunArgs::default(), |_| {});
        assert_eq!(token(file.read()).as_deref(), Some("first-0123456789"));
        // The same length, within the same tick of the clock.
        write("{gateway:{mode:'local',auth:{token:'other-0123456789'}}}");
        assert_eq!(token(file.read()).as_deref(), Some("other-0123456789"));
        for broken in ["{ broken", "{gateway:{mode:'local'}}", "{gateway:{auth:{tokens:'x'}}}"] {
            write(broken);
            assert!(file.read().is_err(), "{broken}");
            assert!(file.read().unwrap().is_none(), "{broken} is told once");
        }
        write("{gateway:{mode:'local',auth:{token:'third-0123456789'}}}");
        assert_eq!(token(file.read()).as_deref(), Some("third-0123456789"));
        fs::remove_file(&path).unwrap();
        assert!(file.read().unwrap().is_none(), "without a file what was in force stays so");
    }

    #[test]
    fn s04_a_version_that_was_read_is_not_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path(), false);
        let path = session.paths.config.clone();
        config_file::replace(&path, "{gateway:{mode:'local',auth:{token:'first-0123456789'}}}").unwrap();
        let file = AuthFile::new(session, RunArgs::default(), |_| {});
        assert!(file.read().unwrap().is_some());
        let stamp = Stamp::of(&path).unwrap();
        file.seen.lock().unwrap().stamp = Some(stamp);
        assert!(file.read().unwrap().is_none());
        let now = OsClock.wall();
        assert!(stamp.is_fresh(now) && !stamp.is_fresh(now + 60_000), "while it is new its stamp proves nothing");
    }

    #[test]
    fn s04_flags_stay_in_force() {
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path(), false);
        let path = session.paths.config.clone();
        config_file::replace(&path, "{gateway:{mode:'local',auth:{token:'first-0123456789'}}}").unwrap();
        let args = RunArgs { token: Some("flag-0123456789".into()), ..RunArgs::default() };
        let file = AuthFile::new(session, args, |_| {});
        assert_eq!(token(file.read()).as_deref(), Some("flag-0123456789"));
    }
}
