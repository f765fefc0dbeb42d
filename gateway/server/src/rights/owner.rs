//! Who owns the gateway in chats (D46).

use openclaw_channels::{access::PairingStore, table};
use openclaw_config::{Config, ListEntry};

/// Who the owner is on one account of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// These senders.
    Ids(Vec<String>),
    /// Nobody, for this reason.
    Nobody(&'static str),
}

impl Owner {
    /// True for the owner's id. `*` is nobody's id.
    pub fn is(&self, sender: &str) -> bool {
        matches!(self, Self::Ids(ids) if ids.iter().any(|id| id == sender))
    }
}

/// The owner on an account: `commands.ownerAllowFrom`, else the first entry of `allowFrom` as it is written, else the first
/// who was let in by pairing. A first entry that lets everybody in, or that is no id, makes nobody the owner: the next one
/// in the list was not meant to be him.
pub fn owner_of(config: &Config, channel: &str, account: &str, pairing: Option<&PairingStore>) -> Owner {
    if let Some(list) = &config.commands.owner_allow_from {
        let ids: Vec<String> = list.iter().filter_map(|entry| id_on(entry, channel)).collect();
        return if ids.is_empty() {
            Owner::Nobody("commands.ownerAllowFrom names nobody here")
        } else {
            Owner::Ids(ids)
        };
    }
    let first = table::find(channel).and_then(|factory| (factory.first_allowed)(config, account));
    if let Some(first) = first {
        return match id_on(&first, channel) {
            Some(id) => Owner::Ids(vec![id]),
            None => Owner::Nobody("the first entry of allowFrom is no person's id"),
        };
    }
    match pairing.map(PairingStore::first_allowed) {
        Some(Ok(Some(id))) if is_id(&id) => Owner::Ids(vec![id]),
        Some(Err(error)) => {
            tracing::warn!(channel, account, %error, "nobody is the owner while this cannot be read");
            Owner::Nobody("the list of paired people cannot be read")
        }
        _ => Owner::Nobody("allowFrom is empty and nobody was paired"),
    }
}

/// The numeric id of an entry that means a person on this channel: `42`, `telegram:42`, `tg:42`.
fn id_on(entry: &ListEntry, channel: &str) -> Option<String> {
    let text = match entry {
        ListEntry::Number(n) => n.to_string(),
        ListEntry::Text(text) => text.trim().to_owned(),
    };
    let id = match text.split_once(':') {
        Some((prefix, id)) if names(prefix, channel) => id.trim(),
        Some(_) => return None,
        None => text.as_str(),
    };
    is_id(id).then(|| id.to_owned())
}

fn names(prefix: &str, channel: &str) -> bool {
    let prefix = prefix.trim();
    table::find(channel).map_or_else(|| prefix.eq_ignore_ascii_case(channel), |factory| factory.is_prefix(prefix))
}

/// Only ids that nobody can take over count (S15): digits, on WhatsApp with a plus before them.
fn is_id(id: &str) -> bool {
    let digits = id.strip_prefix('+').unwrap_or(id);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        openclaw_config::parse(text, &|_| None).unwrap().config
    }

    fn paired(ids: &[&str]) -> PairingStore {
        let mut platform = openclaw_platform::os::without_files();
        platform.storage = std::sync::Arc::new(openclaw_platform::MemoryStorage::new());
        let file = serde_json::json!({ "version": 1, "allowFrom": ids });
        platform.storage.write_atomic("credentials/telegram-allowFrom.json", file.to_string().as_bytes()).unwrap();
        PairingStore::new(&platform, "telegram")
    }

    fn owner(text: &str, account: &str, ids: &[&str]) -> Vec<String> {
        match owner_of(&config(text), "telegram", account, Some(&paired(ids))) {
            Owner::Ids(ids) => ids,
            Owner::Nobody(_) => vec![],
        }
    }

    #[test]
    fn s23_the_owner_is_who_d46_says() {
        let bot = |rest: &str| format!("{{ channels: {{ telegram: {{ botToken: '1:A', {rest} }} }} }}");
        assert_eq!(owner(&bot("allowFrom: ['tg:42', 43]"), "default", &["7"]), ["42"]);
        assert_eq!(owner(&bot("allowFrom: [42]"), "default", &[]), ["42"]);
        assert_eq!(owner(&bot(""), "default", &["telegram:7", "8"]), ["7"], "the reference's file, the first entry");
        assert_eq!(owner(&bot("allowFrom: []"), "default", &["7"]), ["7"]);
        assert!(owner(&bot(""), "default", &[]).is_empty());
        assert!(owner(&bot("dmPolicy: 'open', allowFrom: ['*', 42]"), "default", &["7"]).is_empty(), "never *");
        let commands = "commands: { ownerAllowFrom: ['telegram:5', 'whatsapp:6', 9, '*', '@ann'] },";
        let both = format!("{{ {commands} channels: {{ telegram: {{ botToken: '1:A', allowFrom: [42] }} }} }}");
        assert_eq!(owner(&both, "default", &["7"]), ["5", "9"]);
        let nobody = both.replace("['telegram:5', 'whatsapp:6', 9, '*', '@ann']", "['whatsapp:6', '*']");
        assert!(owner(&nobody, "default", &["7"]).is_empty(), "who is named elsewhere is named");
    }

    #[test]
    fn s23_each_account_has_its_own_owner() {
        let text = "{ channels: { telegram: { allowFrom: [1], accounts: { a: { botToken: '1:A', allowFrom: [2, 1] }, \
                    b: { botToken: '2:B' } } } } }";
        assert_eq!((owner(text, "a", &[]), owner(text, "b", &["9"])), (vec!["2".to_owned()], vec!["1".to_owned()]));
    }

    /// An entry that is dropped when it is read must not make its neighbour the owner.
    #[test]
    fn s23_a_first_entry_that_is_no_id_makes_nobody_the_owner() {
        let mut config = config("{ channels: { telegram: { botToken: '1:A', allowFrom: [42, 43] } } }");
        let list = config.channels.telegram.as_mut().and_then(|t| t.allow_from.as_mut()).unwrap();
        list[0] = ListEntry::Text("@ann".into());
        assert!(matches!(owner_of(&config, "telegram", "default", Some(&paired(&["7"]))), Owner::Nobody(_)));
    }
}
