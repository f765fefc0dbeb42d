//! Which method writes what, and which one reads it: one row for each. What an answer alone does not tell (who else writes,
//! what a restart forgets) stands below the table.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    pairs,
    register::{Deed, Registers, Use},
};
use crate::{
    history::What,
    oracle::{
        conn::{Conn, Event, Hello, Request, Turn},
        facts::Facts,
        reloads,
        sheet::Need,
    },
};

/// A request with its good answer; `None`: nobody knows whether it happened.
struct Asked<'a> {
    params: &'a Value,
    payload: Option<&'a Value>,
    hello: &'a Hello<'a>,
}

impl Asked<'_> {
    fn text(&self, key: &str) -> Option<String> {
        self.params[key].as_str().map(str::to_owned)
    }
    /// The session that the parameters name.
    fn session(&self, key: &str) -> Option<String> {
        self.params[key].as_str().map(|shown| self.hello.session(shown))
    }
    /// Rows of a list in the answer.
    fn rows(&self, key: &str) -> impl Iterator<Item = &Value> {
        self.payload.map(|p| &p[key]).and_then(Value::as_array).into_iter().flatten()
    }
}

type Deeds = Vec<(String, Deed)>;
/// One row: a method, and what it does to which values.
type Rule = (&'static str, fn(&Asked) -> Deeds);

/// Settings of a session that `sessions.list` shows.
const SETTINGS: [&str; 6] = ["label", "thinkingLevel", "verboseLevel", "reasoningLevel", "elevatedLevel", "sendPolicy"];

const RULES: [Rule; 32] = [
    ("voicewake.set", |a| one("wake words", a.params["triggers"].as_array().map(|given| Deed::Is(wake_words(given))))),
    ("voicewake.get", |a| one("wake words", a.payload.map(|p| Deed::Was(p["triggers"].clone())))),
    ("set-heartbeats", |a| one("heartbeats", Some(Deed::Is(a.params["enabled"].clone())))),
    ("status", |a| {
        // Where they are off altogether, the switch shows nothing.
        let agent = a.payload.map(|p| &p["heartbeat"]["agents"][0]).filter(|agent| agent["everyMs"].is_u64());
        one("heartbeats", agent.map(|agent| Deed::Was(agent["enabled"].clone())))
    }),
    ("sessions.patch", patch),
    ("sessions.reset", |a| reset(a)),
    ("sessions.delete", |a| delete(a)),
    ("sessions.list", |a| a.rows("sessions").flat_map(row).collect()),
    ("sessions.resolve", |a| match (a.text("label"), a.payload) {
        (Some(label), Some(p)) => vec![(format!("label of session {}", said(&p["key"])), Deed::Was(label.into()))],
        _ => vec![],
    }),
    ("chat.history", |a| match (a.session("sessionKey"), a.payload) {
        (Some(key), Some(p)) if p["sessionId"].is_string() => {
            vec![(format!("id of session {key}"), Deed::Was(p["sessionId"].clone()))]
        }
        _ => vec![],
    }),
    ("chat.send", |a| used(a, "message")),
    ("agent", |a| used(a, "message")),
    ("node.rename", |a| {
        named("name of node", a.text("nodeId"), a.text("displayName").map(|n| Deed::Is(n.trim().into())))
    }),
    ("node.list", |a| {
        let of = |n: &Value| (format!("name of node {}", said(&n["nodeId"])), Deed::Was(n["displayName"].clone()));
        a.rows("nodes").map(of).collect()
    }),
    ("node.describe", |a| {
        named("name of node", a.text("nodeId"), a.payload.map(|p| Deed::Was(p["displayName"].clone())))
    }),
    ("node.pair.request", |a| {
        let id = a.payload.map_or(Deed::Unknown, |p| Deed::Is(p["request"]["requestId"].clone()));
        named("request of node", a.text("nodeId"), Some(id))
    }),
    ("node.pair.approve", |a| match a.payload.map(|p| &p["node"]) {
        Some(node) => {
            let of = |what: &str| format!("{what} of node {}", said(&node["nodeId"]));
            vec![
                (of("request"), Deed::Is(Value::Null)),
                (of("approval"), Deed::Is(true.into())),
                (of("token"), Deed::Is(node["token"].clone())),
            ]
        }
        None => ["request", "approval", "token"].map(|what| (format!("{what} of node *"), Deed::Unknown)).into(),
    }),
    ("node.pair.reject", |a| match a.payload {
        Some(p) => vec![(format!("request of node {}", said(&p["nodeId"])), Deed::Is(Value::Null))],
        None => vec![("request of node *".into(), Deed::Unknown)],
    }),
    ("node.pair.verify", |a| {
        let (token, node) = (a.params["token"].clone(), a.text("nodeId"));
        let is = |p: &Value| if p["ok"] == true { Deed::Was(token.clone()) } else { Deed::WasNot(token.clone()) };
        named("token of node", node, a.payload.map(is))
    }),
    ("exec.approvals.set", |a| match a.payload {
        Some(p) => {
            let base = a.text("baseHash").map(|base| Deed::Was(base.into()));
            let base = base.map(|base| ("exec approvals".to_owned(), base));
            base.into_iter().chain([("exec approvals".to_owned(), Deed::Is(p["hash"].clone()))]).collect()
        }
        None => one("exec approvals", Some(Deed::Unknown)),
    }),
    ("exec.approvals.get", |a| one("exec approvals", a.payload.map(|p| Deed::Was(p["hash"].clone())))),
    ("config.get", |a| one("configuration", a.payload.map(|p| Deed::Was(p["hash"].clone())))),
    ("agents.list", |a| {
        let ids: Vec<&Value> = a.rows("agents").map(|agent| &agent["id"]).collect();
        let ids = a.payload.map(|p| ("agent ids".to_owned(), Deed::Was(json!([p["defaultId"], ids]))));
        one("agents", a.payload.map(|p| Deed::Was(p.clone()))).into_iter().chain(ids).collect()
    }),
    ("health", |a| {
        let ids: Vec<&Value> = a.rows("agents").map(|agent| &agent["agentId"]).collect();
        one("agent ids", a.payload.map(|p| Deed::Was(json!([p["defaultAgentId"], ids]))))
    }),
    ("models.list", |a| one("models", a.payload.map(|p| Deed::Was(p.clone())))),
    ("channels.pairing.approve", |a| named("code", a.text("code"), Some(Deed::Is(false.into())))),
    ("delivery.drop", |a| gone(a)),
    ("device.pair.approve", |a| named("device request", a.text("requestId"), Some(Deed::Is(false.into())))),
    ("device.pair.reject", |a| named("device request", a.text("requestId"), Some(Deed::Is(false.into())))),
    ("device.token.revoke", |a| {
        let name = format!("revocation of device {} as {}", said(&a.params["deviceId"]), said(&a.params["role"]));
        vec![(name, Deed::Is(true.into()))]
    }),
    ("device.token.rotate", |a| {
        let name = format!("revocation of device {} as {}", said(&a.params["deviceId"]), said(&a.params["role"]));
        vec![(name, Deed::Unknown)]
    }),
    ("device.pair.list", |a| {
        let of = |device: &Value| {
            let id = said(&device["deviceId"]).to_owned();
            let tokens = device["tokens"].as_array().cloned().unwrap_or_default();
            tokens.into_iter().map(move |token| {
                let revoked = token["revokedAtMs"].is_u64();
                (format!("revocation of device {id} as {}", said(&token["role"])), Deed::Was(revoked.into()))
            })
        };
        a.rows("paired").flat_map(of).collect()
    }),
];

/// What a process that ends takes with it.
const IN_MEMORY: [&str; 2] = ["heartbeats*", "approval *"];
/// Values that nobody writes over the protocol.
const STEADY: [&str; 4] = ["configuration", "agents", "agent ids", "models"];

fn one(name: &str, deed: Option<Deed>) -> Deeds {
    deed.map(|deed| (name.to_owned(), deed)).into_iter().collect()
}

fn named(kind: &str, id: Option<String>, deed: Option<Deed>) -> Deeds {
    id.zip(deed).map(|(id, deed)| (format!("{kind} {}", id.trim()), deed)).into_iter().collect()
}

fn said(v: &Value) -> &str {
    v.as_str().unwrap_or_default()
}

/// Texts that are not blank, 32 of them, each cut to 64 UTF-16 units; none means the defaults (part A5).
pub fn wake_words(given: &[Value]) -> Value {
    let cut = |text: &str| {
        let units: Vec<u16> = text.encode_utf16().take(64).collect();
        String::from_utf16_lossy(&units).trim_end_matches('\u{fffd}').to_owned()
    };
    let texts = given.iter().filter_map(Value::as_str).map(str::trim).filter(|t| !t.is_empty());
    let words: Vec<String> = texts.take(32).map(cut).collect();
    if words.is_empty() { json!(["openclaw", "claude", "computer"]) } else { json!(words) }
}

fn patch(a: &Asked) -> Deeds {
    let Some(key) = a.session("key") else { return vec![] };
    let mut deeds = vec![(format!("existence of session {key}"), Deed::Is(true.into()))];
    for setting in SETTINGS {
        let Some(value) = a.params.get(setting) else { continue };
        // What is stored of a synonym the answer tells, and nothing else does.
        let stored =
            a.payload.map_or(Deed::Unknown, |p| Deed::Is(p["entry"].get(setting).cloned().unwrap_or_default()));
        let plain = value.is_null()
            || setting == "label"
            || !matches!(value.as_str(), Some("true" | "yes" | "1" | "false" | "no" | "0" | "all"));
        deeds.push((format!("{setting} of session {key}"), if plain { Deed::Is(value.clone()) } else { stored }));
    }
    deeds
}

fn reset(a: &Asked) -> Deeds {
    let Some(key) = a.session("key") else { return vec![] };
    let id = a.payload.map_or(Deed::Unknown, |p| Deed::Is(p["entry"]["sessionId"].clone()));
    vec![(format!("existence of session {key}"), Deed::Is(true.into())), (format!("id of session {key}"), id)]
}

fn delete(a: &Asked) -> Deeds {
    let Some(key) = a.session("key") else { return vec![] };
    if a.payload.is_some_and(|p| p["deleted"] != true) {
        return vec![];
    }
    let none = SETTINGS.map(|setting| (format!("{setting} of session {key}"), Deed::Is(Value::Null)));
    let rest = [
        (format!("id of session {key}"), Deed::Unknown),
        (format!("existence of session {key}"), Deed::Is(false.into())),
    ];
    none.into_iter().chain(rest).collect()
}

/// A session's row. What it does not show is not set.
fn row(row: &Value) -> Deeds {
    let key = said(&row["key"]);
    let setting = |s: &&str| (format!("{s} of session {key}"), Deed::Was(row.get(*s).cloned().unwrap_or_default()));
    let id = (format!("id of session {key}"), Deed::Was(row["sessionId"].clone()));
    SETTINGS.iter().map(setting).chain([id]).collect()
}

/// A command may begin a session anew, or make it. What else is said makes it by the end of its run, see [`others`].
fn used(a: &Asked, message: &str) -> Deeds {
    let Some(key) = a.session("sessionKey").filter(|_| said(&a.params[message]).starts_with('/')) else {
        return vec![];
    };
    ["id", "existence"].map(|what| (format!("{what} of session {key}"), Deed::Unknown)).into()
}

fn gone(a: &Asked) -> Deeds {
    let ids = a.rows("ids").filter_map(Value::as_str);
    // One that waited is kept as dropped until an operator takes it out of that list too.
    let named = |id: &str| (format!("letter {id}"), Deed::Is(false.into()));
    ids.map(named).collect()
}

/// Reads everything that is written and read.
pub fn read(conns: &[Conn], facts: &Facts, registers: &mut Registers) {
    for name in STEADY {
        registers.steady(name);
    }
    let nothing = |deed| Use { from: 0, to: Some(0), deed, by: "nobody yet".into() };
    registers.add("wake words".into(), nothing(Deed::Is(wake_words(&[]))));
    methods(conns, registers, false);
    others(conns, facts, registers);
    methods(conns, registers, true);
    housekeeping(facts, registers);
    sessions(conns, registers);
    summaries(conns, facts, registers);
    letters(conns, registers);
    requests(conns, facts, registers);
    approvals(conns, facts, registers);
}

/// What the table says: who writes, or, once that is known, who reads what is written.
fn methods(conns: &[Conn], registers: &mut Registers, reads: bool) {
    for c in conns {
        let Some(hello) = &c.hello else { continue };
        for r in &c.requests {
            let Some((_, rule)) = RULES.iter().find(|(method, _)| *method == r.method) else { continue };
            let Some((payload, to)) = outcome(r) else { continue };
            if r.method == "sessions.list" && !(reads && registers.has("of session ")) {
                continue;
            }
            for (name, deed) in rule(&Asked { params: r.params, payload, hello }) {
                let reading = matches!(deed, Deed::Was(_) | Deed::WasNot(_));
                if reading == reads && (!reads || registers.knows(&name)) {
                    let by = format!("{}: {} {}", c.name, r.method, r.id);
                    registers.add(name, Use { from: r.at.i, to, deed, by });
                }
            }
        }
        for e in c.events.iter().filter(|e| reads && e.name == "voicewake.changed") {
            // It may have been on its way for long: it was in force at some time of this connection.
            let deed = Deed::Was(e.payload["triggers"].clone());
            let by = format!("{}: voicewake.changed", c.name);
            registers.add("wake words".into(), Use { from: c.opened.i, to: Some(e.at.i), deed, by });
        }
    }
}

fn is_config_change(frame: &Value) -> bool {
    matches!(frame["method"].as_str(), Some("config.set" | "config.patch" | "config.apply"))
}

/// A good answer with its place; `None` and no place when it may or may not have happened. Nothing for a refusal.
fn outcome<'a>(r: &Request<'a>) -> Option<(Option<&'a Value>, Option<u64>)> {
    match r.first {
        Some(a) if a.ok() => Some((Some(&a.frame["payload"]), Some(a.at.i))),
        _ if r.is_undone() => None,
        _ => Some((None, None)),
    }
}

