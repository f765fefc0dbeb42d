//! Secrets out of log lines (S17): those known by value, and those that look like one.

use std::{
    borrow::Cow,
    sync::{PoisonError, RwLock},
};

const MASK: &str = "***";
/// Shorter values would hit ordinary words.
const MIN_SECRET: usize = 6;
/// Values known at a time. Files with secrets are read again and again, and what they held goes when this is full.
const MAX_SECRETS: usize = 256;

/// What is known by value.
#[derive(Default)]
pub struct Redactor {
    secrets: RwLock<Vec<String>>,
}

impl Redactor {
    /// Hides these values wherever they stand.
    pub fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        let redactor = Self::default();
        secrets.into_iter().for_each(|secret| redactor.learn(&secret));
        redactor
    }

    /// Hides this one, too, from now on: a secret that was replaced while the gateway runs (S04).
    pub fn learn(&self, secret: &str) {
        let known = |secrets: &[String]| secrets.iter().any(|s| s == secret);
        if secret.len() < MIN_SECRET || known(&self.secrets.read().unwrap_or_else(PoisonError::into_inner)) {
            return;
        }
        let mut secrets = self.secrets.write().unwrap_or_else(PoisonError::into_inner);
        if !known(&secrets) {
            if secrets.len() == MAX_SECRETS {
                secrets.remove(0);
            }
            secrets.push(secret.to_owned());
        }
    }

    /// `text` without secrets.
    pub fn clean<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut out = Cow::Borrowed(text);
        let secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<&String> = secrets.iter().filter(|s| text.contains(s.as_str())).collect();
        // Longest first, so that no secret is cut by another one inside it.
        found.sort_by_key(|s| std::cmp::Reverse(s.len()));
        for secret in found {
            out = Cow::Owned(out.replace(secret.as_str(), MASK));
        }
        match patterns(&out) {
            Some(cleaned) => Cow::Owned(cleaned),
            None => out,
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
}

/// `text` with everything masked that looks like a secret; `None` when nothing does.
fn patterns(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut copied = 0;
    let mut rest = 0;
    while let Some((start, end)) = next_secret(text, rest) {
        out.push_str(&text[copied..start]);
        out.push_str(MASK);
        (copied, rest) = (end, end);
    }
    (copied > 0).then(|| out + &text[copied..])
}

/// The first span from `from` on that looks like a secret.
fn next_secret(text: &str, from: usize) -> Option<(usize, usize)> {
    let mut at = from;
    while at < text.len() {
        let starts_word = text[..at].chars().next_back().is_none_or(|c| !is_word(c));
        if starts_word {
            if let Some(end) = key(text, at).or_else(|| bot_token(text, at)) {
                return Some((at, end));
            }
            if let Some(span) = bearer(text, at) {
                return Some(span);
            }
        }
        at += text[at..].chars().next().map_or(1, char::len_utf8);
    }
    None
}

fn run(text: &str, from: usize, member: impl Fn(char) -> bool) -> usize {
    text[from..].find(|c| !member(c)).map_or(text.len(), |n| from + n)
}

/// `sk-...`: API keys of model providers.
fn key(text: &str, at: usize) -> Option<usize> {
    text[at..].starts_with("sk-").then(|| run(text, at, is_word)).filter(|end| end - at >= 12)
}

/// `123456:AA...`, also as `bot123456:AA...` in URLs: Telegram bots.
fn bot_token(text: &str, at: usize) -> Option<usize> {
    let digits = at + if text[at..].starts_with("bot") { 3 } else { 0 };
    let colon = run(text, digits, |c| c.is_ascii_digit());
    if colon - digits < 5 || !text[colon..].starts_with(':') {
        return None;
    }
    let end = run(text, colon + 1, is_word);
    (end - colon > 30).then_some(end)
}

/// What follows `Bearer `.
fn bearer(text: &str, at: usize) -> Option<(usize, usize)> {
    let word = text.get(at..at + 6)?;
    if !word.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let start = run(text, at + 6, |c| c == ' ');
    let end = run(text, start, |c| is_word(c) || matches!(c, '.' | '~' | '+' | '/' | '='));
    (start > at + 6 && end - start >= MIN_SECRET).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOT: &str = "123456789:AAF-abcdefghijklmnopqrstuvwxyz_0123";

    #[test]
    fn s17_what_looks_like_a_secret_is_masked() {
        let r = Redactor::default();
        for (text, clean) in [
            ("Authorization: Bearer abc.def-123=", "Authorization: Bearer ***"),
            ("authorization: bearer   abcdef!", "authorization: bearer   ***!"),
            ("key sk-ant-REDACTED.", "key ***."),
            (&format!("https://api.telegram.org/bot{BOT}/getMe"), "https://api.telegram.org/***/getMe"),
            (&format!("{BOT} and {BOT}"), "*** and ***"),
            ("12:30 task-sk-12 bearer of news sk-1", "12:30 task-sk-12 bearer of news sk-1"),
            ("at 123456:short", "at 123456:short"),
            ("é sk-0123456789 é", "é *** é"),
        ] {
            assert_eq!(r.clean(text), clean);
        }
    }

    #[test]
    fn s17_known_values_are_masked_wherever_they_stand() {
        let r = Redactor::new(["hunter2".to_owned(), "hunter2-long".to_owned(), "ab".to_owned()]);
        assert_eq!(r.clean("x=hunter2-long&y=hunter2, ab"), "x=***&y=***, ab");
    }

    #[test]
    fn s17_a_secret_that_comes_later_is_masked_from_then_on() {
        let r = Redactor::new(["hunter2".to_owned()]);
        assert_eq!(r.clean("swordfish hunter2"), "swordfish ***");
        r.learn("swordfish");
        assert_eq!(r.clean("swordfish hunter2"), "*** ***");
        (0..1000).for_each(|n| r.learn(&format!("secret number {n}")));
        assert_eq!(r.clean("secret number 999"), "***");
        assert!(r.secrets.read().unwrap().len() <= MAX_SECRETS);
    }

    proptest! {
        #[test]
        fn s17_no_text_breaks_it_and_no_token_survives(before in "\\PC{0,12}", after in "[ /,\"].{0,8}") {
            let text = format!("{before} {BOT}{after}");
            prop_assert!(!Redactor::default().clean(&text).contains("AAF-abcdef"));
        }
    }
}
