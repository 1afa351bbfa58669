//! What a server counts. Plain numbers, read and summed over shards at scrape time.

use std::ops::{AddAssign, Index, IndexMut};

use super::route::Transport;
use super::usage::{Usage, Way};

/// How many kinds of rooms are told apart.
pub const KINDS: usize = 2;

/// Where [`Stats::by_scope`] has what belongs to no room.
pub const PUBLIC: usize = KINDS;

/// Packets and payload bytes in one direction.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Flow {
    /// Datagrams.
    pub packets: u64,
    /// Application data, without any framing.
    pub bytes: u64,
}

impl Flow {
    pub(super) fn count(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }
}

impl AddAssign for Flow {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

macro_rules! drops {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)*) => {
        /// Why a packet was dropped.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Drop { $($(#[$doc])* $name,)* }

        impl Drop {
            /// Every reason, in the order of the counters.
            pub const ALL: &'static [Drop] = &[$(Drop::$name,)*];

            /// The reason as a metric's label.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Drop::$name => $label,)* }
            }
        }
    };
}

drops! {
    /// Neither STUN nor ChannelData by its first two bits.
    NotStun = "not_stun",
    /// STUN or ChannelData that cannot be read, or a wrong FINGERPRINT.
    Malformed = "malformed",
    /// A STUN method or class that a TURN server has no use for.
    Unexpected = "unexpected",
    /// An indication with a comprehension-required attribute that is not known.
    UnknownAttribute = "unknown_attribute",
    /// Data from a five-tuple without an allocation.
    NoAllocation = "no_allocation",
    /// ChannelData with a number that is not bound.
    NoChannel = "no_channel",
    /// Data to or from a peer without a permission.
    NoPermission = "no_permission",
    /// Data to or from an address that the peer policy denies.
    PeerDenied = "peer_denied",
    /// Data to a peer of a family that the allocation has no relayed address in.
    PeerFamily = "peer_family",
    /// Data to a relayed address of this daemon that nobody holds.
    NoPeerAllocation = "no_peer_allocation",
    /// Data that the receiving relayed address has no permission for.
    PeerNotPermitted = "peer_not_permitted",
    /// Data of a peer that came by way of the network although it is a relayed address of this daemon.
    Hairpin = "hairpin",
    /// An unauthenticated request over the rate limit of its source prefix.
    RateLimited = "rate_limited",
    /// A request whose answer would be too long for somebody who has shown no password (over UDP, three times as long).
    Amplification = "amplification",
    /// A request with credentials that was not looked at: too many wrong ones of that user name and address before it.
    Throttled = "throttled",
    /// A request sent again while its first copy is still being worked on.
    InProgress = "in_progress",
    /// Something for an allocation that is gone.
    Stale = "stale",
    /// A payload too long for the frame it would need.
    TooLong = "too_long",
    /// A peer's connection to a TCP allocation that has as many as it may have.
    TooManyConnections = "too_many_connections",
    /// An ICMP error that no client wants to hear of.
    Icmp = "icmp",
    /// Data to a relayed address of this daemon that belongs to another room, or to none, or from none to a room's.
    OtherRoom = "other_room",
    /// Data over the limit of bytes per second of its allocation.
    OverRate = "over_rate",
    /// Data over the limit of its room.
    RoomOverRate = "room_over_rate",
    /// Data over the limit of the daemon.
    TotalOverRate = "total_over_rate",
}

/// A counter per [`Drop`] reason.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Drops([u64; Drop::ALL.len()]);

impl Default for Drops {
    fn default() -> Self {
        Self([0; Drop::ALL.len()])
    }
}

impl Index<Drop> for Drops {
    type Output = u64;
    fn index(&self, reason: Drop) -> &u64 {
        &self.0[reason as usize]
    }
}

impl IndexMut<Drop> for Drops {
    fn index_mut(&mut self, reason: Drop) -> &mut u64 {
        &mut self.0[reason as usize]
    }
}

