//! Figures: medians, ratios to the floor, targets; as a table or as JSON.

use serde::Serialize;

use crate::measure::{Rounds, Sample, median};

/// What a figure should be.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// None is set.
    None,
    /// At least this times the floor's.
    RatioAtLeast(f64),
    /// At most this times the floor's.
    RatioAtMost(f64),
    /// At most this.
    AtMost(f64),
}

/// One figure.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figure {
    /// The load.
    pub load: String,
    /// What of it.
    pub what: String,
    /// Median over the rounds.
    pub gateway: f64,
    /// Smallest and largest of the rounds.
    pub spread: [f64; 2],
    /// The floor's median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<f64>,
    /// Median of the rounds' ratios, gateway to floor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// What it should be, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Whether it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
}

impl Figure {
    /// From the rounds' values; `floor` is empty when there was none.
    pub fn new(load: &str, what: &str, gateway: &[f64], floor: &[f64], target: Target) -> Self {
        let ratios = gateway.iter().zip(floor).filter(|(_, f)| **f > 0.0).map(|(g, f)| g / f);
        let ratio = Some(median(ratios)).filter(|r| r.is_finite());
        let value = median(gateway.iter().copied());
        let (target, met) = match target {
            Target::None => (None, None),
            Target::RatioAtLeast(n) => (Some(format!(">= {n} x floor")), ratio.map(|r| r >= n)),
            Target::RatioAtMost(n) => (Some(format!("<= {n} x floor")), ratio.map(|r| r <= n)),
            Target::AtMost(n) => (Some(format!("<= {n}")), Some(value <= n)),
        };
        Self {
            load: load.to_owned(),
            what: what.to_owned(),
            gateway: value,
            spread: [
                gateway.iter().copied().fold(f64::INFINITY, f64::min),
                gateway.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            ],
            floor: Some(median(floor.iter().copied())).filter(|f| f.is_finite()),
            ratio,
            target,
            met,
        }
    }

    /// Rate, latencies and CPU of one load.
    pub fn of_rounds(load: &str, per: &str, rounds: &Rounds<Sample>, rate: Target, p99: Target) -> Vec<Self> {
        let values = |f: &dyn Fn(&Sample) -> f64| -> (Vec<f64>, Vec<f64>) {
            (rounds.gateway.iter().map(f).collect(), rounds.floor.iter().map(f).collect())
        };
        let figure = |what: &str, f: &dyn Fn(&Sample) -> f64, target: Target| {
            let (gateway, floor) = values(f);
            Self::new(load, what, &gateway, &floor, target)
        };
        vec![
            figure(&format!("{per}/s"), &Sample::rate, rate),
            figure("p50 ms", &|s| s.latencies.percentile(50.0), Target::None),
            figure("p99 ms", &|s| s.latencies.percentile(99.0), p99),
            figure("p99.9 ms", &|s| s.latencies.percentile(99.9), Target::None),
            figure("server CPU us each", &Sample::cpu_us, Target::None),
        ]
    }

    /// A line of the table.
    pub fn line(&self) -> String {
        let number = |n: f64| match n.abs() {
            _ if n.is_nan() => "-".to_owned(),
            a if a >= 10_000.0 => format!("{n:.0}"),
            a if a >= 100.0 => format!("{n:.1}"),
            _ => format!("{n:.3}"),
        };
        let optional = |n: Option<f64>| n.map_or_else(|| "-".to_owned(), number);
        let target = match (&self.target, self.met) {
            (Some(target), Some(true)) => format!("{target}: met"),
            (Some(target), Some(false)) => format!("{target}: MISSED"),
            (Some(target), None) => target.clone(),
            (None, _) => String::new(),
        };
        let spread = format!("{}..{}", number(self.spread[0]), number(self.spread[1]));
        let line = format!(
            "{:<44} {:<24} {:>11} {:>11} {:>7}  {:<20}  {target}",
            self.load,
            self.what,
            number(self.gateway),
            optional(self.floor),
            optional(self.ratio),
            spread,
        );
        line.trim_end().to_owned()
    }
}

/// The head of the table.
pub fn head() -> String {
    format!(
        "{:<44} {:<24} {:>11} {:>11} {:>7}  {:<20}  target",
        "load", "figure", "gateway", "floor", "ratio", "gateway's spread"
    )
}

/// A whole run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Where it was taken.
    pub machine: String,
    /// The command line.
    pub command: String,
    /// How often each was repeated.
    pub rounds: usize,
    /// The figures.
    pub figures: Vec<Figure>,
}
