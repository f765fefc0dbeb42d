use std::fmt;

use serde_json::Value;

use crate::{Config, ModelChoice};

/// `provider/model`: the provider is everything before the first slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRef {
    /// Provider id.
    pub provider: String,
    /// Model id at the provider; may hold slashes.
    pub model: String,
}

impl ModelRef {
    /// Reads `provider/model`; `None` when either part is missing.
    pub fn parse(text: &str) -> Option<Self> {
        let (provider, model) = text.trim().split_once('/')?;
        let (provider, model) = (provider.trim(), model.trim());
        (!provider.is_empty() && !model.is_empty())
            .then(|| Self { provider: provider.to_owned(), model: model.to_owned() })
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

/// What a run asks first, and what after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedModel {
    /// Asked first.
    pub primary: ModelRef,
    /// Then these, in order, each once.
    pub fallbacks: Vec<ModelRef>,
}

impl ModelChoice {
    /// Primary (when set) and fallbacks as written.
    pub fn refs(&self) -> (Option<&str>, &[String]) {
        match self {
            Self::One(model) => (Some(model), &[]),
            Self::List(list) => (list.primary.as_deref(), &list.fallbacks),
        }
    }
}

/// The model of `agent` (its own, else `agents.defaults.model`). `None` when nothing is configured: there is no silent
/// default, a run then fails with a message that says what to configure.
pub fn resolve_model(config: &Config, agent: &str) -> Option<ResolvedModel> {
    let own = config.agent(agent).and_then(|a| a.model.as_ref());
    let default = config.agents.defaults.model.as_ref();
    let (own_primary, own_fallbacks) = own.map_or((None, &[][..]), ModelChoice::refs);
    let (default_primary, default_fallbacks) = default.map_or((None, &[][..]), ModelChoice::refs);
    let primary = model_named(config, own_primary.or(default_primary)?)?;
    let names = if own_fallbacks.is_empty() { default_fallbacks } else { own_fallbacks };
    let mut fallbacks: Vec<ModelRef> = vec![];
    for model in names.iter().filter_map(|name| model_named(config, name)) {
        if model != primary && !fallbacks.contains(&model) {
            fallbacks.push(model);
        }
    }
    Some(ResolvedModel { primary, fallbacks })
}

/// The model that a name means.
pub fn model_named(config: &Config, name: &str) -> Option<ModelRef> {
    let name = name.trim();
    aliased(config, name).or_else(|| ModelRef::parse(name))
}

/// The model that has this alias, upper and lower case alike.
fn aliased(config: &Config, name: &str) -> Option<ModelRef> {
    let models = config.agents.defaults.models.as_ref()?.as_object()?;
    let has_it = |settings: &Value| {
        settings.get("alias").and_then(Value::as_str).is_some_and(|alias| alias.trim().eq_ignore_ascii_case(name))
    };
    models.iter().find(|(_, settings)| has_it(settings)).and_then(|(model, _)| ModelRef::parse(model))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d37_a_name_without_a_slash_is_an_alias() {
        let text = "{agents:{defaults:{models:{'p/long-name':{alias:'Quick'},'p/other':{}}}}}";
        let config = crate::parse(text, &|_| None).unwrap().config;
        let of = |name: &str| model_named(&config, name).map(|m| m.to_string());
        assert_eq!(of(" quick "), Some("p/long-name".into()));
        assert_eq!(of("p/other"), Some("p/other".into()));
        assert_eq!(of("slow"), None);
    }
}
