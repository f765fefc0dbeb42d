//! Which values are secrets, by where they stand and by their shape; and their replacement (D17, S17, S34).

use std::collections::{BTreeMap, BTreeSet};

use jsonc_parser::{
    CollectOptions, CommentCollectionStrategy,
    common::Ranged as _,
    cst::{CstNode, CstRootNode},
};
use serde_json::Value;

use crate::{
    REDACTED,
    mask::Masker,
    secret_names::{is_secret_key, is_secret_name, names_a_secret, plain},
    shapes,
    text::without_mark,
    vars::is_reference,
};

/// True for a key under which every string is a secret.
fn holds_secrets(key: &str) -> bool {
    let key = plain(key);
    key == "env" || key.ends_with("headers") || key == "cookies"
}

/// True for a key under which every text is a secret, and a number is a count: `tokens`, `apiKeys`.
fn lists_secrets(key: &str) -> bool {
    const ENDINGS: [&str; 8] =
        ["tokens", "passwords", "secrets", "credentials", "apikeys", "privatekeys", "creds", "cookies"];
    let key = plain(key);
    ENDINGS.iter().any(|ending| key.ends_with(ending))
}

/// Addresses of a browser's debugging port or of a hook: whoever knows one gets in, unless it is only `scheme://host`.
fn is_way_in(key: &str, value: &str) -> bool {
    let key = plain(key);
    let is_bare =
        || value.split_once("://").is_some_and(|(_, rest)| !rest.trim_end_matches('/').contains(['/', '?', '#', '@']));
    (key.ends_with("cdpurl") || key.ends_with("wsendpoint")) && !is_bare()
}

/// What is known about a value from where it stands.
#[derive(Clone, Copy, Default)]
struct Place<'a> {
    /// Everything here is secret.
    secret: bool,
    /// Everything here may be: an environment, headers.
    maybe: bool,
    /// A text or number here is.
    scalar: bool,
    /// Every text here is.
    texts: bool,
    /// Below `webhook`: there a path is a secret.
    webhook: bool,
    key: &'a str,
}

impl<'a> Place<'a> {
    fn below(self, key: &'a str) -> Self {
        let is_path = self.webhook && matches!(plain(key).as_str(), "path" | "url");
        Self {
            secret: self.secret || is_secret_key(key),
            maybe: self.maybe || holds_secrets(key),
            scalar: names_a_secret(key) || is_path,
            texts: self.texts || lists_secrets(key),
            webhook: self.webhook || plain(key).starts_with("webhook"),
            key,
        }
    }

    /// The value beside a telling name: `{"name": "Authorization", "value": "..."}`.
    fn named(self, name: Option<&str>) -> Self {
        let tells = |n: &str| is_secret_name(n) || plain(n).ends_with("authorization");
        let is_value = matches!(self.key, "value" | "val" | "default");
        Self { secret: self.secret || (is_value && name.is_some_and(tells)), ..self }
    }

    /// An entry of a list; after `--token` comes a token.
    fn entry(self, before: Option<&str>) -> Self {
        let flag = before.and_then(|b| b.strip_prefix('-')).filter(|b| !b.contains('='));
        Self { scalar: self.scalar || flag.is_some_and(is_secret_name), ..self }
    }

    /// The place alone makes `text` a secret.
    fn tells(self, text: &str) -> bool {
        self.secret || self.scalar || self.texts || flag_value(text).is_some() || is_way_in(self.key, text)
    }

    fn hides(self, text: &str) -> bool {
        let by_shape = || !is_identity(self.key) && shapes::is_secret(text);
        !text.is_empty() && !is_reference(text) && (self.maybe || self.tells(text) || by_shape())
    }

    /// A number beside `tokens` is a count.
    fn hides_number(self) -> bool {
        self.secret || self.maybe || (self.scalar && matches!(plain(self.key).as_str(), "key" | "pass" | "pwd" | "pin"))
    }
}

/// The value in `--token=...` of a command line.
fn flag_value(text: &str) -> Option<&str> {
    let (flag, value) = text.strip_prefix('-')?.split_once('=')?;
    is_secret_name(flag).then_some(value)
}

/// Long and random, and meant to be shown.
fn is_identity(key: &str) -> bool {
    let key = plain(key);
    ["fingerprint", "hash", "digest", "sha256", "publickey", "deviceid", "nodeid"].iter().any(|e| key.ends_with(e))
}

/// Calls `f` with every text and number of `value` and its place, and puts what that gives in its place.
fn walk(value: &Value, place: Place<'_>, f: &mut dyn FnMut(&Value, Place<'_>) -> Value) -> Value {
    match value {
        Value::Object(map) => {
            let name = ["name", "key", "header"].iter().find_map(|n| map.get(*n)?.as_str());
            let entry = |(key, item): (&String, &Value)| (key.clone(), walk(item, place.below(key).named(name), f));
            Value::Object(map.iter().map(entry).collect())
        }
        Value::Array(list) => {
            let before = std::iter::once(None).chain(list.iter().map(Value::as_str));
            Value::Array(list.iter().zip(before).map(|(item, before)| walk(item, place.entry(before), f)).collect())
        }
        scalar => f(scalar, place),
    }
}

