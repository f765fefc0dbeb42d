//! What a node says that it is and can do, and what of it counts (S33): what was approved is pinned, by a person or by being let in
//! silently on the gateway's own machine; a node that declares more goes on with what was approved, the rest is shown as waiting,
//! and a person is asked.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::oracle::{
    Expect,
    conn::{Answer, Conn},
    facts::{Facts, TAIL},
    findings::Findings,
    sheet::Need,
};

/// What has happened is known by then, in microseconds.
const SOON: u64 = 3_000_000;
/// A request of a node that declares more waits so long.
const WAITS: u64 = 86_400_000_000;

/// A declaration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declared {
    /// As it names itself.
    pub platform: String,
    family: Option<String>,
    caps: BTreeSet<String>,
    /// Those it offers.
    pub commands: BTreeSet<String>,
    permissions: Option<BTreeMap<String, bool>>,
}

impl Declared {
    /// Of the parameters of `connect`, or of a request as people are shown it.
    fn of(value: &Value, client: &Value) -> Self {
        let names = |key: &str| {
            let list = value[key].as_array().into_iter().flatten().filter_map(Value::as_str);
            list.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
        };
        let permissions = value["permissions"].as_object();
        let of = |map: &serde_json::Map<String, Value>| {
            map.iter().map(|(name, allowed)| (name.clone(), *allowed == true)).collect()
        };
        Self {
            platform: client["platform"].as_str().unwrap_or_default().to_owned(),
            family: client["deviceFamily"].as_str().map(str::to_owned),
            caps: names("caps"),
            commands: names("commands"),
            permissions: permissions.map(of),
        }
    }

    /// The word before its version.
    fn kind(&self) -> String {
        let word: String = self.platform.trim().chars().take_while(|c| c.is_alphabetic()).collect();
        word.to_lowercase()
    }

    fn permits(&self, name: &str) -> bool {
        self.permissions.as_ref().is_some_and(|p| p.get(name) == Some(&true))
    }

    /// What of it counts where `approved` was approved.
    fn within(&self, approved: &Self) -> Self {
        let both = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.intersection(b).cloned().collect();
        let named = if self.kind() == approved.kind() { self } else { approved };
        let of = |(name, allowed): (&String, &bool)| (name.clone(), *allowed && approved.permits(name));
        Self {
            platform: named.platform.clone(),
            family: named.family.clone(),
            caps: both(&self.caps, &approved.caps),
            commands: both(&self.commands, &approved.commands),
            permissions: self.permissions.as_ref().map(|p| p.iter().map(of).collect()),
        }
    }

    /// What of it nobody approved: caps, commands, permissions; and whether it is of another kind.
    fn beyond(&self, approved: &Self) -> ([BTreeSet<String>; 3], bool) {
        let new = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect();
        let asked = self.permissions.iter().flatten().filter(|(name, allowed)| **allowed && !approved.permits(name));
        let names = [
            new(&self.caps, &approved.caps),
            new(&self.commands, &approved.commands),
            asked.map(|(name, _)| name.clone()).collect(),
        ];
        (names, self.kind() != approved.kind())
    }

    fn is_beyond(&self, approved: &Self) -> bool {
        let (names, other) = self.beyond(approved);
        other || names.iter().any(|n| !n.is_empty())
    }
}

/// A declaration that was approved, at some time between two; `None`: it was taken away.
#[derive(Debug)]
struct Pin {
    from: u64,
    to: u64,
    sure: bool,
    what: Option<Declared>,
}

/// What was approved of each node.
pub struct Pins<'a>(BTreeMap<&'a str, Vec<Pin>>);

