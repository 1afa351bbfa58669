//! What can be asked of a room, and why it may be refused.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use serde_json::value::RawValue;

use super::details::Media;
use super::id::PeerId;
use super::message::Message;
use super::room::Kind;
use super::room::Member;
use super::room::Rank;

/// What the operator allows.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The most peers in a room of kind `room`. A call has two.
    pub capacity: usize,
    /// The most peers in a channel.
    pub channel_capacity: usize,
    /// How long a call waits for its second member, and any room for its first. Zero: a call waits for ever.
    pub waiting_timeout: Duration,
    /// How long a seat is kept for a member whose transport is lost. Zero: not at all.
    pub grace: Duration,
    /// How long a channel to which nobody belongs stays without anybody in it. Zero: for ever.
    pub idle: Duration,
}

/// The time, of both kinds.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For deadlines.
    pub at: Instant,
    /// For people: milliseconds since 1970.
    pub unix_ms: u64,
}

/// How a room is to be made.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The most members; `None`: as many as the rules allow. More than those is as many as those.
    pub capacity: Option<u64>,
    /// What people call it.
    pub name: Option<Arc<str>>,
    /// What it is about.
    pub description: Option<Arc<str>>,
    /// What is exchanged in it.
    pub media: Option<Media>,
    /// Only who is invited, or knows the password, comes in.
    pub private: bool,
    /// It is in the directory, unless it is private.
    pub listed: bool,
    /// Who is new waits to be let in.
    pub lobby: bool,
    /// It ends when its creator goes.
    pub auto_delete: bool,
    /// A hash.
    pub password: Option<Arc<str>>,
}

/// Who is asking.
#[derive(Clone, Debug, Default)]
pub struct Who {
    /// The user, proven by a token or just said.
    pub user: Option<Arc<str>>,
    /// What to call it.
    pub name: Option<Arc<str>>,
    /// What a token says it is in every room.
    pub rank: Rank,
}

/// What to make if the room to join is not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Absent {
    /// What for.
    pub kind: Kind,
    /// Whether it is in the directory.
    pub listed: bool,
}

/// Who wants in.
#[derive(Clone, Debug)]
pub struct Join {
    /// What to make if the room is not there (one that is there stays what it is); `None`: then it is refused.
    pub absent: Option<Absent>,
    /// The id to be known by: fresh.
    pub peer: PeerId,
    /// The connection that takes the seat.
    pub session: u64,
    /// Who.
    pub who: Who,
    /// A token says who that is: one address does not come under as many names as it likes.
    pub proven: bool,
    /// The hash that the password was found to match.
    pub password: Option<Arc<str>>,
    /// On whose account a room is made.
    pub maker: u64,
    /// From where, as far as that tells people apart (`Member::customer`).
    pub customer: u32,
}

/// What was known of a seat before this process began.
#[derive(Clone, Debug)]
pub struct Restore {
    /// What its room was.
    pub kind: Kind,
    /// Whether it was in the directory.
    pub listed: bool,
    /// Whether it was on disk.
    pub stored: bool,
    /// Who had it. In a room that records what people are the rank is what a token says of the user everywhere, elsewhere what
    /// it was there.
    pub who: Who,
    /// Its place in the order of joining.
    pub order: u64,
    /// When it was taken, in milliseconds since 1970.
    pub joined_at: u64,
}

/// Who has a seat that is to be taken again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holder {
    /// Whoever it is.
    Anybody,
    /// This connection, whether its transport is lost or not.
    Session(u64),
    /// Nobody: its member is away, or the seat is not there any more.
    Nobody,
}

impl Holder {
    /// Whether that is so; `None`: there is no such seat.
    #[must_use]
    pub fn has(self, seat: Option<&Member>) -> bool {
        match self {
            Holder::Anybody => true,
            Holder::Session(session) => seat.is_some_and(|member| member.session == session),
            Holder::Nobody => seat.is_none_or(|member| member.away.is_some()),
        }
    }
}

/// Whose power a command stands on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By<'a> {
    /// The operator's: everything.
    Operator,
    /// A member's.
    Peer(PeerId),
    /// A user's, there or not.
    User(&'a str),
}

/// One thing asked of one room.
#[derive(Clone, Debug)]
pub enum Command<'a> {
    /// Make the room, empty, and keep it on disk.
    Create {
        /// What for.
        kind: Kind,
        /// How.
        options: Options,
        /// Whose it is.
        creator: Who,
        /// On whose account.
        maker: u64,
    },
    /// Take a seat, or a place in the lobby.
    Join(Join),
    /// Take one's seat again.
    Resume {
        /// Whose; it has been proven.
        peer: PeerId,
        /// The connection that takes the seat.
        session: u64,
        /// From where it comes now (`Member::customer`).
        customer: u32,
        /// Who must have it until now; else it is not taken.
        holder: Holder,
        /// The seat is of before this process began, and may be made anew.
        restore: Option<Restore>,
    },
    /// Give one's seat up, or one's place in the lobby; a member of a channel belongs to it no more.
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
        /// Keep the seat for a while.
        keep: bool,
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
    /// Say something. Everybody is told, the sender too.
    Chat(&'a Arc<Message>),
    /// Is this one a member? Changes nothing.
    Ask {
        /// Who.
        peer: PeerId,
    },
    /// Put members out.
    Kick {
        /// On whose power.
        by: By<'a>,
        /// Whom.
        target: Target<'a>,
        /// Let nobody of their user's label in again. All peers of that label go then.
        ban: bool,
    },
    /// Lift a ban, or take an invitation back.
    Pardon {
        /// On whose power.
        by: By<'a>,
        /// Whose.
        user: &'a str,
    },
    /// Lock or unlock the room, and its lobby.
    Lock {
        /// On whose power.
        by: By<'a>,
        /// Nobody new comes in; `None`: as before.
        locked: Option<bool>,
        /// Who is new waits; `None`: as before.
        lobby: Option<bool>,
    },
    /// Let somebody in from the lobby, or turn it away.
    Admit {
        /// On whose power.
        by: By<'a>,
        /// Whom.
        peer: PeerId,
        /// In, or away.
        admit: bool,
    },
    /// Let a user come in who could not.
    Invite {
        /// On whose power: every member may.
        by: By<'a>,
        /// Whom.
        user: &'a str,
        /// From where that is asked (`Member::customer`).
        customer: u32,
    },
    /// Make somebody a moderator, or no longer one.
    Promote {
        /// On whose power: the creator's.
        by: By<'a>,
        /// Whom.
        target: Target<'a>,
        /// One, or not.
        moderator: bool,
    },
    /// End the room.
    Close {
        /// On whose power: the creator's.
        by: By<'a>,
    },
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
    /// All seats are taken, by members who are here or may come back to them.
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
    /// Only who is invited comes in.
    Private,
    /// A password is needed, and none was shown.
    PasswordRequired,
    /// Nobody new comes in.
    Locked,
    /// This is for moderators, or for the creator.
    Forbidden,
    /// The room knows as many users as it can.
    TooManyPeople,
    /// The lobby is full.
    LobbyFull,
    /// There is no label to know this peer by.
    NoLabel,
    /// The house is full: as many rooms as it can hold (said by the store).
    TooManyRooms,
    /// The same for one account (said by the store).
    TooManyOfYours,
    /// That user has as many invitations as one may have.
    TooManyInvitations,
    /// So many are invited from that address as may be (said by the store).
    TooManyInvited,
    /// What must be kept cannot be written (said by the store).
    NotStored,
    /// The store does not answer.
    Unavailable,
}
