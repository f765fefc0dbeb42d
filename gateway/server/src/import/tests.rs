use std::sync::Arc;

use openclaw_platform::{BoxFuture, Entropy as _, os};
use serde_json::{Value, json};

use super::*;
use crate::sessions::store::{Line, Sessions};

const DAY: Millis = 24 * 60 * 60 * 1000;
const NOW: Millis = 400 * DAY;

fn database() -> Store {
    crate::schema::open(&os::without_files()).unwrap()
}

fn sessions(store: &Store) -> Sessions {
    Sessions::new(store.clone(), Arc::new(os::OsEntropy).fork("sessions"))
}

fn config(text: &str) -> Config {
    openclaw_config::parse(text, &|_| None).unwrap().config
}

/// Counts by kind: taken, already, left.
type Counts = (u64, u64, usize);

fn import<'a>(store: &'a Store, config: Config, entries: &'a Value) -> BoxFuture<'a, (Counts, Vec<Left>)> {
    Box::pin(imported(store, config, entries))
}

async fn imported(store: &Store, config: Config, entries: &Value) -> (Counts, Vec<Left>) {
    let mut import = Import::new(store.clone(), config, NOW);
    let file = "agents/main/sessions/sessions.json".to_owned();
    let files = vec![("main".to_owned(), file, entries.to_string().into_bytes())];
    let mut batch = Vec::new();
    for wanted in import.sessions_in(files).await.unwrap() {
        let mut transcript = Transcript::new(import.most_messages());
        let line = json!({ "type": "message", "id": "a", "message": { "role": "user", "content": wanted.key, "timestamp": 5 } });
        transcript.line(line.to_string().as_bytes(), true);
        batch.push((wanted, Some(transcript)));
    }
    import.sessions(batch).await.unwrap();
    let report = import.done().await.unwrap();
    let of = |mut all: Box<dyn Iterator<Item = (Kind, u64)> + '_>| {
        all.find(|(kind, _)| *kind == Kind::Session).map_or(0, |(_, count)| count)
    };
    let left = report.left();
    let sessions = left.iter().filter(|l| l.kind == Kind::Session).count();
    ((of(Box::new(report.taken())), of(Box::new(report.already())), sessions), left)
}

fn entry(id: &str, at: Millis) -> Value {
    json!({ "sessionId": id, "updatedAt": at, "label": id })
}

/// What was taken once is not taken again, not even when it was deleted here meanwhile.
#[tokio::test]
async fn a_second_import_adds_only_what_is_new() {
    let store = database();
    let mut old = json!({ "main": entry("m", NOW), "agent:main:work": entry("w", NOW - 1) });
    assert_eq!(import(&store, Config::default(), &old).await.0, (2, 0, 0));
    let sessions = sessions(&store);
    assert_eq!(sessions.messages("w", 10).unwrap()[0].text(), "agent:main:work");
    assert!(matches!(sessions.lines("w").unwrap()[0], Line::Session { .. }));
    assert_eq!(sessions.labelled("w", 2).unwrap(), ["agent:main:work"]);
    assert_eq!(store.read(index::differences).unwrap(), Vec::<String>::new());

    sessions.remove("agent:main:work", true).await.unwrap();
    old["agent:main:new"] = entry("n", NOW);
    assert_eq!(import(&store, Config::default(), &old).await.0, (1, 2, 0));
    assert_eq!(sessions.get("agent:main:work").unwrap(), None, "deleted is deleted");
    assert_eq!(sessions.messages("m", 10).unwrap().len(), 1);
}

/// A conversation that goes on here keeps its key, its label and its transcript.
#[tokio::test]
async fn what_is_here_is_not_touched() {
    let store = database();
    let sessions = sessions(&store);
    let change = |e: &mut crate::sessions::entry::SessionEntry| e.label = Some("w".into());
    let (here, ()) = sessions.update("agent:main:main", NOW, change, |_, _| Ok(())).await.unwrap();
    let old = json!({
        "main": entry("m", NOW), "agent:main:main": entry("m2", NOW - 5), "work": entry("w", NOW), "x": entry("w", 5),
    });
    let ((taken, already, _), left) = import(&store, Config::default(), &old).await;
    assert_eq!((taken, already), (1, 0));
    let told: Vec<(&str, bool)> = left.iter().map(|l| (l.what.as_str(), l.why.contains("goes on here"))).collect();
    let older = [("agent:main:main", false), ("agent:main:x", false), ("agent:main:main", true)];
    assert_eq!(told, [&older[..], &[("label of agent:main:work", false)]].concat(), "{left:#?}");
    assert_eq!(sessions.get("agent:main:main").unwrap(), Some(here));
    assert_eq!(sessions.get("agent:main:work").unwrap().unwrap().label, None);
    assert_eq!(store.read(index::differences).unwrap(), Vec::<String>::new());
}

