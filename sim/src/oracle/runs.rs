//! Agent runs as their events tell them (agent-chat-channels.md sections 2 to 5; D28, F13, F14, F17).

use std::collections::{BTreeMap, BTreeSet};

use indexmap::{IndexMap, map::Entry};
use serde_json::Value;

use super::{
    Expect,
    conn::{Answer, Conn, Event, Request, Turn},
    facts::{Facts, Mark},
    findings::Findings,
    sheet::Need,
};
use crate::history::What;

/// What is known about one run in one life of the gateway.
#[derive(Default)]
struct Known<'a> {
    /// Who accepted it and when.
    accepted: Option<(Mark, &'a str)>,
    /// Its latest sign of life anywhere.
    latest: u64,
    ended: bool,
    /// Final texts told in different ways: by chat, by response.
    finals: Vec<(Mark, &'a str, String)>,
}

/// The last chat event of a run follows its last agent event within this time, in microseconds.
const CHAT_END: u64 = 2_000_000;

/// Checks them all.
pub fn check(conns: &[Conn], facts: &Facts, expect: &Expect, out: &mut Findings) {
    let hints = Hints::of(facts);
    let mut runs: BTreeMap<(usize, String), Known> = BTreeMap::new();
    // Who used a key first; only that request gets a second response.
    let mut claims: BTreeMap<&str, u64> = BTreeMap::new();
    for r in conns.iter().flat_map(|c| &c.requests) {
        if let Some(key) = r.key() {
            let first = claims.entry(key).or_insert(r.at.i);
            *first = r.at.i.min(*first);
        }
    }
    for c in conns.iter().filter(|c| c.hello.is_some()) {
        requests(c, &mut runs);
        final_responses(c, &claims, facts, expect, out);
        let mut watched =
            Watch { c, hints: &hints, runs: IndexMap::new(), sessions: BTreeMap::new(), number: 0, gap: 0 };
        for e in &c.events {
            watched.event(e, out);
        }
        let gap = c.has_gap();
        for (id, run) in watched.runs {
            let known = runs.entry((c.life, id.to_owned())).or_default();
            known.latest = known.latest.max(run.latest);
            known.ended |= run.ended.is_some() || run.chat_ended.is_some();
            // Who was shown what is being said is shown the end of it.
            let told = run.chat.is_none() || run.chat_ended.is_some();
            let cannot_tell = gap || c.may_lag(facts, facts.end) || c.until(facts) < run.latest + CHAT_END;
            if let Some(at) = run.ended.filter(|_| !told && !cannot_tell) {
                out.broken("chat_text", at, format!("{}: run {id} has ended, its chat has not", c.name));
            }
            if let Some((at, text)) = run.told {
                known.finals.push((at, "its deltas", text));
            }
            if let Some((at, text)) = run.final_text {
                known.finals.push((at, "the final chat event", text));
            }
        }
        order(c, out);
    }
    for ((_, id), run) in &runs {
        for pair in run.finals.windows(2) {
            let ((_, how, text), (at, other, again)) = (&pair[0], &pair[1]);
            // After a tool call the last reply may be empty; a text that was taken back is not seen as such.
            if text != again && !(hints.calls_models && (text.is_empty() || again.is_empty())) {
                let text = format!("run {id}: {other} gave {again:?}, {how} gave {text:?}");
                out.broken("final_text", at.i, text);
            }
        }
    }
    unfinished(conns, &runs, facts, expect, &hints, out);
}

/// What makes runs slower or odd in this history.
struct Hints {
    /// There is a model server: retries and tools are possible.
    calls_models: bool,
    /// Models were asked to use tools, whose events may be hidden (they use numbers all the same).
    tools: bool,
    /// Something may hold a run until its deadline.
    stuck: bool,
}

impl Hints {
    fn of(facts: &Facts) -> Self {
        let mut this =
            Self { calls_models: false, tools: false, stuck: facts.faults.iter().any(super::facts::Fault::is_model) };
        for r in facts.history {
            if let What::Model { text, answer, .. } = &r.what {
                this.calls_models = true;
                this.tools |= text.contains("[[tool") || answer.contains("tool");
                this.stuck |= text.contains("[[") || answer.contains("hang");
            }
        }
        this
    }
}

fn text_of(message: &Value) -> String {
    let parts = message["content"].as_array().into_iter().flatten();
    parts.filter_map(|p| p["text"].as_str()).collect()
}

/// Runs started on this connection, and what their responses say about the end.
fn requests<'a>(c: &Conn<'a>, runs: &mut BTreeMap<(usize, String), Known<'a>>) {
    for r in &c.requests {
        let (Some(key), Some(first)) = (r.key(), &r.first) else { continue };
        let starts = r.is_accepted() || (r.method == "chat.send" && first.status() == "started");
        if starts {
            let known = runs.entry((c.life, key.to_owned())).or_default();
            known.accepted.get_or_insert((first.at, c.name));
            known.latest = known.latest.max(first.at.t);
        }
        let ended = r.last.or(Some(*first).filter(|a| r.method == "agent" && a.status() != "accepted"));
        if let Some(last) = ended.filter(|_| matches!(r.method, "agent")) {
            let known = runs.entry((c.life, key.to_owned())).or_default();
            known.ended = true;
            if let Some(text) = result_text(&last) {
                known.finals.push((last.at, "the final response", text));
            }
        }
    }
    for r in c.requests.iter().filter(|r| r.method == "agent.wait") {
        if let (Some(run), Some(a)) = (r.params["runId"].as_str(), &r.first)
            && matches!(a.status(), "ok" | "error")
        {
            runs.entry((c.life, run.to_owned())).or_default().ended = true;
        }
    }
}

