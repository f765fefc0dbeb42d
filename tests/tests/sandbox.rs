//! D38: what a sandboxed command can and cannot do, with the built program and the kernel's own Landlock.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::{
    fs,
    io::Read as _,
    net::{TcpListener, UdpSocket},
    os::unix::{fs::symlink, net::UnixListener},
    path::PathBuf,
    process::{Command, Output, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{Fake, Gateway, RawClient, TOKEN, binary};

/// False, and said, where the kernel has none: everything else that a trial could meet fails the test.
fn has_sandbox() -> bool {
    let trial = Command::new(binary("openclaw")).args(["sandbox-exec", "--trial"]).output().unwrap();
    let why = String::from_utf8_lossy(&trial.stderr).into_owned();
    if !trial.status.success() && why.contains("the kernel has no Landlock") {
        tests::left_out("the sandbox", why.trim());
        return false;
    }
    let name = String::from_utf8_lossy(&trial.stdout).into_owned();
    assert!(trial.status.success() && name.starts_with("Landlock ABI "), "{name} {why}");
    true
}

/// A home as people have it: keys in it, the state directory, and the workspace inside of that.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(TempDir::new().unwrap());
        for dir in [".ssh", ".openclaw/workspace/sub", ".openclaw/sandboxes/a/home", ".openclaw/sandboxes/a/tmp"] {
            fs::create_dir_all(home.at(dir)).unwrap();
        }
        for file in [".ssh/id", ".openclaw/gateway.redb", ".openclaw/openclaw.json", ".openclaw/workspace/file"] {
            fs::write(home.at(file), "content").unwrap();
        }
        symlink(home.at(".ssh/id"), home.at(".openclaw/workspace/link")).unwrap();
        symlink(home.at(".openclaw"), home.at(".openclaw/workspace/up")).unwrap();
        home
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, access: &str, network: bool, argv: &[&str]) -> Command {
        let mut command = Command::new(binary("openclaw"));
        command.arg("sandbox-exec").args(["--access", access]).args(network.then_some("--network"));
        command.arg("--workspace").arg(self.at(".openclaw/workspace"));
        command.arg("--private").arg(self.at(".openclaw/sandboxes/a"));
        command.arg("--protect").arg(self.0.path()).arg("--protect").arg(self.at(".openclaw"));
        command.args(["--program", argv[0], "--"]).args(argv);
        command.env_clear().env("PATH", "/usr/bin:/bin").current_dir("/").stdin(Stdio::null());
        command
    }

    fn run(&self, access: &str, argv: &[&str]) -> Output {
        self.command(access, false, argv).output().unwrap()
    }

    /// What a shell's line says and how it ends.
    fn sh(&self, access: &str, line: &str) -> (i32, String) {
        let out = self.run(access, &["/bin/sh", "-c", &format!("exec 2>&1; cd {}; {line}", self.0.path().display())]);
        (out.status.code().unwrap(), String::from_utf8_lossy(&out.stdout).into_owned())
    }

    fn can(&self, access: &str, line: &str) -> bool {
        self.sh(access, line).0 == 0
    }
}

