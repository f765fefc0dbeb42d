//! From stored inbound messages to commands and runs, in order of arrival within each session.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use openclaw_channels::ChatKind;
use openclaw_platform::{Entropy, EntropyExt as _, Probe};
use openclaw_protocol::message::Content;
use tokio_util::sync::CancellationToken;

use super::commands::{Commands, is_stop};
use crate::{
    channels::{
        Channels, Pending,
        envelope::envelope,
        inbox::{RETRY, Record, Taken, done},
    },
    delivery::{self, Draft, outbound::Cause},
    rights::{self, Effect, Principal, Where},
    runs::{ReplyTo, RunRequest, Runs, default_timeout, request::Queueing},
    sessions::{
        entry::{Route, SessionEntry, require_open},
        store::Sessions,
    },
    settings::Settings,
};

/// What the router uses of others.
pub struct Deps {
    /// The configuration.
    pub settings: Settings,
    /// Names runs.
    pub entropy: Arc<dyn Entropy>,
    /// Tells the simulator where a message went.
    pub probe: Arc<dyn Probe>,
    /// Where messages come from.
    pub channels: Arc<Channels>,
    /// Their send policies.
    pub sessions: Arc<Sessions>,
    /// Where runs are queued.
    pub runs: Arc<Runs>,
    /// A chat that is full takes no more.
    pub delivery: Arc<delivery::Delivery>,
    /// What is not for the model.
    pub commands: Arc<Commands>,
}

/// What people hear whose chat is bound to an agent that is not there.
const NOBODY: &str = "There is no assistant for this chat at the moment. Please tell whoever runs this bot.";

/// Handles inbound messages.
pub struct Router(Deps);

impl Router {
    /// Routes to these services, once [`Router::serve`] is started.
    pub fn new(deps: Deps) -> Self {
        Self(deps)
    }

    /// Turns stored messages into runs, in order of arrival within each session. One whose session or chat takes no more now
    /// waits, and those behind it in that session: nobody else does (F57).
    pub async fn serve(self: Arc<Self>, stop: CancellationToken) {
        let mut held: BTreeMap<String, VecDeque<Taken>> = BTreeMap::new();
        loop {
            let batch = openclaw_platform::select! {
                () = stop.cancelled() => return,
                batch = self.0.channels.inbox.take() => batch,
                () = tokio::time::sleep(RETRY), if !held.is_empty() => vec![],
            };
            let mut free = Vec::new();
            for (session, messages) in &mut held {
                while let Some(message) = messages.front() {
                    // Another agent's by now, maybe.
                    let (by, now) = self.addressed(&message.record);
                    if stop.is_cancelled() || !self.handle(message, by, &now).await {
                        break;
                    }
                    messages.pop_front();
                }
                if messages.is_empty() {
                    free.push(session.clone());
                }
            }
            held.retain(|session, _| !free.contains(session));
            for message in batch {
                if stop.is_cancelled() {
                    return;
                }
                let (by, session) = self.addressed(&message.record);
                if is_stop(message.record.message.text.trim())
                    && let Some(ended) = held.remove(&session)
                {
                    self.0.probe.sometimes("inbox.a_stop_ended_what_was_held");
                    let waiting = ended.into_iter().map(|message| message.handled).collect();
                    self.0.runs.forget(waiting, "a person ended what waited in its session").await;
                }
                if held.contains_key(&session) || !self.handle(&message, by, &session).await {
                    self.0.probe.sometimes("inbox.waited_for_room");
                    held.entry(session).or_default().push_back(message);
                }
            }
        }
    }

    /// Who wrote, and the session that it is for; where no agent answers, the chat stands for the session.
    fn addressed(&self, record: &Record) -> (Option<Principal>, String) {
        let Record { channel, account, message } = record;
        let by = self.0.channels.person(&self.0.settings.get(), channel, account, message);
        let session = match &by {
            Some(Principal::Person { session, .. }) => session.clone(),
            _ => format!("{channel} {account} {}", message.chat.address()),
        };
        (by, session)
    }

