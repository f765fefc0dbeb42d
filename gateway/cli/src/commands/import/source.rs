//! The directory that is read: by name below it, within bounds, and never written to.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, ErrorKind, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use openclaw_server::{
    import::{Kind, Report, Transcript},
    limits::{IMPORT_FILE_BYTES, IMPORT_LINE_BYTES, IMPORT_SESSIONS_BYTES, IMPORT_TRANSCRIPT_FILE_BYTES},
};

use crate::{failure::Failure, session::Session};

/// Names of one directory that are looked at.
const NAMES: usize = 200_000;
/// Agents whose sessions are read.
const AGENTS: usize = 256;
/// Where OpenClaw and what it was called before kept their state, below the home directory.
const HOMES: [&str; 4] = [".openclaw", ".clawdbot", ".moltbot", ".moldbot"];
/// Files that only OpenClaw writes.
const ITS_OWN: [&str; 4] = ["nodes/paired.json", "cron/jobs.json", "identity/device.json", "update-check.json"];

/// An OpenClaw state directory.
#[derive(Debug)]
pub struct Source {
    dir: PathBuf,
    is_own: bool,
}

impl Source {
    /// The directory that was named, or the one that OpenClaw left.
    ///
    /// # Errors
    /// Runtime: there is none, or nothing of OpenClaw in it.
    pub fn choose(session: &Session, named: Option<&Path>) -> Result<Self, Failure> {
        let own = &session.paths.state_dir;
        let homes = HOMES.iter().map(|name| session.paths.home.join(name));
        let dir = match named {
            Some(dir) => dir.to_owned(),
            None if holds(own) => own.clone(),
            None => {
                homes.clone().find(|dir| holds(dir)).or_else(|| homes.clone().find(|dir| dir.is_dir())).ok_or_else(
                    || {
                        let looked: Vec<String> = homes.map(|dir| dir.display().to_string()).collect();
                        let looked = looked.join(", ");
                        Failure::Runtime(format!(
                            "found no state directory of OpenClaw: looked for {looked}; name it: openclaw import DIR"
                        ))
                    },
                )?
            }
        };
        if !dir.is_dir() {
            let text =
                format!("{} is no directory; openclaw import DIR takes the state directory of OpenClaw", dir.display());
            return Err(Failure::Runtime(text));
        }
        if !holds(&dir) {
            return Err(Failure::Runtime(format!(
                "found nothing of OpenClaw in {}: expected agents/<id>/sessions/sessions.json, devices/paired.json with \
                 tokens or {}",
                dir.display(),
                ITS_OWN.join(", ")
            )));
        }
        let same = |a: &Path, b: &Path| Some(fs::canonicalize(a).ok()? == fs::canonicalize(b).ok()?);
        let is_own = same(&dir, own).unwrap_or(false);
        Ok(Self { dir, is_own })
    }

    /// The directory, as it was named.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// True for the state directory of this gateway.
    pub fn is_own(&self) -> bool {
        self.is_own
    }

    /// A whole file; `None` when there is none.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn read(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>, String> {
        read(&self.dir.join(name), most)
    }

    /// A whole file; one that cannot be read is told.
    pub fn told(&self, report: &mut Report, kind: Kind, name: &str) -> Option<Vec<u8>> {
        self.read(name, IMPORT_FILE_BYTES).unwrap_or_else(|why| {
            report.leave(kind, name, why);
            None
        })
    }

    /// The same for a list of sessions, which may be larger.
    pub fn told_sessions(&self, report: &mut Report, name: &str) -> Option<Vec<u8>> {
        self.read(name, IMPORT_SESSIONS_BYTES).unwrap_or_else(|why| {
            report.leave(Kind::Session, name, why);
            None
        })
    }

    /// Names of what is directly in a directory below it, sorted.
    pub fn names(&self, dir: &str) -> Vec<String> {
        let entries = fs::read_dir(self.dir.join(dir)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.filter_map(|e| e.file_name().into_string().ok()).take(NAMES).collect();
        names.sort();
        names
    }

    /// Agents that have a directory.
    pub fn agents(&self) -> Vec<String> {
        let is_agent = |name: &String| {
            name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        self.names("agents").into_iter().filter(is_agent).take(AGENTS).collect()
    }

    /// The newest `most` messages of a transcript; `None` when there is no file.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn transcript(&self, name: &str, most: usize) -> Result<Option<Transcript>, String> {
        let Some(file) = open(&self.dir.join(name), IMPORT_TRANSCRIPT_FILE_BYTES)? else { return Ok(None) };
        let (mut reader, mut transcript) = (BufReader::with_capacity(64 << 10, file), Transcript::new(most));
        let mut line = Vec::new();
        loop {
            match next_line(&mut reader, &mut line, IMPORT_LINE_BYTES).map_err(|e| e.to_string())? {
                Next::Line { is_whole } => transcript.line(&line, is_whole),
                Next::TooLong => transcript.too_long(),
                Next::End => return Ok(Some(transcript)),
            }
        }
    }
}

