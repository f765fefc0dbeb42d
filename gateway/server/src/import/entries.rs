//! `agents/<id>/sessions/sessions.json` of OpenClaw (agent-chat-channels.md section 6): what becomes of an entry.

use openclaw_channels::table;
use openclaw_config::Config;
use openclaw_platform::Millis;
use openclaw_protocol::{
    params::{GroupActivation, SendPolicy},
    truncate,
};
use serde_json::Value;

use super::{object, report::shown, transcript::millis};
use crate::{
    limits::SESSIONS,
    sessions::{
        entry::{Route, SessionEntry, THINKING},
        key,
    },
};

/// Characters of a session id.
const SESSION_ID: usize = 128;
/// Characters of a label.
const LABEL: usize = 64;
/// Characters of a name or a target that is kept.
const TEXT: usize = 256;

/// A session that may be taken over.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// The agent in whose directory it stands.
    pub agent: String,
    /// Canonical key.
    pub key: String,
    /// Name of its transcript's file, beside `sessions.json`.
    pub file: String,
    pub(super) entry: SessionEntry,
    /// Settings that it cannot keep: which, and why.
    pub(super) lost: Vec<(String, String)>,
}

/// A session, or its key in the file and why it is none.
pub(super) type Found = object::Member<Wanted>;

/// All sessions of an agent's file.
///
/// # Errors
/// When it is no such file.
pub(super) fn read(config: &Config, agent: &str, text: &[u8], now: Millis) -> Result<Vec<Found>, String> {
    let (mut found, mut more) = (Vec::new(), 0u64);
    object::each(text, |key, value| {
        if found.len() as u64 >= SESSIONS {
            more += 1;
            return;
        }
        found.push(wanted(config, agent, &key, &value, now).map_err(|why| (shown(&key), why.to_owned())));
    })?;
    if more > 0 {
        found.push(Err((format!("{more} more"), format!("a gateway keeps at most {SESSIONS} sessions"))));
    }
    Ok(found)
}

/// The key that a session has here. In a file of one agent a key without an agent is that agent's.
fn key_of(config: &Config, agent: &str, key: &str) -> Option<String> {
    let key = key.trim().to_lowercase();
    match key.as_str() {
        "" => None,
        "main" => Some(key::main_key(config, agent)),
        _ if key == config.session.main_key => Some(key::main_key(config, agent)),
        "global" | "unknown" => Some(key),
        _ if key.starts_with("agent:") => key::canonical(config, &key),
        _ => key::canonical(config, &format!("agent:{agent}:{key}")),
    }
}

