//! TCP allocations (RFC 6062): Connect, ConnectionAttempt and ConnectionBind.
//!
//! An allocation's client names its connections to peers by CONNECTION-ID, and opens one of its own for each. All that comes from
//! one client address comes to one server, so that connection comes here, too.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::time::Instant;

use super::allocation::Allocation;
use super::code;
use super::connections::{MOST_IN_ALL, PATIENCE, PeerConnection, State};
use super::data::permits;
use super::family::Family;
use super::message::Answer;
use super::route::{AllocationId, ConnectionId, FiveTuple, Output};
use super::server::Server;
use super::stats::Drop;
use super::usage::Way;
use super::wire::Request;
use crate::stun::attribute;
use crate::stun::method;
use crate::stun::{Class, Mac, Writer};

impl Server {
    /// Connect (section 5.2). The guard is asked as for a channel; the RFC wants no permission besides.
    pub(super) fn handle_connect(
        &mut self,
        slot: u32,
        request: &Request<'_>,
        mac: &Mac,
    ) -> Result<Answer, u16> {
        let peer = request.peers().next().flatten().filter(|peer| peer.port() != 0);
        let peer = peer.ok_or(code::BAD_REQUEST)?;
        let family = Family::of(peer.ip());
        self.keep_scope(slot);
        let allocation = self.table.get(slot).ok_or(code::ALLOCATION_MISMATCH)?;
        let held = allocation.connections.as_ref().ok_or(code::BAD_REQUEST)?;
        let side = allocation.side(family).ok_or(code::PEER_FAMILY_MISMATCH)?;
        if held.has_peer(peer) {
            return Err(code::CONNECTION_ALREADY_EXISTS);
        }
        if held.is_full() || self.connections.len() >= MOST_IN_ALL {
            return Err(code::INSUFFICIENT_CAPACITY);
        }
        let permission = self.permission(slot, peer.ip())?;
        let ours = self.relayed.is_ours(peer);
        let allowed = match ours {
            true => peer.port() != side.port && self.is_of_the_room(slot, peer),
            false => !permission.only_ours && self.may_reach(peer),
        };
        if !allowed {
            return Err(code::FORBIDDEN);
        }
        let local = self.relayed.local(family, side.port).ok_or(code::PEER_FAMILY_MISMATCH)?;
        let target = match ours {
            true => self.relayed.local(family, peer.port()).unwrap_or(peer),
            false => peer,
        };
        let until = self.now() + PATIENCE;
        let state = State::Connecting { echo: request.echo(), mac: mac.clone(), until };
        let connection = self.add_connection(slot, peer, ours, state);
        self.outputs.push_back(Output::Connect { connection, local, peer: target, ours });
        Ok(Answer::Later)
    }

    fn add_connection(&mut self, slot: u32, peer: SocketAddr, ours: bool, state: State) -> ConnectionId {
        let mut id = ConnectionId(self.random.u32());
        while self.connections.contains_key(&id) {
            id = ConnectionId(self.random.u32());
        }
        if let Some(held) = self.table.get_mut(slot).and_then(|held| held.connections.as_mut()) {
            held.add(PeerConnection { id, peer, ours, state });
            self.connections.insert(id, slot);
        }
        self.arm(slot);
        id
    }

    /// What came of an [`Output::Connect`].
    pub fn peer_connected(&mut self, now: Instant, connection: ConnectionId, connected: bool) {
        self.catch_up(now);
        if !connected {
            return self.fail_connect(connection);
        }
        let until = self.now() + PATIENCE;
        let slot = self.connections.get(&connection).copied();
        let held = slot.and_then(|slot| self.table.get_mut(slot)).and_then(|held| {
            let client = held.client;
            let connection = held.connections.as_mut()?.get_mut(connection)?;
            match std::mem::replace(&mut connection.state, State::Unbound { until }) {
                State::Connecting { echo, mac, .. } => Some((client, echo, mac)),
                other => {
                    connection.state = other;
                    None
                }
            }
        });
        let (Some(slot), Some((client, echo, mac))) = (slot, held) else {
            self.outputs.push_back(Output::ClosePeer { connection });
            return;
        };
        self.arm(slot);
        let answer = echo.success(&self.software, Some(&mac), |writer| {
            writer.attribute(attribute::CONNECTION_ID, &connection.0.to_be_bytes());
        });
        self.send(client, answer);
    }

