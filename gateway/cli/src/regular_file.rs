//! Files that people name, opened so that nobody waits for them.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // they lie where people keep them

use std::{fs::File, io, os::unix::fs::OpenOptionsExt as _, path::Path};

/// Longest file that is read, bytes.
pub const MAX_BYTES: u64 = 4 << 20;

/// Opens a file to read it, and nothing else: a pipe that nobody writes to would hold up whoever reads it, for ever.
///
/// # Errors
/// When it cannot be opened, or is no file.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no regular file")) }
}
