//! The clients' connections of a shard: which there are, which have something to send, and when each is looked at.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use crate::stun::Class;
use crate::stun::message::kind;
use crate::stun::method;
use crate::turn::FiveTuple;
use crate::turn::Leg;
use crate::turn::Transport;

use super::connection::Connection;
use super::link;
use super::link::Link;
use super::link::Next;
use super::link::Taken;
use super::peers::PeerKey;
use super::stats::Ending;
use super::stats::IoCounts;
use super::stats::IoDrop;

/// Bytes that wait for one client to read.
const QUEUE: usize = 256 << 10;
/// And so many more for answers, which nobody asks for again over a stream.
const ANSWERS: usize = 16 << 10;
/// A queue this long is sent before the turn is over.
const LONG: usize = 64 << 10;
/// How long a connection may be there without an allocation and without asking for anything.
const IDLE: Duration = Duration::from_secs(30);
/// The same while the relay drains: nobody will get an allocation.
const IDLE_DRAINING: Duration = Duration::from_secs(1);
/// How long what waits may not move.
const STALL: Duration = Duration::from_secs(10);
/// Memory lent from queue to queue.
const SPARE: usize = 64;
/// What the kernel may hold of a connection before it is on its way: late media is of no use.
const UNSENT: u32 = 128 << 10;

#[derive(Default)]
struct Slot {
    generation: u32,
    link: Option<Box<Link>>,
}

/// Connections in slots, as [`Leg`] names them.
pub(super) struct Legs {
    shard: u16,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// With something to send.
    dirty: Vec<u32>,
    /// Found broken while sending.
    broken: Vec<Leg>,
    due: BTreeSet<(Instant, u32)>,
    spare: Vec<Vec<u8>>,
    /// For ciphertext; empty until there is any.
    scratch: Vec<u8>,
    idle: Duration,
    /// Reads and frames queued in this turn.
    frames: usize,
    counts: Arc<IoCounts>,
}

impl Legs {
    pub(super) fn new(shard: usize, counts: Arc<IoCounts>) -> Self {
        Self {
            shard: shard as u16,
            slots: Vec::new(),
            free: Vec::new(),
            dirty: Vec::new(),
            broken: Vec::new(),
            due: BTreeSet::new(),
            spare: Vec::new(),
            scratch: Vec::new(),
            idle: IDLE,
            frames: 0,
            counts,
        }
    }

    /// Takes a connection in.
    pub(super) fn open(&mut self, now: Instant, connection: Connection) -> Leg {
        let index = self.free.pop().unwrap_or(self.slots.len() as u32);
        if index as usize == self.slots.len() {
            self.slots.push(Slot::default());
        }
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        let leg = Leg { shard: self.shard, slot: index, generation: slot.generation };
        let tls = connection.tls.is_some();
        if tls && self.scratch.is_empty() {
            self.scratch = vec![0; link::READ_TLS];
        }
        let _ = socket2::SockRef::from(&connection.socket).set_tcp_notsent_lowat(UNSENT);
        let transport = if tls { Transport::Tls(leg) } else { Transport::Tcp(leg) };
        let client = FiveTuple { client: connection.client, server: connection.server, transport };
        let due = now + self.idle;
        slot.link = Some(Box::new(Link::new(connection, client, now, due)));
        self.due.insert((due, index));
        self.counts.opened(tls);
        // A TLS session may have tickets to send.
        self.mark(leg);
        leg
    }

    pub(super) fn get(&self, leg: Leg) -> Option<&Link> {
        self.slots.get(leg.slot as usize).filter(|slot| slot.generation == leg.generation)?.link.as_deref()
    }

    /// Joins a connection with one to a peer.
    pub(super) fn splice(&mut self, leg: Leg, peer: PeerKey) -> bool {
        self.get_mut(leg).is_some_and(|link| *link.spliced.get_or_insert(peer) == peer)
    }

    /// Reads once from a connection that is joined with one to a peer; `None`: it is gone.
    pub(super) fn receive_raw(&mut self, leg: Leg, room: &mut [u8]) -> Option<(usize, Next)> {
        Some(find(&mut self.slots, leg)?.receive_raw(room, &mut self.scratch))
    }

    /// Sends what a peer sent, and says whether all is on its way, encrypted bytes and all; `None`: the connection is gone.
    pub(super) fn send_raw(&mut self, now: Instant, leg: Leg, bytes: &[u8]) -> Option<bool> {
        let link = find(&mut self.slots, leg)?;
        if !bytes.is_empty() {
            link.push(&[bytes], &mut self.spare);
        }
        link.flush(now, &mut self.spare).ok()?;
        Some(link.blocked.is_none())
    }

    /// Nothing more will be sent to this client; false: it cannot be told yet. `None`: the connection is gone.
    pub(super) fn finish(&mut self, now: Instant, leg: Leg) -> Option<bool> {
        find(&mut self.slots, leg)?.finish(now, &mut self.spare).ok()
    }

