//! UDP sockets at the system call: batches in with UDP_GRO, gathered trains out with UDP_SEGMENT, and the error queue.
//!
//! The only file with `unsafe`. Nothing in here knows what a packet means.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::io;
use std::mem;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::ptr;

use socket2::Domain;
use socket2::Protocol;
use socket2::Type;

use super::ancillary::Arrival;
use super::ancillary::Control;
use super::ancillary::IcmpError;
use super::ancillary::Name;
use super::train::Outbox;
use super::train::Piece;
use super::train::Train;

/// Datagrams (or trains of them) that one [`Inbox`] takes.
pub(super) const SLOTS: usize = 32;
/// Free bytes in front of what is received into a slot, so that a header fits there.
pub(super) const HEADROOM: usize = 64;
/// The most that UDP delivers at once, with or without GRO.
const ROOM: usize = 65_536;
const STRIDE: usize = HEADROOM + ROOM;
/// Messages of one `sendmmsg`.
const MESSAGES: usize = 32;
/// Pieces of memory of one `sendmmsg`; a train of 64 with head and padding takes 192.
const VECTORS: usize = 1024;
/// What a listener's and a relay's buffers may hold, as far as the system's own limit lets them.
const LISTENER_BUFFER: usize = 4 << 20;
const RELAY_BUFFER: usize = 1 << 20;

/// `asm-generic/socket.h`; the libc crate has it for Android alone.
const SO_ATTACH_REUSEPORT_CBPF: i32 = 51;

static ZEROS: [u8; 4] = [0; 4];

/// A bound UDP socket that does not block.
#[derive(Debug)]
pub(super) struct Socket {
    inner: UdpSocket,
    local: SocketAddr,
    /// Bound to a wildcard address: messages carry the local address in and out.
    wildcard: bool,
    /// The longest segment that UDP_SEGMENT may be tried with; 0: never again.
    gso_limit: Cell<u16>,
    dont_fragment: Cell<bool>,
    /// Where the last datagram went that was too long for its path: the kernel's own word of it (IPv4) has no port.
    too_long: Cell<Option<SocketAddr>>,
}