/// A request as people were told of it: of which device, for what.
type Requests<'a> = BTreeMap<&'a str, (&'a str, Declared)>;

fn told<'a>(conns: &[Conn<'a>]) -> Requests<'a> {
    let mut known = Requests::new();
    for c in conns {
        let told = c.events.iter().filter(|e| e.name == "device.pair.requested").map(|e| e.payload);
        let lists = c.requests.iter().filter(|r| r.method == "device.pair.list").filter_map(|r| r.first);
        let listed = lists.flat_map(|a| a.frame["payload"]["pending"].as_array().into_iter().flatten());
        for p in told.chain(listed).filter(|p| p["role"] == "node") {
            if let (Some(id), Some(device)) = (p["requestId"].as_str(), p["deviceId"].as_str()) {
                known.insert(id, (device, Declared::of(p, p)));
            }
        }
    }
    known
}

impl<'a> Pins<'a> {
    /// Reads them.
    pub fn of(conns: &[Conn<'a>], facts: &Facts, expect: &Expect) -> Self {
        let known = told(conns);
        let mut all: BTreeMap<&str, Vec<Pin>> = BTreeMap::new();
        let mut silent: Vec<(&str, Pin)> = Vec::new();
        for c in conns {
            let until = c.until(facts) + TAIL;
            if let Some((sent, frame)) = c.opening
                && frame["params"]["role"] == "node"
                && expect.local.iter().any(|local| local == c.client)
                && let Some(device) = frame["params"]["device"]["id"].as_str()
                && c.refusal.is_none()
            {
                let what = Some(Declared::of(&frame["params"], &frame["params"]["client"]));
                let (to, sure) = (c.hello.as_ref().map_or(until, |h| h.at.t), c.hello.is_some());
                silent.push((device, Pin { from: sent.t, to, sure, what }));
            }
            for r in &c.requests {
                if r.is_undone() || r.first.is_some_and(|a| !a.ok() && a.code() != "UNAVAILABLE") {
                    continue;
                }
                let (to, sure) = (r.first.map_or(until, |a| a.at.t), r.first.is_some_and(|a| a.ok()));
                let (device, what) = match r.method {
                    "device.pair.approve" => match r.params["requestId"].as_str().and_then(|id| known.get(id)) {
                        Some((device, what)) => (*device, Some(what.clone())),
                        None => continue,
                    },
                    "device.token.revoke" if r.params["role"] == "node" => {
                        (r.params["deviceId"].as_str().unwrap_or_default(), None)
                    }
                    "device.pair.remove" => (r.params["deviceId"].as_str().unwrap_or_default(), None),
                    _ => continue,
                };
                all.entry(device).or_default().push(Pin { from: r.at.t, to, sure, what });
            }
        }
        // Silently only what has no pin yet.
        silent.sort_by_key(|(_, pin)| pin.from);
        for (device, pin) in silent {
            let pins = all.entry(device).or_default();
            let last = pins.iter().filter(|p| p.sure && p.to < pin.from).max_by_key(|p| p.to);
            if last.is_none_or(|p| p.what.is_none()) {
                pins.push(pin);
            }
        }
        Self(all)
    }

    /// What may have been approved of it at some time between the two; nothing where nothing is known.
    fn between(&self, device: &str, from: u64, to: u64) -> Vec<&Declared> {
        let pins: &[Pin] = self.0.get(device).map_or(&[], Vec::as_slice);
        let over = |p: &Pin| pins.iter().any(|q| q.sure && q.from > p.to && q.to < from);
        pins.iter().filter(|p| p.from <= to && !over(p)).filter_map(|p| p.what.as_ref()).collect()
    }

    /// What may count of what a connection's node has declared, between two times. `None`: nobody can say.
    pub fn counts(&self, node: &Conn, from: u64, to: u64) -> Option<Vec<Declared>> {
        let hello = node.hello.as_ref()?;
        let own = Declared::of(hello.params, &hello.params["client"]);
        let Some(device) = hello.params["device"]["id"].as_str() else { return Some(vec![own]) };
        let pins = self.between(device, from, to);
        (!pins.is_empty()).then(|| pins.into_iter().map(|pin| own.within(pin)).collect())
    }
}

/// The one connection of this node that is surely there, and was for a while.
fn live<'c, 'a>(
    conns: &'c [Conn<'a>],
    id: &str,
    life: usize,
    from: u64,
    to: u64,
    facts: &Facts,
) -> Option<&'c Conn<'a>> {
    let mine = conns.iter().filter(|c| {
        let of = |h: &crate::oracle::conn::Hello| {
            let device = h.params["device"]["id"].as_str();
            h.rights.node && device.or_else(|| h.params["client"]["id"].as_str()) == Some(id)
        };
        c.life == life && c.hello.as_ref().is_some_and(of) && c.opened.t <= to && c.until(facts) + SOON >= from
    });
    let mut mine = mine;
    let one = mine.next()?;
    let there = one.hello.as_ref().is_some_and(|h| h.at.t + SOON < from) && one.until(facts) > to;
    (mine.next().is_none() && there && !one.is_disturbed(facts, one.opened.t, to)).then_some(one)
}

