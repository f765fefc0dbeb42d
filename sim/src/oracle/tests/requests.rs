use serde_json::json;

use super::Story;

#[test]
fn f58_what_waits_is_answered_in_its_order() {
    let answered = |ids: [&str; 3]| {
        let mut s = Story::new();
        s.hello("a-1/1", 2, &["a-1"]);
        for (id, method) in [("1", "node.list"), ("2", "system-presence"), ("3", "node.list")] {
            s.call("a-1/1", id, method, json!({}));
        }
        for id in ids {
            s.answer("a-1/1", id, json!([]));
        }
        s.verdict("responses")
    };
    assert_eq!(answered(["1", "2", "3"]), "");
    assert!(answered(["3", "2", "1"]).contains("is answered before"));
    assert!(answered(["1", "3", "2"]).contains("node.list \"3\" is answered before \"2\""));
}
