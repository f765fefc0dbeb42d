//! The processes that are measured, and what the kernel says about them.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Child;

use crate::{
    Result,
    floor::Sizes,
    identity,
    requests::Request,
    wire::{Conn, Connect, Got, PATIENCE},
};

/// Whose child the floor and the gateway are, or whether somebody else started the gateway.
#[derive(Debug)]
enum Process {
    Own { child: Box<Child>, _home: Option<Arc<TempDir>> },
    Foreign(Option<u32>),
}

/// A server under load.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub addr: SocketAddr,
    /// What its clients must know.
    pub token: String,
    process: Process,
}

/// How long from the start of the process to the first hello-ok, and what it cost the process.
#[derive(Debug, Clone, Copy)]
pub struct Started {
    /// Wall time.
    pub took: Duration,
    /// CPU time of the process.
    pub cpu: Duration,
}

/// Which gateway is measured.
#[derive(Debug, Clone)]
pub enum Which {
    /// This program, started here.
    Program(PathBuf),
    /// One that runs already, with its token and, when it is to be watched, its process.
    Running(SocketAddr, String, Option<u32>),
}

impl Which {
    /// The gateway: started, or as it is.
    pub async fn start(&self) -> Result<Server> {
        match self {
            Self::Program(program) => Ok(Server::gateway(program, &json!({})).await?.0),
            Self::Running(addr, token, pid) => {
                let (addr, token, process) = (*addr, token.clone(), Process::Foreign(*pid));
                Ok(Server { addr, token, process })
            }
        }
    }
}

const TOKEN: &str = "load-token-0123456789abcdef";

impl Server {
    /// Starts the gateway with an empty home and these of `gateway.limits`.
    pub async fn gateway(program: &Path, limits: &Value) -> Result<(Self, Started)> {
        Self::gateway_in(program, &Arc::new(TempDir::new()?), limits).await
    }

    /// Starts the gateway with this home, where it may have been before.
    pub async fn gateway_in(program: &Path, home: &Arc<TempDir>, limits: &Value) -> Result<(Self, Started)> {
        let port = free_port()?;
        let state = home.path().join("state");
        fs::create_dir_all(&state)?;
        let mut config = json!({
            "gateway": {
                "mode": "local",
                "auth": { "token": TOKEN },
                // Ten thousand idle ones, and storms of connects from one address.
                "limits": {
                    "maxConnections": 65536, "maxUnauthenticated": 4096, "maxUnauthenticatedPerAddress": 4096,
                    // Reached within a warm-up: what grows after it has no bound.
                    "maxDedupeEntries": 256,
                },
            },
            "agents": { "defaults": { "model": "builtin/echo" } },
            // None of what a load has made goes.
            "session": { "maintenance": { "maxEntries": 100_000 } },
        });
        for (name, limit) in limits.as_object().into_iter().flatten() {
            config["gateway"]["limits"][name] = limit.clone();
        }
        fs::write(state.join("openclaw.json"), config.to_string())?;
        let mut command = Command::new(program);
        command.args(["gateway", "--port", &port.to_string()]).env_clear();
        command.env("HOME", home.path()).env("OPENCLAW_STATE_DIR", &state).env("PATH", "/usr/bin:/bin");
        Self::spawn("gateway", command, port, Some(home.clone())).await
    }

