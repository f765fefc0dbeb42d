//! A copy of the tree in which patches are tried. Only files that differ are written, so that a build after a patch
//! compiles what the patch touches and nothing else.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::mutant::changed_files;

pub(super) struct Tree {
    /// The tree as it was when the hunt began, whoever goes on to work on it.
    source: PathBuf,
    /// Where bugs are planted.
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
        let origin = source.canonicalize().map_err(|e| format!("{}: {e}", source.display()))?;
        let tree =
            Self { source: path("source")?, copy: path("tree")?, target: path("target")?, programs: path("programs")? };
        tree.snapshot(&origin)?;
        Ok(tree)
    }

    /// Where scenarios are.
    pub fn scenarios(&self) -> PathBuf {
        self.source.join("scenarios")
    }

    /// Keeps all files that are in the repository or could be.
    fn snapshot(&self, origin: &Path) -> Result<(), String> {
        let mut list = Command::new("git");
        list.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(origin);
        let output = list.output().map_err(|e| format!("git: {e}"))?;
        if !output.status.success() {
            return Err(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        let names = String::from_utf8_lossy(&output.stdout).into_owned();
        copy(origin, &self.source, names.split('\0').filter(|name| !name.is_empty()).map(str::to_owned))
    }

    /// Makes the copy what the tree was when the hunt began.
    pub fn refresh(&self) -> Result<(), String> {
        let mut names = Vec::new();
        files(&self.source, &self.source, &mut names).map_err(|e| format!("{}: {e}", self.source.display()))?;
        copy(&self.source, &self.copy, names.into_iter())
    }

    pub fn apply(&self, patch: &Path) -> Result<(), String> {
        git_apply(&self.copy, patch, &[])
    }

    /// A file of the tree as it is.
    pub fn original(&self, file: &str) -> Result<String, String> {
        fs::read_to_string(self.source.join(file)).map_err(|e| format!("{file}: {e}"))
    }

    /// The files that a patch changes, as it leaves them.
    pub fn patched(&self, patch: &Path) -> Result<Vec<(String, String)>, String> {
        let diff = fs::read_to_string(patch).map_err(|e| format!("{}: {e}", patch.display()))?;
        let files: Vec<String> = changed_files(&diff).map(str::to_owned).collect();
        for file in &files {
            self.write(file, &self.original(file)?)?;
        }
        self.apply(patch)?;
        files
            .into_iter()
            .map(|file| {
                let path = self.copy.join(&file);
                let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
                self.write(&file, &self.original(&file)?)?;
                Ok((file, text))
            })
            .collect()
    }

    /// Writes a file of the copy; one that says this already keeps its time, so that it is not compiled again.
    pub fn write(&self, file: &str, text: &str) -> Result<(), String> {
        let to = self.copy.join(file);
        if fs::read(&to).is_ok_and(|there| there == text.as_bytes()) {
            return Ok(());
        }
        let written = to.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&to, text));
        written.map_err(|e| format!("{}: {e}", to.display()))
    }

    /// Builds `sim` as it is shipped, but quickly, and keeps the program under `name`.
    pub fn build(&self, name: &str) -> Result<PathBuf, Broken> {
        let failed = |e: &dyn std::fmt::Display| Broken { places: vec![], error: e.to_string() };
        let output = Command::new("cargo")
            .args(["build", "--release", "--package", "sim", "--bin", "sim", "--message-format=json", "--target-dir"])
            .arg(&self.target)
            .envs([("CARGO_PROFILE_RELEASE_LTO", "off"), ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")])
            .env("CARGO_INCREMENTAL", "1")
            .current_dir(&self.copy)
            .stdin(Stdio::null())
            .output()
            .map_err(|e| failed(&format!("cargo: {e}")))?;
        if !output.status.success() {
            return Err(Broken::read(&output.stdout, &output.stderr));
        }
        let program = self.programs.join(name);
        // A program that runs cannot be written over.
        let _ = fs::remove_file(&program);
        fs::copy(self.target.join("release/sim"), &program).map_err(|e| failed(&e))?;
        Ok(program)
    }
}

/// Why a tree does not build.
#[derive(Debug, Clone)]
pub(super) struct Broken {
    /// File and line of each error.
    pub places: Vec<(String, usize)>,
    /// The first one in words.
    pub error: String,
}

impl Broken {
    fn read(messages: &[u8], said: &[u8]) -> Self {
        let (mut places, mut error) = (Vec::new(), None);
        for line in String::from_utf8_lossy(messages).lines() {
            let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else { continue };
            let message = &message["message"];
            if message["level"] != "error" {
                continue;
            }
            error.get_or_insert_with(|| message["message"].as_str().unwrap_or_default().to_owned());
            let spans = message["spans"].as_array().into_iter().flatten();
            places.extend(spans.filter_map(|span| {
                let line = usize::try_from(span["line_start"].as_u64()?).ok()?;
                Some((span["file_name"].as_str()?.to_owned(), line))
            }));
        }
        let said = String::from_utf8_lossy(said);
        let fallback = || said.lines().find(|l| l.starts_with("error")).unwrap_or_default().to_owned();
        Self { places, error: format!("does not build: {}", error.unwrap_or_else(fallback)) }
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

/// Makes `to` have these files of `from` and no others; what is the same keeps its time.
fn copy(from: &Path, to: &Path, names: impl Iterator<Item = String>) -> Result<(), String> {
    let mut wanted = BTreeSet::new();
    for name in names {
        // A file that was deleted and not yet committed is listed too.
        let Ok(content) = fs::read(from.join(&name)) else { continue };
        let file = to.join(&name);
        if fs::read(&file).ok().as_ref() != Some(&content) {
            let written = file.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&file, &content));
            written.map_err(|e| format!("{}: {e}", file.display()))?;
        }
        wanted.insert(file);
    }
    remove_others(to, &wanted).map_err(|e| format!("{}: {e}", to.display()))
}

/// The files of a directory, by their paths from `root`.
fn files(root: &Path, directory: &Path, out: &mut Vec<String>) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            files(root, &path, out)?;
        } else if let Ok(name) = path.strip_prefix(root) {
            out.push(name.to_string_lossy().into_owned());
        }
    }
    Ok(())
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
