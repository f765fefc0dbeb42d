//! Receiving, against the fake Bot API.

use std::{sync::atomic::Ordering, time::Duration};

use crate::support::{TOKEN, assert_harmless, seconds, world, world_with};
use fakes::telegram::{Call, Failure};
use openclaw_channels::{Fault, access::GroupPolicy};
use openclaw_platform::Storage as _;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::Instant;

const ALLOWED: &str = "credentials/telegram-allowFrom.json";

fn gaps(calls: &[Call]) -> Vec<u64> {
    calls.windows(2).map(|pair| pair[1].at - pair[0].at).collect()
}

#[tokio::test(start_paused = true)]
async fn a_message_arrives_and_is_confirmed() {
    let world = world().await;
    let bot = world.receive();
    seconds(1).await;
    let id = world.fake.push_message(42, 42, "hello");
    seconds(1).await;
    assert_eq!(world.sink.texts(), ["hello"]);
    assert_eq!(*world.sink.cursor.lock().unwrap(), Some(id));
    assert_eq!(world.fake.unconfirmed(), 0, "the next poll has confirmed it");
    let polls = world.fake.calls_of("getUpdates");
    let expected = json!({"offset": 0, "limit": 100, "timeout": 30, "allowed_updates": ["message", "callback_query"]});
    assert_eq!(polls[0].params, expected);
    assert_eq!(polls[1].params["offset"], id + 1);
    let status = world.status();
    assert!(status.configured && status.enabled && status.running && status.connected, "{status:?}");
    assert!(status.last_start_at.is_some() && status.last_inbound_at.is_some() && status.last_error.is_none());
    bot.stop().await;
    assert_eq!(world.fake.calls_of("deleteWebhook"), []);
}

#[tokio::test(start_paused = true)]
async fn f05_nothing_is_acknowledged_before_it_is_stored() {
    let world = world().await;
    world.sink.broken.store(3, Ordering::Relaxed);
    let bot = world.receive();
    world.fake.push_message(42, 42, "one");
    world.fake.push_message(42, 42, "two");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(world.fake.unconfirmed(), 2);
    assert_eq!(world.error(), "cannot store inbound messages: disk full");
    seconds(60).await;
    assert_eq!(world.sink.texts(), ["one", "two"]);
    assert_eq!(world.fake.unconfirmed(), 0);
    assert_eq!(world.error(), "");
    bot.stop().await;
}

#[tokio::test(start_paused = true)]
async fn f05_a_restart_goes_on_after_the_stored_cursor() {
    let world = world().await;
    world.fake.push_message(42, 42, "handled before the crash");
    let id = world.fake.push_message(42, 42, "also");
    *world.sink.cursor.lock().unwrap() = Some(id);
    world.fake.push_message(42, 42, "new");
    let bot = world.receive();
    seconds(1).await;
    assert_eq!(world.sink.texts(), ["new"]);
    assert_eq!(world.fake.calls_of("getUpdates")[0].params["offset"], id + 1);
    bot.stop().await;
}

#[tokio::test(start_paused = true)]
async fn f05_an_old_update_is_ignored_and_does_not_spin() {
    let world = world().await;
    *world.sink.cursor.lock().unwrap() = Some(5000);
    let old = json!({"ok": true, "result": [{"update_id": 7, "message": {"message_id": 1, "date": 1, "text": "old",
        "from": {"id": 42}, "chat": {"id": 42, "type": "private"}}}, {"no_id": true}]});
    world.fake.fail(Failure { body: Some(old), ..Failure::status("getUpdates", 2, 299) });
    let bot = world.receive();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(world.error().contains("up to 5000"), "{}", world.error());
    seconds(60).await;
    assert_eq!(world.sink.texts(), [""; 0]);
    assert_eq!(*world.sink.cursor.lock().unwrap(), Some(5000));
    let gaps = gaps(&world.fake.calls_of("getUpdates"));
    assert!(gaps.iter().all(|gap| *gap >= 1000), "{gaps:?}");
    bot.stop().await;
}

