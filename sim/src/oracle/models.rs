//! How models are asked: each request names a model that is configured, with the key, the headers and the bound on tokens of
//! that one, and thinks within it, as the request, else its session, else the configuration says; the models of a turn are asked
//! in the order of the configuration, the next one only where the one before has failed ([`tries`]).

mod tries;

use std::collections::BTreeMap;

use openclaw_config::{Config, ModelApi};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Expect,
    conn::{Conn, Request},
    facts::Facts,
    findings::Findings,
};
use crate::history::{What, parts::Part};

/// The smallest budget for thinking that the Anthropic API takes, in tokens.
const LEAST_BUDGET: u64 = 1024;
/// A run that was asked for has read the settings of its session by then, where nothing is before it, in microseconds.
const SETTLED: u64 = 60_000_000;
/// What a server of the OpenAI API knows.
const EFFORTS: [&str; 4] = ["minimal", "low", "medium", "high"];

/// A model that the fake model server serves, as it is configured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Served {
    /// `provider/model`.
    pub name: String,
    /// What requests call it.
    pub id: String,
    /// The key of its provider.
    pub key: String,
    /// It speaks the Anthropic API.
    pub anthropic: bool,
    /// The most that it may say at once.
    pub max_tokens: Option<u64>,
    /// Headers of its provider, those of the model over them, in lower case.
    pub headers: BTreeMap<String, String>,
}

impl Served {
    /// Those of a configuration that the fake at `host` serves.
    pub fn of(config: &Config, host: &str) -> Vec<Self> {
        let served = config.models.providers.iter().filter(|(_, p)| p.base_url.contains(host));
        let models = served.flat_map(|(name, p)| p.models.iter().map(move |m| (name, p, m)));
        let of = |(name, p, m): (&String, &openclaw_config::ModelProvider, &openclaw_config::ModelDef)| Self {
            name: format!("{name}/{}", m.id),
            id: m.id.clone(),
            key: p.api_key.as_ref().map(|key| key.expose().to_owned()).unwrap_or_default(),
            anthropic: m.api.or(p.api) == Some(ModelApi::AnthropicMessages),
            max_tokens: m.max_tokens,
            headers: (p.headers.iter().chain(&m.headers))
                .map(|(header, value)| (header.to_lowercase(), value.expose().to_owned()))
                .collect(),
        };
        models.map(of).collect()
    }

    /// What is wrong with a request to it.
    fn wrong(&self, max_tokens: Option<u64>, thinking: &Value, headers: &BTreeMap<String, String>) -> Option<String> {
        if let Some((name, value)) = self.headers.iter().find(|(name, value)| headers.get(*name) != Some(*value)) {
            return Some(format!("has {:?} as {name}, not {value:?}", headers.get(name)));
        }
        if max_tokens != self.max_tokens && (self.max_tokens.is_some() || !self.anthropic) {
            return Some(format!("asks for {max_tokens:?} tokens at most, not {:?}", self.max_tokens));
        }
        let most = max_tokens.unwrap_or(u64::MAX);
        match thinking {
            Value::Null => None,
            Value::String(effort) if !self.anthropic => {
                (!EFFORTS.contains(&effort.as_str())).then(|| format!("asks for the unknown effort {effort}"))
            }
            // Something is left for the answer.
            of if self.anthropic && of["type"] == "enabled" => match of["budget_tokens"].as_u64() {
                Some(budget) if (LEAST_BUDGET..most).contains(&budget) => None,
                other => Some(format!("gives {other:?} tokens for thinking, of {most}")),
            },
            of if self.anthropic && of["type"] == "disabled" => None,
            other => Some(format!("says {other} of thinking")),
        }
    }
}

/// The models of a turn, first to last: those of them that the fake serves.
pub fn chain(config: &Config, served: &[Served]) -> Vec<String> {
    let list = match &config.agents.defaults.model {
        Some(openclaw_config::ModelChoice::One(one)) => vec![one.clone()],
        Some(openclaw_config::ModelChoice::List(list)) => list.primary.iter().chain(&list.fallbacks).cloned().collect(),
        None => vec![],
    };
    list.into_iter().filter(|name| served.iter().any(|s| s.name == *name)).collect()
}

/// A request to a model.
struct Asked<'a> {
    /// Its number.
    request: u64,
    i: u64,
    t: u64,
    text: &'a str,
    answer: &'a str,
    /// It ends with what somebody said, not with what came of a tool.
    fresh: bool,
    model: Option<&'a Served>,
    thinking: &'a Value,
}

