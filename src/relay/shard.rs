//! One thread of the relay: wait, receive, decide, send.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use nix::sys::epoll::Epoll;
use nix::sys::epoll::EpollCreateFlags;
use nix::sys::epoll::EpollEvent;
use nix::sys::epoll::EpollFlags;
use nix::sys::epoll::EpollTimeout;
use nix::sys::eventfd::EventFd;

use crate::stun::frame;
use crate::turn::AllocationId;
use crate::turn::FiveTuple;
use crate::turn::Keys;
use crate::turn::Output;
use crate::turn::Route;
use crate::turn::Server;
use crate::turn::Span;
use crate::turn::Transport;

use super::connection::Connection;
use super::exits::Exits;
use super::line::Line;
use super::mailbox::Letter;
use super::mailbox::Letters;
use super::pace::Pace;
use super::peers::PeerKey;
use super::peers::Peers;
use super::ports::Slices;
use super::stats::IoDrop;
use super::token::Token;
use super::train::Place;
use super::udp::Inbox;
use super::udp::SLOTS;
use super::udp::Socket;

/// Sockets served per wake-up, and what one of them may bring in before the others have their turn.
const EVENTS: usize = 64;
pub(super) const RECEIVES: usize = 4;
/// ICMP errors taken from one socket per wake-up.
const ERRORS: usize = 32;
/// How stale the servers' idea of the time of day may be.
const WALL_CLOCK: Duration = Duration::from_secs(1);

/// An order from outside.
#[derive(Debug)]
pub(super) enum Control {
    /// Serve this client's connection.
    Adopt(Box<Connection>),
    /// End the allocations of this credential.
    Revoke(String),
    /// No new allocations.
    Drain,
    /// Let in whom these let in, and nobody else.
    SetKeys(Arc<Keys>),
    /// End the thread.
    Stop,
}

/// Packets for other shards that may wait for the end of a batch.
const ACROSS: usize = 4096;
/// Packets that the server is asked about before others who wait for it have their turn: a batch may be a million of them.
const AT_A_TIME: usize = 1024;

/// What a slot of the inbox holds: datagrams of one length (`segment`), or frames that say themselves how long they are.
struct Arrival {
    from: From,
    len: usize,
    segment: Option<usize>,
}

enum From {
    Client(FiveTuple),
    Peer(AllocationId, SocketAddr),
}

/// A packet for an allocation of another shard.
#[derive(Clone, Copy)]
struct Across {
    from: SocketAddr,
    to: SocketAddr,
    room: Option<NonZeroU64>,
    place: Place,
    payload: Span,
}

pub(super) struct Shard {
    pub(super) index: usize,
    pub(super) servers: Arc<[Arc<Mutex<Server>>]>,
    pub(super) slices: Slices,
    pub(super) exits: Exits,
    pub(super) epoll: Epoll,
    wake: Arc<EventFd>,
    orders: mpsc::Receiver<Control>,
    pub(super) inbox: Inbox,
    /// Where each slot of the inbox was filled from.
    pub(super) origins: [Token; SLOTS],
    /// Of those that another shard has handed over (`Token::Wake`): whose packet it is.
    pub(super) visitors: [Option<FiveTuple>; SLOTS],
    across: Vec<Across>,
    pub(super) outputs: VecDeque<Output>,
    /// They are being acted on.
    pub(super) acting: bool,
    /// Sockets that had more to give than a turn allows.
    unfinished: Line,
    pub(super) deadline: Option<Instant>,
    wall_set: Instant,
    /// Arrivals of this turn.
    pub(super) arrivals: usize,
    /// TCP allocations' side towards the peers.
    pub(super) peers: Peers,
    /// Connections to peers that a limit holds up, and listeners that no descriptor is left for; and until when.
    pub(super) slowed: Line,
    pub(super) slowed_until: Option<Instant>,
    /// Where bytes are read into that go between two connections.
    pub(super) room: Vec<u8>,
    /// What other shards left for our connections; kept for its memory.
    pub(super) letters: Letters,
}

