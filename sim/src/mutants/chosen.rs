//! Which planted bug is in force, in the program of a mutant hunt; this file is no part of the simulator.

use std::{
    io::Write as _,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

static CHOSEN: OnceLock<u32> = OnceLock::new();
static SEEN: [AtomicU64; 256] = [const { AtomicU64::new(0) }; 256];

/// Whether bug `n` is in force. That its place was reached is written down, once for each process.
pub fn is(n: u32) -> bool {
    let (place, bit) = (&SEEN[n as usize / 64 % 256], 1 << (n % 64));
    if place.load(Ordering::Relaxed) & bit == 0 && place.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
        reached(n);
    }
    n == *CHOSEN.get_or_init(|| std::env::var("SIM_MUTANT").ok().and_then(|n| n.parse().ok()).unwrap_or(0))
}

fn reached(n: u32) {
    let Ok(path) = std::env::var("SIM_MUTANTS_REACHED") else { return };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    let _ = file.and_then(|mut file| writeln!(file, "{n}"));
}
