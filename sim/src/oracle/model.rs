//! The protocol as a state machine per connection, written from the sheets (protocol-core.md sections 2 to 6, 9, 10;
//! D5, D6, D7, D10, D13, D34). It checks what one connection can tell by itself and leaves the rest to the oracles that
//! look at many.

use indexmap::IndexMap;
use serde_json::Value;

use super::{
    Expect,
    conn::{Answer, Closed, Conn, Event, Hello, Phase, Request, Turn},
    facts::{Facts, Mark},
    findings::Findings,
    sheet::{self, Need, Rights},
};
use crate::history::{Frame, What};

/// A refused connection is closed within this time.
const CLOSES_WITHIN: u64 = 5_000_000;
/// A first frame larger than this may be refused for its size (S12).
const LARGE: usize = 8 << 10;
/// Spread of times measured at a client.
const SLACK: u64 = 2_000_000;

/// Reads all connections of a history.
pub fn read<'a>(facts: &Facts<'a>, expect: &Expect, out: &mut Findings) -> Vec<Conn<'a>> {
    let mut conns: IndexMap<&str, Conn<'a>> = IndexMap::new();
    for r in facts.history {
        let at = Mark::of(r);
        match &r.what {
            What::Opened { conn, client, group } => {
                let new = Conn {
                    name: conn,
                    client,
                    group,
                    opened: at,
                    life: facts.life(at.t),
                    phase: Phase::Silent,
                    opening: None,
                    refusal: None,
                    hello: None,
                    requests: Vec::new(),
                    events: Vec::new(),
                    junk: None,
                    closed: None,
                    unread: Vec::new(),
                };
                conns.insert(conn, new);
            }
            What::Sent { conn, frame } => {
                if let Some(c) = conns.get_mut(conn.as_str()) {
                    sent(c, at, frame);
                }
            }
            What::Received { conn, frame } => {
                if let Some(c) = conns.get_mut(conn.as_str()) {
                    received(c, at, frame, out);
                }
            }
            What::Closed { conn, code, reason, by_client } => {
                if let Some(c) = conns.get_mut(conn.as_str()) {
                    c.closed.get_or_insert(Closed { at, code: *code, reason, by_client: *by_client });
                }
            }
            What::Reading { conn, on } => {
                if let Some(c) = conns.get_mut(conn.as_str()) {
                    match (on, c.unread.last_mut()) {
                        (false, _) => c.unread.push((at.t, u64::MAX)),
                        (true, Some(span)) => span.1 = at.t,
                        (true, None) => {}
                    }
                }
            }
            _ => {}
        }
    }
    let conns: Vec<Conn<'a>> = conns.into_values().collect();
    for c in &conns {
        first_frame(c, facts, expect, out);
        ending(c, &conns, facts, expect, out);
        answers(c, facts, expect, out);
    }
    conns
}

fn sent<'a>(c: &mut Conn<'a>, at: Mark, frame: &'a Value) {
    if c.opening.is_none() {
        c.opening = Some((at, frame));
        return;
    }
    if sheet::raw(frame).is_some() {
        c.junk.get_or_insert(at);
        return;
    }
    // Another frame than a request is answered with its own id if that is a text, else with `invalid` (section 4).
    let is_request = sheet::is_request(frame);
    let id = frame["id"].as_str().unwrap_or("invalid").to_owned();
    let method = if is_request { frame["method"].as_str().unwrap_or_default() } else { "" };
    c.requests.push(Request { at, id, method, params: &frame["params"], first: None, last: None });
}

