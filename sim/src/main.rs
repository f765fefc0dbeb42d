//! The simulator's command line.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    ops::Range,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use sim::{
    canary::Canary,
    counters::{ALARM_AFTER, Counters},
    hunt::Shown,
    mutants::{self, Hunt},
    oracle,
    plan::{Plan, Strike, StrikeKind},
    runner::{Batch, LIVELOCK, Outcome, Story, exit, judge, try_plan, try_plan_like, try_plan_within},
    scenario,
    shrink::{Shrinker, Symptom},
    trace,
    why::Why,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs the gateway in a simulated world: one scenario file, one story; one seed, one history.
#[derive(Parser)]
#[command(name = "sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run scenarios under seeds and judge what happens.
    Run(RunArgs),
    /// Print the plan that a seed draws, or write it as a scenario in which exactly that happens.
    Plan {
        /// The scenario.
        file: PathBuf,
        /// The seed.
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// As a scenario file.
        #[arg(long)]
        toml: bool,
    },
    /// Run a plan, or the plan in a failure file, and show what happens.
    Replay {
        /// The file.
        file: PathBuf,
        /// Write the history here.
        #[arg(long)]
        trace: Option<PathBuf>,
        /// Print the outcome as JSON.
        #[arg(long)]
        json: bool,
        /// Print the outcome and the facts that `hunt` looks at, as JSON.
        #[arg(long)]
        signature: bool,
        /// A run in which no virtual time passes for so long of real time has failed.
        #[arg(long, value_parser = budget, default_value = WATCHDOG)]
        watchdog: Duration,
    },
    /// Run a scenario against the real program, over real sockets and in real time.
    Live {
        /// The scenario.
        file: PathBuf,
        /// The program.
        #[arg(long, default_value = "target/release/openclaw")]
        gateway: PathBuf,
        /// The seed.
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Write the history here.
        #[arg(long)]
        trace: Option<PathBuf>,
        /// Print the outcome as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make the plan of a failure as small as it can be and still fail, and write it as a scenario.
    Shrink {
        /// A failure file, or a plan that fails.
        file: PathBuf,
        /// The scenario to write; scenarios/regressions/NAME-SEED.toml by default.
        #[arg(long)]
        out: Option<PathBuf>,
        /// The oracle that must stay violated; the first one by default.
        #[arg(long)]
        oracle: Option<String>,
        /// Stop looking after this time.
        #[arg(long, value_parser = budget, default_value = "5m")]
        budget: Duration,
        /// A run in which no virtual time passes for so long of real time has failed.
        #[arg(long, value_parser = budget, default_value = "10s")]
        watchdog: Duration,
    },
    /// Show where two histories part, and what each has more of.
    Diff {
        /// A trace.
        a: PathBuf,
        /// Another one.
        b: PathBuf,
    },
    /// Write a history as one page that a browser shows without a network.
    View {
        /// A trace, a failure file or a plan; the latter two are run for it.
        file: PathBuf,
        /// The page; the file's name with .html by default.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Find the moment at which the violation of a failing plan was decided: what comes after a moment is drawn anew from
    /// other seeds, for one moment after the other.
    Why {
        /// A failure file or a plan.
        file: PathBuf,
        /// The scenario that it was drawn from; by its name in scenarios/ when absent.
        #[arg(long)]
        scenario: Option<PathBuf>,
        /// The oracle; the first that is violated when absent.
        #[arg(long)]
        oracle: Option<String>,
        /// So many other seeds for each moment.
        #[arg(long, default_value_t = 8)]
        seeds: u64,
        /// Write the history here as a page on which the moment is marked.
        #[arg(long)]
        out: Option<PathBuf>,
        /// Print the shares as JSON.
        #[arg(long)]
        json: bool,
        /// A run in which no virtual time passes for so long of real time has failed.
        #[arg(long, value_parser = budget, default_value = WATCHDOG)]
        watchdog: Duration,
    },
    /// Search by novelty: plans that showed something new are changed a little and tried again.
    Hunt {
        /// A scenario, or a directory of them.
        file: PathBuf,
        /// How long (60s, 10m, 8h).
        #[arg(long, value_parser = budget)]
        budget: Duration,
        /// Runs at a time.
        #[arg(long, default_value_t = 1)]
        jobs: usize,
        /// What is drawn.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Only fresh seeds, for comparison.
        #[arg(long)]
        blind: bool,
        /// Write the fewest plans that show everything here, as scenarios, at most 20.
        #[arg(long)]
        corpus: Option<PathBuf>,
        /// Print the sums as JSON.
        #[arg(long)]
        json: bool,
        /// A run in which no virtual time passes for so long of real time has failed.
        #[arg(long, value_parser = budget, default_value = WATCHDOG)]
        watchdog: Duration,
    },
    /// Show what all runs that were counted in a file have reached: sums, the rarest goals, those never reached.
    Counters {
        /// The file of `run --count`.
        file: PathBuf,
        /// The scenarios whose goals are looked for.
        #[arg(long, default_value = "scenarios")]
        scenarios: PathBuf,
        /// Write it all as a page.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Plant bugs in a copy of the gateway and count the seeds of the ordinary run until an oracle finds each.
    Mutants {
        /// Directories of patches; without this and --generate those of sim/mutants.
        patches: Vec<PathBuf>,
        /// A file or directory of the gateway, from the root of the tree, in which mistakes are made by rule.
        #[arg(long)]
        generate: Vec<PathBuf>,
        /// At most so many of the mistakes made by rule.
        #[arg(long)]
        sample: Option<usize>,
        /// The most seeds in one trial.
        #[arg(long, default_value_t = 20)]
        seeds: u64,
        /// Trials for each bug, each with other seeds; the table shows their median.
        #[arg(long, default_value_t = 3)]
        trials: u64,
        /// Only bugs with this in their name.
        #[arg(long)]
        only: Option<String>,
        /// Leave out those that cannot be switched on in the common program and take minutes to build.
        #[arg(long)]
        together: bool,
        /// Runs at a time.
        #[arg(long, default_value_t = 1)]
        jobs: usize,
        /// Print the results as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of scenario files.
    Schema,
    /// One seed, the outcome as JSON: what `run` starts for each.
    #[command(hide = true)]
    One {
        file: PathBuf,
        #[arg(long)]
        seed: u64,
        #[arg(long)]
        trace: Option<PathBuf>,
        #[arg(long)]
        canary: Option<Canary>,
        #[arg(long, requires = "at_op")]
        kind: Option<StrikeKind>,
        #[arg(long)]
        at_op: Option<u64>,
        #[arg(long, value_parser = budget, default_value = WATCHDOG)]
        watchdog: Duration,
        /// Not judged when its history has this hash: the verdict on that is known.
        #[arg(long, conflicts_with = "trace")]
        like: Option<String>,
    },
}

#[derive(Args)]
struct RunArgs {
    /// A scenario, or a directory of them.
    file: PathBuf,
    /// This seed only.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// These seeds: A..B, B not among them.
    #[arg(long, value_parser = seeds)]
    seeds: Option<Range<u64>>,
    /// After each seed's run once more for every storage operation in it, with a fault at that operation.
    #[arg(long)]
    each_storage_op: bool,
    /// That fault.
    #[arg(long, requires = "each_storage_op", default_value = "power_loss")]
    kind: StrikeKind,
    /// Processes at a time.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Begin no new seed after this time (60s, 10m, 8h); without --seed and --seeds, go on until then.
    #[arg(long, value_parser = budget)]
    budget: Option<Duration>,
    /// A run in which no virtual time passes for so long of real time has failed.
    #[arg(long, value_parser = budget, default_value = WATCHDOG)]
    watchdog: Duration,
    /// Run each seed twice, in two processes, and compare the histories.
    #[arg(long)]
    check_determinism: bool,
    /// Write the history of the one seed here, as JSON lines.
    #[arg(long, requires = "seed")]
    trace: Option<PathBuf>,
    /// Add every run to the counters in this file, which nights share; with --budget and no seeds, go on where they end.
    #[arg(long)]
    count: Option<PathBuf>,
    /// A line of JSON per run and one for the sums.
    #[arg(long)]
    json: bool,
    /// Plant nondeterminism or a livelock, to see the guard catch it.
    #[arg(long, hide = true)]
    canary: Option<Canary>,
}

/// Plans that a hunt writes at most.
const CORPUS: usize = 20;
/// [`sim::watch::PATIENCE`], as it is written.
const WATCHDOG: &str = "60s";

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("expected A..B, for example 0..200")?;
    let number = |t: &str| t.parse::<u64>().map_err(|e| format!("\"{t}\": {e}"));
    let range = number(from)?..number(to)?;
    if range.is_empty() { Err("the range is empty".into()) } else { Ok(range) }
}

fn budget(text: &str) -> Result<Duration, String> {
    let span: scenario::Span = serde_json::from_value(text.into()).map_err(|e: serde_json::Error| e.to_string())?;
    Ok(span.into())
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { exit::USAGE } else { exit::OK });
        }
    };
    match run(cli.command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("sim: {error}");
            ExitCode::from(exit::USAGE)
        }
    }
}

