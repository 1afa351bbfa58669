//! What a shard does with its clients' connections: takes them in, reads them, closes them.

use std::time::Instant;

use nix::sys::epoll::EpollEvent;
use nix::sys::epoll::EpollFlags;

use crate::turn::FiveTuple;
use crate::turn::Leg;

use super::connection::Connection;
use super::link::Next;
use super::mailbox::Letter;
use super::shard::RECEIVES;
use super::shard::Shard;
use super::shard::lock;
use super::stats::Ending;
use super::steer;
use super::token::Token;

impl Shard {
    /// A new connection: it is watched, and what was read of it already is looked at in this very turn.
    pub(super) fn adopt(&mut self, now: Instant, connection: Connection) {
        let leg = self.exits.legs.open(now, connection);
        let token = Token::Leg { slot: leg.slot, generation: leg.generation };
        // Interest in writing costs nothing here: a stream tells of room only after there was none.
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        let watched = self
            .exits
            .legs
            .get(leg)
            .is_some_and(|link| self.epoll.add(link, EpollEvent::new(flags, token.pack())).is_ok());
        if watched {
            self.read(now, token);
        } else {
            self.close_leg(now, leg, Ending::Failed);
        }
    }

    /// Takes in what a connection has, within its turn's bounds.
    pub(super) fn read_leg(&mut self, now: Instant, token: Token, leg: Leg) {
        match self.exits.legs.get(leg) {
            None => return,
            Some(link) => {
                if let Some(peer) = link.spliced {
                    return self.pump(now, peer);
                }
            }
        }
        for _ in 0..RECEIVES {
            if self.inbox.free() == 0 {
                self.process(now);
            }
            let first = self.inbox.len();
            let taken = self.inbox.room().and_then(|room| self.exits.legs.receive(leg, room));
            let Some(taken) = taken else { return };
            if taken.bytes > 0 {
                self.inbox.took(taken.bytes);
                self.origins[first] = token;
                self.arrivals += 1;
            }
            match taken.next {
                Next::More => {}
                Next::Nothing => return,
                Next::End(ending) => {
                    // What came before the end still counts.
                    self.process(now);
                    return self.drop_leg(now, leg, ending);
                }
            }
        }
        self.stand_in_line(token);
    }

    /// Takes over what other shards have left.
    pub(super) fn read_letters(&mut self, now: Instant) {
        let mut letters = std::mem::take(&mut self.letters);
        self.exits.collect(&mut letters);
        for (letter, bytes) in letters.iter() {
            match letter {
                // An answer, by its first two bits.
                Letter::Frame(leg) if bytes.first().is_some_and(|byte| byte >> 6 == 0) => {
                    self.exits.legs.answer(now, leg, bytes);
                }
                Letter::Frame(leg) => self.exits.legs.push(now, leg, &[bytes]),
                Letter::HangUp(leg) => self.drop_leg(now, leg, Ending::Ended),
                Letter::Packet(client) => self.read_packet(now, client, bytes),
            }
        }
        letters.clear();
        self.letters = letters;
    }

    /// A packet of a client of ours that came to another shard.
    fn read_packet(&mut self, now: Instant, client: FiveTuple, bytes: &[u8]) {
        if self.inbox.free() == 0 {
            self.process(now);
        }
        let slot = self.inbox.len();
        let Some(room) = self.inbox.room().and_then(|room| room.get_mut(..bytes.len())) else { return };
        room.copy_from_slice(bytes);
        self.inbox.took(bytes.len());
        self.origins[slot] = Token::Wake;
        self.visitors[slot] = Some(client);
        self.arrivals += 1;
    }

    /// A client has moved, or one that had has moved on: the shard that its packets come to is told.
    pub(super) fn moved(&mut self, now: Instant, client: FiveTuple, port: Option<u16>) {
        let shard = match client.transport.leg() {
            Some(leg) => usize::from(leg.shard),
            None => steer::shard_of(client.client.ip(), self.servers.len()),
        };
        if let Some(server) = self.servers.get(shard).filter(|_| shard != self.index) {
            lock(server).set_home(now, client, port);
            self.exits.rouse(shard);
        }
    }

    /// Closes the connection of a client whose allocation has ended, in whichever shard it is.
    pub(super) fn hang_up(&mut self, now: Instant, leg: Leg) {
        if usize::from(leg.shard) == self.index {
            self.drop_leg(now, leg, Ending::Ended);
        } else {
            self.exits.post(leg.shard.into(), Letter::HangUp(leg), &[]);
        }
    }

    /// Closes a connection, and ends its client's allocation.
    pub(super) fn drop_leg(&mut self, now: Instant, leg: Leg, ending: Ending) {
        if let Some(peer) = self.exits.legs.get(leg).and_then(|link| link.spliced) {
            return self.close_peer(now, peer);
        }
        self.close_leg(now, leg, ending);
    }

    /// Closes a connection, and ends the allocation that its client has, whatever the server last heard of it: one may have been
    /// asked for in the very batch that led to this.
    pub(super) fn close_leg(&mut self, now: Instant, leg: Leg, ending: Ending) {
        if let Some(client) = self.exits.legs.close(now, leg, ending) {
            self.with_server(|server| server.client_gone(now, client));
        }
    }

    /// Sends what waits for the clients, and closes the connections that are broken or have nothing to do here.
    pub(super) fn look_after_legs(&mut self, now: Instant) {
        self.exits.legs.flush(now);
        while let Some(leg) = self.exits.legs.next_broken() {
            self.drop_leg(now, leg, Ending::Failed);
        }
        if self.exits.legs.deadline().is_none_or(|due| due > now) {
            return;
        }
        while let Some(client) = self.exits.legs.next_due(now) {
            let allocated = self.lock().has_allocation(&client);
            let Some(leg) = client.transport.leg() else { continue };
            if let Some(ending) = self.exits.legs.look(now, leg, allocated) {
                self.drop_leg(now, leg, ending);
            }
        }
    }
}
