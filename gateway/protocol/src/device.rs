//! Device identity: what is signed, and how it is checked. Pure (protocol-core.md section 7).

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use data_encoding::HEXLOWER;
use ed25519_dalek::{Signature, VerifyingKey, pkcs8::DecodePublicKey as _};
use sha2::{Digest as _, Sha256};

/// The id of the device that this raw public key stands for: lower-case hex of the key's SHA-256.
pub fn device_id(public_key: &[u8; 32]) -> String {
    HEXLOWER.encode(&Sha256::digest(public_key))
}

/// Most that `signedAt` may differ from the gateway's wall clock, in milliseconds.
pub const MAX_SKEW_MS: u64 = 600_000;

/// The fields under a device signature.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// Device id.
    pub device_id: &'a str,
    /// `client.id`.
    pub client_id: &'a str,
    /// `client.mode`.
    pub client_mode: &'a str,
    /// Effective role.
    pub role: &'a str,
    /// Scopes as requested, in the order sent.
    pub scopes: &'a [String],
    /// Milliseconds.
    pub signed_at: u64,
    /// `auth.token`, or empty.
    pub token: &'a str,
    /// The nonce; with it version 2 is signed, without it version 1.
    pub nonce: Option<&'a str>,
}

/// The text that a device signs.
pub fn signed_text(s: &Signed<'_>) -> String {
    let version = if s.nonce.is_some() { "v2" } else { "v1" };
    let scopes = s.scopes.join(",");
    let Signed { device_id, client_id, client_mode, role, signed_at, token, .. } = s;
    let base = format!("{version}|{device_id}|{client_id}|{client_mode}|{role}|{scopes}|{signed_at}|{token}");
    match s.nonce {
        Some(nonce) => format!("{base}|{nonce}"),
        None => base,
    }
}

/// The version 3 text: version 2 and what the client says it runs on, trimmed and in lower case, empty when absent
/// (protocol-v3-v4.md, 'Handshake'). Only with a nonce.
pub fn signed_text_v3(s: &Signed<'_>, platform: &str, device_family: &str) -> String {
    let tidy = |text: &str| text.trim().to_lowercase();
    let base = signed_text(s);
    format!("v3{}|{}|{}", base.get(2..).unwrap_or_default(), tidy(platform), tidy(device_family))
}

/// A parsed Ed25519 public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Reads base64url, base64 (raw 32 bytes) or SPKI PEM.
    pub fn parse(text: &str) -> Option<Self> {
        if text.contains("BEGIN") {
            return VerifyingKey::from_public_key_pem(text.trim()).ok().map(Self);
        }
        let raw: [u8; 32] = decode(text)?.try_into().ok()?;
        VerifyingKey::from_bytes(&raw).ok().map(Self)
    }
    /// The device's id.
    pub fn device_id(&self) -> String {
        device_id(self.0.as_bytes())
    }
    /// base64url without padding.
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.as_bytes())
    }
    /// True when `signature` (base64url or base64, 64 bytes) is this key's over `text`.
    pub fn verifies(&self, text: &str, signature: &str) -> bool {
        let Some(raw) = decode(signature).and_then(|b| <[u8; 64]>::try_from(b).ok()) else { return false };
        self.0.verify_strict(text.as_bytes(), &Signature::from_bytes(&raw)).is_ok()
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    URL_SAFE_NO_PAD.decode(text).or_else(|_| STANDARD.decode(text)).ok()
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer as _, SigningKey};

    use super::*;

    #[test]
    fn every_signed_field_counts() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let public = PublicKey::parse(&URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes())).unwrap();
        let scopes = vec!["b".to_owned(), "a".to_owned()];
        let base = Signed {
            device_id: "d",
            client_id: "cli",
            client_mode: "cli",
            role: "operator",
            scopes: &scopes,
            signed_at: 5,
            token: "t",
            nonce: Some("n"),
        };
        assert_eq!(signed_text(&base), "v2|d|cli|cli|operator|b,a|5|t|n");
        assert_eq!(signed_text(&Signed { nonce: None, ..base }), "v1|d|cli|cli|operator|b,a|5|t");
        let signature = URL_SAFE_NO_PAD.encode(key.sign(signed_text(&base).as_bytes()).to_bytes());
        assert!(public.verifies(&signed_text(&base), &signature));
        let others = [
            Signed { device_id: "e", ..base },
            Signed { client_id: "x", ..base },
            Signed { client_mode: "ui", ..base },
            Signed { role: "node", ..base },
            Signed { scopes: &[], ..base },
            Signed { signed_at: 6, ..base },
            Signed { token: "", ..base },
            Signed { nonce: Some("m"), ..base },
            Signed { nonce: None, ..base },
        ];
        for other in others {
            assert!(!public.verifies(&signed_text(&other), &signature), "{other:?}");
        }
    }

    #[test]
    fn s20_version_3_also_signs_platform_and_family() {
        let base = Signed {
            device_id: "d",
            client_id: "cli",
            client_mode: "cli",
            role: "node",
            scopes: &[],
            signed_at: 5,
            token: "t",
            nonce: Some("n"),
        };
        assert_eq!(signed_text_v3(&base, " MacOS ", ""), "v3|d|cli|cli|node||5|t|n|macos|");
        assert_eq!(signed_text_v3(&base, "ios", "iPhone"), "v3|d|cli|cli|node||5|t|n|ios|iphone");
    }

    #[test]
    fn keys_in_all_spellings() {
        let raw = SigningKey::from_bytes(&[9; 32]).verifying_key();
        let url = PublicKey::parse(&URL_SAFE_NO_PAD.encode(raw.as_bytes())).unwrap();
        assert_eq!(PublicKey::parse(&STANDARD.encode(raw.as_bytes())).unwrap(), url);
        for bad in ["", "AAAA", "-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----", "§"] {
            assert!(PublicKey::parse(bad).is_none(), "{bad}");
        }
        assert_eq!(url.device_id().len(), 64);
    }
}
