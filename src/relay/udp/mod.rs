//! UDP sockets at the system call: batches in with UDP_GRO, gathered trains out with UDP_SEGMENT, and the error queue.
//!
//! The only folder with `unsafe`. Nothing in here knows what a packet means.
#![allow(unsafe_code)]

mod ancillary;
mod inbox;
mod sender;
mod socket;

pub(super) use inbox::{HEADROOM, Inbox, SLOTS};
pub(super) use sender::Sender;
pub(super) use socket::Socket;
