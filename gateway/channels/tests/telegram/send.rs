//! Delivery, against the fake Bot API.

use std::{sync::atomic::Ordering, time::Duration};

use crate::support::{assert_harmless, seconds, world, world_with};
use bytes::Bytes;
use fakes::telegram::Failure;
use openclaw_channels::{Channel as _, InboundMedia, Media, SendError};
use openclaw_platform::{Clock as _, os::OsClock};
use serde_json::{Value, json};
use tokio::time::Instant;

fn refusal(status: u16, description: &str) -> Failure {
    Failure { description: Some(description.to_owned()), ..Failure::status("sendMessage", 1, status) }
}

fn media(mime: &str, size: usize) -> Media {
    Media { name: "a.bin".into(), mime: mime.into(), bytes: Bytes::from(vec![7; size]) }
}

#[tokio::test(start_paused = true)]
async fn markdown_goes_as_html_and_the_result_names_message_and_chat() {
    let world = world().await;
    let delivered = world.send("telegram:42", "hi **b**").await.unwrap();
    assert_eq!((&delivered.message_id[..], &delivered.chat_id[..]), ("501", "42"));
    let calls = world.fake.calls_of("sendMessage");
    assert_eq!(calls[0].params, json!({"chat_id": "42", "text": "hi <b>b</b>", "parse_mode": "HTML"}));
    assert!(world.status().last_outbound_at.is_some());
    let delivered = world.send("@chan", "x").await.unwrap();
    assert_eq!(delivered.chat_id, "@chan");
}

#[tokio::test(start_paused = true)]
async fn topics_replies_and_previews() {
    let world = world_with(|options| options.link_preview = false).await;
    let topic = world.target("-1002:topic:7");
    assert_eq!(world.deliver(&topic, "x", &[], Some("9")).await.unwrap().chat_id, "-1002");
    let params = world.fake.calls_of("sendMessage")[0].params.clone();
    assert_eq!(params["message_thread_id"], 7);
    assert_eq!(params["reply_parameters"]["message_id"], 9);
    assert_eq!(params["link_preview_options"], json!({"is_disabled": true}));
    // "General" is not named in sends, but it is where typing is shown. A callback's id is nothing to reply to.
    let general = world.target("-1002:topic:1");
    world.bot.typing(&general).await;
    world.deliver(&general, "x", &[], Some("not a number")).await.unwrap();
    let params = world.fake.calls_of("sendMessage")[1].params.clone();
    assert_eq!((&params["message_thread_id"], &params["reply_parameters"]), (&Value::Null, &Value::Null));
    let typing = world.fake.calls_of("sendChatAction")[0].params.clone();
    assert_eq!(typing, json!({"chat_id": "-1002", "message_thread_id": 1, "action": "typing"}));
}

#[tokio::test(start_paused = true)]
async fn f09_a_rate_limited_chat_is_left_alone_while_others_go_on() {
    let world = world().await;
    world.fake.fail(Failure { chat: Some("42".into()), ..Failure::retry_after("sendMessage", 7) });
    let limited = world.send("42", "first").await;
    let Err(SendError::RateLimited { after, .. }) = limited else { panic!("{limited:?}") };
    assert_eq!((after, world.bot.hold(&world.target("43"))), (Duration::from_secs(7), None));
    seconds(5).await;
    assert_eq!(world.bot.hold(&world.target("42")), Some(Duration::from_secs(2)));
    assert!(matches!(world.send("42", "first").await, Err(SendError::RateLimited { .. })));
    world.send("43", "other").await.unwrap();
    assert_eq!(world.fake.calls_of("sendMessage").len(), 2, "nothing is sent into a limit");
    seconds(2).await;
    world.send("42", "first").await.unwrap();
    assert_eq!(world.fake.sent_texts(), ["other", "first"]);
}

