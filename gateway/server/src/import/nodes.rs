//! `nodes/paired.json` of OpenClaw: the nodes that operators paired by hand (part A3).

use openclaw_platform::Millis;
use openclaw_protocol::{nodes::NodePaired, truncate};
use serde_json::Value;

use super::{object, report::shown, transcript::millis};
use crate::limits::{DECLARED, DECLARED_NAME, DEVICE_TEXT};

/// Longest id and longest token, bytes.
const LONGEST: usize = 512;

/// A node, or what it is called and why it is none.
pub(super) type Found = object::Member<NodePaired>;

/// All nodes of the file.
///
/// # Errors
/// When it is no such file.
pub(super) fn read(text: &[u8], now: Millis) -> Result<Vec<Found>, String> {
    let mut found = Vec::new();
    object::each(text, |id, value| {
        found.push(node(&id, &value, now).map_err(|why| (shown(&id), why.to_owned())));
    })?;
    Ok(found)
}

fn node(id: &str, value: &Value, now: Millis) -> Result<NodePaired, &'static str> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let about = |key: &str| text(key).map(|text| truncate::chars(text, DEVICE_TEXT).to_owned());
    let at = |key: &str| value.get(key).and_then(millis).map(|at| at.min(now));
    let names = |key: &str| {
        let list = value.get(key).and_then(Value::as_array)?.iter().filter_map(Value::as_str);
        Some(list.filter(|n| n.chars().count() <= DECLARED_NAME).take(DECLARED).map(str::to_owned).collect())
    };
    if id.trim().is_empty() || id.len() > LONGEST {
        return Err("its id is none");
    }
    let token = text("token").filter(|token| token.len() <= LONGEST).ok_or("it has no token")?;
    let created = at("createdAtMs").unwrap_or(now);
    Ok(NodePaired {
        node_id: id.trim().to_owned(),
        created_at_ms: created,
        approved_at_ms: at("approvedAtMs").unwrap_or(created),
        token: Some(token.to_owned()),
        display_name: about("displayName"),
        platform: about("platform"),
        version: about("version"),
        core_version: about("coreVersion"),
        ui_version: about("uiVersion"),
        device_family: about("deviceFamily"),
        model_identifier: about("modelIdentifier"),
        caps: names("caps"),
        commands: names("commands"),
        remote_ip: about("remoteIp"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_keeps_its_token() {
        let text = json!({
            "n1": { "nodeId": "n1", "token": "t", "displayName": "Phone", "caps": ["camera", 5], "createdAtMs": 3 },
            "n2": { "nodeId": "n2" },
        });
        let found = read(text.to_string().as_bytes(), 9).unwrap();
        let node = found[0].as_ref().unwrap();
        assert_eq!((node.token.as_deref(), node.display_name.as_deref()), (Some("t"), Some("Phone")));
        assert_eq!((node.caps.clone(), node.approved_at_ms), (Some(vec!["camera".to_owned()]), 3));
        assert_eq!(found[1], Err(("n2".to_owned(), "it has no token".to_owned())));
    }
}
