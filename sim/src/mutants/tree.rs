//! A copy of the tree in which patches are tried. Only files that differ are written, so that a build after a patch
//! compiles what the patch touches and nothing else.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

pub(super) struct Tree {
    source: PathBuf,
    copy: PathBuf,
    target: PathBuf,
    programs: PathBuf,
}

impl Tree {
    pub fn new(source: &Path, work: &Path) -> Result<Self, String> {
        let path = |name: &str| -> Result<PathBuf, String> {
            let path = work.join(name);
            fs::create_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            path.canonicalize().map_err(|e| e.to_string())
        };
        let source = source.canonicalize().map_err(|e| format!("{}: {e}", source.display()))?;
        Ok(Self { source, copy: path("tree")?, target: path("target")?, programs: path("programs")? })
    }

    pub fn root(&self) -> &Path {
        &self.copy
    }

    /// Makes the copy what the tree is now: all files that are in the repository or could be.
    pub fn refresh(&self) -> Result<(), String> {
        let mut list = Command::new("git");
        list.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(&self.source);
        let output = list.output().map_err(|e| format!("git: {e}"))?;
        if !output.status.success() {
            return Err(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        let names = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut wanted = BTreeSet::new();
        for name in names.split('\0').filter(|name| !name.is_empty()) {
            // A file that was deleted and not yet committed is listed too.
            let Ok(content) = fs::read(self.source.join(name)) else { continue };
            let to = self.copy.join(name);
            if fs::read(&to).ok().as_ref() != Some(&content) {
                let written = to.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&to, &content));
                written.map_err(|e| format!("{}: {e}", to.display()))?;
            }
            wanted.insert(to);
        }
        remove_others(&self.copy, &wanted).map_err(|e| format!("{}: {e}", self.copy.display()))
    }

    pub fn apply(&self, patch: &Path) -> Result<(), String> {
        git_apply(&self.copy, patch, &[])
    }

    /// Builds `sim` and keeps the program under `name`.
    pub fn build(&self, name: &str) -> Result<PathBuf, String> {
        let output = Command::new("cargo")
            .args(["build", "--quiet", "--package", "sim", "--bin", "sim", "--target-dir"])
            .arg(&self.target)
            .current_dir(&self.copy)
            .stdin(Stdio::null())
            .output()
            .map_err(|e| format!("cargo: {e}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let error = said.lines().find(|line| line.starts_with("error")).unwrap_or_default();
            return Err(format!("does not build: {error}"));
        }
        let program = self.programs.join(name);
        fs::copy(self.target.join("debug/sim"), &program).map_err(|e| format!("{}: {e}", program.display()))?;
        Ok(program)
    }
}

/// Whether a patch fits a tree.
#[cfg(test)]
pub(super) fn check(root: &Path, patch: &Path) -> Result<(), String> {
    git_apply(root, patch, &["--check"])
}

fn git_apply(root: &Path, patch: &Path, options: &[&str]) -> Result<(), String> {
    let root = root.canonicalize().map_err(|e| format!("{}: {e}", root.display()))?;
    let output = Command::new("git")
        // One line of context: a patch outlives changes beside its place.
        .args(["apply", "-C1"])
        .args(options)
        .arg(patch.canonicalize().map_err(|e| format!("{}: {e}", patch.display()))?)
        // A copy within another repository is no part of it; git would skip every file.
        .env("GIT_CEILING_DIRECTORIES", root.parent().unwrap_or(&root))
        .current_dir(&root)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("git: {e}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let fits = output.status.success() && !said.contains("Skipped patch");
    if fits { Ok(()) } else { Err(format!("{} does not apply: {}", patch.display(), said.trim())) }
}

fn remove_others(directory: &Path, wanted: &BTreeSet<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(&path, wanted)?;
        } else if !wanted.contains(&path) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
