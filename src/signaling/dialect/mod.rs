//! Dialects: what clients call things. A dialect is a table, names in and render out; the rules know nothing of it.

mod call;
mod community;
mod facts;
mod field;
mod mesh;
mod native;
mod render;
mod seen;

pub(super) use call::CALL;
pub(super) use community::COMMUNITY;
pub(super) use facts::Facts;
pub(super) use mesh::MESH;
pub(super) use native::NATIVE;
pub(super) use render::Pieces;
pub(super) use render::Rendered;
pub(super) use seen::Seen;

use field::Fields;

use crate::config;
use crate::rooms::Event;
use crate::rooms::Kind;

/// What an incoming event asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verb {
    /// A seat; the room is made as this kind if it is not there, `listed` in the directory or not. None: it must be there.
    Join(Option<(Kind, bool)>),
    /// A room of one's own, under a fresh id; `seat`: and a seat in it.
    Create {
        /// The maker sits in it at once.
        seat: bool,
    },
    /// A room's end.
    Delete,
    /// One's seat be given up.
    Leave,
    /// Something be passed on; `None`: the argument says of what kind it is.
    Signal(Option<&'static str>),
    /// Something be said.
    Chat,
    /// What was said.
    History,
    /// The directory.
    List,
    /// A user be let in.
    Invite,
    /// Somebody be put out.
    Kick,
    /// Somebody be put out for good.
    Ban,
    /// A ban or an invitation be taken back.
    Pardon,
    /// The room be locked, or its lobby opened.
    Lock,
    /// Somebody be let in from the lobby.
    Admit,
    /// Somebody be made a moderator, or one no more.
    Promote,
    /// Fresh credentials.
    RefreshIce,
    /// A fresh token be taken for the old one.
    RefreshAuth,
}

/// How something is said: an event's name (none in an acknowledgement), and its keys with what they hold.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) event: &'static str,
    fields: Fields,
}

const fn row(event: &'static str, fields: Fields) -> Row {
    Row { event, fields }
}

/// What is answered to a command, by acknowledgement.
pub(super) struct Acks {
    pub(super) done: Row,
    pub(super) failed: Row,
    pub(super) created: Row,
    pub(super) joined: Row,
    /// In the lobby.
    pub(super) waits: Row,
    pub(super) ice: Row,
    pub(super) said: Row,
    pub(super) history: Row,
    pub(super) list: Row,
}

/// One vocabulary. An event without a row is left out on purpose.
pub(super) struct Dialect {
    /// What a client asks for it by, in `auth.dialect` or `?dialect=`.
    pub(super) name: &'static str,
    /// What a client of it can say.
    verbs: &'static [(&'static str, Verb)],
    pub(super) acks: Acks,
    /// Events are numbered for every client, and one that comes back says which it has. (Elsewhere for those that ask: `offset`.)
    pub(super) counts: bool,
    /// What somebody says comes back to it as an event, too.
    pub(super) echoes: bool,
    /// It hears of the directory's changes without asking.
    pub(super) directory: bool,
    /// Who comes into a stored room is told what was said in it.
    pub(super) history: bool,
    /// Rooms whose maker does not say are in the directory.
    lists: bool,
    /// Who joins a room it is in is answered as if it came.
    pub(super) rejoins: bool,
    /// The answers to joining that are events beside the acknowledgement, in order.
    pub(super) joined: &'static [Row],
    /// The answers to creating that are.
    pub(super) created: &'static [Row],
    /// Let in from the lobby.
    pub(super) admitted: &'static [Row],
    /// In the lobby, as an event.
    pub(super) waits: Option<Row>,
    /// Said instead of `error` when the room is full.
    pub(super) full: Option<Row>,
    peer_joined: Option<Row>,
    peer_left: Option<Row>,
    /// `peer_left` is only said of the last peer of a user.
    last_only: bool,
    peer_away: Option<Row>,
    peer_reconnected: Option<Row>,
    peer_waiting: Option<Row>,
    peer_not_waiting: Option<Row>,
    /// Turned away from the lobby. (Being let in is said as joining is.)
    denied: Option<Row>,
    room_changed: Option<Row>,
    room_closed: Option<Row>,
    /// Said instead when the receiver was put out.
    kicked: Option<Row>,
    room_timeout: Option<Row>,
    offer: Option<Row>,
    answer: Option<Row>,
    candidate: Option<Row>,
    /// A move in a game.
    action: Option<Row>,
    signal: Option<Row>,
    chat: Option<Row>,
    /// Fresh credentials.
    pub(super) ice_servers: Row,
    /// The daemon is going down.
    pub(super) draining: Row,
    /// A command failed.
    pub(super) error: Row,
    /// A room is in the directory now.
    pub(super) room_available: &'static [Row],
    /// Its figures have changed.
    pub(super) room_updated: Option<Row>,
    /// It is there no more.
    pub(super) room_removed: Option<Row>,
    /// The user's rooms and some of the directory, unasked, on connecting.
    pub(super) rooms_list: Option<Row>,
    /// Somebody who shares a channel is here, or no more.
    pub(super) online: Option<Row>,
    pub(super) offline: Option<Row>,
    /// A room may be come into.
    pub(super) invited: Option<Row>,
}

