//! Keys that can be pressed, by the names of the DOM's `KeyboardEvent.key`.

/// What a browser is told of a key.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    /// `Enter`, `a`.
    pub name: String,
    /// `Enter`, `KeyA`.
    pub code: String,
    /// Windows' number of it, which pages read.
    pub number: u32,
    /// What it types.
    pub text: Option<String>,
    /// Bits of the modifiers that are held.
    pub modifiers: u32,
}

const NAMED: [(&str, u32, Option<&str>); 14] = [
    ("Enter", 13, Some("\r")),
    ("Tab", 9, None),
    ("Escape", 27, None),
    ("Backspace", 8, None),
    ("Delete", 46, None),
    ("Home", 36, None),
    ("End", 35, None),
    ("PageUp", 33, None),
    ("PageDown", 34, None),
    ("ArrowLeft", 37, None),
    ("ArrowUp", 38, None),
    ("ArrowRight", 39, None),
    ("ArrowDown", 40, None),
    ("Space", 32, Some(" ")),
];

const MODIFIERS: [(&str, u32); 4] = [("alt", 1), ("control", 2), ("meta", 4), ("shift", 8)];

/// The key of this name: `Enter`, `a`, `Control+a`.
pub fn named(name: &str) -> Option<Key> {
    let mut parts: Vec<&str> = name.split('+').map(str::trim).collect();
    let last = parts.pop().filter(|last| !last.is_empty())?;
    let mut modifiers = 0;
    for part in parts {
        modifiers |= MODIFIERS.iter().find(|(word, _)| part.eq_ignore_ascii_case(word))?.1;
    }
    // With others than Shift held it is a command.
    let types = matches!(modifiers, 0 | 8);
    if let Some((key, number, text)) = NAMED.iter().find(|(key, ..)| key.eq_ignore_ascii_case(last)) {
        let shown = if *key == "Space" { " " } else { key };
        let text = text.filter(|_| types).map(str::to_owned);
        return Some(Key { name: shown.to_owned(), code: (*key).to_owned(), number: *number, text, modifiers });
    }
    let mut characters = last.chars();
    let (letter, None) = (characters.next()?, characters.next()) else { return None };
    let upper = letter.to_ascii_uppercase();
    let (code, number) = match upper {
        'A'..='Z' => (format!("Key{upper}"), u32::from(upper)),
        '0'..='9' => (format!("Digit{upper}"), u32::from(upper)),
        _ => (String::new(), 0),
    };
    let text = types.then(|| letter.to_string());
    Some(Key { name: letter.to_string(), code, number, text, modifiers })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_known_by_name_and_by_letter() {
        let enter = named("enter").unwrap();
        assert_eq!((enter.name.as_str(), enter.number, enter.text.as_deref()), ("Enter", 13, Some("\r")));
        let all = named("Control+a").unwrap();
        assert_eq!((all.code.as_str(), all.number, all.modifiers, all.text), ("KeyA", 65, 2, None));
        assert_eq!(named("ü").unwrap().text.as_deref(), Some("ü"));
        for none in ["", "+", "Hyper+a", "ab", "Function"] {
            assert_eq!(named(none), None, "{none}");
        }
    }
}
