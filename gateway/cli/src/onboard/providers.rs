//! Model providers as people choose them.

use openclaw_config::known_providers;

/// The choice that is none: the built-in model goes on answering (D35).
pub const NONE: &str = "skip";

/// Which model to begin with, where the provider has one that is meant for everybody. Only a suggestion: it is checked, and a person
/// can name another.
const SUGGESTED: [(&str, &str); 9] = [
    ("anthropic", "claude-sonnet-4-5"),
    ("openai", "gpt-5.1"),
    ("openrouter", "anthropic/claude-sonnet-4.5"),
    ("google", "gemini-2.5-flash"),
    ("groq", "llama-3.3-70b-versatile"),
    ("mistral", "mistral-large-latest"),
    ("xai", "grok-4"),
    ("deepseek", "deepseek-chat"),
    ("moonshot", "kimi-latest"),
];

/// The provider that a word of the command line means: its id, or a name that scripts have for it. `None` is [`NONE`].
pub fn id(choice: &str) -> Option<String> {
    let word = choice.trim().to_lowercase();
    let word = word.strip_suffix("-api-key").unwrap_or(&word);
    match word {
        NONE | "none" | "echo" | "builtin" | "" => None,
        "apikey" | "claude" | "token" => Some("anthropic".to_owned()),
        "gemini" => Some("google".to_owned()),
        other => Some(other.to_owned()),
    }
}

/// The model that is suggested for a provider.
pub fn suggested(provider: &str) -> Option<&'static str> {
    SUGGESTED.iter().find(|(id, _)| *id == provider).map(|(_, model)| *model)
}

/// The environment variables that may hold the provider's key; none for one that needs no key or is not known.
pub fn variables(provider: &str) -> &'static [&'static str] {
    known_providers().find(|(id, _)| *id == provider).map_or(&[], |(_, variables)| variables)
}

/// True for a provider that needs no entry.
pub fn is_known(provider: &str) -> bool {
    known_providers().any(|(id, _)| id == provider)
}

/// All of them, for people.
pub fn all() -> Vec<&'static str> {
    known_providers().map(|(id, _)| id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d37_choices_are_providers_and_the_names_that_scripts_have() {
        assert_eq!(id("openai-api-key").as_deref(), Some("openai"));
        assert_eq!(id("apiKey").as_deref(), Some("anthropic"));
        assert_eq!(id("gemini-api-key").as_deref(), Some("google"));
        assert_eq!((id("skip"), id("none")), (None, None));
        for (provider, _) in SUGGESTED {
            assert!(is_known(provider), "{provider}");
        }
        assert!(variables("anthropic").contains(&"ANTHROPIC_API_KEY") && variables("ollama").is_empty());
    }
}
