//! `devices ...`: who may connect to the gateway.

use clap::{Subcommand, ValueEnum};
use openclaw_protocol::truncate;
use serde_json::{Value, json};

use crate::{
    args::ReadArgs,
    client::{Connection, call_once},
    commands::health::ago,
    failure::Failure,
    output,
    session::Session,
};

/// `devices ...`
#[derive(Debug, Subcommand)]
pub enum DevicesCommand {
    /// Show the devices that ask to connect and those that may
    List(ReadArgs),
    /// Let the device of a waiting request in, for the role and scopes that it asked for
    Approve {
        /// The request's id, or its first characters (see `devices list`)
        request: String,
        /// Which gateway.
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Turn a waiting request down
    Reject {
        /// The request's id, or its first characters
        request: String,
        /// Which gateway.
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Replace a device's token, print the new one and end the connections of the old one
    Rotate {
        /// The device's id, or its first characters
        device: String,
        /// Which of its tokens
        #[arg(long, default_value = "operator")]
        role: DeviceRole,
        /// From now on only this scope (repeat for several); more than was approved is refused
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<String>,
        /// Which gateway.
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Take a device's token and approval away and end its connections
    Revoke {
        /// The device's id, or its first characters
        device: String,
        /// Which of its tokens
        #[arg(long, default_value = "operator")]
        role: DeviceRole,
        /// Which gateway.
        #[command(flatten)]
        read: ReadArgs,
    },
}

/// Roles of devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeviceRole {
    /// A person's tool.
    Operator,
    /// A device that offers commands.
    Node,
}

impl DeviceRole {
    fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Node => "node",
        }
    }
}

/// Runs one of them.
///
/// # Errors
/// Runtime: the gateway's reason, or no or more than one device of that name.
pub async fn run(session: &Session, command: &DevicesCommand) -> Result<(), Failure> {
    match command {
        DevicesCommand::List(read) => list(session, read).await,
        DevicesCommand::Approve { request, read } => {
            let done = decide(session, "device.pair.approve", request, read).await?;
            let id = short(&done["device"], "deviceId");
            say(session, &done, format!("Device {id} may now connect."))
        }
        DevicesCommand::Reject { request, read } => {
            let done = decide(session, "device.pair.reject", request, read).await?;
            say(session, &done, format!("Device {} was turned down.", short(&done, "deviceId")))
        }
        DevicesCommand::Rotate { device, role, scopes, read } => {
            let mut params = json!({ "role": role.as_str() });
            if !scopes.is_empty() {
                params["scopes"] = json!(scopes);
            }
            let done = on_device(session, "device.token.rotate", device, params, read).await?;
            let (id, token) = (short(&done, "deviceId"), text(&done, "token"));
            let role = role.as_str();
            say(session, &done, format!("New {role} token of device {id} (shown once, give it to the device): {token}"))
        }
        DevicesCommand::Revoke { device, role, read } => {
            let params = json!({ "role": role.as_str() });
            let done = on_device(session, "device.token.revoke", device, params, read).await?;
            let id = short(&done, "deviceId");
            let role = role.as_str();
            say(session, &done, format!("Device {id} may no longer connect as {role}; it has to be approved again."))
        }
    }
}

fn say(session: &Session, result: &Value, sentence: String) -> Result<(), Failure> {
    if session.out.json { output::json(result) } else { output::line(sentence) }
}

async fn list(session: &Session, read: &ReadArgs) -> Result<(), Failure> {
    let list = call_once(session, read, "device.pair.list", json!({})).await?;
    if session.out.json {
        return output::json(&list);
    }
    let now = crate::clock::now().as_millisecond().unsigned_abs();
    let rows = |key: &str| list[key].as_array().cloned().unwrap_or_default();
    let (pending, paired) = (rows("pending"), rows("paired"));
    if pending.is_empty() && paired.is_empty() {
        return output::line("No device is paired and none asks to be.");
    }
    if !pending.is_empty() {
        output::line("Waiting (openclaw devices approve REQUEST):")?;
        pending.iter().try_for_each(|row| output::line(format!("  {}", waiting_line(row, now))))?;
    }
    if !paired.is_empty() {
        output::line("Paired:")?;
        paired.iter().try_for_each(|row| output::line(format!("  {}", paired_line(row, now))))?;
    }
    Ok(())
}

/// Calls `method` with the one request whose id begins with `prefix`.
async fn decide(session: &Session, method: &str, prefix: &str, read: &ReadArgs) -> Result<Value, Failure> {
    let connection =
        Connection::open(session, &read.connection, std::time::Duration::from_millis(read.timeout)).await?;
    let list = connection.call("device.pair.list", json!({})).await?;
    let id = the_one(&list["pending"], "requestId", prefix, "request")?;
    let done = connection.call(method, json!({ "requestId": id })).await;
    connection.close().await;
    done
}

