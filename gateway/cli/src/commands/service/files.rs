//! Files of services on the disk: they lie in the supervisor's folders.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // outside of the state directory

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use openclaw_platform::os::temporary;
use openclaw_service::Files;

use crate::{config_file, regular_file};

/// Names that are read of a folder at most.
const MAX_NAMES: usize = 10_000;

/// The real ones.
#[derive(Debug, Clone, Copy)]
pub struct OsFiles;

impl Files for OsFiles {
    fn read(&self, path: &Path) -> io::Result<String> {
        let mut bytes = vec![];
        regular_file::open(path)?.take(regular_file::MAX_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn write(&self, path: &Path, text: &str, mode: u32) -> io::Result<()> {
        path.parent().map_or(Ok(()), config_file::make_dir)?;
        temporary::sweep_beside(path);
        temporary::replace(path, text.as_bytes())?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            other => other?,
        };
        let names = entries.take(MAX_NAMES).filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.collect();
        names.sort();
        Ok(names)
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        path.metadata().ok().map(|meta| meta.permissions().mode() & 0o777)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s17_a_file_is_written_whole_and_private_with_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("systemd/user/x.service");
        assert_eq!(OsFiles.list(&dir.path().join("systemd/user")).unwrap(), Vec::<String>::new());
        OsFiles.write(&path, "[Unit]\n", 0o600).unwrap();
        assert_eq!((OsFiles.mode(&path), OsFiles.read(&path).unwrap().as_str()), (Some(0o600), "[Unit]\n"));
        OsFiles.write(&path, "[Service]\n", 0o644).unwrap();
        assert_eq!(OsFiles.mode(&path), Some(0o644));
        assert_eq!(OsFiles.list(path.parent().unwrap()).unwrap(), ["x.service"]);
        OsFiles.remove(&path).unwrap();
        assert_eq!((OsFiles.mode(&path), OsFiles.read(&path).unwrap_err().kind()), (None, io::ErrorKind::NotFound));
    }
}
