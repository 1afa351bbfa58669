//! Refresh (RFC 8656, section 8).

use std::time::Duration;

use super::code;
use super::family::Family;
use super::message::Answer;
use super::route::FiveTuple;
use super::server::Server;
use super::wire::Request;
use crate::stun::Mac;
use crate::stun::attribute;

impl Server {
    /// Section 8.2: a new time to expiry for the allocation, or for one family of a dual one; 0 ends it.
    pub(super) fn handle_refresh(
        &mut self,
        slot: u32,
        from: FiveTuple,
        request: &Request<'_>,
        mac: &Mac,
    ) -> Result<Answer, u16> {
        let now = self.now();
        let allocation = self.table.get_mut(slot).ok_or(code::ALLOCATION_MISMATCH)?;
        let meant = match request.family {
            None => None,
            Some(number) => {
                let family = Family::from_wire(number).filter(|&family| allocation.side(family).is_some());
                Some(family.ok_or(code::PEER_FAMILY_MISMATCH)?)
            }
        };
        let lifetime = match request.lifetime {
            Some(0) => 0,
            asked => self.limits.granted(asked),
        };
        // RFC 8016, section 3.2.2: shown from elsewhere, the ticket moves the allocation there.
        self.move_client(slot, from)?;
        let allocation = self.table.get_mut(slot).ok_or(code::ALLOCATION_MISMATCH)?;
        if lifetime == 0 {
            let both = allocation.sides.iter().flatten().count() > 1;
            match meant {
                Some(family) if both => self.end_family(slot, family),
                _ => {
                    self.take_down(slot);
                }
            }
        } else {
            for family in Family::BOTH {
                if let Some(side) = &mut allocation.sides[family.index()]
                    && meant.is_none_or(|meant| meant == family)
                {
                    side.expires = now + Duration::from_secs(lifetime.into());
                }
            }
            self.arm(slot);
        }
        let ticket = self.next_ticket(slot).filter(|_| lifetime != 0);
        Ok(Answer::Now(request.echo().success(&self.software, Some(mac), |writer| {
            writer.attribute(attribute::LIFETIME, &lifetime.to_be_bytes());
            if let Some(ticket) = &ticket {
                writer.attribute(attribute::MOBILITY_TICKET, ticket);
            }
        })))
    }
}
