//! What a connection is sent, when it comes faster than it goes.
//!
//! The transport's own queue is short. A burst that does not fit (a peer's thousand candidates, handled in one go) waits
//! here, bounded, and a task moves it on. A receiver that does not read is cut off: others' memory is not its buffer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use socketioxide::SendError;
use socketioxide::SocketError;
use socketioxide::adapter::LocalAdapter;
use socketioxide::extract::AckSender;
use socketioxide::extract::SocketRef;
use socketioxide::handler::FromMessageParts;
use socketioxide::handler::Value;
use tokio::time::Instant;

use super::connection::Connection;
use super::connection::Transport;
use super::kept::Parcel;
use super::stats::Drop;
use crate::rooms::PeerId;

/// The most that may wait.
const MOST: usize = 8192;
const MOST_BYTES: usize = 2 << 20;
/// The most that may wait where one more answer to a refused event is added: who sends so much faster than it is served, and than
/// it reads, is cut off.
const MOST_REFUSED: usize = MOST / 2;
/// A receiver that takes nothing for this long is cut off.
pub(super) const STALLED: Duration = Duration::from_secs(5);
/// How often the task looks whether there is room again.
const PAUSE: Duration = Duration::from_millis(5);
/// How often a reader that is cut off is tried to be told.
const FAREWELL: Duration = Duration::from_millis(100);

/// Why something is not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unsent {
    /// The connection is gone.
    Closed,
    /// More waits than may; the connection is being cut off.
    Overflow,
    /// It could not be written as JSON.
    Malformed,
}

/// What waits for room in the transport's queue. Most of the time nothing does.
#[derive(Default)]
pub(super) struct Outbox {
    /// Something waits: what comes now waits behind it.
    waits: AtomicBool,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// Why nothing is added any more: it is being cut off.
    given_up: Option<Drop>,
}

/// An event or (no event) an acknowledgement on its way.
pub(super) struct Waiting {
    /// Whose seat it is about, and its number there; none: it is of no use to anybody who comes back.
    seat: Option<(PeerId, u64)>,
    event: Option<&'static str>,
    ack: Option<i64>,
    body: Box<RawValue>,
}

enum Tried {
    Sent,
    NoRoom,
    Never(Unsent),
}