#[test]
fn d38_files_outside_are_closed_whatever_leads_to_them() {
    if !has_sandbox() {
        return;
    }
    let home = Home::new();
    for access in ["none", "ro", "rw"] {
        for line in [
            "cat .ssh/id",
            "cat .openclaw/gateway.redb",
            "cat .openclaw/openclaw.json",
            "cat .openclaw/workspace/link",
            "cat .openclaw/workspace/up/openclaw.json",
            "cat .openclaw/workspace/../openclaw.json",
            "ls .",
            "ls .ssh",
            "ls .openclaw",
            "ls .openclaw/sandboxes",
            "echo x > new",
            "echo x > .ssh/id",
            "echo x > .openclaw/workspace/link",
            "rm .ssh/id",
            "mv .openclaw/openclaw.json .openclaw/workspace/stolen",
            "ln .openclaw/openclaw.json .openclaw/workspace/stolen",
            "ln .ssh/id .openclaw/sandboxes/a/tmp/stolen",
            "cat /etc/shadow",
            "cat /proc/1/environ",
            "cat /proc/$PPID/environ",
            "ls /proc/1/fd",
            "echo x > /usr/made",
            "cat /dev/tty",
            "mknod .openclaw/sandboxes/a/tmp/disk b 8 0",
            // Its own directories stay what they are.
            "rmdir .openclaw/sandboxes/a/tmp",
            "mv .openclaw/sandboxes/a/home .openclaw/sandboxes/a/other",
            "ln -s .ssh .openclaw/sandboxes/a/link",
            // What it starts is confined as well, also what left its session.
            "sh -c 'sh -c \"cat .ssh/id\"'",
            "setsid sh -c 'cat .ssh/id'",
            "env -i /bin/cat .ssh/id",
        ] {
            assert!(!home.can(access, line), "{access}: {line}");
        }
    }
    let kept = fs::read_to_string(home.at(".ssh/id")).unwrap()
        + &fs::read_to_string(home.at(".openclaw/openclaw.json")).unwrap();
    assert_eq!(kept, "contentcontent");
}

#[test]
fn d38_the_workspace_is_as_open_as_it_was_asked_for() {
    if !has_sandbox() {
        return;
    }
    let home = Home::new();
    let ways = [
        // What, and whether it works with none, ro, rw.
        ("cat .openclaw/workspace/file", [false, true, true]),
        ("ls .openclaw/workspace", [false, true, true]),
        ("echo x > .openclaw/workspace/file", [false, false, true]),
        ("echo x > .openclaw/workspace/sub/new && rm .openclaw/workspace/sub/new", [false, false, true]),
        ("mkdir .openclaw/workspace/dir && rmdir .openclaw/workspace/dir", [false, false, true]),
        ("touch .openclaw/workspace/a && mv .openclaw/workspace/a .openclaw/workspace/sub/a", [false, false, true]),
        ("cp /bin/true .openclaw/workspace/sub/true && .openclaw/workspace/sub/true", [false, false, true]),
        ("rm .openclaw/workspace/file", [false, false, true]),
        // Its own directory is open always, and so is what holds nothing.
        ("echo x > .openclaw/sandboxes/a/home/f && cat .openclaw/sandboxes/a/home/f", [true, true, true]),
        ("echo x > .openclaw/sandboxes/a/tmp/f && cat .openclaw/sandboxes/a/tmp/f", [true, true, true]),
        ("echo x > /dev/null && head -c 1 /dev/urandom > /dev/null", [true, true, true]),
        ("cat /etc/passwd > /dev/null && ls /usr/bin > /dev/null", [true, true, true]),
    ];
    for (line, works) in ways {
        for (access, works) in ["none", "ro", "rw"].into_iter().zip(works) {
            let found = home.sh(access, line);
            assert_eq!(found.0 == 0, works, "{access}: {line}: {found:?}");
        }
    }
}

/// A program that tries every socket that could lead out, in the test's own binary: see `d38_helper_tries_sockets`.
fn tries(home: &Home, network: bool, tcp: u16, udp: u16, unix: &str) -> String {
    // The binary of the test lies in no place of programs; the workspace is one.
    let helper = home.at(".openclaw/workspace/helper");
    fs::copy(std::env::current_exe().unwrap(), &helper).unwrap();
    let argv = [helper.to_str().unwrap(), "--ignored", "--exact", "d38_helper_tries_sockets", "--nocapture"];
    let mut command = home.command("ro", network, &argv);
    command.env("TCP", tcp.to_string()).env("UDP", udp.to_string()).env("UNIX", unix);
    let out = command.output().unwrap();
    String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
}

