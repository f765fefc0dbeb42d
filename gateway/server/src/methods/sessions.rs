//! sessions.* (agent-chat-channels.md section 7).

use std::{sync::Arc, time::Duration};

use openclaw_config::ModelRef;
use openclaw_platform::Platform;
use openclaw_protocol::{
    display,
    error::ErrorShape,
    message::{Content, Message},
    params::{
        PreviewItem, SessionChanged, SessionKeyParams, SessionPreview, SessionsCompact, SessionsCompactParams,
        SessionsDelete, SessionsDeleteParams, SessionsList, SessionsListParams, SessionsPatchParams, SessionsPreview,
        SessionsPreviewParams, SessionsResolve, SessionsResolveParams,
    },
    wire::{Int, NonEmpty},
};

use super::agent::canonical;
use crate::{
    dispatch::{Call, Reply},
    failure::Failure,
    health::Monitor,
    limits::SESSIONS,
    providers::Providers,
    rights::{Effect, Where},
    runs::Runs,
    sessions::{
        archive::Archive,
        entry::{SessionEntry, THINKING},
        key::{agent_of, default_agent, main_key},
        listing::{Listing, cut},
        store::Sessions,
    },
    settings::Settings,
};

/// What these methods use.
pub struct Deps {
    /// Files of what goes from a transcript.
    pub archive: Arc<Archive>,
    /// The health snapshot.
    pub health: Arc<Monitor>,
    /// Lists of sessions.
    pub listing: Arc<Listing>,
    /// The seams.
    pub platform: Platform,
    /// Model providers.
    pub providers: Arc<Providers>,
    /// Agent runs.
    pub runs: Arc<Runs>,
    /// Sessions and transcripts.
    pub sessions: Arc<Sessions>,
    /// The configuration in force.
    pub settings: Settings,
}

/// Sessions with one label that are told apart.
const MOST_NAMED: usize = 1000;
/// Keys looked up by one `sessions.preview`.
const PREVIEW_KEYS: usize = 64;
/// Newest lines kept by `sessions.compact` when not said.
const COMPACT_LINES: usize = 400;
/// A session's runs get this long to end before it is deleted.
const END_RUNS: Duration = Duration::from_secs(15);
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
    let given = [p.key.is_some(), p.session_id.is_some(), p.label.is_some()];
    if given.iter().filter(|g| **g).count() != 1 {
        let text = "Provide exactly one of key, sessionId, label";
        return Err(ErrorShape::invalid("ONE_SELECTOR", text).into());
    }
    let of_agent = |key: &str| p.agent_id.as_deref().is_none_or(|a| agent_of(&config, key) == a);
    let of_parent = |e: &SessionEntry| p.spawned_by.as_deref().is_none_or(|s| e.spawned_by.as_deref() == Some(s));
    let wanted = p.key.as_deref().or(p.session_id.as_deref()).or(p.label.as_deref()).unwrap_or_default();
    let key = p.key.as_deref().map(|k| canonical(&config, k)).transpose()?;
    let sessions = &deps.sessions;
    let named = match (key, &p.session_id, &p.label) {
        (Some(key), _, _) => vec![key],
        (_, Some(id), _) => sessions.key_of(id)?.into_iter().collect(),
        (_, _, Some(label)) => sessions.labelled(label, MOST_NAMED)?,
        _ => vec![],
    };
    let mut found = Vec::new();
    for key in named {
        if let Some(entry) = sessions.get(&key)?
            && of_agent(&key)
            && of_parent(&entry)
        {
            found.push(key);
        }
    }
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

/// What a level may be, with the words that people use for it.
fn level(field: &str, value: &str, allowed: &[&str], synonyms: &[(&str, &str)]) -> Result<String, ErrorShape> {
    let value = value.trim().to_lowercase();
    let plain = synonyms.iter().find(|(word, _)| *word == value).map_or(value.as_str(), |(_, level)| level);
    if allowed.contains(&plain) {
        return Ok(plain.to_owned());
    }
    let shown = display::short(&value, 32);
    let text = format!("invalid {field} \"{shown}\" (use {})", allowed.join("|"));
    Err(ErrorShape::invalid("INVALID_LEVEL", text))
}

/// `Some(None)` clears, `Some(Some(v))` sets, `None` leaves alone.
type Change<T> = Option<Option<T>>;

