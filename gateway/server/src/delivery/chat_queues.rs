//! The order of outbound messages within each chat, in memory: ids and times only.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use openclaw_platform::Mono;
use tokio::sync::Notify;

/// Channel, account and chat: outbound messages of one chat go out one after the other.
pub type ChatKey = (String, String, String);

/// An outbound message in its queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its id.
    pub id: String,
    /// Not before this.
    pub due: Mono,
    /// Not after this.
    pub expires: Mono,
    /// Files go with it.
    pub has_files: bool,
    /// When it was composed.
    pub since: Mono,
}

#[derive(Default)]
struct ChatQueue {
    entries: VecDeque<Entry>,
    /// The first one may be on its way: it can neither be dropped nor overtaken.
    attempting: bool,
    notify: Arc<Notify>,
}

/// All queues that have outbound messages.
#[derive(Default)]
pub struct ChatQueues(BTreeMap<ChatKey, ChatQueue>);

impl ChatQueues {
    /// Adds an outbound message at its place: ids are in order. True when the queue was empty and has to be started.
    pub fn push(&mut self, chat: &ChatKey, entry: Entry) -> bool {
        let starts = !self.0.contains_key(chat);
        let queue = self.0.entry(chat.clone()).or_default();
        let at = queue.entries.partition_point(|s| s.id < entry.id).max(usize::from(queue.attempting));
        queue.entries.insert(at, entry);
        queue.notify.notify_one();
        starts
    }

    /// The outbound message whose turn it is, and what is notified when that changes. `None` ends the queue.
    pub fn front(&mut self, chat: &ChatKey) -> Option<(Entry, Arc<Notify>)> {
        let queue = self.0.get(chat)?;
        match queue.entries.front() {
            Some(entry) => Some((entry.clone(), queue.notify.clone())),
            None => {
                self.0.remove(chat);
                None
            }
        }
    }

    /// Marks the first outbound message as perhaps on its way, or not; false when it is not the first any more.
    pub fn attempting(&mut self, chat: &ChatKey, id: &str, on: bool) -> bool {
        let Some(queue) = self.0.get_mut(chat).filter(|q| q.entries.front().is_some_and(|s| s.id == id)) else {
            return false;
        };
        queue.attempting = on;
        true
    }

    /// The first outbound message waits until then.
    pub fn delay(&mut self, chat: &ChatKey, due: Mono) {
        if let Some(entry) = self.0.get_mut(chat).and_then(|q| q.entries.front_mut()) {
            entry.due = due;
        }
    }

    /// The first outbound message is over.
    pub fn pop(&mut self, chat: &ChatKey) {
        if let Some(queue) = self.0.get_mut(chat) {
            queue.entries.pop_front();
            queue.attempting = false;
        }
    }

    /// Takes an outbound message out; `Some(false)` when it may be on its way.
    pub fn remove(&mut self, id: &str) -> Option<bool> {
        let queue = self.0.values_mut().find(|q| q.entries.iter().any(|s| s.id == id))?;
        if queue.attempting && queue.entries.front().is_some_and(|s| s.id == id) {
            return Some(false);
        }
        queue.entries.retain(|s| s.id != id);
        queue.notify.notify_one();
        Some(true)
    }

    /// Lets a waiting outbound message go out now; false when it is not here.
    pub fn bring_forward(&mut self, id: &str, now: Mono) -> bool {
        for queue in self.0.values_mut() {
            if let Some(entry) = queue.entries.iter_mut().find(|s| s.id == id) {
                entry.due = now;
                queue.notify.notify_one();
                return true;
            }
        }
        false
    }

    /// Outbound messages that wait in one chat.
    pub fn waiting(&self, channel: &str, account: &str, chat: &str) -> usize {
        let chat = (channel.to_owned(), account.to_owned(), chat.to_owned());
        self.0.get(&chat).map_or(0, |queue| queue.entries.len())
    }

    /// Each chat with messages: its account, how many wait, and since when the first of them does.
    pub fn fronts(&self) -> impl Iterator<Item = ((&str, &str), usize, Mono)> {
        self.0.iter().filter_map(|((channel, account, _), queue)| {
            let front = queue.entries.front()?;
            Some(((channel.as_str(), account.as_str()), queue.entries.len(), front.since))
        })
    }

    /// Outbound messages in all queues of an account, or of all.
    pub fn count(&self, account: Option<(&str, &str)>) -> usize {
        let fits = |key: &ChatKey| account.is_none_or(|(c, a)| key.0 == c && key.1 == a);
        self.0.iter().filter(|(key, _)| fits(key)).map(|(_, queue)| queue.entries.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use openclaw_platform::{Clock as _, os::OsClock};

    use super::*;

    fn entry(id: &str) -> Entry {
        let now = OsClock.mono();
        Entry { id: id.to_owned(), due: now, expires: now, has_files: false, since: now }
    }

    #[tokio::test]
    async fn f09_outbounds_of_a_chat_keep_their_order_and_chats_are_apart() {
        let (mut queues, a, b) = (ChatQueues::default(), chat("a"), chat("b"));
        assert!(queues.push(&a, entry("2")));
        assert!(!queues.push(&a, entry("1")), "its worker is at work already");
        assert!(queues.push(&b, entry("3")));
        assert_eq!(queues.front(&a).unwrap().0.id, "1");
        assert!(queues.attempting(&a, "1", true));
        queues.push(&a, entry("0"));
        assert_eq!(queues.front(&a).unwrap().0.id, "1", "what may be on its way is not overtaken");
        assert_eq!(queues.remove("1"), Some(false));
        queues.pop(&a);
        assert_eq!(queues.front(&a).unwrap().0.id, "0");
        assert_eq!((queues.remove("0"), queues.remove("2"), queues.remove("2")), (Some(true), Some(true), None));
        assert!(queues.front(&a).is_none());
        assert_eq!(queues.count(None), 1);
        assert_eq!(queues.count(Some(("c", "other"))), 0);
    }

    fn chat(name: &str) -> ChatKey {
        ("c".into(), "acc".into(), name.into())
    }
}
