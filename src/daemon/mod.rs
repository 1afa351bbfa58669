//! The composition root: builds every part, wires them, says ready, supervises, drains, stops.

mod access;
mod block;
mod descriptors;
mod figures;
mod holder;
mod ledger;
mod media;
mod members;
mod news;
mod process;
mod public;
mod reload;
mod rest;
mod sessions;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::anyhow;
use axum::middleware::from_fn;
use sd_notify::NotifyState;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use socketioxide::layer::SocketIoLayer;
use tokio::runtime::Builder;
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use crate::auth::Tokens;
use crate::config::Environment;
use crate::config::Kept;
use crate::config::LogFormat;
use crate::config::Mistakes;
use crate::config::Settings;
use crate::config::State;
use crate::gate;
use crate::gate::BindError;
use crate::gate::Gate;
use crate::gate::OpenError;
use crate::gate::Places;
use crate::http;
use crate::http::Access;
use crate::http::Origins;
use crate::http::Readiness;
use crate::ice::IceServers;
use crate::ice::Port;
use crate::ice::Signer;
use crate::metrics::Metrics;
use crate::relay;
use crate::relay::Relay;
use crate::shutdown::Shutdown;
use crate::shutdown::Wish;
use crate::signaling;
use crate::signaling::Operator;
use crate::signaling::Signaling;
use crate::store::Live as Rooms;
use crate::store::Store;
use crate::webhooks;
use crate::webhooks::Webhooks;

use block::Block;
use figures::Figures;
use members::Members;
use public::Found;
use public::Interface;
use reload::Live;

pub use access::keyring;
pub use ledger::backup;
pub use process::reload as reload_running;

/// How long relayed calls may go on once the ports are closed. This and the next three are counted from the first signal.
const CALLS: Duration = Duration::from_secs(8);

/// When signaling's transports are not waited for any more.
const CLOSED: Duration = Duration::from_millis(8_700);

/// When the last connection is not, nor are webhooks: what is between is theirs, however late it is.
const TOLD: Duration = Duration::from_millis(9_300);

/// When the store is not: the daemon is gone within 10 seconds.
const END: Duration = Duration::from_millis(9_800);

/// How long the store may take to write what is left, if there is so much time left.
const FLUSH: Duration = Duration::from_secs(2);
/// The same, and for webhooks, when it was told a second time to end.
const AT_ONCE: Duration = Duration::from_millis(500);
/// How long webhooks that wait may take at the end, if there is so much time left.
const LAST_WEBHOOKS: Duration = Duration::from_secs(3);

/// How often it is looked whether calls go on.
const LOOK: Duration = Duration::from_millis(50);

/// How long clients have to hear that the daemon is going.
const FAREWELL: Duration = Duration::from_millis(250);

/// What `callgate check` can find out beyond the file itself, without listening anywhere. Returns what is worth a warning on
/// this host as it is now.
///
/// # Errors
/// The certificate, a key of tokens or what webhooks trust cannot be used, or ports get in each other's way.
pub fn check(settings: &Settings) -> anyhow::Result<Vec<String>> {
    let certificate = settings.tls.as_ref().map(gate::Certificate::read).transpose();
    certificate.map_err(|error| access::certificate(settings, error))?;
    access::keyring(settings)?;
    webhooks::check(&settings.webhooks).map_err(|wrong| settings.mistake(wrong.key, wrong.what))?;
    gate::overlap(settings)?;
    let complaints = public::complaints(&settings.public.addresses, &public::interfaces());
    let complaints = complaints.iter().map(|what| about_addresses(settings, what));
    Ok(complaints.chain(access::complaint(settings)).collect())
}

/// What the daemon was started with.
#[derive(Clone, Copy)]
pub struct Start<'a> {
    /// The configuration.
    pub settings: &'a Settings,
    /// What it keeps between runs.
    pub state: &'a State,
    /// The environment of the process.
    pub environment: &'a Environment,
    /// Reads the configuration once more, the way it was read for `settings`.
    pub reread: &'a dyn Fn() -> Result<Settings, Mistakes>,
}

/// Whether an error is one of the configuration: trying again would not help.
#[must_use]
pub fn is_of_configuration(error: &anyhow::Error) -> bool {
    error.is::<Mistakes>()
        || error.is::<gate::CertificateError>()
        || matches!(error.downcast_ref(), Some(OpenError::Overlap { .. }))
}

