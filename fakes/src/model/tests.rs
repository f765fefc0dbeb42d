use http_body_util::{BodyExt as _, Full};
use openclaw_platform::http::{HttpClient, HttpError};

use super::*;

struct Room {
    fake: FakeModel,
    base: String,
    client: HttpClient,
    _dir: tempfile::TempDir,
}

async fn room() -> Room {
    let dir = tempfile::tempdir().unwrap();
    let platform = openclaw_platform::os::platform(dir.path()).unwrap();
    let fake = FakeModel::new();
    let addr = fake.serve(&platform, ([127, 0, 0, 1], 0).into(), CancellationToken::new()).await.unwrap();
    Room { fake, base: format!("http://{addr}"), client: HttpClient::new(&platform), _dir: dir }
}

impl Room {
    async fn post(&self, path: &str, body: Value) -> Result<(u16, Option<String>, String), HttpError> {
        let request = Request::post(format!("{}{path}", self.base)).body(Full::from(body.to_string())).unwrap();
        let answer = self.client.fetch(request, Duration::from_hours(1), 8 << 20).await?;
        let wait = answer.headers().get(RETRY_AFTER).map(|v| v.to_str().unwrap().to_owned());
        Ok((answer.status().as_u16(), wait, String::from_utf8(answer.body().to_vec()).unwrap()))
    }
    async fn get(&self, path: &str) -> Value {
        let request = Request::get(format!("{}{path}", self.base)).body(Full::default()).unwrap();
        let answer = self.client.fetch(request, Duration::from_secs(5), 8 << 20).await.unwrap();
        serde_json::from_slice(answer.body()).unwrap()
    }
}

fn chat(text: &str, stream: bool) -> Value {
    json!({
        "model": "m", "stream": stream, "stream_options": {"include_usage": true},
        "messages": [{"role": "user", "content": text}],
    })
}

/// The texts of a chat completion stream.
fn said(body: &str) -> String {
    let data = body.lines().filter_map(|l| l.strip_prefix("data: ")).filter(|d| *d != "[DONE]");
    let values = data.map(|d| serde_json::from_str::<Value>(d).unwrap());
    values.filter_map(|v| v["choices"][0]["delta"]["content"].as_str().map(str::to_owned)).collect()
}

const CHAT: &str = "/v1/chat/completions";

/// The model without discretion: whoever asks is told what others have said, but no ids of their messages.
#[tokio::test]
async fn recall_repeats_what_people_and_tools_have_said() {
    let room = room().await;
    let messages = json!([
        {"role": "user", "content": "[from A] the code is 4711\n[message_id: 5]"},
        {"role": "assistant", "content": "a secret of mine"},
        {"role": "tool", "tool_call_id": "1", "content": "tool output"},
        {"role": "user", "content": "[[recall]]"},
    ]);
    let (_, _, body) = room.post(CHAT, json!({"model": "m", "stream": true, "messages": messages})).await.unwrap();
    assert_eq!(said(&body), "echo: [[recall]]\nI was told: [from A] the code is 4711\ntool output\n[[recall]]");
}

#[tokio::test]
async fn echoes_streams_and_logs() {
    let room = room().await;
    let (status, _, body) = room.post(CHAT, chat("hello", true)).await.unwrap();
    assert_eq!((status, said(&body).as_str()), (200, "echo: hello"));
    assert!(body.contains("\"prompt_tokens\":11") && body.ends_with("data: [DONE]\n\n"), "{body}");
    let (_, _, whole) = room.post(CHAT, chat("[[say:x y ]]", false)).await.unwrap();
    let whole: Value = serde_json::from_str(&whole).unwrap();
    assert_eq!(whole["choices"][0]["message"]["content"], "x y ");
    assert_eq!(room.get("/_count").await, json!({"count": 2}));
    assert_eq!(room.get("/_log?since=1").await[0]["body"]["messages"][0]["content"], "[[say:x y ]]");
    assert_eq!(room.fake.requests().len(), 2);
    room.post("/_reset", Value::Null).await.unwrap();
    assert_eq!(room.fake.count(), 0);
    assert_eq!(room.get("/v1/models").await["data"][0]["id"], "mock-1");
}

#[tokio::test]
async fn errors_come_with_retry_after_and_counted_ones_recover() {
    let room = room().await;
    let (status, wait, body) = room.post(CHAT, chat("[[error:429]]", true)).await.unwrap();
    assert_eq!((status, wait.as_deref()), (429, Some("1")));
    assert!(body.contains("mock error 429"), "{body}");
    let (status, wait, body) = room.post("/v1/messages", chat("[[error:529]]", true)).await.unwrap();
    assert_eq!((status, wait.as_deref()), (529, Some("1")));
    assert!(body.contains("overloaded_error"), "{body}");
    assert_eq!(room.post(CHAT, chat("[[errorN:500:1]]", true)).await.unwrap().0, 500);
    assert_eq!(said(&room.post(CHAT, chat("[[errorN:500:1]]", true)).await.unwrap().2), "recovered");
}

