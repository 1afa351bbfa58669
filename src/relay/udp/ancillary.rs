//! What goes along with a datagram through a system call, as bytes in the kernel's layout: its address and its control
//! messages. Written and read without pointers.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::net::SocketAddrV4;
use std::net::SocketAddrV6;

const FAMILY_V4: [u8; 2] = (libc::AF_INET as u16).to_ne_bytes();
const FAMILY_V6: [u8; 2] = (libc::AF_INET6 as u16).to_ne_bytes();

/// A `sockaddr_in` or `sockaddr_in6`.
#[repr(C, align(8))]
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Name([u8; Name::SIZE]);

impl Name {
    /// Bytes of the longer of the two.
    pub(super) const SIZE: usize = size_of::<libc::sockaddr_in6>();

    /// Takes on an address; returns how many bytes of it count.
    pub(super) fn write(&mut self, address: SocketAddr) -> libc::socklen_t {
        self.0[2..4].copy_from_slice(&address.port().to_be_bytes());
        self.0[4..8].fill(0);
        match address {
            SocketAddr::V4(address) => {
                self.0[..2].copy_from_slice(&FAMILY_V4);
                self.0[4..8].copy_from_slice(&address.ip().octets());
                self.0[8..16].fill(0);
                size_of::<libc::sockaddr_in>() as libc::socklen_t
            }
            SocketAddr::V6(address) => {
                self.0[..2].copy_from_slice(&FAMILY_V6);
                self.0[8..24].copy_from_slice(&address.ip().octets());
                self.0[24..28].copy_from_slice(&address.scope_id().to_ne_bytes());
                Name::SIZE as libc::socklen_t
            }
        }
    }

    /// The address, if it is one of these two families. Never IPv4-mapped on our sockets, as those of IPv6 are V6ONLY.
    pub(super) fn read(&self) -> Option<SocketAddr> {
        let port = u16::from_be_bytes([self.0[2], self.0[3]]);
        if self.0[..2] == FAMILY_V4 {
            let ip = Ipv4Addr::from(array::<4>(&self.0, 4)?);
            Some(SocketAddr::V4(SocketAddrV4::new(ip, port)))
        } else if self.0[..2] == FAMILY_V6 {
            let ip = Ipv6Addr::from(array::<16>(&self.0, 8)?);
            let scope = u32::from_ne_bytes(array(&self.0, 24)?);
            Some(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope)))
        } else {
            None
        }
    }
}

/// Room for control messages, aligned for their headers: both of the longest that a datagram has (`in6_pktinfo` and a
/// segment size), or an extended error with an address.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub(super) struct Control([u8; Control::SIZE]);

/// `cmsghdr`: length (header included), level, type.
const HEADER: usize = size_of::<libc::cmsghdr>();
const WORD: usize = size_of::<usize>();

impl Control {
    /// Bytes of room.
    pub(super) const SIZE: usize = 128;

    pub(super) fn new() -> Self {
        Self([0; Self::SIZE])
    }