impl Asked<'_> {
    /// The model surely has answered as it should.
    fn is_answered(&self) -> bool {
        let answer: Value = serde_json::from_str(self.answer).unwrap_or_default();
        matches!(answer["kind"].as_str(), Some("say" | "tool"))
    }
}

/// Checks every request to a model.
pub fn check(conns: &[Conn], facts: &Facts, expect: &Expect, out: &mut Findings) {
    // Another configuration is not known here.
    if expect.models.is_empty() || facts.faults.iter().any(|f| f.kind == "config_edit") {
        return;
    }
    let asked = asked(facts, expect, out);
    let runs = conns.iter().flat_map(|c| c.requests.iter().map(move |r| (c, r)));
    let runs: Vec<(&Conn, &Request)> = runs.filter(|(_, r)| matches!(r.method, "agent" | "chat.send")).collect();
    for (c, r) in &runs {
        let text = r.params["message"].as_str().unwrap_or_default();
        let plain = text.len() > 3 && !text.starts_with('/');
        let same = runs.iter().filter(|(_, o)| o.params["message"].as_str().is_some_and(|m| m.contains(text)));
        if !plain || same.count() != 1 {
            continue;
        }
        let mine: Vec<&Asked> = asked.iter().filter(|a| a.i > r.at.i && a.text.contains(text)).collect();
        let level = level(c, r, conns, expect);
        thoughts(c, r, level.as_deref(), &mine, out);
        tries::check(r, &mine, conns, facts, expect, out);
        let until = mine.last().map_or(r.at.t, |a| a.t);
        if !facts.ended_between(r.at.t, until) && !has_own_model(c, r, conns) {
            in_order(r, &mine, &runs, expect, out);
        }
    }
}

/// Reads the requests, and judges each by itself.
fn asked<'a>(facts: &Facts<'a>, expect: &'a Expect, out: &mut Findings) -> Vec<Asked<'a>> {
    let mut all: Vec<Asked> = Vec::new();
    let (mut said, mut fresh) = (("", ""), false);
    for r in facts.history {
        match &r.what {
            What::Model { text, answer, .. } => said = (text, answer),
            What::Given { parts, .. } => fresh = matches!(parts.last(), Some(Part::User(_)) | None),
            What::Terms { request, model: id, max_tokens, thinking, headers } => {
                let shows = |key: &str| headers.values().any(|v| v.strip_prefix("Bearer ").unwrap_or(v) == key);
                // A header that somebody has configured stands in place of the provider's own.
                let own = |s: &Served| {
                    let own = ["authorization", "x-api-key"].iter().find_map(|name| s.headers.get(*name));
                    own.map(|key| key.strip_prefix("Bearer ").unwrap_or(key).to_owned())
                };
                let key = |s: &&Served| shows(own(s).as_deref().unwrap_or(&s.key));
                let named = expect.models.iter().filter(|s| s.id == *id);
                let fitting: Vec<&Served> = named.filter(|s| s.key.is_empty() || key(s)).collect();
                let right = fitting.iter().find(|s| s.wrong(*max_tokens, thinking, headers).is_none());
                let why = match (right, fitting.first()) {
                    (Some(_), _) => None,
                    (None, Some(s)) => {
                        s.wrong(*max_tokens, thinking, headers).map(|why| format!("to {} {why}", s.name))
                    }
                    (None, None) => Some(format!("names {id}, which with its key no provider has")),
                };
                if let Some(why) = why {
                    out.broken("models", r.i, format!("request {request} {why}"));
                }
                let model = right.or(fitting.first()).copied();
                all.push(Asked {
                    request: *request,
                    i: r.i,
                    t: r.t_us,
                    text: said.0,
                    answer: said.1,
                    fresh,
                    model,
                    thinking,
                });
            }
            _ => {}
        }
    }
    all
}

