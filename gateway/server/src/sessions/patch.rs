//! Changes of a session's settings that somebody asks for (`sessions.patch`, agent-chat-channels.md section 7).

use std::fmt;

use openclaw_config::ModelRef;
use openclaw_platform::Millis;
use openclaw_protocol::{
    display,
    params::{GroupActivation, SendPolicy, SessionsPatchParams},
    wire::{NonEmpty, Text},
};
use redb::WriteTransaction;

use super::{
    entry::{SessionEntry, THINKING},
    index,
};
use crate::{limits::SESSIONS, store::StoreError};

/// `Some(None)` clears, `Some(Some(v))` sets, `None` leaves alone.
type Change<T> = Option<Option<T>>;

/// What another word means.
type Synonyms = [(&'static str, &'static str)];

const ON_OFF: [(&str, &str); 7] =
    [("true", "on"), ("yes", "on"), ("1", "on"), ("false", "off"), ("no", "off"), ("0", "off"), ("all", "full")];

/// Settings that are to change, all of them valid by themselves.
pub struct Patch {
    label: Change<String>,
    thinking: Change<String>,
    verbose: Change<String>,
    reasoning: Change<String>,
    usage: Change<String>,
    elevated: Change<String>,
    exec_host: Change<String>,
    exec_security: Change<String>,
    exec_ask: Change<String>,
    exec_node: Change<String>,
    model: Change<ModelRef>,
    spawned_by: Change<String>,
    send_policy: Change<SendPolicy>,
    activation: Change<GroupActivation>,
}

/// Why settings do not change.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// A level is none of those that a field takes.
    Level {
        /// The field, as the wire names it.
        field: &'static str,
        /// What was given.
        value: String,
        /// What it takes.
        allowed: &'static [&'static str],
    },
    /// No configured model is meant.
    Model,
    /// Only a subagent's session has a parent.
    NoSubagent,
    /// A parent stays.
    HasParent,
    /// Another session has the label (D48).
    LabelInUse(String),
    /// No further session fits (F55).
    Full,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Level { field, value, allowed } => {
                write!(f, "invalid {field} \"{}\" (use {})", display::short(value, 32), allowed.join("|"))
            }
            Self::Model => f.write_str("invalid model: expected provider/model, as models.list names them"),
            Self::NoSubagent => f.write_str("spawnedBy is only supported for subagent sessions"),
            Self::HasParent => f.write_str("spawnedBy cannot be changed once set"),
            Self::LabelInUse(label) => write!(f, "label already in use: {}", label.escape_debug()),
            Self::Full => write!(f, "this gateway keeps at most {SESSIONS} sessions: delete some first"),
        }
    }
}

/// A level in the word that is kept: clients write it in any case, and some levels have other words.
fn level(
    field: &'static str,
    change: Option<&Option<NonEmpty>>,
    allowed: &'static [&'static str],
    synonyms: &Synonyms,
) -> Result<Change<String>, Refused> {
    let Some(Some(value)) = change else { return Ok(change.map(|_| None)) };
    let value = value.trim().to_lowercase();
    let plain = synonyms.iter().find(|(word, _)| *word == value).map_or(value.as_str(), |(_, level)| level);
    if allowed.contains(&plain) {
        return Ok(Some(Some(plain.to_owned())));
    }
    Err(Refused::Level { field, value, allowed })
}

fn text(change: Option<&Option<NonEmpty>>) -> Change<String> {
    change.map(|value| value.as_ref().map(|text| text.as_str().to_owned()))
}

fn set<T: Clone>(slot: &mut Option<T>, change: Option<&Option<T>>) {
    if let Some(value) = change {
        slot.clone_from(value);
    }
}

impl Patch {
    /// What `p` asks for; `model` finds the model that a text names.
    ///
    /// # Errors
    /// [`Refused::Level`], [`Refused::Model`].
    pub fn of(p: &SessionsPatchParams, model: impl Fn(&str) -> Option<ModelRef>) -> Result<Self, Refused> {
        let named = |text: &NonEmpty| model(text).ok_or(Refused::Model);
        Ok(Self {
            label: p.label.as_ref().map(|label| label.as_ref().map(|l: &Text<1, 64>| l.as_str().to_owned())),
            thinking: level("thinkingLevel", p.thinking_level.as_ref(), &THINKING, &[])?,
            verbose: level("verboseLevel", p.verbose_level.as_ref(), &["on", "off", "full"], &ON_OFF)?,
            reasoning: level("reasoningLevel", p.reasoning_level.as_ref(), &["on", "off", "stream"], &[])?,
            usage: level("responseUsage", p.response_usage.as_ref(), &["off", "tokens", "full", "on"], &[])?,
            elevated: level("elevatedLevel", p.elevated_level.as_ref(), &["on", "off", "ask", "full"], &[])?,
            exec_host: level("execHost", p.exec_host.as_ref(), &["sandbox", "gateway", "node"], &[])?,
            exec_security: level("execSecurity", p.exec_security.as_ref(), &["deny", "allowlist", "full"], &[])?,
            exec_ask: level("execAsk", p.exec_ask.as_ref(), &["off", "on-miss", "always"], &[])?,
            exec_node: text(p.exec_node.as_ref()),
            model: p.model.as_ref().map(|model| model.as_ref().map(named).transpose()).transpose()?,
            spawned_by: text(p.spawned_by.as_ref()),
            send_policy: p.send_policy,
            activation: p.group_activation,
        })
    }

