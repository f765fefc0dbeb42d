//! Telegram's HTML, read as strictly as Telegram does.

/// The text without its markup, or why it is no markup.
pub(super) fn text(html: &str) -> Result<String, String> {
    let (mut out, mut open, mut rest) = (String::with_capacity(html.len()), Vec::new(), html);
    while let Some(at) = rest.find(['<', '&']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with('&') {
            let (shown, length) = entity(rest);
            out.push_str(shown);
            rest = &rest[length..];
            continue;
        }
        let offset = html.len() - rest.len();
        let end = rest.find('>').ok_or_else(|| format!("Unclosed start tag at byte offset {offset}"))?;
        let tag = &rest[1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            match open.pop() {
                Some(last) if last == name => {}
                Some(last) => return Err(format!("Unmatched end tag, expected \"</{last}>\", found \"</{name}>\"")),
                None => return Err(format!("Unexpected end tag at byte offset {offset}")),
            }
            continue;
        }
        let name = tag.split(' ').next().unwrap_or_default();
        let known = [
            "b",
            "strong",
            "i",
            "em",
            "u",
            "ins",
            "s",
            "strike",
            "del",
            "code",
            "pre",
            "a",
            "blockquote",
            "tg-spoiler",
            "tg-emoji",
            "span",
        ];
        if !known.contains(&name) {
            return Err(format!("Unsupported start tag \"{name}\" at byte offset {offset}"));
        }
        open.push(name);
    }
    out.push_str(rest);
    match open.pop() {
        Some(name) => Err(format!("Can't find end tag corresponding to start tag \"{name}\"")),
        None => Ok(out),
    }
}

/// What the text after an ampersand stands for, and its length.
fn entity(text: &str) -> (&'static str, usize) {
    let known = [("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\"")];
    let found = known.into_iter().find(|(entity, _)| text.starts_with(entity));
    found.map_or(("&", 1), |(entity, shown)| (shown, entity.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_telegram_takes() {
        assert_eq!(text("a <b>b &lt; <i>c</i></b> & <a href=\"x\">d</a>").unwrap(), "a b < c & d");
        for bad in ["<b>", "</b>", "<b><i></b></i>", "<p>x</p>", "a < b"] {
            assert!(text(bad).is_err(), "{bad}");
        }
    }
}
