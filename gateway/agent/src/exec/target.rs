//! What a command runs, found on this machine: the program and the directory after all links, and the content of every
//! file that decides what happens (S25).
//!
//! [`Target`] is found for every command. [`Facts`] are gathered when a person is asked, and again right before the start:
//! when both are the same, what was approved is what runs.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use openclaw_platform::{FileFacts, Processes};
use serde::{Deserialize, Serialize};

use super::{
    ExecRequest,
    launchers::{Role, implied_files, role},
};

/// Files besides the program that one question may bind.
pub const MAX_FILES: usize = 128;
/// Bytes of one file whose content is bound.
const MAX_FILE: u64 = 1 << 30;
/// Words of the arguments of an interpreter that are looked up as files.
const MAX_WORDS: usize = 1024;
/// Characters of a word that may be a file.
const MAX_WORD: usize = 1024;
/// Programs that may lie elsewhere under another name.
const COMMON: [&str; 14] =
    ["sh", "bash", "dash", "zsh", "busybox", "toybox", "env", "python3", "perl", "ruby", "node", "php", "lua", "awk"];
/// What interpreters add to the name of a module or of a directory.
const ENDINGS: [&str; 9] =
    ["", ".py", "/__main__.py", "/__init__.py", ".js", ".mjs", ".cjs", "/index.js", "/package.json"];

/// The program and the directory of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The program as the command names it or PATH has it; the program is told this name.
    pub named: PathBuf,
    /// The file that runs, after all links.
    pub program: PathBuf,
    /// The working directory, after all links.
    pub cwd: PathBuf,
    /// Device and inode of the directory.
    cwd_identity: (u64, u64),
    /// By any of the program's names.
    pub role: Role,
    /// A text that an interpreter reads, not machine code.
    pub is_script: bool,
    /// Arguments, the program's name among them.
    pub argv: Vec<String>,
    /// The words of the `#!` line.
    shebang: String,
}

/// Why a command has no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoTarget {
    /// Not there, or nothing that may be executed.
    #[error("{0}: no such program")]
    Program(String),
    /// Not there, or no directory.
    #[error("the working directory {0} is not there")]
    WorkingDirectory(String),
    /// A file that decides what happens cannot be read.
    #[error("{0} cannot be checked: {1}")]
    Unreadable(String, String),
    /// More than can be bound.
    #[error("the command names more than {MAX_FILES} files or {MAX_WORDS} words: put it into a script")]
    TooMuch,
}

impl Target {
    /// Finds what `request` runs; without a directory of its own it starts in `home`.
    ///
    /// # Errors
    /// [`NoTarget`].
    pub async fn find(processes: &dyn Processes, request: &ExecRequest, home: &Path) -> Result<Self, NoTarget> {
        let wanted = request.cwd.as_ref().map_or_else(|| home.to_owned(), PathBuf::from);
        let directory = processes.inspect(wanted.clone(), false, 0).await.ok().filter(|found| found.is_directory);
        let directory = directory.ok_or_else(|| NoTarget::WorkingDirectory(visible(&wanted.to_string_lossy())))?;
        let first = request.argv.first().map_or("", String::as_str);
        let missing = || NoTarget::Program(visible(first));
        let named = processes.which(first, Some(&directory.path)).ok_or_else(missing)?;
        let file = processes.inspect(named.clone(), false, 0).await.map_err(|_| missing())?;
        let names = [Some(Path::new(first)), Some(&*named), Some(&*file.path)];
        let names = names.into_iter().flatten().filter_map(|path| path.file_name()?.to_str());
        let role = names.map(role).max().unwrap_or(Role::Plain);
        // What cannot be read at all (execute only) is no script: an interpreter could not read it either.
        let is_script = !file.head.is_empty() && !is_machine_code(&file.head);
        let role = match role {
            Role::Plain if !is_script => known_elsewhere(processes, &file).await.unwrap_or(role),
            role => role,
        };
        let line = file.head.strip_prefix(b"#!").map(|rest| rest.split(|b| *b == b'\n').next().unwrap_or_default());
        let shebang = String::from_utf8_lossy(line.unwrap_or_default()).into_owned();
        let (cwd, cwd_identity) = (directory.path, directory.identity);
        let argv = request.argv.clone();
        Ok(Self { named, program: file.path, cwd, cwd_identity, role, is_script, argv, shebang })
    }

