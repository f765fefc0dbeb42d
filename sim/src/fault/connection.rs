//! Both directions of one connection.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    task::Waker,
    time::Duration,
};

use bytes::Bytes;
use openclaw_platform::{Entropy, sync::LockExt as _};

use super::LinkControl;

/// A direction of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From the end that connected to the end that accepted.
    Up = 0,
    /// Back.
    Down = 1,
}

impl Direction {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }
}

/// What the two ends share.
pub(super) struct Connection {
    pub link: Arc<LinkControl>,
    pub entropy: Arc<dyn Entropy>,
    /// The machines of the end that connected and the one that accepted; empty outside a simulation.
    pub machines: [String; 2],
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub pipes: [Pipe; 2],
    /// By the direction that the end writes.
    pub ends: [End; 2],
    pub silence: Silence,
    /// The end that writes in this direction belongs to a process that has died and does not know it yet.
    pub frozen: Option<Direction>,
    /// How the frozen end was dropped, which nobody has seen yet.
    pub left: Option<Ending>,
    /// Something on the way has closed it.
    pub cut: bool,
    /// Something on the way has reset it.
    pub reset: bool,
}

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    pub segments: VecDeque<Segment>,
    /// Bytes written and not yet read, swallowed ones included.
    pub unread: usize,
    /// When the last segment arrives; nothing overtakes.
    pub last_at: Duration,
    /// When the wire is free for the next byte, under a rate.
    pub wire_free: Duration,
    /// The end of the stream and when it arrives; no window holds it up.
    pub ending: Option<(Ending, Duration)>,
    /// The writer has shut it down.
    pub shut: bool,
}

#[derive(Debug)]
pub(super) struct Segment {
    pub at: Duration,
    pub bytes: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Fin,
    Rst,
}

/// Whoever holds one end.
#[derive(Debug, Default)]
pub(super) struct End {
    pub gone: bool,
    pub reader: Option<Waker>,
    pub writer: Option<Waker>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    #[default]
    No,
    /// Nothing comes through and nobody knows.
    Silent,
    /// One machine has lost power and is up again: it answers what it does not know with a reset.
    Forgotten,
}

impl Connection {
    pub(super) fn new(link: Arc<LinkControl>, machines: [String; 2]) -> Arc<Self> {
        let entropy = link.connection_entropy();
        let connection = Arc::new(Self { link, entropy, machines, state: Mutex::default() });
        connection.link.track(&connection);
        connection
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.locked()
    }

    /// What is in flight is lost, and all that follows.
    pub(super) fn silence(&self) {
        let now = self.link.time.now();
        let mut state = self.lock();
        if state.silence == Silence::No {
            state.silence = Silence::Silent;
            for pipe in &mut state.pipes {
                pipe.segments.retain(|segment| segment.at <= now);
                pipe.ending = pipe.ending.filter(|(_, at)| *at <= now);
            }
        }
    }

    /// The machine that was silenced is up again and has no memory.
    pub(super) fn forget(&self) {
        let mut state = self.lock();
        if state.silence == Silence::Silent {
            state.silence = Silence::Forgotten;
            state.wake();
        }
    }

    /// What this end still does is not heard, and it hears nothing, until it is dropped.
    pub(super) fn freeze(&self, end: Direction) {
        self.lock().frozen = Some(end);
    }

    /// The frozen end is gone: now its peer learns of it, unless the whole machine is.
    pub(super) fn thaw(&self) {
        let at = self.link.time.latest() + self.link.least_latency(&self.link.settings());
        let mut state = self.lock();
        let frozen = state.frozen.take();
        if let (Some(end), Some(ending), Silence::No) = (frozen, state.left.take(), state.silence) {
            state.pipes[end as usize].end(ending, at);
            state.wake();
        }
    }

    /// The wire is fast again: what waits for its turn arrives as if it was sent now.
    pub(super) fn hurry(&self) {
        let now = self.link.time.now();
        let arrives = now + self.link.least_latency(&self.link.settings());
        let mut state = self.lock();
        for pipe in state.pipes.iter_mut().filter(|pipe| pipe.wire_free > now) {
            pipe.wire_free = now;
            pipe.last_at = pipe.last_at.min(arrives);
            for segment in &mut pipe.segments {
                segment.at = segment.at.min(arrives);
            }
            pipe.ending = pipe.ending.map(|(ending, at)| (ending, at.min(arrives)));
        }
    }

    pub(super) fn cut(&self) {
        let now = self.link.time.now();
        let mut state = self.lock();
        if state.silence == Silence::No && !state.cut {
            state.cut = true;
            for pipe in &mut state.pipes {
                pipe.end(Ending::Fin, now);
            }
            state.wake();
        }
    }

    pub(super) fn reset(&self) {
        let mut state = self.lock();
        state.reset = true;
        state.wake();
    }
}

impl State {
    pub(super) fn wake(&mut self) {
        for end in &mut self.ends {
            end.wake();
        }
    }
}

impl End {
    pub(super) fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

impl Pipe {
    /// Ends the stream behind what is in flight, not before `at`; a FIN may still be followed by a reset.
    pub(super) fn end(&mut self, ending: Ending, at: Duration) {
        let at = at.max(self.last_at);
        if self.ending.is_none() || ending == Ending::Rst && !self.is_reset() {
            self.ending = Some((ending, at));
        }
    }

    pub(super) fn is_reset(&self) -> bool {
        matches!(self.ending, Some((Ending::Rst, _)))
    }
}
