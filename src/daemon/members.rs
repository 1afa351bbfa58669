//! Rooms' members as the relay knows them.

use std::net::IpAddr;
use std::sync::Weak;

use crate::relay::Relay;
use crate::rooms::Kind;
use crate::signaling;
use crate::signaling::Media;
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

    fn gone(&self, member: &str) {
        if let Some(relay) = self.0.upgrade() {
            // Its credential first: what is ended could be asked for again otherwise.
            relay.scopes().unseat(member);
            relay.revoke(member);
        }
    }

    fn usage(&self, members: &[&str]) -> Vec<Usage> {
        let Some(relay) = self.0.upgrade() else { return vec![Usage::default(); members.len()] };
        let flow = |flow: turn::Flow| signaling::Flow { packets: flow.packets, bytes: flow.bytes };
        let usage = |of: turn::Usage| Usage { to_peer: flow(of.to_peer), to_client: flow(of.to_client) };
        relay.usage(members).into_iter().map(usage).collect()
    }
}
