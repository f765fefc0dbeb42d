//! What nodes are asked, and what comes of it (part A2 of nodes-config-lifecycle.md, docs/nodes.md): only commands that the
//! platform or the configuration allows and that the node offers; the parameters as they were given, with nothing in them that only
//! the gateway may say (S19); each once; each end as it was, in time; and the node hears when nobody waits any more.

mod declared;

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    Expect,
    conn::{Answer, Conn, Event, Request},
    facts::Facts,
    findings::Findings,
    sheet::Need,
};
use declared::Pins;

/// What somebody has done is known on the other side by then, on links that carry, in microseconds.
const SOON: u64 = 3_000_000;
/// Longest wait of an invoke that names none, in milliseconds.
const DEFAULT_WAIT: u64 = 30_000;
/// So many invokes may be under way at least: fewer are never too many.
const MANY: usize = 1000;
/// What only the gateway may say about a command, or takes out of it (S19).
const OURS: [&str; 5] = ["approved", "approvalDecision", "approvedFacts", "unanswered", "approvalId"];

const CANVAS: &[&str] = &[
    "canvas.present",
    "canvas.hide",
    "canvas.navigate",
    "canvas.eval",
    "canvas.snapshot",
    "canvas.a2ui.push",
    "canvas.a2ui.pushJSONL",
    "canvas.a2ui.reset",
];
const EYES: &[&str] = &["camera.list", "camera.snap", "camera.clip", "screen.record", "location.get"];
const SMS: &[&str] = &["sms.send"];
const SYSTEM: &[&str] = &[
    "system.run",
    "system.run.inspect",
    "system.which",
    "system.notify",
    "system.execApprovals.get",
    "system.execApprovals.set",
    "browser.proxy",
];

/// A connection of a node.
struct Node<'a> {
    conn: &'a Conn<'a>,
    id: &'a str,
}

/// An invoke that has reached a node.
struct Asked<'a> {
    node: &'a Node<'a>,
    event: &'a Event<'a>,
    caller: &'a Conn<'a>,
    request: &'a Request<'a>,
}

impl Asked<'_> {
    fn key(&self) -> &str {
        self.request.key().unwrap_or_default()
    }
    /// What its node says to it.
    fn results(&self) -> impl Iterator<Item = &Request<'_>> {
        let own = self.node.conn.requests.iter();
        own.filter(|n| n.method == "node.invoke.result" && n.params["id"] == self.event.payload["id"])
    }
}

/// Checks them all.
pub fn check(conns: &[Conn], facts: &Facts, expect: &Expect, out: &mut Findings) {
    let nodes: Vec<Node> = conns.iter().filter_map(node).collect();
    let pins = Pins::of(conns, facts, expect);
    declared::check(conns, &pins, facts, expect, out);
    let callers = || conns.iter().flat_map(|c| c.requests.iter().map(move |r| (c, r)));
    let invokes: Vec<(&Conn, &Request)> = callers().filter(|(_, r)| r.method == "node.invoke").collect();
    for (c, r) in &invokes {
        if let Err((at, why)) = allowed(c, r, &nodes, &pins, facts, expect) {
            out.broken("nodes", at, format!("{}: node.invoke {}: {why}", c.name, r.key().unwrap_or_default()));
        }
        busy(c, r, &invokes, out);
    }
    for (c, r) in callers().filter(|(_, r)| r.method == "node.invoke.cancel") {
        taken_back(c, r, &invokes, &nodes, facts, out);
    }
    let asked = asked(&nodes, &invokes, out);
    once(&asked, facts, out);
    for a in &asked {
        if let Err(why) = as_given(a) {
            out.broken("nodes", a.event.at.i, format!("{}: invoke {}: {why}", a.node.conn.name, a.key()));
        }
        ended(a, &nodes, conns, facts, out);
        heard(a, facts, out);
    }
}

fn node<'a>(conn: &'a Conn<'a>) -> Option<Node<'a>> {
    let hello = conn.hello.as_ref().filter(|h| h.rights.node)?;
    let client = &hello.params["client"];
    Some(Node { conn, id: hello.params["device"]["id"].as_str().or_else(|| client["id"].as_str())? })
}

