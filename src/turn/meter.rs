//! How many bytes may pass in a second: token buckets without tokens or a clock. A bucket is one number, the moment at
//! which it will be full again (the "theoretical arrival time" of the generic cell rate algorithm), so that many threads
//! can share one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::config::Limits;
use super::stats::Drop;

/// Sixteenths of a nanosecond, 36 years of them.
pub(super) type Ticks = u64;

const PER_SECOND: Ticks = 16_000_000_000;

/// A second's worth, and what is lost by rounding until it has come in a thousand packets.
const BURST: Ticks = PER_SECOND + 1024;

/// Binary digits behind the point in what a byte takes.
const FRACTION: u32 = 14;

/// The ticks from `start` to `now`.
pub(super) fn ticks(start: Instant, now: Instant) -> Ticks {
    let since = now.saturating_duration_since(start);
    let whole = since.as_secs().saturating_mul(PER_SECOND);
    whole.saturating_add(Ticks::from(since.subsec_nanos()) * (PER_SECOND / 1_000_000_000))
}

/// Bytes a second, and a second's worth at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Rate {
    /// What a byte takes, in ticks with `FRACTION` more digits; 0: no limit.
    per_byte: u64,
}

impl Rate {
    /// 0 is no limit.
    pub(super) fn new(bytes_per_second: u64) -> Self {
        let per_byte = match bytes_per_second {
            0 => 0,
            // Rounded up, here and below: never more than the limit.
            rate => (PER_SECOND << FRACTION).div_ceil(rate),
        };
        Self { per_byte }
    }

    /// When a bucket that is full at `full` will be after `bytes` more at `now`; `None`: they are too many.
    #[inline]
    fn after(self, full: Ticks, now: Ticks, bytes: usize) -> Option<Ticks> {
        let full = full.max(now).saturating_add(self.takes(bytes));
        (full - now <= BURST).then_some(full)
    }

    /// How long it takes until so many bytes have come.
    #[inline]
    fn takes(self, bytes: usize) -> Ticks {
        (bytes as u64).saturating_mul(self.per_byte).saturating_add((1 << FRACTION) - 1) >> FRACTION
    }
}

/// A bucket of one thread.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Bucket(Ticks);

impl Bucket {
    /// Takes `bytes` out, if there is as much in it.
    #[inline]
    pub(super) fn take(&mut self, rate: Rate, now: Ticks, bytes: usize) -> bool {
        if rate.per_byte == 0 {
            return true;
        }
        let after = rate.after(self.0, now, bytes);
        self.0 = after.unwrap_or(self.0);
        after.is_some()
    }
}

/// A bucket of many threads. Their clocks need not agree: the one that is behind sees less in it than there is.
#[derive(Default, Debug)]
pub(super) struct SharedBucket(AtomicU64);

impl SharedBucket {
    /// Takes `bytes` out, if there is as much in it.
    #[inline]
    pub(super) fn take(&self, rate: Rate, now: Ticks, bytes: usize) -> bool {
        if rate.per_byte == 0 {
            return true;
        }
        let after = |full| rate.after(full, now, bytes);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, after).is_ok()
    }

    /// Puts back what was just taken out.
    #[cold]
    fn give_back(&self, rate: Rate, bytes: usize) {
        if rate.per_byte != 0 {
            self.0.fetch_sub(rate.takes(bytes), Ordering::Relaxed);
        }
    }
}

/// The limits of one server, and its time.
#[derive(Debug)]
pub(super) struct Meter {
    start: Instant,
    now: Ticks,
    allocation: Rate,
    room: Rate,
    total: Rate,
}

impl Meter {
    /// `start` is the same for all who share a bucket.
    pub(super) fn new(limits: &Limits, start: Instant, now: Instant) -> Self {
        Self {
            start,
            now: ticks(start, now),
            allocation: Rate::new(limits.bytes_per_second),
            room: Rate::new(limits.room_bytes_per_second),
            total: Rate::new(limits.total_bytes_per_second),
        }
    }

