mod group_tools;

use std::collections::BTreeMap;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use group_tools::InGroup;

use crate::{DmPolicy, GroupPolicy, Secret, ToolRules, bounds};

/// The account id of a bot configured without `accounts`.
pub const DEFAULT_ACCOUNT: &str = "default";

/// `channels.telegram`, and each entry of its `accounts`: an account's keys beat the channel's.
/// Read it through [`Telegram::accounts`], which has the defaults filled in.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Telegram {
    /// Switched on; unset means on.
    pub enabled: Option<bool>,
    /// Name for people.
    pub name: Option<String>,
    /// The bot's token; `TELEGRAM_BOT_TOKEN` stands in for the default account.
    pub bot_token: Option<Secret>,
    /// File that holds the token.
    pub token_file: Option<String>,
    /// Bot API server (D30); unset means `https://api.telegram.org`.
    pub api_root: Option<String>,
    /// Whom the agent answers in private chats.
    pub dm_policy: Option<DmPolicy>,
    /// Numeric user ids, or `*` (S15).
    pub allow_from: Option<Vec<ListEntry>>,
    /// Whom the agent answers in groups.
    pub group_policy: Option<GroupPolicy>,
    /// Numeric user ids for groups; unset means `allowFrom`.
    pub group_allow_from: Option<Vec<ListEntry>>,
    /// Groups by chat id; `*` is all others.
    pub groups: Option<IndexMap<String, TelegramGroup>>,
    /// Longest message sent, characters.
    #[serde(deserialize_with = "bounds::within_opt::<1, 4096, _>")]
    #[schemars(range(min = 1, max = 4096))]
    pub text_chunk_limit: Option<u64>,
    /// Where long messages are cut.
    pub chunk_mode: Option<ChunkMode>,
    /// Whether a reply is shown while it is written.
    pub stream_mode: Option<StreamMode>,
    /// Show previews of links.
    pub link_preview: Option<bool>,
    /// Which messages a reply points at.
    pub reply_to_mode: Option<ReplyToMode>,
    /// Largest attachment.
    #[serde(deserialize_with = "bounds::within_opt::<1, 2048, _>")]
    #[schemars(range(min = 1, max = 2048))]
    pub media_max_mb: Option<u64>,
    /// Attempts for passing faults.
    pub retry: Option<Retry>,
    /// Bound of one API call.
    #[serde(deserialize_with = "bounds::within_opt::<1, 600, _>")]
    #[schemars(range(min = 1, max = 600))]
    pub timeout_seconds: Option<u64>,
    /// Proxy URL.
    pub proxy: Option<Secret>,
    /// Several bots, by account id.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub accounts: IndexMap<String, Telegram>,
    /// Earlier group messages given to the agent.
    #[serde(deserialize_with = "bounds::within_opt::<0, 1000, _>")]
    #[schemars(range(min = 0, max = 1000))]
    pub history_limit: Option<u64>,
    /// Earlier private messages given to the agent.
    pub dm_history_limit: Option<u64>,
    /// Limits by person.
    pub dms: Option<Value>,
    /// Extra commands of the menu.
    pub custom_commands: Option<Value>,
    /// Command menu.
    pub commands: Option<Value>,
    /// Buttons.
    pub capabilities: Option<Value>,
    /// What the agent may do besides sending.
    pub actions: Option<Value>,
    /// Which reactions reach the agent.
    pub reaction_notifications: Option<Value>,
    /// Which reactions the agent uses.
    pub reaction_level: Option<Value>,
    /// Webhook instead of polling.
    pub webhook_url: Option<String>,
    /// Its secret (S15).
    pub webhook_secret: Option<Secret>,
    /// Its path.
    pub webhook_path: Option<String>,
    /// Write settings when a group moves.
    pub config_writes: Option<bool>,
    /// Markdown tables.
    pub markdown: Option<Value>,
    /// Sending of text blocks as they come.
    pub block_streaming: Option<bool>,
    /// Joining of small blocks.
    pub block_streaming_coalesce: Option<Value>,
    /// Sizes of draft updates.
    pub draft_chunk: Option<Value>,
    /// Network settings.
    pub network: Option<Value>,
    /// Heartbeat visibility.
    pub heartbeat: Option<Value>,
    /// Text before each reply.
    pub response_prefix: Option<String>,
}

/// A number or a string in a list of people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ListEntry {
    /// `42`
    Number(i64),
    /// `"42"`, `"telegram:42"`, `"*"`
    Text(String),
}

