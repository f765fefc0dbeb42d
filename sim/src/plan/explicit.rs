use super::{Deed, Opening, Plan};
use crate::scenario::{
    FaultEntry, GatewaySection, Group, ModelSection, RunSection, Scenario, Span, Step, Talk, TelegramMessage,
    TelegramSection, Workload,
};

impl Plan {
    /// The scenario in which exactly this happens, whatever is drawn.
    pub fn to_scenario(&self) -> Scenario {
        let clients = self.clients.iter().map(|c| Group {
            group: c.group.clone(),
            client: Some(c.name.clone()),
            count: 1,
            workload: if c.actions.is_empty() { Workload::Watch } else { Workload::Script },
            via: c.via,
            start: Span(c.start_ms),
            stagger: Span(0),
            every: Span::secs(5),
            lasts: None,
            times: None,
            talk: Talk::Chat,
            session: "own".into(),
            texts: Vec::new(),
            aims: Vec::new(),
            chats: Vec::new(),
            doubled: false,
            scopes: c.scopes.clone(),
            role: c.role.clone(),
            answers: c.answers_ms.map(Span),
            device: c.device.is_some(),
            device_of: c.device_of.clone(),
            host: c.host.clone(),
            signs: c.signs.clone(),
            forwarded: c.forwarded.clone(),
            approves: c.approves_ms.map(Span),
            rejects: c.rejects_ms.map(Span),
            mode: c.mode.clone(),
            token: c.token.clone(),
            real: c.real,
            hostile: c.hostile,
            reconnect: c.reconnect,
            script: c.actions.iter().map(|a| step(a.at_ms, &a.deed)).collect(),
        });
        let telegram = self.telegram.as_ref().map(|t| TelegramSection {
            chats: 0,
            chat_interval: t.chat_interval_ms.map(Span),
            accounts: t.accounts.clone(),
            messages: t
                .messages
                .iter()
                .map(|m| TelegramMessage {
                    at: Span(m.at_ms),
                    account: m.account.clone(),
                    chat: m.chat,
                    from: m.from,
                    text: m.text.clone(),
                    media: m.media,
                    with: m.with.clone(),
                })
                .collect(),
            ..TelegramSection::default()
        });
        let fault = self.faults.iter().map(|f| FaultEntry::of(Span(f.at_ms), f.for_ms.map(Span), &f.fault));
        Scenario {
            about: self.about.clone(),
            run: RunSection {
                length: Span(self.length_ms),
                drain: Span(self.drain_ms),
                seeds: 1,
                seed: Some(self.seed),
                shuffle: self.shuffle.is_some(),
                shuffle_first: self.shuffle.and_then(|shuffle| shuffle.first),
                disk_time: self.disk_time,
            },
            network: self.network.clone(),
            gateway: GatewaySection {
                config: self.config.clone(),
                disk: self.disk.clone(),
                ..GatewaySection::default()
            },
            clients: clients.collect(),
            telegram,
            model: self.model.as_ref().map(|m| ModelSection { say: m.say.clone(), anthropic: m.anthropic, odd: m.odd }),
            fault: fault.collect(),
            swarm: None,
            // Goals are for ranges of seeds.
            expect: crate::scenario::Expect { sometimes: Vec::new(), rare: Vec::new(), ..self.expect.clone() },
        }
    }
}

fn step(at_ms: u64, deed: &Deed) -> Step {
    let step = Step { at: Span(at_ms), ..Step::default() };
    match deed.clone() {
        Deed::Call { method, params, retry } => Step { call: Some(method), params: Some(params), retry, ..step },
        Deed::Text { text } => Step { text: Some(text), ..step },
        Deed::Declare { platform, commands } => Step { declare: Some(platform), commands: Some(commands), ..step },
        Deed::Connect { params } => Step { connect: Some(params), ..step },
        Deed::Leave { how } => Step { leave: Some(how), ..step },
        Deed::Read { on } => Step { read: Some(on), ..step },
        Deed::Visit { opening: Opening::Frame { text } } => Step { first: Some(text), ..step },
        Deed::Visit { opening: Opening::Signed { ahead_ms } } => Step {
            signed: ahead_ms.map(|ms| Span(ms.unsigned_abs())),
            back: ahead_ms.is_some_and(|ms| ms < 0),
            again: ahead_ms.is_none(),
            ..step
        },
        Deed::Visit { opening: Opening::Silence } => Step { silence: true, ..step },
        Deed::Visit { opening: Opening::Bytes { text, pause_ms } } => {
            Step { bytes: Some(text), pause: Some(Span(pause_ms)), ..step }
        }
    }
}
