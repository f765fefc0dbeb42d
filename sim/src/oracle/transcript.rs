//! What is stored of a conversation and what the model is given of it, against what was said: each session's transcript is
//! followed from the outside, by what clients and people said, what the model answered, notes, beginnings anew, compactions,
//! ends and crashes. Every request to the model begins with all of it, in order, each thing once; `chat.history` shows it; and
//! the database holds it at the end.
//!
//! Nothing else explains a difference than what was under way: a turn whose process ended before its end was told, an answer
//! that somebody cut short, a note that was not confirmed, a beginning anew that was asked for.

mod inputs;
mod late;
mod walk;

use std::collections::BTreeMap;

pub use self::walk::Answer;
use self::{
    inputs::{Change, Inputs, Said},
    walk::{Turn, Used, Walk, Wrong, missing, walk},
};
use super::{
    Expect,
    conn::Conn,
    facts::{Facts, Fault},
    findings::Findings,
};
use crate::history::{
    What,
    parts::{Part, Reader, of_messages, shortened},
};

/// A context holds so many messages (`CONTEXT_MESSAGES`): of longer conversations the beginning is left out.
const CONTEXT: usize = 400;
/// Waits between the tries at one model, each four fifths to six fifths of this, in microseconds: three tries in short order,
/// that again after 2, 4 and 8 s.
pub const MODEL_WAITS: [u64; 11] =
    [250_000, 500_000, 2_000_000, 250_000, 500_000, 4_000_000, 250_000, 500_000, 8_000_000, 250_000, 500_000];
/// What comes earlier by less is jitter of the world, in microseconds.
const EARLY: u64 = 20_000;
/// A request takes no longer from the gateway to a model over a line that nothing slows down, in microseconds.
const WAY: u64 = 100_000;
/// What came of a call whose run was ended: what follows it is another one.
const INTERRUPTED: &str = "interrupted before it ended";
/// Answers of this size have room for no more.
const LARGE: usize = 5 << 20;

/// Checks every session.
pub fn check(conns: &[Conn], facts: &Facts, expect: &Expect, out: &mut Findings) {
    // What a disk says to be stored and loses, or changes by itself, is nowhere promised.
    if facts.faults.iter().any(|f| matches!(f.kind, "lost_write" | "bit_flip")) {
        return;
    }
    let mut judge = Judge { inputs: Inputs::of(conns, facts, expect), facts, expect, sessions: BTreeMap::new() };
    let (mut reader, mut answer) = (Reader::default(), "");
    let mut stored: BTreeMap<&str, u64> = BTreeMap::new();
    for r in facts.history {
        let at = (r.i, r.t_us);
        match &r.what {
            What::Model { answer: step, .. } => answer = step,
            What::Given { request, after, parts, system } => {
                if *system == 0 {
                    out.broken("transcript", r.i, format!("request {request} has no system prompt"));
                }
                let Some(parts) = reader.read(*request, *after, parts) else { continue };
                judge.request(parts, answer, at, out);
                judge.history(at, out);
            }
            What::Received { .. } => judge.history(at, out),
            What::Begun { key: Some(key), parts, .. } => judge.begun(key, parts),
            What::Stored { key, parts, id, tokens } => {
                if let Some(key) = key {
                    stored.insert(key, r.i);
                    judge.stored(key, parts, at, out);
                    judge.counted(key, *tokens, at, out);
                } else {
                    judge.once(&format!("the old transcript {id}"), "", parts, at, out);
                }
            }
            _ => {}
        }
    }
    judge.gone(&stored, out);
}

/// A session as far as it is known.
#[derive(Default)]
struct Session {
    /// What is stored, from the first message of a user on.
    base: Vec<Part>,
    /// Stands at the end of it: notes that were met there, by their places among all.
    latest: Vec<usize>,
    /// What may be stored by now.
    turn: Option<Turn>,
    /// The turn before it, and what was stored when that began: a slow line may still bring what its process has asked.
    before: Option<(Vec<Part>, Turn)>,
    /// Notes that were met.
    met: Vec<usize>,
    /// Notes that may stand where they are not given to a model: before the first words of a user, or in an old transcript.
    unseen: Vec<usize>,
    /// When `base` was last seen, as requests and answers show it.
    seen: u64,
    /// When a run of it was last seen to begin.
    ran: u64,
    /// Lengths of `base` and since when they are known.
    lengths: Vec<(u64, usize)>,
    /// What it was before it began anew, and when it was seen to have done so.
    past: Option<(u64, Box<Session>)>,
    /// A difference was told: what follows it is not another one.
    broken: bool,
}

