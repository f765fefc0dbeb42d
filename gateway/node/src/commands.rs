//! What this node can do, under its own policy.

use std::{path::PathBuf, sync::Arc, time::Duration};

use openclaw_agent::exec::{ApprovalsStore, ExecRequest, Facts, NoTarget, Policy, SetError, Target, Verdict, problems};
use openclaw_config::{ExecAsk, ExecSecurity};
use openclaw_platform::{Clock, Command, ProcessError, Processes};
use openclaw_protocol::{approvals::ExecApprovalsFile, truncate};
use serde_json::{Map, Value, json};

/// The commands offered.
pub const COMMANDS: [&str; 6] = [
    "system.run",
    "system.run.inspect",
    "system.which",
    "system.notify",
    "system.execApprovals.get",
    "system.execApprovals.set",
];

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_TIMEOUT: Duration = Duration::from_mins(10);
/// Bytes kept of each of stdout and stderr: also when every byte is escaped the answer fits into one frame.
const MAX_OUTPUT: usize = 32 << 10;
/// Names of one `system.which`.
const MAX_BINS: usize = 200;
/// Lines of the log about what is wrong with the policy, for each command.
const PROBLEMS_TOLD: usize = 20;
/// Characters of a notification.
const MAX_NOTE: usize = 1000;

/// Why a command was not carried out: `{code, message}` of `node.invoke.result`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Machine-readable.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

impl Refusal {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Shows a notification to whoever sits at this machine: title and text.
pub type Notify = Arc<dyn Fn(&str, &str) + Send + Sync>;

/// The commands and what they need.
#[derive(Clone)]
pub struct Commands {
    /// Runs programs.
    pub processes: Arc<dyn Processes>,
    /// When an entry of the allowlist was made.
    pub clock: Arc<dyn Clock>,
    /// This machine's own policy.
    pub policy: ApprovalsStore,
    /// Programs start here unless they are told otherwise.
    pub home: PathBuf,
    /// Shows notifications.
    pub notify: Notify,
}

impl Commands {
    /// Carries out one command. Dropping the future ends the program and all that it started.
    ///
    /// # Errors
    /// [`Refusal`], for the gateway.
    pub async fn run(&self, command: &str, params: Value) -> Result<Value, Refusal> {
        match command {
            "system.run" => self.system_run(&params).await,
            "system.run.inspect" => self.inspect(&params).await,
            "system.which" => self.which(&params),
            "system.notify" => {
                let text = |key: &str| truncate::chars(params[key].as_str().unwrap_or_default(), MAX_NOTE);
                (self.notify)(text("title"), text("body"));
                Ok(json!({ "ok": true }))
            }
            "system.execApprovals.get" => {
                let snapshot = self.policy.get().await.map_err(|e| Refusal::new("STORAGE", e.to_string()))?;
                Ok(json!(self.policy.shown(snapshot)))
            }
            "system.execApprovals.set" => self.set_policy(params).await,
            _ => Err(Refusal::new("UNKNOWN_COMMAND", "this node does not offer that command")),
        }
    }

    async fn set_policy(&self, mut params: Value) -> Result<Value, Refusal> {
        let base = params["baseHash"].as_str().map(str::to_owned);
        let file = params["file"].take();
        // What the type says of it quotes members as they came (S18).
        let file = serde_json::from_value(file.clone()).map_err(|_| {
            let why = openclaw_protocol::schema::explain::<ExecApprovalsFile>(&file);
            Refusal::new("INVALID_PARAMS", format!("file: {why}"))
        })?;
        let set = self.policy.set(file, base.as_deref()).await;
        let snapshot = set.map_err(|e| {
            let code = match e {
                SetError::HashRequired => "BASE_HASH_REQUIRED",
                SetError::Changed => "BASE_HASH_CHANGED",
                SetError::Misspelt(..) => "INVALID_PARAMS",
                SetError::Storage(_) => "STORAGE",
            };
            Refusal::new(code, e.to_string())
        })?;
        Ok(json!(self.policy.shown(snapshot)))
    }

