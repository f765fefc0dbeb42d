//! `approvals ...`: which programs may run, and what waits for a person.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use openclaw_agent::exec::problems;
use serde_json::{Value, json};

use crate::{
    args::ReadArgs, client::call_once, commands::nodes::with_node, config_file, failure::Failure, output,
    session::Session,
};

/// `approvals ...`
#[derive(Debug, Subcommand)]
pub enum ApprovalsCommand {
    /// Show the stored policy
    Get(Place),
    /// Replace the stored policy with a file
    Set {
        /// A version 1 approvals file (JSON)
        file: PathBuf,
        /// Whose policy.
        #[command(flatten)]
        place: Place,
    },
    /// Say which programs may run, and when a person is asked
    Policy {
        /// Which programs: none, those on the allowlist, all
        #[arg(long)]
        security: Option<Security>,
        /// When a person is asked: never, when the allowlist does not cover it, always
        #[arg(long)]
        ask: Option<Ask>,
        /// What counts when nobody answers
        #[arg(long)]
        ask_fallback: Option<Security>,
        /// For this agent (default: for all that have no policy of their own)
        #[arg(long, value_name = "ID")]
        agent: Option<String>,
        /// Whose policy.
        #[command(flatten)]
        place: Place,
    },
    /// Programs that run without a question
    Allowlist {
        /// What to do with them.
        #[command(subcommand)]
        command: AllowlistCommand,
    },
    /// List commands that wait for a decision
    Pending(ReadArgs),
    /// Decide about a waiting command
    Resolve {
        /// As in `approvals pending`
        id: String,
        /// This once, from now on, or not at all
        decision: Answer,
        /// Which gateway.
        #[command(flatten)]
        read: ReadArgs,
    },
}

/// `approvals allowlist ...`
#[derive(Debug, Subcommand)]
pub enum AllowlistCommand {
    /// Allow programs by a pattern of their path
    Add(Pattern),
    /// Take a pattern off the list
    Remove(Pattern),
}

/// A pattern and whose list it is on.
#[derive(Debug, Args)]
pub struct Pattern {
    /// An absolute path; *, ** and ? as in a shell, for example '/usr/bin/*'
    #[arg(value_name = "PATTERN")]
    pub path: String,
    /// For this agent; '*' means all
    #[arg(long, value_name = "ID", default_value = "main")]
    pub agent: String,
    /// Whose policy.
    #[command(flatten)]
    pub place: Place,
}

/// Whose policy: the gateway's, or a node's.
#[derive(Debug, Args)]
pub struct Place {
    /// The policy of this node's host (default: the gateway's machine)
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
    /// Which gateway.
    #[command(flatten)]
    pub read: ReadArgs,
}

/// Which programs may run.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Security {
    /// None.
    Deny,
    /// Those on the allowlist.
    Allowlist,
    /// All.
    Full,
}

/// When a person is asked.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Ask {
    /// Never.
    Off,
    /// When the allowlist does not cover it.
    OnMiss,
    /// Always.
    Always,
}

/// What a person says.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Answer {
    /// This once.
    AllowOnce,
    /// And put it on the allowlist.
    AllowAlways,
    /// No.
    Deny,
}

/// The word that the protocol has for it.
fn word(value: impl ValueEnum) -> Value {
    value.to_possible_value().map_or(Value::Null, |v| v.get_name().into())
}

