//! Members of rooms, as the relay knows them.

use std::net::IpAddr;
use std::sync::Weak;

use crate::relay::Relay;
use crate::rooms::Kind;
use crate::signaling::Flow;
use crate::signaling::Media;
use crate::signaling::RelayFigures;
use crate::signaling::Usage;
use crate::turn;

/// The relay, told of members by signaling. It may be gone first.
pub(super) struct Members(pub(super) Weak<Relay>);

impl Members {
    fn scopes(&self, tell: impl FnOnce(&turn::Scopes)) {
        if let Some(relay) = self.0.upgrade() {
            tell(relay.scopes());
        }
    }
}

impl Media for Members {
    fn seated(&self, member: &str, room: &str, kind: Kind, from: Option<IpAddr>) {
        self.scopes(|scopes| {
            scopes.seat(member, room, kind as u8);
            from.inspect(|&from| scopes.observed(member, from));
        });
    }

    fn returned(&self, member: &str, from: Option<IpAddr>) {
        self.scopes(|scopes| {
            from.inspect(|&from| scopes.observed(member, from));
        });
    }

    fn signaled(&self, member: &str, addresses: &[IpAddr]) {
        self.scopes(|scopes| scopes.signaled(member, addresses));
    }

    fn unseated(&self, member: &str) {
        self.scopes(|scopes| scopes.unseat(member));
    }

    fn gone(&self, member: &str) {
        // Its credential has ended before: what is ended here cannot be asked for again.
        if let Some(relay) = self.0.upgrade() {
            relay.revoke(member);
        }
    }

    fn usage(&self, members: &[&str]) -> Vec<Usage> {
        let Some(relay) = self.0.upgrade() else { return vec![Usage::default(); members.len()] };
        relay.usage(members).into_iter().map(|of| usage(of.to_peer, of.to_client)).collect()
    }

    fn departed(&self, room: &str) -> Usage {
        let of = self.0.upgrade().map(|relay| relay.scopes().departed(room)).unwrap_or_default();
        usage(of.to_peer, of.to_client)
    }
}

/// The relay as a whole.
pub(super) fn figures(relay: &Relay) -> RelayFigures {
    let turn = relay.stats().turn;
    RelayFigures { allocations: turn.allocations, usage: usage(turn.to_peer, turn.to_client) }
}

/// As signaling has it.
fn usage(to_peer: turn::Flow, to_client: turn::Flow) -> Usage {
    let flow = |flow: turn::Flow| Flow { packets: flow.packets, bytes: flow.bytes };
    Usage { to_peer: flow(to_peer), to_client: flow(to_client) }
}
