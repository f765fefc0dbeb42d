//! The end of the gateway's log, in whole lines, from where a reader had come to (D24).

mod rotation;

use std::{io, path::PathBuf};

use openclaw_platform::{Storage, sync::Arc};
use openclaw_protocol::params::LogsTail;

use self::rotation::Place;

/// Bytes of a gap in which lost lines are counted; of a larger one the count is too low.
const COUNTED: u64 = 32 << 20;
const CHUNK: usize = 256 << 10;

/// Why the log is not shown.
#[derive(Debug, thiserror::Error)]
pub enum NotShown {
    /// It is not a file of the state directory.
    #[error("the log file lies outside the state directory: read it on the gateway's machine (logging.file)")]
    Elsewhere,
    /// It cannot be read.
    #[error("{0}: {1}")]
    Unreadable(String, io::Error),
}

/// How much of it is wanted.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Where the last piece ended; `None`: the end of the log.
    pub cursor: Option<u64>,
    /// Which file that was; `None`: the one that is there.
    pub generation: Option<String>,
    /// At most so many lines, the newest.
    pub lines: usize,
    /// From so many bytes.
    pub bytes: u64,
}

/// The log file.
pub struct LogTail {
    /// Below the state directory, if it is there.
    pub file: Option<String>,
    /// Where that is.
    pub storage: Arc<dyn Storage>,
    /// The state directory, as it is shown.
    pub state_dir: PathBuf,
}

impl LogTail {
    /// The newest whole lines; an unfinished one is left for the next call, and each line that is left out in between is
    /// counted. A reader that says which file it has read (`generation`) gets the rest of it also when it was rotated meanwhile.
    ///
    /// # Errors
    /// [`NotShown`].
    pub fn newest(&self, wanted: &Wanted) -> Result<LogsTail, NotShown> {
        let current = self.file.as_deref().ok_or(NotShown::Elsewhere)?;
        let shown = self.state_dir.join(current).display().to_string();
        let failed = |e: io::Error| NotShown::Unreadable(shown.clone(), e);
        let known = wanted.cursor.and(wanted.generation.as_deref());
        let place = Place::of(&*self.storage, current, known).map_err(failed)?;
        let file = place.file.as_str();
        let size = match self.storage.len(file) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => 0,
            other => other.map_err(failed)?,
        };
        // A cursor past the end means that the file was rotated, also to a reader that names no generation.
        let is_anew = place.is_lost || wanted.cursor.is_some_and(|cursor| cursor > size);
        let from = wanted.cursor.filter(|_| !is_anew);
        let start = from.unwrap_or(0).max(size.saturating_sub(wanted.bytes));
        // One byte more: when it is a line break the first line is whole.
        let begin = start.saturating_sub(1);
        let bytes = match size {
            0 => vec![],
            _ => self.storage.read_at(file, begin, (size - begin) as usize).map_err(failed)?,
        };
        let is_cut = start > 0 && from.is_none_or(|from| start > from);
        let Lines { all, first, unfinished } = whole_lines(&bytes, (start - begin) as usize, is_cut);
        let over_limit = all.len().saturating_sub(wanted.lines) as u64;
        let in_gap = match from.filter(|_| is_cut) {
            Some(from) => self.breaks(file, from, begin + first).map_err(failed)?,
            None => 0,
        };
        // What comes after a rotated file begins with its first line.
        let (cursor, generation) = match place.next {
            Some(next) => (0, Some(next)),
            None => (size - unfinished, place.generation),
        };
        Ok(LogsTail {
            cursor,
            size,
            lines: all[over_limit as usize..].to_vec(),
            truncated: is_cut || over_limit > 0 || place.is_lost,
            reset: is_anew || place.is_rotated,
            lost: over_limit + in_gap,
            generation,
            file: shown,
        })
    }

    /// Line breaks between two places.
    fn breaks(&self, file: &str, from: u64, to: u64) -> io::Result<u64> {
        let (mut at, to, mut count) = (from, to.min(from.saturating_add(COUNTED)), 0);
        while at < to {
            let bytes = self.storage.read_at(file, at, CHUNK.min((to - at) as usize))?;
            if bytes.is_empty() {
                break;
            }
            count += bytes.split(|b| *b == b'\n').skip(1).count() as u64;
            at += bytes.len() as u64;
        }
        Ok(count)
    }
}

/// Whole lines, where the first of them begins, and how many bytes of an unfinished one stand behind them.
struct Lines {
    all: Vec<String>,
    first: u64,
    unfinished: u64,
}

/// Those of `bytes` from `start` on. Where something was cut off before it, what is left of a line is none.
fn whole_lines(bytes: &[u8], start: usize, is_cut: bool) -> Lines {
    let mut text = bytes.get(start..).unwrap_or_default();
    if is_cut && bytes.first() != Some(&b'\n') {
        text = text.iter().position(|b| *b == b'\n').map_or(&[], |i| &text[i + 1..]);
    }
    let first = (bytes.len() - text.len()) as u64;
    let end = text.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
    let mut all: Vec<String> =
        text[..end].split(|b| *b == b'\n').map(|l| String::from_utf8_lossy(l).into_owned()).collect();
    // Behind the last line break nothing stands.
    all.pop();
    Lines { all, first, unfinished: (text.len() - end) as u64 }
}

#[cfg(test)]
mod tests;
