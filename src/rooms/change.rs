//! The changes that can be made to a room.

use std::sync::Arc;
use std::time::Instant;

use super::details::Details;
use super::details::Log;
use super::details::Participant;
use super::details::Person;
use super::details::Said;
use super::details::Waiting;
use super::id::PeerId;
use super::message::Message;
use super::notice::LeftReason;
use super::room::Away;
use super::room::Member;
use super::room::Rank;
use super::room::Room;
use super::room::Status;

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
        /// From where it comes.
        customer: u32,
    },
    /// Whoever it is that has this seat and is away has another one now.
    Replaced(PeerId),
    /// A member may do more, or less.
    Rank {
        /// Who.
        peer: PeerId,
        /// What it is now.
        rank: Rank,
    },
    /// Somebody waits in the lobby.
    Wait(Waiting),
    /// Somebody waits no longer.
    Unwait(PeerId),
    /// A user's standing, or (`None`) that there is none.
    Person {
        /// Whose.
        user: Arc<str>,
        /// What it is now.
        person: Option<Person>,
    },
    /// The room is this user's now.
    Creator(Option<Arc<str>>),
    /// Nobody new comes in, or who is new waits.
    Lock {
        /// Nobody.
        locked: bool,
        /// Waits.
        lobby: bool,
    },
    /// Something was said.
    Said(Arc<Message>),
    /// It goes on in its life; the time in milliseconds since 1970.
    Status(Status, u64),
    /// The call in it is over, and the room stays.
    CallOver,
    /// It ends at this time if nobody comes, or (`None`) it does not.
    Expires(Option<Instant>),
    /// It is no longer there.
    Delete,
}

impl Room {
    /// Makes one change, as `decide` asked for it, at a time in milliseconds since 1970. Changes to a room that is not there
    /// do nothing.
    pub fn apply(room: &mut Option<Room>, change: Change, unix_ms: u64) {
        match (change, room.as_mut()) {
            (Change::Create(new), _) => *room = Some(*new),
            (Change::Delete, _) => *room = None,
            (_, None) => {}
            (change, Some(room)) => room.change(change, unix_ms),
        }
    }

    fn change(&mut self, change: Change, unix_ms: u64) {
        match change {
            Change::Create(_) | Change::Delete => {}
            Change::Seat(member) => {
                self.joined = self.joined.max(member.order.saturating_add(1));
                // One that comes back after a restart may come back later than those who joined after it.
                let at = self.members.partition_point(|other| other.order <= member.order);
                self.members.insert(at, member);
            }
            Change::Unseat { peer, .. } => {
                if let Some(at) = self.members.iter().position(|member| member.peer == peer) {
                    let member = self.members.remove(at);
                    self.leaves(member, unix_ms);
                }
            }
            Change::Away { peer, away } => {
                self.with(peer, |member| (member.away, member.replaced) = (away, false));
            }
            Change::Session { peer, session, customer } => {
                self.with(peer, |member| (member.session, member.customer) = (session, customer));
            }
            Change::Replaced(peer) => self.with(peer, |member| member.replaced = true),
            Change::Rank { peer, rank } => self.with(peer, |member| member.rank = rank),
            Change::Wait(waiting) => self.more().waiting.push(waiting),
            Change::Unwait(peer) => self.more().waiting.retain(|waiting| waiting.peer != peer),
            Change::Person { user, person: Some(person) } => {
                self.more().people.insert(user, person);
            }
            Change::Person { user, person: None } => {
                self.more().people.remove(&user);
            }
            Change::Creator(user) => self.more().creator = user,
            Change::Lock { locked, lobby } => {
                let more = self.more();
                (more.locked, more.lobby) = (locked, lobby);
            }
            Change::Said(message) => self.said(&message),
            Change::Status(status, at) => {
                self.status = status;
                if status == Status::Active {
                    let log = &mut self.more().log;
                    let log = log.get_or_insert_with(|| Box::new(Log { started_at: at, left: Vec::new() }));
                    // One that comes back after a restart may have met somebody earlier.
                    log.started_at = log.started_at.min(at);
                }
            }
            Change::CallOver => {
                self.status = Status::Waiting;
                self.more().log = None;
            }
            Change::Expires(at) => self.expires = at,
        }
    }

    fn with(&mut self, peer: PeerId, then: impl FnOnce(&mut Member)) {
        if let Some(member) = self.members.iter_mut().find(|member| member.peer == peer) {
            then(member);
        }
    }

    fn more(&mut self) -> &mut Details {
        self.details.get_or_insert_default()
    }

    fn leaves(&mut self, member: Member, unix_ms: u64) {
        let log = self.details.as_mut().and_then(|details| details.log.as_mut());
        if let Some(log) = log
            && log.left.len() < Details::MOST_PARTICIPANTS
        {
            log.left.push(member.participates(unix_ms));
        }
    }

    fn said(&mut self, message: &Message) {
        let Some(client_id) = message.client_id.clone() else { return };
        let said = &mut self.more().said;
        if said.len() >= Details::MOST_SAID {
            said.pop_front();
        }
        said.push_back(Said { by: message.by(), client_id, id: message.id, at: message.at });
    }
}

impl Member {
    /// As the call log has it, if it left at this time.
    #[must_use]
    pub fn participates(self, left_at: u64) -> Participant {
        let Member { peer, user, name, joined_at, .. } = self;
        Participant { peer, user, name, joined_at, left_at }
    }
}
