//! Coming back: a connection takes up the seats of an earlier one that it names, or joins where it is already.

use std::sync::Arc;

use socketioxide::extract::SocketRef;
use socketioxide::socket::Sid;

use super::super::connection::Connection;
use super::super::connection::MOST_ROOMS;
use super::super::connection::Membership;
use super::super::dialect::Pieces;
use super::super::error::Code;
use super::super::error::Failure;
use super::super::hub::Hub;
use super::super::lost::Past;
use super::super::seal::Opened;
use super::Asked;
use super::talk::PAGE_BYTES;
use super::welcome::HISTORY;
use super::welcome::Heard;
use super::welcome::Welcome;
use super::welcome::greet;
use crate::rooms::Command;
use crate::rooms::Holder;
use crate::rooms::Kind;
use crate::rooms::Now;
use crate::rooms::PeerId;
use crate::rooms::Room;
use crate::rooms::RoomId;

/// About how long it is what somebody is told of another member, in bytes.
const MEMBER: usize = 1 << 10;

/// A connection names the one that its client had before. If that is so, its seats are this one's; if not, nothing is said. If it
/// is not known yet that the other one broke, this is asked again when it does (`Lost::name`).
pub(super) async fn back(hub: Arc<Hub>, connection: Arc<Connection>, named: Sid, now: Now) {
    let before = hub.lost.heir(named);
    if before == connection.sid {
        return;
    }
    let identity = connection.identity();
    let user = identity.as_ref().and_then(|identity| identity.user.as_deref());
    let taken = match hub.lost.take(before, user, now.at) {
        Some(past) => take_up(&hub, &connection, past, now).await,
        None => match take_left(&hub, &connection, hub.known_by(before), user, now).await {
            Some(taken) => taken,
            None => match name(&hub, &connection, before, user, now) {
                Some(past) => take_up(&hub, &connection, past, now).await,
                None => false,
            },
        },
    };
    if taken {
        for sid in [named, before] {
            hub.lost.inherits(sid, connection.sid);
        }
    }
}

/// Takes the seats that an earlier process has left to a connection; whether one was taken. None: it has left none.
async fn take_left(
    hub: &Arc<Hub>,
    connection: &Arc<Connection>,
    known_by: u64,
    user: Option<&str>,
    now: Now,
) -> Option<bool> {
    let places = hub.left.of(known_by, user);
    let mut taken = None;
    for place in places {
        let taken = taken.get_or_insert(false);
        let (Some(room), Some(dialect)) = (place.room(), place.dialect()) else { continue };
        let Some(opened) = hub.open_token(&room, &place.token, now) else { continue };
        let asked = Asked { hub, connection, dialect, ack: None, now };
        // Somebody may be back by its token.
        if asked.take_again(&room, opened, Holder::Nobody).await {
            *taken = true;
            hub.left.taken(known_by);
        }
    }
    taken
}

/// What the other one had, if it has broken just now. Else it may be dead or alive: the next that comes from it will tell.
fn name(hub: &Hub, connection: &Arc<Connection>, before: Sid, user: Option<&str>, now: Now) -> Option<Past> {
    let socket = SocketRef::from(connection.socket()?);
    let other = socket.broadcast().get_socket(before);
    let other = other.and_then(|other| other.extensions.get::<Arc<Connection>>());
    if other.as_ref().is_some_and(|it| it.number == connection.number || !Past::of(it).is_of(user)) {
        return None;
    }
    let past = hub.lost.name(before, user, Arc::downgrade(connection), now.at);
    // Without the other one it is on its way out, or was never there.
    if let (None, Some(other)) = (&past, other) {
        other.doubt();
    }
    past
}

