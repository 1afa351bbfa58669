//! The relay's threads: sockets, clock and batching around [`crate::turn::Server`], which decides.
//!
//! A shard is one thread with its own sockets and its own server. Datagrams never change threads: a packet for an allocation
//! of another shard is decided by that shard's server and sent from here. Only where it is for a client's connection, which
//! is the other shard's alone to write to, a copy is left in that shard's mailbox.

mod acts;
mod callers;
mod connection;
mod exits;
mod holder;
mod legs;
mod line;
mod link;
mod listen;
mod mailbox;
mod pace;
mod peers;
mod ports;
mod shard;
mod sockets;
mod splice;
mod start;
mod stats;
mod steer;
mod token;
mod train;
mod udp;

#[cfg(test)]
mod tests;

pub use connection::Connection;
pub use listen::StartError;
pub use start::{Relay, Settings};
pub use stats::{Connections, Ending, IoDrop, Stats};
