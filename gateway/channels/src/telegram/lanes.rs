//! The order of sends within a chat, and the waits that Telegram asks for.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use openclaw_platform::{Clock, Mono};
use tokio::sync::OwnedMutexGuard;

use crate::SendError;

/// Sends that wait for one chat; more are refused.
const MAX_WAITING: usize = 64;
/// Idle lanes are swept out when there are this many.
const SWEEP_AT: usize = 64;
/// Longest wait for a rate limit within one send.
const MAX_WAIT: Duration = Duration::from_mins(2);

/// One lane per chat: sends of one chat go one after the other, in the order in which they were asked for. A rate limit
/// of one chat stops that chat only, one of the whole bot stops all (F09).
pub(super) struct Lanes {
    clock: Arc<dyn Clock>,
    by_chat: Mutex<BTreeMap<String, Arc<Lane>>>,
    bot_until: Mutex<Option<Mono>>,
}

#[derive(Default)]
struct Lane {
    turn: Arc<tokio::sync::Mutex<()>>,
    until: Mutex<Option<Mono>>,
}

/// The right to send to one chat.
pub(super) struct Turn {
    lane: Arc<Lane>,
    _guard: OwnedMutexGuard<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lanes {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, by_chat: Mutex::default(), bot_until: Mutex::default() }
    }

    /// Waits until all earlier sends to `chat` are done.
    pub async fn turn(&self, chat: &str) -> Result<Turn, SendError> {
        let lane = {
            let (mut lanes, now) = (lock(&self.by_chat), self.clock.mono());
            if lanes.len() >= SWEEP_AT {
                lanes.retain(|_, lane| {
                    Arc::strong_count(lane) > 1 || lock(&lane.until).is_some_and(|until| until > now)
                });
            }
            lanes.entry(chat.to_owned()).or_default().clone()
        };
        // One reference in the map, one per sender that has its turn or waits for it.
        if Arc::strong_count(&lane) - 1 > MAX_WAITING {
            return Err(SendError::Unavailable(format!("{MAX_WAITING} messages wait for this Telegram chat already")));
        }
        let guard = lane.turn.clone().lock_owned().await;
        Ok(Turn { lane, _guard: guard })
    }

    /// Waits until Telegram takes messages for this chat again.
    pub async fn ready(&self, turn: &Turn) -> Result<(), SendError> {
        while let Some(until) = self.blocked_until(&turn.lane) {
            let wait = until - self.clock.mono();
            if wait > MAX_WAIT {
                let text = format!("Telegram takes no messages for another {} s (rate limit)", wait.as_secs());
                return Err(SendError::Unavailable(text));
            }
            tokio::time::sleep_until(until).await;
        }
        Ok(())
    }

    /// Telegram has asked to leave this chat alone for `wait`.
    pub fn block_chat(&self, turn: &Turn, wait: Duration) {
        *lock(&turn.lane.until) = Some(self.clock.mono() + wait);
    }

    /// Telegram has asked the whole bot to wait.
    pub fn block_bot(&self, wait: Duration) {
        *lock(&self.bot_until) = Some(self.clock.mono() + wait);
    }

    /// True while Telegram wants nothing for `chat`; for calls that are not worth a wait.
    pub fn is_blocked(&self, chat: &str) -> bool {
        let lane = lock(&self.by_chat).get(chat).cloned().unwrap_or_default();
        self.blocked_until(&lane).is_some()
    }

    /// The end of the lane's block or of the bot's own, if that is yet to come.
    fn blocked_until(&self, lane: &Lane) -> Option<Mono> {
        let now = self.clock.mono();
        let chat = *lock(&lane.until);
        chat.max(*lock(&self.bot_until)).filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use openclaw_platform::os::OsClock;

    use super::*;

    fn lanes() -> Lanes {
        Lanes::new(Arc::new(OsClock))
    }

    #[tokio::test(start_paused = true)]
    async fn f09_a_blocked_chat_does_not_block_another_and_the_bot_blocks_all() {
        let (lanes, start) = (lanes(), OsClock.mono());
        let (a, b) = (lanes.turn("a").await.unwrap(), lanes.turn("b").await.unwrap());
        lanes.block_chat(&a, Duration::from_secs(7));
        assert!(lanes.is_blocked("a") && !lanes.is_blocked("b"));
        lanes.ready(&b).await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
        lanes.ready(&a).await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 7);
        lanes.block_bot(Duration::from_secs(3));
        lanes.ready(&b).await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 10);
        lanes.block_chat(&a, Duration::from_secs(1000));
        assert!(matches!(lanes.ready(&a).await, Err(SendError::Unavailable(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn f04_waiting_sends_and_idle_lanes_are_bounded() {
        let lanes = lanes();
        let turn = lanes.turn("a").await.unwrap();
        let mut waiting: Vec<_> = (1..MAX_WAITING).map(|_| Box::pin(lanes.turn("a"))).collect();
        for wait in &mut waiting {
            assert!(futures_util::poll!(wait).is_pending());
        }
        assert!(matches!(lanes.turn("a").await, Err(SendError::Unavailable(_))));
        drop((turn, waiting));
        for n in 0..1000 {
            lanes.turn(&n.to_string()).await.unwrap();
        }
        assert!(lock(&lanes.by_chat).len() <= SWEEP_AT);
    }
}
