//! Where rooms live. A store carries out commands: it decides, has written what lasts, makes the changes, and hands the
//! outcome on before the next command on the same room is decided.

mod index;
#[cfg(test)]
mod laws;
mod ledger;
mod live;
mod place;
mod record;
mod sqlite;
mod volatile;

pub use ledger::Answer;
pub use ledger::Call;
pub use ledger::Fault;
pub use ledger::Health;
pub use ledger::Keep;
pub use ledger::Ledger;
pub use ledger::Record;
pub use ledger::Written;
pub use live::Limits;
pub use live::Live;
pub use place::Place;
pub use place::cursor;
pub use place::place;
pub use sqlite::Copied;
pub use sqlite::Sqlite;
pub use sqlite::backup;
pub use volatile::Volatile;

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use smallvec::SmallVec;
use tokio::sync::Semaphore;

use crate::rooms;
use crate::rooms::Command;
use crate::rooms::Kind;
use crate::rooms::LeftReason;
use crate::rooms::Message;
use crate::rooms::Notice;
use crate::rooms::Now;
use crate::rooms::PeerId;
use crate::rooms::Refusal;
use crate::rooms::Room;
use crate::rooms::RoomId;

/// A command that was carried out.
#[derive(Debug)]
pub struct Committed<'a> {
    /// The room as it is now; `None`: it is no longer there.
    pub room: Option<&'a Room>,
    /// Anything about the room has changed.
    pub changed: bool,
    /// It has only now been made.
    pub made: bool,
    /// What had to be written was written. If not, it was only carried out because somebody is gone anyway.
    pub kept: bool,
    /// For whoever asked.
    pub answer: rooms::Answer,
    /// To send, in order.
    pub notices: &'a [Notice<'a>],
    /// Who has given up a seat, in order.
    pub gone: SmallVec<[Gone; 2]>,
    /// Who has left the lobby: seated or not.
    pub waited: SmallVec<[PeerId; 1]>,
    /// The room was in the directory, or is, and what it says of the room has changed.
    pub listed: bool,
    /// The call that is over now, but for what was relayed.
    pub ended: Option<Box<Call>>,
}

/// Somebody who has given up a seat.
#[derive(Clone, Debug)]
pub struct Gone {
    /// Who.
    pub peer: PeerId,
    /// Its user.
    pub user: Option<Arc<str>>,
    /// What it was called.
    pub name: Option<Arc<str>>,
    /// Why.
    pub reason: LeftReason,
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

/// A disk that takes longer than this does not answer: it is a fault, and nobody else waits for it. A full batch on a slow disk
/// takes some tenths of a second, and another program's lock is waited for for two.
pub(crate) const LATE: Duration = Duration::from_secs(5);

/// A command has to wait: for something to be written, or for another one to be.
#[must_use]
pub struct Ticket(Waits);

enum Waits {
    /// Until someone else's command on this room is done.
    Turn(Arc<Semaphore>),
    /// Until what this command needs kept is written.
    Write(Answer<Written>),
    /// Not any more.
    Written(Result<Written, Fault>),
}

impl Ticket {
    /// Waits. With what this gives, the same command at the same `Now` is to be asked again: the room waits for it. After `LATE`
    /// it is asked again in any case, and may have to wait on.
    pub async fn ready(self) -> Option<Ticket> {
        match self.0 {
            Waits::Turn(turn) => {
                // It has no permits, and is closed when the turn has come.
                let come = tokio::time::timeout(LATE, turn.acquire()).await.is_ok();
                (!come).then_some(Ticket(Waits::Turn(turn)))
            }
            Waits::Write(mut answer) => match tokio::time::timeout(LATE, &mut answer).await {
                Ok(written) => Some(Ticket(Waits::Written(written))),
                Err(_) => Some(Ticket(Waits::Write(answer))),
            },
            Waits::Written(_) => Some(self),
        }
    }
}

/// A store of rooms.
pub trait Store: Send + Sync {
    /// Carries out a command on one room and calls `then` once with what came of it. No other command on this room is
    /// decided until `then` has returned, so what it sends is sent in the order of the decisions.
    ///
    /// If it must wait, `then` is not called, and a ticket comes back: wait until it is ready, then ask again.
    ///
    /// `then` must not call the store.
    fn commit<'a>(
        &self,
        id: &RoomId,
        command: &Command<'a>,
        now: Now,
        ticket: Option<Ticket>,
        then: &mut dyn FnMut(Result<Committed<'_>, Refusal>),
    ) -> Option<Ticket>;

    /// When the next room has something to do; `None`: nothing is planned. A commit may bring it forward, and so may the end of
    /// one that had to wait: a room of which something is being written is not counted.
    fn next_deadline(&self) -> Option<Instant>;

    /// Some of the rooms whose deadline has come, for `Command::Tick`: empty when there are none.
    fn due(&self, now: Instant) -> Vec<RoomId>;

    /// Shows one room, as it is between two commands; `then` must not call the store.
    fn look(&self, id: &RoomId, then: &mut dyn FnMut(Option<&Room>));

    /// The rooms with the most members, most first, at most `most` of them. Walks through all rooms.
    fn biggest(&self, most: usize) -> Vec<RoomId>;

    /// The rooms that this user belongs to, at most `most`.
    fn rooms_of(&self, user: &str, most: usize) -> Vec<RoomId>;

    /// The rooms that this user is invited to, at most `most`.
    fn invitations_of(&self, user: &str, most: usize) -> Vec<RoomId>;

    /// The rooms in the directory after that place, newest first, at most `most`.
    fn listed(&self, after: Option<&Place>, most: usize) -> Vec<Place>;

    /// All rooms after that place, newest first, at most `most`. Walks through all rooms.
    fn all(&self, after: Option<&Place>, most: usize) -> Vec<Place>;

    /// How many there are now.
    fn counts(&self) -> Counts;

    /// What was said in a room; see `Ledger::history`.
    fn history(&self, room: &RoomId, before: Option<PeerId>, most: usize) -> Answer<Vec<Message>>;

    /// Calls that are over; see `Ledger::calls`.
    fn calls(&self, room: Option<&RoomId>, before: Option<u64>, most: usize) -> Answer<Vec<(u64, Call)>>;

    /// Keeps the record of a call that is over.
    fn log(&self, call: Call);

    /// How what lasts is kept.
    fn health(&self) -> Health;

    /// Waits until everything is written.
    fn flush(&self) -> Answer<()>;
}
