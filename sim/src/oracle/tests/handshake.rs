use serde_json::json;

use super::{Story, connect_params};

fn ready() -> Story {
    let mut s = Story::new();
    s.hello("a-1/1", 2, &["a-1"]);
    s
}

#[test]
fn a_handshake_and_a_request_hold() {
    ready()
        .but(|s| {
            s.call("a-1/1", "1", "health", json!({})).answer("a-1/1", "1", json!({}));
        })
        .holds();
}

#[test]
fn the_challenge_comes_first_once_and_bare() {
    let mut s = Story::new();
    s.open("a-1/1").call("a-1/1", "hello", "connect", connect_params("a-1", "operator", &[]));
    s.but(|s| {
        s.hello_ok("a-1/1", 2, &["a-1"]);
    })
    .breaks("challenge", "before connect.challenge");
    s.but(|s| {
        s.event("a-1/1", 1, "tick", json!({}));
    })
    .breaks("challenge", "before hello-ok");
    ready()
        .but(|s| {
            s.challenge("a-1/1");
        })
        .breaks("challenge", "not the first frame");
    let challenge = |payload, seq: Option<u64>| {
        let mut frame = json!({ "type": "event", "event": "connect.challenge", "payload": payload });
        if let Some(seq) = seq {
            frame["seq"] = json!(seq);
        }
        let mut s = Story::new();
        s.open("a-1/1").receive("a-1/1", frame);
        s
    };
    challenge(json!({ "nonce": "n", "ts": 1 }), Some(1)).breaks("challenge", "carries seq");
    challenge(json!({ "ts": 1 }), None).breaks("challenge", "without nonce");
}

/// D34, D13.
#[test]
fn hello_comes_before_anything_else() {
    let mut s = Story::new();
    s.connect("a-1/1", "operator", &[]);
    s.but(|s| {
        s.event("a-1/1", 1, "tick", json!({}));
    })
    .breaks("hello", "came before hello-ok");
    s.call("a-1/1", "1", "health", json!({}));
    s.but(|s| {
        s.answer("a-1/1", "1", json!({}));
    })
    .breaks("hello", "before the one to the first frame");

    s.but(|s| {
        s.hello_ok("a-1/1", 2, &["a-1"]).answer("a-1/1", "1", json!({}));
    })
    .holds();
    let mut s = ready();
    s.call("a-1/1", "2", "connect", connect_params("a-1", "operator", &[]));
    s.but(|s| {
        s.refuse("a-1/1", "2", "INVALID_REQUEST", "ALREADY_CONNECTED");
    })
    .holds();
    s.but(|s| {
        s.answer("a-1/1", "2", json!({}));
    })
    .breaks("hello", "a second connect succeeded");
}

#[test]
fn every_request_has_its_one_response() {
    let s = ready().but(|s| {
        s.call("a-1/1", "1", "health", json!({})).answer("a-1/1", "1", json!({}));
    });
    s.but(|s| {
        s.answer("a-1/1", "1", json!({}));
    })
    .breaks("responses", "one response too many");
    s.but(|s| {
        s.answer("a-1/1", "9", json!({}));
    })
    .breaks("responses", "never sent");
    // An id used twice is answered twice (section 2).
    let twice = s.but(|s| {
        s.call("a-1/1", "1", "status", json!({})).answer("a-1/1", "1", json!({}));
    });
    twice.holds();
    twice
        .but(|s| {
            s.answer("a-1/1", "1", json!({}));
        })
        .breaks("responses", "one response too many");
    // What is no request is answered with its own id or `invalid`, never with success.
    let junk = ready().but(|s| {
        s.send("a-1/1", json!({ "type": "res", "id": "7" }));
    });
    junk.but(|s| {
        s.refuse("a-1/1", "7", "INVALID_REQUEST", "INVALID_FRAME");
    })
    .holds();
    junk.but(|s| {
        s.answer("a-1/1", "7", json!({}));
    })
    .breaks("responses", "is no request");
}

#[test]
fn an_agent_run_has_two_responses() {
    let params = json!({ "message": "m", "sessionKey": "main", "idempotencyKey": "k" });
    let s = ready().but(|s| {
        s.call("a-1/1", "1", "agent", params).answer("a-1/1", "1", json!({ "runId": "k", "status": "accepted" }));
        s.answer("a-1/1", "1", json!({ "runId": "k", "status": "ok", "result": { "payloads": [] } }));
    });
    s.holds();
    s.but(|s| {
        s.answer("a-1/1", "1", json!({ "runId": "k", "status": "ok" }));
    })
    .breaks("responses", "too many");
}

