//! Edits of the configuration while the gateway runs: the agents that it shows are those of one version of the file that was
//! valid as a whole, of the newest one soon after it was written, and never those of a broken one.
//!
//! An edit in a plan is `+ {..}`: what is laid over the first configuration. Each version names its agents. What clients have written
//! is a version as well; whether one without an answer is there, nobody knows.

use std::path::Path;

use serde_json::Value;

use super::{
    conn::{Answer, Conn, Request},
    facts::{Facts, Fault},
    findings::Findings,
};

/// A version is in force after this at the latest: looking, waiting until nobody writes, reading on a slow disk, and a restart.
pub const IN_FORCE: u64 = 12_000_000;

/// Agents of a version and when it was written, if it surely was.
struct Version {
    from: u64,
    agents: Vec<String>,
    sure: bool,
}

/// Checks every list of agents.
pub fn check(conns: &[Conn], facts: &Facts, out: &mut Findings) {
    // What is included alone names agents there.
    let is_part = |f: &&Fault| f.json["file"].is_null() || is_included(f);
    let edits = facts.faults.iter().filter(|f| f.kind == "config_edit").filter(is_part);
    let edits = edits.filter_map(|f| Some(Version { from: f.from, agents: agents_of(named(f)?)?, sure: true }));
    let mut versions: Vec<Version> =
        edits.chain(conns.iter().flat_map(|c| &c.requests).filter_map(of_client)).collect();
    versions.sort_by_key(|version| version.from);
    let Some(first) = versions.first() else { return };
    for c in conns {
        for r in c.requests.iter().filter(|r| r.method == "agents.list") {
            let Some(answer) = r.first.filter(Answer::ok) else { continue };
            // Before the first edit that names agents nobody knows here which they are.
            if r.at.t < first.from + IN_FORCE {
                continue;
            }
            let list = answer.frame["payload"]["agents"].as_array().map_or(&[][..], Vec::as_slice);
            let shown: Vec<&str> = list.iter().filter_map(|agent| agent["id"].as_str()).collect();
            let may_be = |(n, version): &(usize, &Version)| {
                let is_over = versions[n + 1..].iter().any(|next| next.sure && next.from + IN_FORCE < r.at.t);
                version.from <= answer.at.t && !is_over && version.agents == shown
            };
            if !versions.iter().enumerate().any(|version| may_be(&version)) {
                let why = format!("{}: the agents {shown:?} are those of no version that can be in force", c.name);
                out.broken("reloads", answer.at.i, why);
            }
        }
    }
}

/// True for an edit of a file that the configuration may include.
pub fn is_included(f: &Fault) -> bool {
    f.json["file"].as_str().is_some_and(|file| Path::new(file).extension().is_some_and(|e| e == "json5"))
}

/// The text of an edit that names agents.
fn named<'a>(f: &Fault<'a>) -> Option<&'a str> {
    let text = f.json["text"].as_str()?;
    if f.json["file"].is_null() { text.strip_prefix('+') } else { Some(text) }
}

/// What a client has written, or may have.
fn of_client(r: &Request) -> Option<Version> {
    if !matches!(r.method, "config.set" | "config.patch" | "config.apply") || r.is_undone() {
        return None;
    }
    let answer = r.first.filter(Answer::ok);
    let list = answer.and_then(|a| a.frame["payload"]["config"].pointer("/agents/list")).and_then(Value::as_array);
    let agents = match list {
        Some(list) => list.iter().filter_map(|agent| agent["id"].as_str().map(str::to_owned)).collect(),
        None => agents_of(r.params["raw"].as_str()?)?,
    };
    Some(Version { from: r.at.t, agents, sure: answer.is_some() })
}

/// The agents that a valid edit names.
fn agents_of(text: &str) -> Option<Vec<String>> {
    let value = openclaw_config::read_value(text).ok()?;
    openclaw_config::read(text, &|_: &str| None).ok()?;
    let list = value.pointer("/agents/list").and_then(Value::as_array)?;
    Some(list.iter().filter_map(|agent| agent["id"].as_str().map(str::to_owned)).collect())
}
