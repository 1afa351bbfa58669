//! Who is invited, and whose invitation makes place for others: any member may invite anybody. And whose place in a channel does, where
//! one address has come in under many names.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::change::Change;
use super::command::By;
use super::command::Now;
use super::command::Refusal;
use super::decide::Decision;
use super::details::Details;
use super::details::Person;
use super::details::Source;
use super::details::Standing;
use super::moderate::needs;
use super::room::Rank;
use super::room::Room;

/// Who share what there is of invitations: all of one address, whatever they call themselves; from nowhere in particular, one user.
type Party<'a> = (u32, Option<&'a str>);

impl Source {
    fn party(&self) -> Party<'_> {
        (self.customer, if self.customer == 0 { self.user.as_deref() } else { None })
    }
}

/// The invitations that members have made.
fn invited(details: &Details) -> impl Iterator<Item = (&Arc<str>, &Person, &Source)> {
    let invited = details.people.iter().filter(|(_, person)| person.standing == Standing::Invited);
    invited.filter_map(|(user, person)| Some((user, person, person.by.as_ref()?)))
}

/// The invitation that makes place for another one: the oldest of the user, within the party, that has the most. For an invitation
/// of this inviter's (`None`: for something that matters more) only one of those who have more than itself.
fn yields<'a>(details: &'a Details, inviter: Option<&Source>) -> Option<&'a Arc<str>> {
    let mut parties = BTreeMap::new();
    let mut users = BTreeMap::new();
    for (user, person, by) in invited(details) {
        *parties.entry(by.party()).or_insert(0) += 1;
        let (count, oldest) =
            users.entry((by.party(), by.user.as_deref())).or_insert((0, (person.since, user)));
        *count += 1;
        *oldest = (*oldest).min((person.since, user));
    }
    let of = |party: &Party<'a>| parties.get(party).copied().unwrap_or(0);
    // Of the inviter's party, and its own.
    let own = inviter.map(|it| {
        let all = parties.get(&it.party()).copied().unwrap_or(0);
        (it.party(), all, users.get(&(it.party(), it.user.as_deref())).map_or(0, |(count, _)| *count))
    });
    let may = users.iter().filter(|((party, _), (count, _))| match own {
        None => true,
        Some((its, _, own)) if *party == its => *count > own,
        Some((_, all, _)) => of(party) > all,
    });
    let most = may.max_by_key(|((party, _), (count, oldest))| (of(party), *count, Reverse(*oldest)));
    most.map(|(_, (_, (_, user)))| *user)
}

/// Who belongs to a room no more where it knows as many as it can: of the address from which the most have come whom no token proves, the
/// last who came and is not here. For somebody from an address (0: from nowhere in particular, or it matters more) that has fewer,
/// after that too.
fn leaves(room: &Room, customer: u32) -> Option<&Arc<str>> {
    let details = room.details();
    let here: BTreeSet<&str> = room.members.iter().filter_map(|member| member.user.as_deref()).collect();
    let mut parties = BTreeMap::new();
    for (user, person) in &details.people {
        let Some(by) = person.by.as_ref().filter(|_| person.standing == Standing::Member) else { continue };
        let (count, last) = parties.entry(by.customer).or_insert((0, None));
        *count += 1;
        if !here.contains(&**user) && details.creator.as_ref() != Some(user) {
            *last = (*last).max(Some((person.since, user)));
        }
    }
    let own = parties.get(&customer).map_or(0, |(count, _)| *count);
    let may = parties.iter().filter(|(from, _)| **from != customer);
    let most = may.filter_map(|(_, (count, last))| last.map(|(_, user)| (*count, user))).max();
    most.filter(|(count, _)| own + 1 < *count).map(|(_, user)| user)
}

impl Decision<'_> {
    /// A place for a user that is to be known from now on, and not just invited: in a room that knows as many as it can, that of
    /// somebody who is. Any member may invite: that must not keep anybody from coming in, or from being put out. Where nobody is, that
    /// of somebody who has come in as others from there did, under many names.
    ///
    /// # Errors
    /// All who are known are more than invited, and none of those is one of too many.
    pub(super) fn make_place(&mut self, room: &Room, user: &str, customer: u32) -> Result<(), Refusal> {
        let details = room.details();
        if details.standing(user).is_some() || details.people.len() < Details::MOST_PEOPLE {
            return Ok(());
        }
        let operators = || {
            let invited = details.people.iter().filter(|(_, person)| person.standing == Standing::Invited);
            invited.min_by_key(|(_, person)| person.since).map(|(user, _)| user)
        };
        let old = yields(details, None).or_else(operators).or_else(|| leaves(room, customer));
        let old = old.ok_or(Refusal::TooManyPeople)?;
        self.changes.push(Change::Person { user: Arc::clone(old), person: None });
        Ok(())
    }
}

pub(super) fn invite<'a>(
    room: &Room,
    by: By<'_>,
    user: &str,
    customer: u32,
    now: Now,
) -> Result<Decision<'a>, Refusal> {
    let power = needs(room, by, Rank::Member)?;
    let details = room.details();
    let standing = details.standing(user);
    let mut decision = Decision::default();
    match standing {
        // Who was put out for good comes back by those who may put out.
        Some(Standing::Banned) if power < Rank::Moderator => return Err(Refusal::Forbidden),
        None | Some(Standing::Banned) => {}
        Some(_) => return Ok(decision),
    }
    let by = match by {
        By::Operator => None,
        By::Peer(peer) => Some(room.member(peer).and_then(|member| member.user.clone())),
        By::User(user) => Some(Some(user.into())),
    };
    let by = by.map(|user| Source { user, customer });
    let full = standing.is_none() && details.people.len() >= Details::MOST_PEOPLE;
    if full || (by.is_some() && invited(details).count() >= Details::MOST_INVITED) {
        let old = yields(details, by.as_ref()).ok_or(Refusal::TooManyPeople)?;
        decision.changes.push(Change::Person { user: Arc::clone(old), person: None });
    }
    let person = Person { standing: Standing::Invited, name: None, since: now.unix_ms, by };
    decision.changes.push(Change::Person { user: user.into(), person: Some(person) });
    Ok(decision)
}
