//! Which peers a relay may talk to. Addresses are canonicalised first, so that no spelling of a private address
//! (IPv4-mapped, NAT64, 6to4, Teredo, …) gets past a list that names the plain one.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use smallvec::SmallVec;

/// A block of addresses of one family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cidr {
    network: u128,
    mask: u128,
    v6: bool,
    prefix: u8,
}

impl Cidr {
    /// `ip/prefix`; `None` if the prefix is longer than the address. Bits behind the prefix are ignored.
    #[must_use]
    pub const fn new(ip: IpAddr, prefix: u8) -> Option<Self> {
        let (bits, width, v6) = match ip {
            IpAddr::V4(ip) => ((ip.to_bits() as u128) << 96, 32, false),
            IpAddr::V6(ip) => (ip.to_bits(), 128, true),
        };
        if prefix > width {
            return None;
        }
        let mask = if prefix == 0 { 0 } else { u128::MAX << (128 - prefix as u32) };
        Some(Self { network: bits & mask, mask, v6, prefix })
    }

    const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Self {
        match Self::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix) {
            Some(cidr) => cidr,
            None => Self { network: 0, mask: 0, v6: false, prefix: 0 },
        }
    }

    const fn v6(bits: u128, prefix: u8) -> Self {
        match Self::new(IpAddr::V6(Ipv6Addr::from_bits(bits)), prefix) {
            Some(cidr) => cidr,
            None => Self { network: 0, mask: 0, v6: true, prefix: 0 },
        }
    }

    /// Whether the address lies within; never, if it is of the other family.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => !self.v6 && u128::from(ip.to_bits()) << 96 & self.mask == self.network,
            IpAddr::V6(ip) => self.v6 && ip.to_bits() & self.mask == self.network,
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ip = if self.v6 {
            IpAddr::V6(Ipv6Addr::from_bits(self.network))
        } else {
            IpAddr::V4(Ipv4Addr::from_bits((self.network >> 96) as u32))
        };
        write!(f, "{ip}/{}", self.prefix)
    }
}

/// Not an address, or not `address/prefix`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not an address block such as 10.0.0.0/8 or 2001:db8::/32")]
pub struct NotACidr;

impl FromStr for Cidr {
    type Err = NotACidr;
    fn from_str(text: &str) -> Result<Self, NotACidr> {
        let (ip, prefix) = match text.split_once('/') {
            Some((ip, prefix)) => (ip, Some(prefix.parse().map_err(|_| NotACidr)?)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| NotACidr)?;
        let whole = if ip.is_ipv4() { 32 } else { 128 };
        Self::new(ip, prefix.unwrap_or(whole)).ok_or(NotACidr)
    }
}

/// What is never a peer unless the operator says so (IANA's special-purpose registries).
const DENIED: &[Cidr] = &[
    Cidr::v4(0, 0, 0, 0, 8),             // "this" network, unspecified
    Cidr::v4(10, 0, 0, 0, 8),            // private
    Cidr::v4(100, 64, 0, 0, 10),         // carrier-grade NAT
    Cidr::v4(127, 0, 0, 0, 8),           // loopback
    Cidr::v4(169, 254, 0, 0, 16),        // link-local, cloud metadata
    Cidr::v4(172, 16, 0, 0, 12),         // private
    Cidr::v4(192, 0, 0, 0, 24),          // protocol assignments
    Cidr::v4(192, 0, 2, 0, 24),          // documentation
    Cidr::v4(192, 88, 99, 0, 24),        // 6to4 relays, withdrawn
    Cidr::v4(192, 168, 0, 0, 16),        // private
    Cidr::v4(198, 18, 0, 0, 15),         // benchmarking
    Cidr::v4(198, 51, 100, 0, 24),       // documentation
    Cidr::v4(203, 0, 113, 0, 24),        // documentation
    Cidr::v4(224, 0, 0, 0, 4),           // multicast
    Cidr::v4(240, 0, 0, 0, 4),           // reserved, broadcast
    Cidr::v6(0, 96),                     // unspecified, loopback, IPv4-compatible
    Cidr::v6(0xffff_0000_0000_0000, 96), // IPv4-translated (SIIT)
    Cidr::v6(0x0100 << 112, 64),         // discard only
    Cidr::v6(0x2001_0002 << 96, 48),     // benchmarking
    Cidr::v6(0x2001_0db8 << 96, 32),     // documentation
    Cidr::v6(0x3fff << 112, 20),         // documentation
    Cidr::v6(0x5f00 << 112, 16),         // segment routing
    Cidr::v6(0xfc00 << 112, 7),          // unique local
    Cidr::v6(0xfe80 << 112, 10),         // link-local
    Cidr::v6(0xfec0 << 112, 10),         // site-local
    Cidr::v6(0xff00 << 112, 8),          // multicast
];

/// The operator's word on top of the built-in deny list: `deny` above all, then `allow`, then the list.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct PeerPolicy {
    /// Blocks allowed although the built-in list denies them.
    pub allow: Vec<Cidr>,
    /// Blocks denied whatever else is said.
    pub deny: Vec<Cidr>,
}

