use serde_json::{Value, json};

use super::{ORACLES, Story};

/// A node of this platform offers two commands; an operator asks it for `command`.
fn asks(platform: &str, command: &str, params: Value) -> Story {
    let mut story = Story::new();
    // These stories are only about what nodes are asked for.
    story.expect.off = ORACLES.iter().map(|(name, _)| (*name).to_owned()).filter(|name| name != "nodes").collect();
    story.open("n-1/1").challenge("n-1/1");
    let mut hello = super::connect_params("n-1/1", "node", &[]);
    hello["client"]["platform"] = platform.into();
    hello["commands"] = json!(["camera.snap", "system.run"]);
    story.call("n-1/1", "hello", "connect", hello).hello_ok("n-1/1", 2, &["n-1"]);
    story.hello("a-1/1", 3, &["n-1", "a-1"]).at(5000);
    let mut whole = json!({ "nodeId": "test", "command": command, "idempotencyKey": "k", "timeoutMs": 9000 });
    if !params.is_null() {
        whole["params"] = params;
    }
    story.call("a-1/1", "1", "node.invoke", whole);
    story
}

fn phone() -> Story {
    asks("ios 18", "camera.snap", json!({ "facing": "front" }))
}

impl Story {
    fn reaches(&mut self, command: &str, params: Value) -> &mut Self {
        let text = if params.is_null() { Value::Null } else { params.to_string().into() };
        self.targeted(
            "node.invoke.request",
            json!({ "id": "i", "nodeId": "test", "command": command, "paramsJSON": text, "timeoutMs": 9000,
                "idempotencyKey": "k" }),
        )
    }
    fn targeted(&mut self, event: &str, payload: Value) -> &mut Self {
        self.receive("n-1/1", json!({ "type": "event", "event": event, "payload": payload }))
    }
    fn says_node(&mut self, id: &str, ok: bool, ignored: bool) -> &mut Self {
        let mut said = json!({ "id": "i", "nodeId": "test", "ok": ok });
        let (name, value) = if ok {
            ("payload", json!({ "a": 1 }))
        } else {
            ("error", json!({ "code": "BROKEN", "message": "it broke" }))
        };
        said[name] = value;
        self.call("n-1/1", id, "node.invoke.result", said);
        let answer = if ignored { json!({ "ok": true, "ignored": true }) } else { json!({ "ok": true }) };
        self.answer("n-1/1", id, answer)
    }
    fn is_run(&mut self) -> &mut Self {
        let answer = json!({ "ok": true, "nodeId": "test", "command": "camera.snap", "payload": { "a": 1 } });
        self.answer("a-1/1", "1", answer)
    }
    fn fails(&mut self, reason: &str, message: &str, more: Value) -> &mut Self {
        let mut details = json!({ "code": reason });
        details.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let code = if reason.starts_with("NODE_COMMAND") { "INVALID_REQUEST" } else { "UNAVAILABLE" };
        let error = json!({ "code": code, "message": message, "details": details });
        self.receive("a-1/1", json!({ "type": "res", "id": "1", "ok": false, "error": error })).note()
    }
    fn not_allowed(&mut self, reason: &str) -> &mut Self {
        self.fails("NODE_COMMAND_NOT_ALLOWED", "node command not allowed", json!({ "reason": reason }))
    }
}

fn front() -> Value {
    json!({ "facing": "front" })
}

#[test]
fn a_node_is_asked_for_what_platform_and_configuration_allow() {
    let run = |s: &mut Story| {
        s.reaches("camera.snap", front()).at(6000).says_node("r", true, false).is_run().note();
    };
    phone().but(run).holds();
    phone().but(|s| _ = s.not_allowed("command not allowlisted")).breaks("nodes", "and may be run");
    let denied = phone().but(|s| s.expect.deny_commands = vec![" camera.snap ".into()]);
    denied.but(|s| _ = s.not_allowed("command not allowlisted")).holds();
    denied.but(run).breaks("nodes", "camera.snap was run: command not allowlisted");
    // What denies wins.
    denied.but(|s| s.expect.allow_commands = vec!["camera.snap".into()]).but(run).breaks("nodes", "was run");
    let pc = asks("linux", "camera.snap", front());
    pc.but(run).breaks("nodes", "camera.snap was run: command not allowlisted");
    pc.but(|s| s.expect.allow_commands = vec!["camera.snap".into()]).but(run).holds();
    let hidden = asks("ios", "canvas.hide", Value::Null);
    hidden.but(|s| _ = s.not_allowed("command not declared by node")).holds();
    hidden
        .but(|s| _ = s.not_allowed("command not allowlisted"))
        .breaks("nodes", "expected \"command not declared by node\"");
}

