//! What all nights together have reached: one file that each `sim run --count FILE` adds to. A goal that is reached once in
//! ten thousand runs is a scenario that hardly goes there; one that never was is a hole.
#![allow(clippy::disallowed_methods)] // the runner's own file

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::runner::Outcome;

/// The version of the file's form.
const VERSION: u32 = 1;
/// A page of the rarest names so many.
const RAREST: usize = 10;
/// Something that no run has reached is an alarm after so many.
pub const ALARM_AFTER: u64 = 1000;

/// Sums over all runs so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counters {
    /// See [`VERSION`].
    version: u32,
    /// By scenario.
    scenarios: BTreeMap<String, Counter>,
    /// Runs that took a branch which the gateway calls rare, by its name.
    branches: BTreeMap<String, u64>,
}

/// Of one scenario.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Counter {
    runs: u64,
    /// The highest seed so far and one: where the next night goes on.
    seeds_to: u64,
    simulated_s: f64,
    cpu_s: f64,
    /// Runs that violated an oracle, by its name.
    failed: BTreeMap<String, u64>,
    /// Runs that reached a goal of the scenario.
    goals: BTreeMap<String, u64>,
}

impl Default for Counters {
    fn default() -> Self {
        Self { version: VERSION, scenarios: BTreeMap::new(), branches: BTreeMap::new() }
    }
}

