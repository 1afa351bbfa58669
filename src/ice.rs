//! `iceServers`: where our STUN and TURN are, and a time-limited credential for them.

use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::time::Duration;

use secrecy::SecretString;
use serde::Serialize;
use serde::Serializer;
use serde::ser::SerializeSeq;
use smallvec::SmallVec;
use smallvec::smallvec;

use crate::turn::credential;

/// What is handed out. Cheap to clone; a clone signs with the same secret.
#[derive(Clone, Debug)]
pub struct IceServers {
    /// The host in the URLs, a name or an address; `None`: the host by which the client reached us, from its
    /// `Host` header.
    pub host: Option<Arc<str>>,
    /// This host's public addresses that STUN and TURN listen on, at most one of each family. Where the URLs' host is one
    /// of them, the other one is listed too; the first is for clients of whom no host is known.
    pub addresses: SmallVec<[IpAddr; 2]>,
    /// The UDP port of STUN and TURN; 0: they do not listen on UDP.
    pub udp: u16,
    /// The port of TURN over TCP, if there is one.
    pub tcp: Option<u16>,
    /// The port of TURN over TLS, if there is one.
    pub tls: Option<u16>,
    /// Signs the credentials.
    pub signer: Signer,
    /// How long a credential authorizes new allocations. Fresh ones are pushed after three quarters of it.
    pub ttl: Duration,
}

/// The secret that signs credentials, which may change. A clone is the same one.
#[derive(Clone, Debug)]
pub struct Signer(Arc<RwLock<SecretString>>);

impl Signer {
    /// Signs with this secret.
    #[must_use]
    pub fn new(secret: SecretString) -> Signer {
        Signer(Arc::new(RwLock::new(secret)))
    }

    /// Signs with this secret from now on. Whether what was signed before still works is the relay's affair.
    pub fn set(&self, secret: SecretString) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = secret;
    }

    fn sign(&self, id: &str, expires: u64) -> credential::Credential {
        credential::mint(&self.0.read().unwrap_or_else(PoisonError::into_inner), id, expires)
    }
}

/// One holder's servers and credential; serializes as the W3C `iceServers` array: STUN first, then TURN in the order to try it.
#[derive(Debug)]
pub struct Minted {
    /// As in a URL.
    hosts: SmallVec<[String; 2]>,
    udp: u16,
    tcp: Option<u16>,
    tls: Option<u16>,
    credential: credential::Credential,
    ttl: u64,
}

impl IceServers {
    /// For the credential id `id` of whoever reached us as `host_header` says, at `unix` seconds since 1970.
    #[must_use]
    pub fn mint(&self, host_header: Option<&str>, id: &str, unix: u64) -> Minted {
        let ttl = self.ttl.as_secs();
        Minted {
            hosts: self.hosts_for(host_header),
            udp: self.udp,
            tcp: self.tcp,
            tls: self.tls,
            credential: self.signer.sign(id, unix.saturating_add(ttl)),
            ttl,
        }
    }

    /// When to push fresh ones: at three quarters of their life, up to a tenth earlier so that a full house does not
    /// ask at once. `spread`: 0 to 255, evenly.
    #[must_use]
    pub fn renew_after(&self, spread: u8) -> Duration {
        (self.ttl * 3 / 4).saturating_sub(self.ttl * u32::from(spread) / 2560).max(Duration::from_millis(250))
    }

    fn hosts_for(&self, header: Option<&str>) -> SmallVec<[String; 2]> {
        let host = self.host.as_deref().or_else(|| header.and_then(host_of));
        let address = match host {
            Some(host) => match host.trim_start_matches('[').trim_end_matches(']').parse() {
                Ok(address) => Some(address),
                Err(_) => return smallvec![host.to_owned()],
            },
            None => self.addresses.first().copied(),
        };
        let Some(address) = address else { return smallvec!["localhost".to_owned()] };
        let ours = self.addresses.contains(&address);
        let others = self.addresses.iter().filter(|other| ours && other.is_ipv4() != address.is_ipv4());
        std::iter::once(&address).chain(others).map(bracketed).collect()
    }
}

