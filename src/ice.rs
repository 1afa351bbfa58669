//! `iceServers`: where our STUN and TURN are, and a time-limited credential for them.

use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::time::Duration;

use secrecy::ExposeSecret;
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
    /// The UDP port of STUN and TURN, if there is one.
    pub udp: Option<Port>,
    /// The port of TURN over TCP, if there is one.
    pub tcp: Option<Port>,
    /// The port of TURN over TLS, if there is one.
    pub tls: Option<Port>,
    /// Signs the credentials.
    pub signer: Signer,
    /// How long a credential authorizes new allocations. Fresh ones are pushed after three quarters of it.
    pub ttl: Duration,
}

/// A port that listens, on one family or both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Port {
    /// Its number.
    pub number: u16,
    /// On IPv4.
    pub v4: bool,
    /// On IPv6.
    pub v6: bool,
}

impl Port {
    /// The port to tell clients of: the `usual` one if something listens there, else the first. Who listens on loopback only
    /// is for a proxy on this host, and counts when there is nobody else.
    pub fn of(listening: impl IntoIterator<Item = SocketAddr>, usual: u16) -> Option<Port> {
        let all: SmallVec<[SocketAddr; 4]> = listening.into_iter().collect();
        let outside = all.iter().any(|address| !address.ip().is_loopback());
        let open = || all.iter().filter(|address| !outside || !address.ip().is_loopback());
        let number = open()
            .map(SocketAddr::port)
            .find(|port| *port == usual)
            .or(open().next().map(SocketAddr::port))?;
        let mut port = Port { number, v4: false, v6: false };
        for ip in open().filter(|address| address.port() == number).map(SocketAddr::ip) {
            // `[::]` is every address of this host, IPv4 too.
            port.v4 |= ip.to_canonical().is_ipv4() || ip.is_unspecified();
            port.v6 |= ip.to_canonical().is_ipv6();
        }
        Some(port)
    }
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

    /// Signs with this secret from now on. Whether what was signed before still works is the relay's affair. Returns whether
    /// it is another secret.
    pub fn set(&self, secret: SecretString) -> bool {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let other = held.expose_secret() != secret.expose_secret();
        *held = secret;
        other
    }

    fn sign(&self, id: &str, expires: u64) -> credential::Credential {
        credential::mint(&self.0.read().unwrap_or_else(PoisonError::into_inner), id, expires)
    }
}

/// One holder's servers and credential; serializes as the W3C `iceServers` array: STUN first, then TURN in the order to try it.
#[derive(Debug)]
pub struct Minted {
    hosts: SmallVec<[Host; 2]>,
    udp: Option<Port>,
    tcp: Option<Port>,
    tls: Option<Port>,
    credential: credential::Credential,
    ttl: u64,
}

/// A host as in a URL.
#[derive(Debug)]
struct Host {
    text: String,
    /// None: a name, whose families its DNS knows.
    v4: Option<bool>,
}

impl Host {
    /// An IPv6 address needs brackets in a URL.
    fn address(address: &IpAddr) -> Host {
        let text = match address {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("[{v6}]"),
        };
        Host { text, v4: Some(address.is_ipv4()) }
    }

    fn has(&self, port: Port) -> bool {
        self.v4.is_none_or(|v4| if v4 { port.v4 } else { port.v6 })
    }
}

impl IceServers {
    /// For the credential id `id` of whoever reached us as `host_header` says, at `unix` seconds since 1970.
    #[must_use]
    pub fn mint(&self, host_header: Option<&str>, id: &str, unix: u64) -> Minted {
        self.mint_until(u64::MAX, host_header, id, unix)
    }

