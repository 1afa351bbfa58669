//! The state machine from outside: input goes in, expected outputs come out. Requests are built and answers read with the
//! `stun` crate, so that a misreading of ours does not meet itself.

mod world;

mod abuse;
mod allocate;
mod alternate;
mod auth;
mod bound;
mod channel;
mod connect;
mod data;
mod discovery;
mod forgery;
mod icmp;
mod keys;
mod legs;
mod limits;
mod mobility;
mod model;
mod permission;
mod rate;
mod refresh;
mod retransmission;
mod rfc8489;
mod scope;
mod strangers;
mod throttle;
mod time;
mod usage;
