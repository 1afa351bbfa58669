//! What a peer has not heard, or may not have: numbered, in order, and bounded.
//!
//! What is written into a connection that is dead already is lost without a word, until its heartbeat stops. A client that counts
//! says what it has when it comes back, and hears the rest once; so the last events are kept until they have surely come through.

use std::collections::VecDeque;
use std::time::Duration;
use std::time::Instant;

use serde_json::value::RawValue;

use crate::rooms::PeerId;

/// The most that is kept for a peer.
const MOST: usize = 256;
const MOST_BYTES: usize = 256 << 10;

/// After this long an event has come through, or its connection is known to be lost: longer than a heartbeat and its answer
/// may take. Once it is known to be lost, nothing is forgotten for its age.
const SURE: Duration = Duration::from_secs(25);

/// One event, as it is said.
pub(super) struct Parcel {
    /// Its number.
    pub(super) seq: u64,
    /// When it was said, or should have been.
    pub(super) at: Instant,
    /// It was handed to a transport.
    pub(super) sent: bool,
    pub(super) event: &'static str,
    pub(super) body: Box<RawValue>,
    /// The message that it tells of.
    pub(super) message: Option<PeerId>,
}

/// The events of one seat: how many there were, and the last of them.
#[derive(Default)]
pub(super) struct Kept {
    last: u64,
    /// Up to here nobody was told the numbers.
    unnumbered: u64,
    parcels: VecDeque<Parcel>,
    bytes: usize,
    /// How many that were not sent were dropped for want of room.
    lost: u64,
}

impl Kept {
    /// The next event's number: 1 for the first. `told`: the client will hear it, too.
    pub(super) fn number(&mut self, told: bool) -> u64 {
        self.last += 1;
        if !told {
            self.unnumbered = self.last;
        }
        self.last
    }

    /// Keeps one more; how many older ones that were not sent had to go.
    pub(super) fn keep(&mut self, parcel: Parcel) -> u64 {
        if parcel.sent {
            self.forget(parcel.at);
        }
        if parcel.body.get().len() > MOST_BYTES {
            // It alone is lost, not all that is kept.
            let lost = u64::from(!parcel.sent);
            self.lost += lost;
            return lost;
        }
        self.bytes += parcel.body.get().len();
        self.parcels.push_back(parcel);
        self.fit()
    }

    fn fit(&mut self) -> u64 {
        let mut lost = 0;
        while self.parcels.len() > MOST || self.bytes > MOST_BYTES {
            lost += u64::from(self.drop_first().is_some_and(|old| !old.sent));
        }
        self.lost += lost;
        lost
    }

    fn drop_first(&mut self) -> Option<Parcel> {
        let old = self.parcels.pop_front()?;
        self.bytes = self.bytes.saturating_sub(old.body.get().len());
        Some(old)
    }

    /// Forgets what was sent long enough ago, on a connection that is there.
    pub(super) fn forget(&mut self, now: Instant) {
        while self.parcels.front().is_some_and(|it| it.sent && now.saturating_duration_since(it.at) >= SURE) {
            self.drop_first();
        }
        if self.parcels.is_empty() {
            // A burst's worth of memory is not kept for the life of the seat.
            self.parcels = VecDeque::new();
        }
    }

    /// Whether a message is among them.
    pub(super) fn has(&self, message: PeerId) -> bool {
        self.parcels.iter().any(|parcel| parcel.message == Some(message))
    }

    /// These were to be sent on a connection that is no more, and were not; how many had to go.
    pub(super) fn unsent(&mut self, back: impl DoubleEndedIterator<Item = Parcel>) -> u64 {
        for parcel in back.rev() {
            // A client's that counts is here already.
            if let Some(known) = self.parcels.iter_mut().find(|known| known.seq == parcel.seq) {
                known.sent = false;
                continue;
            }
            let at = self.parcels.partition_point(|known| known.seq < parcel.seq);
            self.bytes += parcel.body.get().len();
            self.parcels.insert(at, parcel);
        }
        self.fit()
    }

    /// The client is told from now on, and in another way, how far the numbers are: what it has heard so far does not count.
    pub(super) fn counts_anew(&mut self) {
        let first = self.parcels.iter().find(|parcel| !parcel.sent);
        self.unnumbered = first.map_or(self.last, |first| first.seq.saturating_sub(1));
    }

