use std::{fmt::Write as _, time::Duration};

use super::batch::{Report, Row};

/// The summary that a person reads.
pub(super) fn show(report: &Report, took: Duration) -> String {
    let width = report.rows.keys().map(String::len).max().unwrap_or(0).max("scenario".len());
    let mut out = String::new();
    let _ = writeln!(
        out,
        "\r{:width$}  {:>6}  {:>6}  {:>6}  {:>11}  {:>8}  {:>8}",
        "scenario", "runs", "passed", "failed", "simulated s", "CPU s", "s per s"
    );
    let mut sum = Row::default();
    let mut bad = 0;
    for (name, row) in &report.rows {
        let failed = failed(row);
        let _ = writeln!(out, "{}", line(name, width, row, failed));
        sum.seeds += row.seeds;
        sum.simulated_s += row.simulated_s;
        sum.cpu_s += row.cpu_s;
        bad += failed;
    }
    let _ = writeln!(out, "{}", line("all", width, &sum, bad));
    let took = took.as_secs_f64();
    let _ =
        writeln!(out, "{} runs in {took:.1} s: {:.0} per minute", sum.seeds, sum.seeds as f64 * 60.0 / took.max(0.001));
    for (name, row) in report.rows.iter().filter(|(_, row)| row.seeds > 0) {
        for goal in &row.missed {
            let _ = writeln!(out, "{name}: no seed reached the goal \"{goal}\"");
        }
        for goal in &row.missed_rare {
            let _ = writeln!(out, "{name}: no seed reached the rare goal \"{goal}\"");
        }
    }
    out
}

fn failed(row: &Row) -> u64 {
    let mut seeds: std::collections::BTreeSet<&String> = row.failed.keys().collect();
    seeds.extend(&row.diverged);
    seeds.extend(&row.broken);
    seeds.len() as u64
}

fn line(name: &str, width: usize, row: &Row, failed: u64) -> String {
    let speed = row.simulated_s / row.cpu_s.max(1e-9);
    format!(
        "{name:width$}  {:>6}  {:>6}  {failed:>6}  {:>11.0}  {:>8.2}  {speed:>8.0}",
        row.seeds,
        row.seeds - failed,
        row.simulated_s,
        row.cpu_s
    )
}
