use serde_json::json;

use super::Story;
use crate::history::What;

#[test]
fn a_run_ends_well_where_another_model_answers() {
    let failed = |text: &str, told: Option<&str>, fault: bool| {
        let mut s = Story::new();
        s.expect.fallbacks = vec!["mock/two".into()];
        s.hello("a-1/1", 2, &["a-1"]);
        if fault {
            s.fault(1, true, json!({ "kind": "model_error", "status": 500, "times": 9 }));
        }
        s.call("a-1/1", "1", "chat.send", json!({ "sessionKey": "main", "message": text, "idempotencyKey": "r" }));
        s.answer("a-1/1", "1", json!({ "runId": "r", "status": "started" }));
        if let Some(answer) = told {
            s.add(What::asked(0, text, answer));
        }
        s.agent("a-1/1", (1, 1), "r", "lifecycle", json!({ "phase": "start", "startedAt": 1 }));
        s.agent("a-1/1", (2, 2), "r", "lifecycle", json!({ "phase": "error", "error": "no model" }));
        s.chat("a-1/1", (3, 2), "r", "error", json!({ "errorMessage": "no model" }));
        s
    };
    let says =
        |s: &Story| super::judge(&s.records, &s.expect).into_iter().find(|v| v.oracle == "fallback").unwrap().detail;
    assert!(says(&failed("hello", None, false)).contains("run r failed though a model behind the first one answers"));
    assert_eq!(says(&failed("hello", None, true)), "");
    assert_eq!(says(&failed("[[error:500]]", None, false)), "");
    assert_eq!(says(&failed("hello", Some("{\"kind\":\"hang\"}"), false)), "");
}
