//! What can be asked of a room, and why it may be refused.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use serde_json::value::RawValue;

use super::id::PeerId;
use super::id::Token;
use super::room::Kind;

/// What the operator allows.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The most members of a room of kind `room`. A call has two.
    pub capacity: usize,
    /// How long a call waits for its second member, and any room for its first. Zero: a call waits for ever.
    pub waiting_timeout: Duration,
    /// How long a seat is kept for a member whose transport is lost. Zero: not at all.
    pub grace: Duration,
}

/// The time, of both kinds.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For deadlines.
    pub at: Instant,
    /// For people: milliseconds since 1970.
    pub unix_ms: u64,
}

/// Who wants in.
#[derive(Clone, Debug)]
pub struct Join {
    /// What to make if the room is not there; one that is there stays what it is.
    pub kind: Kind,
    /// The id to be known by: fresh.
    pub peer: PeerId,
    /// What to show on coming back: fresh.
    pub token: Token,
    /// The connection that takes the seat.
    pub session: u64,
    /// A label for the user.
    pub user: Option<Arc<str>>,
    /// What to call it.
    pub name: Option<Arc<str>>,
}

/// One thing asked of one room.
#[derive(Clone, Debug)]
pub enum Command<'a> {
    /// Make the room, empty.
    Create {
        /// What for.
        kind: Kind,
        /// The most members; `None`: as many as the rules allow.
        capacity: Option<u64>,
        /// What people call it.
        name: Option<Arc<str>>,
    },
    /// Take a seat; the room is made if it is not there.
    Join(Join),
    /// Take one's seat again.
    Resume {
        /// As handed out on joining.
        token: Token,
        /// The connection that takes the seat.
        session: u64,
    },
    /// Give one's seat up.
    Leave {
        /// Whose.
        peer: PeerId,
        /// `Some`: only if the seat is still this connection's; `None`: whosever it is.
        session: Option<u64>,
    },
    /// The transport is lost.
    Lost {
        /// Whose.
        peer: PeerId,
        /// The connection that is no more.
        session: u64,
    },
    /// Pass something on to other members.
    Signal {
        /// The sender.
        from: PeerId,
        /// A peer id, or a user (all of that user's peers); `None`: all others.
        to: Option<&'a str>,
        /// `offer`, `answer`, `candidate`, or the clients' own.
        kind: &'a str,
        /// Not looked into.
        data: &'a RawValue,
    },
    /// Say something to all others.
    Chat {
        /// The sender.
        from: PeerId,
        /// What is said.
        text: &'a str,
        /// The message's id: fresh.
        id: PeerId,
    },
    /// Is this one a member? Changes nothing.
    Ask {
        /// Who.
        peer: PeerId,
    },
    /// Put members out, by the operator.
    Kick {
        /// Whom.
        target: Target<'a>,
        /// Let nobody of their user's label in again, while the room lives. All peers of that label go then.
        ban: bool,
    },
    /// End the room, by the operator.
    Close,
    /// `Room::deadline` has come.
    Tick,
}

/// Whom a command is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target<'a> {
    /// This peer.
    Peer(PeerId),
    /// All peers of this user's label.
    User(&'a str),
}

/// Why a command was not carried out; nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// All seats are taken, by members who are here.
    Full,
    /// There is no such room.
    NoSuchRoom,
    /// The sender is not a member.
    NotAMember,
    /// The target is nobody in this room.
    NoSuchPeer,
    /// No seat is kept for this token.
    ResumeFailed,
    /// The room to make is there already, or has an impossible capacity.
    CannotCreate,
    /// The user may not come into this room any more.
    Banned,
    /// The room knows as many banned users as it can.
    TooManyBans,
    /// There is no label to ban this peer by.
    NoLabel,
    /// The house is full: as many rooms as it can hold (said by the store).
    TooManyRooms,
    /// The store does not answer.
    Unavailable,
}
