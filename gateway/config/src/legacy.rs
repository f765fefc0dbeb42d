//! Keys of earlier versions: they stop a start and say where they moved; [`migrate`] moves them.

use serde_json::{Map, Value, json};

use crate::{
    Path,
    edit::{self, EditError},
    read_value,
};

/// Where the value of a key of earlier versions belongs.
enum To {
    /// To another path, as it is.
    Path(&'static str),
    /// Its keys, each to the same name below another path.
    Keys(&'static str),
    /// To the first agent.
    Agent(&'static str),
    /// Nowhere that could be said without asking.
    Hand(&'static str),
}

const MOVED: [(&str, To); 24] = [
    ("gateway.token", To::Path("gateway.auth.token")),
    ("gateway.password", To::Path("gateway.auth.password")),
    ("agent", To::Keys("agents.defaults")),
    ("agents.main", To::Hand("agents.list")),
    ("identity", To::Agent("identity")),
    ("routing", To::Hand("channels.*, messages.groupChat and bindings")),
    ("routing.allowFrom", To::Path("channels.whatsapp.allowFrom")),
    ("routing.groupChat", To::Path("messages.groupChat")),
    ("routing.agents", To::Hand("agents.list")),
    ("routing.bindings", To::Path("bindings")),
    ("routing.queue", To::Path("messages.queue")),
    ("bridge", To::Hand("gateway (the bridge protocol is gone)")),
    ("providers", To::Path("models.providers")),
    ("model", To::Path("agents.defaults.model")),
    ("telegram", To::Path("channels.telegram")),
    ("whatsapp", To::Path("channels.whatsapp")),
    ("discord", To::Path("channels.discord")),
    ("slack", To::Path("channels.slack")),
    ("signal", To::Path("channels.signal")),
    ("imessage", To::Path("channels.imessage")),
    ("msteams", To::Path("channels.msteams")),
    ("channels.telegram.requireMention", To::Path("channels.telegram.groups[\"*\"].requireMention")),
    ("channels.telegram.token", To::Path("channels.telegram.botToken")),
    ("tools.bash", To::Path("tools.exec")),
];

/// True for the place of a key of earlier versions.
pub(crate) fn is_moved(path: &str) -> bool {
    MOVED.iter().any(|(from, _)| *from == path)
}

/// What to write instead of the key at `path`.
pub(crate) fn hint(path: &str) -> Option<String> {
    let (_, to) = MOVED.iter().find(|(from, _)| *from == path)?;
    let place = match to {
        To::Path(place) | To::Hand(place) => (*place).to_owned(),
        To::Keys(place) => format!("{place} (the model: {place}.model)"),
        To::Agent(key) => format!("agents.list[].{key}"),
    };
    Some(format!("this key has moved to {place}"))
}

/// What became of keys of earlier versions.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Migration {
    /// The file's text with them in their new places; comments elsewhere stay.
    pub text: String,
    /// `from -> to`.
    pub moved: Vec<String>,
    /// Those that a person has to look at, and why.
    pub left: Vec<String>,
}

/// Moves keys of earlier versions to where they belong now, where nothing stands there.
///
/// # Errors
/// When the text cannot be read or edited.
pub fn migrate(text: &str) -> Result<Migration, EditError> {
    let mut done = Migration { text: text.to_owned(), ..Migration::default() };
    // The deeper ones first: what is left of `routing` then needs a person.
    for (from, to) in MOVED.iter().rev() {
        let Ok(from_path) = Path::parse(from) else { continue };
        let value = read_value(&done.text).map_err(EditError::Unreadable)?;
        let Some(old) = from_path.get(&value).cloned() else { continue };
        let places = match (to, &old) {
            (To::Path(place), _) => vec![((*place).to_owned(), old.clone())],
            (To::Keys(place), Value::Object(map)) => {
                map.iter().map(|(key, value)| (format!("{place}.{key}"), value.clone())).collect()
            }
            (To::Agent(key), _) if is_empty(value.pointer("/agents/list")) => {
                vec![("agents.list".to_owned(), json!([{ "id": crate::DEFAULT_AGENT, *key: old }]))]
            }
            (To::Agent(key), _) => vec![(format!("agents.list[0].{key}"), old.clone())],
            (To::Hand(_), Value::Object(map)) if map.is_empty() => vec![],
            (To::Hand(place), _) => {
                done.left.push(format!("{from}: belongs to {place}; a person has to say how"));
                continue;
            }
            (To::Keys(_), _) => {
                done.left.push(format!("{from}: expected an object"));
                continue;
            }
        };
        let taken = places.iter().find(|(place, _)| Path::parse(place).is_ok_and(|place| !is_empty(place.get(&value))));
        if let Some((place, _)) = taken {
            done.left.push(format!("{from}: {place} is set, too; keep one of them"));
            continue;
        }
        let mut edited = edit::unset(&done.text, &from_path)?;
        for (place, value) in &places {
            if let Ok(place) = Path::parse(place) {
                edited = edit::set(&edited, &place, value)?;
            }
        }
        done.text = edited;
        let to: Vec<&str> = places.iter().map(|(place, _)| place.as_str()).collect();
        done.moved
            .push(format!("{from} -> {}", if to.is_empty() { "(it was empty)".to_owned() } else { to.join(", ") }));
    }
    Ok(done)
}

/// Nothing that could be lost stands there.
fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(map)) => Map::is_empty(map),
        Some(Value::Array(list)) => list.is_empty(),
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d36_keys_of_earlier_versions_are_moved_and_comments_stay() {
        let text = "{\n  // mine\n  agent: { model: 'p/q', workspace: '~/w' },\n  gateway: { port: 1, token: 't0123456789' },\n  \
                    telegram: { token: '1:x' }, // bot\n  identity: { name: 'Sam' },\n  routing: { queue: { mode: 'collect' } },\n}\n";
        let done = migrate(text).unwrap();
        assert!(done.left.is_empty(), "{done:?}");
        let value = read_value(&done.text).unwrap();
        let wanted = json!({
            "gateway": {"port": 1, "auth": {"token": "t0123456789"}},
            "agents": {"defaults": {"model": "p/q", "workspace": "~/w"}, "list": [{"id": "main", "identity": {"name": "Sam"}}]},
            "channels": {"telegram": {"token": "1:x"}}, "messages": {"queue": {"mode": "collect"}},
        });
        assert_eq!(value, wanted, "{}", done.text);
        assert!(done.text.contains("// mine"));
        // What came to its place by the first move is moved on by a second.
        let again = migrate(&done.text).unwrap();
        assert_eq!(again.moved, ["channels.telegram.token -> channels.telegram.botToken"]);
        assert!(crate::read(&again.text, &|_: &str| None).is_ok(), "{}", again.text);
        assert_eq!(migrate(&again.text).unwrap().moved, Vec::<String>::new());
    }

    #[test]
    fn d36_what_stands_in_both_places_is_left_to_a_person() {
        let text = "{gateway: {token: 'a', auth: {token: 'b'}}, routing: {other: 1}, agents: {list: [{id: 'x', identity: {name: 'A'}}]}, identity: {name: 'B'}}";
        let done = migrate(text).unwrap();
        assert_eq!((done.text.as_str(), done.moved.len(), done.left.len()), (text, 0, 3), "{done:?}");
    }
}
