//! The workload table is whole and true: nothing that a gateway can be asked, told or configured is without a row, each
//! row's scenario contains what the row says, and its oracle exists.

// outside of the gateway: tests of the simulator
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_types, clippy::disallowed_methods)]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use openclaw_config::{
    AgentDefaults, DeliverySettings, DmPolicy, DmScope, GroupPolicy, Inbound, Limits, MessageQueue, OnRestart,
    QueueDrop, QueueMode,
};
use openclaw_protocol::{connect::wire_name, event::EVENTS, method::METHODS};
use schemars::{JsonSchema, schema_for};
use serde_json::Value;
use sim::{
    oracle::ORACLES,
    plan::{Deed, Plan},
    runner::Story,
    scenario::FaultName,
    workload::{Kind, Row, TABLE},
};

/// Seeds whose plans are looked at: what is drawn rarely is not exercised.
const SEEDS: u64 = 3;

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The words of an enumeration, as its schema has them.
fn words<T: JsonSchema>() -> Vec<String> {
    let schema = schema_for!(T).to_value();
    let listed = schema["oneOf"].as_array().or_else(|| schema["enum"].as_array()).expect("an enumeration");
    let of = |v: &Value| match v {
        Value::String(word) => vec![word.clone()],
        v if v["const"].is_string() => vec![v["const"].as_str().unwrap().to_owned()],
        v => v["enum"].as_array().unwrap().iter().map(|w| w.as_str().unwrap().to_owned()).collect(),
    };
    listed.iter().flat_map(of).collect()
}

/// The members of a section, as its schema has them.
fn members<T: JsonSchema>() -> Vec<String> {
    let schema = schema_for!(T).to_value();
    schema["properties"].as_object().expect("a section").keys().cloned().collect()
}

/// The commands that the gateway's source knows.
fn commands() -> BTreeSet<String> {
    let file = repository().join("gateway/server/src/inbound/commands.rs");
    let source = std::fs::read_to_string(file).unwrap();
    let list = |from: &str| {
        let text = source.split(from).nth(1).unwrap_or_else(|| panic!("{from} is not there any more"));
        let text = text.split("];").next().unwrap();
        text.split('"').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()
    };
    list("const STOP: [&str; 7] = [").into_iter().chain(list("let known = [")).collect()
}

/// Everything that needs a row.
fn wanted() -> BTreeSet<(Kind, String)> {
    let mut all = BTreeSet::new();
    let mut add = |kind: Kind, names: Vec<String>| all.extend(names.into_iter().map(|name| (kind, name)));
    add(Kind::Method, METHODS.iter().map(|m| m.name.to_owned()).collect());
    add(Kind::Event, EVENTS.iter().map(|e| e.name.to_owned()).collect());
    add(Kind::Command, commands().into_iter().collect());
    add(Kind::Fault, words::<FaultName>());
    let values = |path: &str, words: Vec<String>| words.iter().map(|w| format!("{path}={w}")).collect::<Vec<_>>();
    let below = |path: &str, members: Vec<String>| members.iter().map(|m| format!("{path}.{m}")).collect::<Vec<_>>();
    add(Kind::Setting, values("messages.queue.mode", words::<QueueMode>()));
    add(Kind::Setting, values("messages.queue.drop", words::<QueueDrop>()));
    let queue = members::<MessageQueue>().into_iter().filter(|m| m != "mode" && m != "drop").collect();
    add(Kind::Setting, below("messages.queue", queue));
    add(Kind::Setting, below("messages.inbound", members::<Inbound>()));
    add(Kind::Setting, below("messages.delivery", members::<DeliverySettings>()));
    add(Kind::Setting, values("agents.defaults.onRestart", words::<OnRestart>()));
    assert!(members::<AgentDefaults>().contains(&"heartbeat".to_owned()));
    add(Kind::Setting, vec!["agents.defaults.heartbeat".into(), "agents.defaults.model.fallbacks".into()]);
    add(Kind::Setting, values("session.dmScope", words::<DmScope>()));
    add(Kind::Setting, values("channels.telegram.dmPolicy", words::<DmPolicy>()));
    add(Kind::Setting, values("channels.telegram.groupPolicy", words::<GroupPolicy>()));
    add(Kind::Setting, vec!["channels.telegram.groups".into()]);
    add(Kind::Setting, below("gateway.limits", members::<Limits>()));
    all
}

