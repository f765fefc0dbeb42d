//! A certificate that vouches for itself: clients know it by its fingerprint.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // the files lie where people keep them

use std::{
    io::{self, Write as _},
    path::Path,
};

use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};
use openclaw_platform::{
    Clock as _,
    os::{OsClock, temporary::Temporary},
};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, date_time_ymd,
};

use super::read;
use crate::{config_file::make_dir, failure::Failure};

/// What it is called; as other gateways of this kind call theirs.
const NAME: &str = "openclaw-gateway";
/// Names besides the machine's own.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// It is good for so long. Who pins it is not asked about its dates; a browser is.
const YEARS: i16 = 10;
/// The last year that a certificate can name.
const LAST_YEAR: i16 = 9999;

/// Makes a certificate for this machine's key, and the key when there is none.
///
/// # Errors
/// Config: the key that is there cannot be used; Runtime: the disk refuses.
pub(super) fn make(certificate: &Path, key: &Path, host: &str) -> Result<(), Failure> {
    let fail =
        |path: &Path, e: io::Error| Failure::Runtime(format!("gateway.tls: cannot write {}: {e}", path.display()));
    for path in [key, certificate] {
        path.parent().map_or(Ok(()), make_dir).map_err(|e| fail(path, e))?;
    }
    // The key first: beside a key the next start makes the certificate, and without one it could not.
    let pair = match read(key) {
        Ok(text) => known(key, &text)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(cannot)?;
            create(key, pair.serialize_pem().as_bytes()).map_err(|e| fail(key, e))?;
            pair
        }
        Err(e) => return Err(Failure::Config(format!("gateway.tls.keyPath: cannot read {}: {e}", key.display()))),
    };
    let text = signed(&pair, host).map_err(cannot)?;
    create(certificate, text.as_bytes()).map_err(|e| fail(certificate, e))
}

fn cannot(error: rcgen::Error) -> Failure {
    Failure::Runtime(format!("gateway.tls: no certificate can be made: {error}"))
}

/// The reason is not repeated: it may be part of the key.
fn known(path: &Path, text: &[u8]) -> Result<KeyPair, Failure> {
    let pair = std::str::from_utf8(text).ok().and_then(|text| KeyPair::from_pem(text).ok());
    pair.ok_or_else(|| {
        let path = path.display();
        Failure::Config(format!(
            "gateway.tls.keyPath: {path} is no key that a certificate can be made for (expected PKCS #8 in PEM); put its certificate \
             there too, or move the key away"
        ))
    })
}

fn signed(pair: &KeyPair, host: &str) -> Result<String, rcgen::Error> {
    let host = host.trim().to_ascii_lowercase();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let host = Some(host).filter(|host| !host.is_empty() && host != "localhost" && host.chars().all(is_name));
    let names: Vec<String> = LOCAL.iter().map(|name| (*name).to_owned()).chain(host).collect();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, NAME);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let (from, to) = dates(OsClock.wall());
    let day = |date: Date| date_time_ymd(date.year().into(), date.month() as u8, date.day() as u8);
    (params.not_before, params.not_after) = (day(from), day(to));
    Ok(params.self_signed(pair)?.pem())
}

/// From the day before, since clocks differ.
fn dates(now_ms: u64) -> (Date, Date) {
    let now = i64::try_from(now_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
    let today = now.to_zoned(TimeZone::UTC).date();
    let last = Date::constant(LAST_YEAR, 12, 31);
    let to = today.checked_add(i64::from(YEARS).years()).ok().filter(|date| date.year() <= LAST_YEAR).unwrap_or(last);
    (today.checked_sub(1.day()).unwrap_or(today), to)
}

/// A new private file, whole or not at all.
fn create(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut temporary = Temporary::beside(path)?;
    temporary.file().write_all(text)?;
    temporary.create()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f23_dates_are_usable_whatever_the_clock_shows() {
        let (from, to) = dates(1_800_000_000_000);
        assert_eq!((from.to_string(), to.to_string()), ("2027-01-14".to_owned(), "2037-01-15".to_owned()));
        assert_eq!(dates(0).0.to_string(), "1969-12-31");
        for beyond in [253_370_764_800_000, u64::MAX] {
            assert!(dates(beyond).1.year() <= LAST_YEAR, "{beyond}");
        }
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        for host in ["box", "Box.local", "böx", "", "a b", "localhost"] {
            assert!(signed(&pair, host).unwrap().starts_with("-----BEGIN CERTIFICATE-----"), "{host}");
        }
    }
}
