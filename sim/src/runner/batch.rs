#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // the runner itself lives in the real world

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{IsTerminal as _, Write as _},
    ops::Range,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use openclaw_platform::sync::LockExt as _;

use clap::ValueEnum;
use serde::Serialize;

use super::{Divergence, Failure, Outcome, Story, directory, exit, table};
use crate::{
    canary::Canary,
    counters::Counters,
    plan::{Plan, Strike, StrikeKind},
};

/// Scenarios under seeds.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Which scenarios.
    pub stories: Vec<Story>,
    /// Which seeds; the scenarios' own numbers when absent.
    pub seeds: Option<Range<u64>>,
    /// Processes at a time.
    pub jobs: usize,
    /// After each seed's run as the scenario has it: once more for every storage operation of that run, with this fault
    /// at the operation.
    pub each_storage_op: Option<StrikeKind>,
    /// No new seed is begun after this time; without `seeds` they go on until then.
    pub budget: Option<Duration>,
    /// A run in which no virtual time passes for so long of real time has failed.
    pub patience: Duration,
    /// Each seed twice, and both the same.
    pub check_determinism: bool,
    /// Planted in every run: a guard has to catch it.
    pub canary: Option<Canary>,
    /// Every run is added to the counters in this file.
    pub count: Option<PathBuf>,
    /// A line of JSON per outcome instead of words.
    pub json: bool,
}

/// One run.
#[derive(Debug, Clone, Copy)]
struct Work {
    /// Number of the scenario.
    story: usize,
    seed: u64,
    strike: Option<Strike>,
}

impl Work {
    /// What it is called in a report: `7`, `7-power_loss-at-12`.
    fn label(&self) -> String {
        self.strike.map_or_else(|| self.seed.to_string(), |strike| format!("{}-{strike}", self.seed))
    }
}

/// Its result.
struct Tried {
    outcome: Result<Outcome, String>,
    divergence: Option<String>,
}

/// What a batch came to.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// By scenario.
    pub rows: BTreeMap<String, Row>,
    /// Rare branches of the gateway ([`crate::claims::SOMETIMES`]) that no run has reached.
    pub unreached: BTreeSet<&'static str>,
    /// Exit code.
    pub code: u8,
    /// With [`Batch::count`].
    #[serde(skip)]
    counters: Option<Counters>,
}

/// One scenario's sums.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Row {
    /// Runs.
    pub seeds: u64,
    /// Those that failed, each by its seed (and fault) with its reason.
    pub failed: BTreeMap<String, String>,
    /// Those that gave two histories.
    pub diverged: BTreeSet<String>,
    /// Those in which the simulator itself failed.
    pub broken: BTreeSet<String>,
    /// Goals that no seed has reached.
    pub missed: BTreeSet<String>,
    /// Rare goals that no seed has reached: no failure.
    pub missed_rare: BTreeSet<String>,
    /// Simulated seconds.
    pub simulated_s: f64,
    /// CPU seconds.
    pub cpu_s: f64,
}

impl Batch {
    /// Runs everything; prints failures as they come.
    ///
    /// # Errors
    /// When the file of the counters cannot be read or written.
    pub fn run(&self) -> Result<Report, String> {
        let begun = Instant::now();
        let unreached = crate::claims::SOMETIMES.iter().copied().collect();
        let counters = self.count.as_ref().map(|file| Counters::read(file)).transpose()?;
        // Nights go on where the last one ended.
        let first = counters.as_ref().map_or(0, Counters::seeds_to);
        let results = Mutex::new(Report { unreached, counters, ..Report::default() });
        for story in &self.stories {
            let of = |goals: &[String]| goals.iter().cloned().collect();
            let expect = &story.scenario.expect;
            let row = Row { missed: of(&expect.sometimes), missed_rare: of(&expect.rare), ..Row::default() };
            lock(&results).rows.insert(story.name.clone(), row);
        }
        let work = self.work(first);
        let counted = self.all(begun, &results, self.budget.is_none().then_some(work.len()), |n| self.nth(&work, n));
        if let Some(kind) = self.each_storage_op {
            let mut strikes = Vec::new();
            for (work, operations) in counted {
                let strike = |at_op| Work { strike: Some(Strike { kind, at_op }), ..work };
                strikes.extend((1..=operations).map(strike));
            }
            self.all(begun, &results, Some(strikes.len()), |n| strikes.get(n).copied());
        }
        let mut report = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.code = report.verdict();
        if let (Some(file), Some(counters)) = (&self.count, &report.counters) {
            counters.write(file)?;
        }
        if self.json {
            println!("{}", serde_json::to_string(&report).unwrap_or_default());
        } else {
            print!("{}", table::show(&report, begun.elapsed()));
            // One story reaches few of them, and need not reach more.
            if self.stories.len() > 1 && !report.unreached.is_empty() {
                let names: Vec<&str> = report.unreached.iter().copied().collect();
                println!("branches of the gateway that no run has reached: {}", names.join(", "));
            }
            println!("{}", report.reason());
        }
        Ok(report)
    }

