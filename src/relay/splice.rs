//! What a shard does for TCP allocations (RFC 6062): listens, connects, and carries bytes between a peer and its client.
//!
//! Whoever does not read stops the other from being read: nothing is dropped, and little is held.

use std::io;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::time::Duration;
use std::time::Instant;

use nix::sys::epoll::EpollEvent;
use nix::sys::epoll::EpollFlags;

use crate::turn::AllocationId;
use crate::turn::ConnectionId;
use crate::turn::FiveTuple;
use crate::turn::RelayFailure;

use super::acts::failure;
use super::link::Next;
use super::peers::PeerKey;
use super::peers::Peers;
use super::shard::Shard;
use super::shard::lock;
use super::stats::Ending;
use super::token::Token;

/// Read at once: more than two TLS records, which a session may have decrypted already, and a third.
const ROOM: usize = 64 << 10;
/// Steps for one connection before the others have their turn.
const STEPS: usize = 8;
/// Accepted at one address per turn.
const ACCEPTS: usize = 16;
/// When to ask again for what a limit does not let through.
const PATIENCE: Duration = Duration::from_millis(20);

/// What came of carrying some bytes one way.
enum Step {
    /// Some: there may be more.
    Done,
    /// None, until an event.
    Stuck,
    /// None, for a limit's sake: ask again.
    Later,
    /// The connections are of no use any more.
    Broken,
}

impl Token {
    fn peer(key: PeerKey) -> Self {
        Token::Peer { slot: key.slot, generation: key.generation }
    }
}

