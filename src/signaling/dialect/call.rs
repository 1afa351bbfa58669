//! The dialect of the tutorials' two-party call: `join`, `offer`, `answer`, `ice-candidate`, `chat-message`.

use super::Dialect;
use super::Row;
use super::Verb;
use super::field::Field;
use super::field::Fields;
use super::native;
use super::row;
use crate::rooms::Kind;

pub(in crate::signaling) static CALL: Dialect = Dialect {
    name: "call",
    verbs: &[
        ("ice-candidate", Verb::Signal(Some("candidate"))),
        ("offer", Verb::Signal(Some("offer"))),
        ("answer", Verb::Signal(Some("answer"))),
        ("chat-message", Verb::Chat),
        ("join", Verb::Join(Some((Kind::Call, false)))),
        ("leave", Verb::Leave),
    ],
    acks: native::ACKS,
    counts: false,
    echoes: false,
    directory: false,
    history: false,
    lists: false,
    rejoins: false,
    joined: JOINED,
    created: &[],
    admitted: JOINED,
    waits: None,
    full: Some(row("full", &[("roomId", Field::RoomId)])),
    peer_joined: Some(row("peer-joined", PEER)),
    peer_left: Some(row(
        "peer-left",
        &[("peerId", Field::PeerId), ("roomId", Field::RoomId), ("reason", Field::Reason)],
    )),
    last_only: false,
    peer_away: None,
    peer_reconnected: Some(row("peer-rejoined", PEER)),
    // A call has no lobby and nobody to rule it.
    peer_waiting: None,
    peer_not_waiting: None,
    denied: Some(row("room-closed", &[("roomId", Field::RoomId), ("reason", Field::Reason)])),
    room_changed: None,
    room_closed: Some(row("room-closed", &[("roomId", Field::RoomId), ("reason", Field::Reason)])),
    kicked: None,
    room_timeout: Some(row("room-timeout", &[("roomId", Field::RoomId)])),
    offer: Some(row("offer", DESCRIPTION)),
    answer: Some(row("answer", DESCRIPTION)),
    candidate: Some(row(
        "ice-candidate",
        &[("from", Field::PeerId), ("roomId", Field::RoomId), ("candidate", Field::Data)],
    )),
    action: None,
    signal: Some(row(
        "signal",
        &[("from", Field::PeerId), ("roomId", Field::RoomId), ("kind", Field::Kind), ("data", Field::Data)],
    )),
    chat: Some(row("chat-message", &[("from", Field::PeerId), ("msg", Field::Text)])),
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
    "joined",
    &[
        ("roomId", Field::RoomId),
        ("peers", Field::PeerIds),
        ("self", Field::MyId),
        ("iceServers", Field::IceServers),
        ("iceTtl", Field::IceTtl),
        ("resume", Field::Resume),
        ("resumed", Field::Resumed),
        ("restored", Field::Restored),
        ("missed", Field::Missed),
    ],
)];

const PEER: Fields = &[("peerId", Field::PeerId), ("roomId", Field::RoomId)];

const DESCRIPTION: Fields = &[("from", Field::PeerId), ("roomId", Field::RoomId), ("sdp", Field::Data)];
