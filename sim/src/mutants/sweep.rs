//! The ordinary run, once without a bug and once with each: seed by seed over the scenarios that come by its place.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use openclaw_platform::sync::LockExt as _;

use super::{
    Find, Mutant, Tried,
    planted::{Place, Planted},
};
use crate::runner::{Outcome, Story};

/// A run in which no virtual time passes is given up after so long.
const WATCHDOG: &str = "20s";

/// The bugs, and what became of them so far.
pub(super) struct Sweep<'a> {
    planted: &'a Planted,
    mutants: &'a [Mutant],
    stories: Vec<Story>,
    jobs: usize,
    tried: Vec<Tried>,
}

/// A run without a bug.
struct Sound {
    outcome: Outcome,
    /// Numbers of the bugs whose places it has come by.
    reached: BTreeSet<u32>,
}

/// Goals of a scenario that runs have reached: without a bug, and with it.
type Goals = BTreeMap<usize, (BTreeSet<String>, BTreeSet<String>)>;

impl<'a> Sweep<'a> {
    pub fn new(planted: &'a Planted, mutants: &'a [Mutant], scenarios: &Path, jobs: usize) -> Result<Self, String> {
        let tried = planted.places.iter().zip(mutants).map(|(place, mutant)| Tried {
            name: mutant.name.clone(),
            what: mutant.what.clone(),
            place: mutant.place(),
            trials: vec![],
            reached: 0,
            changed: 0,
            error: if let Place::Nowhere(why) = place { Some(why.clone()) } else { None },
            harmless: None,
        });
        let stories = Story::all(scenarios).map_err(|e| e.to_string())?;
        Ok(Self { planted, mutants, stories, jobs, tried: tried.collect() })
    }

    pub fn finish(self) -> Vec<Tried> {
        self.tried
    }

    /// Looks for each bug under these seeds.
    pub fn trial(&mut self, seeds: Range<u64>, told: &(impl Fn(&str) + Sync)) -> Result<(), String> {
        let mut alive: Vec<(usize, Goals)> =
            (0..self.mutants.len()).filter(|n| self.tried[*n].error.is_none()).map(|n| (n, Goals::new())).collect();
        self.tried.iter_mut().for_each(|t| t.trials.push(None));
        let all = seeds.end - seeds.start;
        for (nth, seed) in (1..).zip(seeds) {
            let sound: Vec<(usize, Sound)> = self.sound(seed)?;
            let hunted = side_by_side(self.jobs, alive, |(bug, goals)| {
                let hunted = self.hunt(bug, seed, &sound, goals);
                if let Ok(Hunted { find: Some((scenario, oracles)), .. }) = &hunted {
                    told(&format!("{}: {} in {scenario}, seed {seed}", self.mutants[bug].name, oracles.join(", ")));
                }
                (bug, hunted)
            });
            alive = Vec::new();
            for (bug, hunted) in hunted {
                let hunted = hunted?;
                let tried = &mut self.tried[bug];
                tried.reached += hunted.reached;
                tried.changed += hunted.changed;
                match hunted.find {
                    Some((scenario, oracles)) => {
                        tried.trials.pop();
                        tried.trials.push(Some(Find { seeds: nth, scenario, oracles }));
                    }
                    None => alive.push((bug, hunted.goals)),
                }
            }
            let of = self.tried.iter().filter(|t| t.error.is_none()).count();
            told(&format!("seed {seed}: {} of {of} found", of - alive.len()));
            if alive.is_empty() {
                break;
            }
        }
        for (bug, goals) in alive {
            self.tried[bug].trials.pop();
            let found = self.missed(&goals, all);
            self.tried[bug].trials.push(found);
        }
        Ok(())
    }

    /// The run without a bug.
    fn sound(&self, seed: u64) -> Result<Vec<(usize, Sound)>, String> {
        let runs = side_by_side(self.jobs, (0..self.stories.len()).collect(), |n| {
            let file = tempfile::NamedTempFile::new().map_err(|e| e.to_string())?;
            let path = &self.stories[n].path;
            let outcome = one(&self.planted.program, path, seed, &[("SIM_MUTANTS_REACHED", file.path().into())], None)?;
            let reached = std::fs::read_to_string(file.path()).map_err(|e| e.to_string())?;
            Ok((n, Sound { outcome, reached: reached.lines().filter_map(|line| line.parse().ok()).collect() }))
        });
        runs.into_iter().collect()
    }

