//! A look at a database that changes nothing. Opening one may repair it (after a crash it does): what would be written
//! goes to memory, so that even a damaged file is left as it is.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use openclaw_platform::{Storage, sync::LockExt as _};
use redb::{Database, ReadTransaction, ReadableDatabase as _, ReadableTableMetadata as _, StorageBackend, TableError};

use super::{
    DEAD_LETTERS, INBOX, OUTBOX, RUNS, Records, SCHEMA, SESSIONS, StoreError, all, backup::count, builder, opened,
    record, schema,
};
use crate::delivery::{
    Counts,
    letter::{Letter, State},
};

/// Unit of what is kept in memory instead of being written.
const PAGE: u64 = 4096;

/// What is in a database that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Bytes of the file.
    pub bytes: u64,
    /// Version of its schema; an earlier one is migrated at the next start.
    pub schema: u32,
    /// It was not closed in good order (a crash): the next start repairs it. What is counted here is what it will find.
    pub repaired: bool,
    /// Records in all tables.
    pub records: u64,
    /// Sessions.
    pub sessions: u64,
    /// Runs that were accepted and have not ended: with no gateway running they were interrupted.
    pub runs: u64,
    /// Inbound messages that wait to be handled.
    pub inbox: u64,
    /// Outbound messages.
    pub letters: Counts,
}

/// Reads all of a database, with the checksums of its pages and records, and says what is in it. Nothing is written, whatever is found.
///
/// # Errors
/// [`StoreError::Damaged`], [`StoreError::Newer`]; when the file cannot be read.
pub fn look(storage: Arc<dyn Storage>, name: &str) -> Result<Contents, StoreError> {
    let bytes = storage.len(name).map_err(|e| StoreError::Open(format!("{name}: {e}")))?;
    // Compared before anything in it is believed: redb panics over a damaged page of a file that was closed in good order.
    let mut db = open(&storage, name, true, &Arc::default())?;
    // False where redb could put right what did not agree; here it did so in memory only.
    if !opened(db.check_integrity())? {
        return Err(StoreError::Damaged(format!("{name} does not agree with its checksums")));
    }
    // Comparing counts as a repair; whether the next start repairs shows when it is opened as that start does.
    let repaired = Arc::new(AtomicBool::new(false));
    let db = open(&storage, name, false, &repaired)?;
    match schema::version(&db)? {
        0 => Err(StoreError::Damaged(format!("{name} is no state database of this gateway"))),
        found if found > SCHEMA => Err(StoreError::Newer { found }),
        found => contents(&db, bytes, found, repaired.load(Ordering::Relaxed)),
    }
}

/// Number of the last transaction in a database that cannot be opened for writing.
///
/// # Errors
/// When the file cannot be read or is damaged.
pub(super) fn last_commit(storage: Arc<dyn Storage>, name: &str) -> Result<u64, StoreError> {
    schema::last_commit(&open(&storage, name, true, &Arc::default())?)
}

/// Opens it so that nothing is written, with every page compared or none; `repaired` becomes true where redb repaired it.
fn open(
    storage: &Arc<dyn Storage>,
    name: &str,
    compared: bool,
    repaired: &Arc<AtomicBool>,
) -> Result<Database, StoreError> {
    let original = storage.len(name).map_err(|e| StoreError::Open(format!("{name}: {e}")))?;
    let (storage, name, seen) = (storage.clone(), name.to_owned(), repaired.clone());
    let mut builder = builder();
    builder.set_repair_callback(move |_| seen.store(true, Ordering::Relaxed)).set_check_integrity_on_open(compared);
    let changed = Mutex::new(Changed::of(original));
    opened(builder.create_with_backend(LookOnly { storage, name, original, changed }))
}

fn contents(db: &Database, bytes: u64, version: u32, repaired: bool) -> Result<Contents, StoreError> {
    if version >= schema::SEALED {
        record::compare(db)?;
    }
    let tx = db.begin_read()?;
    if version >= schema::INDEXED {
        let differences = crate::sessions::index::differences(&tx)?;
        if !differences.is_empty() {
            return Err(StoreError::Damaged(format!(
                "its indexes disagree with its sessions: {}",
                differences.join("; ")
            )));
        }
    }
    let dead: Vec<(String, Letter)> =
        if version < schema::SEALED { record::unsealed(&tx, DEAD_LETTERS)? } else { all(&tx, DEAD_LETTERS)? };
    let unknown = dead.iter().filter(|(_, letter)| matches!(letter.state, State::Unknown { .. })).count();
    Ok(Contents {
        bytes,
        schema: version,
        repaired,
        records: count(&tx)?,
        sessions: records(&tx, SESSIONS)?,
        runs: records(&tx, RUNS)?,
        inbox: records(&tx, INBOX)?,
        letters: Counts { queued: records(&tx, OUTBOX)? as usize, dead: dead.len() - unknown, unknown },
    })
}