/// Takes the seats of a connection that broke; whether one was taken.
async fn take_up(hub: &Arc<Hub>, connection: &Arc<Connection>, past: Past, now: Now) -> bool {
    let mut taken = false;
    for Membership { room, peer } in past.seats {
        let Some(dialect) = hub.seats.with(peer, |seat| seat.dialect) else {
            // Its client believes that it is there.
            let why = format!("your place in {} is gone: join anew", room.as_str());
            let failure = Failure::new(Code::ResumeFailed, why);
            hub.fail(connection, connection.dialect(), None, Some("reconnecting"), &failure);
            continue;
        };
        let asked = Asked { hub, connection, dialect, ack: None, now };
        if let Some(own) = connection.seat_in(room.as_str()) {
            asked.need_not(&room, peer, past.number, own.peer).await;
        } else if connection.seats().len() < MOST_ROOMS {
            let opened = Opened { peer, proven: false, earlier: false, restore: None };
            // If it was taken again by its token, it is another connection's.
            taken |= asked.take_again(&room, opened, Holder::Session(past.number)).await;
        }
    }
    taken
}

impl Asked<'_> {
    /// Takes a seat again of which it was shown that it is this client's, if its holder has it still. Whether it was taken.
    async fn take_again(&self, room: &RoomId, mut opened: Opened, holder: Holder) -> bool {
        if self.allowed(room).and_then(|()| self.is_own(room, &mut opened)).is_err() {
            tracing::debug!("a seat was another token's");
            return false;
        }
        let Opened { peer, earlier, restore, .. } = opened;
        let (session, customer) = (self.connection.number, self.customer());
        let command = Command::Resume { peer, session, customer, holder, restore };
        let words = (None, self.dialect.admitted);
        let sits = self.sit(room, &command, words, Heard { have: None, earlier }).await;
        match &sits {
            Ok(()) => self.hub.speaks(self.connection, self.dialect),
            Err(failure) => tracing::debug!(message = %failure.message, "a seat was gone already"),
        }
        sits.is_ok()
    }

    /// It has joined by itself meanwhile, and is another peer now: a user's seat of before is given up, for others need not wait
    /// for the user to come back. But a call would end with it.
    async fn need_not(&self, room: &RoomId, old: PeerId, session: u64, new: PeerId) {
        let mut spare = false;
        self.hub.store.look(room, &mut |room| {
            let user = |peer| room.and_then(|room| room.member(peer)).and_then(|it| it.user.as_deref());
            let is_call = room.is_none_or(|room| room.kind == Kind::Call);
            spare = !is_call && old != new && user(old).is_some() && user(old) == user(new);
        });
        if spare
            && let Err(failure) =
                self.commit(room, &Command::Lost { peer: old, session, keep: false }, |_| ()).await
        {
            tracing::debug!(message = %failure.message, "a seat was gone already");
        }
    }

    /// Who joins a room that it is in is told of it again.
    pub(super) async fn again(&self, seat: Membership) -> Result<(), Failure> {
        let Membership { room, peer } = seat;
        let (mut stored, mut waits, mut others) = (false, false, 0);
        self.hub.store.look(&room, &mut |room| {
            stored = room.is_some_and(Room::is_stored);
            others = room.map_or(0, |room| room.members.len());
            waits = room.is_some_and(|room| room.details().waiting.iter().any(|it| it.peer == peer));
        });
        if waits {
            let pieces = Pieces { room_id: Some(&room), peer: Some(peer), ..Pieces::default() };
            self.say(self.dialect.acks.waits, pieces);
            return Ok(());
        }
        // It is no join that would be counted, and tells as much as one.
        self.reads(PAGE_BYTES + others * MEMBER)?;
        let (messages, _) = match stored && self.dialect.history {
            true => self.messages(&room, None, HISTORY).await.unwrap_or_default(),
            false => (Vec::new(), false),
        };
        self.read_less(&messages);
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
                heard: Heard::default(),
                again: true,
            };
            self.hub.seats.with(peer, |seat| {
                let messages = Some(messages.as_slice());
                greet(self.hub, self.connection, self.ack, &welcome, room, messages, seat, self.now);
            });
        })
        .await
    }
}
