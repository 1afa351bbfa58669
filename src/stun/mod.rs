//! STUN (RFC 8489) on borrowed bytes: what strangers send and what the data path needs, without allocating.
//!
//! Types, methods and the CRC come from the `stun` crate, and its codec is the oracle of this one's tests. The crate's own
//! `Message` owns its attributes (ten allocations for an Allocate), which is too much per packet.

pub mod address;
pub mod attribute;
pub mod channel_data;
pub mod fingerprint;
pub mod frame;
pub mod integrity;
pub mod message;
pub mod writer;

pub use attribute::Attribute;
pub use integrity::{Algorithm, Mac};
pub use message::{Class, Malformed, Message, TransactionId};
pub use writer::Writer;

/// The magic cookie (RFC 8489, section 5).
pub const MAGIC_COOKIE: u32 = 0x2112_a442;

/// Bytes of the message header.
pub const HEADER: usize = 20;

/// The methods of STUN (RFC 8489, section 18.2) and TURN (RFC 8656, section 17).
pub mod method {
    /// What does my address look like?
    pub const BINDING: u16 = 0x001;
    /// A relayed address, please.
    pub const ALLOCATE: u16 = 0x003;
    /// Keep it, or end it.
    pub const REFRESH: u16 = 0x004;
    /// Indication: data for a peer.
    pub const SEND: u16 = 0x006;
    /// Indication: data from a peer.
    pub const DATA: u16 = 0x007;
    /// Let these peers in.
    pub const CREATE_PERMISSION: u16 = 0x008;
    /// A number for a peer.
    pub const CHANNEL_BIND: u16 = 0x009;
    /// A TCP connection to a peer (RFC 6062).
    pub const CONNECT: u16 = 0x00a;
    /// This connection is the client's end of that one.
    pub const CONNECTION_BIND: u16 = 0x00b;
    /// Indication: a peer has connected.
    pub const CONNECTION_ATTEMPT: u16 = 0x00c;
}

#[cfg(test)]
mod tests;
