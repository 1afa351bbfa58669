//! Going: seats are given up, lost and forgotten, rooms end, and pass from hand to hand.

use std::sync::Arc;

use smallvec::smallvec;

use super::change::Change;
use super::command::By;
use super::command::Now;
use super::command::Refusal;
use super::command::Rules;
use super::decide::Decision;
use super::decide::everyone;
use super::decide::moderators;
use super::decide::others;
use super::details::Details;
use super::details::Standing;
use super::id::PeerId;
use super::notice::ClosedReason;
use super::notice::Event;
use super::notice::LeftReason;
use super::notice::Peers;
use super::room::Away;
use super::room::Kind;
use super::room::Member;
use super::room::Rank;
use super::room::Room;
use super::room::Status;

pub(super) fn leave<'a>(
    room: &Room,
    peer: PeerId,
    session: Option<u64>,
    rules: &Rules,
    now: Now,
) -> Result<Decision<'a>, Refusal> {
    let mut decision = Decision::default();
    let Some(member) = room.member(peer) else {
        return stop_waiting(room, peer, session);
    };
    if session.is_some_and(|session| session != member.session) {
        // Another connection has taken the seat over.
        return Ok(decision);
    }
    let mut gone: Peers = smallvec![peer];
    // Who leaves a channel with the last of its devices belongs to it no more. A seat that is only kept, perhaps from before the
    // page was loaded again, is no device.
    if room.kind == Kind::Channel
        && let Some(user) = &member.user
        && room.of_user(user).all(|it| it.peer == peer || it.away.is_some())
    {
        gone.extend(room.of_user(user).map(|it| it.peer).filter(|it| *it != peer));
        if room.details().standing(user).is_some_and(Standing::belongs) {
            decision.changes.push(Change::Person { user: Arc::clone(user), person: None });
        }
    }
    decision.gone(room, &gone, Gone::Quit(LeftReason::Left), rules, now);
    Ok(decision)
}

fn stop_waiting<'a>(room: &Room, peer: PeerId, session: Option<u64>) -> Result<Decision<'a>, Refusal> {
    let waiting = room.details().waiting.iter().find(|waiting| waiting.peer == peer);
    let waiting = waiting.ok_or(Refusal::NotAMember)?;
    let mut decision = Decision::default();
    if session.is_none_or(|session| session == waiting.session) {
        decision.changes.push(Change::Unwait(peer));
        decision.tell(moderators(room), Event::PeerNotWaiting { peer });
    }
    Ok(decision)
}

pub(super) fn lost<'a>(
    room: &Room,
    peer: PeerId,
    session: u64,
    keep: bool,
    rules: &Rules,
    now: Now,
) -> Result<Decision<'a>, Refusal> {
    let Some(member) = room.member(peer) else {
        return stop_waiting(room, peer, Some(session));
    };
    let mut decision = Decision::default();
    if member.session != session {
        // It has come back on another connection already.
    } else if rules.grace.is_zero() || !keep {
        // Closing the connection on purpose is leaving; but who belongs to a channel comes back to it.
        let reason = if keep { LeftReason::Lost } else { LeftReason::Disconnected };
        decision.gone(room, &[peer], Gone::Away(reason), rules, now);
    } else if member.away.is_none() {
        let away = Away { since: now.at, until: now.at + rules.grace };
        decision.changes.push(Change::Away { peer, away: Some(away) });
        decision.tell(others(room, peer), Event::PeerAway { peer });
    }
    Ok(decision)
}

pub(super) fn close<'a>(room: &Room, by: By<'_>) -> Result<Decision<'a>, Refusal> {
    super::moderate::needs(room, by, Rank::Creator)?;
    let mut decision = Decision::default();
    decision.end(room, &everyone(room), Event::RoomClosed { reason: ClosedReason::Deleted });
    Ok(decision)
}

