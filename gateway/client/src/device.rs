//! Device identity: an Ed25519 key whose signature over the challenge proves who connects (manual: device pairing).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer as _, SigningKey};
use openclaw_platform::{Entropy, Millis};
use sha2::{Digest as _, Sha256};

/// Holds a device's private key and signs with it.
pub trait DeviceSigner: Send + Sync {
    /// The raw 32-byte Ed25519 public key.
    fn public_key(&self) -> [u8; 32];
    /// Signs `message`.
    fn sign(&self, message: &[u8]) -> [u8; 64];
}

/// A key in memory.
#[derive(Clone)]
pub struct DeviceKey(SigningKey);

impl std::fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DeviceKey({})", device_id(&self.public_key()))
    }
}

impl DeviceKey {
    /// A fresh key.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut seed = [0; 32];
        entropy.fill(&mut seed);
        Self::from_seed(seed)
    }

    /// The key that this secret seed stands for.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&seed))
    }

    /// The secret seed, to be stored.
    pub fn seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }
}

impl DeviceSigner for DeviceKey {
    fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

/// The device's id: lower-case hex SHA-256 of its raw public key.
pub(crate) fn device_id(public_key: &[u8; 32]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(public_key).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// What the signature covers, besides the device's id.
pub(crate) struct Claims<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) client_mode: &'a str,
    pub(crate) role: &'a str,
    pub(crate) scopes: &'a [String],
    pub(crate) token: &'a str,
    pub(crate) signed_at: Millis,
    pub(crate) nonce: &'a str,
}

/// The `device` block of connect, signed in the version 2 form (with nonce).
pub(crate) fn block(signer: &dyn DeviceSigner, claims: &Claims<'_>) -> serde_json::Value {
    let public_key = signer.public_key();
    let id = device_id(&public_key);
    let Claims { client_id, client_mode, role, scopes, token, signed_at, nonce } = claims;
    let scopes = scopes.join(",");
    let message = format!("v2|{id}|{client_id}|{client_mode}|{role}|{scopes}|{signed_at}|{token}|{nonce}");
    let signature = signer.sign(message.as_bytes());
    serde_json::json!({
        "id": id,
        "publicKey": URL_SAFE_NO_PAD.encode(public_key),
        "signature": URL_SAFE_NO_PAD.encode(signature),
        "signedAt": signed_at,
        "nonce": nonce,
    })
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signature, VerifyingKey};

    use super::*;

    #[test]
    fn s20_the_signature_binds_every_claim() {
        let key = DeviceKey::from_seed([7; 32]);
        let claims = Claims {
            client_id: "cli",
            client_mode: "cli",
            role: "operator",
            scopes: &["operator.read".to_owned(), "operator.write".to_owned()],
            token: "t0",
            signed_at: 1_700_000_000_000,
            nonce: "n-1",
        };
        let block = block(&key, &claims);
        let id = block["id"].as_str().unwrap();
        assert_eq!(id.len(), 64);
        let signature = URL_SAFE_NO_PAD.decode(block["signature"].as_str().unwrap()).unwrap();
        let message = format!("v2|{id}|cli|cli|operator|operator.read,operator.write|1700000000000|t0|n-1");
        VerifyingKey::from_bytes(&key.public_key())
            .unwrap()
            .verify_strict(message.as_bytes(), &Signature::from_slice(&signature).unwrap())
            .unwrap();
    }

    #[test]
    fn s17_debug_does_not_show_the_key() {
        let shown = format!("{:?}", DeviceKey::from_seed([7; 32]));
        assert!(!shown.contains("7, 7"), "{shown}");
    }
}
