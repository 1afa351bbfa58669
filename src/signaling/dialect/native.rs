//! The project's own dialect: what the SDK speaks. Commands are answered by acknowledgement.

use super::Dialect;
use super::render::Field;
use super::render::Verb;
use super::render::row;
use crate::rooms::Kind;

pub(in crate::signaling) static NATIVE: Dialect = Dialect {
    name: "native",
    verbs: &[
        ("signal", Verb::Signal(None)),
        ("chat", Verb::Chat),
        ("room.join", Verb::Join(Kind::Room)),
        ("room.leave", Verb::Leave),
        ("room.create", Verb::Create),
        ("ice.refresh", Verb::RefreshIce),
    ],
    joined: None,
    full: None,
    peer_joined: row("room.peer-joined", &[("room", Field::RoomId), ("peer", Field::Peer)]),
    peer_left: row(
        "room.peer-left",
        &[("room", Field::RoomId), ("peerId", Field::PeerId), ("reason", Field::Reason)],
    ),
    peer_away: Some(row("room.peer-away", &[("room", Field::RoomId), ("peerId", Field::PeerId)])),
    peer_reconnected: row("room.peer-reconnected", &[("room", Field::RoomId), ("peerId", Field::PeerId)]),
    room_closed: row("room.closed", &[("room", Field::RoomId), ("reason", Field::Reason)]),
    room_timeout: row("room.timeout", &[("room", Field::RoomId)]),
    offer: SIGNAL,
    answer: SIGNAL,
    candidate: SIGNAL,
    signal: SIGNAL,
    chat: row(
        "chat",
        &[
            ("room", Field::RoomId),
            ("from", Field::PeerId),
            ("name", Field::Name),
            ("text", Field::Text),
            ("id", Field::MessageId),
            ("createdAt", Field::SaidAt),
        ],
    ),
    ice_servers: row(
        "ice.servers",
        &[("room", Field::RoomId), ("iceServers", Field::IceServers), ("iceTtl", Field::IceTtl)],
    ),
    draining: row("server.draining", &[]),
    error: super::render::ERROR,
};

const SIGNAL: super::Row = row(
    "signal",
    &[("room", Field::RoomId), ("from", Field::PeerId), ("kind", Field::Kind), ("data", Field::Data)],
);
