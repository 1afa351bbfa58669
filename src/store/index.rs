//! Which rooms know a user, which are in the directory, and on whose account they are; and how many of each there may be.
//!
//! What is made or given counts from the moment that it is decided: while it is written, others are decided.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use super::Place;
use super::live::Limits;
use crate::rooms::By;
use crate::rooms::Change;
use crate::rooms::Command;
use crate::rooms::Person;
use crate::rooms::Refusal;
use crate::rooms::Room;
use crate::rooms::RoomId;
use crate::rooms::Standing;

/// How many accounts one that is shared is worth.
const SHARED: u32 = 20;

/// The most invitations that a user has at a time: anybody may invite anybody. The operator's and back ends' come on top. When
/// there are as many, one more by a party that has fewer of them than others takes the place of the oldest of the party that has
/// the most: many accounts together do not keep a user from being invited.
pub(super) const MOST_INVITATIONS: usize = 512;
/// The most of them into rooms of one account: nobody fills up all of a user's places.
pub(super) const MOST_INVITATIONS_OF_ONE: usize = 32;
/// The same into rooms that are on nobody's account.
const MOST_INVITATIONS_OF_NOBODY: usize = 64;
/// The most invitations from one address at a time, whomever they are for: users that nobody has ever seen can be invited, too, and a
/// room that is its maker's does not end by itself.
pub(super) const MOST_INVITATIONS_FROM_ONE: u32 = 10_240;

/// What rooms are found by, beside their names. Taken with a room locked, and takes no lock of a room's.
#[derive(Default)]
pub(super) struct Index {
    users: Mutex<Users>,
    listed: Mutex<BTreeSet<(Reverse<u64>, RoomId)>>,
    makers: Mutex<Makers>,
    /// How many invitations there were.
    invitations: AtomicU64,
}

#[derive(Default)]
struct Users {
    of: HashMap<Arc<str>, Known>,
    /// How many of the invitations come from where (`rooms::Source::customer`); not those from nowhere in particular.
    from: HashMap<u32, u32>,
}

impl Users {
    fn is_invited(&mut self, user: &Arc<str>, room: &RoomId, invitation: Invitation) {
        if invitation.from != 0 {
            *self.from.entry(invitation.from).or_default() += 1;
        }
        let known = self.of.entry(Arc::clone(user)).or_default();
        let old = known.invited.insert(room.clone(), invitation);
        self.is_over(old);
    }

    /// An invitation is there no more.
    fn is_over(&mut self, invitation: Option<Invitation>) {
        let Some(from) = invitation.map(|it| it.from) else { return };
        if let Some(count) = self.from.get_mut(&from) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.from.remove(&from);
            }
        }
    }
}

/// The rooms of a user. Those that it is banned from are nobody's business here.
#[derive(Default)]
struct Known {
    belongs: BTreeSet<RoomId>,
    invited: BTreeMap<RoomId, Invitation>,
}

/// When an invitation was made, in milliseconds since 1970; and a number, never used twice.
type Age = (u64, u64);

/// An invitation that a user has.
struct Invitation {
    by: Inviter,
    /// From where it was made.
    from: u32,
    age: Age,
    /// Its place is another's, once that one is kept.
    yields: bool,
}

/// On whose share an invitation is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Inviter {
    /// The operator's, or a back end's: on nobody's.
    Operator,
    /// This account's (`Room::maker`), whose room it is.
    Account(u64),
}

impl Known {
    /// Whether there is a place for one more invitation of this party's. `Some`: the place of the one into this room.
    ///
    /// # Errors
    /// There is none.
    fn place(&self, by: Inviter) -> Result<Option<RoomId>, Refusal> {
        let most = match by {
            Inviter::Operator => return Ok(None),
            Inviter::Account(0) => MOST_INVITATIONS_OF_NOBODY,
            Inviter::Account(_) => MOST_INVITATIONS_OF_ONE,
        };
        let mut all = 0;
        // Of each party: how many, and the oldest.
        let mut parties = HashMap::new();
        for (room, it) in self.invited.iter().filter(|(_, it)| it.by != Inviter::Operator && !it.yields) {
            let (count, oldest) = parties.entry(it.by).or_insert((0, Reverse((it.age, room))));
            *count += 1;
            *oldest = (*oldest).max(Reverse((it.age, room)));
            all += 1;
        }
        let own = parties.get(&by).map_or(0, |(count, _)| *count);
        match parties.values().max() {
            _ if own >= most => Err(Refusal::TooManyInvitations),
            _ if all < MOST_INVITATIONS => Ok(None),
            Some((count, Reverse((_, oldest)))) if own < *count => Ok(Some((*oldest).clone())),
            _ => Err(Refusal::TooManyInvitations),
        }
    }
}