/// Who writes beside the methods: the end of a process, people in chats, nodes, runs, an editor.
fn others(conns: &[Conn], facts: &Facts, registers: &mut Registers) {
    let mut add = |name: &str, from: u64, to: Option<u64>, deed: Deed, by: &str| {
        registers.add(name.to_owned(), Use { from, to, deed, by: by.to_owned() });
    };
    let there = || Deed::Is(true.into());
    for r in facts.history {
        match &r.what {
            What::Process { event } if event == "start" => {
                for name in IN_MEMORY {
                    add(name, r.i, Some(r.i), Deed::Unknown, "a start");
                }
            }
            // Telegram's people have the main session and sessions of their own; a command may begin it anew.
            What::Update { .. } => {
                for session in ["agent:main:main", "agent:main:telegram*"] {
                    add(&format!("existence of session {session}"), r.i, None, there(), "a chat");
                    add(&format!("id of session {session}"), r.i, None, Deed::Unknown, "a chat");
                }
            }
            // A message that a tool sends is noted in its session.
            What::Model { answer, .. } if answer.contains("message_send") => {
                add("existence of session *", r.i, None, there(), "a tool");
            }
            // A session that was there when a tool spoke to it may have been deleted before its run began.
            What::Model { answer, .. } if answer.contains("sessions_send") => {
                let hello = conns.iter().find_map(|c| c.hello.as_ref());
                let target = spoken_to(answer).zip(hello).map(|(shown, hello)| hello.session(&shown));
                let deletes = |(c, d): (&Conn, &Request)| {
                    let key = c.hello.as_ref().zip(d.params["key"].as_str()).map(|(h, key)| h.session(key));
                    d.method == "sessions.delete" && d.at.i > r.i && key == target
                };
                let mut requests = conns.iter().flat_map(|c| c.requests.iter().map(move |d| (c, d)));
                if let Some(target) = target.as_ref().filter(|_| requests.any(deletes)) {
                    add(&format!("existence of session {target}"), r.i, None, there(), "a tool");
                }
            }
            // What ran is remembered with the policy.
            What::Command { .. } => add("exec approvals", 0, None, Deed::Unknown, "a program that ran"),
            What::Fault { on: true, fault, .. } if fault["kind"] == "config_edit" => {
                for name in STEADY {
                    add(name, r.i, Some(r.i), Deed::Unknown, "an edit");
                }
            }
            // What a client writes is in force when it has been seen, or after the restart that it asked for.
            What::Sent { frame, .. } if is_config_change(frame) => {
                let by_then = facts.history.iter().rev().find(|later| later.t_us <= r.t_us + reloads::IN_FORCE);
                for name in STEADY {
                    add(name, r.i, by_then.map(|later| later.i), Deed::Unknown, "a change by a client");
                }
            }
            // What ends with the wall clock may have ended.
            What::Fault { on: true, fault, .. } if fault["kind"] == "clock_jump" => {
                for name in ["id of session *", "existence of session *", "request of node *", "code *", "letter *"] {
                    add(name, r.i, None, Deed::Unknown, "the clock");
                }
            }
            _ => {}
        }
    }
    let ends = ends(conns);
    let all = || conns.iter().flat_map(|c| &c.requests);
    // Where many wait one may make room, and after a while each is forgotten: see `pairs`.
    let many = all().filter(|r| r.method == "node.pair.request").count() > pairs::OF_ONE || facts.end >= pairs::TTL;
    for c in conns {
        for r in &c.requests {
            let from = r.at.i;
            match r.method {
                "node.pair.request" if many => {
                    add("request of node *", from, None, Deed::Unknown, "a request that made room");
                }
                "node.event" | "send" => add("existence of session *", from, None, there(), "a message"),
                "wake" => add("existence of session agent:main:main", from, None, there(), "a heartbeat"),
                "exec.approval.resolve" => add("exec approvals", from, None, Deed::Unknown, "an approval"),
                "device.pair.approve" => add("revocation of device *", from, None, Deed::Unknown, "an approval"),
                "agent" | "chat.send" => {
                    // Its run may come later than a deletion.
                    let key = c.hello.as_ref().zip(r.params["sessionKey"].as_str()).map(|(h, k)| h.session(k));
                    let end = r.key().and_then(|run| ends.get(run).copied()).filter(|end| *end > from);
                    let name = format!("existence of session {}", key.unwrap_or_else(|| "*".into()));
                    add(&name, from, end, there(), "a run");
                    if r.params["deliver"] == true {
                        add("existence of session *", from, None, there(), "a message");
                    }
                }
                _ => {}
            }
        }
    }
}

