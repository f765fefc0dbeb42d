//! S36, D42: the events of a growing text are few, and nothing of it is lost.

#![allow(clippy::unwrap_used)]

mod support;

use std::{sync::Arc, time::Duration};

use openclaw_agent::turn::TurnEvent;
use openclaw_config::Config;
use openclaw_platform::{Mono, os};
use openclaw_server::{
    gateway::Gateway,
    hub::Connection,
    limits::{TEXT_EVENT, TEXT_EVENT_SMALL},
    runs::{RunRequest, emitter::Emitter},
};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::{TOKEN, call, enter, frames, gateway, gateway_on, local};

const WALL: u64 = 1_800_000_000_000;

async fn watcher(gateway: &Arc<Gateway>) -> Arc<Connection> {
    enter(gateway, local(), None, "operator", &["operator.read", "operator.write"], TOKEN).await.unwrap().0
}

fn emitter(gateway: &Gateway) -> Emitter {
    let request = RunRequest::new(
        openclaw_server::rights::Principal::Gateway,
        "run".into(),
        "agent:main:main".into(),
        vec![],
        Duration::from_mins(10),
    );
    let mut emitter = Emitter::new(&request);
    emitter.start(&*gateway.hub, WALL);
    emitter
}

/// What a watcher saw of a run.
#[derive(Default)]
struct Seen {
    /// Bytes of all frames.
    bytes: usize,
    seq: u64,
    /// What the assistant events and the chat deltas, put together, say.
    agent: String,
    chat: String,
    /// When and with how many bytes of text the assistant events came.
    told: Vec<(Mono, usize)>,
    /// Their texts when the next reply began, a tool ran, or the run ended.
    last: Vec<String>,
    ends: Vec<String>,
}

impl Seen {
    /// Takes what came to the watcher until `now`, and holds it to what clients of version 3 rely on.
    fn take(&mut self, watcher: &Connection, now: Mono) {
        for frame in frames(&watcher.outbox) {
            self.bytes += frame.to_string().len();
            let (event, payload) = (frame["event"].as_str().unwrap_or_default(), &frame["payload"]);
            let (seq, stream) = (payload["seq"].as_u64(), payload["stream"].as_str().unwrap_or_default());
            match (event, stream, payload["state"].as_str().unwrap_or_default()) {
                ("agent", stream, _) => {
                    self.seq += 1;
                    assert_eq!(seq, Some(self.seq), "no gap within the run");
                    if stream == "assistant" {
                        let (text, delta) = (payload["data"]["text"].as_str(), payload["data"]["delta"].as_str());
                        let (text, delta) = (text.unwrap(), delta.unwrap());
                        if text == delta {
                            self.agent.clear();
                        }
                        self.agent.push_str(delta);
                        assert_eq!(self.agent, text, "the whole text is what was there and what is new");
                        self.told.push((now, text.len()));
                    } else {
                        self.last.push(std::mem::take(&mut self.agent));
                        self.agent.clone_from(self.last.last().unwrap());
                    }
                    if payload["data"]["phase"] == "end" {
                        self.ends.push("lifecycle".into());
                    }
                }
                ("chat", _, "delta") => {
                    assert_eq!(seq, Some(self.seq), "as the agent event that caused it");
                    if payload["replace"] == true {
                        self.chat.clear();
                    }
                    self.chat.push_str(payload["deltaText"].as_str().unwrap());
                    assert_eq!(payload["message"]["content"][0]["text"], self.chat);
                    assert_eq!(self.chat, self.agent, "chat mirrors agent");
                    assert!(self.ends.is_empty(), "no delta after the end");
                }
                ("chat", _, state) => self.ends.push(state.to_owned()),
                _ => {}
            }
        }
    }

    /// How often the rule was broken: how far apart, and above the small size how much more.
    fn breaches(&self) -> usize {
        let breach = |pair: &&[(Mono, usize)]| {
            let [(at, before), (then, now)] = pair else { return false };
            let grows = now > before;
            let too_soon = then.duration_since(*at) < TEXT_EVENT;
            too_soon || (grows && *now > TEXT_EVENT_SMALL && now * 10 < before * 11)
        };
        self.told.windows(2).filter(breach).count()
    }
}