    /// The same, good until `end` at the most, in seconds since 1970; or for a second, if that is over.
    #[must_use]
    pub fn mint_until(&self, end: u64, host_header: Option<&str>, id: &str, unix: u64) -> Minted {
        let ttl = self.ttl.as_secs().min(end.saturating_sub(unix)).max(1);
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

    fn hosts_for(&self, header: Option<&str>) -> SmallVec<[Host; 2]> {
        let name = |name: &str| smallvec![Host { text: name.to_owned(), v4: None }];
        let host = self.host.as_deref().or_else(|| header.and_then(host_of));
        let address = match host {
            Some(host) => match host.trim_start_matches('[').trim_end_matches(']').parse() {
                Ok(address) => Some(address),
                Err(_) => return name(host),
            },
            None => self.addresses.first().copied(),
        };
        let Some(address) = address else { return name("localhost") };
        let ours = self.addresses.contains(&address);
        let others = self.addresses.iter().filter(|other| ours && other.is_ipv4() != address.is_ipv4());
        std::iter::once(&address).chain(others).map(Host::address).collect()
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
        self.at("stun", self.udp, "")
    }

    /// TURN's URLs (RFC 7065) in the order to try them: UDP, then TCP, then TLS.
    pub fn turn(&self) -> impl Iterator<Item = String> {
        let udp = self.at("turn", self.udp, "?transport=udp");
        let tcp = self.at("turn", self.tcp, "?transport=tcp");
        udp.chain(tcp).chain(self.at("turns", self.tls, "?transport=tcp"))
    }

    fn at(&self, scheme: &str, port: Option<Port>, transport: &str) -> impl Iterator<Item = String> {
        let hosts = port.into_iter().flat_map(|port| {
            self.hosts.iter().filter(move |host| host.has(port)).map(move |host| (&host.text, port.number))
        });
        hosts.map(move |(host, number)| format!("{scheme}:{host}:{number}{transport}"))
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

    fn port(number: u16) -> Option<Port> {
        Some(Port { number, v4: true, v6: true })
    }

    fn hosts(servers: &IceServers, header: Option<&str>) -> Vec<String> {
        servers.hosts_for(header).into_iter().map(|host| host.text).collect()
    }

    fn servers(host: Option<&str>, addresses: &[&str]) -> IceServers {
        IceServers {
            host: host.map(Arc::from),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            udp: port(3478),
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
            let found = hosts(&servers(configured, &["2001:db8::1"]), header);
            assert_eq!(found, [expected], "{configured:?} {header:?}");
        }
        assert_eq!(hosts(&servers(None, &[]), None), ["localhost"]);
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
            let found = hosts(&servers(configured, &both), header);
            assert_eq!(found, expected, "{configured:?} {header:?}");
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
        let all = IceServers { tcp: port(80), tls: port(443), ..servers(Some("call.example.org"), &[]) };
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
            IceServers { tcp: port(3478), tls: None, ..servers(None, &["203.0.113.7", "2001:db8::7"]) };
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
        let tls = IceServers { udp: None, tls: port(443), ..servers(Some("h"), &[]) };
        let json = array(&tls, None);
        assert_eq!(json.as_array().unwrap().len(), 1);
        assert_eq!(json[0]["urls"], json!(["turns:h:443?transport=tcp"]));
        assert_eq!(array(&IceServers { udp: None, ..servers(Some("h"), &[]) }, None), json!([]));
        let v4 = Some(Port { number: 443, v4: true, v6: false });
        let both = IceServers { udp: port(3478), tls: v4, ..servers(None, &["203.0.113.7", "2001:db8::7"]) };
        assert_eq!(
            array(&both, Some("[2001:db8::7]"))[1]["urls"],
            json!([
                "turn:[2001:db8::7]:3478?transport=udp",
                "turn:203.0.113.7:3478?transport=udp",
                "turns:203.0.113.7:443?transport=tcp",
            ])
        );
    }

    #[test]
    fn the_port_to_tell_of_is_the_usual_one_with_all_its_families() {
        let of = |listening: &[&str], usual: u16| {
            let port = Port::of(listening.iter().map(|address| address.parse().unwrap()), usual);
            port.map(|port| (port.number, port.v4, port.v6))
        };
        assert_eq!(of(&["[::]:3000", "[::]:80"], 80), Some((80, true, true)));
        assert_eq!(of(&["[::]:3000", "[::]:3001"], 80), Some((3000, true, true)));
        assert_eq!(of(&["0.0.0.0:443"], 443), Some((443, true, false)));
        assert_eq!(of(&["203.0.113.7:443", "[2001:db8::7]:443"], 443), Some((443, true, true)));
        assert_eq!(of(&["[2001:db8::7]:443", "203.0.113.7:8443"], 443), Some((443, false, true)));
        assert_eq!(of(&["[::ffff:203.0.113.7]:443"], 443), Some((443, true, false)));
        // Behind a proxy on this host.
        assert_eq!(of(&["127.0.0.1:80", "[::]:3478"], 80), Some((3478, true, true)));
        assert_eq!(of(&["127.0.0.1:80", "[::1]:80"], 80), Some((80, true, true)));
        assert_eq!(of(&[], 80), None);
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
