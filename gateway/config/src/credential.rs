//! What is out when its secret is not known (D36, D37).

use serde_json::{Value, json};

use crate::{
    path::{Path, Segment},
    secret_names::is_secret_key,
};

/// Takes out the provider or the channel to which the unknown secret at `path` belongs; says what is out, or nothing where the
/// value is no credential of one of them.
pub(crate) fn without(value: &mut Value, path: &Path) -> Option<String> {
    let keys: Vec<&str> = path.segments().iter().filter_map(Segment::key).collect();
    let is_secret = || keys.last().is_some_and(|key| is_secret_key(key)) || keys.contains(&"headers");
    match keys.as_slice() {
        ["models", "providers", id, ..] if is_secret() => {
            let provider = Path::default().key("models").key("providers").key(id);
            provider.remove(value);
            Some(format!("the provider {id} is out"))
        }
        ["channels", channel, rest @ ..] if is_secret() => {
            let place = Path::default().key("channels").key(channel);
            let (place, what) = match rest {
                ["accounts", account, ..] => {
                    (place.key("accounts").key(account), format!("the account {account} of {channel} is out"))
                }
                _ => (place, format!("the channel {channel} is out")),
            };
            path.remove(value);
            if let Some(Value::Object(map)) = place.get_mut(value) {
                map.insert("enabled".to_owned(), json!(false));
            }
            Some(what)
        }
        // A browser elsewhere that nobody can name is not there.
        ["browser", ..] if is_secret() => {
            path.remove(value);
            Some("the address is left out".to_owned())
        }
        // What is not served here needs no secret either.
        [section, ..] if is_secret() && crate::keys::is_unserved(section) => {
            path.remove(value);
            Some("it has no effect here".to_owned())
        }
        _ => None,
    }
}
