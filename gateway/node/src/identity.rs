//! The node's own key, and the token that the gateway gave it.

use std::io;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use openclaw_client::DeviceKey;
use openclaw_platform::{Entropy, Storage};
use serde::{Deserialize, Serialize};

const FILE: &str = "node/identity.json";

/// A key that is made once and kept (0600 by the storage seam, replaced atomically).
pub struct Identity {
    /// Signs challenges.
    pub key: DeviceKey,
    /// What the gateway gave when it paired this node; stands for the shared credential.
    pub device_token: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    version: u32,
    device_id: String,
    /// 64 hex characters.
    seed: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device_token: Option<String>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Identity {
    /// The stored identity, made when there is none.
    ///
    /// # Errors
    /// When it cannot be read or written; one that is broken is not replaced: the node would be another one afterwards.
    pub fn load(storage: &dyn Storage, entropy: &dyn Entropy) -> io::Result<Self> {
        match storage.read(FILE) {
            Ok(text) => {
                let stored: Option<Stored> = serde_json::from_slice(&text).ok().filter(|s: &Stored| s.version == 1);
                let seed = stored.as_ref().and_then(|s| unhex(&s.seed));
                let broken = || {
                    let text = format!("{FILE} is no node identity: restore it, or remove it to pair this node anew");
                    io::Error::new(io::ErrorKind::InvalidData, text)
                };
                let key = DeviceKey::from_seed(seed.ok_or_else(broken)?);
                Ok(Self { key, device_token: stored.and_then(|s| s.device_token) })
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let made = Self { key: DeviceKey::generate(entropy), device_token: None };
                made.store(storage)?;
                Ok(made)
            }
            Err(e) => Err(e),
        }
    }

    /// The node id that gateways know it by.
    pub fn node_id(&self) -> String {
        self.key.device_id()
    }

    /// Keeps a new device token; true when it changed.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_token(&mut self, storage: &dyn Storage, token: &str) -> io::Result<bool> {
        if self.device_token.as_deref() == Some(token) {
            return Ok(false);
        }
        self.device_token = Some(token.to_owned());
        self.store(storage).map(|()| true)
    }

    fn store(&self, storage: &dyn Storage) -> io::Result<()> {
        let seed = HEXLOWER.encode(&self.key.seed());
        let stored = Stored { version: 1, device_id: self.node_id(), seed, device_token: self.device_token.clone() };
        storage.write_atomic(FILE, &serde_json::to_vec(&stored)?)
    }
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use openclaw_platform::{MemoryStorage, os::OsEntropy};

    use super::*;

    #[test]
    fn it_is_made_once_and_kept() {
        let storage = MemoryStorage::new();
        let mut first = Identity::load(&storage, &OsEntropy).unwrap();
        assert!(first.keep_token(&storage, "t").unwrap() && !first.keep_token(&storage, "t").unwrap());
        let second = Identity::load(&storage, &OsEntropy).unwrap();
        assert_eq!((first.node_id(), second.device_token.as_deref()), (second.node_id(), Some("t")));
        assert!(!format!("{second:?}").contains(&HEXLOWER.encode(&second.key.seed())), "S17");
    }

    #[test]
    fn a_broken_one_is_not_replaced() {
        let storage = MemoryStorage::new();
        storage.write_atomic(FILE, b"{\"version\":1,\"deviceId\":\"x\",\"seed\":\"zz\"}").unwrap();
        assert!(Identity::load(&storage, &OsEntropy).is_err());
        assert!(storage.read(FILE).unwrap().starts_with(b"{\"version\":1"));
    }
}