    /// The program's path, as the policy knows it.
    pub fn path(&self) -> String {
        self.program.display().to_string()
    }

    /// True when an interpreter's first argument is a file and no option: `python3 p.py`, not `python3 -c ...`.
    pub fn runs_a_file(&self, processes: &dyn Processes) -> bool {
        let first = self.argv.get(1).filter(|word| !word.starts_with(['-', '+']) && !word.is_empty());
        first.and_then(|word| processes.resolve(&self.cwd.join(word))).is_some()
    }

    /// True without a `#!` line, and with one that names an interpreter of the system: what is remembered is the content
    /// of the script alone (S25).
    fn is_read_by_a_system_program(&self) -> bool {
        const SYSTEM: [&str; 5] = ["/bin/", "/sbin/", "/usr/", "/opt/", "/nix/store/"];
        let Some(reader) = self.shebang.split_whitespace().next() else { return true };
        let name = reader.rsplit('/').next().unwrap_or_default();
        !reader.contains("..") && SYSTEM.iter().any(|dir| reader.starts_with(dir)) && role(name) != Role::Plain
    }

    /// Why allow-always is allow-once for this command; `None` when it is remembered.
    pub fn not_remembered(&self) -> Option<&'static str> {
        match self.role {
            Role::Plain if !self.is_read_by_a_system_program() => {
                Some("the program that its first line names could be replaced")
            }
            Role::Plain => None,
            Role::Tool => Some("the program runs other programs when it is told to"),
            Role::Interpreter => Some("the program runs any code that it is given"),
            Role::Wrapper => Some("the program runs any other program"),
        }
    }

    /// The SHA-256 of the program's content.
    ///
    /// # Errors
    /// [`NoTarget::Unreadable`].
    pub async fn content(&self, processes: &dyn Processes) -> Result<String, NoTarget> {
        content(processes, &self.program).await
    }

    /// Everything that a person approves and that is looked at again before the start.
    ///
    /// # Errors
    /// [`NoTarget`].
    pub async fn facts(&self, processes: &dyn Processes) -> Result<Facts, NoTarget> {
        let sha256 = self.content(processes).await?;
        let mut files = Vec::new();
        for (word, path) in self.named_files(processes)? {
            let sha256 = content(processes, &path).await?;
            files.push(FileFact { name: word, path: path.display().to_string(), sha256 });
        }
        let (device, inode) = self.cwd_identity;
        Ok(Facts {
            program: self.path(),
            sha256,
            cwd: self.cwd.display().to_string(),
            cwd_identity: format!("{device}:{inode}"),
            files,
        })
    }

    /// Files that decide what the command does: scripts and programs among the arguments of whatever runs code, and what
    /// such a program reads in its directory anyway. Words of inline code count too: `sh -c './s.sh'`.
    fn named_files(&self, processes: &dyn Processes) -> Result<Vec<(String, PathBuf)>, NoTarget> {
        let mut found: Vec<(String, PathBuf)> = Vec::new();
        if self.role == Role::Plain && !self.is_script {
            return Ok(found);
        }
        let mut words = BTreeSet::new();
        for argument in self.argv.iter().skip(1).map(String::as_str).chain([self.shebang.as_str()]) {
            words.extend(candidates(argument));
            if words.len() > MAX_WORDS {
                return Err(NoTarget::TooMuch);
            }
        }
        let name = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        for implied in [name(&self.named), name(&self.program)] {
            words.extend(implied_files(&implied).iter().map(|file| (*file).to_owned()));
        }
        for word in words {
            let endings = if word.contains(char::is_whitespace) { &ENDINGS[..1] } else { &ENDINGS[..] };
            let as_file = endings.iter().map(|ending| self.cwd.join(format!("{word}{ending}")));
            // The module `a.b` is the file a/b.py.
            let module = word.replace('.', "/");
            let as_module = [".py", "/__main__.py"].iter().map(|ending| self.cwd.join(format!("{module}{ending}")));
            for path in as_file.chain(as_module) {
                if let Some(file) = processes.plain_file(&path) {
                    found.push((word.clone(), file));
                }
            }
            if !word.contains('/')
                && let Some(program) = processes.which(&word, None).and_then(|p| processes.resolve(&p))
            {
                found.push((word, program));
            }
        }
        found.sort();
        found.dedup_by(|a, b| a.1 == b.1);
        if found.len() > MAX_FILES { Err(NoTarget::TooMuch) } else { Ok(found) }
    }
}

