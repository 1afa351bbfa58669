//! How much a client may ask for: events, bytes and joins, on its own account and on its address's; and how often a user connects.
//!
//! One's own account is the user's, if a token proves who that is, else the transport's. Many share an address (an office, a
//! school), so it may ask for as much as `SHARED` of them. Loopback has no account: it is a reverse proxy's address, and so
//! everybody's.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use crate::customer::customer;
use crate::rate::Bucket;
use crate::rate::SECOND;
use crate::rate::Table;
use crate::rate::Ticks;
use crate::rate::every;
use crate::rate::ticks;

/// What an address may ask for, in shares of one client's.
pub(super) const SHARED: u32 = 20;

/// How many seconds' worth of events and bytes may come at once: a browser in a mesh of 16 sends some 300 candidates in its
/// first second.
const BURST: u64 = 5;

/// How many events a search of the directory counts as, beside its own: it takes as long as a hundred signals.
const SEARCH: u64 = 20;

/// How many seconds' worth of a user's connections are let in at once, and how many seconds one waits in line after that: after an
/// outage all of a user's come back together. (The same of an address: `daemon::sessions`.)
const COMES: u64 = 10;
const LINE: u64 = 5;

/// The longest that a connection waits in line.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(LINE);

/// The most accounts of addresses and users that are kept.
const MOST: usize = 100_000;

/// What one client may ask for. 0: no limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    pub(super) events_per_second: u32,
    pub(super) bytes_per_second: u64,
    pub(super) joins_per_minute: u32,
    /// Of a user that is proven.
    pub(super) connects_per_second: u32,
}

/// What somebody has asked for.
#[derive(Default, Debug)]
pub(super) struct Account {
    events: Bucket,
    bytes: Bucket,
    joins: Bucket,
    /// Of a user, those let in; of an address, those refused.
    connects: Bucket,
    /// Of an address, and of a transport of nobody's in particular: whoever asked to be connected, let in or not.
    comes: Bucket,
    /// Bytes of what it has asked to be told.
    reads: Bucket,
}

/// The accounts that a connection draws on.
pub(super) struct Accounts {
    pub(super) own: Arc<Account>,
    pub(super) address: Option<Arc<Account>>,
}

/// All accounts.
pub(super) struct Bank {
    start: Instant,
    rates: Rates,
    table: Mutex<Table<Holder, Arc<Account>>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Holder {
    Address(IpAddr),
    User(Arc<str>),
}

impl Bank {
    pub(super) fn new(rates: Rates, now: Instant) -> Bank {
        Bank { start: now, rates, table: Mutex::new(Table::new(MOST)) }
    }

    /// The accounts of a connection from this address, of this proven user.
    pub(super) fn accounts(
        &self,
        address: Option<IpAddr>,
        user: Option<&Arc<str>>,
        now: Instant,
    ) -> Accounts {
        let own = user.map(|user| self.account(Holder::User(Arc::clone(user)), now)).unwrap_or_default();
        let address = address.and_then(customer).map(|customer| self.account(Holder::Address(customer), now));
        Accounts { own, address }
    }

    fn account(&self, holder: Holder, now: Instant) -> Arc<Account> {
        let now = self.ticks(now);
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever is not here and owes nothing begins anew some day with the same account.
        let needed = |account: &Arc<Account>| Arc::strong_count(account) > 1 || account.owes(now);
        table.entry(holder, now, needed).map_or_else(Arc::default, |account| Arc::clone(account))
    }

    fn ticks(&self, now: Instant) -> Ticks {
        ticks(self.start, now)
    }

    /// Counts an event of so many bytes.
    ///
    /// # Errors
    /// It is one too many: how long to wait.
    pub(super) fn event(&self, of: &Accounts, bytes: usize, now: Instant) -> Result<(), Duration> {
        let now = self.ticks(now);
        let per_event = self.per_event();
        let per_byte = self.of_bytes(bytes);
        of.take(|account| &account.events, per_event, BURST * SECOND, now).and_then(|()| {
            of.take(|account| &account.bytes, per_byte, BURST * SECOND, now).inspect_err(|_| {
                of.give_back(|account| &account.events, per_event);
            })
        })
    }

    /// Counts what a search takes beyond any other event.
    ///
    /// # Errors
    /// How long to wait.
    pub(super) fn search(&self, of: &Accounts, now: Instant) -> Result<(), Duration> {
        of.take(|account| &account.events, SEARCH * self.per_event(), BURST * SECOND, self.ticks(now))
    }

