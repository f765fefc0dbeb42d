//! The floor: a server that does as little as a server can. The same handshake shape, answers and events of the gateway's
//! sizes, all of them prepared; a request is told by one byte at a fixed place. No JSON, no authentication, no state but
//! the list of subscribers. What is queued goes out in one write. A limit to measure against, not a target.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use clap::Args;
use futures_util::task::AtomicWaker;
use tokio::net::{TcpListener, TcpStream};

use crate::{
    Result,
    requests::{ID_AT, Request},
    wire::{TEXT, find, server_text},
};

/// What a subscriber that does not read may have waiting; more is dropped.
const BUDGET: usize = 1536 << 10;

/// How large everything is; measured at the gateway.
#[derive(Debug, Clone, Args)]
pub struct Sizes {
    /// Bytes of connect.challenge.
    #[arg(long, default_value_t = 130)]
    pub challenge: usize,
    /// Bytes of hello-ok.
    #[arg(long, default_value_t = 4096)]
    pub hello: usize,
    /// Bytes of an event.
    #[arg(long, default_value_t = 600)]
    pub event: usize,
    /// Bytes of an answer, by the letter of the request: `h=1500`.
    #[arg(long = "answer", value_name = "LETTER=BYTES", value_parser = answer)]
    pub answers: Vec<(char, usize)>,
}

fn answer(text: &str) -> std::result::Result<(char, usize), String> {
    let bad = || format!("expected LETTER=BYTES, found {text:?}");
    let (letter, bytes) = text.split_once('=').ok_or_else(bad)?;
    Ok((letter.parse().map_err(|_| bad())?, bytes.parse().map_err(|_| bad())?))
}

impl Sizes {
    /// The arguments that give a floor process these sizes.
    pub fn to_args(&self) -> Vec<String> {
        let mut args = vec![
            format!("--challenge={}", self.challenge),
            format!("--hello={}", self.hello),
            format!("--event={}", self.event),
        ];
        args.extend(self.answers.iter().map(|(letter, bytes)| format!("--answer={letter}={bytes}")));
        args
    }
}

/// Prepared bytes.
struct Prepared {
    upgrade: Vec<u8>,
    answers: [Option<Vec<u8>>; 256],
    event: Vec<u8>,
}

impl Prepared {
    fn new(sizes: &Sizes) -> Self {
        let mut upgrade = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
            sec-websocket-accept: iDGJ3tBJq1p4NtpXlFUnKyEZKlU=\r\n\r\n"
            .to_vec();
        let challenge = r#"{"type":"event","event":"connect.challenge","payload":{"nonce":"floor","ts":1,"x":""#;
        upgrade.extend(padded(challenge, sizes.challenge));
        let mut answers = [const { None }; 256];
        for (letter, bytes) in sizes.answers.iter().copied().chain([('c', sizes.hello)]) {
            let head = format!(r#"{{"type":"res","id":"{letter}","ok":true,"payload":{{"x":""#);
            answers[usize::from(letter as u8)] = Some(padded(&head, bytes));
        }
        let event = padded(r#"{"type":"event","event":"presence","payload":{"x":""#, sizes.event);
        Self { upgrade, answers, event }
    }
}

/// A frame of `bytes` bytes of text that starts with `head`.
fn padded(head: &str, bytes: usize) -> Vec<u8> {
    let fill = bytes.saturating_sub(head.len() + 3);
    server_text(format!("{head}{}\"}}}}", "x".repeat(fill)).as_bytes())
}

/// A connection as others see it.
#[derive(Default)]
struct Peer {
    out: Mutex<Vec<u8>>,
    waker: AtomicWaker,
    gone: AtomicBool,
}

#[derive(Default)]
struct Peers(Mutex<Vec<Arc<Peer>>>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Peers {
    fn broadcast(&self, event: &[u8]) {
        let mut peers = lock(&self.0);
        peers.retain(|p| !p.gone.load(Ordering::Relaxed));
        for peer in peers.iter() {
            let mut out = lock(&peer.out);
            if out.len() + event.len() <= BUDGET {
                out.extend_from_slice(event);
                drop(out);
                peer.waker.wake();
            }
        }
    }
}

/// Serves until the process is killed.
pub async fn serve(port: u16, sizes: &Sizes) -> Result<()> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    let listener: TcpListener = socket.listen(1024)?;
    let (prepared, peers) = (Arc::new(Prepared::new(sizes)), Arc::new(Peers::default()));
    loop {
        let (io, _) = listener.accept().await?;
        let (prepared, peers) = (prepared.clone(), peers.clone());
        tokio::spawn(async move {
            let peer = Arc::new(Peer::default());
            let _ = connection(io, &prepared, &peers, &peer).await;
            peer.gone.store(true, Ordering::Relaxed);
        });
    }
}

async fn connection(io: TcpStream, prepared: &Prepared, peers: &Peers, peer: &Arc<Peer>) -> io::Result<()> {
    io.set_nodelay(true)?;
    let mut read = vec![0; 4 << 10];
    let mut end = 0;
    while !read[..end].ends_with(b"\r\n\r\n") {
        io.readable().await?;
        end += take(io.try_read(&mut read[end..]))?.unwrap_or(0);
    }
    let mut out = prepared.upgrade.clone();
    end = 0;
    let mut closing = false;
    loop {
        let written = if out.is_empty() { 0 } else { take(io.try_write(&out))?.unwrap_or(0) };
        out.drain(..written);
        if closing && out.is_empty() {
            return Ok(());
        }
        let blocked = !out.is_empty();
        let readable = std::future::poll_fn(|cx| {
            peer.waker.register(cx.waker());
            if !closing && io.poll_read_ready(cx)?.is_ready() {
                return Poll::Ready(io::Result::Ok(true));
            }
            let more = !blocked && !lock(&peer.out).is_empty();
            if more || (blocked && io.poll_write_ready(cx)?.is_ready()) {
                return Poll::Ready(Ok(false));
            }
            Poll::Pending
        });
        if pin!(readable).await? {
            if end == read.len() {
                read.resize(2 * end, 0);
            }
            end += take(io.try_read(&mut read[end..]))?.unwrap_or(0);
            let mut at = 0;
            while at < end {
                let found = find(&read[..end], at);
                if found.is_none() && is_frame(&read[at..end]) {
                    break;
                }
                let payload = found.filter(|f| f.first == TEXT).map(|f| f.payload);
                at = payload.as_ref().map_or(end, |p| p.end);
                let letter = payload.and_then(|p| read[p].get(ID_AT).copied()).unwrap_or(0);
                if let Some(answer) = &prepared.answers[usize::from(letter)] {
                    out.extend_from_slice(answer);
                } else {
                    out.extend_from_slice(&[0x88, 2, 0x03, 0xf0]);
                    closing = true;
                    break;
                }
                match Request::of_letter(letter) {
                    Some(Request::Connect) => lock(&peers.0).push(peer.clone()),
                    Some(Request::Event) => peers.broadcast(&prepared.event),
                    _ => {}
                }
            }
            read.copy_within(at..end, 0);
            end -= at;
        }
        let mut queued = lock(&peer.out);
        if out.is_empty() {
            std::mem::swap(&mut out, &mut queued);
        } else {
            out.append(&mut queued);
        }
    }
}

/// True when this may become a text frame of less than four gigabytes.
fn is_frame(head: &[u8]) -> bool {
    let huge = head.len() > 5 && head[1] & 0x7f == 127 && head[2..6] != [0; 4];
    head[0] == TEXT && !huge
}

/// `None` when it would block; an end of the stream is an error.
fn take(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(n) => Ok(Some(n)),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(e) => Err(e),
    }
}