/// Text of a successful, not aborted final response.
fn result_text(a: &Answer) -> Option<String> {
    let result = &a.frame["payload"]["result"];
    if !a.ok() || result["meta"]["aborted"] != false {
        return None;
    }
    let payloads = result["payloads"].as_array().into_iter().flatten();
    Some(payloads.filter_map(|p| p["text"].as_str()).collect())
}

/// A run that ended before the eyes of its caller is also answered to it.
fn final_responses(c: &Conn, claims: &BTreeMap<&str, u64>, facts: &Facts, expect: &Expect, out: &mut Findings) {
    let mut ends: BTreeMap<&str, Mark> = BTreeMap::new();
    for e in c.events.iter().filter(|e| e.turn == Turn::End) {
        ends.entry(e.run).or_insert(e.at);
    }
    for r in c.requests.iter().filter(|r| r.is_accepted() && r.last.is_none()) {
        let Some(end) = r.key().and_then(|key| ends.get(key)) else { continue };
        // Only the request that started the run gets a second answer, a repeat does not.
        // Delivery to a channel comes between the two.
        let patience = if r.params["deliver"] == true { 180_000 } else { expect.answer_within_ms };
        let due = end.t + patience * 1000;
        let quiet = !c.is_disturbed(facts, end.t, due) && !c.is_orphan(facts, due);
        let first = r.key().and_then(|k| claims.get(k)) == Some(&r.at.i);
        if c.until(facts) > due && quiet && first {
            let id = &r.id;
            out.broken(
                "runs_end",
                end.i,
                format!("{}: the run of {id:?} ended, but its second response never came", c.name),
            );
        }
    }
}

/// One run as one connection sees it.
#[derive(Default)]
struct Seen {
    /// From its first event on.
    whole: bool,
    seq: u64,
    latest: u64,
    text: String,
    ended: Option<u64>,
    failed: bool,
    chat: Option<String>,
    chat_ended: Option<u64>,
    /// Record of the run's first event here, then of its latest chat delta.
    since: u64,
    told: Option<(Mark, String)>,
    final_text: Option<(Mark, String)>,
    started: bool,
}