/// Rows of `node.list` and `node.describe`, and who is asked about what a node declares beyond its pin.
pub fn check(conns: &[Conn], pins: &Pins, facts: &Facts, expect: &Expect, out: &mut Findings) {
    if facts.faults.iter().any(|f| matches!(f.kind, "lost_write" | "bit_flip")) {
        return;
    }
    for c in conns {
        for r in c.requests.iter().filter(|r| matches!(r.method, "node.list" | "node.describe")) {
            let Some(answer) = r.first.filter(Answer::ok) else { continue };
            let payload = &answer.frame["payload"];
            let one = std::slice::from_ref(payload);
            let rows = payload["nodes"].as_array().map_or(one, Vec::as_slice);
            for row in rows.iter().filter(|row| row["connected"] == true) {
                let id = row["nodeId"].as_str().unwrap_or_default();
                let Some(node) = live(conns, id, c.life, r.at.t, answer.at.t, facts) else { continue };
                if let Err(why) = shown(row, node, pins, (r.at.t, answer.at.t), expect) {
                    out.broken("nodes", answer.at.i, format!("{}: {} shows {}: {why}", c.name, r.method, node.name));
                }
            }
        }
    }
    for node in conns {
        asked(node, conns, pins, facts, out);
    }
}

fn shown(row: &Value, node: &Conn, pins: &Pins, (from, to): (u64, u64), expect: &Expect) -> Result<(), String> {
    let Some(hello) = &node.hello else { return Ok(()) };
    // Without a device nothing is approved, and nothing pinned.
    let Some(device) = hello.params["device"]["id"].as_str() else { return Ok(()) };
    let own = Declared::of(hello.params, &hello.params["client"]);
    let Some(counts) = pins.counts(node, from, to) else { return Ok(()) };
    let shown = Declared::of(row, row);
    let kind = |e: &Declared| row["platform"].is_null() || e.platform == shown.platform;
    let same = |e: &Declared| {
        // Of its commands those are shown that it may be asked for.
        let may = |command: &&String| super::is_allowed(&e.platform, command, expect);
        let commands = shown.commands.is_subset(&e.commands)
            && e.commands.iter().filter(may).all(|command| shown.commands.contains(command));
        kind(e) && commands && (&e.caps, &e.permissions) == (&shown.caps, &shown.permissions)
    };
    if !counts.iter().any(same) {
        return Err(format!("{shown:?}, expected {:?}", counts.first()));
    }
    let waits = &row["waiting"];
    let names = ["caps", "commands", "permissions"].map(|key| {
        let list = waits[key].as_array().into_iter().flatten().filter_map(Value::as_str);
        list.map(str::to_owned).collect::<BTreeSet<_>>()
    });
    let fits = |pin: &&Declared| {
        let (beyond, other) = own.beyond(pin);
        let any = other || beyond.iter().any(|n| !n.is_empty());
        waits.is_object() == any && (!any || (beyond == names && waits["platform"].is_string() == other))
    };
    let pins = pins.between(device, from, to);
    if pins.iter().any(fits) { Ok(()) } else { Err(format!("{waits} waits, it declared {own:?}")) }
}

