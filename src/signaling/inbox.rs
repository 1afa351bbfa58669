//! A connection's commands, one after the other.
//!
//! What arrives while a command is being carried out, or before the connection is open, waits here. Whoever brings a
//! command when nobody is at it carries it out, and then what has come meanwhile: no task of its own, and the order of
//! arrival holds.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

/// How many may wait: as many as may come at once (`account::BURST` seconds of the usual rate).
const MOST: usize = 1024;
/// How many bytes they may have.
const MOST_BYTES: usize = 1 << 20;

/// A bounded, ordered queue with at most one worker.
pub(super) struct Inbox<T>(Mutex<State<T>>);

struct State<T> {
    /// Someone is at it, or the connection is not open yet.
    busy: bool,
    waiting: VecDeque<(T, usize)>,
    /// Of all that wait.
    bytes: usize,
}

/// What became of an item.
pub(super) enum Pushed<T> {
    /// Carry it out, then whatever `next` gives, until that is nothing.
    Yours(T),
    /// Someone else will.
    Waits,
    /// One too many.
    Refused(T),
}

impl<T> Inbox<T> {
    /// A closed inbox: everything waits until `open`.
    pub(super) fn closed() -> Inbox<T> {
        Inbox(Mutex::new(State { busy: true, waiting: VecDeque::new(), bytes: 0 }))
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens it and gives the first item, to be carried out as after `Yours`.
    pub(super) fn open(&self) -> Option<T> {
        self.next()
    }

    /// Brings an item of so many bytes; `always`: even if too many wait.
    pub(super) fn push(&self, item: T, bytes: usize, always: bool) -> Pushed<T> {
        let mut state = self.lock();
        if !state.busy {
            state.busy = true;
            return Pushed::Yours(item);
        }
        if (state.waiting.len() >= MOST || state.bytes + bytes > MOST_BYTES) && !always {
            return Pushed::Refused(item);
        }
        state.bytes += bytes;
        state.waiting.push_back((item, bytes));
        Pushed::Waits
    }

    /// The next item for whoever is at it; after `None` nobody is.
    pub(super) fn next(&self) -> Option<T> {
        let mut state = self.lock();
        let next = state.waiting.pop_front().map(|(item, bytes)| {
            state.bytes = state.bytes.saturating_sub(bytes);
            item
        });
        if next.is_none() {
            state.busy = false;
            // A burst's worth of memory is not kept for the life of the connection.
            state.waiting = VecDeque::new();
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_before_opening_waits_in_order() {
        let inbox = Inbox::closed();
        for n in 0..3 {
            assert!(matches!(inbox.push(n, 1, false), Pushed::Waits));
        }
        assert_eq!(inbox.open(), Some(0));
        assert!(matches!(inbox.push(3, 1, false), Pushed::Waits));
        assert_eq!(std::iter::from_fn(|| inbox.next()).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(matches!(inbox.push(4, 1, false), Pushed::Yours(4)));
        assert!(matches!(inbox.push(5, 1, false), Pushed::Waits));
    }

    #[test]
    fn it_is_bounded_but_for_what_must_get_through() {
        let inbox = Inbox::closed();
        assert!((0..MOST).all(|n| matches!(inbox.push(n, 1, false), Pushed::Waits)));
        assert!(matches!(inbox.push(999, 1, false), Pushed::Refused(999)));
        assert!(matches!(inbox.push(1000, 1, true), Pushed::Waits));
        // A few long ones are as much as many short ones.
        let inbox = Inbox::closed();
        assert!((0..4).all(|n| matches!(inbox.push(n, MOST_BYTES / 4, false), Pushed::Waits)));
        assert!(matches!(inbox.push(4, 1, false), Pushed::Refused(4)));
        inbox.open();
        assert!(matches!(inbox.push(4, 1, false), Pushed::Waits));
    }
}
