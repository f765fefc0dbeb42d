//! Nobody acts beyond his rights (S23, S24, S28, S32, S33; D46 to D48): what somebody said enters no run, session or chat
//! that is not his, has no tool that is not his, and ends or changes nothing of others.
//!
//! Written from the decisions, not from the gateway: a text is recognised wherever it turns up ([`super::voices`]), and
//! who said it tells whether it may be there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    Expect,
    conn::{Conn, Event, Turn},
    facts::{Facts, Mark},
    findings::Findings,
    sheet::Need,
    telegram,
    voices::{self, Said, Who},
};
use crate::{
    history::{Record, What},
    secret,
};

/// Whole messages that end what is under way.
const STOP: [&str; 7] = ["/stop", "stop", "esc", "abort", "wait", "exit", "interrupt"];
/// What somebody has done to a session shows within this time, in microseconds.
const SHOWS: u64 = 5_000_000;
/// What is told takes no longer over a line that nothing slows down, in microseconds.
const WAY: u64 = 100_000;
/// A deadline is not early by more than that, in microseconds: an event may have been held up on its way, a start as well.
const EARLY: u64 = 1_000_000;
/// Settings of a session, as lists show them.
const SETTINGS: [&str; 9] = [
    "sessionId",
    "label",
    "thinkingLevel",
    "verboseLevel",
    "reasoningLevel",
    "elevatedLevel",
    "sendPolicy",
    "model",
    "modelProvider",
];

/// Checks them all.
pub fn check(conns: &[Conn], said: &BTreeMap<&str, Said>, facts: &Facts, expect: &Expect, out: &mut Findings) {
    inputs(conns, said, facts, expect, out);
    commands(conns, facts, expect, out);
    chats(said, facts, expect, out);
    let deeds = deeds(conns, facts, expect);
    let is_cut = |e: &Event| e.name == "chat" && e.payload["state"] == "aborted";
    let turns = |turn| move |e: &Event| e.turn == turn;
    let starts = firsts(conns, turns(Turn::Start));
    let ended = firsts(conns, turns(Turn::End));
    let mut late = lates(conns, Turn::Start, &starts, facts);
    late.extend(lates(conns, Turn::End, &ended, facts));
    let shown = Shown { starts, late, ended, cuts: firsts(conns, is_cut) };
    for c in conns {
        transcripts(c, said, expect, out);
        node(c, conns, expect, out);
        ends(c, &deeds, &shown, facts, expect, out);
    }
    settings(conns, &deeds, facts, out);
}

/// A tool that runs commands or reaches into other sessions (D47).
fn is_commanding(tool: &str) -> bool {
    matches!(tool, "exec" | "process" | "browser" | "gateway" | "cron")
        || tool.starts_with("node_")
        || tool.starts_with("sessions_")
}

