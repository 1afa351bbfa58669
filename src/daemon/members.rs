//! Rooms and their members, as the relay and HTTP know them.

use std::net::IpAddr;
use std::sync::Weak;

use serde_json::Value;

use crate::http;
use crate::relay::Relay;
use crate::rooms::Kind;
use crate::rooms::Refusal;
use crate::rooms::RoomId;
use crate::rooms::Target;
use crate::signaling::Flow;
use crate::signaling::Media;
use crate::signaling::RelayFigures;
use crate::signaling::Signaling;
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

/// The relay as a whole.
pub(super) fn figures(relay: &Relay) -> RelayFigures {
    let turn = relay.stats().turn;
    let [to_peer, to_client] =
        [turn.to_peer, turn.to_client].map(|flow| Flow { packets: flow.packets, bytes: flow.bytes });
    RelayFigures { allocations: turn.allocations, usage: Usage { to_peer, to_client } }
}

impl http::Rooms for Signaling {
    fn room(&self, id: &RoomId, whole: bool) -> Option<Value> {
        Signaling::room(self, id, whole)
    }

    fn close(&self, id: &RoomId) -> Result<(), Refusal> {
        self.close_room(id)
    }

    fn kick(&self, id: &RoomId, target: Target<'_>, ban: bool) -> Result<usize, Refusal> {
        Signaling::kick(self, id, target, ban)
    }
}
