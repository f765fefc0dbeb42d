//! A gateway that stops and starts again inside one process, under load: nothing of the one before is left (F21, F22).

#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::expect_used, clippy::unwrap_used)] // looks from outside

mod support;

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use fakes::telegram::FakeTelegram;
use futures_util::{SinkExt as _, StreamExt as _};
use openclaw_platform::{Platform, Probe, TaskScope, TasksLeft, os};
use openclaw_server::{Control, ServerOptions, schema};
use serde_json::{Value, json};
use support::{TOKEN, connect};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, Message},
};
use tokio_util::sync::CancellationToken;

/// How often it starts.
const ROUNDS: usize = 100;
/// What a process keeps for good (pools, thread-local memory) is there by then.
const SETTLED: usize = 10;
/// Clients that ask for things.
const CLIENTS: usize = 4;
/// Resident memory that may come in between: the database grows by what is said in it, and so do the pages of it in memory
/// (4 MiB at most), the answers to keys and the log of the fake. What is left over of ninety gateways is more.
const MEMORY_KB: u64 = 10 << 10;
/// The process in which it is tried has this set. A thread of its own with memory of its own is what the C library gives each by
/// default, of which much is never used again: nothing could be told from the process's memory.
const ARENAS: (&str, &str) = ("MALLOC_ARENA_MAX", "1");
/// What hangs, hangs for good.
const HANGS: Duration = Duration::from_mins(1);

/// What the process holds.
#[derive(Debug)]
struct Held {
    descriptors: usize,
    tasks: usize,
    memory_kb: u64,
}

impl Held {
    fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        Self {
            descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
            tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
            memory_kb: memory.trim().split(' ').next().unwrap().parse().unwrap(),
        }
    }
}

