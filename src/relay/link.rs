//! One client's connection in its shard: frames in, a bounded queue of frames out, TLS around both where there is any.

use std::any::Any;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use rustls::ServerConnection;

use crate::stun::HEADER;
use crate::stun::frame;
use crate::turn::FiveTuple;

use super::connection::Connection;
use super::peers::PeerKey;
use super::stats::Ending;

/// What one read takes from the system; of TLS, that much ciphertext.
const READ: usize = 64 << 10;
pub(super) const READ_TLS: usize = 32 << 10;
/// What a TLS session may hold back of one read, to be decrypted with the next: less than one record.
const RECORD: usize = 17 << 10;
/// Encrypted in one go, and written in one call; no more than the TLS library wants to hold.
const ENCRYPT: usize = 48 << 10;
/// The longest frame before the client has an allocation: room for any request.
const STRANGER: usize = 8 << 10;
/// Memory that a queue or a carried-over frame may keep when it is empty.
const KEPT: usize = 4 << 10;
/// The most that is lent to another queue.
const LENT: usize = 64 << 10;

/// A connection.
pub(super) struct Link {
    socket: TcpStream,
    tls: Option<Box<ServerConnection>>,
    /// The client, as the server knows it.
    pub(super) client: FiveTuple,
    /// The beginning of a frame whose rest has not come yet.
    partial: Vec<u8>,
    /// Frames that wait to be sent; of the first of them `sent` bytes are on their way.
    out: Vec<u8>,
    sent: usize,
    /// How many they are.
    frames: u64,
    /// Since when the system takes nothing more.
    pub(super) blocked: Option<Instant>,
    /// In the list of those with something to send.
    pub(super) dirty: bool,
    /// The client has closed its side: read until the end shows.
    pub(super) ending: bool,
    /// It is joined with this connection to a peer (RFC 6062), and has no frames any more.
    pub(super) spliced: Option<PeerKey>,
    /// It has been given an allocation at some time.
    pub(super) admitted: bool,
    /// When it last asked for something that it was given.
    pub(super) heard: Instant,
    /// Its entry among those that are due.
    pub(super) due: Instant,
    _keep: Box<dyn Any + Send>,
}

/// What a read brought.
#[derive(Debug)]
pub(super) struct Taken {
    /// Bytes of whole frames, from the start of the room.
    pub(super) bytes: usize,
    /// How many frames.
    pub(super) frames: u64,
    /// What is to come.
    pub(super) next: Next,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// There may be more.
    More,
    /// Nothing, until the next event.
    Nothing,
    /// Nothing any more.
    End(Ending),
}

impl Link {
    pub(super) fn new(connection: Connection, client: FiveTuple, now: Instant, due: Instant) -> Self {
        Self {
            socket: connection.socket,
            tls: connection.tls,
            client,
            partial: connection.first,
            out: Vec::new(),
            sent: 0,
            frames: 0,
            blocked: None,
            dirty: false,
            ending: false,
            spliced: None,
            admitted: false,
            heard: now,
            due,
            _keep: connection.keep,
        }
    }

    /// Reads once, into `room`, behind what the last read left over. `scratch` is for ciphertext.
    pub(super) fn receive(&mut self, room: &mut [u8], scratch: &mut [u8]) -> Taken {
        let carried = self.partial.len().min(room.len());
        let (front, back) = room.split_at_mut(carried);
        let (read, next) = match &mut self.tls {
            None => read(&self.socket, back, self.ending),
            Some(tls) => read_tls(&self.socket, tls, back, scratch, self.ending),
        };
        let mut taken = Taken { bytes: 0, frames: 0, next };
        if read == 0 && carried == 0 {
            return taken;
        }
        let longest = if self.admitted { usize::MAX } else { STRANGER };
        // A long frame that comes in small pieces is put together where it is, and moved once. (It says what it is in its header.)
        let whole = if carried < HEADER { None } else { frame::length(&self.partial).ok().flatten() };
        if whole.is_some_and(|len| len <= longest && len > carried + read) {
            self.partial.extend_from_slice(back.get(..read).unwrap_or_default());
            return taken;
        }
        front.copy_from_slice(&self.partial[..carried]);
        let all = room.get(..carried + read).unwrap_or_default();
        loop {
            let rest = all.get(taken.bytes..).unwrap_or_default();
            match frame::length(rest) {
                // Data of somebody who never had an allocation: thousands of frames, none of which means anything.
                Ok(Some(_)) if !self.admitted && rest.first().is_some_and(|byte| byte >> 6 == 1) => {
                    taken.next = Next::End(Ending::Garbage);
                }
                Ok(Some(len)) if len > longest => taken.next = Next::End(Ending::Garbage),
                Ok(Some(len)) if len <= rest.len() => {
                    taken.bytes += len;
                    taken.frames += 1;
                    continue;
                }
                Ok(_) => {}
                Err(_) => taken.next = Next::End(Ending::Garbage),
            }
            self.partial.clear();
            self.partial.extend_from_slice(rest);
            if rest.is_empty() {
                self.partial.shrink_to(KEPT);
            }
            return taken;
        }
    }

    /// Reads once, whatever it is. `room` must be larger than a TLS record.
    pub(super) fn receive_raw(&mut self, room: &mut [u8], scratch: &mut [u8]) -> (usize, Next) {
        if !self.partial.is_empty() {
            let len = self.partial.len().min(room.len());
            room[..len].copy_from_slice(&self.partial[..len]);
            self.partial.drain(..len);
            return (len, Next::More);
        }
        match &mut self.tls {
            None => read(&self.socket, room, self.ending),
            Some(tls) => read_tls(&self.socket, tls, room, scratch, self.ending),
        }
    }

