//! Datagrams in: a batch from one socket, trains joined by the kernel (UDP_GRO).

use std::io;
use std::mem;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::ptr;

use super::ancillary::Control;
use super::ancillary::Name;
use super::socket::Socket;

/// Datagrams (or trains of them) that one [`Inbox`] takes.
pub(in crate::relay) const SLOTS: usize = 32;
/// Free bytes in front of what is received into a slot, so that a header fits there.
pub(in crate::relay) const HEADROOM: usize = 64;
/// The most that UDP delivers at once, with or without GRO.
const ROOM: usize = 65_536;
/// Room for one read from a stream: the longest frame but for its last byte, and a good deal more. (What is not used has
/// no memory behind it.)
const STREAM_ROOM: usize = 2 * ROOM;
const STRIDE: usize = HEADROOM + STREAM_ROOM;

/// What arrived in a slot.
#[derive(Clone, Copy, Debug)]
pub(in crate::relay) struct Arrival {
    /// Who sent it.
    pub(in crate::relay) from: SocketAddr,
    /// Which local address it was sent to, where the socket is bound to a wildcard.
    pub(in crate::relay) to: Option<IpAddr>,
    /// Bytes in all.
    pub(in crate::relay) len: usize,
    /// Bytes of each datagram; the last may be shorter. At least 1.
    pub(in crate::relay) segment: usize,
    /// The datagram was longer than the room for it.
    pub(in crate::relay) truncated: bool,
}

/// Where datagrams are received: one for a whole shard, filled from one socket after the other.
///
/// Slots and bytes are reached through raw pointers only, as the headers point into them for good: preparing all
/// headers anew for every call would touch more memory than most packets do.
pub(in crate::relay) struct Inbox {
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
    pub(in crate::relay) fn new() -> Self {
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
    pub(in crate::relay) fn clear(&mut self) {
        // Where the kernel leaves sizes, it wants to find them.
        for header in self.headers.iter_mut().take(self.filled) {
            header.msg_hdr.msg_namelen = Name::SIZE as libc::socklen_t;
            header.msg_hdr.msg_controllen = Control::SIZE;
        }
        self.filled = 0;
    }

    /// Receives what is there into the free slots. Fewer arrivals than free slots mean that the socket is empty now.
    pub(in crate::relay) fn receive(&mut self, socket: &Socket) -> io::Result<usize> {
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

    /// Room in the next free slot, for what is read from a stream.
    pub(in crate::relay) fn room(&mut self) -> Option<&mut [u8]> {
        let index = (self.filled < SLOTS).then_some(self.filled)?;
        Some(&mut self.whole_mut(index)[HEADROOM..])
    }

    /// Takes that slot, with so many bytes in it.
    pub(in crate::relay) fn took(&mut self, len: usize) {
        if let Some(header) = self.headers.get_mut(self.filled) {
            header.msg_len = len.min(STREAM_ROOM) as u32;
            self.filled += 1;
        }
    }

    /// Bytes of what was read from a stream into slot `index`.
    pub(in crate::relay) fn stream_len(&self, index: usize) -> usize {
        self.headers.get(index).map_or(0, |header| header.msg_len as usize)
    }

    /// Slots in use.
    pub(in crate::relay) fn len(&self) -> usize {
        self.filled
    }

    /// Free slots.
    pub(in crate::relay) fn free(&self) -> usize {
        SLOTS - self.filled
    }

    /// What is in slot `index`; `None` if nothing is, or its sender has no address.
    pub(in crate::relay) fn arrival(&self, index: usize) -> Option<Arrival> {
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
    pub(in crate::relay) fn bytes(&self, index: usize) -> &[u8] {
        &self.whole(index)[HEADROOM..]
    }

    /// Slot `index` with the headroom in front of it: what was received starts at [`HEADROOM`].
    pub(in crate::relay) fn whole(&self, index: usize) -> &[u8] {
        // SAFETY: as above, and writing takes `&mut self`.
        let memory = unsafe { &*self.memory };
        &memory[index * STRIDE..(index + 1) * STRIDE]
    }

    /// As [`Inbox::whole`], to write a header in place.
    pub(in crate::relay) fn whole_mut(&mut self, index: usize) -> &mut [u8] {
        // SAFETY: `&mut self` is the only way to it.
        let memory = unsafe { &mut *self.memory };
        &mut memory[index * STRIDE..(index + 1) * STRIDE]
    }
}
