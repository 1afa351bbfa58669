//! Coming in: rooms are made, seats taken, taken again, or waited for.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use smallvec::smallvec;

use super::change::Change;
use super::command::By;
use super::command::Join;
use super::command::Now;
use super::command::Options;
use super::command::Refusal;
use super::command::Restore;
use super::command::Rules;
use super::command::Who;
use super::decide::Answer;
use super::decide::Decision;
use super::decide::everyone;
use super::decide::moderators;
use super::decide::others;
use super::details::Details;
use super::details::Person;
use super::details::Standing;
use super::details::Waiting;
use super::id::PeerId;
use super::id::RoomId;
use super::notice::Event;
use super::notice::LeftReason;
use super::room::Kind;
use super::room::Member;
use super::room::Rank;
use super::room::Room;
use super::room::Status;

/// How long a room without members is kept where `waiting_timeout` is off.
const EMPTY: Duration = Duration::from_secs(30);

/// How many may be in a room of this kind.
fn most(kind: Kind, rules: &Rules) -> usize {
    match kind {
        Kind::Call => 2,
        Kind::Room => rules.capacity,
        Kind::Channel => rules.channel_capacity,
    }
}

fn new(id: &RoomId, kind: Kind, capacity: usize, maker: u64, rules: &Rules, now: Now) -> Room {
    let expires = match kind {
        Kind::Channel => (!rules.idle.is_zero()).then(|| now.at + rules.idle),
        // An empty room always ends, even where a call may wait for ever.
        _ if rules.waiting_timeout.is_zero() => Some(now.at + EMPTY),
        _ => Some(now.at + rules.waiting_timeout),
    };
    Room {
        id: id.clone(),
        kind,
        capacity,
        created_at: now.unix_ms,
        status: Status::Waiting,
        members: Vec::new(),
        expires,
        joined: 0,
        maker,
        details: None,
    }
}

pub(super) fn create<'a>(
    id: &RoomId,
    kind: Kind,
    options: &Options,
    creator: &Who,
    maker: u64,
    rules: &Rules,
    now: Now,
) -> Result<Decision<'a>, Refusal> {
    let most = most(kind, rules);
    let capacity = match options.capacity {
        Some(0) => return Err(Refusal::CannotCreate),
        Some(wanted) => usize::try_from(wanted).unwrap_or(most).min(most),
        None => most,
    };
    let mut room = new(id, kind, capacity, maker, rules, now);
    let mut details = Details {
        name: options.name.clone(),
        description: options.description.clone(),
        media: options.media,
        creator: creator.user.clone(),
        private: options.private,
        listed: options.listed && !options.private,
        lobby: options.lobby,
        auto_delete: options.auto_delete,
        stored: true,
        password: options.password.clone(),
        ..Details::default()
    };
    if kind == Kind::Channel
        && let Some(user) = creator.user.as_ref().filter(|user| !user.is_empty())
    {
        let person = Person { standing: Standing::Moderator, name: creator.name.clone(), since: now.unix_ms };
        details.people.insert(user.clone(), person);
        room.expires = None;
    }
    room.details = Some(Box::new(details));
    Ok(Decision { changes: smallvec![Change::Create(Box::new(room))], ..Default::default() })
}

/// The first comes to a room that is not there.
pub(super) fn first<'a>(id: &RoomId, join: &Join, rules: &Rules, now: Now) -> Result<Decision<'a>, Refusal> {
    let absent = join.absent.ok_or(Refusal::NoSuchRoom)?;
    let room = implicit(id, absent.kind, absent.listed, join.maker, rules, now);
    let mut decision = Decision::default();
    // It is whoever's came first.
    let who = Who { rank: Rank::Creator, ..join.who.clone() };
    decision.seat(&room, member(join.peer, join.session, &who, 0, now.unix_ms), rules, now);
    decision.changes.insert(0, Change::Create(Box::new(room)));
    decision.answer = Answer::Seated { peer: join.peer, resumed: false, restored: false };
    Ok(decision)
}

fn implicit(id: &RoomId, kind: Kind, listed: bool, maker: u64, rules: &Rules, now: Now) -> Room {
    let mut room = new(id, kind, most(kind, rules), maker, rules, now);
    room.details = listed.then(|| Box::new(Details { listed, ..Details::default() }));
    room
}

fn member(peer: PeerId, session: u64, who: &Who, order: u64, joined_at: u64) -> Member {
    Member {
        peer,
        user: who.user.clone(),
        name: who.name.clone(),
        session,
        order,
        joined_at,
        rank: who.rank,
        away: None,
    }
}

