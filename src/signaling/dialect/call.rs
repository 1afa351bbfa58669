//! The dialect of the tutorials' two-party call: `join`, `offer`, `answer`, `ice-candidate`, `chat-message`.

use super::Dialect;
use super::render::Field;
use super::render::Verb;
use super::render::row;
use crate::rooms::Kind;

pub(in crate::signaling) static CALL: Dialect = Dialect {
    name: "call",
    verbs: &[
        ("ice-candidate", Verb::Signal(Some("candidate"))),
        ("offer", Verb::Signal(Some("offer"))),
        ("answer", Verb::Signal(Some("answer"))),
        ("chat-message", Verb::Chat),
        ("join", Verb::Join(Kind::Call)),
        ("leave", Verb::Leave),
    ],
    joined: Some(row(
        "joined",
        &[
            ("roomId", Field::RoomId),
            ("peers", Field::PeerIds),
            ("self", Field::MyId),
            ("iceServers", Field::IceServers),
            ("iceTtl", Field::IceTtl),
            ("resume", Field::Resume),
            ("resumed", Field::Resumed),
            ("missed", Field::Missed),
        ],
    )),
    full: Some(row("full", &[("roomId", Field::RoomId)])),
    peer_joined: row("peer-joined", &[("peerId", Field::PeerId), ("roomId", Field::RoomId)]),
    peer_left: row(
        "peer-left",
        &[("peerId", Field::PeerId), ("roomId", Field::RoomId), ("reason", Field::Reason)],
    ),
    peer_away: None,
    peer_reconnected: row("peer-rejoined", &[("peerId", Field::PeerId), ("roomId", Field::RoomId)]),
    room_closed: row("room-closed", &[("roomId", Field::RoomId), ("reason", Field::Reason)]),
    room_timeout: row("room-timeout", &[("roomId", Field::RoomId)]),
    offer: row("offer", DESCRIPTION),
    answer: row("answer", DESCRIPTION),
    candidate: row(
        "ice-candidate",
        &[("from", Field::PeerId), ("roomId", Field::RoomId), ("candidate", Field::Data)],
    ),
    signal: row(
        "signal",
        &[("from", Field::PeerId), ("roomId", Field::RoomId), ("kind", Field::Kind), ("data", Field::Data)],
    ),
    chat: row("chat-message", &[("from", Field::PeerId), ("msg", Field::Text)]),
    ice_servers: row(
        "ice-servers",
        &[("roomId", Field::RoomId), ("iceServers", Field::IceServers), ("iceTtl", Field::IceTtl)],
    ),
    draining: row("server-draining", &[]),
    error: super::render::ERROR,
};

const DESCRIPTION: &[(&str, Field)] =
    &[("from", Field::PeerId), ("roomId", Field::RoomId), ("sdp", Field::Data)];