fn received<'a>(c: &mut Conn<'a>, at: Mark, frame: &'a Frame, out: &mut Findings) {
    let name = c.name;
    if let Some(why) = sheet::malformed(frame) {
        out.broken("frames", at.i, format!("{name}: {why}"));
        return;
    }
    if frame["type"] == "event" {
        event(c, at, frame, out);
        return;
    }
    let id = frame["id"].as_str().unwrap_or_default();
    if c.phase == Phase::Ready {
        response(c, at, frame, id, out);
        return;
    }
    if c.phase == Phase::Refused {
        out.broken("hello", at.i, format!("{name}: a response to {id:?} after the first frame was refused"));
        return;
    }
    if c.phase == Phase::Silent {
        out.broken("challenge", at.i, format!("{name}: a response came before connect.challenge"));
    }
    let Some((_, opening)) = c.opening.filter(|(_, f)| sheet::is_request(f) && f["id"] == id) else {
        out.broken("hello", at.i, format!("{name}: a response to {id:?} came before the one to the first frame"));
        return;
    };
    if frame["ok"] != true {
        c.phase = Phase::Refused;
        c.refusal = Some(Answer { at, frame });
        return;
    }
    let payload = &frame["payload"];
    if opening["method"] != "connect" || payload["type"] != "hello-ok" {
        out.broken("hello", at.i, format!("{name}: the first frame was answered with something else than hello-ok"));
    }
    c.phase = Phase::Ready;
    let params = &opening["params"];
    c.hello = Some(Hello { at, payload, params, rights: Rights::of(params) });
}

fn event<'a>(c: &mut Conn<'a>, at: Mark, frame: &'a Frame, out: &mut Findings) {
    let name = c.name;
    let what = frame["event"].as_str().unwrap_or_default();
    let number = frame["seq"].as_u64();
    if what == "connect.challenge" {
        if c.phase != Phase::Silent {
            out.broken("challenge", at.i, format!("{name}: connect.challenge is not the first frame"));
        }
        let payload = &frame["payload"];
        if number.is_some() || frame.get("stateVersion").is_some() {
            out.broken("challenge", at.i, format!("{name}: connect.challenge carries seq or stateVersion"));
        }
        if payload["nonce"].as_str().is_none_or(str::is_empty) || payload["ts"].as_u64().is_none() {
            out.broken("challenge", at.i, format!("{name}: connect.challenge without nonce or ts"));
        }
        c.phase = if c.phase == Phase::Silent { Phase::Challenged } else { c.phase };
        return;
    }
    let Some(hello) = &c.hello else {
        let oracle = if c.phase == Phase::Silent { "challenge" } else { "hello" };
        out.broken(oracle, at.i, format!("{name}: event {what:?} came before hello-ok"));
        return;
    };
    match sheet::event(what) {
        None => out.broken("scopes", at.i, format!("{name}: an event {what:?} is not in the protocol")),
        // A node that follows a session is shown it: `rights` knows which one may be followed.
        Some(Need::Read) if follows(c, what, &frame["payload"]) => {}
        Some(need) if !hello.rights.meet(need) => {
            let scopes = hello.rights.scopes.join(" ");
            let role = if hello.rights.node { "node" } else { "operator" };
            out.broken("scopes", at.i, format!("{name} ({role}, scopes \"{scopes}\") was shown a {what:?} event"));
        }
        Some(_) => {}
    }
    let version = frame.get("stateVersion").map(|v| {
        let of = |key: &str| v[key].as_u64().unwrap_or_default();
        (of("presence"), of("health"))
    });
    let stateful = matches!(what, "presence" | "health");
    if version.is_some() != stateful {
        out.broken("frames", at.i, format!("{name}: stateVersion belongs to presence and health, here {what:?}"));
    }
    let payload = &frame["payload"];
    c.events.push(Event {
        at,
        name: what,
        payload,
        run: payload["runId"].as_str().unwrap_or_default(),
        turn: Turn::of(what, payload),
        seq: number,
        version: version.filter(|_| stateful),
    });
}

/// A node that follows some session may be shown this event, if the session is the right one.
fn follows(c: &Conn, event: &str, payload: &Value) -> bool {
    let of_session = matches!(event, "agent" | "chat") && payload["sessionKey"].is_string();
    // Also who asks for a run follows it.
    let subscribes = |r: &Request| r.method == "node.event";
    let node = c.hello.as_ref().is_some_and(|h| h.rights.node);
    node && (of_session || event == "health") && c.requests.iter().any(subscribes)
}

