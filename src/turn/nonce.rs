//! Nonces that need no memory: the second they were made in, and a tag over it and the five-tuple. In front, for clients
//! that know RFC 8489, what the server can do (section 9.2, "nonce cookie").

use std::net::{IpAddr, SocketAddr};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use ring::hmac;
use subtle::ConstantTimeEq;

use super::route::{FiveTuple, Transport};

/// Seconds a nonce is good for (RFC 8656, section 5, wants at most an hour).
const LIFETIME: i64 = 3600;

/// Seconds another shard's clock may be ahead.
const SKEW: i64 = 60;

/// What a nonce starts with that tells of security features.
const COOKIE: &[u8; 9] = b"obMatJos2";

/// The cookie and four characters of base64 with the features.
const HEAD: usize = COOKIE.len() + 4;

/// Three bytes of time and eight of tag, as base64.
const BODY: usize = 15;

/// Bytes of the longest nonce.
pub(super) const LONGEST: usize = HEAD + BODY;

/// Bytes of a nonce with these features.
pub(super) fn length(features: Option<Features>) -> usize {
    if features.is_some() { LONGEST } else { BODY }
}

/// Security features (RFC 8489, section 18.1). Bit 0 is the rightmost of 24, as the errata have it and the sample in appendix B.1.
pub(super) type Features = u32;

/// There is a PASSWORD-ALGORITHMS.
pub(super) const PASSWORD_ALGORITHMS: Features = 1;

/// USERHASH may be sent instead of USERNAME.
pub(super) const USERNAME_ANONYMITY: Features = 2;

/// A nonce with a cookie, or its body alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nonce {
    bytes: [u8; LONGEST],
    has_cookie: bool,
}

impl Nonce {
    pub(super) fn as_bytes(&self) -> &[u8] {
        if self.has_cookie { &self.bytes } else { &self.bytes[HEAD..] }
    }
}

/// The features that a nonce speaks of, whoever made it; `None`: it has no cookie.
pub(super) fn features(nonce: &[u8]) -> Option<Features> {
    let features = nonce.strip_prefix(COOKIE)?.get(..4)?;
    let mut bytes = [0; 4];
    let decoded = BASE64_STANDARD_NO_PAD.decode_slice(features, &mut bytes[1..]).ok()?;
    (decoded == 3).then_some(u32::from_be_bytes(bytes))
}

/// Makes and checks nonces.
#[derive(Debug)]
pub(super) struct Nonces {
    key: hmac::Key,
}

impl Nonces {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key) }
    }

    /// A nonce for the client of this five-tuple, made at `wall` seconds since 1970. Without features it has no cookie.
    pub(super) fn issue(&self, from: &FiveTuple, wall: u64, features: Option<Features>) -> Nonce {
        let mut nonce = Nonce { bytes: [0; LONGEST], has_cookie: features.is_some() };
        let (head, body) = nonce.bytes.split_at_mut(HEAD);
        if let Some(features) = features {
            head[..COOKIE.len()].copy_from_slice(COOKIE);
            let bits = &features.to_be_bytes()[1..];
            // Three bytes are four characters.
            let _ = BASE64_STANDARD_NO_PAD.encode_slice(bits, &mut head[COOKIE.len()..]);
        }
        body.copy_from_slice(&self.body(from, wall, features));
        nonce
    }

    /// Whether `nonce` was made for this five-tuple, and not too long before `wall`.
    pub(super) fn is_fresh(&self, nonce: &[u8], from: &FiveTuple, wall: u64) -> bool {
        let features = features(nonce);
        let body = if features.is_some() { nonce.get(HEAD..) } else { Some(nonce) };
        let Some(body) = body.filter(|body| body.len() == BODY) else { return false };
        let mut made = [0; 4];
        if BASE64_URL_SAFE_NO_PAD.decode_slice(&body[..4], &mut made[1..]) != Ok(3) {
            return false;
        }
        // The seconds are cut to 24 bits, half a year; the tag covers them all.
        let age = (wall as u32).wrapping_sub(u32::from_be_bytes(made)) << 8;
        let age = i64::from(age.cast_signed() >> 8);
        if !(-SKEW..LIFETIME).contains(&age) {
            return false;
        }
        let made = wall.wrapping_add_signed(-age);
        self.body(from, made, features).ct_eq(body).into()
    }

    fn body(&self, from: &FiveTuple, made: u64, features: Option<Features>) -> [u8; BODY] {
        let mut context = hmac::Context::with_key(&self.key);
        for address in [from.client, from.server] {
            context.update(&octets(address));
        }
        let transport = match from.transport {
            Transport::Udp => 0,
            Transport::Tcp(_) => 1,
            Transport::Tls(_) => 2,
        };
        context.update(&[transport]);
        context.update(&made.to_be_bytes());
        // A stranger on the way cannot take the features out of a nonce, nor its cookie.
        context.update(&features.unwrap_or(u32::MAX).to_be_bytes());
        let mut bytes = [0; 11];
        bytes[..3].copy_from_slice(&made.to_be_bytes()[5..]);
        bytes[3..].copy_from_slice(&context.sign().as_ref()[..8]);
        let mut body = [0; BODY];
        // Eleven bytes are fifteen characters.
        let _ = BASE64_URL_SAFE_NO_PAD.encode_slice(bytes, &mut body);
        body
    }
}

fn octets(address: SocketAddr) -> [u8; 18] {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut octets = [0; 18];
    octets[..16].copy_from_slice(&ip.octets());
    octets[16..].copy_from_slice(&address.port().to_be_bytes());
    octets
}
