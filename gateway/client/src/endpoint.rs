//! The gateway's address as people write it.

use http::Uri;

/// Where to connect, taken apart from a `ws://` or `wss://` URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// True for `wss`.
    pub(crate) tls: bool,
    /// Name or address, IPv6 without brackets.
    pub(crate) host: String,
    /// Given, or 80/443.
    pub(crate) port: u16,
    /// What messages show: scheme, host, port and path.
    pub(crate) url: String,
}

impl Endpoint {
    /// # Errors
    /// A sentence that says what is wrong; it never repeats credentials or a query.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let uri: Uri = url.trim().parse().map_err(|e: http::uri::InvalidUri| e.to_string())?;
        let tls = match uri.scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            Some(other) => return Err(format!("expected ws:// or wss://, found {other}://")),
            None => return Err("expected ws://HOST:PORT or wss://HOST:PORT".to_owned()),
        };
        let authority = uri.authority().ok_or("no host")?;
        if authority.as_str().contains('@') {
            return Err("credentials do not belong in the URL; give the token or password as such".to_owned());
        }
        if uri.query().is_some() {
            return Err("a query is not allowed in the URL; a token is given as such (S01)".to_owned());
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err("no host".to_owned());
        }
        // `Authority::port` is silent about a port that is no port, so the text decides.
        let port = match authority.as_str()[authority.host().len()..].strip_prefix(':') {
            Some(port) => port.parse().map_err(|_| format!("{port:?} is not a port"))?,
            None if tls => 443,
            None => 80,
        };
        let scheme = if tls { "wss" } else { "ws" };
        let url = format!("{scheme}://{authority}{}", uri.path());
        Ok(Self { tls, host, port, url })
    }
}

/// `url` as far as a message may show it: no user info, no query.
pub(crate) fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match url.split_once("://") {
        Some((scheme, rest)) => match rest.rsplit_once('@') {
            Some((_, host)) => format!("{scheme}://{host}"),
            None => url.to_owned(),
        },
        None => url.rsplit('@').next().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_addresses_apart() {
        let plain = Endpoint::parse("ws://127.0.0.1:18789").unwrap();
        assert_eq!((plain.tls, plain.host.as_str(), plain.port), (false, "127.0.0.1", 18789));
        let tls = Endpoint::parse("wss://gw.example.ts.net/path").unwrap();
        assert_eq!((tls.tls, tls.host.as_str(), tls.port), (true, "gw.example.ts.net", 443));
        assert_eq!(tls.url, "wss://gw.example.ts.net/path");
        let six = Endpoint::parse("ws://[::1]:1234").unwrap();
        assert_eq!((six.host.as_str(), six.port), ("::1", 1234));
    }

    #[test]
    fn s17_refusals_do_not_repeat_secrets() {
        for url in ["http://h:1", "h:1", "", "ws://", "ws://me:hush@h:1", "ws://h:1/?token=hush", "ws://h:99999", "::"]
        {
            let reason = Endpoint::parse(url).unwrap_err();
            assert!(!reason.contains("hush"), "{reason}");
            assert!(!shown(url).contains("hush"), "{url}");
        }
    }
}
