//! The modules of callgate that read what others wrote, compiled from their own files: fuzzing them needs neither the web
//! stack nor its build time.

#[path = "../../src/config/mod.rs"]
pub mod config;
#[path = "../../src/stun/mod.rs"]
pub mod stun;
#[path = "../../src/turn/mod.rs"]
pub mod turn;
