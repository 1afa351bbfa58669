//! What the daemon is told to be: a TOML file and the environment (`file`), read into `Settings` in which only possible
//! things can be said (`resolve`). Every mistake is reported at once, with its place and its mend.

mod auth;
mod file;
mod mistake;
mod nearest;
mod resolve;
mod show;
mod state;
#[cfg(test)]
mod tests;
mod value;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

pub use file::Environment;
pub use mistake::Mistake;
pub use mistake::Mistakes;
pub use mistake::Place;
pub use show::masked_url;
pub use show::show;
pub use state::Kept;
pub use state::LONGEST_LEFT;
pub use state::State;
pub use value::Cidr;
pub use value::PublicAddress;
pub use value::parse_duration;
pub use value::show_duration;

/// The file that is read when none is named and it exists.
pub const DEFAULT_FILE: &str = "/etc/callgate/callgate.toml";

/// Everything, resolved.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `[public]`
    pub public: Public,
    /// `[http]`
    pub http: Http,
    /// `[tls]`; none: no TLS port.
    pub tls: Option<Tls>,
    /// `[turn]`
    pub turn: Turn,
    /// `[rooms]`
    pub rooms: Rooms,
    /// `[auth]`
    pub auth: Auth,
    /// `[admin]`
    pub admin: Admin,
    /// `[webhooks]`
    pub webhooks: Webhooks,
    /// `[limits]`
    pub limits: Limits,
    /// `[store]`
    pub store: Store,
    /// `[log]`
    pub log: Log,
    /// The file that was read; none: built-in defaults (and the environment).
    pub file: Option<PathBuf>,
    /// Where each written key was written: `("turn.realm", "callgate.toml:12")`.
    pub places: Vec<(String, Place)>,
}

impl Settings {
    /// Where this key was written.
    #[must_use]
    pub fn place(&self, key: &str) -> &Place {
        self.places.iter().find(|(written, _)| written == key).map_or(&Place::Missing, |(_, place)| place)
    }

    /// That the value of this key cannot be used, which came out after the configuration was read.
    #[must_use]
    pub fn mistake(&self, key: &str, what: String) -> Mistakes {
        Mistakes(vec![Mistake { place: self.place(key).clone(), key: key.to_owned(), what }])
    }
}

/// How clients find this host.
#[derive(Clone, Debug)]
pub struct Public {
    /// The name clients use; none: the first public address.
    pub host: Option<String>,
    /// At most one of each family; empty: found on the interfaces.
    pub addresses: Vec<PublicAddress>,
    /// Load balancers in front of the TCP ports, which say whom they speak for (PROXY protocol, version 2).
    pub proxies: Vec<Cidr>,
}

/// The plain ports.
#[derive(Clone, Debug)]
pub struct Http {
    /// Addresses to listen on. May be empty if there is a TLS port.
    pub listen: Vec<SocketAddr>,
    /// Origins (`https://host[:port]`, `*`, `null`) that may call from a browser; empty: this one and localhost.
    pub origins: Vec<String>,
}

impl Http {
    /// Whether any page may call, whoever it is from.
    pub(crate) fn lets_any_page_in(&self) -> bool {
        self.origins.iter().any(|origin| origin == "*" || origin == "null")
    }
}

/// The TLS ports.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Addresses to listen on; not empty.
    pub listen: Vec<SocketAddr>,
    /// A PEM file: the chain, leaf first.
    pub certificate: PathBuf,
    /// A PEM file: the key of the leaf.
    pub key: PathBuf,
}

/// The relay.
#[derive(Clone, Debug)]
pub struct Turn {
    /// UDP addresses to listen on; not empty.
    pub listen: Vec<SocketAddr>,
    /// The realm of the long-term credentials (RFC 8489, section 9.2).
    pub realm: String,
    /// The first signs, all verify; empty: one is generated and kept in the state folder.
    pub secrets: Vec<SecretString>,
    /// How long a credential opens new allocations.
    pub credential_ttl: Duration,
    /// Where relayed addresses take their ports from.
    pub relay_ports: RangeInclusive<u16>,
    /// Shards; 0: one per core.
    pub workers: usize,
    /// What a room's members may reach through their relays.
    pub relay_scope: RelayScope,
    /// User names with passwords that do not expire, for tests and fixed devices.
    pub users: Vec<StaticUser>,
    /// Whether an allocation may move with its client to another network (RFC 8016).
    pub mobility: bool,
    /// Whether there are TCP allocations (RFC 6062).
    pub tcp_relays: bool,
    /// Where clients are sent while this daemon drains (RFC 8489, section 10); at most one of each family.
    pub alternate: Vec<SocketAddr>,
    /// Whom a relay may talk to.
    pub peers: Peers,
    /// What one client may use up.
    pub limits: TurnLimits,
}

