//! A database that was there and is not any more (S35).
//!
//! A marker beside the database, written with its first commit, says that state was kept here. Where it stands and the
//! database is missing or empty, nothing is begun in its place: in an empty state a revoked device would be unknown again,
//! and what was answered would be answered once more. Only the marker counts: configuration, sessions, credentials and
//! pairings that other programs or people keep in the same directory say nothing about this database.

use std::io::ErrorKind;

use openclaw_platform::Storage;

use super::{FILE, StoreError, backup, database, schema};

/// The marker, beside the database.
pub const MARKER: &str = "gateway.redb.expected";
/// What stands in it, for whoever looks.
const TEXT: &str = "The state of this gateway is in gateway.redb, beside this file. Where that one is missing or empty, the \
                    gateway does not start with an empty state in its place; `openclaw doctor` says what to do.\n";
/// What is left of a lost database, kept beside its place.
const LEFT: &str = "gateway.redb.lost";

/// How a database is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// What was found: "is missing", "is empty".
    pub found: &'static str,
    /// The newest backup, relative to the state directory; `None` when there is none.
    pub newest: Option<String>,
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.newest {
            Some(newest) => {
                write!(f, "the newest backup is {newest}: `openclaw backup restore FILE` puts it in place")?;
            }
            None => write!(f, "there is no backup in {}/", backup::DIRECTORY)?,
        }
        f.write_str("; `openclaw backup accept-loss` lets the next start begin with an empty state")
    }
}

/// Whether the database was lost; `None` for one that is there, and for a state directory that never had one.
///
/// # Errors
/// When the state directory cannot be read.
pub fn find(storage: &dyn Storage) -> Result<Option<Loss>, StoreError> {
    let unread = |e: std::io::Error| StoreError::Open(e.to_string());
    let found = match storage.len(FILE) {
        // Not even an empty one is made under this name: it gets it when its first commit is durable.
        Ok(0) => "is empty",
        Ok(_) => return Ok(None),
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(unread(e)),
        Err(_) if !is_marked(storage).map_err(unread)? => return Ok(None),
        Err(_) => "is missing",
    };
    loss(storage, found).map(Some)
}

/// The loss of a database of which this was found.
pub(super) fn loss(storage: &dyn Storage, found: &'static str) -> Result<Loss, StoreError> {
    Ok(Loss { found, newest: newest_backup(storage).map_err(|e| StoreError::Open(e.to_string()))? })
}

