//! What others are told over HTTP of rooms, and asked: signed messages, in order for each room, tried again until they are taken.
//!
//! Nothing here ever holds up who tells: a message that finds no place in its queue is dropped and counted.

mod carrier;
mod join;
mod lanes;
mod sign;
mod stats;
mod trust;
mod unusable;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use http::uri::Scheme;
use secrecy::SecretString;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout_at;
use tokio_rustls::TlsConnector;
use uuid::Uuid;

use crate::config;

use carrier::Carrier;
use carrier::Network;
use lanes::Lanes;
use sign::Signer;
use stats::Counters;
use stats::count;

pub use join::Decision;
pub use join::JoinAsk;
pub use join::Role;
pub use stats::Stats;
pub use unusable::Unusable;

/// Questions about joins on their way at a time, and how many more may wait for that.
const ASKING: usize = 64;
const WAITING: usize = 1024;

/// What `callgate-event` says of a question.
const JOIN: &str = "join";

/// The receivers. Cheap to clone.
#[derive(Clone)]
pub struct Webhooks(Arc<Inner>);

struct Inner {
    receivers: Vec<Lanes>,
    /// Empty: everything.
    events: Vec<&'static str>,
    gatekeeper: Option<Gatekeeper>,
    counters: Arc<Counters>,
    closing: watch::Sender<bool>,
    ends: Mutex<Vec<JoinHandle<()>>>,
}

/// Who is asked about joins.
struct Gatekeeper {
    carrier: Box<dyn Carrier>,
    patience: Duration,
    asking: Semaphore,
    /// Those that are asking, too.
    places: Semaphore,
    /// The last answer was none.
    failing: AtomicBool,
}

/// Whether these can be started on this system.
///
/// # Errors
/// There is `https` among the URLs and nothing to trust.
pub fn check(settings: &config::Webhooks) -> Result<(), Unusable> {
    tls(settings).map(drop)
}

fn tls(settings: &config::Webhooks) -> Result<Option<TlsConnector>, Unusable> {
    let mut all = settings.urls.iter().chain(&settings.join_url);
    let secure = all.any(|url| url.scheme() == Some(&Scheme::HTTPS));
    secure.then(|| trust::connector(settings.ca.as_deref())).transpose()
}

impl Webhooks {
    /// Nobody is told, and nobody is asked.
    #[must_use]
    pub fn none() -> Webhooks {
        Webhooks::with(Vec::new(), Vec::new(), None)
    }

    /// Starts the lanes of every receiver, on the runtime it is called on. `secret` signs.
    ///
    /// # Errors
    /// There is `https` among the URLs and nothing to trust, or a URL without a host that a certificate can have.
    pub fn start(settings: &config::Webhooks, secret: &SecretString) -> Result<Webhooks, Unusable> {
        let signer = Arc::new(Signer::new(secret));
        let tls = tls(settings)?;
        let network = |key, url| {
            let network = Network::new(url, tls.as_ref(), Arc::clone(&signer), settings.timeout);
            network.map_err(|what| Unusable { key, what })
        };
        let mut carriers: Vec<Arc<dyn Carrier>> = Vec::new();
        for url in &settings.urls {
            carriers.push(Arc::new(network("webhooks.urls", url)?));
        }
        let gatekeeper = match &settings.join_url {
            None => None,
            Some(url) => Some(Gatekeeper {
                carrier: Box::new(network("webhooks.join_url", url)?),
                patience: settings.timeout,
                asking: Semaphore::new(ASKING),
                places: Semaphore::new(ASKING + WAITING),
                failing: AtomicBool::new(false),
            }),
        };
        Ok(Webhooks::with(carriers, settings.events.clone(), gatekeeper))
    }

    fn with(
        carriers: Vec<Arc<dyn Carrier>>,
        events: Vec<&'static str>,
        gatekeeper: Option<Gatekeeper>,
    ) -> Webhooks {
        let (closing, closed) = watch::channel(false);
        let counters = Arc::new(Counters::default());
        let (mut receivers, mut ends) = (Vec::new(), Vec::new());
        for carrier in &carriers {
            let (lanes, mut its) = Lanes::start(carrier, &counters, &closed);
            receivers.push(lanes);
            ends.append(&mut its);
        }
        let ends = Mutex::new(ends);
        Webhooks(Arc::new(Inner { receivers, events, gatekeeper, counters, closing, ends }))
    }

