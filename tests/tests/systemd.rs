//! The gateway under a real systemd user manager: crash and restart, a hang, a stop, two profiles. Skipped, and said, where the
//! machine has none (`tests/user-manager`).

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tests::{RawClient, TOKEN, UserManager, free_port_block};

const NAME: &str = "systemd user services";
const UNIT: &str = "openclaw-gateway.service";
const SOON: Duration = Duration::from_mins(1);
/// `RestartSec` of the unit, and how much more a busy machine may need until the next start has begun.
const BACK_OFF: std::ops::Range<f64> = 4.5..20.0;

/// A manager with a configuration in the home of a profile; and the port that was written into it.
struct Rig {
    manager: UserManager,
    port: u16,
}

impl Rig {
    fn new() -> Option<Self> {
        let rig = Self { manager: UserManager::start(NAME)?, port: free_port_block() };
        rig.configure(None, rig.port);
        Some(rig)
    }

    fn configure(&self, profile: Option<&str>, port: u16) {
        let config = json!({ "gateway": { "mode": "local", "port": port, "auth": { "token": TOKEN } } });
        let state = self.manager.state(profile);
        fs::create_dir_all(&state).unwrap();
        fs::write(state.join("openclaw.json"), config.to_string()).unwrap();
    }

    fn unit_file(&self, unit: &str) -> PathBuf {
        self.manager.home().join(".config/systemd/user").join(unit)
    }

    /// Installed and answering.
    async fn installed() -> Option<Self> {
        let mut rig = Self::new()?;
        rig.manager.sh(&install(rig.port)).ok();
        rig.answers().await;
        Some(rig)
    }

    async fn answers(&mut self) -> u64 {
        answers(self.port, &self.manager).await
    }

    fn pid(&mut self) -> u32 {
        self.manager.until(UNIT, "MainPID", |pid| pid != "0").parse().unwrap()
    }

    fn status(&mut self, args: &[&str]) -> (i32, Value) {
        let args = args.join(" ");
        let ran = self.manager.sh(&format!("\"$OPENCLAW\" gateway status --json --timeout 2000 {args}"));
        (ran.code, serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:?}")))
    }

    fn set(&mut self, name: &str, settings: &str) {
        let dir = self.unit_file(&format!("{UNIT}.d"));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("{name}.conf")), settings).unwrap();
        self.manager.sh("systemctl --user daemon-reload").ok();
    }
}

fn install(_port: u16) -> String {
    "\"$OPENCLAW\" gateway install".to_owned()
}

