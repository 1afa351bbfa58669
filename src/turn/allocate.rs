//! Allocate (RFC 8656, section 7).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::allocation::{Allocation, Opening, Side, user};
use super::channels::Channels;
use super::code;
use super::config::Limits;
use super::credential;
use super::family::Family;
use super::message::Answer;
use super::meter::Bucket;
use super::permissions::Permissions;
use super::ports::Kind;
use super::route::{AllocationId, FiveTuple, Output, RelayFailure};
use super::server::Server;
use super::stats::{KINDS, PUBLIC};
use super::usage::Usage;
use super::wire::{Proof, Request};
use crate::stun::Mac;
use crate::stun::attribute;

/// REQUESTED-TRANSPORT's numbers.
const UDP: u8 = 17;
const TCP: u8 = 6;

/// LIFETIME when none is asked for (RFC 8656, section 3.2).
const DEFAULT_LIFETIME: u32 = 600;

/// The longest LIFETIME when the operator sets none (RFC 8656, section 7.2).
const LONGEST_LIFETIME: u32 = 3600;

/// How many ports taken by other programs it may meet before it gives up.
const MOST_TRIES: u8 = 16;

impl Limits {
    /// The time to expiry granted, in seconds (RFC 8656, section 7.2): as asked for, but neither under the default nor
    /// over the server's own longest.
    pub(super) fn granted(&self, asked: Option<u32>) -> u32 {
        let longest = match u32::try_from(self.lifetime.as_secs()) {
            Ok(0) => LONGEST_LIFETIME,
            Ok(seconds) => seconds,
            Err(_) => u32::MAX,
        };
        asked.unwrap_or(DEFAULT_LIFETIME).max(DEFAULT_LIFETIME).min(longest)
    }
}

impl Server {
    /// Section 7.2, in its order; steps 1 (authentication) and 2 (the five-tuple is in use, 437) lie behind us.
    pub(super) fn handle_allocate(
        &mut self,
        from: FiveTuple,
        request: &Request<'_>,
        proof: Proof,
    ) -> Result<Answer, u16> {
        // 3. The transport between server and peer.
        let is_tcp = match request.transport {
            None => return Err(code::BAD_REQUEST),
            Some(UDP) => false,
            Some(TCP) if self.tcp_relays => true,
            Some(_) => return Err(code::UNSUPPORTED_TRANSPORT),
        };
        // RFC 6062, section 5.1: over a stream alone, and without what is about datagrams.
        let of_datagrams = request.even_port.is_some() || request.token.is_some() || request.dont_fragment;
        if is_tcp && (from.transport.leg().is_none() || of_datagrams || request.additional_family.is_some()) {
            return Err(code::BAD_REQUEST);
        }
        let mobile = self.wants_ticket(request, is_tcp)?;
        // 4. DONT-FRAGMENT is supported, so there is nothing to check.
        // 5. A reservation fixes port and family, so neither may be asked for besides.
        let asks_family = request.family.is_some() || request.additional_family.is_some();
        if request.token.is_some() && (request.even_port.is_some() || asks_family) {
            return Err(code::BAD_REQUEST);
        }
        // 6. to 8. Families.
        let (families, mut failed) = self.families(request)?;
        // 9. An even port, and perhaps the next one with it.
        let kind = match request.even_port {
            None => Kind::Any,
            Some(false) => Kind::Even,
            Some(true) if self.reservations.is_full(user(&proof.username)) => {
                return Err(code::INSUFFICIENT_CAPACITY);
            }
            Some(true) => Kind::Pair,
        };
        // 10. Quotas.
        if self.is_over_quota(&from, &proof.username) {
            return Err(code::QUOTA_REACHED);
        }
        // 11. Who is about to stop takes nothing on, and says where else to go, if anywhere.
        if self.draining {
            return self.try_alternate(&from, request, &proof.mac);
        }
        let id = user(&proof.username);
        let room = if credential::is_member(id) {
            Some(self.scopes.room(id).ok_or(code::UNAUTHENTICATED)?)
        } else {
            None
        };
        let lifetime = self.limits.granted(request.lifetime);
        let expires = self.now() + Duration::from_secs(lifetime.into());
        let mut sides = [None; 2];
        let mut reserved = false;
        if let Some(token) = &request.token {
            let (family, port) = self.reservations.redeem(token).ok_or(code::INSUFFICIENT_CAPACITY)?;
            sides[family.index()] = Some(Side { port, open: false, expires });
            reserved = true;
        } else {
            for family in families {
                match self.relayed.take(family, kind, &mut self.random) {
                    Some(port) => sides[family.index()] = Some(Side { port, open: false, expires }),
                    None => failed = Some((family, code::INSUFFICIENT_CAPACITY)),
                }
            }
        }
        if sides == [None; 2] {
            return Err(code::INSUFFICIENT_CAPACITY);
        }
        let opening =
            Opening { echo: request.echo(), kind, lifetime, tries: 0, reserved, failed, mac: proof.mac };
        let slot = self.table.insert(Allocation {
            client: from,
            username: proof.username,
            key: proof.key,
            by: proof.by,
            sides,
            permissions: Permissions::default(),
            channels: Channels::default(),
            opening: Some(Box::new(opening)),
            mobile,
            connections: is_tcp.then(Box::default),
            timer: None,
            usage: Usage::default(),
            bucket: Bucket::default(),
            confined: self.room_scope && room.is_some(),
            label: room.as_ref().map_or(PUBLIC, |room| usize::from(room.kind).min(KINDS - 1)) as u8,
            seen: room.as_ref().map_or(0, |room| room.losses()),
            room,
        });
        self.arm(slot);
        let at = self.table.id(slot);
        for family in Family::BOTH {
            let local = sides[family.index()].and_then(|side| self.relayed.local(family, side.port));
            if let Some(local) = local {
                self.open_relay(at, local);
            }
        }
        Ok(Answer::Later)
    }

