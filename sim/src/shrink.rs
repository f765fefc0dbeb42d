//! From a failing plan to the smallest one that still fails in the same way: delta debugging (Zeller, Hildebrandt 2002)
//! over faults, clients, their actions and Telegram's messages, then shorter times.

use std::time::{Duration, Instant};

use crate::{order::Shuffle, plan::Plan, runner::Outcome};

/// How a plan fails: the oracle that says so, or what broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symptom(pub String);

impl Symptom {
    /// The first that an outcome shows.
    pub fn of(outcome: &Outcome) -> Option<Self> {
        outcome.violations.first().map(|v| Self(v.oracle.clone()))
    }

    fn shows(&self, outcome: &Outcome) -> bool {
        outcome.violations.iter().any(|v| v.oracle == self.0)
    }
}

/// What shrinking has cost and won.
#[derive(Debug, Clone)]
pub struct Shrunk {
    /// The smallest plan found.
    pub plan: Plan,
    /// Runs made.
    pub runs: u32,
}

/// A search for smaller plans.
pub struct Shrinker<'a> {
    symptom: Symptom,
    until: Instant,
    runs: u32,
    /// Runs a plan; `None` when that was not possible.
    try_plan: &'a mut dyn FnMut(&Plan) -> Option<Outcome>,
    /// Hears of every smaller plan.
    progress: &'a mut dyn FnMut(&Plan, u32),
}

impl<'a> Shrinker<'a> {
    /// Looks for plans that show `symptom`, at most `budget` long.
    #[allow(clippy::disallowed_methods)] // a person waits for it: real time
    pub fn new(
        symptom: Symptom,
        budget: Duration,
        try_plan: &'a mut dyn FnMut(&Plan) -> Option<Outcome>,
        progress: &'a mut dyn FnMut(&Plan, u32),
    ) -> Self {
        Self { symptom, until: Instant::now() + budget, runs: 0, try_plan, progress }
    }

    /// Makes `plan` smaller until nothing can be left out.
    pub fn shrink(mut self, mut plan: Plan) -> Shrunk {
        self.plainer(&mut plan);
        loop {
            let before = size(&plan);
            // Whole clients first: that wins most.
            self.without(&mut plan, |p| p.clients.len(), |p, keep| retain(&mut p.clients, keep));
            self.without(&mut plan, |p| p.faults.len(), |p, keep| retain(&mut p.faults, keep));
            for client in 0..plan.clients.len() {
                self.without(
                    &mut plan,
                    |p| p.clients[client].actions.len(),
                    |p, keep| retain(&mut p.clients[client].actions, keep),
                );
            }
            let messages = |p: &Plan| p.telegram.as_ref().map_or(0, |t| t.messages.len());
            self.without(&mut plan, messages, |p, keep| {
                if let Some(telegram) = &mut p.telegram {
                    retain(&mut telegram.messages, keep);
                }
            });
            self.fewer_settings(&mut plan);
            self.simpler(&mut plan);
            self.fewer_choices(&mut plan);
            if size(&plan) >= before || self.is_over() {
                return Shrunk { plan, runs: self.runs };
            }
        }
    }

    /// Leaves out what can be left out of one list: halves, then quarters, down to single ones.
    fn without(&mut self, plan: &mut Plan, len: impl Fn(&Plan) -> usize, keep: impl Fn(&mut Plan, &[bool])) {
        let mut piece = len(plan).div_ceil(2);
        while piece > 0 {
            let mut from = 0;
            while from < len(plan) {
                let total = len(plan);
                let kept: Vec<bool> = (0..total).map(|n| n < from || n >= from + piece).collect();
                let mut smaller = plan.clone();
                keep(&mut smaller, &kept);
                if self.still_fails(&smaller) {
                    *plan = smaller;
                } else {
                    from += piece;
                }
            }
            piece = if piece == 1 { 0 } else { piece.div_ceil(2) };
        }
    }

    /// Without choices about the order of tasks, and with a disk that takes no time: most failures need neither.
    fn plainer(&mut self, plan: &mut Plan) {
        for smaller in [|p: Plan| Plan { shuffle: None, ..p }, |p| Plan { disk_time: false, ..p }] {
            let smaller = smaller(plan.clone());
            if smaller != *plan && self.still_fails(&smaller) {
                *plan = smaller;
            }
        }
    }

    /// Settings as they are by default, one after the other.
    fn fewer_settings(&mut self, plan: &mut Plan) {
        let mut of: serde_json::Value = serde_json::from_str(&plan.config).unwrap_or_default();
        for path in SETTINGS.iter().flat_map(|section| leaves(&of, section)).collect::<Vec<_>>() {
            let mut fewer = of.clone();
            let (section, key) = path.rsplit_once('/').unwrap_or_default();
            let Some(map) = fewer.pointer_mut(section).and_then(serde_json::Value::as_object_mut) else { continue };
            map.remove(key);
            let smaller = Plan { config: serde_json::to_string_pretty(&fewer).unwrap_or_default(), ..plan.clone() };
            if self.still_fails(&smaller) {
                (*plan, of) = (smaller, fewer);
            }
        }
    }

