//! The server of one shard: what comes in is told apart here and handed to the file that has its RFC section.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ahash::RandomState;
use hashbrown::HashMap;
use ring::hmac;

use super::config::{Config, Limits};
use super::discovery::Discovery;
use super::family::Family;
use super::keys::{Keyring, Keys, Tagger};
use super::message::fits_algorithms;
use super::meter::Meter;
use super::mobility;
use super::nonce::Nonces;
use super::peers::PeerPolicy;
use super::random::Random;
use super::rate::RateLimit;
use super::relayed::Relayed;
use super::replies::Replies;
use super::reservations::Reservations;
use super::route::{AllocationId, ConnectionId, FiveTuple, Output, Route};
use super::scopes::Scopes;
use super::stats::{Drop, Stats};
use super::table::Table;
use super::throttle::Throttle;
use super::timers::Timers;
use crate::stun::{Message, TransactionId};

/// The longest SOFTWARE that is sent.
const LONGEST_SOFTWARE: usize = 64;

/// A TURN server without sockets or a clock.
///
/// After any call that takes `&mut self`, drain [`Server::poll_output`], then sleep no longer than
/// [`Server::poll_timeout`] says and call [`Server::handle_timeout`].
#[derive(Debug)]
pub struct Server {
    pub(super) realm: String,
    pub(super) software: String,
    pub(super) keyring: Keyring,
    tagger: Tagger,
    pub(super) nonces: Nonces,
    /// PASSWORD-ALGORITHMS goes with each nonce: settled once, or a stranger could have it left out.
    pub(super) offers_algorithms: bool,
    pub(super) throttle: Throttle,
    pub(super) discovery: Discovery,
    pub(super) alternate: Vec<SocketAddr>,
    pub(super) own: Vec<SocketAddr>,
    pub(super) policy: PeerPolicy,
    pub(super) limits: Limits,
    pub(super) relayed: Relayed,
    pub(super) scopes: Scopes,
    pub(super) room_scope: bool,
    pub(super) meter: Meter,
    pub(super) table: Table,
    pub(super) timers: Timers,
    pub(super) reservations: Reservations,
    pub(super) replies: Replies,
    pub(super) rate: RateLimit,
    pub(super) random: Random,
    pub(super) outputs: VecDeque<Output>,
    pub(super) stats: Stats,
    pub(super) draining: bool,
    /// The tickets' key, if allocations move with their clients.
    pub(super) mobility: Option<hmac::Key>,
    /// Clients whose allocation another server has, known by this relay port.
    pub(super) visitors: HashMap<FiveTuple, u16, RandomState>,
    /// Whether there are TCP allocations.
    pub(super) tcp_relays: bool,
    /// The slots of connections' allocations.
    pub(super) connections: HashMap<ConnectionId, u32, RandomState>,
    /// The slots of the TCP allocations that listen at a port.
    pub(super) listeners: HashMap<(Family, u16), u32, RandomState>,
    hasher: RandomState,
    /// The time of the packet in hand.
    now: Instant,
    /// What the clock on the wall showed at some instant.
    wall: (Instant, SystemTime),
    /// The transaction id of the Data indications made at one instant.
    indication: (Instant, TransactionId),
}

impl Server {
    /// A server without allocations. `seed` (secret, random) keys its hashes and chooses its ports; `wall` is what the
    /// clock on the wall shows at `now`.
    #[must_use]
    pub fn new(config: Config, seed: [u8; 32], now: Instant, wall: SystemTime) -> Self {
        let mut random = Random::new(&seed);
        let hasher = RandomState::with_seeds(random.u64(), random.u64(), random.u64(), random.u64());
        let relayed = Relayed::new(&config);
        let mut software = config.software;
        while software.len() > LONGEST_SOFTWARE {
            software.pop();
        }
        let tagger = Tagger::new(&mut random);
        Self {
            keyring: Keyring::new(&config.keys, &config.realm, &tagger, &hasher),
            tagger,
            offers_algorithms: fits_algorithms(&config.realm),
            throttle: Throttle::new(now, hasher.clone()),
            discovery: Discovery::new(&config.discovery),
            alternate: config.alternate,
            hasher: hasher.clone(),
            realm: config.realm,
            software,
            nonces: Nonces::new(&config.nonce_key),
            own: config.own,
            policy: config.peers,
            rate: RateLimit::new(config.limits.unauthenticated_per_second, now, hasher.clone()),
            meter: Meter::new(&config.limits, config.scopes.start(now), now),
            limits: config.limits,
            relayed,
            scopes: config.scopes,
            room_scope: config.room_scope,
            table: Table::new(hasher.clone(), config.census),
            timers: Timers::default(),
            reservations: Reservations::default(),
            replies: Replies::new(hasher.clone()),
            indication: (now, random.bytes()),
            random,
            outputs: VecDeque::new(),
            stats: Stats::default(),
            draining: false,
            mobility: config.mobility.then(|| mobility::key(&config.nonce_key)),
            visitors: HashMap::with_hasher(hasher.clone()),
            tcp_relays: config.tcp_relays,
            connections: HashMap::with_hasher(hasher.clone()),
            listeners: HashMap::with_hasher(hasher),
            now,
            wall: (now, wall),
        }
    }