/// `value` with [`REDACTED`] in place of every secret. A bare `${NAME}` stays: it is a name, not a secret. A text that
/// has a secret in it is replaced as a whole, so that [`restored`] can put back exactly what was there.
pub fn redacted(value: &Value) -> Value {
    let known = Masker::new(own_secrets_in(value));
    walk(value, Place::default(), &mut |scalar, place| match scalar {
        Value::String(text) if place.hides(text) || known.knows(text) => REDACTED.into(),
        Value::Number(_) if place.hides_number() => REDACTED.into(),
        other => other.clone(),
    })
}

/// `value` with what `stored` holds wherever [`REDACTED`] stands (D17): a client sends back what it was shown. Entries of
/// lists are found by their `id`, `name` or `accountId`, else by position. A marker with nothing behind it stays, and is
/// refused when the configuration is checked.
pub fn restored(value: &Value, stored: &Value) -> Value {
    match value {
        Value::String(text) if text == REDACTED && !stored.is_object() && !stored.is_array() && !stored.is_null() => {
            stored.clone()
        }
        Value::Object(map) => {
            let entry =
                |(key, item): (&String, &Value)| (key.clone(), restored(item, stored.get(key).unwrap_or(&Value::Null)));
            Value::Object(map.iter().map(entry).collect())
        }
        Value::Array(list) => {
            let name =
                |item: &Value| ["id", "name", "accountId"].iter().find_map(|n| Some((*n, item.get(*n)?.clone())));
            let same = |at: usize, item: &Value| {
                let old = stored.as_array()?;
                match name(item) {
                    Some((key, id)) => old.iter().find(|o| o.get(key) == Some(&id)),
                    None => old.get(at),
                }
            };
            let entry = |(at, item): (usize, &Value)| restored(item, same(at, item).unwrap_or(&Value::Null));
            Value::Array(list.iter().enumerate().map(entry).collect())
        }
        other => other.clone(),
    }
}

/// Every secret in `value`, so that a logger can hide them wherever they turn up (S17).
pub fn secrets_in(value: &Value) -> BTreeSet<String> {
    let mut out = own_secrets_in(value);
    walk(value, Place::default(), &mut |scalar, place| {
        if let Some(text) = scalar.as_str().filter(|t| !t.is_empty() && (place.secret || place.maybe)) {
            out.insert(text.to_owned());
        }
        Value::Null
    });
    out
}

/// The secrets in `value` that are nothing else by chance, for finding them in other texts (S28): of an `env` section or
/// of headers what has a telling name or looks like a secret, of an address or a sentence the part that is one.
pub fn own_secrets_in(value: &Value) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    walk(value, Place::default(), &mut |scalar, place| {
        if let Some(text) = scalar.as_str().filter(|text| place.hides(text)) {
            if place.tells(text) && !text.contains("://") {
                out.insert(flag_value(text).unwrap_or(text).to_owned());
            } else {
                out.extend(shapes::parts(text).into_iter().map(str::to_owned));
            }
        }
        Value::Null
    });
    out
}

/// Every path in `value` that names a file or directory with a secret in it: `tokenFile`, `keyPath`, `authDir` (S29).
pub fn secret_paths_in(value: &Value) -> Vec<String> {
    fn names_one(key: &str) -> bool {
        let plain: String = key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
        let stem = ["file", "path", "dir"].iter().find_map(|ending| plain.strip_suffix(ending));
        stem.is_some_and(|stem| is_secret_key(stem) || matches!(stem, "auth" | "oauth" | "credentials"))
    }
    fn collect(value: &Value, out: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                for (key, item) in map {
                    match item {
                        Value::String(path) if names_one(key) && !path.is_empty() => out.push(path.clone()),
                        _ => collect(item, out),
                    }
                }
            }
            Value::Array(list) => list.iter().for_each(|item| collect(item, out)),
            _ => {}
        }
    }
    let mut out = vec![];
    collect(value, &mut out);
    out
}

/// The file's text with [`REDACTED`] in place of every secret, comments and order kept; a comment that has a secret in it
/// loses that. `None` when the text cannot be read: then nothing of it may be shown.
pub fn redacted_text(text: &str) -> Option<String> {
    let (mark, text) = without_mark(text);
    Some(mark.to_owned() + &redacted_in(text)?)
}

