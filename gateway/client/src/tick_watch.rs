//! Notices a connection that died without a word (F14, F24).

use std::time::Duration;

use openclaw_platform::{Millis, Mono};

/// How long an answer may take when the machine seems to have slept.
const PROBE_WAIT: Duration = Duration::from_secs(5);

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Look again at this time.
    Alive(Mono),
    /// The machine slept: send a ping and look again at this time.
    Probe(Mono),
    /// Nothing was heard for too long.
    Dead,
}

/// Two silent tick intervals end a connection. The wall clock serves for one thing only: the monotonic clock stands
/// still while a machine sleeps, so wall time running ahead of it means that the silence may be much longer than it
/// looks. A jump of the wall clock costs one ping (F23).
#[derive(Debug)]
pub(crate) struct TickWatch {
    interval: Duration,
    deadline: Mono,
    checked_mono: Mono,
    checked_wall: Millis,
}

impl TickWatch {
    pub(crate) fn new(interval: Duration, mono: Mono, wall: Millis) -> Self {
        Self { interval, deadline: mono + interval * 2, checked_mono: mono, checked_wall: wall }
    }

    /// Something arrived.
    pub(crate) fn heard(&mut self, mono: Mono) {
        self.deadline = mono + self.interval * 2;
    }

    pub(crate) fn check(&mut self, mono: Mono, wall: Millis) -> Verdict {
        if mono >= self.deadline {
            return Verdict::Dead;
        }
        let ran = mono.duration_since(self.checked_mono);
        let shown = Duration::from_millis(wall.saturating_sub(self.checked_wall));
        (self.checked_mono, self.checked_wall) = (mono, wall);
        let slept = shown.saturating_sub(ran) > self.interval;
        if slept {
            self.deadline = self.deadline.min(mono + PROBE_WAIT.min(self.interval * 2));
            Verdict::Probe(self.deadline)
        } else {
            Verdict::Alive(self.deadline.min(mono + self.interval / 2))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_secs(30);

    /// A monotonic start for arithmetic only.
    fn start() -> Mono {
        #[allow(clippy::disallowed_methods)]
        Mono::now()
    }

    #[test]
    fn f14_two_silent_intervals_end_it() {
        let t0 = start();
        let mut watch = TickWatch::new(TICK, t0, 0);
        assert_eq!(watch.check(t0, 0), Verdict::Alive(t0 + TICK / 2));
        assert_eq!(watch.check(t0 + TICK, 30_000), Verdict::Alive(t0 + TICK * 3 / 2));
        watch.heard(t0 + TICK);
        assert_eq!(watch.check(t0 + TICK * 2, 60_000), Verdict::Alive(t0 + TICK * 5 / 2));
        assert_eq!(watch.check(t0 + TICK * 3, 90_000), Verdict::Dead);
    }

    #[test]
    fn f24_a_sleep_forces_a_check_at_once() {
        let t0 = start();
        let mut watch = TickWatch::new(TICK, t0, 0);
        let woke = t0 + Duration::from_secs(1);
        assert_eq!(watch.check(woke, 3_600_000), Verdict::Probe(woke + PROBE_WAIT));
        assert_eq!(watch.check(woke + PROBE_WAIT, 3_605_000), Verdict::Dead);
    }

    #[test]
    fn f24_an_answer_to_the_probe_keeps_it() {
        let t0 = start();
        let mut watch = TickWatch::new(TICK, t0, 0);
        let woke = t0 + Duration::from_secs(1);
        watch.check(woke, 3_600_000);
        watch.heard(woke + Duration::from_millis(3));
        assert!(matches!(watch.check(woke + PROBE_WAIT, 3_605_000), Verdict::Alive(_)));
    }

    #[test]
    fn f23_a_wall_clock_set_back_is_harmless() {
        let t0 = start();
        let mut watch = TickWatch::new(TICK, t0, 1_000_000_000);
        assert!(matches!(watch.check(t0 + Duration::from_secs(1), 0), Verdict::Alive(_)));
    }
}
