//! A TURN client for these tests: one socket, one allocation, nothing clever.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use callgate::turn::credential::Credential;
use ring::hmac;

use crate::support::PATIENCE;

const COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
pub(super) const ALLOCATE: u16 = 0x0003;
pub(super) const REFRESH: u16 = 0x0004;
pub(super) const CREATE_PERMISSION: u16 = 0x0008;
pub(super) const CHANNEL_BIND: u16 = 0x0009;
pub(super) const CONNECT: u16 = 0x000A;
pub(super) const CONNECTION_BIND: u16 = 0x000B;
pub(super) const CONNECTION_ATTEMPT: u16 = 0x001C;
pub(super) const CONNECTION_ID: u16 = 0x002A;
pub(super) const SEND: u16 = 0x0016;
pub(super) const DATA: u16 = 0x0017;
pub(super) const XOR_PEER_ADDRESS: u16 = 0x0012;
pub(super) const DATA_VALUE: u16 = 0x0013;
pub(super) const DONT_FRAGMENT: u16 = 0x001A;
pub(super) const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
pub(super) const EVEN_PORT: u16 = 0x0018;
pub(super) const RESERVATION_TOKEN: u16 = 0x0022;
pub(super) const ICMP: u16 = 0x8004;
pub(super) const MOBILITY_TICKET: u16 = 0x8030;

pub(super) struct Client {
    pub(super) socket: UdpSocket,
    pub(super) relayed: SocketAddr,
    login: Login,
}

pub(super) struct Message(Vec<u8>);

impl Message {
    pub(super) fn new(kind: u16) -> Message {
        let mut bytes = kind.to_be_bytes().to_vec();
        bytes.extend([0, 0]);
        bytes.extend(COOKIE);
        bytes.extend(&uuid::Uuid::new_v4().as_bytes()[..12]);
        Message(bytes)
    }

