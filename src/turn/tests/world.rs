//! A server with a clock that the test turns, and clients that speak to it through the `stun` crate's codec.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant, UNIX_EPOCH};

use secrecy::SecretString;
use webrtc_stun::agent::TransactionId;
use webrtc_stun::attributes as a;
use webrtc_stun::attributes::AttrType;
use webrtc_stun::error_code::ErrorCodeAttribute;
use webrtc_stun::fingerprint::FINGERPRINT;
use webrtc_stun::integrity::MessageIntegrity;
use webrtc_stun::message as m;
use webrtc_stun::message::{Getter, Message, MessageType, Method, Setter};
use webrtc_stun::xoraddr::XorMappedAddress;

use crate::turn::{
    AllocationId, Config, FiveTuple, Keys, Limits, Output, PeerPolicy, RelayAddress, RelayFailure, Route,
    Scopes, Server, Transport, credential,
};

pub(super) const SECRET: &str = "north";
pub(super) const REALM: &str = "callgate";
/// What the clock on the wall shows when a world begins.
pub(super) const WALL: u64 = 1_800_000_000;

pub(super) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(super) fn config() -> Config {
    Config {
        realm: REALM.into(),
        software: "callgate".into(),
        keys: keys(&[SECRET, "south"], &[]),
        nonce_key: [7; 32],
        relays: vec![
            RelayAddress { local: "10.0.0.5".parse().unwrap(), public: "192.0.2.5".parse().unwrap() },
            RelayAddress { local: "2001:db8::5".parse().unwrap(), public: "2001:db8::5".parse().unwrap() },
        ],
        ports: 50000..=50999,
        all_ports: 50000..=51999,
        census: crate::turn::Census::default(),
        own: vec![addr("8.8.4.4:3478"), addr("0.0.0.0:3478")],
        discovery: vec![],
        alternate: vec![],
        peers: PeerPolicy::default(),
        limits: Limits::default(),
        tcp_relays: false,
        mobility: false,
        room_scope: true,
        scopes: Scopes::default(),
    }
}

pub(super) fn keys(secrets: &[&str], users: &[(&str, &str)]) -> Keys {
    let user = |(name, password): &(&str, &str)| ((*name).to_owned(), SecretString::from(*password));
    Keys {
        secrets: secrets.iter().map(|secret| SecretString::from(*secret)).collect(),
        users: users.iter().map(user).collect(),
    }
}

