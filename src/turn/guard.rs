//! Whether an allocation may deal with a peer: the policy, and what this daemon's own addresses mean for it.

use std::net::{IpAddr, SocketAddr};

use super::peers::spellings;
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

    /// Whether packets may be exchanged with this very address over the network.
    pub(super) fn may_reach(&self, address: SocketAddr) -> bool {
        !self.relayed.is_ours(address)
            && self.verdict(address.ip()) == Verdict::Allowed
            && !self.is_own(address)
    }
}
