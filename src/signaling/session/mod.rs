//! What a client asks for, turned into commands; and the end of its connection.

mod back;
mod enter;
mod leave;
mod password;
mod refresh;
mod rule;
mod talk;
mod welcome;

pub(super) use leave::gone_at_last;
pub(super) use password::Passwords;
pub(super) use welcome::admitted;

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;
use std::time::Duration;

use socketioxide::handler::Value;
use uuid::Uuid;

use super::connection::Connection;
use super::connection::Item;
use super::connection::Membership;
use super::decode::Arguments;
use super::decode::Request;
use super::dialect::Dialect;
use super::dialect::Pieces;
use super::dialect::Rendered;
use super::dialect::Row;
use super::dialect::Verb;
use super::error::Code;
use super::error::Failure;
use super::hub::Hub;
use super::hub::member_id;
use super::stats::Drop;
use crate::ice::Minted;
use crate::label;
use crate::rooms::Absent;
use crate::rooms::Command;
use crate::rooms::Now;
use crate::rooms::PeerId;
use crate::rooms::RoomId;
use crate::store::Committed;

/// The longest label, name, kind of signal or client's message id, in bytes.
pub(super) const LABEL: usize = label::LONGEST;

/// What is left of an item that has to wait for something.
pub(super) type Rest = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Carries an item out, most often in place. If it has to wait (for the disk, a password's hash, somebody else's word), what
/// is left of it comes back.
pub(super) fn begin(hub: &Arc<Hub>, connection: &Arc<Connection>, item: Item) -> Option<Rest> {
    let now = Hub::now();
    match item {
        Item::Event(..) | Item::Back(_) if connection.is_closed() => None,
        Item::Event(value, ack) => {
            if let Err(wait) = hub.bank.event(connection.accounts(), size(&value), now.at) {
                refuse(hub, connection, &value, ack, wait, "more events or bytes than allowed");
                return None;
            }
            if pass_on(hub, connection, &value, ack, now) {
                return None;
            }
            try_now(event(Arc::clone(hub), Arc::clone(connection), value, ack, now))
        }
        Item::Expired => try_now(leave::expired(Arc::clone(hub), Arc::clone(connection), now)),
        Item::Back(before) => try_now(back::back(Arc::clone(hub), Arc::clone(connection), before, now)),
        Item::Gone(said) => try_now(leave::gone(Arc::clone(hub), Arc::clone(connection), said, now)),
    }
}

/// How many bytes an event brings: its text, and what is attached to it. That is not carried out, but it is there.
pub(super) fn size(value: &Value) -> usize {
    match value {
        Value::Str(text, None) => text.len(),
        Value::Str(text, Some(attached)) => text.len() + attached.iter().map(|it| it.len()).sum::<usize>(),
        Value::Bytes(bytes) => bytes.len(),
    }
}

/// Does something as far as it can be done in place; what is left of it, if it has to wait.
fn try_now(task: impl Future<Output = ()> + Send + 'static) -> Option<Rest> {
    let mut rest: Rest = Box::pin(task);
    // Whoever waits for it in earnest asks again, with a waker.
    match rest.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(()) => None,
        Poll::Pending => Some(rest),
    }
}

/// Answers an event that is not carried out, as there were too many before it: every one of them, and for less than carrying it
/// out would take. It is not read but for its name.
pub(in crate::signaling) fn refuse(
    hub: &Hub,
    connection: &Arc<Connection>,
    value: &Value,
    ack: Option<i64>,
    wait: Duration,
    why: &'static str,
) {
    if connection.outbox().is_flooded() {
        hub.counters.failed(Code::TooManyRequests);
        return hub.counters.dropped(Drop::Closed, 1);
    }
    let spoken = connection.dialect();
    let command = value.as_str().map(|text| name_in(text)).filter(|name| !name.is_empty());
    let dialect = command.and_then(|name| Dialect::verb(name, spoken)).map_or(spoken, |(dialect, _)| dialect);
    hub.fail(connection, dialect, ack, command, &Failure::too_many(wait, why));
}

/// One event on its way through.
struct Asked<'a> {
    hub: &'a Arc<Hub>,
    connection: &'a Arc<Connection>,
    /// What it is answered in.
    dialect: &'static Dialect,
    ack: Option<i64>,
    now: Now,
}

/// Carries a signal out: what comes most often never waits, and needs no memory of its own. `false`: it is something else, or
/// something is wrong with it.
fn pass_on(hub: &Arc<Hub>, connection: &Arc<Connection>, value: &Value, ack: Option<i64>, now: Now) -> bool {
    let Value::Str(text, None) = value else { return false };
    if text.len() > hub.message_bytes {
        return false;
    }
    let Some((dialect, Verb::Signal(kind))) = Dialect::verb(name_in(text), connection.dialect()) else {
        return false;
    };
    let (request, Ok(())) = Request::read(text) else { return false };
    let asked = Asked { hub, connection, dialect, ack, now };
    if let Err(failure) = asked.signal(kind, &request.arguments) {
        hub.fail(connection, dialect, ack, Some(short(&request.event)), &failure);
    }
    true
}