    /// Only the first choices about the order of tasks: as few as the failure needs.
    fn fewer_choices(&mut self, plan: &mut Plan) {
        let Some(Shuffle { first }) = plan.shuffle else { return };
        let Some(mut most) = first.or_else(|| (self.try_plan)(plan).map(|outcome| outcome.choices)) else { return };
        let mut piece = most.div_ceil(2);
        while piece > 0 {
            let first = Some(most.saturating_sub(piece));
            let smaller = Plan { shuffle: Some(Shuffle { first }), ..plan.clone() };
            if most >= piece && self.still_fails(&smaller) {
                *plan = smaller;
                most -= piece;
            } else {
                piece /= 2;
            }
        }
    }

    /// Backends that nobody needs, and time in which nothing happens.
    fn simpler(&mut self, plan: &mut Plan) {
        let mut changes: Vec<fn(&mut Plan)> = Vec::new();
        if plan.telegram.as_ref().is_some_and(|t| t.messages.is_empty()) {
            changes.push(|p| {
                p.telegram = None;
                p.config = without_section(&p.config, "channels");
            });
        }
        changes.push(|p| p.length_ms = last_ms(p) + 1000);
        changes.push(|p| p.length_ms = p.length_ms.div_ceil(2).max(1000));
        changes.push(|p| p.drain_ms = p.drain_ms.div_ceil(2).max(1000));
        changes.push(|p| p.network = crate::scenario::Network { chunk: 0, ..p.network.clone() });
        for change in changes {
            let mut smaller = plan.clone();
            change(&mut smaller);
            if smaller != *plan && size(&smaller) <= size(plan) && self.still_fails(&smaller) {
                *plan = smaller;
            }
        }
    }

    #[allow(clippy::disallowed_methods)] // likewise
    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    fn still_fails(&mut self, plan: &Plan) -> bool {
        if self.is_over() {
            return false;
        }
        self.runs += 1;
        let fails = (self.try_plan)(plan).is_some_and(|outcome| self.symptom.shows(&outcome));
        if fails {
            (self.progress)(plan, self.runs);
        }
        fails
    }
}

/// Sections of the configuration in which a setting more or less leaves a configuration, as JSON pointers.
const SETTINGS: [&str; 4] = ["/messages", "/session", "/gateway/limits", "/agents/defaults"];

/// Pointers to the settings in a section, those left out that every simulation needs.
fn leaves(config: &serde_json::Value, section: &str) -> Vec<String> {
    let Some(map) = config.pointer(section).and_then(serde_json::Value::as_object) else {
        return vec![section.to_owned()];
    };
    let keys = map.keys().filter(|key| !matches!(key.as_str(), "model" | "workspace"));
    let inner = keys.map(|key| format!("{section}/{key}"));
    inner
        .flat_map(|path| {
            if config.pointer(&path).is_some_and(serde_json::Value::is_object) {
                leaves(config, &path)
            } else {
                vec![path]
            }
        })
        .collect()
}

fn retain<T>(list: &mut Vec<T>, keep: &[bool]) {
    let mut keep = keep.iter();
    list.retain(|_| keep.next().copied().unwrap_or(true));
}

/// When the last thing begins that the plan has.
fn last_ms(plan: &Plan) -> u64 {
    let actions = plan.clients.iter().flat_map(|c| c.actions.iter().map(|a| a.at_ms).chain([c.start_ms]));
    let messages = plan.telegram.iter().flat_map(|t| t.messages.iter().map(|m| m.at_ms));
    actions.chain(messages).chain([plan.healed_ms()]).max().unwrap_or(0).min(plan.length_ms)
}

/// What there is to a plan: first its parts, then its time.
fn size(plan: &Plan) -> (usize, u64) {
    let actions: usize = plan.clients.iter().map(|c| c.actions.len() + 1).sum();
    let telegram = plan.telegram.as_ref().map_or(0, |t| t.messages.len() + 1);
    (actions + telegram + plan.faults.len(), plan.length_ms + plan.drain_ms)
}

