//! What tells one certificate from all others: the SHA-256 of its bytes.

use std::{fmt, str::FromStr};

use data_encoding::HEXUPPER;
use sha2::{Digest as _, Sha256};

/// Bytes of a SHA-256.
const LEN: usize = 32;

/// The SHA-256 of a certificate in DER. Written as `sha256:AB:CD:...`, read with or without `sha256:` and colons, in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; LEN]);

/// Why a text is no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected the SHA-256 of a certificate, sha256:AB:CD:... with 64 hexadecimal digits, found {0}")]
pub struct NoFingerprint(String);

impl Fingerprint {
    /// Of a certificate in DER.
    pub fn of(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256")?;
        self.0.iter().try_for_each(|byte| write!(f, ":{byte:02X}"))
    }
}

impl FromStr for Fingerprint {
    type Err = NoFingerprint;

    fn from_str(text: &str) -> Result<Self, NoFingerprint> {
        let wrong = |found: String| NoFingerprint(found);
        let lower = text.trim().to_ascii_lowercase();
        // `openssl x509 -fingerprint -sha256` writes "sha256 Fingerprint=AB:CD:...".
        let digits = ["sha256 fingerprint=", "sha256:", "sha-256:", "sha256=", "sha256/"];
        let digits = digits.iter().find_map(|prefix| lower.strip_prefix(prefix)).unwrap_or(&lower);
        let digits: String = digits.chars().filter(|c| *c != ':' && !c.is_whitespace()).collect();
        if digits.len() != 2 * LEN {
            return Err(wrong(format!("{} characters", digits.chars().count())));
        }
        let bytes = HEXUPPER.decode(digits.to_ascii_uppercase().as_bytes()).ok();
        let bytes = bytes.and_then(|bytes| <[u8; LEN]>::try_from(bytes).ok());
        bytes.map(Self).ok_or_else(|| wrong("another character".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_people_and_programs_write_it() {
        let own = Fingerprint::of(b"certificate");
        let shown = own.to_string();
        assert!(shown.starts_with("sha256:") && shown.len() == "sha256".len() + 3 * LEN, "{shown}");
        let colons = shown.strip_prefix("sha256:").unwrap();
        let bare = colons.replace(':', "");
        for text in [
            shown.clone(),
            shown.to_lowercase(),
            colons.to_owned(),
            bare.clone(),
            bare.to_lowercase(),
            format!("sha256:{bare}"),
            format!("SHA256:{bare}"),
            format!("sha256 Fingerprint={colons}\n"),
        ] {
            assert_eq!(text.parse(), Ok(own), "{text}");
        }
        assert_ne!(Fingerprint::of(b"another"), own);
    }

    #[test]
    fn what_is_none_is_told_and_not_repeated() {
        let short = "sha256:AB".parse::<Fingerprint>().unwrap_err().to_string();
        assert!(short.contains("64 hexadecimal digits") && short.contains("found 2 characters"), "{short}");
        for wrong in ["", "sha1:00", &"g".repeat(64), &"é".repeat(32), &"0".repeat(66)] {
            assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong}");
        }
    }
}