impl ListEntry {
    /// The id or `*`, without spaces and prefix (`telegram:`, `tg:`).
    pub fn id(&self) -> String {
        match self {
            Self::Number(n) => n.to_string(),
            Self::Text(text) => {
                let text = text.trim();
                let plain = text.strip_prefix("telegram:").or_else(|| text.strip_prefix("tg:")).unwrap_or(text);
                plain.to_owned()
            }
        }
    }
}

/// One group of `channels.telegram.groups`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct TelegramGroup {
    /// Answer here at all.
    pub enabled: Option<bool>,
    /// Only messages that mention the bot or answer it; unset means true.
    pub require_mention: Option<bool>,
    /// Another policy.
    pub group_policy: Option<GroupPolicy>,
    /// Numeric user ids; unset means the account's list.
    pub allow_from: Option<Vec<ListEntry>>,
    /// Topics by thread id.
    pub topics: IndexMap<String, TelegramTopic>,
    /// Added to the system prompt.
    pub system_prompt: Option<String>,
    /// Skills.
    pub skills: Option<Value>,
    /// What runs here may call; all other rules hold as well.
    pub tools: Option<ToolRules>,
    /// The same by who wrote: a numeric user id, or `*` for all others.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tools_by_sender: BTreeMap<String, ToolRules>,
}

/// One topic of a group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct TelegramTopic {
    /// Answer here at all.
    pub enabled: Option<bool>,
    /// Unset means as the group says.
    pub require_mention: Option<bool>,
    /// Another policy.
    pub group_policy: Option<GroupPolicy>,
    /// Numeric user ids; unset means the group's list.
    pub allow_from: Option<Vec<ListEntry>>,
    /// Added to the system prompt.
    pub system_prompt: Option<String>,
    /// Skills.
    pub skills: Option<Value>,
    /// What runs here may call; the group's rules hold as well.
    pub tools: Option<ToolRules>,
    /// The same by who wrote.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tools_by_sender: BTreeMap<String, ToolRules>,
}

/// Where long messages are cut.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChunkMode {
    /// At the limit.
    #[default]
    Length,
    /// At paragraphs.
    Newline,
}

/// Whether a reply is shown while it is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StreamMode {
    /// Only when finished.
    Off,
    /// As it grows.
    #[default]
    Partial,
    /// Block by block.
    Block,
}

/// Which messages a reply points at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReplyToMode {
    /// None.
    #[default]
    Off,
    /// The first part of a reply.
    First,
    /// Every part.
    All,
}

/// Attempts for passing faults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Retry {
    /// In all.
    #[serde(deserialize_with = "bounds::within::<1, 10, _>")]
    #[schemars(range(min = 1, max = 10))]
    pub attempts: u64,
    /// First wait.
    #[serde(deserialize_with = "bounds::within::<1, 60000, _>")]
    #[schemars(range(min = 1, max = 60000))]
    pub min_delay_ms: u64,
    /// Longest wait.
    #[serde(deserialize_with = "bounds::within::<1, 600000, _>")]
    #[schemars(range(min = 1, max = 600_000))]
    pub max_delay_ms: u64,
    /// Share of a wait that is random.
    pub jitter: f64,
}

/// One bot with the defaults filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct TelegramAccount {
    /// `default`, or the key under `accounts`.
    pub id: String,
    /// Name for people.
    pub name: Option<String>,
    /// Switched on.
    pub enabled: bool,
    /// Token from the configuration; the caller adds file and environment.
    pub bot_token: Option<Secret>,
    /// File that holds the token.
    pub token_file: Option<String>,
    /// Bot API server, without a slash at the end.
    pub api_root: String,
    /// Whom the agent answers in private chats.
    pub dm_policy: DmPolicy,
    /// Numeric ids or `*`.
    pub allow_from: Vec<String>,
    /// Whom the agent answers in groups.
    pub group_policy: GroupPolicy,
    /// Numeric ids or `*`.
    pub group_allow_from: Vec<String>,
    /// Groups by chat id; `*` is all others; `None` means that every group counts as listed.
    pub groups: Option<IndexMap<String, TelegramGroup>>,
    /// Longest message sent, characters.
    pub text_chunk_limit: usize,
    /// Where long messages are cut.
    pub chunk_mode: ChunkMode,
    /// Whether a reply is shown while it is written.
    pub stream_mode: StreamMode,
    /// Show previews of links.
    pub link_preview: bool,
    /// Which messages a reply points at.
    pub reply_to_mode: ReplyToMode,
    /// Largest attachment.
    pub media_max_mb: u64,
    /// Attempts for passing faults.
    pub retry: Retry,
    /// Bound of one API call.
    pub timeout_seconds: Option<u64>,
    /// Proxy URL.
    pub proxy: Option<Secret>,
    /// Earlier group messages given to the agent.
    pub history_limit: Option<u64>,
}