    /// The clock on the wall shows `wall` at `now`: credentials expire by it.
    pub fn set_wall_clock(&mut self, now: Instant, wall: SystemTime) {
        self.wall = (now, wall);
    }

    /// A datagram arrived from a client.
    #[inline]
    pub fn handle_client(&mut self, now: Instant, from: FiveTuple, packet: &[u8]) -> Route {
        self.catch_up(now);
        // RFC 8656, section 12.5: the first two bits tell ChannelData from STUN.
        match packet.first().map(|byte| byte >> 6) {
            Some(1) => self.handle_channel_data(&from, packet),
            Some(0) => self.handle_stun(from, packet),
            _ => self.drop(Drop::NotStun),
        }
    }

    fn handle_stun(&mut self, from: FiveTuple, packet: &[u8]) -> Route {
        let Ok(message) = Message::parse(packet) else { return self.drop(Drop::Malformed) };
        if packet.len() > usize::from(u16::MAX) {
            return self.drop(Drop::Malformed);
        }
        self.handle_message(from, message)
    }

    /// Takes no new allocations from here on (508); those that live may go on.
    pub fn drain(&mut self, now: Instant) {
        self.catch_up(now);
        self.draining = true;
    }

    /// Ends every allocation whose credential has this id.
    pub fn revoke(&mut self, now: Instant, id: &str) {
        self.catch_up(now);
        while let Some(&slot) = self.table.of_user(id).first() {
            self.end(slot);
        }
    }

    /// The connection of a client is gone, and with it its allocation.
    pub fn client_gone(&mut self, now: Instant, client: FiveTuple) {
        self.catch_up(now);
        self.visitors.remove(&client);
        // RFC 8016: one with a ticket waits for its client until it expires.
        let slot = self.table.find(&client);
        if let Some(slot) =
            slot.filter(|&slot| self.table.get(slot).is_some_and(|held| held.mobile.is_none()))
        {
            self.take_down(slot);
        }
    }

    /// Whether this client has an allocation, or will have one once its sockets are open.
    #[must_use]
    pub fn has_allocation(&self, client: &FiveTuple) -> bool {
        self.table.find(client).is_some() || self.visitors.contains_key(client)
    }

    /// Lets these in from here on, and nobody else. Allocations of a secret, or of a user with its password, that is no
    /// longer among them end at once; all others live on undisturbed.
    pub fn set_keys(&mut self, now: Instant, keys: &Keys) {
        self.catch_up(now);
        self.keyring = Keyring::new(keys, &self.realm, &self.tagger, &self.hasher);
        self.throttle.reset();
        for slot in self.table.matching(|held| !self.keyring.holds(held.by)) {
            self.end(slot);
        }
    }

    /// The next effect, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Server::handle_timeout`] must be called at the latest; `None`: no need.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match (self.timers.next(), self.reservations.next()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Ends what has expired by `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.catch_up(now);
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The time of the packet in hand.
    #[inline]
    pub(super) fn now(&self) -> Instant {
        self.now
    }

