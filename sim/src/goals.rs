//! What a run has reached, in the words of `[expect] sometimes`.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Record, What};

/// Everything that this history has reached.
pub fn reached(history: &[Record]) -> BTreeSet<String> {
    let mut goals = BTreeSet::new();
    // Most records are events: their words are put together once.
    let mut events: BTreeSet<(&str, Option<&str>)> = BTreeSet::new();
    let mut seqs: BTreeMap<&str, u64> = BTreeMap::new();
    for record in history {
        match &record.what {
            What::Received { conn, frame } => {
                if let Some(event) = frame["event"].as_str() {
                    events.insert((event, frame["payload"]["state"].as_str()));
                }
                if let Some(code) = frame["error"]["details"]["code"].as_str() {
                    goals.insert(format!("error {code}"));
                }
                if let Some(seq) = frame["seq"].as_u64() {
                    let last = seqs.insert(conn, seq).unwrap_or(0);
                    if seq > last + 1 {
                        goals.insert("gap".into());
                    }
                }
            }
            What::Closed { code, reason, by_client, .. } => {
                let who = if *by_client { "left" } else { "closed" };
                if let Some(code) = code {
                    goals.insert(format!("{who} {code}"));
                }
                if !reason.is_empty() {
                    goals.insert(format!("{who} {reason}"));
                }
            }
            What::Opened { conn, .. } if !conn.ends_with("/1") && !conn.contains("/v") => {
                goals.insert("reconnect".into());
            }
            What::Sent { frame, .. } => {
                let resent = frame["id"].as_str().and_then(|id| id.split_once('.')).is_some_and(|(_, n)| n != "1");
                if resent {
                    goals.insert("resent".into());
                }
            }
            What::ConnectFailed { error, .. } => {
                goals.insert(format!("connect failed {error}"));
            }
            What::Telegram { method, status: Some(status), .. } => {
                goals.insert(format!("telegram {status}"));
                goals.insert(format!("{method} {status}"));
            }
            What::Command { argv } => {
                let name = argv.first().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
                goals.insert(format!("ran {name}"));
            }
            What::Process { event } => {
                goals.insert(format!("process {event}"));
            }
            What::Probe { name, holds: true, always: false } => {
                goals.insert(format!("probe {name}"));
            }
            What::Fault { on: true, fault, .. } => {
                if let Some(kind) = fault["kind"].as_str() {
                    goals.insert(format!("fault {kind}"));
                }
            }
            What::Told { what, .. } => {
                for (name, value) in what.as_object().into_iter().flatten().filter(|(name, _)| *name != "seq") {
                    goals.insert(format!("told {name}"));
                    goals.extend(value.as_str().map(|value| format!("told {name} {value}")));
                }
            }
            What::Note { text } => {
                goals.insert(format!("note {text}"));
            }
            _ => {}
        }
    }
    for (event, state) in events {
        goals.insert(format!("event {event}"));
        goals.extend(state.map(|state| format!("{event} {state}")));
    }
    goals
}
