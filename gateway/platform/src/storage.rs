//! Named files under the state directory as a seam, and an in-memory one for tests.

use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{Arc, Mutex},
};

use crate::sync::LockExt as _;

/// Random access to one file: what a database sits on. Offsets and lengths are bytes.
#[allow(clippy::len_without_is_empty)] // nobody asks whether a file of blocks is empty
pub trait Blocks: fmt::Debug + Send + Sync {
    /// Size.
    fn len(&self) -> io::Result<u64>;
    /// Fills `out` from `offset`; `UnexpectedEof` when it reaches beyond the end.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
    /// Another size; what is new reads as zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes all writes of before durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Writes within the file.
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Gives the file back to others; nothing is asked of it any more.
    fn close(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A file that is open for random access.
pub type BlockFile = Box<dyn Blocks>;

/// What tells a file from another one that takes its name: two numbers to be compared, never shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId(pub u64, pub u64);

/// Files by name, relative to one root; names use `/` and never leave the root.
///
/// Real: the state directory, files 0600, directories 0700. Simulated: what was not synced is lost or torn at a crash.
/// Calls block; anything larger than a small file goes through [`crate::Spawner::blocking_boxed`].
pub trait Storage: Send + Sync {
    /// The whole file; `NotFound` when there is none.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// Replaces the file: after a crash it has the old or the new content, never a mixture, and the new one is durable
    /// when this returns (F18).
    fn write_atomic(&self, name: &str, data: &[u8]) -> io::Result<()>;
    /// Adds to the end, not synced.
    fn append(&self, name: &str, data: &[u8]) -> io::Result<()>;
    /// Makes earlier appends durable.
    fn sync(&self, name: &str) -> io::Result<()>;
    /// Renames within the root, durably.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes the file; `NotFound` when there is none.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Names of the files directly in `dir`, sorted; empty when there is no such directory.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;
    /// Opens (or creates) a file for random access. The real one is locked as long as it is open: another process that
    /// opens it gets `ResourceBusy`, whatever became of other lock files (S35).
    fn block_file(&self, name: &str) -> io::Result<BlockFile>;
    /// Which file stands under this name now; `NotFound` when there is none. Another file in its place, the same name in
    /// another directory of the same path included, is another [`FileId`] for as long as the first one is open (S35).
    fn identity(&self, name: &str) -> io::Result<FileId>;
    /// Size in bytes; `NotFound` when there is none.
    fn len(&self, name: &str) -> io::Result<u64>;
    /// Up to `max` bytes from `offset`.
    fn read_at(&self, name: &str, offset: u64, max: usize) -> io::Result<Vec<u8>>;
    /// Bytes that still fit on the disk; `None` where that is no question.
    fn free(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }
}

/// A [`Storage`] that forgets everything when it is dropped.
#[derive(Debug, Clone, Default)]
pub struct MemoryStorage(Arc<Mutex<BTreeMap<String, MemoryFile>>>);

type MemoryFile = Arc<Mutex<Vec<u8>>>;

fn missing(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no file {name}"))
}

impl MemoryStorage {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }
    fn get(&self, name: &str) -> io::Result<MemoryFile> {
        self.0.locked().get(name).cloned().ok_or_else(|| missing(name))
    }
    fn get_or_create(&self, name: &str) -> MemoryFile {
        self.0.locked().entry(name.to_owned()).or_default().clone()
    }
}

impl Storage for MemoryStorage {
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        Ok(self.get(name)?.locked().clone())
    }
    fn write_atomic(&self, name: &str, data: &[u8]) -> io::Result<()> {
        *self.get_or_create(name).locked() = data.to_vec();
        Ok(())
    }
    fn append(&self, name: &str, data: &[u8]) -> io::Result<()> {
        self.get_or_create(name).locked().extend_from_slice(data);
        Ok(())
    }
    fn sync(&self, name: &str) -> io::Result<()> {
        self.get(name).map(|_| ())
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut map = self.0.locked();
        let file = map.remove(from).ok_or_else(|| missing(from))?;
        map.insert(to.to_owned(), file);
        Ok(())
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.locked().remove(name).map(|_| ()).ok_or_else(|| missing(name))
    }
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        Ok(self
            .0
            .locked()
            .keys()
            .filter_map(|k| k.strip_prefix(&prefix))
            .filter(|rest| !rest.contains('/'))
            .map(str::to_owned)
            .collect())
    }
    fn block_file(&self, name: &str) -> io::Result<BlockFile> {
        Ok(Box::new(MemoryBlock(self.get_or_create(name))))
    }
    fn identity(&self, name: &str) -> io::Result<FileId> {
        // Who has it open keeps it, so that no other file gets this address meanwhile.
        Ok(FileId(0, Arc::as_ptr(&self.get(name)?).addr() as u64))
    }
    fn len(&self, name: &str) -> io::Result<u64> {
        Ok(self.get(name)?.locked().len() as u64)
    }
    fn read_at(&self, name: &str, offset: u64, max: usize) -> io::Result<Vec<u8>> {
        let file = self.get(name)?;
        let data = file.locked();
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(data.len());
        let end = start.saturating_add(max).min(data.len());
        Ok(data[start..end].to_vec())
    }
}

#[derive(Debug)]
struct MemoryBlock(MemoryFile);

impl Blocks for MemoryBlock {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.locked().len() as u64)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let data = self.0.locked();
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let slice = data.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(slice);
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.locked().resize(usize::try_from(len).map_err(io::Error::other)?, 0);
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut file = self.0.locked();
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        file.get_mut(start..start + data.len()).ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
        Ok(())
    }
}
