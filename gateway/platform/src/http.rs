//! One HTTP/1.1 client for Telegram, model providers and webhooks, on the [`Transport`] seam with rustls on top.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
/// What is read of an answer: whoever reads it needs no library for it.
pub use hyper::body::{Body as BodyStream, Incoming};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::{TokioIo, TokioTimer},
};
use tower_service::Service;

use crate::{BoxFuture, BoxIo, Platform, Spawner, SpawnerExt as _, Transport, sync::LockExt as _, tls::Tls};

/// A whole request body.
pub type Body = Full<Bytes>;

/// Idle connections kept per host.
const IDLE_PER_HOST: usize = 4;
/// Time for a connection with its TLS handshake.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a request gave no response (or no whole body). Never contains the URL: it may carry a token.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection: refused, no such host, TLS failure.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The connection ended before the answer was complete.
    #[error("connection lost: {0}")]
    Lost(String),
    /// Nothing (more) came in time.
    #[error("timed out after {0:?}")]
    Timeout(Duration),
    /// The answer was larger than allowed.
    #[error("answer larger than {0} bytes")]
    TooLarge(usize),
}

/// An idle connection is used again within this time. An older one may be dead without a sign: what is sent on it would
/// wait for its whole timeout with nobody knowing whether it arrived, where a new connection says at once that it cannot.
const IDLE: Duration = Duration::from_secs(5);

/// The client; cloning shares its connections.
#[derive(Clone)]
pub struct HttpClient {
    connector: Connector,
    tasks: Arc<dyn Spawner>,
    inner: Arc<Mutex<Client<Connector, Body>>>,
}

impl std::fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HttpClient")
    }
}

impl HttpClient {
    /// A client on the platform's transport. Its connections are tasks of the platform; they end with the client.
    pub fn new(platform: &Platform) -> Self {
        Self::over(platform, Tls::new())
    }

    /// The same, with certificates judged by `tls`.
    pub fn over(platform: &Platform, tls: Tls) -> Self {
        let connector = Connector { transport: platform.transport.clone(), tls };
        let inner = Arc::new(Mutex::new(pool(&connector, &platform.tasks)));
        Self { connector, tasks: platform.tasks.clone(), inner }
    }

    fn lock(&self) -> MutexGuard<'_, Client<Connector, Body>> {
        self.inner.locked()
    }

    /// A connection gave no answer: those that idle now are no better (a silent link) and are not used again. What is under
    /// way on others goes on.
    fn forget_idle(&self) {
        *self.lock() = pool(&self.connector, &self.tasks);
    }

    /// Sends `request` and gives the response once its head is there, within `timeout`. The body streams.
    ///
    /// # Errors
    /// [`HttpError::Connect`], [`HttpError::Lost`], [`HttpError::Timeout`].
    pub async fn send(&self, request: Request<Body>, timeout: Duration) -> Result<Response<Incoming>, HttpError> {
        let asked = self.lock().request(request);
        match tokio::time::timeout(timeout, asked).await {
            Err(_) => {
                self.forget_idle();
                Err(HttpError::Timeout(timeout))
            }
            Ok(Ok(response)) => Ok(response),
            Ok(Err(e)) if e.is_connect() => Err(HttpError::Connect(root_cause(&e))),
            Ok(Err(e)) => Err(HttpError::Lost(root_cause(&e))),
        }
    }

    /// Sends `request` and reads the whole answer, at most `max` bytes, within `timeout`.
    ///
    /// # Errors
    /// As [`HttpClient::send`], and [`HttpError::TooLarge`].
    pub async fn fetch(
        &self,
        request: Request<Body>,
        timeout: Duration,
        max: usize,
    ) -> Result<Response<Bytes>, HttpError> {
        let work = async {
            let (head, body) = self.send(request, timeout).await?.into_parts();
            Ok(Response::from_parts(head, whole(body, max).await?))
        };
        tokio::time::timeout(timeout, work).await.unwrap_or_else(|_| {
            self.forget_idle();
            Err(HttpError::Timeout(timeout))
        })
    }
}

/// Starts the tasks of the pool's connections where whoever waits for the gateway's end sees them.
#[derive(Clone)]
struct Tasks(Arc<dyn Spawner>);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, task: F) {
        self.0.spawn("http connection", task);
    }
}

