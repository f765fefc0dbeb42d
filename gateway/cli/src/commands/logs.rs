//! `openclaw logs`: the gateway's file log, over the gateway.

use std::{fmt::Write as _, time::Duration};

use serde_json::{Map, Value, json};

use crate::{args::LogsArgs, client::Connection, failure::Failure, output, session::Session};

/// Bytes asked for at a time.
const MAX_BYTES: u64 = 250_000;

/// Prints the newest lines, then with `--follow` each new one.
///
/// # Errors
/// Runtime: no gateway, or it went away.
pub async fn run(session: &Session, args: &LogsArgs) -> Result<(), Failure> {
    let connection = Connection::open(session, &args.read.connection, Duration::from_millis(args.read.timeout)).await?;
    let result = follow(session, args, &connection).await;
    connection.close().await;
    result
}

async fn follow(session: &Session, args: &LogsArgs, connection: &Connection) -> Result<(), Failure> {
    let mut cursor = None;
    loop {
        let mut params = json!({ "maxBytes": MAX_BYTES, "limit": if cursor.is_none() { args.limit } else { 5000 } });
        if let Some(cursor) = cursor {
            params["cursor"] = json!(cursor);
        }
        let tail = connection.call("logs.tail", params).await?;
        let first = cursor.is_none();
        if session.out.json && first {
            let meta = json!({ "type": "meta", "file": tail["file"], "cursor": tail["cursor"], "size": tail["size"] });
            output::json_line(&meta)?;
        }
        let notice = if tail["reset"] == true {
            Some("the log began anew".to_owned())
        } else {
            tail["lost"].as_u64().filter(|lost| *lost > 0 && !first).map(|lost| format!("{lost} lines were left out"))
        };
        if let Some(notice) = notice {
            if session.out.json {
                output::json_line(&json!({ "type": "notice", "message": notice }))?;
            } else {
                output::note(format!("... {notice}"));
            }
        }
        for line in tail["lines"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let parsed = serde_json::from_str::<Map<String, Value>>(line).ok();
            if session.out.json {
                output::json_line(&json_line(line, parsed.as_ref()))?;
            } else {
                output::line(parsed.map_or_else(|| line.to_owned(), |fields| text_line(&fields)))?;
            }
        }
        if !args.follow {
            return Ok(());
        }
        cursor = tail["cursor"].as_u64();
        tokio::time::sleep(Duration::from_millis(args.interval)).await;
    }
}

fn json_line(raw: &str, fields: Option<&Map<String, Value>>) -> Value {
    let Some(fields) = fields else { return json!({ "type": "raw", "raw": raw }) };
    let get = |key: &str| fields.get(key).cloned().unwrap_or_default();
    json!({
        "type": "log", "time": get("time"), "level": get("level"), "subsystem": get("subsystem"),
        "message": get("message"), "raw": raw,
    })
}

fn text_line(fields: &Map<String, Value>) -> String {
    let text = |key: &str| fields.get(key).and_then(Value::as_str).unwrap_or("-");
    let mut line = format!("{} {} [{}] {}", text("time"), text("level"), text("subsystem"), text("message"));
    for (key, value) in fields.iter().filter(|(k, _)| !matches!(k.as_str(), "time" | "level" | "subsystem" | "message"))
    {
        let _ = write!(line, " {key}={}", value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_shown_with_their_fields() {
        let raw = r#"{"time":"T","level":"info","subsystem":"ws","message":"hi","n":5,"who":"x"}"#;
        let fields: Map<String, Value> = serde_json::from_str(raw).unwrap();
        assert_eq!(text_line(&fields), "T info [ws] hi n=5 who=x");
        assert_eq!(json_line(raw, Some(&fields))["subsystem"], "ws");
        assert_eq!(json_line("plain", None), json!({"type": "raw", "raw": "plain"}));
    }
}
