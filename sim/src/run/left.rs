//! The state that an earlier build has left (`[gateway] disk`): its files, and what of it a disk holds later. It is read without
//! changing it, whatever version it has.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // the image lies in the real world

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use openclaw_platform::{Millis, Storage};
use openclaw_server::{
    schema::SCHEMA,
    store::{self, StoreError, backup},
};
use openclaw_store::inspect;
use redb::{ReadTransaction, ReadableTable as _, TableError};
use serde_json::Value;

use super::kept;
use crate::{
    history::{Holding, What},
    storage::SimDisk,
};

/// Tables whose records stand for themselves; those that find sessions are judged by [`store::SESSIONS`].
const TABLES: [(&str, store::Records); 12] = [
    ("sessions", store::SESSIONS),
    ("keys", store::DEDUPE),
    ("devices", store::DEVICES),
    ("cursors", store::CURSORS),
    ("inbox", store::INBOX),
    ("outbound", store::OUTBOUND),
    ("dead letters", store::DEAD_LETTERS),
    ("runs", store::RUNS),
    ("ended runs", store::RUNS_ENDED),
    ("node names", store::NODE_NAMES),
    ("node requests", store::NODE_REQUESTS),
    ("node pairs", store::NODE_PAIRS),
];

/// The directory of an image.
fn directory(image: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios").join(image)
}

/// Says when an image was made, in milliseconds of the wall clock; it is no file of the state.
const MADE: &str = "made";

/// Puts the files of an image on a disk; when it was made.
///
/// # Errors
/// When there is no such image or it cannot be read.
pub(super) fn put(image: &str, disk: &SimDisk) -> Result<Millis, String> {
    let root = directory(image);
    let failed = |path: &Path, e: &dyn std::fmt::Display| format!("[gateway] disk: {}: {e}", path.display());
    let mut left = vec![root.clone()];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            for entry in fs::read_dir(&path).map_err(|e| failed(&path, &e))? {
                left.push(entry.map_err(|e| failed(&path, &e))?.path());
            }
        } else {
            let name =
                path.strip_prefix(&root).ok().and_then(Path::to_str).ok_or_else(|| failed(&path, &"its name"))?;
            disk.put(name, &fs::read(&path).map_err(|e| failed(&path, &e))?);
        }
    }
    let mount = disk.mount();
    mount.len(store::FILE).map_err(|e| failed(&root, &format!("{}: {e}", store::FILE)))?;
    let made = mount.read(MADE).map_err(|e| failed(&root.join(MADE), &e))?;
    disk.take(MADE);
    String::from_utf8_lossy(&made).trim().parse().map_err(|e| failed(&root.join(MADE), &e))
}

/// What is in it, before anything happens.
///
/// # Errors
/// When its database cannot be read.
pub(super) fn begun(disk: &SimDisk) -> Result<Vec<What>, String> {
    let read = |tx: &ReadTransaction, _| Ok((kept::stored(tx)?, waits(tx)?));
    let (_, (stored, waits)) =
        inspect::look(Arc::new(disk.mount()), store::FILE, &SCHEMA, read).map_err(|e| e.to_string())?;
    let conversation = |what| match what {
        What::Stored { key, id, parts, .. } => Some(What::Begun { key, id, parts }),
        _ => None,
    };
    let all = stored.into_iter().filter_map(conversation);
    Ok(all
        .chain([What::Left {
            newest: SCHEMA.version(),
            state: holding(disk, store::FILE),
            copies: copies(disk),
            waits,
        }])
        .collect())
}

/// What a disk holds now.
pub(super) fn left(disk: &SimDisk) -> What {
    let (state, copies) = (holding(disk, store::FILE), copies(disk));
    What::Left { newest: SCHEMA.version(), state, copies, waits: BTreeMap::new() }
}

fn copies(disk: &SimDisk) -> BTreeMap<String, Result<Holding, String>> {
    let names = disk.mount().list(backup::DIRECTORY).unwrap_or_default();
    let whole = names.into_iter().filter(|name| Path::new(name).extension().is_some_and(|e| e == "redb"));
    whole.map(|name| (name.clone(), holding(disk, &format!("{}/{name}", backup::DIRECTORY)))).collect()
}

fn holding(disk: &SimDisk, name: &str) -> Result<Holding, String> {
    let found = inspect::look(Arc::new(disk.mount()), name, &SCHEMA, |tx, schema| Ok((schema, rows(tx)?)));
    found.map(|(_, (schema, rows))| Holding { schema, rows }).map_err(|e| e.to_string())
}

fn rows(tx: &ReadTransaction) -> Result<BTreeMap<String, BTreeMap<String, String>>, StoreError> {
    let mut all = BTreeMap::new();
    for (name, table) in TABLES {
        let table = match tx.open_table(table) {
            Err(TableError::TableDoesNotExist(_)) => continue,
            table => table?,
        };
        let rows = all.entry(name.to_owned()).or_insert_with(BTreeMap::new);
        for row in table.iter()? {
            let (key, value) = row?;
            rows.insert(key.value().to_owned(), fakes::sum(value.value()));
        }
    }
    let lines = all.entry("transcripts".to_owned()).or_insert_with(BTreeMap::new);
    for row in tx.open_table(store::TRANSCRIPTS)?.iter()? {
        let (key, value) = row?;
        lines.insert(format!("{:?}", key.value()), fakes::sum(value.value()));
    }
    Ok(all)
}

/// Chat and text of what has to go out.
fn waits(tx: &ReadTransaction) -> Result<BTreeMap<String, (String, String)>, StoreError> {
    let all: Vec<(String, Value)> = store::all(tx, store::OUTBOUND)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(all.into_iter().map(|(id, row)| (id, (text(&row["to"]["chat"]), text(&row["text"])))).collect())
}
