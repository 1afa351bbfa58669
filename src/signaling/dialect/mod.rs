//! Dialects: what clients call things. A dialect is a table, names in and render out; the rules know nothing of it.

mod call;
mod native;
mod render;

pub(super) use call::CALL;
pub(super) use native::NATIVE;
pub(super) use render::Pieces;
pub(super) use render::Rendered;
pub(super) use render::Row;
pub(super) use render::Verb;

use render::Field;

use crate::rooms::Event;

/// One vocabulary.
pub(super) struct Dialect {
    /// What a client asks for it by, in `auth.dialect` or `?dialect=`.
    pub(super) name: &'static str,
    /// What a client of it can say.
    verbs: &'static [(&'static str, Verb)],
    /// The answer to joining, where it is an event beside the acknowledgement.
    pub(super) joined: Option<Row>,
    /// Said instead of `error` when the room is full.
    pub(super) full: Option<Row>,
    peer_joined: Row,
    peer_left: Row,
    peer_away: Option<Row>,
    peer_reconnected: Row,
    room_closed: Row,
    room_timeout: Row,
    offer: Row,
    answer: Row,
    candidate: Row,
    signal: Row,
    chat: Row,
    /// Fresh credentials.
    pub(super) ice_servers: Row,
    /// The daemon is going down.
    pub(super) draining: Row,
    /// A command failed.
    pub(super) error: Row,
}

static ALL: [&Dialect; 2] = [&NATIVE, &CALL];

impl Dialect {
    /// The dialect of this name.
    pub(super) fn named(name: &str) -> Option<&'static Dialect> {
        ALL.into_iter().find(|dialect| dialect.name == name)
    }

    /// What an event's name asks for, and in which dialect that is said. Names mean the same wherever they occur twice.
    pub(super) fn verb(event: &str) -> Option<(&'static Dialect, Verb)> {
        ALL.into_iter().find_map(|dialect| {
            dialect.verbs.iter().find(|(name, _)| *name == event).map(|(_, verb)| (dialect, *verb))
        })
    }

    /// How an event is said, if it is.
    pub(super) fn row(&self, event: &Event<'_>) -> Option<Row> {
        Some(match event {
            Event::PeerJoined { .. } => self.peer_joined,
            Event::PeerLeft { .. } => self.peer_left,
            Event::PeerAway { .. } => return self.peer_away,
            Event::PeerReconnected { .. } => self.peer_reconnected,
            Event::RoomClosed { .. } => self.room_closed,
            Event::RoomTimeout => self.room_timeout,
            Event::Signal { kind, .. } => match *kind {
                "offer" => self.offer,
                "answer" => self.answer,
                "candidate" => self.candidate,
                _ => self.signal,
            },
            Event::Chat { .. } => self.chat,
        })
    }
}

/// Acknowledgements are the same in every dialect.
pub(super) mod ack {
    use super::Field;
    use super::Row;
    use super::render::row;

    pub(in crate::signaling) const DONE: Row = row("", &[("ok", Field::True)]);
    pub(in crate::signaling) const FAILED: Row = row("", &[("ok", Field::False), ("error", Field::Failure)]);
    pub(in crate::signaling) const CREATED: Row = row("", &[("ok", Field::True), ("room", Field::Room)]);
    pub(in crate::signaling) const JOINED: Row = row(
        "",
        &[
            ("ok", Field::True),
            ("room", Field::Room),
            ("self", Field::Me),
            ("peers", Field::Peers),
            ("iceServers", Field::IceServers),
            ("iceTtl", Field::IceTtl),
            ("resume", Field::Resume),
            ("resumed", Field::Resumed),
            ("missed", Field::Missed),
        ],
    );
    pub(in crate::signaling) const ICE: Row =
        row("", &[("ok", Field::True), ("iceServers", Field::IceServers), ("iceTtl", Field::IceTtl)]);
    pub(in crate::signaling) const SAID: Row = row(
        "",
        &[
            ("ok", Field::True),
            ("id", Field::MessageId),
            ("createdAt", Field::SaidAt),
            ("clientId", Field::ClientId),
        ],
    );
}
