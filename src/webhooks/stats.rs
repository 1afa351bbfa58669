//! What became of messages, and of questions.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// The counters, since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Messages that a receiver took.
    pub delivered: u64,
    /// Tries that are followed by another.
    pub retried: u64,
    /// Messages that were given up: refused by the receiver, tried too often, or too old.
    pub failed: u64,
    /// Messages that found no room in the queue, or were left in it at the end.
    pub dropped: u64,
    /// Messages on their way now.
    pub waiting: u64,
    /// Joins that were allowed, denied, or not answered.
    pub joins: [u64; 3],
}

impl Stats {
    /// What the elements of `joins` are.
    pub const JOINS: [&str; 3] = ["allowed", "denied", "unreachable"];
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) delivered: AtomicU64,
    pub(super) retried: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) waiting: AtomicU64,
    pub(super) joins: [AtomicU64; 3],
}

impl Counters {
    pub(super) fn read(&self) -> Stats {
        Stats {
            delivered: self.delivered.load(Relaxed),
            retried: self.retried.load(Relaxed),
            failed: self.failed.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            waiting: self.waiting.load(Relaxed),
            joins: self.joins.each_ref().map(|count| count.load(Relaxed)),
        }
    }
}

/// One more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}