#[test]
fn requests_are_answered_in_time() {
    let s = ready().but(|s| {
        s.call("a-1/1", "1", "health", json!({}));
    });
    s.but(|s| {
        s.at(4000).note();
    })
    .holds();
    s.but(|s| {
        s.at(6000).note();
    })
    .breaks("answered", "health \"1\" was never answered");
    s.but(|s| {
        s.at(6000).answer("a-1/1", "1", json!({}));
    })
    .breaks("latency", "took 6000 ms");
    // A connection that ended explains it, and so does a fault.
    s.but(|s| {
        s.at(1000).leave("a-1/1").at(9000).note();
    })
    .holds();
    let stall = json!({ "kind": "stall", "target": "clients" });
    s.but(|s| {
        s.fault(1, true, stall.clone()).at(5500).fault(1, false, stall.clone());
        s.at(6000).answer("a-1/1", "1", json!({}));
    })
    .holds();
    // But not for ever.
    s.but(|s| {
        s.fault(1, true, stall.clone()).at(2000).fault(1, false, stall.clone()).at(30_000).note();
    })
    .breaks("answered", "never answered");
    // Another group's fault explains nothing.
    let other = json!({ "kind": "stall", "target": "b" });
    s.but(|s| {
        s.fault(1, true, other).at(6000).answer("a-1/1", "1", json!({}));
    })
    .breaks("latency", "6000 ms");
    let mut unheard = Story::new();
    unheard.connect("a-1/1", "operator", &[]).at(12_000).note();
    unheard.breaks("answered", "connect was never answered");
}

#[test]
fn nobody_sees_or_does_what_is_not_theirs() {
    let with = |role: &str, scopes: &[&str]| {
        let mut s = Story::new();
        s.connect("a-1/1", role, scopes).hello_ok("a-1/1", 2, &["a-1"]);
        s
    };
    let see = |s: &Story, event: &str| {
        s.but(|s| {
            s.event("a-1/1", 1, event, json!({}));
        })
    };
    for (role, scopes) in [("operator", vec!["operator.pairing"]), ("operator", vec!["bogus"]), ("node", vec![])] {
        see(&with(role, &scopes), "tick").holds();
        see(&with(role, &scopes), "heartbeat").breaks("scopes", "was shown a \"heartbeat\" event");
    }
    see(&with("operator", &["operator.write"]), "heartbeat").holds();
    see(&with("operator", &["operator.read"]), "device.pair.requested").breaks("scopes", "device.pair.requested");
    see(&with("node", &["operator.admin"]), "agent").breaks("scopes", "agent");
    see(&with("operator", &[]), "gossip").breaks("scopes", "not in the protocol");
    let reader = with("operator", &["operator.read"]).but(|s| {
        s.call("a-1/1", "1", "config.get", json!({}));
    });
    reader
        .but(|s| {
            s.refuse("a-1/1", "1", "INVALID_REQUEST", "MISSING_SCOPE");
        })
        .holds();
    reader
        .but(|s| {
            s.answer("a-1/1", "1", json!({}));
        })
        .breaks("scopes", "config.get succeeded");
    let lists = |scopes: &[&str]| {
        let mut s = Story::new();
        s.connect("a-1/1", "operator", scopes).hello_ok("a-1/1", 2, &["a-1"]);
        s.call("a-1/1", "1", "delivery.list", json!({})).answer("a-1/1", "1", json!({ "letters": [] }));
        s
    };
    lists(&["operator.read"]).holds();
    lists(&["operator.pairing"]).breaks("scopes", "delivery.list succeeded");
}

/// The oracle knows every method of the protocol and no other; what each needs it has from the sheet.
#[test]
fn scopes_are_known_for_every_method() {
    use std::collections::BTreeSet;
    let known: BTreeSet<&str> = super::super::sheet::METHODS.iter().map(|(name, _)| *name).collect();
    let spoken: BTreeSet<&str> = openclaw_protocol::method::METHODS.iter().map(|m| m.name).collect();
    let (missing, unknown): (Vec<_>, Vec<_>) =
        (spoken.difference(&known).collect(), known.difference(&spoken).collect());
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "sim/src/oracle/sheet.rs: METHODS lacks {missing:?} and has {unknown:?}, which are no methods"
    );
    assert_eq!(known.len(), super::super::sheet::METHODS.len(), "a method has more than one row");
}