/// Platform and configuration let such a node run it; what denies wins.
fn is_allowed(platform: &str, command: &str, expect: &Expect) -> bool {
    let named = |list: &[String]| list.iter().any(|c| c.trim() == command);
    let platform = platform.to_lowercase();
    let begins = |names: &[&str]| names.iter().any(|name| platform.trim().starts_with(name));
    let groups: &[&[&str]] = match () {
        () if begins(&["ios"]) => &[CANVAS, EYES],
        () if begins(&["android"]) => &[CANVAS, EYES, SMS],
        () if begins(&["mac", "darwin"]) => &[CANVAS, EYES, SYSTEM],
        () if begins(&["win", "linux"]) => &[SYSTEM],
        () => &[CANVAS, EYES, SMS, SYSTEM],
    };
    !named(&expect.deny_commands) && (named(&expect.allow_commands) || groups.iter().any(|g| g.contains(&command)))
}

/// It is refused where it must be, for that reason, and nowhere else.
fn allowed(
    c: &Conn,
    r: &Request,
    nodes: &[Node],
    pins: &Pins,
    facts: &Facts,
    expect: &Expect,
) -> Result<(), (u64, String)> {
    let trimmed = |key: &str| r.params[key].as_str().unwrap_or_default().trim();
    let (id, command) = (trimmed("nodeId"), trimmed("command"));
    let mine: Vec<&Node> = nodes.iter().filter(|n| n.id == id && n.conn.opened.i < r.at.i).collect();
    let (Some(node), Some(answer)) = (mine.last(), r.first) else { return Ok(()) };
    // Of two connections of one node the later one counts, from a moment on that nobody sees.
    let is_one = mine.iter().filter(|n| n.conn.life == c.life && n.conn.until(facts) + SOON > r.at.t).count() == 1;
    let there = node.conn.hello.as_ref().is_some_and(|h| h.at.t + SOON < r.at.t)
        && node.conn.life == c.life
        && node.conn.closed.is_none_or(|end| end.at.t > answer.at.t)
        && !node.conn.is_disturbed(facts, node.conn.opened.t, answer.at.t);
    if !is_one || !there || command.is_empty() {
        return Ok(());
    }
    // What of it was approved counts, and nothing else.
    let Some(counts) = pins.counts(node.conn, r.at.t, answer.at.t) else { return Ok(()) };
    let reason = |d: &declared::Declared| {
        let may = |command: &str| is_allowed(&d.platform, command, expect);
        match () {
            () if !may(command) => Some("command not allowlisted"),
            () if !d.commands.iter().any(|o| may(o)) => Some("node did not declare commands"),
            () if !d.commands.contains(command) => Some("command not declared by node"),
            () => None,
        }
    };
    let mut reasons = counts.iter().map(reason);
    let Some(reason) = reasons.next().filter(|first| reasons.all(|other| other == *first)) else { return Ok(()) };
    // Programs are run for those who may have commands run, others need a person's word (D47).
    let is_run = answer.ok() && command == "system.run" && r.params["params"]["approvalId"].is_null();
    if is_run && !c.sees(Need::Admin) && !expect.writers_run {
        return Err((answer.at.i, "a program was run for who may not, and nobody was asked".to_owned()));
    }
    let refused = answer.reason() == "NODE_COMMAND_NOT_ALLOWED";
    let told = answer.frame["error"]["details"]["reason"].as_str().unwrap_or_default();
    let at = answer.at.i;
    match reason {
        Some(why) if answer.ok() => Err((at, format!("{command} was run: {why}"))),
        Some(why) if refused && told != why => {
            Err((at, format!("{command} was refused as {told:?}, expected {why:?}")))
        }
        None if refused => Err((at, format!("{command} was refused as {told:?}, and may be run"))),
        _ => Ok(()),
    }
}

