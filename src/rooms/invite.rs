//! Who is invited, and whose invitation makes place for others: any member may invite anybody.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::change::Change;
use super::command::By;
use super::command::Now;
use super::command::Refusal;
use super::decide::Decision;
use super::details::Details;
use super::details::Inviter;
use super::details::Person;
use super::details::Standing;
use super::moderate::needs;
use super::room::Rank;
use super::room::Room;

/// Who share what there is of invitations: all of one address, whatever they call themselves; from nowhere in particular, one user.
type Party<'a> = (u32, Option<&'a str>);

impl Inviter {
    fn party(&self) -> Party<'_> {
        (self.customer, if self.customer == 0 { self.user.as_deref() } else { None })
    }
}

/// The invitations that members have made.
fn invited(details: &Details) -> impl Iterator<Item = (&Arc<str>, &Person, &Inviter)> {
    let invited = details.people.iter().filter(|(_, person)| person.standing == Standing::Invited);
    invited.filter_map(|(user, person)| Some((user, person, person.by.as_ref()?)))
}

/// The invitation that makes place for another one: the oldest of the user, within the party, that has the most. For an invitation
/// of this inviter's (`None`: for something that matters more) only one of those who have more than itself.
fn yields<'a>(details: &'a Details, inviter: Option<&Inviter>) -> Option<&'a Arc<str>> {
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

impl Decision<'_> {
    /// A place for a user that is to be known from now on, and not just invited: in a room that knows as many as it can, that of
    /// somebody who is. Any member may invite: that must not keep anybody from coming in, or from being put out.
    ///
    /// # Errors
    /// All who are known are more than invited.
    pub(super) fn make_place(&mut self, details: &Details, user: &str) -> Result<(), Refusal> {
        if details.standing(user).is_some() || details.people.len() < Details::MOST_PEOPLE {
            return Ok(());
        }
        let operators = || {
            let invited = details.people.iter().filter(|(_, person)| person.standing == Standing::Invited);
            invited.min_by_key(|(_, person)| person.since).map(|(user, _)| user)
        };
        let old = yields(details, None).or_else(operators).ok_or(Refusal::TooManyPeople)?;
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
    let by = by.map(|user| Inviter { user, customer });
    let full = standing.is_none() && details.people.len() >= Details::MOST_PEOPLE;
    if full || (by.is_some() && invited(details).count() >= Details::MOST_INVITED) {
        let old = yields(details, by.as_ref()).ok_or(Refusal::TooManyPeople)?;
        decision.changes.push(Change::Person { user: Arc::clone(old), person: None });
    }
    let person = Person { standing: Standing::Invited, name: None, since: now.unix_ms, by };
    decision.changes.push(Change::Person { user: user.into(), person: Some(person) });
    Ok(decision)
}
