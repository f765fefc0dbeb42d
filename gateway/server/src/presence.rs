//! Who is there (protocol-core.md section 11, decision D11).

use std::collections::BTreeMap;

use indexmap::IndexMap;
use openclaw_platform::{
    Millis,
    sync::{LockExt as _, Mutex, MutexGuard},
};
use openclaw_protocol::{
    connect::Presence,
    frame::Encoded,
    params::{PresenceList, SystemEventParams},
    truncate,
};
use serde::Serialize;

use crate::{
    limits::{PRESENCE_ENTRIES, PRESENCE_LIST, PRESENCE_TEXT, PRESENCE_TTL_MS},
    options::HostInfo,
};

/// The entries by key, and how often they changed.
#[derive(Debug)]
pub struct PresenceMap {
    entries: IndexMap<String, Entry>,
    version: u64,
    own: Presence,
    /// The list as it was encoded last: for which version, at which time.
    encoded: Option<(u64, Millis, Encoded<PresenceList>)>,
}

/// Payload of a `presence` event whose list is encoded already.
#[derive(Debug, Serialize)]
pub struct Told {
    /// The whole list.
    pub presence: Encoded<PresenceList>,
}

#[derive(Debug)]
struct Entry {
    shown: Presence,
    /// Live connections under this key; while there is one the entry never expires.
    live: usize,
}

impl PresenceMap {
    /// Only the gateway itself.
    pub fn new(host: &HostInfo, version: &str, now: Millis) -> Self {
        let text = format!("Gateway: {} · app {version} · mode gateway · reason self", host.name);
        let own = Presence {
            host: Some(host.name.clone()),
            version: Some(version.to_owned()),
            platform: Some(host.platform.clone()),
            device_family: Some(host.family.clone()),
            model_identifier: Some(host.model.clone()),
            mode: Some("gateway".into()),
            reason: Some("self".into()),
            text: Some(text),
            ..empty(now)
        };
        Self { entries: IndexMap::new(), version: 1, own, encoded: None }
    }

    /// Grows with every change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The gateway first, then newest first; expired entries leave.
    pub fn list(&mut self, now: Millis) -> Vec<Presence> {
        self.expire(now);
        let mut list: Vec<Presence> = self.entries.values().map(|e| e.shown.clone()).collect();
        list.sort_by_key(|p| std::cmp::Reverse(p.ts));
        list.insert(0, Presence { ts: now, ..self.own.clone() });
        list
    }

    /// The same as text: encoded once however many ask within a millisecond, and for the event and the answers alike.
    pub fn encoded(&mut self, now: Millis) -> serde_json::Result<Encoded<PresenceList>> {
        if let Some((version, at, list)) = &self.encoded
            && (*version, *at) == (self.version, now)
        {
            return Ok(list.clone());
        }
        let list = Encoded::new(&self.list(now))?;
        self.encoded = Some((self.version, now, list.clone()));
        Ok(list)
    }

    /// A connection under `key` came. Explicit members overwrite, roles and scopes are united.
    pub fn connect(&mut self, key: &str, shown: Presence, now: Millis) {
        self.version += 1;
        let entry = self.entry(key, now);
        entry.live += 1;
        let old = std::mem::replace(&mut entry.shown, shown);
        entry.shown.roles = united(old.roles, entry.shown.roles.take());
        entry.shown.scopes = united(old.scopes, entry.shown.scopes.take());
        entry.shown.text = old.text.or(entry.shown.text.take());
        entry.shown.tags = old.tags;
        entry.shown.last_input_seconds = old.last_input_seconds;
        entry.shown.ts = now;
        entry.shown.reason = Some("connect".into());
        bound(&mut entry.shown);
        self.expire(now);
    }

    /// A connection under `key` went; the entry stays as it is until the last one has gone.
    /// True when something changed.
    pub fn disconnect(&mut self, key: &str, now: Millis) -> bool {
        let Some(entry) = self.entries.get_mut(&normal(key)) else { return false };
        entry.live = entry.live.saturating_sub(1);
        if entry.live > 0 {
            return false;
        }
        entry.shown.reason = Some("disconnect".into());
        entry.shown.ts = now;
        self.version += 1;
        true
    }

