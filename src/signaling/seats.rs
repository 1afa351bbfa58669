//! Who sits where: from a peer to its connection, or to what it has missed.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::hash::BuildHasherDefault;
use std::hash::Hasher;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use serde_json::value::RawValue;

use super::connection::Connection;
use super::dialect::Dialect;
use super::dialect::Pieces;
use super::dialect::Rendered;
use super::stats::Counters;
use super::stats::Drop;
use super::stats::Relayed;
use crate::rooms::Event;
use crate::rooms::PeerId;
use crate::rooms::Room;
use crate::rooms::RoomId;

/// The most that is kept for a peer who is away.
const MOST: usize = 256;
const MOST_BYTES: usize = 256 << 10;

/// What a peer has missed, as it would have been said, oldest first.
#[derive(Default)]
pub(super) struct Missed {
    events: VecDeque<(&'static str, Box<RawValue>)>,
    bytes: usize,
    /// How many were dropped for want of room.
    pub(super) lost: u64,
}

impl Missed {
    /// Keeps one more; how many older ones had to go.
    fn keep(&mut self, event: &'static str, body: Box<RawValue>) -> u64 {
        self.bytes += body.get().len();
        self.events.push_back((event, body));
        let mut lost = 0;
        while self.events.len() > MOST || self.bytes > MOST_BYTES {
            let Some((_, old)) = self.events.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(old.get().len());
            lost += 1;
        }
        self.lost += lost;
        lost
    }

