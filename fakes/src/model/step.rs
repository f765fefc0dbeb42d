use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Bound on words and characters that a directive may ask for.
const MAX_GENERATED: u32 = 4 << 20;

/// What one request gets. As JSON (for `/_control`): `{"kind":"say","text":"hi"}`, `{"kind":"error","code":500}` ...
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Step {
    /// A text, streamed in pieces.
    Say {
        /// The text.
        text: String,
        /// Reasoning that is shown before it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        thinking: Option<String>,
        /// Characters per piece; 40 when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        chunk: Option<usize>,
    },
    /// `w1 w2 w3 ...`, one piece each.
    Words {
        /// How many.
        n: u32,
        /// Milliseconds between them.
        #[serde(default)]
        ms: u64,
        /// Then nothing, for ever.
        #[serde(default)]
        hang: bool,
        /// Then the connection is closed without a proper end.
        #[serde(default)]
        cut: bool,
    },
    /// An HTTP error.
    Error {
        /// The status.
        code: u16,
        /// Seconds for `retry-after`; 1 with 429 and 529 when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<u64>,
        /// The provider's message.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// A tool call; the request that brings its result is answered with `tool said: ...`.
    Tool {
        /// The tool.
        name: String,
        /// Its arguments as the model writes them.
        args: String,
    },
    /// The head of a response, then nothing, for ever.
    Hang,
    /// The connection is closed without an answer.
    HangUp,
    /// A stream with a piece that is not JSON.
    Malformed,
    /// `w1 w2 w3 ...` and what breaks the stream, all of it in one piece.
    Broken {
        /// How many words.
        n: u32,
        /// With the API's own error, not with what is no JSON.
        #[serde(default)]
        told: bool,
    },
}

impl Step {
    /// A text.
    pub fn say(text: impl Into<String>) -> Self {
        Self::Say { text: text.into(), thinking: None, chunk: None }
    }

    /// An HTTP error with the usual message and headers.
    pub fn error(code: u16) -> Self {
        Self::Error { code, retry_after: None, message: None }
    }

    /// `n` words, then a cut.
    pub fn cut(n: u32) -> Self {
        Self::Words { n, ms: 0, hang: false, cut: true }
    }

    /// A call of the tool `name` with JSON `args`.
    pub fn tool(name: &str, args: &str) -> Self {
        Self::Tool { name: name.to_owned(), args: args.to_owned() }
    }

    /// The step that `[[name:argument]]` asks for: `say:TEXT`, `slow:N:MS`, `error:CODE`, `hang`, `hangup`,
    /// `hangafter:N`, `cut:N`, `big:N`, `tool:NAME:JSON`, `tools:COUNT:NAME:JSON` (one after the other), `empty`, `malformed`,
    /// `broken:N`, `broken:N:told`. (`errorN:CODE:COUNT` and `tries:MODEL=CODE*COUNT;..` need a count of
    /// requests, `only:MODEL` and `only:MODEL:N` the model that is asked, `recall` the whole request: they are the server's.)
    pub fn directive(name: &str, argument: &str) -> Option<Self> {
        let (first, second) = argument.split_once(':').unwrap_or((argument, ""));
        let n = |default: u32| first.parse().unwrap_or(default).min(MAX_GENERATED);
        Some(match name {
            "say" => Self::say(argument),
            "slow" => Self::Words { n: n(5), ms: second.parse().unwrap_or(100), hang: false, cut: false },
            "error" => Self::error(first.parse().unwrap_or(500)),
            "hang" => Self::Hang,
            "hangup" => Self::HangUp,
            "hangafter" => Self::Words { n: n(2), ms: 20, hang: true, cut: false },
            "cut" => Self::Words { n: n(2), ms: 20, hang: false, cut: true },
            "big" => {
                let text = "0123456789".chars().cycle().take(n(1000) as usize).collect();
                Self::Say { text, thinking: None, chunk: Some(500) }
            }
            "tool" => Self::tool(first, second),
            "tools" => second.split_once(':').map(|(name, args)| Self::tool(name, args))?,
            "empty" => Self::say(""),
            "malformed" => Self::Malformed,
            "broken" => Self::Broken { n: n(3), told: second == "told" },
            _ => return None,
        })
    }

    /// How long the whole of it takes.
    pub(super) fn duration(&self) -> Option<Duration> {
        match self {
            Self::Words { n, ms, .. } => Some(Duration::from_millis(ms.saturating_mul(u64::from(*n)))),
            _ => None,
        }
    }
}

/// Name and argument of the last `[[name:argument]]` in a text.
pub(super) fn last_directive(text: &str) -> Option<(&str, &str)> {
    let mut found = None;
    let mut rest = text;
    while let Some(start) = rest.find("[[") {
        let inner = &rest[start + 2..];
        match parse(inner) {
            Some((name, argument, length)) => {
                found = Some((name, argument));
                rest = &inner[length..];
            }
            None => rest = &rest[start + 1..],
        }
    }
    found
}

/// The directive at the start of `text` (after its brackets) and its length with the closing brackets.
fn parse(text: &str) -> Option<(&str, &str, usize)> {
    let name_end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
    let (name, after) = text.split_at(name_end);
    if name.is_empty() {
        return None;
    }
    if after.starts_with("]]") {
        return Some((name, "", name_end + 2));
    }
    let argument = after.strip_prefix(':')?;
    let mut end = closing(argument).or_else(|| argument.find("]]"))?;
    // JSON arrays in the argument may end in brackets of their own: the last pair of a run counts.
    while argument[end + 2..].starts_with(']') {
        end += 1;
    }
    Some((name, &argument[..end], name_end + 1 + end + 2))
}

/// Where the brackets close, those of directives within (for another model to read) left aside.
fn closing(argument: &str) -> Option<usize> {
    let (mut open, mut from) = (0, 0);
    loop {
        let rest = &argument[from..];
        let close = rest.find("]]")?;
        match rest.find("[[").filter(|at| *at < close) {
            Some(at) => (open, from) = (open + 1, from + at + 2),
            None if open == 0 => return Some(from + close),
            None => (open, from) = (open - 1, from + close + 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_found_and_the_last_one_counts() {
        assert_eq!(last_directive("no [[ directive ]] here"), None);
        assert_eq!(last_directive("[[empty]]"), Some(("empty", "")));
        assert_eq!(last_directive("a [[say:x]] b [[slow:3:20]] c"), Some(("slow", "3:20")));
        assert_eq!(last_directive(r#"[[tool:t:{"a":[[1]]}]]"#), Some(("tool", r#"t:{"a":[[1]]}"#)));
        assert_eq!(last_directive(r#"[[tool:t:{"a":"[[slow:3]]"}]]"#), Some(("tool", r#"t:{"a":"[[slow:3]]"}"#)));
        assert_eq!(last_directive("[[say:a [[ b]]"), Some(("say", "a [[ b")));
        assert_eq!(last_directive("[[tool:t:[1,[2]]]]"), Some(("tool", "t:[1,[2]]")));
        assert_eq!(last_directive("[[say:open"), None);
        assert_eq!(last_directive("é[[[say:é]]"), Some(("say", "é")));
    }

    #[test]
    fn unknown_directives_are_no_step() {
        assert_eq!(Step::directive("nonsense", ""), None);
        assert_eq!(Step::directive("big", "3").unwrap().duration(), None);
    }
}
