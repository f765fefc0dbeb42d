//! The configuration file and what it includes, for the running gateway: whether they have changed, and what they say.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // the files lie where people keep them

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use openclaw_config::{Config, Loaded, read_value, secrets_in};
use openclaw_platform::sync::LockExt as _;
use openclaw_server::{ConfigSource, options::ChangeFile};

use crate::{
    config_around::Around,
    config_file::{self, State},
    config_stamp,
    gateway_plan::unused,
    media::MediaRoots,
    sandbox,
    session::Session,
    workspaces,
};

/// The file of a session.
pub struct ConfigWatch {
    session: Session,
    /// Keeps a value out of the log from now on (S17).
    hide: Box<dyn Fn(&str) + Send + Sync>,
    /// Files of working directories that may be sent.
    media: Arc<MediaRoots>,
    /// What was read last that can be used.
    last: Mutex<Arc<Loaded>>,
    /// The files that the text names which cannot be used, there or not: with one of them it may become sound.
    named: Mutex<Vec<PathBuf>>,
}

impl ConfigWatch {
    /// Of this session, which has read `first`.
    pub fn new(
        session: Session,
        first: &Loaded,
        media: Arc<MediaRoots>,
        hide: impl Fn(&str) + Send + Sync + 'static,
    ) -> Arc<Self> {
        let last = Mutex::new(Arc::new(first.clone()));
        Arc::new(Self { session, hide: Box::new(hide), media, last, named: Mutex::default() })
    }

    /// What was read last that can be used, whatever the file says now.
    pub fn last(&self) -> Arc<Loaded> {
        self.last.locked().clone()
    }
}

impl ConfigSource for ConfigWatch {
    fn stamp(&self) -> u64 {
        let mut included: Vec<PathBuf> = self.last().files.iter().map(PathBuf::from).collect();
        included.extend(self.named.locked().iter().cloned());
        config_stamp::of(&self.session.paths.config, &included)
    }

    fn read(&self) -> Result<Loaded, String> {
        let file = self.session.paths.config.display().to_string();
        let text = config_file::read(&self.session.paths.config).map_err(|e| e.to_string())?;
        if text.is_none() {
            return Err(format!("{file} is not there"));
        }
        match config_file::load(&self.session).map_err(|e| e.to_string())? {
            State::Valid(loaded) => {
                // Before anything is said.
                for secret in secrets_in(&loaded.value).iter().chain(&loaded.secrets) {
                    (self.hide)(secret);
                }
                *self.last.locked() = Arc::new((*loaded).clone());
                self.named.locked().clear();
                let mut loaded = *loaded;
                // As a start tells it.
                let lost = sandbox::told(&self.session.paths, &loaded).into_iter().filter(|finding| !finding.is_there);
                let more: Vec<String> = lost.map(|finding| finding.text).chain(unused(&loaded.config)).collect();
                loaded.warnings.extend(more);
                Ok(loaded)
            }
            State::Invalid(problems) => {
                let named = text.as_deref().map(|text| Around(&self.session).named(text));
                *self.named.locked() = named.unwrap_or_default();
                let first: Vec<String> = problems.iter().take(5).map(ToString::to_string).collect();
                let more = problems.len().saturating_sub(first.len());
                let more = if more > 0 { format!("; and {more} more") } else { String::new() };
                Err(format!("{file}: {}{more}", first.join("; ")))
            }
        }
    }

    fn prepare(&self, config: &Config) {
        let all = workspaces::all(&self.session.paths, config);
        workspaces::make_all(&all);
        self.media.open(all.into_iter().map(|(_, dir)| dir));
    }

    fn change(&self, change: &mut ChangeFile<'_>) -> Result<(), String> {
        let around = Around(&self.session);
        let written = config_file::change(&self.session.paths.config, |old| {
            let new = change(old, &around);
            // Before anybody says a word of it.
            let value = new.as_deref().and_then(|text| read_value(text).ok());
            value.iter().flat_map(secrets_in).for_each(|secret| (self.hide)(&secret));
            Ok((new, ()))
        });
        written.map_err(|failure| failure.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::tests::session;

    #[test]
    fn d21_included_files_are_watched_too_and_a_broken_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path(), false);
        let part = session.paths.state_dir.join("part.json5");
        config_file::replace(&session.paths.config, "{gateway: {mode: 'local', $include: 'part.json5'}}").unwrap();
        fs::write(&part, "{port: 4000}").unwrap();
        let State::Valid(first) = config_file::load(&session).unwrap() else { panic!() };
        let media = MediaRoots::new(dir.path(), &session.paths.state_dir, [], &[]);
        let watch = ConfigWatch::new(session.clone(), &first, Arc::new(media), |_| {});
        let before = watch.stamp();
        assert_eq!(watch.stamp(), before);
        fs::write(&part, "{port: 40001}").unwrap();
        assert_ne!(watch.stamp(), before);
        assert_eq!(watch.read().unwrap().config.gateway.port, Some(40001));
        // What a start tells beside the file's own warnings is told by each reading.
        config_file::replace(&session.paths.config, "{gateway: {mode: 'local'}, hooks: {enabled: false}}").unwrap();
        let told = watch.read().unwrap().warnings;
        assert!(told.iter().any(|w| w.contains("no effect yet: hooks")), "{told:?}");
        config_file::replace(&session.paths.config, "{\n gateway: {bind: 'mars'}}").unwrap();
        let why = watch.read().unwrap_err();
        assert!(why.contains("openclaw.json: gateway.bind"), "{why}");
        config_file::replace(&session.paths.config, "{\n gateway: }").unwrap();
        assert!(watch.read().unwrap_err().contains("line 2"));
        fs::remove_file(&session.paths.config).unwrap();
        assert!(watch.read().unwrap_err().contains("is not there"));
    }
}
