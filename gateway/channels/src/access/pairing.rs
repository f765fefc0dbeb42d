use std::{
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use openclaw_platform::{Clock, Entropy, EntropyExt as _, Millis, Platform, Storage, sync::LockExt as _};
use openclaw_protocol::truncate;
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};

use super::bare_id;
use crate::Sender;

/// Requests open at a time, one for each person (D46).
const MAX_PENDING: usize = 32;
/// The oldest request makes room for a new one, but not while it is younger than this: else a crowd of strangers would push
/// out the request that the owner has just made (D46).
const PROTECTED_MS: Millis = 60 * 1000;
/// A request that is older is forgotten.
const REQUEST_TTL_MS: Millis = 60 * 60 * 1000;
/// `lastSeenAt` is written at most this often, so that a stranger's messages do not become disk writes.
const SEEN_EVERY_MS: Millis = 60 * 1000;
/// Larger files are not read.
const MAX_FILE: u64 = 1 << 20;
const CODE_LENGTH: usize = 8;
/// Letters and digits that are not mistaken for each other: no O, 0, I, 1.
const CODE_ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";

/// Who asked to be let in, and who was: two small files under `credentials/` that people may also edit.
///
/// Both are read again for every question; only the owner is told from the last time. A file that cannot be understood denies and is never written over.
pub struct PairingStore {
    channel: &'static str,
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// Held through every read-change-write.
    writing: Mutex<()>,
    /// Who was let in when the file was last read or written; none when that is not known.
    known: Mutex<Option<Vec<String>>>,
}

/// A sender who waits for approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PairingRequest {
    /// Immutable id of the sender.
    pub id: String,
    /// What the operator types to approve.
    pub code: String,
    /// Wall milliseconds; ISO text is read as well.
    #[serde(deserialize_with = "millis_or_iso")]
    pub created_at: Millis,
    /// Wall milliseconds; ISO text is read as well.
    #[serde(deserialize_with = "millis_or_iso")]
    pub last_seen_at: Millis,
    /// For show.
    #[serde(default)]
    pub meta: PairingMeta,
}

/// What the service says about the sender, for show only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PairingMeta {
    /// Mutable handle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// First (or only) name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_name: Option<String>,
    /// Last name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_name: Option<String>,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PairingOutcome {
    /// A new one with this code: tell the sender.
    New(String),
    /// There is one already: say nothing.
    Pending,
    /// Too many are open, and all of them younger than a minute: say nothing.
    Full,
}

/// Why the pairing files could not be used.
#[derive(Debug, thiserror::Error)]
pub enum PairingError {
    /// The file exists and is not what it should be. It is left as it is.
    #[error("{file} cannot be read as pairing data ({reason}); nobody is let in by it. Repair or remove the file")]
    Corrupt {
        /// Name under the state directory.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// The storage failed.
    #[error("{file}: {error}")]
    Io {
        /// Name under the state directory.
        file: String,
        /// Why.
        error: io::Error,
    },
    /// No open request has that code.
    #[error("no open pairing request has the code {0:?}; it may have expired (codes are good for 60 minutes)")]
    NoSuchCode(String),
}

#[derive(Default, Serialize, Deserialize)]
struct PendingFile {
    version: u32,
    requests: Vec<PairingRequest>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AllowFile {
    version: u32,
    allow_from: Vec<String>,
}

impl std::fmt::Debug for PairingStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PairingStore").field("channel", &self.channel).finish_non_exhaustive()
    }
}

impl PairingStore {
    /// The store of one channel (`telegram`).
    pub fn new(platform: &Platform, channel: &'static str) -> Self {
        Self {
            channel,
            storage: platform.storage.clone(),
            clock: platform.clock.clone(),
            entropy: platform.entropy.fork("pairing"),
            writing: Mutex::new(()),
            known: Mutex::new(None),
        }
    }

    /// Open requests, oldest first.
    pub fn list(&self) -> Result<Vec<PairingRequest>, PairingError> {
        let mut requests = self.read::<PendingFile>(&self.pending_file())?.requests;
        let now = self.clock.wall();
        // Also a time in the future is no good: the clock was wrong then or is now.
        requests.retain(|request| now.abs_diff(request.created_at) < REQUEST_TTL_MS);
        requests.sort_by_key(|request| request.created_at);
        Ok(requests)
    }