/// Nothing is taken that the first round of maintenance would remove: it is told, and stays in its file (F04).
#[tokio::test]
async fn f04_what_maintenance_would_remove_is_not_taken() {
    let old = json!({
        "main": entry("m", 1), "a": entry("a", NOW), "b": entry("b", NOW - DAY), "c": entry("c", NOW - 20 * DAY),
        "d": entry("d", NOW - 2 * DAY),
    });
    let strict = "{session: {maintenance: {pruneAfter: '10d', maxEntries: 2}}}";
    let (counts, left) = import(&database(), config(strict), &old).await;
    assert_eq!(counts, (3, 0, 2), "the main session stays, whatever its age: {left:#?}");
    assert!(left[0].why.contains("pruneAfter (10d)") && left[1].why.contains("maxEntries (2)"), "{left:#?}");
    let lenient = "{session: {maintenance: {pruneAfter: '10d', maxEntries: 2, mode: 'warn'}}}";
    assert_eq!(import(&database(), config(lenient), &old).await.0, (5, 0, 0));
}

#[tokio::test]
async fn a_broken_file_takes_nothing_and_says_so() {
    let store = database();
    let mut import = Import::new(store.clone(), Config::default(), NOW);
    let files = vec![("main".to_owned(), "x".to_owned(), br#"{"main":{"sessionId":"a"},"#.to_vec())];
    // What stands before the place where it breaks may be half of what it was.
    let wanted = import.sessions_in(files).await.unwrap();
    assert_eq!(wanted, []);
    import.devices("d", b"[1]").await.unwrap();
    import.nodes("n", b"").await.unwrap();
    import.offset("telegram", "default", "t", b"{}").await.unwrap();
    let report = import.done().await.unwrap();
    assert_eq!((report.taken().count(), report.left().len()), (0, 4), "{report:?}");
}

/// The position of a channel that was read here counts, not an older one (F05).
#[tokio::test]
async fn f05_a_cursor_is_taken_only_where_there_is_none() {
    let store = database();
    let mut import = Import::new(store.clone(), Config::default(), NOW);
    for (account, last) in [("default", 7), ("default", 9), ("work", 3)] {
        let text = json!({ "version": 1, "lastUpdateId": last }).to_string();
        import.offset("telegram", account, "t", text.as_bytes()).await.unwrap();
    }
    let cursors: Vec<(String, i64)> = store.read(|tx| store::all(tx, store::CURSORS)).unwrap();
    assert_eq!(cursors, [("telegram:default".to_owned(), 7), ("telegram:work".to_owned(), 3)]);
    let report = import.done().await.unwrap();
    assert_eq!(report.json()["taken"], json!([{ "kind": "channelOffset", "count": 2 }]));
    assert_eq!(report.json()["already"], json!([{ "kind": "channelOffset", "count": 1 }]));
}

/// What was decided here stands: another import brings no token back (D15).
#[tokio::test]
async fn d15_a_revocation_here_outlives_another_import() {
    use crate::devices::Device;

    let store = database();
    let key = "gt4ZP06NN_L62wlpS16j1mwCtEiZ6tIyJQDI1sVZXDE";
    let id = openclaw_protocol::device::PublicKey::parse(key).unwrap().device_id();
    let token = json!({ "operator": { "token": "old", "scopes": ["operator.read"] } });
    let text = json!({ (&id): { "publicKey": key, "roles": ["operator"], "tokens": token } }).to_string();
    let stored = || -> Device { store.read(|tx| store::all(tx, store::DEVICES)).unwrap().remove(0).1 };
    for round in 0..2 {
        let mut import = Import::new(store.clone(), Config::default(), NOW);
        import.devices("devices/paired.json", text.as_bytes()).await.unwrap();
        let report = import.done().await.unwrap();
        let which = if round == 0 { report.taken().next() } else { report.already().next() };
        assert_eq!(which, Some((Kind::Device, 1)));
        if round == 0 {
            let mut device = stored();
            device.approved.clear();
            device.tokens.values_mut().for_each(|token| token.revoked_at_ms = Some(NOW));
            store
                .write(move |tx| store::put(&mut tx.open_table(store::DEVICES)?, &device.device_id, &device))
                .await
                .unwrap();
        }
    }
    let device = stored();
    assert!(device.approved.is_empty() && device.tokens.values().all(|token| token.revoked_at_ms == Some(NOW)));
}
