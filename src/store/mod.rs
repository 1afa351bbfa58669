//! Where rooms live. A store carries out commands: it decides, makes the changes, and hands the outcome on before the
//! next command on the same room is decided.

mod memory;

pub use memory::Memory;

use std::time::Instant;

use smallvec::SmallVec;

use crate::rooms::Answer;
use crate::rooms::Command;
use crate::rooms::Kind;
use crate::rooms::LeftReason;
use crate::rooms::Notice;
use crate::rooms::Now;
use crate::rooms::PeerId;
use crate::rooms::Refusal;
use crate::rooms::Room;
use crate::rooms::RoomId;

/// A command that was carried out, and stored.
#[derive(Debug)]
pub struct Committed<'a> {
    /// The room as it is now; `None`: it is no longer there.
    pub room: Option<&'a Room>,
    /// Anything about the room has changed.
    pub changed: bool,
    /// For whoever asked.
    pub answer: Answer,
    /// To send, in order.
    pub notices: &'a [Notice<'a>],
    /// Who has given up a seat, in order.
    pub gone: SmallVec<[(PeerId, LeftReason); 2]>,
}

/// How many there are now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Rooms, in the order of `Kind::ALL`.
    pub rooms: [u64; Kind::ALL.len()],
    /// Those of them without members.
    pub empty: u64,
    /// Members of all of them, those who are away included.
    pub members: u64,
}

/// A store of rooms.
pub trait Store: Send + Sync {
    /// Carries out a command on one room and calls `then` once with what came of it. No other command on this room is
    /// decided until `then` has returned, so what it sends is sent in the order of the decisions.
    ///
    /// `then` must not call the store.
    fn commit<'a>(
        &self,
        id: &RoomId,
        command: Command<'a>,
        now: Now,
        then: &mut dyn FnMut(Result<Committed<'_>, Refusal>),
    );

    /// When the next room has something to do; `None`: nothing is planned. A commit may bring it forward.
    fn next_deadline(&self) -> Option<Instant>;

    /// Some of the rooms whose deadline has come, for `Command::Tick`: empty when there are none.
    fn due(&self, now: Instant) -> Vec<RoomId>;

    /// Shows one room, as it is between two commands; `then` must not call the store.
    fn look(&self, id: &RoomId, then: &mut dyn FnMut(Option<&Room>));

    /// The rooms with the most members, most first, at most `most` of them. Walks through all rooms.
    fn biggest(&self, most: usize) -> Vec<RoomId>;

    /// How many there are now.
    fn counts(&self) -> Counts;
}