    /// 447, if somebody waits for it.
    fn fail_connect(&mut self, connection: ConnectionId) {
        let client = self.connections.get(&connection).and_then(|&slot| self.table.get(slot));
        let client = client.map(|held| held.client);
        if let (Some(client), Some(PeerConnection { state: State::Connecting { echo, mac, .. }, .. })) =
            (client, self.forget(connection))
        {
            let answer = self.refuse(&echo, code::CONNECTION_TIMEOUT_OR_FAILURE, &mac);
            self.send(client, answer);
        }
    }

    fn forget(&mut self, connection: ConnectionId) -> Option<PeerConnection> {
        let slot = self.connections.remove(&connection)?;
        self.table.get_mut(slot)?.connections.as_mut()?.remove(connection)
    }

    /// Whether a TCP allocation is at this address, bound or advertised, and the number of the room that it is confined to:
    /// for connections between two allocations of this daemon.
    #[must_use]
    pub fn listens_at(&self, address: SocketAddr) -> Option<Option<NonZeroU64>> {
        let family = Family::of(address.ip());
        if !self.relayed.is_ours(address) {
            return None;
        }
        let &slot = self.listeners.get(&(family, address.port()))?;
        self.table.get(slot).map(Allocation::scope)
    }

    /// A peer has connected to where an allocation listens (section 5.3). `from` is what [`Server::listens_at`] says of the peer's
    /// address, if that is one of this daemon's relayed addresses. `None`: close it.
    pub fn peer_accepted(
        &mut self,
        now: Instant,
        at: AllocationId,
        peer: SocketAddr,
        from: Option<Option<NonZeroU64>>,
    ) -> Option<ConnectionId> {
        self.catch_up(now);
        let slot = self.live(at)?;
        self.keep_scope(slot);
        match self.admit_peer(slot, peer, from) {
            Ok((known, client)) => {
                let ours = self.relayed.is_ours(peer);
                let state = State::Unbound { until: self.now() + PATIENCE };
                let id = self.add_connection(slot, known, ours, state);
                let (mut message, transaction) = (Vec::new(), self.random.bytes());
                Writer::new(&mut message, method::CONNECTION_ATTEMPT, Class::Indication, transaction)
                    .attribute(attribute::CONNECTION_ID, &id.0.to_be_bytes())
                    .address(attribute::XOR_PEER_ADDRESS, known);
                self.send(client, message);
                Some(id)
            }
            Err(reason) => {
                self.drop(reason);
                None
            }
        }
    }

    /// Whether the allocation wants to hear from a peer, and as whom it knows it.
    #[expect(clippy::option_option, reason = "as listens_at")]
    fn admit_peer(
        &self,
        slot: u32,
        peer: SocketAddr,
        from: Option<Option<NonZeroU64>>,
    ) -> Result<(SocketAddr, FiveTuple), Drop> {
        let allocation = self.table.get(slot).ok_or(Drop::NoAllocation)?;
        let held = allocation.connections.as_ref().ok_or(Drop::NoAllocation)?;
        let known = if self.relayed.is_ours(peer) {
            let room = from.ok_or(Drop::NoPeerAllocation)?;
            if room != allocation.scope() {
                return Err(Drop::OtherRoom);
            }
            let public = self.relayed.public(Family::of(peer.ip()), peer.port()).unwrap_or(peer);
            let known = [public, peer].into_iter().find(|&known| permits(allocation, known));
            known.ok_or(Drop::PeerNotPermitted)?
        } else {
            match allocation.permissions.get(peer.ip()) {
                None => return Err(Drop::NoPermission),
                Some(permission) if permission.only_ours || self.is_own(peer) => {
                    return Err(Drop::PeerDenied);
                }
                Some(_) => peer,
            }
        };
        if held.is_full() || self.connections.len() >= MOST_IN_ALL {
            return Err(Drop::TooManyConnections);
        }
        Ok((known, allocation.client))
    }

