use serde_json::{Value, json};

use super::{Story, connect_params};

fn story() -> Story {
    let mut s = Story::new();
    s.expect.off = vec![];
    s.hello("a-1/1", 2, &["a-1"]);
    s
}

impl Story {
    /// A request and its answer.
    fn asked(&mut self, id: &str, method: &str, params: Value, payload: Value) -> &mut Self {
        self.call("a-1/1", id, method, params).answer("a-1/1", id, payload)
    }

    fn wakes(&mut self, id: &str, words: &[&str]) -> &mut Self {
        self.asked(id, "voicewake.get", json!({}), json!({ "triggers": words }))
    }
}

const DEFAULTS: [&str; 3] = ["openclaw", "claude", "computer"];

#[test]
fn an_answer_has_the_form_of_its_schema() {
    story()
        .but(|s| {
            s.wakes("1", &DEFAULTS).note();
        })
        .holds();
    let odd = |payload: Value| {
        story().but(|s| {
            s.asked("1", "voicewake.get", json!({}), payload);
        })
    };
    odd(json!({ "triggers": "openclaw" })).breaks("answers", "the answer to voicewake.get at /triggers");
    odd(json!({})).breaks("answers", "\"triggers\" is a required property");
}

#[test]
fn what_is_read_is_what_was_written() {
    let set = |words: &'static [&'static str]| {
        story().but(|s| {
            s.asked("1", "voicewake.set", json!({ "triggers": [" hey ", ""] }), json!({ "triggers": ["hey"] }));
            s.wakes("2", words);
        })
    };
    set(&["hey"]).holds();
    set(&DEFAULTS).breaks(
        "answers",
        "wake words is [\"openclaw\",\"claude\",\"computer\"], but it was Is(Array [String(\"hey\")])",
    );
    // A refusal is no write.
    let refused = |words: &'static [&'static str]| {
        story().but(|s| {
            s.call("a-1/1", "1", "voicewake.set", json!({ "triggers": ["hey"] }));
            s.refuse("a-1/1", "1", "INVALID_REQUEST", "INVALID_PARAMS").wakes("2", words);
        })
    };
    refused(&DEFAULTS).holds();
    refused(&["hey"]).breaks("answers", "wake words is");
    // One without an answer may have happened, until somebody has seen that it has.
    let lost = |first: &'static [&'static str], second: &'static [&'static str]| {
        story().but(|s| {
            s.call("a-1/1", "1", "voicewake.set", json!({ "triggers": ["hey"] }));
            s.refuse("a-1/1", "1", "UNAVAILABLE", "TIMEOUT").wakes("2", first).wakes("3", second);
        })
    };
    lost(&DEFAULTS, &DEFAULTS).holds();
    lost(&DEFAULTS, &["hey"]).holds();
    lost(&["hey"], &["hey"]).holds();
    lost(&["hey"], &DEFAULTS).breaks("answers", "wake words is");
    lost(&["ho"], &DEFAULTS).breaks("answers", "wake words is");
    // What the disk is told to have failed has not happened; only who waited for long hears that nobody knows.
    let failed = |after: u64, words: &'static [&'static str]| {
        story().but(|s| {
            s.call("a-1/1", "1", "voicewake.set", json!({ "triggers": ["hey"] })).at(after);
            s.refuse("a-1/1", "1", "UNAVAILABLE", "STORAGE").wakes("2", words);
        })
    };
    failed(1000, &DEFAULTS).holds();
    failed(1000, &["hey"]).breaks("answers", "wake words is");
    let late = failed(10_000, &["hey"]);
    assert!(super::judge(&late.records, &late.expect).iter().all(|v| v.ok || v.oracle != "answers"));
    // What somebody read while it was being written, or before, says nothing of what was so afterwards.
    let while_written = |words: &'static [&'static str]| {
        story().but(|s| {
            s.call("a-1/1", "1", "voicewake.get", json!({}));
            s.call("a-1/1", "2", "voicewake.set", json!({ "triggers": ["hey"] }));
            s.answer("a-1/1", "1", json!({ "triggers": DEFAULTS })).answer(
                "a-1/1",
                "2",
                json!({ "triggers": ["hey"] }),
            );
            s.wakes("3", words);
        })
    };
    while_written(&["hey"]).holds();
    while_written(&DEFAULTS).breaks("answers", "wake words is");
    // Two at once: either may be the later one.
    let both = |words: &'static [&'static str]| {
        story().but(|s| {
            s.call("a-1/1", "1", "voicewake.set", json!({ "triggers": ["a"] }));
            s.call("a-1/1", "2", "voicewake.set", json!({ "triggers": ["b"] }));
            s.answer("a-1/1", "2", json!({ "triggers": ["b"] })).answer("a-1/1", "1", json!({ "triggers": ["a"] }));
            s.wakes("3", words);
        })
    };
    both(&["a"]).holds();
    both(&["b"]).holds();
    both(&DEFAULTS).breaks("answers", "wake words is");
}

