//! Ports set aside by EVEN-PORT with R = 1, waiting for their RESERVATION-TOKEN (RFC 8656, section 7.2).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::family::Family;

/// How long one is kept.
const LIFETIME: Duration = Duration::from_secs(30);

/// How many there may be; without a bound one client could set all ports aside.
const MOST: usize = 256;

/// And how many of one user's.
const MOST_OF_ONE: usize = 64;

/// Cannot be guessed.
pub(super) type Token = [u8; 8];

#[derive(Debug)]
struct Reservation {
    token: Token,
    user: Box<str>,
    family: Family,
    port: u16,
    expires: Instant,
}

/// All reservations, the oldest first.
#[derive(Default, Debug)]
pub(super) struct Reservations(VecDeque<Reservation>);

impl Reservations {
    /// Whether this user can have no more of them.
    pub(super) fn is_full(&self, user: &str) -> bool {
        self.0.len() >= MOST || self.0.iter().filter(|held| *held.user == *user).count() >= MOST_OF_ONE
    }

    pub(super) fn add(&mut self, now: Instant, token: Token, user: &str, family: Family, port: u16) {
        self.0.push_back(Reservation { token, user: user.into(), family, port, expires: now + LIFETIME });
    }

    /// Hands over what the token stands for; it is good once.
    pub(super) fn redeem(&mut self, token: &Token) -> Option<(Family, u16)> {
        let at = self.0.iter().position(|held| held.token == *token)?;
        self.0.remove(at).map(|held| (held.family, held.port))
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.0.front().map(|held| held.expires)
    }

    /// Takes out one that nobody came for.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Family, u16)> {
        self.0.pop_front_if(|held| held.expires <= now).map(|held| (held.family, held.port))
    }
}