impl Shard {
    pub(super) fn new(
        index: usize,
        servers: Arc<[Arc<Mutex<Server>>]>,
        slices: Slices,
        exits: Exits,
        wake: Arc<EventFd>,
        orders: mpsc::Receiver<Control>,
    ) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        // No interest in writing: every send would wake us. Edges are enough, as a short batch shows that a socket is empty.
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        epoll.add(&*wake, EpollEvent::new(flags, Token::Wake.pack()))?;
        for (number, listener) in (0..).zip(&exits.listeners) {
            epoll.add(listener, EpollEvent::new(flags, Token::Listener(number).pack()))?;
        }
        Ok(Self {
            index,
            servers,
            slices,
            exits,
            epoll,
            wake,
            orders,
            inbox: Inbox::new(),
            origins: [Token::Wake; SLOTS],
            visitors: [None; SLOTS],
            across: Vec::new(),
            outputs: VecDeque::new(),
            acting: false,
            unfinished: Line::default(),
            deadline: None,
            wall_set: Instant::now(),
            arrivals: 0,
            peers: Peers::default(),
            slowed: Line::default(),
            slowed_until: None,
            room: Vec::new(),
            letters: Letters::default(),
        })
    }

    /// Runs until told to stop.
    pub(super) fn run(mut self) {
        let mut events = [EpollEvent::empty(); EVENTS];
        let mut pace = Pace::new(Instant::now());
        loop {
            if let Some(rest) = pace.rest() {
                thread::sleep(rest);
            }
            let count = self.wait(&mut events);
            let now = Instant::now();
            self.arrivals = 0;
            if now.saturating_duration_since(self.wall_set) >= WALL_CLOCK {
                self.wall_set = now;
                self.lock().set_wall_clock(now, SystemTime::now());
            }
            for token in self.unfinished.take() {
                self.read(now, token);
            }
            for event in &events[..count] {
                let token = Token::unpack(event.data());
                if token == Token::Wake {
                    if !self.obey(now) {
                        return self.exits.legs.close_all(now);
                    }
                    continue;
                }
                self.serve(now, token, event.events());
            }
            self.process(now);
            pace.turn(now, self.arrivals, self.exits.legs.take_frames());
            if self.deadline.is_some_and(|deadline| deadline <= now) {
                self.with_server(|server| server.handle_timeout(now));
            }
            self.hurry(now);
            self.look_after_legs(now);
        }
    }

    /// A socket has something to tell.
    fn serve(&mut self, now: Instant, token: Token, events: EpollFlags) {
        if let Token::Peer { slot, generation } = token {
            return self.serve_peer(now, PeerKey { slot, generation }, events);
        }
        if let Token::Leg { slot, generation } = token {
            let ending = EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
            let (writable, ending) = (events.contains(EpollFlags::EPOLLOUT), events.intersects(ending));
            let leg = self.exits.legs.leg(slot, generation);
            self.exits.legs.tell(leg, writable, ending);
            let spliced = self.exits.legs.get(leg).is_some_and(|link| link.spliced.is_some());
            if ending || spliced || events.contains(EpollFlags::EPOLLIN) {
                self.read(now, token);
            }
            return;
        }
        if events.contains(EpollFlags::EPOLLERR) {
            self.read_errors(now, token);
        }
        self.read(now, token);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Server> {
        lock(&self.servers[self.index])
    }

    /// Lets the server do something rare, and acts on what comes of it.
    pub(super) fn with_server(&mut self, act: impl FnOnce(&mut Server)) {
        {
            let mut server = lock(&self.servers[self.index]);
            act(&mut server);
            collect(&mut server, &mut self.outputs);
            self.deadline = server.poll_timeout();
        }
        self.act();
    }

    fn wait(&self, events: &mut [EpollEvent]) -> usize {
        let legs = self.exits.legs.deadline();
        let deadline = [self.deadline, legs, self.slowed_until].into_iter().flatten().min();
        let timeout = match deadline {
            _ if !self.unfinished.is_empty() => EpollTimeout::ZERO,
            None => EpollTimeout::NONE,
            Some(deadline) => {
                // Whole milliseconds, and one more: waking early would be a turn for nothing.
                let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
                EpollTimeout::try_from(left.min(Duration::from_secs(60))).unwrap_or(EpollTimeout::ZERO)
            }
        };
        // The only error that can come is a signal's.
        self.epoll.wait(events, timeout).unwrap_or(0)
    }

    /// Does what was ordered; false: stop.
    fn obey(&mut self, now: Instant) -> bool {
        let _ = self.wake.read();
        self.read_letters(now);
        // Another shard may have made our server want something.
        self.with_server(|_| {});
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Control::Revoke(id) => self.with_server(|server| server.revoke(now, &id)),
                Control::Drain => {
                    self.exits.legs.drain(now);
                    self.with_server(|server| server.drain(now));
                }
                Control::Adopt(connection) => self.adopt(now, *connection),
                Control::SetKeys(keys) => self.with_server(|server| server.set_keys(now, &keys)),
                Control::Stop => return false,
            }
        }
        true
    }

    fn socket(&self, token: Token) -> Option<&Socket> {
        match token {
            Token::Listener(index) => self.exits.listeners.get(usize::from(index)),
            Token::Relay { at, v6 } => self.exits.sockets.get(at, v6),
            _ => None,
        }
    }

    /// Takes in what a socket has, within its turn's bounds.
    pub(super) fn read(&mut self, now: Instant, token: Token) {
        match token {
            Token::Leg { slot, generation } => {
                return self.read_leg(now, token, self.exits.legs.leg(slot, generation));
            }
            Token::Listen(at) => return self.accept(now, at),
            Token::Peer { slot, generation } => return self.pump(now, PeerKey { slot, generation }),
            Token::Wake | Token::Listener(_) | Token::Relay { .. } => {}
        }
        for _ in 0..RECEIVES {
            if self.inbox.free() == 0 {
                self.process(now);
            }
            let (first, free) = (self.inbox.len(), self.inbox.free());
            // Looked up anew each time: what was just processed may have closed it.
            let socket = match token {
                Token::Listener(index) => self.exits.listeners.get(usize::from(index)),
                Token::Relay { at, v6 } => self.exits.sockets.get(at, v6),
                _ => None,
            };
            let Some(socket) = socket else { return };
            match self.inbox.receive(socket) {
                Ok(count) => {
                    self.origins[first..first + count].fill(token);
                    self.arrivals += count;
                    if count < free {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // A signal, or the ICMP error of an earlier send: the next call tells of datagrams.
                Err(_) => {}
            }
        }
        self.stand_in_line(token);
    }

    /// The socket has its next turn even if no edge comes; one turn, however often it was served in this one.
    pub(super) fn stand_in_line(&mut self, token: Token) {
        self.unfinished.stand(token);
    }

    /// Tells the server of the ICMP errors that a relay socket got.
    fn read_errors(&mut self, now: Instant, token: Token) {
        let Token::Relay { at, .. } = token else { return };
        for _ in 0..ERRORS {
            let Some(error) = self.socket(token).and_then(Socket::next_error) else { return };
            self.with_server(|server| {
                server.handle_icmp(now, at, error.peer, error.kind, error.code, error.info.to_be_bytes());
            });
        }
        // Each entry taken made another edge as long as there is a next one: it will be told of again.
    }

    /// Asks the server about everything in the inbox, and sends it on its way.
    pub(super) fn process(&mut self, now: Instant) {
        if self.inbox.len() == 0 {
            return;
        }
        let mut server = lock(&self.servers[self.index]);
        let mut asked = 0;
        for slot in 0..self.inbox.len() {
            let Some(arrival) = self.arrival(slot) else { continue };
            let mut offset = 0;
            loop {
                let rest = self.inbox.bytes(slot).get(offset..arrival.len).unwrap_or_default();
                let step = match arrival.segment {
                    Some(segment) => segment.min(rest.len()),
                    // Only whole frames were taken in.
                    None => frame::length(rest).ok().flatten().unwrap_or(rest.len()).min(rest.len()),
                };
                let packet = &rest[..step];
                let route = match arrival.from {
                    From::Peer(at, peer) => server.handle_peer(now, at, peer, packet.len()),
                    From::Client(tuple) => server.handle_client(now, tuple, packet),
                };
                let place = Place { slot: slot as u16, offset: offset as u32 };
                match route {
                    Route::Here => {}
                    Route::Across { from, to, room, payload } => {
                        self.across.push(Across { from, to, room, place, payload });
                    }
                    Route::Home { port } => {
                        let client = match arrival.from {
                            From::Client(client) => self.slices.shard(port).map(|shard| (shard, client)),
                            From::Peer(..) => None,
                        };
                        match client {
                            Some((shard, client)) => {
                                self.exits.post(shard, Letter::Packet(client), &[packet]);
                            }
                            None => self.exits.counts.count(IoDrop::NoSocket, 1),
                        }
                    }
                    route => self.exits.put(now, &mut self.inbox, place, route),
                }
                collect(&mut server, &mut self.outputs);
                offset += step;
                if offset >= arrival.len {
                    break;
                }
                asked += 1;
                if asked >= AT_A_TIME || self.exits.is_full() || self.across.len() >= ACROSS {
                    asked = 0;
                    drop(server);
                    self.cross(now);
                    self.exits.send(&self.inbox);
                    server = lock(&self.servers[self.index]);
                }
            }
        }
        self.deadline = server.poll_timeout();
        drop(server);
        self.cross(now);
        self.exits.send(&self.inbox);
        self.inbox.clear();
        self.act();
    }

    /// What is in a slot of the inbox; `None`: nothing to be handed to the server.
    fn arrival(&self, slot: usize) -> Option<Arrival> {
        let origin = self.origins[slot];
        if let (Token::Wake, Some(client)) = (origin, self.visitors[slot]) {
            let len = self.inbox.stream_len(slot);
            return Some(Arrival { from: From::Client(client), len, segment: Some(len) });
        }
        if let Token::Leg { slot: leg, generation } = origin {
            let link = self.exits.legs.get(self.exits.legs.leg(leg, generation))?;
            let len = self.inbox.stream_len(slot);
            return Some(Arrival { from: From::Client(link.client), len, segment: None });
        }
        let arrival = self.inbox.arrival(slot)?;
        if arrival.truncated {
            self.exits.counts.count(IoDrop::Truncated, 1);
            return None;
        }
        let from = match origin {
            Token::Relay { at, .. } => From::Peer(at, arrival.from),
            Token::Listener(index) => {
                let local = self.exits.listeners.get(usize::from(index))?.local();
                let server = arrival.to.map_or(local, |ip| SocketAddr::new(ip, local.port()));
                From::Client(FiveTuple { client: arrival.from, server, transport: Transport::Udp })
            }
            _ => return None,
        };
        Some(Arrival { from, len: arrival.len, segment: Some(arrival.segment) })
    }

    /// Has the other shards' servers decide about packets for their allocations, one lock at a time.
    fn cross(&mut self, now: Instant) {
        let mut held: Option<(usize, MutexGuard<'_, Server>)> = None;
        for packet in &self.across {
            let Some(shard) = self.slices.shard(packet.to.port()) else {
                self.exits.counts.count(IoDrop::NoSocket, 1);
                continue;
            };
            if held.as_ref().is_none_or(|(index, _)| *index != shard) {
                drop(held.take());
                held = self.servers.get(shard).map(|server| (shard, lock(server)));
            }
            let Some((_, server)) = held.as_mut() else { continue };
            let len = packet.payload.range().len();
            match server.handle_relayed(now, packet.to, packet.from, packet.room, len) {
                Route::Client { to, head, .. } => {
                    let route = Route::Client { to, head, payload: packet.payload };
                    self.exits.put(now, &mut self.inbox, packet.place, route);
                }
                Route::Here => {}
                _ => self.exits.counts.count(IoDrop::NoSocket, 1),
            }
        }
        drop(held);
        self.across.clear();
    }
}

pub(super) fn lock(server: &Mutex<Server>) -> MutexGuard<'_, Server> {
    server.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn collect(server: &mut Server, outputs: &mut VecDeque<Output>) {
    while let Some(output) = server.poll_output() {
        outputs.push_back(output);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_with_more_than_its_share_waits_in_line_once() {
        let listener = Socket::listener("127.0.0.1:0".parse().unwrap(), true).unwrap();
        let to = listener.local();
        let config = crate::turn::Config {
            realm: "tests".into(),
            software: String::new(),
            keys: Keys::default(),
            nonce_key: [0; 32],
            relays: Vec::new(),
            ports: 50000..=50001,
            all_ports: 50000..=50001,
            census: crate::turn::Census::default(),
            own: Vec::new(),
            discovery: Vec::new(),
            alternate: Vec::new(),
            peers: crate::turn::PeerPolicy::default(),
            limits: crate::turn::Limits::default(),
            tcp_relays: false,
            mobility: false,
            room_scope: true,
            scopes: crate::turn::Scopes::default(),
        };
        let now = Instant::now();
        let server = Arc::new(Mutex::new(Server::new(config, [0; 32], now, SystemTime::now())));
        let wake = Arc::new(EventFd::new().unwrap());
        let slices = Slices::cut(&(50000..=50001), 1).unwrap();
        let (_orders, inbox) = mpsc::sync_channel(1);
        let exits = Exits::new(0, vec![listener], Arc::new([]), Arc::default());
        let mut shard = Shard::new(0, [server].into(), slices, exits, wake, inbox).unwrap();
        let flood = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for turn in 1..=3 {
            for _ in 0..256 {
                flood.send_to(b"\xff", to).unwrap();
            }
            // As `run` does it: what was left over, then the edge that the new arrivals made.
            for token in shard.unfinished.take() {
                shard.read(now, token);
            }
            shard.read(now, Token::Listener(0));
            assert!(shard.unfinished.len() <= 1, "turn {turn}: {} in line", shard.unfinished.len());
        }
    }
}
