//! Those who are counted one by one, each client address or each user: ten seconds' worth at once and a steady rate. Who comes
//! earlier waits in line, where there is one, and is told to come again beyond that.

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use super::bucket::Bucket;
use super::bucket::SECOND;
use super::bucket::Ticks;
use super::bucket::every;
use super::bucket::ticks;
use super::table::Table;
use crate::customer::customer;

/// How far ahead of its rate one may be.
const AHEAD: Ticks = 10 * SECOND;

/// One bucket for each of them.
pub struct Throttle<K = IpAddr> {
    start: Instant,
    /// Of one. 0: no limit.
    cost: Ticks,
    /// How long the line is.
    line: Ticks,
    known: Mutex<Table<K, Bucket>>,
}

impl<K: Hash + Eq> Throttle<K> {
    /// So many a second in the long run, 0: no limit; `most` are remembered.
    #[must_use]
    pub fn new(per_second: u32, most: usize, now: Instant) -> Throttle<K> {
        Throttle { start: now, cost: every(per_second), line: 0, known: Mutex::new(Table::new(most)) }
    }

    /// The same with a line to wait in for so many seconds.
    #[must_use]
    pub fn with_line(self, seconds: u32) -> Throttle<K> {
        Throttle { line: Ticks::from(seconds) * SECOND, ..self }
    }

    fn known(&self) -> MutexGuard<'_, Table<K, Bucket>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one of theirs: how long it has to wait in line.
    ///
    /// # Errors
    /// It is one too many, and not counted: when to come again.
    pub fn count_of(&self, who: K, now: Instant) -> Result<Duration, Duration> {
        if self.cost == 0 {
            return Ok(Duration::ZERO);
        }
        let now = ticks(self.start, now);
        let mut known = self.known();
        let Some(bucket) = known.entry(who, now, |bucket| bucket.owes(now)) else {
            return Ok(Duration::ZERO);
        };
        let ahead = bucket.take(self.cost, AHEAD + self.line, now)?;
        Ok(Duration::from_nanos(ahead.saturating_sub(AHEAD)))
    }
}

impl Throttle {
    /// Counts one of this address: how long it has to wait in line. Loopback is not counted.
    ///
    /// # Errors
    /// It is one too many, and not counted: when to come again.
    pub fn count(&self, address: IpAddr, now: Instant) -> Result<Duration, Duration> {
        customer(address).map_or(Ok(Duration::ZERO), |address| self.count_of(address, now))
    }

    /// One that was counted is taken back.
    pub fn give_back(&self, address: IpAddr) {
        let Some(address) = customer(address) else { return };
        if let Some(bucket) = self.known().get(&address) {
            bucket.give_back(self.cost);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: Result<Duration, Duration> = Ok(Duration::ZERO);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn ten_seconds_worth_at_once_then_the_rate() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let throttle = Throttle::new(1, 100, start);
        let tries =
            |from: &str, now: Instant| (0..100).filter(|_| throttle.count(ip(from), now).is_ok()).count();
        assert_eq!(tries("192.0.2.1", start), 10);
        assert_eq!(throttle.count(ip("::ffff:192.0.2.1"), start), Err(second));
        assert_eq!(tries("192.0.2.1", start + 3 * second), 3);
        // Others have their own, a network of IPv6 one together.
        assert_eq!(tries("192.0.2.2", start), 10);
        assert_eq!((tries("2001:db8::1", start), tries("2001:db8::2", start)), (10, 0));
        assert_eq!(tries("127.0.0.1", start), 100);
        assert_eq!(tries("192.0.2.1", start + 60 * second), 10);
        let (fast, none) = (Throttle::new(20, 9, start), Throttle::new(0, 9, start));
        assert_eq!((0..999).filter(|_| fast.count(ip("192.0.2.1"), start).is_ok()).count(), 200);
        assert!((0..999).all(|_| none.count(ip("192.0.2.1"), start) == AT_ONCE));
    }

    #[test]
    fn where_there_is_a_line_one_waits_in_it_before_one_is_sent_away() {
        let now = Instant::now();
        let arrivals = Throttle::new(5, 100, now).with_line(10);
        let waits: Vec<_> = (0..110).map(|_| arrivals.count(ip("192.0.2.1"), now)).collect();
        assert!(waits[..50].iter().all(|wait| *wait == AT_ONCE));
        assert_eq!((waits[50], waits[99]), (Ok(Duration::from_millis(200)), Ok(Duration::from_secs(10))));
        assert!(waits[100..].iter().all(|wait| *wait == Err(Duration::from_millis(200))));
        // In the long run it is the rate.
        let later = now + Duration::from_secs(60);
        (0..100).for_each(|_| assert!(arrivals.count(ip("192.0.2.1"), later).is_ok()));
        assert!(arrivals.count(ip("192.0.2.1"), later).is_err());
        assert_eq!(arrivals.count(ip("192.0.2.2"), now), AT_ONCE);
    }

    #[test]
    fn what_is_given_back_was_not_counted() {
        let start = Instant::now();
        let throttle = Throttle::new(1, 9, start);
        for _ in 0..100 {
            assert_eq!(throttle.count(ip("192.0.2.1"), start), AT_ONCE);
            throttle.give_back(ip("192.0.2.1"));
        }
    }

    #[test]
    fn where_many_are_known_others_are_let_pass_and_the_known_keep_to_their_rate() {
        let start = Instant::now();
        let throttle = Throttle::<u32>::new(1, 100, start).with_line(10);
        let counted = |who| (0..40).filter(|_| throttle.count_of(who, start).is_ok()).count();
        assert!((0..100).all(|who| counted(who) == 20));
        assert_eq!((counted(7), counted(100)), (0, 40));
        // Those who owe nothing any more make room.
        let later = start + Duration::from_secs(20);
        assert_eq!(throttle.count_of(7, later), AT_ONCE);
        assert_eq!((0..40).filter(|_| throttle.count_of(100, later).is_ok()).count(), 20);
    }
}
