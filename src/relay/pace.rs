//! How long a shard rests before it looks again: under a steady stream, waking for every packet costs more than the packet.

use std::time::Duration;
use std::time::Instant;

/// After this many turns in a row that came soon after one another, a turn begins only after a pause, for as long as each pause
/// brings in more than one arrival, or has one waiting at its end; a shorter one where a pause brings in more than `MANY`. (The
/// system may make it 50 µs longer.)
const STREAK: u32 = 8;
const PAUSE: Duration = Duration::from_micros(250);
const PAUSE_IN_STREAMS: Duration = Duration::from_micros(400);
const SHORT_PAUSE: Duration = Duration::from_micros(100);
const MANY: usize = 20;
/// What is soon; streams, which cost more to write to, are given longer.
const SOON: Duration = Duration::from_micros(200);
const SOON_IN_STREAMS: Duration = Duration::from_micros(600);
/// A turn that begins no later than this after its pause had something waiting for it.
const AT_ONCE: Duration = Duration::from_micros(100);

/// The turns of late.
pub(super) struct Pace {
    streak: u32,
    last: Instant,
    arrivals: usize,
    /// Most of it was frames of streams.
    streams: bool,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { streak: 0, last: now, arrivals: 0, streams: false }
    }

    /// How long to rest before the next turn.
    pub(super) fn rest(&self) -> Option<Duration> {
        (self.streak >= STREAK).then_some(match (self.arrivals > MANY, self.streams) {
            (true, _) => SHORT_PAUSE,
            (false, true) => PAUSE_IN_STREAMS,
            (false, false) => PAUSE,
        })
    }

    /// A turn that began at `now` brought so many arrivals, and so many frames of streams came or went.
    pub(super) fn turn(&mut self, now: Instant, arrivals: usize, frames: usize) {
        let streams = frames > arrivals / 2;
        let since = now.saturating_duration_since(self.last);
        let worthwhile = match self.rest() {
            Some(rest) => arrivals > 1 || arrivals == 1 && since < rest + AT_ONCE,
            None => arrivals > 0 && since < if streams { SOON_IN_STREAMS } else { SOON },
        };
        self.streak = if worthwhile { (self.streak + 1).min(STREAK) } else { 0 };
        self.last = now;
        self.arrivals = arrivals;
        self.streams = streams;
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
        assert_eq!(pace.rest(), Some(PAUSE));
        let now = start + Duration::from_millis(2);
        pace.turn(now, MANY + 1, 0);
        assert_eq!(pace.rest(), Some(SHORT_PAUSE));
        pace.turn(now + Duration::from_micros(150), 2, 0);
        assert_eq!(pace.rest(), Some(PAUSE));
        pace.turn(now + Duration::from_micros(450), 1, 0);
        assert_eq!(pace.rest(), Some(PAUSE), "one was waiting at the end of the pause");
        pace.turn(now + Duration::from_micros(850), 1, 0);
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
        // A stream's trains may be further apart than datagrams.
        let (mut datagrams, mut frames) = (Pace::new(start), Pace::new(start));
        for turn in 1..=STREAK {
            let now = start + Duration::from_micros(500) * turn;
            datagrams.turn(now, 1, 0);
            frames.turn(now, 1, 1);
        }
        assert_eq!((datagrams.rest(), frames.rest()), (None, Some(PAUSE_IN_STREAMS)));
    }
}
