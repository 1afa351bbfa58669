//! A table with room for so many. Who is in it is known for as long as it owes anything; whom a full one has no room for is let go
//! on uncounted, so that many strangers lock nobody out.

use std::collections::HashMap;
use std::hash::Hash;

use super::bucket::SECOND;
use super::bucket::Ticks;

/// How often a full one is walked through to find who may go.
const SWEEP: Ticks = SECOND;

/// What is known of each.
#[derive(Debug)]
pub struct Table<K, V> {
    held: HashMap<K, V>,
    most: usize,
    /// Not walked through again before then.
    sweep: Ticks,
}

impl<K: Hash + Eq, V: Default> Table<K, V> {
    /// With room for `most`.
    #[must_use]
    pub fn new(most: usize) -> Table<K, V> {
        Table { held: HashMap::new(), most, sweep: 0 }
    }

    /// What is known of this one, at `now`; a new one is made room for at the cost of those that do not `owe`. None: there is no
    /// room.
    pub fn entry(&mut self, who: K, now: Ticks, owes: impl Fn(&V) -> bool) -> Option<&mut V> {
        if self.held.len() >= self.most && !self.held.contains_key(&who) {
            if now < self.sweep {
                return None;
            }
            self.sweep = now + SWEEP;
            self.held.retain(|_, held| owes(held));
            if self.held.len() >= self.most {
                return None;
            }
        }
        Some(self.held.entry(who).or_default())
    }

    /// What is known of this one, if anything.
    pub fn get(&self, who: &K) -> Option<&V> {
        self.held.get(who)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_full_one_knows_whom_it_knew_and_is_walked_through_once_a_second() {
        let mut table: Table<u32, u64> = Table::new(100);
        let walked = Cell::new(0);
        let mut known = |who, now: Ticks| {
            let owes = |until: &u64| {
                walked.set(walked.get() + 1);
                *until > now
            };
            table.entry(who, now, owes).map(|until| *until = 3 * SECOND).is_some()
        };
        assert!((0..100).all(|who| known(who, 0)));
        assert_eq!(walked.get(), 0);
        assert!((0..100).all(|who| known(who, 0)), "full, and known");
        assert!(!(100..999).any(|who| known(who, 0)), "full, and not known");
        assert_eq!(walked.get(), 100, "once");
        assert!(!known(100, SECOND) && known(100, 3 * SECOND));
        assert_eq!((walked.get(), table.held.len()), (300, 1));
    }
}