/// What was acknowledged holds over a crash, unless the disk lies.
#[test]
fn a_write_holds_over_a_crash() {
    let crash = |lies: bool| {
        story().but(|s| {
            s.asked("1", "voicewake.set", json!({ "triggers": ["hey"] }), json!({ "triggers": ["hey"] }));
            if lies {
                s.fault(1, true, json!({ "kind": "lost_write", "at_op": 1 }));
            }
            s.at(100)
                .process("power_loss")
                .closed("a-1/1", None, "reset")
                .at(200)
                .process("start")
                .process("listening");
            s.hello("a-1/2", 2, &["a-1"]).call("a-1/2", "2", "voicewake.get", json!({}));
            s.answer("a-1/2", "2", json!({ "triggers": DEFAULTS }));
        })
    };
    crash(true).holds();
    crash(false).breaks("answers", "wake words is");
}

fn row(key: &str, more: &Value) -> Value {
    let mut row = json!({ "key": key, "kind": "direct", "updatedAt": 1, "sessionId": "s1" });
    row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    row
}

fn list(rows: &[Value]) -> Value {
    json!({ "ts": 9000, "path": "p", "count": rows.len(), "defaults": { "model": null, "contextTokens": null }, "sessions": rows })
}

#[test]
fn sessions_are_as_they_were_changed() {
    let patched = |rows: &[Value]| {
        story().but(|s| {
            let entry = json!({ "ok": true, "key": "agent:main:blue", "entry": { "label": "b", "sessionId": "s1" } });
            s.asked("1", "sessions.patch", json!({ "key": "blue", "label": "b" }), entry);
            s.asked("2", "sessions.list", json!({}), list(rows));
        })
    };
    patched(&[row("agent:main:blue", &json!({ "label": "b" }))]).holds();
    patched(&[row("agent:main:blue", &json!({}))]).breaks("answers", "label of session agent:main:blue is null");
    patched(&[]).breaks("answers", "existence of session agent:main:blue is false");
    let deleted = |rows: &[Value]| {
        patched(&[row("agent:main:blue", &json!({ "label": "b" }))]).but(|s| {
            let gone = json!({ "ok": true, "key": "agent:main:blue", "deleted": true, "archived": [] });
            s.asked("3", "sessions.delete", json!({ "key": "blue" }), gone).asked(
                "4",
                "sessions.list",
                json!({}),
                list(rows),
            );
        })
    };
    deleted(&[]).holds();
    deleted(&[row("agent:main:blue", &json!({}))]).breaks("answers", "existence of session agent:main:blue is true");
    // A preview that could not be read says nothing of it.
    let preview = |status: &str| {
        deleted(&[]).but(|s| {
            let shown = json!({ "key": "agent:main:blue", "status": status, "items": [] });
            s.asked(
                "5",
                "sessions.preview",
                json!({ "keys": ["agent:main:blue"] }),
                json!({ "ts": 1, "previews": [shown] }),
            );
        })
    };
    preview("missing").holds();
    preview("error").holds();
    preview("empty").breaks("answers", "existence of session agent:main:blue is true");
}

#[test]
fn an_answer_fits_its_question() {
    let listed = |params: Value, rows: &[Value]| {
        story().but(|s| {
            s.asked("1", "sessions.list", params, list(rows));
        })
    };
    let (old, new) = (row("a", &json!({})), row("b", &json!({ "updatedAt": 2 })));
    listed(json!({}), &[new.clone(), old.clone()]).holds();
    listed(json!({}), &[old.clone(), new.clone()]).breaks("answers", "not newest first");
    listed(json!({}), &[old.clone(), old.clone()]).breaks("answers", "a session twice");
    listed(json!({ "limit": 1 }), &[new, old]).breaks("answers", "more than asked for");
    let aborted = |run: &str| {
        let payload = json!({ "ok": true, "aborted": true, "runIds": [run] });
        story().but(|s| {
            s.asked("1", "chat.abort", json!({ "sessionKey": "main", "runId": "r1" }), payload);
        })
    };
    aborted("r1").holds();
    aborted("r2").breaks("answers", "another run than the one that was named");
}

