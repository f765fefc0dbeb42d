//! Many schedules of one test.

use shuttle::{
    Config, MaxSteps, Runner,
    scheduler::{PctScheduler, RandomScheduler, ReplayScheduler},
};

use crate::World;

/// Draws the schedules; another seed gives others.
const SEED: &str = "INTERLEAVINGS_SEED";
/// How many times as many schedules are tried.
const TIMES: &str = "INTERLEAVINGS_TIMES";
/// A schedule that a failure printed: only that one is run.
const REPLAY: &str = "INTERLEAVINGS_REPLAY";
/// Changes of priority in a schedule of the second half: a fault that needs so many points in order is found.
const DEPTH: usize = 3;
/// Steps after which a schedule counts as one that never ends.
const STEPS: usize = 200_000;
/// Bytes of stack of a thread: the database nests deeply.
const STACK: usize = 1 << 20;

/// Runs `test` under `schedules` schedules, half of them drawn step by step, half by priorities that change at few points
/// (PCT). Fails where `test` panics, where its threads wait for each other for ever, and where it does not end; what has to
/// be set to see the same again is printed.
///
/// # Panics
/// As said, and when a variable of the environment is no number.
pub fn explore(schedules: usize, test: impl Fn() + Send + Sync + Copy + 'static) {
    // Timers can be made; nothing drives them, so none fires.
    let timers = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let timers = timers.expect("a runtime without I/O can always be had");
    let _timers = timers.enter();
    Runner::new(RandomScheduler::new_from_seed(0, 1), config()).run(World::prepare);
    if let Ok(schedule) = std::env::var(REPLAY) {
        Runner::new(ReplayScheduler::new_from_encoded(&schedule), config()).run(test);
        return;
    }
    let (seed, each) = (number(SEED, 1), schedules.div_ceil(2) * number(TIMES, 1) as usize);
    eprintln!(
        "{SEED}={seed}: {each} random and {each} PCT schedules; a failing one is printed, {REPLAY} runs it again"
    );
    Runner::new(RandomScheduler::new_from_seed(seed, each), config()).run(test);
    Runner::new(PctScheduler::new_from_seed(seed, DEPTH, each), config()).run(test);
}

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = STACK;
    config.max_steps = MaxSteps::FailAfter(STEPS);
    // About orderings weaker than sequential consistency, which it does not try.
    config.silence_warnings = true;
    config
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}
