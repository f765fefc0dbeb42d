use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Story;
use crate::{
    history::{What, parts::Part},
    oracle::models::Served,
};

const SAYS: &str = r#"{"kind":"say","text":"x"}"#;
const FAILS: &str = r#"{"kind":"error","code":400}"#;

fn headers(list: &[(&str, &str)]) -> BTreeMap<String, String> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn story() -> Story {
    let mut s = Story::new();
    let one = Served {
        name: "a/one".into(),
        id: "one".into(),
        key: "ka".into(),
        max_tokens: Some(4000),
        headers: headers(&[("x-door", "back")]),
        ..Served::default()
    };
    let two = Served { name: "b/two".into(), id: "two".into(), key: "kb".into(), anthropic: true, ..Served::default() };
    let three = Served { name: "b/three".into(), id: "three".into(), ..two.clone() };
    s.expect.models = vec![one, two, three];
    s.expect.chain = ["a/one", "b/two", "b/three"].map(str::to_owned).into();
    s.hello("a-1/1", 2, &["a-1"]);
    s
}

/// A run with these requests to models: the model, the answer, what is said of thinking.
fn run(thinking: &str, asked: &[(&str, &str, Value)]) -> Story {
    let mut s = story();
    let params = json!({ "sessionKey": "x", "message": "hello you", "idempotencyKey": "r", "thinking": thinking });
    s.call("a-1/1", "1", "chat.send", params).answer("a-1/1", "1", json!({ "runId": "r", "status": "started" }));
    for (n, (model, answer, thinking)) in asked.iter().enumerate() {
        ask(&mut s, n as u64, model, answer, thinking);
    }
    s
}

fn ask(s: &mut Story, request: u64, model: &str, answer: &str, thinking: &Value) {
    s.add(What::asked(request, "hello you", answer));
    s.add(What::Given { request, after: None, parts: vec![Part::User("hello you".into())], system: 1 });
    let (max_tokens, headers) = match model {
        "one" => (4000, headers(&[("authorization", "Bearer ka"), ("x-door", "back")])),
        _ => (8192, headers(&[("x-api-key", "kb")])),
    };
    let (model, thinking) = (model.to_owned(), thinking.clone());
    s.add(What::Terms { request, model, max_tokens: Some(max_tokens), thinking, headers });
}

fn says(s: &Story) -> String {
    super::judge(&s.records, &s.expect).into_iter().find(|v| v.oracle == "models").unwrap().detail
}

#[test]
fn models_are_asked_in_their_order() {
    let order = |asked: &[(&str, &str)]| {
        let asked: Vec<_> = asked.iter().map(|(model, answer)| (*model, *answer, Value::Null)).collect();
        says(&run("unheard of", &asked))
    };
    assert_eq!(order(&[("one", SAYS)]), "");
    assert_eq!(order(&[("one", FAILS), ("two", FAILS), ("three", SAYS)]), "");
    assert_eq!(order(&[("two", SAYS)]), "run r asks b/two before all others");
    assert_eq!(order(&[("one", FAILS), ("three", SAYS)]), "run r asks b/three and leaves out the one before it");
    assert_eq!(order(&[("one", FAILS), ("two", FAILS), ("one", SAYS)]), "run r goes back to a/one");
    // A session with a model of its own.
    let mut own = story();
    own.call("a-1/1", "p", "sessions.patch", json!({ "key": "x", "model": "b/two" }));
    let params = json!({ "sessionKey": "x", "message": "hello you", "idempotencyKey": "r" });
    own.call("a-1/1", "1", "chat.send", params);
    ask(&mut own, 0, "two", SAYS, &Value::Null);
    assert_eq!(says(&own), "");
}

#[test]
fn each_request_has_the_key_the_headers_and_the_bounds_of_its_model() {
    let with = |model: &str, max_tokens: Option<u64>, list: &[(&str, &str)], thinking: Value| {
        let mut s = story();
        let (model, headers) = (model.to_owned(), headers(list));
        s.add(What::Terms { request: 7, model, max_tokens, thinking, headers });
        says(&s)
    };
    let (a, b) = ([("authorization", "Bearer ka"), ("x-door", "back")], [("x-api-key", "kb")]);
    assert_eq!(with("one", Some(4000), &a, Value::Null), "");
    assert!(with("one", Some(4000), &b, Value::Null).contains("names one, which with its key no provider has"));
    assert!(with("one", Some(4000), &[a[0], ("x-door", "front")], Value::Null).contains("as x-door, not \"back\""));
    assert!(with("one", None, &a, Value::Null).contains("asks for None tokens at most"));
    assert!(with("one", Some(4000), &a, json!("utmost")).contains("unknown effort"));
    let budget = |tokens: u64| json!({ "type": "enabled", "budget_tokens": tokens });
    assert_eq!(with("two", Some(8192), &b, budget(1024)), "");
    assert!(with("two", Some(8192), &b, budget(1023)).contains("gives Some(1023) tokens for thinking"));
    assert!(with("two", Some(8192), &b, budget(8192)).contains("gives Some(8192) tokens for thinking, of 8192"));
}

