use std::{path::PathBuf, sync::Arc, time::Duration};

use openclaw_platform::{BoxFuture, Command, Confinement, Output, Processes, WorkspaceAccess};
use serde_json::{Value, json};

use super::{Tool, ToolOutput};
use crate::{
    exec::{ExecRequest, Target, left_out},
    provider::ToolSpec,
};

const DEFAULT_TIMEOUT: Duration = Duration::from_mins(1);
const MAX_TIMEOUT: Duration = Duration::from_mins(10);
/// Bytes kept of each of stdout and stderr.
const MAX_OUTPUT: usize = 30_000;

/// Decides whether a program may run.
pub trait ExecGate: Send + Sync {
    /// `target` is what would be run; when this returns it is still the same. An error says why not, for the model.
    fn pass<'a>(&'a self, request: ExecRequest, target: &'a Target) -> BoxFuture<'a, Result<(), String>>;
}

/// Runs one program in the workspace. No shell reads the command (S22): it is split into words and quotes, and pipes,
/// redirections and variables are ordinary characters.
///
/// The gate decides about each command (S19); the file that it was asked about is the one that runs.
pub struct Exec {
    processes: Arc<dyn Processes>,
    workspace: PathBuf,
    gate: Arc<dyn ExecGate>,
    confinement: Option<Confinement>,
}

impl Exec {
    /// Programs start in `workspace`.
    pub fn new(processes: Arc<dyn Processes>, workspace: PathBuf, gate: Arc<dyn ExecGate>) -> Self {
        Self { processes, workspace, gate, confinement: None }
    }

    /// Programs run in this sandbox, and start where it says (D38).
    pub fn confined(self, confinement: Option<Confinement>) -> Self {
        Self { confinement, ..self }
    }

    fn description(&self) -> String {
        let plain = "Runs one program in the workspace and gives its output. There is no shell: no pipes, redirections, \
                     variables or wildcards.";
        self.confinement.as_ref().map_or_else(|| plain.to_owned(), |inside| format!("{plain} {}", reach(inside)))
    }

    /// The directory in which programs start; that of a sandbox is made.
    async fn home(&self) -> Result<PathBuf, String> {
        let Some(confinement) = &self.confinement else { return Ok(self.workspace.clone()) };
        let made = self.processes.prepare(confinement).await;
        made.map_err(|e| format!("not run, for there is no sandbox: {e}"))
    }

    async fn run(&self, arguments: &Value) -> ToolOutput {
        let Some(command) = arguments["command"].as_str() else {
            return ToolOutput::error("`command` must be a string");
        };
        let argv = match shell_words::split(command) {
            Ok(argv) => argv,
            Err(e) => return ToolOutput::error(format!("`command` cannot be split into words: {e}")),
        };
        let timeout = match &arguments["timeoutSeconds"] {
            Value::Null => DEFAULT_TIMEOUT,
            seconds => match seconds.as_f64().map(Duration::try_from_secs_f64) {
                Some(Ok(timeout)) if !timeout.is_zero() => timeout.min(MAX_TIMEOUT),
                _ => return ToolOutput::error("`timeoutSeconds` must be a number greater than 0"),
            },
        };
        let home = match self.home().await {
            Ok(home) => home,
            Err(why) => return ToolOutput::error(why),
        };
        let cwd = home.display().to_string();
        let wanted = json!({"command": argv, "cwd": cwd, "env": arguments["env"]});
        let request = match ExecRequest::from_params(&wanted) {
            Ok(request) => request,
            Err(_) => return ToolOutput::error("`env` must be an object of texts"),
        };
        if let Err(e) = request.check() {
            return ToolOutput::error(e.to_string());
        }
        let target = match Target::find(&*self.processes, &request, &home).await {
            Ok(target) => target,
            Err(e) => return ToolOutput::error(e.to_string()),
        };
        let env = request.env.clone().into_iter().collect();
        let note = left_out(&request.env_left_out);
        let mut argv = request.argv.clone();
        if let Err(why) = self.gate.pass(request, &target).await {
            return ToolOutput::error(why);
        }
        argv[0] = target.named.display().to_string();
        let (program, cwd) = (Some(target.program), Some(target.cwd));
        let confinement = self.confinement.clone();
        let command = Command { argv, program, cwd, env, timeout, max_output: MAX_OUTPUT, confinement };
        match self.processes.run(command).await {
            Ok(output) => noted(describe(&output), note),
            Err(e) => noted(ToolOutput::error(e.to_string()), note),
        }
    }
}

/// For the model: what it can count on in a sandbox, so that it does not look for ways around.
fn reach(confinement: &Confinement) -> String {
    let place = match confinement.access {
        WorkspaceAccess::None => "it starts in a directory of its own and cannot see the workspace",
        WorkspaceAccess::Read => "it can read the workspace and write to $HOME and $TMPDIR only",
        WorkspaceAccess::Write => "it can write to the workspace, $HOME and $TMPDIR only",
    };
    let network = if confinement.network { "the network is open" } else { "there is no network" };
    format!("The program runs in a sandbox: {place}; {network}.")
}

/// The output and what was left out of the environment (S27).
fn noted(mut output: ToolOutput, note: Option<String>) -> ToolOutput {
    if let Some(note) = note {
        output.text = if output.text.is_empty() { note } else { format!("{}\n{note}", output.text) };
    }
    output
}