/// True for a directory with files that OpenClaw wrote: some names are also this program's.
fn holds(dir: &Path) -> bool {
    let agents = fs::read_dir(dir.join("agents")).into_iter().flatten().flatten().take(AGENTS);
    ITS_OWN.iter().any(|name| dir.join(name).is_file())
        || agents.into_iter().any(|agent| agent.path().join("sessions/sessions.json").is_file())
        || read(&dir.join("devices/paired.json"), IMPORT_FILE_BYTES)
            .is_ok_and(|text| text.is_some_and(|text| String::from_utf8_lossy(&text).contains("\"token\"")))
}

/// Opens a regular file, for reading only: a pipe of that name would wait for its writer.
fn open(path: &Path, most: u64) -> Result<Option<File>, String> {
    let wait = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(wait).open(path) {
        Ok(file) => file,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(e) => return Err(format!("it cannot be read: {e}")),
    };
    let found = file.metadata().map_err(|e| format!("it cannot be read: {e}"))?;
    if !found.is_file() {
        return Err("it is no file".to_owned());
    }
    if found.len() > most {
        return Err(format!("it has {} bytes; at most {most} are read", found.len()));
    }
    Ok(Some(file))
}

fn read(path: &Path, most: u64) -> Result<Option<Vec<u8>>, String> {
    let Some(file) = open(path, most)? else { return Ok(None) };
    let mut text = Vec::new();
    // It may grow while it is read.
    file.take(most).read_to_end(&mut text).map_err(|e| format!("it cannot be read: {e}"))?;
    Ok(Some(text))
}

/// What a reader comes to next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// A line; the last one may have no end.
    Line {
        is_whole: bool,
    },
    /// One of more than the most bytes: it is passed over.
    TooLong,
    End,
}

/// The next line without its end, of at most `most` bytes.
fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>, most: usize) -> io::Result<Next> {
    line.clear();
    let (mut any, mut too_long) = (false, false);
    loop {
        let part = reader.fill_buf()?;
        if part.is_empty() && !any {
            return Ok(Next::End);
        }
        let end = part.iter().position(|b| *b == b'\n');
        let said = &part[..end.unwrap_or(part.len())];
        too_long |= line.len() + said.len() > most;
        if !too_long {
            line.extend_from_slice(said);
        }
        let (read, is_last) = (end.map_or(part.len(), |end| end + 1), part.is_empty());
        any = true;
        reader.consume(read);
        if end.is_some() || is_last {
            return Ok(if too_long { Next::TooLong } else { Next::Line { is_whole: end.is_some() } });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f04_a_line_beyond_the_bound_is_passed_over() {
        for buffer in [1, 3, 64] {
            let mut reader = BufReader::with_capacity(buffer, &b"ab\n\nabcdef\nabc\nx"[..]);
            let mut line = Vec::new();
            let mut all = Vec::new();
            loop {
                match next_line(&mut reader, &mut line, 3).unwrap() {
                    Next::End => break,
                    Next::TooLong => all.push("long".to_owned()),
                    Next::Line { is_whole } => all.push(format!("{}{is_whole}", String::from_utf8_lossy(&line))),
                }
            }
            assert_eq!(all, ["abtrue", "true", "long", "abctrue", "xfalse"], "{buffer}");
        }
    }

    /// What is no file is not waited for, and what is too large is not read.
    #[test]
    fn f04_only_files_within_their_bounds_are_read() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};

        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "12345").unwrap();
        fs::create_dir(at("folder")).unwrap();
        mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert_eq!(read(&at("file"), 5), Ok(Some(b"12345".to_vec())));
        assert_eq!((read(&at("none"), 5), read(&at("file/x"), 5)), (Ok(None), Ok(None)));
        assert!(read(&at("file"), 4).unwrap_err().contains("5 bytes"));
        for name in ["folder", "pipe"] {
            assert_eq!(read(&at(name), 5), Err("it is no file".to_owned()), "{name}");
        }
    }
}