fn response<'a>(c: &mut Conn<'a>, at: Mark, frame: &'a Frame, id: &str, out: &mut Findings) {
    let name = c.name;
    let answer = Answer { at, frame };
    let known = c.requests.iter().any(|r| r.id == id);
    let is_final = |r: &Request| {
        let run = frame["payload"]["runId"].as_str();
        r.is_accepted() && r.last.is_none() && (run.is_none() || run == r.key()) && answer.status() != "accepted"
    };
    let mut mine = c.requests.iter_mut().filter(|r| r.id == id);
    // Several requests may share an id (section 2): the final of an accepted run is told by its run, the rest go by age.
    let found = mine.find(|r| is_final(r) && frame["payload"]["runId"].is_string());
    let found = match found {
        Some(r) => Some(r),
        None => c.requests.iter_mut().filter(|r| r.id == id).find(|r| r.first.is_none() || is_final(r)),
    };
    let Some(request) = found else {
        let why = if known { "one response too many to" } else { "a response to a request that was never sent:" };
        out.broken("responses", at.i, format!("{name}: {why} {id:?}"));
        return;
    };
    if request.first.is_some() {
        request.last = Some(answer);
        return;
    }
    request.first = Some(answer);
    let (method, ok) = (request.method, answer.ok());
    let allowed = c.hello.as_ref().is_some_and(|h| sheet::method(method).is_some_and(|need| h.rights.meet(need)));
    if ok && method.is_empty() {
        out.broken("responses", at.i, format!("{name}: a frame that is no request was answered with success"));
    } else if ok && method == "connect" {
        out.broken("hello", at.i, format!("{name}: a second connect succeeded"));
    } else if ok && !allowed {
        out.broken("scopes", at.i, format!("{name}: {method} succeeded without the scope or role that it needs"));
    }
}

/// What the first frame deserves (section 4).
struct Verdict {
    refused: bool,
    silent: bool,
    code: u16,
    reason: &'static str,
}

fn verdict(frame: &Value) -> Verdict {
    let of = |refused, silent, code, reason| Verdict { refused, silent, code, reason };
    if sheet::raw(frame).is_some() {
        return of(true, true, 1008, "");
    }
    if !sheet::is_request(frame) {
        return of(true, true, 1008, "invalid request frame");
    }
    if frame["method"] != "connect" {
        return of(true, false, 1008, "invalid handshake: first request must be connect");
    }
    let params = &frame["params"];
    if sheet::is_bad_connect(params) {
        return of(true, false, 1008, "invalid connect params");
    }
    let (min, max) = (params["minProtocol"].as_i64(), params["maxProtocol"].as_i64());
    if max < Some(3) || min > Some(4) {
        return of(true, false, 1002, "protocol mismatch");
    }
    of(false, false, 1008, "")
}

