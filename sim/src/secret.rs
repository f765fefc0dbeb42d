//! What nobody else may see: marks that people plant, and the credentials of a run.
//!
//! A mark is a word of its own in what somebody says, `planted(chat.1)0a1b2c3d`: it tells by itself whose it is, so that
//! an oracle that finds it somewhere needs nothing else to know whether it may be there.

use std::sync::{Arc, Mutex};

use openclaw_platform::sync::LockExt as _;

/// Beginning of a mark.
const PLANTED: &str = "planted(";
/// Hex digits at its end.
const DIGITS: usize = 8;

/// A mark of `place`: `chat.7` for what person 7 said to the bot, `chat.-9/7` in the group -9, `client.NAME` for what
/// that client said.
pub fn mark(place: &str, number: u32) -> String {
    format!("{PLANTED}{place}){number:0DIGITS$x}")
}

/// The marks in a text: the whole of each, and its place.
pub fn marks(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.match_indices(PLANTED).filter_map(|(at, _)| {
        let (place, rest) = text[at + PLANTED.len()..].split_once(')')?;
        // What a longer text was cut off after is none.
        let sound = |c: char| c.is_ascii_alphanumeric() || "._/-".contains(c);
        if !place.chars().all(sound) {
            return None;
        }
        let digits = rest.bytes().take(DIGITS).take_while(u8::is_ascii_hexdigit).count();
        let end = at + PLANTED.len() + place.len() + 1 + DIGITS;
        (digits == DIGITS).then(|| (&text[at..end], place))
    })
}

/// Chat and person of a mark that somebody at the Bot API has planted.
pub fn of_chat(place: &str) -> Option<(&str, &str)> {
    let chat = place.strip_prefix("chat.")?;
    Some(chat.split_once('/').unwrap_or((chat, chat)))
}

/// Credentials by value; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Credentials(Arc<Mutex<Vec<String>>>);

impl Credentials {
    /// Shorter ones would be found in ordinary words.
    const SHORTEST: usize = 8;

    /// One more.
    pub fn learn(&self, credential: &str) {
        let mut known = self.0.locked();
        if credential.len() >= Self::SHORTEST && !known.iter().any(|k| k == credential) {
            known.push(credential.to_owned());
        }
    }

    /// Marks and credentials in a text, each once, in the order in which they are known.
    pub fn find(&self, text: &str) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        let known = self.0.locked();
        let credentials = known.iter().map(String::as_str).filter(|k| text.contains(k));
        for one in credentials.chain(marks(text).map(|(whole, _)| whole)) {
            if !found.iter().any(|f| f == one) {
                found.push(one.to_owned());
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_and_tell_their_place() {
        let (a, b) = (mark("chat.1", 0xab), mark("client.ui-1", u32::MAX));
        let text = format!("x{a}y planted( planted(b) planted(c)12 {b}");
        let found: Vec<_> = marks(&text).collect();
        assert_eq!(found, [("planted(chat.1)000000ab", "chat.1"), ("planted(client.ui-1)ffffffff", "client.ui-1")]);
        assert_eq!(marks("planted(é)1234567é").count(), 0);
        assert_eq!(marks("planted(cl\",\"planted(a)00000001").map(|(_, place)| place).collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn marks_of_groups_tell_who() {
        assert_eq!(of_chat("chat.7"), Some(("7", "7")));
        assert_eq!(of_chat("chat.-9/7"), Some(("-9", "7")));
        assert_eq!(of_chat("client.a"), None);
    }

    #[test]
    fn credentials_are_known_by_value() {
        let known = Credentials::default();
        known.learn("short");
        known.learn("long enough");
        let text = format!("short, long enough, long enough {}", mark("chat.2", 1));
        assert_eq!(known.find(&text), ["long enough".to_owned(), mark("chat.2", 1)]);
    }
}
