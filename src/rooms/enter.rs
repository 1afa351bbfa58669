//! Coming in: rooms are made, seats taken, taken again, or waited for.

use std::cmp::Reverse;
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
use super::details::Source;
use super::details::Standing;
use super::details::Waiting;
use super::id::PeerId;
use super::id::RoomId;
use super::notice::Event;
use super::notice::LeftReason;
use super::notice::Peers;
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
        Some(wanted) if kind != Kind::Call => usize::try_from(wanted).unwrap_or(most).min(most),
        _ => most,
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
        let person = Person {
            standing: Standing::Moderator,
            name: creator.name.clone(),
            since: now.unix_ms,
            by: None,
        };
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
    decision.seat(&room, member(join.peer, (join.session, join.customer), &who, 0, now.unix_ms), rules, now);
    decision.changes.insert(0, Change::Create(Box::new(room)));
    decision.answer = Answer::Seated { peer: join.peer, resumed: false, restored: false };
    Ok(decision)
}

fn implicit(id: &RoomId, kind: Kind, listed: bool, maker: u64, rules: &Rules, now: Now) -> Room {
    let mut room = new(id, kind, most(kind, rules), maker, rules, now);
    room.details = listed.then(|| Box::new(Details { listed, ..Details::default() }));
    room
}

/// Which connection, and from where (`Member::customer`).
type Whence = (u64, u32);

fn member(peer: PeerId, (session, customer): Whence, who: &Who, order: u64, joined_at: u64) -> Member {
    Member {
        peer,
        user: who.user.clone(),
        name: who.name.clone(),
        session,
        order,
        joined_at,
        customer,
        rank: who.rank,
        replaced: false,
        away: None,
    }
}

/// What somebody is to a room, by who it is.
fn rank(room: &Room, who: &Who) -> Rank {
    // A token makes nobody the creator of what others made.
    let least = who.rank.min(Rank::Moderator);
    let Some(user) = who.user.as_deref() else { return least };
    let details = room.details();
    let is_creator = match details.creator.as_deref() {
        Some(creator) => creator == user,
        // Other peers of a creator without a record are the same user.
        None => room.of_user(user).any(|member| member.rank == Rank::Creator),
    };
    if is_creator {
        Rank::Creator
    } else if details.standing(user) == Some(Standing::Moderator)
        || room.of_user(user).any(|member| member.rank == Rank::Moderator)
    {
        Rank::Moderator
    } else {
        least
    }
}

/// A room that is no user's, without anybody in it: whose it is by coming in. A channel belongs to those who made it, or to
/// nobody.
fn is_vacant(room: &Room) -> bool {
    room.details().creator.is_none() && room.members.is_empty() && room.kind != Kind::Channel
}

