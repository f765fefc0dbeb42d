//! What differs from seed to seed beside times: settings of the gateway, and which groups, texts and kinds of faults there
//! are at all. What is always on hides what it makes impossible (Groce and others, Swarm Testing, 2012).

use std::sync::Arc;

use openclaw_platform::Entropy;
use serde_json::{Value, json};

use super::{Dice, chosen};
use crate::{
    plan::{Fault, config::merge},
    scenario::{FaultName, Scenario, Span, Swarm},
};

/// Of 100 settings so many stay as the scenario has them ...
const STAY: u32 = 50;
/// ... of 100 groups and texts so many are left out ...
const OUT: u32 = 25;
/// ... of 100 kinds of faults so many are left out ...
const SPARED: u32 = 50;
/// ... and of 100 faults so many have a companion.
const PAIRED: u32 = 40;

/// The scenario as this seed has it.
///
/// # Errors
/// When its configuration cannot be read.
pub fn of(scenario: &Scenario, root: &dyn Entropy) -> Result<Scenario, String> {
    let mut scenario = scenario.clone();
    let Some(swarm) = scenario.swarm.clone() else { return Ok(scenario) };
    for (path, values) in &swarm.settings {
        let dice = Dice(root.fork(&format!("setting {path}")));
        if !dice.chance(STAY) && !values.is_empty() {
            set(&mut scenario, path, dice.one_of(values))?;
        }
    }
    if swarm.subsets {
        let dice = Dice(root.fork("subsets"));
        // Others may name a device.
        let stays = |dice: &Dice, device: bool| device || !dice.chance(OUT);
        let kept: Vec<_> = scenario.clients.iter().filter(|g| stays(&dice, g.device)).cloned().collect();
        if !kept.is_empty() {
            scenario.clients = kept;
        }
        let groups = scenario.clients.iter_mut().map(|g| &mut g.texts);
        let telegram = scenario.telegram.iter_mut().map(|t| &mut t.texts);
        groups.chain(telegram).for_each(|texts| thin(texts, OUT, &dice));
    }
    Ok(scenario)
}

/// Gives a setting its value: by its path with dots.
///
/// # Errors
/// When the configuration cannot be read.
pub fn set(scenario: &mut Scenario, path: &str, value: &Value) -> Result<(), String> {
    if let Some(limit) = path.strip_prefix("gateway.limits.") {
        scenario.gateway.limits.insert(limit.to_owned(), value.clone());
        return Ok(());
    }
    let text = scenario.gateway.config.trim();
    let mut config = match text {
        "" => json!({}),
        text => openclaw_config::read_value(text).map_err(|e| e.to_string())?,
    };
    merge(&mut config, path.rsplit('.').fold(value.clone(), |inner, key| json!({ key: inner })));
    scenario.gateway.config = config.to_string();
    Ok(())
}

/// Leaves some of a list out, never all.
fn thin<T: Clone>(list: &mut Vec<T>, percent: u32, dice: &Dice) {
    let kept: Vec<T> = list.iter().filter(|_| !dice.chance(percent)).cloned().collect();
    if !kept.is_empty() {
        *list = kept;
    }
}

/// Kinds of faults that this seed has.
pub fn kinds(swarm: &Swarm, root: &Arc<dyn Entropy>) -> Vec<FaultName> {
    let mut kinds = swarm.kinds.clone();
    if swarm.subsets {
        thin(&mut kinds, SPARED, &Dice(root.fork("kinds")));
    }
    kinds
}

