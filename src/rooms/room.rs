//! A room and who is in it.

use std::sync::Arc;
use std::time::Instant;

use super::details::Details;
use super::id::PeerId;
use super::id::RoomId;

/// What a room is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// Two peers; it ends when one of them goes, and does not wait for ever for the second.
    Call,
    /// As many as its capacity; gone when empty.
    Room,
    /// It stays when empty, and has members who are not there, a history and invites.
    Channel,
}

impl Kind {
    /// Every kind, for counters.
    pub const ALL: [Kind; 3] = [Kind::Call, Kind::Room, Kind::Channel];

    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Call => "call",
            Kind::Room => "room",
            Kind::Channel => "channel",
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

/// What somebody may do in a room.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Rank {
    /// Speak and listen.
    #[default]
    Member,
    /// Also put members out, lock, and let in.
    Moderator,
    /// Also end the room and choose moderators. One user has it, or one peer without a user.
    Creator,
}

impl Rank {
    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Rank::Member => "member",
            Rank::Moderator => "moderator",
            Rank::Creator => "creator",
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
    /// The user it is: proven by a token, or just what it says.
    pub user: Option<Arc<str>>,
    /// What to call it.
    pub name: Option<Arc<str>>,
    /// Which connection has the seat: the loss of an earlier one means nothing.
    pub session: u64,
    /// Its place in the order of joining: the later one of two is the polite one.
    pub order: u64,
    /// When it took its seat, in milliseconds since 1970.
    pub joined_at: u64,
    /// From where it came last, as far as that tells people apart; 0: from nowhere in particular. Who says no user name is
    /// taken for the same one as another from there.
    pub customer: u32,
    /// What it may do.
    pub rank: Rank,
    /// Whoever it is has come in anew since it was lost: the seat is kept, but for nobody who needs it.
    pub replaced: bool,
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
    /// On whose account it is, for limits; 0: nobody's. An odd number is one that many share.
    pub maker: u64,
    /// What most rooms do without.
    pub details: Option<Box<Details>>,
}

impl Member {
    /// Whether this is who comes as that user, or as nobody from there.
    #[must_use]
    pub fn is_same(&self, user: Option<&str>, customer: u32) -> bool {
        match (self.user.as_deref(), user) {
            (None, None) => self.customer == customer,
            (its, user) => its == user,
        }
    }
}

impl Room {
    /// Who has this seat.
    #[must_use]
    pub fn member(&self, peer: PeerId) -> Option<&Member> {
        self.members.iter().find(|member| member.peer == peer)
    }

    /// Everyone but `peer`.
    pub fn others(&self, peer: PeerId) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |member| member.peer != peer)
    }

    /// All seats of a user.
    pub fn of_user<'r>(&'r self, user: &'r str) -> impl Iterator<Item = &'r Member> {
        self.members.iter().filter(move |member| member.user.as_deref() == Some(user))
    }

    /// Its details, or those of a room that has none.
    #[must_use]
    pub fn details(&self) -> &Details {
        static NONE: Details = Details::NONE;
        self.details.as_deref().unwrap_or(&NONE)
    }

    /// Whether it is kept on disk.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.details().stored
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
}