#[test]
fn what_is_ended_ends_and_what_goes_on_was_not_to_end() {
    let abort = |payload: Value, then: &dyn Fn(&mut Story)| {
        story().but(|s| {
            s.asked(
                "1",
                "agent",
                json!({ "sessionKey": "main", "message": "m", "idempotencyKey": "r" }),
                json!({ "runId": "r", "status": "accepted", "acceptedAt": 1 }),
            );
            s.agent("a-1/1", (1, 1), "r", "lifecycle", json!({ "phase": "start", "startedAt": 1 })).at(100);
            s.asked("2", "chat.abort", json!({ "sessionKey": "main" }), payload);
            then(s);
        })
    };
    let end = |s: &mut Story, at: u64| {
        s.at(at).agent("a-1/1", (2, 2), "r", "lifecycle", json!({ "phase": "end", "endedAt": 2, "aborted": true }));
    };
    let verdicts = |s: &Story| {
        let verdicts = super::judge(&s.records, &s.expect);
        verdicts.into_iter().find(|v| v.oracle == "answers").unwrap().detail
    };
    let ended = json!({ "ok": true, "aborted": true, "runIds": ["r"] });
    let nothing = json!({ "ok": true, "aborted": false, "runIds": [] });
    assert_eq!(verdicts(&abort(ended.clone(), &|s| end(s, 101))), "");
    assert!(verdicts(&abort(nothing.clone(), &|s| end(s, 5000))).contains("did not end r"));
    assert_eq!(verdicts(&abort(nothing, &|s| end(s, 101))), "");
    let goes_on = abort(ended, &|s| {
        s.at(5000).agent("a-1/1", (2, 2), "r", "assistant", json!({ "text": "t", "delta": "t" }));
    });
    assert!(verdicts(&goes_on).contains("says that r was ended, and it goes on"));
}

#[test]
fn one_change_on_top_of_each_policy() {
    let set = |base: &str| {
        story().but(|s| {
            let file = json!({ "version": 1 });
            for (id, base, hash) in [("1", "h0", "h1"), ("2", base, "h2")] {
                let answer = json!({ "path": "p", "exists": true, "hash": hash, "file": file });
                s.asked(id, "exec.approvals.set", json!({ "file": file, "baseHash": base }), answer);
            }
        })
    };
    set("h1").holds();
    set("h0").breaks("answers", "");
}

#[test]
fn a_question_waits_until_it_is_decided() {
    let asks = |pending: bool, decided: bool| {
        story().but(|s| {
            s.call("a-1/1", "1", "exec.approval.request", json!({ "id": "q", "command": "ls", "timeoutMs": 9000 }));
            let shown = json!({ "id": "q", "request": { "command": "ls", "cwd": null, "host": null, "security": null, "ask": null,
                "agentId": null, "resolvedPath": null, "sessionKey": null }, "createdAtMs": 1, "expiresAtMs": 9001 });
            s.event("a-1/1", 1, "exec.approval.requested", shown.clone());
            if decided {
                s.connect("b-1/1", "operator", &["operator.approvals"]).hello_ok("b-1/1", 3, &["a-1", "b-1"]);
                s.presence("a-1/1", 2, 3, &["a-1", "b-1"]);
                s.call("b-1/1", "2", "exec.approval.resolve", json!({ "id": "q", "decision": "deny" }));
                s.answer("b-1/1", "2", json!({ "ok": true }));
            }
            let list = if pending { json!([shown]) } else { json!([]) };
            s.asked("3", "exec.approval.list", json!({}), json!({ "pending": list }));
        })
    };
    let says = |s: &Story| {
        let verdicts = super::judge(&s.records, &s.expect);
        verdicts.into_iter().find(|v| v.oracle == "answers").unwrap().detail
    };
    assert_eq!(says(&asks(true, false)), "");
    assert_eq!(says(&asks(false, true)), "");
    // Somebody whose name comes first says the same too late: it was decided by the first.
    let late = asks(false, true).but(|s| {
        s.connect("0-1/1", "operator", &["operator.approvals"]).hello_ok("0-1/1", 4, &["0-1", "a-1", "b-1"]);
        s.presence("a-1/1", 3, 4, &["0-1", "a-1", "b-1"]).presence("b-1/1", 1, 4, &["0-1", "a-1", "b-1"]);
        s.call("0-1/1", "2", "exec.approval.resolve", json!({ "id": "q", "decision": "deny" }));
        s.refuse("0-1/1", "2", "INVALID_REQUEST", "NO_APPROVAL");
        s.asked("4", "exec.approval.list", json!({}), json!({ "pending": [] }));
    });
    assert_eq!(says(&late), "");
    // Who asks is answered when it is decided, not at the end of its time.
    let hears = |ms: u64| {
        asks(false, true).but(|s| {
            let decided = json!({ "id": "q", "decision": "deny", "resolvedBy": "b-1", "ts": 1 });
            s.event("a-1/1", 3, "exec.approval.resolved", decided).at(ms);
            let answer = json!({ "id": "q", "decision": "deny", "createdAtMs": 1, "expiresAtMs": 9001 });
            s.answer("a-1/1", "1", answer);
        })
    };
    let took = |s: &Story| {
        let verdicts = super::judge(&s.records, &s.expect);
        verdicts.into_iter().find(|v| v.oracle == "latency").unwrap().detail
    };
    assert_eq!(took(&hears(4000)), "");
    assert!(took(&hears(8000)).contains("exec.approval.request took"), "{}", took(&hears(8000)));
    assert!(says(&asks(false, false)).contains("approval q is false"));
    assert!(says(&asks(true, true)).contains("approval q is true"));
}