    pub(super) fn with(mut self, kind: u16, value: &[u8]) -> Message {
        self.0.extend(kind.to_be_bytes());
        self.0.extend((value.len() as u16).to_be_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self.set_length(0);
        self
    }

    pub(super) fn peer(self, peer: SocketAddr) -> Message {
        let value = xor_address(peer, &self.0[4..20]);
        self.with(XOR_PEER_ADDRESS, &value)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn set_length(&mut self, more: usize) {
        let length = (self.0.len() - 20 + more) as u16;
        self.0[2..4].copy_from_slice(&length.to_be_bytes());
    }
}

pub(super) fn attribute(message: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut at = 20;
    while at + 4 <= message.len() {
        let kind = u16::from_be_bytes([message[at], message[at + 1]]);
        let length = usize::from(u16::from_be_bytes([message[at + 2], message[at + 3]]));
        let value = message.get(at + 4..at + 4 + length)?;
        if kind == wanted {
            return Some(value);
        }
        at += 4 + length.next_multiple_of(4);
    }
    None
}

fn xor_address(address: SocketAddr, mask: &[u8]) -> Vec<u8> {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let mut value = vec![0, if ip.len() == 4 { 1 } else { 2 }];
    value.extend((address.port() ^ 0x2112).to_be_bytes());
    value.extend(ip.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
    value
}

pub(super) fn read_xor_address(value: &[u8], mask: &[u8]) -> SocketAddr {
    let port = u16::from_be_bytes([value[2], value[3]]) ^ 0x2112;
    let ip: Vec<u8> = value[4..].iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect();
    match <[u8; 4]>::try_from(ip.as_slice()) {
        Ok(v4) => SocketAddr::new(v4.into(), port),
        Err(_) => SocketAddr::new(<[u8; 16]>::try_from(ip.as_slice()).unwrap().into(), port),
    }
}

pub(super) fn channel_data(number: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.extend((payload.len() as u16).to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Who a client says it is, and what the server gave it to prove that with.
pub(super) struct Login {
    credential: Credential,
    realm: Vec<u8>,
    nonce: Vec<u8>,
    key: hmac::Key,
}

impl Login {
    pub(super) fn new(credential: Credential) -> Login {
        Login { credential, realm: Vec::new(), nonce: Vec::new(), key: key(b"") }
    }

    /// Takes over realm and nonce from a 401.
    pub(super) fn learn(&mut self, challenge: &[u8]) {
        self.realm = attribute(challenge, 0x0014).unwrap().to_vec();
        self.nonce = attribute(challenge, 0x0015).unwrap().to_vec();
        let realm = String::from_utf8(self.realm.clone()).unwrap();
        let Credential { username, password } = &self.credential;
        self.key = key(&webrtc_turn::auth::generate_auth_key(username, &realm, password));
    }

    pub(super) fn signed(&self, message: Message) -> Message {
        let mut message = message
            .with(0x0006, self.credential.username.as_bytes())
            .with(0x0014, &self.realm)
            .with(0x0015, &self.nonce);
        message.set_length(24);
        let tag = hmac::sign(&self.key, message.bytes());
        message.with(0x0008, tag.as_ref())
    }
}

fn key(password: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password)
}

/// An error answer's code is the error.
pub(super) fn outcome(answer: Vec<u8>) -> Result<Vec<u8>, u16> {
    match attribute(&answer, 0x0009) {
        Some(code) => Err(u16::from(code[2]) * 100 + u16::from(code[3])),
        None => Ok(answer),
    }
}

/// Allocate for a transport towards the peers, with more attributes.
pub(super) fn allocation(transport: u8, more: &[(u16, &[u8])]) -> Message {
    let plain = Message::new(ALLOCATE).with(0x0019, &[transport, 0, 0, 0]);
    more.iter().fold(plain, |message, (kind, value)| message.with(*kind, value))
}

/// XOR-RELAYED-ADDRESS.
pub(super) fn relayed(answer: &[u8]) -> SocketAddr {
    read_xor_address(attribute(answer, 0x0016).unwrap(), &answer[4..20])
}

pub(super) fn channel_bind(number: u16, peer: SocketAddr) -> Message {
    let [high, low] = number.to_be_bytes();
    Message::new(CHANNEL_BIND).with(0x000C, &[high, low, 0, 0]).peer(peer)
}

impl Client {
    /// A socket that knows where the server is, and nothing else.
    pub(super) fn new(server: SocketAddr, credential: Credential) -> Client {
        let host = if server.is_ipv4() { [127, 0, 0, 1].into() } else { Ipv6Addr::LOCALHOST.into() };
        Client::at(host, server, credential)
    }

    /// The same on a host of its own.
    pub(super) fn at(host: IpAddr, server: SocketAddr, credential: Credential) -> Client {
        let socket = UdpSocket::bind((host, 0)).unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { socket, relayed: server, login: Login::new(credential) }
    }

    /// With an allocation in the family of `server`.
    pub(super) fn allocated(server: SocketAddr, credential: Credential) -> Client {
        let mut client = Client::new(server, credential);
        client.allocate().unwrap();
        client
    }

    /// Sends Allocate, twice as the nonce demands; an error answer's code is the error.
    pub(super) fn allocate(&mut self) -> Result<(), u16> {
        let family = if self.relayed.is_ipv4() { 1 } else { 2 };
        self.allocate_with(&[(REQUESTED_ADDRESS_FAMILY, &[family, 0, 0, 0])]).map(|_| ())
    }

    /// Allocate with these attributes, and what was answered.
    pub(super) fn allocate_with(&mut self, attributes: &[(u16, &[u8])]) -> Result<Vec<u8>, u16> {
        self.log_in(allocation(17, attributes));
        let answer = self.request(allocation(17, attributes))?;
        self.relayed = relayed(&answer);
        Ok(answer)
    }

    /// Gets a nonce.
    pub(super) fn log_in(&mut self, request: Message) {
        let challenge = self.exchange(request.bytes());
        self.login.learn(&challenge);
    }

    pub(super) fn credential(&self) -> Credential {
        self.login.credential.clone()
    }

    /// Sends a request with credentials; an error answer's code is the error.
    pub(super) fn request(&self, message: Message) -> Result<Vec<u8>, u16> {
        outcome(self.exchange(self.login.signed(message).bytes()))
    }

    pub(super) fn bind(&self, number: u16, peer: SocketAddr) -> Result<(), u16> {
        self.request(channel_bind(number, peer)).map(|_| ())
    }

    pub(super) fn permit(&self, peer: SocketAddr) -> Result<(), u16> {
        self.request(Message::new(CREATE_PERMISSION).peer(peer)).map(|_| ())
    }

    fn exchange(&self, request: &[u8]) -> Vec<u8> {
        self.socket.send(request).unwrap();
        for _ in 0..100 {
            let answer = self.receive();
            if answer.get(8..20) == request.get(8..20) {
                return answer;
            }
        }
        panic!("no answer among a hundred packets");
    }

    /// The next datagram.
    pub(super) fn receive(&self) -> Vec<u8> {
        let mut buffer = [0; 65_536];
        let n = self.socket.recv(&mut buffer).expect("nothing came");
        buffer[..n].to_vec()
    }

    /// The next datagram within a moment.
    pub(super) fn quiet(&self) -> bool {
        self.socket.set_read_timeout(Some(Duration::from_millis(150))).unwrap();
        let silent = self.socket.recv(&mut [0; 100]).is_err();
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        silent
    }
}
