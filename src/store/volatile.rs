//! A ledger in memory, lost with the process: for those who want nothing kept.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use super::ledger::Answer;
use super::ledger::Call;
use super::ledger::Fault;
use super::ledger::Health;
use super::ledger::Keep;
use super::ledger::Ledger;
use super::ledger::Record;
use super::ledger::Written;
use crate::rooms::Message;
use crate::rooms::PeerId;
use crate::rooms::Room;
use crate::rooms::RoomId;

/// The most bytes of calls, about, whatever their number: they are in memory.
const MOST_BYTES: usize = 64 << 20;

/// The same of messages.
const MOST_SAID: usize = if cfg!(test) { 1 << 20 } else { 128 << 20 };

/// Messages of the rooms that are there, and the last calls.
pub struct Volatile {
    keep: Keep,
    /// The start, by both clocks: one that is set ahead must not take everything along.
    began: (Instant, Duration),
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rooms: HashMap<RoomId, Said>,
    /// Those in which something was said, by how much that is.
    by_size: BTreeSet<(usize, RoomId)>,
    /// What was said in all of them, about, in bytes.
    said: usize,
    calls: VecDeque<(u64, Call)>,
    /// What these take, about.
    bytes: usize,
    next_call: u64,
    health: Health,
}

/// What was said in a room, and how many bytes that takes, about.
#[derive(Default)]
struct Said {
    messages: VecDeque<Arc<Message>>,
    bytes: usize,
}

impl Volatile {
    /// Keeps so much.
    #[must_use]
    pub fn new(keep: Keep) -> Volatile {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Volatile { keep, began: (Instant::now(), unix), state: Mutex::default() }
    }

    /// What is of before this is not kept any longer, in milliseconds since 1970.
    fn oldest(&self, ttl: Duration) -> u64 {
        if ttl.is_zero() {
            return 0;
        }
        let (at, unix) = self.began;
        u64::try_from((unix + at.elapsed()).saturating_sub(ttl).as_millis()).unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, records: Vec<Record>) -> Written {
        let mut state = self.lock();
        let said = match records.as_slice() {
            [Record::Message { room, message }] => state.said(room, message),
            _ => None,
        };
        if let Some((id, at)) = said {
            return Written::Already { id, at };
        }
        state.health.batches += 1;
        state.health.records += records.len() as u64;
        for record in records {
            match record {
                Record::Room(room) => {
                    state.rooms.entry(room.id).or_default();
                }
                Record::RoomGone(room) => {
                    state.change(&room, |said| said.messages.clear());
                    state.rooms.remove(&room);
                }
                Record::Person { .. } | Record::Yielded { .. } => {}
                Record::Message { room, message } => {
                    let oldest = self.oldest(self.keep.history_ttl);
                    state.change(&room, |Said { messages, bytes }| {
                        *bytes += length(&message);
                        messages.push_back(message);
                        while let Some(first) = messages.front()
                            && (messages.len() > self.keep.history || first.at < oldest)
                        {
                            *bytes = bytes.saturating_sub(length(first));
                            messages.pop_front();
                        }
                    });
                    // Where there is most, the oldest goes.
                    while state.said > MOST_SAID
                        && let Some((_, most)) = state.by_size.last().cloned()
                    {
                        state.change(&most, |Said { messages, bytes }| {
                            let first = messages.pop_front();
                            *bytes = bytes.saturating_sub(first.map_or(*bytes, |first| length(&first)));
                        });
                    }
                }
                Record::Call(call) => {
                    state.next_call += 1;
                    let number = state.next_call;
                    state.bytes += weight(&call);
                    state.calls.push_back((number, *call));
                    let oldest = self.oldest(self.keep.calls_ttl);
                    while let Some((_, first)) = state.calls.front()
                        && (state.calls.len() as u64 > self.keep.calls
                            || state.bytes > MOST_BYTES
                            || first.ended_at < oldest)
                    {
                        state.bytes = state.bytes.saturating_sub(weight(first));
                        state.calls.pop_front();
                    }
                }
            }
        }
        Written::Done
    }
}

impl State {
    /// Changes what was said in a room that is there, and counts it anew.
    fn change(&mut self, room: &RoomId, change: impl FnOnce(&mut Said)) {
        let Some(said) = self.rooms.get_mut(room) else { return };
        let before = said.bytes;
        change(said);
        if said.messages.is_empty() {
            said.bytes = 0;
        }
        let after = said.bytes;
        self.said = self.said.saturating_sub(before) + after;
        self.by_size.remove(&(before, room.clone()));
        if after > 0 {
            self.by_size.insert((after, room.clone()));
        }
    }

    /// When this message was said before, and under which id.
    fn said(&self, room: &RoomId, message: &Message) -> Option<(PeerId, u64)> {
        let client_id = message.client_id.as_ref()?;
        let same = |it: &&Arc<Message>| it.client_id.as_ref() == Some(client_id) && it.by() == message.by();
        self.rooms.get(room)?.messages.iter().find(same).map(|it| (it.id, it.at))
    }
}

/// About how much memory a message takes, in bytes.
fn length(message: &Message) -> usize {
    512 + message.text.len() + message.attachments.as_ref().map_or(0, |it| it.get().len())
}

/// About how much memory a call takes, in bytes.
fn weight(call: &Call) -> usize {
    512 + call.participants.len() * 256
}

fn at_once<T: Send + 'static>(it: T) -> Answer<T> {
    Box::pin(std::future::ready(Ok(it)))
}

impl Ledger for Volatile {
    fn load(&self) -> Result<Vec<Room>, Fault> {
        Ok(Vec::new())
    }

    fn write(&self, records: Vec<Record>) -> Answer<Written> {
        at_once(self.keep(records))
    }

    fn note(&self, records: Vec<Record>) {
        self.keep(records);
    }

    fn history(&self, room: &RoomId, before: Option<PeerId>, most: usize) -> Answer<Vec<Message>> {
        let (state, oldest) = (self.lock(), self.oldest(self.keep.history_ttl));
        let messages = state.rooms.get(room).map(|said| &said.messages);
        let end = match (messages, before) {
            (Some(messages), Some(id)) => messages.iter().position(|message| message.id == id).unwrap_or(0),
            (Some(messages), None) => messages.len(),
            (None, _) => 0,
        };
        let earlier = messages.into_iter().flat_map(|messages| messages.iter().take(end).rev());
        let kept = earlier.filter(|message| message.at >= oldest);
        at_once(kept.take(most).map(|message| Message::clone(message)).collect())
    }

    fn calls(&self, room: Option<&RoomId>, before: Option<u64>, most: usize) -> Answer<Vec<(u64, Call)>> {
        let (state, oldest) = (self.lock(), self.oldest(self.keep.calls_ttl));
        let is_meant = |(number, call): &&(u64, Call)| {
            before.is_none_or(|before| *number < before)
                && room.is_none_or(|room| call.room == *room)
                && call.ended_at >= oldest
        };
        at_once(state.calls.iter().rev().filter(is_meant).take(most).cloned().collect())
    }

    fn health(&self) -> Health {
        self.lock().health.clone()
    }

    fn flush(&self) -> Answer<()> {
        at_once(())
    }
}
