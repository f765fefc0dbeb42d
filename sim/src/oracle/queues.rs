//! What becomes of messages that wait in a chat (agent-chat-channels.md section 5, F17, F50): those that come close together are one;
//! somebody who goes on writing is answered all the same; what is summed up has a line for the newest of it; and in mode
//! `interrupt` a message ends everything before it.

use std::collections::{BTreeMap, BTreeSet};

use openclaw_config::Config;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Expect, access,
    conn::{Answer, Conn, Request},
    facts::{Facts, Mark},
    findings::Findings,
    telegram::{self, is_stop, places, quoted},
};
use crate::history::What;

/// Whoever goes on writing is answered after this, in milliseconds.
const PATIENCE: u64 = 10_000;
/// From when somebody has written until it stands in its queue, in microseconds.
const QUEUED: u64 = 1_500_000;
/// Runs at once.
const AT_ONCE: usize = 4;
/// Longest line of a summary that is surely whole, in bytes.
const LINE: usize = 80;
/// What the model is told of messages that were summed up.
const SUMMED_UP: &str = " earlier messages were too many to be kept in full:";

/// How messages of Telegram wait, as configured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Waits {
    /// Quiet time before what waited behind a run is answered, in milliseconds.
    pub debounce_ms: u64,
    /// Messages of one person that come this close together are one, in milliseconds.
    pub join_ms: u64,
    /// Messages that may wait.
    pub cap: u64,
    /// More of them are summed up.
    pub sums_up: bool,
    /// So many runs may wait in a session; what comes then waits before its queue. 0: no bound.
    pub most: u64,
}

impl Waits {
    /// Of a configuration.
    pub fn of(config: &Config) -> Self {
        let (queue, inbound) = (&config.messages.queue, &config.messages.inbound);
        let debounce = queue.debounce_ms_by_channel.get("telegram").copied().or(queue.debounce_ms);
        let drop = queue.drop.map(|drop| openclaw_protocol::connect::wire_name(&drop));
        Self {
            debounce_ms: debounce.unwrap_or(1000),
            join_ms: inbound.by_channel.get("telegram").copied().unwrap_or(inbound.debounce_ms),
            cap: queue.cap.unwrap_or(20),
            sums_up: drop.is_none_or(|drop| drop == "summarize"),
            most: config.gateway.limits.max_queued_per_session,
        }
    }

    fn quiet_ms(&self) -> u64 {
        self.debounce_ms.max(self.join_ms)
    }
}

/// Something that a person wrote in private, and the first request to a model that has it in it.
struct Wrote<'a> {
    at: Mark,
    id: i64,
    text: &'a str,
    plain: bool,
    asked: Option<usize>,
}

/// A request to a model.
struct Asked<'a> {
    at: Mark,
    text: &'a str,
    ids: Vec<i64>,
    /// When its answer is whole, in microseconds; none where it never is.
    done: Option<u64>,
}

/// Checks them all.
pub fn check(conns: &[Conn], facts: &Facts, expect: &Expect, out: &mut Findings) {
    let asked = asked(facts);
    // What a session denies is not answered, and holds up nobody.
    let chats = chats(&asked, facts, &access::unanswered(facts, conns, expect));
    let own_session = expect.dm_scope.starts_with("per-");
    for (chat, wrote) in &chats {
        if own_session && !expect.switches && expect.access.private == "open" {
            patience(chat, wrote, &asked, facts, expect, out);
            if expect.interrupts {
                interrupts(chat, wrote, &asked, facts, expect, out);
            }
        }
        if expect.waits.sums_up && own_session {
            summed_up(chat, wrote, &asked, expect, out);
        }
    }
    if expect.interrupts && !expect.switches {
        operators(conns, &asked, facts, out);
    }
}

