//! A disk that forgets what was not synced.
//!
//! [`SimDisk`] is the machine's: it outlives processes and suffers the faults. [`SimStorage`] is one mount of it, which a
//! process gets at its start and loses with its death, so that no task from before a crash can touch what came after.

mod file;

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use openclaw_platform::{BlockFile, Blocks, Entropy, FileId, Storage, sync::LockExt as _};

use self::file::File;
use crate::SimEntropy;

/// What a disk does wrong. Operations are those that change something (writes, appends, syncs, renames, removes, changes
/// of size, new files), counted from 1 at the moment when the fault is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFault {
    /// After so many more bytes nothing fits (`StorageFull`); what is on the disk can still be changed.
    Full {
        /// How many.
        after: u64,
    },
    /// Operation `nth` and the `times - 1` after it fail. As on Linux, a sync that fails forgets that its pages were
    /// dirty: what it should have made durable is lost at the next power loss, even if a later sync succeeds.
    Error {
        /// Which.
        nth: u64,
        /// How many.
        times: u64,
        /// With `StorageFull`; an I/O error otherwise.
        full: bool,
    },
    /// Operation `nth` and the `times - 1` after it are answered well, and what they should have brought to the disk never
    /// gets there: the page cache has it until the next power loss. Of new names, renames and removals none is lost.
    Lost {
        /// Which.
        nth: u64,
        /// How many.
        times: u64,
    },
    /// The process dies just before operation `nth`: every mount is dead from then on and [`SimDisk::crashed`] says so.
    /// The run has to end the process, and to call [`SimDisk::power_loss`] if that is what it was.
    Crash {
        /// Which.
        nth: u64,
    },
}

type Hook = Box<dyn FnMut() + Send>;

/// A fault that is set.
#[derive(Debug)]
struct Armed {
    id: u64,
    fault: DiskFault,
    /// Number of the last operation before it.
    since: u64,
}

/// Something that a fault has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Struck {
    /// Its first operation has failed, or the process died.
    Begun(u64),
    /// Its last operation has failed.
    Over(u64),
}

#[derive(Default)]
struct Disk {
    files: BTreeMap<String, File>,
    /// Mounts of other numbers are dead.
    life: u64,
    operations: u64,
    faults: Vec<Armed>,
    struck: Vec<Struck>,
    crashed: bool,
    on_crash: Option<Hook>,
}

/// A disk; clones share it.
#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<Disk>>);

impl std::fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let disk = self.lock();
        f.debug_struct("SimDisk").field("files", &disk.files.len()).field("operations", &disk.operations).finish()
    }
}

impl SimDisk {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a file on it that was there before anything happened.
    pub fn put(&self, name: &str, data: &[u8]) {
        self.lock().files.insert(name.to_owned(), File::durable(data));
    }

    /// Takes a file off it that nobody has seen.
    pub fn take(&self, name: &str) {
        self.lock().files.remove(name);
    }

    /// For a process that starts. Earlier mounts stay alive until a crash.
    pub fn mount(&self) -> SimStorage {
        SimStorage { disk: self.clone(), life: self.lock().life }
    }

    /// The process died: mounts of before are dead, the system's page cache is not.
    pub fn crash(&self) {
        let mut disk = self.lock();
        disk.life += 1;
        disk.crashed = false;
    }

    /// The machine lost power: of what was not synced, each block of 4 KiB independently is on the disk in one of its
    /// versions, is not, or is torn between two versions at sectors of 512 bytes, as `seed` has it.
    pub fn power_loss(&self, seed: u64) {
        self.crash();
        let mut disk = self.lock();
        let root = SimEntropy::new(seed);
        disk.files.retain(|name, file| file.lose_power(&*root.fork(name)));
    }

    /// Sets a fault, beside those that are set already. `id` is for [`SimDisk::heal`] and [`SimDisk::struck`].
    pub fn fail(&self, id: u64, fault: DiskFault) {
        let mut disk = self.lock();
        let since = disk.operations;
        disk.faults.push(Armed { id, fault, since });
    }

    /// A bit of a file changes by itself, on the disk and for whoever reads it from now on; where, `seed` decides. False
    /// when there is no such file or nothing in it.
    pub fn flip(&self, name: &str, seed: u64) -> bool {
        let dice = SimEntropy::new(seed).fork(name);
        self.lock().files.get_mut(name).is_some_and(|file| file.flip(&*dice))
    }

