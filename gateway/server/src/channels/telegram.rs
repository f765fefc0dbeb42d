//! Telegram accounts out of the configuration.

use std::sync::Arc;

use openclaw_channels::{
    Channel,
    access::{AccessRules, ChatRule, GroupRule, PairingStore},
    telegram::{Telegram, TelegramOptions},
};
use openclaw_config::{Secret, TelegramAccount, TelegramGroup};
use openclaw_platform::Platform;

use crate::options::ServerOptions;

/// One account, ready to start.
///
/// # Errors
/// Why it cannot be used, for the operator.
pub fn account(
    platform: &Platform,
    account: &TelegramAccount,
    pairing: Arc<PairingStore>,
    options: &ServerOptions,
) -> Result<Arc<dyn Channel>, String> {
    let (token, source) = token(account, options)?;
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
    Ok(Telegram::new(platform, telegram, pairing))
}

fn token(account: &TelegramAccount, options: &ServerOptions) -> Result<(Secret, &'static str), String> {
    if let Some(token) = &account.bot_token {
        return Ok((token.clone(), "config"));
    }
    if let Some(file) = &account.token_file {
        return match (options.read_secret)(file) {
            Ok(token) if !token.trim().is_empty() => Ok((Secret::new(token.trim()), "file")),
            Ok(_) => Err(format!("channels.telegram.tokenFile {file} is empty")),
            Err(error) => Err(format!("channels.telegram.tokenFile {file}: {error}")),
        };
    }
    match &options.telegram_token {
        Some(token) if account.id == openclaw_config::DEFAULT_ACCOUNT => Ok((token.clone(), "env")),
        _ => Err("no bot token: set channels.telegram.botToken, tokenFile, or TELEGRAM_BOT_TOKEN".into()),
    }
}

fn access(account: &TelegramAccount) -> AccessRules {
    let ids = |list: &Option<Vec<openclaw_config::ListEntry>>| {
        list.as_ref().map(|l| l.iter().map(openclaw_config::ListEntry::id).collect::<Vec<_>>())
    };
    let group = |g: &TelegramGroup| GroupRule {
        chat: ChatRule { enabled: g.enabled, require_mention: g.require_mention, allow_from: ids(&g.allow_from) },
        topics: g
            .topics
            .iter()
            .map(|(id, t)| {
                let allow_from = ids(&t.allow_from);
                (id.clone(), ChatRule { enabled: t.enabled, require_mention: t.require_mention, allow_from })
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
