//! What a person wrote is given to the model as it was written, behind who wrote it, where and when (S31): a line of it that
//! begins as one of the gateway's own does is marked with a backslash, and nothing else is changed.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    facts::Facts,
    findings::Findings,
    telegram::{self, text},
};
use crate::history::What;

/// When messages of the fake are dated, unless the story says otherwise.
const SENT: i64 = 1_700_000_000;

/// Longer names are not shown whole.
const LONGEST: usize = 60;

/// How lines of the gateway begin behind a bracket.
const OWN: [&str; 7] = ["telegram", "messageid", "inreplyto", "file", "attachment", "system", "earliermessages"];

/// Checks every request to the model.
pub fn check(facts: &Facts, out: &mut Findings) {
    let mut written = BTreeMap::new();
    for r in facts.history {
        match &r.what {
            What::Update { update, .. } => {
                if let Some(id) = update["message_id"].as_i64() {
                    written.insert(id, update);
                }
            }
            What::Model { text, entered, .. } => {
                for shown in entered.iter().chain([text]) {
                    for id in telegram::quoted(shown) {
                        let Some(update) = written.get(&id) else { continue };
                        if let Err(why) = judge(shown, id, update) {
                            out.broken("envelope", r.i, format!("message {id}: {why}"));
                        }
                    }
                }
            }
            _ => {}
        }
    }
}

/// Compares one message in a text for a model with how it was written.
fn judge(shown: &str, id: i64, update: &Value) -> Result<(), String> {
    let Some(head) = head(update) else { return Ok(()) };
    let end = shown.find(&format!("\n[message_id: {id}]"));
    let before = end.map_or("", |end| &shown[..end]);
    let given = match before.rfind(&head) {
        Some(at) => &before[at + head.len()..],
        // Of what was too much to be kept only a line is told.
        None if shown.contains("earlier messages were too many") => return Ok(()),
        None => return Err(format!("it is not given behind {head:?}: {shown:?}")),
    };
    let quote = quote(update).map(|q| format!("[in reply to: {q}]\n")).unwrap_or_default();
    let wanted = format!("{quote}{}", marked(&words(update)));
    if given == wanted { Ok(()) } else { Err(format!("the model is given {given:?}, expected {wanted:?}")) }
}

/// What comes before its words; none where somebody has a name of more than letters, which is not shown as it stands.
fn head(update: &Value) -> Option<String> {
    let with = &update["with"];
    let chat = text(&update["chat"]);
    let from = if update["from"].is_null() { chat.clone() } else { text(&update["from"]) };
    let named = |value: &Value, default: String| value.as_str().map_or(default, str::to_owned);
    let title = named(&with["chat"]["title"], "Group".to_owned());
    let plain = |text: &str| text.len() <= LONGEST && text.chars().all(|c| c.is_ascii_alphanumeric() || c == ' ');
    // A chat that speaks is who it is, whoever stands there for it.
    let speaks = Some(&with["sender_chat"]).filter(|chat| chat.is_object());
    let (name, username, from) = match speaks {
        Some(chat) => {
            (named(&chat["title"], String::new()), named(&chat["username"], String::new()), text(&chat["id"]))
        }
        None => {
            let last = named(&with["from"]["last_name"], String::new());
            let name = format!("{} {last}", named(&with["from"]["first_name"], "Person".to_owned()));
            (name.trim().to_owned(), named(&with["from"]["username"], format!("person{from}")), from)
        }
    };
    if !plain(&name) || !plain(&username) || !plain(&title) {
        return None;
    }
    let who = if username.is_empty() { name } else { format!("{name} (@{username})") };
    let place = if chat.starts_with('-') { format!(" in \"{title}\"") } else { String::new() };
    let at = jiff::Timestamp::from_second(with["date"].as_i64().unwrap_or(SENT)).ok()?;
    Some(format!("[Telegram {who} id:{from}{place} {}] ", at.strftime("%Y-%m-%d %H:%M UTC")))
}

/// What it answers: in a topic everything "answers" what opened it, which is no answer.
fn quote(update: &Value) -> Option<String> {
    let with = &update["with"];
    let answered = Some(&with["reply_to_message"]).filter(|m| m["forum_topic_created"].is_null());
    let of = |m: &Value| m["text"].as_str().or_else(|| m["caption"].as_str()).map(str::to_owned);
    with["quote"]["text"].as_str().map(str::to_owned).or_else(|| answered.and_then(of))
}

/// Its words, or what stands for a file without any.
fn words(update: &Value) -> String {
    match (text(&update["text"]), update["media"].as_str()) {
        (words, Some(media)) if words.is_empty() => match media {
            "photo" => "<media:image>",
            "voice" => "<media:audio>",
            "sticker" => "<media:sticker>",
            "animation" => "<media:video>",
            _ => "<media:document>",
        }
        .to_owned(),
        (words, _) => words,
    }
}

/// As they may stand in a text for a model.
fn marked(words: &str) -> String {
    let ends = ['\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}'];
    words.split_inclusive(ends).map(marked_line).collect()
}

fn marked_line(line: &str) -> String {
    let mut out = String::new();
    for (at, c) in line.char_indices() {
        if c.is_alphanumeric() {
            let rest = line[at..].to_lowercase();
            let said = rest.strip_prefix("system").map(str::trim_start).is_some_and(|r| r.starts_with([':', '：']));
            return format!("{out}{}{}", if said { "\\" } else { "" }, &line[at..]);
        }
        let letters: String =
            line[at..].chars().take(64).filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
        if "[［【〔⟦".contains(c) && OWN.iter().any(|own| letters.starts_with(own)) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