impl Counters {
    /// Of a file; empty ones when there is none.
    ///
    /// # Errors
    /// When it cannot be read, or is none of this version.
    pub fn read(file: &Path) -> Result<Self, String> {
        let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", file.display());
        let text = match std::fs::read_to_string(file) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            text => text.map_err(|e| failed(&e))?,
        };
        let counters: Self = serde_json::from_str(&text).map_err(|e| failed(&e))?;
        if counters.version == VERSION { Ok(counters) } else { Err(failed(&"counters of another version")) }
    }

    /// Writes the file: whole, or not at all.
    ///
    /// # Errors
    /// When that is not possible.
    pub fn write(&self, file: &Path) -> Result<(), String> {
        let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", file.display());
        let directory = file.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut new = tempfile::NamedTempFile::new_in(directory).map_err(|e| failed(&e))?;
        let text = serde_json::to_string_pretty(self).map_err(|e| failed(&e))? + "\n";
        std::io::Write::write_all(&mut new, text.as_bytes()).map_err(|e| failed(&e))?;
        new.persist(file).map(drop).map_err(|e| failed(&e))
    }

    /// Adds one run.
    pub fn add(&mut self, outcome: &Outcome) {
        let c = self.scenarios.entry(outcome.scenario.clone()).or_default();
        c.runs += 1;
        c.seeds_to = c.seeds_to.max(outcome.seed + 1);
        c.simulated_s += outcome.simulated_s;
        c.cpu_s += outcome.cpu_s;
        let violated: BTreeSet<&String> = outcome.violations.iter().map(|v| &v.oracle).collect();
        violated.into_iter().for_each(|oracle| *c.failed.entry(oracle.clone()).or_default() += 1);
        for goal in &outcome.goals {
            match goal.strip_prefix("probe ") {
                Some(branch) => *self.branches.entry(branch.to_owned()).or_default() += 1,
                None => *c.goals.entry(goal.clone()).or_default() += 1,
            }
        }
    }

    /// Runs so far.
    pub fn runs(&self) -> u64 {
        self.scenarios.values().map(|c| c.runs).sum()
    }

    /// One more than the highest seed of any scenario.
    pub fn seeds_to(&self) -> u64 {
        self.scenarios.values().map(|c| c.seeds_to).max().unwrap_or(0)
    }

    /// Branches and goals that no run has reached; `goals` are those that scenarios name.
    pub fn never(&self, goals: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
        let branches = crate::claims::SOMETIMES.iter().filter(|b| !self.branches.contains_key(**b));
        let mut never: Vec<String> = branches.map(|b| format!("branch {b}")).collect();
        for (scenario, goals) in goals {
            let Some(counter) = self.scenarios.get(scenario) else { continue };
            // What begins with `probe` was counted as a branch, over all scenarios.
            let missed = goals.iter().filter(|g| !g.starts_with("probe ") && !counter.goals.contains_key(*g));
            never.extend(missed.map(|g| format!("{scenario}: {g}")));
        }
        never
    }

    /// In words: sums, the rarest, what was never reached.
    pub fn table(&self, goals: &BTreeMap<String, BTreeSet<String>>) -> String {
        use std::fmt::Write as _;
        let sum = |f: fn(&Counter) -> f64| self.scenarios.values().map(f).sum::<f64>();
        let mut text = format!(
            "{} runs, {:.0} simulated hours in {:.1} CPU hours, seeds up to {}\n",
            self.runs(),
            sum(|c| c.simulated_s) / 3600.0,
            sum(|c| c.cpu_s) / 3600.0,
            self.seeds_to()
        );
        for (name, c) in self.scenarios.iter().filter(|(_, c)| !c.failed.is_empty()) {
            let failed: Vec<String> = c.failed.iter().map(|(oracle, n)| format!("{oracle} {n}")).collect();
            let _ = writeln!(text, "failed: {name}: {} of {} runs", failed.join(", "), c.runs);
        }
        let goals_of = |(name, c): (&String, &Counter)| -> Vec<(u64, u64, String)> {
            c.goals.iter().map(|(goal, n)| (*n, c.runs, format!("{name}: {goal}"))).collect()
        };
        let mut all: Vec<(u64, u64, String)> = self.scenarios.iter().flat_map(goals_of).collect();
        all.extend(self.branches.iter().map(|(b, n)| (*n, self.runs(), format!("branch {b}"))));
        // By share: a goal of a scenario that runs seldom is not rare for that.
        all.sort_by(|a, b| (a.0 * b.1).cmp(&(b.0 * a.1)).then(a.2.cmp(&b.2)));
        text += "rarest:\n";
        for (n, of, name) in all.iter().take(RAREST) {
            let _ = writeln!(text, "{n:>8} of {of:<8} {name}");
        }
        let never = self.never(goals);
        if !never.is_empty() {
            let alarm = if self.runs() >= ALARM_AFTER { "NEVER REACHED" } else { "not reached yet" };
            let _ = writeln!(text, "{alarm} ({}):", never.len());
            never.iter().for_each(|name| text += &format!("  {name}\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(scenario: &str, seed: u64, goals: &[&str]) -> Outcome {
        Outcome {
            scenario: scenario.into(),
            seed,
            violations: vec![],
            broken: None,
            hash: String::new(),
            records: 1,
            draws: 1,
            storage_ops: 0,
            choices: 0,
            goals: goals.iter().map(|g| (*g).to_owned()).collect(),
            simulated_s: 60.0,
            cpu_s: 0.5,
        }
    }

    #[test]
    fn nights_add_up_in_one_file() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("nights.json");
        for night in 0..2u64 {
            let mut counters = Counters::read(&file).unwrap();
            assert_eq!(counters.seeds_to(), night * 10);
            (0..10).for_each(|n| counters.add(&outcome("a", night * 10 + n, &["gap", "probe queue.steered"])));
            counters.add(&outcome("b", night, if night == 1 { &["resent"] } else { &[] }));
            counters.write(&file).unwrap();
        }
        let counters = Counters::read(&file).unwrap();
        assert_eq!((counters.runs(), counters.seeds_to()), (22, 20));
        let of = |goals: &[&str]| goals.iter().map(|g| (*g).to_owned()).collect::<BTreeSet<_>>();
        let goals = BTreeMap::from([("a".to_owned(), of(&["gap", "reconnect"])), ("b".to_owned(), of(&["resent"]))]);
        let never = counters.never(&goals);
        assert!(never.contains(&"a: reconnect".to_owned()) && !never.iter().any(|n| n.contains("queue.steered")));
        let table = counters.table(&goals);
        assert!(table.starts_with("22 runs, 0 simulated hours"), "{table}");
        let rarest = table.lines().find(|l| l.contains(" of ")).unwrap();
        assert_eq!(rarest.split_whitespace().collect::<Vec<_>>(), ["1", "of", "2", "b:", "resent"], "{table}");
        assert!(table.contains("not reached yet"), "{table}");
        std::fs::write(&file, "{}").unwrap();
        assert!(Counters::read(&file).is_err(), "what is none is not written over");
    }
}