    /// The chat is bound to an agent that is not there: nobody else is to answer in its place, and the people hear it.
    async fn unanswerable(&self, key: &str, Record { channel, account, message }: &Record) -> bool {
        self.0.probe.sometimes("inbox.bound_to_no_agent");
        let chat = message.chat.address();
        tracing::warn!(
            channel,
            account,
            chat,
            "not answered: `bindings` gives this chat to an agent that is not in agents.list"
        );
        let route = Route { channel: channel.clone(), to: chat, account_id: account.clone() };
        self.answered(key, &Principal::Gateway, None, route, NOBODY.to_owned()).await
    }

    /// True: queued, answered, or discarded for good. False: the session, the chat or the database takes no more now, and the
    /// message is tried again later.
    async fn handle(&self, taken: &Taken, by: Option<Principal>, session_key: &str) -> bool {
        let Taken { key, record: Record { channel: id, account, message }, handled } = taken;
        if self.0.delivery.has_room(id, account, &message.chat.chat).is_err() {
            return false;
        }
        let config = self.0.settings.get();
        let Some(channel) = self.0.channels.account(id, Some(account)) else {
            return self.0.channels.inbox.forget(key, "its account is configured no more").await;
        };
        let Some(by) = by else { return self.unanswerable(key, &taken.record).await };
        let entry = match self.0.sessions.get(session_key) {
            Ok(entry) => entry,
            Err(error) => {
                tracing::error!(%error, "state database");
                return false;
            }
        };
        if let Err(closed) = require_open(entry.as_ref()) {
            self.0.probe.sometimes("inbox.denied_by_policy");
            return self.0.channels.inbox.forget(key, &closed.to_string()).await;
        }
        let route = Route { channel: id.clone(), to: message.chat.address(), account_id: account.clone() };
        let text = message.text.trim();
        if let Some(answer) = self.0.commands.answer(&by, session_key, text).await {
            return self.answered(key, &by, Some(session_key.to_owned()), route, answer).await;
        }
        let queueing = Queueing::of(&config, entry.as_ref(), id, &message.sender.id, text);
        let (context, kind) = (route.clone(), message.kind);
        let title = message.title.clone();
        // Where the configuration makes private chats share a session, only the owner says where its news go (D46).
        let is_guest =
            message.kind == ChatKind::Direct && !rights::may(&config, &by, Effect::Change(Where::Session(session_key)));
        let touch = move |entry: &mut SessionEntry| {
            if is_guest {
                return;
            }
            entry.delivery_context = Some(context.clone());
            entry.chat_type = Some(if kind == ChatKind::Direct { "direct" } else { "group" }.to_owned());
            entry.subject = title.clone().or(entry.subject.take());
        };
        let (input, timeout) = (vec![Content::text(envelope(id, message))], default_timeout(&self.0.settings.get()));
        let request = RunRequest {
            attachments: (!message.media.is_empty()).then(|| Pending { channel, media: message.media.clone() }),
            deliver: Some(ReplyTo { route, reply_to: None, required: false }),
            touch: Some(Arc::new(touch)),
            at_end: vec![handled.clone()],
            queueing: Some(queueing),
            ..RunRequest::new(by, self.0.entropy.uuid(), session_key.to_owned(), input, timeout)
        };
        // Refused is what finds its session full. Rights refuse nobody here, or the message would hold the session for ever: whoever
        // writes may have runs in the session that `channels.person` gave him.
        self.0.runs.submit(request).is_ok()
    }

    /// The answer to a command and the removal of its message, in one transaction; false when they cannot be stored now.
    async fn answered(&self, key: &str, by: &Principal, session: Option<String>, route: Route, text: String) -> bool {
        let cause = Cause { session_key: session, ..Cause::default() };
        let outbound = match self.0.delivery.compose(by, Draft { route, text, reply_to: None, cause }) {
            Ok(outbound) => outbound,
            Err(error) => return self.0.channels.inbox.forget(key, &error.to_string()).await,
        };
        let key = key.to_owned();
        let posted = self.0.delivery.post(&outbound, move |tx| done(tx, &key)).await;
        posted.inspect_err(|error| tracing::error!(%error, "the answer to a command")).is_ok()
    }
}
