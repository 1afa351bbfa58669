//! What a server is told when it is made.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::census::Census;
use super::keys::Keys;
use super::peers::PeerPolicy;
use super::scopes::Scopes;

/// Everything a [`Server`](super::Server) needs to know; but for the keys it never changes while the server lives.
#[derive(Clone, Debug)]
pub struct Config {
    /// REALM, for the long-term credential mechanism (RFC 8489, section 9.2).
    pub realm: String,
    /// SOFTWARE of every answer (RFC 8489, section 14.14); empty: none. Cut at 64 bytes.
    pub software: String,
    /// Who is let in; none: nobody. [`Server::set_keys`](super::Server::set_keys) changes them.
    pub keys: Keys,
    /// Key of the nonces. The same for all shards, so that a nonce of one is good at another.
    pub nonce_key: [u8; 32],
    /// Where relayed addresses come from: at most one per family (further ones are ignored).
    pub relays: Vec<RelayAddress>,
    /// This shard's slice of the relay ports. Starts even, ends odd, overlaps no other shard's.
    pub ports: RangeInclusive<u16>,
    /// The whole daemon's relay ports: a peer at one of `relays` (local or public) within them is our own.
    pub all_ports: RangeInclusive<u16>,
    /// The daemon's listening addresses, never a peer. A wildcard address stands for every local one.
    pub own: Vec<SocketAddr>,
    /// The addresses that clients reach the server at over UDP. Where those of a family are two addresses with the same two
    /// ports, they serve behaviour discovery (RFC 5780).
    pub discovery: Vec<SocketAddr>,
    /// Other servers, for clients that come while this one drains (300): the first of each family counts.
    pub alternate: Vec<SocketAddr>,
    /// Which peers may be talked to.
    pub peers: PeerPolicy,
    /// How much of everything there may be.
    pub limits: Limits,
    /// Shared by all shards, for `limits.allocations`.
    pub census: Census,
    /// Whether the relays of a room's members reach only what the room's other members have, besides what `peers` lets
    /// through. If not, their credentials are bound to their seat in the room all the same.
    pub room_scope: bool,
    /// Whether there are TCP allocations (RFC 6062).
    pub tcp_relays: bool,
    /// Whether an allocation may move with its client to another address (RFC 8016).
    pub mobility: bool,
    /// Shared by all shards: who is in which room, and what the daemon relays in all.
    pub scopes: Scopes,
}

/// A place to bind relay sockets and the name it has for the world; equal unless there is a 1:1 NAT.
/// Both are of one family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RelayAddress {
    /// Bound by the relay sockets.
    pub local: IpAddr,
    /// Told to clients in XOR-RELAYED-ADDRESS.
    pub public: IpAddr,
}

/// Upper bounds of one server. All that comes from one client address comes to one shard, so one shard's count is the
/// whole for an address; a user on several addresses, or a source network, may get as much from each shard. 0 is off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Allocations of all shards together (486).
    pub allocations: u32,
    /// Allocations of one credential id (486).
    pub allocations_per_user: u32,
    /// Allocations of one client address, or one /64 with IPv6 (486).
    pub allocations_per_ip: u32,
    /// Peer addresses with a permission, per allocation (508).
    pub permissions: u32,
    /// Channels, per allocation (508); with 0 there are the 4096 that the RFC has numbers for.
    pub channels: u32,
    /// The longest LIFETIME granted; 0: one hour (RFC 8656, section 7.2).
    pub lifetime: Duration,
    /// Answers a second to the unauthenticated (401, 400, Binding) per source prefix, /24 or /56.
    pub unauthenticated_per_second: u32,
    /// Payload relayed a second by one allocation, both ways together; a second's worth may come at once.
    pub bytes_per_second: u64,
    /// By all allocations of a room's members, on all shards.
    pub room_bytes_per_second: u64,
    /// By all allocations of all shards.
    pub total_bytes_per_second: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            allocations: 0,
            allocations_per_user: 0,
            allocations_per_ip: 0,
            permissions: 256,
            channels: 256,
            lifetime: Duration::from_secs(3600),
            unauthenticated_per_second: 0,
            bytes_per_second: 0,
            room_bytes_per_second: 0,
            total_bytes_per_second: 0,
        }
    }
}
