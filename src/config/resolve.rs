//! From the configuration as written to the settings as meant: each key is named, defaulted and bounded here, once.

use std::fs::File;
use std::io::Read as _;
use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::Admin;
use super::Dialect;
use super::Environment;
use super::Http;
use super::Limits;
use super::Log;
use super::LogFormat;
use super::Mistakes;
use super::Peers;
use super::Place;
use super::Public;
use super::PublicAddress;
use super::RelayScope;
use super::Rooms;
use super::Settings;
use super::Store;
use super::StoreUrl;
use super::Tls;
use super::Turn;
use super::TurnLimits;
use super::WEBHOOK_EVENTS;
use super::Webhooks;
use super::auth;
use super::file::Written;
use super::file::Wrong;
use super::nearest;
use super::value;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

/// Anybody with a credential can try secrets on it at leisure; a shorter one is found in no time.
pub(super) const SHORTEST_SECRET: usize = 8;

/// Reads every key; see `super::read`.
pub(super) fn resolve(
    file: Option<&Path>,
    text: &str,
    environment: &Environment,
) -> Result<Settings, Mistakes> {
    let mut written = Written::new(file.unwrap_or(Path::new("")), text, environment);
    let w = &mut written;
    let mut settings = Settings {
        public: public(w),
        http: http(w),
        tls: tls(w),
        turn: turn(w),
        rooms: rooms(w),
        auth: auth::auth(w),
        admin: Admin {
            token: w.take(
                "admin.token",
                None,
                value::parsed(value::A_SECRET, |text| {
                    if text.is_empty() {
                        Ok(None)
                    } else {
                        value::secret(auth::SHORTEST_BEARER)(text).map(Some)
                    }
                }),
            ),
        },
        webhooks: webhooks(w),
        limits: limits(w),
        store: store(w),
        log: log(w),
        file: file.map(Path::to_owned),
        places: Vec::new(),
    };
    plain_variables(w, environment, &mut settings);
    together(w, &settings);
    let places: Vec<_> =
        w.keys().into_iter().filter(|key| w.has(key)).map(|key| (w.place(&key), key)).collect();
    settings.places = places.into_iter().map(|(place, key)| (key, place)).collect();
    for (name, key) in [("PORT", "http.listen"), ("CLIENT_URL", "http.origins")] {
        if environment.get(name).is_some_and(|text| !text.is_empty()) {
            settings.places.retain(|(written, _)| written != key);
            settings.places.push((key.to_owned(), Place::Environment(name.to_owned())));
        }
    }
    mistaken_variables(w, environment);
    let mistakes = written.finish();
    if mistakes.is_empty() { Ok(settings) } else { Err(Mistakes(mistakes)) }
}

fn public(w: &mut Written) -> Public {
    let host = w.take("public.host", None, value::parsed("\"call.example.org\"", value::host));
    let addresses: Vec<PublicAddress> =
        w.take("public.addresses", Vec::new(), value::list("\"203.0.113.7\"", value::public_address));
    for v4 in [true, false] {
        if addresses.iter().filter(|a| a.public.is_ipv4() == v4).count() > 1 {
            let family = if v4 { "IPv4" } else { "IPv6" };
            w.wrong(
                "public.addresses",
                Wrong::from(format!("more than one {family} address; keep one of each family")),
            );
        }
    }
    let proxies = w.take("public.proxies", Vec::new(), value::list("\"10.0.0.7\"", value::cidr));
    Public { host, addresses, proxies }
}

fn http(w: &mut Written) -> Http {
    Http {
        listen: w.take("http.listen", vec![any(3000)], value::list("\"[::]:3000\"", value::socket)),
        origins: w.take(
            "http.origins",
            Vec::new(),
            value::list("\"https://app.example.org\"", value::origin),
        ),
    }
}

