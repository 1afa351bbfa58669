//! Mobility (RFC 8016): an allocation follows its client to another address, by a ticket that the client shows from there.
//!
//! The new address may be another server's to read. Then that server passes what comes from there on to the one that has the
//! allocation ([`Route::Home`]): first the Refresh, by what its ticket says, and once the client has moved, everything.

use std::time::Instant;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::hmac;
use subtle::ConstantTimeEq;

use super::allocation::Allocation;
use super::code;
use super::route::{AllocationId, FiveTuple, Output, Route};
use super::server::Server;
use super::stats::Drop;
use super::wire::Request;
use crate::stun::method;

/// How many clients a server passes on.
const MOST: usize = 16_384;

/// Bytes of what a ticket says: relay port, slot, generation, number. The tag follows.
const SAYS: usize = 2 + 3 + 4 + 2;
const TAG: usize = 13;
const PLAIN: usize = SAYS + TAG;

/// MOBILITY-TICKET's value: text, and no longer, for there are clients that keep it as a short string.
pub(super) type Ticket = [u8; PLAIN / 3 * 4];

/// What an allocation with a ticket remembers.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Mobile {
    /// Of the last ticket given out. The one before it is good, too: the answer with the last one may have been lost.
    number: u16,
    /// The client is not where it was.
    moved: bool,
}

/// What a ticket says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    /// A relay port of the allocation, by which its server is known.
    port: u16,
    at: AllocationId,
    number: u16,
}

/// The key of the tickets, the same for all servers that have the same nonces.
pub(super) fn key(nonce_key: &[u8; 32]) -> hmac::Key {
    let nonces = hmac::Key::new(hmac::HMAC_SHA256, nonce_key);
    hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&nonces, b"mobility tickets").as_ref())
}

impl Told {
    fn write(self, key: &hmac::Key) -> Ticket {
        let mut plain = [0; PLAIN];
        let (says, tag) = plain.split_at_mut(SAYS);
        says[..2].copy_from_slice(&self.port.to_be_bytes());
        says[2..5].copy_from_slice(&self.at.slot.to_be_bytes()[1..]);
        says[5..9].copy_from_slice(&self.at.generation.to_be_bytes());
        says[9..].copy_from_slice(&self.number.to_be_bytes());
        tag.copy_from_slice(&hmac::sign(key, says).as_ref()[..TAG]);
        let mut ticket = Ticket::default();
        // It is exactly as long.
        let _ = BASE64_URL_SAFE_NO_PAD.encode_slice(plain, &mut ticket);
        ticket
    }

    fn read(ticket: &[u8], key: &hmac::Key) -> Option<Self> {
        let ticket: &Ticket = ticket.try_into().ok()?;
        let mut plain = [0; PLAIN];
        BASE64_URL_SAFE_NO_PAD.decode_slice(ticket, &mut plain).ok().filter(|&len| len == PLAIN)?;
        let (says, tag) = plain.split_at(SAYS);
        let right = hmac::sign(key, says);
        if !bool::from(right.as_ref()[..TAG].ct_eq(tag)) {
            return None;
        }
        let slot = u32::from_be_bytes([0, says[2], says[3], says[4]]);
        let generation = u32::from_be_bytes([says[5], says[6], says[7], says[8]]);
        Some(Self {
            port: u16::from_be_bytes([says[0], says[1]]),
            at: AllocationId { slot, generation },
            number: u16::from_be_bytes([says[9], says[10]]),
        })
    }
}

impl Server {
    /// Section 3.1.2: whether an Allocate asks for a ticket, and whether it may have one.
    pub(super) fn wants_ticket(&self, request: &Request<'_>, is_tcp: bool) -> Result<Option<Mobile>, u16> {
        match request.ticket {
            None => Ok(None),
            Some(_) if self.mobility.is_none() || is_tcp => Err(code::MOBILITY_FORBIDDEN),
            Some([]) => Ok(Some(Mobile::default())),
            Some(_) => Err(code::BAD_REQUEST),
        }
    }

