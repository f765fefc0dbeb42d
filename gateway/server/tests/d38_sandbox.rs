//! D38: what asks for a sandbox gets one, or has no commands.

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use openclaw_agent::tool::Tool;
use openclaw_config::Config;
use openclaw_platform::{
    BoxFuture, Command, Confinement, FileFacts, Output, ProcessError, Processes, WorkspaceAccess, os,
};
use openclaw_protocol::message::Content;
use openclaw_server::{
    gateway::Gateway,
    rights::{Principal, Rights},
    runs::{Run, RunRequest, Toolbox as _},
    sandbox::findings,
    sessions::entry::SessionEntry,
};
use serde_json::json;
use support::gateway_on;

/// A machine with a sandbox, or without; it remembers what it was told to run and runs nothing.
struct Machine {
    has_sandbox: bool,
    ran: Mutex<Vec<Command>>,
}

impl Processes for Machine {
    fn run(&self, command: Command) -> BoxFuture<'_, Result<Output, ProcessError>> {
        self.ran.lock().unwrap().push(command);
        let output = Output { code: Some(0), stdout: b"done".to_vec(), stderr: vec![], truncated: false };
        Box::pin(std::future::ready(Ok(output)))
    }
    fn which(&self, program: &str, _cwd: Option<&Path>) -> Option<PathBuf> {
        Some(Path::new("/bin").join(program))
    }
    fn inspect(&self, path: PathBuf, with_content: bool, _max: u64) -> BoxFuture<'_, io::Result<FileFacts>> {
        let (is_directory, head) = (!path.starts_with("/bin"), b"\x7fELF".to_vec());
        let sha256 = with_content.then(|| "0".repeat(64));
        let facts = FileFacts { path, identity: (1, 1), is_directory, size: 4, head, sha256 };
        Box::pin(std::future::ready(Ok(facts)))
    }
    fn confines(&self, _confinement: &Confinement) -> Result<String, String> {
        if self.has_sandbox { Ok("a box".to_owned()) } else { Err("no box".to_owned()) }
    }
    fn prepare<'a>(&'a self, confinement: &'a Confinement) -> BoxFuture<'a, io::Result<PathBuf>> {
        let home = Path::new("/boxes").join(&confinement.private);
        Box::pin(std::future::ready(self.confines(confinement).map(|_| home).map_err(io::Error::other)))
    }
}

fn machine(has_sandbox: bool, sandbox: &str) -> (Arc<Gateway>, Arc<Machine>) {
    let text = format!(
        "{{ agents: {{ defaults: {{ model: 'builtin/echo', sandbox: {sandbox} }} }}, \
           tools: {{ exec: {{ security: 'full', ask: 'off' }} }} }}"
    );
    let config = openclaw_config::parse(&text, &|_| None).unwrap().config;
    let machine = Arc::new(Machine { has_sandbox, ran: Mutex::default() });
    let platform = openclaw_platform::Platform { processes: machine.clone(), ..os::without_files() };
    (gateway_on(platform, config), machine)
}

fn tools(gateway: &Gateway, session: &str) -> Vec<Arc<dyn Tool>> {
    let config = gateway.settings.get();
    let (who, input) = (Principal::Gateway, vec![Content::text("hi")]);
    let request = RunRequest::new(who.clone(), "r".into(), session.into(), input, Duration::from_secs(1));
    let run = Arc::new(Run::new(request, Rights::of(&config, &who, session)));
    gateway.tools.for_run(&gateway.runs, &run, &SessionEntry::default(), &[])
}

const MAIN: &str = "agent:main:main";
const OTHER: &str = "agent:main:telegram:dm:7";

