//! MESSAGE-INTEGRITY and MESSAGE-INTEGRITY-SHA256 (RFC 8489, sections 14.5 and 14.6).

use ring::hmac;
use subtle::ConstantTimeEq;

use super::attribute;
use super::message::Message;

/// Which of the two attributes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// MESSAGE-INTEGRITY: HMAC-SHA1, 20 bytes.
    Sha1,
    /// MESSAGE-INTEGRITY-SHA256: HMAC-SHA256, 16 to 32 bytes.
    Sha256,
}

/// A key, ready to check requests and to sign their answers. `Debug` does not show it.
#[derive(Clone, Debug)]
pub struct Mac {
    key: hmac::Key,
    algorithm: Algorithm,
}

impl Mac {
    /// Prepares `key`: the 16 bytes of the long-term credential, or the password of a short-term one.
    #[must_use]
    pub fn new(algorithm: Algorithm, key: &[u8]) -> Self {
        let hash = match algorithm {
            Algorithm::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Algorithm::Sha256 => hmac::HMAC_SHA256,
        };
        Self { key: hmac::Key::new(hash, key), algorithm }
    }

    /// The attribute's type.
    #[must_use]
    pub fn attribute(&self) -> u16 {
        match self.algorithm {
            Algorithm::Sha1 => attribute::MESSAGE_INTEGRITY,
            Algorithm::Sha256 => attribute::MESSAGE_INTEGRITY_SHA256,
        }
    }

    /// Whether `value`, the value of the attribute at `offset`, is right. Takes equally long either way.
    #[must_use]
    pub fn check(&self, message: &Message<'_>, offset: usize, value: &[u8]) -> bool {
        let right_size = match self.algorithm {
            Algorithm::Sha1 => value.len() == 20,
            Algorithm::Sha256 => (16..=32).contains(&value.len()) && value.len().is_multiple_of(4),
        };
        let Some(covered) = message.as_bytes().get(..offset) else { return false };
        if !right_size {
            return false;
        }
        let tag = self.tag(covered, value.len());
        tag.as_ref().get(..value.len()).is_some_and(|tag| tag.ct_eq(value).into())
    }

    /// The tag over `covered`, a message up to the attribute, as if the message ended with a value of `size` bytes.
    pub(super) fn tag(&self, covered: &[u8], size: usize) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        if let Some((head, rest)) = covered.split_first_chunk::<4>() {
            let length = (covered.len() - super::HEADER.min(covered.len()) + 4 + size) as u16;
            let [c, d] = length.to_be_bytes();
            context.update(&[head[0], head[1], c, d]);
            context.update(rest);
        }
        context.sign()
    }
}
