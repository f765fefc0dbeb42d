//! Nothing that was accepted is lost, answered twice or out of order, and nothing holds up what has nothing to do with it
//! (F50, F52, F53, F54, F57).

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use fakes::{model::Step, telegram::Failure};
use openclaw_platform::MemoryStorage;
use openclaw_server::store;
use serde_json::{Value, json};
use support::{
    TOKEN, call, enter, frames, full_disk, gateway_on,
    house::{House, pass},
    local, response, seams,
};

const TELEGRAM: &str = "botToken: '1:A', apiRoot: 'http://127.0.0.1:9001', allowFrom: ['*'], dmPolicy: 'open'";

/// A model, Telegram, and what else is said.
fn config(queue: &str, defaults: &str, more: &str) -> String {
    format!(
        "agents: {{ defaults: {{ model: 'fake/m' {defaults} }} }}, channels: {{ telegram: {{ {TELEGRAM} }} }}, \
         messages: {{ queue: {{ {queue} }}, inbound: {{ debounceMs: 0 }} }} {more}"
    )
}

fn of(sent: &[(String, String)], chat: &str) -> Vec<String> {
    sent.iter().filter(|(to, _)| to == chat).map(|(_, text)| text.clone()).collect()
}

/// Many messages behind a slow run, a stop, a restart: what was summed up is ended with the rest, and nothing is answered
/// out of the blue.
#[tokio::test(start_paused = true)]
async fn f50_what_was_summed_up_is_ended_by_a_stop() {
    for mode in ["collect", "followup"] {
        let house = House::open(&config(&format!("mode: '{mode}', cap: 5"), "", "")).await;
        house.says(42, "[[slow:100:1000]]");
        pass(2).await;
        (0..25).for_each(|n| house.says(42, &format!("m{n}")));
        pass(3).await;
        house.says(42, "/stop");
        pass(30).await;
        let sent = house.sent().len();
        assert_eq!(house.rows(store::INBOX), [], "{mode}");
        let house = house.after_a_crash().await;
        pass(60).await;
        assert_eq!(house.sent().len(), sent, "{mode}: {:?}", house.sent());
    }
}