/// Serves until it is told to stop by a signal.
///
/// # Errors
/// Something needed cannot be had (a port, a certificate), or a part died.
pub fn run(start: Start<'_>) -> anyhow::Result<()> {
    let runtime = runtime().context("cannot start the runtime")?;
    let outcome = runtime.block_on(Box::pin(serve(start)));
    // What has not ended by now is not waited for.
    runtime.shutdown_background();
    outcome
}

/// For everything but the relay's packets. With one core there is nobody to share work with, so nothing is made ready for it.
fn runtime() -> io::Result<Runtime> {
    if thread::available_parallelism().is_ok_and(|cores| cores.get() == 1) {
        return Builder::new_current_thread().enable_all().build();
    }
    Builder::new_multi_thread().enable_all().build()
}

/// A secret from the configuration, else the state folder's own.
fn secret(
    state: &State,
    name: &str,
    configured: Option<&SecretString>,
) -> anyhow::Result<(SecretString, Option<Kept>)> {
    if let Some(secret) = configured {
        return Ok((secret.clone(), None));
    }
    let (secret, kept) = state.secret(name)?;
    if let Kept::InMemory(why) = &kept {
        tracing::warn!(
            name,
            why,
            "this secret cannot be kept: it lives in memory, and the next start makes another"
        );
    }
    Ok((secret, Some(kept)))
}

