//! One file: what is on the disk, and what the page cache has on top.

use std::{collections::BTreeMap, io};

use openclaw_platform::{Entropy, EntropyExt as _};

const BLOCK: usize = 4096;
/// What the disk writes as a whole.
const SECTOR: usize = 512;
/// Versions of one block that are remembered between two syncs; the last is always among them.
const VERSIONS: usize = 4;

#[derive(Debug, Default)]
pub(super) struct File {
    cached: Vec<u8>,
    durable: Vec<u8>,
    /// Whether the name would be there after a power loss.
    named: bool,
    /// By block number: what it has been since the last sync. The system may have written back any of these.
    dirty: BTreeMap<usize, Vec<Vec<u8>>>,
    /// Sizes since the last sync, likewise.
    sizes: Vec<usize>,
}

impl File {
    /// A file that is wholly on the disk.
    pub fn durable(data: &[u8]) -> Self {
        Self { cached: data.to_vec(), durable: data.to_vec(), named: true, ..Self::default() }
    }

    /// A file whose content is `data` until the power goes, and then what it was before.
    pub fn lost(data: &[u8], before: Option<&Self>) -> Self {
        let durable = before.map_or_else(Vec::new, |file| file.durable.clone());
        Self { cached: data.to_vec(), durable, named: before.is_some_and(|file| file.named), ..Self::default() }
    }

    pub fn content(&self) -> &[u8] {
        &self.cached
    }

    pub fn len(&self) -> u64 {
        self.cached.len() as u64
    }

    /// Within the file's size.
    pub fn write(&mut self, offset: usize, data: &[u8]) -> io::Result<()> {
        let end = offset.saturating_add(data.len());
        self.cached.get_mut(offset..end).ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
        self.touch(offset, end);
        Ok(())
    }

    /// As [`File::write`], and nobody remembers that it has to reach the disk.
    pub fn lose(&mut self, offset: usize, data: &[u8]) -> io::Result<()> {
        let end = offset.saturating_add(data.len());
        self.cached.get_mut(offset..end).ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
        Ok(())
    }

    /// Turns one bit over, on the disk and in the cache; false when there is nothing in it.
    pub fn flip(&mut self, dice: &dyn Entropy) -> bool {
        if self.cached.is_empty() {
            return false;
        }
        let (at, bit) = (dice.below(self.cached.len() as u32) as usize, 1 << dice.below(8));
        for content in [&mut self.cached, &mut self.durable] {
            if let Some(byte) = content.get_mut(at) {
                *byte ^= bit;
            }
        }
        true
    }

    /// New bytes are zero.
    pub fn set_len(&mut self, len: usize) {
        let before = self.cached.len();
        self.cached.resize(len, 0);
        remember(&mut self.sizes, len);
        // What was cut off must not come back when the file grows again.
        self.touch(before.min(len), before.max(len));
    }

    pub fn sync(&mut self) {
        let dirty = std::mem::take(&mut self.dirty);
        self.durable.resize(self.cached.len(), 0);
        for block in dirty.into_keys() {
            let (start, end) = bounds(block, self.cached.len());
            self.durable[start..end].copy_from_slice(&self.cached[start..end]);
        }
        self.sizes.clear();
        self.named = true;
    }

    /// After a failed sync: the cache stays as it is and counts as clean.
    pub fn forget_dirty(&mut self) {
        self.dirty.clear();
        self.sizes.clear();
    }

    pub fn name_is_durable(&mut self) {
        self.named = true;
    }

    /// What is left of it; false when that is nothing.
    pub fn lose_power(&mut self, dice: &dyn Entropy) -> bool {
        if !self.named && dice.below(2) == 0 {
            return false;
        }
        let size = pick(&self.sizes, dice).copied().unwrap_or(self.durable.len());
        self.durable.resize(size, 0);
        for (block, versions) in std::mem::take(&mut self.dirty) {
            let (start, end) = bounds(block, size);
            let Some(new) = pick(&versions, dice) else { continue };
            let torn = dice.below(3) == 0;
            for (sector, from) in (start..end).step_by(SECTOR).enumerate() {
                if torn && dice.below(2) == 0 {
                    continue;
                }
                let to = (from + SECTOR).min(end);
                // A version may be from when the file was shorter.
                let new = new.get(sector * SECTOR..).unwrap_or_default();
                let n = new.len().min(to - from);
                self.durable[from..from + n].copy_from_slice(&new[..n]);
            }
        }
        self.cached = self.durable.clone();
        self.sizes.clear();
        self.named = true;
        true
    }

    /// Remembers the blocks of a range as they are now.
    fn touch(&mut self, from: usize, to: usize) {
        if from >= to {
            return;
        }
        for block in from / BLOCK..=(to - 1) / BLOCK {
            let (start, end) = bounds(block, self.cached.len());
            remember(self.dirty.entry(block).or_default(), self.cached[start..end].to_vec());
        }
    }
}

/// The bytes of a block in a file of `len` bytes.
fn bounds(block: usize, len: usize) -> (usize, usize) {
    ((block * BLOCK).min(len), ((block + 1) * BLOCK).min(len))
}

fn remember<T>(versions: &mut Vec<T>, version: T) {
    if versions.len() == VERSIONS {
        versions.pop();
    }
    versions.push(version);
}

/// One of these, or none: the durable one.
fn pick<'a, T>(versions: &'a [T], dice: &dyn Entropy) -> Option<&'a T> {
    versions.get(dice.below(versions.len() as u32 + 1) as usize)
}
