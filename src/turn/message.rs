//! STUN messages from clients: whether they are let in, and which file answers them.

use super::allowance::{Allowance, FACTOR};
use super::auth::Denied;
use super::code;
use super::nonce;
use super::password::PASSWORD_ALGORITHMS;
use super::route::{FiveTuple, Route};
use super::server::Server;
use super::stats::Drop;
use super::wire::{Echo, Proof, Request};
use crate::stun::attribute;
use crate::stun::method;
use crate::stun::{Class, HEADER, Mac, Message};

/// Bytes of ERROR-CODE's value without a phrase.
pub(super) const ERROR_CODE: usize = 4;

/// Bytes of an Allocate with REQUESTED-TRANSPORT alone, a browser's first request.
const LEAST_ALLOCATE: usize = 28;

/// What a request came to, if it was not refused with an error code.
#[derive(Debug)]
pub(super) enum Answer {
    /// This message.
    Now(Vec<u8>),
    /// It will be sent once the relay sockets are bound.
    Later,
}

impl Server {
    pub(super) fn handle_message(&mut self, from: FiveTuple, message: Message<'_>) -> Route {
        match (message.class(), message.method()) {
            (Class::Indication, method::SEND) => self.handle_send(&from, message),
            // Clients send these to keep their NAT's binding; nobody answers.
            (Class::Indication, method::BINDING) => Route::Here,
            (Class::Request, method::BINDING) => self.handle_binding(from, message),
            (
                Class::Request,
                method::ALLOCATE | method::REFRESH | method::CREATE_PERMISSION | method::CHANNEL_BIND,
            ) => self.handle_request(from, message),
            (Class::Request, method::CONNECT | method::CONNECTION_BIND) if self.tcp_relays => {
                self.handle_request(from, message)
            }
            _ => self.drop(Drop::Unexpected),
        }
    }

    fn handle_request(&mut self, from: FiveTuple, message: Message<'_>) -> Route {
        let Ok(request) = Request::read(message) else { return self.drop(Drop::Malformed) };
        let echo = request.echo();
        // RFC 8489, section 6.3.1: a retransmission is answered as the original was.
        if let Some(reply) = self.replies.find(self.now(), &from, &echo) {
            let reply = reply.to_vec();
            self.stats.retransmissions += 1;
            self.send(from, reply);
            return Route::Here;
        }
        let slot = match request.message.method() {
            // The allocation is another connection's.
            method::CONNECTION_BIND => self.of_connection(&from, &request),
            _ => self.table.find(&from),
        };
        let slot = match slot {
            // (Without integrity it is told here what to say.)
            None if request.integrity.is_some() && request.message.method() != method::CONNECTION_BIND => {
                let told = self.shown(&request);
                if let Some(route) = self.home(&from, told) {
                    return route;
                }
                told.and_then(|told| self.slot_of(told))
            }
            slot => slot,
        };
        if slot.and_then(|slot| self.table.get(slot)).is_some_and(|held| held.opening.is_some()) {
            return self.drop(Drop::InProgress);
        }
        let proof = match self.authenticate(&from, &request, slot) {
            Ok(proof) => proof,
            Err(denied) => return self.deny(from, &request, denied),
        };
        let mac = proof.mac.clone();
        let answer = if request.unknown.is_empty() {
            match self.dispatch(from, &request, proof, slot) {
                Ok(Answer::Now(message)) => message,
                Ok(Answer::Later) => return Route::Here,
                Err(code) => self.refuse(&echo, code, &mac),
            }
        } else {
            // RFC 8489, section 6.3.1: after authentication, attributes that must be understood.
            self.unknown_attributes(&echo, &request.unknown, Some(&mac))
        };
        self.replies.remember(self.now(), from, echo, &answer);
        self.send(from, answer);
        Route::Here
    }

    fn dispatch(
        &mut self,
        from: FiveTuple,
        request: &Request<'_>,
        proof: Proof,
        slot: Option<u32>,
    ) -> Result<Answer, u16> {
        let is_allocate = request.message.method() == method::ALLOCATE;
        match slot {
            None if is_allocate => {
                if request.malformed {
                    return Err(code::BAD_REQUEST);
                }
                self.handle_allocate(from, request, proof)
            }
            // RFC 8656, section 5: nothing but an Allocate makes an allocation, and that only once.
            None if request.message.method() == method::CONNECTION_BIND => Err(code::BAD_REQUEST),
            // RFC 8016, section 3.2.2: a ticket that is good for nothing.
            None if request.message.method() == method::REFRESH && request.ticket.is_some() => {
                Err(if self.mobility.is_some() { code::BAD_REQUEST } else { code::MOBILITY_FORBIDDEN })
            }
            None => Err(code::ALLOCATION_MISMATCH),
            Some(_) if is_allocate => Err(code::ALLOCATION_MISMATCH),
            Some(slot) => {
                if self.table.get(slot).is_none_or(|held| held.username != proof.username) {
                    return Err(code::WRONG_CREDENTIALS);
                }
                if request.malformed {
                    return Err(code::BAD_REQUEST);
                }
                match request.message.method() {
                    method::REFRESH => self.handle_refresh(slot, from, request, &proof.mac),
                    method::CONNECT => self.handle_connect(slot, request, &proof.mac),
                    method::CONNECTION_BIND => self.handle_connection_bind(from, slot, request, &proof.mac),
                    method::CREATE_PERMISSION => self.handle_create_permission(slot, request, &proof.mac),
                    _ => self.handle_channel_bind(slot, request, &proof.mac),
                }
            }
        }
    }

