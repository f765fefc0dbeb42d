//! One gateway with everybody around it, and what is looked at after each step.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use fakes::telegram::FakeTelegram;
use openclaw_platform::SpawnerExt as _;
use openclaw_protocol::message::Content;
use openclaw_server::{ServerOptions, delivery, gateway::Gateway, hub::Connection, rights::Principal, runs::Run};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    agent::Agent,
    books::{Books, Seen, marks},
    rules::{Author, Class, GROUP, MAIN, OPERATORS, PEOPLE, Setup, node_device, node_session, session},
    support::{
        TOKEN, enter, frames, local, options, response,
        seams::{self, Programs},
    },
};

const MODEL: u16 = 9000;
const TELEGRAM: u16 = 9001;
/// What a step causes at once has happened after this time.
const AT_ONCE: Duration = Duration::from_millis(100);

/// What a session is, as far as only some may change it: its id, its queue mode, its settings.
type State = (String, Value);

/// Everything of one sequence.
pub struct World {
    pub gateway: Arc<Gateway>,
    pub telegram: FakeTelegram,
    pub books: Arc<Mutex<Books>>,
    pub setup: Setup,
    /// By [`OPERATORS`].
    pub operators: Vec<Arc<Connection>>,
    pub nodes: Vec<Arc<Connection>>,
    agent: Arc<Agent>,
    programs: Arc<Programs>,
    stop: CancellationToken,
    /// What was looked at of what was sent.
    sent: usize,
    states: BTreeMap<String, State>,
    /// Runs that were seen, and whether they were ended already.
    runs: Vec<(Arc<Run>, bool)>,
}

/// What the step may have caused beside texts.
#[derive(Debug, Default, Clone)]
pub struct Permits {
    /// Sessions that it may have changed.
    pub changes: Vec<String>,
    /// Sessions whose runs it may have ended, whoever's they are.
    pub stops: Vec<String>,
    /// Session whose runs it may have ended as far as its author may do all that they may.
    pub interrupts: Option<(String, Class)>,
}

fn config(setup: &Setup) -> openclaw_config::Config {
    let node = |n: usize| node_device(n).id();
    let mut text = json!({
        "agents": { "defaults": { "model": "fake/m" } },
        "models": { "providers": { "fake": {
            "baseUrl": format!("http://127.0.0.1:{MODEL}/v1"), "api": "openai-completions", "apiKey": "k",
            "models": [{ "id": "m" }],
        } } },
        "channels": { "telegram": {
            "botToken": "1:A", "apiRoot": format!("http://127.0.0.1:{TELEGRAM}"), "allowFrom": [42, 7],
            "groups": { GROUP.to_string(): { "requireMention": false } },
        } },
        // Few may wait, so that what is beyond them is summed up.
        "messages": { "queue": { "mode": setup.mode, "cap": 2 } },
        // No session is begun anew by itself.
        "session": { "reset": { "mode": "idle", "idleMinutes": 1_000_000 } },
        "gateway": { "nodes": { "bind": { node(1): { "sessions": [setup.bound()], "targets": ["telegram:7"] } } } },
        "tools": { "exec": {} },
    });
    if let Some(scope) = setup.scope {
        text["session"]["dmScope"] = scope.into();
    }
    if setup.callers {
        text["tools"]["exec"]["callers"] = json!(["operator:write", "telegram:7", format!("node:{}", node(1))]);
    }
    if setup.free_exec {
        text["tools"]["exec"]["security"] = "full".into();
        text["tools"]["exec"]["ask"] = "off".into();
    }
    openclaw_config::parse(&text.to_string(), &|_| None).unwrap().config
}

