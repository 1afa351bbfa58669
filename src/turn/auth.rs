//! The long-term credential mechanism (RFC 8489, section 9.2.4) with time-limited user names.

use ring::hmac;
use webrtc_turn::auth::generate_auth_key;

use super::allocation::user;
use super::code;
use super::credential;
use super::route::FiveTuple;
use super::server::Server;
use super::wire::{Integrity, Proof, Request};
use crate::stun::Mac;

/// Why a request was not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Denied {
    /// No credentials: the client's first request, to be given realm and nonce.
    Challenge,
    /// Credentials that are incomplete.
    Incomplete,
    /// Credentials that are wrong, unknown or expired.
    Unauthenticated,
    /// The right credentials with a nonce that is too old, or was another client's.
    Stale,
}

impl Denied {
    pub(super) fn code(self) -> u16 {
        match self {
            Self::Challenge | Self::Unauthenticated => code::UNAUTHENTICATED,
            Self::Incomplete => code::BAD_REQUEST,
            Self::Stale => code::STALE_NONCE,
        }
    }
}

impl Server {
    /// Lets a request in, or says why not. `slot` is the client's allocation, if it has one.
    pub(super) fn authenticate(
        &self,
        from: &FiveTuple,
        request: &Request<'_>,
        slot: Option<u32>,
    ) -> Result<Proof, Denied> {
        let Some(integrity) = request.integrity else { return Err(Denied::Challenge) };
        let (Some(username), Some(realm), Some(nonce)) = (request.username, request.realm, request.nonce)
        else {
            return Err(Denied::Incomplete);
        };
        let username = std::str::from_utf8(username).map_err(|_| Denied::Unauthenticated)?;
        if realm != self.realm.as_bytes() {
            return Err(Denied::Unauthenticated);
        }
        let running = slot.and_then(|slot| self.table.get(slot)).filter(|held| *held.username == *username);
        let proof = match running {
            // The credential's expiry does not end what it has begun.
            Some(allocation) => prove(request, integrity, allocation.key),
            None => self.admit(username, request, integrity),
        };
        let proof = proof.ok_or(Denied::Unauthenticated)?;
        if !self.nonces.is_fresh(nonce, from.client, self.wall_seconds()) {
            return Err(Denied::Stale);
        }
        // A member's credential is worth as much as its seat, and where it comes from is an address of its own.
        let id = user(username);
        if credential::is_member(id) && self.scopes.admit(id, from.client.ip()).is_none() {
            return Err(Denied::Unauthenticated);
        }
        Ok(proof)
    }

    /// Checks a credential that is to authorize something new.
    fn admit(&self, username: &str, request: &Request<'_>, integrity: Integrity<'_>) -> Option<Proof> {
        let (expires, _) = credential::split(username)?;
        if expires <= self.wall_seconds() {
            return None;
        }
        // Another allocation of the same credential has the key at hand.
        let held = self.table.of_user(user(username)).iter().filter_map(|&slot| self.table.get(slot)).take(4);
        for allocation in held {
            if *allocation.username == *username {
                return prove(request, integrity, allocation.key);
            }
        }
        self.signers.iter().find_map(|signer| prove(request, integrity, self.key(signer, username)))
    }

    /// The long-term key: MD5 of user name, realm and password (RFC 8489, section 18.5.1).
    fn key(&self, signer: &hmac::Key, username: &str) -> [u8; 16] {
        let password = credential::password(signer, username);
        let key = generate_auth_key(username, &self.realm, &password);
        key.try_into().unwrap_or_default()
    }
}

fn prove(request: &Request<'_>, integrity: Integrity<'_>, key: [u8; 16]) -> Option<Proof> {
    let mac = Mac::new(integrity.algorithm, &key);
    mac.check(&request.message, integrity.offset, integrity.value).then_some(Proof { key, mac })
}