/// Section 4, with D5 and D6.
#[test]
fn bad_first_frames_are_refused_with_the_right_code() {
    let first = |frame: serde_json::Value| {
        let mut s = Story::new();
        s.open("a-1/v1").challenge("a-1/v1").send("a-1/v1", frame);
        s
    };
    let raw = first(json!({ "raw": "junk" }));
    raw.but(|s| {
        s.at(10).closed("a-1/v1", Some(1008), "invalid JSON in the first frame");
    })
    .holds();
    raw.but(|s| {
        s.closed("a-1/v1", Some(1000), "");
    })
    .breaks("refusals", "closed with 1000, must be 1008");
    raw.but(|s| {
        s.closed("a-1/v1", None, "reset");
    })
    .breaks("refusals", "closed with no code");
    raw.but(|s| {
        s.closed("a-1/v1", Some(1008), "");
    })
    .breaks("refusals", "say something");
    raw.but(|s| {
        s.at(6000).note();
    })
    .breaks("refusals", "not closed within");
    raw.but(|s| {
        s.at(6000).closed("a-1/v1", Some(1008), "x");
    })
    .breaks("refusals", "after it was refused");
    let large = first(json!({ "raw": "x".repeat(70_000) }));
    large
        .but(|s| {
            s.closed("a-1/v1", Some(1009), "");
        })
        .holds();
    let shape = first(json!({ "type": "req", "id": "", "method": "connect" }));
    shape
        .but(|s| {
            s.closed("a-1/v1", Some(1008), "invalid request frame");
        })
        .holds();
    shape
        .but(|s| {
            s.closed("a-1/v1", Some(1008), "something else");
        })
        .breaks("refusals", "must begin with");
    let other = first(json!({ "type": "req", "id": "1", "method": "health" }));
    let reason = "invalid handshake: first request must be connect";
    other
        .but(|s| {
            s.refuse("a-1/v1", "1", "INVALID_REQUEST", "CONNECT_FIRST").closed("a-1/v1", Some(1008), reason);
        })
        .holds();
    other
        .but(|s| {
            s.refuse("a-1/v1", "1", "NOT_PAIRED", "X").closed("a-1/v1", Some(1008), reason);
        })
        .breaks("refusals", "must be INVALID_REQUEST");
    let mut params = connect_params("a-1", "operator", &[]);
    params["minProtocol"] = json!(9);
    let range = first(json!({ "type": "req", "id": "hello", "method": "connect", "params": params })).but(|s| {
        s.refuse("a-1/v1", "hello", "INVALID_REQUEST", "PROTOCOL_MISMATCH");
    });
    range
        .but(|s| {
            s.closed("a-1/v1", Some(1002), "protocol mismatch");
        })
        .holds();
    range
        .but(|s| {
            s.closed("a-1/v1", Some(1008), "protocol mismatch");
        })
        .breaks("refusals", "must be 1002");
    let bare = first(json!({ "type": "req", "id": "hello", "method": "connect", "params": {} }));
    bare.but(|s| {
        s.hello_ok("a-1/v1", 2, &["a-1"]);
    })
    .breaks("refusals", "was let in");
    // The gateway's own death explains a missing close frame.
    raw.but(|s| {
        s.process("crash").closed("a-1/v1", None, "reset");
    })
    .holds();
}

#[test]
fn junk_after_the_handshake_ends_the_connection() {
    let s = ready().but(|s| {
        s.at(100).send("a-1/1", json!({ "raw": "junk" }));
    });
    s.but(|s| {
        s.closed("a-1/1", Some(1008), "invalid JSON");
    })
    .holds();
    s.but(|s| {
        s.at(6000).note();
    })
    .breaks("refusals", "went on after");
}

/// F23: whatever the wall clock does.
#[test]
fn f23_deadlines_run_on_the_monotonic_clock() {
    let mut silent = Story::new();
    silent.open("a-1/v1").challenge("a-1/v1").fault(1, true, json!({ "kind": "clock_jump", "by_ms": 3_600_000 }));
    silent
        .but(|s| {
            s.at(10_050).closed("a-1/v1", Some(1008), "handshake timeout");
        })
        .holds();
    silent
        .but(|s| {
            s.at(20).closed("a-1/v1", Some(1008), "handshake timeout");
        })
        .breaks("timeouts", "after 20 ms");
    silent
        .but(|s| {
            s.at(60_000).note();
        })
        .breaks("timeouts", "past the handshake deadline");
    // What stalls while it is opened is open for the gateway before the client sees it (swarm seed 21823).
    let stalled = |ends: u64| {
        let mut s = Story::new();
        s.fault(1, true, json!({ "kind": "stall", "target": "a" })).at(ends);
        s.fault(1, false, json!({ "kind": "stall", "target": "a" })).at(11_000);
        s.open("a-1/v1").challenge("a-1/v1").at(11_010).closed("a-1/v1", Some(1008), "handshake timeout");
        s
    };
    stalled(11_000).holds();
    stalled(500).breaks("timeouts", "handshake timeout after 10 ms");
    // A machine that loses power ends nothing any more (swarm seed 20723).
    let lost = |at: u64| {
        silent.but(|s| {
            s.at(at).process("power_loss").at(60_000).note();
        })
    };
    lost(2000).holds();
    lost(30_000).breaks("timeouts", "past the handshake deadline");
    let wait = ready().but(|s| {
        let params = json!({ "message": "m", "sessionKey": "main", "idempotencyKey": "k" });
        s.call("a-1/1", "1", "agent", params).answer("a-1/1", "1", json!({ "runId": "k", "status": "accepted" }));
        s.call("a-1/1", "2", "agent.wait", json!({ "runId": "k", "timeoutMs": 3000 }));
    });
    let timeout = json!({ "runId": "k", "status": "timeout" });
    wait.but(|s| {
        s.at(3000).answer("a-1/1", "2", timeout.clone());
    })
    .holds();
    wait.but(|s| {
        s.at(5).answer("a-1/1", "2", timeout);
    })
    .breaks("timeouts", "after 5 of 3000 ms");
}

