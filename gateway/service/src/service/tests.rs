use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use openclaw_platform::{BoxFuture, Command, Output, ProcessError, Processes};

use super::*;
use crate::{Other, Status, Unavailable, definition::tests::definition, others};

/// Files in memory, with their modes.
#[derive(Default)]
struct Memory(Mutex<BTreeMap<PathBuf, (String, u32)>>);

impl Memory {
    fn put(&self, path: &str, text: &str) {
        self.0.lock().unwrap().insert(path.into(), (text.to_owned(), 0o644));
    }
    fn text(&self, path: &str) -> Option<String> {
        self.0.lock().unwrap().get(Path::new(path)).map(|(text, _)| text.clone())
    }
}

impl Files for Memory {
    fn read(&self, path: &Path) -> io::Result<String> {
        self.text(path.to_str().unwrap()).ok_or_else(|| ErrorKind::NotFound.into())
    }
    fn write(&self, path: &Path, text: &str, mode: u32) -> io::Result<()> {
        self.0.lock().unwrap().insert(path.to_owned(), (text.to_owned(), mode));
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.lock().unwrap().remove(path).map(drop).ok_or_else(|| ErrorKind::NotFound.into())
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let names = self.0.lock().unwrap();
        let inside = names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect())
    }
    fn mode(&self, path: &Path) -> Option<u32> {
        self.0.lock().unwrap().get(path).map(|(_, mode)| *mode)
    }
}

/// Tools that write down how they are called and answer what was arranged: by the end of the line, else success.
#[derive(Default)]
struct Tools {
    lines: Arc<Mutex<Vec<String>>>,
    answers: Vec<(&'static str, i32, &'static str)>,
    missing: bool,
}

impl Processes for Tools {
    fn run(&self, command: Command) -> BoxFuture<'_, Result<Output, ProcessError>> {
        let line = command.argv.join(" ");
        let answer = self.answers.iter().find(|(end, ..)| line.ends_with(end) || line.contains(&format!("{end} ")));
        let (code, said) = answer.map_or((0, ""), |(_, code, said)| (*code, *said));
        self.lines.lock().unwrap().push(line);
        let (stdout, stderr) = if code == 0 { (said, "") } else { ("", said) };
        let output = Output { code: Some(code), stdout: stdout.into(), stderr: stderr.into(), truncated: false };
        Box::pin(std::future::ready(Ok(output)))
    }
    fn which(&self, program: &str, _: Option<&Path>) -> Option<PathBuf> {
        (!self.missing).then(|| Path::new("/bin").join(program))
    }
}

fn host<'a>(files: &'a Memory, tools: &'a Tools) -> Host<'a> {
    let places = Places { home: "/home/u".into(), state_dir: "/home/u/.openclaw-rescue".into(), root: "/".into() };
    Host { files, processes: tools, places, user: "u".to_owned(), uid: 501, environment: vec![] }
}

/// What was asked of the tools beyond whether they are there.
fn asked(tools: &Tools) -> Vec<String> {
    let lines = std::mem::take(&mut *tools.lines.lock().unwrap());
    lines.into_iter().filter(|line| !line.contains("status --no-pager")).collect()
}

const UNIT: &str = "/home/u/.config/systemd/user/openclaw-gateway-rescue.service";
const PLIST: &str = "/home/u/Library/LaunchAgents/bot.molt.rescue.plist";

