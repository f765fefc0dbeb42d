//! Places of runs that go on side by side (`agents.defaults.maxConcurrent`). A run that waits, for another run, for a person
//! or for a model that says nothing, holds none (F54).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::RUNS_ASIDE;

/// All seats.
pub struct Seats {
    parallel: Arc<Semaphore>,
    /// So many may have given theirs up and still be under way.
    aside: Arc<Semaphore>,
}

/// What one run holds.
#[derive(Default)]
pub struct Seat(Mutex<Held>);

#[derive(Default)]
struct Held {
    place: Option<OwnedSemaphorePermit>,
    /// It has stepped aside.
    aside: Option<OwnedSemaphorePermit>,
}

impl Seats {
    /// For `parallel` runs side by side, at least one.
    pub fn new(parallel: usize) -> Self {
        Self {
            parallel: Arc::new(Semaphore::new(parallel.clamp(1, Semaphore::MAX_PERMITS))),
            aside: Arc::new(Semaphore::new(RUNS_ASIDE)),
        }
    }

    /// Waits for a place; whoever came first gets one first.
    pub async fn take(&self) -> Option<OwnedSemaphorePermit> {
        self.parallel.clone().acquire_owned().await.ok()
    }

    /// Gives the run's place to others while it waits. False when too many have done so: then it keeps its place, and must
    /// not wait for another run.
    pub fn step_aside(&self, seat: &Seat) -> bool {
        let mut held = seat.lock();
        if held.place.is_some() {
            let Ok(aside) = self.aside.clone().try_acquire_owned() else { return false };
            *held = Held { place: None, aside: Some(aside) };
        }
        true
    }

    /// Takes a place again, if the run gave its own up.
    pub async fn step_back(&self, seat: &Seat) {
        let is_aside = seat.lock().aside.is_some();
        if is_aside {
            seat.sit(self.take().await);
        }
    }
}

impl Seat {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds a place from now on.
    pub(super) fn sit(&self, place: Option<OwnedSemaphorePermit>) {
        *self.lock() = Held { place, aside: None };
    }

    /// Holds nothing any more: the run has ended.
    pub(super) fn leave(&self) {
        *self.lock() = Held::default();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn f54_who_steps_aside_leaves_his_place_and_waits_for_one_to_go_on() {
        let (seats, one, other) = (Seats::new(1), Seat::default(), Seat::default());
        one.sit(seats.take().await);
        assert!(seats.take().now_or_never().is_none(), "there is one place");
        assert!(seats.step_aside(&one) && seats.step_aside(&one));
        other.sit(seats.take().await);
        assert!(seats.step_back(&one).now_or_never().is_none(), "it is the other's now");
        other.leave();
        seats.step_back(&one).await;
        assert!(seats.take().now_or_never().is_none());
    }

    #[tokio::test]
    async fn f54_so_many_may_stand_aside() {
        let all = Seats::new(RUNS_ASIDE + 1);
        let seats: Vec<Seat> = (0..=RUNS_ASIDE).map(|_| Seat::default()).collect();
        for seat in &seats {
            seat.sit(all.take().await);
        }
        let aside = seats.iter().filter(|seat| all.step_aside(seat)).count();
        assert_eq!(aside, RUNS_ASIDE);
        seats[0].leave();
        assert!(all.step_aside(&seats[RUNS_ASIDE]));
    }
}