/// Words of an argument that may name a file: all of it, what follows `=` or a short option, and each word of code.
fn candidates(argument: &str) -> Vec<String> {
    let mut words = vec![argument];
    words.extend(argument.split(|c: char| c.is_whitespace() || ";|&()<>{}[]\"'`,=$!".contains(c)));
    if let Some(rest) = argument.strip_prefix('-').filter(|rest| !rest.starts_with('-')) {
        let mut rest = rest.chars();
        rest.next();
        words.push(rest.as_str());
    }
    let sound = |w: &&str| !w.is_empty() && w.len() <= MAX_WORD && !w.contains('\0') && !matches!(*w, "." | ".." | "/");
    let mut words: Vec<String> = words.into_iter().filter(sound).map(str::to_owned).collect();
    // A directory that a program is given stands for the files that it looks for in there.
    if argument == "." {
        words.push("./".to_owned());
    }
    words
}

/// A shell or another common interpreter under a name of its own: a hard link to it, or a copy.
async fn known_elsewhere(processes: &dyn Processes, file: &FileFacts) -> Option<Role> {
    for name in COMMON {
        let Some(path) = processes.which(name, None) else { continue };
        let Ok(other) = processes.inspect(path.clone(), false, 0).await else { continue };
        if other.size != file.size || other.is_directory {
            continue;
        }
        if other.identity == file.identity || content(processes, &path).await == content(processes, &file.path).await {
            return Some(role(name));
        }
    }
    None
}

async fn content(processes: &dyn Processes, path: &Path) -> Result<String, NoTarget> {
    let unreadable = |why: String| NoTarget::Unreadable(visible(&path.to_string_lossy()), why);
    let found = processes.inspect(path.to_owned(), true, MAX_FILE).await.map_err(|e| unreadable(e.to_string()))?;
    found.sha256.ok_or_else(|| unreadable("no plain file".to_owned()))
}

/// ELF and Mach-O; anything else that runs is read by an interpreter, `/bin/sh` when it names none.
fn is_machine_code(head: &[u8]) -> bool {
    const MAGIC: [&[u8]; 6] = [
        b"\x7fELF",
        b"\xfe\xed\xfa\xce",
        b"\xfe\xed\xfa\xcf",
        b"\xce\xfa\xed\xfe",
        b"\xcf\xfa\xed\xfe",
        b"\xca\xfe\xba\xbe",
    ];
    MAGIC.iter().any(|magic| head.starts_with(magic))
}

fn visible(text: &str) -> String {
    text.escape_debug().take(200).collect()
}

/// What was found when a person was asked; compared as a whole right before the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Facts {
    /// The file that runs, after all links.
    pub program: String,
    /// SHA-256 of its content.
    pub sha256: String,
    /// The working directory, after all links.
    pub cwd: String,
    /// `device:inode` of it.
    pub cwd_identity: String,
    /// Files that the arguments name and that decide what happens.
    pub files: Vec<FileFact>,
}

/// One such file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileFact {
    /// The word of the command that names it.
    pub name: String,
    /// The file, after all links.
    pub path: String,
    /// SHA-256 of its content.
    pub sha256: String,
}

