//! The newest of many sessions, without a copy of the others.

use std::{cmp::Reverse, collections::BinaryHeap};

use openclaw_platform::Millis;

/// Last change and key; of two with the same time the one with the smaller key comes first.
type Row = (Millis, Reverse<String>);

/// Counts sessions and keeps the newest `limit` of them.
#[derive(Debug)]
pub struct Newest {
    limit: usize,
    count: u64,
    /// The oldest that is kept is on top.
    kept: BinaryHeap<Reverse<Row>>,
}

impl Newest {
    /// Of none yet.
    pub fn new(limit: usize) -> Self {
        Self { limit, count: 0, kept: BinaryHeap::new() }
    }

    /// One more; keys come in ascending order.
    pub fn add(&mut self, updated_at: Millis, key: &str) {
        self.count += 1;
        if self.kept.len() >= self.limit {
            // Of the same time the earlier key stays.
            if self.kept.peek().is_none_or(|Reverse((oldest, _))| updated_at <= *oldest) {
                return;
            }
            self.kept.pop();
        }
        self.kept.push(Reverse((updated_at, Reverse(key.to_owned()))));
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Last change and key of the newest, newest first.
    pub fn into_rows(self) -> impl Iterator<Item = (Millis, String)> {
        self.kept.into_sorted_vec().into_iter().map(|Reverse((at, Reverse(key)))| (at, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_come_first_and_equals_by_key() {
        let newest = |limit| {
            let mut newest = Newest::new(limit);
            for (at, key) in [(5, "a"), (9, "b"), (5, "c"), (7, "d"), (9, "e")] {
                newest.add(at, key);
            }
            assert_eq!(newest.count(), 5);
            newest.into_rows().map(|(_, key)| key).collect::<String>()
        };
        assert_eq!((newest(3).as_str(), newest(0).as_str(), newest(usize::MAX).as_str()), ("bed", "", "bedac"));
    }
}
