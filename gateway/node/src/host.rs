//! The connection of a node, and what it was asked over it.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use openclaw_client::{Client, ConnectError, ConnectOptions, NodeOffer, Session, SessionEvent, Stopped};
use openclaw_platform::Platform;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    commands::{COMMANDS, Commands, Refusal},
    identity::Identity,
};

/// Commands carried out side by side; one more is refused.
const MAX_JOBS: usize = 8;
/// The gateway takes an answer within this time, or nobody waits for it any more.
const ANSWER: Duration = Duration::from_secs(30);

/// How often a node that waits for a person's approval tries again.
const APPROVAL_POLL: Duration = Duration::from_secs(10);

/// What happens, for the person who started it.
#[derive(Debug)]
pub enum Report {
    /// Connected under this node id.
    Connected(String),
    /// Not connected: why, and when it tries again.
    Waiting(String, Duration),
    /// A command came.
    Asked(String),
    /// It was not carried out.
    Refused(String, Refusal),
}

/// A node host.
pub struct NodeHost {
    platform: Platform,
    options: ConnectOptions,
    identity: Identity,
    commands: Commands,
}

/// A person has to let this node in first: that takes its time.
fn waits_for_approval(why: &Stopped) -> Option<String> {
    let Stopped::Refused(ConnectError::Rejected { error, .. }) = why else { return None };
    let request = error.details.as_ref().and_then(|d| d["requestId"].as_str())?;
    (error.code == "NOT_PAIRED").then(|| {
        let request = request.escape_debug();
        format!("this node waits for approval: run `openclaw nodes approve {request}` on the gateway's machine")
    })
}

type Job = BoxFuture<'static, String>;

impl NodeHost {
    /// A node with the stored identity. `options` say where to and with what credential; without one the device token
    /// from the last pairing is used.
    ///
    /// # Errors
    /// When the identity cannot be read or made.
    pub fn new(platform: Platform, mut options: ConnectOptions, commands: Commands) -> io::Result<Self> {
        let identity = Identity::load(&*platform.storage, &*platform.entropy)?;
        if options.token.is_none() && options.password.is_none() {
            options.token.clone_from(&identity.device_token);
        }
        "node".clone_into(&mut options.role);
        "node-host".clone_into(&mut options.client_id);
        "node".clone_into(&mut options.client_mode);
        options.scopes = Vec::new();
        options.device = Some(Arc::new(identity.key.clone()));
        options.node =
            Some(NodeOffer { caps: vec!["system".to_owned()], commands: COMMANDS.map(str::to_owned).to_vec() });
        Ok(Self { platform, options, identity, commands })
    }

    /// The id that gateways know it by.
    pub fn node_id(&self) -> String {
        self.identity.node_id()
    }

    /// Serves until `stop`, or until coming back makes no sense.
    ///
    /// # Errors
    /// Why it gave up: refused for good, or replaced by another connection with this identity.
    pub async fn run(mut self, stop: CancellationToken, mut report: impl FnMut(Report)) -> Result<(), Stopped> {
        let mut session = Session::new(&self.platform, self.options.clone());
        let mut jobs: FuturesUnordered<Job> = FuturesUnordered::new();
        let mut cancels: BTreeMap<String, CancellationToken> = BTreeMap::new();
        loop {
            let event = openclaw_platform::select! {
                () = stop.cancelled() => break,
                Some(done) = jobs.next(), if !jobs.is_empty() => {
                    cancels.remove(&done);
                    continue;
                }
                event = session.next() => event,
            };
            match event {
                None => break,
                Some(SessionEvent::Connected(hello)) => {
                    self.keep_token(&hello);
                    report(Report::Connected(self.node_id()));
                }
                Some(SessionEvent::Event(event)) if event.event == "node.invoke.request" => {
                    let Some(client) = session.client().cloned() else { continue };
                    let command = event.payload["command"].as_str().unwrap_or_default().to_owned();
                    report(Report::Asked(command.clone()));
                    let Some(id) = event.payload["id"].as_str().map(str::to_owned) else { continue };
                    let cancel = CancellationToken::new();
                    let full = jobs.len() >= MAX_JOBS;
                    if !full {
                        cancels.insert(id.clone(), cancel.clone());
                    }
                    jobs.push(self.job(client, id, command, event.payload, cancel, full));
                }
                Some(SessionEvent::Event(event)) if event.event == "node.invoke.cancel" => {
                    if let Some(cancel) = event.payload["id"].as_str().and_then(|id| cancels.get(id)) {
                        cancel.cancel();
                    }
                }
                Some(SessionEvent::Disconnected { closed, retry_in }) => {
                    // Nobody waits for these answers: the programs end.
                    cancels.values().for_each(CancellationToken::cancel);
                    report(Report::Waiting(closed.to_string(), retry_in));
                }
                Some(SessionEvent::Failed { error, retry_in }) => report(Report::Waiting(error.to_string(), retry_in)),
                Some(SessionEvent::Stopped(why)) => {
                    let Some(text) = waits_for_approval(&why) else { return Err(why) };
                    report(Report::Waiting(text, APPROVAL_POLL));
                    openclaw_platform::select! {
                        () = stop.cancelled() => break,
                        () = tokio::time::sleep(APPROVAL_POLL) => {}
                    }
                    session = Session::new(&self.platform, self.options.clone());
                }
                Some(SessionEvent::Event(_) | SessionEvent::Gap { .. } | SessionEvent::Lagged { .. }) => {}
            }
        }
        drop(jobs);
        session.close().await;
        Ok(())
    }

    fn keep_token(&mut self, hello: &Value) {
        let Some(token) = hello["auth"]["deviceToken"].as_str() else { return };
        if let Err(error) = self.identity.keep_token(&*self.platform.storage, token) {
            tracing::error!(%error, "the device token cannot be kept");
        }
    }

    /// One command to its end; gives its id back.
    fn job(
        &self,
        client: Client,
        id: String,
        command: String,
        request: Value,
        cancel: CancellationToken,
        full: bool,
    ) -> Job {
        let (commands, node_id) = (self.commands.clone(), self.node_id());
        async move {
            let refused = |code, message: &str| Err(Refusal { code, message: message.to_owned() });
            let work = async {
                if full {
                    return refused("BUSY", "this node is busy");
                }
                let params = match request["paramsJSON"].as_str().map(serde_json::from_str::<Value>) {
                    None => json!({}),
                    Some(Ok(params)) => params,
                    Some(Err(_)) => return refused("INVALID_PARAMS", "paramsJSON is no JSON"),
                };
                commands.run(&command, params).await
            };
            let outcome = openclaw_platform::select! {
                () = cancel.cancelled() => return id,
                outcome = work => outcome,
            };
            let result = match outcome {
                Ok(payload) => json!({"id": id, "nodeId": node_id, "ok": true, "payloadJSON": payload.to_string()}),
                Err(Refusal { code, message }) => {
                    json!({"id": id, "nodeId": node_id, "ok": false, "error": {"code": code, "message": message}})
                }
            };
            let told = openclaw_platform::select! {
                () = cancel.cancelled() => return id,
                told = client.call("node.invoke.result", result, ANSWER) => told,
            };
            if let Err(error) = told {
                tracing::warn!(%error, command = %command.escape_debug(), "the answer was not taken");
            }
            id
        }
        .boxed()
    }
}