/// Carries one event out and answers it.
async fn event(hub: Arc<Hub>, connection: Arc<Connection>, value: Value, ack: Option<i64>, now: Now) {
    let spoken = connection.dialect();
    let Some(text) = value.as_str() else {
        return hub.fail(&connection, spoken, ack, None, &Failure::bad("not text"));
    };
    if text.len() > hub.message_bytes {
        let failure = Failure::new(Code::TooLarge, format!("longer than {} bytes", hub.message_bytes));
        return hub.fail(&connection, spoken, ack, Some(name_in(text)), &failure);
    }
    let (request, read) = Request::read(text);
    let command = short(&request.event);
    let binary = matches!(&value, Value::Str(_, Some(attachments)) if !attachments.is_empty());
    let (dialect, done) = match Dialect::verb(&request.event, spoken) {
        None => (spoken, Err(Failure::new(Code::UnknownEvent, "there is no such event"))),
        Some((dialect, _)) if binary => (dialect, Err(Failure::bad("binary where text is due"))),
        Some((dialect, verb)) => {
            if Dialect::settles(verb) {
                hub.speaks(&connection, dialect);
            }
            let asked = Asked { hub: &hub, connection: &connection, dialect, ack, now };
            let done = match read {
                Ok(()) => asked.carry_out(verb, &request.arguments).await,
                Err(wrong) => Err(Failure::bad(wrong)),
            };
            (dialect, done)
        }
    };
    if let Err(failure) = done {
        hub.fail(&connection, dialect, ack, Some(command), &failure);
    }
}

/// The event's name in a text that is not read yet.
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
    bounded(what, text, LABEL)
}

/// A name that others are shown: what of it can be shown, none if that is nothing.
fn shown_name(it: &Arguments<'_>) -> Result<Option<Arc<str>>, Failure> {
    let name = label("name", it.name.as_ref())?;
    Ok(name.and_then(|name| label::shown(&name)).map(Arc::from))
}

fn bounded(what: &str, text: Option<&Cow<'_, str>>, most: usize) -> Result<Option<Arc<str>>, Failure> {
    match text {
        Some(text) if text.len() > most => Err(Failure::bad(format!("{what} is longer than {most} bytes"))),
        Some(text) if !text.is_empty() => Ok(Some(Arc::from(&**text))),
        _ => Ok(None),
    }
}

impl Asked<'_> {
    async fn commit<R>(
        &self,
        room: &RoomId,
        command: &Command<'_>,
        answer: impl FnMut(&Committed<'_>) -> R,
    ) -> Result<R, Failure> {
        Ok(self.hub.commit(room, command, self.now, answer).await?)
    }

    async fn carry_out(&self, verb: Verb, it: &Arguments<'_>) -> Result<(), Failure> {
        match verb {
            Verb::Join(absent) => self.join(absent.map(|(kind, listed)| Absent { kind, listed }), it).await,
            Verb::Create { seat } => self.create(seat, it).await,
            Verb::Delete => self.delete(it).await,
            Verb::Leave => self.leave(it).await,
            Verb::Signal(kind) => self.signal(kind, it),
            Verb::Chat => self.chat(it).await,
            Verb::History => self.history(it).await,
            Verb::List => self.list(it).await,
            Verb::Invite => self.invite(it).await,
            Verb::Kick => self.kick(it.ban.unwrap_or(false), it).await,
            Verb::Ban => self.kick(true, it).await,
            Verb::Pardon => self.pardon(it).await,
            Verb::Lock => self.lock(it).await,
            Verb::Admit => self.admit(it).await,
            Verb::Promote => self.promote(it).await,
            Verb::RefreshIce => self.refresh_ice(it).await,
            Verb::RefreshAuth => self.refresh_auth(it),
        }
    }

    /// Acknowledges; whoever does not read it is found out elsewhere.
    fn say(&self, row: Row, pieces: Pieces<'_>) {
        if self.connection.acknowledge(self.ack, &Rendered(row, pieces)).is_err() {
            self.hub.counters.dropped(Drop::Closed, 1);
        }
    }

    /// Acknowledges that it is done.
    fn done(&self) {
        self.say(self.dialect.acks.done, Pieces::default());
    }

    /// The room meant, by the name that must be there.
    fn room(it: &Arguments<'_>) -> Result<RoomId, Failure> {
        let room =
            it.room.as_deref().ok_or_else(|| Failure::bad("a room's id is missing: roomId, or room"))?;
        RoomId::parse(room).ok_or_else(|| Failure::bad("a room's id is 1 to 64 of A-Z a-z 0-9 _ -"))
    }

    /// Whether the token of this connection, if it has one, lets it have to do with that room.
    fn allowed(&self, room: &RoomId) -> Result<(), Failure> {
        let identity = self.connection.identity();
        if identity.is_none_or(|identity| identity.allows(room.as_str())) {
            return Ok(());
        }
        Err(Failure::new(Code::Forbidden, "your token is not for this room"))
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
                _ => Err(Failure::bad("roomId is missing, and you are in several rooms")),
            },
        }
    }

    /// Fresh credentials for a member.
    fn mint(&self, peer: PeerId) -> Minted {
        mint(self.hub, self.connection, peer, self.now)
    }
}

fn mint(hub: &Hub, connection: &Connection, peer: PeerId, now: Now) -> Minted {
    let socket = connection.socket();
    let host = socket.as_deref().and_then(Connection::host_header);
    hub.ice.mint(host, &member_id(peer), now.unix_ms / 1000)
}
