//! Records: JSON with a seal behind it, a checksum over table, key and value. redb compares a page when it opens a file and
//! not when it reads it: without the seal a bit that changes under a running gateway, or in a database too large to be compared
//! at a start, would be served as if it were right (F18).

use std::ops::Bound::{Excluded, Unbounded};

use redb::{
    ReadTransaction, ReadableDatabase as _, ReadableTable, Table, TableDefinition, TableError, TableHandle,
    WriteTransaction,
};
use serde::{Serialize, de::DeserializeOwned};

use super::{META, Records, StoreError};

/// Bytes of a seal: CRC-32 (IEEE), the lowest first. It sees every change of up to three bits, or of bits that lie within 32.
pub const SEAL: usize = 4;
/// Bytes of records that are sealed at a time in a migration.
const BATCH: usize = 1 << 20;

/// What names a record in its table.
pub trait Key: Copy {
    /// Its bytes, in parts.
    fn each(self, part: impl FnMut(&[u8]));
    /// For people, without control characters (S18).
    fn shown(self) -> String;
}

impl Key for &str {
    fn each(self, mut part: impl FnMut(&[u8])) {
        part(self.as_bytes());
    }
    fn shown(self) -> String {
        self.escape_debug().to_string()
    }
}

impl Key for (&str, u64) {
    fn each(self, mut part: impl FnMut(&[u8])) {
        part(self.0.as_bytes());
        part(&self.1.to_le_bytes());
    }
    fn shown(self) -> String {
        format!("{} at {}", self.0.escape_debug(), self.1)
    }
}

/// Table and key are in it, too: a record that a changed key or page number gives to somebody else is not theirs.
fn seal(table: &str, key: impl Key, value: &[u8]) -> [u8; SEAL] {
    let mut sum = crc32fast::Hasher::new();
    sum.update(table.as_bytes());
    key.each(|part| sum.update(part));
    sum.update(value);
    sum.finalize().to_le_bytes()
}

fn sealed(table: &str, key: impl Key, mut value: Vec<u8>) -> Vec<u8> {
    value.extend_from_slice(&seal(table, key, &value));
    value
}

/// The JSON of a record that agrees with its seal.
fn opened<'a>(table: &str, key: impl Key, bytes: &'a [u8]) -> Result<&'a [u8], StoreError> {
    match bytes.split_last_chunk::<SEAL>() {
        Some((value, found)) if seal(table, key, value) == *found => Ok(value),
        _ => {
            let key = key.shown();
            Err(StoreError::Damaged(format!("the record {key} in the table {table} does not agree with its checksum")))
        }
    }
}

fn parsed<T: DeserializeOwned>(key: impl Key, json: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(json).map_err(|source| StoreError::Record { key: key.shown(), source })
}

/// A record's bytes: the JSON of `value`, sealed for this place.
///
/// # Errors
/// [`StoreError::Record`] for what is no JSON.
pub fn encode<T: Serialize>(table: &impl TableHandle, key: impl Key, value: &T) -> Result<Vec<u8>, StoreError> {
    let json = serde_json::to_vec(value).map_err(|source| StoreError::Record { key: key.shown(), source })?;
    Ok(sealed(table.name(), key, json))
}

/// A record from its bytes.
///
/// # Errors
/// [`StoreError::Damaged`] for one that is not what was written at this place; [`StoreError::Record`] for one that was
/// written as something else.
pub fn decode<T: DeserializeOwned>(table: &impl TableHandle, key: impl Key, bytes: &[u8]) -> Result<T, StoreError> {
    parsed(key, opened(table.name(), key, bytes)?)
}

/// One record.
///
/// # Errors
/// As for [`decode`]; when the database cannot be read.
pub fn get<T: DeserializeOwned>(
    table: &(impl ReadableTable<&'static str, &'static [u8]> + TableHandle),
    key: &str,
) -> Result<Option<T>, StoreError> {
    table.get(key)?.map(|v| decode(table, key, v.value())).transpose()
}