#[tokio::test]
async fn row_064_186_190_a_unit_is_installed_and_removed() {
    let (files, tools) = (Memory::default(), Tools::default());
    let host = host(&files, &tools);
    let service = Service::new(&host, Kind::SystemdUser, Some("rescue"), None).unwrap();
    assert_eq!(service.installation().unwrap(), None);
    assert_eq!(service.install(&definition()).await.unwrap(), Vec::<String>::new());
    let unit = "openclaw-gateway-rescue.service";
    let expected = ["daemon-reload".to_owned(), format!("enable {unit}"), format!("restart {unit}")];
    assert_eq!(asked(&tools), expected.map(|line| format!("systemctl --user {line}")));
    let there = service.installation().unwrap().unwrap();
    assert_eq!((there.path.as_path(), there.mode, there.is_open(Kind::SystemdUser)), (Path::new(UNIT), 0o600, false));
    assert!(there.parsed.is_ours());

    service.uninstall().await.unwrap();
    assert_eq!(asked(&tools)[0], format!("systemctl --user disable --now {unit}"));
    assert_eq!(files.text(UNIT), None);
    for again in [service.uninstall().await, service.start().await, service.stop().await, service.restart().await] {
        let error = again.unwrap_err();
        assert!(matches!(error, Error::NotInstalled { .. }), "{error}");
        assert!(error.hints(Kind::SystemdUser, "x", "openclaw --profile rescue")[0].contains("gateway install"));
    }
    assert!(asked(&tools).is_empty(), "nothing is asked about what is not there");
}

#[tokio::test]
async fn the_override_names_the_file_and_what_systemctl_is_told() {
    let (files, tools) = (Memory::default(), Tools::default());
    let host = host(&files, &tools);
    let service = Service::new(&host, Kind::SystemdUser, Some("rescue"), Some("mine.service")).unwrap();
    service.install(&definition()).await.unwrap();
    assert!(files.text("/home/u/.config/systemd/user/mine.service").is_some());
    assert!(asked(&tools).contains(&"systemctl --user enable mine.service".to_owned()));
    assert!(Service::new(&host, Kind::SystemdUser, None, Some("../../evil")).is_err());
}

#[tokio::test]
async fn row_064_other_programs_units_of_the_profile_make_room_and_are_kept() {
    let (files, tools) = (Memory::default(), Tools::default());
    let old = "/home/u/.config/systemd/user/clawdbot-gateway-rescue.service";
    files.put(old, "[Service]\nExecStart=/usr/bin/clawdbot gateway\n");
    files.put("/home/u/.config/systemd/user/clawdbot-gateway.service", "another profile's");
    let host = host(&files, &tools);
    let service = Service::new(&host, Kind::SystemdUser, Some("rescue"), None).unwrap();
    assert_eq!(service.legacy(), ["clawdbot-gateway-rescue"]);
    assert_eq!(service.install(&definition()).await.unwrap(), ["clawdbot-gateway-rescue"]);
    assert_eq!(asked(&tools)[0], "systemctl --user disable --now clawdbot-gateway-rescue.service");
    assert_eq!(files.text(old), None);
    let kept = "/home/u/.openclaw-rescue/legacy-services/clawdbot-gateway-rescue.service";
    assert!(files.text(kept).unwrap().contains("clawdbot gateway"));
    assert!(files.text("/home/u/.config/systemd/user/clawdbot-gateway.service").is_some());
}

#[tokio::test]
async fn row_161_162_164_166_167_launchd_is_asked_as_the_manual_says() {
    let (files, tools) = (Memory::default(), Tools::default());
    let old = "/home/u/Library/LaunchAgents/com.openclaw.rescue.plist";
    files.put(old, "<plist><dict></dict></plist>");
    let host = host(&files, &tools);
    let service = Service::new(&host, Kind::Launchd, Some("rescue"), None).unwrap();
    assert_eq!(service.install(&definition()).await.unwrap(), ["com.openclaw.rescue"]);
    let target = "gui/501/bot.molt.rescue";
    let expected = [
        "bootout gui/501/com.openclaw.rescue".to_owned(),
        format!("bootout {target}"),
        format!("enable {target}"),
        format!("bootstrap gui/501 {PLIST}"),
    ];
    assert_eq!(asked(&tools), expected.map(|line| format!("launchctl {line}")));
    assert_eq!((files.text(old), files.mode(Path::new(PLIST))), (None, Some(0o600)));

    service.restart().await.unwrap();
    assert_eq!(asked(&tools), [format!("launchctl kickstart -k {target}")]);
    service.stop().await.unwrap();
    assert_eq!(asked(&tools), [format!("launchctl bootout {target}")]);
    service.uninstall().await.unwrap();
    assert_eq!(files.text(PLIST), None);
}

