//! Lists of sessions beside each other: one that is full shows the newest, so that whatever an earlier list has shown and this
//! one leaves out is older than everything in it (agent-chat-channels.md section 7).

use serde_json::Value;

use crate::{
    history::What,
    oracle::{
        conn::{Conn, Request},
        facts::Facts,
        findings::Findings,
    },
};

/// An answer of `sessions.list`.
struct List<'a> {
    by: &'a Conn<'a>,
    asked: u64,
    answered: u64,
    /// When it was made, by the gateway's wall clock.
    ts: u64,
    params: &'a Value,
    rows: &'a [Value],
}

/// Without one a list has so many rows.
const LIMIT: u64 = 200;

fn list<'a>(by: &'a Conn<'a>, r: &'a Request<'a>) -> Option<List<'a>> {
    let answer = r.first.filter(|a| a.ok() && r.method == "sessions.list")?;
    let payload = &answer.frame["payload"];
    let rows = payload["sessions"].as_array().map_or(&[][..], Vec::as_slice);
    let ts = payload["ts"].as_u64().unwrap_or(0);
    Some(List { by, asked: r.at.i, answered: answer.at.i, ts, params: r.params, rows })
}

impl List<'_> {
    fn has_only(&self, names: &[&str]) -> bool {
        self.params.as_object().is_none_or(|p| p.keys().all(|k| names.contains(&k.as_str())))
    }
}

fn updated(row: &Value) -> u64 {
    row["updatedAt"].as_u64().unwrap_or(0)
}

/// Checks every list that is full.
pub fn check(conns: &[Conn], facts: &Facts, out: &mut Findings) {
    if facts.faults.iter().any(|f| f.kind == "clock_jump") {
        return;
    }
    let all: Vec<List> = conns.iter().flat_map(|c| c.requests.iter().filter_map(move |r| list(c, r))).collect();
    // What may take a session away between two lists.
    let takes = |from: u64, to: u64| {
        let mut requests = conns.iter().flat_map(|c| &c.requests);
        let asked =
            requests.any(|r| r.method == "sessions.delete" && r.at.i < to && r.first.is_none_or(|a| a.at.i > from));
        let pruned = |what: &What| matches!(what, What::Probe { name, .. } if name == "sessions.pruned");
        asked || facts.history[from as usize..to as usize].iter().any(|r| pruned(&r.what))
    };
    active(&all, &takes, out);
    for short in all.iter().filter(|l| l.has_only(&["limit", "includeLastMessage", "includeDerivedTitles"])) {
        let limit = short.params["limit"].as_u64().unwrap_or(LIMIT);
        let Some(oldest) = short.rows.iter().map(updated).min().filter(|_| short.rows.len() as u64 == limit) else {
            continue;
        };
        for before in all.iter().filter(|l| l.answered < short.asked) {
            let missing = |row: &&Value| {
                // These kinds are shown only where they are asked for.
                let plain = !matches!(row["kind"].as_str(), Some("global" | "unknown"));
                plain && updated(row) > oldest && !short.rows.iter().any(|r| r["key"] == row["key"])
            };
            let Some(row) = before.rows.iter().find(missing) else { continue };
            if takes(before.asked, short.answered) {
                continue;
            }
            let text = format!(
                "{}: sessions.list shows what is older than {}, which it leaves out",
                short.by.name,
                row["key"].as_str().unwrap_or_default()
            );
            out.broken("answers", short.answered, text);
        }
    }
}

/// One of those that were active lately has all of which an earlier list tells that they were.
fn active(all: &[List], takes: &dyn Fn(u64, u64) -> bool, out: &mut Findings) {
    for list in all.iter().filter(|l| l.has_only(&["activeMinutes"]) && (l.rows.len() as u64) < LIMIT) {
        let Some(minutes) = list.params["activeMinutes"].as_u64() else { continue };
        let since = list.ts.saturating_sub(minutes * 60_000);
        for before in all.iter().filter(|l| l.answered < list.asked) {
            let missing = |row: &&Value| {
                let plain = !matches!(row["kind"].as_str(), Some("global" | "unknown"));
                plain && updated(row) > since && !list.rows.iter().any(|r| r["key"] == row["key"])
            };
            if let Some(row) = before.rows.iter().find(missing).filter(|_| !takes(before.asked, list.answered)) {
                let text = format!("{}: sessions.list leaves out {}, which was active", list.by.name, row["key"]);
                out.broken("answers", list.answered, text);
            }
        }
    }
}
