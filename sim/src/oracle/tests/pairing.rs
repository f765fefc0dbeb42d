//! A laptop with a device key, and a boss who decides with the shared credential.

use serde_json::{Value, json};

use super::{Story, connect_params, entries};
const MINUTE: u64 = 60_000;

fn story() -> Story {
    let mut s = Story::new();
    s.hello("boss-1/1", 2, &["boss-1"]);
    s
}

impl Story {
    /// The laptop asks with these scopes.
    fn asks(&mut self, conn: &str, scopes: &[&str]) -> &mut Self {
        let mut params = connect_params(conn, "operator", scopes);
        params["client"]["mode"] = json!("cli");
        params["device"] = json!({ "id": "d1" });
        self.open(conn).challenge(conn).call(conn, "hello", "connect", params)
    }

    /// A person has to decide.
    fn waits(&mut self, conn: &str, id: &str) -> &mut Self {
        let error = json!({ "code": "NOT_PAIRED", "message": "pairing required",
            "details": { "code": "PAIRING_REQUIRED", "requestId": id } });
        self.receive(conn, json!({ "type": "res", "id": "hello", "ok": false, "error": error }));
        self.closed(conn, Some(1008), "pairing required")
    }

    /// The boss is asked; `seq` counts his events.
    fn told(&mut self, seq: u64, id: &str, scopes: &[&str]) -> &mut Self {
        let payload = json!({ "requestId": id, "deviceId": "d1", "role": "operator", "scopes": scopes });
        self.event("boss-1/1", seq, "device.pair.requested", payload)
    }

    fn does(&mut self, id: &str, method: &str, params: Value) -> &mut Self {
        self.call("boss-1/1", id, method, params).answer("boss-1/1", id, json!({}))
    }

    fn approves(&mut self, id: &str, request: &str) -> &mut Self {
        self.does(id, "device.pair.approve", json!({ "requestId": request }))
    }

    fn let_in(&mut self, conn: &str, token: &[&str]) -> &mut Self {
        let state = json!({ "presence": entries(&["boss-1"]), "stateVersion": { "presence": 2, "health": 1 },
            "sessionDefaults": { "defaultAgentId": "main", "mainKey": "main", "mainSessionKey": "agent:main:main" } });
        let auth = json!({ "deviceToken": "t", "role": "operator", "scopes": token });
        self.answer(conn, "hello", json!({ "type": "hello-ok", "protocol": 3, "snapshot": state, "auth": auth }))
    }
}

const READ: [&str; 1] = ["operator.read"];

/// Asked for, approved, let in.
fn paired() -> Story {
    let mut s = story();
    s.at(100).asks("laptop-1/1", &READ).told(1, "r1", &READ).waits("laptop-1/1", "r1");
    s.at(1000).approves("1", "r1").at(2000).asks("laptop-1/2", &READ);
    s
}

#[test]
fn what_was_approved_is_granted_and_no_more() {
    paired()
        .but(|s| {
            s.let_in("laptop-1/2", &READ);
        })
        .holds();
    paired()
        .but(|s| {
            s.let_in("laptop-1/2", &["operator.read", "operator.write"]);
        })
        .breaks("grants", "operator with operator.write, which no approval granted");
    let mut s = story();
    s.at(100).asks("laptop-1/1", &READ);
    s.but(|s| {
        s.let_in("laptop-1/1", &READ);
    })
    .breaks("grants", "was let in as operator");
    // On the gateway's own machine nobody is asked.
    s.expect.local = vec!["laptop-1".into()];
    s.but(|s| {
        s.let_in("laptop-1/1", &READ);
    })
    .holds();
}

#[test]
fn s06_nobody_approves_what_he_does_not_hold() {
    let mut s = Story::new();
    s.connect("boss-1/1", "operator", &["operator.pairing", "operator.write"]).hello_ok("boss-1/1", 2, &["boss-1"]);
    let approved = |scope: &str| {
        s.but(|s| {
            s.at(100).asks("laptop-1/1", &[scope]).told(1, "r1", &[scope]).waits("laptop-1/1", "r1");
            s.at(1000).approves("1", "r1");
        })
    };
    approved("operator.read").holds();
    approved("operator.approvals").breaks("grants", "approved operator.approvals, which it does not hold itself");
}

