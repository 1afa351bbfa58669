//! The relay's threads: sockets, clock and batching around [`crate::turn::Server`], which decides.
//!
//! A shard is one thread with its own sockets and its own server. Packets never change threads: a packet for an allocation
//! of another shard is decided by that shard's server and sent from here.

mod holder;
mod listen;
mod ports;
mod shard;
mod sockets;
mod start;
mod stats;
mod steer;
mod train;
mod udp;

#[cfg(test)]
mod tests;

pub use listen::StartError;
pub use start::{Relay, Settings};
pub use stats::{IoDrop, Stats};