fn run(command: Command) -> Result<u8, String> {
    match command {
        Command::Run(args) => batch(args),
        Command::Plan { file, seed, toml } => {
            let plan = draw(&file, seed)?;
            let text = if toml { plan.to_scenario().to_toml().map_err(|e| e.to_string())? } else { json(&plan)? };
            print(&text)
        }
        Command::Replay { file, trace, json: as_json, signature, watchdog } => {
            let plan = Plan::from_json(&read(&file)?).map_err(|e| format!("{}: {e}", file.display()))?;
            let (outcome, history) = try_plan_within(&plan, watchdog);
            write_trace(trace.as_deref(), &plan, &outcome, &history)?;
            if signature {
                let shown = Shown { signature: sim::hunt::signature(&history), outcome: outcome.clone() };
                print(&json(&shown)?)?;
            } else if as_json {
                print(&json(&outcome)?)?;
            } else {
                tell(&outcome);
            }
            Ok(code(&outcome))
        }
        Command::Live { file, gateway, seed, trace, json: as_json } => {
            let plan = draw(&file, seed)?;
            let home = tempfile::tempdir().map_err(|e| e.to_string())?;
            let finished = sim::run::live(&plan, &gateway, home.path())
                .map_err(|e| format!("live run of {}: {e}", gateway.display()))?;
            let (outcome, history) = judge(&plan, finished);
            write_trace(trace.as_deref(), &plan, &outcome, &history)?;
            if as_json {
                print(&json(&outcome)?)?;
            } else {
                tell(&outcome);
            }
            if !outcome.passed() {
                println!("the program's own words: {}", home.keep().join("gateway.log").display());
            }
            Ok(code(&outcome))
        }
        Command::Shrink { file, out, oracle, budget, watchdog } => shrink(&file, out, oracle, budget, watchdog),
        Command::Diff { a, b } => {
            let text = sim::diff::diff(&read_trace(&a)?, &read_trace(&b)?);
            print(&text)?;
            Ok(if text.contains("\nThe histories are equal.") { exit::OK } else { exit::VIOLATED })
        }
        Command::View { file, out } => view(&file, out),
        Command::Why { file, scenario, oracle, seeds, out, json: as_json, watchdog } => {
            let plan = Plan::from_json(&read(&file)?).map_err(|e| format!("{}: {e}", file.display()))?;
            let scenario = scenario.unwrap_or_else(|| Path::new("scenarios").join(format!("{}.toml", plan.scenario)));
            let (why, trace) = why_of(&plan, &scenario, oracle, seeds, watchdog)?;
            if let Some(out) = out {
                write(&out, &sim::view::page(&trace, Some(&why)))?;
            }
            print(&if as_json { json(&why)? } else { sim::why::table(&why) })
        }
        Command::Hunt { file, budget, jobs, seed, blind, corpus, json: as_json, watchdog } => {
            let stories = Story::all(&file).map_err(|e| e.to_string())?;
            let show = |plan: &Plan| child(plan, watchdog, "--signature");
            let hunt = sim::hunt::Hunt { stories, budget, jobs, seed, blind, show: &show };
            let found = hunt.run(|what| eprintln!("{what}"));
            for (n, (plan, outcome)) in found.failures.iter().enumerate() {
                let label = format!("{}-hunt-{n}", plan.seed);
                let path = sim::runner::Failure::write(&label, outcome, plan).map_err(|e| e.to_string())?;
                eprintln!("replay: sim replay {}", path.display());
            }
            for plan in corpus.iter().flat_map(|_| found.chosen(&BTreeSet::new(), CORPUS)) {
                let text = plan.to_scenario().to_toml().map_err(|e| e.to_string())?;
                let name = format!("{}-{}.toml", plan.scenario, plan.seed);
                write(&corpus.clone().unwrap_or_default().join(name), &text)?;
            }
            let sums = format!(
                "{} facts in {} runs, {:.0} CPU seconds; by tenths of the time: {:?}; {} failures, {} plans kept",
                found.facts,
                found.runs,
                found.cpu_s,
                found.curve,
                found.failures.len(),
                found.corpus.len()
            );
            print(&if as_json { json(&found)? } else { sums })?;
            Ok(if found.failures.is_empty() { exit::OK } else { exit::VIOLATED })
        }
        Command::Counters { file, scenarios, out } => {
            let goals = |story: &Story| story.scenario.expect.goals().cloned().collect();
            let stories = Story::all(&scenarios).map_err(|e| e.to_string())?;
            let goals: BTreeMap<_, BTreeSet<_>> = stories.iter().map(|s| (s.name.clone(), goals(s))).collect();
            let counters = Counters::read(&file)?;
            if let Some(out) = out {
                write(&out, &counters.page(&goals))?;
            }
            print(&counters.table(&goals))?;
            // An alarm is one for scripts as well.
            let alarmed = counters.runs() >= ALARM_AFTER && !counters.never(&goals).is_empty();
            Ok(if alarmed { exit::GOAL } else { exit::OK })
        }
        Command::Mutants { mut patches, generate, sample, seeds, trials, only, together, jobs, json: as_json } => {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
            let work = root.join("target/mutants");
            if patches.is_empty() && generate.is_empty() {
                patches.push(root.join("sim/mutants"));
            }
            let hunt = Hunt { root, work, patches, generate, sample, trials, seeds, only, together, jobs };
            let tried = hunt.run(|what| eprintln!("{what}"))?;
            print(&if as_json { json(&tried)? } else { mutants::table(&tried) })?;
            let found = tried.iter().filter(|t| t.harmless.is_none()).all(|t| t.median().is_some());
            Ok(if found { exit::OK } else { exit::VIOLATED })
        }
        Command::Schema => print(&json(&scenario::schema())?),
        Command::One { file, seed, trace, canary, kind, at_op, watchdog, like } => {
            quiet();
            canary.into_iter().for_each(sim::canary::plant);
            let strike = kind.zip(at_op).map(|(kind, at_op)| Strike { kind, at_op });
            let plan = draw(&file, seed)?.struck(strike);
            let outcome = if let Some(hash) = like {
                try_plan_like(&plan, watchdog, &hash)
            } else {
                let (outcome, history) = try_plan_within(&plan, watchdog);
                write_trace(trace.as_deref(), &plan, &outcome, &history)?;
                outcome
            };
            print(&serde_json::to_string(&outcome).map_err(|e| e.to_string())?)
        }
    }
}

