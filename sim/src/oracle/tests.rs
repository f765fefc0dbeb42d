//! Small histories by hand: one that holds, and one broken in each way that an oracle knows. An oracle that cannot fail
//! is a defect.

mod access;
mod accounts;
mod again;
mod answers;
mod archives;
mod channel;
mod credentials;
mod declared;
mod device_blocks;
mod envelope;
mod fairness;
mod fallback;
mod handshake;
mod health;
mod keys;
mod letters;
mod lockout;
mod markup;
mod media;
mod models;
mod nodes;
mod pacing;
mod pairing;
mod pairs;
mod places;
mod real;
mod reloads;
mod requests;
mod restarts;
mod rights;
mod run;
mod secrets;
mod sends;
mod shared;
mod signatures;
mod stops;
mod stream;
mod told;
mod transcript;
mod unasked;
mod upgrade;
mod waiting;
mod world;

use serde_json::{Value, json};

use super::{Expect, ORACLES, judge};
use crate::history::{Record, What};

/// A history under construction; times are milliseconds.
#[derive(Clone, Default)]
struct Story {
    records: Vec<Record>,
    now: u64,
    expect: Expect,
}

impl Story {
    fn new() -> Self {
        let mut story = Self::default();
        // Answers by hand are short; their own tests write them out.
        story.expect.off =
            ["answers", "health", "letters", "told", "device_list", "envelope"].map(str::to_owned).into();
        story.process("start").process("listening");
        story
    }

    fn add(&mut self, what: What) -> &mut Self {
        let i = self.records.len() as u64;
        self.records.push(Record { i, t_us: self.now * 1000, host: "test".into(), what });
        self
    }

    fn at(&mut self, ms: u64) -> &mut Self {
        assert!(ms >= self.now, "time goes on");
        self.now = ms;
        self
    }

    fn process(&mut self, event: &str) -> &mut Self {
        self.add(What::Process { event: event.into() })
    }

    fn fault(&mut self, id: u64, on: bool, fault: Value) -> &mut Self {
        self.add(What::Fault { id, on, fault })
    }

    fn note(&mut self) -> &mut Self {
        self.add(What::Note { text: "time goes by".into() })
    }

    /// A transport; the client is what stands before the `/`, its group what stands before the `-`.
    fn open(&mut self, conn: &str) -> &mut Self {
        let client = conn.split('/').next().unwrap_or_default();
        let group = client.split('-').next().unwrap_or_default();
        self.add(What::Opened { conn: conn.into(), client: client.into(), group: group.into() })
    }

    fn challenge(&mut self, conn: &str) -> &mut Self {
        self.receive(
            conn,
            json!({ "type": "event", "event": "connect.challenge", "payload": { "nonce": "n", "ts": 1 } }),
        )
    }

    fn receive(&mut self, conn: &str, frame: Value) -> &mut Self {
        self.add(What::Received { conn: conn.into(), frame: frame.into() })
    }

    fn send(&mut self, conn: &str, frame: Value) -> &mut Self {
        self.add(What::Sent { conn: conn.into(), frame })
    }

    fn call(&mut self, conn: &str, id: &str, method: &str, params: Value) -> &mut Self {
        self.send(conn, json!({ "type": "req", "id": id, "method": method, "params": params }))
    }

    fn answer(&mut self, conn: &str, id: &str, payload: Value) -> &mut Self {
        self.receive(conn, json!({ "type": "res", "id": id, "ok": true, "payload": payload }))
    }

    fn refuse(&mut self, conn: &str, id: &str, code: &str, reason: &str) -> &mut Self {
        let error = json!({ "code": code, "message": "no", "details": { "code": reason } });
        self.receive(conn, json!({ "type": "res", "id": id, "ok": false, "error": error }))
    }

    fn event(&mut self, conn: &str, seq: u64, name: &str, payload: Value) -> &mut Self {
        self.receive(conn, json!({ "type": "event", "event": name, "payload": payload, "seq": seq }))
    }

    fn presence(&mut self, conn: &str, seq: u64, version: u64, people: &[&str]) -> &mut Self {
        self.receive(
            conn,
            json!({ "type": "event", "event": "presence", "payload": { "presence": entries(people) }, "seq": seq,
                "stateVersion": { "presence": version, "health": 1 } }),
        )
    }

    fn closed(&mut self, conn: &str, code: Option<u16>, reason: &str) -> &mut Self {
        self.add(What::Closed { conn: conn.into(), code, reason: reason.into(), by_client: false })
    }

    fn leave(&mut self, conn: &str) -> &mut Self {
        self.add(What::Closed { conn: conn.into(), code: Some(1000), reason: String::new(), by_client: true })
    }

    fn reading(&mut self, conn: &str, on: bool) -> &mut Self {
        self.add(What::Reading { conn: conn.into(), on })
    }

    /// Up to the request `connect`.
    fn connect(&mut self, conn: &str, role: &str, scopes: &[&str]) -> &mut Self {
        let params = connect_params(conn, role, scopes);
        self.open(conn).challenge(conn).call(conn, "hello", "connect", params)
    }

