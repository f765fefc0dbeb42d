//! The two tables of `node.pair.*` (nodes-config-lifecycle.md part A3): who waits, who was let in. There is one order of all
//! requests in which each answer is right: one request for each node, 64 of them and 32 of one asker, each for five minutes; where
//! they are full the oldest makes room, but for those younger than a minute of others (D46). What was stored holds over restarts.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    history::What,
    oracle::{
        conn::{Conn, Request},
        facts::Facts,
        findings::Findings,
        linearizable::{Object, Op, first_misfit},
    },
};

/// Requests that wait, and those of one asker.
const PLACES: usize = 64;
pub const OF_ONE: usize = 32;
/// So long one waits, and so long one of somebody else is not pushed out, in microseconds.
pub const TTL: u64 = 300_000_000;
const PROTECTED: u64 = 60_000_000;
/// A request without an answer has had its effect by then, in microseconds.
const EFFECT: u64 = 20_000_000;

/// A time between these two, in microseconds.
type Time = (u64, u64);

/// A request that waits. Its id and row are empty where nobody was told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Waits {
    node: String,
    id: String,
    row: String,
    /// Unknown after a restart.
    by: Option<String>,
    at: Time,
    /// Since when its place is taken: of one's own that made room.
    since: Time,
}

/// Both tables: requests in the order in which they came, and rows of nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Tables {
    waiting: Vec<Waits>,
    paired: BTreeMap<String, String>,
}

#[derive(Debug, Clone)]
enum Does {
    /// A request for `node`: filed as `row` (`None`: nobody knows whether), or it waited already.
    Files {
        node: String,
        by: String,
        row: Option<Value>,
        created: bool,
        at: Time,
    },
    /// There was no place, until then.
    Full {
        by: String,
        node: String,
        retry: u64,
        at: Time,
    },
    /// Let in, with the row that was told.
    Approves {
        id: String,
        row: Option<Value>,
        at: Time,
    },
    Rejects {
        id: String,
        at: Time,
    },
    /// There was no such request.
    Unknown {
        id: String,
        at: Time,
    },
    Lists {
        pending: Vec<Value>,
        paired: Vec<Value>,
        at: Time,
    },
    Restart,
}

struct Pairs;

/// The request of an id, or one whose id nobody was told.
fn find(waiting: &[Waits], id: &str) -> Option<usize> {
    waiting.iter().position(|w| w.id == id).or_else(|| waiting.iter().position(|w| w.id.is_empty()))
}

/// A row in one form, without its token.
fn plain(row: &Value) -> String {
    let members = row.as_object().into_iter().flatten().filter(|(name, _)| *name != "token");
    serde_json::to_string(&members.collect::<BTreeMap<_, _>>()).unwrap_or_default()
}

fn said(v: &Value) -> String {
    v.as_str().unwrap_or_default().to_owned()
}

impl Tables {
    /// What they may be at a time: those that are too old have gone, in the order in which they came.
    fn fresh(&self, now: Time) -> Vec<Self> {
        let gone = self.waiting.iter().take_while(|w| now.0.saturating_sub(w.at.1) >= TTL).count();
        let may = self.waiting.iter().take_while(|w| now.1.saturating_sub(w.at.0) >= TTL).count();
        let without = |n: usize| Self { waiting: self.waiting[n..].to_vec(), paired: self.paired.clone() };
        (gone..=may.max(gone)).map(without).collect()
    }

    /// Who may make room for a request of `by`; an empty list: nobody. `None`: there is room.
    fn room(&self, by: &str, now: Time) -> Option<Vec<usize>> {
        let own = |w: &Waits| w.by.as_deref() == Some(by);
        let (taken, mine) = (self.waiting.len(), self.waiting.iter().filter(|w| own(w)).count());
        if mine < OF_ONE && taken < PLACES {
            return None;
        }
        let surely = |w: &Waits| own(w) || mine < OF_ONE && now.0.saturating_sub(w.since.1) >= PROTECTED;
        let may = |w: &Waits| own(w) || mine < OF_ONE && now.1.saturating_sub(w.since.0) >= PROTECTED;
        // The oldest of those that surely give way, or one that may be older.
        let oldest = self.waiting.iter().filter(|w| surely(w)).map(|w| w.since.1).min().unwrap_or(u64::MAX);
        let can = |w: &Waits| may(w) && w.since.0 <= oldest;
        Some((0..taken).filter(|n| can(&self.waiting[*n])).collect())
    }

