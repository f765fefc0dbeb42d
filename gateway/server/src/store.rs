//! What this gateway keeps in its database: the tables. `schema.rs` has the steps in which they have come to be.

pub use openclaw_store::{
    FILE, Lines, Records, Schema, Store, StoreError, all, backup, decode, each, encode, get, keys, loss, put, record,
};
use redb::TableDefinition;

/// The database did not answer. Its own words are in the log, once: they name files and records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the state database cannot be used now")]
pub struct Broken;

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "state database");
        Self
    }
}

/// Session entries by canonical key.
pub const SESSIONS: Records = TableDefinition::new("sessions");
/// Sessions by agent and time, the newest first (`sessions/index.rs` has the keys of this and the next four).
pub const SESSIONS_NEWEST: Records = TableDefinition::new("sessions_newest");
/// Sessions by label.
pub const SESSIONS_LABELS: Records = TableDefinition::new("sessions_labels");
/// Canonical keys by session id.
pub const SESSIONS_IDS: Records = TableDefinition::new("sessions_ids");
/// How many sessions an agent has.
pub const SESSIONS_COUNTS: Records = TableDefinition::new("sessions_counts");
/// Transcripts that are of no session any more, oldest first.
pub const TRANSCRIPTS_ENDED: Records = TableDefinition::new("transcripts_ended");
/// Transcript lines by session id.
pub const TRANSCRIPTS: Lines = TableDefinition::new("transcripts");
/// Idempotency records (D19).
pub const DEDUPE: Records = TableDefinition::new("dedupe");
/// Paired devices by id.
pub const DEVICES: Records = TableDefinition::new("devices");
/// When paired devices were last seen, by id.
pub const DEVICES_SEEN: Records = TableDefinition::new("devices_seen");
/// How far each channel account has been read.
pub const CURSORS: Records = TableDefinition::new("cursors");
/// Inbound messages that are not handled yet, in order of arrival.
pub const INBOX: Records = TableDefinition::new("inbox");
/// Names of inbound messages that were accepted, waiting or handled, to recognise a redelivery.
pub const INBOX_SEEN: Records = TableDefinition::new("inbox_seen");
/// Names that operators gave to nodes, by node id.
pub const NODE_NAMES: Records = TableDefinition::new("node_names");
/// Node pairing requests that wait, by request id.
pub const NODE_REQUESTS: Records = TableDefinition::new("node_requests");
/// Paired nodes with their tokens, by node id.
pub const NODE_PAIRS: Records = TableDefinition::new("node_pairs");
/// Messages that have to go out, in order.
pub const OUTBOUND: Records = TableDefinition::new("outbox");
/// Messages that could not be delivered, or may not have been.
pub const DEAD_LETTERS: Records = TableDefinition::new("dead_letters");
/// Runs that were accepted and have not ended, by run id.
pub const RUNS: Records = TableDefinition::new("runs");
/// How the last runs ended, by run id, for `agent.wait`.
pub const RUNS_ENDED: Records = TableDefinition::new("runs_ended");
/// Which note of a restart was told last.
pub const RESTARTS: Records = TableDefinition::new("restarts");
/// Sessions that were taken over from OpenClaw, by session id, and whether that was offered.
pub const IMPORTED: Records = TableDefinition::new("imported");