/// The session that a step of the model speaks to by a tool, as it is written there.
fn spoken_to(step: &str) -> Option<String> {
    let step: Value = serde_json::from_str(step).ok()?;
    let arguments: Value = serde_json::from_str(step["args"].as_str()?).ok()?;
    arguments["sessionKey"].as_str().map(str::to_owned)
}

/// What is told of a run of which nothing could be stored (F53).
const NOT_STORED: &str = "the state database cannot be used now";

/// By run the record at which everybody knows that it is over, and that something of it is stored.
fn ends<'a>(conns: &'a [Conn]) -> BTreeMap<&'a str, u64> {
    let mut ends = BTreeMap::new();
    let over = |state: &Value| matches!(said(state), "final" | "aborted" | "error");
    let stored = |e: &&Event| !said(&e.payload["errorMessage"]).contains(NOT_STORED);
    // One that was ended while it waited has no session before it has begun, and ended, by itself.
    let mut turns: BTreeMap<&str, u64> = BTreeMap::new();
    for e in conns.iter().flat_map(|c| &c.events).filter(|e| e.turn == Turn::End) {
        let last = turns.entry(e.run).or_insert(e.at.i);
        *last = e.at.i.max(*last);
    }
    let chat = conns.iter().flat_map(|c| &c.events).filter(|e| e.name == "chat");
    for e in chat.filter(|e| over(&e.payload["state"])).filter(stored) {
        let turn = turns.get(e.run).copied();
        let Some(at) = (if e.payload["state"] == "aborted" { turn.map(|t| t.max(e.at.i)) } else { Some(e.at.i) })
        else {
            continue;
        };
        let last = ends.entry(e.run).or_insert(at);
        *last = at.max(*last);
    }
    ends
}

