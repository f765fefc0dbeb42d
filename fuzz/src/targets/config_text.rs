//! The configuration file: any text gives a configuration, or problems that all say where (F19); no secret gets through
//! redaction (S17); an edit changes what it was asked to and keeps every comment (D21).

use crate::generate;
use arbitrary::{Arbitrary as _, Result, Unstructured};
use openclaw_config::{Path, REDACTED, edit, parse, read_value, redacted, redacted_text, schema, secrets_in};
use serde_json::Value;

/// One input.
pub fn run(input: &[u8]) {
    let Some((how, rest)) = input.split_first() else { return };
    let mut u = Unstructured::new(rest);
    let _ = match how % 4 {
        0 => generate::value(schema(), &mut u).map(|value| whole(&value.to_string())),
        1 => edited(&mut u),
        _ => std::str::from_utf8(rest).map(whole).map_err(|_| arbitrary::Error::IncorrectFormat),
    };
}

fn whole(text: &str) {
    let env = |name: &str| (name == "HOME").then(|| "/home/me".to_owned());
    match parse(text, &env) {
        Err(problems) => {
            assert!(!problems.is_empty());
            let read = read_value(text).ok();
            for problem in &problems {
                assert!(
                    !problem.message.is_empty() && !problem.to_string().chars().any(char::is_control),
                    "{problem:?}"
                );
                let somewhere = !problem.path.is_empty() || problem.line.is_some();
                assert!(
                    somewhere || !read.as_ref().is_some_and(Value::is_object),
                    "{problem} does not say where: {text}"
                );
                if !problem.path.is_empty() {
                    assert!(Path::parse(&problem.path).is_ok(), "{:?} is no path: {text}", problem.path);
                }
            }
        }
        Ok(loaded) => {
            let shown = redacted(&loaded.value);
            let left: Vec<String> = secrets_in(&shown).into_iter().filter(|s| s != REDACTED).collect();
            assert!(left.iter().all(|s| s.starts_with("${") && s.ends_with('}')), "{left:?} shown: {text}");
            assert_eq!(redacted(&shown), shown);
        }
    }
    if let (Some(shown), Ok(value)) = (redacted_text(text), read_value(text)) {
        assert_eq!(comments(&shown), comments(text), "{text}");
        assert_eq!(read_value(&shown).expect("still readable"), redacted(&value));
    }
}

fn edited(u: &mut Unstructured<'_>) -> Result<()> {
    let mut path = Path::default();
    for _ in 0..u.int_in_range(1..=3)? {
        path = if u.int_in_range(0..=3)? == 3 { path.index(u.choose_index(3)?) } else { path.key(&generate::text(u)?) };
    }
    let value = generate::any(u)?;
    let remove = bool::arbitrary(u)?;
    let Ok(text) = std::str::from_utf8(u.bytes(u.len())?) else { return Ok(()) };
    let Ok(before) = read_value(text) else { return Ok(()) };
    let what_was_there = path.get(&before).cloned();
    if remove {
        let Ok(out) = edit::unset(text, &path) else { return Ok(()) };
        assert!(what_was_there.is_some(), "{path} was not there: {text}");
        read_value(&out).expect("an edited file can be read");
        return Ok(());
    }
    let Ok(out) = edit::set(text, &path, &value) else { return Ok(()) };
    let after = read_value(&out).expect("an edited file can be read");
    assert_eq!(path.get(&after), Some(&value), "{text}");
    // What is replaced takes its own comments with it.
    if what_was_there.is_none_or(|v| !v.is_object() && !v.is_array()) && before.is_object() {
        assert_eq!(comments(&out), comments(text), "{path} in {text}\ngave {out}");
    }
    Ok(())
}

/// The comments of a JSON5 text, in their order.
fn comments(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['"', '\'', '/']) {
        rest = &rest[at..];
        let length = if rest.starts_with("//") {
            rest.find(['\n', '\r', '\u{2028}', '\u{2029}']).unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else {
            let quote = rest.chars().next().expect("it was found there");
            let mut chars = rest.char_indices().skip(1);
            loop {
                match chars.next() {
                    Some((_, '\\')) => drop(chars.next()),
                    Some((end, c)) if c == quote => break end + 1,
                    Some(_) => {}
                    None => break rest.len(),
                }
            }
        };
        if rest.starts_with("//") || rest.starts_with("/*") {
            found.push(rest[..length].trim_end());
        }
        rest = &rest[length..];
    }
    found
}
