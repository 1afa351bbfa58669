//! The rules themselves.

use std::sync::Arc;

use smallvec::SmallVec;
use smallvec::smallvec;

use super::command::Command;
use super::command::Join;
use super::command::Now;
use super::command::Refusal;
use super::command::Rules;
use super::command::Target;
use super::id::PeerId;
use super::id::RoomId;
use super::notice::ClosedReason;
use super::notice::Event;
use super::notice::LeftReason;
use super::notice::Notice;
use super::notice::Peers;
use super::room::Away;
use super::room::Change;
use super::room::Kind;
use super::room::Member;
use super::room::Room;
use super::room::Status;

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
    },
}

/// Decides one command on the room of this name.
///
/// # Errors
/// Why it is refused. Nothing changes then.
pub fn decide<'a>(
    id: &RoomId,
    room: Option<&Room>,
    command: Command<'a>,
    rules: &Rules,
    now: Now,
) -> Result<Decision<'a>, Refusal> {
    match (command, room) {
        (Command::Create { kind, capacity, name }, None) => create(id, kind, capacity, name, rules, now),
        (Command::Create { .. }, Some(_)) => Err(Refusal::CannotCreate),
        (Command::Join(join), room) => take_seat(id, room, join, rules, now),
        (Command::Tick, None) => Ok(Decision::default()),
        (Command::Resume { .. }, None) => Err(Refusal::ResumeFailed),
        (_, None) => Err(Refusal::NoSuchRoom),
        (Command::Resume { token, session }, Some(room)) => {
            let member =
                room.members.iter().find(|m| m.token.matches(&token)).ok_or(Refusal::ResumeFailed)?;
            let mut decision = Decision {
                answer: Answer::Seated { peer: member.peer, resumed: true },
                ..Default::default()
            };
            decision.changes.push(Change::Session { peer: member.peer, session });
            // Also told where nobody knew it was gone: what was sent to its old connection last may not have arrived.
            decision.tell(others(room, member.peer), Event::PeerReconnected { peer: member.peer });
            if member.away.is_some() {
                decision.changes.push(Change::Away { peer: member.peer, away: None });
                if room.others(member.peer).any(|other| other.away.is_none()) {
                    decision.changes.push(Change::Status(Status::Active));
                }
            }
            Ok(decision)
        }
        (Command::Leave { peer, session }, Some(room)) => {
            let member = room.member(peer).ok_or(Refusal::NotAMember)?;
            let mut decision = Decision::default();
            if session.is_some_and(|session| session != member.session) {
                // Another connection has taken the seat over.
                return Ok(decision);
            }
            decision.gone(room, &[peer], LeftReason::Left, rules, now);
            Ok(decision)
        }
        (Command::Lost { peer, session }, Some(room)) => lost(room, peer, session, rules, now),
        (Command::Signal { from, to, kind, data }, Some(room)) => {
            room.member(from).ok_or(Refusal::NotAMember)?;
            let to = match to {
                None => others(room, from),
                Some(target) => targets(room, from, target)?,
            };
            let mut decision = Decision::default();
            decision.tell(to, Event::Signal { from, kind, data });
            Ok(decision)
        }
        (Command::Chat { from, text, id }, Some(room)) => {
            room.member(from).ok_or(Refusal::NotAMember)?;
            let mut decision = Decision::default();
            decision.tell(others(room, from), Event::Chat { from, text, id, at_ms: now.unix_ms });
            Ok(decision)
        }
        (Command::Ask { peer }, Some(room)) => {
            room.member(peer).ok_or(Refusal::NotAMember)?;
            Ok(Decision::default())
        }
        (Command::Kick { target, ban }, Some(room)) => kick(room, target, ban, rules, now),
        (Command::Close, Some(room)) => {
            let members = room.members.iter().map(|member| member.peer);
            let mut decision = Decision::default();
            decision.tell(members.clone().collect(), Event::RoomClosed { reason: ClosedReason::Deleted });
            decision.end(members);
            Ok(decision)
        }
        (Command::Tick, Some(room)) => Ok(tick(room, rules, now)),
    }
}