/// What somebody is in a room, by who it is.
fn rank(room: &Room, who: &Who) -> Rank {
    let details = room.details();
    let Some(user) = who.user.as_deref() else {
        // A room made by nobody's account is its first peer's.
        let vacant = details.creator.is_none() && room.members.is_empty() && room.kind != Kind::Channel;
        return if vacant { Rank::Creator } else { who.rank };
    };
    let is_creator = match details.creator.as_deref() {
        Some(creator) => creator == user,
        // Other peers of a creator without a record are the same user; an empty room is anybody's.
        None => {
            let empty = room.members.is_empty() && room.kind != Kind::Channel;
            empty || room.of_user(user).any(|member| member.rank == Rank::Creator)
        }
    };
    if is_creator {
        Rank::Creator
    } else if details.standing(user) == Some(Standing::Moderator)
        || room.of_user(user).any(|member| member.rank == Rank::Moderator)
    {
        who.rank.max(Rank::Moderator)
    } else {
        who.rank
    }
}

pub(super) fn join<'a>(room: &Room, join: &Join, rules: &Rules, now: Now) -> Result<Decision<'a>, Refusal> {
    let details = room.details();
    let standing = join.who.user.as_deref().and_then(|user| details.standing(user));
    let rank = rank(room, &join.who);
    if standing == Some(Standing::Banned) && rank < Rank::Moderator {
        return Err(Refusal::Banned);
    }
    let known = rank >= Rank::Moderator || standing.is_some();
    let belongs = rank >= Rank::Moderator || standing.is_some_and(Standing::belongs);
    if details.locked && !belongs {
        return Err(Refusal::Locked);
    }
    if !known {
        match &details.password {
            Some(hash) if join.password.as_ref() != Some(hash) => return Err(Refusal::PasswordRequired),
            None if details.private => return Err(Refusal::Private),
            _ => {}
        }
    }
    let who = Who { rank, ..join.who.clone() };
    if details.lobby && !known {
        if details.waiting.len() >= Details::MOST_WAITING {
            return Err(Refusal::LobbyFull);
        }
        let waiting = Waiting {
            peer: join.peer,
            user: who.user.clone(),
            name: who.name.clone(),
            session: join.session,
        };
        let event = Event::PeerWaiting { peer: join.peer, user: who.user, name: who.name };
        let mut decision = Decision { answer: Answer::Waits { peer: join.peer }, ..Default::default() };
        decision.tell(moderators(room), event);
        decision.changes.push(Change::Wait(waiting));
        return Ok(decision);
    }
    let mut decision = Decision {
        answer: Answer::Seated { peer: join.peer, resumed: false, restored: false },
        ..Default::default()
    };
    decision.make_room(room, &who)?;
    decision.seat(room, member(join.peer, join.session, &who, room.joined, now.unix_ms), rules, now);
    decision.belong(room, &who, now)?;
    Ok(decision)
}

pub(super) fn resume<'a>(
    room: &Room,
    peer: PeerId,
    session: u64,
    restore: Option<&Restore>,
    rules: &Rules,
    now: Now,
) -> Result<Decision<'a>, Refusal> {
    let Some(member) = room.member(peer) else {
        let restore = restore.ok_or(Refusal::ResumeFailed)?;
        return restore_into(room, peer, session, restore, rules, now);
    };
    let mut decision =
        Decision { answer: Answer::Seated { peer, resumed: true, restored: false }, ..Default::default() };
    decision.changes.push(Change::Session { peer, session });
    // Also told where nobody knew it was gone: what was sent to its old connection last may not have arrived.
    decision.tell(others(room, peer), Event::PeerReconnected { peer });
    if member.away.is_some() {
        decision.changes.push(Change::Away { peer, away: None });
        if room.others(peer).any(|other| other.away.is_none()) {
            decision.changes.push(Change::Status(Status::Active, now.unix_ms));
        }
    }
    Ok(decision)
}

/// A seat of before the start, in a room of before it that nobody has come back to yet.
pub(super) fn restore_first<'a>(
    id: &RoomId,
    peer: PeerId,
    session: u64,
    restore: &Restore,
    rules: &Rules,
    now: Now,
) -> Result<Decision<'a>, Refusal> {
    if restore.kind == Kind::Channel {
        // Channels are on disk: this one has been ended.
        return Err(Refusal::ResumeFailed);
    }
    let mut room = implicit(id, restore.kind, restore.listed, 0, rules, now);
    room.joined = restore.order;
    let mut decision =
        Decision { answer: Answer::Seated { peer, resumed: true, restored: true }, ..Default::default() };
    decision.seat(&room, member(peer, session, &restore.who, restore.order, restore.joined_at), rules, now);
    decision.changes.insert(0, Change::Create(Box::new(room)));
    Ok(decision)
}