pub(super) struct World {
    pub(super) server: Server,
    pub(super) now: Instant,
    pub(super) scopes: Scopes,
    /// How the next sockets turn out to open; empty: they do.
    pub(super) opens: Vec<Result<(), RelayFailure>>,
    /// All sockets asked for.
    pub(super) opened: Vec<(AllocationId, SocketAddr)>,
    /// What was sent to clients.
    pub(super) sent: Vec<(FiveTuple, Vec<u8>)>,
    /// All other outputs.
    pub(super) events: Vec<Output>,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config();
        change(&mut config);
        let (now, wall) = (start(), UNIX_EPOCH + Duration::from_secs(WALL));
        let scopes = config.scopes.clone();
        let server = Server::new(config, [3; 32], now, wall);
        Self { server, now, scopes, opens: vec![], opened: vec![], sent: vec![], events: vec![] }
    }

    /// Lets time pass; the server is only told with the next input.
    pub(super) fn later(&mut self, seconds: f64) {
        self.now += Duration::from_secs_f64(seconds);
    }

    /// Lets time pass as a shard would: waking up whenever the server asks for it.
    pub(super) fn sleep(&mut self, seconds: f64) {
        let until = self.now + Duration::from_secs_f64(seconds);
        while let Some(due) = self.server.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.server.handle_timeout(self.now);
            self.settle();
            assert!(self.server.poll_timeout().is_none_or(|next| next > self.now), "time stands still");
        }
        self.now = until;
    }

    pub(super) fn packet(&mut self, from: FiveTuple, packet: &[u8]) -> Route {
        let route = self.server.handle_client(self.now, from, packet);
        self.settle();
        route
    }

    pub(super) fn peer(&mut self, at: AllocationId, from: &str, len: usize) -> Route {
        let route = self.server.handle_peer(self.now, at, addr(from), len);
        self.settle();
        route
    }

    /// Does what the outputs ask for.
    pub(super) fn settle(&mut self) {
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Send { to, message } => self.sent.push((to, message)),
                Output::OpenRelay { at, local } | Output::Listen { at, local } => {
                    self.opened.push((at, local));
                    let result = if self.opens.is_empty() { Ok(()) } else { self.opens.remove(0) };
                    self.server.relay_opened(self.now, at, result.map(|()| local), local);
                }
                other => self.events.push(other),
            }
        }
    }

    /// Sends a request with the client's credentials (getting a nonce first) and returns the answer.
    pub(super) fn ask(&mut self, client: &mut Client, ask: Ask) -> Answer {
        if client.nonce.is_empty() {
            let challenge = self.ask_raw(client, &Ask::allocate().udp().build());
            assert_eq!(challenge.code(), 401);
            client.nonce = challenge.get(a::ATTR_NONCE).unwrap();
        }
        let request = ask.signed(client).build();
        self.ask_raw(client, &request)
    }

    pub(super) fn ask_raw(&mut self, client: &Client, request: &[u8]) -> Answer {
        self.try_ask(client, request).unwrap_or_else(|| panic!("no answer; {:?}", self.server.stats().drops))
    }

    pub(super) fn try_ask(&mut self, client: &Client, request: &[u8]) -> Option<Answer> {
        self.sent.clear();
        assert_eq!(self.packet(client.tuple, request), Route::Here);
        let (to, message) = self.sent.pop()?;
        assert_eq!(to, client.tuple);
        assert!(self.sent.is_empty(), "more than one answer");
        let answer = Answer::read(&message);
        assert_eq!(answer.message.transaction_id.0, request[8..20]);
        Some(answer)
    }

    /// Sends what may not even be a message.
    pub(super) fn try_ask_any(&mut self, client: &Client, request: &[u8]) -> Option<Answer> {
        self.sent.clear();
        assert_eq!(self.packet(client.tuple, request), Route::Here);
        assert!(self.sent.len() <= 1, "more than one answer");
        self.sent.pop().map(|(_, message)| Answer::read(&message))
    }

    /// Allocates IPv4 for the client, and returns the allocation and its advertised address.
    pub(super) fn allocate(&mut self, client: &mut Client) -> (AllocationId, SocketAddr) {
        let answer = self.ask(client, Ask::allocate().udp());
        assert_eq!(answer.code(), 0);
        (self.opened.last().unwrap().0, answer.relayed()[0])
    }

    /// For the address alone, of which no relay has the port: one of another room could not be named.
    pub(super) fn permit_address(&mut self, client: &mut Client, peer: &str) {
        let ip = peer.parse::<SocketAddr>().unwrap().ip();
        self.permit(client, &SocketAddr::new(ip, 1).to_string());
    }

    pub(super) fn permit(&mut self, client: &mut Client, peer: &str) {
        assert_eq!(self.ask(client, Ask::permission().peer(peer)).code(), 0);
    }

    pub(super) fn bind(&mut self, client: &mut Client, number: u16, peer: &str) {
        assert_eq!(self.ask(client, Ask::bind(number, peer)).code(), 0);
    }

    pub(super) fn dropped(&self, reason: crate::turn::Drop) -> u64 {
        self.server.stats().drops[reason]
    }
}

#[derive(Clone)]
pub(super) struct Client {
    pub(super) tuple: FiveTuple,
    pub(super) username: String,
    pub(super) password: String,
    pub(super) realm: String,
    pub(super) nonce: Vec<u8>,
}

impl Client {
    pub(super) fn new(address: &str) -> Self {
        Self::named(address, "alice")
    }

    pub(super) fn named(address: &str, id: &str) -> Self {
        Self::until(address, id, WALL + 3600)
    }

    /// A client whose credential expires then.
    pub(super) fn until(address: &str, id: &str, expires: u64) -> Self {
        let made = credential::mint(&SecretString::from(SECRET), id, expires);
        let client = addr(address);
        let server = if client.is_ipv4() { "8.8.4.4:3478" } else { "[2001:4860::1]:3478" };
        Self {
            tuple: FiveTuple { client, server: addr(server), transport: Transport::Udp },
            username: made.username,
            password: made.password,
            realm: REALM.into(),
            nonce: vec![],
        }
    }

    /// A user with a password of its own.
    pub(super) fn user(address: &str, name: &str, password: &str) -> Self {
        Self { username: name.into(), password: password.into(), ..Self::new(address) }
    }

    /// The same client at another address.
    pub(super) fn moved(&self, address: &str) -> Self {
        let tuple = FiveTuple { client: addr(address), ..self.tuple };
        Self { tuple, nonce: vec![], ..self.clone() }
    }

    pub(super) fn key(&self) -> MessageIntegrity {
        MessageIntegrity::new_long_term_integrity(
            self.username.clone(),
            self.realm.clone(),
            self.password.clone(),
        )
    }
}

/// A message in the making.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) message: Message,
}

impl Ask {
    pub(super) fn new(method: Method, class: m::MessageClass) -> Self {
        let mut message = Message::new();
        message.set_type(MessageType::new(method, class));
        message.transaction_id = TransactionId::new();
        message.write_header();
        Self { message }
    }

    pub(super) fn allocate() -> Self {
        Self::new(m::METHOD_ALLOCATE, m::CLASS_REQUEST)
    }

    pub(super) fn refresh(lifetime: u32) -> Self {
        Self::new(m::METHOD_REFRESH, m::CLASS_REQUEST).lifetime(lifetime)
    }