#[test]
fn connections_end_only_for_a_reason() {
    let s = ready().but(|s| {
        s.at(3000);
    });
    s.but(|s| {
        s.closed("a-1/1", None, "reset");
    })
    .breaks("closes", "nothing happened");
    s.but(|s| {
        s.closed("a-1/1", Some(1000), "");
    })
    .breaks("closes", "nothing happened");
    s.but(|s| {
        s.closed("a-1/1", Some(1012), "service stop");
    })
    .breaks("closes", "not asked to stop");
    s.but(|s| {
        s.closed("a-1/1", Some(1001), "no sign of life");
    })
    .breaks("closes", "answered pings");
    s.but(|s| {
        s.closed("a-1/1", Some(1009), "");
    })
    .breaks("closes", "no frame was larger than it takes");
    s.but(|s| {
        s.fault(1, true, json!({ "kind": "reset", "target": "a" })).closed("a-1/1", None, "reset");
    })
    .holds();
    s.but(|s| {
        s.process("crash").closed("a-1/1", None, "ended");
    })
    .holds();
    // F03: who reads is no slow consumer, and a slow consumer is told so.
    s.but(|s| {
        s.closed("a-1/1", Some(1008), "slow consumer");
    })
    .breaks("slow_consumer", "read all the time");
    let slow = s.but(|s| {
        s.reading("a-1/1", false).at(9000).reading("a-1/1", true);
    });
    slow.but(|s| {
        s.closed("a-1/1", Some(1008), "slow consumer");
    })
    .holds();
    slow.but(|s| {
        s.closed("a-1/1", Some(1000), "slow consumer");
    })
    .breaks("slow_consumer", "with 1008");
}

#[test]
fn frames_have_the_form_of_the_sheets() {
    let bad = |frame: serde_json::Value, words: &str| {
        ready()
            .but(|s| {
                s.call("a-1/1", "1", "health", json!({})).receive("a-1/1", frame);
            })
            .breaks("frames", words);
    };
    bad(json!([1]), "no object");
    bad(json!({ "type": "push" }), "of type");
    bad(json!({ "type": "res", "id": "1", "ok": true, "extra": 1 }), "member \"extra\" is not known");
    bad(json!({ "type": "res", "id": "1", "ok": true, "error": null }), "\"error\" is null");
    bad(json!({ "type": "res", "id": 1, "ok": true }), "no text");
    bad(json!({ "type": "res", "id": "1" }), "without `ok`");
    bad(json!({ "type": "res", "id": "1", "ok": false }), "without an error");
    bad(json!({ "type": "res", "id": "1", "ok": true, "error": {} }), "success with an error");
    bad(json!({ "type": "res", "id": "1", "ok": false, "error": { "code": "OOPS", "message": "m" } }), "OOPS");
    bad(json!({ "type": "res", "id": "1", "ok": false, "error": { "code": "UNAVAILABLE" } }), "without a message");
    bad(json!({ "type": "event", "seq": 1 }), "without a name");
    bad(
        json!({ "type": "event", "event": "tick", "seq": 1, "stateVersion": { "presence": 1 } }),
        "stateVersion belongs",
    );
    bad(json!({ "type": "event", "event": "health", "seq": 1, "payload": {} }), "stateVersion belongs");
    ready()
        .but(|s| {
            s.call("a-1/1", "1", "last-heartbeat", json!({})).answer("a-1/1", "1", json!(null));
        })
        .holds();
}
