//! How long an answer to somebody who has not shown a password may be: over UDP its sender need not be where it says, and
//! the answer goes to whoever is.

use super::route::FiveTuple;
use super::wire::Echo;
use crate::stun::HEADER;

/// How many times its request's length an answer may have.
pub(super) const FACTOR: usize = 3;

/// The most that a UDP datagram carries over IPv4.
const LONGEST_DATAGRAM: usize = 65_507;

/// FINGERPRINT with its head.
const FINGERPRINT: usize = 8;

/// Bytes left of an answer, which is made up from what it must have to what it may have.
#[derive(Debug)]
pub(super) struct Allowance(usize);

impl Allowance {
    /// For the answer to a request of `length` bytes. On a stream the sender is where it says.
    pub(super) fn new(from: &FiveTuple, echo: &Echo, length: usize) -> Self {
        let most =
            if from.transport.leg().is_some() { usize::MAX } else { LONGEST_DATAGRAM.min(FACTOR * length) };
        let head = HEADER + if echo.fingerprint { FINGERPRINT } else { 0 };
        Self(most.saturating_sub(head))
    }

    /// Makes room for an attribute with a value of `length` bytes. Where there is none, nothing more fits.
    pub(super) fn takes(&mut self, length: usize) -> bool {
        self.spend(4 + length.next_multiple_of(4))
    }

    /// Makes room for `more` bytes in the value of an attribute that ended on a whole word.
    pub(super) fn extends(&mut self, more: usize) -> bool {
        self.spend(more.next_multiple_of(4))
    }

    fn spend(&mut self, bytes: usize) -> bool {
        let left = self.0.checked_sub(bytes);
        self.0 = left.unwrap_or(0);
        left.is_some()
    }
}