/// A malformed or refused first frame: answered as the table says, then closed, soon, with the right code.
fn first_frame(c: &Conn, facts: &Facts, expect: &Expect, out: &mut Findings) {
    let Some((sent, frame)) = c.opening else { return };
    let verdict = verdict(frame);
    let name = c.name;
    // Bytes that never became a WebSocket: nothing but the deadline is promised.
    if c.phase == Phase::Silent && sheet::raw(frame).is_some() {
        return;
    }
    let large = sheet::raw(frame).map_or_else(|| frame.to_string().len(), str::len) > LARGE;
    let life = &facts.lives[c.life];
    let stopping = life.stop.is_some_and(|m| m.t <= sent.t + CLOSES_WITHIN);
    if verdict.refused {
        if let Some(hello) = &c.hello {
            out.broken("refusals", hello.at.i, format!("{name}: was let in with a first frame that must be refused"));
            return;
        }
        if let (true, Some(answer)) = (verdict.silent, &c.refusal) {
            out.broken("refusals", answer.at.i, format!("{name}: a frame that is no request was answered"));
        }
        if let Some(answer) = &c.refusal
            && answer.code() != "INVALID_REQUEST"
            && !stopping
        {
            let code = answer.code();
            out.broken("refusals", answer.at.i, format!("{name}: refused with {code}, must be INVALID_REQUEST"));
        }
    } else if c.refusal.is_none() {
        return;
    }
    let after = c.refusal.map_or(sent, |a| a.at);
    let by = after.t + CLOSES_WITHIN;
    if c.is_disturbed(facts, c.opened.t, by) || c.is_orphan(facts, by) {
        return;
    }
    let late = sent.t >= c.opened.t + expect.handshake_timeout_ms * 1000 - SLACK / 2;
    match &c.closed {
        None if facts.end > by => {
            out.broken(
                "refusals",
                after.i,
                format!("{name}: refused, but not closed within {} s", CLOSES_WITHIN / 1_000_000),
            );
        }
        Some(end) if end.at.t > by => {
            out.broken(
                "refusals",
                end.at.i,
                format!("{name}: closed {} ms after it was refused", (end.at.t - after.t) / 1000),
            );
        }
        Some(end) if end.by_client => {}
        Some(end) if late || (large && end.code == Some(1009)) || (stopping && end.code == Some(1012)) => {}
        Some(end)
            if end.code != Some(verdict.code) && !(verdict.code == 1008 && mismatch(c) && end.code == Some(1002)) =>
        {
            let code = end.code.map_or("no code".to_owned(), |c| c.to_string());
            out.broken("refusals", end.at.i, format!("{name}: closed with {code}, must be {}", verdict.code));
        }
        Some(end) if end.reason.is_empty() || !end.reason.starts_with(verdict.reason) => {
            let (reason, must) = (end.reason, verdict.reason);
            out.broken(
                "refusals",
                end.at.i,
                format!("{name}: close reason {reason:?} must begin with {must:?} and say something"),
            );
        }
        _ => {}
    }
}

fn mismatch(c: &Conn) -> bool {
    c.refusal.is_some_and(|a| a.reason() == "PROTOCOL_MISMATCH")
}

