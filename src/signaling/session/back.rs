//! Coming back: a connection takes up the seats of an earlier one that it names, or joins where it is already.

use std::sync::Arc;

use socketioxide::extract::SocketRef;
use socketioxide::socket::Sid;

use super::super::connection::Connection;
use super::super::connection::Membership;
use super::super::dialect::Pieces;
use super::super::error::Failure;
use super::super::hub::Hub;
use super::super::lost::Past;
use super::super::seal::Opened;
use super::Asked;
use super::enter::HISTORY;
use super::enter::Welcome;
use super::enter::greet;
use crate::rooms::Command;
use crate::rooms::Now;
use crate::rooms::Room;
use crate::rooms::RoomId;

/// A connection names the one that its client had before. If that is so, its seats are this one's; if not, nothing is said.
pub(super) async fn back(hub: Arc<Hub>, connection: Arc<Connection>, before: Sid, now: Now) {
    if let Some(past) = past(&hub, &connection, before, now) {
        for Membership { room, peer } in past.seats {
            if let Some(dialect) = hub.seats.with(peer, |seat| seat.dialect) {
                let asked = Asked { hub: &hub, connection: &connection, dialect, ack: None, now };
                asked.take_again(&room, Opened { peer, proven: false, restore: None }).await;
            }
        }
        return;
    }
    let identity = connection.identity();
    let user = identity.as_ref().and_then(|identity| identity.user.as_deref());
    let known_by = hub.known_by(before);
    for place in hub.left.of(known_by, user) {
        let (Some(room), Some(dialect)) = (place.room(), place.dialect()) else { continue };
        let Some(opened) = hub.seal.open(&room, &place.token, now.unix_ms) else { continue };
        let asked = Asked { hub: &hub, connection: &connection, dialect, ack: None, now };
        asked.take_again(&room, opened).await;
        hub.left.taken(known_by);
    }
}

/// What the earlier connection had: it broke, or it is not known yet that it did.
fn past(hub: &Hub, connection: &Connection, before: Sid, now: Now) -> Option<Past> {
    let identity = connection.identity();
    let user = identity.as_ref().and_then(|identity| identity.user.as_deref());
    if let Some(past) = hub.lost.take(before, user, now.at) {
        return Some(past);
    }
    let socket = SocketRef::from(connection.socket()?);
    let old = socket.broadcast().get_socket(before)?;
    let old = old.extensions.get::<Arc<Connection>>()?;
    let past = Past::of(&old);
    (old.number != connection.number && past.is_of(user)).then_some(past)
}

impl Asked<'_> {
    /// Takes a seat again of which it was shown that it is this client's.
    async fn take_again(&self, room: &RoomId, mut opened: Opened) {
        if self.allowed(room).and_then(|()| self.is_own(room, &mut opened)).is_err() {
            tracing::debug!("a seat was another token's");
            return;
        }
        self.hub.speaks(self.connection, self.dialect);
        let Opened { peer, restore, .. } = opened;
        let (session, customer) = (self.connection.number, self.customer());
        let command = Command::Resume { peer, session, customer, restore };
        if let Err(failure) = self.sit(room, &command, (None, self.dialect.admitted), None).await {
            tracing::debug!(message = %failure.message, "a seat was gone already");
        }
    }

    /// Who joins a room that it is in is told of it again.
    pub(super) async fn again(&self, seat: Membership) -> Result<(), Failure> {
        let Membership { room, peer } = seat;
        let (mut stored, mut waits) = (false, false);
        self.hub.store.look(&room, &mut |room| {
            stored = room.is_some_and(Room::is_stored);
            waits = room.is_some_and(|room| room.details().waiting.iter().any(|it| it.peer == peer));
        });
        if waits {
            let pieces = Pieces { room_id: Some(&room), peer: Some(peer), ..Pieces::default() };
            self.say(self.dialect.acks.waits, pieces);
            return Ok(());
        }
        let messages = match stored && self.dialect.history {
            true => self.messages(&room, None, HISTORY).await.unwrap_or_default(),
            false => Vec::new(),
        };
        self.commit(&room, &Command::Ask { peer }, |committed| {
            let Some(room) = committed.room else { return };
            let (ack, events) = (Some(self.dialect.acks.joined), self.dialect.joined);
            let welcome = Welcome {
                dialect: self.dialect,
                ack,
                events,
                peer,
                resumed: true,
                restored: false,
                have: None,
            };
            self.hub.seats.with(peer, |seat| {
                let messages = Some(messages.as_slice());
                greet(self.hub, self.connection, self.ack, &welcome, room, messages, seat, self.now);
            });
        })
        .await
    }
}
