//! The gateway as a service, by the built program: what it writes, and what it asks systemctl, launchctl, schtasks and
//! loginctl. These are stand-ins on PATH that write down how they are called; the real systemd is asked in other tests.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::{
    fs::{self, File},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{Gateway, Ran, TOKEN, binary, free_port_block};

/// A unit is enabled when a file says so; everything else succeeds, but what `fail` names.
const TOOL: &str = r#"#!/bin/sh
dir=$(dirname "$0")/..
echo "$(basename "$0") $*" >> "$dir/calls"
line="$(basename "$0") $*"
if [ -f "$dir/fail" ] && grep -qxF "$line" "$dir/fail"; then echo "told to fail" >&2; exit 1; fi
for last; do :; done
case "$line" in
  *" is-enabled "*) [ -f "$dir/enabled-$last" ] && exit 0; echo disabled; exit 1 ;;
  *" enable "*|*" bootstrap "*) touch "$dir/enabled-$(basename "$last")" ;;
  *" disable "*) rm -f "$dir/enabled-$last" ;;
  *" bootout "*) rm -f "$dir/enabled-$(basename "$last").plist" ;;
  "launchctl print "*) [ -f "$dir/enabled-$(basename "$last").plist" ] || exit 113; echo "state = running" ;;
  "schtasks /Query "*) [ "$3" = "OpenClaw Gateway" ] || exit 1 ;;
  *" show-user "*) cat "$dir/linger" 2>/dev/null || echo Linger=yes ;;
  *" show "*) [ -f "$dir/stopped" ] && echo ActiveState=inactive && exit 0; printf 'ActiveState=active\nSubState=running\nMainPID=4711\n' ;;
esac
exit 0
"#;

/// A home of its own, with stand-ins for the tools of supervisors.
struct Machine {
    dir: TempDir,
    vars: Vec<(String, String)>,
}

impl Machine {
    /// `X.Y.Z` of the first line, `openclaw X.Y.Z (COMMIT)`.
    fn version(&self) -> String {
        self.run("--version").out.split_whitespace().nth(1).unwrap().to_owned()
    }

    fn new() -> Self {
        Self::with_tools(&["systemctl", "launchctl", "schtasks", "loginctl", "sudo"])
    }

