//! The end of the gateway's log, in whole lines, from where a reader had come to (D24).

use std::{io, path::PathBuf};

use openclaw_platform::{Storage, sync::Arc};
use openclaw_protocol::params::LogsTail;

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
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Where the last piece ended; `None`: the end of the log.
    pub cursor: Option<u64>,
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
    /// The newest whole lines; an unfinished one is left for the next call, and lines left out in between are counted.
    ///
    /// # Errors
    /// [`NotShown`].
    pub fn newest(&self, wanted: Wanted) -> Result<LogsTail, NotShown> {
        let file = self.file.as_deref().ok_or(NotShown::Elsewhere)?;
        let shown = self.state_dir.join(file).display().to_string();
        let failed = |e: io::Error| NotShown::Unreadable(shown.clone(), e);
        let size = match self.storage.len(file) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => 0,
            other => other.map_err(failed)?,
        };
        // A cursor past the end means that the file was rotated.
        let reset = wanted.cursor.is_some_and(|cursor| cursor > size);
        let from = wanted.cursor.filter(|_| !reset);
        let start = from.unwrap_or(0).max(size.saturating_sub(wanted.bytes));
        // One byte more: when it is a line break the first line is whole.
        let begin = start.saturating_sub(1);
        let bytes = match size {
            0 => vec![],
            _ => self.storage.read_at(file, begin, (size - begin) as usize).map_err(failed)?,
        };
        let cut_bytes = from.is_some_and(|from| start > from);
        let is_cut = start > 0 && (from.is_none() || cut_bytes);
        let Lines { all, unfinished } = whole_lines(&bytes, (start - begin) as usize, is_cut);
        let lost_lines = all.len().saturating_sub(wanted.lines) as u64;
        Ok(LogsTail {
            cursor: size - unfinished,
            size,
            lines: all[lost_lines as usize..].to_vec(),
            truncated: is_cut || lost_lines > 0,
            reset,
            lost: lost_lines + u64::from(cut_bytes),
            file: shown,
        })
    }
}

/// Whole lines, and how many bytes of an unfinished one stand behind them.
struct Lines {
    all: Vec<String>,
    unfinished: u64,
}

/// Those of `bytes` from `start` on. Where something was cut off before it, what is left of a line is none.
fn whole_lines(bytes: &[u8], start: usize, is_cut: bool) -> Lines {
    let mut text = bytes.get(start..).unwrap_or_default();
    if is_cut && bytes.first() != Some(&b'\n') {
        text = text.iter().position(|b| *b == b'\n').map_or(&[], |i| &text[i + 1..]);
    }
    let end = text.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
    let mut all: Vec<String> =
        text[..end].split(|b| *b == b'\n').map(|l| String::from_utf8_lossy(l).into_owned()).collect();
    // Behind the last line break nothing stands.
    all.pop();
    Lines { all, unfinished: (text.len() - end) as u64 }
}

#[cfg(test)]
mod tests {
    use openclaw_platform::MemoryStorage;

    use super::*;

    fn log(text: &str) -> LogTail {
        let storage = MemoryStorage::new();
        storage.write_atomic("logs/gateway.log", text.as_bytes()).unwrap();
        LogTail { file: Some("logs/gateway.log".into()), storage: Arc::new(storage), state_dir: "/state".into() }
    }

    fn wanted(cursor: Option<u64>) -> Wanted {
        Wanted { cursor, lines: 100, bytes: 1000 }
    }

    #[test]
    fn d24_lines_are_whole_and_go_on_at_the_cursor() {
        let there = log("one\ntwo\nthr");
        let first = there.newest(wanted(None)).unwrap();
        assert_eq!((first.lines, first.cursor, first.size), (vec!["one".to_owned(), "two".to_owned()], 8, 11));
        assert!(!first.truncated && !first.reset && first.lost == 0);
        there.storage.append("logs/gateway.log", b"ee\n").unwrap();
        let next = there.newest(wanted(Some(8))).unwrap();
        assert_eq!((next.lines, next.cursor, next.lost), (vec!["three".to_owned()], 14, 0));
        assert_eq!(next.file, "/state/logs/gateway.log");
    }

    #[test]
    fn d24_what_is_left_out_is_counted() {
        let there = log("one\ntwo\nthree\n");
        let few = there.newest(Wanted { lines: 1, ..wanted(Some(0)) }).unwrap();
        assert_eq!((few.lines, few.truncated, few.lost), (vec!["three".to_owned()], true, 2));
        // Seven bytes of the end: a piece of `two` and the last line; how many lines it was cannot be told.
        let cut = there.newest(Wanted { bytes: 7, ..wanted(Some(0)) }).unwrap();
        assert_eq!((cut.lines, cut.truncated, cut.lost), (vec!["three".to_owned()], true, 1));
        // The cut falls on a line break: the first line is whole.
        let exact = there.newest(Wanted { bytes: 6, ..wanted(None) }).unwrap();
        assert_eq!((exact.lines, exact.truncated, exact.lost), (vec!["three".to_owned()], true, 0));
    }

    #[test]
    fn d24_a_rotated_or_missing_file_begins_anew() {
        let rotated = log("new\n").newest(wanted(Some(999))).unwrap();
        assert_eq!((rotated.lines, rotated.reset, rotated.cursor), (vec!["new".to_owned()], true, 4));
        let none = LogTail { file: Some("other.log".into()), ..log("") }.newest(wanted(None)).unwrap();
        assert_eq!((none.lines.len(), none.size, none.cursor), (0, 0, 0));
        assert!(matches!(LogTail { file: None, ..log("") }.newest(wanted(None)), Err(NotShown::Elsewhere)));
    }
}
