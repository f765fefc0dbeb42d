mod hostile;
mod table;
pub(super) mod vary;

use std::sync::Arc;

use openclaw_platform::{Entropy, EntropyExt as _};
use serde_json::{Value, json};

use super::{
    Action, Client, Deed, DeviceSeed, Disk, Fault, Message, Model, Opening, Plan, PlannedFault, Telegram, VERSION,
    config::config,
    device::{name_devices, name_devices_in},
};
use crate::{
    SimEntropy,
    order::Shuffle,
    scenario::{
        FaultEntry, FaultName, Group, Leave, Person, Scenario, ScenarioError, Span, Step, Swarm, Talk, TelegramSection,
        Workload,
    },
};

/// First frames that are none, when a scenario names no others.
const GARBAGE: [&str; 12] = [
    "",
    "hello",
    "{",
    "null",
    "[]",
    "42",
    r#"{"type":"req"}"#,
    r#"{"type":"req","id":1,"method":"connect"}"#,
    r#"{"type":"req","id":"1","method":"health"}"#,
    r#"{"type":"req","id":"1","method":"connect","params":{}}"#,
    r#"{"type":"req","id":"1","method":"connect","params":{"minProtocol":9,"maxProtocol":9,"client":{"id":"test","version":"1","platform":"sim","mode":"test"},"auth":{"token":"sim-token"}}}"#,
    r#"{"type":"event","event":"tick"}"#,
];
/// Beginnings of connections that never become one.
const HALF_REQUESTS: [&str; 3] = [
    "GET / HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\n",
    "POST /hooks HTTP/1.1\r\nContent-Length: 99999\r\n\r\n{",
    "\u{16}\u{3}\u{1}",
];

/// Between two looks of one client at its history, on average ...
const LOOKS_EVERY_MS: u64 = 12_000;
/// ... and how many there are at most.
const LOOKS: usize = 20;

/// One seed in so many has `messages.delivery.resendUnknown`, which is not the default.
const RESENDS: u64 = 4;

impl Plan {
    /// Draws what happens under `seed`. `name` is the scenario's.
    ///
    /// # Errors
    /// When the scenario's configuration is not one.
    pub fn draw(scenario: &Scenario, name: &str, seed: u64) -> Result<Self, ScenarioError> {
        let seed = scenario.run.seed.unwrap_or(seed);
        // A stream of its own for each thing: a client more does not change the others.
        let root = SimEntropy::new(seed).fork("plan");
        let length_ms = scenario.run.length.ms();
        let scenario = &vary::of(scenario, &*root).map_err(ScenarioError)?;
        let mut clients = Vec::new();
        for group in &scenario.clients {
            for (n, name) in (1..).zip(group.names()) {
                let dice = Dice(root.fork(&format!("client {name}")));
                let whose = group.device_of.as_ref().unwrap_or(&name);
                let device = group.device.then(|| DeviceSeed::draw(&*root.fork(&format!("device {whose}"))));
                clients.push(Client { device, ..client(group, n, name, length_ms, &dice) });
            }
        }
        name_devices(&mut clients);
        let explicit = scenario.fault.iter().map(|f| (f.at.ms(), f.lasts.map(Span::ms), f.fault()));
        let mut faults: Vec<_> = explicit.collect();
        if let Some(swarm) = &scenario.swarm {
            faults.extend(draw_swarm(swarm, &vary::kinds(swarm, &root), length_ms, &Dice(root.fork("swarm"))));
        }
        faults.sort_by_key(|(at, ..)| *at);
        let number = |(id, (at_ms, for_ms, fault))| PlannedFault { id, at_ms, for_ms, fault };
        Ok(Self {
            version: VERSION,
            scenario: name.to_owned(),
            about: scenario.about.clone(),
            seed,
            length_ms,
            drain_ms: scenario.run.drain.ms(),
            shuffle: scenario.run.shuffle.then_some(Shuffle { first: scenario.run.shuffle_first }),
            disk_time: scenario.run.disk_time,
            network: scenario.network.clone(),
            config: name_devices_in(config(scenario, seed % RESENDS == RESENDS - 1).map_err(ScenarioError)?, &clients),
            disk: scenario.gateway.disk.clone(),
            clients,
            telegram: scenario.telegram.as_ref().map(|t| telegram(t, length_ms, &*root)),
            model: scenario.model.as_ref().map(|m| Model { say: m.say.clone(), anthropic: m.anthropic, odd: m.odd }),
            faults: (0..).zip(faults).map(number).collect(),
            expect: scenario.expect.clone(),
        })
    }
}

