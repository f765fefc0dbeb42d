//! Replies without a network, for the fuzz targets; exists under `--cfg fuzzing` alone.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;

use super::{ModelStream, anthropic::Messages, decode, openai::Chat, sse};

/// Whose stream it is.
#[derive(Debug, Clone, Copy)]
pub enum Api {
    /// Chat completions.
    OpenAi,
    /// Messages.
    Anthropic,
}

/// The reply in a streamed body that arrives in these pieces.
pub fn streamed(api: Api, pieces: Vec<Bytes>) -> ModelStream {
    let data = sse::data(stream::iter(pieces.into_iter().map(Ok::<_, Infallible>)));
    match api {
        Api::OpenAi => decode::reply(data, Chat::default()),
        Api::Anthropic => decode::reply(data, Messages::default()),
    }
}
