//! Which connections are a user's, and who is told when a user comes and goes.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;

use super::connection::Connection;
use super::dialect::Facts;
use super::dialect::Pieces;
use super::dialect::Rendered;
use super::hub::Hub;
use super::stats::Drop;
use crate::rooms::Kind;
use crate::rooms::RoomId;
use crate::rooms::Standing;

/// The most rooms of a user that are looked at for contacts, and the most invitations that are told.
const MOST_ROOMS: usize = 64;
/// The most contacts that are told.
const MOST_CONTACTS: usize = 512;

/// How many locks the comings and goings are spread over: telling hundreds of contacts takes a while.
const EDGES: usize = 256;

/// The connections of users who said who they are on connecting.
pub(super) struct Users {
    known: Mutex<HashMap<Arc<str>, Vec<Weak<Connection>>>>,
    /// Held while others are told that a user has come or gone, so that the last they hear is how it is. Taken before all
    /// other locks.
    edges: Box<[Mutex<()>]>,
}

impl Default for Users {
    fn default() -> Users {
        Users { known: Mutex::default(), edges: (0..EDGES).map(|_| Mutex::default()).collect() }
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

    /// A connection more; `true`: the first of the user's.
    fn add(&self, user: &Arc<str>, connection: &Arc<Connection>) -> bool {
        let mut users = self.lock();
        let connections = users.entry(user.clone()).or_default();
        connections.push(Arc::downgrade(connection));
        connections.len() == 1
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
        let contacts = self.contacts(user, &self.store.rooms_of(user, MOST_ROOMS));
        {
            let _edge = self.users.edge(user);
            if self.users.add(user, connection) {
                for contact in &contacts {
                    self.presence(&self.users.of(contact), user, identity.name.as_deref(), true);
                }
            }
        }
        let dialect = connection.dialect();
        if let Some(row) = dialect.online {
            for contact in &contacts {
                // Nobody goes between the look and the word.
                let _edge = self.users.edge(contact);
                if let Some(there) = self.users.of(contact).first() {
                    let name = there.identity().and_then(|it| it.name.clone());
                    let pieces = Pieces { user: Some(contact), name: name.as_deref(), ..Pieces::default() };
                    self.push(connection, row.event, &Rendered(row, pieces));
                }
            }
        }
        if let Some(row) = dialect.invited {
            for room in &self.store.invitations_of(user, MOST_ROOMS) {
                let mut facts = None;
                self.store.look(room, &mut |room| {
                    facts = room
                        .filter(|room| room.details().standing(user) == Some(Standing::Invited))
                        .map(Facts::of);
                });
                if let Some(facts) = &facts {
                    let pieces = Pieces { facts: Some(facts), ..Pieces::default() };
                    self.push(connection, row.event, &Rendered(row, pieces));
                }
            }
        }
    }

    /// A connection has gone: who shares a channel with its user is told, if it was the last.
    pub(super) fn user_went(&self, connection: &Arc<Connection>) {
        let Some(identity) = connection.identity() else { return };
        let Some(user) = &identity.user else { return };
        // Looked up before others have to wait for it; most users have one connection.
        let contacts = self.contacts(user, &self.store.rooms_of(user, MOST_ROOMS));
        let _edge = self.users.edge(user);
        if !self.users.remove(user, connection) {
            return;
        }
        for contact in contacts {
            self.presence(&self.users.of(&contact), user, identity.name.as_deref(), false);
        }
    }

    fn presence(&self, to: &[Arc<Connection>], user: &str, name: Option<&str>, online: bool) {
        for connection in to {
            let dialect = connection.dialect();
            let Some(row) = (if online { dialect.online } else { dialect.offline }) else { continue };
            let pieces = Pieces { user: Some(user), name, ..Pieces::default() };
            self.push(connection, row.event, &Rendered(row, pieces));
        }
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