/// Runs one of them.
///
/// # Errors
/// Usage: a file that is none; Runtime.
pub async fn run(session: &Session, command: &ApprovalsCommand) -> Result<(), Failure> {
    match command {
        ApprovalsCommand::Get(place) => {
            let policy = call(session, place, "get", json!({})).await?;
            shown(session, &policy)
        }
        ApprovalsCommand::Set { file, place } => {
            let wrong = |why: String| Failure::Usage(format!("{}: {why}", file.display()));
            let text = config_file::read_text(file).map_err(|e| wrong(e.to_string()))?;
            let text = text.ok_or_else(|| wrong("no such file".to_owned()))?;
            let new: Value = serde_json::from_str(&text).map_err(|e| wrong(format!("expected JSON: {e}")))?;
            edit(session, place, |file| *file = new).await
        }
        ApprovalsCommand::Policy { security, ask, ask_fallback, agent, place } => {
            let words =
                [("security", security.map(word)), ("ask", ask.map(word)), ("askFallback", ask_fallback.map(word))];
            if words.iter().all(|(_, w)| w.is_none()) {
                return Err(Failure::Usage("give at least one of --security, --ask, --ask-fallback".to_owned()));
            }
            edit(session, place, |file| {
                let entry = match agent {
                    Some(agent) => &mut file["agents"][agent.as_str()],
                    None => &mut file["defaults"],
                };
                for (key, word) in words {
                    if let Some(word) = word {
                        entry[key] = word;
                    }
                }
            })
            .await
        }
        ApprovalsCommand::Allowlist { command: AllowlistCommand::Add(p) } => {
            if !p.path.starts_with('/') && !p.path.starts_with("~/") {
                let text = format!("expected the path of a program (/usr/bin/ls, ~/bin/*), found {:?}", p.path);
                return Err(Failure::Usage(text));
            }
            edit(session, &p.place, |file| {
                let list = &mut file["agents"][p.agent.as_str()]["allowlist"];
                if !list.is_array() {
                    *list = json!([]);
                }
                let rows = list.as_array_mut().into_iter();
                for rows in rows {
                    if !rows.iter().any(|row| row["pattern"] == p.path.as_str()) {
                        rows.push(json!({ "pattern": p.path }));
                    }
                }
            })
            .await
        }
        ApprovalsCommand::Allowlist { command: AllowlistCommand::Remove(p) } => {
            edit(session, &p.place, |file| {
                if let Some(rows) = file["agents"][p.agent.as_str()]["allowlist"].as_array_mut() {
                    rows.retain(|row| row["pattern"] != p.path.as_str());
                }
            })
            .await
        }
        ApprovalsCommand::Pending(read) => {
            let list = call_once(session, read, "exec.approval.list", json!({})).await?;
            if session.out.json {
                return output::json(&list);
            }
            let rows = list["pending"].as_array().cloned().unwrap_or_default();
            if rows.is_empty() {
                return output::line("Nothing waits for a decision.");
            }
            rows.iter().try_for_each(|row| output::line(waiting_line(row)))
        }
        ApprovalsCommand::Resolve { id, decision, read } => {
            let params = json!({ "id": id, "decision": word(*decision) });
            let done = call_once(session, read, "exec.approval.resolve", params).await?;
            if session.out.json { output::json(&done) } else { output::line("It was decided.") }
        }
    }
}

/// `exec.approvals.get|set` at the gateway or at a node.
async fn call(session: &Session, place: &Place, what: &str, mut params: Value) -> Result<Value, Failure> {
    let Some(node) = &place.node else {
        return call_once(session, &place.read, &format!("exec.approvals.{what}"), params).await;
    };
    with_node(session, &place.read, node, |connection, id| async move {
        params["nodeId"] = id.into();
        connection.call(&format!("exec.approvals.node.{what}"), params).await
    })
    .await
}

/// Reads, changes, writes back with the hash that was read (S19).
async fn edit(session: &Session, place: &Place, change: impl FnOnce(&mut Value)) -> Result<(), Failure> {
    let before = call(session, place, "get", json!({})).await?;
    let mut file = before["file"].clone();
    for part in ["defaults", "agents"] {
        if !file[part].is_object() {
            file[part] = json!({});
        }
    }
    change(&mut file);
    if let Some(agents) = file["agents"].as_object_mut() {
        agents.retain(|_, agent| !agent.is_null());
    }
    let params = json!({ "file": file, "baseHash": before["hash"] });
    shown(session, &call(session, place, "set", params).await?)
}

fn shown(session: &Session, policy: &Value) -> Result<(), Failure> {
    if session.out.json { output::json(policy) } else { output::rows(text(policy)) }
}

fn text(policy: &Value) -> Vec<String> {
    let file = &policy["file"];
    let words = |entry: &Value| {
        let said = ["security", "ask", "askFallback"];
        let said: Vec<String> = said.iter().filter_map(|k| Some(format!("{k} {}", entry[*k].as_str()?))).collect();
        if said.is_empty() { "nothing said".to_owned() } else { said.join(", ") }
    };
    let mut lines = vec![
        format!(
            "{} ({})",
            policy["path"].as_str().unwrap_or("?"),
            &policy["hash"].as_str().unwrap_or("").get(..12).unwrap_or("")
        ),
        format!("defaults: {}", words(&file["defaults"])),
    ];
    for (id, agent) in file["agents"].as_object().into_iter().flatten() {
        lines.push(format!("agent {id}: {}", words(agent)));
        for entry in agent["allowlist"].as_array().into_iter().flatten() {
            let content = entry["sha256"].as_str().and_then(|hash| hash.get(..12));
            let content = content.map(|hash| format!(" (content {hash})")).unwrap_or_default();
            lines.push(format!("  allows {}{content}", entry["pattern"].as_str().unwrap_or("?")));
        }
    }
    // Words that are none, patterns that never match (S26, F49).
    let parsed = serde_json::from_value(file.clone()).map(|file| problems(&file)).unwrap_or_default();
    lines.extend(parsed.iter().map(|problem| format!("WARNING: {problem}")));
    lines
}

