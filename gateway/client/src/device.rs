//! Device identity: an Ed25519 key whose signature over the challenge proves who connects (manual: device pairing).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer as _, SigningKey};
use openclaw_platform::Entropy;
use openclaw_protocol::device::{Signed, device_id, signed_text};
use serde_json::{Value, json};

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

    /// The device's id: lower-case hex SHA-256 of its public key.
    pub fn device_id(&self) -> String {
        device_id(&self.public_key())
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

/// The `device` block of connect. `claims` names everything that is signed besides the device itself: its `device_id`
/// does not count, the signer's does.
pub fn block(signer: &dyn DeviceSigner, claims: &Signed<'_>) -> Value {
    let public_key = signer.public_key();
    let id = device_id(&public_key);
    let signature = signer.sign(signed_text(&Signed { device_id: &id, ..*claims }).as_bytes());
    json!({
        "id": id,
        "publicKey": URL_SAFE_NO_PAD.encode(public_key),
        "signature": URL_SAFE_NO_PAD.encode(signature),
        "signedAt": claims.signed_at,
        "nonce": claims.nonce,
    })
}

#[cfg(test)]
mod tests {
    use openclaw_protocol::device::PublicKey;

    use super::*;

    #[test]
    fn s20_the_gateway_accepts_the_block_and_nothing_else() {
        let key = DeviceKey::from_seed([7; 32]);
        let claims = Signed {
            device_id: "",
            client_id: "cli",
            client_mode: "cli",
            role: "operator",
            scopes: &["operator.read".to_owned(), "operator.write".to_owned()],
            signed_at: 1_700_000_000_000,
            token: "t0",
            nonce: Some("n-1"),
        };
        let block = block(&key, &claims);
        let public = PublicKey::parse(block["publicKey"].as_str().unwrap()).unwrap();
        let id = public.device_id();
        assert_eq!(block["id"], id.as_str());
        let signature = block["signature"].as_str().unwrap();
        let signed = Signed { device_id: &id, ..claims };
        assert!(public.verifies(&signed_text(&signed), signature));
        assert!(!public.verifies(&signed_text(&Signed { nonce: Some("n-2"), ..signed }), signature));
    }

    #[test]
    fn s17_debug_does_not_show_the_key() {
        let shown = format!("{:?}", DeviceKey::from_seed([7; 32]));
        assert!(!shown.contains("7, 7"), "{shown}");
    }
}
