use std::convert::Infallible;

use bytes::Bytes;
use fakes::model::{FakeModel, Step};
use futures_util::{StreamExt as _, stream};
use openclaw_config::Secret;
use openclaw_platform::{http::HttpClient, os};
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::{super::*, *};
use crate::provider::{ToolSpec, decode, sse};

async fn read(events: &[Value]) -> Vec<Result<ModelEvent, ModelError>> {
    let data: Vec<_> = events.iter().map(|event| Ok(event.to_string())).collect();
    decode::reply(stream::iter(data), Messages::default()).collect().await
}

fn assistant(content: Vec<Content>) -> Message {
    Message::Assistant {
        content,
        api: String::new(),
        provider: String::new(),
        model: String::new(),
        usage: Usage::default(),
        stop_reason: StopReason::Stop,
        error_message: None,
        timestamp: 0,
    }
}

fn result(id: &str, is_error: bool) -> Message {
    let content = vec![Content::text("42")];
    Message::ToolResult { tool_call_id: id.into(), tool_name: "look".into(), content, is_error, timestamp: 0 }
}

fn call(id: &str) -> Content {
    Content::ToolCall { id: id.into(), name: "look".into(), arguments: json!({"at": 1}) }
}

#[tokio::test]
async fn streams_from_the_fake_with_thinking_tools_and_usage() {
    let dir = tempfile::tempdir().unwrap();
    let platform = os::platform(dir.path()).unwrap();
    let fake = FakeModel::new();
    let addr = fake.serve(&platform, ([127, 0, 0, 1], 0).into(), CancellationToken::new()).await.unwrap();
    fake.script(vec![
        Step::Say { text: "hi there".into(), thinking: Some("hm".into()), chunk: Some(4) },
        Step::tool("look", r#"{"at":"it"}"#),
        Step::cut(1),
        Step::error(529),
    ]);
    let http = HttpClient::new(&platform);
    let endpoint =
        Endpoint::new(http, &format!("http://{addr}"), Some(Secret::new("k")), &std::collections::BTreeMap::new());
    let provider = Anthropic::new("claude", endpoint.unwrap());
    let ask = || {
        let messages = vec![Message::user("x", 0)];
        provider.stream(ModelRequest { model: "m".into(), messages, ..ModelRequest::default() }).collect::<Vec<_>>()
    };
    let said = ask().await;
    let usage =
        |output, total_tokens| Ok(ModelEvent::Usage(Usage { input: 11, output, total_tokens, ..Usage::default() }));
    let expected = [
        usage(1, 12),
        Ok(ModelEvent::Thinking("hm".into())),
        Ok(ModelEvent::Text("hi t".into())),
        Ok(ModelEvent::Text("here".into())),
        usage(2, 13),
        Ok(ModelEvent::End(StopReason::Stop)),
    ];
    assert_eq!(said, expected);
    let tool = ModelEvent::ToolCall { id: "toolu_1".into(), name: "look".into(), arguments: r#"{"at":"it"}"#.into() };
    let called = ask().await;
    assert_eq!((&called[1], called.last().unwrap()), (&Ok(tool), &Ok(ModelEvent::End(StopReason::ToolUse))));
    let cut = ask().await;
    assert!(matches!(&cut[..], [_, Ok(ModelEvent::Text(_)), Err(ModelError::Network(_))]), "{cut:?}");
    let busy = ask().await;
    let wait = Some(std::time::Duration::from_secs(1));
    assert!(
        matches!(&busy[..], [Err(ModelError::Status { status: 529, retry_after, .. })] if *retry_after == wait),
        "{busy:?}"
    );
    let headers = &fake.requests()[0].headers;
    assert_eq!((headers["x-api-key"].as_str(), headers["anthropic-version"].as_str()), ("k", "2023-06-01"));
}

#[test]
fn the_request_alternates_roles_and_pairs_tools() {
    let messages = vec![
        assistant(vec![Content::text("a greeting that nobody asked for")]),
        Message::user("look", 0),
        assistant(vec![Content::text("so"), call("c1"), call("c2"), call("lost")]),
        result("c1", false),
        result("c2", true),
        Message::user("and?", 0),
    ];
    let tools = vec![ToolSpec { name: "look".into(), description: "Looks.".into(), parameters: json!({}) }];
    let request =
        ModelRequest { model: "m".into(), system: "be".into(), messages, tools, max_tokens: None, thinking: None };
    let tool_use = |id: &str| json!({"type": "tool_use", "id": id, "name": "look", "input": {"at": 1}});
    let tool_result = |id: &str, is_error: bool| json!({"type": "tool_result", "tool_use_id": id, "content": "42", "is_error": is_error});
    let cache = json!({"type": "ephemeral"});
    let expected = json!({
        "model": "m",
        "max_tokens": 8192,
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "look"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "so"}, tool_use("c1"), tool_use("c2")]},
            {"role": "user", "content": [
                tool_result("c1", false),
                tool_result("c2", true),
                {"type": "text", "text": "and?", "cache_control": cache},
            ]},
        ],
        "stream": true,
        "system": [{"type": "text", "text": "be", "cache_control": cache}],
        "tools": [{"name": "look", "description": "Looks.", "input_schema": {}}],
    });
    assert_eq!(body(&request), expected);
}