    /// A note about a client or machine (`system-event`). Gives the entry before and after.
    pub fn note(&mut self, text: &str, p: &SystemEventParams, host: &str, now: Millis) -> (Option<Presence>, Presence) {
        let line = NodeLine::parse(text);
        let first = |a: &Option<String>, b: Option<&str>| {
            a.as_deref().map(str::trim).filter(|s| !s.is_empty()).or(b).map(str::to_owned)
        };
        let key = first(&p.device_id, p.instance_id.as_deref())
            .or_else(|| line.as_ref().map(|l| l.host.to_lowercase()))
            .or_else(|| Some(truncate::chars(text, 64).to_owned()).filter(|t| !t.is_empty()))
            .unwrap_or_else(|| host.to_owned());
        self.version += 1;
        let existed = self.entries.contains_key(&normal(&key));
        let entry = self.entry(&key, now);
        let old = existed.then(|| entry.shown.clone());
        let e = &mut entry.shown;
        let l = line.as_ref();
        let merge = |slot: &mut Option<String>, explicit: &Option<String>, parsed: Option<&str>| {
            if let Some(new) = first(explicit, parsed) {
                *slot = Some(new);
            }
        };
        merge(&mut e.host, &p.host, l.map(|l| l.host));
        merge(&mut e.ip, &p.ip, l.map(|l| l.ip));
        merge(&mut e.version, &p.version, l.map(|l| l.version));
        merge(&mut e.mode, &p.mode, l.map(|l| l.mode));
        merge(&mut e.reason, &p.reason, l.map(|l| l.reason));
        merge(&mut e.platform, &p.platform, None);
        merge(&mut e.device_family, &p.device_family, None);
        merge(&mut e.model_identifier, &p.model_identifier, None);
        merge(&mut e.device_id, &p.device_id, None);
        merge(&mut e.instance_id, &p.instance_id, None);
        let idle = p.last_input_seconds.map(openclaw_protocol::wire::Int::unsigned);
        e.last_input_seconds = idle.or(l.and_then(|l| l.idle)).or(e.last_input_seconds);
        e.roles = united(e.roles.take(), p.roles.clone());
        e.scopes = united(e.scopes.take(), p.scopes.clone());
        e.tags = p.tags.clone().or(e.tags.take());
        e.text = Some(text.to_owned());
        e.ts = now;
        bound(e);
        let new = e.clone();
        self.expire(now);
        (old, new)
    }

    fn entry(&mut self, key: &str, now: Millis) -> &mut Entry {
        self.entries.entry(normal(key)).or_insert_with(|| Entry { shown: empty(now), live: 0 })
    }

    fn expire(&mut self, now: Millis) {
        self.entries.retain(|_, e| e.live > 0 || now.saturating_sub(e.shown.ts) < PRESENCE_TTL_MS);
        while self.entries.len() > PRESENCE_ENTRIES {
            let idle = self.entries.iter().filter(|(_, e)| e.live == 0);
            let Some(key) = idle.min_by_key(|(_, e)| e.shown.ts).map(|(k, _)| k.clone()) else { break };
            self.entries.shift_remove(&key);
        }
    }
}

/// `Node: HOST (IP) · app VERSION · last input Ns ago · mode MODE · reason REST`, found anywhere, in any case.
struct NodeLine<'a> {
    host: &'a str,
    ip: &'a str,
    version: &'a str,
    idle: Option<u64>,
    mode: &'a str,
    reason: &'a str,
}

impl<'a> NodeLine<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let start = text.to_ascii_lowercase().find("node:")?;
        let (head, rest) = text[start + 5..].trim_start().split_once(')')?;
        let (host, ip) = head.split_once(" (")?;
        if host.is_empty() || host.contains([' ', '(']) {
            return None;
        }
        let mut parts = rest.split(" · ").skip(1);
        let version = after(parts.next()?, "app ")?;
        let idle = after(parts.next()?, "last input ")?;
        let mode = after(parts.next()?, "mode ")?;
        let reason = after(parts.next()?, "reason ")?;
        let idle = idle.strip_suffix("s ago").and_then(|n| n.parse().ok());
        Some(Self { host, ip, version, idle, mode, reason })
    }
}

fn after<'a>(part: &'a str, word: &str) -> Option<&'a str> {
    let head = part.get(..word.len())?;
    head.eq_ignore_ascii_case(word).then(|| part[word.len()..].trim())
}

fn normal(key: &str) -> String {
    key.trim().to_lowercase()
}

fn united(a: Option<Vec<String>>, b: Option<Vec<String>>) -> Option<Vec<String>> {
    let mut all: Vec<String> = a.into_iter().chain(b).flatten().collect();
    all.sort();
    all.dedup();
    all.truncate(PRESENCE_LIST);
    (!all.is_empty()).then_some(all)
}

