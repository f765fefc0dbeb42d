//! One sample of a load, and rounds of them: gateway and floor take turns, so that what else the machine does hits both.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use hdrhistogram::Histogram;

use crate::{Result, server::Server};

/// Latencies in nanoseconds, three digits, up to a minute.
#[derive(Debug)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    /// None yet.
    pub fn new() -> Result<Self> {
        Ok(Self(Histogram::new_with_bounds(100, 60_000_000_000, 3)?))
    }
    /// One more.
    pub fn record(&mut self, latency: Duration) {
        self.0.saturating_record(latency.as_nanos() as u64);
    }
    /// In milliseconds.
    pub fn percentile(&self, percent: f64) -> f64 {
        self.0.value_at_percentile(percent) as f64 / 1e6
    }
    /// Those of another one, too.
    pub fn add(&mut self, other: &Self) {
        // Both have the same bounds.
        let _ = self.0.add(&other.0);
    }
    /// How many.
    pub fn count(&self) -> u64 {
        self.0.len()
    }
}

/// What one stretch of load gave.
#[derive(Debug)]
pub struct Sample {
    /// Operations done.
    pub done: u64,
    /// In this time.
    pub took: Duration,
    /// CPU time of the server meanwhile.
    pub cpu: Duration,
    /// Of each operation.
    pub latencies: Latencies,
}

impl Sample {
    /// Operations per second.
    pub fn rate(&self) -> f64 {
        self.done as f64 / self.took.as_secs_f64()
    }
    /// Microseconds of the server's CPU per operation.
    pub fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / (self.done.max(1)) as f64
    }
}

/// Gateway and floor.
pub struct Pair<'a> {
    /// The gateway.
    pub gateway: &'a Server,
    /// The floor; none with `--no-floor`.
    pub floor: Option<&'a Server>,
}

/// Samples of both, round by round.
pub struct Rounds<S> {
    /// Of the gateway.
    pub gateway: Vec<S>,
    /// Of the floor, of the same rounds.
    pub floor: Vec<S>,
}

impl Pair<'_> {
    /// `rounds` times: one sample of each, in turns.
    pub async fn rounds<S>(&self, rounds: usize, sample: impl AsyncFn(&Server) -> Result<S>) -> Result<Rounds<S>> {
        let mut out = Rounds { gateway: vec![], floor: vec![] };
        for _ in 0..rounds {
            if let Some(floor) = self.floor {
                out.floor.push(sample(floor).await?);
            }
            out.gateway.push(sample(self.gateway).await?);
        }
        Ok(out)
    }
}

/// Runs on a thread of its own: those who are measured meanwhile wait for the server, and not for the generator.
pub async fn apart<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    let thread = tokio::task::spawn_blocking(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(work)
    });
    thread.await?
}

/// The middle one.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

/// The first failure of many tasks.
#[derive(Debug, Default)]
pub struct FirstError(Mutex<Option<crate::Error>>);

impl FirstError {
    /// Keeps the error when it is the first.
    pub fn keep(&self, error: crate::Error) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
    /// Fails when anything did.
    pub fn check(&self) -> Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }
}
