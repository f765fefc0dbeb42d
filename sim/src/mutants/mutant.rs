use std::path::{Path, PathBuf};

/// A planted bug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutant {
    /// File name without the ending.
    pub name: String,
    /// What is wrong.
    pub what: String,
    /// Scenarios that should find it.
    pub scenarios: Vec<String>,
    /// The patch file.
    pub patch: PathBuf,
}

impl Mutant {
    /// All of a directory, by name.
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
        if what.is_empty() || scenarios.is_empty() {
            let expected = "a sentence in its first line and a line \"Scenarios: a b\" before the diff";
            return Err(format!("{}: expected {expected}", patch.display()));
        }
        let name = patch.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Self { name, what, scenarios, patch })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_is_what_stands_before_the_diff() {
        let read = |text| Mutant::read(PathBuf::from("/x/no_tick.patch"), text);
        let mutant = read("No ticks.\n\nScenarios: a b\n\ndiff --git a/x b/x\n").unwrap();
        assert_eq!((mutant.name.as_str(), mutant.what.as_str()), ("no_tick", "No ticks."));
        assert_eq!(mutant.scenarios, ["a", "b"]);
        assert!(read("diff --git a/x b/x\nScenarios: a\n").is_err());
        assert!(read("No ticks.\ndiff --git a/x b/x\n").is_err());
    }
}