/// What chance is asked.
struct Dice(Arc<dyn Entropy>);

impl Dice {
    /// A number in `low..=high`.
    fn between(&self, low: u64, high: u64) -> u64 {
        low + u64::from(self.0.below(u32::try_from(high.saturating_sub(low) + 1).unwrap_or(u32::MAX)))
    }
    /// Half to one and a half times as much, at least 1.
    fn about(&self, mean: u64) -> u64 {
        self.between(mean / 2, mean + mean / 2).max(1)
    }
    fn one_of<'a, T>(&self, list: &'a [T]) -> &'a T {
        &list[self.0.below(list.len() as u32) as usize]
    }
    fn chance(&self, percent: u32) -> bool {
        self.0.below(100) < percent
    }
}

fn client(group: &Group, n: u32, name: String, length_ms: u64, dice: &Dice) -> Client {
    let stagger = if n == 1 { 0 } else { dice.between(0, group.stagger.ms()) };
    let start_ms = group.start.ms() + stagger;
    let mut actions: Vec<Action> = match group.workload {
        Workload::Watch => Vec::new(),
        Workload::Script => group.script.iter().flat_map(|step| repeated(step, &name)).collect(),
        workload => {
            let mut actions = Vec::new();
            let (mut at, mut made) = (start_ms, 0);
            loop {
                at += dice.about(group.every.ms());
                if at >= length_ms || group.times.is_some_and(|t| made >= t) {
                    break actions;
                }
                made += 1;
                at = one_turn(workload, group, &name, made, at, dice, &mut actions);
            }
        }
    };
    if group.workload == Workload::Chat {
        actions.extend(looks(&session(group, &name), (start_ms, length_ms), &Dice(dice.0.fork("looks"))));
    }
    actions.sort_by_key(|a| a.at_ms);
    Client {
        name,
        group: group.group.clone(),
        via: group.via,
        start_ms,
        role: group.role.clone(),
        answers_ms: group.answers.map(Span::ms),
        device: None,
        device_of: group.device_of.clone(),
        host: group.host.clone(),
        signs: group.signs.clone(),
        forwarded: group.forwarded.as_ref().map(|from| from.replace("{n}", &n.to_string())),
        approves_ms: group.approves.map(Span::ms),
        rejects_ms: group.rejects.map(Span::ms),
        scopes: group.scopes.clone(),
        mode: group.mode.clone(),
        token: group.token.clone(),
        hostile: group.hostile || matches!(group.workload, Workload::HostileNode | Workload::HostileReader),
        real: group.real,
        reconnect: group.reconnect,
        actions,
    }
}

/// Adds what a client does at one time; gives the time at which it is done.
fn one_turn(
    workload: Workload,
    group: &Group,
    name: &str,
    made: u32,
    at_ms: u64,
    dice: &Dice,
    actions: &mut Vec<Action>,
) -> u64 {
    let session = session(group, name);
    let mut act = |at_ms, deed| actions.push(Action { at_ms, deed });
    match workload {
        Workload::Chat => {
            let deed = say(group, name, &session, made, dice);
            if group.doubled {
                act(at_ms + dice.between(0, 400), deed.clone());
            }
            act(at_ms, deed);
        }
        Workload::Rpc => act(at_ms, rpc(&session, made, dice)),
        Workload::Table => act(at_ms, table::any(&session, name, made, dice)),
        Workload::Reconnect => {
            let history = json!({ "sessionKey": session, "limit": 20 });
            act(at_ms, Deed::Call { method: "chat.history".into(), params: history, retry: false });
            let lasts = dice.about(group.lasts.unwrap_or(group.every).ms());
            let how = if dice.chance(50) { Leave::Close } else { Leave::Drop };
            act(at_ms + lasts, Deed::Leave { how });
            return at_ms + lasts;
        }
        Workload::SlowReader => {
            let lasts = dice.about(group.lasts.unwrap_or(Span::secs(10)).ms());
            act(at_ms, Deed::Read { on: false });
            act(at_ms + lasts, Deed::Read { on: true });
            return at_ms + lasts;
        }
        Workload::Garbage => {
            let text = match group.texts.as_slice() {
                [] => (*dice.one_of(&GARBAGE)).to_owned(),
                own => dice.one_of(own).clone(),
            };
            act(at_ms, Deed::Visit { opening: Opening::Frame { text } });
        }
        Workload::SlowBytes => {
            let opening = if dice.chance(30) {
                Opening::Silence
            } else {
                let (text, most) = match group.texts.as_slice() {
                    [] => ((*dice.one_of(&HALF_REQUESTS)).to_owned(), 2000),
                    own => (dice.one_of(own).clone(), 200),
                };
                Opening::Bytes { text, pause_ms: dice.between(50, most) }
            };
            act(at_ms, Deed::Visit { opening });
        }
        Workload::HostileNode => actions.extend(hostile::node(group, name, made, at_ms, dice)),
        Workload::HostileReader => actions.extend(hostile::reader(group, name, made, at_ms, dice)),
        Workload::Watch | Workload::Script => {}
    }
    at_ms
}