/// In mode steer, what was summed up goes into the run under way with the others.
#[tokio::test(start_paused = true)]
async fn f50_what_was_summed_up_is_steered() {
    let house = House::open(&config("mode: 'steer', cap: 5", "", ", commands: { ownerAllowFrom: ['42'] }")).await;
    let connection = house.operator(&["operator.admin"]).await;
    let two = json!({ "sessionKey": "agent:main:two", "message": "hello", "idempotencyKey": "two" });
    call(&house.gateway, &connection, "chat.send", two).await.unwrap();
    pass(2).await;
    // A tool that takes five seconds.
    house.model.script(vec![
        Step::tool("sessions_send", r#"{"sessionKey":"agent:main:two","message":"and you?"}"#),
        Step::Words { n: 5, ms: 1000, hang: false, cut: false },
        Step::say("all of you are answered"),
    ]);
    house.says(42, "go on");
    pass(1).await;
    (0..25).for_each(|n| house.says(42, &format!("m{n}")));
    pass(60).await;
    assert_eq!(house.rows(store::INBOX), []);
    assert_eq!(house.sent(), [("42".to_owned(), "all of you are answered".to_owned())]);
    let asked = house.asked();
    for told in ["20 earlier messages", "m19", "m20", "m24"] {
        assert!(asked.last().unwrap().contains(told), "{told}: {asked:?}");
    }
}

/// A message that goes into a run of somebody else, who asked elsewhere, is answered where it was written.
#[tokio::test(start_paused = true)]
async fn f50_who_is_steered_into_a_run_of_others_is_answered() {
    let house = House::open(&config("mode: 'steer'", "", ", commands: { ownerAllowFrom: ['42'] }")).await;
    let connection = house.operator(&["operator.admin"]).await;
    // A tool call, so that there is a moment at which messages enter, behind words that take five seconds.
    house.model.script(vec![
        Step::tool("sessions_list", "{}"),
        Step::Words { n: 5, ms: 1000, hang: false, cut: false },
        Step::tool("sessions_list", "{}"),
        Step::say("all of you are answered"),
    ]);
    let ask = json!({ "sessionKey": "main", "message": "go on", "idempotencyKey": "one" });
    call(&house.gateway, &connection, "chat.send", ask).await.unwrap();
    house.says(42, "and I?");
    house.says(42, "and I, once more?");
    pass(60).await;
    assert!(house.asked().iter().any(|text| text.contains("and I, once more?")), "{:?}", house.asked());
    assert_eq!(house.rows(store::INBOX), []);
    assert_eq!(of(&house.sent(), "42").len(), 1, "{:?}", house.sent());
}

/// The disk takes nothing when a run ends: what it did is not done again, and what waits behind it is answered after it.
#[tokio::test(start_paused = true)]
async fn f52_a_run_that_cannot_be_stored_is_not_run_again_and_keeps_its_place() {
    let house = House::open(&config("mode: 'followup'", "", "")).await;
    house.says(42, "first [[slow:5:1000]]");
    pass(1).await;
    house.says(42, "second");
    house.says(42, "third");
    pass(2).await;
    house.fill_disk(true);
    pass(20).await;
    assert_eq!(house.sent(), [], "nothing is told that is not stored");
    house.fill_disk(false);
    pass(20).await;
    let sent = of(&house.sent(), "42");
    assert_eq!(sent.len(), 3, "{sent:?}");
    assert!(sent[0].starts_with("w1") && sent[1].contains("second") && sent[2].contains("third"), "{sent:?}");
    assert_eq!(house.model.count(), 3, "each was asked once: {:?}", house.asked());
    // The disk took the end of the first run and could not say so: it is not written once more.
    let sessions = house.rows(store::SESSIONS);
    let said = house.gateway.sessions.messages(sessions[0].1["sessionId"].as_str().unwrap(), 100).unwrap();
    assert_eq!(said.len(), 6, "each stands there once: {said:?}");
}

/// A run that has said everything and waits for the disk cannot be ended any more: who tries is told so, and its end is told
/// once.
#[tokio::test(start_paused = true)]
async fn f52_a_run_that_is_being_stored_is_not_aborted() {
    let house = House::open(&config("mode: 'followup'", "", "")).await;
    let connection = house.operator(&["operator.admin", "operator.pairing"]).await;
    let key = "agent:main:one";
    let say = json!({ "sessionKey": key, "message": "[[slow:3:1000]]", "idempotencyKey": "one" });
    call(&house.gateway, &connection, "chat.send", say).await.unwrap();
    pass(1).await;
    house.fill_disk(true);
    pass(10).await;
    let ended = call(&house.gateway, &connection, "chat.abort", json!({ "sessionKey": key })).await.unwrap();
    assert_eq!((&ended["aborted"], &ended["runIds"]), (&json!(false), &json!([])), "{ended}");
    house.fill_disk(false);
    pass(10).await;
    let states: Vec<Value> = frames(&connection.outbox)
        .into_iter()
        .filter(|f| f["event"] == "chat" && f["payload"]["state"] != "delta")
        .map(|f| f["payload"]["state"].clone())
        .collect();
    assert_eq!(states, [json!("final")]);
}

/// The disk takes nothing when a run begins: its message is answered once it does, before those that come later.
#[tokio::test(start_paused = true)]
async fn f52_a_run_that_cannot_begin_is_tried_again() {
    let late = config("mode: 'followup'", "", "").replace("debounceMs: 0", "debounceMs: 3000");
    let house = House::open(&late).await;
    house.says(42, "number 1");
    pass(1).await;
    house.fill_disk(true);
    pass(10).await;
    house.fill_disk(false);
    house.says(42, "number 2");
    pass(60).await;
    let sent = of(&house.sent(), "42");
    assert!(sent.len() == 2 && sent[0].contains("number 1") && sent[1].contains("number 2"), "{sent:?}");
}

/// The disk takes nothing while several wait in a chat: they keep their order.
#[tokio::test(start_paused = true)]
async fn f52_what_waits_for_the_disk_keeps_its_order() {
    let house = House::open(&config("mode: 'followup'", "", "")).await;
    house.says(42, "zeroth [[slow:3:1000]]");
    pass(1).await;
    (1..5).for_each(|n| house.says(42, &format!("number {n}")));
    pass(1).await;
    house.fill_disk(true);
    pass(10).await;
    house.fill_disk(false);
    pass(60).await;
    let sent = of(&house.sent(), "42");
    assert_eq!(sent.len(), 5, "{sent:?}");
    for (n, text) in (1..).zip(&sent[1..]) {
        assert!(text.contains(&format!("number {n}")), "{sent:?}");
    }
}

/// What cannot be stored has not happened for those who look; and what is stored later is what they see (F51).
#[tokio::test(start_paused = true)]
async fn f51_a_change_that_is_not_stored_has_not_happened() {
    let house = House::open(&config("mode: 'followup'", "", "")).await;
    let connection = house.operator(&["operator.admin"]).await;
    let key = "agent:main:one";
    let say = json!({ "sessionKey": key, "message": "hello", "idempotencyKey": "one" });
    call(&house.gateway, &connection, "chat.send", say).await.unwrap();
    pass(5).await;
    let before = house.gateway.sessions.get(key).unwrap().unwrap();
    house.fill_disk(true);
    // What is kept in memory as well follows the disk and nothing else.
    let refused = call(&house.gateway, &connection, "node.pair.request", json!({ "nodeId": "n" })).await.unwrap_err();
    assert_eq!(refused["details"]["code"], "STORAGE", "{refused}");
    let waiting = call(&house.gateway, &connection, "node.pair.list", json!({})).await.unwrap();
    assert_eq!(waiting["pending"], json!([]));
    for (method, params) in [
        ("sessions.reset", json!({ "key": key })),
        ("sessions.patch", json!({ "key": key, "sendPolicy": "deny" })),
        ("sessions.delete", json!({ "key": key })),
    ] {
        call(&house.gateway, &connection, method, params).await.unwrap_err();
        // It is as it was, or cannot be read as long as the disk is full.
        if let Ok(now) = house.gateway.sessions.get(key) {
            assert_eq!(now.as_ref(), Some(&before), "{method}");
        }
    }
    house.fill_disk(false);
    pass(5).await;
    call(&house.gateway, &connection, "sessions.reset", json!({ "key": key })).await.unwrap();
    call(&house.gateway, &connection, "sessions.patch", json!({ "key": key, "sendPolicy": "deny" })).await.unwrap();
    let after = house.gateway.sessions.get(key).unwrap().unwrap();
    assert_ne!(after.session_id, before.session_id);
    let house = house.after_a_crash().await;
    let stored = house.gateway.sessions.get(key).unwrap().unwrap();
    assert_eq!(serde_json::to_value(stored).unwrap(), serde_json::to_value(after).unwrap());
}

/// A session is deleted with its transcript only when that is archived.
#[tokio::test(start_paused = true)]
async fn f51_a_transcript_that_cannot_be_archived_is_not_deleted() {
    let (disk, closed) = (MemoryStorage::new(), Arc::new(AtomicBool::new(false)));
    let platform = full_disk::without_new_files(seams::platform().0, disk, closed.clone());
    let gateway = gateway_on(platform, openclaw_config::parse("{}", &|_| None).unwrap().config);
    let connection = enter(&gateway, local(), None, "operator", &["operator.admin"], TOKEN).await.unwrap().0;
    let key = "agent:main:one";
    call(&gateway, &connection, "sessions.patch", json!({ "key": key, "label": "one" })).await.unwrap();
    call(&gateway, &connection, "chat.inject", json!({ "sessionKey": key, "message": "kept" })).await.unwrap();
    closed.store(true, Ordering::Relaxed);
    let refused = call(&gateway, &connection, "sessions.delete", json!({ "key": key })).await.unwrap_err();
    assert_eq!(refused["details"]["code"], "STORAGE", "{refused}");
    let history = call(&gateway, &connection, "chat.history", json!({ "sessionKey": key })).await.unwrap();
    assert!(history.to_string().contains("kept"), "{history}");
    closed.store(false, Ordering::Relaxed);
    let deleted = call(&gateway, &connection, "sessions.delete", json!({ "key": key })).await.unwrap();
    assert_eq!((deleted["deleted"].as_bool(), deleted["archived"].as_array().map(Vec::len)), (Some(true), Some(1)));
}

/// Changes are made in the order in which they were asked for, whoever waits for which first (F51).
#[tokio::test(start_paused = true)]
async fn f51_the_order_of_changes_is_the_order_of_writes() {
    let house = House::open(&config("mode: 'followup'", "", "")).await;
    let sessions = &house.gateway.sessions;
    let name = |name: &'static str| {
        sessions.update("agent:main:one", 1, move |e| e.label = Some(name.to_owned()), |_, _| Ok(()))
    };
    let (first, second) = (name("first"), name("second"));
    let (second, first) = (second.await.unwrap().0, first.await.unwrap().0);
    assert_eq!((first.label.as_deref(), second.label.as_deref()), (Some("first"), Some("second")));
    assert_eq!(sessions.get("agent:main:one").unwrap().unwrap().label.as_deref(), Some("second"));
    let house = house.after_a_crash().await;
    assert_eq!(house.gateway.sessions.get("agent:main:one").unwrap().unwrap().label.as_deref(), Some("second"));
}

