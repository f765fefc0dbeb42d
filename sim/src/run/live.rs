//! The same plan against the real program: a process, real sockets on the loopback interface with the faults of
//! [`crate::fault`] in them, real time. The same clients, backends and records.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // the real things are what this is about

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use openclaw_platform::{Mono, SpawnerExt as _, Transport, os};
use tokio_util::sync::CancellationToken;

use super::{
    ENDING, Finished, GATEWAY_PORT, MODEL_PORT, TELEGRAM_PORT, client,
    faults::Faults,
    peers,
    peers::Peers,
    recorder::Recorder,
    stage::{Stage, Struck},
};
use crate::{
    World,
    fault::{Links, LoopbackNet},
    history::What,
    plan::{Disk, Plan, PlannedFault},
    scenario::Route,
};

/// How often faults are looked at.
const STEP: Duration = Duration::from_millis(10);
/// How long the fakes have to be there.
const FAKES: Duration = Duration::from_secs(5);

/// Runs a plan in real time against the program `gateway`, whose home is the empty directory `home`. Faults that a real
/// machine cannot have (clock jumps, power losses, disk faults) are noted in the history and left out.
///
/// # Errors
/// When the program cannot be started.
pub fn live(plan: &Plan, gateway: &Path, home: &Path) -> io::Result<Finished> {
    if plan.disk.is_some() {
        return Err(io::Error::other(
            "[gateway] disk: only a simulated gateway starts on it; tests/tests/upgrade.rs starts the program",
        ));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(drive(plan, gateway, home))
}
async fn drive(plan: &Plan, gateway: &Path, home: &Path) -> io::Result<Finished> {
    let start = Mono::now();
    let recorder = Recorder::live(start);
    plan.credentials().iter().for_each(|secret| recorder.credentials().learn(secret));
    let world = World::new(plan.seed);
    let links = Links::real(world.entropy.clone());
    let net = LoopbackNet::new(links.clone());
    let ending = CancellationToken::new();
    let platform =
        openclaw_platform::Platform { tasks: world.platform.tasks.clone(), ..os::platform(&home.join("fakes"))? };
    let outside = |name: &str| Arc::new(net.transport(name, name, Some("gateway"))) as Arc<dyn Transport>;
    let peers = Peers::new(plan, &platform, &outside, &recorder);

    let backends = tokio::task::LocalSet::new();
    if let Some(telegram) = peers.telegram() {
        backends.spawn_local(telegram.serve());
    }
    if let Some(model) = peers.model() {
        backends.spawn_local(model.serve());
    }
    if plan.clients.iter().any(|c| c.via == Route::Tunnel) {
        let near = Arc::new(net.transport("tunnel", "entry", None));
        let far = Arc::new(net.transport("gateway", "tunnel", None));
        backends.spawn_local(peers::tunnel(near, far, world.platform.tasks.clone()));
    }
    let wanted = [
        plan.telegram.as_ref().map(|_| ("telegram", TELEGRAM_PORT)),
        plan.model.as_ref().map(|_| ("model", MODEL_PORT)),
    ];
    let there = async {
        while wanted.iter().flatten().any(|(name, port)| net.real_port(name, *port).is_none()) {
            tokio::time::sleep(STEP).await;
        }
    };
    backends.run_until(tokio::time::timeout(FAKES, there)).await.map_err(io::Error::from)?;

    let mut machine = Machine::new(plan, gateway, home, &net, &recorder, start)?;
    machine.start();
    for c in &plan.clients {
        let sockets = Arc::new(net.transport("clients", &c.name, None));
        let client = client::Start::new(plan, c, &world, (&links, sockets), &recorder, &ending);
        world.platform.tasks.spawn("client", client::live(client));
    }
    let mut faults = Faults::new(plan, &links, peers.clone(), &recorder);
    let length = Duration::from_millis(plan.length_ms + plan.drain_ms);
    let run = async {
        while start.elapsed() < length {
            faults.apply(&mut machine);
            machine.look();
            tokio::time::sleep(STEP).await;
        }
        recorder.record("world", What::Note { text: "ending".into() });
        ending.cancel();
        machine.stop();
        let end = start.elapsed() + ENDING;
        while start.elapsed() < end && machine.is_serving() {
            tokio::time::sleep(STEP).await;
        }
    };
    backends.run_until(run).await;
    for panic in world.panics.seen() {
        recorder.record("world", What::Panic { task: panic.task.to_owned(), message: panic.message });
    }
    Ok(Finished { history: recorder.take(), draws: world.entropy.draws(), ..Finished::default() })
}

/// The real program and what it needs.
struct Machine {
    program: PathBuf,
    home: PathBuf,
    port: u16,
    /// What names of the simulated network are here.
    here: Vec<(String, String)>,
    process: Option<Child>,
    listening: bool,
    recorder: Recorder,
    start: Mono,
}

impl Machine {
    fn new(
        plan: &Plan,
        program: &Path,
        home: &Path,
        net: &LoopbackNet,
        recorder: &Recorder,
        start: Mono,
    ) -> io::Result<Self> {
        // Free now; nobody is likely to take it before the program does.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        net.publish("gateway", GATEWAY_PORT, port);
        let workspace = serde_json::Value::from(home.join("workspace").to_string_lossy()).to_string();
        let mut here = vec![(r#""/workspace""#.to_owned(), workspace)];
        for (name, port) in [("telegram", TELEGRAM_PORT), ("model", MODEL_PORT)] {
            if let Some(real) = net.real_port(name, port) {
                here.push((format!("http://{name}:{port}"), format!("http://127.0.0.1:{real}")));
            }
        }
        let machine = Self {
            program: program.canonicalize()?,
            home: home.to_owned(),
            port,
            here,
            process: None,
            listening: false,
            recorder: recorder.clone(),
            start,
        };
        machine.write_config(&plan.config)?;
        Ok(machine)
    }
    fn write_config(&self, text: &str) -> io::Result<()> {
        let directory = self.home.join(".openclaw");
        std::fs::create_dir_all(&directory)?;
        let text = self.here.iter().fold(text.to_owned(), |text, (there, here)| text.replace(there, here));
        // As an editor does it: never half a file.
        let (file, new) = (directory.join("openclaw.json"), directory.join("openclaw.json.new"));
        std::fs::write(&new, text)?;
        std::fs::rename(new, file)
    }

    fn note(&self, text: String) {
        self.recorder.record("gateway", What::Note { text });
    }

    fn process(&self, event: &str) {
        self.recorder.record("gateway", What::Process { event: event.to_owned() });
    }
    fn spawn(&self) -> io::Result<Child> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.home.join("gateway.log"))?;
        Command::new(&self.program)
            .args(["gateway", "--port", &self.port.to_string()])
            .env_clear()
            .env("HOME", &self.home)
            .current_dir(&self.home)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
    }

    fn left_out(&self, what: &str) {
        self.note(format!("left out in a live run: {what}"));
    }

    /// Notices that it listens.
    fn look(&mut self) {
        if self.process.is_some() && !self.listening {
            self.listening = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok();
            if self.listening {
                self.process("listening");
            }
        }
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.listening = false;
    }
}

impl Stage for Machine {
    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn crash(&mut self) {
        self.kill();
        self.process("crash");
    }

    fn power_loss(&mut self) {
        self.left_out("power loss; the process is killed");
        self.crash();
    }

    fn stop(&mut self) {
        if let Some(child) = &self.process {
            self.process("stop");
            if let Some(pid) = rustix::process::Pid::from_raw(child.id().cast_signed()) {
                // One that has ended meanwhile needs no signal.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
        }
    }

    fn stopped(&mut self) {
        self.kill();
    }

    fn start(&mut self) {
        self.kill();
        self.process("start");
        match self.spawn() {
            Ok(child) => self.process = Some(child),
            Err(error) => self.note(format!("cannot start {}: {error}", self.program.display())),
        }
    }

    fn is_serving(&mut self) -> bool {
        let ended = match &mut self.process {
            None => return false,
            Some(child) => child.try_wait().ok().flatten(),
        };
        let Some(status) = ended else { return true };
        if !status.success() {
            self.note(format!("the gateway ended: {status}"));
        }
        self.process(if status.success() { "stopped" } else { "failed" });
        self.process = None;
        self.listening = false;
        false
    }

    fn jump(&mut self, _by_ms: i64) {
        self.left_out("a jump of the wall clock");
    }

    fn disk(&mut self, _id: u64, _fails: Disk) {
        self.left_out("a disk fault");
    }

    fn slow_disk(&mut self, _id: u64, _most: Duration) {
        self.left_out("a slow disk");
    }

    fn flip(&mut self, _id: u64, _file: &str) {
        self.left_out("a bit flip");
    }

    fn arm(&mut self, _fault: &PlannedFault) {
        self.left_out("a fault at a storage operation");
    }

    fn disarm(&mut self, _id: u64) {}

    fn struck(&mut self) -> Vec<Struck> {
        Vec::new()
    }

    fn edit(&mut self, file: Option<&str>, text: &str) {
        if file.is_some() {
            return self.left_out("a file that is replaced");
        }
        if let Err(error) = self.write_config(text) {
            self.note(format!("cannot write the configuration: {error}"));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.kill();
    }
}