#[test]
fn nodes_are_shown_while_they_are_there() {
    let node = |s: &mut Story| {
        let mut params = connect_params("n-1/1", "node", &[]);
        params["commands"] = json!(["system.run"]);
        s.open("n-1/1").challenge("n-1/1").call("n-1/1", "hello", "connect", params).hello_ok(
            "n-1/1",
            3,
            &["a-1", "n-1"],
        );
        s.presence("a-1/1", 1, 3, &["a-1", "n-1"]);
    };
    let shown = |connected: bool, command: &str| {
        let row =
            json!({ "nodeId": "test", "caps": [], "commands": [command], "paired": false, "connected": connected });
        json!({ "ts": 1, "nodes": [row] })
    };
    let there = |payload: Value| {
        story().but(|s| {
            node(s);
            s.at(5000).asked("1", "node.list", json!({}), payload).at(9000).note();
        })
    };
    there(shown(true, "system.run")).holds();
    there(shown(false, "system.run")).breaks("answers", "does not show that n-1/1 is connected");
    there(shown(true, "sms.send")).breaks("answers", "shows a command that n-1/1 does not offer");
    let gone = |connected: bool| {
        story().but(|s| {
            node(s);
            s.at(1000).leave("n-1/1").presence("a-1/1", 2, 4, &["a-1"]);
            s.at(5000).asked("1", "node.list", json!({}), shown(connected, "system.run")).at(9000).note();
        })
    };
    gone(false).holds();
    gone(true).breaks("answers", "which has gone");
}

#[test]
fn heartbeats_are_off_when_they_are_off() {
    let off = |began_ms: u64| {
        story().but(|s| {
            s.asked("1", "set-heartbeats", json!({ "enabled": false }), json!({ "ok": true, "enabled": false }));
            s.at(20_000).event(
                "a-1/1",
                1,
                "heartbeat",
                json!({ "ts": 9, "status": "ok-token", "durationMs": 20_000 - began_ms }),
            );
        })
    };
    off(500).holds();
    off(15_000).breaks("answers", "a heartbeat began while they are switched off");
    let last = |ts: u64| {
        story().but(|s| {
            s.event("a-1/1", 1, "heartbeat", json!({ "ts": 9, "status": "ok-token" }));
            s.asked("1", "last-heartbeat", json!({}), json!({ "ts": ts, "status": "ok-token" }));
        })
    };
    last(9).holds();
    last(8).breaks("answers", "last-heartbeat is older");
}

