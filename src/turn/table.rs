//! All allocations of a shard, and the ways to find one.

use std::hash::{BuildHasher, Hasher};
use std::net::{IpAddr, SocketAddr};

use ahash::RandomState;
use hashbrown::{HashMap, HashTable};
use smallvec::SmallVec;

use super::allocation::Allocation;
use super::census::Census;
use super::route::{AllocationId, FiveTuple};

#[derive(Debug)]
struct Slot {
    generation: u32,
    allocation: Option<Box<Allocation>>,
}

/// Allocations in slots, found by five-tuple, id, user and client address.
#[derive(Debug)]
pub(super) struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
    hasher: RandomState,
    by_client: HashTable<u32>,
    by_user: HashMap<Box<str>, SmallVec<[u32; 1]>, RandomState>,
    per_ip: HashMap<u64, u32, RandomState>,
    census: Census,
}

impl Table {
    pub(super) fn new(hasher: RandomState, census: Census) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_client: HashTable::new(),
            by_user: HashMap::with_hasher(hasher.clone()),
            per_ip: HashMap::with_hasher(hasher.clone()),
            hasher,
            census,
        }
    }

    /// How many there are in this shard and its neighbours.
    pub(super) fn everywhere(&self) -> usize {
        self.census.count()
    }

    /// The slot of a client's allocation: the one probe of the data path.
    #[inline]
    pub(super) fn find(&self, client: &FiveTuple) -> Option<u32> {
        let same = |&slot: &u32| self.get(slot).is_some_and(|held| held.client == *client);
        self.by_client.find(hash(&self.hasher, client), same).copied()
    }

    #[inline]
    pub(super) fn get(&self, slot: u32) -> Option<&Allocation> {
        self.slots.get(slot as usize)?.allocation.as_deref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Allocation> {
        self.slots.get_mut(slot as usize)?.allocation.as_deref_mut()
    }

    /// The slot, if its tenant is still the one meant.
    #[inline]
    pub(super) fn live(&self, at: AllocationId) -> Option<u32> {
        let slot = self.slots.get(at.slot as usize)?;
        (slot.generation == at.generation && slot.allocation.is_some()).then_some(at.slot)
    }

    pub(super) fn id(&self, slot: u32) -> AllocationId {
        let generation = self.slots.get(slot as usize).map_or(0, |slot| slot.generation);
        AllocationId { slot, generation }
    }

    /// The slots of a user's allocations.
    pub(super) fn of_user(&self, user: &str) -> &[u32] {
        self.by_user.get(user).map_or(&[], |slots| slots)
    }

    /// The slots of all allocations that `wanted` is true of.
    pub(super) fn matching(&self, wanted: impl Fn(&Allocation) -> bool) -> Vec<u32> {
        let held =
            (0..).zip(&self.slots).filter_map(|(slot, place)| Some((slot, place.allocation.as_deref()?)));
        held.filter(|(_, allocation)| wanted(allocation)).map(|(slot, _)| slot).collect()
    }

    /// How many allocations a client's address has, or its /64.
    pub(super) fn of_ip(&self, ip: IpAddr) -> u32 {
        self.per_ip.get(&site(ip)).copied().unwrap_or(0)
    }

    pub(super) fn insert(&mut self, allocation: Allocation) -> u32 {
        self.census.add();
        let client = allocation.client;
        let user = allocation.user();
        let slot = self.free.pop().unwrap_or(self.slots.len() as u32);
        match self.by_user.get_mut(user) {
            Some(slots) => slots.push(slot),
            None => {
                self.by_user.insert(user.into(), SmallVec::from_elem(slot, 1));
            }
        }
        *self.per_ip.entry(site(client.client.ip())).or_default() += 1;
        match self.slots.get_mut(slot as usize) {
            Some(place) => {
                place.generation = place.generation.wrapping_add(1);
                place.allocation = Some(Box::new(allocation));
            }
            None => self.slots.push(Slot { generation: 1, allocation: Some(Box::new(allocation)) }),
        }
        self.index(slot, &client);
        slot
    }

    /// The allocation's client is another from here on.
    pub(super) fn set_client(&mut self, slot: u32, client: FiveTuple) {
        let Some(old) = self.get_mut(slot).map(|held| std::mem::replace(&mut held.client, client)) else {
            return;
        };
        if let Ok(entry) = self.by_client.find_entry(hash(&self.hasher, &old), |&held| held == slot) {
            entry.remove();
        }
        self.index(slot, &client);
        self.leave(old.client.ip());
        *self.per_ip.entry(site(client.client.ip())).or_default() += 1;
    }

    /// Makes an allocation known by its client.
    fn index(&mut self, slot: u32, client: &FiveTuple) {
        let Self { slots, hasher, by_client, .. } = self;
        by_client.insert_unique(hash(hasher, client), slot, |&other| {
            let held = slots.get(other as usize).and_then(|slot| slot.allocation.as_deref());
            held.map_or(0, |held| hash(hasher, &held.client))
        });
    }

    fn leave(&mut self, ip: IpAddr) {
        let site = site(ip);
        if let Some(count) = self.per_ip.get_mut(&site) {
            *count -= 1;
            if *count == 0 {
                self.per_ip.remove(&site);
            }
        }
    }

    pub(super) fn remove(&mut self, slot: u32) -> Option<Box<Allocation>> {
        let allocation = self.slots.get_mut(slot as usize)?.allocation.take()?;
        self.census.remove();
        self.free.push(slot);
        let hashed = hash(&self.hasher, &allocation.client);
        if let Ok(entry) = self.by_client.find_entry(hashed, |&held| held == slot) {
            entry.remove();
        }
        if let Some(slots) = self.by_user.get_mut(allocation.user()) {
            slots.retain(|held| *held != slot);
            if slots.is_empty() {
                self.by_user.remove(allocation.user());
            }
        }
        self.leave(allocation.client.client.ip());
        Some(allocation)
    }
}

/// What a household has of an address: all of an IPv4 one, the first 64 bits of an IPv6 one.
pub(super) fn site(ip: IpAddr) -> u64 {
    match ip {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64,
    }
}

/// Keyed, and shorter than the derived hash of a five-tuple.
#[inline]
fn hash(hasher: &RandomState, tuple: &FiveTuple) -> u64 {
    let mut state = hasher.build_hasher();
    for address in [&tuple.client, &tuple.server] {
        match address {
            SocketAddr::V4(v4) => state.write_u64(u64::from(v4.ip().to_bits()) << 16 | u64::from(v4.port())),
            SocketAddr::V6(v6) => {
                state.write_u128(v6.ip().to_bits());
                state.write_u16(v6.port());
            }
        }
    }
    state.finish()
}

#[cfg(test)]
impl Table {
    /// Every index agrees that there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        let free =
            self.slots.iter().all(|slot| slot.allocation.is_none()) && self.free.len() == self.slots.len();
        free && self.by_client.is_empty() && self.by_user.is_empty() && self.per_ip.is_empty()
    }
}