/// The reply of the report: 97 KB in pieces of 5 bytes, as fast and as slow as models are.
#[tokio::test(start_paused = true)]
async fn s36_a_long_reply_costs_each_watcher_a_small_multiple_of_its_size() {
    const PIECES: usize = 97 * 1024 / 5;
    // Every piece at once: the first and the last event; as in the report: about ten seconds; slowly: five minutes.
    for (gap, bound) in [(Duration::ZERO, 6), (Duration::from_micros(550), 26), (Duration::from_millis(15), 42)] {
        let gateway = gateway();
        let watcher = watcher(&gateway).await;
        frames(&watcher.outbox);
        let (mut emitter, mut seen, mut now) = (emitter(&gateway), Seen::default(), gateway.platform.clock.mono());
        for n in 0..PIECES {
            let event = TurnEvent::Text { at: n * 5, delta: "abcd ".into() };
            emitter.turn(&*gateway.hub, event, false, WALL, now);
            seen.take(&watcher, now);
            now += gap;
        }
        let whole = "abcd ".repeat(PIECES);
        seen.take(&watcher, now);
        assert_eq!(seen.breaches(), 0);
        emitter.end(&*gateway.hub, &whole, WALL, WALL);
        seen.take(&watcher, now);
        assert!(seen.breaches() <= 1, "only the last one may come sooner");
        assert_eq!((&seen.agent, &seen.chat), (&whole, &whole));
        assert_eq!(seen.ends, ["lifecycle", "final"]);
        // Agent, chat and the final text.
        println!("{gap:?} between pieces: {} events of the text, {} bytes", seen.told.len(), seen.bytes);
        assert!(seen.bytes < bound * whole.len(), "{gap:?}: {} bytes", seen.bytes);
        assert!(seen.told.len() > 1);
    }
}

/// What is held back does not wait for the next word.
#[tokio::test(start_paused = true)]
async fn s36_what_is_held_back_is_told_while_the_model_pauses() {
    let gateway = gateway();
    let watcher = watcher(&gateway).await;
    let (mut emitter, mut seen, now) = (emitter(&gateway), Seen::default(), gateway.platform.clock.mono());
    for (at, delta) in [(0, "one"), (3, " two")] {
        emitter.turn(&*gateway.hub, TurnEvent::Text { at, delta: delta.into() }, false, WALL, now);
    }
    seen.take(&watcher, now);
    assert_eq!(seen.agent, "one");
    emitter.due(&*gateway.hub, WALL, now + TEXT_EVENT - Duration::from_millis(1));
    seen.take(&watcher, now);
    assert_eq!(seen.agent, "one");
    for _ in 0..3 {
        emitter.due(&*gateway.hub, WALL, now + TEXT_EVENT);
    }
    seen.take(&watcher, now);
    assert_eq!((seen.agent.as_str(), seen.chat.as_str(), seen.told.len()), ("one two", "one two", 2));
}

/// A real run: the model repeats 97 KB, word by word.
#[tokio::test(start_paused = true)]
async fn s36_a_run_sends_few_events_and_all_of_its_text() {
    let config = openclaw_config::parse("{agents:{defaults:{model:'builtin/echo'}}}", &|_| None).unwrap().config;
    let gateway = gateway_on(os::without_files(), config);
    let (asks, watches) = (watcher(&gateway).await, watcher(&gateway).await);
    frames(&watches.outbox);
    let text = "abcd ".repeat(97 * 1024 / 5);
    let params = json!({ "sessionKey": "main", "message": text, "idempotencyKey": "r1" });
    call(&gateway, &asks, "chat.send", params).await.unwrap();
    let end = call(&gateway, &asks, "agent.wait", json!({ "runId": "r1", "timeoutMs": 60_000 })).await.unwrap();
    assert_eq!(end["status"], "ok");
    let mut seen = Seen::default();
    seen.take(&watches, gateway.platform.clock.mono());
    assert_eq!((seen.agent.as_str(), seen.chat.as_str()), (text.trim_end(), text.trim_end()));
    assert_eq!(seen.ends, ["lifecycle", "final"]);
    assert!(seen.bytes < 8 * text.len(), "{} bytes", seen.bytes);
}

