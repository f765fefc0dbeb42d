//! Notes that wait for the next prompt of a session: in memory, bounded (protocol-core.md section 12).

use std::collections::{BTreeMap, VecDeque};

use openclaw_platform::sync::{LockExt as _, Mutex, MutexGuard};

use crate::{
    limits::{SYSTEM_EVENT_SESSIONS, SYSTEM_EVENTS},
    rights::{Principal, Rights},
    settings::Settings,
};

/// A note, and who left it: it enters no run that may do more than he may (S23).
#[derive(Debug)]
struct Note {
    text: String,
    by: Principal,
    rights: Rights,
}

/// Notes by session key.
pub struct SystemEvents {
    queues: Mutex<BTreeMap<String, VecDeque<Note>>>,
    settings: Settings,
}

impl SystemEvents {
    /// None yet.
    pub fn new(settings: Settings) -> Self {
        Self { queues: Mutex::default(), settings }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, VecDeque<Note>>> {
        self.queues.locked()
    }

    /// Leaves a note for the next run of a session that may be told it (S23).
    pub fn note(&self, by: &Principal, session: &str, text: &str) {
        self.add(session, (by, Rights::of(&self.settings.get(), by, session)), text);
    }

    /// Adds a note of `by`, who has `rights` in that session; an exact repeat of the last one is skipped. Of too many the
    /// oldest goes whose author may do no more: nobody pushes out what he may not say.
    pub fn add(&self, session: &str, (by, rights): (&Principal, Rights), text: &str) {
        let mut map = self.lock();
        if map.len() >= SYSTEM_EVENT_SESSIONS && !map.contains_key(session) {
            return;
        }
        let queue = map.entry(session.to_owned()).or_default();
        if queue.back().is_some_and(|last| last.text == text && last.rights == rights) {
            return;
        }
        if queue.len() >= SYSTEM_EVENTS {
            let Some(oldest) = queue.iter().position(|note| rights.cover(&note.rights)) else { return };
            queue.remove(oldest);
        }
        queue.push_back(Note { text: text.to_owned(), by: by.clone(), rights });
    }

    /// Takes the notes that may enter a run with `rights` in this session; the others wait.
    pub fn take(&self, session: &str, rights: &Rights) -> Vec<String> {
        let mut map = self.lock();
        let Some(queue) = map.remove(session) else { return vec![] };
        let (taken, left): (VecDeque<Note>, VecDeque<Note>) = queue.into_iter().partition(|n| n.rights.cover(rights));
        if !left.is_empty() {
            map.insert(session.to_owned(), left);
        }
        taken.into_iter().map(|note| note.text).collect()
    }

    /// Who left the first note that may not enter a run with `rights`; `None` when all may.
    pub fn least(&self, session: &str, rights: &Rights) -> Option<Principal> {
        let map = self.lock();
        map.get(session)?.iter().find(|note| !note.rights.cover(rights)).map(|note| note.by.clone())
    }

    /// Notes that wait there.
    pub fn count(&self, session: &str) -> usize {
        self.lock().get(session).map_or(0, VecDeque::len)
    }

    /// Looks at the notes of a session.
    pub fn peek(&self, session: &str) -> Vec<String> {
        self.lock().get(session).map(|q| q.iter().map(|note| note.text.clone()).collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use openclaw_config::Config;

    use super::*;

    fn rights(by: &Principal) -> Rights {
        Rights::of(&Config::default(), by, "s")
    }

    fn node() -> Principal {
        Principal::Node { id: "n".into() }
    }

    #[test]
    fn f04_notes_are_bounded_and_repeats_skipped() {
        let e = SystemEvents::new(Settings::new(Arc::default()));
        let by = (&Principal::Gateway, rights(&Principal::Gateway));
        for n in 0..100 {
            e.add("s", by.clone(), &n.to_string());
            e.add("s", by.clone(), &n.to_string());
        }
        let notes = e.take("s", &by.1);
        assert_eq!((notes.len(), notes[0].as_str(), notes[19].as_str()), (20, "80", "99"));
        assert!(e.take("s", &by.1).is_empty());
        for n in 0..1000 {
            e.add(&n.to_string(), by.clone(), "x");
        }
        assert_eq!(e.lock().len(), SYSTEM_EVENT_SESSIONS);
    }

    /// A node's note waits for a run that may do no more than the node; the gateway's own enters any.
    #[test]
    fn s23_a_note_enters_no_run_of_greater_rights() {
        let e = SystemEvents::new(Settings::new(Arc::default()));
        let (whole, less) = (rights(&Principal::Gateway), rights(&node()));
        e.add("s", (&node(), less.clone()), "from a node");
        e.add("s", (&Principal::Gateway, whole.clone()), "from the gateway");
        assert_eq!(e.least("s", &whole), Some(node()));
        assert_eq!(e.take("s", &whole), ["from the gateway"]);
        assert_eq!(e.take("s", &less), ["from a node"]);
        assert_eq!(e.count("s"), 0);
    }

    /// A flood of a node's notes takes no place of the gateway's own.
    #[test]
    fn s23_a_flood_of_notes_pushes_out_nobody_elses() {
        let e = SystemEvents::new(Settings::new(Arc::default()));
        let (whole, less) = (rights(&Principal::Gateway), rights(&node()));
        for n in 0..SYSTEM_EVENTS {
            e.add("s", (&Principal::Gateway, whole.clone()), &n.to_string());
        }
        e.add("s", (&node(), less.clone()), "flood");
        let notes = e.peek("s");
        assert_eq!((notes.len(), notes.contains(&"flood".to_owned())), (SYSTEM_EVENTS, false));
    }
}
