//! Search by novelty: plans whose run showed something that no run before had shown are kept and changed a little, so that
//! the search goes on where there is more to see. Blind seeds at the same cost are what it is measured against.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // the runner's own processes and time

mod mutate;
mod signature;

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use openclaw_platform::{EntropyExt as _, sync::LockExt as _};
use serde::{Deserialize, Serialize};

pub use signature::signature;

use crate::{
    SimEntropy,
    plan::Plan,
    runner::{Outcome, Story},
};

/// The most plans that are kept of one hunt.
const CORPUS: usize = 2000;
/// One run in so many is a fresh seed, so that nothing is only ever a neighbour of what is known.
const FRESH: u32 = 4;

/// A run as a child process tells it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Shown {
    /// What it came to.
    pub outcome: Outcome,
    /// [`signature`] of its history.
    pub signature: BTreeSet<String>,
}

/// What a hunt has found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Found {
    /// Runs.
    pub runs: u64,
    /// Their CPU seconds.
    pub cpu_s: f64,
    /// Different facts in all of them.
    pub facts: usize,
    /// The same after each tenth of the time.
    pub curve: Vec<usize>,
    /// Plans that showed something new, with how much.
    #[serde(skip)]
    pub corpus: Vec<(Plan, BTreeSet<String>)>,
    /// Plans that violated an oracle.
    #[serde(skip)]
    pub failures: Vec<(Plan, Outcome)>,
}

impl Found {
    /// The fewest plans that show everything that the whole corpus shows and `known` does not, at most `most`; the one
    /// that shows most first.
    pub fn chosen(&self, known: &BTreeSet<String>, most: usize) -> Vec<&Plan> {
        let mut left: Vec<(&Plan, BTreeSet<&String>)> = self
            .corpus
            .iter()
            .map(|(plan, facts)| (plan, facts.iter().filter(|f| !known.contains(*f)).collect()))
            .collect();
        let mut out = Vec::new();
        while out.len() < most {
            let Some(best) = (0..left.len()).rev().max_by_key(|n| left[*n].1.len()) else { break };
            let (plan, shown) = left.swap_remove(best);
            if shown.is_empty() {
                break;
            }
            for (_, facts) in &mut left {
                facts.retain(|f| !shown.contains(f));
            }
            out.push(plan);
        }
        out
    }
}

/// A search.
pub struct Hunt<'a> {
    /// Where plans come from.
    pub stories: Vec<Story>,
    /// How long, of real time.
    pub budget: Duration,
    /// Runs at a time.
    pub jobs: usize,
    /// What is drawn.
    pub seed: u64,
    /// Only fresh seeds: what the search is measured against.
    pub blind: bool,
    /// Runs a plan in a process of its own.
    pub show: &'a (dyn Fn(&Plan) -> Result<Shown, String> + Sync),
}

struct State {
    found: Found,
    known: BTreeSet<String>,
    dice: SimEntropy,
    next_seed: u64,
}

impl Hunt<'_> {
    /// Searches until the time is over.
    pub fn run(&self, told: impl Fn(&str) + Sync) -> Found {
        let begun = Instant::now();
        let dice = SimEntropy::new(self.seed);
        let state = Mutex::new(State {
            found: Found::default(),
            known: BTreeSet::new(),
            dice,
            next_seed: self.seed * 1_000_000,
        });
        let lock = || state.locked();
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(|| {
                    while begun.elapsed() < self.budget {
                        let Some(plan) = self.next(&mut lock()) else { return };
                        match (self.show)(&plan) {
                            Ok(shown) => lock().take(
                                plan,
                                shown,
                                begun.elapsed().as_secs_f64() / self.budget.as_secs_f64(),
                                &told,
                            ),
                            Err(error) => told(&format!("{} seed {}: {error}", plan.scenario, plan.seed)),
                        }
                    }
                });
            }
        });
        let mut state = state.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.found.facts = state.known.len();
        state.found
    }

    fn next(&self, state: &mut State) -> Option<Plan> {
        let drawn = self.stories.iter().filter(|s| s.scenario.run.seed.is_none()).collect::<Vec<_>>();
        let fresh = |state: &mut State, name: Option<&str>| {
            let of_name = drawn.iter().find(|s| Some(s.name.as_str()) == name);
            let story = of_name.or_else(|| drawn.get(state.next_seed as usize % drawn.len().max(1)))?;
            state.next_seed += 1;
            Plan::draw(&story.scenario, &story.name, state.next_seed).ok()
        };
        let kept = state.found.corpus.len() as u32;
        if self.blind || kept == 0 || state.dice.below(FRESH) == 0 {
            return fresh(state, None);
        }
        // What was found last is least known: of two draws the later one.
        let at = state.dice.below(kept).max(state.dice.below(kept));
        let plan = state.found.corpus.get(at as usize)?.0.clone();
        let other = fresh(state, Some(&plan.scenario))?;
        Some(mutate::mutate(plan, &other, &state.dice))
    }
}