#[tokio::test(start_paused = true)]
async fn f09_a_limit_of_the_whole_bot_stops_all_chats() {
    let world = world().await;
    world.fake.fail(Failure::retry_after("getUpdates", 5));
    let bot = world.receive();
    seconds(1).await;
    assert!(matches!(world.send("42", "later").await, Err(SendError::RateLimited { .. })));
    assert!(world.bot.hold(&world.target("42")).is_some_and(|wait| wait <= Duration::from_secs(4)));
    seconds(5).await;
    world.send("42", "later").await.unwrap();
    bot.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_same_message_gives_the_same_parts() {
    let world = world().await;
    let digits: String = ('0'..='9').cycle().take(9000).collect();
    assert_eq!(world.bot.render(&digits, &[]), world.bot.render(&digits, &[]));
    let delivered = world.send("42", &digits).await.unwrap();
    assert_eq!(world.fake.sent_texts().concat(), digits);
    assert_eq!(world.fake.sent_texts().iter().map(String::len).collect::<Vec<_>>(), [4000, 4000, 1000]);
    assert_eq!(delivered.message_id, world.fake.sent()[2].message_id.to_string());
    assert_eq!(world.bot.render(" \n", &[]), []);
}

#[tokio::test(start_paused = true)]
async fn f06_a_lost_answer_is_unknown_and_never_sent_twice() {
    let world = world().await;
    world.fake.fail(Failure { effective: true, ..Failure::drop("sendMessage") });
    let lost = world.send("42", "once").await;
    assert!(matches!(lost, Err(SendError::Unknown(_))), "{lost:?}");
    world.fake.fail(Failure { delay_ms: 100_000, ..Failure::status("sendMessage", 1, 200) });
    let asked = OsClock.mono();
    let late = world.send("42", "slow").await;
    assert!(matches!(late, Err(SendError::Unknown(_))), "{late:?}");
    assert_eq!(OsClock.mono().duration_since(asked).as_secs(), 15, "what waits behind it goes on then (F12)");
    assert_eq!(world.fake.calls_of("sendMessage").len(), 2);
    let html = json!("<html>");
    world.fake.fail(Failure { effective: true, body: Some(html), ..Failure::status("sendMessage", 1, 201) });
    assert!(matches!(world.send("42", "odd").await, Err(SendError::Unknown(_))));
    assert_eq!(world.fake.calls_of("sendMessage").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_was_surely_not_sent_is_told_from_what_may_have_been() {
    let world = world().await;
    world.transport.refuse.store(1, Ordering::Relaxed);
    assert!(matches!(world.send("42", "refused").await, Err(SendError::Unavailable(_))));
    world.transport.hang.store(1, Ordering::Relaxed);
    let start = Instant::now();
    assert!(matches!(world.send("42", "no connection").await, Err(SendError::Unavailable(_))));
    assert_eq!(start.elapsed().as_secs(), 10);
    world.fake.fail(Failure::status("sendMessage", 1, 502));
    assert!(matches!(world.send("42", "failed").await, Err(SendError::Unavailable(_))));
    world.send("42", "sent").await.unwrap();
    assert_eq!(world.fake.sent_texts(), ["sent"]);
}

#[tokio::test(start_paused = true)]
async fn f07_permanent_refusals_are_not_retried() {
    let world = world().await;
    for (status, text) in [(403, "Forbidden: bot was blocked by the user"), (400, "Bad Request: chat not found")] {
        world.fake.fail(refusal(status, text));
        let Err(SendError::Permanent(error)) = world.send("42", "x").await else { panic!("{text}") };
        assert!(error.contains(text), "{error}");
    }
    world.fake.fail(refusal(401, "Unauthorized"));
    assert!(matches!(world.send("42", "x").await, Err(SendError::NotLinked(_))));
    assert_eq!(world.fake.calls_of("sendMessage").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn refused_markup_goes_as_plain_text() {
    let world = world().await;
    world.fake.fail(refusal(400, "Bad Request: can't parse entities: Unsupported start tag"));
    world.send("42", "a **b** <c>").await.unwrap();
    let calls = world.fake.calls_of("sendMessage");
    assert_eq!(calls[1].params, json!({"chat_id": "42", "text": "a b <c>"}));
}

#[tokio::test(start_paused = true)]
async fn a_group_that_moved_is_followed() {
    let world = world().await;
    let body = json!({"ok": false, "error_code": 400, "description": "Bad Request: group chat was upgraded to a \
        supergroup chat", "parameters": {"migrate_to_chat_id": -10055}});
    world.fake.fail(Failure { body: Some(body), ..Failure::status("sendMessage", 1, 400) });
    assert_eq!(world.send("-55", "x").await.unwrap().chat_id, "-10055");
    assert_eq!(world.fake.sent()[0].chat, "-10055");
}

#[tokio::test(start_paused = true)]
async fn media_go_as_photo_or_document_with_a_caption_that_fits() {
    let world = world().await;
    let to = world.target("42");
    let two = [media("image/png", 3000), media("application/pdf", 5)];
    world.deliver(&to, "see **it**", &two, None).await.unwrap();
    let photo = world.fake.calls_of("sendPhoto")[0].params.clone();
    let shown = |mime: &str, size: usize| format!("<file a.bin {mime} {size}B {}>", fakes::sum(&vec![7; size]));
    let expected = json!({"chat_id": "42", "caption": "see <b>it</b>", "parse_mode": "HTML",
        "photo": shown("image/png", 3000)});
    assert_eq!(photo, expected);
    let document = world.fake.calls_of("sendDocument")[0].params.clone();
    assert_eq!(document, json!({"chat_id": "42", "document": shown("application/pdf", 5)}));

    world.fake.reset();
    let long = "x".repeat(1025);
    world.deliver(&to, &long, &[media("image/gif", 3)], None).await.unwrap();
    let sent = world.fake.sent();
    assert_eq!((&sent[0].method[..], &sent[0].text[..]), ("sendDocument", ""));
    assert_eq!((&sent[1].method[..], &sent[1].text), ("sendMessage", &long));

    world.fake.reset();
    world.deliver(&to, "", &[media("image/jpeg", 11 << 20)], None).await.unwrap();
    assert_eq!(world.fake.sent()[0].method, "sendDocument", "too large for a photo");

    world.fake.reset();
    world.fake.fail(Failure {
        description: Some("Bad Request: PHOTO_INVALID_DIMENSIONS".into()),
        ..Failure::status("sendPhoto", 1, 400)
    });
    world.deliver(&to, "wide", &[media("image/png", 3)], None).await.unwrap();
    assert_eq!(
        (world.fake.sent()[0].method.clone(), world.fake.sent_texts()),
        ("sendDocument".into(), vec!["wide".into()])
    );
}

#[tokio::test(start_paused = true)]
async fn typing_neither_delays_nor_is_sent_into_a_rate_limit() {
    let world = world().await;
    world.fake.fail(Failure { delay_ms: 60_000, ..Failure::status("sendChatAction", 1, 200) });
    let to = world.target("42");
    let start = Instant::now();
    let (sent, ()) =
        tokio::join!(async { world.send("42", "reply").await.map(|_| start.elapsed()) }, world.bot.typing(&to));
    assert_eq!(sent.unwrap().as_millis(), 0);
    assert_eq!(start.elapsed().as_secs(), 5, "typing gave up");
    world.fake.fail(Failure::retry_after("sendMessage", 3));
    assert!(world.send("42", "limited").await.is_err());
    seconds(1).await;
    world.bot.typing(&to).await;
    assert_eq!(world.fake.calls_of("sendChatAction").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn s16_downloads_are_bounded_and_stay_at_the_bot_api() {
    let world = world_with(|options| options.media_max_bytes = 100).await;
    let get = async |id: &str, max| {
        let media = InboundMedia { file_id: id.into(), mime: "image/png".into(), name: "p".into() };
        world.bot.download(&media, max).await.inspect_err(|e| assert_harmless(&e.to_string()))
    };
    world.fake.add_file("f", "photos/a_1.jpg", vec![1; 80]);
    assert_eq!(get("f", 1000).await.unwrap(), vec![1; 80]);
    assert!(matches!(get("f", 79).await, Err(SendError::Permanent(_))));
    world.fake.add_file("big", "photos/b.jpg", vec![1; 101]);
    assert!(matches!(get("big", 1000).await, Err(SendError::Permanent(_))));
    for path in ["/var/lib/bot/a.jpg", "../../getMe", "a//b", "a b", "x?y", ""] {
        world.fake.add_file("odd", path, vec![1]);
        assert!(matches!(get("odd", 10).await, Err(SendError::Permanent(_))), "{path}");
    }
    world.fake.fail(Failure::status("getFile", 1, 400));
    assert!(matches!(get("f", 1000).await, Err(SendError::Permanent(_))));
    world.fake.fail(Failure::status("getFile", 1, 500));
    assert!(matches!(get("f", 1000).await, Err(SendError::Unavailable(_))));
}

#[tokio::test(start_paused = true)]
async fn a_probe_says_who_we_are_or_why_not() {
    let world = world().await;
    let mut answer = world.bot.probe(5000).await;
    assert!(answer["elapsedMs"].as_u64().is_some());
    answer.as_object_mut().unwrap().remove("elapsedMs");
    let expected = json!({"ok": true, "bot": {"id": 111_111, "username": "mock_bot"}, "webhook": {"url": ""}});
    assert_eq!(answer, expected);
    world.fake.fail(Failure::status("getMe", 1, 401));
    let answer = world.bot.probe(5000).await;
    assert_eq!(answer["ok"], false);
    assert_harmless(&answer.to_string());
    world.fake.fail(Failure { delay_ms: 60_000, ..Failure::status("getMe", 1, 200) });
    let start = Instant::now();
    let answer = world.bot.probe(5000).await;
    assert_eq!((start.elapsed().as_secs(), &answer["ok"]), (5, &json!(false)));
    world.transport.refuse.store(1000, Ordering::Relaxed);
    let answer = world.bot.probe(5000).await;
    assert_harmless(&answer.to_string());
}
