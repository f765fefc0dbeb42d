use std::{
    cell::RefCell,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use openclaw_config::{AuthMode, Secret};
use openclaw_platform::{
    BoxFuture, BoxIo, Clock, Entropy as _, Listener, MemoryStorage, Millis, Mono, NoProbe, Platform, Transport,
    sync::LockExt as _,
};
use openclaw_server::{
    Control, ServerOptions, SharedAuth, schema,
    store::{Records, put},
};
use sim::{NoProcesses, SimEntropy, SimSpawner};
use tokio::{
    io::DuplexStream,
    runtime::Runtime,
    sync::{mpsc, oneshot},
};

use crate::Socket;

/// The gateway's token.
pub const TOKEN: &str = "fuzz-token-0123456789abcdef";
/// Wall time at the start of every world.
const EPOCH: Millis = 1_769_731_200_000;
/// Bytes on their way in each direction: more than any input, so that a write never waits.
const PIPE: usize = 1 << 20;

const CONFIG: &str = r#"{
    gateway: { mode: "local", auth: { mode: "token" } },
    agents: { defaults: { model: { primary: "builtin/echo" }, workspace: "/workspace" } },
}"#;

const CONFIG_CHANNELS: &str = r#"{
    gateway: { mode: "local", auth: { mode: "token" } },
    agents: { defaults: { model: { primary: "builtin/echo" }, workspace: "/workspace" } },
    channels: { telegram: { botToken: "111:fuzz", dmPolicy: "open", allowFrom: ["*"] } },
}"#;

/// A gateway that serves in memory: the program's own code on virtual time, which moves on when nobody has anything
/// left to do. A panic in any of its tasks ends the fuzzer.
pub struct World {
    runtime: Runtime,
    dial: mpsc::UnboundedSender<(BoxIo, SocketAddr)>,
    dialled: u32,
    _control: mpsc::Sender<Control>,
}

impl World {
    /// A gateway with nothing on its disk.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self::start(MemoryStorage::new(), CONFIG).expect("a gateway in memory can always be started")
    }

    /// A gateway over what is stored, with a Telegram account that reaches nobody; the error is why it refuses to start.
    ///
    /// # Errors
    /// The gateway's own.
    pub fn over(stored: &Stored) -> Result<Self, String> {
        Self::start(stored.0.clone(), CONFIG_CHANNELS)
    }

    fn start(storage: MemoryStorage, config: &'static str) -> Result<Self, String> {
        let runtime = runtime();
        let (dial, dialled) = mpsc::unbounded_channel();
        let (control, orders) = mpsc::channel(1);
        let (ready, bound) = oneshot::channel();
        runtime.block_on(async {
            let run = openclaw_server::run(platform(storage, Some(dialled)), options(config), orders, ready);
            let running = tokio::spawn(run);
            match bound.await {
                Ok(_) => Ok(()),
                Err(_) => Err(running.await.expect("a start does not panic").expect_err("it ended").to_string()),
            }
        })?;
        Ok(Self { runtime, dial, dialled: 0, _control: control })
    }

    /// A new connection, and what is done with it.
    pub fn visit<T>(&mut self, visit: impl AsyncFnOnce(Socket) -> T) -> T {
        let (near, far): (DuplexStream, DuplexStream) = tokio::io::duplex(PIPE);
        // Each from another address of this machine, so that no visitor pays for what an earlier one did.
        self.dialled += 1;
        let [_, b, c, d] = self.dialled.to_be_bytes();
        let from = SocketAddr::from((Ipv4Addr::new(127, b, c, d), 40_000));
        self.dial.send((Box::new(far), from)).expect("the gateway accepts until it is dropped");
        self.runtime.block_on(async { visit(Socket::new(near)).await })
    }

    /// Lets virtual time pass.
    pub fn pass(&mut self, time: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(time).await });
    }

    /// Does `work` with this thread's world; after `true` (something was left behind) the next one gets a new world.
    pub fn with(work: impl FnOnce(&mut Self) -> bool) {
        thread_local!(static WORLD: RefCell<Option<World>> = const { RefCell::new(None) });
        WORLD.with_borrow_mut(|world| {
            if work(world.get_or_insert_with(Self::new)) {
                *world = None;
            }
        });
    }
}

/// A disk in memory with a gateway's database on it.
pub struct Stored(MemoryStorage);

impl Stored {
    /// These records in a database of the present schema: table, key, JSON.
    pub fn with(records: &[(Records, String, String)]) -> Self {
        let storage = MemoryStorage::new();
        runtime().block_on(async {
            let store = schema::open(&platform(storage.clone(), None)).expect("memory takes everything");
            let records = records.to_vec();
            let written = store.write(move |tx| {
                for (table, key, text) in &records {
                    let value: &serde_json::value::RawValue =
                        serde_json::from_str(text).expect("it was written as JSON");
                    put(&mut tx.open_table(*table)?, key, &value)?;
                }
                Ok(())
            });
            written.await.expect("memory takes everything");
        });
        Self(storage)
    }
}

fn runtime() -> Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without I/O can always be had")
}

fn platform(storage: MemoryStorage, dialled: Option<mpsc::UnboundedReceiver<(BoxIo, SocketAddr)>>) -> Platform {
    Platform {
        transport: Arc::new(Memory(Mutex::new(dialled))),
        clock: Arc::new(Virtual(Mono::now())),
        entropy: SimEntropy::new(1).fork("fuzz"),
        storage: Arc::new(storage),
        tasks: Arc::new(SimSpawner::default()),
        processes: Arc::new(NoProcesses),
        probe: Arc::new(NoProbe),
    }
}

fn options(config: &'static str) -> ServerOptions {
    let loaded = openclaw_config::parse(config, &|_| None).expect("the configurations above are right");
    ServerOptions {
        read_config: Arc::new(move || Ok(Some(config.to_owned()))),
        listen: vec![(Ipv4Addr::LOCALHOST, 18789).into()],
        auth: SharedAuth { mode: AuthMode::Token, token: Some(Secret::new(TOKEN)), password: None, file: None },
        channels: true,
        ..ServerOptions::bare(Arc::new(loaded.config))
    }
}

/// Virtual time; the wall clock follows it.
struct Virtual(Mono);

impl Clock for Virtual {
    fn mono(&self) -> Mono {
        Mono::now()
    }
    fn wall(&self) -> Millis {
        EPOCH + Mono::now().duration_since(self.0).as_millis() as Millis
    }
}

/// Accepts what [`World::visit`] dials; nobody can be connected to.
struct Memory(Mutex<Option<mpsc::UnboundedReceiver<(BoxIo, SocketAddr)>>>);

struct Inbox(mpsc::UnboundedReceiver<(BoxIo, SocketAddr)>, SocketAddr);

impl Transport for Memory {
    fn bind(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        let dialled = self.0.locked().take();
        let listener = dialled.map(|dialled| Box::new(Inbox(dialled, addr)) as Box<dyn Listener>);
        Box::pin(async move { listener.ok_or_else(|| io::ErrorKind::AddrInUse.into()) })
    }
    fn connect<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, io::Result<BoxIo>> {
        Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) })
    }
}

impl Listener for Inbox {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxIo, SocketAddr)>> {
        Box::pin(async {
            match self.0.recv().await {
                Some(accepted) => Ok(accepted),
                None => std::future::pending().await,
            }
        })
    }
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.1)
    }
}