#[test]
fn an_approval_is_good_once_for_what_was_asked_and_when_somebody_said_yes() {
    let run = |key: &str, command: &str, id: &str| json!({ "nodeId": "n", "command": "system.run", "params": { "command": [command], "approvalId": id }, "idempotencyKey": key });
    let says = |decision: &str, by: &str, uses: &[(&str, &str)]| {
        let mut s = story();
        s.connect("b-1/1", "operator", &["operator.approvals"]).hello_ok("b-1/1", 3, &["a-1", "b-1"]);
        s.call(
            "a-1/1",
            "1",
            "exec.approval.request",
            json!({ "id": "q", "command": "ls", "argv": ["ls"], "nodeId": "n" }),
        );
        s.call(by, "2", "exec.approval.resolve", json!({ "id": "q", "decision": decision }));
        s.answer(by, "2", json!({ "ok": true }));
        s.answer("a-1/1", "1", json!({ "id": "q", "decision": decision, "createdAtMs": 1, "expiresAtMs": 120_001 }));
        s.connect("n-1/1", "node", &[]).hello_ok("n-1/1", 4, &["a-1", "b-1", "n-1"]);
        for (n, (key, command)) in (1..).zip(uses) {
            let asked = json!({ "id": key, "nodeId": "n", "command": "system.run", "idempotencyKey": key });
            s.call("a-1/1", key, "node.invoke", run(key, command, "q")).event("n-1/1", n, "node.invoke.request", asked);
            s.call("n-1/1", key, "node.invoke.result", json!({ "id": key, "nodeId": "n", "ok": true }));
            s.answer("a-1/1", key, json!({ "ok": true, "nodeId": "n", "command": "system.run", "payloadJSON": null }));
        }
        let verdicts = super::judge(&s.records, &s.expect);
        verdicts.into_iter().find(|v| v.oracle == "answers").unwrap().detail
    };
    assert_eq!(says("allow-once", "b-1/1", &[]), "");
    assert_eq!(says("allow-once", "b-1/1", &[("k", "ls")]), "");
    assert_eq!(says("deny", "a-1/1", &[]), "");
    assert!(says("allow-once", "a-1/1", &[]).contains("who asked for approval q gave it"));
    assert!(says("deny", "b-1/1", &[("k", "ls")]).contains("to which nobody said yes"));
    assert!(says("allow-once", "b-1/1", &[("k", "rm")]).contains("was given for something else"));
    assert!(says("allow-once", "b-1/1", &[("k", "ls"), ("l", "ls")]).contains("is used a second time"));
}

/// What `node.invoke` gives is what the node has said to this very request.
#[test]
fn an_invoke_is_answered_with_the_nodes_words() {
    let invoked = |said: Value, told: Value| {
        let mut s = story();
        s.connect("n-1/1", "node", &[]).hello_ok("n-1/1", 3, &["a-1", "n-1"]);
        s.call("a-1/1", "1", "node.invoke", json!({ "nodeId": "n", "command": "c", "idempotencyKey": "k" }));
        s.event(
            "n-1/1",
            1,
            "node.invoke.request",
            json!({ "id": "i", "nodeId": "n", "command": "c", "idempotencyKey": "k" }),
        );
        s.call("n-1/1", "1", "node.invoke.result", json!({ "id": "i", "nodeId": "n", "ok": true, "payload": said }));
        s.answer(
            "a-1/1",
            "1",
            json!({ "ok": true, "nodeId": "n", "command": "c", "payloadJSON": null, "payload": told }),
        );
        let verdicts = super::judge(&s.records, &s.expect);
        verdicts.into_iter().find(|v| v.oracle == "answers").unwrap().detail
    };
    assert_eq!(invoked(json!({ "x": 1 }), json!({ "x": 1 })), "");
    assert!(invoked(json!({ "x": 1 }), json!({ "x": 2 })).contains("something that no node has said"));
}

/// Of two who change one policy one is refused, and who is refused was too late.
#[test]
fn s19_changes_of_the_policy_have_one_order() {
    let file = |ask: &str| json!({ "version": 1, "defaults": { "ask": ask } });
    let state = |hash: &str, ask: &str| json!({ "path": "p", "exists": true, "hash": hash, "file": file(ask) });
    let both = |second_is_refused: bool, hash: &str, ask: &str| {
        story().but(|s| {
            s.asked("1", "exec.approvals.get", json!({}), state("h0", "always"));
            s.call("a-1/1", "2", "exec.approvals.set", json!({ "file": file("on-miss"), "baseHash": "h0" }));
            s.call("a-1/1", "3", "exec.approvals.set", json!({ "file": file("off"), "baseHash": "h0" }));
            s.answer("a-1/1", "2", state("h1", "on-miss"));
            if second_is_refused {
                s.refuse("a-1/1", "3", "INVALID_REQUEST", "BASE_HASH_CHANGED");
            } else {
                s.answer("a-1/1", "3", state("h2", "off"));
            }
            s.at(10).asked("4", "exec.approvals.get", json!({}), state(hash, ask));
        })
    };
    both(true, "h1", "on-miss").holds();
    both(true, "h0", "always").breaks("answers", "h0");
    both(true, "h1", "off").breaks("answers", "another text with the hash h1");
    both(true, "h3", "on-miss").breaks("answers", "h3");
    let lost = both(false, "h2", "off");
    lost.breaks("answers", "");
    // Refused, though nobody else has changed anything.
    let early = story().but(|s| {
        s.asked("1", "exec.approvals.get", json!({}), state("h0", "always")).at(10);
        s.call("a-1/1", "2", "exec.approvals.set", json!({ "file": file("off"), "baseHash": "h0" })).at(20);
        s.refuse("a-1/1", "2", "INVALID_REQUEST", "BASE_HASH_CHANGED");
    });
    early.breaks("answers", "a change of h0 was refused, though that was in force");
}

