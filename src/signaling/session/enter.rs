//! Coming in: rooms made, seats taken and taken again.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use uuid::Uuid;

use super::super::connection::Connection;
use super::super::connection::MOST_ROOMS;
use super::super::decode::Arguments;
use super::super::dialect::Pieces;
use super::super::dialect::Rendered;
use super::super::dialect::Row;
use super::super::error::Code;
use super::super::error::Failure;
use super::super::error::LATER;
use super::super::hub::Hub;
use super::super::news::Candidate;
use super::super::seal::Opened;
use super::Asked;
use super::bounded;
use super::label;
use super::leave::lose;
use super::random;
use super::shown_name;
use super::welcome::Heard;
use super::welcome::Welcome;
use super::welcome::proven;
use crate::customer::customer;
use crate::rooms::Absent;
use crate::rooms::Answer;
use crate::rooms::By;
use crate::rooms::Command;
use crate::rooms::Holder;
use crate::rooms::Join;
use crate::rooms::Kind;
use crate::rooms::Media;
use crate::rooms::Options;
use crate::rooms::PeerId;
use crate::rooms::Rank;
use crate::rooms::Refusal;
use crate::rooms::Room;
use crate::rooms::RoomId;
use crate::rooms::Who;

/// The longest description of a room, in bytes.
const DESCRIPTION: usize = 1024;

