//! The servers of files ([`crate::files`]): one on the internet, one that no address may lead to.

use std::{io, sync::Arc, time::Duration};

use ::http::{HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use fakes::http::{self, Body};
use futures_util::{StreamExt as _, stream};
use openclaw_platform::Platform;
use tokio_util::sync::CancellationToken;

use super::recorder::Recorder;
use crate::{
    files::{Served, named, served},
    history::What,
};

/// Bytes that an answer promises which is too large.
const HUGE: u64 = 1 << 40;
const PORT: u16 = 80;
/// Between two pieces of an answer.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers as `host` until the end of the run; each request is on record.
pub(super) async fn serve(host: &'static str, platform: Platform, recorder: Recorder) -> turmoil::Result {
    let handler: http::Handler = Arc::new(move |request| {
        let path = request.uri().path().to_owned();
        recorder.record(host, What::Fetched { from: host.to_owned(), path: path.clone() });
        Box::pin(std::future::ready(Ok(answer(served(&path)))))
    });
    http::serve(&platform, ([0, 0, 0, 0], PORT).into(), handler, CancellationToken::new()).await?;
    std::future::pending().await
}

fn answer(what: Served) -> Response<Body> {
    let file = |name: &str| named(name).map(|(_, content)| content).unwrap_or_default();
    match what {
        Served::File(name, mime) => http::respond(StatusCode::OK, mime, http::full(file(&name))),
        Served::Redirect(to) => {
            let mut response = http::respond(StatusCode::FOUND, "text/plain", http::full(""));
            if let Ok(to) = HeaderValue::from_str(&to) {
                response.headers_mut().insert(header::LOCATION, to);
            }
            response
        }
        Served::Status(code) => {
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::NOT_FOUND);
            http::respond(status, "text/plain", http::full("no such file"))
        }
        Served::Cut(name) => {
            let content = file(&name);
            let half = Bytes::from(content[..content.len() / 2].to_vec());
            promising(content.len() as u64, vec![Ok(half), Err(http::cut())])
        }
        Served::Huge => promising(HUGE, vec![Ok(Bytes::from_static(b"the beginning")), Err(http::cut())]),
    }
}

/// An answer that says how long it will be, and is not.
fn promising(length: u64, pieces: Vec<io::Result<Bytes>>) -> Response<Body> {
    // The head is out before the connection ends.
    let slowly = stream::iter(pieces).then(|piece| async {
        tokio::time::sleep(PAUSE).await;
        piece
    });
    let mut response = http::respond(StatusCode::OK, "image/png", http::streaming(slowly));
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    response
}
