use openclaw_config::Secret;

use crate::access::{AccessRules, DmPolicy, bare_id};

/// Prefixes that people put before ids.
pub(super) const PREFIXES: &[&str] = &["telegram:", "tg:"];
/// Telegram's own Bot API server.
pub const DEFAULT_API_ROOT: &str = "https://api.telegram.org";
/// Characters (UTF-16 units) per message; Telegram's own limit is 4096.
pub const DEFAULT_TEXT_CHUNK: usize = 4000;
/// Largest attachment that is downloaded.
pub const DEFAULT_MEDIA_MAX: usize = 5 << 20;

/// Settings of one Telegram account, as plain data.
#[derive(Debug, Clone)]
pub struct TelegramOptions {
    /// `default` when there is only one.
    pub account_id: String,
    /// Switched on.
    pub enabled: bool,
    /// Bot token.
    pub token: Secret,
    /// `config`, `env`, `file` or `none`.
    pub token_source: String,
    /// Address of the Bot API server, without a slash at the end (D30).
    pub api_root: String,
    /// Who may write to the agent.
    pub access: AccessRules,
    /// UTF-16 units per message, 1 to 4096.
    pub text_chunk_limit: usize,
    /// Largest attachment that is downloaded, in bytes.
    pub media_max_bytes: usize,
    /// Telegram shows previews of links.
    pub link_preview: bool,
}

impl Default for TelegramOptions {
    fn default() -> Self {
        Self {
            account_id: "default".to_owned(),
            enabled: true,
            token: Secret::default(),
            token_source: "none".to_owned(),
            api_root: DEFAULT_API_ROOT.to_owned(),
            access: AccessRules::default(),
            text_chunk_limit: DEFAULT_TEXT_CHUNK,
            media_max_bytes: DEFAULT_MEDIA_MAX,
            link_preview: true,
        }
    }
}

impl TelegramOptions {
    /// What is wrong with these settings, for the operator; the texts begin with the place under `channels.telegram`.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (place, list) in self.access.lists() {
            for entry in list {
                let id = bare_id(entry, PREFIXES);
                if id != "*" && id.parse::<i64>().is_err() {
                    problems.push(format!(
                        "{place}: {entry:?} is not a numeric Telegram id and matches nobody (a user name can change \
                         hands, so names are not accepted)"
                    ));
                }
            }
        }
        for id in self.access.groups.keys() {
            if id != "*" && id.parse::<i64>().is_err() {
                problems.push(format!("groups: {id:?} is neither a numeric chat id nor \"*\""));
            }
        }
        let open_to_all = self.access.allow_from.iter().any(|entry| entry.trim() == "*");
        if self.access.dm_policy == DmPolicy::Open && !open_to_all {
            problems.push("dmPolicy: \"open\" lets everybody in and needs \"*\" in allowFrom to say so".to_owned());
        }
        if !(1..=4096).contains(&self.text_chunk_limit) {
            problems.push(format!("textChunkLimit: expected 1 to 4096, found {}", self.text_chunk_limit));
        }
        let root = self.api_root.parse::<http::Uri>().ok();
        let scheme = root.as_ref().and_then(http::Uri::scheme_str);
        if !matches!(scheme, Some("http" | "https")) || root.as_ref().and_then(http::Uri::host).is_none() {
            problems.push("apiRoot: expected an http or https address".to_owned());
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{ChatRule, GroupRule};

    #[test]
    fn s15_user_names_on_lists_are_reported() {
        let mut options = TelegramOptions::default();
        assert_eq!(options.problems(), Vec::<String>::new());
        options.access.allow_from = ["123", "telegram:123", "TG:5", "*", "@ann"].map(str::to_owned).into();
        let chat = ChatRule { allow_from: Some(vec!["bob".into()]), ..ChatRule::default() };
        options.access.groups = [("-100".to_owned(), GroupRule { chat, ..GroupRule::default() })].into();
        options.access.groups.insert("family".into(), GroupRule::default());
        let problems = options.problems();
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems[0].starts_with("allowFrom: \"@ann\""), "{problems:?}");
        assert!(problems[1].starts_with("groups.-100.allowFrom: \"bob\""), "{problems:?}");
        assert!(problems[2].starts_with("groups: \"family\""), "{problems:?}");
    }

    #[test]
    fn other_mistakes_are_reported() {
        let mut options = TelegramOptions { api_root: "ftp://x".into(), text_chunk_limit: 0, ..Default::default() };
        options.access.dm_policy = DmPolicy::Open;
        let problems = options.problems().join("\n");
        for place in ["apiRoot", "textChunkLimit", "dmPolicy"] {
            assert!(problems.contains(place), "{problems}");
        }
    }
}
