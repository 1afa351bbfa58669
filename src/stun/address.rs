//! XOR-MAPPED-ADDRESS and its relatives (RFC 8489, section 14.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::MAGIC_COOKIE;
use super::message::TransactionId;

/// The longest encoded address: 4 bytes and an IPv6 address.
pub const LONGEST: usize = 20;

/// Reads the value of an XORed address attribute; `None`: not 8 or 20 bytes of a family that is known.
#[must_use]
pub fn decode(value: &[u8], transaction: &TransactionId) -> Option<SocketAddr> {
    let (head, ip) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([head[2], head[3]]) ^ (MAGIC_COOKIE >> 16) as u16;
    let ip = match head[1] {
        1 => {
            let bits = u32::from_be_bytes(ip.try_into().ok()?);
            IpAddr::V4(Ipv4Addr::from_bits(bits ^ MAGIC_COOKIE))
        }
        2 => {
            let bits = u128::from_be_bytes(ip.try_into().ok()?);
            IpAddr::V6(Ipv6Addr::from_bits(bits ^ mask(transaction)))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Writes the value of an XORed address attribute; only the first `usize` bytes count (8 or 20).
#[must_use]
pub fn encode(address: SocketAddr, transaction: &TransactionId) -> ([u8; LONGEST], usize) {
    let mut value = [0; LONGEST];
    let port = address.port() ^ (MAGIC_COOKIE >> 16) as u16;
    value[2..4].copy_from_slice(&port.to_be_bytes());
    match address.ip() {
        IpAddr::V4(ip) => {
            value[1] = 1;
            value[4..8].copy_from_slice(&(ip.to_bits() ^ MAGIC_COOKIE).to_be_bytes());
            (value, 8)
        }
        IpAddr::V6(ip) => {
            value[1] = 2;
            value[4..].copy_from_slice(&(ip.to_bits() ^ mask(transaction)).to_be_bytes());
            (value, LONGEST)
        }
    }
}

/// Writes the value of an address attribute that is not XORed: MAPPED-ADDRESS and its relatives (RFC 8489, section 14.1).
/// Only the first `usize` bytes count (8 or 20).
#[must_use]
pub fn plain(address: SocketAddr) -> ([u8; LONGEST], usize) {
    let mut value = [0; LONGEST];
    value[2..4].copy_from_slice(&address.port().to_be_bytes());
    match address.ip() {
        IpAddr::V4(ip) => {
            value[1] = 1;
            value[4..8].copy_from_slice(&ip.octets());
            (value, 8)
        }
        IpAddr::V6(ip) => {
            value[1] = 2;
            value[4..].copy_from_slice(&ip.octets());
            (value, LONGEST)
        }
    }
}

/// The magic cookie and the transaction id, one after the other.
fn mask(transaction: &TransactionId) -> u128 {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
    mask[4..].copy_from_slice(transaction);
    u128::from_be_bytes(mask)
}
