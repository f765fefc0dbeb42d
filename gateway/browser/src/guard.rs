//! What stands between a browser and the network (S16): a proxy on loopback that connects to the public internet alone. It
//! resolves each name once and connects to the address that it judged, so that neither a redirection, nor a part of a page, nor
//! a second answer of a name server leads to this machine or into its network.

use std::{io, net::SocketAddr, sync::Arc};

use http::{Uri, uri::Authority};
use openclaw_config::Browser;
use openclaw_platform::{BoxIo, Listener, Spawner, SpawnerExt as _, Transport, public::PublicTransport};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;

use crate::{
    address::{HINT, bare, is_listed, is_open},
    limits::{GUARD_CONNECTIONS, GUARD_HEAD, GUARD_TIME},
};

/// The configuration of now.
pub type Settings = Arc<dyn Fn() -> Browser + Send + Sync>;

/// Listens on a free port of loopback until `stop`; gives the port.
///
/// # Errors
/// No port.
pub async fn start(
    transport: &Arc<dyn Transport>,
    tasks: &Arc<dyn Spawner>,
    settings: Settings,
    stop: CancellationToken,
) -> io::Result<u16> {
    let listener = transport.bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let port = listener.local_addr()?.port();
    let guard = Guard { open: transport.clone(), public: PublicTransport::new(transport.clone()), settings };
    tasks.spawn("browser guard", accept(listener, guard, tasks.clone(), stop));
    Ok(port)
}

async fn accept(mut listener: Box<dyn Listener>, guard: Guard, tasks: Arc<dyn Spawner>, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(GUARD_CONNECTIONS));
    let guard = Arc::new(guard);
    loop {
        let accepted = openclaw_platform::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((io, _)) = accepted else {
            // Out of files, perhaps: not in a circle.
            tokio::time::sleep(crate::limits::WAIT_POLL).await;
            continue;
        };
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let (guard, stop) = (guard.clone(), stop.clone());
        tasks.spawn("browser guard connection", async move {
            let _place = place;
            openclaw_platform::select! {
                () = stop.cancelled() => {}
                _ = guard.serve(io) => {}
            }
        });
    }
}

struct Guard {
    open: Arc<dyn Transport>,
    public: PublicTransport,
    settings: Settings,
}

/// A request to the proxy: where to, and what the other end is sent first.
struct Wanted {
    host: String,
    port: u16,
    /// The head of a request that is not tunnelled, as the site gets it.
    forwarded: Option<Vec<u8>>,
}

impl Guard {
    async fn serve(&self, mut io: BoxIo) -> io::Result<()> {
        let Ok(head) = tokio::time::timeout(GUARD_TIME, head(&mut io)).await else { return Ok(()) };
        let (head, rest) = head?;
        let Some(wanted) = wanted(&head) else {
            return answer(&mut io, "400 Bad Request", "This is the proxy of a browser.").await;
        };
        let connected = async {
            let config = (self.settings)();
            if !is_listed(&config, &wanted.host) {
                Err(io::ErrorKind::PermissionDenied.into())
            } else if is_open(&config, &wanted.host) {
                self.open.connect(bare(&wanted.host), wanted.port).await
            } else {
                self.public.connect(&wanted.host, wanted.port).await
            }
        };
        let mut site = match tokio::time::timeout(GUARD_TIME, connected).await {
            Ok(Ok(site)) => site,
            Ok(Err(e)) if e.kind() == io::ErrorKind::PermissionDenied => {
                tracing::debug!(host = wanted.host.escape_debug().to_string(), "a browser may not connect there");
                let text = format!("This address is not on the public internet, or not on the list; {HINT}.");
                return answer(&mut io, "403 Forbidden", &text).await;
            }
            Ok(Err(_)) => return answer(&mut io, "502 Bad Gateway", "The site cannot be reached.").await,
            Err(_) => return answer(&mut io, "504 Gateway Timeout", "The site does not answer.").await,
        };
        match wanted.forwarded {
            Some(head) => site.write_all(&head).await?,
            None => io.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?,
        }
        site.write_all(&rest).await?;
        tokio::io::copy_bidirectional(&mut io, &mut site).await.map(drop)
    }
}

async fn answer(io: &mut BoxIo, status: &str, text: &str) -> io::Result<()> {
    let length = text.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    io.write_all(head.as_bytes()).await?;
    io.write_all(text.as_bytes()).await?;
    io.shutdown().await
}

/// The head of a request, and what came with it.
async fn head(io: &mut BoxIo) -> io::Result<(String, Vec<u8>)> {
    let mut read = Vec::new();
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = read.split_off(end + 4);
            let head = String::from_utf8(read).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
            return Ok((head, rest));
        }
        if read.len() > GUARD_HEAD || io.read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

/// `CONNECT host:port`, or `GET http://host/path`: anything else is no request to a proxy, so that no page can talk to it.
fn wanted(head: &str) -> Option<Wanted> {
    let (line, headers) = head.split_once("\r\n")?;
    let mut words = line.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    if words.next().is_some() || !version.starts_with("HTTP/1.") {
        return None;
    }
    if method == "CONNECT" {
        let authority: Authority = target.parse().ok()?;
        return Some(Wanted { host: authority.host().to_owned(), port: authority.port_u16()?, forwarded: None });
    }
    let uri: Uri = target.parse().ok()?;
    if uri.scheme_str() != Some("http") {
        return None;
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut forwarded = format!("{method} {path} {version}\r\n");
    // One request of each connection: the next one may be to another host, and is judged anew.
    let hop = ["proxy-connection", "proxy-authorization", "connection", "keep-alive"];
    for header in headers.split("\r\n").filter(|header| !header.is_empty()) {
        let name = header.split(':').next().unwrap_or_default().trim();
        if !hop.iter().any(|hop| name.eq_ignore_ascii_case(hop)) {
            forwarded.push_str(header);
            forwarded.push_str("\r\n");
        }
    }
    forwarded.push_str("Connection: close\r\n\r\n");
    let (host, port) = (uri.host()?.to_owned(), uri.port_u16().unwrap_or(80));
    Some(Wanted { host, port, forwarded: Some(forwarded.into_bytes()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s16_only_what_is_meant_for_a_proxy_is_taken() {
        let tunnel = wanted("CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n").unwrap();
        assert_eq!((tunnel.host.as_str(), tunnel.port, tunnel.forwarded), ("example.org", 443, None));
        let plain = wanted(
            "GET http://example.org:81/a?b HTTP/1.1\r\nHost: example.org:81\r\nProxy-Connection: keep-alive\r\n\r\n",
        )
        .unwrap();
        assert_eq!((plain.host.as_str(), plain.port), ("example.org", 81));
        let sent = String::from_utf8(plain.forwarded.unwrap()).unwrap();
        assert_eq!(sent, "GET /a?b HTTP/1.1\r\nHost: example.org:81\r\nConnection: close\r\n\r\n");
        for none in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET ftp://example.org/ HTTP/1.1\r\n\r\n",
            "CONNECT example.org HTTP/1.1\r\n\r\n",
            "GET http://a/ b HTTP/1.1\r\n\r\n",
            "GET http://a/\r\n\r\n",
        ] {
            assert!(wanted(none).is_none(), "{none}");
        }
    }
}