fn wanted(config: &Config, agent: &str, key: &str, value: &Value, now: Millis) -> Result<Wanted, &'static str> {
    let key = key_of(config, agent, key).ok_or("its key is none that a session can have here")?;
    let text = |name: &str| value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let session_id = text("sessionId").filter(|id| is_plain(id)).ok_or("it has no session id")?;
    let named = text("sessionFile").and_then(|path| path.rsplit('/').next());
    let named = named.filter(|name| name.strip_suffix(".jsonl").is_some_and(is_plain));
    let file = named.map_or_else(|| format!("{session_id}.jsonl"), str::to_owned);

    let mut lost = Vec::new();
    let mut level = |name: &str, allowed: &[&str]| {
        let word = text(name)?.trim().to_lowercase();
        if !allowed.contains(&word.as_str()) {
            lost.push((name.to_owned(), format!("{:?} is none of {}", truncate::chars(&word, 32), allowed.join(", "))));
            return None;
        }
        Some(word)
    };
    let mut entry = SessionEntry {
        thinking_level: level("thinkingLevel", &THINKING),
        verbose_level: level("verboseLevel", &["on", "off", "full"]),
        reasoning_level: level("reasoningLevel", &["on", "off", "stream"]),
        elevated_level: level("elevatedLevel", &["on", "off", "ask", "full"]),
        response_usage: level("responseUsage", &["off", "tokens", "full", "on"]),
        exec_host: level("execHost", &["sandbox", "gateway", "node"]),
        exec_security: level("execSecurity", &["deny", "allowlist", "full"]),
        exec_ask: level("execAsk", &["off", "on-miss", "always"]),
        send_policy: level("sendPolicy", &["allow", "deny"]).and_then(|word| SendPolicy::parse(&word)),
        group_activation: level("groupActivation", &["mention", "always"])
            .and_then(|word| GroupActivation::parse(&word)),
        ..SessionEntry::new(session_id.to_owned(), value.get("updatedAt").and_then(millis).unwrap_or(0).min(now))
    };
    let short = |name: &str| text(name).map(|text| truncate::chars(text, TEXT).to_owned());
    let count = |name: &str| value.get(name).and_then(Value::as_u64).unwrap_or_default();
    let is_set = |name: &str| value.get(name).and_then(Value::as_bool).unwrap_or_default();
    entry.label = text("label").map(|label| truncate::chars(label, LABEL).to_owned());
    entry.display_name = short("displayName");
    entry.subject = short("subject");
    entry.chat_type = short("chatType");
    entry.exec_node = short("execNode");
    entry.queue_mode = short("queueMode");
    entry.provider_override = short("providerOverride");
    entry.model_override = short("modelOverride");
    entry.model_provider = short("modelProvider");
    entry.model = short("model");
    entry.spawned_by = text("spawnedBy").and_then(|parent| key_of(config, agent, parent));
    entry.system_sent = is_set("systemSent");
    entry.aborted_last_run = is_set("abortedLastRun");
    entry.input_tokens = count("inputTokens");
    entry.output_tokens = count("outputTokens");
    entry.total_tokens = count("totalTokens");
    // There it is what the latest call had in its context.
    entry.context_used = entry.total_tokens;
    match route(value) {
        Ok(route) => entry.delivery_context = route,
        Err(why) => lost.push(("deliveryContext".to_owned(), why)),
    }
    Ok(Wanted { agent: agent.to_owned(), key, file, entry, lost })
}

/// Names a file in its directory, and nothing elsewhere.
fn is_plain(name: &str) -> bool {
    let sound = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !name.is_empty() && name.len() <= SESSION_ID && !name.starts_with('.') && name.bytes().all(sound)
}

