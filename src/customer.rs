//! Who is behind an address, as far as limits go.

use std::net::IpAddr;
use std::net::Ipv6Addr;

/// One customer: an IPv4 address, or an IPv6 /64, for whoever has one address of it has them all. Loopback is a reverse proxy's
/// address, and so everybody's: none.
#[must_use]
pub fn customer(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        address if address.is_loopback() => None,
        IpAddr::V6(v6) => Some(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into()),
        v4 => Some(v4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_64_is_one_customer_and_loopback_none() {
        let of = |text: &str| customer(text.parse().unwrap()).map(|ip| ip.to_string());
        assert_eq!(of("192.0.2.1").as_deref(), Some("192.0.2.1"));
        assert_eq!(of("::ffff:192.0.2.1").as_deref(), Some("192.0.2.1"));
        assert_eq!(of("2001:db8::1:2:3:4").as_deref(), Some("2001:db8::"));
        for loopback in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.9"] {
            assert_eq!(of(loopback), None, "{loopback}");
        }
    }
}