    /// Whether `entry`, the session `key` as it is now, may change so; seen in the transaction that changes it, so that of two
    /// at once one is refused and leaves nothing.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(super) fn check(
        &self,
        tx: &WriteTransaction,
        key: &str,
        entry: Option<&SessionEntry>,
    ) -> Result<Option<Refused>, StoreError> {
        if let Some(Some(_)) = &self.spawned_by {
            if !key.contains(":subagent:") {
                return Ok(Some(Refused::NoSubagent));
            }
            if entry.is_some_and(|e| e.spawned_by.is_some()) {
                return Ok(Some(Refused::HasParent));
            }
        }
        if let Some(Some(label)) = &self.label
            && index::is_taken(tx, label, key)?
        {
            return Ok(Some(Refused::LabelInUse(label.clone())));
        }
        let is_full = entry.is_none() && index::count_now(tx)? >= SESSIONS;
        Ok(is_full.then_some(Refused::Full))
    }

    /// Changes an entry at this time.
    pub(super) fn apply(&self, entry: &mut SessionEntry, now: Millis) {
        entry.updated_at = now;
        set(&mut entry.label, self.label.as_ref());
        set(&mut entry.thinking_level, self.thinking.as_ref());
        set(&mut entry.verbose_level, self.verbose.as_ref());
        set(&mut entry.reasoning_level, self.reasoning.as_ref());
        set(&mut entry.response_usage, self.usage.as_ref());
        set(&mut entry.elevated_level, self.elevated.as_ref());
        set(&mut entry.exec_host, self.exec_host.as_ref());
        set(&mut entry.exec_security, self.exec_security.as_ref());
        set(&mut entry.exec_ask, self.exec_ask.as_ref());
        set(&mut entry.exec_node, self.exec_node.as_ref());
        set(&mut entry.spawned_by, self.spawned_by.as_ref());
        set(&mut entry.send_policy, self.send_policy.as_ref());
        set(&mut entry.group_activation, self.activation.as_ref());
        if let Some(model) = &self.model {
            entry.provider_override = model.as_ref().map(|m| m.provider.clone());
            entry.model_override = model.as_ref().map(|m| m.model.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use openclaw_platform::os;
    use serde_json::{Value, json};

    use super::*;
    use crate::sessions::store::Sessions;

    fn patch(fields: Value) -> Result<Patch, Refused> {
        let params = serde_json::from_value(fields).unwrap();
        Patch::of(&params, ModelRef::parse)
    }

    fn sessions() -> Sessions {
        let platform = os::without_files();
        Sessions::new(crate::schema::open(&platform).unwrap(), platform.entropy.clone())
    }

    /// A request that is refused for one of its settings leaves the others, too, as they were (D48).
    #[tokio::test]
    async fn d48_a_label_that_another_has_changes_nothing() {
        let sessions = sessions();
        let change = |key: &'static str, fields: Value| {
            let patch = patch(fields).unwrap();
            let sessions = &sessions;
            async move { sessions.patch(key, 1, patch).await.unwrap() }
        };
        change("agent:main:a", json!({ "key": "a", "label": "twin" })).await.unwrap();
        let refused = change("agent:main:b", json!({ "key": "b", "label": "twin", "thinkingLevel": "high" })).await;
        assert_eq!(refused.unwrap_err(), Refused::LabelInUse("twin".into()));
        assert_eq!(sessions.get("agent:main:b").unwrap(), None);
        // Its own label is not in its way.
        let again = change("agent:main:a", json!({ "key": "a", "label": "twin", "thinkingLevel": "HIGH" })).await;
        assert_eq!(again.unwrap().thinking_level.as_deref(), Some("high"));
        let cleared =
            change("agent:main:a", json!({ "key": "a", "label": null, "thinkingLevel": null })).await.unwrap();
        assert_eq!((cleared.label, cleared.thinking_level), (None, None));
    }

    #[tokio::test]
    async fn a_parent_is_for_subagents_and_stays() {
        let sessions = sessions();
        let of = |by: &str| patch(json!({ "key": "k", "spawnedBy": by })).unwrap();
        assert_eq!(sessions.patch("agent:main:a", 1, of("p")).await.unwrap().unwrap_err(), Refused::NoSubagent);
        let key = "agent:main:subagent:a";
        assert_eq!(sessions.patch(key, 1, of("p")).await.unwrap().unwrap().spawned_by.as_deref(), Some("p"));
        assert_eq!(sessions.patch(key, 1, of("q")).await.unwrap().unwrap_err(), Refused::HasParent);
    }

    #[test]
    fn levels_have_other_words_and_an_end() {
        let verbose = |word: &str| patch(json!({ "key": "k", "verboseLevel": word })).map(|p| p.verbose);
        for (word, kept) in [("YES", "on"), ("0", "off"), ("all", "full"), (" full ", "full")] {
            assert_eq!(verbose(word), Ok(Some(Some(kept.to_owned()))), "{word}");
        }
        let text = verbose("loud").unwrap_err().to_string();
        assert_eq!(text, "invalid verboseLevel \"loud\" (use on|off|full)");
        assert_eq!(patch(json!({ "key": "k", "model": "nothing" })).map(|_| ()), Err(Refused::Model));
    }
}