#[test]
fn who_asks_for_thinking_gets_it() {
    let think = |level: &str, told: Value| says(&run(level, &[("one", SAYS, told)]));
    assert_eq!(think("xhigh", json!("high")), "");
    assert_eq!(think("off", Value::Null), "");
    assert!(think("low", Value::Null).contains("is to think low, the model is asked for null"));
    assert!(think("off", json!("low")).contains("is to think off"));
}

/// How often each is tried, and how long it is waited for in between.
#[test]
fn each_model_has_as_many_tries() {
    let waits = [0, 300, 900, 3000, 3300, 4000, 8500, 8800, 9500, 18_000, 18_300, 19_000];
    let tried = |asked: &[(u64, &str, &str)], end: &str| {
        let mut s = run("unheard of", &[]);
        for (n, (at, model, answer)) in asked.iter().enumerate() {
            s.at(*at);
            ask(&mut s, n as u64, model, answer, &Value::Null);
        }
        s.at(19_500).chat("a-1/1", (1, 1), "r", end, json!({ "errorMessage": "no" }));
        says(&s)
    };
    let passes = r#"{"kind":"error","code":503}"#;
    let all = |model: &'static str| waits.iter().map(move |at| (*at, model, passes)).collect::<Vec<_>>();
    let mut whole = all("one");
    whole.push((19_100, "two", SAYS));
    assert_eq!(tried(&whole, "final"), "");
    assert_eq!(tried(&[(0, "one", passes), (300, "one", SAYS)], "final"), "");
    let left = tried(&[(0, "one", passes), (300, "two", SAYS)], "final");
    assert_eq!(left, "run r leaves a/one after 1 tries, though its fault may pass");
    let again = tried(&[(0, "one", FAILS), (300, "one", SAYS)], "final");
    assert_eq!(again, "run r asks a/one again, which has refused for good");
    let soon = tried(&[(0, "one", passes), (100, "one", SAYS)], "final");
    assert_eq!(soon, "run r asks a/one 100 ms after failure 1, not 200");
    let gives_up = [(0, "one", FAILS), (300, "two", FAILS), (400, "three", passes), (700, "three", passes)];
    assert_eq!(tried(&gives_up, "error"), "run r fails after 2 tries at its last model, though the fault may pass");
    let call = r#"{"kind":"tool","name":"t","args":"{}"}"#;
    assert!(tried(&[(0, "one", call)], "final").contains("the last thing that its model asked for, a tool"));
    assert_eq!(tried(&[(0, "one", call), (300, "one", SAYS)], "final"), "");
}

/// The request counts, else the session, else the configuration.
#[test]
fn how_much_is_thought_is_said_in_three_places() {
    let think = |default: &str, session: Option<&str>, request: &str, told: Value| {
        let mut s = story();
        s.expect.thinking = default.into();
        if let Some(level) = session {
            s.call("a-1/1", "p", "sessions.patch", json!({ "key": "x", "thinkingLevel": level }));
            s.answer("a-1/1", "p", json!({ "ok": true }));
        }
        let mut params = json!({ "sessionKey": "x", "message": "hello you", "idempotencyKey": "r" });
        if !request.is_empty() {
            params["thinking"] = request.into();
        }
        s.call("a-1/1", "1", "chat.send", params);
        ask(&mut s, 0, "one", SAYS, &told);
        says(&s)
    };
    assert_eq!(think("", None, "", Value::Null), "");
    assert!(think("", None, "", json!("low")).contains("is to think off"));
    assert_eq!(think("low", None, "", json!("low")), "");
    assert_eq!(think("low", Some("high"), "", json!("high")), "");
    assert!(think("low", Some("high"), "", json!("low")).contains("is to think high"));
    assert_eq!(think("low", Some("high"), "off", Value::Null), "");
    assert!(think("low", Some("high"), "medium", json!("high")).contains("is to think medium"));
}

#[test]
fn what_a_model_has_asked_for_is_done_before_the_run_ends() {
    const CALLS: &str = r#"{"kind":"tool","name":"sessions_list","args":"{}"}"#;
    let result = || Part::Result { id: "call_2".into(), text: "none".into() };
    // What a later request of another text adds, and to which one.
    let ended = |later: Option<(u64, Part)>| {
        let mut s = run("off", &[("one", CALLS, json!(null))]);
        if let Some((after, part)) = later {
            s.add(What::asked(7, "somebody else's words", SAYS));
            s.add(What::Given { request: 7, after: Some((after, 1)), parts: vec![part], system: 1 });
        }
        s.chat("a-1/1", (1, 1), "r", "final", json!({ "message": super::text("x") }));
        says(&s)
    };
    let undone = "run r ends well, and the last thing that its model asked for, a tool, was not done";
    assert_eq!(ended(None), undone);
    assert_eq!(ended(Some((0, Part::User("more".into())))), undone, "no result");
    assert_eq!(ended(Some((5, result()))), undone, "the result of another request");
    assert_ne!(ended(Some((0, result()))), undone);
}
