//! What tells one version of the configuration files from another without reading them.
#![allow(clippy::disallowed_methods)] // the files lie where people keep them

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

/// What tells one version of a file from another; links are followed.
fn stamp_of(path: &Path) -> Option<[u64; 5]> {
    let meta = path.metadata().ok()?;
    let signed = |n: i64| n as u64;
    Some([
        meta.dev(),
        meta.ino(),
        meta.len(),
        signed(meta.mtime()),
        signed(meta.mtime_nsec()) ^ signed(meta.ctime_nsec()),
    ])
}

/// The same for the main file and those that it includes.
pub fn of(main: &Path, parts: &[String]) -> u64 {
    let mut hasher = DefaultHasher::new();
    std::iter::once(main).chain(parts.iter().map(Path::new)).for_each(|path| stamp_of(path).hash(&mut hasher));
    hasher.finish()
}
