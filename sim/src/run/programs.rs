//! The programs of the gateway's machine: few, harmless, and on record.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use openclaw_platform::{BoxFuture, Command, FileFacts, Output, ProcessError, Processes, sync::LockExt as _};

use super::recorder::Recorder;
use crate::{history::What, storage::SimDisk};

/// Where they are.
const PLACE: &str = "/usr/bin";
/// `echo` says its arguments, `cat` shows the configuration file whatever it is asked for, `sleep` takes its seconds.
const NAMES: [&str; 3] = ["echo", "cat", "sleep"];

/// Files and directories that people have replaced: how often, and by what.
#[derive(Debug, Clone, Default)]
pub(super) struct Replaced(Arc<Mutex<BTreeMap<String, (u64, String)>>>);

impl Replaced {
    /// Another one of this name takes its place.
    pub fn put(&self, path: &str, text: &str) {
        let mut all = self.0.locked();
        let times = all.get(path).map_or(0, |(times, _)| *times);
        all.insert(path.to_owned(), (times + 1, text.to_owned()));
    }

    /// The file's text, if somebody has put one there.
    pub fn text(&self, path: &str) -> Option<String> {
        self.0.locked().get(path).map(|(_, text)| text.clone())
    }

    /// How often each was replaced: another one after each time.
    pub fn versions(&self) -> Vec<(String, u64)> {
        self.0.locked().iter().map(|(path, (times, _))| (path.clone(), *times)).collect()
    }

    fn times(&self, path: &Path) -> u64 {
        self.0.locked().get(&*path.to_string_lossy()).map_or(0, |(times, _)| *times)
    }
}

/// Starts them.
pub(super) struct Programs {
    pub recorder: Recorder,
    pub disk: SimDisk,
    /// The configuration file's text.
    pub config: Arc<Mutex<String>>,
    /// Programs and directories that are not what they were.
    pub replaced: Replaced,
}

impl Programs {
    async fn run(&self, command: Command) -> Result<Output, ProcessError> {
        let Some(program) = command.argv.first() else { return Err(ProcessError::Empty) };
        let Some(name) = NAMES.iter().find(|name| Path::new(PLACE).join(name).as_os_str() == program.as_str()) else {
            let source = io::Error::new(io::ErrorKind::NotFound, "a simulated machine has few programs");
            return Err(ProcessError::Spawn { program: program.clone(), source });
        };
        if !self.disk.crashed() {
            self.recorder.record("gateway", What::Command { argv: command.argv.clone() });
        }
        let stdout = match *name {
            "cat" => self.config.locked().clone(),
            "sleep" => {
                let seconds = command.argv.get(1).and_then(|s| s.parse().ok()).unwrap_or(1);
                let wait = Duration::from_secs(seconds);
                tokio::time::sleep(wait.min(command.timeout)).await;
                if wait > command.timeout {
                    return Err(ProcessError::Timeout(command.timeout));
                }
                String::new()
            }
            _ => command.argv[1..].join(" "),
        };
        let mut stdout = stdout.into_bytes();
        let truncated = stdout.len() > command.max_output;
        stdout.truncate(command.max_output);
        Ok(Output { code: Some(0), stdout, stderr: vec![], truncated })
    }
}

impl Processes for Programs {
    fn run(&self, command: Command) -> BoxFuture<'_, Result<Output, ProcessError>> {
        Box::pin(self.run(command))
    }
    fn which(&self, program: &str, _cwd: Option<&Path>) -> Option<PathBuf> {
        let name = program.strip_prefix(PLACE).map_or(program, |rest| rest.trim_start_matches('/'));
        NAMES.contains(&name).then(|| Path::new(PLACE).join(name))
    }
    /// Programs are machine code, each a file of its own, which only a person replaces; everything else is a directory (S25).
    fn inspect(&self, path: PathBuf, with_content: bool, _max: u64) -> BoxFuture<'_, io::Result<FileFacts>> {
        let name = path.as_os_str().as_encoded_bytes();
        let times = self.replaced.times(&path);
        let identity = (name.len() as u64, name.iter().map(|byte| u64::from(*byte)).sum::<u64>() + (times << 32));
        let (is_directory, head) = (!path.starts_with(PLACE), b"\x7fELF\x02\x01\x01\0".to_vec());
        let sha256 = with_content.then(|| format!("{times:064x}"));
        Box::pin(std::future::ready(Ok(FileFacts { path, identity, is_directory, size: 8, head, sha256 })))
    }
}