pub(super) fn join<'a>(room: &Room, join: &Join, rules: &Rules, now: Now) -> Result<Decision<'a>, Refusal> {
    let details = room.details();
    let standing = join.who.user.as_deref().and_then(|user| details.standing(user));
    if standing == Some(Standing::Banned) && join.who.rank < Rank::Moderator {
        return Err(Refusal::Banned);
    }
    // Who made it without saying who it is comes in first, whatever the rules for others.
    let makers = details.creator.is_none() && room.joined == 0 && room.maker != 0 && room.maker == join.maker;
    let recorded = rank(room, &join.who);
    let known = recorded >= Rank::Moderator || standing.is_some();
    let belongs = recorded >= Rank::Moderator || standing.is_some_and(Standing::belongs);
    if details.locked && !belongs {
        return Err(Refusal::Locked);
    }
    match &details.password {
        _ if known => {}
        Some(hash) if join.password.as_ref() != Some(hash) => return Err(Refusal::PasswordRequired),
        None if details.private && !makers => return Err(Refusal::Private),
        _ => {}
    }
    let rank = if makers { Rank::Creator } else { recorded };
    let who = Who { rank, ..join.who.clone() };
    if details.lobby && !known && !makers {
        let mut decision = Decision { answer: Answer::Waits { peer: join.peer }, ..Default::default() };
        if details.waiting.len() >= Details::MOST_WAITING {
            let old = yields(&details.waiting, join.customer).ok_or(Refusal::LobbyFull)?;
            decision.changes.push(Change::Unwait(old));
            decision.tell(smallvec![old], Event::Denied);
            decision.tell(moderators(room), Event::PeerNotWaiting { peer: old });
        }
        let waiting = Waiting {
            peer: join.peer,
            user: who.user.clone(),
            name: who.name.clone(),
            session: join.session,
            customer: join.customer,
        };
        let event = Event::PeerWaiting { peer: join.peer, user: who.user, name: who.name };
        decision.tell(moderators(room), event);
        decision.changes.push(Change::Wait(waiting));
        return Ok(decision);
    }
    let mut decision = Decision {
        answer: Answer::Seated { peer: join.peer, resumed: false, restored: false },
        ..Default::default()
    };
    let who = decision.make_room(room, who, join.customer)?;
    let whence = (join.session, join.customer);
    decision.seat(room, member(join.peer, whence, &who, room.joined, now.unix_ms), rules, now);
    let from = if join.proven { 0 } else { join.customer };
    decision.belong(room, &who, from, now)?;
    Ok(decision)
}

/// Who makes place in a full lobby for somebody from there: of the customer that has the most waiting, the oldest of who has the most
/// of those. The newcomer's must have fewer, after that too: a lobby full of others is full. From nowhere in particular (behind
/// a reverse proxy) anybody may come: they make no place.
fn yields(waiting: &[Waiting], customer: u32) -> Option<PeerId> {
    let from = |customer: u32| waiting.iter().filter(|it| it.customer == customer).count();
    let own = from(customer);
    let may = waiting.iter().enumerate().filter(|(_, it)| it.customer != 0 && it.customer != customer);
    let most = may.max_by_key(|(at, it)| {
        let same = waiting.iter().filter(|other| (other.customer, &other.user) == (it.customer, &it.user));
        (from(it.customer), same.count(), Reverse(*at))
    });
    most.map(|(_, it)| it).filter(|it| own + 1 < from(it.customer)).map(|it| it.peer)
}

pub(super) fn resume<'a>(
    room: &Room,
    peer: PeerId,
    (session, customer): Whence,
    restore: Option<&Restore>,
    rules: &Rules,
    now: Now,
) -> Result<Decision<'a>, Refusal> {
    let Some(member) = room.member(peer) else {
        let restore = restore.ok_or(Refusal::ResumeFailed)?;
        return restore_into(room, peer, (session, customer), restore, rules, now);
    };
    let mut decision =
        Decision { answer: Answer::Seated { peer, resumed: true, restored: false }, ..Default::default() };
    decision.changes.push(Change::Session { peer, session, customer });
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
    whence: Whence,
    restore: &Restore,
    rules: &Rules,
    now: Now,
) -> Result<Decision<'a>, Refusal> {
    if restore.kind == Kind::Channel || restore.stored {
        // It was on disk, and is no more: it has been ended, with all its rules.
        return Err(Refusal::ResumeFailed);
    }
    let mut room = implicit(id, restore.kind, restore.listed, 0, rules, now);
    room.joined = restore.order;
    // It was there already then, as far as is known.
    room.created_at = restore.joined_at.min(now.unix_ms);
    let mut decision =
        Decision { answer: Answer::Seated { peer, resumed: true, restored: true }, ..Default::default() };
    // Somebody's it must be; should the one come back whose it was, it takes it again (`restore_into`).
    let who = Who { rank: Rank::Creator, ..restore.who.clone() };
    decision.seat(&room, member(peer, whence, &who, restore.order, restore.joined_at), rules, now);
    decision.changes.insert(0, Change::Create(Box::new(room)));
    Ok(decision)
}

