//! What a person sees when the daemon has started.

use std::fmt::Write as _;
use std::io::Write as _;
use std::io::stdout;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::config;
use crate::config::Kept;
use crate::ice::IceServers;

use super::public::Found;

/// What there is to say.
pub(super) struct Block<'a> {
    pub(super) host: Option<&'a str>,
    pub(super) plain: Vec<SocketAddr>,
    pub(super) secure: Vec<SocketAddr>,
    /// Over UDP.
    pub(super) turn: Vec<SocketAddr>,
    /// What clients are told of the relay.
    pub(super) ice: &'a IceServers,
    pub(super) relay_ports: &'a RangeInclusive<u16>,
    pub(super) public: &'a Found,
    pub(super) file: Option<&'a PathBuf>,
    /// None: the secret is in the configuration.
    pub(super) secret: Option<&'a Kept>,
}

impl Block<'_> {
    /// Prints it to standard output, which may be closed.
    pub(super) fn print(&self) {
        let mut out = stdout().lock();
        let _ = out.write_all(self.text().as_bytes()).and_then(|()| out.flush());
    }

    /// The pages' addresses, the one to open first in front.
    pub(super) fn pages(&self) -> Vec<String> {
        let ports = [("https", 443, &self.secure), ("http", 80, &self.plain)];
        let mut pages = Vec::new();
        for (scheme, usual, addresses) in ports {
            for address in addresses {
                let port =
                    if address.port() == usual { String::new() } else { format!(":{}", address.port()) };
                for host in self.hosts(*address) {
                    pages.push(format!("{scheme}://{host}{port}/"));
                }
            }
        }
        pages.dedup();
        pages
    }

    /// The TURN addresses as clients are told them (RFC 7065).
    pub(super) fn turns(&self) -> Vec<String> {
        self.ice.mint(None, "", 0).turn().collect()
    }

    /// By which names browsers reach a page at a listening address: over HTTP, localhost is the one that gets a camera.
    fn hosts(&self, address: SocketAddr) -> Vec<String> {
        let mut hosts = self.reachable(address);
        if address.ip().is_unspecified() {
            hosts.push("localhost".to_owned());
        }
        hosts
    }

    fn reachable(&self, address: SocketAddr) -> Vec<String> {
        let ip = address.ip();
        if !ip.is_unspecified() {
            return vec![bracketed(ip)];
        }
        if let Some(host) = self.host {
            return vec![host.parse().map_or_else(|_| host.to_owned(), bracketed)];
        }
        let public = self.public.addresses.iter().map(|address| address.public);
        public.filter(|public| ip.is_ipv6() || public.is_ipv4()).map(bracketed).collect()
    }

    fn text(&self) -> String {
        let mut text = format!("\ncallgate {}\n\n", env!("CARGO_PKG_VERSION"));
        let mut say = |what: &str, lines: &[String]| {
            for (n, line) in lines.iter().enumerate() {
                let _ = writeln!(text, "  {:<8} {line}", if n == 0 { what } else { "" });
            }
        };
        say("page", &self.pages());
        if self.secure.is_empty() {
            say(
                "",
                &["Over plain http, browsers give camera and microphone to localhost only: see [tls]."
                    .to_owned()],
            );
        }
        say("TURN", &self.turns());
        if !self.turn.is_empty() {
            say(
                "",
                &[format!("relaying on UDP ports {}-{}", self.relay_ports.start(), self.relay_ports.end())],
            );
        }
        let addresses: Vec<String> = self.public.addresses.iter().map(ToString::to_string).collect();
        say("address", &[format!("{}: {}", addresses.join(" and "), self.public.how)]);
        say("", self.public.notice.as_slice());
        say(
            "config",
            &[self.file.map_or_else(
                || format!("built-in defaults (there is no {})", config::DEFAULT_FILE),
                |file| file.display().to_string(),
            )],
        );
        say(
            "secret",
            &[match self.secret {
                None => "turn.secrets of the configuration".to_owned(),
                Some(Kept::InFile(path)) => path.display().to_string(),
                Some(Kept::InMemory(why)) => format!("in memory only, new at every start: {why}"),
            }],
        );
        text.push('\n');
        text
    }
}

/// As it stands in a URL.
fn bracketed(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config::PublicAddress;
    use crate::ice::Port;
    use crate::ice::Signer;

    use super::*;

    fn ice(host: Option<&str>, udp: &str, tcp: &[&str], tls: Option<&str>) -> IceServers {
        let address = |text: &&str| text.parse().unwrap();
        IceServers {
            host: host.map(Into::into),
            addresses: found().addresses.iter().map(|address| address.public).collect(),
            udp: Port::of([address(&udp)], 3478),
            tcp: Port::of(tcp.iter().map(address), 80),
            tls: Port::of(tls.iter().map(address), 443),
            signer: Signer::new("a secret of the test".into()),
            ttl: Duration::from_secs(60),
        }
    }

    fn found() -> Found {
        let public = "5.9.1.2".parse().unwrap();
        let addresses = vec![PublicAddress { public, local: public }];
        Found { addresses, how: "configured (public.addresses)".to_owned(), notice: None }
    }

    #[test]
    fn a_newcomer_is_told_where_to_go() {
        let public = found();
        let ice = ice(None, "[::]:3478", &["[::]:3478", "[::]:80"], None);
        let block = Block {
            host: None,
            plain: vec!["[::]:3000".parse().unwrap()],
            secure: vec![],
            turn: vec!["0.0.0.0:3478".parse().unwrap(), "[::]:3478".parse().unwrap()],
            ice: &ice,
            relay_ports: &(49152..=65535),
            public: &public,
            file: None,
            secret: Some(&Kept::InFile("/var/lib/callgate/turn-secret".into())),
        };
        assert_eq!(block.pages(), ["http://5.9.1.2:3000/", "http://localhost:3000/"]);
        assert_eq!(block.turns(), ["turn:5.9.1.2:3478?transport=udp", "turn:5.9.1.2:80?transport=tcp"]);
        let text = block.text();
        for wanted in
            ["http://localhost:3000/", "built-in defaults", "/var/lib/callgate/turn-secret", "49152-65535"]
        {
            assert!(text.contains(wanted), "{wanted} is not in {text}");
        }
    }

    #[test]
    fn a_name_is_preferred_and_usual_ports_are_left_out() {
        let public = found();
        let ice = ice(Some("call.example.org"), "[::1]:3478", &["127.0.0.1:3000"], Some("[::]:443"));
        let block = Block {
            host: Some("call.example.org"),
            plain: vec!["127.0.0.1:3000".parse().unwrap()],
            secure: vec!["[::]:443".parse().unwrap()],
            turn: vec!["[::1]:3478".parse().unwrap()],
            ice: &ice,
            relay_ports: &(49152..=65535),
            public: &public,
            file: None,
            secret: None,
        };
        assert_eq!(
            block.pages(),
            ["https://call.example.org/", "https://localhost/", "http://127.0.0.1:3000/"]
        );
        assert_eq!(
            block.turns(),
            [
                "turn:call.example.org:3478?transport=udp",
                "turn:call.example.org:3000?transport=tcp",
                "turns:call.example.org:443?transport=tcp"
            ]
        );
    }
}
