//! Version 1 signatures of devices that were used: they carry no nonce, so that only memory keeps them from being used again.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use openclaw_platform::{Mono, sync::LockExt as _};
use openclaw_protocol::device::MAX_SKEW_MS;

use crate::limits::V1_SIGNATURES;

/// Digests of the texts whose signature was used.
#[derive(Debug, Default)]
pub struct UsedSignatures(Mutex<BTreeMap<[u8; 32], Mono>>);

impl UsedSignatures {
    /// False when it was used before, or when there is no room to remember it.
    pub fn first_use(&self, text: [u8; 32], now: Mono) -> bool {
        let mut used = self.0.locked();
        used.retain(|_, until| *until > now);
        if used.len() >= V1_SIGNATURES || used.contains_key(&text) {
            return false;
        }
        // It may be dated ahead by the skew and is good for the skew after that date.
        used.insert(text, now + Duration::from_millis(2 * MAX_SKEW_MS));
        true
    }
}