    fn surely_has_room(&self, by: &str, now: Time) -> bool {
        let Some(can) = self.room(by, now) else { return true };
        let own = |w: &Waits| w.by.as_deref() == Some(by);
        can.iter().any(|n| own(&self.waiting[*n]) || now.0.saturating_sub(self.waiting[*n].since.1) >= PROTECTED)
    }

    fn filed(&self, node: &str, by: &str, row: Option<&Value>, now: Time) -> Vec<Self> {
        let new = |since: Time| Waits {
            node: node.to_owned(),
            id: row.map(|r| said(&r["requestId"])).unwrap_or_default(),
            row: row.map(plain).unwrap_or_default(),
            by: Some(by.to_owned()),
            at: now,
            since,
        };
        // Whether it is known already stands in its row.
        if row.is_some_and(|r| (r["isRepair"] == true) != self.paired.contains_key(node)) {
            return vec![];
        }
        let Some(can) = self.room(by, now) else {
            let mut more = self.clone();
            more.waiting.push(new(now));
            return vec![more];
        };
        let instead = |n: usize| {
            let mut other = self.clone();
            let gone = other.waiting.remove(n);
            let since = if gone.by.as_deref() == Some(by) { gone.since } else { now };
            other.waiting.push(new(since));
            other
        };
        can.into_iter().map(instead).collect()
    }

    fn step(&self, op: &Does) -> Vec<Self> {
        let same = |list: Vec<Self>, holds: bool| if holds { list } else { vec![] };
        match op {
            Does::Files { node, by, row, created, at } => match self.waiting.iter().find(|w| w.node == *node) {
                Some(waits) => {
                    let is_it =
                        row.as_ref().is_none_or(|r| !created && (waits.row.is_empty() || waits.row == plain(r)));
                    same(vec![self.clone()], is_it)
                }
                None => same(self.filed(node, by, row.as_ref(), *at), row.is_none() || *created),
            },
            Does::Full { by, node, retry, at } => {
                let eldest = self.waiting.iter().map(|w| w.since).min().unwrap_or_default();
                // In whole milliseconds.
                let (least, most) =
                    (PROTECTED.saturating_sub(at.1 - eldest.0), PROTECTED.saturating_sub(at.0 - eldest.1));
                let right = (least.saturating_sub(1000)..=most + 1000).contains(&(retry * 1000));
                let known = self.waiting.iter().any(|w| w.node == *node);
                same(vec![self.clone()], !known && right && !self.surely_has_room(by, *at))
            }
            Does::Approves { id, row, .. } => {
                let Some(n) = find(&self.waiting, id) else { return vec![] };
                let mut after = self.clone();
                let waits = after.waiting.remove(n);
                if let Some(row) = row {
                    let since =
                        |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default()["createdAtMs"].clone();
                    let asked: Value = serde_json::from_str(&waits.row).unwrap_or_default();
                    let members = ["displayName", "platform", "version", "caps", "commands"];
                    let as_asked = waits.row.is_empty() || members.iter().all(|m| row.get(*m) == asked.get(*m));
                    let created = self.paired.get(&waits.node).filter(|old| !old.is_empty()).map(|old| since(old));
                    let kept = created.is_none_or(|old| old == row["createdAtMs"]);
                    if row["nodeId"] != waits.node.as_str() || !as_asked || !kept {
                        return vec![];
                    }
                }
                let row = row.as_ref().map(plain);
                after.paired.insert(waits.node, row.unwrap_or_default());
                vec![after]
            }
            Does::Rejects { id, .. } => {
                let Some(n) = find(&self.waiting, id) else { return vec![] };
                let mut after = self.clone();
                after.waiting.remove(n);
                vec![after]
            }
            Does::Unknown { id, .. } => same(vec![self.clone()], !self.waiting.iter().any(|w| w.id == *id)),
            Does::Lists { pending, paired, .. } => {
                let listed = |row: &Value| {
                    self.waiting
                        .iter()
                        .any(|w| w.node == said(&row["nodeId"]) && (w.row.is_empty() || w.row == plain(row)))
                };
                let is_in = |row: &Value| {
                    let known = self.paired.get(row["nodeId"].as_str().unwrap_or_default());
                    known.is_some_and(|known| known.is_empty() || *known == plain(row))
                };
                let whole = pending.len() == self.waiting.len() && paired.len() == self.paired.len();
                same(vec![self.clone()], whole && pending.iter().all(listed) && paired.iter().all(is_in))
            }
            Does::Restart => {
                let mut after = self.clone();
                for waits in &mut after.waiting {
                    (waits.by, waits.since) = (None, waits.at);
                }
                vec![after]
            }
        }
    }
}