/// A fault that makes the one of `kind` matter, or that makes it hard to live through; when and how, if there is one. It begins
/// while the other lasts, or soon after.
pub(super) fn companion(
    (kind, at, lasts): (FaultName, u64, u64),
    length_ms: u64,
    swarm: &Swarm,
    dice: &Dice,
) -> Option<(FaultName, u64, Option<u64>, Fault)> {
    use FaultName as K;
    let fitting: &[K] = match kind {
        // What a failed sync has lost shows when the power goes.
        K::Disk | K::LostWrite => &[K::PowerLoss, K::PowerLoss, K::Crash, K::DiskSlow],
        K::DiskSlow => &[K::PowerLoss, K::Crash, K::Stop, K::Disk],
        K::Stop => &[K::PowerLoss, K::Crash, K::Disk, K::DiskSlow, K::ClockJump],
        K::Crash | K::PowerLoss => &[K::Disk, K::DiskSlow, K::ClockJump],
        // Something waits.
        K::TelegramError | K::TelegramSlow | K::ModelError | K::ModelHang | K::ModelSlow | K::Stall | K::HalfOpen => {
            &[K::ClockJump, K::ClockJump, K::Crash, K::Stop, K::DiskSlow, K::Disk]
        }
        K::BitFlip | K::ConfigEdit => return None,
        _ => &[K::Stall, K::Rate, K::Window, K::ClockJump, K::DiskSlow],
    };
    if !swarm.pairs || !dice.chance(PAIRED) {
        return None;
    }
    let known: Vec<K> = fitting.iter().filter(|k| swarm.kinds.contains(k)).copied().collect();
    if known.is_empty() {
        return None;
    }
    let kind = *dice.one_of(&known);
    let at = at + dice.between(10, lasts + 1500);
    if at >= length_ms {
        return None;
    }
    let lasts = dice.between(swarm.lasts.0.ms(), swarm.lasts.1.ms()).min(length_ms - at);
    let entry = chosen(kind, at, lasts, swarm, dice);
    Some((kind, at, entry.lasts.map(Span::ms), entry.fault()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::{plan::Plan, scenario::Scenario};

    const TEXT: &str = r#"
about = 'x'
[gateway]
config = "{ messages: { queue: { cap: 5 } } }"
[[clients]]
group = 'a'
workload = 'chat'
texts = ['one', 'two', 'three']
[[clients]]
group = 'b'
workload = 'rpc'
[swarm]
kinds = ['disk', 'power_loss', 'cut', 'crash']
count = [1, 4]
subsets = true
pairs = true
[swarm.settings]
"messages.queue.mode" = ['steer', 'interrupt']
"gateway.limits.drainMs" = [0, 100]
"#;

    #[test]
    fn seeds_differ_in_settings_groups_texts_and_kinds() {
        let scenario = Scenario::parse("x", TEXT).unwrap();
        let (mut configs, mut groups, mut kinds, mut pairs) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), 0);
        for seed in 0..200 {
            let plan = Plan::draw(&scenario, "x", seed).unwrap();
            assert_eq!(plan, Plan::draw(&scenario, "x", seed).unwrap());
            let config = openclaw_config::read_value(&plan.config).unwrap();
            assert_eq!(config["messages"]["queue"]["cap"], 5, "the scenario's own setting stays");
            configs.insert((
                config["messages"]["queue"]["mode"].as_str().map(str::to_owned),
                config["gateway"]["limits"]["drainMs"].as_u64(),
            ));
            groups.insert(plan.clients.iter().map(|c| c.group.clone()).collect::<Vec<_>>());
            let of: BTreeSet<_> = plan.faults.iter().map(|f| f.fault.name()).collect();
            kinds.insert(of);
            let name = |n: usize| plan.faults[n].fault.name();
            use crate::scenario::FaultName::{Disk, PowerLoss};
            pairs += (1..plan.faults.len()).filter(|n| (name(n - 1), name(*n)) == (Disk, PowerLoss)).count();
        }
        assert_eq!(configs.len(), 9, "{configs:?}");
        assert_eq!(groups.len(), 3, "{groups:?}");
        assert!(kinds.len() > 8 && pairs > 20, "{} {pairs}", kinds.len());
    }

    #[test]
    fn a_value_that_the_gateway_would_refuse_is_refused_with_its_path() {
        let error = Scenario::parse("x", &TEXT.replace("[0, 100]", "[0, 99999999]")).unwrap_err().to_string();
        assert!(error.contains("gateway.limits.drainMs"), "{error}");
        let error = Scenario::parse("x", &TEXT.replace("[0, 100]", "[]")).unwrap_err().to_string();
        assert!(error.contains("gateway.limits.drainMs"), "{error}");
    }
}
