//! What a process leaves to the next one: which connection had which seats, for clients that name it when they come back.
//!
//! The connections' ids are secrets of their clients: only keyed hashes of them leave the process. The seats are written as the
//! tokens that their clients have, so they are taken again just as long, and on the same terms.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;

use serde::Deserialize;
use serde::Serialize;
use socketioxide::socket::Sid;

use super::dialect::Dialect;
use super::hub::Hub;
use super::lost::Past;
use crate::rooms::RoomId;

/// The most connections that are written down, or read.
const MOST: usize = 65_536;

/// One connection's seats.
#[derive(Serialize, Deserialize)]
struct Line {
    connection: u64,
    /// Whose it was, as it said when it connected.
    user: Option<String>,
    seats: Vec<Place>,
}

/// One seat.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub(super) struct Place {
    room: String,
    dialect: String,
    /// Its resume token.
    pub(super) token: String,
}

impl Place {
    pub(super) fn room(&self) -> Option<RoomId> {
        RoomId::parse(&self.room)
    }

    pub(super) fn dialect(&self) -> Option<&'static Dialect> {
        Dialect::named(&self.dialect)
    }
}

/// What the process before this one has left.
#[derive(Default)]
pub(super) struct Left(Mutex<HashMap<u64, Seats>>);

/// Whose a connection was, and its seats.
type Seats = (Option<String>, Vec<Place>);

impl Left {
    /// Reads what `Hub::leaves` has written; what cannot be read is passed over.
    pub(super) fn read(&self, text: &str) -> usize {
        let lines = text.lines().take(MOST).filter_map(|line| serde_json::from_str::<Line>(line).ok());
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(lines.map(|line| (line.connection, (line.user, line.seats))));
        known.len()
    }

    /// The seats of a connection, if they are this user's, or nobody's.
    pub(super) fn of(&self, connection: u64, user: Option<&str>) -> Vec<Place> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(&connection) {
            Some((its, seats)) if its.is_none() || its.as_deref() == user => seats.clone(),
            _ => Vec::new(),
        }
    }

    /// They have been taken.
    pub(super) fn taken(&self, connection: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&connection);
    }

    /// Nobody comes back any more.
    pub(super) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = HashMap::new();
    }
}

impl Hub {
    /// By what a connection is known to the next process.
    pub(super) fn known_by(&self, sid: Sid) -> u64 {
        self.seal.account(false, format!("connection {sid}").as_bytes())
    }

    /// The seats of all connections, and of those that broke and may be back, as text: a line each.
    pub(super) fn leaves(&self) -> String {
        let mut all = self.lost.all();
        all.extend(self.connected().iter().map(|connection| (connection.sid, Past::of(connection))));
        let mut text = String::new();
        for (sid, past) in all.into_iter().take(MOST) {
            let mut seats = Vec::new();
            for seat in past.seats {
                let of_seat = self.seats.with(seat.peer, |it| (it.dialect, it.role, it.proven));
                let Some((dialect, role, proven)) = of_seat else { continue };
                self.store.look(&seat.room, &mut |room| {
                    if let Some((room, member)) = room.and_then(|room| Some((room, room.member(seat.peer)?)))
                    {
                        seats.push(Place {
                            room: room.id.as_str().to_owned(),
                            dialect: dialect.name.to_owned(),
                            token: self.seal.token(room, member, role, proven),
                        });
                    }
                });
            }
            let user = past.user.as_deref().map(str::to_owned);
            let line = Line { connection: self.known_by(sid), user, seats };
            if !line.seats.is_empty()
                && let Ok(line) = serde_json::to_string(&line)
            {
                text.push_str(&line);
                text.push('\n');
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_given_until_it_is_taken_and_nonsense_is_passed_over() {
        let left = Left::default();
        let line = r#"{"connection":7,"seats":[{"room":"tea","dialect":"call","token":"t"}]}"#;
        assert_eq!(left.read(&format!("{line}\nnonsense\n{{\"connection\":-1}}\n\n")), 1);
        assert!(left.of(8, None).is_empty());
        let seats = left.of(7, Some("ada"));
        assert_eq!(seats[0].room().unwrap().as_str(), "tea");
        assert_eq!((seats[0].dialect().unwrap().name, &*seats[0].token), ("call", "t"));
        let hers = line.replace('7', "9").replace("\"seats", "\"user\":\"ada\",\"seats");
        left.read(&hers);
        assert!(left.of(9, Some("eve")).is_empty() && left.of(9, None).is_empty());
        assert_eq!(left.of(9, Some("ada")).len(), 1);
        left.taken(7);
        assert!(left.of(7, None).is_empty());
        left.read(line);
        left.forget();
        assert!(left.of(7, None).is_empty());
    }
}
