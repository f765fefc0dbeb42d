//! Where a connection comes from: this machine, or elsewhere, and from which address (protocol-core.md section 7, S13).

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use openclaw_config::Network;

use super::forwarded::{is_forwarding, names_loopback_only, parse_ip};

/// Where a connection comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The client's address: the TCP peer, or what a trusted proxy says. What a client could have made up never counts.
    pub client_ip: IpAddr,
    /// On this machine, asked for by a local name, through no untrusted proxy.
    pub local: bool,
    /// A program of this machine by its address, whatever name it asked for: loopback or an own address, and through no
    /// proxy. Its wrong credentials count as this machine's (D40); it gives no further right.
    pub here: bool,
    /// The address to show: none for local clients and when an untrusted proxy stands between.
    pub shown_ip: Option<IpAddr>,
    /// What Tailscale Serve says about the client; anybody on this machine could say the same.
    pub serve: Option<ServeClaim>,
}

/// An identity in the headers of Tailscale Serve, not confirmed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeClaim {
    /// The address that `tailscale whois` is asked about.
    pub ip: IpAddr,
    /// Whose it should be.
    pub login: String,
}

/// What the gateway knows of the machine that it runs on.
pub struct Machine<'a> {
    /// Proxies whose forwarding headers count.
    pub trusted: &'a [Network],
    /// Its name in the tailnet, in lower case.
    pub tailnet_name: Option<&'a str>,
    /// Is this address its own?
    pub is_own: &'a (dyn Fn(IpAddr) -> bool + Send + Sync),
}

impl Origin {
    /// Judges a connection by its TCP peer and request headers. Forwarding headers count only from trusted proxies (S13);
    /// any of them makes a connection not local, unless a trusted proxy on loopback names nothing but loopback (S37).
    pub fn of(peer: SocketAddr, headers: &HeaderMap, machine: &Machine<'_>) -> Self {
        let peer = peer.ip().to_canonical();
        let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
        let is_trusted = |ip: IpAddr| machine.trusted.iter().any(|n| n.contains(ip));
        let is_forwarded = headers.keys().any(is_forwarding);
        // Each proxy adds at the right, so that what a client made up stands at the left. A word that is no address
        // ends the walk.
        let hops: Vec<IpAddr> = headers
            .get_all("x-forwarded-for")
            .iter()
            .rev()
            .flat_map(|v| v.to_str().unwrap_or("?").rsplit(',').map(parse_ip))
            .map_while(|ip| ip)
            .collect();
        let told: Vec<IpAddr> = match is_trusted(peer) {
            false => vec![],
            true if headers.contains_key("x-forwarded-for") => hops.clone(),
            true => header("x-real-ip").and_then(parse_ip).into_iter().collect(),
        };
        let strangers = || told.iter().copied().filter(|ip| !is_trusted(*ip));
        let client_ip = strangers().next().or(told.last().copied()).unwrap_or(peer);
        let has_local_name = header("host").is_some_and(|host| is_local_name(host, machine.tailnet_name));
        // A loopback address that a proxy elsewhere saw is that machine's, not this one's.
        let is_through = is_trusted(peer) && names_loopback_only(headers);
        let is_direct = !is_forwarded || is_through;
        let local = peer.is_loopback() && client_ip.is_loopback() && has_local_name && is_direct;
        let here = local || (!is_forwarded && (machine.is_own)(peer));
        let hidden = client_ip.is_loopback() || (is_forwarded && told.is_empty());
        // For show, the first public address is the better guess than a proxy nobody listed.
        let shown = strangers().find(|ip| !is_private(*ip)).unwrap_or(client_ip);
        Self { client_ip, local, here, shown_ip: (!hidden).then_some(shown), serve: claim(peer, headers, &hops) }
    }

    /// A direct connection.
    #[cfg(test)]
    pub fn direct(ip: IpAddr) -> Self {
        Self { client_ip: ip, local: ip.is_loopback(), here: ip.is_loopback(), shown_ip: None, serve: None }
    }
}

/// Serve runs on this machine and sets all of these headers.
fn claim(peer: IpAddr, headers: &HeaderMap, hops: &[IpAddr]) -> Option<ServeClaim> {
    let complete = ["x-forwarded-proto", "x-forwarded-host"].iter().all(|h| headers.contains_key(*h));
    let login = headers.get("tailscale-user-login")?.to_str().ok()?.trim();
    let ip = *hops.first()?;
    (complete && peer.is_loopback() && !login.is_empty()).then(|| ServeClaim { ip, login: login.to_owned() })
}