impl Telegram {
    /// Every bot: the entries of `accounts`, or the channel itself as `default` when there are none or when it has a
    /// token of its own. `defaults` is `channels.defaults`.
    pub fn accounts(&self, defaults: Option<&crate::ChannelDefaults>) -> Vec<TelegramAccount> {
        let own = self.accounts.is_empty() || self.bot_token.is_some() || self.token_file.is_some();
        let base = (own && !self.accounts.contains_key(DEFAULT_ACCOUNT)).then(|| (DEFAULT_ACCOUNT.to_owned(), None));
        let named = self.accounts.iter().map(|(id, account)| (id.clone(), Some(account)));
        base.into_iter().chain(named).map(|(id, account)| self.account(id, account, defaults)).collect()
    }

    fn account(
        &self,
        id: String,
        own: Option<&Telegram>,
        defaults: Option<&crate::ChannelDefaults>,
    ) -> TelegramAccount {
        /// The account's value, else the channel's.
        macro_rules! pick {
            ($field:ident) => {
                own.and_then(|o| o.$field.clone()).or_else(|| self.$field.clone())
            };
        }
        let ids = |list: Option<Vec<ListEntry>>| list.map(|l| l.iter().map(ListEntry::id).collect::<Vec<_>>());
        // A token belongs to one account: the channel's is not shared, or two pollers would fight over it (F08).
        let token_of = own.unwrap_or(self);
        let allow_from = ids(pick!(allow_from)).unwrap_or_default();
        let default_group_policy = defaults.and_then(|d| d.group_policy).unwrap_or_default();
        TelegramAccount {
            enabled: self.enabled.unwrap_or(true) && own.and_then(|o| o.enabled).unwrap_or(true),
            name: token_of.name.clone(),
            bot_token: token_of.bot_token.clone(),
            token_file: token_of.token_file.clone(),
            api_root: pick!(api_root).unwrap_or_else(|| API_ROOT.to_owned()).trim_end_matches('/').to_owned(),
            dm_policy: pick!(dm_policy).unwrap_or_default(),
            group_policy: pick!(group_policy).unwrap_or(default_group_policy),
            group_allow_from: ids(pick!(group_allow_from)).unwrap_or_else(|| allow_from.clone()),
            allow_from,
            groups: pick!(groups),
            text_chunk_limit: pick!(text_chunk_limit).unwrap_or(TEXT_CHUNK_LIMIT) as usize,
            chunk_mode: pick!(chunk_mode).unwrap_or_default(),
            stream_mode: pick!(stream_mode).unwrap_or_default(),
            link_preview: pick!(link_preview).unwrap_or(true),
            reply_to_mode: pick!(reply_to_mode).unwrap_or_default(),
            media_max_mb: pick!(media_max_mb).unwrap_or(MEDIA_MAX_MB),
            retry: pick!(retry).unwrap_or_default(),
            timeout_seconds: pick!(timeout_seconds),
            proxy: pick!(proxy),
            history_limit: pick!(history_limit),
            id,
        }
    }

    /// The raw settings by path segment, for checks: the channel itself, then each account.
    pub(crate) fn layers(&self) -> impl Iterator<Item = (Option<&str>, &Telegram)> {
        std::iter::once((None, self)).chain(self.accounts.iter().map(|(id, a)| (Some(id.as_str()), a)))
    }

    /// Groups by chat id, empty when unset.
    pub(crate) fn group_map(&self) -> BTreeMap<&str, &TelegramGroup> {
        self.groups.iter().flatten().map(|(id, group)| (id.as_str(), group)).collect()
    }
}

/// The public Bot API.
pub const API_ROOT: &str = "https://api.telegram.org";
/// Below Telegram's own 4096, so that tags and a part number still fit.
const TEXT_CHUNK_LIMIT: u64 = 4000;
const MEDIA_MAX_MB: u64 = 5;