fn tls(w: &mut Written) -> Option<Tls> {
    let listen = w.take("tls.listen", Vec::new(), value::list("\"[::]:443\"", value::socket));
    let certificate =
        w.take("tls.certificate", None, value::parsed("\"/path/to/fullchain.pem\"", value::path));
    let key = w.take("tls.key", None, value::parsed("\"/path/to/key.pem\"", value::path));
    if let Some(path) = &certificate {
        pem(w, "tls.certificate", path, certificates);
    }
    if let Some(path) = &key {
        pem(w, "tls.key", path, |text| PrivateKeyDer::from_pem_slice(text).is_ok());
    }
    match (listen.is_empty(), certificate, key) {
        (false, Some(certificate), Some(key)) => return Some(Tls { listen, certificate, key }),
        (true, None, None) => {}
        // A wrong one has been complained about already.
        (true, ..) if w.has_mistake("tls.listen") => {}
        (true, certificate, _) => {
            let key = if certificate.is_some() { "tls.certificate" } else { "tls.key" };
            w.wrong(key, Wrong::from("no port uses it; add tls.listen = [\"[::]:443\"]".to_owned()));
        }
        (false, certificate, key) => {
            for (name, missing) in [("tls.certificate", certificate.is_none()), ("tls.key", key.is_none())] {
                // A wrong one has been complained about already.
                if missing && !w.has_mistake(name) {
                    w.wrong("tls.listen", Wrong::from(format!("a TLS port needs {name} too: a PEM file")));
                }
            }
        }
    }
    None
}

fn certificates(text: &[u8]) -> bool {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    chain.is_ok_and(|chain| !chain.is_empty())
}

/// A client's queues (`signaling/{inbox,outbox,kept}.rs`) hold a few of the longest.
const LONGEST_MESSAGE: u32 = 256 << 10;

/// Complains unless the file can be read and holds what it should.
fn pem(w: &mut Written, key: &str, path: &PathBuf, holds: impl Fn(&[u8]) -> bool) {
    let mut text = Vec::new();
    // A chain is a few kilobytes; /dev/zero is not one.
    let read = File::open(path).and_then(|file| file.take(1 << 20).read_to_end(&mut text));
    let what = match read {
        Err(error) => format!("{} cannot be read: {error}", path.display()),
        Ok(_) if !holds(&text) => {
            let wants = if key == "tls.key" { "private key" } else { "certificate" };
            format!("{} holds no {wants} in PEM form (-----BEGIN …)", path.display())
        }
        Ok(_) => return,
    };
    w.wrong(key, Wrong::from(what));
}

fn turn(w: &mut Written) -> Turn {
    let limits = turn_limits(w);
    Turn {
        listen: w.take("turn.listen", vec![any(3478)], value::list("\"[::]:3478\"", value::socket)),
        realm: w.take("turn.realm", "callgate".to_owned(), value::parsed("\"callgate\"", realm)),
        secrets: w.take(
            "turn.secrets",
            Vec::new(),
            value::list(value::A_SECRET, value::secret(SHORTEST_SECRET)),
        ),
        credential_ttl: w.take(
            "turn.credential_ttl",
            Duration::from_secs(3600),
            value::duration(SECOND..=30 * DAY),
        ),
        relay_ports: w.take(
            "turn.relay_ports",
            49152..=65535,
            value::parsed("\"49152-65535\"", value::ports),
        ),
        workers: w.take("turn.workers", 0, |raw| value::small(0..=256)(raw).map(|n| n as usize)),
        relay_scope: w.take(
            "turn.relay_scope",
            RelayScope::Room,
            value::parsed(
                "\"room\"",
                value::choice(&[("room", RelayScope::Room), ("public", RelayScope::Public)]),
            ),
        ),
        users: w.take("turn.users", Vec::new(), value::list(value::A_SECRET, value::user)),
        mobility: w.take("turn.mobility", false, value::truth),
        tcp_relays: w.take("turn.tcp_relays", false, value::truth),
        alternate: alternate(w),
        peers: Peers {
            allow: w.take("turn.peers.allow", Vec::new(), value::list("\"10.0.0.0/8\"", value::cidr)),
            deny: w.take("turn.peers.deny", Vec::new(), value::list("\"10.0.0.0/8\"", value::cidr)),
        },
        limits,
    }
}

