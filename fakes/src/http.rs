//! A tiny HTTP/1.1 server on the [`Transport`](openclaw_platform::Transport) seam: the same fake runs on a real port
//! and inside the simulator.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::{HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use openclaw_platform::{BoxFuture, BoxIo, Platform, SpawnerExt as _};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// A response body: whole, or a stream whose error cuts the connection without a proper end.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Answers requests. It is dropped when the client goes away before the answer is complete.
pub type Handler = Arc<dyn Fn(Request<Incoming>) -> BoxFuture<'static, Result<Response<Body>, HangUp>> + Send + Sync>;

/// The handler closes the connection without answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HangUp;

impl std::fmt::Display for HangUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("connection closed without an answer")
    }
}

impl std::error::Error for HangUp {}

/// Largest request body that [`read_body`] takes.
const MAX_REQUEST: usize = 64 << 20;
/// Time for a request's head to arrive on a connection that began one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after a failed accept, so that a full file table does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Binds `addr` (port 0: any), answers in tasks of the platform and gives the bound address.
/// `stop` closes the listener and every connection at once.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(
    platform: &Platform,
    addr: SocketAddr,
    handler: Handler,
    stop: CancellationToken,
) -> io::Result<SocketAddr> {
    let mut listener = platform.transport.bind(addr).await?;
    let bound = listener.local_addr()?;
    let tasks = platform.tasks.clone();
    let accept = async move {
        loop {
            let accepted = openclaw_platform::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let Ok((io, _peer)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            tasks.spawn("fake-http-connection", connection(io, handler.clone(), stop.clone()));
        }
    };
    platform.tasks.spawn("fake-http-accept", accept);
    Ok(bound)
}

async fn connection(io: BoxIo, handler: Handler, stop: CancellationToken) {
    let service = service_fn(move |request| handler(request));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .auto_date_header(false) // the real date inside a simulation
        .serve_connection(TokioIo::new(io), service);
    openclaw_platform::select! {
        () = stop.cancelled() => {}
        // An error is a client that left or a cut that the fake was asked for.
        _ = serving => {}
    }
}

/// A whole body.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body that is sent piece by piece. An `Err` closes the connection where it is, without a proper end.
pub fn streaming(pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Body {
    StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync()
}

/// The error that ends a [`streaming`] body improperly.
pub fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "cut on purpose")
}

/// A response with a body of that content type.
pub fn respond(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A JSON response.
pub fn json(status: StatusCode, value: &Value) -> Response<Body> {
    respond(status, "application/json", full(value.to_string()))
}

/// The whole request body, at most 64 MiB.
///
/// # Errors
/// When it is larger or the client left.
pub async fn read_body(request: Request<Incoming>) -> io::Result<Bytes> {
    let whole = Limited::new(request.into_body(), MAX_REQUEST).collect().await.map_err(io::Error::other)?;
    Ok(whole.to_bytes())
}

/// The request body as JSON; an empty one is `null`.
///
/// # Errors
/// As [`read_body`], and when it is not JSON.
pub async fn read_json(request: Request<Incoming>) -> io::Result<Value> {
    let bytes = read_body(request).await?;
    if bytes.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&bytes).map_err(io::Error::other) }
}

/// The value of a query parameter as it stands (no percent decoding: the fakes' own parameters need none).
pub fn query<'a>(uri: &'a http::Uri, name: &str) -> Option<&'a str> {
    let pairs = uri.query()?.split('&');
    pairs.filter_map(|pair| pair.split_once('=')).find_map(|(key, value)| (key == name).then_some(value))
}

#[cfg(test)]
mod tests {
    use openclaw_platform::http::{HttpClient, HttpError};
    use serde_json::json;

    use super::*;

    fn handler() -> Handler {
        Arc::new(|request| {
            Box::pin(async move {
                match request.uri().path() {
                    "/echo" => {
                        let value = read_json(request).await.map_err(|_| HangUp)?;
                        Ok(json(StatusCode::OK, &value))
                    }
                    "/cut" => {
                        let pieces = [Ok(Bytes::from_static(b"half")), Err(cut())];
                        Ok(respond(StatusCode::OK, "text/plain", streaming(futures_util::stream::iter(pieces))))
                    }
                    _ => Err(HangUp),
                }
            })
        })
    }

    #[tokio::test]
    async fn answers_cuts_hangs_up_and_stops() {
        let dir = tempfile::tempdir().unwrap();
        let platform = openclaw_platform::os::platform(dir.path()).unwrap();
        let stop = CancellationToken::new();
        let addr = serve(&platform, ([127, 0, 0, 1], 0).into(), handler(), stop.clone()).await.unwrap();
        let client = HttpClient::new(&platform);
        let post = async |path: &str| {
            let request = Request::post(format!("http://{addr}{path}")).body(Full::from(r#"{"a":1}"#)).unwrap();
            client.fetch(request, Duration::from_secs(5), 1 << 20).await
        };
        let answer = post("/echo").await.unwrap();
        assert_eq!(answer.headers()[CONTENT_TYPE], "application/json");
        assert_eq!(serde_json::from_slice::<Value>(answer.body()).unwrap(), json!({"a": 1}));
        assert!(answer.headers().get("date").is_none());
        assert!(matches!(post("/cut").await, Err(HttpError::Lost(_))));
        assert!(matches!(post("/none").await, Err(HttpError::Lost(_))));
        stop.cancel();
        tokio::task::yield_now().await;
        let after = post("/echo").await;
        assert!(matches!(after, Err(HttpError::Connect(_) | HttpError::Lost(_))), "{after:?}");
    }

    #[test]
    fn query_finds_its_parameter() {
        let uri: http::Uri = "/_log?x=1&since=20".parse().unwrap();
        assert_eq!((query(&uri, "since"), query(&uri, "until")), (Some("20"), None));
    }
}