/// Where there are too many sessions the silent ones go, never a main session of any agent (`session.maintenance`).
fn housekeeping(facts: &Facts, registers: &mut Registers) {
    const PRUNED: &str = "sessions.pruned";
    let is_main = |name: &str| name.split(':').nth(2) == Some("main") && name.split(':').count() == 3;
    let known = registers.written("existence of session ");
    for r in facts.history.iter().filter(|r| matches!(&r.what, What::Probe { name, .. } if name == PRUNED)) {
        for name in known.iter().filter(|name| !is_main(name)) {
            let by = "housekeeping".to_owned();
            registers.add(name.clone(), Use { from: 0, to: Some(r.i), deed: Deed::Unknown, by });
        }
    }
}

/// Which sessions there are: a list without filters that has room for more shows all of them.
fn sessions(conns: &[Conn], registers: &mut Registers) {
    const EXISTENCE: &str = "existence of session ";
    let known = registers.written(EXISTENCE);
    let labels = registers.written("label of session ");
    for c in conns {
        let Some(hello) = &c.hello else { continue };
        for r in &c.requests {
            if r.method == "sessions.resolve" && r.params["agentId"].is_null() && r.params["spawnedBy"].is_null() {
                let Some(answer) = r.first.filter(|a| a.ok() || a.reason() == "NO_SESSION") else { continue };
                let mut was = |name: &str, deed: Deed| {
                    let by = format!("{}: {} {}", c.name, r.method, r.id);
                    registers.add(name.to_owned(), Use { from: r.at.i, to: Some(answer.at.i), deed, by });
                };
                if let Some(key) = r.params["key"].as_str() {
                    let name = format!("{EXISTENCE}{}", hello.session(key));
                    if known.contains(&name) {
                        was(&name, Deed::Was(answer.ok().into()));
                    }
                }
                if r.params["label"].is_string() && !answer.ok() {
                    for name in &labels {
                        was(name, Deed::WasNot(r.params["label"].clone()));
                    }
                }
                continue;
            }
            let Some((Some(payload), Some(to))) = outcome(r) else { continue };
            let mut was = |name: &str, there: bool| {
                let by = format!("{}: {} {}", c.name, r.method, r.id);
                registers.add(name.to_owned(), Use { from: r.at.i, to: Some(to), deed: Deed::Was(there.into()), by });
            };
            if r.method == "sessions.list" {
                let rows = payload["sessions"].as_array().map_or(&[][..], Vec::as_slice);
                let plain = ["limit", "includeLastMessage", "includeDerivedTitles", "includeGlobal"];
                let by_key = ["search", "agentId", "includeUnknown"];
                let known_filter = |k: &str| plain.contains(&k) || by_key.contains(&k);
                let filtered = r.params.as_object().is_some_and(|p| p.keys().any(|k| !known_filter(k)));
                let limit = r.params["limit"].as_u64().unwrap_or(200);
                if filtered || rows.len() as u64 >= limit {
                    continue;
                }
                // Of those that are searched for only the ones that have it in their keys.
                let needle = r.params["search"].as_str().map(|s| s.trim().to_lowercase()).unwrap_or_default();
                let agent = r.params["agentId"].as_str().map(|id| format!("agent:{}:", id.trim().to_lowercase()));
                let is_meant = |name: &&String| {
                    let key = &name[EXISTENCE.len()..];
                    // These kinds are shown only where they are asked for, and are the default agent's.
                    let shown = match key {
                        "unknown" => agent.is_none() && r.params["includeUnknown"] == true,
                        "global" => agent.is_none() && r.params["includeGlobal"] != false,
                        _ => true,
                    };
                    shown && key.contains(&needle) && agent.as_ref().is_none_or(|of| key.starts_with(of))
                };
                for name in known.iter().filter(is_meant) {
                    was(name, rows.iter().any(|row| row["key"] == name[EXISTENCE.len()..]));
                }
            } else if r.method == "sessions.preview" {
                for preview in payload["previews"].as_array().into_iter().flatten() {
                    let name = format!("{EXISTENCE}{}", hello.session(said(&preview["key"])));
                    // What cannot be read says nothing.
                    if known.contains(&name) && preview["status"] != "error" {
                        was(&name, preview["status"] != "missing");
                    }
                }
            }
        }
    }
}