    fn with_tools(tools: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        fs::create_dir_all(dir.path().join("bin")).unwrap();
        fs::create_dir_all(dir.path().join("home/.openclaw")).unwrap();
        for tool in tools {
            let file = dir.path().join("bin").join(tool);
            fs::write(&file, TOOL).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let machine = Self { dir, vars: vec![] };
        machine.configure("", &json!({ "gateway": { "mode": "local", "port": 21400, "auth": { "token": TOKEN } } }));
        machine
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    fn configure(&self, profile: &str, config: &Value) {
        let state = self.home().join(format!(".openclaw{profile}"));
        fs::create_dir_all(&state).unwrap();
        fs::write(state.join("openclaw.json"), config.to_string()).unwrap();
    }

    fn var(mut self, name: &str, value: &str) -> Self {
        self.vars.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The stand-ins come first; the shell that runs them needs the rest of PATH, which has no tools of supervisors.
    fn run(&self, line: &str) -> Ran {
        let shell = self.dir.path().join("shell");
        if !shell.is_dir() {
            fs::create_dir(&shell).unwrap();
            for tool in ["sh", "dirname", "basename", "grep", "touch", "rm", "cat"] {
                let found = ["/usr/bin", "/bin"].iter().map(|dir| Path::new(dir).join(tool)).find(|file| file.exists());
                std::os::unix::fs::symlink(found.unwrap(), shell.join(tool)).unwrap();
            }
        }
        let path = format!("{}:{}", self.dir.path().join("bin").display(), shell.display());
        let started = Instant::now();
        let run = Command::new(binary("openclaw"))
            .args(line.split_whitespace())
            .env_clear()
            .env("HOME", self.home())
            .env("PATH", path)
            .env("USER", "claw")
            .env("OPENCLAW_SERVICE_ROOT", self.dir.path().join("root"))
            .envs(self.vars.iter().map(|(name, value)| (name, value)))
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Ran::of(&run, started.elapsed())
    }

    /// What the tools were asked since the last look, without whether they are there.
    fn calls(&self) -> Vec<String> {
        let file = self.dir.path().join("calls");
        let text = fs::read_to_string(&file).unwrap_or_default();
        let _ = fs::remove_file(file);
        let looks = [" status ", " is-enabled ", " show ", " show-user ", " print "];
        text.lines().filter(|line| !looks.iter().any(|look| line.contains(look))).map(str::to_owned).collect()
    }

    fn fails(&self, line: &str) {
        fs::write(self.dir.path().join("fail"), line).unwrap();
    }

    fn unit(&self, name: &str) -> PathBuf {
        self.home().join(format!(".config/systemd/user/{name}.service"))
    }

    fn agent(&self, label: &str) -> PathBuf {
        self.home().join(format!("Library/LaunchAgents/{label}.plist"))
    }
}

fn lines_of(file: &Path) -> Vec<String> {
    fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display())).lines().map(str::to_owned).collect()
}

#[track_caller]
fn has(lines: &[String], wanted: &str) {
    assert!(lines.iter().any(|line| line == wanted), "{wanted} in {lines:#?}");
}

#[test]
fn row_065_067_068_069_170_190_194_197_198_an_installation_writes_the_unit_and_starts_it() {
    let machine = Machine::new();
    let ran = machine.run("gateway install").ok();
    assert!(ran.out.contains("openclaw-gateway is installed and started") && ran.out.contains("21400"), "{}", ran.out);
    let unit = machine.unit("openclaw-gateway");
    let lines = lines_of(&unit);
    let version = machine.version();
    let home = machine.home().display().to_string();
    for line in [
        &format!("Description=OpenClaw Gateway (v{version})"),
        &format!("ExecStart={} gateway --port 21400", binary("openclaw").display()),
        &format!("Environment=HOME={home}"),
        &format!("Environment=OPENCLAW_STATE_DIR={home}/.openclaw"),
        &format!("Environment=OPENCLAW_CONFIG_PATH={home}/.openclaw/openclaw.json"),
        "Environment=OPENCLAW_GATEWAY_PORT=21400",
        &format!("Environment=OPENCLAW_GATEWAY_TOKEN={TOKEN}"),
        "Environment=OPENCLAW_SERVICE_MARKER=openclaw",
        "Environment=OPENCLAW_SERVICE_KIND=gateway",
        &format!("Environment=OPENCLAW_SERVICE_VERSION={version}"),
        &format!("WorkingDirectory={home}"),
    ] {
        has(&lines, line);
    }
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("Environment=PATH=") && line.ends_with("/usr/local/bin:/usr/bin:/bin"))
    );
    assert!(!lines.iter().any(|line| line.contains("OPENCLAW_PROFILE")), "the default profile has no name");
    assert_eq!(unit.metadata().unwrap().permissions().mode() & 0o777, 0o600, "the token is in it");
    let asked = ["daemon-reload", "enable openclaw-gateway.service", "restart openclaw-gateway.service"];
    assert_eq!(machine.calls(), asked.map(|line| format!("systemctl --user {line}")));
    assert!(!format!("{}{}", ran.out, ran.err).contains(TOKEN), "it is written, and not shown");
}

