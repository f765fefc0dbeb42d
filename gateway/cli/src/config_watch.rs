//! The configuration file and what it includes, for the running gateway: whether they have changed, and what they say.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // the files lie where people keep them

use std::sync::{Arc, Mutex};

use openclaw_config::{Loaded, Problem, read_value, secrets_in};
use openclaw_platform::sync::LockExt as _;
use openclaw_server::{ConfigSource, Unusable, options::ChangeFile};

use crate::{
    config_around::Around, config_file, config_stamp, gateway_plan::unused, media::MediaRoots, sandbox,
    session::Session, tls::TlsFiles, workspaces,
};

/// The file of a session.
pub struct ConfigWatch {
    session: Session,
    /// Keeps a value out of the log from now on (S17).
    hide: Box<dyn Fn(&str) + Send + Sync>,
    /// Files of working directories that may be sent.
    media: Arc<MediaRoots>,
    in_force: Mutex<Arc<Loaded>>,
}

impl ConfigWatch {
    /// Of this session, in which `first` is in force.
    pub fn new(
        session: Session,
        first: Arc<Loaded>,
        media: Arc<MediaRoots>,
        hide: impl Fn(&str) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { session, hide: Box::new(hide), media, in_force: Mutex::new(first) })
    }

    /// What was taken over last, whatever the file says now.
    pub fn in_force(&self) -> Arc<Loaded> {
        self.in_force.locked().clone()
    }

    /// What a start would refuse is not taken over; no port turns to plain text for it either (D36). Where `gateway.tls` is as it was,
    /// its files are looked after elsewhere: an edit of something else does not wait for them.
    fn judge_tls(&self, loaded: &Loaded) -> Result<Vec<String>, Unusable> {
        let Some(files) = TlsFiles::of(&self.session.paths, &loaded.config) else { return Ok(vec![]) };
        files.check().or_else(|failure| {
            if loaded.config.gateway.tls == self.in_force().config.gateway.tls {
                return Ok(vec![]);
            }
            // With one of its files the edit may become sound.
            let parts = loaded.files.iter().cloned().chain(files.paths()).collect();
            Err(Unusable { why: failure.to_string(), parts })
        })
    }

    fn unusable(&self, text: &str, problems: &[Problem]) -> Unusable {
        let first: Vec<String> = problems.iter().take(5).map(ToString::to_string).collect();
        let more = problems.len().saturating_sub(first.len());
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        let why = format!("{}: {}{more}", self.session.paths.config.display(), first.join("; "));
        Unusable { why, parts: Around(&self.session).parts(text) }
    }
}

impl ConfigSource for ConfigWatch {
    fn stamp(&self, parts: &[String]) -> u64 {
        config_stamp::of(&self.session.paths.config, parts)
    }

    fn read(&self) -> Result<Loaded, Unusable> {
        let path = &self.session.paths.config;
        let unread = |why| Unusable { why, parts: vec![] };
        let text = config_file::read(path).map_err(|e| unread(e.to_string()))?;
        let text = text.ok_or_else(|| unread(format!("{} is not there", path.display())))?;
        let loaded = openclaw_config::read(&text, &Around(&self.session));
        let mut loaded = loaded.map_err(|problems| self.unusable(&text, &problems))?;
        // Before anything is said.
        for secret in secrets_in(&loaded.value).iter().chain(&loaded.secrets) {
            (self.hide)(secret);
        }
        let tls = self.judge_tls(&loaded)?;
        // As a start tells it.
        let lost = sandbox::told(&self.session.paths, &loaded).into_iter().filter(|finding| !finding.is_there);
        let more: Vec<String> =
            tls.into_iter().chain(lost.map(|finding| finding.text)).chain(unused(&loaded.config)).collect();
        loaded.warnings.extend(more);
        Ok(loaded)
    }