fn restore_into<'a>(
    room: &Room,
    peer: PeerId,
    session: u64,
    restore: &Restore,
    rules: &Rules,
    now: Now,
) -> Result<Decision<'a>, Refusal> {
    let details = room.details();
    let standing = restore.who.user.as_deref().and_then(|user| details.standing(user));
    if standing == Some(Standing::Banned) {
        return Err(Refusal::Banned);
    }
    if room.members.len() >= room.capacity {
        return Err(Refusal::ResumeFailed);
    }
    let mut who = restore.who.clone();
    if who.rank == Rank::Creator && room.members.iter().any(|member| member.rank == Rank::Creator) {
        who.rank = Rank::Moderator;
    }
    who.rank = who.rank.max(rank(room, &who));
    let mut decision =
        Decision { answer: Answer::Seated { peer, resumed: true, restored: true }, ..Default::default() };
    decision.seat(room, member(peer, session, &who, restore.order, restore.joined_at), rules, now);
    // To the others it never was away: they came back first.
    for notice in &mut decision.notices {
        if let Event::PeerJoined { peer } = notice.event {
            notice.event = Event::PeerReconnected { peer };
        }
    }
    Ok(decision)
}

pub(super) fn admit<'a>(
    room: &Room,
    by: By<'_>,
    peer: PeerId,
    admit: bool,
    rules: &Rules,
    now: Now,
) -> Result<Decision<'a>, Refusal> {
    super::moderate::needs(room, by, Rank::Moderator)?;
    let waiting = room.details().waiting.iter().find(|waiting| waiting.peer == peer);
    let waiting = waiting.ok_or(Refusal::NoSuchPeer)?;
    let mut decision = Decision::default();
    decision.changes.push(Change::Unwait(peer));
    if admit {
        let who = Who { user: waiting.user.clone(), name: waiting.name.clone(), rank: Rank::Member };
        let who = Who { rank: rank(room, &who), ..who };
        decision.make_room(room, &who)?;
        decision.seat(room, member(peer, waiting.session, &who, room.joined, now.unix_ms), rules, now);
        decision.belong(room, &who, now)?;
        decision.notices.insert(0, super::notice::Notice { to: smallvec![peer], event: Event::Admitted });
    } else {
        decision.tell(smallvec![peer], Event::Denied);
    }
    decision.tell(moderators(room), Event::PeerNotWaiting { peer });
    Ok(decision)
}

impl Decision<'_> {
    /// In a full room, takes the seat of whoever has been away for the longest: someone reloaded the page, and the old
    /// connection's seat is still kept.
    fn make_room(&mut self, room: &Room, newcomer: &Who) -> Result<(), Refusal> {
        if room.members.len() < room.capacity {
            return Ok(());
        }
        let away = room.members.iter().filter_map(|member| member.away.map(|away| (away.since, member)));
        let (_, old) = away.min_by_key(|(since, _)| *since).ok_or(Refusal::Full)?;
        self.unseat(room, old, LeftReason::Lost, &others(room, old.peer));
        // Whoever takes the place of the creator's last seat is not its heir, unless it is the same user.
        let others = room.others(old.peer).any(|other| other.rank == Rank::Creator);
        if old.rank == Rank::Creator && newcomer.rank != Rank::Creator && !others {
            self.hand_over(room, &[old.peer], false);
        }
        Ok(())
    }

    /// Seats somebody and tells the others, as the room is after the changes so far.
    fn seat(&mut self, room: &Room, member: Member, rules: &Rules, now: Now) {
        let gone: Vec<PeerId> = self.unseated().collect();
        let mut there = everyone(room);
        there.retain(|peer| !gone.contains(peer));
        let waits = room.kind == Kind::Call && there.is_empty() && !rules.waiting_timeout.is_zero();
        let met = room.members.iter().any(|other| other.away.is_none() && !gone.contains(&other.peer));
        self.tell(there, Event::PeerJoined { peer: member.peer });
        self.changes.push(Change::Seat(member));
        self.changes.push(Change::Expires(waits.then(|| now.at + rules.waiting_timeout)));
        if met {
            self.changes.push(Change::Status(Status::Active, now.unix_ms));
        }
    }

    /// A channel's newcomer belongs to it from now on; who was invited elsewhere has used the invitation.
    fn belong(&mut self, room: &Room, who: &Who, now: Now) -> Result<(), Refusal> {
        let Some(user) = &who.user else { return Ok(()) };
        let details = room.details();
        let person = match (room.kind, details.standing(user)) {
            (Kind::Channel, None | Some(Standing::Invited)) => {
                if details.standing(user).is_none() && details.people.len() >= Details::MOST_PEOPLE {
                    return Err(Refusal::TooManyPeople);
                }
                Person { standing: Standing::Member, name: who.name.clone(), since: now.unix_ms }
            }
            _ => return Ok(()),
        };
        self.changes.push(Change::Person { user: Arc::clone(user), person: Some(person) });
        Ok(())
    }
}

/// When a room that was kept over a restart ends if nobody comes: its members need time to come back.
#[must_use]
pub fn expires_when_loaded(room: &Room, rules: &Rules, now: Instant) -> Option<Instant> {
    const LEAST: Duration = Duration::from_secs(60);
    match room.kind {
        Kind::Channel if room.details().belonging().next().is_some() || rules.idle.is_zero() => None,
        Kind::Channel => Some(now + rules.idle),
        Kind::Call | Kind::Room => Some(now + rules.waiting_timeout.max(rules.grace).max(LEAST)),
    }
}
