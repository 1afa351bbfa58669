//! The relay on real sockets, loopback only.

mod trains;
