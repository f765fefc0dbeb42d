//! voicewake.get, voicewake.set, talk.mode (nodes-config-lifecycle.md part A5).

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
    wire_error,
};

type Outcome<T> = Result<Reply<T>, Failure>;

pub async fn wake_get(call: Call, _: Empty) -> Outcome<n::VoiceWake> {
    Ok(call.gateway.wake_words.get().into())
}

pub async fn wake_set(call: Call, params: n::VoiceWakeSetParams) -> Outcome<n::VoiceWake> {
    let Some(Json(Value::Array(given))) = params.triggers else {
        return Err(ErrorShape::invalid("INVALID_PARAMS", "voicewake.set requires triggers: string[]").into());
    };
    let gateway = &call.gateway;
    let tell = |words: &n::VoiceWake| gateway.hub.publish(&VOICEWAKE_CHANGED, words);
    let set = gateway.wake_words.set(&given, gateway.clock.wall(), tell).await;
    Ok(set.map_err(|error| stored(&error))?.into())
}

fn stored(error: &std::io::Error) -> ErrorShape {
    tracing::error!(%error, "storing the wake words");
    wire_error::not_stored("the list cannot be stored now")
}

/// Nothing is kept: who comes later starts without.
pub async fn talk(call: Call, params: n::TalkModeParams) -> Outcome<n::TalkMode> {
    let gateway = &call.gateway;
    if call.member.client_mode == ClientMode::Webchat && !gateway.nodes.has_mobile() {
        return Err(ErrorShape::unavailable("TALK_DISABLED", "talk disabled: no connected iOS/Android nodes").into());
    }
    let phase = params.phase.map(|p| p.as_str().to_owned());
    let mode = n::TalkMode { enabled: params.enabled, phase, ts: gateway.clock.wall() };
    gateway.hub.publish(&TALK_MODE, &mode);
    Ok(mode.into())
}
