//! The parts' counters, copied into metrics at a scrape. The names are relied on by dashboards: they don't change.

use std::sync::Arc;
use std::sync::Weak;

use crate::gate::Certificate;
use crate::gate::Places;
use crate::gate::Refusals;
use crate::http::Access;
use crate::metrics::now;
use crate::metrics::now_of;
use crate::metrics::total;
use crate::metrics::total_by;
use crate::metrics::total_of;
use crate::relay::Relay;
use crate::rooms::Kind;
use crate::signaling;
use crate::signaling::Signaling;
use crate::store::Store;
use crate::webhooks;
use crate::webhooks::Webhooks;

/// Whose counters they are.
pub(super) struct Figures {
    pub(super) places: Places,
    pub(super) refusals: Arc<Refusals>,
    pub(super) certificate: Option<Arc<Certificate>>,
    pub(super) signaling: Signaling,
    pub(super) store: Arc<dyn Store>,
    pub(super) relay: Weak<Relay>,
    pub(super) access: Arc<Access>,
    pub(super) webhooks: Webhooks,
}

impl Figures {
    /// Sets every figure to what it is now.
    pub(super) fn copy(&self) {
        now("callgate_tcp_connections", self.places.taken() as u64);
        for (reason, count) in self.refusals.counts() {
            total_of("callgate_connections_refused_total", "reason", reason, count);
        }
        for (result, count) in self.certificate.iter().flat_map(|certificate| certificate.counts()) {
            total_of("callgate_certificate_reloads_total", "result", result, count);
        }
        total("callgate_unauthorized_total", self.access.refused());
        self.signaling();
        self.store();
        self.webhooks();
        if let Some(relay) = self.relay.upgrade() {
            copy_relay(&relay);
        }
    }

    fn store(&self) {
        let health = self.store.health();
        now("callgate_store_failing", u64::from(health.fault.is_some()));
        now("callgate_store_waiting", health.waiting);
        total("callgate_store_batches_total", health.batches);
        total("callgate_store_records_total", health.records);
        total("callgate_store_given_up_total", health.given_up);
    }

    fn webhooks(&self) {
        let stats = self.webhooks.stats();
        now("callgate_webhooks_waiting", stats.waiting);
        let results = [
            ("delivered", stats.delivered),
            ("retried", stats.retried),
            ("failed", stats.failed),
            ("dropped", stats.dropped),
        ];
        for (result, count) in results {
            total_of("callgate_webhooks_total", "result", result, count);
        }
        for (decision, count) in webhooks::Stats::JOINS.into_iter().zip(stats.joins) {
            total_of("callgate_join_decisions_total", "decision", decision, count);
        }
    }

    fn signaling(&self) {
        let stats = self.signaling.stats();
        now("callgate_connections", stats.connections);
        now("callgate_peers", stats.peers);
        total("callgate_joins_total", stats.joins);
        total("callgate_resumes_total", stats.resumes);
        for (kind, count) in Kind::ALL.into_iter().zip(stats.rooms) {
            now_of("callgate_rooms", "kind", kind.name(), count);
        }
        for (kind, count) in signaling::Relayed::ALL.into_iter().zip(stats.relayed) {
            total_of("callgate_events_relayed_total", "kind", kind.name(), count);
        }
        for (code, count) in signaling::Code::ALL.into_iter().zip(stats.errors) {
            total_of("callgate_errors_total", "code", code.name(), count);
        }
        total_of("callgate_drops_total", "reason", "http-rate", self.access.hasty());
        for (reason, count) in signaling::Drop::ALL.into_iter().zip(stats.drops) {
            total_of("callgate_drops_total", "reason", reason.name(), count);
        }
    }
}

fn copy_relay(relay: &Relay) {
    let stats = relay.stats();
    for (reason, count) in stats.drops() {
        total_of("callgate_drops_total", "reason", reason, count);
    }
    let connections = &stats.connections;
    now_of("callgate_turn_connections", "transport", "tcp", connections.tcp);
    now_of("callgate_turn_connections", "transport", "tls", connections.tls);
    total_of("callgate_turn_frames_total", "direction", "in", connections.frames_in);
    total_of("callgate_turn_frames_total", "direction", "out", connections.frames_out);
    for (reason, count) in connections.endings() {
        total_of("callgate_turn_connections_closed_total", "reason", reason, count);
    }
    let turn = &stats.turn;
    now("callgate_allocations", turn.allocations);
    total("callgate_allocations_total", turn.allocations_total);
    for (direction, flow) in [("to_peer", turn.to_peer), ("to_client", turn.to_client)] {
        total_of("callgate_relay_packets_total", "direction", direction, flow.packets);
        total_of("callgate_relay_bytes_total", "direction", direction, flow.bytes);
    }
    for (transport, count) in ["udp", "tcp", "tls"].into_iter().zip(turn.by_transport) {
        now_of("callgate_client_allocations", "transport", transport, count);
    }
    let scopes = Kind::ALL.into_iter().map(Kind::name).chain(["none"]);
    for (scope, usage) in scopes.zip(turn.by_scope) {
        for (direction, flow) in [("to_peer", usage.to_peer), ("to_client", usage.to_client)] {
            let labels = [("room", scope), ("direction", direction)];
            total_by("callgate_room_relay_packets_total", labels, flow.packets);
            total_by("callgate_room_relay_bytes_total", labels, flow.bytes);
        }
    }
    for (code, count) in turn.auth_failures() {
        total_of("callgate_auth_failures_total", "code", &code.to_string(), count);
    }
    total("callgate_relay_in_process_packets_total", turn.in_process.packets);
    total("callgate_bindings_total", turn.bindings);
    total("callgate_auth_challenges_total", turn.challenges);
    total("callgate_quota_reached_total", turn.quota_reached);
    total("callgate_insufficient_capacity_total", turn.insufficient_capacity);
}
