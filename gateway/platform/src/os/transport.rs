use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::{BoxFuture, BoxIo, Listener, Transport};

/// Sockets still waiting to be accepted; a reconnect storm of a few hundred clients fits.
const BACKLOG: u32 = 1024;

/// TCP of the operating system, without Nagle's delay.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsTransport;

impl Transport for OsTransport {
    fn bind(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            // A restart must not wait for old connections to time out; a live listener still refuses the port.
            socket.set_reuseaddr(true)?;
            socket.bind(addr)?;
            let listener: Box<dyn Listener> = Box::new(OsListener(socket.listen(BACKLOG)?));
            Ok(listener)
        })
    }

    fn connect<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<BoxIo>> {
        Box::pin(async move {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let stream = TcpStream::connect((host, port)).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as BoxIo)
        })
    }

    /// Only an own address can be bound. Nothing is sent and nothing listens.
    fn is_own_address(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let usable = !ip.is_unspecified() && !ip.is_multicast();
        ip.is_loopback() || (usable && std::net::UdpSocket::bind((ip, 0)).is_ok())
    }

    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.map(|addr| addr.ip()).collect()) })
    }
}

struct OsListener(TcpListener);

impl Listener for OsListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxIo, SocketAddr)>> {
        Box::pin(async move {
            let (stream, peer) = self.0.accept().await?;
            stream.set_nodelay(true)?;
            Ok((Box::new(stream) as BoxIo, peer))
        })
    }
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f56_addresses_of_this_machine_are_known() {
        let own = |ip: &str| OsTransport.is_own_address(ip.parse().unwrap());
        assert!(own("127.0.0.1") && own("127.9.8.7") && own("::1") && own("::ffff:127.0.0.1"));
        for other in ["0.0.0.0", "::", "203.0.113.9", "2001:db8::9", "224.0.0.1"] {
            assert!(!own(other), "{other}");
        }
        // The address under which this machine would speak to others, if it has one. Nothing is sent.
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        if socket.connect("192.0.2.1:9").is_ok() {
            assert!(OsTransport.is_own_address(socket.local_addr().unwrap().ip()));
        }
    }
}