    /// Records that `sender` wants to be let in. When too many wait already, the oldest request makes room, unless it is
    /// younger than a minute (D46).
    pub fn request(&self, sender: &Sender) -> Result<PairingOutcome, PairingError> {
        let _writing = self.writing.locked();
        let (mut requests, now) = (self.list()?, self.clock.wall());
        if let Some(known) = requests.iter_mut().find(|request| request.id == sender.id) {
            if now.abs_diff(known.last_seen_at) >= SEEN_EVERY_MS {
                known.last_seen_at = now;
                self.write_pending(requests)?;
            }
            return Ok(PairingOutcome::Pending);
        }
        while requests.len() >= MAX_PENDING {
            let gives_way = |request: &PairingRequest| now.abs_diff(request.created_at) >= PROTECTED_MS;
            let Some(oldest) = requests.iter().position(gives_way) else { return Ok(PairingOutcome::Full) };
            requests.remove(oldest);
        }
        let code = loop {
            let code = self.draw_code();
            if requests.iter().all(|request| request.code != code) {
                break code;
            }
        };
        let meta = PairingMeta {
            username: sender.username.clone(),
            first_name: Some(sender.name.clone()).filter(|name| !name.is_empty()),
            last_name: None,
        };
        let request =
            PairingRequest { id: sender.id.clone(), code: code.clone(), created_at: now, last_seen_at: now, meta };
        requests.push(request);
        self.write_pending(requests)?;
        Ok(PairingOutcome::New(code))
    }

    /// Forgets the request of `id`: its code could not be told.
    pub fn withdraw(&self, id: &str) -> Result<(), PairingError> {
        let _writing = self.writing.locked();
        let mut requests = self.list()?;
        requests.retain(|request| request.id != id);
        self.write_pending(requests)
    }

    /// Lets in the sender whose request has `code` (any case) and gives their id.
    pub fn approve(&self, code: &str) -> Result<String, PairingError> {
        let _writing = self.writing.locked();
        let (mut requests, wanted) = (self.list()?, code.trim());
        let Some(at) = requests.iter().position(|request| request.code.eq_ignore_ascii_case(wanted)) else {
            return Err(PairingError::NoSuchCode(truncate::chars(wanted, 32).to_owned()));
        };
        let id = requests.remove(at).id;
        let mut allowed = self.allow_list()?;
        if !self.names(&allowed.allow_from, &id) {
            allowed.version = 1;
            allowed.allow_from.push(id.clone());
            self.write(&self.allow_file(), &allowed)?;
            *self.known() = Some(allowed.allow_from);
        }
        // Second, so that a crash in between leaves a request that can be approved again.
        self.write_pending(requests)?;
        Ok(id)
    }

    /// True when `id` was let in.
    pub fn is_allowed(&self, id: &str) -> Result<bool, PairingError> {
        Ok(self.names(&self.allow_list()?.allow_from, id))
    }

    /// Who was let in, in the order of approval.
    pub fn allowed(&self) -> Result<Vec<String>, PairingError> {
        Ok(self.allow_list()?.allow_from.iter().map(|entry| self.bare(entry)).collect())
    }

    /// The sender who was let in first: the owner, where the configuration names none (D46). Asked many times for each
    /// message, so that the file is not read for it when it was before: every other question reads it.
    pub fn first_allowed(&self) -> Result<Option<String>, PairingError> {
        if let Some(list) = &*self.known() {
            return Ok(list.first().map(|entry| self.bare(entry)));
        }
        Ok(self.allowed()?.into_iter().next())
    }

    fn known(&self) -> MutexGuard<'_, Option<Vec<String>>> {
        self.known.locked()
    }

    /// Reads who was let in.
    fn allow_list(&self) -> Result<AllowFile, PairingError> {
        let read = self.read::<AllowFile>(&self.allow_file());
        *self.known() = read.as_ref().ok().map(|file| file.allow_from.clone());
        read
    }

    fn bare(&self, entry: &str) -> String {
        bare_id(entry, &[&format!("{}:", self.channel)]).to_owned()
    }

    fn names(&self, list: &[String], id: &str) -> bool {
        let prefix = format!("{}:", self.channel);
        list.iter().any(|entry| bare_id(entry, &[&prefix]) == id)
    }

    fn draw_code(&self) -> String {
        let draw = |_| char::from(CODE_ALPHABET[self.entropy.below(CODE_ALPHABET.len() as u32) as usize]);
        (0..CODE_LENGTH).map(draw).collect()
    }

    fn pending_file(&self) -> String {
        format!("credentials/{}-pairing.json", self.channel)
    }

    fn allow_file(&self) -> String {
        format!("credentials/{}-allowFrom.json", self.channel)
    }

    fn read<T: DeserializeOwned + Default>(&self, file: &str) -> Result<T, PairingError> {
        let failed = |error| PairingError::Io { file: file.to_owned(), error };
        let corrupt = |reason: String| PairingError::Corrupt { file: file.to_owned(), reason };
        match self.storage.len(file) {
            Ok(length) if length > MAX_FILE => return Err(corrupt(format!("larger than {MAX_FILE} bytes"))),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(T::default()),
            Err(error) => return Err(failed(error)),
        }
        let bytes = self.storage.read(file).map_err(failed)?;
        serde_json::from_slice(&bytes).map_err(|error| corrupt(error.to_string()))
    }

    fn write_pending(&self, requests: Vec<PairingRequest>) -> Result<(), PairingError> {
        self.write(&self.pending_file(), &PendingFile { version: 1, requests })
    }

    fn write(&self, file: &str, content: &impl Serialize) -> Result<(), PairingError> {
        let failed = |error| PairingError::Io { file: file.to_owned(), error };
        let bytes = serde_json::to_vec_pretty(content).map_err(|error| failed(error.into()))?;
        self.storage.write_atomic(file, &bytes).map_err(failed)
    }
}

