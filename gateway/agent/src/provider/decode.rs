//! From the data of events to a reply.

use std::{collections::VecDeque, time::Duration};

use futures_util::{Stream, StreamExt as _, stream};

use serde_json::Value;

use super::{ModelError, ModelEvent, ModelStream};

/// Most tool calls of one reply.
pub(super) const MAX_CALLS: usize = 128;
/// How long the rest of a stream (usage, the end marker) is waited for once the model has said that it is done.
const SETTLE: Duration = Duration::from_secs(5);

/// Highest count that is believed, so that sums never overflow.
const MAX_TOKENS: u64 = 1 << 40;

/// A count of tokens.
pub(super) fn tokens(value: &Value) -> Option<u64> {
    value.as_u64().map(|n| n.min(MAX_TOKENS))
}

/// How far a reply is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    More,
    /// The model is done; only trimmings may follow.
    Settled,
    /// The end marker.
    Done,
}

/// Reads one API's events.
pub(super) trait Decoder: Send + 'static {
    /// Takes the data of one event.
    fn feed(&mut self, data: &str, out: &mut VecDeque<ModelEvent>) -> Result<Progress, ModelError>;
    /// The stream is over; gives the rest, with [`ModelEvent::End`] last, or says that it was cut.
    fn end(&mut self, out: &mut VecDeque<ModelEvent>) -> Result<(), ModelError>;
}

/// The reply in `data`.
pub(super) fn reply(
    data: impl Stream<Item = Result<String, ModelError>> + Send + 'static,
    decoder: impl Decoder,
) -> ModelStream {
    let reading = Reading { data: data.boxed(), decoder, ready: VecDeque::new(), settled: false, over: None };
    stream::unfold(reading, |mut reading| async move { Some((reading.next().await?, reading)) }).boxed()
}

struct Reading<D> {
    data: stream::BoxStream<'static, Result<String, ModelError>>,
    decoder: D,
    ready: VecDeque<ModelEvent>,
    settled: bool,
    /// Set when nothing more is read; what is `ready` and this verdict still go out.
    over: Option<Result<(), ModelError>>,
}

impl<D: Decoder> Reading<D> {
    async fn next(&mut self) -> Option<Result<ModelEvent, ModelError>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            if let Some(verdict) = &mut self.over {
                return std::mem::replace(verdict, Ok(())).err().map(Err);
            }
            self.over = self.read().await;
        }
    }

    async fn read(&mut self) -> Option<Result<(), ModelError>> {
        let item = if self.settled {
            tokio::time::timeout(SETTLE, self.data.next()).await.unwrap_or(None)
        } else {
            self.data.next().await
        };
        match item {
            Some(Ok(data)) => match self.decoder.feed(&data, &mut self.ready) {
                Ok(Progress::More) => return None,
                Ok(Progress::Settled) => {
                    self.settled = true;
                    return None;
                }
                Ok(Progress::Done) => {}
                Err(e) => return Some(Err(e)),
            },
            Some(Err(e)) if !self.settled => return Some(Err(e)),
            Some(Err(_)) | None => {}
        }
        Some(self.decoder.end(&mut self.ready))
    }
}