fn waiting_line(row: &Value) -> String {
    let request = &row["request"];
    let place = |key: &str, word: &str| request[key].as_str().map(|v| format!(", {word} {v}")).unwrap_or_default();
    format!(
        "{}  {}{}{}{}{}",
        row["id"].as_str().unwrap_or("?"),
        request["command"].as_str().unwrap_or("?"),
        place("cwd", "in"),
        place("nodeId", "on node"),
        place("sessionKey", "for"),
        what_runs(request)
    )
}

/// The facts of a question: what is set, which files are bound, and how far an allow-always goes (S25).
fn what_runs(request: &Value) -> String {
    let short = |hash: &Value| hash.as_str().and_then(|hash| hash.get(..12)).unwrap_or("?").to_owned();
    let mut facts = Vec::new();
    let set = request["env"].as_object().into_iter().flatten();
    let set: Vec<String> =
        set.map(|(k, v)| format!("{}={}", k.escape_debug(), v.as_str().unwrap_or("?").escape_debug())).collect();
    if !set.is_empty() {
        facts.push(format!("with {}", set.join(" ")));
    }
    if let Some(path) = request["resolvedPath"].as_str().filter(|_| request["argv"].is_array()) {
        facts.push(format!("runs {} (content {})", path.escape_debug(), short(&request["sha256"])));
    }
    for file in request["files"].as_array().into_iter().flatten() {
        let path = file["path"].as_str().unwrap_or("?");
        facts.push(format!("names {} (content {})", path.escape_debug(), short(&file["sha256"])));
    }
    if let Some(why) = request["notRemembered"].as_str() {
        facts.push(format!("allow-always counts once: {}", why.escape_debug()));
    }
    if request["argv"].is_null() {
        facts.push("words only: the answer opens nothing".to_owned());
    }
    facts.iter().flat_map(|fact| ["; ", fact.as_str()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_a_few_lines() {
        let policy = json!({"path": "/s/exec-approvals.json", "hash": "0123456789abcdef", "file": {
            "version": 1, "defaults": {"security": "allowlist", "ask": "on-miss"},
            "agents": {"main": {"allowlist": [{"pattern": "/bin/ls"}]}}}});
        let expected = "/s/exec-approvals.json (0123456789ab)\ndefaults: security allowlist, ask on-miss\nagent main: nothing said\n  allows /bin/ls";
        assert_eq!(text(&policy).join("\n"), expected);
    }

    #[test]
    fn f49_s26_what_is_wrong_with_a_policy_is_said_where_it_is_shown() {
        let policy = json!({"path": "p", "hash": "0123456789abcdef", "file": {
            "version": 1, "defaults": {"security": "Deny"}, "agents": {"main": {"allowlist": [{"pattern": "ls"}]}}}});
        let text = text(&policy).join("\n");
        assert!(
            text.contains("WARNING: defaults.security: expected deny, allowlist or full, found \"Deny\""),
            "{text}"
        );
        assert!(text.contains("WARNING: agents.main.allowlist: ls matches nothing"), "{text}");
    }

    #[test]
    fn s25_a_question_tells_everything_that_is_bound() {
        let hash = "0123456789abcdef";
        let request = json!({"command": "sh s.sh", "argv": ["sh", "s.sh"], "env": {"LANG": "C"}, "resolvedPath": "/usr/bin/dash",
            "sha256": hash, "files": [{"name": "s.sh", "path": "/w/s.sh", "sha256": hash}], "notRemembered": "why"});
        let line = waiting_line(&json!({"id": "x", "request": request}));
        let expected = "x  sh s.sh; with LANG=C; runs /usr/bin/dash (content 0123456789ab); names /w/s.sh (content 0123456789ab); \
                        allow-always counts once: why";
        assert_eq!(line, expected);
        let words = json!({"id": "x", "request": {"command": "ls", "resolvedPath": "/bin/ls"}});
        assert_eq!(waiting_line(&words), "x  ls; words only: the answer opens nothing");
    }

    #[test]
    fn s18_a_question_is_one_line() {
        let request = json!({"command": "rm a", "cwd": "/w", "nodeId": null, "sessionKey": "agent:main:main", "argv": ["rm", "a"]});
        assert_eq!(waiting_line(&json!({"id": "x", "request": request})), "x  rm a, in /w, for agent:main:main");
    }
}
