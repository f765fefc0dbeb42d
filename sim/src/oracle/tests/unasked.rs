//! Programs of runs, where a person is asked about each.

use serde_json::json;

use super::Story;
use crate::history::What;

impl Story {
    fn question(&mut self, seq: u64, id: &str, words: &[&str]) -> &mut Self {
        let request = json!({ "argv": words, "cwd": "/w", "resolvedPath": "/usr/bin/echo" });
        self.event("a-1/1", seq, "exec.approval.requested", json!({ "id": id, "request": request }))
    }
    fn decides(&mut self, id: &str, decision: &str) -> &mut Self {
        self.call("a-1/1", id, "exec.approval.resolve", json!({ "id": id, "decision": decision }));
        self.answer("a-1/1", id, json!({ "ok": true }))
    }
    fn starts(&mut self, words: &[&str]) -> &mut Self {
        self.add(What::Command { argv: words.iter().map(|w| (*w).to_owned()).collect() })
    }
    fn replaces(&mut self, file: &str) -> &mut Self {
        self.fault(self.records.len() as u64, true, json!({ "kind": "config_edit", "file": file, "text": "" }))
    }
}

const ONE: [&str; 2] = ["echo", "one"];
const STARTED: [&str; 2] = ["/usr/bin/echo", "one"];
const OTHER: [&str; 2] = ["/usr/bin/echo", "two"];

fn story(decision: &str, change: impl FnOnce(&mut Story)) -> String {
    let mut s = Story::new();
    s.expect.asks_first = true;
    s.hello("a-1/1", 2, &["a-1"]).at(1000).question(1, "q", &ONE).at(5000).decides("q", decision).at(6000);
    change(&mut s);
    s.verdict("answers")
}

#[test]
fn s19_each_program_has_somebodys_word() {
    let starts = |words: &'static [&'static str]| move |s: &mut Story| _ = s.starts(words);
    assert_eq!(story("allow-once", starts(&STARTED)), "");
    assert!(story("deny", starts(&STARTED)).contains("nobody has said yes"));
    assert!(story("allow-once", starts(&OTHER)).contains("nobody has said yes"));
    assert!(story("allow-once", |s| _ = s.starts(&STARTED).starts(&STARTED)).contains("nobody has said yes"));
    assert_eq!(story("allow-always", |s| _ = s.starts(&STARTED).starts(&OTHER)), "");
}

#[test]
fn s25_what_was_shown_is_what_runs() {
    let then = |decision: &str, file: &'static str, words: &'static [&'static str]| {
        story(decision, |s| _ = s.replaces(file).at(9000).starts(words))
    };
    assert!(then("allow-once", "/w", &STARTED).contains("though \"/w\" was replaced since"));
    assert!(then("allow-once", "/usr/bin/echo", &STARTED).contains("was replaced since a person was asked"));
    assert_eq!(then("allow-once", "/usr/bin/cat", &STARTED), "");
    assert!(then("allow-always", "/usr/bin/echo", &OTHER).contains("its program was replaced since"));
    assert_eq!(then("allow-always", "/w", &OTHER), "");
}
