//! How text from outside is shown (S18, S31): names, titles, commands, messages of others. The one place that does it.
//!
//! Whoever looks at a line must see all of it and nothing that is not there: what is not visible is escaped, so that no
//! name draws a second row, turns the direction of the text, hides characters or piles marks over its neighbours.

use std::borrow::Cow;

use crate::truncate;
use unicode_general_category::{GeneralCategory as Category, get_general_category};

/// Marks that may sit on one letter; no language stacks more.
const MAX_MARKS: usize = 4;

/// One line: line ends and tabs are escaped, too.
pub fn line(text: &str) -> Cow<'_, str> {
    escape(text, false)
}

/// Text of several lines that is meant to have them: an answer, a list made here. Line ends and tabs stay.
pub fn lines(text: &str) -> Cow<'_, str> {
    escape(text, true)
}

/// One line of at most `most` characters of `text`; `…` says that there was more.
pub fn short(text: &str, most: usize) -> String {
    let shown = truncate::chars(text, most);
    let more = if shown.len() < text.len() { "…" } else { "" };
    format!("{}{more}", line(shown))
}

/// JSON text, with what is not visible as `\u` escapes: it means the same to a program and hides nothing from a person.
pub fn json(text: &str) -> Cow<'_, str> {
    replace(text, true, |c, out| {
        let mut units = [0; 2];
        out.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
    })
}

fn escape(text: &str, keeps_lines: bool) -> Cow<'_, str> {
    replace(text, keeps_lines, |c, out| match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c => out.extend(c.escape_unicode()),
    })
}

fn replace(text: &str, keeps_lines: bool, put: impl Fn(char, &mut String)) -> Cow<'_, str> {
    if text.bytes().all(|b| matches!(b, b' '..=b'~')) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let (mut before, mut marks) = (None, 0);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let is_mark = is_mark(c);
        marks = if is_mark { marks + 1 } else { 0 };
        // A mark needs something to sit on.
        let has_room = !is_mark || (marks <= MAX_MARKS && before.is_some_and(|b| b != ' ' && !is_hidden(b)));
        let is_kept = keeps_lines && matches!(c, '\n' | '\t');
        if is_kept || (has_room && !is_hidden(c)) || joins(before, c, rest.peek().copied()) {
            out.push(c);
        } else {
            put(c, &mut out);
        }
        before = Some(c);
    }
    if out == text { Cow::Borrowed(text) } else { Cow::Owned(out) }
}

fn is_mark(c: char) -> bool {
    use Category::{EnclosingMark, NonspacingMark, SpacingMark};
    !c.is_ascii() && matches!(get_general_category(c), NonspacingMark | EnclosingMark | SpacingMark)
}

/// Draws nothing, or something else than itself: controls, formats (bidi, zero-width, tags), separators, spaces that are
/// none, fillers, variation selectors, private and unassigned characters.
fn is_hidden(c: char) -> bool {
    use Category::{
        Control, Format, LineSeparator, ParagraphSeparator, PrivateUse, SpaceSeparator, Surrogate, Unassigned,
    };
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    // Letters, symbols and marks by category that have no shape.
    let is_blank = matches!(
        c,
        '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{2800}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{fffc}' | '\u{1d159}' | '\u{e0000}'..='\u{e0fff}'
    );
    let category = get_general_category(c);
    is_blank
        || matches!(
            category,
            Control
                | Format
                | LineSeparator
                | ParagraphSeparator
                | PrivateUse
                | SpaceSeparator
                | Surrogate
                | Unassigned
        )
}

