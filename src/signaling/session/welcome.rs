//! Greeting: a connection is given its seat, and told where it is and what it has missed.

use std::sync::Arc;

use super::super::connection::Connection;
use super::super::connection::Membership;
use super::super::dialect::Dialect;
use super::super::dialect::Pieces;
use super::super::dialect::Rendered;
use super::super::dialect::Row;
use super::super::dialect::Seen;
use super::super::error::Code;
use super::super::error::Failure;
use super::super::hub::Hub;
use super::super::hub::member_id;
use super::super::kept::Kept;
use super::super::kept::Parcel;
use super::super::offset::Offset;
use super::super::seats::Seat;
use super::super::stats::Drop;
use super::Asked;
use super::mint;
use crate::rooms::Message;
use crate::rooms::Now;
use crate::rooms::PeerId;
use crate::rooms::Rank;
use crate::rooms::Room;
use crate::rooms::RoomId;
use crate::store::Committed;

/// How many messages a newcomer is told, in dialects that tell them.
pub(super) const HISTORY: usize = 50;

/// What a newcomer is told, and in which words.
pub(super) struct Welcome {
    pub(super) dialect: &'static Dialect,
    /// As an acknowledgement.
    pub(super) ack: Option<Row>,
    /// As events.
    pub(super) events: &'static [Row],
    pub(super) peer: PeerId,
    pub(super) resumed: bool,
    pub(super) restored: bool,
    pub(super) heard: Heard,
    /// It was here all the time: it has missed nothing.
    pub(super) again: bool,
}

/// What somebody who comes back says that it has heard.
#[derive(Clone, Copy, Default)]
pub(super) struct Heard {
    /// The number of the last event, if it counts.
    pub(super) have: Option<u64>,
    /// All of it from an earlier process.
    pub(super) earlier: bool,
}

impl Asked<'_> {
    /// The number of the last event of this seat that the client has, if it counts and did so before.
    fn has(&self, heard: Heard, old: &Seat) -> Option<u64> {
        if let Some(have) = heard.have.filter(|_| self.dialect.counts && old.dialect.counts) {
            // What an earlier process has said has numbers of its own.
            return Some(if heard.earlier { 0 } else { have });
        }
        let offsets = self.connection.offsets()?;
        old.mark.map(|mark| offsets.of(mark))
    }

    /// Greets a newcomer with what was said before it came. What is said meanwhile waits with its seat.
    pub(super) async fn tell_history(&self, welcome: &Welcome, snapshot: &Room) -> Result<(), Failure> {
        let (messages, _) = self.messages(&snapshot.id, None, HISTORY).await.unwrap_or_default();
        let greeted = |seat: &mut Seat| {
            let heard = |message: &Message| seat.kept.has(message.id);
            let messages: Vec<Message> = messages.iter().filter(|it| !heard(it)).cloned().collect();
            seat.connection = Some(Arc::clone(self.connection));
            greet(self.hub, self.connection, self.ack, welcome, snapshot, Some(&messages), seat, self.now);
        };
        let mut told = Err("the seat is gone already: the room has ended, or you were put out");
        self.hub.store.look(&snapshot.id, &mut |room| {
            let member = room.and_then(|room| room.member(welcome.peer));
            if member.is_some_and(|member| member.session != self.connection.number) {
                told = Err("the seat is another connection's already");
            } else if member.is_some() && self.hub.seats.with(welcome.peer, greeted).is_some() {
                told = Ok(());
            }
        });
        told.map_err(|why| {
            self.connection.rises(welcome.peer);
            Failure::new(Code::NoSuchRoom, why)
        })
    }

    /// The seat is ours; the room is locked, so what is said here is heard before anything said in the room.
    pub(super) fn take_seat(
        &self,
        welcome: &mut Welcome,
        id: &RoomId,
        committed: &Committed<'_>,
        at_once: bool,
    ) {
        let Some(room) = committed.room else { return };
        let peer = welcome.peer;
        let from = self.connection.socket().and_then(|socket| Connection::address(&socket));
        if welcome.resumed && !welcome.restored {
            self.hub.media.returned(&member_id(peer), from);
        } else {
            self.hub.media.seated(&member_id(peer), id.as_str(), room.kind, from);
        }
        let old = put_seat(self.hub, self.connection, welcome.dialect, id, peer, self.now, at_once);
        self.hub.counters.seated(welcome.resumed);
        welcome.heard.have = old.as_ref().and_then(|old| self.has(welcome.heard, old));
        let kept = old.map(|mut old| {
            if let Some(before) = old.connection.take().filter(|it| it.number != self.connection.number) {
                // No transport has taken it: it goes to this one.
                old.takes_back(peer, &before, self.now.at, &self.hub.counters);
                before.rises(peer);
            }
            (old.kept, old.mark)
        });
        self.hub.seats.with(peer, |seat| {
            if let Some((kept, mark)) = kept {
                seat.kept = kept;
                if mark.is_none() && seat.mark.is_some() {
                    seat.kept.counts_anew();
                }
            }
            if at_once {
                greet(self.hub, self.connection, self.ack, welcome, room, None, seat, self.now);
            }
        });
    }

    /// A place in the lobby.
    pub(super) fn wait(&self, id: &RoomId, peer: PeerId, committed: &Committed<'_>) {
        self.hub.seats.put(
            peer,
            Seat {
                connection: Some(Arc::clone(self.connection)),
                dialect: self.dialect,
                room: id.clone(),
                renew: None,
                kept: Kept::default(),
                mark: None,
                role: role(self.connection),
                proven: proven(self.connection),
            },
        );
        self.connection.sits(Membership { room: id.clone(), peer });
        let pieces =
            Pieces { room_id: Some(id), room: committed.room, peer: Some(peer), ..Pieces::default() };
        self.say(self.dialect.acks.waits, pieces);
        if let Some(row) = self.dialect.waits {
            self.hub.push(self.connection, row.event, &Rendered(row, pieces));
        }
    }
}

