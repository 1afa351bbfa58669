//! Who is in which room, and which addresses are theirs: what the relays of a room's members may reach.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use super::meter::SharedBucket;
use super::peers::Cidr;
use super::usage::Usage;

/// How many addresses count of those that a member named, and of those it was seen at; the oldest go.
const MOST_SIGNALED: usize = 32;
const MOST_OBSERVED: usize = 8;

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
    held: Mutex<Held>,
}

/// Ordered, for clients choose the names of rooms.
#[derive(Default, Debug)]
struct Held {
    members: BTreeMap<Box<str>, Member>,
    rooms: BTreeMap<Box<str>, Entry>,
    /// How many rooms there have been.
    numbers: u64,
}

#[derive(Debug)]
struct Member {
    room: Arc<Room>,
    /// Oldest first.
    signaled: VecDeque<IpAddr>,
    observed: VecDeque<IpAddr>,
    /// Of its allocations that are gone.
    ended: Usage,
}

impl Member {
    fn has(&self, ip: IpAddr) -> bool {
        self.observed.contains(&ip) || self.signaled.contains(&ip)
    }
}

#[derive(Debug)]
struct Entry {
    room: Arc<Room>,
    members: usize,
    /// How many members have an address.
    addresses: BTreeMap<IpAddr, usize>,
    /// The relayed addresses of its members, by family (IPv6?) and port, with whose they are.
    relayed: BTreeMap<(bool, u16), Box<str>>,
}

/// What the allocations of a room have in common.
#[derive(Debug)]
pub(super) struct Room {
    name: Box<str>,
    /// Its like never comes again, even if the name does.
    pub(super) number: NonZeroU64,
    /// For the counters' label.
    pub(super) kind: u8,
    /// How often a member or an address has gone.
    losses: AtomicU64,
    /// What it relays.
    pub(super) bucket: SharedBucket,
}

impl Room {
    /// Another number than before says that what was in scope may not be any more.
    #[inline]
    pub(super) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Acquire)
    }
}

/// Which of a member's lists.
#[derive(Clone, Copy)]
enum Source {
    Signaled,
    Observed,
}

impl Scopes {
    /// `member` is in `room` from here on, and in no other. `kind` labels the room's traffic in the counters; the first
    /// member's counts.
    pub fn seat(&self, member: &str, room: &str, kind: u8) {
        let mut held = self.lock();
        if held.members.get(member).is_some_and(|seated| *seated.room.name == *room) {
            return;
        }
        held.unseat(member);
        let room = held.enter(room, kind);
        let (signaled, observed) = (VecDeque::new(), VecDeque::new());
        held.members.insert(member.into(), Member { room, signaled, observed, ended: Usage::default() });
    }

    /// Forgets `member`: its credentials are worth nothing, and nobody's relay reaches its addresses any more.
    pub fn unseat(&self, member: &str) {
        self.lock().unseat(member);
    }