#[derive(Debug, Clone)]
enum Step {
    Say(usize),
    Pause(u64),
    Tool,
    Restart,
    Due,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1_usize..2000).prop_map(Step::Say),
        4 => (0_u64..400).prop_map(Step::Pause),
        1 => Just(Step::Tool),
        1 => Just(Step::Restart),
        2 => Just(Step::Due),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a model says, when and in what pieces: what listeners put together is what it said, reply by reply, and
    /// before whatever follows it.
    #[test]
    fn d42_nothing_that_was_said_is_lost(
        steps in prop::collection::vec(step(), 0..120), how in 0..3, aborts in any::<bool>(), verbose in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let gateway = gateway_on(os::without_files(), Config::default());
            let watcher = watcher(&gateway).await;
            frames(&watcher.outbox);
            let (mut emitter, mut seen, mut now) = (emitter(&gateway), Seen::default(), gateway.platform.clock.mono());
            let (mut text, mut said) = (String::new(), vec![]);
            let hub = &*gateway.hub;
            seen.take(&watcher, now);
            let mut free = 0;
            let mut new_reply = false;
            for step in steps {
                match step {
                    Step::Say(n) => {
                        if std::mem::take(&mut new_reply) {
                            text.clear();
                        }
                        let at = text.len();
                        let delta: String = "é0123456789 ".chars().cycle().skip(at % 12).take(n).collect();
                        text.push_str(&delta);
                        emitter.turn(hub, TurnEvent::Text { at, delta }, verbose, WALL, now);
                    }
                    Step::Pause(ms) => now += Duration::from_millis(ms),
                    Step::Due => emitter.due(hub, WALL, now),
                    Step::Restart => {
                        text.clear();
                        emitter.turn(hub, TurnEvent::Restarted, verbose, WALL, now);
                    }
                    Step::Tool => {
                        free += 1;
                        let (id, name) = ("c".to_owned(), "t".to_owned());
                        let start = TurnEvent::ToolStart { id: id.clone(), name: name.clone(), args: json!({}) };
                        emitter.turn(hub, start, true, WALL, now);
                        said.push(text.clone());
                        let end = TurnEvent::ToolEnd { id, name, result: "r".into(), is_error: false };
                        emitter.turn(hub, end, true, WALL, now);
                        new_reply = true;
                    }
                }
                seen.take(&watcher, now);
            }
            let before_end = seen.breaches();
            assert!(before_end <= free, "{before_end} events out of time, {free} may be");
            if aborts {
                emitter.abort(hub, "rpc");
                seen.take(&watcher, now);
            }
            match how {
                0 => emitter.end(hub, &text, WALL, WALL),
                1 => emitter.aborted_end(hub, WALL, WALL),
                _ => emitter.failed(hub, "x", WALL, WALL),
            }
            seen.take(&watcher, now);
            if !text.is_empty() {
                assert_eq!(&seen.agent, &text);
                assert_eq!(&seen.chat, &text);
            }
            let shown: Vec<&String> = seen.last.iter().skip(1).step_by(2).take(said.len()).collect();
            for (shown, said) in shown.into_iter().zip(&said) {
                assert!(said.is_empty() || shown == said, "before the tool ran: {shown:?}, said {said:?}");
            }
        });
    }
}

/// Chat clients see what was said until then, and the abort after it.
#[tokio::test(start_paused = true)]
async fn s36_an_abort_tells_what_was_said_first() {
    let gateway = gateway();
    let watcher = watcher(&gateway).await;
    let (mut emitter, mut seen, now) = (emitter(&gateway), Seen::default(), gateway.platform.clock.mono());
    for (at, delta) in [(0, "one"), (3, " two")] {
        emitter.turn(&*gateway.hub, TurnEvent::Text { at, delta: delta.into() }, false, WALL, now);
    }
    emitter.abort(&*gateway.hub, "rpc");
    seen.take(&watcher, now);
    assert_eq!((seen.chat.as_str(), seen.ends.as_slice()), ("one two", ["aborted".to_owned()].as_slice()));
    emitter.aborted_end(&*gateway.hub, WALL, WALL);
    let rest: Vec<Value> = frames(&watcher.outbox);
    assert!(rest.iter().all(|f| f["event"] == "agent"), "{rest:?}");
}
