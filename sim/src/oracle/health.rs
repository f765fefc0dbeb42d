//! What `health`, its events, the snapshot of hello-ok, `status` and `channels.status` say is what the history implies
//! (protocol-core.md sections 5, 10, 12; agent-chat-channels.md section 10): channels as the Bot API saw them, times as they
//! were, trouble only where the disk makes some. A change is told by an event, soon; without one an event comes each minute
//! (D12).

mod channel;

use std::collections::BTreeMap;

use serde_json::Value;

use self::channel::Receiving;
pub use self::channel::Wall;
use super::{
    conn::Conn,
    facts::Facts,
    findings::Findings,
    sheet::Need,
    telegram::{self, Call},
};

/// An answer to `health` may be this old, in microseconds.
const FRESH: u64 = 1_000_000;
/// A change has been told by then, in microseconds.
const TOLD: u64 = 6_500_000;
/// What has not changed is told this often, in microseconds ...
const EVERY: u64 = 60_000_000;
/// ... give or take.
const SLACK: u64 = 7_000_000;
/// A disk that has failed is still known for it by then, in microseconds.
const TROUBLE: u64 = 30_000_000;

/// The state as somebody was shown it.
struct Shot<'a> {
    conn: &'a Conn<'a>,
    /// Record at which it was shown.
    at: u64,
    /// It was taken at some time between these two.
    from: u64,
    to: u64,
    by: &'static str,
    health: &'a Value,
    /// `stateVersion.health`, where one goes with it.
    version: Option<u64>,
}

/// Checks them all. `unwelcome`: updates of people who are not let in.
pub fn check(conns: &[Conn], unwelcome: &std::collections::BTreeSet<i64>, facts: &Facts, out: &mut Findings) {
    let calls = telegram::calls(facts);
    let wall = Wall::of(facts);
    let receiving = Receiving::of(&calls, unwelcome, facts);
    let shots = shots(conns);
    for s in &shots {
        contents(s, &wall, facts, out);
        // Where the clock is known its own time says when it was taken.
        let window = wall.time(&s.health["ts"]).map_or((s.from, s.to), |ts| (ts, ts));
        if let Some(why) = receiving.differs(&s.health["channels"]["telegram"], s.conn.life, window, &wall) {
            out.broken("health", s.at, format!("{}: {}: {why}", s.conn.name, s.by));
        }
    }
    versions(&shots, out);
    for c in conns.iter().filter(|c| c.sees(Need::Read)) {
        events(c, facts, out);
        told(c, &receiving, facts, out);
        answers(c, &receiving, &calls, &wall, out);
    }
}

fn shots<'a>(conns: &'a [Conn<'a>]) -> Vec<Shot<'a>> {
    let mut shots = Vec::new();
    for c in conns {
        let Some(hello) = &c.hello else { continue };
        let snapshot = &hello.payload["snapshot"];
        if snapshot["health"]["ok"].is_boolean() {
            // The latest one when it came in, which is as old as the time within which changes are told; the answer may have
            // waited for a stalled line.
            shots.push(Shot {
                conn: c,
                at: hello.at.i,
                from: c.opened.t.saturating_sub(TOLD),
                to: hello.at.t,
                by: "hello-ok",
                health: &snapshot["health"],
                version: snapshot["stateVersion"]["health"].as_u64(),
            });
        }
        for e in c.events.iter().filter(|e| e.name == "health") {
            let version = e.version.map(|(_, health)| health);
            // One that waited for a slow line is as old as its connection.
            shots.push(Shot {
                conn: c,
                at: e.at.i,
                from: 0,
                to: e.at.t,
                by: "a health event",
                health: e.payload,
                version,
            });
        }
        for r in c.requests.iter().filter(|r| r.method == "health") {
            let Some(answer) = r.first.filter(super::conn::Answer::ok) else { continue };
            shots.push(Shot {
                conn: c,
                at: answer.at.i,
                from: r.at.t.saturating_sub(FRESH),
                to: answer.at.t,
                by: "health",
                health: &answer.frame["payload"],
                version: None,
            });
        }
    }
    shots
}

/// What is in it for itself.
fn contents(s: &Shot, wall: &Wall, facts: &Facts, out: &mut Findings) {
    let mut say = |why: String| out.broken("health", s.at, format!("{}: {}: {why}", s.conn.name, s.by));
    let h = s.health;
    if let Some(ts) = wall.time(&h["ts"])
        && !(s.from.saturating_sub(FRESH)..=s.to + FRESH).contains(&ts)
    {
        say(format!("`ts` is {} ms after the start of the run, it was taken before {} ms", ts / 1000, s.to / 1000));
    }
    let default = s.conn.hello.as_ref().map(|h| &h.payload["snapshot"]["sessionDefaults"]["defaultAgentId"]);
    if default.is_some_and(|d| d.is_string() && *d != h["defaultAgentId"]) {
        say("another default agent than in hello-ok".into());
    }
    let defaults = h["agents"].as_array().into_iter().flatten().filter(|a| a["isDefault"] == true);
    if defaults.map(|a| &a["agentId"]).ne([&h["defaultAgentId"]]) {
        say("not exactly one default agent".into());
    }
    let lists = h["agents"].as_array().into_iter().flatten().map(|a| &a["sessions"]).chain([&h["sessions"]]);
    for list in lists {
        if let Some(why) = recent(list, 5, h["ts"].as_u64()) {
            say(why.into());
        }
    }
    if h["ok"] == false && !is_in_trouble(facts, s.from, s.to) {
        say(format!("{} though the disk takes everything", h["problem"]));
    }
    for (id, summary) in h["channels"].as_object().into_iter().flatten() {
        let listed = h["channelOrder"].as_array().is_some_and(|o| o.contains(&id.as_str().into()));
        if !listed || h["channelLabels"][id].as_str().is_none_or(str::is_empty) {
            say(format!("{id} is not in `channelOrder` and `channelLabels`"));
        }
        let own = summary["accountId"].as_str().unwrap_or_default();
        let same = |key: &str| summary["accounts"][own][key] == summary[key];
        if !["running", "connected", "lastError", "lastOkAt"].iter().all(|key| same(key)) {
            say(format!("{id}: the default account is not the summary"));
        }
    }
}

/// A list of the newest sessions: as many as there are, up to `most`, newest first.
pub fn recent(list: &Value, most: usize, now: Option<u64>) -> Option<&'static str> {
    let rows = list["recent"].as_array().map_or(&[][..], Vec::as_slice);
    let count = list["count"].as_u64()?;
    if rows.len() as u64 != count.min(most as u64) {
        return Some("`recent` does not go with `count`");
    }
    if rows.windows(2).any(|w| w[0]["updatedAt"].as_u64() < w[1]["updatedAt"].as_u64()) {
        return Some("`recent` is not newest first");
    }
    let aged = |row: &Value| {
        let (Some(now), Some(at), Some(age)) = (now, row["updatedAt"].as_u64(), row["age"].as_u64()) else {
            return true;
        };
        now.saturating_sub(at).abs_diff(age) <= 1000
    };
    (!rows.iter().all(aged)).then_some("an `age` is not the time since `updatedAt`")
}

