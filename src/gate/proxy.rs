//! The header with which a load balancer says whom it speaks for (the PROXY protocol, version 2, as HAProxy's
//! `proxy-protocol.txt` has it). Version 1 is not spoken.

use std::io;
use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;

use crate::config::Cidr;

/// What every header begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family and transport, length of the rest.
const FIXED: usize = 16;

/// The longest header: addresses, and a few kilobytes of extensions (TLVs), which we skip.
const LONGEST: usize = FIXED + 4096;

/// What a header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Header {
    /// The balancer speaks for itself (LOCAL: a health check), or does not say for whom (AF_UNSPEC).
    Own,
    /// A client's connection, passed on.
    Proxied {
        /// The client.
        source: SocketAddr,
        /// Where the client connected to.
        destination: SocketAddr,
    },
}

/// How far some bytes have come to be a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Progress {
    /// At least this many bytes are missing, and belong to the header.
    Missing(usize),
    /// All of it is there.
    Whole(Header),
}

/// Not a header, or not one that can be believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Malformed;

/// Reads a header, and not a byte more.
///
/// # Errors
/// There is none, it is malformed, or the connection fails.
pub(super) async fn read<S: AsyncRead + Unpin>(socket: &mut S) -> io::Result<Header> {
    let mut bytes = Vec::with_capacity(FIXED + 36);
    loop {
        match parse(&bytes) {
            Ok(Progress::Whole(header)) => return Ok(header),
            Ok(Progress::Missing(missing)) => {
                if (&mut *socket).take(missing as u64).read_buf(&mut bytes).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Err(Malformed) => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Progress, Malformed> {
    // Whoever sends something else is not kept waiting for the rest.
    if bytes.iter().zip(SIGNATURE).any(|(is, should)| is != should) {
        return Err(Malformed);
    }
    let Some((&[version_command, family_transport, length @ ..], rest)) =
        bytes.get(SIGNATURE.len()..).and_then(<[u8]>::split_first_chunk::<4>)
    else {
        return Ok(Progress::Missing(FIXED.saturating_sub(bytes.len())));
    };
    let length = usize::from(u16::from_be_bytes(length));
    if FIXED + length > LONGEST {
        return Err(Malformed);
    }
    // A connection is a stream: datagrams are somebody else's, and UNIX sockets have no address to go by.
    let families: &[u8] = match version_command {
        // LOCAL: whatever the addresses are, they are to be ignored.
        0x20 => &[],
        0x21 => &[0x00, 0x11, 0x21],
        _ => return Err(Malformed),
    };
    if !families.is_empty() && !families.contains(&family_transport) {
        return Err(Malformed);
    }
    if rest.len() < length {
        return Ok(Progress::Missing(length - rest.len()));
    }
    let rest = rest.get(..length).ok_or(Malformed)?;
    let header = match family_transport {
        _ if families.is_empty() => Header::Own,
        0x11 => addresses::<4>(rest).ok_or(Malformed)?,
        0x21 => addresses::<16>(rest).ok_or(Malformed)?,
        _ => Header::Own,
    };
    Ok(Progress::Whole(header))
}

/// Source and destination address, then their ports.
fn addresses<const N: usize>(rest: &[u8]) -> Option<Header>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = rest.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk::<2>()?;
    let (destination_port, _) = rest.split_first_chunk::<2>()?;
    let at = |ip: &[u8; N], port: &[u8; 2]| {
        SocketAddr::new(IpAddr::from(*ip).to_canonical(), u16::from_be_bytes(*port))
    };
    Some(Header::Proxied { source: at(source, source_port), destination: at(destination, destination_port) })
}

/// Whether the address lies in one of the blocks. `address` is canonical.
pub(super) fn is_one_of(blocks: &[Cidr], address: IpAddr) -> bool {
    blocks.iter().any(|block| match (block.address, address) {
        (IpAddr::V4(first), IpAddr::V4(address)) => {
            let behind = 32u32.saturating_sub(block.prefix.into());
            (first.to_bits() ^ address.to_bits()).checked_shr(behind).unwrap_or(0) == 0
        }
        (IpAddr::V6(first), IpAddr::V6(address)) => {
            same_bits(first, address, 128u32.saturating_sub(block.prefix.into()))
        }
        // "::ffff:10.0.0.7" names an IPv4 address too.
        (IpAddr::V6(first), IpAddr::V4(address)) => {
            first.to_ipv4_mapped().is_some()
                && block.prefix >= 96
                && same_bits(first, address.to_ipv6_mapped(), 128u32.saturating_sub(block.prefix.into()))
        }
        (IpAddr::V4(_), IpAddr::V6(_)) => false,
    })
}

fn same_bits(one: Ipv6Addr, other: Ipv6Addr, behind: u32) -> bool {
    (one.to_bits() ^ other.to_bits()).checked_shr(behind).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A header of these bytes behind the signature, its length filled in.
    fn header(version_command: u8, family_transport: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[version_command, family_transport], &length, rest].concat()
    }

    fn v4() -> Vec<u8> {
        vec![192, 0, 2, 1, 198, 51, 100, 2, 0x30, 0x39, 0x01, 0xbb]
    }

    fn whole(bytes: &[u8]) -> Result<Header, Malformed> {
        match parse(bytes)? {
            Progress::Whole(header) => Ok(header),
            missing @ Progress::Missing(_) => panic!("{missing:?}"),
        }
    }

    #[test]
    fn a_clients_addresses_are_told_in_both_families() {
        let expected = Header::Proxied {
            source: "192.0.2.1:12345".parse().unwrap(),
            destination: "198.51.100.2:443".parse().unwrap(),
        };
        assert_eq!(whole(&header(0x21, 0x11, &v4())), Ok(expected));
        let (source, destination): (Ipv6Addr, Ipv6Addr) =
            ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        let rest =
            [&source.octets()[..], &destination.octets(), &[0x30, 0x39, 0x01, 0xbb], b"\x04\0\x01x"].concat();
        let expected = Header::Proxied {
            source: "[2001:db8::1]:12345".parse().unwrap(),
            destination: "[2001:db8::2]:443".parse().unwrap(),
        };
        assert_eq!(whole(&header(0x21, 0x21, &rest)), Ok(expected), "extensions are skipped");
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address() {
        let mapped: Ipv6Addr = "::ffff:192.0.2.1".parse().unwrap();
        let rest = [&mapped.octets()[..], &mapped.octets(), &[0, 1, 0, 2]].concat();
        let Ok(Header::Proxied { source, .. }) = whole(&header(0x21, 0x21, &rest)) else { panic!() };
        assert_eq!(source, "192.0.2.1:1".parse().unwrap());
    }

    #[test]
    fn health_checks_and_unknown_families_are_the_balancers_own() {
        for bytes in [
            header(0x20, 0x00, &[]),
            header(0x20, 0x11, &v4()),
            header(0x20, 0x31, &[0; 216]),
            header(0x21, 0x00, &[]),
            header(0x21, 0x00, &[1, 2, 3]),
        ] {
            assert_eq!(whole(&bytes), Ok(Header::Own), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused_at_its_first_wrong_byte() {
        let long = header(0x21, 0x11, &[0; 4097]);
        for bytes in [
            &b"PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\n"[..],
            b"P",
            b"\r\n\r\n\0\r\nQUIT\r",
            b"\x16\x03\x01",
            // Another version, another command.
            &header(0x11, 0x11, &v4()),
            &header(0x22, 0x11, &v4()),
            // Datagrams, UNIX sockets, families that do not exist.
            &header(0x21, 0x12, &v4()),
            &header(0x21, 0x31, &[0; 216]),
            &header(0x21, 0x41, &v4()),
            &header(0x21, 0x10, &v4()),
            // Too short for its addresses, and too long for us.
            &header(0x21, 0x11, &v4()[..11]),
            &header(0x21, 0x21, &v4()),
            &long[..20],
        ] {
            assert_eq!(parse(bytes), Err(Malformed), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn not_a_byte_behind_the_header_is_read() {
        let mut bytes = header(0x21, 0x11, &[&v4()[..], &[0; 100]].concat());
        bytes.extend(b"GET / HTTP/1.1");
        let mut rest = &bytes[..];
        assert!(matches!(read(&mut rest).await.unwrap(), Header::Proxied { .. }));
        assert_eq!(rest, b"GET / HTTP/1.1");
    }

    #[test]
    fn blocks_hold_their_addresses_and_no_others() {
        let block = |address: &str, prefix| Cidr { address: address.parse().unwrap(), prefix };
        for (block, inside, outside) in [
            (block("10.0.0.0", 8), "10.255.0.1", "11.0.0.1"),
            (block("10.0.0.7", 32), "10.0.0.7", "10.0.0.6"),
            (block("0.0.0.0", 0), "192.0.2.1", "2001:db8::1"),
            (block("2001:db8::", 32), "2001:db8:ffff::1", "2001:db9::1"),
            (block("::", 0), "2001:db8::1", "192.0.2.1"),
            (block("::ffff:10.0.0.0", 104), "10.1.2.3", "11.1.2.3"),
            (block("::1", 128), "::1", "::2"),
        ] {
            assert!(is_one_of(&[block], inside.parse().unwrap()), "{block} {inside}");
            assert!(!is_one_of(&[block], outside.parse().unwrap()), "{block} {outside}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), signed: bool) {
            let bytes = if signed { [&SIGNATURE[..], &bytes].concat() } else { bytes };
            // What is missing is never nothing: the reader would take it for the end.
            prop_assert_ne!(parse(&bytes), Ok(Progress::Missing(0)));
        }

        #[test]
        fn a_header_that_comes_in_pieces_asks_for_exactly_what_is_missing(
            rest in prop::collection::vec(any::<u8>(), 36..300), v6: bool, cut in 0usize..300
        ) {
            let bytes = header(0x21, if v6 { 0x21 } else { 0x11 }, &rest);
            let cut = cut.min(bytes.len() - 1);
            let Ok(Progress::Missing(missing)) = parse(&bytes[..cut]) else { panic!("whole at {cut}") };
            prop_assert!(cut + missing <= bytes.len());
            let whole = matches!(parse(&bytes), Ok(Progress::Whole(Header::Proxied { .. })));
            prop_assert!(whole);
        }
    }
}
