//! Files that people sent, kept for the agent to read: the newest ones, within bounds (F04).

use openclaw_platform::{
    Clock, Entropy, EntropyExt as _, Spawner, SpawnerExt as _, Storage,
    sync::{Arc, Mutex},
};

use crate::limits::{RECEIVED_BYTES, RECEIVED_FILES};

/// Where they are, below the state directory.
const DIRECTORY: &str = "media/inbound";

/// Keeps received files.
#[derive(Clone)]
pub struct Received {
    storage: Arc<dyn Storage>,
    tasks: Arc<dyn Spawner>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// Held while room is made and used.
    keeping: Arc<Mutex<()>>,
}

impl Received {
    /// In this storage.
    pub fn new(
        storage: Arc<dyn Storage>,
        tasks: Arc<dyn Spawner>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self { storage, tasks, clock, entropy, keeping: Arc::default() }
    }

    /// Keeps a file; the oldest ones make room. The name on disk is ours, no outside string becomes a path (S11). Its path
    /// below the state directory; none when it could not be kept.
    pub async fn keep(&self, name: &str, bytes: &bytes::Bytes) -> Option<String> {
        let extension: String = name.rsplit_once('.').map_or("bin", |(_, e)| e).chars().take(8).collect();
        let extension = if extension.chars().all(|c| c.is_ascii_alphanumeric()) { extension } else { "bin".into() };
        // The time first, so that names are in the order in which files came.
        let file = format!("{DIRECTORY}/{:013}-{}.{extension}", self.clock.wall(), self.entropy.hex(12));
        let (storage, keeping, path, data) = (self.storage.clone(), self.keeping.clone(), file.clone(), bytes.clone());
        let kept = self.tasks.blocking(move || {
            let _one = openclaw_platform::sync::LockExt::locked(&*keeping);
            make_room(&*storage, data.len() as u64)?;
            storage.write_atomic(&path, &data)
        });
        match kept.await? {
            Ok(()) => Some(file),
            Err(error) => {
                tracing::error!(%error, "a received file cannot be kept");
                None
            }
        }
    }
}

/// Removes the oldest files until one of `bytes` fits beside the others. Those of before names had their time in front are older.
fn make_room(storage: &dyn Storage, bytes: u64) -> std::io::Result<()> {
    let mut names = storage.list(DIRECTORY)?;
    names.sort_by_key(|name| (name.as_bytes().get(13) == Some(&b'-'), name.clone()));
    let path = |name: &str| format!("{DIRECTORY}/{name}");
    let mut held: u64 = bytes;
    for name in &names {
        held = held.saturating_add(storage.len(&path(name)).unwrap_or(0));
    }
    let mut left = names.len();
    for name in &names {
        if left < RECEIVED_FILES && held <= RECEIVED_BYTES {
            break;
        }
        let size = storage.len(&path(name)).unwrap_or(0);
        storage.remove(&path(name))?;
        tracing::info!(name, "a received file makes room");
        (left, held) = (left - 1, held.saturating_sub(size));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use openclaw_platform::{MemoryStorage, os};

    use super::*;

    fn received(disk: &MemoryStorage) -> Received {
        let platform = os::without_files();
        Received::new(Arc::new(disk.clone()), platform.tasks, platform.clock, platform.entropy)
    }

    #[tokio::test]
    async fn f04_received_files_are_bounded_in_number_and_the_oldest_go() {
        let disk = MemoryStorage::new();
        disk.write_atomic("media/inbound/ffffffffffffffffffffffff.txt", b"from before").unwrap();
        for n in 0..RECEIVED_FILES - 1 {
            disk.write_atomic(&format!("media/inbound/{n:013}-x.txt"), b"1").unwrap();
        }
        let received = received(&disk);
        let kept = received.keep("a.txt", &bytes::Bytes::from_static(b"new")).await.unwrap();
        let names = disk.list(DIRECTORY).unwrap();
        assert_eq!(names.len(), RECEIVED_FILES);
        assert!(!names.iter().any(|name| name.starts_with("ffff")), "the oldest goes");
        assert!(names.contains(&"0000000000000-x.txt".to_owned()) && disk.read(&kept).unwrap() == b"new");
    }

    #[tokio::test]
    async fn f04_received_files_are_bounded_in_bytes() {
        let disk = MemoryStorage::new();
        let half = RECEIVED_BYTES / 2;
        let names: Vec<String> = (0..3).map(|n| format!("{n:013}-x.txt")).collect();
        for name in &names {
            disk.write_atomic(&format!("{DIRECTORY}/{name}"), b"1").unwrap();
        }
        make_room(&disk, half).unwrap();
        assert_eq!(disk.list(DIRECTORY).unwrap(), names, "there is room");
        make_room(&disk, RECEIVED_BYTES - 2).unwrap();
        assert_eq!(disk.list(DIRECTORY).unwrap(), names[1..], "the oldest makes room");
    }

    #[tokio::test]
    async fn s11_no_outside_string_becomes_a_path() {
        let disk = MemoryStorage::new();
        let received = received(&disk);
        for name in ["../../x.sh", "a/b", "x.t/../y", "x.ABCDEFGHIJ", ""] {
            let kept = received.keep(name, &bytes::Bytes::from_static(b"1")).await.unwrap();
            let file = kept.strip_prefix("media/inbound/").unwrap();
            assert!(!file.contains('/') && !file.contains(".."), "{name}: {file}");
        }
    }
}