async fn begin(house: &House, key: &str) -> Value {
    let connection = house.operator(&["operator.admin"]).await;
    let params = json!({
        "message": "hi", "sessionKey": "agent:main:one", "idempotencyKey": key, "deliver": true, "channel": "telegram",
        "to": "42",
    });
    call(&house.gateway, &connection, "agent", params).await.unwrap()
}

/// A run that is begun anew after a restart and whose reply has to be delivered answers when it is, not before.
#[tokio::test(start_paused = true)]
async fn f53_a_run_begun_anew_answers_when_its_reply_is_delivered() {
    let house = House::open(&config("mode: 'followup'", ", onRestart: 'rerun'", "")).await;
    house.model.script(vec![Step::Hang]);
    assert_eq!(begin(&house, "k").await["status"], "accepted");
    pass(5).await;
    let house = house.after_a_crash().await;
    house.model.say(Some("here you are"));
    // Telegram takes its time.
    house.telegram.fail(Failure::status("sendMessage", 3, 500));
    let connection = house.operator(&["operator.admin"]).await;
    pass(1).await;
    assert_eq!(begin(&house, "k").await["status"], "accepted", "sent: {:?}", house.sent());
    assert_eq!(house.sent(), []);
    pass(30).await;
    assert_eq!(of(&house.sent(), "42"), ["here you are"]);
    assert_eq!(begin(&house, "k").await["status"], "ok");
    drop(connection);
}

