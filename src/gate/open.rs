//! Opening the ports, before anybody is let in.

use std::io;
use std::iter;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::config::Cidr;
use crate::config::Settings;

use super::accept;
use super::accept::Serving;
use super::caller::TakeTurn;
use super::certificate;
use super::certificate::Certificate;
use super::certificate::CertificateError;
use super::listen;
use super::listen::BindError;
use super::places::Places;
use super::refusals::Refusals;
use super::serve::House;
use super::tls;

/// Why a gate could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A port could not be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// TURN's port holds another of ours, on one address only.
    #[error(
        "{turn} of turn.listen takes TCP {other} too, which is ours already; give them two ports, or one address"
    )]
    Overlap {
        /// The wildcard.
        turn: SocketAddr,
        /// The address it holds.
        other: SocketAddr,
    },
}

/// Open ports, before anybody is let in: the kernel queues who comes.
pub struct Gate {
    ports: Vec<Port>,
    certificate: Option<Arc<Certificate>>,
    proxies: Arc<[Cidr]>,
    places: Places,
    refusals: Arc<Refusals>,
}

struct Port {
    listener: TcpListener,
    /// As bound.
    address: SocketAddr,
    of: Of,
}

/// What a port was opened for; it speaks the same as the others that have TLS, or have not.
enum Of {
    Http,
    Tls(TlsAcceptor),
    Turn,
}

impl Gate {
    /// Opens the ports of `http.listen` and `tls.listen` for at most `total` connections. Port 0 is some free port.
    ///
    /// # Errors
    /// A port is taken or a certificate is no good; then none stays open.
    pub fn open(settings: &Settings, total: usize) -> Result<Self, OpenError> {
        let certificate = settings.tls.as_ref().map(Certificate::read).transpose()?.map(Arc::new);
        let acceptor = certificate.as_ref().map(|one| tls::acceptor(Arc::clone(one))).transpose()?;
        let tls = settings.tls.iter().flat_map(|tls| &tls.listen).zip(iter::repeat(acceptor));
        let tls = tls.filter_map(|(address, acceptor)| Some((*address, Of::Tls(acceptor?))));
        let plain = settings.http.listen.iter().map(|address| (*address, Of::Http));
        let per_ip = settings.limits.connections_per_ip as usize;
        let mut gate = Self {
            ports: Vec::new(),
            certificate,
            proxies: settings.public.proxies.clone().into(),
            places: Places::new(total, per_ip),
            refusals: Arc::default(),
        };
        for (address, of) in plain.chain(tls) {
            gate.port(address, of, false)?;
        }
        Ok(gate)
    }

    /// Opens TCP ports for TURN beside its UDP ports, which are at `addresses`, except where a port is open already. Where
    /// `settings` wanted any port and TCP's of that number is taken, it is another one.
    ///
    /// # Errors
    /// A port is taken.
    pub fn open_turn(&mut self, settings: &Settings, addresses: &[SocketAddr]) -> Result<(), OpenError> {
        let mut addresses = addresses.to_vec();
        // The wildcards first: they hold the others.
        addresses.sort_by_key(|address| (!address.ip().is_unspecified(), !address.is_ipv6()));
        for turn in addresses {
            if self.ports.iter().any(|port| holds(port.address, turn)) {
                continue;
            }
            let held: Vec<SocketAddr> =
                self.ports.iter().map(|port| port.address).filter(|port| holds(turn, *port)).collect();
            if let Some(other) = held.iter().copied().find(|other| !leaves_ipv6(turn, *other)) {
                return Err(OpenError::Overlap { turn, other });
            }
            let what_is_left = !held.is_empty();
            match self.port(turn, Of::Turn, what_is_left) {
                Err(BindError { error, .. })
                    if error.kind() == io::ErrorKind::AddrInUse
                        && !settings.turn.listen.iter().any(|wanted| wanted.port() == turn.port()) =>
                {
                    self.port(SocketAddr::new(turn.ip(), 0), Of::Turn, false)?;
                }
                opened => opened?,
            }
        }
        Ok(())
    }

    /// `ipv6_only`: somebody else has the IPv4 half of a `[::]`.
    fn port(&mut self, address: SocketAddr, of: Of, ipv6_only: bool) -> Result<(), BindError> {
        let listener = listen::listen(address, ipv6_only)?;
        let address = listener.local_addr().map_err(|error| BindError { address, error })?;
        self.ports.push(Port { listener, address, of });
        Ok(())
    }

