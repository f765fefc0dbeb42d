//! Local files that may be sent as media: of the workspaces and of received media, nothing else (S16, S29).
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // the binary's own file access, outside the storage seam

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Component, Path, PathBuf},
    sync::Mutex,
};

use openclaw_platform::sync::LockExt as _;
use rustix::fs::{CWD, Mode, OFlags, openat};

/// Enough to look names up in a directory: reading its list may be forbidden where passing through is not.
#[cfg(target_os = "linux")]
const PASS_THROUGH: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const PASS_THROUGH: OFlags = OFlags::RDONLY;

/// Where files may lie that leave the gateway, and which never do.
#[derive(Debug)]
pub struct MediaRoots {
    home: PathBuf,
    state_dir: PathBuf,
    /// Received media.
    media: PathBuf,
    /// Working directories, as they are named and as they were resolved.
    workspaces: Mutex<BTreeMap<PathBuf, PathBuf>>,
    protected: Vec<PathBuf>,
}

impl MediaRoots {
    /// Files come from `workspaces` and from `media/` of the state directory. Nothing else of the state directory does,
    /// and none of `protected` (configuration, files and directories with secrets, the log) with what is kept beside it
    /// under the same name and a suffix (`.bak`, `.1`), even in a workspace.
    ///
    /// Roots are resolved now: a workspace that becomes a link later on leads nowhere else.
    pub fn new(
        home: &Path,
        state_dir: &Path,
        workspaces: impl IntoIterator<Item = PathBuf>,
        protected: &[PathBuf],
    ) -> Self {
        let both = |path: &PathBuf| [std::path::absolute(path).unwrap_or_else(|_| path.clone()), resolved(path)];
        let roots = Self {
            home: home.to_owned(),
            state_dir: resolved(state_dir),
            media: resolved(&state_dir.join("media")),
            workspaces: Mutex::default(),
            protected: protected.iter().flat_map(both).collect(),
        };
        roots.open(workspaces);
        roots
    }

    /// Takes these workspaces in place of those before. One that stays is what it was resolved to first.
    pub fn open(&self, workspaces: impl IntoIterator<Item = PathBuf>) {
        let mut known = self.workspaces.locked();
        let open = workspaces.into_iter().map(|dir| {
            let real = known.get(&dir).cloned().unwrap_or_else(|| resolved(&dir));
            (dir, real)
        });
        *known = open.collect();
    }

    /// Where a file may lie that comes from `workspace`, or from any of them.
    fn roots(&self, workspace: Option<&Path>) -> Vec<PathBuf> {
        let known = self.workspaces.locked();
        let own = known.iter().filter(|(dir, _)| workspace.is_none_or(|only| only == dir.as_path()));
        own.map(|(_, real)| real.clone()).chain([self.media.clone()]).collect()
    }