    /// Counts so many bytes that somebody asks to be told, apart from those that it says: a short question may have a long answer.
    ///
    /// # Errors
    /// How long to wait.
    pub(super) fn read(&self, of: &Accounts, bytes: usize, now: Instant) -> Result<(), Duration> {
        of.take(|account| &account.reads, self.of_bytes(bytes), BURST * SECOND, self.ticks(now))
    }

    /// So many of those there were not.
    pub(super) fn unread(&self, of: &Accounts, bytes: usize) {
        of.give_back(|account| &account.reads, self.of_bytes(bytes));
    }

    fn per_event(&self) -> Ticks {
        every(self.rates.events_per_second)
    }

    fn of_bytes(&self, bytes: usize) -> Ticks {
        let per_second = self.rates.bytes_per_second;
        let cost = u128::from(SECOND) * bytes as u128 / u128::from(per_second.max(1));
        if per_second == 0 { 0 } else { u64::try_from(cost).unwrap_or(u64::MAX / 4) }
    }

    /// Counts somebody who wants to connect, let in or not, for its address and for its transport: over one transport a client may
    /// come and go without end, and each time others are told. How long it waits in line. Both count twice as many as there
    /// may be transports: whoever opens each once never waits here.
    ///
    /// # Errors
    /// The line is too long: when to come again.
    pub(super) fn comes(&self, of: [Option<&Account>; 2], now: Instant) -> Result<Duration, Duration> {
        let cost = SECOND.checked_div(2 * u64::from(self.rates.connects_per_second)).unwrap_or(0);
        let mut ahead = 0;
        for account in of.into_iter().flatten() {
            ahead = account.comes.take(cost, (COMES + LINE) * SECOND, self.ticks(now))?.max(ahead);
        }
        Ok(Duration::from_nanos(ahead.saturating_sub(COMES * SECOND)))
    }

    /// Counts somebody of this address who wants to connect, before it is looked at who that is: in one session a client may be
    /// refused, and ask again with another token, as often as it likes.
    ///
    /// # Errors
    /// So many were refused that this one is not looked at: how long to wait.
    pub(super) fn shows(&self, address: Option<&Account>, now: Instant) -> Result<(), Duration> {
        let Some(account) = address else { return Ok(()) };
        account.connects.take(self.per_event(), BURST * SECOND, self.ticks(now)).map(|_| ())
    }

    /// It was let in, and is not counted.
    pub(super) fn is_let_in(&self, address: Option<&Account>) {
        if let Some(account) = address {
            account.connects.give_back(self.per_event());
        }
    }

    /// Counts a join, or a room made: a minute's worth may come at once.
    ///
    /// # Errors
    /// How long to wait.
    pub(super) fn join(&self, of: &Accounts, now: Instant) -> Result<(), Duration> {
        let cost = (60 * SECOND).checked_div(self.rates.joins_per_minute.into()).unwrap_or(0);
        of.take(|account| &account.joins, cost, 60 * SECOND, self.ticks(now))
    }

