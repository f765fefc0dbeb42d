//! What an edit of the configuration changes, and what each change takes: one table for code, document and test.

use std::fmt;

use serde_json::{Map, Value};

use crate::{Config, Loaded, Path, REDACTED, Segment};

/// What has to happen for a change to be in force; the later beats the earlier.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Nothing: the running gateway does not use the value.
    Nothing,
    /// Nothing more than the new configuration itself: whoever uses the value asks for it each time.
    Live,
    /// That channel begins anew; everything else goes on.
    Channel(String),
    /// The gateway stops and starts.
    Restart,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Live => f.write_str("live"),
            Self::Channel(id) => write!(f, "restarts channel {id}"),
            Self::Restart => f.write_str("restart"),
        }
    }
}

/// A value that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where. A list whose length differs is one change, and so is an object that was not there.
    pub path: Path,
    /// What it takes.
    pub effect: Effect,
}

/// What a row of the table says of its paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Nothing,
    Live,
    /// Of the channel that the second key names.
    Channel,
    Restart,
}

/// What a change at `path`, or below it, takes, and why. Keys in order; `*` is any key and `[]` any place of a list.
struct Row {
    path: &'static str,
    class: Class,
    reason: &'static str,
}

const fn row(path: &'static str, class: Class, reason: &'static str) -> Row {
    Row { path, class, reason }
}

/// Kept in the file for other versions and for other programs.
const UNUSED: &str = "this version keeps it and does not use it";
/// Why most values need nothing.
const ASKED: &str = "asked for each time it is used";
/// Why a new program is needed for what the process was given at its start.
const BOUND: &str = "bound when the process starts";

