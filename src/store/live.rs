//! Rooms in memory, and a ledger for what lasts of them.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::collections::BinaryHeap;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::hash::RandomState;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use hashbrown::HashTable;
use tokio::sync::Semaphore;

use super::Answer;
use super::Call;
use super::Committed;
use super::Counts;
use super::Gone;
use super::Health;
use super::Ledger;
use super::Place;
use super::Store;
use super::Ticket;
use super::Waits;
use super::index::Held;
use super::index::Index;
use super::index::Yielding;
use super::record;
use crate::rooms;
use crate::rooms::Change;
use crate::rooms::Command;
use crate::rooms::Kind;
use crate::rooms::Message;
use crate::rooms::Now;
use crate::rooms::PeerId;
use crate::rooms::Refusal;
use crate::rooms::Room;
use crate::rooms::RoomId;
use crate::rooms::Rules;
use crate::rooms::Status;

/// How many rooms there may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// In all.
    pub rooms: u64,
    /// On one account (`Room::maker`); twenty times that where many share it. 0: no limit.
    pub rooms_of_one: u32,
}

/// Rooms spread over shards, each behind its own lock; deadlines in an ordered set per shard.
pub struct Live {
    rules: Rules,
    limits: Limits,
    ledger: Box<dyn Ledger>,
    hasher: ahash::RandomState,
    shards: Box<[Mutex<Shard>]>,
    index: Index,
    rooms: [AtomicU64; Kind::ALL.len()],
    empty: AtomicU64,
    members: AtomicU64,
}

#[derive(Default)]
struct Shard {
    rooms: HashTable<Room>,
    deadlines: BTreeSet<(Instant, RoomId)>,
    /// Rooms of which something is being written: nothing else changes them meanwhile.
    writing: HashMap<RoomId, Writing>,
}

struct Writing {
    /// Closed when it is written, or cannot be.
    over: Arc<Semaphore>,
    held: Held,
    /// Invitations into it that have made place for others meanwhile.
    yielded: Vec<Yielding>,
}

/// How many locks the rooms are spread over.
const SHARDS: usize = 32;

/// How many rooms `due` returns at a time.
const BATCH: usize = 256;

impl Live {
    /// A store that keeps nothing.
    #[must_use]
    pub fn volatile(rules: Rules, limits: Limits) -> Live {
        let (history_ttl, calls_ttl) = (Duration::ZERO, Duration::ZERO);
        let keep = super::Keep { history: 200, history_ttl, calls: 1000, calls_ttl };
        Live::empty(rules, limits, Box::new(super::Volatile::new(keep)))
    }

    fn empty(rules: Rules, limits: Limits, ledger: Box<dyn Ledger>) -> Live {
        Live {
            rules,
            limits,
            hasher: seeded(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            index: Index::default(),
            rooms: Default::default(),
            empty: AtomicU64::new(0),
            members: AtomicU64::new(0),
            ledger,
        }
    }

    /// A store with what the ledger has kept. Blocks.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn open(
        rules: Rules,
        limits: Limits,
        ledger: Box<dyn Ledger>,
        now: Instant,
    ) -> Result<Live, super::Fault> {
        let live = Live::empty(rules, limits, ledger);
        for mut room in live.ledger.load()? {
            // Whatever went on in it is over.
            room.status = Status::Waiting;
            room.expires = rooms::expires_when_loaded(&room, &live.rules, now);
            live.count(None, Some(&room));
            live.index.loaded(&room);
            let hash = live.hasher.hash_one(&room.id);
            let mut shard = live.shard(hash);
            if let Some(at) = room.deadline() {
                shard.deadlines.insert((at, room.id.clone()));
            }
            shard.rooms.insert_unique(hash, room, |room| live.hasher.hash_one(&room.id));
        }
        Ok(live)
    }

    /// The table finds its buckets by the low bits and tells neighbours apart by the highest seven; the shard goes by
    /// bits between.
    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        lock(&self.shards[(hash >> 48) as usize % SHARDS])
    }

    fn count(&self, before: Option<(Kind, usize)>, after: Option<&Room>) {
        let now = after.map(|room| (room.kind, room.members.len()));
        if before == now {
            return;
        }
        for (side, sign) in [(before, 1_u64.wrapping_neg()), (now, 1)] {
            if let Some((kind, members)) = side {
                self.rooms[kind as usize].fetch_add(sign, Ordering::Relaxed);
                self.members.fetch_add(sign.wrapping_mul(members as u64), Ordering::Relaxed);
                if members == 0 {
                    self.empty.fetch_add(sign, Ordering::Relaxed);
                }
            }
        }
    }
}

