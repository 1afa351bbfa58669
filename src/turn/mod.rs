//! The TURN server (RFC 8656) as a state machine: packets and time go in, routes and outputs come out.
//!
//! Nothing here opens a socket, reads a clock or logs. `relay/` runs one server per shard.

pub mod route;

pub use route::{AllocationId, FiveTuple, Head, Output, RelayFailure, Route, Span, Transport};
