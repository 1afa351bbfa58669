//! The log: text for people, JSON for machines, on standard error.

use std::io::IsTerminal;
use std::io::stderr;
use std::sync::OnceLock;

use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::Log;
use crate::config::LogFormat;

/// Crates whose debug lines hold what clients send, their tokens among it. No filter can turn those on.
const TELLTALES: [&str; 2] = ["socketioxide", "engineioxide"];

/// The filter of the process, once it logs.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Starts logging for the whole process. A second call changes nothing.
pub fn start(settings: &Log) {
    let (filter, handle) = reload::Layer::new(EnvFilter::builder().parse_lossy(&settings.filter));
    let discreet = filter_fn(|about| {
        *about.level() <= Level::INFO || !TELLTALES.iter().any(|name| about.target().starts_with(name))
    });
    let json = match settings.format {
        LogFormat::Auto => !stderr().is_terminal(),
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(stderr);
    let lines = if json {
        lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
    } else {
        lines.with_ansi(stderr().is_terminal()).boxed()
    };
    // Fails only when a subscriber is set already, as in tests.
    if tracing_subscriber::registry().with(filter).with(lines.with_filter(discreet)).try_init().is_ok() {
        let _ = FILTER.set(handle);
    }
}

/// Logs what passes this filter from here on, if `start` was called.
pub fn set_filter(filter: &str) {
    if let Some(handle) = FILTER.get() {
        // Fails only when the subscriber is gone, and it never goes.
        let _ = handle.reload(EnvFilter::builder().parse_lossy(filter));
    }
}
