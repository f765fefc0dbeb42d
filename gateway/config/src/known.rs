//! Model providers that need no entry (D37).

use crate::{ModelApi, ModelProvider};

/// A provider whose address is built in.
pub(crate) struct Known {
    /// Its id in `provider/model`.
    pub id: &'static str,
    /// Where it is.
    pub base_url: &'static str,
    /// What it speaks.
    pub api: ModelApi,
    /// The environment variables that may hold its key, the usual one first; none where it needs no key.
    pub variables: &'static [&'static str],
}

const fn known(id: &'static str, base_url: &'static str, variables: &'static [&'static str]) -> Known {
    Known { id, base_url, api: ModelApi::OpenaiCompletions, variables }
}

/// All of them; the addresses stand in their makers' documentation.
pub(crate) const KNOWN: [Known; 11] = [
    Known {
        id: "anthropic",
        base_url: "https://api.anthropic.com",
        api: ModelApi::AnthropicMessages,
        variables: &["ANTHROPIC_API_KEY"],
    },
    known("openai", "https://api.openai.com/v1", &["OPENAI_API_KEY"]),
    known("openrouter", "https://openrouter.ai/api/v1", &["OPENROUTER_API_KEY"]),
    known("google", "https://generativelanguage.googleapis.com/v1beta/openai", &["GEMINI_API_KEY", "GOOGLE_API_KEY"]),
    known("groq", "https://api.groq.com/openai/v1", &["GROQ_API_KEY"]),
    known("mistral", "https://api.mistral.ai/v1", &["MISTRAL_API_KEY"]),
    known("xai", "https://api.x.ai/v1", &["XAI_API_KEY"]),
    known("deepseek", "https://api.deepseek.com/v1", &["DEEPSEEK_API_KEY"]),
    known("moonshot", "https://api.moonshot.ai/v1", &["MOONSHOT_API_KEY"]),
    known("ollama", "http://127.0.0.1:11434/v1", &[]),
    known("lmstudio", "http://127.0.0.1:1234/v1", &[]),
];

/// Ids of all providers that need no entry, each with the environment variables that may hold its key (D37).
pub fn known_providers() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    KNOWN.iter().map(|known| (known.id, known.variables))
}

/// The provider of this id, when it is one of those.
pub(crate) fn find(id: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.id == id)
}

impl ModelProvider {
    /// Where the provider `id` is: as written, else as it is known.
    pub fn address(&self, id: &str) -> &str {
        let known = || find(id).map_or("", |known| known.base_url);
        if self.base_url.is_empty() { known() } else { &self.base_url }
    }
}