/// What relays with a room's credentials may reach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RelayScope {
    /// The addresses of the room's members.
    Room,
    /// All that the peer lists do not deny.
    Public,
}

/// A user name with a password that does not expire.
#[derive(Clone, Debug)]
pub struct StaticUser {
    /// USERNAME.
    pub name: String,
    /// Its password.
    pub password: SecretString,
}

/// The operator's additions to the built-in deny list.
#[derive(Clone, Debug)]
pub struct Peers {
    /// Allowed, whatever the deny lists say.
    pub allow: Vec<Cidr>,
    /// Denied too.
    pub deny: Vec<Cidr>,
}

/// Limits of the relay; 0 is off.
#[derive(Clone, Debug)]
pub struct TurnLimits {
    /// Allocations of the whole daemon.
    pub allocations: u32,
    /// Allocations of one user name.
    pub allocations_per_user: u32,
    /// Allocations of one client address (IPv6: /64).
    pub allocations_per_ip: u32,
    /// Permissions of one allocation.
    pub permissions: u32,
    /// Channels of one allocation.
    pub channels: u32,
    /// The longest lifetime an allocation is granted at a time.
    pub lifetime: Duration,
    /// Unauthenticated requests answered per second and source prefix.
    pub unauthenticated_per_second: u32,
    /// Bytes relayed a second by one allocation, both ways together.
    pub bytes_per_second: u64,
    /// Bytes relayed a second by all allocations of a room's members.
    pub room_bytes_per_second: u64,
    /// Bytes relayed a second by the daemon.
    pub total_bytes_per_second: u64,
}

/// Rooms.
#[derive(Clone, Debug)]
pub struct Rooms {
    /// Peers in a room of kind `room` unless its creator says fewer.
    pub capacity: u32,
    /// How long a call waits for its second peer; 0: for ever.
    pub waiting_timeout: Duration,
    /// How long the place of a lost connection is kept; 0: not at all.
    pub grace: Duration,
    /// What clients are taken to speak that do not say.
    pub dialect: Dialect,
    /// Peers in a channel unless its creator says fewer.
    pub channel_capacity: u32,
    /// How long a channel to which nobody belongs stays without anybody in it; 0: for ever.
    pub idle_ttl: Duration,
    /// Messages that are kept of a room.
    pub history: u32,
    /// How long they are kept; 0: as long as their room.
    pub history_ttl: Duration,
}

/// A vocabulary of signaling.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    /// The SDK's.
    Native,
    /// Of calls of two.
    Call,
    /// Of meshes of users.
    Mesh,
    /// Of communities.
    Community,
}

impl Dialect {
    /// All of them, with their names.
    pub const NAMED: &'static [(&'static str, Dialect)] = &[
        ("native", Dialect::Native),
        ("call", Dialect::Call),
        ("mesh", Dialect::Mesh),
        ("community", Dialect::Community),
    ];
}

/// What lasts.
#[derive(Clone, Debug)]
pub struct Store {
    /// Where it is kept.
    pub url: StoreUrl,
    /// Calls that are over and kept in the log.
    pub calls: u64,
    /// How long they are kept; 0: as long as there is room for them.
    pub calls_ttl: Duration,
}

/// Where rooms are kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreUrl {
    /// In a file in the state folder, `State::STORE`.
    Default,
    /// Nowhere: they are gone with the process.
    Memory,
    /// In this file.
    Sqlite(PathBuf),
}

/// Who may come in, and who may ask for credentials without being in a room.
#[derive(Clone, Debug)]
pub struct Auth {
    /// Whether clients need a token.
    pub mode: AuthMode,
    /// What user tokens (JWT) are verified with; none: by `jwks` alone.
    pub key: Option<AuthKey>,
    /// A file with a JWKS (RFC 7517): more keys, watched.
    pub jwks: Option<PathBuf>,
    /// The `iss` that tokens must have, one of these; empty: any or none.
    pub issuer: Vec<String>,
    /// The `aud` that tokens must name, one of these; empty: any or none.
    pub audience: Vec<String>,
    /// How far the issuer's clock may be off.
    pub leeway: Duration,
    /// The cookie whose value is taken for a token where there is no other; none: there is no such cookie.
    pub cookie: Option<String>,
    /// Keys of back ends.
    pub api_keys: Vec<SecretString>,
    /// Whether everybody may ask for credentials.
    pub open_ice: bool,
}

