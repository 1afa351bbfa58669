//! The directory of public rooms, and who hears of its changes.
//!
//! A busy room changes with every peer that comes and goes, and every watcher would hear of it: so changes are gathered
//! for a moment, and each room is told of once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::time::Duration;
use std::time::Instant;

use super::connection::Connection;
use super::dialect::Dialect;
use super::dialect::Facts;
use super::dialect::Pieces;
use super::dialect::Rendered;
use super::error::Code;
use super::error::Failure;
use super::error::LATER;
use super::hub::Hub;
use super::stats::Drop;
use crate::rooms::Room;
use crate::rooms::RoomId;
use crate::rooms::Standing;
use crate::store::Committed;
use crate::store::Place;
use crate::store::Store;
use crate::store::cursor;
use crate::turns::NotDone;
use crate::turns::Turns;

/// How long changes are gathered.
const PAUSE: Duration = Duration::from_millis(200);
/// The most rooms told of at a time.
const MOST_CHANGES: usize = 256;
/// The most rooms whose changes wait.
const MOST_WAITING: usize = 10_000;
/// The longest page.
pub(super) const LONGEST_PAGE: usize = 100;
/// The most rooms that are looked at for one page of a search.
const MOST_LOOKS: usize = 2_000;
/// The longest text to look for, in bytes.
const LONGEST_SEARCH: usize = 512;
/// How many search at a time: each on a thread of its own, for a millisecond or two. One: with two cores the other is everybody's.
const SEARCHES: usize = 1;
/// How many more may wait for that.
const SEARCHES_IN_LINE: usize = 256;

/// Who watches, and what is to be told.
pub(super) struct Directory {
    state: Mutex<State>,
    searches: Turns,
}

impl Default for Directory {
    fn default() -> Directory {
        Directory { state: Mutex::default(), searches: Turns::new(SEARCHES, SEARCHES_IN_LINE) }
    }
}

#[derive(Default)]
struct State {
    watchers: HashMap<u64, Weak<Connection>>,
    changes: HashMap<RoomId, (u64, Changed)>,
    /// How many changes there have been.
    noted: u64,
    /// Someone is about to tell.
    telling: bool,
}

/// What became of a room since it was last told of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Changed {
    Made,
    Updated,
    Gone,
}

/// What became of a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Noted {
    /// It is to be told, and nobody is about to.
    First,
    /// It will be told, or there is nothing to tell.
    Waits,
    /// So many changes wait that this one is left out.
    LeftOut,
}

/// A page of the directory.
pub(super) struct Page {
    pub(super) rooms: Vec<Facts>,
    /// Where the next one begins, if there is one.
    pub(super) next: Option<String>,
}

impl State {
    fn note(&mut self, id: &RoomId, now: Changed) -> Noted {
        let full = self.changes.len() >= MOST_WAITING;
        self.noted += 1;
        let noted = self.noted;
        match (self.changes.get_mut(id), now) {
            // Nobody has heard of it, and nobody needs to.
            (Some((_, Changed::Made)), Changed::Gone) => {
                self.changes.remove(id);
            }
            (Some((_, Changed::Made)), _) => {}
            // One of that name is known.
            (Some(was), Changed::Made) => *was = (noted, Changed::Updated),
            (Some(was), now) => *was = (noted, now),
            (None, _) if full => return Noted::LeftOut,
            (None, now) => {
                self.changes.insert(id.clone(), (noted, now));
            }
        }
        if std::mem::replace(&mut self.telling, true) { Noted::Waits } else { Noted::First }
    }
}

impl Directory {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection hears of changes from now on.
    pub(super) fn watch(&self, connection: &Arc<Connection>) {
        self.lock().watchers.insert(connection.number, Arc::downgrade(connection));
    }

    /// A connection is gone.
    pub(super) fn forget(&self, connection: &Connection) {
        self.lock().watchers.remove(&connection.number);
    }

    /// Takes note of what a command did to a room.
    fn note(&self, id: &RoomId, committed: &Committed<'_>) -> Noted {
        let now = match committed.room {
            _ if !committed.changed || !committed.listed => return Noted::Waits,
            None => Changed::Gone,
            Some(_) if committed.made => Changed::Made,
            Some(_) => Changed::Updated,
        };
        let mut state = self.lock();
        if state.watchers.is_empty() {
            return Noted::Waits;
        }
        state.note(id, now)
    }

