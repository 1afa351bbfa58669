//! Everything the sessions share: the store, the seats, the counters; and how outcomes reach the members.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use super::Parts;
use super::Settings;
use super::account::Bank;
use super::clock::Alarm;
use super::connection::Connection;
use super::connection::Item;
use super::connection::Life;
use super::dialect::Dialect;
use super::dialect::Pieces;
use super::dialect::Rendered;
use super::dialect::Seen;
use super::directory::searches;
use super::error::Failure;
use super::expiry::Expiries;
use super::inbox::Pushed;
use super::left::Left;
use super::lost::Lost;
use super::media::Media;
use super::news::News;
use super::seal::Seal;
use super::seats::Seats;
use super::session;
use super::session::Passwords;
use super::stats::Counters;
use super::stats::Drop;
use super::stats::Stats;
use super::users::Users;
use super::watchers::Watchers;
use crate::auth::Tokens;
use crate::ice::IceServers;
use crate::rooms::Command;
use crate::rooms::Event;
use crate::rooms::Now;
use crate::rooms::PeerId;
use crate::rooms::Refusal;
use crate::rooms::Room;
use crate::rooms::RoomId;
use crate::store::Committed;
use crate::store::Store;
use crate::store::Ticket;
use crate::turn::credential;
use crate::turns::Turns;

/// For how long after the start seats of before it are taken again, at least.
const RESTORED_FOR: Duration = Duration::from_secs(60);

/// Over how long it is spread that everybody gets fresh credentials.
const RENEWAL: Duration = Duration::from_secs(3);

/// The id of a member's credential.
pub(super) fn member_id(peer: PeerId) -> String {
    peer.with_text(credential::member_id)
}

/// What came of a command, or what it waits for.
pub(super) enum Tried<R> {
    Done(Result<R, Refusal>),
    Wait(Ticket),
}

/// What the sessions share.
///
/// Locks are taken in this order: a room's (in the store), a seat's, a connection's. None is held across an await.
pub(super) struct Hub {
    pub(super) store: Arc<dyn Store>,
    pub(super) seats: Seats,
    pub(super) counters: Counters,
    pub(super) ice: IceServers,
    pub(super) bank: Bank,
    /// The longest event, in bytes.
    pub(super) message_bytes: usize,
    pub(super) alarm: Arc<Alarm>,
    pub(super) draining: AtomicBool,
    pub(super) media: Arc<dyn Media>,
    pub(super) seal: Seal,
    pub(super) passwords: Passwords,
    pub(super) users: Users,
    pub(super) searches: Turns,
    pub(super) watchers: Watchers,
    pub(super) tokens: Arc<Tokens>,
    pub(super) expiries: Expiries,
    /// What clients are taken to speak that do not say.
    pub(super) dialect: &'static Dialect,
    pub(super) lost: Lost,
    pub(super) left: Left,
    pub(super) news: Arc<dyn News>,
    /// Whether anybody is told of anything.
    reports: bool,
    connections: Mutex<HashMap<u64, Weak<Connection>>>,
    numbers: AtomicU64,
}

impl Hub {
    /// Nobody is connected yet.
    pub(super) fn new(settings: &Settings, parts: Parts) -> Hub {
        let now = Hub::now();
        let boot = std::array::from_fn(|i| uuid::Uuid::new_v4().as_bytes()[i]);
        let window = settings.grace.max(RESTORED_FOR);
        Hub {
            store: parts.store,
            seats: Seats::default(),
            counters: Counters::default(),
            ice: parts.ice,
            bank: Bank::new(settings.rates(), now.at),
            message_bytes: settings.message_bytes,
            alarm: Arc::default(),
            draining: AtomicBool::new(false),
            media: parts.media,
            seal: Seal::new(&parts.seal, boot, now.at, window),
            passwords: Passwords::default(),
            users: Users::default(),
            searches: searches(),
            watchers: Watchers::default(),
            tokens: parts.tokens,
            expiries: Expiries::default(),
            dialect: Dialect::of(settings.dialect),
            lost: Lost::new(settings.grace, settings.unnoticed()),
            left: Left::default(),
            reports: parts.news.reports(),
            news: parts.news,
            connections: Mutex::default(),
            numbers: AtomicU64::new(0),
        }
    }