/// Whether clients need a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AuthMode {
    /// Nobody needs one; who shows one is who it says.
    Open,
    /// Everybody does.
    Jwt,
}

/// What user tokens are verified with.
#[derive(Clone, Debug)]
pub enum AuthKey {
    /// Shared with who signs them (HMAC).
    Secret(SecretString),
    /// Public keys of who signs them.
    Public {
        /// PEM, one or more `PUBLIC KEY`.
        pem: String,
        /// The file they are from; none: they are in the configuration itself.
        file: Option<PathBuf>,
    },
}

/// The operator's access.
#[derive(Clone, Debug)]
pub struct Admin {
    /// None: generated and kept in the state folder.
    pub token: Option<SecretString>,
}

/// Who is told over HTTP of what happens in rooms, and who is asked.
#[derive(Clone, Debug)]
pub struct Webhooks {
    /// Who is told; `http://` or `https://` with a host.
    pub urls: Vec<http::Uri>,
    /// Signs what they are sent; none: generated and kept in the state folder.
    pub secret: Option<SecretString>,
    /// What they are told of, of `WEBHOOK_EVENTS`; empty: everything.
    pub events: Vec<&'static str>,
    /// Who is asked before somebody joins; none: nobody.
    pub join_url: Option<http::Uri>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// A PEM file with certificates that are trusted besides the system's.
    pub ca: Option<PathBuf>,
}

/// What webhooks can be told of.
pub const WEBHOOK_EVENTS: [&str; 7] =
    ["room.created", "room.updated", "room.closed", "peer.joined", "peer.left", "call.ended", "chat.message"];

/// Limits of the TCP side; 0 is off.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open TCP connections of one address (IPv6: /64).
    pub connections_per_ip: u32,
    /// New Socket.IO sessions of one address (IPv6: /64) per second, on average.
    pub connects_per_second: u32,
    /// Rooms a user or connection may join or make per minute.
    pub joins_per_minute: u32,
    /// Events a user or connection may send per second, on average.
    pub events_per_second: u32,
    /// Bytes of events a user or connection may send per second, on average.
    pub bytes_per_second: u64,
    /// Rooms that a user may have made and that are there.
    pub rooms_per_user: u32,
    /// Requests of the API of one address (IPv6: /64), or of a user whose token it shows, without a key, per second, on average.
    pub requests_per_second: u32,
    /// The longest event or request body, in bytes. Never off.
    pub message_bytes: usize,
}

/// The log.
#[derive(Clone, Debug)]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
    /// Which lines are written: `info`, or `info,callgate::relay=debug`.
    pub filter: String,
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// Words for people.
    Text,
    /// One object a line.
    Json,
}

/// Reads the configuration of a process: `file` if named, else `DEFAULT_FILE` if it exists, else nothing; the
/// environment over it.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(file: Option<&Path>, environment: &Environment) -> Result<Settings, Mistakes> {
    let path = file.unwrap_or(Path::new(DEFAULT_FILE));
    match fs::read_to_string(path) {
        Ok(text) => read(Some(path), &text, environment),
        Err(error) if file.is_none() && error.kind() == io::ErrorKind::NotFound => {
            read(None, "", environment)
        }
        Err(error) => {
            let what = if error.kind() == io::ErrorKind::InvalidData {
                "this file is not UTF-8 text".to_owned()
            } else {
                format!("cannot be read: {error}; name a readable file with --config")
            };
            let place = Place::File { path: path.to_owned(), line: 0 };
            Err(Mistakes(vec![Mistake { place, key: String::new(), what }]))
        }
    }
}

/// The settings in `text` (the content of `file`) with the environment over it.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(file: Option<&Path>, text: &str, environment: &Environment) -> Result<Settings, Mistakes> {
    resolve::resolve(file, text, environment)
}

/// This process's environment; what is not UTF-8 is read lossily, and so is wrong where it matters.
#[must_use]
pub fn environment() -> Environment {
    std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .collect()
}
