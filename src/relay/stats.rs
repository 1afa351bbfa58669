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
    /// The queue of the client's connection was full.
    QueueFull,
    /// The client's connection is gone.
    NoConnection,
    /// It was for a connection of another shard, which does not keep up.
    MailboxFull,
}

impl IoDrop {
    /// Every reason, in the order of the counters.
    pub const ALL: [IoDrop; 10] = [
        IoDrop::BufferFull,
        IoDrop::Unreachable,
        IoDrop::TooBig,
        IoDrop::Forbidden,
        IoDrop::SendFailed,
        IoDrop::Truncated,
        IoDrop::NoSocket,
        IoDrop::QueueFull,
        IoDrop::NoConnection,
        IoDrop::MailboxFull,
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
            IoDrop::QueueFull => "queue_full",
            IoDrop::NoConnection => "no_connection",
            IoDrop::MailboxFull => "mailbox_full",
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

/// Why a client's connection was closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// The client closed it.
    Gone,
    /// It broke, or its TLS session did.
    Failed,
    /// What came was neither STUN nor ChannelData, or longer than anything a stranger may send.
    Garbage,
    /// It had no allocation, and asked for nothing.
    Idle,
    /// What waited to be sent was not taken.
    Stalled,
    /// Its allocation has ended.
    Ended,
    /// It came when too much else waited for the shard.
    Refused,
}

impl Ending {
    /// Every reason, in the order of the counters.
    pub const ALL: [Ending; 7] = [
        Ending::Gone,
        Ending::Failed,
        Ending::Garbage,
        Ending::Idle,
        Ending::Stalled,
        Ending::Ended,
        Ending::Refused,
    ];

    /// The reason as a metric's label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Ending::Gone => "gone",
            Ending::Failed => "failed",
            Ending::Garbage => "garbage",
            Ending::Idle => "idle",
            Ending::Stalled => "stalled",
            Ending::Ended => "ended",
            Ending::Refused => "refused",
        }
    }
}

/// A shard's counters: written by its thread, read by whoever asks.
#[derive(Default, Debug)]
pub(super) struct IoCounts {
    drops: [AtomicU64; IoDrop::ALL.len()],
    endings: [AtomicU64; Ending::ALL.len()],
    /// Over TCP, over TLS.
    open: [AtomicU64; 2],
    frames_in: AtomicU64,
    frames_out: AtomicU64,
}

impl IoCounts {
    pub(super) fn count(&self, reason: IoDrop, packets: u64) {
        self.drops[reason as usize].fetch_add(packets, Ordering::Relaxed);
    }

    pub(super) fn opened(&self, tls: bool) {
        self.open[usize::from(tls)].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn closed(&self, tls: bool, ending: Ending) {
        self.open[usize::from(tls)].fetch_sub(1, Ordering::Relaxed);
        self.ended(ending);
    }

    pub(super) fn ended(&self, ending: Ending) {
        self.endings[ending as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn frames_in(&self, frames: u64) {
        self.frames_in.fetch_add(frames, Ordering::Relaxed);
    }

    pub(super) fn frames_out(&self, frames: u64) {
        self.frames_out.fetch_add(frames, Ordering::Relaxed);
    }
}

/// Clients' connections over TCP and TLS.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Connections {
    /// Open now, without TLS.
    pub tcp: u64,
    /// Open now, with TLS.
    pub tls: u64,
    /// STUN and ChannelData messages that came over any of them.
    pub frames_in: u64,
    /// The same in the other direction.
    pub frames_out: u64,
    endings: [u64; Ending::ALL.len()],
}

impl Connections {
    /// How many were closed for this reason.
    #[must_use]
    pub fn ended(&self, ending: Ending) -> u64 {
        self.endings[ending as usize]
    }

    /// Every reason with its count.
    pub fn endings(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Ending::ALL.into_iter().map(|ending| (ending.name(), self.ended(ending)))
    }
}

/// Everything counted, over all shards.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Stats {
    /// What the servers count.
    pub turn: turn::Stats,
    /// Clients' connections.
    pub connections: Connections,
    io: [u64; IoDrop::ALL.len()],
}

impl Stats {
    pub(super) fn add(&mut self, turn: &turn::Stats, io: &IoCounts) {
        self.turn += turn;
        let add = |sum: &mut u64, count: &AtomicU64| *sum += count.load(Ordering::Relaxed);
        self.io.iter_mut().zip(&io.drops).for_each(|(sum, count)| add(sum, count));
        let all = &mut self.connections;
        all.endings.iter_mut().zip(&io.endings).for_each(|(sum, count)| add(sum, count));
        add(&mut all.tcp, &io.open[0]);
        add(&mut all.tls, &io.open[1]);
        add(&mut all.frames_in, &io.frames_in);
        add(&mut all.frames_out, &io.frames_out);
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
        for (index, ending) in Ending::ALL.into_iter().enumerate() {
            assert_eq!(ending as usize, index);
        }
    }
}
