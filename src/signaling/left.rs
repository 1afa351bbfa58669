//! What a process leaves to the next one: who has a seat, and which connection had which seats, for clients that name it when
//! they come back.
//!
//! Resume tokens outlive the process, and cannot say whether their seat was given up since: only who is on the list comes back, and
//! once. Without a list (a crash) every token of before is taken, once; and while that may still happen, the next list says who
//! does not come back instead.
//!
//! The connections' ids are secrets of their clients: only keyed hashes of them leave the process. The seats are written as the
//! tokens that their clients have, so they are taken again just as long, and on the same terms.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::Serialize;
use socketioxide::socket::Sid;

use super::dialect::Dialect;
use super::hub::Hub;
use super::lost::Past;
use super::seal::Opened;
use crate::config::LONGEST_LEFT;
use crate::rooms::Now;
use crate::rooms::PeerId;
use crate::rooms::RoomId;

/// The most connections that are written down, or read.
const MOST: usize = 65_536;

/// The most seats that are. With more of them there is no list.
const MOST_SEATS: usize = 1 << 20;

/// The first line: who comes back.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum First {
    /// These alone: all that have seats.
    Seated(Peers),
    /// All but these, who had seats and gave them up: of the others it is not known yet.
    Gone(Peers),
}

/// Peers, 16 bytes each.
#[derive(Serialize, Deserialize)]
struct Peers(String);

impl Peers {
    fn of<'a>(peers: impl IntoIterator<Item = &'a PeerId>) -> Peers {
        let bytes: Vec<u8> = peers.into_iter().flat_map(|peer| *peer.bytes()).collect();
        Peers(URL_SAFE_NO_PAD.encode(bytes))
    }

    fn all(&self) -> Option<HashSet<PeerId>> {
        let bytes = URL_SAFE_NO_PAD.decode(&self.0).ok()?;
        let (peers, rest) = bytes.as_chunks();
        (rest.is_empty() && peers.len() <= MOST_SEATS)
            .then(|| peers.iter().copied().map(PeerId::new).collect())
    }
}

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
pub(super) struct Left(Mutex<State>);

/// Whose a connection was, and its seats.
type Seats = (Option<String>, Vec<Place>);

#[derive(Default)]
struct State {
    connections: HashMap<u64, Seats>,
    /// Who may come back; none: there was no list.
    awaited: Option<HashSet<PeerId>>,
    /// Who has come back, or has given a seat up, where there was no list.
    back: HashSet<PeerId>,
}

impl Left {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what `Hub::leaves` has written; what cannot be read is passed over. Of how many connections it is.
    pub(super) fn read(&self, text: &str) -> usize {
        let mut lines = text.lines().take(MOST + 1).peekable();
        let mut state = self.lock();
        let first = lines.peek().and_then(|line| serde_json::from_str::<First>(line).ok());
        if let Some(first) = first {
            match first {
                First::Seated(peers) => state.awaited = peers.all(),
                First::Gone(peers) => state.back = peers.all().unwrap_or_default(),
            }
            lines.next();
        }
        let lines = lines.filter_map(|line| serde_json::from_str::<Line>(line).ok());
        state.connections.extend(lines.map(|line| (line.connection, (line.user, line.seats))));
        state.connections.len()
    }

    /// The seats of a connection, if they are this user's, or nobody's.
    pub(super) fn of(&self, connection: u64, user: Option<&str>) -> Vec<Place> {
        match self.lock().connections.get(&connection) {
            Some((its, seats)) if its.is_none() || its.as_deref() == user => seats.clone(),
            _ => Vec::new(),
        }
    }

    /// They have been taken.
    pub(super) fn taken(&self, connection: u64) {
        self.lock().connections.remove(&connection);
    }

    /// Whether this one may come back to its seat of before.
    fn awaits(&self, peer: PeerId) -> bool {
        let state = self.lock();
        match &state.awaited {
            Some(awaited) => awaited.contains(&peer),
            None => !state.back.contains(&peer),
        }
    }

    /// It has, or its seat was given up: not once more.
    pub(super) fn settle(&self, peer: PeerId) {
        let mut state = self.lock();
        let State { awaited, back, .. } = &mut *state;
        match awaited {
            Some(awaited) => _ = awaited.remove(&peer),
            None if back.len() < MOST_SEATS => _ = back.insert(peer),
            None => {}
        }
    }

    /// Nobody comes back any more.
    pub(super) fn forget(&self) {
        *self.lock() = State::default();
    }
}

