//! `exec-approvals.json`: read on every decision, replaced only with the hash that it was read with (S19).

use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc};

use data_encoding::HEXLOWER;
use openclaw_platform::{Entropy, EntropyExt as _, Spawner, SpawnerExt as _, Storage};
use openclaw_protocol::{
    approvals::{ExecAgent, ExecAllowed, ExecApprovals, ExecApprovalsFile, ExecDefaults, ExecSocket},
    truncate,
    wire::{Count, Dict, Int, List, Text},
};
use sha2::{Digest as _, Sha256};

use super::words;

const FILE: &str = "exec-approvals.json";
const SOCKET: &str = "exec-approvals.sock";
/// Entries of one agent's allowlist; one more is not kept.
const MAX_ALLOWED: usize = 1000;

/// The file of one state directory. Clones share it.
#[derive(Clone)]
pub struct ApprovalsStore {
    storage: Arc<dyn Storage>,
    tasks: Arc<dyn Spawner>,
    entropy: Arc<dyn Entropy>,
    dir: PathBuf,
    /// One change at a time: what is compared is what is replaced.
    changing: Arc<tokio::sync::Mutex<()>>,
}

/// The file as it is now.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// All of it, with the socket's token.
    pub file: ExecApprovalsFile,
    /// SHA-256 of its text.
    pub hash: String,
}

/// Why the file was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    /// No hash was given.
    #[error("exec approvals base hash required; re-run exec.approvals.get and retry")]
    HashRequired,
    /// Somebody else changed it meanwhile.
    #[error("exec approvals changed since last load; re-run exec.approvals.get and retry")]
    Changed,
    /// Words that are none; the first of them, and how many there are (S26).
    #[error("file.{0}{more}", more = if *.1 > 1 { format!(" (and {} more)", .1 - 1) } else { String::new() })]
    Misspelt(String, usize),
    /// The file could not be read or written.
    #[error("{FILE}: {0}")]
    Storage(#[from] io::Error),
}

impl ApprovalsStore {
    /// The file in the state directory `dir`, through `storage`.
    pub fn new(
        storage: Arc<dyn Storage>,
        tasks: Arc<dyn Spawner>,
        entropy: Arc<dyn Entropy>,
        dir: impl Into<PathBuf>,
    ) -> Self {
        Self { storage, tasks, entropy, dir: dir.into(), changing: Arc::default() }
    }

    /// The file, read where it may block; `None` when there is none yet.
    ///
    /// # Errors
    /// When it cannot be read, or is not what it should be: then nothing is allowed, and nothing is overwritten.
    pub async fn read(&self) -> io::Result<Option<Snapshot>> {
        let store = self.clone();
        let read = self.tasks.blocking(move || store.read_now()).await;
        read.unwrap_or_else(|| Err(io::Error::other("shutting down")))
    }

    /// The same for who may block: at the start, and in a program of its own.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_now(&self) -> io::Result<Option<Snapshot>> {
        let text = match self.storage.read(FILE) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let file = serde_json::from_slice(&text).map_err(|e| {
            // It quotes what it met, control characters included (S18).
            let why: String = e.to_string().chars().flat_map(char::escape_debug).collect();
            let text =
                format!("{} is not a version 1 approvals file ({why}): correct or remove it", self.path().display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        })?;
        Ok(Some(Snapshot { file, hash: hash(&text) }))
    }

    /// The file's place, for people.
    pub fn path(&self) -> PathBuf {
        self.dir.join(FILE)
    }

    /// The file, made when missing.
    ///
    /// # Errors
    /// See [`Self::read`]; or when it cannot be written.
    pub async fn get(&self) -> io::Result<Snapshot> {
        let _one = self.changing.lock().await;
        match self.read().await? {
            Some(snapshot) => Ok(snapshot),
            None => self.write(None, empty()).await,
        }
    }

    /// Replaces the file when `base_hash` is the hash that it has now. Ids are filled in; the socket stays as it was
    /// where the new file does not name it.
    ///
    /// # Errors
    /// [`SetError`].
    pub async fn set(&self, file: ExecApprovalsFile, base_hash: Option<&str>) -> Result<Snapshot, SetError> {
        let misspelt: Vec<_> = words::problems(&file).into_iter().filter(|p| p.is_misspelt).collect();
        if let Some(first) = misspelt.first() {
            return Err(SetError::Misspelt(first.to_string(), misspelt.len()));
        }
        let _one = self.changing.lock().await;
        let before = self.read().await?;
        match (&before, base_hash) {
            (Some(_), None) => return Err(SetError::HashRequired),
            (Some(old), Some(base)) if old.hash != base => return Err(SetError::Changed),
            _ => {}
        }
        Ok(self.write(before.map(|b| b.file), file).await?)
    }

