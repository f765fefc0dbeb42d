//! Sockets on turmoil's network.

use std::{
    io,
    net::{Ipv6Addr, SocketAddr},
};

use openclaw_platform::{BoxFuture, BoxIo, Listener, Transport};

/// Sockets of whichever simulated host uses it; host names are turmoil's, and the network is IPv4.
///
/// Facts to know (reference: simulation): the window counts writes, not bytes; `partition` loses bytes for good, so an
/// outage is `hold` and `release`; a refused connect leaks a port.
#[derive(Debug, Clone, Copy, Default)]
pub struct SimTransport;

/// As on a machine without IPv6; turmoil itself would panic.
fn no_ipv6(what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::AddrNotAvailable, format!("no IPv6 in this network: {what}"))
}

impl Transport for SimTransport {
    /// Only the unspecified address and loopback exist.
    fn bind(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            if addr.is_ipv6() {
                return Err(no_ipv6(addr));
            }
            let listener = turmoil::net::TcpListener::bind(addr).await?;
            Ok(Box::new(SimListener(listener)) as Box<dyn Listener>)
        })
    }

    fn connect<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<BoxIo>> {
        Box::pin(async move {
            let host = if host == "localhost" { "127.0.0.1" } else { host };
            if host.parse::<Ipv6Addr>().is_ok() {
                return Err(no_ipv6(host));
            }
            let stream = turmoil::net::TcpStream::connect((host, port)).await?;
            Ok(Box::new(stream) as BoxIo)
        })
    }
}

struct SimListener(turmoil::net::TcpListener);

impl Listener for SimListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxIo, SocketAddr)>> {
        Box::pin(async move {
            let (stream, peer) = self.0.accept().await?;
            Ok((Box::new(stream) as BoxIo, peer))
        })
    }
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}
