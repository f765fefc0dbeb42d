//! The order of letters within each chat, in memory: ids and times only.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use openclaw_platform::Mono;
use tokio::sync::Notify;

/// Channel, account and chat: letters of one chat go out one after the other.
pub type ChatKey = (String, String, String);

/// A letter in its lane.
#[derive(Debug, Clone, PartialEq)]
pub struct Slot {
    /// Its id.
    pub id: String,
    /// Not before this.
    pub due: Mono,
    /// Not after this.
    pub expires: Mono,
    /// Files go with it.
    pub has_files: bool,
}

#[derive(Default)]
struct Lane {
    queue: VecDeque<Slot>,
    /// The first one may be on its way: it can neither be dropped nor overtaken.
    attempting: bool,
    bell: Arc<Notify>,
}

/// All lanes that have letters.
#[derive(Default)]
pub struct Lanes(BTreeMap<ChatKey, Lane>);

impl Lanes {
    /// Adds a letter at its place: ids are in order. True when the lane was empty and has to be started.
    pub fn push(&mut self, chat: &ChatKey, slot: Slot) -> bool {
        let starts = !self.0.contains_key(chat);
        let lane = self.0.entry(chat.clone()).or_default();
        let at = lane.queue.partition_point(|s| s.id < slot.id).max(usize::from(lane.attempting));
        lane.queue.insert(at, slot);
        lane.bell.notify_one();
        starts
    }

    /// The letter whose turn it is, and the bell that rings when that changes. `None` ends the lane.
    pub fn front(&mut self, chat: &ChatKey) -> Option<(Slot, Arc<Notify>)> {
        let lane = self.0.get(chat)?;
        match lane.queue.front() {
            Some(slot) => Some((slot.clone(), lane.bell.clone())),
            None => {
                self.0.remove(chat);
                None
            }
        }
    }

    /// Marks the first letter as perhaps on its way, or not; false when it is not the first any more.
    pub fn attempting(&mut self, chat: &ChatKey, id: &str, on: bool) -> bool {
        let Some(lane) = self.0.get_mut(chat).filter(|l| l.queue.front().is_some_and(|s| s.id == id)) else {
            return false;
        };
        lane.attempting = on;
        true
    }

    /// The first letter waits until then.
    pub fn delay(&mut self, chat: &ChatKey, due: Mono) {
        if let Some(slot) = self.0.get_mut(chat).and_then(|l| l.queue.front_mut()) {
            slot.due = due;
        }
    }

    /// The first letter is over.
    pub fn pop(&mut self, chat: &ChatKey) {
        if let Some(lane) = self.0.get_mut(chat) {
            lane.queue.pop_front();
            lane.attempting = false;
        }
    }

    /// Takes a letter out; `Some(false)` when it may be on its way.
    pub fn remove(&mut self, id: &str) -> Option<bool> {
        let lane = self.0.values_mut().find(|l| l.queue.iter().any(|s| s.id == id))?;
        if lane.attempting && lane.queue.front().is_some_and(|s| s.id == id) {
            return Some(false);
        }
        lane.queue.retain(|s| s.id != id);
        lane.bell.notify_one();
        Some(true)
    }

    /// Lets a waiting letter go out now; false when it is not here.
    pub fn hurry(&mut self, id: &str, now: Mono) -> bool {
        for lane in self.0.values_mut() {
            if let Some(slot) = lane.queue.iter_mut().find(|s| s.id == id) {
                slot.due = now;
                lane.bell.notify_one();
                return true;
            }
        }
        false
    }

    /// Letters that wait in one chat.
    pub fn waiting(&self, channel: &str, account: &str, chat: &str) -> usize {
        let chat = (channel.to_owned(), account.to_owned(), chat.to_owned());
        self.0.get(&chat).map_or(0, |lane| lane.queue.len())
    }

    /// Letters in all lanes of an account, or of all.
    pub fn count(&self, account: Option<(&str, &str)>) -> usize {
        let fits = |key: &ChatKey| account.is_none_or(|(c, a)| key.0 == c && key.1 == a);
        self.0.iter().filter(|(key, _)| fits(key)).map(|(_, lane)| lane.queue.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use openclaw_platform::{Clock as _, os::OsClock};

    use super::*;

    fn slot(id: &str) -> Slot {
        let now = OsClock.mono();
        Slot { id: id.to_owned(), due: now, expires: now, has_files: false }
    }

    #[tokio::test]
    async fn f09_letters_of_a_chat_keep_their_order_and_chats_are_apart() {
        let (mut lanes, a, b) = (Lanes::default(), chat("a"), chat("b"));
        assert!(lanes.push(&a, slot("2")));
        assert!(!lanes.push(&a, slot("1")), "the lane runs already");
        assert!(lanes.push(&b, slot("3")));
        assert_eq!(lanes.front(&a).unwrap().0.id, "1");
        assert!(lanes.attempting(&a, "1", true));
        lanes.push(&a, slot("0"));
        assert_eq!(lanes.front(&a).unwrap().0.id, "1", "what may be on its way is not overtaken");
        assert_eq!(lanes.remove("1"), Some(false));
        lanes.pop(&a);
        assert_eq!(lanes.front(&a).unwrap().0.id, "0");
        assert_eq!((lanes.remove("0"), lanes.remove("2"), lanes.remove("2")), (Some(true), Some(true), None));
        assert!(lanes.front(&a).is_none());
        assert_eq!(lanes.count(None), 1);
        assert_eq!(lanes.count(Some(("c", "other"))), 0);
    }

    fn chat(name: &str) -> ChatKey {
        ("c".into(), "acc".into(), name.into())
    }
}
