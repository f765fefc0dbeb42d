//! The faults of one link.

use std::{
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use openclaw_platform::{Entropy, EntropyExt as _, sync::LockExt as _};

use super::{
    connection::{Connection, Direction},
    timeline::Timeline,
};

/// Bytes that a writer may be ahead of its reader, per direction, until [`LinkControl::window`] says otherwise.
pub const DEFAULT_WINDOW: usize = 64 * 1024;

/// What goes wrong on one link: for its connections of now and, but for the deeds (`cut`, `reset`), for those to come.
pub struct LinkControl {
    pub(super) time: Arc<Timeline>,
    entropy: Arc<dyn Entropy>,
    /// The link's own latency, one way.
    base: Range<Duration>,
    opened: AtomicU64,
    settings: Mutex<Settings>,
    connections: Mutex<Vec<Weak<Connection>>>,
}

/// The state of a link that its connections look at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    /// Nothing comes through, by direction.
    pub stalled: [bool; 2],
    pub half_open: bool,
    pub refuse: bool,
    /// Bytes per second.
    pub rate: Option<u64>,
    pub window: usize,
    /// The most bytes in one segment.
    pub chunk: Option<usize>,
    /// On top of the link's own.
    pub latency: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            stalled: [false; 2],
            half_open: false,
            refuse: false,
            rate: None,
            window: DEFAULT_WINDOW,
            chunk: None,
            latency: Duration::ZERO,
        }
    }
}

impl std::fmt::Debug for LinkControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkControl").field("settings", &self.settings()).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.locked()
}

impl LinkControl {
    /// A link by itself in tokio's time, without latency; its split points come from `entropy`.
    pub fn new(entropy: Arc<dyn Entropy>) -> Arc<Self> {
        Arc::new(Self::with(Arc::new(Timeline::tokio()), entropy, Duration::ZERO..Duration::ZERO))
    }

    pub(super) fn with(time: Arc<Timeline>, entropy: Arc<dyn Entropy>, base: Range<Duration>) -> Self {
        Self {
            time,
            entropy,
            base,
            opened: AtomicU64::new(0),
            settings: Mutex::default(),
            connections: Mutex::default(),
        }
    }

    /// An outage that TCP survives: nothing arrives while it is on, in neither direction, and everything in order
    /// afterwards. Writes go on until the window is full; connects wait.
    pub fn stall(&self, on: bool) {
        self.stall_one(Direction::Up, on);
        self.stall_one(Direction::Down, on);
    }

    /// [`LinkControl::stall`] of one direction.
    pub fn stall_one(&self, direction: Direction, on: bool) {
        self.change(|s| s.stalled[direction as usize] = on);
    }

    /// The connections of now go silent for ever: writes succeed until the window is full, nothing arrives, no error
    /// comes. New connects wait until [`LinkControl::heal`].
    pub fn half_open(&self) {
        self.change(|s| s.half_open = true);
        self.each(Connection::silence);
    }

    /// Ends the connections of now: both ends read what was in flight, then the end of the stream.
    pub fn cut(&self) {
        self.each(Connection::cut);
    }

    /// Ends the connections of now: reads and writes at both ends fail with `ConnectionReset`, blocked ones at once.
    pub fn reset(&self) {
        self.each(Connection::reset);
    }

    /// Bytes per second in each direction. Without a limit, what still waits for its turn goes out at once.
    pub fn rate(&self, rate: Option<u64>) {
        if rate.is_none() {
            self.each(Connection::hurry);
        }
        self.change(|s| s.rate = rate.map(|r| r.max(1)));
    }

    /// How many bytes a writer may be ahead of its reader, per direction, whatever the size of its writes.
    pub fn window(&self, bytes: usize) {
        self.change(|s| s.window = bytes.max(1));
    }

    /// Splits writes at drawn points into pieces of 1 to `most` bytes; one read gives one piece.
    pub fn chunk(&self, most: Option<usize>) {
        self.change(|s| s.chunk = most.map(|m| m.max(1)));
    }

    /// New connects fail with `ConnectionRefused`.
    pub fn refuse(&self, on: bool) {
        self.change(|s| s.refuse = on);
    }

    /// Added to the link's own latency, for what is written from now on.
    pub fn latency(&self, added: Duration) {
        self.change(|s| s.latency = added);
    }

    /// Ends every fault and gives the window its default. What [`LinkControl::half_open`] silenced stays silent.
    pub fn heal(&self) {
        self.change(|s| *s = Settings::default());
    }

    pub(super) fn settings(&self) -> Settings {
        *lock(&self.settings)
    }

    /// A new connection's source of split points and latencies.
    pub(super) fn connection_entropy(&self) -> Arc<dyn Entropy> {
        self.entropy.fork(&self.opened.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// How long a segment takes, one way.
    pub(super) fn draw_latency(&self, settings: &Settings, entropy: &dyn Entropy) -> Duration {
        let spread = self.base.end.saturating_sub(self.base.start).as_micros() as u32;
        let own = self.base.start + Duration::from_micros(u64::from(entropy.below(spread)));
        own + settings.latency
    }

    /// As [`LinkControl::draw_latency`] where nothing may be drawn: in a drop, whose order is not ours.
    pub(super) fn least_latency(&self, settings: &Settings) -> Duration {
        self.base.start + settings.latency
    }

    pub(super) fn track(&self, connection: &Arc<Connection>) {
        let mut connections = lock(&self.connections);
        connections.retain(|c| c.strong_count() > 0);
        connections.push(Arc::downgrade(connection));
    }

    /// Those that are still held.
    pub(super) fn connections(&self) -> Vec<Arc<Connection>> {
        lock(&self.connections).iter().filter_map(Weak::upgrade).collect()
    }

    fn change(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut lock(&self.settings));
        self.each(|connection| connection.lock().wake());
    }

    fn each(&self, deed: impl Fn(&Connection)) {
        for connection in self.connections() {
            deed(&connection);
        }
    }
}
