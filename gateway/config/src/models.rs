use std::collections::BTreeMap;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Secret;

/// `models`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Models {
    /// Whether `providers` adds to what is built in.
    pub mode: ModelsMode,
    /// Providers by id.
    pub providers: IndexMap<String, ModelProvider>,
    /// Discovery at Bedrock.
    pub bedrock_discovery: Option<Value>,
}

/// Whether `providers` adds to what is built in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ModelsMode {
    /// It adds.
    #[default]
    Merge,
    /// Nothing else is known.
    Replace,
}

/// One provider of models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelProvider {
    /// `https://host/v1`, without the endpoint; providers that are known need none (D37).
    #[serde(default)]
    pub base_url: String,
    /// Key.
    pub api_key: Option<Secret>,
    /// Keys of single agents, by their ids, which count before it. They stand in files of the agents' own, never here.
    #[serde(skip)]
    pub own_keys: BTreeMap<String, Secret>,
    /// How the key is sent.
    pub auth: Option<Value>,
    /// Which API it speaks; unset means `openai-completions`.
    pub api: Option<ModelApi>,
    /// Extra HTTP headers.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Send the key as `Authorization: Bearer`.
    pub auth_header: Option<bool>,
    /// Its models.
    #[serde(default)]
    pub models: Vec<ModelDef>,
}

/// A language that a provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ModelApi {
    /// `POST /chat/completions`.
    OpenaiCompletions,
    /// `POST /responses`.
    OpenaiResponses,
    /// `POST /v1/messages`.
    AnthropicMessages,
    /// Gemini.
    GoogleGenerativeAi,
    /// GitHub Copilot.
    GithubCopilot,
    /// Bedrock.
    BedrockConverseStream,
}

/// One model of a provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelDef {
    /// Id at the provider.
    pub id: String,
    /// Name for people.
    pub name: Option<String>,
    /// Another API than the provider's.
    pub api: Option<ModelApi>,
    /// It can think.
    #[serde(default)]
    pub reasoning: bool,
    /// What it reads; empty means text.
    #[serde(default)]
    pub input: Vec<ModelInput>,
    /// Price per million tokens.
    #[serde(default)]
    pub cost: ModelCost,
    /// Tokens it can see.
    pub context_window: Option<u64>,
    /// Tokens it can write.
    pub max_tokens: Option<u64>,
    /// Extra HTTP headers.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Deviations from the API.
    pub compat: Option<Value>,
}

/// What a model reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ModelInput {
    /// Text.
    Text,
    /// Images.
    Image,
}

/// Price per million tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelCost {
    /// Read.
    pub input: f64,
    /// Written.
    pub output: f64,
    /// Read from the cache.
    pub cache_read: f64,
    /// Written to the cache.
    pub cache_write: f64,
}