/// Now and then somebody who talks looks back at what was said: at all of it, or at the last few messages.
fn looks(session: &str, (from_ms, until_ms): (u64, u64), dice: &Dice) -> Vec<Action> {
    let (mut at_ms, mut looks) = (from_ms, Vec::new());
    loop {
        at_ms += dice.about(LOOKS_EVERY_MS);
        if at_ms >= until_ms || looks.len() >= LOOKS {
            return looks;
        }
        let mut params = json!({ "sessionKey": session });
        if dice.chance(50) {
            params["limit"] = dice.between(1, 8).into();
        }
        looks.push(Action { at_ms, deed: Deed::Call { method: "chat.history".into(), params, retry: false } });
    }
}

fn session(group: &Group, name: &str) -> String {
    let own = if group.session == "own" { name } else { &group.session };
    format!("agent:main:{own}")
}

fn say(group: &Group, name: &str, session: &str, made: u32, dice: &Dice) -> Deed {
    let text = match group.texts.as_slice() {
        [] => format!("hello {made} from {name}"),
        own => format!("{name} {made}: {}", planted(dice.one_of(own).as_str(), &format!("client.{name}"), dice)),
    };
    let key = format!("{name}-run-{made}");
    let agent = match group.talk {
        Talk::Chat => false,
        Talk::Agent => true,
        Talk::Both => dice.chance(50),
    };
    let (method, params) = if agent {
        ("agent", json!({ "message": text, "sessionKey": session, "idempotencyKey": key }))
    } else {
        ("chat.send", json!({ "sessionKey": session, "message": text, "idempotencyKey": key }))
    };
    Deed::Call { method: method.into(), params, retry: true }
}

/// One call of the mix: reads, now and then a small change, now and then a wrong one.
fn rpc(session: &str, made: u32, dice: &Dice) -> Deed {
    let none = json!({});
    let (method, params): (&str, Value) = match dice.between(0, 15) {
        0 => ("health", none),
        1 => ("status", none),
        2 => ("system-presence", none),
        3 => ("sessions.list", json!({ "limit": 20 })),
        4 => ("chat.history", json!({ "sessionKey": session })),
        5 => ("models.list", none),
        6 => ("agents.list", none),
        7 => ("channels.status", none),
        8 => ("last-heartbeat", none),
        9 => ("agent.identity.get", none),
        10 => ("sessions.preview", json!({ "keys": [session] })),
        11 => ("system-event", json!({ "text": format!("note {made}"), "mode": "ui" })),
        12 => ("agent.wait", json!({ "runId": "nobody", "timeoutMs": 50 })),
        13 => ("chat.abort", json!({ "sessionKey": session })),
        14 => ("no.such.method", none),
        _ => ("sessions.preview", json!({ "keys": [] })),
    };
    Deed::Call { method: method.into(), params, retry: false }
}

/// A step as often as it says, each with its number, from 1, and the name of its client.
fn repeated(step: &Step, client: &str) -> Vec<Action> {
    let every = step.every.map_or(0, Span::ms);
    let fill = |n: u32| {
        let mut action = scripted(step);
        action.at_ms += u64::from(n - 1) * every;
        let filled = |text: &str| text.replace("{n}", &n.to_string()).replace("{client}", client);
        match &mut action.deed {
            Deed::Call { params, .. } => super::each_text(params, &mut |text| *text = filled(text)),
            Deed::Visit { opening: Opening::Frame { text } } => *text = filled(text),
            _ => {}
        }
        action
    };
    (1..=step.times.unwrap_or(1)).map(fill).collect()
}