    fn which(&self, params: &Value) -> Result<Value, Refusal> {
        let bins = params["bins"].as_array().filter(|b| b.len() <= MAX_BINS);
        let bins = bins.ok_or_else(|| Refusal::new("INVALID_PARAMS", format!("bins: at most {MAX_BINS} names")))?;
        let names = bins.iter().filter_map(Value::as_str).filter(|name| !name.contains('/'));
        let found = names.filter_map(|name| {
            let path = self.processes.which(name, None)?;
            Some((name.to_owned(), path.display().to_string().into()))
        });
        Ok(json!({ "bins": found.collect::<Map<_, _>>() }))
    }

    /// The command, sound, and what it would run here.
    async fn target(&self, params: &Value) -> Result<(ExecRequest, Target), Refusal> {
        let bad = |e: openclaw_agent::exec::BadRequest| Refusal::new("INVALID_PARAMS", e.to_string());
        let request = ExecRequest::from_params(params).map_err(bad)?;
        request.check().map_err(bad)?;
        let target = Target::find(&*self.processes, &request, &self.home).await.map_err(|e| match e {
            NoTarget::Program(_) => Refusal::new("PROGRAM_NOT_FOUND", format!("{e} on this node")),
            _ => Refusal::new("RUN_FAILED", e.to_string()),
        })?;
        Ok((request, target))
    }

    /// What a command would run, for the question to a person; the node looks again before it starts (S25).
    async fn inspect(&self, params: &Value) -> Result<Value, Refusal> {
        let (_, target) = self.target(params).await?;
        let facts = target.facts(&*self.processes).await.map_err(unreadable)?;
        Ok(json!({ "facts": facts, "notRemembered": target.not_remembered() }))
    }

    async fn system_run(&self, params: &Value) -> Result<Value, Refusal> {
        let (request, target) = self.target(params).await?;
        self.judge(&request, &target, params).await?;
        let timeout = params["timeoutMs"].as_u64().map_or(DEFAULT_TIMEOUT, Duration::from_millis).min(MAX_TIMEOUT);
        // The file that was judged is the one that runs.
        let mut argv = request.argv;
        argv[0] = target.named.display().to_string();
        let (program, cwd) = (Some(target.program), Some(target.cwd));
        let env = request.env.into_iter().collect();
        let command = Command { argv, program, cwd, env, timeout, max_output: MAX_OUTPUT, confinement: None };
        let mut answer = self.carry_out(command).await?;
        if !request.env_left_out.is_empty() {
            answer["envLeftOut"] = json!(request.env_left_out);
        }
        Ok(answer)
    }

    async fn carry_out(&self, command: Command) -> Result<Value, Refusal> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match self.processes.run(command).await {
            Ok(output) => Ok(json!({
                "exitCode": output.code,
                "success": output.code == Some(0),
                "timedOut": false,
                "stdout": text(&output.stdout),
                "stderr": text(&output.stderr),
                "truncated": output.truncated,
            })),
            Err(ProcessError::Timeout(_)) => Ok(json!({
                "exitCode": null, "success": false, "timedOut": true, "stdout": "", "stderr": "", "truncated": false,
            })),
            Err(e) => Err(Refusal::new("RUN_FAILED", e.to_string())),
        }
    }

    /// `approved`, `approvedFacts` and `unanswered` are the gateway's word: it takes them out of what clients send (S19).
    async fn judge(&self, request: &ExecRequest, target: &Target, params: &Value) -> Result<(), Refusal> {
        let denied = |why: &str| Refusal::new("SYSTEM_RUN_DENIED", format!("this node does not run it: {why}"));
        let file = self.policy.read().await.map_err(|e| denied(&e.to_string()))?;
        // Nothing said: nothing runs.
        let file = file.ok_or_else(|| denied("it has no policy yet; see `openclaw approvals policy --node`"))?.file;
        for problem in problems(&file).iter().filter(|problem| problem.is_misspelt).take(PROBLEMS_TOLD) {
            tracing::warn!(%problem, "exec-approvals.json");
        }
        let policy = Policy::of(&file, &request.agent_id, (ExecSecurity::Deny, ExecAsk::OnMiss));
        let listed = policy.lists(&*self.processes, target, self.home.to_str()).await;
        match policy.judge(listed) {
            Verdict::Run => Ok(()),
            Verdict::Deny(why) => Err(denied(why)),
            Verdict::Ask if params["approved"] == true => {
                let facts = self.as_approved(target, &params["approvedFacts"]).await?;
                if params["approvalDecision"] == "allow-always" {
                    self.remember(request, target, &facts).await;
                }
                Ok(())
            }
            Verdict::Ask if params["unanswered"] == true && policy.falls_back(listed) => Ok(()),
            Verdict::Ask if params["unanswered"] == true => Err(denied("nobody approved it in time")),
            Verdict::Ask => Err(Refusal::new("APPROVAL_REQUIRED", "this node wants a person's approval for it")),
        }
    }

