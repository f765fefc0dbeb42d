//! Who owns the gateway in chats, and who shares a session with him (D46).

use std::sync::Arc;

use openclaw_channels::access::PairingStore;
use openclaw_config::{Config, DmPolicy, DmScope, Telegram};
use openclaw_platform::os::OsStorage;
use openclaw_server::rights::{Owner, owner_of};

use super::check::Check;
use crate::{
    client,
    config_file::{self, State},
    session::Session,
};

const TELEGRAM: &str = "telegram";

/// `chats.owner` for each account, `chats.sessions`.
pub fn checks(session: &Session) -> Vec<Check> {
    let Ok(State::Valid(loaded)) = config_file::load(session) else { return vec![] };
    let Some(telegram) = &loaded.config.channels.telegram else { return vec![] };
    let mut platform = client::platform();
    platform.storage = Arc::new(OsStorage::as_it_is(&session.paths.state_dir));
    let pairing = PairingStore::new(&platform, TELEGRAM);
    of(&loaded.config, telegram, &pairing)
}

fn of(config: &Config, telegram: &Telegram, pairing: &PairingStore) -> Vec<Check> {
    let accounts = telegram.accounts(config.channels.defaults.as_ref());
    let mut checks: Vec<Check> = accounts.iter().map(|a| owner(config, &a.id, pairing)).collect();
    let paired = pairing.allowed().map_or(0, |list| list.len());
    let listed = accounts.iter().map(|a| a.allow_from.len()).max().unwrap_or(0);
    let open = accounts.iter().any(|a| a.dm_policy == DmPolicy::Open || a.allow_from.iter().any(|id| id.trim() == "*"));
    if config.session.dm_scope == Some(DmScope::Main) && (open || paired + listed > 1) {
        let text = "session.dmScope is \"main\": everybody who may write privately shares the owner's session and can be \
                    told what he wrote there";
        let fix = "`openclaw config unset session.dmScope` gives everybody but the owner a session of his own";
        checks.push(Check::warn("chats.sessions", text, fix));
    }
    checks
}

fn owner(config: &Config, account: &str, pairing: &PairingStore) -> Check {
    const ID: &str = "chats.owner";
    let what = format!("Telegram {account}");
    match owner_of(config, TELEGRAM, account, Some(pairing)) {
        Owner::Ids(ids) => Check::ok(ID, format!("{what} is owned by {}", ids.join(", "))),
        Owner::Nobody(why) => {
            let text = format!("{what} has no owner, so nobody can have commands run from a chat: {why}");
            let fix = "name yourself: `openclaw config set commands.ownerAllowFrom '[\"telegram:YOUR_ID\"]'`, or put your \
                       id first in allowFrom, or approve your own pairing code first";
            Check { fix: Some(fix.to_owned()), ..Check::note(ID, text) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> String {
        let config = openclaw_config::parse(text, &|_| None).unwrap().config;
        let mut platform = client::platform();
        platform.storage = Arc::new(openclaw_platform::MemoryStorage::new());
        let pairing = PairingStore::new(&platform, TELEGRAM);
        let checks = of(&config, config.channels.telegram.as_ref().unwrap(), &pairing);
        checks.iter().map(Check::lines).collect::<Vec<_>>().join("\n")
    }

    /// Without any owner doctor says so; with several people in the owner's session, too (D46).
    #[test]
    fn s32_owners_and_shared_sessions_are_told() {
        let bot = |allow: &str, session: &str| {
            format!(
                "{{ session: {{ {session} }}, channels: {{ telegram: {{ botToken: '1:A', allowFrom: {allow} }} }} }}"
            )
        };
        assert!(lines(&bot("[42, 43]", "")).contains("owned by 42"));
        assert!(lines(&bot("['*']", "")).contains("has no owner"));
        assert!(lines(&bot("[]", "")).contains("has no owner"));
        assert!(!lines(&bot("[42, 43]", "")).contains("shares the owner's"));
        assert!(!lines(&bot("[42]", "dmScope: 'main'")).contains("shares the owner's"));
        assert!(lines(&bot("[42, 43]", "dmScope: 'main'")).contains("shares the owner's"));
        assert!(lines(&bot("['*']", "dmScope: 'main'")).contains("shares the owner's"));
    }
}