/// Something was wrong with the disk at some time between the two, or shortly before.
fn is_in_trouble(facts: &Facts, from: u64, to: u64) -> bool {
    let disk = |kind: &str| matches!(kind, "disk" | "bit_flip" | "lost_write");
    facts.faults.iter().any(|f| disk(f.kind) && f.from <= to && f.to.saturating_add(TROUBLE) >= from)
}

/// What has to differ for a version of its own (D12).
fn core(health: &Value) -> Value {
    let agents =
        health["agents"].as_array().into_iter().flatten().map(|a| serde_json::json!([a["agentId"], a["heartbeat"]]));
    let mut channels = health["channels"].clone();
    strip_times(&mut channels);
    serde_json::json!([
        health["ok"],
        health["problem"],
        health["configProblem"],
        health["reachProblem"],
        channels,
        health["channelOrder"],
        agents.collect::<Vec<_>>()
    ])
}

fn strip_times(value: &mut Value) {
    match value {
        Value::Object(map) => {
            // How long a probe took is no news either way.
            map.retain(|key, _| !key.ends_with("At") && !key.ends_with("AgeMs") && key != "probe");
            map.values_mut().for_each(strip_times);
        }
        Value::Array(list) => list.iter_mut().for_each(strip_times),
        _ => {}
    }
}

/// One version is one state, for everybody.
fn versions(shots: &[Shot], out: &mut Findings) {
    let mut known: BTreeMap<(usize, u64), Value> = BTreeMap::new();
    for s in shots {
        let Some(version) = s.version else { continue };
        let core = core(s.health);
        let first = known.entry((s.conn.life, version)).or_insert_with(|| core.clone());
        if *first != core {
            let text = format!("{}: {}: version {version} is not what it was for others", s.conn.name, s.by);
            out.broken("health", s.at, text);
        }
    }
}

