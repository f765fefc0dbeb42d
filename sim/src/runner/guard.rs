use std::{fmt, path::Path};

/// Two histories of one seed: where they part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Divergence {
    /// Index of the first record that differs.
    pub at: usize,
    /// The records before it, which are the same.
    pub before: Vec<String>,
    /// The first run's, `None` when it was over.
    pub one: Option<String>,
    /// The second run's.
    pub two: Option<String>,
}

/// Records shown before the difference.
const CONTEXT: usize = 20;
/// Characters shown of one record.
const WIDTH: usize = 300;

impl Divergence {
    /// Compares two traces line by line; `None` when they are equal.
    pub fn between(one: &str, two: &str) -> Option<Self> {
        let (mut ones, mut twos) = (one.lines(), two.lines());
        let mut before: Vec<String> = Vec::new();
        let mut at = 0;
        loop {
            match (ones.next(), twos.next()) {
                (None, None) => return None,
                (a, b) if a == b => {
                    before.push(a.unwrap_or_default().to_owned());
                    if before.len() > CONTEXT {
                        before.remove(0);
                    }
                    at += 1;
                }
                (a, b) => return Some(Self { at, before, one: a.map(str::to_owned), two: b.map(str::to_owned) }),
            }
        }
    }

    /// Compares two trace files.
    ///
    /// # Errors
    /// When one cannot be read.
    #[allow(clippy::disallowed_methods)] // the runner's own files
    pub fn of_files(one: &Path, two: &Path) -> std::io::Result<Option<Self>> {
        Ok(Self::between(&std::fs::read_to_string(one)?, &std::fs::read_to_string(two)?))
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut = |line: &str| line.chars().take(WIDTH).collect::<String>();
        for line in &self.before {
            writeln!(f, "    {}", cut(line))?;
        }
        let shown = |line: &Option<String>| line.as_deref().map_or_else(|| "(nothing more)".to_owned(), cut);
        writeln!(f, "  1 {}", shown(&self.one))?;
        write!(f, "  2 {}", shown(&self.two))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_found_with_its_context() {
        assert_eq!(Divergence::between("a\nb\n", "a\nb\n"), None);
        let d = Divergence::between("a\nb\nc\n", "a\nb\nd\n").unwrap();
        assert_eq!((d.at, d.before.len(), d.one.as_deref(), d.two.as_deref()), (2, 2, Some("c"), Some("d")));
        assert_eq!(Divergence::between("a\n", "a\nb\n").unwrap().one, None);
    }
}