impl Facts {
    /// Bounds for facts that another machine sent.
    pub fn is_bounded(&self) -> bool {
        let texts = [&self.program, &self.sha256, &self.cwd, &self.cwd_identity];
        let files = self.files.iter().flat_map(|f| [&f.name, &f.path, &f.sha256]);
        self.files.len() <= MAX_FILES && texts.into_iter().chain(files).all(|text| text.len() <= 4096)
    }

    /// What is different now, for a person; `None` when nothing is.
    pub fn difference(&self, now: &Self) -> Option<String> {
        if self == now {
            return None;
        }
        let changed = if self.cwd != now.cwd || self.cwd_identity != now.cwd_identity {
            format!("the working directory {}", self.cwd)
        } else if self.program != now.program || self.sha256 != now.sha256 {
            format!("the program {}", self.program)
        } else {
            let other = |a: &[FileFact], b: &[FileFact]| a.iter().find(|f| !b.contains(f)).map(|f| f.path.clone());
            let file = other(&self.files, &now.files).or_else(|| other(&now.files, &self.files));
            format!("the file {}", file.unwrap_or_default())
        };
        Some(format!("{} changed since the command was shown; nothing was run", visible(&changed)))
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // files of a test
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use openclaw_platform::os::OsProcesses;

    use super::*;

    struct Bench(tempfile::TempDir);

    impl Bench {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.path().canonicalize().unwrap().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.at(name), text).unwrap();
            std::fs::set_permissions(self.at(name), std::fs::Permissions::from_mode(0o755)).unwrap();
        }

        async fn find(&self, argv: &[&str]) -> Target {
            let argv = argv.iter().map(|a| (*a).to_owned()).collect();
            let cwd = Some(self.at("").display().to_string());
            let request = ExecRequest {
                argv,
                cwd,
                env: [].into(),
                env_left_out: vec![],
                session_key: None,
                agent_id: "main".into(),
            };
            Target::find(&OsProcesses, &request, Path::new("/")).await.unwrap()
        }

