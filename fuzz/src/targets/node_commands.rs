//! What a node's own host is asked to do: whatever the gateway sends, a program runs only where a second reading of this
//! machine's policy says so (S19), never by a name that was not looked up (S22), and refusals can be shown (S18).

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use crate::{exec, generate};
use arbitrary::{Result, Unstructured};
use openclaw_agent::exec::ApprovalsStore;
use openclaw_node::{COMMANDS, Commands};
use openclaw_platform::{
    BoxFuture, Command, Entropy as _, FileFacts, MemoryStorage, Output, ProcessError, Processes, Storage as _, os,
    sync::LockExt as _,
};
use serde_json::{Value, json};
use sim::{SimEntropy, SimSpawner};
use tokio::runtime::Runtime;

const FILE: &str = "exec-approvals.json";
const HOME: &str = "/home/u";
/// Commands of one node.
const MOST: usize = 6;

thread_local!(static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread()
    .enable_time()
    .start_paused(true)
    .build()
    .expect("a runtime without I/O can always be had"));

/// One input.
pub fn run(input: &[u8]) {
    let mut u = Unstructured::new(input);
    let _ = RUNTIME.with(|runtime| runtime.block_on(host(&mut u)));
}

/// A machine on which every program is a file in `/bin`, unless its name says otherwise.
#[derive(Default)]
struct Machine(Mutex<Vec<Command>>);

impl Processes for Machine {
    fn run(&self, command: Command) -> BoxFuture<'_, std::result::Result<Output, ProcessError>> {
        let stdout = command.argv.join(" ").into_bytes();
        self.0.locked().push(command);
        Box::pin(async { Ok(Output { code: Some(0), stdout, stderr: vec![0xff], truncated: false }) })
    }
    fn which(&self, program: &str, cwd: Option<&Path>) -> Option<PathBuf> {
        match program {
            "" | "no-such" => None,
            absolute if absolute.starts_with('/') => Some(absolute.into()),
            relative if relative.contains('/') => cwd.map(|cwd| cwd.join(relative)),
            name => Some(Path::new("/bin").join(name)),
        }
    }
    fn resolve(&self, path: &Path) -> Option<PathBuf> {
        Some(path.to_owned())
    }
    fn plain_file(&self, _: &Path) -> Option<PathBuf> {
        None
    }
    fn inspect(&self, path: PathBuf, with_content: bool, _: u64) -> BoxFuture<'_, std::io::Result<FileFacts>> {
        // Where programs start is a directory, everything else is a program.
        let is_directory = [HOME, "/tmp"].iter().any(|dir| path == Path::new(dir));
        let sha256 = (with_content && !is_directory).then(|| path.display().to_string());
        let inode = path.as_os_str().as_encoded_bytes().iter().fold(7u64, |n, b| n.wrapping_mul(31) + u64::from(*b));
        let head = if is_directory { vec![] } else { b"\x7fELF".to_vec() };
        let facts = FileFacts { path, identity: (1, inode), is_directory, size: 4, head, sha256 };
        Box::pin(async { Ok(facts) })
    }
}

async fn host(u: &mut Unstructured<'_>) -> Result<()> {
    let (storage, machine) = (MemoryStorage::new(), Arc::new(Machine::default()));
    if u.int_in_range(0..=15)? != 15 {
        storage.write_atomic(FILE, exec::file(u)?.to_string().as_bytes()).expect("memory takes everything");
    }
    let commands = Commands {
        processes: machine.clone(),
        clock: Arc::new(os::OsClock),
        policy: ApprovalsStore::new(
            Arc::new(storage.clone()),
            Arc::new(SimSpawner::default()),
            SimEntropy::new(1).fork("fuzz"),
            "/state",
        ),
        home: HOME.into(),
        notify: Arc::new(|title, body| assert!(title.chars().count() <= 1000 && body.chars().count() <= 1000)),
    };
    for _ in 0..MOST {
        if u.is_empty() {
            break;
        }
        let command = match u.int_in_range(0..=7)? {
            0 => generate::text(u)?,
            1 | 2 => (*u.choose(&COMMANDS)?).to_owned(),
            _ => "system.run".to_owned(),
        };
        let params = match command.as_str() {
            "system.run" => exec::params(u)?,
            "system.execApprovals.set" => json!({ "file": exec::file(u)?, "baseHash": generate::any(u)? }),
            "system.which" => json!({ "bins": generate::any(u)? }),
            _ => generate::any(u)?,
        };
        let before = storage.read(FILE).ok();
        let answer = commands.run(&command, params.clone()).await;
        if let Err(refusal) = &answer {
            let shown = !refusal.message.is_empty() && !refusal.message.contains(char::is_control);
            assert!(shown && refusal.message.len() < 1000, "{refusal:?} to {command} {params}");
        }
        let started = std::mem::take(&mut *machine.0.locked());
        assert!(started.len() <= 1 && started.is_empty() == (command != "system.run" || answer.is_err()), "{answer:?}");
        if let Some(started) = started.first() {
            ran(started, &params, before.as_deref());
        }
    }
    Ok(())
}

fn ran(started: &Command, params: &Value, file: Option<&[u8]>) {
    let file: Value = serde_json::from_slice(file.expect("without a policy nothing runs")).expect("a policy");
    let agent = params["agentId"].as_str().filter(|agent| !agent.is_empty()).unwrap_or("main");
    let rules = exec::Rules::read(&file, agent);
    let path = &started.argv[0];
    assert!(path.starts_with('/'), "{path:?} was not looked up");
    let listed = rules.lists(path, Some(HOME));
    let asked = params["approved"] == true || (params["unanswered"] == true && rules.falls_back(listed));
    let may = match rules.verdict(listed) {
        exec::Expected::Run => true,
        exec::Expected::Ask => asked,
        exec::Expected::Deny => false,
    };
    assert!(may, "{started:?} ran for {params} by {file}");
    let given = params["command"].as_array().expect("a command");
    assert!(started.argv[1..].iter().eq(given[1..].iter().filter_map(Value::as_str)), "{started:?} for {params}");
    assert!(started.cwd.as_ref().is_some_and(|cwd| cwd.is_absolute()), "{started:?}");
    let harmless = |name: &str| name.starts_with("LC_") || ["LANG", "LANGUAGE", "TZ", "TERM", "CI"].contains(&name);
    let looks = |name: &str| name.contains("COLOR") || ["COLUMNS", "LINES", "SOURCE_DATE_EPOCH"].contains(&name);
    assert!(started.env.iter().all(|(name, _)| harmless(name) || looks(name)), "{started:?}");
}
