//! Files beside the database of what goes from a transcript.

use std::path::PathBuf;

use openclaw_platform::{Platform, SpawnerExt as _};

use super::{key::agent_of, not_removed::NotArchived, store::Line};
use crate::settings::Settings;

/// What archives use of others.
pub struct Deps {
    /// The seams.
    pub platform: Platform,
    /// The configuration.
    pub settings: Settings,
    /// The state directory, as it is shown.
    pub state_dir: PathBuf,
}

/// Writes archives.
pub struct Archive {
    deps: Deps,
}

impl Archive {
    /// Below the state directory.
    pub fn new(deps: Deps) -> Self {
        Self { deps }
    }

    /// Writes lines of the session `key` as a JSON lines file; gives its path, none when there are no lines. `kind` is `bak` or
    /// `deleted`.
    ///
    /// # Errors
    /// [`NotArchived`].
    pub async fn write(
        &self,
        key: &str,
        session_id: &str,
        kind: &str,
        lines: Vec<Line>,
    ) -> Result<Option<String>, NotArchived> {
        if lines.is_empty() {
            return Ok(None);
        }
        let config = self.deps.settings.get();
        let agent: String =
            agent_of(&config, key).chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect();
        let at = jiff::Timestamp::from_millisecond(self.deps.platform.clock.wall() as i64).unwrap_or_default();
        let stamp = at.strftime("%Y-%m-%dT%H-%M-%S.%3fZ");
        let name = format!("agents/{agent}/sessions/{session_id}.jsonl.{kind}.{stamp}");
        let mut text = String::new();
        for line in &lines {
            text.push_str(&serde_json::to_string(line).unwrap_or_default());
            text.push('\n');
        }
        let (storage, file) = (self.deps.platform.storage.clone(), name.clone());
        let write = move || storage.write_atomic(&file, text.as_bytes());
        match self.deps.platform.tasks.blocking(write).await {
            Some(Ok(())) => Ok(Some(self.deps.state_dir.join(name).display().to_string())),
            failed => {
                tracing::error!(?failed, "archiving a transcript");
                Err(NotArchived)
            }
        }
    }
}