impl Asked<'_> {
    pub(super) async fn join(&self, absent: Option<Absent>, it: &Arguments<'_>) -> Result<(), Failure> {
        let room = Asked::room(it)?;
        let absent = match (absent, it.kind.as_deref().map(kind).transpose()?) {
            (Some(absent), Some(kind)) if kind != Kind::Channel => Some(Absent { kind, ..absent }),
            // A channel is made on purpose.
            (Some(_), Some(_)) => None,
            (absent, _) => absent,
        };
        self.allowed(&room)?;
        if self.dialect.rejoins
            && let Some(seat) = self.connection.seat_in(room.as_str())
        {
            return self.again(seat).await;
        }
        self.may_sit(&room)?;
        let session = self.connection.number;
        let mut heard = Heard { have: it.have, earlier: false };
        let command = match it.resume.as_deref() {
            Some(token) => {
                let opened = self.hub.open_token(&room, token, self.now);
                let mut opened = opened.ok_or_else(|| {
                    Failure::new(Code::ResumeFailed, "that is no resume token of this room")
                })?;
                self.is_own(&room, &mut opened)?;
                heard.earlier = opened.earlier;
                Command::Resume {
                    peer: opened.peer,
                    session,
                    customer: self.customer(),
                    holder: Holder::Anybody,
                    restore: opened.restore,
                }
            }
            // Who comes back has been let in before.
            None => {
                self.counts_as_join()?;
                let who = self.who(it)?;
                let password = self.password(&room, it).await?;
                let kind = absent.map_or(Kind::Channel, |absent| absent.kind);
                let who = self.decided(&room, kind, who).await?;
                let (peer, customer, maker) = (PeerId::new(random()), self.customer(), self.maker());
                let proven = proven(self.connection);
                Command::Join(Join { absent, peer, session, who, proven, password, maker, customer })
            }
        };
        let words = (Some(self.dialect.acks.joined), self.dialect.joined);
        let done = self.sit(&room, &command, words, heard).await;
        if let Err(failure) = &done
            && failure.code == Code::RoomFull
            && let Some(row) = self.dialect.full
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

    /// Whom somebody else lets in, where there is somebody to be asked. `kind`: the room's, if it is not there yet.
    async fn decided(&self, id: &RoomId, kind: Kind, who: Who) -> Result<Who, Failure> {
        if !self.hub.news.decides() {
            return Ok(who);
        }
        let mut kind = kind;
        self.hub.store.look(id, &mut |room| kind = room.map_or(kind, |room| room.kind));
        let candidate = Candidate {
            room: id.as_str().to_owned(),
            kind: kind.name(),
            user: who.user.as_deref().map(str::to_owned),
            name: who.name.as_deref().map(str::to_owned),
            address: self.connection.socket().and_then(|socket| Connection::address(&socket)),
            dialect: self.dialect.name,
        };
        self.hub.may_join(candidate, who).await
    }

    /// Whether this connection may take a seat in that room at all.
    fn may_sit(&self, room: &RoomId) -> Result<(), Failure> {
        let seats = self.connection.seats();
        if seats.iter().any(|seat| seat.room == *room) {
            return Err(Failure::new(Code::AlreadyJoined, "you are in this room already"));
        }
        if seats.len() >= MOST_ROOMS {
            return Err(Failure::too_many(LATER, "as many rooms as a connection may be in: leave one first"));
        }
        self.not_draining()
    }

    /// Whether a seat is of the user that a token proves, and was not taken with one that said more. Without a token nobody takes
    /// a seat that was taken with one: the seat would outlive the token.
    pub(super) fn is_own(&self, room: &RoomId, opened: &mut Opened) -> Result<(), Failure> {
        let Some(identity) = self.connection.identity().filter(|identity| identity.proven) else {
            let seat = self.hub.seats.with(opened.peer, |seat| seat.proven);
            if opened.proven || seat == Some(true) {
                let why = "the seat was taken with a token: come back with one";
                return Err(Failure::new(Code::ResumeFailed, why));
            }
            return Ok(());
        };
        let mut user = opened.restore.as_ref().map(|restore| restore.who.user.clone());
        self.hub.store.look(room, &mut |room| {
            if let Some(member) = room.and_then(|room| room.member(opened.peer)) {
                user = Some(member.user.clone());
            }
        });
        // It was given up: nobody's now.
        let Some(user) = user else { return Err(Refusal::ResumeFailed.into()) };
        if user != identity.user {
            return Err(Failure::new(Code::ResumeFailed, "that was another user's seat"));
        }
        if self.hub.seats.with(opened.peer, |seat| seat.role).is_some_and(|role| role > identity.rank) {
            return Err(Failure::new(Code::ResumeFailed, "the seat's token said more: join anew"));
        }
        // Of before a restart nobody knows who made it one: who is one by the room's word becomes one again.
        if let Some(restore) = &mut opened.restore
            && restore.who.rank == Rank::Moderator
        {
            restore.who.rank = identity.rank;
        }
        Ok(())
    }

    fn counts_as_join(&self) -> Result<(), Failure> {
        let joined = self.hub.bank.join(self.connection.accounts(), self.now.at);
        joined.map_err(|wait| Failure::too_many(wait, "more joins than allowed"))
    }

    fn not_draining(&self) -> Result<(), Failure> {
        if self.hub.draining.load(Ordering::Acquire) {
            return Err(Failure::new(Code::RoomClosed, "the server is going down"));
        }
        Ok(())
    }

    fn who(&self, it: &Arguments<'_>) -> Result<Who, Failure> {
        let (user, name) = (label("userId", it.user.as_ref())?, shown_name(it)?);
        Ok(match self.connection.identity() {
            Some(identity) => identity.who(user, name),
            None => Who { user, name, ..Who::default() },
        })
    }

    /// On whose account a room is made: a proven user's, else the address's, else the connection's.
    fn maker(&self) -> u64 {
        let identity = self.connection.identity();
        let proven = identity.as_ref().filter(|identity| identity.proven);
        if let Some(user) = proven.and_then(|identity| identity.user.as_ref()) {
            return self.hub.seal.account(false, user.as_bytes());
        }
        match self.of_address() {
            Some(account) => account,
            // Behind a reverse proxy nobody has an address: each transport is its own, and so are the rooms made over it.
            None => self.hub.seal.account(false, format!("connection {}", self.connection.sid).as_bytes()),
        }
    }

    /// The account of the address, if it has one.
    fn of_address(&self) -> Option<u64> {
        let address = self.connection.socket().and_then(|socket| Connection::address(&socket));
        let customer = address.and_then(customer)?;
        Some(self.hub.seal.account(true, customer.to_string().as_bytes()))
    }

    /// Who it is by its address, for who does not say: a few bits of the account are enough. 0: anybody, on loopback.
    pub(super) fn customer(&self) -> u32 {
        let account = self.of_address().map(|account| account.to_be_bytes());
        account.and_then(|bytes| bytes.last_chunk().copied()).map_or(0, u32::from_be_bytes)
    }

    /// The hash that the password shown matches.
    async fn password(&self, room: &RoomId, it: &Arguments<'_>) -> Result<Option<Arc<str>>, Failure> {
        let Some(password) = it.password.as_deref() else { return Ok(None) };
        let mut hash = None;
        self.hub.store.look(room, &mut |room| hash = room.and_then(|room| room.details().password.clone()));
        let Some(hash) = hash else { return Ok(None) };
        match self.hub.passwords.is_right(password, &hash).await? {
            true => Ok(Some(hash)),
            false => Err(Failure::new(Code::WrongPassword, "that is not this room's password")),
        }
    }

    /// Takes a seat (or a place in the lobby) and says what there is to say.
    pub(super) async fn sit(
        &self,
        room: &RoomId,
        command: &Command<'_>,
        (ack, events): (Option<Row>, &'static [Row]),
        heard: Heard,
    ) -> Result<(), Failure> {
        let mut later = None;
        self.commit(room, command, |committed| match committed.answer {
            Answer::Seated { peer, resumed, restored } => {
                if restored {
                    self.hub.left.settle(peer);
                }
                let (dialect, again) = (self.dialect, false);
                let mut welcome = Welcome { dialect, ack, events, peer, resumed, restored, heard, again };
                let stored = committed.room.is_some_and(Room::is_stored);
                let wants = stored && welcome.dialect.history && !resumed;
                self.take_seat(&mut welcome, room, committed, !wants);
                later = committed.room.filter(|_| wants).map(|room| (welcome, room.clone()));
            }
            Answer::Waits { peer } => self.wait(room, peer, committed),
            Answer::Done | Answer::Said { .. } => {}
        })
        .await?;
        if let Some((welcome, snapshot)) = later {
            self.tell_history(&welcome, &snapshot).await?;
        }
        if self.connection.is_closed()
            && let Some(seat) = self.connection.seat_in(room.as_str())
        {
            // It waited too long for the disk: its end did not wait for it (`leave::gone_at_last`).
            let (hub, connection) = (Arc::clone(self.hub), Arc::clone(self.connection));
            lose(hub, connection, seat, false, Hub::now()).await;
        }
        Ok(())
    }

    pub(super) async fn create(&self, seat: bool, it: &Arguments<'_>) -> Result<(), Failure> {
        let kind = match it.kind.as_deref().map(kind).transpose()? {
            Some(kind) => kind,
            None if it.persistent == Some(true) => Kind::Channel,
            None => Kind::Room,
        };
        let id = RoomId::parse(&Uuid::new_v4().to_string())
            .ok_or_else(|| Failure::new(Code::Internal, "no id for the room"))?;
        if seat {
            self.may_sit(&id)?;
        }
        self.not_draining()?;
        if self.connection.identity().is_some_and(|identity| identity.rooms.is_some()) {
            return Err(Failure::new(Code::Forbidden, "your token is for certain rooms: it makes none"));
        }
        if it.capacity == Some(0) {
            return Err(Failure::bad("capacity (maxUsers) is at least 1"));
        }
        let media = match it.media.as_deref() {
            None => None,
            Some(name) => Some(
                Media::parse(name)
                    .ok_or_else(|| Failure::bad("media is \"audio\", \"video\" or \"text\""))?,
            ),
        };
        self.counts_as_join()?;
        let password = match it.password.as_deref() {
            Some(password) if !password.is_empty() => Some(self.hub.passwords.hash(password).await?),
            _ => None,
        };
        let private = it.private.unwrap_or(false);
        let creator = match self.connection.identity() {
            Some(identity) => identity.who(label("userId", it.user.as_ref())?, None),
            None => Who { user: label("userId", it.user.as_ref())?, ..Who::default() },
        };
        let options = Options {
            capacity: it.capacity,
            name: shown_name(it)?,
            description: bounded("description", it.description.as_ref(), DESCRIPTION)?,
            media,
            private,
            listed: !private && self.dialect.lists(it.private),
            lobby: it.lobby.unwrap_or(false),
            auto_delete: it.auto_delete.unwrap_or(false),
            password: password.clone(),
        };
        let who = if seat { self.decided(&id, kind, creator.clone()).await? } else { creator.clone() };
        let command = Command::Create { kind, options, creator, maker: self.maker() };
        self.commit(&id, &command, |committed| {
            if !seat {
                let pieces = Pieces { room_id: Some(&id), room: committed.room, ..Pieces::default() };
                self.say(self.dialect.acks.created, pieces);
            }
        })
        .await?;
        if !seat {
            return Ok(());
        }
        let join = Command::Join(Join {
            absent: None,
            peer: PeerId::new(random()),
            session: self.connection.number,
            who,
            proven: proven(self.connection),
            password,
            maker: self.maker(),
            customer: self.customer(),
        });
        let words = (Some(self.dialect.acks.created), self.dialect.created);
        let seated = self.sit(&id, &join, words, Heard::default()).await;
        if seated.is_err() {
            // Nobody knows of it, and it is on its maker's account.
            self.commit(&id, &Command::Close { by: By::Operator }, |_| ()).await?;
        }
        seated
    }
}

fn kind(name: &str) -> Result<Kind, Failure> {
    Kind::parse(name).ok_or_else(|| Failure::bad("kind is \"call\", \"room\" or \"channel\""))
}
