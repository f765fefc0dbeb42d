//! Messages that somebody asks to send, once per key (agent-chat-channels.md section 8; F16).

use openclaw_channels::table;
use openclaw_platform::{Clock, sync::Arc};
use openclaw_protocol::params::{Send, SendParams};

use super::{
    Delivery, Draft, NotSent, StillPending,
    outbound::{Cause, Promise},
};
use crate::{
    channels::{Channels, Unreachable, media::Attachments},
    idempotency::{self, Check, Claim, Idempotency, Pending},
    limits::DELIVERY_WAIT,
    rights::Principal,
    sessions::{self, entry::Route},
    settings::Settings,
    store::Broken,
};

/// What sending uses of others.
pub struct Deps {
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// The configuration.
    pub settings: Settings,
    /// Through whom it goes.
    pub channels: Arc<Channels>,
    /// Carries it.
    pub delivery: Arc<Delivery>,
    /// Files that go with it.
    pub attachments: Arc<Attachments>,
    /// Keys that were used before.
    pub idempotency: Arc<Idempotency>,
}

/// Sends what clients and tools ask for.
pub struct Sends {
    deps: Deps,
}

impl Sends {
    /// Sends by these services; nothing is under way.
    pub fn new(deps: Deps) -> Self {
        Self { deps }
    }

    /// Sends through a channel, once per key of `identity`. The answer is that of the delivery, waited for within bounds. Files
    /// that `agent` sends are its own.
    ///
    /// # Errors
    /// [`NotSent`].
    pub async fn send(
        &self,
        by: &Principal,
        (identity, agent): (&str, Option<&str>),
        params: SendParams,
    ) -> Result<Send, NotSent> {
        let named = params.channel.as_deref().map(str::trim).filter(|c| !c.is_empty());
        let channel = named.unwrap_or(table::default_id());
        let channel = channel.to_lowercase();
        let account = self.deps.channels.account(&channel, params.account_id.as_deref());
        if account.is_none() {
            let is_here = table::is_known(&channel) && self.deps.channels.account(&channel, None).is_some();
            return Err(if is_here { NotSent::NoAccount(channel) } else { NotSent::NoChannel(channel) });
        }
        // A bad target or file is refused before the key is used up.
        if let Some(account) = &account {
            account.parse_target(&params.to).map_err(|e| Unreachable::BadTarget(e.to_string()))?;
        }
        let now = self.deps.clock.wall();
        let key = params.idempotency_key.as_str();
        let held = match self.deps.idempotency.check("send", identity, key, &params, now)? {
            Check::New(claim) => self.deps.idempotency.hold(claim),
            Check::Done(record) => return Ok(record.answer()?),
            Check::InFlight(_, pending) => return answer(&pending).await,
        };
        let pending = self.deps.idempotency.pending(held.claim());
        let account_id = account.as_ref().map(|a| a.account().to_owned()).unwrap_or_default();
        let route = Route { channel, to: params.to.as_str().trim().to_owned(), account_id };
        self.post((by, agent), &params, route, held.claim()).await?;
        held.accept();
        match pending {
            Some(pending) => answer(&pending).await,
            None => Err(idempotency::Refused::Unfinished.into()),
        }
    }

    /// Stores the message; from then on the key has its answer to come, also over a restart (F16).
    async fn post(
        &self,
        (by, agent): (&Principal, Option<&str>),
        params: &SendParams,
        route: Route,
        claim: &Claim,
    ) -> Result<(), NotSent> {
        if let Ok((account, to)) = self.deps.channels.resolve(&route) {
            self.deps.delivery.has_room(account.id(), account.account(), &to.chat)?;
        }
        let urls: Vec<String> = params.media_url.iter().chain(params.media_urls.iter().flatten()).cloned().collect();
        if params.message.trim().is_empty() && urls.is_empty() {
            return Err(NotSent::Empty);
        }
        let config = self.deps.settings.get();
        let cause = Cause {
            session_key: params.session_key.as_deref().and_then(|key| sessions::key::canonical(&config, key)),
            promise: Some(Promise { claim: claim.clone(), answer: None }),
            mirror: true,
            ..Cause::default()
        };
        let draft = Draft { route, text: params.message.as_str().to_owned(), reply_to: None, cause };
        let mut outbound = self.deps.delivery.compose(by, draft)?;
        self.deps.attachments.enclose(&mut outbound, &urls, agent).await?;
        self.deps.delivery.post(&outbound, |_| Ok(())).await.map_err(Broken::from)?;
        Ok(())
    }
}

/// Waits for the delivery, within bounds.
async fn answer(pending: &Pending) -> Result<Send, NotSent> {
    match tokio::time::timeout(DELIVERY_WAIT, pending.answer()).await {
        Ok(Some(record)) => Ok(record.answer()?),
        Ok(None) => Err(idempotency::Refused::Unfinished.into()),
        Err(_) => Err(StillPending.into()),
    }
}
