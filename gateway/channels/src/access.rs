//! Who may write to the agent: policies for private chats and groups, mention gating, pairing.
//!
//! Only immutable ids are compared, never user names (S15). Pairing of unknown senders is in [`PairingStore`].

mod pairing;

use std::collections::BTreeMap;

pub use pairing::{PairingError, PairingMeta, PairingOutcome, PairingRequest, PairingStore};

pub use openclaw_config::{DmPolicy, GroupPolicy};

use crate::{ChatKind, OpenTo};

/// Settings of one group or one topic; what is unset comes from the next wider layer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChatRule {
    /// False: everything there is ignored.
    pub enabled: Option<bool>,
    /// The bot has to be mentioned or answered; true by default.
    pub require_mention: Option<bool>,
    /// Senders allowed there, in place of the account's lists.
    pub allow_from: Option<Vec<String>>,
    /// The policy there, in place of the account's.
    pub policy: Option<GroupPolicy>,
}

/// Settings of one group and of its topics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupRule {
    /// For the whole group.
    pub chat: ChatRule,
    /// By topic id.
    pub topics: BTreeMap<String, ChatRule>,
}

/// The access settings of one account. Lists hold ids, possibly with a prefix such as `telegram:`, or `*`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessRules {
    /// Private chats.
    pub dm_policy: DmPolicy,
    /// People allowed by configuration; those who were paired come on top.
    pub allow_from: Vec<String>,
    /// Groups.
    pub group_policy: GroupPolicy,
    /// People allowed in groups; empty: the same as in private chats.
    pub group_allow_from: Vec<String>,
    /// Allowed groups by id, `*` for all; empty: every group.
    pub groups: BTreeMap<String, GroupRule>,
}

/// One message, as far as access is concerned.
#[derive(Debug, Clone, Copy)]
pub struct Approach<'a> {
    /// Private or group.
    pub kind: ChatKind,
    /// Chat id.
    pub chat: &'a str,
    /// Topic id.
    pub thread: Option<i64>,
    /// Immutable id of the sender.
    pub sender: &'a str,
    /// The bot was mentioned or answered.
    pub mentioned: bool,
}

/// What to do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Hand it to the agent.
    Accept,
    /// Offer pairing to the sender.
    Pair,
    /// Ignore it, for this reason.
    Refuse(&'static str),
}

impl AccessRules {
    /// The same rules with `prefixes` (`telegram:`) taken off all entries, ready for [`AccessRules::judge`].
    pub fn normalised(mut self, prefixes: &[&str]) -> Self {
        let strip = |list: &mut Vec<String>| {
            for entry in list {
                *entry = bare_id(entry, prefixes).to_owned();
            }
        };
        strip(&mut self.allow_from);
        strip(&mut self.group_allow_from);
        for group in self.groups.values_mut() {
            let rules = std::iter::once(&mut group.chat).chain(group.topics.values_mut());
            rules.filter_map(|rule| rule.allow_from.as_mut()).for_each(strip);
        }
        self
    }

    /// All lists of people with their place in the configuration, for validation.
    pub fn lists(&self) -> Vec<(String, &[String])> {
        let mut lists =
            vec![("allowFrom".to_owned(), &self.allow_from[..]), ("groupAllowFrom".to_owned(), &self.group_allow_from)];
        for (id, group) in &self.groups {
            if let Some(list) = &group.chat.allow_from {
                lists.push((format!("groups.{id}.allowFrom"), list));
            }
            for (topic, rule) in &group.topics {
                if let Some(list) = &rule.allow_from {
                    lists.push((format!("groups.{id}.topics.{topic}.allowFrom"), list));
                }
            }
        }
        lists
    }

    /// What they leave open to people whom nobody has let in.
    pub fn open_to(&self) -> Vec<OpenTo> {
        let has_all = |list: &[String]| list.iter().any(|id| id == "*");
        let is_listed = |policy| policy != DmPolicy::Disabled;
        let everybody = self.dm_policy == DmPolicy::Open || is_listed(self.dm_policy) && has_all(&self.allow_from);
        let of_groups = self.group_policy == GroupPolicy::Open
            || self.group_policy == GroupPolicy::Allowlist
                && has_all(if self.group_allow_from.is_empty() { &self.allow_from } else { &self.group_allow_from });
        let rules = self.groups.values().flat_map(|group| std::iter::once(&group.chat).chain(group.topics.values()));
        let of_one = rules.filter(|rule| rule.enabled != Some(false)).any(|rule| {
            rule.policy == Some(GroupPolicy::Open)
                || rule.policy != Some(GroupPolicy::Disabled) && rule.allow_from.as_deref().is_some_and(has_all)
        });
        let found = [(everybody, OpenTo::Everybody), (of_groups || of_one, OpenTo::Groups)];
        found.into_iter().filter_map(|(is_open, what)| is_open.then_some(what)).collect()
    }

