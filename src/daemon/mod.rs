//! The composition root: builds every part, wires them, says ready, supervises, drains, stops.

mod block;
mod descriptors;
mod holder;
mod public;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::anyhow;
use sd_notify::NotifyState;
use secrecy::SecretString;
use tokio::runtime::Runtime;

use crate::config::Kept;
use crate::config::LogFormat;
use crate::config::Settings;
use crate::config::State;
use crate::gate;
use crate::gate::BindError;
use crate::gate::Gate;
use crate::gate::OpenError;
use crate::http;
use crate::http::Origins;
use crate::http::Readiness;
use crate::metrics;
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;

use block::Block;

pub use crate::gate::CertificateError;

/// How long running work may take to end once the daemon is told to.
const DRAIN: Duration = Duration::from_secs(10);

/// What `callgate check` can find out beyond the file itself, without listening anywhere.
///
/// # Errors
/// The certificate cannot be used.
pub fn check(settings: &Settings) -> anyhow::Result<()> {
    settings.tls.as_ref().map(gate::acceptor).transpose()?;
    Ok(())
}

/// Serves until it is told to stop by a signal.
///
/// # Errors
/// Something needed cannot be had (a port, a certificate), or a part died.
pub fn run(settings: &Settings, state: &State) -> anyhow::Result<()> {
    let runtime = Runtime::new().context("cannot start the runtime")?;
    let outcome = runtime.block_on(Box::pin(serve(settings, state)));
    // What has not ended by now is not waited for.
    runtime.shutdown_background();
    outcome
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

async fn serve(settings: &Settings, state: &State) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut signals = Shutdown::listen().context("cannot catch signals")?;
    let descriptors = descriptors::raise();
    let interfaces = public::interfaces();
    let found = public::find(&settings.public.addresses, &interfaces);
    if let Some(notice) = &found.notice {
        tracing::warn!(address = %found.addresses.first().map(ToString::to_string).unwrap_or_default(), "{notice}");
    }
    let (_turn_secret, turn_kept) = secret(state, "turn-secret", settings.turn.secrets.first())?;
    let (admin_token, _) = secret(state, "admin-token", settings.admin.token.as_ref())?;

    // Half of the descriptors for connections; the other half for relays, files and the rest.
    let total = usize::try_from(descriptors / 2).unwrap_or(usize::MAX).max(64);
    let gate = Gate::open(settings, total).map_err(explain)?;
    let block = Block {
        host: settings.public.host.as_deref(),
        plain: gate.plain().collect(),
        secure: gate.secure().collect(),
        turn: Vec::new(),
        relay_ports: &settings.turn.relay_ports,
        public: &found,
        file: settings.file.as_ref(),
        secret: turn_kept.as_ref(),
    };

    let readiness = Arc::new(Readiness::default());
    let (places, refusals) = (gate.places(), gate.refusals());
    let figures = Metrics::new(move || {
        metrics::now("callgate_tcp_connections", places.taken() as u64);
        for (reason, count) in refusals.counts() {
            metrics::total_of("callgate_connections_refused_total", "reason", reason, count);
        }
    })?;
    let parts = http::Parts {
        metrics: Arc::new(figures),
        admin_token,
        readiness: Arc::clone(&readiness),
        started,
        body_bytes: settings.limits.message_bytes,
    };
    let router = http::guard(http::router(parts), &Origins::new(&settings.http.origins));
    let mut serving = gate.serve(router);

    readiness.serving();
    ready(&block, settings.log.format);

    let signal = signals.next().await;
    tracing::info!(signal, "stopping; the same again stops at once");
    readiness.draining();
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    tokio::select! {
        left = drain(&mut serving) => {
            if left > 0 {
                tracing::warn!(left, "connections did not end in time");
            }
            tracing::info!("stopped");
            Ok(())
        }
        signal = signals.next() => Err(anyhow!("stopped at once by a second signal ({signal})")),
    }
}

/// Listeners first, then who is inside. Returns how many connections are left.
async fn drain(serving: &mut gate::Serving) -> usize {
    let until = tokio::time::Instant::now() + DRAIN;
    serving.close().await;
    serving.drain(until).await
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

/// A port that is taken is named with who has it, where that can be seen; a certificate's fault stays what it is.
fn explain(error: OpenError) -> anyhow::Error {
    match error {
        OpenError::Certificate(error) => error.into(),
        OpenError::Bind(error) => bind_failed(holder::Kind::Tcp, error),
    }
}

fn bind_failed(kind: holder::Kind, BindError { address, error }: BindError) -> anyhow::Error {
    let name = match kind {
        holder::Kind::Tcp => "TCP",
        holder::Kind::Udp => "UDP",
    };
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            let port = address.port();
            match holder::holder(kind, address) {
                Some(who) => anyhow!("{name} port {port} ({address}) is taken by {who}"),
                None => anyhow!("{name} port {port} ({address}) is taken by another program"),
            }
        }
        std::io::ErrorKind::PermissionDenied => {
            anyhow!("no permission to listen on {name} {address}: ports below 1024 need CAP_NET_BIND_SERVICE")
        }
        _ => anyhow!("cannot listen on {name} {address}: {error}"),
    }
}