#[tokio::test(start_paused = true)]
async fn what_was_stopped_is_started_by_a_restart_and_a_busy_launchd_is_asked_again() {
    let files = Memory::default();
    let tools = Tools {
        answers: vec![("print gui/501/bot.molt.rescue", 113, ""), ("kickstart -k gui/501/bot.molt.rescue", 113, "")],
        ..Tools::default()
    };
    files.put(PLIST, "");
    let machine = host(&files, &tools);
    let service = Service::new(&machine, Kind::Launchd, Some("rescue"), None).unwrap();
    service.restart().await.unwrap();
    assert_eq!(asked(&tools).last().unwrap(), &format!("launchctl bootstrap gui/501 {PLIST}"));
    assert_eq!(service.state().await.runtime.status, Status::Stopped);

    let tools = Tools { answers: vec![("bootstrap", 5, "Input/output error")], ..Tools::default() };
    let machine = host(&files, &tools);
    let service = Service::new(&machine, Kind::Launchd, Some("rescue"), None).unwrap();
    let error = service.install(&definition()).await.unwrap_err().to_string();
    assert!(error.contains("exit 5") && error.contains("Input/output error"), "{error}");
    assert_eq!(asked(&tools).iter().filter(|line| line.contains("bootstrap")).count(), 20);
}

#[tokio::test]
async fn row_066_a_task_runs_the_script() {
    let (files, tools) = (
        Memory::default(),
        Tools {
            answers: vec![("/TN Clawdbot Gateway (rescue)", 1, ""), ("/TN Moltbot Gateway (rescue)", 1, "")],
            ..Tools::default()
        },
    );
    let host = host(&files, &tools);
    let service = Service::new(&host, Kind::Windows, Some("rescue"), None).unwrap();
    service.install(&definition()).await.unwrap();
    let lines = asked(&tools);
    let script = "/home/u/.openclaw-rescue/gateway.cmd";
    let create = format!("schtasks /Create /F /SC ONLOGON /RL LIMITED /TN OpenClaw Gateway (rescue) /TR \"{script}\"");
    assert!(lines.contains(&create), "{lines:?}");
    assert!(files.text(script).is_some());
    service.uninstall().await.unwrap();
    assert!(asked(&tools).contains(&"schtasks /Delete /F /TN OpenClaw Gateway (rescue)".to_owned()));
}

#[tokio::test]
async fn row_205_without_systemd_it_is_said_what_to_do() {
    async fn why(files: &Memory, tools: &Tools) -> (Error, String) {
        let machine = host(files, tools);
        let service = Service::new(&machine, Kind::SystemdUser, Some("rescue"), None).unwrap();
        let error = service.install(&definition()).await.unwrap_err();
        assert_eq!(service.installation().unwrap(), None, "nothing is written");
        assert_eq!(service.state().await.runtime.status, Status::Unknown);
        let hints = error.hints(Kind::SystemdUser, service.label(), "openclaw").join("\n");
        (error, hints)
    }
    let missing = Tools { missing: true, ..Tools::default() };
    let files = Memory::default();
    files.put("/proc/sys/kernel/osrelease", "6.6.0-microsoft-standard-WSL2");
    let (error, hints) = why(&files, &missing).await;
    assert!(matches!(error, Error::Unavailable(Unavailable::NoTool { .. })), "{error}");
    assert!(hints.contains("systemd=true") && hints.contains("/etc/wsl.conf"), "{hints}");

    let files = Memory::default();
    files.put("/.dockerenv", "");
    let not_booted = "System has not been booted with systemd as init system (PID 1). Can't operate.";
    let tools = Tools { answers: vec![("status --no-pager", 1, not_booted)], ..Tools::default() };
    let (error, hints) = why(&files, &tools).await;
    assert!(matches!(error, Error::Unavailable(Unavailable::NotBooted { .. })), "{error}");
    assert!(hints.contains("restart policy") && hints.contains("gateway supervise"), "{hints}");

    let files = Memory::default();
    files.put("/run/systemd/system", "");
    let tools = Tools {
        answers: vec![("status --no-pager", 1, "Failed to connect to bus: No medium found")],
        ..Tools::default()
    };
    let (error, hints) = why(&files, &tools).await;
    assert!(matches!(error, Error::Unavailable(Unavailable::NoUserManager { .. })), "{error}");
    assert!(hints.contains("enable-linger u") && hints.contains("--system"), "{hints}");
}

