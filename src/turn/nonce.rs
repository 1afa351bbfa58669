//! Nonces that need no memory: the second they were made in, and a tag over it and the client's address.

use std::net::SocketAddr;

use ring::hmac;
use subtle::ConstantTimeEq;

/// Seconds a nonce is good for (RFC 8656, section 5, wants at most an hour).
const LIFETIME: u64 = 3600;

/// Seconds another shard's clock may be ahead.
const SKEW: u64 = 60;

/// Eight hex digits of time and 24 of tag.
pub(super) type Nonce = [u8; 32];

/// Makes and checks nonces.
#[derive(Debug)]
pub(super) struct Nonces {
    key: hmac::Key,
}

impl Nonces {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key) }
    }

    /// A nonce for `client`, made at `wall` seconds since 1970.
    pub(super) fn issue(&self, client: SocketAddr, wall: u64) -> Nonce {
        let made = wall as u32;
        let mut nonce = [0; 32];
        let tag = self.tag(client, made);
        hex(&made.to_be_bytes(), &mut nonce[..8]);
        hex(&tag.as_ref()[..12], &mut nonce[8..]);
        nonce
    }

    /// Whether `nonce` was made for `client`, and not too long before `wall`.
    pub(super) fn is_fresh(&self, nonce: &[u8], client: SocketAddr, wall: u64) -> bool {
        let Some(made) = nonce
            .get(..8)
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        else {
            return false;
        };
        let age = i64::from((wall as u32).wrapping_sub(made) as i32);
        if age < -(SKEW as i64) || age >= LIFETIME as i64 {
            return false;
        }
        let mut tag = [0; 24];
        hex(&self.tag(client, made).as_ref()[..12], &mut tag);
        nonce.get(8..).is_some_and(|theirs| theirs.ct_eq(&tag).into())
    }

    fn tag(&self, client: SocketAddr, made: u32) -> hmac::Tag {
        let mut text = [0; 22];
        let ip = match client.ip() {
            std::net::IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            std::net::IpAddr::V6(ip) => ip,
        };
        text[..16].copy_from_slice(&ip.octets());
        text[16..18].copy_from_slice(&client.port().to_be_bytes());
        text[18..].copy_from_slice(&made.to_be_bytes());
        hmac::sign(&self.key, &text)
    }
}

fn hex(bytes: &[u8], out: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, out) in bytes.iter().zip(out.chunks_exact_mut(2)) {
        out[0] = DIGITS[usize::from(byte >> 4)];
        out[1] = DIGITS[usize::from(byte & 15)];
    }
}
