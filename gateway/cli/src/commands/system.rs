//! `system presence` and `system event`.

use serde_json::{Value, json};

use crate::{args::SystemCommand, client::call_once, failure::Failure, output, session::Session};

/// Runs one of them.
///
/// # Errors
/// Runtime.
pub async fn run(session: &Session, command: &SystemCommand) -> Result<(), Failure> {
    match command {
        SystemCommand::Presence(read) => {
            let list = call_once(session, read, "system-presence", json!({})).await?;
            if session.out.json {
                return output::json(&list);
            }
            list.as_array().into_iter().flatten().try_for_each(|entry| output::line(entry_line(entry)))
        }
        SystemCommand::Event { text, read } => {
            let done = call_once(session, read, "system-event", json!({ "text": text })).await?;
            if session.out.json { output::json(&done) } else { output::line("The note was left.") }
        }
    }
}

fn entry_line(entry: &Value) -> String {
    if let Some(text) = entry["text"].as_str().filter(|t| !t.is_empty()) {
        return text.to_owned();
    }
    let parts = ["host", "ip", "version", "platform", "mode", "reason"];
    let parts: Vec<&str> = parts.iter().filter_map(|key| entry[*key].as_str()).collect();
    parts.join(" · ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_one_line() {
        assert_eq!(entry_line(&json!({"text": "Node: x", "host": "h"})), "Node: x");
        assert_eq!(entry_line(&json!({"host": "h", "mode": "cli", "version": "1"})), "h · 1 · cli");
    }
}
