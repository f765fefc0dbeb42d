//! Who may do what, written from the decisions (S23, S24, S28, S32, D46 to D48) and not from the code: the model's own
//! idea, in words as few as possible.

use super::support::Device;

/// People in chats: the owner (first of `allowFrom`), one who is allowed, a stranger who may get paired.
pub const PEOPLE: [i64; 3] = [42, 7, 9];
/// The group that all of them are in.
pub const GROUP: i64 = -100;
/// Operators by scope.
pub const OPERATORS: [&str; 4] = ["approvals", "read", "write", "admin"];
/// The session of heartbeats.
pub const MAIN: &str = "agent:main:main";
/// A session of operators.
pub const WORK: &str = "agent:main:work";
/// How many sessions [`session`] names.
pub const SESSIONS: usize = 7;

/// Sessions that are named: the owner's, the allowed person's, the stranger's, the group's, one more, the nodes' own.
pub fn session(n: usize) -> String {
    match n % SESSIONS {
        0 => MAIN.to_owned(),
        1 => "agent:main:telegram:dm:7".to_owned(),
        2 => "agent:main:telegram:dm:9".to_owned(),
        3 => "agent:main:telegram:group:-100".to_owned(),
        4 => WORK.to_owned(),
        n => node_session(n - 5),
    }
}

/// A node's own session.
pub fn node_session(node: usize) -> String {
    format!("agent:main:node-{}", node_device(node).id())
}

/// A node's key.
pub fn node_device(node: usize) -> Device {
    Device::new(20 + u8::try_from(node).unwrap())
}

/// What the configuration of a sequence says.
#[derive(Debug, Clone)]
pub struct Setup {
    /// `session.dmScope`: unset, `main`, `per-channel-peer`.
    pub scope: Option<&'static str>,
    /// `messages.queue.mode`.
    pub mode: &'static str,
    /// `tools.exec.callers` names person 7, operators with write and node 1.
    pub callers: bool,
    /// `tools.exec` lets every program run; else a person is asked.
    pub free_exec: bool,
    /// Node 1 is bound to the main session (else to `work`), and to the chat of person 7.
    pub bound_to_main: bool,
    /// The stranger was paired earlier; else he may be in the sequence.
    pub paired: bool,
    /// The session that most of a sequence is about, as [`session`] counts.
    pub focus: usize,
}

/// Who wrote something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Author {
    /// Index into [`PEOPLE`].
    Person(usize),
    /// Index into [`OPERATORS`].
    Operator(usize),
    /// Node 0 is bound to nothing, node 1 is.
    Node(usize),
}

/// What somebody may do in a session, as far as texts are compared by it: two texts of one run have the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Class {
    /// The owner, operators with admin, the gateway itself.
    Full,
    /// Operators with write.
    Write { commands: bool },
    /// Somebody in a session of his own.
    Alone { chat: i64, commands: bool },
    /// Somebody in a group, or where private chats are one session.
    Sharing { chat: i64, commands: bool },
    /// Nodes.
    Node { commands: bool },
    /// Operators without write: nothing that they write goes anywhere.
    Nobody,
}

impl Class {
    /// Tools that run commands.
    pub fn commands(&self) -> bool {
        match self {
            Self::Full => true,
            Self::Nobody => false,
            Self::Write { commands }
            | Self::Alone { commands, .. }
            | Self::Sharing { commands, .. }
            | Self::Node { commands } => *commands,
        }
    }

    /// May do all that `other` may: ends its runs in the mode `interrupt`, leaves notes for it.
    pub fn covers(&self, other: &Self) -> bool {
        let commands = self.commands() || !other.commands();
        match (self, other) {
            (Self::Full, _) => true,
            (Self::Write { .. }, Self::Write { .. } | Self::Sharing { .. } | Self::Node { .. })
            | (Self::Node { .. }, Self::Node { .. }) => commands,
            (Self::Alone { chat: a, .. }, Self::Alone { chat: b, .. })
            | (Self::Sharing { chat: a, .. }, Self::Sharing { chat: b, .. }) => commands && a == b,
            _ => false,
        }
    }

    /// Sees, and speaks in, any session.
    pub fn anywhere(&self) -> bool {
        matches!(self, Self::Full | Self::Write { .. })
    }

    /// Sends to a chat.
    pub fn sends_to(&self, to: i64) -> bool {
        match self {
            Self::Full | Self::Write { .. } => true,
            Self::Alone { chat, .. } | Self::Sharing { chat, .. } => *chat == to,
            // Only one node is bound to a chat, and only it can have tools.
            Self::Node { commands } => *commands && to == PEOPLE[1],
            Self::Nobody => false,
        }
    }
}

impl Setup {
    /// The class of an author who writes in `chat` (people only).
    pub fn class(&self, author: Author, chat: i64) -> Class {
        match author {
            Author::Person(0) | Author::Operator(3) => Class::Full,
            Author::Person(n) => {
                let commands = self.callers && n == 1;
                if chat == GROUP || self.scope == Some("main") {
                    Class::Sharing { chat, commands }
                } else {
                    Class::Alone { chat, commands }
                }
            }
            Author::Operator(2) => Class::Write { commands: self.callers },
            Author::Operator(_) => Class::Nobody,
            Author::Node(n) => Class::Node { commands: self.callers && n == 1 },
        }
    }

    /// The session of a chat.
    pub fn session_of(&self, chat: i64) -> String {
        match (chat, self.scope) {
            (GROUP, _) => session(3),
            (_, Some("main")) | (42, None) => MAIN.to_owned(),
            (person, _) => format!("agent:main:telegram:dm:{person}"),
        }
    }

    /// Whether a node may name a session.
    pub fn node_may_name(&self, node: usize, session: &str) -> bool {
        session == node_session(node) || (node == 1 && session == self.bound())
    }

    /// The session that node 1 is bound to.
    pub fn bound(&self) -> &'static str {
        if self.bound_to_main { MAIN } else { WORK }
    }

    /// Whether somebody may end runs of a session, whoever's they are.
    pub fn may_stop(&self, author: Author, chat: i64) -> bool {
        matches!(self.class(author, chat), Class::Full | Class::Write { .. } | Class::Alone { .. })
    }

    /// Whether somebody may begin a session anew and retune it.
    pub fn may_change(&self, author: Author, chat: i64) -> bool {
        matches!(self.class(author, chat), Class::Full | Class::Alone { .. })
    }
}