/// The configuration without one of its sections.
fn without_section(config: &str, section: &str) -> String {
    let mut value: serde_json::Value = serde_json::from_str(config).unwrap_or_default();
    match value.as_object_mut().and_then(|map| map.remove(section)) {
        Some(_) => serde_json::to_string_pretty(&value).unwrap_or_else(|_| config.to_owned()),
        None => config.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{plan::Deed, runner::Violation, scenario::Scenario};

    const TEXT: &str = "about = 'x'\n[run]\nlength = '30s'\n[[clients]]\ngroup = 'a'\ncount = 6\nworkload = 'chat'\n\
        every = '2s'\n[telegram]\n[swarm]\nkinds = ['cut', 'crash', 'stall']\ncount = [5, 5]\n";

    fn judged(plan: &Plan, oracles: &[&str]) -> Outcome {
        let violations = oracles.iter().map(|o| Violation { oracle: (*o).into(), at: None, detail: String::new() });
        Outcome {
            scenario: plan.scenario.clone(),
            seed: plan.seed,
            violations: violations.collect(),
            broken: None,
            hash: String::new(),
            records: 0,
            draws: 0,
            storage_ops: 0,
            choices: if plan.shuffle.is_some() { 1000 } else { 0 },
            goals: Vec::new(),
            simulated_s: 0.0,
            cpu_s: 0.0,
        }
    }

    /// The bug: the third message of client 4 and any crash.
    #[test]
    fn only_what_the_failure_needs_is_left() {
        let scenario = Scenario::parse("x", TEXT).unwrap();
        let plan = (0..).map(|seed| Plan::draw(&scenario, "x", seed).unwrap());
        let has_crash = |p: &Plan| p.faults.iter().any(|f| f.fault.name() == crate::scenario::FaultName::Crash);
        let plan = plan.into_iter().find(has_crash).unwrap();
        let key = |d: &Deed| matches!(d, Deed::Call { params, .. } if params["idempotencyKey"] == "a-4-run-3");
        let mut try_plan = |p: &Plan| {
            let third = p.clients.iter().any(|c| c.actions.iter().any(|a| key(&a.deed)));
            Some(judged(p, if third && has_crash(p) { &["other", "lost"] } else { &["other"] }))
        };
        let mut heard = 0;
        let mut progress = |_: &Plan, _: u32| heard += 1;
        let symptom = Symptom("lost".into());
        let shrunk = Shrinker::new(symptom, Duration::from_mins(1), &mut try_plan, &mut progress).shrink(plan);
        let plan = shrunk.plan;
        assert_eq!((plan.shuffle, plan.disk_time), (None, false), "neither matters to it");
        assert_eq!((plan.clients.len(), plan.clients[0].actions.len(), plan.faults.len()), (1, 1, 1));
        assert_eq!((plan.clients[0].name.as_str(), plan.telegram.is_some()), ("a-4", false));
        assert!(heard > 3 && shrunk.runs < 200, "{heard} {}", shrunk.runs);
        // What is left is a scenario of its own, and draws the same plan again.
        let again = Plan::draw(&plan.to_scenario(), "x", 99).unwrap();
        let faults = |p: &Plan| p.faults.iter().map(|f| (f.at_ms, f.for_ms, f.fault.clone())).collect::<Vec<_>>();
        assert_eq!((faults(&again), again.seed), (faults(&plan), plan.seed));
        assert_eq!(again.clients, plan.clients);
    }

    /// The bug: a queue of one.
    #[test]
    fn settings_that_the_failure_does_not_need_are_left_out() {
        let config = "[gateway]\nconfig = '{ messages: { queue: { cap: 1, mode: \"steer\" } }, session: { dmScope: \"main\" } }'";
        let scenario = Scenario::parse("x", &TEXT.replace("[telegram]", config)).unwrap();
        let plan = Plan::draw(&scenario, "x", 1).unwrap();
        let cap = |p: &Plan| crate::plan::config_of(&p.config).is_ok_and(|c| c.messages.queue.cap == Some(1));
        let mut try_plan = |p: &Plan| Some(judged(p, if cap(p) { &["lost"] } else { &[] }));
        let symptom = Symptom("lost".into());
        let shrunk = Shrinker::new(symptom, Duration::from_mins(1), &mut try_plan, &mut |_, _| {}).shrink(plan);
        let left: serde_json::Value = serde_json::from_str(&shrunk.plan.config).unwrap();
        assert_eq!(
            (&left["messages"], &left["session"]),
            (&serde_json::json!({ "queue": { "cap": 1 } }), &serde_json::json!({}))
        );
        assert!(left["agents"]["defaults"]["model"].is_object());
    }

    /// The bug: the 137th choice.
    #[test]
    fn no_more_choices_are_left_than_the_failure_needs() {
        let plan = Plan::draw(&Scenario::parse("x", TEXT).unwrap(), "x", 1).unwrap();
        let needed = |p: &Plan| p.shuffle.is_some_and(|s| s.first.is_none_or(|first| first >= 137));
        let mut try_plan = |p: &Plan| Some(judged(p, if needed(p) { &["lost"] } else { &[] }));
        let symptom = Symptom("lost".into());
        let shrunk = Shrinker::new(symptom, Duration::from_mins(1), &mut try_plan, &mut |_, _| {}).shrink(plan);
        assert_eq!(shrunk.plan.shuffle, Some(Shuffle { first: Some(137) }));
        let again = Plan::draw(&shrunk.plan.to_scenario(), "x", 99).unwrap();
        assert_eq!(again.shuffle, shrunk.plan.shuffle);
    }
}