fn pool(connector: &Connector, tasks: &Arc<dyn Spawner>) -> Client<Connector, Body> {
    Client::builder(Tasks(tasks.clone()))
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_PER_HOST)
        .build(connector.clone())
}

/// Reads a whole body of at most `max` bytes.
///
/// # Errors
/// [`HttpError::TooLarge`], [`HttpError::Lost`].
pub async fn whole(body: Incoming, max: usize) -> Result<Bytes, HttpError> {
    let body = Limited::new(body, max).collect().await.map_err(|e| {
        if e.downcast_ref::<http_body_util::LengthLimitError>().is_some() {
            HttpError::TooLarge(max)
        } else {
            HttpError::Lost(root_cause(e.as_ref()))
        }
    })?;
    Ok(body.to_bytes())
}

/// The innermost message of an error chain: the outer ones only say "client error".
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[derive(Clone)]
struct Connector {
    transport: Arc<dyn Transport>,
    tls: Tls,
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Stream>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let this = self.clone();
        let connect = async move {
            let https = uri.scheme() == Some(&http::uri::Scheme::HTTPS);
            let host = uri.host().ok_or_else(|| io::Error::other("no host in the address"))?;
            let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
            let io = this.transport.connect(host, port).await?;
            if !https {
                return Ok(Stream(TokioIo::new(io)));
            }
            Ok(Stream(TokioIo::new(this.tls.connect(host, io).await?)))
        };
        // Its own limit, so that a host that does not answer is known as "not sent", not as "no answer".
        Box::pin(async move { tokio::time::timeout(CONNECT_TIMEOUT, connect).await? })
    }
}

