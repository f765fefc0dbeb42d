//! The channels of this gateway: a new one is a folder and a row here.

use crate::{ChannelFactory, telegram, whatsapp};

/// All of them.
pub static TABLE: [&ChannelFactory; 2] = [&telegram::FACTORY, &whatsapp::FACTORY];

/// Names that are known elsewhere in the family, so that `unknown channel` means a typing error.
const ELSEWHERE: [&str; 15] = [
    "discord",
    "slack",
    "signal",
    "imessage",
    "msteams",
    "googlechat",
    "line",
    "matrix",
    "mattermost",
    "nostr",
    "zalo",
    "zalouser",
    "bluebubbles",
    "last",
    "webchat",
];

/// The channel of this id.
pub fn find(id: &str) -> Option<&'static ChannelFactory> {
    TABLE.iter().copied().find(|factory| factory.id == id)
}

/// The channel that a request means which names none.
pub fn default_id() -> &'static str {
    TABLE.iter().find(|factory| factory.is_default).map_or("", |factory| factory.id)
}

/// True for a name that a request may use.
pub fn is_known(id: &str) -> bool {
    find(id).is_some() || ELSEWHERE.contains(&id)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_one_channel_is_the_default() {
        let names = TABLE.iter().flat_map(|f| f.prefixes.iter().copied().chain([f.id])).chain(ELSEWHERE);
        assert_eq!(names.clone().collect::<BTreeSet<_>>().len(), names.count());
        assert_eq!(TABLE.iter().filter(|f| f.is_default).count(), 1);
        assert!(is_known(default_id()) && is_known("last") && !is_known("telegraph"));
    }

    #[test]
    fn no_channel_is_there_without_its_section() {
        let config = openclaw_config::Config::default();
        assert!(
            TABLE.iter().all(|f| (f.accounts)(&config).is_empty() && (f.first_allowed)(&config, "default").is_none())
        );
    }
}