#[test]
#[ignore = "runs inside of the sandbox, started by the next one"]
fn d38_helper_tries_sockets() {
    let var = |name: &str| std::env::var(name).unwrap_or_default();
    let port = |name: &str| var(name).parse().unwrap_or(9);
    let tcp = std::net::TcpStream::connect(("127.0.0.1", port("TCP"))).is_ok();
    let listen = TcpListener::bind(("127.0.0.1", 0)).is_ok();
    let udp = UdpSocket::bind(("127.0.0.1", 0)).and_then(|s| s.send_to(b"x", ("127.0.0.1", port("UDP")))).is_ok();
    let unix = std::os::unix::net::UnixStream::connect(var("UNIX")).is_ok();
    let datagram = std::os::unix::net::UnixDatagram::unbound().is_ok();
    let pair = std::os::unix::net::UnixStream::pair().is_ok();
    println!("tcp={tcp} listen={listen} udp={udp} unix={unix} datagram={datagram} pair={pair}");
}

#[test]
fn d38_no_network_is_none_at_all_and_sockets_of_services_are_closed_always() {
    if !has_sandbox() {
        return;
    }
    let home = Home::new();
    let tcp = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let udp = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    udp.set_nonblocking(true).unwrap();
    tcp.set_nonblocking(true).unwrap();
    let service = home.at(".openclaw/workspace/service");
    let _unix = UnixListener::bind(&service).unwrap();
    let ports = (tcp.local_addr().unwrap().port(), udp.local_addr().unwrap().port());
    let with = |network| tries(&home, network, ports.0, ports.1, service.to_str().unwrap());
    let closed = with(false);
    assert!(closed.contains("tcp=false listen=false udp=false unix=false datagram=false pair=true"), "{closed}");
    assert!(udp.recv_from(&mut [0; 8]).is_err() && tcp.accept().is_err(), "nothing arrived");
    let open = with(true);
    assert!(open.contains("tcp=true listen=true udp=true unix=false datagram=false pair=true"), "{open}");
}

#[test]
fn d38_output_and_exit_codes_pass_and_a_start_that_fails_says_why() {
    if !has_sandbox() {
        return;
    }
    let home = Home::new();
    let out = home.run("rw", &["/bin/sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((out.status.code(), &*out.stdout, &*out.stderr), (Some(7), &b"out\n"[..], &b"err\n"[..]));
    let out = home.run("rw", &["/bin/sh", "-c", "kill -9 $$"]);
    assert_eq!(out.status.code(), None, "a signal is a signal");
    for missing in ["/no/such/program", home.at(".ssh/id").to_str().unwrap()] {
        let out = home.run("rw", &[missing]);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.code() == Some(126) && said.contains("cannot start") && said.contains(missing), "{said}");
    }
    // A workspace that holds what is closed opens nothing.
    for around in [".openclaw", "."] {
        let mut command = home.command("ro", false, &["/bin/true"]);
        let args: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let wide = home.at(around);
        let args = args
            .into_iter()
            .map(|a| if a == home.at(".openclaw/workspace").as_os_str() { wide.clone().into() } else { a });
        let out = Command::new(binary("openclaw")).args(args).output().unwrap();
        assert!(command.output().unwrap().status.success());
        assert_eq!(out.status.code(), Some(126), "{out:?}");
    }
    // A place that is not there is no reason to go on without it.
    let mut command = home.command("rw", false, &["/bin/true"]);
    fs::remove_dir_all(home.at(".openclaw/workspace")).unwrap();
    let out = command.output().unwrap();
    assert_eq!(out.status.code(), Some(126), "{out:?}");
}

/// An open file that this process has and hands on would be a way past all rules.
#[test]
fn d38_open_files_are_not_inherited() {
    if !has_sandbox() {
        return;
    }
    let home = Home::new();
    let id = home.at(".ssh/id");
    let inner = home.command("rw", false, &["/bin/sh", "-c", "cat <&9"]);
    let words = std::iter::once(inner.get_program()).chain(inner.get_args());
    let mut outer = Command::new("/bin/sh");
    outer.args(["-c", "exec 9< \"$0\"; cat <&9 >&2; exec \"$@\" 9< \"$0\""]).arg(&id).args(words);
    let out = outer.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stderr).matches("content").count(), 1, "the outer shell can: {out:?}");
    assert!(!out.status.success() && out.stdout.is_empty(), "{out:?}");
}