    /// Does all the work that `nth` gives, several at a time; returns what has passed, with its storage operations.
    fn all(
        &self,
        begun: Instant,
        results: &Mutex<Report>,
        total: Option<usize>,
        nth: impl Fn(usize) -> Option<Work> + Sync,
    ) -> Vec<(Work, u64)> {
        let (next, passed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(|| {
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if self.budget.is_some_and(|b| begun.elapsed() >= b) {
                            return;
                        }
                        let Some(work) = nth(n) else { return };
                        let tried = self.attempt(work);
                        if let Ok(outcome) = &tried.outcome
                            && outcome.passed()
                        {
                            lock(&passed).push((work, outcome.storage_ops));
                        }
                        self.take(work, tried, &mut lock(results));
                        self.progress(n + 1, total);
                    }
                });
            }
        });
        passed.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seed by seed over all scenarios, so that a budget is shared.
    fn work(&self, first: u64) -> Vec<(usize, u64)> {
        let endless = self.budget.is_some() && self.seeds.is_none();
        let of = |story: &Story| match (&self.seeds, story.scenario.run.seed) {
            (_, Some(seed)) => seed..seed + 1,
            (Some(seeds), None) => seeds.clone(),
            (None, None) if endless => first..first + story.scenario.run.seeds,
            (None, None) => 0..story.scenario.run.seeds,
        };
        let seeds = self.stories.iter().enumerate().flat_map(|(n, story)| of(story).map(move |seed| (n, seed)));
        let mut work: Vec<_> = seeds.collect();
        work.sort_by_key(|(_, seed)| *seed);
        work
    }

    /// The work to be done as the `n`th; with a budget and no seeds named it never ends.
    fn nth(&self, work: &[(usize, u64)], n: usize) -> Option<Work> {
        let endless = self.budget.is_some() && self.seeds.is_none() && self.each_storage_op.is_none();
        let found = work.get(n).copied().or_else(|| {
            let drawn: Vec<_> =
                (0..self.stories.len()).filter(|s| self.stories[*s].scenario.run.seed.is_none()).collect();
            let beyond = n - work.len();
            let last = work.iter().map(|(_, seed)| *seed).max().unwrap_or(0);
            (endless && !drawn.is_empty())
                .then(|| (drawn[beyond % drawn.len()], last + 1 + (beyond / drawn.len()) as u64))
        });
        found.map(|(story, seed)| Work { story, seed, strike: None })
    }

    fn attempt(&self, work: Work) -> Tried {
        let outcome = self.child(work, None, None);
        let mut divergence = None;
        // A run that the watchdog ended breaks off anywhere.
        if self.check_determinism
            && let Ok(first) = &outcome
            && !first.is_livelock()
        {
            match self.child(work, None, Some(first)) {
                Ok(second) if same(first, &second) => {}
                Ok(second) => divergence = Some(self.parted(work, first, &second)),
                Err(error) => divergence = Some(format!("the second run failed: {error}")),
            }
        }
        Tried { outcome, divergence }
    }

    /// One run in a new process; not judged where it is the same as `like`.
    fn child(&self, work: Work, trace: Option<&Path>, like: Option<&Outcome>) -> Result<Outcome, String> {
        let exe = this_program().map_err(|e| e.to_string())?;
        let mut command = Command::new(exe);
        // Memory that is freed is wanted again in the next moment: not given back to the system it need not be cleared anew.
        command.env("MIMALLOC_PURGE_DELAY", "-1");
        command.arg("one").arg(&self.stories[work.story].path).arg("--seed").arg(work.seed.to_string());
        command.arg("--watchdog").arg(format!("{}ms", self.patience.as_millis()));
        if let Some(Strike { kind, at_op }) = work.strike {
            command.arg("--kind").arg(name(&kind)).arg("--at-op").arg(at_op.to_string());
        }
        if let Some(trace) = trace {
            command.arg("--trace").arg(trace);
        }
        if let Some(like) = like {
            command.arg("--like").arg(&like.hash);
        }
        if let Some(canary) = self.canary {
            command.arg("--canary").arg(name(&canary));
        }
        let child: Child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| e.to_string())?;
        let output = child.wait_with_output().map_err(|e| e.to_string())?;
        serde_json::from_slice(&output.stdout).map_err(|_| {
            let said = String::from_utf8_lossy(&output.stderr);
            format!("{}: {}", output.status, said.lines().take(12).collect::<Vec<_>>().join(" | "))
        })
    }

    /// Where two runs of a seed part: both again, with traces.
    fn parted(&self, work: Work, first: &Outcome, second: &Outcome) -> String {
        let sums = format!(
            "hash {} and {}, records {} and {}, draws {} and {}",
            first.hash, second.hash, first.records, second.records, first.draws, second.draws
        );
        let file = |n| -> PathBuf {
            directory().join(format!("{}-{}-run{n}.jsonl", self.stories[work.story].name, work.label()))
        };
        // A difference need not show again; each attempt is another chance.
        for _ in 0..5 {
            let (one, two) = (file(1), file(2));
            let runs = self.child(work, Some(&one), None).and(self.child(work, Some(&two), None));
            if let (Ok(_), Ok(Some(divergence))) = (runs, Divergence::of_files(&one, &two)) {
                return format!("{sums}\n  first different record {}:\n{divergence}", divergence.at);
            }
        }
        sums
    }

    fn take(&self, work: Work, tried: Tried, report: &mut Report) {
        let story = &self.stories[work.story];
        let label = work.label();
        let row = report.rows.entry(story.name.clone()).or_default();
        row.seeds += 1;
        if let Some(text) = &tried.divergence {
            row.diverged.insert(label.clone());
            say(&format!("{} seed {label}: two histories: {text}", story.name));
        }
        let outcome = match tried.outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                say(&format!("{} seed {label}: the simulator failed: {error}", story.name));
                row.broken.insert(label);
                return;
            }
        };
        if let Some(counters) = &mut report.counters {
            counters.add(&outcome);
        }
        row.simulated_s += outcome.simulated_s;
        row.cpu_s += outcome.cpu_s;
        for goal in &outcome.goals {
            row.missed.remove(goal);
            if let Some(name) = goal.strip_prefix("probe ") {
                report.unreached.remove(name);
            }
            row.missed_rare.remove(goal);
        }
        if self.json {
            println!("{}", serde_json::to_string(&outcome).unwrap_or_default());
        }
        if let Some(error) = &outcome.broken {
            say(&format!("{} seed {label}: the simulator failed: {error}", story.name));
            row.broken.insert(label);
        } else if let Some(first) = outcome.violations.first() {
            row.failed.insert(label.clone(), first.oracle.clone());
            let written = Plan::draw(&story.scenario, &story.name, work.seed)
                .map_err(|e| e.to_string())
                .map(|plan| plan.struck(work.strike))
                .and_then(|plan| Failure::write(&label, &outcome, &plan).map_err(|e| e.to_string()));
            let place = written.map_or_else(|e| e, |path| path.display().to_string());
            for v in &outcome.violations {
                let at = v.at.map_or_else(String::new, |at| format!(" at record {at}"));
                say(&format!("{} seed {label}: {}{at}: {}", story.name, v.oracle, v.detail));
            }
            say(&format!("  replay: sim replay {place}"));
        }
    }

    fn progress(&self, done: usize, total: Option<usize>) {
        if self.json || !std::io::stderr().is_terminal() {
            return;
        }
        match total {
            Some(total) => eprint!("\r{done}/{total} runs"),
            None => eprint!("\r{done} runs"),
        }
        let _ = std::io::stderr().flush();
    }
}

