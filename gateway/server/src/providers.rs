//! Model providers out of the configuration.

use std::{collections::BTreeMap, sync::Arc};

use openclaw_agent::{
    provider::{Anthropic, Echo, Endpoint, OpenAi, Provider},
    turn::ModelChoice,
};
use openclaw_config::{Config, ModelApi, ModelDef, ModelProvider, ModelRef, Secret};
use openclaw_platform::{Platform, http::HttpClient};
use openclaw_protocol::params::ModelRow;

use crate::settings::Settings;

/// The built-in provider (D35).
const BUILTIN: &str = "builtin";

/// Makes providers.
pub struct Providers {
    http: HttpClient,
    settings: Settings,
}

impl Providers {
    /// On the platform's transport.
    pub fn new(platform: &Platform, settings: Settings) -> Self {
        Self { http: HttpClient::new(platform), settings }
    }

    /// The model ready to be asked by `agent`, with its own key where it has one.
    ///
    /// # Errors
    /// Why it cannot be, for the operator.
    pub fn choice(&self, model: &ModelRef, agent: &str) -> Result<ModelChoice, String> {
        if model.provider == BUILTIN {
            return Ok(ModelChoice { provider: Arc::new(Echo), model: model.model.clone(), max_tokens: None });
        }
        let config = self.settings.get();
        let (provider, definition) = definition(&config, model);
        let Some(provider) = provider else {
            return Err(format!("no model credentials for provider \"{}\": add models.providers.{0}", model.provider));
        };
        let mut headers: BTreeMap<_, _> = provider.headers.clone();
        headers.extend(definition.iter().flat_map(|d| d.headers.clone()));
        let mut key = provider.own_keys.get(agent).or(provider.api_key.as_ref()).cloned();
        if let (Some(true), Some(token)) = (provider.auth_header, key.take_if(|_| provider.auth_header == Some(true))) {
            headers.insert("authorization".into(), Secret::new(format!("Bearer {}", token.expose())));
        }
        let id = model.provider.clone();
        let endpoint =
            Endpoint::new(self.http.clone(), provider.address(&id), key, &headers).map_err(|e| e.to_string())?;
        let api = definition.and_then(|d| d.api).or(provider.api).unwrap_or(ModelApi::OpenaiCompletions);
        let provider: Arc<dyn Provider> = match api {
            ModelApi::OpenaiCompletions => Arc::new(OpenAi::new(id, endpoint)),
            ModelApi::AnthropicMessages => Arc::new(Anthropic::new(id, endpoint)),
            other => {
                let name = openclaw_protocol::connect::wire_name(&other);
                return Err(format!(
                    "models.providers.{id}.api: {name} is not served; use openai-completions or anthropic-messages"
                ));
            }
        };
        let max_tokens = definition.and_then(|d| d.max_tokens).and_then(|n| u32::try_from(n).ok());
        Ok(ModelChoice { provider, model: model.model.clone(), max_tokens })
    }

    /// Tokens that fit into the model's context, as far as configured.
    pub fn context_window(&self, model: &ModelRef) -> Option<u64> {
        let config = self.settings.get();
        definition(&config, model).1.and_then(|d| d.context_window).or(config.agents.defaults.context_tokens)
    }

    /// All configured models.
    pub fn list(&self) -> Vec<ModelRow> {
        let echo = ModelRow {
            id: "echo".into(),
            name: "Echo (built in)".into(),
            provider: BUILTIN.into(),
            context_window: None,
            reasoning: Some(false),
            input: Some(vec!["text".into()]),
        };
        let config = self.settings.get();
        let configured = config.models.providers.iter().flat_map(|(id, provider)| {
            provider.models.iter().map(|m| ModelRow {
                id: m.id.clone(),
                name: m.name.clone().unwrap_or_else(|| m.id.clone()),
                provider: id.clone(),
                context_window: m.context_window,
                reasoning: Some(m.reasoning),
                input: Some(m.input.iter().map(openclaw_protocol::connect::wire_name).collect()),
            })
        });
        configured.chain(std::iter::once(echo)).collect()
    }
}

fn definition<'c>(config: &'c Config, model: &ModelRef) -> (Option<&'c ModelProvider>, Option<&'c ModelDef>) {
    let provider = config.models.providers.get(&model.provider);
    (provider, provider.and_then(|p| p.models.iter().find(|m| m.id == model.model)))
}
