//! Is this connection local, and is its credential the one in force (protocol-core.md sections 7 and 8, decisions D8, D9).

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use openclaw_config::{AuthMode, Secret};
use openclaw_protocol::{connect::AuthParams, error::ErrorShape};
use subtle::ConstantTimeEq as _;

use crate::options::SharedAuth;

/// Where a connection comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The client's address: the TCP peer, or what a trusted proxy says.
    pub client_ip: IpAddr,
    /// On this machine, asked for by a local name, through no untrusted proxy.
    pub local: bool,
    /// The address to show: none for local clients and when an untrusted proxy stands between.
    pub shown_ip: Option<IpAddr>,
}

impl Origin {
    /// Judges a connection by its TCP peer and request headers. Forwarding headers count only from `trusted` (S13).
    pub fn of(peer: SocketAddr, headers: &HeaderMap, trusted: &[IpAddr]) -> Self {
        let peer = peer.ip().to_canonical();
        let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
        let forwarded = ["x-forwarded-for", "x-real-ip", "x-forwarded-host", "forwarded"];
        let is_forwarded = forwarded.iter().any(|h| headers.contains_key(*h));
        let is_trusted = trusted.contains(&peer);
        let client_ip = if is_trusted {
            let first = header("x-forwarded-for").and_then(|v| v.split(',').next());
            first.or_else(|| header("x-real-ip")).and_then(parse_ip).unwrap_or(peer)
        } else {
            peer
        };
        let local_name = header("host").is_some_and(is_local_name);
        let local = client_ip.is_loopback() && local_name && (!is_forwarded || is_trusted);
        let hidden = client_ip.is_loopback() || (is_forwarded && !is_trusted);
        Self { client_ip, local, shown_ip: (!hidden).then_some(client_ip) }
    }
}

/// An address with or without a port and brackets.
fn parse_ip(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let ip = text.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|a| a.ip()));
    ip.or_else(|| text.trim_matches(['[', ']']).parse().ok()).map(|ip| ip.to_canonical())
}

fn is_local_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let name = name.to_ascii_lowercase();
    matches!(name.as_str(), "localhost" | "127.0.0.1" | "::1") || name.ends_with(".ts.net")
}

/// True when `given` is the secret; takes the same time for every wrong one of the same length.
pub fn same_secret(secret: &Secret, given: &str) -> bool {
    !given.is_empty() && secret.expose().as_bytes().ct_eq(given.as_bytes()).into()
}

impl SharedAuth {
    /// Checks the shared credential of a `connect`.
    ///
    /// # Errors
    /// `unauthorized: gateway token mismatch (...)` and its kin.
    pub fn check(&self, auth: Option<&AuthParams>) -> Result<(), ErrorShape> {
        let given = |field: fn(&AuthParams) -> &Option<String>| {
            auth.and_then(|a| field(a).as_deref()).filter(|s| !s.is_empty())
        };
        let (kind, secret, given) = match self.mode {
            AuthMode::Token => ("token", &self.token, given(|a| &a.token)),
            AuthMode::Password => ("password", &self.password, given(|a| &a.password)),
        };
        let (what, hint) = match (given, secret) {
            (Some(given), Some(secret)) if same_secret(secret, given) => return Ok(()),
            (Some(_), _) => ("mismatch", format!("use the gateway.auth.{kind} of the gateway that you connect to")),
            (None, _) => ("missing", format!("send connect.params.auth.{kind}")),
        };
        let code = format!("AUTH_{}_{}", kind.to_uppercase(), what.to_uppercase());
        Err(ErrorShape::invalid(&code, format!("unauthorized: gateway {kind} {what} ({hint})")))
    }

    /// True when the request carries a credential of any kind.
    pub fn offered(&self, auth: Option<&AuthParams>) -> bool {
        let some = |s: &Option<String>| s.as_deref().is_some_and(|s| !s.is_empty());
        auth.is_some_and(|a| some(&a.token) || (self.mode == AuthMode::Password && some(&a.password)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(peer: &str, headers: &[(&'static str, &str)]) -> Origin {
        let mut map = HeaderMap::new();
        for (k, v) in headers {
            map.insert(*k, v.parse().unwrap());
        }
        Origin::of(peer.parse().unwrap(), &map, &["127.0.0.9".parse().unwrap()])
    }

    #[test]
    fn s13_forwarding_headers_count_from_trusted_proxies_only() {
        let host = ("host", "127.0.0.1:1");
        assert!(origin("127.0.0.1:5", &[host]).local);
        assert!(origin("[::1]:5", &[("host", "[::1]:18789")]).local);
        assert!(origin("127.0.0.1:5", &[("host", "box.tail1.ts.net")]).local);
        assert!(!origin("127.0.0.1:5", &[("host", "evil.example")]).local);
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
    fn secrets_compare_whole() {
        let s = Secret::new("abc");
        assert!(same_secret(&s, "abc"));
        for wrong in ["", "ab", "abcd", "abd"] {
            assert!(!same_secret(&s, wrong), "{wrong}");
        }
        assert!(!same_secret(&Secret::new(""), ""));
    }
}
