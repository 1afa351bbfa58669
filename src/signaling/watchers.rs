//! Who hears of what becomes of the rooms in the directory.
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
use super::hub::Hub;
use super::stats::Drop;
use crate::rooms::Room;
use crate::rooms::RoomId;
use crate::store::Committed;

/// How long changes are gathered.
const PAUSE: Duration = Duration::from_millis(200);
/// The most rooms told of at a time.
const MOST_CHANGES: usize = 256;
/// The most rooms whose changes wait.
const MOST_WAITING: usize = 10_000;
/// Who watches, and what is to be told.
#[derive(Default)]
pub(super) struct Watchers(Mutex<State>);

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

impl Watchers {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        match self.watchers.note(id, committed) {
            Noted::First => drop(tokio::spawn(tell(Arc::downgrade(self)))),
            Noted::LeftOut => self.counters.dropped(Drop::Directory, 1),
            Noted::Waits => {}
        }
    }

    /// A connection is told things in this dialect from now on, of the directory as well if that is its custom.
    pub(super) fn speaks(&self, connection: &Arc<Connection>, dialect: &'static Dialect) {
        let before = connection.dialect();
        connection.speaks(dialect);
        match (before.directory, dialect.directory) {
            (false, true) => self.watchers.watch(connection),
            (true, false) => self.watchers.forget(connection),
            _ => {}
        }
    }
}

async fn tell(hub: Weak<Hub>) {
    let mut took = Duration::ZERO;
    loop {
        // With many rooms and many who watch: a fifth of a core at most.
        tokio::time::sleep(PAUSE.max(took * 4)).await;
        let begun = Instant::now();
        let Some(hub) = hub.upgrade() else { return };
        let (changes, watchers) = hub.watchers.take();
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
