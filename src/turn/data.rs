//! The data path: ChannelData, Send and Data (RFC 8656, sections 11 and 12). Nothing here allocates or copies payload.
//!
//! A live channel is a permission for its own peer: some clients (aioice) refresh their channels only every 500 seconds and
//! rely on it, as coturn and pion allow; RFC 8656 alone would cut them off after 300.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::time::Instant;

use super::allocation::Allocation;
use super::family::Family;
use super::route::{AllocationId, FiveTuple, Head, Route, Span, Transport};
use super::server::Server;
use super::stats::Drop;
use super::usage::Way;
use crate::stun::attribute;
use crate::stun::channel_data;
use crate::stun::message::kind;
use crate::stun::method;
use crate::stun::{Class, MAGIC_COOKIE, Message, TransactionId, address, fingerprint};

/// The most that a UDP datagram carries over IPv4.
const LONGEST_DATAGRAM: usize = 65_507;

impl Server {
    /// ChannelData from a client (section 12.6).
    #[inline]
    pub(super) fn handle_channel_data(&mut self, from: &FiveTuple, packet: &[u8]) -> Route {
        let Some((number, length)) = channel_data::parse(packet) else { return self.drop(Drop::Malformed) };
        let Some(slot) = self.table.find(from) else { return self.no_allocation(from) };
        self.keep_scope(slot);
        let channel = self.table.get(slot).and_then(|allocation| allocation.channels.get(number));
        let Some(&channel) = channel.filter(|channel| channel.bound) else {
            return self.drop(Drop::NoChannel);
        };
        let start = channel_data::HEADER as u16;
        let Some(end) = length.checked_add(start) else { return self.drop(Drop::TooLong) };
        let payload = Span { start, end };
        if channel.ours {
            return self.send_in_process(slot, channel.peer, payload);
        }
        if let Err(reason) = self.charge(slot, Way::Out, length.into()) {
            return self.drop(reason);
        }
        Route::Peer { at: self.table.id(slot), peer: channel.peer, payload, dont_fragment: false }
    }

    /// A Send indication (section 11.2).
    pub(super) fn handle_send(&mut self, from: &FiveTuple, message: Message<'_>) -> Route {
        let Some(slot) = self.table.find(from) else { return self.no_allocation(from) };
        let transaction = message.transaction_id();
        let (mut peer, mut data, mut dont_fragment) = (None, None, false);
        for found in message.attributes() {
            match found.kind {
                attribute::XOR_PEER_ADDRESS if peer.is_none() => {
                    peer = Some(address::decode(found.value, &transaction));
                }
                attribute::DATA if data.is_none() => data = Some((found.offset + 4, found.value.len())),
                attribute::DONT_FRAGMENT => dont_fragment = true,
                attribute::FINGERPRINT if !fingerprint::check(&message, found.offset, found.value) => {
                    return self.drop(Drop::Malformed);
                }
                kind if is_foreign(kind) => return self.drop(Drop::UnknownAttribute),
                _ => {}
            }
        }
        let (Some(Some(peer)), Some((start, length))) = (peer, data) else {
            return self.drop(Drop::Malformed);
        };
        if peer.port() == 0 {
            return self.drop(Drop::Malformed);
        }
        self.keep_scope(slot);
        let Some(allocation) = self.table.get(slot) else { return self.drop(Drop::NoAllocation) };
        if allocation.side(Family::of(peer.ip())).is_none() {
            return self.drop(Drop::PeerFamily);
        }
        // (A TCP allocation relays no datagrams, whatever its permissions: RFC 6062, section 5.)
        if allocation.connections.is_some() || !permits(allocation, peer) {
            return self.drop(Drop::NoPermission);
        }
        let only_ours = !is_bound(allocation, peer)
            && allocation.permissions.get(peer.ip()).is_some_and(|held| held.only_ours);
        let payload = Span { start: start as u16, end: (start + length) as u16 };
        if self.relayed.is_ours(peer) {
            return self.send_in_process(slot, peer, payload);
        }
        if only_ours || !self.may_reach(peer) {
            return self.drop(Drop::PeerDenied);
        }
        if let Err(reason) = self.charge(slot, Way::Out, length) {
            return self.drop(reason);
        }
        Route::Peer { at: self.table.id(slot), peer, payload, dont_fragment }
    }