fn scripted(step: &Step) -> Action {
    let s = step.clone();
    let deed = if let Some(platform) = s.declare {
        Deed::Declare { platform, commands: s.commands.unwrap_or_default() }
    } else if let Some(method) = s.call {
        Deed::Call { method, params: s.params.unwrap_or_else(|| json!({})), retry: s.retry }
    } else if let Some(text) = s.text {
        Deed::Text { text }
    } else if let Some(params) = s.connect {
        Deed::Connect { params }
    } else if s.signed.is_some() || s.again {
        let ahead = |span: Span| if s.back { -(span.ms() as i64) } else { span.ms() as i64 };
        Deed::Visit { opening: Opening::Signed { ahead_ms: s.signed.map(ahead) } }
    } else if let Some(how) = s.leave {
        Deed::Leave { how }
    } else if let Some(on) = s.read {
        Deed::Read { on }
    } else if let Some(text) = s.first {
        Deed::Visit { opening: Opening::Frame { text } }
    } else if let Some(text) = s.bytes {
        Deed::Visit { opening: Opening::Bytes { text, pause_ms: s.pause.unwrap_or(Span::millis(100)).ms() } }
    } else {
        Deed::Visit { opening: Opening::Silence }
    };
    Action { at_ms: step.at.ms(), deed }
}

fn telegram(section: &TelegramSection, length_ms: u64, root: &dyn Entropy) -> Telegram {
    let dice = &Dice(root.fork("telegram"));
    let fixed = section.messages.iter();
    let mut messages: Vec<Message> = fixed
        .map(|m| Message {
            at_ms: m.at.ms(),
            account: m.account.clone(),
            chat: m.chat,
            from: m.from,
            text: m.text.clone(),
            media: m.media,
            with: m.with.clone(),
        })
        .collect();
    if messages.is_empty() && !section.texts.is_empty() {
        for chat in 1..=i64::from(section.chats) {
            let (mut at_ms, mut n) = (0, 0);
            loop {
                at_ms += dice.about(section.every.ms());
                if at_ms >= length_ms {
                    break;
                }
                n += 1;
                let words = dice.one_of(&section.texts);
                // Behind somebody's name it would be no command.
                let text = if words.starts_with('/') { words.clone() } else { format!("person {chat} {n}: {words}") };
                messages.push(Message { at_ms, account: None, chat, from: None, text, media: None, with: None });
            }
        }
    }
    for person in &section.people {
        says(person, length_ms, &Dice(root.fork(&format!("person {}", person.id))), &mut messages);
    }
    messages.sort_by_key(|m| m.at_ms);
    Telegram { chat_interval_ms: section.chat_interval.map(Span::ms), accounts: section.accounts.clone(), messages }
}

/// What one person writes, in order.
fn says(person: &Person, length_ms: u64, dice: &Dice, messages: &mut Vec<Message>) {
    if person.texts.is_empty() {
        return;
    }
    let (mut at_ms, mut n) = (0, 0);
    loop {
        at_ms += dice.about(person.every.ms());
        if at_ms >= length_ms {
            return;
        }
        n += 1;
        let chat = if person.chats.is_empty() { person.id } else { *dice.one_of(&person.chats) };
        let place = if person.id == chat { format!("chat.{chat}") } else { format!("chat.{chat}/{}", person.id) };
        let words = planted(dice.one_of(&person.texts).as_str(), &place, dice);
        let text = if words.starts_with('/') { words } else { format!("person {} {n}: {words}", person.id) };
        messages.push(Message {
            at_ms,
            account: None,
            chat,
            from: (person.id != chat).then_some(person.id),
            text,
            media: None,
            with: None,
        });
    }
}

/// A text with a mark of `place` for each `{mark}` in it.
fn planted(text: &str, place: &str, dice: &Dice) -> String {
    let mut parts = text.split("{mark}");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| all + &crate::secret::mark(place, dice.0.below(u32::MAX)) + part)
}