/// Records of a table; none where an earlier schema does not have it.
fn records(tx: &ReadTransaction, table: Records) -> Result<u64, StoreError> {
    match tx.open_table(table) {
        Err(TableError::TableDoesNotExist(_)) => Ok(0),
        table => Ok(table?.len()?),
    }
}

/// The file, and what was written over it in memory.
struct LookOnly {
    storage: Arc<dyn Storage>,
    name: String,
    /// Bytes of the file.
    original: u64,
    changed: Mutex<Changed>,
}

impl std::fmt::Debug for LookOnly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LookOnly").field("name", &self.name).finish_non_exhaustive()
    }
}

struct Changed {
    len: u64,
    /// By number.
    pages: BTreeMap<u64, Vec<u8>>,
}

impl Changed {
    fn of(len: u64) -> Self {
        Self { len, pages: BTreeMap::new() }
    }
}

impl LookOnly {
    fn lock(&self) -> MutexGuard<'_, Changed> {
        self.changed.locked()
    }

    /// Bytes of the file itself; zeros behind its end.
    fn below(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        out.fill(0);
        let there = usize::try_from(self.original.saturating_sub(offset)).unwrap_or(usize::MAX).min(out.len());
        if there > 0 {
            let read = self.storage.read_at(&self.name, offset, there)?;
            out.get_mut(..read.len()).ok_or(io::ErrorKind::InvalidData)?.copy_from_slice(&read);
        }
        Ok(())
    }
}

/// The parts of `offset..offset + len` by page: number, place within the page, length.
fn by_page(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset + len as u64;
    let mut at = offset;
    std::iter::from_fn(move || {
        let n = (PAGE - at % PAGE).min(end - at);
        let part = (at / PAGE, (at % PAGE) as usize, n as usize);
        at += n;
        (n > 0).then_some(part)
    })
}

impl StorageBackend for LookOnly {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let changed = self.lock();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > changed.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.below(offset, out)?;
        let mut done = 0;
        for (page, start, n) in by_page(offset, out.len()) {
            if let Some(bytes) = changed.pages.get(&page) {
                out[done..done + n].copy_from_slice(&bytes[start..start + n]);
            }
            done += n;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut changed = self.lock();
        if len < changed.len {
            // What is behind the new end must read as zeros when the file grows again.
            let (first, end) = (len / PAGE, changed.len.div_ceil(PAGE));
            for page in first..end {
                let mut bytes = vec![0; PAGE as usize];
                if page == first {
                    let kept = (len % PAGE) as usize;
                    match changed.pages.get(&page) {
                        Some(old) => bytes[..kept].copy_from_slice(&old[..kept]),
                        None => self.below(page * PAGE, &mut bytes[..kept])?,
                    }
                }
                changed.pages.insert(page, bytes);
            }
        }
        changed.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut changed = self.lock();
        let mut done = 0;
        for (page, start, n) in by_page(offset, data.len()) {
            let bytes = match changed.pages.entry(page) {
                std::collections::btree_map::Entry::Occupied(there) => there.into_mut(),
                std::collections::btree_map::Entry::Vacant(free) => {
                    let mut bytes = vec![0; PAGE as usize];
                    self.below(page * PAGE, &mut bytes)?;
                    free.insert(bytes)
                }
            };
            bytes[start..start + n].copy_from_slice(&data[done..done + n]);
            done += n;
        }
        changed.len = changed.len.max(offset + data.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use openclaw_platform::{MemoryStorage, Platform};

    use super::*;
    use crate::{
        sessions::entry::SessionEntry,
        store::{FILE, Store, put},
    };

    fn platform() -> Platform {
        Platform { storage: Arc::new(MemoryStorage::new()), ..openclaw_platform::os::without_files() }
    }

    async fn filled(platform: &Platform) -> Store {
        let store = Store::open(platform).unwrap();
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
            if !look(platform.storage.clone(), FILE).unwrap().repaired {
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
            assert_eq!((found.schema, found.bytes, found.repaired), (SCHEMA, bytes.len() as u64, killed));
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
                        assert!(there.repaired || (there.sessions, there.inbox) == (300, 7), "page {page}: {there:?}");
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
        let store = Store::open(&platform).unwrap();
        store.write(schema::claim_newer).await.unwrap();
        drop(store);
        assert!(matches!(look(storage, FILE), Err(StoreError::Newer { found: 99 })));
    }
}
