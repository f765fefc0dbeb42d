//! Lists of sessions: the newest first, as many as are asked for, in slices (F55, D45).

use openclaw_platform::{Clock, sync::Arc};
use openclaw_protocol::params::{ModelDefaults, SessionRow, SessionsList, SessionsListParams};

use super::{
    entry::SessionEntry,
    index::{Found, Order},
    key::{kind, of_agent},
    store::Sessions,
};
use crate::{
    bulk_reads::{BulkReads, NotRead},
    health::Monitor,
    limits::BULK_SESSIONS,
    settings::Settings,
    store::StoreError,
};

/// Sessions of a list that names no limit (D45).
const NEWEST: usize = 200;
/// Characters of a derived title and of a last message.
const TITLE: usize = 60;
const LAST_MESSAGE: usize = 120;

/// What lists are made from.
pub struct Deps {
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// The configuration.
    pub settings: Settings,
    /// The sessions.
    pub sessions: Arc<Sessions>,
    /// The models of sessions that name none.
    pub health: Arc<Monitor>,
    /// Places for slices.
    pub reads: Arc<BulkReads>,
}

/// Makes lists of sessions.
pub struct Listing {
    deps: Deps,
}

impl Listing {
    /// Of these sessions.
    pub fn new(deps: Deps) -> Self {
        Self { deps }
    }

    /// The newest sessions that `p` asks for.
    ///
    /// # Errors
    /// [`NotRead`].
    pub async fn list(self: &Arc<Self>, p: SessionsListParams) -> Result<SessionsList, NotRead> {
        let wanted = Arc::new(p);
        let (list, asked) = (self.clone(), wanted.clone());
        let mut keys = self.deps.reads.slice(move || Ok::<_, NotRead>(list.matching(&asked)?)).await?;
        let defaults = Arc::new(self.deps.health.model_defaults());
        let mut rows = Vec::with_capacity(keys.len());
        while !keys.is_empty() {
            let later = keys.split_off(keys.len().min(BULK_SESSIONS));
            let (some, list) = (std::mem::replace(&mut keys, later), self.clone());
            let (asked, defaults) = (wanted.clone(), defaults.clone());
            rows.append(&mut self.deps.reads.slice(move || list.rows(&asked, &defaults, &some)).await?);
        }
        // They may have been changed since their order was looked up.
        rows.sort_by_key(|row: &SessionRow| std::cmp::Reverse(row.updated_at));
        let (ts, path, count) = (self.deps.clock.wall(), self.deps.health.sessions_path(), rows.len() as u64);
        Ok(SessionsList { ts, path, count, defaults: ModelDefaults::clone(&defaults), sessions: rows })
    }

    /// Keys of the sessions that a list is to show, newest first. A search reads keys and labels only (D45).
    fn matching(&self, p: &SessionsListParams) -> Result<Vec<String>, StoreError> {
        let config = self.deps.settings.get();
        let now = self.deps.clock.wall();
        let search = p.search.as_deref().map(|s| s.trim().to_lowercase()).filter(|s| !s.is_empty());
        let active = p.active_minutes.map(|minutes| minutes.unsigned() * 60_000);
        let found = |text: &str, needle: &str| text.to_lowercase().contains(needle);
        let keep = |s: &Found| {
            (kind(&s.key) != "global" || p.include_global != Some(false))
                && (kind(&s.key) != "unknown" || p.include_unknown == Some(true))
                && p.label.as_deref().is_none_or(|l| s.label.as_deref() == Some(l))
                && p.spawned_by.as_deref().is_none_or(|by| s.spawned_by.as_deref() == Some(by))
                && search.as_deref().is_none_or(|n| found(&s.key, n) || s.label.as_deref().is_some_and(|l| found(l, n)))
        };
        let limit = p.limit.map_or(NEWEST, |l| l.unsigned() as usize);
        let mut keys = Vec::new();
        let agents = p.agent_id.as_deref().map(|id| of_agent(&config, id));
        self.deps.sessions.look(agents.as_deref(), Order::Newest, |session| {
            // Those that come later have been silent for longer.
            let is_active = active.is_none_or(|ms| now.saturating_sub(session.updated_at) <= ms);
            if is_active && keys.len() < limit && keep(&session) {
                keys.push(session.key);
            }
            is_active && keys.len() < limit
        })?;
        Ok(keys)
    }

    /// Rows of a list; a session that has gone meanwhile has none.
    fn rows(
        &self,
        p: &SessionsListParams,
        defaults: &ModelDefaults,
        keys: &[String],
    ) -> Result<Vec<SessionRow>, NotRead> {
        let mut rows = Vec::with_capacity(keys.len());
        for key in keys {
            let Some(entry) = self.deps.sessions.get(key)? else { continue };
            let mut row = self.deps.health.session_row(defaults, key, &entry);
            if p.include_derived_titles == Some(true) {
                row.derived_title = self.title(&entry)?;
            }
            if p.include_last_message == Some(true) {
                let last = self.deps.sessions.messages(&entry.session_id, 1)?;
                row.last_message_preview = last.first().map(|m| cut(&m.text(), LAST_MESSAGE));
            }
            rows.push(row);
        }
        Ok(rows)
    }

    /// A name for a session that has none: its display name or subject, else how it began.
    fn title(&self, entry: &SessionEntry) -> Result<Option<String>, StoreError> {
        if let Some(name) = entry.display_name.clone().or_else(|| entry.subject.clone()) {
            return Ok(Some(name));
        }
        Ok(self.deps.sessions.first_said(&entry.session_id)?.map(|said| cut(&said.text(), TITLE)))
    }
}

/// At most `max` characters of a text, in one line.
pub fn cut(text: &str, max: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= max {
        return line;
    }
    let mut short: String = line.chars().take(max.saturating_sub(1)).collect();
    short.push('…');
    short
}