/// Clients choose the names of rooms: the seeds are secret, from the system's randomness.
fn seeded() -> ahash::RandomState {
    let random = RandomState::new();
    let [a, b, c, d] = [0_u8, 1, 2, 3].map(|n| random.hash_one(n));
    ahash::RandomState::with_seeds(a, b, c, d)
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    // A panic elsewhere must not close all rooms of a shard for good.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store for Live {
    fn commit<'a>(
        &self,
        id: &RoomId,
        command: &Command<'a>,
        now: Now,
        ticket: Option<Ticket>,
        then: &mut dyn FnMut(Result<Committed<'_>, Refusal>),
    ) -> Option<Ticket> {
        let hash = self.hasher.hash_one(id);
        let mut shard = self.shard(hash);
        let need = record::need(command);
        let late = || self.ledger.health().fault;
        let written = match ticket.map(|ticket| ticket.0) {
            Some(Waits::Written(written)) => written,
            // It may still be written: what is refused then would be there. Only who goes anyway does not wait for it.
            Some(Waits::Write(answer)) => match (need, late()) {
                (record::Need::Should, Some(fault)) => Err(fault),
                _ => return Some(Ticket(Waits::Write(answer))),
            },
            // Nothing of it was handed to the ledger yet.
            Some(Waits::Turn(_))
                if need == record::Need::Must && shard.writing.contains_key(id) && late().is_some() =>
            {
                then(Err(Refusal::NotStored));
                return None;
            }
            Some(Waits::Turn(_)) | None => {
                return self.carry_out(&mut shard, hash, id, command, now, None, then);
            }
        };
        // What was decided when it was handed to the ledger is decided again here: nothing has changed the room meanwhile.
        let (mut held, mut yielded) = (Held::Nothing, Vec::new());
        if let Some(writing) = shard.writing.remove(id) {
            writing.over.close();
            (held, yielded) = (writing.held, writing.yielded);
            let Shard { rooms, deadlines, .. } = &mut *shard;
            let at = rooms.find(hash, |room| room.id == *id).and_then(Room::deadline);
            deadlines.extend(at.map(|at| (at, id.clone())));
        }
        let mut elsewhere = None;
        let again = match written {
            Ok(super::Written::Done) => {
                elsewhere = held.yielding();
                self.carry_out(&mut shard, hash, id, command, now, Some(true), then)
            }
            Ok(super::Written::Already { id: message, at }) => {
                let room = shard.rooms.find(hash, |room| room.id == *id);
                let answer = rooms::Answer::Said { id: message, at };
                then(Ok(Committed::unchanged(room, answer, &[])));
                None
            }
            Err(_) if need == record::Need::Should => {
                self.carry_out(&mut shard, hash, id, command, now, Some(false), then)
            }
            Err(_) => {
                self.index.give_back(id, held);
                then(Err(Refusal::NotStored));
                None
            }
        };
        for invitation in yielded {
            self.take_back(&mut shard, hash, invitation);
        }
        // The locks of two shards are never held together.
        drop(shard);
        if let Some(invitation) = elsewhere {
            let hash = self.hasher.hash_one(&invitation.room);
            self.take_back(&mut self.shard(hash), hash, invitation);
        }
        again
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.shards.iter().filter_map(|shard| lock(shard).deadlines.first().map(|(at, _)| *at)).min()
    }

    fn due(&self, now: Instant) -> Vec<RoomId> {
        let mut due = Vec::new();
        for shard in &self.shards {
            let shard = lock(shard);
            let ready = shard.deadlines.iter().take_while(|(at, _)| *at <= now);
            due.extend(ready.take(BATCH - due.len()).map(|(_, id)| id.clone()));
            if due.len() >= BATCH {
                break;
            }
        }
        due
    }

    fn look(&self, id: &RoomId, then: &mut dyn FnMut(Option<&Room>)) {
        let hash = self.hasher.hash_one(id);
        then(self.shard(hash).rooms.find(hash, |room| room.id == *id));
    }

    fn biggest(&self, most: usize) -> Vec<RoomId> {
        let mut found = BinaryHeap::new();
        for shard in &self.shards {
            for room in &lock(shard).rooms {
                let members = room.members.len();
                // The smallest is on top.
                if found.len() < most
                    || found.peek().is_some_and(|Reverse((smallest, _))| members > *smallest)
                {
                    found.push(Reverse((members, room.id.clone())));
                    if found.len() > most {
                        found.pop();
                    }
                }
            }
        }
        found.into_sorted_vec().into_iter().map(|Reverse((_, id))| id).collect()
    }

    fn counts(&self) -> Counts {
        Counts {
            rooms: std::array::from_fn(|i| self.rooms[i].load(Ordering::Relaxed)),
            empty: self.empty.load(Ordering::Relaxed),
            members: self.members.load(Ordering::Relaxed),
        }
    }

    fn rooms_of(&self, user: &str, most: usize) -> Vec<RoomId> {
        self.index.rooms_of(user, most)
    }

    fn invitations_of(&self, user: &str, most: usize) -> Vec<RoomId> {
        self.index.invitations_of(user, most)
    }

    fn listed(&self, after: Option<&Place>, most: usize) -> Vec<Place> {
        self.index.listed(after, most)
    }

    fn all(&self, after: Option<&Place>, most: usize) -> Vec<Place> {
        let after = after.map(|(at, id)| (Reverse(*at), id));
        let mut found: BinaryHeap<(Reverse<u64>, RoomId)> = BinaryHeap::new();
        for shard in &self.shards {
            for room in &lock(shard).rooms {
                let here = (Reverse(room.created_at), &room.id);
                // The one that was made first is on top.
                let full = found.len() >= most;
                if after.is_none_or(|after| here > after)
                    && (!full || found.peek().is_some_and(|(at, id)| here < (*at, id)))
                {
                    if full {
                        found.pop();
                    }
                    found.push((here.0, room.id.clone()));
                }
            }
        }
        found.into_sorted_vec().into_iter().map(|(Reverse(at), id)| (at, id)).collect()
    }

    fn history(&self, room: &RoomId, before: Option<PeerId>, most: usize) -> Answer<Vec<Message>> {
        let mut stored = false;
        self.look(room, &mut |room| stored = room.is_some_and(Room::is_stored));
        if !stored {
            // What the ledger may still have under this name was said in another room.
            return Box::pin(std::future::ready(Ok(Vec::new())));
        }
        self.ledger.history(room, before, most)
    }

    fn calls(&self, room: Option<&RoomId>, before: Option<u64>, most: usize) -> Answer<Vec<(u64, Call)>> {
        self.ledger.calls(room, before, most)
    }

    fn log(&self, call: Call) {
        self.ledger.note(vec![super::Record::Call(Box::new(call))]);
    }

    fn health(&self) -> Health {
        self.ledger.health()
    }

    fn flush(&self) -> Answer<()> {
        self.ledger.flush()
    }
}

