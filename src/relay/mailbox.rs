//! What one shard leaves for another: frames for its connections, packets of clients that have moved. The one way on which
//! payload goes from thread to thread.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use nix::sys::eventfd::EventFd;

use crate::turn::FiveTuple;
use crate::turn::Leg;

/// Bytes that may lie in a mailbox; twice what one connection's queue holds.
const ROOM: usize = 512 << 10;
/// And letters.
const MOST: usize = 16 << 10;

/// Where other shards leave what is for this one's connections.
#[derive(Debug)]
pub(super) struct Mailbox {
    letters: Mutex<Letters>,
    wake: Arc<EventFd>,
}

/// What a letter is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Letter {
    /// A frame for this connection.
    Frame(Leg),
    /// Nothing but an end: close this connection.
    HangUp(Leg),
    /// A packet that came from this client.
    Packet(FiveTuple),
}

/// Bytes, one letter's after the other's.
#[derive(Default, Debug)]
pub(super) struct Letters {
    bytes: Vec<u8>,
    letters: Vec<(Letter, u32)>,
}

impl Mailbox {
    /// `wake` rouses the shard that empties it.
    pub(super) fn new(wake: Arc<EventFd>) -> Self {
        Self { letters: Mutex::default(), wake }
    }

    /// Leaves a letter; false: there is no room.
    pub(super) fn post(&self, letter: Letter, parts: &[&[u8]]) -> bool {
        let mut letters = self.lock();
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let (Ok(size), true) =
            (u32::try_from(len), letters.bytes.len() + len <= ROOM && letters.letters.len() < MOST)
        else {
            return false;
        };
        let was_empty = letters.letters.is_empty();
        parts.iter().for_each(|part| letters.bytes.extend_from_slice(part));
        letters.letters.push((letter, size));
        drop(letters);
        // One call for all that comes before the shard looks.
        if was_empty {
            let _ = self.wake.write(1);
        }
        true
    }

    /// Has the shard look after what its server wants done.
    pub(super) fn rouse(&self) {
        let _ = self.wake.write(1);
    }

    /// Takes everything out, in exchange for `emptied`.
    pub(super) fn take(&self, emptied: &mut Letters) {
        emptied.clear();
        std::mem::swap(&mut *self.lock(), emptied);
    }

    fn lock(&self) -> MutexGuard<'_, Letters> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Letters {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.letters.clear();
    }

    /// Each with its bytes, in the order in which they came.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Letter, &[u8])> {
        self.letters.iter().scan(0, |start, &(letter, len)| {
            let end = *start + len as usize;
            let bytes = self.bytes.get(*start..end).unwrap_or_default();
            *start = end;
            Some((letter, bytes))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::eventfd::EfdFlags;

    fn leg(slot: u32) -> Letter {
        Letter::Frame(Leg { shard: 0, slot, generation: 1 })
    }

    #[test]
    fn frames_come_out_in_order_after_one_wake_up() {
        let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap());
        let mailbox = Mailbox::new(Arc::clone(&wake));
        assert!(mailbox.post(leg(1), &[b"he", b"ad", b""]));
        assert!(mailbox.post(leg(2), &[b"body"]));
        assert_eq!(wake.read().unwrap(), 1);
        let mut letters = Letters::default();
        mailbox.take(&mut letters);
        assert_eq!(letters.iter().collect::<Vec<_>>(), [(leg(1), &b"head"[..]), (leg(2), b"body")]);
        mailbox.take(&mut letters);
        assert_eq!(letters.iter().count(), 0);
        assert!(mailbox.post(leg(1), &[b"again"]));
        assert_eq!(wake.read().unwrap(), 1);
    }

    #[test]
    fn a_full_one_takes_no_more() {
        let mailbox = Mailbox::new(Arc::new(EventFd::new().unwrap()));
        assert!(mailbox.post(leg(1), &[&vec![0; ROOM]]));
        assert!(!mailbox.post(leg(1), &[b"x"]));
        mailbox.take(&mut Letters::default());
        assert!(mailbox.post(leg(1), &[b"x"]));
    }
}
