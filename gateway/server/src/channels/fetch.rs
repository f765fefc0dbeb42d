//! Media by address: `https` on the public internet, every hop judged anew, bounded in size and time (S16).

use std::sync::Arc;

use http::{Request, StatusCode, Uri, header};
use openclaw_channels::Media;
use openclaw_platform::{
    Platform,
    http::{Body, BodyStream as _, HttpClient, HttpError, Incoming, whole},
    public::PublicTransport,
};

use super::budget::{MediaBudget, Share};
use crate::limits::{MEDIA_FETCH, MEDIA_REDIRECTS, MEDIA_URL};

/// Why nothing was fetched. Never has the address: it may carry a secret.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Not `https://HOST/...`, too long, with a user name, or on another port than its own.
    #[error("media must be a file on the gateway's machine or an https address on port 443 without a user name")]
    Address,
    /// More hops than anyone needs.
    #[error("the address redirects more than {MEDIA_REDIRECTS} times, or to nowhere")]
    Redirects,
    /// Something else than the file.
    #[error("the server answered {0}")]
    Status(StatusCode),
    /// The connection, the address behind the name, the size, the time.
    #[error("cannot be fetched: {0}")]
    Http(#[from] HttpError),
}

/// Fetches media. It has connections of its own: none is shared with what may reach this machine's network.
pub struct MediaFetch {
    http: HttpClient,
    scheme: &'static str,
}

/// A file that a server has begun to send.
struct Found {
    name: String,
    mime: String,
    body: Incoming,
}

impl MediaFetch {
    /// On the platform's transport, restricted to public addresses that begin with `scheme`.
    pub fn over(platform: &Platform, scheme: &'static str) -> Self {
        let transport = Arc::new(PublicTransport::new(platform.transport.clone()));
        let platform = Platform { transport, ..platform.clone() };
        Self { http: HttpClient::new(&platform), scheme }
    }

    /// The file behind `address`, at most `max` bytes, and its share of `budget`. A server that is slow to begin its answer
    /// holds no share; the wait for one does not count as the server's time.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn get(&self, address: &str, max: usize, budget: &MediaBudget) -> Result<(Media, Share), FetchError> {
        let late = |_| FetchError::Http(HttpError::Timeout(MEDIA_FETCH));
        let found = tokio::time::timeout(MEDIA_FETCH, self.follow(address)).await.map_err(late)??;
        let length = found.body.size_hint().upper().map_or(max, |n| usize::try_from(n).unwrap_or(usize::MAX));
        if length > max {
            return Err(FetchError::Http(HttpError::TooLarge(max)));
        }
        let share = budget.take(length).await;
        let bytes = tokio::time::timeout(MEDIA_FETCH, whole(found.body, max)).await.map_err(late)??;
        Ok((Media { name: found.name, mime: found.mime, bytes }, share))
    }

    /// The answer that is the file, its body not read yet.
    async fn follow(&self, address: &str) -> Result<Found, FetchError> {
        let mut uri = self.sound(address)?;
        for _ in 0..=MEDIA_REDIRECTS {
            let request = Request::get(uri.clone()).body(Body::default()).map_err(|_| FetchError::Address)?;
            let answer = self.http.send(request, MEDIA_FETCH).await?;
            let status = answer.status();
            if status == StatusCode::OK {
                let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
                let kind = kind.and_then(|k| k.split(';').next()).map(str::trim).filter(|k| k.contains('/'));
                let name = name_of(&uri);
                let mime = kind.map_or_else(
                    || mime_guess::from_path(&name).first_or_octet_stream().to_string(),
                    str::to_ascii_lowercase,
                );
                return Ok(Found { name, mime, body: answer.into_body() });
            }
            if !status.is_redirection() {
                return Err(FetchError::Status(status));
            }
            let to = answer.headers().get(header::LOCATION).and_then(|v| v.to_str().ok());
            uri = self.next(&uri, to.ok_or(FetchError::Redirects)?)?;
        }
        Err(FetchError::Redirects)
    }

    /// Where a redirect leads: absolute, or a path on the same host.
    fn next(&self, from: &Uri, to: &str) -> Result<Uri, FetchError> {
        if to.starts_with('/') && !to.starts_with("//") {
            let host = from.authority().ok_or(FetchError::Address)?;
            return self.sound(&format!("{}://{host}{to}", self.scheme));
        }
        self.sound(to)
    }

    fn sound(&self, address: &str) -> Result<Uri, FetchError> {
        let uri: Uri =
            Some(address).filter(|a| a.len() <= MEDIA_URL).and_then(|a| a.parse().ok()).ok_or(FetchError::Address)?;
        let authority = uri.authority().ok_or(FetchError::Address)?;
        let default_port = if self.scheme == "https" { 443 } else { 80 };
        let good = uri.scheme_str() == Some(self.scheme)
            && !authority.as_str().contains('@')
            && !authority.host().is_empty()
            && authority.port_u16().is_none_or(|p| p == default_port)
            && (authority.port().is_some() || !authority.as_str().ends_with(':'));
        if good { Ok(uri) } else { Err(FetchError::Address) }
    }
}

