use std::sync::Arc;

use openclaw_platform::MemoryStorage;

use super::*;
use crate::{
    sessions::store::Line,
    store::{FILE, all, decode, encode, put},
};

/// What programs of before kept.
static EARLIER: [Schema; 4] = [
    Schema { steps: &[first], sealed: 3 },
    Schema { steps: &[first, second], sealed: 3 },
    Schema { steps: &[first, second, openclaw_store::seal_all], sealed: 3 },
    Schema { steps: &[first, second, openclaw_store::seal_all, fourth], sealed: 3 },
];

fn line() -> Line {
    let content = vec![openclaw_protocol::message::Content::text("x".repeat(9000))];
    let message = openclaw_protocol::message::Message::User { content, timestamp: 7 };
    Line::Message { id: "00000000".into(), message }
}

/// Each earlier version is brought to this one with what was in it.
#[tokio::test]
async fn every_earlier_version_is_migrated() {
    assert_eq!(EARLIER.last().unwrap().version(), SCHEMA.version(), "a version is not tried");
    for earlier in &EARLIER {
        let mut platform = openclaw_platform::os::without_files();
        platform.storage = Arc::new(MemoryStorage::new());
        let store = Store::open(&platform, earlier).unwrap();
        let is_sealed = earlier.version() >= earlier.sealed;
        let work = move |tx: &WriteTransaction| {
            let (mut cursors, mut lines) = (tx.open_table(CURSORS)?, tx.open_table(TRANSCRIPTS)?);
            // More than is sealed at a time.
            for n in 0..300u64 {
                let (key, line) = (format!("account {n:03}"), line());
                if is_sealed {
                    put(&mut cursors, &key, &n)?;
                    lines.insert(("s", n), encode(&TRANSCRIPTS, ("s", n), &line)?.as_slice())?;
                } else {
                    cursors.insert(key.as_str(), n.to_string().as_bytes())?;
                    lines.insert(("s", n), serde_json::to_vec(&line).unwrap().as_slice())?;
                }
            }
            Ok(())
        };
        store.write(work).await.unwrap();
        drop(store);
        for _ in 0..2 {
            let store = open(&platform).unwrap();
            let numbers = store.read(|tx| all::<u64>(tx, CURSORS)).unwrap();
            assert_eq!(numbers.into_iter().map(|(_, n)| n).collect::<Vec<_>>(), (0..300).collect::<Vec<_>>());
            let said: Result<Vec<Line>, StoreError> = store.read(|tx| {
                let table = tx.open_table(TRANSCRIPTS)?;
                let rows = table.range(("s", 0)..)?;
                rows.map(|row| row.map_err(Into::into).and_then(|(k, v)| decode(&TRANSCRIPTS, k.value(), v.value())))
                    .collect()
            });
            assert_eq!(said.unwrap(), vec![line(); 300]);
            // Every record is compared with its seal.
            let look = |_: &redb::ReadTransaction, _| Ok(());
            let (found, ()) = openclaw_store::inspect::look(platform.storage.clone(), FILE, &SCHEMA, look).unwrap();
            assert_eq!(found.schema, SCHEMA.version());
            assert!(found.records >= 600, "{}", found.records);
        }
    }
}