#[test]
fn an_approval_is_for_good() {
    paired()
        .but(|s| {
            s.told(2, "r2", &READ).waits("laptop-1/2", "r2");
        })
        .breaks("admitted", "has to be approved again");
    // Of one that was not confirmed nobody can be sure.
    let mut s = story();
    s.at(100).asks("laptop-1/1", &READ).told(1, "r1", &READ).waits("laptop-1/1", "r1");
    s.at(1000).call("boss-1/1", "1", "device.pair.approve", json!({ "requestId": "r1" }));
    s.closed("boss-1/1", None, "connection reset").process("crash").process("start").process("listening");
    s.at(2000).asks("laptop-1/2", &READ);
    s.but(|s| {
        s.waits("laptop-1/2", "r2");
    })
    .holds();
    s.but(|s| {
        s.let_in("laptop-1/2", &READ);
    })
    .holds();
}

#[test]
fn what_was_taken_away_is_gone() {
    let gone = json!({ "deviceId": "d1", "role": "operator" });
    let mut s = paired();
    s.let_in("laptop-1/2", &READ).at(3000).does("2", "device.token.revoke", gone.clone());
    s.but(|s| {
        s.at(30_000).note();
    })
    .breaks("revocation", "still connected");
    s.closed("laptop-1/2", Some(1008), "device token revoked").at(4000).asks("laptop-1/3", &READ);
    s.but(|s| {
        s.let_in("laptop-1/3", &READ);
    })
    .breaks("grants", "was let in as operator");
    s.but(|s| {
        s.expect.local = vec!["laptop-1".into()];
        s.let_in("laptop-1/3", &READ);
    })
    .breaks("grants", "was let in as operator");
    s.told(2, "r2", &READ).waits("laptop-1/3", "r2").at(5000).approves("3", "r2");
    s.asks("laptop-1/4", &READ).let_in("laptop-1/4", &READ).holds();

    let narrower = json!({ "deviceId": "d1", "role": "operator", "scopes": [] });
    let mut s = paired();
    s.let_in("laptop-1/2", &READ).at(3000).does("2", "device.token.rotate", narrower);
    s.closed("laptop-1/2", Some(1008), "device token rotated").at(4000).asks("laptop-1/3", &READ);
    s.let_in("laptop-1/3", &READ).breaks("grants", "with operator.read, which no approval granted");
}

#[test]
fn who_waits_is_asked_about_once() {
    let mut s = story();
    s.at(100).asks("laptop-1/1", &READ).told(1, "r1", &READ).waits("laptop-1/1", "r1");
    s.at(20_000).asks("laptop-1/2", &READ);
    s.but(|s| {
        s.waits("laptop-1/2", "r1");
    })
    .holds();
    s.but(|s| {
        s.told(2, "r2", &READ).waits("laptop-1/2", "r2");
    })
    .breaks("pairing_requests", "a second one for the same");
}

#[test]
fn a_request_has_its_time() {
    let mut s = story();
    s.expect.tick_interval_ms = 1_000_000_000;
    s.at(100).asks("laptop-1/1", &READ).told(1, "r1", &READ).waits("laptop-1/1", "r1");
    s.but(|s| {
        s.at(6 * MINUTE).asks("laptop-1/2", &READ).waits("laptop-1/2", "r1");
    })
    .breaks("pairing_requests", "outlived its time");
    s.but(|s| {
        s.at(6 * MINUTE).approves("1", "r1");
    })
    .breaks("pairing_requests", "was decided after its time");
    s.but(|s| {
        s.at(4 * MINUTE).call("boss-1/1", "1", "device.pair.approve", json!({ "requestId": "r1" }));
        s.refuse("boss-1/1", "1", "INVALID_REQUEST", "UNKNOWN_REQUEST");
    })
    .breaks("pairing_requests", "could not be decided");
    s.but(|s| {
        s.at(6 * MINUTE).asks("laptop-1/2", &READ).told(2, "r2", &READ).waits("laptop-1/2", "r2");
    })
    .holds();
    // Another role or scope is another request (D16).
    let more = ["operator.write"];
    s.but(|s| {
        s.at(MINUTE).asks("laptop-1/2", &more).told(2, "r2", &more).waits("laptop-1/2", "r2");
    })
    .holds();
    s.at(MINUTE).asks("laptop-1/2", &more).waits("laptop-1/2", "r1");
    s.breaks("pairing_requests", "is for something else than before");
}