    /// `member` told its room of these addresses.
    pub fn signaled(&self, member: &str, addresses: &[IpAddr]) {
        let mut held = self.lock();
        for &ip in addresses {
            held.add(member, ip, Source::Signaled);
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

    /// The room that a member is in, who was just seen at `ip`.
    pub(super) fn admit(&self, member: &str, ip: IpAddr) -> Option<Arc<Room>> {
        let mut held = self.lock();
        held.add(member, ip, Source::Observed);
        held.members.get(member).map(|member| Arc::clone(&member.room))
    }

    /// The room that a member is in.
    pub(super) fn room(&self, member: &str) -> Option<Arc<Room>> {
        self.lock().members.get(member).map(|member| Arc::clone(&member.room))
    }

    /// Asks about a member of `room`. Keep it short: all shards wait.
    pub(super) fn within<T>(&self, member: &str, room: &Room, ask: impl FnOnce(Scope<'_>) -> T) -> T {
        let held = self.lock();
        let member = held.members.get(member).filter(|member| member.room.number == room.number);
        let entry = member.and_then(|_| held.entry(room));
        ask(Scope { member: member.zip(entry) })
    }

    /// A member of `room` has this relayed address now.
    pub(super) fn opened(&self, member: &str, room: &Room, v6: bool, port: u16) {
        let mut held = self.lock();
        let seated = held.members.get(member).is_some_and(|seated| seated.room.number == room.number);
        if let Some(entry) = held.entry_mut(room).filter(|_| seated) {
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
        let mut held = self.lock();
        let member = held.members.get_mut(member).filter(|member| member.room.number == room.number);
        if let Some(member) = member {
            member.ended += usage;
        }
    }

    pub(super) fn total(&self) -> &SharedBucket {
        &self.0.total
    }

    /// When the buckets' time begins; at `now`, if it has not.
    pub(super) fn start(&self, now: Instant) -> Instant {
        *self.0.start.get_or_init(|| now)
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
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

impl Held {
    /// The room of this name, made if there is none, with one member more.
    fn enter(&mut self, name: &str, kind: u8) -> Arc<Room> {
        if let Some(entry) = self.rooms.get_mut(name) {
            entry.members += 1;
            return Arc::clone(&entry.room);
        }
        self.numbers += 1;
        let room = Arc::new(Room {
            name: name.into(),
            number: NonZeroU64::MIN.saturating_add(self.numbers),
            kind,
            losses: AtomicU64::new(0),
            bucket: SharedBucket::default(),
        });
        let entry = Entry {
            room: Arc::clone(&room),
            members: 1,
            addresses: BTreeMap::new(),
            relayed: BTreeMap::new(),
        };
        self.rooms.insert(name.into(), entry);
        room
    }

    fn unseat(&mut self, id: &str) {
        let Some(member) = self.members.remove(id) else { return };
        let Some(entry) = self.rooms.get_mut(&member.room.name) else { return };
        entry.relayed.retain(|_, holder| **holder != *id);
        let unique: BTreeSet<_> = member.signaled.iter().chain(&member.observed).collect();
        for &ip in unique {
            entry.forget(ip);
        }
        entry.members -= 1;
        if entry.members == 0 {
            self.rooms.remove(&member.room.name);
        }
        member.room.losses.fetch_add(1, Ordering::Release);
    }

    fn add(&mut self, member: &str, ip: IpAddr, source: Source) {
        let Some(member) = self.members.get_mut(member) else { return };
        let Some(entry) = self.rooms.get_mut(&member.room.name) else { return };
        let ip = canonical(ip);
        let known = member.has(ip);
        let (list, most) = match source {
            Source::Signaled => (&mut member.signaled, MOST_SIGNALED),
            Source::Observed => (&mut member.observed, MOST_OBSERVED),
        };
        match list.iter().rposition(|&held| held == ip) {
            // The most recent already.
            Some(at) if at + 1 == list.len() => return,
            Some(at) => {
                list.remove(at);
            }
            None => {}
        }
        let oldest = if list.len() < most { None } else { list.pop_front() };
        list.push_back(ip);
        if !known {
            *entry.addresses.entry(ip).or_default() += 1;
        }
        if let Some(oldest) = oldest.filter(|&oldest| !member.has(oldest)) {
            entry.forget(oldest);
            member.room.losses.fetch_add(1, Ordering::Release);
        }
    }

    fn entry(&self, room: &Room) -> Option<&Entry> {
        self.rooms.get(&room.name).filter(|entry| entry.room.number == room.number)
    }

    fn entry_mut(&mut self, room: &Room) -> Option<&mut Entry> {
        self.rooms.get_mut(&room.name).filter(|entry| entry.room.number == room.number)
    }
}

impl Entry {
    /// A member less has this address.
    fn forget(&mut self, ip: IpAddr) {
        if let Some(members) = self.addresses.get_mut(&ip) {
            *members -= 1;
            if *members == 0 {
                self.addresses.remove(&ip);
            }
        }
    }
}

/// One spelling of those addresses that are one host by their form: IPv4-mapped, and IPv4 behind the well-known NAT64
/// prefix (RFC 6052). The peer policy looks at what is asked for, whatever this says.
fn canonical(ip: IpAddr) -> IpAddr {
    const NAT64: Option<Cidr> = Cidr::new(IpAddr::V6(std::net::Ipv6Addr::from_bits(0x0064_ff9b << 96)), 96);
    match ip.to_canonical() {
        IpAddr::V6(v6) if NAT64.is_some_and(|prefix| prefix.contains(ip)) => {
            IpAddr::V4(Ipv4Addr::from_bits(v6.to_bits() as u32))
        }
        ip => ip,
    }
}

#[cfg(test)]
impl Scopes {
    /// Nothing is remembered of anybody.
    pub(super) fn is_empty(&self) -> bool {
        let held = self.lock();
        held.members.is_empty() && held.rooms.is_empty()
    }
}
