//! Step 3a of a message: for which agent it is (`bindings`), who wrote it, and in which session that is. Who may write at all was
//! judged when it was received. Next: `admit.rs`.

use std::sync::Arc;

use openclaw_channels::{ChatKind, Inbound};
use openclaw_config::{BindingPeer, Config, DmScope, PeerKind};

use crate::{
    channels::{
        Channels,
        inbox::{Record, Taken},
    },
    rights::{self, Principal, Standing},
    sessions::key::{default_agent, main_key},
};

/// A message, who wrote it, and for which session.
pub struct Addressed {
    /// The message.
    pub taken: Arc<Taken>,
    /// `None` where the chat is bound to an agent that is not there.
    pub by: Option<Principal>,
    /// Where no agent answers, the chat stands for the session.
    pub session: String,
}

/// Whose a message is now: the next time it may be another agent's.
pub fn address(channels: &Channels, config: &Config, taken: &Arc<Taken>) -> Addressed {
    let Record { channel, account, message } = &taken.record;
    let by = person(channels, config, channel, account, message);
    let session = match &by {
        Some(Principal::Person { session, .. }) => session.clone(),
        _ => format!("{channel} {account} {}", message.chat.address()),
    };
    Addressed { taken: taken.clone(), by, session }
}

/// Who wrote a message that came in: the one place where people of chats become principals. `None` where the chat is bound
/// to an agent that is not there.
pub fn person(
    channels: &Channels,
    config: &Config,
    channel: &str,
    account: &str,
    message: &Inbound,
) -> Option<Principal> {
    let agent = agent_of(config, channel, account, message)?;
    let sender = message.sender.id.as_str();
    let pairing = channels.pairing(channel);
    let is_owner = rights::owner_of(config, channel, account, pairing.as_deref()).is(sender);
    let (session, is_shared) = session_of(config, agent, (channel, account), message, is_owner);
    let standing = match (is_owner, is_shared) {
        (true, _) => Standing::Owner,
        (false, false) => Standing::Alone,
        (false, true) => Standing::Sharing,
    };
    Some(Principal::Person {
        channel: channel.to_owned(),
        account: account.to_owned(),
        id: sender.to_owned(),
        chat: message.chat.address(),
        session,
        standing,
    })
}

/// How closely a binding names a message; the later is the closer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Close {
    /// All accounts of its channel.
    Channel,
    /// Its account.
    Account,
    /// The group of its topic.
    Group,
    /// Its chat, or its topic.
    Chat,
}

/// The agent of a message: that of the binding that names it most closely (the first of several), else the default agent. `None`
/// when that binding names an agent that is not there: then nobody is to answer, and no other agent either.
fn agent_of<'c>(config: &'c Config, channel: &str, account: &str, message: &Inbound) -> Option<&'c str> {
    let mut closest: Option<(Close, &str)> = None;
    for binding in config.bindings.iter().filter(|binding| binding.is_of(channel, account)) {
        let of = &binding.of;
        let close = match &of.peer {
            // Services of this gateway have neither.
            _ if of.guild_id.is_some() || of.team_id.is_some() => None,
            Some(peer) => closeness(peer, message),
            None if binding.account() == "*" => Some(Close::Channel),
            None => Some(Close::Account),
        };
        if let Some(close) = close.filter(|close| closest.is_none_or(|(so_far, _)| *close > so_far)) {
            closest = Some((close, &binding.agent_id));
        }
    }
    match closest {
        Some((_, agent)) => config.agent_named(agent),
        None => Some(default_agent(config)),
    }
}

fn closeness(peer: &BindingPeer, message: &Inbound) -> Option<Close> {
    let is_kind = match message.kind {
        ChatKind::Direct => peer.kind.is_direct(),
        ChatKind::Group => peer.kind == PeerKind::Group,
    };
    let id = peer.id.id().to_lowercase();
    let is = |address: &str| is_kind && id == address.to_lowercase();
    if is(&message.chat.address()) {
        return Some(Close::Chat);
    }
    is(&message.chat.chat).then_some(Close::Group)
}