    /// Counts a new connection of a proven user: how long it waits in line before it is let in.
    ///
    /// # Errors
    /// The line is too long: when to come again.
    pub(super) fn connect(&self, of: &Accounts, now: Instant) -> Result<Duration, Duration> {
        let cost = every(self.rates.connects_per_second);
        let ahead = of.own.connects.take(cost, (COMES + LINE) * SECOND, self.ticks(now))?;
        Ok(Duration::from_nanos(ahead.saturating_sub(COMES * SECOND)))
    }
}

/// How long a text is when it is written as JSON, in bytes, without its quotes.
pub(super) fn written(text: &str) -> usize {
    let written = |byte: u8| match byte {
        b'"' | b'\\' => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(written).sum()
}

impl Account {
    fn owes(&self, now: Ticks) -> bool {
        [&self.events, &self.bytes, &self.joins, &self.connects, &self.comes, &self.reads]
            .iter()
            .any(|bucket| bucket.owes(now))
    }
}

impl Accounts {
    /// From both, or from none.
    fn take(
        &self,
        bucket: fn(&Account) -> &Bucket,
        cost: Ticks,
        ahead: Ticks,
        now: Ticks,
    ) -> Result<(), Duration> {
        bucket(&self.own).take(cost, ahead, now)?;
        let Some(address) = &self.address else { return Ok(()) };
        bucket(address)
            .take(cost / u64::from(SHARED), ahead, now)
            .map(|_| ())
            .inspect_err(|_| bucket(&self.own).give_back(cost))
    }

    fn give_back(&self, bucket: fn(&Account) -> &Bucket, cost: Ticks) {
        bucket(&self.own).give_back(cost);
        if let Some(address) = &self.address {
            bucket(address).give_back(cost / u64::from(SHARED));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: Rates =
        Rates { events_per_second: 10, bytes_per_second: 1000, joins_per_minute: 10, connects_per_second: 5 };

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_burst_passes_then_the_steady_rate() {
        let start = Instant::now();
        let bank = Bank::new(RATES, start);
        let of = bank.accounts(None, None, start);
        let passed = |now, bytes| (0..1000).take_while(|_| bank.event(&of, bytes, now).is_ok()).count();
        assert_eq!(passed(start, 1), 50);
        assert_eq!(bank.event(&of, 1, start), Err(Duration::from_millis(100)));
        assert_eq!(passed(start + Duration::from_secs(1), 1), 10);
        // A few big ones are as much as many small ones.
        let big = bank.accounts(None, None, start);
        let passed = (0..100).take_while(|_| bank.event(&big, 500, start).is_ok()).count();
        assert_eq!(passed, 10);
    }

    #[test]
    fn what_is_read_counts_apart_and_what_was_not_there_is_given_back() {
        let start = Instant::now();
        let bank = Bank::new(RATES, start);
        let of = bank.accounts(ip("192.0.2.1"), None, start);
        assert_eq!((0..99).take_while(|_| bank.read(&of, 1000, start).is_ok()).count(), 5);
        assert_eq!(bank.event(&of, 5000, start), Ok(()));
        bank.unread(&of, 400);
        assert_eq!(bank.read(&of, 400, start), Ok(()));
        assert_eq!(bank.read(&of, 1000, start), Err(Duration::from_secs(1)));
        // The address has twenty times as much.
        let others =
            (0..99).filter(|_| bank.read(&bank.accounts(ip("192.0.2.1"), None, start), 5000, start).is_ok());
        assert_eq!(others.count(), 19);
    }

    #[test]
    fn a_search_takes_twenty_events() {
        let start = Instant::now();
        let bank = Bank::new(RATES, start);
        let of = bank.accounts(None, None, start);
        assert_eq!((0..99).take_while(|_| bank.search(&of, start).is_ok()).count(), 2);
        assert_eq!((0..99).take_while(|_| bank.event(&of, 1, start).is_ok()).count(), 10);
    }

    #[test]
    fn an_address_is_refused_so_often_and_who_is_let_in_does_not_count() {
        let start = Instant::now();
        let bank = Bank::new(RATES, start);
        let here = bank.accounts(ip("192.0.2.1"), None, start).address;
        let shows = |now| bank.shows(here.as_deref(), now);
        for _ in 0..999 {
            assert_eq!(shows(start), Ok(()));
            bank.is_let_in(here.as_deref());
        }
        assert_eq!((0..999).take_while(|_| shows(start).is_ok()).count(), 50);
        assert_eq!(shows(start), Err(Duration::from_millis(100)));
        let later = start + Duration::from_secs(1);
        assert_eq!((0..999).take_while(|_| shows(later).is_ok()).count(), 10);
        // What they ask for is another matter, and so are other addresses.
        let of = bank.accounts(ip("192.0.2.1"), None, start);
        assert_eq!(bank.event(&of, 1, start), Ok(()));
        let other = bank.accounts(ip("192.0.2.2"), None, start).address;
        assert_eq!(bank.shows(other.as_deref(), start), Ok(()));
    }

    #[test]
    fn an_address_and_a_transport_come_twice_as_often_as_transports_are_opened_then_in_line() {
        let start = Instant::now();
        let bank = Bank::new(RATES, start);
        let address = bank.accounts(ip("192.0.2.1"), None, start).address;
        let transport = Account::default();
        // Behind a reverse proxy: the transport alone.
        for of in [[None, Some(&transport)], [address.as_deref(), None]] {
            let waits: Vec<_> = (0..200).map(|_| bank.comes(of, start)).collect();
            assert!(waits[..100].iter().all(|wait| *wait == Ok(Duration::ZERO)));
            assert_eq!((waits[100], waits[149]), (Ok(Duration::from_millis(100)), Ok(LONGEST_WAIT)));
            assert!(waits[150..].iter().all(Result::is_err));
        }
        let both = [address.as_deref(), Some(&Account::default())];
        assert!(bank.comes(both, start).is_err() && bank.comes(both, start + LONGEST_WAIT).is_ok());
    }

    #[test]
    fn ten_joins_a_minute_each_and_twenty_times_that_an_address() {
        let start = Instant::now();
        let bank = Bank::new(RATES, start);
        let mut joined = 0;
        for n in 0..100 {
            let user = Arc::from(format!("user{n}"));
            let of = bank.accounts(ip("192.0.2.1"), Some(&user), start);
            let own = (0..20).take_while(|_| bank.join(&of, start).is_ok()).count();
            assert!(own <= 10);
            joined += own;
        }
        assert_eq!(joined, 200);
        // Elsewhere the same user has used up its own.
        let again = bank.accounts(ip("192.0.2.2"), Some(&Arc::from("user0")), start);
        assert_eq!(bank.join(&again, start), Err(Duration::from_secs(6)));
        assert_eq!(bank.join(&again, start + Duration::from_secs(6)), Ok(()));
        // What the address refuses, the client does not pay for.
        let new = bank.accounts(ip("192.0.2.1"), Some(&Arc::from("new")), start);
        assert!((0..99).all(|_| bank.join(&new, start).is_err()));
        let new = bank.accounts(None, Some(&Arc::from("new")), start);
        assert!((0..10).all(|_| bank.join(&new, start).is_ok()));
    }

    #[test]
    fn a_users_connections_come_in_as_a_burst_then_in_line_wherever_they_come_from() {
        let start = Instant::now();
        let bank = Bank::new(RATES, start);
        let ada = Arc::from("ada");
        let come = |n: u32, now| {
            let from = ip(&format!("192.0.2.{}", n % 250));
            bank.connect(&bank.accounts(from, Some(&ada), now), now)
        };
        let waits: Vec<_> = (0..80).map(|n| come(n, start)).collect();
        assert!(waits[..50].iter().all(|wait| *wait == Ok(Duration::ZERO)));
        assert_eq!((waits[50], waits[74]), (Ok(Duration::from_millis(200)), Ok(LONGEST_WAIT)));
        assert!(waits[75..].iter().all(|wait| *wait == Err(Duration::from_millis(200))));
        assert_eq!(come(0, start + Duration::from_secs(15)), Ok(Duration::ZERO));
        // Others are not held up.
        let bob = bank.accounts(ip("192.0.2.1"), Some(&Arc::from("bob")), start);
        assert_eq!(bank.connect(&bob, start), Ok(Duration::ZERO));
    }

    #[test]
    fn an_account_outlives_its_connections_and_loopback_has_none() {
        let start = Instant::now();
        let bank = Bank::new(RATES, start);
        for (_, left) in (0..).zip([10, 0]) {
            let of = bank.accounts(None, Some(&Arc::from("ada")), start);
            assert_eq!((0..20).take_while(|_| bank.join(&of, start).is_ok()).count(), left);
        }
        assert!(bank.accounts(ip("::ffff:127.0.0.9"), None, start).address.is_none());
        let same = ["2001:db8::1", "2001:db8::ffff:1"].map(|it| bank.accounts(ip(it), None, start).address);
        assert!(Arc::ptr_eq(same[0].as_ref().unwrap(), same[1].as_ref().unwrap()));
    }

    #[test]
    fn no_rate_is_no_limit() {
        let start = Instant::now();
        let none =
            Rates { events_per_second: 0, bytes_per_second: 0, joins_per_minute: 0, connects_per_second: 0 };
        let bank = Bank::new(none, start);
        let of = bank.accounts(ip("192.0.2.1"), None, start);
        assert!(
            (0..10_000).all(|_| bank.event(&of, 1 << 20, start).is_ok() && bank.join(&of, start).is_ok())
        );
        assert!((0..10_000).all(|_| bank.connect(&of, start) == Ok(Duration::ZERO)));
        assert!((0..10_000).all(|_| bank.comes([Some(&of.own), None], start) == Ok(Duration::ZERO)));
    }
}
