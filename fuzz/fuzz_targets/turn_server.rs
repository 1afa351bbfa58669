//! A whole TURN server under a script of packets (signed ones, too), time, sockets and peers: no panic, routes stay within
//! their packets, the timer moves on, and in the end everything has expired.
#![no_main]

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::time::{Duration, Instant, UNIX_EPOCH};

use arbitrary::Arbitrary;
use callgate_fuzz::stun::{Algorithm, Class, Mac, Message, Writer, attribute};
use callgate_fuzz::turn::{
    AllocationId, Config, ConnectionId, FiveTuple, Keys, Leg, Limits, Output, PeerPolicy, RelayAddress,
    RelayFailure, Route, Scopes, Server, Transport, credential,
};
use libfuzzer_sys::fuzz_target;
use secrecy::SecretString;
use webrtc_turn::auth::generate_auth_key;

const WALL: u64 = 1_800_000_000;

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Packet { client: u8, bytes: &'a [u8] },
    Request { client: u8, user: User, method: u8, style: u8, attributes: Vec<Piece<'a>> },
    Indication { client: u8, attributes: Vec<Piece<'a>> },
    Peer { allocation: u8, from: u8, length: u16 },
    Relayed { to: u8, from: u8, room: u8, length: u16 },
    Icmp { allocation: u8, peer: u8, kind: u8, code: u8 },
    Open { result: u8 },
    Gone { client: u8 },
    Connected { connection: u8, well: bool },
    Accepted { allocation: u8, from: u8, room: Option<u8> },
    Pass { connection: u8, to_peer: bool, length: u16 },
    Closed { connection: u8 },
    Home { client: u8, port: Option<u16> },
    Time { seconds: u16 },
    Revoke { user: bool },
    Drain,
    SetKeys { which: u8 },
    Seat { member: u8, red: bool },
    Unseat { member: u8 },
    Signaled { member: u8, peers: [u8; 3] },
    Observed { member: u8, peer: u8 },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum User {
    Alice,
    Bob,
    /// Of a room, perhaps.
    Member(u8),
    /// With a password of its own.
    Camera,
    /// With a wrong one.
    Mallory,
}

/// Some of what lets people in, by three bits.
fn keys(which: u8) -> Keys {
    let secret = |n: u8, text| (which & n == 0).then(|| SecretString::from(text));
    Keys {
        secrets: [secret(1, "secret"), secret(2, "another")].into_iter().flatten().collect(),
        users: secret(4, "password").map(|password| ("camera".to_owned(), password)).into_iter().collect(),
    }
}

#[derive(Arbitrary, Debug)]
enum Piece<'a> {
    Any { kind: u16, value: &'a [u8] },
    Peer(u8),
    Channel(u8),
    Lifetime(u32),
    Udp,
    Tcp,
    Ticket(bool),
    Connection(u8),
    Family(u8),
    AlsoIpv6,
    EvenPort(bool),
    Token,
    Data(&'a [u8]),
    DontFragment,
}

/// The credential ids of three who have seats now and then.
fn member(number: u8) -> String {
    credential::member_id(&(number % 3).to_string())
}

struct World {
    server: Server,
    scopes: Scopes,
    now: Instant,
    waiting: Vec<(AllocationId, SocketAddr)>,
    allocations: Vec<AllocationId>,
    relayed: Vec<SocketAddr>,
    token: [u8; 8],
    ticket: Vec<u8>,
    connections: Vec<ConnectionId>,
    nonces: [Vec<u8>; 4],
    number: u32,
}

fn tuple(client: u8) -> FiveTuple {
    let port = 4000 + u16::from(client % 4);
    let (client, server) = if client % 2 == 0 {
        (SocketAddr::from(([198, 18, 0, 1], port)), SocketAddr::from(([8, 8, 4, 4], 3478)))
    } else {
        (
            SocketAddr::from(([0x2606, 0x4700, 0, 0, 0, 0, 0, 1], port)),
            SocketAddr::from(([0x2606, 0, 0, 0, 0, 0, 0, 2], 3478)),
        )
    };
    let leg = |generation| Leg { shard: 0, slot: 1, generation };
    let transport = match port {
        4000 | 4001 => Transport::Udp,
        4002 => Transport::Tcp(leg(1)),
        _ => Transport::Tls(leg(2)),
    };
    FiveTuple { client, server, transport }
}

impl World {
    fn new() -> Self {
        let config = Config {
            realm: "fuzz".into(),
            software: "fuzz".into(),
            keys: keys(0),
            nonce_key: [1; 32],
            relays: vec![
                RelayAddress { local: [10, 0, 0, 5].into(), public: [192, 0, 2, 5].into() },
                RelayAddress {
                    local: [0x2001, 0xdb8, 0, 0, 0, 0, 0, 5].into(),
                    public: [0x2001, 0xdb8, 0, 0, 0, 0, 0, 5].into(),
                },
            ],
            ports: 50000..=50005,
            all_ports: 50000..=50011,
            census: Default::default(),
            own: vec![SocketAddr::from(([8, 8, 4, 4], 3478))],
            discovery: [
                ([8, 8, 4, 4], 3478),
                ([8, 8, 4, 4], 3479),
                ([8, 8, 8, 8], 3478),
                ([8, 8, 8, 8], 3479),
            ]
            .map(SocketAddr::from)
            .to_vec(),
            alternate: vec![SocketAddr::from(([203, 0, 113, 8], 3478))],
            peers: PeerPolicy::default(),
            limits: Limits {
                permissions: 5,
                channels: 4,
                unauthenticated_per_second: 50,
                bytes_per_second: 100_000,
                room_bytes_per_second: 150_000,
                total_bytes_per_second: 200_000,
                ..Limits::default()
            },
            tcp_relays: true,
            mobility: true,
            room_scope: true,
            scopes: Default::default(),
        };
        let scopes = config.scopes.clone();
        let now = Instant::now();
        let server = Server::new(config, [2; 32], now, UNIX_EPOCH + Duration::from_secs(WALL));
        Self {
            server,
            scopes,
            now,
            waiting: vec![],
            allocations: vec![],
            relayed: vec![],
            token: [0; 8],
            ticket: vec![],
            connections: vec![],
            nonces: Default::default(),
            number: 0,
        }
    }

    fn peer(&self, number: u8) -> SocketAddr {
        match number % 8 {
            0 => SocketAddr::from(([9, 9, 9, 9], 7000)),
            1 => SocketAddr::from(([9, 9, 9, 9], 7001)),
            2 => SocketAddr::from(([0x2606, 0x4700, 0, 0, 0, 0, 0, 9], 7000)),
            3 => SocketAddr::from(([10, 0, 0, 1], 22)),
            4 => SocketAddr::from(([192, 0, 2, 5], 50000 + u16::from(number >> 3) % 14)),
            5 => SocketAddr::from(([9, 9, 9, number], u16::from(number))),
            _ => self
                .relayed
                .get(usize::from(number >> 3) % self.relayed.len().max(1))
                .copied()
                .unwrap_or(SocketAddr::from(([9, 9, 9, 9], 1))),
        }
    }

    fn allocation(&self, number: u8) -> AllocationId {
        let unknown = AllocationId { slot: u32::from(number), generation: 1 };
        self.allocations.get(usize::from(number) % self.allocations.len().max(1)).copied().unwrap_or(unknown)
    }

    fn connection(&self, number: u8) -> ConnectionId {
        let unknown = ConnectionId(number.into());
        self.connections.get(usize::from(number) % self.connections.len().max(1)).copied().unwrap_or(unknown)
    }

    fn packet(&mut self, client: u8, bytes: &[u8]) {
        let route = self.server.handle_client(self.now, tuple(client), bytes);
        check(route, bytes.len());
        self.settle();
    }

    fn settle(&mut self) {
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Send { to, message } => {
                    let message = Message::parse(&message).expect("we send STUN");
                    // Behaviour discovery sends to other ports, and from others.
                    let Some(client) = (0..4).find(|&client| tuple(client) == to) else { continue };
                    for found in message.attributes() {
                        match found.kind {
                            attribute::NONCE => self.nonces[usize::from(client)] = found.value.to_vec(),
                            attribute::MOBILITY_TICKET => self.ticket = found.value.to_vec(),
                            attribute::CONNECTION_ID => {
                                let id = found.value.try_into().expect("four bytes");
                                self.connections.push(ConnectionId(u32::from_be_bytes(id)));
                            }
                            attribute::RESERVATION_TOKEN => self.token.copy_from_slice(found.value),
                            attribute::XOR_RELAYED_ADDRESS => {
                                let id = message.transaction_id();
                                self.relayed.extend(callgate_fuzz::stun::address::decode(found.value, &id));
                            }
                            _ => {}
                        }
                    }
                }
                Output::OpenRelay { at, local } | Output::Listen { at, local } => {
                    self.waiting.push((at, local));
                    self.allocations.push(at);
                }
                Output::Connect { connection, .. } => self.connections.push(connection),
                _ => {}
            }
        }
        assert!(self.server.poll_timeout().is_none_or(|due| due > self.now), "time stands still");
    }

    fn write(
        &mut self,
        client: u8,
        method: u16,
        class: Class,
        pieces: &[Piece<'_>],
        sign: Option<(User, u8)>,
    ) {
        self.number += 1;
        let mut id = [7; 12];
        id[..4].copy_from_slice(&self.number.to_be_bytes());
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, method, class, id);
        for piece in pieces.iter().take(12) {
            match piece {
                Piece::Any { kind, value } => writer.attribute(*kind, &value[..value.len().min(300)]),
                Piece::Peer(number) => writer.address(attribute::XOR_PEER_ADDRESS, self.peer(*number)),
                Piece::Channel(number) => {
                    writer.attribute(attribute::CHANNEL_NUMBER, &[0x40, number % 6, 0, 0])
                }
                Piece::Lifetime(seconds) => writer.attribute(attribute::LIFETIME, &seconds.to_be_bytes()),
                Piece::Udp => writer.attribute(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0]),
                Piece::Tcp => writer.attribute(attribute::REQUESTED_TRANSPORT, &[6, 0, 0, 0]),
                Piece::Ticket(empty) => {
                    let ticket = if *empty { &[][..] } else { &self.ticket };
                    writer.attribute(attribute::MOBILITY_TICKET, ticket)
                }
                Piece::Connection(number) => {
                    let id = self.connection(*number).0.to_be_bytes();
                    writer.attribute(attribute::CONNECTION_ID, &id)
                }
                Piece::Family(number) => {
                    writer.attribute(attribute::REQUESTED_ADDRESS_FAMILY, &[number % 4, 0, 0, 0])
                }
                Piece::AlsoIpv6 => writer.attribute(attribute::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]),
                Piece::EvenPort(reserve) => {
                    writer.attribute(attribute::EVEN_PORT, &[u8::from(*reserve) << 7])
                }
                Piece::Token => writer.attribute(attribute::RESERVATION_TOKEN, &self.token),
                Piece::Data(data) => writer.attribute(attribute::DATA, &data[..data.len().min(300)]),
                Piece::DontFragment => writer.attribute(attribute::DONT_FRAGMENT, &[]),
            };
        }
        if let Some((user, style)) = sign {
            let minted = |id| {
                let made = credential::mint(&SecretString::from("secret"), id, WALL + 100_000);
                (made.username, made.password)
            };
            let (username, password) = match user {
                User::Alice => minted("alice"),
                User::Bob => minted("bob"),
                User::Member(number) => minted(&member(number)),
                User::Camera => ("camera".to_owned(), "password".to_owned()),
                User::Mallory => ("camera".to_owned(), "guess".to_owned()),
            };
            let key = generate_auth_key(&username, "fuzz", &password);
            let long =
                ring::digest::digest(&ring::digest::SHA256, format!("{username}:fuzz:{password}").as_bytes());
            let hash = ring::digest::digest(&ring::digest::SHA256, format!("{username}:fuzz").as_bytes());
            if style & 4 == 0 {
                writer.attribute(attribute::USERNAME, username.as_bytes());
            } else {
                writer.attribute(attribute::USERHASH, hash.as_ref());
            }
            writer
                .attribute(attribute::REALM, b"fuzz")
                .attribute(attribute::NONCE, &self.nonces[usize::from(client % 4)]);
            let key = if style & 2 == 0 { &key[..] } else { long.as_ref() };
            if style & 8 != 0 {
                writer
                    .attribute(attribute::PASSWORD_ALGORITHMS, &[0, 2, 0, 0, 0, 1, 0, 0])
                    .attribute(attribute::PASSWORD_ALGORITHM, &[0, 1 + (style >> 1 & 1), 0, 0]);
            }
            if style & 16 != 0 {
                writer.integrity(&Mac::new(Algorithm::Sha1, key));
            }
            let algorithm = if style & 1 == 0 { Algorithm::Sha1 } else { Algorithm::Sha256 };
            writer.integrity(&Mac::new(algorithm, key));
        }
        self.packet(client % 4, &out);
        // The same again changes nothing but counters.
        let before = self.server.stats().allocations;
        self.packet(client % 4, &out);
        assert_eq!(self.server.stats().allocations, before);
    }

    fn step(&mut self, step: Step<'_>) {
        match step {
            Step::Packet { client, bytes } => self.packet(client % 4, bytes),
            Step::Request { client, user, method, style, attributes } => {
                let method = [3, 4, 8, 9, 1, 10, 11][usize::from(method % 7)];
                if self.nonces[usize::from(client % 4)].is_empty() {
                    self.write(client, 3, Class::Request, &[Piece::Udp], None);
                }
                self.write(client, method, Class::Request, &attributes, Some((user, style)));
            }
            Step::Indication { client, attributes } => {
                self.write(client, 6, Class::Indication, &attributes, None);
            }
            Step::Peer { allocation, from, length } => {
                let (at, from) = (self.allocation(allocation), self.peer(from));
                check(self.server.handle_peer(self.now, at, from, length.into()), length.into());
            }
            Step::Relayed { to, from, room, length } => {
                let (to, from, room) = (self.peer(to), self.peer(from), NonZeroU64::new(room.into()));
                check(self.server.handle_relayed(self.now, to, from, room, length.into()), length.into());
            }
            Step::Icmp { allocation, peer, kind, code } => {
                let (at, peer) = (self.allocation(allocation), self.peer(peer));
                self.server.handle_icmp(self.now, at, peer, kind, code, [0; 4]);
            }
            Step::Gone { client } => self.server.client_gone(self.now, tuple(client)),
            Step::Connected { connection, well } => {
                self.server.peer_connected(self.now, self.connection(connection), well);
            }
            Step::Accepted { allocation, from, room } => {
                let (at, from) = (self.allocation(allocation), self.peer(from));
                let room = room.map(|number| NonZeroU64::new(number.into()));
                self.connections.extend(self.server.peer_accepted(self.now, at, from, room));
            }
            Step::Pass { connection, to_peer, length } => {
                let length = usize::from(length);
                let may = self.server.pass(self.now, self.connection(connection), to_peer, length);
                assert!(may.is_none_or(|may| may <= length));
            }
            Step::Closed { connection } => {
                self.server.connection_closed(self.now, self.connection(connection));
            }
            Step::Home { client, port } => self.server.set_home(self.now, tuple(client), port),
            Step::Open { result } => {
                if let Some((at, local)) = self.waiting.pop() {
                    let result = match result % 4 {
                        0 => Err(RelayFailure::InUse),
                        1 => Err(RelayFailure::Refused),
                        _ => Ok(local),
                    };
                    self.server.relay_opened(self.now, at, result, local);
                }
            }
            Step::Time { seconds } => {
                self.now += Duration::from_secs(seconds.into());
                self.server.handle_timeout(self.now);
            }
            Step::Revoke { user } => self.server.revoke(self.now, if user { "alice" } else { "bob" }),
            Step::Drain => self.server.drain(self.now),
            Step::Seat { member: who, red } => {
                self.scopes.seat(&member(who), if red { "red" } else { "blue" }, who);
            }
            Step::Unseat { member: who } => self.scopes.unseat(&member(who)),
            Step::Signaled { member: who, peers } => {
                self.scopes.signaled(&member(who), &peers.map(|peer| self.peer(peer).ip()));
            }
            Step::Observed { member: who, peer } => {
                self.scopes.observed(&member(who), self.peer(peer).ip());
            }
            Step::SetKeys { which } => self.server.set_keys(self.now, &keys(which)),
        }
        self.settle();
    }
}

fn check(route: Route, length: usize) {
    match route {
        Route::Here | Route::Home { .. } => {}
        Route::Peer { payload, .. } | Route::Across { payload, .. } => assert!(payload.range().end <= length),
        Route::Client { payload, head, .. } => {
            assert!(payload.range().end <= length);
            assert!(head.padding < 4 && usize::from(head.len) <= head.bytes.len());
        }
    }
}

fuzz_target!(|steps: Vec<Step<'_>>| {
    let mut world = World::new();
    for step in steps {
        world.step(step);
    }
    world.now += Duration::from_secs(10_000);
    world.server.handle_timeout(world.now);
    world.settle();
    assert_eq!(world.server.stats().allocations, 0);
    assert_eq!(world.server.poll_timeout(), None);
});
