//! Who has said what: people by their messages, clients by their requests. What is drawn begins with who says it and a
//! number of its own (`person 2 5: `, `box-1 3: `), so that it is recognised wherever it turns up.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    Bound, Expect,
    conn::{Conn, Hello, Request},
    facts::{Facts, Mark},
    sheet::{Need, Rights},
};
use crate::history::What;

/// Requests that hand the gateway a text of their caller.
const SAYING: [&str; 6] = ["chat.send", "agent", "send", "chat.inject", "wake", "system-event"];
/// Members of a node's report that may hold words.
const REPORTED: [&str; 5] = ["message", "text", "command", "output", "reason"];
/// Longer beginnings are none.
const LONGEST_STAMP: usize = 60;

/// Somebody.
#[derive(Debug, Clone, Copy)]
pub enum Who<'a> {
    /// Somebody at the Bot API.
    Person {
        /// Their number.
        id: i64,
        /// The chat in which they said it.
        chat: i64,
        /// One of the gateway's owners.
        owner: bool,
    },
    /// A client on a connection that was let in.
    Client {
        /// Its name.
        name: &'a str,
        /// Its rights there.
        rights: &'a Rights,
        /// Id of a node: its device's, else its program's.
        node: Option<&'a str>,
        /// What that node is bound to.
        bound: Option<&'a Bound>,
    },
}

impl Who<'_> {
    /// Owners, and operators with admin: those whose runs may have tools that run commands (D47).
    pub fn is_trusted(&self) -> bool {
        match self {
            Self::Person { owner, .. } => *owner,
            Self::Client { rights, .. } => rights.meet(Need::Admin),
        }
    }

    /// A node that is bound to this chat.
    pub fn is_bound_to(&self, chat: &str) -> bool {
        matches!(self, Self::Client { bound: Some(bound), .. } if bound.has_chat(chat))
    }

    /// A node that is bound to some session besides its own.
    pub fn is_bound(&self) -> bool {
        matches!(self, Self::Client { bound: Some(bound), .. } if !bound.sessions.is_empty())
    }

    /// In words.
    pub fn name(&self) -> String {
        match self {
            Self::Person { id, owner: true, .. } => format!("person {id}, the owner,"),
            Self::Person { id, .. } => format!("person {id}"),
            Self::Client { name, node: Some(_), .. } => format!("{name}, a node,"),
            Self::Client { name, rights, .. } => format!("{name} (scopes \"{}\")", rights.scopes.join(" ")),
        }
    }

    /// May start runs in the session of this whole key (D48).
    pub fn may_run_in(&self, session: &str) -> bool {
        match self {
            Self::Person { id, chat, owner } => {
                let own = |id: &i64| session.ends_with(&format!(":dm:{id}"));
                *owner || own(id) || (*chat < 0 && session.contains(&format!(":group:{chat}")))
            }
            Self::Client { node: Some(id), bound, .. } => {
                let own = session.starts_with("agent:") && session.ends_with(&format!(":node-{}", id.to_lowercase()));
                own || bound.is_some_and(|b| b.has_session(session))
            }
            Self::Client { rights, .. } => rights.meet(Need::Write),
        }
    }

    /// May end runs in it (D46, D48): of those who share a group only the owner.
    pub fn may_end(&self, session: &str) -> bool {
        match self {
            Self::Person { id, owner, .. } => *owner || session.ends_with(&format!(":dm:{id}")),
            Self::Client { node: Some(_), .. } => false,
            other @ Self::Client { .. } => other.may_run_in(session),
        }
    }

    /// May change it as a whole: owners, operators with admin, others their own (D48).
    pub fn may_change(&self, session: &str) -> bool {
        match self {
            Self::Client { node: None, rights, .. } => rights.meet(Need::Admin),
            other => other.may_end(session),
        }
    }
}

/// Who asks on a connection.
pub fn of_conn<'c>(c: &'c Conn<'_>, hello: &'c Hello<'_>, expect: &'c Expect) -> Who<'c> {
    let id = hello.params["device"]["id"].as_str().or_else(|| hello.params["client"]["id"].as_str());
    let node = id.filter(|_| hello.rights.node);
    Who::Client { name: c.client, rights: &hello.rights, node, bound: node.and_then(|id| expect.bound.get(id)) }
}

/// Something that was said.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// When.
    pub at: Mark,
    /// By whom.
    pub who: Who<'a>,
    /// Its beginning, which nothing else has.
    pub stamp: &'a str,
}

/// Everything that can be recognised, by its beginning.
pub fn all<'c>(conns: &'c [Conn<'_>], facts: &Facts<'c>, expect: &'c Expect) -> BTreeMap<&'c str, Said<'c>> {
    let mut all = BTreeMap::new();
    let mut add = |at, who: Who<'c>, text: &'c str| {
        if let Some(stamp) = stamp(text) {
            all.entry(stamp).or_insert(Said { at, who, stamp });
        }
    };
    for r in facts.history {
        let What::Update { update, .. } = &r.what else { continue };
        if let (Some(person), Some(text)) = (person(update, expect), update["text"].as_str()) {
            add(Mark::of(r), person, text);
        }
    }
    for c in conns {
        let Some(hello) = &c.hello else { continue };
        for r in &c.requests {
            for text in words(r) {
                add(r.at, of_conn(c, hello, expect), text);
            }
        }
    }
    all
}

/// Who has sent an update.
pub fn person<'a>(update: &Value, expect: &Expect) -> Option<Who<'a>> {
    let chat = update["chat"].as_i64()?;
    let id = update["from"].as_i64().unwrap_or(chat);
    Some(Who::Person { id, chat, owner: expect.owners.contains(&id) })
}

/// Words in a request that are its caller's own.
fn words<'a>(r: &Request<'a>) -> Vec<&'a str> {
    if SAYING.contains(&r.method) {
        return ["message", "text"].iter().filter_map(|key| r.params[*key].as_str()).collect();
    }
    if r.method != "node.event" {
        return vec![];
    }
    match r.params["payloadJSON"].as_str() {
        // Stamps have no character that JSON writes in another way.
        Some(json) => REPORTED
            .iter()
            .filter_map(|key| Some(json.split_once(&format!("\"{key}\":\""))?.1.split_once('"')?.0))
            .collect(),
        None => REPORTED.iter().filter_map(|key| r.params["payload"][*key].as_str()).collect(),
    }
}

/// `person 2 5: ` of a text that begins like that.
fn stamp(text: &str) -> Option<&str> {
    let (head, _) = text.trim().split_once(": ")?;
    let (who, number) = head.rsplit_once(' ')?;
    let sound = !who.is_empty() && head.len() <= LONGEST_STAMP && number.bytes().all(|b| b.is_ascii_digit());
    let from = text.len() - text.trim_start().len();
    sound.then(|| &text[from..from + head.len() + 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_begins_with_a_name_and_a_number_is_recognised() {
        assert_eq!(stamp(" person 2 15: hello: x"), Some("person 2 15: "));
        assert_eq!(stamp("box-1 3: "), None);
        assert_eq!(stamp("box-1 3: x"), Some("box-1 3: "));
        for none in ["hello", "a: b", "3: x", "who x: y", "/stop", ""] {
            assert_eq!(stamp(none), None, "{none}");
        }
    }
}
