//! Which token of a device is the valid one: the last that it was given, until that is rotated or taken away. Requests that
//! overlap may have been served in any order.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    conn::Conn,
    facts::Facts,
    findings::Findings,
    linearizable::{Object, Op, first_misfit},
    sheet::Rights,
};

/// A request without an answer has had its effect by then, in microseconds.
const EFFECT: u64 = 20_000_000;

struct Token;

/// The valid one, and those that surely are not any more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
struct State {
    current: Current,
    dead: BTreeSet<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Current {
    /// None.
    #[default]
    None,
    /// One that nobody was told of, or one of those that are not known to be dead.
    Some,
    /// This one.
    This(usize),
}

impl State {
    fn becomes(&self, current: Current) -> Self {
        let mut dead = self.dead.clone();
        if let Current::This(old) = self.current
            && current != self.current
        {
            dead.insert(old);
        }
        if let Current::This(new) = current {
            dead.remove(&new);
        }
        Self { current, dead }
    }

    fn takes(&self, token: usize) -> bool {
        match self.current {
            Current::None => false,
            Current::Some => !self.dead.contains(&token),
            Current::This(current) => current == token,
        }
    }
}

#[derive(Debug, Clone)]
enum Does {
    /// The device is let in without a token of its own and gets this one.
    Gets(Option<usize>),
    /// It is let in by this one and has that one from then on.
    Enters(usize, Option<usize>),
    /// This one is refused.
    IsRefused(usize),
    /// It is rotated to this one, if that was told.
    Rotates(Option<usize>),
    /// It is taken away.
    Loses,
}

impl Object for Token {
    type State = State;
    type Op = Does;
    fn step(&self, state: &State, op: &Does) -> Vec<State> {
        match op {
            Does::Gets(Some(new)) | Does::Rotates(Some(new)) => vec![state.becomes(Current::This(*new))],
            Does::Gets(None) => vec![state.becomes(Current::Some), state.clone()],
            Does::Enters(own, _) if !state.takes(*own) => vec![],
            Does::Enters(own, new) => vec![state.becomes(Current::This(new.unwrap_or(*own)))],
            Does::IsRefused(own) if state.current == Current::This(*own) => vec![],
            Does::IsRefused(_) => vec![state.clone()],
            Does::Rotates(None) => vec![state.becomes(Current::Some)],
            Does::Loses => vec![state.becomes(Current::None)],
        }
    }
}

type Ops = BTreeMap<(String, String), Vec<Op<Does>>>;

/// Checks every device in every role.
pub fn check(conns: &[Conn], facts: &Facts, out: &mut Findings) {
    if facts.faults.iter().any(|f| matches!(f.kind, "lost_write" | "bit_flip")) {
        return;
    }
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    let mut number = |token: &str| {
        let next = names.len();
        *names.entry(token.to_owned()).or_insert(next)
    };
    let mut ops = Ops::new();
    let mut own = BTreeSet::new();
    for c in conns {
        let given = c.hello.as_ref().and_then(|h| h.payload["auth"]["deviceToken"].as_str());
        own.extend(given.map(&mut number));
        for r in c.requests.iter().filter(|r| r.method == "device.token.rotate") {
            let told = r.first.as_ref().and_then(|a| a.frame["payload"]["token"].as_str());
            own.extend(told.map(&mut number));
        }
    }
    // A token is good for the scopes that it was made with, as whoever was given it was told.
    let mut good: BTreeMap<usize, &Value> = BTreeMap::new();
    for c in conns {
        let auth = c.hello.as_ref().map(|h| &h.payload["auth"]);
        if let Some(auth) = auth.filter(|auth| auth["deviceToken"].is_string()) {
            good.insert(number(auth["deviceToken"].as_str().unwrap_or_default()), &auth["scopes"]);
        }
        for r in c.requests.iter().filter(|r| r.method == "device.token.rotate") {
            let payload = r.first.map(|a| a.frame).map(|frame| &frame["payload"]);
            if let Some((token, told)) = payload.and_then(|p| Some((p["token"].as_str()?, p))) {
                good.insert(number(token), &told["scopes"]);
            }
        }
    }
    for c in conns {
        enters(c, facts, &own, &good, &mut number, &mut ops);
    }
    for c in conns {
        changes(c, facts, &mut number, &mut ops);
    }
    for ((device, role), ops) in &ops {
        if let Some(op) = first_misfit(&Token, State::default(), ops) {
            let what = match op.op {
                Does::Enters(..) => "was let in by a token that is not valid any more",
                _ => "was refused with its valid token",
            };
            let device: String = device.chars().take(12).collect();
            out.broken("tokens", op.record, format!("device {device} as {role} {what}"));
        }
    }
}

/// A token with these scopes is good for what is asked.
fn covers(scopes: Option<&&Value>, params: &Value) -> bool {
    let Some(list) = scopes.and_then(|scopes| scopes.as_array()) else { return true };
    Rights::of(params).scopes.iter().all(|asked| list.iter().any(|own| own == asked.as_str()))
}

/// What a connection shows and is given.
fn enters(
    c: &Conn,
    facts: &Facts,
    own: &BTreeSet<usize>,
    good: &BTreeMap<usize, &Value>,
    number: &mut dyn FnMut(&str) -> usize,
    ops: &mut Ops,
) {
    let Some((sent, frame)) = c.opening else { return };
    let params = &frame["params"];
    let Some(device) = params["device"]["id"].as_str() else { return };
    let role = params["role"].as_str().unwrap_or("operator");
    let shown = params["auth"]["token"].as_str().or_else(|| params["auth"]["deviceToken"].as_str());
    let shown = shown.map(&mut *number).filter(|t| own.contains(t));
    let (does, end, sure) = match (&c.hello, &c.refusal) {
        (Some(hello), _) => {
            let given = hello.payload["auth"]["deviceToken"].as_str().map(number);
            let does = shown.map_or(Does::Gets(given), |own| Does::Enters(own, given));
            (does, hello.at, true)
        }
        (None, Some(refusal)) => match shown.filter(|_| refusal.reason().contains("TOKEN")) {
            Some(own) if covers(good.get(&own), params) => (Does::IsRefused(own), refusal.at, true),
            _ => return,
        },
        (None, None) => {
            let mut end = sent;
            end.t = (sent.t + EFFECT).min(facts.lives[c.life].to).max(sent.t);
            (Does::Gets(None), end, false)
        }
    };
    let op = Op { call: sent.t, ret: end.t, sure, record: end.i, op: does };
    ops.entry((device.to_owned(), role.to_owned())).or_default().push(op);
}

/// What is done to tokens on a connection.
fn changes(c: &Conn, facts: &Facts, number: &mut dyn FnMut(&str) -> usize, ops: &mut Ops) {
    for r in &c.requests {
        let Some(device) = r.params["deviceId"].as_str().filter(|_| r.first.is_none_or(|a| a.ok())) else { continue };
        let role = r.params["role"].as_str().unwrap_or_default();
        let does = match r.method {
            "device.token.rotate" => {
                let told = r.first.as_ref().and_then(|a| a.frame["payload"]["token"].as_str());
                Does::Rotates(told.map(&mut *number))
            }
            "device.token.revoke" | "device.pair.remove" => Does::Loses,
            _ => continue,
        };
        let late = (r.at.t + EFFECT).min(facts.lives[c.life].to).max(r.at.t);
        let (ret, record) = r.first.as_ref().map_or((late, r.at.i), |a| (a.at.t, a.at.i));
        let is_whole = r.method == "device.pair.remove";
        for (_, list) in ops.iter_mut().filter(|((of, in_role), _)| of == device && (is_whole || in_role == role)) {
            list.push(Op { call: r.at.t, ret, sure: r.first.is_some(), record, op: does.clone() });
        }
    }
}