fn create<'a>(
    id: &RoomId,
    kind: Kind,
    capacity: Option<u64>,
    name: Option<Arc<str>>,
    rules: &Rules,
    now: Now,
) -> Result<Decision<'a>, Refusal> {
    let most = match kind {
        Kind::Call => 2,
        Kind::Room => rules.capacity,
    };
    let capacity = match capacity {
        None => most,
        Some(wanted) => usize::try_from(wanted)
            .ok()
            .filter(|wanted| (2..=most).contains(wanted))
            .ok_or(Refusal::CannotCreate)?,
    };
    let room = Room {
        id: id.clone(),
        kind,
        name,
        capacity,
        created_at: now.unix_ms,
        status: Status::Waiting,
        members: Vec::new(),
        // An empty room always ends, even where a call may wait for ever.
        expires: Some(now.at + if rules.waiting_timeout.is_zero() { EMPTY } else { rules.waiting_timeout }),
        joined: 0,
        banned: Vec::new(),
    };
    Ok(Decision { changes: smallvec![Change::Create(Box::new(room))], ..Default::default() })
}

/// How long a room without members is kept where `waiting_timeout` is off.
const EMPTY: std::time::Duration = std::time::Duration::from_secs(30);

fn take_seat<'a>(
    id: &RoomId,
    room: Option<&Room>,
    join: Join,
    rules: &Rules,
    now: Now,
) -> Result<Decision<'a>, Refusal> {
    let mut decision =
        Decision { answer: Answer::Seated { peer: join.peer, resumed: false }, ..Default::default() };
    let mut members = 0;
    let mut met = false;
    let mut order = 0;
    let mut kind = join.kind;
    if let Some(room) = room {
        if join.user.as_deref().is_some_and(|user| room.bans(user)) {
            return Err(Refusal::Banned);
        }
        let mut others = others(room, join.peer);
        members = room.members.len();
        met = room.members.iter().any(|member| member.away.is_none());
        order = room.joined;
        kind = room.kind;
        if members >= room.capacity {
            // Someone reloaded the page, and the old connection's seat is still kept: the seat goes to the newcomer.
            let (_, old) = room
                .members
                .iter()
                .filter_map(|member| member.away.map(|away| (away.since, member.peer)))
                .min_by_key(|(since, _)| *since)
                .ok_or(Refusal::Full)?;
            others.retain(|peer| *peer != old);
            members -= 1;
            decision.changes.push(Change::Unseat { peer: old, reason: LeftReason::Lost });
            decision.tell(others.clone(), Event::PeerLeft { peer: old, reason: LeftReason::Lost });
        }
        decision.tell(others, Event::PeerJoined { peer: join.peer });
    } else {
        decision.changes = create(id, join.kind, None, None, rules, now)?.changes;
    }
    decision.changes.push(Change::Seat(Member {
        peer: join.peer,
        user: join.user,
        name: join.name,
        token: join.token,
        session: join.session,
        order,
        away: None,
    }));
    let waits = kind == Kind::Call && members == 0 && !rules.waiting_timeout.is_zero();
    decision.changes.push(Change::Expires(waits.then(|| now.at + rules.waiting_timeout)));
    if met {
        decision.changes.push(Change::Status(Status::Active));
    }
    Ok(decision)
}

fn lost<'a>(
    room: &Room,
    peer: PeerId,
    session: u64,
    rules: &Rules,
    now: Now,
) -> Result<Decision<'a>, Refusal> {
    let member = room.member(peer).ok_or(Refusal::NotAMember)?;
    let mut decision = Decision::default();
    if member.session != session {
        // It has come back on another connection already.
    } else if rules.grace.is_zero() {
        decision.gone(room, &[peer], LeftReason::Lost, rules, now);
    } else if member.away.is_none() {
        let away = Away { since: now.at, until: now.at + rules.grace };
        decision.changes.push(Change::Away { peer, away: Some(away) });
        decision.tell(others(room, peer), Event::PeerAway { peer });
    }
    Ok(decision)
}

