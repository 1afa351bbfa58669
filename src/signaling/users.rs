//! Which connections are a user's, and who is told when a user comes and goes.
//!
//! That a user has gone is told a moment later, if it has not come back: a page that is loaded again is no news, and whoever comes
//! and goes without end is told of no more than once in that time.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::time::Duration;
use std::time::Instant;

use super::connection::Connection;
use super::dialect::Facts;
use super::dialect::Pieces;
use super::dialect::Rendered;
use super::hub::Hub;
use super::identity::Identity;
use super::stats::Drop;
use crate::rooms::Kind;
use crate::rooms::RoomId;
use crate::rooms::Standing;

/// The most rooms of a user that are looked at for contacts, and the most invitations that are told.
const MOST_ROOMS: usize = 64;
/// The same where those are looked for among them that a token is for.
const MOST_LOOKS: usize = 1024;
/// The most contacts that are told.
const MOST_CONTACTS: usize = 512;

/// How long after its last connection a user is taken to be there.
const STAYS: Duration = Duration::from_secs(1);
/// The most users who have gone and are taken to be there. Who goes beyond these is told of at once.
const MOST_STAYING: usize = 65_536;
/// How many of them are told of at a time.
const BATCH: usize = 64;

/// How many locks the comings and goings are spread over: telling hundreds of contacts takes a while.
const EDGES: usize = 256;

/// The connections of users who said who they are on connecting.
pub(super) struct Users {
    known: Mutex<HashMap<Arc<str>, Vec<Weak<Connection>>>>,
    /// Taken with `known` locked, or alone.
    staying: Mutex<Staying>,
    /// Held while others are told that a user has come or gone, so that the last they hear is how it is. Taken before all
    /// other locks.
    edges: Box<[Mutex<()>]>,
}

/// Users who have gone, and of whom nobody was told that yet.
#[derive(Default)]
struct Staying {
    /// Until when, and what to call the user.
    of: HashMap<Arc<str>, (Instant, Option<Arc<str>>)>,
    due: BTreeSet<(Instant, Arc<str>)>,
}

impl Staying {
    fn forget(&mut self, user: &str) -> Option<Option<Arc<str>>> {
        let (user, (at, name)) = self.of.remove_entry(user)?;
        self.due.remove(&(at, user));
        Some(name)
    }
}

impl Default for Users {
    fn default() -> Users {
        Users {
            known: Mutex::default(),
            staying: Mutex::default(),
            edges: (0..EDGES).map(|_| Mutex::default()).collect(),
        }
    }
}

impl Users {
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Vec<Weak<Connection>>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn edge(&self, user: &str) -> MutexGuard<'_, ()> {
        let sum = user.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        self.edges[sum % EDGES].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn staying(&self) -> MutexGuard<'_, Staying> {
        self.staying.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection more; `true`: the first of the user's, who was not taken to be there.
    fn add(&self, user: &Arc<str>, connection: &Arc<Connection>) -> bool {
        let mut users = self.lock();
        let connections = users.entry(user.clone()).or_default();
        connections.push(Arc::downgrade(connection));
        connections.len() == 1 && self.staying().forget(user).is_none()
    }

    /// The user's last connection has gone. Until when the user is taken to be there; `None`: it is not.
    fn stays(&self, user: &Arc<str>, name: Option<&Arc<str>>, now: Instant) -> Option<Instant> {
        let mut staying = self.staying();
        if staying.of.len() >= MOST_STAYING {
            return None;
        }
        let at = now + STAYS;
        staying.of.insert(Arc::clone(user), (at, name.cloned()));
        staying.due.insert((at, Arc::clone(user)));
        Some(at)
    }

    /// When the next one is no longer taken to be there.
    pub(super) fn next(&self) -> Option<Instant> {
        self.staying().due.first().map(|(at, _)| *at)
    }

    /// Some who are not taken to be there from now on, unless they come back.
    fn due(&self, now: Instant) -> Vec<Arc<str>> {
        let staying = self.staying();
        let due = staying.due.iter().take_while(|(at, _)| *at <= now);
        due.take(BATCH).map(|(_, user)| Arc::clone(user)).collect()
    }

    /// The user is not taken to be there any more, if it still was; `Some`: what it was called.
    fn left(&self, user: &str, now: Instant) -> Option<Option<Arc<str>>> {
        let mut staying = self.staying();
        if staying.of.get(user).is_none_or(|(at, _)| *at > now) {
            return None;
        }
        staying.forget(user)
    }

