//! From an event and its pieces to JSON, as a row of a dialect's table says.

use std::collections::HashSet;

use serde::Serialize;
use serde::Serializer;
use serde::ser::SerializeMap;
use serde::ser::SerializeSeq;
use serde_json::value::RawValue;

use super::Facts;
use super::Row;
use super::Seen;
use super::field::Field;
use super::field::Fields;
use crate::ice::Minted;
use crate::rooms::Event;
use crate::rooms::Kind;
use crate::rooms::LeftReason;
use crate::rooms::Media;
use crate::rooms::Member;
use crate::rooms::Message;
use crate::rooms::PeerId;
use crate::rooms::Room;
use crate::rooms::RoomId;
use crate::signaling::error::Failure;
use crate::signaling::hub::Hub;
use crate::signaling::offset::Offset;

/// Everything a row may ask for.
#[derive(Clone, Copy, Default)]
pub(in crate::signaling) struct Pieces<'a> {
    pub(in crate::signaling) room_id: Option<&'a RoomId>,
    /// As it is now; none when it is no longer there, or is only seen from outside.
    pub(in crate::signaling) room: Option<&'a Room>,
    /// What was looked up in it already, for others who are told the same.
    pub(in crate::signaling) seen: Option<&'a Seen>,
    /// The room seen from outside.
    pub(in crate::signaling) facts: Option<&'a Facts>,
    /// Who is told.
    pub(in crate::signaling) me: Option<PeerId>,
    /// Whom it is about.
    pub(in crate::signaling) peer: Option<PeerId>,
    /// Whose rank is another now.
    pub(in crate::signaling) ranks: &'a [PeerId],
    /// The same, where it has no seat (any more).
    pub(in crate::signaling) user: Option<&'a str>,
    pub(in crate::signaling) name: Option<&'a str>,
    pub(in crate::signaling) seq: Option<u64>,
    /// Which event it is, for a client that asks for that.
    pub(in crate::signaling) offset: Option<Offset>,
    pub(in crate::signaling) reason: Option<&'static str>,
    pub(in crate::signaling) kind: Option<&'a str>,
    pub(in crate::signaling) data: Option<&'a RawValue>,
    pub(in crate::signaling) message: Option<&'a Message>,
    pub(in crate::signaling) messages: Option<&'a [Message]>,
    pub(in crate::signaling) rooms: Option<&'a [Facts]>,
    pub(in crate::signaling) next: Option<&'a str>,
    pub(in crate::signaling) ice: Option<&'a Minted>,
    pub(in crate::signaling) resume: Option<&'a str>,
    pub(in crate::signaling) resumed: bool,
    /// Whom it is about has no connection any more.
    pub(in crate::signaling) disconnected: bool,
    pub(in crate::signaling) restored: bool,
    pub(in crate::signaling) missed: u64,
    pub(in crate::signaling) failure: Option<&'a Failure>,
    pub(in crate::signaling) command: Option<&'a str>,
}