    /// The ports of `http.listen`, as bound.
    pub fn plain(&self) -> impl Iterator<Item = SocketAddr> {
        self.ports.iter().filter(|port| matches!(port.of, Of::Http)).map(|port| port.address)
    }

    /// The TLS ports, as bound.
    pub fn secure(&self) -> impl Iterator<Item = SocketAddr> {
        self.ports.iter().filter(|port| matches!(port.of, Of::Tls(_))).map(|port| port.address)
    }

    /// The TCP ports of `turn.listen` that are not one of the others, as bound. TURN is spoken on the plain and the TLS ports
    /// as well.
    pub fn turn(&self) -> impl Iterator<Item = SocketAddr> {
        self.ports.iter().filter(|port| matches!(port.of, Of::Turn)).map(|port| port.address)
    }

    /// The certificate of the TLS ports, if there are any.
    #[must_use]
    pub fn certificate(&self) -> Option<Arc<Certificate>> {
        self.certificate.clone()
    }

    /// How many connections were turned away, and why.
    #[must_use]
    pub fn refusals(&self) -> Arc<Refusals> {
        Arc::clone(&self.refusals)
    }

    /// The open connections' places.
    #[must_use]
    pub fn places(&self) -> Places {
        self.places.clone()
    }

    /// Lets everybody in: who speaks HTTP to `router`, who speaks TURN to `turn`. From here on the certificate is watched.
    pub fn serve(self, router: Router, turn: TakeTurn) -> Serving {
        let (drain, draining) = watch::channel(false);
        let listeners = self
            .ports
            .into_iter()
            .map(|Port { listener, address, of }| {
                let house = House {
                    router: router.clone(),
                    tls: if let Of::Tls(tls) = of { Some(tls) } else { None },
                    turn: Arc::clone(&turn),
                    proxies: Arc::clone(&self.proxies),
                    refusals: Arc::clone(&self.refusals),
                    drain: draining.clone(),
                };
                tokio::spawn(accept::accept(listener, address, house, self.places.clone()))
            })
            .collect();
        if let Some(certificate) = &self.certificate {
            tokio::spawn(certificate::watch(Arc::downgrade(certificate)));
        }
        Serving::new(listeners, drain, self.places, self.certificate)
    }
}

/// Whether who listens on `open` gets what comes to `other`. `[::]` is both families.
fn holds(open: SocketAddr, other: SocketAddr) -> bool {
    let everywhere = open.ip().is_unspecified() && (open.is_ipv6() || other.is_ipv4());
    open.port() == other.port() && (everywhere || open.ip() == other.ip())
}

/// Whether `turn` is `[::]` and `other` is all of its IPv4 half: then the other half is there to be had.
fn leaves_ipv6(turn: SocketAddr, other: SocketAddr) -> bool {
    turn.is_ipv6() && turn.ip().is_unspecified() && other.is_ipv4() && other.ip().is_unspecified()
}

