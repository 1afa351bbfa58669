//! Rooms' members as the relay knows them.

use std::net::IpAddr;
use std::sync::Weak;

use crate::relay::Relay;
use crate::rooms::Kind;
use crate::signaling::Media;
use crate::signaling::Usage;

/// The relay, told of members by signaling. It may be gone first.
pub(super) struct Members(pub(super) Weak<Relay>);

impl Media for Members {
    fn seated(&self, _member: &str, _room: &str, _kind: Kind, _from: Option<IpAddr>) {}

    fn returned(&self, _member: &str, _from: Option<IpAddr>) {}

    fn signaled(&self, _member: &str, _addresses: &[IpAddr]) {}

    fn gone(&self, member: &str) {
        if let Some(relay) = self.0.upgrade() {
            relay.revoke(member);
        }
    }

    fn usage(&self, members: &[&str]) -> Vec<Usage> {
        vec![Usage::default(); members.len()]
    }
}
