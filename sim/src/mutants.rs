//! Does the simulator find bugs? Small bugs are planted in the gateway, one at a time, and the scenarios that should find
//! them are run until an oracle says no.
//!
//! A mutant is a patch in `sim/mutants/`: a sentence that says what is wrong, a line `Scenarios: a b`, then a unified
//! diff. It is applied to a copy of the tree, so the tree itself is never touched. A run counts as a find only if the
//! same scenario and seed without the patch does not violate the same oracle.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // the runner's own files and processes

mod mutant;
mod tree;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::Serialize;

pub use mutant::Mutant;
use tree::Tree;

use crate::runner::Outcome;

/// What was tried on one mutant.
#[derive(Debug, Clone, Serialize)]
pub struct Found {
    /// The mutant.
    pub name: String,
    /// What is wrong with it.
    pub what: String,
    /// Runs until an oracle was violated, by trial; `None`: not within the bound.
    pub runs: Vec<Option<u64>>,
    /// The oracles that found it.
    pub oracles: BTreeSet<String>,
    /// It could not be tried.
    pub error: Option<String>,
}

impl Found {
    /// The median of the runs, if most trials found it.
    pub fn median(&self) -> Option<u64> {
        let mut runs: Vec<u64> = self.runs.iter().map(|r| r.unwrap_or(u64::MAX)).collect();
        runs.sort_unstable();
        runs.get(runs.len() / 2).copied().filter(|m| *m < u64::MAX)
    }
}

/// How hard to try.
#[derive(Debug, Clone)]
pub struct Hunt {
    /// Root of the tree.
    pub root: PathBuf,
    /// Where the copy and its builds are kept for the next time.
    pub work: PathBuf,
    /// Independent trials, each with seeds of its own.
    pub trials: u64,
    /// The most runs in one trial.
    pub seeds: u64,
    /// Only mutants with this in their name.
    pub only: Option<String>,
}

impl Hunt {
    /// Plants every bug in turn; `told` hears of each as it is done.
    ///
    /// # Errors
    /// When the tree cannot be copied or does not build as it is.
    pub fn run(&self, mut told: impl FnMut(&Found)) -> Result<Vec<Found>, String> {
        let wanted = |m: &Mutant| self.only.as_ref().is_none_or(|only| m.name.contains(only.as_str()));
        let mutants: Vec<_> = Mutant::all(&self.root.join("sim/mutants"))?.into_iter().filter(wanted).collect();
        let tree = Tree::new(&self.root, &self.work)?;
        tree.refresh()?;
        let sound = tree.build("sound")?;
        let mut all = Vec::new();
        for mutant in mutants {
            let found = self.hunt(&tree, &sound, &mutant);
            told(&found);
            all.push(found);
        }
        tree.refresh()?;
        Ok(all)
    }

    fn hunt(&self, tree: &Tree, sound: &Path, mutant: &Mutant) -> Found {
        let mut found = Found {
            name: mutant.name.clone(),
            what: mutant.what.clone(),
            runs: Vec::new(),
            oracles: BTreeSet::new(),
            error: None,
        };
        let built = tree.refresh().and_then(|()| tree.apply(&mutant.patch)).and_then(|()| tree.build("mutant"));
        let mutated = match built {
            Ok(program) => program,
            Err(error) => return Found { error: Some(error), ..found },
        };
        for trial in 0..self.trials {
            match self.trial(tree, sound, &mutated, mutant, trial * self.seeds) {
                Ok(Some((runs, oracles))) => {
                    found.runs.push(Some(runs));
                    found.oracles.extend(oracles);
                }
                Ok(None) => found.runs.push(None),
                Err(error) => return Found { error: Some(error), ..found },
            }
        }
        found
    }

    /// Runs with seeds from `first` on, over the mutant's scenarios in turn, until one shows it: how many, and which
    /// oracles.
    fn trial(
        &self,
        tree: &Tree,
        sound: &Path,
        mutated: &Path,
        mutant: &Mutant,
        first: u64,
    ) -> Result<Option<(u64, BTreeSet<String>)>, String> {
        for n in 0..self.seeds {
            let scenario = &mutant.scenarios[(n % mutant.scenarios.len() as u64) as usize];
            let file = tree.root().join("scenarios").join(format!("{scenario}.toml"));
            let seed = first + n;
            let mut seen = violated(&one(mutated, &file, seed)?);
            if !seen.is_empty() {
                let anyway = violated(&one(sound, &file, seed)?);
                seen.retain(|oracle| !anyway.contains(oracle));
                if !seen.is_empty() {
                    return Ok(Some((n + 1, seen)));
                }
            }
        }
        Ok(None)
    }
}

fn violated(outcome: &Outcome) -> BTreeSet<String> {
    outcome.violations.iter().map(|v| v.oracle.clone()).collect()
}

/// One run in a process of its own.
fn one(program: &Path, scenario: &Path, seed: u64) -> Result<Outcome, String> {
    let output = Command::new(program)
        .arg("one")
        .arg(scenario)
        .args(["--seed", &seed.to_string()])
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{}: {e}", program.display()))?;
    let failed = || {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("{} seed {seed}: {}: {}", scenario.display(), output.status, said.lines().next().unwrap_or_default())
    };
    let outcome: Outcome = serde_json::from_slice(&output.stdout).map_err(|_| failed())?;
    outcome.broken.clone().map_or(Ok(outcome), Err)
}

/// The table of the README.
pub fn table(found: &[Found]) -> String {
    use std::fmt::Write as _;
    let mut text = String::from("| mutant | what is wrong | median seeds to find | found by |\n|---|---|---|---|\n");
    for f in found {
        let median = match (&f.error, f.median()) {
            (Some(error), _) => format!("not tried: {}", error.lines().next().unwrap_or_default()),
            (None, Some(median)) => median.to_string(),
            (None, None) => "**not found**".to_owned(),
        };
        let oracles: Vec<_> = f.oracles.iter().map(|o| format!("`{o}`")).collect();
        let _ = writeln!(text, "| {} | {} | {median} | {} |", f.name, f.what, oracles.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(runs: &[Option<u64>]) -> Option<u64> {
        let (name, what) = (String::new(), String::new());
        Found { name, what, runs: runs.to_vec(), oracles: BTreeSet::new(), error: None }.median()
    }

    #[test]
    fn the_median_counts_a_failed_trial_as_worst() {
        assert_eq!(found(&[Some(9), Some(1), Some(2)]), Some(2));
        assert_eq!(found(&[Some(1), None, Some(4)]), Some(4));
        assert_eq!(found(&[Some(1), None, None]), None);
        assert_eq!(found(&[]), None);
    }

    /// Every patch fits the tree as it is and names scenarios that exist.
    #[test]
    fn every_mutant_applies() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mutants = Mutant::all(&root.join("sim/mutants")).unwrap();
        assert!(mutants.len() >= 15, "{} mutants", mutants.len());
        for mutant in mutants {
            for scenario in &mutant.scenarios {
                let file = root.join("scenarios").join(format!("{scenario}.toml"));
                assert!(file.is_file(), "{}: no scenario {scenario}", mutant.name);
            }
            tree::check(&root, &mutant.patch).unwrap();
        }
    }
}
