//! `channels status` and `pairing ...`.

use openclaw_channels::table::TABLE;
use serde_json::{Value, json};

use crate::{
    args::{ChannelsCommand, PairingCommand},
    client::call_once,
    commands::health::ago,
    failure::Failure,
    output,
    session::Session,
};

/// `channels status`.
///
/// # Errors
/// Runtime.
pub async fn run(session: &Session, command: &ChannelsCommand) -> Result<(), Failure> {
    let ChannelsCommand::Status { probe, read } = command;
    let params = if *probe { json!({ "probe": true, "timeoutMs": read.timeout }) } else { json!({}) };
    let status = call_once(session, read, "channels.status", params).await?;
    if session.out.json {
        return output::json(&status);
    }
    let mut lines = vec![];
    for id in status["channelOrder"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let label = status["channelLabels"][id].as_str().unwrap_or(id);
        let accounts = status["channelAccounts"][id].as_array().cloned().unwrap_or_default();
        lines.extend(accounts.iter().map(|account| account_line(label, account)));
    }
    if lines.is_empty() {
        let credentials: Vec<&str> = TABLE.iter().filter_map(|factory| factory.credential).collect();
        lines.push(format!("No channel is configured. Add {} to the configuration.", credentials.join(" or ")));
    }
    output::rows(lines)
}

fn account_line(label: &str, account: &Value) -> String {
    let flags = ["enabled", "configured", "linked", "running", "connected"];
    let named = flags.into_iter().filter_map(|flag| match account.get(flag)? {
        Value::Bool(true) => Some(flag.to_owned()),
        Value::Bool(false) => Some(format!("not {flag}")),
        _ => None,
    });
    let mut parts: Vec<String> = named.collect();
    match &account["probe"]["ok"] {
        Value::Bool(true) => parts.push("the service answers".to_owned()),
        Value::Bool(false) => parts.push("the service does not answer".to_owned()),
        _ => {}
    }
    if let Some(error) = account["lastError"].as_str() {
        parts.push(format!("error: {error}"));
    }
    format!("{label} {}: {}", account["accountId"].as_str().unwrap_or("default"), parts.join(", "))
}

/// `pairing list` and `pairing approve`.
///
/// # Errors
/// Runtime.
pub async fn pairing(session: &Session, command: &PairingCommand) -> Result<(), Failure> {
    match command {
        PairingCommand::List { channel, read } => {
            let params = channel.as_ref().map_or_else(|| json!({}), |c| json!({ "channel": c }));
            let list = call_once(session, read, "channels.pairing.list", params).await?;
            if session.out.json {
                return output::json(&list);
            }
            let rows = list["requests"].as_array().cloned().unwrap_or_default();
            if rows.is_empty() {
                return output::line("Nobody waits.");
            }
            rows.iter().try_for_each(|row| output::line(waiting_line(row)))
        }
        PairingCommand::Approve { channel, code, notify, read } => {
            let mut params = json!({ "channel": channel, "code": code.trim().to_ascii_uppercase() });
            if *notify {
                params["notify"] = true.into();
            }
            let done = call_once(session, read, "channels.pairing.approve", params).await?;
            if session.out.json {
                return output::json(&done);
            }
            output::line(format!("{} may now write to the agent.", done["id"].as_str().unwrap_or("The sender")))
        }
    }
}

fn waiting_line(row: &Value) -> String {
    let text = |key: &str| row[key].as_str().unwrap_or("?").to_owned();
    let meta: Vec<String> = row["meta"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| value.as_str().map(|v| format!("{key} {v}")))
        .collect();
    let who = if meta.is_empty() { String::new() } else { format!(" ({})", meta.join(", ")) };
    let span = row["lastSeenAt"].as_u64().zip(row["createdAt"].as_u64());
    let span = span
        .filter(|(last, first)| last > first)
        .map_or(String::new(), |(l, f)| format!(", wrote again after {}", ago(l - f)));
    format!("{}  {} {}{who}{span}", text("code"), text("channel"), text("id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_one_line() {
        let account = json!({"accountId": "work", "enabled": true, "configured": true, "running": false,
            "probe": {"ok": false}, "lastError": "409 conflict"});
        assert_eq!(
            account_line("Telegram", &account),
            "Telegram work: enabled, configured, not running, the service does not answer, error: 409 conflict"
        );
    }

    #[test]
    fn someone_who_waits_is_one_line() {
        let row = json!({"channel": "telegram", "id": "42", "code": "ABCD2345", "createdAt": 0, "lastSeenAt": 60_000,
            "meta": {"username": "bob"}});
        assert_eq!(waiting_line(&row), "ABCD2345  telegram 42 (username bob), wrote again after 60s");
    }
}
