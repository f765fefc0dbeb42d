//! Which tools runs in a group of a Telegram bot may use (D38).

use std::collections::BTreeMap;

use indexmap::IndexMap;

use crate::{ListEntry, Telegram, TelegramGroup, ToolRules, path::Path};

/// Everybody, in a map by sender or by group.
const ALL: &str = "*";

/// A run in a group, as far as rules name it.
#[derive(Debug, Clone, Copy)]
pub struct InGroup<'a> {
    /// The account; `None`: whichever.
    pub account: Option<&'a str>,
    /// The group's id.
    pub chat: &'a str,
    /// The topic's id.
    pub topic: Option<&'a str>,
    /// Who wrote; `None` for runs that nobody in the group asked for: no rule by sender names them.
    pub sender: Option<&'a str>,
}

impl Telegram {
    /// The rules that name the run, each of which limits it further: `tools` and `toolsBySender` of its group and of its topic.
    /// Of each the group's own counts, else that of the group `*`; of the senders the one who wrote, else `*`. Where the account
    /// is not known those of all accounts count.
    pub fn tool_rules(&self, run: &InGroup<'_>) -> Vec<ToolRules> {
        let mut rules = vec![];
        for groups in self.groups_of(run.account) {
            let named: Vec<&TelegramGroup> = [run.chat, ALL].into_iter().filter_map(|id| groups.get(id)).collect();
            rules.extend(named.iter().find_map(|group| group.tools.clone()));
            rules.extend(of_sender(named.iter().map(|group| &group.tools_by_sender), run.sender));
            let topics =
                || run.topic.into_iter().flat_map(|id| named.iter().filter_map(move |group| group.topics.get(id)));
            rules.extend(topics().find_map(|topic| topic.tools.clone()));
            rules.extend(of_sender(topics().map(|topic| &topic.tools_by_sender), run.sender));
        }
        rules.retain(ToolRules::is_limit);
        rules
    }

    fn groups_of(&self, account: Option<&str>) -> Vec<&IndexMap<String, TelegramGroup>> {
        let own = |id: &str| self.accounts.get(id).and_then(|own| own.groups.as_ref()).or(self.groups.as_ref());
        match account {
            Some(id) => own(id).into_iter().collect(),
            None => self.layers().filter_map(|(_, layer)| layer.groups.as_ref()).collect(),
        }
    }

    /// Keys of `toolsBySender` that are nobody's id, with their place.
    pub(crate) fn unnamed_senders(&self) -> Vec<String> {
        let mut found = vec![];
        for (account, layer) in self.layers() {
            let base = Path::default().key("channels").key("telegram");
            let base = account.map_or_else(|| base.clone(), |id| base.key("accounts").key(id)).key("groups");
            for (id, group) in layer.groups.iter().flatten() {
                let topics =
                    group.topics.iter().map(|(topic, t)| (base.key(id).key("topics").key(topic), &t.tools_by_sender));
                for (place, senders) in std::iter::once((base.key(id), &group.tools_by_sender)).chain(topics) {
                    let unnamed = senders.keys().filter(|key| !is_sender(key));
                    found.extend(unnamed.map(|key| place.key("toolsBySender").key(key).to_string()));
                }
            }
        }
        found
    }
}

/// The rules for a sender in the first of these maps that has any for him, and those of all maps whose key is nobody's id: whom they
/// were meant for cannot be told (S15), so that they hold for everybody.
fn of_sender<'m>(
    maps: impl Iterator<Item = &'m BTreeMap<String, ToolRules>> + Clone,
    sender: Option<&str>,
) -> Vec<ToolRules> {
    let Some(sender) = sender else { return vec![] };
    let of = |map: &'m BTreeMap<String, ToolRules>| {
        let own = map.iter().find(|(key, _)| id(key) == sender);
        own.or_else(|| map.iter().find(|(key, _)| id(key) == ALL)).map(|(_, rules)| rules)
    };
    let named = maps.clone().find_map(of);
    let unnamed = maps.flat_map(|map| map.iter().filter(|(key, _)| !is_sender(key)).map(|(_, rules)| rules));
    named.into_iter().chain(unnamed).cloned().collect()
}