fn redacted_in(text: &str) -> Option<String> {
    let value = crate::read_value(text).ok()?;
    let root = CstRootNode::parse(text, &crate::edit::OPTIONS).ok()?;
    let known = Masker::new(own_secrets_in(&value));
    if let Some(node) = root.value() {
        redact_node(&node, Place::default(), &known);
    }
    let out = without_secrets_in_comments(&root.to_string(), &known)?;
    // Two readers must not disagree about what is where.
    let same = crate::read_value(&out).ok()? == redacted(&value);
    same.then_some(out)
}

fn redact_node(node: &CstNode, place: Place<'_>, known: &Masker) {
    let text_of = |node: &CstNode| node.as_string_lit().and_then(|text| text.decoded_value().ok());
    let marker = || format!("\"{REDACTED}\"");
    if let Some(object) = node.as_object() {
        let text_at = |name: &str| text_of(&object.get(name)?.value()?);
        let name = ["name", "key", "header"].iter().find_map(|n| text_at(n));
        for property in object.properties() {
            let key = property.decoded_name().unwrap_or_default();
            if let Some(value) = property.value() {
                redact_node(&value, place.below(&key).named(name.as_deref()), known);
            }
        }
    } else if let Some(array) = node.as_array() {
        let mut before = None;
        for element in array.elements() {
            let text = text_of(&element);
            redact_node(&element, place.entry(before.as_deref()), known);
            before = text;
        }
    } else if let Some(text) = node.as_string_lit() {
        let plain = text.decoded_value().unwrap_or_default();
        if place.hides(&plain) || known.knows(&plain) {
            text.set_raw_value(marker());
        }
    } else if let Some(number) = node.as_number_lit()
        && place.hides_number()
    {
        number.set_raw_value(marker());
    }
}

/// `new` with the comments of `old` wherever one stands as [`redacted_text`] showed it (D17). `None` when either cannot be read.
pub(crate) fn comments_restored(new: &str, old: &str) -> Option<String> {
    let ((mark, new), (_, old)) = (without_mark(new), without_mark(old));
    let known = Masker::new(own_secrets_in(&crate::read_value(old).ok()?));
    let masked = comments(old)?.into_iter().filter_map(|(start, end)| {
        let whole = &old[start..end];
        let shown = known.mask(whole).into_owned();
        (shown != whole).then_some((shown, whole))
    });
    let masked: BTreeMap<String, &str> = masked.collect();
    let mut out = new.to_owned();
    for (start, end) in comments(new)?.into_iter().rev() {
        if let Some(whole) = masked.get(&new[start..end]) {
            out.replace_range(start..end, whole);
        }
    }
    Some(mark.to_owned() + &out)
}

/// Where the comments of a text are, bytes, in order.
fn comments(text: &str) -> Option<BTreeSet<(usize, usize)>> {
    let collect = CollectOptions { comments: CommentCollectionStrategy::Separate, tokens: false };
    let parsed = jsonc_parser::parse_to_ast(text, &collect, &crate::edit::OPTIONS).ok()?;
    let comments = parsed.comments.unwrap_or_default();
    // One comment may be listed at both of its sides.
    Some(comments.values().flat_map(|list| list.iter().map(|c| (c.range().start, c.range().end))).collect())
}

