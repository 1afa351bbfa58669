//! What signaling counts.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::error::Code;
use crate::rooms::Kind;

/// What is passed on between members, for `Stats::relayed`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Relayed {
    /// A session description that offers.
    Offer,
    /// One that answers.
    Answer,
    /// An ICE candidate.
    Candidate,
    /// A signal of the clients' own kind.
    Other,
    /// Something said.
    Chat,
}

impl Relayed {
    /// Every kind, in the order of `Stats::relayed`.
    pub const ALL: [Relayed; 5] =
        [Relayed::Offer, Relayed::Answer, Relayed::Candidate, Relayed::Other, Relayed::Chat];

    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Relayed::Offer => "offer",
            Relayed::Answer => "answer",
            Relayed::Candidate => "candidate",
            Relayed::Other => "other",
            Relayed::Chat => "chat",
        }
    }

    pub(super) fn of(kind: &str) -> Relayed {
        match kind {
            "offer" => Relayed::Offer,
            "answer" => Relayed::Answer,
            "candidate" => Relayed::Candidate,
            _ => Relayed::Other,
        }
    }
}

/// Why something was not delivered, for `Stats::drops`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Drop {
    /// The receiver does not read: cut off.
    SlowReader,
    /// The receiver is away and its buffer is full: the oldest went.
    MissedOverflow,
    /// The connection had closed, and nobody came back for it.
    Closed,
    /// More commands waiting than a connection may have: each is answered.
    InboxFull,
    /// So many events beyond its rate that their answers pile up: cut off.
    Flood,
    /// A change of the directory, for one that reads slowly or because there were too many.
    Directory,
}

impl Drop {
    /// Every reason, in the order of `Stats::drops`.
    pub const ALL: [Drop; 6] =
        [Drop::SlowReader, Drop::MissedOverflow, Drop::Closed, Drop::InboxFull, Drop::Flood, Drop::Directory];

    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Drop::SlowReader => "slow-reader",
            Drop::MissedOverflow => "missed-overflow",
            Drop::Closed => "connection-closed",
            Drop::InboxFull => "inbox-full",
            Drop::Flood => "flood",
            Drop::Directory => "directory",
        }
    }
}

/// The counters at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Open connections.
    pub connections: u64,
    /// Rooms by kind, in the order of `Kind::ALL`.
    pub rooms: [u64; Kind::ALL.len()],
    /// Members of all rooms, those who are away included.
    pub peers: u64,
    /// Seats taken since the start, seats taken again not counted.
    pub joins: u64,
    /// Seats taken again.
    pub resumes: u64,
    /// Events handed on to a member, in the order of `Relayed::ALL`.
    pub relayed: [u64; Relayed::ALL.len()],
    /// Failed commands, in the order of `Code::ALL`.
    pub errors: [u64; Code::ALL.len()],
    /// What was not delivered, in the order of `Drop::ALL`.
    pub drops: [u64; Drop::ALL.len()],
}

/// The counters as they count.
#[derive(Default)]
pub(super) struct Counters {
    connections: AtomicU64,
    joins: AtomicU64,
    resumes: AtomicU64,
    relayed: [AtomicU64; Relayed::ALL.len()],
    errors: [AtomicU64; Code::ALL.len()],
    drops: [AtomicU64; Drop::ALL.len()],
}

impl Counters {
    pub(super) fn connected(&self) {
        self.connections.fetch_add(1, Relaxed);
    }

    pub(super) fn disconnected(&self) {
        self.connections.fetch_sub(1, Relaxed);
    }

    pub(super) fn seated(&self, resumed: bool) {
        if resumed { &self.resumes } else { &self.joins }.fetch_add(1, Relaxed);
    }

    pub(super) fn relayed(&self, kind: Relayed) {
        self.relayed[kind as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn failed(&self, code: Code) {
        self.errors[code as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn dropped(&self, reason: Drop, count: u64) {
        self.drops[reason as usize].fetch_add(count, Relaxed);
    }

    pub(super) fn read(&self) -> Stats {
        Stats {
            connections: self.connections.load(Relaxed),
            joins: self.joins.load(Relaxed),
            resumes: self.resumes.load(Relaxed),
            relayed: std::array::from_fn(|i| self.relayed[i].load(Relaxed)),
            errors: std::array::from_fn(|i| self.errors[i].load(Relaxed)),
            drops: std::array::from_fn(|i| self.drops[i].load(Relaxed)),
            ..Stats::default()
        }
    }
}