fn alternate(w: &mut Written) -> Vec<SocketAddr> {
    let all: Vec<SocketAddr> =
        w.take("turn.alternate", Vec::new(), value::list("\"203.0.113.8:3478\"", value::socket));
    for v4 in [true, false] {
        if all.iter().filter(|address| address.is_ipv4() == v4).count() > 1 {
            let family = if v4 { "IPv4" } else { "IPv6" };
            w.wrong("turn.alternate", Wrong::from(format!("more than one {family} address; keep one")));
        }
    }
    if all.iter().any(|address| address.ip().is_unspecified() || address.port() == 0) {
        w.wrong(
            "turn.alternate",
            Wrong::from("clients cannot go there; write an address and a port".to_owned()),
        );
    }
    all
}

/// What an answer to a browser's first request has room for: over UDP no stranger is sent more than three times the request's
/// 28 bytes. RFC 8489, section 14.9, would allow 127 characters.
const LONGEST_REALM: usize = 32;

/// A quoted string (RFC 8489, section 14.9) within that bound.
fn realm(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().any(|c| c.is_control() || c == '"') {
        return Err("a realm has 1 to 32 bytes, no quotes or control characters".to_owned());
    }
    if text.len() > LONGEST_REALM {
        return Err(format!(
            "{} bytes; a realm has up to 32, or the answer to a client's first request would be over three times as long as the request",
            text.len()
        ));
    }
    Ok(text.to_owned())
}

fn turn_limits(w: &mut Written) -> TurnLimits {
    let any = || value::small(0..=u32::MAX);
    let rate = || value::whole(0..=1 << 40);
    TurnLimits {
        allocations: w.take("turn.limits.allocations", 10_000, any()),
        allocations_per_user: w.take("turn.limits.allocations_per_user", 256, any()),
        allocations_per_ip: w.take("turn.limits.allocations_per_ip", 2048, any()),
        permissions: w.take("turn.limits.permissions", 256, any()),
        channels: w.take("turn.limits.channels", 256, any()),
        lifetime: w.take(
            "turn.limits.lifetime",
            Duration::from_secs(3600),
            value::duration(600 * SECOND..=DAY),
        ),
        unauthenticated_per_second: w.take("turn.limits.unauthenticated_per_second", 200, any()),
        bytes_per_second: w.take("turn.limits.bytes_per_second", 4_000_000, rate()),
        room_bytes_per_second: w.take("turn.limits.room_bytes_per_second", 16_000_000, rate()),
        total_bytes_per_second: w.take("turn.limits.total_bytes_per_second", 125_000_000, rate()),
    }
}

fn rooms(w: &mut Written) -> Rooms {
    Rooms {
        capacity: w.take("rooms.capacity", 16, value::small(2..=1000)),
        waiting_timeout: w.take("rooms.waiting_timeout", 30 * SECOND, value::duration(Duration::ZERO..=DAY)),
        grace: w.take("rooms.grace", 30 * SECOND, value::duration(Duration::ZERO..=DAY / 24)),
        dialect: w.take(
            "rooms.dialect",
            Dialect::Native,
            value::parsed("\"native\"", value::choice(Dialect::NAMED)),
        ),
        channel_capacity: w.take("rooms.channel_capacity", 500, value::small(2..=10_000)),
        idle_ttl: w.take("rooms.idle_ttl", DAY, value::duration(Duration::ZERO..=3650 * DAY)),
        history: w.take("rooms.history", 200, value::small(0..=10_000)),
        history_ttl: w.take("rooms.history_ttl", 90 * DAY, value::duration(Duration::ZERO..=3650 * DAY)),
    }
}

fn store(w: &mut Written) -> Store {
    Store {
        url: w.take("store.url", StoreUrl::Default, value::parsed("\"sqlite:PATH\"", value::store)),
        calls: w.take("store.calls", 100_000, value::whole(0..=100_000_000)),
        calls_ttl: w.take("store.calls_ttl", 365 * DAY, value::duration(Duration::ZERO..=3650 * DAY)),
    }
}

/// Each has lanes and queues of its own.
const MOST_URLS: usize = 8;

