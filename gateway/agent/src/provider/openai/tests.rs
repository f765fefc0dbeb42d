#![allow(clippy::unnecessary_wraps)] // the helpers give what a stream gives

use std::{collections::BTreeMap, convert::Infallible};

use bytes::Bytes;
use fakes::model::{FakeModel, Step};
use futures_util::{StreamExt as _, stream};
use openclaw_config::Secret;
use openclaw_platform::{http::HttpClient, os};
use openclaw_protocol::message::Message;
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::{super::*, *};
use crate::provider::{ToolSpec, decode, sse};

/// The events of a body.
async fn read(body: &str) -> Vec<Result<ModelEvent, ModelError>> {
    let bytes = stream::iter([Ok::<_, Infallible>(Bytes::from(body.to_owned()))]);
    decode::reply(sse::data(bytes), Chat::default()).collect().await
}

/// The events of chunks with one choice each.
async fn read_choices(choices: &[Value]) -> Vec<Result<ModelEvent, ModelError>> {
    let data: Vec<_> = choices.iter().map(|choice| Ok(json!({"choices": [choice]}).to_string())).collect();
    decode::reply(stream::iter(data), Chat::default()).collect().await
}

fn text(text: &str) -> Result<ModelEvent, ModelError> {
    Ok(ModelEvent::Text(text.into()))
}
fn end(stop: StopReason) -> Result<ModelEvent, ModelError> {
    Ok(ModelEvent::End(stop))
}
fn call(id: &str, name: &str, arguments: &str) -> Result<ModelEvent, ModelError> {
    Ok(ModelEvent::ToolCall { id: id.into(), name: name.into(), arguments: arguments.into() })
}

#[tokio::test]
async fn streams_from_the_fake_with_usage() {
    let dir = tempfile::tempdir().unwrap();
    let platform = os::platform(dir.path()).unwrap();
    let fake = FakeModel::new();
    let addr = fake.serve(&platform, ([127, 0, 0, 1], 0).into(), CancellationToken::new()).await.unwrap();
    fake.script(vec![
        Step::Say { text: "hi there".into(), thinking: Some("hm".into()), chunk: Some(3) },
        Step::tool("look", r#"{"at":"it"}"#),
        Step::cut(1),
        Step::Malformed,
        Step::HangUp,
    ]);
    let key = Some(Secret::new("k"));
    let endpoint =
        Endpoint::new(HttpClient::new(&platform), &format!("http://{addr}/v1/"), key, &BTreeMap::new()).unwrap();
    let provider = OpenAi::new("mock", endpoint);
    let ask = || {
        let messages = vec![Message::user("x", 0)];
        let request = ModelRequest { model: "m".into(), system: "be".into(), messages, ..ModelRequest::default() };
        provider.stream(request).collect::<Vec<_>>()
    };
    let usage = Usage { input: 11, output: 3, total_tokens: 14, ..Usage::default() };
    let said = ask().await;
    let expected = [
        Ok(ModelEvent::Thinking("hm".into())),
        text("hi "),
        text("the"),
        text("re"),
        Ok(ModelEvent::Usage(usage)),
        end(StopReason::Stop),
    ];
    assert_eq!(said, expected);
    assert_eq!(ask().await[1..], [call("call_1", "look", r#"{"at":"it"}"#), end(StopReason::ToolUse)]);
    let cut = ask().await;
    assert!(matches!(&cut[..], [Ok(ModelEvent::Text(_)), Err(ModelError::Network(_))]), "{cut:?}");
    assert!(matches!(&ask().await[..], [Err(ModelError::Protocol(_))]));
    assert!(matches!(&ask().await[..], [Err(ModelError::Network(_))]));

    let seen = &fake.requests()[0];
    assert_eq!((seen.path.as_str(), seen.headers["authorization"].as_str()), ("/v1/chat/completions", "Bearer k"));
    assert_eq!(seen.body["messages"][0], json!({"role": "system", "content": "be"}));
}

#[tokio::test]
async fn a_stream_may_end_without_done_but_not_without_a_reason() {
    let whole = [json!({"delta": {"content": "a"}}), json!({"delta": {}, "finish_reason": "length"})];
    assert_eq!(read_choices(&whole).await, [text("a"), end(StopReason::Length)]);
    assert_eq!(read_choices(&whole[..1]).await, [text("a"), Err(ModelError::Network("cut".into()))]);
    assert_eq!(read("data: [DONE]\n\n").await, [end(StopReason::Stop)]);
    assert_eq!(read("").await, [Err(ModelError::Network("cut".into()))]);
}

#[tokio::test]
async fn tool_calls_are_put_together_whatever_the_server_leaves_out() {
    let finish = json!({"finish_reason": "stop"});
    let part = |call: Value| json!({"delta": {"tool_calls": [call]}});
    // As OpenAI sends them: two calls, interleaved.
    let pieces = [
        part(json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}})),
        part(json!({"index": 1, "id": "b", "function": {"name": "g", "arguments": "{\"y\""}})),
        part(json!({"index": 0, "function": {"arguments": "{}"}})),
        part(json!({"index": 1, "id": "", "function": {"name": null, "arguments": ":2}"}})),
        finish.clone(),
    ];
    let expected = [call("a", "f", "{}"), call("b", "g", "{\"y\":2}"), end(StopReason::ToolUse)];
    assert_eq!(read_choices(&pieces).await, expected);
    // Every call whole and with index 0; id and name repeated with every piece.
    let pieces = [
        part(json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}})),
        part(json!({"index": 0, "id": "b", "function": {"name": "g", "arguments": "{\"y\""}})),
        part(json!({"index": 0, "id": "b", "function": {"name": "g", "arguments": ":2}"}})),
        finish.clone(),
    ];
    assert_eq!(read_choices(&pieces).await, expected);
    // No index, no id, arguments as an object.
    let pieces = [
        part(json!({"function": {"name": "f", "arguments": {}}})),
        part(json!({"function": {"name": "f", "arguments": {"x": 1}}})),
        finish.clone(),
    ];
    let expected = [call("", "f", "{}"), call("", "f", "{\"x\":1}"), end(StopReason::ToolUse)];
    assert_eq!(read_choices(&pieces).await, expected);
    let many: Vec<_> = (0..200).map(|i| part(json!({"index": i, "function": {"name": "f"}}))).collect();
    assert!(matches!(&read_choices(&many).await[..], [Err(ModelError::Protocol(_))]));
}

