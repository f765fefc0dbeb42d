//! Questions before a repair that rewrites what a person wrote.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

/// Whether somebody is there to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// Nobody: scripts, `--yes`, `--non-interactive`. The flag that asks for the repair is the answer.
    Nobody,
    /// A person at a terminal.
    Person,
}

impl Asking {
    /// A person is asked only where both ends are terminals and nothing says that he should not be.
    pub fn of(is_quiet: bool) -> Self {
        let is_terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
        if is_terminal && !is_quiet { Self::Person } else { Self::Nobody }
    }

    /// True when it may be done.
    pub fn may(self, question: &str) -> bool {
        match self {
            Self::Nobody => true,
            Self::Person => {
                let mut line = String::new();
                let asked = write!(io::stderr(), "{question} [Y/n] ").and_then(|()| io::stderr().flush());
                let read = asked.and_then(|()| io::stdin().lock().read_line(&mut line));
                // The end of the input is no yes.
                read.is_ok_and(|bytes| bytes > 0) && is_yes(&line)
            }
        }
    }
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "" | "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_asked_without_a_terminal_and_only_a_yes_is_one() {
        // Tests have no terminal on both ends.
        assert_eq!(Asking::of(true), Asking::Nobody);
        assert!(Asking::Nobody.may("?"));
        assert_eq!(["\n", "y\n", "YES", "n\n", "what?"].map(is_yes), [true, true, true, false, false]);
    }
}
