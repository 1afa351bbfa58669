//! The figures as Prometheus reads them. Nothing counts here: the parts keep plain counters, and a scrape copies them.

use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use metrics::counter;
use metrics::gauge;
use metrics_exporter_prometheus::BuildError;
use metrics_exporter_prometheus::PrometheusBuilder;
use metrics_exporter_prometheus::PrometheusHandle;
use metrics_exporter_prometheus::PrometheusRecorder;

/// The figures of one daemon.
pub struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    copy: Box<dyn Fn() + Send + Sync>,
    started: Instant,
}

impl Metrics {
    /// `copy` is called at every scrape; it sets its figures with the `metrics` macros.
    ///
    /// # Errors
    /// Never in this configuration; the exporter's signature has one.
    pub fn new(copy: impl Fn() + Send + Sync + 'static) -> Result<Self, BuildError> {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let metrics = Self { recorder, handle, copy: Box::new(copy), started: Instant::now() };
        metrics.describe();
        Ok(metrics)
    }

    /// Everything in Prometheus's text format, as of now. Must be called on the daemon's runtime, whose tasks it counts.
    #[must_use]
    pub fn render(&self) -> String {
        metrics::with_local_recorder(&self.recorder, || {
            (self.copy)();
            gauge!("callgate_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                gauge!("callgate_tasks").set(runtime.metrics().num_alive_tasks() as f64);
            }
            let start = SystemTime::now().checked_sub(self.started.elapsed());
            let start = start.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
            gauge!("process_start_time_seconds").set(start.as_secs() as f64);
        });
        self.handle.render()
    }

    fn describe(&self) {
        metrics::with_local_recorder(&self.recorder, || {
            for (name, what) in GAUGES {
                metrics::describe_gauge!(*name, *what);
            }
            for (name, what) in COUNTERS {
                metrics::describe_counter!(*name, *what);
            }
        });
    }
}

/// A figure that goes up and down.
pub fn now(name: &'static str, value: u64) {
    gauge!(name).set(value as f64);
}

/// A figure that goes up and down, one of several of its name.
pub fn now_of(name: &'static str, label: &'static str, which: &str, value: u64) {
    gauge!(name, label => which.to_owned()).set(value as f64);
}

/// A figure that only grows.
pub fn total(name: &'static str, value: u64) {
    counter!(name).absolute(value);
}

/// A figure that only grows, one of several of its name.
pub fn total_of(name: &'static str, label: &'static str, which: &str, value: u64) {
    counter!(name, label => which.to_owned()).absolute(value);
}

/// A figure that only grows, told apart by two labels.
pub fn total_by(name: &'static str, labels: [(&'static str, &str); 2], value: u64) {
    let [(a, of_a), (b, of_b)] = labels;
    counter!(name, a => of_a.to_owned(), b => of_b.to_owned()).absolute(value);
}

const GAUGES: &[(&str, &str)] = &[
    ("callgate_connections", "socket.io connections that are open"),
    ("callgate_tcp_connections", "TCP connections that are open, of every kind"),
    ("callgate_rooms", "Rooms that exist, by kind"),
    ("callgate_peers", "Members of rooms, those who are away for a moment included"),
    ("callgate_allocations", "TURN allocations that exist"),
    ("callgate_turn_connections", "Connections over which clients speak TURN, by transport"),
    ("callgate_client_allocations", "TURN allocations that exist, by how their clients came"),
    ("callgate_store_failing", "1 while the store cannot be written to"),
    ("callgate_store_waiting", "Records that wait to be written"),
    ("callgate_tasks", "Tasks of the daemon's main runtime that have not ended"),
    ("callgate_webhooks_waiting", "Webhook messages on their way"),
    ("callgate_build_info", "Always 1; the label has the version"),
    ("process_start_time_seconds", "When the process started, in seconds since 1970"),
];

const COUNTERS: &[(&str, &str)] = &[
    ("callgate_turn_frames_total", "STUN and ChannelData messages over clients' connections, by direction"),
    (
        "callgate_turn_connections_closed_total",
        "Connections over which clients spoke TURN that were closed, by reason",
    ),
    ("callgate_joins_total", "Joins of rooms"),
    ("callgate_resumes_total", "Members that came back after their connection broke"),
    ("callgate_events_relayed_total", "Events passed from a peer to others, by kind"),
    ("callgate_errors_total", "Errors told to socket.io clients, by code"),
    ("callgate_allocations_total", "TURN allocations made"),
    ("callgate_relay_packets_total", "Packets relayed, by direction"),
    ("callgate_relay_bytes_total", "Bytes of application data relayed, by direction"),
    ("callgate_room_relay_packets_total", "Packets relayed, by direction and kind of room"),
    ("callgate_room_relay_bytes_total", "Bytes of application data relayed, by direction and kind of room"),
    ("callgate_drops_total", "What was dropped, by reason"),
    ("callgate_auth_failures_total", "TURN requests refused for their credentials, by error code"),
    (
        "callgate_relay_in_process_packets_total",
        "Packets from one relay to another that never left the process",
    ),
    ("callgate_bindings_total", "STUN Binding requests answered"),
    ("callgate_auth_challenges_total", "TURN requests without credentials that were told how to sign"),
    ("callgate_quota_reached_total", "Allocate requests turned away by a limit"),
    ("callgate_insufficient_capacity_total", "TURN requests turned away for want of ports or places"),
    ("callgate_store_batches_total", "Batches of records written: each is one sync of the disk"),
    ("callgate_store_records_total", "Records written: rooms, people, messages, calls"),
    ("callgate_store_given_up_total", "Records that nobody waited for and that could not be written"),
    ("callgate_webhooks_total", "Webhook messages, by what became of them"),
    ("callgate_join_decisions_total", "Joins that the join webhook was asked about, by its decision"),
    ("callgate_unauthorized_total", "API requests refused for their key or token, or for want of one"),
    ("callgate_connections_refused_total", "TCP connections turned away, and Socket.IO sessions, by reason"),
    (
        "callgate_certificate_reloads_total",
        "Times the certificate's files were read again, by what came of it",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_grows_is_a_total_and_nothing_else_is() {
        for (name, _) in COUNTERS {
            assert!(name.ends_with("_total"), "{name}");
        }
        for (name, _) in GAUGES {
            assert!(!name.ends_with("_total"), "{name}");
        }
    }
}
