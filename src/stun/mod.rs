//! STUN (RFC 8489) on borrowed bytes: what strangers send and what the data path needs, without allocating.
//!
//! Types, methods and the CRC come from the `stun` crate, and its codec is the oracle of this one's tests. The crate's own
//! `Message` owns its attributes (ten allocations for an Allocate), which is too much per packet.

pub mod address;
pub mod attribute;
pub mod channel_data;
pub mod fingerprint;
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

/// The methods of STUN and TURN.
pub mod method {
    use webrtc_stun::message as m;

    /// A method's number, as in the message type.
    macro_rules! methods {
        ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => { $($(#[$doc])* pub const $name: u16 = $value;)* };
    }
    methods! {
        /// RFC 8489.
        BINDING = 0x001;
        /// RFC 8656, section 17.
        ALLOCATE = 0x003;
        /// RFC 8656, section 17.
        REFRESH = 0x004;
        /// RFC 8656, section 17.
        SEND = 0x006;
        /// RFC 8656, section 17.
        DATA = 0x007;
        /// RFC 8656, section 17.
        CREATE_PERMISSION = 0x008;
        /// RFC 8656, section 17.
        CHANNEL_BIND = 0x009;
    }

    /// The crate's name for one of these.
    #[must_use]
    pub fn named(number: u16) -> Option<m::Method> {
        Some(match number {
            BINDING => m::METHOD_BINDING,
            ALLOCATE => m::METHOD_ALLOCATE,
            REFRESH => m::METHOD_REFRESH,
            SEND => m::METHOD_SEND,
            DATA => m::METHOD_DATA,
            CREATE_PERMISSION => m::METHOD_CREATE_PERMISSION,
            CHANNEL_BIND => m::METHOD_CHANNEL_BIND,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests;