/// Where a list was seen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// In a request to the model: the run before it is over.
    Request,
    /// By `chat.history`: a run may be under way.
    History,
    /// In the database, once everything is over.
    End,
}

struct Judge<'a> {
    inputs: Inputs<'a>,
    facts: &'a Facts<'a>,
    expect: &'a Expect,
    sessions: BTreeMap<String, Session>,
}

/// What a list that was seen may be compared with.
struct Start<'a> {
    /// What was stored, as far as it shows there.
    base: &'a [Part],
    /// Notes that may follow.
    free: Vec<usize>,
    /// It is the session's new transcript: nothing of the old one is wanted.
    anew: bool,
    /// It begins after all that was stored: what is missing may have come before it.
    late: bool,
}

/// What was learned from a list.
struct Learned {
    read: Walk,
    anew: bool,
    /// It begins after all that was known.
    late: bool,
}

impl Judge<'_> {
    /// What an earlier build has left of a session.
    fn begun(&mut self, key: &str, parts: &[Part]) {
        let base = from_first_user(parts).to_vec();
        let lengths = vec![(0, base.len())];
        self.sessions.insert(key.to_owned(), Session { base, lengths, ..Session::default() });
    }

    /// A request to the model.
    fn request(&mut self, parts: &[Part], step: &str, at: (u64, u64), out: &mut Findings) {
        let Some(key) = self.inputs.session(parts).map(str::to_owned) else {
            // Whose it is cannot be told: nothing of those that it may be of can be.
            let all: Vec<String> = self.inputs.sessions(parts).into_iter().map(str::to_owned).collect();
            for key in all {
                self.sessions.entry(key).or_default().broken = true;
            }
            return;
        };
        let mut session = self.sessions.remove(&key).unwrap_or_default();
        let (answer, whole) = Answer::of(step);
        if let Some((waited, own)) = self.begun_anew(&key, &session, parts, at.1) {
            let (inputs, own) = (self.said(&key, own), own.to_vec());
            session.base.extend_from_slice(waited);
            session.lengths.push((at.1, session.base.len()));
            let step = serde_json::from_str(step).unwrap_or_default();
            session.turn =
                Some(Turn { own, on: None, either: false, answer, whole, at, began: at.1, failed: 0, step, inputs });
            session.ran = at.1;
            self.sessions.insert(key, session);
            return;
        }
        if self.is_overtaken(&session, &key, parts, at.1) {
            self.sessions.insert(key, session);
            return;
        }
        if let Some(turn) = session.turn.take() {
            match goes_on(turn.on.as_ref().unwrap_or(&session.base), &turn, parts) {
                Some(own) => {
                    let inputs = self.said(&key, &own);
                    let again = own.len() == turn.own.len() && self.lost(turn.at.1, at.1).is_none();
                    if again {
                        self.paced(&key, &turn, at, out);
                    }
                    let failed = if again { turn.failed + 1 } else { 0 };
                    let step = serde_json::from_str(step).unwrap_or_default();
                    session.turn = Some(Turn { own, answer, whole, at, failed, step, inputs, ..turn });
                    self.sessions.insert(key, session);
                    return;
                }
                None => session.turn = Some(turn),
            }
        }
        // What has just been said is at the end; whatever came before the first of it was there already.
        let tail = said_last(parts);
        let said = self.said(&key, &parts[tail..]);
        let since = said.iter().map(|n| self.inputs.all[*n].at.t).min().unwrap_or(session.seen);
        let cuts = session.base.len() + session.turn.as_ref().map_or(0, |t| t.own.len()) >= CONTEXT - 20;
        let learned = self.compare(&key, &session, parts, (since, at.1), cuts, Seen::Request);
        let (from, anew) = match learned {
            Ok(learned) => {
                self.settle(&mut session, &key, &learned, at.1);
                (learned.read.tail, learned.anew)
            }
            Err(why) => {
                if !session.broken {
                    out.broken("transcript", at.0, format!("{key}: the model is given another transcript: {why}"));
                }
                session.broken = true;
                (tail, false)
            }
        };
        if anew {
            session.lengths.clear();
        }
        let base = std::mem::replace(&mut session.base, parts[..from].to_vec());
        session.before = session.turn.take().map(|turn| (base, turn));
        session.lengths.push((at.1, from));
        // It was made before it came: what had been asked for by then need not be in it.
        session.seen = if anew { at.1 } else { at.1.saturating_sub(WAY) };
        session.ran = at.1;
        let own = parts[from..].to_vec();
        let inputs = self.said(&key, &own);
        let step = serde_json::from_str(step).unwrap_or_default();
        session.turn =
            Some(Turn { own, on: None, either: false, answer, whole, at, began: at.1, failed: 0, step, inputs });
        self.sessions.insert(key, session);
    }

    /// A model that failed is asked again after a while that grows, and after what it asks for itself; one that failed for good
    /// is not asked again. Where there are others to fall back to it is not told who was asked.
    fn paced(&self, key: &str, turn: &Turn, at: (u64, u64), out: &mut Findings) {
        if !self.expect.fallbacks.is_empty() {
            return;
        }
        let code = turn.step["code"].as_u64().filter(|_| turn.step["kind"] == "error");
        if let Some(code) = code.filter(|code| matches!(code, 400 | 401 | 403 | 404)) {
            out.broken("pacing", at.0, format!("{key}: the model is asked again after it answered {code}"));
        }
        let asked = match code {
            Some(429 | 529) => turn.step["retry_after"].as_u64().unwrap_or(1),
            _ => turn.step["retry_after"].as_u64().unwrap_or(0),
        };
        // A try that a broken link kept from the model counts as well, and is not seen; nor is that one which came first.
        let said = turn.inputs.iter().map(|n| self.inputs.all[*n].at.t).min().unwrap_or(turn.began);
        let unseen = |f: &Fault| f.target == "model" && f.is_network() && f.from <= at.1 && f.to >= said;
        let grown = MODEL_WAITS.get(turn.failed).filter(|_| !self.facts.faults.iter().any(unseen));
        let grown = grown.copied().unwrap_or(0) * 8 / 10;
        let due = grown.max(asked.min(60) * 1_000_000);
        let waited = at.1 - turn.at.1;
        if waited + EARLY < due {
            let (ms, least, n) = (waited / 1000, due / 1000, turn.failed + 1);
            out.broken(
                "pacing",
                at.0,
                format!("{key}: the model is asked again {ms} ms after failure {n}, not {least}"),
            );
        }
    }

    /// Inputs of a session in a list.
    fn said(&self, key: &str, parts: &[Part]) -> Vec<usize> {
        let texts = parts.iter().filter_map(|p| if let Part::User(text) = p { Some(text) } else { None });
        let all = texts.filter_map(|text| match self.inputs.what(text, key) {
            Said::Here(inputs) => Some(inputs),
            _ => None,
        });
        all.flatten().collect()
    }

    /// An answer of `chat.history`, or of the tool that looks a session up, if the record is one.
    fn history(&mut self, at: (u64, u64), out: &mut Findings) {
        let Some(view) = self.inputs.views.get(&at.0) else { return };
        let (key, asked, limit) = (view.session.clone(), view.asked, view.limit);
        let messages = view.payload["messages"].as_array().map_or(&[][..], Vec::as_slice);
        let count = messages.len();
        if count > limit {
            out.broken("transcript", at.0, format!("{key}: {count} messages where {limit} were asked for"));
            return;
        }
        let is_cut = count == limit || view.payload.to_string().len() > LARGE;
        let parts = of_messages(messages.iter());
        let Some(mut session) = self.sessions.remove(&key) else { return };
        // Who asked before the session was seen to begin anew may be shown what it was.
        let past = session.past.as_ref().filter(|(t, _)| asked <= *t).map(|(_, past)| past);
        let is_past = past.is_some_and(|past| {
            let seen = |past| self.compare(&key, past, &parts, (asked, at.1), is_cut, Seen::History);
            !parts.is_empty() && (Self::is_stale(past, &parts, asked, is_cut) || seen(past).is_ok())
        });
        if is_past || Self::is_stale(&session, &parts, asked, is_cut) {
            self.sessions.insert(key, session);
            return;
        }
        match self.compare(&key, &session, &parts, (asked, at.1), is_cut, Seen::History) {
            Ok(learned) => {
                let used = learned.read.used != Used::No;
                // A run that began before goes on with what it was given, and is stored in the new transcript.
                // Where only the last lines are shown, what came of it is met again in the next list; if it was stored before
                // the session began anew, it is gone.
                let reset = Self::changed(&self.inputs.resets, &key, session.seen, at.1).filter(|_| is_cut);
                let ended = |turn: &Turn, by| self.inputs.ended_between(&turn.inputs, turn.at.1, by);
                let over = |turn: &Turn| if used { !is_cut } else { ended(turn, reset.map_or(asked, |r| r.asked)) };
                let under_way = session.turn.take_if(|turn| learned.anew && !over(turn));
                let began_on = under_way.map(|turn| Turn {
                    either: reset.is_some_and(|r| ended(&turn, r.told.unwrap_or(asked))),
                    on: Some(turn.on.unwrap_or(session.base.clone())),
                    ..turn
                });
                self.settle(&mut session, &key, &learned, at.1);
                session.turn = session.turn.or(began_on);
                if learned.anew {
                    session.seen = asked;
                }
                // What of it was cut off is known from before; what is noted during a run comes before its turn.
                if !is_cut && (used || session.turn.is_none() && !learned.anew) {
                    let base = std::mem::replace(&mut session.base, from_first_user(&parts).to_vec());
                    session.before = session.turn.take().map(|turn| (base, turn)).or(session.before);
                    session.lengths.push((at.1, session.base.len()));
                    session.seen = at.1;
                    session.latest = self.notes_at_the_end(&session);
                } else if !learned.anew {
                    let met = &learned.read.notes;
                    session.met.retain(|n| !met.contains(n));
                }
            }
            Err(why) if !session.broken => {
                session.broken = true;
                out.broken("transcript", at.0, format!("{key}: chat.history shows another transcript: {why}"));
            }
            Err(_) => {}
        }
        self.sessions.insert(key, session);
    }

    /// Notes that were met and stand last.
    fn notes_at_the_end(&self, session: &Session) -> Vec<usize> {
        let mut free = session.met.clone();
        let mut last = Vec::new();
        for part in session.base.iter().rev() {
            let Part::Assistant(text) = part else { break };
            let Some(at) = free.iter().rposition(|n| self.inputs.notes[*n].is(text)) else { break };
            last.push(free.remove(at));
        }
        last
    }

    /// The answer was on its way while more became known: it shows what was there when it was asked for, or later.
    fn is_stale(session: &Session, parts: &[Part], asked: u64, is_cut: bool) -> bool {
        let parts = from_first_user(parts);
        let least = session.lengths.iter().rev().find(|(t, _)| *t <= asked).map_or(0, |(_, n)| *n);
        (least..session.base.len()).any(|n| {
            let shown = &session.base[..n];
            shown == parts || is_cut && shown.ends_with(parts)
        })
    }

    /// What the database holds of a session at the end.
    fn stored(&mut self, key: &str, parts: &[Part], at: (u64, u64), out: &mut Findings) {
        self.once(key, key, parts, at, out);
        let Some(session) = self.sessions.get(key) else { return };
        if session.broken {
            return;
        }
        if let Err(why) = self.compare(key, session, parts, (at.1, at.1), false, Seen::End) {
            out.broken("transcript", at.0, format!("{key}: the database holds another transcript: {why}"));
        }
    }

    /// Sums of tokens: what a session counts is what its lines add up to, or more where attempts failed or lines have gone.
    fn counted(&self, key: &str, tokens: ([u64; 3], [u64; 3]), at: (u64, u64), out: &mut Findings) {
        let (counted, lines) = tokens;
        let failed = |what: &What| matches!(what, What::Model { answer, .. } if !Answer::of(answer).1);
        let more = self.facts.history.iter().any(|r| failed(&r.what))
            || self.facts.faults.iter().any(Fault::is_model)
            || self.inputs.cuts.iter().any(|c| c.session == key);
        if counted != lines && (!more || counted.iter().zip(lines).any(|(c, l)| *c < l)) {
            let text = format!("{key}: it counts {counted:?} tokens, its lines {lines:?}");
            out.broken("transcript", at.0, text);
        }
    }

    /// Nothing stands in it more often than it was said.
    fn once(&self, name: &str, key: &str, parts: &[Part], at: (u64, u64), out: &mut Findings) {
        let key = if key.is_empty() { self.inputs.session(parts).unwrap_or_default() } else { key };
        if let Some(text) = self.twice(key, parts, 0, at.1) {
            out.broken("transcript", at.0, format!("{name}: the database holds {text}"));
        }
    }

    /// Something of what begins at `from` that stands there more often than it was said.
    fn twice(&self, key: &str, parts: &[Part], from: usize, until: u64) -> Option<String> {
        for part in &parts[from..] {
            let Part::User(text) = part else { continue };
            let Said::Here(inputs) = self.inputs.what(text, key) else { continue };
            for n in inputs {
                let most = self.inputs.most(n, until, self.facts, self.expect);
                let is_it = |p: &&Part| matches!(p, Part::User(t) if t == text || self.inputs.is_in(n, t));
                let times = parts.iter().filter(is_it).count();
                if times > most {
                    return Some(format!("{text:?} {times} times, at most {most}"));
                }
            }
        }
        None
    }

    /// Sessions that were told of and are not in the database at all.
    fn gone(&self, stored: &BTreeMap<&str, u64>, out: &mut Findings) {
        let Some(last) = self.facts.history.iter().rev().find(|r| matches!(r.what, What::Stored { .. })) else {
            return;
        };
        for (key, session) in &self.sessions {
            let is_told = |turn: &Turn| self.inputs.ended_between(&turn.inputs, turn.at.1, u64::MAX);
            let known = !session.base.is_empty() || session.turn.as_ref().is_some_and(is_told);
            let known = known && !session.broken;
            let reset = self.inputs.resets.iter().any(|r| r.session == *key);
            if known && !reset && !stored.contains_key(key.as_str()) && !self.jumps_between(0, u64::MAX) {
                out.broken("transcript", last.i, format!("{key}: the database holds nothing of it"));
            }
        }
    }

    /// A wall clock that jumps ahead makes sessions old, which begins them anew.
    fn jumps_between(&self, from: u64, to: u64) -> bool {
        self.facts.faults.iter().any(|f| f.kind == "clock_jump" && (from..=to).contains(&f.from))
    }

    /// A change of this session that may have come into force in this time.
    fn changed<'c>(changes: &'c [Change], key: &str, from: u64, to: u64) -> Option<&'c Change> {
        let mine = changes.iter().rev().filter(move |c| c.session == key && c.asked <= to);
        mine.into_iter().find(|c| c.asked >= from || c.told.is_none_or(|t| t >= from))
    }

    /// Compares a list with what is known. `since`: what was told before that has to be there; it was seen at `until`.
    fn compare(
        &self,
        key: &str,
        session: &Session,
        parts: &[Part],
        (since, until): (u64, u64),
        is_cut: bool,
        seen: Seen,
    ) -> Result<Learned, String> {
        let shown = from_first_user(parts);
        let lead = parts.len() - shown.len();
        let known = shown.iter().zip(&session.base).take_while(|(a, b)| a == b).count();
        if let Some(text) = self.twice(key, parts, lead + known, until) {
            return Err(text);
        }
        let all = (0..self.inputs.notes.len()).filter(|n| self.inputs.notes[*n].session == *key);
        let free: Vec<usize> =
            all.filter(|n| !session.met.contains(n) && self.inputs.notes[*n].asked <= until).collect();
        // Lines before the first message of a user are shown by the history and not given to the model.
        let leading =
            |n: &usize| parts[..lead].iter().any(|p| matches!(p, Part::Assistant(t) if self.inputs.notes[*n].is(t)));
        let unseen: Vec<usize> = free.iter().copied().filter(leading).collect();
        let reset = Self::changed(&self.inputs.resets, key, session.seen, until);
        let must = reset.is_some_and(|r| r.told.is_some_and(|t| t < since)) && !session.base.is_empty();
        // A run that begins finds out that the clock has passed the hour for that; whoever looks does not.
        let may = reset.is_some() || self.jumps_between(session.ran, until);
        let mut starts = Vec::new();
        if !must {
            starts.push(Start { base: &session.base, free: free.clone(), anew: false, late: false });
            if !session.latest.is_empty() {
                // They came after the run had begun.
                let before = &session.base[..session.base.len() - session.latest.len()];
                let free = free.iter().chain(&session.latest).copied().collect();
                starts.push(Start { base: before, free, anew: false, late: false });
            }
            if is_cut || Self::changed(&self.inputs.cuts, key, session.seen, until).is_some() {
                for from in 1..session.base.len() {
                    let base = &session.base[from..];
                    starts.push(Start { base, free: free.clone(), anew: false, late: false });
                }
                starts.push(Start { base: &[], free: free.clone(), anew: false, late: true });
            }
        }
        if may {
            starts.push(Start { base: &[], free: free.clone(), anew: true, late: false });
        }
        let mut first: Option<Wrong> = None;
        let is_end = is_cut && self.is_end(session, parts);
        for start in starts {
            // A few last lines of what is known are no new transcript, though a clock that jumped may have begun one.
            if start.anew && is_end && !must {
                break;
            }
            // A window of a whole transcript may begin with lines of any kind.
            let list = if start.base.first().is_some_and(|p| !matches!(p, Part::User(_))) { parts } else { shown };
            if !list.starts_with(start.base) {
                let same = list.iter().zip(start.base).take_while(|(a, b)| a == b).count();
                let what = |list: &[Part]| list.get(same).map_or("nothing".to_owned(), |p| format!("{p:?}"));
                let text = format!("part {same} is {}, not {}", what(list), what(start.base));
                keep(&mut first, (same, text));
                continue;
            }
            match self.goes(key, session, list, &start, (since, until), seen) {
                Ok(mut read) => {
                    read.notes.extend(&unseen);
                    read.tail += parts.len() - list.len();
                    return Ok(Learned { read, anew: start.anew, late: start.late });
                }
                Err(wrong) => keep(&mut first, wrong),
            }
        }
        if is_end {
            let read = Walk { used: Used::No, notes: vec![], tail: parts.len() };
            return Ok(Learned { read, anew: false, late: false });
        }
        let (_, text) = first.unwrap_or_default();
        Err(if must { format!("{text} (it had been begun anew)") } else { text })
    }

    /// A few last lines: of what was stored and of the turn that may be.
    fn is_end(&self, session: &Session, parts: &[Part]) -> bool {
        let mut whole = session.base.clone();
        if let Some(turn) = &session.turn {
            whole.extend(turn.own.iter().cloned());
            if let Answer::Text(text) = &turn.answer {
                whole.push(Part::Assistant(shortened(text)));
            }
        }
        // Notes may stand among them.
        let is_note = |p: &&Part| matches!(p, Part::Assistant(t) if self.inputs.notes.iter().any(|n| n.is(t)));
        let said = |list: &[Part]| -> Vec<Part> { list.iter().filter(|p| !is_note(p)).cloned().collect() };
        said(&whole).ends_with(&said(parts))
    }

    /// What follows on `start`, and whether everything is there that has to be.
    fn goes(
        &self,
        key: &str,
        session: &Session,
        parts: &[Part],
        start: &Start,
        (since, until): (u64, u64),
        seen: Seen,
    ) -> Result<Walk, Wrong> {
        let from = start.base.len();
        let mut turn = session.turn.clone();
        let crashed = turn.as_ref().is_some_and(|t| self.lost(t.began, until).is_some());
        let mut read = walk(key, parts, from, turn.as_ref(), &start.free, crashed, &self.inputs);
        // Words that were stored without having been asked about come before a note; the turn's own come after it.
        let is_said = |p: &Part| matches!(p, Part::User(_) | Part::Image(_));
        let splits = |own: &[Part]| own.len() > 1 && is_said(&own[0]) && is_said(&own[1]);
        while let Some(rest) = turn.as_mut().filter(|t| splits(&t.own) && unused(&read)) {
            let before = rest.own.remove(0);
            let again = walk(key, parts, from, Some(rest), &start.free, crashed, &self.inputs);
            // The same words twice, and one of them stands there without an answer: that of before, while the run goes on.
            let is_of_before = seen == Seen::History
                && rest.own.first() == Some(&before)
                && again.as_ref().is_ok_and(|walk| walk.used == Used::Partly(String::new()))
                && !self.inputs.ended_between(&rest.inputs, rest.at.1, since);
            if !unused(&again) && !is_of_before {
                read = again;
            }
        }
        // What looked like steering was another run, where a message ends the one under way: the first is of the old transcript.
        if let Some(whole) =
            session.turn.as_ref().filter(|_| start.anew && (self.expect.interrupts || self.expect.switches))
        {
            let begins = |n: &usize| is_said(&whole.own[*n]) && matches!(whole.own[*n - 1], Part::Result { .. });
            for from_here in (1..whole.own.len()).filter(begins) {
                let rest = Turn { own: whole.own[from_here..].to_vec(), ..whole.clone() };
                let again = walk(key, parts, from, Some(&rest), &start.free, crashed, &self.inputs);
                if unused(&read) && !unused(&again) {
                    read = again;
                }
            }
        }
        let mut read = read?;
        let end = parts.len();
        // What a request ends with is asked about now: where the session has begun anew it is no turn of before, though the same
        // was said then and cut short.
        let is_asked = seen == Seen::Request && start.anew && read.used != Used::No && read.tail == end;
        let again = |turn: &Turn| self.inputs.said_again(&turn.inputs, turn.at.1, until);
        if is_asked && session.turn.as_ref().is_some_and(again) {
            read = walk(key, parts, from, None, &start.free, crashed, &self.inputs)?;
        }
        if let Some(turn) = &session.turn {
            match &read.used {
                Used::No if start.anew || start.late || turn.either => {}
                // It may be under way; at the end nothing is.
                Used::No if seen == Seen::History && !self.inputs.ended_between(&turn.inputs, turn.at.1, since) => {}
                Used::No => {
                    // A slow link may have brought its request after the end of the process that sent it.
                    let from = self.sent(turn.at.1);
                    let lost = self.lost(from, until);
                    if lost.is_none_or(|end| self.inputs.ended_between(&turn.inputs, from, end)) {
                        return Err((end, format!("the last turn ({}) is missing", name(turn))));
                    }
                }
                Used::Partly(text) => {
                    if let Err(why) = self.is_cut_short(key, turn, text, until) {
                        // In a transcript that begins anew it is not that turn: the same was said again under a key that
                        // a clock which jumped made forgotten.
                        let again = start.anew && self.inputs.said_again(&turn.inputs, turn.at.1, until);
                        let other = walk(key, parts, from, None, &start.free, crashed, &self.inputs);
                        return other.ok().filter(|_| again).ok_or((from, why));
                    }
                }
                Used::Whole => {}
            }
        }
        // Without a message of a user before it a note is not given to the model.
        if !start.anew
            && !start.late
            && !start.base.is_empty()
            && let Some(note) = missing(&self.inputs.notes, &start.free, &read.notes, &session.unseen, since)
        {
            return Err((end, format!("the note {:?} is missing", note.text.as_deref().unwrap_or("of a command"))));
        }
        Ok(read)
    }

    /// Only part of an answer, or nothing of it, is kept: somebody ended the run, or something the answer.
    fn is_cut_short(&self, key: &str, turn: &Turn, text: &str, until: u64) -> Result<(), String> {
        // Of this answer: not of one behind calls of tools, which is told like what was said before them, nor of a run that was
        // begun anew, nor of an attempt that failed and was made again.
        let is_one = turn.own.iter().all(|p| matches!(p, Part::User(_) | Part::Image(_))) && turn.failed == 0;
        let since = self.sent(turn.at.1);
        let model = |t: u64| {
            let hit = |f: &Fault| f.is_model() && f.from <= t && f.to.saturating_add(60_000_000) >= since;
            self.facts.faults.iter().any(hit)
        };
        let is_of_it = |t: u64| is_one && t >= turn.at.1 && self.lost(since, until).is_none() && !model(t);
        let told = self.inputs.said_until_aborted(&turn.inputs).filter(|(t, _)| is_of_it(*t));
        let told = told.map(|(_, said)| shortened(said.trim_end()));
        if let Some(told) =
            told.filter(|told| !text.contains("… (") && !told.contains("… (") && !text.starts_with(told))
        {
            return Err(format!("{text:?} is kept of an answer of which {told:?} had been told"));
        }
        let whole = match &turn.answer {
            Answer::Text(whole) => shortened(whole),
            other => format!("{other:?}"),
        };
        // It is another one that was told when a crash lies in between: the run was begun anew.
        let begun_again = |told: &u64| self.lost(self.sent(turn.at.1), *told).is_some();
        if self.inputs.done(&turn.inputs, self.sent(turn.began)).is_some_and(|told| !begun_again(&told)) {
            return Err(format!("{text:?} is kept of the answer {whole:?}, which was told as a whole"));
        }
        let from = turn.began.min(turn.at.1);
        let deadlines = turn.inputs.iter().filter_map(|n| self.inputs.all[*n].timeout_ms);
        let deadline = deadlines.chain([self.expect.run_deadline_ms]).min().unwrap_or(u64::MAX);
        let interrupts = self.expect.interrupts || self.expect.switches;
        let explained = !turn.whole
            || self.inputs.stopped_between(key, from.saturating_sub(1_000_000), until)
            || interrupts && self.inputs.said_between(key, &turn.inputs, from.saturating_sub(1_000_000), until)
            || self
                .facts
                .faults
                .iter()
                .any(|f| f.is_model() && f.from <= until && f.to.saturating_add(60_000_000) >= from)
            || self.facts.lives.iter().any(|l| l.stop.is_some_and(|m| (from..=until).contains(&m.t)))
            || self.lost(from, until).is_some()
            || until >= from.saturating_add(deadline.saturating_mul(1000).saturating_sub(1_000_000));
        if explained { Ok(()) } else { Err(format!("{text:?} is kept of the answer {whole:?}")) }
    }

    /// What is known after a list that fits.
    fn settle(&self, session: &mut Session, key: &str, learned: &Learned, at: u64) {
        if learned.anew {
            let mut old = std::mem::take(session);
            old.past = None;
            (session.met, session.unseen) = (old.met.clone(), old.unseen.clone());
            session.past = Some((at, Box::new(old)));
        }
        if learned.anew || learned.late || session.base.is_empty() {
            let notes = (0..self.inputs.notes.len()).filter(|n| self.inputs.notes[*n].session == *key);
            session.unseen.extend(notes.filter(|n| self.inputs.notes[*n].asked <= at));
        }
        session.met.extend(&learned.read.notes);
        session.latest.clear();
    }
}

