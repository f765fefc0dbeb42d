//! `openclaw agent`: one turn, through the gateway and never without it.

use std::time::Duration;

use openclaw_platform::{EntropyExt as _, os::OsEntropy};
use serde_json::{Map, Value};

use crate::{args::AgentArgs, client::Connection, failure::Failure, output, session::Session};

/// For connect, queue and delivery around the run itself.
const MARGIN: Duration = Duration::from_secs(30);
/// When no deadline is given: above any default of the gateway.
const LONGEST: Duration = Duration::from_hours(24);

/// Runs the turn and prints the reply.
///
/// # Errors
/// Runtime: no gateway, refused, failed run.
pub async fn run(session: &Session, args: &AgentArgs) -> Result<(), Failure> {
    let timeout = args.timeout.map_or(LONGEST, |s| Duration::from_secs(s) + MARGIN);
    let connection = Connection::open(session, &args.connection, Duration::from_secs(10)).await?;
    let mut params = params(args, OsEntropy.uuid());
    if args.to.is_none() && args.session_id.is_none() && args.agent.is_none() {
        // Whoever names nobody talks in the main session, which the gateway names in its greeting.
        params["sessionKey"] = connection.client.hello()["snapshot"]["sessionDefaults"]["mainSessionKey"].clone();
    }
    let result = connection.client.call_final("agent", params, timeout).await;
    connection.close().await;
    let payload = result.map_err(|e| connection.failed("agent", &e))?.payload;
    if session.out.json {
        return output::json(&payload);
    }
    output::text(reply(&payload))
}

fn params(args: &AgentArgs, key: String) -> Value {
    let mut params = Map::new();
    params.insert("message".to_owned(), args.message.as_str().into());
    params.insert("idempotencyKey".to_owned(), key.into());
    for (name, value) in [
        ("to", &args.to),
        ("sessionId", &args.session_id),
        ("agentId", &args.agent),
        ("thinking", &args.thinking),
        ("channel", &args.channel),
    ] {
        if let Some(value) = value {
            params.insert(name.to_owned(), value.as_str().into());
        }
    }
    if args.deliver {
        params.insert("deliver".to_owned(), true.into());
    }
    if let Some(seconds) = args.timeout {
        params.insert("timeout".to_owned(), seconds.into());
    }
    Value::Object(params)
}

/// Texts, and `MEDIA:url` lines.
fn reply(payload: &Value) -> String {
    let mut lines = vec![];
    for part in payload["result"]["payloads"].as_array().into_iter().flatten() {
        lines.extend(part["text"].as_str().filter(|t| !t.is_empty()).map(str::to_owned));
        lines.extend(part["mediaUrl"].as_str().map(|url| format!("MEDIA:{url}")));
    }
    if lines.is_empty() { "(the agent had nothing to say)".to_owned() } else { lines.join("\n") }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::json;

    use super::*;
    use crate::grammar::{Cli, Command};

    #[test]
    fn only_what_was_said_is_sent() {
        let parse = |args: &[&str]| {
            let Command::Agent(args) = Cli::parse_from(["openclaw", "agent"].iter().chain(args)).command else {
                panic!()
            };
            params(&args, "k".to_owned())
        };
        assert_eq!(parse(&["-m", "hi"]), json!({"message": "hi", "idempotencyKey": "k"}));
        assert_eq!(
            parse(&["-m", "hi", "-t", "42", "--deliver", "--timeout", "5", "--agent", "a"]),
            json!({"message": "hi", "idempotencyKey": "k", "to": "42", "agentId": "a", "deliver": true, "timeout": 5})
        );
    }

    #[test]
    fn the_reply_is_text_and_media_lines() {
        let payload = json!({"result": {"payloads": [{"text": "a", "mediaUrl": null}, {"text": "", "mediaUrl": "u"}]}});
        assert_eq!(reply(&payload), "a\nMEDIA:u");
        assert_eq!(reply(&json!({})), "(the agent had nothing to say)");
    }
}
