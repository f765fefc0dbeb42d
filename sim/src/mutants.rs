//! Does the simulator find bugs? Small ones are planted in a copy of the gateway, and the scenarios are run until an oracle
//! says no.
//!
//! A bug is a patch (a sentence that says what is wrong, perhaps a line `Scenarios: a b` with those to be tried first, a
//! unified diff) or a mistake made by rule in a chosen file. Those that lie within bodies of functions are built into one
//! program, which is told at its start which of them is in force and says whose places it has come by; the others are
//! built one by one. A run counts as a find only if the same scenario and seed without the bug violates no such oracle.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // the runner's own files and processes

mod functions;
mod mutant;
mod operators;
mod planted;
mod sweep;
mod switch;
mod table;
mod tree;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Serialize;

pub use mutant::{Change, Mutant};
pub use table::table;

use planted::Planted;
use sweep::Sweep;
use tree::Tree;

/// What was tried on one bug.
#[derive(Debug, Clone, Serialize)]
pub struct Tried {
    /// The bug.
    pub name: String,
    /// What is wrong with it.
    pub what: String,
    /// Where it is ([`Mutant::place`]).
    pub place: String,
    /// By trial: how it was found; `None`: not within the bound.
    pub trials: Vec<Option<Find>>,
    /// Runs that came by its place, without it; of a bug that was built by itself all runs.
    pub reached: u64,
    /// Runs whose history it changed.
    pub changed: u64,
    /// Why it was not tried.
    pub error: Option<String>,
    /// Why nobody can notice it, as far as somebody has said so.
    pub harmless: Option<String>,
}

/// How a bug was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Find {
    /// Seeds of the ordinary run until then.
    pub seeds: u64,
    /// The scenario that showed it.
    pub scenario: String,
    /// The oracles that said no; `goal ...` for a goal that no seed reached any more, `simulator` for a run that broke off.
    pub oracles: Vec<String>,
}

impl Tried {
    /// The median of the seeds, if most trials found it.
    pub fn median(&self) -> Option<u64> {
        let mut seeds: Vec<u64> = self.trials.iter().map(|t| t.as_ref().map_or(u64::MAX, |f| f.seeds)).collect();
        seeds.sort_unstable();
        seeds.get(seeds.len() / 2).copied().filter(|m| *m < u64::MAX)
    }

    /// It counts: it was tried, and somebody could notice it.
    pub fn counts(&self) -> bool {
        self.error.is_none() && self.harmless.is_none()
    }
}

/// What to plant, and how hard to look.
#[derive(Debug, Clone)]
pub struct Hunt {
    /// Root of the tree.
    pub root: PathBuf,
    /// Where the copy and its builds are kept for the next time.
    pub work: PathBuf,
    /// Directories of patches.
    pub patches: Vec<PathBuf>,
    /// Files of the gateway, or directories of them, in which mistakes are made by rule.
    pub generate: Vec<PathBuf>,
    /// At most so many of the mistakes made by rule, spread evenly.
    pub sample: Option<usize>,
    /// Independent trials, each with seeds of its own.
    pub trials: u64,
    /// The most seeds in one trial.
    pub seeds: u64,
    /// Only bugs with this in their name.
    pub only: Option<String>,
    /// Bugs that would have to be built by themselves are left out.
    pub together: bool,
    /// Runs at a time.
    pub jobs: usize,
}

impl Hunt {
    /// Plants all of them and looks for each; `told` hears how it goes.
    ///
    /// # Errors
    /// When the tree cannot be copied or does not build as it is.
    pub fn run(&self, told: impl Fn(&str) + Sync) -> Result<Vec<Tried>, String> {
        let mutants = self.mutants()?;
        if mutants.is_empty() {
            return Err("there is no such bug".into());
        }
        told(&format!("{} bugs are built into one program", mutants.len()));
        let tree = Tree::new(&self.root, &self.work)?;
        let planted = Planted::build(&tree, &mutants, self.together, &told)?;
        let harmless = harmless(&self.root)?;
        let mut sweep = Sweep::new(&planted, &mutants, &tree.scenarios(), self.jobs)?;
        for trial in 0..self.trials {
            sweep.trial(trial * self.seeds..(trial + 1) * self.seeds, &told)?;
        }
        let tried = sweep.finish();
        Ok(tried.into_iter().map(|t| Tried { harmless: harmless.get(&t.name).cloned(), ..t }).collect())
    }

