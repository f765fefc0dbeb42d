use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use fakes::model::{FakeModel, Step};
use futures_util::{StreamExt as _, stream};
use openclaw_platform::{BoxFuture, Mono, http::HttpClient, os};
use openclaw_protocol::message::StopReason;
use serde_json::{Value, json};

use super::*;
use crate::{
    provider::{Echo, Endpoint, ModelEvent, ModelRequest, ModelStream, OpenAi, ToolSpec},
    tool::{Exec, ToolOutput},
};

/// What a scripted model does next within one reply.
#[derive(Clone)]
enum Act {
    Say(&'static str),
    Call(&'static str, &'static str, &'static str),
    Used(u64),
    Wait(u64),
    Fail(ModelError),
    End,
    Hang,
}
use Act::{Call, End, Fail, Hang, Say, Used, Wait};

/// A model that plays one reply per request; the last one again and again.
struct Scripted {
    id: &'static str,
    replies: Mutex<VecDeque<Vec<Act>>>,
    /// Milliseconds since the start and what was asked.
    asked: Mutex<Vec<(u128, ModelRequest)>>,
    start: Mono,
}

impl Scripted {
    fn new(id: &'static str, replies: Vec<Vec<Act>>) -> Arc<Self> {
        let start = openclaw_platform::Clock::mono(&os::OsClock);
        Arc::new(Self { id, replies: Mutex::new(replies.into()), asked: Mutex::default(), start })
    }
    fn choice(self: &Arc<Self>) -> ModelChoice {
        ModelChoice { provider: self.clone(), model: format!("{}-model", self.id), max_tokens: None }
    }
    fn times(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
    /// Milliseconds between the requests.
    fn gaps(&self) -> Vec<u128> {
        let asked = self.asked.lock().unwrap();
        asked.windows(2).map(|pair| pair[1].0 - pair[0].0).collect()
    }
}

impl Provider for Scripted {
    fn id(&self) -> &str {
        self.id
    }
    fn api(&self) -> &'static str {
        "scripted"
    }
    fn stream(&self, request: ModelRequest) -> ModelStream {
        self.asked.lock().unwrap().push((self.start.elapsed().as_millis(), request));
        let mut replies = self.replies.lock().unwrap();
        let acts = if replies.len() > 1 { replies.pop_front() } else { replies.front().cloned() };
        let events = stream::iter(acts.unwrap_or_default()).filter_map(async |act| match act {
            Say(text) => Some(Ok(ModelEvent::Text(text.into()))),
            Call(id, name, arguments) => {
                Some(Ok(ModelEvent::ToolCall { id: id.into(), name: name.into(), arguments: arguments.into() }))
            }
            Used(output) => Some(Ok(ModelEvent::Usage(Usage { output, total_tokens: output, ..Usage::default() }))),
            Wait(ms) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                None
            }
            Fail(e) => Some(Err(e)),
            End => Some(Ok(ModelEvent::End(StopReason::Stop))),
            Hang => std::future::pending().await,
        });
        events.boxed()
    }
}

/// Answers `got ARGUMENTS`; `{"slow":true}` never ends, `{"big":N}` gives N characters.
struct Probe;

impl Tool for Probe {
    fn spec(&self) -> ToolSpec {
        ToolSpec { name: "probe".into(), description: String::new(), parameters: json!({}) }
    }
    fn call(&self, arguments: Value) -> BoxFuture<'_, ToolOutput> {
        Box::pin(async move {
            if arguments["slow"] == true {
                std::future::pending::<()>().await;
            }
            match arguments["big"].as_u64() {
                Some(n) => ToolOutput::ok("é".repeat(usize::try_from(n).unwrap())),
                None => ToolOutput::ok(format!("got {arguments}")),
            }
        })
    }
}

fn failed(status: u16, retry_after: Option<u64>) -> Act {
    let retry_after = retry_after.map(Duration::from_secs);
    Fail(ModelError::Status { status, message: "no".into(), retry_after })
}