/// Which sessions there are, and whether heartbeats are on, as `health`, its events and `status` say: they name the newest
/// sessions and how many there are.
fn summaries(conns: &[Conn], facts: &Facts, registers: &mut Registers) {
    const EXISTENCE: &str = "existence of session ";
    let known = registers.written(EXISTENCE);
    for c in conns.iter().filter(|c| c.hello.is_some()) {
        let mut shown: Vec<(u64, u64, &Value, String)> = Vec::new();
        for r in c.requests.iter().filter(|r| matches!(r.method, "health" | "status")) {
            let Some((Some(payload), Some(to))) = outcome(r) else { continue };
            // A snapshot of health may be a second old.
            let fresh = if r.method == "health" { r.at.t.saturating_sub(1_000_000) } else { r.at.t };
            let from = facts.history.partition_point(|record| record.t_us < fresh) as u64;
            shown.push((from.min(r.at.i), to, payload, format!("{}: {} {}", c.name, r.method, r.id)));
        }
        let at = |t: u64| facts.history.partition_point(|record| record.t_us < t) as u64;
        // One that may have been on its way for long says nothing about now.
        let prompt = |t: u64| !c.is_disturbed(facts, t.saturating_sub(2_000_000), t) && !c.has_gap();
        let events = c.events.iter().filter(|e| e.name == "health" && prompt(e.at.t));
        shown.extend(events.map(|e| {
            let from = at(e.at.t.saturating_sub(1_000_000));
            (from, e.at.i, e.payload, format!("{}: a health event", c.name))
        }));
        for (from, to, payload, by) in shown {
            let mut was = |name: &str, value: Value| {
                registers.add(name.to_owned(), Use { from, to: Some(to), deed: Deed::Was(value), by: by.clone() });
            };
            let beat = &payload["agents"][0]["heartbeat"];
            if beat["everyMs"].is_u64() {
                was("heartbeats", beat["enabled"].clone());
            }
            // One that says that its database fails says of sessions what it knew last.
            if payload["ok"] == false {
                continue;
            }
            let of_agents = payload["agents"].as_array().or(payload["sessions"]["byAgent"].as_array());
            let lists =
                of_agents.into_iter().flatten().map(|a| if a["sessions"].is_object() { &a["sessions"] } else { a });
            let lists: Vec<&Value> = lists.collect();
            let rows = |list: &&Value| list["recent"].as_array().map_or(0, Vec::len) as u64;
            let whole = !lists.is_empty() && lists.iter().all(|list| list["count"] == rows(list));
            for name in &known {
                let key = &name[EXISTENCE.len()..];
                let mut rows = lists.iter().flat_map(|list| list["recent"].as_array().into_iter().flatten());
                let there = rows.any(|row| row["key"] == key);
                if there || whole {
                    was(name, there.into());
                }
            }
        }
    }
}

