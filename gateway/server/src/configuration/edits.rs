//! Changes of the configuration file that clients and agents ask for (D17, D21, D50).
//!
//! One at a time, only on top of the version that was looked at, and never one that a start would refuse.

use std::{path::PathBuf, time::Duration};

use data_encoding::HEXLOWER;
use openclaw_config::{
    Outside, Problem,
    change::{self, Changed, Edit, Refused},
    read_value, redacted,
};
use openclaw_platform::{Platform, SpawnerExt as _, sync::Arc};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    options::ConfigSource,
    restart_note::{self, Payload, RestartNote},
    restarts::{Prepared, Restarts},
};

/// When the restart after a change comes, where nobody says ...
const RESTART_DELAY: Duration = Duration::from_secs(2);
/// ... and at the latest.
const RESTART_DELAY_MAX: Duration = Duration::from_mins(1);

/// What is wanted of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Another text in its place.
    Replace,
    /// Laid over it.
    Patch,
}

/// A change.
#[derive(Debug, Clone)]
pub struct Order {
    /// What is wanted.
    pub wanted: Wanted,
    /// JSON5: the whole file, or what is laid over it.
    pub raw: String,
    /// The hash of the text that was looked at, [`hash`].
    pub base: Option<String>,
}

/// A change that was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// What the file says now, defaults filled in, secrets redacted.
    pub config: Value,
    /// What names this version, [`hash`].
    pub hash: String,
}

/// What who asks for a restart says of it.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// The session that is told after it, by its canonical key; none: the main session of the default agent.
    pub session: Option<String>,
    /// What it is told.
    pub note: Option<String>,
    /// When it comes, milliseconds.
    pub delay_ms: Option<u64>,
}

/// A restart to come. It is planned when this is dropped: whoever asked has been answered by then, or is gone.
pub struct Restart {
    /// In so many milliseconds.
    pub delay_ms: u64,
    /// The method that asked.
    pub reason: &'static str,
    /// The file that keeps what will be told; none when the disk refused.
    pub kept: Option<PathBuf>,
    /// What will be told.
    pub note: Payload,
    /// Its plan.
    pub planned: Prepared,
}

/// Why a change was not made. The file is as it was.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// This gateway has no file that it could write.
    #[error("this gateway has no configuration file to change")]
    NoFile,
    /// The version that was looked at is not named.
    #[error("config base hash required; re-run config.get and retry")]
    BaseRequired,
    /// It is not the present one.
    #[error("config changed since last load; re-run config.get and retry")]
    BaseOutdated,
    /// The text is no JSON5.
    #[error("{0}")]
    Unreadable(Problem),
    /// What should be laid over the file is no object.
    #[error("config.patch raw must be an object")]
    NotAnObject,
    /// The file as it is cannot be used, so nothing can be laid over it.
    #[error("invalid config; fix before patching")]
    FileInvalid(Vec<Problem>),
    /// The file would be wrong.
    #[error("invalid config")]
    Invalid(Vec<Problem>),
    /// The text cannot be changed so.
    #[error("{0}")]
    Impossible(String),
    /// The file cannot be read or written.
    #[error("{0}")]
    Io(String),
}

impl Error {
    /// What is wrong with the file, or would be.
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::FileInvalid(problems) | Self::Invalid(problems) => problems,
            _ => &[],
        }
    }
}

/// What names a version of the file: the SHA-256 of its text (of the empty text where there is none), in hex.
pub fn hash(text: Option<&str>) -> String {
    HEXLOWER.encode(&Sha256::digest(text.unwrap_or_default().as_bytes()))
}

/// What changes use.
pub struct Deps {
    /// The seams.
    pub platform: Platform,
    /// The file; none where nobody watches one.
    pub source: Option<Arc<dyn ConfigSource>>,
    /// Restarts to come.
    pub restarts: Arc<Restarts>,
    /// The state directory, for show.
    pub state_dir: PathBuf,
}

/// Makes them.
pub struct ConfigEdits {
    deps: Deps,
    /// One after the other: of two that looked at one version, one is made.
    one: tokio::sync::Mutex<()>,
}

impl ConfigEdits {
    /// Edits of the file, by these services.
    pub fn new(deps: Deps) -> Self {
        Self { deps, one: tokio::sync::Mutex::default() }
    }