impl World {
    pub async fn open(setup: Setup) -> Self {
        let (platform, programs) = seams::platform();
        let stop = CancellationToken::new();
        let books = Arc::new(Mutex::new(Books::new(setup.clone())));
        let agent = Agent::new(books.clone());
        agent.serve(&platform, MODEL, stop.clone()).await;
        let telegram = FakeTelegram::new();
        telegram.serve(&platform, ([127, 0, 0, 1], TELEGRAM).into(), stop.clone()).await.unwrap();
        if setup.paired {
            let known = json!({ "version": 1, "allowFrom": [PEOPLE[2].to_string()] });
            platform.storage.write_atomic("credentials/telegram-allowFrom.json", known.to_string().as_bytes()).unwrap();
        }
        let options = ServerOptions { channels: true, ..options(config(&setup)) };
        let gateway = Gateway::open(platform, options).unwrap();
        agent.look_at(&gateway);
        delivery::start(&gateway.delivery).await.unwrap();
        gateway.start_channels(&tokio_util::sync::CancellationToken::new());
        gateway.platform.tasks.spawn("heartbeats", gateway.heartbeats.clone().serve(stop.clone()));
        let mut operators = vec![];
        for scope in OPERATORS {
            let scope = format!("operator.{scope}");
            operators.push(enter(&gateway, local(), None, "operator", &[&scope], TOKEN).await.unwrap().0);
        }
        let mut nodes = vec![];
        for n in 0..2 {
            nodes.push(enter(&gateway, local(), Some(&node_device(n)), "node", &[], TOKEN).await.unwrap().0);
        }
        let mut world = Self {
            gateway,
            telegram,
            books,
            setup,
            operators,
            nodes,
            agent,
            programs,
            stop,
            sent: 0,
            states: BTreeMap::new(),
            runs: vec![],
        };
        world.look(&Permits::default()).await;
        world
    }

    /// A request of somebody who is connected; everything that he is sent besides is looked at, too.
    pub async fn ask(&self, connection: &Arc<Connection>, method: &str, params: Value) -> Result<Value, Value> {
        response(&self.gateway, connection, "ask", method, params).await.send(connection);
        let answer = self.read(connection).into_iter().find(|frame| frame["id"] == "ask").unwrap_or_default();
        if answer["ok"] == true { Ok(answer["payload"].clone()) } else { Err(answer["error"].clone()) }
    }

    /// Takes what waits for somebody, and complains about what is not for him.
    fn read(&self, connection: &Arc<Connection>) -> Vec<Value> {
        let came = frames(&connection.outbox);
        let mut books = self.books.lock().unwrap();
        for frame in &came {
            let said = frame.to_string();
            if let Some(node) = self.nodes.iter().position(|node| Arc::ptr_eq(node, connection)) {
                let mut sessions = vec![node_session(node)];
                sessions.extend((node == 1).then(|| self.setup.bound().to_owned()));
                books.check_in(&format!("a frame to node {node}"), &said, &sessions);
            } else if Arc::ptr_eq(connection, &self.operators[0]) {
                // Who decides about programs sees them, and nothing of what people say.
                for text in marks(&said).into_iter().filter(|text| !books.texts[*text].is_agents).collect::<Vec<_>>() {
                    books.complain(format!("an operator without read is sent mk{text}x: {said}"));
                }
            }
        }
        came
    }

    /// Lets happen what happens at once, and looks at everything.
    pub async fn look(&mut self, permits: &Permits) {
        self.note_runs();
        tokio::time::sleep(AT_ONCE).await;
        for connection in self.operators.iter().chain(&self.nodes) {
            self.read(connection);
        }
        self.note_runs();
        let books = self.books.clone();
        let mut books = books.lock().unwrap();
        self.agent.read_transcripts(&mut books);
        let sent = self.telegram.sent();
        for message in &sent[self.sent..] {
            books.check_sent(message.chat.parse().unwrap(), &message.text);
        }
        self.sent = sent.len();
        for argv in self.programs.started() {
            let text = marks(&argv.join(" "))[0];
            books.seen.started += 1;
            let about = &books.texts[text];
            if !about.may_run || !(self.setup.free_exec || about.is_approved || books.always) {
                let what = format!("{argv:?} was started ({about:?})");
                books.complain(what);
            }
        }
        self.compare_sessions(&mut books, permits);
        self.compare_runs(&mut books, permits);
        assert!(books.wrong.is_empty(), "{:#?}", books.wrong);
    }

