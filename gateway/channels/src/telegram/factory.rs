//! Telegram's row of the table: its accounts out of the configuration.

use openclaw_config::{Config, DEFAULT_ACCOUNT, ListEntry, Secret, TelegramAccount, TelegramGroup};

use super::{Telegram, TelegramOptions};
use crate::{
    ChannelFactory, Made, Making,
    access::{AccessRules, ChatRule, GroupRule},
};

/// Its row of the table.
pub static FACTORY: ChannelFactory = ChannelFactory {
    id: super::ID,
    label: "Telegram",
    prefixes: &["tg"],
    is_default: false,
    has_pairing: true,
    variable: Some("TELEGRAM_BOT_TOKEN"),
    credential: Some("channels.telegram.botToken"),
    accounts: |config| accounts(config).into_iter().map(|account| account.id).collect(),
    first_allowed,
    tool_rules: |config, run| config.channels.telegram.as_ref().map_or_else(Vec::new, |t| t.tool_rules(run)),
    make,
};

fn accounts(config: &Config) -> Vec<TelegramAccount> {
    let settings = config.channels.telegram.as_ref();
    settings.map_or_else(Vec::new, |settings| settings.accounts(config.channels.defaults.as_ref()))
}

fn first_allowed(config: &Config, account: &str) -> Option<ListEntry> {
    let telegram = config.channels.telegram.as_ref()?;
    let own = telegram.accounts.get(account).and_then(|a| a.allow_from.as_ref());
    let is_account = account == DEFAULT_ACCOUNT || telegram.accounts.contains_key(account);
    let list = own.or_else(|| telegram.allow_from.as_ref().filter(|_| is_account));
    list?.first().cloned()
}

fn make(making: &Making<'_>, id: &str) -> Made {
    let accounts = accounts(making.config);
    let account = accounts.iter().find(|account| account.id == id).ok_or("it is not configured")?;
    let (token, source) = token(account, making)?;
    let telegram = TelegramOptions {
        account_id: account.id.clone(),
        enabled: account.enabled,
        token,
        token_source: source.to_owned(),
        api_root: account.api_root.clone(),
        access: access(account),
        text_chunk_limit: account.text_chunk_limit,
        media_max_bytes: (account.media_max_mb << 20) as usize,
        link_preview: account.link_preview,
    };
    for problem in telegram.problems() {
        tracing::warn!(account = account.id, "channels.telegram.{problem}");
    }
    Ok(Telegram::new(making.platform, telegram, making.pairing.clone()))
}

fn token(account: &TelegramAccount, making: &Making<'_>) -> Result<(Secret, &'static str), String> {
    if let Some(token) = &account.bot_token {
        return Ok((token.clone(), "config"));
    }
    if let Some(file) = &account.token_file {
        return match (making.read_secret)(file) {
            Ok(token) if !token.trim().is_empty() => Ok((Secret::new(token.trim()), "file")),
            Ok(_) => Err(format!("channels.telegram.tokenFile {file} is empty")),
            Err(error) => Err(format!("channels.telegram.tokenFile {file}: {error}")),
        };
    }
    match making.token {
        Some(token) if account.id == DEFAULT_ACCOUNT => Ok((token.clone(), "env")),
        _ => Err("no bot token: set channels.telegram.botToken, tokenFile, or TELEGRAM_BOT_TOKEN".into()),
    }
}

fn access(account: &TelegramAccount) -> AccessRules {
    let ids = |list: &Option<Vec<openclaw_config::ListEntry>>| {
        list.as_ref().map(|l| l.iter().map(openclaw_config::ListEntry::id).collect::<Vec<_>>())
    };
    let group = |g: &TelegramGroup| GroupRule {
        chat: ChatRule {
            enabled: g.enabled,
            require_mention: g.require_mention,
            allow_from: ids(&g.allow_from),
            policy: g.group_policy,
        },
        topics: g
            .topics
            .iter()
            .map(|(id, t)| {
                let (allow_from, policy) = (ids(&t.allow_from), t.group_policy);
                (id.clone(), ChatRule { enabled: t.enabled, require_mention: t.require_mention, allow_from, policy })
            })
            .collect(),
    };
    AccessRules {
        dm_policy: account.dm_policy,
        allow_from: account.allow_from.clone(),
        group_policy: account.group_policy,
        group_allow_from: account.group_allow_from.clone(),
        groups: account.groups.iter().flatten().map(|(id, g)| (id.clone(), group(g))).collect(),
    }
}
