use openclaw_protocol::truncate;

use super::options::PREFIXES;
use crate::{SendError, Target, access::bare_id};

/// Reads `42`, `-1002`, `@name`, `t.me/name`, `telegram:42`, `-1002:topic:7`, `-1002:7`.
///
/// # Errors
/// [`SendError::Target`] for everything else.
pub(super) fn parse(to: &str) -> Result<Target, SendError> {
    let bare = bare_id(to, PREFIXES);
    let (chat, thread) = match bare.rsplit_once(":topic:") {
        Some((chat, topic)) => (chat, Some(topic)),
        // Only a group has topics that are named so shortly: `42:7` may mean anything.
        None if bare.starts_with('-') => bare.split_once(':').map_or((bare, None), |(chat, topic)| (chat, Some(topic))),
        None => (bare, None),
    };
    let thread = thread.map(|topic| thread_id(topic).ok_or_else(|| no_target(to))).transpose()?;
    let chat = chat_id(chat).or_else(|| user_name(chat)).ok_or_else(|| no_target(to))?;
    Ok(Target { chat, thread })
}

fn chat_id(text: &str) -> Option<String> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let id: i64 = text.parse().ok().filter(|&id| plain && id != 0)?;
    Some(id.to_string())
}

fn thread_id(text: &str) -> Option<i64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit());
    text.parse::<i32>().ok().filter(|&id| plain && id > 0).map(i64::from)
}

/// `@name` for `@name`, `t.me/name` or `https://t.me/name`.
fn user_name(text: &str) -> Option<String> {
    let name = text.strip_prefix('@').or_else(|| {
        let address = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
        address.strip_prefix("t.me/").map(|name| name.trim_end_matches('/'))
    })?;
    let word = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let starts_well = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
    (word && starts_well && name.len() <= 32).then(|| format!("@{name}"))
}

fn no_target(to: &str) -> SendError {
    let found = truncate::chars(to, 80);
    SendError::Target(format!(
        "Delivering to Telegram requires target <chatId> (a numeric id, @name, or <chatId>:topic:<n>), found {found:?}"
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_every_form() {
        for (text, chat, thread) in [
            ("42", "42", None),
            (" telegram:42 ", "42", None),
            ("TG:-1002", "-1002", None),
            ("@chan", "@chan", None),
            ("t.me/some_name", "@some_name", None),
            ("https://t.me/some_name/", "@some_name", None),
            ("-1002:topic:7", "-1002", Some(7)),
            ("-1002:7", "-1002", Some(7)),
            ("telegram:-1002:topic:1", "-1002", Some(1)),
            ("42:topic:7", "42", Some(7)),
            ("0042", "42", None),
        ] {
            assert_eq!(parse(text).unwrap(), Target { chat: chat.into(), thread }, "{text}");
        }
    }

    #[test]
    fn refuses_nonsense_with_one_line() {
        for text in [
            "",
            " ",
            "bob",
            "@",
            "@1a",
            "@a b",
            "42:7",
            "-",
            "--4",
            "0",
            "-0",
            "4 2",
            "+42",
            "-1:topic:",
            "-1:topic:0",
            "-1:topic:x",
            "-1:+7",
            "t.me/+invite",
            "t.me/c/1/2",
            "telegram:",
            "99999999999999999999",
            "a\u{1b}[31m\nb",
        ] {
            let Err(SendError::Target(message)) = parse(text) else { panic!("{text:?} was taken") };
            assert!(message.starts_with("Delivering to Telegram requires target <chatId>"), "{message}");
            assert!(!message.chars().any(char::is_control), "{message:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_reads_the_same_again(text in ".{0,40}|-?[0-9]{1,22}(:topic:[0-9]{1,11})?") {
            if let Ok(target) = parse(&text) {
                let again = match target.thread {
                    Some(thread) => format!("{}:topic:{thread}", target.chat),
                    None => target.chat.clone(),
                };
                prop_assert_eq!(parse(&again).unwrap(), target);
            }
        }
    }
}
