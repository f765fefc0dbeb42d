//! What waits to be written to one connection: in order, within a byte budget (F03, decision D10).

use std::collections::VecDeque;

use openclaw_platform::{
    NoProbe, Probe,
    sync::LockExt as _,
    sync::{Arc, Mutex, MutexGuard, Notify},
};
use openclaw_protocol::{
    event::{EventSpec, HEALTH},
    frame::EventBody,
};

/// Why and how a connection ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// WebSocket close code.
    pub code: u16,
    /// Its reason.
    pub reason: String,
}

impl Close {
    /// A close frame.
    pub fn new(code: u16, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }
}

/// A frame to write.
#[derive(Debug)]
pub enum Frame {
    /// A whole frame for this connection alone.
    Own(String),
    /// A body shared with other connections, and this one's number for it.
    Shared(Arc<EventBody>, Option<u64>),
    /// A WebSocket ping.
    Ping,
}

impl Frame {
    fn len(&self) -> usize {
        match self {
            Self::Own(text) => text.len(),
            Self::Shared(body, _) => body.len() + 24,
            Self::Ping => 2,
        }
    }
}

/// What a queued frame tells about state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tells {
    Nothing,
    /// All of it: newer replaces older.
    Presence,
    /// Versions that what stands before it must not be ahead of.
    Versions,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<(Frame, Tells)>,
    bytes: usize,
    /// The most that `bytes` has been.
    peak: usize,
    /// The largest frame so far.
    largest: usize,
    /// Of `peak`, the most that the probe was told.
    told: usize,
    seq: u64,
    /// Number of the event that was queued last.
    numbered: u64,
    withheld: u64,
    close: Option<Close>,
}

/// The queue of one connection. Producers never wait; the connection's own task drains it.
pub struct Outbox {
    state: Mutex<State>,
    ready: Notify,
    closing: Notify,
    budget: usize,
    probe: Arc<dyn Probe>,
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox").field("budget", &self.budget).finish_non_exhaustive()
    }
}

impl Outbox {
    /// An empty queue for at most `budget` waiting bytes of events.
    pub fn new(budget: usize) -> Self {
        let (ready, closing) = (Notify::new(), Notify::new());
        Self { state: Mutex::default(), ready, closing, budget, probe: Arc::new(NoProbe) }
    }

    /// The same, watched: how much waits is told whenever it has grown, not only when the connection ends.
    pub fn watched(self, probe: Arc<dyn Probe>) -> Self {
        Self { probe, ..self }
    }