/// What was taken out of the messages on their way is not on its way any more; `delivery.list` shows it as dead at most.
fn letters(conns: &[Conn], registers: &mut Registers) {
    let known = registers.written("letter ");
    for (c, r) in conns.iter().flat_map(|c| c.requests.iter().map(move |r| (c, r))) {
        if r.method == "delivery.retry" {
            let ids = r.first.map(|a| a.frame["payload"]["ids"].as_array().cloned().unwrap_or_default());
            let names = match ids {
                Some(ids) if r.first.is_some_and(|a| a.ok()) => {
                    ids.iter().map(|id| format!("letter {}", said(id))).collect()
                }
                _ => vec!["letter *".to_owned()],
            };
            for name in names {
                let by = format!("{}: delivery.retry", c.name);
                registers.add(name, Use { from: r.at.i, to: None, deed: Deed::Unknown, by });
            }
        }
        let Some((Some(payload), Some(to))) = outcome(r).filter(|_| r.method == "delivery.list") else { continue };
        for row in payload["deliveries"].as_array().into_iter().flatten() {
            let name = format!("letter {}", said(&row["id"]));
            if known.contains(&name) {
                let waits = matches!(said(&row["state"]), "queued" | "attempting" | "unknown");
                let by = format!("{}: delivery.list {}", c.name, r.id);
                registers.add(name, Use { from: r.at.i, to: Some(to), deed: Deed::Was(waits.into()), by });
            }
        }
    }
}