/// How a connection may end: every close frame needs its cause, and an end without one needs a fault (section 14).
fn ending(c: &Conn, conns: &[Conn], facts: &Facts, expect: &Expect, out: &mut Findings) {
    let name = c.name;
    let deadline = c.opened.t + expect.handshake_timeout_ms * 1000;
    // A connection that says nothing, or no whole frame, ends at the handshake deadline, measured on the monotonic clock.
    let bytes = c.phase == Phase::Silent && c.opening.is_some_and(|(_, f)| sheet::raw(f).is_some());
    let quiet = bytes || (c.opening.is_none() && c.phase == Phase::Challenged);
    let until = c.until(facts);
    // A machine that lost power ends nothing any more.
    let has_peer = !c.is_orphan(facts, deadline + SLACK);
    if quiet && has_peer && until > deadline + SLACK && !c.is_disturbed(facts, c.opened.t, deadline + SLACK) {
        out.broken(
            "timeouts",
            c.closed.map_or(c.opened.i, |e| e.at.i),
            format!("{name}: still open past the handshake deadline"),
        );
    }
    // Text that is no JSON ends the connection (D6).
    if let Some(junk) = c.junk.filter(|j| c.hello.as_ref().is_some_and(|h| h.at.i < j.i)) {
        let by = junk.t + CLOSES_WITHIN;
        if until > by && !c.is_disturbed(facts, c.opened.t, by) && !c.is_orphan(facts, by) {
            out.broken("refusals", junk.i, format!("{name}: went on after a frame that is no JSON"));
        }
    }
    let Some(end) = c.closed.filter(|e| !e.by_client) else { return };
    // What holds up its opening holds up what the client sees of it: for the gateway it has been open for longer.
    let held_up = || {
        let from = c.opened.t.saturating_sub(expect.handshake_timeout_ms * 1000);
        facts.hitting(c.client, c.group).any(|f| f.is_slow() && f.from <= c.opened.t && f.to >= from)
    };
    if end.code == Some(1008)
        && end.reason == "handshake timeout"
        && (c.hello.is_some() || end.at.t + SLACK / 4 < deadline && !held_up())
    {
        let ms = (end.at.t - c.opened.t) / 1000;
        out.broken("timeouts", end.at.i, format!("{name}: handshake timeout after {ms} ms"));
    }
    if c.hello.is_none() {
        return;
    }
    let life = &facts.lives[c.life];
    let wants = |out: &mut Findings, oracle, ok: bool, why: &str| {
        if !ok {
            let code = end.code.map_or_else(|| "no close frame".to_owned(), |c| c.to_string());
            out.broken(oracle, end.at.i, format!("{name}: ended with {code} {:?}, but {why}", end.reason));
        }
    };
    let broken = c.is_disturbed(facts, c.opened.t, end.at.t) || c.is_orphan(facts, end.at.t + SLACK);
    let silence = expect.tick_interval_ms * 1000 * 5 / 2;
    match (end.code, end.reason) {
        (Some(1008), "slow consumer") => {
            // What it could not be given any more others have seen: an event of this size found no room.
            let near = |e: &&Event| e.at.t.abs_diff(end.at.t) <= 300_000;
            let others = conns.iter().filter(|o| o.name != c.name).flat_map(|o| &o.events).filter(near);
            let next = others.map(|e| e.payload.to_string().len() as u64 + 80).max().unwrap_or(0);
            let flooded = c.is_flooded(end.at.t, 300_000, expect.max_buffered_bytes.saturating_sub(next));
            // Who asks for more at once than its line carries has a backlog, however it reads.
            let asks = expect.hostile.iter().any(|h| h == c.client);
            wants(out, "slow_consumer", asks || flooded || c.may_lag(facts, end.at.t), "it has read all the time");
        }
        (_, "slow consumer") => wants(out, "slow_consumer", false, "a slow consumer is closed with 1008"),
        (Some(1012), _) => {
            wants(out, "closes", life.stop.is_some_and(|m| m.t <= end.at.t), "the gateway was not asked to stop");
        }
        (Some(1009), _) => {
            let large = c.requests.iter().any(|r| r.bytes() as u64 > expect.max_payload);
            wants(out, "closes", c.junk.is_some() || large, "no frame was larger than it takes");
        }
        (Some(1008), "invalid JSON") | (Some(1007), _) => {
            wants(out, "closes", c.junk.is_some() || !c.requests.is_empty(), "nothing wrong was sent");
        }
        (Some(1001), _) => {
            let from = end.at.t.saturating_sub(silence + SLACK);
            wants(out, "closes", c.is_disturbed(facts, from, end.at.t), "it was there and answered pings");
        }
        (Some(1008), _) => {}
        (Some(_) | None, _) => {
            wants(out, "closes", broken || c.junk.is_some(), "nothing happened that could explain it");
        }
    }
}

