//! What the state machine tells its surroundings: where a packet goes (`Route`), and what else to do (`Output`).

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::ops::Range;

/// How a client reaches the server.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Transport {
    /// One datagram, one message.
    Udp,
    /// A connection of its own.
    Tcp(Leg),
    /// The same, within TLS.
    Tls(Leg),
}

impl Transport {
    /// The connection; `None`: datagrams.
    #[must_use]
    pub fn leg(self) -> Option<Leg> {
        match self {
            Self::Udp => None,
            Self::Tcp(leg) | Self::Tls(leg) => Some(leg),
        }
    }
}

/// Names a client's TCP connection for as long as it lives; a later one in the same slot has another generation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Leg {
    /// The shard that reads it.
    pub shard: u16,
    /// Its place there.
    pub slot: u32,
    /// Which tenant of that place.
    pub generation: u32,
}

/// A client's transport address, the server's, and the transport between them (RFC 8656, section 3).
///
/// `server` is the address the client sent to, as the kernel reports it, never a wildcard: the answer leaves from it.
/// Addresses are never IPv4-mapped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FiveTuple {
    /// Where the client's packets come from.
    pub client: SocketAddr,
    /// Where they were sent to.
    pub server: SocketAddr,
    /// Over what.
    pub transport: Transport,
}

/// Names an allocation for as long as it lives; a later allocation in the same slot has another generation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AllocationId {
    /// The place in the server's table.
    pub slot: u32,
    /// Which tenant of that place.
    pub generation: u32,
}

/// A part of the packet just handed in, in bytes from its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// First byte.
    pub start: u16,
    /// One past the last byte.
    pub end: u16,
}

impl Span {
    /// The span as an index range.
    #[must_use]
    pub fn range(self) -> Range<usize> {
        usize::from(self.start)..usize::from(self.end)
    }
}

/// What goes in front of (and, for padding, behind) a payload on its way to a client: 4 bytes of ChannelData
/// (RFC 8656, section 12.4) or a Data indication up to its DATA value (section 11.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// The bytes; only the first `len` count.
    pub bytes: [u8; Head::MAX],
    /// How many of them.
    pub len: u8,
    /// Zero bytes to send after the payload, 0 to 3.
    pub padding: u8,
}

impl Head {
    /// STUN header, XOR-PEER-ADDRESS with an IPv6 address, and the DATA attribute's type and length.
    pub const MAX: usize = 20 + 24 + 4;

    /// The bytes to send in front of the payload.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len).min(Self::MAX)]
    }
}

/// Where the packet just handled goes. Equal routes (but for `payload`) of consecutive packets may be sent as one train.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Route {
    /// Nowhere: it was a request or indication for the server itself, or it was dropped and counted. Drain `poll_output`.
    Here,
    /// Out of the allocation's relay socket of the peer's family, to the peer.
    Peer {
        /// Whose relay socket.
        at: AllocationId,
        /// To whom.
        peer: SocketAddr,
        /// The application data within the packet.
        payload: Span,
        /// The client asked for DONT-FRAGMENT (RFC 8656, section 14.9).
        dont_fragment: bool,
    },
    /// Out of the client-facing socket that `to.server` names, to `to.client`: `head`, payload, padding.
    Client {
        /// The client's five-tuple.
        to: FiveTuple,
        /// What to put around the payload.
        head: Head,
        /// The application data within the packet.
        payload: Span,
    },
    /// To the server that has this relay port: the client's allocation is there. Hand it the packet, with the same five-tuple, as one
    /// of its own.
    Home {
        /// By which the server is known.
        port: u16,
    },
    /// To the relayed address `to` of this daemon, which another shard holds: pass the payload to that shard's
    /// `Server::handle_relayed(now, to, from, room, len)`, and act on the route it returns from here.
    Across {
        /// The sender's relayed address, as its allocation advertises it.
        from: SocketAddr,
        /// The receiver's relayed address.
        to: SocketAddr,
        /// The number of the sender's room, if it may speak to no other; `None`: the public.
        room: Option<NonZeroU64>,
        /// The application data within the packet.
        payload: Span,
    },
}

/// Names a connection between a peer and a TCP allocation (RFC 6062) for as long as it lives, within its server.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConnectionId(pub u32);

/// Why a relay socket could not be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RelayFailure {
    /// The port is taken by another program: try another one.
    InUse,
    /// Anything else (no such address, no more file descriptors): 508.
    Refused,
}

/// The rare effects, from `Server::poll_output`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send these bytes to a client: a response or an indication.
    Send {
        /// To whom, and from which of our addresses.
        to: FiveTuple,
        /// One whole STUN message.
        message: Vec<u8>,
    },
    /// Listen for TCP connections at `local` and say what came of it through `Server::relay_opened`.
    Listen {
        /// For whom.
        at: AllocationId,
        /// The local address and port to bind.
        local: SocketAddr,
    },
    /// Connect over TCP from `local`, where an allocation listens, to `peer`, and say what came of it through
    /// `Server::peer_connected`.
    Connect {
        /// What to call it.
        connection: ConnectionId,
        /// The allocation's address.
        local: SocketAddr,
        /// The peer's address.
        peer: SocketAddr,
        /// The peer is an address of this daemon: only if `Server::listens_at` says of the server that has its port that a TCP
        /// allocation is there, it is one.
        ours: bool,
    },
    /// From here on, what this connection's peer sends goes to the client as it is, and what the client sends over its own
    /// connection `client` to the peer. Whatever was sent to the client before goes first.
    Splice {
        /// The peer's connection.
        connection: ConnectionId,
        /// The client's.
        client: FiveTuple,
    },
    /// Close the peer's connection, and the client's that belongs to it.
    ClosePeer {
        /// Which.
        connection: ConnectionId,
    },
    /// Bind a UDP socket to `local` and say what came of it through `Server::relay_opened`. An allocation with two
    /// families asks twice.
    OpenRelay {
        /// For whom.
        at: AllocationId,
        /// The local address and port to bind.
        local: SocketAddr,
    },
    /// Close the allocation's relay sockets (all families, and where it listens); its id means nothing from here on.
    CloseRelay {
        /// Whose.
        at: AllocationId,
    },
    /// Close one of an allocation's two relay sockets, the one bound to `local`; the other family lives on.
    CloseFamily {
        /// Whose.
        at: AllocationId,
        /// As asked for in `OpenRelay`.
        local: SocketAddr,
    },
    /// The allocation of this client, who came over a connection, has ended by nothing that it asked for: close the
    /// connection.
    HangUp {
        /// Whose.
        client: FiveTuple,
    },
    /// A client has moved (RFC 8016), and is `client` from here on; without a port, `client` is one that has moved on, or has no
    /// allocation any more. If its packets come to another server, tell that one by `Server::set_home`.
    Moved {
        /// Who.
        client: FiveTuple,
        /// The relay port by which this server is known.
        port: Option<u16>,
    },
    /// Data between `peer` and `client` may bypass the state machine as ChannelData `number`: the seam for a kernel offload.
    ChannelBound {
        /// Whose channel.
        at: AllocationId,
        /// 0x4000 to 0x4FFF.
        number: u16,
        /// The peer it stands for.
        peer: SocketAddr,
    },
    /// The channel's binding has ended.
    ChannelUnbound {
        /// Whose channel.
        at: AllocationId,
        /// 0x4000 to 0x4FFF.
        number: u16,
    },
}
