//! Notes that wait for the next prompt of a session: in memory, bounded (protocol-core.md section 12).

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::limits::{SYSTEM_EVENT_SESSIONS, SYSTEM_EVENTS};

/// Queues by session key.
#[derive(Debug, Default)]
pub struct SystemEvents(Mutex<BTreeMap<String, VecDeque<String>>>);

impl SystemEvents {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, VecDeque<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a note; an exact repeat of the last one is skipped, the oldest of too many goes.
    pub fn add(&self, session: &str, text: &str) {
        let mut map = self.lock();
        if map.len() >= SYSTEM_EVENT_SESSIONS && !map.contains_key(session) {
            return;
        }
        let queue = map.entry(session.to_owned()).or_default();
        if queue.back().is_some_and(|last| last == text) {
            return;
        }
        queue.push_back(text.to_owned());
        if queue.len() > SYSTEM_EVENTS {
            queue.pop_front();
        }
    }

    /// Takes all notes of a session.
    pub fn take(&self, session: &str) -> Vec<String> {
        self.lock().remove(session).map(Vec::from).unwrap_or_default()
    }

    /// Looks at the notes of a session.
    pub fn peek(&self, session: &str) -> Vec<String> {
        self.lock().get(session).map(|q| q.iter().cloned().collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f04_notes_are_bounded_and_repeats_skipped() {
        let e = SystemEvents::default();
        for n in 0..100 {
            e.add("s", &n.to_string());
            e.add("s", &n.to_string());
        }
        let notes = e.take("s");
        assert_eq!((notes.len(), notes[0].as_str(), notes[19].as_str()), (20, "80", "99"));
        assert!(e.take("s").is_empty());
        for n in 0..1000 {
            e.add(&n.to_string(), "x");
        }
        assert_eq!(e.lock().len(), SYSTEM_EVENT_SESSIONS);
    }
}
