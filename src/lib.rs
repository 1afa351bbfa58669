//! callgate: Socket.IO signaling for WebRTC rooms and a TURN/STUN relay in one daemon.
//!
//! `ARCHITECTURE.md` has the map: which folder holds what, and who may import whom.

pub mod relay;
pub mod stun;
pub mod turn;
