//! A ledger in memory, lost with the process: for those who want nothing kept.

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

/// Messages of the rooms that are there, and the last calls.
pub struct Volatile {
    keep: Keep,
    /// The start, by both clocks: one that is set ahead must not take everything along.
    began: (Instant, Duration),
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rooms: HashMap<RoomId, VecDeque<Arc<Message>>>,
    calls: VecDeque<(u64, Call)>,
    /// What these take, about.
    bytes: usize,
    next_call: u64,
    health: Health,
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
                    state.rooms.remove(&room);
                }
                Record::Person { .. } | Record::Yielded { .. } => {}
                Record::Message { room, message } => {
                    if let Some(messages) = state.rooms.get_mut(&room) {
                        messages.push_back(message);
                        let oldest = self.oldest(self.keep.history_ttl);
                        while messages.len() > self.keep.history
                            || messages.front().is_some_and(|first| first.at < oldest)
                        {
                            messages.pop_front();
                        }
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
    /// When this message was said before, and under which id.
    fn said(&self, room: &RoomId, message: &Message) -> Option<(PeerId, u64)> {
        let client_id = message.client_id.as_ref()?;
        let same = |it: &&Arc<Message>| it.client_id.as_ref() == Some(client_id) && it.by() == message.by();
        self.rooms.get(room)?.iter().find(same).map(|it| (it.id, it.at))
    }
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
        let messages = state.rooms.get(room);
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
