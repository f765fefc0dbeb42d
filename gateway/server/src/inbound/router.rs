//! From stored messages of chats to commands and runs, in order of arrival within each session.

use std::sync::Arc;

use openclaw_platform::{Entropy, EntropyExt as _, Probe};
use tokio_util::sync::CancellationToken;

use super::{
    address::{Addressed, address},
    admit::Admission,
    answer::{Exit, answer},
    commands::{Commands, is_stop},
    describe,
    held::Held,
};
use crate::{
    channels::{
        Channels,
        inbox::{RETRY, Taken},
    },
    delivery::Delivery,
    runs::Runs,
    sessions::store::Sessions,
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
    pub delivery: Arc<Delivery>,
    /// What is not for the model.
    pub commands: Arc<Commands>,
}

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
        let mut held = Held::default();
        loop {
            let batch = openclaw_platform::select! {
                () = stop.cancelled() => return,
                batch = self.0.channels.inbox.take() => batch,
                () = tokio::time::sleep(RETRY), if !held.is_empty() => vec![],
            };
            for session in held.sessions() {
                while let Some(message) = held.first(&session) {
                    // Another agent's by now, maybe.
                    if stop.is_cancelled() || self.steps(self.addressed(message)).await == Err(Exit::Waits) {
                        break;
                    }
                    held.remove_first(&session);
                }
            }
            for message in batch.into_iter().map(Arc::new) {
                if stop.is_cancelled() {
                    return;
                }
                let addressed = self.addressed(&message);
                let session = addressed.session.clone();
                if is_stop(message.record.message.text.trim())
                    && let Some(ended) = held.remove_all(&session)
                {
                    self.0.probe.sometimes("inbox.a_stop_ended_what_was_held");
                    let waiting = ended.iter().map(|message| message.handled.clone()).collect();
                    self.0.runs.forget(waiting, "a person ended what waited in its session").await;
                }
                if held.has(&session) || self.steps(addressed).await == Err(Exit::Waits) {
                    self.0.probe.sometimes("inbox.waited_for_room");
                    held.push(session, message);
                }
            }
        }
    }

    fn addressed(&self, message: &Arc<Taken>) -> Addressed {
        address(&self.0.channels, &self.0.settings.get(), message)
    }

    /// The steps of one message; each is the file of its name.
    async fn steps(&self, addressed: Addressed) -> Result<(), Exit> {
        let Deps { settings, entropy, probe, channels, sessions, runs, delivery, commands } = &self.0;
        let admission = Admission { channels, delivery, sessions, probe: &**probe };
        let admitted = admission.admit(addressed).await?;
        let text = admitted.taken.record.message.text.trim();
        if let Some(text) = commands.answer(&admitted.by, &admitted.session, text).await {
            return Err(answer(delivery, channels, admitted.recipient(), text).await);
        }
        describe::submit(runs, &settings.get(), entropy.uuid(), admitted)
    }
}