    /// Some of the changes, in their order, and whom to tell.
    fn take(&self) -> (Vec<(RoomId, Changed)>, Vec<Arc<Connection>>) {
        let mut state = self.lock();
        let some: Vec<RoomId> = state.changes.keys().take(MOST_CHANGES).cloned().collect();
        let mut some: Vec<_> = some.into_iter().filter_map(|id| state.changes.remove_entry(&id)).collect();
        some.sort_unstable_by_key(|(_, (noted, _))| *noted);
        let some: Vec<_> = some.into_iter().map(|(id, (_, changed))| (id, changed)).collect();
        if some.is_empty() {
            state.telling = false;
            state.changes = HashMap::new();
        }
        (some, state.watchers.values().filter_map(Weak::upgrade).collect())
    }
}

impl Hub {
    /// Has the directory's watchers told of what a command did.
    pub(super) fn list(self: &Arc<Self>, id: &RoomId, committed: &Committed<'_>) {
        match self.directory.note(id, committed) {
            Noted::First => drop(tokio::spawn(tell(Arc::downgrade(self)))),
            Noted::LeftOut => self.counters.dropped(Drop::Directory, 1),
            Noted::Waits => {}
        }
    }

    /// A page of the directory.
    pub(super) fn page(&self, after: Option<&Place>, most: usize) -> Page {
        self.found(after, most, None)
    }

    /// A page of those of its rooms whose name, description or id has `search` in it. Looking for them takes too long to do it in
    /// place.
    ///
    /// # Errors
    /// The text is too long, or so many are searching that this one would wait for long.
    pub(super) async fn search(
        self: &Arc<Self>,
        after: Option<Place>,
        most: usize,
        search: &str,
    ) -> Result<Page, Failure> {
        if search.len() > LONGEST_SEARCH {
            return Err(Failure::bad(format!("search is longer than {LONGEST_SEARCH} bytes")));
        }
        let (hub, search) = (Arc::clone(self), search.to_owned());
        let found = move || hub.found(after.as_ref(), most, Some(&search));
        self.directory.searches.run(found).await.map_err(|why| match why {
            NotDone::Full => Failure::too_many(LATER, "too many are searching"),
            NotDone::Broken => Failure::new(Code::Internal, "the directory cannot be searched"),
        })
    }

    fn found(&self, after: Option<&Place>, most: usize, search: Option<&str>) -> Page {
        let mut rooms = Vec::new();
        let next = walk(&*self.store, false, after, most, search, |room| rooms.push(Facts::of(room)));
        Page { rooms, next: next.as_ref().map(cursor) }
    }
}

/// Hands on the rooms behind that place that have `search` in their name, description or id: those in the directory, or all. Where
/// the next page begins, if there is one.
pub(super) fn walk(
    store: &dyn Store,
    all: bool,
    after: Option<&Place>,
    most: usize,
    search: Option<&str>,
    mut take: impl FnMut(&Room),
) -> Option<Place> {
    let most = most.clamp(1, LONGEST_PAGE);
    let search = search.map(str::to_lowercase).filter(|search| !search.is_empty());
    let batch = match &search {
        // One more than asked for: whether there is more is to be said.
        None => most + 1,
        // Whoever asks for all rooms has them all walked through each time.
        Some(_) if all => MOST_LOOKS,
        Some(_) => LONGEST_PAGE,
    };
    let mut place = after.cloned();
    let (mut looks, mut taken) = (0, 0);
    loop {
        let places = if all { store.all(place.as_ref(), batch) } else { store.listed(place.as_ref(), batch) };
        let last = places.len() < batch;
        for found in places {
            let mut more = false;
            store.look(&found.1, &mut |room| {
                // The name may be another room's by now.
                let room = room.filter(|room| all || room.details().listed);
                if let Some(room) = room.filter(|room| search.as_deref().is_none_or(|it| has(room, it))) {
                    more = taken >= most;
                    if !more {
                        take(room);
                        taken += 1;
                    }
                }
            });
            if more {
                return place;
            }
            place = Some(found);
            looks += 1;
            if looks >= MOST_LOOKS {
                return place;
            }
        }
        if last {
            return None;
        }
    }
}

impl Hub {
    /// A connection is told things in this dialect from now on, of the directory as well if that is its custom.
    pub(super) fn speaks(&self, connection: &Arc<Connection>, dialect: &'static Dialect) {
        let before = connection.dialect();
        connection.speaks(dialect);
        match (before.directory, dialect.directory) {
            (false, true) => self.directory.watch(connection),
            (true, false) => self.directory.forget(connection),
            _ => {}
        }
    }
}

