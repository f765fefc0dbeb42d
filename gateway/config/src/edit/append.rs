//! Puts something more into an object or a list of the text, and moves nothing that stands there (D21).

use jsonc_parser::{
    CollectOptions, CommentCollectionStrategy,
    ast::{ObjectPropName, Value as Node},
    common::{Range, Ranged},
};
use serde_json::Value;

use crate::path::{Path, Segment};

/// `text` with `value` behind the last entry of what stands at `place`: an object takes it under `key`, a list as its next entry.
/// None where there is no such object or list.
pub(super) fn append(text: &str, place: &Path, key: Option<&str>, value: &Value) -> Option<String> {
    let collect = CollectOptions { comments: CommentCollectionStrategy::Off, tokens: false };
    let root = jsonc_parser::parse_to_ast(text, &collect, &super::OPTIONS).ok()?.value?;
    let (range, entries) = entries(at(&root, place.segments())?, key.is_some())?;
    Some(Room { text, range, entries }.with(key, value))
}

/// What stands at these steps.
fn at<'n, 'a>(node: &'n Node<'a>, steps: &[Segment]) -> Option<&'n Node<'a>> {
    let Some((step, rest)) = steps.split_first() else { return Some(node) };
    let next = match (node, step) {
        (Node::Object(object), Segment::Key(key)) => {
            let named = |name: &ObjectPropName<'_>| name.as_str() == key;
            &object.properties.iter().find(|property| named(&property.name))?.value
        }
        (Node::Array(array), Segment::Index(i)) => array.elements.get(*i)?,
        _ => return None,
    };
    at(next, rest)
}

/// Where an object or a list stands, and its entries.
fn entries(node: &Node<'_>, is_object: bool) -> Option<(Range, Vec<Range>)> {
    match node {
        Node::Object(object) if is_object => Some((object.range, object.properties.iter().map(|p| p.range).collect())),
        Node::Array(array) if !is_object => Some((array.range, array.elements.iter().map(Ranged::range).collect())),
        _ => None,
    }
}

struct Room<'t> {
    text: &'t str,
    range: Range,
    entries: Vec<Range>,
}

impl Room<'_> {
    fn with(&self, key: Option<&str>, value: &Value) -> String {
        let first = self.entries.first().map_or(self.range.end - 1, |entry| entry.start);
        let is_one_line = !self.text[self.range.start..first].contains('\n');
        let (at, comma, new) = if is_one_line { self.beside(key, value) } else { self.below(key, value) };
        let mut out = self.text.to_owned();
        out.insert_str(at, &new);
        // The comma behind the last entry stands in front of what is new.
        if let Some(comma) = comma {
            out.insert(comma, ',');
        }
        out
    }

    /// On the same line: where, where a comma is missing, and what.
    fn beside(&self, key: Option<&str>, value: &Value) -> (usize, Option<usize>, String) {
        let new = entry(key, &value.to_string());
        match self.entries.last() {
            None => (self.range.end - 1, None, new),
            Some(last) => match self.comma_behind(last.end) {
                Some(comma) => (comma + 1, None, format!(" {new},")),
                None => (last.end, Some(last.end), format!(" {new}")),
            },
        }
    }

    /// On a line of its own, as far in as the first entry.
    fn below(&self, key: Option<&str>, value: &Value) -> (usize, Option<usize>, String) {
        let indent = match self.entries.first() {
            Some(first) => self.indent(first.start),
            None => format!("{}  ", self.indent(self.range.end - 1)),
        };
        let end = if self.text.contains("\r\n") { "\r\n" } else { "\n" };
        let pretty = serde_json::to_string_pretty(value).unwrap_or_default().replace('\n', &format!("{end}{indent}"));
        let new = format!("{end}{indent}{}", entry(key, &pretty));
        match self.entries.last() {
            None => {
                let inner = &self.text[self.range.start + 1..self.range.end - 1];
                (self.range.start + 1 + inner.trim_end().len(), None, new)
            }
            Some(last) => match self.comma_behind(last.end) {
                Some(comma) => (self.end_of_line(comma + 1), None, format!("{new},")),
                None => (self.end_of_line(last.end), Some(last.end), new),
            },
        }
    }

    /// The white space before what stands first on the line of `at`.
    fn indent(&self, at: usize) -> String {
        let line = self.text[..at].rfind('\n').map_or(0, |end| end + 1);
        self.text[line..at].chars().take_while(|c| matches!(c, ' ' | '\t')).collect()
    }

    /// The comma that stands behind an entry, comments and white space between them.
    fn comma_behind(&self, from: usize) -> Option<usize> {
        let at = self.behind_trivia(from, false);
        self.text[at..].starts_with(',').then_some(at)
    }

    /// The end of the line, when only comments and white space stand there.
    fn end_of_line(&self, from: usize) -> usize {
        let at = self.behind_trivia(from, true);
        let rest = &self.text[at..];
        if rest.starts_with('\n') || rest.starts_with("\r\n") {
            let line = &self.text[from..at];
            return from + line.trim_end().len();
        }
        from
    }

    /// Behind white space and comments; `on_line`: not over the end of the line.
    fn behind_trivia(&self, from: usize, on_line: bool) -> usize {
        let mut at = from;
        loop {
            let rest = &self.text[at..];
            let is_space = |c: char| c.is_whitespace() && !(on_line && matches!(c, '\n' | '\r'));
            let blank = rest.len() - rest.trim_start_matches(is_space).len();
            let rest = &rest[blank..];
            let comment = if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                let end = rest.find("*/").map_or(rest.len(), |end| end + 2);
                if on_line && rest[..end].contains('\n') { 0 } else { end }
            } else {
                0
            };
            at += blank + comment;
            if comment == 0 {
                return at;
            }
        }
    }
}

fn entry(key: Option<&str>, value: &str) -> String {
    key.map_or_else(|| value.to_owned(), |key| format!("{}: {value}", Value::from(key)))
}
