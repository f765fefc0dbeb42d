//! What has been said to sessions, by whom it was asked for, and what else changed them: by the session's whole key.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use serde_json::{Value, json};

use crate::{
    history::{
        What,
        parts::{Part, shortened},
    },
    oracle::{
        Expect,
        conn::{Conn, Hello, Request, Turn},
        facts::{Facts, Mark},
        telegram::{self, is_answer_to_command},
    },
};

/// Words that end a run.
const STOP: [&str; 7] = ["/stop", "stop", "esc", "abort", "wait", "exit", "interrupt"];
/// Words that the gateway answers itself.
const COMMANDS: [&str; 9] =
    ["/status", "/new", "/reset", "/model", "/help", "/commands", "/queue", "/start", "/resend"];

/// How a summary goes on after the number of the messages that are in it.
pub const SUMMED_UP: &str = " earlier messages were too many to be kept in full:";

/// Something that was said to a session.
pub struct Input {
    /// The session; `None` where the history does not tell.
    pub session: Option<String>,
    /// Said first.
    pub at: Mark,
    /// When a client said it, again and again under its keys.
    sent: Vec<u64>,
    /// By when the gateway has been given it ([`telegram::came`]).
    by: u64,
    /// Its keys, which name its runs.
    pub keys: BTreeSet<String>,
    /// Id of a message at the Bot API.
    pub message: Option<i64>,
    /// Its caller's own deadline, in milliseconds.
    pub timeout_ms: Option<u64>,
}

/// A line that no model wrote.
pub struct Note {
    /// The session.
    pub session: String,
    /// Its text; `None` for an answer to a command that nobody saw.
    pub text: Option<String>,
    /// Asked for.
    pub asked: u64,
    /// Known to be there.
    pub told: Option<u64>,
}

impl Note {
    /// This text is its.
    pub fn is(&self, text: &str) -> bool {
        match &self.text {
            Some(own) => own == text,
            None => is_answer_to_command(text),
        }
    }
}

/// A session was asked to become another: begun anew, deleted, cut short.
pub struct Change {
    /// The session.
    pub session: String,
    /// Asked for.
    pub asked: u64,
    /// Known to be done.
    pub told: Option<u64>,
}

/// A question for `chat.history` and its answer.
pub struct View<'a> {
    /// The session.
    pub session: String,
    /// Asked.
    pub asked: u64,
    /// Newest messages wanted.
    pub limit: usize,
    /// The payload of the answer.
    pub payload: Cow<'a, Value>,
}

/// All of it.
#[derive(Default)]
pub struct Inputs<'a> {
    /// What was said.
    pub all: Vec<Input>,
    by_text: BTreeMap<String, Vec<usize>>,
    by_message: BTreeMap<i64, usize>,
    /// Words of people as they wrote them, without the envelope in which a model is given them.
    bare: BTreeSet<String>,
    /// The inputs by their words in one line, as they stand in a summary of what waited.
    by_line: BTreeMap<String, Vec<usize>>,
    /// Lines beside.
    pub notes: Vec<Note>,
    /// Beginnings anew and deletions.
    pub resets: Vec<Change>,
    /// Compactions.
    pub cuts: Vec<Change>,
    /// Runs of a session were asked to end.
    pub stops: Vec<(String, u64)>,
    /// Answers of `chat.history`, by their records.
    pub views: BTreeMap<u64, View<'a>>,
    /// When a run is known to have ended and to be stored, by its id.
    pub ended: BTreeMap<String, u64>,
    /// When runs are known to have ended with a whole answer.
    done: BTreeMap<String, Vec<u64>>,
    /// What a run had said when it was ended, as far as anybody had been told, and when that was told.
    aborted: BTreeMap<String, (u64, String)>,
    /// Sessions that were given the model that the gateway has built in.
    echoes: BTreeSet<String>,
    /// When answers to a message went out, by its id.
    answered: BTreeMap<i64, Vec<u64>>,
    /// From when on sessions are surely there: those that nobody has taken away.
    made: BTreeMap<String, u64>,
    /// Whose keys have named a `send`, and which.
    keys: BTreeSet<(String, String)>,
}

