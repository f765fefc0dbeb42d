//! The one table of rights. docs/security.md shows it; a test compares it with one written by hand.

use openclaw_config::{Config, ToolRules};
use openclaw_protocol::scope::{Scope, Scopes};

use super::{Principal, Standing, limits};
use crate::sessions::{entry::Route, key};

/// Which sessions an effect is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where<'a> {
    /// This one, by its canonical key.
    Session(&'a str),
    /// Any of all.
    Any,
}

/// Something that a principal may or may not cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect<'a> {
    /// Read a session: its transcript, its settings, its events.
    See(Where<'a>),
    /// Put a message to the agent in a session.
    Run(Where<'a>),
    /// End runs of a session, one's own or not.
    Stop(Where<'a>),
    /// Change a session for everybody in it: begin it anew, retune or delete it.
    Change(Where<'a>),
    /// Be offered tools that run commands or reach beyond the chat (D47), and use them.
    Commands,
    /// Have a message sent to a chat; `None`: to any chat.
    Send(Option<&'a Route>),
    /// Decide whether a command may run.
    Decide,
    /// Change the configuration, and restart the gateway.
    Configure,
}

/// True when the principal may cause the effect.
pub fn may(config: &Config, who: &Principal, effect: Effect<'_>) -> bool {
    match who {
        Principal::Gateway | Principal::Person { standing: Standing::Owner, .. } => true,
        Principal::Operator { scopes } => operator(config, scopes, effect),
        Principal::Person { channel, account, id, chat, session, standing } => match effect {
            Effect::See(Where::Session(key)) | Effect::Run(Where::Session(key)) => key == session,
            Effect::Stop(Where::Session(key)) | Effect::Change(Where::Session(key)) => {
                key == session && *standing == Standing::Alone
            }
            Effect::Commands => is_caller(config, &format!("{channel}:{id}")),
            Effect::Send(Some(to)) => to.channel == *channel && to.account_id == *account && is_chat(&to.to, chat),
            _ => false,
        },
        Principal::Node { id } => {
            let bound = config.gateway.nodes.bind.get(id);
            match effect {
                Effect::See(Where::Session(key)) | Effect::Run(Where::Session(key)) => {
                    let named = |shown: &String| key::canonical(config, shown).as_deref() == Some(key);
                    key::of_node(config, id).as_deref() == Some(key)
                        || bound.is_some_and(|b| b.sessions.iter().any(named))
                }
                Effect::Send(Some(to)) => bound.is_some_and(|b| b.targets.iter().any(|target| is_target(target, to))),
                Effect::Commands => is_caller(config, &format!("node:{id}")),
                _ => false,
            }
        }
        // What a hook may name is decided where hooks are served.
        Principal::Hook { name } => matches!(effect, Effect::Commands) && is_caller(config, &format!("hook:{name}")),
    }
}

/// Operators with read see sessions, with write run in them, with admin change them (D48).
fn operator(config: &Config, scopes: &Scopes, effect: Effect<'_>) -> bool {
    match effect {
        Effect::See(_) => scopes.allow(Scope::Read),
        Effect::Run(_) | Effect::Stop(_) | Effect::Send(_) => scopes.allow(Scope::Write),
        Effect::Change(_) | Effect::Configure => scopes.allow(Scope::Admin),
        Effect::Commands => {
            scopes.allow(Scope::Admin) || (scopes.allow(Scope::Write) && is_caller(config, Scope::Write.as_str()))
        }
        Effect::Decide => scopes.allow(Scope::Approvals),
    }
}

/// Named in `tools.exec.callers`, to the letter; an operator's scope is written without its dot (`operator:write`).
fn is_caller(config: &Config, who: &str) -> bool {
    let written = who.replacen("operator.", "operator:", 1);
    config.tools.exec.callers.iter().any(|caller| caller.trim() == written)
}

/// The same chat, in whichever topic of it.
fn is_chat(to: &str, chat: &str) -> bool {
    let base = |target: &str| target.split(":topic:").next().unwrap_or_default().trim().to_owned();
    base(to) == base(chat)
}

/// `channel:chat` or `channel:account:chat` of a binding names the chat of a route.
fn is_target(target: &str, to: &Route) -> bool {
    let Some((channel, rest)) = target.trim().split_once(':') else { return false };
    let with_account = rest.strip_prefix(to.account_id.as_str()).and_then(|r| r.strip_prefix(':'));
    channel.eq_ignore_ascii_case(&to.channel)
        && (is_chat(&to.to, rest) || with_account.is_some_and(|rest| is_chat(&to.to, rest)))
}

/// Why an effect was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// An operator lacks this scope.
    #[error("missing scope: {}", .0.as_str())]
    Scope(Scope),
    /// A person, a node or a hook named what is not its own.
    #[error("that session or chat is not yours: nothing was done")]
    NotYours,
}

/// Refuses what the principal may not cause.
///
/// # Errors
/// [`Refused`].
pub fn require(config: &Config, who: &Principal, effect: Effect<'_>) -> Result<(), Refused> {
    if may(config, who, effect) { Ok(()) } else { Err(refusal(who, effect)) }
}

/// Why the principal is refused the effect.
pub fn refusal(who: &Principal, effect: Effect<'_>) -> Refused {
    let scope = match effect {
        Effect::See(_) => Scope::Read,
        Effect::Run(_) | Effect::Stop(_) | Effect::Send(_) => Scope::Write,
        Effect::Change(_) | Effect::Commands | Effect::Configure => Scope::Admin,
        Effect::Decide => Scope::Approvals,
    };
    match who {
        Principal::Operator { .. } => Refused::Scope(scope),
        _ => Refused::NotYours,
    }
}

/// All that a principal may do in and around one session, to compare texts by. Two texts belong together only when they
/// have the same rights: neither may borrow the other's (S23).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    kind: Kind,
    /// The only chat that a person may have messages sent to: where private chats are one session, what one of them writes
    /// is not answered in another's chat.
    chat: Option<String>,
    effects: [bool; 9],
    /// What the group of the session takes from these.
    limits: Vec<ToolRules>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Owners, operators and the gateway itself.
    Trusted,
    Person,
    Node,
    Hook,
}

impl Rights {
    /// Of a principal in a session.
    pub fn of(config: &Config, who: &Principal, session: &str) -> Self {
        let here = Where::Session(session);
        let effects = [
            Effect::Commands,
            Effect::Decide,
            Effect::Configure,
            Effect::Change(here),
            Effect::Stop(here),
            Effect::See(Where::Any),
            Effect::Run(Where::Any),
            Effect::Change(Where::Any),
            Effect::Send(None),
        ];
        let kind = match who {
            Principal::Gateway | Principal::Operator { .. } | Principal::Person { standing: Standing::Owner, .. } => {
                Kind::Trusted
            }
            Principal::Person { .. } => Kind::Person,
            Principal::Node { .. } => Kind::Node,
            Principal::Hook { .. } => Kind::Hook,
        };
        let chat = match who {
            Principal::Person { chat, .. } if kind == Kind::Person => Some(chat.clone()),
            _ => None,
        };
        let limits = limits(config, who, session);
        Self { kind, chat, effects: effects.map(|effect| may(config, who, effect)), limits }
    }

    /// True when whoever has these may do all that `other` may: what he says can enter a run of `other` without lowering
    /// its rights.
    pub fn cover(&self, other: &Self) -> bool {
        let is_same = self.kind == other.kind && self.chat == other.chat;
        (is_same || self.kind == Kind::Trusted)
            && self.limits.iter().all(|limit| other.limits.contains(limit))
            && self.effects.iter().zip(other.effects).all(|(mine, theirs)| *mine || !theirs)
    }

    /// True with tools that run commands.
    pub fn has_commands(&self) -> bool {
        self.effects[0]
    }
}