/// How the command line spells it.
fn name(value: &impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.locked()
}

/// A line for the person who watches.
fn say(text: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
    eprintln!("{text}");
}

/// The program that runs now, also when a build has put another one in its place.
fn this_program() -> std::io::Result<PathBuf> {
    if cfg!(target_os = "linux") { Ok(PathBuf::from("/proc/self/exe")) } else { std::env::current_exe() }
}

fn same(one: &Outcome, two: &Outcome) -> bool {
    (&one.hash, one.records, one.draws) == (&two.hash, two.records, two.draws)
}

impl Report {
    /// Why the exit code is what it is.
    fn reason(&self) -> String {
        let of = |test: fn(&Row) -> bool| {
            let names: Vec<&str> = self.rows.iter().filter(|(_, r)| test(r)).map(|(name, _)| name.as_str()).collect();
            names.join(", ")
        };
        let why = match self.code {
            exit::BROKEN => format!("the simulator itself failed in {}", of(|r| !r.broken.is_empty())),
            exit::NONDETERMINISM => format!("a seed gave two histories in {}", of(|r| !r.diverged.is_empty())),
            exit::VIOLATED => format!("an oracle was violated in {}", of(|r| !r.failed.is_empty())),
            exit::GOAL => format!("no seed reached a goal of {}", of(|r| r.seeds > 0 && !r.missed.is_empty())),
            _ => "everything held, and every goal was reached".to_owned(),
        };
        format!("exit code {}: {why}", self.code)
    }

    fn verdict(&self) -> u8 {
        let any = |test: fn(&Row) -> bool| self.rows.values().any(test);
        if any(|r| !r.broken.is_empty()) {
            exit::BROKEN
        } else if any(|r| !r.diverged.is_empty()) {
            exit::NONDETERMINISM
        } else if any(|r| !r.failed.is_empty()) {
            exit::VIOLATED
        } else if any(|r| r.seeds > 0 && !r.missed.is_empty()) {
            exit::GOAL
        } else {
            exit::OK
        }
    }
}
