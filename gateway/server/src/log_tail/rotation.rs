//! Which file a reader goes on with, after the log was rotated any number of times (D24).

use std::io;

use openclaw_platform::{FileId, Storage};

/// Rotated files that are looked through for the one that a reader had come to.
const ROTATED: u64 = 10;

/// Where a reader goes on.
pub struct Place {
    /// The file.
    pub file: String,
    /// Which file this is; none while there is none.
    pub generation: Option<String>,
    /// The reader has not read the current file yet.
    pub is_rotated: bool,
    /// The file that was read is gone, and what it had left with it.
    pub is_lost: bool,
    /// Which file comes after this one.
    pub next: Option<String>,
}

impl Place {
    /// The file that a reader has read, wherever it stands by now; the current one for a reader that names none.
    pub fn of(storage: &dyn Storage, current: &str, known: Option<&str>) -> io::Result<Self> {
        let now = generation(storage, current)?;
        let at = |file: String, generation| Self { file, generation, is_rotated: false, is_lost: false, next: None };
        let Some(known) = known.filter(|known| now.as_deref() != Some(known)) else {
            return Ok(at(current.to_owned(), now));
        };
        let mut newer = now.clone();
        for n in 1..=ROTATED {
            let file = format!("{current}.{n}");
            let older = generation(storage, &file)?;
            if older.as_deref() == Some(known) {
                return Ok(Self { is_rotated: true, next: newer, ..at(file, older) });
            }
            if older.is_none() {
                break;
            }
            newer = older;
        }
        Ok(Self { is_rotated: true, is_lost: true, ..at(current.to_owned(), now) })
    }
}

/// What tells a file from another that takes its name. The numbers of the file system are not shown.
fn generation(storage: &dyn Storage, file: &str) -> io::Result<Option<String>> {
    match storage.identity(file) {
        Ok(FileId(a, b)) => {
            let mixed = (a.rotate_left(32) ^ b).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            Ok(Some(format!("{:016x}", mixed ^ (mixed >> 29))))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}
