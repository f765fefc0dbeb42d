//! Who was let in, by whom, and for how long (protocol-core.md section 7; D15, D16): a model of the approvals that the
//! history shows. A decision takes effect at some time between its request and its answer; both ends are kept, and what
//! may have been so is not held against the gateway.

mod listed;

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Expect,
    conn::{Conn, Hello},
    facts::{Facts, Mark, TAIL},
    findings::Findings,
    sheet::{Need, Rights},
};
use crate::history::Frame;

/// A request that nobody decides is over after so long.
const TTL: u64 = 300_000_000;
/// Spread of times measured at clients.
const SLACK: u64 = 2_000_000;
/// A connection that must end has ended within this time.
const ENDS_WITHIN: u64 = 5_000_000;

/// What a device wants to be.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ask<'a> {
    device: &'a str,
    rights: Rights,
}

impl<'a> Ask<'a> {
    /// Of a first frame with a device block.
    fn of(c: &Conn<'a>) -> Option<(Mark, Self)> {
        let (at, frame) = c.opening?;
        let device = frame["params"]["device"]["id"].as_str()?;
        Some((at, Self { device, rights: Rights::of(&frame["params"]) }))
    }

    fn role(&self) -> &'static str {
        if self.rights.node { "node" } else { "operator" }
    }
}

/// A change of what a device may be, at some time between two.
#[derive(Debug)]
struct Change<'a> {
    from: u64,
    to: u64,
    /// It was confirmed.
    sure: bool,
    device: &'a str,
    role: &'a str,
    what: Kind<'a>,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind<'a> {
    /// These scopes were added by a person.
    Grant(Vec<&'a str>),
    /// These scopes were added because the device is on the gateway's own machine.
    Silent(Vec<&'a str>),
    /// A new token; only these scopes remain, if any are named.
    Rotate(Option<Vec<&'a str>>),
    /// Nothing remains.
    Revoke,
}

impl Change<'_> {
    fn grants(&self, scope: Option<&str>) -> bool {
        match &self.what {
            Kind::Grant(scopes) | Kind::Silent(scopes) => scope.is_none_or(|s| scopes.contains(&s)),
            _ => false,
        }
    }
    fn takes(&self, scope: Option<&str>) -> bool {
        match &self.what {
            Kind::Revoke => true,
            Kind::Rotate(Some(left)) => scope.is_some_and(|s| !left.contains(&s)),
            _ => false,
        }
    }
    fn is_about(&self, ask: &Ask) -> bool {
        self.device == ask.device && self.role == ask.role()
    }
}

/// Checks them all.
pub fn check(conns: &[Conn], facts: &Facts, expect: &Expect, out: &mut Findings) {
    if !conns.iter().any(|c| Ask::of(c).is_some()) {
        return;
    }
    let known = requests(conns);
    let changes = changes(conns, &known, facts, expect);
    for c in conns {
        beyond(c, &known, out);
        let Some((sent, ask)) = Ask::of(c) else { continue };
        if let Some(hello) = &c.hello {
            granted(c, sent, &ask, hello, &changes, out);
        }
        if let Some(refusal) = c.refusal.filter(|a| a.reason() == "PAIRING_REQUIRED") {
            turned_away(c, sent, &ask, refusal.at, &changes, out);
        }
    }
    for v in changes.iter().filter(|v| v.sure && matches!(v.what, Kind::Revoke | Kind::Rotate(_))) {
        ended(conns, v, facts, expect, out);
    }
    asked_once(conns, &changes, facts, out);
}

/// What each pairing request is for, as anybody was told of it.
fn requests<'a>(conns: &[Conn<'a>]) -> BTreeMap<&'a str, (&'a str, &'a str, Vec<&'a str>)> {
    let texts = |v: &'a serde_json::Value| v.as_array().into_iter().flatten().filter_map(|s| s.as_str()).collect();
    let mut known = BTreeMap::new();
    for c in conns {
        let told = c.events.iter().filter(|e| e.name == "device.pair.requested").map(|e| e.payload);
        let answers = c.requests.iter().filter(|r| r.method == "device.pair.list").filter_map(|r| r.first);
        let listed = answers.flat_map(|a| a.frame["payload"]["pending"].as_array().into_iter().flatten());
        for p in told.chain(listed) {
            if let (Some(id), Some(device), Some(role)) =
                (p["requestId"].as_str(), p["deviceId"].as_str(), p["role"].as_str())
            {
                known.insert(id, (device, role, texts(&p["scopes"])));
            }
        }
    }
    known
}