/// A walk that did not meet the turn.
fn unused(read: &Result<Walk, Wrong>) -> bool {
    read.as_ref().map_or(true, |w| w.used == Used::No)
}

/// The one that got furthest says best what is wrong.
fn keep(best: &mut Option<Wrong>, wrong: Wrong) {
    if best.as_ref().is_none_or(|(at, _)| wrong.0 > *at) {
        *best = Some(wrong);
    }
}

/// A turn by what was said in it.
fn name(turn: &Turn) -> String {
    turn.own.iter().find_map(|p| if let Part::User(t) = p { Some(format!("{t:?}")) } else { None }).unwrap_or_default()
}

/// Where what was said last begins: only words of users follow.
fn said_last(parts: &[Part]) -> usize {
    parts.iter().rposition(|p| !matches!(p, Part::User(_) | Part::Image(_))).map_or(0, |n| n + 1)
}

/// Without lines that come before anybody has said something.
fn from_first_user(parts: &[Part]) -> &[Part] {
    let first = parts.iter().position(|p| matches!(p, Part::User(_))).unwrap_or(parts.len());
    &parts[first..]
}

/// What a run has said by now when this request is its next one: the same again, or what came of its calls and what was put
/// in since.
fn goes_on(base: &[Part], turn: &Turn, parts: &[Part]) -> Option<Vec<Part>> {
    let starts = 0..=if base.len() >= CONTEXT - 20 { base.len() } else { 0 };
    starts.into_iter().find_map(|from| {
        let own = parts.strip_prefix(&base[from..]).filter(|own| own.starts_with(&turn.own))?;
        match (&turn.answer, &own[turn.own.len()..]) {
            (_, []) => Some(own.to_vec()),
            (
                Answer::Call(tool, args),
                [Part::Call { id, name, arguments }, Part::Result { id: of, text }, said @ ..],
            ) if tool == name && args == arguments && id == of && text != INTERRUPTED => {
                said.iter().all(|p| matches!(p, Part::User(_) | Part::Image(_))).then(|| own.to_vec())
            }
            _ => None,
        }
    })
}
