//! Keys of models: where they are found, and which models lack one (D37).

use serde_json::{Map, Value, json};

use crate::{
    Config, ModelProvider, ModelRef, ModelsMode, Outside, Secret,
    known::{KNOWN, Known, find},
    model_named,
};

/// The file in an agent's own directory that holds its keys.
const FILE: &str = "auth-profiles.json";

/// That file in the directory that an agent has unless told otherwise, below the state directory.
fn profiles_file(agent: &str) -> String {
    format!("agents/{agent}/agent/{FILE}")
}

/// That file of an agent whose directory the configuration names.
pub(crate) fn named_profiles_file(agent_dir: &str) -> String {
    format!("{}/{FILE}", agent_dir.trim().trim_end_matches('/'))
}

/// An agent's own key.
pub(crate) struct OwnKey {
    agent: String,
    provider: String,
    key: String,
}

/// Keys in agents' own files: of `agents.list[].agentDir`, else below the state directory.
pub(crate) fn own_keys(value: &Value, outside: &dyn Outside) -> Vec<OwnKey> {
    if value.pointer("/models/mode").and_then(Value::as_str) == Some("replace") {
        return vec![];
    }
    let list = value.pointer("/agents/list").and_then(Value::as_array).into_iter().flatten();
    let text = |agent: &Value, key: &str| agent.get(key).and_then(Value::as_str).map(str::to_owned);
    let mut agents: Vec<(String, Option<String>)> =
        list.filter_map(|agent| Some((text(agent, "id")?.to_lowercase(), text(agent, "agentDir")))).collect();
    if agents.is_empty() {
        agents.push((crate::DEFAULT_AGENT.to_owned(), None));
    }
    let keys = agents.into_iter().flat_map(|(agent, dir)| {
        let text = match dir.filter(|dir| !dir.trim().is_empty()) {
            Some(dir) => outside.file(&named_profiles_file(&dir), None).ok().map(|(text, _)| text),
            None => outside.state_file(&profiles_file(&agent)),
        };
        let keys = text.map_or_else(Vec::new, |text| keys_in(&text));
        keys.into_iter().map(move |(provider, key)| OwnKey { agent: agent.clone(), provider, key })
    });
    keys.collect()
}

/// Completes providers with what is known of them: address, API, and a key from the environment or from an agent's own file,
/// where the configuration names none. Gives the keys that were found, and the providers whose keys are those of agents.
pub(crate) fn complete(
    value: &mut Value,
    outside: &dyn Outside,
    profiles: &[OwnKey],
) -> (Vec<String>, Vec<&'static str>) {
    if value.pointer("/models/mode").and_then(Value::as_str) == Some("replace") {
        return (vec![], vec![]);
    }
    let (mut found, mut of_agents) = (vec![], vec![]);
    for known in &KNOWN {
        let written = value.pointer(&format!("/models/providers/{}", known.id));
        let has_key = written.and_then(|p| p.get("apiKey")).and_then(Value::as_str).is_some_and(|key| !key.is_empty());
        let variable = || known.variables.iter().find_map(|name| outside.variable(name).filter(|key| !key.is_empty()));
        let profile = || profiles.iter().find(|own| own.provider == known.id).map(|own| own.key.clone());
        let general = if has_key { None } else { variable() };
        if !has_key && general.is_none() {
            of_agents.push(known.id);
        }
        let key = if has_key { None } else { general.or_else(profile) };
        found.extend(key.clone());
        let is_wanted = written.is_some() || key.is_some() || known.variables.is_empty();
        if let Some(entry) = is_wanted.then(|| entry_of(value, known.id)).flatten() {
            entry.entry("baseUrl").or_insert_with(|| json!(known.base_url));
            entry.entry("api").or_insert_with(|| json!(known.api));
            if let Some(key) = key {
                entry.insert("apiKey".to_owned(), Value::from(key));
            }
        }
    }
    (found, of_agents)
}

/// Gives each agent its own keys for these providers, beside the one that stands for agents without. Gives the keys.
pub(crate) fn give(config: &mut Config, providers: &[&str], keys: Vec<OwnKey>) -> Vec<String> {
    let mut given = vec![];
    for OwnKey { agent, provider, key } in keys.into_iter().filter(|own| providers.contains(&own.provider.as_str())) {
        if let Some(entry) = config.models.providers.get_mut(&provider) {
            given.push(key.clone());
            // The first of a file counts, as it does for all.
            entry.own_keys.entry(agent).or_insert_with(|| Secret::new(key));
        }
    }
    given
}

