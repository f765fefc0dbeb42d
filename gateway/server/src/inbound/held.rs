//! Messages of chats that nothing takes now, in order of arrival within each session (F57).

use std::collections::{BTreeMap, VecDeque};

/// Those that wait, by session; a session is here exactly as long as something of it waits. The inbox bounds how many there are.
pub struct Held<T>(BTreeMap<String, VecDeque<T>>);

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Held<T> {
    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True when something of the session waits: what comes after it has to wait as well.
    pub fn has(&self, session: &str) -> bool {
        self.0.contains_key(session)
    }

    /// The sessions of those that wait.
    pub fn sessions(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// The one of a session that came first.
    pub fn first(&self, session: &str) -> Option<&T> {
        self.0.get(session)?.front()
    }

    /// Puts one behind those of its session.
    pub fn push(&mut self, session: String, message: T) {
        self.0.entry(session).or_default().push_back(message);
    }

    /// Takes the first one of a session out.
    pub fn remove_first(&mut self, session: &str) {
        let Some(messages) = self.0.get_mut(session) else { return };
        messages.pop_front();
        if messages.is_empty() {
            self.0.remove(session);
        }
    }

    /// Takes all of a session out; `None` when none waits.
    pub fn remove_all(&mut self, session: &str) -> Option<VecDeque<T>> {
        self.0.remove(session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f57_each_session_keeps_its_own_order() {
        let mut held = Held::default();
        for (session, message) in [("a", 1), ("b", 2), ("a", 3)] {
            held.push(session.to_owned(), message);
        }
        assert_eq!((held.sessions(), held.first("a")), (vec!["a".to_owned(), "b".to_owned()], Some(&1)));
        held.remove_first("a");
        assert_eq!((held.first("a"), held.first("b"), held.has("a")), (Some(&3), Some(&2), true));
        held.remove_first("a");
        assert!(!held.has("a") && !held.is_empty(), "what has nothing waiting is not in the way of what comes");
    }

    #[test]
    fn f57_a_stop_takes_what_waits_in_its_session_and_nothing_else() {
        let mut held = Held::default();
        for (session, message) in [("a", 1), ("b", 2), ("a", 3)] {
            held.push(session.to_owned(), message);
        }
        assert_eq!(held.remove_all("a"), Some(VecDeque::from([1, 3])));
        assert_eq!((held.remove_all("a"), held.first("b")), (None, Some(&2)));
    }
}