    /// What must hold after something was queued (F03).
    fn judge(&self, s: &mut State) {
        let queued = || s.queue.iter().map(|(frame, _)| frame.len()).sum::<usize>();
        self.probe.always("outbox.bytes_add_up", s.queue.len() > 16 || s.bytes == queued());
        self.probe.always("outbox.within_budget", s.bytes <= 2 * self.budget.max(s.largest));
        if s.peak > s.told + self.budget / 16 {
            s.told = s.peak;
            self.probe.gauge("outbox_bytes", s.peak as u64);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.locked()
    }

    /// Queues a response or another frame for this connection. Over twice the budget the client does not read what it
    /// asked for: the connection is closed.
    pub fn push(&self, text: String) {
        let mut s = self.lock();
        if s.close.is_some() {
            return;
        }
        if s.bytes + text.len() > 2 * self.budget.max(text.len()) {
            self.order(&mut s, slow_consumer());
        } else {
            s.push(Frame::Own(text), Tells::Nothing);
            self.judge(&mut s);
        }
        drop(s);
        self.ready.notify_one();
    }

    /// Queues an event under the next number. Over budget a droppable one is withheld and uses up its number, so that
    /// the client sees a gap exactly as wide as its loss; any other closes the connection.
    pub fn event(&self, spec: &EventSpec, body: &Arc<EventBody>, replaceable: bool) {
        let mut s = self.lock();
        if s.close.is_some() {
            return;
        }
        let over = s.bytes + body.len() > self.budget && s.bytes > 0;
        if replaceable && s.bytes > self.budget / 2 && s.replace(body) {
            self.probe.sometimes("outbox.presence_replaced");
            self.judge(&mut s);
            return;
        }
        if over && !spec.droppable {
            self.order(&mut s, slow_consumer());
        } else {
            s.seq += 1;
            if over {
                s.withheld += 1;
                self.probe.sometimes("outbox.event_withheld");
                return;
            }
            let seq = s.seq;
            let tells = match replaceable {
                true => Tells::Presence,
                false if spec.name == HEALTH.name => Tells::Versions,
                false => Tells::Nothing,
            };
            self.probe.always("outbox.seq_grows", s.numbered < seq);
            s.numbered = seq;
            s.push(Frame::Shared(body.clone(), Some(seq)), tells);
            self.judge(&mut s);
        }
        drop(s);
        self.ready.notify_one();
    }

    /// Queues a WebSocket ping, unless one is still waiting.
    pub fn ping(&self) {
        let mut s = self.lock();
        if s.close.is_none() && !s.queue.iter().any(|(f, _)| matches!(f, Frame::Ping)) {
            s.push(Frame::Ping, Tells::Nothing);
            drop(s);
            self.ready.notify_one();
        }
    }

    /// Ends the connection after what is queued. The first reason counts.
    pub fn close(&self, close: Close) {
        self.order(&mut self.lock(), close);
        self.ready.notify_one();
    }

    fn order(&self, s: &mut State, close: Close) {
        if s.close.is_none() {
            if close.reason == "slow consumer" {
                self.probe.sometimes("outbox.slow_consumer");
            }
            s.close = Some(close);
            self.closing.notify_one();
        }
    }

    /// True once it is closing.
    pub fn is_closing(&self) -> bool {
        self.lock().close.is_some()
    }

    /// Moves frames of up to `max` bytes (at least one frame) to `out`; gives the close order once all is moved.
    pub fn take(&self, max: usize, out: &mut Vec<Frame>) -> Option<Close> {
        let mut s = self.lock();
        let mut taken = 0;
        while taken < max {
            let Some((frame, _)) = s.queue.pop_front() else { break };
            taken += frame.len();
            s.bytes -= frame.len();
            out.push(frame);
        }
        if s.queue.is_empty() { s.close.clone() } else { None }
    }

    /// Waits until something was queued. Cancel-safe.
    pub async fn ready(&self) {
        self.ready.notified().await;
    }

    /// Waits until a close was ordered.
    pub async fn closing(&self) {
        while !self.is_closing() {
            self.closing.notified().await;
        }
    }

    /// The most bytes that have waited at a time.
    pub fn peak(&self) -> usize {
        self.lock().peak
    }

    /// Bytes waiting and events withheld so far.
    pub fn load(&self) -> (usize, u64) {
        let s = self.lock();
        (s.bytes, s.withheld)
    }
}

impl State {
    fn push(&mut self, frame: Frame, tells: Tells) {
        self.largest = self.largest.max(frame.len());
        self.bytes += frame.len();
        self.peak = self.peak.max(self.bytes);
        self.queue.push_back((frame, tells));
    }

    /// State, not a log: the latest presence takes the place (and number) of the one that was not sent yet, unless a
    /// health event stands behind that one, whose older versions would then follow newer ones.
    fn replace(&mut self, body: &Arc<EventBody>) -> bool {
        let latest = self.queue.iter_mut().rev().find(|(_, tells)| *tells != Tells::Nothing);
        let Some((frame, Tells::Presence)) = latest else { return false };
        let before = frame.len();
        if let Frame::Shared(old, _) = frame {
            *old = body.clone();
        }
        let after = frame.len();
        self.largest = self.largest.max(after);
        self.bytes = self.bytes - before + after;
        self.peak = self.peak.max(self.bytes);
        true
    }
}

fn slow_consumer() -> Close {
    Close::new(1008, "slow consumer")
}

#[cfg(test)]
mod tests {
    use openclaw_protocol::event::{AGENT, PRESENCE, TICK};
    use serde_json::json;

