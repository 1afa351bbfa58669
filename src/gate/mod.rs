//! Every TCP port: accepts connections within limits, learns whose they are, ends TLS, sees what they speak, and hands them to
//! HTTP or to TURN. Every port speaks everything its TLS setting allows.

mod certificate;
mod listen;
mod places;
mod proxy;
mod serve;
mod stream;
mod tls;

use std::any::Any;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::Router;
use rustls::ServerConnection;
use socket2::SockRef;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use crate::config::Cidr;
use crate::config::Settings;
use crate::config::Tls;

pub use certificate::Certificate;
pub use certificate::CertificateError;
pub use listen::BindError;
pub use places::Full;
pub use places::Place;
pub use places::Places;
use serve::Ends;
use serve::House;
pub use serve::Secure;

/// Unacknowledged bytes older than this end a connection: a browser that vanished is noticed even while we only write.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// The pause after an accept that failed for want of descriptors or memory.
const BREATH: Duration = Duration::from_millis(200);

/// Lines about failing accepts come no more often than this.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

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

/// A connection that speaks TURN. It is not the gate's any more: no time-out of the gate's ends it.
pub struct Caller {
    /// Non-blocking, with TCP_NODELAY and TCP_USER_TIMEOUT set.
    pub socket: std::net::TcpStream,
    /// The TLS session, its handshake done; none on a plain port. It may hold bytes that are decrypted and not yet read, and some
    /// that are not yet written: look there before waiting for the socket.
    pub tls: Option<Box<ServerConnection>>,
    /// What was read of the connection so far, decrypted: it comes before what `tls` and `socket` have. At most 24 bytes.
    pub first: Vec<u8>,
    /// Where the client is; behind a load balancer, as that says. Canonical.
    pub client: SocketAddr,
    /// Where it connected to. Canonical.
    pub server: SocketAddr,
    /// To be dropped with the connection: its place.
    pub keep: Box<dyn Any + Send>,
}

/// Takes over connections that speak TURN. It is called on a thread of the runtime, and so may not block for long.
pub type TakeTurn = Arc<dyn Fn(Caller) + Send + Sync>;

/// Connections turned away, by reason.
#[derive(Default, Debug)]
pub struct Refusals {
    /// The daemon was full.
    pub total: AtomicU64,
    /// Their address had its share.
    pub per_ip: AtomicU64,
    /// The TLS handshake failed or took too long.
    pub handshake: AtomicU64,
    /// They said nothing in time, or too little to tell what they speak.
    pub silent: AtomicU64,
    /// They come from a load balancer that did not say in time, or not in a way that can be believed, whom they are for.
    pub proxy: AtomicU64,
    /// The kernel had no descriptor or memory for them.
    pub accept: AtomicU64,
    /// Not connections but Socket.IO sessions: the daemon was full, or their address had its share.
    pub sessions: AtomicU64,
}

impl Refusals {
    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    /// The reasons with their counts.
    #[must_use]
    pub fn counts(&self) -> [(&'static str, u64); 7] {
        [
            ("total", self.total.load(Relaxed)),
            ("per_ip", self.per_ip.load(Relaxed)),
            ("handshake", self.handshake.load(Relaxed)),
            ("silent", self.silent.load(Relaxed)),
            ("proxy", self.proxy.load(Relaxed)),
            ("accept", self.accept.load(Relaxed)),
            ("sessions", self.sessions.load(Relaxed)),
        ]
    }
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
        let tls = settings.tls.iter().flat_map(|tls| &tls.listen).zip(std::iter::repeat(acceptor));
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
            gate.port(address, of)?;
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
            if let Some(other) = self.ports.iter().find(|port| holds(turn, port.address)) {
                return Err(OpenError::Overlap { turn, other: other.address });
            }
            match self.port(turn, Of::Turn) {
                Err(BindError { error, .. })
                    if error.kind() == io::ErrorKind::AddrInUse
                        && !settings.turn.listen.iter().any(|wanted| wanted.port() == turn.port()) =>
                {
                    self.port(SocketAddr::new(turn.ip(), 0), Of::Turn)?;
                }
                opened => opened?,
            }
        }
        Ok(())
    }

    fn port(&mut self, address: SocketAddr, of: Of) -> Result<(), BindError> {
        let listener = listen::listen(address)?;
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
                tokio::spawn(accept(listener, address, house, self.places.clone()))
            })
            .collect();
        if let Some(certificate) = &self.certificate {
            tokio::spawn(certificate::watch(Arc::downgrade(certificate)));
        }
        Serving { listeners, drain, places: self.places, certificate: self.certificate }
    }
}