    /// Puts the program `pattern` with the content `sha256` on the allowlist of `agent`, once. Nothing else changes: neither
    /// security nor ask (S19).
    ///
    /// # Errors
    /// When it cannot be stored, or the list is full.
    pub async fn allow(&self, agent: &str, pattern: &str, sha256: &str, command: &str, now: u64) -> io::Result<()> {
        let _one = self.changing.lock().await;
        let before = self.read().await?.map(|s| s.file);
        let mut file = before.clone().unwrap_or_else(empty);
        let agents = &mut file.agents.get_or_insert_with(|| Dict(BTreeMap::new())).0;
        let list = &mut agents.entry(agent.to_owned()).or_insert_with(nothing_said).allowlist;
        let list = &mut list.get_or_insert_with(|| List(vec![])).0;
        let content = Some(sha256.to_owned());
        let mut same = list.iter().filter(|e| e.pattern.as_str() == pattern);
        if same.any(|e| e.sha256.is_none() || e.sha256 == content) {
            return Ok(());
        }
        // The program was replaced: what was there before is not allowed any more.
        list.retain(|e| e.pattern.as_str() != pattern);
        let sound = Text::new(pattern).filter(|_| list.len() < MAX_ALLOWED);
        let Some(pattern) = sound else {
            return Err(io::Error::other(format!(
                "an allowlist has at most {MAX_ALLOWED} entries, of 1024 characters"
            )));
        };
        list.push(ExecAllowed {
            last_resolved_path: Some(pattern.as_str().to_owned()),
            pattern,
            id: None,
            last_used_at: i64::try_from(now).ok().and_then(Count::new),
            last_used_command: Some(truncate::chars(command, 1024).to_owned()),
            sha256: content,
        });
        self.write(before, file).await.map(drop)
    }

    async fn write(&self, before: Option<ExecApprovalsFile>, mut file: ExecApprovalsFile) -> io::Result<Snapshot> {
        let old = before.and_then(|b| b.socket);
        let socket = file.socket.get_or_insert(ExecSocket { path: None, token: None });
        let path = || self.dir.join(SOCKET).display().to_string();
        socket.path = socket.path.take().or_else(|| old.as_ref()?.path.clone()).or_else(|| Some(path()));
        let token = || self.entropy.hex(24);
        socket.token = socket.token.take().or_else(|| old?.token).or_else(|| Some(token()));
        file.defaults.get_or_insert_with(no_defaults);
        for agent in file.agents.get_or_insert_with(|| Dict(BTreeMap::new())).0.values_mut() {
            for entry in agent.allowlist.iter_mut().flat_map(|l| &mut l.0) {
                entry.id.get_or_insert_with(|| self.entropy.uuid());
            }
        }
        let mut text = serde_json::to_vec_pretty(&file)?;
        text.push(b'\n');
        let hash = hash(&text);
        let storage = self.storage.clone();
        let written = self.tasks.blocking(move || storage.write_atomic(FILE, &text)).await;
        written.unwrap_or_else(|| Err(io::Error::other("shutting down")))?;
        Ok(Snapshot { file, hash })
    }

    /// As clients see it: no token.
    pub fn shown(&self, snapshot: Snapshot) -> ExecApprovals {
        let mut file = snapshot.file;
        if let Some(socket) = &mut file.socket {
            socket.token = None;
        }
        ExecApprovals { path: self.path().display().to_string(), exists: true, hash: snapshot.hash, file }
    }
}

fn empty() -> ExecApprovalsFile {
    // 1 is within 1..=1.
    #[allow(clippy::expect_used)]
    let version = Int::new(1).expect("1 is within 1..=1");
    ExecApprovalsFile { version, socket: None, defaults: Some(no_defaults()), agents: Some(Dict(BTreeMap::new())) }
}

fn no_defaults() -> ExecDefaults {
    ExecDefaults { security: None, ask: None, ask_fallback: None, auto_allow_skills: None }
}

fn nothing_said() -> ExecAgent {
    ExecAgent { security: None, ask: None, ask_fallback: None, auto_allow_skills: None, allowlist: None }
}

fn hash(text: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(text))
}

#[cfg(test)]
mod tests {
    use openclaw_platform::{MemoryStorage, os};
    use serde_json::json;

    use super::*;

    fn store() -> (MemoryStorage, ApprovalsStore) {
        let storage = MemoryStorage::new();
        let store =
            ApprovalsStore::new(Arc::new(storage.clone()), Arc::new(os::OsSpawner), Arc::new(os::OsEntropy), "/state");
        (storage, store)
    }

    fn file(value: serde_json::Value) -> ExecApprovalsFile {
        serde_json::from_value(value).unwrap()
    }

