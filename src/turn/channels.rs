//! An allocation's channels (RFC 8656, section 12).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::family::Family;

/// How long a binding lasts.
pub(super) const LIFETIME: Duration = Duration::from_secs(600);

/// How long after its end neither number nor peer may be bound otherwise.
pub(super) const QUARANTINE: Duration = Duration::from_secs(300);

/// A number that stands for a peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Channel {
    pub(super) number: u16,
    /// Expired channels stay for a while, unbound, so that nobody reuses their number.
    pub(super) bound: bool,
    /// The peer is a relayed address of this daemon.
    pub(super) ours: bool,
    pub(super) peer: SocketAddr,
    pub(super) expires: Instant,
}

impl Channel {
    fn deadline(&self) -> Instant {
        if self.bound { self.expires } else { self.expires + QUARANTINE }
    }
}

/// Sorted by number, with a second order by peer.
#[derive(Default, Debug)]
pub(super) struct Channels {
    entries: SmallVec<[Channel; 1]>,
    /// Indices into `entries`, in the order of their peers.
    by_peer: SmallVec<[u16; 8]>,
}

impl Channels {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.entries.iter()
    }

    /// The channel with this number, bound or in quarantine.
    #[inline]
    pub(super) fn get(&self, number: u16) -> Option<&Channel> {
        let at = self.entries.binary_search_by_key(&number, |channel| channel.number).ok()?;
        self.entries.get(at)
    }

    /// The channel to this peer, bound or in quarantine.
    #[inline]
    pub(super) fn to(&self, peer: SocketAddr) -> Option<&Channel> {
        let peer_of = |&at: &u16| self.entries.get(usize::from(at)).map(|channel| channel.peer);
        let at = self.by_peer.binary_search_by(|at| peer_of(at).cmp(&Some(peer))).ok()?;
        self.entries.get(usize::from(*self.by_peer.get(at)?))
    }

    /// Binds or refreshes; the caller has checked that number and peer are free or bound to each other.
    pub(super) fn bind(&mut self, channel: Channel) {
        match self.entries.binary_search_by_key(&channel.number, |held| held.number) {
            Ok(at) => self.entries[at] = channel,
            Err(at) => {
                self.entries.insert(at, channel);
                self.sort_peers();
            }
        }
    }

    /// Unbinds what has expired, telling its numbers, and forgets what has been in quarantine for long enough.
    pub(super) fn expire(&mut self, now: Instant, mut unbound: impl FnMut(u16)) {
        for channel in &mut self.entries {
            if channel.bound && channel.expires <= now {
                channel.bound = false;
                unbound(channel.number);
            }
        }
        self.retain(|channel| channel.deadline() > now);
    }

    /// Unbinds those that `keep` does not, telling their numbers; as with those that expire, nobody reuses them for a while.
    pub(super) fn unbind(
        &mut self,
        now: Instant,
        keep: impl Fn(&Channel) -> bool,
        mut unbound: impl FnMut(u16),
    ) {
        for channel in self.entries.iter_mut().filter(|channel| channel.bound && !keep(channel)) {
            channel.bound = false;
            channel.expires = now;
            unbound(channel.number);
        }
    }

    pub(super) fn remove_family(&mut self, family: Family, mut unbound: impl FnMut(u16)) {
        for channel in self.entries.iter().filter(|held| held.bound && Family::of(held.peer.ip()) == family) {
            unbound(channel.number);
        }
        self.retain(|channel| Family::of(channel.peer.ip()) != family);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.entries.iter().map(Channel::deadline).min()
    }

    fn retain(&mut self, keep: impl Fn(&Channel) -> bool) {
        let before = self.entries.len();
        self.entries.retain(|channel| keep(channel));
        if self.entries.len() != before {
            self.sort_peers();
        }
    }

    fn sort_peers(&mut self) {
        self.by_peer.clear();
        self.by_peer.extend(0..self.entries.len() as u16);
        let entries = &self.entries;
        self.by_peer.sort_unstable_by_key(|&at| entries.get(usize::from(at)).map(|channel| channel.peer));
    }
}