/// Where a hidden character is part of one that is seen: the selector and the joiner inside of an emoji, the joiners
/// between letters of scripts that need them to be written right.
fn joins(before: Option<char>, c: char, after: Option<char>) -> bool {
    let is_picture =
        |c: char| !c.is_ascii() && matches!(get_general_category(c), Category::OtherSymbol | Category::ModifierSymbol);
    // Arabic and what is written like it; the scripts of India.
    let is_joining = |c: char| matches!(c, '\u{620}'..='\u{8ff}' | '\u{900}'..='\u{dff}') && !is_hidden(c);
    match c {
        '\u{fe0f}' => before.is_some_and(|b| {
            is_picture(b)
                || matches!(b, '‼' | '⁉')
                || ((b.is_ascii_digit() || "#*".contains(b)) && after == Some('\u{20e3}'))
        }),
        '\u{200d}' if before.is_some_and(|b| is_picture(b) || b == '\u{fe0f}') => after.is_some_and(is_picture),
        '\u{200c}' | '\u{200d}' => before.is_some_and(is_joining) && after.is_some_and(is_joining),
        // The enclosing key of a keycap comes after its selector.
        '\u{20e3}' => before == Some('\u{fe0f}'),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn s31_what_is_not_visible_is_escaped() {
        for (text, shown) in [
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            ("\x1b[31mred\u{7f}\u{9b}", "\\u{1b}[31mred\\u{7f}\\u{9b}"),
            ("a\u{200b}b\u{200d}c\u{2060}\u{feff}", "a\\u{200b}b\\u{200d}c\\u{2060}\\u{feff}"),
            ("\u{202e}x\u{2066}\u{200f}\u{61c}", "\\u{202e}x\\u{2066}\\u{200f}\\u{61c}"),
            ("a\u{2028}b\u{2029}\u{85}", "a\\u{2028}b\\u{2029}\\u{85}"),
            ("a\u{e0041}\u{fe0f}\u{e0100}\u{180b}", "a\\u{e0041}\\u{fe0f}\\u{e0100}\\u{180b}"),
            ("a\u{a0}b\u{3000}c\u{2003}", "a\\u{a0}b\\u{3000}c\\u{2003}"),
            ("\u{3164}\u{115f}\u{ffa0}\u{2800}\u{34f}", "\\u{3164}\\u{115f}\\u{ffa0}\\u{2800}\\u{34f}"),
            ("so\u{ad}ft \u{e000} \u{378} \u{fffff}", "so\\u{ad}ft \\u{e000} \\u{378} \\u{fffff}"),
            ("\u{301}a \u{301}", "\\u{301}a \\u{301}"),
        ] {
            assert_eq!(line(text), shown);
        }
        let flood = format!("a{}b", "\u{301}".repeat(10));
        assert_eq!(line(&flood), format!("a{}{}b", "\u{301}".repeat(4), "\\u{301}".repeat(6)));
    }

    #[test]
    fn s31_what_people_write_stays() {
        for text in [
            "plain é e\u{301} 日本 naïve Ω",
            "👩\u{200d}💻 ❤\u{fe0f} 👍🏽 1\u{fe0f}\u{20e3} 🏳\u{fe0f}\u{200d}🌈 🇩🇪",
            "می\u{200c}خواهم",
            "क्\u{200d}ष",
            "שָׁלוֹם",
            "Việt Nam",
        ] {
            assert_eq!(line(text), text);
        }
        assert!(matches!(line("plain"), Cow::Borrowed(_)));
        assert_eq!(lines("a\n\tb\r\u{200b}"), "a\n\tb\\r\\u{200b}");
        assert_eq!(short("a\nbc", 3), "a\\nb…");
        assert_eq!(short("abc", 3), "abc");
    }

    #[test]
    fn s31_json_means_the_same() {
        let value = serde_json::json!({"name": "a\u{202e}b\n\u{e0041}é"});
        let shown = json(&format!("{value:#}")).into_owned();
        assert!(shown.contains("a\\u202eb\\n\\udb40\\udc41é"), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }

    proptest! {
        #[test]
        fn s31_no_text_makes_a_second_line(text in any::<String>()) {
            let shown = line(&text);
            prop_assert!(!shown.chars().any(|c| c.is_control() || "\u{2028}\u{2029}\u{202e}\u{200b}".contains(c)), "{shown:?}");
        }
    }
}