    /// Decides about one message. Entries must be normalised.
    ///
    /// # Errors
    /// When the list of paired people is needed and cannot be read: nobody gets in on a guess.
    pub fn judge(&self, who: &Approach<'_>, pairing: &PairingStore) -> Result<Verdict, PairingError> {
        match who.kind {
            ChatKind::Direct => self.judge_direct(who, pairing),
            ChatKind::Group => self.judge_group(who, pairing),
        }
    }

    fn judge_direct(&self, who: &Approach<'_>, pairing: &PairingStore) -> Result<Verdict, PairingError> {
        Ok(match self.dm_policy {
            DmPolicy::Disabled => Verdict::Refuse("private messages are disabled"),
            DmPolicy::Open => Verdict::Accept,
            _ if self.is_known(who.sender, pairing)? => Verdict::Accept,
            DmPolicy::Pairing => Verdict::Pair,
            DmPolicy::Allowlist => Verdict::Refuse("sender is not on the list"),
        })
    }

    fn judge_group(&self, who: &Approach<'_>, pairing: &PairingStore) -> Result<Verdict, PairingError> {
        let policy = self.layers(who).find_map(|rule| rule.policy).unwrap_or(self.group_policy);
        if policy == GroupPolicy::Disabled {
            return Ok(Verdict::Refuse("groups are disabled"));
        }
        if !self.groups.is_empty() && !self.groups.contains_key(who.chat) && !self.groups.contains_key("*") {
            return Ok(Verdict::Refuse("group is not on the list"));
        }
        if self.layers(who).find_map(|rule| rule.enabled) == Some(false) {
            return Ok(Verdict::Refuse("group or topic is disabled"));
        }
        if !who.mentioned && self.layers(who).find_map(|rule| rule.require_mention).unwrap_or(true) {
            return Ok(Verdict::Refuse("bot is not mentioned"));
        }
        if policy == GroupPolicy::Open {
            return Ok(Verdict::Accept);
        }
        let allowed = match self.layers(who).find_map(|rule| rule.allow_from.as_deref()) {
            Some(list) => contains(list, who.sender),
            None if !self.group_allow_from.is_empty() => contains(&self.group_allow_from, who.sender),
            None => self.is_known(who.sender, pairing)?,
        };
        Ok(if allowed { Verdict::Accept } else { Verdict::Refuse("sender is not on the list") })
    }

    /// On the account's list, or paired.
    fn is_known(&self, sender: &str, pairing: &PairingStore) -> Result<bool, PairingError> {
        Ok(contains(&self.allow_from, sender) || pairing.is_allowed(sender)?)
    }

    /// The rules for a chat, the most specific first.
    fn layers(&self, who: &Approach<'_>) -> impl Iterator<Item = &ChatRule> {
        let topic = who.thread.map(|thread| thread.to_string());
        [who.chat, "*"].into_iter().filter_map(|id| self.groups.get(id)).flat_map(move |group| {
            topic.as_ref().and_then(|topic| group.topics.get(topic)).into_iter().chain([&group.chat])
        })
    }
}

/// An entry without white space and without one of `prefixes`, whatever their case.
pub(crate) fn bare_id<'a>(entry: &'a str, prefixes: &[&str]) -> &'a str {
    let entry = entry.trim();
    let rest = prefixes.iter().find_map(|prefix| match entry.split_at_checked(prefix.len()) {
        Some((head, rest)) if head.eq_ignore_ascii_case(prefix) => Some(rest.trim()),
        _ => None,
    });
    rest.unwrap_or(entry)
}

