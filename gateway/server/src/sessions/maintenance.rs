//! What of old conversations goes, and when (F04, `session.maintenance`): silent sessions, transcripts
//! that a reset ended, the oldest lines of very long ones, archived files.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use openclaw_config::MaintenanceMode;
use openclaw_platform::{Millis, Mono, Platform, SpawnerExt as _};

use super::{
    index::{self, Ended, Found},
    key::{agent_ids, agent_of, default_agent, main_key},
    store::Sessions,
};
use crate::{
    delivery::outbound::OutboundMessage,
    limits::{MAINTENANCE_LINES, MAINTENANCE_SESSIONS, SESSIONS_AT_ONCE},
    runs::Runs,
    settings::Settings,
    store::{self, Store, StoreError},
};

/// A transcript that is too long is cut to this part of what it may have, so that it is not cut again at once.
const CUT_TO: (u64, u64) = (3, 4);

/// After each slice of a walk through all sessions, so that it takes little of the machine from others.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks from time to time at what has become old, is too much or has grown; of the rest nothing is read (D45).
pub struct Maintenance {
    deps: Arc<Deps>,
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

/// What maintenance uses of others.
pub struct Deps {
    /// The seams.
    pub platform: Platform,
    /// The configuration.
    pub settings: Settings,
    /// The database.
    pub store: Store,
    /// What goes.
    pub sessions: Arc<Sessions>,
    /// A session with a run stays.
    pub runs: Arc<Runs>,
}

/// One round: the limits in force, and what may not be touched.
#[derive(Clone)]
struct Round {
    deps: Arc<Deps>,
    enforce: bool,
    /// Who was last heard of before this is old.
    oldest: Millis,
    entries: usize,
    lines: u64,
    /// Sessions whose messages wait to be delivered.
    with_outbounds: Arc<BTreeSet<String>>,
}

/// A session may be forgotten: it is no main session, has no run and no message on its way.
fn may_go(deps: &Deps, with_outbounds: &BTreeSet<String>, key: &str) -> bool {
    let config = deps.settings.get();
    let mains = [agent_of(&config, key), default_agent(&config)].map(|agent| main_key(&config, agent));
    !mains.iter().any(|main| main == key) && !in_use(deps, with_outbounds, key)
}

fn in_use(deps: &Deps, with_outbounds: &BTreeSet<String>, key: &str) -> bool {
    with_outbounds.contains(key) || !deps.runs.of_session(key).is_empty()
}

impl Maintenance {
    /// Nothing has been looked at yet.
    pub fn new(deps: Deps) -> Self {
        Self { deps: Arc::new(deps), reckoning: None }
    }

