//! Step 3b of a message: whether anything takes it. Next: `commands.rs`.

use std::sync::Arc;

use openclaw_channels::Channel;
use openclaw_platform::Probe;

use super::{
    address::Addressed,
    answer::{Exit, Recipient, answer},
};
use crate::{
    channels::{
        Channels,
        inbox::{Record, Taken},
    },
    delivery::Delivery,
    rights::Principal,
    sessions::{
        entry::{Route, SessionEntry, require_open},
        store::Sessions,
    },
};

/// What people hear whose chat is bound to an agent that is not there.
const NOBODY: &str = "There is no assistant for this chat at the moment. Please tell whoever runs this bot.";

/// Who decides.
pub struct Admission<'a> {
    /// Its account has to be there.
    pub channels: &'a Channels,
    /// Its chat has to have room for an answer.
    pub delivery: &'a Arc<Delivery>,
    /// Its session has to be open.
    pub sessions: &'a Sessions,
    /// Tells the simulator what was refused.
    pub probe: &'a dyn Probe,
}

/// A message that is taken.
pub struct Admitted {
    /// The message.
    pub taken: Arc<Taken>,
    /// Who wrote it.
    pub by: Principal,
    /// The session that it is for ...
    pub session: String,
    /// ... as it is stored.
    pub entry: Option<SessionEntry>,
    /// The account that it came to.
    pub channel: Arc<dyn Channel>,
    /// Where an answer goes.
    pub route: Route,
}

impl Admitted {
    /// Whom an answer is for that no run gives.
    pub fn recipient(&self) -> Recipient<'_> {
        let (session, route) = (Some(self.session.clone()), self.route.clone());
        Recipient { key: &self.taken.key, by: &self.by, session, route }
    }
}

impl Admission<'_> {
    /// A message that may go on.
    ///
    /// # Errors
    /// [`Exit::Waits`] while the chat has no room or the session cannot be read; [`Exit::Done`] where nobody is to answer.
    pub async fn admit(&self, Addressed { taken, by, session }: Addressed) -> Result<Admitted, Exit> {
        let Record { channel: id, account, message } = &taken.record;
        self.delivery.has_room(id, account, &message.chat.chat).map_err(|_| Exit::Waits)?;
        let Some(channel) = self.channels.account(id, Some(account)) else {
            return Err(self.discard(&taken, "its account is configured no more").await);
        };
        let route = Route { channel: id.clone(), to: message.chat.address(), account_id: account.clone() };
        let Some(by) = by else {
            self.probe.sometimes("inbox.bound_to_no_agent");
            tracing::warn!(
                channel = id,
                account,
                chat = route.to,
                "not answered: `bindings` gives this chat to an agent that is not in agents.list"
            );
            let people = Recipient { key: &taken.key, by: &Principal::Gateway, session: None, route };
            return Err(answer(self.delivery, self.channels, people, NOBODY.to_owned()).await);
        };
        let entry = self.sessions.get(&session).map_err(|error| {
            tracing::error!(%error, "state database");
            Exit::Waits
        })?;
        if let Err(closed) = require_open(entry.as_ref()) {
            self.probe.sometimes("inbox.denied_by_policy");
            return Err(self.discard(&taken, &closed.to_string()).await);
        }
        Ok(Admitted { taken, by, session, entry, channel, route })
    }

    async fn discard(&self, taken: &Taken, why: &str) -> Exit {
        if self.channels.inbox.forget(&taken.key, why).await { Exit::Done } else { Exit::Waits }
    }
}
