//! Who was not let in, and why.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Connections turned away, by reason.
#[derive(Default, Debug)]
pub struct Refusals {
    /// The daemon was full.
    pub total: AtomicU64,
    /// Their address had its share.
    pub per_ip: AtomicU64,
    /// The TLS handshake failed or took too long.
    pub handshake: AtomicU64,
    /// They said nothing in time, or too little to tell what they speak.
    pub silent: AtomicU64,
    /// They come from a load balancer that did not say in time, or not in a way that can be believed, whom they are for.
    pub proxy: AtomicU64,
    /// The kernel had no descriptor or memory for them.
    pub accept: AtomicU64,
    /// Not connections but Socket.IO sessions: the daemon was full, or their address had its share.
    pub sessions: AtomicU64,
}

impl Refusals {
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    /// The reasons with their counts.
    #[must_use]
    pub fn counts(&self) -> [(&'static str, u64); 7] {
        [
            ("total", self.total.load(Relaxed)),
            ("per_ip", self.per_ip.load(Relaxed)),
            ("handshake", self.handshake.load(Relaxed)),
            ("silent", self.silent.load(Relaxed)),
            ("proxy", self.proxy.load(Relaxed)),
            ("accept", self.accept.load(Relaxed)),
            ("sessions", self.sessions.load(Relaxed)),
        ]
    }
}
