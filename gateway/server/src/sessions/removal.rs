//! What goes from sessions because somebody asks for it: whole ones, or the older lines of a transcript. Whatever goes is in an
//! archive before it is gone.

use std::{sync::Arc, time::Duration};

use super::{
    archive::Archive,
    key::{agent_of, default_agent, main_key},
    not_removed::NotRemoved,
    store::{Line, Sessions},
};
use crate::{
    bulk_reads::{BulkReads, NotRead},
    runs::Runs,
    settings::Settings,
};

/// A session's runs get this long to end before it is deleted.
const END_RUNS: Duration = Duration::from_secs(15);

/// What a removal uses of others.
pub struct Deps {
    /// Files of what goes.
    pub archive: Arc<Archive>,
    /// Turns of large reads.
    pub reads: Arc<BulkReads>,
    /// Runs of a session that goes.
    pub runs: Arc<Runs>,
    /// The sessions.
    pub sessions: Arc<Sessions>,
    /// The configuration.
    pub settings: Settings,
}

/// Removes sessions and lines.
pub struct Removal {
    deps: Deps,
}

/// What became of a session.
pub struct Deleted {
    /// It was there and is gone.
    pub deleted: bool,
    /// Its archives.
    pub archived: Vec<String>,
}

/// What became of a transcript.
pub enum Compacted {
    /// There was none.
    NoTranscript,
    /// It is short enough; its lines.
    Short(usize),
    /// Older lines went.
    Cut {
        /// Lines that are left.
        kept: usize,
        /// The archive of all lines.
        archived: Option<String>,
    },
}

impl Removal {
    /// Removes sessions by these services.
    pub fn new(deps: Deps) -> Self {
        Self { deps }
    }

    /// Ends the runs of a session that is to go, and waits for their ends.
    ///
    /// # Errors
    /// [`NotRemoved::Main`], [`NotRemoved::Busy`].
    pub async fn end_runs(&self, key: &str) -> Result<(), NotRemoved> {
        let config = self.deps.settings.get();
        if key == main_key(&config, agent_of(&config, key)) || key == main_key(&config, default_agent(&config)) {
            return Err(NotRemoved::Main(key.to_owned()));
        }
        self.deps.runs.end(key, |_| true, "rpc");
        let ended = async {
            for run in self.deps.runs.of_session(key) {
                run.ended().await;
            }
        };
        tokio::time::timeout(END_RUNS, ended).await.map_err(|_| NotRemoved::Busy)
    }

    /// Removes a session, and its transcript where that is wanted. An archive that cannot be written leaves everything as it
    /// is.
    ///
    /// # Errors
    /// [`NotRemoved`].
    pub async fn delete(&self, key: &str, transcript: bool) -> Result<Deleted, NotRemoved> {
        let Some(entry) = self.deps.sessions.get(key)? else {
            return Ok(Deleted { deleted: false, archived: vec![] });
        };
        let (mut archived, mut kept) = (vec![], 0);
        if transcript {
            let lines = self.lines(&entry.session_id).await?;
            kept = lines.len();
            archived.extend(self.deps.archive.write(key, &entry.session_id, "deleted", lines).await?);
        }
        let Some((gone, lines)) = self.deps.sessions.remove(key, transcript).await? else {
            return Ok(Deleted { deleted: false, archived });
        };
        // Somebody wrote into it, or began it anew, meanwhile.
        if lines.len() != kept || gone.session_id != entry.session_id {
            archived.extend(self.deps.archive.write(key, &gone.session_id, "deleted", lines).await?);
        }
        Ok(Deleted { deleted: true, archived })
    }

    /// Keeps the newest `keep` lines of a session's transcript; the whole is archived before lines of it go.
    ///
    /// # Errors
    /// As [`Self::delete`].
    pub async fn compact(&self, key: &str, keep: usize) -> Result<Compacted, NotRemoved> {
        let Some(entry) = self.deps.sessions.get(key)? else { return Ok(Compacted::NoTranscript) };
        let lines = self.lines(&entry.session_id).await?;
        if lines.len() <= keep {
            return Ok(Compacted::Short(lines.len()));
        }
        let archived = self.deps.archive.write(key, &entry.session_id, "bak", lines).await?;
        let (kept, _) = self.deps.sessions.compact(&entry.session_id, keep).await?;
        Ok(Compacted::Cut { kept, archived })
    }

    async fn lines(&self, session_id: &str) -> Result<Vec<Line>, NotRead> {
        let (sessions, id) = (self.deps.sessions.clone(), session_id.to_owned());
        self.deps.reads.slice(move || Ok(sessions.lines(&id)?)).await
    }
}
