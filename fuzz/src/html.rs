//! Telegram's HTML, read as strictly as its parser does (Bot API, "HTML style"), and a little stricter: what the
//! gateway writes needs few tags, and every special character has to be an entity.

/// The text without its markup, or why it would be refused.
pub fn read(html: &str) -> Result<String, String> {
    let (mut text, mut open, mut rest) = (String::with_capacity(html.len()), Vec::<&str>::new(), html);
    while let Some(at) = rest.find(['<', '>', '&', '"']) {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some((shown, after)) = entity(rest) {
            text.push_str(shown);
            rest = after;
            continue;
        }
        let inner = rest.strip_prefix('<').ok_or_else(|| format!("not escaped: {rest:.20?}"))?;
        let (tag, after) = inner.split_once('>').ok_or("a tag without an end")?;
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            match open.pop() {
                Some(last) if last == name => continue,
                last => return Err(format!("</{name}> closes {last:?}")),
            }
        }
        let (name, attribute) = tag.split_once(' ').unwrap_or((tag, ""));
        let value = |name: &str| attribute.strip_prefix(name)?.strip_prefix("=\"")?.strip_suffix('"');
        let plain = |text: &str| !text.contains(['"', '<', '\n', '\0']);
        let fits = match name {
            "b" | "i" | "s" | "pre" | "blockquote" => attribute.is_empty(),
            "code" => {
                let language = value("class").and_then(|class| class.strip_prefix("language-"));
                attribute.is_empty()
                    || (open.last() == Some(&"pre") && language.is_some_and(|l| plain(l) && !l.is_empty()))
            }
            "a" => value("href").is_some_and(|url| plain(url) && safe(url)),
            _ => false,
        };
        // Code and links contain no other styles; nothing contains itself; quotes are in nothing.
        let inside = |outer: &str| open.contains(&outer);
        let within_text = inside("code") || inside("a") && matches!(name, "code" | "pre" | "a");
        let within_block = inside("pre") && name != "code" || name == "blockquote" && !open.is_empty();
        let nests = !(inside(name) || within_text || within_block);
        if !fits || !nests {
            return Err(format!("<{tag}> in {open:?}"));
        }
        open.push(name);
    }
    text.push_str(rest);
    if open.is_empty() { Ok(text) } else { Err(format!("left open: {open:?}")) }
}

/// What may be opened from a chat (S22).
fn safe(url: &str) -> bool {
    let lower = url.to_ascii_lowercase();
    ["http://", "https://", "mailto:", "tg://"].iter().any(|scheme| lower.starts_with(scheme))
}

fn entity(text: &str) -> Option<(&'static str, &str)> {
    [("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\"")]
        .into_iter()
        .find_map(|(entity, shown)| Some((shown, text.strip_prefix(entity)?)))
}