impl Hub {
    /// By what a connection is known to the next process.
    pub(super) fn known_by(&self, sid: Sid) -> u64 {
        self.seal.account(false, format!("connection {sid}").as_bytes())
    }

    /// What a resume token says, if it is ours. What it says of a seat of before the start counts for who may come back.
    pub(super) fn open_token(&self, room: &RoomId, token: &str, now: Now) -> Option<Opened> {
        let mut opened = self.seal.open(room, token, now)?;
        opened.restore = opened.restore.filter(|_| self.left.awaits(opened.peer));
        Some(opened)
    }

    /// Who has a seat; and the seats of all connections, and of those that broke and may be back, as text: a line each. With
    /// them those of before this process that may still be back.
    pub(super) fn leaves(&self) -> String {
        let mut text = String::new();
        let mut write = |line: serde_json::Result<String>| add(&mut text, line, LONGEST_LEFT);
        let mut seated: HashSet<PeerId> = self.seats.seated().into_iter().collect();
        let mut before = Vec::new();
        let mut gone = None;
        if self.seal.restores(Hub::now().at) {
            let state = self.left.lock();
            match &state.awaited {
                Some(awaited) => seated.extend(awaited),
                // Who has not come back yet may do so in the next process.
                None => gone = Some(Peers::of(state.back.difference(&seated))),
            }
            let seats = |(&connection, (user, seats)): (&u64, &Seats)| Line {
                connection,
                user: user.clone(),
                seats: seats.clone(),
            };
            before = state.connections.iter().map(seats).collect();
        }
        if let Some(gone) = gone {
            write(serde_json::to_string(&First::Gone(gone)));
        } else if seated.len() <= MOST_SEATS {
            write(serde_json::to_string(&First::Seated(Peers::of(&seated))));
        }
        let mut all = self.lost.all();
        all.extend(self.connected().iter().map(|connection| (connection.sid, Past::of(connection))));
        let by_sid: HashMap<Sid, Past> = all.iter().cloned().collect();
        // Who names one of before means whoever has its seats now.
        let heirs = self.lost.heirs().into_iter();
        all.extend(heirs.filter_map(|(sid, heir)| Some((sid, by_sid.get(&heir)?.clone()))));
        all.truncate(MOST);
        for line in before.iter().take(MOST - all.len()) {
            write(serde_json::to_string(line));
        }
        for (sid, past) in all {
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
            if !line.seats.is_empty() {
                write(serde_json::to_string(&line));
            }
        }
        text
    }
}

/// Adds a line, if all of them are read with it.
fn add(text: &mut String, line: serde_json::Result<String>, most: usize) {
    if let Ok(line) = line
        && text.len() + line.len() < most
    {
        text.push_str(&line);
        text.push('\n');
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

    #[test]
    fn who_is_on_the_list_comes_back_once_and_without_a_list_everybody_does() {
        let [ada, bob, eve] = [1, 2, 3].map(|n| PeerId::new([n; 16]));
        let left = Left::default();
        assert!(left.awaits(ada) && left.awaits(eve));
        left.settle(ada);
        assert!(!left.awaits(ada) && left.awaits(eve));
        let list = |peers: &[PeerId]| serde_json::to_string(&First::Seated(Peers::of(peers))).unwrap();
        let left = Left::default();
        assert_eq!(left.read(&list(&[ada, bob])), 0);
        assert!(left.awaits(ada) && left.awaits(bob) && !left.awaits(eve));
        left.settle(ada);
        assert!(!left.awaits(ada) && left.awaits(bob));
        left.read(&list(&[]));
        assert!(!left.awaits(bob), "nobody was there");
        let left = Left::default();
        left.read(&serde_json::to_string(&First::Gone(Peers::of(&[ada]))).unwrap());
        assert!(!left.awaits(ada) && left.awaits(bob));
        // What cannot be read is no list.
        for broken in [r#"{"seated":"AAAA"}"#, r#"{"seated":"?"}"#, "nonsense", ""] {
            let left = Left::default();
            left.read(broken);
            assert!(left.awaits(eve), "{broken}");
        }
    }

    #[test]
    fn no_more_is_written_than_is_read() {
        let mut text = String::new();
        for line in ["one", "a long one", "two", "six"] {
            add(&mut text, Ok(line.to_owned()), 8);
        }
        assert_eq!(text, "one\ntwo\n");
    }
}
