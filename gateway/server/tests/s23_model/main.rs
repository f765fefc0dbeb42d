//! S23, S24, S28, S32, D46 to D48: no sequence of messages, commands, requests, node events, pairing and approvals lets
//! anybody cause an effect beyond his rights, and nothing that an owner wrote reaches another person. The model keeps its
//! own books (`books`) by its own rules (`rules`) and never asks the gateway what is right. People write through a fake
//! Telegram; a fake model (`agent`) tells all that it knows and does all that it is told, so that a leak or a borrowed
//! right shows itself; no program runs.
//!
//! `PROPTEST_CASES=10000 cargo test -p openclaw-server --test s23_model` for the long run; a failure shows the shortest
//! sequence that fails. tests/mutants/s23_model_*, s24_model_*, s28_model_* and s32_model_* take the protections away.

#![allow(clippy::unwrap_used)]

mod agent;
mod books;
mod rules;
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::time::Duration;

use openclaw_platform::EntropyExt as _;
use proptest::{
    prelude::*,
    test_runner::{RngAlgorithm, TestCaseError, TestRng, TestRunner},
};
use serde_json::{Value, json};

use self::{
    books::{Ask, Seen, Text, mark},
    rules::{Author, Class, GROUP, MAIN, OPERATORS, PEOPLE, SESSIONS, Setup, session},
    support::response,
    world::{Permits, World},
};

/// What a text says to the model, by numbers of [`session`] and of [`chat`].
#[derive(Debug, Clone)]
enum Tool {
    Exec,
    History(usize),
    SessionSend(usize),
    MessageSend(usize),
}

/// What somebody writes.
#[derive(Debug, Clone)]
enum What {
    Say { is_slow: bool, tool: Option<Tool> },
    Stop,
    New,
    Queue(&'static str),
}

#[derive(Debug, Clone)]
enum NodeEvent {
    Request { deliver: Option<usize>, is_slow: bool, tool: Option<Tool> },
    Voice,
    Subscribe,
    Finished,
}

/// One step.
#[derive(Debug, Clone)]
enum Step {
    /// A person writes, in private or in the group.
    Write { person: usize, in_group: bool, what: What },
    /// An operator writes in a session: `chat.send`, or `agent` with its reply sent to the chat of the session.
    Send { operator: usize, to: usize, what: What, is_agent: bool },
    /// `chat.abort`.
    Abort { operator: usize, to: usize },
    /// `sessions.patch`.
    Patch { operator: usize, to: usize },
    /// `sessions.reset`.
    Reset { operator: usize, to: usize },
    /// `chat.history`.
    History { operator: usize, to: usize },
    /// `wake`.
    Wake { operator: usize },
    /// `send`.
    Message { operator: usize, chat: usize },
    /// `node.event`; without a session it is the node's own.
    Node { node: usize, to: Option<usize>, event: NodeEvent },
    /// `exec.approval.request`: an operator asks for himself.
    Question { operator: usize },
    /// The oldest question is answered.
    Decide { operator: usize, decision: &'static str },
    /// The stranger who waits is let in.
    Pair { operator: usize },
    /// A heartbeat is due.
    Beat,
    /// Seconds.
    Wait(u64),
}

/// Sequences of every build.
const CASES: u32 = 64;
/// Stands for the session that most of a sequence is about.
const FOCUS: usize = SESSIONS;

/// A chat by its number: the three people's, the group.
fn chat(n: usize) -> i64 {
    *PEOPLE.get(n).unwrap_or(&GROUP)
}

fn modes() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["collect", "followup", "steer", "steer", "steer-backlog", "interrupt"])
}

fn tool() -> impl Strategy<Value = Tool> {
    prop_oneof![
        3 => Just(Tool::Exec),
        2 => (0..SESSIONS).prop_map(Tool::History),
        1 => (0..SESSIONS).prop_map(Tool::SessionSend),
        1 => (0..4usize).prop_map(Tool::MessageSend),
    ]
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        12 => (any::<bool>(), prop::option::weighted(0.7, tool())).prop_map(|(is_slow, tool)| What::Say { is_slow, tool }),
        1 => Just(What::Stop),
        1 => Just(What::New),
        1 => modes().prop_map(What::Queue),
    ]
}

