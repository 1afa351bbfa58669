//! The peers' side of TCP allocations (RFC 6062): where they listen, and their connections to peers.

use std::collections::HashMap;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::time::Duration;

use socket2::Domain;
use socket2::Protocol;
use socket2::SockRef;
use socket2::Socket;
use socket2::TcpKeepalive;
use socket2::Type;

use crate::turn::AllocationId;
use crate::turn::ConnectionId;
use crate::turn::Leg;

use super::link::Next;
use super::stats::Ending;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 16;
/// A peer that answers to nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(30);

/// A place in the table, and which tenant of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PeerKey {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

/// A connection to a peer.
pub(super) struct Peer {
    socket: TcpStream,
    pub(super) id: ConnectionId,
    /// It has been told whether it connected.
    pub(super) connected: bool,
    /// The client's connection that it is joined with.
    pub(super) leg: Option<Leg>,
    /// The peer has closed its side, or all: read until the end shows.
    pub(super) ending: bool,
    /// From the client, allowed and not yet taken by the system.
    out: Vec<u8>,
    pub(super) to_peer: Flow,
    pub(super) to_client: Flow,
}

/// One direction of a joined connection.
#[derive(Default)]
pub(super) struct Flow {
    /// Read, and not allowed to go on yet.
    pub(super) held: Vec<u8>,
    /// There is no more to read.
    pub(super) read_all: bool,
    /// And the receiver has been told.
    pub(super) finished: bool,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    peer: Option<Box<Peer>>,
}

/// All of a shard.
#[derive(Default)]
pub(super) struct Peers {
    listeners: HashMap<(u32, u32), TcpListener>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_id: HashMap<ConnectionId, PeerKey>,
}

impl Peers {
    /// Listens where an allocation is.
    pub(super) fn listen(&mut self, at: AllocationId, local: SocketAddr) -> io::Result<&TcpListener> {
        let socket = bound(local)?;
        socket.listen(BACKLOG)?;
        let listener = self.listeners.entry((at.slot, at.generation));
        Ok(listener.insert_entry(TcpListener::from(socket)).into_mut())
    }

    /// Closes it.
    pub(super) fn close_listener(&mut self, at: AllocationId) {
        self.listeners.remove(&(at.slot, at.generation));
    }

    /// The next connection that a peer has opened to an allocation.
    pub(super) fn accept(&self, at: AllocationId) -> io::Result<(TcpStream, SocketAddr)> {
        let listener = self.listeners.get(&(at.slot, at.generation)).ok_or(io::ErrorKind::WouldBlock)?;
        let (socket, from) = listener.accept()?;
        socket.set_nonblocking(true)?;
        Ok((socket, from))
    }

    /// Begins to connect, from an address that an allocation listens at.
    pub(super) fn connect(local: SocketAddr, peer: SocketAddr) -> io::Result<TcpStream> {
        let socket = bound(local)?;
        match socket.connect(&peer.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
            _ => Ok(socket.into()),
        }
    }

    pub(super) fn add(&mut self, id: ConnectionId, socket: TcpStream, connected: bool) -> PeerKey {
        let _ = socket.set_nodelay(true);
        let options = SockRef::from(&socket);
        let _ = options.set_tcp_user_timeout(Some(SILENCE));
        let _ = options.set_tcp_keepalive(&TcpKeepalive::new().with_time(SILENCE));
        let index = self.free.pop().unwrap_or(self.slots.len() as u32);
        if index as usize == self.slots.len() {
            self.slots.push(Slot::default());
        }
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.peer = Some(Box::new(Peer {
            socket,
            id,
            connected,
            leg: None,
            ending: false,
            out: Vec::new(),
            to_peer: Flow::default(),
            to_client: Flow::default(),
        }));
        let key = PeerKey { slot: index, generation: slot.generation };
        self.by_id.insert(id, key);
        key
    }

    pub(super) fn find(&self, id: ConnectionId) -> Option<PeerKey> {
        self.by_id.get(&id).copied()
    }

    pub(super) fn get_mut(&mut self, key: PeerKey) -> Option<&mut Peer> {
        let slot = self.slots.get_mut(key.slot as usize).filter(|slot| slot.generation == key.generation)?;
        slot.peer.as_deref_mut()
    }

    /// Forgets a connection, which closes it.
    pub(super) fn remove(&mut self, key: PeerKey) -> Option<Box<Peer>> {
        let slot = self.slots.get_mut(key.slot as usize).filter(|slot| slot.generation == key.generation)?;
        let peer = slot.peer.take()?;
        self.free.push(key.slot);
        self.by_id.remove(&peer.id);
        Some(peer)
    }
}

impl Peer {
    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Why it could not connect, if it could not.
    pub(super) fn error(&self) -> io::Result<()> {
        match self.socket.take_error()? {
            Some(error) => Err(error),
            None => self.socket.peer_addr().map(|_| ()),
        }
    }

    pub(super) fn receive(&self, room: &mut [u8]) -> (usize, Next) {
        match (&self.socket).read(room) {
            Ok(0) => (0, Next::End(Ending::Gone)),
            Ok(n) if n < room.len() && !self.ending => (n, Next::Nothing),
            Ok(n) => (n, Next::More),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => (0, Next::Nothing),
                io::ErrorKind::Interrupted => (0, Next::More),
                _ => (0, Next::End(Ending::Failed)),
            },
        }
    }

    /// Sends these bytes behind what waits, and says how many wait then.
    ///
    /// # Errors
    /// The connection is broken.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.out.is_empty() {
            let n = write(&self.socket, &self.out)?;
            self.out.drain(..n);
        }
        let n = if self.out.is_empty() { write(&self.socket, bytes)? } else { 0 };
        self.out.extend_from_slice(bytes.get(n..).unwrap_or_default());
        if self.out.is_empty() {
            self.out.shrink_to(0);
        }
        Ok(self.out.len())
    }

    /// Nothing more will be sent.
    pub(super) fn finish(&self) {
        let _ = self.socket.shutdown(Shutdown::Write);
    }
}

/// As much as the system takes.
fn write(mut socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        match socket.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => at += n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(at)
}

/// A socket at an allocation's address, beside the others there: one listens, each connection to a peer has one.
fn bound(local: SocketAddr) -> io::Result<Socket> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(local), kind, Some(Protocol::TCP))?;
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&local.into())?;
    Ok(socket)
}