    /// Makes a change, or leaves the file as it is. What watches the file decides what that takes.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn make(&self, order: Order) -> Result<Done, Error> {
        let source = self.deps.source.clone().ok_or(Error::NoFile)?;
        let _one = self.one.lock().await;
        let stopped = || Err(Error::Io("the gateway stops".to_owned()));
        let done =
            self.deps.platform.tasks.blocking(move || written(&*source, &order)).await.unwrap_or_else(stopped)?;
        self.deps.platform.probe.sometimes("config.changed_by_a_client");
        Ok(done)
    }

    /// Makes a change that a restart puts in force, and nothing before it (D50).
    ///
    /// # Errors
    /// [`Error`]; then there is no restart.
    pub async fn make_and_restart(&self, order: Order, ask: Ask) -> Result<(Done, Restart), Error> {
        let reason = match order.wanted {
            Wanted::Replace => "config.apply",
            Wanted::Patch => "config.patch",
        };
        let prepared = self.deps.restarts.prepare();
        let done = self.make(order).await?;
        Ok((done, self.planned(prepared, ("config-apply", reason), ask).await))
    }

    /// A restart without a change.
    pub async fn restart(&self, ask: Ask) -> Restart {
        self.planned(self.deps.restarts.prepare(), ("restart", "gateway.restart"), ask).await
    }

    async fn planned(&self, prepared: Prepared, (kind, reason): (&str, &'static str), ask: Ask) -> Restart {
        let delay = ask.delay_ms.map_or(RESTART_DELAY, Duration::from_millis).min(RESTART_DELAY_MAX);
        let note = RestartNote::new(Payload {
            kind: kind.to_owned(),
            status: "ok".to_owned(),
            ts: self.deps.platform.clock.wall(),
            session_key: ask.session,
            message: ask.note,
            stats: json!({ "mode": reason }),
        });
        let kept = self.keep(&note).await;
        let planned = prepared.after(delay, reason.to_owned());
        Restart { delay_ms: delay.as_millis() as u64, reason, kept, note: note.payload, planned }
    }

    /// The change is made whether or not its note can be kept.
    async fn keep(&self, note: &RestartNote) -> Option<PathBuf> {
        // Of two that are kept at once, none takes the other's place.
        let _one = self.one.lock().await;
        let (storage, kept) = (self.deps.platform.storage.clone(), note.clone());
        match self.deps.platform.tasks.blocking(move || kept.keep(&*storage)).await? {
            Ok(()) => Some(self.deps.state_dir.join(restart_note::FILE)),
            Err(error) => {
                tracing::warn!(%error, "what a session is to be told after the restart cannot be kept");
                None
            }
        }
    }
}

/// Changes the file under its lock. Blocks.
fn written(source: &dyn ConfigSource, order: &Order) -> Result<Done, Error> {
    let mut result = Err(Error::NoFile);
    let done = source.change(&mut |old, outside| {
        let Changed { text, loaded, .. } = match changed(order, old, outside) {
            Ok(changed) => changed,
            Err(error) => {
                result = Err(error);
                return None;
            }
        };
        let config = loaded.and_then(|loaded| serde_json::to_value(&loaded.config).ok()).unwrap_or_default();
        result = Ok(Done { config: redacted(&config), hash: hash(Some(&text)) });
        Some(text)
    });
    done.map_err(Error::Io)?;
    result
}

fn changed(order: &Order, old: Option<&str>, outside: &dyn Outside) -> Result<Changed, Error> {
    match (old, &order.base) {
        (Some(_), None) => return Err(Error::BaseRequired),
        (old, Some(base)) if *base != hash(old) => return Err(Error::BaseOutdated),
        _ => {}
    }
    let old = old.unwrap_or_default();
    let edit = match order.wanted {
        Wanted::Replace => Edit::Replace(order.raw.clone()),
        Wanted::Patch => match read_value(&order.raw).map_err(Error::Unreadable)? {
            Value::Object(over) => {
                if let Err(problems) = openclaw_config::read(old, outside) {
                    return Err(Error::FileInvalid(problems));
                }
                Edit::Merge(over)
            }
            _ => return Err(Error::NotAnObject),
        },
    };
    let changed = change::change(old, &edit, outside).map_err(|refused| match refused {
        Refused::Unreadable(problem) => Error::Unreadable(problem),
        Refused::Wrong(problems) => Error::Invalid(problems),
        other => Error::Impossible(other.to_string()),
    })?;
    // A text in place of a broken one has to be whole: nobody mends this one step by step.
    if changed.loaded.is_none() {
        let stops = openclaw_config::read(&changed.text, outside).err().unwrap_or_default();
        return Err(Error::Invalid(stops));
    }
    Ok(changed)
}

#[cfg(test)]
mod tests;
