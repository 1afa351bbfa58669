//! callgate: Socket.IO signaling for WebRTC rooms and a TURN/STUN relay in one daemon.
//!
//! `ARCHITECTURE.md` has the map: which folder holds what, and who may import whom.

pub mod auth;
pub mod cli;
pub mod config;
pub mod customer;
pub mod daemon;
pub mod gate;
pub mod http;
pub mod ice;
pub mod label;
pub mod log;
pub mod metrics;
pub mod rate;
pub mod relay;
pub mod rooms;
pub mod shutdown;
pub mod signaling;
pub mod stamp;
pub mod store;
pub mod stun;
pub mod turn;
pub mod turns;
pub mod webhooks;