#[test]
fn who_decides_hears_of_it() {
    let mut s = story();
    s.expect.tick_interval_ms = 1_000_000_000;
    s.at(30_000).asks("laptop-1/1", &READ);
    s.but(|s| {
        s.waits("laptop-1/1", "r1").at(60_000).note();
    })
    .breaks("pairing_requests", "was never told of the request");
    s.but(|s| {
        s.told(1, "r1", &READ).told(2, "r1", &READ).waits("laptop-1/1", "r1").at(60_000).note();
    })
    .breaks("pairing_requests", "a second time");
}

#[test]
fn a_token_is_good_for_what_its_device_was_let_in_with() {
    let given = |scopes: &[&str]| paired().but(|s| _ = s.let_in("laptop-1/2", scopes)).verdict("admitted");
    assert_eq!(given(&READ), "");
    assert!(given(&[]).contains("was let in with operator.read, and its token is not good for that"));
    let doorman = |scopes: &[&str]| {
        let mut s = story();
        s.connect("door-1/1", "operator", scopes).hello_ok("door-1/1", 3, &["boss-1", "door-1"]);
        s.at(100).asks("laptop-1/1", &READ).told(1, "r1", &READ).waits("laptop-1/1", "r1").at(1000);
        s.call("door-1/1", "1", "device.pair.approve", json!({ "requestId": "r1" }));
        s.refuse("door-1/1", "1", "INVALID_REQUEST", "MISSING_SCOPE");
        s.verdict("admitted")
    };
    assert!(doorman(&["operator.pairing", "operator.write"]).contains("which it holds itself"));
    assert_eq!(doorman(&["operator.pairing"]), "");
}

#[test]
fn dates_of_devices_and_tokens_stay() {
    let row = |created: u64, token: u64, rotated: u64| {
        let token = json!({ "role": "operator", "scopes": READ, "createdAtMs": token, "rotatedAtMs": rotated });
        json!({ "pending": [], "paired": [{ "deviceId": "d1", "createdAtMs": created, "approvedAtMs": 5, "lastSeenAtMs": 2001, "roles": ["operator"],
            "scopes": READ, "tokens": [token] }] })
    };
    let later = |list: Value| {
        let mut s = paired();
        s.let_in("laptop-1/2", &READ);
        s.at(3000).call("boss-1/1", "2", "device.pair.list", json!({})).answer("boss-1/1", "2", row(5, 6, 7));
        s.call("boss-1/1", "3", "device.token.rotate", json!({ "deviceId": "d1", "role": "operator" }));
        s.answer(
            "boss-1/1",
            "3",
            json!({ "deviceId": "d1", "role": "operator", "token": "u", "scopes": READ, "rotatedAtMs": 9 }),
        );
        s.at(4000).call("boss-1/1", "4", "device.pair.list", json!({})).answer("boss-1/1", "4", list);
        s.verdict("device_list")
    };
    let good = later(row(5, 6, 9));
    assert!(!good.contains("as made") && !good.contains("rotatedAtMs"), "{good}");
    assert!(later(row(5, 9, 9)).contains("operator as made at 9, before it was 6"));
    assert!(later(row(4, 6, 9)).contains("as made at 4, before it was 5"));
    assert!(later(row(5, 6, 8)).contains("with rotatedAtMs 8, which was told as 9"));
}
