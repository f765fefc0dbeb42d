//! Connections to the public internet only: what a person or a model names must not lead into this machine, its network
//! or its cloud (S16).

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use ipnet::{Ipv4Net, Ipv6Net};

use crate::{BoxFuture, BoxIo, Listener, Transport};

/// True for addresses of the public internet: not this machine, no private, shared, link-local (cloud metadata),
/// documentation, multicast or reserved range, also not wrapped into IPv6.
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !CLOSED_V4.iter().any(|net| net.contains(&ip)),
        IpAddr::V6(ip) => GLOBAL_V6.contains(&ip) && !CLOSED_V6.iter().any(|net| net.contains(&ip)),
    }
}

/// IANA's special-purpose registry, multicast and class E.
const CLOSED_V4: [Ipv4Net; 15] = [
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    v4([224, 0, 0, 0], 4),
    v4([240, 0, 0, 0], 4),
];
/// All global unicast addresses ...
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0], 3);
/// ... but for protocol assignments, documentation, and 6to4, which hides an IPv4 address.
const CLOSED_V6: [Ipv6Net; 4] =
    [v6([0x2001, 0], 23), v6([0x2001, 0x0db8], 32), v6([0x2002, 0], 16), v6([0x3fff, 0], 20)];

const fn v4([a, b, c, d]: [u8; 4], length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6([a, b]: [u16; 2], length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), length)
}

/// A transport that resolves each name once and connects to exactly the address that it judged, so that no second answer
/// of the name server leads elsewhere. A name with any address that is not public is refused.
#[derive(Clone)]
pub struct PublicTransport(Arc<dyn Transport>);

impl PublicTransport {
    /// Over `inner`.
    pub fn new(inner: Arc<dyn Transport>) -> Self {
        Self(inner)
    }
}

impl Transport for PublicTransport {
    fn bind(&self, _: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(std::future::ready(Err(io::Error::other("this transport only connects"))))
    }

    fn connect<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<BoxIo>> {
        Box::pin(async move {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let found = match host.parse::<IpAddr>() {
                Ok(ip) => vec![ip],
                Err(_) => self.0.resolve(host).await?,
            };
            if found.iter().any(|ip| !is_public(*ip)) {
                let text = "the address is not on the public internet";
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
            }
            let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            for ip in found {
                match self.0.connect(&ip.to_string(), port).await {
                    Ok(io) => return Ok(io),
                    Err(e) => last = e,
                }
            }
            Err(last)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn s16_only_public_addresses() {
        for closed in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.168.0.1",
            "198.18.0.1",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::7f00:1",
            "64:ff9b::7f00:1",
            "64:ff9b::808:808",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "2002:7f00:1::",
            "100::1",
            "3fff::1",
        ] {
            assert!(!is_public(closed.parse().unwrap()), "{closed}");
        }
        for open in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "128.0.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.167.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
        ] {
            assert!(is_public(open.parse().unwrap()), "{open}");
        }
    }

    /// Answers with one list first and another afterwards, and notes where connections went.
    struct Rebinding(Mutex<Vec<Vec<IpAddr>>>, Mutex<Vec<String>>);

    impl Transport for Rebinding {
        fn bind(&self, _: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
            Box::pin(std::future::ready(Err(io::Error::other("no"))))
        }
        fn connect<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<BoxIo>> {
            self.1.lock().unwrap().push(format!("{host}:{port}"));
            Box::pin(std::future::ready(Ok(Box::new(tokio::io::duplex(1).0) as BoxIo)))
        }
        fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
            let next = self.0.lock().unwrap().remove(0);
            Box::pin(std::future::ready(Ok(next)))
        }
    }

    #[tokio::test]
    async fn s16_a_name_is_resolved_once_and_its_address_is_the_one_connected_to() {
        let (public, private): (IpAddr, IpAddr) = ("1.1.1.1".parse().unwrap(), "127.0.0.1".parse().unwrap());
        let dns = vec![vec![public], vec![private], vec![public, private], vec![]];
        let inner = Arc::new(Rebinding(Mutex::new(dns), Mutex::default()));
        let transport = PublicTransport::new(inner.clone());
        assert!(transport.connect("name.example", 443).await.is_ok());
        assert_eq!(*inner.1.lock().unwrap(), ["1.1.1.1:443"]);
        for _ in 0..3 {
            assert!(transport.connect("name.example", 443).await.is_err());
        }
        for literal in ["127.0.0.1", "[::1]", "169.254.169.254", "[::ffff:10.0.0.1]"] {
            assert!(transport.connect(literal, 80).await.is_err(), "{literal}");
        }
        assert_eq!(inner.1.lock().unwrap().len(), 1, "no connection was tried");
    }
}