    /// From an allocation of this shard to a relayed address of this daemon.
    fn send_in_process(&mut self, slot: u32, to: SocketAddr, payload: Span) -> Route {
        let Some(allocation) = self.table.get(slot) else { return self.drop(Drop::NoAllocation) };
        let room = allocation.scope();
        let family = Family::of(to.ip());
        let side = allocation.side(family);
        let Some(from) = side.and_then(|side| self.relayed.public(family, side.port)) else {
            return self.drop(Drop::PeerFamily);
        };
        let length = payload.range().len();
        if !self.relayed.is_this_shards(to) {
            return match self.charge(slot, Way::Out, length) {
                Ok(()) => Route::Across { from, to, room, payload },
                Err(reason) => self.drop(reason),
            };
        }
        // Only what somebody wants to have is paid for.
        let receiver = match self.receiver(to, from, room) {
            Ok(receiver) => receiver,
            Err(reason) => return self.drop(reason),
        };
        match self.charge(slot, Way::Out, length) {
            Ok(()) => self.deliver(receiver, Way::Within, payload),
            Err(reason) => self.drop(reason),
        }
    }

    /// Another shard's allocation with the relayed address `from` sends `len` bytes to `to`, which is ours; `room` is what
    /// [`Route::Across`] said. The payload of the route returned starts at 0.
    pub fn handle_relayed(
        &mut self,
        now: Instant,
        to: SocketAddr,
        from: SocketAddr,
        room: Option<NonZeroU64>,
        len: usize,
    ) -> Route {
        self.catch_up(now);
        let Ok(end) = u16::try_from(len) else { return self.drop(Drop::TooLong) };
        match self.receiver(to, from, room) {
            Ok(receiver) => self.deliver(receiver, Way::Within, Span { start: 0, end }),
            Err(reason) => self.drop(reason),
        }
    }

    /// Who holds the relayed address `to`, and as whom it knows `from`: if it is of the same room, or both are of none, and
    /// its permissions let `from` in.
    fn receiver(
        &mut self,
        to: SocketAddr,
        from: SocketAddr,
        room: Option<NonZeroU64>,
    ) -> Result<(u32, SocketAddr), Drop> {
        let slot = self.relayed.holder(to).ok_or(Drop::NoPeerAllocation)?;
        self.keep_scope(slot);
        let allocation = self.table.get(slot).ok_or(Drop::NoPeerAllocation)?;
        if allocation.scope() != room {
            return Err(Drop::OtherRoom);
        }
        // The receiver may know the sender by its advertised address or by the one it is bound to.
        let family = Family::of(from.ip());
        let local = self.relayed.local(family, from.port()).unwrap_or(from);
        match (permits(allocation, from), from != local && permits(allocation, local)) {
            (true, _) => Ok((slot, from)),
            (false, true) => Ok((slot, local)),
            (false, false) => Err(Drop::PeerNotPermitted),
        }
    }

    /// A datagram of `len` bytes arrived from a peer at a relay socket (section 11.3).
    #[inline]
    pub fn handle_peer(&mut self, now: Instant, at: AllocationId, from: SocketAddr, len: usize) -> Route {
        self.catch_up(now);
        let Some(slot) = self.live(at) else { return Route::Here };
        let Ok(end) = u16::try_from(len) else { return self.drop(Drop::TooLong) };
        let payload = Span { start: 0, end };
        self.keep_scope(slot);
        let Some(allocation) = self.table.get(slot) else { return Route::Here };
        // What the policy says was settled when the channel was bound.
        match allocation.channels.to(from) {
            Some(channel) if channel.bound && !channel.ours => {}
            Some(channel) if channel.bound => return self.drop(Drop::Hairpin),
            _ => match allocation.permissions.get(from.ip()) {
                None => return self.drop(Drop::NoPermission),
                Some(_) if self.relayed.is_ours(from) => return self.drop(Drop::Hairpin),
                Some(permission) if permission.only_ours || self.is_own(from) => {
                    return self.drop(Drop::PeerDenied);
                }
                Some(_) => {}
            },
        }
        self.deliver((slot, from), Way::In, payload)
    }

