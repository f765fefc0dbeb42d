//! Sessions whose transcripts have grown since somebody looked whether they are too long.

use std::collections::BTreeSet;

use openclaw_platform::sync::{LockExt as _, Mutex, MutexGuard};

/// More than this is "all of them".
const MOST: usize = 4096;

/// Which ones: at first, and after very many, all of them.
#[derive(Debug, Default)]
pub struct Touched(Mutex<Keys>);

#[derive(Debug, Default)]
enum Keys {
    #[default]
    All,
    These(BTreeSet<String>),
}

impl Touched {
    fn lock(&self) -> MutexGuard<'_, Keys> {
        self.0.locked()
    }

    /// This one has been changed.
    pub fn add(&self, key: String) {
        let mut keys = self.lock();
        let Keys::These(these) = &mut *keys else { return };
        these.insert(key);
        if these.len() > MOST {
            *keys = Keys::All;
        }
    }

    /// Those since the last time this was asked; `None` for all.
    pub fn take(&self) -> Option<BTreeSet<String>> {
        match std::mem::replace(&mut *self.lock(), Keys::These(BTreeSet::new())) {
            Keys::All => None,
            Keys::These(these) => Some(these),
        }
    }

    /// The last look did not finish: the next one looks at all.
    pub fn all_again(&self) {
        *self.lock() = Keys::All;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_at_first_and_after_very_many() {
        let touched = Touched::default();
        assert_eq!(touched.take(), None);
        touched.add("b".into());
        touched.add("a".into());
        assert_eq!(touched.take().unwrap().into_iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(touched.take(), Some(BTreeSet::new()));
        (0..=MOST).for_each(|n| touched.add(n.to_string()));
        assert_eq!(touched.take(), None);
        touched.all_again();
        assert_eq!(touched.take(), None);
    }
}
