//! A place in a session's queue, from before its request is accepted until its caller has been told (D34, F14).

use std::sync::Arc;

use super::{Run, RunRequest, Runs};

/// A run that waits in its session's queue and that everybody can wait for or abort, but that is not accepted yet: it
/// does not begin, nor does what waits behind it. Dropped, it gives the place back.
pub struct Reservation {
    runs: Arc<Runs>,
    run: Arc<Run>,
    is_accepted: bool,
}

impl Reservation {
    pub(super) fn new(runs: &Arc<Runs>, run: Arc<Run>) -> Self {
        Self { runs: runs.clone(), run, is_accepted: false }
    }

    /// What is asked.
    pub fn request(&self) -> &RunRequest {
        &self.run.request
    }

    /// The request is accepted for good.
    pub fn accept(mut self) -> Accepted {
        self.is_accepted = true;
        Accepted(self.run.clone())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.is_accepted {
            self.runs.withdraw(&self.run);
        }
    }
}

/// An accepted run. It begins in its turn when this is dropped: when its caller has been told, or cannot be told.
pub struct Accepted(Arc<Run>);

impl Accepted {
    /// The run.
    pub fn run(&self) -> Arc<Run> {
        self.0.clone()
    }
}

impl Drop for Accepted {
    fn drop(&mut self) {
        self.0.release();
    }
}
