//! The model's own books: where each text may be seen, and what was seen of it.
//!
//! Every text that anybody writes carries a marker of its own (`mk17x`), so that a text is known again wherever it turns
//! up: in a request to the model, in a transcript, in a message, in a frame.

use std::collections::BTreeSet;

use super::rules::{Class, Setup};

/// What a text asks the model to do.
#[derive(Debug, Clone)]
pub enum Ask {
    /// Run a program.
    Exec,
    /// Read a session.
    History(String),
    /// Write to another session.
    SessionSend(String),
    /// Send a message to a chat.
    MessageSend(i64),
}

/// One text.
#[derive(Debug, Clone)]
pub struct Text {
    /// What its author may do.
    pub class: Class,
    /// The session that it enters; `None`: it must not be seen anywhere.
    pub place: Option<String>,
    /// More sessions that it may be seen in.
    pub also: BTreeSet<String>,
    /// Chats that it is sent to.
    pub chats: BTreeSet<i64>,
    /// It waits for the next run of its session (`wake`, `exec.finished`).
    pub is_note: bool,
    /// An agent wrote it, at a tool call.
    pub is_agents: bool,
    /// The model takes its time over it.
    pub is_slow: bool,
    /// The tool call that it asks for.
    pub ask: Option<Ask>,
    /// Its program may be started once it is approved.
    pub may_run: bool,
    /// The operator who asked for an approval of it, and so may not say yes to it.
    pub asked_by: Option<usize>,
    /// Somebody who may decide said yes to its program.
    pub is_approved: bool,
}

impl Text {
    /// A text of somebody in a session.
    pub fn new(class: Class, place: Option<String>) -> Self {
        Self {
            class,
            place,
            also: BTreeSet::new(),
            chats: BTreeSet::new(),
            is_note: false,
            is_agents: false,
            is_slow: false,
            ask: None,
            may_run: false,
            asked_by: None,
            is_approved: false,
        }
    }
}

/// How often what the rules are about came up: a test of sequences in which nothing happens would prove nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct Seen {
    /// Requests with tools.
    pub tools: u32,
    /// Runs that more than one text entered.
    pub joined: u32,
    /// Tool calls that were carried out or refused.
    pub calls: u32,
    /// Tool calls in runs without tools.
    pub calls_without: u32,
    /// Runs that read notes.
    pub notes: u32,
    /// Runs that were ended.
    pub ended: u32,
    /// Sessions that were changed.
    pub changed: u32,
    /// Messages to chats.
    pub sent: u32,
    /// Approvals that were decided.
    pub decided: u32,
    /// Texts of nodes that entered runs.
    pub nodes: u32,
    /// Programs that were started.
    pub started: u32,
}

impl Seen {
    fn all(&mut self) -> [&mut u32; 11] {
        let Self { tools, joined, calls, calls_without, notes, ended, changed, sent, decided, nodes, started } = self;
        [tools, joined, calls, calls_without, notes, ended, changed, sent, decided, nodes, started]
    }

    /// What came up least often.
    pub fn least(mut self) -> u32 {
        self.all().into_iter().map(|n| *n).min().unwrap_or(0)
    }
}

impl std::ops::Add for Seen {
    type Output = Self;
    fn add(mut self, mut other: Self) -> Self {
        self.all().into_iter().zip(other.all()).for_each(|(mine, more)| *mine += *more);
        self
    }
}

/// Everything that is known in a sequence.
pub struct Books {
    /// The configuration.
    pub setup: Setup,
    /// Every text, by number.
    pub texts: Vec<Text>,
    /// Somebody who may see both had what is in the first session read in the second.
    flows: BTreeSet<(String, String)>,
    /// The same for chats.
    chat_flows: BTreeSet<(String, i64)>,
    /// Texts that stand in a transcript: they enter a run no more by themselves.
    pub stored: BTreeSet<usize>,
    /// Every program may run from now on: somebody said `allow-always`.
    pub always: bool,
    /// What was wrong.
    pub wrong: Vec<String>,
    /// How much happened.
    pub seen: Seen,
}

impl Books {
    /// Empty ones.
    pub fn new(setup: Setup) -> Self {
        Self {
            setup,
            texts: vec![],
            flows: BTreeSet::new(),
            chat_flows: BTreeSet::new(),
            stored: BTreeSet::new(),
            always: false,
            wrong: vec![],
            seen: Seen::default(),
        }
    }

    /// Writes a text down; gives its number.
    pub fn add(&mut self, text: Text) -> usize {
        self.texts.push(text);
        self.texts.len() - 1
    }

    /// What is in `from` may be seen in `to` from now on.
    pub fn flow(&mut self, from: &str, to: &str) {
        self.flows.insert((from.to_owned(), to.to_owned()));
    }

    /// What is in `from` may be seen in the chat `to` from now on.
    pub fn flow_to_chat(&mut self, from: &str, to: i64) {
        self.chat_flows.insert((from.to_owned(), to));
    }

    /// Sessions whose texts may be seen in `session`.
    fn sources(&self, session: &str) -> BTreeSet<String> {
        let mut sources = BTreeSet::from([session.to_owned()]);
        loop {
            let more: Vec<_> =
                self.flows.iter().filter(|(from, to)| sources.contains(to) && !sources.contains(from)).collect();
            if more.is_empty() {
                return sources;
            }
            sources.extend(more.into_iter().map(|(from, _)| from.clone()));
        }
    }

    /// Whether a text may be seen in a session.
    pub fn may_be_in(&self, text: usize, session: &str) -> bool {
        let text = &self.texts[text];
        let sources = self.sources(session);
        text.place.as_ref().is_some_and(|place| sources.contains(place))
            || text.also.iter().any(|s| sources.contains(s))
    }

    /// Whether a text may be seen in a chat.
    pub fn may_be_sent_to(&self, text: usize, chat: i64) -> bool {
        let of_chat = self.setup.session_of(chat);
        let sources = self.chat_flows.iter().filter(|(_, to)| *to == chat).map(|(from, _)| from);
        self.texts[text].chats.contains(&chat) || sources.chain([&of_chat]).any(|s| self.may_be_in(text, s))
    }

    /// Something is wrong.
    pub fn complain(&mut self, what: String) {
        self.wrong.push(what);
    }

    /// Complains about every text in `where_seen` that may not be in any of `sessions`.
    pub fn check_in(&mut self, where_seen: &str, said: &str, sessions: &[String]) {
        for text in marks(said) {
            if !sessions.iter().any(|session| self.may_be_in(text, session)) {
                let about = &self.texts[text];
                self.wrong.push(format!("{where_seen} shows mk{text}x ({about:?})"));
            }
        }
    }

    /// The same for a message to a chat.
    pub fn check_sent(&mut self, chat: i64, said: &str) {
        self.seen.sent += 1;
        for text in marks(said) {
            if !self.may_be_sent_to(text, chat) {
                let about = &self.texts[text];
                self.wrong.push(format!("a message to {chat} shows mk{text}x ({about:?}): {said}"));
            }
        }
    }
}

/// The marker of a text.
pub fn mark(text: usize) -> String {
    format!("mk{text}x")
}

/// Numbers of the markers in `said`, in order.
pub fn marks(said: &str) -> Vec<usize> {
    let ends = said.split("mk").skip(1).filter_map(|rest| rest.split_once('x'));
    ends.filter_map(|(number, _)| number.parse().ok()).collect()
}
