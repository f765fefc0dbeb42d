//! Blocking work that waits until the test lets it run: what goes on meanwhile does not depend on it.

use std::sync::{Arc, Mutex};

use openclaw_platform::{BoxFuture, Spawner, TaskHandle, os::OsSpawner};

type Work = Box<dyn FnOnce() + Send>;

/// Open at first.
#[derive(Clone, Default)]
pub struct Gate(Arc<Mutex<Option<Vec<Work>>>>);

impl Gate {
    /// From now on blocking work waits.
    pub fn close(&self) {
        self.0.lock().unwrap().get_or_insert_default();
    }
    /// What waits runs now, and later work at once.
    pub fn open(&self) {
        let waiting = self.0.lock().unwrap().take();
        for work in waiting.into_iter().flatten() {
            OsSpawner.blocking_boxed(work);
        }
    }
    /// How much waits.
    pub fn waiting(&self) -> usize {
        self.0.lock().unwrap().as_ref().map_or(0, Vec::len)
    }
}

impl Spawner for Gate {
    fn spawn_boxed(&self, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        OsSpawner.spawn_boxed(name, task)
    }
    fn blocking_boxed(&self, work: Work) {
        match &mut *self.0.lock().unwrap() {
            Some(waiting) => waiting.push(work),
            None => OsSpawner.blocking_boxed(work),
        }
    }
}