fn changes<'a>(
    conns: &[Conn<'a>],
    known: &BTreeMap<&'a str, (&'a str, &'a str, Vec<&'a str>)>,
    facts: &Facts,
    expect: &Expect,
) -> Vec<Change<'a>> {
    let mut changes = Vec::new();
    for c in conns {
        let until = c.until(facts) + SLACK;
        if let Some((sent, frame)) = c.opening
            && expect.local.iter().any(|local| local == c.client)
            && let Some(device) = frame["params"]["device"]["id"].as_str()
        {
            let params = &frame["params"];
            let named = params["scopes"].as_array().into_iter().flatten().filter_map(|s| s.as_str());
            let mut scopes: Vec<&str> = named.collect();
            let role = params["role"].as_str().unwrap_or("operator");
            if scopes.is_empty() && role == "operator" {
                scopes.push("operator.admin");
            }
            let to = c.hello.as_ref().map_or(until, |h| h.at.t);
            let sure = c.hello.is_some();
            changes.push(Change { from: sent.t, to, sure, device, role, what: Kind::Silent(scopes) });
        }
        for r in &c.requests {
            // What a failing disk was asked for may have been done, unless it was known that it was not.
            let refused = r.first.is_some_and(|a| !a.ok() && a.code() != "UNAVAILABLE");
            if refused || r.is_undone() {
                continue;
            }
            let (sure, to) = (r.first.is_some_and(|a| a.ok()), r.first.map_or(until, |a| a.at.t));
            let text = |key: &str| r.params[key].as_str().unwrap_or_default();
            let (device, role, what) = match r.method {
                "device.pair.approve" => match known.get(text("requestId")) {
                    Some((device, role, scopes)) => (*device, *role, Kind::Grant(scopes.clone())),
                    None => continue,
                },
                "device.token.revoke" => (text("deviceId"), text("role"), Kind::Revoke),
                "device.token.rotate" => {
                    let scopes = r.params["scopes"].as_array();
                    let scopes = scopes.map(|list| list.iter().filter_map(|s| s.as_str()).collect());
                    (text("deviceId"), text("role"), Kind::Rotate(scopes))
                }
                _ => continue,
            };
            changes.push(Change { from: r.at.t, to, sure, device, role, what });
        }
    }
    changes
}

/// Somebody approved `scope` (the role alone without one), and nobody surely took it away again, as seen by a connection
/// that asked at `sent` and was let in at `at`.
fn may_hold(ask: &Ask, scope: Option<&str>, sent: u64, at: u64, changes: &[Change]) -> bool {
    let mine = || changes.iter().filter(|x| x.is_about(ask));
    let taken = |g: &Change| mine().any(|v| v.sure && v.takes(scope) && v.from > g.to && v.to < sent);
    // What a person took away, only a person gives back.
    let barred = |g: &Change| {
        let revoked = mine().filter(|v| v.sure && v.what == Kind::Revoke && v.to < g.from).map(|v| v.from).max();
        let person = |v: u64| mine().any(|p| matches!(p.what, Kind::Grant(_)) && p.to > v && p.from < g.to);
        matches!(g.what, Kind::Silent(_)) && revoked.is_some_and(|v| !person(v))
    };
    mine().any(|g| g.grants(scope) && g.from <= at && !taken(g) && !barred(g))
}

/// No client holds a role or scope that no approval granted.
fn granted(c: &Conn, sent: Mark, ask: &Ask, hello: &Hello, changes: &[Change], out: &mut Findings) {
    let at = hello.at;
    if !may_hold(ask, None, sent.t, at.t, changes) {
        let text = format!("{}: was let in as {}, which no approval granted", c.name, ask.role());
        out.broken("grants", at.i, text);
    }
    let given = hello.payload["auth"]["scopes"].as_array();
    let lacks =
        |list: &Vec<serde_json::Value>| ask.rights.scopes.iter().find(|s| !list.iter().any(|own| own == s.as_str()));
    if let Some(scope) = given.and_then(lacks) {
        let text = format!("{}: was let in with {scope}, and its token is not good for that", c.name);
        out.broken("admitted", at.i, text);
    }
    let mut say = |what: String| {
        let role = ask.role();
        out.broken("grants", at.i, format!("{}: was let in as {role}{what}, which no approval granted", c.name));
    };
    let token = hello.payload["auth"]["scopes"].as_array().into_iter().flatten().filter_map(|s| s.as_str());
    let held: BTreeSet<&str> = ask.rights.scopes.iter().map(String::as_str).chain(token).collect();
    for scope in held {
        if !may_hold(ask, Some(scope), sent.t, at.t, changes) {
            say(format!(" with {scope}"));
        }
    }
}

