//! When this gateway starts again in its process, and why: a change of the configuration may ask for it, and so may an operator.

use std::time::Duration;

use openclaw_platform::{
    Clock, Mono,
    sync::{Arc, LockExt as _, Mutex, Notify},
};

/// Restarts that are to come: one, however many asked for it.
pub struct Restarts {
    clock: Arc<dyn Clock>,
    plan: Mutex<Plan>,
    changed: Notify,
}

#[derive(Default)]
struct Plan {
    /// Changes under way that end in a restart.
    prepared: usize,
    /// When, and why.
    due: Option<(Mono, String)>,
}

impl Restarts {
    /// None to come.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, plan: Mutex::default(), changed: Notify::new() }
    }

    /// Call before the file is written: reload.rs leaves that edit to the restart, since one edit has one effect (D21).
    pub fn prepare(self: &Arc<Self>) -> Prepared {
        self.plan.locked().prepared += 1;
        Prepared { restarts: self.clone(), due: None }
    }

    /// A restart after `delay`, unless one comes earlier.
    pub fn plan(&self, delay: Duration, why: String) {
        let at = self.clock.mono() + delay;
        {
            let mut plan = self.plan.locked();
            if plan.due.as_ref().is_some_and(|(due, _)| *due <= at) {
                return;
            }
            plan.due = Some((at, why));
        }
        self.changed.notify_waiters();
    }

    /// True when a restart will come.
    pub fn is_planned(&self) -> bool {
        let plan = self.plan.locked();
        plan.prepared > 0 || plan.due.is_some()
    }

    /// Waits for the next restart; gives why.
    pub async fn due(&self) -> String {
        loop {
            let changed = self.changed.notified();
            let due = self.plan.locked().due.clone();
            match due {
                None => changed.await,
                Some((at, why)) => {
                    let left = at.saturating_duration_since(self.clock.mono());
                    if left.is_zero() {
                        return why;
                    }
                    openclaw_platform::select! {
                        () = tokio::time::sleep(left) => {}
                        () = changed => {}
                    }
                }
            }
        }
    }
}

/// A change under way. Its restart, if it is to have one, is planned when this is dropped.
pub struct Prepared {
    restarts: Arc<Restarts>,
    due: Option<(Duration, String)>,
}

impl Prepared {
    /// The change is made: the restart comes so long after this is dropped.
    #[must_use]
    pub fn after(mut self, delay: Duration, why: String) -> Self {
        self.due = Some((delay, why));
        self
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if let Some((delay, why)) = self.due.take() {
            self.restarts.plan(delay, why);
        }
        self.restarts.plan.locked().prepared -= 1;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn restarts() -> Arc<Restarts> {
        Arc::new(Restarts::new(openclaw_platform::os::without_files().clock))
    }

    #[tokio::test(start_paused = true)]
    async fn d21_however_many_ask_the_earliest_restart_is_the_one() {
        let restarts = restarts();
        assert!(restarts.due().now_or_never().is_none() && !restarts.is_planned());
        restarts.plan(Duration::from_mins(1), "later".into());
        restarts.plan(Duration::ZERO, "now".into());
        restarts.plan(Duration::from_secs(1), "between".into());
        assert!(restarts.is_planned());
        assert_eq!(restarts.due().now_or_never().as_deref(), Some("now"));
    }

    #[test]
    fn d21_a_change_that_was_not_made_restarts_nothing() {
        let restarts = restarts();
        let change = restarts.prepare();
        assert!(restarts.is_planned());
        drop(change);
        assert!(!restarts.is_planned());
        let made = restarts.prepare().after(Duration::ZERO, "made".into());
        assert!(restarts.due().now_or_never().is_none(), "whoever asked is answered first");
        drop(made);
        assert!(restarts.is_planned());
        assert_eq!(restarts.due().now_or_never().as_deref(), Some("made"));
    }
}
