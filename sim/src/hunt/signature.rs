//! What a run has shown, as a set of small facts: two runs with the same set went the same ways.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    goals,
    history::{Record, What},
};

/// The facts of a history: every goal that it reached, which answer or event follows which on a connection, what was under
/// way when each fault began, how many (as a power of two) of what there were.
pub fn signature(history: &[Record]) -> BTreeSet<String> {
    let mut facts: BTreeSet<String> = goals::reached(history).into_iter().filter(|g| !g.starts_with("note ")).collect();
    let mut last: BTreeMap<&str, String> = BTreeMap::new();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut phase = Phase::default();
    for record in history {
        phase.follow(&record.what);
        match &record.what {
            What::Received { conn, frame } => {
                let word = word(frame);
                *counts.entry(word.clone()).or_default() += 1;
                if let Some(before) = last.insert(conn, word.clone()) {
                    facts.insert(format!("{before} > {word}"));
                }
            }
            What::Closed { conn, code, .. } => {
                if let Some(before) = last.remove(conn.as_str()) {
                    facts.insert(format!("{before} > closed {}", code.unwrap_or(0)));
                }
            }
            What::Fault { on: true, fault, .. } => {
                let kind = fault["kind"].as_str().unwrap_or_default();
                facts.extend(phase.words().map(|words| format!("{kind} while {words}")));
            }
            What::Process { event } => facts.extend(phase.words().map(|words| format!("{event} while {words}"))),
            What::Telegram { method, status: Some(status), .. } => {
                *counts.entry(format!("{method} {status}")).or_default() += 1;
            }
            What::Model { .. } => *counts.entry("model".into()).or_default() += 1,
            _ => {}
        }
    }
    facts.extend(counts.into_iter().map(|(what, n)| format!("{what} x{}", n.next_power_of_two())));
    facts
}

/// A frame in a word or two.
fn word(frame: &crate::history::Frame) -> String {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    match (frame["event"].as_str(), frame["ok"].as_bool()) {
        (Some(event), _) => {
            let payload = &frame["payload"];
            let more = [&payload["state"], &payload["stream"], &payload["data"]["phase"]];
            let more: Vec<String> = more.into_iter().map(text).filter(|t| !t.is_empty()).collect();
            format!("{event} {}", more.join(" ")).trim_end().to_owned()
        }
        (None, Some(false)) => format!("error {}", text(&frame["error"]["details"]["code"])),
        (None, _) => format!("ok {}", text(&frame["payload"]["status"])).trim_end().to_owned(),
    }
}

/// What is under way.
#[derive(Debug, Default)]
struct Phase {
    /// Requests without an answer, by connection and id.
    asked: BTreeSet<(String, String)>,
    /// Runs without an end.
    runs: BTreeSet<String>,
    /// Calls at the fake Bot API without an end.
    calls: BTreeMap<String, u64>,
    /// Faults that last.
    faults: BTreeMap<u64, String>,
    is_down: bool,
}

impl Phase {
    fn follow(&mut self, what: &What) {
        match what {
            What::Sent { conn, frame } => {
                if let Some(id) = frame["id"].as_str() {
                    self.asked.insert((conn.clone(), id.to_owned()));
                }
            }
            What::Received { conn, frame } => {
                if let (Some(id), "res") = (frame["id"].as_str(), frame["type"].as_str().unwrap_or_default()) {
                    self.asked.remove(&(conn.clone(), id.to_owned()));
                }
                if let Some(run) = frame["payload"]["runId"].as_str() {
                    match frame["payload"]["data"]["phase"].as_str() {
                        Some("start") => _ = self.runs.insert(run.to_owned()),
                        Some("end" | "error") => _ = self.runs.remove(run),
                        _ => {}
                    }
                }
            }
            What::Closed { conn, .. } => self.asked.retain(|(c, _)| c != conn),
            What::Telegram { method, status: None, .. } => *self.calls.entry(method.clone()).or_default() += 1,
            What::Telegram { method, status: Some(_), .. } => {
                if let Some(n) = self.calls.get_mut(method) {
                    *n = n.saturating_sub(1);
                }
            }
            What::Fault { id, on, fault } => {
                let kind = fault["kind"].as_str().unwrap_or_default().to_owned();
                if *on { _ = self.faults.insert(*id, kind) } else { _ = self.faults.remove(id) }
            }
            What::Process { event } => {
                self.is_down = matches!(event.as_str(), "crash" | "power_loss" | "stopped");
                if self.is_down {
                    self.runs.clear();
                    self.calls.clear();
                }
            }
            _ => {}
        }
    }

    fn words(&self) -> impl Iterator<Item = String> {
        let mut words = Vec::new();
        let mut say = |yes: bool, word: &str| words.extend(yes.then(|| word.to_owned()));
        say(self.is_down, "the gateway is down");
        say(!self.asked.is_empty(), "a request waits");
        say(self.runs.len() == 1, "a run is under way");
        say(self.runs.len() > 1, "runs are under way");
        for method in self.calls.iter().filter(|(method, n)| **n > 0 && *method != "getUpdates").map(|(m, _)| m) {
            say(true, method);
        }
        for kind in self.faults.values() {
            say(true, kind);
        }
        if words.is_empty() {
            words.push("nothing is under way".to_owned());
        }
        words.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::history::Frame;

    #[test]
    fn a_history_is_told_by_what_follows_what_and_by_when_faults_begin() {
        let conn = || "a-1/1".to_owned();
        let received = |frame| What::Received { conn: conn(), frame: Frame::from(frame) };
        let fault = |id, on| What::Fault { id, on, fault: json!({ "kind": "cut" }) };
        let whats = [
            What::Sent { conn: conn(), frame: json!({ "type": "req", "id": "1", "method": "health" }) },
            fault(0, true),
            received(json!({ "type": "res", "id": "1", "ok": true, "payload": {} })),
            fault(1, true),
            received(json!({ "type": "event", "event": "tick", "payload": {} })),
            received(json!({ "type": "event", "event": "tick", "payload": {} })),
            received(json!({ "type": "event", "event": "tick", "payload": {} })),
            What::Closed { conn: conn(), code: Some(1001), reason: String::new(), by_client: false },
        ];
        let record = |(i, what)| Record { i, t_us: i, host: "clients".into(), what };
        let history: Vec<Record> = (0..).zip(whats).map(record).collect();
        let facts = signature(&history);
        for fact in
            ["ok > tick", "tick > tick", "tick > closed 1001", "cut while a request waits", "cut while cut", "tick x4"]
        {
            assert!(facts.contains(fact), "{fact}: {facts:?}");
        }
        assert!(!facts.contains("cut while nothing is under way"), "{facts:?}");
    }
}