#[derive(Default)]
struct Makers {
    /// Rooms on nobody's account, too.
    all: u64,
    of: HashMap<u64, u32>,
}

/// What a command has taken of what is limited: given back if it is not carried out.
#[derive(Default)]
pub(super) enum Held {
    #[default]
    Nothing,
    /// A room on this account.
    Room(u64),
    /// This user's invitation, and what makes place for it.
    Invitation(Arc<str>, Option<Yielding>),
}

/// An invitation that makes place for another one.
pub(super) struct Yielding {
    pub(super) user: Arc<str>,
    pub(super) room: RoomId,
    age: Age,
}

impl Yielding {
    /// When it was made, in milliseconds since 1970.
    pub(super) fn since(&self) -> u64 {
        self.age.0
    }
}

impl Held {
    /// What makes place for it.
    pub(super) fn yielding(self) -> Option<Yielding> {
        match self {
            Held::Invitation(_, yielding) => yielding,
            _ => None,
        }
    }
}

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Makers {
    fn add(&mut self, maker: u64, limits: Limits) -> Result<(), Refusal> {
        if self.all >= limits.rooms {
            return Err(Refusal::TooManyRooms);
        }
        if maker != 0 {
            let share = if maker % 2 == 1 { SHARED } else { 1 };
            let most = limits.rooms_of_one.saturating_mul(share);
            let count = self.of.entry(maker).or_default();
            if most != 0 && *count >= most {
                return Err(Refusal::TooManyOfYours);
            }
            *count += 1;
        }
        self.all += 1;
        Ok(())
    }

    fn remove(&mut self, maker: u64) {
        self.all = self.all.saturating_sub(1);
        if let Some(count) = self.of.get_mut(&maker) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.of.remove(&maker);
            }
        }
    }
}

impl Index {
    /// Takes what these changes need of what is limited.
    ///
    /// # Errors
    /// There is no more of it.
    pub(super) fn take(
        &self,
        id: &RoomId,
        room: Option<&Room>,
        command: &Command<'_>,
        changes: &[Change],
        limits: Limits,
    ) -> Result<Held, Refusal> {
        for change in changes {
            match change {
                Change::Create(room) => {
                    lock(&self.makers).add(room.maker, limits)?;
                    return Ok(Held::Room(room.maker));
                }
                Change::Person { user, person: Some(person) } if person.standing == Standing::Invited => {
                    let by = match command {
                        Command::Invite { by: By::Operator, .. } => Inviter::Operator,
                        _ => Inviter::Account(room.map_or(0, |room| room.maker)),
                    };
                    let mut users = lock(&self.users);
                    let invitation = self.invitation(by, person);
                    let from = users.from.get(&invitation.from);
                    if from.is_some_and(|count| *count >= MOST_INVITATIONS_FROM_ONE) {
                        return Err(Refusal::TooManyInvited);
                    }
                    let known = users.of.entry(user.clone()).or_default();
                    let place = known.place(by)?;
                    let yielding = place.and_then(|room| {
                        let old = known.invited.get_mut(&room)?;
                        old.yields = true;
                        Some(Yielding { user: user.clone(), room, age: old.age })
                    });
                    users.is_invited(user, id, invitation);
                    return Ok(Held::Invitation(user.clone(), yielding));
                }
                _ => {}
            }
        }
        Ok(Held::Nothing)
    }