/// What entered requests to the model.
fn inputs(conns: &[Conn], said: &BTreeMap<&str, Said>, facts: &Facts, expect: &Expect, out: &mut Findings) {
    let mut known = BTreeSet::new();
    // Where people share a session, what stands before somebody's words is of a run that was ended: by its deadline, or where
    // messages end runs by whoever writes.
    let ends = |e: &Event| {
        let is_aborted = e.payload["state"] == "aborted";
        if expect.interrupts {
            is_aborted || e.payload["data"]["aborted"] == true
        } else {
            is_aborted && e.payload["stopReason"] == "timeout"
        }
    };
    let is_shared = |e: &Event| e.payload["sessionKey"].as_str().and_then(|key| key.rsplit(':').next()) == Some("main");
    let shared = |e: &&Event| expect.shared_chats && is_shared(e);
    let ended: Vec<Mark> =
        conns.iter().flat_map(|c| &c.events).filter(shared).filter(|e| ends(e)).map(|e| e.at).collect();
    // The gateway's own word of such an end counts where clients are told a moment later, and where none could be: nobody was let
    // in yet, or the line was down.
    let is_end = |r: &Record| {
        let What::Probe { name, .. } = &r.what else { return false };
        let aborts = expect.interrupts && matches!(name.as_str(), "queue.interrupted" | "runs.aborted");
        expect.shared_chats && (aborts || name == "runs.deadline_reached")
    };
    let cuts: Vec<&Record> = facts.history.iter().filter(|r| is_end(r)).collect();
    let could_hear = |c: &Conn, end: &Record, by: &Record| {
        let is_in = c.hello.as_ref().is_some_and(|h| h.rights.meet(Need::Read) && h.at.i < end.i);
        let is_open = c.closed.is_none_or(|closed| closed.at.i > end.i);
        c.life == facts.life(end.t_us) && is_in && is_open && !c.is_disturbed(facts, end.t_us, by.t_us)
    };
    let is_untold = |s: &Said, r: &Record| {
        let mut between = cuts.iter().filter(|end| (s.at.i..r.i).contains(&end.i));
        let soon = |end: &Record| ended.iter().any(|e| e.i > end.i && e.t <= end.t_us + WAY);
        between.any(|end| soon(end) || !conns.iter().any(|c| could_hear(c, end, r)))
    };
    let is_ended = |s: &Said, r: &Record| {
        let told = || ended.iter().any(|e| (s.at.i..r.i).contains(&e.i));
        matches!(s.who, Who::Person { .. }) && (told() || is_untold(s, r))
    };
    for r in facts.history {
        // What a process took with it is begun anew by the next one.
        if matches!(&r.what, What::Process { event } if event == "start") {
            known.clear();
        }
        let What::Model { text, tools, entered, .. } = &r.what else { continue };
        let texts = if entered.is_empty() { std::slice::from_ref(text) } else { entered };
        let here = |s: &&Said| s.at.i < r.i && texts.iter().any(|t| t.contains(s.stamp));
        // What was stopped before it was answered is there without ever having been asked about, as the message that it was. The
        // last one is what is asked about.
        let is_before = |s: &Said| texts.split_last().is_some_and(|(last, _)| !last.contains(s.stamp));
        let asked = |s: &&Said| !(is_stopped(s, facts, r.i) || is_before(s) && is_ended(s, r));
        let all: Vec<&Said> = said.values().filter(here).collect();
        let here: Vec<&Said> = all.iter().copied().filter(asked).collect();
        // A text enters by itself once: later it is what the transcript tells.
        let new: Vec<&Said> = all.into_iter().filter(|s| known.insert(s.stamp) && asked(s)).collect();
        for s in new {
            let (who, stamp) = (s.who.name(), s.stamp.trim());
            if let Some(tool) = tools.iter().find(|t| is_commanding(t)).filter(|_| !s.who.is_trusted()) {
                out.broken("rights", r.i, format!("{stamp:?} of {who} enters a run that has the tool {tool}"));
            }
            if let Who::Client { rights, node: None, .. } = s.who
                && !rights.meet(Need::Write)
            {
                out.broken("rights", r.i, format!("{stamp:?} of {who} is put to the model"));
            }
            if let Some(other) = here.iter().find(|o| !share(&s.who, &o.who)) {
                let (with, whose) = (other.stamp.trim(), other.who.name());
                out.broken("rights", r.i, format!("{stamp:?} of {who} enters a run together with {with:?} of {whose}"));
            }
        }
    }
}

/// Somebody has ended what went on in the chat of a person between his words and the record `until`.
fn is_stopped(s: &Said, facts: &Facts, until: u64) -> bool {
    let Who::Person { chat, .. } = s.who else { return false };
    let later = facts.history.iter().skip(s.at.i as usize + 1).take_while(|r| r.i < until);
    later.filter_map(|r| if let What::Update { update, .. } = &r.what { Some(update) } else { None }).any(|u| {
        let words = u["text"].as_str().unwrap_or_default();
        u["chat"] == chat && matches!(kind_of(words), Kind::Ends | Kind::Changes)
    })
}

/// The two may be heard in one session: operators everywhere, others only where they are themselves.
fn share(a: &Who, b: &Who) -> bool {
    match (a, b) {
        _ if a.is_bound() || b.is_bound() => true,
        (Who::Client { node: Some(a), .. }, Who::Client { node: Some(b), .. }) => a == b,
        (Who::Person { chat: a, .. }, Who::Person { chat: b, .. }) => a == b,
        (Who::Client { node: Some(_), .. }, Who::Person { .. })
        | (Who::Person { .. }, Who::Client { node: Some(_), .. }) => false,
        _ => true,
    }
}