    /// The time. Tokio's clock, so that tests can turn it.
    pub(super) fn now() -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            at: tokio::time::Instant::now().into_std(),
            unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// A number for a connection.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// The client has been told that it is connected: from now on it is served.
    pub(super) fn open(self: &Arc<Self>, connection: &Arc<Connection>) {
        let weak = Arc::downgrade(connection);
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).insert(connection.number, weak);
        self.counters.connected();
        self.user_came(connection);
        if let Some(at) = connection.identity().and_then(|identity| identity.expires) {
            self.expiries.set(connection, None, at);
            self.alarm.set(at);
        }
        if connection.dialect().directory {
            self.watchers.watch(connection);
        }
        self.list_rooms(connection);
        if let Some(item) = connection.inbox.open() {
            self.work(connection, item);
        }
    }

    /// A connection brings something.
    pub(super) fn arrive(self: &Arc<Self>, connection: &Arc<Connection>, item: Item) {
        let always = item.must_arrive();
        let gone = if let Item::Gone(said) = item { Some(said) } else { None };
        let bytes = match &item {
            Item::Event(value, _) => {
                // Now, and not when it is carried out: who names this connection meanwhile may be right.
                if connection.shows_life() == Life::AfterAll {
                    self.lost.lives(connection.sid);
                }
                session::size(value)
            }
            _ => 0,
        };
        match connection.inbox.push(item, bytes, always) {
            Pushed::Yours(item) => self.work(connection, item),
            Pushed::Waits => {
                if let Some(said) = gone {
                    tokio::spawn(session::gone_at_last(Arc::clone(self), Arc::clone(connection), said));
                }
            }
            Pushed::Refused(item) => {
                self.counters.dropped(Drop::InboxFull, 1);
                if let Item::Event(value, ack) = item {
                    let wait = Duration::from_millis(999);
                    session::refuse(self, connection, &value, ack, wait, "too many events at once");
                }
            }
        }
    }

    fn work(self: &Arc<Self>, connection: &Arc<Connection>, first: Item) {
        let mut next = Some(first);
        while let Some(item) = next {
            if let Some(rest) = session::begin(self, connection, item) {
                // What comes meanwhile waits behind it.
                let (hub, connection) = (Arc::clone(self), Arc::clone(connection));
                tokio::spawn(async move {
                    rest.await;
                    if let Some(item) = connection.inbox.next() {
                        hub.work(&connection, item);
                    }
                });
                return;
            }
            next = connection.inbox.next();
        }
    }

    /// The connection is closed.
    pub(super) fn forget(&self, connection: &Connection) {
        let known =
            self.connections.lock().unwrap_or_else(PoisonError::into_inner).remove(&connection.number);
        if known.is_some() {
            self.counters.disconnected();
            self.watchers.forget(connection);
            if let Some(at) = connection.identity().and_then(|identity| identity.expires) {
                self.expiries.forget(connection.number, at);
            }
        }
    }

    /// Says that a command failed: in its acknowledgement, or else as an event.
    pub(super) fn fail(
        &self,
        connection: &Arc<Connection>,
        dialect: &'static Dialect,
        ack: Option<i64>,
        command: Option<&str>,
        failure: &Failure,
    ) {
        self.counters.failed(failure.code);
        let pieces = Pieces { failure: Some(failure), command, ..Pieces::default() };
        let sent = if ack.is_some() {
            connection.acknowledge(ack, &Rendered(dialect.acks.failed, pieces))
        } else {
            let row = dialect.error;
            connection.emit(row.event, &Rendered(row, pieces))
        };
        if sent.is_err() {
            self.counters.dropped(Drop::Closed, 1);
        }
    }

    /// Carries a command out: the relay forgets who is gone, then `answer`, then the notices, then the seats that were given up.
    pub(super) fn try_commit<R>(
        self: &Arc<Self>,
        id: &RoomId,
        command: &Command<'_>,
        now: Now,
        ticket: Option<Ticket>,
        mut answer: impl FnMut(&Committed<'_>) -> R,
    ) -> Tried<R> {
        let waited = ticket.is_some();
        let mut result = Err(Refusal::Unavailable);
        let mut gone = smallvec::SmallVec::<[String; 2]>::new();
        let mut ended = None;
        let wait = self.store.commit(id, command, now, ticket, &mut |outcome| {
            let mut committed = match outcome {
                Ok(committed) => committed,
                Err(refusal) => {
                    result = Err(refusal);
                    return;
                }
            };
            gone.extend(committed.gone.iter().map(|gone| member_id(gone.peer)));
            if let Some(mut call) = committed.ended.take() {
                call.relayed_bytes = self.relayed(id, &gone);
                ended = Some(call);
            }
            // Under the lock: who comes to a room of the same name must not find these in it.
            gone.iter().for_each(|member| self.media.unseated(member));
            result = Ok(answer(&committed));
            self.tell(&committed, now);
            if self.reports {
                self.report(id.as_str(), command, &committed, ended.as_deref());
            }
            let restores = !committed.gone.is_empty() && self.seal.restores(now.at);
            for gone in &committed.gone {
                self.empty_seat(gone.peer);
                if restores {
                    self.left.settle(gone.peer);
                }
            }
            for &peer in &committed.waited {
                if committed.room.and_then(|room| room.member(peer)).is_none() {
                    self.empty_seat(peer);
                }
            }
            if committed.changed
                && let Some(at) = committed.room.and_then(Room::deadline)
            {
                self.alarm.set(at);
            }
            self.list(id, &committed);
        });
        if let Some(ticket) = wait {
            return Tried::Wait(ticket);
        }
        if waited && let Some(at) = self.store.next_deadline() {
            // Meanwhile the room's own was not looked at.
            self.alarm.set(at);
        }
        for member in gone {
            self.media.gone(&member);
        }
        if let Some(call) = ended {
            self.store.log(*call);
        }
        Tried::Done(result)
    }

    /// The same, however long it has to wait. Not to be given up on the way: the room waits for it.
    ///
    /// # Errors
    /// Why it is refused.
    pub(super) async fn commit<R>(
        self: &Arc<Self>,
        id: &RoomId,
        command: &Command<'_>,
        now: Now,
        mut answer: impl FnMut(&Committed<'_>) -> R,
    ) -> Result<R, Refusal> {
        let mut ticket = None;
        loop {
            match self.try_commit(id, command, now, ticket.take(), &mut answer) {
                Tried::Done(result) => return result,
                Tried::Wait(wait) => ticket = wait.ready().await,
            }
        }
    }

    fn tell(self: &Arc<Self>, committed: &Committed<'_>, now: Now) {
        for notice in committed.notices {
            let seen = Seen::default();
            for &peer in &notice.to {
                if matches!(notice.event, Event::Admitted) {
                    session::admitted(self, peer, committed, now);
                    continue;
                }
                self.seats.with(peer, |seat| {
                    seat.tell(peer, &notice.event, (committed.room, &seen), now.at, &self.counters);
                });
            }
        }
    }

    fn empty_seat(&self, peer: PeerId) {
        if let Some(connection) = self.seats.remove(peer).and_then(|seat| seat.connection) {
            connection.rises(peer);
        }
    }

    /// How much was relayed for a call that is over: for those who were in it to the end, and for those who were not.
    fn relayed(&self, id: &RoomId, members: &[String]) -> u64 {
        let members: Vec<&str> = members.iter().map(String::as_str).collect();
        let mut usage = self.media.usage(&members);
        usage.push(self.media.departed(id.as_str()));
        usage.iter().map(|of| of.to_peer.bytes + of.to_client.bytes).sum()
    }

    /// When `tick` next has something to do.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        [self.store.next_deadline(), self.seats.next_renewal(), self.expiries.next(), self.users.next()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due.
    pub(super) async fn tick(self: &Arc<Self>) {
        let now = Hub::now();
        for connection in self.expiries.due(now.at) {
            self.arrive(&connection, Item::Expired);
        }
        self.tell_who_left(now.at).await;
        loop {
            let rooms = self.store.due(now.at);
            if rooms.is_empty() {
                break;
            }
            for id in rooms {
                // A room that something is being written of is due again when that is done.
                if let Tried::Done(Err(refusal)) = self.try_commit(&id, &Command::Tick, now, None, |_| ()) {
                    tracing::error!(?refusal, "a room could not be ticked");
                    return;
                }
            }
            tokio::task::yield_now().await;
        }
        loop {
            let peers = self.seats.due(now.at);
            if peers.is_empty() {
                return;
            }
            for peer in peers {
                self.seats.renew_at(peer, now.at + self.ice.renew_after(peer.spread()));
                self.push_ice(peer, now);
            }
        }
    }

    /// Plans to push fresh credentials to everybody within `RENEWAL`.
    pub(super) fn renew_all(&self) {
        if let Some(first) = self.seats.renew_all(Hub::now().at, RENEWAL) {
            self.alarm.set(first);
        }
    }

    /// Pushes fresh credentials to a member, if it is here.
    fn push_ice(&self, peer: PeerId, now: Now) {
        let seat = self.seats.with(peer, |seat| {
            seat.connection.clone().map(|connection| (connection, seat.dialect, seat.room.clone()))
        });
        let Some((connection, dialect, room)) = seat.flatten() else { return };
        let Some(socket) = connection.socket() else { return };
        let ice = self.ice.mint(Connection::host_header(&socket), &member_id(peer), now.unix_ms / 1000);
        let pieces = Pieces { room_id: Some(&room), ice: Some(&ice), ..Pieces::default() };
        let row = dialect.ice_servers;
        if connection.emit(row.event, &Rendered(row, pieces)).is_err() {
            self.counters.dropped(Drop::Closed, 1);
        }
    }

    /// Tells every client that the daemon is going down, and takes nobody in any more.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        for connection in self.connected() {
            let row = connection.dialect().draining;
            if connection.emit(row.event, &Rendered(row, Pieces::default())).is_err() {
                self.counters.dropped(Drop::Closed, 1);
            }
        }
    }

    /// Every connection that is open.
    pub(super) fn connected(&self) -> Vec<Arc<Connection>> {
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.values().filter_map(Weak::upgrade).collect()
    }

    pub(super) fn stats(&self) -> Stats {
        let counts = self.store.counts();
        Stats { rooms: counts.rooms, peers: counts.members, ..self.counters.read() }
    }
}
