//! Signaling over Socket.IO. socketioxide carries bytes; everything else is decided here and in `rooms`.
//!
//! An event's way: the transport hands it over in order (`door`), the connection's inbox keeps the order, `decode` reads
//! every dialect, `session` makes a command of it, the store decides and commits, and each member hears of it in its own
//! dialect (`seats`, `dialect`).

mod admin;
mod candidates;
mod clock;
mod connection;
mod decode;
mod dialect;
mod door;
mod error;
mod hub;
mod inbox;
mod media;
mod operator;
mod outbox;
mod rate;
mod seats;
mod session;
mod stats;

pub use admin::Admits;
pub use admin::Operator;
pub use error::Code;
pub use media::Flow;
pub use media::Media;
pub use media::Usage;
pub use operator::RelayFigures;
pub use stats::Drop;
pub use stats::Relayed;
pub use stats::Stats;

use std::sync::Arc;
use std::time::Duration;

use socketioxide::ParserConfig;
use socketioxide::SocketIo;
use socketioxide::layer::SocketIoLayer;

use self::admin::Admin;
use self::door::Door;
use self::hub::Hub;
use self::rate::Rate;
use crate::ice::IceServers;
use crate::rooms::Refusal;
use crate::rooms::RoomId;
use crate::rooms::Rules;
use crate::rooms::Target;
use crate::store::Memory;

/// What the operator chooses.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The most members of a room; a call has two.
    pub capacity: usize,
    /// How long a call waits for its second member. Zero: for ever.
    pub waiting_timeout: Duration,
    /// How long a seat is kept for a member whose transport is lost. Zero: not at all.
    pub grace: Duration,
    /// How many events a connection may send a second, in the long run; five seconds' worth at once. 0: no limit.
    pub events_per_second: u32,
    /// The longest event, in bytes.
    pub message_bytes: usize,
    /// The most rooms.
    pub max_rooms: u64,
    /// How often a client is pinged.
    pub ping_interval: Duration,
    /// How long its answer may take.
    pub ping_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            capacity: 16,
            waiting_timeout: Duration::from_secs(30),
            grace: Duration::from_secs(30),
            events_per_second: 200,
            message_bytes: 64 << 10,
            max_rooms: 100_000,
            // Node's 25 s and 20 s leave the other side of a call looking at a frozen picture for up to 45 s. At 10 s and
            // 10 s it is 20 s at most, for one small packet each way in ten seconds.
            ping_interval: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(10),
        }
    }
}

/// How many packets the transport keeps for a client; a burst beyond that waits in the connection's outbox.
const TRANSPORT_QUEUE: usize = 64;

/// How much is read from a client's WebSocket at a time, and kept for it: several candidates, or a part of a description.
const READ: usize = 1024;

/// How long a client may take to say hello after the transport is there.
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
    /// Starts signaling; the layer answers `/socket.io/`. Call it within a tokio runtime. `media` is the relay.
    #[must_use]
    pub fn new(settings: &Settings, ice: IceServers, media: Arc<dyn Media>) -> (Signaling, SocketIoLayer) {
        let rules = Rules {
            capacity: settings.capacity.max(2),
            waiting_timeout: settings.waiting_timeout,
            grace: settings.grace,
        };
        let hub = Arc::new(Hub::new(
            Box::new(Memory::new(rules, settings.max_rooms)),
            ice,
            Rate::new(settings.events_per_second),
            settings.message_bytes,
            media,
        ));
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
            .connect_timeout(HELLO)
            .with_parser(parser)
            .build_layer();
        io.ns("/", Door(hub.clone()));
        tokio::spawn(clock::run(Arc::downgrade(&hub), hub.alarm.clone()));
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
    pub fn close_room(&self, id: &RoomId) -> Result<(), Refusal> {
        self.hub.close(id)
    }

    /// Puts members out of a room, and lets nobody of their user's label in again if `ban`. How many it were.
    ///
    /// # Errors
    /// Why not.
    pub fn kick(&self, id: &RoomId, target: Target<'_>, ban: bool) -> Result<usize, Refusal> {
        self.hub.kick(id, target, ban)
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

    /// Closes every transport, or gives up on those that do not close in two seconds.
    pub async fn close(&self) {
        if tokio::time::timeout(CLOSING, self.io.close()).await.is_err() {
            tracing::warn!("some signaling connections did not close in time");
        }
    }
}
