//! Who sits where: from a peer to its connection, or to what it has missed.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::hash::Hasher;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use super::connection::Connection;
use super::dialect::Dialect;
use super::dialect::Pieces;
use super::dialect::Rendered;
use super::dialect::Seen;
use super::kept::Kept;
use super::kept::Parcel;
use super::offset::Offset;
use super::stats::Counters;
use super::stats::Drop;
use super::stats::Relayed;
use crate::rooms::Event;
use crate::rooms::PeerId;
use crate::rooms::Rank;
use crate::rooms::Room;
use crate::rooms::RoomId;

/// One peer's place.
pub(super) struct Seat {
    /// None: away.
    pub(super) connection: Option<Arc<Connection>>,
    /// What this peer is told things in.
    pub(super) dialect: &'static Dialect,
    pub(super) room: RoomId,
    /// When to push fresh credentials; none: it has no right to any yet, being in the lobby.
    pub(super) renew: Option<Instant>,
    pub(super) kept: Kept,
    /// What its offsets begin with, if its client asks for them.
    pub(super) mark: Option<NonZeroU32>,
    /// What the token that it was taken with says of every room.
    pub(super) role: Rank,
    /// It was taken with a token: nobody takes it again without one.
    pub(super) proven: bool,
}

impl Seat {
    /// What waits on that connection to be told to `me`, whose seat this is, is kept: it will not be told there.
    pub(super) fn takes_back(&mut self, me: PeerId, from: &Connection, now: Instant, counters: &Counters) {
        let events = from.outbox().take_of(me, now).into_iter();
        counters.dropped(Drop::MissedOverflow, self.kept.unsent(events));
    }

    /// Its client says which events it has when it comes back.
    pub(super) fn counts(&self) -> bool {
        self.dialect.counts || self.mark.is_some()
    }

    /// Tells `me`, whose seat this is, of an event in its room; kept if `me` is away. `seen`: the same for all who are told.
    pub(super) fn tell(
        &mut self,
        me: PeerId,
        event: &Event<'_>,
        (room, seen): (Option<&Room>, &Seen),
        now: Instant,
        counters: &Counters,
    ) {
        if let Event::Chat(message) = event
            && message.from == me
            && !self.dialect.echoes
        {
            return;
        }
        let Some(row) = self.dialect.row(event) else { return };
        let message = if let Event::Chat(message) = event { Some(message.id) } else { None };
        let seq = self.kept.number(self.counts());
        let offset = self.mark.map(|mark| Offset { mark, seq });
        let body =
            Rendered(row, Pieces { seq: Some(seq), offset, ..Pieces::of(event, &self.room, room, me, seen) });
        match &self.connection {
            // What may have to be said again is written once.
            Some(connection) if self.counts() => {
                if let Ok(body) = serde_json::value::to_raw_value(&body) {
                    let sent = connection.tell(me, seq, row.event, &body).is_ok();
                    let lost = self.kept.keep(Parcel { seq, at: now, sent, event: row.event, body, message });
                    counters.dropped(Drop::MissedOverflow, lost);
                }
            }
            Some(connection) if connection.tell(me, seq, row.event, &body).is_ok() => {}
            // Away, or about to be found so.
            _ => {
                if let Ok(body) = serde_json::value::to_raw_value(&body) {
                    let parcel = Parcel { seq, at: now, sent: false, event: row.event, body, message };
                    counters.dropped(Drop::MissedOverflow, self.kept.keep(parcel));
                }
            }
        }
        match event {
            Event::Signal { kind, .. } => counters.relayed(Relayed::of(kind)),
            Event::Chat(_) => counters.relayed(Relayed::Chat),
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
        if let Some(at) = old.as_ref().and_then(|old| old.renew) {
            shard.renewals.remove(&(at, peer));
        }
        shard.renewals.extend(renew.map(|at| (at, peer)));
        old
    }

    /// Takes a peer's seat away.
    pub(super) fn remove(&self, peer: PeerId) -> Option<Seat> {
        let mut shard = self.shard(peer);
        let old = shard.seats.remove(&peer)?;
        if let Some(at) = old.renew {
            shard.renewals.remove(&(at, peer));
        }
        Some(old)
    }

    /// Forgets what has surely come through by now.
    pub(super) fn sweep(&self, now: Instant) {
        for shard in &self.0 {
            for seat in lock(shard).seats.values_mut() {
                // Of a connection that is lost nobody knows when it was last heard.
                if seat.connection.is_some() {
                    seat.kept.forget(now);
                }
            }
        }
    }

    /// Everybody who has a seat, and not only a place in a lobby.
    pub(super) fn seated(&self) -> Vec<PeerId> {
        let of = |shard: &Mutex<Shard>| {
            let shard = lock(shard);
            let seated = shard.seats.iter().filter(|(_, seat)| seat.renew.is_some());
            seated.map(|(peer, _)| *peer).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of).collect()
    }

    /// Does something with a peer's seat, if it has one.
    pub(super) fn with<R>(&self, peer: PeerId, then: impl FnOnce(&mut Seat) -> R) -> Option<R> {
        self.shard(peer).seats.get_mut(&peer).map(then)
    }

    /// Plans the next push of credentials.
    pub(super) fn renew_at(&self, peer: PeerId, at: Instant) {
        let mut shard = self.shard(peer);
        let Some(seat) = shard.seats.get_mut(&peer) else { return };
        if let Some(old) = seat.renew.replace(at) {
            shard.renewals.remove(&(old, peer));
        }
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
                let Some(renew) = &mut seat.renew else { continue };
                *renew = (*renew).min(now + within * u32::from(peer.spread()) / 256);
                renewals.insert((*renew, peer));
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
