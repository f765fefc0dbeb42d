//! When was a violation decided? What the plan has before a moment is kept, what comes after it is drawn anew from other
//! seeds, and the share of these runs that violate the same oracle is taken for one moment after the other: where the
//! share rises, what led to the violation happened.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::plan::{Action, Deed, Plan};

/// Moments that are looked at first.
const MOMENTS: usize = 10;
/// Moments within the steepest rise that are looked at then.
const CLOSER: usize = 4;

/// The share at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Share {
    /// Everything before this stays, in milliseconds.
    pub at_ms: u64,
    /// Runs that violated the oracle.
    pub violated: u32,
    /// Runs.
    pub of: u32,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Why {
    /// The oracle.
    pub oracle: String,
    /// By time.
    pub shares: Vec<Share>,
    /// The steepest rise, from and to, in milliseconds; `None` where the share is the same everywhere.
    pub decided: Option<(u64, u64)>,
}

/// What of `plan` begins before `at_ms`, and of `other` what begins then or later. Configuration, network, clients and seed
/// are those of `plan`. A key that a client has used by then names no other request of it after.
pub fn spliced(plan: &Plan, other: &Plan, at_ms: u64) -> Plan {
    let mut out = plan.clone();
    for client in &mut out.clients {
        client.actions.retain(|a| a.at_ms < at_ms);
        if let Some(same) = other.clients.iter().find(|c| c.name == client.name) {
            let used: BTreeSet<String> = client.actions.iter().filter_map(key).map(str::to_owned).collect();
            let is_new = |a: &&Action| key(a).is_none_or(|key| !used.contains(key));
            client.actions.extend(same.actions.iter().filter(|a| a.at_ms >= at_ms).filter(is_new).cloned());
        }
    }
    if let (Some(telegram), Some(same)) = (&mut out.telegram, &other.telegram) {
        telegram.messages.retain(|m| m.at_ms < at_ms);
        telegram.messages.extend(same.messages.iter().filter(|m| m.at_ms >= at_ms).cloned());
    }
    out.faults.retain(|f| f.at_ms < at_ms);
    let next = out.faults.iter().map(|f| f.id + 1).max().unwrap_or(0);
    let later = other.faults.iter().filter(|f| f.at_ms >= at_ms).cloned();
    out.faults.extend((next..).zip(later).map(|(id, fault)| crate::plan::PlannedFault { id, ..fault }));
    out
}

/// The key of a request.
fn key(action: &Action) -> Option<&str> {
    match &action.deed {
        Deed::Call { params, .. } => params["idempotencyKey"].as_str(),
        _ => None,
    }
}

/// Looks for the moment. `violated_ms` is when the violation shows; `others` are plans of the same scenario and other seeds;
/// `violates` tries a plan.
pub fn why(
    plan: &Plan,
    oracle: &str,
    violated_ms: u64,
    others: &[Plan],
    mut violates: impl FnMut(&Plan) -> bool,
) -> Why {
    let mut share = |at_ms: u64| {
        let violated = others.iter().filter(|other| violates(&spliced(plan, other, at_ms))).count() as u32;
        Share { at_ms, violated, of: others.len() as u32 }
    };
    let mut shares: Vec<Share> = moments(plan, 0, violated_ms, MOMENTS).into_iter().map(&mut share).collect();
    if let Some((from, to)) = steepest(&shares) {
        let known: Vec<u64> = shares.iter().map(|s| s.at_ms).collect();
        let closer = moments(plan, from, to, CLOSER).into_iter().filter(|at| !known.contains(at));
        shares.extend(closer.map(&mut share));
        shares.sort_by_key(|s| s.at_ms);
    }
    Why { oracle: oracle.to_owned(), decided: steepest(&shares), shares }
}