/// The run `id`; true when it is seen for the first time.
fn seen<'r, 'a>(runs: &'r mut IndexMap<&'a str, Seen>, id: &'a str) -> (bool, &'r mut Seen) {
    match runs.entry(id) {
        Entry::Vacant(e) => (true, e.insert(Seen::default())),
        Entry::Occupied(e) => (false, e.into_mut()),
    }
}

struct Watch<'c, 'a> {
    c: &'c Conn<'a>,
    hints: &'c Hints,
    runs: IndexMap<&'a str, Seen>,
    /// The run under way, by session, and the record of its start.
    sessions: BTreeMap<String, (&'a str, u64)>,
    /// Number of the latest event.
    number: u64,
    /// Record of the latest event before which numbers are missing.
    gap: u64,
}

impl<'a> Watch<'_, 'a> {
    fn event(&mut self, e: &Event<'a>, out: &mut Findings) {
        if let Some(n) = e.seq
            && n != std::mem::replace(&mut self.number, n) + 1
        {
            self.gap = e.at.i;
        }
        match e.name {
            "agent" if !e.run.is_empty() => self.agent(e.run, e, out),
            "chat" if !e.run.is_empty() => self.chat(e.run, e, out),
            _ => {}
        }
    }

    fn agent(&mut self, id: &'a str, e: &Event<'a>, out: &mut Findings) {
        let (name, at) = (self.c.name, e.at.i);
        let seq = e.payload["seq"].as_u64().unwrap_or_default();
        let (new, run) = seen(&mut self.runs, id);
        run.latest = e.at.t;
        if new {
            run.since = at;
        }
        if new || (run.seq == 0 && !run.whole) {
            run.whole = seq == 1;
        } else if run.seq > 0 && seq <= run.seq {
            out.broken("agent_seq", at, format!("{name}: run {id}: seq {seq} after {}", run.seq));
        } else if run.seq > 0 && seq > run.seq + 1 && !self.hints.tools {
            out.broken("agent_seq", at, format!("{name}: run {id}: seq {seq} after {}, events are missing", run.seq));
        }
        // A start that this connection was there for has the number 1.
        if e.turn == Turn::Start && seq != 1 {
            out.broken("agent_seq", at, format!("{name}: run {id}: starts with seq {seq}"));
        }
        run.seq = run.seq.max(seq);
        if let Some(ended) = run.ended {
            let what = if e.turn == Turn::End { "ends a second time" } else { "goes on after its end" };
            out.broken("runs_end", at, format!("{name}: run {id} {what} (end at record {ended})"));
        }
        if e.turn == Turn::Start && std::mem::replace(&mut run.started, true) {
            out.broken("runs_end", at, format!("{name}: run {id} starts a second time"));
        }
        if e.payload["stream"] == "assistant" {
            Self::assistant(self.c, run, id, e, out);
        }
        let aborted = e.payload["data"]["aborted"] == true;
        if e.turn == Turn::End {
            run.ended = Some(at);
            run.failed = aborted || e.payload["data"]["phase"] == "error";
            if run.whole && !run.failed {
                run.told = Some((e.at, run.text.clone()));
            }
        }
        self.session(id, e, out);
    }

    /// `text` is what was there plus `delta`, or begins anew with it (a reply that was taken back, or the next one).
    fn assistant(c: &Conn, run: &mut Seen, id: &str, e: &Event, out: &mut Findings) {
        let data = &e.payload["data"];
        let (Some(text), Some(delta)) = (data["text"].as_str(), data["delta"].as_str()) else {
            out.broken("deltas", e.at.i, format!("{}: run {id}: an assistant event without text or delta", c.name));
            return;
        };
        let goes_on = text.strip_suffix(delta).is_some_and(|head| head == run.text);
        let joins = !run.whole && run.text.is_empty();
        if !goes_on && text != delta && !joins {
            let text = format!("{}: run {id}: text {text:?} is not {:?} plus {delta:?}", c.name, run.text);
            out.broken("deltas", e.at.i, text);
        }
        text.clone_into(&mut run.text);
    }