        async fn facts(&self, argv: &[&str]) -> Facts {
            self.find(argv).await.facts(&OsProcesses).await.unwrap()
        }
    }

    #[tokio::test]
    async fn s25_a_link_is_what_it_leads_to() {
        let bench = Bench::new();
        symlink("/bin/sh", bench.at("tool")).unwrap();
        symlink("tool", bench.at("tool2")).unwrap();
        let found = bench.find(&["./tool2", "-c", "id"]).await;
        assert_eq!((found.role, &found.program), (Role::Interpreter, &Path::new("/bin/sh").canonicalize().unwrap()));
        assert!(found.not_remembered().is_some());
        // Under another name, as a hard link would be too.
        std::fs::copy("/bin/sh", bench.at("copy")).unwrap();
        assert_eq!(bench.find(&["./copy", "-c", "id"]).await.role, Role::Interpreter);
        std::fs::copy(OsProcesses.which("ls", None).unwrap(), bench.at("list")).unwrap();
        assert_eq!(bench.find(&["./list"]).await.role, Role::Plain);
        bench.write("work", "#!/bin/sh\n");
        let script = bench.find(&["./work"]).await;
        assert!(script.is_script && script.not_remembered().is_none());
        // An interpreter of somebody's own could be replaced after the answer.
        for reader in ["/tmp/sh", "/usr/../tmp/sh", "/usr/bin/work"] {
            bench.write("own", &format!("#!{reader}\n"));
            assert!(bench.find(&["./own"]).await.not_remembered().is_some(), "{reader}");
        }
        assert!(!bench.find(&["ls"]).await.is_script);
    }

    /// Whatever decides what runs is among the facts, so that a change of it shows.
    #[tokio::test]
    async fn s25_a_change_of_anything_that_runs_is_seen() {
        let bench = Bench::new();
        for name in ["s.sh", "p.py", "other", "sub.py", "Makefile"] {
            bench.write(name, "#!/bin/sh\n");
        }
        let commands: [(&[&str], &str); 14] = [
            (&["./s.sh"], "s.sh"),
            (&["sh", "s.sh"], "s.sh"),
            (&["sh", "-e", "./s.sh", "a"], "s.sh"),
            (&["sh", "-c", "cd . && ./s.sh; true"], "s.sh"),
            (&["env", "X=1", "./s.sh"], "s.sh"),
            (&["nice", "-n", "5", "sh", "s.sh"], "s.sh"),
            (&["timeout", "5", "env", "./s.sh"], "s.sh"),
            (&["find", ".", "-exec", "./s.sh", "{}", ";"], "s.sh"),
            (&["xargs", "-a", "other", "./s.sh"], "other"),
            (&["awk", "-fp.py"], "p.py"),
            (&["bash", "--rcfile=other", "-i"], "other"),
            (&["sh", "p.py"], "p.py"),
            (&["env", "python3", "-m", "sub"], "sub.py"),
            (&["./s.sh", "other"], "other"),
        ];
        for (argv, file) in &commands {
            let before = bench.facts(argv).await;
            bench.write(file, "#!/bin/sh\nid\n");
            let why = before.difference(&bench.facts(argv).await).unwrap_or_else(|| panic!("{argv:?}"));
            assert!(why.contains(file) && why.contains("changed"), "{argv:?}: {why}");
            bench.write(file, "#!/bin/sh\n");
            assert_eq!(before.difference(&bench.facts(argv).await), None, "{argv:?}");
        }
        // What was not there when the person was asked.
        let before = bench.facts(&["sh", "new.sh"]).await;
        bench.write("new.sh", "id");
        assert!(before.difference(&bench.facts(&["sh", "new.sh"]).await).is_some());
    }

    #[tokio::test]
    async fn s25_another_directory_behind_the_same_name_is_seen() {
        let bench = Bench::new();
        for dir in ["one", "two"] {
            std::fs::create_dir(bench.at(dir)).unwrap();
        }
        symlink("one", bench.at("link")).unwrap();
        let facts = async || {
            let request = ExecRequest {
                argv: vec!["ls".into()],
                cwd: Some(bench.at("link").display().to_string()),
                env: [].into(),
                env_left_out: vec![],
                session_key: None,
                agent_id: "main".into(),
            };
            let target = Target::find(&OsProcesses, &request, Path::new("/")).await.unwrap();
            target.facts(&OsProcesses).await.unwrap()
        };
        let before = facts().await;
        assert_eq!(before.cwd, bench.at("one").display().to_string());
        std::fs::remove_file(bench.at("link")).unwrap();
        symlink("two", bench.at("link")).unwrap();
        assert!(before.difference(&facts().await).unwrap().starts_with("the working directory"));
        // The same path, another directory.
        std::fs::remove_file(bench.at("link")).unwrap();
        std::fs::create_dir(bench.at("link")).unwrap();
        let before = facts().await;
        std::fs::rename(bench.at("link"), bench.at("away")).unwrap();
        std::fs::create_dir(bench.at("link")).unwrap();
        assert!(before.difference(&facts().await).is_some());
    }

    #[tokio::test]
    async fn what_names_too_many_files_is_not_bound_in_part() {
        let bench = Bench::new();
        let many: Vec<String> = (0..=MAX_FILES).map(|n| format!("f{n}")).collect();
        for name in &many {
            bench.write(name, "x");
        }
        let argv: Vec<&str> = ["cat"].into_iter().chain(many.iter().map(String::as_str)).collect();
        assert!(bench.find(&argv).await.facts(&OsProcesses).await.is_ok(), "data is not bound");
        let argv: Vec<&str> = ["sh"].into_iter().chain(many.iter().map(String::as_str)).collect();
        assert_eq!(bench.find(&argv).await.facts(&OsProcesses).await, Err(NoTarget::TooMuch));
    }
}
