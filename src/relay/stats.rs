//! What the sockets count, next to what the servers count.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::turn;

/// Why the sockets lost a packet that the server had found a way for, or could not take one in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoDrop {
    /// The socket's send buffer was full.
    BufferFull,
    /// No route to the destination, or an ICMP error said so.
    Unreachable,
    /// Longer than the path takes, and not to be fragmented.
    TooBig,
    /// A firewall of this host.
    Forbidden,
    /// Any other error of a send.
    SendFailed,
    /// A datagram longer than the room for it.
    Truncated,
    /// The relay or client-facing socket it should have left by is gone.
    NoSocket,
}

impl IoDrop {
    /// Every reason, in the order of the counters.
    pub const ALL: [IoDrop; 7] = [
        IoDrop::BufferFull,
        IoDrop::Unreachable,
        IoDrop::TooBig,
        IoDrop::Forbidden,
        IoDrop::SendFailed,
        IoDrop::Truncated,
        IoDrop::NoSocket,
    ];

    /// The reason as a metric's label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            IoDrop::BufferFull => "buffer_full",
            IoDrop::Unreachable => "unreachable",
            IoDrop::TooBig => "too_big",
            IoDrop::Forbidden => "forbidden",
            IoDrop::SendFailed => "send_failed",
            IoDrop::Truncated => "truncated",
            IoDrop::NoSocket => "no_socket",
        }
    }

    /// The reason behind the error of a send.
    #[must_use]
    pub(super) fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS) => IoDrop::BufferFull,
            Some(
                libc::ENETUNREACH
                | libc::EHOSTUNREACH
                | libc::ECONNREFUSED
                | libc::ENETDOWN
                | libc::EHOSTDOWN
                | libc::EADDRNOTAVAIL,
            ) => IoDrop::Unreachable,
            Some(libc::EMSGSIZE) => IoDrop::TooBig,
            Some(libc::EPERM | libc::EACCES) => IoDrop::Forbidden,
            _ => IoDrop::SendFailed,
        }
    }
}

/// A shard's counters: written by its thread, read by whoever asks.
#[derive(Default, Debug)]
pub(super) struct IoDrops([AtomicU64; IoDrop::ALL.len()]);

impl IoDrops {
    pub(super) fn count(&self, reason: IoDrop, packets: u64) {
        self.0[reason as usize].fetch_add(packets, Ordering::Relaxed);
    }
}

/// Everything counted, over all shards.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Stats {
    /// What the servers count.
    pub turn: turn::Stats,
    io: [u64; IoDrop::ALL.len()],
}

impl Stats {
    pub(super) fn add(&mut self, turn: &turn::Stats, io: &IoDrops) {
        self.turn += turn;
        for (sum, count) in self.io.iter_mut().zip(&io.0) {
            *sum += count.load(Ordering::Relaxed);
        }
    }

    /// Packets lost at the sockets for this reason.
    #[must_use]
    pub fn io_drops(&self, reason: IoDrop) -> u64 {
        self.io[reason as usize]
    }

    /// Every reason for a drop with its count, the servers' first; no name comes twice.
    pub fn drops(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.turn
            .drops
            .iter()
            .chain(IoDrop::ALL.into_iter().map(|reason| (reason.name(), self.io_drops(reason))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_reason_has_the_name_of_another() {
        let stats = Stats::default();
        let names: Vec<_> = stats.drops().map(|(name, _)| name).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
    }

    #[test]
    fn every_reason_counts_in_its_own_place() {
        for (index, reason) in IoDrop::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }
}
