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

use crate::turn::AllocationId;
use crate::turn::FiveTuple;
use crate::turn::Output;
use crate::turn::RelayFailure;
use crate::turn::Route;
use crate::turn::Server;
use crate::turn::Span;
use crate::turn::Transport;

use super::ports::Slices;
use super::sockets::Sockets;
use super::stats::IoDrop;
use super::stats::IoDrops;
use super::train::Outbox;
use super::train::Place;
use super::train::Via;
use super::train::Way;
use super::udp::Inbox;
use super::udp::SLOTS;
use super::udp::Sender;
use super::udp::Socket;

/// Sockets served per wake-up, and what one of them may bring in before the others have their turn.
const EVENTS: usize = 64;
const RECEIVES: usize = 4;
/// ICMP errors taken from one socket per wake-up.
const ERRORS: usize = 32;
/// Under a steady stream, waking for every packet costs more than the packet. After this many turns in a row that came sooner than
/// `SOON` after one another, a turn begins only after a `PAUSE`, for as long as each pause brings in more than one
/// arrival. (The system may make it 50 µs longer.)
const STREAK: u32 = 8;
const SOON: Duration = Duration::from_micros(200);
const PAUSE: Duration = Duration::from_micros(100);
/// How stale the servers' idea of the time of day may be.
const WALL_CLOCK: Duration = Duration::from_secs(1);

/// An order from outside.
#[derive(Clone, Debug)]
pub(super) enum Control {
    /// End the allocations of this credential.
    Revoke(String),
    /// No new allocations.
    Drain,
    /// End the thread.
    Stop,
}

/// What an event is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Token {
    Wake,
    Listener(u8),
    Relay { at: AllocationId, v6: bool },
}

const SPECIAL: u64 = 1 << 63;
const V6: u64 = 1 << 62;

impl Token {
    fn pack(self) -> u64 {
        match self {
            Token::Wake => u64::MAX,
            Token::Listener(index) => SPECIAL | u64::from(index),
            Token::Relay { at, v6 } => {
                let family = if v6 { V6 } else { 0 };
                family | u64::from(at.slot & 0x3FFF_FFFF) << 32 | u64::from(at.generation)
            }
        }
    }

    fn unpack(data: u64) -> Self {
        if data == u64::MAX {
            Token::Wake
        } else if data & SPECIAL != 0 {
            Token::Listener(data as u8)
        } else {
            let at = AllocationId { slot: (data >> 32) as u32 & 0x3FFF_FFFF, generation: data as u32 };
            Token::Relay { at, v6: data & V6 != 0 }
        }
    }
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
    index: usize,
    servers: Arc<[Arc<Mutex<Server>>]>,
    slices: Slices,
    listeners: Vec<Socket>,
    sockets: Sockets,
    drops: Arc<IoDrops>,
    epoll: Epoll,
    wake: Arc<EventFd>,
    orders: mpsc::Receiver<Control>,
    inbox: Inbox,
    /// Where each slot of the inbox was filled from.
    origins: [Token; SLOTS],
    outbox: Outbox,
    sender: Sender,
    across: Vec<Across>,
    outputs: VecDeque<Output>,
    /// Sockets that had more to give than a turn allows.
    unfinished: Vec<Token>,
    deadline: Option<Instant>,
    wall_set: Instant,
    /// Arrivals of this turn.
    arrivals: usize,
    /// Which trains go together; kept for its memory.
    chosen: Vec<u16>,
}