    fn take_over(&self, loaded: &Arc<Loaded>) {
        let all = workspaces::all(&self.session.paths, &loaded.config);
        workspaces::make_all(&all);
        self.media.open(all.into_iter().map(|(_, dir)| dir));
        *self.in_force.locked() = loaded.clone();
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
    use crate::{config_file::State, tests::session};

    #[test]
    fn d21_included_files_are_watched_too_and_a_broken_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path(), false);
        let part = session.paths.state_dir.join("part.json5");
        config_file::replace(&session.paths.config, "{gateway: {mode: 'local', $include: 'part.json5'}}").unwrap();
        fs::write(&part, "{port: 4000}").unwrap();
        let State::Valid(first) = config_file::load(&session).unwrap() else { panic!() };
        let first: Arc<Loaded> = Arc::new(*first);
        let media = MediaRoots::new(dir.path(), &session.paths.state_dir, [], &[]);
        let watch = ConfigWatch::new(session.clone(), first.clone(), Arc::new(media), |_| {});
        let parts = watch.in_force().files.clone();
        let before = watch.stamp(&parts);
        assert_eq!(watch.stamp(&parts), before);
        fs::write(&part, "{port: 40001}").unwrap();
        assert_ne!(watch.stamp(&parts), before);
        assert_eq!(watch.read().unwrap().config.gateway.port, Some(40001));
        // What a start tells beside the file's own warnings is told by each reading.
        config_file::replace(&session.paths.config, "{gateway: {mode: 'local'}, hooks: {enabled: false}}").unwrap();
        let told = watch.read().unwrap().warnings;
        assert!(told.iter().any(|w| w.contains("no effect yet: hooks")), "{told:?}");
        config_file::replace(&session.paths.config, "{\n gateway: {bind: 'mars'}}").unwrap();
        let why = watch.read().unwrap_err();
        assert!(why.why.contains("openclaw.json: gateway.bind"), "{why:?}");
        config_file::replace(&session.paths.config, "{\n gateway: }").unwrap();
        assert!(watch.read().unwrap_err().why.contains("line 2"));
        fs::remove_file(&session.paths.config).unwrap();
        assert!(watch.read().unwrap_err().why.contains("is not there"));
        assert_eq!(watch.in_force(), first, "looking takes nothing over");
    }

    /// Parts that are missing, or in a circle, are told: with them the file may become sound.
    #[test]
    fn d21_the_parts_of_a_broken_file_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path(), false);
        config_file::replace(&session.paths.config, "{agents: {$include: ['a.json5', 'gone.json5']}}").unwrap();
        fs::write(session.paths.state_dir.join("a.json5"), "{defaults: {$include: 'b.json5'}}").unwrap();
        let media = MediaRoots::new(dir.path(), &session.paths.state_dir, [], &[]);
        let first = openclaw_config::parse("{}", &|_| None).unwrap();
        let watch = ConfigWatch::new(session.clone(), Arc::new(first), Arc::new(media), |_| {});
        let parts = watch.read().unwrap_err().parts;
        let named = |name: &str| parts.iter().any(|part| part.ends_with(name));
        assert!(parts.len() == 3 && ["a.json5", "b.json5", "gone.json5"].into_iter().all(named), "{parts:?}");
        let before = watch.stamp(&parts);
        fs::write(session.paths.state_dir.join("gone.json5"), "{}").unwrap();
        assert_ne!(watch.stamp(&parts), before);
    }
    /// An edit that asks for TLS waits for its files, and is refused until then; one of something else waits for nothing (D36).
    #[test]
    fn d36_only_an_edit_of_tls_waits_for_the_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path(), false);
        let write = |tls: &str, port: u16| {
            let text = format!("{{gateway: {{mode: 'local', port: {port}, tls: {tls}}}}}");
            config_file::replace(&session.paths.config, &text).unwrap();
        };
        let media = MediaRoots::new(dir.path(), &session.paths.state_dir, [], &[]);
        let first = openclaw_config::parse("{}", &|_| None).unwrap();
        let watch = ConfigWatch::new(session.clone(), Arc::new(first), Arc::new(media), |_| {});
        write("{enabled: true}", 4000);
        let made = Arc::new(watch.read().unwrap());
        watch.take_over(&made);
        write("{enabled: true, autoGenerate: false}", 4000);
        let refused = watch.read().unwrap_err();
        assert!(refused.why.contains("gateway-cert.pem is not there"), "{refused:?}");
        assert!(refused.parts.iter().any(|part| part.ends_with("gateway-cert.pem")), "looked at: {refused:?}");
        fs::create_dir_all(session.paths.state_dir.join("gateway/tls")).unwrap();
        for name in ["cert", "key"] {
            fs::write(session.paths.state_dir.join(format!("gateway/tls/gateway-{name}.pem")), "broken").unwrap();
        }
        write("{enabled: true}", 4001);
        assert_eq!(watch.read().unwrap().config.gateway.port, Some(4001));
    }
}
