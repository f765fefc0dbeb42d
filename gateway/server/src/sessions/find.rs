//! Which sessions somebody means (`sessions.resolve`).

use openclaw_config::Config;

use super::{key::agent_of, store::Sessions};
use crate::store::StoreError;

/// Sessions with one label that are told apart.
const MOST_NAMED: usize = 1000;

/// What names a session.
pub enum Selector<'a> {
    /// Its canonical key.
    Key(String),
    /// The id of its transcript.
    Id(&'a str),
    /// Its label.
    Label(&'a str),
}

/// The keys of those that are meant and are of this agent and this parent, where these are said.
///
/// # Errors
/// When they cannot be read.
pub fn find(
    sessions: &Sessions,
    config: &Config,
    selector: Selector<'_>,
    agent: Option<&str>,
    parent: Option<&str>,
) -> Result<Vec<String>, StoreError> {
    let mut named = match selector {
        Selector::Key(key) => vec![key],
        Selector::Id(id) => sessions.key_of(id)?.into_iter().collect(),
        Selector::Label(label) => sessions.labelled(label, MOST_NAMED)?,
    };
    named.retain(|key| agent.is_none_or(|agent| agent_of(config, key) == agent));
    let mut found = Vec::new();
    for key in named {
        let entry = sessions.get(&key)?;
        if entry.is_some_and(|e| parent.is_none_or(|parent| e.spawned_by.as_deref() == Some(parent))) {
            found.push(key);
        }
    }
    Ok(found)
}
