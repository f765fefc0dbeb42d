//! Named values that some methods write and others read. A read is judged by the writes around it, by their places in the
//! history as clients saw them: a write happens between its request and its answer, and so does a read.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::oracle::findings::Findings;

/// What is done to a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Deed {
    /// It is this from now on.
    Is(Value),
    /// It is something that nobody has told.
    Unknown,
    /// It was this.
    Was(Value),
    /// It was anything but this.
    WasNot(Value),
}

/// A deed with its place: from the record before which it did not happen to the one at which it had.
#[derive(Debug, Clone)]
pub struct Use {
    /// Earliest.
    pub from: u64,
    /// Latest; `None`: it may happen at any time, or never.
    pub to: Option<u64>,
    /// What.
    pub deed: Deed,
    /// Who and by what, for people.
    pub by: String,
}

impl Use {
    fn is_write(&self) -> bool {
        matches!(self.deed, Deed::Is(_) | Deed::Unknown)
    }

    /// Allows that the value was `value` (or, with `not`, something else) while a read of it was under way.
    fn allows(&self, value: &Value, not: bool) -> bool {
        match &self.deed {
            Deed::Unknown | Deed::WasNot(_) => true,
            Deed::Is(own) | Deed::Was(own) => (own == value) != not,
        }
    }
}

/// All values of a history.
#[derive(Debug, Default)]
pub struct Registers {
    uses: BTreeMap<String, Vec<Use>>,
    /// Written to all that begin like this.
    all: Vec<(String, Use)>,
    /// Judged also when nobody writes to them: reads must agree.
    steady: Vec<String>,
}

impl Registers {
    /// Adds a deed; a name that ends with `*` means all that begin with what stands before it.
    pub fn add(&mut self, name: String, one: Use) {
        match name.strip_suffix('*') {
            Some(prefix) => self.all.push((prefix.to_owned(), one)),
            None => self.uses.entry(name).or_default().push(one),
        }
    }

    /// The value is read by this name and never written over the protocol.
    pub fn steady(&mut self, name: &str) {
        self.steady.push(name.to_owned());
    }

    /// Somebody writes to a value whose name has this in it.
    pub fn has(&self, part: &str) -> bool {
        self.uses.keys().any(|name| name.contains(part))
    }

    /// Somebody writes to it, or it never changes.
    pub fn knows(&self, name: &str) -> bool {
        self.uses.contains_key(name) || self.steady.iter().any(|steady| steady == name)
    }

    /// The record of the first write to it.
    pub fn first_write(&self, name: &str) -> u64 {
        let writes = self.uses.get(name).into_iter().flatten().filter(|u| u.is_write());
        writes.map(|u| u.from).min().unwrap_or(0)
    }

    /// Names that begin with `prefix` and that somebody writes to.
    pub fn written(&self, prefix: &str) -> Vec<String> {
        let range = self.uses.range(prefix.to_owned()..).take_while(|(name, _)| name.starts_with(prefix));
        range.filter(|(_, uses)| uses.iter().any(Use::is_write)).map(|(name, _)| name.clone()).collect()
    }

    /// Judges every read that was answered before the record `until`.
    pub fn judge(&self, until: u64, out: &mut Findings) {
        for (name, uses) in &self.uses {
            if !uses.iter().any(Use::is_write) && !self.steady.contains(name) {
                continue;
            }
            let everybody = self.all.iter().filter(|(prefix, _)| name.starts_with(prefix)).map(|(_, one)| one);
            let all: Vec<&Use> = uses.iter().chain(everybody).collect();
            for (n, read) in uses.iter().enumerate() {
                let (value, not) = match &read.deed {
                    Deed::Was(value) => (value, false),
                    Deed::WasNot(value) => (value, true),
                    _ => continue,
                };
                let Some(end) = read.to.filter(|end| *end < until) else { continue };
                // What another read gave was in force while that was under way.
                let others = || all.iter().filter(|u| !std::ptr::eq(**u, &raw const uses[n]));
                let sure = |u: &&&Use| !matches!(u.deed, Deed::WasNot(_)) && u.to.is_some_and(|to| to < read.from);
                let Some(latest) = others().filter(sure).map(|u| u.from).max() else { continue };
                // A read that began before a write that was over by now says nothing of what was so after it.
                let written = others().filter(sure).filter(|u| u.is_write()).map(|u| u.from).max();
                let may_hold = |u: &&&Use| {
                    let in_time = u.is_write() || written.is_none_or(|write| u.from > write);
                    !matches!(u.deed, Deed::WasNot(_)) && in_time && u.from < end && u.to.is_none_or(|to| to >= latest)
                };
                if !others().filter(may_hold).any(|u| u.allows(value, not)) {
                    let last = others()
                        .filter(sure)
                        .max_by_key(|u| u.from)
                        .map_or(String::new(), |u| format!("{:?} by {}", u.deed, u.by));
                    let is = if not { "is not" } else { "is" };
                    let text = format!("{}: {name} {is} {value}, but it was {last}", read.by);
                    out.broken("answers", end, text);
                }
            }
        }
    }
}