    /// What runs now is what the person was shown, on this machine, down to the content of the files (S25).
    async fn as_approved(&self, target: &Target, approved: &Value) -> Result<Facts, Refusal> {
        let Ok(shown) = serde_json::from_value::<Facts>(approved.clone()) else {
            let text = "the approval came without what was approved: the person was not shown what is on this node; \
                        approve this node again (openclaw nodes pending), so that the gateway may look first";
            return Err(Refusal::new("APPROVAL_REQUIRED", text));
        };
        let now = target.facts(&*self.processes).await.map_err(unreadable)?;
        match shown.difference(&now) {
            Some(what) => Err(Refusal::new("APPROVAL_CHANGED", what)),
            None => Ok(now),
        }
    }

    async fn remember(&self, request: &ExecRequest, target: &Target, facts: &Facts) {
        if let Some(why) = target.not_remembered() {
            tracing::warn!(program = %facts.program.escape_debug(), "allowed this once and not always: {why}");
            return;
        }
        let (agent, now) = (&request.agent_id, self.clock.wall());
        if let Err(error) = self.policy.allow(agent, &facts.program, &facts.sha256, &request.shown(), now).await {
            tracing::error!(%error, "the approval is not kept for the next time");
        }
    }
}

fn unreadable(error: NoTarget) -> Refusal {
    Refusal::new("SYSTEM_RUN_DENIED", format!("this node does not run it: {error}"))
}

#[cfg(test)]
mod tests {
    use openclaw_platform::{
        MemoryStorage,
        os::{OsClock, OsEntropy, OsProcesses, OsSpawner},
    };

    use super::*;

    struct Bench {
        commands: Commands,
        home: tempfile::TempDir,
    }

    async fn bench(policy: Option<Value>) -> Bench {
        let home = tempfile::tempdir().unwrap();
        let store =
            ApprovalsStore::new(Arc::new(MemoryStorage::new()), Arc::new(OsSpawner), Arc::new(OsEntropy), "/state");
        if let Some(policy) = policy {
            store.set(serde_json::from_value(policy).unwrap(), None).await.unwrap();
        }
        let commands = Commands {
            processes: Arc::new(OsProcesses),
            clock: Arc::new(OsClock),
            policy: store,
            home: home.path().to_owned(),
            notify: Arc::new(|_, _| {}),
        };
        Bench { commands, home }
    }

    fn policy(security: &str, ask: &str, patterns: &[&str]) -> Value {
        let list: Vec<Value> = patterns.iter().map(|p| json!({ "pattern": p })).collect();
        json!({"version": 1, "agents": {"main": {"security": security, "ask": ask, "allowlist": list}}})
    }