#[test]
fn row_191_192_193_195_196_199_the_unit_is_the_manuals_and_systemd_has_nothing_to_say() {
    let machine = Machine::new();
    machine.configure("-rescue", &json!({ "gateway": { "mode": "local", "auth": { "token": TOKEN } } }));
    machine.run("--profile rescue gateway install --port 21410").ok();
    let unit = machine.unit("openclaw-gateway-rescue");
    let lines = lines_of(&unit);
    let version = machine.version();
    for line in [
        &format!("Description=OpenClaw Gateway (profile: rescue, v{version})"),
        "After=network-online.target",
        "Wants=network-online.target",
        "Restart=always",
        "RestartSec=5",
        "WantedBy=default.target",
        "Environment=OPENCLAW_PROFILE=rescue",
    ] {
        has(&lines, line);
    }
    // Where systemd is installed it reads the unit itself; it needs no running one for that.
    let runtime = machine.dir.path().join("run");
    fs::create_dir(&runtime).unwrap();
    fs::set_permissions(&runtime, fs::Permissions::from_mode(0o700)).unwrap();
    let verify = Command::new("systemd-analyze")
        .args(["--user", "verify"])
        .arg(&unit)
        .env("HOME", machine.home())
        .env("XDG_RUNTIME_DIR", &runtime)
        .output();
    match verify {
        Err(e) => eprintln!("skipped in part: no systemd-analyze here ({e})"),
        Ok(verify) => {
            let said = String::from_utf8_lossy(&verify.stderr).into_owned();
            assert!(verify.status.success() && said.trim().is_empty(), "{said}");
        }
    }
}

#[test]
fn row_064_070_071_each_profile_has_a_service_a_state_and_a_port_of_its_own() {
    let machine = Machine::new();
    machine.run("--profile main setup").ok();
    machine.run("--profile rescue setup").ok();
    let workspace =
        |profile: &str| machine.run(&format!("--profile {profile} config get agents.defaults.workspace")).ok().out;
    assert_ne!(workspace("main"), workspace("rescue"));
    machine.run("--profile main gateway install --port 21420").ok();
    machine.run("--profile rescue gateway install --port 21440").ok();
    for (profile, port) in [("main", 21420), ("rescue", 21440)] {
        let lines = lines_of(&machine.unit(&format!("openclaw-gateway-{profile}")));
        let state = machine.home().join(format!(".openclaw-{profile}"));
        assert!(state.join("openclaw.json").is_file());
        has(&lines, &format!("Environment=OPENCLAW_STATE_DIR={}", state.display()));
        has(&lines, &format!("Environment=OPENCLAW_GATEWAY_PORT={port}"));
        has(&machine.calls_kept(), &format!("systemctl --user enable openclaw-gateway-{profile}.service"));
    }
}

impl Machine {
    /// The calls, left where they are.
    fn calls_kept(&self) -> Vec<String> {
        lines_of(&self.dir.path().join("calls"))
    }
}

#[test]
fn row_188_189_a_second_installation_changes_nothing_and_force_writes_it_anew() {
    let machine = Machine::new();
    machine.run("gateway install").ok();
    let unit = machine.unit("openclaw-gateway");
    let stamp = || {
        let meta = unit.metadata().unwrap();
        (meta.ino(), meta.mtime(), meta.mtime_nsec())
    };
    let before = stamp();
    machine.calls();
    let ran = machine.run("gateway install --json").ok().json();
    assert_eq!((&ran["ok"], &ran["result"], &ran["warnings"]), (&json!(true), &json!("already-installed"), &json!([])));
    assert_eq!((stamp(), machine.calls()), (before, vec![]));

    // What changed meanwhile is told, with what to do; nothing else happens.
    let ran = machine.run("gateway install --port 21455").ok();
    assert!(
        ran.err.contains("gateway-arguments") && ran.out.contains("gateway install --force"),
        "{}{}",
        ran.out,
        ran.err
    );
    assert_eq!(stamp(), before);
    let text = fs::read_to_string(&unit).unwrap().replace("RestartSec=5", "RestartSec=1");
    fs::write(&unit, text).unwrap();
    assert!(machine.run("gateway install").ok().err.contains("expected RestartSec=5, found RestartSec=1"));

    let drop_in = unit.with_extension("service.d").join("mine.conf");
    fs::create_dir(drop_in.parent().unwrap()).unwrap();
    fs::write(&drop_in, "[Service]\nKillMode=process\n").unwrap();
    let ran = machine.run("gateway install").ok();
    assert!(
        ran.err.contains("KillMode=process") && ran.out.contains(drop_in.to_str().unwrap()),
        "{}{}",
        ran.out,
        ran.err
    );

    machine.run("gateway install --force --port 21455").ok();
    assert!(drop_in.exists());
    let lines = lines_of(&unit);
    has(&lines, "RestartSec=5");
    has(&lines, "Environment=OPENCLAW_GATEWAY_PORT=21455");
    has(&machine.calls(), "systemctl --user restart openclaw-gateway.service");
}