fn attempt(socket: &Arc<Transport>, event: Option<&str>, ack: Option<i64>, body: &impl Serialize) -> Tried {
    let sent = match event {
        Some(event) => socket.emit(event, body),
        None => {
            let Ok(sender) =
                AckSender::<LocalAdapter>::from_message_parts(socket, &mut Value::Bytes(Bytes::new()), &ack);
            sender.send(body)
        }
    };
    match sent {
        Ok(()) => Tried::Sent,
        Err(SendError::Socket(SocketError::InternalChannelFull)) => Tried::NoRoom,
        Err(SendError::Socket(SocketError::Closed)) => Tried::Never(Unsent::Closed),
        Err(SendError::Serialize(_)) => Tried::Never(Unsent::Malformed),
    }
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends an event or (no event) an acknowledgement, behind whatever waits.
    pub(super) fn send(
        &self,
        owner: &Arc<Connection>,
        socket: &Arc<Transport>,
        seat: Option<(PeerId, u64)>,
        event: Option<&'static str>,
        ack: Option<i64>,
        body: &impl Serialize,
    ) -> Result<(), Unsent> {
        if !self.waits.load(Ordering::Acquire) {
            match attempt(socket, event, ack, body) {
                Tried::Sent => return Ok(()),
                Tried::NoRoom => {}
                Tried::Never(why) => return Err(why),
            }
        }
        let mut queue = self.lock();
        if queue.waiting.is_empty() {
            // It may have emptied since.
            match attempt(socket, event, ack, body) {
                Tried::Sent => return Ok(()),
                Tried::NoRoom => {}
                Tried::Never(why) => return Err(why),
            }
        }
        if queue.given_up.is_some() {
            return Err(Unsent::Overflow);
        }
        let body = serde_json::value::to_raw_value(body).map_err(|_| Unsent::Malformed)?;
        let bytes = queue.bytes + body.get().len();
        if queue.waiting.len() >= MOST || bytes > MOST_BYTES {
            // The task sees it and cuts the connection off; here a room may be locked.
            queue.given_up = Some(Drop::SlowReader);
            return Err(Unsent::Overflow);
        }
        queue.bytes = bytes;
        let first = queue.waiting.is_empty();
        queue.waiting.push_back(Waiting { seat, event, ack, body });
        self.waits.store(true, Ordering::Release);
        drop(queue);
        if first {
            tokio::spawn(pump(Arc::downgrade(owner), Arc::downgrade(socket)));
        }
        Ok(())
    }

    /// Moves on what there is room for. `None`: nothing waits any more.
    fn flush(&self, socket: &Arc<Transport>) -> Option<usize> {
        let mut queue = self.lock();
        let mut moved = 0;
        while let Some(first) = queue.waiting.front() {
            match attempt(socket, first.event, first.ack, &first.body) {
                // On a transport that is closed nothing is lost: the seat keeps it.
                Tried::NoRoom | Tried::Never(Unsent::Closed) => return Some(moved),
                Tried::Sent | Tried::Never(_) => moved += 1,
            }
            let bytes = first.body.get().len();
            queue.bytes = queue.bytes.saturating_sub(bytes);
            queue.waiting.pop_front();
        }
        queue.waiting = VecDeque::new();
        self.waits.store(false, Ordering::Release);
        None
    }

    /// Whether something waits already.
    pub(super) fn waits(&self) -> bool {
        self.waits.load(Ordering::Acquire)
    }

    /// Whether too much waits for one more answer to a refused event; if so, the connection is being cut off.
    pub(super) fn is_flooded(&self) -> bool {
        if !self.waits() {
            return false;
        }
        let mut queue = self.lock();
        if queue.waiting.len() >= MOST_REFUSED {
            // As with an overflow.
            queue.given_up.get_or_insert(Drop::Flood);
        }
        queue.given_up.is_some()
    }

    fn given_up(&self) -> Option<Drop> {
        self.lock().given_up
    }

    /// Takes what waits for this seat, in order: it is sent on another connection, or kept.
    pub(super) fn take_of(&self, seat: PeerId, now: std::time::Instant) -> Vec<Parcel> {
        if !self.waits() {
            return Vec::new();
        }
        let mut queue = self.lock();
        let Queue { waiting, bytes, .. } = &mut *queue;
        let mut taken = Vec::new();
        waiting.retain_mut(|it| {
            let (Some((of, seq)), Some(event)) = (it.seat, it.event) else { return true };
            if of != seat {
                return true;
            }
            let body = std::mem::take(&mut it.body);
            *bytes = bytes.saturating_sub(body.get().len());
            taken.push(Parcel { seq, at: now, sent: false, event, body, message: None });
            false
        });
        taken
    }

    /// Forgets what waits, once nothing more is sent; how many.
    pub(super) fn forget(&self) -> u64 {
        std::mem::take(&mut *self.lock()).waiting.len() as u64
    }
}

/// Moves a connection's queue on until it is empty, the connection gone, or its reader given up on.
async fn pump(owner: Weak<Connection>, socket: Weak<Transport>) {
    let mut progress = Instant::now();
    // The transport's writer may only be waiting for its turn on this thread.
    tokio::task::yield_now().await;
    loop {
        let (Some(connection), Some(socket)) = (owner.upgrade(), socket.upgrade()) else { return };
        let outbox = connection.outbox();
        if connection.is_closed() {
            return;
        }
        let mut why = outbox.given_up();
        if why.is_none() {
            match outbox.flush(&socket) {
                None => return,
                Some(0) => {}
                Some(_) => progress = Instant::now(),
            }
            why = (progress.elapsed() >= STALLED).then_some(Drop::SlowReader).or(outbox.given_up());
        }
        if let Some(why) = why {
            connection.cut(why);
            break;
        }
        drop((connection, socket));
        tokio::time::sleep(PAUSE).await;
    }
    disconnect(socket).await;
}

/// Ends a connection from our side.
///
/// With the transport's queue full it cannot be told. It must be once it reads again: its heartbeat goes on then, and
/// it would take itself for connected, unheard, for ever. If it never reads, the heartbeat closes the transport.
pub(super) async fn disconnect(socket: Weak<Transport>) {
    while let Some(socket) = socket.upgrade() {
        if SocketRef::from(socket).disconnect().is_ok() {
            return;
        }
        tokio::time::sleep(FAREWELL).await;
    }
}