impl Socket {
    /// A client-facing socket: shares its address with its twins of the other shards (SO_REUSEPORT) unless `alone`.
    pub(super) fn listener(address: SocketAddr, alone: bool) -> io::Result<Self> {
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
    pub(super) fn relay(address: SocketAddr) -> io::Result<Self> {
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
    pub(super) fn steer(&self, program: &[libc::sock_filter]) -> io::Result<()> {
        let len = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
        // The kernel only reads the program, and keeps a copy.
        set(self.inner.as_raw_fd(), libc::SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, program)
    }

    /// The address it is bound to.
    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Sets the longest segment that UDP_SEGMENT is tried with.
    #[cfg(test)]
    pub(super) fn limit_offload(&self, longest: u16) {
        self.gso_limit.set(longest);
    }

    /// Has the kernel refuse UDP_SEGMENT (EINVAL), as it does where there is no checksum to compute.
    #[cfg(test)]
    pub(super) fn refuse_offload(&self) {
        set(self.inner.as_raw_fd(), libc::SOL_SOCKET, libc::SO_NO_CHECK, 1).unwrap();
    }

    /// What the next sends carry (RFC 8656, section 14.9): costs a call only where it changes.
    fn set_dont_fragment(&self, on: bool) {
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
    pub(super) fn send(&self, to: SocketAddr, source: IpAddr, bytes: &[u8]) -> io::Result<()> {
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
    pub(super) fn next_error(&self) -> Option<IcmpError> {
        for _ in 0..SLOTS {
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
fn retry(dont_fragment: bool, mut call: impl FnMut() -> isize) -> io::Result<usize> {
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

/// Where datagrams are received: one for a whole shard, filled from one socket after the other.
///
/// Slots and bytes are reached through raw pointers only, as the headers point into them for good: preparing all
/// headers anew for every call would touch more memory than most packets do.
pub(super) struct Inbox {
    slots: *mut [Slot],
    memory: *mut [u8],
    headers: Box<[libc::mmsghdr]>,
    filled: usize,
}

struct Slot {
    name: Name,
    control: Control,
    vector: libc::iovec,
}

// SAFETY: the raw pointers in it lead to memory that the Inbox owns itself, and nothing in there is tied to a thread.
unsafe impl Send for Inbox {}

impl Drop for Inbox {
    fn drop(&mut self) {
        // SAFETY: both came from `Box::into_raw` in `new`, and are given back once.
        unsafe {
            drop(Box::from_raw(self.slots));
            drop(Box::from_raw(self.memory));
        }
    }
}

impl Inbox {
    pub(super) fn new() -> Self {
        let empty = |_| Slot {
            name: Name::default(),
            control: Control::new(),
            vector: libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 },
        };
        let slots: *mut [Slot] = Box::into_raw((0..SLOTS).map(empty).collect());
        // Zeroed by the system when first touched, so an idle shard has none of it.
        let memory: *mut [u8] = Box::into_raw(vec![0; SLOTS * STRIDE].into_boxed_slice());
        let header = |index| {
            // SAFETY: `index` is below SLOTS, so there is such a slot, and STRIDE bytes for it in `memory`. mmsghdr is
            // plain data; zero is a valid value for each of its fields.
            unsafe {
                let slot = slots.cast::<Slot>().add(index);
                (*slot).vector.iov_base = memory.cast::<u8>().add(index * STRIDE + HEADROOM).cast();
                (*slot).vector.iov_len = ROOM;
                let mut header: libc::mmsghdr = mem::zeroed();
                header.msg_hdr.msg_name = (&raw mut (*slot).name).cast();
                header.msg_hdr.msg_iov = &raw mut (*slot).vector;
                header.msg_hdr.msg_iovlen = 1;
                header.msg_hdr.msg_control = (&raw mut (*slot).control).cast();
                header
            }
        };
        let mut inbox = Self { slots, memory, headers: (0..SLOTS).map(header).collect(), filled: SLOTS };
        inbox.clear();
        inbox
    }

    /// Forgets everything received.
    pub(super) fn clear(&mut self) {
        // Where the kernel leaves sizes, it wants to find them.
        for header in self.headers.iter_mut().take(self.filled) {
            header.msg_hdr.msg_namelen = Name::SIZE as libc::socklen_t;
            header.msg_hdr.msg_controllen = Control::SIZE;
        }
        self.filled = 0;
    }

    /// Receives what is there into the free slots. Fewer arrivals than free slots mean that the socket is empty now.
    pub(super) fn receive(&mut self, socket: &Socket) -> io::Result<usize> {
        let free = &mut self.headers[self.filled..];
        // SAFETY: `new` pointed each header at a name, control bytes and payload bytes of its own, which live as long as
        // self, and `clear` gave the sizes back; no reference to any of them outlives a call, as `&mut self` shows.
        let n = unsafe {
            libc::recvmmsg(
                socket.inner.as_raw_fd(),
                free.as_mut_ptr(),
                free.len() as u32,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        let Ok(n) = usize::try_from(n) else { return Err(io::Error::last_os_error()) };
        self.filled += n;
        Ok(n)
    }

    /// Slots in use.
    pub(super) fn len(&self) -> usize {
        self.filled
    }

    /// Free slots.
    pub(super) fn free(&self) -> usize {
        SLOTS - self.filled
    }

    /// What is in slot `index`; `None` if nothing is, or its sender has no address.
    pub(super) fn arrival(&self, index: usize) -> Option<Arrival> {
        if index >= self.filled {
            return None;
        }
        let message = &self.headers[index];
        // SAFETY: `index` is below SLOTS; the kernel writes there only within `receive`, which has `&mut self`.
        let slot = unsafe { &*self.slots.cast::<Slot>().add(index) };
        let len = (message.msg_len as usize).min(ROOM);
        let received = slot.control.received(message.msg_hdr.msg_controllen);
        Some(Arrival {
            from: slot.name.read()?,
            to: received.to,
            len,
            segment: received.segment.unwrap_or(len).max(1),
            truncated: message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        })
    }

    /// The bytes received into slot `index`, from its start.
    pub(super) fn bytes(&self, index: usize) -> &[u8] {
        &self.whole(index)[HEADROOM..]
    }

    /// Slot `index` with the headroom in front of it: what was received starts at [`HEADROOM`].
    pub(super) fn whole(&self, index: usize) -> &[u8] {
        // SAFETY: as above, and writing takes `&mut self`.
        let memory = unsafe { &*self.memory };
        &memory[index * STRIDE..(index + 1) * STRIDE]
    }

    /// As [`Inbox::whole`], to write a header in place.
    pub(super) fn whole_mut(&mut self, index: usize) -> &mut [u8] {
        // SAFETY: `&mut self` is the only way to it.
        let memory = unsafe { &mut *self.memory };
        &mut memory[index * STRIDE..(index + 1) * STRIDE]
    }
}

/// What system calls are filled in with when sending; made once a shard.
pub(super) struct Sender {
    headers: Box<[libc::mmsghdr]>,
    names: Box<[Name]>,
    controls: Box<[Control]>,
    vectors: Box<[libc::iovec]>,
    /// Which train each message is of.
    trains: [u16; MESSAGES],
}

// SAFETY: its raw pointers are written and used within one call of `send`; between calls nobody follows them.
unsafe impl Send for Sender {}

impl Sender {
    pub(super) fn new() -> Self {
        // SAFETY: plain data; zero is a valid value for each field.
        let header = || unsafe { mem::zeroed::<libc::mmsghdr>() };
        Self {
            headers: (0..MESSAGES).map(|_| header()).collect(),
            names: vec![Name::default(); MESSAGES].into_boxed_slice(),
            controls: vec![Control::new(); MESSAGES].into_boxed_slice(),
            vectors: vec![libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; VECTORS].into_boxed_slice(),
            trains: [0; MESSAGES],
        }
    }

    /// Sends `trains` of `outbox` through `socket`, in order, in as few calls as there may be. What could not be sent is
    /// reported to `lost`, packets and error; it never ends anything.
    pub(super) fn send(
        &mut self,
        socket: &Socket,
        inbox: &Inbox,
        outbox: &Outbox,
        trains: &[u16],
        lost: &mut dyn FnMut(u64, &io::Error),
    ) {
        let (mut messages, mut vectors) = (0, 0);
        for &index in trains {
            let train = outbox.train(index);
            let pieces = outbox.pieces(train);
            if messages > 0 && train.dont_fragment != socket.dont_fragment.get() {
                self.flush(socket, inbox, outbox, messages, lost);
                (messages, vectors) = (0, 0);
            }
            socket.set_dont_fragment(train.dont_fragment);
            let together = pieces.len() == 1 || train.segment <= socket.gso_limit.get();
            let step = if together { pieces.len().max(1) } else { 1 };
            for part in pieces.chunks(step) {
                if messages == MESSAGES || vectors + 3 * part.len() > VECTORS {
                    self.flush(socket, inbox, outbox, messages, lost);
                    (messages, vectors) = (0, 0);
                }
                self.trains[messages] = index;
                vectors += self.put(socket, inbox, outbox, train, part, messages, vectors);
                messages += 1;
            }
        }
        self.flush(socket, inbox, outbox, messages, lost);
    }

    /// Makes message number `at` of `part`, with its pieces of memory from `first` on; returns how many those are.
    #[allow(clippy::too_many_arguments)]
    fn put(
        &mut self,
        socket: &Socket,
        inbox: &Inbox,
        outbox: &Outbox,
        train: &Train,
        part: &[Piece],
        at: usize,
        first: usize,
    ) -> usize {
        let mut used = 0;
        let mut end_of_last = None;
        for piece in part {
            if let Some(head) = outbox.head(piece) {
                self.vectors[first + used] = vector(head);
                used += 1;
            }
            let bytes = inbox.whole(piece.slot.into()).get(piece.range()).unwrap_or_default();
            let start = bytes.as_ptr();
            if used > 0 && end_of_last == Some(start) && outbox.head(piece).is_none() {
                self.vectors[first + used - 1].iov_len += bytes.len();
            } else {
                self.vectors[first + used] = vector(bytes);
                used += 1;
            }
            end_of_last = (piece.padding == 0).then_some(bytes.as_ptr_range().end);
            if piece.padding > 0 {
                self.vectors[first + used] = vector(&ZEROS[..usize::from(piece.padding.min(3))]);
                used += 1;
            }
        }
        let name = &mut self.names[at];
        let header = &mut self.headers[at].msg_hdr;
        header.msg_namelen = name.write(train.to);
        header.msg_name = ptr::from_mut(name).cast();
        header.msg_iov = &raw mut self.vectors[first];
        header.msg_iovlen = used as _;
        let segment = (part.len() > 1).then_some(train.segment);
        let control = &mut self.controls[at];
        header.msg_controllen = control.write(socket.wildcard.then_some(train.source), segment) as _;
        header.msg_control = ptr::from_mut(control).cast();
        used
    }

    /// Sends the first `count` messages.
    fn flush(
        &mut self,
        socket: &Socket,
        inbox: &Inbox,
        outbox: &Outbox,
        count: usize,
        lost: &mut dyn FnMut(u64, &io::Error),
    ) {
        let fd = socket.inner.as_raw_fd();
        let mut at = 0;
        while at < count {
            let headers = &mut self.headers[at..count];
            let result = retry(socket.dont_fragment.get(), || {
                // SAFETY: `put` pointed each of these headers at names, control bytes and vectors that live in `self`, and
                // the vectors at bytes of `inbox`, `outbox` and `ZEROS`; all are borrowed for the whole of this call.
                unsafe {
                    match &mut *headers {
                        [one] => libc::sendmsg(fd, &raw const one.msg_hdr, libc::MSG_DONTWAIT).min(1),
                        many => libc::sendmmsg(fd, many.as_mut_ptr(), many.len() as u32, libc::MSG_DONTWAIT)
                            as isize,
                    }
                }
            });
            match result {
                Ok(sent) => at += sent.max(1),
                Err(error) => {
                    let train = outbox.train(self.trains[at]);
                    match error.raw_os_error() {
                        // (Since Linux 6.14 a segment longer than the MTU is EMSGSIZE.)
                        Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE) if self.packets(outbox, at) > 1 => {
                            // No offload on this route for segments this long; EIO: not at all. An earlier train of
                            // this very call may have found that out already.
                            let hopeless = error.raw_os_error() == Some(libc::EIO);
                            let limit = if hopeless { 0 } else { train.segment - 1 };
                            socket.gso_limit.set(limit.min(socket.gso_limit.get()));
                            let mut single = Sender::new();
                            single.send(socket, inbox, outbox, &[self.trains[at]], lost);
                        }
                        Some(libc::EAGAIN | libc::ENOBUFS) => {
                            // Its buffer is full: the rest would fare no better.
                            let packets: u64 = (at..count).map(|i| self.packets(outbox, i)).sum();
                            lost(packets, &error);
                            return;
                        }
                        other => {
                            if other == Some(libc::EMSGSIZE) {
                                socket.too_long.set(Some(train.to));
                            }
                            lost(self.packets(outbox, at), &error);
                        }
                    }
                    at += 1;
                }
            }
        }
    }

    /// Datagrams of message number `at`.
    fn packets(&self, outbox: &Outbox, at: usize) -> u64 {
        let train = outbox.train(self.trains[at]);
        let bytes: usize = {
            let header = &self.headers[at].msg_hdr;
            // SAFETY: `put` left `msg_iovlen` vectors of ours there.
            let vectors = unsafe { std::slice::from_raw_parts(header.msg_iov, header.msg_iovlen) };
            vectors.iter().map(|v| v.iov_len).sum()
        };
        bytes.div_ceil(usize::from(train.segment).max(1)).max(1) as u64
    }
}

fn vector(bytes: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}