fn webhooks(w: &mut Written) -> Webhooks {
    const EXAMPLE: &str = "\"https://app.example.org/hooks\"";
    let urls = w.take("webhooks.urls", Vec::new(), value::list(EXAMPLE, value::url));
    if urls.len() > MOST_URLS {
        w.wrong("webhooks.urls", Wrong::from(format!("more than {MOST_URLS}; keep {MOST_URLS}")));
    }
    let ca = w.take("webhooks.ca", None, value::parsed("\"/path/to/ca.pem\"", value::path));
    if let Some(path) = &ca {
        pem(w, "webhooks.ca", path, certificates);
    }
    Webhooks {
        urls,
        secret: w.take(
            "webhooks.secret",
            None,
            value::parsed(value::A_SECRET, |text| {
                if text.is_empty() { Ok(None) } else { value::secret(SHORTEST_SECRET)(text).map(Some) }
            }),
        ),
        events: w.take("webhooks.events", Vec::new(), value::list("\"peer.joined\"", webhook_event)),
        join_url: w.take(
            "webhooks.join_url",
            None,
            value::parsed(
                EXAMPLE,
                |text| if text.is_empty() { Ok(None) } else { value::url(text).map(Some) },
            ),
        ),
        timeout: w.take("webhooks.timeout", 3 * SECOND, value::duration(SECOND / 10..=60 * SECOND)),
        ca,
    }
}

fn webhook_event(text: &str) -> Result<&'static str, String> {
    let known = WEBHOOK_EVENTS.iter().find(|known| **known == text);
    known.copied().ok_or_else(|| {
        let near = nearest::nearest(text, WEBHOOK_EVENTS.iter().copied());
        match near {
            Some(near) => format!("{text:?} is no event; did you mean {near:?}?"),
            None => format!("{text:?} is no event; they are {}", WEBHOOK_EVENTS.join(", ")),
        }
    })
}

fn limits(w: &mut Written) -> Limits {
    Limits {
        connections_per_ip: w.take("limits.connections_per_ip", 1024, value::small(0..=u32::MAX)),
        connects_per_second: w.take("limits.connects_per_second", 5, value::small(0..=u32::MAX)),
        joins_per_minute: w.take("limits.joins_per_minute", 10, value::small(0..=u32::MAX)),
        bytes_per_second: w.take("limits.bytes_per_second", 262_144, value::whole(0..=1 << 40)),
        rooms_per_user: w.take("limits.rooms_per_user", 20, value::small(0..=u32::MAX)),
        requests_per_second: w.take("limits.requests_per_second", 20, value::small(0..=u32::MAX)),
        events_per_second: w.take("limits.events_per_second", 200, value::small(0..=u32::MAX)),
        message_bytes: w.take("limits.message_bytes", 65_536, |raw| {
            value::small(1024..=LONGEST_MESSAGE)(raw).map(|n| n as usize)
        }),
    }
}