    /// Whether there is anybody to tell.
    #[must_use]
    pub fn has_receivers(&self) -> bool {
        !self.0.receivers.is_empty()
    }

    /// Whether anybody wants to hear of events of this kind (one of `config::WEBHOOK_EVENTS`).
    #[must_use]
    pub fn wants(&self, kind: &str) -> bool {
        !self.0.receivers.is_empty() && (self.0.events.is_empty() || self.0.events.contains(&kind))
    }

    /// Puts a message about `room` into the queues: `{id, type, at, room}` and what is in `more`, an object. `id` is the same for
    /// every receiver and every try, `at` is in milliseconds since 1970. Never waits.
    pub fn tell(&self, room: &str, kind: &'static str, more: Value) {
        if !self.wants(kind) {
            return;
        }
        let mut message = match more {
            Value::Object(more) => more,
            Value::Null => Map::new(),
            other => Map::from_iter([("data".to_owned(), other)]),
        };
        message.insert("id".to_owned(), Uuid::new_v4().to_string().into());
        message.insert("type".to_owned(), kind.into());
        message.insert("at".to_owned(), unix_ms().into());
        message.insert("room".to_owned(), room.into());
        let body = Bytes::from(Value::Object(message).to_string());
        for receiver in &self.0.receivers {
            receiver.push(room, kind, &body);
        }
    }

    /// Whether joins are asked about at all.
    #[must_use]
    pub fn asks(&self) -> bool {
        self.0.gatekeeper.is_some()
    }

    /// Asks whether somebody may join; within `webhooks.timeout`, whatever happens. Everybody may if nobody is to be asked.
    pub async fn may_join(&self, ask: &JoinAsk<'_>) -> Decision {
        let Some(gatekeeper) = &self.0.gatekeeper else {
            return Decision::Allowed { name: None, role: None };
        };
        let decision = gatekeeper.decide(ask).await;
        let [allowed, denied, unreachable] = &self.0.counters.joins;
        count(match decision {
            Decision::Allowed { .. } => allowed,
            Decision::Denied { .. } => denied,
            Decision::Unreachable => unreachable,
        });
        decision
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.counters.read()
    }

    /// The end: nothing new is taken, what waits has one more try each, for at most so long; the rest is dropped.
    pub async fn close(&self, limit: Duration) {
        self.0.closing.send_replace(true);
        let until = tokio::time::Instant::now() + limit;
        let ends = std::mem::take(&mut *self.0.ends.lock().unwrap_or_else(PoisonError::into_inner));
        for mut end in ends {
            if timeout_at(until, &mut end).await.is_err() {
                end.abort();
                let _ = end.await;
            }
        }
    }
}

impl Gatekeeper {
    async fn decide(&self, ask: &JoinAsk<'_>) -> Decision {
        // So many wait already that this one would not be answered in time.
        let Ok(_place) = self.places.try_acquire() else { return Decision::Unreachable };
        let until = tokio::time::Instant::now() + self.patience;
        let why = match timeout_at(until, self.ask(ask)).await {
            Ok(Ok(decision)) => {
                self.failing.store(false, Relaxed);
                return decision;
            }
            Ok(Err(why)) => why,
            Err(_) => Cow::Borrowed("no answer in time"),
        };
        // Said once, until there is an answer again: nobody comes in meanwhile.
        if !self.failing.swap(true, Relaxed) {
            let receiver = self.carrier.name();
            tracing::warn!(receiver, %why, "webhooks.join_url does not say who may join: nobody joins");
        }
        Decision::Unreachable
    }

    /// What was answered; why there is nothing to go by.
    async fn ask(&self, ask: &JoinAsk<'_>) -> Result<Decision, Cow<'static, str>> {
        let Ok(_turn) = self.asking.acquire().await else { return Err("it is not asked".into()) };
        let question = Question { kind: JOIN, at: unix_ms(), ask };
        let body = serde_json::to_vec(&question).map_err(|error| error.to_string())?;
        let answer = self.carrier.post(JOIN, &Bytes::from(body)).await.map_err(|why| why.0)?;
        match Decision::of(&answer) {
            Decision::Unreachable => {
                Err(format!("its answer, {}, is no yes and no no", answer.status).into())
            }
            decision => Ok(decision),
        }
    }
}

/// As it is asked.
#[derive(Serialize)]
struct Question<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    at: u64,
    #[serde(flatten)]
    ask: &'a JoinAsk<'a>,
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
