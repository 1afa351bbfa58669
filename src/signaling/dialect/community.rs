//! The dialect of communities: rooms with names and passwords, a directory, messages that are kept, contacts and invitations.
//! Commands are answered by `{success, error}`.

use super::Acks;
use super::Dialect;
use super::Row;
use super::Verb;
use super::field::Field;
use super::field::Fields;
use super::mesh;
use super::native;
use super::row;

pub(in crate::signaling) static COMMUNITY: Dialect = Dialect {
    name: "community",
    verbs: &[
        ("ice-candidate", Verb::Signal(Some("candidate"))),
        ("offer", Verb::Signal(Some("offer"))),
        ("answer", Verb::Signal(Some("answer"))),
        ("gameAction", Verb::Signal(Some("action"))),
        ("chatMessage", Verb::Chat),
        ("sendMessage", Verb::Chat),
        ("joinRoom", Verb::Join(None)),
        ("leaveRoom", Verb::Leave),
        ("createRoom", Verb::Create { seat: true }),
        ("deleteRoom", Verb::Delete),
        ("inviteToRoom", Verb::Invite),
    ],
    acks: Acks {
        done: row("", &[SUCCESS]),
        failed: row(
            "",
            &[
                ("success", Field::False),
                ("error", Field::Message),
                ("code", Field::Code),
                ("retryAfter", Field::RetryAfter),
            ],
        ),
        created: row("", CREATED),
        joined: row("", JOINED),
        waits: row(
            "",
            &[
                ("success", Field::False),
                ("error", Field::Says("You are waiting to be let in")),
                ("waiting", Field::True),
                ("roomId", Field::RoomId),
                ("peerId", Field::PeerId),
            ],
        ),
        ice: row("", &[SUCCESS, ("iceServers", Field::IceServers), ("iceTtl", Field::IceTtl)]),
        said: row(
            "",
            &[
                SUCCESS,
                ("messageId", Field::MessageId),
                ("createdAt", Field::SaidAtText),
                ("clientId", Field::ClientId),
            ],
        ),
        history: row(
            "",
            &[
                SUCCESS,
                ("roomId", Field::RoomId),
                ("messages", Field::Messages(MESSAGE)),
                ("before", Field::Next),
            ],
        ),
        list: row("", &[SUCCESS, ("rooms", Field::Rooms(LISTED)), ("cursor", Field::Next)]),
    },
    counts: false,
    echoes: true,
    directory: true,
    history: true,
    lists: true,
    rejoins: true,
    joined: &[
        row("joinedRoom", SEATED),
        row("userList", &[("roomId", Field::RoomId), ("users", Field::Users)]),
        row("roomHistory", &[("roomId", Field::RoomId), ("history", Field::Messages(MESSAGE))]),
    ],
    created: &[row("roomCreated", SEATED)],
    admitted: &[row("joinedRoom", SEATED)],
    waits: Some(row("roomWaiting", &[("roomId", Field::RoomId), ("peerId", Field::PeerId)])),
    full: None,
    peer_joined: Some(row("userJoined", USER)),
    peer_left: Some(row(
        "userLeft",
        &[
            ("roomId", Field::RoomId),
            ("userId", Field::UserId),
            ("username", Field::NameOrId),
            ("peerId", Field::PeerId),
            ("reason", Field::Reason),
            ("disconnected", Field::Disconnected),
        ],
    )),
    last_only: true,
    peer_away: None,
    peer_reconnected: Some(row("userReconnected", USER)),
    // Its lobbies are ruled by others.
    peer_waiting: None,
    peer_not_waiting: None,
    denied: Some(row("joinDenied", &[("roomId", Field::RoomId), ("reason", Field::Reason)])),
    room_changed: None,
    room_closed: Some(DELETED),
    kicked: None,
    room_timeout: Some(DELETED),
    offer: Some(mesh::OFFER),
    answer: Some(mesh::ANSWER),
    candidate: Some(mesh::CANDIDATE),
    action: Some(row(
        "gameUpdate",
        &[
            ("roomId", Field::RoomId),
            ("action", Field::Data),
            ("player", Field::UserId),
            ("timestamp", Field::NowText),
        ],
    )),
    signal: Some(mesh::SIGNAL),
    chat: Some(row("newMessage", MESSAGE)),
    ice_servers: row(
        "iceServers",
        &[("roomId", Field::RoomId), ("iceServers", Field::IceServers), ("iceTtl", Field::IceTtl)],
    ),
    draining: row("serverDraining", &[]),
    error: native::ERROR,
    // One by each of the names it goes by.
    room_available: &[
        row(
            "newRoomAvailable",
            &[
                ("roomId", Field::RoomId),
                ("name", Field::RoomName),
                ("userCount", Field::Count),
                ("maxUsers", Field::Capacity),
                ("hasPassword", Field::HasPassword),
            ],
        ),
        row(
            "newPublicRoom",
            &[
                ("id", Field::RoomId),
                ("name", Field::RoomName),
                ("creator", Field::Creator),
                ("memberCount", Field::Belonging),
                ("createdAt", Field::CreatedAtText),
            ],
        ),
    ],
    room_updated: Some(row(
        "roomUpdated",
        &[
            ("roomId", Field::RoomId),
            ("name", Field::RoomName),
            ("userCount", Field::Count),
            ("memberCount", Field::Belonging),
            ("maxUsers", Field::Capacity),
            ("hasPassword", Field::HasPassword),
        ],
    )),
    room_removed: Some(row("roomRemoved", &[("roomId", Field::RoomId)])),
    rooms_list: Some(row("roomsList", &[("", Field::Rooms(LISTED))])),
    online: Some(row("contactOnline", CONTACT)),
    offline: Some(row("contactOffline", CONTACT)),
    invited: Some(row(
        "roomInvitation",
        &[
            ("roomId", Field::RoomId),
            ("roomName", Field::RoomName),
            ("invitedBy", Field::Object(&[("id", Field::User), ("username", Field::NameOrId)])),
        ],
    )),
};

