//! A bot and a fake Bot API in one process, with sockets in memory, so that paused time works.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, atomic::AtomicU32, atomic::Ordering},
};

use fakes::telegram::FakeTelegram;
use openclaw_channels::{
    AccountStatus, Attachment, Channel, ChannelError, Delivered, Inbound, InboundSink, Media, Part, Piece, SendError,
    SinkError, Target,
    access::PairingStore,
    telegram::{Telegram, TelegramOptions},
};
use openclaw_config::Secret;
use openclaw_platform::{
    BoxFuture, BoxIo, Listener, MemoryStorage, NoProbe, Platform, Transport,
    os::{OsClock, OsEntropy, OsProcesses, OsSpawner},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub const TOKEN: &str = "111111:SECRET-token";
const ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 1], 8081);

/// Sockets that are pipes in memory.
#[derive(Default)]
pub struct MemoryTransport {
    listeners: Mutex<BTreeMap<u16, mpsc::Sender<BoxIo>>>,
    /// That many connections are refused.
    pub refuse: AtomicU32,
    /// That many connections are never made.
    pub hang: AtomicU32,
}

struct MemoryListener(mpsc::Receiver<BoxIo>, u16);

impl Transport for MemoryTransport {
    fn bind(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        let (sender, receiver) = mpsc::channel(64);
        self.listeners.lock().unwrap().insert(addr.port(), sender);
        Box::pin(async move { Ok(Box::new(MemoryListener(receiver, addr.port())) as Box<dyn Listener>) })
    }
    fn connect<'a>(&'a self, _host: &'a str, port: u16) -> BoxFuture<'a, io::Result<BoxIo>> {
        Box::pin(async move {
            let hangs = self.hang.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok();
            if hangs {
                std::future::pending::<()>().await;
            }
            let refused = self.refuse.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok();
            let listener = self.listeners.lock().unwrap().get(&port).cloned().filter(|_| !refused);
            let listener = listener.ok_or(io::ErrorKind::ConnectionRefused)?;
            let (near, far) = tokio::io::duplex(64 << 10);
            listener.send(Box::new(far)).await.map_err(|_| io::ErrorKind::ConnectionRefused)?;
            Ok(Box::new(near) as BoxIo)
        })
    }
}

impl Listener for MemoryListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxIo, SocketAddr)>> {
        Box::pin(async move {
            let io = self.0.recv().await.ok_or(io::ErrorKind::NotConnected)?;
            Ok((io, ADDRESS.into()))
        })
    }
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(([127, 0, 0, 1], self.1).into())
    }
}

/// A sink that keeps what it is given, as the database would.
#[derive(Default)]
pub struct Sink {
    pub stored: Mutex<Vec<Inbound>>,
    pub cursor: Mutex<Option<i64>>,
    /// That many calls fail.
    pub broken: AtomicU32,
    /// Cursors in the order in which they were stored.
    pub cursors: Mutex<VecDeque<i64>>,
}

impl InboundSink for Sink {
    fn accept<'a>(
        &'a self,
        channel: &'a str,
        account: &'a str,
        messages: Vec<Inbound>,
        cursor: i64,
    ) -> BoxFuture<'a, Result<(), SinkError>> {
        assert_eq!((channel, account), ("telegram", "default"));
        Box::pin(async move {
            if self.broken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
                return Err(SinkError("disk full".to_owned()));
            }
            let mut stored = self.stored.lock().unwrap();
            for message in messages {
                assert!(stored.iter().all(|known| known.key != message.key), "{} came twice", message.key);
                stored.push(message);
            }
            *self.cursor.lock().unwrap() = Some(cursor);
            self.cursors.lock().unwrap().push_back(cursor);
            Ok(())
        })
    }
    fn cursor<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Option<i64>, SinkError>> {
        Box::pin(async move { Ok(*self.cursor.lock().unwrap()) })
    }
}

impl Sink {
    pub fn texts(&self) -> Vec<String> {
        self.stored.lock().unwrap().iter().map(|message| message.text.clone()).collect()
    }
}

