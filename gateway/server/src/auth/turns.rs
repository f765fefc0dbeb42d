//! Wrong credentials of programs on this machine: ten at once, then one a second, in turns that go round (F56, S03, D40).
//!
//! There is no lock-out: a program with a stale token slows down guessing, itself included, and nobody with a strong
//! credential notices. What is held waits in its own caller's future, so that a connection that goes gives up its turn.

use std::{
    collections::{BTreeMap, VecDeque},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard},
};

use openclaw_platform::{Clock, Mono, sync::LockExt as _};
use tokio::sync::Notify;

use super::Refused;
use crate::limits::{
    AUTH_FAILURES, AUTH_FORGET, AUTH_HOLD, AUTH_INSTANCE_TEXT, AUTH_INSTANCES, AUTH_PACE, AUTH_WAITING, AUTH_WINDOW,
};

/// Who waits: an instance that signed in before, or all others together.
type Queue = Option<String>;

#[derive(Debug, Default)]
struct State {
    /// When wrong credentials were judged, while the free ten are not used up.
    recent: VecDeque<Mono>,
    /// Ten were wrong within a minute: from now on one is judged per second.
    is_paced: bool,
    last_wrong: Option<Mono>,
    /// Tries that are being judged.
    judging: usize,
    queues: BTreeMap<Queue, VecDeque<u64>>,
    /// Whose turn is next, in front. Each queue that is not empty stands here once.
    order: VecDeque<Queue>,
    waiting: usize,
    next_ticket: u64,
    /// Instances that signed in, and when they last did.
    known: BTreeMap<String, Mono>,
}

/// Whether the try at the head of its queue may be judged.
enum Next {
    Now,
    /// Not before then.
    At(Mono),
    /// When another one has been judged or has left.
    OnChange,
}

impl State {
    fn forget_if_quiet(&mut self, now: Mono) {
        if self.last_wrong.is_some_and(|last| now.saturating_duration_since(last) >= AUTH_FORGET) {
            self.recent.clear();
            (self.is_paced, self.last_wrong) = (false, None);
        }
    }

    fn wrong(&mut self, now: Mono) {
        self.forget_if_quiet(now);
        self.last_wrong = Some(now);
        self.recent.push_back(now);
        while self.recent.front().is_some_and(|at| now.saturating_duration_since(*at) >= AUTH_WINDOW) {
            self.recent.pop_front();
        }
        if self.recent.len() >= AUTH_FAILURES as usize {
            self.is_paced = true;
            self.recent.clear();
        }
    }

    /// May the try in front of all be judged?
    fn next(&mut self, now: Mono) -> Next {
        self.forget_if_quiet(now);
        if !self.is_paced {
            let fresh = self.recent.iter().filter(|at| now.saturating_duration_since(**at) < AUTH_WINDOW).count();
            return if fresh + self.judging < AUTH_FAILURES as usize { Next::Now } else { Next::OnChange };
        }
        let at = self.last_wrong.map_or(now, |last| last + AUTH_PACE);
        match self.judging {
            0 if at <= now => Next::Now,
            0 => Next::At(at),
            _ => Next::OnChange,
        }
    }

    fn is_in_front(&self, queue: &Queue, ticket: u64) -> bool {
        self.order.front() == Some(queue) && self.queues.get(queue).and_then(VecDeque::front) == Some(&ticket)
    }

    fn enter(&mut self, queue: &Queue) -> Option<u64> {
        if self.waiting >= AUTH_WAITING {
            return None;
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiting += 1;
        if !self.queues.contains_key(queue) {
            self.order.push_back(queue.clone());
        }
        self.queues.entry(queue.clone()).or_default().push_back(ticket);
        Some(ticket)
    }

    /// Takes a try out of its queue; the queue goes to the end of the round when it was its turn.
    fn leave(&mut self, queue: &Queue, ticket: u64, had_turn: bool) {
        let Some(tickets) = self.queues.get_mut(queue) else { return };
        tickets.retain(|t| *t != ticket);
        self.waiting -= 1;
        let is_empty = tickets.is_empty();
        if is_empty {
            self.queues.remove(queue);
        }
        if is_empty || had_turn {
            self.order.retain(|q| q != queue);
        }
        if had_turn && !is_empty {
            self.order.push_back(queue.clone());
        }
    }
}

/// Gives turns to tries whose credential could be guessed or is wrong.
pub struct Turns {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    changed: Notify,
}

impl Turns {
    /// Nothing failed yet and nobody is known.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::default(), changed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.locked()
    }

    /// Remembers an instance that signed in: from now on its tries have turns of their own.
    pub fn signed_in(&self, instance: &str) {
        if instance.len() > AUTH_INSTANCE_TEXT {
            return;
        }
        let now = self.clock.mono();
        let mut state = self.lock();
        if state.known.len() >= AUTH_INSTANCES && !state.known.contains_key(instance) {
            let oldest = state.known.iter().min_by_key(|(_, at)| **at).map(|(name, _)| name.clone());
            oldest.map(|name| state.known.remove(&name));
        }
        state.known.insert(instance.to_owned(), now);
    }

    /// Waits until a try of `instance` may be judged, at most [`AUTH_HOLD`]. Dropping the future gives up the turn.
    ///
    /// # Errors
    /// [`Refused::HeldTooLong`]: its turn did not come.
    pub async fn turn(&self, instance: &str) -> Result<Turn<'_>, Refused> {
        let mut try_ = self.enter(instance).ok_or(Refused::HeldTooLong)?;
        let deadline = self.clock.mono() + AUTH_HOLD;
        loop {
            // Listens before it looks, so that no change falls in between.
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let now = self.clock.mono();
            let wake = match self.next(&try_, now) {
                Next::Now => {
                    try_.had_turn = true;
                    return Ok(Turn { turns: self, wrong: false });
                }
                Next::At(at) => at.min(deadline),
                Next::OnChange => deadline,
            };
            if now >= deadline {
                return Err(Refused::HeldTooLong);
            }
            openclaw_platform::select! {
                () = changed => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    fn enter(&self, instance: &str) -> Option<Waiting<'_>> {
        let mut state = self.lock();
        let queue = state.known.contains_key(instance).then(|| instance.to_owned());
        let ticket = state.enter(&queue)?;
        Some(Waiting { turns: self, queue, ticket, had_turn: false })
    }

    /// Whether this try may be judged; then it counts as being judged from now on.
    fn next(&self, try_: &Waiting<'_>, now: Mono) -> Next {
        let mut state = self.lock();
        if !state.is_in_front(&try_.queue, try_.ticket) {
            return Next::OnChange;
        }
        let next = state.next(now);
        if matches!(next, Next::Now) {
            state.judging += 1;
        }
        next
    }
}

/// A try in its queue.
struct Waiting<'a> {
    turns: &'a Turns,
    queue: Queue,
    ticket: u64,
    had_turn: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.turns.lock().leave(&self.queue, self.ticket, self.had_turn);
        self.turns.changed.notify_waiters();
    }
}

/// The right to have one credential judged. Dropped without a word it counts as not judged.
#[must_use]
pub struct Turn<'a> {
    turns: &'a Turns,
    wrong: bool,
}

impl Turn<'_> {
    /// The credential was wrong: the next turn comes [`AUTH_PACE`] later once the free ones are used up.
    pub fn wrong(mut self) {
        self.wrong = true;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let now = self.turns.clock.mono();
        let mut state = self.turns.lock();
        state.judging -= 1;
        if self.wrong {
            state.wrong(now);
        }
        drop(state);
        self.turns.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