/// All records of a table in key order.
///
/// # Errors
/// As for [`get`]: one that is damaged fails all.
pub fn all<T: DeserializeOwned>(tx: &ReadTransaction, table: Records) -> Result<Vec<(String, T)>, StoreError> {
    rows(tx, table, |key, bytes| decode(&table, key, bytes))
}

/// All records of a table that an earlier version wrote, which had no seals.
///
/// # Errors
/// [`StoreError::Record`]; when the database cannot be read.
pub fn unsealed<T: DeserializeOwned>(tx: &ReadTransaction, table: Records) -> Result<Vec<(String, T)>, StoreError> {
    rows(tx, table, |key, bytes| parsed(key, bytes))
}

fn rows<T>(
    tx: &ReadTransaction,
    table: Records,
    each: impl Fn(&str, &[u8]) -> Result<T, StoreError>,
) -> Result<Vec<(String, T)>, StoreError> {
    let table = match tx.open_table(table) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(vec![]),
        other => other?,
    };
    let mut out = Vec::new();
    for row in table.iter()? {
        let (key, value) = row?;
        out.push((key.value().to_owned(), each(key.value(), value.value())?));
    }
    Ok(out)
}

/// Shows every record of a table in key order, one at a time.
///
/// # Errors
/// As for [`all`].
pub fn each<T: DeserializeOwned>(
    tx: &ReadTransaction,
    table: Records,
    mut show: impl FnMut(String, T),
) -> Result<(), StoreError> {
    for row in tx.open_table(table)?.iter()? {
        let (key, value) = row?;
        show(key.value().to_owned(), decode(&table, key.value(), value.value())?);
    }
    Ok(())
}

/// The keys of a table, in order; its records are not read.
///
/// # Errors
/// When the database cannot be read.
pub fn keys(tx: &ReadTransaction, table: Records) -> Result<Vec<String>, StoreError> {
    let table = match tx.open_table(table) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(vec![]),
        other => other?,
    };
    table.iter()?.map(|row| Ok(row?.0.value().to_owned())).collect()
}

/// Writes one record.
///
/// # Errors
/// As for [`encode`]; when the database refuses.
pub fn put<T: Serialize>(
    table: &mut Table<'_, &'static str, &'static [u8]>,
    key: &str,
    value: &T,
) -> Result<(), StoreError> {
    let bytes = encode(table, key, value)?;
    table.insert(key, bytes.as_slice())?;
    Ok(())
}

/// Compares every record with its seal; gives their number.
///
/// # Errors
/// [`StoreError::Damaged`] with the first that does not agree; when the database cannot be read.
pub(super) fn compare(db: &redb::Database) -> Result<u64, StoreError> {
    let tx = db.begin_read()?;
    let mut records = 0;
    for table in tx.list_tables()?.filter(|table| table.name() != META.name()) {
        let name = table.name();
        match tx.open_table(TableDefinition::<&str, &[u8]>::new(name)) {
            Ok(table) => {
                for row in table.iter()? {
                    let (key, value) = row?;
                    opened(name, key.value(), value.value())?;
                    records += 1;
                }
            }
            Err(TableError::TableTypeMismatch { .. }) => {
                for row in tx.open_table(TableDefinition::<(&str, u64), &[u8]>::new(name))?.iter()? {
                    let (key, value) = row?;
                    opened(name, key.value(), value.value())?;
                    records += 1;
                }
            }
            Err(other) => return Err(other.into()),
        }
    }
    Ok(records)
}