#[test]
fn s19_a_node_is_given_what_the_caller_said_and_nothing_of_the_gateways() {
    phone()
        .but(|s| _ = s.reaches("camera.snap", json!({ "facing": "back" })).note())
        .breaks("nodes", "the caller said");
    phone().but(|s| _ = s.reaches("canvas.hide", front()).note()).breaks("nodes", "and nobody has");
    let own = || asks("linux", "system.run", json!({ "command": ["echo"], "approved": true }));
    own().but(|s| _ = s.reaches("system.run", json!({ "command": ["echo"] })).note()).holds();
    own()
        .but(|s| _ = s.reaches("system.run", json!({ "command": ["echo"], "approved": true })).note())
        .breaks("nodes", "the node is told \"approved\" for a command that nobody approved");
    let approved = || asks("linux", "system.run", json!({ "command": ["echo"], "approvalId": "q" }));
    approved().but(|s| _ = s.reaches("system.run", json!({ "command": ["echo"], "approved": true })).note()).holds();
    approved()
        .but(|s| _ = s.reaches("system.run", json!({ "command": ["echo"] })).note())
        .breaks("nodes", "is not told that it was approved");
    approved()
        .but(|s| _ = s.reaches("system.run", json!({ "command": ["rm"], "approved": true })).note())
        .breaks("nodes", "the node is given");
    phone()
        .but(|s| _ = s.reaches("camera.snap", front()).reaches("camera.snap", front()).note())
        .breaks("nodes", "reaches its node again");
}

#[test]
fn d18_the_end_of_an_invoke_is_told_as_it_was_and_in_time() {
    let asked = || phone().but(|s| _ = s.reaches("camera.snap", front()));
    let node_error = |message: &str| json!({ "nodeError": { "code": "BROKEN", "message": message } });
    let broken = asked().but(|s| _ = s.at(6000).says_node("r", false, false));
    broken.but(|s| _ = s.fails("NODE_ERROR", "it broke", node_error("it broke"))).holds();
    broken
        .but(|s| _ = s.fails("NODE_ERROR", "it fell", node_error("it fell")))
        .breaks("nodes", "which no node has said");
    let time = |at: u64, told: bool| {
        asked().but(|s| {
            s.at(at).fails("TIMEOUT", "node invoke timed out", json!({}));
            if told {
                s.targeted("node.invoke.cancel", json!({ "id": "i", "nodeId": "test", "reason": "timeout" }));
            }
            s.at(at + 6000).note().process("stop");
        })
    };
    time(14_000, true).holds();
    time(9000, true).breaks("nodes", "is out of time after 4000 ms, it had 9000 ms");
    time(14_000, false).breaks("nodes", "and the node is not told");
    time(19_000, true).breaks("nodes", "is told its end after 14000 ms, it had 9000 ms");
    asked()
        .but(|s| _ = s.at(6000).fails("CANCELLED", "node invoke cancelled", json!({})))
        .breaks("nodes", "which nobody did");
    asked()
        .but(|s| _ = s.at(6000).fails("NODE_DISCONNECTED", "node disconnected", json!({})))
        .breaks("nodes", "is told that its node has left, which is there");
    asked()
        .but(|s| {
            s.at(15_000).says_node("r", true, false).is_run().note();
        })
        .breaks("nodes", "is given what its node said after its time of 9000 ms");
    let gone = |at: u64| {
        asked().but(|s| {
            s.at(6000).leave("n-1/1").at(at).fails("NODE_DISCONNECTED", "node disconnected", json!({}));
        })
    };
    gone(6500).holds();
    gone(12_000).breaks("nodes", "is told its end 6000 ms after its node had left");
}

#[test]
fn d18_a_node_hears_what_became_of_its_answer() {
    let asked = || phone().but(|s| _ = s.reaches("camera.snap", front()));
    asked().but(|s| _ = s.says_node("r", true, true).is_run().note()).breaks("nodes", "is ignored, and it was given");
    let twice =
        |ignored: bool| asked().but(|s| _ = s.says_node("r", true, false).is_run().says_node("q", true, ignored));
    twice(true).holds();
    twice(false).breaks("nodes", "is taken, though its invoke is over");
    asked()
        .but(|s| {
            s.says_node("r", true, false).is_run();
            s.targeted("node.invoke.cancel", json!({ "id": "i", "nodeId": "test", "reason": "caller" })).note();
        })
        .breaks("nodes", "and its answer was given");
}
