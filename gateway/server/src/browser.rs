//! Web pages and the gateway: whose requests pass, and what a browser is told with every answer (D25, S02).
//!
//! Every page that a person has open can reach a loopback port. A browser says so: it sends `Origin`, or `Sec-Fetch-*`.
//! Requests without these (command line, nodes, apps) are not affected.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// For pages: nothing but what the gateway itself serves, no inline script, no frame around it.
const PAGE_POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
    connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// For everything else: shown as a page it could do nothing.
const DATA_POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox";

/// Why a page's request is refused, for people.
///
/// # Errors
/// When a browser asks on behalf of a page that is not the gateway's own and not on the list.
pub fn judge(headers: &HeaderMap, own: &OwnNames<'_>, allowed: &[String]) -> Result<(), &'static str> {
    let text = |name: &HeaderName| headers.get(name).map(|v| v.to_str().unwrap_or("?"));
    let fetch = |name: &str| headers.get(name).map(|v| v.to_str().unwrap_or("?"));
    let host = text(&header::HOST).unwrap_or_default();
    if let Some(origin) = text(&header::ORIGIN) {
        if headers.get_all(header::ORIGIN).iter().count() > 1 || headers.get_all(header::HOST).iter().count() > 1 {
            return Err("more than one Origin or Host");
        }
        if allowed.iter().any(|a| a.trim_end_matches('/').eq_ignore_ascii_case(origin)) {
            return Ok(());
        }
        return match (own.has(host), is_own(origin, host)) {
            (true, true) => Ok(()),
            (false, true) => Err("the Host is not a name of this gateway"),
            (_, false) => Err("the Origin is not on gateway.controlUi.allowedOrigins"),
        };
    }
    let Some(site) = fetch("sec-fetch-site") else { return Ok(()) };
    let navigates = fetch("sec-fetch-mode") == Some("navigate") && fetch("sec-fetch-dest") == Some("document");
    if !own.has(host) {
        Err("the Host is not a name of this gateway")
    } else if matches!(site, "same-origin" | "none") || navigates {
        Ok(())
    } else {
        Err("a page of another origin asks")
    }
}

/// Names under which nobody else's page can be loaded: loopback, the addresses listened on, the machine's own tailnet name.
/// A name that somebody else's resolver answers for is none of them (DNS rebinding), another tailnet's neither.
pub struct OwnNames<'a> {
    /// Addresses listened on.
    pub listen: &'a [SocketAddr],
    /// The machine's name in its tailnet, in lower case.
    pub tailnet: Option<&'a str>,
}

impl OwnNames<'_> {
    /// Is the `Host` of a request one of them?
    pub fn has(&self, host: &str) -> bool {
        let name = host_name(host).to_ascii_lowercase();
        if let Ok(ip) = name.parse::<IpAddr>() {
            // An address cannot be rebound; where all are listened on, each is one of them.
            let ip = ip.to_canonical();
            return ip.is_loopback()
                || self.listen.iter().any(|a| a.ip().is_unspecified() || a.ip().to_canonical() == ip);
        }
        name == "localhost" || self.tailnet == Some(name.as_str())
    }
}

/// True when the request asks for a name of some tailnet: whether it is the machine's own, Tailscale has to say.
pub fn names_tailnet(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|v| v.to_str().ok()).unwrap_or_default();
    host_name(host).to_ascii_lowercase().ends_with(".ts.net")
}