/// Faults of a swarm: chosen kinds at chosen times, spaced, all over before the end.
fn draw_swarm(swarm: &Swarm, kinds: &[FaultName], length_ms: u64, dice: &Dice) -> Vec<(u64, Option<u64>, Fault)> {
    let count = dice.between(u64::from(swarm.count.0), u64::from(swarm.count.1));
    let mut faults = Vec::new();
    let mut at = 0;
    for left in (1..=count).rev() {
        let room = length_ms.saturating_sub(at) / left;
        at += dice.between(swarm.spacing.ms(), room.max(swarm.spacing.ms()));
        if at >= length_ms {
            break;
        }
        let lasts = dice.between(swarm.lasts.0.ms(), swarm.lasts.1.ms()).min(length_ms - at);
        let kind = *dice.one_of(kinds);
        let entry = chosen(kind, at, lasts, swarm, dice);
        faults.push((at, entry.lasts.map(Span::ms), entry.fault()));
        let ends = |kind| matches!(kind, FaultName::Crash | FaultName::PowerLoss | FaultName::Stop);
        let paired = vary::companion((kind, at, lasts), length_ms, swarm, dice);
        if ends(kind) {
            // Two of them at once would be one.
            at += lasts + 1000;
        }
        if let Some((kind, begins, for_ms, fault)) = paired {
            faults.push((begins, for_ms, fault));
            if ends(kind) {
                at = at.max(begins + for_ms.unwrap_or(0) + 1000);
            }
        }
    }
    faults
}

fn chosen(kind: FaultName, at: u64, lasts: u64, swarm: &Swarm, dice: &Dice) -> FaultEntry {
    use FaultName as K;
    let mut e = FaultEntry::new(Span(at), kind);
    e.lasts = Some(Span(lasts));
    let times = Some(dice.between(1, 3) as u32);
    match kind {
        K::Stall | K::HalfOpen | K::Refuse => e.target = Some(dice.one_of(&swarm.targets).clone()),
        K::Cut | K::Reset => {
            e.target = Some(dice.one_of(&swarm.targets).clone());
            e.lasts = None;
        }
        K::Latency => {
            e.target = Some(dice.one_of(&swarm.targets).clone());
            e.delay = Some(Span(dice.between(50, 500)));
        }
        K::Rate => {
            e.target = Some(dice.one_of(&swarm.targets).clone());
            e.bytes = Some(dice.between(500, 20_000));
        }
        K::Chunk | K::Window => {
            e.target = Some(dice.one_of(&swarm.targets).clone());
            e.bytes = Some(dice.between(1, 2000));
        }
        K::Crash | K::PowerLoss | K::Stop => {}
        K::BitFlip | K::TelegramRenumber => e.lasts = None,
        K::LostWrite => {
            e.at_op = Some(dice.between(1, 20));
            (e.times, e.lasts) = (times, None);
        }
        K::ClockJump => {
            e.lasts = None;
            let span = Some(Span::secs(*dice.one_of(&[1, 60, 3600, 86_400])));
            *(if dice.chance(50) { &mut e.back } else { &mut e.forward }) = span;
        }
        K::DiskSlow => e.delay = Some(Span(*dice.one_of(&[100, 500, 2000]))),
        K::Disk => {
            e.disk = Some(*dice.one_of(&[Disk::Enospc, Disk::Eio]));
            // Single operations fail, or all of them for a while.
            if dice.chance(50) {
                (e.at_op, e.times, e.lasts) = (Some(dice.between(1, 30)), times, None);
            }
        }
        K::TelegramError => {
            e.method = Some((*dice.one_of(&["getUpdates", "sendMessage"])).to_owned());
            e.status = Some(*dice.one_of(&[429, 500, 502]));
            e.retry_after = (e.status == Some(429)).then(|| dice.between(1, 5));
            (e.times, e.lasts) = (times, None);
        }
        K::TelegramDrop => {
            e.method = Some((*dice.one_of(&["getUpdates", "sendMessage"])).to_owned());
            (e.times, e.lasts) = (times, None);
        }
        K::TelegramSlow => {
            e.method = Some((*dice.one_of(&["getUpdates", "sendMessage"])).to_owned());
            e.delay = Some(Span(dice.between(500, 8000)));
            (e.times, e.lasts) = (times, None);
        }
        K::TelegramConflict | K::TelegramDuplicate | K::ModelHang | K::ModelCut => (e.times, e.lasts) = (times, None),
        K::ModelError => {
            e.status = Some(*dice.one_of(&[429, 500, 503]));
            (e.times, e.lasts) = (times, None);
        }
        K::ModelSlow => {
            e.delay = Some(Span(dice.between(100, 1000)));
            (e.times, e.lasts) = (times, None);
        }
        K::ConfigEdit => {
            e.text = Some("{ not a configuration".into());
            e.lasts = None;
        }
    }
    e
}
