//! Who relayed how much, and whether it may be more.

use std::ops::AddAssign;

use super::server::Server;
use super::stats::{Drop, Flow};

/// Packets and payload bytes both ways.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Usage {
    /// From clients to peers.
    pub to_peer: Flow,
    /// From peers to clients.
    pub to_client: Flow,
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.to_peer += other.to_peer;
        self.to_client += other.to_client;
    }
}

impl Usage {
    #[inline]
    pub(super) fn count(&mut self, way: Way, bytes: usize) {
        match way {
            Way::Out => self.to_peer.count(bytes),
            Way::In | Way::Within => self.to_client.count(bytes),
        }
    }
}

/// Which way a packet goes through an allocation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// From its client.
    Out,
    /// From the network.
    In,
    /// From another allocation of this daemon, where room and daemon have paid already.
    Within,
}

impl Server {
    /// What the allocations of a credential id have relayed that live in this shard; for a member's earlier ones ask
    /// [`Scopes::ended`](super::Scopes::ended).
    #[must_use]
    pub fn usage(&self, id: &str) -> Usage {
        let mut sum = Usage::default();
        for allocation in self.table.of_user(id).iter().filter_map(|&slot| self.table.get(slot)) {
            sum += allocation.usage;
        }
        sum
    }

    /// Counts a packet with `bytes` of payload that is about to be relayed, or says which limit it is over.
    #[inline]
    pub(super) fn charge(&mut self, slot: u32, way: Way, bytes: usize) -> Result<(), Drop> {
        let Some(allocation) = self.table.get_mut(slot) else { return Err(Drop::NoAllocation) };
        let before = allocation.bucket;
        self.meter.admits(&mut allocation.bucket, bytes)?;
        if way != Way::Within {
            let room = allocation.room.as_deref().map(|room| &room.bucket);
            if let Err(reason) = self.meter.admits_in_all(room, self.scopes.total(), bytes) {
                allocation.bucket = before;
                return Err(reason);
            }
        }
        allocation.usage.count(way, bytes);
        self.stats.count(allocation.label, way, bytes);
        Ok(())
    }
}