impl Live {
    /// Decides a command and does what was decided. `written`: its records have been handed to the ledger, and were kept or not.
    #[expect(clippy::too_many_arguments, reason = "the second half of one function")]
    fn carry_out<'a>(
        &self,
        shard: &mut Shard,
        hash: u64,
        id: &RoomId,
        command: &Command<'a>,
        now: Now,
        written: Option<bool>,
        then: &mut dyn FnMut(Result<Committed<'_>, Refusal>),
    ) -> Option<Ticket> {
        let room = shard.rooms.find(hash, |room| room.id == *id);
        let decision = match rooms::decide(id, room, command, &self.rules, now) {
            Ok(decision) => decision,
            Err(refusal) => {
                then(Err(refusal));
                return None;
            }
        };
        if decision.changes.is_empty() {
            then(Ok(Committed::unchanged(room, decision.answer, &decision.notices)));
            return None;
        }
        if let Some(writing) = shard.writing.get(id) {
            return Some(Ticket(Waits::Turn(Arc::clone(&writing.over))));
        }
        if written.is_none() {
            let held = match self.index.take(id, room, command, &decision.changes, self.limits) {
                Ok(held) => held,
                Err(refusal) => {
                    then(Err(refusal));
                    return None;
                }
            };
            let records = record::of(id, room, &decision.changes, &held);
            if records.is_empty() {
            } else if record::need(command) == record::Need::May {
                self.ledger.note(records);
            } else {
                // Until then nothing can be done about its deadline, and others' are not to wait for it.
                if let Some(at) = room.and_then(Room::deadline) {
                    shard.deadlines.remove(&(at, id.clone()));
                }
                let writing = Writing { over: Arc::new(Semaphore::new(0)), held, yielded: Vec::new() };
                shard.writing.insert(id.clone(), writing);
                return Some(Ticket(Waits::Write(self.ledger.write(records))));
            }
        }
        let seen = decision.changes.iter().any(is_seen_outside);
        let entry = shard.rooms.find_entry(hash, |room| room.id == *id);
        let mut room = entry.ok().map(|entry| entry.remove().0);
        let before = room.as_ref().map(|room| (room.kind, room.members.len()));
        let armed = room.as_ref().and_then(Room::deadline);
        let mut committed = Committed {
            changed: true,
            made: room.is_none(),
            kept: written.unwrap_or(true),
            listed: seen && room.as_ref().is_some_and(|room| room.details().listed),
            ..Committed::unchanged(None, decision.answer, &decision.notices)
        };
        for change in decision.changes {
            match &change {
                Change::Unseat { peer, reason } => {
                    let member = room.as_ref().and_then(|room| room.member(*peer));
                    let (user, name) = member.map_or((None, None), |it| (it.user.clone(), it.name.clone()));
                    committed.gone.push(Gone { peer: *peer, user, name, reason: *reason });
                }
                Change::Unwait(peer) => committed.waited.push(*peer),
                Change::Create(room) => self.index.made(room),
                Change::Person { user, person: Some(person) } => {
                    let maker = room.as_ref().map_or(0, |room| room.maker);
                    self.index.knows(user, id, maker, person);
                }
                Change::Person { user, person: None } => self.index.forgets(user, id),
                Change::Delete | Change::CallOver => {
                    if let Some(room) = &room
                        && let Some(log) = &room.details().log
                    {
                        let call = record::call(room, log, &decision.notices, now.unix_ms);
                        committed.ended = Some(Box::new(call));
                    }
                    if let (Change::Delete, Some(room)) = (&change, &room) {
                        self.index.gone(room);
                    }
                }
                _ => {}
            }
            Room::apply(&mut room, change, now.unix_ms);
        }
        self.count(before, room.as_ref());
        let deadline = room.as_ref().and_then(Room::deadline);
        if armed != deadline {
            if let Some(at) = armed {
                shard.deadlines.remove(&(at, id.clone()));
            }
            if let Some(at) = deadline {
                shard.deadlines.insert((at, id.clone()));
            }
        }
        let rehash = |room: &Room| self.hasher.hash_one(&room.id);
        let entry = room.map(|room| shard.rooms.insert_unique(hash, room, rehash));
        committed.room = entry.as_ref().map(|entry| entry.get());
        committed.listed |= seen && committed.room.is_some_and(|room| room.details().listed);
        then(Ok(committed));
        None
    }