fn node_event() -> impl Strategy<Value = NodeEvent> {
    prop_oneof![
        4 => (prop::option::of(0..4usize), any::<bool>(), prop::option::of(tool()))
            .prop_map(|(deliver, is_slow, tool)| NodeEvent::Request { deliver, is_slow, tool }),
        1 => Just(NodeEvent::Voice),
        1 => Just(NodeEvent::Subscribe),
        2 => Just(NodeEvent::Finished),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let operator = || prop_oneof![1 => 0..2usize, 2 => Just(2usize), 2 => Just(3usize)];
    let to = || prop_oneof![2 => Just(FOCUS), 1 => 0..SESSIONS];
    prop_oneof![
        16 => (0..PEOPLE.len(), any::<bool>(), what())
            .prop_map(|(person, in_group, what)| Step::Write { person, in_group, what }),
        6 => (operator(), to(), what(), any::<bool>())
            .prop_map(|(operator, to, what, is_agent)| Step::Send { operator, to, what, is_agent }),
        1 => (operator(), to()).prop_map(|(operator, to)| Step::Abort { operator, to }),
        1 => (operator(), to()).prop_map(|(operator, to)| Step::Patch { operator, to }),
        1 => (operator(), to()).prop_map(|(operator, to)| Step::Reset { operator, to }),
        1 => (operator(), to()).prop_map(|(operator, to)| Step::History { operator, to }),
        2 => operator().prop_map(|operator| Step::Wake { operator }),
        1 => (operator(), 0..4usize).prop_map(|(operator, chat)| Step::Message { operator, chat }),
        5 => (0..2usize, prop::option::weighted(0.8, to()), node_event())
            .prop_map(|(node, to, event)| Step::Node { node, to, event }),
        1 => (0..OPERATORS.len()).prop_map(|operator| Step::Question { operator }),
        3 => (operator(), prop::sample::select(vec!["allow-once", "allow-once", "deny", "allow-always"]))
            .prop_map(|(operator, decision)| Step::Decide { operator, decision }),
        3 => operator().prop_map(|operator| Step::Pair { operator }),
        1 => Just(Step::Beat),
        5 => (1..8u64).prop_map(Step::Wait),
    ]
}

fn setup() -> impl Strategy<Value = Setup> {
    let scope = prop::sample::select(vec![None, None, None, Some("main"), Some("main"), Some("per-channel-peer")]);
    // Where there is most to win: the owner's session, or one with several people.
    let focus = prop::sample::select(vec![0usize, 0, 1, 3]);
    let flags = (any::<bool>(), prop::bool::weighted(0.3), any::<bool>(), prop::bool::weighted(0.4));
    (scope, modes(), flags, focus).prop_map(|(scope, mode, (callers, free_exec, bound_to_main, paired), focus)| Setup {
        scope,
        mode,
        callers,
        free_exec,
        bound_to_main,
        paired,
        focus,
    })
}

/// What has to be remembered between steps.
struct Sequence {
    world: World,
    is_paired: bool,
}

impl Sequence {
    /// The session that a step names.
    fn session(&self, n: usize) -> String {
        session(if n == FOCUS { self.world.setup.focus } else { n })
    }

    /// A text of `class` that enters `place`, if any.
    fn text(&self, class: Class, place: Option<String>, what: &What) -> String {
        let What::Say { is_slow, tool } = what else { unreachable!("commands are no texts") };
        let mut text = Text::new(class, place);
        text.is_slow = *is_slow;
        text.ask = tool.as_ref().map(|tool| match tool {
            Tool::Exec => Ask::Exec,
            Tool::History(to) => Ask::History(session(*to)),
            Tool::SessionSend(to) => Ask::SessionSend(session(*to)),
            Tool::MessageSend(to) => Ask::MessageSend(chat(*to)),
        });
        mark(self.world.books.lock().unwrap().add(text))
    }

    /// What a command, or a message in the mode `interrupt`, may cause in a session.
    fn permits(&self, author: Author, chat: i64, key: &str, what: &What) -> Permits {
        let (setup, mut permits) = (&self.world.setup, Permits::default());
        match what {
            What::Say { .. } if self.world.mode(key) == "interrupt" => {
                permits.interrupts = Some((key.to_owned(), setup.class(author, chat)));
            }
            What::Say { .. } => {}
            What::Stop => permits.stops.extend(setup.may_stop(author, chat).then(|| key.to_owned())),
            What::New | What::Queue(_) => {
                permits.changes.extend(setup.may_change(author, chat).then(|| key.to_owned()));
            }
        }
        permits
    }

    async fn write(&mut self, person: usize, in_group: bool, what: &What) {
        let (author, id) = (Author::Person(person), PEOPLE[person]);
        let chat = if in_group { GROUP } else { id };
        let key = self.world.setup.session_of(chat);
        let may_enter = person < 2 || self.is_paired;
        let permits = if may_enter { self.permits(author, chat, &key, what) } else { Permits::default() };
        let said = match what {
            What::Say { .. } => self.text(self.world.class(author, chat), may_enter.then_some(key), what),
            command => command_of(command),
        };
        self.world.telegram.push_message(chat, id, &said);
        self.world.look(&permits).await;
    }

    async fn send(&mut self, operator: usize, to: usize, what: &What, is_agent: bool) {
        let (author, key) = (Author::Operator(operator), self.session(to));
        let class = self.world.class(author, 0);
        let may = class != Class::Nobody;
        // Only what comes by chat.send can be a command, or interrupts.
        let is_agent = is_agent && matches!(what, What::Say { .. });
        let permits = if may && !is_agent { self.permits(author, 0, &key, what) } else { Permits::default() };
        let said = match what {
            What::Say { .. } => self.text(class, may.then(|| key.clone()), what),
            command => command_of(command),
        };
        let mut params =
            json!({ "sessionKey": key, "message": said, "idempotencyKey": self.world.gateway.http.ws.entropy.uuid() });
        if is_agent && self.world.gateway.sessions.get(&key).unwrap().is_some_and(|e| e.delivery_context.is_some()) {
            params["deliver"] = true.into();
        }
        let method = if is_agent { "agent" } else { "chat.send" };
        self.request(operator, method, params, may).await;
        self.world.look(&permits).await;
    }

    /// A request that is refused unless the operator may make it.
    async fn request(&self, operator: usize, method: &str, params: Value, may: bool) -> Option<Value> {
        let answer = self.world.ask(&self.world.operators[operator], method, params.clone()).await;
        let who = OPERATORS[operator];
        assert!(may || answer.is_err(), "an operator with {who} was let do {method} {params}: {answer:?}");
        assert!(!may || answer.is_ok(), "an operator with {who} was refused {method} {params}: {answer:?}");
        answer.ok()
    }

    async fn node(&mut self, node: usize, to: Option<usize>, event: &NodeEvent) {
        let named = to.map(|to| self.session(to));
        let key = named.clone().unwrap_or_else(|| rules::node_session(node));
        let may = self.world.setup.node_may_name(node, &key);
        let place = may.then(|| key.clone());
        let class = self.world.class(Author::Node(node), 0);
        let (name, mut payload) = match event {
            NodeEvent::Request { deliver, is_slow, tool } => {
                let what = What::Say { is_slow: *is_slow, tool: tool.clone() };
                let mut payload = json!({ "message": self.text(class, place, &what) });
                if let Some(chat) = deliver.map(chat) {
                    payload["deliver"] = true.into();
                    payload["channel"] = "telegram".into();
                    payload["to"] = chat.to_string().into();
                    if may && node == 1 && chat == PEOPLE[1] {
                        self.world.books.lock().unwrap().flow_to_chat(&key, chat);
                    }
                }
                ("agent.request", payload)
            }
            NodeEvent::Voice => {
                let what = What::Say { is_slow: false, tool: None };
                ("voice.transcript", json!({ "text": self.text(class, place, &what) }))
            }
            NodeEvent::Subscribe => ("chat.subscribe", json!({})),
            NodeEvent::Finished => {
                let mut text = Text::new(class, place);
                text.is_note = true;
                let said = mark(self.world.books.lock().unwrap().add(text));
                ("exec.finished", json!({ "runId": "r", "exitCode": 0, "output": said }))
            }
        };
        if let Some(named) = named {
            payload["sessionKey"] = named.into();
        }
        let params = json!({ "event": name, "payload": payload });
        self.world.ask(&self.world.nodes[node], "node.event", params).await.unwrap();
        self.world.look(&Permits::default()).await;
    }

    /// What it is about opens nothing here; that its author cannot say yes to it is looked at when it is decided.
    async fn question(&mut self, operator: usize) {
        let mut text = Text::new(Class::Nobody, None);
        (text.is_agents, text.asked_by) = (true, Some(operator));
        let said = mark(self.world.books.lock().unwrap().add(text));
        let (gateway, connection) = (self.world.gateway.clone(), self.world.operators[operator].clone());
        let params = json!({ "command": format!("prog {said}"), "timeoutMs": 60_000 });
        let (before, may) = (gateway.approvals.list().len(), decides(operator));
        #[allow(clippy::disallowed_methods)] // it waits for its answer
        tokio::spawn(async move {
            let answer = response(&gateway, &connection, "question", "exec.approval.request", params).await;
            answer.send(&connection);
        });
        tokio::task::yield_now().await;
        self.world.look(&Permits::default()).await;
        let after = self.world.gateway.approvals.list().len();
        assert!(may || after <= before, "an operator with {} asked people", OPERATORS[operator]);
    }

    async fn decide(&mut self, operator: usize, decision: &str) {
        let Some((id, text)) = self.world.question() else { return };
        let is_own = self.world.books.lock().unwrap().texts[text].asked_by == Some(operator);
        // Who asked may say no, and never yes (S25).
        let may = decides(operator) && (!is_own || decision == "deny");
        if may && decision != "deny" {
            let mut books = self.world.books.lock().unwrap();
            books.texts[text].is_approved = true;
            books.always |= decision == "allow-always";
        }
        self.request(operator, "exec.approval.resolve", json!({ "id": id, "decision": decision }), may).await;
        self.world.books.lock().unwrap().seen.decided += u32::from(may);
        self.world.look(&Permits::default()).await;
    }

    async fn pair(&mut self, operator: usize) {
        let waiting = self.world.gateway.channels.pairing("telegram").unwrap().list().unwrap();
        let Some(request) = waiting.first() else { return };
        assert_eq!(request.id, PEOPLE[2].to_string(), "somebody who is known has to be let in");
        let may = OPERATORS[operator] == "admin";
        let params = json!({ "channel": "telegram", "code": request.code });
        self.request(operator, "channels.pairing.approve", params, may).await;
        self.is_paired |= may;
        self.world.look(&Permits::default()).await;
    }

    async fn step(&mut self, step: Step) {
        let none = Permits::default();
        let (is_writer, is_admin) = (|operator: usize| operator >= 2, |operator: usize| operator == 3);
        match step {
            Step::Write { person, in_group, what } => self.write(person, in_group, &what).await,
            Step::Send { operator, to, what, is_agent } => self.send(operator, to, &what, is_agent).await,
            Step::Node { node, to, event } => self.node(node, to, &event).await,
            Step::Question { operator } => self.question(operator).await,
            Step::Decide { operator, decision } => self.decide(operator, decision).await,
            Step::Pair { operator } => self.pair(operator).await,
            Step::Abort { operator, to } => {
                let may = is_writer(operator);
                self.request(operator, "chat.abort", json!({ "sessionKey": self.session(to) }), may).await;
                let stops = may.then(|| self.session(to)).into_iter().collect();
                self.world.look(&Permits { stops, ..none }).await;
            }
            Step::Patch { operator, to } => {
                let params = json!({ "key": self.session(to), "thinkingLevel": "low" });
                self.request(operator, "sessions.patch", params, is_admin(operator)).await;
                let changes = is_admin(operator).then(|| self.session(to)).into_iter().collect();
                self.world.look(&Permits { changes, ..none }).await;
            }
            Step::Reset { operator, to } => {
                self.request(operator, "sessions.reset", json!({ "key": self.session(to) }), is_admin(operator)).await;
                let changes = is_admin(operator).then(|| self.session(to)).into_iter().collect();
                self.world.look(&Permits { changes, ..none }).await;
            }
            Step::History { operator, to } => {
                let (key, params) = (self.session(to), json!({ "sessionKey": self.session(to) }));
                if let Some(told) = self.request(operator, "chat.history", params, operator >= 1).await {
                    self.world.books.lock().unwrap().check_in("chat.history", &told.to_string(), &[key]);
                }
                self.world.look(&none).await;
            }
            Step::Wake { operator } => {
                let may = is_writer(operator);
                let mut text = Text::new(self.world.class(Author::Operator(operator), 0), may.then(|| MAIN.to_owned()));
                text.is_note = true;
                let said = mark(self.world.books.lock().unwrap().add(text));
                self.request(operator, "wake", json!({ "text": said, "mode": "now" }), may).await;
                self.world.look(&none).await;
            }
            Step::Message { operator, chat: to } => {
                let (may, to) = (is_writer(operator), chat(to));
                let mut text = Text::new(self.world.class(Author::Operator(operator), 0), None);
                text.chats.extend(may.then_some(to));
                let said = mark(self.world.books.lock().unwrap().add(text));
                let key = self.world.gateway.http.ws.entropy.uuid();
                let params =
                    json!({ "channel": "telegram", "to": to.to_string(), "message": said, "idempotencyKey": key });
                self.request(operator, "send", params, may).await;
                self.world.look(&none).await;
            }
            Step::Beat => {
                self.world.gateway.heartbeats.wake();
                self.world.look(&none).await;
            }
            Step::Wait(seconds) => {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                self.world.look(&none).await;
            }
        }
    }
}

/// Whether an operator decides about programs.
fn decides(operator: usize) -> bool {
    matches!(OPERATORS[operator], "approvals" | "admin")
}

fn command_of(what: &What) -> String {
    match what {
        What::Stop => "/stop".to_owned(),
        What::New => "/new".to_owned(),
        What::Queue(mode) => format!("/queue {mode}"),
        What::Say { .. } => unreachable!("texts have markers"),
    }
}

async fn run(setup: Setup, steps: Vec<Step>) -> Seen {
    let mut sequence = Sequence { is_paired: setup.paired, world: World::open(setup).await };
    for step in steps {
        sequence.step(step).await;
    }
    sequence.world.close().await
}

/// The promise, and that there was something to promise: each of what the rules are about comes up.
#[test]
fn s23_no_sequence_gives_anybody_more_than_his_rights() {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    // Every build goes through the same sequences, so that it passes or fails for a reason; a long run draws its own.
    let (mut runner, cases) = match std::env::var_os("PROPTEST_CASES") {
        None => {
            let config = ProptestConfig { cases: CASES, ..config };
            (TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)), CASES)
        }
        Some(_) => (TestRunner::new(config.clone()), config.cases),
    };
    let total = std::cell::Cell::new(Seen::default());
    let sequences = (setup(), prop::collection::vec(step(), 1..48));
    let outcome = runner.run(&sequences, |(setup, steps)| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        total.set(total.get() + runtime.block_on(run(setup, steps)));
        Ok::<(), TestCaseError>(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let total = total.get();
    println!("{total:?}");
    assert!(cases < CASES || total.least() >= 1, "too little happened: {total:?}");
}