    /// Data that may pass, framed for the client: as ChannelData if there is a channel, else as a Data indication.
    fn deliver(&mut self, (slot, from): (u32, SocketAddr), way: Way, payload: Span) -> Route {
        let length = payload.range().len();
        let Some(allocation) = self.table.get(slot) else { return self.drop(Drop::NoAllocation) };
        let to = allocation.client;
        let channel = allocation.channels.to(from).filter(|channel| channel.bound);
        let head = match channel {
            Some(channel) => channel_head(channel.number, length as u16, to.transport),
            None => {
                let transaction = self.indication_id();
                match data_head(from, length, &transaction) {
                    Some(head) => head,
                    None => return self.drop(Drop::TooLong),
                }
            }
        };
        if usize::from(head.len) + length + usize::from(head.padding) > LONGEST_DATAGRAM {
            return self.drop(Drop::TooLong);
        }
        if let Err(reason) = self.charge(slot, way, length) {
            return self.drop(reason);
        }
        Route::Client { to, head, payload }
    }
}

/// Whether the allocation wants to hear from this address.
pub(super) fn permits(allocation: &Allocation, peer: SocketAddr) -> bool {
    allocation.permissions.get(peer.ip()).is_some() || is_bound(allocation, peer)
}

fn is_bound(allocation: &Allocation, peer: SocketAddr) -> bool {
    allocation.channels.to(peer).is_some_and(|channel| channel.bound)
}

/// A comprehension-required type that a Send indication has no place for.
fn is_foreign(kind: u16) -> bool {
    attribute::comprehension_required(kind)
        && !matches!(
            kind,
            attribute::XOR_PEER_ADDRESS
                | attribute::DATA
                | attribute::DONT_FRAGMENT
                | attribute::USERNAME
                | attribute::REALM
                | attribute::NONCE
                | attribute::MESSAGE_INTEGRITY
                | attribute::MESSAGE_INTEGRITY_SHA256
        )
}

fn channel_head(number: u16, length: u16, transport: Transport) -> Head {
    let mut bytes = [0; Head::MAX];
    bytes[..channel_data::HEADER].copy_from_slice(&channel_data::head(number, length));
    // RFC 8656, section 12.5: over a stream to a multiple of four; over UDP nobody pads.
    let padding = match transport {
        Transport::Udp => 0,
        Transport::Tcp(_) | Transport::Tls(_) => (length.wrapping_neg() & 3) as u8,
    };
    Head { bytes, len: channel_data::HEADER as u8, padding }
}

/// A Data indication up to its DATA value (section 11.4). `None`: too long for one.
fn data_head(peer: SocketAddr, length: usize, transaction: &TransactionId) -> Option<Head> {
    let (value, size) = address::encode(peer, transaction);
    let whole = u16::try_from(4 + size + 4 + length.next_multiple_of(4)).ok()?;
    let mut bytes = [0; Head::MAX];
    bytes[..2].copy_from_slice(&kind(method::DATA, Class::Indication).to_be_bytes());
    bytes[2..4].copy_from_slice(&whole.to_be_bytes());
    bytes[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
    bytes[8..20].copy_from_slice(transaction);
    bytes[20..22].copy_from_slice(&attribute::XOR_PEER_ADDRESS.to_be_bytes());
    bytes[22..24].copy_from_slice(&(size as u16).to_be_bytes());
    bytes[24..24 + size].copy_from_slice(&value[..size]);
    let data = 24 + size;
    bytes[data..data + 2].copy_from_slice(&attribute::DATA.to_be_bytes());
    bytes[data + 2..data + 4].copy_from_slice(&(length as u16).to_be_bytes());
    let padding = (length.next_multiple_of(4) - length) as u8;
    Some(Head { bytes, len: (data + 4) as u8, padding })
}
