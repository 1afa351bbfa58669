//! The state machine from outside: input goes in, expected outputs come out. Requests are built and answers read with the
//! `stun` crate, so that a misreading of ours does not meet itself.

mod data;
mod world;

mod allocate;