    /// RFC 8489, section 10: 300 with another server's address of the client's family, or 508.
    fn try_alternate(&self, from: &FiveTuple, request: &Request<'_>, mac: &Mac) -> Result<Answer, u16> {
        let same_family = |other: &&SocketAddr| other.is_ipv4() == from.client.is_ipv4();
        let other = *self.alternate.iter().find(same_family).ok_or(code::INSUFFICIENT_CAPACITY)?;
        Ok(Answer::Now(request.echo().error(code::TRY_ALTERNATE, &self.software, Some(mac), |writer| {
            writer.plain_address(attribute::ALTERNATE_SERVER, other);
        })))
    }

    /// The families to allocate, and the one of two that is not supported.
    #[expect(clippy::type_complexity, reason = "a pair with an optional pair in it")]
    fn families(&self, request: &Request<'_>) -> Result<(SmallVec<[Family; 2]>, Option<(Family, u16)>), u16> {
        let mut families = SmallVec::new();
        let Some(additional) = request.additional_family else {
            // 7. IPv4 unless the client says otherwise, and whether we have any.
            let family = Family::from_wire(request.family.unwrap_or(Family::V4.wire()));
            let family = family.filter(|&family| self.relayed.supports(family));
            // (A reservation brings its own family.)
            families.extend(family);
            return match family {
                None if request.token.is_none() => Err(code::FAMILY_NOT_SUPPORTED),
                _ => Ok((families, None)),
            };
        };
        // 6. and 8. IPv6 besides IPv4, and nothing else; not together with a reservation for the next port.
        if request.family.is_some()
            || Family::from_wire(additional) != Some(Family::V6)
            || request.even_port == Some(true)
        {
            return Err(code::BAD_REQUEST);
        }
        let mut failed = None;
        for family in Family::BOTH {
            if self.relayed.supports(family) {
                families.push(family);
            } else {
                failed = Some((family, code::FAMILY_NOT_SUPPORTED));
            }
        }
        if families.is_empty() { Err(code::FAMILY_NOT_SUPPORTED) } else { Ok((families, failed)) }
    }

    fn is_over_quota(&self, from: &FiveTuple, username: &str) -> bool {
        let reached = |limit: u32, count: usize| limit != 0 && count >= limit as usize;
        let limits = &self.limits;
        reached(limits.allocations, self.table.everywhere())
            || reached(limits.allocations_per_user, self.table.of_user(user(username)).len())
            || reached(limits.allocations_per_ip, self.table.of_ip(from.client.ip()) as usize)
    }

    /// What came of an `Output::OpenRelay { at, local: local_asked }`.
    pub fn relay_opened(
        &mut self,
        now: Instant,
        at: AllocationId,
        result: Result<SocketAddr, RelayFailure>,
        local_asked: SocketAddr,
    ) {
        self.catch_up(now);
        let family = Family::of(local_asked.ip());
        let expected = self.table.live(at).and_then(|slot| self.table.get_mut(slot)).filter(|allocation| {
            let side = allocation.side(family);
            allocation.opening.is_some()
                && side.is_some_and(|side| side.port == local_asked.port() && !side.open)
        });
        let Some(allocation) = expected else {
            if result.is_ok() && self.live(at).is_none() {
                // The allocation ended meanwhile.
                self.outputs.push_back(Output::CloseRelay { at });
            }
            return;
        };
        match result {
            Ok(_) => {
                if let Some(side) = &mut allocation.sides[family.index()] {
                    side.open = true;
                }
                if allocation.connections.is_some() {
                    self.listeners.insert((family, local_asked.port()), at.slot);
                } else {
                    self.relayed.set_holder(family, local_asked.port(), Some(at.slot));
                }
            }
            Err(failure) => {
                if let Some(local) = self.try_again(at.slot, family, failure) {
                    self.open_relay(at, local);
                    return;
                }
            }
        }
        let waits = |side: &Side| !side.open;
        if self.table.get(at.slot).is_some_and(|held| !held.sides.iter().flatten().any(waits)) {
            self.answer_allocate(at.slot);
        }
    }

