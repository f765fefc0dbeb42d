//! Files that this gateway reads as they are: put into its state directory where they lie elsewhere and it has none, and what
//! stays where it is.

use std::{
    fs,
    io::{ErrorKind, Write as _},
};

use openclaw_channels::table::TABLE;
use openclaw_config::Config;
use openclaw_platform::os::temporary::Temporary;
use openclaw_server::{
    import::{Kind, Report, small},
    limits::IMPORT_FILE_BYTES,
};

use super::source::Source;
use crate::{
    config_around::Around,
    config_file::{self, State},
    failure::Failure,
    session::Session,
};

/// Names of a configuration file, the present one first.
const CONFIGURATIONS: [&str; 4] = ["openclaw.json", "clawdbot.json", "moltbot.json", "moldbot.json"];

/// What nothing here takes, by name in the state directory, and why.
const OTHERS: [(&str, &str); 8] = [
    ("identity", "the key of OpenClaw's own command line: this one has no need of it"),
    ("canvas", "pages of the canvas: copy them where you go on with them"),
    ("workspace", "files of agents: agents.defaults.workspace may name it, or copy it into the new state directory"),
    ("media", "files that were sent: transcripts have what the model was shown"),
    ("logs", "old logs"),
    ("gateway", "certificates: gateway.tls.certPath and keyPath may name them"),
    ("memory", "an index that OpenClaw makes of the workspace"),
    ("update-check.json", "when OpenClaw looked for a newer version of itself"),
];

/// Names that are read, or told one by one.
const KNOWN: [&str; 7] = ["agents", "credentials", "cron", "devices", "exec-approvals.json", "nodes", "settings"];

/// What became of the configuration, to be told.
pub enum Step {
    /// There is none to take.
    Nothing,
    Taken,
    Had,
    /// File and reason.
    Left(String, String),
}

impl Step {
    /// Tells it.
    pub fn tell(self, report: &mut Report) {
        match self {
            Self::Nothing => {}
            Self::Taken => report.took(Kind::Config, 1),
            Self::Had => report.had(Kind::Config, 1),
            Self::Left(what, why) => report.leave(Kind::Config, what, why),
        }
    }
}

/// How a file came to be where it is read.
enum Placed {
    /// It was there.
    There,
    Copied,
    /// Another one is there.
    Other,
}

/// Small files between the two directories.
pub struct Files<'a> {
    session: &'a Session,
    source: &'a Source,
    dry: bool,
}

impl<'a> Files<'a> {
    /// A dry one writes nothing.
    pub fn new(session: &'a Session, source: &'a Source, dry: bool) -> Self {
        Self { session, source, dry }
    }

    /// The configuration in force: the gateway's own, else OpenClaw's when it can be used.
    ///
    /// # Errors
    /// Config: its own cannot be used. Runtime: it cannot be written.
    pub fn config(&self) -> Result<(Config, Step), Failure> {
        let own = &self.session.paths.config;
        let theirs = CONFIGURATIONS.iter().find(|name| self.source.dir().join(name).is_file()).copied();
        if config_file::read(own)?.is_some() {
            let config = match config_file::load(self.session)? {
                State::Valid(loaded) => loaded.config,
                State::Invalid(problems) => return Err(Failure::problems(own, &problems)),
            };
            let step = match theirs {
                None => Step::Nothing,
                Some(name) if is_one_file(&self.source.dir().join(name), own) => Step::Had,
                Some(name) => {
                    Step::Left(name.to_owned(), format!("this gateway has its own, {}: compare them", own.display()))
                }
            };
            return Ok((config, step));
        }
        let Some(name) = theirs else { return Ok((Config::default(), Step::Nothing)) };
        let left = |why: String| Ok((Config::default(), Step::Left(name.to_owned(), why)));
        let text = match self.source.read(name, IMPORT_FILE_BYTES).map(|text| text.map(String::from_utf8)) {
            Ok(Some(Ok(text))) => text,
            Ok(Some(Err(_))) => return left("it is no text".to_owned()),
            Ok(None) => return Ok((Config::default(), Step::Nothing)),
            Err(why) => return left(why),
        };
        if text.contains("$include") {
            return left(format!("it includes other files: copy it with them to {}", own.display()));
        }
        match openclaw_config::read(&text, &Around(self.session)) {
            Ok(loaded) => {
                if !self.dry {
                    config_file::create(own, &text)?;
                }
                Ok((loaded.config, Step::Taken))
            }
            Err(problems) => {
                let first = problems.first().map(ToString::to_string).unwrap_or_default();
                left(format!("this gateway could not start with it: {first}"))
            }
        }
    }

    /// Files of each kind that the gateway reads where they lie.
    ///
    /// # Errors
    /// Runtime: one cannot be written.
    pub fn place(&self, report: &mut Report) -> Result<(), Failure> {
        for channel in TABLE {
            let name = format!("credentials/{}-allowFrom.json", channel.id);
            self.as_it_is(report, Kind::AllowList, &name, |text| small::allow_list(text).map(|()| text.to_vec()))?;
        }
        self.as_it_is(report, Kind::Approvals, "exec-approvals.json", small::approvals)?;
        self.as_it_is(report, Kind::WakeWords, "settings/voicewake.json", |text| {
            small::wake_words(text).map(|()| text.to_vec())
        })?;
        for agent in self.source.agents() {
            self.profiles(report, &format!("agents/{agent}/agent/auth-profiles.json"))?;
        }
        Ok(())
    }