fn asked<'a>(facts: &Facts<'a>) -> Vec<Asked<'a>> {
    let of = |r: &'a crate::history::Record| {
        let What::Model { text, answer, entered, .. } = &r.what else { return None };
        let ids = entered.iter().chain([text]).flat_map(|t| quoted(t).collect::<Vec<_>>()).collect();
        let step: Value = serde_json::from_str(answer).unwrap_or_default();
        let lasts = match step["kind"].as_str() {
            Some("say") => Some(0),
            Some("words") if step["hang"] != true && step["cut"] != true => {
                Some(step["n"].as_u64().unwrap_or(0).saturating_sub(1) * step["ms"].as_u64().unwrap_or(0) * 1000)
            }
            _ => None,
        };
        Some(Asked { at: Mark::of(r), text, ids, done: lasts.map(|us| r.t_us + us) })
    };
    facts.history.iter().filter_map(of).collect()
}

fn chats<'a>(asked: &[Asked], facts: &Facts<'a>, unanswered: &BTreeSet<i64>) -> BTreeMap<String, Vec<Wrote<'a>>> {
    let mut chats: BTreeMap<String, Vec<Wrote>> = BTreeMap::new();
    for r in facts.history {
        let What::Update { update_id, update } = &r.what else { continue };
        if unanswered.contains(update_id) {
            continue;
        }
        let (Some(id), Some(text)) = (update["message_id"].as_i64(), update["text"].as_str()) else { continue };
        let list = chats.entry(places::of_update(update)).or_default();
        if update["chat"].as_i64().is_none_or(|chat| chat < 0) || list.iter().any(|w| w.id == id) {
            continue;
        }
        let plain = !text.starts_with('/') && !is_stop(text) && update["media"].is_null();
        let first = asked.iter().position(|a| a.at.i > r.i && a.ids.contains(&id));
        list.push(Wrote { at: Mark::of(r), id, text, plain, asked: first });
    }
    chats
}

/// Something else than the queue may have held it up, or ended it.
fn disturbed(facts: &Facts, from: u64, to: u64) -> bool {
    let lasting = |f: &super::facts::Fault| f.to.saturating_add(10_000_000);
    let hits = |f: &super::facts::Fault| {
        f.is_telegram() || f.is_model() || matches!(f.kind, "disk" | "disk_slow" | "config_edit" | "clock_jump")
    };
    // A model that takes longer for each request is slow, not disturbed.
    let even = |f: &super::facts::Fault| f.kind == "latency" && f.target == "model";
    facts.faults.iter().any(|f| hits(f) && !even(f) && f.from <= to && lasting(f) >= from)
        || facts.ended_between(from, to)
}

/// Who writes while nothing of the chat is under way is answered soon after the last message, and after a while in any case; and
/// what is joined is one.
fn patience(chat: &str, wrote: &[Wrote], asked: &[Asked], facts: &Facts, expect: &Expect, out: &mut Findings) {
    let of_chat = |a: &&Asked| a.ids.iter().any(|id| wrote.iter().any(|w| w.id == *id));
    let slow = facts.faults.iter().filter(|f| f.is_model()).filter_map(|f| f.json["delay_ms"].as_u64()).max();
    let way = slow.unwrap_or(0) * 1000;
    for (n, first) in wrote.iter().enumerate().filter(|(_, w)| w.plain) {
        // Everything before it was answered long ago, and nothing of it is under way.
        let idle = wrote[..n].iter().all(|w| {
            let over = w.asked.and_then(|a| asked[a].done).map(|done| done + way + QUEUED + 2_000_000);
            over.is_some_and(|over| over < first.at.t)
        });
        // It is the first that waits: what came before it is in requests before its own.
        let own = first.asked.map(|a| &asked[a]);
        let before = own.map_or(u64::MAX, |a| a.at.i);
        let is_head = wrote[..n].iter().all(|w| w.asked.is_some_and(|a| asked[a].at.i < before));
        let earlier = asked.iter().filter(|a| of_chat(a) && a.at.i < before && !a.ids.contains(&first.id));
        let Some(free) = earlier.map(|a| a.done.map(|done| done + way)).try_fold(0, |most, done| Some(done?.max(most)))
        else {
            continue;
        };
        let ttl = expect.waits.quiet_ms().max(PATIENCE) * 1000;
        let due = (first.at.t + ttl).max(free) + way + QUEUED + 2_000_000 + facts.stores;
        let commands = wrote.iter().any(|w| !w.plain && w.at.t + ttl >= first.at.t && w.at.t <= due);
        // Only so many runs go on at once.
        let others =
            asked.iter().filter(|a| a.at.t <= due && a.done.is_none_or(|done| done + way >= first.at.t)).count();
        if !is_head || commands || due > facts.finish() || disturbed(facts, first.at.t, due) {
            continue;
        }
        if own.is_none_or(|a| a.at.t > due) && others < AT_ONCE {
            let ms = ttl / 1000;
            let text = format!("chat {chat}: message {} waits longer than {ms} ms, and nothing is under way", first.id);
            out.broken("queues", first.at.i, text);
            continue;
        }
        if !idle {
            continue;
        }
        let join = (expect.waits.join_ms * 1000).saturating_sub(QUEUED);
        let next = wrote.get(n + 1).filter(|w| w.plain && w.at.t < first.at.t + join);
        if let (Some(a), Some(next)) = (own, next)
            && !a.ids.contains(&next.id)
            && !expect.interrupts
        {
            let text =
                format!("chat {chat}: message {} came right after {}, and is not answered with it", next.id, first.id);
            out.broken("queues", a.at.i, text);
        }
    }
}

