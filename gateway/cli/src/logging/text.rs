//! Long texts in log lines.

use std::borrow::Cow;

use openclaw_protocol::truncate;

/// At most `max` bytes, cut at a character, with a note of what is missing.
pub fn shorten(text: &str, max: usize) -> Cow<'_, str> {
    if text.len() <= max {
        return Cow::Borrowed(text);
    }
    let kept = truncate::bytes(text, max);
    Cow::Owned(format!("{kept}... ({} bytes more)", text.len() - kept.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_at_a_character() {
        assert_eq!(shorten("aéb", 2), "a... (3 bytes more)");
        assert_eq!(shorten("abc", 3), "abc");
    }
}