/// A harmless file name out of the address.
fn name_of(uri: &Uri) -> String {
    let last = uri.path().rsplit('/').next().unwrap_or_default();
    let name: String = last.chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).take(100).collect();
    let name = name.trim_matches('.');
    if name.is_empty() { "file".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        net::{IpAddr, SocketAddr},
        sync::Mutex,
    };

    use openclaw_platform::{BoxFuture, BoxIo, Listener, SpawnerExt as _, Transport, os};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Names of `*.example` are public except `inside.example`; every connection gets the answer of its path.
    #[derive(Default)]
    struct Net(Mutex<Vec<String>>);

    impl Transport for Net {
        fn bind(&self, _: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
            Box::pin(std::future::ready(Err(io::Error::other("no"))))
        }
        fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
            let ip = if host == "inside.example" { [10, 0, 0, 1] } else { [93, 184, 215, 14] };
            Box::pin(std::future::ready(Ok(vec![ip.into()])))
        }
        fn connect<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<BoxIo>> {
            self.0.lock().unwrap().push(format!("{host}:{port}"));
            let (ours, mut theirs) = tokio::io::duplex(1 << 20);
            let far_end = async move {
                let mut head = vec![0; 4096];
                while let Ok(n @ 1..) = theirs.read(&mut head).await {
                    let path = String::from_utf8_lossy(&head[..n]).split(' ').nth(1).unwrap_or("").to_owned();
                    let to =
                        |place: &str| format!("HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n");
                    let answer = match path.as_str() {
                        "/a.png" => {
                            "HTTP/1.1 200 OK\r\nContent-Type: image/png; x=y\r\nContent-Length: 3\r\n\r\nabc".into()
                        }
                        "/there" => to("/a.png"),
                        "/loop" => to("/loop"),
                        "/inside" => to("http://inside.example/a.png"),
                        "/meta" => to("http://169.254.169.254/latest"),
                        "/file" => to("file:///etc/passwd"),
                        "/other-port" => to("http://b.example:22/"),
                        _ => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
                    };
                    let _ = theirs.write_all(answer.as_bytes()).await;
                }
            };
            os::OsSpawner.spawn("far end", far_end);
            Box::pin(std::future::ready(Ok(Box::new(ours) as BoxIo)))
        }
    }

    fn fetch(scheme: &'static str) -> (MediaFetch, Arc<Net>) {
        let net = Arc::new(Net::default());
        let platform = Platform { transport: net.clone(), ..os::without_files() };
        (MediaFetch::over(&platform, scheme), net)
    }

    #[tokio::test]
    async fn s16_every_hop_is_judged_and_everything_is_bounded() {
        let (fetch, net) = fetch("http");
        let budget = MediaBudget::new(10);
        let get = async |path: &str| fetch.get(&format!("http://a.example{path}"), 10, &budget).await;
        let (media, _) = get("/there").await.unwrap();
        assert_eq!(
            (media.name.as_str(), media.mime.as_str(), media.bytes.as_ref()),
            ("a.png", "image/png", &b"abc"[..])
        );
        assert!(matches!(get("/loop").await, Err(FetchError::Redirects)));
        assert!(matches!(get("/none").await, Err(FetchError::Status(_))));
        for bad in ["/inside", "/meta"] {
            assert!(matches!(get(bad).await, Err(FetchError::Http(HttpError::Connect(_)))), "{bad}");
        }
        for bad in ["/file", "/other-port"] {
            assert!(matches!(get(bad).await, Err(FetchError::Address)), "{bad}");
        }
        let small = fetch.get("http://a.example/a.png", 2, &budget).await;
        assert!(matches!(small, Err(FetchError::Http(HttpError::TooLarge(2)))));
        assert!(net.0.lock().unwrap().iter().all(|to| to == "93.184.215.14:80"));
    }

    #[tokio::test]
    async fn s16_only_plain_https_addresses() {
        let (fetch, net) = fetch("https");
        let long = format!("https://a.example/{}", "x".repeat(MEDIA_URL));
        for bad in [
            "http://a.example/a.png",
            "ftp://a.example/x",
            "https://me:pw@a.example/x",
            "https://a.example:8443/x",
            "https:///x",
            "https://",
            "https://a.example:/x",
            &long,
        ] {
            assert!(matches!(fetch.get(bad, 10, &MediaBudget::new(10)).await, Err(FetchError::Address)), "{bad}");
        }
        for inside in ["https://127.0.0.1/x", "https://[::1]/x", "https://inside.example/x"] {
            assert!(
                matches!(
                    fetch.get(inside, 10, &MediaBudget::new(10)).await,
                    Err(FetchError::Http(HttpError::Connect(_)))
                ),
                "{inside}"
            );
        }
        assert!(net.0.lock().unwrap().is_empty(), "no connection was tried");
    }

    #[test]
    fn s11_names_are_harmless() {
        let of = |uri: &'static str| name_of(&Uri::from_static(uri));
        assert_eq!(of("https://h/a/b%2f..%2fc.png"), "b2f..2fc.png");
        assert_eq!((of("https://h/.."), of("https://h")), ("file".into(), "file".into()));
    }
}
