use serde_json::json;

use super::Story;
use crate::history::What;

/// Two messages, of which the first is under way, then a stop that is answered; later the model is asked for `id`.
fn says(id: i64, scope: &str) -> String {
    let mut s = Story::new();
    s.expect.dm_scope = scope.into();
    for (n, text) in [(5, "a"), (6, "b")] {
        let update = json!({ "chat": 1, "text": text, "message_id": n });
        s.add(What::Update { update_id: n, update });
    }
    let asked = |id: i64| What::asked(id as u64, format!("x\n[message_id: {id}]"), "{\"kind\":\"hang\"}");
    s.add(asked(5)).at(1000);
    s.add(What::Update { update_id: 7, update: json!({ "chat": 1, "text": "/stop", "message_id": 7 }) });
    let params = json!({ "chat_id": "1", "text": "Stopped." });
    let call = |status| What::Telegram { method: "sendMessage".into(), params: params.clone(), status };
    s.add(call(None)).add(call(Some(200))).at(5000);
    s.add(What::Update { update_id: 8, update: json!({ "chat": 1, "text": "c", "message_id": 8 }) });
    s.add(asked(id)).note();
    let verdicts = super::judge(&s.records, &s.expect);
    let mut broken = verdicts.into_iter().filter(|v| v.detail.contains("after the stop"));
    broken.next().map(|v| v.detail).unwrap_or_default()
}

#[test]
fn what_waited_when_somebody_said_stop_begins_no_more() {
    assert!(says(6, "per-peer").contains("chat 1: message 6 began a run after the stop that ended it"));
    assert_eq!(says(8, "per-peer"), "");
    assert_eq!(says(5, "per-peer"), "");
    assert_eq!(says(6, "main"), "");
}
