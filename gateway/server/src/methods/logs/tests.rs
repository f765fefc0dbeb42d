use openclaw_platform::{MemoryStorage, os};
use serde_json::{Value, json};

use super::*;

const FILE: &str = "logs/gateway.log";

struct Log {
    disk: MemoryStorage,
    deps: Deps,
}

impl Log {
    fn new() -> Self {
        let disk = MemoryStorage::new();
        let platform = Platform { storage: Arc::new(disk.clone()), ..os::without_files() };
        Self { disk, deps: Deps { log_file: Some(FILE.to_owned()), platform, state_dir: "/state".into() } }
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

    fn ask(&self, params: &Value) -> LogsTail {
        newest(&self.deps, &serde_json::from_value(params.clone()).unwrap()).unwrap_or_else(|_| panic!("refused"))
    }

    /// Goes on where `last` stopped.
    fn on(&self, last: &LogsTail, more: &Value) -> LogsTail {
        let mut params = json!({ "cursor": last.cursor, "generation": last.generation });
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.ask(&params)
    }
}

/// What was written before a rotation is not lost to who follows, whatever was written since.
#[test]
fn d24_who_follows_gets_the_rest_of_a_rotated_file() {
    let log = Log::new();
    log.lines(0..5);
    let first = log.ask(&json!({}));
    assert_eq!((first.lines.len(), first.reset, first.lost), (5, false, 0));
    log.lines(5..8);
    log.rotate();
    log.lines(8..10);
    log.rotate();
    // Longer than the one that was read: its size says nothing.
    log.lines(10..30);
    let rest = log.on(&first, &json!({}));
    assert_eq!((rest.lines.join(","), rest.reset, rest.cursor), ("5,6,7".to_owned(), true, 0));
    let between = log.on(&rest, &json!({}));
    assert_eq!((between.lines.join(","), between.reset), ("8,9".to_owned(), true));
    let now = log.on(&between, &json!({}));
    assert_eq!((now.lines.len(), now.reset, now.lost), (20, false, 0));
    assert!(log.on(&now, &json!({})).lines.is_empty());
}

/// A file that is gone is told of; so it is to a caller that knows no generations, where its size shows it.
#[test]
fn d24_a_file_that_is_gone_is_told() {
    let log = Log::new();
    log.lines(0..9);
    let first = log.ask(&json!({}));
    // Nothing else gets its identity while it is open.
    let _open = log.disk.block_file(FILE).unwrap();
    for n in 0..4 {
        log.rotate();
        log.lines(n..n + 1);
    }
    let anew = log.on(&first, &json!({}));
    assert_eq!((anew.lines.join(","), anew.reset, anew.truncated), ("3".to_owned(), true, true));
    let plain = log.ask(&json!({ "cursor": first.cursor }));
    assert_eq!((plain.lines.len(), plain.reset), (1, true));
}

/// Lines that fit into no answer are counted, each of them.
#[test]
fn d24_every_line_that_is_left_out_is_counted() {
    let log = Log::new();
    log.lines(100..110);
    let first = log.ask(&json!({}));
    log.lines(110..200);
    assert_eq!(log.on(&first, &json!({ "limit": 4 })).lost, 86);
    // Ten lines of four bytes fit, and so does what is left of one before.
    let by_bytes = log.on(&first, &json!({ "maxBytes": 42 }));
    assert_eq!((by_bytes.lines.len(), by_bytes.lost, by_bytes.truncated), (10, 80, true));
    let both = log.on(&first, &json!({ "maxBytes": 42, "limit": 3 }));
    assert_eq!((both.lines.join(","), both.lost), ("197,198,199".to_owned(), 87));
}