#[tokio::test]
async fn row_204_the_machines_unit_is_roots_to_write() {
    let (files, tools) = (Memory::default(), Tools::default());
    let mut host = host(&files, &tools);
    let unit = "/etc/systemd/system/openclaw-gateway-rescue.service";
    let refused = Service::new(&host, Kind::SystemdSystem, Some("rescue"), None).unwrap().install(&definition()).await;
    assert!(matches!(refused.unwrap_err(), Error::NeedsRoot { .. }));
    assert_eq!(files.text(unit), None);
    host.uid = 0;
    let service = Service::new(&host, Kind::SystemdSystem, Some("rescue"), None).unwrap();
    service.install(&Definition { user: Some("u".to_owned()), ..definition() }).await.unwrap();
    assert!(files.text(unit).unwrap().contains("\nUser=u\n"));
    assert!(asked(&tools).contains(&"systemctl enable openclaw-gateway-rescue.service".to_owned()));
}

#[tokio::test]
async fn drop_ins_count_and_what_the_supervisor_says_is_told() {
    let files = Memory::default();
    let tools = Tools {
        answers: vec![
            ("is-enabled openclaw-gateway-rescue.service", 1, "disabled"),
            (
                "show openclaw-gateway-rescue.service",
                0,
                "ActiveState=activating\nSubState=auto-restart\nExecMainCode=1\nExecMainStatus=78",
            ),
            ("start openclaw-gateway-rescue.service", 1, "Job failed.\nSee journal."),
        ],
        ..Tools::default()
    };
    files.put(UNIT, &Kind::SystemdUser.render(&definition()).unwrap());
    files.put(
        "/home/u/.config/systemd/user/openclaw-gateway-rescue.service.d/override.conf",
        "[Service]\nRestartSec=1\n",
    );
    let host = host(&files, &tools);
    let service = Service::new(&host, Kind::SystemdUser, Some("rescue"), None).unwrap();
    let there = service.installation().unwrap().unwrap();
    assert_eq!((there.parsed.setting("Service.RestartSec"), there.drop_ins.len()), (Some("1"), 1));
    assert!(there.is_open(Kind::SystemdUser), "0644 with a token in it");
    let state = service.state().await;
    assert_eq!((state.loaded, state.installed, state.runtime.status), (false, true, Status::Restarting));
    assert_eq!(state.runtime.last_exit_status, Some(78));
    let error = service.start().await.unwrap_err();
    assert!(error.to_string().contains("exit 1") && error.to_string().contains("Job failed. See journal."), "{error}");
    assert!(
        error.hints(Kind::SystemdUser, service.label(), "openclaw")[0]
            .contains("journalctl --user -u openclaw-gateway-rescue")
    );
}

