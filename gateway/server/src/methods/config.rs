//! config.*: the file, with secrets redacted (decision D17), and changes of it.

use std::sync::Arc;

use openclaw_platform::Platform;
use openclaw_protocol::{params as p, params::Empty};

use crate::{
    configuration::{
        edits::{self, ConfigEdits, Order, Wanted},
        look::ConfigLook,
    },
    dispatch::{Call, Reply},
    failure::Failure,
};

/// What these methods use.
pub struct Deps {
    /// The seams.
    pub platform: Platform,
    /// Looks at the file.
    pub look: Arc<ConfigLook>,
    /// Changes it.
    pub edits: Arc<ConfigEdits>,
    /// Of this program.
    pub version: String,
    /// This process, for show.
    pub pid: u32,
}

pub async fn get(deps: Arc<Deps>, call: Call, _: Empty) -> Result<Reply<p::ConfigGet>, Failure> {
    call.read(move || Ok(deps.look.look()?)).await
}

pub async fn set(deps: Arc<Deps>, _: Call, params: p::ConfigSetParams) -> Result<Reply<p::ConfigSet>, Failure> {
    let p::ConfigSetParams { raw, base_hash } = params;
    let (wanted, raw) = (Wanted::Set, raw.as_str().to_owned());
    let base = base_hash.map(|hash| hash.as_str().to_owned());
    let done = deps.edits.make(Order { wanted, raw, base, session: None, note: None, delay_ms: None }).await?;
    Ok(p::ConfigSet { ok: true, path: deps.look.path.display().to_string(), config: done.config, hash: done.hash }
        .into())
}

pub async fn patch(deps: Arc<Deps>, _: Call, params: p::ConfigApplyParams) -> Result<Reply<p::ConfigApply>, Failure> {
    applied(&deps, Wanted::Patch, params).await.map(Reply::from)
}

pub async fn apply(deps: Arc<Deps>, _: Call, params: p::ConfigApplyParams) -> Result<Reply<p::ConfigApply>, Failure> {
    applied(&deps, Wanted::Apply, params).await.map(Reply::from)
}

pub async fn schema(deps: Arc<Deps>, call: Call, _: Empty) -> Result<Reply<p::ConfigSchema>, Failure> {
    call.read(move || {
        let now = i64::try_from(deps.platform.clock.wall()).unwrap_or_default();
        let at = jiff::Timestamp::from_millisecond(now).unwrap_or_default();
        Ok(p::ConfigSchema {
            schema: openclaw_config::schema().clone(),
            ui_hints: openclaw_config::hints(),
            version: deps.version.clone(),
            generated_at: at.to_string(),
        })
    })
    .await
}

async fn applied(deps: &Deps, wanted: Wanted, params: p::ConfigApplyParams) -> Result<p::ConfigApply, Failure> {
    let text = |text: &str| text.to_owned();
    let order = Order {
        wanted,
        raw: text(params.raw.as_str()),
        base: params.base_hash.map(|hash| text(hash.as_str())),
        session: params.session_key,
        note: params.note,
        delay_ms: params.restart_delay_ms.map(|delay| delay.get().unsigned_abs()),
    };
    let done = deps.edits.make(order).await?;
    let restart = done.restart.ok_or(Failure::from(edits::Error::NoFile))?;
    Ok(p::ConfigApply {
        ok: true,
        path: deps.look.path.display().to_string(),
        config: done.config,
        hash: done.hash,
        restart: p::ConfigRestart {
            ok: true,
            pid: u64::from(deps.pid),
            signal: "SIGUSR1".to_owned(),
            delay_ms: restart.delay_ms,
            reason: restart.reason.to_owned(),
            mode: "emit".to_owned(),
        },
        sentinel: p::ConfigSentinel {
            path: restart.kept.map(|path| path.display().to_string()),
            payload: serde_json::to_value(&restart.note)?,
        },
    })
}