/// `42`, `telegram:42`, `tg:42` and `id:42` are one person.
fn id(key: &str) -> String {
    let bare = ListEntry::Text(key.trim().to_owned()).id();
    bare.strip_prefix("id:").map_or(bare.clone(), str::to_owned)
}

fn is_sender(key: &str) -> bool {
    let id = id(key);
    id == ALL || id.parse::<i64>().is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::read;

    fn telegram(groups: &Value) -> (Telegram, Vec<String>) {
        let own = json!({"botToken": "2:B", "groups": {"-100": {"tools": {"deny": ["own"]}}}});
        let value = json!({"channels": {"telegram": {"botToken": "1:A", "groups": groups, "accounts": {"work": own}}}});
        let loaded = read(&value.to_string(), &|_: &str| None).unwrap_or_else(|p| panic!("{value}: {p:?}"));
        (loaded.config.channels.telegram.unwrap(), loaded.warnings)
    }

    /// What is denied to a run, one word for each rule.
    fn denied(
        telegram: &Telegram,
        account: Option<&str>,
        chat: &str,
        topic: Option<&str>,
        sender: Option<&str>,
    ) -> Vec<String> {
        let rules = telegram.tool_rules(&InGroup { account, chat, topic, sender });
        rules.into_iter().flat_map(|rules| rules.deny).collect()
    }

    #[test]
    fn d38_every_rule_of_a_group_that_names_the_run_counts() {
        let deny = |word: &str| json!({"deny": [word]});
        let topic = json!({"tools": deny("topic"), "toolsBySender": {"42": deny("topic-ann")}});
        let (telegram, warnings) = telegram(&json!({
            "*": {"tools": deny("any"), "toolsBySender": {"*": deny("any-one")}, "topics": {"8": {"tools": deny("any-topic")}}},
            "-100": {"tools": deny("group"), "toolsBySender": {"tg:42": deny("ann"), "*": deny("others")}, "topics": {"7": topic}},
            "-200": {"requireMention": false},
        }));
        assert_eq!(warnings, Vec::<String>::new());
        let of = |chat, topic, sender| denied(&telegram, Some("default"), chat, topic, sender);
        assert_eq!(of("-100", None, Some("42")), ["group", "ann"]);
        assert_eq!(of("-100", None, Some("43")), ["group", "others"]);
        assert_eq!(of("-100", None, None), ["group"]);
        assert_eq!(of("-100", Some("7"), Some("42")), ["group", "ann", "topic", "topic-ann"]);
        assert_eq!(of("-100", Some("8"), Some("42")), ["group", "ann", "any-topic"]);
        assert_eq!(of("-200", None, Some("42")), ["any", "any-one"], "a group without rules has those of all");
        assert_eq!(denied(&telegram, Some("work"), "-100", None, Some("42")), ["own"]);
        assert_eq!(denied(&telegram, None, "-100", None, None), ["group", "own"], "of whichever account");
    }

    /// A name can be taken over, so that nobody is let out of a limit by one and nobody gets around it.
    #[test]
    fn s15_rules_of_a_sender_without_an_id_hold_for_all() {
        let (telegram, warnings) =
            telegram(&json!({"-100": {"toolsBySender": {"@ann": {"deny": ["exec"]}, "id:42": {}}}}));
        for sender in ["42", "43"] {
            assert_eq!(denied(&telegram, None, "-100", None, Some(sender))[0], "exec", "{sender}");
        }
        assert!(
            warnings.len() == 1 && warnings[0].starts_with("channels.telegram.groups.-100.toolsBySender"),
            "{warnings:?}"
        );
    }

    #[test]
    fn d36_tools_of_a_group_that_are_misread_are_none() {
        for odd in [
            json!({"tools": 5}),
            json!({"tools": ["exec"]}),
            json!({"tools": {"deny": {"exec": true}}}),
            json!({"toolsBySender": []}),
            json!({"toolsBySender": {"42": "exec"}}),
            json!({"topics": {"7": {"tools": false}}}),
        ] {
            let (telegram, warnings) = telegram(&json!({"-100": odd}));
            assert_eq!(denied(&telegram, Some("default"), "-100", Some("7"), Some("42")), ["*"], "{odd}");
            assert!(!warnings.is_empty());
        }
    }
}
