use serde_json::{Value, json};

use super::Story;

fn story() -> Story {
    let mut s = Story::new();
    s.expect.off = ["told", "health", "letters"].map(str::to_owned).into();
    s.hello("a-1/1", 2, &["a-1"]);
    s
}

fn waits(node: &str, id: u64, ts: u64) -> Value {
    json!({ "requestId": format!("r{id}"), "nodeId": node, "isRepair": false, "ts": ts })
}

impl Story {
    fn asks_for(&mut self, id: u64, node: &str, row: &Value, created: bool) -> &mut Self {
        let id = id.to_string();
        self.call("a-1/1", &id, "node.pair.request", json!({ "nodeId": node }));
        let answer = json!({ "status": "pending", "request": row, "created": created });
        self.answer("a-1/1", &id, answer)
    }
    fn lists_nodes(&mut self, id: &str, pending: &[Value], paired: &[Value]) -> &mut Self {
        self.call("a-1/1", id, "node.pair.list", json!({}));
        self.answer("a-1/1", id, json!({ "pending": pending, "paired": paired }))
    }
}

#[test]
fn a_node_waits_once_until_it_is_decided() {
    let lamp = waits("lamp", 1, 1);
    let mut s = story();
    s.asks_for(1, "lamp", &lamp, true);
    let then = |more: &dyn Fn(&mut Story)| s.but(|s| more(s));
    then(&|s| {
        s.asks_for(2, "lamp", &lamp, false).lists_nodes("3", std::slice::from_ref(&lamp), &[]);
    })
    .holds();
    then(&|s| {
        s.asks_for(2, "lamp", &waits("lamp", 2, 2), true);
    })
    .breaks("answers", "was filed (created: true)");
    then(&|s| {
        s.asks_for(2, "lamp", &waits("lamp", 2, 2), false);
    })
    .breaks("answers", "(created: false)");
    then(&|s| {
        s.lists_nodes("3", &[waits("lamp", 1, 7)], &[]);
    })
    .breaks("answers", "1 waited and 0 were paired");
    let node = |token: bool, approved: u64| {
        let mut row = json!({ "nodeId": "lamp", "createdAtMs": 5, "approvedAtMs": approved });
        if token {
            row["token"] = "0123456789abcdef0123456789abcdef".into();
        }
        row
    };
    let approved = |listed: Value| {
        then(&|s| {
            s.call("a-1/1", "2", "node.pair.approve", json!({ "requestId": "r1" }));
            s.answer("a-1/1", "2", json!({ "requestId": "r1", "node": node(true, 5) }));
            s.lists_nodes("3", &[], std::slice::from_ref(&listed));
        })
    };
    approved(node(false, 5)).holds();
    approved(node(false, 6)).breaks("answers", "0 waited and 1 were paired");
    // It is known when it asks again, and since when.
    let again = |repair: bool, created: u64| {
        approved(node(false, 5)).but(|s| {
            let mut row = waits("lamp", 9, 2);
            row["isRepair"] = repair.into();
            s.asks_for(4, "lamp", &row, true);
            s.call("a-1/1", "5", "node.pair.approve", json!({ "requestId": "r9" }));
            let mut node = node(true, 8);
            node["createdAtMs"] = created.into();
            s.answer("a-1/1", "5", json!({ "requestId": "r9", "node": node }));
        })
    };
    again(true, 5).holds();
    again(false, 5).breaks("answers", "a request for lamp was filed");
    again(true, 8).breaks("answers", "r9 was approved");
}

#[test]
fn d46_an_askers_own_oldest_makes_room() {
    let mut s = story();
    for n in 1..=33 {
        s.at(100 * n).asks_for(n, &format!("n{n}"), &waits(&format!("n{n}"), n, n), true);
    }
    let listed = |from: u64, to: u64| {
        let rows: Vec<Value> = (from..=to).rev().map(|n| waits(&format!("n{n}"), n, n)).collect();
        s.but(|s| {
            s.lists_nodes("99", &rows, &[]);
        })
    };
    listed(2, 33).holds();
    listed(1, 33).breaks("answers", "33 waited");
    listed(1, 32).breaks("answers", "32 waited");
    let refused = s.but(|s| {
        s.call("a-1/1", "50", "node.pair.request", json!({ "nodeId": "more" }));
        let error = json!({ "code": "UNAVAILABLE", "message": "no", "details": { "code": "PAIRING_QUEUE_FULL" },
            "retryable": true, "retryAfterMs": 57_000 });
        s.receive("a-1/1", json!({ "type": "res", "id": "50", "ok": false, "error": error }));
    });
    refused.breaks("answers", "there was no place for more");
}

#[test]
fn one_is_forgotten_after_five_minutes_and_not_before() {
    let lamp = waits("lamp", 1, 1);
    let at = |ms: u64, pending: &[Value]| {
        let mut s = story();
        s.asks_for(1, "lamp", &lamp, true).at(ms).lists_nodes("2", pending, &[]);
        s.expect.off.push("ticks".into());
        s
    };
    at(299_000, std::slice::from_ref(&lamp)).holds();
    at(299_000, &[]).breaks("answers", "0 waited");
    at(301_000, &[]).holds();
    at(301_000, std::slice::from_ref(&lamp)).breaks("answers", "1 waited");
}