/// Seals every record of a database whose records are not, some at a time.
///
/// # Errors
/// When the database refuses.
pub(super) fn seal_all(tx: &WriteTransaction) -> Result<(), StoreError> {
    let names: Vec<String> = tx.list_tables()?.map(|table| table.name().to_owned()).collect();
    for name in names.iter().filter(|name| *name != META.name()) {
        match tx.open_table(TableDefinition::<&str, &[u8]>::new(name)) {
            Ok(mut table) => {
                let mut last: Option<String> = None;
                loop {
                    let after = last.as_deref().map_or(Unbounded, Excluded);
                    let rows = batch(table.range::<&str>((after, Unbounded))?, str::to_owned)?;
                    let Some((key, _)) = rows.last() else { break };
                    last = Some(key.clone());
                    for (key, value) in rows {
                        table.insert(key.as_str(), sealed(name, key.as_str(), value).as_slice())?;
                    }
                }
            }
            Err(TableError::TableTypeMismatch { .. }) => {
                let mut table = tx.open_table(TableDefinition::<(&str, u64), &[u8]>::new(name))?;
                let mut last: Option<(String, u64)> = None;
                loop {
                    let after = last.as_ref().map_or(Unbounded, |(id, at)| Excluded((id.as_str(), *at)));
                    let rows = batch(table.range::<(&str, u64)>((after, Unbounded))?, |(id, at)| (id.to_owned(), at))?;
                    let Some((key, _)) = rows.last() else { break };
                    last = Some(key.clone());
                    for ((id, at), value) in rows {
                        let key = (id.as_str(), at);
                        table.insert(key, sealed(name, key, value).as_slice())?;
                    }
                }
            }
            Err(other) => return Err(other.into()),
        }
    }
    Ok(())
}

/// The next rows, as many as one batch takes.
fn batch<K: redb::Key + 'static, O>(
    rows: redb::Range<'_, K, &'static [u8]>,
    own: impl Fn(K::SelfType<'_>) -> O,
) -> Result<Vec<(O, Vec<u8>)>, StoreError> {
    let (mut out, mut bytes) = (Vec::new(), 0);
    for row in rows {
        let (key, value) = row?;
        bytes += value.value().len();
        out.push((own(key.value()), value.value().to_vec()));
        if bytes >= BATCH {
            break;
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{LINES, NUMBERS, WORDS};

    /// Every bit of a record and of its key counts, and so does the place where it stands.
    #[test]
    fn f18_a_changed_bit_is_named_and_not_served() {
        let line = encode(&LINES, ("s\u{7}1", 3), &"what was said").unwrap();
        assert_eq!(decode::<String>(&LINES, ("s\u{7}1", 3), &line).unwrap(), "what was said");
        for bit in 0..line.len() * 8 {
            let mut changed = line.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let error = decode::<String>(&LINES, ("s\u{7}1", 3), &changed).unwrap_err();
            assert!(matches!(error, StoreError::Damaged(_)), "bit {bit}: {error}");
            assert!(error.to_string().contains("the record s\\u{7}1 at 3 in the table lines"), "{error}");
        }
        for key in [("s\u{7}1", 2), ("s\u{7}2", 3)] {
            assert!(matches!(decode::<String>(&LINES, key, &line), Err(StoreError::Damaged(_))));
        }
        let record = encode(&WORDS, "a", &7).unwrap();
        assert_eq!(decode::<u8>(&WORDS, "a", &record).unwrap(), 7);
        for (table, key) in [(NUMBERS, "a"), (WORDS, "b")] {
            assert!(matches!(decode::<u8>(&table, key, &record), Err(StoreError::Damaged(_))));
        }
        for short in 0..record.len() {
            assert!(matches!(decode::<u8>(&WORDS, "a", &record[..short]), Err(StoreError::Damaged(_))));
        }
    }

    /// Found by the fuzz target stored_state: a key and a value of a wrong record stand in the reason.
    #[test]
    fn s18_a_wrong_record_is_named_without_its_control_characters() {
        for (key, text) in [("a\u{4}", "3.0"), ("a", "\u{4}")] {
            let bytes = encode(&NUMBERS, key, &text).unwrap();
            let error = decode::<u8>(&NUMBERS, key, &bytes).unwrap_err().to_string();
            assert!(error.starts_with("state database: record a") && error.contains("invalid type"), "{error}");
            assert!(!error.contains(char::is_control), "{error:?}");
        }
    }
}
