//! What a request means: which session, what the run is asked to do, where its reply goes.

use std::time::Duration;

use openclaw_platform::sync::Arc;
use openclaw_protocol::{
    message::Content,
    params::AgentParams,
    wire::{Int, Text},
};

use super::AgentRequests;
use crate::{
    idempotency::Claim,
    inbound::{NotRequested, images::images},
    rights::{self, Effect, Principal, Where},
    runs::{ReplyTo, RunRequest, default_timeout, request::Touch},
    sessions::{
        entry::{Route, SessionEntry, THINKING, require_open},
        key,
    },
    store::Broken,
};

/// The longest time that a run may take.
const TIMEOUT_MAX: u64 = 24 * 3600;

/// A session as runs know it, and as the caller named it.
struct Named {
    key: String,
    shown: String,
}

impl From<String> for Named {
    fn from(key: String) -> Self {
        Self { shown: key.clone(), key }
    }
}

impl AgentRequests {
    /// The run that is asked for; `None` when nothing says in which session.
    pub(super) fn describe(
        &self,
        by: &Principal,
        params: &AgentParams,
        claim: &Claim,
    ) -> Result<Option<RunRequest>, NotRequested> {
        let mut input = vec![Content::text(params.message.as_str())];
        input.extend(images(params.attachments.as_ref())?);
        for name in [&params.channel, &params.reply_channel].into_iter().filter_map(|name| said(name.as_deref())) {
            if !openclaw_channels::table::is_known(name) {
                return Err(NotRequested::UnknownChannel(name.to_owned()));
            }
        }
        let Some(Named { key, shown }) = self.session(params)? else { return Ok(None) };
        let entry = self.deps.sessions.get(&key).map_err(Broken::from)?;
        self.label(by, params, &key, entry.as_ref())?;
        require_open(entry.as_ref())?;
        let thinking = said(params.thinking.as_deref()).map(str::to_lowercase);
        if let Some(level) = thinking.as_ref().filter(|level| !THINKING.contains(&level.as_str())) {
            return Err(NotRequested::Thinking(level.clone()));
        }
        let timeout = match params.timeout.map(Int::unsigned) {
            None | Some(0) => default_timeout(&self.deps.settings.get()),
            Some(seconds) => Duration::from_secs(seconds.min(TIMEOUT_MAX)),
        };
        let deliver = reply_to(params, entry.as_ref())?;
        if let Some(Ok((account, to))) = deliver.as_ref().map(|d| self.deps.channels.resolve(&d.route)) {
            self.deps.delivery.has_room(account.id(), account.account(), &to.chat)?;
        }
        let run_id = params.idempotency_key.as_str().to_owned();
        Ok(Some(RunRequest {
            shown_key: shown,
            deliver,
            thinking,
            extra_system: said(params.extra_system_prompt.as_deref()).map(str::to_owned),
            touch: params.label.as_ref().map(names_the_session),
            dedupe: Some(claim.clone()),
            ..RunRequest::new(by.clone(), run_id, key, input, timeout)
        }))
    }

    /// sessionKey, else the session id, else the agent's main session, else that of the default agent when `to` is named.
    fn session(&self, params: &AgentParams) -> Result<Option<Named>, NotRequested> {
        let config = self.deps.settings.get();
        let agent = params.agent_id.as_ref().map(|a| a.as_str().trim().to_lowercase());
        if let Some(id) = agent.as_ref().filter(|id| !key::agent_ids(&config).contains(&id.as_str())) {
            return Err(NotRequested::UnknownAgent(id.clone()));
        }
        if let Some(shown) = said(params.session_key.as_deref()) {
            let key = key::canonical(&config, shown).ok_or_else(|| NotRequested::BadSessionKey(shown.to_owned()))?;
            if agent.is_some_and(|agent| agent != key::agent_of(&config, &key)) {
                return Err(NotRequested::OtherAgent);
            }
            return Ok(Some(Named { key, shown: shown.to_owned() }));
        }
        if let Some(id) = said(params.session_id.as_deref()) {
            let found = self.deps.sessions.key_of(id).map_err(Broken::from)?;
            return Ok(Some(found.ok_or_else(|| NotRequested::NoSession(id.to_owned()))?.into()));
        }
        let default = || said(params.to.as_deref()).map(|_| key::default_agent(&config).to_owned());
        Ok(agent.or_else(default).map(|agent| key::main_key(&config, &agent).into()))
    }

    /// A label is the session's: naming a new one is part of beginning it, renaming is not; and nobody takes the label of another
    /// session away (D48).
    fn label(
        &self,
        by: &Principal,
        params: &AgentParams,
        key: &str,
        entry: Option<&SessionEntry>,
    ) -> Result<(), NotRequested> {
        let Some(label) = params.label.as_ref().map(Text::as_str) else { return Ok(()) };
        if entry.is_some_and(|entry| entry.label.as_deref() != Some(label)) {
            rights::require(&self.deps.settings.get(), by, Effect::Change(Where::Session(key)))?;
        }
        let owners = self.deps.sessions.labelled(label, 2).map_err(Broken::from)?;
        if owners.iter().any(|owner| owner != key) {
            return Err(NotRequested::LabelInUse(label.to_owned()));
        }
        Ok(())
    }
}

/// What is more than blanks.
fn said(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

fn names_the_session<const MIN: usize, const MAX: usize>(label: &Text<MIN, MAX>) -> Touch {
    let label = label.as_str().to_owned();
    Arc::new(move |entry| entry.label = Some(label.clone()))
}

/// Where the reply goes: the channel and target named, else where the session last heard from.
pub(super) fn reply_to(params: &AgentParams, entry: Option<&SessionEntry>) -> Result<Option<ReplyTo>, NotRequested> {
    if params.deliver != Some(true) {
        return Ok(None);
    }
    let first =
        |a: &Option<String>, b: &Option<String>| said(a.as_deref()).or_else(|| said(b.as_deref())).map(str::to_owned);
    let last = entry.and_then(|e| e.delivery_context.clone());
    let channel = first(&params.reply_channel, &params.channel).filter(|c| c != "last");
    let to = first(&params.reply_to, &params.to);
    let account = first(&params.reply_account_id, &params.account_id);
    let route = match (channel, to, last) {
        (Some(channel), _, _) if channel == "webchat" => return Ok(None),
        (Some(channel), Some(to), _) => Route { channel, to, account_id: account.unwrap_or_default() },
        (None, Some(to), Some(last)) => Route { to, ..last },
        (None, None, Some(last)) => last,
        (Some(channel), None, Some(last)) if last.channel == channel => last,
        _ => return Err(NotRequested::NoRoute),
    };
    Ok(Some(ReplyTo { route, reply_to: None, required: true }))
}
