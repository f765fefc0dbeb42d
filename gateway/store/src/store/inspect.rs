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
use redb::{Database, ReadTransaction, ReadableDatabase as _, StorageBackend};

use super::{Schema, StoreError, backup::count, builder, opened, record, schema};

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
}

/// Reads all of a database, with the checksums of its pages and records, and says what is in it,
/// with what `read` makes of a snapshot of this version. Nothing is written, whatever is found.
///
/// # Errors
/// [`StoreError::Damaged`], [`StoreError::Newer`]; when the file cannot be read; those of `read`.
pub fn look<T>(
    storage: Arc<dyn Storage>,
    name: &str,
    known: &Schema,
    read: impl FnOnce(&ReadTransaction, u32) -> Result<T, StoreError>,
) -> Result<(Contents, T), StoreError> {
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
        found if found > known.version() => Err(known.newer(found)),
        found => {
            if found >= known.sealed {
                record::compare(&db)?;
            }
            let tx = db.begin_read()?;
            let repaired = repaired.load(Ordering::Relaxed);
            Ok((Contents { bytes, schema: found, repaired, records: count(&tx)? }, read(&tx, found)?))
        }
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
