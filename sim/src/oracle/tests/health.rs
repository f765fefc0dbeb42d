use serde_json::{Value, json};

use super::{Story, connect_params, entries};
use crate::history::What;

/// Wall time at the start of the run.
const EPOCH: u64 = 1_000_000;

fn row(more: &Value) -> Value {
    let mut row = json!({
        "accountId": "default", "configured": true, "enabled": true, "running": true, "connected": true,
        "tokenSource": "config", "mode": "polling", "lastStartAt": EPOCH, "lastStopAt": null, "lastOkAt": EPOCH + 5000,
        "lastInboundAt": null, "lastOutboundAt": null, "lastError": null,
    });
    row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    row
}

/// What an operator is told of the account.
fn problems(row: &Value) -> Value {
    let code = match (row["lastError"].is_null(), &row["connected"]) {
        (false, _) => "channel.disturbed",
        (true, Value::Bool(false)) => "channel.silent",
        _ => return json!([]),
    };
    json!([problem(code, "telegram/default")])
}

fn problem(code: &str, subject: &str) -> Value {
    json!({ "code": code, "severity": "problem", "subject": subject, "message": "it is so", "fix": "do something" })
}

fn health(now: u64, more: &Value) -> Value {
    let own = row(more);
    let problems = problems(&own);
    let mut summary = own.clone();
    summary["accounts"] = json!({ "default": own });
    let sessions = json!({ "path": "p", "count": 0, "recent": [] });
    json!({
        "ok": true, "ts": EPOCH + now, "durationMs": 0, "heartbeatSeconds": 1800, "defaultAgentId": "main",
        "channels": { "telegram": summary }, "channelOrder": ["telegram"], "channelLabels": { "telegram": "Telegram" },
        "agents": [{ "agentId": "main", "isDefault": true, "sessions": sessions,
            "heartbeat": { "enabled": true, "every": "30m", "everyMs": 1_800_000 } }],
        "sessions": sessions, "problems": problems,
    })
}

impl Story {
    fn telegram(&mut self, method: &str, status: Option<u16>) -> &mut Self {
        let params =
            if method == "sendMessage" { json!({ "chat_id": "1", "text": "hi" }) } else { json!({ "offset": 0 }) };
        self.add(What::Telegram { method: method.into(), params, status })
    }

    fn health_event(&mut self, seq: u64, version: u64, payload: Value) -> &mut Self {
        let versions = json!({ "presence": 2, "health": version });
        let event =
            json!({ "type": "event", "event": "health", "payload": payload, "seq": seq, "stateVersion": versions });
        self.receive("a-1/1", event)
    }

    fn status_of_channels(&mut self, id: &str, more: &Value) -> &mut Self {
        let own = row(more);
        let payload = json!({ "ts": EPOCH + self.now, "channelOrder": ["telegram"], "channelLabels": {},
            "channels": { "telegram": own }, "channelAccounts": { "telegram": [own] },
            "channelDefaultAccountId": { "telegram": "default" } });
        self.call("a-1/1", id, "channels.status", json!({})).answer("a-1/1", id, payload)
    }
}

/// A poll has been answered at 5 s; somebody is there since 10 s, and all is well.
fn story() -> Story {
    let mut s = Story::new();
    s.expect.off = vec!["answers".into()];
    s.telegram("getUpdates", None).at(5_000).telegram("getUpdates", Some(200)).telegram("getUpdates", None).at(10_000);
    s.open("a-1/1");
    let challenge = json!({ "nonce": "n", "ts": EPOCH + 10_000 });
    s.receive("a-1/1", json!({ "type": "event", "event": "connect.challenge", "payload": challenge }));
    s.call("a-1/1", "hello", "connect", connect_params("a-1/1", "operator", &[]));
    s.answer(
        "a-1/1",
        "hello",
        json!({ "type": "hello-ok", "protocol": 3, "snapshot": {
            "presence": entries(&["a-1"]), "health": health(10_000, &json!({})),
            "stateVersion": { "presence": 2, "health": 1 },
            "sessionDefaults": { "defaultAgentId": "main", "mainKey": "main", "mainSessionKey": "agent:main:main" },
        } }),
    );
    s.expect.tick_interval_ms = 1_000_000;
    s
}

