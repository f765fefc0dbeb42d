//! Latency over load: requests at rates that grow until the server does not keep up.

use std::time::Duration;

use serde::Serialize;

use crate::{
    Result,
    measure::{Pair, Rounds, Sample, median},
    progress,
    requests::Request,
    rpc::{self, Pace},
};

/// One rate.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Point {
    /// Requests per second asked for.
    pub rate: f64,
    /// Median of the rounds, milliseconds.
    pub p50_ms: f64,
    /// The same of the slowest hundredth.
    pub p99_ms: f64,
}

/// The points of both.
#[derive(Debug, Default, Serialize)]
pub struct Curves {
    /// The gateway's.
    pub gateway: Vec<Point>,
    /// The floor's.
    pub floor: Vec<Point>,
}

/// From a thousand a second, doubling.
const FIRST: f64 = 1000.0;
const STEPS: i32 = 12;
const CONNECTIONS: usize = 16;

/// Runs each rate until neither keeps up.
pub async fn run(pair: &Pair<'_>, request: Request, rounds: usize, window: Duration) -> Result<Curves> {
    let mut curves = Curves::default();
    let point = |rate: f64, samples: &[Option<Sample>]| {
        let all: Option<Vec<&Sample>> = samples.iter().map(Option::as_ref).collect();
        let all = all.filter(|a| !a.is_empty())?;
        let at = |percent: f64| median(all.iter().map(|s| s.latencies.percentile(percent)));
        // What was asked for was not reached: the generator or the server is at its end.
        let reached = median(all.iter().map(|s| s.rate())) > 0.95 * rate;
        reached.then(|| Point { rate, p50_ms: at(50.0), p99_ms: at(99.0) })
    };
    for step in 0..STEPS {
        let rate = FIRST * f64::from(2_i32.pow(step.unsigned_abs()));
        progress(&format!("{} at {rate:.0} a second", request.method()));
        let sample = async |server: &_| rpc::run(server, request, CONNECTIONS, Pace::Rate(rate), window).await;
        let Rounds { gateway, floor } = pair.rounds(rounds, sample).await?;
        let (gateway, floor) = (point(rate, &gateway), point(rate, &floor));
        if gateway.is_none() && floor.is_none() {
            break;
        }
        curves.gateway.extend(gateway);
        curves.floor.extend(floor);
    }
    Ok(curves)
}