/// A message ends the run under way and all that wait: none of them is answered as a whole after it was there.
fn interrupts(chat: &str, wrote: &[Wrote], asked: &[Asked], facts: &Facts, expect: &Expect, out: &mut Findings) {
    for (n, old) in wrote.iter().enumerate().filter(|(_, w)| w.plain) {
        let Some(a) = old.asked.map(|a| &asked[a]) else { continue };
        let (Some(done), Some(new)) = (a.done, wrote[n + 1..].iter().find(|w| w.plain)) else { continue };
        // Where as many wait as may, it is accepted when the first of them begins.
        let waits = |w: &&Wrote| w.plain && w.asked.is_none_or(|a| asked[a].at.t > new.at.t);
        let waiting = wrote[..=n].iter().filter(waits).count() as u64;
        let is_full = expect.waits.most > 0 && waiting >= expect.waits.most;
        let accepted = if is_full { new.at.t.max(a.at.t) } else { new.at.t };
        // It was accepted before the answer was whole.
        let there = accepted + QUEUED + facts.stores;
        if a.ids.contains(&new.id) || done <= there || disturbed(facts, old.at.t, done + QUEUED) {
            continue;
        }
        let sent = facts.history.iter().find(|r| match &r.what {
            What::Telegram { method, params, status: Some(200) } if r.t_us >= done && method == "sendMessage" => {
                let words = params["text"].as_str().unwrap_or_default();
                let by_id = quoted(words).any(|id| id == old.id);
                // Words of a model that quotes nothing: of as many as it was to say, all.
                by_id || telegram::text(&params["chat_id"]) == chat && is_told_apart(a, asked) && says_all(a, words)
            }
            _ => false,
        });
        if let Some(sent) = sent {
            let text = format!(
                "chat {chat}: message {} ({:?}) is answered, though {} came {} ms before its answer was whole",
                old.id,
                old.text,
                new.id,
                (done - new.at.t) / 1000
            );
            out.broken("queues", sent.i, text);
        }
    }
}

/// How far its answer counts up, where it does.
fn counts(a: &Asked) -> Option<usize> {
    a.text.rsplit("[[slow:").next().filter(|_| a.text.contains("[[slow:"))?.split([':', ']']).next()?.parse().ok()
}

/// Nobody else's answer has as many words.
fn is_told_apart(a: &Asked, asked: &[Asked]) -> bool {
    let same = |o: &&Asked| counts(o) == counts(a) && o.ids != a.ids;
    counts(a).is_some() && !asked.iter().any(|o| same(&o))
}

/// These are all the words of its answer.
fn says_all(a: &Asked, words: &str) -> bool {
    let whole = |n: usize| (1..=n).map(|i| format!("w{i}")).collect::<Vec<_>>().join(" ");
    counts(a).is_some_and(|n| words.trim_end() == whole(n))
}

