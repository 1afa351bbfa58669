//! The queues in front of one receiver. A room's events go through one lane, one after the other; a lane whose head is not taken
//! holds up the rooms that share it, and nobody else.

use std::hash::BuildHasher;
use std::hash::RandomState;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use ring::rand::SecureRandom;
use ring::rand::SystemRandom;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio::time::sleep;

use super::carrier::Answer;
use super::carrier::Carrier;
use super::carrier::Failure;
use super::stats::Counters;
use super::stats::count;

/// Lanes of a receiver: so many messages are on their way to it at a time.
pub(super) const LANES: usize = 16;

/// Messages that wait in a lane.
pub(super) const LANE: usize = 256;

/// Bytes of all messages that wait for a receiver.
const MOST_BYTES: usize = 8 << 20;

/// Tries of a message, how long it is worth trying, and the pauses between: 1 s, 3 s, 9 s, … less up to a half.
pub(super) const TRIES: u32 = 8;
const WORTH: Duration = Duration::from_secs(3600);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// A message on its way.
struct Message {
    kind: &'static str,
    body: Bytes,
    since: Instant,
    load: Load,
}

/// Counted for as long as it waits; as dropped, if it comes to no end.
struct Load {
    bytes: usize,
    ended: bool,
    of: Arc<AtomicUsize>,
    counters: Arc<Counters>,
}

impl Load {
    /// `None`: it would be too much, which is counted.
    fn take(bytes: usize, of: &Arc<AtomicUsize>, counters: &Arc<Counters>) -> Option<Load> {
        let fits = |now: usize| now.checked_add(bytes).filter(|sum| *sum <= MOST_BYTES);
        if of.fetch_update(Relaxed, Relaxed, fits).is_err() {
            count(&counters.dropped);
            return None;
        }
        count(&counters.waiting);
        Some(Load { bytes, ended: false, of: Arc::clone(of), counters: Arc::clone(counters) })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Relaxed);
        self.counters.waiting.fetch_sub(1, Relaxed);
        if !self.ended {
            count(&self.counters.dropped);
        }
    }
}

/// All lanes to one receiver.
pub(super) struct Lanes {
    lanes: Vec<mpsc::Sender<Message>>,
    bytes: Arc<AtomicUsize>,
    counters: Arc<Counters>,
    hasher: RandomState,
}

impl Lanes {
    /// Starts the lanes, which end when `closing` says so and they are empty.
    pub(super) fn start(
        carrier: &Arc<dyn Carrier>,
        counters: &Arc<Counters>,
        closing: &watch::Receiver<bool>,
    ) -> (Lanes, Vec<JoinHandle<()>>) {
        let failing = Arc::new(AtomicBool::new(false));
        let mut ends = Vec::with_capacity(LANES);
        let lanes = (0..LANES).map(|_| {
            let (lane, waiting) = mpsc::channel(LANE);
            let work = Lane {
                carrier: Arc::clone(carrier),
                counters: Arc::clone(counters),
                closing: closing.clone(),
                failing: Arc::clone(&failing),
            };
            ends.push(tokio::spawn(work.run(waiting)));
            lane
        });
        let lanes = lanes.collect();
        let (bytes, hasher) = (Arc::default(), RandomState::new());
        (Lanes { lanes, bytes, counters: Arc::clone(counters), hasher }, ends)
    }

    /// Puts a message into the room's lane, if there is room.
    pub(super) fn push(&self, room: &str, kind: &'static str, body: &Bytes) {
        let n = usize::try_from(self.hasher.hash_one(room) % LANES as u64).unwrap_or(0);
        if let Some(load) = Load::take(body.len(), &self.bytes, &self.counters)
            && let Some(lane) = self.lanes.get(n)
        {
            // One that does not fit counts itself.
            let _ = lane.try_send(Message { kind, body: body.clone(), since: Instant::now(), load });
        }
    }
}

/// What a receiver made of a message.
#[derive(PartialEq, Eq, Debug)]
enum Verdict {
    Taken,
    /// It will not take it another time either.
    Refused(String),
    /// It may another time, not before so long.
    NotNow(String, Option<Duration>),
}

impl Verdict {
    fn of(answer: Result<Answer, Failure>) -> Verdict {
        let answer = match answer {
            Ok(answer) => answer,
            Err(Failure(why)) => return Verdict::NotNow(why.into_owned(), None),
        };
        let why = || format!("status {}", answer.status);
        match answer.status {
            200..300 => Verdict::Taken,
            408 | 425 | 429 => Verdict::NotNow(why(), answer.retry_after),
            300..500 => Verdict::Refused(why()),
            _ => Verdict::NotNow(why(), answer.retry_after),
        }
    }
}

struct Lane {
    carrier: Arc<dyn Carrier>,
    counters: Arc<Counters>,
    closing: watch::Receiver<bool>,
    /// The last try with this receiver failed, and that has been said.
    failing: Arc<AtomicBool>,
}

impl Lane {
    async fn run(mut self, mut waiting: mpsc::Receiver<Message>) {
        let mut closing = self.closing.clone();
        loop {
            tokio::select! {
                next = waiting.recv() => match next {
                    Some(message) => self.deliver(message).await,
                    None => return,
                },
                () = end(&mut closing), if !waiting.is_closed() => waiting.close(),
            }
        }
    }

    async fn deliver(&mut self, mut message: Message) {
        let mut tries = 0;
        let why = loop {
            if message.since.elapsed() >= WORTH {
                break "it is too old".to_owned();
            }
            tries += 1;
            let (why, wait) = match Verdict::of(self.carrier.post(message.kind, &message.body).await) {
                Verdict::Taken => {
                    message.load.ended = true;
                    return self.taken();
                }
                Verdict::Refused(why) => break why,
                Verdict::NotNow(why, wait) => (why, wait),
            };
            if tries >= TRIES || self.is_ending() {
                break why;
            }
            self.failed(message.kind, &why);
            count(&self.counters.retried);
            // At the end each has one more try, at once.
            tokio::select! {
                () = sleep(pause(tries, wait)) => {}
                () = end(&mut self.closing) => {}
            }
        };
        message.load.ended = true;
        count(&self.counters.failed);
        self.failed(message.kind, &why);
    }

    /// Says so once, until one is taken again.
    fn failed(&self, event: &'static str, why: &str) {
        if !self.failing.swap(true, Relaxed) {
            tracing::warn!(
                receiver = self.carrier.name(),
                why,
                event,
                "a receiver of webhooks does not take them"
            );
        }
    }

    fn is_ending(&self) -> bool {
        *self.closing.borrow() || self.closing.has_changed().is_err()
    }

    fn taken(&self) {
        count(&self.counters.delivered);
        if self.failing.swap(false, Relaxed) {
            tracing::info!(receiver = self.carrier.name(), "webhooks are taken again");
        }
    }
}

/// Returns once the end has begun.
async fn end(closing: &mut watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

/// How long to wait after the `tries`th try. `asked`: by the receiver.
fn pause(tries: u32, asked: Option<Duration>) -> Duration {
    let longest =
        FIRST_PAUSE.saturating_mul(3_u32.saturating_pow(tries.saturating_sub(1))).min(LONGEST_PAUSE);
    let mut random = [0; 2];
    // Without randomness all wait the longest.
    let less = match SystemRandom::new().fill(&mut random) {
        Ok(()) => longest.mul_f64(f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX) / 2.0),
        Err(_) => Duration::ZERO,
    };
    (longest - less).max(asked.unwrap_or_default().min(LONGEST_PAUSE))
}
