//! Numbers with bounds. The schema says them again with `range(..)`; a test holds the two together.

use serde::{Deserialize, Deserializer, de::Error};

/// Reads a number in `MIN..=MAX`.
pub(crate) fn within<'de, const MIN: u64, const MAX: u64, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let n = u64::deserialize(from)?;
    if (MIN..=MAX).contains(&n) { Ok(n) } else { Err(D::Error::custom(format!("expected {MIN} to {MAX}, found {n}"))) }
}

/// Reads a number in `MIN..=MAX`, or nothing.
pub(crate) fn within_opt<'de, const MIN: u64, const MAX: u64, D>(from: D) -> Result<Option<u64>, D::Error>
where
    D: Deserializer<'de>,
{
    match Option::<u64>::deserialize(from)? {
        Some(n) if !(MIN..=MAX).contains(&n) => Err(D::Error::custom(format!("expected {MIN} to {MAX}, found {n}"))),
        n => Ok(n),
    }
}

/// Reads a TCP port: 1 to 65535, or nothing.
pub(crate) fn port<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u16>, D::Error> {
    Ok(within_opt::<1, 65535, D>(from)?.map(|n| n as u16))
}
