//! Datagrams out: gathered from where they were received, equal ones as a train that the kernel cuts up (UDP_SEGMENT).

use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::ptr;

use super::ancillary::Control;
use super::ancillary::Name;
use super::inbox::Inbox;
use super::socket::Socket;
use super::socket::retry;
use crate::relay::train::Outbox;
use crate::relay::train::Piece;
use crate::relay::train::Train;

/// Messages of one `sendmmsg`.
const MESSAGES: usize = 32;
/// Pieces of memory of one `sendmmsg`; a train of 64 with head and padding takes 192.
const VECTORS: usize = 1024;

static ZEROS: [u8; 4] = [0; 4];

/// What system calls are filled in with when sending; made once a shard.
pub(in crate::relay) struct Sender {
    headers: Box<[libc::mmsghdr]>,
    names: Box<[Name]>,
    controls: Box<[Control]>,
    vectors: Box<[libc::iovec]>,
    /// Which train each message is of.
    trains: [u16; MESSAGES],
    /// For what has to be sent again, singly.
    spare: Option<Box<Sender>>,
}

// SAFETY: its raw pointers are written and used within one call of `send`; between calls nobody follows them.
unsafe impl Send for Sender {}

impl Sender {
    pub(in crate::relay) fn new() -> Self {
        // SAFETY: plain data; zero is a valid value for each field.
        let header = || unsafe { mem::zeroed::<libc::mmsghdr>() };
        Self {
            headers: (0..MESSAGES).map(|_| header()).collect(),
            names: vec![Name::default(); MESSAGES].into_boxed_slice(),
            controls: vec![Control::new(); MESSAGES].into_boxed_slice(),
            vectors: vec![libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; VECTORS].into_boxed_slice(),
            trains: [0; MESSAGES],
            spare: None,
        }
    }

    /// Sends `trains` of `outbox` through `socket`, in order, in as few calls as there may be. What could not be sent is
    /// reported to `lost`, packets and error; it never ends anything.
    pub(in crate::relay) fn send(
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
    #[expect(
        clippy::too_many_arguments,
        reason = "what it writes, where it comes from, and which part of it"
    )]
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
        header.msg_iov = self.vectors[first..].as_mut_ptr();
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
                            let before = socket.gso_limit.get();
                            let hopeless = error.raw_os_error() == Some(libc::EIO);
                            let limit = if hopeless { 0 } else { train.segment - 1 };
                            socket.gso_limit.set(limit.min(before));
                            let mut single = self.spare.take().unwrap_or_else(|| Box::new(Sender::new()));
                            single.send(socket, inbox, outbox, &[self.trains[at]], lost);
                            self.spare = Some(single);
                            if error.raw_os_error() == Some(libc::EMSGSIZE) {
                                // One receiver's path is narrow; the socket has others.
                                socket.gso_limit.set(before);
                            }
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
