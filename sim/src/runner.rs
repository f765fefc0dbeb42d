//! From scenario files and seeds to verdicts: one process per seed, so that nothing carries over from run to run.

mod batch;
mod failure;
mod guard;
mod table;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

pub use batch::{Batch, Report};
pub use failure::{Failure, directory};
pub use guard::Divergence;

use crate::{
    goals,
    history::Record,
    plan::Plan,
    run::{self, Finished},
    scenario::{Scenario, ScenarioError},
    watch,
};

/// Exit codes of the runner.
pub mod exit {
    /// Everything held.
    pub const OK: u8 = 0;
    /// An oracle was violated.
    pub const VIOLATED: u8 = 1;
    /// The same seed gave two histories.
    pub const NONDETERMINISM: u8 = 2;
    /// The simulator itself failed.
    pub const BROKEN: u8 = 3;
    /// A `sometimes` goal was not reached.
    pub const GOAL: u8 = 4;
    /// Bad arguments or files.
    pub const USAGE: u8 = 64;
}

/// What one run of one seed came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Of the scenario.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// Violated oracles; empty when everything held.
    pub violations: Vec<Violation>,
    /// The simulator's own failure.
    pub broken: Option<String>,
    /// Of the whole history.
    pub hash: String,
    /// Records in it.
    pub records: u64,
    /// Random words drawn.
    pub draws: u64,
    /// Operations that changed the gateway's disk in the time of faults.
    pub storage_ops: u64,
    /// Choices made about the order of ready tasks.
    #[serde(default)]
    pub choices: u64,
    /// Goals reached, of those that the scenario names.
    pub goals: Vec<String>,
    /// Simulated seconds.
    pub simulated_s: f64,
    /// CPU seconds of the process.
    pub cpu_s: f64,
}

/// An oracle that did not hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Violation {
    /// Its name.
    pub oracle: String,
    /// The record that broke it.
    pub at: Option<u64>,
    /// In words.
    pub detail: String,
}

impl Outcome {
    /// True when everything held.
    pub fn passed(&self) -> bool {
        self.violations.is_empty() && self.broken.is_none()
    }

    /// True when the watchdog ended it.
    pub fn is_livelock(&self) -> bool {
        self.violations.iter().any(|v| v.oracle == LIVELOCK)
    }
}

/// Name of the violation of a run in which no virtual time passed any more.
pub const LIVELOCK: &str = "livelock";

/// Runs a plan here and now, and judges it.
pub fn try_plan(plan: &Plan) -> (Outcome, Vec<Record>) {
    try_plan_within(plan, watch::PATIENCE)
}

/// [`try_plan`] with another patience for a run in which no virtual time passes.
pub fn try_plan_within(plan: &Plan, patience: Duration) -> (Outcome, Vec<Record>) {
    judge(plan, run::run(plan, patience))
}

/// The same, judged only when its history is another one than that of this hash: the verdict on that is known.
pub fn try_plan_like(plan: &Plan, patience: Duration, hash: &str) -> Outcome {
    let finished = run::run(plan, patience);
    let outcome = outcome(plan, &finished, Vec::new());
    if outcome.hash == hash { outcome } else { judge(plan, finished).0 }
}

/// Judges a run.
pub fn judge(plan: &Plan, finished: Finished) -> (Outcome, Vec<Record>) {
    let violations = match &finished.stuck {
        // What was under way then will not end: the oracles would say nothing else.
        Some(detail) => {
            let at = finished.history.last().map(|r| r.i);
            vec![Violation { oracle: LIVELOCK.into(), at, detail: detail.clone() }]
        }
        None => crate::judge::violations(plan, &finished.history),
    };
    (outcome(plan, &finished, violations), finished.history)
}

fn outcome(plan: &Plan, finished: &Finished, violations: Vec<Violation>) -> Outcome {
    let history = &finished.history;
    let reached = goals::reached(history);
    Outcome {
        scenario: plan.scenario.clone(),
        seed: plan.seed,
        violations,
        broken: finished.broken.clone(),
        hash: crate::judge::hash(history),
        records: history.len() as u64,
        draws: finished.draws,
        storage_ops: finished.storage_ops,
        choices: finished.choices,
        goals: reached
            .into_iter()
            .filter(|g| g.starts_with("probe ") || plan.expect.goals().any(|goal| goal == g))
            .collect(),
        simulated_s: history.last().map_or(0.0, |r| r.t_us as f64 / 1e6),
        cpu_s: finished.cpu_s + cpu_seconds(),
    }
}

/// CPU time of this thread; 0 where the system does not tell.
#[allow(clippy::disallowed_methods)] // the runner's own accounts
pub(crate) fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    nanoseconds as f64 / 1e9
}

/// A scenario and where it stands.
#[derive(Debug, Clone)]
pub struct Story {
    /// File name without the ending.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// What it says.
    pub scenario: Scenario,
}

impl Story {
    /// One file.
    ///
    /// # Errors
    /// When it is no scenario.
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        let name = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Self { name, path: path.to_owned(), scenario: Scenario::read(path)? })
    }

    /// One file, or all `.toml` files of a directory and of those in it, by name.
    ///
    /// # Errors
    /// When one is no scenario, or there is none.
    #[allow(clippy::disallowed_methods)] // the runner's own files
    pub fn all(path: &Path) -> Result<Vec<Self>, ScenarioError> {
        if !path.is_dir() {
            return Ok(vec![Self::read(path)?]);
        }
        let (mut files, mut directories) = (Vec::new(), vec![path.to_owned()]);
        while let Some(directory) = directories.pop() {
            let failed = |e: std::io::Error| ScenarioError(format!("{}: {e}", directory.display()));
            for entry in std::fs::read_dir(&directory).map_err(failed)? {
                let path = entry.map_err(failed)?.path();
                if path.is_dir() {
                    directories.push(path);
                } else if path.extension().is_some_and(|e| e == "toml") {
                    files.push(path);
                }
            }
        }
        files.sort();
        if files.is_empty() {
            return Err(ScenarioError(format!("{}: no scenario in it", path.display())));
        }
        files.iter().map(|file| Self::read(file)).collect()
    }
}