    pub(super) fn set_now(&mut self, now: Instant) {
        self.now = ticks(self.start, now);
    }

    /// Whether an allocation may relay `bytes` more.
    #[inline]
    pub(super) fn admits(&self, allocation: &mut Bucket, bytes: usize) -> Result<(), Drop> {
        if allocation.take(self.allocation, self.now, bytes) { Ok(()) } else { Err(Drop::OverRate) }
    }

    /// Whether the allocation's room and the daemon may. What one of them refuses, neither pays for.
    #[inline]
    pub(super) fn admits_in_all(
        &self,
        room: Option<&SharedBucket>,
        total: &SharedBucket,
        bytes: usize,
    ) -> Result<(), Drop> {
        if room.is_some_and(|room| !room.take(self.room, self.now, bytes)) {
            return Err(Drop::RoomOverRate);
        }
        if total.take(self.total, self.now, bytes) {
            return Ok(());
        }
        if let Some(room) = room {
            room.give_back(self.room, bytes);
        }
        Err(Drop::TotalOverRate)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Packets as (ticks since the one before, bytes).
    fn packets(gap: u64) -> impl Strategy<Value = Vec<(u64, usize)>> {
        prop::collection::vec((0..=gap, 0_usize..=65_535), 1..300)
    }

    fn rates() -> impl Strategy<Value = u64> {
        prop_oneof![1_u64..1000, 1000_u64..10_000_000, 10_000_000_u64..20_000_000_000]
    }

    proptest! {
        #[test]
        fn never_more_than_the_rate_and_a_seconds_worth_passes(rate in rates(), packets in packets(PER_SECOND / 8)) {
            let (shared, mut own) = (SharedBucket::default(), Bucket::default());
            let limit = Rate::new(rate);
            let (mut now, mut times) = (0, vec![]);
            for (gap, bytes) in packets {
                now += gap;
                let passes = own.take(limit, now, bytes);
                prop_assert_eq!(shared.take(limit, now, bytes), passes, "both kinds are one law");
                times.push((now, if passes { bytes as u128 } else { 0 }));
            }
            // In any stretch of time, not only from the start.
            for (first, (begin, _)) in times.iter().enumerate() {
                let mut sum = 0;
                for (end, bytes) in &times[first..] {
                    sum += bytes;
                    let may = u128::from(rate) * u128::from(end - begin + BURST);
                    prop_assert!(sum * u128::from(PER_SECOND) <= may);
                }
            }
        }

        #[test]
        fn a_steady_load_below_the_rate_loses_nothing(rate in 2_000_u64..2_000_000_000, bytes in 1_usize..1500) {
            let limit = Rate::new(rate);
            let mut bucket = Bucket::default();
            // A thousandth below.
            let gap = (bytes as u128 * u128::from(PER_SECOND) * 1001 / 1000).div_ceil(u128::from(rate)) as u64;
            for packet in 0..2000 {
                prop_assert!(bucket.take(limit, packet * gap, bytes));
            }
        }

        #[test]
        fn no_limit_is_no_limit(packets in packets(10)) {
            let mut bucket = Bucket::default();
            for (now, bytes) in packets {
                prop_assert!(bucket.take(Rate::new(0), now, bytes));
            }
        }
    }

    #[test]
    fn a_seconds_worth_passes_at_once() {
        for thousandth in [3, 7, 999, 1000, 48_271] {
            let (limit, mut bucket) = (Rate::new(thousandth * 1000), Bucket::default());
            let passed = (0..9999).take_while(|_| bucket.take(limit, 0, thousandth as usize)).count();
            assert_eq!(passed, 1000);
        }
    }

    #[test]
    fn many_threads_share_what_one_would_get() {
        let (bucket, limit) = (SharedBucket::default(), Rate::new(1_000_000));
        let passed: usize = std::thread::scope(|scope| {
            let take = || (0..1000).filter(|_| bucket.take(limit, 0, 1000)).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(passed, 1000);
    }
}