#[test]
fn a_row_is_what_the_service_has_seen() {
    let shown = |more: Value| {
        story().but(|s| {
            s.at(12_000).status_of_channels("1", &more);
        })
    };
    shown(json!({})).holds();
    shown(json!({ "running": false, "connected": false })).breaks("health", "`running` is false");
    shown(json!({ "connected": false })).breaks("health", "`connected` is false; the service answered 200");
    shown(json!({ "lastError": "no" })).breaks("health", "`lastError` is \"no\"");
    shown(json!({ "lastOkAt": EPOCH + 9_000 })).breaks("health", "`lastOkAt` is Some(9000)");
    shown(json!({ "lastStopAt": EPOCH + 9_000 })).breaks("health", "`lastStopAt` is Some(9000)");
    shown(json!({ "lastOutboundAt": EPOCH + 9_000 })).breaks("health", "`lastOutboundAt` is Some(9000)");
    shown(json!({ "lastInboundAt": EPOCH + 9_000 })).breaks("health", "`lastInboundAt` is 9000 ms");
    shown(json!({ "enabled": false })).breaks("health", "not enabled");
    shown(json!({ "lastStartAt": null })).breaks("health", "`lastStartAt` is None");
}

#[test]
fn what_came_and_went_is_dated() {
    let shown = |more: Value| {
        story().but(|s| {
            s.add(What::Update { update_id: 1, update: json!({ "chat": 1, "text": "/status", "message_id": 1 }) });
            s.at(13_000).telegram("getUpdates", Some(200)).telegram("getUpdates", None);
            s.telegram("sendMessage", None)
                .telegram("sendMessage", Some(200))
                .at(16_000)
                .status_of_channels("1", &more);
        })
    };
    let (came, went) = (EPOCH + 13_000, EPOCH + 13_000);
    let well = json!({ "lastInboundAt": came, "lastOutboundAt": went, "lastOkAt": came });
    shown(well.clone()).holds();
    let but = |key: &str, value: Value| {
        let mut other = well.clone();
        other[key] = value;
        shown(other)
    };
    but("lastInboundAt", Value::Null).breaks("health", "a message came at 10000");
    // It has gone out when the gateway hears so (swarm seed 26469).
    let heard = |stalled_until: u64| {
        let mut s = story();
        s.at(12_000).fault(1, true, json!({ "kind": "stall", "target": "telegram" }));
        s.at(13_000).telegram("sendMessage", None).telegram("sendMessage", Some(200));
        s.at(stalled_until).fault(1, false, json!({ "kind": "stall", "target": "telegram" }));
        s.at(16_000).status_of_channels("1", &json!({}));
        s.verdict("health")
    };
    assert_eq!(heard(15_500), "");
    assert!(heard(13_100).contains("`lastOutboundAt` is"), "{}", heard(13_100));
    // It came when a slow disk had stored it (swarm seed 23606).
    let stored = |slow_until: u64| {
        let mut s = story();
        s.add(What::Update { update_id: 1, update: json!({ "chat": 1, "text": "/status", "message_id": 1 }) });
        s.at(12_000).fault(1, true, json!({ "kind": "disk_slow", "delay_ms": 100 }));
        s.at(13_000).telegram("getUpdates", Some(200)).telegram("getUpdates", None);
        s.at(slow_until).fault(1, false, json!({ "kind": "disk_slow", "delay_ms": 100 }));
        s.at(16_000).status_of_channels("1", &json!({ "lastOkAt": came }));
        s.verdict("health")
    };
    assert_eq!(stored(15_000), "");
    assert!(stored(13_100).contains("a message came at 10000"));
    but("lastOutboundAt", Value::Null).breaks("health", "`lastOutboundAt` is None ms");
}