fn restore_into<'a>(
    room: &Room,
    peer: PeerId,
    whence: Whence,
    restore: &Restore,
    rules: &Rules,
    now: Now,
) -> Result<Decision<'a>, Refusal> {
    let details = room.details();
    let standing = restore.who.user.as_deref().and_then(|user| details.standing(user));
    if standing == Some(Standing::Banned) {
        return Err(Refusal::Banned);
    }
    // Who has left a channel, or was put out of it, belongs to it no more: what it was is on disk.
    let quit =
        room.kind == Kind::Channel && restore.who.user.is_some() && !standing.is_some_and(Standing::belongs);
    // A token does not say whether its bearer has left since, or was put out: where a door is kept, it knocks anew.
    let is_creator = restore.who.user.is_some() && details.creator == restore.who.user;
    let kept_door = details.private || details.locked || details.lobby || details.password.is_some();
    let stranger = kept_door && !is_creator && !standing.is_some_and(Standing::belongs);
    if quit || stranger || room.members.len() >= room.capacity {
        return Err(Refusal::ResumeFailed);
    }
    let mut who = Who { rank: rank(room, &restore.who), ..restore.who.clone() };
    let mut decision =
        Decision { answer: Answer::Seated { peer, resumed: true, restored: true }, ..Default::default() };
    let says_so = restore.who.rank == Rank::Creator && who.rank != Rank::Creator;
    if is_vacant(room) || (says_so && decision.take_back(room, restore)) {
        who.rank = Rank::Creator;
    }
    // Who has joined meanwhile may have its place in the order.
    let taken = room.members.iter().any(|member| member.order == restore.order);
    let order = if taken { room.joined } else { restore.order };
    decision.seat(room, member(peer, whence, &who, order, restore.joined_at), rules, now);
    // They have met before the start.
    let mut joined: Vec<u64> = room.members.iter().map(|member| member.joined_at).collect();
    joined.push(restore.joined_at);
    joined.sort_unstable();
    for change in &mut decision.changes {
        if let Change::Status(Status::Active, at) = change {
            *at = joined.get(1).map_or(*at, |met| (*met).min(*at));
        }
    }
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
        let whence = (waiting.session, waiting.customer);
        let who = decision.make_room(room, Who { rank: rank(room, &who), ..who }, waiting.customer)?;
        decision.seat(room, member(peer, whence, &who, room.joined, now.unix_ms), rules, now);
        // On a moderator's word.
        decision.belong(room, &who, 0, now)?;
        decision.notices.insert(0, super::notice::Notice { to: smallvec![peer], event: Event::Admitted });
    } else {
        decision.tell(smallvec![peer], Event::Denied);
    }
    let gone: Peers = decision.unseated().collect();
    let mut rulers = moderators(room);
    rulers.retain(|peer| !gone.contains(peer));
    decision.tell(rulers, Event::PeerNotWaiting { peer });
    Ok(decision)
}

