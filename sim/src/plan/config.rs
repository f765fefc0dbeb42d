use openclaw_config::{Config, Problem};
use serde_json::{Value, json};

use super::draw::vary;
use crate::{
    run::{MODEL_PORT, TELEGRAM_PORT, TOKEN},
    scenario::Scenario,
};

/// What the gateway shows the model server.
const MODEL_KEY: &str = "sim-model-key";
/// What it shows the Bot API.
const BOT_TOKEN: &str = "111111:simulated";

/// Credentials in a configuration file: nobody may ever be shown one.
pub(super) fn credentials(text: &str) -> Vec<String> {
    fn of(value: &Value, found: &mut Vec<String>) {
        let Value::Object(members) = value else { return };
        for (key, value) in members {
            match value {
                Value::String(secret) if matches!(key.as_str(), "token" | "password" | "apiKey" | "botToken") => {
                    found.push(secret.clone());
                }
                other => of(other, found),
            }
        }
    }
    let mut found = Vec::new();
    if let Ok(value) = openclaw_config::read_value(text) {
        of(&value, &mut found);
    }
    found
}

/// The gateway's configuration file of a scenario. `resends`: unless the scenario says otherwise, messages whose fate is
/// unknown are sent again.
///
/// # Errors
/// What is wrong with it.
pub fn config(scenario: &Scenario, resends: bool) -> Result<String, String> {
    let mut value = json!({
        // Clients come from another address, so the shared token alone is good enough only by choice (D8).
        "gateway": { "mode": "local", "auth": { "mode": "token", "token": TOKEN, "allowDeviceless": true } },
        "agents": { "defaults": { "model": { "primary": "builtin/echo" }, "workspace": "/workspace" } },
    });
    if let Some(model) = &scenario.model {
        let (api, path) = if model.anthropic { ("anthropic-messages", "") } else { ("openai-completions", "/v1") };
        let base = format!("http://model:{MODEL_PORT}{path}");
        let provider = json!({ "baseUrl": base, "apiKey": MODEL_KEY, "api": api, "models": [{ "id": "mock-1", "name": "mock-1" }] });
        merge(&mut value, json!({ "models": { "providers": { "mock": provider } } }));
        merge(&mut value, json!({ "agents": { "defaults": { "model": { "primary": "mock/mock-1" } } } }));
    }
    if let Some(section) = &scenario.telegram {
        let telegram = json!({
            "apiRoot": format!("http://telegram:{TELEGRAM_PORT}"), "botToken": BOT_TOKEN,
            // The first one is the owner (D46).
            "dmPolicy": "open", "allowFrom": ["1", "*"],
        });
        merge(&mut value, json!({ "channels": { "telegram": telegram } }));
        for id in &section.accounts {
            let root = format!("http://{}:{TELEGRAM_PORT}", crate::run::host_of(id));
            let account = json!({ "apiRoot": root, "botToken": format!("222222:simulated-{id}") });
            merge(&mut value, json!({ "channels": { "telegram": { "accounts": { id: account } } } }));
        }
        // By default a message that was being sent when the gateway died is left to a person (D49): most seeds try that.
        if resends {
            merge(&mut value, json!({ "messages": { "delivery": { "resendUnknown": true } } }));
        }
    }
    if !scenario.gateway.config.trim().is_empty() {
        let own = openclaw_config::read_value(&scenario.gateway.config).map_err(|e| e.to_string())?;
        merge(&mut value, own);
    }
    merge(&mut value, json!({ "gateway": { "limits": scenario.gateway.limits } }));
    let text = serde_json::to_string_pretty(&value).map_err(|e| e.to_string())?;
    config_of(&text)?;
    Ok(text)
}

/// Every value that a swarm may give to a setting fits by itself into a scenario's configuration.
///
/// # Errors
/// The first that does not, by its path.
pub fn settings_fit(scenario: &Scenario) -> Result<(), String> {
    for (path, values) in scenario.swarm.iter().flat_map(|swarm| &swarm.settings) {
        if values.is_empty() {
            return Err(format!("{path}: no value to choose from"));
        }
        for value in values {
            let mut with = scenario.clone();
            let fits = vary::set(&mut with, path, value).and_then(|()| config(&with, false));
            fits.map_err(|why| format!("{path} = {value}: {why}"))?;
        }
    }
    Ok(())
}

/// A configuration text as types.
///
/// # Errors
/// All its problems.
pub fn config_of(text: &str) -> Result<Config, String> {
    let no_environment = |_: &str| None;
    match openclaw_config::parse(text, &no_environment) {
        Ok(loaded) => Ok(loaded.config),
        Err(problems) => Err(problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; ")),
    }
}

/// Lays `over` on `base`: objects are joined, everything else is replaced.
pub fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}
