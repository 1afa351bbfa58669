//! Requests counted for each client address: so many at once and a steady rate, more are told to wait. One counts wrong keys, one
//! what is asked without a key.

use std::collections::HashMap;
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

/// When an address that keeps to the rate would have asked what it has asked.
pub(super) struct Throttle {
    /// Between one request and the next, in the long run. Zero: no limit.
    interval: Duration,
    due: Mutex<HashMap<IpAddr, Instant>>,
}

impl Throttle {
    /// So many a second; 0: no limit.
    pub(super) fn new(per_second: u32) -> Throttle {
        let interval = Duration::from_secs(1).checked_div(per_second).unwrap_or_default();
        Throttle { interval, due: Mutex::default() }
    }

    /// Counts one of this address.
    ///
    /// # Errors
    /// It is one too many, and not counted: how long to wait.
    pub(super) fn count(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let Some(address) = customer(address).filter(|_| !self.interval.is_zero()) else { return Ok(()) };
        let mut known = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST && !known.contains_key(&address) {
            known.retain(|_, due| *due > now);
            if known.len() >= MOST {
                return Ok(());
            }
        }
        let due = known.entry(address).or_insert(now);
        let next = (*due).max(now) + self.interval;
        let wait = next.saturating_duration_since(now + AHEAD);
        if !wait.is_zero() {
            return Err(wait);
        }
        *due = next;
        Ok(())
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
        let (throttle, start) = (Throttle::new(1), Instant::now());
        let many = u32::try_from(MOST).unwrap() + 100;
        (0..many).for_each(|n| throttle.count(IpAddr::from((n + (1 << 24)).to_be_bytes()), start).unwrap());
        assert_eq!(throttle.due.lock().unwrap().len(), MOST);
        throttle.count(ip("192.0.2.1"), start + AHEAD).unwrap();
        assert_eq!(throttle.due.lock().unwrap().len(), 1);
    }
}
