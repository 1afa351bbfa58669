//! The TURN server (RFC 8656) as a state machine: packets and time go in, routes and outputs come out.
//!
//! Nothing here opens a socket, reads a clock or logs. `relay/` runs one server per shard.

pub mod census;
pub mod config;
pub mod credential;
pub mod keys;
pub mod peers;
pub mod route;
pub mod scopes;
pub mod server;
pub mod stats;
pub mod usage;

mod allocate;
mod allocation;
mod allowance;
mod auth;
mod binding;
mod channel;
mod channels;
mod code;
mod connect;
mod connections;
mod data;
mod discovery;
mod family;
mod guard;
mod icmp;
mod message;
mod meter;
mod mobility;
mod nonce;
mod password;
mod permission;
mod permissions;
mod ports;
mod random;
mod rate;
mod refresh;
mod relayed;
mod replies;
mod reservations;
mod seats;
mod table;
mod throttle;
mod timers;
mod wire;

pub use census::Census;
pub use config::{Config, Limits, RelayAddress};
pub use keys::Keys;
pub use peers::{Cidr, PeerPolicy};
pub use route::{
    AllocationId, ConnectionId, FiveTuple, Head, Leg, Output, RelayFailure, Route, Span, Transport,
};
pub use scopes::Scopes;
pub use server::Server;
pub use stats::{Drop, Drops, Flow, KINDS, PUBLIC, Stats};
pub use usage::Usage;

#[cfg(test)]
mod tests;
