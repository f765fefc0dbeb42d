//! What the gateway's database holds at the end, read as a stranger would read it: by the names of its members.

use std::collections::{BTreeMap, BTreeSet};

use openclaw_platform::Storage;
use openclaw_server::store::{self, Store};
use redb::{ReadTransaction, ReadableTable as _};
use serde_json::Value;

use crate::history::{What, parts};

/// Every conversation, in the order of its ids; nothing when it cannot be read.
pub(super) fn conversations(store: &Store) -> Vec<What> {
    store.read(stored).unwrap_or_default()
}

/// The conversations of a snapshot.
pub(super) fn stored(tx: &ReadTransaction) -> Result<Vec<What>, store::StoreError> {
    let mut lines: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for row in tx.open_table(store::TRANSCRIPTS)?.iter()? {
        let (key, value) = row?;
        let line: Value = store::decode(&store::TRANSCRIPTS, key.value(), value.value())?;
        let of = lines.entry(key.value().0.to_owned()).or_default();
        of.extend(line.get("message").cloned());
    }
    let sessions: Vec<(String, Value)> = store::all(tx, store::SESSIONS)?;
    let whose = |id: &str| sessions.iter().find(|(_, entry)| entry["sessionId"] == id);
    let stored = |(id, messages): (&String, &Vec<Value>)| {
        let session = whose(id);
        let count = |of: &Value, names: [&str; 3]| names.map(|name| of[name].as_u64().unwrap_or(0));
        let counted = session.map_or([0; 3], |(_, e)| count(e, ["inputTokens", "outputTokens", "totalTokens"]));
        let each = messages.iter().map(|m| count(&m["usage"], ["input", "output", "totalTokens"]));
        let sum = each.fold([0; 3], |a: [u64; 3], b| [a[0] + b[0], a[1] + b[1], a[2] + b[2]]);
        What::Stored {
            key: session.map(|(key, _)| key.clone()),
            id: id.clone(),
            parts: parts::of_messages(messages.iter()),
            tokens: (counted, sum),
        }
    };
    Ok(lines.iter().map(stored).collect())
}

/// Every archived conversation of the first agent.
pub(super) fn archives(storage: &dyn Storage) -> Vec<What> {
    let directory = "agents/main/sessions";
    let names = storage.list(directory).unwrap_or_default();
    let read = |name: String| {
        let file = format!("{directory}/{name}");
        let text = String::from_utf8(storage.read(&file).ok()?).ok()?;
        let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let messages: Vec<&Value> = lines.iter().filter_map(|line| line.get("message")).collect();
        Some(What::Archived { file, parts: parts::of_messages(messages.into_iter()) })
    };
    names.into_iter().filter(|name| name.contains(".jsonl.")).filter_map(read).collect()
}

/// Every file of media, received or to be sent.
pub(super) fn files(store: &Store, storage: &dyn Storage) -> Vec<What> {
    let letters = |table| store.read(|tx| store::keys(tx, table)).unwrap_or_default();
    let letters: BTreeSet<String> = letters(store::OUTBOUND).into_iter().chain(letters(store::DEAD_LETTERS)).collect();
    let mut files = Vec::new();
    for directory in ["media/inbound", "media/outbound"] {
        for name in storage.list(directory).unwrap_or_default() {
            let used = name.rsplit_once('-').is_some_and(|(letter, _)| letters.contains(letter));
            let file = format!("{directory}/{name}");
            let sum = storage.read(&file).map(|content| fakes::sum(&content)).unwrap_or_default();
            files.push(What::Kept { file, sum, used });
        }
    }
    files
}