    /// An invitation has made place for another one that is kept: the ledger has it no more. While something is being written of its
    /// room that may be about the same user, it waits for that.
    fn take_back(&self, shard: &mut Shard, hash: u64, invitation: Yielding) {
        if let Some(writing) = shard.writing.get_mut(&invitation.room) {
            return writing.yielded.push(invitation);
        }
        if !self.index.yielded(&invitation) {
            return;
        }
        let Yielding { user, room: id, .. } = invitation;
        if let Ok(entry) = shard.rooms.find_entry(hash, |room| room.id == id) {
            let mut room = Some(entry.remove().0);
            Room::apply(&mut room, Change::Person { user, person: None }, 0);
            if let Some(room) = room {
                shard.rooms.insert_unique(hash, room, |room| self.hasher.hash_one(&room.id));
            }
        }
    }
}

/// Whether somebody who is not in the room can see that anything has changed.
fn is_seen_outside(change: &Change) -> bool {
    !matches!(
        change,
        Change::Said(_)
            | Change::Away { .. }
            | Change::Session { .. }
            | Change::Replaced(_)
            | Change::Rank { .. }
            | Change::Wait(_)
            | Change::Unwait(_)
            | Change::Expires(_)
    )
}

impl<'a> Committed<'a> {
    fn unchanged(
        room: Option<&'a Room>,
        answer: rooms::Answer,
        notices: &'a [rooms::Notice<'a>],
    ) -> Committed<'a> {
        Committed {
            room,
            changed: false,
            made: false,
            kept: true,
            answer,
            notices,
            gone: Default::default(),
            waited: Default::default(),
            listed: false,
            ended: None,
        }
    }
}