#[test]
fn row_160_what_could_never_start_is_not_installed_and_says_so_at_every_start() {
    let machine = Machine::new();
    machine.run("gateway install").ok();
    let command = lines_of(&machine.unit("openclaw-gateway"))
        .into_iter()
        .find_map(|line| line.strip_prefix("ExecStart=").map(str::to_owned))
        .unwrap();
    machine.run("gateway uninstall").ok();
    machine.calls();
    machine.configure("", &json!({ "gateway": { "mode": "local", "bind": "mars", "auth": { "token": TOKEN } } }));
    let ran = machine.run("gateway install");
    assert_eq!(ran.code, 78, "{}", ran.err);
    assert!(ran.err.contains("gateway.bind") && !machine.unit("openclaw-gateway").exists(), "{}", ran.err);
    assert_eq!(machine.calls(), Vec::<String>::new());
    let ran = machine.run("gateway install --json");
    assert_eq!((ran.code, &ran.json()["ok"]), (78, &json!(false)), "{}", ran.out);
    assert!(ran.json()["error"].as_str().unwrap().contains("gateway.bind"));
    let arguments = command.split_once(' ').unwrap().1;
    for _ in 0..2 {
        assert_eq!(machine.run(arguments).code, 78);
    }
}

/// A gateway that runs is not ended for a file that it could not start with.
#[test]
fn a_restart_into_a_broken_file_is_refused() {
    let machine = Machine::new();
    machine.run("gateway install").ok();
    machine.configure("", &json!({ "gateway": { "mode": "local", "bind": "mars", "auth": { "token": TOKEN } } }));
    machine.calls();
    for verb in ["restart", "start"] {
        let ran = machine.run(&format!("gateway {verb} --json"));
        let report = ran.json();
        assert_eq!((ran.code, &report["action"], &report["ok"]), (78, &json!(verb), &json!(false)));
        let why = report["error"].as_str().unwrap();
        assert!(why.contains("nothing was done") && why.contains("gateway.bind"), "{why}");
        let asked = machine.calls();
        assert!(asked.iter().all(|call| !call.contains(verb)), "{asked:?}");
    }
    machine.run("gateway stop").ok();
}

#[test]
fn row_171_172_173_186_the_service_is_stopped_started_and_removed() {
    let machine = Machine::new();
    machine.run("gateway install").ok();
    machine.calls();
    let unit = "openclaw-gateway.service";
    for (verb, result) in [("stop", "stopped"), ("start", "started"), ("restart", "restarted")] {
        let ran = machine.run(&format!("gateway {verb} --json")).ok().json();
        assert_eq!((&ran["action"], &ran["ok"], &ran["result"]), (&json!(verb), &json!(true), &json!(result)));
        assert_eq!(ran["service"]["label"], "openclaw-gateway");
        assert_eq!((&ran["service"]["loaded"], &ran["service"]["loadedText"]), (&json!(true), &json!("enabled")));
        assert_eq!(machine.calls(), [format!("systemctl --user {verb} {unit}")]);
    }
    assert!(machine.run("gateway stop").ok().out.contains("was stopped"));
    machine.fails(&format!("systemctl --user start {unit}"));
    let ran = machine.run("gateway start");
    assert!(ran.code == 1 && ran.err.contains("told to fail") && ran.err.contains("journalctl --user"), "{}", ran.err);
    machine.calls();
    let ran = machine.run("gateway uninstall --json").ok().json();
    assert_eq!((&ran["result"], &ran["service"]["loaded"]), (&json!("uninstalled"), &json!(false)));
    assert!(!machine.unit("openclaw-gateway").exists());
    assert_eq!(
        machine.calls()[..2],
        [format!("systemctl --user disable --now {unit}"), "systemctl --user daemon-reload".into()]
    );
    assert!(machine.home().join(".openclaw/openclaw.json").is_file(), "what is the person's stays");
}

