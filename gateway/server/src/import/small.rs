//! Small files of OpenClaw: each is read from its text alone.

use openclaw_protocol::display;
use serde_json::Value;

fn object(text: &[u8]) -> Result<Value, String> {
    let value: Value = serde_json::from_slice(text).map_err(|e| format!("it is no JSON: {e}"))?;
    if value.is_object() { Ok(value) } else { Err("it is no JSON object".to_owned()) }
}

/// The number of the last update that was handled (`<channel>/update-offset-<account>.json`).
///
/// # Errors
/// What is wrong with it.
pub(super) fn last_update(text: &[u8]) -> Result<i64, String> {
    let value = object(text)?;
    let id = value.get("lastUpdateId").and_then(Value::as_i64).filter(|id| *id >= 0);
    id.ok_or_else(|| "it has no lastUpdateId".to_owned())
}

/// How many jobs `cron/jobs.json` has.
///
/// # Errors
/// What is wrong with it.
pub fn cron_jobs(text: &[u8]) -> Result<u64, String> {
    let value = object(text)?;
    let jobs = value.get("jobs").and_then(Value::as_array).ok_or("it has no list of jobs")?;
    Ok(jobs.len() as u64)
}

/// How many entries an object has: what waits in `devices/pending.json` and `nodes/pending.json`.
///
/// # Errors
/// What is wrong with it.
pub fn entries(text: &[u8]) -> Result<u64, String> {
    Ok(object(text)?.as_object().map_or(0, |all| all.len() as u64))
}

/// How many people wait in `credentials/<channel>-pairing.json`.
///
/// # Errors
/// What is wrong with it.
pub fn pairing_requests(text: &[u8]) -> Result<u64, String> {
    Ok(object(text)?.get("requests").and_then(Value::as_array).map_or(0, |all| all.len() as u64))
}

/// Checks `credentials/<channel>-allowFrom.json`.
///
/// # Errors
/// What is wrong with it.
pub fn allow_list(text: &[u8]) -> Result<(), String> {
    let value = object(text)?;
    let list = value.get("allowFrom").and_then(Value::as_array).ok_or("it has no list allowFrom")?;
    if list.iter().all(Value::is_string) { Ok(()) } else { Err("not all of its entries are texts".to_owned()) }
}

/// Checks `settings/voicewake.json`.
///
/// # Errors
/// What is wrong with it.
pub fn wake_words(text: &[u8]) -> Result<(), String> {
    object(text)?
        .get("triggers")
        .and_then(Value::as_array)
        .map(|_| ())
        .ok_or_else(|| "it has no list triggers".to_owned())
}

/// `exec-approvals.json` without the socket, which is that of the directory where it stood.
///
/// # Errors
/// What is wrong with it.
pub fn approvals(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut value = object(text)?;
    if let Some(all) = value.as_object_mut() {
        all.remove("socket");
    }
    // What this program would not understand is refused there as its strictest meaning (D36), not here.
    serde_json::to_vec_pretty(&value).map_err(|e| e.to_string())
}

/// Auth profiles of an agent: how many can be used, and the others with the reason (D37).
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Profiles {
    /// API keys.
    pub usable: u64,
    /// Name and why.
    pub left: Vec<(String, String)>,
}

/// Reads `agents/<id>/agent/auth-profiles.json`; no key is given out.
///
/// # Errors
/// What is wrong with it.
pub fn profiles(text: &[u8]) -> Result<Profiles, String> {
    let value = object(text)?;
    let all = value.get("profiles").and_then(Value::as_object).ok_or("it has no profiles")?;
    let mut profiles = Profiles::default();
    for (name, profile) in all {
        let of = |key: &str| profile.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let why = match of("type") {
            Some("api_key") if of("key").is_some() && of("provider").is_some() => {
                profiles.usable += 1;
                continue;
            }
            Some("api_key") => "it has no key".to_owned(),
            Some("oauth") => "it is a login (OAuth) that only OpenClaw can renew: use an API key".to_owned(),
            Some("token") => "it is a token and no API key: set it as models.providers.<id>.apiKey".to_owned(),
            other => format!("profiles of the type {} are not known", display::short(other.unwrap_or("none"), 32)),
        };
        profiles.left.push((super::report::shown(name), why));
    }
    Ok(profiles)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bytes(value: &Value) -> Vec<u8> {
        value.to_string().into_bytes()
    }

    #[test]
    fn small_files_say_what_they_have_or_what_is_wrong() {
        assert_eq!(last_update(br#"{"version":1,"lastUpdateId":42}"#), Ok(42));
        for bad in ["", "[]", "{}", r#"{"lastUpdateId":-1}"#, r#"{"lastUpdateId":null}"#, r#"{"lastUpdateId":1e30}"#] {
            assert!(last_update(bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(cron_jobs(br#"{"jobs":[{},{}]}"#), Ok(2));
        assert_eq!(entries(br#"{"a":1}"#), Ok(1));
        assert_eq!(pairing_requests(br#"{"requests":[1]}"#), Ok(1));
        assert!(allow_list(br#"{"allowFrom":["1"]}"#).is_ok() && allow_list(br#"{"allowFrom":[1]}"#).is_err());
        assert!(wake_words(br#"{"triggers":[]}"#).is_ok() && wake_words(b"{}").is_err());
    }

    #[test]
    fn s17_the_socket_of_another_directory_and_its_token_are_left_out() {
        let file = json!({ "version": 1, "socket": { "path": "/x", "token": "secret" }, "agents": { "main": {} } });
        let text = String::from_utf8(approvals(&bytes(&file)).unwrap()).unwrap();
        assert!(text.contains("agents") && !text.contains("secret"), "{text}");
    }

    #[test]
    fn d37_keys_can_be_used_and_logins_cannot() {
        let file = json!({ "version": 1, "profiles": {
            "anthropic:default": { "type": "api_key", "provider": "anthropic", "key": "sk-1" },
            "openai:me": { "type": "oauth", "provider": "openai", "access": "secret", "refresh": "secret" },
            "x": { "type": "token", "provider": "x", "token": "secret" }, "y": { "type": "api_key" }, "z": 5,
        } });
        let found = profiles(&bytes(&file)).unwrap();
        assert_eq!((found.usable, found.left.len()), (1, 4));
        assert!(found.left[0].1.contains("OAuth") && !format!("{found:?}").contains("secret"), "{found:?}");
    }
}
