use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use super::{functions::functions, operators::mistakes};

/// A planted bug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutant {
    /// File name without the ending; for a generated one the place and the mistake.
    pub name: String,
    /// What is wrong.
    pub what: String,
    /// The file that it changes first, from the root of the tree.
    pub file: String,
    /// Scenarios that are tried before the others.
    pub scenarios: Vec<String>,
    /// The change.
    pub change: Change,
}

/// How a bug gets into the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A patch file.
    Patch(PathBuf),
    /// Other text in place of some bytes of [`Mutant::file`].
    Edit {
        /// Which.
        at: Range<usize>,
        /// What stands there instead.
        with: String,
    },
}

impl Mutant {
    /// All patches of a directory, by name.
    ///
    /// # Errors
    /// When a file cannot be read or does not say what it must.
    pub fn all(directory: &Path) -> Result<Vec<Self>, String> {
        let failed = |e: std::io::Error| format!("{}: {e}", directory.display());
        let mut files = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(failed)? {
            files.push(entry.map_err(failed)?.path());
        }
        files.retain(|file| file.extension().is_some_and(|e| e == "patch"));
        files.sort();
        files
            .into_iter()
            .map(|file| {
                let text = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
                Self::read(file, &text)
            })
            .collect()
    }

    fn read(patch: PathBuf, text: &str) -> Result<Self, String> {
        let head: Vec<&str> = text.lines().take_while(|line| !line.starts_with("diff --git")).collect();
        let scenarios = head.iter().find_map(|line| line.strip_prefix("Scenarios:"));
        let scenarios: Vec<_> = scenarios.into_iter().flat_map(str::split_whitespace).map(str::to_owned).collect();
        let what = head.first().copied().unwrap_or_default().to_owned();
        let file = changed_files(text).next();
        let (false, Some(file)) = (what.is_empty(), file) else {
            return Err(format!("{}: expected a sentence in its first line, then a diff", patch.display()));
        };
        let name = patch.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Self { name, what, file: file.to_owned(), scenarios, change: Change::Patch(patch) })
    }

    /// Every mistake that the rules can make in a file (its path from `root`).
    ///
    /// # Errors
    /// When it cannot be read, or is no Rust.
    pub fn generated(root: &Path, file: &str) -> Result<Vec<Self>, String> {
        let failed = |e: &dyn std::fmt::Display| format!("{file}: {e}");
        let text = std::fs::read_to_string(root.join(file)).map_err(|e| failed(&e))?;
        let mut out = Vec::new();
        for function in functions(&text).map_err(|e| failed(&e))? {
            for mistake in mistakes(&text, &function) {
                let line = text[..mistake.at.start].lines().count().max(1);
                out.push(Self {
                    name: format!("{file}:{line}: {}", mistake.what),
                    what: format!("{}: {}", function.path, mistake.what),
                    file: file.to_owned(),
                    scenarios: vec![],
                    change: Change::Edit { at: mistake.at, with: mistake.with },
                });
            }
        }
        Ok(out)
    }

    /// Where it is: `server/ws`, `channels/telegram`, `agent/exec`.
    pub fn place(&self) -> String {
        let parts: Vec<&str> = self.file.trim_start_matches("gateway/").split('/').filter(|p| *p != "src").collect();
        let depth = if parts.len() > 2 { 2 } else { 1 };
        parts.iter().take(depth).copied().collect::<Vec<_>>().join("/")
    }
}

/// The files that a diff changes.
pub(super) fn changed_files(diff: &str) -> impl Iterator<Item = &str> {
    diff.lines().filter_map(|line| line.strip_prefix("+++ b/")).map(|name| name.split('\t').next().unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_is_what_stands_before_the_diff() {
        let read = |text: &str| Mutant::read(PathBuf::from("/x/no_tick.patch"), text);
        let diff = "diff --git a/x b/x\n--- a/gateway/server/src/ws/x.rs\n+++ b/gateway/server/src/ws/x.rs\n";
        let mutant = read(&format!("No ticks.\n\nScenarios: a b\n\n{diff}")).unwrap();
        assert_eq!((mutant.name.as_str(), mutant.what.as_str()), ("no_tick", "No ticks."));
        assert_eq!(mutant.scenarios, ["a", "b"]);
        assert_eq!((mutant.place().as_str(), mutant.file.as_str()), ("server/ws", "gateway/server/src/ws/x.rs"));
        assert!(read(diff).is_err());
        assert!(read("No ticks.\n").is_err());
    }
}
