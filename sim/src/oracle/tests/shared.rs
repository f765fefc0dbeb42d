//! Sessions that several speak to: where they heard from last, lists of them, tools over them.

use serde_json::{Value, json};

use super::{ORACLES, Story};
use crate::history::{What, parts::Part};

/// These stories are only about what is told and where it goes.
fn story() -> Story {
    let mut s = Story::new();
    let on = ["answers", "places"];
    s.expect.off = ORACLES.iter().map(|(name, _)| (*name).to_owned()).filter(|n| !on.contains(&n.as_str())).collect();
    s.expect.owners = vec![1, 2];
    s.expect.dm_scope = "main".into();
    s.expect.shared_chats = true;
    s.hello("a-1/1", 2, &["a-1"]);
    s
}

impl Story {
    /// Somebody writes, and the model is asked about it.
    fn writes(&mut self, id: i64, chat: i64) -> &mut Self {
        let update = json!({ "chat": chat, "from": chat, "text": "hi", "message_id": id });
        self.add(What::Update { update_id: id, update });
        let answer = json!({ "kind": "say", "text": "" }).to_string();
        self.add(What::asked(id as u64, format!("[Telegram] hi\n[message_id: {id}]"), answer))
    }
    /// A run that is to be delivered ends with these words, which have gone to a chat.
    fn delivers(&mut self, key: &str, target: Value, to: Option<&str>) -> &mut Self {
        let mut params = target;
        params["sessionKey"] = "main".into();
        params["message"] = format!("for {key}").into();
        params["deliver"] = true.into();
        params["idempotencyKey"] = key.into();
        let words = format!("echo: for {key}");
        self.call("a-1/1", key, "agent", params);
        self.answer("a-1/1", key, json!({ "runId": key, "status": "accepted", "acceptedAt": 1 }));
        if let Some(chat) = to {
            let call = |status| What::Telegram {
                method: "sendMessage".into(),
                params: json!({ "chat_id": chat, "text": words }),
                status,
            };
            self.add(call(None)).add(call(Some(200)));
        }
        let result = json!({ "payloads": [{ "text": words }], "meta": { "durationMs": 1, "aborted": false } });
        self.answer("a-1/1", key, json!({ "runId": key, "status": "ok", "summary": "completed", "result": result }));
        self.note()
    }
    fn lists_sessions(&mut self, id: &str, params: Value, rows: &[Value]) -> &mut Self {
        self.call("a-1/1", id, "sessions.list", params);
        let list = json!({ "ts": 900_000, "path": "p", "count": rows.len(), "defaults": { "model": null, "contextTokens": null },
            "sessions": rows });
        self.answer("a-1/1", id, list)
    }
    /// The model calls a tool, and is asked with what came of it.
    fn uses(&mut self, tool: &str, arguments: &Value, result: &str) -> &mut Self {
        let step = json!({ "kind": "tool", "name": tool, "args": arguments.to_string() }).to_string();
        self.add(What::asked(50, "do it", step));
        self.add(What::Given { request: 50, after: None, parts: vec![Part::User("do it".into())], system: 9 });
        self.told_by("call_50", tool, arguments, result)
    }
    fn told_by(&mut self, id: &str, tool: &str, arguments: &Value, result: &str) -> &mut Self {
        self.add(What::asked(51, "do it", json!({ "kind": "say", "text": "" }).to_string()));
        let call = Part::Call { id: id.into(), name: tool.into(), arguments: arguments.to_string() };
        let parts = vec![call, Part::Result { id: id.into(), text: result.into() }];
        self.add(What::Given { request: 51, after: Some((50, 1)), parts, system: 9 })
    }
}

fn row(key: &str, at: u64) -> Value {
    json!({ "key": key, "kind": "direct", "updatedAt": at, "sessionId": key })
}

#[test]
fn d46_what_has_no_target_goes_to_where_the_session_heard_from_last() {
    let mut s = story();
    s.writes(7, 1).writes(8, 2);
    let to = |target: Value, chat: Option<&str>| {
        s.but(|s| {
            s.delivers("k", target, chat);
        })
    };
    to(json!({}), Some("2")).holds();
    to(json!({ "channel": "last" }), Some("1")).breaks("answers", "route of session agent:main:main is \"1\"");
    to(json!({ "channel": "telegram", "to": "1" }), Some("1")).holds();
    to(json!({ "channel": "telegram", "to": "1" }), Some("2")).breaks("places", "for 1 was sent to 2");
    to(json!({ "to": "1", "replyTo": "3" }), Some("3")).holds();
    to(json!({ "to": "1", "replyTo": "3" }), Some("1")).breaks("places", "for 3 was sent to 1");
    to(json!({}), None).breaks("places", "its reply was not delivered");
    to(json!({ "channel": "webchat" }), None).holds();
    // A guest says nothing about where the news of others go.
    let guest = |chat: &str| {
        s.but(|s| {
            s.writes(9, 3).delivers("k", json!({}), Some(chat));
        })
    };
    guest("2").holds();
    guest("3").breaks("answers", "route of session agent:main:main is \"3\"");
    // Telegram tells an update again: nobody has written anew.
    let again = |id: i64, chat: i64, to: &str| {
        s.but(|s| {
            let update = json!({ "chat": chat, "from": chat, "text": "hi", "message_id": id });
            s.add(What::Update { update_id: id, update }).delivers("k", json!({}), Some(to));
        })
    };
    again(8, 2, "2").holds();
    again(8, 2, "1").breaks("answers", "route of session agent:main:main is \"1\"");
    again(7, 1, "2").holds();
    again(7, 1, "1").breaks("answers", "route of session agent:main:main is \"1\"");
    let nobody = s.but(|s| {
        s.call(
            "a-1/1",
            "k",
            "agent",
            json!({ "sessionKey": "main", "message": "m", "deliver": true, "idempotencyKey": "k" }),
        );
        s.refuse("a-1/1", "k", "INVALID_REQUEST", "NO_ROUTE");
    });
    nobody.breaks("answers", "route of session agent:main:main is null");
}