/// True where the marker stands.
pub(super) fn is_marked(storage: &dyn Storage) -> std::io::Result<bool> {
    match storage.len(MARKER) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Writes the marker where it does not stand, once there is a committed database. A disk that refuses is only told of:
/// the next start writes it.
pub(super) fn mark(storage: &dyn Storage) {
    let marked =
        is_marked(storage).and_then(|there| if there { Ok(()) } else { storage.write_atomic(MARKER, TEXT.as_bytes()) });
    if let Err(error) = marked {
        tracing::warn!(%error, "{MARKER} cannot be written: a loss of the state would not be noticed by the next start");
    }
}

/// Backups carry their time in their name.
fn newest_backup(storage: &dyn Storage) -> std::io::Result<Option<String>> {
    let names = storage.list(backup::DIRECTORY)?;
    let newest =
        names.into_iter().filter(|name| std::path::Path::new(name).extension().is_some_and(|e| e == "redb")).max();
    Ok(newest.map(|name| format!("{}/{name}", backup::DIRECTORY)))
}

/// Takes a loss as it is: the next start begins with an empty state. What is left of the old one is kept; gives its name.
/// Only while no gateway runs on the state directory.
///
/// # Errors
/// [`StoreError::NotLost`] when the database is there; when a file cannot be written.
pub fn accept(storage: &dyn Storage) -> Result<Option<String>, StoreError> {
    let unwritten = |e: std::io::Error| StoreError::Open(e.to_string());
    let is_there = match find(storage)? {
        Some(loss) => loss.found == "is empty",
        None if !is_marked(storage).map_err(unwritten)? => return Err(StoreError::NotLost),
        // A database file without a single table is empty, too.
        None if storage.len(FILE).is_ok() && schema::version(&database(storage, FILE, &<_>::default())?)? == 0 => true,
        None => return Err(StoreError::NotLost),
    };
    let left = if is_there { Some(backup::free_name(storage, LEFT)?) } else { None };
    if let Some(left) = &left {
        storage.rename(FILE, left).map_err(unwritten)?;
    }
    super::remove(storage, MARKER).map_err(unwritten)?;
    Ok(left)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use openclaw_platform::{MemoryStorage, Platform};

    use super::*;
    use crate::store::{
        Store, all, put,
        tests::{NUMBERS, SCHEMA},
    };

    fn platform() -> Platform {
        Platform { storage: Arc::new(MemoryStorage::new()), ..openclaw_platform::os::without_files() }
    }

    /// A state with a record in it, closed: written past the committer, which would let go of it a moment later.
    fn kept(platform: &Platform) {
        drop(Store::open(platform, &SCHEMA).unwrap());
        let db = database(&*platform.storage, FILE, &<_>::default()).unwrap();
        let tx = db.begin_write().unwrap();
        put(&mut tx.open_table(NUMBERS).unwrap(), "a", &7).unwrap();
        tx.commit().unwrap();
    }

    fn lost(platform: &Platform) -> Loss {
        match Store::open(platform, &SCHEMA) {
            Err(StoreError::Lost { loss }) => loss,
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("an empty state was begun"),
        }
    }

    /// Missing, empty, or a database without a table: no start with an empty state, until somebody accepts the loss.
    #[test]
    fn s35_a_lost_database_stops_the_start_until_the_loss_is_accepted() {
        type Lose = fn(&dyn Storage);
        let ways: [(&str, Lose); 3] = [
            ("is missing", |s| s.remove(FILE).unwrap()),
            ("is empty", |s| s.write_atomic(FILE, b"").unwrap()),
            ("is empty", |s| {
                s.remove(FILE).unwrap();
                drop(database(s, FILE, &<_>::default()).unwrap());
            }),
        ];
        for (found, lose) in ways {
            let platform = platform();
            let storage = &*platform.storage;
            kept(&platform);
            assert!(matches!(accept(storage), Err(StoreError::NotLost)));
            lose(storage);
            assert_eq!(lost(&platform), Loss { found, newest: None });
            for name in ["openclaw-20260101T000000.000Z.redb", "openclaw-20260102T000000.000Z.redb", "notes.txt"] {
                storage.write_atomic(&format!("backups/{name}"), b"x").unwrap();
            }
            let newest = lost(&platform).newest.unwrap();
            assert_eq!(newest, "backups/openclaw-20260102T000000.000Z.redb");
            accept(storage).unwrap();
            let store = Store::open(&platform, &SCHEMA).unwrap();
            assert!(store.read(|tx| all::<i64>(tx, NUMBERS)).unwrap().is_empty());
            drop(store);
            assert!(is_marked(storage).unwrap(), "from now on it is expected again");
        }
    }

    /// What the reference or a person keeps in the directory is no lost state; an older version's database gets its marker.
    #[test]
    fn s35_files_of_others_are_no_lost_state() {
        let platform = platform();
        let storage = &*platform.storage;
        let others = ["openclaw.json", "agents/main/sessions/sessions.json", "credentials/telegram-allowFrom.json"];
        for name in others.into_iter().chain(["devices/paired.json", "nodes/paired.json", "backups/copy.redb"]) {
            storage.write_atomic(name, b"{}").unwrap();
        }
        kept(&platform);
        storage.remove(MARKER).unwrap();
        kept(&platform);
        assert!(is_marked(storage).unwrap());
    }

    /// A crash while the first database is made leaves nothing that is taken for a loss.
    #[test]
    fn s35_an_unfinished_first_start_is_no_loss() {
        let platform = platform();
        platform.storage.write_atomic("gateway.redb.new", b"half of it").unwrap();
        kept(&platform);
    }
}
