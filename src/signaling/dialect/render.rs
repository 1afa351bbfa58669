//! From an event and its pieces to JSON, as a row of a dialect's table says.

use serde::Serialize;
use serde::Serializer;
use serde::ser::SerializeMap;
use serde_json::value::RawValue;

use crate::ice::Minted;
use crate::rooms::Event;
use crate::rooms::Kind;
use crate::rooms::Member;
use crate::rooms::PeerId;
use crate::rooms::Room;
use crate::rooms::RoomId;
use crate::rooms::Token;
use crate::signaling::error::Failure;

/// What an incoming event asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::signaling) enum Verb {
    /// A seat; the room is made as this kind if it is not there.
    Join(Kind),
    /// A room of one's own, under a fresh id.
    Create,
    /// One's seat be given up.
    Leave,
    /// Something be passed on; `None`: the argument says of what kind it is.
    Signal(Option<&'static str>),
    /// Something be said.
    Chat,
    /// Fresh credentials.
    RefreshIce,
}

/// How an event is said: its name, and its keys with what they hold.
#[derive(Clone, Copy)]
pub(in crate::signaling) struct Row {
    pub(in crate::signaling) event: &'static str,
    fields: &'static [(&'static str, Field)],
}

pub(super) const fn row(event: &'static str, fields: &'static [(&'static str, Field)]) -> Row {
    Row { event, fields }
}

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

/// What a key holds. What there is nothing of is left out.
#[derive(Clone, Copy)]
pub(super) enum Field {
    True,
    False,
    /// `{code, message, retryAfter?}`
    Failure,
    Code,
    Message,
    Command,
    /// Seconds.
    RetryAfter,
    RoomId,
    /// `{id, kind, name?, capacity, createdAt, status}`
    Room,
    /// The receiver: `{peerId, userId?, name?}`
    Me,
    MyId,
    /// The others, each as `Peer`.
    Peers,
    PeerIds,
    /// `{peerId, userId?, name?, polite, away?}`
    Peer,
    PeerId,
    /// The name of the peer the event is about.
    Name,
    Reason,
    Kind,
    Data,
    Text,
    MessageId,
    /// Milliseconds since 1970.
    SaidAt,
    ClientId,
    IceServers,
    /// Seconds.
    IceTtl,
    Resume,
    /// Only when true.
    Resumed,
    /// How many events were lost while away; only when any.
    Missed,
}

/// Everything a row may ask for.
#[derive(Clone, Copy, Default)]
pub(in crate::signaling) struct Pieces<'a> {
    pub(in crate::signaling) room_id: Option<&'a RoomId>,
    /// As it is now; none when it is no longer there.
    pub(in crate::signaling) room: Option<&'a Room>,
    /// Who is told.
    pub(in crate::signaling) me: Option<PeerId>,
    /// Whom it is about.
    pub(in crate::signaling) peer: Option<PeerId>,
    pub(in crate::signaling) reason: Option<&'static str>,
    pub(in crate::signaling) kind: Option<&'a str>,
    pub(in crate::signaling) data: Option<&'a RawValue>,
    pub(in crate::signaling) text: Option<&'a str>,
    pub(in crate::signaling) message_id: Option<PeerId>,
    pub(in crate::signaling) said_at: Option<u64>,
    pub(in crate::signaling) client_id: Option<&'a str>,
    pub(in crate::signaling) ice: Option<&'a Minted>,
    pub(in crate::signaling) resume: Option<Token>,
    pub(in crate::signaling) resumed: bool,
    pub(in crate::signaling) missed: u64,
    pub(in crate::signaling) failure: Option<&'a Failure>,
    pub(in crate::signaling) command: Option<&'a str>,
}

impl<'a> Pieces<'a> {
    /// Of an event in a room, told to `me`.
    pub(in crate::signaling) fn of(
        event: &Event<'a>,
        room_id: &'a RoomId,
        room: Option<&'a Room>,
        me: PeerId,
    ) -> Pieces<'a> {
        let mut it = Pieces { room_id: Some(room_id), room, me: Some(me), ..Pieces::default() };
        match *event {
            Event::PeerJoined { peer } | Event::PeerAway { peer } | Event::PeerReconnected { peer } => {
                it.peer = Some(peer);
            }
            Event::PeerLeft { peer, reason } => {
                it.peer = Some(peer);
                it.reason = Some(reason.name());
            }
            Event::RoomClosed { reason } => it.reason = Some(reason.name()),
            Event::RoomTimeout => {}
            Event::Signal { from, kind, data } => {
                it.peer = Some(from);
                it.kind = Some(kind);
                it.data = Some(data);
            }
            Event::Chat { from, text, id, at_ms } => {
                it.peer = Some(from);
                it.text = Some(text);
                it.message_id = Some(id);
                it.said_at = Some(at_ms);
            }
        }
        it
    }

    fn my_seat(&self) -> Option<&'a Member> {
        self.room.zip(self.me).and_then(|(room, me)| room.member(me))
    }

    fn their_seat(&self) -> Option<&'a Member> {
        self.room.zip(self.peer).and_then(|(room, peer)| room.member(peer))
    }

    fn write<M: SerializeMap>(&self, map: &mut M, key: &str, field: Field) -> Result<(), M::Error> {
        match field {
            Field::True => map.serialize_entry(key, &true),
            Field::False => map.serialize_entry(key, &false),
            Field::Failure => some(map, key, self.failure.map(FailureBody)),
            Field::Code => some(map, key, self.failure.map(|failure| failure.code.name())),
            Field::Message => some(map, key, self.failure.map(|failure| &failure.message)),
            Field::Command => some(map, key, self.command),
            Field::RetryAfter => some(map, key, self.failure.and_then(retry_after)),
            Field::RoomId => some(map, key, self.room_id.map(RoomId::as_str)),
            Field::Room => some(map, key, self.room.map(RoomBody)),
            Field::Me => some(map, key, self.my_seat().map(|it| PeerBody { it, me: None })),
            Field::MyId => some(map, key, self.me.map(Id)),
            Field::Peers => some(map, key, self.room.zip(self.my_seat()).map(|(r, me)| PeerList(r, me))),
            Field::PeerIds => some(map, key, self.room.zip(self.me).map(|(room, me)| IdList(room, me))),
            Field::Peer => some(map, key, self.their_seat().map(|it| PeerBody { it, me: self.my_seat() })),
            Field::PeerId => some(map, key, self.peer.map(Id)),
            Field::Name => some(map, key, self.their_seat().and_then(|member| member.name.as_deref())),
            Field::Reason => some(map, key, self.reason),
            Field::Kind => some(map, key, self.kind),
            Field::Data => some(map, key, self.data),
            Field::Text => some(map, key, self.text),
            Field::MessageId => some(map, key, self.message_id.map(Id)),
            Field::SaidAt => some(map, key, self.said_at),
            Field::ClientId => some(map, key, self.client_id),
            Field::IceServers => some(map, key, self.ice),
            Field::IceTtl => some(map, key, self.ice.map(Minted::ttl)),
            Field::Resume => some(map, key, self.resume.map(Secret)),
            Field::Resumed => some(map, key, self.resumed.then_some(true)),
            Field::Missed => some(map, key, (self.missed > 0).then_some(self.missed)),
        }
    }
}

