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

#[test]
fn s03_what_was_long_ago_is_forgotten() {
    let again = |at: u64, ms: u64| {
        guesses(10, 100).but(|s| {
            s.tries("g-1/a", 3_000, "guess", 0, Some(58_900));
            for n in 0..10 {
                s.tries(&format!("g-1/b{n}"), at + 100 * n, "guess", 0, None);
            }
            s.tries("g-1/c", at + 1000, "guess", 0, Some(ms - 100));
        })
    };
    assert_eq!(wrong(&again(100_000, 120_000)), "");
    assert_eq!(wrong(&again(700_000, 60_000)), "");
    assert!(wrong(&again(700_000, 120_000)).contains("lock-out 1 lasts 120000 ms, not 60000"));
    let here = |mut s: Story| {
        s.expect.tunnelled = vec!["g-1".into()];
        s.expect.local = vec!["g-1".into()];
        s
    };
    let later = |at: u64| {
        here(guesses(12, 1_000)).but(|s| {
            s.tries("g-1/x", at, "guess", 0, None).tries("g-1/y", at + 10, "guess", 3_000, Some(1000));
        })
    };
    assert_eq!(wrong(&later(100_000)), "");
    assert!(wrong(&later(700_000)).contains("is put off before ten wrong credentials"));
}

#[test]
fn s03_guesses_of_all_lock_out_everybody_but_devices() {
    let crowd = |count: u64| {
        Story::new().but(|s| {
            for n in 0..count {
                let client = format!("g{}-1", n / 9);
                s.expect.forwarded.insert(client.clone(), format!("198.51.100.{}", n / 9));
                s.tries(&format!("{client}/{n}"), 1_000 + 10 * n, "guess", 0, None);
            }
            s.expect.forwarded.insert("h-1".into(), "203.0.113.9".into());
        })
    };
    let then = |count: u64, at: u64, limited: Option<u64>| {
        wrong(&crowd(count).but(|s| _ = s.tries("h-1/1", at, TOKEN, 0, limited)))
    };
    assert_eq!(then(200, 10_000, Some(52_990)), "");
    assert!(then(200, 10_000, None).contains("before the end of everybody's lock-out"));
    assert!(then(150, 10_000, Some(50_990)).contains("is locked out after 0 wrong"));
    let device = |s: &mut Story, conn: &str, at: u64, limited: bool| {
        let mut params = connect_params(conn, "operator", &["operator.read"]);
        (params["device"], params["auth"]) = (json!({ "id": "d" }), json!({ "token": "own" }));
        s.at(at).open(conn).challenge(conn).call(conn, "hello", "connect", params);
        if limited {
            let error = json!({ "code": "INVALID_REQUEST", "message": "no", "details": { "code": "AUTH_RATE_LIMITED" },
                "retryAfterMs": 50_000 });
            s.receive(conn, json!({ "type": "res", "id": "hello", "ok": false, "error": error }));
            s.closed(conn, Some(1008), "no");
        } else {
            s.answer(conn, "hello", json!({ "type": "hello-ok", "protocol": 3, "auth": { "deviceToken": "own" } }));
        }
    };
    let owner = |limited: bool| {
        let mut s = Story::new();
        device(&mut s, "h-1/1", 100, false);
        for r in crowd(200).records.into_iter().skip(2) {
            s.now = r.t_us / 1000;
            s.add(r.what);
        }
        s.expect = crowd(200).expect;
        device(&mut s, "h-1/2", 10_000, limited);
        wrong(&s)
    };
    assert_eq!(owner(false), "");
    assert!(owner(true).contains("shows its own token and is kept out"));
}