/// Calls `method` with the one paired device whose id begins with `prefix`.
async fn on_device(
    session: &Session,
    method: &str,
    prefix: &str,
    mut params: Value,
    read: &ReadArgs,
) -> Result<Value, Failure> {
    let connection =
        Connection::open(session, &read.connection, std::time::Duration::from_millis(read.timeout)).await?;
    let list = connection.call("device.pair.list", json!({})).await?;
    params["deviceId"] = the_one(&list["paired"], "deviceId", prefix, "device")?.into();
    let done = connection.call(method, params).await;
    connection.close().await;
    done
}

/// The id in `rows` that begins with `prefix`.
fn the_one(rows: &Value, key: &str, prefix: &str, what: &str) -> Result<String, Failure> {
    let ids = rows.as_array().into_iter().flatten().filter_map(|row| row[key].as_str());
    let found: Vec<&str> = ids.filter(|id| !prefix.is_empty() && id.starts_with(prefix)).collect();
    match found.as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => Err(Failure::Runtime(format!("no {what} {prefix:?}; `openclaw devices list` shows all"))),
        many => {
            let count = many.len();
            Err(Failure::Runtime(format!("{count} ids of a {what} begin with {prefix:?}: write more of it")))
        }
    }
}

fn text(row: &Value, key: &str) -> String {
    row[key].as_str().unwrap_or("?").to_owned()
}

fn short(row: &Value, key: &str) -> String {
    truncate::chars(&text(row, key), 12).to_owned()
}

fn words(list: &Value) -> String {
    let words: Vec<&str> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if words.is_empty() { "no scopes".to_owned() } else { words.join(" ") }
}

/// `iPhone, ios, from 203.0.113.9`: as far as it is known.
fn about(row: &Value) -> String {
    let known = ["displayName", "clientId", "platform"].iter().filter_map(|key| row[*key].as_str().map(str::to_owned));
    let from = row["remoteIp"].as_str().map(|ip| format!("from {ip}"));
    known.chain(from).collect::<Vec<_>>().join(", ")
}

fn waiting_line(row: &Value, now: u64) -> String {
    let (id, device, role) = (text(row, "requestId"), short(row, "deviceId"), text(row, "role"));
    let again = if row["isRepair"] == true { ", known device" } else { "" };
    let age = ago(now.saturating_sub(row["ts"].as_u64().unwrap_or(now)));
    format!("{id}  device {device} as {role}: {} ({}{again}, {age} ago)", words(&row["scopes"]), about(row))
}

fn paired_line(row: &Value, now: u64) -> String {
    let seen = row["lastSeenAtMs"]
        .as_u64()
        .map_or("not seen yet".to_owned(), |at| format!("seen {} ago", ago(now.saturating_sub(at))));
    let tokens: Vec<String> = row["tokens"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|t| {
            let revoked = if t["revokedAtMs"].is_u64() { " (revoked)" } else { "" };
            format!("{}{revoked}: {}", text(t, "role"), words(&t["scopes"]))
        })
        .collect();
    format!("{}  {} ({}, {seen})", short(row, "deviceId"), tokens.join("; "), about(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_one_line() {
        let row = json!({"deviceId": "0123456789abcdef", "displayName": "Phone", "clientId": "openclaw-ios",
            "platform": "ios", "remoteIp": "203.0.113.9", "lastSeenAtMs": 60_000,
            "tokens": [{"role": "operator", "scopes": ["operator.read"], "revokedAtMs": 1}]});
        assert_eq!(
            paired_line(&row, 120_000),
            "0123456789ab  operator (revoked): operator.read (Phone, openclaw-ios, ios, from 203.0.113.9, seen 60s ago)"
        );
    }

    #[test]
    fn a_request_is_one_line() {
        let row = json!({"requestId": "r-1", "deviceId": "0123456789abcdef", "role": "node", "scopes": [],
            "clientId": "node-host", "isRepair": true, "ts": 0});
        assert_eq!(
            waiting_line(&row, 5000),
            "r-1  device 0123456789ab as node: no scopes (node-host, known device, 5s ago)"
        );
    }

    #[test]
    fn an_id_may_be_shortened_but_must_be_one() {
        let rows = json!([{"requestId": "abc1"}, {"requestId": "abd2"}]);
        assert_eq!(the_one(&rows, "requestId", "abc", "request").unwrap(), "abc1");
        for none_or_two in ["ab", "x", ""] {
            assert!(the_one(&rows, "requestId", none_or_two, "request").is_err(), "{none_or_two}");
        }
    }
}
