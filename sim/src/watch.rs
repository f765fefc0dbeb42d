//! The watchdog: a run in which no virtual time passes any more is ended from outside and says what kept it.
//!
//! Two things stop the virtual clock: a future that never comes back from one poll, and tasks that wake each other for
//! ever. Both are found by real time, counted in naps of the thread that waits, so that a machine that sleeps or a
//! process that is suspended is not taken for one. The world is then asked to halt: the seams panic inside the poll that
//! asks them for anything (time, chance), and no task is polled more than once again. Whatever woke a task on the way is
//! on record with its stack. A future that asks for nothing cannot be stopped from inside its process: its thread is
//! left behind, and the name of its task is all that is known.

use std::{
    backtrace::Backtrace,
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    task::{Wake, Waker},
    time::Duration,
};

use openclaw_platform::sync::LockExt as _;

/// Real time without virtual time after which a run has failed, unless it is told otherwise.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// How often the waiting thread looks.
const NAP: Duration = Duration::from_millis(100);
/// Naps that a halted world has to come to rest.
const GRACE: u32 = 50;
/// Stacks that are kept.
const STACKS: usize = 3;
/// Frames shown of one stack.
const FRAMES: usize = 24;

/// Tasks that have not ended, by name.
pub(crate) type Live = Arc<Mutex<BTreeMap<&'static str, u64>>>;

/// What the simulation tells and the watchdog reads; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Watch(Arc<State>);

#[derive(Debug, Default)]
struct State {
    steps: AtomicU64,
    /// Virtual microseconds at the last step.
    at_us: AtomicU64,
    halted: AtomicBool,
    polled: Mutex<Option<&'static str>>,
    spawners: Mutex<Vec<Live>>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// The task that was being polled when the patience ended, and those that lived then.
    polled: Option<&'static str>,
    live: BTreeMap<&'static str, u64>,
    /// Tasks that were polled after it.
    ran: BTreeSet<&'static str>,
    /// Stacks of what kept tasks awake, by task.
    stacks: Vec<(&'static str, String)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.locked()
}

impl Watch {
    /// Virtual time has passed.
    pub fn step(&self, elapsed: Duration) {
        self.0.at_us.store(elapsed.as_micros() as u64, Ordering::Relaxed);
        self.0.steps.fetch_add(1, Ordering::Relaxed);
    }

    /// True when the run is to end.
    pub fn halted(&self) -> bool {
        self.0.halted.load(Ordering::Relaxed)
    }