/// The session of a message for `agent`, and whether others may write in it as well. Without `session.dmScope` the
/// owner's private chats are the agent's main session, and everybody else has one of his own (D46).
fn session_of(
    config: &Config,
    agent: &str,
    (channel, account): (&str, &str),
    message: &Inbound,
    is_owner: bool,
) -> (String, bool) {
    let chat = message.chat.chat.to_lowercase();
    match message.kind {
        ChatKind::Group => {
            let base = format!("agent:{agent}:{channel}:group:{chat}");
            (message.chat.thread.map_or(base.clone(), |t| format!("{base}:topic:{t}")), true)
        }
        ChatKind::Direct => {
            let peer = message.sender.id.to_lowercase();
            let scope = match (config.session.dm_scope, is_owner) {
                (Some(scope), _) => scope,
                (None, true) => DmScope::Main,
                (None, false) => DmScope::PerChannelPeer,
            };
            match scope {
                DmScope::Main => (main_key(config, agent), true),
                DmScope::PerPeer => (format!("agent:{agent}:dm:{peer}"), false),
                DmScope::PerChannelPeer => (format!("agent:{agent}:{channel}:dm:{peer}"), false),
                DmScope::PerAccountChannelPeer => (format!("agent:{agent}:{channel}:{account}:dm:{peer}"), false),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use openclaw_channels::{Sender, Target};
    use serde_json::{Value, json};

    use super::*;

    fn message(kind: ChatKind, chat: &str, thread: Option<i64>) -> Inbound {
        Inbound {
            key: "k".into(),
            kind,
            chat: Target { chat: chat.into(), thread },
            title: None,
            sender: Sender { id: "42".into(), name: "Ann".into(), username: None },
            text: "hi".into(),
            media: vec![],
            message_id: "7".into(),
            quoted: None,
            sent_at: 0,
        }
    }

    fn config(bindings: &Value) -> Config {
        let list =
            json!([{"id": "first"}, {"id": "main", "default": true}, {"id": "Ops"}, {"id": "group"}, {"id": "topic"}]);
        let file = json!({"agents": {"list": list}, "bindings": bindings});
        openclaw_config::parse(&file.to_string(), &|_| None).unwrap().config
    }

    #[test]
    fn the_closest_binding_counts_wherever_it_stands() {
        let peer =
            |kind: &str, id: &str| json!({"channel": "telegram", "accountId": "*", "peer": {"kind": kind, "id": id}});
        let config = config(&json!([
            {"agentId": "first", "match": {"channel": "telegram", "accountId": "*"}},
            {"agentId": "OPS", "match": {"channel": "telegram"}},
            {"agentId": "group", "match": peer("group", "-100")},
            {"agentId": "topic", "match": peer("group", "-100:topic:7")},
            {"agentId": "main", "match": peer("group", "-100")},
            {"agentId": "topic", "match": peer("dm", "42")},
            {"agentId": "group", "match": peer("channel", "-200")},
            {"agentId": "group", "match": {"channel": "telegram", "accountId": "work", "guildId": "1"}},
        ]));
        let of = |account: &str, message: &Inbound| agent_of(&config, "telegram", account, message);
        let (group, direct) = (ChatKind::Group, ChatKind::Direct);
        assert_eq!(of("work", &message(group, "-100", Some(7))), Some("topic"));
        assert_eq!(
            of("work", &message(group, "-100", Some(8))),
            Some("group"),
            "the group of the topic, the first of two"
        );
        assert_eq!(of("work", &message(group, "-100", None)), Some("group"));
        assert_eq!(of("work", &message(direct, "42", None)), Some("topic"));
        assert_eq!(of("work", &message(group, "42", None)), Some("first"), "a group is no person");
        assert_eq!(of("default", &message(direct, "43", None)), Some("ops"), "the account before the channel");
        assert_eq!(of("work", &message(group, "-200", None)), Some("first"), "a group is no broadcast channel");
        assert_eq!(agent_of(&config, "whatsapp", "default", &message(direct, "42", None)), Some("main"));
    }

    #[test]
    fn d36_what_is_bound_to_nobody_goes_to_nobody() {
        let bound = json!([
            {"agentId": "first", "match": {"channel": "telegram", "accountId": "*"}},
            {"agentId": "gone", "match": {"channel": "telegram", "accountId": "*", "peer": {"kind": "group", "id": "-100"}}},
        ]);
        let config = config(&bound);
        assert_eq!(agent_of(&config, "telegram", "default", &message(ChatKind::Group, "-100", None)), None);
        assert_eq!(agent_of(&config, "telegram", "default", &message(ChatKind::Group, "-101", None)), Some("first"));
        let one =
            openclaw_config::parse("{bindings:[{agentId:'Main',match:{channel:'telegram'}}]}", &|_| None).unwrap();
        let found = agent_of(&one.config, "telegram", "default", &message(ChatKind::Direct, "42", None));
        assert_eq!(found, Some("main"), "without a list there is one agent");
    }
}