/// Whether who listens on `open` gets what comes to `other`. `[::]` is both families.
fn holds(open: SocketAddr, other: SocketAddr) -> bool {
    let everywhere = open.ip().is_unspecified() && (open.is_ipv6() || other.is_ipv4());
    open.port() == other.port() && (everywhere || open.ip() == other.ip())
}

/// A gate that lets connections in.
#[derive(Debug)]
pub struct Serving {
    listeners: Vec<JoinHandle<()>>,
    drain: watch::Sender<bool>,
    places: Places,
    certificate: Option<Arc<Certificate>>,
}

impl Serving {
    /// Reads the certificate again, from where `tls` says; connections from here on get it.
    ///
    /// # Errors
    /// It cannot be used; the old one stays.
    pub fn reload_certificates(&self, tls: &Tls) -> Result<(), CertificateError> {
        self.certificate.as_ref().map_or(Ok(()), |certificate| certificate.reload(tls))
    }

    /// Closes the ports; who is inside stays.
    pub async fn close(&mut self) {
        for listener in self.listeners.drain(..) {
            listener.abort();
            // The socket is closed when the task is gone, and not before.
            let _ = listener.await;
        }
    }

    /// Asks every connection to end after the request it is at, and waits until all have, or `until`. Returns how many
    /// are left. Those that speak TURN are the relay's.
    pub async fn drain(&self, until: Instant) -> usize {
        self.drain.send_replace(true);
        while self.places.served() > 0 && Instant::now() < until {
            sleep(Duration::from_millis(20)).await;
        }
        self.places.served()
    }
}

async fn accept(listener: TcpListener, address: SocketAddr, house: House, places: Places) {
    let mut complained: Option<Instant> = None;
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => welcome(socket, peer, &house, &places),
            // The connection was gone before it was ours.
            Err(error) if is_of_the_connection(&error) => {}
            Err(error) => {
                Refusals::count(&house.refusals.accept);
                if complained.is_none_or(|at| at.elapsed() > COMPLAIN_EVERY) {
                    tracing::error!(%address, %error, "cannot accept connections; trying again");
                    complained = Some(Instant::now());
                }
                sleep(BREATH).await;
            }
        }
    }
}

fn welcome(socket: TcpStream, peer: SocketAddr, house: &House, places: &Places) {
    let client = canonical(peer);
    // The connections of a load balancer are not its own: it says whose they are.
    let place = if proxy::is_one_of(&house.proxies, client.ip()) {
        places.take_for_nobody()
    } else {
        places.take(client.ip())
    };
    match place {
        Ok(place) => {
            // A connection without an address of ours is gone already.
            let Ok(server) = socket.local_addr() else { return };
            let options = SockRef::from(&socket);
            // A socket that refuses these is closed already; serving it finds out.
            let _ = options.set_tcp_nodelay(true);
            let _ = options.set_tcp_user_timeout(Some(USER_TIMEOUT));
            let ends = Ends { client, server: canonical(server) };
            tokio::spawn(serve::serve(house.clone(), socket, ends, place));
        }
        Err(Full::Total) => Refusals::count(&house.refusals.total),
        Err(Full::Address) => Refusals::count(&house.refusals.per_ip),
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
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
        let free = std::net::TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port();
        let both = [SocketAddr::from(([0, 0, 0, 0], free)), "[::]:0".parse().unwrap()];
        let both = both.map(|address: SocketAddr| SocketAddr::new(address.ip(), free));
        gate.open_turn(&settings(text), &both).unwrap();
        assert_eq!(
            gate.turn().map(|address| address.port()).collect::<Vec<_>>(),
            [free],
            "one socket for both families"
        );
    }

    #[tokio::test]
    async fn a_taken_tcp_port_is_an_error_only_if_it_was_asked_for() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let holder = std::net::TcpListener::bind(taken).unwrap();
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
