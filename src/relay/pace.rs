//! How long a shard rests before it looks again: under a steady stream, waking for every packet costs more than the packet.

use std::time::Duration;
use std::time::Instant;

/// After this many turns in a row that came soon after one another, a turn begins only after a pause, for as long as each pause
/// brings in more than one arrival.
const STREAK: u32 = 8;

/// What is soon, and how long the pause. (The system may make it 50 µs longer.)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Measure {
    soon: Duration,
    pause: Duration,
}

const DATAGRAMS: Measure = Measure { soon: Duration::from_micros(200), pause: Duration::from_micros(100) };
/// Streams cost more to write to, and who uses one has seen worse.
const STREAMS: Measure = Measure { soon: Duration::from_micros(600), pause: Duration::from_micros(300) };

/// The turns of late.
pub(super) struct Pace {
    streak: u32,
    last: Instant,
    measure: Measure,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { streak: 0, last: now, measure: DATAGRAMS }
    }

    /// How long to rest before the next turn.
    pub(super) fn rest(&self) -> Option<Duration> {
        (self.streak >= STREAK).then_some(self.measure.pause)
    }

    /// A turn that began at `now` brought so many arrivals, and frames of streams came or went.
    pub(super) fn turn(&mut self, now: Instant, arrivals: usize, frames: usize) {
        let measure = if frames > arrivals / 2 { STREAMS } else { DATAGRAMS };
        let soon = now.saturating_duration_since(self.last) < measure.soon;
        let worthwhile = if self.rest().is_some() { arrivals > 1 } else { arrivals > 0 && soon };
        self.streak = if worthwhile { (self.streak + 1).min(STREAK) } else { 0 };
        self.last = now;
        self.measure = measure;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_has_pauses_until_they_bring_nothing() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        for turn in 1..=STREAK {
            assert_eq!(pace.rest(), None);
            pace.turn(start + Duration::from_micros(100) * turn, 1, 0);
        }
        assert_eq!(pace.rest(), Some(DATAGRAMS.pause));
        let mut now = start + Duration::from_millis(2);
        pace.turn(now, 5, 0);
        assert_eq!(pace.rest(), Some(DATAGRAMS.pause));
        now += Duration::from_micros(150);
        pace.turn(now, 5, 5);
        assert_eq!(pace.rest(), Some(STREAMS.pause));
        pace.turn(now + Duration::from_micros(350), 1, 1);
        assert_eq!(pace.rest(), None);
    }

    #[test]
    fn now_and_then_is_no_stream() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        for turn in 1..100 {
            pace.turn(start + Duration::from_micros(700) * turn, 3, 3);
            assert_eq!(pace.rest(), None);
        }
    }
}
