//! A new program on what an earlier build has left: it keeps that before it changes it, brings it back, and leaves alone what a newer
//! one has made (F60). The states lie in `scenarios/data`; `earlier_state.toml` and `released_state.toml` simulate the same with a
//! power loss at each operation.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use redb::{Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableHandle as _};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{Gateway, RawClient, TOKEN, binary};

const SOON: Duration = Duration::from_mins(1);
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const LINES: &str = "transcripts";

fn image(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/data").join(name)
}

/// A home in which the files of an image are the state, with this program's configuration.
fn home(name: &str) -> TempDir {
    let home = TempDir::new().unwrap();
    let state = home.path().join(".openclaw");
    fs::create_dir(&state).unwrap();
    for entry in fs::read_dir(image(name)).unwrap().map(Result::unwrap).filter(|entry| entry.file_name() != "made") {
        fs::copy(entry.path(), state.join(entry.file_name())).unwrap();
    }
    let config = json!({ "gateway": { "mode": "local", "auth": { "token": TOKEN } },
        "agents": { "defaults": { "model": "builtin/echo" }, "list": [{ "id": "main", "default": true }, { "id": "ops" }] } });
    fs::write(state.join("openclaw.json"), config.to_string()).unwrap();
    home
}

fn openclaw(home: &Path, args: &[&str]) -> Output {
    Command::new(binary("openclaw")).args(args).env_clear().env("HOME", home).output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

async fn stop(gateway: &mut Gateway) {
    gateway.signal(Signal::TERM);
    gateway.wait(SOON).await;
}

async fn call(client: &mut RawClient, id: &str, method: &str, params: Value) -> Value {
    client.send(&json!({ "type": "req", "id": id, "method": method, "params": params })).await;
    client.until(|f| f["type"] == "res" && f["id"] == id).await.1["payload"].clone()
}

/// Opening a database writes to it: a copy is looked at.
fn look<T>(file: &Path, read: impl FnOnce(&ReadTransaction) -> T) -> T {
    let place = TempDir::new().unwrap();
    let copy = place.path().join("copy.redb");
    fs::copy(file, &copy).unwrap();
    let database = Database::open(&copy).unwrap();
    read(&database.begin_read().unwrap())
}

type Records = BTreeMap<String, BTreeMap<String, Vec<u8>>>;

/// Every record but those about the database itself, by table and key.
fn records(file: &Path) -> Records {
    look(file, read)
}

fn read(tx: &ReadTransaction) -> Records {
    let mut all = BTreeMap::new();
    for table in tx.list_tables().unwrap().filter(|table| table.name() != META.name()) {
        let mut rows = BTreeMap::new();
        if table.name() == LINES {
            let lines: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new(LINES);
            for row in tx.open_table(lines).unwrap().iter().unwrap() {
                let (key, value) = row.unwrap();
                rows.insert(format!("{:?}", key.value()), value.value().to_vec());
            }
        } else {
            let records: TableDefinition<&str, &[u8]> = TableDefinition::new(table.name());
            for row in tx.open_table(records).unwrap().iter().unwrap() {
                let (key, value) = row.unwrap();
                rows.insert(key.value().to_owned(), value.value().to_vec());
            }
        }
        all.insert(table.name().to_owned(), rows);
    }
    all
}

fn schema(file: &Path) -> u32 {
    look(file, |tx| {
        let schema = tx.open_table(META).unwrap().get("schema").unwrap().unwrap();
        serde_json::from_slice(schema.value()).unwrap()
    })
}

/// The old state is kept before the step, record by record, and one command puts it in place again, byte by byte.
#[tokio::test]
async fn f60_an_earlier_state_is_kept_and_brought_back() {
    let left = image("schema-3").join("gateway.redb");
    let mut gateway = Gateway::start_in(home("schema-3"), &[]).await;
    let (state, home) = (gateway.state(), gateway.home.path().to_owned());
    let (database, kept) = (state.join("gateway.redb"), state.join("backups/openclaw-schema-3.redb"));
    let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    let history = call(&mut client, "h", "chat.history", json!({ "sessionKey": "agent:main:diary" })).await;
    assert_eq!(history["messages"].as_array().unwrap().len(), 2, "{history}");
    assert!(gateway.output().contains("backups/openclaw-schema-3.redb"), "the log says where: {}", gateway.output());
    stop(&mut gateway).await;
    assert!(schema(&database) > 3, "{}", schema(&database));
    assert!(schema(&kept) == 3 && records(&kept) == records(&left), "{:?}", records(&kept).keys());

    let copy = fs::read(&kept).unwrap();
    let restored = openclaw(&home, &["backup", "restore", kept.to_str().unwrap()]);
    assert_eq!(restored.status.code(), Some(0), "{}", told(&restored));
    assert!(fs::read(&database).unwrap() == copy, "byte by byte");
    assert!(fs::read(&kept).unwrap() == copy, "the copy stays as it was");
    assert!(schema(&state.join("gateway.redb.before-restore")) > 3, "the new one is kept beside it");
    // And forth again: what is kept already is not kept twice.
    gateway.restart().await;
    stop(&mut gateway).await;
    assert!(schema(&database) > 3);
    assert_eq!(fs::read_dir(state.join("backups")).unwrap().count(), 1);
}

/// What the last release has left starts without a copy as long as the schema is the same, and all of it is there.
#[tokio::test]
async fn f60_the_state_of_the_last_release_is_gone_on_with() {
    let left = records(&image("schema-4").join("gateway.redb"));
    let mut gateway = Gateway::start_in(home("schema-4"), &[]).await;
    let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    let list = call(&mut client, "l", "sessions.list", json!({})).await;
    let keys: Vec<&str> = list["sessions"].as_array().unwrap().iter().filter_map(|s| s["key"].as_str()).collect();
    for key in left["sessions"].keys() {
        assert!(keys.contains(&key.as_str()), "{key}: {keys:?}");
    }
    stop(&mut gateway).await;
    let now = records(&gateway.state().join("gateway.redb"));
    // Answers to keys and ends of runs are forgotten with time.
    for table in ["devices", "transcripts"] {
        assert!(!left[table].is_empty(), "{table}: the image has nothing of it");
        for (key, value) in &left[table] {
            assert_eq!(now[table].get(key), Some(value), "{table}: {key}");
        }
    }
    // What waited is too old by now: it is told as not delivered, and not lost without a word.
    for key in left["outbox"].keys().chain(left["dead_letters"].keys()) {
        assert!(now["outbox"].contains_key(key) || now["dead_letters"].contains_key(key), "{key}");
    }
}

/// A program from before the step says what it found, what it knows and what to do, changes nothing and exits 1.
#[tokio::test]
async fn f60_a_newer_schema_is_refused() {
    let home = home("schema-3");
    let database = home.path().join(".openclaw/gateway.redb");
    {
        let newer = Database::open(&database).unwrap();
        let tx = newer.begin_write().unwrap();
        tx.open_table(META).unwrap().insert("schema", b"9999".as_slice()).unwrap();
        tx.commit().unwrap();
    }
    let before = records(&database);
    for args in [&["gateway", "--port", "1"][..], &["doctor"], &["backup", "create"]] {
        let refused = openclaw(home.path(), args);
        let said = told(&refused);
        assert_eq!(refused.status.code(), Some(1), "{args:?}: {said}");
        for part in ["gateway.redb has schema 9999, this program knows", "use a newer openclaw", "backup restore"] {
            assert!(said.contains(part), "{args:?}: {part}: {said}");
        }
    }
    assert!(schema(&database) == 9999 && records(&database) == before, "it is left as it was");
    // Nor is it put in the place of a state.
    let aside = home.path().join("newer.redb");
    fs::rename(&database, &aside).unwrap();
    let restored = openclaw(home.path(), &["backup", "restore", aside.to_str().unwrap()]);
    assert!(restored.status.code() == Some(1) && told(&restored).contains("schema 9999"), "{}", told(&restored));
}
