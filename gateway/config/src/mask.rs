//! Secrets out of running text: those known by value, and those that look like one (S17, S28).

use std::{
    borrow::Cow,
    collections::{BTreeSet, VecDeque},
    ops::Range,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE},
};
use data_encoding::{HEXLOWER, HEXUPPER};
use serde_json::Value;

use crate::shapes::{self, MASK, MIN_SECRET};

/// Values known at a time. What held secrets is read again and again, and the oldest go when this is full.
const MAX_SECRETS: usize = 1024;
/// Bytes of one value that are looked for.
const MAX_VALUE: usize = 4096;
/// A piece of a secret of this length is masked like the whole: output that was cut, or was read in pieces.
const PIECE: usize = 16;

/// Masks secrets in text. Clones share what they know.
#[derive(Clone, Default)]
pub struct Masker(Arc<RwLock<Known>>);

#[derive(Default)]
struct Known {
    values: VecDeque<String>,
    /// All pieces of values that are long enough, sorted.
    pieces: Vec<[u8; PIECE]>,
    /// Shorter values.
    words: Vec<Vec<u8>>,
    /// For each pair of bytes: does a piece or word begin with it?
    beginnings: Vec<bool>,
}

impl std::fmt::Debug for Masker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Masker")
    }
}

impl Masker {
    /// The values known now, also after a panic while they were changed: what is there is masked.
    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Knows these values.
    pub fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        let masker = Self::default();
        masker.learn(secrets);
        masker
    }

    /// Knows these, too, from now on: secrets that were replaced while the gateway runs (S04). Values of less than six
    /// bytes are not looked for, they would hit ordinary words.
    pub fn learn(&self, secrets: impl IntoIterator<Item = String>) {
        let mut fresh: Vec<String> = secrets.into_iter().filter(|s| s.trim().len() >= MIN_SECRET).collect();
        {
            let known = self.known();
            fresh.retain(|s| !known.values.contains(s));
        }
        if fresh.is_empty() {
            return;
        }
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.values.extend(fresh);
        let surplus = known.values.len().saturating_sub(MAX_SECRETS);
        known.values.drain(..surplus);
        known.index();
    }

    /// `text` without secrets: [`Masker::knows`] nothing of the result, and nothing in it looks like one.
    pub fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let spans = self.known().spans(text.as_bytes());
        let mut out = Cow::Borrowed(text);
        if !spans.is_empty() {
            let mut masked = String::with_capacity(text.len());
            let mut from = 0;
            for span in spans {
                masked.push_str(&text[from..text.floor_char_boundary(span.start).max(from)]);
                masked.push_str(MASK);
                from = text.ceil_char_boundary(span.end);
            }
            masked.push_str(&text[from..]);
            out = Cow::Owned(masked);
        }
        match shapes::mask(&out) {
            Some(masked) => Cow::Owned(masked),
            None => out,
        }
    }

    /// `value` with every text in it masked.
    pub fn mask_value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.mask(text).into_owned().into(),
            Value::Array(list) => list.iter().map(|item| self.mask_value(item)).collect(),
            Value::Object(map) => map.iter().map(|(key, item)| (key.clone(), self.mask_value(item))).collect(),
            other => other.clone(),
        }
    }

    /// True when a known value, or a piece of one, stands in `bytes`.
    pub fn knows(&self, bytes: impl AsRef<[u8]>) -> bool {
        let known = self.known();
        let bytes = bytes.as_ref();
        (0..bytes.len()).any(|at| known.at(bytes, at).is_some())
    }
}

impl Known {
    fn index(&mut self) {
        let (mut pieces, mut words) = (BTreeSet::new(), BTreeSet::new());
        for value in &self.values {
            let value = &value[..value.floor_char_boundary(MAX_VALUE)];
            for form in forms(value) {
                let mut is_cut = false;
                for word in form.split(u8::is_ascii_whitespace).filter(|w| w.len() >= PIECE) {
                    is_cut = true;
                    pieces.extend(word.windows(PIECE).filter_map(|w| <[u8; PIECE]>::try_from(w).ok()));
                }
                if !is_cut && form.len() >= MIN_SECRET {
                    words.insert(form);
                }
            }
        }
        let mut beginnings = vec![false; 1 << 16];
        for start in pieces.iter().map(|p| &p[..2]).chain(words.iter().map(|w: &Vec<u8>| &w[..2])) {
            beginnings[usize::from(start[0]) << 8 | usize::from(start[1])] = true;
        }
        self.pieces = pieces.into_iter().collect();
        self.words = words.into_iter().collect();
        // The longest first: none is cut by another one inside it.
        self.words.sort_by_key(|word| std::cmp::Reverse(word.len()));
        self.beginnings = beginnings;
    }

    /// Where what stands at `at` ends, when it is known.
    fn at(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let rest = &bytes[at..];
        let [first, second, ..] = rest else { return None };
        if !self.beginnings.get(usize::from(*first) << 8 | usize::from(*second)).copied().unwrap_or(false) {
            return None;
        }
        let piece = rest.first_chunk::<PIECE>().filter(|piece| self.pieces.binary_search(piece).is_ok());
        let word = || self.words.iter().find(|word| rest.starts_with(word)).map(Vec::len);
        piece.map(|_| PIECE).or_else(word).map(|length| at + length)
    }