impl Drops {
    /// Every reason's name with its count.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Drop::ALL.iter().map(|&reason| (reason.name(), self[reason]))
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// The counters of one server.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Stats {
    /// Allocations alive now.
    pub allocations: u64,
    /// Of these, how many clients came over UDP, TCP and TLS.
    pub by_transport: [u64; 3],
    /// Allocations ever answered with success.
    pub allocations_total: u64,
    /// From clients to peers, in-process ones included.
    pub to_peer: Flow,
    /// From peers to clients, in-process ones included.
    pub to_client: Flow,
    /// The same for the members of each kind of room (by the number they were seated with), and at [`PUBLIC`] for
    /// everybody else.
    pub by_scope: [Usage; KINDS + 1],
    /// Of `to_client`, what came from another allocation of this daemon without leaving it.
    pub in_process: Flow,
    /// Binding requests answered.
    pub bindings: u64,
    /// First requests without credentials that were given a nonce (401); no failure.
    pub challenges: u64,
    /// Wrong, unknown or expired credentials (401).
    pub unauthorized: u64,
    /// Nonces that had expired or were made for another address (438).
    pub stale_nonces: u64,
    /// Requests of another user than the allocation's (441).
    pub wrong_credentials: u64,
    /// Allocate requests turned away by a quota (486).
    pub quota_reached: u64,
    /// Requests turned away for want of ports, sockets, permissions or channels (508).
    pub insufficient_capacity: u64,
    /// Requests answered again from memory.
    pub retransmissions: u64,
    /// Packets that went nowhere, by reason.
    pub drops: Drops,
}

impl Stats {
    /// An allocation is there.
    pub(super) fn opened(&mut self, transport: Transport) {
        self.allocations += 1;
        self.by_transport[place(transport)] += 1;
    }

    /// An allocation is gone.
    pub(super) fn closed(&mut self, transport: Transport) {
        self.allocations = self.allocations.saturating_sub(1);
        let count = &mut self.by_transport[place(transport)];
        *count = count.saturating_sub(1);
    }

    /// A packet is relayed. `scope` is its place in `by_scope`.
    #[inline]
    pub(super) fn count(&mut self, scope: u8, way: Way, bytes: usize) {
        match way {
            Way::Out => self.to_peer.count(bytes),
            Way::In | Way::Within => self.to_client.count(bytes),
        }
        self.by_scope[usize::from(scope).min(PUBLIC)].count(way, bytes);
        if way == Way::Within {
            self.in_process.count(bytes);
        }
    }

    /// Authentication failures with their error codes.
    #[must_use]
    pub fn auth_failures(&self) -> [(u16, u64); 3] {
        [(401, self.unauthorized), (438, self.stale_nonces), (441, self.wrong_credentials)]
    }
}

impl AddAssign<&Stats> for Stats {
    fn add_assign(&mut self, other: &Stats) {
        self.allocations += other.allocations;
        for (mine, its) in self.by_transport.iter_mut().zip(other.by_transport) {
            *mine += its;
        }
        for (mine, its) in self.by_scope.iter_mut().zip(other.by_scope) {
            *mine += its;
        }
        self.allocations_total += other.allocations_total;
        self.to_peer += other.to_peer;
        self.to_client += other.to_client;
        self.in_process += other.in_process;
        self.bindings += other.bindings;
        self.challenges += other.challenges;
        self.unauthorized += other.unauthorized;
        self.stale_nonces += other.stale_nonces;
        self.wrong_credentials += other.wrong_credentials;
        self.quota_reached += other.quota_reached;
        self.insufficient_capacity += other.insufficient_capacity;
        self.retransmissions += other.retransmissions;
        for (mine, its) in self.drops.0.iter_mut().zip(other.drops.0) {
            *mine += its;
        }
    }
}

/// Where [`Stats::by_transport`] counts it.
fn place(transport: Transport) -> usize {
    match transport {
        Transport::Udp => 0,
        Transport::Tcp(_) => 1,
        Transport::Tls(_) => 2,
    }
}
