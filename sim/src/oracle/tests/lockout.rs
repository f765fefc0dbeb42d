use serde_json::json;

use super::{Story, connect_params};

const TOKEN: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";

impl Story {
    /// A try with a token at a time, and its answer `late` milliseconds later: let in, wrong, or to wait for so long.
    fn tries(&mut self, conn: &str, at: u64, token: &str, late: u64, limited: Option<u64>) -> &mut Self {
        let mut params = connect_params(conn, "operator", &[]);
        params["auth"] = json!({ "token": token });
        self.at(at).open(conn).challenge(conn).call(conn, "hello", "connect", params).at(at + late);
        if token == TOKEN && limited.is_none() {
            return self.hello_ok(conn, 2, &[conn.split('/').next().unwrap_or_default()]);
        }
        let code = if limited.is_some() { "AUTH_RATE_LIMITED" } else { "AUTH_TOKEN_MISMATCH" };
        let mut error = json!({ "code": "INVALID_REQUEST", "message": "no", "details": { "code": code } });
        if let Some(ms) = limited {
            (error["retryable"], error["retryAfterMs"]) = (json!(true), json!(ms));
        }
        self.receive(conn, json!({ "type": "res", "id": "hello", "ok": false, "error": error }));
        self.closed(conn, Some(1008), "no")
    }
}

/// What is wrong; nothing when it holds.
fn wrong(s: &Story) -> String {
    super::judge(&s.records, &s.expect).into_iter().find(|v| v.oracle == "lockouts").unwrap().detail
}

fn guesses(count: u64, every: u64) -> Story {
    Story::new().but(|s| {
        for n in 0..count {
            s.tries(&format!("g-1/{n}"), 1_000 + every * n, "guess", 0, None);
        }
    })
}

#[test]
fn s03_an_address_is_locked_out_longer_each_time() {
    assert_eq!(wrong(&guesses(10, 100)), "");
    assert!(wrong(&guesses(11, 100)).contains("11 wrong credentials were judged within 1000 ms"));
    assert_eq!(wrong(&guesses(11, 10_000)), "");
    let then = |at: u64, token: &str, limited: Option<u64>| {
        guesses(10, 100).but(|s| {
            s.tries("g-1/x", 3_000, "guess", 0, Some(58_900)).tries("g-1/y", at, token, 0, limited);
        })
    };
    assert_eq!(wrong(&then(62_000, "guess", None)), "");
    assert!(wrong(&then(30_000, TOKEN, None)).contains("is judged 31900 ms before the end"));
    assert_eq!(wrong(&then(30_000, "guess", Some(31_900))), "");
    assert!(wrong(&then(30_000, "guess", Some(60_000))).contains("lock-out 2 lasts 88100 ms, not 120000"));
    let early = guesses(9, 100).but(|s| {
        s.tries("g-1/x", 3_000, "guess", 0, Some(60_000));
    });
    assert!(wrong(&early).contains("after 9 wrong"));
}

#[test]
fn d40_this_machine_is_slowed_down_and_who_has_the_token_is_not() {
    let local = |mut s: Story| {
        s.expect.tunnelled = vec!["g-1".into()];
        s.expect.local = vec!["g-1".into()];
        s
    };
    assert_eq!(wrong(&local(guesses(10, 50))), "");
    assert!(wrong(&local(guesses(16, 50))).contains("wrong credentials were judged within"));
    assert_eq!(wrong(&local(guesses(16, 1_000))), "");
    let then = |token: &str, late: u64, limited: Option<u64>| {
        wrong(&local(guesses(10, 50).but(|s| {
            // Somebody shows the right one, so that it is known.
            s.tries("g-1/x", 3_000, TOKEN, 0, None).leave("g-1/x").tries("g-1/y", 4_000, token, late, limited);
        })))
    };
    assert_eq!(then("guess", 3_000, Some(1000)), "");
    assert!(then("guess", 3_000, Some(4000)).contains("is put off for 4000 ms"));
    assert!(then("guess", 6_000, Some(1000)).contains("was held for 6000 ms"));
    assert_eq!(then(TOKEN, 10, None), "");
    assert!(then(TOKEN, 10, Some(1000)).contains("has the right token"));
    assert!(then(TOKEN, 2_500, None).contains("has the right token"));
}

#[test]
fn s13_each_address_behind_a_proxy_is_one_by_itself() {
    let story = |honest: &str| {
        guesses(10, 100).but(|s| {
            let of = [("g-1", "203.0.113.9"), ("h-1", honest)];
            s.expect.forwarded = of.map(|(client, from)| (client.to_owned(), from.to_owned())).into();
            s.tries("h-1/1", 3_000, TOKEN, 0, Some(58_900));
        })
    };
    assert!(wrong(&story("198.51.100.7")).contains("is locked out after 0 wrong credentials"));
    assert_eq!(wrong(&story("203.0.113.9")), "");
}