    /// What is known in `bytes`: in order, what touches joined.
    fn spans(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let mut spans: Vec<Range<usize>> = vec![];
        for (start, end) in (0..bytes.len()).filter_map(|at| Some((at, self.at(bytes, at)?))) {
            match spans.last_mut() {
                Some(last) if start < last.end => last.end = last.end.max(end),
                _ => spans.push(start..end),
            }
        }
        spans
    }
}

/// How a value may stand in a text: as it is, inside JSON, in an address, in hexadecimal, in base64 at any offset.
fn forms(value: &str) -> BTreeSet<Vec<u8>> {
    let bytes = value.as_bytes();
    let escaped = serde_json::to_string(value).unwrap_or_default();
    let escaped = escaped.strip_prefix('"').and_then(|e| e.strip_suffix('"')).unwrap_or_default();
    let percent = |b: &u8| {
        let plain = b.is_ascii_alphanumeric() || b"-._~".contains(b);
        if plain { vec![*b] } else { format!("%{b:02X}").into_bytes() }
    };
    let mut out: BTreeSet<Vec<u8>> = [bytes.to_vec(), escaped.into(), bytes.iter().flat_map(percent).collect()].into();
    out.extend([HEXLOWER, HEXUPPER].map(|hex| hex.encode(bytes).into_bytes()));
    for offset in 0..3 {
        let shifted = [&vec![0; offset], bytes].concat();
        // The characters at both ends depend on the neighbours.
        let inner = (offset * 8).div_ceil(6)..shifted.len() * 8 / 6;
        for engine in [STANDARD, URL_SAFE] {
            out.extend(engine.encode(&shifted).get(inner.clone()).map(|e| e.as_bytes().to_vec()));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOT: &str = "123456789:AAF-abcdefghijklmnopqrstuvwxyz_0123";

    #[test]
    fn s17_what_looks_like_a_secret_is_masked() {
        let m = Masker::default();
        for (text, clean) in [
            ("Authorization: Bearer abc.def-123=", "Authorization: Bearer ***"),
            ("authorization: bearer   abcdef!", "authorization: bearer   ***!"),
            ("key sk-ant-REDACTED.", "key ***."),
            (&format!("https://api.telegram.org/bot{BOT}/getMe"), "https://api.telegram.org/***/getMe"),
            (&format!("{BOT} and {BOT}"), "*** and ***"),
            ("12:30 task-sk-12 bearer of news sk-1", "12:30 task-sk-12 bearer of news sk-1"),
            ("at 123456:short", "at 123456:short"),
            ("é sk-0123456789 é", "é *** é"),
        ] {
            assert_eq!(m.mask(text), clean);
        }
    }

    #[test]
    fn s17_known_values_are_masked_wherever_they_stand() {
        let m = Masker::new(["hunter2".to_owned(), "hunter2-long".to_owned(), "ab".to_owned()]);
        assert_eq!(m.mask("x=hunter2-long&y=hunter2, ab"), "x=***&y=***, ab");
    }

    #[test]
    fn s17_a_secret_that_comes_later_is_masked_from_then_on() {
        let m = Masker::new(["hunter2".to_owned()]);
        assert_eq!(m.mask("swordfish hunter2"), "swordfish ***");
        m.clone().learn(["swordfish".to_owned()]);
        assert_eq!(m.mask("swordfish hunter2"), "*** ***");
        m.learn((0..3000).map(|n| format!("secret number {n}")));
        assert_eq!(m.mask("secret number 2999"), "***");
        assert!(m.0.read().unwrap().values.len() <= MAX_SECRETS);
    }

    #[test]
    fn s28_a_piece_and_an_encoded_form_are_the_secret_too() {
        let secret = "q7\"planted/é-marker-secret";
        let m = Masker::new([secret.to_owned()]);
        for offset in 0..3 {
            let inside = format!("{}{secret} and more", "x".repeat(offset));
            for encoded in [STANDARD.encode(&inside), URL_SAFE.encode(&inside)] {
                let masked = m.mask(&encoded).into_owned();
                assert!(masked.contains(MASK) && masked.len() < encoded.len() - secret.len(), "{masked}");
            }
        }
        assert_eq!(m.mask(&HEXLOWER.encode(secret.as_bytes())), MASK);
        assert_eq!(m.mask(&serde_json::to_string(secret).unwrap()), "\"***\"");
        assert_eq!(m.mask("q7%22planted%2F%C3%A9-marker-secret"), MASK);
        assert_eq!(m.mask("cut: q7\"planted/é-marker"), "cut: ***");
        assert_eq!(m.mask("marker"), "marker");
    }

    proptest! {
        #[test]
        fn s17_no_text_breaks_it_and_no_token_survives(before in "\\PC{0,12}", after in "[ /,\"].{0,8}") {
            let text = format!("{before} {BOT}{after}");
            prop_assert!(!Masker::default().mask(&text).contains("AAF-abcdef"));
        }

        #[test]
        fn s28_no_known_value_survives(secret in "\\PC{6,40}", before in "\\PC{0,12}", after in "\\PC{0,12}") {
            let m = Masker::new([secret.clone()]);
            let masked = m.mask(&format!("{before}{secret}{after}")).into_owned();
            prop_assert!(secret.trim().len() < MIN_SECRET || secret.contains('*') || !masked.contains(&secret), "{masked}");
        }
    }
}