fn log(w: &mut Written) -> Log {
    let words = &[("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)];
    Log {
        format: w.take("log.format", LogFormat::Auto, value::parsed("\"auto\"", value::choice(words))),
        filter: w.take(
            "log.filter",
            "info".to_owned(),
            value::parsed("\"info\"", |text| match EnvFilter::builder().parse(text) {
                Ok(_) if text.split(',').all(is_directive) => Ok(text.to_owned()),
                _ => Err(format!("{text:?} is no filter; write \"info\", or \"info,callgate=debug\"")),
            }),
        ),
    }
}

/// A bare word is a level or a part of ours: `EnvFilter` takes a misspelt level for the name of a part, and the log is silent.
fn is_directive(text: &str) -> bool {
    let text = text.trim();
    text.contains(['=', '[']) || text.starts_with("callgate") || text.parse::<LevelFilter>().is_ok()
}

/// `PORT` is the port of the plain listeners; `CLIENT_URL` adds an allowed origin.
fn plain_variables(w: &mut Written, environment: &Environment, settings: &mut Settings) {
    if let Some(text) = environment.get("PORT").filter(|text| !text.is_empty()) {
        match text.trim().parse::<u16>() {
            Ok(port) => {
                let listen = &mut settings.http.listen;
                listen.iter_mut().for_each(|address| address.set_port(port));
                listen.dedup();
                if listen.is_empty() {
                    listen.push(any(port));
                }
            }
            Err(_) => {
                w.wrong_variable("PORT", format!("{text:?} is not a port; write a number from 1 to 65535"))
            }
        }
    }
    if let Some(text) = environment.get("CLIENT_URL") {
        for text in text.split(',').map(str::trim).filter(|text| !text.is_empty()) {
            // People write the whole address of their page here; its origin is meant.
            let end = text.find("://").and_then(|at| text[at + 3..].find('/').map(|slash| at + 3 + slash));
            match value::origin(&text[..end.unwrap_or(text.len())]) {
                Ok(origin) => settings.http.origins.push(origin),
                Err(what) => w.wrong_variable("CLIENT_URL", what),
            }
        }
    }
}

/// What no single key can know.
fn together(w: &mut Written, settings: &Settings) {
    auth::together(w, settings);
    if settings.http.listen.is_empty() && settings.tls.is_none() && !w.has_mistake_in("tls") {
        w.wrong(
            "http.listen",
            Wrong::from("nothing to listen on; name a port here or in tls.listen".to_owned()),
        );
    }
    if settings.turn.listen.is_empty() && !w.has_mistake("turn.listen") {
        w.wrong(
            "turn.listen",
            Wrong::from("calls need a relay; name a UDP port: [\"[::]:3478\"]".to_owned()),
        );
    }
    let plain = settings.http.listen.iter().map(|address| ("http.listen", address));
    let tls = settings.tls.iter().flat_map(|tls| &tls.listen).map(|address| ("tls.listen", address));
    let tcp: Vec<_> = plain.chain(tls).collect();
    twice(w, &tcp);
    covered(w, &tcp);
    twice(w, &settings.turn.listen.iter().map(|address| ("turn.listen", address)).collect::<Vec<_>>());
    for address in &settings.turn.listen {
        let (first, last) = (settings.turn.relay_ports.start(), settings.turn.relay_ports.end());
        if settings.turn.relay_ports.contains(&address.port()) {
            let what = format!("{first}-{last} holds the port of turn.listen, {address}; keep them apart");
            w.wrong(
                if w.has("turn.relay_ports") { "turn.relay_ports" } else { "turn.listen" },
                Wrong::from(what),
            );
        }
    }
}

/// A wildcard takes the port on all addresses of its family; `[::]` takes it for IPv4 too.
fn covered(w: &mut Written, addresses: &[(&str, &SocketAddr)]) {
    let covers = |all: &SocketAddr, one: &SocketAddr| {
        all != one
            && all.port() != 0
            && all.port() == one.port()
            && all.ip().is_unspecified()
            && (all.is_ipv6() || one.is_ipv4())
    };
    for (key, address) in addresses {
        if let Some((_, all)) = addresses.iter().find(|(_, all)| covers(all, address)) {
            w.wrong(key, Wrong::from(format!("{all} takes {address} too; keep one")));
        }
    }
}

fn twice(w: &mut Written, addresses: &[(&str, &SocketAddr)]) {
    for (n, (key, address)) in addresses.iter().enumerate() {
        if address.port() != 0 && addresses.iter().take(n).any(|(_, other)| other == address) {
            w.wrong(key, Wrong::from(format!("{address} is listened on twice; keep one")));
        }
    }
}

/// `CALLGATE_TURN_REALM` is nobody's variable, but surely meant as ours.
fn mistaken_variables(w: &mut Written, environment: &Environment) {
    let meant: Vec<(String, String)> = w
        .keys()
        .iter()
        .map(|key| key.to_uppercase())
        .map(|key| {
            (format!("CALLGATE_{}", key.replace('.', "_")), format!("CALLGATE_{}", key.replace('.', "__")))
        })
        .collect();
    for name in environment.keys().filter(|name| name.starts_with("CALLGATE_") && !name.contains("__")) {
        if let Some((_, right)) = meant.iter().find(|(wrong, _)| wrong == name) {
            w.wrong_variable(name, format!("sections are set off by two underscores; write {right}"));
        }
    }
    for name in
        environment.keys().filter(|name| name.starts_with("CALLGAT") && !name.starts_with("CALLGATE_"))
    {
        let near = nearest::nearest(name, meant.iter().map(|(_, right)| right.as_str()));
        if let Some(right) = near.filter(|_| name.contains("__")) {
            w.wrong_variable(name, format!("there is no such variable; did you mean {right}?"));
        }
    }
}

fn any(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)
}