/// What a client of any dialect can say, and is answered in its own.
const COMMON: &[(&str, Verb)] = &[("auth.refresh", Verb::RefreshAuth)];

pub(super) static ALL: [&Dialect; 4] = [&NATIVE, &CALL, &MESH, &COMMUNITY];

impl Dialect {
    /// The dialect of this name.
    pub(super) fn named(name: &str) -> Option<&'static Dialect> {
        ALL.into_iter().find(|dialect| dialect.name == name)
    }

    /// The one that the configuration names.
    pub(super) fn of(configured: config::Dialect) -> &'static Dialect {
        match configured {
            config::Dialect::Native => &NATIVE,
            config::Dialect::Call => &CALL,
            config::Dialect::Mesh => &MESH,
            config::Dialect::Community => &COMMUNITY,
        }
    }

    /// What an event's name asks for, and in which dialect that is said; the one `spoken` where more than one has it.
    pub(super) fn verb(event: &str, spoken: &'static Dialect) -> Option<(&'static Dialect, Verb)> {
        if let Some((_, verb)) = COMMON.iter().find(|(name, _)| *name == event) {
            return Some((spoken, *verb));
        }
        std::iter::once(spoken).chain(ALL).find_map(|dialect| {
            dialect.verbs.iter().find(|(name, _)| *name == event).map(|(_, verb)| (dialect, *verb))
        })
    }

    /// Whether its verbs say which dialect a connection speaks from then on.
    pub(super) fn settles(verb: Verb) -> bool {
        matches!(verb, Verb::Join(_) | Verb::Create { .. })
    }

    /// Whether a room is in the directory whose maker says this of its being private.
    pub(super) fn lists(&self, private: Option<bool>) -> bool {
        private.map_or(self.lists, |private| !private)
    }

    /// How an event is said, if it is.
    pub(super) fn row(&self, event: &Event<'_>) -> Option<Row> {
        match event {
            Event::PeerJoined { .. } => self.peer_joined,
            Event::PeerLeft { last, .. } => self.peer_left.filter(|_| *last || !self.last_only),
            Event::PeerAway { .. } => self.peer_away,
            Event::PeerReconnected { .. } => self.peer_reconnected,
            Event::PeerWaiting { .. } => self.peer_waiting,
            Event::PeerNotWaiting { .. } => self.peer_not_waiting,
            // Said with the seat (`session::enter`).
            Event::Admitted => None,
            Event::Denied => self.denied,
            Event::RoomChanged { .. } => self.room_changed,
            Event::RoomClosed { reason: crate::rooms::ClosedReason::Kicked } => {
                self.kicked.or(self.room_closed)
            }
            Event::RoomClosed { .. } => self.room_closed,
            Event::RoomTimeout => self.room_timeout,
            Event::Signal { kind, .. } => match *kind {
                "offer" => self.offer,
                "answer" => self.answer,
                "candidate" => self.candidate,
                "action" => self.action.or(self.signal),
                _ => self.signal,
            },
            Event::Chat(_) => self.chat,
        }
    }
}

#[cfg(test)]
mod tests;