/// What a text of a user is.
pub enum Said {
    /// Of this session: these inputs.
    Here(Vec<usize>),
    /// Words that belong to another session alone.
    Elsewhere(String),
    /// A person's words without the envelope that says whose they are.
    Bare,
    /// The gateway's own, or unknown.
    Other,
}

impl<'a> Inputs<'a> {
    /// Reads them.
    pub fn of(conns: &[Conn<'a>], facts: &Facts<'a>, expect: &Expect) -> Self {
        let mut this = Self { made: made(conns, facts), ..Self::default() };
        for c in conns {
            let Some(hello) = &c.hello else { continue };
            for r in &c.requests {
                this.request(r, hello);
            }
            let mut said: BTreeMap<&str, String> = BTreeMap::new();
            for e in &c.events {
                let ends = e.turn == Turn::End && e.payload["data"]["phase"] == "end";
                let state = e.payload["state"].as_str().filter(|_| e.name == "chat");
                if ends || state == Some("final") {
                    this.end(e.run, e.at.t);
                }
                if state == Some("final") {
                    this.done.entry(e.run.to_owned()).or_default().push(e.at.t);
                }
                if state == Some("delta") {
                    said.insert(e.run, text_of(&e.payload["message"]));
                }
                // Who saw most of it before says what had been told.
                if state == Some("aborted") {
                    let words = [text_of(&e.payload["message"]), said.remove(e.run).unwrap_or_default()];
                    let known = this.aborted.entry(e.run.to_owned()).or_default();
                    if let Some(more) = words.into_iter().max_by_key(String::len).filter(|w| w.len() > known.1.len()) {
                        *known = (e.at.t, more);
                    }
                }
            }
        }
        this.commands(conns);
        this.updates(conns, facts, expect);
        this.tools(conns, facts);
        this.notes.sort_by_key(|n| n.asked);
        this
    }

    fn end(&mut self, run: &str, at: u64) {
        let known = self.ended.entry(run.to_owned()).or_insert(at);
        *known = at.min(*known);
    }

    fn request(&mut self, r: &Request<'a>, hello: &Hello) {
        let text = |key: &str| r.params[key].as_str().filter(|t| !t.trim().is_empty());
        let session = text("sessionKey").or(text("key")).map(|shown| hello.session(shown));
        let told = r.first.filter(super::super::conn::Answer::ok).map(|a| a.at.t);
        let refused = r.first.is_some_and(|a| !a.ok());
        let asked = r.at.t;
        match (r.method, session) {
            ("chat.send", Some(session)) => {
                let words = text("message").unwrap_or_default();
                if STOP.iter().any(|s| words.trim().eq_ignore_ascii_case(s)) {
                    self.stops.push((session, asked));
                } else if !is_command(words) {
                    self.said(r, Some(session));
                }
            }
            ("agent", session) => {
                if let Some(end) = r.last.filter(super::super::conn::Answer::ok) {
                    self.end(r.key().unwrap_or_default(), end.at.t);
                }
                self.said(r, session);
            }
            ("chat.abort", Some(session)) => self.stops.push((session, asked)),
            ("chat.inject", Some(session)) if !refused => {
                let message = r.params["message"].as_str().unwrap_or_default();
                let label = text("label").map(|l| format!("[{}]\n\n", l.trim())).unwrap_or_default();
                let text = Some(shortened(&format!("{label}{message}")));
                self.notes.push(Note { session, text, asked, told });
            }
            ("send", Some(session)) => {
                // What has arrived stands in its session, if that was surely there; what waits still may come to stand there.
                let there = self.made.get(&session).is_some_and(|made| *made < asked);
                let pending = r.first.is_some_and(|a| a.reason() == "DELIVERY_PENDING");
                let key = (hello.identity().to_owned(), r.key().unwrap_or_default().to_owned());
                if (!refused || pending) && self.keys.insert(key) {
                    let text = text("message").map(shortened);
                    self.notes.push(Note { session, text, asked, told: told.filter(|_| there) });
                }
            }
            ("sessions.reset", Some(session)) if !refused => self.resets.push(Change { session, asked, told }),
            ("sessions.delete", Some(session)) => {
                self.stops.push((session.clone(), asked));
                self.resets.push(Change { session, asked, told: None });
            }
            ("sessions.compact", Some(session)) if !refused => self.cuts.push(Change { session, asked, told }),
            ("sessions.patch", Some(session)) if r.params["model"] == "builtin/echo" => {
                self.echoes.insert(session);
            }
            ("chat.history", Some(session)) => {
                if let Some(a) = r.first.filter(super::super::conn::Answer::ok) {
                    let limit = r.params["limit"].as_u64().unwrap_or(200) as usize;
                    let payload = Cow::Borrowed(&a.frame["payload"]);
                    self.views.insert(a.at.i, View { session, asked, limit, payload });
                }
            }
            _ => {}
        }
    }

    /// Slash commands of clients: their answers are lines of the transcript, and some of them begin it anew.
    fn commands(&mut self, conns: &[Conn]) {
        let mut answers: BTreeMap<&str, (u64, Option<String>)> = BTreeMap::new();
        for c in conns {
            for e in c.events.iter().filter(|e| e.name == "chat" && e.payload["state"] == "final") {
                let text = Some(text_of(&e.payload["message"])).filter(|t| !t.is_empty());
                answers.entry(e.run).or_insert((e.at.t, text));
            }
        }
        let mut keys = BTreeSet::new();
        for c in conns {
            let Some(hello) = &c.hello else { continue };
            for r in c.requests.iter().filter(|r| r.method == "chat.send") {
                let words = r.params["message"].as_str().unwrap_or_default();
                let (Some(shown), Some(key)) = (r.params["sessionKey"].as_str(), r.key()) else { continue };
                if !is_command(words) || r.first.is_some_and(|a| !a.ok()) || !keys.insert((hello.identity(), key)) {
                    continue;
                }
                let (session, asked) = (hello.session(shown), r.at.t);
                let answer = answers.get(key);
                let told = answer.map(|(t, _)| *t);
                if is_reset(words) {
                    let done = answer.is_some_and(|(_, text)| text.as_deref().is_some_and(is_begun_anew));
                    let told = told.filter(|_| done);
                    self.resets.push(Change { session: session.clone(), asked, told });
                }
                let text = answer.and_then(|(_, text)| text.as_deref().map(shortened));
                self.notes.push(Note { session, text, asked, told });
            }
        }
    }

    /// Something a client says.
    fn said(&mut self, r: &Request, session: Option<String>) {
        let Some(words) = r.params["message"].as_str().filter(|t| !t.trim().is_empty()) else { return };
        let text = shortened(words);
        let list = self.by_text.entry(text).or_default();
        let known = list.iter().copied().find(|n| self.all[*n].session == session);
        let timeout = r.params["timeoutMs"].as_u64().or_else(|| r.params["timeout"].as_u64().map(|s| s * 1000));
        let n = known.unwrap_or_else(|| {
            list.push(self.all.len());
            let (sent, keys) = (vec![], BTreeSet::new());
            self.all.push(Input { session, at: r.at, sent, by: r.at.t, keys, message: None, timeout_ms: None });
            self.all.len() - 1
        });
        let input = &mut self.all[n];
        input.at = if r.at.t < input.at.t { r.at } else { input.at };
        input.sent.push(r.at.t);
        input.keys.extend(r.key().map(str::to_owned));
        input.timeout_ms = input.timeout_ms.or(timeout.filter(|t| *t > 0));
    }

    /// What runs say to other sessions, and what they look up of them.
    fn tools(&mut self, conns: &[Conn<'a>], facts: &Facts<'a>) {
        let Some(hello) = conns.iter().find_map(|c| c.hello.as_ref()) else { return };
        let session = |arguments: &Value| arguments["sessionKey"].as_str().map(|shown| hello.session(shown));
        let mut steps: BTreeMap<u64, u64> = BTreeMap::new();
        for r in facts.history {
            match &r.what {
                What::Model { request, answer, .. } => {
                    steps.insert(*request, r.t_us);
                    if !answer.contains("sessions_send") {
                        continue;
                    }
                    let step: Value = serde_json::from_str(answer).unwrap_or_default();
                    let arguments = step["args"].as_str().and_then(|args| serde_json::from_str(args).ok());
                    let arguments: Value = arguments.filter(|_| step["name"] == "sessions_send").unwrap_or_default();
                    if let (Some(session), Some(words)) = (session(&arguments), arguments["message"].as_str()) {
                        self.said_by_a_tool(session, words.trim(), Mark::of(r));
                    }
                }
                What::Given { after, parts, .. } => {
                    let Some(view) = looked_up(parts) else { continue };
                    let asked = after.and_then(|(before, _)| steps.get(&before).copied()).unwrap_or(0);
                    if let Some(session) = session(&view.0) {
                        let limit = view.0["limit"].as_u64().unwrap_or(20).clamp(1, 100) as usize;
                        let payload = Cow::Owned(json!({ "messages": view.1 }));
                        self.views.insert(r.i, View { session, asked, limit, payload });
                    }
                }
                _ => {}
            }
        }
    }

    /// Each call of the tool begins a run of its own.
    fn said_by_a_tool(&mut self, session: String, words: &str, at: Mark) {
        let list = self.by_text.entry(shortened(words)).or_default();
        let known = list.iter().copied().find(|n| self.all[*n].session.as_ref() == Some(&session));
        let n = known.unwrap_or_else(|| {
            list.push(self.all.len());
            let (sent, keys) = (vec![], BTreeSet::new());
            self.all.push(Input { session: Some(session), at, sent, by: at.t, keys, message: None, timeout_ms: None });
            self.all.len() - 1
        });
        self.all[n].keys.insert(format!("tool {}", at.i));
    }

    fn updates(&mut self, conns: &[Conn], facts: &Facts, expect: &Expect) {
        let main = conns.iter().find_map(|c| Some(c.hello.as_ref()?.session("main")));
        let main = main.unwrap_or_else(|| "agent:main:main".to_owned());
        let came = telegram::came(&telegram::calls(facts), facts);
        for r in facts.history {
            match &r.what {
                What::Update { update_id, update } => {
                    if update["chat"].as_i64().is_none() {
                        continue;
                    }
                    let words = update["text"].as_str().unwrap_or_default();
                    let session = telegram::places::session(update, &main, expect);
                    let plain = words.trim();
                    if STOP.iter().any(|s| plain.eq_ignore_ascii_case(s)) {
                        self.stops.push((session, r.t_us));
                    } else if is_reset(plain) {
                        self.resets.push(Change { session, asked: r.t_us, told: None });
                    } else if let Some(message) = update["message_id"].as_i64().filter(|_| !is_command(plain)) {
                        self.bare.insert(shortened(words));
                        if self.by_message.contains_key(&message) {
                            continue;
                        }
                        self.by_message.insert(message, self.all.len());
                        self.by_line.entry(in_one_line(words)).or_default().push(self.all.len());
                        self.all.push(Input {
                            session: Some(session),
                            at: Mark::of(r),
                            sent: vec![],
                            by: came.get(update_id).map_or(r.t_us, |(given, _)| *given),
                            keys: BTreeSet::new(),
                            message: Some(message),
                            timeout_ms: None,
                        });
                    }
                }
                What::Telegram { method, params, status: None } if method.starts_with("send") => {
                    let words = params["text"].as_str().unwrap_or_default();
                    for message in telegram::quoted(words) {
                        self.answered.entry(message).or_default().push(r.t_us);
                    }
                }
                _ => {}
            }
        }
    }

    /// This input stands in a text of a user.
    pub fn is_in(&self, n: usize, text: &str) -> bool {
        match self.all[n].message {
            Some(id) => telegram::quoted(text).any(|m| m == id),
            None => self.by_text.get(text).is_some_and(|list| list.contains(&n)),
        }
    }

    /// Sessions to which something was said that stands in this list.
    pub fn sessions(&self, parts: &[Part]) -> BTreeSet<&str> {
        let texts = parts.iter().filter_map(|p| if let Part::User(text) = p { Some(text) } else { None });
        texts.flat_map(|text| self.told_of(text)).filter_map(|n| self.all[n].session.as_deref()).collect()
    }

    /// The inputs that stand in a text of a user, or of which it is the summary alone.
    fn told_of(&self, text: &str) -> Vec<usize> {
        let all = self.inputs(text);
        if !all.is_empty() {
            return all;
        }
        let Some((_, lines)) = text.split_once(SUMMED_UP) else { return all };
        let lines = lines.strip_suffix(']').unwrap_or(lines).split("\n- ").filter(|line| !line.is_empty());
        lines.filter_map(|line| self.by_line.get(line)).flatten().copied().collect()
    }

    /// The inputs that stand in a text of a user.
    fn inputs(&self, text: &str) -> Vec<usize> {
        if let Some(list) = self.by_text.get(text) {
            return list.clone();
        }
        telegram::quoted(text).filter_map(|id| self.by_message.get(&id).copied()).collect()
    }

    /// What this text is in this session.
    pub fn what(&self, text: &str, session: &str) -> Said {
        let all = self.inputs(text);
        let unknown = all.iter().any(|n| self.all[*n].session.is_none());
        let of = |n: &&usize| self.all[**n].session.as_deref().is_none_or(|s| s == session);
        let here: Vec<usize> = all.iter().filter(of).copied().collect();
        match all.first() {
            _ if !here.is_empty() => Said::Here(here),
            Some(other) if !unknown => Said::Elsewhere(self.all[*other].session.clone().unwrap_or_default()),
            _ if self.bare.contains(text) => Said::Bare,
            _ => Said::Other,
        }
    }

    /// The session that a request is of: the last thing said in it that was said to one session only.
    pub fn session(&self, parts: &[Part]) -> Option<&str> {
        parts.iter().rev().find_map(|part| {
            let Part::User(text) = part else { return None };
            let all = self.told_of(text);
            let first = self.all[*all.first()?].session.as_deref()?;
            all.iter().all(|n| self.all[*n].session.as_deref() == Some(first)).then_some(first)
        })
    }

    /// How often an input may stand in one transcript by `until`: once for each key, and once more for each end of a process
    /// after which it was asked for again, since a run that a stop cut off leaves its key free.
    pub fn most(&self, n: usize, until: u64, facts: &Facts, expect: &Expect) -> usize {
        let input = &self.all[n];
        let again = facts.lives.iter().filter(|l| l.to <= until && input.sent.iter().any(|t| *t > l.to));
        let again = again.filter(|l| l.to > input.at.t).count();
        (input.keys.len().max(1) + again) * if expect.backlog { 2 } else { 1 }
    }

    /// A run of one of these inputs is known to have ended in this time: its end was told, or its answer went out. Of words that
    /// stand before the last ones it says nothing that their own run was ended.
    pub fn ended_between(&self, inputs: &[usize], from: u64, to: u64) -> bool {
        inputs.iter().any(|n| {
            let input = &self.all[*n];
            let is_own = |key: &&String| Some(n) == inputs.last() || !self.aborted.contains_key(*key);
            let told =
                input.keys.iter().filter(|_| input.keys.len() == 1).filter(is_own).filter_map(|k| self.ended.get(k));
            let sent = input.message.and_then(|m| self.answered.get(&m)).into_iter().flatten();
            told.chain(sent).any(|t| (from..to).contains(t))
        })
    }

    /// When it was told first that the run which began then had ended with a whole answer: an earlier one of the same name is
    /// another.
    pub fn done(&self, inputs: &[usize], since: u64) -> Option<u64> {
        let [n] = inputs else { return None };
        let mut keys = self.all[*n].keys.iter();
        let (Some(key), None) = (keys.next(), keys.next()) else { return None };
        self.done.get(key)?.iter().copied().filter(|told| *told >= since).min()
    }

    /// A client has said one of these again in this time.
    pub fn said_again(&self, inputs: &[usize], from: u64, to: u64) -> bool {
        inputs.iter().any(|n| self.all[*n].sent.iter().any(|t| (from + 1..=to).contains(t)))
    }

    /// What the built-in model of this session answers to these words: the gateway asks nobody else.
    pub fn is_echo(&self, session: &str, words: &Part, answer: &str) -> bool {
        self.echoes.contains(session) && matches!(words, Part::User(text) if text == answer)
    }

    /// What a client was told of its run until that was ended, and when it was.
    pub fn said_until_aborted(&self, inputs: &[usize]) -> Option<(u64, &str)> {
        let [n] = inputs else { return None };
        let mut keys = self.all[*n].keys.iter();
        let (Some(key), None) = (keys.next(), keys.next()) else { return None };
        self.aborted.get(key).map(|(t, said)| (*t, said.as_str())).filter(|(_, said)| !said.trim().is_empty())
    }

    /// Somebody has asked in this time for a run of this session to end.
    pub fn stopped_between(&self, session: &str, from: u64, to: u64) -> bool {
        self.stops.iter().any(|(s, t)| s == session && (from..=to).contains(t))
    }

    /// Something else than these was said to this session in this time, for the first time or again: the first may not have come
    /// through.
    pub fn said_between(&self, session: &str, but: &[usize], from: u64, to: u64) -> bool {
        let says = |i: &Input| i.at.t <= to && i.by >= from || i.sent.iter().any(|t| (from..=to).contains(t));
        let others = self.all.iter().enumerate().filter(|(n, _)| !but.contains(n));
        others.into_iter().any(|(_, i)| i.session.as_deref() == Some(session) && says(i))
    }
}

/// How a message stands in a summary.
fn in_one_line(words: &str) -> String {
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The first call of `sessions_history` in what a request adds, with what came of it.
fn looked_up(parts: &[Part]) -> Option<(Value, Value)> {
    parts.iter().find_map(|part| {
        let Part::Call { id, name, arguments } = part else { return None };
        let result = parts.iter().find_map(|p| match p {
            Part::Result { id: of, text } if of == id && name == "sessions_history" => Some(text),
            _ => None,
        })?;
        let messages: Value = serde_json::from_str(result).ok()?;
        Some((serde_json::from_str(arguments).ok()?, messages)).filter(|(_, messages)| messages.is_array())
    })
}

/// From when on sessions are surely there, which somebody has spoken with: by their whole keys.
fn made(conns: &[Conn], facts: &Facts) -> BTreeMap<String, u64> {
    let mut made: BTreeMap<String, u64> = BTreeMap::new();
    let mut gone: BTreeSet<String> = BTreeSet::new();
    for (hello, r) in conns
        .iter()
        .filter_map(|c| c.hello.as_ref().map(|h| (h, c)))
        .flat_map(|(h, c)| c.requests.iter().map(move |r| (h, r)))
    {
        let Some(shown) = r.params["sessionKey"].as_str().or(r.params["key"].as_str()) else { continue };
        let session = hello.session(shown);
        match r.method {
            "sessions.delete" | "sessions.reset" => drop(gone.insert(session)),
            "chat.send" | "agent" | "sessions.patch" => {
                if let Some(a) = r.first.filter(super::super::conn::Answer::ok) {
                    let at = a.at.t + 2_000_000 + facts.stores;
                    let known = made.entry(session).or_insert(at);
                    *known = at.min(*known);
                }
            }
            _ => {}
        }
    }
    made.retain(|session, _| !gone.contains(session));
    made
}

fn is_command(words: &str) -> bool {
    let word = words.split_whitespace().next().unwrap_or_default();
    let word = word.split('@').next().unwrap_or_default();
    COMMANDS.iter().any(|c| word.eq_ignore_ascii_case(c))
}

fn is_reset(words: &str) -> bool {
    let word = words.split_whitespace().next().unwrap_or_default();
    let word = word.split('@').next().unwrap_or_default();
    ["/new", "/reset"].iter().any(|c| word.eq_ignore_ascii_case(c))
}

fn is_begun_anew(answer: &str) -> bool {
    answer.starts_with("A new session has begun.")
}

/// The text of a message.
fn text_of(message: &Value) -> String {
    let parts = message["content"].as_array().into_iter().flatten();
    parts.filter_map(|p| p["text"].as_str()).collect()
}