/// Lists of what waits: codes of people, requests of devices and of nodes.
fn requests(conns: &[Conn], facts: &Facts, registers: &mut Registers) {
    /// A method, the beginning of the names, a list in the answer, what tells its rows apart, what is known of one.
    type Listed = (&'static str, &'static str, &'static str, &'static str, fn(Option<&Value>) -> Value);
    const LISTS: [Listed; 4] = [
        ("channels.pairing.list", "code ", "requests", "code", |row| row.is_some().into()),
        ("device.pair.list", "device request ", "pending", "requestId", |row| row.is_some().into()),
        ("node.pair.list", "request of node ", "pending", "nodeId", |row| {
            row.map_or(Value::Null, |r| r["requestId"].clone())
        }),
        ("node.pair.list", "approval of node ", "paired", "nodeId", |row| row.is_some().into()),
    ];
    undecided(conns, facts, registers);
    for (method, kind, list, id, value) in LISTS {
        let known = registers.written(kind);
        // Who asks to be let in writes nothing: what was decided had been asked before.
        for name in known.iter().filter(|_| matches!(kind, "code " | "device request ")) {
            let before = registers.first_write(name).saturating_sub(1);
            let by = "somebody who asked".to_owned();
            registers.add(name.clone(), Use { from: 0, to: Some(before), deed: Deed::Is(true.into()), by });
        }
        for (c, r) in
            conns.iter().flat_map(|c| c.requests.iter().map(move |r| (c, r))).filter(|(_, r)| r.method == method)
        {
            let Some((Some(payload), Some(to))) = outcome(r) else { continue };
            for name in &known {
                let row = payload[list].as_array().into_iter().flatten().find(|row| row[id] == name[kind.len()..]);
                let by = format!("{}: {method} {}", c.name, r.id);
                registers.add(name.clone(), Use { from: r.at.i, to: Some(to), deed: Deed::Was(value(row)), by });
            }
        }
    }
}