#[tokio::test]
async fn the_control_endpoint_scripts_and_sets_the_mode() {
    let room = room().await;
    let script =
        json!({"mode": "say:always", "script": [{"kind": "say", "text": "once"}, {"kind": "error", "code": 503}]});
    assert_eq!(room.post("/_control", script).await.unwrap().0, 200);
    assert_eq!(said(&room.post(CHAT, chat("x", true)).await.unwrap().2), "once");
    assert_eq!(room.post(CHAT, chat("x", true)).await.unwrap().0, 503);
    assert_eq!(said(&room.post(CHAT, chat("x", true)).await.unwrap().2), "always");
    assert_eq!(room.post("/_control", json!({"nonsense": 1})).await.unwrap().0, 400);
}

#[tokio::test]
async fn cuts_hang_ups_and_malformed_pieces() {
    let room = room().await;
    assert!(matches!(room.post(CHAT, chat("[[cut:2]]", true)).await, Err(HttpError::Lost(_))));
    assert!(matches!(room.post(CHAT, chat("[[hangup]]", true)).await, Err(HttpError::Lost(_))));
    let (status, _, body) = room.post(CHAT, chat("[[malformed]]", true)).await.unwrap();
    assert_eq!(status, 200);
    assert!(serde_json::from_str::<Value>(body.trim().strip_prefix("data: ").unwrap()).is_err());
}

/// What was sent before a cut arrives.
#[tokio::test]
async fn the_words_before_a_cut_arrive() {
    for (path, field) in [(CHAT, "\"content\":\"w2 \""), ("/v1/messages", "\"text\":\"w2 \"")] {
        let room = room().await;
        let request = Request::post(format!("{}{path}", room.base));
        let request = request.body(Full::from(chat("[[cut:2]]", true).to_string())).unwrap();
        let mut body = room.client.send(request, Duration::from_secs(5)).await.unwrap().into_body();
        let mut got = String::new();
        let end = loop {
            match body.frame().await {
                Some(Ok(frame)) => got.push_str(&String::from_utf8_lossy(&frame.into_data().unwrap())),
                end => break end,
            }
        };
        assert!(matches!(end, Some(Err(_))), "{end:?}");
        assert!(
            got.contains(field) && !got.contains("w3") && !got.contains("_stop\"") && !got.contains("DONE"),
            "{got}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn waits_follow_the_virtual_clock() {
    let room = room().await;
    let start = room_now();
    room.post(CHAT, chat("[[slow:4:60000]]", false)).await.unwrap();
    assert_eq!((room_now() - start).as_secs(), 240);
    let hanging = tokio::time::timeout(Duration::from_mins(50), room.post(CHAT, chat("[[hangafter:1]]", true))).await;
    assert!(hanging.is_err());
}

fn room_now() -> openclaw_platform::Mono {
    openclaw_platform::os::OsClock.mono()
}

#[tokio::test]
async fn anthropic_thinks_calls_tools_and_hears_results() {
    let room = room().await;
    room.fake.script(vec![Step::Say { text: "hi".into(), thinking: Some("hm".into()), chunk: None }]);
    let (_, _, body) = room.post("/v1/messages", chat("x", true)).await.unwrap();
    let kinds: Vec<&str> = body.lines().filter_map(|l| l.strip_prefix("event: ")).collect();
    assert_eq!(kinds.first(), Some(&"message_start"));
    assert_eq!(kinds.last(), Some(&"message_stop"));
    assert!(body.contains("\"thinking\":\"hm\"") && body.contains("\"text\":\"hi\""), "{body}");

    let (_, _, body) = room.post("/v1/messages", chat("[[tool:look:{\"a\":[1]}]]", false)).await.unwrap();
    let call: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(call["content"][0]["input"], json!({"a": [1]}));
    let result = json!([{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "42"}]}]);
    let follow_up = json!({"stream": true, "messages": [
        {"role": "user", "content": "[[tool:look:{}]]"},
        {"role": "assistant", "content": []},
        {"role": "user", "content": result},
    ]});
    let (_, _, body) = room.post("/v1/messages", follow_up).await.unwrap();
    assert!(body.contains("tool said: 42"), "{body}");
}

#[tokio::test]
async fn the_log_is_bounded() {
    let fake = FakeModel::new();
    let recorded = Recorded { index: 0, t: 0, path: String::new(), headers: BTreeMap::new(), body: Value::Null };
    for _ in 0..LOG_ENTRIES + 5 {
        fake.lock().record(10, recorded.clone());
    }
    assert_eq!((fake.requests().len(), fake.requests()[0].index), (LOG_ENTRIES, 5));
    fake.lock().record(LOG_BYTES, recorded);
    assert_eq!((fake.requests().len(), fake.count()), (1, LOG_ENTRIES as u64 + 6));
}
