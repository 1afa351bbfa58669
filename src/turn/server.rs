//! The server of one shard.

use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

use super::config::Config;
use super::route::{AllocationId, FiveTuple, Output, RelayFailure, Route};
use super::stats::{Drop, Stats};

/// A TURN server without sockets or a clock.
///
/// After any call that takes `&mut self`, drain [`Server::poll_output`], then sleep no longer than
/// [`Server::poll_timeout`] says and call [`Server::handle_timeout`].
#[derive(Debug)]
pub struct Server {
    stats: Stats,
}

impl Server {
    /// A server without allocations. `seed` (secret, random) keys its hashes and chooses its ports; `wall` is what the
    /// clock on the wall shows at `now`.
    #[must_use]
    pub fn new(config: Config, seed: [u8; 32], now: Instant, wall: SystemTime) -> Self {
        let _ = (config, seed, now, wall);
        Self { stats: Stats::default() }
    }

    /// The clock on the wall shows `wall` at `now`: credentials expire by it.
    pub fn set_wall_clock(&mut self, now: Instant, wall: SystemTime) {
        let _ = (now, wall);
    }

    /// A datagram arrived from a client.
    pub fn handle_client(&mut self, now: Instant, from: FiveTuple, packet: &[u8]) -> Route {
        let _ = (now, from, packet);
        self.stats.drops[Drop::NotStun] += 1;
        Route::Here
    }

    /// A datagram of `len` bytes arrived from a peer at a relay socket.
    pub fn handle_peer(&mut self, now: Instant, at: AllocationId, from: SocketAddr, len: usize) -> Route {
        let _ = (now, at, from, len);
        self.stats.drops[Drop::Stale] += 1;
        Route::Here
    }

    /// Another shard's allocation with the relayed address `from` sends `len` bytes to `to`, which is ours.
    pub fn handle_relayed(&mut self, now: Instant, to: SocketAddr, from: SocketAddr, len: usize) -> Route {
        let _ = (now, to, from, len);
        self.stats.drops[Drop::NoPeerAllocation] += 1;
        Route::Here
    }

    /// A relay socket got an ICMP error for what it sent to `peer`. `data` is the MTU or zero (RFC 8656, section 18.13).
    pub fn handle_icmp(
        &mut self,
        now: Instant,
        at: AllocationId,
        peer: SocketAddr,
        icmp_type: u8,
        code: u8,
        data: [u8; 4],
    ) {
        let _ = (now, at, peer, icmp_type, code, data);
    }

    /// What came of an `Output::OpenRelay { at, local: local_asked }`.
    pub fn relay_opened(
        &mut self,
        now: Instant,
        at: AllocationId,
        result: Result<SocketAddr, RelayFailure>,
        local_asked: SocketAddr,
    ) {
        let _ = (now, at, result, local_asked);
    }

    /// Ends every allocation whose credential has this id.
    pub fn revoke(&mut self, now: Instant, id: &str) {
        let _ = (now, id);
    }

    /// Takes no new allocations from here on (508); those that live may go on.
    pub fn drain(&mut self, now: Instant) {
        let _ = now;
    }

    /// The next effect, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        None
    }

    /// When [`Server::handle_timeout`] must be called at the latest; `None`: no need.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Ends what has expired by `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }
}