    /// RFC 8489, section 9.2.4: realm and a new nonce, and no integrity, for there is no key to share. Over UDP the answer
    /// stays within its bound (`allowance.rs`).
    fn deny(&mut self, from: FiveTuple, request: &Request<'_>, denied: Denied) -> Route {
        match denied {
            Denied::Challenge => self.stats.challenges += 1,
            Denied::Unauthenticated => self.stats.unauthorized += 1,
            Denied::Stale => self.stats.stale_nonces += 1,
            Denied::Incomplete => {}
            // An answer that says nothing about the password would be taken for one that does.
            Denied::Throttled => return self.drop(Drop::Throttled),
        }
        let echo = request.echo();
        let code = denied.code();
        let anew = denied != Denied::Incomplete;
        let features = self.offers_algorithms.then(|| {
            let anonymity = self.keyring.unhashes_all();
            nonce::PASSWORD_ALGORITHMS | if anonymity { nonce::USERNAME_ANONYMITY } else { 0 }
        });
        let nonce_length = nonce::length(features);
        let mut room = Allowance::new(&from, &echo, request.message.as_bytes().len());
        let fits = room.takes(ERROR_CODE)
            && (!anew || room.takes(self.realm.len()) && room.takes(nonce_length))
            && (!anew || features.is_none() || room.takes(PASSWORD_ALGORITHMS.len()));
        if !fits {
            return self.drop(Drop::Amplification);
        }
        if !self.may_answer(&from) {
            return self.drop(Drop::RateLimited);
        }
        // Not before: it costs the most of all this.
        let nonce = self.nonces.issue(&from, self.wall_seconds(), features);
        let reason = code::reason(code);
        let phrase = if room.extends(reason.len()) { reason } else { "" };
        let software = if room.takes(self.software.len()) { &self.software } else { "" };
        let answer = echo.brief_error(code, phrase, software, |writer| {
            if anew {
                writer.attribute(attribute::REALM, self.realm.as_bytes());
                writer.attribute(attribute::NONCE, nonce.as_bytes());
                if features.is_some() {
                    writer.attribute(attribute::PASSWORD_ALGORITHMS, &PASSWORD_ALGORITHMS);
                }
            }
        });
        self.send(from, answer);
        Route::Here
    }

    /// Whether one more answer may go to somebody who has not shown a password now. A stream, or an allocation, shows that
    /// its client is where it says.
    pub(super) fn may_answer(&mut self, from: &FiveTuple) -> bool {
        let proven = from.transport.leg().is_some() || self.table.find(from).is_some();
        self.rate.allows(self.now(), from.client.ip(), proven)
    }

    pub(super) fn refuse(&mut self, echo: &Echo, code: u16, mac: &Mac) -> Vec<u8> {
        match code {
            code::QUOTA_REACHED => self.stats.quota_reached += 1,
            code::INSUFFICIENT_CAPACITY => self.stats.insufficient_capacity += 1,
            code::WRONG_CREDENTIALS => self.stats.wrong_credentials += 1,
            _ => {}
        }
        echo.error(code, &self.software, Some(mac), |_| {})
    }

    fn unknown_attributes(&self, echo: &Echo, unknown: &[u16], mac: Option<&Mac>) -> Vec<u8> {
        echo.error(code::UNKNOWN_ATTRIBUTE, &self.software, mac, |writer| {
            writer.attribute(attribute::UNKNOWN_ATTRIBUTES, &list(unknown));
        })
    }
}

/// UNKNOWN-ATTRIBUTES' value.
pub(super) fn list(unknown: &[u16]) -> smallvec::SmallVec<[u8; 32]> {
    unknown.iter().flat_map(|kind| kind.to_be_bytes()).collect()
}

/// Whether the answer to the least first request there is, an Allocate with REQUESTED-TRANSPORT and no more, has room for
/// PASSWORD-ALGORITHMS beside a realm of this length.
pub(super) fn fits_algorithms(realm: &str) -> bool {
    let padded = |length: usize| 4 + length.next_multiple_of(4);
    let answer = HEADER
        + padded(ERROR_CODE)
        + padded(realm.len())
        + padded(nonce::LONGEST)
        + padded(PASSWORD_ALGORITHMS.len());
    answer <= FACTOR * LEAST_ALLOCATE
}