/// Every presence event carries every entry, so no client may make its own large.
fn bound(e: &mut Presence) {
    let texts = [
        &mut e.host,
        &mut e.ip,
        &mut e.version,
        &mut e.platform,
        &mut e.device_family,
        &mut e.model_identifier,
        &mut e.mode,
        &mut e.reason,
        &mut e.text,
        &mut e.device_id,
        &mut e.instance_id,
    ];
    for text in texts.into_iter().flatten() {
        cut(text);
    }
    for list in [&mut e.tags, &mut e.roles, &mut e.scopes].into_iter().flatten() {
        list.truncate(PRESENCE_LIST);
        list.iter_mut().for_each(cut);
    }
}

fn cut(text: &mut String) {
    text.truncate(truncate::chars(text, PRESENCE_TEXT).len());
}

/// An entry with nothing but its time.
pub fn empty(ts: Millis) -> Presence {
    Presence {
        ts,
        host: None,
        ip: None,
        version: None,
        platform: None,
        device_family: None,
        model_identifier: None,
        mode: None,
        last_input_seconds: None,
        reason: None,
        tags: None,
        text: None,
        device_id: None,
        roles: None,
        scopes: None,
        instance_id: None,
    }
}

/// Who is there, and under which key each connection is.
pub struct PresenceTable {
    map: Mutex<PresenceMap>,
    keys: Mutex<BTreeMap<String, String>>,
}

impl PresenceTable {
    /// This list, and no connections.
    pub fn new(map: PresenceMap) -> Self {
        Self { map: Mutex::new(map), keys: Mutex::default() }
    }
    /// The list while its lock is held; take it after the hub's.
    pub fn lock(&self) -> MutexGuard<'_, PresenceMap> {
        self.map.locked()
    }
    /// Presence keys of attached connections, by connection id.
    pub fn keys(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.keys.locked()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> PresenceMap {
        let host =
            HostInfo { name: "box".into(), platform: "linux 6".into(), family: "Linux".into(), model: "x".into() };
        PresenceMap::new(&host, "1", 0)
    }

    #[test]
    fn two_connections_under_one_key_stay_until_the_last_closes() {
        let mut m = map();
        for _ in 0..2 {
            m.connect("I", empty(1), 1);
        }
        assert!(!m.disconnect("i", 2));
        assert_eq!(m.list(3)[1].reason.as_deref(), Some("connect"));
        assert!(m.disconnect("I", 4));
        assert_eq!(m.list(5)[1].reason.as_deref(), Some("disconnect"));
        assert_eq!(m.list(4 + PRESENCE_TTL_MS).len(), 1);
    }

    /// What was encoded is never older than the list.
    #[test]
    fn the_encoded_list_follows_changes_and_time() {
        let mut m = map();
        let same = |m: &mut PresenceMap, now: Millis| {
            let text = serde_json::to_string(&m.encoded(now).unwrap()).unwrap();
            assert_eq!(text, serde_json::to_string(&m.list(now)).unwrap());
        };
        same(&mut m, 1);
        m.connect("a", empty(1), 1);
        same(&mut m, 1);
        m.note("note", &SystemEventParams::default(), "box", 1);
        same(&mut m, 1);
        m.disconnect("a", 1);
        same(&mut m, 1);
        same(&mut m, 1 + PRESENCE_TTL_MS);
    }

    #[test]
    fn a_live_connection_never_expires() {
        let mut m = map();
        m.connect("live", empty(0), 0);
        assert_eq!(m.list(100 * PRESENCE_TTL_MS).len(), 2);
    }

    /// Bounded however many clients come (F04).
    #[test]
    fn f04_entries_and_texts_are_bounded() {
        let mut m = map();
        for n in 0..1000 {
            m.note(&format!("note {n}"), &SystemEventParams::default(), "box", n);
        }
        assert_eq!(m.list(1000).len(), PRESENCE_ENTRIES + 1);
        let (_, e) = m.note(&"é".repeat(10_000), &SystemEventParams::default(), "box", 1);
        assert_eq!(e.text.unwrap().chars().count(), PRESENCE_TEXT);
    }

    #[test]
    fn node_lines_parse_and_others_do_not() {
        let l =
            NodeLine::parse("x NODE: h1 (10.0.0.2) · app 2.1 · last input 7s ago · mode remote · reason a b").unwrap();
        assert_eq!(
            (l.host, l.ip, l.version, l.idle, l.mode, l.reason),
            ("h1", "10.0.0.2", "2.1", Some(7), "remote", "a b")
        );
        for bad in [
            "",
            "node: h",
            "Node: h h (i) · app 1 · last input 1s ago · mode m · reason r",
            "Node: h (i) · app 1",
            "node:İ)",
        ] {
            assert!(NodeLine::parse(bad).is_none(), "{bad}");
        }
    }
}