    /// Ends a fault. A crash that has happened has happened.
    pub fn heal(&self, id: u64) {
        self.lock().faults.retain(|armed| armed.id != id);
    }

    /// Something is wrong with it, now or at a later operation.
    pub fn is_failing(&self) -> bool {
        !self.lock().faults.is_empty()
    }

    /// What faults have done since the last call; [`DiskFault::Full`] is not told of.
    pub fn struck(&self) -> Vec<Struck> {
        std::mem::take(&mut self.lock().struck)
    }

    /// Called when [`DiskFault::Crash`] strikes, in the middle of the process's operation: whoever steers the run takes
    /// the process off the network here, so that it says nothing any more. It must not use the disk.
    pub fn on_crash(&self, hook: impl FnMut() + Send + 'static) {
        self.lock().on_crash = Some(Box::new(hook));
    }

    /// True from the moment when [`DiskFault::Crash`] struck until [`SimDisk::crash`] or [`SimDisk::power_loss`].
    pub fn crashed(&self) -> bool {
        self.lock().crashed
    }

    /// Changing operations so far, those that failed included.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.locked()
    }
}

/// What becomes of an operation that is answered well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    Lost,
}

impl Disk {
    /// Counts a changing operation and says whether it may go on, and how.
    fn operation(&mut self) -> io::Result<Fate> {
        self.operations += 1;
        let now = self.operations;
        let mut result = Ok(Fate::Kept);
        let struck = &mut self.struck;
        self.faults.retain(|armed| {
            let n = now - armed.since;
            match armed.fault {
                DiskFault::Crash { nth } if n >= nth => {
                    struck.push(Struck::Begun(armed.id));
                    self.crashed = true;
                    false
                }
                DiskFault::Error { nth, times, .. } | DiskFault::Lost { nth, times } if n >= nth => {
                    match armed.fault {
                        DiskFault::Error { full, .. } => result = Err(if full { no_space() } else { broken() }),
                        _ => result = result.as_ref().map_or_else(|e| Err(e.kind().into()), |_| Ok(Fate::Lost)),
                    }
                    if n == nth {
                        struck.push(Struck::Begun(armed.id));
                    }
                    let more = n + 1 < nth.saturating_add(times);
                    if !more {
                        struck.push(Struck::Over(armed.id));
                    }
                    more
                }
                _ => true,
            }
        });
        if !self.crashed {
            return result;
        }
        if let Some(hook) = &mut self.on_crash {
            hook();
        }
        Err(dead())
    }

    /// Bytes that still fit, by each fault that limits them.
    fn free(&mut self) -> impl Iterator<Item = &mut u64> {
        self.faults.iter_mut().filter_map(|armed| match &mut armed.fault {
            DiskFault::Full { after } => Some(after),
            _ => None,
        })
    }

    /// Takes room for `bytes` more.
    fn grow(&mut self, bytes: u64) -> io::Result<()> {
        if self.free().any(|free| *free < bytes) {
            return Err(no_space());
        }
        self.free().for_each(|free| *free -= bytes);
        Ok(())
    }

    /// Gives room back.
    fn shrink(&mut self, bytes: u64) {
        self.free().for_each(|free| *free += bytes);
    }

    fn file(&mut self, name: &str) -> io::Result<&mut File> {
        self.files.get_mut(name).ok_or_else(|| missing(name))
    }

    fn write(&mut self, name: &str, offset: u64, data: &[u8], fate: Fate) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let file = self.file(name)?;
        match fate {
            Fate::Kept => file.write(offset, data),
            Fate::Lost => file.lose(offset, data),
        }
    }

    fn set_len(&mut self, name: &str, len: u64) -> io::Result<()> {
        let before = self.file(name)?.len();
        self.grow(len.saturating_sub(before))?;
        self.shrink(before.saturating_sub(len));
        self.file(name)?.set_len(usize::try_from(len).map_err(io::Error::other)?);
        Ok(())
    }

    /// `Ok` makes it durable; an error has forgotten what was to be made durable.
    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.file(name)?;
        let went = self.operation();
        if !self.crashed {
            let file = self.file(name)?;
            if went.as_ref().is_ok_and(|fate| *fate == Fate::Kept) { file.sync() } else { file.forget_dirty() }
        }
        went.map(drop)
    }
}

