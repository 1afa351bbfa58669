//! A ledger in memory, lost with the process: for those who want nothing kept.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use super::ledger::Answer;
use super::ledger::Call;
use super::ledger::Fault;
use super::ledger::Health;
use super::ledger::Ledger;
use super::ledger::Record;
use super::ledger::Written;
use crate::rooms::Message;
use crate::rooms::PeerId;
use crate::rooms::Room;
use crate::rooms::RoomId;

/// The most calls that are remembered.
const MOST_CALLS: usize = 1000;

/// Messages of the rooms that are there, and the last calls.
pub struct Volatile {
    /// Messages kept of a room.
    history: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rooms: HashMap<RoomId, VecDeque<Arc<Message>>>,
    calls: VecDeque<(u64, Call)>,
    next_call: u64,
    health: Health,
}

impl Volatile {
    /// Keeps the last `history` messages of a room.
    #[must_use]
    pub fn new(history: usize) -> Volatile {
        Volatile { history, state: Mutex::default() }
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
                        while messages.len() > self.history {
                            messages.pop_front();
                        }
                    }
                }
                Record::Call(call) => {
                    state.next_call += 1;
                    let number = state.next_call;
                    state.calls.push_back((number, *call));
                    while state.calls.len() > MOST_CALLS {
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
        let state = self.lock();
        let messages = state.rooms.get(room);
        let end = match (messages, before) {
            (Some(messages), Some(id)) => messages.iter().position(|message| message.id == id).unwrap_or(0),
            (Some(messages), None) => messages.len(),
            (None, _) => 0,
        };
        let earlier = messages.into_iter().flat_map(|messages| messages.iter().take(end).rev());
        at_once(earlier.take(most).map(|message| Message::clone(message)).collect())
    }

    fn calls(&self, room: Option<&RoomId>, before: Option<u64>, most: usize) -> Answer<Vec<(u64, Call)>> {
        let state = self.lock();
        let is_meant = |(number, call): &&(u64, Call)| {
            before.is_none_or(|before| *number < before) && room.is_none_or(|room| call.room == *room)
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