/// How many rooms a client is told of on connecting.
const FIRST: usize = 20;

impl Hub {
    /// Tells a client that has just connected of its user's rooms, and of some in the directory, if its dialect does.
    pub(super) fn list_rooms(&self, connection: &Arc<Connection>) {
        let Some(row) = connection.dialect().rooms_list else { return };
        let identity = connection.identity();
        let user = identity.as_ref().and_then(|identity| identity.user.as_deref());
        let mut rooms: Vec<Facts> = Vec::new();
        for id in user.map(|user| self.store.rooms_of(user, FIRST)).unwrap_or_default() {
            let belongs = |room: &&Room| {
                user.and_then(|user| room.details().standing(user)).is_some_and(Standing::belongs)
            };
            self.store.look(&id, &mut |room| rooms.extend(room.filter(belongs).map(Facts::of)));
        }
        for public in self.page(None, FIRST).rooms {
            if rooms.len() < FIRST && !rooms.iter().any(|known| known.id == public.id) {
                rooms.push(public);
            }
        }
        self.push(connection, row.event, &Rendered(row, Pieces { rooms: Some(&rooms), ..Pieces::default() }));
    }
}

fn has(room: &Room, search: &str) -> bool {
    let details = room.details();
    let texts = [details.name.as_deref(), details.description.as_deref(), Some(room.id.as_str())];
    texts.into_iter().flatten().any(|text| text.to_lowercase().contains(search))
}

async fn tell(hub: Weak<Hub>) {
    let mut took = Duration::ZERO;
    loop {
        // With many rooms and many who watch: a fifth of a core at most.
        tokio::time::sleep(PAUSE.max(took * 4)).await;
        let begun = Instant::now();
        let Some(hub) = hub.upgrade() else { return };
        let (changes, watchers) = hub.directory.take();
        if changes.is_empty() {
            return;
        }
        for (id, changed) in changes {
            let mut facts = None;
            // Another room may have the name by now, which is not for everybody.
            let listed = |room: &&Room| room.details().listed;
            hub.store.look(&id, &mut |room| facts = room.filter(listed).map(Facts::of));
            for watcher in &watchers {
                let dialect = watcher.dialect();
                let rows = match (&facts, changed) {
                    (None, Changed::Made) => &[],
                    (None, _) => dialect.room_removed.as_slice(),
                    // Who sits in it knows.
                    (Some(_), Changed::Made) if watcher.seat_in(id.as_str()).is_some() => &[],
                    (Some(_), Changed::Made) => dialect.room_available,
                    (Some(_), _) => dialect.room_updated.as_slice(),
                };
                let pieces = Pieces { room_id: Some(&id), facts: facts.as_ref(), ..Pieces::default() };
                if !rows.is_empty() && watcher.outbox().waits() {
                    // It is not cut off for what it can ask for again.
                    hub.counters.dropped(Drop::Directory, 1);
                    continue;
                }
                for row in rows {
                    hub.push(watcher, row.event, &Rendered(*row, pieces));
                }
            }
            tokio::task::yield_now().await;
        }
        took = begun.elapsed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_a_room_is_what_became_of_it() {
        let id = RoomId::parse("a").unwrap();
        let told = |changes: &[Changed]| {
            let mut state = State::default();
            for change in changes {
                state.note(&id, *change);
            }
            state.changes.get(&id).map(|(_, changed)| *changed)
        };
        use Changed::*;
        for (changes, expected) in [
            (&[Made, Updated][..], Some(Made)),
            (&[Made, Updated, Gone], None),
            (&[Updated, Gone], Some(Gone)),
            (&[Gone, Made], Some(Updated)),
            // Those who watch knew the first of that name.
            (&[Gone, Made, Gone], Some(Gone)),
            (&[Made, Gone, Made], Some(Made)),
        ] {
            assert_eq!(told(changes), expected, "{changes:?}");
        }
    }

    #[test]
    fn changes_that_wait_are_bounded() {
        let mut state = State::default();
        let room = |n: usize| RoomId::parse(&n.to_string()).unwrap();
        assert_eq!(state.note(&room(0), Changed::Updated), Noted::First);
        for n in 1..MOST_WAITING {
            assert_eq!(state.note(&room(n), Changed::Updated), Noted::Waits);
        }
        assert_eq!(state.note(&room(MOST_WAITING), Changed::Made), Noted::LeftOut);
        assert_eq!(state.note(&room(5), Changed::Gone), Noted::Waits);
    }
}