fn dead() -> io::Error {
    io::Error::other("the process that opened this is dead")
}

fn broken() -> io::Error {
    io::Error::other("input/output error")
}

fn no_space() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "no space left on the disk")
}

fn missing(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no file {name}"))
}

/// A process's view of a [`SimDisk`].
#[derive(Debug, Clone)]
pub struct SimStorage {
    disk: SimDisk,
    life: u64,
}

impl SimStorage {
    /// The disk, unless this process is dead.
    fn lock(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let disk = self.disk.lock();
        if disk.life == self.life && !disk.crashed { Ok(disk) } else { Err(dead()) }
    }
}

impl Storage for SimStorage {
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        Ok(self.lock()?.file(name)?.content().to_vec())
    }

    fn write_atomic(&self, name: &str, data: &[u8]) -> io::Result<()> {
        let mut disk = self.lock()?;
        let fate = disk.operation()?;
        // The old content is given back only when the new one is in place.
        disk.grow(data.len() as u64)?;
        let new = match fate {
            Fate::Kept => File::durable(data),
            Fate::Lost => File::lost(data, disk.files.get(name)),
        };
        let old = disk.files.insert(name.to_owned(), new);
        disk.shrink(old.map_or(0, |file| file.len()));
        Ok(())
    }

    fn append(&self, name: &str, data: &[u8]) -> io::Result<()> {
        let mut disk = self.lock()?;
        let fate = disk.operation()?;
        disk.grow(data.len() as u64)?;
        let file = disk.files.entry(name.to_owned()).or_default();
        let end = file.len();
        file.set_len(end as usize + data.len());
        disk.write(name, end, data, fate)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        self.lock()?.sync(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.lock()?;
        disk.file(from)?;
        disk.operation()?;
        if let Some(mut file) = disk.files.remove(from) {
            // The name is durable; the content only if it was synced.
            file.name_is_durable();
            let old = disk.files.insert(to.to_owned(), file);
            disk.shrink(old.map_or(0, |file| file.len()));
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.lock()?;
        disk.file(name)?;
        disk.operation()?;
        let old = disk.files.remove(name);
        disk.shrink(old.map_or(0, |file| file.len()));
        Ok(())
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let disk = self.lock()?;
        let inside = disk.files.keys().filter_map(|name| name.strip_prefix(&prefix));
        Ok(inside.filter(|rest| !rest.contains('/')).map(str::to_owned).collect())
    }

    fn block_file(&self, name: &str) -> io::Result<BlockFile> {
        let mut disk = self.lock()?;
        if !disk.files.contains_key(name) {
            disk.operation()?;
            disk.files.insert(name.to_owned(), File::default());
        }
        Ok(Box::new(SimBlock { storage: self.clone(), name: name.to_owned() }))
    }

    /// A file of this disk is its name: an open one follows it, so that only a removed one is gone.
    fn identity(&self, name: &str) -> io::Result<FileId> {
        self.lock()?.file(name).map(|_| FileId(0, 0))
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        Ok(self.lock()?.file(name)?.len())
    }

    fn read_at(&self, name: &str, offset: u64, max: usize) -> io::Result<Vec<u8>> {
        let mut disk = self.lock()?;
        let content = disk.file(name)?.content();
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
        Ok(content[start..start.saturating_add(max).min(content.len())].to_vec())
    }

    fn free(&self) -> io::Result<Option<u64>> {
        Ok(self.lock()?.free().map(|free| *free).min())
    }
}

#[derive(Debug)]
struct SimBlock {
    storage: SimStorage,
    name: String,
}

impl Blocks for SimBlock {
    fn len(&self) -> io::Result<u64> {
        self.storage.len(&self.name)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut disk = self.storage.lock()?;
        let content = disk.file(&self.name)?.content();
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let end = start.saturating_add(out.len());
        out.copy_from_slice(content.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.storage.lock()?;
        disk.operation()?;
        disk.set_len(&self.name, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.storage.lock()?.sync(&self.name)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut disk = self.storage.lock()?;
        let fate = disk.operation()?;
        disk.write(&self.name, offset, data, fate)
    }
}
