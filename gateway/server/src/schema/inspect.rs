//! A look at the state database that changes nothing: it is whole, and this much waits in it.

use std::sync::Arc;

use openclaw_platform::Storage;
use openclaw_store::{Records, StoreError, all, record};
use redb::{ReadTransaction, ReadableTableMetadata as _, TableError};

use super::{INDEXED, SCHEMA};
use crate::{
    delivery::{
        Counts,
        outbound::{OutboundMessage, State},
    },
    store::{DEAD_LETTERS, INBOX, OUTBOUND, RUNS, SESSIONS},
};

/// What is in a database that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// The file, whatever is in it.
    pub file: openclaw_store::inspect::Contents,
    /// Sessions.
    pub sessions: u64,
    /// Runs that were accepted and have not ended: with no gateway running they were interrupted.
    pub runs: u64,
    /// Inbound messages that wait to be handled.
    pub inbox: u64,
    /// Outbound messages.
    pub outbounds: Counts,
}

/// Reads all of a database, with the checksums of its pages and records and its indexes, and says what is in it. Nothing is
/// written, whatever is found.
///
/// # Errors
/// [`StoreError::Damaged`], [`StoreError::Newer`]; when the file cannot be read.
pub fn look(storage: Arc<dyn Storage>, name: &str) -> Result<Contents, StoreError> {
    let (file, (sessions, runs, inbox, outbounds)) = openclaw_store::inspect::look(storage, name, &SCHEMA, waiting)?;
    Ok(Contents { file, sessions, runs, inbox, outbounds })
}

fn waiting(tx: &ReadTransaction, version: u32) -> Result<(u64, u64, u64, Counts), StoreError> {
    if version >= INDEXED {
        let differences = crate::sessions::index::differences(tx)?;
        if !differences.is_empty() {
            return Err(StoreError::Damaged(format!(
                "its indexes disagree with its sessions: {}",
                differences.join("; ")
            )));
        }
    }
    let dead: Vec<(String, OutboundMessage)> =
        if version < SCHEMA.sealed { record::unsealed(tx, DEAD_LETTERS)? } else { all(tx, DEAD_LETTERS)? };
    let unknown = dead.iter().filter(|(_, outbound)| matches!(outbound.state, State::Unknown { .. })).count();
    let outbounds = Counts { queued: records(tx, OUTBOUND)? as usize, dead: dead.len() - unknown, unknown };
    Ok((records(tx, SESSIONS)?, records(tx, RUNS)?, records(tx, INBOX)?, outbounds))
}

/// Records of a table; none where an earlier schema does not have it.
fn records(tx: &ReadTransaction, table: Records) -> Result<u64, StoreError> {
    match tx.open_table(table) {
        Err(TableError::TableDoesNotExist(_)) => Ok(0),
        table => Ok(table?.len()?),
    }
}

#[cfg(test)]
mod tests {
    use openclaw_platform::{MemoryStorage, Platform};

    use super::*;
    use crate::{
        sessions::entry::SessionEntry,
        store::{FILE, Schema, Store, put},
    };

    /// Unit in which a page is spoilt.
    const PAGE: u64 = 4096;

    fn platform() -> Platform {
        Platform { storage: Arc::new(MemoryStorage::new()), ..openclaw_platform::os::without_files() }
    }

    async fn filled(platform: &Platform) -> Store {
        let store = crate::schema::open(platform).unwrap();
        let sessions = crate::sessions::store::Sessions::new(store.clone(), platform.entropy.clone());
        for n in 0..300 {
            let also = move |tx: &redb::WriteTransaction, _: &SessionEntry| {
                put(&mut tx.open_table(INBOX)?, &format!("i{}", n % 7), &n)
            };
            let name = |e: &mut SessionEntry| e.display_name = Some("x".repeat(200));
            sessions.update(&format!("s{n}"), 1, name, also).await.unwrap();
        }
        store
    }

    /// The file, once the committer has let go of the database, which it does a moment after the last user.
    async fn when_closed(platform: &Platform) -> Vec<u8> {
        for _ in 0..1000 {
            if !look(platform.storage.clone(), FILE).unwrap().file.repaired {
                return platform.storage.read(FILE).unwrap();
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("the database was not closed");
    }

    /// What a process that was killed leaves has to be repaired to be read, and is left as it is.
    #[tokio::test]
    async fn f18_looking_changes_nothing() {
        let platform = platform();
        let store = filled(&platform).await;
        // As it is on the disk while the database is open: not closed in good order.
        let bytes = platform.storage.read(FILE).unwrap();
        drop(store);
        for (bytes, killed) in [(bytes, true), (when_closed(&platform).await, false)] {
            platform.storage.write_atomic(FILE, &bytes).unwrap();
            let found = look(platform.storage.clone(), FILE).unwrap();
            assert_eq!((found.sessions, found.inbox, found.runs), (300, 7, 0));
            assert_eq!(
                (found.file.schema, found.file.bytes, found.file.repaired),
                (SCHEMA.version(), bytes.len() as u64, killed)
            );
            assert!(bytes == platform.storage.read(FILE).unwrap(), "the file was written");
        }
    }

    /// A damaged page is found wherever it is, and nothing is written: in a database that was closed in good order, whose
    /// pages are not compared when it is opened, and in one that was not.
    #[tokio::test]
    async fn f18_damage_is_found_and_left_alone() {
        let platform = platform();
        let store = filled(&platform).await;
        let killed = platform.storage.read(FILE).unwrap();
        drop(store);
        let closed = when_closed(&platform).await;
        for whole in [killed, closed] {
            let (mut found, mut unused) = (0, 0);
            for page in 0..whole.len() / PAGE as usize {
                let mut bytes = whole.clone();
                let at = page * PAGE as usize;
                bytes[at..at + PAGE as usize].iter_mut().for_each(|b| *b ^= 0x5a);
                platform.storage.write_atomic(FILE, &bytes).unwrap();
                match look(platform.storage.clone(), FILE) {
                    Err(StoreError::Damaged(_) | StoreError::Database(_)) => found += 1,
                    Err(other) => panic!("page {page}: {other}"),
                    // A page that nothing refers to; or the transaction before the last one is whole, and it is said.
                    Ok(there) => {
                        assert!(
                            there.file.repaired || (there.sessions, there.inbox) == (300, 7),
                            "page {page}: {there:?}"
                        );
                        unused += 1;
                    }
                }
                assert!(bytes == platform.storage.read(FILE).unwrap(), "page {page}: the file was written");
            }
            assert!(found >= 20, "{found} of {} pages", found + unused);
        }
    }

    #[tokio::test]
    async fn what_is_no_state_of_this_program_is_refused() {
        let platform = platform();
        let storage = platform.storage.clone();
        assert!(look(storage.clone(), FILE).unwrap_err().to_string().contains(FILE));
        storage.write_atomic(FILE, b"no database").unwrap();
        assert!(matches!(look(storage.clone(), FILE), Err(StoreError::Damaged(_))));
        storage.remove(FILE).unwrap();
        static NEWER: Schema = Schema { steps: &[crate::schema::first as openclaw_store::Step; 99], sealed: 3 };
        drop(Store::open(&platform, &NEWER).unwrap());
        assert!(matches!(look(storage, FILE), Err(StoreError::Newer { found: 99, known: 4 })));
    }
}
