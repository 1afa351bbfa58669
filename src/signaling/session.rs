//! What a client asks for, turned into commands; and the end of its connection.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;
use socketioxide::handler::Value;
use uuid::Uuid;

use super::candidates;
use super::connection::Connection;
use super::connection::MOST_ROOMS;
use super::connection::Membership;
use super::decode::Arguments;
use super::decode::Request;
use super::dialect::Dialect;
use super::dialect::Pieces;
use super::dialect::Rendered;
use super::dialect::Verb;
use super::dialect::ack;
use super::error::Code;
use super::error::Failure;
use super::hub::Hub;
use super::hub::member_id;
use super::seats::Missed;
use super::seats::Seat;
use super::stats::Drop;
use crate::ice::Minted;
use crate::rooms::Answer;
use crate::rooms::Command;
use crate::rooms::Join;
use crate::rooms::Kind;
use crate::rooms::Now;
use crate::rooms::PeerId;
use crate::rooms::RoomId;
use crate::rooms::Token;
use crate::store::Committed;

/// The longest label, name, kind of signal or client's message id, in bytes.
pub(super) const LABEL: usize = 128;
/// The longest thing to say, in bytes.
const TEXT: usize = 16 << 10;

/// One event on its way through.
struct Asked<'a> {
    hub: &'a Hub,
    connection: &'a Arc<Connection>,
    ack: Option<i64>,
    now: Now,
}

/// Carries one event out and answers it.
pub(super) fn event(hub: &Hub, connection: &Arc<Connection>, value: &Value, ack: Option<i64>) {
    if connection.is_closed() {
        return;
    }
    let now = Hub::now();
    if let Err((wait, first)) = connection.meter(hub.rate, now.at) {
        let failure = Failure {
            retry_after: Some(wait),
            ..Failure::new(Code::TooManyRequests, "more events than allowed")
        };
        if ack.is_some() || first {
            hub.fail(connection, ack, None, &failure);
        } else {
            hub.counters.failed(failure.code);
        }
        return;
    }
    let Some(text) = value.as_str() else {
        return hub.fail(connection, ack, None, &Failure::bad("not text"));
    };
    if text.len() > hub.message_bytes {
        let failure = Failure::new(Code::TooLarge, format!("longer than {} bytes", hub.message_bytes));
        return hub.fail(connection, ack, Some(name_in(text)), &failure);
    }
    let (request, read) = Request::read(text);
    let command = short(&request.event);
    let asked = Asked { hub, connection, ack, now };
    let binary = matches!(value, Value::Str(_, Some(attachments)) if !attachments.is_empty());
    let done = match Dialect::verb(&request.event) {
        None => Err(Failure::new(Code::UnknownEvent, "there is no such event")),
        Some(_) if binary => Err(Failure::bad("binary where text is due")),
        Some((dialect, verb)) => {
            read.map_err(Failure::bad).and_then(|()| asked.carry_out(dialect, verb, &request.arguments))
        }
    };
    if let Err(failure) = done {
        hub.fail(connection, ack, Some(command), &failure);
    }
}

/// Ends a connection; `said`: the client took its leave.
pub(super) fn gone(hub: &Hub, connection: &Arc<Connection>, said: bool) {
    if !connection.close() {
        return;
    }
    let now = Hub::now();
    let mut unsent = connection.outbox().take();
    let mut kept = 0;
    for Membership { room, peer } in connection.seats() {
        let session = connection.number;
        let command = if said {
            Command::Leave { peer, session: Some(session) }
        } else {
            Command::Lost { peer, session }
        };
        let done = hub.commit(&room, command, now, |_| {
            hub.seats.with(peer, |seat| {
                if seat.connection.as_ref().is_some_and(|it| it.number == connection.number) {
                    seat.connection = None;
                    let of_seat = unsent.iter_mut().filter(|parcel| parcel.seat == Some(peer));
                    let events =
                        of_seat.filter_map(|parcel| Some((parcel.event?, std::mem::take(&mut parcel.body))));
                    let events: Vec<_> = events.collect();
                    kept += events.len();
                    hub.counters.dropped(Drop::MissedOverflow, seat.missed.precede(events.into_iter()));
                }
            });
        });
        if let Err(refusal) = done {
            // The room ended meanwhile.
            tracing::debug!(?refusal, "a seat was gone already");
        }
    }
    hub.counters.dropped(Drop::Closed, (unsent.len() - kept) as u64);
    hub.forget(connection);
}

