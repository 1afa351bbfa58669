//! The pure modules of callgate, compiled from their own files: fuzzing them needs neither the web stack nor its build time.

#[path = "../../src/stun/mod.rs"]
pub mod stun;
#[path = "../../src/turn/mod.rs"]
pub mod turn;