    fn hunt(&self, bug: usize, seed: u64, sound: &[(usize, Sound)], mut goals: Goals) -> Result<Hunted, String> {
        let mutant = &self.mutants[bug];
        let (program, chosen, reaches): (_, _, &dyn Fn(&Sound) -> bool) = match &self.planted.places[bug] {
            Place::Switch(n) => (&self.planted.program, n.to_string(), &|s: &Sound| s.reached.contains(n)),
            Place::Alone(program) => (program, String::new(), &|_: &Sound| true),
            Place::Nowhere(why) => return Err(why.clone()),
        };
        let mut order: Vec<&(usize, Sound)> = sound.iter().collect();
        // Named ones first, then what costs least.
        let cost = |sound: &Sound| (sound.outcome.cpu_s * 1e6) as u64;
        order.sort_by_key(|(n, sound)| (!mutant.scenarios.contains(&self.stories[*n].name), cost(sound)));
        let (mut reached, mut changed) = (0, 0);
        for (n, sound) in order {
            let story = &self.stories[*n];
            let both = goals.entry(*n).or_default();
            both.0.extend(sound.outcome.goals.iter().cloned());
            if !reaches(sound) {
                both.1.extend(sound.outcome.goals.iter().cloned());
                continue;
            }
            reached += 1;
            let like = Some(sound.outcome.hash.as_str());
            let oracles = match one(program, &story.path, seed, &[("SIM_MUTANT", chosen.clone().into())], like) {
                Ok(outcome) => {
                    changed += u64::from(outcome.hash != sound.outcome.hash);
                    both.1.extend(outcome.goals.iter().cloned());
                    let anyway = violated(&sound.outcome);
                    violated(&outcome).into_iter().filter(|oracle| !anyway.contains(oracle)).collect()
                }
                Err(_) => vec!["simulator".to_owned()],
            };
            if !oracles.is_empty() {
                return Ok(Hunted { find: Some((story.name.clone(), oracles)), reached, changed, goals });
            }
        }
        Ok(Hunted { find: None, reached, changed, goals })
    }

    /// A goal that the scenario demands and that no seed has reached with the bug: the ordinary run fails over it.
    fn missed(&self, goals: &Goals, seeds: u64) -> Option<Find> {
        goals.iter().find_map(|(n, (without, with))| {
            let story = &self.stories[*n];
            let lost = story.scenario.expect.sometimes.iter().find(|g| without.contains(*g) && !with.contains(*g))?;
            Some(Find { seeds, scenario: story.name.clone(), oracles: vec![format!("goal {lost}")] })
        })
    }
}

/// What one seed showed of a bug.
struct Hunted {
    find: Option<(String, Vec<String>)>,
    reached: u64,
    changed: u64,
    goals: Goals,
}

fn violated(outcome: &Outcome) -> Vec<String> {
    let oracles: BTreeSet<&String> = outcome.violations.iter().map(|v| &v.oracle).collect();
    let broken = outcome.broken.as_ref().map(|_| "simulator".to_owned());
    oracles.into_iter().cloned().chain(broken).collect()
}

/// One run in a process of its own; not judged where it is the same as that of this hash.
fn one(
    program: &Path,
    scenario: &Path,
    seed: u64,
    vars: &[(&str, PathBuf)],
    like: Option<&str>,
) -> Result<Outcome, String> {
    let output = Command::new(program)
        .arg("one")
        .arg(scenario)
        .args(["--seed", &seed.to_string(), "--watchdog", WATCHDOG])
        .args(like.into_iter().flat_map(|hash| ["--like", hash]))
        .envs(vars.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{}: {e}", program.display()))?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("{} seed {seed}: {}: {}", scenario.display(), output.status, said.lines().next().unwrap_or_default())
    })
}

/// Does `work` on each, several at a time, and gives what came of each, in their order.
fn side_by_side<T: Send, U: Send>(jobs: usize, all: Vec<T>, work: impl Fn(T) -> U + Sync) -> Vec<U> {
    let slots: Vec<Mutex<(Option<T>, Option<U>)>> = all.into_iter().map(|t| Mutex::new((Some(t), None))).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some(slot) = slots.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut slot = slot.locked();
                    slot.1 = slot.0.take().map(&work);
                }
            });
        }
    });
    slots.into_iter().filter_map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner).1).collect()
}
