//! sessions.* (agent-chat-channels.md section 7).

use std::sync::Arc;

use openclaw_config::{ModelRef, model_named};
use openclaw_platform::Platform;
use openclaw_protocol::{
    error::ErrorShape,
    message::{Content, Message},
    params::{
        PreviewItem, SessionChanged, SessionKeyParams, SessionPreview, SessionsCompact, SessionsCompactParams,
        SessionsDelete, SessionsDeleteParams, SessionsList, SessionsListParams, SessionsPatchParams, SessionsPreview,
        SessionsPreviewParams, SessionsResolve, SessionsResolveParams,
    },
    wire::{Int, NonEmpty},
};

use super::canonical;
use crate::{
    dispatch::{Call, Reply},
    failure::Failure,
    health::Monitor,
    providers::Providers,
    rights::{Effect, Where},
    sessions::{
        entry::SessionEntry,
        find::{Selector, find},
        listing::{Listing, cut},
        patch::Patch,
        removal::{Compacted, Deleted, Removal},
        store::Sessions,
    },
    settings::Settings,
};

/// What these methods use.
pub struct Deps {
    /// The health snapshot.
    pub health: Arc<Monitor>,
    /// Lists of sessions.
    pub listing: Arc<Listing>,
    /// The seams.
    pub platform: Platform,
    /// Model providers.
    pub providers: Arc<Providers>,
    /// What goes because somebody asks for it.
    pub removal: Removal,
    /// Sessions and transcripts.
    pub sessions: Arc<Sessions>,
    /// The configuration in force.
    pub settings: Settings,
}

/// Keys looked up by one `sessions.preview`.
const PREVIEW_KEYS: usize = 64;
/// Newest lines kept by `sessions.compact` when not said.
const COMPACT_LINES: usize = 400;

pub async fn list(deps: Arc<Deps>, call: Call, p: SessionsListParams) -> Result<Reply<SessionsList>, Failure> {
    call.require(Effect::See(Where::Any))?;
    let turn = call.turn().await;
    let list = deps.listing.list(p).await?;
    turn.encode(move || Ok(list)).await
}

pub async fn preview(deps: Arc<Deps>, call: Call, p: SessionsPreviewParams) -> Result<Reply<SessionsPreview>, Failure> {
    call.require(Effect::See(Where::Any))?;
    call.read(move || Ok(previews(&deps, &p))).await
}

fn previews(deps: &Deps, p: &SessionsPreviewParams) -> SessionsPreview {
    let config = deps.settings.get();
    let limit = p.limit.map_or(12, |l| l.unsigned() as usize);
    let max = p.max_chars.map_or(240, |m| m.unsigned() as usize);
    let one = |shown: &NonEmpty| {
        let entry = canonical(&config, shown).ok().map(|key| deps.sessions.get(&key)).transpose();
        let (status, items) = match entry.map(Option::flatten) {
            Err(_) => ("error", vec![]),
            Ok(None) => ("missing", vec![]),
            Ok(Some(entry)) => match deps.sessions.messages(&entry.session_id, limit) {
                Err(_) => ("error", vec![]),
                Ok(messages) if messages.is_empty() => ("empty", vec![]),
                Ok(messages) => ("ok", messages.iter().map(|m| item(m, max)).collect()),
            },
        };
        SessionPreview { key: shown.as_str().to_owned(), status: status.to_owned(), items }
    };
    let previews = p.keys.0.iter().take(PREVIEW_KEYS).map(one).collect();
    SessionsPreview { ts: deps.platform.clock.wall(), previews }
}

fn item(message: &Message, max: usize) -> PreviewItem {
    let calls = |content: &[Content]| {
        let names = content.iter().filter_map(|c| match c {
            Content::ToolCall { name, .. } => Some(name.clone()),
            _ => None,
        });
        names.collect::<Vec<_>>().join(", ")
    };
    let (role, text) = match message {
        Message::User { .. } => ("user", message.text()),
        Message::Assistant { content, .. } if message.text().is_empty() => ("tool", format!("call {}", calls(content))),
        Message::Assistant { .. } => ("assistant", message.text()),
        Message::ToolResult { .. } => ("tool", message.text()),
    };
    PreviewItem { role: role.to_owned(), text: cut(&text, max) }
}