/// How much a run is to think: as it was asked for, else as its session was told, else as the configuration says. `None` where
/// the history does not tell.
fn level(c: &Conn, r: &Request, conns: &[Conn], expect: &Expect) -> Option<String> {
    let of = |v: &Value| v.as_str().map(|t| t.trim().to_lowercase()).filter(|t| !t.is_empty());
    if let Some(level) = of(&r.params["thinking"]) {
        return Some(level);
    }
    // What goes into a run under way goes to the model with what that thinks.
    if expect.steers || expect.backlog {
        return None;
    }
    let session = |c: &Conn, shown: &Value| Some(c.hello.as_ref()?.session(shown.as_str()?));
    let mine = session(c, &r.params["sessionKey"])?;
    let all = conns.iter().flat_map(|o| o.requests.iter().map(move |p| (o, p)));
    let about = all.filter(|(o, p)| {
        session(o, &p.params["key"]).or_else(|| session(o, &p.params["sessionKey"])).as_ref() == Some(&mine)
    });
    let mut told: Option<(u64, Option<String>)> = None;
    for (_, p) in about {
        let anew = matches!(p.method, "sessions.reset" | "sessions.delete")
            || p.params["message"].as_str().is_some_and(|m| m.starts_with('/'));
        let Some(level) = p.params.get("thinkingLevel").filter(|_| p.method == "sessions.patch") else {
            if anew {
                return None;
            }
            continue;
        };
        match p.first {
            Some(a) if a.ok() && a.at.i < r.at.i => {
                if told.as_ref().is_none_or(|(at, _)| *at < a.at.i) {
                    told = Some((a.at.i, of(level)));
                }
            }
            _ if p.at.i > r.at.i && p.at.t > r.at.t + SETTLED => {}
            _ if p.is_undone() => {}
            _ => return None,
        }
    }
    let own = told.and_then(|(_, level)| level);
    own.or_else(|| Some(expect.thinking.clone()).filter(|t| !t.is_empty())).or_else(|| Some("off".to_owned()))
}

/// Who asks for thinking gets it, and who asks for none gets none.
fn thoughts(c: &Conn, r: &Request, level: Option<&str>, asked: &[&Asked], out: &mut Findings) {
    let Some(level) = level else { return };
    for a in asked.iter().filter(|a| a.fresh) {
        let Some(model) = a.model else { continue };
        // A small model has no room for it.
        let small = model.anthropic && model.max_tokens.is_some_and(|most| most < 2 * LEAST_BUDGET);
        let right = match level {
            "off" => a.thinking.is_null() || a.thinking["type"] == "disabled",
            "xhigh" if !model.anthropic => a.thinking == "high",
            level if !model.anthropic && EFFORTS.contains(&level) => a.thinking == level,
            level if EFFORTS.contains(&level) || level == "xhigh" => small || a.thinking["type"] == "enabled",
            _ => true,
        };
        if !right {
            let text = format!("{}: {} is to think {level}, the model is asked for {}", c.name, r.id, a.thinking);
            out.broken("models", a.i, text);
        }
    }
}

/// Somebody has given the session a model of its own.
fn has_own_model(c: &Conn, r: &Request, conns: &[Conn]) -> bool {
    let key = |c: &Conn, shown: &Value| Some(c.hello.as_ref()?.session(shown.as_str()?));
    let own = key(c, &r.params["sessionKey"]);
    conns.iter().any(|o| {
        o.requests.iter().any(|p| {
            let patched = p.method == "sessions.patch" && p.params.get("model").is_some();
            let told = p.params["message"].as_str().is_some_and(|m| m.starts_with("/model"));
            own.is_none()
                || (patched && key(o, &p.params["key"]) == own)
                || (told && key(o, &p.params["sessionKey"]) == own)
        })
    })
}

/// The models of a turn are asked one after the other.
fn in_order(r: &Request, asked: &[&Asked], runs: &[(&Conn, &Request)], expect: &Expect, out: &mut Findings) {
    let place = |a: &Asked| expect.chain.iter().position(|name| a.model.is_some_and(|m| m.name == *name));
    // What is said into a turn under way goes to the model that this has come to.
    let alone = !runs.iter().any(|(_, o)| o.at.i < r.at.i && o.params["sessionKey"] == r.params["sessionKey"]);
    let mut last: Option<(usize, bool)> = None;
    for a in asked {
        let Some(at) = place(a) else { return };
        let first = expect.chain.get(at).map_or("", String::as_str);
        let why = match last {
            None if at > 0 && alone && a.fresh => format!("asks {first} before all others"),
            Some((_, true)) => return,
            Some((before, false)) if at < before => format!("goes back to {first}"),
            Some((before, false)) if at > before + 1 => format!("asks {first} and leaves out the one before it"),
            _ => String::new(),
        };
        if !why.is_empty() {
            let run = r.key().unwrap_or_default();
            return out.broken("models", a.i, format!("run {run} {why}"));
        }
        last = Some((at, a.is_answered()));
    }
}