#[tokio::test]
async fn a_whole_json_answer_is_read_like_a_stream() {
    let message = json!({"role": "assistant", "content": [{"type": "text", "text": "hi"}], "tool_calls": null});
    let answer = json!({
        "choices": [{"message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 4}},
    });
    let data = stream::iter([Ok(answer.to_string())]);
    let got: Vec<_> = decode::reply(data, Chat::default()).collect().await;
    let usage = Usage { input: 5, output: 1, cache_read: 4, cache_write: 0, total_tokens: 10 };
    assert_eq!(got, [text("hi"), Ok(ModelEvent::Usage(usage)), end(StopReason::Stop)]);
}

#[tokio::test]
async fn errors_inside_a_stream_keep_their_status() {
    let got = read("data: {\"error\":{\"message\":\"slow down\",\"code\":429}}\n\n").await;
    let error = ModelError::Status { status: 429, message: "slow down".into(), retry_after: None };
    assert_eq!(got, [Err(error)]);
    let got = read("data: {\"error\":\"broken\"}\n\n").await;
    assert_eq!(got, [Err(ModelError::Protocol("broken".into()))]);
}

/// A server that keeps the connection open after its answer does not hold the turn up.
#[tokio::test(start_paused = true)]
async fn nothing_is_waited_for_long_after_the_finish_reason() {
    let clock = os::OsClock;
    let start = openclaw_platform::Clock::mono(&clock);
    let body = format!("data: {}\n\n", json!({"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]}));
    let bytes = stream::iter([Ok::<_, Infallible>(Bytes::from(body))]).chain(stream::pending());
    let got: Vec<_> = decode::reply(sse::data(bytes), Chat::default()).collect().await;
    assert_eq!(got, [text("a"), end(StopReason::Stop)]);
    assert_eq!(start.elapsed().as_secs(), 5);
}

#[test]
fn the_request_has_history_images_tools_and_bounds() {
    let image = Content::Image { data: "QUJD".into(), mime_type: "image/png".into() };
    let call = Content::ToolCall { id: "c1".into(), name: "look".into(), arguments: json!({"at": 1}) };
    let messages = vec![
        Message::User { content: vec![Content::text("see"), image], timestamp: 0 },
        Message::Assistant {
            content: vec![Content::Thinking { thinking: "hm".into() }, call],
            api: String::new(),
            provider: String::new(),
            model: String::new(),
            usage: Usage::default(),
            stop_reason: StopReason::ToolUse,
            error_message: None,
            timestamp: 0,
        },
        Message::ToolResult {
            tool_call_id: "c1".into(),
            tool_name: "look".into(),
            content: vec![Content::text("42")],
            is_error: false,
            timestamp: 0,
        },
    ];
    let parameters = json!({"type": "object"});
    let tools = vec![ToolSpec { name: "look".into(), description: "Looks.".into(), parameters: parameters.clone() }];
    let (max_tokens, thinking) = (Some(100), Some("xhigh".to_owned()));
    let request = ModelRequest { model: "m".into(), system: String::new(), messages, tools, max_tokens, thinking };
    let expected = json!({
        "model": "m",
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "see"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
            ]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{\"at\":1}"}},
            ]},
            {"role": "tool", "tool_call_id": "c1", "content": "42"},
        ],
        "stream": true,
        "stream_options": {"include_usage": true},
        "tools": [{"type": "function", "function":
            {"name": "look", "description": "Looks.", "parameters": parameters}}],
        "max_tokens": 100,
        "reasoning_effort": "high",
    });
    let written = |official| serde_json::to_value(Body::of(&request, official)).unwrap();
    assert_eq!(written(false), expected);
    assert_eq!(written(true)["max_completion_tokens"], 100);
    assert!(written(true).get("max_tokens").is_none());
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

proptest! {
    /// S21: whatever a server sends, reading it ends without a panic, and nothing follows an error or the end.
    #[test]
    fn s21_arbitrary_bytes_never_panic(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..8)) {
        let chunks: Vec<_> = chunks.into_iter().map(|c| Ok::<_, Infallible>(Bytes::from(c))).collect();
        let got: Vec<_> = run(decode::reply(sse::data(stream::iter(chunks)), Chat::default()).collect());
        check_shape(&got)?;
    }

    /// The same for events that are JSON of nearly the right shape.
    #[test]
    fn s21_nearly_right_json_never_panics(pieces in prop::collection::vec(nearly_right(), 0..12)) {
        let data: Vec<_> = pieces.into_iter().map(|p| Ok(p.to_string())).collect();
        let got: Vec<_> = run(decode::reply(stream::iter(data), Chat::default()).collect());
        check_shape(&got)?;
    }
}

fn check_shape(got: &[Result<ModelEvent, ModelError>]) -> Result<(), TestCaseError> {
    let last = got.len().saturating_sub(1);
    for (i, event) in got.iter().enumerate() {
        prop_assert_eq!(matches!(event, Err(_) | Ok(ModelEvent::End(_))), i == last, "{:?}", got);
    }
    Ok(())
}

fn nearly_right() -> impl Strategy<Value = Value> {
    let odd = prop_oneof![
        Just(Value::Null),
        Just(json!(u64::MAX)),
        Just(json!(-1.5)),
        Just(json!([])),
        Just(json!({})),
        "[a-z]{0,3}".prop_map(Value::from),
    ];
    let key = prop::sample::select(vec![
        "choices",
        "delta",
        "message",
        "content",
        "text",
        "tool_calls",
        "index",
        "id",
        "function",
        "name",
        "arguments",
        "finish_reason",
        "usage",
        "prompt_tokens",
        "completion_tokens",
        "error",
        "code",
        "refusal",
    ]);
    odd.prop_recursive(6, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..5)
                .prop_map(|pairs| pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}