/// Of two who change the configuration on top of one version one is refused, and what was written is what the file says.
#[test]
fn d50_changes_of_the_configuration_have_one_order() {
    let hash = |n: u8| n.to_string().repeat(64);
    let config = |level: &str| json!({ "logging": { "level": level } });
    let patch =
        |level: &str, base: u8| json!({ "raw": format!("{{logging: {{level: '{level}'}}}}"), "baseHash": hash(base) });
    let get = |level: &str, n: u8| {
        json!({ "path": "p", "exists": true, "raw": null, "parsed": {}, "valid": true, "config": config(level), "hash": hash(n),
            "issues": [], "warnings": [] })
    };
    let set = |level: &str, n: u8| json!({ "ok": true, "path": "p", "config": config(level), "hash": hash(n) });
    let both = |second: Option<(&str, u8)>, last: (&str, u8)| {
        story().but(|s| {
            s.asked("1", "config.get", json!({}), get("info", 0));
            s.call("a-1/1", "2", "config.set", patch("debug", 0)).call("a-1/1", "3", "config.set", patch("warn", 0));
            s.answer("a-1/1", "2", set("debug", 1));
            match second {
                None => s.refuse("a-1/1", "3", "INVALID_REQUEST", "BASE_HASH_CHANGED"),
                Some((level, n)) => s.answer("a-1/1", "3", set(level, n)),
            };
            s.at(20_000).asked("4", "config.get", json!({}), get(last.0, last.1));
        })
    };
    both(None, ("debug", 1)).holds();
    both(None, ("info", 0)).breaks("answers", "was not in force");
    both(None, ("warn", 1)).breaks("answers", "another text with the hash");
    both(Some(("warn", 2)), ("warn", 2)).breaks("answers", "");
    let other =
        story().but(|s| _ = s.call("a-1/1", "2", "config.set", patch("debug", 0)).answer("a-1/1", "2", set("warn", 1)));
    other.breaks("answers", "not what was to be written");
}

/// F53: a run of which nothing could be stored makes no session (swarm seeds 20589, 20975 and 21360).
#[test]
fn f53_a_run_that_could_not_be_stored_makes_no_session() {
    let shown = |why: Option<&str>, rows: &[Value]| {
        story().but(|s| {
            let params = json!({ "sessionKey": "blue", "message": "hi", "idempotencyKey": "r" });
            s.asked("1", "chat.send", params, json!({ "runId": "r", "status": "started" }));
            let mut end = json!({ "runId": "r", "seq": 1, "sessionKey": "agent:main:blue", "state": "error" });
            end["errorMessage"] = why.into();
            s.event("a-1/1", 1, "chat", end).at(2000);
            s.asked("2", "sessions.list", json!({}), list(rows));
        })
    };
    let there = [row("agent:main:blue", &json!({}))];
    shown(Some("the state database cannot be used now"), &[]).holds();
    shown(Some("the state database cannot be used now"), &there).holds();
    shown(Some("the model said no"), &there).holds();
    shown(Some("the model said no"), &[]).breaks("answers", "existence of session agent:main:blue is false");
}

/// A run that was ended while it waited makes its session when its turn comes (swarm seed 1000614).
#[test]
fn f17_a_run_that_was_ended_while_it_waited_makes_its_session_later() {
    let shown = |begins: bool, rows: &[Value]| {
        story().but(|s| {
            let params = json!({ "sessionKey": "blue", "message": "hi", "idempotencyKey": "r" });
            s.asked("1", "chat.send", params, json!({ "runId": "r", "status": "started" }));
            let end = json!({ "runId": "r", "seq": 1, "sessionKey": "agent:main:blue", "state": "aborted" });
            s.event("a-1/1", 1, "chat", end);
            if begins {
                for (n, phase) in [(2, "start"), (3, "end")] {
                    s.agent(
                        "a-1/1",
                        (n, n - 1),
                        "r",
                        "lifecycle",
                        json!({ "phase": phase, "aborted": phase == "end" }),
                    );
                }
            }
            s.at(2000).asked("2", "sessions.list", json!({}), list(rows));
        })
    };
    let there = [row("agent:main:blue", &json!({}))];
    assert_eq!(shown(false, &[]).verdict("answers"), "");
    assert_eq!(shown(true, &there).verdict("answers"), "");
    assert!(shown(true, &[]).verdict("answers").contains("existence of session agent:main:blue is false"));
}

