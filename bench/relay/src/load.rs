//! The traffic: paced sends, singly or as one UDP_SEGMENT train, while everything that comes back is counted.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use crate::link::Link;

pub const PAYLOAD: usize = 1000;

/// One direction of one allocation: what to send from where, as ready bytes (`train` packets in a row).
pub struct Flow<'a> {
    pub from: End<'a>,
    pub to: Option<SocketAddr>,
    pub packet: Vec<u8>,
}

/// Where packets are sent from, or come out.
#[derive(Clone, Copy)]
pub enum End<'a> {
    Client(&'a Link),
    Peer(&'a UdpSocket),
}

impl<'a> End<'a> {
    fn fd(self) -> RawFd {
        match self {
            End::Client(link) => link.fd(),
            End::Peer(socket) => socket.as_raw_fd(),
        }
    }

    fn datagrams(self) -> Option<&'a UdpSocket> {
        match self {
            End::Client(Link::Udp(socket)) | End::Peer(socket) => Some(socket),
            End::Client(Link::Stream(_)) => None,
        }
    }
}

#[derive(Default, Clone, Copy)]
pub struct Tally {
    pub sent: u64,
    pub delivered: u64,
    pub wrong: u64,
}

pub struct Plan<'a> {
    pub flows: Vec<Flow<'a>>,
    /// Where packets come out, and how long each must be.
    pub sinks: Vec<(End<'a>, usize)>,
    pub train: usize,
    pub per_second: u64,
    pub time: Duration,
}

const BATCH: usize = 16;
const ROOM: usize = 65_536;

pub struct Receiver {
    buffers: Vec<u8>,
    epoll: i32,
}

impl Receiver {
    pub fn new() -> Receiver {
        // SAFETY: plain syscall.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        Receiver { buffers: vec![0; BATCH * ROOM], epoll }
    }
}

/// Lets the kernel hand over whole trains (or not).
pub fn set_gro(socket: &UdpSocket, on: bool) {
    let value: libc::c_int = on.into();
    // SAFETY: the option value is a c_int that outlives the call.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_GRO,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as u32,
        );
    }
}

pub fn set_buffers(socket: &UdpSocket) {
    let value: libc::c_int = 1 << 20;
    for option in [libc::SO_RCVBUF, libc::SO_SNDBUF] {
        // SAFETY: as above.
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const value).cast(),
                size_of::<libc::c_int>() as u32,
            );
        }
    }
}

impl Plan<'_> {
    pub fn run(&self, receiver: &mut Receiver, measure: impl Fn() -> u64) -> (Tally, u64) {
        let mut tally = Tally::default();
        for (index, (end, _)) in self.sinks.iter().enumerate() {
            let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: index as u64 };
            // SAFETY: both descriptors are open.
            unsafe { libc::epoll_ctl(receiver.epoll, libc::EPOLL_CTL_ADD, end.fd(), &mut event) };
        }
        let trains: Vec<Vec<u8>> = self.flows.iter().map(|f| f.packet.repeat(self.train)).collect();
        // What earlier runs left behind does not count.
        self.drain(receiver, &mut Tally::default());
        let before = measure();
        let start = Instant::now();
        let interval = Duration::from_nanos(1_000_000_000 * self.train as u64 / self.per_second);
        let mut next = start;
        let mut turn = 0;
        loop {
            let now = Instant::now();
            if now - start >= self.time {
                break;
            }
            // Descheduled for long: do not catch up with a flood.
            if now > next + Duration::from_millis(2) {
                next = now;
            }
            let mut burst = 0;
            while next <= now && burst < 4 {
                let flow = &self.flows[turn % self.flows.len()];
                if send(flow, &trains[turn % self.flows.len()], self.train) {
                    tally.sent += self.train as u64;
                }
                turn += 1;
                burst += 1;
                next += interval;
            }
            self.drain(receiver, &mut tally);
        }
        // Until nothing has come for a tenth of a second, or the server is hopelessly behind.
        let (mut quiet, end) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        while quiet.elapsed() < Duration::from_millis(100) && Instant::now() < end {
            let before = tally.delivered;
            self.drain(receiver, &mut tally);
            if tally.delivered != before {
                quiet = Instant::now();
            }
        }
        let spent = measure() - before;
        for (end, _) in &self.sinks {
            // SAFETY: both descriptors are open.
            unsafe {
                libc::epoll_ctl(receiver.epoll, libc::EPOLL_CTL_DEL, end.fd(), std::ptr::null_mut())
            };
        }
        (tally, spent)
    }

    fn drain(&self, receiver: &mut Receiver, tally: &mut Tally) {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
        // SAFETY: room for 64 events.
        let n = unsafe { libc::epoll_wait(receiver.epoll, events.as_mut_ptr(), 64, 0) };
        for event in &events[..n.max(0) as usize] {
            let (end, wanted) = self.sinks[event.u64 as usize];
            match end {
                End::Client(link @ Link::Stream(_)) => link.receive(&mut receiver.buffers, |frame| {
                    if frame.len() == wanted {
                        tally.delivered += 1;
                    } else {
                        tally.wrong += 1;
                    }
                }),
                End::Client(Link::Udp(socket)) | End::Peer(socket) => {
                    receive(socket, wanted, &mut receiver.buffers, tally);
                }
            }
        }
    }
}

