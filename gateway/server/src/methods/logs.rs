//! logs.tail (nodes-config-lifecycle.md B4, decision D24): whole lines, and lost ones are counted. A caller that says which file
//! it has read (`generation`) gets the rest of it also when it was rotated meanwhile.

use std::{io, path::PathBuf, sync::Arc};

use openclaw_platform::{FileId, Platform, Storage};
use openclaw_protocol::{
    error::ErrorShape,
    params::{LogsTail, LogsTailParams},
    wire::Int,
};

use crate::{
    dispatch::{Call, Reply},
    failure::Failure,
};

/// What these methods use.
pub struct Deps {
    /// The log below the state directory, if it is there.
    pub log_file: Option<String>,
    /// The seams.
    pub platform: Platform,
    /// The state directory, as it is shown.
    pub state_dir: PathBuf,
}

const LINES: usize = 500;
const BYTES: u64 = 250_000;
/// Rotated files that are looked through for the one that a caller has read.
const ROTATED: u64 = 10;
/// Bytes of a gap in which lost lines are counted; of a larger one the count is too low.
const COUNTED: u64 = 32 << 20;
const CHUNK: usize = 256 << 10;

pub async fn tail(deps: Arc<Deps>, call: Call, p: LogsTailParams) -> Result<Reply<LogsTail>, Failure> {
    call.read(move || newest(&deps, &p)).await
}

fn newest(deps: &Deps, p: &LogsTailParams) -> Result<LogsTail, Failure> {
    let Some(current) = &deps.log_file else {
        let text = "the log file lies outside the state directory: read it on the gateway's machine (logging.file)";
        return Err(ErrorShape::unavailable("LOG_ELSEWHERE", text).into());
    };
    let storage = &*deps.platform.storage;
    let shown = deps.state_dir.join(current).display().to_string();
    let failed = |e: io::Error| ErrorShape::unavailable("LOG_FILE", format!("{shown}: {e}"));
    let cursor = p.cursor.map(Int::unsigned);
    let place = place(storage, current, cursor.and(p.generation.as_deref())).map_err(failed)?;
    let file = place.file.as_str();
    let size = match storage.len(file) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => 0,
        other => other.map_err(failed)?,
    };
    let max = p.max_bytes.map_or(BYTES, Int::unsigned);
    let limit = p.limit.map_or(LINES, |l| l.unsigned() as usize);
    // A cursor past the end means that the file was rotated, also to a caller that names no generation.
    let is_anew = place.is_lost || cursor.is_some_and(|c| c > size);
    let from = cursor.filter(|_| !is_anew);
    let start = from.unwrap_or(0).max(size.saturating_sub(max));
    // One byte more: when it is a line break the first line is whole.
    let begin = start.saturating_sub(1);
    let bytes =
        if size == 0 { vec![] } else { storage.read_at(file, begin, (size - begin) as usize).map_err(failed)? };
    let skipped = from.is_none_or(|f| start > f) && start > 0;
    let mut text = &bytes[((start - begin) as usize).min(bytes.len())..];
    if start > 0 && bytes.first() != Some(&b'\n') && skipped {
        text = text.iter().position(|b| *b == b'\n').map_or(&[], |i| &text[i + 1..]);
    }
    let first = begin + (bytes.len() - text.len()) as u64;
    // An unfinished line is left for the next call.
    let end = text.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
    let unfinished = (text.len() - end) as u64;
    let all: Vec<String> =
        text[..end].split(|b| *b == b'\n').map(|l| String::from_utf8_lossy(l).into_owned()).collect();
    let all = &all[..all.len().saturating_sub(1)];
    let over_limit = all.len().saturating_sub(limit) as u64;
    let lines = all[over_limit as usize..].to_vec();
    let in_gap = match from {
        Some(from) if start > from => breaks(storage, file, from, first).map_err(failed)?,
        _ => 0,
    };
    // What comes after a rotated file begins with its first line.
    let (cursor, generation) = match place.next {
        Some(next) => (0, Some(next)),
        None => (size - unfinished, place.generation),
    };
    Ok(LogsTail {
        truncated: start > 0 && from.is_none_or(|f| start > f) || over_limit > 0 || place.is_lost,
        file: shown.clone(),
        cursor,
        size,
        lines,
        reset: is_anew || place.is_rotated,
        lost: over_limit + in_gap,
        generation,
    })
}

/// Where a caller goes on.
struct Place {
    file: String,
    /// Which file this is; none while there is none.
    generation: Option<String>,
    /// The caller has not read the current file yet.
    is_rotated: bool,
    /// The file that the caller has read is gone, and what it had left with it.
    is_lost: bool,
    /// Which file comes after this one.
    next: Option<String>,
}

/// The file that a caller has read, wherever it stands by now; the current one for a caller that names none.
fn place(storage: &dyn Storage, current: &str, known: Option<&str>) -> io::Result<Place> {
    let now = generation(storage, current)?;
    let at = |file: String, generation| Place { file, generation, is_rotated: false, is_lost: false, next: None };
    let Some(known) = known.filter(|known| now.as_deref() != Some(known)) else {
        return Ok(at(current.to_owned(), now));
    };
    let mut newer = now.clone();
    for n in 1..=ROTATED {
        let file = format!("{current}.{n}");
        let older = generation(storage, &file)?;
        if older.as_deref() == Some(known) {
            return Ok(Place { is_rotated: true, next: newer, ..at(file, older) });
        }
        if older.is_none() {
            break;
        }
        newer = older;
    }
    Ok(Place { is_rotated: true, is_lost: true, ..at(current.to_owned(), now) })
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

/// Line breaks between two places.
fn breaks(storage: &dyn Storage, file: &str, from: u64, to: u64) -> io::Result<u64> {
    let (mut at, to, mut count) = (from, to.min(from.saturating_add(COUNTED)), 0);
    while at < to {
        let bytes = storage.read_at(file, at, CHUNK.min((to - at) as usize))?;
        if bytes.is_empty() {
            break;
        }
        count += bytes.split(|b| *b == b'\n').skip(1).count() as u64;
        at += bytes.len() as u64;
    }
    Ok(count)
}

#[cfg(test)]
mod tests;
