//! Puts a unit right line by line, so that a person's comments, settings and their order stay.

use super::words;
use crate::Repaired;

/// Settings that make the service another one, or keep it from running; the unit is right without them.
const HARMFUL: [&str; 17] = [
    "BusName",
    "DynamicUser",
    "ExecStart",
    "FailureAction",
    "Group",
    "KillSignal",
    "PIDFile",
    "RefuseManualStart",
    "RemainAfterExit",
    "RestartKillSignal",
    "RestartPreventExitStatus",
    "RuntimeMaxSec",
    "SendSIGKILL",
    "StartLimitAction",
    "StartLimitBurst",
    "StartLimitInterval",
    "User",
];
/// Settings that name several; what a person added stays.
const LISTS: [&str; 3] = ["After", "Wants", "WantedBy"];
/// Settings that are right with more than one value, and what an audit says of one that is not.
const TOLERATED: [(&str, &str); 5] = [
    ("RestartSec", "systemd-restart-sec"),
    ("TimeoutStopSec", "systemd-stop-timeout"),
    ("OOMPolicy", ""),
    ("TimeoutStartSec", ""),
    ("UMask", ""),
];

/// A setting with all its lines, or a line that is none.
struct Entry {
    raw: String,
    /// Its name and value.
    setting: Option<(String, String)>,
    /// The section that begins here.
    section: Option<String>,
}

/// Changes `repaired.text`, the unit of an installation, into the unit `there` put right. `found` is what an audit says of it.
pub(crate) fn repair(there: &str, found: &[&str], repaired: &mut Repaired) {
    let mut wanted = Wanted::of(&repaired.text);
    let mut out: Vec<String> = vec![];
    let mut section = String::new();
    for entry in entries(there) {
        if let Some(next) = entry.section {
            wanted.finish(&section, &mut out);
            section = next;
            out.push(entry.raw);
            continue;
        }
        let Some((name, value)) = entry.setting else {
            out.push(entry.raw);
            continue;
        };
        let is_right = TOLERATED.iter().any(|(tolerated, code)| *tolerated == name && !found.contains(code));
        let is_list = LISTS.contains(&name.as_str());
        if !wanted.has(&section, &name) {
            if HARMFUL.contains(&name.as_str()) && ["Service", "Unit"].contains(&section.as_str()) {
                repaired.dropped.push(name);
                continue;
            }
            if ["Service", "Unit", "Install"].contains(&section.as_str()) {
                repaired.kept.push(name);
            }
            out.push(entry.raw);
        } else if is_right {
            wanted.take(&section, &name);
            out.push(entry.raw);
        } else if is_list {
            let is_there =
                |line: &String| line.split_once('=').is_some_and(|(_, own)| value.split_whitespace().any(|w| w == own));
            if wanted.left(&section, &name).iter().all(is_there) {
                wanted.take(&section, &name);
            }
            out.push(entry.raw);
        } else {
            // All its lines stand where its first one stood.
            out.extend(wanted.take(&section, &name));
        }
    }
    wanted.finish(&section, &mut out);
    wanted.rest(&mut out);
    repaired.text = out.join("\n") + "\n";
}

/// What the unit has to say, in order; what was said is taken out.
struct Wanted {
    lines: Vec<Line>,
}

struct Line {
    section: String,
    name: String,
    text: String,
    is_said: bool,
}

impl Wanted {
    fn of(text: &str) -> Self {
        let mut section = String::new();
        let mut lines = vec![];
        for entry in entries(text) {
            if let Some(next) = entry.section {
                section = next;
            } else if let Some((name, _)) = entry.setting {
                lines.push(Line { section: section.clone(), name, text: entry.raw, is_said: false });
            }
        }
        Self { lines }
    }

    fn has(&self, section: &str, name: &str) -> bool {
        self.lines.iter().any(|line| line.section == section && line.name == name)
    }

    fn left(&self, section: &str, name: &str) -> Vec<String> {
        let lines = self.lines.iter().filter(|l| l.section == section && l.name == name && !l.is_said);
        lines.map(|line| line.text.clone()).collect()
    }

    fn take(&mut self, section: &str, name: &str) -> Vec<String> {
        let left = self.left(section, name);
        self.lines.iter_mut().filter(|l| l.section == section && l.name == name).for_each(|l| l.is_said = true);
        left
    }

    /// What is missing at the end of a section, before the empty lines that end it.
    fn finish(&mut self, section: &str, out: &mut Vec<String>) {
        let missing: Vec<String> =
            self.lines.iter().filter(|l| l.section == section && !l.is_said).map(|l| l.text.clone()).collect();
        if missing.is_empty() {
            return;
        }
        let text = out.iter().rposition(|line| !line.trim().is_empty()).map_or(0, |last| last + 1);
        out.splice(text..text, missing);
        self.lines.iter_mut().filter(|l| l.section == section).for_each(|l| l.is_said = true);
    }

    /// Sections that were not there at all.
    fn rest(&mut self, out: &mut Vec<String>) {
        while let Some(section) = self.lines.iter().find(|l| !l.is_said).map(|l| l.section.clone()) {
            if !out.is_empty() {
                out.push(String::new());
            }
            out.push(format!("[{section}]"));
            self.finish(&section, out);
        }
    }
}

/// The text in pieces, none of it left out.
fn entries(text: &str) -> Vec<Entry> {
    let mut found = vec![];
    let mut lines = text.lines();
    while let Some(first) = lines.next() {
        let mut raw = first.to_owned();
        let mut whole = first.trim_matches(words::SPACE).to_owned();
        let is_comment = |line: &str| line.starts_with(['#', ';']);
        if !is_comment(&whole) {
            while let Some(begun) = whole.strip_suffix('\\') {
                let mut joined = begun.to_owned();
                let Some(next) = lines.next() else { break };
                raw.push('\n');
                raw.push_str(next);
                let next = next.trim_matches(words::SPACE);
                // A comment may stand between the lines of a setting.
                if is_comment(next) {
                    joined.push('\\');
                } else {
                    joined.push(' ');
                    joined.push_str(next);
                }
                whole = joined;
            }
        }
        let section = whole.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).map(str::to_owned);
        let setting = if is_comment(&whole) || section.is_some() { None } else { whole.split_once('=') };
        let trim = |text: &str| text.trim_matches(words::SPACE).to_owned();
        let setting = setting.map(|(name, value)| (trim(name), trim(value)));
        found.push(Entry { raw, setting, section });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_in_an_entry() {
        let text = "# c\n[Unit]\nA=1 \\\n# between\n  2\n\nB = x\\";
        let all = entries(text);
        assert_eq!(all.iter().map(|entry| entry.raw.as_str()).collect::<Vec<_>>().join("\n"), text);
        let settings: Vec<_> = all.into_iter().filter_map(|entry| entry.setting).collect();
        assert_eq!(settings[0], ("A".to_owned(), "1  2".to_owned()));
        assert_eq!(settings[1].0, "B");
    }
}