    /// Starts a floor with answers of these sizes.
    pub async fn floor(sizes: &Sizes) -> Result<(Self, Started)> {
        let port = free_port()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["floor", "--port", &port.to_string()]).args(sizes.to_args());
        Self::spawn("floor", command, port, None).await
    }

    async fn spawn(
        name: &'static str,
        command: Command,
        port: u16,
        home: Option<Arc<TempDir>>,
    ) -> Result<(Self, Started)> {
        let mut command = tokio::process::Command::from(command);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let begun = Instant::now();
        let child = command.spawn().map_err(|e| format!("cannot start the {name}: {e}"))?;
        let process = Process::Own { child: Box::new(child), _home: home };
        let mut server = Self { addr, token: TOKEN.to_owned(), process };
        let connect = server.connect();
        while let Err(error) = Conn::hello(addr, &connect).await {
            if let Process::Own { child, .. } = &mut server.process
                && let Some(status) = child.try_wait()?
            {
                return Err(format!("the {name} ended at its start: {status}").into());
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("the {name} does not answer: {error}").into());
            }
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        let started = Started { took: begun.elapsed(), cpu: server.threads_cpu() };
        Ok((server, started))
    }

    /// The frame that signs in.
    pub fn connect(&self) -> Connect {
        identity::with_token(&self.token)
    }

    /// CPU time of all its threads so far; zero when the process is not known.
    pub fn cpu(&self) -> Duration {
        let stat = self.proc("stat").unwrap_or_default();
        // After the name in parentheses; utime and stime are the fields 14 and 15, in hundredths of a second.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
        Duration::from_millis(10 * fields.filter_map(|f| f.parse::<u64>().ok()).sum::<u64>())
    }

    /// CPU time of the threads that it has now, exactly: for times too short for [`Self::cpu`].
    fn threads_cpu(&self) -> Duration {
        let tasks = self.pid().and_then(|pid| fs::read_dir(format!("/proc/{pid}/task")).ok());
        let of_thread = |dir: fs::DirEntry| {
            let text = fs::read_to_string(dir.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        };
        Duration::from_nanos(tasks.into_iter().flatten().flatten().filter_map(of_thread).sum())
    }

    /// Resident memory in KiB; zero when the process is not known.
    pub fn rss(&self) -> u64 {
        let status = self.proc("status").unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
        line.and_then(|l| l.split_whitespace().next()).and_then(|n| n.parse().ok()).unwrap_or(0)
    }

    fn proc(&self, file: &str) -> Option<String> {
        fs::read_to_string(format!("/proc/{}/{file}", self.pid()?)).ok()
    }

    fn pid(&self) -> Option<u32> {
        match &self.process {
            Process::Own { child, .. } => child.id(),
            Process::Foreign(pid) => *pid,
        }
    }

    /// The sizes that a floor of the same shape needs.
    pub async fn sizes(&self) -> Result<Sizes> {
        let mut conn = Conn::open(self.addr).await?;
        let challenge = match conn.next().await? {
            Got::Text(text) => text.len(),
            Got::Closed(code) => return Err(format!("closed with {code} instead of a challenge").into()),
        };
        drop(conn);
        let (mut conn, hello) = Conn::hello(self.addr, &self.connect()).await?;
        let mut sizes = Sizes { challenge, hello, event: 0, answers: vec![] };
        // The first note makes the entry that later ones repeat: answers are measured with it there.
        for request in [Request::Event].into_iter().chain(Request::ALL) {
            conn.send(&request.frame()).await?;
            let ok = request.ok();
            let mut found = None;
            while found.is_none() || (request == Request::Event && sizes.event == 0) {
                match conn.next().await? {
                    Got::Text(text) if text.starts_with(&ok) => found = Some(text.len()),
                    Got::Text(text) if text.starts_with(crate::requests::PRESENCE) => sizes.event = text.len(),
                    Got::Text(text) if text.starts_with(b"{\"type\":\"event\"") => {}
                    Got::Text(text) => {
                        return Err(format!("{}: {}", request.method(), crate::wire::short(text)).into());
                    }
                    Got::Closed(code) => return Err(format!("closed with {code}").into()),
                }
            }
            sizes.answers.retain(|(letter, _)| *letter != request.letter());
            sizes.answers.push((request.letter(), found.unwrap_or(0)));
        }
        Ok(sizes)
    }

    /// Asks it to end, and makes it after a while. How long it took; `None` when it had to be killed.
    pub async fn stop(mut self) -> Option<Duration> {
        let begun = Instant::now();
        let pid = self.pid().and_then(|p| Pid::from_raw(p.cast_signed()))?;
        let Process::Own { child, .. } = &mut self.process else { return None };
        let _ = kill_process(pid, Signal::TERM);
        let ended = tokio::time::timeout(Duration::from_secs(10), child.wait()).await;
        ended.is_ok().then(|| begun.elapsed())
    }
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// What the figures were taken on: processor, cores, kernel, load.
pub fn machine() -> String {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|l| l.strip_prefix("model name")).and_then(|l| l.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = rustix::system::uname();
    let kernel = kernel.release().to_string_lossy();
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    format!("{}, {cores} cores, Linux {kernel}, load {load} at the start", model.unwrap_or("unknown processor"))
}
