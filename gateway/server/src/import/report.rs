//! What an import took, what it left and why.

use std::collections::BTreeMap;

use openclaw_protocol::display;
use serde_json::{Value, json};

use crate::limits::IMPORT_LEFT;

/// Characters of a name from a file in a report.
const NAME: usize = 120;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $kind:ident = $word:literal, $one:literal, $many:literal;)*) => {
        /// What there is to take.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind {
            $($(#[doc = $doc])* $kind,)*
        }

        impl Kind {
            /// Its word in JSON.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$kind => $word,)* }
            }

            /// Its name for people, with its number.
            pub fn counted(self, count: u64) -> String {
                let (one, many) = match self { $(Self::$kind => ($one, $many),)* };
                format!("{count} {}", if count == 1 { one } else { many })
            }
        }
    };
}

kinds! {
    /// The configuration file.
    Config = "config", "configuration", "configurations";
    /// A session with its settings.
    Session = "session", "session", "sessions";
    /// A message of a transcript.
    Message = "message", "message", "messages";
    /// A line of a transcript, or a part of one, that is no message here.
    Line = "line", "line", "lines";
    /// A setting of a session.
    Setting = "setting", "setting of a session", "settings of sessions";
    /// A paired device with its tokens.
    Device = "device", "paired device", "paired devices";
    /// A node that an operator paired by hand.
    Node = "node", "paired node", "paired nodes";
    /// How far an account of a channel was read.
    Cursor = "channelOffset", "position in a channel", "positions in channels";
    /// Who was let in on a channel.
    AllowList = "allowList", "list of who may write", "lists of who may write";
    /// Which programs may run.
    Approvals = "execApprovals", "file of exec approvals", "files of exec approvals";
    /// A key of a model provider.
    AuthProfile = "authProfile", "auth profile", "auth profiles";
    /// Words that wake the assistant.
    WakeWords = "wakeWords", "list of wake words", "lists of wake words";
    /// A scheduled job.
    CronJob = "cronJob", "cron job", "cron jobs";
    /// Credentials of an account that was linked by a phone.
    Linked = "linkedAccount", "linked account", "linked accounts";
    /// Any other file or folder.
    File = "file", "file", "files";
}

/// Something that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// Of which kind.
    pub kind: Kind,
    /// Which one, or how many.
    pub what: String,
    /// Why, and what to do where something can be done.
    pub why: String,
}

/// What became of everything that was found.
#[derive(Debug, Default)]
pub struct Report {
    taken: BTreeMap<Kind, u64>,
    already: BTreeMap<Kind, u64>,
    left: Vec<Left>,
    /// Things left beyond [`IMPORT_LEFT`].
    untold: u64,
    /// By reason: how many lines, and the first.
    lines: BTreeMap<String, (u64, String)>,
}

impl Report {
    /// `count` of these are stored, or would be.
    pub fn took(&mut self, kind: Kind, count: u64) {
        if count > 0 {
            *self.taken.entry(kind).or_default() += count;
        }
    }

    /// `count` of these were here before.
    pub fn had(&mut self, kind: Kind, count: u64) {
        if count > 0 {
            *self.already.entry(kind).or_default() += count;
        }
    }

    /// This stays where it is.
    pub fn leave(&mut self, kind: Kind, what: impl Into<String>, why: impl Into<String>) {
        if self.left.len() < IMPORT_LEFT {
            self.left.push(Left { kind, what: what.into(), why: why.into() });
        } else {
            self.untold += 1;
        }
    }

    /// Lines of a transcript that are no messages here, by reason; those of all transcripts are told together.
    pub(super) fn leave_lines(&mut self, file: &str, skipped: BTreeMap<String, Skipped>) {
        for (why, Skipped { count, first }) in skipped {
            let told = self.lines.entry(why).or_insert_with(|| (0, format!("{file}:{first}")));
            told.0 += count;
        }
    }

    /// What was taken.
    pub fn taken(&self) -> impl Iterator<Item = (Kind, u64)> + '_ {
        self.taken.iter().map(|(kind, count)| (*kind, *count))
    }

    /// What was here before.
    pub fn already(&self) -> impl Iterator<Item = (Kind, u64)> + '_ {
        self.already.iter().map(|(kind, count)| (*kind, *count))
    }

    /// What was left, lines last.
    pub fn left(&self) -> Vec<Left> {
        let lines = self.lines.iter().map(|(why, (count, first))| {
            let what = format!("{} (the first: {first})", Kind::Line.counted(*count));
            Left { kind: Kind::Line, what, why: why.clone() }
        });
        let untold = (self.untold > 0).then(|| {
            let what = format!("{} more", self.untold);
            Left { kind: Kind::File, what, why: format!("only the first {IMPORT_LEFT} are told one by one") }
        });
        self.left.iter().cloned().chain(untold).chain(lines).collect()
    }

    /// `taken`, `left` and `already` for scripts.
    pub fn json(&self) -> Value {
        let counted = |all: &BTreeMap<Kind, u64>| -> Vec<Value> {
            all.iter().map(|(kind, count)| json!({ "kind": kind.as_str(), "count": count })).collect()
        };
        let left = self.left();
        let left = left.iter().map(|l| json!({ "kind": l.kind.as_str(), "what": l.what, "why": l.why }));
        json!({ "taken": counted(&self.taken), "left": left.collect::<Vec<_>>(), "already": counted(&self.already) })
    }
}

/// Lines that were skipped for one reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Skipped {
    /// How many.
    pub count: u64,
    /// Number of the first, from 1.
    pub first: u64,
}

/// A name from a file, as a report shows it: bounded, on one line.
pub(super) fn shown(name: &str) -> String {
    display::short(name, NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f04_a_report_is_bounded_and_counts_the_rest() {
        let mut report = Report::default();
        for n in 0..IMPORT_LEFT + 5 {
            report.leave(Kind::Device, n.to_string(), "why");
        }
        let left = report.left();
        assert_eq!((left.len(), left[IMPORT_LEFT].what.as_str()), (IMPORT_LEFT + 1, "5 more"));
        assert_eq!(Kind::Session.counted(1) + &Kind::CronJob.counted(0), "1 session0 cron jobs");
    }
}
