//! Requests counted for each client address, or each user: so many at once and a steady rate, more are told to wait. One counts wrong
//! keys, others what is asked without a key.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use crate::customer::customer;

/// How far ahead of its rate an address may be: ten seconds' worth at once.
const AHEAD: Duration = Duration::from_secs(10);
/// How many addresses are remembered. Beyond that newcomers are let try: the keys are long, and nobody is locked out for others.
const MOST: usize = 4096;

/// When somebody that keeps to the rate would have asked what it has asked.
pub(super) struct Throttle<K = IpAddr> {
    /// Between one request and the next, in the long run. Zero: no limit.
    interval: Duration,
    due: Mutex<HashMap<K, Instant>>,
}

impl<K: Hash + Eq> Throttle<K> {
    /// So many a second; 0: no limit.
    pub(super) fn new(per_second: u32) -> Throttle<K> {
        let interval = Duration::from_secs(1).checked_div(per_second).unwrap_or_default();
        Throttle { interval, due: Mutex::default() }
    }

    /// Counts one of theirs.
    ///
    /// # Errors
    /// It is one too many, and not counted: how long to wait.
    pub(super) fn count_of(&self, who: K, now: Instant) -> Result<(), Duration> {
        if self.interval.is_zero() {
            return Ok(());
        }
        let mut known = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST && !known.contains_key(&who) {
            known.retain(|_, due| *due > now);
            if known.len() >= MOST {
                return Ok(());
            }
        }
        let due = known.entry(who).or_insert(now);
        let next = (*due).max(now) + self.interval;
        let wait = next.saturating_duration_since(now + AHEAD);
        if !wait.is_zero() {
            return Err(wait);
        }
        *due = next;
        Ok(())
    }
}

impl Throttle {
    /// Counts one of this address. Loopback is not counted.
    ///
    /// # Errors
    /// It is one too many, and not counted: how long to wait.
    pub(super) fn count(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        customer(address).map_or(Ok(()), |address| self.count_of(address, now))
    }

    /// One that was counted is taken back.
    pub(super) fn give_back(&self, address: IpAddr) {
        let Some(address) = customer(address) else { return };
        let mut known = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(due) = known.get_mut(&address) {
            *due = due.checked_sub(self.interval).unwrap_or(*due);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn ten_seconds_worth_at_once_then_the_rate() {
        let (throttle, start) = (Throttle::new(1), Instant::now());
        let tries =
            |from: &str, now: Instant| (0..100).filter(|_| throttle.count(ip(from), now).is_ok()).count();
        assert_eq!(tries("192.0.2.1", start), 10);
        assert_eq!(throttle.count(ip("::ffff:192.0.2.1"), start), Err(SECOND));
        assert_eq!(tries("192.0.2.1", start + 3 * SECOND), 3);
        // Others have their own, a network of IPv6 one together.
        assert_eq!(tries("192.0.2.2", start), 10);
        assert_eq!((tries("2001:db8::1", start), tries("2001:db8::2", start)), (10, 0));
        assert_eq!(tries("127.0.0.1", start), 100);
        assert_eq!(tries("192.0.2.1", start + 60 * SECOND), 10);
        let (fast, none) = (Throttle::new(20), Throttle::new(0));
        assert_eq!((0..999).filter(|_| fast.count(ip("192.0.2.1"), start).is_ok()).count(), 200);
        assert!((0..999).all(|_| none.count(ip("192.0.2.1"), start).is_ok()));
    }

    #[test]
    fn it_remembers_a_bounded_number_and_forgets_who_has_waited() {
        let (throttle, start) = (Throttle::<IpAddr>::new(1), Instant::now());
        let many = u32::try_from(MOST).unwrap() + 100;
        (0..many).for_each(|n| throttle.count(IpAddr::from((n + (1 << 24)).to_be_bytes()), start).unwrap());
        assert_eq!(throttle.due.lock().unwrap().len(), MOST);
        throttle.count(ip("192.0.2.1"), start + AHEAD).unwrap();
        assert_eq!(throttle.due.lock().unwrap().len(), 1);
    }
}
