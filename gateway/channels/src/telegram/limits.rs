//! The waits that Telegram asks for, per chat and for the whole bot (F09).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use openclaw_platform::{Clock, Mono, sync::LockExt as _};

/// Waits that are over are swept out when there are this many.
const SWEEP_AT: usize = 64;

/// Until when Telegram wants nothing. A limit of one chat stops that chat only, one of the whole bot stops all.
pub(super) struct Limits {
    clock: Arc<dyn Clock>,
    chats: Mutex<BTreeMap<String, Mono>>,
    bot: Mutex<Option<Mono>>,
}

impl Limits {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, chats: Mutex::default(), bot: Mutex::default() }
    }

    /// Telegram has asked to leave this chat alone for `wait`; a longer wait that is in force stays.
    pub fn block_chat(&self, chat: &str, wait: Duration) {
        let now = self.clock.mono();
        let mut chats = self.chats.locked();
        if chats.len() >= SWEEP_AT {
            chats.retain(|_, until| *until > now);
        }
        let until = chats.entry(chat.to_owned()).or_insert(now);
        *until = (*until).max(now + wait);
    }

    /// Telegram has asked the whole bot to wait; a longer wait that is in force stays.
    pub fn block_bot(&self, wait: Duration) {
        let mut until = self.bot.locked();
        *until = (*until).max(Some(self.clock.mono() + wait));
    }

    /// How long it still wants nothing for `chat`.
    pub fn wait(&self, chat: &str) -> Option<Duration> {
        let now = self.clock.mono();
        let chat = self.chats.locked().get(chat).copied();
        let until = chat.max(*self.bot.locked()).filter(|until| *until > now)?;
        Some(until - now)
    }
}

#[cfg(test)]
mod tests {
    use openclaw_platform::os::OsClock;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn f09_a_blocked_chat_does_not_block_another_and_the_bot_blocks_all() {
        let limits = Limits::new(Arc::new(OsClock));
        limits.block_chat("a", Duration::from_secs(7));
        assert_eq!((limits.wait("a"), limits.wait("b")), (Some(Duration::from_secs(7)), None));
        limits.block_bot(Duration::from_secs(3));
        assert_eq!((limits.wait("a"), limits.wait("b")), (Some(Duration::from_secs(7)), Some(Duration::from_secs(3))));
        tokio::time::sleep(Duration::from_secs(7)).await;
        assert_eq!((limits.wait("a"), limits.wait("b")), (None, None));
    }

    /// A shorter wait that is asked for later takes nothing from a longer one.
    #[tokio::test(start_paused = true)]
    async fn f09_the_longest_wait_holds() {
        let limits = Limits::new(Arc::new(OsClock));
        for seconds in [7, 2] {
            limits.block_chat("a", Duration::from_secs(seconds));
            limits.block_bot(Duration::from_secs(seconds - 1));
        }
        assert_eq!((limits.wait("a"), limits.wait("b")), (Some(Duration::from_secs(7)), Some(Duration::from_secs(6))));
    }

    #[tokio::test(start_paused = true)]
    async fn f04_waits_that_are_over_are_forgotten() {
        let limits = Limits::new(Arc::new(OsClock));
        for n in 0..1000 {
            limits.block_chat(&n.to_string(), Duration::from_millis(1));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(limits.chats.locked().len() <= SWEEP_AT);
    }
}
