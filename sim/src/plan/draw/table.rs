//! A request of any method that an operator can call, with parameters that its schema takes: what workload `table` draws from.

use serde_json::{Value, json};

use super::Dice;
use crate::plan::Deed;

/// What a drawn request may speak of.
struct Ask<'a> {
    /// The session of the client.
    session: &'a str,
    /// The client.
    name: &'a str,
    /// Its request, from 1.
    made: u32,
    dice: &'a Dice,
}

impl Ask<'_> {
    /// A key that no other request has.
    fn key(&self) -> String {
        format!("{}-any-{}", self.name, self.made)
    }
    fn text(&self) -> String {
        format!("{} {}", self.name, self.made)
    }
    fn word(&self, words: &[&str]) -> String {
        (*self.dice.one_of(words)).to_owned()
    }
    /// One of few names that its clients share.
    fn thing(&self) -> String {
        self.word(&["lamp", "door", "window"])
    }
    fn id(&self) -> String {
        format!("{}-q-{}", self.name, self.made)
    }
}

type Row = (&'static str, fn(&Ask) -> Value);

/// One row for each method that takes effect on nothing but the gateway's own state.
const ROWS: [Row; 58] = [
    ("health", |a| if a.dice.chance(20) { json!({ "probe": true }) } else { json!({}) }),
    ("status", |_| json!({})),
    ("system-presence", |_| json!({})),
    (
        "system-event",
        |a| json!({ "text": a.text(), "mode": a.word(&["ui", "local"]), "reason": a.word(&["periodic", "test"]) }),
    ),
    ("last-heartbeat", |_| json!({})),
    ("set-heartbeats", |a| json!({ "enabled": a.dice.chance(50) })),
    ("wake", |a| json!({ "mode": a.word(&["now", "next-heartbeat"]), "text": a.text() })),
    ("send", |a| json!({ "channel": "telegram", "to": "900", "message": a.text(), "idempotencyKey": a.key() })),
    ("agent", |a| json!({ "sessionKey": a.session, "message": a.text(), "idempotencyKey": a.key() })),
    (
        "agent.wait",
        |a| json!({ "runId": format!("{}-any-{}", a.name, a.made.saturating_sub(1)), "timeoutMs": a.dice.between(0, 2000) }),
    ),
    ("agent.identity.get", |a| if a.dice.chance(50) { json!({}) } else { json!({ "agentId": "main" }) }),
    ("agents.list", |_| json!({})),
    ("models.list", |_| json!({})),
    ("chat.send", |a| json!({ "sessionKey": a.session, "message": a.text(), "idempotencyKey": a.key() })),
    ("chat.history", |a| json!({ "sessionKey": a.session, "limit": a.dice.between(1, 50) })),
    ("chat.abort", |a| json!({ "sessionKey": a.session })),
    ("chat.inject", |a| json!({ "sessionKey": a.session, "message": a.text(), "label": "note" })),
    ("sessions.list", |a| match a.dice.between(0, 4) {
        0 => json!({ "limit": a.dice.between(1, 20) }),
        1 => json!({ "search": a.word(&["main", "agent", "any"]) }),
        2 => json!({ "includeLastMessage": true, "includeDerivedTitles": true }),
        3 => json!({ "activeMinutes": 5, "includeUnknown": true }),
        _ => json!({}),
    }),
    (
        "sessions.preview",
        |a| json!({ "keys": [a.session, "main", "nobody"], "limit": a.dice.between(1, 12), "maxChars": a.dice.between(20, 300) }),
    ),
    ("sessions.resolve", |a| {
        if a.dice.chance(50) { json!({ "key": a.session }) } else { json!({ "label": format!("of {}", a.name) }) }
    }),
    ("sessions.patch", |a| match a.dice.between(0, 3) {
        0 => json!({ "key": a.session, "label": format!("of {}", a.name) }),
        1 => json!({ "key": a.session, "thinkingLevel": a.word(&["off", "low", "high"]) }),
        2 => json!({ "key": a.session, "verboseLevel": a.word(&["on", "off", "full", "yes"]) }),
        _ => {
            json!({ "key": a.session, "reasoningLevel": a.word(&["on", "off", "stream"]), "elevatedLevel": a.word(&["on", "ask"]) })
        }
    }),
    ("sessions.reset", |a| json!({ "key": a.session })),
    ("sessions.delete", |a| json!({ "key": a.session })),
    ("sessions.compact", |a| json!({ "key": a.session, "maxLines": a.dice.between(1, 10) })),
    ("channels.status", |_| json!({})),
    ("channels.logout", |_| json!({ "channel": "telegram" })),
    ("channels.pairing.list", |a| if a.dice.chance(50) { json!({}) } else { json!({ "channel": "telegram" }) }),
    ("channels.pairing.approve", |_| json!({ "channel": "telegram", "code": "AAAAAAAA" })),
    ("device.pair.list", |_| json!({})),
    ("device.pair.approve", |_| json!({ "requestId": "nobody" })),
    ("device.pair.reject", |_| json!({ "requestId": "answer:device.pair.list/pending/0/requestId" })),
    ("device.token.rotate", |_| json!({ "deviceId": "nobody", "role": "operator" })),
    ("device.token.revoke", |_| json!({ "deviceId": "nobody", "role": "operator" })),
    ("delivery.list", |a| match a.dice.between(0, 2) {
        0 => json!({ "state": a.word(&["queued", "attempting", "dead", "unknown"]) }),
        1 => json!({ "limit": a.dice.between(1, 5) }),
        _ => json!({}),
    }),
    ("delivery.retry", |_| json!({ "id": "nobody" })),
    ("delivery.drop", |_| json!({ "id": "nobody" })),
    ("logs.tail", |a| json!({ "limit": a.dice.between(1, 50) })),
    ("config.get", |_| json!({})),
    ("config.set", |_| json!({ "raw": "answer:config.get/raw", "baseHash": "answer:config.get/hash" })),
    ("node.list", |_| json!({})),
    ("node.describe", |a| json!({ "nodeId": a.word(&["test", "nobody"]) })),
    ("node.rename", |a| json!({ "nodeId": a.word(&["test", "lamp"]), "displayName": a.text() })),
    (
        "node.invoke",
        |a| json!({ "nodeId": "test", "command": "system.run", "idempotencyKey": a.key(), "timeoutMs": a.dice.between(0, 4000) }),
    ),
    (
        "node.invoke.cancel",
        |a| json!({ "nodeId": "test", "idempotencyKey": format!("{}-any-{}", a.name, a.made.saturating_sub(1)) }),
    ),
    ("node.pair.request", |a| json!({ "nodeId": a.thing(), "displayName": a.text(), "commands": ["system.run"] })),
    ("node.pair.list", |_| json!({})),
    ("node.pair.approve", |_| json!({ "requestId": "answer:node.pair.list/pending/0/requestId" })),
    ("node.pair.reject", |_| json!({ "requestId": "answer:node.pair.list/pending/0/requestId" })),
    ("node.pair.verify", |a| json!({ "nodeId": a.thing(), "token": "answer:node.pair.approve/node/token" })),
    ("voicewake.get", |_| json!({})),
    ("voicewake.set", |a| json!({ "triggers": [a.text()] })),
    ("talk.mode", |a| json!({ "enabled": a.dice.chance(50), "phase": a.word(&["listening", "thinking"]) })),
    ("exec.approvals.get", |_| json!({})),
    ("exec.approvals.set", |a| {
        let file = json!({ "version": 1, "defaults": { "ask": a.word(&["on-miss", "always"]) } });
        json!({ "file": file, "baseHash": "answer:exec.approvals.get/hash" })
    }),
    ("exec.approvals.node.get", |_| json!({ "nodeId": "nobody" })),
    ("exec.approval.request", |a| json!({ "id": a.id(), "command": "ls", "timeoutMs": a.dice.between(1, 5000) })),
    ("exec.approval.list", |_| json!({})),
    (
        "exec.approval.resolve",
        |a| json!({ "id": "answer:exec.approval.list/pending/0/id", "decision": a.word(&["allow-once", "deny"]) }),
    ),
];

/// Methods that are not drawn, and why.
#[cfg(test)]
const LEFT_OUT: [(&str, &str); 10] = [
    ("connect", "the handshake's own"),
    ("backup.create", "a copy of the whole database each time"),
    ("browser.request", "there is no browser in the simulation; any_method asks for what there is without one"),
    ("exec.approvals.node.set", "a node of its own answers it in `approvals`"),
    ("node.invoke.result", "nodes answer what they are asked"),
    ("node.event", "nodes only; `hostile_node` draws it"),
    ("skills.bins", "nodes only"),
    ("config.schema", "a long answer that is always the same; config_writers has it"),
    ("config.patch", "restarts the gateway; config_writers has it"),
    ("config.apply", "restarts the gateway; config_writers has it"),
];

/// The `made`th request of a client.
pub(super) fn any(session: &str, name: &str, made: u32, dice: &Dice) -> Deed {
    let (method, params) = dice.one_of(&ROWS);
    let params = params(&Ask { session, name, made, dice });
    Deed::Call { method: (*method).to_owned(), params, retry: false }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use openclaw_platform::Entropy as _;
    use openclaw_protocol::method::METHODS;

    use super::*;
    use crate::SimEntropy;

    #[test]
    fn every_method_is_drawn_or_left_out_for_a_reason() {
        let rows = ROWS.iter().map(|(method, _)| *method).chain(LEFT_OUT.iter().map(|(method, _)| *method));
        let drawn: BTreeSet<&str> = rows.clone().collect();
        let all: BTreeSet<&str> = METHODS.iter().map(|m| m.name).collect();
        let (missing, unknown): (Vec<_>, Vec<_>) = (all.difference(&drawn).collect(), drawn.difference(&all).collect());
        assert!(
            missing.is_empty() && unknown.is_empty(),
            "sim/src/plan/draw/table.rs: ROWS and LEFT_OUT lack {missing:?} and have {unknown:?}, which are no methods"
        );
        let twice: Vec<&str> =
            drawn.into_iter().filter(|name| rows.clone().filter(|row| row == name).count() > 1).collect();
        assert!(twice.is_empty(), "more than one row: {twice:?}");
    }

    #[test]
    fn what_is_drawn_is_what_the_method_takes() {
        let dice = Dice(SimEntropy::new(1).fork("table"));
        for (method, params) in ROWS {
            for made in 1..20 {
                let params = params(&Ask { session: "agent:main:x", name: "x-1", made, dice: &dice });
                let spec = openclaw_protocol::method::find(method).unwrap();
                (spec.check)(&params.to_string()).unwrap_or_else(|e| panic!("{method} {params}: {e:?}"));
            }
        }
    }
}