    /// The next ticket of an allocation that has tickets.
    pub(super) fn next_ticket(&mut self, slot: u32) -> Option<Ticket> {
        let at = self.table.id(slot);
        let held = self.table.get_mut(slot)?;
        let port = held.sides.iter().flatten().next()?.port;
        let mobile = held.mobile.as_mut()?;
        mobile.number = mobile.number.wrapping_add(1);
        let told = Told { port, at, number: mobile.number };
        Some(told.write(self.mobility.as_ref()?))
    }

    /// What a Refresh from a client without an allocation says with its ticket, if that is genuine.
    pub(super) fn shown(&self, request: &Request<'_>) -> Option<Told> {
        let ticket = request.ticket.filter(|_| request.message.method() == method::REFRESH)?;
        Told::read(ticket, self.mobility.as_ref()?)
    }

    /// The slot that a ticket is for, if it is a late one.
    pub(super) fn slot_of(&self, told: Told) -> Option<u32> {
        let slot = self.table.live(told.at)?;
        let last = self.table.get(slot)?.mobile?.number;
        (last.wrapping_sub(told.number) <= 1).then_some(slot)
    }

    /// Where a packet of this client is to be handed to instead, if it has no allocation here.
    pub(super) fn home(&self, from: &FiveTuple, told: Option<Told>) -> Option<Route> {
        let elsewhere = |port: &u16| !self.relayed.has_port(*port);
        let port = match (self.visitors.get(from), told) {
            (Some(&port), _) => Some(port),
            (None, told) => told.map(|told| told.port),
        };
        port.filter(elsewhere).map(|port| Route::Home { port })
    }

    /// Data from a five-tuple without an allocation here.
    #[cold]
    pub(super) fn no_allocation(&mut self, from: &FiveTuple) -> Route {
        match self.home(from, None) {
            Some(route) => route,
            None => self.drop(Drop::NoAllocation),
        }
    }

    /// Section 3.2.2: the allocation's client is at `new` from here on. 486: there are too many at that address.
    pub(super) fn move_client(&mut self, slot: u32, new: FiveTuple) -> Result<(), u16> {
        let limit = self.limits.allocations_per_ip;
        let Some(old) = self.table.get(slot).map(|held| held.client) else {
            return Err(code::ALLOCATION_MISMATCH);
        };
        if old == new {
            return Ok(());
        }
        let same_place = old.client.ip() == new.client.ip();
        if limit != 0 && !same_place && self.table.of_ip(new.client.ip()) >= limit {
            return Err(code::QUOTA_REACHED);
        }
        self.say_moved(slot);
        self.table.set_client(slot, new);
        self.stats.closed(old.transport);
        self.stats.opened(new.transport);
        if let Some(held) = self.table.get_mut(slot) {
            let port = held.sides.iter().flatten().next().map(|side| side.port);
            if let Some(mobile) = &mut held.mobile {
                mobile.moved = true;
            }
            self.outputs.push_back(Output::Moved { client: new, port });
        }
        if old.transport.leg().is_some() {
            self.outputs.push_back(Output::HangUp { client: old });
        }
        Ok(())
    }

    fn say_moved(&mut self, slot: u32) {
        if let Some(client) = self.table.get(slot).and_then(Allocation::away) {
            self.outputs.push_back(Output::Moved { client, port: None });
        }
    }

    /// From here on, hand what comes from this client to the server that has this relay port; `None`: no more. For
    /// [`Output::Moved`] of another server, if the client's packets come here.
    pub fn set_home(&mut self, now: Instant, client: FiveTuple, port: Option<u16>) {
        self.catch_up(now);
        match port {
            Some(port) if self.visitors.len() < MOST => {
                self.visitors.insert(client, port);
            }
            Some(_) => {}
            None => {
                self.visitors.remove(&client);
            }
        }
    }

    /// The relay port by which the server is known that has this client's allocation, if that is not this one.
    #[must_use]
    pub fn home_of(&self, client: &FiveTuple) -> Option<u16> {
        self.visitors.get(client).copied()
    }
}

impl Allocation {
    /// Its client, if that has moved.
    pub(super) fn away(&self) -> Option<FiveTuple> {
        self.mobile.filter(|mobile| mobile.moved).map(|_| self.client)
    }
}
