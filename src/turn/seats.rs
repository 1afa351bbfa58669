//! The seats of rooms' members, with their addresses.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ahash::RandomState;
use hashbrown::HashMap;

use super::meter::SharedBucket;
use super::peers::Cidr;
use super::usage::Usage;

/// How many addresses count of those that a member named, and of those it was seen at; the oldest go.
const MOST_SIGNALED: usize = 32;
const MOST_OBSERVED: usize = 8;

#[derive(Debug)]
pub(super) struct Seats {
    /// Their ids are chosen here, at random: nobody aims at one bucket.
    pub(super) members: HashMap<Box<str>, Member, RandomState>,
    /// Ordered, for clients choose the names of rooms.
    pub(super) rooms: BTreeMap<Box<str>, Entry>,
    /// How many rooms there have been.
    numbers: u64,
}

impl Default for Seats {
    fn default() -> Self {
        let members = HashMap::with_hasher(RandomState::with_seeds(1, 2, 3, 4));
        Seats { members, rooms: BTreeMap::new(), numbers: 0 }
    }
}

/// Somebody in a room.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) room: Arc<Room>,
    /// Oldest first.
    signaled: VecDeque<IpAddr>,
    observed: VecDeque<IpAddr>,
    /// Of its allocations that are gone.
    pub(super) ended: Usage,
}

impl Member {
    pub(super) fn has(&self, ip: IpAddr) -> bool {
        self.observed.contains(&ip) || self.signaled.contains(&ip)
    }
}

