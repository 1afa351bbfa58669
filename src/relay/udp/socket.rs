//! A bound UDP socket.

use std::cell::Cell;
use std::io;
use std::mem;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;

use socket2::Domain;
use socket2::Protocol;
use socket2::Type;

use super::ancillary::Control;
use super::ancillary::Name;

/// What a listener's and a relay's buffers may hold, as far as the system's own limit lets them.
const LISTENER_BUFFER: usize = 4 << 20;
const RELAY_BUFFER: usize = 1 << 20;
/// ICMP errors skipped in one go, for being of no interest.
const ERRORS: usize = 32;
/// `asm-generic/socket.h`; the libc crate has it for Android alone.
const SO_ATTACH_REUSEPORT_CBPF: i32 = 51;

/// An ICMP error from a socket's error queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::relay) struct IcmpError {
    /// To whom the datagram was sent that caused it.
    pub(in crate::relay) peer: SocketAddr,
    /// ICMP or ICMPv6 type, by the peer's family.
    pub(in crate::relay) kind: u8,
    /// And its code.
    pub(in crate::relay) code: u8,
    /// The MTU where there is one, else 0.
    pub(in crate::relay) info: u32,
}

/// A bound UDP socket that does not block.
#[derive(Debug)]
pub(in crate::relay) struct Socket {
    pub(super) inner: UdpSocket,
    pub(super) local: SocketAddr,
    /// Bound to a wildcard address: messages carry the local address in and out.
    pub(super) wildcard: bool,
    /// The longest segment that UDP_SEGMENT may be tried with; 0: never again.
    pub(super) gso_limit: Cell<u16>,
    pub(super) dont_fragment: Cell<bool>,
    /// Where the last datagram went that was too long for its path: the kernel's own word of it (IPv4) has no port.
    pub(super) too_long: Cell<Option<SocketAddr>>,
}