/// Nobody approves a scope that he does not hold himself (S06).
fn beyond(c: &Conn, known: &BTreeMap<&str, (&str, &str, Vec<&str>)>, out: &mut Findings) {
    let Some(hello) = &c.hello else { return };
    for r in c.requests.iter().filter(|r| r.method == "device.pair.approve") {
        let Some(answer) = r.first else { continue };
        let Some((device, _, scopes)) = r.params["requestId"].as_str().and_then(|id| known.get(id)) else { continue };
        let own = hello.params["device"]["id"] == *device;
        let holds = c.sees(Need::Pairing) && scopes.iter().all(|s| hello.rights.hold(s));
        if answer.reason() == "MISSING_SCOPE" && holds && !own {
            let text = format!("{}: may not approve {scopes:?}, which it holds itself", c.name);
            out.broken("admitted", answer.at.i, text);
        }
        if !answer.ok() {
            continue;
        }
        if let Some(scope) = scopes.iter().find(|s| !hello.rights.hold(s)) {
            out.broken("grants", answer.at.i, format!("{}: approved {scope}, which it does not hold itself", c.name));
        }
    }
}

/// Who was approved for all that it asks is let in, also by the next process.
fn turned_away(c: &Conn, sent: Mark, ask: &Ask, at: Mark, changes: &[Change], out: &mut Findings) {
    let mine = || changes.iter().filter(|x| x.is_about(ask));
    let surely = |scope: Option<&str>| {
        let lost = |g: &Change| mine().any(|v| v.takes(scope) && v.to > g.from && v.from < at.t);
        mine().any(|g| g.sure && g.grants(scope) && g.to < sent.t && !lost(g))
    };
    if surely(None) && ask.rights.scopes.iter().all(|s| surely(Some(s))) {
        out.broken("admitted", at.i, format!("{}: has to be approved again, though it was", c.name));
    }
}

/// A rotation or revocation ends the connections that were let in before (D15).
fn ended(conns: &[Conn], v: &Change, facts: &Facts, expect: &Expect, out: &mut Findings) {
    let life = facts.life(v.to);
    for c in conns.iter().filter(|c| c.life == life) {
        let Some((_, ask)) = Ask::of(c).filter(|(_, ask)| v.is_about(ask)) else { continue };
        if c.hello.as_ref().is_none_or(|h| h.at.t >= v.from) {
            continue;
        }
        let half_open = facts.hitting(c.client, c.group).any(|f| f.kind == "half_open" && c.opened.t <= f.from);
        let unread = c.unread.iter().any(|(from, to)| *from <= v.to + ENDS_WITHIN && to.saturating_add(TAIL) >= v.from);
        let quiet = !c.is_disturbed(facts, v.from, v.to + ENDS_WITHIN);
        let due = if quiet { v.to } else { v.to.max(facts.healed()) + expect.recover_within_ms * 1000 } + ENDS_WITHIN;
        let until = c.until(facts);
        let excused = half_open || unread || c.is_orphan(facts, due);
        if until > due && due < facts.finish() && !excused {
            let ms = (due - v.to) / 1000;
            let why = format!("{}: still connected {ms} ms after its {} was taken away", c.name, ask.role());
            out.broken("revocation", c.closed.map_or(c.opened.i, |e| e.at.i), why);
        }
    }
}

/// A pairing request as its device knows it.
struct Asked<'a> {
    id: &'a str,
    ask: Ask<'a>,
    /// It was filed after this and before the next.
    from: u64,
    to: u64,
    /// Life of the gateway that knows it.
    life: usize,
    /// Another one took its place, at the earliest.
    until: u64,
}