impl<'a> Pieces<'a> {
    /// Of an event in a room, told to `me`.
    pub(in crate::signaling) fn of(
        event: &'a Event<'a>,
        room_id: &'a RoomId,
        room: Option<&'a Room>,
        me: PeerId,
        seen: &'a Seen,
    ) -> Pieces<'a> {
        let seen = Some(seen);
        let mut it = Pieces { room_id: Some(room_id), room, seen, me: Some(me), ..Pieces::default() };
        match event {
            Event::PeerJoined { peer }
            | Event::PeerAway { peer }
            | Event::PeerReconnected { peer }
            | Event::PeerNotWaiting { peer } => it.peer = Some(*peer),
            Event::PeerLeft { peer, user, name, reason, .. } => {
                it.peer = Some(*peer);
                it.user = user.as_deref();
                it.name = name.as_deref();
                it.reason = Some(reason.name());
                it.disconnected = matches!(reason, LeftReason::Lost | LeftReason::Disconnected);
            }
            Event::PeerWaiting { peer, user, name } => {
                it.peer = Some(*peer);
                it.user = user.as_deref();
                it.name = name.as_deref();
            }
            Event::RoomClosed { reason } => it.reason = Some(reason.name()),
            Event::Denied => it.reason = Some("denied"),
            Event::RoomTimeout => it.reason = Some("timeout"),
            Event::Admitted => {}
            Event::RoomChanged { ranks } => it.ranks = ranks,
            Event::Signal { from, kind, data } => {
                it.peer = Some(*from);
                it.kind = Some(kind);
                it.data = Some(data);
            }
            Event::Chat(message) => it = it.about(message),
        }
        it
    }

    fn about(self, message: &'a Message) -> Pieces<'a> {
        Pieces {
            peer: Some(message.from),
            user: message.user.as_deref(),
            name: message.name.as_deref(),
            message: Some(message),
            ..self
        }
    }

    fn my_seat(&self) -> Option<&'a Member> {
        let (room, me) = self.room.zip(self.me)?;
        self.seen.map_or_else(|| room.member(me), |seen| seen.me(room, me))
    }

    fn their_seat(&self) -> Option<&'a Member> {
        let (room, peer) = self.room.zip(self.peer)?;
        self.seen.map_or_else(|| room.member(peer), |seen| seen.them(room, peer))
    }

    fn their_user(&self) -> Option<&'a str> {
        self.user.or_else(|| self.their_seat().and_then(|member| member.user.as_deref()))
    }

    fn their_name(&self) -> Option<&'a str> {
        self.name.or_else(|| self.their_seat().and_then(|member| member.name.as_deref()))
    }

    fn write<M: SerializeMap>(&self, map: &mut M, key: &str, field: Field) -> Result<(), M::Error> {
        match field {
            Field::True => map.serialize_entry(key, &true),
            Field::False => map.serialize_entry(key, &false),
            Field::Zero => map.serialize_entry(key, &0),
            Field::Says(text) => map.serialize_entry(key, text),
            Field::NowText => map.serialize_entry(key, &Moment(Hub::now().unix_ms)),
            Field::Object(fields) => map.serialize_entry(key, &Object(fields, *self)),
            Field::Failure => some(map, key, self.failure.map(FailureBody)),
            Field::Code => some(map, key, self.failure.map(|failure| failure.code.name())),
            Field::Message => some(map, key, self.failure.map(|failure| &failure.message)),
            Field::Command => some(map, key, self.command),
            Field::RetryAfter => some(map, key, self.failure.and_then(retry_after)),
            Field::Seq => some(map, key, self.seq),
            Field::Me => some(map, key, self.my_seat().map(|it| PeerBody { it, me: None })),
            Field::MyId => some(map, key, self.me.map(Id)),
            Field::Peers => some(map, key, self.room.zip(self.my_seat()).map(|(r, me)| PeerList(r, me))),
            Field::Ranks => match (self.room, self.seen, self.my_seat()) {
                (Some(room), Some(seen), Some(me)) if self.ranks.iter().any(|it| *it != me.peer) => {
                    map.serialize_entry(key, &RankList { room, seen, ranks: self.ranks, me })
                }
                _ => Ok(()),
            },
            Field::PeerIds => some(map, key, self.room.zip(self.me).map(|(room, me)| IdList(room, me))),
            Field::Peer => match self.their_seat() {
                Some(it) => map.serialize_entry(key, &PeerBody { it, me: self.my_seat() }),
                None => some(map, key, self.peer.map(|peer| Absent { peer, of: *self })),
            },
            Field::PeerId => some(map, key, self.peer.map(Id)),
            Field::UserId => match self.their_user() {
                Some(user) => map.serialize_entry(key, user),
                None => some(map, key, self.peer.map(Id)),
            },
            Field::User => some(map, key, self.their_user()),
            Field::Name => some(map, key, self.their_name()),
            Field::NameOrId => match self.their_name().or_else(|| self.their_user()) {
                Some(name) => map.serialize_entry(key, name),
                None => some(map, key, self.peer.map(Id)),
            },
            Field::Reason => some(map, key, self.reason),
            Field::Disconnected => some(map, key, self.disconnected.then_some(true)),
            Field::Kind => some(map, key, self.kind),
            Field::Data => some(map, key, self.data),
            Field::IceServers => some(map, key, self.ice),
            Field::IceTtl => some(map, key, self.ice.map(Minted::ttl)),
            Field::Resume => some(map, key, self.resume),
            Field::Resumed => some(map, key, self.resumed.then_some(true)),
            Field::Restored => some(map, key, self.restored.then_some(true)),
            Field::Missed => some(map, key, (self.missed > 0).then_some(self.missed)),
            Field::Messages(fields) => {
                some(map, key, self.messages.map(|it| MessageList(it, fields, self.room_id)))
            }
            Field::Next => some(map, key, self.next),
            Field::Directory => some(map, key, self.rooms.map(Directory)),
            Field::Rooms(fields) => some(map, key, self.rooms.map(|them| RoomList(them, fields))),
            Field::Text
            | Field::Attachments
            | Field::MessageId
            | Field::SaidAt
            | Field::SaidAtText
            | Field::ClientId => match self.message {
                Some(message) => write_message(map, key, field, message),
                None => Ok(()),
            },
            _ => self.write_room(map, key, field),
        }
    }

    /// What is said of a room, whether it is seen from inside or from outside.
    fn write_room<M: SerializeMap>(&self, map: &mut M, key: &str, field: Field) -> Result<(), M::Error> {
        match field {
            Field::RoomId => {
                return some(
                    map,
                    key,
                    self.room_id.or(self.facts.map(|facts| &facts.id)).map(RoomId::as_str),
                );
            }
            Field::Users => return some(map, key, self.room.map(|room| UserList(room, None))),
            Field::OtherUsers => return some(map, key, self.room.map(|room| UserList(room, self.me))),
            _ => {}
        }
        let own;
        let facts = match (self.facts, self.room, self.seen) {
            (Some(facts), ..) => facts,
            (None, Some(room), Some(seen)) => seen.facts(room),
            (None, Some(room), None) => {
                own = Facts::of(room);
                &own
            }
            (None, None, _) => return Ok(()),
        };
        match field {
            Field::Room => map.serialize_entry(key, &RoomBody(facts)),
            Field::RoomName => map.serialize_entry(key, facts.name.as_deref().unwrap_or(facts.id.as_str())),
            Field::Description => some(map, key, facts.description.as_deref()),
            Field::Creator => some(map, key, facts.creator.as_deref()),
            Field::Capacity => map.serialize_entry(key, &facts.capacity),
            Field::Count => map.serialize_entry(key, &facts.count),
            Field::Belonging => map.serialize_entry(key, &facts.belonging),
            Field::CreatedAtText => map.serialize_entry(key, &Moment(facts.created_at)),
            Field::ActiveAtText => map.serialize_entry(key, &Moment(facts.active_at)),
            Field::Lasting => {
                let lasts = facts.kind == Kind::Channel;
                map.serialize_entry(key, if lasts { "persistent" } else { "ephemeral" })
            }
            Field::Private => map.serialize_entry(key, &facts.private),
            Field::Public => map.serialize_entry(key, &!facts.private),
            Field::HasPassword => map.serialize_entry(key, &facts.has_password),
            _ => Ok(()),
        }
    }
}