/// The event's name in a text too long to be read.
fn name_in(text: &str) -> &str {
    let rest = text.trim_start_matches(['[', ' ', '"']);
    short(rest.split('"').next().unwrap_or_default())
}

/// Enough of it to recognise it by.
fn short(text: &str) -> &str {
    let mut end = text.len().min(64);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn random() -> [u8; 16] {
    *Uuid::new_v4().as_bytes()
}

/// A label of bounded length.
fn label(what: &str, text: Option<&Cow<'_, str>>) -> Result<Option<Arc<str>>, Failure> {
    match text {
        Some(text) if text.len() > LABEL => Err(Failure::bad(format!("{what} is longer than {LABEL} bytes"))),
        Some(text) if !text.is_empty() => Ok(Some(Arc::from(&**text))),
        _ => Ok(None),
    }
}

impl Asked<'_> {
    fn commit<R>(
        &self,
        room: &RoomId,
        command: Command<'_>,
        answer: impl FnMut(&Committed<'_>) -> R,
    ) -> Result<R, Failure> {
        Ok(self.hub.commit(room, command, self.now, answer)?)
    }

    fn carry_out(&self, dialect: &'static Dialect, verb: Verb, it: &Arguments<'_>) -> Result<(), Failure> {
        match verb {
            Verb::Join(kind) => {
                self.connection.speaks(dialect);
                self.join(dialect, kind, it)
            }
            Verb::Create => self.create(it),
            Verb::Leave => self.leave(it),
            Verb::Signal(kind) => self.signal(kind, it),
            Verb::Chat => self.chat(it),
            Verb::RefreshIce => self.refresh_ice(it),
        }
    }

    /// Acknowledges; whoever does not read it is found out elsewhere.
    fn say(&self, row: super::dialect::Row, pieces: Pieces<'_>) {
        if self.connection.acknowledge(self.ack, &Rendered(row, pieces)).is_err() {
            self.hub.counters.dropped(Drop::Closed, 1);
        }
    }

    fn mint(&self, peer: PeerId) -> Minted {
        let socket = self.connection.socket();
        let host = socket.as_deref().and_then(Connection::host_header);
        self.hub.ice.mint(host, &member_id(peer), self.now.unix_ms / 1000)
    }

    /// The seat meant: in the room named, or the only one there is.
    fn seat(&self, it: &Arguments<'_>) -> Result<Membership, Failure> {
        match it.room.as_deref() {
            Some(room) => self
                .connection
                .seat_in(room)
                .ok_or_else(|| Failure::new(Code::NotAMember, "you are not in this room")),
            None => match self.connection.seats().as_slice() {
                [seat] => Ok(seat.clone()),
                [] => Err(Failure::new(Code::NotAMember, "you are not in a room")),
                _ => Err(Failure::bad("which room?")),
            },
        }
    }

    fn join(&self, dialect: &'static Dialect, kind: Kind, it: &Arguments<'_>) -> Result<(), Failure> {
        let room = it.room.as_deref().ok_or_else(|| Failure::bad("a room's id is missing"))?;
        let room =
            RoomId::parse(room).ok_or_else(|| Failure::bad("a room's id is 1 to 64 of A-Z a-z 0-9 _ -"))?;
        let kind = match it.kind.as_deref() {
            None => kind,
            Some(name) => Kind::parse(name).ok_or_else(|| Failure::bad("kind is \"call\" or \"room\""))?,
        };
        let seats = self.connection.seats();
        if seats.iter().any(|seat| seat.room == room) {
            return Err(Failure::new(Code::AlreadyJoined, "you are in this room already"));
        }
        if seats.len() >= MOST_ROOMS {
            let why = format!("no more than {MOST_ROOMS} rooms a connection");
            return Err(Failure::new(Code::TooManyRequests, why));
        }
        if self.hub.draining.load(Ordering::Acquire) {
            return Err(Failure::new(Code::RoomClosed, "the server is going down"));
        }
        let session = self.connection.number;
        let command = match it.resume.as_deref() {
            Some(token) => {
                let token = Token::parse(token)
                    .ok_or_else(|| Failure::new(Code::ResumeFailed, "that is not a resume token"))?;
                Command::Resume { token, session }
            }
            None => Command::Join(Join {
                kind,
                peer: PeerId::new(random()),
                token: Token::new(random()),
                session,
                user: label("userId", it.user.as_ref())?,
                name: label("name", it.name.as_ref())?,
            }),
        };
        let done = self.commit(&room, command, |committed| self.seated(dialect, &room, committed));
        if let Err(failure) = &done
            && failure.code == Code::RoomFull
            && let Some(row) = dialect.full
        {
            let pieces = Pieces { room_id: Some(&room), ..Pieces::default() };
            let told = self.connection.emit(row.event, &Rendered(row, pieces));
            if self.ack.is_none() {
                self.hub.counters.failed(failure.code);
                return told.map_err(|_| Failure::new(Code::Internal, "not sent"));
            }
        }
        done
    }

    /// The seat is ours; the room is locked, so what is said here is heard before anything said in the room.
    fn seated(&self, dialect: &'static Dialect, id: &RoomId, committed: &Committed<'_>) {
        let (Answer::Seated { peer, resumed }, Some(room)) = (committed.answer, committed.room) else {
            return;
        };
        let Some(member) = room.member(peer) else { return };
        let from = self.connection.socket().and_then(|socket| Connection::address(&socket));
        if resumed {
            self.hub.media.returned(&member_id(peer), from);
        } else {
            self.hub.media.seated(&member_id(peer), id.as_str(), room.kind, from);
        }
        let renew = self.now.at + self.hub.ice.renew_after(peer.spread());
        let ice = self.mint(peer);
        let old = self.hub.seats.put(
            peer,
            Seat {
                connection: Some(self.connection.clone()),
                dialect,
                room: id.clone(),
                renew,
                missed: Missed::default(),
            },
        );
        self.hub.alarm.set(renew);
        self.connection.sits(Membership { room: id.clone(), peer });
        self.hub.counters.seated(resumed);
        let missed = old.map(|old| {
            if let Some(before) = old.connection.filter(|it| it.number != self.connection.number) {
                before.rises(peer);
            }
            old.missed
        });
        let pieces = Pieces {
            room_id: Some(id),
            room: Some(room),
            me: Some(peer),
            ice: Some(&ice),
            resume: Some(member.token),
            resumed,
            missed: missed.as_ref().map_or(0, |missed| missed.lost),
            ..Pieces::default()
        };
        self.say(ack::JOINED, pieces);
        let mut unsent = 0;
        if let Some(row) = dialect.joined {
            unsent += u64::from(self.connection.emit(row.event, &Rendered(row, pieces)).is_err());
        }
        for (event, body) in missed.into_iter().flat_map(Missed::into_events) {
            unsent += u64::from(self.connection.emit(event, &body).is_err());
        }
        self.hub.counters.dropped(Drop::Closed, unsent);
    }

    fn create(&self, it: &Arguments<'_>) -> Result<(), Failure> {
        let kind = match it.kind.as_deref() {
            None => Kind::Room,
            Some(name) => Kind::parse(name).ok_or_else(|| Failure::bad("kind is \"call\" or \"room\""))?,
        };
        if self.hub.draining.load(Ordering::Acquire) {
            return Err(Failure::new(Code::RoomClosed, "the server is going down"));
        }
        let name = label("name", it.name.as_ref())?;
        // It stands empty for a while without anybody in it: else a few connections could fill the house.
        self.connection.meter(self.hub.rate.of_seconds(), self.now.at).map_err(|(wait, _)| Failure {
            retry_after: Some(wait),
            ..Failure::new(Code::TooManyRequests, "more rooms than allowed")
        })?;
        let id = RoomId::parse(&Uuid::new_v4().to_string())
            .ok_or_else(|| Failure::new(Code::Internal, "no id for the room"))?;
        let command = Command::Create { kind, capacity: it.capacity, name };
        self.commit(&id, command, |committed| {
            self.say(ack::CREATED, Pieces { room: committed.room, ..Pieces::default() });
        })
    }

    fn leave(&self, it: &Arguments<'_>) -> Result<(), Failure> {
        let seats = match it.room {
            // `leave` without a word means all.
            None => self.connection.seats(),
            Some(_) => SmallVec::from_iter([self.seat(it)?]),
        };
        if seats.is_empty() {
            return Err(Failure::new(Code::NotAMember, "you are not in a room"));
        }
        for Membership { room, peer } in seats {
            self.commit(&room, Command::Leave { peer, session: None }, |_| ())?;
        }
        self.say(ack::DONE, Pieces::default());
        Ok(())
    }

    fn signal(&self, kind: Option<&str>, it: &Arguments<'_>) -> Result<(), Failure> {
        let seat = self.seat(it)?;
        let kind = match (kind, it.kind.as_deref()) {
            (Some(kind), _) => kind,
            (None, Some(kind)) if !kind.is_empty() && kind.len() <= LABEL => kind,
            (None, _) => return Err(Failure::bad("kind is missing or too long")),
        };
        // The end of candidates is said with none.
        let data = match it.data {
            Some(data) => data,
            None if kind == "candidate" => serde_json::value::RawValue::NULL,
            None => return Err(Failure::bad("there is nothing to pass on")),
        };
        let command = Command::Signal { from: seat.peer, to: it.to.as_deref(), kind, data };
        let addresses = candidates::addresses(data.get());
        self.commit(&seat.room, command, |_| {
            if !addresses.is_empty() {
                self.hub.media.signaled(&member_id(seat.peer), &addresses);
            }
            self.say(ack::DONE, Pieces::default());
        })
    }

    fn chat(&self, it: &Arguments<'_>) -> Result<(), Failure> {
        let seat = self.seat(it)?;
        let text = it.text.as_deref().filter(|text| !text.is_empty());
        let text = text.ok_or_else(|| Failure::bad("there is nothing said"))?;
        if text.len() > TEXT {
            return Err(Failure::new(Code::TooLarge, format!("longer than {TEXT} bytes")));
        }
        let client = label("clientId", it.client.as_ref())?;
        let id = PeerId::new(random());
        let command = Command::Chat { from: seat.peer, text, id };
        self.commit(&seat.room, command, |_| {
            self.say(
                ack::SAID,
                Pieces {
                    message_id: Some(id),
                    said_at: Some(self.now.unix_ms),
                    client_id: client.as_deref(),
                    ..Pieces::default()
                },
            );
        })
    }

    fn refresh_ice(&self, it: &Arguments<'_>) -> Result<(), Failure> {
        let Membership { room, peer } = self.seat(it)?;
        self.commit(&room, Command::Ask { peer }, |_| {
            let ice = self.mint(peer);
            self.hub.seats.renew_at(peer, self.now.at + self.hub.ice.renew_after(peer.spread()));
            self.say(ack::ICE, Pieces { ice: Some(&ice), ..Pieces::default() });
        })
    }
}
