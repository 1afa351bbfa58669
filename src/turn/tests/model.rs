//! The server against a reference that is too simple to be wrong: random requests of several clients, data, retransmissions,
//! garbage and time. After every step both say the same; for clients in no room, and for the members of one.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use webrtc_stun::attributes as a;

use super::world::{Ask, Client, WALL, World, addr};
use crate::turn::{AllocationId, Route, credential};

const CLIENTS: usize = 3;

/// Two ports of one address, another address, IPv6, and one that the policy forbids. Higher numbers are relayed
/// addresses of clients.
const PEERS: [&str; 5] =
    ["9.9.9.9:7000", "9.9.9.9:7001", "9.9.9.10:7000", "[2606:4700::1]:7000", "10.1.1.1:7000"];

#[derive(Clone, Debug)]
enum Step {
    Allocate {
        who: usize,
        lifetime: u32,
        dual: bool,
        even: Option<bool>,
    },
    Refresh {
        who: usize,
        lifetime: u32,
        family: Option<u8>,
    },
    Permit {
        who: usize,
        peers: Vec<usize>,
    },
    Bind {
        who: usize,
        number: u16,
        peer: usize,
    },
    Send {
        who: usize,
        peer: usize,
    },
    Channel {
        who: usize,
        number: u16,
    },
    FromPeer {
        who: usize,
        peer: usize,
    },
    Again,
    Stranger {
        who: usize,
    },
    Garbage {
        who: usize,
        bytes: Vec<u8>,
    },
    Revoke {
        who: usize,
    },
    /// The member that has the peers' addresses leaves or comes.
    Scope {
        there: bool,
    },
    /// The clock moves and the server wakes up as it asked to.
    Sleep {
        seconds: u32,
    },
    /// The clock moves and nobody wakes the server.
    Stall {
        seconds: u32,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let who = prop_oneof![5 => Just(0_usize), 2 => Just(1), 1 => Just(2)];
    let peer = 0..PEERS.len() + CLIENTS;
    let number = prop_oneof![Just(0x4000_u16), Just(0x4001), Just(0x4fff), Just(0x5000)];
    let lifetime = prop_oneof![1 => Just(0_u32), 1 => Just(600), 6 => Just(3600), 1 => any::<u32>()];
    let seconds = prop_oneof![1 => 0_u32..5, 2 => 200_u32..320, 2 => 590_u32..620, 1 => 890_u32..910];
    prop_oneof![
        4 => (who.clone(), lifetime.clone(), any::<bool>(), prop::option::weighted(0.3, any::<bool>()))
            .prop_map(|(who, lifetime, dual, even)| Step::Allocate { who, lifetime, dual, even }),
        2 => (who.clone(), lifetime, prop::option::weighted(0.4, 1_u8..=3))
            .prop_map(|(who, lifetime, family)| Step::Refresh { who, lifetime, family }),
        4 => (who.clone(), prop::collection::vec(peer.clone(), 0..4)).prop_map(|(who, peers)| Step::Permit { who, peers }),
        6 => (who.clone(), number.clone(), peer.clone()).prop_map(|(who, number, peer)| Step::Bind { who, number, peer }),
        4 => (who.clone(), peer.clone()).prop_map(|(who, peer)| Step::Send { who, peer }),
        4 => (who.clone(), number).prop_map(|(who, number)| Step::Channel { who, number }),
        4 => (who.clone(), peer).prop_map(|(who, peer)| Step::FromPeer { who, peer }),
        2 => Just(Step::Again),
        1 => who.clone().prop_map(|who| Step::Stranger { who }),
        1 => (who.clone(), prop::collection::vec(any::<u8>(), 0..60)).prop_map(|(who, bytes)| Step::Garbage { who, bytes }),
        1 => who.prop_map(|who| Step::Revoke { who }),
        2 => any::<bool>().prop_map(|there| Step::Scope { there }),
        3 => seconds.clone().prop_map(|seconds| Step::Sleep { seconds }),
        2 => seconds.prop_map(|seconds| Step::Stall { seconds }),
    ]
}

/// What the reference knows of an allocation: when what ends.
#[derive(Clone, Debug)]
struct Held {
    at: AllocationId,
    families: BTreeMap<u8, (SocketAddr, Instant)>,
    permissions: BTreeMap<IpAddr, Instant>,
    channels: BTreeMap<u16, (SocketAddr, Instant)>,
}

fn id(members: bool, n: usize) -> String {
    if members { credential::member_id(&n.to_string()) } else { format!("user{n}") }
}

fn family(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 1 } else { 2 }
}