    /// The answer to it: presence is at `version` and shows these people.
    fn hello_ok(&mut self, conn: &str, version: u64, people: &[&str]) -> &mut Self {
        self.answer(
            conn,
            "hello",
            json!({ "type": "hello-ok", "protocol": 3, "snapshot": {
                "presence": entries(people), "health": {}, "stateVersion": { "presence": version, "health": 1 },
                "sessionDefaults": { "defaultAgentId": "main", "mainKey": "main", "mainSessionKey": "agent:main:main" },
            } }),
        )
    }

    /// A whole handshake of an admin.
    fn hello(&mut self, conn: &str, version: u64, people: &[&str]) -> &mut Self {
        self.connect(conn, "operator", &[]).hello_ok(conn, version, people)
    }

    fn agent(&mut self, conn: &str, at: (u64, u64), run: &str, stream: &str, data: Value) -> &mut Self {
        let payload =
            json!({ "runId": run, "seq": at.1, "stream": stream, "ts": 1, "data": data, "sessionKey": "main" });
        self.event(conn, at.0, "agent", payload)
    }

    fn chat(&mut self, conn: &str, at: (u64, u64), run: &str, state: &str, more: Value) -> &mut Self {
        let mut payload = json!({ "runId": run, "seq": at.1, "sessionKey": "main", "state": state });
        for (key, value) in more.as_object().into_iter().flatten() {
            payload[key] = value.clone();
        }
        self.event(conn, at.0, "chat", payload)
    }

    /// Every oracle holds.
    #[track_caller]
    fn holds(&self) {
        for v in judge(&self.records, &self.expect) {
            assert!(v.ok, "{}: record {:?}: {}", v.oracle, v.at, v.detail);
        }
    }

    /// This oracle is violated in these words, at a record of the history; no other one is.
    #[track_caller]
    fn breaks(&self, oracle: &str, words: &str) {
        assert!(ORACLES.iter().any(|(name, _)| *name == oracle), "{oracle} is no oracle");
        let broken: Vec<_> = judge(&self.records, &self.expect).into_iter().filter(|v| !v.ok).collect();
        assert!(!broken.is_empty(), "everything holds, expected {oracle}: {words}");
        for v in broken {
            assert_eq!(v.oracle, oracle, "{}", v.detail);
            assert!(v.detail.contains(words), "{oracle} says {:?}, expected {words:?}", v.detail);
            assert!(v.at.is_some_and(|at| (at as usize) < self.records.len()), "no record named");
        }
    }

    /// What one oracle says, whatever the others do; nothing when it holds.
    fn verdict(&self, oracle: &str) -> String {
        let expect = Expect { off: vec![], ..self.expect.clone() };
        judge(&self.records, &expect).into_iter().find(|v| v.oracle == oracle).unwrap().detail
    }

    /// As a change of this story that leaves the story itself alone.
    fn but(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut story = self.clone();
        change(&mut story);
        story
    }
}

fn connect_params(conn: &str, role: &str, scopes: &[&str]) -> Value {
    let client = conn.split('/').next().unwrap_or_default();
    json!({
        "minProtocol": 3, "maxProtocol": 3, "role": role, "scopes": scopes,
        "client": { "id": "test", "mode": "ui", "version": "1", "platform": "sim", "displayName": client,
            "instanceId": client },
    })
}

fn entries(people: &[&str]) -> Value {
    let of = |name: &&str| json!({ "ts": 1, "host": name, "instanceId": name, "reason": "connect" });
    let mut list = vec![json!({ "ts": 1, "host": "gateway", "reason": "self", "mode": "gateway" })];
    list.extend(people.iter().map(of));
    Value::Array(list)
}

fn text(words: &str) -> Value {
    json!({ "role": "assistant", "content": [{ "type": "text", "text": words }], "timestamp": 1 })
}

#[test]
fn oracles_are_named_once_and_can_be_switched_off() {
    let names: std::collections::BTreeSet<_> = ORACLES.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), ORACLES.len());
    let mut story = Story::new();
    story.add(What::Panic { task: "t".into(), message: "m".into() });
    story.breaks("panics", "task t panicked: m");
    story.expect.off = vec!["panics".into()];
    story.holds();
    assert_eq!(judge(&story.records, &story.expect).len(), ORACLES.len() - 1);
}

#[test]
fn an_empty_history_holds() {
    Story::default().holds();
}

/// The first violation is the one to look at, the others are counted.
#[test]
fn the_earliest_violation_is_told() {
    let mut story = Story::new();
    story.hello("a-1/1", 2, &["a-1"]);
    story.answer("a-1/1", "x", json!({})).answer("a-1/1", "y", json!({}));
    let verdicts = judge(&story.records, &story.expect);
    let broken = verdicts.iter().find(|v| !v.ok).unwrap();
    assert_eq!((broken.oracle, broken.at), ("responses", Some(6)));
    assert!(broken.detail.ends_with("\"x\" (and 1 more)"), "{}", broken.detail);
}
