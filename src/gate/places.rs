//! How many connections may be open: in all, and from one address.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::customer::customer;

/// The places of all ports together. Cheap to clone; a clone is the same places.
#[derive(Clone, Debug)]
pub struct Places {
    inner: Arc<Mutex<Taken>>,
    total: usize,
    per_address: usize,
}

#[derive(Default, Debug)]
struct Taken {
    all: usize,
    /// Of these, the ones whose connections are no longer the gate's.
    handed_over: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One connection's place; dropping it frees it. It goes wherever the connection goes, upgrades included.
#[derive(Debug)]
pub struct Place {
    inner: Arc<Mutex<Taken>>,
    per_address: usize,
    address: Option<IpAddr>,
    handed_over: bool,
}

/// Why there was no place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Full {
    /// The daemon has as many connections as it can have.
    Total,
    /// This address has as many as it may have.
    Address,
}

impl Places {
    /// `per_address` of 0 is no limit.
    #[must_use]
    pub fn new(total: usize, per_address: usize) -> Self {
        Self { inner: Arc::default(), total, per_address }
    }

    /// A place for a connection from `address`. Loopback has no limit of its own: it is a reverse proxy's address, and
    /// so everybody's.
    ///
    /// # Errors
    /// There is none.
    pub fn take(&self, address: IpAddr) -> Result<Place, Full> {
        let mut place = self.take_for_nobody()?;
        place.settle(address)?;
        Ok(place)
    }

    /// A place for a connection of which it is not known yet whose it is.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn take_for_nobody(&self) -> Result<Place, Full> {
        let mut taken = lock(&self.inner);
        if taken.all >= self.total {
            return Err(Full::Total);
        }
        taken.all += 1;
        let inner = Arc::clone(&self.inner);
        Ok(Place { inner, per_address: self.per_address, address: None, handed_over: false })
    }

    /// How many are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        lock(&self.inner).all
    }

    /// How many are taken by connections that the gate still serves itself.
    #[must_use]
    pub(super) fn served(&self) -> usize {
        let taken = lock(&self.inner);
        taken.all.saturating_sub(taken.handed_over)
    }
}

impl Place {
    /// Counts it as one of `address`, if it was nobody's.
    ///
    /// # Errors
    /// That address has its share.
    pub(super) fn settle(&mut self, address: IpAddr) -> Result<(), Full> {
        if self.per_address == 0 || self.address.is_some() {
            return Ok(());
        }
        let Some(address) = customer(address) else { return Ok(()) };
        let mut taken = lock(&self.inner);
        let count = taken.by_address.entry(address).or_default();
        if *count >= self.per_address {
            return Err(Full::Address);
        }
        *count += 1;
        self.address = Some(address);
        Ok(())
    }

    /// The connection is somebody else's from here on; the place stays taken.
    pub(super) fn hand_over(&mut self) {
        if !self.handed_over {
            self.handed_over = true;
            lock(&self.inner).handed_over += 1;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.inner);
        taken.all = taken.all.saturating_sub(1);
        if self.handed_over {
            taken.handed_over = taken.handed_over.saturating_sub(1);
        }
        if let Some(address) = self.address
            && let Entry::Occupied(mut count) = taken.by_address.entry(address)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_its_share_and_gets_it_back() {
        let places = Places::new(10, 2);
        let first = places.take(ip("192.0.2.1")).unwrap();
        let second = places.take(ip("::ffff:192.0.2.1")).unwrap();
        assert_eq!(places.take(ip("192.0.2.1")).unwrap_err(), Full::Address);
        let other = places.take(ip("192.0.2.2")).unwrap();
        drop(first);
        let again = places.take(ip("192.0.2.1")).unwrap();
        assert_eq!(places.taken(), 3);
        drop((second, other, again));
        assert_eq!(places.taken(), 0);
        assert!(lock(&places.inner).by_address.is_empty(), "an address is remembered for nothing");
    }

    #[test]
    fn an_ipv6_customer_is_its_64() {
        let places = Places::new(10, 1);
        let _first = places.take(ip("2001:db8::1")).unwrap();
        assert_eq!(places.take(ip("2001:db8::ffff:1")).unwrap_err(), Full::Address);
        let _other = places.take(ip("2001:db8:0:1::1")).unwrap();
    }

    #[test]
    fn the_total_holds_for_everybody() {
        let places = Places::new(1, 0);
        let _first = places.take(ip("127.0.0.1")).unwrap();
        assert_eq!(places.take(ip("192.0.2.1")).unwrap_err(), Full::Total);
    }

    #[test]
    fn a_place_of_nobody_becomes_somebodys() {
        let places = Places::new(3, 1);
        let (mut first, mut second) = (places.take_for_nobody().unwrap(), places.take_for_nobody().unwrap());
        first.settle(ip("192.0.2.1")).unwrap();
        assert_eq!(second.settle(ip("192.0.2.1")), Err(Full::Address));
        drop(first);
        second.settle(ip("192.0.2.1")).unwrap();
        assert_eq!(places.take(ip("192.0.2.1")).unwrap_err(), Full::Address);
        drop(second);
        assert_eq!(places.taken(), 0);
        assert!(lock(&places.inner).by_address.is_empty());
    }

    #[test]
    fn who_was_handed_over_keeps_the_place_and_is_not_waited_for() {
        let places = Places::new(2, 0);
        let (served, mut passed_on) =
            (places.take(ip("192.0.2.1")).unwrap(), places.take(ip("192.0.2.1")).unwrap());
        passed_on.hand_over();
        passed_on.hand_over();
        assert_eq!((places.taken(), places.served()), (2, 1));
        assert_eq!(places.take(ip("192.0.2.2")).unwrap_err(), Full::Total);
        drop(served);
        assert_eq!((places.taken(), places.served()), (1, 0));
        drop(passed_on);
        assert_eq!((places.taken(), places.served()), (0, 0));
    }
}
