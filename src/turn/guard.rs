//! Whether an allocation may deal with a peer: the policy, and what this daemon's own addresses mean for it.

use std::net::{IpAddr, SocketAddr};

use super::allocation::{Allocation, user};
use super::channels::Channel;
use super::family::Family;
use super::peers::spellings;
use super::route::Output;
use super::server::Server;

/// What the policy says of an IP address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Any port.
    Allowed,
    /// Only the relayed addresses of this daemon on it, and those in process.
    OnlyOurs,
    /// Nothing.
    Denied,
}

impl Server {
    pub(super) fn verdict(&self, ip: IpAddr) -> Verdict {
        if self.relayed.is_relay_ip(ip) {
            // A relay on this host would get past its firewall: other services here are for the operator to open.
            if self.policy.names(ip) { Verdict::Allowed } else { Verdict::OnlyOurs }
        } else if self.policy.allows(ip) {
            // Our own host by way of a translator is our own host.
            let ours = |&spelled: &IpAddr| self.relayed.is_relay_ip(spelled) && !self.policy.names(spelled);
            if spellings(ip).iter().any(ours) { Verdict::Denied } else { Verdict::Allowed }
        } else {
            Verdict::Denied
        }
    }

    /// Whether this is where the daemon itself listens.
    pub(super) fn is_own(&self, address: SocketAddr) -> bool {
        let is_at = |own: IpAddr, ip: IpAddr| {
            own == ip
                || own.is_unspecified()
                    && own.is_ipv4() == ip.is_ipv4()
                    && (ip.is_loopback() || self.relayed.is_relay_ip(ip))
        };
        let mut same_port = self.own.iter().filter(|own| own.port() == address.port());
        same_port.any(|own| spellings(address.ip()).iter().any(|&ip| is_at(own.ip(), ip)))
    }

    /// Whether the allocation may reach an address at all, as far as its room is concerned.
    pub(super) fn is_in_scope(&self, allocation: &Allocation, ip: IpAddr) -> bool {
        match &allocation.room {
            Some(room) if allocation.confined => {
                self.scopes.within(allocation.user(), room, |scope| scope.reaches(ip))
            }
            _ => true,
        }
    }

    /// Whether a relayed address of ours is that of a member of the allocation's room, if it must be.
    pub(super) fn is_of_the_room(&self, slot: u32, relayed: SocketAddr) -> bool {
        match self.table.get(slot).map(|held| (held, &held.room)) {
            Some((held, Some(room))) if held.confined => {
                self.scopes.within(held.user(), room, |scope| scope.holds(relayed.is_ipv6(), relayed.port()))
            }
            Some(_) => true,
            None => false,
        }
    }

    /// Ends the allocation's permissions and channels that are out of its room's scope, if the room has lost a member or
    /// an address since the last look. Comes before every use of them, so that the loss counts from the next packet on,
    /// whichever shard's.
    #[inline]
    pub(super) fn keep_scope(&mut self, slot: u32) {
        if self.table.get(slot).is_some_and(Allocation::is_behind) {
            self.rescope(slot);
        }
    }

    #[cold]
    fn rescope(&mut self, slot: u32) {
        let (at, now, relayed) = (self.table.id(slot), self.now(), &self.relayed);
        let Some(allocation) = self.table.get_mut(slot) else { return };
        let Some(room) = allocation.room.clone() else { return };
        // Before the look: what is lost meanwhile makes another one.
        allocation.seen = room.losses();
        let Allocation { permissions, channels, username, sides, .. } = allocation;
        let outputs = &mut self.outputs;
        let is_the_rooms = self.scopes.within(user(username), &room, |scope| {
            // The room forgot the ports of whoever was unseated, even of one that has a seat again.
            let holds_own = |family: Family| {
                sides[family.index()].is_some_and(|side| scope.holds(family == Family::V6, side.port))
            };
            let is_the_rooms = Family::BOTH.into_iter().any(holds_own);
            permissions.retain(|held| {
                let in_scope = scope.reaches(held.ip);
                held.only_ours |= !in_scope;
                is_the_rooms && (in_scope || relayed.is_relay_ip(held.ip))
            });
            let is_in_scope = |channel: &Channel| match channel.ours {
                _ if !is_the_rooms => false,
                true => scope.holds(channel.peer.is_ipv6(), channel.peer.port()),
                false => scope.reaches(channel.peer.ip()),
            };
            channels.unbind(now, is_in_scope, |number| {
                outputs.push_back(Output::ChannelUnbound { at, number });
            });
            is_the_rooms
        });
        self.rescope_connections(slot, is_the_rooms);
        self.arm(slot);
    }

    /// Whether packets may be exchanged with this very address over the network.
    pub(super) fn may_reach(&self, address: SocketAddr) -> bool {
        !self.relayed.is_ours(address)
            && self.verdict(address.ip()) == Verdict::Allowed
            && !self.is_own(address)
    }
}