    fn open_relay(&mut self, at: AllocationId, local: SocketAddr) {
        let is_tcp = self.table.get(at.slot).is_some_and(|held| held.connections.is_some());
        self.outputs.push_back(if is_tcp {
            Output::Listen { at, local }
        } else {
            Output::OpenRelay { at, local }
        });
    }

    /// Another port for one that could not be bound, if there is hope; else the side is given up.
    fn try_again(&mut self, slot: u32, family: Family, failure: RelayFailure) -> Option<SocketAddr> {
        let allocation = self.table.get_mut(slot)?;
        let opening = allocation.opening.as_mut()?;
        let side = allocation.sides[family.index()].as_mut()?;
        let old = side.port;
        let kind = opening.kind;
        opening.tries += 1;
        let hope = failure == RelayFailure::InUse && !opening.reserved && opening.tries < MOST_TRIES;
        let new = if hope { self.relayed.take(family, kind, &mut self.random) } else { None };
        match new {
            Some(new) => side.port = new,
            None => {
                allocation.sides[family.index()] = None;
                opening.failed = Some((family, code::INSUFFICIENT_CAPACITY));
            }
        }
        self.relayed.release(family, old);
        if kind == Kind::Pair {
            self.relayed.release(family, old + 1);
        }
        self.relayed.local(family, new?)
    }

    /// Gives back the second ports of an allocation that ends before it was answered.
    pub(super) fn release_pair(&mut self, sides: &[Option<Side>; 2], kind: Kind) {
        for family in Family::BOTH {
            if let (Kind::Pair, Some(side)) = (kind, sides[family.index()]) {
                self.relayed.release(family, side.port + 1);
            }
        }
    }

    /// The sockets are bound, or could not be: the answer.
    fn answer_allocate(&mut self, slot: u32) {
        let now = self.now();
        let Some(allocation) = self.table.get_mut(slot) else { return };
        let Some(opening) = allocation.opening.take() else { return };
        let (client, sides) = (allocation.client, allocation.sides);
        let answer = if sides == [None; 2] {
            self.stats.opened(client.transport); // `take_down` takes it off
            self.take_down(slot);
            self.refuse(&opening.echo, code::INSUFFICIENT_CAPACITY, &opening.mac)
        } else {
            self.stats.opened(client.transport);
            self.stats.allocations_total += 1;
            for family in Family::BOTH {
                if let (Some(room), Some(side)) = (&allocation.room, sides[family.index()]) {
                    self.scopes.opened(allocation.user(), room, family == Family::V6, side.port);
                }
            }
            let token = match (opening.kind, sides) {
                (Kind::Pair, [Some(side), _]) => Some((Family::V4, side.port + 1)),
                (Kind::Pair, [_, Some(side)]) => Some((Family::V6, side.port + 1)),
                _ => None,
            }
            .map(|(family, port)| {
                let token = self.random.bytes();
                self.reservations.add(now, token, allocation.user(), family, port);
                token
            });
            let ticket = self.next_ticket(slot);
            opening.echo.success(&self.software, Some(&opening.mac), |writer| {
                for family in Family::BOTH {
                    let side = sides[family.index()];
                    if let Some(address) = side.and_then(|side| self.relayed.public(family, side.port)) {
                        writer.address(attribute::XOR_RELAYED_ADDRESS, address);
                    }
                }
                writer.attribute(attribute::LIFETIME, &opening.lifetime.to_be_bytes());
                writer.address(attribute::XOR_MAPPED_ADDRESS, client.client);
                if let Some(token) = &token {
                    writer.attribute(attribute::RESERVATION_TOKEN, token);
                }
                if let Some(ticket) = &ticket {
                    writer.attribute(attribute::MOBILITY_TICKET, ticket);
                }
                if let Some((family, code)) = opening.failed {
                    // RFC 8656, section 18.12.
                    let head = [family.wire(), 0, (code / 100) as u8, (code % 100) as u8];
                    writer.parts(attribute::ADDRESS_ERROR_CODE, &[&head, code::reason(code).as_bytes()]);
                }
            })
        };
        self.replies.remember(now, client, opening.echo, &answer);
        self.send(client, answer);
    }
}
