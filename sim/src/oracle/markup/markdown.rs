//! A part of Markdown, read line by line; what may mean something else is not read at all.

use super::{Seen, style};

/// What is seen of it; nothing where it is beyond this reader.
pub fn read(text: &str) -> Option<Seen> {
    let mut seen = Seen::default();
    let mut lines = text.lines();
    let (mut number, mut blank): (Option<u64>, bool) = (None, true);
    while let Some(line) = lines.next() {
        let plain = line.trim_end();
        if plain.starts_with("```") {
            number = None;
            loop {
                match lines.next()? {
                    "```" => break,
                    code => seen.add(code, style::BLOCK),
                }
            }
            continue;
        }
        let after_blank = std::mem::replace(&mut blank, plain.is_empty());
        // Code by its indentation, quotes, tables, nested lists, rules.
        if plain.starts_with([' ', '\t', '>', '|', '+', '=']) || plain.starts_with("---") || plain.starts_with("***") {
            return None;
        }
        let heading = plain.trim_start_matches('#');
        if heading.len() < plain.len() {
            number = None;
            inline(heading.strip_prefix(' ')?, style::ANY, &mut seen)?;
            continue;
        }
        if let Some(item) = plain.strip_prefix("- ").or_else(|| plain.strip_prefix("* ")) {
            number = None;
            seen.add("•", 0);
            inline(item, 0, &mut seen)?;
            continue;
        }
        match plain.split_once(". ").filter(|(n, _)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit())) {
            Some((first, item)) => {
                // However they are written, they count up from the first one.
                let own = number.map_or_else(|| first.parse().ok(), |before| Some(before + 1))?;
                number = Some(own);
                seen.add(&format!("{own}."), 0);
                inline(item, 0, &mut seen)?;
            }
            // A line that goes on an item, or a number written in another way.
            None if number.is_some() && !after_blank && !plain.is_empty() => return None,
            None if plain.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with(')') => return None,
            None => {
                number = number.filter(|_| plain.is_empty());
                inline(plain, 0, &mut seen)?;
            }
        }
    }
    Some(seen)
}

/// A line's own text with `code`, **bold**, *italic*, ~~struck~~ and [links](https://x.y).
fn inline(text: &str, around: u8, seen: &mut Seen) -> Option<()> {
    let mut rest = text;
    while !rest.is_empty() {
        let (inner, after, own) = if let Some(code) = rest.strip_prefix('`') {
            let (code, after) = code.split_once('`').filter(|(code, _)| !code.is_empty())?;
            seen.add(code, around | style::CODE);
            rest = after;
            continue;
        } else if let Some(bold) = rest.strip_prefix("**") {
            let (inner, after) = bold.split_once("**")?;
            (inner, after, style::BOLD)
        } else if let Some(italic) = rest.strip_prefix('*') {
            let (inner, after) = italic.split_once('*')?;
            (inner, after, style::ITALIC)
        } else if let Some(struck) = rest.strip_prefix("~~") {
            let (inner, after) = struck.split_once("~~")?;
            (inner, after, style::STRIKE)
        } else if let Some(link) = rest.strip_prefix('[') {
            let (inner, after) = link.split_once("](")?;
            let (url, after) = after.split_once(')')?;
            if !url.starts_with("https://") || inner.contains(['[', ']']) {
                return None;
            }
            seen.links.push(url.to_owned());
            (inner, after, style::LINK)
        } else {
            let c = rest.chars().next()?;
            let next = rest[c.len_utf8()..].chars().next();
            let alone = next.is_none_or(char::is_whitespace);
            if matches!(c, '_' | '\\' | ']' | '~' | '!') || (matches!(c, '<' | '&') && !alone) {
                return None;
            }
            seen.add(&c.to_string(), around);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        // Emphasis begins and ends at a word.
        if inner.is_empty() || inner.trim() != inner || after.starts_with(char::is_alphanumeric) {
            return None;
        }
        inline(inner, around | own, seen)?;
        rest = after;
    }
    Some(())
}
