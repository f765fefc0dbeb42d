//! A disk that takes no writes of the database while a test says so.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use openclaw_platform::{BlockFile, Blocks, FileId, MemoryStorage, Platform, Storage};

/// The same platform with such a disk, and what fills it.
pub fn with(platform: Platform) -> (Platform, Arc<AtomicBool>) {
    on(platform, MemoryStorage::new())
}

/// The same with what is on `disk`.
pub fn on(platform: Platform, disk: MemoryStorage) -> (Platform, Arc<AtomicBool>) {
    let full = Arc::new(AtomicBool::new(false));
    let storage = Arc::new(Refusing { disk, full: full.clone(), closed: Arc::default() });
    (Platform { storage, ..platform }, full)
}

/// A disk on which no file can be made while `closed` says so, except for what is there already.
#[allow(dead_code)] // not every test program that shares this file
pub fn without_new_files(platform: Platform, disk: MemoryStorage, closed: Arc<AtomicBool>) -> Platform {
    let storage = Arc::new(Refusing { disk, full: Arc::default(), closed });
    Platform { storage, ..platform }
}

/// A disk whose database file takes no writes while it is told so.
struct Refusing {
    disk: MemoryStorage,
    full: Arc<AtomicBool>,
    closed: Arc<AtomicBool>,
}

#[derive(Debug)]
struct FullFile {
    file: BlockFile,
    full: Arc<AtomicBool>,
}

impl Blocks for FullFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        if self.full.load(Ordering::Relaxed) { Err(io::ErrorKind::StorageFull.into()) } else { self.file.sync_data() }
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }
}

impl Storage for Refusing {
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.disk.read(name)
    }
    fn write_atomic(&self, name: &str, data: &[u8]) -> io::Result<()> {
        if self.closed.load(Ordering::Relaxed) && self.disk.len(name).is_err() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.disk.write_atomic(name, data)
    }
    fn append(&self, name: &str, data: &[u8]) -> io::Result<()> {
        self.disk.append(name, data)
    }
    fn sync(&self, name: &str) -> io::Result<()> {
        self.disk.sync(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }
    fn block_file(&self, name: &str) -> io::Result<BlockFile> {
        Ok(Box::new(FullFile { file: self.disk.block_file(name)?, full: self.full.clone() }))
    }
    fn identity(&self, name: &str) -> io::Result<FileId> {
        self.disk.identity(name)
    }
    fn len(&self, name: &str) -> io::Result<u64> {
        self.disk.len(name)
    }
    fn read_at(&self, name: &str, offset: u64, max: usize) -> io::Result<Vec<u8>> {
        self.disk.read_at(name, offset, max)
    }
}
