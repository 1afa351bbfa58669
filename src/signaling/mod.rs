//! Signaling over Socket.IO. socketioxide carries bytes; everything else is decided here and in `rooms`.
//!
//! An event's way: the transport hands it over in order (`door`), the connection's inbox keeps the order, `decode` reads
//! every dialect, `session` makes a command of it, the store decides and commits, and each member hears of it in its own
//! dialect (`seats`, `dialect`).

mod account;
mod admin;
mod api;
mod candidates;
mod clock;
mod connection;
mod decode;
mod dialect;
mod directory;
mod door;
mod error;
mod expiry;
mod hub;
mod identity;
mod inbox;
mod kept;
mod left;
mod lost;
mod media;
mod moment;
mod news;
mod offset;
mod operator;
mod outbox;
mod seal;
mod seats;
mod session;
mod stats;
mod users;
mod visitor;
mod watchers;

pub use admin::Admits;
pub use admin::Operator;
pub use api::Listed;
pub use api::Plan;
pub use error::Code;
pub use identity::Identity;
pub use media::Flow;
pub use media::Media;
pub use media::Usage;
pub use moment::Moment;
pub use news::Candidate;
pub use news::News;
pub use news::Verdict;
pub use operator::RelayFigures;
pub use stats::Drop;
pub use stats::Relayed;
pub use stats::Stats;
pub use visitor::Visitor;

use std::sync::Arc;
use std::time::Duration;

use socketioxide::ParserConfig;
use socketioxide::SocketIo;
use socketioxide::layer::SocketIoLayer;

use self::account::Rates;
use self::admin::Admin;
use self::door::Door;
use self::hub::Hub;
use crate::auth::Tokens;
use crate::config;
use crate::ice::IceServers;
use crate::rooms::Refusal;
use crate::rooms::RoomId;
use crate::rooms::Rules;
use crate::rooms::Target;
use crate::store::Limits;
use crate::store::Live;
use crate::store::Store;

/// What the operator chooses.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The most members of a room; a call has two.
    pub capacity: usize,
    /// The most peers in a channel.
    pub channel_capacity: usize,
    /// How long a channel to which nobody belongs stays without anybody in it. Zero: for ever.
    pub idle: Duration,
    /// How long a call waits for its second member. Zero: for ever.
    pub waiting_timeout: Duration,
    /// How long a seat is kept for a member whose transport is lost. Zero: not at all.
    pub grace: Duration,
    /// What clients are taken to speak that do not say.
    pub dialect: config::Dialect,
    /// How many events a client may send a second, in the long run; five seconds' worth at once. 0: no limit. This and the
    /// next two hold for a user with a token, else for a connection; and twenty times as much for an address.
    pub events_per_second: u32,
    /// How many bytes of events. 0: no limit.
    pub bytes_per_second: u64,
    /// How many rooms it may join or make a minute. 0: no limit.
    pub joins_per_minute: u32,
    /// How many connections a user with a token may open a second, in the long run; ten seconds' worth at once, and five more in
    /// line. 0: no limit.
    pub connects_per_second: u32,
    /// The longest event, in bytes.
    pub message_bytes: usize,
    /// The most rooms.
    pub max_rooms: u64,
    /// The most rooms on one account. 0: no limit.
    pub rooms_of_one: u32,
    /// How often a client is pinged.
    pub ping_interval: Duration,
    /// How long its answer may take.
    pub ping_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            capacity: 16,
            channel_capacity: 500,
            idle: Duration::from_secs(24 * 3600),
            waiting_timeout: Duration::from_secs(30),
            grace: Duration::from_secs(30),
            dialect: config::Dialect::Native,
            events_per_second: 200,
            bytes_per_second: 256 << 10,
            joins_per_minute: 10,
            connects_per_second: 5,
            message_bytes: 64 << 10,
            max_rooms: 1_000_000,
            rooms_of_one: 20,
            // Node's 25 s and 20 s leave the other side of a call looking at a frozen picture for up to 45 s. At 10 s and
            // 10 s it is 20 s at most, for one small packet each way in ten seconds.
            ping_interval: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(10),
        }
    }
}

impl Settings {
    /// The rules of the rooms.
    #[must_use]
    pub fn rules(&self) -> Rules {
        Rules {
            capacity: self.capacity.max(2),
            channel_capacity: self.channel_capacity.max(2),
            waiting_timeout: self.waiting_timeout,
            grace: self.grace,
            idle: self.idle,
        }
    }

    /// For how long a connection may be dead before its heartbeat tells, at most.
    fn unnoticed(&self) -> Duration {
        // The timers' own slack.
        self.ping_interval + self.ping_timeout + Duration::from_secs(1)
    }

    fn rates(&self) -> Rates {
        Rates {
            events_per_second: self.events_per_second,
            bytes_per_second: self.bytes_per_second,
            joins_per_minute: self.joins_per_minute,
            connects_per_second: self.connects_per_second,
        }
    }

    /// How many rooms there may be.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits { rooms: self.max_rooms, rooms_of_one: self.rooms_of_one }
    }
}

/// What signaling stands on.
pub struct Parts {
    /// Makes the credentials that members are handed.
    pub ice: IceServers,
    /// The relay.
    pub media: Arc<dyn Media>,
    /// The rooms.
    pub store: Arc<dyn Store>,
    /// Verifies user tokens.
    pub tokens: Arc<Tokens>,
    /// Who is told of what happens, and who decides on joins.
    pub news: Arc<dyn News>,
    /// Seals resume tokens: 32 secret bytes, the same after a restart.
    pub seal: [u8; 32],
}

