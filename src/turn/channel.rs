//! ChannelBind (RFC 8656, section 12).

use std::net::SocketAddr;

use super::channels::{self, Channel};
use super::code;
use super::message::Answer;
use super::route::Output;
use super::server::Server;
use super::wire::Request;
use crate::stun::Mac;
use crate::stun::channel_data;

/// As many channels as there are numbers.
const MOST: usize = 0x1000;

impl Server {
    /// Section 12.2: binds a number to a peer, or refreshes the binding, and the permission with it.
    pub(super) fn handle_channel_bind(
        &mut self,
        slot: u32,
        request: &Request<'_>,
        mac: &Mac,
    ) -> Result<Answer, u16> {
        let number = request.channel.filter(|&number| channel_data::is_channel(number));
        let peer = request.peers().next().flatten().filter(|peer| peer.port() != 0);
        let (Some(number), Some(peer)) = (number, peer) else { return Err(code::BAD_REQUEST) };
        // RFC 6062, section 5: a TCP allocation has no channels.
        if self.table.get(slot).is_some_and(|held| held.connections.is_some()) {
            return Err(code::FORBIDDEN);
        }
        let renewed = self.check_binding(slot, number, peer)?;
        let permission = self.permission(slot, peer.ip())?;
        let ours = self.relayed.is_ours(peer);
        let may = match ours {
            true => self.is_of_the_room(slot, peer),
            false => !permission.only_ours && self.may_reach(peer),
        };
        if !may {
            return Err(code::FORBIDDEN);
        }
        let most = match self.limits.channels as usize {
            0 => MOST,
            most => most,
        };
        if !renewed && self.table.get(slot).is_some_and(|held| held.channels.len() >= most) {
            return Err(code::INSUFFICIENT_CAPACITY);
        }
        self.install_permissions(slot, &[permission])?;
        let expires = self.now() + channels::LIFETIME;
        let at = self.table.id(slot);
        if let Some(allocation) = self.table.get_mut(slot) {
            let was_bound = allocation.channels.get(number).is_some_and(|held| held.bound);
            allocation.channels.bind(Channel { number, bound: true, ours, peer, expires });
            if !was_bound {
                self.outputs.push_back(Output::ChannelBound { at, number, peer });
            }
        }
        self.arm(slot);
        Ok(Answer::Now(request.echo().success(&self.software, Some(mac), |_| {})))
    }

    /// Number and peer are both free, or bound to each other (then: true). A binding that has expired still counts for
    /// five minutes, except for itself.
    fn check_binding(&self, slot: u32, number: u16, peer: SocketAddr) -> Result<bool, u16> {
        let allocation = self.table.get(slot).ok_or(code::ALLOCATION_MISMATCH)?;
        let by_number = allocation.channels.get(number).map(|channel| channel.peer);
        let by_peer = allocation.channels.to(peer).map(|channel| channel.number);
        match (by_number, by_peer) {
            (None, None) => Ok(false),
            (Some(bound), Some(_)) if bound == peer => Ok(true),
            _ => Err(code::BAD_REQUEST),
        }
    }
}