fn checked(
    field: &str,
    change: Option<&Option<NonEmpty>>,
    allowed: &[&str],
    synonyms: &[(&str, &str)],
) -> Result<Change<String>, ErrorShape> {
    match change {
        None => Ok(None),
        Some(None) => Ok(Some(None)),
        Some(Some(value)) => level(field, value, allowed, synonyms).map(|v| Some(Some(v))),
    }
}

fn apply<T: Clone>(slot: &mut Option<T>, change: Option<&Option<T>>) {
    if let Some(value) = change {
        slot.clone_from(value);
    }
}

pub async fn patch(deps: Arc<Deps>, call: Call, p: SessionsPatchParams) -> Result<Reply<SessionChanged>, Failure> {
    let config = deps.settings.get();
    let key = canonical(&config, &p.key)?;
    call.require(Effect::Change(Where::Session(&key)))?;
    const ON_OFF: [(&str, &str); 7] =
        [("true", "on"), ("yes", "on"), ("1", "on"), ("false", "off"), ("no", "off"), ("0", "off"), ("all", "full")];
    let thinking = checked("thinkingLevel", p.thinking_level.as_ref(), &THINKING, &[])?;
    let verbose = checked("verboseLevel", p.verbose_level.as_ref(), &["on", "off", "full"], &ON_OFF)?;
    let reasoning = checked("reasoningLevel", p.reasoning_level.as_ref(), &["on", "off", "stream"], &[])?;
    let usage = checked("responseUsage", p.response_usage.as_ref(), &["off", "tokens", "full", "on"], &[])?;
    let elevated = checked("elevatedLevel", p.elevated_level.as_ref(), &["on", "off", "ask", "full"], &[])?;
    let host = checked("execHost", p.exec_host.as_ref(), &["sandbox", "gateway", "node"], &[])?;
    let security = checked("execSecurity", p.exec_security.as_ref(), &["deny", "allowlist", "full"], &[])?;
    let ask = checked("execAsk", p.exec_ask.as_ref(), &["off", "on-miss", "always"], &[])?;
    let model = match &p.model {
        Some(Some(text)) => {
            let Some(model) = ModelRef::parse(text).or_else(|| short_model(&deps, text)) else {
                let text = "invalid model: expected provider/model, as models.list names them";
                return Err(ErrorShape::invalid("INVALID_MODEL", text).into());
            };
            Some(Some(model))
        }
        Some(None) => Some(None),
        None => None,
    };
    let current = deps.sessions.get(&key)?;
    if let Some(Some(_)) = &p.spawned_by {
        let refused = if !key.contains(":subagent:") {
            Some("spawnedBy is only supported for subagent sessions")
        } else if current.as_ref().is_some_and(|e| e.spawned_by.is_some()) {
            Some("spawnedBy cannot be changed once set")
        } else {
            None
        };
        if let Some(text) = refused {
            return Err(ErrorShape::invalid("SPAWNED_BY", text).into());
        }
    }
    let in_use =
        |label: &str| ErrorShape::invalid("LABEL_IN_USE", format!("label already in use: {}", label.escape_debug()));
    if let Some(Some(label)) = &p.label
        && deps.sessions.labelled(label, 2)?.iter().any(|named| *named != key)
    {
        return Err(in_use(label).into());
    }
    if current.is_none() && deps.sessions.count()? >= SESSIONS {
        let text = format!("this gateway keeps at most {SESSIONS} sessions: delete some first");
        return Err(ErrorShape::unavailable("TOO_MANY_SESSIONS", text).into());
    }
    let now = deps.platform.clock.wall();
    let string = |c: &Change<NonEmpty>| c.as_ref().map(|v| v.as_ref().map(|s| s.as_str().to_owned()));
    let (node, spawned) = (string(&p.exec_node), string(&p.spawned_by));
    let label = p.label.as_ref().map(|l| l.as_ref().map(|l| l.as_str().to_owned()));
    let (send_policy, activation) = (p.send_policy, p.group_activation);
    let change = move |e: &mut SessionEntry| {
        e.updated_at = now;
        apply(&mut e.label, label.as_ref());
        apply(&mut e.thinking_level, thinking.as_ref());
        apply(&mut e.verbose_level, verbose.as_ref());
        apply(&mut e.reasoning_level, reasoning.as_ref());
        apply(&mut e.response_usage, usage.as_ref());
        apply(&mut e.elevated_level, elevated.as_ref());
        apply(&mut e.exec_host, host.as_ref());
        apply(&mut e.exec_security, security.as_ref());
        apply(&mut e.exec_ask, ask.as_ref());
        apply(&mut e.exec_node, node.as_ref());
        apply(&mut e.spawned_by, spawned.as_ref());
        apply(&mut e.send_policy, send_policy.as_ref());
        apply(&mut e.group_activation, activation.as_ref());
        if let Some(model) = &model {
            e.provider_override = model.as_ref().map(|m| m.provider.clone());
            e.model_override = model.as_ref().map(|m| m.model.clone());
        }
    };
    let (entry, ()) = deps.sessions.update(&key, now, change, |_, _| Ok(())).await?;
    // Another session was given it meanwhile.
    if let Some(Some(label)) = &p.label
        && entry.label.as_deref() != Some(label)
    {
        return Err(in_use(label).into());
    }
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
    let config = deps.settings.get();
    let key = canonical(&config, &p.key)?;
    call.require(Effect::Change(Where::Session(&key)))?;
    if key == main_key(&config, agent_of(&config, &key)) || key == main_key(&config, default_agent(&config)) {
        let text = format!("the main session cannot be deleted ({key}); sessions.reset begins it anew");
        return Err(ErrorShape::invalid("MAIN_SESSION", text).into());
    }
    deps.runs.end(&key, |_| true, "rpc");
    let ended = async {
        for run in deps.runs.of_session(&key) {
            run.ended().await;
        }
    };
    if tokio::time::timeout(END_RUNS, ended).await.is_err() {
        let text = "a run of this session is still under way";
        return Err(ErrorShape::unavailable("SESSION_BUSY", text).retry(Some(1000)).into());
    }
    let Some(entry) = deps.sessions.get(&key)? else {
        return Ok(SessionsDelete { ok: true, key, deleted: false, archived: vec![] }.into());
    };
    // The transcript is archived before it goes: an archive that cannot be written leaves everything as it is.
    let transcript = p.delete_transcript != Some(false);
    let (mut archived, mut kept) = (vec![], 0);
    if transcript {
        let (sessions, id) = (deps.sessions.clone(), entry.session_id.clone());
        let lines = call.turn().await.slice(move || Ok(sessions.lines(&id)?)).await?;
        kept = lines.len();
        archived.extend(deps.archive.write(&key, &entry.session_id, "deleted", lines).await?);
    }
    let Some((gone, lines)) = deps.sessions.remove(&key, transcript).await? else {
        return Ok(SessionsDelete { ok: true, key, deleted: false, archived }.into());
    };
    // Somebody wrote into it, or began it anew, meanwhile.
    if lines.len() != kept || gone.session_id != entry.session_id {
        archived.extend(deps.archive.write(&key, &gone.session_id, "deleted", lines).await?);
    }
    Ok(SessionsDelete { ok: true, key, deleted: true, archived }.into())
}