#[tokio::test(start_paused = true)]
async fn f12_numbers_that_begin_anew_are_followed() {
    let world = world().await;
    *world.sink.cursor.lock().unwrap() = Some(760_546_622);
    // The fake answers an offset far beyond its numbers as Telegram does: from its oldest update.
    let first = world.fake.push_message(42, 42, "one");
    let bot = world.receive();
    let second = world.fake.push_message(42, 42, "two");
    seconds(10).await;
    assert_eq!(world.sink.texts(), ["one", "two"]);
    assert!(first < second && *world.sink.cursor.lock().unwrap() == Some(second));
    assert_eq!(world.fake.unconfirmed(), 0);
    assert_eq!(world.error(), "");
    bot.stop().await;
}

#[tokio::test(start_paused = true)]
async fn f08_there_is_never_a_second_poll() {
    let world = world().await;
    for _ in 0..5 {
        let bot = world.receive();
        seconds(7).await;
        bot.stop().await;
        seconds(1).await;
    }
    // Even a caller that forgets to wait does not make two.
    let (first, second) = (world.receive(), world.receive());
    seconds(100).await;
    assert_eq!(world.fake.most_polls_at_once(), 1);
    assert!(world.fake.calls_of("getUpdates").iter().all(|call| call.status != Some(409)));
    first.stop().await;
    world.fake.push_message(42, 42, "to the second");
    seconds(1).await;
    assert_eq!(world.sink.texts(), ["to the second"]);
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn f08_a_conflict_backs_off_and_is_shown() {
    let world = world().await;
    let conflict = Failure {
        description: Some("Conflict: terminated by other getUpdates request".into()),
        ..Failure::status("getUpdates", 8, 409)
    };
    world.fake.fail(conflict);
    let bot = world.receive();
    seconds(1).await;
    assert!(world.error().contains("Conflict: terminated by other getUpdates"), "{}", world.error());
    assert_eq!(world.status().fault, Some(Fault::Conflict));
    seconds(300).await;
    let gaps = gaps(&world.fake.calls_of("getUpdates")[..9]);
    let mut expected = 2000.0;
    for gap in &gaps {
        let (low, high) = (expected as u64, (expected * 1.25) as u64 + 5);
        assert!((low..=high).contains(gap), "{gap} not in {low}..={high}: {gaps:?}");
        expected = f64::min(expected * 1.8, 30_000.0);
    }
    assert_eq!((world.error().as_str(), world.status().fault), ("", None));
    bot.stop().await;
}

#[tokio::test(start_paused = true)]
async fn f09_a_rate_limit_on_polls_is_honoured() {
    let world = world().await;
    world.fake.fail(Failure::retry_after("getUpdates", 17));
    let bot = world.receive();
    seconds(40).await;
    let gap = gaps(&world.fake.calls_of("getUpdates"))[0];
    assert!((17_000..17_500).contains(&gap), "{gap}");
    bot.stop().await;
}

#[tokio::test(start_paused = true)]
async fn passing_faults_are_retried_for_ever_but_not_often() {
    let world = world().await;
    world.fake.fail(Failure::status("getMe", 2, 502));
    world.fake.fail(Failure::drop("getUpdates"));
    world.fake.fail(Failure::status("getUpdates", 40, 500));
    world.transport.refuse.store(2, Ordering::Relaxed);
    let bot = world.receive();
    seconds(600).await;
    let polls = world.fake.calls_of("getUpdates").len();
    assert!((15..30).contains(&polls), "{polls} polls in ten minutes");
    assert!(world.error().contains("500"), "{}", world.error());
    seconds(900).await;
    world.fake.push_message(42, 42, "at last");
    seconds(40).await;
    assert_eq!(world.sink.texts(), ["at last"]);
    bot.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_ends_receiving_with_advice() {
    for status in [401, 404] {
        for method in ["getMe", "getUpdates"] {
            let world = world().await;
            world.fake.fail(Failure::status(method, 1, status));
            let start = Instant::now();
            let error = world.receive().ended().await.to_string();
            assert_eq!(start.elapsed().as_secs(), 0);
            assert_harmless(&error);
            assert!(error.contains("channels.telegram.botToken"), "{error}");
            let status = world.status();
            assert!(!status.running && !status.connected && status.last_stop_at.is_some(), "{status:?}");
            assert_eq!((status.last_error, status.fault), (Some(error), Some(Fault::Credentials)));
        }
    }
    let world = world_with(|options| options.token = openclaw_config::Secret::new("a b\nSECRET")).await;
    assert_harmless(&world.receive().ended().await.to_string());
}

#[tokio::test(start_paused = true)]
async fn s17_a_server_that_echoes_the_token_does_not_make_us_show_it() {
    let world = world().await;
    let echo = Failure {
        description: Some(format!("no route /b{TOKEN}/getMe \u{1b}[31m")),
        ..Failure::status("getMe", 1, 418)
    };
    world.fake.fail(echo);
    let bot = world.receive();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let error = world.error();
    assert!(error.contains("no route") && !error.contains('\u{1b}'), "{error:?}");
    assert!(!format!("{:?}", world.bot).contains("SECRET"));
    bot.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_webhook_is_deleted_only_when_there_is_one() {
    let world = world().await;
    world.fake.set_webhook("https://old.example/hook");
    let bot = world.receive();
    seconds(5).await;
    assert_eq!(world.fake.calls_of("deleteWebhook").len(), 1);
    // Somebody sets one while we poll.
    world.fake.set_webhook("https://new.example/hook");
    world.fake.push_message(42, 42, "through");
    seconds(10).await;
    assert_eq!(world.fake.calls_of("deleteWebhook").len(), 2);
    assert_eq!(world.sink.texts(), ["through"]);
    bot.stop().await;
}

#[tokio::test(start_paused = true)]
async fn stop_ends_a_poll_at_once() {
    let world = world().await;
    let bot = world.receive();
    seconds(10).await;
    let start = Instant::now();
    bot.stop().await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    let status = world.status();
    assert!(!status.running && !status.connected && status.last_stop_at.is_some());
}

#[tokio::test(start_paused = true)]
async fn f12_silence_is_not_health() {
    let world = world().await;
    let bot = world.receive();
    seconds(40).await;
    assert!(world.status().connected);
    // The connection hangs; sends still work, which says nothing about receiving.
    world.fake.fail(Failure { delay_ms: 10_000_000, ..Failure::status("getUpdates", 1000, 200) });
    seconds(100).await;
    world.send("42", "hi").await.unwrap();
    let status = world.status();
    assert!(status.running && !status.connected && status.fault == Some(Fault::Disturbed), "{status:?}");
    assert!(world.error().contains("timed out"), "{}", world.error());
    bot.stop().await;
}

/// A poll whose answer never comes is given up 15 s after it should have come.
#[tokio::test(start_paused = true)]
async fn f12_a_poll_on_a_silent_link_is_given_up() {
    let world = world().await;
    world.fake.fail(Failure { delay_ms: 10_000_000, ..Failure::status("getUpdates", 1, 200) });
    let bot = world.receive();
    seconds(1).await;
    world.fake.push_message(42, 42, "into the silence");
    seconds(43).await;
    assert_eq!(world.sink.texts(), [""; 0]);
    seconds(2).await;
    assert_eq!(world.sink.texts(), ["into the silence"]);
    bot.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stranger_gets_one_pairing_message_and_after_approval_an_ear() {
    let world = world().await;
    let bot = world.receive();
    world.fake.push_message(77, 77, "let me in");
    world.fake.push_message(77, 77, "please");
    seconds(2).await;
    world.fake.push_message(77, 77, "hello?");
    seconds(2).await;
    assert_eq!(world.sink.texts(), [""; 0]);
    let calls = world.fake.calls_of("sendMessage");
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert_eq!(calls[0].params["chat_id"], 77);
    assert_eq!(calls[0].params["parse_mode"], Value::Null);
    let code = world.pairing.list().unwrap()[0].code.clone();
    let text = calls[0].params["text"].as_str().unwrap();
    assert!(text.contains(&format!("Pairing code: {code}")), "{text}");
    assert!(text.contains(&format!("openclaw pairing approve telegram {code}")), "{text}");
    assert_eq!(world.pairing.approve(&code).unwrap(), "77");
    world.fake.push_message(77, 77, "thank you");
    seconds(2).await;
    assert_eq!(world.sink.texts(), ["thank you"]);
    bot.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_code_that_could_not_be_told_is_withdrawn() {
    let world = world().await;
    world.fake.fail(Failure::status("sendMessage", 1, 403));
    let bot = world.receive();
    world.fake.push_message(77, 77, "let me in");
    seconds(2).await;
    assert_eq!(world.pairing.list().unwrap(), []);
    world.fake.push_message(77, 77, "again");
    seconds(2).await;
    assert_eq!(world.fake.sent().len(), 1);
    bot.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_corrupt_allow_file_denies_and_is_shown() {
    let world = world().await;
    world.files.write_atomic(ALLOWED, b"{").unwrap();
    let bot = world.receive();
    world.fake.push_message(77, 77, "let me in");
    world.fake.push_message(42, 42, "I am in the config");
    world.fake.push_message(77, 77, "let me in");
    seconds(2).await;
    assert_eq!(world.sink.texts(), ["I am in the config"]);
    assert_eq!(world.fake.sent(), []);
    assert!(world.error().contains(ALLOWED), "{}", world.error());
    world.files.write_atomic(ALLOWED, br#"{"version":1,"allowFrom":["77"]}"#).unwrap();
    world.fake.push_message(77, 77, "now");
    seconds(2).await;
    assert_eq!(world.sink.texts(), ["I am in the config", "now"]);
    assert_eq!(world.error(), "");
    bot.stop().await;
}

#[tokio::test(start_paused = true)]
async fn groups_need_a_mention_and_get_no_pairing() {
    let world = world().await;
    let bot = world.receive();
    world.fake.push_message(-5, 42, "chatter");
    world.fake.push_message(-5, 42, "@mock_bot do it");
    world.fake.push_message(-5, 77, "@mock_bot me too");
    seconds(2).await;
    assert_eq!(world.sink.texts(), ["@mock_bot do it"]);
    assert_eq!(world.fake.sent(), []);
    bot.stop().await;
    let open = world_with(|options| options.access.group_policy = GroupPolicy::Open).await;
    let bot = open.receive();
    open.fake.push_message(-5, 77, "@mock_bot me too");
    seconds(2).await;
    assert_eq!(open.sink.texts(), ["@mock_bot me too"]);
    bot.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_button_press_is_answered_and_becomes_a_message() {
    let world = world().await;
    let bot = world.receive();
    let press = |id: &str, from: i64| {
        json!({"callback_query": {"id": id, "from": {"id": from, "first_name": "P"}, "chat_instance": "1",
            "data": format!("pressed {id}"), "message": {"message_id": 5, "date": 1,
            "chat": {"id": from, "type": "private"}}}})
    };
    world.fake.push_update(press("a", 42));
    world.fake.push_update(press("b", 77));
    seconds(2).await;
    let answered: Vec<_> =
        world.fake.calls_of("answerCallbackQuery").iter().map(|c| c.params["callback_query_id"].clone()).collect();
    assert_eq!(answered, ["a", "b"]);
    assert_eq!(world.sink.texts(), ["pressed a"]);
    assert_eq!(world.sink.stored.lock().unwrap()[0].key, "callback:a");
    bot.stop().await;
}

#[tokio::test(start_paused = true)]
async fn unknown_kinds_are_skipped_and_the_cursor_moves_past_them() {
    let world = world().await;
    for update in [
        json!({"hologram": {"x": 1}}),
        json!({"message": 7}),
        json!({"message": {"chat": "?"}}),
        json!({"edited_message": {"message_id": 1, "chat": {"id": 42, "type": "private"}, "text": "edited"}}),
    ] {
        world.fake.push_update(update);
    }
    let last = world.fake.push_message(42, 42, "good");
    let bot = world.receive();
    seconds(2).await;
    assert_eq!(world.sink.texts(), ["good"]);
    assert_eq!(*world.sink.cursors.lock().unwrap(), [last]);
    let skipped = world.fake.push_update(json!({"hologram": 2}));
    seconds(2).await;
    assert_eq!(*world.sink.cursor.lock().unwrap(), Some(skipped));
    assert_eq!(world.fake.unconfirmed(), 0);
    bot.stop().await;
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        let key =
            prop_oneof!["[a-z_]{1,8}", Just("message".to_owned()), Just("chat".to_owned()), Just("id".to_owned())];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..6).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn s21_no_update_wedges_the_poller(junk in prop::collection::vec(any_json(), 1..20)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async move {
            let world = world().await;
            for value in junk {
                match value {
                    Value::Object(_) => world.fake.push_update(value),
                    value => world.fake.push_update(json!({"message": value})),
                };
            }
            world.fake.push_message(42, 42, "good");
            let bot = world.receive();
            seconds(5).await;
            assert_eq!(world.sink.texts(), ["good"]);
            assert_eq!(world.fake.unconfirmed(), 0);
            bot.stop().await;
        });
    }
}
