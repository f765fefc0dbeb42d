//! The gateway as a process with a home of its own.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use openclaw_client::{Client, ConnectError, ConnectOptions, Pin};
use openclaw_platform::{
    BoxIo, Platform,
    tls::{Fingerprint, Tls, server::fingerprint_of},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{binary, free_port_block};

/// How long a start may take on a busy machine.
const START: Duration = Duration::from_mins(1);
/// Worker threads of the program (tokio's own variable): more than a small machine has cores, so that they are taken off at
/// odd moments. Without it the program has one for each core.
const WORKERS: (&str, &str) = ("TOKIO_WORKER_THREADS", "8");
const POLL: Duration = Duration::from_millis(20);

/// The token that [`Gateway::start`] configures when the given configuration has no `gateway.auth`.
pub const TOKEN: &str = "test-token-0123456789abcdef";

/// A running gateway; dropping it kills the process and removes its home.
pub struct Gateway {
    /// The port it listens on.
    pub port: u16,
    /// `$HOME`: the configuration and the state are in `.openclaw/` below it.
    pub home: TempDir,
    child: Child,
    env: Vec<(String, String)>,
    args: Vec<String>,
}

impl Gateway {
    /// Writes `config`, starts the program with `env` in an otherwise empty environment (eight worker threads, unless it says
    /// otherwise) and waits for the first connect.challenge. `gateway.mode` (local) and `gateway.auth` ([`TOKEN`]) are added when missing.
    ///
    /// # Panics
    /// When it does not answer in time or ends; the message has its output.
    pub async fn start(config: Value, env: &[(&str, &str)]) -> Self {
        Self::start_with(config, env, &[]).await
    }

    /// The same with more arguments behind `gateway --port PORT`.
    ///
    /// # Panics
    /// As [`Gateway::start`].
    pub async fn start_with(config: Value, env: &[(&str, &str)], args: &[&str]) -> Self {
        Self::start_home(home(config), env, args).await
    }

    /// Starts it in a home that was made before, with a configuration in it.
    ///
    /// # Panics
    /// When it does not answer in time or ends; the message has its output.
    pub async fn start_in(home: TempDir, env: &[(&str, &str)]) -> Self {
        Self::start_home(home, env, &[]).await
    }

    async fn start_home(home: TempDir, env: &[(&str, &str)], args: &[&str]) -> Self {
        let env: Vec<_> = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let args: Vec<_> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let port = free_port_block();
        let child = spawn(&home, port, &env, &args);
        let mut gateway = Self { port, home, child, env, args };
        gateway.until_ready().await;
        gateway
    }

    /// Starts it again on the same home and port, once it has ended.
    pub async fn restart(&mut self) {
        self.child.wait().expect("the exit status of the process before");
        self.child = spawn(&self.home, self.port, &self.env, &self.args);
        self.until_ready().await;
    }

    /// `ws://127.0.0.1:PORT`, or `wss` where its port speaks TLS.
    pub fn url(&self) -> String {
        let scheme = if self.fingerprint().is_some() { "wss" } else { "ws" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// Of the certificate in the state folder, once it is made; none where the port speaks plain text.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        fingerprint_of(&fs::read(self.state().join("gateway/tls/gateway-cert.pem")).ok()?).ok()
    }

    /// The state folder.
    pub fn state(&self) -> PathBuf {
        self.home.path().join(".openclaw")
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// True while the process is there.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// What it wrote to stdout and stderr.
    pub fn output(&self) -> String {
        fs::read_to_string(self.home.path().join("output")).unwrap_or_default()
    }

    /// A client with [`TOKEN`].
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn client(&self, platform: &Platform) -> Result<Client, ConnectError> {
        let pin = self.fingerprint().map(|pin| Arc::new(move || Ok(pin)) as Pin);
        let options = ConnectOptions { token: Some(TOKEN.to_owned()), pin, ..ConnectOptions::new(self.url()) };
        Client::connect(platform, options).await
    }

    /// Sends a signal: `TERM` asks it to stop, `KILL` is the power cut.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the process can be signalled");
    }

    /// Waits for the end of the process.
    ///
    /// # Panics
    /// When it does not end within `timeout`.
    pub async fn wait(&mut self, timeout: Duration) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the state of the process") {
                return status;
            }
            assert!(started.elapsed() < timeout, "still running after {timeout:?}:\n{}", self.output());
            tokio::time::sleep(POLL).await;
        }
    }

    async fn until_ready(&mut self) {
        let started = Instant::now();
        while !challenged(&self.url(), self.port, self.fingerprint()).await {
            let ended = self.child.try_wait().expect("the state of the process");
            assert!(ended.is_none(), "the gateway ended ({ended:?}) instead of listening:\n{}", self.output());
            assert!(started.elapsed() < START, "no connect.challenge within {START:?}:\n{}", self.output());
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A home with this configuration; `gateway.mode` (local) and `gateway.auth` ([`TOKEN`]) are added when missing.
///
/// # Panics
/// When it cannot be made.
pub fn home(mut config: Value) -> TempDir {
    if config["gateway"]["mode"].is_null() {
        config["gateway"]["mode"] = json!("local");
    }
    if config["gateway"]["auth"].is_null() {
        config["gateway"]["auth"] = json!({ "token": TOKEN });
    }
    let home = TempDir::new().expect("a temporary home");
    let state = home.path().join(".openclaw");
    fs::create_dir(&state).expect("a state folder");
    fs::write(state.join("openclaw.json"), config.to_string()).expect("a configuration");
    home
}

fn spawn(home: &TempDir, port: u16, env: &[(String, String)], args: &[String]) -> Child {
    let program = binary("openclaw");
    let output = File::options().create(true).append(true).open(home.path().join("output")).expect("an output file");
    Command::new(program)
        .args(["gateway", "--port", &port.to_string()])
        .args(args)
        .env_clear()
        .env("HOME", home.path())
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env(WORKERS.0, WORKERS.1)
        .envs(env.iter().map(|(name, value)| (name, value)))
        .current_dir(home.path())
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("a second handle"))
        .stderr(output)
        .spawn()
        .expect("the gateway can be started")
}

/// True when a WebSocket on `port` opens with connect.challenge; over TLS, where it has a certificate.
async fn challenged(url: &str, port: u16, pin: Option<Fingerprint>) -> bool {
    let attempt = async {
        let stream: BoxIo = Box::new(TcpStream::connect(("127.0.0.1", port)).await.ok()?);
        let stream = match pin {
            Some(pin) => Tls::pinned(pin).connect("127.0.0.1", stream).await.ok()?,
            None => stream,
        };
        let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.ok()?;
        let first = socket.next().await?.ok()?.into_text().ok()?;
        let frame: Value = serde_json::from_str(&first).ok()?;
        Some(frame["event"] == "connect.challenge")
    };
    tokio::time::timeout(Duration::from_secs(2), attempt).await.ok().flatten() == Some(true)
}