/// An event comes each minute, and besides only when something has changed; what `health` answers is the state told last.
fn events(c: &Conn, facts: &Facts, out: &mut Findings) {
    let Some(hello) = &c.hello else { return };
    let life = &facts.lives[c.life];
    let until = c.until(facts).min(life.to).min(life.stop.map_or(u64::MAX, |m| m.t));
    let mut last = (hello.at, core(&hello.payload["snapshot"]["health"]));
    let mut unforced: Option<u64> = None;
    let quiet = |from: u64, to: u64| !c.is_disturbed(facts, from, to) && !c.has_gap();
    let mut told = vec![(hello.at.t, last.1.clone())];
    for e in c.events.iter().filter(|e| e.name == "health") {
        let now = core(e.payload);
        if e.at.t > last.0.t + EVERY + SLACK && quiet(last.0.t, e.at.t) && e.at.t <= until {
            let ms = (e.at.t - last.0.t) / 1000;
            out.broken("health", e.at.i, format!("{}: no health event for {ms} ms before this one", c.name));
        }
        if now == last.1 && !probed(e.payload, &hello.payload["snapshot"]["health"]) {
            if let Some(before) = unforced.filter(|before| e.at.t + SLACK < before + EVERY && quiet(*before, e.at.t)) {
                let ms = (e.at.t - before) / 1000;
                let text = format!("{}: two health events within {ms} ms, though nothing has changed", c.name);
                out.broken("health", e.at.i, text);
            }
            unforced = Some(e.at.t);
        }
        told.push((e.at.t, now.clone()));
        last = (e.at, now);
    }
    if until > last.0.t + EVERY + SLACK && quiet(last.0.t, until) {
        let ms = (until - last.0.t) / 1000;
        out.broken("health", last.0.i, format!("{}: no health event for {ms} ms after this", c.name));
    }
    for r in c.requests.iter().filter(|r| r.method == "health") {
        let Some(answer) = r.first.filter(super::conn::Answer::ok) else { continue };
        let (from, to) = (r.at.t.saturating_sub(FRESH), answer.at.t + FRESH);
        if !quiet(from, to) || to > until {
            continue;
        }
        let before = told.iter().rfind(|(t, _)| *t <= from);
        let around = told.iter().filter(|(t, _)| *t > from && *t <= to);
        let now = core(&answer.frame["payload"]);
        if !before.into_iter().chain(around).any(|(_, told)| *told == now) {
            out.broken("health", answer.at.i, format!("{}: health answers what no event has told", c.name));
        }
    }
}

/// A probe is news that [`core`] does not know.
fn probed(event: &Value, before: &Value) -> bool {
    let has = |h: &Value| h["channels"]["telegram"]["probe"].is_object();
    has(event) || has(before)
}

/// What was told last is still so.
fn told(c: &Conn, receiving: &Receiving, facts: &Facts, out: &mut Findings) {
    let Some(hello) = &c.hello else { return };
    let shown = |t: u64| {
        let event = c.events.iter().rfind(|e| e.name == "health" && e.at.t <= t);
        event.map_or((hello.at.i, &hello.payload["snapshot"]["health"]), |e| (e.at.i, e.payload))
    };
    for (from, to) in receiving.steady(c.life, TOLD) {
        let (from, to) = (from.max(hello.at.t), to.min(c.until(facts)));
        if to < from + TOLD || c.has_gap() || c.is_disturbed(facts, from, to) {
            continue;
        }
        let (at, health) = shown(to);
        if let Some(why) = receiving.is_old(&health["channels"]["telegram"], c.life, (to - TOLD, to)) {
            out.broken("health", at, format!("{}: {} ms, what was told last: {why}", c.name, to / 1000));
        }
    }
}

/// `status` and `channels.status`.
fn answers(c: &Conn, receiving: &Receiving, calls: &[Call], wall: &Wall, out: &mut Findings) {
    for r in c.requests.iter().filter(|r| matches!(r.method, "status" | "channels.status" | "health")) {
        let Some(answer) = r.first.filter(super::conn::Answer::ok) else { continue };
        let (payload, window) = (&answer.frame["payload"], (r.at.t, answer.at.t));
        let mut say = |why: String| out.broken("health", answer.at.i, format!("{}: {}: {why}", c.name, r.method));
        if r.method == "status" {
            let lines: Vec<&str> =
                payload["channelSummary"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let own = lines.iter().find_map(|l| l.strip_prefix("Telegram default: "));
            if let Some(why) = own.and_then(|line| receiving.is_other_line(line, c.life, window)) {
                say(why);
            }
            let of = |key: &str| payload["delivery"][key].as_u64().unwrap_or(0);
            let (queued, lost) = (of("queued"), of("dead") + of("unknown"));
            let line = lines.iter().find(|l| l.starts_with("Delivery: "));
            let fits = |l: &&&str| {
                l.starts_with(&format!("Delivery: {queued} queued"))
                    && (lost == 0 || l.contains(&format!(", {} not delivered, {} unknown", of("dead"), of("unknown"))))
            };
            if line.is_some() != (queued + lost > 0) || !line.iter().all(fits) {
                say(format!("the line about deliveries is {line:?}, they are {}", payload["delivery"]));
            }
            let lists = payload["sessions"]["byAgent"].as_array().into_iter().flatten().chain([&payload["sessions"]]);
            for why in lists.filter_map(|list| recent(list, 10, None)) {
                say(why.into());
            }
            continue;
        }
        let row = if r.method == "health" {
            &payload["channels"]["telegram"]
        } else {
            let row = &payload["channels"]["telegram"];
            if let Some(why) = receiving.differs(row, c.life, window, wall) {
                say(why);
            }
            let first = &payload["channelAccounts"]["telegram"][0];
            let own = &payload["channelDefaultAccountId"]["telegram"];
            if row.is_object() && (first["accountId"] != *own || first["lastOkAt"] != row["lastOkAt"]) {
                say("the default account is not the summary".into());
            }
            row
        };
        if r.params["probe"] == true
            && let Some(why) = receiving.probe(row, calls, window)
        {
            say(why);
        }
    }
}
