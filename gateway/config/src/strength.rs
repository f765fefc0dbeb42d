//! How hard a shared secret is to guess, judged by its text alone.

/// Bits of a token that nobody guesses: a right one of as many is not held back while others guess (D40).
pub const STRONG_BITS: u32 = 128;

/// Characters below which a secret is worth a warning.
const SHORT: usize = 16;

/// Words that people put where a secret belongs.
const WELL_KNOWN: [&str; 24] = [
    "admin",
    "changeit",
    "changeme",
    "default",
    "demo",
    "example",
    "foobar",
    "gateway",
    "helloworld",
    "letmein",
    "openclaw",
    "passphrase",
    "password",
    "placeholder",
    "qwerty",
    "replaceme",
    "sample",
    "secret",
    "sesame",
    "test",
    "token",
    "welcome",
    "yoursecret",
    "yourtoken",
];

/// Bits that a random text of this length and these characters has at most; 0 for one that repeats itself. Counted as
/// who makes tokens counts: 4 for a hexadecimal digit, 5 for base32, 6 for base64. A UUID has 122.
pub fn token_bits(text: &str) -> u32 {
    let count = text.chars().count() as u64;
    if repeats(text) || count == 0 {
        return 0;
    }
    let has = |of: fn(&char) -> bool| text.chars().any(|c| of(&c));
    let (lower, upper, digit) =
        (has(char::is_ascii_lowercase), has(char::is_ascii_uppercase), has(char::is_ascii_digit));
    let other = text.chars().filter(|c| !c.is_ascii_alphanumeric()).collect::<Vec<_>>();
    let one_case = !(lower && upper);
    let all = |of: fn(&char) -> bool| text.chars().filter(|c| *c != '-').all(|c| of(&c));
    // In thousandths of a bit.
    let (characters, each) = if one_case && all(char::is_ascii_hexdigit) {
        let digits = count - other.len() as u64;
        if is_uuid(text) {
            return 122;
        }
        (digits, if lower || upper { 4000 } else { 3321 })
    } else if one_case && all(|c| c.is_ascii_alphabetic() || ('2'..='7').contains(c)) {
        (count - other.len() as u64, if digit { 5000 } else { 4700 })
    } else if other.is_empty() {
        (count, if one_case { 5169 } else { 5954 })
    } else if other.iter().all(|c| "-_+/=".contains(*c)) {
        (count, if one_case { 5209 } else { 6000 })
    } else {
        (count, 6500)
    };
    u32::try_from(characters * each / 1000).unwrap_or(u32::MAX)
}

/// Why a secret should be replaced, for people; none when nothing is seen from outside.
pub fn weakness(text: &str) -> Option<&'static str> {
    let plain: String = text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    let word = plain.trim_end_matches(|c: char| c.is_ascii_digit());
    let mut rest = plain.clone();
    for known in WELL_KNOWN {
        rest = rest.replace(known, "");
    }
    rest.retain(|c| !c.is_ascii_digit());
    if text.chars().count() < SHORT {
        Some("is shorter than 16 characters")
    } else if WELL_KNOWN.contains(&word) || rest.len() <= 2 {
        Some("is made of words that everybody tries first")
    } else if repeats(text) {
        Some("repeats itself")
    } else {
        None
    }
}

/// Few different characters, or the same three of them again and again.
fn repeats(text: &str) -> bool {
    let chars: Vec<char> = text.chars().collect();
    let different = chars.iter().collect::<std::collections::BTreeSet<_>>().len();
    let triples = chars.windows(3).collect::<std::collections::BTreeSet<_>>().len();
    let counting = chars.windows(2).filter(|w| u32::from(w[1]) == u32::from(w[0]) + 1).count();
    chars.len() >= 8 && (different < 7 || triples * 2 < chars.len() || counting * 3 > chars.len() * 2)
}

fn is_uuid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len).collect::<Vec<_>>();
    lengths == [8, 4, 4, 4, 12]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f56_tokens_of_128_bits_are_told_from_weaker_ones() {
        for strong in [
            "9f86d081884c7d659a2feaa0c55ad015",
            "9F86D081884C7D659A2FEAA0C55AD015",
            "kE3n_0aQ-9XwZr7LqPb2Vt",
            "mzxw6ytboi2dsmrqgezdgnbvgy",
            "3f1k9zq8w7m2x0c5v6b4n1a8s7",
            "test-token-0123456789abcdef",
        ] {
            assert!(token_bits(strong) >= STRONG_BITS, "{strong}: {}", token_bits(strong));
        }
        for weak in [
            "",
            "hunter2",
            "shared-secret",
            "9f86d081884c7d659a2feaa0c55ad01",
            "f81d4fae-7dec-41d0-a765-00a0c91e6bf6",
            "31415926535897932384626433832795028841",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "passwordpasswordpasswordpassword",
            "abcdefghijklmnopqrstuvwxyz0123456789",
        ] {
            assert!(token_bits(weak) < STRONG_BITS, "{weak}: {}", token_bits(weak));
        }
    }

    #[test]
    fn s03_weak_secrets_are_named() {
        for weak in [
            "changeme",
            "hunter2",
            "ChangeMe-ChangeMe-123",
            "password-password-1",
            "aaaaaaaaaaaaaaaaaaaa",
            "my-token",
            "openclaw-gateway-token",
        ] {
            assert!(weakness(weak).is_some(), "{weak}");
        }
        for good in ["9f86d081884c7d659a2feaa0c55ad015", "correct horse battery staple", "test-token-0123456789abcdef"]
        {
            assert_eq!(weakness(good), None, "{good}");
        }
    }
}