    /// The allocation that a ConnectionBind is about, if `from` may be a connection of its client.
    pub(super) fn of_connection(&self, from: &FiveTuple, request: &Request<'_>) -> Option<u32> {
        let slot = self.connections.get(&ConnectionId(request.connection?)).copied()?;
        (from.transport.leg().is_some() && self.table.find(from).is_none()).then_some(slot)
    }

    /// ConnectionBind (section 5.4): `from` is the client's end of one of its connections.
    pub(super) fn handle_connection_bind(
        &mut self,
        from: FiveTuple,
        slot: u32,
        request: &Request<'_>,
        mac: &Mac,
    ) -> Result<Answer, u16> {
        let connection = ConnectionId(request.connection.ok_or(code::BAD_REQUEST)?);
        let allocation = self.table.get_mut(slot).ok_or(code::BAD_REQUEST)?;
        let held = allocation.connections.as_mut().and_then(|held| held.get_mut(connection));
        let held =
            held.filter(|held| matches!(held.state, State::Unbound { .. })).ok_or(code::BAD_REQUEST)?;
        held.state = State::Bound;
        let answer = request.echo().success(&self.software, Some(mac), |_| {});
        self.send(from, answer);
        self.outputs.push_back(Output::Splice { connection, client: from });
        Ok(Answer::Later)
    }

    /// How many of `bytes` may pass between a peer and its client now, 0: none at the moment, ask again; `None`: the
    /// connection is to be closed. What may pass is counted.
    pub fn pass(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        to_peer: bool,
        bytes: usize,
    ) -> Option<usize> {
        self.catch_up(now);
        let slot = self.connections.get(&connection).copied()?;
        self.keep_scope(slot);
        let held = self.table.get(slot)?.connections.as_ref()?.get(connection)?;
        let way = match (to_peer, held.ours) {
            (true, _) => Way::Out,
            (false, true) => Way::Within,
            (false, false) => Way::In,
        };
        let mut may = bytes;
        while may > 0 && self.charge(slot, way, may).is_err() {
            may /= 2;
        }
        Some(may)
    }

    /// A connection has been closed, by its peer or by its client.
    pub fn connection_closed(&mut self, now: Instant, connection: ConnectionId) {
        self.catch_up(now);
        self.fail_connect(connection);
    }

    /// Ends what has waited too long.
    pub(super) fn expire_connections(&mut self, slot: u32) {
        let now = self.now();
        let overdue = |server: &Self| server.table.get(slot)?.connections.as_ref()?.overdue(now);
        while let Some(connection) = overdue(self) {
            self.fail_connect(connection);
            self.outputs.push_back(Output::ClosePeer { connection });
        }
    }

    /// Ends those to peers that are not in the room's scope any more; all, if the allocation itself is not the room's.
    pub(super) fn rescope_connections(&mut self, slot: u32, is_the_rooms: bool) {
        let Some(allocation) = self.table.get(slot) else { return };
        let Some(held) = &allocation.connections else { return };
        let in_scope = |held: &PeerConnection| match held.ours {
            true => self.is_of_the_room(slot, held.peer),
            false => self.is_in_scope(allocation, held.peer.ip()),
        };
        let lost: Vec<_> =
            held.iter().filter(|held| !is_the_rooms || !in_scope(held)).map(|held| held.id).collect();
        for connection in lost {
            self.fail_connect(connection);
            self.outputs.push_back(Output::ClosePeer { connection });
        }
    }

    /// Nothing is left of an allocation's connections.
    pub(super) fn close_connections(&mut self, allocation: &Allocation) {
        let Some(held) = &allocation.connections else { return };
        for connection in held.iter().map(|held| held.id) {
            self.connections.remove(&connection);
            self.outputs.push_back(Output::ClosePeer { connection });
        }
        for family in Family::BOTH {
            if let Some(side) = allocation.side(family) {
                self.listeners.remove(&(family, side.port));
            }
        }
    }
}