/// A device that waits is asked about once: it gets the same request whenever it comes back, until that is decided, out
/// of time, or replaced by one for something else. Who decides about devices hears of it once.
fn asked_once(conns: &[Conn], changes: &[Change], facts: &Facts, out: &mut Findings) {
    let decisions: Vec<(&str, u64)> = conns
        .iter()
        .flat_map(|c| &c.requests)
        .filter(|r| matches!(r.method, "device.pair.approve" | "device.pair.reject"))
        .filter_map(|r| Some((r.params["requestId"].as_str()?, r.at.t)))
        .collect();
    let decided = |id: &str, by: u64| decisions.iter().any(|(of, at)| *of == id && *at <= by);
    let mut devices: BTreeMap<(&str, usize), Vec<&Conn>> = BTreeMap::new();
    for c in conns {
        if let Some((_, ask)) = Ask::of(c) {
            devices.entry((ask.device, c.life)).or_default().push(c);
        }
    }
    let mut all: Vec<Asked> = Vec::new();
    for list in devices.values() {
        let mut now: Option<usize> = None;
        // Since when attempts have had no answer: they may have filed a request, or taken the place of one.
        let mut unheard: Option<(u64, Ask)> = None;
        for c in list {
            let Some((sent, ask)) = Ask::of(c) else { continue };
            let Some(answer) = c.refusal.filter(|a| a.reason() == "PAIRING_REQUIRED") else {
                if c.hello.is_some() {
                    // It has what it asked for, by a decision or without one.
                    if let Some(old) = now.map(|n: usize| &mut all[n]) {
                        old.until = old.until.min(sent.t);
                    }
                    (now, unheard) = (None, None);
                } else if c.refusal.is_none() {
                    unheard.get_or_insert((sent.t, ask));
                }
                continue;
            };
            let Some(id) = request_id(answer.frame) else {
                out.broken("pairing_requests", answer.at.i, format!("{}: turned away without a requestId", c.name));
                continue;
            };
            let waits = unheard.take();
            let changed = waits.as_ref().is_some_and(|(_, other)| *other != ask);
            let from = waits.map_or(sent.t, |(at, _)| at);
            if let Some(old) = now.map(|n| &mut all[n]) {
                let mut say = |why: &str| {
                    out.broken("pairing_requests", answer.at.i, format!("{}: request {id:?} {why}", c.name));
                };
                let over = sent.t > old.to + TTL + SLACK;
                match (old.id == id, old.ask == ask) {
                    (true, false) => say("is for something else than before"),
                    (true, true) if over => say("outlived its time"),
                    (true, true) => continue,
                    (false, true) if changed || decided(old.id, answer.at.t) => {}
                    (false, true) if answer.at.t + SLACK < old.from + TTL => {
                        say("is a second one for the same, while the first still waits");
                    }
                    (false, _) => {}
                }
                old.until = from;
            }
            told(conns, facts, (c, id), from, answer.at, out);
            now = Some(all.len());
            all.push(Asked { id, ask, from, to: answer.at.t, life: c.life, until: u64::MAX });
        }
    }
    for asked in &all {
        in_time(conns, asked, out);
    }
    listed::check(conns, changes, &all, &decided, facts, out);
}

/// A request can be decided until its time is over, and not after that, whatever the wall clock does (F23).
fn in_time(conns: &[Conn], asked: &Asked, out: &mut Findings) {
    let all = conns.iter().filter(|c| c.life == asked.life && c.sees(Need::Pairing));
    let decisions = all.flat_map(|c| c.requests.iter().map(move |r| (c, r))).filter(|(_, r)| {
        matches!(r.method, "device.pair.approve" | "device.pair.reject") && r.params["requestId"] == *asked.id
    });
    let mut decisions: Vec<_> = decisions.collect();
    decisions.sort_by_key(|(_, r)| r.at.t);
    for (n, (c, r)) in decisions.iter().enumerate() {
        let Some(answer) = r.first else { continue };
        let mut say = |why| out.broken("pairing_requests", answer.at.i, format!("{}: {:?} {why}", c.name, asked.id));
        if answer.ok() && r.at.t > asked.to + TTL + SLACK {
            say("was decided after its time");
        }
        let early = answer.at.t + SLACK < (asked.from + TTL).min(asked.until);
        let of_device = c.hello.as_ref().is_some_and(|h| h.params["device"].is_object());
        // Somebody else may have been faster.
        let alone = n == 0 && decisions.get(1).is_none_or(|(_, next)| next.at.t > answer.at.t);
        if answer.reason() == "UNKNOWN_REQUEST" && early && alone && (!of_device || c.sees(Need::Admin)) {
            say("could not be decided, though it still waits");
        }
    }
}

fn request_id(frame: &Frame) -> Option<&str> {
    frame["error"]["details"]["requestId"].as_str().filter(|id| !id.is_empty())
}

/// Everybody who decides about all devices, and was there all the time, has heard of the request exactly once.
fn told(conns: &[Conn], facts: &Facts, (of, id): (&Conn, &str), from: u64, at: Mark, out: &mut Findings) {
    for w in conns.iter().filter(|w| w.life == of.life && w.sees(Need::Pairing)) {
        let heard = w.events.iter().filter(|e| e.name == "device.pair.requested" && e.payload["requestId"] == *id);
        let times: Vec<Mark> = heard.map(|e| e.at).collect();
        if let Some(again) = times.get(1) {
            out.broken("pairing_requests", again.i, format!("{}: is asked about {id:?} a second time", w.name));
        }
        let of_device = w.hello.as_ref().is_some_and(|h| h.params["device"].is_object());
        let all = w.sees(Need::Admin) || !of_device;
        let there =
            w.is_ready_at(from.saturating_sub(SLACK)) && w.is_ready_at(at.t + SLACK) && at.t + SLACK < facts.end;
        if times.is_empty() && all && there && !w.has_gap() && !w.is_disturbed(facts, from, at.t + SLACK) {
            out.broken("pairing_requests", at.i, format!("{}: was never told of the request {id:?}", w.name));
        }
    }
}