/// Whether TURN's TCP ports go together with the others, as far as the settings tell.
///
/// # Errors
/// A wildcard of `turn.listen` would take a port of the others.
pub fn overlap(settings: &Settings) -> Result<(), OpenError> {
    let tls = settings.tls.iter().flat_map(|tls| &tls.listen);
    let others: Vec<SocketAddr> = settings.http.listen.iter().chain(tls).copied().collect();
    for &turn in settings.turn.listen.iter().filter(|turn| turn.port() != 0) {
        if others.iter().any(|&other| holds(other, turn)) {
            continue;
        }
        if let Some(&other) = others.iter().find(|&&other| holds(turn, other) && !leaves_ipv6(turn, other)) {
            return Err(OpenError::Overlap { turn, other });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::config;

    use super::*;

    fn settings(text: &str) -> Settings {
        config::read(None, text, &config::Environment::new()).unwrap()
    }

    fn sockets(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[tokio::test]
    async fn turn_gets_its_tcp_port_unless_a_port_of_ours_has_it() {
        let text = "http.listen = [\"[::]:0\"]\nturn.listen = [\"[::]:0\"]";
        let mut gate = Gate::open(&settings(text), 10).unwrap();
        let port = gate.plain().next().unwrap().port();
        let same = [SocketAddr::from(([0, 0, 0, 0], port)), SocketAddr::from(([127, 0, 0, 1], port))];
        gate.open_turn(&settings(text), &same).unwrap();
        assert_eq!(gate.turn().count(), 0, "it is open already");
        // One that is free may be somebody else's a moment later.
        let is_had = (0..20).any(|_| {
            let mut gate = Gate::open(&settings(text), 10).unwrap();
            let free = std::net::TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port();
            let both = sockets(&["0.0.0.0:0", "[::]:0"]).into_iter();
            let both = both.map(|address| SocketAddr::new(address.ip(), free)).collect::<Vec<_>>();
            gate.open_turn(&settings(text), &both).unwrap();
            let ports: Vec<_> = gate.turn().map(|address| address.port()).collect();
            assert_eq!(ports.len(), 1, "one socket for both families");
            ports == [free]
        });
        assert!(is_had, "it has another port, over and over");
    }

    #[tokio::test]
    async fn a_taken_tcp_port_is_an_error_only_if_it_was_asked_for() {
        let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = holder.local_addr().unwrap();
        let any = settings("http.listen = [\"127.0.0.1:0\"]\nturn.listen = [\"127.0.0.1:0\"]");
        let mut gate = Gate::open(&any, 10).unwrap();
        gate.open_turn(&any, &[taken]).unwrap();
        assert_ne!(gate.turn().next().unwrap(), taken);
        let this = settings(&format!(
            "http.listen = [\"127.0.0.1:0\"]\nturn.listen = [\"{taken}\"]\nturn.relay_ports = \"1024-1100\""
        ));
        assert!(matches!(Gate::open(&this, 10).unwrap().open_turn(&this, &[taken]), Err(OpenError::Bind(_))));
        drop(holder);
    }

    #[tokio::test]
    async fn a_wildcard_over_one_of_our_ports_is_said_in_words() {
        let settings = settings("http.listen = [\"127.0.0.1:0\"]\nturn.listen = [\"[::]:0\"]");
        let mut gate = Gate::open(&settings, 10).unwrap();
        let plain = gate.plain().next().unwrap();
        let everywhere = SocketAddr::new("::".parse().unwrap(), plain.port());
        let error = gate.open_turn(&settings, &[everywhere]).unwrap_err().to_string();
        assert!(error.contains(&plain.to_string()) && error.contains("turn.listen"), "{error}");
    }

    #[tokio::test]
    async fn where_ipv4_is_taken_by_a_port_of_ours_turn_gets_ipv6() {
        let settings = settings("http.listen = [\"0.0.0.0:0\"]\nturn.listen = [\"[::]:0\"]");
        let mut gate = Gate::open(&settings, 10).unwrap();
        let port = gate.plain().next().unwrap().port();
        let both = sockets(&["0.0.0.0:0", "[::]:0"]).into_iter().map(|at| SocketAddr::new(at.ip(), port));
        gate.open_turn(&settings, &both.collect::<Vec<_>>()).unwrap();
        assert_eq!(gate.turn().collect::<Vec<_>>(), [SocketAddr::new("::".parse().unwrap(), port)]);
    }

    #[test]
    fn an_overlap_is_seen_in_the_settings() {
        for (http, turn, good) in [
            ("[::]:80", "[::]:80", true),
            ("[::]:80", "127.0.0.1:80", true),
            ("[::]:80", "[::]:81", true),
            ("0.0.0.0:80", "[::]:80", true),
            ("0.0.0.0:80", "[::1]:80", true),
            ("127.0.0.1:80", "[::1]:80", true),
            ("127.0.0.1:0", "[::]:0", true),
            ("127.0.0.1:80", "[::]:80", false),
            ("127.0.0.1:80", "0.0.0.0:80", false),
            ("[::1]:80", "[::]:80", false),
        ] {
            let settings = settings(&format!("http.listen = [\"{http}\"]\nturn.listen = [\"{turn}\"]"));
            assert_eq!(overlap(&settings).is_ok(), good, "{http} {turn}");
        }
    }

    #[test]
    fn wildcards_hold_their_family() {
        let [all6, all4, one4, one6] = sockets(&["[::]:1", "0.0.0.0:1", "127.0.0.1:1", "[::1]:1"])[..] else {
            panic!()
        };
        for (open, other, expected) in [
            (all6, all4, true),
            (all6, one4, true),
            (all6, one6, true),
            (all4, one4, true),
            (all4, one6, false),
            (all4, all6, false),
            (one4, one4, true),
            (one4, all4, false),
        ] {
            assert_eq!(holds(open, other), expected, "{open} {other}");
        }
    }
}