async fn serve(start: Start<'_>) -> anyhow::Result<()> {
    let Start { settings, state, environment, reread } = start;
    let started = Instant::now();
    let mut signals = Shutdown::listen().context("cannot catch signals")?;
    let descriptors = descriptors::raise();
    let interfaces = public::interfaces();
    let found = public_address(settings, &interfaces).await?;
    let (turn_secret, turn_kept) = secret(state, "turn-secret", settings.turn.secrets.first())?;
    let (admin_token, _) = secret(state, "admin-token", settings.admin.token.as_ref())?;
    let keyring = access::keyring(settings)?;
    if let Some(complaint) = access::complaint(settings) {
        tracing::warn!("{complaint}");
    }

    // Half of the descriptors for connections; the other half for relays, files and the rest.
    let total = usize::try_from(descriptors / 2).unwrap_or(usize::MAX).max(64);
    let mut gate = Gate::open(settings, total).map_err(|error| explain(settings, error))?;
    let tcp: Vec<SocketAddr> = gate.plain().chain(gate.secure()).collect();
    let listening: Vec<SocketAddr> = tcp.iter().chain(&settings.turn.listen).copied().collect();
    let own = public::spelled_out(&listening, &interfaces);
    let relay = Arc::new(media::start(settings, &turn_secret, &found, own)?);
    gate.open_turn(settings, &relay.listening()).map_err(|error| explain(settings, error))?;
    let ice = ice_servers(settings, turn_secret, &found, &relay, &gate);
    let signer = ice.signer.clone();
    let (resume_secret, _) = secret(state, "resume-secret", None)?;
    let of_rooms = of_rooms(settings);
    let store = rooms(settings, state, &of_rooms)?;
    let webhooks = tellers(settings, state)?;
    let tokens = access::tokens(keyring);
    let (signaling, layer) =
        signaling(&of_rooms, ice.clone(), &relay, Arc::clone(&tokens), &store, &resume_secret, &webhooks)?;
    let access = Arc::new(Access::new(
        access::keys(settings, admin_token),
        Arc::clone(&tokens),
        settings.limits.requests_per_second,
    ));
    let drain_asked = Arc::new(Notify::new());
    signaling.admit(operator(&access, &relay, &drain_asked));
    match state.take(SEATS) {
        Ok(Some(left)) => {
            let connections = signaling.follows(&left);
            tracing::debug!(connections, "seats of before are known");
        }
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, "the seats that the last run left cannot be read"),
    }
    let block = Block {
        host: settings.public.host.as_deref(),
        plain: gate.plain().collect(),
        secure: gate.secure().collect(),
        turn: relay.listening(),
        ice: &ice,
        relay_ports: &settings.turn.relay_ports,
        public: &found,
        file: settings.file.as_ref(),
        secret: turn_kept.as_ref(),
    };

    let readiness = Arc::new(Readiness::default());
    let figures = Figures {
        places: gate.places(),
        refusals: gate.refusals(),
        certificate: gate.certificate(),
        signaling: signaling.clone(),
        store: Arc::clone(&store),
        relay: Arc::downgrade(&relay),
        access: Arc::clone(&access),
        webhooks: webhooks.clone(),
    };
    let parts = http::Parts {
        metrics: Arc::new(Metrics::new(move || figures.copy())?),
        access: Arc::clone(&access),
        ice: ice.clone(),
        rooms: Arc::new(signaling.clone()),
        store: Arc::clone(&store),
        relay_lives: relay_lives(&relay),
        readiness: Arc::clone(&readiness),
        started,
        body_bytes: settings.limits.message_bytes,
    };
    let places = Places::new(total, settings.limits.connections_per_ip as usize);
    let refusals = gate.refusals();
    let arrivals = Arc::new(sessions::arrivals(settings.limits.connects_per_second, started));
    let sessions = from_fn(move |request, next| {
        sessions::admit(places.clone(), Arc::clone(&arrivals), Arc::clone(&refusals), request, next)
    });
    let router = http::router(parts).layer(layer).layer(sessions);
    let router = http::guard(router, &Origins::new(&settings.http.origins, settings.public.host.as_deref()));
    let adopter = Arc::downgrade(&relay);
    let take_turn = move |caller: gate::Caller| {
        if let Some(relay) = adopter.upgrade() {
            let gate::Caller { socket, tls, first, client, server, keep } = caller;
            relay.adopt(relay::Connection { socket, tls, first, client, server, keep });
        }
    };
    let mut serving = gate.serve(router, Arc::new(take_turn));

    let _held = process::hold(environment, state);
    readiness.serving();
    ready(&block, settings.log.format);

    let mut live = Live {
        reread,
        started: settings,
        current: settings.clone(),
        state,
        relay: &relay,
        signer,
        signaling: &signaling,
        serving: &serving,
        access: &access,
        tokens: &tokens,
    };
    let signal = loop {
        tokio::select! {
            wish = signals.next() => match wish {
                Wish::Stop(signal) => break signal,
                Wish::Reload => reload(&mut live),
            },
            () = drain_asked.notified() => break "the operator's word",
            () = death(&relay) => {
                last(&*store, &webhooks, FLUSH).await;
                return Err(anyhow!("a thread of the relay has died; its last words are above"));
            }
        }
    };
    tracing::info!(signal, "stopping; the same again stops at once");
    readiness.draining();
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    tokio::select! {
        left = drain(&mut serving, &signaling, &relay, &webhooks, &*store, state) => {
            if left > 0 {
                tracing::warn!(left, "connections did not end in time");
            }
        }
        signal = signals.stop() => {
            last(&*store, &webhooks, AT_ONCE).await;
            return Err(anyhow!("stopped at once by a second signal ({signal})"));
        }
    }
    // The last one to hold it: its threads end here.
    drop(relay);
    tracing::info!("stopped");
    Ok(())
}

/// The public addresses. One that is not on this host may come yet (the network may be slower than we are at boot): that
/// is a failure to try again after, not a mistake to stop for.
async fn public_address(settings: &Settings, interfaces: &[Interface]) -> anyhow::Result<Found> {
    let found = public::find(&settings.public.addresses, interfaces).await;
    let found = found.map_err(|what| anyhow!("{}", about_addresses(settings, &what)))?;
    if let Some(notice) = &found.notice {
        tracing::warn!("{notice}");
    }
    Ok(found)
}

/// With its place in the configuration.
fn about_addresses(settings: &Settings, what: &str) -> String {
    format!("{}: public.addresses: {what}", settings.place("public.addresses"))
}

/// Where clients find the relay: all that listens, by the ports that pass most firewalls.
fn ice_servers(
    settings: &Settings,
    secret: SecretString,
    found: &Found,
    relay: &Relay,
    gate: &Gate,
) -> IceServers {
    IceServers {
        host: settings.public.host.as_deref().map(Arc::from),
        addresses: found.addresses.iter().map(|address| address.public).collect(),
        udp: Port::of(relay.listening(), 3478),
        tcp: Port::of(gate.turn().chain(gate.plain()), 80),
        tls: Port::of(gate.secure(), 443),
        signer: Signer::new(secret),
        ttl: settings.turn.credential_ttl,
    }
}

