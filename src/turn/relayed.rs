//! The relayed addresses of this daemon: which there are, which ports of this shard are taken, and who holds them.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use super::config::{Config, RelayAddress};
use super::family::Family;
use super::ports::{Kind, Ports};
use super::random::Random;

/// No slot.
const NOBODY: u32 = u32::MAX;

/// Relayed addresses, by family.
#[derive(Debug)]
pub(super) struct Relayed {
    addresses: [Option<RelayAddress>; 2],
    slice: RangeInclusive<u16>,
    all: RangeInclusive<u16>,
    ports: [Ports; 2],
    /// The slot of the allocation that holds a port, by family and offset within the slice.
    holders: [Vec<u32>; 2],
}

impl Relayed {
    pub(super) fn new(config: &Config) -> Self {
        let address = |family| {
            let fits = |relay: &&RelayAddress| {
                Family::of(relay.local) == family && Family::of(relay.public) == family
            };
            config.relays.iter().find(fits).copied()
        };
        let addresses = [address(Family::V4), address(Family::V6)];
        let nobody = |family: Family| match addresses[family.index()] {
            Some(_) => vec![NOBODY; config.ports.len()],
            None => Vec::new(),
        };
        Self {
            addresses,
            slice: config.ports.clone(),
            all: config.all_ports.clone(),
            ports: [Ports::new(&config.ports), Ports::new(&config.ports)],
            holders: [nobody(Family::V4), nobody(Family::V6)],
        }
    }

    /// Whether there are relayed addresses of this family.
    pub(super) fn supports(&self, family: Family) -> bool {
        self.addresses[family.index()].is_some()
    }

    /// Whether `ip` is where our relayed addresses are, as bound or as advertised.
    pub(super) fn is_relay_ip(&self, ip: IpAddr) -> bool {
        self.addresses[Family::of(ip).index()].is_some_and(|relay| relay.local == ip || relay.public == ip)
    }

    /// Whether `address` is, or could be, a relayed address of this daemon.
    pub(super) fn is_ours(&self, address: SocketAddr) -> bool {
        self.all.contains(&address.port()) && self.is_relay_ip(address.ip())
    }

    /// Whether a relayed address of ours belongs to this shard.
    pub(super) fn is_this_shards(&self, address: SocketAddr) -> bool {
        self.slice.contains(&address.port())
    }

    /// Whether a relay port is this shard's.
    pub(super) fn has_port(&self, port: u16) -> bool {
        self.slice.contains(&port)
    }

    /// The slot of the allocation that holds this relayed address of this shard.
    pub(super) fn holder(&self, address: SocketAddr) -> Option<u32> {
        let offset = address.port().checked_sub(*self.slice.start())?;
        let slot = *self.holders[Family::of(address.ip()).index()].get(usize::from(offset))?;
        (slot != NOBODY).then_some(slot)
    }

    /// Says who holds a port, or that nobody does.
    pub(super) fn set_holder(&mut self, family: Family, port: u16, slot: Option<u32>) {
        let offset = usize::from(port.wrapping_sub(*self.slice.start()));
        if let Some(holder) = self.holders[family.index()].get_mut(offset) {
            *holder = slot.unwrap_or(NOBODY);
        }
    }

    pub(super) fn take(&mut self, family: Family, kind: Kind, random: &mut Random) -> Option<u16> {
        self.supports(family).then(|| self.ports[family.index()].take(kind, random)).flatten()
    }

    pub(super) fn release(&mut self, family: Family, port: u16) {
        self.set_holder(family, port, None);
        if self.slice.contains(&port) {
            self.ports[family.index()].release(port);
        }
    }

    /// The address to bind for a port.
    pub(super) fn local(&self, family: Family, port: u16) -> Option<SocketAddr> {
        self.addresses[family.index()].map(|relay| SocketAddr::new(relay.local, port))
    }

    /// The address to advertise for a port.
    pub(super) fn public(&self, family: Family, port: u16) -> Option<SocketAddr> {
        self.addresses[family.index()].map(|relay| SocketAddr::new(relay.public, port))
    }
}

#[cfg(test)]
impl Relayed {
    /// No port is taken or held.
    pub(super) fn all_free(&self) -> bool {
        let free = self.ports.iter().all(|ports| ports.free() == self.slice.len());
        free && self.holders.iter().flatten().all(|&holder| holder == NOBODY)
    }
}