fn batch(args: RunArgs) -> Result<u8, String> {
    if args.trace.is_some() && args.file.is_dir() {
        return Err("--trace writes one history: name one scenario file".into());
    }
    let stories = Story::all(&args.file).map_err(|e| e.to_string())?;
    if let (Some(trace), Some(seed)) = (&args.trace, args.seed) {
        let plan = draw(&args.file, seed)?;
        let (outcome, history) = try_plan_within(&plan, args.watchdog);
        write_trace(Some(trace), &plan, &outcome, &history)?;
    }
    let batch = Batch {
        stories,
        seeds: args.seed.map(|s| s..s + 1).or(args.seeds),
        jobs: args.jobs,
        each_storage_op: args.each_storage_op.then_some(args.kind),
        budget: args.budget,
        patience: args.watchdog,
        check_determinism: args.check_determinism,
        canary: args.canary,
        count: args.count,
        json: args.json,
    };
    Ok(batch.run()?.code)
}

fn shrink(
    file: &Path,
    out: Option<PathBuf>,
    oracle: Option<String>,
    budget: Duration,
    watchdog: Duration,
) -> Result<u8, String> {
    let plan = Plan::from_json(&read(file)?).map_err(|e| format!("{}: {e}", file.display()))?;
    quiet();
    let (outcome, _) = try_plan_within(&plan, watchdog);
    let symptom = oracle.map(Symptom).or_else(|| Symptom::of(&outcome));
    let Some(symptom) = symptom.filter(|s| outcome.violations.iter().any(|v| v.oracle == s.0)) else {
        tell(&outcome);
        return Err("this plan does not fail, so there is nothing to shrink".into());
    };
    eprintln!("shrinking: {} must stay violated", symptom.0);
    // A run that could not be halted goes on in its process, so each of these has its own.
    let mut again = |plan: &Plan| {
        let outcome = || try_plan_within(plan, watchdog).0;
        if symptom.0 == LIVELOCK { elsewhere(plan, watchdog).ok() } else { Some(outcome()) }
    };
    let mut progress = |p: &Plan, runs: u32| {
        let actions: usize = p.clients.iter().map(|c| c.actions.len()).sum();
        let (clients, faults) = (p.clients.len(), p.faults.len());
        eprintln!("run {runs}: {clients} clients, {actions} actions, {faults} faults, {} ms", p.length_ms);
    };
    let shrunk = Shrinker::new(symptom.clone(), budget, &mut again, &mut progress).shrink(plan);
    let plan = shrunk.plan;
    let name = format!("{}-{}.toml", plan.scenario, plan.seed);
    let out = out.unwrap_or_else(|| PathBuf::from("scenarios/regressions").join(name));
    let (outcome, _) = try_plan_within(&plan, watchdog);
    let why = outcome.violations.iter().find(|v| v.oracle == symptom.0).map(|v| v.detail.clone()).unwrap_or_default();
    let mut scenario = plan.to_scenario();
    scenario.about = format!("Shrunk from {} seed {}: {}: {why}", plan.scenario, plan.seed, symptom.0);
    write(&out, &scenario.to_toml().map_err(|e| e.to_string())?)?;
    println!("{} after {} runs: {why}", out.display(), shrunk.runs);
    println!("see it: sim run {}", out.display());
    Ok(exit::OK)
}

