//! Server-sent events out of a response body, bounded in size and in silence.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, future, stream};
use sse_stream::SseByteStream;

use super::ModelError;

/// Longest silence inside a reply; servers send comments or pings while they think.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_mins(2);
/// Longest line of a stream.
const MAX_LINE: usize = 4 << 20;
/// Most bytes of one reply with its framing.
pub(super) const MAX_REPLY: usize = 32 << 20;

/// The `data` of each event. Ends after the first error.
pub(super) fn data<E: Error>(
    body: impl Stream<Item = Result<Bytes, E>> + Unpin + Send,
) -> impl Stream<Item = Result<String, ModelError>> + Send {
    // A last event without its blank line is an event all the same: some servers forget it.
    let body = bounded(body).chain(stream::iter([Ok(Bytes::from_static(b"\n\n"))]));
    let events = SseByteStream::new(Box::pin(body));
    events.filter_map(|event| {
        future::ready(match event {
            Ok(event) => event.data.map(Ok),
            Err(sse_stream::Error::Body(e)) => Some(Err(match e.downcast::<ModelError>() {
                Ok(e) => *e,
                Err(e) => ModelError::Network(e.to_string()),
            })),
            Err(e) => Some(Err(ModelError::Protocol(e.to_string()))),
        })
    })
}

/// The body with its limits enforced. Ends after the first error.
fn bounded<E: Error>(
    body: impl Stream<Item = Result<Bytes, E>> + Unpin + Send,
) -> impl Stream<Item = Result<Bytes, ModelError>> + Send {
    stream::unfold(Some((body, 0, 0)), |state| async move {
        let (mut body, mut total, mut line) = state?;
        let bytes = match tokio::time::timeout(IDLE_TIMEOUT, body.next()).await {
            Ok(Some(Ok(bytes))) => bytes,
            Ok(Some(Err(e))) => return Some((Err(ModelError::Network(format!("cut: {}", root_cause(&e)))), None)),
            Ok(None) => return None,
            Err(_) => {
                let silent = format!("nothing came for {} s", IDLE_TIMEOUT.as_secs());
                return Some((Err(ModelError::Network(silent)), None));
            }
        };
        total += bytes.len();
        line = match bytes.iter().rposition(|b| matches!(b, b'\n' | b'\r')) {
            Some(end) => bytes.len() - end - 1,
            None => line + bytes.len(),
        };
        if total > MAX_REPLY || line > MAX_LINE {
            return Some((Err(ModelError::Protocol("the reply is too large".into())), None));
        }
        Some((Ok(bytes), Some((body, total, line))))
    })
}

fn root_cause(error: &dyn Error) -> String {
    match error.source() {
        Some(inner) => root_cause(inner),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, io};

    use super::*;

    async fn read(chunks: Vec<Vec<u8>>) -> Vec<Result<String, ModelError>> {
        let chunks = chunks.into_iter().map(|c| Ok::<_, Infallible>(Bytes::from(c)));
        data(stream::iter(chunks)).collect().await
    }

    #[tokio::test]
    async fn events_span_chunks_and_the_last_needs_no_blank_line() {
        let got =
            read(vec![b": ping\r\ndata: a\n".to_vec(), b"data: b\n\neve".to_vec(), b"nt: x\ndata: c".to_vec()]).await;
        assert_eq!(got, [Ok("a\nb".to_owned()), Ok("c".to_owned())]);
    }

    #[tokio::test]
    async fn endless_lines_and_bad_bytes_are_errors() {
        let got = read(vec![vec![b'x'; 1 << 20]; 5]).await;
        assert!(matches!(&got[..], [Err(ModelError::Protocol(_))]), "{got:?}");
        let got = read(vec![b"data: \xff\n\ndata: after\n\n".to_vec()]).await;
        assert!(matches!(&got[..], [Err(ModelError::Protocol(_))]), "{got:?}");
    }

    #[tokio::test]
    async fn an_endless_reply_is_an_error() {
        let line = [b"data: ".to_vec(), vec![b'x'; 1 << 20], b"\n\n".to_vec()].concat();
        let got = read(vec![line; 40]).await;
        assert!(matches!(got.last(), Some(Err(ModelError::Protocol(_)))));
        assert!(got.len() < 40);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_and_a_broken_connection_are_network_errors() {
        let silent = stream::iter([Ok::<_, io::Error>(Bytes::from_static(b"data: a\n\n"))]).chain(stream::pending());
        let got: Vec<_> = data(silent).collect().await;
        assert!(matches!(&got[..], [Ok(_), Err(ModelError::Network(_))]), "{got:?}");
        let broken = stream::iter([Ok(Bytes::from_static(b"data: a")), Err(io::Error::other("reset"))]);
        let got: Vec<_> = data(broken).collect().await;
        assert_eq!(got, [Err(ModelError::Network("cut: reset".into()))]);
    }
}
