//! A run's verdicts and its fingerprint.

use crate::{history::Record, oracle, plan::Plan, runner::Violation};

/// What did not hold, in the order of the oracles.
pub fn violations(plan: &Plan, history: &[Record]) -> Vec<Violation> {
    let expect = match oracle::Expect::of(plan) {
        Ok(expect) => expect,
        Err(detail) => return vec![Violation { oracle: "plan".into(), at: None, detail }],
    };
    let broken = oracle::judge(history, &expect).into_iter().filter(|v| !v.ok);
    broken.map(|v| Violation { oracle: v.oracle.to_owned(), at: v.at, detail: v.detail }).collect()
}

/// The history's fingerprint: the hash of its trace.
pub fn hash(history: &[Record]) -> String {
    crate::trace::hash(history)
}