/// Programs that were started: their marks tell who has asked for them.
fn commands(conns: &[Conn], facts: &Facts, expect: &Expect, out: &mut Findings) {
    for r in facts.history {
        let What::Command { argv } = &r.what else { continue };
        for (mark, place) in argv.iter().flat_map(|a| secret::marks(a)) {
            let client = place.strip_prefix("client.").unwrap_or_default();
            let may = match secret::of_chat(place) {
                Some((_, person)) => expect.owners.iter().any(|o| o.to_string() == person),
                None => conns.iter().any(|c| c.client == client && c.sees(Need::Admin)),
            };
            if !may {
                out.broken("rights", r.i, format!("a program is started for {place}: {mark}"));
            }
        }
    }
}

/// Words that reached a chat.
fn chats(said: &BTreeMap<&str, Said>, facts: &Facts, expect: &Expect, out: &mut Findings) {
    for call in telegram::calls(facts) {
        let Some(words) = call.params["text"].as_str().or_else(|| call.params["caption"].as_str()) else { continue };
        let chat = telegram::text(&call.params["chat_id"]);
        let to_owner = expect.owners.iter().any(|o| o.to_string() == chat) || expect.is_carried_to(&chat);
        for s in said.values().filter(|s| s.at.i < call.at.i && words.contains(s.stamp)) {
            let may = match s.who {
                Who::Person { chat: own, .. } => own.to_string() == chat || to_owner,
                Who::Client { node: Some(_), .. } => s.who.is_bound_to(&chat),
                Who::Client { rights, .. } => rights.meet(Need::Write),
            };
            if !may {
                let (who, stamp) = (s.who.name(), s.stamp.trim());
                out.broken("rights", call.at.i, format!("{stamp:?} of {who} goes to chat {chat}"));
            }
        }
    }
}

/// What a session's history shows that somebody has said in it.
fn transcripts(c: &Conn, said: &BTreeMap<&str, Said>, expect: &Expect, out: &mut Findings) {
    let Some(hello) = &c.hello else { return };
    for r in c.requests.iter().filter(|r| r.method == "chat.history") {
        let (Some(key), Some(answer)) = (r.params["sessionKey"].as_str(), &r.first) else { continue };
        let session = hello.session(key);
        let messages = answer.frame["payload"]["messages"].as_array().into_iter().flatten();
        for message in messages.filter(|m| m["role"] == "user") {
            let text = message["content"].to_string();
            for s in said.values().filter(|s| s.at.i < answer.at.i && text.contains(s.stamp)) {
                let shared = expect.shared_chats && matches!(s.who, Who::Person { .. });
                if !shared && !s.who.may_run_in(&session) {
                    let (who, stamp) = (s.who.name(), s.stamp.trim());
                    out.broken("rights", answer.at.i, format!("{stamp:?} of {who} stands in the session {session}"));
                }
            }
        }
    }
}

/// What a node is shown and asked: its own session, the commands that it was let in with (S24, S33).
fn node(c: &Conn, conns: &[Conn], expect: &Expect, out: &mut Findings) {
    let Some(hello) = c.hello.as_ref().filter(|h| h.rights.node) else { return };
    let who = voices::of_conn(c, hello, expect);
    let first = conns.iter().filter(|o| o.client == c.client).find_map(|o| o.hello.as_ref());
    let offered = first.map_or(&Value::Null, |h| &h.params["commands"]);
    let has = |list: &Value, command: &str| {
        let mut names = list.as_array().into_iter().flatten().filter_map(Value::as_str);
        names.any(|name| name.trim() == command)
    };
    // What a person has allowed it since, as that person was shown it.
    let allowed = |command: &str, by: u64| {
        let requests = || conns.iter().flat_map(|o| &o.requests);
        let told =
            conns.iter().flat_map(|o| &o.events).filter(|e| e.name == "device.pair.requested").map(|e| e.payload);
        let lists = requests().filter(|r| r.method == "device.pair.list").filter_map(|r| r.first);
        let listed = lists.flat_map(|a| a.frame["payload"]["pending"].as_array().into_iter().flatten());
        let mut shown = told.chain(listed).filter(|p| p["deviceId"] == hello.params["device"]["id"]);
        shown.any(|p| {
            let approves = |r: &super::conn::Request| {
                r.method == "device.pair.approve" && r.params["requestId"] == p["requestId"] && r.at.i < by
            };
            has(&p["commands"], command) && requests().any(approves)
        })
    };
    for e in &c.events {
        if let Some(session) = e.payload["sessionKey"].as_str().map(|key| hello.session(key))
            && matches!(e.name, "agent" | "chat")
            && !who.may_run_in(&session)
        {
            out.broken("rights", e.at.i, format!("{}: a node is shown what happens in {session}", c.name));
        }
        // Its own policy is asked for whatever it offers, by admins with methods of their own (part A4).
        let is_policy = |command: &str| {
            let method = match command {
                "system.execApprovals.get" => "exec.approvals.node.get",
                "system.execApprovals.set" => "exec.approvals.node.set",
                _ => return false,
            };
            conns.iter().flat_map(|o| &o.requests).any(|r| r.method == method && r.at.i < e.at.i)
        };
        let command = e.payload["command"].as_str().filter(|_| e.name == "node.invoke.request");
        let command = command.filter(|command| !is_policy(command));
        if let Some(command) = command.filter(|c| !has(offered, c) && !allowed(c, e.at.i)) {
            let name = c.name;
            out.broken(
                "rights",
                e.at.i,
                format!("{name}: a node is asked for {command}, with which it was not let in"),
            );
        }
    }
}