    /// Whether others take the user to be there; `Some`: what it is called.
    fn is_there(&self, user: &str) -> Option<Option<Arc<str>>> {
        if let Some(there) = self.of(user).first() {
            return Some(there.identity().and_then(|it| it.name.clone()));
        }
        self.staying().of.get(user).map(|(_, name)| name.clone())
    }

    /// A connection less; `true`: it was the user's last.
    fn remove(&self, user: &str, connection: &Connection) -> bool {
        let mut users = self.lock();
        let Some(connections) = users.get_mut(user) else { return false };
        connections.retain(|it| it.upgrade().is_some_and(|it| it.number != connection.number));
        let last = connections.is_empty();
        if last {
            users.remove(user);
        }
        last
    }

    /// A user's connections.
    pub(super) fn of(&self, user: &str) -> Vec<Arc<Connection>> {
        self.lock().get(user).into_iter().flatten().filter_map(Weak::upgrade).collect()
    }
}

impl Hub {
    /// A connection has come: who shares a channel with its user is told, and it is told of them and of its invitations.
    pub(super) fn user_came(&self, connection: &Arc<Connection>) {
        let Some(identity) = connection.identity() else { return };
        let Some(user) = &identity.user else { return };
        let mut contacts = self.contacts(user, &self.store.rooms_of(user, MOST_ROOMS));
        {
            let _edge = self.users.edge(user);
            if self.users.add(user, connection) {
                for contact in &contacts {
                    self.presence(&self.users.of(contact), user, identity.name.as_deref(), true);
                }
            }
        }
        let dialect = connection.dialect();
        if identity.rooms.is_some() {
            contacts = self.contacts(user, &self.rooms_for(&identity, MOST_ROOMS));
        }
        if let Some(row) = dialect.online {
            for contact in &contacts {
                // Nobody goes between the look and the word.
                let _edge = self.users.edge(contact);
                if let Some(name) = self.users.is_there(contact) {
                    let pieces = Pieces { user: Some(contact), name: name.as_deref(), ..Pieces::default() };
                    self.push(connection, row.event, &Rendered(row, pieces));
                }
            }
        }
        if let Some(row) = dialect.invited {
            let most = if identity.rooms.is_some() { MOST_LOOKS } else { MOST_ROOMS };
            let rooms = self.store.invitations_of(user, most);
            let rooms = rooms.iter().filter(|room| identity.allows(room.as_str()));
            for room in rooms.take(MOST_ROOMS) {
                let mut invitation = None;
                self.store.look(room, &mut |room| {
                    let people = room.map(|room| &room.details().people);
                    let person = people.and_then(|people| people.get(user));
                    let by = person.filter(|it| it.standing == Standing::Invited).map(|it| {
                        let by = it.by.as_ref().and_then(|by| by.user.clone());
                        let inviter = by.as_ref().zip(people).and_then(|(by, people)| people.get(by));
                        (by, inviter.and_then(|it| it.name.clone()))
                    });
                    invitation = room.map(Facts::of).zip(by);
                });
                if let Some((facts, (by, name))) = &invitation {
                    let (user, name) = (by.as_deref(), name.as_deref());
                    let pieces = Pieces { facts: Some(facts), user, name, ..Pieces::default() };
                    self.push(connection, row.event, &Rendered(row, pieces));
                }
            }
        }
    }

    /// A connection has gone: who shares a channel with its user is told in a moment, if it was the last.
    pub(super) fn user_went(&self, connection: &Arc<Connection>) {
        let Some(identity) = connection.identity() else { return };
        let Some(user) = &identity.user else { return };
        let _edge = self.users.edge(user);
        if !self.users.remove(user, connection) {
            return;
        }
        match self.users.stays(user, identity.name.as_ref(), Hub::now().at) {
            Some(at) => self.alarm.set(at),
            None => self.tell_gone(user, identity.name.as_deref()),
        }
    }

    /// Tells of some who have gone and have not come back. The others are told of the next time.
    pub(super) async fn tell_who_left(&self, now: Instant) {
        for user in self.users.due(now) {
            {
                let _edge = self.users.edge(&user);
                if let Some(name) = self.users.left(&user, now) {
                    self.tell_gone(&user, name.as_deref());
                }
            }
            tokio::task::yield_now().await;
        }
    }

    fn tell_gone(&self, user: &str, name: Option<&str>) {
        for contact in self.contacts(user, &self.store.rooms_of(user, MOST_ROOMS)) {
            self.presence(&self.users.of(&contact), user, name, false);
        }
    }

