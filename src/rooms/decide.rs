//! One command on one room: the changes to make, the notices to send, the answer. The rules of coming in are in `enter`, those
//! of going in `depart`, those of who may do what to others in `moderate`.

use smallvec::SmallVec;
use smallvec::smallvec;

use super::change::Change;
use super::command::Command;
use super::command::Now;
use super::command::Refusal;
use super::command::Rules;
use super::id::PeerId;
use super::id::RoomId;
use super::notice::Event;
use super::notice::Notice;
use super::notice::Peers;
use super::room::Rank;
use super::room::Room;

/// What to do: make the changes, in order; then answer; then send the notices, in order.
#[derive(Debug, Default)]
pub struct Decision<'a> {
    /// For `Room::apply`.
    pub changes: SmallVec<[Change; 1]>,
    /// For the members.
    pub notices: SmallVec<[Notice<'a>; 1]>,
    /// For whoever asked.
    pub answer: Answer,
}

/// What whoever asked is told. The room as it is after the changes has the rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Answer {
    /// It is done.
    #[default]
    Done,
    /// The seat is this one's; on resuming, it may have been someone else's connection until now.
    Seated {
        /// Whose seat.
        peer: PeerId,
        /// It is one's old seat.
        resumed: bool,
        /// It was made anew: others may be about to come back to theirs.
        restored: bool,
    },
    /// In the lobby, under this id.
    Waits {
        /// Who.
        peer: PeerId,
    },
    /// That was said before.
    Said {
        /// The message's id.
        id: PeerId,
        /// When, in milliseconds since 1970.
        at: u64,
    },
}

/// Decides one command on the room of this name.
///
/// # Errors
/// Why it is refused. Nothing changes then.
pub fn decide<'a>(
    id: &RoomId,
    room: Option<&Room>,
    command: &Command<'a>,
    rules: &Rules,
    now: Now,
) -> Result<Decision<'a>, Refusal> {
    let Some(room) = room else {
        return match command {
            Command::Create { kind, options, creator, maker } => {
                super::enter::create(id, *kind, options, creator, *maker, rules, now)
            }
            Command::Join(join) => super::enter::first(id, join, rules, now),
            Command::Resume { peer, session, customer, holder, restore: Some(restore) }
                if holder.has(None) =>
            {
                super::enter::restore_first(id, *peer, (*session, *customer), restore, rules, now)
            }
            Command::Resume { .. } => Err(Refusal::ResumeFailed),
            Command::Tick => Ok(Decision::default()),
            _ => Err(Refusal::NoSuchRoom),
        };
    };
    match command {
        Command::Create { .. } => Err(Refusal::CannotCreate),
        Command::Join(join) => super::enter::join(room, join, rules, now),
        Command::Resume { peer, holder, .. } if !holder.has(room.member(*peer)) => Err(Refusal::ResumeFailed),
        Command::Resume { peer, session, customer, restore, .. } => {
            super::enter::resume(room, *peer, (*session, *customer), restore.as_ref(), rules, now)
        }
        Command::Leave { peer, session } => super::depart::leave(room, *peer, *session, rules, now),
        Command::Lost { peer, session, keep } => {
            super::depart::lost(room, *peer, *session, *keep, rules, now)
        }
        Command::Signal { from, to, kind, data } => {
            room.member(*from).ok_or(Refusal::NotAMember)?;
            let to = match to {
                None => others(room, *from),
                Some(target) => targets(room, *from, target)?,
            };
            let mut decision = Decision::default();
            decision.tell(to, Event::Signal { from: *from, kind, data });
            Ok(decision)
        }
        Command::Chat(message) => {
            room.member(message.from).ok_or(Refusal::NotAMember)?;
            let mut decision = Decision::default();
            if let Some(client_id) = &message.client_id {
                let by = message.by();
                let said = room.details().said.iter().rev();
                if let Some(before) = said.into_iter().find(|it| it.client_id == *client_id && it.by == by) {
                    decision.answer = Answer::Said { id: before.id, at: before.at };
                    return Ok(decision);
                }
            }
            if message.client_id.is_some() || room.is_stored() {
                decision.changes.push(Change::Said((*message).clone()));
            }
            decision.tell(everyone(room), Event::Chat(message));
            Ok(decision)
        }
        Command::Ask { peer } => {
            room.member(*peer).ok_or(Refusal::NotAMember)?;
            Ok(Decision::default())
        }
        Command::Kick { by, target, ban } => super::moderate::kick(room, *by, *target, *ban, rules, now),
        Command::Pardon { by, user } => super::moderate::pardon(room, *by, user),
        Command::Lock { by, locked, lobby } => super::moderate::lock(room, *by, *locked, *lobby),
        Command::Admit { by, peer, admit } => super::enter::admit(room, *by, *peer, *admit, rules, now),
        Command::Invite { by, user, customer } => super::invite::invite(room, *by, user, *customer, now),
        Command::Promote { by, target, moderator } => {
            super::moderate::promote(room, *by, *target, *moderator, now)
        }
        Command::Close { by } => super::depart::close(room, *by),
        Command::Tick => Ok(super::depart::tick(room, rules, now)),
    }
}

pub(super) fn everyone(room: &Room) -> Peers {
    room.members.iter().map(|member| member.peer).collect()
}

pub(super) fn others(room: &Room, peer: PeerId) -> Peers {
    room.others(peer).map(|member| member.peer).collect()
}

/// Those who may let people in, and put them out.
pub(super) fn moderators(room: &Room) -> Peers {
    room.members.iter().filter(|member| member.rank >= Rank::Moderator).map(|member| member.peer).collect()
}

/// A peer by its id, else all peers of a user; never the sender.
fn targets(room: &Room, from: PeerId, target: &str) -> Result<Peers, Refusal> {
    if let Some(peer) = PeerId::parse(target).filter(|peer| room.others(from).any(|m| m.peer == *peer)) {
        return Ok(smallvec![peer]);
    }
    let peers: Peers =
        room.others(from).filter(|member| member.user.as_deref() == Some(target)).map(|m| m.peer).collect();
    if peers.is_empty() { Err(Refusal::NoSuchPeer) } else { Ok(peers) }
}

impl<'a> Decision<'a> {
    pub(super) fn tell(&mut self, to: Peers, event: Event<'a>) {
        if !to.is_empty() {
            self.notices.push(Notice { to, event });
        }
    }
}
