//! `openclaw message send`.

use std::time::Duration;

use openclaw_platform::{EntropyExt as _, os::OsEntropy};
use serde_json::{Map, Value, json};

use crate::{args::SendArgs, client::Connection, failure::Failure, output, session::Session};

/// Sends the message, or with `--dry-run` asks whether it could be.
///
/// # Errors
/// Runtime: no gateway, refused, not delivered.
pub async fn send(session: &Session, args: &SendArgs) -> Result<(), Failure> {
    let timeout = Duration::from_millis(args.read.timeout);
    let connection = Connection::open(session, &args.read.connection, timeout).await?;
    let result = if args.dry_run {
        dry_run(&connection, args).await
    } else {
        connection.call("send", params(args, OsEntropy.uuid())).await
    };
    connection.close().await;
    let payload = result?;
    let channel = payload["channel"].as_str().or(args.channel.as_deref()).unwrap_or("the default channel").to_owned();
    if session.out.json {
        return output::json(&json!({
            "action": "send", "channel": channel, "dryRun": args.dry_run, "handledBy": "gateway", "payload": payload,
        }));
    }
    output::line(if args.dry_run {
        format!("Nothing was sent. It would go to {} through {channel}.", args.target)
    } else {
        let id = payload["messageId"].as_str().unwrap_or("unknown");
        format!("Sent to {} through {channel} (message {id}).", args.target)
    })
}

fn params(args: &SendArgs, key: String) -> Value {
    let mut params = Map::new();
    let mut put = |name: &str, value: Value| params.insert(name.to_owned(), value);
    put("to", args.target.as_str().into());
    put("message", args.message.as_str().into());
    put("idempotencyKey", key.into());
    let media: Vec<String> = args.media.iter().map(|m| located(m)).collect();
    match media.as_slice() {
        [] => None,
        [one] => put("mediaUrl", one.as_str().into()),
        many => put("mediaUrls", many.into()),
    };
    if let Some(channel) = &args.channel {
        put("channel", channel.as_str().into());
    }
    if let Some(account) = &args.account {
        put("accountId", account.as_str().into());
    }
    Value::Object(params)
}

/// A file by its whole path: the gateway has another working directory.
fn located(media: &str) -> String {
    let file = std::path::Path::new(media);
    if media.contains("://") || !file.exists() {
        return media.to_owned();
    }
    std::path::absolute(file).ok().and_then(|path| path.into_os_string().into_string().ok()).unwrap_or(media.to_owned())
}

/// Asks for the channel's state only.
async fn dry_run(connection: &Connection, args: &SendArgs) -> Result<Value, Failure> {
    let status = connection.call("channels.status", json!({})).await?;
    if let Some(channel) = &args.channel {
        let known = status["channels"].get(channel).is_some_and(|c| c["configured"] == true);
        if !known {
            let url = &connection.url;
            return Err(Failure::Runtime(format!(
                "{url} has no configured channel {channel:?}; see `openclaw channels status`"
            )));
        }
    }
    Ok(json!({
        "channel": args.channel, "to": args.target, "via": "gateway", "mediaUrl": args.media.first(), "dryRun": true,
    }))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::{
        args::MessageCommand,
        grammar::{Cli, Command},
    };

    #[test]
    fn media_is_one_or_many() {
        let parse = |extra: &[&str]| {
            let line = ["openclaw", "message", "send", "-t", "42", "-m", "hi"];
            let Command::Message { command: MessageCommand::Send(args) } =
                Cli::parse_from(line.iter().chain(extra)).command
            else {
                panic!()
            };
            params(&args, "k".to_owned())
        };
        assert_eq!(parse(&[]), json!({"to": "42", "message": "hi", "idempotencyKey": "k"}));
        assert_eq!(parse(&["--media", "http://h/a.png"])["mediaUrl"], "http://h/a.png");
        let here = parse(&["--media", "Cargo.toml"])["mediaUrl"].clone();
        assert!(here.as_str().unwrap().starts_with('/') && here.as_str().unwrap().ends_with("/Cargo.toml"), "{here}");
        assert_eq!(parse(&["--media", "a", "--media", "b"])["mediaUrls"], json!(["a", "b"]));
        assert_eq!(parse(&["--channel", "telegram", "--account", "x"])["accountId"], "x");
    }
}