    /// Seconds since 1970.
    pub(super) fn wall_seconds(&self) -> u64 {
        let (then, wall) = self.wall;
        let wall = wall.checked_add(self.now.saturating_duration_since(then)).unwrap_or(wall);
        wall.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    /// Moves time on, and ends what has expired: from here on nothing that is found has outlived its time.
    #[inline]
    pub(super) fn catch_up(&mut self, now: Instant) {
        if now > self.now {
            self.now = now;
            self.meter.set_now(now);
        }
        if self.poll_timeout().is_some_and(|due| due <= self.now) {
            self.expire();
        }
    }

    fn expire(&mut self) {
        while let Some(slot) = self.timers.pop(self.now) {
            self.expire_slot(slot);
        }
        while let Some((family, port)) = self.reservations.pop(self.now) {
            self.relayed.release(family, port);
        }
    }

    fn expire_slot(&mut self, slot: u32) {
        let now = self.now;
        let at = self.table.id(slot);
        let Some(allocation) = self.table.get_mut(slot) else { return };
        allocation.timer = None;
        allocation.permissions.expire(now);
        let outputs = &mut self.outputs;
        allocation.channels.expire(now, |number| outputs.push_back(Output::ChannelUnbound { at, number }));
        self.expire_connections(slot);
        let Some(allocation) = self.table.get_mut(slot) else { return };
        let is_over = |family| allocation.side(family).is_some_and(|side| side.expires <= now);
        let over = Family::BOTH.map(is_over);
        for (family, over) in Family::BOTH.into_iter().zip(over) {
            if over {
                self.end_family(slot, family);
            }
        }
        self.arm(slot);
    }

    /// Sees to it that the slot's timer goes off when something of it expires. A timer that is too early is left alone:
    /// it will find nothing to do and be set again, which is cheaper than moving it with every Refresh.
    pub(super) fn arm(&mut self, slot: u32) {
        let Some(allocation) = self.table.get_mut(slot) else { return };
        let Some(deadline) = allocation.deadline() else { return };
        if allocation.timer.is_none_or(|timer| deadline < timer) {
            self.timers.set(slot, allocation.timer, Some(deadline));
            allocation.timer = Some(deadline);
        }
    }

    /// Ends an allocation that its client did not give up: a connection that it came over is closed, too.
    pub(super) fn end(&mut self, slot: u32) {
        let client = self.take_down(slot);
        if let Some(client) = client.filter(|client| client.transport.leg().is_some()) {
            self.outputs.push_back(Output::HangUp { client });
        }
    }

    /// Ends an allocation: its sockets close, its ports are free again, nothing of it is left. Returns whose it was.
    pub(super) fn take_down(&mut self, slot: u32) -> Option<FiveTuple> {
        let at = self.table.id(slot);
        let allocation = self.table.remove(slot)?;
        self.timers.set(slot, allocation.timer, None);
        for channel in allocation.channels.iter().filter(|channel| channel.bound) {
            self.outputs.push_back(Output::ChannelUnbound { at, number: channel.number });
        }
        self.close_connections(&allocation);
        for family in Family::BOTH {
            if let Some(side) = allocation.side(family) {
                self.relayed.release(family, side.port);
                if let Some(room) = &allocation.room {
                    self.scopes.closed(room, family == Family::V6, side.port);
                }
            }
        }
        if let Some(room) = &allocation.room {
            self.scopes.add_ended(allocation.user(), room, allocation.usage);
        }
        if let Some(opening) = &allocation.opening {
            self.release_pair(&allocation.sides, opening.kind);
        } else {
            self.stats.closed(allocation.client.transport);
        }
        if let Some(client) = allocation.away() {
            self.outputs.push_back(Output::Moved { client, port: None });
        }
        self.outputs.push_back(Output::CloseRelay { at });
        Some(allocation.client)
    }

    /// Ends one family of an allocation, and the allocation with its last.
    pub(super) fn end_family(&mut self, slot: u32, family: Family) {
        let at = self.table.id(slot);
        let Some(allocation) = self.table.get_mut(slot) else { return };
        let Some(side) = allocation.side(family) else { return };
        if allocation.opening.is_some() || allocation.sides.iter().flatten().count() == 1 {
            self.end(slot);
            return;
        }
        // RFC 8656, section 8.1: permissions and channels of the other family are not touched.
        allocation.sides[family.index()] = None;
        allocation.permissions.remove_family(family);
        let outputs = &mut self.outputs;
        allocation
            .channels
            .remove_family(family, |number| outputs.push_back(Output::ChannelUnbound { at, number }));
        if let Some(room) = &allocation.room {
            self.scopes.closed(room, family == Family::V6, side.port);
        }
        if let Some(local) = self.relayed.local(family, side.port) {
            self.outputs.push_back(Output::CloseFamily { at, local });
        }
        self.relayed.release(family, side.port);
    }

    /// Counts a packet that goes nowhere.
    pub(super) fn drop(&mut self, reason: Drop) -> Route {
        self.stats.drops[reason] += 1;
        Route::Here
    }

    /// Queues an answer.
    pub(super) fn send(&mut self, to: FiveTuple, message: Vec<u8>) {
        self.outputs.push_back(Output::Send { to, message });
    }

    /// The transaction id for Data indications made now. One an instant, so that a train of packets has equal heads.
    pub(super) fn indication_id(&mut self) -> TransactionId {
        if self.indication.0 != self.now {
            self.indication = (self.now, self.random.bytes());
        }
        self.indication.1
    }

    /// The allocation that an id means, if it still lives.
    pub(super) fn live(&mut self, at: AllocationId) -> Option<u32> {
        let slot = self.table.live(at);
        if slot.is_none() {
            self.stats.drops[Drop::Stale] += 1;
        }
        slot
    }
}

#[cfg(test)]
impl Server {
    /// How much is held: allocations, and answers remembered.
    pub(super) fn footprint(&self) -> (u64, usize) {
        (self.stats.allocations, self.replies.len())
    }

    /// No allocation, user, address, timer, reservation or held port is left.
    pub(super) fn leaves_nothing(&self) -> bool {
        self.table.is_empty()
            && self.timers.next().is_none()
            && self.relayed.all_free()
            && self.connections.is_empty()
            && self.listeners.is_empty()
    }
}