impl State {
    fn take(&mut self, plan: Plan, shown: Shown, share: f64, told: &impl Fn(&str)) {
        let Shown { outcome, signature } = shown;
        self.found.runs += 1;
        self.found.cpu_s += outcome.cpu_s;
        // What a scenario shows is its own: the same fact under another story is another one.
        let facts: BTreeSet<String> = signature.into_iter().map(|f| format!("{}: {f}", plan.scenario)).collect();
        let new = facts.difference(&self.known).count();
        self.known.extend(facts.iter().cloned());
        while self.found.curve.len() < (share * 10.0) as usize {
            self.found.curve.push(self.known.len());
        }
        if !outcome.passed() {
            let why = outcome.violations.first().map_or("the simulator failed", |v| v.oracle.as_str());
            told(&format!("{} seed {}: {why}", plan.scenario, plan.seed));
            self.found.failures.push((plan, outcome));
        } else if new > 0 && self.found.corpus.len() < CORPUS {
            self.found.corpus.push((plan, facts));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    fn story() -> Story {
        let text = "about = \"x\"\n[run]\nlength = \"20s\"\n[model]\n[[clients]]\ngroup = \"a\"\nworkload = \"chat\"\n\
                    [swarm]\nkinds = [\"cut\", \"crash\"]\ncount = [1, 5]\n";
        Story { name: "x".into(), path: "x.toml".into(), scenario: Scenario::parse("x", text).unwrap() }
    }

    /// A run that shows its faults' seconds, and fails when two of them fall into one.
    #[allow(clippy::unnecessary_wraps)] // as a hunt calls it
    fn show(plan: &Plan) -> Result<Shown, String> {
        let seconds: Vec<u64> = plan.faults.iter().map(|f| f.at_ms / 1000).collect();
        let signature: BTreeSet<String> = seconds.iter().map(|s| format!("fault in second {s}")).collect();
        let violation =
            crate::runner::Violation { oracle: "seq".into(), at: None, detail: "two faults in one second".into() };
        let outcome = Outcome {
            scenario: plan.scenario.clone(),
            seed: plan.seed,
            violations: if signature.len() < seconds.len() { vec![violation] } else { vec![] },
            broken: None,
            hash: String::new(),
            records: 0,
            draws: 0,
            storage_ops: 0,
            choices: 0,
            goals: vec![],
            simulated_s: 1.0,
            cpu_s: 0.001,
        };
        Ok(Shown { outcome, signature })
    }

    #[test]
    fn what_shows_something_new_is_kept_and_what_fails_is_told() {
        let stories = vec![story()];
        let budget = Duration::from_millis(300);
        let hunt = Hunt { stories, budget, jobs: 1, seed: 1, blind: false, show: &show };
        let found = hunt.run(|_| {});
        assert!(found.runs > 20 && found.facts >= 18, "{} runs, {} facts", found.runs, found.facts);
        assert!(!found.failures.is_empty(), "two faults in one second were never tried");
        let chosen = found.chosen(&BTreeSet::new(), 100);
        assert!(!chosen.is_empty() && chosen.len() < found.corpus.len().max(2), "{}", chosen.len());
        let all: BTreeSet<&String> = found.corpus.iter().flat_map(|(_, facts)| facts).collect();
        let shown: BTreeSet<String> =
            chosen.iter().flat_map(|plan| show(plan).unwrap().signature).map(|f| format!("x: {f}")).collect();
        assert_eq!(all.len(), shown.len(), "the chosen ones show what all show");
    }
}