fn turn(models: Vec<ModelChoice>) -> Turn {
    Turn {
        models,
        system: "be".into(),
        history: vec![Message::user("earlier", 0)],
        input: vec![Content::text("hello")],
        tools: vec![Arc::new(Probe)],
        thinking: None,
        deadline: Duration::from_mins(10),
        cancel: CancellationToken::new(),
        steer: None,
        admit: None,
    }
}

fn platform() -> Platform {
    let dir = tempfile::tempdir().unwrap();
    os::platform(dir.path()).unwrap()
}

async fn run(turn: Turn) -> (TurnReport, Vec<TurnEvent>) {
    let mut events = Vec::new();
    let report = turn.run(&platform(), &mut |event| events.push(event)).await;
    (report, events)
}

fn text_event(text: &str, delta: &str) -> TurnEvent {
    TurnEvent::Text { at: text.strip_suffix(delta).unwrap().len(), delta: delta.into() }
}

/// Role, text and stop reason of each message.
fn sketch(report: &TurnReport) -> Vec<String> {
    let describe = |message: &Message| match message {
        Message::User { .. } => format!("user {}", message.text()),
        Message::Assistant { stop_reason, .. } => format!("{stop_reason:?} {}", message.text()),
        Message::ToolResult { tool_call_id, is_error, .. } => {
            format!("result {tool_call_id} {}{}", message.text(), if *is_error { " (error)" } else { "" })
        }
    };
    report.messages.iter().map(describe).collect()
}

