//! What a chat's own configuration takes from runs in it (D38).

use openclaw_channels::table;
use openclaw_config::{Config, InGroup, ToolRules};

use super::Principal;

/// The rules of the group that the session belongs to, for what `by` asks for there; none for other sessions.
pub fn limits(config: &Config, by: &Principal, session: &str) -> Vec<ToolRules> {
    let Some((channel, chat, topic)) = group_of(session) else { return vec![] };
    let (account, sender) = match by {
        Principal::Person { channel: own, account, id, .. } if own == channel => Some((account, id)),
        _ => None,
    }
    .unzip();
    let run = InGroup { account: account.map(String::as_str), chat, topic, sender: sender.map(String::as_str) };
    table::find(channel).map_or_else(Vec::new, |factory| (factory.tool_rules)(config, &run))
}

/// Channel, chat and topic of `agent:<id>:<channel>:group:<chat>[:topic:<topic>]`.
fn group_of(session: &str) -> Option<(&str, &str, Option<&str>)> {
    let (_, rest) = session.strip_prefix("agent:")?.split_once(':')?;
    let (channel, rest) = rest.split_once(":group:")?;
    Some(match rest.split_once(":topic:") {
        Some((chat, topic)) => (channel, chat, Some(topic)),
        None => (channel, rest, None),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rights::{Rights, Standing};

    fn config() -> Config {
        let text = "{channels:{telegram:{botToken:'1:A',groups:{'-100':{tools:{deny:['node_run']},
            toolsBySender:{'42':{},'*':{deny:['exec']}},topics:{'7':{tools:{deny:['nodes_list']}}}}}}}}";
        openclaw_config::parse(text, &|_| None).unwrap().config
    }

    fn person(id: &str, session: &str) -> Principal {
        Principal::Person {
            channel: "telegram".into(),
            account: "default".into(),
            id: id.into(),
            chat: "-100".into(),
            session: session.into(),
            standing: Standing::Owner,
        }
    }

    fn denied(by: &Principal, session: &str) -> Vec<String> {
        limits(&config(), by, session).into_iter().flat_map(|rules| rules.deny).collect()
    }

    #[test]
    fn d38_a_group_limits_the_runs_in_it_and_no_others() {
        let group = "agent:ops:telegram:group:-100";
        let topic = format!("{group}:topic:7");
        assert_eq!(denied(&person("42", group), group), ["node_run"]);
        assert_eq!(denied(&person("43", group), group), ["node_run", "exec"]);
        assert_eq!(denied(&person("43", &topic), &topic), ["node_run", "exec", "nodes_list"]);
        assert_eq!(denied(&Principal::Gateway, group), ["node_run"], "nobody in the group asked for it");
        for other in ["agent:ops:main", "agent:ops:telegram:dm:42", "agent:ops:telegram:group:-101", "global"] {
            assert_eq!(denied(&person("43", other), other), Vec::<String>::new(), "{other}");
        }
    }

    /// What one person writes enters no run in which he may do less than who asked for it.
    #[test]
    fn s23_texts_of_people_with_other_tools_are_not_joined() {
        let group = "agent:main:telegram:group:-100";
        let of = |by: &Principal| Rights::of(&config(), by, group);
        let (ann, bob) = (of(&person("42", group)), of(&person("43", group)));
        assert!(ann != bob && ann.cover(&bob) && !bob.cover(&ann));
        assert!(ann.cover(&ann) && of(&Principal::Gateway).cover(&ann) && of(&person("44", group)) == bob);
    }
}