/// A node that declares more than was approved: who decides about all devices is told, and finds it in the list, until it is
/// decided, declared otherwise, or out of time.
fn asked(node: &Conn, conns: &[Conn], pins: &Pins, facts: &Facts, out: &mut Findings) {
    let (Some((sent, _)), Some(hello)) = (node.opening, node.hello.as_ref().filter(|h| h.rights.node)) else { return };
    let Some(device) = hello.params["device"]["id"].as_str() else { return };
    let own = Declared::of(hello.params, &hello.params["client"]);
    let before = pins.between(device, sent.t, hello.at.t);
    if before.is_empty() || !before.iter().all(|pin| own.is_beyond(pin)) {
        return;
    }
    // What it declared before is asked about already.
    let same = |o: &&Conn| {
        let opening = o.opening.filter(|(at, f)| at.i < sent.i && f["params"]["device"]["id"] == device);
        o.life == node.life && opening.is_some_and(|(_, f)| Declared::of(&f["params"], &f["params"]["client"]) == own)
    };
    let is_known = conns.iter().any(|o| same(&o));
    let is_this = |p: &Value| {
        let d = Declared::of(p, p);
        p["deviceId"] == device && p["role"] == "node" && d.caps == own.caps && d.commands == own.commands
    };
    let others = || conns.iter().filter(|w| w.life == node.life && w.sees(Need::Admin));
    let heard = others()
        .flat_map(|w| &w.events)
        .any(|e| e.name == "device.pair.requested" && e.at.t <= hello.at.t + SOON && is_this(e.payload));
    let there = |w: &&Conn| {
        w.is_ready_at(sent.t.saturating_sub(SOON))
            && w.is_ready_at(hello.at.t + SOON)
            && !w.has_gap()
            && !w.is_disturbed(facts, sent.t, hello.at.t + SOON)
    };
    if let Some(w) = others().find(there).filter(|_| !heard && !is_known && hello.at.t + SOON < facts.finish()) {
        let text = format!("{}: was never told that {} declares more than was approved", w.name, node.name);
        out.broken("pairing_requests", hello.at.i, text);
    }
    // Anything that may have taken it off the list.
    let over = conns.iter().flat_map(|c| &c.requests).filter(|r| {
        matches!(r.method, "device.pair.approve" | "device.pair.reject" | "device.token.revoke" | "device.pair.remove")
    });
    let over = over.map(|r| r.at.t).filter(|t| *t + SOON > sent.t).min().unwrap_or(u64::MAX);
    let again = conns.iter().filter_map(|o| o.opening.map(|(at, f)| (o, at, f)));
    let again = again.filter(|(o, at, f)| {
        let p = &f["params"];
        o.name != node.name
            && at.t > sent.t
            && p["device"]["id"] == device
            && p["role"] == "node"
            && Declared::of(p, &p["client"]) != own
    });
    let until = again.map(|(_, at, _)| at.t).min().unwrap_or(u64::MAX).min(over).min(facts.lives[node.life].to);
    for w in others() {
        for r in w.requests.iter().filter(|r| r.method == "device.pair.list") {
            let Some(answer) = r.first.filter(Answer::ok) else { continue };
            let waits = r.at.t > hello.at.t && answer.at.t < until && answer.at.t < sent.t + WAITS;
            let mut rows = answer.frame["payload"]["pending"].as_array().into_iter().flatten();
            if waits && !rows.any(is_this) {
                let text = format!("{}: what {} declares beyond its approval is not listed", w.name, node.name);
                out.broken("pairing_requests", answer.at.i, text);
            }
        }
    }
}
