//! A model's streamed reply gives the same events whatever the pieces in which its bytes arrive, for both APIs; after
//! an error or the end nothing follows.
//!
//! The first byte chooses the API, the next eight where the stream is cut; the rest is the body.

use bytes::Bytes;
use futures_util::StreamExt as _;
use openclaw_agent::provider::{
    ModelError, ModelEvent,
    fuzzing::{Api, streamed},
};
use tokio::runtime::Runtime;

type Reply = Vec<Result<ModelEvent, ModelError>>;

thread_local!(static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread()
    .enable_time()
    .start_paused(true)
    .build()
    .expect("a runtime without I/O can always be had"));

/// One input.
pub fn run(input: &[u8]) {
    let Some((head, body)) = input.split_at_checked(9) else { return };
    let api = if head[0] % 2 == 0 { Api::OpenAi } else { Api::Anthropic };
    let body = Bytes::copy_from_slice(body);
    let whole = reply(api, vec![body.clone()]);
    let ends = whole.iter().position(|event| matches!(event, Err(_) | Ok(ModelEvent::End(_))));
    assert_eq!(ends, Some(whole.len() - 1), "{whole:?}");

    let mut pieces = Vec::new();
    let mut left = body.clone();
    for cut in head[1..].iter().cycle() {
        if left.is_empty() {
            break;
        }
        pieces.push(left.split_to(usize::from(*cut % 32).min(left.len())));
        if pieces.len() > 4 * body.len() + 8 {
            pieces.push(std::mem::take(&mut left));
        }
    }
    assert_eq!(reply(api, pieces), whole, "cut {:?}", &head[1..]);
}

fn reply(api: Api, pieces: Vec<Bytes>) -> Reply {
    RUNTIME.with(|runtime| runtime.block_on(streamed(api, pieces).collect()))
}