/// Something that ends or changes what a session has.
struct Deed<'a> {
    at: Mark,
    /// It has had its effect by then, in microseconds ([`telegram::came`]).
    by: u64,
    who: Who<'a>,
    /// Its whole key; `None` for the session of who did it.
    session: Option<String>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Ends runs.
    Ends,
    /// Changes the session (and may end its runs).
    Changes,
    /// Says how messages wait: from then on any message may end a run.
    Queue,
    /// A message.
    Message,
}

impl Deed<'_> {
    /// This deed may be why something in `session` has ended.
    fn ends(&self, session: &str) -> bool {
        self.is_of(session) && self.who.may_end(session)
    }
    /// It may be why `session` has changed.
    fn changes(&self, session: &str) -> bool {
        self.kind == Kind::Changes && self.is_of(session) && self.who.may_change(session)
    }
    fn is_of(&self, session: &str) -> bool {
        self.session.as_ref().is_none_or(|own| own == session)
    }
}

/// What a message does, by its words.
fn kind_of(words: &str) -> Kind {
    let words = words.trim();
    let command = words.split_whitespace().next().and_then(|w| w.split('@').next()).unwrap_or_default();
    match command {
        _ if STOP.iter().any(|s| words.eq_ignore_ascii_case(s)) => Kind::Ends,
        "/new" | "/reset" | "/model" => Kind::Changes,
        "/queue" => Kind::Queue,
        _ => Kind::Message,
    }
}

/// All deeds, in order.
fn deeds<'c>(conns: &'c [Conn<'_>], facts: &Facts<'c>, expect: &'c Expect) -> Vec<Deed<'c>> {
    let mut all = Vec::new();
    let came = telegram::came(&telegram::calls(facts), facts);
    for r in facts.history {
        let What::Update { update_id, update } = &r.what else { continue };
        if let (Some(who), Some(words)) = (voices::person(update, expect), update["text"].as_str()) {
            let by = came.get(update_id).map_or(r.t_us, |(given, asked)| asked.unwrap_or(0).max(*given));
            all.push(Deed { at: Mark::of(r), by, who, session: None, kind: kind_of(words) });
        }
    }
    for c in conns {
        let Some(hello) = &c.hello else { continue };
        for r in &c.requests {
            let kind = match r.method {
                "chat.abort" => Kind::Ends,
                "sessions.patch" | "sessions.reset" | "sessions.delete" | "sessions.compact" => Kind::Changes,
                "chat.send" | "agent" => match kind_of(r.params["message"].as_str().unwrap_or_default()) {
                    Kind::Message if r.params.get("thinking").is_some() => Kind::Changes,
                    kind => kind,
                },
                _ => continue,
            };
            let key = r.params["sessionKey"].as_str().or_else(|| r.params["key"].as_str()).unwrap_or("main");
            all.push(Deed {
                at: r.at,
                by: r.at.t,
                who: voices::of_conn(c, hello, expect),
                session: Some(hello.session(key)),
                kind,
            });
        }
    }
    all.sort_by_key(|d| d.at.i);
    all
}

/// By the id of a run and the life of the gateway.
type Moments<'a> = BTreeMap<(&'a str, usize), u64>;