#[test]
fn nothing_is_without_a_row_and_no_row_is_about_nothing() {
    let wanted = wanted();
    let rows: BTreeSet<_> = TABLE.iter().map(|r| (r.kind, r.name.to_owned())).collect();
    let missing: Vec<_> = wanted.difference(&rows).collect();
    assert!(missing.is_empty(), "no row for {missing:?}");
    let strange: Vec<_> = rows.difference(&wanted).collect();
    assert!(strange.is_empty(), "rows for what is not there: {strange:?}");
    assert_eq!(rows.len(), TABLE.len(), "a row twice");
}

/// What the plans of a scenario contain.
struct Contents {
    plans: Vec<Plan>,
    goals: BTreeSet<String>,
}

impl Contents {
    fn has(&self, row: &Row) -> bool {
        let name = row.name;
        match row.kind {
            Kind::Method => self.plans.iter().any(|plan| calls(plan, name)),
            Kind::Event => self.goals.contains(&format!("event {name}")),
            Kind::Command => self.plans.iter().any(|plan| says(plan, name)),
            Kind::Fault => self.plans.iter().any(|plan| plan.faults.iter().any(|f| wire_name(&f.fault.name()) == name)),
            Kind::Setting => self.plans.iter().any(|plan| is_set(plan, name)),
        }
    }
}

/// A client calls it, as its script says or as what it is does.
fn calls(plan: &Plan, method: &str) -> bool {
    let clients = || plan.clients.iter();
    let mut deeds = clients().flat_map(|c| &c.actions).map(|a| &a.deed);
    let scripted = deeds.any(|d| matches!(d, Deed::Call { method: m, .. } if m == method));
    let by_nature = match method {
        "connect" => clients().next().is_some(),
        "device.pair.approve" => clients().any(|c| c.approves_ms.is_some()),
        "device.pair.reject" => clients().any(|c| c.rejects_ms.is_some()),
        "node.invoke.result" => clients().any(|c| c.answers_ms.is_some()),
        _ => false,
    };
    scripted || by_nature
}

/// Somebody writes it in a chat, or a client sends it as a message.
fn says(plan: &Plan, command: &str) -> bool {
    let people = plan.telegram.iter().flat_map(|t| &t.messages).map(|m| m.text.as_str());
    let deeds = plan.clients.iter().flat_map(|c| &c.actions).map(|a| &a.deed);
    let clients = deeds.filter_map(|d| match d {
        Deed::Call { params, .. } => params["message"].as_str(),
        _ => None,
    });
    people.chain(clients).any(|text| text == command)
}

/// The configuration has it, with this value where one is named.
fn is_set(plan: &Plan, name: &str) -> bool {
    let (path, value) = name.split_once('=').map_or((name, None), |(path, value)| (path, Some(value)));
    let config = openclaw_config::read_value(&plan.config).unwrap();
    let set = config.pointer(&format!("/{}", path.replace('.', "/"))).cloned().unwrap_or_default();
    match value {
        Some(value) => set == value || set.as_object().is_some_and(|all| all.values().any(|v| v == value)),
        None => !set.is_null(),
    }
}

#[test]
fn each_row_has_a_scenario_that_contains_it_and_an_oracle() {
    let stories = Story::all(&repository().join("scenarios")).unwrap();
    let mut contents = BTreeMap::new();
    let names: BTreeSet<&str> = TABLE.iter().map(|r| r.scenario).collect();
    for Story { name, scenario, .. } in stories.iter().filter(|s| names.contains(s.name.as_str())) {
        let plans = (0..SEEDS).map(|seed| Plan::draw(scenario, name, seed).unwrap()).collect();
        let goals = scenario.expect.sometimes.iter().cloned().collect();
        contents.insert(name.clone(), (Contents { plans, goals }, scenario.expect.off.clone()));
    }
    let mut wrong = Vec::new();
    for row in &TABLE {
        let Row { kind, name, scenario, oracle } = row;
        if !ORACLES.iter().any(|(known, _)| known == oracle) {
            wrong.push(format!("{kind:?} {name}: there is no oracle {oracle}"));
        }
        match contents.get(*scenario) {
            None => wrong.push(format!("{kind:?} {name}: there is no scenario {scenario}")),
            Some((_, off)) if off.iter().any(|o| o == oracle) => {
                wrong.push(format!("{kind:?} {name}: {scenario} has switched {oracle} off"));
            }
            Some((found, _)) if !found.has(row) => {
                wrong.push(format!("{kind:?} {name}: {scenario} does not contain it"));
            }
            Some(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
