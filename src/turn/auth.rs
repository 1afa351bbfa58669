//! The long-term credential mechanism (RFC 8489, section 9.2.4) with time-limited user names.
//!
//! One check comes earlier than the RFC has it, the nonce's: before it no password is looked at. Whoever has a nonce of ours gets our
//! answers, so it sends from where it says; nobody's tries can be used up in another's name, and a forged sender costs no more than
//! the nonce's check.

use super::allocation::user;
use super::code;
use super::credential;
use super::keys::Tag;
use super::nonce;
use super::password::{Key, PASSWORD_ALGORITHMS, PasswordAlgorithm, userhash};
use super::route::FiveTuple;
use super::server::Server;
use super::wire::{Integrity, Proof, Request};
use crate::stun::{Algorithm, Mac};

/// RFC 8489, section 14.3: a user name has fewer than 509 bytes.
const LONGEST_USERNAME: usize = 508;

/// How many allocations of a user are looked at for a key that is at hand.
const MOST_HELD: usize = 4;

/// Why a request was not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Denied {
    /// No credentials: the client's first request, to be given realm and nonce.
    Challenge,
    /// Credentials that are incomplete, or whose password algorithms are not as we gave them.
    Incomplete,
    /// Credentials that are wrong, unknown or expired.
    Unauthenticated,
    /// A nonce that is too old, or was another client's.
    Stale,
    /// Too many wrong passwords of late: not looked at.
    Throttled,
}

impl Denied {
    pub(super) fn code(self) -> u16 {
        match self {
            Self::Challenge | Self::Unauthenticated | Self::Throttled => code::UNAUTHENTICATED,
            Self::Incomplete => code::BAD_REQUEST,
            Self::Stale => code::STALE_NONCE,
        }
    }
}

/// A request's credentials, complete but not checked.
#[derive(Clone, Copy, Debug)]
struct Claim<'a> {
    request: &'a Request<'a>,
    integrity: Integrity<'a>,
    /// How the client made its key.
    algorithm: PasswordAlgorithm,
    /// Which integrity the answer gets.
    answer: Algorithm,
}

impl Claim<'_> {
    /// Whether the request was signed with this key.
    fn prove(&self, username: &str, key: Key, by: Tag) -> Option<Proof> {
        let Integrity { algorithm, offset, value } = self.integrity;
        // RFC 8489, section 14.6: cut short only where a usage says so, and TURN does not.
        let whole = algorithm == Algorithm::Sha1 || value.len() == 32;
        let mac = Mac::new(algorithm, key.as_bytes());
        let right = mac.check(&self.request.message, offset, value) && whole;
        right.then(|| {
            let mac = if algorithm == self.answer { mac } else { Mac::new(self.answer, key.as_bytes()) };
            Proof { username: username.into(), key, by, mac }
        })
    }
}

impl Server {
    /// Lets a request in, or says why not. `slot` is the client's allocation, if it has one.
    pub(super) fn authenticate(
        &mut self,
        from: &FiveTuple,
        request: &Request<'_>,
        slot: Option<u32>,
    ) -> Result<Proof, Denied> {
        let Some(integrity) = request.integrity else { return Err(Denied::Challenge) };
        let (Some(realm), Some(nonce)) = (request.realm, request.nonce) else {
            return Err(Denied::Incomplete);
        };
        // One of the two: with both it would be anybody's guess who is meant.
        let name = match (request.username, request.userhash) {
            (Some(name), None) | (None, Some(name)) => name,
            _ => return Err(Denied::Incomplete),
        };
        let algorithm = self.password_algorithm(request, nonce)?;
        if !self.nonces.is_fresh(nonce, from, self.wall_seconds()) {
            return Err(Denied::Stale);
        }
        if realm != self.realm.as_bytes() {
            return Err(Denied::Unauthenticated);
        }
        let claim = Claim {
            request,
            integrity,
            algorithm: algorithm.unwrap_or(PasswordAlgorithm::Md5),
            answer: if algorithm.is_some() { Algorithm::Sha256 } else { Algorithm::Sha1 },
        };
        let proof = match self.running(&claim, slot) {
            Some(known) => known.ok_or(Denied::Unauthenticated)?,
            None => self.newcomer(from, &claim, name)?,
        };
        // A member's credential is worth as much as its seat, and where it comes from is an address of its own.
        let id = user(&proof.username);
        if credential::is_member(id) && self.scopes.admit(id, from.client.ip()).is_none() {
            return Err(Denied::Unauthenticated);
        }
        Ok(proof)
    }

