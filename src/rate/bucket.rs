//! One leaky bucket: when somebody who keeps to the rate would have asked for what it has asked for.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::time::Instant;

/// Nanoseconds since some start.
pub type Ticks = u64;

/// One second.
pub const SECOND: Ticks = 1_000_000_000;

/// From `start` to `now`.
#[must_use]
pub fn ticks(start: Instant, now: Instant) -> Ticks {
    u64::try_from(now.saturating_duration_since(start).as_nanos()).unwrap_or(u64::MAX / 4)
}

/// What one costs at so many a second; 0, no limit: nothing.
#[must_use]
pub fn every(per_second: u32) -> Ticks {
    SECOND.checked_div(per_second.into()).unwrap_or(0)
}

/// When that is. An empty one is as good as none.
#[derive(Default, Debug)]
pub struct Bucket(AtomicU64);

impl Bucket {
    /// Takes `cost`, if it is then not more than `ahead` ahead of time, or than this one `cost`. How far ahead it is now.
    ///
    /// # Errors
    /// Nothing is taken: how long to wait.
    pub fn take(&self, cost: Ticks, ahead: Ticks, now: Ticks) -> Result<Ticks, Duration> {
        if cost == 0 {
            return Ok(0);
        }
        let after = |due: Ticks| {
            let due = due.max(now) + cost;
            (due <= now + ahead.max(cost)).then_some(due)
        };
        match self.0.fetch_update(Relaxed, Relaxed, after) {
            Ok(due) => Ok(due.saturating_sub(now) + cost),
            Err(due) => Err(Duration::from_nanos((due + cost).saturating_sub(now + ahead.max(cost)))),
        }
    }

    /// What was taken is taken back.
    pub fn give_back(&self, cost: Ticks) {
        let _ = self.0.fetch_update(Relaxed, Relaxed, |due| Some(due.saturating_sub(cost)));
    }

    /// Whether it is ahead of time.
    #[must_use]
    pub fn owes(&self, now: Ticks) -> bool {
        self.0.load(Relaxed) > now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_at_once_then_the_rate_and_one_that_is_too_dear_alone_after_a_wait() {
        let bucket = Bucket::default();
        assert_eq!(bucket.take(3, 10, 100), Ok(3));
        assert_eq!((bucket.take(3, 10, 100), bucket.take(3, 10, 100)), (Ok(6), Ok(9)));
        assert_eq!(bucket.take(3, 10, 100), Err(Duration::from_nanos(2)));
        assert_eq!(bucket.take(3, 10, 102), Ok(10));
        assert!(bucket.owes(111) && !bucket.owes(112));
        assert_eq!(bucket.take(50, 10, 111), Err(Duration::from_nanos(1)));
        assert_eq!(bucket.take(50, 10, 112), Ok(50));
        assert_eq!(bucket.take(0, 10, 112), Ok(0));
    }

    #[test]
    fn what_is_given_back_was_never_taken_and_more_than_that_does_no_harm() {
        let bucket = Bucket::default();
        bucket.take(10, 10, 0).unwrap();
        bucket.give_back(10);
        assert_eq!(bucket.take(10, 10, 0), Ok(10));
        (0..3).for_each(|_| bucket.give_back(10));
        assert!(!bucket.owes(0));
    }
}