    /// What is to be said again: all after number `have`, or without it what was not sent; and how many of those are lost.
    pub(super) fn replay(&mut self, have: Option<u64>, now: Instant) -> (Vec<Parcel>, u64) {
        let lost = std::mem::take(&mut self.lost);
        self.bytes = 0;
        let all = std::mem::take(&mut self.parcels).into_iter();
        match have {
            None => {
                let missed: Vec<_> = all.filter(|parcel| !parcel.sent).collect();
                if let Some(first) = missed.first() {
                    // Whoever hears these now may hear their numbers, too.
                    self.unnumbered = self.unnumbered.min(first.seq.saturating_sub(1));
                }
                (missed, lost)
            }
            Some(have) => {
                let missed: Vec<_> = all
                    .filter(|parcel| parcel.seq > have)
                    .map(|parcel| Parcel { at: now, ..parcel })
                    .collect();
                // A client that has more than was ever said has it of another process.
                let wanted = self.last.saturating_sub(have.max(self.unnumbered));
                let lost = wanted.saturating_sub(missed.len() as u64);
                (missed, lost)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn say(kept: &mut Kept, at: Instant, sent: bool, size: usize) -> u64 {
        let seq = kept.number(true);
        let body = serde_json::value::to_raw_value(&"x".repeat(size)).unwrap();
        kept.keep(Parcel { seq, at, sent, event: "e", body, message: None })
    }

    fn numbers(parcels: &[Parcel]) -> Vec<u64> {
        parcels.iter().map(|parcel| parcel.seq).collect()
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_oldest_goes_first() {
        let (mut kept, now) = (Kept::default(), Instant::now());
        let lost: u64 = (0..MOST + 3).map(|_| say(&mut kept, now, false, 1)).sum();
        let (missed, told) = kept.replay(None, now);
        assert_eq!((lost, told, missed.len(), missed[0].seq), (3, 3, MOST, 4));
        let lost: u64 = (0..3).map(|_| say(&mut kept, now, false, MOST_BYTES / 2)).sum();
        assert_eq!(lost, 2);
        assert_eq!(say(&mut kept, now, false, MOST_BYTES), 1);
        let (missed, told) = kept.replay(None, now);
        assert_eq!((missed.len(), told), (1, 3), "what is too large alone drives nothing out");
    }

    #[test]
    fn who_counts_hears_all_after_what_it_has_and_others_what_was_not_sent() {
        for (have, expected) in
            [(Some(1), vec![2, 3, 4]), (Some(4), vec![]), (Some(9), vec![]), (None, vec![3, 4])]
        {
            let (mut kept, now) = (Kept::default(), Instant::now());
            for sent in [true, true, false, false] {
                say(&mut kept, now, sent, 1);
            }
            let (missed, lost) = kept.replay(have, now);
            assert_eq!((numbers(&missed), lost), (expected, 0), "{have:?}");
        }
    }

    #[test]
    fn what_is_missed_is_said_to_whoever_was_told_the_numbers_and_to_nobody_else() {
        for (told, expected) in [(true, 3), (false, 0)] {
            let (mut kept, now) = (Kept::default(), Instant::now());
            for _ in 0..5 {
                let seq = kept.number(told);
                let body = serde_json::value::to_raw_value("").unwrap();
                kept.keep(Parcel { seq, at: now, sent: true, event: "e", body, message: None });
            }
            // It came back and did not say what it had; what was sent is not kept for it after that.
            assert_eq!(numbers(&kept.replay(None, now).0), [0; 0]);
            assert_eq!(kept.replay(Some(2), now).1, expected, "{told}");
        }
    }

    #[test]
    fn what_nobody_was_told_the_number_of_counts_once_it_is_replayed_with_it() {
        let (mut kept, now) = (Kept::default(), Instant::now());
        for sent in [true, true, false, false] {
            let seq = kept.number(false);
            let body = serde_json::value::to_raw_value("").unwrap();
            kept.keep(Parcel { seq, at: now, sent, event: "e", body, message: None });
        }
        assert_eq!(numbers(&kept.replay(None, now).0), [3, 4]);
        // They went into a dead path, and are not there any more.
        assert_eq!(kept.replay(Some(0), now).1, 2);
    }

    #[test]
    fn what_was_sent_is_forgotten_when_it_has_surely_come_through() {
        let (mut kept, now) = (Kept::default(), Instant::now());
        say(&mut kept, now, true, 1);
        say(&mut kept, now + SURE / 2, true, 1);
        kept.forget(now + SURE);
        let (missed, lost) = kept.replay(Some(0), now);
        assert_eq!((numbers(&missed), lost), (vec![2], 1));
        // What was not sent is not.
        say(&mut kept, now, false, 1);
        kept.forget(now + 100 * SURE);
        assert_eq!(numbers(&kept.replay(None, now).0), [3]);
    }

    #[test]
    fn what_was_still_to_be_sent_comes_before_what_was_missed() {
        let (mut kept, now) = (Kept::default(), Instant::now());
        let body = || serde_json::value::to_raw_value("").unwrap();
        let waiting: Vec<_> = (0..3).map(|_| kept.number(true)).collect();
        say(&mut kept, now, false, 1);
        let back = waiting.into_iter().map(|seq| Parcel {
            seq,
            at: now,
            sent: false,
            event: "e",
            body: body(),
            message: None,
        });
        assert_eq!(kept.unsent(back.collect::<Vec<_>>().into_iter()), 0);
        assert_eq!(numbers(&kept.replay(None, now).0), [1, 2, 3, 4]);
    }

    proptest! {
        #[test]
        fn whoever_counts_gets_every_event_once_and_in_order(
            steps in prop::collection::vec((any::<bool>(), any::<bool>(), 0..40_usize), 1..60),
        ) {
            // Events are said, to a transport or to nobody; they arrive or do not; the client comes back and says what it has.
            let (mut kept, now) = (Kept::default(), Instant::now());
            let mut heard: Vec<u64> = Vec::new();
            for (sent, arrives, count) in steps {
                for _ in 0..count {
                    say(&mut kept, now, sent, 1);
                    if sent && arrives {
                        heard.push(kept.last);
                    }
                }
                let (missed, lost) = kept.replay(Some(heard.last().copied().unwrap_or(0)), now);
                prop_assert_eq!(lost, 0);
                heard.extend(numbers(&missed));
                for parcel in missed {
                    kept.keep(Parcel { sent: true, ..parcel });
                }
            }
            prop_assert_eq!(heard, (1..=kept.last).collect::<Vec<_>>());
        }
    }
}