pub async fn resolve(deps: Arc<Deps>, _: Call, p: SessionsResolveParams) -> Result<Reply<SessionsResolve>, Failure> {
    let config = deps.settings.get();
    let (wanted, selector) = match (&p.key, &p.session_id, &p.label) {
        (Some(key), None, None) => (key.as_str(), Selector::Key(canonical(&config, key)?)),
        (None, Some(id), None) => (id.as_str(), Selector::Id(id)),
        (None, None, Some(label)) => (label.as_str(), Selector::Label(label.as_str())),
        _ => return Err(ErrorShape::invalid("ONE_SELECTOR", "Provide exactly one of key, sessionId, label").into()),
    };
    let found = find(&deps.sessions, &config, selector, p.agent_id.as_deref(), p.spawned_by.as_deref())?;
    let shown: String = wanted.chars().take(64).flat_map(char::escape_debug).collect();
    match found.as_slice() {
        [key] => Ok(SessionsResolve { ok: true, key: key.clone() }.into()),
        [] => Err(ErrorShape::invalid("NO_SESSION", format!("No session found: {shown}")).into()),
        many => {
            let text = format!("Multiple sessions found: {shown} ({} of them)", many.len());
            Err(ErrorShape::invalid("AMBIGUOUS_SESSION", text).into())
        }
    }
}

pub async fn patch(deps: Arc<Deps>, call: Call, p: SessionsPatchParams) -> Result<Reply<SessionChanged>, Failure> {
    let key = canonical(&deps.settings.get(), &p.key)?;
    call.require(Effect::Change(Where::Session(&key)))?;
    let config = deps.settings.get();
    let patch = Patch::of(&p, |text| model_named(&config, text).or_else(|| short_model(&deps, text)))?;
    let entry = deps.sessions.patch(&key, deps.platform.clock.wall(), patch).await??;
    Ok(changed(&deps, key, &entry).into())
}

/// A model named without its provider.
fn short_model(deps: &Deps, text: &str) -> Option<ModelRef> {
    let rows = deps.providers.list();
    let found = rows.into_iter().find(|m| m.id == text.trim())?;
    Some(ModelRef { provider: found.provider, model: found.id })
}

fn changed(deps: &Deps, key: String, entry: &SessionEntry) -> SessionChanged {
    let entry = serde_json::to_value(entry).unwrap_or_default();
    SessionChanged { ok: true, key, entry, path: Some(deps.health.sessions_path()) }
}

pub async fn reset(deps: Arc<Deps>, call: Call, p: SessionKeyParams) -> Result<Reply<SessionChanged>, Failure> {
    let key = canonical(&deps.settings.get(), &p.key)?;
    call.require(Effect::Change(Where::Session(&key)))?;
    let now = deps.platform.clock.wall();
    let id = deps.sessions.new_id();
    let change = move |e: &mut SessionEntry| *e = e.restarted(id.clone(), now);
    let (entry, ()) = deps.sessions.update(&key, now, change, |_, _| Ok(())).await?;
    Ok(changed(&deps, key, &entry).into())
}

pub async fn delete(deps: Arc<Deps>, call: Call, p: SessionsDeleteParams) -> Result<Reply<SessionsDelete>, Failure> {
    let key = canonical(&deps.settings.get(), &p.key)?;
    call.require(Effect::Change(Where::Session(&key)))?;
    deps.removal.end_runs(&key).await?;
    let _turn = call.turn().await;
    let Deleted { deleted, archived } = deps.removal.delete(&key, p.delete_transcript != Some(false)).await?;
    Ok(SessionsDelete { ok: true, key, deleted, archived }.into())
}

pub async fn compact(deps: Arc<Deps>, call: Call, p: SessionsCompactParams) -> Result<Reply<SessionsCompact>, Failure> {
    let key = canonical(&deps.settings.get(), &p.key)?;
    call.require(Effect::Change(Where::Session(&key)))?;
    let keep = p.max_lines.map_or(COMPACT_LINES, |n: Int<1, 1_000_000>| n.unsigned() as usize);
    let _turn = call.turn().await;
    let (compacted, kept, archived, reason) = match deps.removal.compact(&key, keep).await? {
        Compacted::NoTranscript => (false, None, None, Some("no transcript".to_owned())),
        Compacted::Short(lines) => (false, Some(lines as u64), None, None),
        Compacted::Cut { kept, archived } => (true, Some(kept as u64), archived, None),
    };
    Ok(SessionsCompact { ok: true, key, compacted, kept, archived, reason }.into())
}