/// Written out by hand: mode, session, with a sandbox or without, and whether `exec` and `node_run` are there.
#[tokio::test]
async fn d38_tools_that_are_left() {
    for (mode, session, has_sandbox, exec, node_run) in [
        ("off", MAIN, false, true, true),
        ("off", OTHER, false, true, true),
        ("non-main", MAIN, false, true, true),
        ("non-main", OTHER, false, false, false),
        ("non-main", OTHER, true, true, false),
        ("all", MAIN, false, false, false),
        ("all", MAIN, true, true, false),
        ("all", OTHER, false, false, false),
    ] {
        let (gateway, _) = machine(has_sandbox, &format!("{{ mode: '{mode}' }}"));
        let names: Vec<String> = tools(&gateway, session).iter().map(|t| t.spec().name).collect();
        let has = |name: &str| names.iter().any(|n| n == name);
        assert_eq!((has("exec"), has("node_run")), (exec, node_run), "{mode} {session} {has_sandbox}: {names:?}");
        assert!(has("sessions_list") && has("node_invoke"), "only what runs commands is gone: {names:?}");
        assert_eq!(has("browser"), node_run, "a page is outside of any sandbox: {names:?}");
    }
}

/// The command goes to the machine with its sandbox, starts where that says, and the model is told; without one it has none.
#[tokio::test]
async fn d38_a_command_goes_out_with_its_sandbox() {
    let (gateway, machine) =
        machine(true, "{ mode: 'non-main', workspaceAccess: 'ro', docker: { network: 'bridge' } }");
    for session in [MAIN, OTHER] {
        let tools = tools(&gateway, session);
        let exec = tools.iter().find(|t| t.spec().name == "exec").unwrap();
        assert_eq!(exec.spec().description.contains("runs in a sandbox"), session == OTHER);
        let output = exec.call(json!({"command": "ls"})).await;
        assert!(!output.is_error, "{output:?}");
    }
    let ran = machine.ran.lock().unwrap();
    assert_eq!(ran[0].confinement, None);
    let confinement = ran[1].confinement.as_ref().unwrap();
    let expected = Confinement {
        workspace: "/workspace".into(),
        access: WorkspaceAccess::Read,
        private: "agent-main".into(),
        network: true,
    };
    assert_eq!((confinement, ran[1].cwd.as_deref()), (&expected, Some(Path::new("/boxes/agent-main"))));
}

#[tokio::test]
async fn d38_an_operator_is_told_what_comes_of_it() {
    let told = |has_sandbox: bool, sandbox: &str| {
        let (gateway, machine) = machine(has_sandbox, sandbox);
        findings(&gateway.settings.get(), &|_, _| "/w".into(), &*machine)
    };
    assert!(told(true, "{ mode: 'off' }").is_empty() && told(true, "{}").is_empty());
    let found = told(true, "{ mode: 'all', workspaceAccess: 'rw' }");
    assert!(found.len() == 1 && found[0].is_there, "{found:?}");
    assert_eq!(
        found[0].text,
        "sandbox: mode all for main: commands run in a sandbox (a box); workspace: rw; no network"
    );
    let found = told(false, "{ mode: 'non-main' }");
    assert!(found.len() == 1 && !found[0].is_there && found[0].text.contains("exec is not offered"), "{found:?}");
    assert!(found[0].text.ends_with("of other sessions than the main one: no box"), "{found:?}");
}

/// The agent's browser is the one that operators ask, under the same rules.
#[tokio::test]
async fn d3_an_agents_browser_answers_and_opens_nothing_of_this_machine() {
    let gateway = gateway_on(openclaw_platform::os::without_files(), Config::default());
    let tools = tools(&gateway, "agent:main:main");
    let browser = tools.iter().find(|tool| tool.spec().name == "browser").unwrap();
    let status = browser.call(serde_json::json!({ "action": "status" })).await;
    assert!(!status.is_error && status.text.contains("\"enabled\":true"), "{}", status.text);
    for url in ["file:///etc/passwd", "http://127.0.0.1:18789/"] {
        let opened = browser.call(serde_json::json!({ "action": "open", "url": url })).await;
        assert!(
            opened.is_error && (opened.text.contains("can be opened") || opened.text.contains("may not visit")),
            "{}",
            opened.text
        );
    }
    let mut off = Config::default();
    off.browser.enabled = false;
    let gateway = gateway_on(openclaw_platform::os::without_files(), off);
    assert!(!self::tools(&gateway, "agent:main:main").iter().any(|tool| tool.spec().name == "browser"));
}
