//! agents.list, agent.identity.get, models.list.

use std::sync::Arc;

use openclaw_config::Identity;
use openclaw_protocol::params::{AgentIdentity, AgentIdentityParams, AgentRow, AgentsList, Empty, ModelsList};
use serde_json::Value;

use crate::{
    dispatch::{Call, Reply},
    failure::Failure,
    providers::Providers,
    sessions::key,
    settings::Settings,
};

/// What these methods use.
pub struct Deps {
    /// Model providers.
    pub providers: Arc<Providers>,
    /// The configuration in force.
    pub settings: Settings,
}

pub async fn list(deps: Arc<Deps>, _: Call, _: Empty) -> Result<Reply<AgentsList>, Failure> {
    let config = deps.settings.get();
    let agents = key::agent_ids(&config)
        .into_iter()
        .map(|id| {
            let entry = config.agent(id);
            let identity = entry.and_then(|a| a.identity.as_ref()).map(shown);
            AgentRow { id: id.to_owned(), name: entry.and_then(|a| a.name.clone()), identity }
        })
        .collect();
    Ok(AgentsList {
        default_id: key::default_agent(&config).to_owned(),
        main_key: config.session.main_key.clone(),
        scope: openclaw_protocol::connect::wire_name(&config.session.scope),
        agents,
    }
    .into())
}

/// What is said of an agent, and nothing of what is not.
fn shown(identity: &Identity) -> Value {
    let Identity { name, theme, emoji, avatar } = identity;
    let all = [("name", name), ("theme", theme), ("emoji", emoji), ("avatar", avatar)];
    let said = all.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text.clone()?.into())));
    Value::Object(said.collect())
}

pub async fn identity(deps: Arc<Deps>, _: Call, params: AgentIdentityParams) -> Result<Reply<AgentIdentity>, Failure> {
    let config = deps.settings.get();
    let key = params.session_key.as_deref().and_then(|k| key::canonical(&config, k));
    let asked = params.agent_id.as_ref().map(|a| a.as_str().trim().to_lowercase());
    let id = asked.or_else(|| key.as_deref().map(|k| key::agent_of(&config, k).to_owned()));
    let id = id.unwrap_or_else(|| key::default_agent(&config).to_owned());
    let entry = config.agent(&id);
    let shown = entry.and_then(|a| a.identity.as_ref());
    let name = shown.and_then(|i| i.name.clone()).or_else(|| entry.and_then(|a| a.name.clone()));
    let name = name.unwrap_or_else(|| "Assistant".into());
    let avatar = shown.and_then(|i| i.avatar.clone().or_else(|| i.emoji.clone()));
    let avatar = avatar.unwrap_or_else(|| name.chars().take(1).flat_map(char::to_uppercase).collect());
    Ok(AgentIdentity { agent_id: id, name, avatar }.into())
}

pub async fn models(deps: Arc<Deps>, _: Call, _: Empty) -> Result<Reply<ModelsList>, Failure> {
    Ok(ModelsList { models: deps.providers.list() }.into())
}