    use super::*;

    fn body(n: usize) -> Arc<EventBody> {
        Arc::new(EventBody::new("e", &json!({ "x": "y".repeat(n) }), None).unwrap())
    }
    fn seqs(outbox: &Outbox) -> (Vec<u64>, Option<Close>) {
        let mut out = vec![];
        let close = outbox.take(usize::MAX, &mut out);
        let seqs = out.iter().filter_map(|f| if let Frame::Shared(_, s) = f { *s } else { None }).collect();
        (seqs, close)
    }

    /// A gap is exactly as wide as the loss (F01).
    #[test]
    fn f01_a_withheld_event_uses_up_its_number() {
        let o = Outbox::new(1000);
        for _ in 0..5 {
            o.event(&TICK, &body(300), false);
        }
        assert_eq!(o.load().1, 3);
        assert_eq!(seqs(&o), (vec![1, 2], None));
        o.event(&TICK, &body(1), false);
        assert_eq!(seqs(&o), (vec![6], None));
    }

    /// What may not be lost closes the connection; what is queued still goes out first (F03).
    #[test]
    fn f03_over_budget_a_needed_event_closes() {
        let o = Outbox::new(1000);
        for _ in 0..5 {
            o.event(&AGENT, &body(300), false);
        }
        assert_eq!(seqs(&o), (vec![1, 2], Some(Close::new(1008, "slow consumer"))));
        o.push("late".into());
        assert_eq!(o.load().0, 0);
    }

    #[test]
    fn f03_answers_are_bounded_too() {
        let o = Outbox::new(1000);
        for _ in 0..10 {
            o.push("x".repeat(500));
        }
        assert!(o.is_closing());
        assert!(o.load().0 <= 2000);
        let big = Outbox::new(1000);
        big.push("x".repeat(5000));
        assert!(!big.is_closing(), "one answer larger than the budget is no slow reader");
    }

    /// Past half the budget the latest presence takes the place and the number of the unsent one.
    #[test]
    fn presence_is_state_not_a_log() {
        let o = Outbox::new(2000);
        o.event(&AGENT, &body(1000), false);
        o.event(&PRESENCE, &body(100), true);
        o.event(&PRESENCE, &body(200), true);
        let mut out = vec![];
        o.take(usize::MAX, &mut out);
        assert_eq!(out.len(), 2);
        let Frame::Shared(last, Some(2)) = &out[1] else { panic!("{:?}", out[1]) };
        assert_eq!(last.len(), body(200).len());
        assert_eq!(o.load().0, 0);
    }

    /// `stateVersion` never goes back on a connection (F02).
    #[test]
    fn f02_presence_does_not_overtake_health() {
        let o = Outbox::new(2000);
        o.event(&AGENT, &body(1000), false);
        o.event(&PRESENCE, &body(100), true);
        o.event(&HEALTH, &body(50), false);
        o.event(&PRESENCE, &body(200), true);
        o.event(&PRESENCE, &body(210), true);
        let mut out = vec![];
        o.take(usize::MAX, &mut out);
        let sizes: Vec<usize> = out.iter().map(|f| if let Frame::Shared(b, _) = f { b.len() } else { 0 }).collect();
        let expected = [body(1000), body(100), body(50), body(210)].map(|b| b.len());
        assert_eq!(sizes, expected);
    }

    #[test]
    fn taking_is_bounded_and_in_order() {
        let o = Outbox::new(10_000);
        for n in 0..4 {
            o.push(n.to_string().repeat(100));
        }
        o.close(Close::new(1012, "service stop"));
        let mut out = vec![];
        assert_eq!(o.take(150, &mut out), None);
        assert_eq!(out.len(), 2);
        assert_eq!(o.take(150, &mut out).unwrap().code, 1012);
        assert_eq!(out.len(), 4);
    }
}