    pub(super) fn permission() -> Self {
        Self::new(m::METHOD_CREATE_PERMISSION, m::CLASS_REQUEST)
    }

    pub(super) fn bind(number: u16, peer: &str) -> Self {
        let [a, b] = number.to_be_bytes();
        Self::new(m::METHOD_CHANNEL_BIND, m::CLASS_REQUEST)
            .add(a::ATTR_CHANNEL_NUMBER, &[a, b, 0, 0])
            .peer(peer)
    }

    pub(super) fn send(peer: &str, data: &[u8]) -> Self {
        Self::new(m::METHOD_SEND, m::CLASS_INDICATION).peer(peer).add(a::ATTR_DATA, data)
    }

    pub(super) fn binding() -> Self {
        Self::new(m::METHOD_BINDING, m::CLASS_REQUEST)
    }

    pub(super) fn add(mut self, kind: AttrType, value: &[u8]) -> Self {
        self.message.add(kind, value);
        self
    }

    pub(super) fn udp(self) -> Self {
        self.add(a::ATTR_REQUESTED_TRANSPORT, &[17, 0, 0, 0])
    }

    pub(super) fn lifetime(self, seconds: u32) -> Self {
        self.add(a::ATTR_LIFETIME, &seconds.to_be_bytes())
    }

    pub(super) fn family(self, number: u8) -> Self {
        self.add(a::ATTR_REQUESTED_ADDRESS_FAMILY, &[number, 0, 0, 0])
    }

    pub(super) fn also_ipv6(self) -> Self {
        self.add(AttrType(0x8000), &[2, 0, 0, 0])
    }

    pub(super) fn even_port(self, reserve: bool) -> Self {
        self.add(a::ATTR_EVEN_PORT, &[if reserve { 0x80 } else { 0 }])
    }

    pub(super) fn token(self, token: &[u8]) -> Self {
        self.add(a::ATTR_RESERVATION_TOKEN, token)
    }

    pub(super) fn peer(mut self, peer: &str) -> Self {
        let peer = addr(peer);
        let value = XorMappedAddress { ip: peer.ip(), port: peer.port() };
        value.add_to_as(&mut self.message, a::ATTR_XOR_PEER_ADDRESS).unwrap();
        self
    }

    pub(super) fn signed(self, client: &Client) -> Self {
        let mut ask = self
            .add(a::ATTR_USERNAME, client.username.as_bytes())
            .add(a::ATTR_REALM, client.realm.as_bytes())
            .add(a::ATTR_NONCE, &client.nonce);
        client.key().add_to(&mut ask.message).unwrap();
        ask
    }

    pub(super) fn fingerprint(mut self) -> Self {
        FINGERPRINT.add_to(&mut self.message).unwrap();
        self
    }

    pub(super) fn build(self) -> Vec<u8> {
        self.message.raw
    }
}

/// What came back, read with the `stun` crate.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) message: Message,
}

impl Answer {
    pub(super) fn read(bytes: &[u8]) -> Self {
        let mut message = Message { raw: bytes.to_vec(), ..Message::new() };
        message.decode().unwrap();
        Self { message }
    }

    /// The error code; 0: success.
    pub(super) fn code(&self) -> u16 {
        if self.message.typ.class == m::CLASS_SUCCESS_RESPONSE {
            return 0;
        }
        let mut error = ErrorCodeAttribute::default();
        error.get_from(&self.message).unwrap();
        error.code.0
    }

    pub(super) fn get(&self, kind: AttrType) -> Option<Vec<u8>> {
        self.message.get(kind).ok()
    }

    /// All XOR-RELAYED-ADDRESSes.
    pub(super) fn relayed(&self) -> Vec<SocketAddr> {
        let found = self.message.attributes.0.iter().filter(|held| held.typ == a::ATTR_XOR_RELAYED_ADDRESS);
        found
            .map(|held| {
                let mut one = Message::new();
                one.transaction_id = self.message.transaction_id;
                one.write_header();
                one.add(a::ATTR_XOR_RELAYED_ADDRESS, &held.value);
                let mut address = XorMappedAddress::default();
                address.get_from_as(&one, a::ATTR_XOR_RELAYED_ADDRESS).unwrap();
                SocketAddr::new(address.ip, address.port)
            })
            .collect()
    }

    pub(super) fn address(&self, kind: AttrType) -> SocketAddr {
        let mut address = XorMappedAddress::default();
        address.get_from_as(&self.message, kind).unwrap();
        SocketAddr::new(address.ip, address.port)
    }

    pub(super) fn lifetime(&self) -> Option<u32> {
        self.get(a::ATTR_LIFETIME).map(|value| u32::from_be_bytes(value.try_into().unwrap()))
    }

    pub(super) fn is_signed_by(&self, client: &Client) -> bool {
        client.key().check(&mut self.message.clone()).is_ok()
    }
}

/// Every moment is as good as another to begin with.
#[cfg(test)]
fn start() -> Instant {
    // The same for all shards of a daemon.
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}