#[test]
fn an_error_is_shown_until_it_is_over_and_a_change_is_told() {
    let failed = |status: u16, told: Option<Value>, shown: Value| {
        story().but(|s| {
            s.at(20_000).telegram("getUpdates", Some(status)).at(22_000).status_of_channels("1", &shown);
            if let Some(told) = told {
                s.at(24_000).health_event(1, 2, health(24_000, &told));
            }
            s.at(30_000).note();
        })
    };
    let error = json!({ "lastError": "Telegram answered 409: Conflict" });
    let gone = json!({ "lastError": "Telegram answered 401: no", "running": false, "connected": false, "lastStopAt": EPOCH + 20_000 });
    failed(409, Some(error.clone()), error.clone()).holds();
    failed(409, Some(error.clone()), json!({})).breaks("health", "`lastError` is null");
    failed(409, None, error.clone()).breaks("health", "what was told last: `lastError` is null");
    failed(401, Some(gone.clone()), gone.clone()).holds();
    failed(401, Some(gone), error).breaks("health", "`running` is true");
}

#[test]
fn a_bot_that_nobody_answers_is_not_connected() {
    let after = |ms: u64, connected: bool| {
        story().but(|s| {
            s.at(20_000).telegram("getUpdates", Some(500));
            let shown = json!({ "connected": connected, "lastError": "Telegram answered 500: no" });
            s.at(24_000).health_event(1, 2, health(24_000, &json!({ "lastError": "Telegram answered 500: no" })));
            s.at(ms).status_of_channels("1", &shown);
        })
    };
    after(60_000, true).holds();
    after(60_000, false).breaks("health", "`connected` is false");
    after(67_000, false).holds();
    after(67_000, true).breaks("health", "`connected` is true");
}

#[test]
fn one_version_is_one_state_and_comes_each_minute() {
    let events = |list: &[(u64, u64, Value)], end: u64| {
        story().but(|s| {
            for (n, (at, version, more)) in list.iter().enumerate() {
                s.at(*at).health_event(n as u64 + 1, *version, health(*at, more));
            }
            s.at(end).note();
        })
    };
    let (well, off) = (json!({}), json!({ "tokenSource": "file" }));
    events(&[(12_000, 2, off.clone()), (13_000, 3, well.clone()), (20_000, 4, well.clone())], 40_000).holds();
    events(&[(20_000, 2, well.clone()), (30_000, 3, well.clone())], 40_000).breaks("health", "nothing has changed");
    events(&[(20_000, 2, well.clone()), (80_000, 3, json!({ "connected": false }))], 90_000).holds();
    events(&[], 90_000).breaks("health", "no health event for 80000 ms after this");
    let late = story().but(|s| {
        s.at(60_000).telegram("getUpdates", Some(200)).telegram("getUpdates", None);
        s.at(80_000).health_event(1, 2, health(80_000, &json!({ "lastOkAt": EPOCH + 60_000 }))).note();
    });
    late.breaks("health", "no health event for 70000 ms before this one");
    let other = story().but(|s| {
        s.health_event(1, 1, health(10_000, &off));
    });
    assert!(super::judge(&other.records, &other.expect).iter().any(|v| !v.ok && v.detail.contains("for others")));
}

#[test]
fn what_health_answers_has_been_told() {
    let asked = |more: Value| {
        story().but(|s| {
            s.at(12_000)
                .call("a-1/1", "1", "health", json!({}))
                .answer("a-1/1", "1", health(12_000, &more))
                .at(15_000)
                .note();
        })
    };
    asked(json!({})).holds();
    asked(json!({ "tokenSource": "file" })).breaks("health", "health answers what no event has told");
    let odd = |change: &dyn Fn(&mut Value)| {
        let mut payload = health(12_000, &json!({}));
        change(&mut payload);
        story().but(|s| {
            s.at(12_000).call("a-1/1", "1", "health", json!({})).answer("a-1/1", "1", payload);
        })
    };
    odd(&|h| h["ts"] = json!(EPOCH + 20_000)).breaks("health", "`ts` is 20000 ms");
    odd(&|h| h["sessions"]["count"] = json!(2)).breaks("health", "`recent` does not go with `count`");
    odd(&|h| h["agents"][0]["isDefault"] = json!(false)).breaks("health", "not exactly one default agent");
    odd(&|h| h["channelLabels"] = json!({})).breaks("health", "telegram is not in");
    let trouble = odd(&|h| {
        (h["ok"], h["problem"]) = (json!(false), json!("nothing new is accepted"));
        h["problems"] = json!([problem("storage.refuses", "/state")]);
    });
    assert!(super::judge(&trouble.records, &trouble.expect).iter().any(|v| v.detail.contains("takes everything")));
}