    fn mutants(&self) -> Result<Vec<Mutant>, String> {
        let mut all = Vec::new();
        for directory in &self.patches {
            all.extend(Mutant::all(directory)?);
        }
        let mut made = Vec::new();
        for path in &self.generate {
            for file in sources(&self.root, path)? {
                made.extend(Mutant::generated(&self.root, &file)?);
            }
        }
        let every = self.sample.map_or(1, |most| made.len().div_ceil(most.max(1)).max(1));
        all.extend(made.into_iter().step_by(every));
        all.retain(|m| self.only.as_ref().is_none_or(|only| m.name.contains(only.as_str())));
        Ok(all)
    }
}

/// The Rust files of a file or directory, by their paths from `root`.
fn sources(root: &Path, path: &Path) -> Result<Vec<String>, String> {
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    if !root.join(path).is_dir() {
        return Ok(vec![path.to_string_lossy().into_owned()]);
    }
    let mut out = Vec::new();
    for entry in std::fs::read_dir(root.join(path)).map_err(failed)? {
        let path = path.join(entry.map_err(failed)?.file_name());
        if root.join(&path).is_dir() || path.extension().is_some_and(|e| e == "rs") {
            out.extend(sources(root, &path)?);
        }
    }
    out.sort();
    Ok(out)
}

/// Bugs that nobody can notice, with the reason: lines `name: reason` of `sim/mutants/harmless.txt`.
fn harmless(root: &Path) -> Result<BTreeMap<String, String>, String> {
    let file = root.join("sim/mutants/harmless.txt");
    let text = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let split = |line: &str| line.rsplit_once(": ").map(|(name, why)| (name.to_owned(), why.to_owned()));
    lines.map(|line| split(line).ok_or_else(|| format!("{}: no reason in {line:?}", file.display()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn median(seeds: &[Option<u64>]) -> Option<u64> {
        let find = |seeds: u64| Find { seeds, scenario: String::new(), oracles: vec![] };
        let (name, what, place) = (String::new(), String::new(), String::new());
        let trials = seeds.iter().map(|s| s.map(find)).collect();
        Tried { name, what, place, trials, reached: 0, changed: 0, error: None, harmless: None }.median()
    }

    #[test]
    fn the_median_counts_a_failed_trial_as_worst() {
        assert_eq!(median(&[Some(9), Some(1), Some(2)]), Some(2));
        assert_eq!(median(&[Some(1), None, Some(4)]), Some(4));
        assert_eq!(median(&[Some(1), None, None]), None);
        assert_eq!(median(&[]), None);
    }

    /// Every patch fits the tree as it is and names scenarios that exist; what is called harmless exists.
    #[test]
    fn every_mutant_applies() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mutants = Mutant::all(&root.join("sim/mutants")).unwrap();
        assert!(mutants.len() >= 15, "{} mutants", mutants.len());
        for mutant in &mutants {
            for scenario in &mutant.scenarios {
                let file = root.join("scenarios").join(format!("{scenario}.toml"));
                assert!(file.is_file(), "{}: no scenario {scenario}", mutant.name);
            }
            let Change::Patch(patch) = &mutant.change else { panic!("{} is no patch", mutant.name) };
            tree::check(&root, patch).unwrap();
        }
        for name in harmless(&root).unwrap().keys().filter(|name| !name.contains(':')) {
            assert!(mutants.iter().any(|m| m.name == *name), "harmless.txt: no mutant {name}");
        }
    }
}