    /// One run at a time in a session.
    fn session(&mut self, id: &'a str, e: &Event<'a>, out: &mut Findings) {
        if e.turn == Turn::Other {
            return;
        }
        let (Some(key), Some(hello)) = (e.payload["sessionKey"].as_str(), &self.c.hello) else { return };
        let key = hello.session(key);
        if e.turn == Turn::Start {
            let before = self.sessions.insert(key.clone(), (id, e.at.i)).filter(|(o, _)| *o != id);
            // A node sees a session only while it follows it: it misses an end while it does not.
            let missed = |since: u64| hello.rights.node && stops_following(self.c, &key, since, e.at.i);
            if let Some((other, _)) = before.filter(|(_, since)| !missed(*since)) {
                let text = format!("{}: run {id} starts in {key} while run {other} is under way", self.c.name);
                out.broken("one_run", e.at.i, text);
            }
        } else if e.turn == Turn::End && self.sessions.get(&key).is_some_and(|(run, _)| *run == id) {
            self.sessions.remove(&key);
        }
    }

    fn chat(&mut self, id: &'a str, e: &Event<'a>, out: &mut Findings) {
        let (name, at) = (self.c.name, e.at.i);
        let (new, run) = seen(&mut self.runs, id);
        run.latest = e.at.t;
        let state = e.payload["state"].as_str().unwrap_or_default();
        if let Some(ended) = run.chat_ended {
            let text = format!("{name}: run {id}: chat state {state:?} after its end (record {ended})");
            out.broken("chat_text", at, text);
        }
        if state == "delta" {
            let whole = text_of(&e.payload["message"]);
            let Some(delta) = e.payload["deltaText"].as_str() else {
                out.broken("chat_text", at, format!("{name}: run {id}: a delta without deltaText"));
                return;
            };
            let replaces = e.payload["replace"] == true;
            let before = match &run.chat {
                _ if replaces => Some(String::new()),
                Some(text) => Some(text.clone()),
                // The first delta that is seen: it is the first one at all if the run began here.
                None if !new && run.whole => Some(String::new()),
                None => None,
            };
            // A delta may be withheld from a slow reader, which leaves a gap; `message` makes up for it.
            let lost = self.gap > run.since;
            if let Some(before) = before.filter(|_| !lost)
                && format!("{before}{delta}") != whole
            {
                let text = format!("{name}: run {id}: {before:?} plus {delta:?} is not {whole:?}");
                out.broken("chat_text", at, text);
            }
            if run.whole && !run.text.starts_with(&whole) && whole != run.text {
                out.broken("chat_text", at, format!("{name}: run {id}: chat says {whole:?}, agent {:?}", run.text));
            }
            run.chat = Some(whole);
            run.since = at;
            return;
        }
        run.chat_ended = Some(at);
        if !matches!(state, "final" | "aborted" | "error") {
            out.broken("chat_text", at, format!("{name}: run {id}: unknown chat state {state:?}"));
        }
        if state == "final" && !id.starts_with("inject-") {
            run.final_text = Some((e.at, text_of(&e.payload["message"])));
        }
    }
}

/// A node that does not want to hear of a session any more is told so between two records.
fn stops_following(c: &Conn, session: &str, from: u64, to: u64) -> bool {
    let Some(hello) = &c.hello else { return false };
    let asked = c.requests.iter().filter(|r| r.method == "node.event" && r.at.i <= to);
    asked.filter(|r| r.first.is_none_or(|a| a.at.i >= from)).any(|r| {
        let payload = r.params["payloadJSON"].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
        let payload = payload.as_ref().unwrap_or(&r.params["payload"]);
        r.params["event"] == "chat.unsubscribe"
            && payload["sessionKey"].as_str().map(|k| hello.session(k)).as_deref() == Some(session)
    })
}

