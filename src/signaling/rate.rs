//! How many commands a connection may send: a steady rate, and a burst on top.

use std::time::Duration;
use std::time::Instant;

/// The rate, the same for all connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// One command each, in the long run. Zero: no limit.
    interval: Duration,
    /// How far ahead of that one may be.
    ahead: Duration,
}

/// How many seconds' worth may come at once: a browser in a mesh of 16 sends some 300 candidates in its first second.
const BURST: u32 = 5;

impl Rate {
    /// `per_second` in the long run, five seconds' worth at once; 0: no limit.
    pub(super) fn new(per_second: u32) -> Rate {
        match Duration::from_secs(1).checked_div(per_second) {
            None => Rate { interval: Duration::ZERO, ahead: Duration::ZERO },
            Some(interval) => Rate { interval, ahead: Duration::from_secs(1) * BURST },
        }
    }

    /// For what costs as much as a second's worth of commands.
    pub(super) fn of_seconds(self) -> Rate {
        if self.interval.is_zero() {
            self
        } else {
            Rate { interval: Duration::from_secs(1).max(self.interval), ..self }
        }
    }
}

/// When a connection that keeps to the rate would have sent what it has sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meter {
    due: Option<Instant>,
    /// A refusal was said since the last command that was let through: one answer is enough.
    said: bool,
}

impl Meter {
    /// Counts one command.
    ///
    /// # Errors
    /// It is one too many; how long to wait, and whether this is the first refusal in a row.
    pub(super) fn take(&mut self, rate: Rate, now: Instant) -> Result<(), (Duration, bool)> {
        if rate.interval.is_zero() {
            return Ok(());
        }
        let due = self.due.unwrap_or(now).max(now);
        let ahead = due.saturating_duration_since(now) + rate.interval;
        if ahead > rate.ahead {
            let first = !std::mem::replace(&mut self.said, true);
            return Err((ahead - rate.ahead, first));
        }
        self.due = Some(due + rate.interval);
        self.said = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_steady_rate() {
        let rate = Rate::new(10);
        let start = Instant::now();
        let mut meter = Meter::default();
        let passed = (0..100).filter(|_| meter.take(rate, start).is_ok()).count();
        assert_eq!(passed, 50);
        assert_eq!(meter.take(rate, start), Err((Duration::from_millis(100), false)));
        let later = start + Duration::from_secs(1);
        let passed = (0..100).filter(|_| meter.take(rate, later).is_ok()).count();
        assert_eq!(passed, 10);
    }

    #[test]
    fn the_first_refusal_in_a_row_is_marked() {
        let rate = Rate::new(1);
        let now = Instant::now();
        let mut meter = Meter::default();
        (0..5).for_each(|_| meter.take(rate, now).unwrap());
        assert!(meter.take(rate, now).is_err_and(|(_, first)| first));
        assert!(meter.take(rate, now).is_err_and(|(_, first)| !first));
        meter.take(rate, now + Duration::from_secs(1)).unwrap();
        assert!(meter.take(rate, now + Duration::from_secs(1)).is_err_and(|(_, first)| first));
    }

    #[test]
    fn no_rate_is_no_limit() {
        let mut meter = Meter::default();
        let now = Instant::now();
        assert!((0..100_000).all(|_| meter.take(Rate::new(0), now).is_ok()));
    }
}
