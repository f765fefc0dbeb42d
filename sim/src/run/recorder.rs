use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use openclaw_platform::{Mono, sync::LockExt as _};

use crate::{
    history::{Decoder, Record, What},
    secret::Credentials,
};

/// Writes the history; clones write the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct Recorder(Arc<Mutex<State>>, Decoder, Credentials);

#[derive(Debug, Default)]
struct State {
    records: Vec<Record>,
    outside: Duration,
    /// Of a live run.
    start: Option<Mono>,
}

impl Recorder {
    /// Records in real time, from now on.
    pub fn live(start: Mono) -> Self {
        Self(
            Arc::new(Mutex::new(State { start: Some(start), ..State::default() })),
            Decoder::default(),
            Credentials::default(),
        )
    }

    /// Decodes what clients receive.
    pub fn decoder(&self) -> &Decoder {
        &self.1
    }

    /// Credentials of this run.
    pub fn credentials(&self) -> &Credentials {
        &self.2
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.locked()
    }

    /// Sets the time for what happens between steps, where no host is running.
    pub fn outside(&self, now: Duration) {
        self.lock().outside = now;
    }

    /// Adds a record, now.
    pub fn record(&self, host: &str, what: What) {
        let inside = turmoil::sim_elapsed();
        let mut state = self.lock();
        let outside = state.start.map_or(state.outside, |start| start.elapsed());
        let t_us = inside.unwrap_or(outside).as_micros() as u64;
        let i = state.records.len() as u64;
        state.records.push(Record { i, t_us, host: host.to_owned(), what });
    }

    /// The whole history; what is recorded later begins a new one.
    pub fn take(&self) -> Vec<Record> {
        std::mem::take(&mut self.lock().records)
    }
}
