//! Outside text made safe for terminals and log lines (S18).

use std::borrow::Cow;

/// Control characters, and those that turn the direction of text, as `\u{..}`; tabs stay.
pub fn escape_controls(text: &str) -> Cow<'_, str> {
    let forbidden = |c: char| (c.is_control() && c != '\t') || is_invisible(c);
    if !text.contains(forbidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c if forbidden(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Line and paragraph separators and direction marks: they let a text look like another one.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// At most `max` bytes, cut at a character, with a note of what is missing.
pub fn shorten(text: &str, max: usize) -> Cow<'_, str> {
    if text.len() <= max {
        return Cow::Borrowed(text);
    }
    let end = text.floor_char_boundary(max);
    Cow::Owned(format!("{}... ({} bytes more)", &text[..end], text.len() - end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s18_control_characters_are_escaped() {
        let text = "a\nb\r\x1b[31mred\u{7f}\u{9b}\u{202e}x\ty";
        assert_eq!(escape_controls(text), "a\\nb\\r\\u{1b}[31mred\\u{7f}\\u{9b}\\u{202e}x\ty");
        assert!(matches!(escape_controls("plain é 日本"), Cow::Borrowed(_)));
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        assert_eq!(shorten("aéb", 2), "a... (3 bytes more)");
        assert_eq!(shorten("abc", 3), "abc");
    }
}