fn why_of(
    plan: &Plan,
    scenario: &Path,
    oracle: Option<String>,
    seeds: u64,
    watchdog: Duration,
) -> Result<(Why, trace::Trace), String> {
    quiet();
    let (outcome, records) = try_plan_within(plan, watchdog);
    let wanted = |v: &&sim::runner::Violation| oracle.as_ref().is_none_or(|o| v.oracle == *o);
    let Some(violation) = outcome.violations.iter().find(wanted) else {
        tell(&outcome);
        return Err("this plan does not violate that, so there is nothing to ask".into());
    };
    let story = Story::read(scenario).map_err(|e| format!("{e} (name the scenario with --scenario)"))?;
    let others = (1..=seeds).map(|n| Plan::draw(&story.scenario, &story.name, plan.seed.wrapping_add(n)));
    let others: Vec<Plan> = others.collect::<Result<_, _>>().map_err(|e| e.to_string())?;
    let at = violation.at.and_then(|at| records.get(at as usize)).or(records.last());
    let violated_ms = at.map_or(plan.length_ms, |r| r.t_us / 1000 + 1).min(plan.length_ms);
    let violates = |plan: &Plan| {
        let outcome = elsewhere(plan, watchdog);
        outcome.is_ok_and(|o| o.violations.iter().any(|v| v.oracle == violation.oracle))
    };
    let why = sim::why::why(plan, &violation.oracle, violated_ms, &others, violates);
    let (header, footer) = ends(plan, &outcome, &records)?;
    Ok((why, trace::Trace { header, records, footer: Some(footer) }))
}