/// The table. The most specific row counts: the longest, and of two of one length that which names a key. What has no row
/// restarts the gateway, which is always right.
const TABLE: &[Row] = {
    use Class::{Channel, Live, Nothing, Restart};
    &[
        row("$schema", Nothing, "read by editors"),
        row(
            "meta",
            Nothing,
            "stamps of programs that write the file (D21: an edit restarts once, and a stamp not at all)",
        ),
        row("wizard", Nothing, "notes of the set-up wizard"),
        row("env", Nothing, "what names a variable is compared by what it becomes"),
        row("secrets", Nothing, "what names a secret is compared by what it becomes"),
        // How it listens, whom it lets in.
        row("gateway", Restart, BOUND),
        row("gateway.mode", Restart, "a start decides by it whether this process may serve"),
        row("gateway.port", Restart, "the listener is bound to it"),
        row("gateway.bind", Restart, "the listener is bound to it"),
        row("gateway.customBindHost", Restart, "the listener is bound to it"),
        row("gateway.auth", Live, "read again from the file at each handshake (S04)"),
        row("gateway.trustedProxies", Live, ASKED),
        row("gateway.tailscale", Restart, "a start checks that address, secret and publication fit together"),
        row("gateway.remote", Nothing, "read by clients on this machine, not by the gateway"),
        row("gateway.reload", Live, "it is how this very edit is taken over"),
        row("gateway.controlUi.allowedOrigins", Live, ASKED),
        row("gateway.controlUi.*", Restart, "the interface is set up when the process starts"),
        row("gateway.http", Nothing, UNUSED),
        row(
            "gateway.tls",
            Restart,
            "the port speaks TLS or it does not; a new certificate in the same files needs nothing",
        ),
        row("gateway.nodes", Live, ASKED),
        row("gateway.nodes.browser", Nothing, UNUSED),
        // Bounds.
        row("gateway.limits.maxPayload", Live, "each connection has the one that it was told at its hello"),
        row("gateway.limits.maxHandshakePayload", Live, ASKED),
        row("gateway.limits.maxBufferedBytes", Live, "each connection has the one that it was told at its hello"),
        row("gateway.limits.tickIntervalMs", Restart, "connected clients were told it and expect events at that pace"),
        row("gateway.limits.handshakeTimeoutMs", Restart, "places of connections are made at the start"),
        row("gateway.limits.maxUnauthenticated", Restart, "places of connections are made at the start"),
        row("gateway.limits.maxUnauthenticatedPerAddress", Restart, "places of connections are made at the start"),
        row("gateway.limits.maxConnections", Live, ASKED),
        row("gateway.limits.drainMs", Live, "asked for at the stop"),
        row("gateway.limits.maxQueuedPerSession", Live, ASKED),
        row("gateway.limits.dedupeMs", Live, ASKED),
        row("gateway.limits.maxDedupeEntries", Live, "the oldest go with the next use"),
        // Agents and models.
        row("agents", Live, "asked for at each run"),
        row("agents.defaults.workspace", Live, "made, and opened for media, when it is taken over"),
        row("agents.defaults.maxConcurrent", Live, "in force with the next run that begins or ends"),
        row("agents.defaults.onRestart", Live, "asked for at the next start"),
        row("agents.list", Live, "asked for at each run"),
        row("agents.list[].agentDir", Restart, "kept from commands and media when the process starts"),
        row("agents.list[].workspace", Live, "made, and opened for media, when it is taken over"),
        row("models", Live, "asked for at each run"),
        // Channels.
        row("channels", Restart, "what is no channel's own is read where channels are made"),
        row("channels.defaults", Restart, "all channels are made with it"),
        row("channels.*", Channel, "an account is made with all of its settings"),
        // Conversations.
        row("bindings", Live, "asked for at each message"),
        row("session", Live, ASKED),
        row("session.store", Nothing, UNUSED),
        row("messages", Live, ASKED),
        row("tools", Live, ASKED),
        row("commands", Live, ASKED),
        row("commands.native", Nothing, UNUSED),
        row("commands.nativeSkills", Nothing, UNUSED),
        // The log is begun before anything else.
        row("logging", Restart, BOUND),
        row("canvasHost", Nothing, UNUSED),
        row("browser", Live, "asked for at each request; a browser that runs keeps what it was started with"),
        row("browser.enabled", Restart, "the control service begins with the process"),
        row("discovery", Restart, "announced at the start, by a program that was built with it"),
        row("discovery.wideArea", Nothing, UNUSED),
        // Sections that wait for their issue.
        row("cron", Nothing, UNUSED),
        row("hooks", Nothing, UNUSED),
        row("ui", Nothing, UNUSED),
        row("skills", Nothing, UNUSED),
        row("plugins", Nothing, UNUSED),
        row("update", Nothing, UNUSED),
        row("talk", Nothing, UNUSED),
        row("web", Nothing, UNUSED),
        row("auth", Nothing, UNUSED),
        row("approvals", Nothing, UNUSED),
        row("nodeHost", Nothing, UNUSED),
        row("broadcast", Nothing, UNUSED),
        row("audio", Nothing, UNUSED),
        row("media", Nothing, UNUSED),
        row("diagnostics", Nothing, UNUSED),
    ]
};

/// What differs between two configurations, in the order of their keys, defaults filled in: a value that was written and is
/// the default all the same is no change.
pub fn diff(old: &Loaded, new: &Loaded) -> Vec<Change> {
    let mut changed = Vec::new();
    compare(&effective(old), &effective(new), &Path::default(), &mut changed);
    changed
}

/// All values in force, secrets included.
fn effective(loaded: &Loaded) -> Value {
    let mut value = serde_json::to_value::<&Config>(&loaded.config).unwrap_or_default();
    reveal(&mut value, &loaded.value);
    value
}

/// Types serialise secrets as a marker: what was written takes its place.
fn reveal(value: &mut Value, written: &Value) {
    match (value, written) {
        (Value::Object(map), Value::Object(written)) => {
            for (key, value) in map {
                written.get(key).into_iter().for_each(|written| reveal(value, written));
            }
        }
        (Value::Array(list), Value::Array(written)) => {
            list.iter_mut().zip(written).for_each(|(value, written)| reveal(value, written));
        }
        (Value::String(text), written) if text == REDACTED => written.as_str().unwrap_or_default().clone_into(text),
        _ => {}
    }
}