/// Somebody who waited has been let in: its seat is its own, and it is told so as if it had just joined.
pub(in crate::signaling) fn admitted(hub: &Arc<Hub>, peer: PeerId, committed: &Committed<'_>, now: Now) {
    let Some(room) = committed.room else { return };
    let waited = hub.seats.with(peer, |seat| (seat.connection.clone(), seat.dialect));
    let Some((Some(connection), dialect)) = waited else { return };
    let from = connection.socket().and_then(|socket| Connection::address(&socket));
    hub.media.seated(&member_id(peer), room.id.as_str(), room.kind, from);
    put_seat(hub, &connection, dialect, &room.id, peer, now, true);
    hub.counters.seated(false);
    let (ack, events) = (None, dialect.admitted);
    let welcome = Welcome {
        dialect,
        ack,
        events,
        peer,
        resumed: false,
        restored: false,
        heard: Heard::default(),
        again: false,
    };
    hub.seats.with(peer, |seat| greet(hub, &connection, None, &welcome, room, None, seat, now));
}

/// What a token says that it is in every room.
fn role(connection: &Connection) -> Rank {
    connection.identity().map_or(Rank::Member, |identity| identity.rank)
}

/// Whether a token proves who it is.
pub(super) fn proven(connection: &Connection) -> bool {
    connection.identity().is_some_and(|identity| identity.proven)
}

/// Gives a connection a seat; `here`: it is told of events from now on, else they are kept for it. What was there before.
fn put_seat(
    hub: &Hub,
    connection: &Arc<Connection>,
    dialect: &'static Dialect,
    room: &RoomId,
    peer: PeerId,
    now: Now,
    here: bool,
) -> Option<Seat> {
    let renew = now.at + hub.ice.renew_after(peer.spread());
    let seat = Seat {
        connection: here.then(|| Arc::clone(connection)),
        dialect,
        room: room.clone(),
        renew: Some(renew),
        kept: Kept::default(),
        mark: connection.offsets().map(|_| hub.seal.mark(peer)),
        role: role(connection),
        proven: proven(connection),
    };
    let old = hub.seats.put(peer, seat);
    hub.alarm.set(renew);
    connection.sits(Membership { room: room.clone(), peer });
    old
}

/// Tells a newcomer where it is, then what it has missed.
#[expect(clippy::too_many_arguments, reason = "all that a newcomer is told")]
pub(super) fn greet(
    hub: &Hub,
    connection: &Arc<Connection>,
    ack: Option<i64>,
    welcome: &Welcome,
    room: &Room,
    messages: Option<&[Message]>,
    seat: &mut Seat,
    now: Now,
) {
    let peer = welcome.peer;
    let Some(member) = room.member(peer) else { return };
    let ice = mint(hub, connection, peer, now);
    let resume = hub.seal.token(room, member, seat.role, seat.proven);
    let (missed, lost) = match welcome.again {
        true => (Vec::new(), 0),
        false => seat.kept.replay(welcome.heard.have, now.at),
    };
    let none: &[Message] = &[];
    let seen = Seen::default();
    let pieces = Pieces {
        room_id: Some(&room.id),
        room: Some(room),
        seen: Some(&seen),
        me: Some(peer),
        peer: Some(peer),
        ice: Some(&ice),
        resume: Some(&resume),
        resumed: welcome.resumed,
        // Until it has heard so, and has a new token.
        restored: welcome.restored || welcome.heard.earlier,
        missed: lost,
        messages: Some(messages.unwrap_or(none)),
        ..Pieces::default()
    };
    let mut unsent = 0;
    if let Some(row) = welcome.ack {
        unsent += u64::from(connection.acknowledge(ack, &Rendered(row, pieces)).is_err());
    }
    for row in welcome.events {
        unsent += u64::from(connection.emit(row.event, &Rendered(*row, pieces)).is_err());
    }
    for mut parcel in missed {
        if let Some(mark) = seat.mark {
            // It may have been kept for a client that did not ask.
            parcel.body = Offset { mark, seq: parcel.seq }.put_into(&room.id, parcel.body);
        }
        let sent = connection.tell(peer, parcel.seq, parcel.event, &parcel.body).is_ok();
        if !sent || seat.counts() {
            let parcel = Parcel { sent, at: now.at, ..parcel };
            hub.counters.dropped(Drop::MissedOverflow, seat.kept.keep(parcel));
        }
    }
    hub.counters.dropped(Drop::Closed, unsent);
}