fn without_secrets_in_comments(text: &str, known: &Masker) -> Option<String> {
    let mut out = text.to_owned();
    for (start, end) in comments(text)?.into_iter().rev() {
        let masked = known.mask(&text[start..end]).into_owned();
        out.replace_range(start..end, &masked);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn s17_secrets_are_replaced_wherever_they_stand() {
        let value = json!({
            "gateway": {"auth": {"token": "t", "password": "p", "mode": "token"}, "port": 1},
            "talk": {"apiKey": "k"},
            "channels": {"telegram": {"botToken": "b", "tokenFile": "/f", "accounts": {"x": {"botToken": "${T}"}}}},
            "models": {"providers": {"o": {"headers": {"X": "h"}, "models": [{"id": "m", "maxTokens": 5}]}}},
            "env": {"K": "v", "vars": {"L": "w"}, "shellEnv": {"enabled": true}},
            "hooks": {"token": 5, "secret": ""},
        });
        let out = redacted(&value);
        let r = json!(REDACTED);
        assert_eq!(out["gateway"], json!({"auth": {"token": r, "password": r, "mode": "token"}, "port": 1}));
        assert_eq!(out["talk"]["apiKey"], r);
        let telegram = json!({"botToken": r, "tokenFile": "/f", "accounts": {"x": {"botToken": "${T}"}}});
        assert_eq!(out["channels"]["telegram"], telegram);
        assert_eq!(
            out["models"]["providers"]["o"],
            json!({"headers": {"X": r}, "models": [{"id": "m", "maxTokens": 5}]})
        );
        assert_eq!(out["env"], json!({"K": r, "vars": {"L": r}, "shellEnv": {"enabled": true}}));
        assert_eq!(out["hooks"], json!({"token": r, "secret": ""}));
        let known: Vec<String> = secrets_in(&value).into_iter().collect();
        assert_eq!(known, ["${T}", "b", "h", "k", "p", "t", "v", "w"]);
        let own: Vec<String> = own_secrets_in(&value).into_iter().collect();
        assert_eq!(own, ["b", "k", "p", "t"], "what an environment holds is often no secret");
    }

    #[test]
    fn s34_secrets_are_known_by_type_and_by_shape() {
        let value = json!({
            "models": {"providers": {
                "a": {"baseUrl": "https://ann:planted-01@h/v1", "api": "openai-completions"},
                "b": {"baseUrl": "https://h/v1?key=planted-02"},
                "c": {"baseUrl": "https://h/v1", "headers": {"x-api-key": "planted-03", "Authorization": "planted-04"}},
            }},
            "auth": {"profiles": {"p": {
                "provider": "openai", "mode": "oauth", "key": "planted-05", "access": "planted-06", "refresh": "planted-07",
            }}},
            "plugins": {"entries": {"voice": {"config": {
                "webhookPath": "/hook/planted-08", "webhook": {"path": "/planted-09", "port": 3334},
                "webhookUrl": "https://h/planted-10",
            }}}},
            "browser": {"cdpUrl": "ws://h/devtools/planted-11", "profiles": {"x": {"cdpUrl": "http://127.0.0.1:9222"}}},
            "env": {"vars": {"A": "planted-12"}},
            "mcp": {"servers": [{"command": "x", "args": ["--token", "planted-13", "--api-key=planted-14", "-v"]}]},
            "proxyUrl": "socks5://ann:planted-15@h", "pins": ["a"], "cookie": "planted-16",
            "sessionCookie": "planted-23", "psk": "planted-24", "hmac": "planted-25", "pat": "planted-26",
            "creds": ["planted-27"],
            "list": [{"name": "Authorization", "value": "planted-17"}, {"name": "color", "value": "red"}],
            "note": "Bearer planted-18", "seed": "ghp_planted0123456789abcd", "x": "Zm9vUGxhbnRlZDIwMTIzNDU2Nzg5",
            "apiKeys": ["planted-21"], "botTokens": {"a": "planted-22"},
            "copy": "see planted-05", "session": {"mainKey": "main"}, "agentId": "0123456789",
            "tlsFingerprint": "0123456789abcdef0123456789abcdef", "workspace": "~/.openclaw/workspace",
        });
        let text = redacted(&value).to_string();
        for left in ["planted", "Planted"] {
            assert!(!text.contains(left), "{:#}", redacted(&value));
        }
        let kept = ["openai-completions", "\"https://h/v1\"", "\"oauth\"", "3334", "http://127.0.0.1:9222", "\"-v\""];
        let more = ["\"red\"", "\"main\"", "0123456789abcdef0123456789abcdef", "~/.openclaw/workspace", "[\"a\"]"];
        for shown in kept.iter().chain(&more) {
            assert!(text.contains(shown), "{shown}: {:#}", redacted(&value));
        }
        assert_eq!(restored(&redacted(&value), &value), value);
        let shown = redacted_text(&serde_json::to_string_pretty(&value).unwrap()).unwrap();
        assert!(!shown.contains("planted"), "{shown}");
    }

    #[test]
    fn d17_a_marker_is_put_back_by_name_and_a_marker_for_nothing_stays() {
        let stored = json!({"list": [{"id": "a", "token": "one"}, {"id": "b", "token": "two"}], "n": 5, "o": {"x": 1}});
        let sent = json!({"list": [{"id": "b", "token": REDACTED}, {"id": "c", "token": REDACTED}], "n": REDACTED, "o": REDACTED});
        let expected =
            json!({"list": [{"id": "b", "token": "two"}, {"id": "c", "token": REDACTED}], "n": 5, "o": REDACTED});
        assert_eq!(restored(&sent, &stored), expected);
    }

    #[test]
    fn s34_comments_lose_their_secrets() {
        let text = "{\n // was token: \"planted-01\" of ann\n /* ghp_planted0123456789abcd, see hunter2-05 */\n a: 1, talk: {apiKey: 'hunter2-05'},\n}";
        let out = redacted_text(text).unwrap();
        assert!(!out.contains("planted") && !out.contains("hunter2") && out.contains("of ann"), "{out}");
    }

    #[test]
    fn s17_text_keeps_its_comments_and_loses_its_secrets() {
        let text = "{\n // keep me\n gateway:{auth:{token:'s3cret'}}, talk:{apiKey:\"${K}\"},\n}";
        let out = redacted_text(text).unwrap();
        assert!(out.contains("// keep me") && out.contains("${K}") && !out.contains("s3cret"), "{out}");
        assert_eq!(redacted_text("{ broken"), None);
    }
}