/// The places of `new` that differ from `old`. A key that is missing is the same as one that is null.
fn compare(old: &Value, new: &Value, path: &Path, changed: &mut Vec<Change>) {
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            let of = |map: &Map<String, Value>, key: &str| map.get(key).cloned().unwrap_or_default();
            let added = b.keys().filter(|key| !a.contains_key(*key));
            a.keys().chain(added).for_each(|key| compare(&of(a, key), &of(b, key), &path.key(key), changed));
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() && a.iter().chain(b).all(Value::is_object) => {
            a.iter().zip(b).enumerate().for_each(|(i, (a, b))| compare(a, b, &path.index(i), changed));
        }
        (a, b) if a != b => changed.push(Change { effect: effect(path, &[a, b]), path: path.clone() }),
        _ => {}
    }
}

/// What a change of the value at `path` takes, when nothing stands below it.
pub fn effect_of(path: &Path) -> Effect {
    own_row(path).map_or(Effect::Restart, |row| in_force(row.class, path))
}

/// What a change at `path` takes. It may be a whole object or list: rows below it count as well, as far as one of the two values
/// has something there (an agent that comes without a working directory of its own changes none).
fn effect(path: &Path, values: &[&Value]) -> Effect {
    let own = effect_of(path);
    let depth = path.segments().len();
    let is_there = |row: &&Row| {
        let rest: Vec<&str> = steps(row.path).skip(depth).collect();
        values.iter().any(|value| stands_at(value, &rest))
    };
    let below = TABLE.iter().filter(|row| matches(path, row.path) == Matched::Above).filter(is_there);
    below.map(|row| in_force(row.class, path)).chain([own]).max().unwrap_or(Effect::Restart)
}

/// True where something stands in `value` at these steps of a pattern.
fn stands_at(value: &Value, steps: &[&str]) -> bool {
    match (steps, value) {
        ([], value) => !value.is_null(),
        (["[]", rest @ ..], Value::Array(list)) => list.iter().any(|item| stands_at(item, rest)),
        (["*", rest @ ..], Value::Object(map)) => map.values().any(|item| stands_at(item, rest)),
        ([key, rest @ ..], Value::Object(map)) => map.get(*key).is_some_and(|item| stands_at(item, rest)),
        _ => false,
    }
}

fn own_row(path: &Path) -> Option<&'static Row> {
    let rows = TABLE.iter().filter(|row| matches!(matches(path, row.path), Matched::Here));
    // Of one length, a key says more than `*`.
    rows.max_by_key(|row| (steps(row.path).count(), !row.path.contains('*')))
}

fn in_force(class: Class, path: &Path) -> Effect {
    match (class, path.segments().get(1)) {
        (Class::Nothing, _) => Effect::Nothing,
        (Class::Live, _) => Effect::Live,
        (Class::Channel, Some(Segment::Key(id))) => Effect::Channel(id.clone()),
        (Class::Channel | Class::Restart, _) => Effect::Restart,
    }
}

/// How a path and the pattern of a row stand to each other.
#[derive(PartialEq)]
enum Matched {
    /// The path is the row's, or below it.
    Here,
    /// The row is below the path.
    Above,
    /// They have nothing to do with each other.
    Not,
}

fn matches(path: &Path, pattern: &str) -> Matched {
    let mut segments = path.segments().iter();
    for step in steps(pattern) {
        let Some(segment) = segments.next() else { return Matched::Above };
        let is_same = match segment {
            Segment::Key(key) => step == "*" || step == key,
            Segment::Index(_) => step == "[]",
        };
        if !is_same {
            return Matched::Not;
        }
    }
    Matched::Here
}

/// `a.b[].c` as `a`, `b`, `[]`, `c`.
fn steps(pattern: &str) -> impl Iterator<Item = &str> {
    pattern.split('.').flat_map(|step| match step.strip_suffix("[]") {
        Some(key) => vec![key, "[]"],
        None => vec![step],
    })
}

/// The table as it stands in `docs/configuration.md`.
pub fn table() -> String {
    let rows = TABLE.iter().map(|Row { path, class, reason }| {
        let effect = match class {
            Class::Nothing => "nothing",
            Class::Live => "live",
            Class::Channel => "restarts the channel",
            Class::Restart => "restart",
        };
        format!("| `{path}` | {effect} | {reason} |\n")
    });
    ["| path | a change of it | because |\n| --- | --- | --- |\n".to_owned()].into_iter().chain(rows).collect()
}

#[cfg(test)]
mod tests;