impl Parts {
    /// With rooms in memory alone, and tokens that no other process knows: for tests.
    #[must_use]
    pub fn volatile(settings: &Settings, ice: IceServers, media: Arc<dyn Media>) -> Parts {
        let store = Live::volatile(settings.rules(), settings.limits());
        let [a, b] = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()];
        let seal = std::array::from_fn(|i| if i < 16 { a.as_bytes()[i] } else { b.as_bytes()[i - 16] });
        let (store, tokens) = (Arc::new(store), Arc::new(Tokens::none()));
        Parts { ice, media, store, tokens, news: Arc::new(()), seal }
    }
}

/// How often what has surely come through is forgotten.
const SWEEP: Duration = Duration::from_secs(30);

/// How many packets the transport keeps for a client; a burst beyond that waits in the connection's outbox.
const TRANSPORT_QUEUE: usize = 64;

/// How much a client's WebSocket takes in at a time, and keeps for it: a candidate, or a part of a description. What arrives at
/// once is read at once all the same, into a buffer that connections share (`gate/stream.rs`).
const READ: usize = 256;

/// How long a client may take to say hello after the transport is there, the line that it may have to wait in aside.
const HELLO: Duration = Duration::from_secs(10);

/// How long closing the transports may take.
const CLOSING: Duration = Duration::from_secs(2);

/// Signaling, running. Cheap to clone.
#[derive(Clone)]
pub struct Signaling {
    hub: Arc<Hub>,
    io: SocketIo,
}

impl Signaling {
    /// Starts signaling; the layer answers `/socket.io/`. Call it within a tokio runtime.
    #[must_use]
    pub fn new(settings: &Settings, parts: Parts) -> (Signaling, SocketIoLayer) {
        let hub = Arc::new(Hub::new(settings, parts));
        // A message somewhat too long gets an answer; one beyond this ends the connection, as it is never read whole.
        let hard = settings.message_bytes.saturating_mul(4).max(256 << 10);
        let parser = ParserConfig::common().max_incoming_binaries(8).max_incoming_binary_buf_size(hard);
        let (layer, io) = SocketIo::builder()
            .ping_interval(settings.ping_interval)
            .ping_timeout(settings.ping_timeout)
            .max_buffer_size(TRANSPORT_QUEUE)
            .max_payload(hard as u64)
            .ws_read_buffer_size(READ)
            .ws_max_message_size(hard)
            .ws_max_frame_size(hard)
            .connect_timeout(HELLO + account::LONGEST_WAIT)
            .with_parser(parser)
            .build_layer();
        io.ns("/", Door(hub.clone()));
        tokio::spawn(clock::run(Arc::downgrade(&hub), hub.alarm.clone()));
        tokio::spawn(clock::sweep(Arc::downgrade(&hub), SWEEP));
        (Signaling { hub, io }, layer)
    }

    /// Opens the namespace `/admin`. Call it once, within a tokio runtime.
    pub fn admit(&self, operator: Operator) {
        self.io.ns("/admin", Admin::new(&self.hub, operator));
    }

    /// A room as JSON, if it is there: as everybody may see it who knows its name, or `whole`, as the operator may.
    #[must_use]
    pub fn room(&self, id: &RoomId, whole: bool) -> Option<serde_json::Value> {
        if whole { self.hub.whole(id) } else { self.hub.outline(id) }
    }

    /// Ends a room; its members are told.
    ///
    /// # Errors
    /// Why not.
    pub async fn close_room(&self, id: &RoomId) -> Result<(), Refusal> {
        let (hub, id) = (Arc::clone(&self.hub), id.clone());
        // Whoever asked may be gone before it is done: it is done all the same.
        let done = tokio::spawn(async move { hub.close(&id).await });
        done.await.unwrap_or(Err(Refusal::Unavailable))
    }

    /// Puts members out of a room, and lets nobody of their user's label in again if `ban`. How many it were.
    ///
    /// # Errors
    /// Why not.
    pub async fn kick(&self, id: &RoomId, target: Target<'_>, ban: bool) -> Result<usize, Refusal> {
        let (hub, id) = (Arc::clone(&self.hub), id.clone());
        let (peer, user) = match target {
            Target::Peer(peer) => (Some(peer), String::new()),
            Target::User(user) => (None, user.to_owned()),
        };
        let done = tokio::spawn(async move {
            let target = peer.map_or(Target::User(&user), Target::Peer);
            hub.kick(&id, target, ban).await
        });
        done.await.unwrap_or(Err(Refusal::Unavailable))
    }

    /// Pushes fresh credentials to every member within a few seconds: the secret that signs them has changed.
    pub fn renew(&self) {
        self.hub.renew_all();
    }

    /// The counters now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.hub.stats()
    }

    /// Tells every client that the daemon is going down, and takes nobody into a room any more.
    pub async fn drain(&self) {
        self.hub.drain();
        // The transports' writers get their turn before whatever the caller does next.
        tokio::task::yield_now().await;
    }

    /// Who has a seat, and which connections have which, as text for the next process; it holds no secrets of clients but their
    /// seats' tokens.
    #[must_use]
    pub fn leaves(&self) -> String {
        self.hub.leaves()
    }

    /// Takes note of what the process before this one has left: nobody else comes back to a seat of before. Of how many
    /// connections it is.
    pub fn follows(&self, text: &str) -> usize {
        self.hub.left.read(text)
    }

    /// Closes every transport, or gives up on those that do not close in two seconds.
    pub async fn close(&self) {
        if tokio::time::timeout(CLOSING, self.io.close()).await.is_err() {
            tracing::warn!("some signaling connections did not close in time");
        }
    }
}