    async fn run(bench: &Bench, params: Value) -> Result<Value, &'static str> {
        bench.commands.run("system.run", params).await.map_err(|r| r.code)
    }

    #[tokio::test]
    async fn s19_without_a_policy_nothing_runs() {
        let b = bench(None).await;
        assert_eq!(run(&b, json!({"command": ["echo", "hi"]})).await, Err("SYSTEM_RUN_DENIED"));
        let b = bench(Some(policy("deny", "off", &["/**"]))).await;
        let approved = json!({"command": ["echo", "hi"], "approved": true});
        assert_eq!(run(&b, approved).await, Err("SYSTEM_RUN_DENIED"));
    }

    /// What is wrong with a policy is said without control characters of whoever sent it.
    #[tokio::test]
    async fn s18_a_refused_policy_is_explained_in_clean_text() {
        let b = bench(None).await;
        let mut file = policy("full", "off", &[]);
        file["a\u{1b}[31m\u{0}"] = json!(1);
        let refused = b.commands.run("system.execApprovals.set", json!({ "file": file })).await.unwrap_err();
        assert_eq!(refused.code, "INVALID_PARAMS");
        assert!(refused.message.contains("unexpected property 'a\\u{1b}[31m"), "{}", refused.message);
        assert!(!refused.message.chars().any(char::is_control), "{:?}", refused.message);
    }

    #[tokio::test]
    async fn s22_programs_run_without_a_shell_and_in_the_home_directory() {
        let b = bench(Some(policy("full", "off", &[]))).await;
        let out = run(&b, json!({"command": ["echo", "$HOME;", "a b"], "env": {"NO_COLOR": "1"}})).await.unwrap();
        assert_eq!(
            (&out["stdout"], &out["exitCode"], &out["success"]),
            (&json!("$HOME; a b\n"), &json!(0), &json!(true))
        );
        let out = run(&b, json!({"command": ["pwd"]})).await.unwrap();
        let home = b.home.path().canonicalize().unwrap();
        assert_eq!(out["stdout"].as_str().unwrap().trim(), home.to_str().unwrap());
        let out = run(&b, json!({"command": ["sleep", "60"], "timeoutMs": 50})).await.unwrap();
        assert_eq!((&out["timedOut"], &out["success"]), (&json!(true), &json!(false)));
    }

    #[tokio::test]
    async fn s19_the_allowlist_asks_for_the_rest_and_always_is_remembered() {
        let ls = OsProcesses.which("ls", None).unwrap().display().to_string();
        let b = bench(Some(policy("allowlist", "on-miss", &[&ls]))).await;
        assert!(run(&b, json!({"command": ["ls"]})).await.is_ok());
        let echo = |extra: Value| {
            let mut params = json!({"command": ["echo", "hi"]});
            params.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            params
        };
        assert_eq!(run(&b, echo(json!({}))).await, Err("APPROVAL_REQUIRED"));
        assert_eq!(run(&b, echo(json!({"approved": "yes"}))).await, Err("APPROVAL_REQUIRED"));
        assert_eq!(run(&b, echo(json!({"unanswered": true}))).await, Err("SYSTEM_RUN_DENIED"));
        assert_eq!(run(&b, echo(json!({"approved": true}))).await, Err("APPROVAL_REQUIRED"), "S25: of what?");
        let approved = async |decision: &str| {
            let inspected = b.commands.run("system.run.inspect", echo(json!({}))).await.unwrap();
            let facts = &inspected["facts"];
            run(&b, echo(json!({"approved": true, "approvalDecision": decision, "approvedFacts": facts}))).await
        };
        assert!(approved("allow-once").await.is_ok());
        assert_eq!(run(&b, echo(json!({}))).await, Err("APPROVAL_REQUIRED"));
        assert!(approved("allow-always").await.is_ok());
        assert!(run(&b, echo(json!({}))).await.is_ok());
    }

    /// What changed while the person thought does not run; neither does anything by an answer about something else.
    #[tokio::test]
    #[allow(clippy::disallowed_methods)] // files of a test
    async fn s25_the_node_looks_again_right_before_the_start() {
        let b = bench(Some(policy("allowlist", "always", &[]))).await;
        let write = |name: &str, text: &str| {
            use std::os::unix::fs::PermissionsExt as _;
            let path = b.home.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        write("s.sh", "#!/bin/sh\necho one\n");
        for argv in [json!(["./s.sh"]), json!(["sh", "s.sh"]), json!(["env", "sh", "-c", ". ./s.sh"])] {
            write("s.sh", "#!/bin/sh\necho one\n");
            let params = json!({ "command": argv });
            let facts = b.commands.run("system.run.inspect", params.clone()).await.unwrap()["facts"].clone();
            let approved =
                json!({"command": argv, "approved": true, "approvalDecision": "allow-always", "approvedFacts": facts});
            assert_eq!(run(&b, approved.clone()).await.unwrap()["stdout"], "one\n");
            write("s.sh", "#!/bin/sh\necho two\n");
            assert_eq!(run(&b, approved).await, Err("APPROVAL_CHANGED"), "{argv}");
        }
        // Of all that only the script itself is remembered, as it was.
        let kept =
            b.commands.policy.read_now().unwrap().unwrap().file.agents.unwrap().0["main"].allowlist.clone().unwrap().0;
        assert_eq!(kept.len(), 1);
        assert!(kept[0].pattern.ends_with("/s.sh") && kept[0].sha256.is_some());
    }

    /// Variables that run code do not reach the program, and the answer says so.
    #[tokio::test]
    async fn s27_variables_that_are_not_harmless_are_left_out() {
        let b = bench(Some(policy("full", "off", &[]))).await;
        let env = json!({"LANG": "C", "PYTHONUSERBASE": "/x", "TAR_OPTIONS": "--x", "LD_PRELOAD": "/x.so", "GLIBC_TUNABLES": "x"});
        let out = run(&b, json!({"command": ["env"], "env": env})).await.unwrap();
        assert_eq!(out["envLeftOut"], json!(["GLIBC_TUNABLES", "LD_PRELOAD", "PYTHONUSERBASE", "TAR_OPTIONS"]));
        let known = ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "EXEC_INVOCATION_ID"];
        for line in out["stdout"].as_str().unwrap().lines() {
            assert!(known.contains(&line.split('=').next().unwrap()), "{line}");
        }
        let out = run(&b, json!({"command": ["env"], "env": {"LANG": "C"}})).await.unwrap();
        assert!(out.get("envLeftOut").is_none());
    }

    #[tokio::test]
    async fn s26_a_misspelt_policy_is_refused_and_allows_nothing_when_found() {
        let b = bench(None).await;
        for wrong in [policy("Full", "off", &[]), policy("full", "Off", &[]), policy("", "off", &[])] {
            let refused = b.commands.run("system.execApprovals.set", json!({ "file": wrong })).await.unwrap_err();
            assert!(refused.code == "INVALID_PARAMS" && refused.message.contains("expected"), "{refused:?}");
        }
        assert_eq!(run(&b, json!({"command": ["ls"]})).await, Err("SYSTEM_RUN_DENIED"));
    }

    #[tokio::test]
    async fn output_is_bounded_and_bad_requests_are_refused() {
        let b = bench(Some(policy("full", "off", &[]))).await;
        let out = run(&b, json!({"command": ["head", "-c", "100000", "/dev/zero"]})).await.unwrap();
        assert_eq!((out["stdout"].as_str().unwrap().len(), &out["truncated"]), (MAX_OUTPUT, &json!(true)));
        assert!(out.to_string().len() < 512 << 10);
        for bad in [
            json!({}),
            json!({"command": "ls"}),
            json!({"command": []}),
            json!({"command": ["ls"], "cwd": "../x"}),
            json!({"command": ["ls"], "env": {"LANG": 1}}),
        ] {
            assert_eq!(run(&b, bad.clone()).await, Err("INVALID_PARAMS"), "{bad}");
        }
        assert_eq!(run(&b, json!({"command": ["no-such-program"]})).await, Err("PROGRAM_NOT_FOUND"));
        assert_eq!(run(&b, json!({"command": ["ls"], "cwd": "/no/such/dir"})).await, Err("RUN_FAILED"));
    }

    #[tokio::test]
    async fn which_finds_names_only() {
        let b = bench(None).await;
        let found = b.commands.run("system.which", json!({"bins": ["ls", "/bin/ls", "no-such", 5]})).await.unwrap();
        assert_eq!(found["bins"].as_object().unwrap().keys().collect::<Vec<_>>(), ["ls"]);
        assert!(b.commands.run("system.which", json!({})).await.is_err());
    }
}