#[test]
fn a_probe_says_what_the_service_has_said() {
    let probed = |status: u16, ok: bool| {
        story().but(|s| {
            s.at(12_000).call("a-1/1", "1", "channels.status", json!({ "probe": true }));
            s.telegram("getMe", None).telegram("getMe", Some(200));
            s.telegram("getWebhookInfo", None).telegram("getWebhookInfo", Some(status));
            let probe = if ok { json!({ "ok": true, "elapsedMs": 1 }) } else { json!({ "ok": false, "error": "no" }) };
            let own = row(&json!({ "probe": probe, "lastProbeAt": EPOCH + 12_000 }));
            let payload = json!({ "ts": EPOCH + 12_000, "channelOrder": ["telegram"], "channelLabels": {},
                "channels": { "telegram": own }, "channelAccounts": { "telegram": [own] },
                "channelDefaultAccountId": { "telegram": "default" } });
            s.answer("a-1/1", "1", payload);
        })
    };
    probed(200, true).holds();
    probed(500, false).holds();
    probed(500, true).breaks("health", "the probe says");
    probed(200, false).breaks("health", "the probe says");
}

#[test]
fn the_summary_for_people_says_the_same() {
    let status = |lines: Value, delivery: Value| {
        story().but(|s| {
            let sessions = json!({ "paths": ["p"], "count": 0, "recent": [], "byAgent": [],
                "defaults": { "model": null, "contextTokens": null } });
            let dead = delivery["dead"] != 0;
            let problems = if dead { json!([problem("delivery.dead", "telegram/default")]) } else { json!([]) };
            let payload = json!({ "heartbeat": { "defaultAgentId": "main", "agents": [] }, "channelSummary": lines,
                "queuedSystemEvents": [], "sessions": sessions, "delivery": delivery, "problems": problems });
            s.at(12_000).call("a-1/1", "1", "status", json!({})).answer("a-1/1", "1", payload);
        })
    };
    let none = json!({ "queued": 0, "dead": 0, "unknown": 0 });
    let some = json!({ "queued": 1, "dead": 2, "unknown": 0 });
    let well = "Telegram default: connected";
    status(json!([well]), none.clone()).holds();
    status(json!(["Telegram default: starting"]), none.clone()).breaks("health", "the line about Telegram");
    status(json!([well, "Delivery: 1 queued, 2 not delivered, 0 unknown (x)"]), some.clone()).holds();
    status(json!([well, "Delivery: 1 queued"]), some.clone()).breaks("health", "the line about deliveries");
    status(json!([well]), some).breaks("health", "the line about deliveries");
    status(json!([well, "Delivery: 0 queued"]), none).breaks("health", "the line about deliveries");
}

