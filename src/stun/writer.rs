//! Writes a STUN message into a caller's buffer.

use std::net::SocketAddr;

use super::message::{Class, TransactionId, kind};
use super::{HEADER, MAGIC_COOKIE, Mac, address, attribute, fingerprint};

/// A message in the making, appended to nothing: the buffer is cleared first. The length field is right after every call.
#[derive(Debug)]
pub struct Writer<'b> {
    out: &'b mut Vec<u8>,
    transaction: TransactionId,
}

impl<'b> Writer<'b> {
    /// Starts a message with its header.
    pub fn new(out: &'b mut Vec<u8>, method: u16, class: Class, transaction: TransactionId) -> Self {
        out.clear();
        out.extend_from_slice(&kind(method, class).to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&MAGIC_COOKIE.to_be_bytes());
        out.extend_from_slice(&transaction);
        Self { out, transaction }
    }

    fn set_length(&mut self, length: usize) {
        // Nothing here writes messages near 64 KiB; one that long would be cut off by the receiver's length check.
        let length = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
        self.out[2..4].copy_from_slice(&length);
    }

    /// Appends an attribute, padded with zeros.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.parts(kind, &[value])
    }

    /// Appends an attribute whose value comes in parts.
    pub fn parts(&mut self, kind: u16, parts: &[&[u8]]) -> &mut Self {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        self.out.extend_from_slice(&kind.to_be_bytes());
        self.out.extend_from_slice(&(length as u16).to_be_bytes());
        for part in parts {
            self.out.extend_from_slice(part);
        }
        self.out.resize(self.out.len().next_multiple_of(4), 0);
        self.set_length(self.out.len() - HEADER);
        self
    }

    /// Appends an XORed address.
    pub fn address(&mut self, kind: u16, address: SocketAddr) -> &mut Self {
        let (value, length) = address::encode(address, &self.transaction);
        self.attribute(kind, &value[..length])
    }

    /// Appends an address that is not XORed.
    pub fn plain_address(&mut self, kind: u16, address: SocketAddr) -> &mut Self {
        let (value, length) = address::plain(address);
        self.attribute(kind, &value[..length])
    }

    /// Appends ERROR-CODE (RFC 8489, section 14.8).
    pub fn error(&mut self, code: u16, reason: &str) -> &mut Self {
        self.parts(
            attribute::ERROR_CODE,
            &[&[0, 0, (code / 100) as u8, (code % 100) as u8], reason.as_bytes()],
        )
    }

    /// Appends MESSAGE-INTEGRITY, or its SHA-256 form, over what is there.
    pub fn integrity(&mut self, mac: &Mac) -> &mut Self {
        let size = match mac.attribute() {
            attribute::MESSAGE_INTEGRITY => 20,
            _ => 32,
        };
        let tag = mac.tag(self.out, size);
        self.attribute(mac.attribute(), tag.as_ref())
    }

    /// Appends FINGERPRINT over what is there. Nothing may follow.
    pub fn fingerprint(&mut self) {
        self.set_length(self.out.len() - HEADER + 8);
        let value = fingerprint::value(self.out);
        self.attribute(attribute::FINGERPRINT, &value);
    }
}