/// Waits until the gateway on `port` says hello, and gives its uptime in milliseconds.
async fn answers(port: u16, manager: &UserManager) -> u64 {
    let started = Instant::now();
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        assert!(started.elapsed() < SOON, "nothing listens on {port}; the manager says: {}", manager.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (_, hello) = RawClient::hello(port, TOKEN, &[]).await;
    hello["snapshot"]["uptimeMs"].as_u64().unwrap()
}

fn seconds(usec: &str) -> f64 {
    usec.parse::<f64>().unwrap() / 1e6
}

/// A gateway that is killed is started again after about five seconds, and one that hangs is killed by the watchdog.
#[tokio::test(flavor = "multi_thread")]
async fn row_007_195_196_a_crash_is_followed_by_a_start_and_a_hang_by_a_kill() {
    let Some(mut rig) = Rig::installed().await else { return };
    let first = rig.pid();
    assert_eq!(rig.manager.show(UNIT, "NRestarts"), "0");
    let before = seconds(&rig.manager.show(UNIT, "ExecMainStartTimestampMonotonic"));
    rig.manager.sh(&format!("kill -KILL {first}")).ok();
    let killed = seconds(rig.manager.sh("read -r up _ </proc/uptime; echo ${up/./}0000").ok().out.trim());
    rig.manager.until(UNIT, "NRestarts", |n| n == "1");
    rig.answers().await;
    let after = seconds(&rig.manager.show(UNIT, "ExecMainStartTimestampMonotonic"));
    assert!(BACK_OFF.contains(&(after - killed)), "{before} {killed} {after}");
    let second = rig.pid();
    assert_ne!(first, second);

    // A process that hangs answers nobody, the supervisor included.
    rig.set("watchdog", "[Service]\nWatchdogSec=6\n");
    rig.manager.sh(&format!("systemctl --user restart {UNIT}")).ok();
    rig.answers().await;
    let third = rig.pid();
    // A while of half deadlines passes and nobody is killed.
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!((rig.pid(), rig.manager.show(UNIT, "NRestarts").as_str()), (third, "0"), "it lives");
    rig.manager.sh(&format!("kill -STOP {third}")).ok();
    rig.manager.until(UNIT, "Result", |result| result == "watchdog");
    rig.manager.until(UNIT, "NRestarts", |n| n == "1");
    rig.answers().await;
    assert_ne!(rig.pid(), third);
}

/// What ends with an error is tried again for ever, so that correcting the configuration is enough; and each end is an error.
#[tokio::test(flavor = "multi_thread")]
async fn row_007_160_a_broken_configuration_keeps_exiting_until_it_is_mended() {
    let Some(mut rig) = Rig::installed().await else { return };
    rig.set("quick", "[Service]\nRestartSec=500ms\n");
    let file = rig.manager.state(None).join("openclaw.json");
    fs::write(&file, "{ gateway: { mode: 'local', bind: 'mars' } }").unwrap();
    rig.manager.sh(&format!("systemctl --user restart --no-block {UNIT}")).ok();
    rig.manager.until(UNIT, "NRestarts", |n| n.parse::<u32>().unwrap() >= 2);
    assert_eq!(rig.manager.until(UNIT, "ExecMainStatus", |code| code != "0"), "78");
    rig.configure(None, rig.port);
    rig.answers().await;
    rig.manager.until(UNIT, "ActiveState", |state| state == "active");
}

/// Status tells what the supervisor says from whether the gateway answers, and why it does not.
#[tokio::test(flavor = "multi_thread")]
async fn row_169_180_182_status_tells_a_hang_a_crash_loop_and_a_stop_apart() {
    let Some(mut rig) = Rig::installed().await else { return };
    let (code, report) = rig.status(&[]);
    assert_eq!((code, &report["rpc"]["ok"]), (0, &json!(true)), "{report:#}");
    assert_eq!(
        (&report["service"]["loaded"], &report["service"]["runtime"]["status"]),
        (&json!(true), &json!("running"))
    );
    assert_eq!(
        (&report["service"]["configAudit"]["ok"], &report["lastError"]),
        (&json!(true), &json!(null)),
        "{report:#}"
    );
    let pid = rig.pid();
    assert_eq!(report["service"]["runtime"]["pid"], pid);

    // On a busy machine the commands below take longer than the watchdog's patience.
    rig.set("patient", "[Service]\nWatchdogSec=600\n");
    rig.manager.sh(&format!("systemctl --user restart {UNIT}")).ok();
    rig.answers().await;
    let pid = rig.pid();
    rig.manager.sh(&format!("kill -STOP {pid}")).ok();
    let (code, report) = rig.status(&[]);
    assert_eq!((code, &report["rpc"]["ok"]), (1, &json!(false)), "{report:#}");
    assert_eq!(report["service"]["runtime"]["status"], "running", "{report:#}");
    assert_eq!(rig.status(&["--no-probe"]).0, 0, "the service is fine (D4)");
    rig.manager.sh(&format!("kill -CONT {pid}")).ok();

    rig.manager.sh("\"$OPENCLAW\" gateway stop").ok();
    let (code, report) = rig.status(&[]);
    assert_eq!((code, &report["service"]["runtime"]["status"]), (1, &json!("stopped")), "{report:#}");
    assert_eq!(report["lastError"], json!(null), "a stop is no error: {report:#}");
    let text = rig.manager.sh("\"$OPENCLAW\" gateway status --timeout 2000").out;
    assert!(text.lines().any(|line| line.starts_with("Runtime:          stopped (")), "{text}");
    assert!(text.contains("gateway start` starts the service"), "{text}");

    // Its port is somebody else's: it ends and is started again and again.
    let stranger = std::net::TcpListener::bind(("127.0.0.1", rig.port)).unwrap();
    rig.manager.sh(&format!("systemctl --user start --no-block {UNIT}")).ok();
    rig.manager.until(UNIT, "ExecMainStatus", |code| code == "75");
    let (_, report) = rig.status(&["--no-probe"]);
    assert_eq!(report["service"]["runtime"]["status"], "restarting", "{report:#}");
    drop(stranger);

    // Its configuration is broken: nothing listens, and what it said last is told.
    let file = rig.manager.state(None).join("openclaw.json");
    fs::write(&file, "{ gateway: { mode: 'local', bind: 'mars' } }").unwrap();
    rig.manager.sh(&format!("systemctl --user restart --no-block {UNIT}")).ok();
    rig.manager.until(UNIT, "ExecMainStatus", |code| code == "78");
    rig.manager.until(UNIT, "SubState", |state| state == "auto-restart");
    let (code, report) = rig.status(&[]);
    assert_eq!((code, &report["service"]["runtime"]["status"]), (1, &json!("restarting")), "{report:#}");
    assert_eq!(report["service"]["runtime"]["lastExitStatus"], 78);
    let error = report["lastError"].as_str().unwrap_or_else(|| panic!("no last error: {report:#}"));
    assert!(error.contains("gateway.bind") && error.contains("mars"), "{error}");
    let text = rig.manager.sh("\"$OPENCLAW\" gateway status --timeout 2000").out;
    assert!(text.lines().any(|line| line.starts_with("Last gateway error: ") && line.contains("mars")), "{text}");
}

/// What a person changed in the unit is found and put right; what he added stays. An earlier program's unit goes.
#[tokio::test(flavor = "multi_thread")]
async fn row_187_200_doctor_puts_the_unit_right_and_removes_the_one_of_an_earlier_program() {
    let Some(mut rig) = Rig::installed().await else { return };
    let doctor = |rig: &mut Rig, args: &str| {
        let ran = rig.manager.sh(&format!("\"$OPENCLAW\" doctor --json {args}"));
        let report: Value = serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
        let checks = report["checks"].as_array().unwrap().clone();
        move |id: &str| checks.iter().find(|check| check["id"] == id).cloned().unwrap_or_default()
    };
    assert_eq!(doctor(&mut rig, "")("service")["verdict"], "ok");
    let (file, pid) = (rig.unit_file(UNIT), rig.pid());
    let written = fs::read_to_string(&file).unwrap();
    let changed = written.replace("RestartSec=5", "RestartSec=1\n# mine\nMemoryMax=3G");
    fs::write(&file, changed).unwrap();
    let legacy = rig.unit_file("clawdbot-gateway.service");
    fs::write(&legacy, "[Service]\nExecStart=/bin/sleep 1000\n[Install]\nWantedBy=default.target\n").unwrap();
    rig.manager.sh("systemctl --user daemon-reload; systemctl --user enable --now clawdbot-gateway").ok();

    let found = doctor(&mut rig, "");
    let text = found("service")["text"].as_str().unwrap_or_default().to_owned();
    assert!(
        found("service")["verdict"] == "warn" && text.contains("expected RestartSec=5, found RestartSec=1"),
        "{text}"
    );
    assert!(found("service.legacy")["text"].as_str().unwrap_or_default().contains("clawdbot-gateway"));
    assert!(legacy.exists() && fs::read_to_string(&file).unwrap().contains("RestartSec=1"), "looking changes nothing");
    assert_eq!(rig.manager.sh("\"$OPENCLAW\" doctor").code, 1);

    let mended = doctor(&mut rig, "--repair");
    let check = mended("service");
    let text = check["text"].as_str().unwrap_or_default();
    assert!(check["verdict"] == "fixed" && text.contains("MemoryMax") && text.contains("RestartSec=5"), "{check}");
    assert_eq!(mended("service.legacy")["verdict"], "fixed");
    let now = fs::read_to_string(&file).unwrap();
    assert_eq!(now.replace("# mine\nMemoryMax=3G\n", ""), written);
    assert_eq!(
        (rig.manager.show(UNIT, "RestartUSec").as_str(), rig.pid()),
        ("5s", pid),
        "in force, and nobody was disturbed"
    );
    assert!(!legacy.exists() && rig.manager.state(None).join("legacy-services/clawdbot-gateway.service").exists());
    assert_eq!(rig.manager.show("clawdbot-gateway.service", "ActiveState"), "inactive");

    // What somebody says in a file of his own is told, and left.
    rig.set("mine", "[Service]\nRestartSec=2\n");
    let again = doctor(&mut rig, "--repair");
    assert_eq!((&again("service")["verdict"], &again("service.drop-ins")["verdict"]), (&json!("ok"), &json!("note")));
    assert_eq!((fs::read_to_string(&file).unwrap(), rig.manager.show(UNIT, "RestartUSec")), (now, "2s".to_owned()));
}

/// A stop is a success and not a crash; the log names who asked for it; start and restart do what they say.
#[tokio::test(flavor = "multi_thread")]
async fn row_021_171_172_173_223_stop_start_and_restart() {
    let Some(mut rig) = Rig::installed().await else { return };
    let first = rig.pid();
    rig.manager.sh("\"$OPENCLAW\" gateway restart").ok();
    rig.answers().await;
    assert_ne!(rig.pid(), first);
    rig.manager.sh("\"$OPENCLAW\" gateway stop").ok();
    assert_eq!(rig.manager.show(UNIT, "ActiveState"), "inactive");
    assert_eq!(rig.manager.show(UNIT, "Result"), "success");
    assert_eq!(
        (rig.manager.show(UNIT, "ExecMainStatus"), rig.manager.show(UNIT, "NRestarts")),
        ("0".into(), "0".into())
    );
    let log = fs::read_to_string(rig.manager.state(None).join("logs/gateway.log")).unwrap();
    let stop = log.lines().find(|line| line.contains("stopped by SIGTERM from pid ")).unwrap();
    assert!(stop.contains("(systemd)"), "{stop}");
    assert!(std::net::TcpStream::connect(("127.0.0.1", rig.port)).is_err());
    rig.manager.sh("\"$OPENCLAW\" gateway start").ok();
    assert_eq!(rig.manager.show(UNIT, "ActiveState"), "active");
    rig.answers().await;
}

/// An installation is one file that systemd takes as it is; a second one changes nothing, a forced one puts it right, and an
/// uninstallation leaves nothing.
#[tokio::test(flavor = "multi_thread")]
async fn row_170_186_188_189_198_199_203_install_force_and_uninstall() {
    let Some(mut rig) = Rig::installed().await else { return };
    let file = rig.unit_file(UNIT);
    let written = fs::read_to_string(&file).unwrap();
    let wanted = rig.unit_file("default.target.wants").join(UNIT);
    assert!(wanted.is_symlink(), "enabled");
    assert_eq!(rig.manager.sh(&format!("systemctl --user is-enabled {UNIT}")).ok().out.trim(), "enabled");
    assert_eq!(rig.manager.show(UNIT, "ActiveState"), "active");
    let pid = rig.pid();
    let cwd = rig.manager.sh(&format!("readlink /proc/{pid}/cwd")).ok().out;
    assert_eq!(cwd.trim(), rig.manager.show(UNIT, "WorkingDirectory"));

    let changed = |file: &PathBuf| fs::metadata(file).unwrap().modified().unwrap();
    let before = changed(&file);
    let again = rig.manager.sh(&install(rig.port));
    assert_eq!(again.code, 0, "{again:?}");
    assert!(format!("{}{}", again.out, again.err).contains("already"), "{again:?}");
    assert_eq!((changed(&file), rig.pid()), (before, pid), "nothing is touched");

    fs::write(&file, written.replace("RestartSec=5", "RestartSec=1")).unwrap();
    rig.manager.sh(&format!("{} --force", install(rig.port))).ok();
    assert_eq!(fs::read_to_string(&file).unwrap(), written);
    assert_eq!(rig.manager.show(UNIT, "RestartUSec"), "5s");
    rig.answers().await;

    // The file alone is enough for systemd.
    rig.manager.sh(&format!("systemctl --user disable --now {UNIT}")).ok();
    assert!(!wanted.exists());
    rig.manager.sh(&format!("systemctl --user enable --now {UNIT}")).ok();
    rig.answers().await;

    rig.manager.sh("\"$OPENCLAW\" gateway uninstall").ok();
    assert!(!file.exists() && !wanted.is_symlink());
    assert_eq!(rig.manager.show(UNIT, "LoadState"), "not-found");
    assert!(std::net::TcpStream::connect(("127.0.0.1", rig.port)).is_err());
}

/// Two profiles have two services that know nothing of each other.
#[tokio::test(flavor = "multi_thread")]
async fn row_071_two_profiles_side_by_side() {
    let Some(mut rig) = Rig::installed().await else { return };
    let other = free_port_block();
    rig.configure(Some("rescue"), other);
    rig.manager.sh(&format!("\"$OPENCLAW\" --profile rescue gateway install --port {other}")).ok();
    answers(other, &rig.manager).await;
    let listed = rig.manager.sh("systemctl --user list-unit-files 'openclaw-gateway*' --no-legend").ok().out;
    assert!(listed.contains(UNIT) && listed.contains("openclaw-gateway-rescue.service"), "{listed}");
    let first = rig.pid();
    rig.manager.sh("\"$OPENCLAW\" --profile rescue gateway uninstall").ok();
    assert!(std::net::TcpStream::connect(("127.0.0.1", other)).is_err());
    assert_eq!(rig.pid(), first, "the other one is left alone");
    rig.answers().await;
}
