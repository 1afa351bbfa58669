//! The two address families.

use std::net::IpAddr;

/// IPv4 or IPv6, with the numbers of REQUESTED-ADDRESS-FAMILY (RFC 8656, section 18.6).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Family {
    V4 = 0,
    V6 = 1,
}

impl Family {
    pub(super) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(super) fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    pub(super) fn from_wire(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::V4),
            2 => Some(Self::V6),
            _ => None,
        }
    }

    pub(super) fn wire(self) -> u8 {
        self as u8 + 1
    }

    pub(super) fn index(self) -> usize {
        self as usize
    }
}
