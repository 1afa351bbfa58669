//! Who is in which room, and which addresses are theirs: what the relays of a room's members may reach.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use super::meter::SharedBucket;
use super::seats::{Entry, Member, Room, Seats, Source, canonical};
use super::usage::Usage;

/// Members with their rooms and addresses. A clone is the same thing: all shards share one with whoever seats members.
///
/// A member is a credential's id ([`member_id`](super::credential::member_id)). Everything about it is forgotten when it
/// is unseated, and everything about a room with its last member.
#[derive(Clone, Default, Debug)]
pub struct Scopes(Arc<Shared>);

#[derive(Default, Debug)]
struct Shared {
    /// From when on the buckets count their time.
    start: OnceLock<Instant>,
    /// What the whole daemon relays.
    total: SharedBucket,
    seats: Mutex<Seats>,
}

impl Scopes {
    /// `member` is in `room` from here on, and in no other. `kind` labels the room's traffic in the counters; the first
    /// member's counts.
    pub fn seat(&self, member: &str, room: &str, kind: u8) {
        self.lock().seat(member, room, kind);
    }

    /// Forgets `member`: its credentials are worth nothing, and nobody's relay reaches its addresses any more.
    pub fn unseat(&self, member: &str) {
        self.lock().unseat(member);
    }

    /// `member` told its room of these addresses.
    pub fn signaled(&self, member: &str, addresses: &[IpAddr]) {
        let mut seats = self.lock();
        for &ip in addresses {
            seats.add(member, ip, Source::Signaled);
        }
    }

    /// `member` was seen at this address.
    pub fn observed(&self, member: &str, ip: IpAddr) {
        self.lock().add(member, ip, Source::Observed);
    }

    /// What those of a member's allocations relayed that have ended. Ask this before the servers' `usage`: what ends
    /// between is missing once, and not there twice.
    #[must_use]
    pub fn ended(&self, member: &str) -> Usage {
        self.lock().members.get(member).map_or(Usage::default(), |member| member.ended)
    }

    /// What those relayed who were members of this room and are not any more.
    #[must_use]
    pub fn departed(&self, room: &str) -> Usage {
        self.lock().rooms.get(room).map_or(Usage::default(), |entry| entry.departed)
    }

    /// The room that a member is in, who was just seen at `ip`.
    pub(super) fn admit(&self, member: &str, ip: IpAddr) -> Option<Arc<Room>> {
        let mut seats = self.lock();
        seats.add(member, ip, Source::Observed);
        seats.members.get(member).map(|member| Arc::clone(&member.room))
    }

    /// The room that a member is in.
    pub(super) fn room(&self, member: &str) -> Option<Arc<Room>> {
        self.lock().members.get(member).map(|member| Arc::clone(&member.room))
    }

    /// Asks about a member of `room`. Keep it short: all shards wait.
    pub(super) fn within<T>(&self, member: &str, room: &Room, ask: impl FnOnce(Scope<'_>) -> T) -> T {
        let seats = self.lock();
        let member = seats.members.get(member).filter(|member| member.room.number == room.number);
        let entry = member.and_then(|_| seats.entry(room));
        ask(Scope { member: member.zip(entry) })
    }

    /// A member of `room` has this relayed address now.
    pub(super) fn opened(&self, member: &str, room: &Room, v6: bool, port: u16) {
        let mut seats = self.lock();
        let seated = seats.members.get(member).is_some_and(|seated| seated.room.number == room.number);
        if let Some(entry) = seats.entry_mut(room).filter(|_| seated) {
            entry.relayed.insert((v6, port), member.into());
        }
    }

    /// And now it has not.
    pub(super) fn closed(&self, room: &Room, v6: bool, port: u16) {
        if let Some(entry) = self.lock().entry_mut(room) {
            entry.relayed.remove(&(v6, port));
        }
    }

    /// An allocation of the member is gone that relayed this.
    pub(super) fn add_ended(&self, member: &str, room: &Room, usage: Usage) {
        let mut seats = self.lock();
        let member = seats.members.get_mut(member).filter(|member| member.room.number == room.number);
        if let Some(member) = member {
            member.ended += usage;
        } else if let Some(entry) = seats.entry_mut(room) {
            entry.departed += usage;
        }
    }

    pub(super) fn total(&self) -> &SharedBucket {
        &self.0.total
    }

    /// When the buckets' time begins; at `now`, if it has not.
    pub(super) fn start(&self, now: Instant) -> Instant {
        *self.0.start.get_or_init(|| now)
    }

    fn lock(&self) -> MutexGuard<'_, Seats> {
        self.0.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a member may reach, as long as nobody else changes it.
pub(super) struct Scope<'a> {
    member: Option<(&'a Member, &'a Entry)>,
}

impl Scope<'_> {
    /// Whether another member has this address. One's own counts if somebody else has it too.
    pub(super) fn reaches(&self, ip: IpAddr) -> bool {
        let Some((member, entry)) = self.member else { return false };
        let ip = canonical(ip);
        let own = usize::from(member.has(ip));
        entry.addresses.get(&ip).is_some_and(|&members| members > own)
    }

    /// Whether a member has this port of our relayed addresses.
    pub(super) fn holds(&self, v6: bool, port: u16) -> bool {
        self.member.is_some_and(|(_, entry)| entry.relayed.contains_key(&(v6, port)))
    }
}

#[cfg(test)]
impl Scopes {
    /// Nothing is remembered of anybody.
    pub(super) fn is_empty(&self) -> bool {
        let seats = self.lock();
        seats.members.is_empty() && seats.rooms.is_empty()
    }
}
