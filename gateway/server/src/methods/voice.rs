//! voicewake.get, voicewake.set, talk.mode (nodes-config-lifecycle.md part A5).

use std::sync::Arc;

use openclaw_platform::Platform;
use openclaw_protocol::{
    connect::ClientMode,
    error::ErrorShape,
    event::{TALK_MODE, VOICEWAKE_CHANGED},
    nodes as n,
    params::Empty,
    wire::Json,
};
use serde_json::Value;

use crate::{
    dispatch::{Call, Reply},
    failure::Failure,
    hub::EventHub,
    nodes::Nodes,
    voicewake::WakeWords,
    wire_error,
};

/// What these methods use.
pub struct Deps {
    /// Events.
    pub hub: Arc<EventHub>,
    /// Connected nodes.
    pub nodes: Arc<Nodes>,
    /// The seams.
    pub platform: Platform,
    /// Words that wake the assistant.
    pub wake_words: Arc<WakeWords>,
}

type Outcome<T> = Result<Reply<T>, Failure>;

pub async fn wake_get(deps: Arc<Deps>, _: Call, _: Empty) -> Outcome<n::VoiceWake> {
    Ok(deps.wake_words.get().into())
}

pub async fn wake_set(deps: Arc<Deps>, _: Call, params: n::VoiceWakeSetParams) -> Outcome<n::VoiceWake> {
    let Some(Json(Value::Array(given))) = params.triggers else {
        return Err(ErrorShape::invalid("INVALID_PARAMS", "voicewake.set requires triggers: string[]").into());
    };
    let tell = |words: &n::VoiceWake| deps.hub.events().publish(&VOICEWAKE_CHANGED, words);
    let set = deps.wake_words.set(&given, deps.platform.clock.wall(), tell).await;
    Ok(set.map_err(|error| stored(&error))?.into())
}

fn stored(error: &std::io::Error) -> ErrorShape {
    tracing::error!(%error, "storing the wake words");
    wire_error::not_stored("the list cannot be stored now")
}

/// Nothing is kept: who comes later starts without.
pub async fn talk(deps: Arc<Deps>, call: Call, params: n::TalkModeParams) -> Outcome<n::TalkMode> {
    if call.connection.client_mode == ClientMode::Webchat && !deps.nodes.has_mobile() {
        return Err(ErrorShape::unavailable("TALK_DISABLED", "talk disabled: no connected iOS/Android nodes").into());
    }
    let phase = params.phase.map(|p| p.as_str().to_owned());
    let mode = n::TalkMode { enabled: params.enabled, phase, ts: deps.platform.clock.wall() };
    deps.hub.events().publish(&TALK_MODE, &mode);
    Ok(mode.into())
}
