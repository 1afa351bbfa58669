//! When what is due, in order.

use std::collections::BTreeSet;
use std::time::Instant;

/// At most one deadline per slot.
#[derive(Default, Debug)]
pub(super) struct Timers {
    ordered: BTreeSet<(Instant, u32)>,
    /// The first of them, to be had without walking the tree for every packet.
    first: Option<Instant>,
}

impl Timers {
    #[inline]
    pub(super) fn next(&self) -> Option<Instant> {
        self.first
    }

    /// Moves the slot's deadline from `old` to `new`.
    pub(super) fn set(&mut self, slot: u32, old: Option<Instant>, new: Option<Instant>) {
        if old == new {
            return;
        }
        if let Some(old) = old {
            self.ordered.remove(&(old, slot));
        }
        if let Some(new) = new {
            self.ordered.insert((new, slot));
        }
        self.first = self.ordered.first().map(|&(at, _)| at);
    }

    /// Takes out a slot whose deadline has come.
    pub(super) fn pop(&mut self, now: Instant) -> Option<u32> {
        if self.first? > now {
            return None;
        }
        let (_, slot) = self.ordered.pop_first()?;
        self.first = self.ordered.first().map(|&(at, _)| at);
        Some(slot)
    }
}
