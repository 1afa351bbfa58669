//! Which rooms know a user, which are in the directory, and on whose account they are.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use super::Place;
use crate::rooms::Room;
use crate::rooms::RoomId;

/// What rooms are found by, beside their names. Taken with a room locked, and takes no lock of a room's.
#[derive(Default)]
pub(super) struct Index {
    users: Mutex<HashMap<Arc<str>, BTreeSet<RoomId>>>,
    listed: Mutex<BTreeSet<(Reverse<u64>, RoomId)>>,
    makers: Mutex<HashMap<u64, u32>>,
}

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Index {
    /// A room is there now.
    pub(super) fn made(&self, room: &Room) {
        if room.maker != 0 {
            *lock(&self.makers).entry(room.maker).or_default() += 1;
        }
        let details = room.details();
        if details.listed {
            lock(&self.listed).insert((Reverse(room.created_at), room.id.clone()));
        }
        for user in details.people.keys() {
            self.knows(user, &room.id);
        }
    }

    /// A room is no longer there.
    pub(super) fn gone(&self, room: &Room) {
        if room.maker != 0 {
            let mut makers = lock(&self.makers);
            if let Some(count) = makers.get_mut(&room.maker) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    makers.remove(&room.maker);
                }
            }
        }
        let details = room.details();
        if details.listed {
            lock(&self.listed).remove(&(Reverse(room.created_at), room.id.clone()));
        }
        for user in details.people.keys() {
            self.forgets(user, &room.id);
        }
    }

    /// A room knows a user.
    pub(super) fn knows(&self, user: &Arc<str>, room: &RoomId) {
        lock(&self.users).entry(user.clone()).or_default().insert(room.clone());
    }

    /// A room knows a user no more.
    pub(super) fn forgets(&self, user: &Arc<str>, room: &RoomId) {
        let mut users = lock(&self.users);
        if let Some(rooms) = users.get_mut(user) {
            rooms.remove(room);
            if rooms.is_empty() {
                users.remove(user);
            }
        }
    }

    /// How many rooms are on this account.
    pub(super) fn made_by(&self, maker: u64) -> u32 {
        lock(&self.makers).get(&maker).copied().unwrap_or(0)
    }

    pub(super) fn rooms_of(&self, user: &str, most: usize) -> Vec<RoomId> {
        lock(&self.users).get(user).into_iter().flatten().take(most).cloned().collect()
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