impl Shard {
    pub(super) fn new(
        index: usize,
        servers: Arc<[Arc<Mutex<Server>>]>,
        slices: Slices,
        listeners: Vec<Socket>,
        drops: Arc<IoDrops>,
        wake: Arc<EventFd>,
        orders: mpsc::Receiver<Control>,
    ) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        // No interest in writing: every send would wake us. Edges are enough, as a short batch shows that a socket is empty.
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        epoll.add(&*wake, EpollEvent::new(flags, Token::Wake.pack()))?;
        for (number, listener) in (0..).zip(&listeners) {
            epoll.add(listener, EpollEvent::new(flags, Token::Listener(number).pack()))?;
        }
        Ok(Self {
            index,
            servers,
            slices,
            listeners,
            sockets: Sockets::default(),
            drops,
            epoll,
            wake,
            orders,
            inbox: Inbox::new(),
            origins: [Token::Wake; SLOTS],
            outbox: Outbox::default(),
            sender: Sender::new(),
            across: Vec::new(),
            outputs: VecDeque::new(),
            unfinished: Vec::new(),
            deadline: None,
            wall_set: Instant::now(),
            arrivals: 0,
            chosen: Vec::new(),
        })
    }

    /// Runs until told to stop.
    pub(super) fn run(mut self) {
        let mut events = [EpollEvent::empty(); EVENTS];
        let (mut streak, mut last) = (0, Instant::now());
        loop {
            let paused = streak >= STREAK;
            if paused {
                thread::sleep(PAUSE);
            }
            let count = self.wait(&mut events);
            let now = Instant::now();
            self.arrivals = 0;
            if now.saturating_duration_since(self.wall_set) >= WALL_CLOCK {
                self.wall_set = now;
                self.lock().set_wall_clock(now, SystemTime::now());
            }
            for token in std::mem::take(&mut self.unfinished) {
                self.read(now, token);
            }
            for event in &events[..count] {
                let token = Token::unpack(event.data());
                if token == Token::Wake {
                    if !self.obey(now) {
                        return;
                    }
                    continue;
                }
                if event.events().contains(EpollFlags::EPOLLERR) {
                    self.read_errors(now, token);
                }
                self.read(now, token);
            }
            self.process(now);
            let soon = now.saturating_duration_since(last) < SOON;
            let worthwhile = if paused { self.arrivals > 1 } else { self.arrivals > 0 && soon };
            streak = if worthwhile { (streak + 1).min(STREAK) } else { 0 };
            last = now;
            if self.deadline.is_some_and(|deadline| deadline <= now) {
                self.with_server(|server| server.handle_timeout(now));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Server> {
        lock(&self.servers[self.index])
    }

    /// Lets the server do something rare, and acts on what comes of it.
    fn with_server(&mut self, act: impl FnOnce(&mut Server)) {
        {
            let mut server = lock(&self.servers[self.index]);
            act(&mut server);
            collect(&mut server, &mut self.outputs);
            self.deadline = server.poll_timeout();
        }
        self.act();
    }

    fn wait(&self, events: &mut [EpollEvent]) -> usize {
        let timeout = match self.deadline {
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
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Control::Revoke(id) => self.with_server(|server| server.revoke(now, &id)),
                Control::Drain => self.with_server(|server| server.drain(now)),
                Control::Stop => return false,
            }
        }
        true
    }

    fn socket(&self, token: Token) -> Option<&Socket> {
        match token {
            Token::Wake => None,
            Token::Listener(index) => self.listeners.get(usize::from(index)),
            Token::Relay { at, v6 } => self.sockets.get(at, v6),
        }
    }

    /// Takes in what a socket has, within its turn's bounds.
    fn read(&mut self, now: Instant, token: Token) {
        for _ in 0..RECEIVES {
            if self.inbox.free() == 0 {
                self.process(now);
            }
            let (first, free) = (self.inbox.len(), self.inbox.free());
            // Looked up anew each time: what was just processed may have closed it.
            let socket = match token {
                Token::Wake => None,
                Token::Listener(index) => self.listeners.get(usize::from(index)),
                Token::Relay { at, v6 } => self.sockets.get(at, v6),
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
    fn stand_in_line(&mut self, token: Token) {
        if !self.unfinished.contains(&token) {
            self.unfinished.push(token);
        }
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
    fn process(&mut self, now: Instant) {
        if self.inbox.len() == 0 {
            return;
        }
        let mut server = lock(&self.servers[self.index]);
        for slot in 0..self.inbox.len() {
            let Some(arrival) = self.inbox.arrival(slot) else { continue };
            if arrival.truncated {
                self.drops.count(IoDrop::Truncated, 1);
                continue;
            }
            let origin = self.origins[slot];
            let tuple = match origin {
                Token::Listener(index) => self.listeners.get(usize::from(index)).map(|listener| FiveTuple {
                    client: arrival.from,
                    server: match arrival.to {
                        Some(ip) => SocketAddr::new(ip, listener.local().port()),
                        None => listener.local(),
                    },
                    transport: Transport::Udp,
                }),
                _ => None,
            };
            let mut offset = 0;
            loop {
                let end = (offset + arrival.segment).min(arrival.len);
                let packet = self.inbox.bytes(slot).get(offset..end).unwrap_or_default();
                let route = match (origin, tuple) {
                    (Token::Relay { at, .. }, _) => server.handle_peer(now, at, arrival.from, packet.len()),
                    (_, Some(tuple)) => server.handle_client(now, tuple, packet),
                    _ => Route::Here,
                };
                let place = Place { slot: slot as u16, offset: offset as u32 };
                match route {
                    Route::Here => {}
                    Route::Across { from, to, room, payload } => {
                        self.across.push(Across { from, to, room, place, payload });
                    }
                    route => {
                        put(&self.listeners, &mut self.outbox, &mut self.inbox, &self.drops, place, route);
                    }
                }
                collect(&mut server, &mut self.outputs);
                offset = end;
                if offset >= arrival.len {
                    break;
                }
            }
        }
        self.deadline = server.poll_timeout();
        drop(server);
        self.cross(now);
        self.send();
        self.inbox.clear();
        self.act();
    }

    /// Has the other shards' servers decide about packets for their allocations, one lock at a time.
    fn cross(&mut self, now: Instant) {
        let mut held: Option<(usize, MutexGuard<'_, Server>)> = None;
        for packet in &self.across {
            let Some(shard) = self.slices.shard(packet.to.port()) else {
                self.drops.count(IoDrop::NoSocket, 1);
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
                    put(&self.listeners, &mut self.outbox, &mut self.inbox, &self.drops, packet.place, route);
                }
                Route::Here => {}
                Route::Peer { .. } | Route::Across { .. } => self.drops.count(IoDrop::NoSocket, 1),
            }
        }
        drop(held);
        self.across.clear();
    }

    /// Sends what is in the outbox: first everything for clients, with one call per client-facing socket where the
    /// kernel takes it, then each relay socket's share.
    fn send(&mut self) {
        let drops = &self.drops;
        let mut lost = |packets, error: &io::Error| drops.count(IoDrop::of(error), packets);
        for (number, listener) in (0u8..).zip(&self.listeners) {
            self.chosen.clear();
            let trains = (0u16..).zip(self.outbox.trains());
            self.chosen
                .extend(trains.filter(|(_, t)| t.via == Via::Listener(number)).map(|(index, _)| index));
            if !self.chosen.is_empty() {
                self.sender.send(listener, &self.inbox, &self.outbox, &self.chosen, &mut lost);
            }
        }
        let trains = self.outbox.trains();
        let mut at = 0;
        while let Some(train) = trains.get(at) {
            let first = at;
            at += 1;
            let Via::Relay(allocation) = train.via else { continue };
            let v6 = train.to.is_ipv6();
            while trains.get(at).is_some_and(|t| t.via == train.via && t.to.is_ipv6() == v6) {
                at += 1;
            }
            let Some(socket) = self.sockets.get(allocation, v6) else {
                let packets = trains[first..at].iter().map(|t| u64::from(t.count)).sum();
                drops.count(IoDrop::NoSocket, packets);
                continue;
            };
            self.chosen.clear();
            self.chosen.extend(first as u16..at as u16);
            self.sender.send(socket, &self.inbox, &self.outbox, &self.chosen, &mut lost);
        }
        self.outbox.clear();
    }

    /// Does what the server asked for.
    fn act(&mut self) {
        while let Some(output) = self.outputs.pop_front() {
            match output {
                Output::Send { to, message } => {
                    let Some((_, listener)) = find(&self.listeners, to.server) else {
                        self.drops.count(IoDrop::NoSocket, 1);
                        continue;
                    };
                    if let Err(error) = listener.send(to.client, to.server.ip(), &message) {
                        self.drops.count(IoDrop::of(&error), 1);
                    }
                }
                Output::OpenRelay { at, local } => {
                    let result = self.open(at, local);
                    let now = Instant::now();
                    let mut server = lock(&self.servers[self.index]);
                    server.relay_opened(now, at, result, local);
                    collect(&mut server, &mut self.outputs);
                    self.deadline = server.poll_timeout();
                }
                Output::CloseRelay { at } => self.sockets.close(at),
                Output::CloseFamily { at, local } => self.sockets.close_family(at, local.is_ipv6()),
                // The seam for a kernel offload, which is not here.
                Output::ChannelBound { .. } | Output::ChannelUnbound { .. } => {}
            }
        }
    }

    fn open(&mut self, at: AllocationId, local: SocketAddr) -> Result<SocketAddr, RelayFailure> {
        let failure = |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse => RelayFailure::InUse,
            _ => RelayFailure::Refused,
        };
        let v6 = local.is_ipv6();
        let socket = self.sockets.open(at, local).map_err(failure)?;
        let bound = socket.local();
        let event =
            EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, Token::Relay { at, v6 }.pack());
        if self.epoll.add(socket, event).is_err() {
            self.sockets.close_family(at, v6);
            return Err(RelayFailure::Refused);
        }
        Ok(bound)
    }
}

fn lock(server: &Mutex<Server>) -> MutexGuard<'_, Server> {
    server.lock().unwrap_or_else(PoisonError::into_inner)
}

fn collect(server: &mut Server, outputs: &mut VecDeque<Output>) {
    while let Some(output) = server.poll_output() {
        outputs.push_back(output);
    }
}

/// The client-facing socket for packets from our address `server`.
fn find(listeners: &[Socket], server: SocketAddr) -> Option<(u8, &Socket)> {
    (0u8..).zip(listeners).find(|(_, listener)| {
        let local = listener.local();
        local == server
            || (local.ip().is_unspecified()
                && local.port() == server.port()
                && local.is_ipv4() == server.is_ipv4())
    })
}

/// Puts a packet with a way out into the outbox.
fn put(
    listeners: &[Socket],
    outbox: &mut Outbox,
    inbox: &mut Inbox,
    drops: &IoDrops,
    place: Place,
    route: Route,
) {
    match route {
        Route::Here | Route::Across { .. } => {}
        Route::Peer { at, peer, payload, dont_fragment } => {
            let way = Way { via: Via::Relay(at), to: peer, source: peer.ip(), dont_fragment };
            outbox.push(inbox, place, payload, way, None);
        }
        Route::Client { to, head, payload } => {
            let Some((number, _)) = find(listeners, to.server) else {
                drops.count(IoDrop::NoSocket, 1);
                return;
            };
            let (via, source) = (Via::Listener(number), to.server.ip());
            let way = Way { via, to: to.client, source, dont_fragment: false };
            outbox.push(inbox, place, payload, way, Some(&head));
        }
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
            secrets: Vec::new(),
            nonce_key: [0; 32],
            relays: Vec::new(),
            ports: 50000..=50001,
            all_ports: 50000..=50001,
            census: crate::turn::Census::default(),
            own: Vec::new(),
            peers: crate::turn::PeerPolicy::default(),
            limits: crate::turn::Limits::default(),
            room_scope: true,
            scopes: crate::turn::Scopes::default(),
        };
        let now = Instant::now();
        let server = Arc::new(Mutex::new(Server::new(config, [0; 32], now, SystemTime::now())));
        let wake = Arc::new(EventFd::new().unwrap());
        let slices = Slices::cut(&(50000..=50001), 1).unwrap();
        let (_orders, inbox) = mpsc::sync_channel(1);
        let mut shard =
            Shard::new(0, [server].into(), slices, vec![listener], Arc::default(), wake, inbox).unwrap();
        let flood = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for turn in 1..=3 {
            for _ in 0..256 {
                flood.send_to(b"\xff", to).unwrap();
            }
            // As `run` does it: what was left over, then the edge that the new arrivals made.
            for token in std::mem::take(&mut shard.unfinished) {
                shard.read(now, token);
            }
            shard.read(now, Token::Listener(0));
            assert!(shard.unfinished.len() <= 1, "turn {turn}: {} in line", shard.unfinished.len());
        }
    }
}
