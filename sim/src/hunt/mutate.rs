//! A plan that differs a little from one that showed something new.

use openclaw_platform::{Entropy, EntropyExt as _};

use crate::{
    order::Shuffle,
    plan::{AtOperation, Fault, Plan, PlannedFault},
    why::spliced,
};

/// Storage operations at which a fault of the disk may be put.
const OPERATIONS: u32 = 200;

/// Changes `plan` in one to three ways; `other` is another plan of the same scenario.
pub fn mutate(mut plan: Plan, other: &Plan, dice: &dyn Entropy) -> Plan {
    for _ in 0..=dice.below(3) {
        match dice.below(8) {
            0 => move_a_fault(&mut plan, dice),
            1 => swap_a_kind(&mut plan, other, dice),
            2 => add_a_fault(&mut plan, other, dice),
            3 => drop_a_fault(&mut plan, dice),
            4 => plan = spliced(&plan, other, time(&plan, dice)),
            5 => shift_a_client(&mut plan, dice),
            6 => strike_at_an_operation(&mut plan, dice),
            _ => plan.seed = u64::from(dice.below(u32::MAX)),
        }
    }
    if dice.below(8) == 0 {
        plan.shuffle = if plan.shuffle.is_some() { None } else { Some(Shuffle { first: None }) };
    }
    plan.faults.sort_by_key(|f| (f.at_ms, f.id));
    plan
}

fn pick<'a, T>(list: &'a mut [T], dice: &dyn Entropy) -> Option<&'a mut T> {
    let n = list.len() as u32;
    list.get_mut(dice.below(n) as usize)
}

/// A moment of the plan.
fn time(plan: &Plan, dice: &dyn Entropy) -> u64 {
    u64::from(dice.below(u32::try_from(plan.length_ms).unwrap_or(u32::MAX)))
}

fn move_a_fault(plan: &mut Plan, dice: &dyn Entropy) {
    let (length, anywhere) = (plan.length_ms, time(plan, dice));
    if let Some(fault) = pick(&mut plan.faults, dice) {
        // Mostly a little: what stood near something interesting stays near it.
        let near = 1 + fault.at_ms.saturating_sub(500) + u64::from(dice.below(1000));
        fault.at_ms = if dice.below(3) == 0 { anywhere } else { near.min(length) };
    }
}

fn swap_a_kind(plan: &mut Plan, other: &Plan, dice: &dyn Entropy) {
    let Some(like) = pick(&mut other.faults.clone(), dice).map(|f| f.clone()) else { return };
    if let Some(fault) = pick(&mut plan.faults, dice) {
        (fault.fault, fault.for_ms) = (like.fault, like.for_ms);
    }
}

fn add_a_fault(plan: &mut Plan, other: &Plan, dice: &dyn Entropy) {
    let (mut own, mut others) = (plan.faults.clone(), other.faults.clone());
    let Some(like) = pick(if dice.below(2) == 0 { &mut own } else { &mut others }, dice).map(|f| f.clone()) else {
        return;
    };
    let id = next_id(plan);
    // Faults that come together are those that nobody has thought of.
    let at_ms = if dice.below(2) == 0 { like.at_ms + u64::from(dice.below(200)) } else { time(plan, dice) };
    plan.faults.push(PlannedFault { id, at_ms: at_ms.min(plan.length_ms), ..like });
}

fn drop_a_fault(plan: &mut Plan, dice: &dyn Entropy) {
    if !plan.faults.is_empty() {
        plan.faults.remove(dice.below(plan.faults.len() as u32) as usize);
    }
}

fn shift_a_client(plan: &mut Plan, dice: &dyn Entropy) {
    let length = plan.length_ms;
    if let Some(client) = pick(&mut plan.clients, dice) {
        let by = u64::from(dice.below(2000));
        client.actions.iter_mut().for_each(|a| a.at_ms = (a.at_ms + by).min(length));
    }
}

/// Where something strikes the process or the disk, it does so at an operation.
fn strike_at_an_operation(plan: &mut Plan, dice: &dyn Entropy) {
    let at_op = Some(1 + u64::from(dice.below(OPERATIONS)));
    for f in &mut plan.faults {
        match &mut f.fault {
            Fault::Crash(at) | Fault::PowerLoss(at) | Fault::Disk { at, .. } => {
                *at = AtOperation { at_op };
                return;
            }
            _ => {}
        }
    }
}

fn next_id(plan: &Plan) -> u64 {
    plan.faults.iter().map(|f| f.id + 1).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SimEntropy, scenario::Scenario};

    /// Whatever is changed, it is a plan of the same form, with faults of their own numbers and within its time.
    #[test]
    fn changed_plans_are_plans() {
        let text = "about = \"x\"\n[run]\nlength = \"20s\"\n[model]\n[[clients]]\ngroup = \"a\"\nworkload = \"chat\"\n\
                    [swarm]\nkinds = [\"cut\", \"crash\", \"disk\"]\ncount = [1, 5]\n";
        let scenario = Scenario::parse("x", text).unwrap();
        let plans: Vec<Plan> = (0..4).map(|seed| Plan::draw(&scenario, "x", seed).unwrap()).collect();
        let dice = SimEntropy::new(1);
        let mut changed = 0;
        let mut plan = plans[0].clone();
        for n in 0..400 {
            let next = mutate(plan.clone(), &plans[1 + n % 3], &dice);
            assert!(next.faults.iter().all(|f| f.at_ms <= next.length_ms), "{:?}", next.faults);
            let mut ids: Vec<u64> = next.faults.iter().map(|f| f.id).collect();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), next.faults.len());
            let text = serde_json::to_string(&next).unwrap();
            assert_eq!(Plan::from_json(&text).unwrap(), next);
            changed += usize::from(next != plan);
            plan = if next.faults.len() > 20 { plans[0].clone() } else { next };
        }
        assert!(changed > 300, "{changed}");
    }
}
