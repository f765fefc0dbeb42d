use serde_json::json;

use super::Story;
use crate::history::What;

fn ready() -> Story {
    let mut s = Story::new();
    s.expect.hostile = vec!["spy-1".into()];
    s.at(5000).hello("a-1/1", 2, &["a-1"]);
    s
}

#[test]
fn s30_honest_calls_are_answered_soon() {
    let asks = |method: &str, after: u64| {
        ready().but(|s| {
            s.call("a-1/1", "q", method, json!({})).at(5000 + after);
            s.answer("a-1/1", "q", json!({})).at(20_000).note();
        })
    };
    asks("health", 900).holds();
    asks("health", 1500).breaks("fairness", "a-1/1: health is answered after 1500 ms beside spy-1");
    // What waits by its nature is not meant.
    asks("agent.wait", 1500).holds();
    // Without anybody hostile the usual patience counts.
    let mut s = asks("health", 1500);
    s.expect.hostile = vec![];
    s.holds();
    // A fault of its own line, an end of the gateway.
    let mut s = Story::new();
    s.expect.hostile = vec!["spy-1".into()];
    s.at(5000).hello("a-1/1", 2, &["a-1"]);
    s.fault(1, true, json!({ "kind": "stall", "target": "a" }));
    s.call("a-1/1", "q", "health", json!({})).at(6500).fault(1, false, json!({ "kind": "stall", "target": "a" }));
    s.answer("a-1/1", "q", json!({})).at(20_000).note();
    s.holds();
    ready()
        .but(|s| {
            s.call("a-1/1", "q", "health", json!({})).at(5500).process("crash").closed("a-1/1", None, "ended");
            s.at(20_000).note();
        })
        .holds();
}

#[test]
fn s30_honest_clients_find_a_place() {
    let refused = |client: &str| {
        ready().but(|s| {
            s.add(What::ConnectFailed { client: client.into(), error: "no connection in time".into() });
            s.at(20_000).note();
        })
    };
    refused("b-1").breaks("fairness", "b-1 finds no place beside spy-1: no connection in time");
    refused("spy-1").holds();
    let mut s = Story::new();
    s.expect.hostile = vec!["spy-1".into()];
    s.at(1000).add(What::ConnectFailed { client: "b-1".into(), error: "refused".into() });
    s.at(20_000).note();
    s.holds();
}