    fn get_mut(&mut self, leg: Leg) -> Option<&mut Link> {
        find(&mut self.slots, leg)
    }

    /// The name of a connection of this shard.
    pub(super) fn leg(&self, slot: u32, generation: u32) -> Leg {
        Leg { shard: self.shard, slot, generation }
    }

    /// Reads once from a connection; `None`: it is gone.
    pub(super) fn receive(&mut self, leg: Leg, room: &mut [u8]) -> Option<Taken> {
        let link = find(&mut self.slots, leg).filter(|link| link.spliced.is_none())?;
        let taken = link.receive(room, &mut self.scratch);
        self.counts.frames_in(taken.frames);
        self.frames += 1;
        if link.wants_write() {
            self.mark(leg);
        }
        Some(taken)
    }

    /// What an event says of a connection.
    pub(super) fn tell(&mut self, leg: Leg, writable: bool, ending: bool) {
        let Some(link) = self.get_mut(leg) else { return };
        link.ending |= ending;
        if writable && link.blocked.is_some() {
            self.mark(leg);
        }
    }

    /// Queues a frame of data for a client, if there is room.
    pub(super) fn push(&mut self, now: Instant, leg: Leg, parts: &[&[u8]]) {
        self.queue(now, leg, parts, QUEUE);
    }

    /// Queues an answer.
    pub(super) fn answer(&mut self, now: Instant, leg: Leg, message: &[u8]) {
        let Some(link) = self.get_mut(leg) else { return self.counts.count(IoDrop::NoConnection, 1) };
        let mut bits = [0; 2];
        bits.iter_mut().zip(message).for_each(|(bit, &byte)| *bit = byte);
        let said = u16::from_be_bytes(bits);
        if said & Class::Error.bits() == Class::Success.bits() {
            link.heard = now;
            // (A moved client never asked for an allocation over this connection.)
            let given = [method::ALLOCATE, method::REFRESH].map(|method| kind(method, Class::Success));
            link.admitted |= given.contains(&said);
        }
        self.queue(now, leg, &[message], QUEUE + ANSWERS);
    }

    fn queue(&mut self, now: Instant, leg: Leg, parts: &[&[u8]], most: usize) {
        let Some(link) = find(&mut self.slots, leg) else {
            return self.counts.count(IoDrop::NoConnection, 1);
        };
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if link.queued() + len > most {
            return self.counts.count(IoDrop::QueueFull, 1);
        }
        link.push(parts, &mut self.spare);
        self.frames += 1;
        // Whoever is blocked sends when told that there is room.
        if link.blocked.is_none() {
            let long = link.queued() >= LONG;
            self.mark(leg);
            if long {
                self.send(now, leg);
            }
        }
    }

    fn mark(&mut self, leg: Leg) {
        if let Some(link) = self.get_mut(leg)
            && !link.dirty
        {
            link.dirty = true;
            self.dirty.push(leg.slot);
        }
    }

    /// Sends what waits: a call for each connection with something to send.
    pub(super) fn flush(&mut self, now: Instant) {
        while let Some(slot) = self.dirty.pop() {
            let generation = self.slots.get(slot as usize).map_or(0, |slot| slot.generation);
            let leg = self.leg(slot, generation);
            if let Some(link) = self.get_mut(leg) {
                link.dirty = false;
                self.send(now, leg);
            }
        }
        self.spare.truncate(SPARE);
    }

    fn send(&mut self, now: Instant, leg: Leg) {
        let Some(link) = find(&mut self.slots, leg) else { return };
        let was_blocked = link.blocked.is_some();
        match link.flush(now, &mut self.spare) {
            Ok(frames) => {
                self.counts.frames_out(frames);
                let soon = now + STALL;
                if link.blocked.is_some() && !was_blocked && link.due > soon {
                    let old = std::mem::replace(&mut link.due, soon);
                    self.due.remove(&(old, leg.slot));
                    self.due.insert((soon, leg.slot));
                }
            }
            Err(_) => self.broken.push(leg),
        }
    }

    /// A connection that turned out to be broken.
    pub(super) fn next_broken(&mut self) -> Option<Leg> {
        self.broken.pop()
    }

