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

/// FNV-1a of the history's lines.
pub fn hash(history: &[Record]) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for record in history {
        for byte in serde_json::to_vec(record).unwrap_or_default() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}