/// `host`, `host:port`, `[v6]:port`: without the port and brackets.
fn host_name(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

/// True when the page comes from where the request goes to.
fn is_own(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let port = match scheme {
        "http" => "80",
        "https" => "443",
        _ => return false,
    };
    let whole = |authority: &str| {
        let bare = authority.ends_with(']') || !authority.contains(':');
        let authority = authority.to_ascii_lowercase();
        if bare { format!("{authority}:{port}") } else { authority }
    };
    !host.is_empty() && whole(authority) == whole(host)
}

/// Adds what every answer says to a browser; what a route says itself stays.
pub fn harden(headers: &mut HeaderMap) {
    let page = headers.get(header::CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"text/html"));
    let policy = if page { PAGE_POLICY } else { DATA_POLICY };
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(pairs: &[(&'static str, &str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        let listen = ["127.0.0.1:18789", "100.64.0.7:18789"].map(|a| a.parse().unwrap());
        let own = OwnNames { listen: &listen, tailnet: Some("box.tail1.ts.net") };
        judge(&headers, &own, &["https://ui.example:8443".to_owned(), "tauri://localhost".to_owned()]).is_ok()
    }

    #[test]
    fn s02_a_page_of_another_origin_is_refused_also_from_loopback() {
        let host = ("host", "127.0.0.1:18789");
        assert!(verdict(&[host]), "no browser");
        assert!(verdict(&[host, ("origin", "http://127.0.0.1:18789")]));
        assert!(verdict(&[host, ("origin", "https://127.0.0.1:18789")]), "where the port speaks TLS");
        for foreign in [
            "https://evil.example",
            "http://127.0.0.1:3000",
            "http://localhost:18789",
            "https://127.0.0.1:18789.evil.example",
            "http://127.0.0.1:18789@evil.example",
            "ws://127.0.0.1:18789",
            "null",
            "",
            "file://",
        ] {
            assert!(!verdict(&[host, ("origin", foreign)]), "{foreign}");
        }
        assert!(!verdict(&[host, ("origin", "http://127.0.0.1:18789"), ("origin", "https://evil.example")]));
        assert!(!verdict(&[host, ("host", "evil.example"), ("origin", "http://127.0.0.1:18789")]));
    }

    #[test]
    fn s02_listed_origins_pass_exactly() {
        let host = ("host", "gateway.example");
        assert!(verdict(&[host, ("origin", "https://ui.example:8443")]));
        assert!(verdict(&[host, ("origin", "tauri://localhost")]));
        for near in ["https://ui.example", "http://ui.example:8443", "https://a.ui.example:8443"] {
            assert!(!verdict(&[host, ("origin", near)]), "{near}");
        }
    }

    #[test]
    fn s02_own_counts_only_for_a_known_host() {
        let own = |host: &str, origin: &str| verdict(&[("host", host), ("origin", origin)]);
        assert!(own("localhost:18789", "http://localhost:18789"));
        assert!(own("[::1]:18789", "http://[::1]:18789"));
        assert!(own("100.64.0.7:18789", "http://100.64.0.7:18789"));
        assert!(own("box.tail1.ts.net", "https://box.tail1.ts.net"), "Tailscale Serve, default port");
        assert!(own("Box.Tail1.ts.net:443", "https://box.tail1.ts.net"));
        assert!(!own("other.tail1.ts.net", "https://other.tail1.ts.net"), "another machine of the tailnet");
        assert!(!own("box.tail666.ts.net", "https://box.tail666.ts.net"), "somebody else's tailnet");
        assert!(!own("evil.example:18789", "http://evil.example:18789"), "rebound to loopback");
        assert!(!own("192.168.1.5:18789", "http://192.168.1.5:18789"), "not listened on");
        assert!(!own("ts.net.evil.example", "http://ts.net.evil.example"));
        assert!(!own("", "http://"));
    }

    #[test]
    fn s02_pages_that_send_no_origin_are_known_by_fetch_metadata() {
        let ask = |host: &str, site: &str, mode: &str| {
            verdict(&[
                ("host", host),
                ("sec-fetch-site", site),
                ("sec-fetch-mode", mode),
                ("sec-fetch-dest", "document"),
            ])
        };
        assert!(ask("127.0.0.1:18789", "same-origin", "cors") && ask("127.0.0.1:18789", "none", "navigate"));
        assert!(ask("127.0.0.1:18789", "cross-site", "navigate"), "a link to it");
        assert!(!ask("127.0.0.1:18789", "cross-site", "no-cors"), "an image of it");
        assert!(!ask("127.0.0.1:18789", "same-site", "no-cors"), "another port of localhost");
        assert!(!ask("evil.example:18789", "same-origin", "cors"), "rebound");
    }

    #[test]
    fn s02_pages_and_data_say_what_a_browser_may_do_with_them() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        harden(&mut headers);
        let policy = headers["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.contains("script-src 'self'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe-inline") && !policy.contains('*'), "{policy}");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["referrer-policy"], "no-referrer");
        let mut headers = HeaderMap::new();
        harden(&mut headers);
        assert!(headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    }
}
