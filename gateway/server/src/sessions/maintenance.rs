//! What of old conversations goes, and when (known-failures F04, `session.maintenance`): silent sessions, transcripts
//! that a reset ended, the oldest lines of very long ones, archived files.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use openclaw_config::MaintenanceMode;
use openclaw_platform::{Millis, Mono, SpawnerExt as _};

use super::{
    key::{agent_ids, agent_of, default_agent, main_key},
    store::Transcript,
};
use crate::{
    delivery::letter::Letter,
    gateway::Gateway,
    limits::{MAINTENANCE_LINES, MAINTENANCE_SESSIONS},
    store::{self, StoreError},
};

/// A transcript that is too long is cut to this part of what it may have, so that it is not cut again at once.
const CUT_TO: (u64, u64) = (3, 4);

/// Goes through all sessions and transcripts from time to time.
#[derive(Default)]
pub struct Maintenance {
    reckoning: Option<Reckoning>,
}

/// What went, or would have to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Sessions.
    pub sessions: usize,
    /// Whole transcripts.
    pub transcripts: usize,
    /// Lines of transcripts that go on.
    pub lines: usize,
    /// Archived files.
    pub files: usize,
}

impl Removed {
    fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

/// One round: the limits in force, and what may not be touched.
struct Round<'a> {
    gateway: &'a Arc<Gateway>,
    enforce: bool,
    /// Who was last heard of before this is old.
    oldest: Millis,
    entries: usize,
    lines: u64,
    /// Sessions whose messages wait to be delivered.
    with_letters: Arc<BTreeSet<String>>,
}

/// A session may be forgotten: it is no main session, has no run and no message on its way.
fn may_go(gateway: &Gateway, with_letters: &BTreeSet<String>, key: &str) -> bool {
    let config = gateway.config();
    let mains = [agent_of(&config, key), default_agent(&config)].map(|agent| main_key(&config, agent));
    !mains.iter().any(|main| main == key) && !in_use(gateway, with_letters, key)
}

fn in_use(gateway: &Gateway, with_letters: &BTreeSet<String>, key: &str) -> bool {
    with_letters.contains(key) || !gateway.runs.of_session(key).is_empty()
}

impl Maintenance {
    /// One round. Sessions that have a run or a message on its way stay, and so do main sessions; what goes goes in
    /// transactions of bounded size, so that nobody waits long for theirs.
    ///
    /// # Errors
    /// When the database cannot be used; the next round goes on.
    pub async fn run(&mut self, gateway: &Arc<Gateway>) -> Result<Removed, StoreError> {
        let config = gateway.config();
        let settings = &config.session.maintenance;
        let (wall, mono) = (gateway.clock.wall(), gateway.clock.mono());
        let reckoning = self.reckoning.get_or_insert_with(|| {
            Reckoning::begin(gateway.sessions.lock().values().map(|e| e.updated_at), wall, mono)
        });
        // A configuration that was checked can be read; without it nothing goes by age.
        let silent = settings.prune_after().map_or(Millis::MAX, |d| d.as_millis() as Millis);
        let letters: Vec<(String, Letter)> = gateway.store.read(|tx| store::all(tx, store::OUTBOX))?;
        let round = Round {
            gateway,
            enforce: settings.mode == MaintenanceMode::Enforce,
            oldest: reckoning.now(mono).saturating_sub(silent),
            entries: settings.max_entries as usize,
            lines: settings.max_transcript_lines,
            with_letters: Arc::new(letters.into_iter().filter_map(|(_, letter)| letter.cause.session_key).collect()),
        };
        let mut removed = Removed { sessions: round.sessions().await?, ..Removed::default() };
        (removed.transcripts, removed.lines) = round.transcripts().await?;
        removed.files = round.archives().await;
        if !removed.is_nothing() {
            gateway.platform.probe.sometimes("sessions.pruned");
            let Removed { sessions, transcripts, lines, files } = removed;
            if round.enforce {
                tracing::info!(sessions, transcripts, lines, files, "old conversations were removed");
            } else {
                tracing::warn!(sessions, transcripts, lines, files, "old conversations would go (session.maintenance)");
            }
        }
        Ok(removed)
    }
}

