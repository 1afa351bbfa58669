//! One allocation (RFC 8656, section 3.2): a client's relayed addresses and what it may do with them.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Instant;

use super::channels::Channels;
use super::connections::Connections;
use super::credential;
use super::family::Family;
use super::keys::Tag;
use super::meter::Bucket;
use super::mobility::Mobile;
use super::password::Key;
use super::permissions::Permissions;
use super::ports::Kind;
use super::route::FiveTuple;
use super::seats::Room;
use super::usage::Usage;
use super::wire::Echo;
use crate::stun::Mac;

/// A relayed address: its port (the IP is the configuration's) and the time to expiry of its family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Side {
    pub(super) port: u16,
    /// Its socket is bound. Until then the allocation is not answered.
    pub(super) open: bool,
    pub(super) expires: Instant,
}

/// What an Allocate needs to remember until its sockets are bound.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) echo: Echo,
    /// Signs the answer.
    pub(super) mac: Mac,
    pub(super) kind: Kind,
    /// Seconds.
    pub(super) lifetime: u32,
    /// How many ports turned out to be taken by other programs.
    pub(super) tries: u8,
    /// The port was set aside by an earlier allocation, no other will do.
    pub(super) reserved: bool,
    /// For ADDRESS-ERROR-CODE: the family of a dual allocation that could not be had.
    pub(super) failed: Option<(Family, u16)>,
}

/// A client's allocation, keyed by its five-tuple.
#[derive(Debug)]
pub(super) struct Allocation {
    pub(super) client: FiveTuple,
    /// `<unix expiry>:<id>`, or a user's name.
    pub(super) username: Box<str>,
    /// The long-term key of that user name.
    pub(super) key: Key,
    /// The secret or user that let it in: it lives no longer than that.
    pub(super) by: Tag,
    /// By family.
    pub(super) sides: [Option<Side>; 2],
    pub(super) permissions: Permissions,
    pub(super) channels: Channels,
    pub(super) opening: Option<Box<Opening>>,
    /// Of a TCP allocation (RFC 6062): its connections. It relays no datagrams.
    pub(super) connections: Option<Box<Connections>>,
    /// It moves with its client (RFC 8016).
    pub(super) mobile: Option<Mobile>,
    /// Its entry in the timers; never later than [`Allocation::deadline`].
    pub(super) timer: Option<Instant>,
    /// What it has relayed.
    pub(super) usage: Usage,
    /// What it may relay.
    pub(super) bucket: Bucket,
    /// Its member's room; none: its credential is nobody's in a room.
    pub(super) room: Option<Arc<Room>>,
    /// It has nothing to do with what is outside its room.
    pub(super) confined: bool,
    /// Its place in [`Stats::by_scope`](super::Stats::by_scope).
    pub(super) label: u8,
    /// The room's losses when it was last looked at what is in scope.
    pub(super) seen: u64,
}

impl Allocation {
    /// Whom the quota counts and `revoke` names: the id, or all of a user name without one.
    pub(super) fn user(&self) -> &str {
        user(&self.username)
    }

    /// The number of the room that it is confined to.
    pub(super) fn scope(&self) -> Option<NonZeroU64> {
        self.room.as_ref().filter(|_| self.confined).map(|room| room.number)
    }

    /// Whether the room has lost something since it was last looked at what is in scope.
    #[inline]
    pub(super) fn is_behind(&self) -> bool {
        self.confined && self.room.as_ref().is_some_and(|room| room.losses() != self.seen)
    }

    pub(super) fn side(&self, family: Family) -> Option<Side> {
        self.sides[family.index()]
    }

    /// When something of it expires next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let sides = self.sides.iter().flatten().map(|side| side.expires);
        let connections = self.connections.as_ref().and_then(|held| held.deadline());
        sides.chain(self.permissions.deadline()).chain(self.channels.deadline()).chain(connections).min()
    }
}

/// The part of a user name that stays the same from credential to credential.
pub(super) fn user(username: &str) -> &str {
    match credential::split(username) {
        Some((_, id)) if !id.is_empty() => id,
        _ => username,
    }
}
