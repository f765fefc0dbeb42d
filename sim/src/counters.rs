//! What all nights together have reached: one file that each `sim run --count FILE` adds to. A goal that is reached once in
//! ten thousand runs is a scenario that hardly goes there; one that never was is a hole.
#![allow(clippy::disallowed_methods)] // the runner's own file

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::{runner::Outcome, view::escaped};

/// The version of the file's form.
const VERSION: u32 = 1;
/// The table names so many of the rarest.
const RAREST: usize = 10;
/// Something that no run has reached is an alarm after so many.
pub const ALARM_AFTER: u64 = 1000;

/// The goals that scenarios name.
pub type Goals = BTreeMap<String, BTreeSet<String>>;

/// Sums over all runs so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counters {
    /// See [`VERSION`].
    version: u32,
    /// By scenario.
    scenarios: BTreeMap<String, Counter>,
    /// Runs that took a branch which the gateway calls rare, by its name.
    branches: BTreeMap<String, u64>,
}

/// Of one scenario.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Counter {
    runs: u64,
    /// The highest seed so far and one: where the next night goes on.
    seeds_to: u64,
    simulated_s: f64,
    cpu_s: f64,
    /// Runs that violated an oracle, by its name.
    failed: BTreeMap<String, u64>,
    /// Runs that reached a goal of the scenario.
    goals: BTreeMap<String, u64>,
}

impl Default for Counters {
    fn default() -> Self {
        Self { version: VERSION, scenarios: BTreeMap::new(), branches: BTreeMap::new() }
    }
}

