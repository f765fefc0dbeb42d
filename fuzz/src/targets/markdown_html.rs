//! Markdown of a model as Telegram's HTML: always markup that Telegram takes, never longer than a message may be, and the
//! same text as the plain form that is sent when Telegram refuses the markup after all (S22).
//!
//! The first byte chooses the length of a message.

use crate::html;
use openclaw_channels::telegram::fuzzing::render;

/// One input.
pub fn run(input: &[u8]) {
    let Some((limit, rest)) = input.split_first() else { return };
    let Ok(markdown) = std::str::from_utf8(rest) else { return };
    let limit = if *limit < 128 { 4000 } else { usize::from(*limit % 128) + 1 };
    let messages = render(markdown, limit);
    assert_eq!(messages.is_empty(), markdown.trim().is_empty());
    for (html, plain) in messages {
        let shown = html::read(&html).unwrap_or_else(|e| panic!("{e}\n{html:?}"));
        assert_eq!(shown, plain);
        assert!(!plain.trim().is_empty());
        let units = plain.encode_utf16().count();
        assert!(units <= limit.max(2), "{units} units, {limit} allowed");
    }
}