fn describe(output: &Output) -> ToolOutput {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    let mut parts = vec![text(&output.stdout)];
    match output.code {
        Some(0) => {}
        Some(code) => parts.push(format!("exit code {code}")),
        None => parts.push("ended by a signal".to_owned()),
    }
    parts.push(text(&output.stderr));
    if output.truncated {
        parts.push(format!("[output longer than {MAX_OUTPUT} bytes: the rest is left out]"));
    }
    parts.retain(|part| !part.is_empty());
    ToolOutput { text: parts.join("\n"), is_error: output.code != Some(0) }
}

impl Tool for Exec {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "exec".into(),
            description: self.description(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "command": {"type": "string", "description": "Program and arguments; quote as in a shell."},
                    "env": {
                        "type": "object",
                        "additionalProperties": {"type": "string"},
                        "description": "Variables for language, time zone and looks (LANG, TZ, COLUMNS, ...); others are left out.",
                    },
                    "timeoutSeconds": {"type": "number", "description": "60 when absent, at most 600."},
                },
                "required": ["command"],
            }),
        }
    }

    fn call(&self, arguments: Value) -> BoxFuture<'_, ToolOutput> {
        Box::pin(async move { self.run(&arguments).await })
    }
}

#[cfg(test)]
mod tests {
    use openclaw_platform::os::OsProcesses;

    use super::*;

    /// Lets everything pass whose path does not end with what it was given.
    struct AllBut(&'static str);

    impl ExecGate for AllBut {
        fn pass<'a>(&'a self, _: ExecRequest, target: &'a Target) -> BoxFuture<'a, Result<(), String>> {
            let no = target.path().ends_with(self.0);
            Box::pin(std::future::ready(if no { Err("not allowed".into()) } else { Ok(()) }))
        }
    }

    fn all() -> Arc<dyn ExecGate> {
        Arc::new(AllBut("/touch"))
    }

    async fn exec(arguments: Value) -> ToolOutput {
        let dir = tempfile::tempdir().unwrap();
        Exec::new(Arc::new(OsProcesses), dir.path().to_owned(), all()).call(arguments).await
    }

    #[tokio::test]
    async fn gives_trimmed_output_and_reports_failure() {
        assert_eq!(exec(json!({"command": "echo hi"})).await, ToolOutput::ok("hi"));
        let failed = exec(json!({"command": "ls /no/such/place"})).await;
        assert!(failed.is_error && failed.text.starts_with("exit code 2\n"), "{failed:?}");
        assert!(failed.text.contains("/no/such/place"), "{failed:?}");
        assert!(exec(json!({"command": "/no/such/program"})).await.is_error);
    }

    #[tokio::test]
    async fn runs_in_the_workspace() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().canonicalize().unwrap();
        let tool = Exec::new(Arc::new(OsProcesses), place.clone(), all());
        assert_eq!(tool.call(json!({"command": "pwd"})).await.text, place.to_str().unwrap());
    }

    #[tokio::test]
    async fn s19_what_the_gate_refuses_does_not_run() {
        let dir = tempfile::tempdir().unwrap();
        let tool = Exec::new(Arc::new(OsProcesses), dir.path().to_owned(), all());
        assert_eq!(tool.call(json!({"command": "touch made"})).await, ToolOutput::error("not allowed"));
        assert!(!dir.path().join("made").exists());
    }

    #[tokio::test]
    async fn s22_no_shell_reads_the_command() {
        let output = exec(json!({"command": r#"echo '$HOME' "a b" | cat; $(id) > x"#})).await;
        assert_eq!(output, ToolOutput::ok("$HOME a b | cat; $(id) > x"));
    }

    /// Only harmless variables reach a program, nothing of the process that starts it besides the minimal ones, and the
    /// output says what was left out.
    #[tokio::test]
    async fn s27_a_program_gets_harmless_variables_only() {
        let output =
            exec(json!({"command": "env", "env": {"LANG": "C", "PYTHONUSERBASE": "/x", "LESSOPEN": "|id"}})).await;
        assert!(output.text.contains("LANG=C\n") && !output.text.contains("USERBASE="), "{output:?}");
        assert!(
            output.text.contains("[left out of the environment: LESSOPEN, PYTHONUSERBASE; only LANG,"),
            "{output:?}"
        );
        let known = ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "EXEC_INVOCATION_ID"];
        for line in output.text.lines().filter(|line| !line.starts_with('[')) {
            assert!(known.contains(&line.split('=').next().unwrap()), "{line}");
        }
        assert!(exec(json!({"command": "env", "env": ["x"]})).await.is_error);
    }

    #[tokio::test]
    async fn output_and_time_are_bounded() {
        let long = exec(json!({"command": "head -c 100000 /dev/zero"})).await;
        assert!(long.text.len() < MAX_OUTPUT + 100 && long.text.contains("left out"));
        let late = exec(json!({"command": "sleep 60", "timeoutSeconds": 0.05})).await;
        assert!(late.is_error && late.text.contains("timed out"), "{late:?}");
    }

    #[tokio::test]
    async fn bad_arguments_are_explained() {
        for bad in [
            json!({}),
            json!({"command": 1}),
            json!({"command": "a 'b"}),
            json!({"command": ""}),
            json!({"command": "true", "timeoutSeconds": 0}),
            json!({"command": "true", "timeoutSeconds": -1}),
            json!({"command": "true", "timeoutSeconds": "x"}),
        ] {
            assert!(exec(bad.clone()).await.is_error, "{bad}");
        }
    }
}
