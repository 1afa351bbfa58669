//! The addresses for NAT behaviour discovery (RFC 5780, section 6): two IP addresses with the same two ports on each.

use std::net::{IpAddr, SocketAddr};

use super::family::Family;

/// CHANGE-REQUEST's flags (RFC 5780, section 7.2).
const CHANGE_IP: u32 = 4;
const CHANGE_PORT: u32 = 2;

/// Two addresses, two ports, and a socket for each of the four ways to put them together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Square {
    ips: [IpAddr; 2],
    ports: [u16; 2],
}

impl Square {
    /// Where the answer to a request that came to `server` leaves from (RFC 5780, table 1).
    pub(super) fn origin(&self, server: SocketAddr, change: u32) -> SocketAddr {
        let ip = if change & CHANGE_IP == 0 { server.ip() } else { other(self.ips, server.ip()) };
        let port = if change & CHANGE_PORT == 0 { server.port() } else { other(self.ports, server.port()) };
        SocketAddr::new(ip, port)
    }

    /// OTHER-ADDRESS for who sent to `server`.
    pub(super) fn other(&self, server: SocketAddr) -> SocketAddr {
        self.origin(server, CHANGE_IP | CHANGE_PORT)
    }
}

fn other<T: Copy + PartialEq>(both: [T; 2], one: T) -> T {
    if both[0] == one { both[1] } else { both[0] }
}

/// What there is for each family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Discovery([Option<Square>; 2]);

impl Discovery {
    /// Looks whether the listening addresses of a family are just such four. A wildcard, or a fifth, is none: nobody
    /// meant them for this.
    pub(super) fn new(listening: &[SocketAddr]) -> Self {
        Self(Family::BOTH.map(|family| {
            let of_family = || listening.iter().filter(|address| Family::of(address.ip()) == family);
            let [ip, other_ip] = two(of_family().map(SocketAddr::ip))?;
            let [port, other_port] = two(of_family().map(SocketAddr::port))?;
            let square = Square { ips: [ip, other_ip], ports: [port, other_port] };
            let corners = [ip, other_ip]
                .into_iter()
                .flat_map(|ip| [port, other_port].map(|port| SocketAddr::new(ip, port)));
            let concrete = !ip.is_unspecified() && !other_ip.is_unspecified();
            (concrete && corners.into_iter().all(|corner| listening.contains(&corner))).then_some(square)
        }))
    }

    /// The square that `server` is a corner of.
    pub(super) fn at(&self, server: SocketAddr) -> Option<Square> {
        let square = self.0[Family::of(server.ip()).index()]?;
        (square.ips.contains(&server.ip()) && square.ports.contains(&server.port())).then_some(square)
    }
}

/// The two values that come, if two it is.
fn two<T: Copy + PartialEq>(values: impl Iterator<Item = T>) -> Option<[T; 2]> {
    let mut found = (None, None);
    for value in values {
        match found {
            (None, _) => found.0 = Some(value),
            (Some(first), _) if first == value => {}
            (_, None) => found.1 = Some(value),
            (_, Some(second)) if second == value => {}
            _ => return None,
        }
    }
    Some([found.0?, found.1?])
}
