//! The connections of a TCP allocation (RFC 6062): which peers it is connected to, and what each connection waits for.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::route::ConnectionId;
use super::wire::Echo;
use crate::stun::Mac;

/// How long connecting to a peer may take, and how long a connection waits for its ConnectionBind (RFC 6062, sections 5.2
/// and 5.3: 30 seconds at least).
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// How many an allocation may have.
pub(super) const MOST: usize = 32;

/// How many all allocations of a server may have together: each is an open file.
pub(super) const MOST_IN_ALL: usize = 4096;

/// A connection between the allocation and a peer.
#[derive(Debug)]
pub(super) struct PeerConnection {
    pub(super) id: ConnectionId,
    /// As the client knows it.
    pub(super) peer: SocketAddr,
    /// The peer is a relayed address of this daemon.
    pub(super) ours: bool,
    pub(super) state: State,
}

#[derive(Debug)]
pub(super) enum State {
    /// On its way to the peer; this is the Connect that asked for it.
    Connecting { echo: Echo, mac: Mac, until: Instant },
    /// There, waiting for the client's own connection.
    Unbound { until: Instant },
    /// Joined with the client's own connection.
    Bound,
}

impl PeerConnection {
    pub(super) fn until(&self) -> Option<Instant> {
        match self.state {
            State::Connecting { until, .. } | State::Unbound { until } => Some(until),
            State::Bound => None,
        }
    }
}

/// All of an allocation's.
#[derive(Default, Debug)]
pub(super) struct Connections(SmallVec<[PeerConnection; 1]>);

impl Connections {
    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= MOST
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &PeerConnection> {
        self.0.iter()
    }

    pub(super) fn get(&self, id: ConnectionId) -> Option<&PeerConnection> {
        self.0.iter().find(|held| held.id == id)
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut PeerConnection> {
        self.0.iter_mut().find(|held| held.id == id)
    }

    pub(super) fn has_peer(&self, peer: SocketAddr) -> bool {
        self.0.iter().any(|held| held.peer == peer)
    }

    pub(super) fn add(&mut self, connection: PeerConnection) {
        self.0.push(connection);
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<PeerConnection> {
        let at = self.0.iter().position(|held| held.id == id)?;
        Some(self.0.swap_remove(at))
    }

    /// One that has waited too long.
    pub(super) fn overdue(&self, now: Instant) -> Option<ConnectionId> {
        self.0.iter().find(|held| held.until().is_some_and(|until| until <= now)).map(|held| held.id)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.0.iter().filter_map(PeerConnection::until).min()
    }
}
