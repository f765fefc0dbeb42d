//! What a path leads to: for the question to a person, and for the look right before the start (S25).

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use crate::{FILE_HEAD, FileFacts};

/// Looks at `path`. The file is opened once: its kind, first bytes and content are of one and the same file.
pub fn inspect(path: &Path, with_content: bool, max: u64) -> io::Result<FileFacts> {
    let path = path.canonicalize()?;
    let found = path.metadata()?;
    if found.is_dir() {
        return Ok(facts(&path, &found, vec![], None));
    }
    // A pipe would wait for a writer; one put there since the look above is refused below.
    let mut file = OpenOptions::new().read(true).custom_flags(nonblocking()).open(&path);
    if let (Err(error), false) = (&file, with_content)
        && error.kind() == io::ErrorKind::PermissionDenied
        && found.is_file()
    {
        // It may be executed and not read: its kind stays unknown.
        return Ok(facts(&path, &found, vec![], None));
    }
    let file = file.as_mut().map_err(|e| io::Error::new(e.kind(), e.to_string()))?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a plain file nor a directory"));
    }
    if !with_content {
        let mut head = Vec::new();
        file.take(FILE_HEAD as u64).read_to_end(&mut head)?;
        return Ok(facts(&path, &found, head, None));
    }
    let (head, sha256) = content(file, max)?;
    Ok(facts(&path, &found, head, Some(sha256)))
}

fn nonblocking() -> i32 {
    rustix::fs::OFlags::NONBLOCK.bits().cast_signed()
}

/// The first bytes and the hash of all of it.
fn content(file: &mut File, max: u64) -> io::Result<(Vec<u8>, String)> {
    let (mut head, mut hash, mut read) = (Vec::new(), Sha256::new(), 0u64);
    let mut buf = vec![0u8; 64 << 10];
    loop {
        let n = file.read(&mut buf)?;
        let Some(piece) = buf.get(..n).filter(|piece| !piece.is_empty()) else { break };
        read = read.saturating_add(n as u64);
        if read > max {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {max} bytes")));
        }
        let wanted = FILE_HEAD.saturating_sub(head.len()).min(piece.len());
        head.extend_from_slice(piece.get(..wanted).unwrap_or_default());
        hash.update(piece);
    }
    Ok((head, HEXLOWER.encode(&hash.finalize())))
}

fn facts(path: &Path, found: &Metadata, head: Vec<u8>, sha256: Option<String>) -> FileFacts {
    let is_directory = found.is_dir();
    FileFacts {
        path: path.to_owned(),
        identity: (found.dev(), found.ino()),
        is_directory,
        size: if is_directory { 0 } else { found.len() },
        head,
        sha256,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s25_a_look_follows_links_and_reads_plain_files_only() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().canonicalize().unwrap().join(name);
        std::fs::write(at("a"), "abc").unwrap();
        std::os::unix::fs::symlink("a", at("link")).unwrap();
        let found = inspect(&at("link"), true, 3).unwrap();
        assert_eq!((found.path, found.size, found.head.as_slice()), (at("a"), 3, &b"abc"[..]));
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(found.sha256.as_deref(), Some(abc));
        assert_eq!(inspect(&at("a"), false, 0).unwrap().sha256, None);
        assert!(inspect(&at("a"), true, 2).is_err(), "longer than it may be");
        assert!(inspect(&at(""), true, 0).unwrap().is_directory);
        let made = std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap();
        assert!(made.success());
        for none in ["pipe", "no-such"] {
            assert!(inspect(&at(none), true, 9).is_err() && inspect(&at(none), false, 9).is_err(), "{none}");
        }
    }
}
