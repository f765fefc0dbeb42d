//! What looks like a secret wherever it stands: known prefixes, tokens of bots, JWTs, private keys, credentials in
//! addresses, values beside a telling name (S17, S28, S34). One detector for logs, tool results and the configuration.

use std::ops::Range;

use crate::{REDACTED, secret_names::is_secret_key};

/// What stands in running text in the place of a secret.
pub(crate) const MASK: &str = "***";
/// Shorter values are ordinary words too often.
pub(crate) const MIN_SECRET: usize = 6;

/// Beginnings of keys, with the least length of the whole that makes it one.
const PREFIXES: [(&str, usize); 38] = [
    ("sk-", 12),
    ("sk_live_", 20),
    ("sk_test_", 20),
    ("rk_live_", 20),
    ("rk_test_", 20),
    ("whsec_", 20),
    ("ghp_", 20),
    ("gho_", 20),
    ("ghu_", 20),
    ("ghs_", 20),
    ("ghr_", 20),
    ("github_pat_", 24),
    ("glpat-", 16),
    ("xoxa-", 12),
    ("xoxb-", 12),
    ("xoxc-", 12),
    ("xoxd-", 12),
    ("xoxe-", 12),
    ("xoxp-", 12),
    ("xoxr-", 12),
    ("xoxs-", 12),
    ("xapp-", 12),
    ("AIza", 30),
    ("AKIA", 20),
    ("ASIA", 20),
    ("ya29.", 20),
    ("npm_", 36),
    ("pypi-", 32),
    ("hf_", 30),
    ("gsk_", 24),
    ("xai-", 24),
    ("pplx-", 24),
    ("tvly-", 20),
    ("nvapi-", 24),
    ("r8_", 30),
    ("dop_v1_", 32),
    ("shpat_", 24),
    ("AGE-SECRET-KEY-", 32),
];

/// `text` with everything masked that looks like a secret; `None` when nothing does.
pub(crate) fn mask(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut from = 0;
    while let Some(found) = next(text, from) {
        out.push_str(&text[from..found.start]);
        out.push_str(MASK);
        from = found.end;
    }
    (from > 0).then(|| out + &text[from..])
}

/// The first span from `from` on that looks like a secret. Never empty.
pub(crate) fn next(text: &str, from: usize) -> Option<Range<usize>> {
    let mut before = text[..from].chars().next_back();
    for (offset, c) in text[from..].char_indices() {
        let at = from + offset;
        let found = match c {
            '?' | '&' | '#' => parameter(text, at),
            ':' => user_info(text, at),
            c if is_word(c) && !before.is_some_and(is_word) => private_key(text, at).or_else(|| word(text, at)),
            '-' => private_key(text, at),
            _ => None,
        };
        if found.is_some() {
            return found;
        }
        before = Some(c);
    }
    None
}

/// True for a value of the configuration that is or holds a secret by its looks: here a whole value is judged, so that
/// long random words and addresses that only their owner knows count as well.
pub(crate) fn is_secret(value: &str) -> bool {
    next(value, 0).is_some() || (is_random(value) && !is_path(value)) || is_secret_address(value)
}

/// Directories have random names often enough.
fn is_path(value: &str) -> bool {
    value.starts_with(['/', '~', '.'])
}

