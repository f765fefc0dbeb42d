//! What the gateway's parts stand on: seams whose tasks are threads of the scheduler, and a disk in memory.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, LazyLock, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use openclaw_platform::{
    BoxFuture, BoxIo, Clock, Command, Entropy, Listener, MemoryStorage, Millis, Mono, NoProbe, Output, Platform,
    ProcessError, Processes, Spawner, Storage as _, TaskHandle, Transport, sync::LockExt as _,
};
use openclaw_server::{
    ServerOptions,
    gateway::Gateway,
    schema,
    sessions::{entry::SessionEntry, index, store::Sessions},
    store::{self, Store},
};
use shuttle::{future, thread};

/// Wall time at the start of every world.
pub const EPOCH: Millis = 1_769_731_200_000;

/// An empty database, made once: making one takes longer than most schedules.
static EMPTY: OnceLock<Vec<u8>> = OnceLock::new();

/// One machine: a disk in memory, a clock that stands still until it is told, and threads.
pub struct World {
    storage: MemoryStorage,
    clock: Arc<Still>,
    tasks: Arc<Threads>,
}

impl World {
    /// With an empty database on its disk.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let storage = MemoryStorage::new();
        let empty = EMPTY.get().expect("a world is made within a schedule");
        storage.write_atomic(store::FILE, empty).expect("memory takes everything");
        Self::over(storage)
    }

    fn over(storage: MemoryStorage) -> Self {
        Self { storage, clock: Arc::new(Still(AtomicU64::new(0))), tasks: Arc::default() }
    }

    /// Makes the empty database; its locks want a schedule too.
    pub(crate) fn prepare() {
        EMPTY.get_or_init(|| {
            let world = Self::over(MemoryStorage::new());
            drop(schema::open(&world.platform()).expect("memory takes everything"));
            world.storage.read(store::FILE).expect("it was just made")
        });
    }

    /// The seams.
    pub fn platform(&self) -> Platform {
        Platform {
            transport: Arc::new(Nobody),
            clock: self.clock.clone(),
            entropy: Arc::new(Counting::default()),
            storage: Arc::new(self.storage.clone()),
            tasks: self.tasks.clone(),
            processes: Arc::new(Nobody),
            probe: Arc::new(NoProbe),
        }
    }

    /// The database.
    pub fn store(&self) -> Store {
        schema::open(&self.platform()).expect("an empty database opens")
    }

    /// The sessions in a database.
    pub fn sessions(&self, store: &Store) -> Sessions {
        Sessions::new(store.clone(), self.platform().entropy)
    }

    /// A whole gateway without listeners, with a model that repeats what it hears; at most `parallel` runs at a time.
    pub fn gateway(&self, parallel: usize) -> Arc<Gateway> {
        let text = format!(
            r#"{{
                gateway: {{ mode: "local" }},
                agents: {{ defaults: {{
                    model: {{ primary: "builtin/echo" }}, workspace: "/workspace", maxConcurrent: {parallel},
                }} }},
            }}"#
        );
        let loaded = openclaw_config::parse(&text, &|_| None).expect("the configuration above is right");
        let options = ServerOptions::bare(Arc::new(loaded.config));
        Gateway::open(self.platform(), options).expect("an empty database opens")
    }

    /// The clock moves on; timers do not fire.
    pub fn pass(&self, time: Duration) {
        self.clock.0.fetch_add(time.as_millis() as u64, Ordering::Relaxed);
    }

    /// Waits until every task that the gateway started has ended. One that sleeps for ever fails the test here.
    pub fn join(&self) {
        while let Some(task) = self.tasks.next() {
            match task {
                Task::Future(task) => drop(future::block_on(task)),
                Task::Thread(task) => task.join().expect("no task panics"),
            }
        }
    }

    /// The session entries on the disk, read as the next start would; its indexes have to say the same.
    pub fn stored_sessions(&self) -> BTreeMap<String, SessionEntry> {
        let store = self.store();
        let differences = store.read(index::differences).expect("the database can be read");
        assert!(differences.is_empty(), "{differences:?}");
        let stored = store.read(|tx| store::all(tx, store::SESSIONS)).expect("the database can be read");
        stored.into_iter().collect()
    }
}

enum Task {
    Future(future::JoinHandle<()>),
    Thread(thread::JoinHandle<()>),
}

/// Every task is a thread of the scheduler, and so is all work that may block.
#[derive(Default)]
struct Threads(Mutex<Vec<Task>>);

impl Threads {
    fn keep(&self, task: Task) {
        self.0.locked().push(task);
    }
    fn next(&self) -> Option<Task> {
        self.0.locked().pop()
    }
}

impl Spawner for Threads {
    fn spawn_boxed(&self, _: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        let task = future::spawn(task);
        let handle = TaskHandle::of_shuttle(task.abort_handle());
        self.keep(Task::Future(task));
        handle
    }
    fn blocking_boxed(&self, work: Box<dyn FnOnce() + Send>) {
        self.keep(Task::Thread(thread::spawn(work)));
    }
}

/// Milliseconds since the start.
struct Still(AtomicU64);

static START: LazyLock<Mono> = LazyLock::new(Mono::now);

impl Clock for Still {
    fn mono(&self) -> Mono {
        *START + Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
    fn wall(&self) -> Millis {
        EPOCH + self.0.load(Ordering::Relaxed)
    }
}

/// Bytes that no two draws share.
#[derive(Default, Clone)]
struct Counting(Arc<AtomicU64>);

impl Entropy for Counting {
    fn fill(&self, buf: &mut [u8]) {
        let n = self.0.fetch_add(1, Ordering::Relaxed);
        buf.fill(0);
        for (to, from) in buf.iter_mut().zip(n.to_le_bytes()) {
            *to = from;
        }
    }
    fn fork(&self, _: &str) -> Arc<dyn Entropy> {
        Arc::new(self.clone())
    }
}

/// No network and no programs.
struct Nobody;

impl Transport for Nobody {
    fn bind(&self, _: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(std::future::ready(Err(io::ErrorKind::AddrInUse.into())))
    }
    fn connect<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, io::Result<BoxIo>> {
        Box::pin(std::future::ready(Err(io::ErrorKind::ConnectionRefused.into())))
    }
}

impl Processes for Nobody {
    fn run(&self, command: Command) -> BoxFuture<'_, Result<Output, ProcessError>> {
        let _ = command;
        Box::pin(std::future::pending())
    }
    fn which(&self, _: &str, _: Option<&Path>) -> Option<PathBuf> {
        None
    }
}