impl Counters {
    /// Of a file; empty ones when there is none.
    ///
    /// # Errors
    /// When it cannot be read, or is none of this version.
    pub fn read(file: &Path) -> Result<Self, String> {
        let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", file.display());
        let text = match std::fs::read_to_string(file) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            text => text.map_err(|e| failed(&e))?,
        };
        let counters: Self = serde_json::from_str(&text).map_err(|e| failed(&e))?;
        if counters.version == VERSION { Ok(counters) } else { Err(failed(&"counters of another version")) }
    }

    /// Writes the file: whole, or not at all.
    ///
    /// # Errors
    /// When that is not possible.
    pub fn write(&self, file: &Path) -> Result<(), String> {
        let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", file.display());
        let directory = file.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut new = tempfile::NamedTempFile::new_in(directory).map_err(|e| failed(&e))?;
        let text = serde_json::to_string_pretty(self).map_err(|e| failed(&e))? + "\n";
        std::io::Write::write_all(&mut new, text.as_bytes()).map_err(|e| failed(&e))?;
        new.persist(file).map(drop).map_err(|e| failed(&e))
    }

    /// Adds one run.
    pub fn add(&mut self, outcome: &Outcome) {
        let c = self.scenarios.entry(outcome.scenario.clone()).or_default();
        c.runs += 1;
        c.seeds_to = c.seeds_to.max(outcome.seed + 1);
        c.simulated_s += outcome.simulated_s;
        c.cpu_s += outcome.cpu_s;
        let violated: BTreeSet<&String> = outcome.violations.iter().map(|v| &v.oracle).collect();
        for oracle in violated {
            *c.failed.entry(oracle.clone()).or_default() += 1;
        }
        for goal in &outcome.goals {
            match goal.strip_prefix("probe ") {
                Some(branch) => *self.branches.entry(branch.to_owned()).or_default() += 1,
                None => *c.goals.entry(goal.clone()).or_default() += 1,
            }
        }
    }

    /// Runs so far.
    pub fn runs(&self) -> u64 {
        self.scenarios.values().map(|c| c.runs).sum()
    }

    /// One more than the highest seed of any scenario.
    pub fn seeds_to(&self) -> u64 {
        self.scenarios.values().map(|c| c.seeds_to).max().unwrap_or(0)
    }

    /// Branches and goals that no run has reached; `goals` are those that scenarios name.
    pub fn never(&self, goals: &Goals) -> Vec<String> {
        let branches = crate::claims::SOMETIMES.iter().filter(|b| !self.branches.contains_key(**b));
        let mut never: Vec<String> = branches.map(|b| format!("branch {b}")).collect();
        for (scenario, goals) in goals {
            let Some(counter) = self.scenarios.get(scenario) else { continue };
            // What begins with `probe` was counted as a branch, over all scenarios.
            let missed = goals.iter().filter(|g| !g.starts_with("probe ") && !counter.goals.contains_key(*g));
            never.extend(missed.map(|g| format!("{scenario}: {g}")));
        }
        never
    }

    /// The goals and branches that were reached, the rarest first: runs that did, of how many, name. By share: a goal of a
    /// scenario that runs seldom is not rare for that.
    fn by_share(&self) -> Vec<(u64, u64, String)> {
        let goals_of = |(name, c): (&String, &Counter)| -> Vec<(u64, u64, String)> {
            c.goals.iter().map(|(goal, n)| (*n, c.runs, format!("{name}: {goal}"))).collect()
        };
        let mut all: Vec<(u64, u64, String)> = self.scenarios.iter().flat_map(goals_of).collect();
        all.extend(self.branches.iter().map(|(b, n)| (*n, self.runs(), format!("branch {b}"))));
        all.sort_by(|a, b| (a.0 * b.1).cmp(&(b.0 * a.1)).then(a.2.cmp(&b.2)));
        all
    }

    fn sums(&self) -> String {
        let sum = |f: fn(&Counter) -> f64| self.scenarios.values().map(f).sum::<f64>();
        format!(
            "{} runs, {:.0} simulated hours in {:.1} CPU hours, seeds up to {}",
            self.runs(),
            sum(|c| c.simulated_s) / 3600.0,
            sum(|c| c.cpu_s) / 3600.0,
            self.seeds_to()
        )
    }

    fn failures(&self) -> Vec<String> {
        let failed = self.scenarios.iter().filter(|(_, c)| !c.failed.is_empty());
        let line = |(name, c): (&String, &Counter)| {
            let failed: Vec<String> = c.failed.iter().map(|(oracle, n)| format!("{oracle} {n}")).collect();
            format!("{name}: {} of {} runs", failed.join(", "), c.runs)
        };
        failed.map(line).collect()
    }

    fn alarm(&self) -> &'static str {
        if self.runs() >= ALARM_AFTER { "NEVER REACHED" } else { "not reached yet" }
    }

    /// In words: sums, the rarest, what was never reached.
    pub fn table(&self, goals: &Goals) -> String {
        use std::fmt::Write as _;
        let mut text = self.sums() + "\n";
        self.failures().iter().for_each(|line| _ = writeln!(text, "failed: {line}"));
        text += "rarest:\n";
        for (n, of, name) in self.by_share().iter().take(RAREST) {
            let _ = writeln!(text, "{n:>8} of {of:<8} {name}");
        }
        let never = self.never(goals);
        if !never.is_empty() {
            let _ = writeln!(text, "{} ({}):", self.alarm(), never.len());
            for name in &never {
                let _ = writeln!(text, "  {name}");
            }
        }
        text
    }

    /// The same as a page that needs no network: everything that was reached, the rarest first.
    pub fn page(&self, goals: &Goals) -> String {
        use std::fmt::Write as _;
        let mut text = String::from(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta http-equiv=\"Content-Security-Policy\" \
             content=\"default-src 'none'; style-src 'unsafe-inline'\"><title>What nights have reached</title>\n<style>\
             body{font:14px/1.4 system-ui,sans-serif;margin:24px;max-width:1000px}td{padding:2px 12px 2px 0}\
             .bad{color:#c4161c}td:first-child{text-align:right;font-variant-numeric:tabular-nums}</style>\n",
        );
        let _ = writeln!(text, "<h1>What nights have reached</h1><p>{}</p>", escaped(&self.sums()));
        let list = |text: &mut String, head: &str, lines: &[String]| {
            if !lines.is_empty() {
                let _ = writeln!(text, "<h2 class=\"bad\">{head} ({})</h2><ul>", lines.len());
                for line in lines {
                    let _ = writeln!(text, "<li>{}", escaped(line));
                }
                *text += "</ul>\n";
            }
        };
        list(&mut text, "Failed", &self.failures());
        list(&mut text, self.alarm(), &self.never(goals));
        text += "<h2>Reached, the rarest first</h2><table>\n";
        for (n, of, name) in self.by_share() {
            let percent = n as f64 * 100.0 / of.max(1) as f64;
            let _ = writeln!(text, "<tr><td>{percent:.2} %<td>{n} of {of}<td>{}", escaped(&name));
        }
        text + "</table></html>\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(scenario: &str, seed: u64, goals: &[&str]) -> Outcome {
        Outcome {
            scenario: scenario.into(),
            seed,
            violations: vec![],
            broken: None,
            hash: String::new(),
            records: 1,
            draws: 1,
            storage_ops: 0,
            choices: 0,
            goals: goals.iter().map(|g| (*g).to_owned()).collect(),
            simulated_s: 60.0,
            cpu_s: 0.5,
        }
    }

    #[test]
    fn nights_add_up_in_one_file() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("nights.json");
        for night in 0..2u64 {
            let mut counters = Counters::read(&file).unwrap();
            assert_eq!(counters.seeds_to(), night * 10);
            (0..10).for_each(|n| counters.add(&outcome("a", night * 10 + n, &["gap", "probe queue.steered"])));
            counters.add(&outcome("b", night, if night == 1 { &["resent"] } else { &[] }));
            counters.write(&file).unwrap();
        }
        let counters = Counters::read(&file).unwrap();
        assert_eq!((counters.runs(), counters.seeds_to()), (22, 20));
        let of = |goals: &[&str]| goals.iter().map(|g| (*g).to_owned()).collect::<BTreeSet<_>>();
        let goals = BTreeMap::from([("a".to_owned(), of(&["gap", "reconnect"])), ("b".to_owned(), of(&["resent"]))]);
        let never = counters.never(&goals);
        assert!(never.contains(&"a: reconnect".to_owned()) && !never.iter().any(|n| n.contains("queue.steered")));
        let table = counters.table(&goals);
        assert!(table.starts_with("22 runs, 0 simulated hours"), "{table}");
        let rarest = table.lines().find(|l| l.contains(" of ")).unwrap();
        assert_eq!(rarest.split_whitespace().collect::<Vec<_>>(), ["1", "of", "2", "b:", "resent"], "{table}");
        assert!(table.contains("not reached yet"), "{table}");
        let page = counters.page(&goals);
        assert!(page.contains("<td>50.00 %<td>1 of 2<td>b: resent"), "{page}");
        assert!(page.contains("<li>a: reconnect"), "{page}");
        std::fs::write(&file, "{}").unwrap();
        assert!(Counters::read(&file).is_err(), "what is none is not written over");
    }
}
