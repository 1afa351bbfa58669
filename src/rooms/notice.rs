//! What members are told.

use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::id::PeerId;

/// Some members, most often one.
pub type Peers = SmallVec<[PeerId; 2]>;

/// Why a member is no longer one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeftReason {
    /// It said so.
    Left,
    /// Its transport was lost and it did not come back in time, or its seat was needed.
    Lost,
    /// The operator put it out.
    Kicked,
    /// The room closed.
    Closed,
}

impl LeftReason {
    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            LeftReason::Left => "left",
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
    /// The operator put the other side of the call out.
    PeerKicked,
    /// The operator put the receiver out; for others the room may go on.
    Kicked,
    /// The operator ended it.
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
            ClosedReason::Deleted => "deleted",
        }
    }
}

/// One thing to tell some members of the room. Those who are away are named too: it is kept for them.
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
        /// Why.
        reason: LeftReason,
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
    /// Something said.
    Chat {
        /// The sender.
        from: PeerId,
        /// What.
        text: &'a str,
        /// The message's id.
        id: PeerId,
        /// When, in milliseconds since 1970.
        at_ms: u64,
    },
}
