//! One client's connection: its commands in, its events out, and which seats it has.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;

use serde::Serialize;
use smallvec::SmallVec;
use socketioxide::adapter::LocalAdapter;
use socketioxide::handler::Value;
use socketioxide::socket::Sid;
use socketioxide::socket::Socket;

use super::account::Accounts;
use super::dialect::Dialect;
use super::hub::Hub;
use super::identity::Identity;
use super::inbox::Inbox;
use super::offset::Offsets;
use super::outbox::Outbox;
use super::outbox::Unsent;
use super::stats::Drop;
use super::visitor::Visitor;
use crate::rooms::PeerId;
use crate::rooms::RoomId;

/// The transport, as socketioxide has it.
pub(super) type Transport = Socket<LocalAdapter>;

/// What a connection brings.
pub(super) enum Item {
    /// An event, and where its acknowledgement goes.
    Event(Value, Option<i64>),
    /// It takes the seats of an earlier connection, which it names.
    Back(Sid),
    /// The end of the connection; `true`: the client said so.
    Gone(bool),
    /// What proves who it is may be good no longer.
    Expired,
}

impl Item {
    /// Whether it is taken however many wait: nobody says it again. All of these are few.
    pub(super) fn must_arrive(&self) -> bool {
        !matches!(self, Item::Event(..))
    }
}

/// A seat that this connection has.
#[derive(Clone, Debug)]
pub(super) struct Membership {
    pub(super) room: RoomId,
    pub(super) peer: PeerId,
}

/// As far as is known, it lives.
const OPEN: u8 = 0;
/// Another one has said that this one is no more.
const DOUBTED: u8 = 1;
/// Nothing more comes from it or goes to it.
const CLOSED: u8 = 2;

/// How many rooms a connection may be in.
pub(super) const MOST_ROOMS: usize = 16;

/// Whether a connection is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Life {
    Open,
    /// Though another one had said that it is no more.
    AfterAll,
    Closed,
}

/// A client that is connected, or was.
pub(super) struct Connection {
    /// Never used twice.
    pub(super) number: u64,
    pub(super) inbox: Inbox<Item>,
    /// What the client, and nobody else, knows it by.
    pub(super) sid: Sid,
    hub: Weak<Hub>,
    socket: Weak<Transport>,
    outbox: Outbox,
    accounts: Accounts,
    /// `OPEN`, `DOUBTED` or `CLOSED`.
    life: AtomicU8,
    state: Mutex<State>,
}

struct State {
    /// What is pushed outside of any room, and errors, are said in this.
    dialect: &'static Dialect,
    seats: SmallVec<[Membership; 1]>,
    identity: Option<Arc<Identity>>,
}

