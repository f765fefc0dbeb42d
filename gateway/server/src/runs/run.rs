//! One run: what it was asked, what it has said, who hears of it and how it ended.

use openclaw_agent::turn::TurnEvent;
use openclaw_platform::{
    Millis,
    sync::LockExt as _,
    sync::{
        Arc, Mutex, Notify,
        atomic::{AtomicBool, Ordering},
    },
};
use openclaw_protocol::params::AgentWait;
use tokio_util::sync::CancellationToken;

use super::{
    Deps, RunRequest, at_end::AtEnd, emitter::Emitter, follow::Followers, outcome::Outcome, permit::RunPermit,
    request::ReplyTo,
};
use crate::rights::{Principal, Rights};

/// A run as the manager knows it.
pub struct Run {
    /// What was asked.
    pub request: RunRequest,
    /// Rights of whoever asked. A text of somebody with other rights is never put into this run (S23).
    pub rights: Rights,
    /// Cancelled by a stop word, chat.abort, an interrupting message, the removal of its session, or the gateway's stop.
    pub cancel: CancellationToken,
    /// Its events.
    pub emitter: Mutex<Emitter>,
    /// Who hears what happens in it, and its end.
    pub followers: Followers,
    pub(super) started_at: Mutex<Option<Millis>>,
    /// It may begin: its request is accepted, and its caller has been told so.
    is_released: AtomicBool,
    /// Wakes `serve_queue` of its session when the run is released.
    released_wake: Notify,
    /// Its caller is answered when the reply has been delivered or given up, not when the run ends.
    pub promised: AtomicBool,
    /// What was put into it while it went on.
    pub(super) steered: Mutex<SteeredInto>,
    /// Its permit to run beside others.
    pub permit: RunPermit,
}

/// Of messages that were put into a run while it went on.
#[derive(Debug, Default)]
pub(super) struct SteeredInto {
    /// What waits for them.
    pub at_end: Vec<Arc<dyn AtEnd>>,
    /// The chats that they came from with who wrote there, each once, but for the one that the run replies to anyway.
    pub chats: Vec<(Principal, ReplyTo)>,
}

/// The end of a run.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub outcome: Outcome,
    /// When it began.
    pub started_at: Option<Millis>,
    /// When it ended.
    pub ended_at: Millis,
}

impl Run {
    /// Asked for, not begun.
    pub fn new(request: RunRequest, rights: Rights) -> Self {
        Self {
            rights,
            emitter: Mutex::new(Emitter::new(&request)),
            cancel: CancellationToken::new(),
            followers: Followers::default(),
            started_at: Mutex::new(None),
            steered: Mutex::default(),
            permit: RunPermit::default(),
            promised: AtomicBool::new(false),
            is_released: AtomicBool::new(false),
            released_wake: Notify::new(),
            request,
        }
    }

    /// All that waits for its end.
    pub fn at_end(&self) -> Vec<Arc<dyn AtEnd>> {
        let steered = self.steered.locked();
        self.request.at_end.iter().chain(&steered.at_end).cloned().collect()
    }

    /// Chats that get the reply and in whose name: the run's own, and those whose messages were steered into it.
    pub fn deliveries(&self) -> Vec<(Principal, ReplyTo)> {
        let steered = self.steered.locked();
        let own = self.request.deliver.iter().map(|d| (self.request.by.clone(), d.clone()));
        own.chain(steered.chats.iter().cloned()).collect()
    }

    /// What the current reply has said so far.
    pub fn said(&self) -> String {
        self.emitter.locked().text().to_owned()
    }

    /// It may begin in its turn from now on.
    pub(super) fn release(&self) {
        self.is_released.store(true, Ordering::Release);
        self.released_wake.notify_one();
    }

    /// True once it may begin.
    pub fn is_released(&self) -> bool {
        self.is_released.load(Ordering::Acquire)
    }

    /// Waits until it may begin.
    pub(super) async fn released(&self) {
        while !self.is_released() {
            self.released_wake.notified().await;
        }
    }

    /// When it began.
    pub fn started_at(&self) -> Option<Millis> {
        *self.started_at.locked()
    }

    /// A step of its turn: followers hear it, and clients, as the emitter tells them.
    pub(super) fn hear(&self, deps: &Deps, event: TurnEvent, verbose: bool) {
        let clock = &deps.platform.clock;
        let mut emitter = self.emitter.locked();
        self.followers.tell(&event);
        emitter.turn(&*deps.events, event, verbose, clock.wall(), clock.mono());
    }

    /// Waits for the end; none when it was withdrawn.
    pub async fn ended(&self) -> Option<Arc<Ended>> {
        self.followers.ended().await
    }
}

impl Ended {
    /// As `agent.wait` answers.
    pub fn to_wait(&self, run_id: &str) -> AgentWait {
        let (status, error, aborted) = match &self.outcome {
            Outcome::Ok { aborted, .. } => ("ok", None, aborted.then_some(true)),
            Outcome::Failed(e) => ("error", Some(e.to_string()), None),
        };
        AgentWait {
            run_id: run_id.to_owned(),
            status: status.to_owned(),
            started_at: self.started_at,
            ended_at: Some(self.ended_at),
            error,
            aborted,
        }
    }
}