/// What was shown of runs, and when first.
struct Shown<'a> {
    starts: Moments<'a>,
    /// Runs whose start or end came to a slow client first.
    late: BTreeSet<(&'a str, usize)>,
    ended: Moments<'a>,
    cuts: Moments<'a>,
}

/// Runs of which this was first shown to somebody whose line, or who himself, had stood still.
fn lates<'a>(conns: &[Conn<'a>], turn: Turn, firsts: &Moments<'a>, facts: &Facts) -> BTreeSet<(&'a str, usize)> {
    let mut late = BTreeSet::new();
    for c in conns {
        for e in c.events.iter().filter(|e| e.turn == turn) {
            let is_first = firsts.get(&(e.run, c.life)) == Some(&e.at.t);
            if is_first && c.is_disturbed(facts, e.at.t, e.at.t) {
                late.insert((e.run, c.life));
            }
        }
    }
    late
}

/// When runs began, ended or were cut short, as whoever was shown it first was: others may be slow.
fn firsts<'a>(conns: &[Conn<'a>], is_it: impl Fn(&Event) -> bool) -> Moments<'a> {
    let mut all = Moments::new();
    for c in conns {
        for e in c.events.iter().filter(|e| is_it(e)) {
            let first = all.entry((e.run, c.life)).or_insert(e.at.t);
            *first = e.at.t.min(*first);
        }
    }
    all
}

/// How long a run that ended at `at` may have lasted by the wall clock's times of its start and its end (milliseconds), in
/// microseconds: without the jumps of that clock which lie in between.
fn lasted(start: u64, end: u64, at: u64, facts: &Facts) -> Vec<u64> {
    let jumps = facts.faults.iter().filter(|f| f.kind == "clock_jump" && f.from <= at).rev();
    let by: Vec<(u64, i64)> = jumps.map(|f| (f.from, f.json["by_ms"].as_i64().unwrap_or(0))).collect();
    let ran = |n: &usize| {
        let jumped: i64 = by[..*n].iter().map(|(_, ms)| *ms).sum();
        let ms = u64::try_from((end as i64).saturating_sub(start as i64).saturating_sub(jumped)).ok()?;
        let began = at.saturating_sub(ms.saturating_mul(1000));
        // Those jumps and no others happened while it lasted, give or take what it takes to be shown.
        let fits =
            by[..*n].iter().all(|(t, _)| *t + EARLY >= began) && by[*n..].iter().all(|(t, _)| *t <= began + EARLY);
        fits.then_some(ms * 1000)
    };
    (0..=by.len()).filter_map(|n| ran(&n)).collect()
}

/// For how much of this time no disk failed and none was slow, in microseconds.
fn untroubled(facts: &Facts, from: u64, to: u64) -> u64 {
    let troubles = facts.faults.iter().filter(|f| matches!(f.kind, "disk" | "disk_slow"));
    let mut spans: Vec<(u64, u64)> = troubles.map(|f| (f.from.max(from), f.to.min(to))).collect();
    spans.sort_unstable();
    let (mut worked, mut since) = (0, from);
    for (begins, ends) in spans.into_iter().filter(|(begins, ends)| begins < ends) {
        worked += begins.saturating_sub(since);
        since = since.max(ends);
    }
    worked + to.saturating_sub(since)
}