fn write_message<M: SerializeMap>(
    map: &mut M,
    key: &str,
    field: Field,
    message: &Message,
) -> Result<(), M::Error> {
    match field {
        Field::Text => map.serialize_entry(key, &message.text),
        Field::Attachments => match &message.attachments {
            Some(attachments) => map.serialize_entry(key, attachments),
            None => map.serialize_entry(key, &[(); 0]),
        },
        Field::MessageId => map.serialize_entry(key, &Id(message.id)),
        Field::SaidAt => map.serialize_entry(key, &message.at),
        Field::SaidAtText => map.serialize_entry(key, &Moment(message.at)),
        Field::ClientId => some(map, key, message.client_id.as_deref()),
        _ => Ok(()),
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
        match (self.0.fields, self.1.rooms) {
            ([("", Field::Rooms(fields))], rooms) => {
                RoomList(rooms.unwrap_or_default(), fields).serialize(serializer)
            }
            (fields, _) if self.1.offset.is_some() => Numbered(fields, self.1).serialize(serializer),
            (fields, _) => Object(fields, self.1).serialize(serializer),
        }
    }
}

/// An event that says which one it is, and of which room.
struct Numbered<'a>(Fields, Pieces<'a>);

impl Serialize for Numbered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        some(&mut map, "offset", self.1.offset.as_ref().map(Text))?;
        if !self.0.iter().any(|(_, field)| matches!(field, Field::RoomId)) {
            self.1.write(&mut map, "roomId", Field::RoomId)?;
        }
        for (key, field) in self.0 {
            self.1.write(&mut map, key, *field)?;
        }
        map.end()
    }
}