pub(super) fn tick<'a>(room: &Room, rules: &Rules, now: Now) -> Decision<'a> {
    let mut decision = Decision::default();
    let due: Peers = room
        .members
        .iter()
        .filter(|member| member.away.is_some_and(|away| away.until <= now.at))
        .map(|member| member.peer)
        .collect();
    if !due.is_empty() {
        // Should the room be due as well, it still is after this.
        decision.gone(room, &due, Gone::Away(LeftReason::Lost), rules, now);
    } else if room.expires.is_some_and(|at| at <= now.at) {
        decision.end(room, &everyone(room), Event::RoomTimeout);
    }
    decision
}

/// How somebody goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Gone {
    /// Away from the room, to which its user may still belong.
    Away(LeftReason),
    /// For good, by leaving or by being put out.
    Quit(LeftReason),
}

impl Gone {
    fn reason(self) -> LeftReason {
        match self {
            Gone::Away(reason) | Gone::Quit(reason) => reason,
        }
    }
}

/// Whether no other peer of the same user stays.
fn is_last(room: &Room, member: &Member, stays: &[PeerId]) -> bool {
    match member.user.as_deref() {
        Some(user) => !room.of_user(user).any(|other| stays.contains(&other.peer)),
        None => true,
    }
}

impl Decision<'_> {
    /// Who has given up a seat by the changes so far.
    pub(super) fn unseated(&self) -> impl Iterator<Item = PeerId> {
        self.changes.iter().filter_map(|change| match change {
            Change::Unseat { peer, .. } => Some(*peer),
            _ => None,
        })
    }

    /// Takes a seat away and tells the rest.
    pub(super) fn unseat(&mut self, room: &Room, member: &Member, reason: LeftReason, rest: &[PeerId]) {
        self.changes.push(Change::Unseat { peer: member.peer, reason });
        let event = Event::PeerLeft {
            peer: member.peer,
            user: member.user.clone(),
            name: member.name.clone(),
            reason,
            last: is_last(room, member, rest),
        };
        self.tell(rest.into(), event);
    }

    /// These are gone for good; what that means for the room.
    pub(super) fn gone(&mut self, room: &Room, gone: &[PeerId], how: Gone, rules: &Rules, now: Now) {
        let (reason, quit) = (how.reason(), matches!(how, Gone::Quit(_)));
        let mut rest = everyone(room);
        rest.retain(|peer| !gone.contains(peer));
        let leaving = room.members.iter().filter(|member| gone.contains(&member.peer));
        for member in leaving.clone() {
            self.unseat(room, member, reason, &rest);
        }
        let creator_gone = leaving.clone().any(|it| it.rank == Rank::Creator && is_last(room, it, &rest));
        let over = match room.kind {
            // Whoever waits and reloads the page meets the seat it had: that the old one is given up ends no call.
            Kind::Call if room.status == Status::Active || rest.is_empty() => Some(match reason {
                LeftReason::Lost => ClosedReason::PeerLost,
                LeftReason::Kicked => ClosedReason::PeerKicked,
                LeftReason::Left | LeftReason::Disconnected | LeftReason::Closed => ClosedReason::PeerLeft,
            }),
            Kind::Room if rest.is_empty() => Some(ClosedReason::PeerLeft),
            // A channel's creator who is only away from it keeps it.
            _ if creator_gone && room.details().auto_delete && (quit || room.kind != Kind::Channel) => {
                Some(ClosedReason::CreatorLeft)
            }
            _ => None,
        };
        if let Some(reason) = over {
            self.end(room, &rest, Event::RoomClosed { reason });
            return;
        }
        if creator_gone {
            self.hand_over(room, gone, quit);
        }
        match room.kind {
            Kind::Call if !rules.waiting_timeout.is_zero() => {
                self.changes.push(Change::Expires(Some(now.at + rules.waiting_timeout)));
            }
            Kind::Channel if rest.is_empty() => {
                if room.details().log.is_some() {
                    self.changes.push(Change::CallOver);
                }
                self.idles(room, rules, now);
            }
            _ => {}
        }
    }

    /// A channel is empty: does anybody still belong to it, after the changes so far?
    pub(super) fn idles(&mut self, room: &Room, rules: &Rules, now: Now) {
        let stays = |user: &Arc<str>| {
            let last = self.changes.iter().rev().find_map(|change| match change {
                Change::Person { user: it, person } if it == user => Some(person.as_ref()),
                _ => None,
            });
            last.is_none_or(|person| person.is_some_and(|person| person.standing.belongs()))
        };
        let anybodys = room.details().belonging().any(|(user, _)| stays(user));
        if !anybodys && !rules.idle.is_zero() {
            self.changes.push(Change::Expires(Some(now.at + rules.idle)));
        }
    }

    /// The creator has gone: the room is somebody else's. A channel's creator who is only away from it keeps it; `quit`: it
    /// has left it for good. Whose it is now, if that is a user.
    pub(super) fn hand_over(&mut self, room: &Room, gone: &[PeerId], quit: bool) -> Option<Arc<str>> {
        let details = room.details();
        let stays = |member: &&Member| !gone.contains(&member.peer);
        if room.kind == Kind::Channel && details.creator.is_some() && !quit {
            return details.creator.clone();
        }
        // Among those who are there, who is a moderator comes first, then who has been there for longest.
        let merit = |it: &&Member| (it.away.is_some(), it.rank != Rank::Moderator, it.order);
        let heir = room.members.iter().filter(stays).min_by_key(merit);
        let user = match heir {
            Some(heir) => heir.user.clone(),
            None if room.kind == Kind::Channel => heir_elsewhere(details),
            None => None,
        };
        if details.creator != user && (details.creator.is_some() || room.kind == Kind::Channel) {
            self.changes.push(Change::Creator(user.clone()));
        }
        let Some(heir) = heir else { return user };
        let same_user = |it: &&Member| it.peer == heir.peer || (user.is_some() && it.user == user);
        let seats: Peers = room.members.iter().filter(stays).filter(same_user).map(|it| it.peer).collect();
        for &peer in &seats {
            self.changes.push(Change::Rank { peer, rank: Rank::Creator });
        }
        let rest = room.members.iter().filter(stays).map(|it| it.peer).collect();
        self.tell(rest, Event::RoomChanged { ranks: seats.clone() });
        if heir.rank < Rank::Moderator {
            self.show_waiting(room, &seats);
        }
        user
    }

    /// Those who may let people in from now on learn who waits.
    pub(super) fn show_waiting(&mut self, room: &Room, to: &[PeerId]) {
        for waiting in &room.details().waiting {
            let over = |change: &Change| matches!(change, Change::Unwait(peer) if *peer == waiting.peer);
            if !self.changes.iter().any(over) {
                let (user, name) = (waiting.user.clone(), waiting.name.clone());
                self.tell(to.into(), Event::PeerWaiting { peer: waiting.peer, user, name });
            }
        }
    }

    /// The room ends; those who are still there are told so, and those in its lobby.
    pub(super) fn end(&mut self, room: &Room, rest: &[PeerId], event: Event<'static>) {
        self.tell(rest.into(), event);
        let over =
            |it: &PeerId| self.changes.iter().any(|change| matches!(change, Change::Unwait(at) if at == it));
        let waiting = room.details().waiting.iter().map(|waiting| waiting.peer);
        let waiting: Peers = waiting.filter(|it| !over(it)).collect();
        self.changes.extend(waiting.iter().copied().map(Change::Unwait));
        self.tell(waiting, Event::Denied);
        let unseat = |&peer: &PeerId| Change::Unseat { peer, reason: LeftReason::Closed };
        self.changes.extend(rest.iter().map(unseat));
        self.changes.push(Change::Delete);
    }
}

/// Whose a channel is that nobody is in: a moderator's, else whoever has belonged to it for longest.
fn heir_elsewhere(details: &Details) -> Option<Arc<str>> {
    let others = details.belonging().filter(|(user, _)| details.creator.as_ref() != Some(user));
    let first = others.min_by_key(|(_, person)| (person.standing != Standing::Moderator, person.since));
    first.map(|(user, _)| Arc::clone(user))
}
