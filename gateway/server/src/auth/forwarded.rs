//! Headers that a proxy adds: by kind, not by name, because every proxy has names of its own (S37).

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};

/// What proxies, content networks and tunnels call the client, the way or the first request.
const PARTS: [&str; 15] = [
    "originating",
    "forward",
    "proxy",
    "client-ip",
    "clientip",
    "client-addr",
    "client-host",
    "client-port",
    "real-ip",
    "realip",
    "remote-ip",
    "remote-addr",
    "remote-host",
    "connecting-ip",
    "cluster-ip",
];
/// Families of headers that only some vendor's proxy sets.
const FAMILIES: [&str; 33] = [
    "x-host",
    "akamai-",
    "cdn-",
    "cf-",
    "client-cert",
    "cloudfront-",
    "fastly-",
    "fly-",
    "front-end-",
    "ngrok-",
    "ssl-client-",
    "tailscale-",
    "true-client-",
    "x-akamai-",
    "x-amz-cf-",
    "x-amzn-",
    "x-appengine-",
    "x-arr-",
    "x-azure-",
    "x-cdn-",
    "x-client-",
    "x-cloud-trace-",
    "x-cluster-",
    "x-coming-from",
    "x-edge-",
    "x-envoy-",
    "x-original-",
    "x-real-",
    "x-request-start",
    "x-scheme",
    "x-ssl-",
    "x-url-scheme",
    "x-vercel-",
];

/// True for a header with which a proxy says that a request was passed on, and from whom.
pub fn is_forwarding(name: &HeaderName) -> bool {
    // Header names are in lower case already.
    let name = name.as_str();
    name == "via" || PARTS.iter().any(|p| name.contains(p)) || FAMILIES.iter().any(|f| name.starts_with(f))
}

/// True when every hop that the forwarding headers name is this machine's loopback, and there is one. Whatever is not
/// understood could name another machine.
pub fn names_loopback_only(headers: &HeaderMap) -> bool {
    let mut hops = 0;
    for (name, value) in headers.iter().filter(|(name, _)| is_forwarding(name)) {
        let Ok(value) = value.to_str() else { return false };
        let is_fine = match name.as_str() {
            "x-forwarded-proto" | "x-forwarded-port" | "x-forwarded-scheme" | "x-forwarded-prefix" => true,
            "x-forwarded-host" | "x-forwarded-server" => value.split(',').all(is_loopback_name),
            "via" => value.split(',').all(|hop| hop.split_whitespace().nth(1).is_some_and(is_loopback_name)),
            "forwarded" => value.split([',', ';']).all(is_harmless_pair),
            "x-forwarded-for" | "x-real-ip" => {
                hops += 1;
                value.split(',').all(is_loopback)
            }
            _ => value.split(',').all(is_loopback),
        };
        if !is_fine {
            return false;
        }
    }
    hops > 0
}

fn is_loopback(hop: &str) -> bool {
    parse_ip(hop).is_some_and(|ip| ip.is_loopback())
}

fn is_loopback_name(host: &str) -> bool {
    let host = host.trim();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    host.eq_ignore_ascii_case("localhost") || name.eq_ignore_ascii_case("localhost") || is_loopback(host)
}

/// A part of `Forwarded: for=127.0.0.1;proto=http` that names loopback or no hop.
fn is_harmless_pair(pair: &str) -> bool {
    let Some((key, value)) = pair.split_once('=') else { return false };
    let value = value.trim().trim_matches('"');
    match key.trim().to_ascii_lowercase().as_str() {
        "for" | "by" => is_loopback(value),
        "host" => is_loopback_name(value),
        "proto" => true,
        _ => false,
    }
}

/// An address with or without a port and brackets.
pub fn parse_ip(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let ip = text.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|a| a.ip()));
    ip.or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()).map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_forwarding(name: &str) -> bool {
        super::is_forwarding(&name.parse().unwrap())
    }

    #[test]
    fn s37_headers_of_proxies_are_known_by_kind() {
        for name in [
            "Via",
            "Forwarded",
            "X-Forwarded",
            "X-Forwarded-For",
            "X-Forwarded-Proto",
            "X-Forwarded-Port",
            "X-Forwarded-Host",
            "X-Forwarded-Anything-New",
            "Forwarded-For",
            "X-Real-IP",
            "CF-Connecting-IP",
            "CF-Connecting-IPv6",
            "CF-Ray",
            "CF-Visitor",
            "Cdn-Loop",
            "True-Client-IP",
            "Fly-Client-IP",
            "Fly-Region",
            "Fastly-Client-IP",
            "X-Client-IP",
            "Client-IP",
            "X-Cluster-Client-IP",
            "X-Original-For",
            "X-Original-Host",
            "X-Original-URL",
            "X-Envoy-External-Address",
            "X-Envoy-Original-Path",
            "X-Appengine-User-IP",
            "X-Azure-ClientIP",
            "X-ProxyUser-IP",
            "WL-Proxy-Client-IP",
            "Proxy-Connection",
            "X-Amzn-Trace-Id",
            "X-Remote-Addr",
            "Tailscale-User-Login",
            "Ngrok-Trace",
            "X-Originating-IP",
            "X-Host",
        ] {
            assert!(is_forwarding(name), "{name}");
        }
        for name in [
            "Host",
            "User-Agent",
            "Accept",
            "Origin",
            "Authorization",
            "Cookie",
            "Connection",
            "Upgrade",
            "Sec-WebSocket-Key",
            "Sec-Fetch-Site",
            "X-Requested-With",
            "X-OpenClaw-Agent-Id",
            "X-Request-Id",
            "Cache-Control",
            "Priority",
            "DNT",
            "Traceparent",
        ] {
            assert!(!is_forwarding(name), "{name}");
        }
    }

    #[test]
    fn s37_every_named_hop_has_to_be_loopback() {
        let ok = |pairs: &[(&str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
            }
            names_loopback_only(&headers)
        };
        let here = ("x-forwarded-for", "127.0.0.1");
        assert!(ok(&[here]) && ok(&[("x-real-ip", "::1")]) && ok(&[("x-forwarded-for", "[::1]:5, 127.0.0.1:80")]));
        assert!(ok(&[here, ("x-forwarded-proto", "https"), ("x-forwarded-host", "localhost:18789")]));
        assert!(ok(&[here, ("forwarded", "for=\"[::1]:9\";proto=http;by=127.0.0.1")]));
        assert!(ok(&[here, ("via", "1.1 localhost:8080, HTTP/2 127.0.0.1")]));
        for (name, value) in [
            ("x-forwarded-for", "203.0.113.9, 127.0.0.1"),
            ("x-forwarded-for", "unknown"),
            ("x-forwarded-for", ""),
            ("x-real-ip", "203.0.113.9"),
            ("forwarded", "for=203.0.113.9"),
            ("forwarded", "for=_hidden"),
            ("forwarded", "for=127.0.0.1;secret=x"),
            ("via", "1.1 vegur"),
            ("via", "1.1"),
            ("cf-connecting-ip", "203.0.113.9"),
            ("cf-ray", "8f0a"),
            ("x-forwarded-host", "gateway.example"),
            ("x-something-client-ip", "10.0.0.1"),
        ] {
            assert!(!ok(&[here, (name, value)]), "{name}: {value}");
        }
        assert!(!ok(&[]) && !ok(&[("x-forwarded-proto", "https")]), "nobody is named");
        assert!(!ok(&[("forwarded", "for=127.0.0.1")]), "a header that no address is taken from");
    }
}