/// Runs of one session start in the order in which one connection asked for them; their answers may overtake each other. One that
/// had been accepted before it was asked for here, by the times that the gateway tells, has its place by that.
fn order(c: &Conn, out: &mut Findings) {
    let Some(hello) = &c.hello else { return };
    let mut asked: Vec<(&str, String, u64)> = Vec::new();
    let mut seen = BTreeSet::new();
    let is_repeat = |r: &Request, first: &Answer| {
        let told = |e: &&Event| e.at.i < r.at.i;
        let latest = c.events.iter().rev().filter(told).find_map(|e| e.payload["ts"].as_u64());
        latest.zip(first.frame["payload"]["acceptedAt"].as_u64()).is_some_and(|(latest, at)| at < latest)
    };
    for r in c.requests.iter().filter(|r| matches!(r.method, "agent" | "chat.send")) {
        let (Some(key), Some(first)) = (r.key(), &r.first) else { continue };
        let session = r.params["sessionKey"].as_str().map(|s| hello.session(s));
        let begins = first.ok() && matches!(first.status(), "accepted" | "started") && !is_repeat(r, first);
        if let Some(session) = session.filter(|_| begins)
            && seen.insert(key)
        {
            asked.push((key, session, r.at.i));
        }
    }
    asked.sort_by_key(|(.., at)| *at);
    let mut starts: BTreeMap<&str, u64> = BTreeMap::new();
    for e in c.events.iter().filter(|e| e.turn == Turn::Start) {
        starts.entry(e.run).or_insert(e.at.i);
    }
    let mut last: BTreeMap<&str, (&str, u64)> = BTreeMap::new();
    for (key, session, sent) in &asked {
        let Some(start) = starts.get(key) else { continue };
        // Asked for here and started after that: a repeat of somebody else's key tells nothing.
        if start < sent {
            continue;
        }
        if let Some((before, at)) = last.insert(session, (key, *start)).filter(|(_, at)| at > start) {
            let text = format!(
                "{}: run {key} in {session} starts before {before} (record {at}), which was asked for earlier",
                c.name
            );
            out.broken("one_run", *start, text);
        }
    }
}

/// Every accepted run ends, unless the gateway went before.
fn unfinished(
    conns: &[Conn],
    runs: &BTreeMap<(usize, String), Known>,
    facts: &Facts,
    expect: &Expect,
    hints: &Hints,
    out: &mut Findings,
) {
    let patience = if hints.stuck { expect.run_deadline_ms + 60_000 } else { expect.recover_within_ms } * 1000;
    let mut latest: BTreeMap<usize, u64> = BTreeMap::new();
    for ((life, _), run) in runs {
        let of_life = latest.entry(*life).or_default();
        *of_life = run.latest.max(*of_life);
    }
    for ((life, id), run) in runs {
        let Some((at, by)) = run.accepted.filter(|_| !run.ended) else { continue };
        let life_ = &facts.lives[*life];
        let end = life_.stop.map_or(life_.to, |m| m.t).min(facts.end);
        // The queue of the session moves on: only a run of a session at rest is forgotten.
        let rest = latest.get(life).copied().unwrap_or(0);
        let due = rest.max(facts.healed().min(end)) + patience;
        // Somebody was there to see it end.
        let seen = conns.iter().any(|c| {
            c.life == *life
                && c.sees(Need::Read)
                && c.hello.as_ref().is_some_and(|h| h.at.t <= at.t)
                && c.until(facts) >= due
                && !c.is_disturbed(facts, at.t, due)
        });
        if end > due && seen && !life_.crashed {
            out.broken("runs_end", at.i, format!("run {id}, accepted by {by}, never ended"));
        } else if end > due && seen && life_.crashed {
            out.broken("runs_end", at.i, format!("run {id}, accepted by {by}, had not ended long before the crash"));
        }
    }
}