/// Other processes of the same user are out of reach, where the kernel can do that (ABI 6).
#[test]
fn d38_other_processes_get_no_signals() {
    if !has_sandbox() {
        return;
    }
    let home = Home::new();
    let trial = Command::new(binary("openclaw")).args(["sandbox-exec", "--trial"]).output().unwrap();
    if String::from_utf8_lossy(&trial.stdout).contains("signals") {
        eprintln!("skipped: the kernel cannot");
        return;
    }
    let mut other = Command::new("sleep").arg("60").spawn().unwrap();
    assert!(!home.can("rw", &format!("kill -9 {}", other.id())));
    assert!(other.try_wait().unwrap().is_none());
    assert!(home.can("rw", "sleep 60 & kill -9 $!"), "its own it may end");
    other.kill().unwrap();
    other.wait().unwrap();
}

async fn agent(client: &mut RawClient, key: &str, session: &str, exec: &Value) -> String {
    let message = format!("[[tool:exec:{exec}]]");
    let params = json!({ "message": message, "sessionKey": session, "idempotencyKey": key });
    client.send(&json!({ "type": "req", "id": key, "method": "agent", "params": params })).await;
    let (_, done) = client.until(|f| f["id"] == key && f["payload"]["status"] != "accepted").await;
    done.to_string()
}

/// The whole way: a model calls `exec` in two sessions, one of which is the main one.
#[tokio::test]
async fn d38_a_run_of_another_session_is_sandboxed_and_the_main_one_is_not() {
    if !has_sandbox() {
        return;
    }
    let model = Fake::start("model");
    let config = json!({
        "agents": { "defaults": { "model": "fake/m1", "sandbox": { "mode": "non-main", "workspaceAccess": "rw" } } },
        "models": { "providers": { "fake": { "baseUrl": format!("{}/v1", model.url), "models": [{ "id": "m1" }] } } },
        "tools": { "exec": { "security": "full", "ask": "off" } },
    });
    let gateway = Gateway::start(config, &[("PATH", "/usr/bin:/bin"), ("SECRET_OF_HOME", "hush")]).await;
    let path = gateway.home.path().to_owned();
    fs::write(path.join("secret"), "the-secret-content").unwrap();
    let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    let read = json!({ "command": format!("cat {}", path.join("secret").display()) });
    assert!(agent(&mut client, "a", "main", &read).await.contains("the-secret-content"));
    let closed = agent(&mut client, "b", "work", &read).await;
    assert!(closed.contains("Permission denied") && !closed.contains("the-secret-content"), "{closed}");
    let state = json!({ "command": format!("head -c 9 {}", gateway.state().join("gateway.redb").display()) });
    assert!(agent(&mut client, "c", "work", &state).await.contains("Permission denied"));
    let env = agent(&mut client, "d", "work", &json!({ "command": "env" })).await;
    assert!(env.contains("sandboxes/agent-main/home") && !env.contains("hush"), "{env}");
    agent(&mut client, "e", "work", &json!({ "command": "touch made" })).await;
    assert!(gateway.state().join("workspace/made").exists());
    // As without a sandbox: it is looked for before anything is started.
    assert!(
        agent(&mut client, "f", "work", &json!({ "command": "no-such-program" })).await.contains("no such program")
    );
    // What a command left running ends with it.
    let late = json!({ "command": "sh -c 'sleep 3; touch late'", "timeoutSeconds": 0.3 });
    assert!(agent(&mut client, "g", "work", &late).await.contains("timed out"));
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(!gateway.state().join("workspace/late").exists());

    assert!(
        gateway.output().contains("sandbox: mode non-main for main: commands of other sessions"),
        "{}",
        gateway.output()
    );
    for args in [&["config", "validate"][..], &["doctor"]] {
        let mut child = Command::new(binary("openclaw"))
            .args(args)
            .env_clear()
            .env("HOME", &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut told = String::new();
        child.stdout.take().unwrap().read_to_string(&mut told).unwrap();
        child.wait().unwrap();
        assert!(told.contains("sandbox: mode non-main for main"), "{told}");
    }
}
