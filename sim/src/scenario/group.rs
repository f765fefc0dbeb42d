use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Span;

/// `[[clients]]`: clients that do the same kind of thing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Name; its clients are `name-1`, `name-2` and so on.
    pub group: String,
    /// Name of the one client of this table, instead of `name-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// How many.
    #[serde(default = "one")]
    pub count: u32,
    /// What they do.
    pub workload: Workload,
    /// Which way they connect.
    #[serde(default)]
    pub via: Route,
    /// When the first one connects.
    #[serde(default)]
    pub start: Span,
    /// The others follow within this time.
    #[serde(default = "second")]
    pub stagger: Span,
    /// Between two requests (chat, rpc), connections (reconnect, garbage, slow_bytes) or pauses (slow_reader), on average.
    #[serde(default = "five_seconds")]
    pub every: Span,
    /// How long a connection of `reconnect` lives, how long a `slow_reader` does not read, on average.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasts: Option<Span>,
    /// At most this many requests or connections per client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// How `chat` clients start a run.
    #[serde(default)]
    pub talk: Talk,
    /// Session of `chat` clients: `own` (one each), or a name that they share.
    #[serde(default = "own")]
    pub session: String,
    /// What `chat` clients say (`{mark}` plants a mark of theirs), or the malformed first frames of `garbage`, or the
    /// bytes of `slow_bytes`; the seed chooses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub texts: Vec<String>,
    /// Sessions of others that the hostile ones are after, by their whole keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aims: Vec<String>,
    /// Telegram chats of others that they are after.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chats: Vec<String>,
    /// Each request with an idempotency key is sent twice, the second time after a moment.
    #[serde(default)]
    pub doubled: bool,
    /// Scopes asked for; none means admin.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// `operator` or `node`.
    #[serde(default = "operator")]
    pub role: String,
    /// A node that offers `system.run` and answers each invoke after about this long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<Span>,
    /// `client.mode` of connect: `ui` is shown in presence, `cli` is not.
    #[serde(default = "ui")]
    pub mode: String,
    /// Another token than the gateway's: clients that are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Has a device key of its own, signs with it, keeps the device token that it is given and shows that from then on.
    /// Who is not let in yet asks again with back-off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub device: bool,
    /// What is odd about its signatures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signs: Option<Signs>,
    /// It is the device of this other client, with the same key: another program of the same machine, in another role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_of: Option<String>,
    /// Name by which it asks for the gateway (the `Host` header): through the tunnel another one than the loopback
    /// address makes it a stranger, who needs a person's approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// It comes through proxies that say so (`X-Forwarded-For`), the nearest one last, which is the simulated client's
    /// machine: `gateway.trustedProxies` says whether that is believed. `{n}` stands for the number of the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarded: Option<String>,
    /// A person who approves each pairing request of a device after about this long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approves: Option<Span>,
    /// A person who rejects each of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejects: Option<Span>,
    /// It is the production client with its own back-off and its own gap detection, not a hand-written one; it says
    /// nothing but requests, and `read = false` means that its caller does not take what it tells.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub real: bool,
    /// Means harm, whatever it does: beside it others are served as ever.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hostile: bool,
    /// Connects again after a loss, with back-off, and sends again what was not answered.
    #[serde(default = "yes")]
    pub reconnect: bool,
    /// What `script` clients do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub script: Vec<Step>,
}

/// How the signatures of a device differ from right ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Signs {
    /// Its clock is ahead of the gateway's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ahead: Option<Span>,
    /// Or behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind: Option<Span>,
    /// A nonce of its own instead of the challenge's; an empty one: none, as old clients do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// It signs for other scopes than it asks for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub other_scopes: bool,
}

/// What a group of clients does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Workload {
    /// Sends messages and follows the runs.
    Chat,
    /// Calls a mix of methods, wrong ones among them.
    Rpc,
    /// Calls any method that an operator can call, right ones all of them.
    Table,
    /// Listens.
    Watch,
    /// A person with a flaky browser: connects, asks for the history, listens, goes, comes back.
    Reconnect,
    /// Listens, but does not read its socket for a while, now and then.
    SlowReader,
    /// Connects and sends a first frame that is none.
    Garbage,
    /// Opens connections and sends them byte by byte, or not at all.
    SlowBytes,
    /// A node that reports whatever could reach `aims` and `chats`, tries the methods of operators, and comes back as
    /// another kind of machine with more commands (S24, S33).
    HostileNode,
    /// An operator who may only read, tries to do everything to `aims` and `chats`, and asks for much at once (S28).
    HostileReader,
    /// As written under `script`.
    Script,
}

/// Which way clients connect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// Directly.
    #[default]
    Gateway,
    /// Through the relay, as through an ssh tunnel.
    Tunnel,
}

/// How runs are started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Talk {
    /// `chat.send`.
    #[default]
    Chat,
    /// `agent`.
    Agent,
    /// Now one, now the other.
    Both,
}