    /// When [`Legs::next_due`] has something to say.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|&(at, _)| at)
    }

    /// A connection whose time has come to be looked at: its own time is set anew with [`Legs::look`].
    pub(super) fn next_due(&mut self, now: Instant) -> Option<FiveTuple> {
        loop {
            let &(at, slot) = self.due.first().filter(|(at, _)| *at <= now)?;
            self.due.remove(&(at, slot));
            let held = self.slots.get(slot as usize).and_then(|slot| slot.link.as_deref());
            if let Some(link) = held {
                return Some(link.client);
            }
        }
    }

    /// Whether a connection must go now, and why; else the next time is set.
    pub(super) fn look(&mut self, now: Instant, leg: Leg, allocated: bool) -> Option<Ending> {
        let idle = self.idle;
        let link = self.get_mut(leg)?;
        // What is joined with a peer's connection ends with that, and waits as long as it may.
        let spliced = link.spliced.is_some();
        let stalled = link.blocked.filter(|_| !spliced).map(|since| since + STALL);
        let allocated = allocated || spliced;
        if stalled.is_some_and(|at| at <= now) {
            return Some(Ending::Stalled);
        }
        let idle = if allocated { now + idle } else { link.heard + idle };
        if idle <= now {
            return Some(Ending::Idle);
        }
        let due = stalled.map_or(idle, |at| at.min(idle));
        link.due = due;
        self.due.insert((due, leg.slot));
        None
    }

    /// From here on, who has no allocation is not waited for.
    pub(super) fn drain(&mut self, now: Instant) {
        self.idle = IDLE_DRAINING;
        let due = now + self.idle;
        let open = (0..).zip(&mut self.slots);
        for (slot, link) in open.filter_map(|(slot, held)| Some((slot, held.link.as_deref_mut()?))) {
            if link.due > due {
                self.due.remove(&(std::mem::replace(&mut link.due, due), slot));
                self.due.insert((due, slot));
            }
        }
    }

    /// Closes a connection, once what waits is sent as far as that goes at once. Returns whose it was.
    pub(super) fn close(&mut self, now: Instant, leg: Leg, ending: Ending) -> Option<FiveTuple> {
        let slot = self.slots.get_mut(leg.slot as usize).filter(|slot| slot.generation == leg.generation)?;
        let mut link = slot.link.take()?;
        self.free.push(leg.slot);
        self.due.remove(&(link.due, leg.slot));
        let client = link.client;
        // Whoever has closed its own side alone still reads what it asked for.
        if let Ok(frames) = link.flush(now, &mut self.spare) {
            self.counts.frames_out(frames);
        }
        link.close();
        self.counts.closed(matches!(client.transport, Transport::Tls(_)), ending);
        Some(client)
    }

    /// How many frames and reads there have been since it was last asked.
    pub(super) fn take_frames(&mut self) -> usize {
        std::mem::take(&mut self.frames)
    }

    /// Closes all of them.
    pub(super) fn close_all(&mut self, now: Instant) {
        for slot in 0..self.slots.len() {
            let leg = self.leg(slot as u32, self.slots[slot].generation);
            self.close(now, leg, Ending::Ended);
        }
    }
}

/// The connection of this name. (Of the slots alone, so that the rest of `Legs` is at hand meanwhile.)
fn find(slots: &mut [Slot], leg: Leg) -> Option<&mut Link> {
    let slot = slots.get_mut(leg.slot as usize).filter(|slot| slot.generation == leg.generation)?;
    slot.link.as_deref_mut()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::net::TcpStream;

    fn pair(legs: &mut Legs, now: Instant) -> (Leg, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, client) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        let server = socket.local_addr().unwrap();
        let connection =
            Connection { socket, tls: None, first: Vec::new(), client, server, keep: Box::new(()) };
        (legs.open(now, connection), near)
    }

    #[test]
    fn who_asks_for_nothing_is_closed_after_thirty_seconds_and_who_has_an_allocation_is_not() {
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        let mut legs = Legs::new(0, Arc::default());
        let (leg, _near) = pair(&mut legs, now);
        assert_eq!(legs.next_due(after(29)), None);
        assert!(legs.next_due(after(30)).is_some());
        assert_eq!(legs.look(after(30), leg, true), None);
        assert_eq!(legs.deadline(), Some(after(60)), "looked at again");
        let success = [1, 1, 0, 0];
        legs.answer(after(50), leg, &success);
        assert!(legs.next_due(after(60)).is_some());
        assert_eq!(legs.look(after(60), leg, false), None, "it was given something ten seconds ago");
        let refusal = [1, 0x13, 0, 0];
        legs.answer(after(70), leg, &refusal);
        assert!(legs.next_due(after(80)).is_some());
        assert_eq!(legs.look(after(80), leg, false), Some(Ending::Idle));
    }

    #[test]
    fn a_name_of_an_earlier_tenant_means_nothing() {
        let now = Instant::now();
        let mut legs = Legs::new(0, Arc::default());
        let (old, _near) = pair(&mut legs, now);
        assert!(legs.close(now, old, Ending::Gone).is_some());
        let (new, _near) = pair(&mut legs, now);
        assert_eq!(old.slot, new.slot);
        assert!(legs.get(old).is_none() && legs.close(now, old, Ending::Gone).is_none());
        legs.push(now, old, &[b"late"]);
        assert_eq!(legs.get(new).map(Link::queued), Some(0));
        assert!(legs.close(now, new, Ending::Gone).is_some());
        assert_eq!(legs.deadline(), None);
    }
}
