//! ICMP errors from peers' directions, told to the client (RFC 8656, sections 11.5 and 18.13).

use std::net::SocketAddr;
use std::time::Instant;

use super::data::permits;
use super::route::AllocationId;
use super::server::Server;
use super::stats::Drop;
use crate::stun::attribute;
use crate::stun::method;
use crate::stun::{Class, Writer};

impl Server {
    /// A relay socket got an ICMP error for what it sent to `peer`. `data` is the MTU of a packet that was too big, else
    /// zero.
    pub fn handle_icmp(
        &mut self,
        now: Instant,
        at: AllocationId,
        peer: SocketAddr,
        icmp_type: u8,
        code: u8,
        data: [u8; 4],
    ) {
        self.catch_up(now);
        let Some(slot) = self.live(at) else { return };
        // Destination unreachable, time exceeded; with IPv6 packet too big is one of its own.
        let is_told = if peer.is_ipv4() { matches!(icmp_type, 3 | 11) } else { matches!(icmp_type, 1..=3) };
        let allocation = self.table.get(slot);
        let Some(allocation) = allocation.filter(|held| is_told && permits(held, peer)) else {
            self.drop(Drop::Icmp);
            return;
        };
        let client = allocation.client;
        let transaction = self.random.bytes();
        let mut message = Vec::with_capacity(64);
        let mut writer = Writer::new(&mut message, method::DATA, Class::Indication, transaction);
        writer.address(attribute::XOR_PEER_ADDRESS, peer);
        // 16 bits reserved, 7 of type, 9 of code.
        let [a, b] = (u16::from(icmp_type & 0x7f) << 9 | u16::from(code)).to_be_bytes();
        writer.parts(attribute::ICMP, &[&[0, 0, a, b], &data]);
        self.send(client, message);
    }
}