impl PeerPolicy {
    /// Whether an allocation may talk to `ip`. An address that carries another within it must pass with both.
    #[must_use]
    pub fn allows(&self, ip: IpAddr) -> bool {
        // IPv4-mapped addresses never are on the wire (RFC 4291, section 2.5.5.2).
        let is_mapped = matches!(ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some());
        !is_mapped && spellings(ip).iter().all(|&ip| self.allows_as_written(ip))
    }

    /// Whether the operator named `ip` in the allow list, and denied it nowhere.
    #[must_use]
    pub fn names(&self, ip: IpAddr) -> bool {
        self.allow.iter().any(|cidr| cidr.contains(ip)) && self.allows(ip)
    }

    fn allows_as_written(&self, ip: IpAddr) -> bool {
        let within = |list: &[Cidr]| list.iter().any(|cidr| cidr.contains(ip));
        !within(&self.deny) && (within(&self.allow) || !within(DENIED))
    }
}

/// The address itself and the IPv4 addresses that hide in it.
pub(super) fn spellings(ip: IpAddr) -> SmallVec<[IpAddr; 3]> {
    let mut found = SmallVec::new();
    found.push(ip);
    let IpAddr::V6(v6) = ip else { return found };
    let bits = v6.to_bits();
    let embedded = |shift: u32| IpAddr::V4(Ipv4Addr::from_bits((bits >> shift) as u32));
    const NAT64: Cidr = Cidr::v6(0x0064_ff9b << 96, 96);
    const NAT64_LOCAL: Cidr = Cidr::v6(0x0064_ff9b_0001 << 80, 48);
    const SIX_TO_FOUR: Cidr = Cidr::v6(0x2002 << 112, 16);
    const TEREDO: Cidr = Cidr::v6(0x2001 << 112, 32);
    const COMPATIBLE: Cidr = Cidr::v6(0, 96);
    const TRANSLATED: Cidr = Cidr::v6(0xffff_0000_0000_0000, 96);
    // :: and ::1 are themselves, not spellings of 0.0.0.0 and 0.0.0.1.
    if NAT64.contains(ip) || COMPATIBLE.contains(ip) && bits > 1 || TRANSLATED.contains(ip) {
        found.push(embedded(0));
    } else if NAT64_LOCAL.contains(ip) {
        // RFC 8215 leaves the prefix length within the /48 open: RFC 6052's /48, /56, /64 and /96 forms.
        found.push(embedded(0));
        found.push(split_over_u_octet(bits, 48));
        found.push(split_over_u_octet(bits, 56));
        found.push(split_over_u_octet(bits, 64));
    } else if SIX_TO_FOUR.contains(ip) {
        found.push(embedded(80));
    } else if TEREDO.contains(ip) {
        found.push(embedded(64)); // the Teredo server
        found.push(IpAddr::V4(Ipv4Addr::from_bits(!(bits as u32)))); // the client, inverted
    }
    // ISATAP has any prefix (RFC 5214, section 6.1).
    if matches!((bits >> 32) as u32, 0x0000_5efe | 0x0200_5efe) {
        found.push(embedded(0));
    }
    found
}

/// The IPv4 address behind a NAT64 prefix of `prefix` bits, which skips bits 64 to 71 (RFC 6052, section 2.2).
fn split_over_u_octet(bits: u128, prefix: u32) -> IpAddr {
    let upper = bits >> 64; // the first 64 bits
    let lower = bits & ((1 << 56) - 1); // what follows the "u" octet
    let joined = upper << 56 | lower; // 120 bits, the address at `prefix`
    IpAddr::V4(Ipv4Addr::from_bits((joined >> (120 - prefix - 32)) as u32))
}
