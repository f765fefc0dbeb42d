//! What a run has reached, in the words of `[expect] sometimes`.

use std::collections::BTreeSet;

use crate::history::{Record, What};

/// Everything that this history has reached.
pub fn reached(history: &[Record]) -> BTreeSet<String> {
    let mut goals = BTreeSet::new();
    let mut seqs = std::collections::BTreeMap::new();
    for record in history {
        match &record.what {
            What::Received { conn, frame } => {
                if let Some(event) = frame["event"].as_str() {
                    goals.insert(format!("event {event}"));
                    if let Some(state) = frame["payload"]["state"].as_str() {
                        goals.insert(format!("{event} {state}"));
                    }
                }
                if let Some(code) = frame["error"]["details"]["code"].as_str() {
                    goals.insert(format!("error {code}"));
                }
                if let Some(seq) = frame["seq"].as_u64() {
                    let last = seqs.insert(conn.clone(), seq).unwrap_or(0);
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
            What::Note { text } => {
                goals.insert(format!("note {text}"));
            }
            _ => {}
        }
    }
    goals
}