    /// The control messages of a send, source address and segment size; returns how many bytes they take.
    pub(super) fn write(&mut self, source: Option<IpAddr>, segment: Option<u16>) -> usize {
        let mut used = 0;
        match source {
            Some(IpAddr::V4(ip)) => {
                // struct in_pktinfo: interface (any), source address, a field that sends ignore.
                let mut info = [0; 12];
                info[4..8].copy_from_slice(&ip.octets());
                self.push(&mut used, libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            Some(IpAddr::V6(ip)) => {
                // struct in6_pktinfo: source address, interface (any).
                let mut info = [0; 20];
                info[..16].copy_from_slice(&ip.octets());
                self.push(&mut used, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
            None => {}
        }
        if let Some(segment) = segment {
            self.push(&mut used, libc::SOL_UDP, libc::UDP_SEGMENT, &segment.to_ne_bytes());
        }
        used
    }

    fn push(&mut self, used: &mut usize, level: i32, kind: i32, value: &[u8]) {
        let at = *used;
        self.0[at..at + WORD].copy_from_slice(&(HEADER + value.len()).to_ne_bytes());
        self.0[at + WORD..at + WORD + 4].copy_from_slice(&level.to_ne_bytes());
        self.0[at + WORD + 4..at + WORD + 8].copy_from_slice(&kind.to_ne_bytes());
        self.0[at + HEADER..at + HEADER + value.len()].copy_from_slice(value);
        *used = at + HEADER + value.len().next_multiple_of(WORD);
    }

    /// Of a received datagram, the first `used` bytes being the kernel's.
    pub(super) fn received(&self, used: usize) -> Received {
        let mut received = Received::default();
        self.each(used, |level, kind, value| match (level, kind) {
            (libc::SOL_UDP, libc::UDP_GRO) => {
                let segment = array(value, 0).map(i32::from_ne_bytes);
                received.segment = segment.and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0);
            }
            // struct in_pktinfo: interface, local address, destination in the header.
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                received.to = array::<4>(value, 8).map(IpAddr::from);
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                received.to = array::<16>(value, 0).map(IpAddr::from);
            }
            _ => {}
        });
        received
    }

    /// Of an entry of the error queue.
    pub(super) fn extended_error(&self, used: usize) -> Option<ExtendedError> {
        let mut found = None;
        self.each(used, |level, kind, value| {
            let v4 = (level, kind) == (libc::IPPROTO_IP, libc::IP_RECVERR);
            let v6 = (level, kind) == (libc::IPPROTO_IPV6, libc::IPV6_RECVERR);
            // struct sock_extended_err: errno, origin, type, code, padding, info, data.
            if let (true, Some(errno), Some([origin, kind, code, _]), Some(info)) =
                (v4 || v6, array(value, 0), array(value, 4), array(value, 8))
            {
                let (errno, info) = (i32::from_ne_bytes(errno), u32::from_ne_bytes(info));
                found = Some(ExtendedError { errno, origin, kind, code, info });
            }
        });
        found
    }

    fn each(&self, used: usize, mut visit: impl FnMut(i32, i32, &[u8])) {
        let mut rest = &self.0[..used.min(Self::SIZE)];
        while let (Some(length), Some(level), Some(kind)) =
            (array(rest, 0), array(rest, WORD), array(rest, WORD + 4))
        {
            let length = usize::from_ne_bytes(length);
            let Some(value) = rest.get(HEADER..length) else { return };
            visit(i32::from_ne_bytes(level), i32::from_ne_bytes(kind), value);
            rest = rest.get(length.next_multiple_of(WORD)..).unwrap_or_default();
        }
    }
}

/// What the kernel tells about a received datagram.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Received {
    /// Bytes of each datagram of a train; `None`: one datagram.
    pub(super) segment: Option<usize>,
    /// The local address it was sent to.
    pub(super) to: Option<IpAddr>,
}

/// A `sock_extended_err`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ExtendedError {
    pub(super) errno: i32,
    pub(super) origin: u8,
    pub(super) kind: u8,
    pub(super) code: u8,
    pub(super) info: u32,
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_way_through_a_name() {
        let v6 = SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 3478, 0, 7));
        for address in ["192.0.2.1:1".parse().unwrap(), "[2001:db8::1]:65535".parse().unwrap(), v6] {
            let mut name = Name::default();
            name.write(v6);
            name.write(address);
            assert_eq!(name.read(), Some(address));
        }
        assert_eq!(Name::default().read(), None);
    }

    #[test]
    fn the_layout_is_the_one_of_the_c_macros() {
        assert_eq!(HEADER, 2 * WORD.max(8));
        let mut control = Control::new();
        let used = control.write(Some(Ipv6Addr::LOCALHOST.into()), Some(1200));
        assert_eq!(used, 40 + 24);
        assert_eq!(control.received(used).to, Some(Ipv6Addr::LOCALHOST.into()));
    }

    #[test]
    fn cut_or_lying_control_messages_are_not_followed() {
        let mut control = Control::new();
        let used = control.write(Some(Ipv4Addr::LOCALHOST.into()), Some(1200));
        for cut in 0..used {
            control.received(cut);
            control.extended_error(cut);
        }
        control.0[..WORD].copy_from_slice(&usize::MAX.to_ne_bytes());
        assert_eq!(control.received(used), Received::default());
        control.0[..WORD].copy_from_slice(&0usize.to_ne_bytes());
        assert_eq!(control.received(used), Received::default());
    }
}