    /// Checks a request that no allocation here vouches for; `name` is what it calls its user.
    fn newcomer(&mut self, from: &FiveTuple, claim: &Claim<'_>, name: &[u8]) -> Result<Proof, Denied> {
        let pair = self.throttle.pair(from.client.ip(), name);
        if !self.throttle.allows(self.now(), pair) {
            return Err(Denied::Throttled);
        }
        let username = match claim.request.username {
            Some(name) if name.len() <= LONGEST_USERNAME => std::str::from_utf8(name).ok(),
            Some(_) => None,
            None => self.keyring.unhash(name),
        };
        let proof = username.and_then(|username| self.admit(username, claim));
        proof.ok_or_else(|| {
            self.throttle.failed(self.now(), pair);
            Denied::Unauthenticated
        })
    }

    /// RFC 8489, section 9.2.4: the password algorithm that was chosen from our list; `None`: the client knows of none.
    fn password_algorithm(
        &self,
        request: &Request<'_>,
        nonce: &[u8],
    ) -> Result<Option<PasswordAlgorithm>, Denied> {
        let offered = nonce::features(nonce).is_some_and(|bits| bits & nonce::PASSWORD_ALGORITHMS != 0);
        match (request.algorithms, request.algorithm) {
            _ if !offered => Ok(None),
            (None, None) => Ok(None),
            (Some(list), Some(chosen)) if list == PASSWORD_ALGORITHMS && self.offers_algorithms => {
                PasswordAlgorithm::from_wire(chosen).map(Some).ok_or(Denied::Incomplete)
            }
            // Somebody on the way wants a weaker one to be used.
            _ => Err(Denied::Incomplete),
        }
    }

    /// A request of the user that this five-tuple's allocation has is checked by what let the allocation in: neither the
    /// credential's expiry nor anybody's wrong guesses end what it has begun. `None`: somebody else's request.
    #[expect(clippy::option_option, reason = "whose it is, then whether it is right")]
    fn running(&self, claim: &Claim<'_>, slot: Option<u32>) -> Option<Option<Proof>> {
        let held = slot.and_then(|slot| self.table.get(slot))?;
        let username = &*held.username;
        match (claim.request.username, claim.request.userhash) {
            (Some(name), _) if name == username.as_bytes() => {}
            (None, Some(hash)) if hash == userhash(username, &self.realm) => {}
            _ => return None,
        }
        let key = if held.key.algorithm() == claim.algorithm {
            Some(held.key)
        } else {
            self.key(held.by, username, claim.algorithm)
        };
        Some(key.and_then(|key| claim.prove(username, key, held.by)))
    }

    /// Checks a credential that is to authorize something new.
    fn admit(&self, username: &str, claim: &Claim<'_>) -> Option<Proof> {
        let Some((expires, _)) = credential::split(username).filter(|_| !self.keyring.has_user(username))
        else {
            // A user with a password of its own; one that is not there takes as long.
            let (user, tag) = self.keyring.user(username);
            let proof = claim.prove(username, user.key(claim.algorithm), tag.unwrap_or_default());
            return proof.filter(|_| tag.is_some());
        };
        if expires <= self.wall_seconds() {
            return None;
        }
        // Another allocation of the same credential has the key at hand.
        let slots = self.table.of_user(user(username)).iter().take(MOST_HELD);
        let mut held = slots.filter_map(|&slot| self.table.get(slot));
        let same = held.find(|held| *held.username == *username && held.key.algorithm() == claim.algorithm);
        // (Or of the same user name, signed by another secret.)
        if let Some(proof) = same.and_then(|held| claim.prove(username, held.key, held.by)) {
            return Some(proof);
        }
        self.keyring.secrets.iter().find_map(|secret| {
            let password = credential::password(&secret.signer, username);
            claim.prove(username, Key::new(claim.algorithm, username, &self.realm, &password), secret.tag)
        })
    }

    /// The key of a user name that was let in by what has this tag.
    fn key(&self, by: Tag, username: &str, algorithm: PasswordAlgorithm) -> Option<Key> {
        if let (user, Some(tag)) = self.keyring.user(username)
            && tag == by
        {
            return Some(user.key(algorithm));
        }
        let secret = self.keyring.secrets.iter().find(|secret| secret.tag == by)?;
        let password = credential::password(&secret.signer, username);
        Some(Key::new(algorithm, username, &self.realm, &password))
    }
}
