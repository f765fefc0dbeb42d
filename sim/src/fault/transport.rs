//! Real sockets with faults.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use openclaw_platform::{BoxFuture, BoxIo, Listener, Transport};
use tokio::net::{TcpListener, TcpStream};

use super::{FaultStream, LinkControl, Links, relay};

/// How often a connect looks whether an outage is over.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// TCP on the loopback interface where every connection has its [`LinkControl`] in between: the fault proxy of a live
/// run, without a port of its own.
#[derive(Debug, Clone)]
pub struct FaultTransport {
    name: String,
    accepts_from: String,
    links: Arc<Links>,
}

impl FaultTransport {
    /// For `name`, whose connects pass the link from `name` to the host, and whose accepts the link from `accepts_from`
    /// to `name`.
    pub fn new(name: &str, accepts_from: &str, links: Arc<Links>) -> Self {
        Self { name: name.to_owned(), accepts_from: accepts_from.to_owned(), links }
    }

    /// As [`Transport::connect`], by the link to the host named `to` instead of an address.
    pub async fn connect_as(&self, to: &str, addr: SocketAddr) -> io::Result<BoxIo> {
        let link = self.links.link(&self.name, to);
        while blocked(&link) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        if link.settings().refuse {
            return Err(io::Error::new(io::ErrorKind::ConnectionRefused, format!("{to} refuses")));
        }
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let (near, far) = FaultStream::pair(link);
        relay::start(stream, far, abort);
        Ok(Box::new(near))
    }
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

fn only_loopback(addr: SocketAddr) -> io::Result<SocketAddr> {
    let refused = || io::Error::new(io::ErrorKind::AddrNotAvailable, format!("{addr} is not a loopback address"));
    addr.ip().is_loopback().then_some(addr).ok_or_else(refused)
}

impl Transport for FaultTransport {
    fn bind(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let listener = TcpListener::bind(only_loopback(addr)?).await?;
            let link = self.links.link(&self.accepts_from, &self.name);
            Ok(Box::new(FaultListener { listener, link }) as Box<dyn Listener>)
        })
    }

    fn connect<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<BoxIo>> {
        Box::pin(async move {
            let ip = if host == "localhost" { "127.0.0.1" } else { host };
            let ip = ip.parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "not an address"))?;
            self.connect_as(host, only_loopback(SocketAddr::new(ip, port))?).await
        })
    }
}

struct FaultListener {
    listener: TcpListener,
    link: Arc<LinkControl>,
}

impl Listener for FaultListener {
    /// A refused or blocked connection was already made by the kernel: it is reset.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxIo, SocketAddr)>> {
        Box::pin(async move {
            loop {
                let (stream, peer) = self.listener.accept().await?;
                if self.link.settings().refuse || blocked(&self.link) {
                    abort(stream);
                    continue;
                }
                stream.set_nodelay(true)?;
                // The socket is the end that connected, seen from here.
                let (far, near) = FaultStream::pair(self.link.clone());
                relay::start(stream, far, abort);
                return Ok((Box::new(near) as BoxIo, peer));
            }
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
