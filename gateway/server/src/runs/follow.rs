//! Following a run: several parties hear what happens in it, each at its own pace and within bounds (F03, F04).
//!
//! `agent.wait`, the handlers of `agent` and `chat.send` and whoever removes a session wait for the end; a follower hears every
//! step on the way there, too. The hub is told by the run's emitter, in the same order.

use std::collections::VecDeque;

use openclaw_agent::turn::TurnEvent;
use openclaw_platform::{
    sync::LockExt as _,
    sync::{Arc, Mutex, Notify},
};

use super::run::Ended;
use crate::limits::{FOLLOWED_BYTES, FOLLOWED_EVENTS, FOLLOWERS};

/// Something that happens in a run.
#[derive(Debug, Clone)]
pub enum Happening {
    /// A step of its turn.
    Turn(TurnEvent),
    /// Steps were left out, because the follower was too slow for them; the reply so far is [`super::run::Run::said`].
    Missed,
    /// It ended; nothing follows.
    Ended(Arc<Ended>),
    /// It was not accepted after all and will not run; nothing follows.
    Withdrawn,
}

/// Who follows a run, and how it ended.
#[derive(Default)]
pub struct Followers {
    state: Mutex<State>,
    /// Wakes those who wait for the end in the order in which they came; `watch` would draw that order from ambient
    /// randomness.
    done: Notify,
}

#[derive(Default)]
struct State {
    end: Option<Happening>,
    queues: Vec<Arc<Queue>>,
}

/// What one follower has not heard yet.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    wake: Notify,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<Happening>,
    bytes: usize,
    is_gone: bool,
}

/// One party that follows a run.
pub struct Follower {
    queue: Arc<Queue>,
    is_over: bool,
}

impl Followers {
    /// Follows from now on; none when too many do already.
    pub fn follow(&self) -> Option<Follower> {
        let queue = Arc::new(Queue::default());
        let mut state = self.state.locked();
        state.queues.retain(|q| !q.waiting.locked().is_gone);
        if state.queues.len() >= FOLLOWERS {
            return None;
        }
        match state.end.clone() {
            Some(end) => queue.push(end),
            None => state.queues.push(queue.clone()),
        }
        Some(Follower { queue, is_over: false })
    }

    /// A step of the turn.
    pub fn tell(&self, event: &TurnEvent) {
        for queue in &self.state.locked().queues {
            queue.push(Happening::Turn(event.clone()));
        }
    }

    /// The run ended: everybody who waits or follows hears of it.
    pub fn end(&self, ended: Arc<Ended>) {
        self.close(Happening::Ended(ended));
    }

    /// It does not run.
    pub fn withdraw(&self) {
        self.close(Happening::Withdrawn);
    }

    fn close(&self, end: Happening) {
        let queues = {
            let mut state = self.state.locked();
            state.end = Some(end.clone());
            std::mem::take(&mut state.queues)
        };
        for queue in queues {
            queue.push(end.clone());
        }
        self.done.notify_waiters();
    }

    /// Waits for the end; none when the run was withdrawn.
    pub async fn ended(&self) -> Option<Arc<Ended>> {
        let mut done = std::pin::pin!(self.done.notified());
        // Listening before looking: an end between the two is not missed.
        done.as_mut().enable();
        if self.state.locked().end.is_none() {
            done.await;
        }
        match &self.state.locked().end {
            Some(Happening::Ended(ended)) => Some(ended.clone()),
            _ => None,
        }
    }
}

impl Queue {
    fn push(&self, happening: Happening) {
        let mut waiting = self.waiting.locked();
        if !waiting.is_gone {
            waiting.add(happening);
            self.wake.notify_one();
        }
    }
}

impl Waiting {
    fn add(&mut self, happening: Happening) {
        let Happening::Turn(event) = &happening else { return self.events.push_back(happening) };
        let more = size(event);
        // New text of the same reply goes on where the unheard text ends: a slow follower loses nothing by it.
        if let (Some(Happening::Turn(TurnEvent::Text { delta, .. })), TurnEvent::Text { at: 1.., delta: new }) =
            (self.events.back_mut(), event)
            && self.bytes + more <= FOLLOWED_BYTES
        {
            delta.push_str(new);
            self.bytes += more;
            return;
        }
        if matches!(self.events.back(), Some(Happening::Missed)) && !begins_anew(event) {
            return;
        }
        if self.events.len() >= FOLLOWED_EVENTS || self.bytes + more > FOLLOWED_BYTES {
            self.events.clear();
            self.bytes = 0;
            return self.events.push_back(Happening::Missed);
        }
        self.bytes += more;
        self.events.push_back(happening);
    }
}

/// True for what is understood without what came before it.
fn begins_anew(event: &TurnEvent) -> bool {
    matches!(event, TurnEvent::Restarted | TurnEvent::Text { at: 0, .. })
}

