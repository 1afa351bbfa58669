//! A STUN message as it lies in a packet (RFC 8489, section 5).

use super::attribute::Attribute;
use super::{HEADER, MAGIC_COOKIE};

/// Ties an answer to its request.
pub type TransactionId = [u8; 12];

/// The class of a message, from two bits of its type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Wants an answer.
    Request,
    /// Wants none.
    Indication,
    /// It worked.
    Success,
    /// It did not.
    Error,
}

impl Class {
    /// The class's two bits in their places within a message type.
    #[must_use]
    pub fn bits(self) -> u16 {
        match self {
            Self::Request => 0x000,
            Self::Indication => 0x010,
            Self::Success => 0x100,
            Self::Error => 0x110,
        }
    }
}

/// Not a STUN message, or one that breaks off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

/// A message whose header and attribute lengths have been checked; everything in it is borrowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads a datagram that is one whole message: two zero bits, the magic cookie, a length that is the datagram's, and
    /// attributes that fill it exactly.
    ///
    /// # Errors
    /// [`Malformed`] otherwise.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let Some((header, body)) = bytes.split_first_chunk::<HEADER>() else { return Err(Malformed) };
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if header[0] & 0xc0 != 0
            || header[4..8] != MAGIC_COOKIE.to_be_bytes()
            || length != body.len()
            || !length.is_multiple_of(4)
        {
            return Err(Malformed);
        }
        let mut rest = body;
        while !rest.is_empty() {
            let Some((head, tail)) = rest.split_first_chunk::<4>() else { return Err(Malformed) };
            let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
            rest = tail.get(length.next_multiple_of(4)..).ok_or(Malformed)?;
        }
        Ok(Self { bytes })
    }

    /// The whole message.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The message type with its class bits.
    #[must_use]
    pub fn kind(&self) -> u16 {
        u16::from_be_bytes([self.bytes[0], self.bytes[1]])
    }

    /// What kind of message it is.
    #[must_use]
    pub fn class(&self) -> Class {
        match self.kind() & 0x110 {
            0x000 => Class::Request,
            0x010 => Class::Indication,
            0x100 => Class::Success,
            _ => Class::Error,
        }
    }

    /// The method, without the class bits that lie between its own.
    #[must_use]
    pub fn method(&self) -> u16 {
        let kind = self.kind();
        kind & 0xf | (kind & 0xe0) >> 1 | (kind & 0x3e00) >> 2
    }

    /// Its transaction id.
    #[must_use]
    pub fn transaction_id(&self) -> TransactionId {
        let mut id = [0; 12];
        id.copy_from_slice(&self.bytes[8..HEADER]);
        id
    }

    /// All attributes in their order.
    #[must_use]
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes { bytes: self.bytes, at: HEADER }
    }
}

/// Iterates over a message's attributes.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let offset = self.at;
        let (head, tail) = self.bytes.get(offset..)?.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = tail.get(..length)?;
        self.at = offset + 4 + length.next_multiple_of(4);
        Some(Attribute { kind: u16::from_be_bytes([head[0], head[1]]), value, offset })
    }
}

/// The message type of a method and a class.
#[must_use]
pub fn kind(method: u16, class: Class) -> u16 {
    method & 0xf | (method & 0x70) << 1 | (method & 0xf80) << 2 | class.bits()
}