impl Object for Pairs {
    type State = Tables;
    type Op = Does;
    fn step(&self, state: &Tables, op: &Does) -> Vec<Tables> {
        let at = match op {
            Does::Files { at, .. }
            | Does::Full { at, .. }
            | Does::Approves { at, .. }
            | Does::Rejects { at, .. }
            | Does::Unknown { at, .. }
            | Does::Lists { at, .. } => *at,
            Does::Restart => return state.step(op),
        };
        state.fresh(at).iter().flat_map(|state| state.step(op)).collect()
    }
}

/// What a request has done, as far as its answer tells; `None`: nothing.
fn deed(c: &Conn, r: &Request, at: Time) -> Option<Does> {
    let text = |key: &str| r.params[key].as_str().unwrap_or_default().trim().to_owned();
    let by = c.hello.as_ref()?.identity().to_owned();
    let payload = match r.first {
        Some(a) if a.ok() => Some(&a.frame["payload"]),
        Some(a) if a.reason() == "PAIRING_QUEUE_FULL" => {
            let retry = a.frame["error"]["retryAfterMs"].as_u64().unwrap_or(u64::MAX / 4000);
            return Some(Does::Full { by, node: text("nodeId"), retry, at });
        }
        Some(a) if a.reason() == "UNKNOWN_REQUEST" => return Some(Does::Unknown { id: text("requestId"), at }),
        _ if r.is_undone() => return None,
        _ => None,
    };
    Some(match (r.method, payload) {
        ("node.pair.request", payload) => Does::Files {
            node: text("nodeId"),
            by,
            row: payload.map(|p| p["request"].clone()),
            created: payload.is_some_and(|p| p["created"] == true),
            at,
        },
        ("node.pair.approve", payload) => {
            Does::Approves { id: text("requestId"), row: payload.map(|p| p["node"].clone()), at }
        }
        ("node.pair.reject", _) => Does::Rejects { id: text("requestId"), at },
        ("node.pair.list", Some(payload)) => {
            let rows = |key: &str| payload[key].as_array().cloned().unwrap_or_default();
            Does::Lists { pending: rows("pending"), paired: rows("paired"), at }
        }
        _ => return None,
    })
}

/// Judges all of them, up to the record `until`.
pub fn check(conns: &[Conn], facts: &Facts, until: u64, out: &mut Findings) {
    // By its wall clock a restart knows how old a request is.
    if facts.faults.iter().any(|f| f.kind == "clock_jump") {
        return;
    }
    let mut ops = Vec::new();
    for c in conns {
        for r in c.requests.iter().filter(|r| r.method.starts_with("node.pair.")) {
            let life = facts.lives[c.life].to;
            let effect = (r.at.t + EFFECT).min(life).min(facts.end);
            let at = (r.at.t, r.first.map_or(effect, |a| a.at.t));
            let Some(op) = deed(c, r, at) else { continue };
            let told = r.first.filter(|a| a.ok() || matches!(a.reason(), "PAIRING_QUEUE_FULL" | "UNKNOWN_REQUEST"));
            let unknown = || facts.history.partition_point(|record| record.t_us <= effect) as u64;
            let (ret, record) = (told.map_or_else(unknown, |a| a.at.i), r.first.map_or(r.at.i, |a| a.at.i));
            ops.push(Op { call: r.at.i, ret: ret.max(r.at.i), sure: told.is_some(), record, op });
        }
    }
    if ops.is_empty() {
        return;
    }
    let starts = facts.history.iter().filter(|r| matches!(&r.what, What::Process { event } if event == "start"));
    for r in starts.skip(1) {
        ops.push(Op { call: r.i, ret: r.i, sure: true, record: r.i, op: Does::Restart });
    }
    ops.retain(|op| op.ret < until);
    if let Some(op) = first_misfit(&Pairs, Tables::default(), &ops) {
        let what = match &op.op {
            Does::Files { node, created, .. } => format!("a request for {node} was filed (created: {created})"),
            Does::Full { node, retry, .. } => format!("there was no place for {node}, for another {retry} ms"),
            Does::Approves { id, .. } => format!("{id} was approved"),
            Does::Rejects { id, .. } => format!("{id} was rejected"),
            Does::Unknown { id, .. } => format!("{id} was unknown"),
            Does::Lists { pending, paired, .. } => format!("{} waited and {} were paired", pending.len(), paired.len()),
            Does::Restart => "the gateway began".to_owned(),
        };
        out.broken(
            "answers",
            op.record,
            format!("node.pair: {what}, which fits into no order of what was answered before"),
        );
    }
}