impl Held {
    /// Forgets what is over; a channel's number and peer only after five minutes more.
    fn forget(&mut self, now: Instant) {
        self.families.retain(|_, (_, end)| *end > now);
        let families: Vec<u8> = self.families.keys().copied().collect();
        self.permissions.retain(|ip, end| *end > now && families.contains(&family(*ip)));
        let over = |end: Instant| end + Duration::from_secs(300) <= now;
        self.channels.retain(|_, (peer, end)| !over(*end) && families.contains(&family(peer.ip())));
    }

    fn channel_to(&self, peer: SocketAddr, now: Instant) -> Option<u16> {
        self.channels.iter().find(|(_, (to, end))| *to == peer && *end > now).map(|(number, _)| *number)
    }

    fn permits(&self, peer: SocketAddr, now: Instant) -> bool {
        self.permissions.contains_key(&peer.ip()) || self.channel_to(peer, now).is_some()
    }

    fn next_end(&self, now: Instant) -> Option<Instant> {
        let families = self.families.values().map(|(_, end)| *end);
        let channels = self.channels.values().map(|(_, end)| *end).filter(|end| *end > now);
        families.chain(self.permissions.values().copied()).chain(channels).min()
    }
}

/// What must become of a packet.
#[derive(PartialEq, Eq, Debug)]
enum Fate {
    Dropped,
    ToPeer(AllocationId, SocketAddr),
    /// To this client, on this channel or as an indication.
    ToClient(usize, Option<u16>),
}

struct Model {
    world: World,
    /// Whether the clients are members of a room.
    members: bool,
    /// Whether the member is there that has the addresses of `PEERS`.
    in_scope: bool,
    clients: Vec<Client>,
    held: Vec<Option<Held>>,
    /// The relayed IPv4 address that each client had last.
    relayed: Vec<SocketAddr>,
    last: Option<(usize, Vec<u8>, Vec<u8>)>,
}