    /// Waits for a result of the simulation's thread. `None` when the thread has ended without one, or does not end
    /// although it was halted after `patience` without a step.
    pub fn wait<T>(&self, result: &Receiver<T>, patience: Duration) -> Option<T> {
        let patience = u32::try_from(patience.as_millis() / NAP.as_millis()).unwrap_or(u32::MAX).max(1);
        let (mut seen, mut naps) = (0, 0_u32);
        loop {
            match result.recv_timeout(NAP) {
                Ok(result) => return Some(result),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let steps = self.0.steps.load(Ordering::Relaxed);
            naps = if steps == seen { naps.saturating_add(1) } else { 0 };
            seen = steps;
            if naps == patience {
                self.halt();
            }
            if self.halted() && naps >= patience.saturating_add(GRACE) {
                return None;
            }
        }
    }

    /// What kept the clock from going on, in words.
    pub fn report(&self) -> String {
        let at = self.0.at_us.load(Ordering::Relaxed) as f64 / 1e6;
        let seen = lock(&self.0.seen);
        let mut text = format!("no virtual time passed any more after {at:.3} s");
        match seen.polled {
            Some(task) => drop(write!(text, ": the task \"{task}\" was being polled")),
            None => text.push_str(": tasks woke each other"),
        }
        let live: Vec<_> = seen.live.iter().map(|(task, count)| format!("{count} {task}")).collect();
        let _ = write!(text, "; tasks that lived: {}", if live.is_empty() { "none".into() } else { live.join(", ") });
        if !seen.ran.is_empty() {
            let ran: Vec<_> = seen.ran.iter().copied().collect();
            let _ = write!(text, "; tasks that wanted to go on: {}", ran.join(", "));
        }
        if seen.stacks.is_empty() {
            text.push_str("; nothing called where it could be stopped, so there is no stack");
        }
        // Where the task that was being polled has told its own, the others only tell of the end.
        let told = seen.polled.filter(|polled| seen.stacks.iter().any(|(task, _)| task == polled));
        for (task, stack) in seen.stacks.iter().filter(|(task, _)| told.is_none_or(|told| told == *task)) {
            let _ = write!(text, "\nstack of \"{task}\":\n{stack}");
        }
        text
    }

    /// Counts the tasks of a spawner among those that live.
    pub(crate) fn add(&self, live: &Live) {
        lock(&self.0.spawners).push(live.clone());
    }

    /// Marks the task that is polled for as long as the result lives.
    pub(crate) fn polling(&self, task: &'static str) -> Polling<'_> {
        Polling(self, lock(&self.0.polled).replace(task))
    }

    /// Called by the seams.
    ///
    /// # Panics
    /// In a halted world, out of the poll that would not end.
    pub(crate) fn check(&self) {
        assert!(!self.halted() || !self.witness() || std::thread::panicking(), "halted by the watchdog");
    }

    /// A waker for the last poll of a task: it keeps the stack of who wakes the task in it.
    pub(crate) fn last_waker(&self, name: &'static str, task: &Waker) -> Waker {
        lock(&self.0.seen).ran.insert(name);
        Arc::new(Witness(self.clone(), task.clone())).into()
    }

    /// Keeps the stack if this is in a poll.
    fn witness(&self) -> bool {
        let Some(task) = *lock(&self.0.polled) else { return false };
        let mut seen = lock(&self.0.seen);
        if seen.stacks.len() < STACKS && seen.stacks.iter().all(|(other, _)| *other != task) {
            seen.stacks.push((task, shown(&Backtrace::force_capture().to_string())));
        }
        true
    }

    fn halt(&self) {
        let mut seen = lock(&self.0.seen);
        seen.polled = *lock(&self.0.polled);
        for live in lock(&self.0.spawners).iter() {
            for (task, count) in lock(live).iter() {
                *seen.live.entry(task).or_default() += count;
            }
        }
        self.0.halted.store(true, Ordering::Relaxed);
    }
}

/// See [`Watch::polling`]; one task may poll another (a host's own future).
pub(crate) struct Polling<'a>(&'a Watch, Option<&'static str>);

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        *lock(&self.0.0.polled) = self.1;
    }
}

struct Witness(Watch, Waker);

impl Wake for Witness {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        self.0.witness();
        self.1.wake_by_ref();
    }
}

/// The frames of a backtrace that are the project's own, from the inside out.
fn shown(backtrace: &str) -> String {
    let mut frames: Vec<String> = Vec::new();
    let mut lines = backtrace.lines().map(str::trim).peekable();
    while let Some(line) = lines.next() {
        let name = line.split_once(": ").map_or(line, |(_, name)| name);
        let place = lines.next_if(|next| next.starts_with("at ")).and_then(|place| place.strip_prefix("at "));
        let is_own = match place {
            Some(place) => !place.contains("/rustc/") && !place.contains("/registry/src/"),
            None => {
                ["openclaw", "sim::", "fakes::"].iter().any(|crates| name.trim_start_matches('<').starts_with(crates))
            }
        };
        if place.is_some_and(|place| place.contains("src/run.rs")) || name.starts_with("sim::run::") {
            break;
        }
        let is_seam = |file: &str| place.is_some_and(|place| place.contains(file));
        if is_own && !is_seam("src/watch.rs") && !is_seam("src/spawner.rs") && !name.contains("sim::watch") {
            // What types it is made for says nothing and fills pages.
            let name = if name.starts_with('<') { name } else { name.split('<').next().unwrap_or(name) };
            frames.push(place.map_or_else(|| format!("  {name}"), |place| format!("  {name} ({place})")));
        }
    }
    frames.truncate(FRAMES);
    if frames.is_empty() {
        return "  no names in this program: build it with CARGO_PROFILE_RELEASE_STRIP=none".into();
    }
    frames.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_frames_are_shown_with_their_places() {
        let text = "   0: std::backtrace::x\n             at /rustc/1\n   1: openclaw_server::runs::quiet\n             at ./a.rs:3\n   2: tokio::y\n";
        assert_eq!(shown(text), "  openclaw_server::runs::quiet (./a.rs:3)");
        assert!(shown("   0: <unknown>\n").contains("STRIP=none"));
    }
}