/// Too many are under way only where many are; and what was refused for that may be asked again.
fn busy(c: &Conn, r: &Request, invokes: &[(&Conn, &Request)], out: &mut Findings) {
    let Some(answer) = r.first.filter(|a| a.reason() == "BUSY") else { return };
    let meets = |o: &Request| o.at.i < answer.at.i && o.first.is_none_or(|a| a.at.i > r.at.i);
    let under_way = invokes.iter().filter(|(o, q)| o.life == c.life && meets(q)).count();
    if under_way < MANY {
        let text = format!("{}: node.invoke is refused as one too many, beside {under_way}", c.name);
        out.broken("nodes", answer.at.i, text);
    }
}

/// Whoever takes an invoke back is told whether it was still under way: one of his own, of this node, with this key.
fn taken_back(c: &Conn, r: &Request, invokes: &[(&Conn, &Request)], nodes: &[Node], facts: &Facts, out: &mut Findings) {
    let Some(answer) = r.first.filter(Answer::ok) else { return };
    let who = |c: &Conn| c.hello.as_ref().map(|h| h.identity().to_owned());
    let trimmed = |r: &Request| r.params["nodeId"].as_str().unwrap_or_default().trim().to_owned();
    let own = invokes
        .iter()
        .filter(|(o, q)| o.life == c.life && who(o) == who(c) && q.key() == r.key() && trimmed(q) == trimmed(r));
    let mut own = own.map(|(_, q)| q);
    if answer.frame["payload"]["cancelled"] == true {
        if !own.any(|q| q.at.i < answer.at.i && q.first.is_none_or(|a| a.at.i > r.at.i)) {
            let text = format!("{}: node.invoke.cancel: something was taken back, and nothing was under way", c.name);
            out.broken("nodes", answer.at.i, text);
        }
        return;
    }
    // Its node had it, and its caller hears of its end only later.
    let reached = |q: &Request| {
        let event = |n: &&Node| {
            let asked = |e: &Event| e.name == "node.invoke.request" && e.payload["idempotencyKey"].as_str() == q.key();
            n.id == trimmed(q)
                && n.conn.closed.is_none()
                && n.conn.events.iter().any(|e| asked(e) && e.at.i < r.at.i)
                && !n
                    .conn
                    .requests
                    .iter()
                    .any(|x| x.method == "node.invoke.result" && x.at.i < answer.at.i && x.at.t + SOON > q.at.t)
        };
        nodes.iter().any(|n| event(&n))
    };
    let goes_on = |q: &&&Request| q.first.is_some_and(|a| a.at.t > answer.at.t + SOON) && reached(q);
    if own.find(goes_on).is_some() && !c.is_disturbed(facts, r.at.t, answer.at.t) {
        let text = format!("{}: node.invoke.cancel: nothing was taken back, and it is under way", c.name);
        out.broken("nodes", answer.at.i, text);
    }
}

