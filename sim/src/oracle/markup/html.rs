//! Telegram's HTML, as far as the gateway uses it.

use super::{Seen, style};

/// What is seen of it, and how many UTF-16 units that is; nothing where tags do not fit.
pub fn read(html: &str) -> Option<(Seen, usize)> {
    let (mut seen, mut units) = (Seen::default(), 0);
    let mut open: Vec<(&str, u8)> = Vec::new();
    let mut rest = html;
    while let Some(c) = rest.chars().next() {
        let (shown, length) = match c {
            '<' => {
                let end = rest.find('>')?;
                let tag = &rest[1..end];
                rest = &rest[end + 1..];
                if let Some(name) = tag.strip_prefix('/') {
                    let (last, _) = open.pop()?;
                    if last != name {
                        return None;
                    }
                    continue;
                }
                let (name, attribute) = tag.split_once(' ').unwrap_or((tag, ""));
                let in_block = open.iter().any(|(name, _)| *name == "pre");
                let own = match name {
                    "b" => style::BOLD,
                    "i" => style::ITALIC,
                    "s" => style::STRIKE,
                    "code" if in_block => 0,
                    "code" => style::CODE,
                    "pre" => style::BLOCK,
                    "a" => style::LINK,
                    _ => return None,
                };
                if name == "a" {
                    seen.links.push(unescaped(attribute.strip_prefix("href=\"")?.strip_suffix('"')?));
                }
                open.push((name, own));
                continue;
            }
            '&' => {
                let end = rest.find(';')?;
                (unescaped(&rest[..=end]), end + 1)
            }
            c => (c.to_string(), c.len_utf8()),
        };
        units += shown.encode_utf16().count();
        seen.add(&shown, open.iter().fold(0, |all, (_, own)| all | own));
        rest = &rest[length..];
    }
    open.is_empty().then_some((seen, units))
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}