fn kick<'a>(
    room: &Room,
    target: Target<'_>,
    ban: bool,
    rules: &Rules,
    now: Now,
) -> Result<Decision<'a>, Refusal> {
    let user = match target {
        Target::User(user) => Some(Arc::from(user)),
        Target::Peer(peer) => room.member(peer).ok_or(Refusal::NoSuchPeer)?.user.clone(),
    };
    let all_of_user = ban || matches!(target, Target::User(_));
    let is_meant = |member: &&Member| {
        target == Target::Peer(member.peer) || (all_of_user && user.is_some() && member.user == user)
    };
    let out: Peers = room.members.iter().filter(is_meant).map(|member| member.peer).collect();
    let mut decision = Decision::default();
    if ban {
        let user = user.ok_or(Refusal::NoLabel)?;
        if !room.bans(&user) {
            if room.banned.len() >= Room::MOST_BANS {
                return Err(Refusal::TooManyBans);
            }
            decision.changes.push(Change::Ban(user));
        }
    } else if out.is_empty() {
        return Err(Refusal::NoSuchPeer);
    }
    if !out.is_empty() {
        decision.tell(out.clone(), Event::RoomClosed { reason: ClosedReason::Kicked });
        decision.gone(room, &out, LeftReason::Kicked, rules, now);
    }
    Ok(decision)
}

fn tick<'a>(room: &Room, rules: &Rules, now: Now) -> Decision<'a> {
    let mut decision = Decision::default();
    let due: Peers = room
        .members
        .iter()
        .filter(|member| member.away.is_some_and(|away| away.until <= now.at))
        .map(|member| member.peer)
        .collect();
    if !due.is_empty() {
        decision.gone(room, &due, LeftReason::Lost, rules, now);
    }
    let deleted = decision.changes.iter().any(|change| matches!(change, Change::Delete));
    if !deleted && room.expires.is_some_and(|at| at <= now.at) {
        decision.tell(room.members.iter().map(|member| member.peer).collect(), Event::RoomTimeout);
        decision.end(room.members.iter().map(|member| member.peer));
    }
    decision
}

fn others(room: &Room, peer: PeerId) -> Peers {
    room.others(peer).map(|member| member.peer).collect()
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
    fn tell(&mut self, to: Peers, event: Event<'a>) {
        if !to.is_empty() {
            self.notices.push(Notice { to, event });
        }
    }

    /// These are gone for good; what that means for the room.
    fn gone(&mut self, room: &Room, gone: &[PeerId], reason: LeftReason, rules: &Rules, now: Now) {
        let mut rest: Peers =
            room.members.iter().map(|member| member.peer).filter(|peer| !gone.contains(peer)).collect();
        for &peer in gone {
            self.changes.push(Change::Unseat { peer, reason });
            self.tell(rest.clone(), Event::PeerLeft { peer, reason });
        }
        let over = match room.kind {
            // Whoever waits and reloads the page meets the seat it had: that the old one is given up ends no call.
            Kind::Call => room.status == Status::Active || rest.is_empty(),
            Kind::Room => rest.is_empty(),
        };
        if over {
            let reason = match reason {
                LeftReason::Lost => ClosedReason::PeerLost,
                LeftReason::Kicked => ClosedReason::PeerKicked,
                LeftReason::Left | LeftReason::Closed => ClosedReason::PeerLeft,
            };
            self.tell(rest.clone(), Event::RoomClosed { reason });
            self.end(rest.drain(..));
        } else if room.kind == Kind::Call && !rules.waiting_timeout.is_zero() {
            self.changes.push(Change::Expires(Some(now.at + rules.waiting_timeout)));
        }
    }

    fn end(&mut self, members: impl Iterator<Item = PeerId>) {
        self.changes.extend(members.map(|peer| Change::Unseat { peer, reason: LeftReason::Closed }));
        self.changes.push(Change::Delete);
    }
}