/// Bytes that an event takes in memory, about.
fn size(event: &TurnEvent) -> usize {
    match event {
        TurnEvent::Text { delta, .. } => delta.len(),
        TurnEvent::Restarted => 0,
        TurnEvent::ToolStart { id, name, args } => id.len() + name.len() + args.to_string().len(),
        TurnEvent::ToolEnd { id, name, result, .. } => id.len() + name.len() + result.len(),
    }
}

impl Follower {
    /// What happens next; none after the last.
    pub async fn next(&mut self) -> Option<Happening> {
        while !self.is_over {
            let taken = {
                let mut waiting = self.queue.waiting.locked();
                let taken = waiting.events.pop_front();
                if let Some(Happening::Turn(event)) = &taken {
                    waiting.bytes = waiting.bytes.saturating_sub(size(event));
                }
                taken
            };
            if let Some(happening) = taken {
                self.is_over = matches!(happening, Happening::Ended(_) | Happening::Withdrawn);
                return Some(happening);
            }
            self.queue.wake.notified().await;
        }
        None
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut waiting = self.queue.waiting.locked();
        *waiting = Waiting { is_gone: true, ..Waiting::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::{Failed, Outcome};

    fn text(at: usize, delta: &str) -> TurnEvent {
        TurnEvent::Text { at, delta: delta.into() }
    }

    fn tool(n: usize) -> TurnEvent {
        TurnEvent::ToolEnd { id: n.to_string(), name: "t".into(), result: "r".into(), is_error: false }
    }

    fn end() -> Arc<Ended> {
        let outcome = Outcome::Failed(Failed::TimedOut);
        Arc::new(Ended { outcome, started_at: None, ended_at: 1 })
    }

    /// Everything that a follower hears, as text.
    async fn heard(mut follower: Follower) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(happening) = follower.next().await {
            all.push(match happening {
                Happening::Turn(TurnEvent::Text { at, delta }) => format!("{at} {delta}"),
                Happening::Turn(TurnEvent::ToolEnd { id, .. }) => format!("tool {id}"),
                Happening::Turn(other) => format!("{other:?}"),
                Happening::Missed => "missed".into(),
                Happening::Ended(ended) => format!("ended {}", ended.ended_at),
                Happening::Withdrawn => "withdrawn".into(),
            });
        }
        all
    }

    #[tokio::test(start_paused = true)]
    async fn several_follow_and_each_hears_everything() {
        let run = Followers::default();
        let (one, two) = (run.follow().unwrap(), run.follow().unwrap());
        run.tell(&text(0, "a"));
        let three = run.follow().unwrap();
        run.tell(&text(1, "b"));
        run.tell(&tool(1));
        run.tell(&text(0, "c"));
        run.end(end());
        let all = ["0 ab", "tool 1", "0 c", "ended 1"];
        assert_eq!(
            (heard(one).await, heard(two).await),
            (all.map(String::from).to_vec(), all.map(String::from).to_vec())
        );
        // From its own beginning on.
        assert_eq!(heard(three).await, ["1 b", "tool 1", "0 c", "ended 1"]);
        // The end is there for those who come afterwards, and for those who only wait for it.
        assert_eq!(heard(run.follow().unwrap()).await, ["ended 1"]);
        assert_eq!(run.ended().await.unwrap().ended_at, 1);
    }

    /// A follower that hears nothing for long costs no more than its bounds, is told that it missed something, and hears the
    /// end.
    #[tokio::test(start_paused = true)]
    async fn f03_a_slow_follower_is_bounded_and_hears_the_end() {
        let run = Followers::default();
        let follower = run.follow().unwrap();
        for n in 0..FOLLOWED_EVENTS * 3 {
            run.tell(&tool(n));
        }
        assert!(follower.queue.waiting.locked().events.len() <= FOLLOWED_EVENTS);
        let long = "x".repeat(FOLLOWED_BYTES / 4);
        for n in 0..20 {
            run.tell(&text(n, &long));
        }
        assert!(follower.queue.waiting.locked().bytes <= FOLLOWED_BYTES);
        run.tell(&tool(7));
        run.end(end());
        assert_eq!(heard(follower).await, ["missed", "ended 1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn f04_no_more_than_so_many_follow_and_those_who_left_do_not_count() {
        let run = Followers::default();
        let mut all: Vec<Follower> = (0..FOLLOWERS).map(|_| run.follow().unwrap()).collect();
        assert!(run.follow().is_none());
        all.pop();
        assert!(run.follow().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_follows_a_run_that_is_withdrawn_hears_so() {
        let run = Followers::default();
        let follower = run.follow().unwrap();
        run.withdraw();
        assert_eq!(heard(follower).await, ["withdrawn"]);
        assert!(run.ended().await.is_none());
    }
}
