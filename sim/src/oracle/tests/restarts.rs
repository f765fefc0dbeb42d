use serde_json::json;

use super::{ORACLES, Story};
use crate::history::What;

fn story() -> Story {
    let mut story = Story::new();
    story.expect.off = ORACLES.iter().map(|(name, _)| (*name).to_owned()).filter(|name| name != "restarts").collect();
    story.hello("a-1/1", 2, &["a-1"]);
    story
}

impl Story {
    fn due(&mut self) -> &mut Self {
        self.add(What::Probe { name: "restarts.due".into(), holds: true, always: false })
    }
    fn patched(&mut self, id: &str, note: &str) -> &mut Self {
        let params = json!({ "raw": "{}", "baseHash": "h", "sessionKey": "main", "note": note });
        self.call("a-1/1", id, "config.patch", params).answer(
            "a-1/1",
            id,
            json!({ "ok": true, "hash": "x", "config": {} }),
        )
    }
    fn told_in_chat(&mut self, text: &str) -> &mut Self {
        let params = json!({ "chat_id": "1", "text": text });
        let call = |status| What::Telegram { method: "sendMessage".into(), params: params.clone(), status };
        self.add(call(None)).add(call(Some(200)))
    }
}

#[test]
fn d21_each_restart_was_asked_for_and_once() {
    story().but(|s| _ = s.patched("1", "").due()).holds();
    story().but(|s| _ = s.due()).breaks("restarts", "nobody has asked");
    story().but(|s| _ = s.patched("1", "").due().due()).breaks("restarts", "one too many");
    story().but(|s| _ = s.patched("1", "").patched("2", "").due()).holds();
    let refused = story().but(|s| {
        s.call("a-1/1", "1", "config.patch", json!({ "raw": "{}", "baseHash": "h" }));
        s.refuse("a-1/1", "1", "INVALID_REQUEST", "BASE_HASH_CHANGED").due();
    });
    refused.breaks("restarts", "nobody has asked");
}

#[test]
fn d50_a_session_hears_of_its_restart_once() {
    const LINE: &str = "The gateway has restarted with the changed configuration.";
    let with = |note: &str| format!("{LINE}\n{note}");
    let later = |s: &mut Story| {
        let now = s.now;
        s.at(now + 30_000).note();
    };
    let restarted = || story().but(|s| _ = s.told_in_chat("hello").patched("1", "mine").due());
    restarted().but(|s| later(s.told_in_chat(&with("mine")))).holds();
    restarted().but(|s| later(s)).breaks("restarts", "is not told");
    restarted().but(|s| later(s.told_in_chat(&with("mine")).told_in_chat(&with("mine")))).breaks("restarts", "again");
    restarted()
        .but(|s| later(s.told_in_chat(&with("mine")).told_in_chat(&with("other"))))
        .breaks("restarts", "nobody has asked for");
}
