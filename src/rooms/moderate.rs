//! What some may do to others.

use std::sync::Arc;

use super::change::Change;
use super::command::By;
use super::command::Now;
use super::command::Refusal;
use super::command::Rules;
use super::command::Target;
use super::decide::Decision;
use super::decide::everyone;
use super::details::Details;
use super::details::Person;
use super::details::Standing;
use super::notice::ClosedReason;
use super::notice::Event;
use super::notice::LeftReason;
use super::notice::Peers;
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
    if ban {
        let user: Arc<str> = user.ok_or(Refusal::NoLabel)?;
        let standing = room.details().standing(&user);
        if standing != Some(Standing::Banned) {
            has_place(room, standing)?;
            let person = Person { standing: Standing::Banned, name: None, since: now.unix_ms };
            decision.changes.push(Change::Person { user, person: Some(person) });
        }
    } else if out.is_empty() {
        return Err(Refusal::NoSuchPeer);
    } else if let Some(user) = user
        && room.details().standing(&user).is_some_and(Standing::belongs)
        && room.of_user(&user).all(|member| out.contains(&member.peer))
    {
        decision.changes.push(Change::Person { user, person: None });
    }
    if !out.is_empty() {
        decision.tell(out.clone(), Event::RoomClosed { reason: ClosedReason::Kicked });
        decision.gone(room, &out, LeftReason::Kicked, rules, now);
    }
    Ok(decision)
}

fn has_place(room: &Room, standing: Option<Standing>) -> Result<(), Refusal> {
    if standing.is_none() && room.details().people.len() >= Details::MOST_PEOPLE {
        return Err(Refusal::TooManyPeople);
    }
    Ok(())
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
        decision.tell(everyone(room), Event::RoomChanged);
    }
    Ok(decision)
}

pub(super) fn invite<'a>(room: &Room, by: By<'_>, user: &str, now: Now) -> Result<Decision<'a>, Refusal> {
    let power = needs(room, by, Rank::Member)?;
    let standing = room.details().standing(user);
    let mut decision = Decision::default();
    match standing {
        // Who was put out for good comes back by those who may put out.
        Some(Standing::Banned) if power < Rank::Moderator => return Err(Refusal::Forbidden),
        None | Some(Standing::Banned) => {
            has_place(room, standing)?;
            let person = Person { standing: Standing::Invited, name: None, since: now.unix_ms };
            decision.changes.push(Change::Person { user: user.into(), person: Some(person) });
        }
        Some(_) => {}
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
    decision.changes.extend(meant.map(|member| Change::Rank { peer: member.peer, rank }));
    if let Some(user) = user
        && belongs
    {
        let standing = if moderator { Standing::Moderator } else { Standing::Member };
        let old = room.details().people.get(&user).cloned();
        let since = old.as_ref().map_or(now.unix_ms, |old| old.since);
        let person = Person { standing, name: old.and_then(|old| old.name), since };
        decision.changes.push(Change::Person { user, person: Some(person) });
    }
    decision.tell(everyone(room), Event::RoomChanged);
    Ok(decision)
}