/// A connected stream in hyper's terms.
struct Stream(TokioIo<BoxIo>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl hyper::rt::Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        hyper::rt::Write::poll_write(Pin::new(&mut self.0), cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        hyper::rt::Write::poll_flush(Pin::new(&mut self.0), cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        hyper::rt::Write::poll_shutdown(Pin::new(&mut self.0), cx)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, SocketAddr},
        sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    };

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

    use super::*;
    use crate::Clock as _;

    fn get(uri: &str) -> Request<Body> {
        Request::get(uri).body(Body::default()).unwrap()
    }

    /// Answers every request, until the link falls silent: connections of before never say anything again.
    #[derive(Default)]
    struct Link {
        opened: AtomicUsize,
        silent: Arc<Mutex<Vec<Arc<AtomicBool>>>>,
    }

    impl Link {
        fn fall_silent(&self) {
            self.silent.lock().unwrap().drain(..).for_each(|one| one.store(true, Ordering::SeqCst));
        }
    }

    impl Transport for Link {
        fn bind(&self, _: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn crate::Listener>>> {
            Box::pin(std::future::ready(Err(io::Error::other("no"))))
        }
        fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
            Box::pin(std::future::ready(Ok(vec![[127, 0, 0, 1].into()])))
        }
        fn connect<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, io::Result<BoxIo>> {
            self.opened.fetch_add(1, Ordering::SeqCst);
            let silent = Arc::new(AtomicBool::new(false));
            self.silent.lock().unwrap().push(silent.clone());
            let (ours, mut theirs) = tokio::io::duplex(1 << 16);
            let far_end = async move {
                let mut head = vec![0; 4096];
                while let Ok(1..) = theirs.read(&mut head).await {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    if silent.load(Ordering::SeqCst) {
                        std::future::pending::<()>().await;
                    }
                    let _ = theirs.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                }
            };
            crate::os::OsSpawner.spawn("far end", far_end);
            Box::pin(std::future::ready(Ok(Box::new(ours) as BoxIo)))
        }
    }

    fn over(link: &Arc<Link>) -> HttpClient {
        HttpClient::new(&Platform { transport: link.clone(), ..crate::os::without_files() })
    }

    /// After a silent link nothing waits for connections that died with it (F12).
    #[tokio::test(start_paused = true)]
    async fn f12_what_did_not_answer_takes_its_idle_neighbours_along() {
        // Shorter than idle ones are kept: their age alone does not sort them out.
        let (link, limit) = (Arc::new(Link::default()), IDLE / 2);
        let client = over(&link);
        let ask = || client.fetch(get("http://bot.example/"), limit, 10);
        let (a, b, c) = tokio::join!(ask(), ask(), ask());
        assert!(a.is_ok() && b.is_ok() && c.is_ok());
        link.fall_silent();
        assert!(matches!(ask().await, Err(HttpError::Timeout(_))));
        let start = crate::os::OsClock.mono();
        ask().await.unwrap();
        let took = crate::os::OsClock.mono() - start;
        assert!(took < Duration::from_secs(1), "{took:?}");
    }

    /// Counts the tasks that live.
    #[derive(Default)]
    struct Counting(Arc<AtomicUsize>);

    impl Spawner for Counting {
        fn spawn_boxed(&self, name: &'static str, task: BoxFuture<'static, ()>) -> crate::TaskHandle {
            let live = self.0.clone();
            live.fetch_add(1, Ordering::SeqCst);
            let counted = async move {
                task.await;
                live.fetch_sub(1, Ordering::SeqCst);
            };
            crate::os::OsSpawner.spawn_boxed(name, Box::pin(counted))
        }
        fn blocking_boxed(&self, work: Box<dyn FnOnce() + Send>) {
            crate::os::OsSpawner.blocking_boxed(work);
        }
    }

    /// Whoever waits for the end of the gateway sees its connections, idle ones too; none outlives the client.
    #[tokio::test(start_paused = true)]
    async fn connections_are_tasks_of_the_platform_and_end_with_the_client() {
        let (link, tasks) = (Arc::new(Link::default()), Arc::new(Counting::default()));
        let platform = Platform { transport: link.clone(), tasks: tasks.clone(), ..crate::os::without_files() };
        let client = HttpClient::new(&platform);
        client.fetch(get("http://bot.example/"), IDLE, 10).await.unwrap();
        assert!(tasks.0.load(Ordering::SeqCst) > 0);
        drop(client);
        tokio::time::sleep(IDLE / 5).await;
        assert_eq!(tasks.0.load(Ordering::SeqCst), 0);
    }

    /// A connection that has idled for long may be dead without a sign.
    #[tokio::test(start_paused = true)]
    async fn f12_what_idled_for_long_is_not_used_again() {
        let (link, limit) = (Arc::new(Link::default()), Duration::from_secs(30));
        let client = over(&link);
        for _ in 0..3 {
            client.fetch(get("http://bot.example/"), limit, 10).await.unwrap();
            tokio::time::sleep(IDLE / 2).await;
        }
        assert_eq!(link.opened.load(Ordering::SeqCst), 1, "one that is in use is used again");
        link.fall_silent();
        tokio::time::sleep(2 * IDLE).await;
        client.fetch(get("http://bot.example/"), limit, 10).await.unwrap();
    }

    #[tokio::test]
    async fn fetches_bounds_and_times_out() {
        let server = MockServer::start().await;
        Mock::given(path("/ok"))
            .respond_with(ResponseTemplate::new(418).set_body_string("teapot"))
            .mount(&server)
            .await;
        let slow = ResponseTemplate::new(200).set_delay(Duration::from_secs(30));
        Mock::given(path("/slow")).respond_with(slow).mount(&server).await;
        let dir = tempfile::tempdir().unwrap();
        let client = HttpClient::new(&crate::os::platform(dir.path()).unwrap());
        let second = Duration::from_secs(5);

        let answer = client.fetch(get(&format!("{}/ok", server.uri())), second, 6).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.body().as_ref()), (418, &b"teapot"[..]));
        let small = client.fetch(get(&format!("{}/ok", server.uri())), second, 5).await;
        assert!(matches!(small, Err(HttpError::TooLarge(5))), "{small:?}");
        let short = Duration::from_millis(50);
        let late = client.fetch(get(&format!("{}/slow", server.uri())), short, 6).await;
        assert!(matches!(late, Err(HttpError::Timeout(_))), "{late:?}");
        let refused = client.fetch(get("http://127.0.0.1:1/secret-token"), second, 6).await.unwrap_err();
        assert!(matches!(refused, HttpError::Connect(_)), "{refused:?}");
        assert!(!refused.to_string().contains("secret-token"), "{refused}");
    }
}