/// The entry of a provider, made when missing; nothing where something else stands in its way.
fn entry_of<'v>(value: &'v mut Value, id: &str) -> Option<&'v mut Map<String, Value>> {
    let mut place = value;
    for key in ["models", "providers", id] {
        place = place.as_object_mut()?.entry(key).or_insert_with(|| json!({}));
    }
    place.as_object_mut()
}

/// Keys in the text of a file of profiles, by provider, in the order of the file.
fn keys_in(text: &str) -> Vec<(String, String)> {
    let document: Value = serde_json::from_str(text).unwrap_or_default();
    let profiles = document.get("profiles").and_then(Value::as_object).into_iter().flatten();
    let key = |profile: &Value| {
        let text = |key: &str| profile.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        (text("type") == Some("api_key"))
            .then(|| Some((text("provider")?.to_owned(), text("key")?.to_owned())))
            .flatten()
    };
    profiles.filter_map(|(_, profile)| key(profile)).collect()
}

/// A model that the configuration names and that cannot be asked as it stands (D37).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusableModel {
    /// `provider/model`.
    pub model: String,
    /// What is missing.
    pub why: String,
    /// What to do about it; empty where `why` says it.
    pub fix: String,
}

impl UnusableModel {
    /// For a person, without what to do.
    pub fn text(&self) -> String {
        format!("the model {} cannot be asked: {}", self.model, self.why)
    }
}

/// Models that the configuration names and that cannot be asked as it stands, each once.
pub fn unusable_models(config: &Config) -> Vec<UnusableModel> {
    let mut found: Vec<UnusableModel> = vec![];
    let no_key = || "it has no key".to_owned();
    for model in named(config) {
        let provider = config.models.providers.get(&model.provider);
        let (why, fix) = match (provider, find(&model.provider)) {
            _ if model.provider == "builtin" => continue,
            (Some(provider), known) if provider.api_key.is_none() && needs_key(provider, known) => {
                let variable = known.and_then(|k| k.variables.first());
                let variable = variable.map(|name| format!("set {name} in the environment, or ")).unwrap_or_default();
                (no_key(), format!("{variable}set models.providers.{}.apiKey", model.provider))
            }
            (Some(_), _) => continue,
            (None, Some(known)) if config.models.mode == ModelsMode::Merge => {
                let variable = known.variables.first().copied().unwrap_or_default();
                let file = profiles_file(crate::DEFAULT_AGENT);
                let id = known.id;
                let fix = format!(
                    "set {variable} in the environment, or put one into {file} or models.providers.{id}.apiKey"
                );
                (no_key(), fix)
            }
            (None, _) => (format!("there is no models.providers.{}", model.provider), String::new()),
        };
        let unusable = UnusableModel { model: model.to_string(), why, fix };
        if !found.contains(&unusable) {
            found.push(unusable);
        }
    }
    found
}

/// The same as warnings about the file.
pub(crate) fn without_credential(config: &Config) -> Vec<String> {
    let told = unusable_models(config).into_iter().map(|model| match model.fix.as_str() {
        "" => model.text(),
        fix => format!("{}: {fix}", model.text()),
    });
    told.collect()
}

/// A server on this machine or with headers of its own may do without a key.
fn needs_key(provider: &ModelProvider, known: Option<&Known>) -> bool {
    known.is_some_and(|known| !known.variables.is_empty())
        && provider.headers.is_empty()
        && (provider.base_url.is_empty() || known.is_some_and(|known| known.base_url == provider.base_url))
}

/// Every model that an agent is to ask, aliases resolved.
fn named(config: &Config) -> Vec<ModelRef> {
    let own = config.agents.list.iter().filter_map(|agent| agent.model.as_ref());
    let choices = config.agents.defaults.model.iter().chain(own);
    let names = choices.flat_map(|choice| {
        let (primary, fallbacks) = choice.refs();
        primary.into_iter().map(str::to_owned).chain(fallbacks.iter().cloned()).collect::<Vec<_>>()
    });
    names.filter_map(|name| model_named(config, &name)).collect()
}

/// A key that is empty is one that is not set.
pub(crate) fn drop_empty_keys(config: &mut Config) {
    for provider in config.models.providers.values_mut() {
        provider.api_key = provider.api_key.take().filter(|key| !key.expose().trim().is_empty());
    }
}