/// What a failing disk could not decide waits as before, and can be decided again: it is not an unknown request then.
fn undecided(conns: &[Conn], facts: &Facts, registers: &mut Registers) {
    const WAITS: &str = "device request ";
    let decisions = || {
        let all = conns.iter().flat_map(|c| c.requests.iter().map(move |r| (c, r)));
        let decides = |(_, r): &(&Conn, &Request)| matches!(r.method, "device.pair.approve" | "device.pair.reject");
        all.filter(decides).filter_map(|(c, r)| Some((c, r, r.first?, r.params["requestId"].as_str()?)))
    };
    let mut tried = false;
    for (c, r, a, id) in decisions().filter(|(_, r, a, _)| a.reason() == "STORAGE" && r.is_undone()) {
        let by = format!("{}: {} {} that the disk failed", c.name, r.method, r.id);
        let waits = Deed::Is(true.into());
        registers.add(format!("{WAITS}{id}"), Use { from: r.at.i, to: Some(a.at.i), deed: waits, by });
        tried = true;
    }
    if !tried {
        return;
    }
    for (c, r, a, id) in decisions().filter(|(.., a, _)| a.reason() == "UNKNOWN_REQUEST") {
        let by = format!("{}: {} {}", c.name, r.method, r.id);
        let gone = Deed::Was(false.into());
        registers.add(format!("{WAITS}{id}"), Use { from: r.at.i, to: Some(a.at.i), deed: gone, by });
    }
    // Requests are kept in memory; a device that comes back asks anew, and one that changed its mind takes the old one away.
    for r in facts.history.iter().filter(|r| matches!(&r.what, What::Process { event } if event == "start")) {
        let gone = Deed::Unknown;
        registers.add(format!("{WAITS}*"), Use { from: r.i, to: Some(r.i), deed: gone, by: "a start".into() });
    }
}

/// Questions to a person: they wait from the time at which they are told to the decision, the end of their time, or the
/// end of who asked.
fn approvals(conns: &[Conn], facts: &Facts, registers: &mut Registers) {
    let name = |id: &str| format!("approval {id}");
    let all = || conns.iter().flat_map(|c| c.requests.iter().map(move |r| (c, r)));
    let of_method = |method: &'static str| all().filter(move |(_, r)| r.method == method);
    let mut ids = Vec::new();
    for (c, r) in of_method("exec.approval.request").filter(|(_, r)| r.first.is_none_or(|a| a.ok())) {
        let Some(id) = r.params["id"].as_str() else { continue };
        let mut add = |from: u64, to: Option<u64>, waits: bool| {
            let by = format!("{}: {} {}", c.name, r.method, r.id);
            registers.add(name(id), Use { from, to, deed: Deed::Is(waits.into()), by });
        };
        let told = |c: &Conn| {
            let mut events = c.events.iter().filter(|e| e.name == "exec.approval.requested" && e.at.i > r.at.i);
            events.find(|e| e.payload["id"] == id).map(|e| e.at.i)
        };
        add(r.at.i, conns.iter().filter_map(told).min(), true);
        let ends = r.at.t + r.params["timeoutMs"].as_u64().unwrap_or(120_000).saturating_sub(1) * 1000;
        let out_of_time = facts.history.partition_point(|record| record.t_us < ends) as u64;
        match r.first {
            Some(a) if a.frame["payload"]["decision"].is_null() => add(out_of_time, Some(a.at.i), false),
            Some(a) => {
                let decides = |(_, d): &(&Conn, &Request)| d.params["id"] == id && d.at.i > r.at.i;
                let decided = of_method("exec.approval.resolve").filter(decides).map(|(_, d)| d.at.i).min();
                add(decided.unwrap_or(r.at.i + 1), Some(a.at.i), false);
            }
            // Nobody waits for it any more: the gateway knows of the end of a connection that it makes before its client does.
            None => match c.closed {
                Some(end) if end.by_client => add(end.at.i, None, false),
                Some(_) => add(r.at.i + 1, None, false),
                None => add(out_of_time, None, false),
            },
        }
        ids.push(id);
    }
    for (c, r) in of_method("exec.approval.resolve") {
        if let (Some(id), Some((_, to))) = (r.params["id"].as_str(), outcome(r)) {
            let by = format!("{}: {} {}", c.name, r.method, r.id);
            registers.add(name(id), Use { from: r.at.i, to, deed: Deed::Is(false.into()), by });
        }
    }
    for (c, r) in of_method("exec.approval.list").filter(|(c, _)| c.sees(Need::Approvals)) {
        let Some((Some(payload), Some(to))) = outcome(r) else { continue };
        for id in &ids {
            let waits = payload["pending"].as_array().into_iter().flatten().any(|p| p["id"] == *id);
            let by = format!("{}: exec.approval.list {}", c.name, r.id);
            registers.add(name(id), Use { from: r.at.i, to: Some(to), deed: Deed::Was(waits.into()), by });
        }
    }
}
