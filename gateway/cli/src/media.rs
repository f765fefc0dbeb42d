//! Local files that may be sent as media (known-failures S16).
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // the binary's own file access, outside the storage seam

use std::{
    io,
    path::{Path, PathBuf},
};

/// Where files may lie: the home directory without its hidden parts, the workspace, received media.
#[derive(Debug, Clone)]
pub struct MediaRoots {
    home: PathBuf,
    others: Vec<PathBuf>,
}

impl MediaRoots {
    /// `others` may lie anywhere, also below hidden directories.
    pub fn new(home: PathBuf, others: Vec<PathBuf>) -> Self {
        Self { home, others }
    }

    /// Reads a file by its path (`~/` is the home directory), at most `max` bytes. Links are resolved first, so that
    /// none leads out.
    ///
    /// # Errors
    /// Not found, not a plain file, outside the roots, too large.
    pub fn read(&self, path: &str, max: usize) -> io::Result<(String, Vec<u8>)> {
        let path = path.strip_prefix("~/").map_or_else(|| PathBuf::from(path), |rest| self.home.join(rest));
        if !path.is_absolute() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "expected an absolute path"));
        }
        let real = path.canonicalize()?;
        if !self.allows(&real) {
            let text = "not under an allowed directory (home without hidden directories, workspace)";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        let meta = real.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file"));
        }
        if meta.len() > max as u64 {
            let text = format!("{} bytes, at most {max} can be sent", meta.len());
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("file").to_owned();
        Ok((name, std::fs::read(real)?))
    }

    fn allows(&self, real: &Path) -> bool {
        let under = |root: &Path| root.canonicalize().ok().filter(|r| real.starts_with(r));
        if self.others.iter().any(|r| under(r).is_some()) {
            return true;
        }
        let Some(home) = under(&self.home) else { return false };
        let rest = real.strip_prefix(home).unwrap_or(real);
        !rest.components().any(|c| c.as_os_str().to_str().is_none_or(|s| s.starts_with('.')))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s16_only_plain_files_under_the_roots() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        let (outside, hidden, work) = (dir.path().join("secret"), home.join(".ssh"), home.join(".openclaw/workspace"));
        for d in [&home, &hidden, &work] {
            std::fs::create_dir_all(d).unwrap();
        }
        for f in [&outside, &hidden.join("id"), &home.join("a.png"), &work.join("b.png")] {
            std::fs::write(f, b"x").unwrap();
        }
        std::os::unix::fs::symlink(&outside, home.join("link.png")).unwrap();
        std::os::unix::fs::symlink(hidden.join("id"), home.join("key.png")).unwrap();
        let roots = MediaRoots::new(home.clone(), vec![work.clone()]);
        let read = |p: PathBuf| roots.read(p.to_str().unwrap(), 10).is_ok();
        assert!(read(home.join("a.png")) && read(work.join("b.png")));
        assert_eq!(roots.read("~/a.png", 10).unwrap(), ("a.png".into(), b"x".to_vec()));
        for bad in [
            outside,
            hidden.join("id"),
            home.join("link.png"),
            home.join("key.png"),
            home.join("../secret"),
            home.clone(),
        ] {
            assert!(!read(bad.clone()), "{}", bad.display());
        }
        assert!(roots.read("a.png", 10).is_err() && roots.read("~/a.png", 0).is_err());
    }
}
