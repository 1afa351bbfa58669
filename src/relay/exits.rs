//! Every way out of a shard: the client-facing sockets, the relay sockets, the clients' connections, other shards' mailboxes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::turn::FiveTuple;
use crate::turn::Leg;
use crate::turn::Route;

use super::legs::Legs;
use super::mailbox::Letter;
use super::mailbox::Letters;
use super::mailbox::Mailbox;
use super::sockets::Sockets;
use super::stats::IoCounts;
use super::stats::IoDrop;
use super::train::Outbox;
use super::train::Place;
use super::train::Via;
use super::train::Way;
use super::udp::HEADROOM;
use super::udp::Inbox;
use super::udp::Sender;
use super::udp::Socket;

static ZEROS: [u8; 4] = [0; 4];

/// Packets leave a shard through here.
pub(super) struct Exits {
    shard: usize,
    pub(super) listeners: Vec<Socket>,
    pub(super) sockets: Sockets,
    pub(super) legs: Legs,
    mailboxes: Arc<[Mailbox]>,
    pub(super) counts: Arc<IoCounts>,
    outbox: Outbox,
    sender: Sender,
    /// Which trains go together; kept for its memory.
    chosen: Vec<u16>,
}

impl Exits {
    pub(super) fn new(
        shard: usize,
        listeners: Vec<Socket>,
        mailboxes: Arc<[Mailbox]>,
        counts: Arc<IoCounts>,
    ) -> Self {
        Self {
            shard,
            listeners,
            sockets: Sockets::default(),
            legs: Legs::new(shard, Arc::clone(&counts)),
            mailboxes,
            counts,
            outbox: Outbox::default(),
            sender: Sender::new(),
            chosen: Vec::new(),
        }
    }

    /// Puts a packet with a way out where it leaves.
    pub(super) fn put(&mut self, now: Instant, inbox: &mut Inbox, place: Place, route: Route) {
        match route {
            Route::Here | Route::Across { .. } | Route::Home { .. } => {}
            Route::Peer { at, peer, payload, dont_fragment } => {
                let way = Way { via: Via::Relay(at), to: peer, source: peer.ip(), dont_fragment };
                self.outbox.push(inbox, place, payload, way, None);
            }
            Route::Client { to, head, payload } => {
                if let Some(leg) = to.transport.leg() {
                    let start = HEADROOM + place.offset as usize;
                    let range = start + usize::from(payload.start)..start + usize::from(payload.end);
                    let bytes = inbox.whole(place.slot.into()).get(range).unwrap_or_default();
                    let padding = ZEROS.get(..head.padding.into()).unwrap_or_default();
                    self.push(now, leg, &[head.as_bytes(), bytes, padding]);
                    return;
                }
                let Some((number, _)) = find(&self.listeners, to.server) else {
                    self.counts.count(IoDrop::NoSocket, 1);
                    return;
                };
                let (via, source) = (Via::Listener(number), to.server.ip());
                let way = Way { via, to: to.client, source, dont_fragment: false };
                self.outbox.push(inbox, place, payload, way, Some(&head));
            }
        }
    }

    /// Queues a frame for a client's connection, in whichever shard.
    fn push(&mut self, now: Instant, leg: Leg, parts: &[&[u8]]) {
        if usize::from(leg.shard) == self.shard {
            self.legs.push(now, leg, parts);
        } else {
            self.post(leg.shard.into(), Letter::Frame(leg), parts);
        }
    }

    /// Leaves a letter for another shard.
    pub(super) fn post(&self, shard: usize, letter: Letter, parts: &[&[u8]]) {
        if !self.mailboxes.get(shard).is_some_and(|its| its.post(letter, parts)) {
            self.counts.count(IoDrop::MailboxFull, 1);
        }
    }

    /// Takes out what other shards have left.
    pub(super) fn collect(&mut self, letters: &mut Letters) {
        if let Some(mailbox) = self.mailboxes.get(self.shard) {
            mailbox.take(letters);
        }
    }

    /// Has another shard look after what its server wants done.
    pub(super) fn rouse(&self, shard: usize) {
        if let Some(mailbox) = self.mailboxes.get(shard) {
            mailbox.rouse();
        }
    }

    /// Sends a message of the server's own.
    pub(super) fn answer(&mut self, now: Instant, to: FiveTuple, message: &[u8]) {
        if let Some(leg) = to.transport.leg() {
            if usize::from(leg.shard) == self.shard {
                self.legs.answer(now, leg, message);
            } else {
                self.post(leg.shard.into(), Letter::Frame(leg), &[message]);
            }
            return;
        }
        let Some((_, listener)) = find(&self.listeners, to.server) else {
            self.counts.count(IoDrop::NoSocket, 1);
            return;
        };
        if let Err(error) = listener.send(to.client, to.server.ip(), message) {
            self.counts.count(IoDrop::of(&error), 1);
        }
    }

    /// Whether the datagrams that wait should be sent before there are more.
    pub(super) fn is_full(&self) -> bool {
        self.outbox.is_full()
    }

    /// Sends what is in the outbox: first everything for clients, with one call per client-facing socket where the
    /// kernel takes it, then each relay socket's share.
    pub(super) fn send(&mut self, inbox: &Inbox) {
        let counts = &self.counts;
        let mut lost = |packets, error: &io::Error| counts.count(IoDrop::of(error), packets);
        for (number, listener) in (0u8..).zip(&self.listeners) {
            self.chosen.clear();
            let trains = (0u16..).zip(self.outbox.trains());
            self.chosen
                .extend(trains.filter(|(_, t)| t.via == Via::Listener(number)).map(|(index, _)| index));
            if !self.chosen.is_empty() {
                self.sender.send(listener, inbox, &self.outbox, &self.chosen, &mut lost);
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
                counts.count(IoDrop::NoSocket, packets);
                continue;
            };
            self.chosen.clear();
            self.chosen.extend(first as u16..at as u16);
            self.sender.send(socket, inbox, &self.outbox, &self.chosen, &mut lost);
        }
        self.outbox.clear();
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
