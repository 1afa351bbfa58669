//! How fast new Socket.IO sessions of one address are let in.
//!
//! After an outage everybody comes back at once, and many share an address. So who comes too early is made to wait a little, in
//! line, and only when the line is long told to come again.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use crate::customer::customer;

/// How many seconds' worth comes in at once.
const BURST: Duration = Duration::from_secs(10);
/// How long the line may be.
const LINE: Duration = Duration::from_secs(10);
/// The most addresses that are remembered.
const MOST: usize = 100_000;

/// One line for each address.
pub(super) struct Arrivals {
    /// Between one session and the next, in the long run. Zero: no limit.
    interval: Duration,
    /// When an address that keeps to the rate would have sent what it has sent.
    due: Mutex<HashMap<IpAddr, Instant>>,
}

impl Arrivals {
    /// `per_second` sessions of an address, in the long run; 0: no limit.
    pub(super) fn new(per_second: u32) -> Arrivals {
        let interval = Duration::from_secs(1).checked_div(per_second).unwrap_or_default();
        Arrivals { interval, due: Mutex::default() }
    }

    /// How long a session from `address` has to wait in line.
    ///
    /// # Errors
    /// The line is too long: when to come again.
    pub(super) fn wait(&self, address: IpAddr, now: Instant) -> Result<Duration, Duration> {
        let Some(address) = customer(address).filter(|_| !self.interval.is_zero()) else {
            return Ok(Duration::ZERO);
        };
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        if due.len() >= MOST {
            due.retain(|_, due| *due > now);
            if due.len() >= MOST {
                return Err(LINE);
            }
        }
        let due = due.entry(address).or_insert(now);
        let next = (*due).max(now) + self.interval;
        let wait = next.saturating_duration_since(now + BURST.max(self.interval));
        if wait > LINE {
            return Err(wait - LINE);
        }
        *due = next;
        Ok(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_burst_comes_in_at_once_then_a_line_then_nobody() {
        let (arrivals, now) = (Arrivals::new(5), Instant::now());
        let waits: Vec<_> = (0..110).map(|_| arrivals.wait(ip("192.0.2.1"), now)).collect();
        assert!(waits[..50].iter().all(|wait| *wait == Ok(Duration::ZERO)));
        assert_eq!((waits[50], waits[99]), (Ok(Duration::from_millis(200)), Ok(LINE)));
        assert!(waits[100..].iter().all(|wait| *wait == Err(Duration::from_millis(200))));
        // In the long run it is the rate.
        let later = now + Duration::from_secs(60);
        (0..100).for_each(|_| assert!(arrivals.wait(ip("192.0.2.1"), later).is_ok()));
        assert!(arrivals.wait(ip("192.0.2.1"), later).is_err());
        assert_eq!(arrivals.wait(ip("192.0.2.2"), now), Ok(Duration::ZERO));
    }

    #[test]
    fn a_slash_64_is_one_address_and_loopback_none() {
        let (arrivals, now) = (Arrivals::new(1), Instant::now());
        let each = (0..30).filter(|n| arrivals.wait(ip(&format!("2001:db8::{n}")), now).is_ok());
        assert_eq!(each.count(), 20);
        assert!((0..1000).all(|_| arrivals.wait(ip("::ffff:127.0.0.1"), now) == Ok(Duration::ZERO)));
        assert!((0..1000).all(|_| Arrivals::new(0).wait(ip("192.0.2.1"), now) == Ok(Duration::ZERO)));
    }
}