    /// What was taken for this room came to nothing.
    pub(super) fn give_back(&self, id: &RoomId, held: Held) {
        match held {
            Held::Nothing => {}
            Held::Room(maker) => lock(&self.makers).remove(maker),
            Held::Invitation(user, yielding) => {
                self.forgets(&user, id);
                let mut users = lock(&self.users);
                if let Some(Yielding { user, room, age }) = yielding
                    && let Some(old) = users.of.get_mut(&user).and_then(|known| known.invited.get_mut(&room))
                    && old.age == age
                {
                    old.yields = false;
                }
            }
        }
    }

    fn invitation(&self, by: Inviter, person: &Person) -> Invitation {
        let number = self.invitations.fetch_add(1, Ordering::Relaxed);
        let from = person.by.as_ref().map_or(0, |by| by.customer);
        Invitation { by, from, age: (person.since, number), yields: false }
    }

    /// An invitation has made place for another one that is kept. Returns whether it was there still, and not another one made
    /// since.
    pub(super) fn yielded(&self, it: &Yielding) -> bool {
        let there = lock(&self.users)
            .of
            .get(&it.user)
            .and_then(|known| known.invited.get(&it.room))
            .is_some_and(|old| old.age == it.age);
        if there {
            self.forgets(&it.user, &it.room);
        }
        there
    }

    /// A room is there from before.
    pub(super) fn loaded(&self, room: &Room) {
        // Limits are for what is made from now on.
        let none = Limits { rooms: u64::MAX, rooms_of_one: 0 };
        let _ = lock(&self.makers).add(room.maker, none);
        self.made(room);
    }

    /// A room is there now, for which there was a place.
    pub(super) fn made(&self, room: &Room) {
        let details = room.details();
        if details.listed {
            lock(&self.listed).insert((Reverse(room.created_at), room.id.clone()));
        }
        for (user, person) in &details.people {
            self.knows(user, &room.id, room.maker, person);
        }
    }

    /// A room is no longer there.
    pub(super) fn gone(&self, room: &Room) {
        lock(&self.makers).remove(room.maker);
        let details = room.details();
        if details.listed {
            lock(&self.listed).remove(&(Reverse(room.created_at), room.id.clone()));
        }
        for user in details.people.keys() {
            self.forgets(user, &room.id);
        }
    }

    /// A room of this account knows a user as this.
    pub(super) fn knows(&self, user: &Arc<str>, room: &RoomId, maker: u64, person: &Person) {
        if person.standing == Standing::Banned {
            return self.forgets(user, room);
        }
        let mut users = lock(&self.users);
        let known = users.of.entry(user.clone()).or_default();
        if person.standing == Standing::Invited {
            known.belongs.remove(room);
            // Who has invited is known since it was decided, but for what is from before.
            if !known.invited.contains_key(room) {
                users.is_invited(user, room, self.invitation(Inviter::Account(maker), person));
            }
        } else {
            let invitation = known.invited.remove(room);
            known.belongs.insert(room.clone());
            users.is_over(invitation);
        }
    }

    /// A room knows a user no more.
    pub(super) fn forgets(&self, user: &Arc<str>, room: &RoomId) {
        let mut users = lock(&self.users);
        if let Some(known) = users.of.get_mut(user) {
            known.belongs.remove(room);
            let invitation = known.invited.remove(room);
            if known.belongs.is_empty() && known.invited.is_empty() {
                users.of.remove(user);
            }
            users.is_over(invitation);
        }
    }

    pub(super) fn rooms_of(&self, user: &str, most: usize) -> Vec<RoomId> {
        let users = lock(&self.users);
        users.of.get(user).into_iter().flat_map(|known| &known.belongs).take(most).cloned().collect()
    }

    pub(super) fn invitations_of(&self, user: &str, most: usize) -> Vec<RoomId> {
        let users = lock(&self.users);
        users.of.get(user).into_iter().flat_map(|known| known.invited.keys()).take(most).cloned().collect()
    }

    pub(super) fn listed(&self, after: Option<&Place>, most: usize) -> Vec<Place> {
        use std::ops::Bound::Excluded;
        use std::ops::Bound::Unbounded;
        let from = match after {
            Some((at, id)) => Excluded((Reverse(*at), id.clone())),
            None => Unbounded,
        };
        let listed = lock(&self.listed);
        listed.range((from, Unbounded)).take(most).map(|(Reverse(at), id)| (*at, id.clone())).collect()
    }
}