/// A run that was ended has somebody who may have done that.
fn ends(
    c: &Conn,
    deeds: &[Deed],
    Shown { starts, late, ended, cuts }: &Shown,
    facts: &Facts,
    expect: &Expect,
    out: &mut Findings,
) {
    let Some(hello) = c.hello.as_ref().filter(|h| h.rights.meet(Need::Read)) else { return };
    let aborted = c.events.iter().filter(|e| e.name == "chat" && e.payload["state"] == "aborted");
    let stops: BTreeMap<&str, &str> =
        aborted.filter_map(|e| Some((e.run, e.payload["stopReason"].as_str()?))).collect();
    for e in c.events.iter().filter(|e| e.name == "agent") {
        if e.turn != Turn::End || e.payload["data"]["aborted"] != true {
            continue;
        }
        let Some(session) = e.payload["sessionKey"].as_str().map(|key| hello.session(key)) else { continue };
        // Where nobody was shown its start, its end says when that was.
        let told = |name: &str| e.payload["data"][name].as_u64().unwrap_or(0);
        let start = starts.get(&(e.run, c.life));
        let at = ended.get(&(e.run, c.life)).copied().unwrap_or(e.at.t);
        // One that waited, or whose end a slow disk held up, was ended when its chat was told so.
        let cut = cuts.get(&(e.run, c.life)).map_or(at, |cut| at.min(*cut));
        // ... and so where who was shown it first was slow.
        let is_late = late.contains(&(e.run, c.life));
        let by_its_end = || lasted(told("startedAt"), told("endedAt"), at, facts);
        let ran = match start {
            Some(start) if !is_late => vec![at.saturating_sub(*start)],
            Some(start) => by_its_end().into_iter().chain([at.saturating_sub(*start)]).collect(),
            None => by_its_end(),
        };
        // At its deadline, neither before nor long after; chat says in these words that it was that.
        let deadline = expect.run_deadline_ms * 1000;
        let because = stops.get(e.run).is_none_or(|reason| *reason == "timeout");
        // What a disk that failed did not store is not told before it does: from the deadline of this run on it has to have failed
        // all the time but for what it takes to be stored and shown.
        let worked = |ran: u64| untroubled(facts, at.saturating_sub(ran.saturating_sub(deadline)), at);
        let in_time = |ran: &u64| *ran + EARLY >= deadline && worked(*ran) <= SHOWS;
        let long = because && ran.iter().any(in_time);
        let stopped = facts.lives[c.life].stop.is_some_and(|stop| stop.t <= e.at.t);
        let mut by = deeds.iter().filter(|d| d.at.i < e.at.i && d.ends(&session));
        let interrupts = expect.interrupts || by.clone().any(|d| d.kind == Kind::Queue);
        let cause = by.any(|d| match d.kind {
            Kind::Ends | Kind::Changes => d.by + SHOWS >= cut,
            Kind::Message => interrupts && d.by + SHOWS >= cut,
            Kind::Queue => false,
        });
        // Without anybody who might have reached for it, it is no matter of rights.
        let reached = deeds.iter().any(|d| d.at.i < e.at.i && !d.who.may_end(&session));
        if !long && !stopped && !cause && reached {
            let run = e.run;
            out.broken("rights", e.at.i, format!("{}: run {run} in {session} is ended by nobody who may", c.name));
        }
    }
}

/// Settings of a session that differ between two lists: somebody who may has changed them.
fn settings(conns: &[Conn], deeds: &[Deed], facts: &Facts, out: &mut Findings) {
    let mut lists = Vec::new();
    for c in conns {
        let Some(hello) = &c.hello else { continue };
        for r in c.requests.iter().filter(|r| r.method == "sessions.list") {
            let rows = r.first.iter().flat_map(|a| a.frame["payload"]["sessions"].as_array().into_iter().flatten());
            for row in rows {
                if let (Some(key), Some(answer)) = (row["key"].as_str(), &r.first) {
                    lists.push((answer.at, r.at, hello.session(key), row));
                }
            }
        }
    }
    lists.sort_by_key(|(at, ..)| at.i);
    let mut last: BTreeMap<String, (Mark, &Value)> = BTreeMap::new();
    for (at, asked, session, row) in lists {
        let old = last.insert(session.clone(), (asked, row));
        let Some((since, old)) = old else { continue };
        let changed = SETTINGS.iter().find(|key| old[**key] != row[**key]);
        let Some(key) = changed.filter(|_| !facts.ended_between(since.t.saturating_sub(SHOWS), at.t)) else { continue };
        let from = since.t.saturating_sub(SHOWS);
        let by = |d: &Deed| d.at.t >= from && d.at.i < at.i && d.changes(&session);
        let jumped = facts.faults.iter().any(|f| f.kind == "clock_jump");
        if !jumped && !deeds.iter().any(by) {
            out.broken("rights", at.i, format!("{key} of the session {session} is changed by nobody who may"));
        }
    }
}
