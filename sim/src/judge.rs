//! A run's verdicts and its fingerprint.

use crate::{
    history::{Record, What},
    plan::Plan,
    runner::Violation,
};

/// What did not hold, in the order of the oracles.
pub fn violations(_plan: &Plan, history: &[Record]) -> Vec<Violation> {
    let panics = history.iter().filter_map(|record| match &record.what {
        What::Panic { task, message } => Some(Violation {
            oracle: "no_panic".into(),
            at: Some(record.i),
            detail: format!("task {task} panicked: {message}"),
        }),
        _ => None,
    });
    panics.collect()
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
