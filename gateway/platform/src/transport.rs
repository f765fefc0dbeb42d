//! Sockets as a seam. TLS is a layer on top ([`crate::tls`]), the same for real and simulated streams.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::BoxFuture;

/// A byte stream in both directions.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A boxed [`Io`].
pub type BoxIo = Box<dyn Io>;

/// Opens sockets.
pub trait Transport: Send + Sync {
    /// Listens on `addr` (port 0: any free port).
    fn bind(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>>;
    /// Connects to `host` (a name or an address) and `port`.
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<BoxIo>>;
    /// True when `ip` is an address of this machine: what comes from there comes from here (D40).
    fn is_own_address(&self, ip: IpAddr) -> bool {
        ip.to_canonical().is_loopback()
    }
    /// The addresses of the name `host`. A transport without names of its own has none.
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        let _ = host;
        Box::pin(std::future::ready(Err(io::ErrorKind::Unsupported.into())))
    }
}

/// Accepts connections.
pub trait Listener: Send {
    /// The next connection and the address of its peer. Cancel-safe.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxIo, SocketAddr)>>;
    /// Where it listens.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}