    /// Reads a file of `workspace` (none: of any of them) or of received media by its path (`~/` is the home directory), at most
    /// `max` bytes; gives its name and content.
    ///
    /// Links in the path are resolved first; what was judged then is opened without following any, and judged again by
    /// what was opened. A file with a second name (hard link) is refused: its other name may be anywhere.
    ///
    /// # Errors
    /// Not found, not a plain file, outside the roots, protected, hidden, too large.
    pub fn read(&self, workspace: Option<&Path>, path: &str, max: usize) -> io::Result<(String, Vec<u8>)> {
        let roots = self.roots(workspace);
        let path = path.strip_prefix("~/").map_or_else(|| PathBuf::from(path), |rest| self.home.join(rest));
        if !path.is_absolute() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "expected an absolute path"));
        }
        // What is outside is refused the same way whether it is there or not.
        let real = path.canonicalize().map_err(|e| if self.allows(&roots, &path) { e } else { refused() })?;
        if !self.allows(&roots, &real) {
            return Err(refused());
        }
        let file = open_plainly(&real)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file"));
        }
        if meta.nlink() != 1 {
            let text = "the file has more than one name (hard link); send a copy of it";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        let is_opened = |p: &PathBuf| p.metadata().is_ok_and(|m| (m.dev(), m.ino()) == (meta.dev(), meta.ino()));
        if self.protected.iter().any(is_opened) {
            return Err(refused());
        }
        let mut bytes = Vec::new();
        file.take(max as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > max {
            let text = format!("{} bytes, at most {max} can be sent", meta.len());
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("file").to_owned();
        Ok((name, bytes))
    }

    /// True when `real`, a path without links, may be sent by where it lies.
    fn allows(&self, roots: &[PathBuf], real: &Path) -> bool {
        // A root that holds the state directory opens nothing in it.
        let of_state = real.starts_with(&self.state_dir);
        let counts = |root: &&PathBuf| !of_state || (root.starts_with(&self.state_dir) && **root != self.state_dir);
        let visible = |rest: &Path| {
            rest.components().all(|c| matches!(c, Component::Normal(n) if !n.as_encoded_bytes().starts_with(b".")))
        };
        let mut rests = roots.iter().filter(counts).filter_map(|root| real.strip_prefix(root).ok());
        rests.any(visible) && !self.protected.iter().any(|p| real.starts_with(p) || is_beside(real, p))
    }
}

fn refused() -> io::Error {
    let text = "not a file of a workspace or of received media (hidden files, the configuration and credentials never \
                are); put a copy into the workspace";
    io::Error::new(io::ErrorKind::PermissionDenied, text)
}

/// True for `openclaw.json.bak` beside `openclaw.json`.
fn is_beside(path: &Path, of: &Path) -> bool {
    let name = |p: &Path| p.file_name().map(|n| n.as_encoded_bytes().to_owned()).unwrap_or_default();
    let mut prefix = name(of);
    prefix.push(b'.');
    path.parent() == of.parent() && name(path).starts_with(&prefix)
}

/// `path` without links, as far as it exists.
fn resolved(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = whole.ancestors().find_map(|part| Some((part.canonicalize().ok()?, whole.strip_prefix(part).ok()?)));
    there.map_or_else(|| whole.clone(), |(real, rest)| if rest == Path::new("") { real } else { real.join(rest) })
}

/// Opens an absolute path step by step; a link anywhere in it is an error, so that nothing can be put in its place
/// between the look and the opening. Never waits for the other end of a pipe.
fn open_plainly(path: &Path) -> io::Result<File> {
    let dir = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | PASS_THROUGH;
    let end = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut at = openat(CWD, "/", dir, Mode::empty())?;
    let mut names = path.components().filter(|c| !matches!(c, Component::RootDir)).peekable();
    while let Some(name) = names.next() {
        let flags = if names.peek().is_some() { dir } else { end };
        at = openat(&at, name.as_os_str(), flags, Mode::empty())?;
    }
    Ok(File::from(at))
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, create_dir_all, hard_link, write},
        os::unix::fs::symlink,
    };

    use super::*;

    struct Fixture {
        dir: tempfile::TempDir,
        home: PathBuf,
        state: PathBuf,
        work: PathBuf,
    }

    /// A state directory that is not hidden, a workspace inside it and another one outside, as OPENCLAW_STATE_DIR makes it.
    fn fixture() -> (Fixture, MediaRoots) {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        let (state, work) = (home.join("state"), home.join("desk"));
        for d in [&state.join("workspace"), &state.join("media/inbound"), &state.join("credentials"), &work] {
            create_dir_all(d).unwrap();
        }
        for f in ["openclaw.json", "openclaw.json.bak", "gateway.redb", "credentials/a.json", "media/inbound/m.png"] {
            write(state.join(f), b"x").unwrap();
        }
        for f in ["a.png", "config.json", "config.json.bak", ".env", "token"] {
            write(work.join(f), b"x").unwrap();
        }
        write(state.join("workspace/b.png"), b"x").unwrap();
        write(home.join("id_rsa"), b"x").unwrap();
        let protected = [state.join("openclaw.json"), work.join("config.json"), work.join("token")];
        let roots = MediaRoots::new(&home, &state, [work.clone(), state.join("workspace")], &protected);
        (Fixture { dir, home, state, work }, roots)
    }

    #[test]
    fn s29_only_workspaces_and_received_media_wherever_the_state_directory_is() {
        let (f, roots) = fixture();
        let read = |p: &Path| roots.read(None, p.to_str().unwrap(), 10);
        for good in [f.work.join("a.png"), f.state.join("workspace/b.png"), f.state.join("media/inbound/m.png")] {
            assert!(read(&good).is_ok(), "{}", good.display());
        }
        assert_eq!(roots.read(None, "~/desk/a.png", 10).unwrap(), ("a.png".into(), b"x".to_vec()));
        let outside = f.dir.path().join("outside");
        write(&outside, b"x").unwrap();
        for bad in [
            outside,
            f.home.join("id_rsa"),
            f.home.join("desk/../id_rsa"),
            f.state.join("openclaw.json"),
            f.state.join("openclaw.json.bak"),
            f.state.join("gateway.redb"),
            f.state.join("credentials/a.json"),
            f.state.join("workspace/../gateway.redb"),
            f.work.join("config.json"),
            f.work.join("config.json.bak"),
            f.work.join("token"),
            f.work.join(".env"),
            f.work.clone(),
        ] {
            assert!(read(&bad).is_err(), "{}", bad.display());
        }
        assert!(roots.read(None, "a.png", 10).is_err() && roots.read(None, "~/desk/a.png", 0).is_err());
        let told = |p: &str| roots.read(None, f.home.join(p).to_str().unwrap(), 10).unwrap_err().to_string();
        assert_eq!(told("id_rsa"), told("not-there"), "nobody learns what there is outside");
    }

    #[test]
    fn s29_no_link_and_no_hard_link_leads_out() {
        let (f, roots) = fixture();
        let read = |p: &str| roots.read(None, f.work.join(p).to_str().unwrap(), 10);
        symlink(f.state.join("openclaw.json"), f.work.join("link.png")).unwrap();
        symlink(&f.state, f.work.join("dir")).unwrap();
        symlink(f.work.join("a.png"), f.work.join("inside.png")).unwrap();
        hard_link(f.state.join("openclaw.json"), f.work.join("hard.png")).unwrap();
        hard_link(f.home.join("id_rsa"), f.work.join("key.png")).unwrap();
        for bad in ["link.png", "dir/openclaw.json", "dir/gateway.redb", "hard.png", "key.png"] {
            assert_eq!(read(bad).unwrap_err().kind(), io::ErrorKind::PermissionDenied, "{bad}");
        }
        assert!(read("inside.png").is_ok(), "a link that stays inside is none of these");
        fs::rename(&f.work, f.home.join("moved")).unwrap();
        symlink(&f.home, &f.work).unwrap();
        assert!(read("id_rsa").is_err(), "a workspace that became a link");
    }

    #[test]
    fn s29_a_workspace_around_the_state_directory_does_not_open_it() {
        let (f, _) = fixture();
        let protected = [f.state.join("openclaw.json")];
        for work in [&f.home, &f.state, f.dir.path()] {
            let roots = MediaRoots::new(&f.home, &f.state, [work.to_path_buf()], &protected);
            let read = |p: &str| roots.read(None, f.state.join(p).to_str().unwrap(), 10);
            for bad in ["openclaw.json", "gateway.redb", "credentials/a.json", "workspace/b.png"] {
                assert!(read(bad).is_err(), "{bad} with {}", work.display());
            }
            assert!(read("media/inbound/m.png").is_ok());
        }
    }

    #[test]
    fn s29_what_was_judged_is_opened_without_following() {
        let (f, _) = fixture();
        let work = f.work.canonicalize().unwrap();
        assert!(open_plainly(&work.join("a.png")).is_ok());
        symlink(f.state.join("openclaw.json"), work.join("swapped.png")).unwrap();
        symlink(&f.state, work.join("swapped")).unwrap();
        assert!(open_plainly(&work.join("swapped.png")).is_err());
        assert!(open_plainly(&work.join("swapped/openclaw.json")).is_err());
    }

    /// What an agent sends is its own; what it was bound to later, or what is no agent's any more, is as the file says now.
    #[test]
    fn s29_an_agent_sends_no_file_of_another() {
        let (f, roots) = fixture();
        let (own, other) = (f.work.clone(), f.state.join("workspace"));
        let read = |of: Option<&Path>, file: &Path| roots.read(of, file.to_str().unwrap(), 10).is_ok();
        let (a, b) = (own.join("a.png"), other.join("b.png"));
        assert!(read(Some(&own), &a) && !read(Some(&own), &b));
        assert!(read(Some(&other), &b) && !read(Some(&other), &a));
        assert!(read(None, &a) && read(None, &b) && read(Some(&own), &f.state.join("media/inbound/m.png")));
        let new = f.home.join("new");
        create_dir_all(&new).unwrap();
        write(new.join("c.png"), b"x").unwrap();
        assert!(!read(Some(&new), &new.join("c.png")), "not the directory of an agent");
        roots.open([own.clone(), new.clone()]);
        assert!(read(Some(&new), &new.join("c.png")) && read(Some(&own), &a));
        assert!(!read(None, &b) && !read(Some(&other), &b));
    }
}