/// Runs a plan in a process of its own.
fn elsewhere(plan: &Plan, watchdog: Duration) -> Result<Outcome, String> {
    child(plan, watchdog, "--json")
}

/// The same, with what `replay` prints for this option.
#[allow(clippy::disallowed_types)] // the runner's own processes
fn child<T: serde::de::DeserializeOwned>(plan: &Plan, watchdog: Duration, option: &str) -> Result<T, String> {
    let home = tempfile::tempdir().map_err(|e| e.to_string())?;
    let file = home.path().join("plan.json");
    write(&file, &json(plan)?)?;
    let mut command = std::process::Command::new(std::env::current_exe().map_err(|e| e.to_string())?);
    command.arg("replay").arg(&file).args([option, "--watchdog", &format!("{}ms", watchdog.as_millis())]);
    let output = command.output().map_err(|e| e.to_string())?;
    serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())
}

fn draw(file: &Path, seed: u64) -> Result<Plan, String> {
    let story = Story::read(file).map_err(|e| e.to_string())?;
    Plan::draw(&story.scenario, &story.name, seed).map_err(|e| e.to_string())
}

fn code(outcome: &Outcome) -> u8 {
    match (&outcome.broken, outcome.violations.is_empty()) {
        (Some(_), _) => exit::BROKEN,
        (None, false) => exit::VIOLATED,
        (None, true) => exit::OK,
    }
}

