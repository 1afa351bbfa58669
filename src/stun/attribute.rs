//! Attributes (RFC 8489, section 14): their numbers and how one looks inside a message.

use webrtc_stun::attributes as a;

/// One attribute of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attribute<'a> {
    /// Its type.
    pub kind: u16,
    /// Its value, without the padding.
    pub value: &'a [u8],
    /// Where its type starts, in bytes from the start of the message.
    pub offset: usize,
}

/// Whether a receiver must understand this type to process the message (RFC 8489, section 14).
#[must_use]
pub fn comprehension_required(kind: u16) -> bool {
    kind < 0x8000
}

/// RFC 8489, section 14.3.
pub const USERNAME: u16 = a::ATTR_USERNAME.0;
/// RFC 8489, section 14.5.
pub const MESSAGE_INTEGRITY: u16 = a::ATTR_MESSAGE_INTEGRITY.0;
/// RFC 8489, section 14.8.
pub const ERROR_CODE: u16 = a::ATTR_ERROR_CODE.0;
/// RFC 8489, section 14.13.
pub const UNKNOWN_ATTRIBUTES: u16 = a::ATTR_UNKNOWN_ATTRIBUTES.0;
/// RFC 8656, section 18.1.
pub const CHANNEL_NUMBER: u16 = a::ATTR_CHANNEL_NUMBER.0;
/// RFC 8656, section 18.2.
pub const LIFETIME: u16 = a::ATTR_LIFETIME.0;
/// RFC 8656, section 18.3.
pub const XOR_PEER_ADDRESS: u16 = a::ATTR_XOR_PEER_ADDRESS.0;
/// RFC 8656, section 18.4.
pub const DATA: u16 = a::ATTR_DATA.0;
/// RFC 8489, section 14.9.
pub const REALM: u16 = a::ATTR_REALM.0;
/// RFC 8489, section 14.10.
pub const NONCE: u16 = a::ATTR_NONCE.0;
/// RFC 8656, section 18.5.
pub const XOR_RELAYED_ADDRESS: u16 = a::ATTR_XOR_RELAYED_ADDRESS.0;
/// RFC 8656, section 18.6.
pub const REQUESTED_ADDRESS_FAMILY: u16 = a::ATTR_REQUESTED_ADDRESS_FAMILY.0;
/// RFC 8656, section 18.7.
pub const EVEN_PORT: u16 = a::ATTR_EVEN_PORT.0;
/// RFC 8656, section 18.8.
pub const REQUESTED_TRANSPORT: u16 = a::ATTR_REQUESTED_TRANSPORT.0;
/// RFC 8656, section 18.9.
pub const DONT_FRAGMENT: u16 = a::ATTR_DONT_FRAGMENT.0;
/// RFC 8489, section 14.6.
pub const MESSAGE_INTEGRITY_SHA256: u16 = a::ATTR_MESSAGE_INTEGRITY_SHA256.0;
/// RFC 8489, section 14.2.
pub const XOR_MAPPED_ADDRESS: u16 = a::ATTR_XORMAPPED_ADDRESS.0;
/// RFC 6062, section 6.2.1.
pub const CONNECTION_ID: u16 = a::ATTR_CONNECTION_ID.0;
/// RFC 8016, section 3.1.1 (there is no constant for it in the crate).
pub const MOBILITY_TICKET: u16 = 0x8030;
/// RFC 8656, section 18.10.
pub const RESERVATION_TOKEN: u16 = a::ATTR_RESERVATION_TOKEN.0;
/// RFC 8656, section 18.11. Newer than the crate.
pub const ADDITIONAL_ADDRESS_FAMILY: u16 = 0x8000;
/// RFC 8656, section 18.12. Newer than the crate.
pub const ADDRESS_ERROR_CODE: u16 = 0x8001;
/// RFC 8656, section 18.13. Newer than the crate.
pub const ICMP: u16 = 0x8004;
/// RFC 8489, section 14.14.
pub const SOFTWARE: u16 = a::ATTR_SOFTWARE.0;
/// RFC 8489, section 14.7.
pub const FINGERPRINT: u16 = a::ATTR_FINGERPRINT.0;
/// RFC 8489, section 14.11.
pub const PASSWORD_ALGORITHMS: u16 = a::ATTR_PASSWORD_ALGORITHMS.0;
/// RFC 8489, section 14.12.
pub const PASSWORD_ALGORITHM: u16 = a::ATTR_PASSWORD_ALGORITHM.0;
/// RFC 8489, section 14.4.
pub const USERHASH: u16 = a::ATTR_USER_HASH.0;
/// RFC 8489, section 14.15.
pub const ALTERNATE_SERVER: u16 = a::ATTR_ALTERNATE_SERVER.0;
/// RFC 8489, section 14.1.
pub const MAPPED_ADDRESS: u16 = a::ATTR_MAPPED_ADDRESS.0;
/// RFC 5780, section 7.2.
pub const CHANGE_REQUEST: u16 = a::ATTR_CHANGE_REQUEST.0;
/// RFC 5780, section 7.3.
pub const RESPONSE_ORIGIN: u16 = a::ATTR_RESPONSE_ORIGIN.0;
/// RFC 5780, section 7.4.
pub const OTHER_ADDRESS: u16 = a::ATTR_OTHER_ADDRESS.0;
/// RFC 5780, section 7.5.
pub const RESPONSE_PORT: u16 = a::ATTR_RESPONSE_PORT.0;
/// RFC 5780, section 7.6.
pub const PADDING: u16 = a::ATTR_PADDING.0;