impl Connection {
    pub(super) fn new(
        hub: &Arc<Hub>,
        number: u64,
        socket: &Arc<Transport>,
        dialect: &'static Dialect,
        identity: Option<Identity>,
        accounts: Accounts,
    ) -> Connection {
        Connection {
            number,
            hub: Arc::downgrade(hub),
            inbox: Inbox::closed(),
            sid: socket.id,
            socket: Arc::downgrade(socket),
            outbox: Outbox::default(),
            accounts,
            life: AtomicU8::new(OPEN),
            state: Mutex::new(State { dialect, seats: SmallVec::new(), identity: identity.map(Arc::new) }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn dialect(&self) -> &'static Dialect {
        self.state().dialect
    }

    pub(super) fn speaks(&self, dialect: &'static Dialect) {
        self.state().dialect = dialect;
    }

    /// Who it belongs to, as far as that is known.
    pub(super) fn identity(&self) -> Option<Arc<Identity>> {
        self.state().identity.clone()
    }

    /// It belongs to this one from now on.
    pub(super) fn identify(&self, identity: Identity) {
        self.state().identity = Some(Arc::new(identity));
    }

    /// What it draws on.
    pub(super) fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Its seat in this room.
    pub(super) fn seat_in(&self, room: &str) -> Option<Membership> {
        self.state().seats.iter().find(|seat| seat.room.as_str() == room).cloned()
    }

    /// All its seats.
    pub(super) fn seats(&self) -> SmallVec<[Membership; 1]> {
        self.state().seats.clone()
    }

    /// It has this seat from now on.
    pub(super) fn sits(&self, seat: Membership) {
        let mut state = self.state();
        if state.seats.iter().all(|known| known.peer != seat.peer) {
            state.seats.push(seat);
        }
    }

    /// It no longer has this seat.
    pub(super) fn rises(&self, peer: PeerId) {
        self.state().seats.retain(|seat| seat.peer != peer);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.life.load(Ordering::Acquire) == CLOSED
    }

    /// Marks it closed; `true`: it was not.
    pub(super) fn close(&self) -> bool {
        self.life.swap(CLOSED, Ordering::AcqRel) != CLOSED
    }

    /// Another one says that this one is no more.
    pub(super) fn doubt(&self) {
        let _ = self.life.compare_exchange(OPEN, DOUBTED, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Something has come from it: is it open, and who said that it is not, was that wrong?
    pub(super) fn shows_life(&self) -> Life {
        match self.life.load(Ordering::Acquire) {
            OPEN => Life::Open,
            CLOSED => Life::Closed,
            _ => match self.life.compare_exchange(DOUBTED, OPEN, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => Life::AfterAll,
                Err(CLOSED) => Life::Closed,
                Err(_) => Life::Open,
            },
        }
    }

    /// The transport, unless it is gone.
    pub(super) fn socket(&self) -> Option<Arc<Transport>> {
        if self.is_closed() { None } else { self.socket.upgrade() }
    }

    /// What the client said that it has, if it asks for offsets. Few do: it is kept beside the connection, not in it.
    pub(super) fn offsets(&self) -> Option<Arc<Offsets>> {
        self.socket()?.extensions.get()
    }

    /// The `Host` header of its handshake.
    pub(super) fn host_header(socket: &Transport) -> Option<&str> {
        let request = socket.req_parts();
        let header = request.headers.get(http::header::HOST).and_then(|value| value.to_str().ok());
        header.or_else(|| request.uri.authority().map(http::uri::Authority::as_str))
    }

    /// The address that its first request came from, as the gate says: behind a proxy it trusts, the client's own.
    pub(super) fn address(socket: &Transport) -> Option<IpAddr> {
        Visitor::of(socket).map(Visitor::address)
    }

    /// Sends an event, in order with all before it.
    ///
    /// # Errors
    /// It is not and will not be sent.
    pub(super) fn emit(self: &Arc<Self>, event: &'static str, body: &impl Serialize) -> Result<(), Unsent> {
        let socket = self.socket().ok_or(Unsent::Closed)?;
        self.outbox.send(self, &socket, None, Some(event), None, body)
    }

    /// The same, about a seat: if it is not sent before the transport is lost, the seat keeps it.
    ///
    /// # Errors
    /// It is not and will not be sent.
    pub(super) fn tell(
        self: &Arc<Self>,
        seat: PeerId,
        seq: u64,
        event: &'static str,
        body: &impl Serialize,
    ) -> Result<(), Unsent> {
        let socket = self.socket().ok_or(Unsent::Closed)?;
        self.outbox.send(self, &socket, Some((seat, seq)), Some(event), None, body)
    }

    /// Sends an acknowledgement, if one is asked for, in order with the events.
    ///
    /// # Errors
    /// It is not and will not be sent.
    pub(super) fn acknowledge(
        self: &Arc<Self>,
        ack: Option<i64>,
        body: &impl Serialize,
    ) -> Result<(), Unsent> {
        if ack.is_none() {
            return Ok(());
        }
        let socket = self.socket().ok_or(Unsent::Closed)?;
        self.outbox.send(self, &socket, None, None, ack, body)
    }

    /// Gives it up, as it does not read or sends too much: its seats are as if the transport were lost.
    pub(super) fn cut(self: &Arc<Self>, why: Drop) {
        if let Some(hub) = self.hub.upgrade() {
            hub.counters.dropped(why, 1);
            hub.arrive(self, Item::Gone(false));
        }
    }

    pub(super) fn outbox(&self) -> &Outbox {
        &self.outbox
    }
}