    /// The runs that are queued or under way, also of sessions that are not there yet.
    fn note_runs(&mut self) {
        let mut keys: Vec<String> =
            self.gateway.sessions.after("", usize::MAX).unwrap().into_iter().map(|(key, _)| key).collect();
        keys.extend((0..super::rules::SESSIONS).map(session));
        for run in keys.iter().flat_map(|key| self.gateway.runs.of_session(key)) {
            if !self.runs.iter().any(|(known, _)| Arc::ptr_eq(known, &run)) {
                self.runs.push((run, false));
            }
        }
    }

    fn compare_sessions(&mut self, books: &mut Books, permits: &Permits) {
        let present: BTreeMap<String, State> = {
            let sessions: BTreeMap<_, _> = self.gateway.sessions.after("", usize::MAX).unwrap().into_iter().collect();
            let state = |entry: &openclaw_server::sessions::entry::SessionEntry| {
                let settings = json!([entry.queue_mode, entry.thinking_level, entry.label, entry.exec_security]);
                (entry.session_id.clone(), settings)
            };
            sessions.iter().map(|(key, entry)| (key.clone(), state(entry))).collect()
        };
        for (key, before) in &self.states {
            let now = present.get(key);
            if now == Some(before) {
                continue;
            }
            books.seen.changed += 1;
            if !permits.changes.contains(key) {
                books.complain(format!("{key} was changed from {before:?} to {now:?}"));
            }
        }
        for (key, (_, settings)) in &present {
            let is_new = !self.states.contains_key(key);
            if is_new && settings.as_array().unwrap().iter().any(|s| !s.is_null()) && !permits.changes.contains(key) {
                books.complain(format!("{key} began with {settings}"));
            }
        }
        self.states = present;
    }

    fn compare_runs(&mut self, books: &mut Books, permits: &Permits) {
        for (run, was_ended) in self.runs.iter_mut().filter(|(run, was_ended)| !was_ended && run.cancel.is_cancelled())
        {
            *was_ended = true;
            books.seen.ended += 1;
            let key = &run.request.session_key;
            let said: Vec<&str> = run.request.input.iter().filter_map(text).collect();
            let said = marks(&said.join(" "));
            let class = match (said.first(), &run.request.by) {
                (Some(text), _) => books.texts[*text].class.clone(),
                // A heartbeat is nobody's text: it has the rights of whose notes it reads.
                (None, Principal::Operator { .. }) => Class::Write { commands: self.setup.callers },
                (None, Principal::Node { .. }) => Class::Node { commands: self.setup.callers },
                (None, _) => Class::Full,
            };
            let may_interrupt =
                permits.interrupts.as_ref().is_some_and(|(session, by)| session == key && by.covers(&class));
            if !permits.stops.contains(key) && !may_interrupt {
                books.complain(format!("a run of {class:?} in {key} was ended ({permits:?})"));
            }
        }
    }

    /// What happens to messages that come during a run of a session.
    pub fn mode(&self, key: &str) -> String {
        let own = self.gateway.sessions.get(key).unwrap().and_then(|entry| entry.queue_mode);
        own.unwrap_or_else(|| self.setup.mode.to_owned())
    }

    /// The class of whoever writes in a chat.
    pub fn class(&self, author: Author, chat: i64) -> Class {
        self.setup.class(author, chat)
    }

    /// The question that waits longest: its id and the text whose program it is about.
    pub fn question(&self) -> Option<(String, usize)> {
        let waiting = self.gateway.approvals.list();
        let first = waiting.first()?;
        Some((first.id.clone(), *marks(&first.request.command).first()?))
    }

    /// The end: everything that waits comes to its end and is looked at.
    pub async fn close(mut self) -> Seen {
        tokio::time::sleep(Duration::from_mins(15)).await;
        self.look(&Permits::default()).await;
        let key = MAIN.to_owned();
        let reads = self.ask(&self.operators[1], "chat.history", json!({ "sessionKey": key })).await.unwrap();
        let mut books = self.books.lock().unwrap();
        books.check_in("chat.history of the main session", &reads.to_string(), &[key]);
        assert!(books.wrong.is_empty(), "{:#?}", books.wrong);
        self.stop.cancel();
        books.seen
    }
}

fn text(content: &Content) -> Option<&str> {
    match content {
        Content::Text { text } => Some(text),
        _ => None,
    }
}
