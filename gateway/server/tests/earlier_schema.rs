//! A database that the program before the last schema step wrote opens, with everything in it, and that program can have it
//! back (F60). `data/schema-3.redb` was written by that program: three agents' turns, labels, a reset, a deleted session whose
//! transcript stayed, a session begun by another.

#![allow(clippy::unwrap_used)] // a test

use std::sync::Arc;

use openclaw_config::Config;
use openclaw_platform::{MemoryStorage, Platform, Storage as _, os};
use openclaw_protocol::message::Message;
use openclaw_server::{
    ServerOptions,
    gateway::Gateway,
    schema::{SCHEMA, inspect},
    sessions::index::Order,
    store::{self, FILE, StoreError, backup},
};

const WRITTEN: &[u8] = include_bytes!("data/schema-3.redb");

fn platform(storage: &MemoryStorage) -> Platform {
    Platform { storage: Arc::new(storage.clone()), ..os::without_files() }
}

fn open(storage: &MemoryStorage) -> Result<Arc<Gateway>, StoreError> {
    Gateway::open(platform(storage), ServerOptions::bare(Arc::new(Config::default())))
}

fn kept(storage: &MemoryStorage) -> Vec<String> {
    storage.list("backups").unwrap()
}

#[tokio::test]
async fn f60_what_the_program_before_has_written_is_all_there() {
    let storage = MemoryStorage::new();
    storage.write_atomic(FILE, WRITTEN).unwrap();
    let before = inspect::look(Arc::new(storage.clone()), FILE).unwrap();
    assert_eq!((before.file.schema, before.sessions), (3, 5));
    let gateway = open(&storage).unwrap();
    let sessions = &gateway.sessions;

    let mut newest = vec![];
    sessions
        .look(None, Order::Newest, |s| {
            newest.push((s.key, s.label, s.spawned_by));
            true
        })
        .unwrap();
    let named = |key: &str, label: Option<&str>, by: Option<&str>| {
        (key.to_owned(), label.map(str::to_owned), by.map(str::to_owned))
    };
    assert_eq!(
        newest,
        [
            named("agent:main:subagent:child", None, Some("agent:main:main")),
            named("agent:main:diary", None, None),
            named("agent:ops:main", Some("Operations"), None),
            named("agent:main:work", Some("At work"), None),
            named("agent:main:main", None, None),
        ]
    );
    assert_eq!(sessions.counts().unwrap(), [("main".to_owned(), 4), ("ops".to_owned(), 1)]);
    assert_eq!(sessions.labelled("Operations", 9).unwrap(), ["agent:ops:main"]);

    let diary = sessions.get("agent:main:diary").unwrap().unwrap();
    assert_eq!(sessions.key_of(&diary.session_id).unwrap().as_deref(), Some("agent:main:diary"));
    let said: Vec<String> = sessions.messages(&diary.session_id, 99).unwrap().iter().map(Message::text).collect();
    assert_eq!(said, ["after the reset", "after the reset"]);
    // The one before the reset and the one whose session was deleted.
    let ended = sessions.ended(|_| true).unwrap();
    let lines = |id: &str| sessions.messages(id, 99).unwrap().iter().map(Message::text).collect::<Vec<_>>();
    let mut ended: Vec<_> = ended.iter().map(|(_, id)| lines(id)).collect();
    ended.sort();
    assert_eq!(ended, [["before the reset"; 2], ["gone soon"; 2]]);

    // Answers to keys are still known.
    assert_eq!(gateway.store.read(|tx| store::keys(tx, store::DEDUPE)).unwrap().len(), 6);
}

#[tokio::test]
async fn f60_the_program_before_can_have_its_database_back() {
    let storage = MemoryStorage::new();
    storage.write_atomic(FILE, WRITTEN).unwrap();
    let records = inspect::look(Arc::new(storage.clone()), FILE).unwrap().file.records;
    drop(open(&storage).unwrap());
    assert_eq!(kept(&storage), ["openclaw-schema-3.redb"]);
    // A start without a schema step keeps nothing.
    drop(open(&storage).unwrap());
    assert_eq!(kept(&storage), ["openclaw-schema-3.redb"]);

    let copy = "backups/openclaw-schema-3.redb";
    let found = backup::check(&storage, copy, &SCHEMA).unwrap();
    assert_eq!((found.schema, found.records), (3, records));
    storage.write_atomic("gateway.redb.restoring", &storage.read(copy).unwrap()).unwrap();
    let shared: Arc<dyn openclaw_platform::Storage> = Arc::new(storage.clone());
    backup::restore(&shared, "gateway.redb.restoring", &SCHEMA).unwrap();
    assert!(storage.read(FILE).unwrap() == storage.read(copy).unwrap(), "byte by byte");
    assert_eq!(inspect::look(Arc::new(storage.clone()), FILE).unwrap().file.schema, 3);
    // And forth: what was kept is still the same, so it is not kept twice.
    drop(open(&storage).unwrap());
    assert_eq!(kept(&storage), ["openclaw-schema-3.redb"]);
}

#[tokio::test]
async fn f60_what_cannot_be_kept_is_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    let platform = os::platform(dir.path()).unwrap();
    platform.storage.write_atomic(FILE, WRITTEN).unwrap();
    // A file where the directory of backups has to be.
    platform.storage.write_atomic("backups", b"in the way").unwrap();
    let opened = Gateway::open(platform.clone(), ServerOptions::bare(Arc::new(Config::default())));
    let Err(error) = opened else { panic!("opened") };
    let text = error.to_string();
    for part in ["kept for the version before", "Nothing was changed", "Make room"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(inspect::look(platform.storage, FILE).unwrap().file.schema, 3);
}