fn some<M: SerializeMap, T: Serialize>(map: &mut M, key: &str, value: Option<T>) -> Result<(), M::Error> {
    match value {
        Some(value) => map.serialize_entry(key, &value),
        None => Ok(()),
    }
}

/// Whole seconds, at least one.
fn retry_after(failure: &Failure) -> Option<u64> {
    failure.retry_after.map(|wait| wait.as_secs() + 1)
}

/// An event, ready to be written.
pub(in crate::signaling) struct Rendered<'a>(
    pub(in crate::signaling) Row,
    pub(in crate::signaling) Pieces<'a>,
);

impl Serialize for Rendered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, field) in self.0.fields {
            self.1.write(&mut map, key, *field)?;
        }
        map.end()
    }
}

struct Id(PeerId);

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.with_text(|text| serializer.serialize_str(text))
    }
}

struct Secret(Token);

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.reveal(|text| serializer.serialize_str(text))
    }
}

struct FailureBody<'a>(&'a Failure);

impl Serialize for FailureBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("code", self.0.code.name())?;
        map.serialize_entry("message", &self.0.message)?;
        some(&mut map, "retryAfter", retry_after(self.0))?;
        map.end()
    }
}

struct RoomBody<'a>(&'a Room);

impl Serialize for RoomBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let room = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", room.id.as_str())?;
        map.serialize_entry("kind", room.kind.name())?;
        some(&mut map, "name", room.name.as_deref())?;
        map.serialize_entry("capacity", &room.capacity)?;
        map.serialize_entry("createdAt", &room.created_at)?;
        map.serialize_entry("status", room.status.name())?;
        map.end()
    }
}

/// A peer; towards `me`, with who of the two is polite.
struct PeerBody<'a> {
    it: &'a Member,
    me: Option<&'a Member>,
}

impl Serialize for PeerBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("peerId", &Id(self.it.peer))?;
        some(&mut map, "userId", self.it.user.as_deref())?;
        some(&mut map, "name", self.it.name.as_deref())?;
        some(&mut map, "polite", self.me.map(|me| Room::polite(me, self.it)))?;
        some(&mut map, "away", self.it.away.map(|_| true))?;
        map.end()
    }
}

struct PeerList<'a>(&'a Room, &'a Member);

impl Serialize for PeerList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.others(self.1.peer).map(|it| PeerBody { it, me: Some(self.1) }))
    }
}

struct IdList<'a>(&'a Room, PeerId);

impl Serialize for IdList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.others(self.1).map(|it| Id(it.peer)))
    }
}
