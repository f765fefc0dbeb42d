//! Frames in the log: handshakes, requests, responses and events, as `--verbose` mirrors them. A line for each at `debug` (events:
//! `trace`), its content at `trace`, without secrets (S17). While nobody listens a frame costs a look at the level.

use openclaw_config::is_secret_name;
use openclaw_protocol::{display, truncate};
use serde_json::Value;
use tracing::Level;

/// Longest text of a frame's content that is shown, and of the content as a whole, in bytes.
const TEXT: usize = 200;
const CONTENT: usize = 4 << 10;
/// A name of a client's that is shown: a method, an id; in characters.
const NAME: usize = 64;

/// A frame of the client.
pub fn incoming(conn: &str, text: &str) {
    let Some(frame) = wanted(text) else { return };
    let (method, id) = (name(&frame["method"]), name(&frame["id"]));
    tracing::debug!(conn, id, "req {method}");
    content(conn, &frame["params"]);
}

/// A frame for the client.
pub fn outgoing(conn: &str, text: &str) {
    let Some(frame) = wanted(text) else { return };
    let bytes = text.len();
    match frame["type"].as_str() {
        Some("event") => {
            let (event, seq) = (name(&frame["event"]), frame["seq"].as_u64());
            tracing::trace!(conn, seq, bytes, "event {event}");
        }
        _ if frame["payload"]["type"] == "hello-ok" => tracing::debug!(conn, bytes, "res hello-ok"),
        _ => {
            let (id, error) = (name(&frame["id"]), &frame["error"]);
            if frame["ok"] == true {
                tracing::debug!(conn, id, bytes, "res ok");
            } else {
                let reason = error["details"]["code"].as_str().unwrap_or_default();
                tracing::debug!(conn, id, reason, "res {}", name(&error["code"]));
            }
        }
    }
    content(conn, if frame["error"].is_object() { &frame["error"] } else { &frame["payload"] });
}

/// The frame, while somebody listens.
fn wanted(text: &str) -> Option<Value> {
    if !tracing::enabled!(Level::DEBUG) {
        return None;
    }
    serde_json::from_str(text).ok()
}

fn name(value: &Value) -> String {
    display::short(value.as_str().unwrap_or("?"), NAME)
}

fn content(conn: &str, value: &Value) {
    if tracing::enabled!(Level::TRACE) && !value.is_null() {
        let shown = without_secrets(value).to_string();
        tracing::trace!(conn, content = truncate::bytes(&shown, CONTENT), "content");
    }
}

/// What stands under a key that names a secret is left out, long texts are cut. What is known as a secret by its value the log
/// itself masks.
fn without_secrets(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let shown = map.iter().map(|(key, value)| {
                // A device signs the challenge's nonce.
                let is_secret = is_secret_name(key) || key == "nonce";
                let is_plain = value.is_null() || value.is_boolean();
                (key.clone(), if is_secret && !is_plain { "***".into() } else { without_secrets(value) })
            });
            Value::Object(shown.collect())
        }
        Value::Array(list) => list.iter().map(without_secrets).collect(),
        Value::String(text) if text.len() > TEXT => format!("{}...", truncate::bytes(text, TEXT)).into(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn s17_a_mirrored_frame_has_no_secret_in_it() {
        let connect = json!({
            "auth": { "token": "t0k", "password": "passw0rd", "deviceToken": "dt", "mode": "token" },
            "device": { "id": "d", "signature": "sig", "nonce": "n0nce", "publicKey": "pub" },
            "client": { "id": "cli" }, "hasToken": true, "list": [{ "apiKey": "k3y" }],
        });
        let shown = without_secrets(&connect).to_string();
        for secret in ["t0k", "passw0rd", "\"dt\"", "\"sig\"", "n0nce", "k3y"] {
            assert!(!shown.contains(secret), "{secret}: {shown}");
        }
        for there in ["\"mode\":\"token\"", "\"id\":\"cli\"", "\"publicKey\":\"pub\"", "\"hasToken\":true"] {
            assert!(shown.contains(there), "{there}: {shown}");
        }
        let long = without_secrets(&json!({ "message": "ä".repeat(TEXT) }));
        assert!(long["message"].as_str().unwrap().len() < TEXT + 4, "{long}");
    }
}
