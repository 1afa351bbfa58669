//! CreatePermission (RFC 8656, section 10).

use std::net::IpAddr;

use smallvec::SmallVec;

use super::code;
use super::family::Family;
use super::guard::Verdict;
use super::message::Answer;
use super::permissions::{self, Permission};
use super::server::Server;
use super::wire::Request;
use crate::stun::Mac;

impl Server {
    /// Section 10.2: installs or refreshes a permission for each peer address, or for none of them.
    pub(super) fn handle_create_permission(
        &mut self,
        slot: u32,
        request: &Request<'_>,
        mac: &Mac,
    ) -> Result<Answer, u16> {
        let mut wanted: SmallVec<[Permission; 4]> = SmallVec::new();
        for peer in request.peers() {
            let peer = peer.ok_or(code::BAD_REQUEST)?;
            wanted.push(self.permission(slot, peer.ip())?);
            // A permission has no port (section 9), and all our relays share their addresses: whoever names another room's is
            // told so at once, though every packet is looked at all the same.
            if self.relayed.is_ours(peer) && !self.is_of_the_room(slot, peer) {
                return Err(code::FORBIDDEN);
            }
        }
        if wanted.is_empty() {
            return Err(code::BAD_REQUEST);
        }
        self.install_permissions(slot, &wanted)?;
        Ok(Answer::Now(request.echo().success(&self.software, Some(mac), |_| {})))
    }

    /// A permission for `ip`, if the allocation may have one (443, 403).
    pub(super) fn permission(&self, slot: u32, ip: IpAddr) -> Result<Permission, u16> {
        let allocation = self.table.get(slot).ok_or(code::ALLOCATION_MISMATCH)?;
        if allocation.side(Family::of(ip)).is_none() {
            return Err(code::PEER_FAMILY_MISMATCH);
        }
        let in_scope = self.is_in_scope(allocation, ip);
        let only_ours = match self.verdict(ip) {
            Verdict::Denied => return Err(code::FORBIDDEN),
            // In process, the room decides about every packet.
            verdict if self.relayed.is_relay_ip(ip) => verdict == Verdict::OnlyOurs || !in_scope,
            _ if !in_scope => return Err(code::FORBIDDEN),
            _ => false,
        };
        Ok(Permission { ip, only_ours, expires: self.now() + permissions::LIFETIME })
    }

    /// All of them or none (508).
    pub(super) fn install_permissions(&mut self, slot: u32, wanted: &[Permission]) -> Result<(), u16> {
        let most = self.limits.permissions as usize;
        let allocation = self.table.get_mut(slot).ok_or(code::ALLOCATION_MISMATCH)?;
        // Only counted when it could be too many.
        if most != 0 && allocation.permissions.len() + wanted.len() > most {
            let new = wanted.iter().map(|permission| permission.ip);
            let mut new: Vec<_> = new.filter(|&ip| allocation.permissions.get(ip).is_none()).collect();
            new.sort_unstable();
            new.dedup();
            if allocation.permissions.len() + new.len() > most {
                return Err(code::INSUFFICIENT_CAPACITY);
            }
        }
        for permission in wanted {
            allocation.permissions.install(*permission);
        }
        self.arm(slot);
        Ok(())
    }
}
