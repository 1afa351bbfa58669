//! How many answers the unauthenticated get: a token bucket per source prefix in a table that never grows.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use ahash::RandomState;

/// Prefixes that fall into the same bucket share it; the hash is keyed, so that nobody can aim.
const BUCKETS: usize = 4096;

/// Billionths of an answer.
const ONE: u64 = 1_000_000_000;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// What was used up of the burst, in billionths, at `at`.
    used: u64,
    /// Since the limiter was made.
    at: Duration,
}

/// Allows `per_second` answers a second to each prefix, and a second's worth at once.
#[derive(Debug)]
pub(super) struct RateLimit {
    per_second: u64,
    start: Instant,
    hasher: RandomState,
    buckets: Vec<Bucket>,
}

impl RateLimit {
    /// 0 is no limit.
    pub(super) fn new(per_second: u32, now: Instant, hasher: RandomState) -> Self {
        let buckets = if per_second == 0 { 0 } else { BUCKETS };
        let fresh = Bucket { used: 0, at: Duration::ZERO };
        Self { per_second: per_second.into(), start: now, hasher, buckets: vec![fresh; buckets] }
    }

    /// Counts an answer to `ip`, if it may have one. Who has `proven` to be where its packets say has buckets of its own:
    /// else a flood with forged senders would silence what is said to them.
    pub(super) fn allows(&mut self, now: Instant, ip: IpAddr, proven: bool) -> bool {
        if self.per_second == 0 {
            return true;
        }
        let prefix = match ip {
            IpAddr::V4(ip) => u64::from(ip.to_bits() >> 8) | 1 << 63,
            IpAddr::V6(ip) => (ip.to_bits() >> 72) as u64, // a /56
        };
        let at = self.hasher.hash_one((prefix, proven)) as usize % BUCKETS;
        let Some(bucket) = self.buckets.get_mut(at) else { return true };
        let elapsed = now.saturating_duration_since(self.start);
        let since = elapsed.saturating_sub(bucket.at);
        let regained = (since.as_nanos() as u64).saturating_mul(self.per_second);
        bucket.used = bucket.used.saturating_sub(regained);
        bucket.at = elapsed.max(bucket.at);
        if bucket.used + ONE > self.per_second * ONE {
            return false;
        }
        bucket.used += ONE;
        true
    }
}
