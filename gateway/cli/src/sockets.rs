//! Which sockets listen on a port of this machine, where the system tells (Linux: `/proc/net/tcp`).
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // the binary's own look at the system

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// A listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// Its address; unspecified for all.
    pub ip: IpAddr,
    /// Its port.
    pub port: u16,
    /// The user that it belongs to.
    pub uid: u32,
    /// What tells it from every other socket of this machine.
    pub inode: u64,
}

/// All listening sockets; `None` where the system does not tell.
pub fn listeners() -> Option<Vec<Listener>> {
    let v4 = fs::read_to_string("/proc/net/tcp").ok()?;
    let v6 = fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
    Some(v4.lines().chain(v6.lines()).filter_map(parse).collect())
}

/// Numbers of this process's own sockets that listen on `port`; none where the system does not tell.
pub fn own_listeners(port: u16) -> Vec<u64> {
    let open: Vec<u64> = fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| socket_number(fs::read_link(entry.path()).ok()?.to_str()?))
        .collect();
    let all = listeners().unwrap_or_default();
    all.into_iter().filter(|l| l.port == port && open.contains(&l.inode)).map(|l| l.inode).collect()
}

/// Those that take a connection to `ip`: with its very address, else with all addresses.
pub fn taking(all: &[Listener], ip: IpAddr, port: u16) -> Vec<&Listener> {
    let on_port = |wanted: &dyn Fn(IpAddr) -> bool| -> Vec<&Listener> {
        all.iter().filter(|l| l.port == port && wanted(l.ip.to_canonical())).collect()
    };
    let exact = on_port(&|there| there == ip);
    if exact.is_empty() { on_port(&|there| there.is_unspecified()) } else { exact }
}

fn socket_number(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// A line of `/proc/net/tcp` or `tcp6`; `None` for the heading and for sockets that do not listen.
fn parse(line: &str) -> Option<Listener> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (address, state, uid, inode) = (fields.get(1)?, fields.get(3)?, fields.get(7)?, fields.get(9)?);
    if *state != LISTEN {
        return None;
    }
    let (ip, port) = address.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(Listener { ip: address_of(ip)?, port, uid: uid.parse().ok()?, inode: inode.parse().ok()? })
}

/// The kernel prints each four bytes of an address as one number of this machine's byte order.
fn address_of(hex: &str) -> Option<IpAddr> {
    let word = |n: usize| Some(u32::from_str_radix(hex.get(n * 8..n * 8 + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (n, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(n)?);
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inodes(listeners: &[&Listener]) -> Vec<u64> {
        listeners.iter().map(|l| l.inode).collect()
    }

    #[test]
    fn lines_of_the_kernel_are_read() {
        let word = |bytes: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(bytes));
        let line = |address: &str, state: &str| {
            format!(
                "   0: {address}:4965 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0"
            )
        };
        let v4 = parse(&line(&word([127, 0, 0, 1]), "0A")).unwrap();
        assert_eq!((v4.ip, v4.port, v4.uid, v4.inode), (Ipv4Addr::LOCALHOST.into(), 0x4965, 1000, 4711));
        let v6 = [word([0; 4]), word([0; 4]), word([0; 4]), word([0, 0, 0, 1])].concat();
        assert_eq!(parse(&line(&v6, "0A")).unwrap().ip, IpAddr::from(Ipv6Addr::LOCALHOST));
        assert_eq!(parse(&line(&word([127, 0, 0, 1]), "01")), None, "a connection");
        assert_eq!(parse("  sl  local_address rem_address   st tx_queue"), None);
        assert_eq!(socket_number("socket:[12]"), Some(12));
    }

    #[test]
    fn the_very_address_comes_before_all_addresses() {
        let listener = |ip: &str, port, inode| Listener { ip: ip.parse().unwrap(), port, uid: 0, inode };
        let all = [listener("127.0.0.1", 5, 1), listener("0.0.0.0", 5, 2), listener("::", 5, 3), listener("::1", 6, 4)];
        let to = |ip: &str, port| inodes(&taking(&all, ip.parse().unwrap(), port));
        assert_eq!(to("127.0.0.1", 5), [1]);
        assert_eq!(to("127.0.0.2", 5), [2, 3]);
        assert_eq!(to("127.0.0.1", 6), [0; 0]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn own_sockets_are_found() {
        let own = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = own.local_addr().unwrap().port();
        let found = own_listeners(port);
        assert_eq!(found.len(), 1);
        let all = listeners().unwrap();
        let taking = taking(&all, Ipv4Addr::LOCALHOST.into(), port);
        assert_eq!(inodes(&taking), found);
        assert_eq!(taking[0].uid, rustix::process::getuid().as_raw());
    }
}