/// As it is displayed.
struct Text<'a>(&'a Offset);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}

struct Object<'a>(Fields, Pieces<'a>);

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, field) in self.0 {
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

/// Milliseconds since 1970 as a text that every language's dates read (RFC 3339, in UTC).
struct Moment(u64);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&crate::signaling::moment::Moment(self.0))
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

struct RoomBody<'a>(&'a Facts);

impl Serialize for RoomBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let room = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", room.id.as_str())?;
        map.serialize_entry("kind", room.kind.name())?;
        some(&mut map, "name", room.name.as_deref())?;
        some(&mut map, "description", room.description.as_deref())?;
        some(&mut map, "media", room.media.map(Media::name))?;
        some(&mut map, "creator", room.creator.as_deref())?;
        map.serialize_entry("capacity", &room.capacity)?;
        map.serialize_entry("count", &room.count)?;
        map.serialize_entry("createdAt", &room.created_at)?;
        map.serialize_entry("status", room.status.name())?;
        for (key, flag) in [
            ("private", room.private),
            ("listed", room.listed),
            ("hasPassword", room.has_password),
            ("locked", room.locked),
            ("lobby", room.lobby),
            ("autoDelete", room.auto_delete),
        ] {
            some(&mut map, key, flag.then_some(true))?;
        }
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
        let rank = self.it.rank;
        some(&mut map, "rank", (rank != crate::rooms::Rank::Member).then(|| rank.name()))?;
        some(&mut map, "away", self.it.away.map(|_| true))?;
        map.end()
    }
}

/// A peer without a seat: in the lobby.
struct Absent<'a> {
    peer: PeerId,
    of: Pieces<'a>,
}

impl Serialize for Absent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("peerId", &Id(self.peer))?;
        some(&mut map, "userId", self.of.user)?;
        some(&mut map, "name", self.of.name)?;
        map.end()
    }
}

struct PeerList<'a>(&'a Room, &'a Member);

impl Serialize for PeerList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.others(self.1.peer).map(|it| PeerBody { it, me: Some(self.1) }))
    }
}

struct RankList<'a> {
    room: &'a Room,
    seen: &'a Seen,
    ranks: &'a [PeerId],
    me: &'a Member,
}

impl Serialize for RankList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let me = self.me;
        let others = self.seen.some(self.room, self.ranks).filter(|it| it.peer != me.peer);
        serializer.collect_seq(others.map(|it| PeerBody { it, me: Some(me) }))
    }
}

struct IdList<'a>(&'a Room, PeerId);

impl Serialize for IdList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.others(self.1).map(|it| Id(it.peer)))
    }
}

/// The users in a room, in the order of their coming, each once; without one of the peers.
struct UserList<'a>(&'a Room, Option<PeerId>);

impl Serialize for UserList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut users: HashSet<&str> = HashSet::new();
        let mut list = serializer.serialize_seq(None)?;
        for member in self.0.members.iter().filter(|member| Some(member.peer) != self.1) {
            match member.user.as_deref() {
                Some(user) if !users.insert(user) => {}
                Some(user) => list.serialize_element(user)?,
                None => list.serialize_element(&Id(member.peer))?,
            }
        }
        list.end()
    }
}

struct MessageList<'a>(&'a [Message], Fields, Option<&'a RoomId>);

impl Serialize for MessageList<'_> {
    /// They come newest first, and are said oldest first.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let room = Pieces { room_id: self.2, ..Pieces::default() };
        let of = |message| Object(self.1, room.about(message));
        serializer.collect_seq(self.0.iter().rev().map(of))
    }
}

struct Directory<'a>(&'a [Facts]);

impl Serialize for Directory<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(RoomBody))
    }
}

struct RoomList<'a>(&'a [Facts], Fields);

impl Serialize for RoomList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let of = |facts| Object(self.1, Pieces { facts: Some(facts), ..Pieces::default() });
        serializer.collect_seq(self.0.iter().map(of))
    }
}
