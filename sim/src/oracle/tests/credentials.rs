//! The shared secret changes at ten seconds.

use serde_json::json;

use super::{Story, connect_params};

const FIRST: &str = "{ gateway: { mode: 'local', auth: { mode: 'token', token: 'first', password: 'word' } } }";

fn config(auth: &str) -> String {
    format!("{{ gateway: {{ mode: 'local', auth: {{ {auth} }} }} }}")
}

impl Story {
    fn edits(&mut self, at: u64, text: &str, file: Option<&str>) -> &mut Self {
        let mut fault = json!({ "kind": "config_edit", "text": text });
        if let Some(file) = file {
            fault["file"] = file.into();
        }
        self.at(at).fault(at, true, fault)
    }
    /// Shows something at a time: let in, or refused for this reason.
    fn shows(&mut self, conn: &str, at: u64, auth: &str, refused: Option<&str>) -> &mut Self {
        let mut params = connect_params(conn, "operator", &[]);
        params["auth"] = serde_json::from_str(auth).unwrap();
        self.at(at).open(conn).challenge(conn).call(conn, "hello", "connect", params).at(at + 5);
        match refused {
            None => self.hello_ok(conn, 2, &[]),
            Some(reason) => {
                let code = if reason == "CREDENTIAL_FILE" { "UNAVAILABLE" } else { "INVALID_REQUEST" };
                self.refuse(conn, "hello", code, reason).closed(conn, Some(1008), "no")
            }
        }
    }
}

const TOKEN: &str = r#"{"token":"first"}"#;
const SECOND: &str = r#"{"token":"second"}"#;
const WORD: &str = r#"{"password":"word"}"#;

/// Somebody is there from before; then what `change` does, until 40 s.
fn story(text: &str, change: impl FnOnce(&mut Story)) -> String {
    let mut s = Story::new();
    s.expect.config = FIRST.into();
    s.shows("a-1/1", 1000, TOKEN, None).edits(10_000, text, None);
    change(&mut s);
    s.at(40_000).note();
    s.verdict("revocation")
}

#[test]
fn s04_each_handshake_is_judged_by_the_secret_in_force() {
    let second = config("token: 'second', mode: 'token'");
    let goes = |s: &mut Story| _ = s.at(11_000).closed("a-1/1", Some(1008), "credential rotated");
    let then = |text: &str, conn_auth: &str, refused: Option<&str>| {
        story(text, |s| {
            goes(s);
            s.shows("b-1/1", 12_000, conn_auth, refused);
        })
    };
    assert_eq!(then(&second, SECOND, None), "");
    assert_eq!(then(&second, TOKEN, Some("AUTH_TOKEN_MISMATCH")), "");
    assert!(then(&second, TOKEN, None).contains("by a secret that is not in force"));
    assert!(then(&second, SECOND, Some("AUTH_TOKEN_MISMATCH")).contains("with the secret in force"));
    // The same token, in another mode.
    let word = config("token: 'first', mode: 'password', password: 'word'");
    assert_eq!(then(&word, WORD, None), "");
    assert!(then(&word, TOKEN, None).contains("by a secret that is not in force"));
    assert!(then(&word, TOKEN, Some("AUTH_TOKEN_MISSING")).contains("which is not the mode"));
    // What is no configuration changes nothing.
    let none = |conn_auth: &str, refused| story("{ gateway: {", |s| _ = s.shows("b-1/1", 12_000, conn_auth, refused));
    assert_eq!(none(TOKEN, None), "");
    assert!(none(TOKEN, Some("AUTH_TOKEN_MISMATCH")).contains("with the secret in force"));
}

#[test]
fn s04_who_came_by_an_older_secret_is_sent_away_and_nobody_else() {
    let second = config("token: 'second', mode: 'token'");
    let word = config("token: 'first', mode: 'password', password: 'word'");
    let closed = |text: &str, at: u64| story(text, |s| _ = s.at(at).closed("a-1/1", Some(1008), "credential rotated"));
    for text in [&second, &word] {
        assert_eq!(closed(text, 15_000), "");
        assert!(closed(text, 30_000).contains("still there 8000 ms"));
        assert!(story(text, |_| ()).contains("still there 8000 ms after its secret was replaced"));
    }
    let same = config("token: 'first', mode: 'token'");
    assert_eq!(story(&same, |_| ()), "");
    let back =
        |s: &mut Story| _ = s.edits(20_000, &word, None).at(21_000).closed("a-1/1", Some(1008), "credential rotated");
    assert_eq!(story(&same, back), "");
    let early =
        |s: &mut Story| _ = s.at(12_000).closed("a-1/1", Some(1008), "credential rotated").edits(20_000, &word, None);
    assert!(story(&same, early).contains("is sent away, and its secret is in force"));
}

#[test]
fn s04_a_file_without_a_secret_lets_nobody_in_and_ends_nothing() {
    let file = config("mode: 'token', tokenFile: '/t'");
    let with = |content: &str, auth: &str, refused: Option<&str>, ends: bool| {
        let mut s = Story::new();
        s.expect.config = FIRST.into();
        s.edits(500, "first\n", Some("/t")).shows("a-1/1", 1000, TOKEN, None).edits(2000, &file, None);
        s.edits(10_000, content, Some("/t")).shows("b-1/1", 12_000, auth, refused);
        if ends {
            s.closed("a-1/1", Some(1008), "credential rotated");
        }
        s.at(40_000).note();
        s.verdict("revocation")
    };
    assert_eq!(with(" \n", TOKEN, Some("CREDENTIAL_FILE"), false), "");
    assert!(with(" \n", TOKEN, None, false).contains("not in force"));
    assert!(with(" \n", TOKEN, Some("AUTH_TOKEN_MISMATCH"), false).contains("nobody can know the secret"));
    assert!(with(" \n", TOKEN, Some("CREDENTIAL_FILE"), true).contains("is sent away"));
    assert!(with(" second ", SECOND, Some("CREDENTIAL_FILE"), true).contains("the secret can be read"));
    assert_eq!(with(" second ", SECOND, None, true), "");
}