#[test]
fn a_list_that_is_full_shows_the_newest() {
    let rows = [row("agent:main:c", 90_000), row("agent:main:b", 70_000), row("agent:main:a", 30_000)];
    let then = |params: Value, rows: &[Value]| {
        story().but(|s| {
            s.lists_sessions(
                "1",
                json!({}),
                &[row("agent:main:c", 90_000), row("agent:main:b", 70_000), row("agent:main:a", 30_000)],
            );
            s.lists_sessions("2", params, rows);
        })
    };
    then(json!({ "limit": 2 }), &rows[..2]).holds();
    then(json!({ "limit": 2 }), &rows[1..]).breaks("answers", "shows what is older than agent:main:c");
    let deleted = then(json!({}), &rows).but(|s| {
        s.call("a-1/1", "3", "sessions.delete", json!({ "key": "c" }));
        s.answer("a-1/1", "3", json!({ "ok": true, "key": "agent:main:c", "deleted": true, "archived": [] }));
        s.lists_sessions("4", json!({ "limit": 2 }), &rows[1..]);
    });
    deleted.holds();
    // It is made at 900 s.
    then(json!({ "activeMinutes": 14 }), &rows[..2]).holds();
    then(json!({ "activeMinutes": 14 }), &rows[..1]).breaks("answers", "leaves out \"agent:main:b\", which was active");
    then(json!({ "activeMinutes": 13 }), &rows[..1]).breaks("answers", "one that was silent for longer");
    let twins =
        [json!({ "key": "a", "label": "x", "updatedAt": 9 }), json!({ "key": "b", "label": "x", "updatedAt": 8 })];
    let both = story().but(|s| {
        s.lists_sessions(
            "1",
            json!({}),
            &twins.clone().map(|mut t| {
                t["kind"] = "direct".into();
                t["sessionId"] = t["key"].clone();
                t
            }),
        );
    });
    both.breaks("answers", "two of one label");
}

#[test]
fn the_tool_that_speaks_to_another_session_gives_what_the_model_said_there() {
    let asks = json!({ "sessionKey": "red", "message": "how are you?", "timeoutSeconds": 5 });
    let told = |said: &'static str, result: Value| {
        story().but(|s| {
            s.asked_first();
            let step = json!({ "kind": "tool", "name": "sessions_send", "args": asks.to_string() }).to_string();
            s.add(What::asked(50, "do it", step));
            s.add(What::Given { request: 50, after: None, parts: vec![Part::User("do it".into())], system: 9 });
            s.add(What::asked(52, "how are you?", json!({ "kind": "say", "text": said }).to_string()));
            s.at(2000).told_by("call_50", "sessions_send", &asks, &result.to_string());
        })
    };
    told("well", json!({ "status": "ok", "reply": "well" })).holds();
    told("well", json!({ "status": "ok", "reply": "" })).breaks("answers", "which no model has given");
    told("well", json!({ "status": "pending", "runId": "r" }))
        .breaks("answers", "says after 2000 ms that it waited for 5 s");
    // A run does not speak with itself.
    let itself = json!({ "sessionKey": "main", "message": "well?" });
    let own = |result: &str| {
        story().but(|s| {
            s.call(
                "a-1/1",
                "k",
                "chat.send",
                json!({ "sessionKey": "main", "message": "do it", "idempotencyKey": "k" }),
            );
            s.answer("a-1/1", "k", json!({ "runId": "k", "status": "started" }));
            s.uses("sessions_send", &itself, result);
        })
    };
    own("this is the present session").holds();
    let spoke = own("{\"status\":\"ok\",\"reply\":\"x\"}");
    spoke.breaks("answers", "spoke with its own session");
}

impl Story {
    /// The session `red` is there.
    fn asked_first(&mut self) -> &mut Self {
        self.call("a-1/1", "p", "sessions.patch", json!({ "key": "red", "thinkingLevel": "low" }));
        let entry = json!({ "sessionId": "s", "updatedAt": 1, "thinkingLevel": "low" });
        self.answer("a-1/1", "p", json!({ "ok": true, "path": "p", "key": "agent:main:red", "entry": entry }))
    }
}

#[test]
fn the_tool_that_lists_sessions_shows_as_many_as_were_asked_for() {
    let list = |arguments: Value, result: Value| {
        story().but(|s| {
            s.uses("sessions_list", &arguments, &result.to_string());
        })
    };
    let (new, old) =
        (json!({ "key": "agent:main:b", "updatedAt": 9000 }), json!({ "key": "agent:main:a", "updatedAt": 5000 }));
    let older = json!({ "key": "agent:main:c", "updatedAt": 1000 });
    list(json!({ "limit": 2 }), json!([new, old])).holds();
    list(json!({ "limit": 1 }), json!([new, old])).breaks("answers", "more than was asked for");
    list(json!({}), json!([new, older, old])).breaks("answers", "what is not newest first");
    list(json!({ "search": "main:b" }), json!([new, old])).breaks("answers", "what was not searched for");
    list(json!({}), json!([new, new])).breaks("answers", "a session twice");
}