/// The same of what operators say, by what they are told of their runs.
fn operators(conns: &[Conn], asked: &[Asked], facts: &Facts, out: &mut Findings) {
    let all = conns.iter().flat_map(|c| c.requests.iter().map(move |r| (c, r)));
    let session = |c: &Conn, r: &Request| Some(c.hello.as_ref()?.session(r.params["sessionKey"].as_str()?));
    let runs: Vec<(&Conn, &Request, String)> = all
        .filter(|(_, r)| matches!(r.method, "chat.send" | "agent"))
        .filter_map(|(c, r)| Some((c, r, session(c, r)?)))
        .collect();
    for (c, old, key) in &runs {
        let (text, id) = (old.params["message"].as_str().unwrap_or_default(), old.key().unwrap_or_default());
        if text.len() < 6
            || text.starts_with('/')
            || runs.iter().filter(|(_, o, _)| o.params["message"] == text).count() > 1
        {
            continue;
        }
        let mine = |a: &&Asked| a.at.i > old.at.i && a.text == text;
        let Some(done) = asked.iter().rev().find(mine).and_then(|a| a.done) else { continue };
        let later = runs.iter().find(|(o, new, k)| {
            let accepted = new.first.filter(|a: &Answer| a.ok()).map(|a| a.at.t);
            let plain = !new.params["message"].as_str().is_some_and(|m| m.starts_with('/'));
            k == key
                && new.method == "chat.send"
                && plain
                && (o.group == c.group && o.life == c.life)
                && old.first.is_some_and(|a| a.at.i < new.at.i)
                && accepted.is_some_and(|t| t + 500_000 < done)
        });
        let Some((_, new, _)) = later.filter(|_| !disturbed(facts, old.at.t, done + QUEUED)) else { continue };
        let mut events = conns.iter().flat_map(|c| &c.events).filter(|e| e.name == "chat" && e.run == id);
        if let Some(end) = events.find(|e| e.payload["state"] == "final" && e.at.t >= done) {
            let other = new.key().unwrap_or_default();
            let text = format!("{}: run {id} is told to its end, though {other} came before it was there", c.name);
            out.broken("queues", end.at.i, text);
        }
    }
}

/// A summary has a line for each message, as many as may wait, and those of the newest.
fn summed_up(chat: &str, wrote: &[Wrote], asked: &[Asked], expect: &Expect, out: &mut Findings) {
    for a in asked {
        let Some((before, after)) = a.text.split_once(SUMMED_UP) else { continue };
        let count = before.rsplit('[').next().and_then(|n| n.parse::<usize>().ok()).unwrap_or(0);
        // A line may end with a bracket itself; another line follows it then.
        let mut ends = after.match_indices("]\n").filter(|(at, end)| !after[at + end.len()..].starts_with("- "));
        let Some((lines, rest)) = ends.next().map(|(at, _)| after.split_at(at)) else { continue };
        let lines: Vec<&str> = lines.split("\n- ").skip(1).collect();
        let Some(next) = quoted(rest).find_map(|id| wrote.iter().position(|w| w.id == id)) else { continue };
        let most = count.min(expect.waits.cap.max(1) as usize);
        let mut wrong =
            |why: String| out.broken("queues", a.at.i, format!("chat {chat}: {count} messages summed up: {why}"));
        if lines.len() != most {
            wrong(format!("{} lines for them, not {most}", lines.len()));
            continue;
        }
        // They are the last ones in front of the first that is given whole.
        let queued = |w: &&Wrote| !w.text.starts_with('/') && !is_stop(w.text);
        let all: Vec<&Wrote> = wrote[..next].iter().filter(queued).collect();
        let newest = all.iter().rev().take(lines.len()).rev();
        let is_of = |line: &str, w: &Wrote| {
            let whole = w.text.split_whitespace().collect::<Vec<_>>().join(" ");
            line == whole || line.len() >= LINE && whole.starts_with(line)
        };
        if let Some((line, w)) = lines.iter().zip(newest).find(|(line, w)| !is_of(line, w)) {
            wrong(format!("the line {line:?} stands where message {} ({:?}) has its place", w.id, w.text));
        }
    }
}