    /// Puts what was to be said earlier before it; how much of that had to go.
    pub(super) fn precede(
        &mut self,
        earlier: impl DoubleEndedIterator<Item = (&'static str, Box<RawValue>)>,
    ) -> u64 {
        let mut lost = 0;
        for (event, body) in earlier.rev() {
            let bytes = self.bytes + body.get().len();
            if lost > 0 || self.events.len() >= MOST || bytes > MOST_BYTES {
                lost += 1;
                continue;
            }
            self.bytes = bytes;
            self.events.push_front((event, body));
        }
        self.lost += lost;
        lost
    }

    /// All of it, in order.
    pub(super) fn into_events(self) -> impl Iterator<Item = (&'static str, Box<RawValue>)> {
        self.events.into_iter()
    }
}

/// One peer's place.
pub(super) struct Seat {
    /// None: away.
    pub(super) connection: Option<Arc<Connection>>,
    /// What this peer is told things in.
    pub(super) dialect: &'static Dialect,
    pub(super) room: RoomId,
    /// When to push fresh credentials.
    pub(super) renew: Instant,
    pub(super) missed: Missed,
}

impl Seat {
    /// Tells `me`, whose seat this is, of an event in its room; kept if `me` is away.
    pub(super) fn tell(&mut self, me: PeerId, event: &Event<'_>, room: Option<&Room>, counters: &Counters) {
        let Some(row) = self.dialect.row(event) else { return };
        let body = Rendered(row, Pieces::of(event, &self.room, room, me));
        let sent =
            self.connection.as_ref().is_some_and(|connection| connection.tell(me, row.event, &body).is_ok());
        if !sent && let Ok(body) = serde_json::value::to_raw_value(&body) {
            // Away, or about to be found so.
            counters.dropped(Drop::MissedOverflow, self.missed.keep(row.event, body));
        }
        match event {
            Event::Signal { kind, .. } => counters.relayed(Relayed::of(kind)),
            Event::Chat { .. } => counters.relayed(Relayed::Chat),
            _ => {}
        }
    }
}

/// All seats of this process, spread over shards.
pub(super) struct Seats(Box<[Mutex<Shard>]>);

#[derive(Default)]
struct Shard {
    seats: HashMap<PeerId, Seat, BuildHasherDefault<Random>>,
    renewals: BTreeSet<(Instant, PeerId)>,
}

/// Peer ids are random as they come (never a client's choice): eight of their bytes are a hash.
#[derive(Default)]
struct Random(u64);

impl Hasher for Random {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last_chunk() {
            self.0 = u64::from_ne_bytes(*last);
        }
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

const SHARDS: u8 = 32;

impl Default for Seats {
    fn default() -> Seats {
        Seats((0..SHARDS).map(|_| Mutex::default()).collect())
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seats {
    fn shard(&self, peer: PeerId) -> MutexGuard<'_, Shard> {
        lock(&self.0[usize::from(peer.spread() % SHARDS)])
    }

    /// Gives a peer its seat; what was there before.
    pub(super) fn put(&self, peer: PeerId, seat: Seat) -> Option<Seat> {
        let mut shard = self.shard(peer);
        let renew = seat.renew;
        let old = shard.seats.insert(peer, seat);
        if let Some(old) = &old {
            shard.renewals.remove(&(old.renew, peer));
        }
        shard.renewals.insert((renew, peer));
        old
    }

    /// Takes a peer's seat away.
    pub(super) fn remove(&self, peer: PeerId) -> Option<Seat> {
        let mut shard = self.shard(peer);
        let old = shard.seats.remove(&peer)?;
        shard.renewals.remove(&(old.renew, peer));
        Some(old)
    }

    /// Does something with a peer's seat, if it has one.
    pub(super) fn with<R>(&self, peer: PeerId, then: impl FnOnce(&mut Seat) -> R) -> Option<R> {
        self.shard(peer).seats.get_mut(&peer).map(then)
    }

    /// Plans the next push of credentials.
    pub(super) fn renew_at(&self, peer: PeerId, at: Instant) {
        let mut shard = self.shard(peer);
        let Some(seat) = shard.seats.get_mut(&peer) else { return };
        let old = std::mem::replace(&mut seat.renew, at);
        shard.renewals.remove(&(old, peer));
        shard.renewals.insert((at, peer));
    }

    /// Plans a push of credentials to every peer, evenly over `within` from `now` on, where none is planned earlier. Returns when
    /// the first is.
    pub(super) fn renew_all(&self, now: Instant, within: Duration) -> Option<Instant> {
        for shard in &self.0 {
            let mut shard = lock(shard);
            let Shard { seats, renewals } = &mut *shard;
            renewals.clear();
            for (&peer, seat) in seats {
                seat.renew = seat.renew.min(now + within * u32::from(peer.spread()) / 256);
                renewals.insert((seat.renew, peer));
            }
        }
        self.next_renewal()
    }

    /// When the next peer needs fresh credentials.
    pub(super) fn next_renewal(&self) -> Option<Instant> {
        self.0.iter().filter_map(|shard| lock(shard).renewals.first().map(|(at, _)| *at)).min()
    }

    /// Some of the peers whose credentials are due.
    pub(super) fn due(&self, now: Instant) -> Vec<PeerId> {
        let due = |shard: &Mutex<Shard>| {
            let shard = lock(shard);
            let ready = shard.renewals.iter().take_while(|(at, _)| *at <= now);
            ready.take(16).map(|(_, peer)| *peer).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(due).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missed_is_bounded_and_the_oldest_goes_first() {
        let mut missed = Missed::default();
        let body = |n: usize| serde_json::value::to_raw_value(&n).unwrap();
        let lost: u64 = (0..MOST + 3).map(|n| missed.keep("e", body(n))).sum();
        assert_eq!((lost, missed.lost), (3, 3));
        let kept: Vec<_> = missed.into_events().map(|(_, body)| body.get().to_owned()).collect();
        assert_eq!((kept.len(), kept[0].as_str()), (MOST, "3"));
        let mut missed = Missed::default();
        let big = "x".repeat(MOST_BYTES / 2);
        for _ in 0..3 {
            missed.keep("e", serde_json::value::to_raw_value(&big).unwrap());
        }
        assert_eq!(missed.lost, 2);
    }

    #[test]
    fn what_was_still_to_be_sent_comes_before_what_was_missed() {
        let mut missed = Missed::default();
        let body = |n: usize| ("e", serde_json::value::to_raw_value(&n).unwrap());
        missed.keep("e", body(MOST).1);
        assert_eq!(missed.precede((0..MOST).map(body)), 1);
        assert_eq!(missed.lost, 1);
        let number = |(_, body): (_, Box<RawValue>)| body.get().parse::<usize>().unwrap();
        let kept: Vec<_> = missed.into_events().map(number).collect();
        assert_eq!(kept, (1..=MOST).collect::<Vec<_>>());
    }
}
