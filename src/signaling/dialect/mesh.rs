//! The dialect of a mesh of users: `join-room`, `room-users`, signals to one of them by `targetId`.
//!
//! Whoever is told of is named by its user, so that one name finds it everywhere: in `users`, in `from`, as a `targetId`. Its
//! peer id, which tells two devices of one user apart, stands beside it.

use super::Dialect;
use super::Row;
use super::Verb;
use super::field::Field;
use super::field::Fields;
use super::native;
use super::row;
use crate::rooms::Kind;

pub(in crate::signaling) static MESH: Dialect = Dialect {
    name: "mesh",
    verbs: &[
        ("ice-candidate", Verb::Signal(Some("candidate"))),
        ("offer", Verb::Signal(Some("offer"))),
        ("answer", Verb::Signal(Some("answer"))),
        ("chat-message", Verb::Chat),
        ("join-room", Verb::Join(Some((Kind::Room, true)))),
        ("leave-room", Verb::Leave),
    ],
    acks: native::ACKS,
    counts: false,
    echoes: false,
    directory: false,
    history: false,
    lists: true,
    rejoins: true,
    joined: JOINED,
    created: &[],
    admitted: JOINED,
    waits: Some(row("room-waiting", &[("roomId", Field::RoomId), ("peerId", Field::PeerId)])),
    full: None,
    peer_joined: Some(row("user-joined", USER)),
    peer_left: Some(row(
        "user-left",
        &[
            ("roomId", Field::RoomId),
            ("userId", Field::UserId),
            ("peerId", Field::PeerId),
            ("reason", Field::Reason),
        ],
    )),
    last_only: false,
    peer_away: None,
    peer_reconnected: Some(row("user-rejoined", USER)),
    // It has nobody to rule a lobby.
    peer_waiting: None,
    peer_not_waiting: None,
    denied: Some(CLOSED),
    room_changed: None,
    room_closed: Some(CLOSED),
    kicked: None,
    room_timeout: Some(CLOSED),
    offer: Some(OFFER),
    answer: Some(ANSWER),
    candidate: Some(CANDIDATE),
    action: None,
    signal: Some(SIGNAL),
    chat: Some(row(
        "chat-message",
        &[
            ("from", Field::UserId),
            ("userId", Field::UserId),
            ("peerId", Field::PeerId),
            ("name", Field::Name),
            ("roomId", Field::RoomId),
            ("msg", Field::Text),
        ],
    )),
    ice_servers: row(
        "ice-servers",
        &[("roomId", Field::RoomId), ("iceServers", Field::IceServers), ("iceTtl", Field::IceTtl)],
    ),
    draining: row("server-draining", &[]),
    error: native::ERROR,
    room_available: &[],
    room_updated: None,
    room_removed: None,
    rooms_list: None,
    online: None,
    offline: None,
    invited: None,
};

const JOINED: &[Row] = &[row(
    "room-users",
    &[
        ("roomId", Field::RoomId),
        ("users", Field::OtherUsers),
        ("peers", Field::Peers),
        ("self", Field::MyId),
        ("iceServers", Field::IceServers),
        ("iceTtl", Field::IceTtl),
        ("resume", Field::Resume),
        ("resumed", Field::Resumed),
        ("restored", Field::Restored),
        ("missed", Field::Missed),
    ],
)];

const USER: Fields =
    &[("roomId", Field::RoomId), ("userId", Field::UserId), ("peerId", Field::PeerId), ("peer", Field::Peer)];

const CLOSED: Row = row("room-closed", &[("roomId", Field::RoomId), ("reason", Field::Reason)]);

/// Signals are the same in the community's dialect.
pub(super) const OFFER: Row = row(
    "offer",
    &[
        ("from", Field::UserId),
        ("userId", Field::UserId),
        ("peerId", Field::PeerId),
        ("roomId", Field::RoomId),
        ("offer", Field::Data),
    ],
);

pub(super) const ANSWER: Row = row(
    "answer",
    &[
        ("from", Field::UserId),
        ("userId", Field::UserId),
        ("peerId", Field::PeerId),
        ("roomId", Field::RoomId),
        ("answer", Field::Data),
    ],
);

pub(super) const CANDIDATE: Row = row(
    "ice-candidate",
    &[
        ("from", Field::UserId),
        ("userId", Field::UserId),
        ("peerId", Field::PeerId),
        ("roomId", Field::RoomId),
        ("candidate", Field::Data),
    ],
);

pub(super) const SIGNAL: Row = row(
    "signal",
    &[
        ("from", Field::UserId),
        ("userId", Field::UserId),
        ("peerId", Field::PeerId),
        ("roomId", Field::RoomId),
        ("kind", Field::Kind),
        ("data", Field::Data),
    ],
);