impl Round<'_> {
    /// How many of these go that are sorted by time, oldest first: what is too old, and what is more than there may be of
    /// `count` in all.
    fn going(&self, stamps: impl Iterator<Item = Millis>, count: usize) -> usize {
        stamps.take_while(|stamp| *stamp <= self.oldest).count().max(count.saturating_sub(self.entries))
    }

    /// Sessions that were silent for too long, then those of too many that were silent longest.
    async fn sessions(&self) -> Result<usize, StoreError> {
        let sessions = &self.gateway.sessions;
        let all: Vec<(Millis, String)> = sessions.lock().iter().map(|(key, e)| (e.updated_at, key.clone())).collect();
        let count = all.len();
        let mut idle: Vec<(Millis, String)> =
            all.into_iter().filter(|(_, key)| may_go(self.gateway, &self.with_letters, key)).collect();
        idle.sort();
        idle.truncate(self.going(idle.iter().map(|(at, _)| *at), count));
        if !self.enforce {
            return Ok(idle.len());
        }
        let mut gone = 0;
        for batch in idle.chunks(MAINTENANCE_SESSIONS) {
            let (gateway, with_letters) = (self.gateway.clone(), self.with_letters.clone());
            gone += sessions.prune(batch, move |key| may_go(&gateway, &with_letters, key)).await?;
        }
        Ok(gone)
    }

    /// Transcripts without a session that are too old or too many; the oldest lines of those that are too long.
    async fn transcripts(&self) -> Result<(usize, usize), StoreError> {
        let sessions = &self.gateway.sessions;
        let reader = self.gateway.clone();
        // Read before the sessions are looked at: each that is of a session then has it.
        let Some(all) = self.gateway.tasks.blocking(move || reader.sessions.transcripts()).await else {
            return Ok((0, 0));
        };
        let of: BTreeMap<String, String> =
            sessions.lock().iter().map(|(key, e)| (e.session_id.clone(), key.clone())).collect();
        let (living, mut ended): (Vec<Transcript>, Vec<Transcript>) =
            all?.into_iter().partition(|t| of.contains_key(&t.session_id));

        ended.sort_by(|a, b| (a.written, &a.session_id).cmp(&(b.written, &b.session_id)));
        ended.truncate(self.going(ended.iter().map(|t| t.written), ended.len()));
        let mut lines = 0;
        if self.enforce {
            for transcript in &ended {
                sessions.cut(&transcript.session_id, u64::MAX, MAINTENANCE_LINES).await?;
            }
        }
        for transcript in living.iter().filter(|t| t.last - t.first >= self.lines) {
            if in_use(self.gateway, &self.with_letters, &of[&transcript.session_id]) {
                continue;
            }
            // Positions that were stored may be at their limit.
            let end = (transcript.last - self.lines / CUT_TO.1 * CUT_TO.0).saturating_add(1);
            lines += if self.enforce {
                sessions.cut(&transcript.session_id, end, MAINTENANCE_LINES).await?
            } else {
                (end - transcript.first) as usize
            };
        }
        Ok((ended.len(), lines))
    }

    /// Archived transcripts (`ID.jsonl.deleted.STAMP`, `ID.jsonl.bak.STAMP`) of each agent that are too old or too many.
    async fn archives(&self) -> usize {
        let (gateway, config) = (self.gateway, self.gateway.config());
        let mut going = Vec::new();
        for agent in agent_ids(&config) {
            let dir = format!("agents/{agent}/sessions");
            let (storage, folder) = (gateway.platform.storage.clone(), dir.clone());
            let Some(Ok(names)) = gateway.tasks.blocking(move || storage.list(&folder)).await else { continue };
            let stamped = names.into_iter().filter_map(|name| Some((archived_at(&name)?, format!("{dir}/{name}"))));
            let mut files: Vec<(Millis, String)> = stamped.collect();
            files.sort();
            files.truncate(self.going(files.iter().map(|(at, _)| *at), files.len()));
            going.extend(files.into_iter().map(|(_, file)| file));
        }
        if !self.enforce || going.is_empty() {
            return going.len();
        }
        let storage = gateway.platform.storage.clone();
        let remove = move || going.iter().filter(|file| storage.remove(file).is_ok()).count();
        gateway.tasks.blocking(remove).await.unwrap_or(0)
    }
}

/// The time in an archived file's name.
fn archived_at(name: &str) -> Option<Millis> {
    let (rest, stamp) = name.split_once(".jsonl.")?;
    let stamp = stamp.strip_prefix("deleted.").or_else(|| stamp.strip_prefix("bak."))?;
    let at = jiff::civil::DateTime::strptime("%Y-%m-%dT%H-%M-%S%.fZ", stamp).ok()?;
    let at = at.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond();
    (!rest.is_empty()).then(|| u64::try_from(at).ok())?
}

/// What time it is, for ages. Stamps are the wall clock's, which may jump; so it is the newest stamp that was there when the
/// process began, plus what passed on the monotonic clock since (F23). Time without a gateway makes nothing older.
struct Reckoning {
    newest: Millis,
    since: Mono,
}

impl Reckoning {
    /// From the stamps that are there; what claims to come from the future is not believed.
    fn begin(stamps: impl Iterator<Item = Millis>, wall: Millis, since: Mono) -> Self {
        Self { newest: stamps.filter(|stamp| *stamp <= wall).max().unwrap_or(wall), since }
    }

    fn now(&self, mono: Mono) -> Millis {
        self.newest + mono.saturating_duration_since(self.since).as_millis() as Millis
    }
}

#[cfg(test)]
mod tests;
