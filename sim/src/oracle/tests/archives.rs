use serde_json::{Value, json};

use super::{ORACLES, Story, text};
use crate::history::{What, parts::of_messages};

fn lines(words: &[&str]) -> Vec<Value> {
    words.iter().map(|w| text(w)).collect()
}

impl Story {
    fn looks(&mut self, id: &str, words: &[&str]) -> &mut Self {
        self.call("a-1/1", id, "chat.history", json!({ "sessionKey": "s" }));
        self.answer("a-1/1", id, json!({ "sessionId": "i", "messages": lines(words) }))
    }
    fn changes(&mut self, method: &str, more: Value, answer: Value) -> &mut Self {
        let mut params = json!({ "key": "s" });
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.call("a-1/1", "c", method, params).answer("a-1/1", "c", answer)
    }
    fn file(&mut self, words: &[&str]) -> &mut Self {
        let lines = lines(words);
        self.add(What::Archived { file: "agents/main/sessions/x.bak".into(), parts: of_messages(lines.iter()) })
    }
    fn database(&mut self, words: &[&str]) -> &mut Self {
        let lines = lines(words);
        let parts = of_messages(lines.iter());
        self.add(What::Stored { key: None, id: "i".into(), parts, tokens: ([0; 3], [0; 3]) })
    }
}

const ALL: [&str; 3] = ["one", "two", "three"];

/// Somebody looks at three messages.
fn seen() -> Story {
    let mut story = Story::new();
    story.expect.off = ORACLES.iter().map(|(name, _)| (*name).to_owned()).filter(|name| name != "archives").collect();
    story.hello("a-1/1", 2, &["a-1"]).looks("1", &ALL);
    story
}

#[test]
fn a_compaction_keeps_the_end_and_archives_the_whole() {
    let cut = |kept: u64, after: &[&str], file: &[&str]| {
        seen().but(|s| {
            let answer =
                json!({ "ok": true, "compacted": true, "kept": kept, "archived": "/state/agents/main/sessions/x.bak" });
            s.changes("sessions.compact", json!({ "maxLines": 2 }), answer).looks("2", after).file(file);
        })
    };
    cut(2, &["two", "three"], &ALL).holds();
    cut(2, &["one", "two"], &ALL).breaks("archives", "what stays is not the end of what there was");
    cut(2, &["three"], &ALL).breaks("archives", "1 messages are left, 2 lines are told as kept");
    cut(3, &ALL, &ALL).breaks("archives", "3 lines are told as kept, 2 were to stay");
    cut(2, &["two", "three"], &["two", "three"]).breaks("archives", "has 2 parts of 3, or others");
    // Somebody has said something meanwhile.
    seen()
        .but(|s| {
            s.call("a-1/1", "9", "chat.send", json!({ "sessionKey": "s", "message": "x", "idempotencyKey": "k" }));
            s.changes(
                "sessions.compact",
                json!({ "maxLines": 2 }),
                json!({ "ok": true, "compacted": true, "kept": 2 }),
            );
        })
        .holds();
    let left = |most: u64, after: &[&str]| {
        seen().but(|s| {
            let answer = json!({ "ok": true, "compacted": false, "kept": 3 });
            s.changes("sessions.compact", json!({ "maxLines": most }), answer).looks("2", after);
        })
    };
    left(3, &ALL).holds();
    left(2, &ALL).breaks("archives", "3 messages are left as they are, at most 2 were to stay");
    left(3, &["three"]).breaks("archives", "nothing was to be cut, and something is gone");
}

#[test]
fn what_is_deleted_lies_in_a_file_or_in_the_database() {
    let file = json!({ "ok": true, "deleted": true, "archived": ["/state/agents/main/sessions/x.bak"] });
    let none = json!({ "ok": true, "deleted": true, "archived": [] });
    let delete = |more: Value, answer: &Value| seen().but(|s| _ = s.changes("sessions.delete", more, answer.clone()));
    delete(json!({}), &file).but(|s| _ = s.file(&ALL)).holds();
    delete(json!({}), &file).but(|s| _ = s.file(&["three"])).breaks("archives", "has 1 parts of 3");
    delete(json!({}), &file).but(|s| _ = s.database(&[])).breaks("archives", "there is no file");
    delete(json!({}), &none).breaks("archives", "no file is told of what is gone");
    let keeps = json!({ "deleteTranscript": false });
    delete(keeps.clone(), &none).but(|s| _ = s.database(&ALL)).holds();
    delete(keeps.clone(), &file).breaks("archives", "it was not to be archived");
    delete(keeps, &none).but(|s| _ = s.file(&[])).breaks("archives", "the transcript i is gone");
}

#[test]
fn what_begins_anew_leaves_its_transcript() {
    let reset = || seen().but(|s| _ = s.changes("sessions.reset", json!({}), json!({ "ok": true })));
    reset().but(|s| _ = s.database(&ALL)).holds();
    reset().but(|s| _ = s.database(&["three"])).breaks("archives", "the transcript i is another one");
    reset().but(|s| _ = s.file(&[])).breaks("archives", "the transcript i is gone");
}
