//! The beginning of a text that may be too long, never cut inside a character.

/// At most `most` characters of `text`.
pub fn chars(text: &str, most: usize) -> &str {
    text.char_indices().nth(most).map_or(text, |(end, _)| &text[..end])
}

/// At most `most` bytes of `text`.
pub fn bytes(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_character_is_cut() {
        assert_eq!(
            (chars("aéb", 2), chars("aéb", 3), chars("aéb", 4), chars("", 1), chars("a", 0)),
            ("aé", "aéb", "aéb", "", "")
        );
        assert_eq!((bytes("aéb", 2), bytes("aéb", 3), bytes("aéb", 9), bytes("é", 1)), ("a", "aé", "aéb", ""));
    }
}
