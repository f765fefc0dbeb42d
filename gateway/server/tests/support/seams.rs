//! The outside world of one sequence: pipes for sockets, time that stands still, numbers that come again, programs that
//! never run.

#![allow(clippy::disallowed_methods)] // the runtime's clock, which is paused

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use openclaw_platform::{
    BoxFuture, BoxIo, Clock, Command, Entropy, FileFacts, Listener, MemoryStorage, Millis, Mono, NoProbe, Output,
    Platform, ProcessError, Processes, Spawner, TaskHandle, Transport,
};
use tokio::sync::mpsc;

/// When a sequence begins.
const BEGIN: Millis = 1_764_237_600_000;

/// The seams, and the programs that were started through them.
pub fn platform() -> (Platform, Arc<Programs>) {
    let programs = Arc::new(Programs::default());
    let platform = Platform {
        transport: Arc::new(Pipes::default()),
        clock: Arc::new(Standing(Mono::now())),
        entropy: Arc::new(Repeating(Mutex::new(1))),
        storage: Arc::new(MemoryStorage::new()),
        tasks: Arc::new(Inline),
        processes: programs.clone(),
        probe: Arc::new(NoProbe),
    };
    (platform, programs)
}

/// Both clocks follow the runtime's, which is paused.
struct Standing(Mono);

impl Clock for Standing {
    fn mono(&self) -> Mono {
        Mono::now()
    }
    fn wall(&self) -> Millis {
        BEGIN + Mono::now().duration_since(self.0).as_millis() as Millis
    }
}

/// The same numbers in every run of a sequence (splitmix64).
struct Repeating(Mutex<u64>);

impl Repeating {
    fn next(&self) -> u64 {
        let mut state = self.0.lock().unwrap();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Entropy for Repeating {
    fn fill(&self, buf: &mut [u8]) {
        for chunk in buf.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
    fn fork(&self, _label: &str) -> Arc<dyn Entropy> {
        Arc::new(Self(Mutex::new(self.next())))
    }
}

/// Work that may block is done at once, so that nothing depends on threads.
struct Inline;

impl Spawner for Inline {
    fn spawn_boxed(&self, _name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        #[allow(clippy::disallowed_methods)] // this is the seam
        TaskHandle::new(tokio::spawn(task).abort_handle())
    }
    fn blocking_boxed(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}

/// Where every program is.
const BIN: &str = "/bin";

/// Every program is there, and none runs.
#[derive(Default)]
pub struct Programs(Mutex<Vec<Vec<String>>>);

impl Programs {
    /// What was started since the last call: program and arguments.
    pub fn started(&self) -> Vec<Vec<String>> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Processes for Programs {
    fn run(&self, command: Command) -> BoxFuture<'_, Result<Output, ProcessError>> {
        self.0.lock().unwrap().push(command.argv);
        let output = Output { code: Some(0), stdout: vec![], stderr: vec![], truncated: false };
        Box::pin(std::future::ready(Ok(output)))
    }
    fn which(&self, program: &str, _cwd: Option<&Path>) -> Option<PathBuf> {
        Some(Path::new(BIN).join(program))
    }
    /// Programs are machine code, each a file of its own; everything else is a directory.
    fn inspect(&self, path: PathBuf, with_content: bool, _max: u64) -> BoxFuture<'_, io::Result<FileFacts>> {
        let name = path.as_os_str().as_encoded_bytes();
        let identity = (name.len() as u64, name.iter().map(|byte| u64::from(*byte)).sum());
        let (is_directory, head) = (!path.starts_with(BIN), b"\x7fELF\x02\x01\x01\0".to_vec());
        let sha256 = with_content.then(|| "0".repeat(64));
        Box::pin(std::future::ready(Ok(FileFacts { path, identity, is_directory, size: 8, head, sha256 })))
    }
}

/// Sockets that are pipes in memory.
#[derive(Default)]
struct Pipes(Mutex<BTreeMap<u16, mpsc::Sender<BoxIo>>>);

struct Door(mpsc::Receiver<BoxIo>, u16);

impl Transport for Pipes {
    fn bind(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        let (sender, receiver) = mpsc::channel(64);
        self.0.lock().unwrap().insert(addr.port(), sender);
        Box::pin(std::future::ready(Ok(Box::new(Door(receiver, addr.port())) as Box<dyn Listener>)))
    }
    fn connect<'a>(&'a self, _host: &'a str, port: u16) -> BoxFuture<'a, io::Result<BoxIo>> {
        Box::pin(async move {
            let door = self.0.lock().unwrap().get(&port).cloned().ok_or(io::ErrorKind::ConnectionRefused)?;
            let (near, far) = tokio::io::duplex(64 << 10);
            door.send(Box::new(far)).await.map_err(|_| io::ErrorKind::ConnectionRefused)?;
            Ok(Box::new(near) as BoxIo)
        })
    }
}

impl Listener for Door {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxIo, SocketAddr)>> {
        Box::pin(async move {
            let io = self.0.recv().await.ok_or(io::ErrorKind::NotConnected)?;
            Ok((io, ([127, 0, 0, 1], 9).into()))
        })
    }
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(([127, 0, 0, 1], self.1).into())
    }
}