/// That each wait is the planned one, give or take the jitter.
fn assert_near(gaps: &[u128], planned: &[u128]) {
    assert_eq!(gaps.len(), planned.len(), "{gaps:?}");
    for (gap, plan) in gaps.iter().zip(planned) {
        assert!((plan * 8 / 10..=plan * 12 / 10 + 2).contains(gap), "{gaps:?} against {planned:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_is_streamed_and_reported() {
    let model = Scripted::new("m", vec![vec![Say("a "), Wait(5), Say(" "), Wait(5), Say("b \n"), Used(7), End]]);
    let (report, events) = run(turn(vec![model.choice()])).await;
    assert_eq!(events, [text_event("a", "a"), text_event("a  b", "  b")]);
    assert_eq!((report.end.clone(), report.text.as_str()), (TurnEnd::Done, "a  b"));
    assert_eq!(sketch(&report), ["user hello", "Stop a  b \n"]); // the transcript keeps trailing blanks
    assert_eq!((report.provider.as_str(), report.model.as_str(), report.usage.output), ("m", "m-model", 7));
    let asked = model.asked.lock().unwrap();
    let texts: Vec<_> = asked[0].1.messages.iter().map(Message::text).collect();
    assert_eq!((asked[0].1.system.as_str(), texts), ("be", vec!["earlier".to_owned(), "hello".to_owned()]));
}

#[tokio::test]
async fn d35_the_built_in_model_answers_without_a_network() {
    let echo = ModelChoice { provider: Arc::new(Echo), model: "echo".into(), max_tokens: None };
    let (report, events) = run(turn(vec![echo])).await;
    assert_eq!((report.text.as_str(), events), ("hello", vec![text_event("hello", "hello")]));
}

#[tokio::test(start_paused = true)]
async fn passing_failures_are_tried_twelve_times_with_growing_waits() {
    let model = Scripted::new("m", vec![vec![failed(500, None)]]);
    let (report, events) = run(turn(vec![model.choice()])).await;
    assert_eq!(model.times(), 12);
    assert_near(&model.gaps(), &[250, 500, 2000, 250, 500, 4000, 250, 500, 8000, 250, 500]);
    assert_eq!(events, []);
    let error = ModelError::Status { status: 500, message: "no".into(), retry_after: None };
    assert_eq!(report.end, TurnEnd::Failed(error));
    assert_eq!(sketch(&report), ["user hello", "Error "]);
    let Message::Assistant { error_message, .. } = &report.messages[1] else { panic!() };
    assert_eq!(error_message.as_deref(), Some("HTTP 500: no"));
}

#[tokio::test(start_paused = true)]
async fn lasting_failures_are_not_retried() {
    for status in [400, 401, 403, 404] {
        let model = Scripted::new("m", vec![vec![failed(status, None)]]);
        let (report, _) = run(turn(vec![model.choice()])).await;
        assert!(matches!(report.end, TurnEnd::Failed(ModelError::Status { .. })));
        assert_eq!(model.times(), 1, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured_up_to_a_minute() {
    for (asked, least, most) in [(5, 5000, 5002), (0, 200, 302), (3600, 60_000, 60_002)] {
        for status in [429, 503, 529] {
            let model = Scripted::new("m", vec![vec![failed(status, Some(asked))], vec![Say("ok"), End]]);
            let (report, _) = run(turn(vec![model.choice()])).await;
            assert_eq!(report.text, "ok");
            assert!((least..=most).contains(&model.gaps()[0]), "{asked} {:?}", model.gaps());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_model_is_asked_when_one_fails_for_good() {
    let bad = Scripted::new("bad", vec![vec![failed(401, None)]]);
    let down = Scripted::new("down", vec![vec![Fail(ModelError::Network("refused".into()))]]);
    let call = vec![Call("c1", "probe", "{}"), End];
    let good = Scripted::new("good", vec![call, vec![Say("from good"), End]]);
    let (report, _) = run(turn(vec![bad.choice(), down.choice(), good.choice()])).await;
    assert_eq!((report.end, report.text.as_str()), (TurnEnd::Done, "from good"));
    assert_eq!((report.provider.as_str(), report.model.as_str()), ("good", "good-model"));
    // The fallback stays for the rest of the turn.
    assert_eq!((bad.times(), down.times(), good.times()), (1, 12, 2));
}

#[tokio::test(start_paused = true)]
async fn a_cut_reply_is_made_again_and_its_text_is_void() {
    let cut = vec![Say("half"), Used(2), Fail(ModelError::Network("cut".into()))];
    let silent = vec![Fail(ModelError::Network("cut".into()))];
    let endless = vec![Say("no end")]; // a stream that just ends is a cut as well
    let model = Scripted::new("m", vec![cut, silent, endless, vec![Say("whole"), Used(5), End]]);
    let (report, events) = run(turn(vec![model.choice()])).await;
    let expected = [
        text_event("half", "half"),
        TurnEvent::Restarted,
        text_event("no end", "no end"),
        TurnEvent::Restarted,
        text_event("whole", "whole"),
    ];
    assert_eq!(events, expected);
    assert_eq!(sketch(&report), ["user hello", "Stop whole"]);
    assert_eq!(report.usage.output, 7); // what the failed tries used counts too
}

#[tokio::test(start_paused = true)]
async fn tools_are_called_and_their_results_given_back() {
    let calls = vec![
        Say("let me see "),
        Call("c1", "probe", r#"{"a":1}"#),
        Call("c2", "unknown", "{}"),
        Call("c3", "probe", "{oops"),
        Used(1),
        End,
    ];
    let model = Scripted::new("m", vec![calls, vec![Say("done"), Used(2), End]]);
    let (report, events) = run(turn(vec![model.choice()])).await;
    assert_eq!(report.end, TurnEnd::Done);
    let lines = sketch(&report);
    assert_eq!(lines[..3], ["user hello", "ToolUse let me see ", r#"result c1 got {"a":1}"#]);
    assert!(
        lines[3].starts_with("result c2 there is no tool \"unknown\"") && lines[3].ends_with("(error)"),
        "{lines:?}"
    );
    assert!(lines[4].starts_with("result c3 the arguments are not usable") && lines[4].contains("{oops"), "{lines:?}");
    assert_eq!(lines[5], "Stop done");
    assert_eq!((report.text.as_str(), report.usage.output), ("done", 3));
    // The second request has the calls and the results.
    assert_eq!(model.asked.lock().unwrap()[1].1.messages.len(), 6);
    // Text begins anew in the reply after the tools.
    assert_eq!(events.first(), Some(&text_event("let me see", "let me see")));
    assert_eq!(events.last(), Some(&text_event("done", "done")));
    let start = TurnEvent::ToolStart { id: "c1".into(), name: "probe".into(), args: json!({"a": 1}) };
    let result = r#"got {"a":1}"#.into();
    let end = TurnEvent::ToolEnd { id: "c1".into(), name: "probe".into(), result, is_error: false };
    assert_eq!(events[1..3], [start, end]);
    assert_eq!(events.len(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_failure_after_tools_keeps_what_was_done() {
    let model = Scripted::new("m", vec![vec![Call("c1", "probe", "{}"), End], vec![failed(400, None)]]);
    let (report, events) = run(turn(vec![model.choice()])).await;
    assert_eq!(sketch(&report), ["user hello", "ToolUse ", "result c1 got {}", "Error "]);
    assert!(!events.contains(&TurnEvent::Restarted));
}

#[tokio::test(start_paused = true)]
async fn tool_output_and_tool_loops_are_bounded() {
    let model = Scripted::new("m", vec![vec![Call("c1", "probe", r#"{"big":30005}"#), End], vec![Say("ok"), End]]);
    let (report, _) = run(turn(vec![model.choice()])).await;
    let text = report.messages[2].text();
    assert!(text.ends_with("é\n[5 more characters left out]"), "{}", &text[text.len() - 50..]);
    assert_eq!(text.chars().filter(|c| *c == 'é').count(), 30_000);

    let model = Scripted::new("m", vec![vec![Call("c1", "probe", "{}"), End]]);
    let (report, _) = run(turn(vec![model.choice()])).await;
    assert!(matches!(report.end, TurnEnd::Failed(_)));
    assert_eq!((model.times(), report.messages.len()), (32, 1 + 32 * 2 + 1));
}

#[tokio::test(start_paused = true)]
async fn d28_cancelled_while_it_streams_keeps_the_partial_text() {
    let model = Scripted::new("m", vec![vec![Say("half a "), Call("c1", "probe", "{}"), Used(3), Hang]]);
    let turn = turn(vec![model.choice()]);
    let cancel = turn.cancel.clone();
    let ((report, events), ()) = tokio::join!(run(turn), async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        cancel.cancel();
    });
    assert_eq!((report.end.clone(), report.text.as_str()), (TurnEnd::Aborted, "half a"));
    assert_eq!(sketch(&report), ["user hello", "Aborted half a "]);
    let Message::Assistant { content, .. } = &report.messages[1] else { panic!() };
    assert_eq!(content.len(), 1, "a call that nobody made is not kept");
    assert_eq!((events.len(), report.usage.output), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn d28_cancelled_in_a_wait_keeps_the_text_that_was_shown() {
    let model = Scripted::new("m", vec![vec![Say("half"), failed(503, Some(50))]]);
    let turn = turn(vec![model.choice()]);
    let cancel = turn.cancel.clone();
    let ((report, events), ()) = tokio::join!(run(turn), async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        cancel.cancel();
    });
    assert_eq!((report.end.clone(), model.times()), (TurnEnd::Aborted, 1));
    assert_eq!(sketch(&report), ["user hello", "Aborted half"]);
    assert!(!events.contains(&TurnEvent::Restarted));
}

#[tokio::test(start_paused = true)]
async fn d28_cancelled_in_a_tool_every_call_has_a_result() {
    let calls = vec![Call("c1", "probe", r#"{"slow":true}"#), Call("c2", "probe", "{}"), End];
    let model = Scripted::new("m", vec![calls]);
    let turn = turn(vec![model.choice()]);
    let cancel = turn.cancel.clone();
    let ((report, events), ()) = tokio::join!(run(turn), async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        cancel.cancel();
    });
    assert_eq!(report.end, TurnEnd::Aborted);
    let lines = sketch(&report);
    assert_eq!(lines[..2], ["user hello", "ToolUse "]);
    assert_eq!(lines[2], "result c1 interrupted before it ended (error)");
    assert_eq!(lines[3], "result c2 not run: the turn was ended (error)");
    assert_eq!(lines.len(), 4);
    assert!(matches!(events.last(), Some(TurnEvent::ToolEnd { is_error: true, .. })));
}

#[tokio::test(start_paused = true)]
async fn cancelled_before_it_began_asks_nobody() {
    let model = Scripted::new("m", vec![vec![Say("x"), End]]);
    let turn = turn(vec![model.choice()]);
    turn.cancel.cancel();
    let (report, events) = run(turn).await;
    assert_eq!(
        (report.end.clone(), sketch(&report), events),
        (TurnEnd::Aborted, vec!["user hello".to_owned()], vec![])
    );
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_streams_waits_and_tools() {
    let stream = vec![Say("half"), Hang];
    let tool = vec![Call("c1", "probe", r#"{"slow":true}"#), End];
    let wait = vec![failed(429, Some(60))];
    for (acts, messages) in [(stream, 2), (tool, 3), (wait, 1)] {
        let model = Scripted::new("m", vec![acts]);
        let mut turn = turn(vec![model.choice()]);
        turn.deadline = Duration::from_secs(30);
        let (report, _) = run(turn).await;
        assert_eq!(report.end, TurnEnd::TimedOut);
        assert_eq!((model.start.elapsed().as_secs(), report.messages.len()), (30, messages));
    }
}

#[tokio::test]
async fn no_model_is_a_failure_not_a_panic() {
    let (report, _) = run(turn(vec![])).await;
    assert!(matches!(report.end, TurnEnd::Failed(ModelError::Config(_))));
    assert_eq!(report.messages.len(), 2);
}

/// The whole way: turn, provider, HTTP, fake server, program.
#[tokio::test]
async fn over_http_with_a_tool_an_error_and_a_cut() {
    let dir = tempfile::tempdir().unwrap();
    let platform = os::platform(dir.path()).unwrap();
    let fake = FakeModel::new();
    let addr = fake.serve(&platform, ([127, 0, 0, 1], 0).into(), CancellationToken::new()).await.unwrap();
    fake.script(vec![Step::error(503), Step::cut(1), Step::tool("exec", r#"{"command":"echo hi"}"#)]);
    let http = HttpClient::new(&platform);
    let endpoint = Endpoint::new(http, &format!("http://{addr}/v1"), None, &std::collections::BTreeMap::new()).unwrap();
    let provider = Arc::new(OpenAi::new("mock", endpoint));
    let mut turn = turn(vec![ModelChoice { provider, model: "mock-1".into(), max_tokens: None }]);
    turn.tools = vec![Arc::new(Exec::new(platform.processes.clone(), dir.path().to_owned(), Arc::new(Open)))];
    let (report, events) = run(turn).await;
    assert_eq!((report.end, report.text.as_str()), (TurnEnd::Done, "tool said: hi"));
    assert_eq!(fake.count(), 4);
    assert!(events.contains(&TurnEvent::Restarted));
    assert!(report.usage.total_tokens > 0);
}

/// Lets every command pass.
struct Open;

impl crate::tool::ExecGate for Open {
    fn pass<'a>(
        &'a self,
        _: crate::exec::ExecRequest,
        _: &'a crate::exec::Target,
    ) -> openclaw_platform::BoxFuture<'a, Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
