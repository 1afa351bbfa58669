//! Just enough of a TURN client: long-term credentials, Allocate, ChannelBind, ChannelData.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use base64::Engine;
use md5::{Digest, Md5};
use ring::hmac;

use crate::link::{Leg, Link};

const COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
const ALLOCATE: u16 = 0x0003;
const CHANNEL_BIND: u16 = 0x0009;
const REFRESH: u16 = 0x0004;

/// A user name and password in the TURN REST form.
#[derive(Clone)]
pub struct Credential {
    pub username: String,
    pub password: String,
}

impl Credential {
    pub fn mint(secret: &str) -> Credential {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let username = format!("{}:bench", now + 86_400);
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
        let password =
            base64::engine::general_purpose::STANDARD.encode(hmac::sign(&key, username.as_bytes()));
        Credential { username, password }
    }
}

/// One allocation, with its way to the server.
pub struct Client {
    pub link: Link,
    pub relayed: SocketAddr,
    credential: Credential,
    realm: Vec<u8>,
    nonce: Vec<u8>,
    key: hmac::Key,
}

struct Builder {
    bytes: Vec<u8>,
}

impl Builder {
    fn new(kind: u16) -> Builder {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(COOKIE);
        let mut id = [0u8; 12];
        use ring::rand::SecureRandom;
        ring::rand::SystemRandom::new().fill(&mut id).unwrap();
        bytes.extend(id);
        Builder { bytes }
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Builder {
        self.bytes.extend(kind.to_be_bytes());
        self.bytes.extend((value.len() as u16).to_be_bytes());
        self.bytes.extend(value);
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
        let length = (self.bytes.len() - 20) as u16;
        self.bytes[2..4].copy_from_slice(&length.to_be_bytes());
        self
    }

    fn signed(mut self, client: &Client) -> Vec<u8> {
        self = self
            .attribute(0x0006, client.credential.username.as_bytes())
            .attribute(0x0014, &client.realm)
            .attribute(0x0015, &client.nonce);
        let length = (self.bytes.len() - 20 + 24) as u16;
        self.bytes[2..4].copy_from_slice(&length.to_be_bytes());
        let tag = hmac::sign(&client.key, &self.bytes);
        self.attribute(0x0008, tag.as_ref()).bytes
    }
}

fn attribute(message: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut at = 20;
    while at + 4 <= message.len() {
        let kind = u16::from_be_bytes([message[at], message[at + 1]]);
        let length = usize::from(u16::from_be_bytes([message[at + 2], message[at + 3]]));
        let value = message.get(at + 4..at + 4 + length)?;
        if kind == wanted {
            return Some(value);
        }
        at += 4 + length.div_ceil(4) * 4;
    }
    None
}

fn xor_address(value: &[u8]) -> SocketAddr {
    let port = u16::from_be_bytes([value[2], value[3]]) ^ 0x2112;
    let ip: [u8; 4] = std::array::from_fn(|i| value[4 + i] ^ COOKIE[i]);
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::from(ip), port))
}

fn xored(address: SocketAddr) -> Vec<u8> {
    let SocketAddr::V4(v4) = address else { panic!("IPv4 only") };
    let mut value = vec![0, 1];
    value.extend((v4.port() ^ 0x2112).to_be_bytes());
    value.extend(v4.ip().octets().iter().zip(COOKIE).map(|(a, b)| a ^ b));
    value
}

impl Client {
    /// The whole dance: 401, then Allocate.
    pub fn allocate(leg: Leg, server: SocketAddr, credential: &Credential) -> Result<Client, String> {
        let mut client = Client {
            link: Link::connect(leg, server).map_err(|e| e.to_string())?,
            relayed: server,
            credential: credential.clone(),
            realm: Vec::new(),
            nonce: Vec::new(),
            key: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b""),
        };
        let transport = [17, 0, 0, 0];
        let first = client.exchange(&Builder::new(ALLOCATE).attribute(0x0019, &transport).bytes)?;
        client.learn(&first)?;
        let request = Builder::new(ALLOCATE)
            .attribute(0x0019, &transport)
            .attribute(0x000D, &3600u32.to_be_bytes())
            .signed(&client);
        let answer = client.exchange(&request)?;
        check(&answer, ALLOCATE)?;
        client.relayed = xor_address(attribute(&answer, 0x0016).ok_or("no XOR-RELAYED-ADDRESS")?);
        Ok(client)
    }

    fn learn(&mut self, answer: &[u8]) -> Result<(), String> {
        self.realm = attribute(answer, 0x0014)
            .ok_or_else(|| format!("no REALM in the challenge: {answer:02x?}"))?
            .to_vec();
        self.nonce = attribute(answer, 0x0015).ok_or("no NONCE in the 401")?.to_vec();
        let mut text = self.credential.username.clone().into_bytes();
        text.push(b':');
        text.extend(&self.realm);
        text.push(b':');
        text.extend(self.credential.password.as_bytes());
        let digest = Md5::digest(&text);
        self.key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &digest);
        Ok(())
    }

    fn authenticated(&mut self, kind: u16, build: impl Fn(Builder) -> Builder) -> Result<(), String> {
        for _ in 0..2 {
            let request = build(Builder::new(kind)).signed(self);
            let answer = self.exchange(&request)?;
            if attribute(&answer, 0x0009).is_some_and(|e| e.len() >= 4 && e[2] == 4 && e[3] == 38) {
                self.learn(&answer)?;
                continue;
            }
            return check(&answer, kind);
        }
        Err("stale nonce twice".into())
    }

    pub fn bind(&mut self, channel: u16, peer: SocketAddr) -> Result<(), String> {
        let [high, low] = channel.to_be_bytes();
        self.authenticated(CHANNEL_BIND, |b| {
            b.attribute(0x000C, &[high, low, 0, 0]).attribute(0x0012, &xored(peer))
        })
    }

    pub fn release(&mut self) -> Result<(), String> {
        self.authenticated(REFRESH, |b| b.attribute(0x000D, &[0; 4]))
    }

    /// Sends up to four times; skips whatever is not the answer (late data, for one).
    fn exchange(&self, request: &[u8]) -> Result<Vec<u8>, String> {
        for _ in 0..4 {
            if !self.link.send(request) {
                return Err("cannot send".to_owned());
            }
            while let Some(answer) = self.link.next(Duration::from_millis(500)) {
                if answer.len() >= 20 && answer[8..20] == request[8..20] {
                    return Ok(answer);
                }
            }
        }
        Err(format!("no answer to request {:02x?}", &request[..2]))
    }
}

fn check(answer: &[u8], kind: u16) -> Result<(), String> {
    if answer[..2] == (kind | 0x0100).to_be_bytes() {
        return Ok(());
    }
    let code = attribute(answer, 0x0009).map(|e| u16::from(e[2]) * 100 + u16::from(e[3]));
    Err(format!("method {kind}: error {code:?}"))
}

/// `payload` behind a ChannelData header. (Its length is a multiple of 4, so streams need no padding.)
pub fn channel_data(channel: u16, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len().is_multiple_of(4));
    let mut bytes = channel.to_be_bytes().to_vec();
    bytes.extend((payload.len() as u16).to_be_bytes());
    bytes.extend(payload);
    bytes
}