impl Model {
    fn new(members: bool) -> Self {
        let world = World::new();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|n| Client::until(&format!("198.18.0.1:{}", 4000 + n), &id(members, n), WALL * 2))
            .collect();
        for n in 0..CLIENTS {
            world.scopes.seat(&id(members, n), "room", 0);
        }
        let relayed = (0..CLIENTS).map(|n| addr(&format!("192.0.2.5:{}", 51_000 + n))).collect();
        Self { world, members, in_scope: false, clients, held: vec![None; CLIENTS], relayed, last: None }
    }

    /// Whether the room keeps a client from dealing with this peer.
    fn is_out_of_scope(&self, number: usize) -> bool {
        self.members && number < PEERS.len() && !self.in_scope
    }

    /// Whether somebody has this relayed address.
    fn is_held(&self, relayed: SocketAddr) -> bool {
        self.held.iter().flatten().flat_map(|held| held.families.values()).any(|(at, _)| *at == relayed)
    }

    /// The room has lost something: with the next packet, what is out of scope is over.
    fn lose(&mut self) {
        if !self.members {
            return;
        }
        self.forget();
        for client in &self.clients {
            assert_eq!(self.world.packet(client.tuple, b"\x4a\xbc\x00\x00"), Route::Here);
        }
        let now = self.world.now;
        let ours = self.relayed[0].ip();
        let all: Vec<_> =
            self.held.iter().flatten().flat_map(|held| held.families.values()).cloned().collect();
        for held in self.held.iter_mut().flatten() {
            held.permissions.retain(|ip, _| *ip == ours || self.in_scope);
            for (peer, end) in held.channels.values_mut() {
                let stays =
                    if peer.ip() == ours { all.iter().any(|(at, _)| at == peer) } else { self.in_scope };
                if !stays {
                    *end = (*end).min(now);
                }
            }
        }
    }

    fn peer(&self, number: usize) -> SocketAddr {
        PEERS.get(number).map_or_else(|| self.relayed[number - PEERS.len()], |text| addr(text))
    }

    fn is_forbidden(number: usize) -> bool {
        number == 4
    }

    /// A request with credentials that are always good.
    fn ask(&mut self, who: usize, ask: Ask) -> super::world::Answer {
        self.refresh_nonce(who);
        let request = ask.signed(&self.clients[who]).build();
        let answer = self.world.ask_raw(&self.clients[who], &request);
        self.last = Some((who, request, answer.message.raw.clone()));
        answer
    }

    fn refresh_nonce(&mut self, who: usize) {
        let challenge = self.world.ask_raw(&self.clients[who], &Ask::allocate().udp().build());
        self.clients[who].nonce = challenge.get(a::ATTR_NONCE).unwrap();
    }

    fn granted(asked: u32) -> u32 {
        asked.clamp(600, 3600)
    }

    fn forget(&mut self) {
        let now = self.world.now;
        for held in &mut self.held {
            if let Some(allocation) = held {
                allocation.forget(now);
                if allocation.families.is_empty() {
                    *held = None;
                }
            }
        }
    }

    fn apply(&mut self, step: Step) {
        let now = self.world.now;
        let after = |seconds: u32| now + Duration::from_secs(seconds.into());
        match step {
            Step::Allocate { who, lifetime, dual, even } => {
                let mut ask = Ask::allocate().udp().lifetime(lifetime);
                if dual {
                    ask = ask.also_ipv6();
                }
                if let Some(reserve) = even {
                    ask = ask.even_port(reserve);
                }
                let answer = self.ask(who, ask);
                let expected = match (&self.held[who], dual, even) {
                    (Some(_), ..) => 437,
                    (None, true, Some(true)) => 400,
                    _ => 0,
                };
                assert_eq!(answer.code(), expected);
                if expected == 0 {
                    let granted = Self::granted(lifetime);
                    assert_eq!(answer.lifetime(), Some(granted));
                    let relayed = answer.relayed();
                    assert_eq!(relayed.len(), 1 + usize::from(dual));
                    let families =
                        relayed.iter().map(|at| (family(at.ip()), (*at, after(granted)))).collect();
                    let at = self.world.opened.last().unwrap().0;
                    for (other, held) in self.held.iter().enumerate().filter(|(other, _)| *other != who) {
                        let shared = held
                            .iter()
                            .flat_map(|held| held.families.values())
                            .any(|(at, _)| relayed.contains(at));
                        assert!(!shared, "client {other} has this relayed address");
                    }
                    self.relayed[who] = relayed[0];
                    let (permissions, channels) = (BTreeMap::new(), BTreeMap::new());
                    self.held[who] = Some(Held { at, families, permissions, channels });
                }
            }
            Step::Refresh { who, lifetime, family } => {
                let mut ask = Ask::refresh(lifetime);
                if let Some(number) = family {
                    ask = ask.family(number);
                }
                let answer = self.ask(who, ask);
                let Some(held) = &mut self.held[who] else {
                    assert_eq!(answer.code(), 437);
                    return;
                };
                if family.is_some_and(|number| !held.families.contains_key(&number)) {
                    assert_eq!(answer.code(), 443);
                    return;
                }
                let granted = if lifetime == 0 { 0 } else { Self::granted(lifetime) };
                assert_eq!((answer.code(), answer.lifetime()), (0, Some(granted)));
                for (number, (_, end)) in &mut held.families {
                    if family.is_none_or(|meant| meant == *number) {
                        *end = after(granted);
                    }
                }
            }
            Step::Permit { who, peers } => {
                let addresses: Vec<_> = peers.iter().map(|&peer| self.peer(peer)).collect();
                let ask = addresses.iter().fold(Ask::permission(), |ask, peer| ask.peer(&peer.to_string()));
                let code = self.ask(who, ask).code();
                let in_scope = self.in_scope || !self.members;
                let free: Vec<_> =
                    addresses.iter().map(|peer| self.members && !self.is_held(*peer)).collect();
                let out_of_scope = |at: usize| if peers[at] < PEERS.len() { !in_scope } else { free[at] };
                let Some(held) = &mut self.held[who] else {
                    assert_eq!(code, 437);
                    return;
                };
                let expected = peers
                    .iter()
                    .zip(&addresses)
                    .enumerate()
                    .find_map(|(at, (&number, peer))| {
                        let mismatch = !held.families.contains_key(&family(peer.ip()));
                        let forbidden = Self::is_forbidden(number) || out_of_scope(at);
                        mismatch.then_some(443).or(forbidden.then_some(403))
                    })
                    .unwrap_or(if peers.is_empty() { 400 } else { 0 });
                assert_eq!(code, expected);
                if expected == 0 {
                    held.permissions.extend(addresses.iter().map(|peer| (peer.ip(), after(300))));
                }
            }
            Step::Bind { who, number, peer } => {
                let address = self.peer(peer);
                let free = peer >= PEERS.len() && self.members && !self.is_held(address);
                let out_of_scope = self.is_out_of_scope(peer) || free;
                let code = self.ask(who, Ask::bind(number, &address.to_string())).code();
                let Some(held) = &mut self.held[who] else {
                    assert_eq!(code, 437);
                    return;
                };
                let taken = held.channels.iter().any(|(n, (to, _))| (*n == number) != (*to == address));
                let expected = if number > 0x4fff || taken {
                    400
                } else if !held.families.contains_key(&family(address.ip())) {
                    443
                } else if Self::is_forbidden(peer) || out_of_scope {
                    403
                } else {
                    0
                };
                assert_eq!(code, expected);
                if expected == 0 {
                    held.channels.insert(number, (address, after(600)));
                    held.permissions.insert(address.ip(), after(300));
                }
            }
            Step::Send { who, peer } => {
                let to = self.peer(peer);
                let packet = Ask::send(&to.to_string(), b"payload").build();
                let route = self.world.packet(self.clients[who].tuple, &packet);
                let may = self.held[who].as_ref().is_some_and(|held| {
                    held.families.contains_key(&family(to.ip())) && held.permits(to, now)
                });
                let expected = if may { self.fate(who, to) } else { Fate::Dropped };
                self.check(route, &packet, b"payload", expected);
            }
            Step::Channel { who, number } => {
                let [a, b] = number.to_be_bytes();
                let packet = [a, b, 0, 7, b'p', b'a', b'y', b'l', b'o', b'a', b'd'];
                let route = self.world.packet(self.clients[who].tuple, &packet);
                let channel = self.held[who].as_ref().and_then(|held| held.channels.get(&number));
                let expected = match channel {
                    Some(&(to, end)) if end > now => self.fate(who, to),
                    _ => Fate::Dropped,
                };
                self.check(route, &packet, b"payload", expected);
            }
            Step::FromPeer { who, peer } => {
                let from = self.peer(peer);
                let Some(held) = &self.held[who] else { return };
                let at = held.at;
                // What claims to come from one of our relayed addresses came by the wrong way.
                let heard = held.permits(from, now) && peer < PEERS.len();
                let expected =
                    if heard { Fate::ToClient(who, held.channel_to(from, now)) } else { Fate::Dropped };
                let route = self.world.server.handle_peer(now, at, from, 7);
                self.world.settle();
                self.check(route, b"payload", b"payload", expected);
            }
            Step::Again => {
                if let Some((who, request, answer)) = self.last.take() {
                    let opened = self.world.opened.len();
                    let again = self.world.ask_raw(&self.clients[who], &request);
                    assert_eq!(again.message.raw, answer, "a retransmission gets the same answer");
                    assert_eq!(self.world.opened.len(), opened);
                }
            }
            Step::Stranger { who } => {
                let stranger = Client::new(&format!("198.18.7.7:{}", 4000 + who));
                assert_eq!(self.world.ask_raw(&stranger, &Ask::allocate().udp().build()).code(), 401);
                assert_eq!(self.world.ask_raw(&stranger, &Ask::binding().build()).code(), 0);
            }
            Step::Garbage { who, bytes } => {
                let stun = bytes.first().is_none_or(|byte| byte >> 6 != 1);
                let route = self.world.packet(self.clients[who].tuple, &bytes);
                assert!(!stun || route == Route::Here);
            }
            Step::Revoke { who } => {
                let id = id(self.members, who);
                self.world.scopes.unseat(&id);
                self.world.server.revoke(now, &id);
                self.world.scopes.seat(&id, "room", 0);
                self.world.settle();
                self.held[who] = None;
                self.lose();
            }
            Step::Scope { there } => {
                self.in_scope = there;
                let all = PEERS.map(|peer| addr(peer).ip());
                if there {
                    self.world.scopes.seat("room-member/peers", "room", 0);
                    self.world.scopes.signaled("room-member/peers", &all);
                } else {
                    self.world.scopes.unseat("room-member/peers");
                    self.lose();
                }
            }
            Step::Sleep { seconds } => {
                self.world.sleep(seconds.into());
                // An answer is only kept for so long.
                self.last = None;
            }
            Step::Stall { seconds } => {
                self.world.later(seconds.into());
                self.world.server.handle_timeout(self.world.now);
                self.world.settle();
                self.last = None;
            }
        }
    }

    /// What becomes of data that `who` may send to `to`.
    fn fate(&self, who: usize, to: SocketAddr) -> Fate {
        let now = self.world.now;
        let Some(sender) = &self.held[who] else { return Fate::Dropped };
        if to.ip() != self.relayed[0].ip() {
            return Fate::ToPeer(sender.at, to);
        }
        let holds = |held: &Option<Held>| {
            held.as_ref().is_some_and(|held| held.families.values().any(|(relayed, _)| *relayed == to))
        };
        let Some(target) = self.held.iter().position(holds) else { return Fate::Dropped };
        let (Some(receiver), Some((from, _))) = (&self.held[target], sender.families.get(&1)) else {
            return Fate::Dropped;
        };
        if receiver.permits(*from, now) {
            Fate::ToClient(target, receiver.channel_to(*from, now))
        } else {
            Fate::Dropped
        }
    }

    fn check(&self, route: Route, packet: &[u8], payload: &[u8], expected: Fate) {
        let seen = match route {
            Route::Here | Route::Home { .. } => Fate::Dropped,
            // To a port of another shard, where nobody is.
            Route::Across { to, .. } => {
                assert!(to.port() >= 51_000);
                Fate::Dropped
            }
            Route::Peer { at, peer, payload: span, .. } => {
                assert_eq!(&packet[span.range()], payload);
                Fate::ToPeer(at, peer)
            }
            Route::Client { to, head, payload: span } => {
                assert_eq!(&packet[span.range()], payload);
                let who = self.clients.iter().position(|client| client.tuple == to).unwrap();
                let head = head.as_bytes();
                let number = (head.len() == 4).then(|| u16::from_be_bytes([head[0], head[1]]));
                Fate::ToClient(who, number)
            }
        };
        assert_eq!(seen, expected);
    }

    /// Both agree on what there is, and the server will wake up in time.
    fn compare(&mut self) {
        self.forget();
        let now = self.world.now;
        let held = self.held.iter().flatten().count() as u64;
        assert_eq!(self.world.server.stats().allocations, held);
        let due = self.world.server.poll_timeout();
        let ends = self.held.iter().flatten().filter_map(|held| held.next_end(now)).min();
        if let Some(end) = ends {
            assert!(due.is_some_and(|due| due <= end), "the server would wake up too late");
        }
        assert!(due.is_none_or(|due| due > now), "the server would never sleep");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn the_server_does_what_the_reference_says(members: bool, steps in prop::collection::vec(step(), 1..90)) {
        let mut model = Model::new(members);
        for step in steps {
            model.apply(step);
            model.compare();
        }
        // And in the end nothing is left of it all.
        model.world.sleep(8000.0);
        model.forget();
        model.compare();
        prop_assert!(model.world.server.leaves_nothing());
    }
}