    /// Nothing more will be sent: says so to the client behind everything else. False: not all of it has been sent yet, ask
    /// again when there is room.
    ///
    /// # Errors
    /// The connection is broken.
    pub(super) fn finish(&mut self, now: Instant, spare: &mut Vec<Vec<u8>>) -> io::Result<bool> {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify(); // once, however often it is called
        }
        self.flush(now, spare)?;
        let done = self.blocked.is_none();
        if done {
            let _ = self.socket.shutdown(Shutdown::Write);
        }
        Ok(done)
    }

    /// Bytes that wait to be sent.
    pub(super) fn queued(&self) -> usize {
        self.out.len() - self.sent
    }

    /// Queues one frame. `spare` lends memory to a queue that has none.
    pub(super) fn push(&mut self, parts: &[&[u8]], spare: &mut Vec<Vec<u8>>) {
        if self.out.capacity() == 0 {
            self.out = spare.pop().unwrap_or_default();
        }
        if self.sent > 0 && self.sent >= self.out.len() / 2 {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
        parts.iter().for_each(|part| self.out.extend_from_slice(part));
        self.frames += 1;
    }

    /// The TLS session has something of its own to say.
    pub(super) fn wants_write(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Sends as much as the system takes. Returns the frames that were queued, once all of them are sent.
    ///
    /// # Errors
    /// The connection is broken.
    pub(super) fn flush(&mut self, now: Instant, spare: &mut Vec<Vec<u8>>) -> io::Result<u64> {
        let mut progress = false;
        let all = match &mut self.tls {
            None => write(&self.socket, &self.out, &mut self.sent, &mut progress),
            Some(tls) => write_tls(&self.socket, tls, &self.out, &mut self.sent, &mut progress),
        }?;
        if all {
            self.out.clear();
            self.sent = 0;
            self.blocked = None;
            if self.out.capacity() > KEPT {
                let memory = std::mem::take(&mut self.out);
                if memory.capacity() <= LENT {
                    spare.push(memory);
                }
            }
            return Ok(std::mem::take(&mut self.frames));
        }
        if progress || self.blocked.is_none() {
            self.blocked = Some(now);
        }
        Ok(0)
    }

    /// Says goodbye as far as the system takes it at once.
    pub(super) fn close(mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = tls.write_tls(&mut &self.socket);
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What the result of a read of `room` bytes says about the next one.
fn next(result: &io::Result<usize>, room: usize, ending: bool) -> Next {
    match result {
        Ok(0) if room > 0 => Next::End(Ending::Gone),
        // Less than there was room for: the system has no more, and will tell when it has.
        Ok(n) if *n < room && !ending => Next::Nothing,
        Ok(_) => Next::More,
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock => Next::Nothing,
            io::ErrorKind::Interrupted => Next::More,
            _ => Next::End(Ending::Failed),
        },
    }
}

fn read(mut socket: &TcpStream, room: &mut [u8], ending: bool) -> (usize, Next) {
    let len = room.len().min(READ);
    let room = &mut room[..len];
    let result = socket.read(room);
    let next = next(&result, len, ending);
    (result.unwrap_or(0), next)
}

fn read_tls(
    mut socket: &TcpStream,
    tls: &mut ServerConnection,
    room: &mut [u8],
    scratch: &mut [u8],
    ending: bool,
) -> (usize, Next) {
    let mut filled = 0;
    // What was decrypted before the connection came here.
    if drain(tls, room, &mut filled) {
        return (filled, Next::End(Ending::Gone));
    }
    let len = scratch.len().min(room.len().saturating_sub(filled + RECORD));
    let result = socket.read(&mut scratch[..len]);
    let next = next(&result, len, ending);
    let mut cipher = &scratch[..result.unwrap_or(0)];
    while !cipher.is_empty() {
        let taken = tls.read_tls(&mut cipher);
        if !taken.is_ok_and(|n| n > 0) || tls.process_new_packets().is_err() {
            return (filled, Next::End(Ending::Failed));
        }
        if drain(tls, room, &mut filled) {
            return (filled, Next::End(Ending::Gone));
        }
    }
    (filled, next)
}

/// Moves what is decrypted into the room; true: the client has said goodbye.
fn drain(tls: &mut ServerConnection, room: &mut [u8], filled: &mut usize) -> bool {
    let mut reader = tls.reader();
    loop {
        let rest = room.get_mut(*filled..).unwrap_or_default();
        if rest.is_empty() {
            return false;
        }
        match reader.read(rest) {
            Ok(0) => return true,
            Ok(n) => *filled += n,
            Err(_) => return false,
        }
    }
}

/// True: everything is sent.
fn write(mut socket: &TcpStream, out: &[u8], sent: &mut usize, progress: &mut bool) -> io::Result<bool> {
    loop {
        let rest = out.get(*sent..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(true);
        }
        match socket.write(rest) {
            Ok(n) => {
                *sent += n;
                *progress = true;
                return Ok(*sent == out.len());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Encrypts no more than goes out next, so that the queue's bound is one for what is encrypted, too.
fn write_tls(
    mut socket: &TcpStream,
    tls: &mut ServerConnection,
    out: &[u8],
    sent: &mut usize,
    progress: &mut bool,
) -> io::Result<bool> {
    loop {
        while tls.wants_write() {
            match tls.write_tls(&mut socket) {
                Ok(_) => *progress = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let rest = out.get(*sent..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(true);
        }
        match tls.writer().write(&rest[..rest.len().min(ENCRYPT)])? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            n => *sent += n,
        }
    }
}
