//! What happened in a run, as the outside saw it: the one thing that oracles, traces and pages are made from.
//!
//! Frames are decoded; bytes that a random generator outside our hands could colour (WebSocket masks, keys) never get
//! here. The simulator and the live runner write the same records.

mod frame;
pub mod parts;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

pub use frame::{Decoder, Frame};
use parts::Part;

/// One thing that happened, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Position in the history, from 0.
    pub i: u64,
    /// Microseconds since the start of the run (simulated, or real in a live run).
    pub t_us: u64,
    /// Which host saw it: `gateway`, `clients`, `telegram`, `model`, `tunnel`, `world`.
    pub host: String,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// Kinds of records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[allow(missing_docs)] // the fields are told with the variants
pub enum What {
    /// A client's transport is up. `conn` is unique in the run: `chat-3/2` is the second connection of client 3 of the
    /// group `chat`.
    Opened { conn: String, client: String, group: String },
    /// A frame that the client received, decoded.
    Received { conn: String, frame: Frame },
    /// A frame that the client handed to its transport, decoded; `{"raw": text}` for what is no JSON.
    Sent {
        conn: String,
        #[serde(serialize_with = "canonical")]
        frame: Value,
    },
    /// The connection ended for the client.
    Closed { conn: String, code: Option<u16>, reason: String, by_client: bool },
    /// A connection attempt gave nothing.
    ConnectFailed { client: String, error: String },
    /// The client stops or resumes reading its socket.
    Reading { conn: String, on: bool },
    /// The production client tells its caller something: `connected`, `seq` (of an event that is handed over), `gap`,
    /// `lagged`, `disconnected` and `failed` (with `retryInMs`), `stopped`, `closed` (by the caller).
    Told {
        client: String,
        #[serde(serialize_with = "canonical")]
        what: Value,
    },
    /// A fault begins (`on`) or ends. `id` joins the two; `fault` is the planned fault as JSON.
    Fault {
        id: u64,
        on: bool,
        #[serde(serialize_with = "canonical")]
        fault: Value,
    },
    /// The gateway's process: `start`, `listening`, `stop` (asked to), `stopped`, `crash`, `power_loss`.
    Process { event: String },
    /// A call at the fake Bot API: method, parameters, HTTP status; `None` when it comes, and once more with the status
    /// when it ends (499: the gateway went away before the answer, 444: the answer was dropped by a fault).
    Telegram {
        method: String,
        #[serde(serialize_with = "canonical")]
        params: Value,
        status: Option<u16>,
    },
    /// The same at the Bot API of a further bot; its updates are told as the method `update`.
    Elsewhere {
        account: String,
        method: String,
        #[serde(serialize_with = "canonical")]
        params: Value,
        status: Option<u16>,
    },
    /// An update was queued at the fake Bot API.
    Update {
        update_id: i64,
        #[serde(serialize_with = "canonical")]
        update: Value,
    },
    /// A request at the fake model: the last user text, and how it was answered; the tools that it offered, the texts of
    /// people and tools since the last plain answer in it when there are others than `text`, and what of
    /// [`crate::secret`] stands anywhere in it.
    Model {
        request: u64,
        text: String,
        answer: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tools: Vec<String>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        entered: Vec<String>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        secrets: Vec<String>,
    },
    /// The messages of a request at the fake model, told right after it: as many of the first ones of an earlier request as
    /// `after` says, then `parts`; and the length of its system prompt.
    Given {
        request: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<(u64, usize)>,
        parts: Vec<Part>,
        system: usize,
    },
    /// How that request was made: the model and the bound on tokens that it names, what it says of thinking (`thinking` or
    /// `reasoning_effort`; null when nothing), and its headers that tell of a key or that somebody has configured.
    Terms {
        request: u64,
        model: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_tokens: Option<u64>,
        #[serde(default, skip_serializing_if = "Value::is_null", serialize_with = "canonical")]
        thinking: Value,
        headers: BTreeMap<String, String>,
    },
    /// What the database holds of a conversation once the gateway has stopped for good: `key` names its session, unless that
    /// goes on with another one. `tokens` are what the session counts (input, output, both) and what its lines add up to.
    Stored {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        id: String,
        parts: Vec<Part>,
        tokens: ([u64; 3], [u64; 3]),
    },
    /// What an earlier build has left of a conversation, on whose state the gateway starts (`[gateway] disk`).
    Begun {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        id: String,
        parts: Vec<Part>,
    },
    /// What the disk holds of such a state, before each start of a process and at the end: the database, the copies in `backups/`
    /// by their names, and the version of the schema to which this build brings it. `waits` are the outbound messages that the
    /// earlier build has left, by id: chat and text; told once.
    Left {
        newest: u32,
        state: Result<Holding, String>,
        copies: BTreeMap<String, Result<Holding, String>>,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        waits: BTreeMap<String, (String, String)>,
    },
    /// A file of media that lies in the state directory at the end, and the sum of its content ([`fakes::sum`]); `used` when a
    /// message that is still listed has need of it.
    Kept { file: String, sum: String, used: bool },
    /// A conversation that lies in a file at the end, archived before lines of it went: its path in the state directory.
    Archived { file: String, parts: Vec<Part> },
    /// Somebody asked a server of files ([`crate::files`]) for a path.
    Fetched { from: String, path: String },
    /// A program that the gateway has started.
    Command { argv: Vec<String> },
    /// A line of the gateway's log in which something of [`crate::secret`] stands.
    Log { line: String },
    /// `Probe::always` or `sometimes` in the gateway.
    Probe { name: String, holds: bool, always: bool },
    /// A task panicked.
    Panic { task: String, message: String },
    /// A number: `tasks`, `sockets` and `draws` at the end of a run, and what its database then still holds of inbound
    /// messages (`inbox`) and runs (`runs`); `outbox_bytes` whenever it has grown and at the end of a connection (the most
    /// that waited for it), `start_storage_ops` when the gateway listens.
    Gauge { name: String, value: i64 },
    /// Anything worth reading.
    Note { text: String },
}

/// What a database holds, read without changing it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// Version of its schema.
    pub schema: u32,
    /// By table: each record's key, and the sum of what is in it ([`fakes::sum`]).
    pub rows: BTreeMap<String, BTreeMap<String, String>>,
}

impl What {
    /// A request at the fake model of which only the last user text and the answer are known.
    pub fn asked(request: u64, text: impl Into<String>, answer: impl Into<String>) -> Self {
        let (text, answer) = (text.into(), answer.into());
        Self::Model { request, text, answer, tools: vec![], entered: vec![], secrets: vec![] }
    }
}

/// JSON with its members sorted: the same history is always the same text, however a frame was built.
fn canonical<S: Serializer>(value: &Value, serializer: S) -> Result<S::Ok, S::Error> {
    Canonical(value).serialize(serializer)
}

struct Canonical<'a>(&'a Value);

impl Serialize for Canonical<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(map) => {
                let mut members: Vec<(&String, Canonical)> = map.iter().map(|(k, v)| (k, Canonical(v))).collect();
                members.sort_by_key(|(key, _)| *key);
                serializer.collect_map(members)
            }
            Value::Array(list) => serializer.collect_seq(list.iter().map(Canonical)),
            other => other.serialize(serializer),
        }
    }
}