#[test]
fn summaries_show_what_was_set() {
    let shown = |beats: bool, sessions: &[&str]| {
        story().but(|s| {
            s.expect.off = vec!["health".into()];
            s.asked("1", "set-heartbeats", json!({ "enabled": false }), json!({ "ok": true, "enabled": false }));
            let entry = json!({ "ok": true, "key": "agent:main:blue", "entry": { "label": "b", "sessionId": "s1" } });
            s.asked("2", "sessions.patch", json!({ "key": "blue", "label": "b" }), entry).at(2_000);
            let recent: Vec<Value> = sessions.iter().map(|k| json!({ "key": k, "updatedAt": 1, "age": 1 })).collect();
            let sessions = json!({ "path": "p", "count": recent.len(), "recent": recent });
            let heartbeat = json!({ "enabled": beats, "every": "30m", "everyMs": 1_800_000 });
            let agent = json!({ "agentId": "main", "isDefault": true, "sessions": sessions, "heartbeat": heartbeat });
            let health = json!({ "ok": true, "ts": 1, "durationMs": 0, "channels": {}, "channelOrder": [], "channelLabels": {},
                "heartbeatSeconds": 1800, "defaultAgentId": "main", "agents": [agent], "sessions": sessions });
            s.asked("3", "health", json!({}), health);
        })
    };
    shown(false, &["agent:main:blue"]).holds();
    shown(true, &["agent:main:blue"]).breaks("answers", "heartbeats is true");
    shown(false, &[]).breaks("answers", "existence of session agent:main:blue is false");
}

#[test]
fn d24_the_log_is_shown_in_whole_lines_and_what_is_missing_is_told() {
    use crate::log_lines::line;
    let tail = |asked: Value, from: u64, change: &dyn Fn(&mut Value)| {
        let lines: Vec<String> = (from..=500).map(line).collect();
        let mut payload = json!({ "file": "f", "cursor": 20_000, "size": 20_010, "lines": lines, "truncated": from > 1,
            "reset": false, "lost": 0 });
        change(&mut payload);
        story().but(|s| {
            s.asked("1", "logs.tail", asked, payload);
        })
    };
    let as_it_is = |_: &mut Value| {};
    tail(json!({}), 1, &as_it_is).holds();
    tail(json!({ "maxBytes": 90 }), 499, &as_it_is).holds();
    tail(json!({ "maxBytes": 90 }), 498, &as_it_is).breaks("answers", "gives 3 lines");
    tail(json!({}), 2, &as_it_is).breaks("answers", "gives 499 lines");
    tail(json!({}), 1, &|t| t["cursor"] = json!(20_010)).breaks("answers", "`cursor` is 20010");
    tail(json!({}), 1, &|t| t["size"] = json!(20_000)).breaks("answers", "`size` is 20000");
    tail(json!({}), 1, &|t| t["truncated"] = json!(true)).breaks("answers", "`truncated` is true");
    tail(json!({}), 1, &|t| t["reset"] = json!(true)).breaks("answers", "`reset` is true");
    let on = |lost: u64| tail(json!({ "cursor": 19_600, "limit": 5 }), 496, &|t| t["lost"] = json!(lost));
    on(5).holds();
    on(0).breaks("answers", "`lost` is 0");
    on(4).breaks("answers", "`lost` is 4");
}

#[test]
fn what_the_disk_could_not_decide_can_be_decided_again() {
    let again = |method: &'static str, answer: fn(&mut Story), restart: bool| {
        story().but(|s| {
            s.call("a-1/1", "1", method, json!({ "requestId": "q" }));
            s.refuse("a-1/1", "1", "UNAVAILABLE", "STORAGE");
            if restart {
                s.process("crash").process("start").process("listening").hello("a-1/2", 1, &["a-1"]);
                s.call("a-1/2", "2", method, json!({ "requestId": "q" }));
                s.refuse("a-1/2", "2", "INVALID_REQUEST", "UNKNOWN_REQUEST");
            } else {
                s.call("a-1/1", "2", method, json!({ "requestId": "q" }));
                answer(s);
            }
        })
    };
    let detail =
        |s: &Story| super::judge(&s.records, &s.expect).into_iter().find(|v| v.oracle == "answers").unwrap().detail;
    let unknown: fn(&mut Story) = |s| {
        s.refuse("a-1/1", "2", "INVALID_REQUEST", "UNKNOWN_REQUEST");
    };
    let fails: fn(&mut Story) = |s| {
        s.refuse("a-1/1", "2", "UNAVAILABLE", "STORAGE");
    };
    for method in ["device.pair.approve", "device.pair.reject"] {
        assert!(detail(&again(method, unknown, false)).contains("device request q is false"));
        assert_eq!(detail(&again(method, fails, false)), "");
        assert_eq!(detail(&again(method, unknown, true)), "");
    }
}

