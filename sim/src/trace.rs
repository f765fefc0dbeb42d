//! Traces: a history as a file of JSON lines that says where it comes from and can be checked.
//!
//! A header, one line per record, a checkpoint with the hash so far after every 1,000 records, a footer with hash,
//! number, random words drawn and verdicts. The same history always gives the same bytes.

use std::{
    fmt::Write as _,
    io::{self, BufRead, Read as _, Write},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    history::{Record, What},
    oracle::Verdict,
    plan::Plan,
    runner::Violation,
};

/// The version of the file's form.
pub const SCHEMA: u32 = 1;
/// Records between two checkpoints.
const CHECKPOINT: usize = 1000;
/// Longest line that is read.
const LINE_BYTES: u64 = 64 << 20;
/// Most records that are read.
const RECORDS: usize = 5_000_000;

/// Where a history comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// See [`SCHEMA`].
    pub schema: u32,
    /// Name of the scenario.
    pub scenario: String,
    /// Of the plan that was run.
    pub plan: String,
    /// What the plan was drawn from.
    pub seed: u64,
    /// Of the source, when it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

impl Header {
    /// Of a run of `plan`.
    pub fn of(plan: &Plan, commit: Option<String>) -> Self {
        let text = serde_json::to_vec(plan).unwrap_or_default();
        let hash = hex(&Sha256::digest(&text));
        Self { schema: SCHEMA, scenario: plan.scenario.clone(), plan: hash, seed: plan.seed, commit }
    }
}

/// What a history came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Footer {
    /// As [`hash`] gives it.
    pub hash: String,
    /// Number of records.
    pub records: u64,
    /// Random words drawn.
    pub draws: u64,
    /// Oracles that held.
    pub held: Vec<String>,
    /// Oracles that did not.
    pub violated: Vec<Violation>,
}

impl Footer {
    /// Of a judged history.
    pub fn of(records: &[Record], draws: u64, verdicts: &[Verdict]) -> Self {
        let (held, broken): (Vec<_>, Vec<_>) = verdicts.iter().partition(|v| v.ok);
        let violation = |v: &Verdict| Violation { oracle: v.oracle.to_owned(), at: v.at, detail: v.detail.clone() };
        Self {
            hash: hash(records),
            records: records.len() as u64,
            draws,
            held: held.into_iter().map(|v| v.oracle.to_owned()).collect(),
            violated: broken.into_iter().map(violation).collect(),
        }
    }
}

/// A trace as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// Its first line.
    pub header: Header,
    /// The history.
    pub records: Vec<Record>,
    /// Its last line; none when the writer did not get that far.
    pub footer: Option<Footer>,
}

/// Why a file is no trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A line is too long to be one of a trace.
    #[error("line {line}: longer than {LINE_BYTES} bytes")]
    TooLong {
        /// Which, from 1.
        line: u64,
    },
    /// More records than a trace may have.
    #[error("more than {RECORDS} records")]
    TooMany,
    /// A line of another form.
    #[error("line {line}: {source}")]
    Line {
        /// Which, from 1.
        line: u64,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// The first line is no header.
    #[error("line 1: not the header of a trace")]
    NoHeader,
    /// Written by another version.
    #[error("trace of version {found}, known is {SCHEMA}")]
    Version {
        /// Its version.
        found: u32,
    },
    /// A record stands where another one should, or a hash does not fit what stands before it.
    #[error("line {line}: {what} does not fit the records before it")]
    Broken {
        /// Which, from 1.
        line: u64,
        /// What does not fit.
        what: &'static str,
    },
}

/// A line that is no record.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mark {
    Trace(Header),
    Checkpoint { records: u64, hash: String },
    End(Footer),
}