fn contains(list: &[String], id: &str) -> bool {
    list.iter().any(|entry| entry == "*" || entry == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> PairingStore {
        pairing::tests::store().0
    }

    fn direct(sender: &str) -> Approach<'_> {
        Approach { kind: ChatKind::Direct, chat: sender, thread: None, sender, mentioned: false }
    }

    fn group(chat: &'static str, sender: &'static str, mentioned: bool) -> Approach<'static> {
        Approach { kind: ChatKind::Group, chat, thread: None, sender, mentioned }
    }

    fn list(entries: &[&str]) -> Vec<String> {
        entries.iter().map(|&e| e.to_owned()).collect()
    }

    fn rules(change: impl FnOnce(&mut AccessRules)) -> AccessRules {
        let mut rules = AccessRules::default();
        change(&mut rules);
        rules.normalised(&["telegram:", "tg:"])
    }

    #[test]
    fn f31_what_is_open_to_strangers_is_what_lets_them_in() {
        let pairing = store();
        let check = |change: &dyn Fn(&mut AccessRules), due: &[OpenTo]| {
            let rules = rules(change);
            assert_eq!(rules.open_to(), due);
            let lets_in = |who| rules.judge(&who, &pairing).unwrap() == Verdict::Accept;
            let found = [lets_in(direct("9")), lets_in(group("-1", "9", true))];
            assert_eq!(found, [OpenTo::Everybody, OpenTo::Groups].map(|open| due.contains(&open)));
        };
        check(&|_| {}, &[]);
        check(&|r| r.dm_policy = DmPolicy::Open, &[OpenTo::Everybody]);
        check(&|r| r.group_policy = GroupPolicy::Open, &[OpenTo::Groups]);
        check(&|r| r.allow_from = list(&["telegram:*"]), &[OpenTo::Everybody, OpenTo::Groups]);
        check(&|r| (r.allow_from, r.group_allow_from) = (list(&["*"]), list(&["5"])), &[OpenTo::Everybody]);
        check(&|r| r.group_allow_from = list(&["*"]), &[OpenTo::Groups]);
        let closed = |r: &mut AccessRules| {
            (r.dm_policy, r.group_policy, r.allow_from) = (DmPolicy::Disabled, GroupPolicy::Disabled, list(&["*"]));
        };
        check(&closed, &[]);
        let one = |r: &mut AccessRules| {
            let chat = ChatRule { policy: Some(GroupPolicy::Open), ..ChatRule::default() };
            r.groups.insert("-1".to_owned(), GroupRule { chat, ..GroupRule::default() });
        };
        check(&one, &[OpenTo::Groups]);
    }

    #[test]
    fn direct_messages_follow_the_policy() {
        let verdict = |policy, from: &[&str], sender: &str| {
            let rules = rules(|r| (r.dm_policy, r.allow_from) = (policy, list(from)));
            rules.judge(&direct(sender), &store()).unwrap()
        };
        assert_eq!(verdict(DmPolicy::Pairing, &[], "42"), Verdict::Pair);
        assert_eq!(verdict(DmPolicy::Pairing, &[" TG:42 "], "42"), Verdict::Accept);
        assert_eq!(verdict(DmPolicy::Allowlist, &["telegram:42"], "42"), Verdict::Accept);
        assert!(matches!(verdict(DmPolicy::Allowlist, &["42"], "43"), Verdict::Refuse(_)));
        assert_eq!(verdict(DmPolicy::Allowlist, &["*"], "43"), Verdict::Accept);
        assert_eq!(verdict(DmPolicy::Open, &[], "43"), Verdict::Accept);
        assert!(matches!(verdict(DmPolicy::Disabled, &["*"], "43"), Verdict::Refuse(_)));
    }

    #[test]
    fn s15_a_user_name_on_the_list_matches_nobody() {
        let rules = rules(|r| {
            (r.dm_policy, r.allow_from, r.group_allow_from) =
                (DmPolicy::Allowlist, list(&["@ann", "ann"]), list(&["@ann"]));
        });
        for sender in ["42", "1"] {
            assert!(matches!(rules.judge(&direct(sender), &store()).unwrap(), Verdict::Refuse(_)));
            let approach = Approach { sender, ..group("-1", "", true) };
            assert!(matches!(rules.judge(&approach, &store()).unwrap(), Verdict::Refuse(_)));
        }
    }

    #[test]
    fn paired_people_may_write_in_private_and_in_groups() {
        let store = store();
        let sender = crate::Sender { id: "42".into(), name: "Ann".into(), username: None };
        let PairingOutcome::New(code) = store.request(&sender).unwrap() else { panic!("no code") };
        store.approve(&code).unwrap();
        let rules = rules(|_| ());
        assert_eq!(rules.judge(&direct("42"), &store).unwrap(), Verdict::Accept);
        assert_eq!(rules.judge(&group("-1", "42", true), &store).unwrap(), Verdict::Accept);
        assert!(matches!(rules.judge(&group("-1", "43", true), &store).unwrap(), Verdict::Refuse(_)));
    }

    #[test]
    fn groups_follow_policy_list_and_mention() {
        let rule = |require_mention| GroupRule {
            chat: ChatRule { require_mention, ..ChatRule::default() },
            ..GroupRule::default()
        };
        let base = rules(|r| {
            r.allow_from = list(&["42"]);
            r.groups = [("-1".to_owned(), rule(None)), ("-2".to_owned(), rule(Some(false)))].into();
        });
        let verdict = |rules: &AccessRules, who| rules.judge(&who, &store()).unwrap();
        assert_eq!(verdict(&base, group("-1", "42", true)), Verdict::Accept);
        assert_eq!(verdict(&base, group("-1", "42", false)), Verdict::Refuse("bot is not mentioned"));
        assert_eq!(verdict(&base, group("-2", "42", false)), Verdict::Accept);
        assert_eq!(verdict(&base, group("-3", "42", true)), Verdict::Refuse("group is not on the list"));
        assert_eq!(verdict(&base, group("-1", "43", true)), Verdict::Refuse("sender is not on the list"));
        let open = AccessRules { group_policy: GroupPolicy::Open, ..base.clone() };
        assert_eq!(verdict(&open, group("-1", "43", true)), Verdict::Accept);
        assert_eq!(verdict(&open, group("-3", "43", true)), Verdict::Refuse("group is not on the list"));
        let off = AccessRules { group_policy: GroupPolicy::Disabled, ..base.clone() };
        assert_eq!(verdict(&off, group("-1", "42", true)), Verdict::Refuse("groups are disabled"));
        let own_list = AccessRules { group_allow_from: list(&["7"]), ..base };
        assert_eq!(verdict(&own_list, group("-1", "42", true)), Verdict::Refuse("sender is not on the list"));
        assert_eq!(verdict(&own_list, group("-1", "7", true)), Verdict::Accept);
    }

    /// What is shut is shut wherever it stands, also below an account that is open.
    #[test]
    fn the_policy_of_a_topic_goes_before_its_groups_and_that_before_the_accounts() {
        let rule = |policy| ChatRule { policy: Some(policy), require_mention: Some(false), ..ChatRule::default() };
        let of = |policy: GroupPolicy, thread, chat: &'static str, sender: &'static str| {
            let topics = [("7".to_owned(), rule(GroupPolicy::Open)), ("8".to_owned(), rule(GroupPolicy::Disabled))];
            let own = GroupRule { chat: rule(GroupPolicy::Allowlist), topics: topics.into() };
            let shut = GroupRule { chat: rule(GroupPolicy::Disabled), ..GroupRule::default() };
            let rules = rules(|r| {
                r.group_policy = policy;
                r.group_allow_from = list(&["42"]);
                r.groups =
                    [("-1".to_owned(), own), ("-2".to_owned(), shut), ("*".to_owned(), GroupRule::default())].into();
            });
            let who = Approach { thread, ..group(chat, sender, true) };
            rules.judge(&who, &store()).unwrap() == Verdict::Accept
        };
        for account in [GroupPolicy::Open, GroupPolicy::Allowlist, GroupPolicy::Disabled] {
            assert!(of(account, None, "-1", "42") && !of(account, None, "-1", "43"), "{account:?}");
            assert!(of(account, Some(7), "-1", "43") && !of(account, Some(8), "-1", "42"), "{account:?}");
            assert!(!of(account, None, "-2", "42"), "{account:?}");
        }
        assert!(of(GroupPolicy::Open, None, "-3", "43") && !of(GroupPolicy::Disabled, None, "-3", "42"));
    }

    #[test]
    fn a_topic_overrides_its_group_and_a_group_the_wildcard() {
        let topic = ChatRule { allow_from: Some(list(&["tg:9"])), require_mention: Some(false), ..ChatRule::default() };
        let group_rule = GroupRule {
            chat: ChatRule { enabled: Some(true), ..ChatRule::default() },
            topics: [("7".to_owned(), topic)].into(),
        };
        let wildcard = GroupRule {
            chat: ChatRule { enabled: Some(false), require_mention: Some(true), ..ChatRule::default() },
            ..GroupRule::default()
        };
        let rules = rules(|r| r.groups = [("-1".to_owned(), group_rule), ("*".to_owned(), wildcard)].into());
        let verdict = |thread, sender, mentioned| {
            rules.judge(&Approach { thread, sender, ..group("-1", "", mentioned) }, &store()).unwrap()
        };
        assert_eq!(verdict(Some(7), "9", false), Verdict::Accept);
        assert_eq!(verdict(Some(7), "8", false), Verdict::Refuse("sender is not on the list"));
        assert_eq!(verdict(Some(8), "9", false), Verdict::Refuse("bot is not mentioned"));
        let other = rules.judge(&group("-2", "9", true), &store()).unwrap();
        assert_eq!(other, Verdict::Refuse("group or topic is disabled"));
    }
}
