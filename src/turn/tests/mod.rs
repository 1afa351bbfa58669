//! The state machine from outside: input goes in, expected outputs come out. Requests are built and answers read with the
//! `stun` crate, so that a misreading of ours does not meet itself.

mod world;

mod allocate;
mod auth;
mod channel;
mod data;
mod icmp;
mod limits;
mod model;
mod permission;
mod refresh;
mod retransmission;
mod scope;
mod strangers;
mod time;