impl Socket {
    /// A client-facing socket: shares its address with its twins of the other shards (SO_REUSEPORT) unless `alone`.
    pub(in crate::relay) fn listener(address: SocketAddr, alone: bool) -> io::Result<Self> {
        let socket = open(address)?;
        if !alone {
            socket.set_reuse_port(true)?;
        }
        // Less than wished for is fine.
        let _ = socket.set_recv_buffer_size(LISTENER_BUFFER);
        let _ = socket.set_send_buffer_size(LISTENER_BUFFER);
        let fd = socket.as_raw_fd();
        let wildcard = address.ip().is_unspecified();
        if wildcard {
            if address.is_ipv4() {
                set(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
            } else {
                set(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
            }
        }
        Self::finish(socket, address, wildcard)
    }

    /// A relay socket: hears of ICMP errors.
    pub(in crate::relay) fn relay(address: SocketAddr) -> io::Result<Self> {
        let socket = open(address)?;
        let _ = socket.set_recv_buffer_size(RELAY_BUFFER);
        let _ = socket.set_send_buffer_size(RELAY_BUFFER);
        let fd = socket.as_raw_fd();
        if address.is_ipv4() {
            set(fd, libc::IPPROTO_IP, libc::IP_RECVERR, 1)?;
        } else {
            set(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1)?;
        }
        Self::finish(socket, address, false)
    }

    fn finish(socket: socket2::Socket, address: SocketAddr, wildcard: bool) -> io::Result<Self> {
        let fd = socket.as_raw_fd();
        // Kernels before 5.0 do not know it: then every datagram comes alone.
        let _ = set(fd, libc::SOL_UDP, libc::UDP_GRO, 1);
        if address.is_ipv4() {
            set(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT)?;
        }
        socket.bind(&address.into())?;
        let inner = UdpSocket::from(socket);
        let local = inner.local_addr()?;
        Ok(Self {
            inner,
            local,
            wildcard,
            gso_limit: Cell::new(u16::MAX),
            dont_fragment: Cell::new(false),
            too_long: Cell::new(None),
        })
    }

    /// Chooses the twin that takes a datagram by this program, for all twins. It returns the index of one, in the order in
    /// which they were bound.
    pub(in crate::relay) fn steer(&self, program: &[libc::sock_filter]) -> io::Result<()> {
        let len = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
        // The kernel only reads the program, and keeps a copy.
        set(self.inner.as_raw_fd(), libc::SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, program)
    }

    /// The address it is bound to.
    pub(in crate::relay) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Sets the longest segment that UDP_SEGMENT is tried with.
    #[cfg(test)]
    pub(in crate::relay) fn limit_offload(&self, longest: u16) {
        self.gso_limit.set(longest);
    }

    /// Has the kernel refuse UDP_SEGMENT (EINVAL), as it does where there is no checksum to compute.
    #[cfg(test)]
    pub(in crate::relay) fn refuse_offload(&self) {
        set(self.inner.as_raw_fd(), libc::SOL_SOCKET, libc::SO_NO_CHECK, 1).unwrap();
    }

    /// What the next sends carry (RFC 8656, section 14.9): costs a call only where it changes.
    pub(super) fn set_dont_fragment(&self, on: bool) {
        if self.dont_fragment.get() == on {
            return;
        }
        let fd = self.inner.as_raw_fd();
        let done = if self.local.is_ipv4() {
            let mode = if on { libc::IP_PMTUDISC_DO } else { libc::IP_PMTUDISC_DONT };
            set(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, mode)
        } else {
            set(fd, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, i32::from(on))
        };
        if done.is_ok() {
            self.dont_fragment.set(on);
        }
    }

    /// Sends one datagram, from the local address `source` where the socket is bound to a wildcard.
    pub(in crate::relay) fn send(&self, to: SocketAddr, source: IpAddr, bytes: &[u8]) -> io::Result<()> {
        let mut name = Name::default();
        let mut control = Control::new();
        let mut vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        // SAFETY: msghdr is plain data; zero is a valid value for each of its fields.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        header.msg_name = (&raw mut name).cast();
        header.msg_namelen = name.write(to);
        header.msg_iov = &raw mut vector;
        header.msg_iovlen = 1;
        header.msg_controllen = control.write(self.wildcard.then_some(source), None) as _;
        header.msg_control = (&raw mut control).cast();
        self.set_dont_fragment(false);
        retry(false, || {
            // SAFETY: the header's pointers lead to `name`, `control`, `vector` and `bytes`, which all outlive the call.
            unsafe { libc::sendmsg(self.inner.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT) }
        })
        .map(|_| ())
    }

    /// The next ICMP error, if any. Errors of other origins are skipped, but for "too long for the path" found out
    /// locally, which reads as the ICMP error that a router would have sent.
    pub(in crate::relay) fn next_error(&self) -> Option<IcmpError> {
        for _ in 0..ERRORS {
            let mut name = Name::default();
            let mut control = Control::new();
            let mut byte = 0u8;
            let mut vector = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
            // SAFETY: as in `send`.
            let mut header: libc::msghdr = unsafe { mem::zeroed() };
            header.msg_name = (&raw mut name).cast();
            header.msg_namelen = Name::SIZE as libc::socklen_t;
            header.msg_iov = &raw mut vector;
            header.msg_iovlen = 1;
            header.msg_control = (&raw mut control).cast();
            header.msg_controllen = Control::SIZE;
            // SAFETY: the header's pointers lead to locals that outlive the call, with their true sizes.
            let n = unsafe {
                libc::recvmsg(
                    self.inner.as_raw_fd(),
                    &raw mut header,
                    libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT,
                )
            };
            if n < 0 {
                return None;
            }
            let error = control.extended_error(header.msg_controllen);
            if let (Some(peer), Some(error)) = (name.read(), error) {
                let too_long = error.errno == libc::EMSGSIZE;
                let (kind, code) = match error.origin {
                    libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6 => (error.kind, error.code),
                    libc::SO_EE_ORIGIN_LOCAL if too_long && peer.is_ipv4() => (3, 4),
                    libc::SO_EE_ORIGIN_LOCAL if too_long => (2, 0),
                    _ => continue,
                };
                let peer = match self.too_long.get() {
                    Some(to) if peer.port() == 0 && peer.ip() == to.ip() => to,
                    _ => peer,
                };
                return Some(IcmpError { peer, kind, code, info: error.info });
            }
        }
        None
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

fn open(address: SocketAddr) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(
        Domain::for_address(address),
        Type::DGRAM.nonblocking().cloexec(),
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

fn set<T>(fd: i32, level: i32, name: i32, value: T) -> io::Result<()> {
    // SAFETY: the value outlives the call, and its true size is given.
    let result = unsafe {
        libc::setsockopt(fd, level, name, (&raw const value).cast(), size_of::<T>() as libc::socklen_t)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Calls again when a signal came in between, and once more when the error may be a pending one: a socket with IP_RECVERR
/// reports an earlier datagram's ICMP error on the next call, whatever that call is about.
pub(super) fn retry(dont_fragment: bool, mut call: impl FnMut() -> isize) -> io::Result<usize> {
    let mut pending_seen = false;
    loop {
        if let Ok(n) = usize::try_from(call()) {
            return Ok(n);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::EAGAIN | libc::EINVAL | libc::EIO | libc::ENOBUFS | libc::EPERM) | None => {
                return Err(error);
            }
            // Once more would be a second entry in the error queue, and told to the client as another one.
            Some(libc::EMSGSIZE) if dont_fragment => return Err(error),
            Some(_) if pending_seen => return Err(error),
            Some(_) => pending_seen = true,
        }
    }
}
