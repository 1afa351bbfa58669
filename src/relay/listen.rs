//! The client-facing sockets: one per listen address and shard, on the same port.

use std::io;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;

use super::holder;
use super::steer;
use super::udp::Socket;

/// How often another free port is tried where one must be free for several addresses.
const TRIES: usize = 32;

/// Why the relay did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Somebody else has the address.
    #[error("UDP address {address} is in use{}", holder.as_ref().map(|h| format!(" by {h}")).unwrap_or_default())]
    Busy {
        /// The address asked for.
        address: SocketAddr,
        /// Name and process id of who has it, where this process may know.
        holder: Option<String>,
    },
    /// The address cannot be had for another reason.
    #[error("cannot listen on UDP address {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// There is nothing to listen on.
    #[error("no UDP address to listen on")]
    NoAddress,
    /// Too few relay ports.
    #[error(
        "relay ports {first}-{last} are too few for {shards} workers: each needs a pair that starts even"
    )]
    TooFewPorts {
        /// The first of them.
        first: u16,
        /// The last of them.
        last: u16,
        /// How many shards were asked for.
        shards: usize,
    },
    /// The system refused a thread, a descriptor or random bytes.
    #[error("cannot start the relay: {0}")]
    System(#[from] io::Error),
}

/// One set of sockets for each of `shards`, all sets on the same addresses, in the same order.
///
/// The wildcard `[::]` means both families, by two sockets. Port 0 stands for one port that is free on every address that
/// asks for it.
pub(super) fn open(listen: &[SocketAddr], shards: usize) -> Result<Vec<Vec<Socket>>, StartError> {
    let wanted = expand(listen);
    if wanted.is_empty() {
        return Err(StartError::NoAddress);
    }
    let addresses = settle(&wanted)?;
    let one_set = |_| {
        let socket = |&address| Socket::listener(address, false).map_err(|error| describe(address, error));
        addresses.iter().map(socket).collect::<Result<Vec<_>, _>>()
    };
    let sets = (0..shards).map(one_set).collect::<Result<Vec<_>, _>>()?;
    if let ([first, _, ..], Ok(count)) = (sets.as_slice(), u32::try_from(shards)) {
        for socket in first {
            let program = steer::by_client(socket.local().is_ipv6(), count);
            // Kernels before 4.5, and sandboxes that have no BPF: then the kernel's own choice has to do.
            if let Err(error) = socket.steer(&program) {
                tracing::warn!(%error, "clients cannot be kept to one worker: limits for an address hold for each worker");
            }
        }
    }
    Ok(sets)
}

/// An address to listen on, and whether it may be missing: a host without IPv6 is none to fail on for `[::]`.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Wanted {
    address: SocketAddr,
    optional: bool,
}

fn expand(listen: &[SocketAddr]) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = Vec::new();
    let mut add = |address: SocketAddr, optional| {
        if !wanted.iter().any(|w| w.address == address) {
            wanted.push(Wanted { address, optional });
        }
    };
    for &address in listen {
        if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
            add(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()), true);
            add(address, true);
        } else {
            add(address, false);
        }
    }
    wanted
}

/// Finds ports for those that ask for any, and makes sure that nobody else has the addresses: with SO_REUSEPORT, a second
/// daemon of the same user would otherwise share them silently.
fn settle(wanted: &[Wanted]) -> Result<Vec<SocketAddr>, StartError> {
    for _ in 0..TRIES {
        let mut found: Option<u16> = None;
        let mut held = Vec::new();
        let mut again = false;
        for want in wanted {
            let mut address = want.address;
            if address.port() == 0 {
                address.set_port(found.unwrap_or(0));
            }
            match Socket::listener(address, true) {
                Ok(socket) => {
                    if want.address.port() == 0 {
                        found = Some(socket.local().port());
                    }
                    held.push(socket);
                }
                Err(error) if want.optional && no_such_family(&error) => {}
                Err(error) => {
                    again = want.address.port() == 0
                        && found.is_some()
                        && error.kind() == io::ErrorKind::AddrInUse;
                    if !again {
                        return Err(describe(address, error));
                    }
                    break;
                }
            }
        }
        if !again {
            let addresses: Vec<_> = held.iter().map(Socket::local).collect();
            return if addresses.is_empty() { Err(StartError::NoAddress) } else { Ok(addresses) };
        }
    }
    Err(StartError::System(io::Error::new(
        io::ErrorKind::AddrInUse,
        "no port is free on all listening addresses",
    )))
}

fn no_such_family(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

fn describe(address: SocketAddr, error: io::Error) -> StartError {
    if error.kind() == io::ErrorKind::AddrInUse {
        return StartError::Busy { address, holder: holder::of_udp(address) };
    }
    StartError::Listen { address, source: error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wildcard_of_ipv6_is_both_families() {
        let wanted = expand(&["[::]:3478".parse().unwrap(), "0.0.0.0:3478".parse().unwrap()]);
        let addresses: Vec<_> = wanted.iter().map(|w| w.address.to_string()).collect();
        assert_eq!(addresses, ["0.0.0.0:3478", "[::]:3478"]);
    }

    #[test]
    fn port_0_is_one_port_for_both_families_and_all_shards() {
        let sets = open(&["[::]:0".parse().unwrap()], 2).unwrap();
        let ports: Vec<_> = sets.iter().flatten().map(|s| s.local().port()).collect();
        assert!(ports.iter().all(|&port| port != 0 && port == ports[0]), "{ports:?}");
        assert_eq!(sets[0].len(), sets[1].len());
    }

    #[test]
    fn a_busy_address_is_named_with_its_holder() {
        let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = open(&[address], 1).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&address.to_string()), "{text}");
        assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
    }

    #[test]
    fn another_user_of_so_reuseport_is_noticed() {
        let first = open(&["127.0.0.1:0".parse().unwrap()], 2).unwrap();
        let error = open(&[first[0][0].local()], 2).unwrap_err();
        assert!(matches!(error, StartError::Busy { .. }), "{error}");
    }
}