/// The line of a record, without its end.
pub fn line(record: &Record) -> String {
    let What::Received { conn, frame } = &record.what else {
        return serde_json::to_string(record).unwrap_or_default();
    };
    // Most records are events that went to many, whose text is there already.
    let quoted = |text: &str| serde_json::to_string(text).unwrap_or_default();
    let (Record { i, t_us, host, .. }, conn) = (record, quoted(conn));
    let mut line =
        format!(r#"{{"i":{i},"t_us":{t_us},"host":{},"kind":"received","conn":{conn},"frame":"#, quoted(host));
    frame.write(&mut line);
    line.push('}');
    line
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A hash that is taken on the way.
#[derive(Default, Clone)]
struct Running(Sha256);

impl Running {
    fn add(&mut self, line: &str) {
        self.0.update(line.as_bytes());
        self.0.update(b"\n");
    }
    fn value(&self) -> String {
        hex(&self.0.clone().finalize())
    }
}

/// SHA-256 of the lines of a history.
pub fn hash(records: &[Record]) -> String {
    let mut running = Running::default();
    for record in records {
        running.add(&line(record));
    }
    running.value()
}

/// Writes a trace.
///
/// # Errors
/// When `out` takes no more.
pub fn write(out: &mut impl Write, header: &Header, records: &[Record], footer: &Footer) -> io::Result<()> {
    let mark = |mark: &Mark| serde_json::to_string(mark).map_err(io::Error::from);
    writeln!(out, "{}", mark(&Mark::Trace(header.clone()))?)?;
    let mut running = Running::default();
    for (n, record) in records.iter().enumerate() {
        let line = line(record);
        running.add(&line);
        writeln!(out, "{line}")?;
        if (n + 1) % CHECKPOINT == 0 {
            writeln!(out, "{}", mark(&Mark::Checkpoint { records: n as u64 + 1, hash: running.value() })?)?;
        }
    }
    writeln!(out, "{}", mark(&Mark::End(footer.clone()))?)?;
    out.flush()
}

/// Reads a trace and checks its numbers and hashes.
///
/// # Errors
/// See [`TraceError`].
pub fn read(mut input: impl BufRead) -> Result<Trace, TraceError> {
    let (mut header, mut records, mut running) = (None, Vec::new(), Running::default());
    let mut text = String::new();
    for number in 1.. {
        text.clear();
        if input.by_ref().take(LINE_BYTES).read_line(&mut text)? == 0 {
            break;
        }
        if text.len() as u64 >= LINE_BYTES {
            return Err(TraceError::TooLong { line: number });
        }
        let wrong = |what| TraceError::Broken { line: number, what };
        let text = text.trim_end_matches(['\n', '\r']);
        let mark = if text.starts_with("{\"i\":") { None } else { serde_json::from_str::<Mark>(text).ok() };
        match (mark, &header) {
            (Some(Mark::Trace(found)), None) if found.schema == SCHEMA => header = Some(found),
            (Some(Mark::Trace(found)), None) => return Err(TraceError::Version { found: found.schema }),
            (_, None) => return Err(TraceError::NoHeader),
            (Some(Mark::Trace(_)), Some(_)) => return Err(wrong("a second header")),
            (Some(Mark::Checkpoint { records: count, hash }), _) => {
                if count != records.len() as u64 || hash != running.value() {
                    return Err(wrong("the checkpoint"));
                }
            }
            (Some(Mark::End(footer)), Some(header)) => {
                if footer.records != records.len() as u64 || footer.hash != running.value() {
                    return Err(wrong("the footer"));
                }
                return Ok(Trace { header: header.clone(), records, footer: Some(footer) });
            }
            (None, Some(_)) => {
                let record: Record =
                    serde_json::from_str(text).map_err(|source| TraceError::Line { line: number, source })?;
                if record.i != records.len() as u64 {
                    return Err(wrong("the record's number"));
                }
                if records.len() == RECORDS {
                    return Err(TraceError::TooMany);
                }
                running.add(&line(&record));
                records.push(record);
            }
        }
    }
    let header = header.ok_or(TraceError::NoHeader)?;
    Ok(Trace { header, records, footer: None })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn records(n: u64) -> Vec<Record> {
        let frame = |i: u64| json!({ "z": i, "a": { "y": 1, "b": [ { "d": 1, "c": 2 } ] } });
        (0..n)
            .map(|i| Record {
                i,
                t_us: i * 10,
                host: "clients".into(),
                what: What::Sent { conn: "a/1".into(), frame: frame(i) },
            })
            .collect()
    }

    fn header() -> Header {
        Header { schema: SCHEMA, scenario: "s".into(), plan: "p".into(), seed: 7, commit: None }
    }

    fn written(n: u64) -> String {
        let records = records(n);
        let verdict = Verdict { oracle: "seq", ok: false, at: Some(1), detail: "gap".into() };
        let held = Verdict { oracle: "ticks", ok: true, at: None, detail: String::new() };
        let mut out = Vec::new();
        write(&mut out, &header(), &records, &Footer::of(&records, 3, &[verdict, held])).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn read_text(text: &str) -> Result<Trace, TraceError> {
        read(text.as_bytes())
    }

    #[test]
    fn what_was_written_is_read() {
        let text = written(2500);
        assert_eq!(text.lines().filter(|l| l.contains("checkpoint")).count(), 2);
        let trace = read_text(&text).unwrap();
        assert_eq!((trace.header, trace.records), (header(), records(2500)));
        let footer = trace.footer.unwrap();
        assert_eq!(
            (footer.draws, footer.held, footer.violated[0].oracle.as_str()),
            (3, vec!["ticks".to_owned()], "seq")
        );
        assert_eq!(footer.hash, hash(&records(2500)));
    }

    /// The order in which a JSON object was built does not count.
    #[test]
    fn lines_are_canonical() {
        let of =
            |frame| line(&Record { i: 0, t_us: 0, host: "h".into(), what: What::Sent { conn: "c".into(), frame } });
        assert_eq!(of(json!({ "b": 1, "a": { "d": 1, "c": 2 } })), of(json!({ "a": { "c": 2, "d": 1 }, "b": 1 })));
        let received = |frame: serde_json::Value| Record {
            i: 3,
            t_us: 5,
            host: "clients".into(),
            what: What::Received { conn: "a \"b\"/1".into(), frame: frame.into() },
        };
        for frame in [json!({}), json!({ "z": 1, "seq": 4, "a": { "y": 1, "b": "\u{1}" } }), json!([1]), json!("x")] {
            let record = received(frame);
            assert_eq!(line(&record), serde_json::to_string(&record).unwrap());
        }
        assert!(of(json!({})).starts_with("{\"i\":0,\"t_us\":0,\"host\":\"h\",\"kind\":\"sent\""), "{}", of(json!({})));
    }

    #[test]
    fn every_change_changes_the_hash() {
        let whole = records(10);
        let mut changed = whole.clone();
        changed[9].t_us += 1;
        assert_ne!(hash(&whole), hash(&changed));
        assert_ne!(hash(&whole), hash(&whole[..9]));
        assert_ne!(hash(&[]), hash(&whole));
    }

    #[test]
    fn damage_is_found_where_it_is() {
        let text = written(1200);
        let change = |from: &str, to: &str| read_text(&text.replacen(from, to, 1)).unwrap_err().to_string();
        assert_eq!(
            change("\"t_us\":5000,", "\"t_us\":5001,"),
            "line 1002: the checkpoint does not fit the records before it"
        );
        assert_eq!(
            change("\"t_us\":11000,", "\"t_us\":11001,"),
            "line 1203: the footer does not fit the records before it"
        );
        assert_eq!(change("{\"i\":5,", "{\"i\":6,"), "line 7: the record's number does not fit the records before it");
        assert!(change("{\"i\":5,", "{\"i\":5,,").starts_with("line 7: "));
        assert_eq!(change("\"schema\":1", "\"schema\":2"), "trace of version 2, known is 1");
        assert_eq!(read_text("").unwrap_err().to_string(), "line 1: not the header of a trace");
        assert_eq!(read_text("{}\n").unwrap_err().to_string(), "line 1: not the header of a trace");
    }

    /// A run that was killed leaves what it had.
    #[test]
    fn a_trace_may_lack_its_end() {
        let text = written(10);
        let cut: Vec<&str> = text.lines().take(6).collect();
        let trace = read_text(&cut.join("\n")).unwrap();
        assert_eq!((trace.records.len(), trace.footer), (5, None));
    }

    #[test]
    fn odd_bytes_are_an_error_and_no_panic() {
        assert!(matches!(read(&[0xff, 0xfe, b'\n'][..]), Err(TraceError::Io(_))));
        let endless = io::BufReader::new(io::repeat(b'x').take(LINE_BYTES + 10));
        assert!(matches!(read(endless), Err(TraceError::TooLong { line: 1 })));
    }
}