/// At most `most` moments right after something begins in the plan, and both ends.
fn moments(plan: &Plan, from: u64, to: u64, most: usize) -> Vec<u64> {
    let actions = plan.clients.iter().flat_map(|c| c.actions.iter().map(|a| a.at_ms));
    let messages = plan.telegram.iter().flat_map(|t| t.messages.iter().map(|m| m.at_ms));
    let faults = plan.faults.iter().map(|f| f.at_ms);
    let mut all: Vec<u64> = actions.chain(messages).chain(faults).map(|at| at + 1).collect();
    all.retain(|at| *at > from && *at < to);
    all.sort_unstable();
    all.dedup();
    let every = all.len().div_ceil(most).max(1);
    let mut out: Vec<u64> = all.into_iter().step_by(every).collect();
    out.insert(0, from);
    out.push(to);
    out.dedup();
    out
}

fn steepest(shares: &[Share]) -> Option<(u64, u64)> {
    let rise = |pair: &&[Share]| pair[1].violated.saturating_sub(pair[0].violated);
    let best = shares.windows(2).rev().max_by_key(rise)?;
    (rise(&best) > 0).then(|| (best[0].at_ms, best[1].at_ms))
}

/// In words, one line for each moment.
pub fn table(why: &Why) -> String {
    use std::fmt::Write as _;
    let mut text = format!("{} is violated, when what comes after this moment is drawn anew:\n", why.oracle);
    for s in &why.shares {
        let bar = "#".repeat((s.violated * 20 / s.of.max(1)) as usize);
        let _ = writeln!(text, "{:>10.3} s  {:>3} of {:<3} {bar}", s.at_ms as f64 / 1000.0, s.violated, s.of);
    }
    let seconds = |ms: u64| ms as f64 / 1000.0;
    let _ = match why.decided {
        Some((from, to)) => writeln!(text, "decided between {:.3} s and {:.3} s", seconds(from), seconds(to)),
        None => writeln!(
            text,
            "as likely from the beginning: whatever happens, it comes to this (or only with this very seed)"
        ),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    fn plan(seed: u64) -> Plan {
        let text = "about = \"x\"\n[run]\nlength = \"20s\"\n[model]\n[[clients]]\ngroup = \"a\"\nvia = \"tunnel\"\n\
                    workload = \"chat\"\nevery = \"1s\"\n[swarm]\nkinds = [\"cut\"]\ncount = [2, 4]\n";
        let scenario = Scenario::parse("x", text).unwrap();
        Plan::draw(&scenario, "x", seed).unwrap()
    }

    #[test]
    fn the_beginning_stays_and_the_rest_is_another_s() {
        let (a, b) = (plan(1), plan(2));
        assert_ne!(a.faults, b.faults);
        let both = spliced(&a, &b, 10_000);
        let times = |p: &Plan| p.clients[0].actions.iter().map(|a| a.at_ms).collect::<Vec<_>>();
        let (before, after): (Vec<u64>, Vec<u64>) = times(&both).into_iter().partition(|t| *t < 10_000);
        assert_eq!(before, times(&a).into_iter().filter(|t| *t < 10_000).collect::<Vec<_>>());
        assert!(!after.is_empty() && after.iter().all(|t| times(&b).contains(t)));
        // One key, one request.
        let actions = &both.clients[0].actions;
        for (one, two) in actions.iter().flat_map(|one| actions.iter().map(move |two| (one, two))) {
            let same = key(one).is_some() && key(one) == key(two);
            assert!(!same || one.deed == two.deed, "{one:?} and {two:?}");
        }
        assert_eq!((both.seed, spliced(&a, &b, 0).faults.len()), (1, b.faults.len()));
        assert_eq!(spliced(&a, &b, 1_000_000), a);
    }

    /// A violation that needs one action of the plan is decided by that action.
    #[test]
    fn the_moment_is_found() {
        let plan_of_it = plan(1);
        let others: Vec<Plan> = (2..8).map(plan).collect();
        let needed = plan_of_it.clients[0].actions[7].clone();
        let has = |p: &Plan| p.clients[0].actions.contains(&needed);
        let why = why(&plan_of_it, "seq", 20_000, &others, has);
        let (from, to) = why.decided.unwrap();
        assert!(from <= needed.at_ms && needed.at_ms < to, "{from}..{to}: {}", needed.at_ms);
        assert!(table(&why).contains("decided between"));
        let never = super::why(&plan_of_it, "seq", 20_000, &others, |_| true);
        assert_eq!(never.decided, None);
    }
}