/// One that cannot be begun anew is told to whoever asks, and leaves neither its record nor its key.
#[tokio::test(start_paused = true)]
async fn f53_a_run_that_cannot_be_begun_anew_is_told() {
    let config =
        config("mode: 'followup'", ", onRestart: 'rerun'", ", gateway: { limits: { maxQueuedPerSession: 2 } }");
    let house = House::open(&config).await;
    house.model.script(vec![Step::Hang, Step::Hang]);
    let connection = house.operator(&["operator.admin"]).await;
    let ask = |key: &str| json!({ "message": "hi", "sessionKey": "agent:main:one", "idempotencyKey": key });
    for key in ["a", "b"] {
        response(&house.gateway, &connection, key, "agent", ask(key)).await.send(&connection);
    }
    pass(5).await;
    // As one of another configuration, in which more could wait.
    house
        .gateway
        .store
        .write(|tx| {
            let mut table = tx.open_table(store::RUNS)?;
            let record: Value = store::get(&table, "b")?.unwrap();
            store::put(&mut table, "c", &record)
        })
        .await
        .unwrap();
    let house = house.after_a_crash().await;
    pass(60).await;
    assert_eq!(house.rows(store::RUNS).iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let connection = house.operator(&["operator.admin"]).await;
    let end = call(&house.gateway, &connection, "agent.wait", json!({ "runId": "c", "timeoutMs": 1 })).await.unwrap();
    assert_eq!(end["status"], "error");
    assert!(end["error"].as_str().unwrap().contains("SESSION_QUEUE_FULL"), "{end}");
}

/// A run that waits for a run of another session gives it its place.
#[tokio::test(start_paused = true)]
async fn f54_a_run_that_waits_for_another_leaves_it_its_place() {
    let house = House::open(&config("mode: 'followup'", ", maxConcurrent: 1", "")).await;
    let connection = house.operator(&["operator.admin"]).await;
    let ask = |session: &str, text: &str| json!({ "sessionKey": session, "message": text, "idempotencyKey": session });
    call(&house.gateway, &connection, "chat.send", ask("agent:main:two", "hello")).await.unwrap();
    pass(5).await;
    let order = r#"[[tool:sessions_send:{"sessionKey":"agent:main:two","message":"and you?"}]]"#;
    call(&house.gateway, &connection, "chat.send", ask("agent:main:one", order)).await.unwrap();
    let wait = json!({ "runId": "agent:main:one", "timeoutMs": 5_000 });
    assert_eq!(call(&house.gateway, &connection, "agent.wait", wait).await.unwrap()["status"], "ok");
    assert!(house.asked().last().unwrap().contains("echo: and you?"), "{:?}", house.asked());
}

/// A model that says nothing holds up its own session and nobody else.
#[tokio::test(start_paused = true)]
async fn f54_a_model_that_hangs_does_not_hold_up_others() {
    let house = House::open(&config("mode: 'followup'", ", maxConcurrent: 1", "")).await;
    house.says(1, "[[hang]]");
    house.says(2, "[[hangafter:3]]");
    pass(1).await;
    house.says(3, "hello");
    pass(40).await;
    assert_eq!(of(&house.sent(), "3").len(), 1, "{:?}", house.sent());
}

/// A session whose queue is full holds up neither other sessions nor what ends its own runs.
#[tokio::test(start_paused = true)]
async fn f57_a_full_session_holds_up_nobody_else() {
    let more = ", gateway: { limits: { maxQueuedPerSession: 2 } }";
    let house = House::open(&config("mode: 'followup'", "", more)).await;
    house.says(1, "[[hang]]");
    pass(1).await;
    (0..5).for_each(|n| house.says(1, &format!("m{n}")));
    pass(1).await;
    house.says(2, "hello");
    pass(5).await;
    assert_eq!(of(&house.sent(), "2").len(), 1, "{:?}", house.sent());
    assert_eq!(house.rows(store::INBOX).len(), 6);
    house.says(1, "/stop");
    pass(5).await;
    assert_eq!(house.rows(store::INBOX), []);
    house.says(1, "again");
    pass(5).await;
    assert!(of(&house.sent(), "1").last().unwrap().contains("again"), "{:?}", house.sent());
}

/// Chats that the service keeps waiting hold up neither other accounts nor, when it is uploads, the texts of their own.
#[tokio::test(start_paused = true)]
async fn f57_slow_chats_of_one_account_hold_up_no_other() {
    let accounts = format!("accounts: {{ a: {{ {TELEGRAM} }}, b: {{ {} }} }}", TELEGRAM.replace("1:A", "1:B"));
    let more = config("mode: 'followup'", "", "").replace(TELEGRAM, &accounts);
    let house = House::open(&more).await;
    for chat in 1..=40 {
        house.telegram.fail(Failure {
            chat: Some(chat.to_string()),
            delay_ms: 60_000,
            ..Failure::status("sendMessage", 1, 200)
        });
    }
    let connection = house.operator(&["operator.admin"]).await;
    let send = |account: &str, chat: u64| {
        json!({ "channel": "telegram", "accountId": account, "to": chat.to_string(), "message": "hi",
                "idempotencyKey": format!("{account}{chat}") })
    };
    let slow = async {
        let all = (1..=40).map(|chat| call(&house.gateway, &connection, "send", send("a", chat)));
        futures_util::future::join_all(all).await
    };
    let other = async {
        pass(2).await;
        let asked = house.gateway.platform.clock.mono();
        call(&house.gateway, &connection, "send", send("b", 100)).await.unwrap();
        house.gateway.platform.clock.mono().duration_since(asked).as_secs()
    };
    let (_, took) = tokio::join!(slow, other);
    assert!(took < 5, "{took} s");
}
