//! A room, its members, and the changes that can be made to it.

use std::sync::Arc;
use std::time::Instant;

use super::id::PeerId;
use super::id::RoomId;
use super::id::Token;
use super::notice::LeftReason;

/// What a room is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// Two peers; it ends when one of them goes, and does not wait for ever for the second.
    Call,
    /// As many as its capacity; gone when empty.
    Room,
}

impl Kind {
    /// Every kind, for counters.
    pub const ALL: [Kind; 2] = [Kind::Call, Kind::Room];

    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Call => "call",
            Kind::Room => "room",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Kind> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Where a room is in its life. One that has ended is no longer there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// For the second member.
    Waiting,
    /// It has had two members at once, both of them here.
    Active,
}

impl Status {
    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Status::Waiting => "waiting",
            Status::Active => "active",
        }
    }
}

/// Since when a member's transport is lost, and when its seat is given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Away {
    /// When it was lost.
    pub since: Instant,
    /// When it is gone for good.
    pub until: Instant,
}

/// Who holds a seat in a room.
#[derive(Clone, Debug)]
pub struct Member {
    /// Our name for it.
    pub peer: PeerId,
    /// The user it says it is: a label, not a proof.
    pub user: Option<Arc<str>>,
    /// What to call it.
    pub name: Option<Arc<str>>,
    /// Shown by whoever wants the seat back.
    pub token: Token,
    /// Which connection has the seat: the loss of an earlier one means nothing.
    pub session: u64,
    /// Its place in the order of joining: the later one of two is the polite one.
    pub order: u64,
    /// Its transport is lost.
    pub away: Option<Away>,
}

/// A room and who is in it.
#[derive(Clone, Debug)]
pub struct Room {
    /// Its name.
    pub id: RoomId,
    /// What it is for.
    pub kind: Kind,
    /// What people call it.
    pub name: Option<Arc<str>>,
    /// The most members, those who are away included.
    pub capacity: usize,
    /// When it was made, in milliseconds since 1970.
    pub created_at: u64,
    /// Where it is in its life.
    pub status: Status,
    /// In order of joining.
    pub members: Vec<Member>,
    /// When it ends if nobody (else) comes.
    pub expires: Option<Instant>,
    /// How many have ever joined.
    pub joined: u64,
    /// Labels of users who may not come in any more.
    pub banned: Vec<Arc<str>>,
}

impl Room {
    /// The most labels of banned users.
    pub const MOST_BANS: usize = 256;

    /// Whether users of this label may not come in.
    #[must_use]
    pub fn bans(&self, user: &str) -> bool {
        self.banned.iter().any(|banned| **banned == *user)
    }

    /// Who has this seat.
    #[must_use]
    pub fn member(&self, peer: PeerId) -> Option<&Member> {
        self.members.iter().find(|member| member.peer == peer)
    }

    /// Everyone but `peer`.
    pub fn others(&self, peer: PeerId) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |member| member.peer != peer)
    }

    /// Whether `me` yields to `them` when both make an offer at once (perfect negotiation). Of two, exactly one does.
    #[must_use]
    pub fn polite(me: &Member, them: &Member) -> bool {
        me.order > them.order
    }

    /// When `Command::Tick` next has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let away = self.members.iter().filter_map(|member| member.away.map(|away| away.until)).min();
        match (away, self.expires) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Makes one change, as `decide` asked for it. Changes to a room that is not there do nothing.
    pub fn apply(room: &mut Option<Room>, change: Change) {
        match (change, room.as_mut()) {
            (Change::Create(new), _) => *room = Some(*new),
            (Change::Delete, _) => *room = None,
            (_, None) => {}
            (Change::Seat(member), Some(room)) => {
                room.joined = room.joined.max(member.order.saturating_add(1));
                room.members.push(member);
            }
            (Change::Unseat { peer, .. }, Some(room)) => room.members.retain(|member| member.peer != peer),
            (Change::Away { peer, away }, Some(room)) => {
                if let Some(member) = room.members.iter_mut().find(|member| member.peer == peer) {
                    member.away = away;
                }
            }
            (Change::Session { peer, session }, Some(room)) => {
                if let Some(member) = room.members.iter_mut().find(|member| member.peer == peer) {
                    member.session = session;
                }
            }
            (Change::Ban(user), Some(room)) => room.banned.push(user),
            (Change::Status(status), Some(room)) => room.status = status,
            (Change::Expires(at), Some(room)) => room.expires = at,
        }
    }
}

/// One change to a room.
#[derive(Clone, Debug)]
pub enum Change {
    /// It is there now.
    Create(Box<Room>),
    /// A member takes a seat.
    Seat(Member),
    /// A member gives its seat up; its credentials end.
    Unseat {
        /// Whose seat.
        peer: PeerId,
        /// Why.
        reason: LeftReason,
    },
    /// A member's transport is lost, or (`None`) found again.
    Away {
        /// Whose.
        peer: PeerId,
        /// Since and until when.
        away: Option<Away>,
    },
    /// Another connection has the seat now.
    Session {
        /// Whose seat.
        peer: PeerId,
        /// Which connection.
        session: u64,
    },
    /// Nobody of this user's label comes in any more.
    Ban(Arc<str>),
    /// It goes on in its life.
    Status(Status),
    /// It ends at this time if nobody comes, or (`None`) it does not.
    Expires(Option<Instant>),
    /// It is no longer there.
    Delete,
}
