//! config.*: the file, with secrets redacted (decision D17), and changes of it.

use std::sync::Arc;

use openclaw_platform::Platform;
use openclaw_protocol::{
    params as p,
    params::Empty,
    wire::{Int, NonEmpty},
};

use super::canonical;
use crate::{
    configuration::{
        edits::{Ask, ConfigEdits, Order, Wanted},
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
    let done = deps.edits.make(order(Wanted::Replace, &params.raw, params.base_hash.as_ref())).await?;
    let path = deps.look.path.display().to_string();
    Ok(p::ConfigSet { ok: true, path, config: done.config, hash: done.hash }.into())
}

pub async fn patch(deps: Arc<Deps>, _: Call, params: p::ConfigApplyParams) -> Result<Reply<p::ConfigApply>, Failure> {
    applied(&deps, Wanted::Patch, params).await
}

pub async fn apply(deps: Arc<Deps>, _: Call, params: p::ConfigApplyParams) -> Result<Reply<p::ConfigApply>, Failure> {
    applied(&deps, Wanted::Replace, params).await
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

fn order(wanted: Wanted, raw: &NonEmpty, base: Option<&NonEmpty>) -> Order {
    Order { wanted, raw: raw.as_str().to_owned(), base: base.map(|hash| hash.as_str().to_owned()) }
}

async fn applied(deps: &Deps, wanted: Wanted, params: p::ConfigApplyParams) -> Result<Reply<p::ConfigApply>, Failure> {
    let config = deps.look.settings.get();
    let ask = Ask {
        session: params.session_key.map(|shown| canonical(&config, &shown)).transpose()?,
        note: params.note,
        delay_ms: params.restart_delay_ms.map(Int::unsigned),
    };
    let order = order(wanted, &params.raw, params.base_hash.as_ref());
    let (done, restart) = deps.edits.make_and_restart(order, ask).await?;
    let told = p::ConfigApply {
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
    };
    Ok(Reply::then(told, move || drop(restart.planned)))
}
