//! Listening sockets.

use std::io;
use std::net::Ipv4Addr;
use std::net::SocketAddr;

use socket2::Domain;
use socket2::Protocol;
use socket2::Socket;
use socket2::Type;
use tokio::net::TcpListener;

/// Connections the kernel keeps ready for us between two accepts.
const BACKLOG: i32 = 1024;

/// A port that could not be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {error}")]
pub struct BindError {
    /// Which one.
    pub address: SocketAddr,
    /// Why.
    pub error: io::Error,
}

/// A TCP listener. `[::]` takes IPv4 too unless it is to be `ipv6_only`; on a machine without IPv6 it means `0.0.0.0`.
///
/// # Errors
/// The port is taken, or not ours to take.
pub(super) fn listen(address: SocketAddr, ipv6_only: bool) -> Result<TcpListener, BindError> {
    let bound = bind(address, ipv6_only).or_else(|error| {
        let no_ipv6 = matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL));
        if no_ipv6 && !ipv6_only && address.is_ipv6() && address.ip().is_unspecified() {
            tracing::info!(%address, "this machine has no IPv6; listening on IPv4 only");
            return bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())), false);
        }
        Err(error)
    });
    bound.map_err(|error| BindError { address, error })
}

fn bind(address: SocketAddr, ipv6_only: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(ipv6_only || !address.ip().is_unspecified())?;
    }
    // Without it, a restart would have to wait for the last run's connections to be forgotten.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
