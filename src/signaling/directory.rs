//! The directory of public rooms: its pages, and what is found in it.

use std::sync::Arc;

use super::account::written;
use super::connection::Connection;
use super::dialect::Facts;
use super::dialect::Pieces;
use super::dialect::Rendered;
use super::error::Code;
use super::error::Failure;
use super::error::LATER;
use super::hub::Hub;
use crate::rooms::Room;
use crate::rooms::Standing;
use crate::store::Place;
use crate::store::Store;
use crate::store::cursor;
use crate::turns::NotDone;
use crate::turns::Turns;

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

/// Those who search, and those in line for it.
pub(super) fn searches() -> Turns {
    Turns::new(SEARCHES, SEARCHES_IN_LINE)
}

/// A page of the directory.
pub(super) struct Page {
    pub(super) rooms: Vec<Facts>,
    /// Where the next one begins, if there is one.
    pub(super) next: Option<String>,
}

/// What a room takes in a page beside what people call it, in bytes.
const ROOM: usize = 512;

impl Page {
    /// About how long it is as it is told, in bytes.
    pub(super) fn length(&self) -> usize {
        let texts = |room: &Facts| {
            let texts = [&room.name, &room.description, &room.creator];
            texts.into_iter().flatten().map(|text| written(text)).sum::<usize>()
        };
        self.rooms.iter().map(|room| ROOM + texts(room)).sum()
    }
}

impl Hub {
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
        self.searches.run(found).await.map_err(|why| match why {
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

/// How many rooms a client is told of on connecting.
const FIRST: usize = 20;

impl Hub {
    /// Tells a client that has just connected of its user's rooms, and of some in the directory, if its dialect does.
    pub(super) fn list_rooms(&self, connection: &Arc<Connection>) {
        let Some(row) = connection.dialect().rooms_list else { return };
        let identity = connection.identity();
        let user = identity.as_ref().and_then(|identity| identity.user.as_deref());
        let mut rooms: Vec<Facts> = Vec::new();
        for id in identity.as_ref().map(|identity| self.rooms_for(identity, FIRST)).unwrap_or_default() {
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