impl Decision<'_> {
    /// In a full room, takes a seat that is only kept: someone reloaded the page. It must be the newcomer's own from before, or one
    /// that its own has no need of, having come in anew. The newcomer, with what it is then.
    fn make_room(&mut self, room: &Room, newcomer: Who, customer: u32) -> Result<Who, Refusal> {
        let creator = Who { rank: Rank::Creator, ..newcomer.clone() };
        let own = |member: &Member| member.is_same(newcomer.user.as_deref(), customer);
        let away = || room.members.iter().filter(|member| member.away.is_some());
        let since = |member: &Member| member.away.map(|away| away.since);
        if room.members.len() < room.capacity {
            // One for one: the others may be other devices of the user's, or other people of the same address.
            let spare = away().filter(|member| own(member) && !member.replaced);
            let spare = spare.min_by_key(|member| since(member));
            self.changes.extend(spare.map(|member| Change::Replaced(member.peer)));
            return Ok(if is_vacant(room) { creator } else { newcomer });
        }
        // Where the room would end with its creator, only the creator's user takes that seat.
        let ends = |member: &Member| room.details().auto_delete && member.rank == Rank::Creator;
        let its = |member: &Member| member.user.is_some() && own(member);
        let kept = away().filter(|member| (own(member) || member.replaced) && (its(member) || !ends(member)));
        let old =
            kept.min_by_key(|member| (!own(member), !member.replaced, since(member))).ok_or(Refusal::Full)?;
        self.unseat(room, old, LeftReason::Lost, &others(room, old.peer));
        let orphaned = old.rank == Rank::Creator
            && newcomer.rank != Rank::Creator
            && !room.others(old.peer).any(|other| other.rank == Rank::Creator);
        if !orphaned {
            return Ok(newcomer);
        }
        if room.members.len() > 1 || room.kind == Kind::Channel {
            // Those who are there come first.
            let heir = self.hand_over(room, &[old.peer], false);
            return Ok(if heir.is_some() && heir == newcomer.user { creator } else { newcomer });
        }
        // It was nobody's in particular: a user's own seat goes to that user alone.
        Ok(creator)
    }

    /// After a restart the first who is back is the creator, for somebody must be. Whose the room was takes it again: who was
    /// there earlier, where two say so.
    fn take_back(&mut self, room: &Room, restore: &Restore) -> bool {
        let creators = || room.members.iter().filter(|member| member.rank == Rank::Creator);
        let recorded = room.details().creator.is_some() || room.kind == Kind::Channel;
        if recorded || creators().any(|member| member.order <= restore.order) {
            return false;
        }
        let mut ranks: Peers = creators().map(|it| it.peer).collect();
        self.changes.extend(creators().map(|it| Change::Rank { peer: it.peer, rank: Rank::Moderator }));
        let user = &restore.who.user;
        let own = room.members.iter().filter(|member| user.is_some() && member.user == *user);
        ranks.extend(own.clone().map(|it| it.peer));
        self.changes.extend(own.map(|it| Change::Rank { peer: it.peer, rank: Rank::Creator }));
        self.tell(everyone(room), Event::RoomChanged { ranks });
        true
    }

    /// Seats somebody and tells the others, as the room is after the changes so far.
    fn seat(&mut self, room: &Room, member: Member, rules: &Rules, now: Now) {
        let gone: Vec<PeerId> = self.unseated().collect();
        let mut there = everyone(room);
        there.retain(|peer| !gone.contains(peer));
        let waits = room.kind == Kind::Call && there.is_empty() && !rules.waiting_timeout.is_zero();
        let met = room.members.iter().any(|other| other.away.is_none() && !gone.contains(&other.peer));
        self.tell(there, Event::PeerJoined { peer: member.peer });
        if member.rank >= Rank::Moderator {
            self.show_waiting(room, &[member.peer]);
        }
        self.changes.push(Change::Seat(member));
        self.changes.push(Change::Expires(waits.then(|| now.at + rules.waiting_timeout)));
        if met {
            self.changes.push(Change::Status(Status::Active, now.unix_ms));
        }
    }

    /// A channel's newcomer belongs to it from now on; elsewhere, who was invited does. `from`: from where it comes, if nobody knows it but
    /// by that.
    fn belong(&mut self, room: &Room, who: &Who, from: u32, now: Now) -> Result<(), Refusal> {
        let Some(user) = &who.user else { return Ok(()) };
        let details = room.details();
        let person = match (room.kind, details.standing(user)) {
            (Kind::Channel, None) | (_, Some(Standing::Invited)) => {
                self.make_place(room, user, from)?;
                let by = (from != 0).then_some(Source { user: None, customer: from });
                Person { standing: Standing::Member, name: who.name.clone(), since: now.unix_ms, by }
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