/// An IPv6 address needs brackets in a URL.
fn bracketed(address: &IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

/// The host of a `Host` header, without its port; `None`: it is not one.
fn host_of(header: &str) -> Option<&str> {
    let (host, port) = if header.starts_with('[') {
        let end = header.find(']')? + 1;
        let (host, rest) = header.split_at(end);
        host[1..end - 1].parse::<Ipv6Addr>().ok()?;
        (host, rest)
    } else {
        let end = header.find(':').unwrap_or(header.len());
        let (host, rest) = header.split_at(end);
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.' || b == b'_';
        (!host.is_empty() && host.len() <= 253 && host.bytes().all(plain)).then_some((host, rest))?
    };
    let port_ok =
        port.is_empty() || port.strip_prefix(':').is_some_and(|p| p.bytes().all(|b| b.is_ascii_digit()));
    port_ok.then_some(host)
}

impl Minted {
    /// Seconds.
    #[must_use]
    pub fn ttl(&self) -> u64 {
        self.ttl
    }

    /// The user name and its password.
    #[must_use]
    pub fn credential(&self) -> &credential::Credential {
        &self.credential
    }

    /// STUN's URLs (RFC 7064), the host to try first in front.
    pub fn stun(&self) -> impl Iterator<Item = String> {
        let hosts = self.hosts.iter().filter(|_| self.udp > 0);
        hosts.map(|host| format!("stun:{host}:{}", self.udp))
    }

    /// TURN's URLs (RFC 7065) in the order to try them: UDP, then TCP, then TLS.
    pub fn turn(&self) -> impl Iterator<Item = String> {
        let udp = (self.udp > 0).then_some(self.udp);
        let ways = [("turn", udp, "udp"), ("turn", self.tcp, "tcp"), ("turns", self.tls, "tcp")];
        ways.into_iter().filter_map(|(scheme, port, transport)| Some((scheme, port?, transport))).flat_map(
            |(scheme, port, transport)| {
                self.hosts.iter().map(move |host| format!("{scheme}:{host}:{port}?transport={transport}"))
            },
        )
    }
}

impl Serialize for Minted {
    /// Two entries, however many ways in there are: browsers complain of many servers, and old clients look at the first few only.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Stun {
            urls: SmallVec<[String; 2]>,
        }
        #[derive(Serialize)]
        struct Turn<'a> {
            urls: SmallVec<[String; 6]>,
            username: &'a str,
            credential: &'a str,
        }
        let (stun, turn) = (Stun { urls: self.stun().collect() }, self.turn().collect::<SmallVec<_>>());
        // Browsers refuse the whole array for an entry without URLs.
        let entries = usize::from(!stun.urls.is_empty()) + usize::from(!turn.is_empty());
        let mut list = serializer.serialize_seq(Some(entries))?;
        if !stun.urls.is_empty() {
            list.serialize_element(&stun)?;
        }
        if !turn.is_empty() {
            list.serialize_element(&Turn {
                urls: turn,
                username: &self.credential.username,
                credential: &self.credential.password,
            })?;
        }
        list.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn servers(host: Option<&str>, addresses: &[&str]) -> IceServers {
        IceServers {
            host: host.map(Arc::from),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            udp: 3478,
            tcp: None,
            tls: None,
            signer: Signer::new("north".into()),
            ttl: Duration::from_secs(3600),
        }
    }

    #[test]
    fn the_host_is_the_configured_one_else_the_one_the_client_used() {
        for (configured, header, expected) in [
            (Some("turn.example"), Some("other.example"), "turn.example"),
            (Some("2001:db8::2"), None, "[2001:db8::2]"),
            (None, Some("callgate.example"), "callgate.example"),
            (None, Some("callgate.example:3000"), "callgate.example"),
            (None, Some("127.0.0.1:3000"), "127.0.0.1"),
            (None, Some("[::1]:3000"), "[::1]"),
            (None, Some("[::1]"), "[::1]"),
            (None, None, "[2001:db8::1]"),
            (None, Some(""), "[2001:db8::1]"),
            (None, Some("a b"), "[2001:db8::1]"),
            (None, Some("a:b:c"), "[2001:db8::1]"),
            (None, Some("[::1"), "[2001:db8::1]"),
            (None, Some("[x]:1"), "[2001:db8::1]"),
            (None, Some("a?transport=tcp"), "[2001:db8::1]"),
        ] {
            let hosts = servers(configured, &["2001:db8::1"]).hosts_for(header);
            assert_eq!(hosts.as_slice(), [expected], "{configured:?} {header:?}");
        }
        assert_eq!(servers(None, &[]).hosts_for(None).as_slice(), ["localhost"]);
    }

    #[test]
    fn one_of_the_hosts_own_addresses_brings_the_one_of_the_other_family() {
        let both = ["203.0.113.7", "2001:db8::7"];
        for (configured, header, expected) in [
            (None, None, &["203.0.113.7", "[2001:db8::7]"][..]),
            (None, Some("203.0.113.7:3000"), &["203.0.113.7", "[2001:db8::7]"]),
            (None, Some("[2001:DB8::7]:3000"), &["[2001:db8::7]", "203.0.113.7"]),
            (Some("2001:db8::7"), Some("203.0.113.7"), &["[2001:db8::7]", "203.0.113.7"]),
            // Who comes by another address may not reach the public ones.
            (None, Some("192.168.1.2"), &["192.168.1.2"]),
            (Some("198.51.100.1"), None, &["198.51.100.1"]),
            // A name has both families by itself.
            (None, Some("call.example.org"), &["call.example.org"]),
        ] {
            let hosts = servers(configured, &both).hosts_for(header);
            assert_eq!(hosts.as_slice(), expected, "{configured:?} {header:?}");
        }
    }

    fn array(servers: &IceServers, header: Option<&str>) -> serde_json::Value {
        serde_json::to_value(servers.mint(header, "me", 1000)).unwrap()
    }

    #[test]
    fn it_is_the_w3c_array() {
        let made = credential::mint(&"north".into(), "me", 4600);
        assert_eq!(made.username, "4600:me");
        assert_eq!(
            array(&servers(None, &[]), Some("h:1")),
            json!([
                {"urls": ["stun:h:3478"]},
                {"urls": ["turn:h:3478?transport=udp"], "username": made.username, "credential": made.password},
            ])
        );
    }

    #[test]
    fn every_way_in_is_listed_in_the_order_to_try_it() {
        let all = IceServers { tcp: Some(80), tls: Some(443), ..servers(Some("call.example.org"), &[]) };
        let urls = |json: &serde_json::Value| [json[0]["urls"].clone(), json[1]["urls"].clone()];
        assert_eq!(
            urls(&array(&all, None)),
            [
                json!(["stun:call.example.org:3478"]),
                json!([
                    "turn:call.example.org:3478?transport=udp",
                    "turn:call.example.org:80?transport=tcp",
                    "turns:call.example.org:443?transport=tcp",
                ]),
            ]
        );
        let both =
            IceServers { tcp: Some(3478), tls: None, ..servers(None, &["203.0.113.7", "2001:db8::7"]) };
        assert_eq!(
            urls(&array(&both, None)),
            [
                json!(["stun:203.0.113.7:3478", "stun:[2001:db8::7]:3478"]),
                json!([
                    "turn:203.0.113.7:3478?transport=udp",
                    "turn:[2001:db8::7]:3478?transport=udp",
                    "turn:203.0.113.7:3478?transport=tcp",
                    "turn:[2001:db8::7]:3478?transport=tcp",
                ]),
            ]
        );
    }

    #[test]
    fn what_does_not_listen_is_not_listed() {
        let tls = IceServers { udp: 0, tls: Some(443), ..servers(Some("h"), &[]) };
        let json = array(&tls, None);
        assert_eq!(json.as_array().unwrap().len(), 1);
        assert_eq!(json[0]["urls"], json!(["turns:h:443?transport=tcp"]));
        assert_eq!(array(&IceServers { udp: 0, ..servers(Some("h"), &[]) }, None), json!([]));
    }

    #[test]
    fn a_new_secret_signs_for_every_clone() {
        let servers = servers(None, &[]);
        let clone = servers.clone();
        servers.signer.set("south".into());
        let made = credential::mint(&"south".into(), "me", 4600);
        assert_eq!(clone.mint(None, "me", 1000).credential(), &made);
    }

    #[test]
    fn fresh_ones_come_well_before_the_old_ones_end() {
        let servers = servers(None, &[]);
        for spread in [0, 100, 255] {
            let after = servers.renew_after(spread).as_secs();
            assert!((3600 * 6 / 10..=2700).contains(&after), "{after}");
        }
    }
}