impl Shard {
    /// Listens for an allocation.
    pub(super) fn listen(&mut self, at: AllocationId, local: SocketAddr) -> Result<SocketAddr, RelayFailure> {
        let listener = self.peers.listen(at, local).map_err(|error| failure(&error))?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, Token::Listen(at).pack());
        if self.epoll.add(listener, event).is_ok() {
            return Ok(local);
        }
        self.peers.close_listener(at);
        Err(RelayFailure::Refused)
    }

    /// Peers have connected to an allocation.
    pub(super) fn accept(&mut self, now: Instant, at: AllocationId) {
        for _ in 0..ACCEPTS {
            let (socket, peer) = match self.peers.accept(at) {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // One that has gone again.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                // No descriptor to be had, most likely. No event tells of the next one, and asking all the time is no use.
                Err(_) => return self.put_off(now, Token::Listen(at)),
            };
            let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
            let from = self.listens_at(peer);
            let mut connection = None;
            self.with_server(|server| connection = server.peer_accepted(now, at, peer, from));
            if let Some(connection) = connection {
                self.watch(now, connection, socket, true);
            }
        }
        self.stand_in_line(Token::Listen(at));
    }

    /// What the server that has this address's port says of it.
    #[expect(clippy::option_option, reason = "as Server::listens_at")]
    fn listens_at(&self, address: SocketAddr) -> Option<Option<std::num::NonZeroU64>> {
        let shard = self.slices.shard(address.port())?;
        lock(self.servers.get(shard)?).listens_at(address)
    }

    /// Connects an allocation to a peer.
    pub(super) fn connect(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        local: SocketAddr,
        peer: SocketAddr,
        ours: bool,
    ) {
        let allowed = !ours || self.listens_at(peer).is_some();
        match Peers::connect(local, peer) {
            Ok(socket) if allowed => self.watch(now, connection, socket, false),
            _ => self.with_server(|server| server.peer_connected(now, connection, false)),
        }
    }

    fn watch(&mut self, now: Instant, connection: ConnectionId, socket: TcpStream, connected: bool) {
        let key = self.peers.add(connection, socket, connected);
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        let event = EpollEvent::new(flags, Token::peer(key).pack());
        let watched = match self.peers.get_mut(key) {
            Some(peer) => self.epoll.add(peer.socket(), event).is_ok(),
            None => false,
        };
        if !watched {
            self.close_peer(now, key);
        }
    }

    /// Joins a peer's connection with the client's own.
    pub(super) fn splice(&mut self, now: Instant, connection: ConnectionId, client: FiveTuple) {
        let leg = client.transport.leg();
        if let (Some(key), Some(leg)) = (self.peers.find(connection), leg)
            && let Some(peer) = self.peers.get_mut(key)
            && self.exits.legs.splice(leg, key)
        {
            peer.leg = Some(leg);
            self.stand_in_line(Token::peer(key));
        } else {
            self.drop_peer(now, connection);
            self.with_server(|server| server.connection_closed(now, connection));
        }
    }

    /// A connection to a peer has something to tell.
    pub(super) fn serve_peer(&mut self, now: Instant, key: PeerKey, events: EpollFlags) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let broken = events.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
        peer.ending |= broken || events.contains(EpollFlags::EPOLLRDHUP);
        if !peer.connected {
            let result = peer.error();
            peer.connected = true;
            let (id, connected) = (peer.id, result.is_ok());
            if !connected {
                self.peers.remove(key);
            }
            self.with_server(|server| server.peer_connected(now, id, connected));
        } else if peer.leg.is_some() {
            self.pump(now, key);
        } else if broken {
            self.close_peer(now, key);
        }
    }

    /// Carries what there is, both ways, within its turn's bounds.
    pub(super) fn pump(&mut self, now: Instant, key: PeerKey) {
        for _ in 0..STEPS {
            let steps = [self.pump_to_peer(now, key), self.pump_to_client(now, key)];
            if steps.iter().any(|step| matches!(step, Step::Broken)) || self.is_over(key) {
                return self.close_peer(now, key);
            }
            if !steps.iter().any(|step| matches!(step, Step::Done)) {
                if steps.iter().any(|step| matches!(step, Step::Later)) {
                    self.put_off(now, Token::peer(key));
                }
                return;
            }
        }
        self.stand_in_line(Token::peer(key));
    }

    fn is_over(&mut self, key: PeerKey) -> bool {
        self.peers.get_mut(key).is_none_or(|peer| peer.to_peer.finished && peer.to_client.finished)
    }

    fn pump_to_peer(&mut self, now: Instant, key: PeerKey) -> Step {
        let Some(peer) = self.peers.get_mut(key) else { return Step::Broken };
        let Some(leg) = peer.leg else { return Step::Stuck };
        match peer.send(&[]) {
            Ok(0) => {}
            Ok(_) => return Step::Stuck,
            Err(_) => return Step::Broken,
        }
        let flow = &mut peer.to_peer;
        let mut held = std::mem::take(&mut flow.held);
        let mut next = Next::Nothing;
        if held.is_empty() {
            if flow.read_all {
                if !std::mem::replace(&mut flow.finished, true) {
                    peer.finish();
                }
                return Step::Stuck;
            }
            let room = room(&mut self.room);
            let Some((n, then)) = self.exits.legs.receive_raw(leg, room) else { return Step::Broken };
            next = then;
            held.extend_from_slice(room.get(..n).unwrap_or_default());
            flow.read_all = matches!(next, Next::End(Ending::Gone));
        }
        if matches!(next, Next::End(ending) if ending != Ending::Gone) {
            return Step::Broken;
        }
        let Some(may) = self.allowed(now, key, true, held.len()) else { return Step::Broken };
        let Some(peer) = self.peers.get_mut(key) else { return Step::Broken };
        if peer.send(held.get(..may).unwrap_or_default()).is_err() {
            return Step::Broken;
        }
        let (all, more) = (held.len(), next != Next::Nothing);
        held.drain(..may);
        peer.to_peer.held = held;
        step(all, may, more)
    }

    fn pump_to_client(&mut self, now: Instant, key: PeerKey) -> Step {
        let Some(peer) = self.peers.get_mut(key) else { return Step::Broken };
        let Some(leg) = peer.leg else { return Step::Stuck };
        match self.exits.legs.send_raw(now, leg, &[]) {
            Some(true) => {}
            Some(false) => return Step::Stuck,
            None => return Step::Broken,
        }
        let mut held = std::mem::take(&mut peer.to_client.held);
        let mut next = Next::Nothing;
        if held.is_empty() {
            if peer.to_client.read_all {
                if !peer.to_client.finished {
                    let Some(finished) = self.exits.legs.finish(now, leg) else { return Step::Broken };
                    peer.to_client.finished = finished;
                }
                return Step::Stuck;
            }
            let room = room(&mut self.room);
            let (n, then) = peer.receive(room);
            next = then;
            held.extend_from_slice(room.get(..n).unwrap_or_default());
            peer.to_client.read_all = matches!(next, Next::End(Ending::Gone));
        }
        if matches!(next, Next::End(ending) if ending != Ending::Gone) {
            return Step::Broken;
        }
        let Some(may) = self.allowed(now, key, false, held.len()) else { return Step::Broken };
        if self.exits.legs.send_raw(now, leg, held.get(..may).unwrap_or_default()).is_none() {
            return Step::Broken;
        }
        let (all, more) = (held.len(), next != Next::Nothing);
        held.drain(..may);
        if let Some(peer) = self.peers.get_mut(key) {
            peer.to_client.held = held;
        }
        step(all, may, more)
    }

    /// How many bytes may pass now; `None`: the server knows of no such connection.
    fn allowed(&mut self, now: Instant, key: PeerKey, to_peer: bool, bytes: usize) -> Option<usize> {
        let id = self.peers.get_mut(key)?.id;
        if bytes == 0 {
            return Some(0);
        }
        let mut may = None;
        self.with_server(|server| may = server.pass(now, id, to_peer, bytes));
        may
    }

    /// Has another turn, but not at once.
    fn put_off(&mut self, now: Instant, token: Token) {
        self.slowed.stand(token);
        // The first one's time is everybody's.
        self.slowed_until.get_or_insert(now + PATIENCE);
    }

    /// Asks again for what a limit did not let through.
    pub(super) fn hurry(&mut self, now: Instant) {
        if self.slowed_until.is_some_and(|until| until <= now) {
            self.slowed_until = None;
            for token in self.slowed.take() {
                self.read(now, token);
            }
        }
    }

    /// Closes a connection to a peer and the client's that belongs to it, and tells the server.
    pub(super) fn close_peer(&mut self, now: Instant, key: PeerKey) {
        let Some(peer) = self.peers.remove(key) else { return };
        if let Some(leg) = peer.leg {
            self.close_leg(now, leg, Ending::Gone);
        }
        self.with_server(|server| server.connection_closed(now, peer.id));
    }

    /// The same, where the server knows.
    pub(super) fn drop_peer(&mut self, now: Instant, connection: ConnectionId) {
        let Some(peer) = self.peers.find(connection).and_then(|key| self.peers.remove(key)) else { return };
        if let Some(leg) = peer.leg {
            self.close_leg(now, leg, Ending::Ended);
        }
    }
}

fn step(all: usize, may: usize, more: bool) -> Step {
    if may < all {
        Step::Later
    } else if all > 0 || more {
        Step::Done
    } else {
        Step::Stuck
    }
}

/// Where bytes are read into; memory that is not there until it is needed.
fn room(room: &mut Vec<u8>) -> &mut [u8] {
    if room.is_empty() {
        room.resize(ROOM, 0);
    }
    room
}
