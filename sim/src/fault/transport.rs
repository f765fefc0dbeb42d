//! Real sockets with faults.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use openclaw_platform::{BoxFuture, BoxIo, Listener, Transport, sync::LockExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{FaultStream, LinkControl, Links, relay};

/// How often a connect looks whether an outage is over.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The machines of a scenario on the loopback interface of this one: a name and a port stand for a real port.
#[derive(Debug)]
pub struct LoopbackNet {
    links: Arc<Links>,
    ports: Mutex<BTreeMap<(String, u16), u16>>,
}

impl LoopbackNet {
    /// Nobody listens yet.
    pub fn new(links: Arc<Links>) -> Arc<Self> {
        Arc::new(Self { links, ports: Mutex::default() })
    }

    /// Says that `port` of `machine` is the port `real`, for listeners in other processes.
    pub fn publish(&self, machine: &str, port: u16, real: u16) {
        self.ports.locked().insert((machine.to_owned(), port), real);
    }

    /// The port that stands for `port` of `machine`.
    pub fn real_port(&self, machine: &str, port: u16) -> Option<u16> {
        self.ports.locked().get(&(machine.to_owned(), port)).copied()
    }

    /// The sockets of `name` on `machine`. Its connects pass the link from `name` to the other machine. What it accepts
    /// passes the link from `accepts_from`, which is for peers in other processes; those in this one have their own.
    pub fn transport(self: &Arc<Self>, machine: &str, name: &str, accepts_from: Option<&str>) -> FaultTransport {
        FaultTransport {
            net: self.clone(),
            machine: machine.to_owned(),
            name: name.to_owned(),
            accepted: accepts_from.map(|from| self.links.link(from, machine)),
        }
    }
}

/// TCP on the loopback interface with a [`LinkControl`] in between: the fault proxy of a live run, without a port of its
/// own.
#[derive(Debug, Clone)]
pub struct FaultTransport {
    net: Arc<LoopbackNet>,
    machine: String,
    name: String,
    accepted: Option<Arc<LinkControl>>,
}

fn blocked(link: &LinkControl) -> bool {
    let settings = link.settings();
    settings.half_open || settings.stalled.contains(&true)
}

/// Closes with RST.
fn abort(stream: TcpStream) {
    // Where it fails, the peer sees an orderly end instead.
    let _ = stream.set_zero_linger();
}

fn refused(host: &str, port: u16) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionRefused, format!("{host}:{port} refuses"))
}

impl Transport for FaultTransport {
    /// A free port of the loopback interface stands for the one asked for.
    fn bind(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            self.net.publish(&self.machine, addr.port(), listener.local_addr()?.port());
            Ok(Box::new(FaultListener { listener, link: self.accepted.clone() }) as Box<dyn Listener>)
        })
    }

    /// An outage makes it wait, as a lost SYN does.
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<BoxIo>> {
        Box::pin(async move {
            let machine = if matches!(host, "localhost" | "127.0.0.1") { self.machine.as_str() } else { host };
            let link = self.net.links.link(&self.name, machine);
            while blocked(&link) {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            let real = self.net.real_port(machine, port).filter(|_| !link.settings().refuse);
            let real = real.ok_or_else(|| refused(host, port))?;
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, real)).await?;
            stream.set_nodelay(true)?;
            let (near, far) = FaultStream::pair(link);
            relay::start(stream, far, abort);
            Ok(Box::new(near) as BoxIo)
        })
    }
}

struct FaultListener {
    listener: TcpListener,
    link: Option<Arc<LinkControl>>,
}

impl Listener for FaultListener {
    /// A refused or blocked connection was already made by the kernel: it is reset.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxIo, SocketAddr)>> {
        Box::pin(async move {
            loop {
                let (stream, peer) = self.listener.accept().await?;
                stream.set_nodelay(true)?;
                let Some(link) = &self.link else { return Ok((Box::new(stream) as BoxIo, peer)) };
                if link.settings().refuse || blocked(link) {
                    abort(stream);
                    continue;
                }
                // The socket is the end that connected, seen from here.
                let (far, near) = FaultStream::pair(link.clone());
                relay::start(stream, far, abort);
                return Ok((Box::new(near) as BoxIo, peer));
            }
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