/// What in `value` makes it a secret.
pub(crate) fn parts(value: &str) -> Vec<&str> {
    let mut out = vec![];
    let mut from = 0;
    while let Some(span) = next(value, from) {
        from = span.end;
        out.push(&value[span]);
    }
    if out.is_empty() && value.contains("://") {
        // A path that only its owner knows ends in what makes it so.
        out.extend(value.rsplit(['/', '=', '@']).next());
    } else if out.is_empty() {
        out.extend(value.split_whitespace().filter(|word| is_random(word) && !is_path(word)));
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
}

fn run(text: &str, from: usize, member: impl Fn(char) -> bool) -> usize {
    text[from..].find(|c| !member(c)).map_or(text.len(), |n| from + n)
}

fn word(text: &str, at: usize) -> Option<Range<usize>> {
    let end = prefixed(text, at).or_else(|| bot_token(text, at)).or_else(|| web_token(text, at));
    end.map(|end| at..end).or_else(|| authorization(text, at)).or_else(|| named(text, at))
}

fn prefixed(text: &str, at: usize) -> Option<usize> {
    let rest = &text[at..];
    let (prefix, least) = PREFIXES.iter().find(|(prefix, _)| rest.starts_with(prefix))?;
    let end = run(text, at + prefix.len(), is_word);
    let tail = &text[at + prefix.len()..end];
    // A long name in a program begins like this, too: hf_hub_download_of_everything.
    let is_key = *prefix == "sk-" || tail.contains(|c: char| c.is_ascii_digit());
    (end - at >= *least && is_key).then_some(end)
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

/// `eyJ...` with two or four dots: JWT and JWE.
fn web_token(text: &str, at: usize) -> Option<usize> {
    if !text[at..].starts_with("eyJ") {
        return None;
    }
    let end = run(text, at, |c| is_word(c) || c == '.');
    let token = &text[at..end];
    let dots = token.matches('.').count();
    (dots >= 2 && token.len() >= 30 && token.split('.').next().is_some_and(|head| head.len() >= 10)).then_some(end)
}

/// What follows `Bearer `, and `Basic ` when it is no word of a sentence.
fn authorization(text: &str, at: usize) -> Option<Range<usize>> {
    let (scheme, is_plain) = [("bearer", true), ("basic", false)]
        .into_iter()
        .find(|(scheme, _)| text.get(at..at + scheme.len()).is_some_and(|w| w.eq_ignore_ascii_case(scheme)))?;
    let start = run(text, at + scheme.len(), |c| c == ' ');
    let end = run(text, start, |c| is_word(c) || matches!(c, '.' | '~' | '+' | '/' | '='));
    let value = &text[start..end];
    let is_code = value.len() >= 8
        && value.contains(|c: char| c.is_ascii_uppercase())
        && value.contains(|c: char| c.is_ascii_digit() || c == '=');
    (start > at + scheme.len() && value.len() >= MIN_SECRET && (is_plain || is_code)).then_some(start..end)
}

/// `-----BEGIN ... PRIVATE KEY-----` up to its end, or to the end of the text when that was cut off.
fn private_key(text: &str, at: usize) -> Option<Range<usize>> {
    let label = text[at..].strip_prefix("-----BEGIN ")?;
    let label = label.split("-----").next().filter(|label| label.len() < 64 && label.ends_with("PRIVATE KEY"))?;
    let closing = format!("-----END {label}-----");
    let end = text[at..].find(&closing).map_or(text.len(), |n| at + n + closing.len());
    Some(at..end)
}

/// What stands between `://` and `@`: the password, or the whole when that alone looks like a key.
fn user_info(text: &str, at: usize) -> Option<Range<usize>> {
    let start = at + text[at..].strip_prefix("://").map(|_| 3)?;
    let end = run(text, start, |c| !matches!(c, '/' | '?' | '#' | '"' | '\'' | '<' | '>' | '\\') && !c.is_whitespace());
    let info = start..start + text[start..end].rfind('@')?;
    match text[info.clone()].split_once(':') {
        Some((name, password)) if !is_placeholder(password) => Some(info.start + name.len() + 1..info.end),
        Some(_) => None,
        None => (info.len() >= 16 && is_mixed(&text[info.clone()])).then_some(info),
    }
}

/// `?token=...`: the value of a telling name in an address.
fn parameter(text: &str, at: usize) -> Option<Range<usize>> {
    let name = at + 1..run(text, at + 1, |c| is_word(c) || matches!(c, '.' | '[' | ']' | '%'));
    let start = name.end + text[name.end..].strip_prefix('=').map(|_| 1)?;
    let stop = |c: char| matches!(c, '&' | '#' | '"' | '\'' | '<' | '>' | '\\' | '`') || c.is_whitespace();
    let end = run(text, start, |c| !stop(c));
    (is_secret_parameter(&text[name]) && !is_placeholder(&text[start..end])).then_some(start..end)
}

fn is_secret_parameter(name: &str) -> bool {
    const NAMES: [&str; 12] =
        ["key", "k", "sig", "signature", "auth", "access", "refresh", "pass", "pwd", "hmac", "jwt", "xamzsignature"];
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    is_secret_key(name) || NAMES.contains(&plain.as_str())
}

/// `"token": "..."`, `API_KEY=...`: what a configuration, an environment or a form writes beside a telling name.
fn named(text: &str, at: usize) -> Option<Range<usize>> {
    let name = at..run(text, at, |c| is_word(c) || c == '.');
    // `key`, `sessionKey` and the like name too much that is none in running text.
    if name.len() > 64 || !is_telling(&text[name.clone()]) {
        return None;
    }
    let blank = |from: usize| run(text, from, |c| c == ' ').min(from + 3);
    // Quotes may be escaped: JSON inside of JSON.
    let quote = |from: usize| run(text, from, |c| c == '\\').min(from + 3);
    let quoted =
        |from: usize| Some(quote(from)).filter(|at| text[*at..].starts_with(['"', '\'', '`'])).map(|at| at + 1);
    let separator = blank(quoted(name.end).unwrap_or(name.end));
    if !text[separator..].starts_with([':', '=']) || text[separator + 1..].starts_with(['=', '>', ':']) {
        return None;
    }
    let value = blank(separator + 1);
    let (start, is_quoted) = quoted(value).map_or((value, false), |start| (start, true));
    let end = run(text, start, |c| {
        !matches!(c, '"' | '\'' | '`' | '\\' | '<' | '>')
            && (is_quoted || !matches!(c, ',' | ';' | ')' | '}' | ']' | '&'))
            && !c.is_whitespace()
    });
    let found = &text[start..end];
    // Without quotes it may be a program or a sentence: there only what is no word counts.
    let is_value =
        if is_quoted { found.len() >= 8 } else { found.len() >= 12 && is_mixed(found) && !found.contains('(') };
    (is_value && !is_placeholder(found)).then_some(start..end)
}

fn is_telling(name: &str) -> bool {
    const ENDINGS: [&str; 9] =
        ["token", "password", "passwd", "secret", "apikey", "passphrase", "privatekey", "accesskey", "secretkey"];
    // Where lists go on, not who may read them.
    const HARMLESS: [&str; 4] = ["pagetoken", "continuationtoken", "synctoken", "csrftoken"];
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    ENDINGS.iter().any(|e| plain.ends_with(e)) && !HARMLESS.iter().any(|h| plain.ends_with(h))
}

/// Stands for a secret and is none: nothing, a variable, a mask.
fn is_placeholder(value: &str) -> bool {
    value.is_empty()
        || value.starts_with("${")
        || value.starts_with('$')
        || value == REDACTED
        || value.chars().all(|c| c == '*')
}

/// Letters and digits in one word.
fn is_mixed(text: &str) -> bool {
    text.contains(|c: char| c.is_ascii_digit()) && text.contains(|c: char| c.is_ascii_alphabetic())
}

/// A word without sense: 20 and more letters of both cases and digits in a row, or 32 hexadecimal digits. An UUID is none.
fn is_random(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '+').any(|word| {
        let has = |kind: fn(&char) -> bool| word.chars().any(|c| kind(&c));
        let digits = has(char::is_ascii_digit);
        let is_hex = word.chars().all(|c| c.is_ascii_hexdigit());
        (word.len() >= 20 && digits && has(char::is_ascii_lowercase) && has(char::is_ascii_uppercase))
            || (word.len() >= 32 && is_hex && digits && has(char::is_ascii_alphabetic))
    })
}

/// An address with a user, a telling parameter, or a path below a web hook.
fn is_secret_address(value: &str) -> bool {
    let Some((_, rest)) = value.split_once("://") else { return false };
    let (place, query) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    let (host, path) = place.split_once('/').unwrap_or((place, ""));
    let asks = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or(("", pair));
        !is_placeholder(value) && (is_secret_parameter(name) || value.len() >= 16 && is_mixed(value))
    };
    let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let is_hook = format!("{host}/{path}").to_ascii_lowercase().contains("hook") && last.len() >= MIN_SECRET;
    let has_user = host.rsplit_once('@').is_some_and(|(user, _)| !user.split(':').all(is_placeholder) && user != "git");
    has_user || query.split(['?', '&', '#', ';']).any(asks) || (is_hook && path.contains('/') && !is_placeholder(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> String {
        mask(text).unwrap_or_else(|| text.to_owned())
    }

    #[test]
    fn s34_secrets_are_known_by_their_shape() {
        for (text, clean) in [
            ("at https://ann:hunter2@h/x", "at https://ann:***@h/x"),
            ("https://ghx0123456789abcdef@h/x", "https://***@h/x"),
            ("ssh://git@host/x", "ssh://git@host/x"),
            ("https://h/x?a=1&key=abc&b=2", "https://h/x?a=1&key=***&b=2"),
            ("wss://h/?token=abc#x", "wss://h/?token=***#x"),
            ("https://h/x?X-Amz-Signature=ab12", "https://h/x?X-Amz-Signature=***"),
            ("a ghp_0123456789abcdefghij b", "a *** b"),
            ("xoxb-1234-5678-abcd AKIAIOSFODNN7EXAMPLE", "*** ***"),
            ("AIzaSyA0123456789abcdefghijklmnopqrstuv", "***"),
            ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl.", "jwt ***"),
            ("x\n-----BEGIN EC PRIVATE KEY-----\nMHc\n-----END EC PRIVATE KEY-----\ny", "x\n***\ny"),
            ("-----BEGIN PRIVATE KEY-----\\nMHcC", "***"),
            ("-----BEGIN CERTIFICATE-----\nMHc", "-----BEGIN CERTIFICATE-----\nMHc"),
            ("Authorization: Basic YW5uOmh1bnRlcjI=", "Authorization: Basic ***"),
            ("a basic knowledge of things", "a basic knowledge of things"),
            (r#"{"token": "correct-horse"}"#, r#"{"token": "***"}"#),
            (r#"{\"botToken\":\"correct-horse\"}"#, r#"{\"botToken\":\"***\"}"#),
            ("token:'correct-horse', port:1", "token:'***', port:1"),
            ("OPENCLAW_GATEWAY_TOKEN=0123456789abcdef\n", "OPENCLAW_GATEWAY_TOKEN=***\n"),
            (
                "let token = next_token(stream); token: String, password=ask",
                "let token = next_token(stream); token: String, password=ask",
            ),
            (
                r#"{"key": "agent:main:main", "sessionKey": "agent:main:main"}"#,
                r#"{"key": "agent:main:main", "sessionKey": "agent:main:main"}"#,
            ),
            (r#""token": "${GATEWAY_TOKEN}""#, r#""token": "${GATEWAY_TOKEN}""#),
            ("maxTokens: 1234567890123a", "maxTokens: 1234567890123a"),
            ("hf_hub_download_of_everything_there_is", "hf_hub_download_of_everything_there_is"),
        ] {
            assert_eq!(masked(text), clean);
        }
    }

    #[test]
    fn s34_a_value_is_judged_as_a_whole() {
        for secret in [
            "https://ann@h/x",
            "https://ann:@h/x",
            "https://h/x?code=0123456789abcdef",
            "https://hooks.example/services/T0/B0/planted",
            "https://h/api/webhooks/1/abcdefgh",
            "Zm9vYmFyYmF6cXV4MTIzNDU",
            "0123456789abcdef0123456789abcdef",
            "--token=0123456789abcdef",
        ] {
            assert!(is_secret(secret), "{secret}");
        }
        for plain in [
            "https://api.example.com/v1",
            "https://h/x?page=2",
            "http://127.0.0.1:9222",
            "https://h/?key=${KEY}",
            "claude-sonnet-4-20250514",
            "Qwen3-Coder-30B-A3B-Instruct-FP8",
            "123e4567-e89b-12d3-a456-426614174000",
            "/home/ann/.openclaw/workspace",
            "agent:main:telegram:dm:123456789",
            "The quick brown fox jumps over 12 lazy dogs.",
        ] {
            assert!(!is_secret(plain), "{plain}");
        }
    }
}