/// A room as long as it has members.
#[derive(Debug)]
pub(super) struct Entry {
    room: Arc<Room>,
    members: usize,
    /// How many members have an address.
    pub(super) addresses: BTreeMap<IpAddr, usize>,
    /// The relayed addresses of its members, by family (IPv6?) and port, with whose they are.
    pub(super) relayed: BTreeMap<(bool, u16), Box<str>>,
    /// What those relayed who are not its members any more.
    pub(super) departed: Usage,
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
pub(super) enum Source {
    Signaled,
    Observed,
}

impl Seats {
    /// `member` is in this room from here on, and in no other.
    pub(super) fn seat(&mut self, member: &str, room: &str, kind: u8) {
        if self.members.get(member).is_some_and(|seated| *seated.room.name == *room) {
            return;
        }
        self.unseat(member);
        let room = self.enter(room, kind);
        let (signaled, observed) = (VecDeque::new(), VecDeque::new());
        self.members.insert(member.into(), Member { room, signaled, observed, ended: Usage::default() });
    }

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
            departed: Usage::default(),
        };
        self.rooms.insert(name.into(), entry);
        room
    }

    pub(super) fn unseat(&mut self, id: &str) {
        let Some(member) = self.members.remove(id) else { return };
        let Some(entry) = self.rooms.get_mut(&member.room.name) else { return };
        entry.relayed.retain(|_, holder| **holder != *id);
        let unique: BTreeSet<_> = member.signaled.iter().chain(&member.observed).collect();
        for &ip in unique {
            entry.forget(ip);
        }
        entry.departed += member.ended;
        entry.members -= 1;
        if entry.members == 0 {
            self.rooms.remove(&member.room.name);
        }
        member.room.losses.fetch_add(1, Ordering::Release);
    }

    /// `member` has this address, too.
    pub(super) fn add(&mut self, member: &str, ip: IpAddr, source: Source) {
        let Some(member) = self.members.get_mut(member) else { return };
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
        if known && oldest.is_none() {
            return;
        }
        let Some(entry) = self.rooms.get_mut(&member.room.name) else { return };
        if !known {
            *entry.addresses.entry(ip).or_default() += 1;
        }
        if let Some(oldest) = oldest.filter(|&oldest| !member.has(oldest)) {
            entry.forget(oldest);
            member.room.losses.fetch_add(1, Ordering::Release);
        }
    }

    pub(super) fn entry(&self, room: &Room) -> Option<&Entry> {
        self.rooms.get(&room.name).filter(|entry| entry.room.number == room.number)
    }

    pub(super) fn entry_mut(&mut self, room: &Room) -> Option<&mut Entry> {
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
pub(super) fn canonical(ip: IpAddr) -> IpAddr {
    const NAT64: Option<Cidr> = Cidr::new(IpAddr::V6(Ipv6Addr::from_bits(0x0064_ff9b << 96)), 96);
    match ip.to_canonical() {
        IpAddr::V6(v6) if NAT64.is_some_and(|prefix| prefix.contains(ip)) => {
            IpAddr::V4(Ipv4Addr::from_bits(v6.to_bits() as u32))
        }
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Seat { member: usize, room: usize },
        Unseat { member: usize },
        Add { member: usize, ip: u32, observed: bool },
    }

    fn step() -> impl Strategy<Value = Step> {
        let member = 0_usize..4;
        prop_oneof![
            2 => (member.clone(), 0_usize..2).prop_map(|(member, room)| Step::Seat { member, room }),
            1 => member.clone().prop_map(|member| Step::Unseat { member }),
            30 => (member, 0_u32..50, any::<bool>()).prop_map(|(member, ip, observed)| Step::Add { member, ip, observed }),
        ]
    }

    /// A room's name, and the addresses named and observed, each oldest first.
    type Known = (usize, [Vec<u32>; 2]);

    fn name(number: usize) -> String {
        number.to_string()
    }

    fn ip(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(0x0909_0900 + number))
    }

    proptest! {
        #[test]
        fn who_has_what_is_what_a_search_through_all_says(steps in prop::collection::vec(step(), 1..200)) {
            let mut seats = Seats::default();
            let mut known: BTreeMap<usize, Known> = BTreeMap::new();
            for step in steps {
                let losses: Vec<_> = seats.rooms.values().map(|entry| (Arc::clone(&entry.room), entry.room.losses())).collect();
                let before = known.clone();
                match step {
                    Step::Seat { member, room } => {
                        seats.seat(&name(member), &name(room), 0);
                        if known.get(&member).is_none_or(|(there, _)| *there != room) {
                            known.insert(member, (room, Default::default()));
                        }
                    }
                    Step::Unseat { member } => {
                        seats.unseat(&name(member));
                        known.remove(&member);
                    }
                    Step::Add { member, ip: number, observed } => {
                        let source = if observed { Source::Observed } else { Source::Signaled };
                        seats.add(&name(member), ip(number), source);
                        if let Some((_, lists)) = known.get_mut(&member) {
                            let list = &mut lists[usize::from(observed)];
                            list.retain(|held| *held != number);
                            list.push(number);
                            let most = if observed { MOST_OBSERVED } else { MOST_SIGNALED };
                            list.drain(..list.len().saturating_sub(most));
                        }
                    }
                }
                let has = |known: &BTreeMap<usize, Known>, room, number| {
                    known.values().filter(|(there, lists)| *there == room && lists.iter().any(|list| list.contains(&number))).count()
                };
                for room in 0..2 {
                    let entry = seats.rooms.get(&*name(room));
                    let members = known.values().filter(|(there, _)| *there == room).count();
                    prop_assert_eq!(entry.map_or(0, |entry| entry.members), members);
                    let found: BTreeMap<_, _> = (0..50).map(|number| (ip(number), has(&known, room, number))).filter(|(_, count)| *count > 0).collect();
                    prop_assert_eq!(entry.map_or_else(BTreeMap::new, |entry| entry.addresses.clone()), found);
                    // Whatever goes is told of.
                    let gone = (0..50).any(|number| has(&known, room, number) < has(&before, room, number));
                    let told = losses.iter().any(|(held, count)| *held.name == *name(room) && held.losses() != *count);
                    prop_assert!(told || !gone);
                }
            }
        }
    }
}