    fn as_it_is(
        &self,
        report: &mut Report,
        kind: Kind,
        name: &str,
        sound: impl Fn(&[u8]) -> Result<Vec<u8>, String>,
    ) -> Result<(), Failure> {
        let Some(text) = self.source.told(report, kind, name) else { return Ok(()) };
        match sound(&text) {
            Err(why) => report.leave(kind, name, why),
            Ok(text) => match self.put(name, &text)? {
                Placed::There => report.had(kind, 1),
                Placed::Copied => report.took(kind, 1),
                Placed::Other => report.leave(kind, name, self.has_own(name)),
            },
        }
        Ok(())
    }

    /// Keys of model providers (D37).
    fn profiles(&self, report: &mut Report, name: &str) -> Result<(), Failure> {
        let Some(text) = self.source.told(report, Kind::AuthProfile, name) else { return Ok(()) };
        let profiles = match small::profiles(&text) {
            Ok(profiles) => profiles,
            Err(why) => {
                report.leave(Kind::AuthProfile, name, why);
                return Ok(());
            }
        };
        for (profile, why) in profiles.left {
            report.leave(Kind::AuthProfile, format!("{profile} in {name}"), why);
        }
        if profiles.usable > 0 {
            match self.put(name, &text)? {
                Placed::There => report.had(Kind::AuthProfile, profiles.usable),
                Placed::Copied => report.took(Kind::AuthProfile, profiles.usable),
                Placed::Other => report.leave(Kind::AuthProfile, name, self.has_own(name)),
            }
        }
        Ok(())
    }

    fn has_own(&self, name: &str) -> String {
        format!("this gateway has its own, {}: compare them", self.session.paths.state_dir.join(name).display())
    }

    /// Copies a file (0600) unless there is one of its name.
    fn put(&self, name: &str, text: &[u8]) -> Result<Placed, Failure> {
        if self.source.is_own() {
            return Ok(Placed::There);
        }
        let path = self.session.paths.state_dir.join(name);
        let refused = |e: std::io::Error| Failure::Runtime(format!("cannot write {}: {e}", path.display()));
        match fs::read(&path) {
            Ok(own) if own == text => return Ok(Placed::There),
            Ok(_) => return Ok(Placed::Other),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(refused(e)),
        }
        if !self.dry {
            let write = || {
                path.parent().map_or(Ok(()), config_file::make_dir)?;
                let mut copy = Temporary::beside(&path)?;
                copy.file().write_all(text)?;
                copy.create()
            };
            write().map_err(refused)?;
        }
        Ok(Placed::Copied)
    }

    /// Everything else that is there, and why it stays.
    pub fn leave(&self, report: &mut Report) {
        let count =
            |report: &mut Report, kind: Kind, name: &str, count: fn(&[u8]) -> Result<u64, String>, why: &str| {
                let Some(text) = self.source.told(report, kind, name) else { return };
                match count(&text) {
                    Ok(0) => {}
                    Ok(found) => report.leave(kind, format!("{} in {name}", kind.counted(found)), why),
                    Err(why) => report.leave(kind, name, why),
                }
            };
        let again = "requests wait for minutes only: the device asks again";
        count(report, Kind::File, "devices/pending.json", small::entries, again);
        count(report, Kind::File, "nodes/pending.json", small::entries, again);
        for channel in TABLE {
            let name = format!("credentials/{}-pairing.json", channel.id);
            if !self.source.is_own() {
                let why = "requests wait for an hour only: who writes again gets a new code";
                count(report, Kind::File, &name, small::pairing_requests, why);
            }
        }
        let why = "this gateway has no cron jobs yet; they stay in their file until it has";
        count(report, Kind::CronJob, "cron/jobs.json", small::cron_jobs, why);
        for channel in TABLE {
            let linked = format!("credentials/{}", channel.id);
            for account in self.source.names(&linked) {
                if self.source.dir().join(&linked).join(&account).join("creds.json").is_file() {
                    let why = format!("this gateway cannot use a link to {} yet; it stays in its files", channel.label);
                    report.leave(Kind::Linked, format!("{linked}/{account}"), why);
                }
            }
        }
        // In the gateway's own directory these are in use, or nobody's.
        if self.source.is_own() {
            return;
        }
        for name in self.source.names("") {
            let is_channel = TABLE.iter().any(|channel| channel.id == name);
            if is_channel
                || KNOWN.contains(&name.as_str())
                || CONFIGURATIONS.iter().any(|config| name.starts_with(config))
            {
                continue;
            }
            let why = OTHERS.iter().find(|(other, _)| *other == name).map_or("nothing here reads it", |(_, why)| why);
            report.leave(Kind::File, name, why);
        }
    }
}

fn is_one_file(a: &std::path::Path, b: &std::path::Path) -> bool {
    matches!((fs::canonicalize(a), fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b)
}