/// The bot, the fake, and everything between.
pub struct World {
    pub fake: FakeTelegram,
    pub bot: Arc<Telegram>,
    pub pairing: Arc<PairingStore>,
    pub sink: Arc<Sink>,
    pub files: MemoryStorage,
    pub transport: Arc<MemoryTransport>,
}

/// A world whose bot knows person 42.
pub async fn world() -> World {
    world_with(|options| options.access.allow_from = vec!["42".to_owned()]).await
}

pub async fn world_with(change: impl FnOnce(&mut TelegramOptions)) -> World {
    let (transport, files) = (Arc::new(MemoryTransport::default()), MemoryStorage::new());
    let platform = Platform {
        transport: transport.clone(),
        clock: Arc::new(OsClock),
        entropy: Arc::new(OsEntropy),
        storage: Arc::new(files.clone()),
        tasks: Arc::new(OsSpawner),
        processes: Arc::new(OsProcesses),
        probe: Arc::new(NoProbe),
    };
    let fake = FakeTelegram::new();
    fake.set_token(TOKEN);
    let bound = fake.serve(&platform, ADDRESS.into(), CancellationToken::new()).await.unwrap();
    let mut options = TelegramOptions {
        token: Secret::new(TOKEN),
        token_source: "config".to_owned(),
        api_root: format!("http://{bound}/"),
        ..TelegramOptions::default()
    };
    change(&mut options);
    let pairing = Arc::new(PairingStore::new(&platform, "telegram"));
    let bot = Telegram::new(&platform, options, pairing.clone());
    World { fake, bot, pairing, sink: Arc::default(), files, transport }
}

/// A receiving bot; `stop` ends it.
pub struct Receiving {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), ChannelError>>,
}

impl Receiving {
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
    /// Waits until the bot gives up.
    pub async fn ended(self) -> ChannelError {
        self.task.await.unwrap().unwrap_err()
    }
}

impl World {
    pub fn receive(&self) -> Receiving {
        let (bot, sink, stop) = (self.bot.clone(), self.sink.clone(), CancellationToken::new());
        let token = stop.clone();
        let task = tokio::spawn(async move { bot.receive(&*sink, token).await });
        Receiving { stop, task }
    }

    pub fn status(&self) -> AccountStatus {
        self.bot.status()
    }

    pub fn error(&self) -> String {
        let error = self.status().last_error.unwrap_or_default();
        assert_harmless(&error);
        error
    }

    pub async fn send(&self, to: &str, text: &str) -> Result<Delivered, SendError> {
        self.deliver(&self.target(to), text, &[], None).await
    }

    /// Sends all parts of a message, each once; gives the proof of the last one.
    pub async fn deliver(
        &self,
        to: &Target,
        text: &str,
        media: &[Media],
        reply_to: Option<&str>,
    ) -> Result<Delivered, SendError> {
        let size = |m: &Media| Attachment { name: m.name.clone(), mime: m.mime.clone(), size: m.bytes.len() as u64 };
        let parts = self.bot.render(text, &media.iter().map(size).collect::<Vec<_>>());
        let mut to = to.clone();
        let mut last = None;
        for part in &parts {
            let media = match part {
                Part::File { media: number, .. } => Some(media[*number].clone()),
                Part::Text { .. } => None,
            };
            let reply_to = reply_to.filter(|_| last.is_none());
            let sent = self.bot.send(Piece { id: "1/0", to: &to, reply_to, part, media }).await;
            let delivered = sent.inspect_err(|error| assert_harmless(&error.to_string()))?;
            to.chat.clone_from(&delivered.chat_id);
            last = Some(delivered);
        }
        Ok(last.unwrap())
    }

    pub fn target(&self, to: &str) -> Target {
        self.bot.parse_target(to).unwrap()
    }
}

/// S17: no error shows the token or the address that contains it.
pub fn assert_harmless(text: &str) {
    // The service may name the path; then a word stands where the token was.
    let masked = text.replace("/bot<bot token>", "");
    assert!(!text.contains("SECRET") && !masked.contains("/bot") && !text.contains("8081"), "{text}");
}

/// Lets virtual time pass.
pub async fn seconds(n: u64) {
    tokio::time::sleep(std::time::Duration::from_secs(n)).await;
}