    #[tokio::test]
    async fn s19_a_write_needs_the_hash_it_was_based_on() {
        let (_, store) = store();
        let first = store.get().await.unwrap();
        let new = file(json!({"version": 1, "defaults": {"security": "full"}}));
        assert!(matches!(store.set(new.clone(), None).await, Err(SetError::HashRequired)));
        assert!(matches!(store.set(new.clone(), Some("00")).await, Err(SetError::Changed)));
        let second = store.set(new.clone(), Some(&first.hash)).await.unwrap();
        assert_ne!(first.hash, second.hash);
        // What an admin revoked is not restored by somebody who read it before.
        let revoked = file(json!({"version": 1, "defaults": {"security": "deny"}}));
        store.set(revoked, Some(&second.hash)).await.unwrap();
        assert!(matches!(store.set(new, Some(&second.hash)).await, Err(SetError::Changed)));
        let now = store.read_now().unwrap().unwrap().file.defaults.unwrap().security;
        assert_eq!(now.as_deref(), Some("deny"));
    }

    #[tokio::test]
    async fn the_socket_and_its_token_stay_and_the_token_is_not_shown() {
        let (_, store) = store();
        let first = store.get().await.unwrap();
        let token = first.file.socket.clone().unwrap().token.unwrap();
        let second = store.set(file(json!({"version": 1})), Some(&first.hash)).await.unwrap();
        assert_eq!(second.file.socket.clone().unwrap().token.unwrap(), token);
        let shown = serde_json::to_string(&store.shown(second)).unwrap();
        assert!(!shown.contains(&token) && shown.contains("/state/exec-approvals.sock"), "{shown}");
    }

    #[tokio::test]
    async fn s19_always_adds_one_entry_and_changes_nothing_else() {
        let (_, store) = store();
        let first = store.get().await.unwrap();
        store
            .set(file(json!({"version": 1, "defaults": {"security": "deny", "ask": "always"}})), Some(&first.hash))
            .await
            .unwrap();
        for _ in 0..2 {
            store.allow("main", "/bin/ls", "00", "ls -l", 7).await.unwrap();
        }
        let file = store.read_now().unwrap().unwrap().file;
        let list = file.agents.unwrap().0["main"].allowlist.clone().unwrap().0;
        assert_eq!((list.len(), list[0].pattern.as_str(), list[0].id.is_some()), (1, "/bin/ls", true));
        let defaults = file.defaults.unwrap();
        assert_eq!((defaults.security.as_deref(), defaults.ask.as_deref()), (Some("deny"), Some("always")));
    }

    #[tokio::test]
    async fn s26_a_misspelt_word_is_not_written() {
        let (storage, store) = store();
        let base = store.get().await.unwrap().hash;
        for wrong in [
            json!({"version": 1, "defaults": {"security": "Deny"}}),
            json!({"version": 1, "defaults": {"ask": ""}}),
            json!({"version": 1, "agents": {"*": {"askFallback": "denied"}}}),
            json!({"version": 1, "agents": {"main": {"security": "allow-list", "ask": "Always"}}}),
            json!({"version": 1, "agents": {"main ": {"security": "deny"}}}),
        ] {
            let refused = store.set(file(wrong.clone()), Some(&base)).await.unwrap_err();
            assert!(matches!(refused, SetError::Misspelt(..)) && refused.to_string().contains("expected"), "{wrong}");
        }
        assert_eq!(store.get().await.unwrap().hash, base);
        // Found in the file it is kept, and can be read: it is told by others.
        storage.write_atomic(FILE, br#"{"version":1,"defaults":{"security":"Deny"}}"#).unwrap();
        assert_eq!(words::problems(&store.read_now().unwrap().unwrap().file).len(), 1);
    }

    #[tokio::test]
    async fn s25_always_is_for_the_content_that_was_shown() {
        let (_, store) = store();
        for sha256 in ["aa", "bb", "bb"] {
            store.allow("main", "/w/s.sh", sha256, "./s.sh", 7).await.unwrap();
        }
        let file = store.read_now().unwrap().unwrap().file;
        let list = file.agents.unwrap().0["main"].allowlist.clone().unwrap().0;
        assert_eq!((list.len(), list[0].sha256.as_deref()), (1, Some("bb")));
    }

    #[tokio::test]
    async fn a_broken_file_allows_nothing_and_is_kept() {
        let (storage, store) = store();
        for broken in ["{", "[]", r#"{"version":2}"#, r#"{"version":1,"x":1}"#, "{\"version\":1,\"\u{7f}x\":1}"] {
            storage.write_atomic(FILE, broken.as_bytes()).unwrap();
            assert!(!store.read_now().unwrap_err().to_string().contains(char::is_control), "{broken:?}");
            assert!(
                store.read_now().is_err()
                    && store.get().await.is_err()
                    && store.allow("a", "/b", "", "", 0).await.is_err()
            );
            assert_eq!(storage.read(FILE).unwrap(), broken.as_bytes());
        }
    }
}
