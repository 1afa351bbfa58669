//! `iceServers`: where our STUN and TURN are, and a time-limited credential for them.

use std::time::Duration;

use secrecy::SecretString;
use serde::Serialize;
use serde::Serializer;
use serde::ser::SerializeSeq;

use crate::rooms::PeerId;
use crate::turn::credential;

/// What is handed out to members.
#[derive(Clone, Debug)]
pub struct IceServers {
    /// The host in the URLs, a name or an address; `None`: the host by which the client reached us, from its
    /// `Host` header.
    pub host: Option<String>,
    /// The host where there is neither.
    pub fallback_host: String,
    /// The UDP port of STUN and TURN.
    pub port: u16,
    /// Signs the credentials.
    pub secret: SecretString,
    /// How long a credential authorizes new allocations. Fresh ones are pushed after three quarters of it.
    pub ttl: Duration,
}

/// One member's servers and credential; serializes as the W3C `iceServers` array.
#[derive(Debug)]
pub(super) struct Minted {
    host: String,
    port: u16,
    credential: credential::Credential,
    ttl: u64,
}

impl IceServers {
    /// For a member that reached us as `host_header` says, at `unix` seconds since 1970.
    pub(super) fn mint(&self, host_header: Option<&str>, peer: PeerId, unix: u64) -> Minted {
        let ttl = self.ttl.as_secs();
        let id = peer.with_text(credential::member_id);
        Minted {
            host: self.host_for(host_header),
            port: self.port,
            credential: credential::mint(&self.secret, &id, unix.saturating_add(ttl)),
            ttl,
        }
    }

    /// When to push fresh ones: at three quarters of their life, up to a tenth earlier so that a full house does not
    /// ask at once. `spread`: 0 to 255, evenly.
    pub(super) fn renew_after(&self, spread: u8) -> Duration {
        (self.ttl * 3 / 4).saturating_sub(self.ttl * u32::from(spread) / 2560).max(Duration::from_millis(250))
    }

    fn host_for(&self, header: Option<&str>) -> String {
        if let Some(host) = &self.host {
            return bracketed(host);
        }
        header.and_then(host_of).map_or_else(|| bracketed(&self.fallback_host), str::to_owned)
    }
}

/// An IPv6 address needs brackets in a URL.
fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

/// The host of a `Host` header, without its port; `None`: it is not one.
fn host_of(header: &str) -> Option<&str> {
    let (host, port) = if header.starts_with('[') {
        let end = header.find(']')? + 1;
        let (host, rest) = header.split_at(end);
        host[1..end - 1].parse::<std::net::Ipv6Addr>().ok()?;
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
    pub(super) fn ttl(&self) -> u64 {
        self.ttl
    }
}

impl Serialize for Minted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Stun {
            urls: [String; 1],
        }
        #[derive(Serialize)]
        struct Turn<'a> {
            urls: [String; 1],
            username: &'a str,
            credential: &'a str,
        }
        let Minted { host, port, credential, .. } = self;
        let mut list = serializer.serialize_seq(Some(2))?;
        list.serialize_element(&Stun { urls: [format!("stun:{host}:{port}")] })?;
        list.serialize_element(&Turn {
            urls: [format!("turn:{host}:{port}?transport=udp")],
            username: &credential.username,
            credential: &credential.password,
        })?;
        list.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(host: Option<&str>) -> IceServers {
        IceServers {
            host: host.map(str::to_owned),
            fallback_host: "2001:db8::1".to_owned(),
            port: 3478,
            secret: SecretString::from("north"),
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
            assert_eq!(servers(configured).host_for(header), expected, "{configured:?} {header:?}");
        }
    }

    #[test]
    fn it_is_the_w3c_array() {
        let peer = PeerId::new([0; 16]);
        let minted = servers(None).mint(Some("h:1"), peer, 1000);
        let json = serde_json::to_value(&minted).unwrap();
        let made =
            credential::mint(&SecretString::from("north"), &credential::member_id(&peer.to_string()), 4600);
        assert_eq!(
            json,
            serde_json::json!([
                {"urls": ["stun:h:3478"]},
                {"urls": ["turn:h:3478?transport=udp"], "username": made.username, "credential": made.password},
            ])
        );
        assert!(made.username.starts_with("4600:"));
    }

    #[test]
    fn fresh_ones_come_well_before_the_old_ones_end() {
        let servers = servers(None);
        for spread in [0, 100, 255] {
            let after = servers.renew_after(spread).as_secs();
            assert!((3600 * 6 / 10..=2700).contains(&after), "{after}");
        }
    }
}