fn send(flow: &Flow<'_>, bytes: &[u8], train: usize) -> bool {
    let Some(from) = flow.from.datagrams() else {
        // A stream takes a train as it is.
        return matches!(flow.from, End::Client(link) if link.send(bytes));
    };
    if train == 1 {
        return match flow.to {
            Some(to) => from.send_to(bytes, to),
            None => from.send(bytes),
        }
        .is_ok();
    }
    // SAFETY: every pointer in the header points at a local that outlives the call.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        let mut iov = libc::iovec { iov_base: bytes.as_ptr() as *mut _, iov_len: bytes.len() };
        let mut name: libc::sockaddr_in = std::mem::zeroed();
        if let Some(SocketAddr::V4(to)) = flow.to {
            name.sin_family = libc::AF_INET as u16;
            name.sin_port = to.port().to_be();
            name.sin_addr.s_addr = u32::from_ne_bytes(to.ip().octets());
            message.msg_name = (&raw mut name).cast();
            message.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
        }
        message.msg_iov = &mut iov;
        message.msg_iovlen = 1;
        let mut control = [0u64; 4];
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(2) as _;
        let cmsg = libc::CMSG_FIRSTHDR(&message);
        (*cmsg).cmsg_level = libc::SOL_UDP;
        (*cmsg).cmsg_type = libc::UDP_SEGMENT;
        (*cmsg).cmsg_len = libc::CMSG_LEN(2) as _;
        libc::CMSG_DATA(cmsg).cast::<u16>().write_unaligned(flow.packet.len() as u16);
        libc::sendmsg(from.as_raw_fd(), &message, 0) >= 0
    }
}

fn receive(socket: &UdpSocket, wanted: usize, buffers: &mut [u8], tally: &mut Tally) {
    // SAFETY: every header points at its own slice of `buffers` and `controls`, which outlive the call.
    unsafe {
        let mut iovs: [libc::iovec; BATCH] = std::mem::zeroed();
        let mut controls = [[0u64; 8]; BATCH];
        let mut messages: [libc::mmsghdr; BATCH] = std::mem::zeroed();
        for (i, buffer) in buffers.chunks_exact_mut(ROOM).enumerate() {
            iovs[i] = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: ROOM };
            messages[i].msg_hdr.msg_iov = &mut iovs[i];
            messages[i].msg_hdr.msg_iovlen = 1;
            messages[i].msg_hdr.msg_control = controls[i].as_mut_ptr().cast();
            messages[i].msg_hdr.msg_controllen = size_of_val(&controls[i]) as _;
        }
        let n = libc::recvmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            BATCH as u32,
            libc::MSG_DONTWAIT as _,
            std::ptr::null_mut(),
        );
        for message in &messages[..n.max(0) as usize] {
            let length = message.msg_len as usize;
            let mut segment = length;
            let cmsg = libc::CMSG_FIRSTHDR(&message.msg_hdr);
            if !cmsg.is_null() && (*cmsg).cmsg_level == libc::SOL_UDP && (*cmsg).cmsg_type == libc::UDP_GRO {
                segment = libc::CMSG_DATA(cmsg).cast::<libc::c_int>().read_unaligned() as usize;
            }
            if segment == wanted && length.is_multiple_of(wanted) {
                tally.delivered += (length / wanted) as u64;
            } else {
                tally.wrong += 1;
            }
        }
    }
}
