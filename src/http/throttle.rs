//! Wrong keys, counted for each client address: a few at once and one a second are answered as such, more are told to wait.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use crate::customer::customer;

/// One wrong key each, in the long run.
const INTERVAL: Duration = Duration::from_secs(1);
/// How far ahead of that an address may be: ten wrong keys at once.
const AHEAD: Duration = Duration::from_secs(10);
/// How many addresses are remembered. Beyond that newcomers are let try: the keys are long, and nobody is locked out for others.
const MOST: usize = 4096;

/// When an address that keeps to the rate would have made its mistakes.
#[derive(Default)]
pub(super) struct Throttle(Mutex<HashMap<IpAddr, Instant>>);

impl Throttle {
    /// How long this address has to wait before a wrong key of its is taken for one more mistake.
    pub(super) fn wait(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ahead = known.get(&customer(address)?)?.saturating_duration_since(now);
        (ahead + INTERVAL).checked_sub(AHEAD).filter(|wait| !wait.is_zero())
    }

    /// A key of this address was wrong.
    pub(super) fn wrong(&self, address: IpAddr, now: Instant) {
        let Some(address) = customer(address) else { return };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.retain(|_, due| *due > now);
        }
        if known.len() < MOST || known.contains_key(&address) {
            let due = known.entry(address).or_insert(now);
            *due = (*due).max(now) + INTERVAL;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn ten_mistakes_at_once_then_one_a_second() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        let tries = |from: &str, now: Instant| {
            let tried = (0..100).filter(|_| {
                let heard = throttle.wait(ip(from), now).is_none();
                if heard {
                    throttle.wrong(ip(from), now);
                }
                heard
            });
            tried.count()
        };
        assert_eq!(tries("192.0.2.1", start), 10);
        assert_eq!(throttle.wait(ip("::ffff:192.0.2.1"), start), Some(INTERVAL));
        assert_eq!(tries("192.0.2.1", start + 3 * INTERVAL), 3);
        // Others have their own, a network of IPv6 one together.
        assert_eq!(tries("192.0.2.2", start), 10);
        assert_eq!((tries("2001:db8::1", start), tries("2001:db8::2", start)), (10, 0));
        assert_eq!(tries("127.0.0.1", start), 100);
        assert_eq!(tries("192.0.2.1", start + 60 * INTERVAL), 10);
    }

    #[test]
    fn it_remembers_a_bounded_number_and_forgets_who_has_waited() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        let many = u32::try_from(MOST).unwrap() + 100;
        (0..many).for_each(|n| throttle.wrong(IpAddr::from((n + (1 << 24)).to_be_bytes()), start));
        assert_eq!(throttle.0.lock().unwrap().len(), MOST);
        throttle.wrong(ip("192.0.2.1"), start + AHEAD);
        assert_eq!(throttle.0.lock().unwrap().len(), 1);
    }
}