/// F31: what is wrong is in the list of problems, what is not is not, and the list says everything of each.
#[test]
fn f31_the_problems_are_those_that_there_are() {
    let asked = |more: &Value, problems: Value| {
        let mut payload = health(22_000, more);
        payload["problems"] = problems;
        let mut s = story();
        s.at(20_000).telegram("getUpdates", Some(if more["lastError"].is_null() { 200 } else { 500 }));
        let mut event = payload.clone();
        event["ts"] = json!(EPOCH + 21_000);
        s.at(21_000).health_event(1, 2, event);
        s.at(22_000).call("a-1/1", "1", "health", json!({})).answer("a-1/1", "1", payload).at(24_000).note();
        s.verdict("health")
    };
    let (well, ill) = (json!({ "lastOkAt": EPOCH + 20_000 }), json!({ "lastError": "Telegram answered 500: no" }));
    let dead = problem("channel.disturbed", "telegram/default");
    assert_eq!(asked(&well, json!([])), "");
    assert_eq!(asked(&ill, json!([dead])), "");
    assert!(asked(&ill, json!([])).contains("and is no problem"));
    assert!(asked(&ill, json!([problem("channel.disturbed", "telegram/other")])).contains("and is no problem"));
    assert!(asked(&well, json!([dead])).contains("is well and a problem"));
    assert!(asked(&ill, json!([dead, dead])).contains("told twice"));
    assert!(asked(&well, Value::Null).contains("`problems` is null"));
    assert!(asked(&well, json!([problem("storage.refuses", "/state")])).contains("storage.refuses: true"));
    let without = |key: &str| {
        let mut odd = dead.clone();
        odd[key] = json!("");
        asked(&ill, json!([odd]))
    };
    for key in ["code", "subject", "message", "fix", "severity"] {
        assert!(without(key).contains("does not say everything"), "{key}: {}", without(key));
    }
    let note = json!({ "code": "x", "severity": "note", "subject": "y", "message": "m", "fix": "f" });
    assert_eq!(asked(&ill, json!([dead, note])), "");
    assert!(asked(&ill, json!([note, dead])).contains("a note stands before"));
}

/// F12: a bot that nobody answers is a problem by its silence alone.
#[test]
fn f12_a_silent_channel_is_a_problem() {
    let after = |ms: u64, problems: Value| {
        let shown = json!({ "connected": false });
        let mut payload = health(ms, &shown);
        payload["problems"] = problems;
        let mut s = story();
        let mut event = payload.clone();
        event["ts"] = json!(EPOCH + ms - 1000);
        s.at(ms - 1000).health_event(1, 2, event);
        s.at(ms).call("a-1/1", "1", "health", json!({})).answer("a-1/1", "1", payload);
        s.verdict("health")
    };
    let silent = json!([problem("channel.silent", "telegram/default")]);
    assert_eq!(after(69_000, silent), "");
    assert!(after(69_000, json!([])).contains("telegram/default receives: false"), "{}", after(69_000, json!([])));
}

/// F31: messages that were given up are a problem until somebody has decided about them, and that is told.
#[test]
fn f31_messages_that_were_given_up_are_a_problem_until_they_are_gone() {
    let there = || json!([problem("delivery.dead", "telegram/default")]);
    let list = |s: &mut Story, id: &str, dead: u64| {
        let counts = json!({ "queued": 0, "dead": dead, "unknown": 0 });
        s.call("a-1/1", id, "delivery.list", json!({}));
        s.answer("a-1/1", id, json!({ "counts": counts, "deliveries": [] }));
    };
    let shown = |at: u64, problems: &Value| {
        let mut payload = health(at, &json!({}));
        payload["problems"] = problems.clone();
        payload
    };
    // Two are there at 12 s and gone at 30 s; what was shown in between, before the order and after it.
    let told = |during: Value, after: Value, is_event: bool| {
        let mut s = story();
        list(s.at(12_000), "1", 2);
        if is_event {
            s.at(14_000).health_event(1, 2, shown(14_000, &during));
        }
        s.at(16_000).call("a-1/1", "2", "health", json!({})).answer("a-1/1", "2", shown(16_000, &during));
        s.at(24_000).call("a-1/1", "3", "delivery.drop", json!({ "all": "dead" }));
        s.answer("a-1/1", "3", json!({ "ok": true, "ids": ["1", "2"] }));
        if is_event {
            s.at(26_000).health_event(2, 3, shown(26_000, &after));
        }
        s.at(28_000).call("a-1/1", "4", "health", json!({})).answer("a-1/1", "4", shown(28_000, &after));
        list(s.at(30_000), "5", 0);
        s.at(45_000).note();
        s.verdict("health")
    };
    assert_eq!(told(there(), json!([]), true), "");
    assert!(told(json!([]), json!([]), true).contains("messages were given up: Some(true)"));
    assert!(told(there(), there(), true).contains("messages were given up: Some(false)"));
    assert!(told(there(), json!([]), false).contains("what was told last"));
}
