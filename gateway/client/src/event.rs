//! Events: their order is checked on arrival, and they wait in a bounded queue until somebody takes them.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard},
};

use openclaw_platform::sync::LockExt as _;
use serde_json::Value;
use tokio::sync::Notify;

/// Events kept for a consumer that is behind, when nothing else is asked for.
pub(crate) const MAX_EVENTS: usize = 1024;
/// Bytes of events kept for a consumer that is behind, likewise.
pub(crate) const MAX_BYTES: usize = 32 << 20;

/// An event as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct RawEvent {
    /// `tick`, `chat`, `presence`, ...
    pub event: String,
    /// Null when absent.
    pub payload: Value,
    /// Number on this connection; connect.challenge and a peer's direct events have none.
    pub seq: Option<u64>,
    /// `{presence, health}` where the event carries it.
    pub state_version: Option<Value>,
}

impl RawEvent {
    /// From an event frame; none when it has no name.
    pub(crate) fn from_frame(mut frame: Value) -> Option<Self> {
        Some(Self {
            event: frame.get("event")?.as_str()?.to_owned(),
            seq: frame.get("seq").and_then(Value::as_u64),
            payload: frame.get_mut("payload").map(Value::take).unwrap_or_default(),
            state_version: frame.get_mut("stateVersion").map(Value::take),
        })
    }
}

/// What a connection delivers.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientEvent {
    /// An event.
    Event(RawEvent),
    /// The gateway withheld events: number `expected` should have come, `got` came (F01).
    Gap {
        /// The number after the last one seen.
        expected: u64,
        /// The number that arrived.
        got: u64,
    },
    /// This side was too slow: that many of the oldest events were dropped from its own queue.
    Lagged {
        /// How many.
        missed: u64,
    },
}

/// Numbers of one connection: contiguous from whatever came first (D10, F02).
#[derive(Debug, Default)]
pub(crate) struct Sequence(Option<u64>);

impl Sequence {
    /// Takes the next number; a gap when it is not the expected one.
    pub(crate) fn take(&mut self, got: u64) -> Option<ClientEvent> {
        let expected = self.0.replace(got).map(|last| last.saturating_add(1));
        expected.filter(|&expected| expected != got).map(|expected| ClientEvent::Gap { expected, got })
    }
}

/// Bounded in number and bytes. The oldest give way, so that neither a call nor the socket ever waits for a consumer.
#[derive(Debug)]
pub(crate) struct EventQueue {
    max_events: usize,
    max_bytes: usize,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<(ClientEvent, usize)>,
    bytes: usize,
    missed: u64,
    ended: bool,
}

impl EventQueue {
    /// One that keeps so many events, and so many bytes of them, for a consumer that is behind.
    pub(crate) fn new(max_events: usize, max_bytes: usize) -> Self {
        Self { max_events, max_bytes, state: Mutex::default(), changed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.locked()
    }

    /// Adds an event that took `bytes` on the wire.
    pub(crate) fn push(&self, event: ClientEvent, bytes: usize) {
        {
            let mut state = self.lock();
            state.bytes += bytes;
            state.events.push_back((event, bytes));
            while state.events.len() > self.max_events || (state.bytes > self.max_bytes && state.events.len() > 1) {
                let Some((_, freed)) = state.events.pop_front() else { break };
                state.bytes -= freed;
                state.missed += 1;
            }
        }
        self.changed.notify_one();
    }

    /// No more will come; what is there can still be taken.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_waiters();
    }

    /// The next one; none when the connection has ended and everything was taken. Cancel-safe.
    pub(crate) async fn next(&self) -> Option<ClientEvent> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let mut state = self.lock();
                if state.missed > 0 {
                    return Some(ClientEvent::Lagged { missed: std::mem::take(&mut state.missed) });
                }
                if let Some((event, bytes)) = state.events.pop_front() {
                    state.bytes -= bytes;
                    // Several consumers may share the queue; the next one has to learn that there is more.
                    if !state.events.is_empty() {
                        self.changed.notify_one();
                    }
                    return Some(event);
                }
                if state.ended {
                    return None;
                }
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: u64) -> ClientEvent {
        ClientEvent::Event(RawEvent { event: "tick".into(), payload: Value::Null, seq: Some(seq), state_version: None })
    }

    #[test]
    fn f01_a_gap_is_told_with_its_width() {
        let mut sequence = Sequence::default();
        assert_eq!(sequence.take(41), None);
        assert_eq!(sequence.take(42), None);
        assert_eq!(sequence.take(45), Some(ClientEvent::Gap { expected: 43, got: 45 }));
        assert_eq!(sequence.take(46), None);
        assert_eq!(sequence.take(46), Some(ClientEvent::Gap { expected: 47, got: 46 }));
        assert_eq!(sequence.take(u64::MAX), Some(ClientEvent::Gap { expected: 47, got: u64::MAX }));
    }

    #[tokio::test]
    async fn f03_the_queue_is_bounded_and_says_what_it_dropped() {
        let queue = EventQueue::new(MAX_EVENTS, MAX_BYTES);
        for seq in 0..MAX_EVENTS as u64 + 3 {
            queue.push(event(seq), 10);
        }
        assert_eq!(queue.next().await, Some(ClientEvent::Lagged { missed: 3 }));
        assert_eq!(queue.next().await, Some(event(3)));
        for seq in 0..4 {
            queue.push(event(seq), MAX_BYTES / 2);
        }
        assert!(matches!(queue.next().await, Some(ClientEvent::Lagged { .. })));
        assert!(queue.lock().bytes <= MAX_BYTES);
        queue.end();
        while queue.next().await.is_some() {}
        assert_eq!(queue.lock().bytes, 0);
    }
}