/// A question `q` that was said yes to, and what becomes of its use.
#[test]
fn s19_a_yes_is_good_for_its_own_question() {
    let asks = |s: &mut Story, id: &str, seq: u64| {
        let params = json!({ "id": "q", "command": "echo", "argv": ["echo"], "nodeId": "n" });
        s.call("a-1/1", id, "exec.approval.request", params);
        s.event("b-1/1", seq, "exec.approval.requested", json!({ "id": "q" }));
    };
    let yes = |s: &mut Story, id: &str| {
        s.call("b-1/1", id, "exec.approval.resolve", json!({ "id": "q", "decision": "allow-once" }));
        s.answer("b-1/1", id, json!({ "ok": true }));
    };
    let uses = |s: &mut Story, refused: Option<&str>| {
        let params = json!({ "command": ["echo"], "approvalId": "q" });
        let whole = json!({ "nodeId": "n", "command": "system.run", "params": params, "idempotencyKey": "k" });
        s.call("a-1/1", "k", "node.invoke", whole);
        if let Some(reason) = refused {
            s.refuse("a-1/1", "k", "INVALID_REQUEST", reason);
            return;
        }
        s.connect("n-1/1", "node", &[]).hello_ok("n-1/1", 4, &["a-1", "b-1", "n-1"]);
        let asked = json!({ "id": "k", "nodeId": "n", "command": "system.run", "idempotencyKey": "k" });
        s.event("n-1/1", 1, "node.invoke.request", asked);
        s.call("n-1/1", "k", "node.invoke.result", json!({ "id": "k", "nodeId": "n", "ok": true }));
        s.answer("a-1/1", "k", json!({ "ok": true, "nodeId": "n", "command": "system.run", "payloadJSON": null }));
    };
    let told = |s: &mut Story, decision: Value| {
        s.answer("a-1/1", "1", json!({ "id": "q", "decision": decision, "createdAtMs": 1, "expiresAtMs": 120_001 }));
    };
    let story = |change: &dyn Fn(&mut Story)| {
        let mut s = story();
        s.connect("b-1/1", "operator", &["operator.approvals"]).hello_ok("b-1/1", 3, &["a-1", "b-1"]);
        asks(&mut s, "1", 1);
        s.at(10);
        yes(&mut s, "2");
        change(&mut s);
        s.verdict("answers")
    };
    let is = |verdict: String, words: &str| assert!(verdict.contains(words), "{verdict:?} without {words:?}");
    let anew = |again: bool| {
        story(&move |s| {
            told(s, json!("allow-once"));
            s.at(20);
            asks(s, "3", 2);
            s.at(30);
            if again {
                yes(s, "4");
            }
            uses(s, None);
        })
    };
    is(anew(false), "which was asked anew, and nobody has decided that");
    assert_eq!(anew(true), "");
    is(story(&|s| uses(s, Some("UNKNOWN_APPROVAL"))), "was given for this, and is refused");
    is(story(&|s| told(s, Value::Null)), "an approval is null, and \"allow-once\" was acknowledged");
}

#[test]
fn a_nodes_note_wakes_a_heartbeat_where_it_is_read() {
    let note = |session: &str, beats: Option<u64>| {
        let mut s = Story::new();
        s.expect.beats_every_ms = Some(1_800_000);
        let bound = crate::oracle::Bound { sessions: vec!["main".into(), "other".into()], targets: vec![] };
        s.expect.bound.insert("test".into(), bound);
        s.hello("a-1/1", 2, &["a-1"]).connect("n-1/1", "node", &[]).hello_ok("n-1/1", 3, &["a-1"]).at(5000);
        let payload = json!({ "sessionKey": session, "runId": "x", "command": "make" });
        s.call("n-1/1", "1", "node.event", json!({ "event": "exec.finished", "payload": payload }));
        s.answer("n-1/1", "1", json!({ "ok": true }));
        if let Some(at) = beats {
            s.at(at).event("a-1/1", 1, "heartbeat", json!({ "ts": 1, "status": "ok-token", "durationMs": 10 }));
        }
        s.at(60_000).note();
        s.verdict("answers")
    };
    assert!(!note("main", Some(6000)).contains("heartbeat"), "{}", note("main", Some(6000)));
    assert!(note("main", None).contains("wakes no heartbeat"));
    assert!(note("other", Some(6000)).contains("a heartbeat that nobody asked for"));
    assert!(!note("other", None).contains("heartbeat"));
}
