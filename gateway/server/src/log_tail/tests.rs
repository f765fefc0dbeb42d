use openclaw_platform::MemoryStorage;

use super::*;

const FILE: &str = "logs/gateway.log";

struct Log {
    disk: MemoryStorage,
    tail: LogTail,
}

impl Log {
    fn new() -> Self {
        let disk = MemoryStorage::new();
        let tail = LogTail { file: Some(FILE.into()), storage: Arc::new(disk.clone()), state_dir: "/state".into() };
        Self { disk, tail }
    }

    fn of(text: &str) -> Self {
        let log = Self::new();
        log.disk.append(FILE, text.as_bytes()).unwrap();
        log
    }

    fn lines(&self, numbers: std::ops::Range<u32>) {
        numbers.for_each(|n| self.disk.append(FILE, format!("{n}\n").as_bytes()).unwrap());
    }

    /// As the log file does it, with three kept.
    fn rotate(&self) {
        for n in (1..3).rev() {
            let _ = self.disk.rename(&format!("{FILE}.{n}"), &format!("{FILE}.{}", n + 1));
        }
        self.disk.rename(FILE, &format!("{FILE}.1")).unwrap();
    }

    fn ask(&self, wanted: &Wanted) -> LogsTail {
        self.tail.newest(wanted).unwrap()
    }

    /// Goes on where `last` stopped.
    fn on(&self, last: &LogsTail, more: Wanted) -> LogsTail {
        self.ask(&Wanted { cursor: Some(last.cursor), generation: last.generation.clone(), ..more })
    }
}

/// Enough of it, from its end.
fn all() -> Wanted {
    Wanted { cursor: None, generation: None, lines: 500, bytes: 250_000 }
}

fn from(cursor: u64) -> Wanted {
    Wanted { cursor: Some(cursor), ..all() }
}

#[test]
fn d24_lines_are_whole_and_go_on_at_the_cursor() {
    let log = Log::of("one\ntwo\nthr");
    let first = log.ask(&all());
    assert_eq!((first.lines.join(","), first.cursor, first.size), ("one,two".to_owned(), 8, 11));
    assert!(!first.truncated && !first.reset && first.lost == 0);
    log.disk.append(FILE, b"ee\n").unwrap();
    let next = log.ask(&from(8));
    assert_eq!((next.lines.join(","), next.cursor, next.lost), ("three".to_owned(), 14, 0));
    assert_eq!(next.file, "/state/logs/gateway.log");
}

#[test]
fn d24_what_is_left_out_is_counted() {
    let log = Log::of("one\ntwo\nthree\n");
    let few = log.ask(&Wanted { lines: 1, ..from(0) });
    assert_eq!((few.lines.join(","), few.truncated, few.lost), ("three".to_owned(), true, 2));
    // Seven bytes of the end: a piece of `two` and the last line.
    let cut = log.ask(&Wanted { bytes: 7, ..from(0) });
    assert_eq!((cut.lines.join(","), cut.truncated, cut.lost), ("three".to_owned(), true, 2));
    // The cut falls on a line break: the first line is whole.
    let exact = log.ask(&Wanted { bytes: 6, ..all() });
    assert_eq!((exact.lines.join(","), exact.truncated, exact.lost), ("three".to_owned(), true, 0));
}

#[test]
fn d24_a_rotated_or_missing_file_begins_anew() {
    let rotated = Log::of("new\n").ask(&from(999));
    assert_eq!((rotated.lines.join(","), rotated.reset, rotated.cursor), ("new".to_owned(), true, 4));
    let none = Log::new().ask(&all());
    assert_eq!((none.lines.len(), none.size, none.cursor), (0, 0, 0));
    let elsewhere = LogTail { file: None, ..Log::new().tail };
    assert!(matches!(elsewhere.newest(&all()), Err(NotShown::Elsewhere)));
}

/// What was written before a rotation is not lost to who follows, whatever was written since.
#[test]
fn d24_who_follows_gets_the_rest_of_a_rotated_file() {
    let log = Log::new();
    log.lines(0..5);
    let first = log.ask(&all());
    assert_eq!((first.lines.len(), first.reset, first.lost), (5, false, 0));
    log.lines(5..8);
    log.rotate();
    log.lines(8..10);
    log.rotate();
    // Longer than the one that was read: its size says nothing.
    log.lines(10..30);
    let rest = log.on(&first, all());
    assert_eq!((rest.lines.join(","), rest.reset, rest.cursor), ("5,6,7".to_owned(), true, 0));
    let between = log.on(&rest, all());
    assert_eq!((between.lines.join(","), between.reset), ("8,9".to_owned(), true));
    let now = log.on(&between, all());
    assert_eq!((now.lines.len(), now.reset, now.lost), (20, false, 0));
    assert!(log.on(&now, all()).lines.is_empty());
}

/// A file that is gone is told of; so it is to a caller that knows no generations, where its size shows it.
#[test]
fn d24_a_file_that_is_gone_is_told() {
    let log = Log::new();
    log.lines(0..9);
    let first = log.ask(&all());
    // Nothing else gets its identity while it is open.
    let _open = log.disk.block_file(FILE).unwrap();
    for n in 0..4 {
        log.rotate();
        log.lines(n..n + 1);
    }
    let anew = log.on(&first, all());
    assert_eq!((anew.lines.join(","), anew.reset, anew.truncated), ("3".to_owned(), true, true));
    let plain = log.ask(&from(first.cursor));
    assert_eq!((plain.lines.len(), plain.reset), (1, true));
}

/// Lines that fit into no answer are counted, each of them.
#[test]
fn d24_every_line_that_is_left_out_is_counted() {
    let log = Log::new();
    log.lines(100..110);
    let first = log.ask(&all());
    log.lines(110..200);
    assert_eq!(log.on(&first, Wanted { lines: 4, ..all() }).lost, 86);
    // Ten lines of four bytes fit, and so does what is left of one before.
    let by_bytes = log.on(&first, Wanted { bytes: 42, ..all() });
    assert_eq!((by_bytes.lines.len(), by_bytes.lost, by_bytes.truncated), (10, 80, true));
    let both = log.on(&first, Wanted { bytes: 42, lines: 3, ..all() });
    assert_eq!((both.lines.join(","), both.lost), ("197,198,199".to_owned(), 87));
}