/// Where its last message came from.
fn route(value: &Value) -> Result<Option<Route>, String> {
    let context = value.get("deliveryContext").unwrap_or(&Value::Null);
    let of = |place: &Value, name: &str| place.get(name).and_then(Value::as_str).map(str::trim).map(str::to_owned);
    let either = |own: &str, last: &str| of(context, own).or_else(|| of(value, last)).filter(|text| !text.is_empty());
    let (Some(channel), Some(to)) = (either("channel", "lastChannel"), either("to", "lastTo")) else { return Ok(None) };
    if channel == "webchat" {
        return Ok(None);
    }
    let Some(factory) = table::find(&channel) else { return Err(format!("there is no channel {}", shown(&channel))) };
    if to.chars().count() > TEXT {
        return Err("its target is too long".to_owned());
    }
    // A route here names a chat as the channel's own messages do, without the channel's name before it.
    let bare = factory.prefixes.iter().chain([&factory.id]).find_map(|prefix| {
        let rest = to.get(prefix.len()..)?.strip_prefix(':')?;
        to.get(..prefix.len()).filter(|start| start.eq_ignore_ascii_case(prefix)).map(|_| rest)
    });
    let mut to = bare.unwrap_or(&to).to_owned();
    let thread = context.get("threadId").or_else(|| value.get("lastThreadId"));
    let thread = thread.and_then(|id| id.as_u64().or_else(|| id.as_str()?.parse().ok()));
    // The general topic of a forum is the group itself.
    if let Some(thread) = thread.filter(|id| *id > 1 && to.starts_with('-') && !to.contains(':')) {
        to = format!("{to}:topic:{thread}");
    }
    let account_id = either("accountId", "lastAccountId").unwrap_or_else(|| "default".to_owned());
    Ok(Some(Route { channel, to, account_id }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(key: &str, value: &Value) -> Found {
        let text = json!({ key: value }).to_string();
        read(&Config::default(), "ops", text.as_bytes(), 1000).unwrap().remove(0)
    }

    #[test]
    fn an_entry_keeps_what_has_a_place() {
        let found = one(
            "agent:ops:telegram:group:-100:topic:7",
            &json!({
                "sessionId": "s-1", "updatedAt": 900, "label": "Work", "systemSent": true, "totalTokens": 30,
                "inputTokens": 20, "outputTokens": 10, "providerOverride": "anthropic", "modelOverride": "m",
                "thinkingLevel": "high", "verboseLevel": "loud", "sendPolicy": "deny", "groupActivation": "always",
                "sessionFile": "/home/x/.openclaw/agents/ops/sessions/s-1-topic-7.jsonl", "spawnedBy": "main",
                "deliveryContext": { "channel": "telegram", "to": "telegram:-100", "accountId": "work", "threadId": 7 },
                "skillsSnapshot": { "prompt": "x" }, "origin": { "provider": "telegram" },
            }),
        );
        let Wanted { key, file, entry, lost, .. } = found.unwrap();
        assert_eq!((key.as_str(), file.as_str()), ("agent:ops:telegram:group:-100:topic:7", "s-1-topic-7.jsonl"));
        assert_eq!((entry.updated_at, entry.label.as_deref(), entry.system_sent), (900, Some("Work"), true));
        assert_eq!((entry.input_tokens, entry.total_tokens, entry.context_used), (20, 30, 30));
        assert_eq!(
            (entry.provider_override.as_deref(), entry.model_override.as_deref()),
            (Some("anthropic"), Some("m"))
        );
        assert_eq!(entry.thinking_level.as_deref(), Some("high"));
        assert_eq!(
            (entry.send_policy, entry.group_activation),
            (Some(SendPolicy::Deny), Some(GroupActivation::Always))
        );
        assert_eq!(entry.spawned_by.as_deref(), Some("agent:ops:main"));
        let route = Route { channel: "telegram".into(), to: "-100:topic:7".into(), account_id: "work".into() };
        assert_eq!(entry.delivery_context, Some(route));
        assert_eq!((lost.len(), lost[0].0.as_str()), (1, "verboseLevel"));
    }

    #[test]
    fn s11_keys_and_files_are_those_of_this_gateway_or_none() {
        let entry = json!({ "sessionId": "a", "updatedAt": u64::MAX });
        for (key, right) in
            [("main", "agent:ops:main"), ("Chat", "agent:ops:chat"), ("agent:x:Y", "agent:x:y"), ("global", "global")]
        {
            let found = one(key, &entry).unwrap();
            assert_eq!((found.key.as_str(), found.entry.updated_at), (right, 0), "{key}");
        }
        for bad in ["", "a/b", "agent:x:../y"] {
            assert!(one(bad, &entry).is_err(), "{bad}");
        }
        for id in ["../x", "", ".x", "a/b"] {
            assert!(one("k", &json!({ "sessionId": id })).is_err(), "{id}");
        }
        let found = one("k", &json!({ "sessionId": "a", "sessionFile": "/etc/../passwd" })).unwrap();
        assert_eq!(found.file, "a.jsonl");
        assert!(one("k", &json!(5)).is_err());
    }

    #[test]
    fn a_route_without_its_channel_is_told() {
        let of = |channel: &str, to: &str| {
            one("k", &json!({ "sessionId": "a", "lastChannel": channel, "lastTo": to }))
                .map(|w| (w.entry.delivery_context, w.lost))
        };
        let (route, lost) = of("discord", "5").unwrap();
        assert_eq!((route, lost[0].1.as_str()), (None, "there is no channel discord"));
        let (route, lost) = of("telegram", "TG:42").unwrap();
        assert_eq!((route.unwrap().to.as_str(), lost.len()), ("42", 0));
        assert_eq!(of("webchat", "x").unwrap(), (None, vec![]));
    }
}
