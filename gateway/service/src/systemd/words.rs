//! Values of units, as `systemd.syntax` has them: words in quotes, `%` for specifiers, `$` for variables of commands.

use crate::Unfit;

/// What separates words.
pub(super) const SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// Text of one setting.
pub(super) fn plain(text: &str) -> String {
    text.replace('%', "%%")
}

/// The program of a command line: systemd finds it by its path, in which `$` stands for itself and cannot be doubled.
pub(super) fn program(path: &str) -> Result<String, Unfit> {
    if path.starts_with('/') && !path.contains('$') {
        Ok(quoted(&plain(path)))
    } else {
        Err(Unfit::new("the program", "an absolute path without `$`"))
    }
}

/// An argument of a command line.
pub(super) fn argument(text: &str) -> String {
    quoted(&plain(text).replace('$', "$$"))
}

/// `NAME=VALUE`, one word; `$` means nothing here.
pub(super) fn variable(name: &str, value: &str) -> String {
    quoted(&plain(&format!("{name}={value}")))
}

/// The working directory, which systemd takes without quotes: what it would cut off cannot be said.
pub(super) fn directory(path: &str) -> Result<String, Unfit> {
    let is_cut = path.ends_with('\\') || path.ends_with(SPACE);
    if path.starts_with('/') && !is_cut {
        Ok(plain(path))
    } else {
        Err(Unfit::new("the working directory", "an absolute path that ends neither in a space nor in a backslash"))
    }
}

/// The word as it is, or in double quotes where it would not stay one.
fn quoted(word: &str) -> String {
    let stays = !word.is_empty() && !word.contains(SPACE) && !word.contains(['"', '\'', '\\', ';', '#']);
    if stays { word.to_owned() } else { format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"")) }
}

/// A command line as it is executed. Prefixes of the program (`-`, `+` and their like) are none of its path.
pub(super) fn command(value: &str) -> Vec<String> {
    let mut words = split(value);
    for (i, word) in words.iter_mut().enumerate() {
        let plain = unescape_percent(word);
        *word = if i == 0 {
            plain.trim_start_matches(['-', '@', ':', '+', '!', '|']).to_owned()
        } else {
            plain.replace("$$", "$")
        };
    }
    words
}

/// `%%` is a percent sign; other specifiers stay as they are written.
pub(super) fn unescape_percent(text: &str) -> String {
    text.replace("%%", "%")
}

/// Splits into words: quotes may begin anywhere, a backslash begins a C escape.
pub(super) fn split(value: &str) -> Vec<String> {
    let mut words = vec![];
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut rest = value.chars();
    while let Some(c) = rest.next() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if SPACE.contains(&c) => words.extend(word.take()),
            (_, '\\') => escaped(&mut rest, word.get_or_insert_default()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// What stands behind a backslash. What is no escape stays with its backslash.
fn escaped(rest: &mut std::str::Chars, word: &mut String) {
    let Some(c) = rest.next() else { return word.push('\\') };
    let simple = match c {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        's' => ' ',
        '\\' | '"' | '\'' => c,
        'x' | 'u' => {
            let digits: String = rest.clone().take(if c == 'x' { 2 } else { 4 }).collect();
            let found = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
            let Some(found) = found else { return word.extend(['\\', c]) };
            rest.by_ref().take(digits.chars().count()).for_each(drop);
            found
        }
        _ => return word.extend(['\\', c]),
    };
    word.push(simple);
}