fn millis_or_iso<'de, D: Deserializer<'de>>(value: D) -> Result<Millis, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Time {
        Millis(Millis),
        Iso(String),
    }
    match Time::deserialize(value)? {
        Time::Millis(millis) => Ok(millis),
        Time::Iso(text) => {
            let time: jiff::Timestamp = text.parse().map_err(serde::de::Error::custom)?;
            Millis::try_from(time.as_millisecond()).map_err(serde::de::Error::custom)
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use openclaw_platform::{MemoryStorage, Mono, os::OsEntropy};

    use super::*;

    pub struct WallClock(AtomicU64);
    impl Clock for WallClock {
        fn mono(&self) -> Mono {
            unreachable!("pairing runs on wall time")
        }
        fn wall(&self) -> Millis {
            self.0.load(Ordering::Relaxed)
        }
    }

    const NOW: Millis = 1_800_000_000_000;
    const PENDING: &str = "credentials/telegram-pairing.json";
    const ALLOWED: &str = "credentials/telegram-allowFrom.json";

    pub fn store() -> (PairingStore, MemoryStorage, Arc<WallClock>) {
        let (files, clock) = (MemoryStorage::new(), Arc::new(WallClock(NOW.into())));
        let store = PairingStore {
            channel: "telegram",
            storage: Arc::new(files.clone()),
            clock: clock.clone(),
            entropy: Arc::new(OsEntropy),
            writing: Mutex::new(()),
            known: Mutex::new(None),
        };
        (store, files, clock)
    }

    fn sender(id: &str) -> Sender {
        Sender { id: id.into(), name: "Ann".into(), username: Some("ann".into()) }
    }

    fn code(outcome: PairingOutcome) -> String {
        let PairingOutcome::New(code) = outcome else { panic!("{outcome:?}") };
        code
    }

    #[test]
    fn a_stranger_gets_one_code_and_approval_lets_them_in() {
        let (store, files, _) = store();
        let code = code(store.request(&sender("42")).unwrap());
        assert_eq!(code.len(), 8);
        assert!(code.bytes().all(|b| CODE_ALPHABET.contains(&b)), "{code}");
        assert_eq!(store.request(&sender("42")).unwrap(), PairingOutcome::Pending);
        assert!(!store.is_allowed("42").unwrap());
        assert_eq!(store.list().unwrap()[0].meta.username.as_deref(), Some("ann"));
        assert_eq!(store.approve(&format!(" {} ", code.to_lowercase())).unwrap(), "42");
        assert!(store.is_allowed("42").unwrap());
        assert!(!store.is_allowed("4").unwrap());
        assert_eq!(store.list().unwrap(), []);
        assert!(matches!(store.approve(&code), Err(PairingError::NoSuchCode(_))));
        let file: serde_json::Value = serde_json::from_slice(&files.read(ALLOWED).unwrap()).unwrap();
        assert_eq!(file, serde_json::json!({"version": 1, "allowFrom": ["42"]}));
    }

    #[test]
    fn requests_are_bounded_and_expire() {
        let (store, _, clock) = store();
        for id in 0..MAX_PENDING {
            code(store.request(&sender(&id.to_string())).unwrap());
        }
        assert_eq!(store.request(&sender("99")).unwrap(), PairingOutcome::Full);
        store.withdraw("2").unwrap();
        let late = code(store.request(&sender("99")).unwrap());
        clock.0.store(NOW + REQUEST_TTL_MS, Ordering::Relaxed);
        assert_eq!(store.list().unwrap(), []);
        assert!(matches!(store.approve(&late), Err(PairingError::NoSuchCode(_))));
        code(store.request(&sender("100")).unwrap());
        // The clock is set back by a day: nobody can be locked out by requests from the future.
        clock.0.store(NOW - 24 * 3_600_000, Ordering::Relaxed);
        assert_eq!(store.list().unwrap(), []);
    }

    /// Strangers neither push out what was just asked, nor hold all places for an hour.
    #[test]
    fn d46_the_oldest_request_makes_room_but_not_a_young_one() {
        let (store, _, clock) = store();
        let at = |millis: Millis| clock.0.store(NOW + millis, Ordering::Relaxed);
        let waits = |id: &str| store.list().unwrap().iter().any(|request| request.id == id);
        let strangers = |from: usize, count: usize| {
            let asked = (from..from + count).map(|n| store.request(&sender(&format!("s{n}"))).unwrap());
            asked.filter(|outcome| matches!(outcome, PairingOutcome::New(_))).count()
        };
        let owner = code(store.request(&sender("owner")).unwrap());
        assert_eq!(strangers(0, 1000), MAX_PENDING - 1);
        at(PROTECTED_MS - 1);
        assert_eq!(strangers(1000, 1000), 0);
        assert_eq!(store.list().unwrap().len(), MAX_PENDING);
        assert!(waits("owner"));
        assert_eq!(store.request(&sender("owner")).unwrap(), PairingOutcome::Pending, "one code for each person");

        // A minute later all of them may be pushed out, the oldest first, and who comes then has a minute of his own.
        at(PROTECTED_MS);
        let second = code(store.request(&sender("second")).unwrap());
        assert!(!waits("owner") && waits("second"));
        assert!(matches!(store.approve(&owner), Err(PairingError::NoSuchCode(_))));
        assert_eq!(strangers(2000, 1000), MAX_PENDING - 1);
        assert!(waits("second"));
        assert_eq!(store.approve(&second).unwrap(), "second");
        assert_eq!(strangers(3000, 10), 1, "who is let in leaves a place");
    }

    #[test]
    fn d46_requests_from_the_future_and_too_many_from_a_file_make_room() {
        let (store, files, _) = store();
        let requests: Vec<_> = (0..MAX_PENDING + 5)
            .map(|n| {
                let at = if n < 20 { NOW + 600_000 } else { NOW - 1000 };
                let code = format!("AAAA{n:04}");
                serde_json::json!({ "id": n.to_string(), "code": code, "createdAt": at, "lastSeenAt": at })
            })
            .collect();
        let file = serde_json::json!({ "version": 1, "requests": requests });
        files.write_atomic(PENDING, file.to_string().as_bytes()).unwrap();
        code(store.request(&sender("99")).unwrap());
        assert_eq!(store.list().unwrap().len(), MAX_PENDING);
    }

    #[test]
    fn outside_edits_count_and_both_time_forms_are_read() {
        let (store, files, _) = store();
        files.write_atomic(ALLOWED, br#"{"version":1,"allowFrom":["telegram:7"]}"#).unwrap();
        assert!(store.is_allowed("7").unwrap());
        files.write_atomic(ALLOWED, br#"{"version":1,"allowFrom":[]}"#).unwrap();
        assert!(!store.is_allowed("7").unwrap());
        let iso = jiff::Timestamp::from_millisecond((NOW - 1000) as i64).unwrap().to_string();
        let pending = format!(
            r#"{{"version":1,"requests":[{{"id":"8","code":"ABCDEFGH","createdAt":"{iso}","lastSeenAt":{NOW}}}]}}"#
        );
        files.write_atomic(PENDING, pending.as_bytes()).unwrap();
        assert_eq!(store.list().unwrap()[0].created_at, NOW - 1000);
        assert_eq!(store.approve("ABCDEFGH").unwrap(), "8");
    }

    #[test]
    fn f18_a_corrupt_file_denies_and_is_not_written_over() {
        let (store, files, _) = store();
        let code = code(store.request(&sender("42")).unwrap());
        files.write_atomic(ALLOWED, br#"{"version":1,"allowF"#).unwrap();
        assert!(matches!(store.is_allowed("42"), Err(PairingError::Corrupt { .. })));
        let error = store.approve(&code).unwrap_err().to_string();
        assert!(error.contains(ALLOWED), "{error}");
        assert_eq!(files.read(ALLOWED).unwrap(), br#"{"version":1,"allowF"#);
        assert_eq!(store.list().unwrap().len(), 1, "the request can be approved after the repair");
        files.write_atomic(PENDING, b"[]").unwrap();
        assert!(store.request(&sender("43")).is_err());
        assert_eq!(files.read(PENDING).unwrap(), b"[]");
    }
}
