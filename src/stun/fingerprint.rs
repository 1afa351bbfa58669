//! FINGERPRINT (RFC 8489, section 14.7).

use webrtc_stun::fingerprint::fingerprint_value;

use super::message::Message;

/// Whether a FINGERPRINT attribute at `offset` with this value is the message's last attribute, and right.
#[must_use]
pub fn check(message: &Message<'_>, offset: usize, value: &[u8]) -> bool {
    let bytes = message.as_bytes();
    offset + 8 == bytes.len() && value == fingerprint_value(&bytes[..offset]).to_be_bytes()
}

/// The value for a message whose length field already counts the attribute.
#[must_use]
pub fn value(bytes: &[u8]) -> [u8; 4] {
    fingerprint_value(bytes).to_be_bytes()
}