#[tokio::test]
async fn other_services_are_found_and_profiles_are_none() {
    let (files, tools) = (Memory::default(), Tools::default());
    let user = "/home/u/.config/systemd/user";
    let ours = Kind::SystemdUser.render(&definition()).unwrap();
    files.put(UNIT, &ours);
    files.put(&format!("{user}/openclaw-gateway-main.service"), &ours);
    files.put(&format!("{user}/renamed.service"), &ours);
    files.put(&format!("{user}/openclaw-gateway-byhand.service"), "[Service]\nExecStart=/usr/bin/openclaw gateway\n");
    files.put(&format!("{user}/openclaw-node.service"), "[Service]\nExecStart=/usr/bin/openclaw node run\n");
    files.put(
        &format!("{user}/syncthing.service"),
        "[Unit]\nAfter=openclaw-gateway.service\n[Service]\nExecStart=/usr/bin/syncthing\n",
    );
    files.put(&format!("{user}/old-clawdbot.service"), "[Service]\nExecStart=/usr/bin/node x gateway\n");
    files.put(&format!("{user}/mine.service"), "[Service]\nExecStart=/opt/openclaw/openclaw gateway\n");
    files.put("/etc/systemd/system/moltbot.service", "[Service]\nExecStart=/usr/bin/moltbot gateway\n");
    let host = host(&files, &tools);
    let service = Service::new(&host, Kind::SystemdUser, Some("rescue"), None).unwrap();
    let short =
        |found: Vec<Other>| found.into_iter().map(|o| (o.label, o.scope, o.marker, o.legacy)).collect::<Vec<_>>();
    let shallow =
        [("mine".to_owned(), "user", "openclaw", false), ("old-clawdbot".to_owned(), "user", "clawdbot", true)];
    assert_eq!(short(others(&service, false).await), shallow);
    let deep = short(others(&service, true).await);
    assert_eq!(deep[2..], [("moltbot".to_owned(), "system", "moltbot", true)]);

    files.put("/home/u/Library/LaunchAgents/com.openclaw.gateway.plist", "<plist><dict></dict></plist>");
    files.put("/Library/LaunchDaemons/com.clawdbot.daemon.plist", "");
    let service = Service::new(&host, Kind::Launchd, Some("rescue"), None).unwrap();
    assert_eq!(short(others(&service, false).await), [("com.openclaw.gateway".to_owned(), "user", "openclaw", true)]);
    assert_eq!(others(&service, true).await.len(), 2);
}

#[tokio::test]
async fn row_201_202_linger_is_told_and_switched_on_with_sudo_where_that_is_needed() {
    use crate::{Linger, enable_linger, linger};
    let files = Memory::default();
    let tools = Tools { answers: vec![("-p Linger", 0, "Linger=no\n")], ..Tools::default() };
    let mut machine = host(&files, &tools);
    assert_eq!(linger(&machine).await, Linger::Off);
    assert_eq!(asked(&tools), ["loginctl show-user u -p Linger"]);
    enable_linger(&machine).await.unwrap();
    assert_eq!(asked(&tools), ["loginctl enable-linger u"]);
    machine.uid = 0;
    enable_linger(&machine).await.unwrap();
    assert_eq!(asked(&tools), ["loginctl enable-linger u"]);

    let tools = Tools {
        answers: vec![
            ("-p Linger", 0, "Linger=yes"),
            ("sudo -n loginctl", 0, ""),
            ("loginctl enable-linger u", 1, "Access denied"),
        ],
        ..Tools::default()
    };
    let mut machine = host(&files, &tools);
    assert_eq!(linger(&machine).await, Linger::On);
    enable_linger(&machine).await.unwrap();
    assert_eq!(asked(&tools)[1..], ["loginctl enable-linger u", "sudo -n loginctl enable-linger u"]);
    machine.uid = 0;
    assert!(enable_linger(&machine).await.unwrap_err().to_string().contains("Access denied"));
    let tools =
        Tools { answers: vec![("-p Linger", 1, "User ID 501 is not logged in or lingering")], ..Tools::default() };
    assert_eq!(linger(&host(&files, &tools)).await, Linger::Off);
}
