//! What members are told.

use std::sync::Arc;

use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::id::PeerId;
use super::message::Message;

/// Some members, most often one.
pub type Peers = SmallVec<[PeerId; 2]>;

/// Why a member is no longer one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeftReason {
    /// It said so.
    Left,
    /// It took its leave of the server, of all rooms at once: it may belong to this one still.
    Disconnected,
    /// Its transport was lost and it did not come back in time, or its seat was needed.
    Lost,
    /// It was put out.
    Kicked,
    /// The room closed.
    Closed,
}

impl LeftReason {
    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            LeftReason::Left | LeftReason::Disconnected => "left",
            LeftReason::Lost => "lost",
            LeftReason::Kicked => "kicked",
            LeftReason::Closed => "closed",
        }
    }
}

/// Why a room was closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClosedReason {
    /// The other side of the call left.
    PeerLeft,
    /// The other side of the call was lost.
    PeerLost,
    /// The other side of the call was put out.
    PeerKicked,
    /// The receiver was put out; for others the room may go on.
    Kicked,
    /// The creator has gone, and the room with it.
    CreatorLeft,
    /// The creator or the operator ended it.
    Deleted,
}

impl ClosedReason {
    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ClosedReason::PeerLeft => "peer-left",
            ClosedReason::PeerLost => "peer-lost",
            ClosedReason::PeerKicked => "peer-kicked",
            ClosedReason::Kicked => "kicked",
            ClosedReason::CreatorLeft => "creator-left",
            ClosedReason::Deleted => "deleted",
        }
    }
}

/// One thing to tell some members of the room, or somebody in its lobby. Those who are away are named too: it is kept for them.
#[derive(Clone, Debug)]
pub struct Notice<'a> {
    /// Whom.
    pub to: Peers,
    /// What.
    pub event: Event<'a>,
}

/// What a member is told.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// Someone took a seat.
    PeerJoined {
        /// Who.
        peer: PeerId,
    },
    /// Someone is gone for good.
    PeerLeft {
        /// Who.
        peer: PeerId,
        /// Its user.
        user: Option<Arc<str>>,
        /// What it was called.
        name: Option<Arc<str>>,
        /// Why.
        reason: LeftReason,
        /// No other peer of the same user is left.
        last: bool,
    },
    /// Someone's transport is lost; the seat is kept.
    PeerAway {
        /// Who.
        peer: PeerId,
    },
    /// Someone is back.
    PeerReconnected {
        /// Who.
        peer: PeerId,
    },
    /// To moderators: someone waits in the lobby.
    PeerWaiting {
        /// Who.
        peer: PeerId,
        /// Its user.
        user: Option<Arc<str>>,
        /// What to call it.
        name: Option<Arc<str>>,
    },
    /// To moderators: someone waits no longer.
    PeerNotWaiting {
        /// Who.
        peer: PeerId,
    },
    /// To one who waited: the seat is its own now.
    Admitted,
    /// To one who waited: it was turned away.
    Denied,
    /// The room is another's now, or locked, or someone may do more in it than before, or less.
    RoomChanged {
        /// Whose rank is another now.
        ranks: Peers,
    },
    /// The room is no longer there, for the receiver at least.
    RoomClosed {
        /// Why.
        reason: ClosedReason,
    },
    /// Nobody came in time; the room is no longer there.
    RoomTimeout,
    /// Something to pass on.
    Signal {
        /// The sender.
        from: PeerId,
        /// `offer`, `answer`, `candidate`, or the clients' own.
        kind: &'a str,
        /// Not looked into.
        data: &'a RawValue,
    },
    /// Something said, by the receiver too.
    Chat(&'a Arc<Message>),
}