/// Addresses of local networks.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// A name under which only this machine is asked for. Of the names below `.ts.net` that is its own one (S02).
fn is_local_name(host: &str, tailnet_name: Option<&str>) -> bool {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let name = name.to_ascii_lowercase();
    matches!(name.as_str(), "localhost" | "127.0.0.1" | "::1") || tailnet_name == Some(name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(peer: &str, headers: &[(&'static str, &str)]) -> Origin {
        let mut map = HeaderMap::new();
        for (k, v) in headers {
            map.insert(*k, v.parse().unwrap());
        }
        let trusted = ["127.0.0.9", "10.0.0.0/8"].map(|n| Network::parse(n).unwrap());
        let is_own = |ip: IpAddr| ip.is_loopback() || ip == IpAddr::from([192, 168, 7, 7]);
        let machine = Machine { trusted: &trusted, tailnet_name: Some("box.tail1.ts.net"), is_own: &is_own };
        Origin::of(peer.parse().unwrap(), &map, &machine)
    }

    #[test]
    fn s13_forwarding_headers_count_from_trusted_proxies_only() {
        let host = ("host", "127.0.0.1:1");
        assert!(origin("127.0.0.1:5", &[host]).local);
        assert!(origin("[::1]:5", &[("host", "[::1]:18789")]).local);
        assert!(origin("127.0.0.1:5", &[("host", "box.tail1.ts.net")]).local);
        assert!(!origin("127.0.0.1:5", &[("host", "evil.example")]).local);
        assert!(!origin("127.0.0.1:5", &[("host", "other.tail1.ts.net")]).local, "another machine's name");
        assert!(!origin("127.0.0.1:5", &[]).local);
        assert!(!origin("10.0.0.1:5", &[host]).local);
        let spoofed = origin("127.0.0.1:5", &[host, ("x-forwarded-for", "127.0.0.1")]);
        assert!(!spoofed.local && spoofed.shown_ip.is_none());
        let through = origin("127.0.0.9:5", &[host, ("x-forwarded-for", "203.0.113.9:4711, 10.0.0.1")]);
        assert_eq!((through.local, through.shown_ip), (false, "203.0.113.9".parse().ok()));
        assert!(origin("127.0.0.9:5", &[host, ("x-forwarded-for", "127.0.0.1")]).local);
        assert_eq!(origin("127.0.0.9:5", &[host, ("x-real-ip", "198.51.100.7")]).shown_ip, "198.51.100.7".parse().ok());
    }

    #[test]
    fn s13_what_a_client_made_up_stands_at_the_left_and_does_not_count() {
        let host = ("host", "127.0.0.1:1");
        let ip = |chain: &str| origin("127.0.0.9:5", &[host, ("x-forwarded-for", chain)]).client_ip.to_string();
        assert_eq!(ip("127.0.0.1, 203.0.113.9"), "203.0.113.9");
        assert_eq!(ip("127.0.0.1, 203.0.113.9, 10.1.2.3"), "203.0.113.9", "behind two trusted proxies");
        assert_eq!(ip("127.0.0.1, nonsense, 10.1.2.3"), "10.1.2.3", "nothing is read beyond nonsense");
        assert_eq!(ip("203.0.113.9, 192.168.0.5"), "192.168.0.5", "failures count against whom the proxy saw");
        let shown = |chain: &str| origin("127.0.0.9:5", &[host, ("x-forwarded-for", chain)]).shown_ip.unwrap();
        assert_eq!(shown("203.0.113.9, 192.168.0.5").to_string(), "203.0.113.9");
        for forged in ["127.0.0.1, 203.0.113.9", "127.0.0.1, nonsense", "::1, 192.168.0.5", ""] {
            let local = origin("127.0.0.9:5", &[host, ("x-forwarded-for", forged)]).local;
            assert!(!local, "{forged}");
        }
        // Loopback as a proxy on another machine saw it; and a proxy that only sets a header nobody reads here.
        assert!(!origin("10.0.0.1:5", &[host, ("x-forwarded-for", "127.0.0.1")]).local);
        assert!(!origin("127.0.0.9:5", &[host, ("forwarded", "for=127.0.0.1")]).local);
    }

    #[test]
    fn s37_any_forwarding_header_makes_a_connection_not_local() {
        let host = ("host", "127.0.0.1:1");
        for (name, value) in [
            ("via", "1.1 proxy"),
            ("cf-connecting-ip", "203.0.113.9"),
            ("true-client-ip", "203.0.113.9"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-port", "443"),
            ("fly-client-ip", "203.0.113.9"),
            ("x-envoy-external-address", "203.0.113.9"),
            ("forwarded", "for=203.0.113.9"),
        ] {
            let plain = origin("127.0.0.1:5", &[host, (name, value)]);
            assert!(!plain.local && !plain.here, "{name}");
            let trusted = origin("127.0.0.9:5", &[host, (name, value)]);
            assert!(!trusted.local, "{name} alone from a trusted proxy");
            if !name.starts_with("x-forwarded-p") {
                let beside = origin("127.0.0.9:5", &[host, (name, value), ("x-forwarded-for", "127.0.0.1")]);
                assert!(!beside.local && !beside.here, "{name} beside a hop on loopback");
            }
        }
        let through = origin("127.0.0.9:5", &[host, ("x-forwarded-for", "127.0.0.1"), ("via", "1.1 localhost")]);
        assert!(through.local);
        assert!(!origin("127.0.0.1:5", &[host, ("x-forwarded-for", "127.0.0.1")]).local, "not a trusted proxy");
    }

    #[test]
    fn f56_this_machine_is_one_place_by_any_of_its_addresses() {
        for peer in ["127.0.0.1:5", "127.4.5.6:5", "[::1]:5", "192.168.7.7:5", "[::ffff:192.168.7.7]:5"] {
            assert!(origin(peer, &[("host", "anything.example")]).here, "{peer}");
        }
        assert!(
            !origin("192.168.7.7:5", &[("host", "127.0.0.1:1")]).local,
            "it counts here, it may no more than others"
        );
        assert!(!origin("203.0.113.9:5", &[("host", "127.0.0.1:1")]).here);
    }

    #[test]
    fn an_identity_of_serve_needs_all_of_its_headers_and_this_machine() {
        let all = [
            ("host", "box.tail1.ts.net"),
            ("x-forwarded-for", "1.2.3.4, 100.64.0.5"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "box.tail1.ts.net"),
            ("tailscale-user-login", "alice@example.com"),
        ];
        let claim = origin("127.0.0.1:5", &all).serve.unwrap();
        assert_eq!((claim.ip.to_string().as_str(), claim.login.as_str()), ("100.64.0.5", "alice@example.com"));
        assert!(origin("10.0.0.1:5", &all).serve.is_none());
        for missing in 1..all.len() {
            let mut some = all.to_vec();
            some.remove(missing);
            assert!(origin("127.0.0.1:5", &some).serve.is_none(), "{:?}", all[missing]);
        }
    }
}
