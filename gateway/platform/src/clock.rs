//! Time: monotonic for every timer, wall only for what is shown, stored or signed (F23).

use std::time::Duration;

/// Wall time in milliseconds since the Unix epoch.
pub type Millis = u64;

/// A point on the monotonic clock; virtual under a paused or simulated runtime.
pub type Mono = tokio::time::Instant;

/// Time as the gateway sees it. Sleeping is `tokio::time::sleep`, which follows the same monotonic clock.
pub trait Clock: Send + Sync {
    /// Now, for timers, deadlines and expiries. Never jumps.
    fn mono(&self) -> Mono;
    /// Now in milliseconds since the Unix epoch, for what is shown, stored or signed. May jump.
    fn wall(&self) -> Millis;
}

/// What both clocks show at one moment, to carry times that were stored over a restart: the monotonic clock knows nothing
/// of an earlier process, so that only the wall clock tells how old they are. It is asked once; from then on the monotonic
/// clock counts (F23).
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// The wall clock.
    pub wall: Millis,
    /// The monotonic clock.
    pub mono: Mono,
}

impl Moment {
    /// How long ago the wall clock showed `at`; nothing for a time to come.
    pub fn age(&self, at: Millis) -> Duration {
        Duration::from_millis(self.wall.saturating_sub(at))
    }

    /// Where the monotonic clock stood when the wall clock showed `at`; now for a time to come, and for one from before
    /// the monotonic clock began.
    pub fn mono_of(&self, at: Millis) -> Mono {
        self.mono.checked_sub(self.age(at)).unwrap_or(self.mono)
    }

    /// How long it is until the wall clock shows `at`; nothing for a time gone by.
    pub fn until(&self, at: Millis) -> Duration {
        Duration::from_millis(at.saturating_sub(self.wall))
    }
}

/// Both clocks at once.
pub trait ClockExt: Clock {
    /// Now.
    fn moment(&self) -> Moment {
        Moment { wall: self.wall(), mono: self.mono() }
    }
}

impl<C: Clock + ?Sized> ClockExt for C {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f23_stored_times_are_carried_over_a_restart() {
        let mono = crate::os::OsClock.mono() + Duration::from_hours(1);
        let now = Moment { wall: 10_000, mono };
        assert_eq!(now.mono_of(7_000), mono - Duration::from_secs(3));
        assert_eq!((now.mono_of(10_001), now.age(10_001)), (mono, Duration::ZERO));
        assert_eq!((now.until(10_500), now.until(1)), (Duration::from_millis(500), Duration::ZERO));
    }
}