#[test]
fn row_168_d4_what_is_not_installed_is_an_error_with_a_hint() {
    let machine = Machine::new();
    for platform in ["systemd", "launchd"] {
        for verb in ["start", "stop", "restart", "uninstall"] {
            let ran = machine.run(&format!("--profile rescue gateway {verb} --platform {platform}"));
            assert_eq!(ran.code, 1, "{verb}: {}", ran.err);
            assert!(
                ran.err.contains("is not installed") && ran.err.contains("openclaw --profile rescue gateway install"),
                "{}",
                ran.err
            );
        }
    }
    let ran = machine.run("gateway restart --json");
    assert_eq!((ran.code, &ran.json()["ok"], &ran.json()["result"]), (1, &json!(false), &json!("not-installed")));
    assert!(ran.json()["hints"][0].as_str().unwrap().contains("gateway install"));
    assert_eq!(machine.calls(), Vec::<String>::new());
}

#[test]
fn row_062_063_157_158_159_161_162_163_164_launchd_gets_an_agent_and_the_old_one_goes() {
    let machine = Machine::new();
    let uid = rustix::process::getuid().as_raw();
    let old = machine.agent("com.openclaw.gateway");
    fs::create_dir_all(old.parent().unwrap()).unwrap();
    fs::write(&old, "<plist><dict><key>Label</key><string>com.openclaw.gateway</string></dict></plist>").unwrap();
    let ran = machine.run("gateway install --platform launchd").ok();
    assert!(ran.out.contains("com.openclaw.gateway") && !old.exists(), "{}", ran.out);
    assert!(machine.home().join(".openclaw/legacy-services/com.openclaw.gateway.plist").is_file());
    let agent = machine.agent("bot.molt.gateway");
    let text = fs::read_to_string(&agent).unwrap();
    for part in [
        "<key>Label</key>\n\t<string>bot.molt.gateway</string>",
        "<key>KeepAlive</key>\n\t<true/>",
        "<key>RunAtLoad</key>\n\t<true/>",
        &format!("<array>\n\t\t<string>{}</string>\n\t\t<string>gateway</string>", binary("openclaw").display()),
        "<key>StandardOutPath</key>",
        &format!(
            "<key>StandardErrorPath</key>\n\t<string>{}/.openclaw/logs/gateway.err.log</string>",
            machine.home().display()
        ),
        "<key>OPENCLAW_SERVICE_MARKER</key>\n\t\t<string>openclaw</string>",
        "<key>OPENCLAW_LAUNCHD_LABEL</key>\n\t\t<string>bot.molt.gateway</string>",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    assert_eq!(agent.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!machine.dir.path().join("root").exists() && !machine.home().join("Library/LaunchDaemons").exists());
    let expected = [
        format!("bootout gui/{uid}/com.openclaw.gateway"),
        format!("bootout gui/{uid}/bot.molt.gateway"),
        format!("enable gui/{uid}/bot.molt.gateway"),
        format!("bootstrap gui/{uid} {}", agent.display()),
    ];
    assert_eq!(machine.calls(), expected.map(|line| format!("launchctl {line}")));

    machine.configure("-rescue", &json!({ "gateway": { "mode": "local", "port": 21430, "auth": { "token": TOKEN } } }));
    machine.run("--profile rescue gateway install --platform launchd").ok();
    assert!(machine.agent("bot.molt.rescue").is_file());
}

#[test]
fn row_166_167_launchd_is_told_bootout_and_kickstart() {
    let machine = Machine::new();
    let target = format!("gui/{}/bot.molt.gateway", rustix::process::getuid().as_raw());
    machine.run("gateway install --platform launchd").ok();
    machine.calls();
    machine.run("gateway restart --platform launchd").ok();
    assert_eq!(machine.calls(), [format!("launchctl kickstart -k {target}")]);
    machine.run("gateway stop --platform launchd").ok();
    assert_eq!(machine.calls(), [format!("launchctl bootout {target}")]);
    machine.run("gateway uninstall --platform launchd").ok();
    assert!(!machine.agent("bot.molt.gateway").exists());
}

#[test]
fn row_066_windows_gets_a_task() {
    let machine = Machine::new();
    let ran = machine.run("gateway install --platform windows --json").ok().json();
    assert_eq!(ran["service"]["label"], "OpenClaw Gateway");
    let script = machine.home().join(".openclaw/gateway.cmd");
    let text = fs::read_to_string(&script).unwrap();
    assert!(text.contains(&format!("\r\nset \"OPENCLAW_GATEWAY_TOKEN={TOKEN}\"\r\n")), "{text}");
    let create =
        format!("schtasks /Create /F /SC ONLOGON /RL LIMITED /TN OpenClaw Gateway /TR \"{}\"", script.display());
    let calls = machine.calls();
    has(&calls, &create);
    has(&calls, "schtasks /Run /TN OpenClaw Gateway");
    machine.configure("-rescue", &json!({ "gateway": { "mode": "local", "port": 21450, "auth": { "token": TOKEN } } }));
    machine.run("--profile rescue gateway install --platform windows").ok();
    assert!(machine.calls().iter().any(|line| line.contains("/TN OpenClaw Gateway (rescue) /TR")));
}

#[test]
fn row_201_202_linger_is_told_and_switched_on_when_wanted() {
    let machine = Machine::new();
    fs::write(machine.dir.path().join("linger"), "Linger=no\n").unwrap();
    let ran = machine.run("gateway install").ok();
    assert!(
        ran.err.contains("Linger=no") && ran.out.contains("sudo loginctl enable-linger claw"),
        "{}{}",
        ran.out,
        ran.err
    );
    assert!(machine.calls().iter().all(|line| !line.contains("enable-linger")), "nothing is switched on unasked");
    let ran = machine.run("gateway install --linger").ok();
    assert!(ran.out.contains("Lingering is on for claw"), "{}{}", ran.out, ran.err);
    assert_eq!(machine.calls(), ["loginctl enable-linger claw"]);
    machine.fails("loginctl enable-linger claw\nsudo -n loginctl enable-linger claw");
    let ran = machine.run("gateway install --linger").ok();
    assert!(ran.err.contains("told to fail") && ran.out.contains("by hand: sudo loginctl"), "{}{}", ran.out, ran.err);
}

#[test]
fn row_204_a_service_of_the_machine_names_its_account_and_no_secret() {
    let machine = Machine::new();
    let root = machine.dir.path().join("root");
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::write(root.join("etc/passwd"), format!("claw:x:1001:1001::{}:/bin/sh\n", machine.home().display())).unwrap();
    let ran = machine.run("gateway install --system --user claw --dry-run").ok();
    let lines: Vec<String> = ran.out.lines().map(str::to_owned).collect();
    for line in ["User=claw", "WantedBy=multi-user.target", &format!("WorkingDirectory={}", machine.home().display())] {
        has(&lines, line);
    }
    assert!(!ran.out.contains("OPENCLAW_GATEWAY_TOKEN"), "everybody can see it: {}", ran.out);
    assert_eq!(machine.run("gateway install --system").code, 2, "root is nobody's wish by accident");
    assert_eq!(machine.run("gateway install --system --user nobody-here").code, 2);
    let sudo = Machine::new().var("SUDO_USER", "claw");
    let is_root = rustix::process::getuid().is_root();
    assert_eq!(sudo.run("gateway install --dry-run").code, if is_root { 2 } else { 0 }, "not root's by accident");
    let ran = machine.run("gateway install --system --user claw");
    let unit = root.join("etc/systemd/system/openclaw-gateway.service");
    if rustix::process::getuid().is_root() {
        assert_eq!(ran.ok().code, 0);
        assert_eq!(unit.metadata().unwrap().permissions().mode() & 0o777, 0o644);
        has(&machine.calls(), "systemctl enable openclaw-gateway.service");
        machine.run("gateway stop").ok();
        assert_eq!(machine.calls(), ["systemctl stop openclaw-gateway.service"], "the one that is there is meant");
    } else {
        assert!(ran.code == 1 && ran.err.contains("root") && !unit.exists(), "{}", ran.err);
    }
}

#[test]
fn row_205_without_systemd_it_is_said_what_to_do() {
    let machine = Machine::with_tools(&[]);
    let kernel = machine.dir.path().join("root/proc/sys/kernel");
    for (release, part) in [("6.6.87-microsoft-standard-WSL2", "systemd=true"), ("6.1.0", "openclaw gateway supervise")]
    {
        fs::create_dir_all(&kernel).unwrap();
        fs::write(kernel.join("osrelease"), release).unwrap();
        let ran = machine.run("gateway install");
        assert_eq!(ran.code, 1, "{}", ran.err);
        assert!(ran.err.contains("no systemctl") && ran.err.contains(part), "{}", ran.err);
        let ran = machine.run("gateway install --json");
        assert_eq!((ran.code, &ran.json()["result"]), (1, &json!("unavailable")));
    }
    assert!(!machine.unit("openclaw-gateway").exists());
}

#[test]
fn a_dry_run_shows_the_file_without_secrets_and_changes_nothing() {
    let machine = Machine::new();
    for platform in ["systemd", "launchd", "windows"] {
        let ran = machine.run(&format!("gateway install --dry-run --platform {platform}")).ok();
        assert!(ran.out.contains("OPENCLAW_GATEWAY_TOKEN") && !ran.out.contains(TOKEN), "{}", ran.out);
        let ran = machine.run(&format!("gateway install --dry-run --json --platform {platform}")).ok().json();
        assert_eq!((&ran["result"], &ran["service"]["platform"]), (&json!("dry-run"), &json!(platform)));
    }
    assert_eq!(machine.calls(), Vec::<String>::new());
    assert!(!machine.home().join(".config").exists() && !machine.home().join("Library").exists());
}

#[test]
fn what_the_configuration_reads_from_the_shell_goes_into_the_private_unit() {
    let machine = Machine::new().var("MY_TOKEN", "a-token-that-stands-in-the-shell");
    machine.configure("", &json!({ "gateway": { "mode": "local", "auth": { "token": "${MY_TOKEN}" } } }));
    let ran = machine.run("gateway install").ok();
    assert!(ran.err.contains("MY_TOKEN") && !ran.err.contains("stands-in-the-shell"), "{}", ran.err);
    has(&lines_of(&machine.unit("openclaw-gateway")), "Environment=MY_TOKEN=a-token-that-stands-in-the-shell");
}

#[test]
fn the_name_that_the_environment_says_is_the_file_and_what_systemctl_is_told() {
    let machine = Machine::new().var("OPENCLAW_SYSTEMD_UNIT", "mine.service");
    machine.run("gateway install").ok();
    has(&lines_of(&machine.unit("mine")), "Environment=OPENCLAW_SYSTEMD_UNIT=mine.service");
    has(&machine.calls(), "systemctl --user enable mine.service");
    let machine = Machine::new().var("OPENCLAW_SYSTEMD_UNIT", "../../../evil");
    assert_eq!(machine.run("gateway install").code, 78);
}

/// The service could not take the state directory from it, and would try every five seconds.
#[tokio::test]
async fn a_gateway_that_runs_in_a_terminal_is_named_and_nothing_is_installed() {
    let gateway = Gateway::start(json!({}), &[]).await;
    let mut machine = Machine::new();
    machine.vars.push(("OPENCLAW_STATE_DIR".to_owned(), gateway.state().display().to_string()));
    fs::write(machine.dir.path().join("stopped"), "").unwrap();
    let ran = machine.run("gateway install");
    assert_eq!(ran.code, 75, "{}{}", ran.out, ran.err);
    assert!(
        ran.err.contains(&format!("pid {}", gateway.pid())) && !machine.unit("openclaw-gateway").exists(),
        "{}",
        ran.err
    );
    assert_eq!(machine.calls(), Vec::<String>::new());
}

/// A hand-written unit is somebody's work.
#[test]
fn what_somebody_else_wrote_is_left_and_kept_when_replaced() {
    let machine = Machine::new();
    let unit = machine.unit("openclaw-gateway");
    fs::create_dir_all(unit.parent().unwrap()).unwrap();
    fs::write(&unit, "[Service]\nExecStart=/opt/mine gateway\n").unwrap();
    let ran = machine.run("gateway install").ok();
    assert!(ran.out.contains("installed already") && ran.out.contains("--force"), "{}{}", ran.out, ran.err);
    machine.run("gateway install --force").ok();
    let kept = machine.home().join(".openclaw/legacy-services/openclaw-gateway.service");
    assert!(
        fs::read_to_string(kept).unwrap().contains("/opt/mine")
            && !fs::read_to_string(&unit).unwrap().contains("/opt/mine")
    );
}

/// Ends with the test, and its gateway with it.
struct Supervisor(Child);

impl Drop for Supervisor {
    fn drop(&mut self) {
        if self.0.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
            let _ = self.0.wait();
        }
    }
}