/// The gateway's claims about itself.
#[derive(Default)]
struct Claims(Mutex<Vec<&'static str>>);

impl Probe for Claims {
    fn always(&self, name: &'static str, holds: bool) {
        if !holds {
            self.0.lock().unwrap().push(name);
        }
    }
    fn sometimes(&self, _: &'static str) {}
    fn gauge(&self, _: &'static str, _: u64) {}
}

/// The machine: a state directory, a port, and what was started on it.
struct Machine {
    state: tempfile::TempDir,
    port: u16,
    bot: SocketAddr,
    tasks: TaskScope,
    claims: Arc<Claims>,
}

impl Machine {
    fn new(bot: SocketAddr) -> Self {
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let tasks = TaskScope::new(Arc::new(os::OsSpawner));
        // In memory where there is such a place: how fast a disk syncs is not what is tried.
        let shared = Path::new("/dev/shm");
        let place = if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() };
        Self { state: tempfile::tempdir_in(place).unwrap(), port, bot, tasks, claims: Arc::default() }
    }

    fn platform(&self) -> Platform {
        let path: &Path = self.state.path();
        let (tasks, probe) = (Arc::new(self.tasks.clone()), self.claims.clone());
        Platform { tasks, probe, ..os::platform(path).unwrap() }
    }

    fn options(&self) -> ServerOptions {
        let telegram = json!({ "botToken": "1:a", "apiRoot": format!("http://{}", self.bot), "dmPolicy": "open", "allowFrom": ["*"] });
        let config = json!({ "channels": { "telegram": telegram }, "gateway": { "limits": { "drainMs": 500 } } });
        let config = openclaw_config::parse(&config.to_string(), &|_| None).unwrap().config;
        let listen = vec![([127, 0, 0, 1], self.port).into()];
        ServerOptions { channels: true, listen, ..support::options(config) }
    }

    /// One gateway, from its start to its end; somebody stays who does not read or has not said hello.
    async fn one_life(&self, round: usize, telegram: &FakeTelegram, idlers: bool) {
        let (control, orders) = mpsc::channel(1);
        let (ready, bound) = oneshot::channel();
        let gateway = tokio::spawn(openclaw_server::run(self.platform(), self.options(), orders, ready));
        bound.await.expect("it starts");
        let told = telegram.push_message(7, 7, &format!("round {round}"));
        assert!(told > 0);
        let clients: Vec<_> = (0..CLIENTS).map(|n| tokio::spawn(busy(self.port, round, n))).collect();
        let mut clients = futures_util::future::join_all(clients).await;
        let web = keep_alive(self.port).await;
        let stranger = if idlers { Some(open(self.port).await) } else { None };
        control.send(Control::Stop).await.unwrap();
        for client in &mut clients {
            let (code, runs) = (&mut client.as_mut().unwrap().heard).await.unwrap();
            assert_eq!(code, Some(1012), "the client hears why, {runs} runs of it had ended");
        }
        tokio::time::timeout(HANGS, gateway).await.expect("it stops").unwrap().unwrap();

        // Its own scope is empty before it returns; this one counts the same tasks a moment longer.
        assert!(self.tasks.ended(Duration::from_millis(100)).await, "round {round}: {:?}", self.tasks.left());
        assert_eq!(*self.claims.0.lock().unwrap(), Vec::<&str>::new());
        drop(TcpListener::bind(("127.0.0.1", self.port)).expect("nobody listens any more"));
        drop(schema::open(&self.platform()).expect("nobody holds the database any more"));
        drop((web, stranger));
    }
}

type Socket = WebSocketStream<TcpStream>;

/// A connection that has read its challenge.
async fn open(port: u16) -> Socket {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async(format!("ws://127.0.0.1:{port}/"), stream).await.unwrap();
    let challenge = socket.next().await.unwrap().unwrap();
    assert!(challenge.to_text().unwrap().contains("connect.challenge"));
    socket
}

/// A connection over which one request went, and which stays.
async fn keep_alive(port: u16) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = [0; 1024];
    let n = stream.read(&mut answer).await.unwrap();
    assert!(answer[..n].starts_with(b"HTTP/1.1 200"));
    stream
}

/// A client with requests under way.
struct Busy {
    /// The code of the close frame, and how many of its runs had ended before.
    heard: JoinHandle<(Option<u16>, usize)>,
}

/// Says hello and asks for runs, lists and a person's decision; gives back once a run of it was accepted.
async fn busy(port: u16, round: usize, n: usize) -> Busy {
    let mut socket = open(port).await;
    let scopes = ["operator.admin", "operator.approvals"].map(str::to_owned);
    socket.send(Message::text(connect("operator", &scopes, TOKEN, None).to_string())).await.unwrap();
    until(&mut socket, "c").await;
    let key = format!("{round}-{n}");
    let run = |more: &str| json!({ "message": "hi", "sessionKey": format!("s{n}"), "idempotencyKey": format!("{key}{more}") });
    let asked = [
        ("a", "agent", run("a")),
        ("b", "chat.send", run("b")),
        ("l", "sessions.list", json!({ "includeDerivedTitles": true })),
        ("h", "chat.history", json!({ "sessionKey": format!("s{n}") })),
        ("x", "exec.approval.request", json!({ "command": "true", "timeoutMs": 60_000 })),
        ("w", "agent.wait", json!({ "runId": "none", "timeoutMs": 60_000 })),
    ];
    for (id, method, params) in asked {
        let frame = json!({ "type": "req", "id": id, "method": method, "params": params });
        socket.feed(Message::text(frame.to_string())).await.unwrap();
    }
    socket.flush().await.unwrap();
    until(&mut socket, "a").await;
    let heard = tokio::spawn(async move {
        let mut ended = 0;
        while let Some(message) = socket.next().await {
            match message {
                Ok(Message::Close(frame)) => return (frame.map(|f| f.code.into()), ended),
                Ok(Message::Text(text)) => {
                    ended += usize::from(text.contains("\"lifecycle\"") && text.contains("\"end\""));
                }
                Ok(_) => {}
                Err(tungstenite::Error::ConnectionClosed) => break,
                Err(error) => panic!("client {key}: {error}"),
            }
        }
        (None, ended)
    });
    Busy { heard }
}

async fn until(socket: &mut Socket, id: &str) {
    loop {
        let message = tokio::time::timeout(HANGS, socket.next()).await.expect("an answer").unwrap().unwrap();
        let Message::Text(text) = message else { continue };
        let frame: Value = serde_json::from_str(&text).unwrap();
        if frame["id"] == id {
            assert_eq!(frame["ok"], true, "{frame}");
            return;
        }
    }
}

#[test]
fn nothing_is_left_after_a_stop_a_hundred_times() {
    if std::env::var_os(ARENAS.0).is_none() {
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        let ended = again.args(std::env::args_os().skip(1)).env(ARENAS.0, ARENAS.1).status().unwrap();
        assert!(ended.success(), "see above");
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(a_hundred_lives());
}

async fn a_hundred_lives() {
    let telegram = FakeTelegram::new();
    let outside = os::without_files();
    let end = CancellationToken::new();
    let bot = telegram.serve(&outside, ([127, 0, 0, 1], 0).into(), end.clone()).await.unwrap();
    let machine = Machine::new(bot);
    let mut settled = None;
    for round in 1..=ROUNDS {
        machine.one_life(round, &telegram, round % 10 == 0).await;
        if round == SETTLED {
            settled = Some(held(&machine).await);
        }
    }
    let (before, after) = (settled.unwrap(), held(&machine).await);
    println!("after {SETTLED}: {before:?}; after {ROUNDS}: {after:?}");
    assert!(after.descriptors <= before.descriptors, "{before:?} {after:?}");
    assert!(after.tasks <= before.tasks, "{before:?} {after:?}");
    assert!(after.memory_kb <= before.memory_kb + MEMORY_KB, "{before:?} {after:?}");
    end.cancel();
}

/// What is held once the fake has noticed that nobody asks it any more.
async fn held(machine: &Machine) -> Held {
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(machine.tasks.left(), TasksLeft::new());
    Held::now()
}
