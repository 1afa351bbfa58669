//! What lasts: rooms that were made on purpose, who belongs to them, what was said in them, and the log of calls.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::rooms::Kind;
use crate::rooms::Message;
use crate::rooms::Participant;
use crate::rooms::PeerId;
use crate::rooms::Person;
use crate::rooms::Room;
use crate::rooms::RoomId;

/// One thing to write.
#[derive(Clone, Debug)]
pub enum Record {
    /// A room as it is now, but for its members, its people and what was said: new, or in the old one's place.
    Room(Box<Room>),
    /// A room is no longer there, nor anything about it but the log of its calls.
    RoomGone(RoomId),
    /// A user's standing in a room, or (`None`) that there is none.
    Person {
        /// Where.
        room: RoomId,
        /// Whose.
        user: Arc<str>,
        /// What it is now.
        person: Option<Person>,
    },
    /// A user's invitation into a room has made place for another one. If it was taken up meanwhile, or made anew, that stays.
    Yielded {
        /// Where.
        room: RoomId,
        /// Whose.
        user: Arc<str>,
        /// When it was made, in milliseconds since 1970.
        since: u64,
    },
    /// Something said in a room.
    Message {
        /// Where.
        room: RoomId,
        /// What.
        message: Arc<Message>,
    },
    /// A call that is over.
    Call(Box<Call>),
}

/// A call that is over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// Where it was.
    pub room: RoomId,
    /// In what kind of room.
    pub kind: Kind,
    /// What the room was called.
    pub name: Option<Arc<str>>,
    /// When two were there for the first time, in milliseconds since 1970.
    pub started_at: u64,
    /// When it was over.
    pub ended_at: u64,
    /// Why: `ClosedReason`'s names, or `empty`.
    pub reason: Arc<str>,
    /// Who, in the order of leaving.
    pub participants: Vec<Participant>,
    /// Bytes that our relay passed on for them; 0: they reached each other directly.
    pub relayed_bytes: u64,
}

/// How much is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keep {
    /// Messages of a room.
    pub history: usize,
    /// How long a message is kept; zero: as long as its room.
    pub history_ttl: Duration,
    /// Calls that are over.
    pub calls: u64,
    /// How long they are kept; zero: for ever.
    pub calls_ttl: Duration,
}

/// What became of a batch of records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Written {
    /// All are kept.
    Done,
    /// Nothing was written: the one message had been said before, under this id and at this time.
    Already {
        /// The message's id.
        id: PeerId,
        /// When it was said, in milliseconds since 1970.
        at: u64,
    },
}

/// Why something could not be written or read. The text is for the operator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault(pub Arc<str>);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}

/// What comes of something asked of a ledger, in time.
pub type Answer<T> = Pin<Box<dyn Future<Output = Result<T, Fault>> + Send>>;

/// Keeps what lasts. What it is told is written in the order of telling, whoever tells it.
pub trait Ledger: Send + Sync {
    /// All rooms, without members, as they were left: read once, at the start. Blocks.
    ///
    /// # Errors
    /// They cannot be read.
    fn load(&self) -> Result<Vec<Room>, Fault>;

    /// Writes these in one go, or none of them. Returns at once; the answer comes when they are kept, so that neither the
    /// end of this process nor of the machine loses them. A message by a sender (`Message::by`) with a `client_id` under
    /// which that sender has said something in that room before is not written again: `Written::Already`.
    ///
    /// Records of rooms that are not there (any more) are passed over.
    fn write(&self, records: Vec<Record>) -> Answer<Written>;

    /// The same, for what nobody waits for: if it cannot be written it is counted and given up.
    fn note(&self, records: Vec<Record>);

    /// What was said in a room, newest first, at most `most`, before the message of that id (`None`: up to now; an id that is
    /// not known: nothing).
    fn history(&self, room: &RoomId, before: Option<PeerId>, most: usize) -> Answer<Vec<Message>>;

    /// Calls that are over, the last first, at most `most`, of a room (`None`: of all), before the one of that number. Each with
    /// its number.
    fn calls(&self, room: Option<&RoomId>, before: Option<u64>, most: usize) -> Answer<Vec<(u64, Call)>>;

    /// How it is.
    fn health(&self) -> Health;

    /// Waits until everything it was told is written, or given up.
    fn flush(&self) -> Answer<()>;
}

/// How a ledger is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Health {
    /// Why the last write failed, if it did; or that one does not come to an end.
    pub fault: Option<Fault>,
    /// Batches written since the start.
    pub batches: u64,
    /// Records written.
    pub records: u64,
    /// Records that nobody waited for and that were given up.
    pub given_up: u64,
    /// Records that wait to be written.
    pub waiting: u64,
}