/// Where there is no supervisor: a killed gateway comes again, signals reach it, and a stop is one.
#[tokio::test]
async fn row_205_supervise_starts_what_failed_again_and_ends_when_told() {
    let machine = Machine::with_tools(&[]);
    let port = free_port_block();
    machine.configure("", &json!({ "gateway": { "mode": "local", "port": port, "auth": { "token": TOKEN } } }));
    let log = machine.dir.path().join("output");
    let output = File::options().create(true).append(true).open(&log).unwrap();
    let started = Command::new(binary("openclaw"))
        .args(["gateway", "supervise", "--verbose"])
        .env_clear()
        .env("HOME", machine.home())
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn();
    let mut supervisor = Supervisor(started.unwrap());
    let told = |text: &str| fs::read_to_string(&log).unwrap().matches(text).count();
    let lock = || fs::read_to_string(machine.home().join(".openclaw/gateway.lock")).unwrap_or_default();
    let pid = || lock().split(", ").find_map(|part| part.strip_prefix("pid ")?.parse::<i32>().ok());
    let is_up = |port| async move { tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() };
    let until = async |what: &str, is_so: &dyn Fn() -> bool| {
        let started = Instant::now();
        while !is_so() {
            assert!(started.elapsed() < Duration::from_mins(1), "no {what}:\n{}", fs::read_to_string(&log).unwrap());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    until("start", &|| told("listening on ws://127.0.0.1") == 1).await;
    let first = Pid::from_raw(pid().unwrap()).unwrap();
    assert_ne!(first.as_raw_nonzero().get().cast_unsigned(), supervisor.0.id());
    let own = Pid::from_child(&supervisor.0);
    kill_process(own, Signal::USR1).unwrap();
    until("word of the signal", &|| told("commands.restart") > 0).await;

    kill_process(first, Signal::KILL).unwrap();
    let killed = Instant::now();
    until("second start", &|| told("listening on ws://127.0.0.1") == 2).await;
    assert!(killed.elapsed() >= Duration::from_secs(5) && told("started again in 5 seconds") == 1);
    assert!(is_up(port).await);
    let second = pid().unwrap();
    assert_ne!(Some(second), Some(first.as_raw_nonzero().get()));

    kill_process(own, Signal::TERM).unwrap();
    until("end", &|| !Path::new(&format!("/proc/{second}")).exists()).await;
    assert_eq!(supervisor.0.wait().unwrap().code(), Some(0), "{}", fs::read_to_string(&log).unwrap());
    assert!(!is_up(port).await);

    let ran = machine.run("gateway supervise --token x");
    assert!(ran.code == 2 && ran.err.contains("--token-file"), "{}", ran.err);
    assert_eq!(machine.run("gateway supervise --bind mars").code, 2, "no time makes a wrong command line right");
}
