//! When a message of the bot was on its way, and what then kept the gateway from knowing that it arrived.

use super::{Call, NO_ANSWER};
use crate::oracle::facts::Facts;

/// A call and its answer are under way no longer than this on a link that carries, and stored by then, in microseconds.
const TRANSIT: u64 = 200_000;
/// After a failed write the gateway tries again within this time, in microseconds.
const STORES: u64 = 2_000_000;
/// The gateway gives a call up after this, in microseconds.
const GIVES_UP: u64 = 25_000_000;

/// From the moment in which this call may have left the gateway to the one in which its answer is known there and stored, in
/// microseconds. What holds up the link, or the disk, makes it longer.
pub fn flight(c: &Call, facts: &Facts) -> (u64, u64) {
    let mut from = c.at.t.saturating_sub(TRANSIT);
    let mut to = c.end.map_or(facts.end, |(end, _)| end.t.saturating_add(TRANSIT + facts.stores));
    // One fault may begin while the other still holds it up.
    for _ in 0..3 {
        for f in &facts.faults {
            if f.from > to || f.to < from {
                continue;
            }
            if f.is_slow() && f.is_telegram() {
                from = from.min(f.from.saturating_sub(TRANSIT));
                to = to.max(f.to.saturating_add(TRANSIT));
            } else if matches!(f.kind, "disk" | "disk_slow") {
                to = to.max(f.to.saturating_add(STORES));
            }
        }
    }
    (from, to)
}

/// The answer itself leaves open whether it arrived.
pub fn is_open(c: &Call) -> bool {
    c.end.is_none() || NO_ANSWER.contains(&c.status())
}

/// It may have arrived, and the gateway may not know: it was left without an answer, or a process end or a broken link
/// came between.
pub fn is_doubtful(c: &Call, facts: &Facts) -> bool {
    is_open(c) || c.status() == 200 && is_disturbed(c, facts)
}

/// A process ended while it was on its way, or the link broke, or was silent longer than a call is waited for.
fn is_disturbed(c: &Call, facts: &Facts) -> bool {
    let (from, to) = flight(c, facts);
    facts.ended_between(from, to) || to - from > GIVES_UP || breaks_between(facts, from, to)
}

/// The link to the service breaks, or loses what it carries, between the two.
pub fn breaks_between(facts: &Facts, from: u64, to: u64) -> bool {
    breaks(facts, from, to) > 0
}

/// How often it does.
pub fn breaks(facts: &Facts, from: u64, to: u64) -> usize {
    let breaks = |kind: &str| matches!(kind, "half_open" | "stall" | "cut" | "reset" | "refuse");
    let hits = facts.faults.iter().filter(|f| f.target == "telegram" && breaks(f.kind) && f.from <= to && f.to >= from);
    hits.count()
}
