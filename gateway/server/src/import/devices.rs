//! `devices/paired.json` of OpenClaw (protocol-core.md section 7): devices with the tokens that they have.

use std::collections::BTreeMap;

use openclaw_platform::Millis;
use openclaw_protocol::{
    device::PublicKey,
    scope::{Role, Scopes},
    truncate,
};
use serde_json::Value;

use super::{object, report::shown, transcript::millis};
use crate::{
    devices::{About, Device, DeviceToken, Seen},
    limits::{DEVICE_TEXT, SCOPE_TEXT, SCOPES},
};

/// Longest token that is taken, bytes.
const TOKEN: usize = 512;

/// A device, or what it is called and why it is none.
pub(super) type Found = object::Member<(Device, Seen)>;

/// All devices of the file; none where this program wrote it: its list has no tokens.
///
/// # Errors
/// When it is no such file.
pub(super) fn read(text: &[u8], now: Millis) -> Result<Vec<Found>, String> {
    let (mut found, mut with_tokens) = (Vec::new(), false);
    object::each(text, |id, value| {
        with_tokens |= tokens(&value).any(|(_, token)| token.get("token").is_some());
        found.push(device(&id, &value, now).map_err(|why| (shown(&id), why)));
    })?;
    Ok(if with_tokens { found } else { vec![] })
}

fn tokens(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.get("tokens").and_then(Value::as_object).into_iter().flatten()
}

fn device(id: &str, value: &Value, now: Millis) -> Result<(Device, Seen), String> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let about = |key: &str| text(key).map(|text| truncate::chars(text, DEVICE_TEXT).to_owned());
    let key = text("publicKey").and_then(PublicKey::parse).ok_or("its public key is none")?;
    if key.device_id() != id {
        return Err("its id does not belong to its public key".into());
    }
    let at = |value: &Value, key: &str| value.get(key).and_then(millis).map(|at| at.min(now));
    let created = at(value, "createdAtMs").unwrap_or(now);

    let (mut own, mut seen) = (BTreeMap::new(), Seen::default());
    for (name, stored) in tokens(value) {
        let Some(role) = Role::parse(name) else { continue };
        let Some(token) = stored.get("token").and_then(Value::as_str).filter(|t| (1..=TOKEN).contains(&t.len())) else {
            continue;
        };
        let token = DeviceToken {
            token: token.to_owned(),
            scopes: scopes(stored.get("scopes")),
            created_at_ms: at(stored, "createdAtMs").unwrap_or(created),
            rotated_at_ms: at(stored, "rotatedAtMs"),
            revoked_at_ms: at(stored, "revokedAtMs"),
        };
        if let Some(used) = at(stored, "lastUsedAtMs") {
            seen.by_role.insert(role, used);
            seen.at_ms = seen.at_ms.max(used);
        }
        own.insert(role, token);
    }
    let approved = approved(value, &own);
    if approved.is_empty() && own.is_empty() {
        return Err("it has no role that is known".into());
    }
    let device = Device {
        device_id: id.to_owned(),
        public_key: key.encode(),
        about: About {
            display_name: about("displayName"),
            platform: about("platform"),
            client_id: about("clientId"),
            client_mode: about("clientMode"),
        },
        approved,
        // OpenClaw keeps nothing of what a node declared: what it declares next counts as approved (S33).
        pinned: None,
        tokens: own,
        created_at_ms: created,
        approved_at_ms: at(value, "approvedAtMs").unwrap_or(created),
    };
    Ok((device, seen))
}

/// The roles in which it may connect. A person approved the scopes of the device for its operator; a node has those of its
/// token. What was revoked stays revoked (D15).
fn approved(value: &Value, own: &BTreeMap<Role, DeviceToken>) -> BTreeMap<Role, Scopes> {
    let listed = value.get("roles").and_then(Value::as_array).into_iter().flatten();
    let roles = listed.chain(value.get("role")).filter_map(Value::as_str).filter_map(Role::parse);
    let mut approved = BTreeMap::new();
    for role in roles.chain(own.keys().copied()) {
        let token = own.get(&role);
        if token.is_some_and(|t| t.revoked_at_ms.is_some()) {
            continue;
        }
        let mut all: Vec<String> = token.map(|t| t.scopes.as_slice().to_vec()).unwrap_or_default();
        if role == Role::Operator {
            all.extend(scopes(value.get("scopes")).as_slice().iter().cloned());
        }
        approved.insert(role, Scopes::new(all));
    }
    approved
}

fn scopes(list: Option<&Value>) -> Scopes {
    let list = list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let sound = |scope: &&str| !scope.is_empty() && scope.chars().count() <= SCOPE_TEXT;
    Scopes::new(list.filter(sound).take(SCOPES).map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEY: &str = "gt4ZP06NN_L62wlpS16j1mwCtEiZ6tIyJQDI1sVZXDE";

    fn id() -> String {
        PublicKey::parse(KEY).unwrap().device_id()
    }

    fn file(tokens: &Value) -> Vec<u8> {
        let device = json!({
            "deviceId": id(), "publicKey": KEY, "platform": "ios", "role": "operator", "roles": ["operator", "node", "spy"],
            "scopes": ["operator.read", "operator.write"], "tokens": tokens, "createdAtMs": 5, "approvedAtMs": 1000,
        });
        json!({ (id()): device, "other": { "publicKey": KEY }, "none": 5 }).to_string().into_bytes()
    }

    #[test]
    fn d15_tokens_stay_good_and_what_was_revoked_stays_revoked() {
        let tokens = json!({
            "operator": { "token": "o", "scopes": ["operator.read"], "createdAtMs": 6, "lastUsedAtMs": 7 },
            "node": { "token": "n", "scopes": [], "revokedAtMs": 8 }, "spy": { "token": "s" },
        });
        let found = read(&file(&tokens), 100).unwrap();
        let (device, seen) = found[0].as_ref().unwrap();
        assert_eq!(device.token(Role::Operator).unwrap().token, "o");
        assert_eq!(device.token(Role::Node), None);
        assert_eq!(device.tokens[&Role::Node].revoked_at_ms, Some(8));
        let both = Scopes::new(["operator.read".to_owned(), "operator.write".to_owned()]);
        assert_eq!(
            device.approved,
            BTreeMap::from([(Role::Operator, both)]),
            "a node again only when a person says so"
        );
        assert_eq!((device.created_at_ms, device.approved_at_ms, seen.at_ms), (5, 100, 7));
        let left: Vec<_> = found[1..].iter().map(|f| f.as_ref().unwrap_err().0.as_str()).collect();
        assert_eq!(left, ["other", "none"]);
    }

    #[test]
    fn the_list_that_this_program_writes_is_nothing_to_take() {
        let shown = json!([{ "role": "operator", "scopes": [] }]);
        assert_eq!(read(&file(&shown), 1).unwrap().len(), 0);
        assert!(read(b"{", 1).is_err() && read(b"[]", 1).is_err());
    }
}