fn tell(outcome: &Outcome) {
    let Outcome { scenario, seed, records, hash, simulated_s, .. } = outcome;
    println!("{scenario} seed {seed}: {records} records in {simulated_s:.1} simulated seconds, hash {hash}");
    if let Some(error) = &outcome.broken {
        println!("the simulator failed: {error}");
    }
    for v in &outcome.violations {
        let at = v.at.map_or_else(String::new, |at| format!(" at record {at}"));
        println!("{}{at}: {}", v.oracle, v.detail);
    }
    if outcome.passed() {
        println!("everything held");
    }
}

fn write_trace(
    path: Option<&Path>,
    plan: &Plan,
    outcome: &Outcome,
    history: &[sim::history::Record],
) -> Result<(), String> {
    let Some(path) = path else { return Ok(()) };
    let mut text = Vec::new();
    let (header, footer) = ends(plan, outcome, history)?;
    trace::write(&mut text, &header, history, &footer).map_err(|e| e.to_string())?;
    write(path, &String::from_utf8_lossy(&text))
}

/// The first and the last line of a trace.
fn ends(
    plan: &Plan,
    outcome: &Outcome,
    history: &[sim::history::Record],
) -> Result<(trace::Header, trace::Footer), String> {
    let commit = option_env!("SIM_COMMIT").map(str::to_owned);
    let verdicts = oracle::judge(history, &oracle::Expect::of(plan)?);
    Ok((trace::Header::of(plan, commit), trace::Footer::of(history, outcome.draws, &verdicts)))
}

#[allow(clippy::disallowed_methods, clippy::disallowed_types)] // the runner's own files
fn read_trace(path: &Path) -> Result<trace::Trace, String> {
    let file = std::fs::File::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
    trace::read(std::io::BufReader::new(file)).map_err(|e| format!("{}: {e}", path.display()))
}

fn view(file: &Path, out: Option<PathBuf>) -> Result<u8, String> {
    let trace = match read(file).and_then(|text| Plan::from_json(&text)) {
        Ok(plan) => {
            quiet();
            let (outcome, records) = try_plan(&plan);
            let (header, footer) = ends(&plan, &outcome, &records)?;
            trace::Trace { header, records, footer: Some(footer) }
        }
        Err(_) => read_trace(file)?,
    };
    let out = out.unwrap_or_else(|| file.with_extension("html"));
    write(&out, &sim::view::page(&trace, None))?;
    print(&format!("{}: {} records", out.display(), trace.records.len()))
}

/// A child's panics are in its outcome; the default hook would print them with addresses and backtraces.
fn quiet() {
    std::panic::set_hook(Box::new(|panic| {
        if std::env::var_os("RUST_BACKTRACE").is_some() {
            eprintln!("{panic}\n{}", std::backtrace::Backtrace::force_capture());
        }
    }));
}

fn json(value: &impl serde::Serialize) -> Result<String, String> {
    serde_json::to_string_pretty(value).map_err(|e| e.to_string())
}

fn print(text: &str) -> Result<u8, String> {
    match writeln!(std::io::stdout(), "{}", text.trim_end()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e.to_string()),
        _ => Ok(exit::OK),
    }
}

#[allow(clippy::disallowed_methods)] // the runner's own files
fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

#[allow(clippy::disallowed_methods)] // the runner's own files
fn write(path: &Path, text: &str) -> Result<(), String> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    }
    std::fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
}