    fn presence(&self, to: &[Arc<Connection>], user: &str, name: Option<&str>, online: bool) {
        for connection in to.iter().filter(|to| self.may_hear_of(to, user)) {
            let dialect = connection.dialect();
            let Some(row) = (if online { dialect.online } else { dialect.offline }) else { continue };
            let pieces = Pieces { user: Some(user), name, ..Pieces::default() };
            self.push(connection, row.event, &Rendered(row, pieces));
        }
    }

    /// The rooms that somebody belongs to, as far as its token is for them, at most `most`.
    pub(super) fn rooms_for(&self, identity: &Identity, most: usize) -> Vec<RoomId> {
        let Some(user) = &identity.user else { return Vec::new() };
        let looks = if identity.rooms.is_some() { MOST_LOOKS } else { most };
        let rooms = self.store.rooms_of(user, looks).into_iter();
        rooms.filter(|room| identity.allows(room.as_str())).take(most).collect()
    }

    /// Whether a connection may hear of another user: a token for some rooms alone has to be for one that both belong to.
    fn may_hear_of(&self, connection: &Connection, other: &str) -> bool {
        let identity = connection.identity().filter(|identity| identity.rooms.is_some());
        let Some((identity, user)) = identity.as_ref().and_then(|it| Some((it, it.user.as_ref()?))) else {
            return true;
        };
        self.contacts(user, &self.rooms_for(identity, MOST_ROOMS)).contains(other)
    }

    /// Who belongs to a channel that this user belongs to.
    fn contacts(&self, user: &str, rooms: &[RoomId]) -> HashSet<Arc<str>> {
        let mut contacts = HashSet::new();
        for room in rooms {
            self.store.look(room, &mut |room| {
                let Some(room) = room.filter(|room| room.kind == Kind::Channel) else { return };
                let details = room.details();
                if !details.standing(user).is_some_and(Standing::belongs) {
                    return;
                }
                let others = details.belonging().map(|(other, _)| other).filter(|other| ***other != *user);
                contacts.extend(others.take(MOST_CONTACTS.saturating_sub(contacts.len())).cloned());
            });
        }
        contacts
    }

    /// Tells a user, wherever it is connected, that a room is open to it.
    pub(super) fn invited(&self, user: &str, room: &Facts, by: Option<&str>, name: Option<&str>) {
        for connection in self.users.of(user) {
            let Some(row) = connection.dialect().invited else { continue };
            if connection.identity().is_some_and(|identity| !identity.allows(room.id.as_str())) {
                continue;
            }
            let pieces = Pieces { facts: Some(room), user: by, name, ..Pieces::default() };
            self.push(&connection, row.event, &Rendered(row, pieces));
        }
    }

    /// Tells a connection something that is of no use to it later.
    pub(super) fn push(&self, connection: &Arc<Connection>, event: &'static str, body: &Rendered<'_>) {
        if connection.emit(event, body).is_err() {
            self.counters.dropped(Drop::Closed, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_taken_to_be_there_and_each_until_its_time() {
        let (users, start) = (Users::default(), Instant::now());
        let user = |n: usize| Arc::from(format!("user{n}"));
        let name = Arc::from("Ada");
        for n in 0..MOST_STAYING {
            assert_eq!(users.stays(&user(n), Some(&name), start), Some(start + STAYS));
        }
        assert_eq!(users.stays(&user(MOST_STAYING), None, start), None, "told of at once");
        assert_eq!((users.is_there("user7"), users.is_there("nobody")), (Some(Some(name.clone())), None));
        assert!(users.due(start + STAYS / 2).is_empty() && users.left("user7", start + STAYS / 2).is_none());
        // Who comes back is not told of; who goes again has a second again.
        let later = start + STAYS / 2;
        assert_eq!(users.staying().forget("user7"), Some(Some(name.clone())));
        assert_eq!(users.stays(&user(7), None, later), Some(later + STAYS));
        let mut left = 0;
        loop {
            let due = users.due(start + STAYS);
            assert!(due.len() <= BATCH);
            if due.is_empty() {
                break;
            }
            for user in due {
                assert_eq!(users.left(&user, start + STAYS), Some(Some(name.clone())));
                left += 1;
            }
        }
        assert_eq!((left, users.next()), (MOST_STAYING - 1, Some(later + STAYS)));
        assert_eq!(users.left("user7", later + STAYS), Some(None));
        assert!(users.next().is_none() && users.staying().of.is_empty());
    }
}