pub async fn compact(deps: Arc<Deps>, call: Call, p: SessionsCompactParams) -> Result<Reply<SessionsCompact>, Failure> {
    let key = canonical(&deps.settings.get(), &p.key)?;
    call.require(Effect::Change(Where::Session(&key)))?;
    let answer = |compacted, kept, archived, reason: Option<&str>| SessionsCompact {
        ok: true,
        key: key.clone(),
        compacted,
        kept,
        archived,
        reason: reason.map(str::to_owned),
    };
    let Some(entry) = deps.sessions.get(&key)? else {
        return Ok(answer(false, None, None, Some("no transcript")).into());
    };
    let keep = p.max_lines.map_or(COMPACT_LINES, |n: Int<1, 1_000_000>| n.unsigned() as usize);
    // The whole transcript is archived before lines of it go.
    let (sessions, id) = (deps.sessions.clone(), entry.session_id.clone());
    let lines = call.turn().await.slice(move || Ok(sessions.lines(&id)?)).await?;
    if lines.len() <= keep {
        return Ok(answer(false, Some(lines.len() as u64), None, None).into());
    }
    let archived = deps.archive.write(&key, &entry.session_id, "bak", lines).await?;
    let (kept, _) = deps.sessions.compact(&entry.session_id, keep).await?;
    Ok(answer(true, Some(kept as u64), archived, None).into())
}