/// Whether all of the relay's threads run.
fn relay_lives(relay: &Arc<Relay>) -> Arc<dyn Fn() -> bool + Send + Sync> {
    let relay = Arc::downgrade(relay);
    Arc::new(move || relay.upgrade().is_some_and(|relay| relay.is_alive()))
}

/// What the namespace `/admin` may see and do.
fn operator(access: &Arc<Access>, relay: &Arc<Relay>, drain: &Arc<Notify>) -> Operator {
    let (access, relay, drain) = (Arc::clone(access), Arc::downgrade(relay), Arc::clone(drain));
    Operator {
        era: Arc::new({
            let access = Arc::clone(&access);
            move || access.admin_era()
        }),
        admits: Arc::new(move |token, from| access.is_operator(token, from)),
        relay: Arc::new(move || relay.upgrade().map(|relay| members::figures(&relay)).unwrap_or_default()),
        drain: Arc::new(move || drain.notify_one()),
    }
}

/// Signaling, which hands out credentials for the relay, and has them revoked when their holder is gone.
fn signaling(
    settings: &signaling::Settings,
    ice: IceServers,
    relay: &Arc<Relay>,
    tokens: Arc<Tokens>,
    store: &Arc<dyn Store>,
    resume_secret: &SecretString,
    webhooks: &Webhooks,
) -> anyhow::Result<(Signaling, SocketIoLayer)> {
    let seal = ring::digest::digest(&ring::digest::SHA256, resume_secret.expose_secret().as_bytes());
    let parts = signaling::Parts {
        ice,
        media: Arc::new(Members(Arc::downgrade(relay))),
        tokens,
        store: Arc::clone(store),
        news: Arc::new(webhooks.clone()),
        seal: seal.as_ref().try_into().context("a key of 32 bytes")?,
    };
    Ok(Signaling::new(settings, parts))
}

fn of_rooms(settings: &Settings) -> signaling::Settings {
    signaling::Settings {
        capacity: settings.rooms.capacity as usize,
        channel_capacity: settings.rooms.channel_capacity as usize,
        idle: settings.rooms.idle_ttl,
        waiting_timeout: settings.rooms.waiting_timeout,
        grace: settings.rooms.grace,
        dialect: settings.rooms.dialect,
        events_per_second: settings.limits.events_per_second,
        bytes_per_second: settings.limits.bytes_per_second,
        joins_per_minute: settings.limits.joins_per_minute,
        connects_per_second: settings.limits.connects_per_second,
        rooms_of_one: settings.limits.rooms_per_user,
        message_bytes: settings.limits.message_bytes,
        ..signaling::Settings::default()
    }
}

/// The rooms, with those that were kept. Blocks.
fn rooms(
    settings: &Settings,
    state: &State,
    of_rooms: &signaling::Settings,
) -> anyhow::Result<Arc<dyn Store>> {
    let ledger = ledger::open(settings, state)?;
    let rooms = Rooms::open(of_rooms.rules(), of_rooms.limits(), ledger, Instant::now())
        .context("the stored rooms cannot be read")?;
    let stored: u64 = rooms.counts().rooms.iter().sum();
    tracing::info!(rooms = stored, "the store is open");
    Ok(Arc::new(rooms))
}

/// Who is told of rooms, and asked. A secret is made only if there is somebody to sign for.
fn tellers(settings: &Settings, state: &State) -> anyhow::Result<Webhooks> {
    let hooks = &settings.webhooks;
    if hooks.urls.is_empty() && hooks.join_url.is_none() {
        return Ok(Webhooks::none());
    }
    let (secret, _) = secret(state, "webhook-secret", hooks.secret.as_ref())?;
    Ok(Webhooks::start(hooks, &secret).map_err(|wrong| settings.mistake(wrong.key, wrong.what))?)
}

