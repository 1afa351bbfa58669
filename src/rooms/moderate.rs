//! What some may do to others.

use std::sync::Arc;

use smallvec::smallvec;

use super::change::Change;
use super::command::By;
use super::command::Now;
use super::command::Refusal;
use super::command::Rules;
use super::command::Target;
use super::decide::Decision;
use super::decide::everyone;
use super::decide::moderators;
use super::depart::Gone;
use super::details::Person;
use super::details::Standing;
use super::notice::ClosedReason;
use super::notice::Event;
use super::notice::LeftReason;
use super::notice::Peers;
use super::room::Kind;
use super::room::Member;
use super::room::Rank;
use super::room::Room;

/// What whoever asks is in this room; `None`: nobody.
fn rank(room: &Room, by: By<'_>) -> Option<Rank> {
    let details = room.details();
    match by {
        By::Operator => Some(Rank::Creator),
        By::Peer(peer) => room.member(peer).map(|member| member.rank),
        By::User(user) if details.creator.as_deref() == Some(user) => Some(Rank::Creator),
        By::User(user) => {
            let seated = room.of_user(user).map(|member| member.rank).max();
            let known = match details.standing(user) {
                Some(Standing::Moderator) => Some(Rank::Moderator),
                Some(Standing::Member) => Some(Rank::Member),
                _ => None,
            };
            seated.max(known)
        }
    }
}

/// Only for these.
pub(super) fn needs(room: &Room, by: By<'_>, least: Rank) -> Result<Rank, Refusal> {
    match rank(room, by) {
        None => Err(Refusal::NotAMember),
        Some(rank) if rank < least => Err(Refusal::Forbidden),
        Some(rank) => Ok(rank),
    }
}

pub(super) fn kick<'a>(
    room: &Room,
    by: By<'_>,
    target: Target<'_>,
    ban: bool,
    rules: &Rules,
    now: Now,
) -> Result<Decision<'a>, Refusal> {
    let power = needs(room, by, Rank::Moderator)?;
    let user = match target {
        Target::User(user) => Some(Arc::from(user)),
        Target::Peer(peer) => room.member(peer).ok_or(Refusal::NoSuchPeer)?.user.clone(),
    };
    let all_of_user = ban || matches!(target, Target::User(_));
    let is_meant = |member: &&Member| {
        target == Target::Peer(member.peer) || (all_of_user && user.is_some() && member.user == user)
    };
    let meant = room.members.iter().filter(is_meant);
    // Moderators do not put each other out, and nobody the creator.
    let highest = meant.clone().map(|member| member.rank).max();
    let of_user = user.as_deref().and_then(|user| rank(room, By::User(user)));
    if by != By::Operator && highest.max(of_user).is_some_and(|rank| rank >= power) {
        return Err(Refusal::Forbidden);
    }
    let out: Peers = meant.map(|member| member.peer).collect();
    let mut decision = Decision::default();
    // Of whom no seat is left.
    let quits = user.as_ref().filter(|user| room.of_user(user).all(|member| out.contains(&member.peer)));
    if ban {
        decision.ban(room, user.as_ref().ok_or(Refusal::NoLabel)?, now)?;
    } else {
        let standing = quits.and_then(|user| room.details().standing(user));
        // Who is not there can be put out of a channel, too.
        if out.is_empty() && !standing.is_some_and(Standing::belongs) {
            return Err(Refusal::NoSuchPeer);
        }
        if let (Some(user), Some(Standing::Invited | Standing::Member | Standing::Moderator)) =
            (quits, standing)
        {
            decision.changes.push(Change::Person { user: Arc::clone(user), person: None });
        }
    }
    if !out.is_empty() {
        decision.tell(out.clone(), Event::RoomClosed { reason: ClosedReason::Kicked });
        decision.gone(room, &out, Gone::Quit(LeftReason::Kicked), rules, now);
        return Ok(decision);
    }
    if quits.is_some() && quits == room.details().creator.as_ref() {
        decision.hand_over(room, &[], true);
    }
    if room.members.is_empty() && room.kind == Kind::Channel {
        decision.idles(room, rules, now);
    }
    Ok(decision)
}