#[test]
fn thinking_has_a_budget_within_the_token_bound() {
    let ask = |thinking: &str, max_tokens, messages| {
        let thinking = Some(thinking.to_owned());
        let body = body(&ModelRequest { messages, max_tokens, thinking, ..ModelRequest::default() });
        (body["thinking"]["budget_tokens"].as_u64(), body["max_tokens"].as_u64().unwrap())
    };
    let plain = || vec![Message::user("x", 0)];
    assert_eq!(ask("off", None, plain()), (None, 8192));
    assert_eq!(ask("minimal", None, plain()), (Some(1024), 8192 + 1024));
    assert_eq!(ask("xhigh", None, plain()), (Some(32_768), 8192 + 32_768));
    assert_eq!(ask("high", Some(4096), plain()), (Some(3072), 4096));
    assert_eq!(ask("high", Some(2000), plain()), (None, 2000));
    let in_a_tool_loop = vec![Message::user("x", 0), assistant(vec![call("c")]), result("c", false)];
    assert_eq!(ask("high", None, in_a_tool_loop), (None, 8192));
}

#[tokio::test]
async fn cached_tokens_are_counted_apart() {
    let got = read(&[
        json!({"type": "message_start", "message": {"usage":
            {"input_tokens": 3, "output_tokens": 1, "cache_read_input_tokens": 50, "cache_creation_input_tokens": 7}}}),
        json!({"type": "ping"}),
        json!({"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": {"output_tokens": 9}}),
        json!({"type": "message_stop"}),
    ])
    .await;
    let usage = Usage { input: 3, output: 9, cache_read: 50, cache_write: 7, total_tokens: 69 };
    assert_eq!(got[1..], [Ok(ModelEvent::Usage(usage)), Ok(ModelEvent::End(StopReason::Length))]);
}

#[tokio::test]
async fn a_message_that_is_not_streamed_is_read_too() {
    let content = json!([
        {"type": "text", "text": "hi"},
        {"type": "tool_use", "id": "c", "name": "look", "input": {"at": 1}},
    ]);
    let got = read(&[json!({"type": "message", "content": content, "stop_reason": "tool_use"})]).await;
    let call = ModelEvent::ToolCall { id: "c".into(), name: "look".into(), arguments: r#"{"at":1}"#.into() };
    assert_eq!(got[0], Ok(ModelEvent::Text("hi".into())));
    assert_eq!(got[2..], [Ok(call), Ok(ModelEvent::End(StopReason::ToolUse))]);
}

#[tokio::test]
async fn errors_and_cuts_inside_a_stream() {
    let overloaded = json!({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}});
    let error = ModelError::Status { status: 529, message: "busy".into(), retry_after: None };
    assert_eq!(read(&[overloaded]).await, [Err(error)]);
    let started = json!({"type": "content_block_start", "content_block": {"type": "text", "text": "a"}});
    let cut = [Ok(ModelEvent::Text("a".into())), Err(ModelError::Network("cut".into()))];
    assert_eq!(read(&[started]).await, cut);
    assert_eq!(read(&[json!({"type": "message_stop"})]).await, [Ok(ModelEvent::End(StopReason::Stop))]);
}

proptest! {
    /// S21: whatever a server sends, reading it ends without a panic.
    #[test]
    fn s21_arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..600)) {
        let bytes = stream::iter([Ok::<_, Infallible>(Bytes::from(body))]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let got: Vec<_> = runtime.block_on(decode::reply(sse::data(bytes), Messages::default()).collect());
        prop_assert!(matches!(got.last(), Some(Err(_) | Ok(ModelEvent::End(_)))));
    }
}
