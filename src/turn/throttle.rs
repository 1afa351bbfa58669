//! How often a wrong password may be tried: a bucket of failures for each client address and user name. So a stranger who
//! tries out passwords stands in nobody's way but that of the same name behind the same address.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use ahash::RandomState;

use super::table::site;

/// Failures at once.
const BURST: u32 = 10;

/// What it takes for one more.
const REGAIN: Duration = Duration::from_secs(6);

/// The table: sets of places, found by the hash. It never grows.
const SETS: usize = 1024;
const WAYS: usize = 8;

/// Address and user name, by a keyed hash: nobody can aim at another's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pair(u64);

#[derive(Clone, Copy, Debug)]
struct Bucket {
    pair: Pair,
    /// When all of its failures are regained, since the throttle was made: the bucket is empty from then on.
    empty: Duration,
}

/// The failures of late.
#[derive(Debug)]
pub(super) struct Throttle {
    start: Instant,
    hasher: RandomState,
    sets: Vec<[Bucket; WAYS]>,
}

impl Throttle {
    pub(super) fn new(now: Instant, hasher: RandomState) -> Self {
        let unused = Bucket { pair: Pair(0), empty: Duration::ZERO };
        Self { start: now, hasher, sets: vec![[unused; WAYS]; SETS] }
    }

    /// A client's address (with IPv6 its /64) and the user name it goes by.
    pub(super) fn pair(&self, ip: IpAddr, name: &[u8]) -> Pair {
        Pair(self.hasher.hash_one((ip.is_ipv4(), site(ip), name)))
    }

    /// Whether another password of this pair may be looked at.
    pub(super) fn allows(&self, now: Instant, pair: Pair) -> bool {
        let now = self.elapsed(now);
        let set = self.sets.get(pair.0 as usize % SETS);
        let held = set.and_then(|set| set.iter().find(|bucket| bucket.pair == pair));
        held.is_none_or(|bucket| bucket.empty <= now + REGAIN * (BURST - 1))
    }

    /// A password of this pair was wrong.
    pub(super) fn failed(&mut self, now: Instant, pair: Pair) {
        let now = self.elapsed(now);
        let Some(set) = self.sets.get_mut(pair.0 as usize % SETS) else { return };
        let held = set.iter().position(|bucket| bucket.pair == pair);
        // Otherwise that of the fewest failures makes room: who has failed often is not soon forgotten.
        let fewest = || (0..WAYS).min_by_key(|&way| set[way].empty);
        let Some(way) = held.or_else(fewest) else { return };
        let bucket = &mut set[way];
        if bucket.pair != pair {
            *bucket = Bucket { pair, empty: now };
        }
        bucket.empty = bucket.empty.max(now) + REGAIN;
    }

    /// Forgets all failures: other passwords are right now.
    pub(super) fn reset(&mut self) {
        for bucket in self.sets.iter_mut().flatten() {
            bucket.empty = Duration::ZERO;
        }
    }

    fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.start)
    }
}