impl Decision<'_> {
    /// This user does not come in any more; not from the lobby, either.
    fn ban(&mut self, room: &Room, user: &Arc<str>, now: Now) -> Result<(), Refusal> {
        let details = room.details();
        let standing = details.standing(user);
        if standing == Some(Standing::Banned) {
            return Ok(());
        }
        self.make_place(room, user, 0)?;
        let name = details.people.get(user).and_then(|person| person.name.clone());
        let person = Person { standing: Standing::Banned, name, since: now.unix_ms, by: None };
        self.changes.push(Change::Person { user: Arc::clone(user), person: Some(person) });
        for waiting in details.waiting.iter().filter(|waiting| waiting.user.as_ref() == Some(user)) {
            self.changes.push(Change::Unwait(waiting.peer));
            self.tell(smallvec![waiting.peer], Event::Denied);
            self.tell(moderators(room), Event::PeerNotWaiting { peer: waiting.peer });
        }
        Ok(())
    }
}

pub(super) fn pardon<'a>(room: &Room, by: By<'_>, user: &str) -> Result<Decision<'a>, Refusal> {
    needs(room, by, Rank::Moderator)?;
    let mut decision = Decision::default();
    match room.details().standing(user) {
        Some(Standing::Banned | Standing::Invited) => {
            decision.changes.push(Change::Person { user: user.into(), person: None });
            Ok(decision)
        }
        _ => Err(Refusal::NoSuchPeer),
    }
}

pub(super) fn lock<'a>(
    room: &Room,
    by: By<'_>,
    locked: Option<bool>,
    lobby: Option<bool>,
) -> Result<Decision<'a>, Refusal> {
    needs(room, by, Rank::Moderator)?;
    let details = room.details();
    let was = (details.locked, details.lobby);
    let is = (locked.unwrap_or(was.0), lobby.unwrap_or(was.1));
    let mut decision = Decision::default();
    if is != was {
        decision.changes.push(Change::Lock { locked: is.0, lobby: is.1 });
        decision.tell(everyone(room), Event::RoomChanged { ranks: Peers::new() });
    }
    Ok(decision)
}

pub(super) fn promote<'a>(
    room: &Room,
    by: By<'_>,
    target: Target<'_>,
    moderator: bool,
    now: Now,
) -> Result<Decision<'a>, Refusal> {
    needs(room, by, Rank::Creator)?;
    let user: Option<Arc<str>> = match target {
        Target::Peer(peer) => room.member(peer).ok_or(Refusal::NoSuchPeer)?.user.clone(),
        Target::User(user) => Some(user.into()),
    };
    let is_meant =
        |member: &&Member| target == Target::Peer(member.peer) || (user.is_some() && member.user == user);
    let meant = room.members.iter().filter(is_meant);
    let standing = user.as_deref().and_then(|user| room.details().standing(user));
    let belongs = standing.is_some_and(Standing::belongs);
    if meant.clone().next().is_none() && !belongs {
        return Err(Refusal::NoSuchPeer);
    }
    if meant.clone().any(|member| member.rank == Rank::Creator)
        || user.as_deref().is_some_and(|user| room.details().creator.as_deref() == Some(user))
    {
        return Err(Refusal::Forbidden);
    }
    let rank = if moderator { Rank::Moderator } else { Rank::Member };
    let mut decision = Decision::default();
    decision.changes.extend(meant.clone().map(|member| Change::Rank { peer: member.peer, rank }));
    if let Some(user) = user.clone()
        && belongs
    {
        let standing = if moderator { Standing::Moderator } else { Standing::Member };
        let old = room.details().people.get(&user).cloned();
        let since = old.as_ref().map_or(now.unix_ms, |old| old.since);
        let person = Person { standing, name: old.and_then(|old| old.name), since, by: None };
        decision.changes.push(Change::Person { user, person: Some(person) });
    }
    let ranks = meant.clone().map(|it| it.peer).collect();
    decision.tell(everyone(room), Event::RoomChanged { ranks });
    if moderator {
        let new: Peers = meant.filter(|it| it.rank < rank).map(|it| it.peer).collect();
        decision.show_waiting(room, &new);
    }
    Ok(decision)
}