/// One thing that a scripted client does. Exactly one of the members besides `at`, `times`, `every`, `params`,
/// `retry`, `commands`, `back`, `again` and `pause`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Step {
    /// When, since the start of the run.
    pub at: Span,
    /// So many times, `every` so often: in a call's parameters, and in `first`, `{n}` is which of them it is, from 1, and `{client}`
    /// the name of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// See `times`; all at once when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<Span>,
    /// Calls this method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// With these parameters. A text `device:NAME` stands for the device id of the client of that name,
    /// `answer:METHOD/POINTER` and `event:NAME/POINTER` for a text in the last good answer to this client's calls of the
    /// method, or in the last such event that it was shown (a JSON pointer into the payload).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<Value>,
    /// Sends it again after a reconnect when it was not answered.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub retry: bool,
    /// Sends this text frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// From its next connection on it says that it is this platform, and offers `commands`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub declare: Option<String>,
    /// See `declare`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commands: Option<Vec<String>>,
    /// From its next connection on its `connect` has these parameters instead of its own: scopes, role, caps, permissions, what
    /// it shows (`auth`). An object is laid over its own one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<Value>,
    /// Ends the connection: `close` (with a close frame) or `drop`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leave: Option<Leave>,
    /// Reads its socket, or does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<bool>,
    /// A connection of its own whose first frame is this text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
    /// A connection of its own that sends these bytes, before any upgrade, with `pause` after each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
    /// A connection of its own on which its device signs as version 1 did, without the nonce, dated so far ahead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<Span>,
    /// The dates of `signed` lie so far back.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub back: bool,
    /// Shows what it has `signed` last once more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
    /// A connection of its own that says nothing after the upgrade.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub silence: bool,
    /// See `bytes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<Span>,
}

/// How a client goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Leave {
    /// With a close frame.
    Close,
    /// Without a word.
    Drop,
}

impl Group {
    /// Names of its clients.
    pub fn names(&self) -> impl Iterator<Item = String> {
        (1..=self.count).map(|n| self.client.clone().unwrap_or_else(|| format!("{}-{n}", self.group)))
    }

    /// What does not fit together.
    pub(super) fn check(&self) -> Result<(), String> {
        let name = &self.group;
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
            return Err(format!("group \"{name}\": a name of letters, digits, - and _ is needed"));
        }
        if matches!(name.as_str(), "clients" | "tunnel" | "telegram" | "model" | "gateway") {
            return Err(format!("group \"{name}\": this name means something else as a target"));
        }
        if self.client.is_some() && self.count != 1 {
            return Err(format!("group \"{name}\": `client` names one client, but there are {}", self.count));
        }
        if (self.workload == Workload::Script) == self.script.is_empty() {
            return Err(format!("group \"{name}\": workload \"script\" and `script` need each other"));
        }
        if self.host.as_ref().is_some_and(|h| !h.chars().all(|c| c.is_ascii_alphanumeric() || ".-:[]".contains(c))) {
            return Err(format!("group \"{name}\": `host` is the name of a machine, a port may follow"));
        }
        if self
            .forwarded
            .as_ref()
            .is_some_and(|f| !f.chars().all(|c| c.is_ascii_alphanumeric() || ".:, {}".contains(c)))
        {
            return Err(format!("group \"{name}\": `forwarded` is a list of addresses"));
        }
        if self.signs.is_some() && !self.device {
            return Err(format!("group \"{name}\": `signs` is about a device"));
        }
        if self.approves.is_some() && self.rejects.is_some() {
            return Err(format!("group \"{name}\": `approves` and `rejects` exclude each other"));
        }
        if self.real && (self.device || self.approves.is_some() || self.rejects.is_some() || self.answers.is_some()) {
            return Err(format!(
                "group \"{name}\": the production client has no device here, decides nothing and answers nothing"
            ));
        }
        if self.device_of.is_some() && !self.device {
            return Err(format!("group \"{name}\": `device_of` needs `device = true`"));
        }
        for step in &self.script {
            if step.every.is_some() && step.times.is_none() {
                return Err(format!("group \"{name}\": the step at {}: `every` needs `times`", step.at));
            }
            let kinds = [
                step.call.is_some(),
                step.text.is_some(),
                step.declare.is_some(),
                step.leave.is_some(),
                step.read.is_some(),
                step.first.is_some(),
                step.bytes.is_some(),
                step.silence,
                step.connect.is_some(),
                step.signed.is_some() || step.again,
            ];
            if kinds.iter().filter(|k| **k).count() != 1 {
                return Err(format!("group \"{name}\": the step at {} must do exactly one thing", step.at));
            }
        }
        Ok(())
    }

    /// Devices that steps speak of and that no client is.
    pub(super) fn check_devices(&self, known: &[String]) -> Result<(), String> {
        let params = self.script.iter().filter_map(|step| step.params.as_ref());
        match params.flat_map(crate::plan::named).find(|device| !known.contains(device)) {
            Some(device) => Err(format!("group \"{}\": no client \"{device}\" has `device = true`", self.group)),
            None => Ok(()),
        }
    }
}

fn one() -> u32 {
    1
}
fn second() -> Span {
    Span::secs(1)
}
fn five_seconds() -> Span {
    Span::secs(5)
}
fn own() -> String {
    "own".into()
}
fn operator() -> String {
    "operator".into()
}
fn ui() -> String {
    "ui".into()
}
fn yes() -> bool {
    true
}