const SUCCESS: (&str, Field) = ("success", Field::True);

/// A room as its members see it.
const ROOM: Fields = &[
    ("id", Field::RoomId),
    ("name", Field::RoomName),
    ("description", Field::Description),
    ("type", Field::Lasting),
    ("creator", Field::Creator),
    ("createdAt", Field::CreatedAtText),
    ("isPrivate", Field::Private),
    ("hasPassword", Field::HasPassword),
    ("maxUsers", Field::Capacity),
    ("users", Field::Users),
];

/// A room in a list.
const LISTED: Fields = &[
    ("id", Field::RoomId),
    ("name", Field::RoomName),
    ("description", Field::Description),
    ("isPublic", Field::Public),
    ("hasPassword", Field::HasPassword),
    ("memberCount", Field::Belonging),
    ("userCount", Field::Count),
    ("maxUsers", Field::Capacity),
    ("createdAt", Field::CreatedAtText),
    ("lastActivity", Field::ActiveAtText),
    // What was read is not kept.
    ("unreadCount", Field::Zero),
];

/// What a newcomer is told.
const SEATED: Fields = &[
    ("roomId", Field::RoomId),
    ("room", Field::Object(ROOM)),
    ("self", Field::MyId),
    ("peers", Field::Peers),
    ("iceServers", Field::IceServers),
    ("iceTtl", Field::IceTtl),
    ("resume", Field::Resume),
    ("resumed", Field::Resumed),
    ("restored", Field::Restored),
    ("missed", Field::Missed),
];

const CREATED: Fields = &[
    SUCCESS,
    ("roomId", Field::RoomId),
    ("room", Field::Object(ROOM)),
    ("self", Field::MyId),
    ("iceServers", Field::IceServers),
    ("iceTtl", Field::IceTtl),
    ("resume", Field::Resume),
];

const JOINED: Fields = &[
    SUCCESS,
    ("roomId", Field::RoomId),
    ("room", Field::Object(ROOM)),
    ("messages", Field::Messages(MESSAGE)),
    ("self", Field::MyId),
    ("peers", Field::Peers),
    ("iceServers", Field::IceServers),
    ("iceTtl", Field::IceTtl),
    ("resume", Field::Resume),
    ("resumed", Field::Resumed),
    ("restored", Field::Restored),
    ("missed", Field::Missed),
];

const PERSON: Field =
    Field::Object(&[("id", Field::UserId), ("username", Field::NameOrId), ("peerId", Field::PeerId)]);

const USER: Fields = &[
    ("roomId", Field::RoomId),
    ("userId", Field::UserId),
    ("user", PERSON),
    ("peerId", Field::PeerId),
    ("peer", Field::Peer),
];

const MESSAGE: Fields = &[
    ("id", Field::MessageId),
    ("roomId", Field::RoomId),
    ("sender", PERSON),
    ("userId", Field::UserId),
    ("text", Field::Text),
    ("attachments", Field::Attachments),
    ("createdAt", Field::SaidAtText),
    ("timestamp", Field::SaidAtText),
    ("clientId", Field::ClientId),
];

const DELETED: Row = row("roomDeleted", &[("roomId", Field::RoomId), ("reason", Field::Reason)]);

const CONTACT: Fields = &[("userId", Field::User), ("username", Field::NameOrId)];