/// Joins what nodes are asked with who asked for it. What the gateway asks for itself has no key.
fn asked<'a>(nodes: &'a [Node<'a>], invokes: &[(&'a Conn<'a>, &'a Request<'a>)], out: &mut Findings) -> Vec<Asked<'a>> {
    let mut asked = Vec::new();
    for node in nodes {
        for event in node.conn.events.iter().filter(|e| e.name == "node.invoke.request") {
            let payload = event.payload;
            if payload["nodeId"] != node.id {
                out.broken("nodes", event.at.i, format!("{}: a node is asked as another one", node.conn.name));
            }
            let Some(key) = payload["idempotencyKey"].as_str() else { continue };
            let fits = |r: &Request| {
                r.at.i < event.at.i
                    && r.key() == Some(key)
                    && r.params["nodeId"].as_str().is_some_and(|id| id.trim() == node.id)
                    && r.params["command"].as_str().is_some_and(|c| payload["command"] == c.trim())
            };
            // Of those with one key on one connection the first one may have been answered before: the latest counts.
            match invokes.iter().rev().find(|(_, r)| fits(r)) {
                Some((caller, request)) => asked.push(Asked { node, event, caller, request }),
                None => {
                    let text =
                        format!("{}: is asked for {} as {key}, and nobody has", node.conn.name, payload["command"]);
                    out.broken("nodes", event.at.i, text);
                }
            }
        }
    }
    asked
}

/// One key reaches its node once, unless a process of the gateway ended that may have forgotten it.
fn once(asked: &[Asked], facts: &Facts, out: &mut Findings) {
    let mut seen: BTreeMap<(&str, &str), &Asked> = BTreeMap::new();
    for a in asked {
        let who = a.caller.hello.as_ref().map_or("", |h| h.identity());
        if let Some(before) = seen.insert((who, a.key()), a)
            && !facts.ended_between(before.event.at.t, a.event.at.t)
        {
            let text = format!("{}: invoke {} reaches its node again", a.node.conn.name, a.key());
            out.broken("nodes", a.event.at.i, text);
        }
    }
}

/// The node is given what the caller has said.
fn as_given(a: &Asked) -> Result<(), String> {
    let (payload, params) = (a.event.payload, &a.request.params["params"]);
    if payload["timeoutMs"] != a.request.params["timeoutMs"] {
        return Err(format!("it has {} ms, the caller gave {}", payload["timeoutMs"], a.request.params["timeoutMs"]));
    }
    let text = payload["paramsJSON"].as_str();
    let given: Value = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let approval = params["approvalId"].as_str().filter(|_| payload["command"] == "system.run");
    let mut wanted = params.clone();
    if payload["command"] == "system.run" {
        if approval.is_none()
            && let Some(word) = OURS.iter().find(|word| !given[**word].is_null())
        {
            return Err(format!("the node is told {word:?} for a command that nobody approved"));
        }
        if approval.is_some() && given["approved"] != true {
            return Err("the node is not told that it was approved".to_owned());
        }
        if let Some(members) = wanted.as_object_mut() {
            members.retain(|name, _| !OURS.contains(&name.as_str()));
        }
    }
    // Of an environment not everything is passed on (S27), and of what was approved only what was shown.
    let same = match approval {
        Some(_) => given["command"] == wanted["command"],
        None if !wanted["env"].is_null() => given["command"] == wanted["command"],
        None => given == wanted,
    };
    if same { Ok(()) } else { Err(format!("the node is given {given}, the caller said {wanted}")) }
}

/// The end of an invoke that failed is as its caller is told, and he is told in time.
fn ended(a: &Asked, nodes: &[Node], conns: &[Conn], facts: &Facts, out: &mut Findings) {
    let Some(answer) = a.request.first.filter(|x| x.at.i > a.event.at.i) else { return };
    let mut wrong = |why: String| {
        out.broken("nodes", answer.at.i, format!("{}: invoke {}: {why}", a.caller.name, a.key()));
    };
    let asked = a.request.at.t;
    let quiet =
        |until: u64| !a.caller.is_disturbed(facts, asked, until) && !a.node.conn.is_disturbed(facts, asked, until);
    let wait = a.request.params["timeoutMs"].as_u64().unwrap_or(DEFAULT_WAIT) * 1000;
    if answer.at.t > asked + wait + SOON + facts.stores && quiet(answer.at.t) {
        wrong(format!("is told its end after {} ms, it had {} ms", (answer.at.t - asked) / 1000, wait / 1000));
    }
    let late = |n: &Request| n.at.t > asked + wait + 500_000;
    if answer.ok() && a.results().all(late) && quiet(answer.at.t) {
        wrong(format!("is given what its node said after its time of {} ms", wait / 1000));
    }
    let left = a.node.conn.closed.filter(|end| end.at.i < answer.at.i);
    if let Some(end) = left.filter(|end| end.code == Some(1000) && end.at.t > a.event.at.t)
        && answer.at.t > end.at.t + SOON + facts.stores
        && a.results().next().is_none()
        && quiet(answer.at.t)
    {
        wrong(format!("is told its end {} ms after its node had left", (answer.at.t - end.at.t) / 1000));
    }
    let error = &answer.frame["error"];
    match answer.reason() {
        "TIMEOUT" if answer.at.t + 100_000 < asked + wait => {
            wrong(format!("is out of time after {} ms, it had {} ms", (answer.at.t - asked) / 1000, wait / 1000));
        }
        "NODE_ERROR" => {
            let none = Value::Null;
            let said = |n: &Request| {
                let own = n.params.get("error").unwrap_or(&none);
                let words = own["message"].as_str().unwrap_or("node invoke failed");
                n.params["ok"] == false
                    && error["message"] == words
                    && ["code", "message"].iter().all(|key| error["details"]["nodeError"][key] == own[key])
            };
            if !a.results().any(said) {
                wrong(format!("is told {error}, which no node has said"));
            }
        }
        "NODE_DISCONNECTED" => {
            let gone = |n: &Node| n.id == a.node.id && n.conn.closed.is_some_and(|end| end.at.t < answer.at.t + SOON);
            let newer = |n: &Node| n.id == a.node.id && n.conn.opened.i > a.event.at.i && n.conn.opened.i < answer.at.i;
            if !nodes.iter().any(|n| gone(n) || newer(n)) && quiet(answer.at.t) {
                wrong("is told that its node has left, which is there".to_owned());
            }
        }
        "CANCELLED" => {
            let who = |c: &Conn| c.hello.as_ref().map(|h| h.identity().to_owned());
            let takes = |r: &Request| {
                r.method == "node.invoke.cancel"
                    && r.at.i < answer.at.i
                    && r.params["idempotencyKey"] == a.key()
                    && r.params["nodeId"].as_str().is_some_and(|id| id.trim() == a.node.id)
            };
            let same = conns.iter().filter(|c| who(c) == who(a.caller));
            if !same.flat_map(|c| &c.requests).any(takes) {
                wrong("is told that it was taken back, which nobody did".to_owned());
            }
        }
        _ => {}
    }
}

/// What the node hears of the end of what it was asked for, and of its own answers.
fn heard(a: &Asked, facts: &Facts, out: &mut Findings) {
    let conn = a.node.conn;
    let answer: Option<Answer> = a.request.first.filter(|x| x.at.i > a.event.at.i);
    let told: Vec<&Event> = conn
        .events
        .iter()
        .filter(|e| e.name == "node.invoke.cancel" && e.payload["id"] == a.event.payload["id"])
        .collect();
    let reason = answer.and_then(|x| match x.reason() {
        "TIMEOUT" => Some((x, "timeout")),
        "CANCELLED" => Some((x, "caller")),
        _ => None,
    });
    let mut wrong = |at: u64, why: String| {
        out.broken("nodes", at, format!("{}: invoke {}: {why}", conn.name, a.key()));
    };
    match (reason, told.first()) {
        (Some((x, why)), None) => {
            let until = x.at.t + SOON;
            let there = conn.closed.is_none_or(|end| end.at.t > until) && facts.finish() > until;
            if there && !facts.ended_between(x.at.t, until) && !conn.is_disturbed(facts, a.event.at.t, until) {
                wrong(x.at.i, format!("nobody waits for it any more ({why}), and the node is not told"));
            }
        }
        (Some((_, why)), Some(e)) if e.payload["reason"] != why => {
            wrong(e.at.i, format!("the node is told {}, expected {why:?}", e.payload["reason"]));
        }
        (None, Some(e)) if answer.is_some_and(|x| x.ok()) => {
            wrong(e.at.i, "the node is told that nobody waits for it, and its answer was given".to_owned());
        }
        _ => {}
    }
    let results: Vec<&Request> = a.results().collect();
    for (n, result) in results.iter().enumerate() {
        let Some(x) = result.first.filter(Answer::ok) else { continue };
        let ignored = x.frame["payload"]["ignored"] == true;
        let over = answer.is_some_and(|end| end.at.i < result.at.i);
        if !ignored && (n > 0 || over) {
            wrong(x.at.i, "the node's answer is taken, though its invoke is over".to_owned());
        }
        if ignored && results.len() == 1 && answer.is_some_and(|end| end.ok() || end.reason() == "NODE_ERROR") {
            wrong(x.at.i, "the node is told that its answer is ignored, and it was given".to_owned());
        }
    }
}
