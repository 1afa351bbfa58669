//! The project's own dialect: what the SDK speaks. Commands are answered by acknowledgement.

use super::Acks;
use super::Dialect;
use super::Row;
use super::Verb;
use super::field::Field;
use super::field::Fields;
use super::row;
use crate::rooms::Kind;

pub(in crate::signaling) static NATIVE: Dialect = Dialect {
    name: "native",
    verbs: &[
        ("signal", Verb::Signal(None)),
        ("chat", Verb::Chat),
        ("room.join", Verb::Join(Some((Kind::Room, false)))),
        ("room.leave", Verb::Leave),
        ("room.create", Verb::Create { seat: false }),
        ("room.delete", Verb::Delete),
        ("room.history", Verb::History),
        ("room.list", Verb::List),
        ("room.invite", Verb::Invite),
        ("room.kick", Verb::Kick),
        ("room.ban", Verb::Ban),
        ("room.pardon", Verb::Pardon),
        ("room.lock", Verb::Lock),
        ("room.admit", Verb::Admit),
        ("room.promote", Verb::Promote),
        ("ice.refresh", Verb::RefreshIce),
    ],
    acks: ACKS,
    counts: true,
    echoes: false,
    directory: false,
    history: false,
    lists: false,
    rejoins: false,
    joined: &[],
    created: &[],
    admitted: &[row("room.admitted", SEATED)],
    waits: None,
    full: None,
    peer_joined: Some(row("room.peer-joined", &[SEQ, ("room", Field::RoomId), ("peer", Field::Peer)])),
    peer_left: Some(row(
        "room.peer-left",
        &[SEQ, ("room", Field::RoomId), ("peerId", Field::PeerId), ("reason", Field::Reason)],
    )),
    last_only: false,
    peer_away: Some(row("room.peer-away", &[SEQ, ("room", Field::RoomId), ("peerId", Field::PeerId)])),
    peer_reconnected: Some(row(
        "room.peer-reconnected",
        &[SEQ, ("room", Field::RoomId), ("peerId", Field::PeerId), ("peer", Field::Peer)],
    )),
    peer_waiting: Some(row("room.peer-waiting", &[SEQ, ("room", Field::RoomId), ("peer", Field::Peer)])),
    peer_not_waiting: Some(row(
        "room.peer-not-waiting",
        &[SEQ, ("room", Field::RoomId), ("peerId", Field::PeerId)],
    )),
    denied: Some(row("room.denied", &[SEQ, ("room", Field::RoomId), ("reason", Field::Reason)])),
    room_changed: Some(row(
        "room.changed",
        &[SEQ, ("room", Field::RoomId), ("state", Field::Room), ("self", Field::Me), ("ranks", Field::Ranks)],
    )),
    room_closed: Some(row("room.closed", &[SEQ, ("room", Field::RoomId), ("reason", Field::Reason)])),
    kicked: None,
    room_timeout: Some(row("room.timeout", &[SEQ, ("room", Field::RoomId)])),
    offer: Some(SIGNAL),
    answer: Some(SIGNAL),
    candidate: Some(SIGNAL),
    action: None,
    signal: Some(SIGNAL),
    chat: Some(row(
        "chat",
        &[
            SEQ,
            ("room", Field::RoomId),
            ("from", Field::PeerId),
            ("userId", Field::User),
            ("name", Field::Name),
            ("text", Field::Text),
            ("attachments", Field::Attachments),
            ("id", Field::MessageId),
            ("createdAt", Field::SaidAt),
        ],
    )),
    ice_servers: row(
        "ice.servers",
        &[("room", Field::RoomId), ("iceServers", Field::IceServers), ("iceTtl", Field::IceTtl)],
    ),
    draining: row("server.draining", &[]),
    error: ERROR,
    room_available: &[row("room.available", &[("room", Field::Room)])],
    room_updated: Some(row("room.updated", &[("room", Field::Room)])),
    room_removed: Some(row("room.removed", &[("room", Field::RoomId)])),
    rooms_list: None,
    online: Some(row("presence", &[("userId", Field::User), ("name", Field::Name), ("online", Field::True)])),
    offline: Some(row(
        "presence",
        &[("userId", Field::User), ("name", Field::Name), ("online", Field::False)],
    )),
    invited: Some(row(
        "room.invited",
        &[("room", Field::Room), ("by", Field::Object(&[("userId", Field::User), ("name", Field::Name)]))],
    )),
};

const SEQ: (&str, Field) = ("seq", Field::Seq);

const SIGNAL: Row = row(
    "signal",
    &[SEQ, ("room", Field::RoomId), ("from", Field::PeerId), ("kind", Field::Kind), ("data", Field::Data)],
);

/// A message in a history.
const MESSAGE: Fields = &[
    ("id", Field::MessageId),
    ("from", Field::PeerId),
    ("userId", Field::User),
    ("name", Field::Name),
    ("text", Field::Text),
    ("attachments", Field::Attachments),
    ("createdAt", Field::SaidAt),
    ("clientId", Field::ClientId),
];

/// `error` is the same everywhere.
pub(super) const ERROR: Row = row(
    "error",
    &[
        ("code", Field::Code),
        ("message", Field::Message),
        ("command", Field::Command),
        ("retryAfter", Field::RetryAfter),
    ],
);

const OK: (&str, Field) = ("ok", Field::True);

/// What a newcomer is told.
const SEATED: Fields = &[
    OK,
    ("room", Field::Room),
    ("self", Field::Me),
    ("peers", Field::Peers),
    ("iceServers", Field::IceServers),
    ("iceTtl", Field::IceTtl),
    ("resume", Field::Resume),
    ("resumed", Field::Resumed),
    ("restored", Field::Restored),
    ("missed", Field::Missed),
];

/// Also of those dialects that know no acknowledgements of their own.
pub(super) const ACKS: Acks = Acks {
    done: row("", &[OK]),
    failed: row("", &[("ok", Field::False), ("error", Field::Failure)]),
    created: row("", &[OK, ("room", Field::Room)]),
    joined: row("", SEATED),
    waits: row("", &[OK, ("waiting", Field::True), ("room", Field::Room), ("peerId", Field::PeerId)]),
    ice: row("", &[OK, ("iceServers", Field::IceServers), ("iceTtl", Field::IceTtl)]),
    said: row(
        "",
        &[OK, ("id", Field::MessageId), ("createdAt", Field::SaidAt), ("clientId", Field::ClientId)],
    ),
    history: row("", &[OK, ("messages", Field::Messages(MESSAGE)), ("before", Field::Next)]),
    list: row("", &[OK, ("rooms", Field::Directory), ("cursor", Field::Next)]),
};