/// Requests that stayed without an answer, or got it late.
fn answers(c: &Conn, facts: &Facts, expect: &Expect, out: &mut Findings) {
    let Some(hello) = &c.hello else { return unheard(c, facts, expect, out) };
    let name = c.name;
    let until = c.until(facts);
    let patience = expect.recover_within_ms * 1000;
    let is_hostile = expect.hostile.iter().any(|h| h == c.client);
    for r in &c.requests {
        if c.junk.is_some_and(|j| j.i < r.at.i) {
            break; // The gateway reads no further.
        }
        let asked = r.at.t.max(hello.at.t);
        let bound = bound(c, r, asked, expect);
        let Some(answer) = &r.first else {
            let quiet = !c.is_disturbed(facts, asked, asked + bound);
            let due = if quiet { asked + bound } else { asked.max(facts.healed()) + bound + patience };
            let due = due + facts.slow_disk_between(asked, due);
            let alive = !c.is_orphan(facts, due) && !dead(c, facts);
            if until > due && alive && c.unread.last().is_none_or(|(_, to)| *to < u64::MAX) {
                let (id, method) = (&r.id, r.method);
                out.broken("answered", r.at.i, format!("{name}: {method} {id:?} was never answered"));
            }
            continue;
        };
        // Who asks for hundreds of things at once waits for himself.
        let before = || c.requests.iter().filter_map(|r| r.first).map(|a| a.at.t).filter(|t| *t < answer.at.t).max();
        let began = if is_hostile { asked.max(before().unwrap_or(0)) } else { asked };
        let took = answer.at.t.saturating_sub(began);
        let bound = bound + facts.slow_disk_between(asked, answer.at.t);
        if took > bound && !c.is_disturbed(facts, asked, answer.at.t) {
            let (ms, limit) = (took / 1000, bound / 1000);
            out.broken("latency", answer.at.i, format!("{name}: {} took {ms} ms, at most {limit}", r.method));
        }
        // `agent.wait` says "timeout" only when its time is over, whatever the wall clock does (F23).
        if r.method == "agent.wait" && answer.status() == "timeout" && known_run(c, r) {
            let wait = r.params["timeoutMs"].as_u64().unwrap_or(30_000);
            if took / 1000 + 10 < wait {
                let ms = took / 1000;
                out.broken("timeouts", answer.at.i, format!("{name}: agent.wait timed out after {ms} of {wait} ms"));
            }
        }
    }
}

/// A run that this connection itself has started: only then `agent.wait` has something to wait for.
fn known_run(c: &Conn, wait: &Request) -> bool {
    let run = wait.params["runId"].as_str();
    c.requests.iter().any(|r| {
        r.method == "agent"
            && r.key() == run
            && r.first.is_some_and(|a| a.ok() && a.at.i < wait.at.i)
            && r.last.is_none_or(|l| l.at.i > wait.at.i)
    })
}

/// `connect` got no answer at all.
fn unheard(c: &Conn, facts: &Facts, expect: &Expect, out: &mut Findings) {
    let Some((sent, frame)) = c.opening else { return };
    if c.refusal.is_some() || verdict(frame).refused {
        return;
    }
    let due = sent.t + expect.handshake_timeout_ms * 1000;
    let quiet = !c.is_disturbed(facts, c.opened.t, due) && !c.is_orphan(facts, due);
    if c.until(facts) > due && quiet {
        out.broken("answered", sent.i, format!("{}: connect was never answered", c.name));
    }
}

/// Silent for good.
fn dead(c: &Conn, facts: &Facts) -> bool {
    facts.hitting(c.client, c.group).any(|f| f.kind == "half_open" && c.opened.t <= f.from)
}

/// How long an answer may take on a quiet connection, in microseconds.
fn bound(c: &Conn, r: &Request, asked: u64, expect: &Expect) -> u64 {
    let within = expect.answer_within_ms;
    let ms = match r.method {
        "agent.wait" => {
            let wait = r.params["timeoutMs"].as_u64().unwrap_or(30_000).min(86_400_000);
            // Whoever sees the run end soon has the answer.
            let is_its_end = |e: &&Event| e.at.t >= asked && e.turn == Turn::End && r.params["runId"] == e.run;
            let ended = c.events.iter().find(is_its_end).map(|e| (e.at.t - asked) / 1000 + within);
            wait.min(ended.unwrap_or(wait)) + within
        }
        // Retries of a channel are bounded, but take their time.
        "send" => 180_000,
        "exec.approval.request" => {
            let wait = r.params["timeoutMs"].as_u64().unwrap_or(120_000).min(86_400_000);
            // Whoever sees it decided soon has the answer.
            let decides =
                |e: &&Event| e.name == "exec.approval.resolved" && e.at.t >= asked && e.payload["id"] == r.params["id"];
            let decided = c.events.iter().find(decides).map(|e| (e.at.t - asked) / 1000);
            decided.unwrap_or(wait).min(wait) + within
        }
        "wake" | "channels.status" | "channels.logout" => 30_000,
        _ => within,
    };
    ms * 1000
}
