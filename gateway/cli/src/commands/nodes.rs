//! `nodes ...`: devices that offer commands, as the gateway sees them.

use std::time::Duration;

use clap::{Args, Subcommand};
use openclaw_platform::EntropyExt as _;
use openclaw_protocol::truncate;
use serde_json::{Value, json};

use crate::{
    args::ReadArgs,
    client::{Connection, call_once, platform},
    failure::Failure,
    output,
    session::Session,
};

/// `nodes ...`
#[derive(Debug, Subcommand)]
pub enum NodesCommand {
    /// List paired and connected nodes
    #[command(alias = "status")]
    List(ReadArgs),
    /// Show one node
    Describe {
        /// Its id, the beginning of it, or its name
        node: String,
        /// Which gateway.
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Have a node run a command and print its answer
    Invoke(Box<InvokeArgs>),
    /// List nodes that wait for approval
    Pending(ReadArgs),
    /// Let a waiting node in
    Approve {
        /// The request, as in `nodes pending`
        request: String,
        /// Which gateway.
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Turn a waiting node away
    Reject {
        /// The request, as in `nodes pending`
        request: String,
        /// Which gateway.
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Name a node
    Rename {
        /// Its id, the beginning of it, or its name
        node: String,
        /// The new name
        name: String,
        /// Which gateway.
        #[command(flatten)]
        read: ReadArgs,
    },
}

/// `nodes invoke`
#[derive(Debug, Args)]
pub struct InvokeArgs {
    /// Its id, the beginning of it, or its name
    pub node: String,
    /// For example system.which, camera.snap
    pub command: String,
    /// Parameters as JSON
    #[arg(long, value_name = "JSON", default_value = "{}")]
    pub params: String,
    /// The same key never runs twice (default: a fresh one)
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// Which gateway, and how long the node has.
    #[command(flatten)]
    pub read: ReadArgs,
}

/// After the node's own time its answer needs a moment to come back.
const GRACE: Duration = Duration::from_secs(5);

/// Runs one of them.
///
/// # Errors
/// Usage: no such node; Runtime.
pub async fn run(session: &Session, command: &NodesCommand) -> Result<(), Failure> {
    match command {
        NodesCommand::List(read) => {
            let list = call_once(session, read, "node.list", json!({})).await?;
            if session.out.json {
                return output::json(&list);
            }
            let nodes = list["nodes"].as_array().cloned().unwrap_or_default();
            if nodes.is_empty() {
                return output::line("No node is paired or connected. `openclaw node run` makes this machine one.");
            }
            nodes.iter().try_for_each(|node| output::line(node_line(node)))
        }
        NodesCommand::Describe { node, read } => {
            let found = with_node(session, read, node, |connection, id| async move {
                connection.call("node.describe", json!({ "nodeId": id })).await
            })
            .await?;
            if session.out.json { output::json(&found) } else { output::rows(node_text(&found)) }
        }
        NodesCommand::Invoke(args) => invoke(session, args).await,
        NodesCommand::Pending(read) => pending(session, read).await,
        NodesCommand::Approve { request, read } => decide(session, read, "approve", request).await,
        NodesCommand::Reject { request, read } => decide(session, read, "reject", request).await,
        NodesCommand::Rename { node, name, read } => {
            let done = with_node(session, read, node, |connection, id| async move {
                connection.call("node.rename", json!({ "nodeId": id, "displayName": name })).await
            })
            .await?;
            if session.out.json { output::json(&done) } else { output::line(format!("It is called {name} now.")) }
        }
    }
}

/// Connects, finds the node, does the rest, closes.
pub async fn with_node<F>(
    session: &Session,
    read: &ReadArgs,
    name: &str,
    then: impl FnOnce(std::sync::Arc<Connection>, String) -> F,
) -> Result<Value, Failure>
where
    F: Future<Output = Result<Value, Failure>>,
{
    let timeout = Duration::from_millis(read.timeout);
    let connection = std::sync::Arc::new(Connection::open(session, &read.connection, timeout).await?);
    let result = async {
        let id = find(&connection.call("node.list", json!({})).await?, name)?;
        then(connection.clone(), id).await
    }
    .await;
    connection.close().await;
    result
}

/// The one node of this id, name, or beginning of an id.
fn find(list: &Value, name: &str) -> Result<String, Failure> {
    let nodes: Vec<&Value> = list["nodes"].as_array().into_iter().flatten().collect();
    let id = |node: &Value| node["nodeId"].as_str().unwrap_or_default().to_owned();
    if let Some(node) = nodes.iter().find(|n| id(n) == name) {
        return Ok(id(node));
    }
    let named = |n: &Value| n["displayName"].as_str().is_some_and(|d| d.eq_ignore_ascii_case(name));
    let mut found: Vec<&&Value> = nodes.iter().filter(|n| named(n)).collect();
    if found.is_empty() && name.len() >= 4 {
        found = nodes.iter().filter(|n| id(n).starts_with(name)).collect();
    }
    match found.as_slice() {
        [one] => Ok(id(one)),
        [] => Err(Failure::Usage(format!("no node {name:?}; see `openclaw nodes list`"))),
        _ => {
            Err(Failure::Usage(format!("{name:?} names {} nodes: give the id; see `openclaw nodes list`", found.len())))
        }
    }
}

async fn invoke(session: &Session, args: &InvokeArgs) -> Result<(), Failure> {
    let params: Value = serde_json::from_str(&args.params)
        .map_err(|e| Failure::Usage(format!("--params: expected JSON, found {:?}: {e}", args.params)))?;
    let key = args.idempotency_key.clone().unwrap_or_else(|| platform().entropy.uuid());
    let wait = Duration::from_millis(args.read.timeout);
    let answer = with_node(session, &args.read, &args.node, |connection, id| async move {
        let request = json!({
            "nodeId": id, "command": args.command, "params": params, "idempotencyKey": key,
            "timeoutMs": args.read.timeout,
        });
        let called = connection.client.call("node.invoke", request, wait + GRACE).await;
        called.map_err(|e| connection.failed("node.invoke", &e))
    })
    .await?;
    if session.out.json { output::json(&answer) } else { output::json(&answer["payload"]) }
}

async fn pending(session: &Session, read: &ReadArgs) -> Result<(), Failure> {
    let connection = Connection::open(session, &read.connection, Duration::from_millis(read.timeout)).await?;
    let nodes = connection.call("node.pair.list", json!({})).await;
    let devices = connection.call("device.pair.list", json!({})).await;
    connection.close().await;
    let (nodes, devices) = (nodes?, devices?);
    let is_node = |d: &&Value| d["role"] == "node" || d["roles"].as_array().is_some_and(|r| r.contains(&json!("node")));
    let waiting: Vec<Value> = nodes["pending"]
        .as_array()
        .into_iter()
        .flatten()
        .chain(devices["pending"].as_array().into_iter().flatten().filter(is_node))
        .cloned()
        .collect();
    if session.out.json {
        return output::json(&json!({ "pending": waiting }));
    }
    if waiting.is_empty() {
        return output::line("No node waits.");
    }
    waiting.iter().try_for_each(|row| output::line(waiting_line(row)))
}

/// A request of the hand-kept list, else one of a device that wants to connect as a node.
async fn decide(session: &Session, read: &ReadArgs, what: &str, request: &str) -> Result<(), Failure> {
    let connection = Connection::open(session, &read.connection, Duration::from_millis(read.timeout)).await?;
    let params = json!({ "requestId": request });
    let work = async {
        match connection.client.call(&format!("node.pair.{what}"), params.clone(), connection.timeout).await {
            Err(openclaw_client::CallError::Gateway(e)) if e.message == "unknown requestId" => {
                connection.call(&format!("device.pair.{what}"), params).await
            }
            other => other.map_err(|e| connection.failed(&format!("node.pair.{what}"), &e)),
        }
    };
    let done = work.await;
    connection.close().await;
    let done = done?;
    if session.out.json {
        return output::json(&done);
    }
    output::line(if what == "approve" { "The node may connect now." } else { "The node was turned away." })
}

fn short(id: &str) -> String {
    truncate::chars(id, 12).to_owned()
}

fn node_line(node: &Value) -> String {
    let text = |key: &str| node[key].as_str().map(str::to_owned);
    let id = text("nodeId").unwrap_or_default();
    let state = match (node["connected"] == true, node["paired"] == true) {
        (true, true) => "connected, paired",
        (true, false) => "connected, not paired",
        _ => "offline",
    };
    let mut parts = vec![state.to_owned()];
    parts.extend(text("platform"));
    parts.extend(text("version"));
    parts.extend(text("remoteIp"));
    let commands = node["commands"].as_array().map_or(0, Vec::len);
    if commands > 0 {
        parts.push(format!("{commands} commands"));
    }
    if node["waiting"].is_object() {
        parts.push("declares more than was approved".to_owned());
    }
    format!("{}  {}  {}", short(&id), text("displayName").unwrap_or_else(|| short(&id)), parts.join(", "))
}

fn node_text(node: &Value) -> Vec<String> {
    let mut lines = vec![node_line(node), format!("id: {}", node["nodeId"].as_str().unwrap_or_default())];
    for key in ["caps", "commands"] {
        let list: Vec<&str> = node[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if !list.is_empty() {
            lines.push(format!("{key}: {}", list.join(", ")));
        }
    }
    if let Some(waiting) = waiting(&node["waiting"]) {
        lines.push(format!("waits for approval (`openclaw nodes pending`): {waiting}"));
    }
    lines
}

/// What waits of a node, in one line; none when nothing does.
fn waiting(row: &Value) -> Option<String> {
    let kind = ["platform", "deviceFamily"];
    let kind = kind.iter().filter_map(|key| Some(format!("{key} {}", row[*key].as_str()?)));
    let parts: Vec<String> = kind.chain(offered(row)).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// What a node offers, in one line; none when it is nothing.
fn offered(row: &Value) -> Option<String> {
    let mut parts = Vec::new();
    for key in ["commands", "caps", "permissions"] {
        let names: Vec<String> = match &row[key] {
            Value::Array(names) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            Value::Object(names) => {
                names.iter().filter(|(_, on)| **on == json!(true)).map(|(n, _)| n.clone()).collect()
            }
            _ => vec![],
        };
        if !names.is_empty() {
            parts.push(format!("{key} {}", names.join(", ").escape_debug()));
        }
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn waiting_line(row: &Value) -> String {
    let text = |key: &str| row[key].as_str().unwrap_or("?").to_owned();
    let id = row["nodeId"].as_str().or(row["deviceId"].as_str()).unwrap_or("?");
    let name = row["displayName"].as_str().map_or(String::new(), |n| format!(" {n}"));
    let platform = row["platform"].as_str().unwrap_or("unknown platform");
    let asks = offered(row).map_or(String::new(), |offered| format!(": {offered}"));
    format!("{}  {}{name} ({platform}){asks}", text("requestId"), short(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_found_by_id_name_or_beginning() {
        let list = json!({"nodes": [
            {"nodeId": "aaaa1111", "displayName": "Phone"},
            {"nodeId": "aaaa2222", "displayName": "Box"},
            {"nodeId": "cccc3333", "displayName": "box"},
        ]});
        let of = |name: &str| find(&list, name).map_err(|f| f.code());
        assert_eq!(of("aaaa1111").as_deref(), Ok("aaaa1111"));
        assert_eq!(of("phone").as_deref(), Ok("aaaa1111"));
        assert_eq!(of("cccc").as_deref(), Ok("cccc3333"));
        for unclear in ["box", "aaaa", "aaa", "", "nobody"] {
            assert_eq!(of(unclear), Err(2), "{unclear}");
        }
    }

    #[test]
    fn a_node_is_one_line() {
        let node = json!({"nodeId": "0123456789abcdef", "displayName": "Box", "connected": true, "paired": true,
            "platform": "linux", "commands": ["system.run", "system.which"]});
        assert_eq!(node_line(&node), "0123456789ab  Box  connected, paired, linux, 2 commands");
    }

    #[test]
    fn s33_a_person_sees_what_waits_of_a_node() {
        let mut node = json!({"nodeId": "0123456789abcdef", "connected": true, "paired": true, "commands": ["a.b"],
            "waiting": {"platform": "linux", "commands": ["system.run", "x\ny"], "caps": [], "permissions": ["mic"]}});
        assert!(node_line(&node).ends_with("1 commands, declares more than was approved"), "{}", node_line(&node));
        let wanted = "(`openclaw nodes pending`): platform linux; commands system.run, x\\ny; permissions mic";
        assert!(node_text(&node).join("\n").ends_with(wanted), "{:?}", node_text(&node));
        node["waiting"] = Value::Null;
        assert!(!node_text(&node).join("\n").contains("waits"));
        let row = json!({"requestId": "r-1", "deviceId": "0123456789abcdef", "platform": "linux",
            "commands": ["system.run"], "permissions": {"mic": true, "sms": false}});
        assert_eq!(waiting_line(&row), "r-1  0123456789ab (linux): commands system.run; permissions mic");
    }
}