    /// One round. Sessions that have a run or a message on its way stay, and so do main sessions; what goes goes in
    /// transactions of bounded size, so that nobody waits long for theirs.
    ///
    /// # Errors
    /// When the database cannot be used; the next round goes on.
    pub async fn run(&mut self) -> Result<Removed, StoreError> {
        let deps = self.deps.clone();
        let config = deps.settings.get();
        let settings = &config.session.maintenance;
        let (wall, mono) = (deps.platform.clock.wall(), deps.platform.clock.mono());
        let reckoning = match &mut self.reckoning {
            Some(reckoning) => reckoning,
            none => none.insert(Reckoning::begin(newest_until(&deps, wall)?, wall, mono)),
        };
        // A configuration that was checked can be read; without it nothing goes by age.
        let silent = settings.prune_after().map_or(Millis::MAX, |d| d.as_millis() as Millis);
        let outbounds: Vec<(String, OutboundMessage)> = deps.store.read(|tx| store::all(tx, store::OUTBOUND))?;
        let round = Round {
            deps: deps.clone(),
            enforce: settings.mode == MaintenanceMode::Enforce,
            oldest: reckoning.now(mono).saturating_sub(silent),
            entries: settings.max_entries as usize,
            lines: settings.max_transcript_lines,
            with_outbounds: Arc::new(
                outbounds.into_iter().filter_map(|(_, outbound)| outbound.cause.session_key).collect(),
            ),
        };
        let mut removed = Removed { sessions: round.sessions().await?, ..Removed::default() };
        (removed.transcripts, removed.lines) = round.transcripts().await?;
        removed.files = round.archives().await;
        if !removed.is_nothing() {
            deps.platform.probe.sometimes("sessions.pruned");
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

impl Round {
    /// How many of these go that are sorted by time, oldest first: what is too old, and what is more than there may be of
    /// `count` in all.
    fn going(&self, stamps: impl Iterator<Item = Millis>, count: usize) -> usize {
        stamps.take_while(|stamp| *stamp <= self.oldest).count().max(count.saturating_sub(self.entries))
    }

    /// True when what was last used at `stamp` has to go: too old, or still too many when `already` have gone of `count`.
    fn goes(&self, stamp: Millis, already: usize, count: u64) -> bool {
        stamp <= self.oldest || (already as u64) < count.saturating_sub(self.entries as u64)
    }

    /// Sessions that were silent for too long, then those of too many that were silent longest.
    async fn sessions(&self) -> Result<usize, StoreError> {
        let count = self.deps.sessions.count()?;
        let mut gone = 0;
        loop {
            let most = if self.enforce { MAINTENANCE_SESSIONS } else { usize::MAX };
            let round = self.clone();
            let Some(batch) =
                self.deps.platform.tasks.blocking(move || round.silent(count, gone, most)).await.transpose()?
            else {
                return Ok(gone);
            };
            let found = batch.len();
            if !self.enforce {
                return Ok(found);
            }
            if batch.is_empty() {
                return Ok(gone);
            }
            let (deps, with_outbounds) = (self.deps.clone(), self.with_outbounds.clone());
            let pruned = self.deps.sessions.prune(batch, move |key| may_go(&deps, &with_outbounds, key)).await?;
            gone += pruned;
            // What was used meanwhile is looked at again in the next round.
            if pruned < found {
                return Ok(gone);
            }
        }
    }

    /// The next sessions that go, at most `most`, when so many have gone of `count` that there were.
    fn silent(&self, count: u64, gone: usize, most: usize) -> Result<Vec<Found>, StoreError> {
        let mut going = Vec::new();
        self.deps.sessions.look(None, index::Order::Oldest, |session| {
            if going.len() == most || !self.goes(session.updated_at, gone + going.len(), count) {
                return false;
            }
            if may_go(&self.deps, &self.with_outbounds, &session.key) {
                going.push(session);
            }
            true
        })?;
        Ok(going)
    }

    /// Transcripts without a session that are too old or too many; the oldest lines of those that are too long.
    async fn transcripts(&self) -> Result<(usize, usize), StoreError> {
        let sessions = &self.deps.sessions;
        let count = sessions.count_ended()?;
        let mut ended = 0;
        loop {
            let most = if self.enforce { MAINTENANCE_SESSIONS } else { usize::MAX };
            let mut found = 0;
            let batch: Vec<Ended> = sessions.ended(|(at, _)| {
                found += 1;
                found <= most && self.goes(*at, ended + found - 1, count)
            })?;
            ended += batch.len();
            if !self.enforce || batch.is_empty() {
                break;
            }
            for transcript in batch {
                sessions.remove_ended(transcript, MAINTENANCE_LINES).await?;
            }
        }
        let lines = self.grown().await;
        if lines.is_err() || !self.enforce {
            sessions.touched().all_again();
        }
        Ok((ended, lines?))
    }

    /// Cuts the transcripts that have become too long; at first all are looked at, later those of sessions that were used.
    async fn grown(&self) -> Result<usize, StoreError> {
        let sessions = &self.deps.sessions;
        let mut lines = 0;
        if let Some(keys) = sessions.touched().take() {
            for key in keys {
                if let Some(entry) = sessions.get(&key)? {
                    lines += self.cut(&key, &entry.session_id).await?;
                }
            }
            return Ok(lines);
        }
        let mut after = String::new();
        loop {
            let (reader, from) = (self.deps.clone(), after.clone());
            let slice = move || reader.sessions.after(&from, SESSIONS_AT_ONCE);
            let Some(slice) = self.deps.platform.tasks.blocking(slice).await.transpose()? else { return Ok(lines) };
            let Some((last, _)) = slice.last() else { return Ok(lines) };
            after.clone_from(last);
            for (key, entry) in &slice {
                lines += self.cut(key, &entry.session_id).await?;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Cuts one that is too long and not in use; gives the number of lines.
    async fn cut(&self, key: &str, session_id: &str) -> Result<usize, StoreError> {
        let Some((first, last)) = self.deps.sessions.extent(session_id)?.filter(|(a, b)| b - a >= self.lines) else {
            return Ok(0);
        };
        if in_use(&self.deps, &self.with_outbounds, key) {
            // Its turn comes when nobody uses it.
            self.deps.sessions.touched().add(key.to_owned());
            return Ok(0);
        }
        // Positions that were stored may be at their limit.
        let end = (last - self.lines / CUT_TO.1 * CUT_TO.0).saturating_add(1);
        if !self.enforce {
            return Ok((end - first) as usize);
        }
        self.deps.sessions.cut(session_id, end, MAINTENANCE_LINES).await
    }

    /// Archived transcripts (`ID.jsonl.deleted.STAMP`, `ID.jsonl.bak.STAMP`) of each agent that are too old or too many.
    async fn archives(&self) -> usize {
        let (deps, config) = (&self.deps, self.deps.settings.get());
        let mut going = Vec::new();
        for agent in agent_ids(&config) {
            let dir = format!("agents/{agent}/sessions");
            let (storage, folder) = (deps.platform.storage.clone(), dir.clone());
            let Some(Ok(names)) = deps.platform.tasks.blocking(move || storage.list(&folder)).await else { continue };
            let stamped = names.into_iter().filter_map(|name| Some((archived_at(&name)?, format!("{dir}/{name}"))));
            let mut files: Vec<(Millis, String)> = stamped.collect();
            files.sort();
            files.truncate(self.going(files.iter().map(|(at, _)| *at), files.len()));
            going.extend(files.into_iter().map(|(_, file)| file));
        }
        if !self.enforce || going.is_empty() {
            return going.len();
        }
        let storage = deps.platform.storage.clone();
        let remove = move || going.iter().filter(|file| storage.remove(file).is_ok()).count();
        deps.platform.tasks.blocking(remove).await.unwrap_or(0)
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
    /// From the newest stamp that is there.
    fn begin(newest: Option<Millis>, wall: Millis, since: Mono) -> Self {
        Self { newest: newest.unwrap_or(wall), since }
    }

    fn now(&self, mono: Mono) -> Millis {
        self.newest + mono.saturating_duration_since(self.since).as_millis() as Millis
    }
}

/// The newest stamp of a session; what claims to come from the future is not believed.
fn newest_until(deps: &Deps, wall: Millis) -> Result<Option<Millis>, StoreError> {
    let mut newest = None;
    deps.sessions.look(None, index::Order::Newest, |session| {
        newest = Some(session.updated_at).filter(|at| *at <= wall);
        newest.is_none()
    })?;
    Ok(newest)
}

#[cfg(test)]
mod tests;
