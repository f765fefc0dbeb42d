//! Property lists: as much of XML as they need.

/// Deepest nesting that is read.
const DEPTH: usize = 16;

/// A value of a property list.
#[derive(Clone)]
pub(super) enum Value {
    Text(String),
    Integer(String),
    /// A value of a kind that nothing here needs, by its name: `date`, `real`.
    Other(String, String),
    True,
    False,
    Array(Vec<Value>),
    Dictionary(Vec<(String, Value)>),
}

impl Value {
    pub(super) fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// Texts and numbers as they are, `true` and `false`; nothing for what holds others.
    pub(super) fn into_text(self) -> Option<String> {
        match self {
            Self::Text(text) | Self::Integer(text) | Self::Other(_, text) => Some(text),
            Self::True => Some("true".to_owned()),
            Self::False => Some("false".to_owned()),
            Self::Array(_) | Self::Dictionary(_) => None,
        }
    }
}

/// The whole file.
pub(super) fn write(value: &Value) -> String {
    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
                    <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
                    <plist version=\"1.0\">\n"
        .to_owned();
    element(value, 0, &mut text);
    text.push_str("</plist>\n");
    text
}

fn element(value: &Value, depth: usize, out: &mut String) {
    let mut line = |depth: usize, text: &str| {
        out.extend(std::iter::repeat_n('\t', depth));
        out.push_str(text);
        out.push('\n');
    };
    match value {
        Value::Text(text) => line(depth, &format!("<string>{}</string>", escape(text))),
        Value::Integer(text) => line(depth, &format!("<integer>{text}</integer>")),
        Value::Other(name, text) => line(depth, &format!("<{name}>{}</{name}>", escape(text))),
        Value::True => line(depth, "<true/>"),
        Value::False => line(depth, "<false/>"),
        Value::Array(items) => {
            line(depth, "<array>");
            for item in items {
                element(item, depth + 1, out);
            }
            out.extend(std::iter::repeat_n('\t', depth));
            out.push_str("</array>\n");
        }
        Value::Dictionary(entries) => {
            line(depth, "<dict>");
            for (key, value) in entries {
                out.extend(std::iter::repeat_n('\t', depth + 1));
                out.push_str(&["<key>", &escape(key), "</key>\n"].concat());
                element(value, depth + 1, out);
            }
            out.extend(std::iter::repeat_n('\t', depth));
            out.push_str("</dict>\n");
        }
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&apos;")
}

/// The value inside `<plist>`; nothing when the text is none.
pub(super) fn read(text: &str) -> Option<Value> {
    let mut rest = text;
    loop {
        let tag = tag(&mut rest)?;
        if tag.name != "plist" {
            return value(&tag, &mut rest, 0);
        }
    }
}

/// The value whose opening tag was just read.
fn value(open: &Tag, rest: &mut &str, depth: usize) -> Option<Value> {
    if depth > DEPTH {
        return None;
    }
    match (open.name, open.is_empty) {
        ("true", true) => Some(Value::True),
        ("false", true) => Some(Value::False),
        ("array", true) => Some(Value::Array(vec![])),
        ("dict", true) => Some(Value::Dictionary(vec![])),
        // Texts, numbers, dates, data: all one here.
        (_, true) => Some(Value::Text(String::new())),
        ("array", false) => {
            let mut items = vec![];
            loop {
                let tag = tag(rest)?;
                if tag.name == "/array" {
                    return Some(Value::Array(items));
                }
                items.push(value(&tag, rest, depth + 1)?);
            }
        }
        ("dict", false) => {
            let mut entries = vec![];
            loop {
                let open = tag(rest)?;
                if open.name == "/dict" {
                    return Some(Value::Dictionary(entries));
                }
                let Value::Text(key) = value(&open, rest, depth + 1).filter(|_| open.name == "key")? else {
                    return None;
                };
                let open = tag(rest)?;
                entries.push((key, value(&open, rest, depth + 1)?));
            }
        }
        (name, false) => {
            let end = tag(rest)?;
            let text = unescape(end.before);
            (end.name.strip_prefix('/') == Some(name)).then(|| match name {
                "string" | "key" => Value::Text(text),
                "integer" => Value::Integer(text),
                _ => Value::Other(name.to_owned(), text),
            })
        }
    }
}

struct Tag<'a> {
    name: &'a str,
    is_empty: bool,
    /// The text before it.
    before: &'a str,
}

/// The next tag, without its attributes. Declarations and comments are passed over.
fn tag<'a>(rest: &mut &'a str) -> Option<Tag<'a>> {
    loop {
        let (before, after) = rest.split_once('<')?;
        if let Some(comment) = after.strip_prefix("!--") {
            *rest = comment.split_once("-->")?.1;
            continue;
        }
        let (inside, after) = after.split_once('>')?;
        *rest = after;
        if inside.starts_with(['?', '!']) {
            continue;
        }
        let (inside, is_empty) = inside.strip_suffix('/').map_or((inside, false), |inside| (inside, true));
        return Some(Tag { name: inside.split_whitespace().next().unwrap_or_default(), is_empty, before });
    }
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let found = after.split_once(';').and_then(|(name, after)| Some((entity(name)?, after)));
        match found {
            Some((c, after)) => {
                out.push(c);
                rest = after;
            }
            None => {
                out.push('&');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn entity(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)
        }
    }
}