/// Returns when a thread of the relay has ended, which it does by itself only when something is broken.
async fn death(relay: &Relay) {
    while relay.is_alive() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Who has which seat, in the state folder from the end of a run to the start of the next.
const SEATS: &str = "seats";

/// Listeners first, then who is inside, then what is to be told and written still. Returns how many connections are left.
async fn drain(
    serving: &mut gate::Serving,
    signaling: &Signaling,
    relay: &Relay,
    webhooks: &Webhooks,
    store: &dyn Store,
    state: &State,
) -> usize {
    let begun = tokio::time::Instant::now();
    serving.close().await;
    relay.drain();
    signaling.drain().await;
    if signaling.stats().connections > 0 {
        // The news of the drain is on its way; a transport that is closed too soon would swallow it.
        tokio::time::sleep(FAREWELL).await;
    }
    // Whose signaling is closed leaves its room, and loses its relays: that comes after the calls.
    while begun.elapsed() < CALLS && relay.stats().turn.allocations > 0 {
        tokio::time::sleep(LOOK).await;
    }
    let left = |until: Duration| until.saturating_sub(begun.elapsed());
    let (folder, seats) = (state.clone(), signaling.leaves());
    // On a disk that does not answer this would take for ever.
    let written = tokio::task::spawn_blocking(move || folder.leave(SEATS, &seats));
    match tokio::time::timeout(left(CLOSED).min(FLUSH), written).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::warn!(%error, "the seats cannot be left to the next run"),
        Ok(Err(_)) | Err(_) => tracing::warn!("the seats were not left to the next run in time"),
    }
    if tokio::time::timeout_at(begun + CLOSED, signaling.close()).await.is_err() {
        tracing::warn!("some signaling connections did not close in time");
    }
    let told = webhooks.close(left(TOLD).min(LAST_WEBHOOKS));
    let (connections, ()) = tokio::join!(serving.drain(begun + TOLD), told);
    kept(store, left(END).min(FLUSH)).await;
    connections
}

/// What an end out of order still does: the rest is written and told, for at most so long.
async fn last(store: &dyn Store, webhooks: &Webhooks, limit: Duration) {
    tokio::join!(kept(store, limit), webhooks.close(limit));
}

/// Waits, for at most so long, until what nobody waited for is written too.
async fn kept(store: &dyn Store, limit: Duration) {
    match tokio::time::timeout(limit, store.flush()).await {
        Ok(Ok(())) => {}
        Ok(Err(why)) => tracing::error!(%why, "the last of what should be kept could not be written"),
        Err(_) => tracing::error!("the last of what should be kept was not written in time"),
    }
}

/// Tells whoever started us: a person, the log, systemd.
fn ready(block: &Block<'_>, format: LogFormat) {
    let joined =
        |addresses: &[SocketAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let public: Vec<String> = block.public.addresses.iter().map(ToString::to_string).collect();
    tracing::info!(
        http = joined(&block.plain),
        tls = joined(&block.secure),
        turn = joined(&block.turn),
        public = public.join(","),
        how = block.public.how,
        page = block.pages().first().map_or("", String::as_str),
        "ready"
    );
    if format != LogFormat::Json {
        block.print();
    }
    let status = format!("serving {}", block.pages().first().map_or("", String::as_str));
    // Without systemd there is nobody to tell.
    let _ = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// Tells whoever asked for it when it begins, and what came of it.
fn reload(live: &mut Live<'_>) {
    let now = NotifyState::monotonic_usec_now();
    let _ = sd_notify::notify(&[NotifyState::Reloading, now.unwrap_or(NotifyState::MonotonicUsec(0))]);
    let outcome = live.reload();
    let _ = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(&outcome)]);
}

/// A port that is taken is named with who has it, where that can be seen; a certificate's fault with where it is set.
fn explain(settings: &Settings, error: OpenError) -> anyhow::Error {
    match error {
        OpenError::Certificate(error) => access::certificate(settings, error),
        OpenError::Overlap { .. } => error.into(),
        OpenError::Bind(BindError { address, error }) => match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                let port = address.port();
                let who = holder::holder(address).unwrap_or_else(|| "another program".to_owned());
                anyhow!("TCP port {port} ({address}) is taken by {who}")
            }
            std::io::ErrorKind::PermissionDenied => {
                anyhow!(
                    "no permission to listen on TCP {address}: ports below 1024 need CAP_NET_BIND_SERVICE"
                )
            }
            _ => anyhow!("cannot listen on TCP {address}: {error}"),
        },
    }
}
