//! What the relay has to know of rooms, and says of them. Signaling knows no relay: the daemon puts the two together.

use std::net::IpAddr;

use crate::rooms::Kind;

/// The other end. Members go by the ids of their credentials (`turn::credential::member_id`).
///
/// Called in place, before the member is told, and with a room locked: it must be quick, and must not call signaling.
pub trait Media: Send + Sync {
    /// A member has a seat in this room; `from` is the address that its connection came from. Its credential works from now on.
    fn seated(&self, member: &str, room: &str, kind: Kind, from: Option<IpAddr>);

    /// A member has its seat again, on another connection.
    fn returned(&self, member: &str, from: Option<IpAddr>);

    /// A member has signaled that it can be reached at these addresses; the other members do not know yet.
    fn signaled(&self, member: &str, addresses: &[IpAddr]);

    /// A member has given its seat up, for whatever reason. Its credential works no more, and its room is not its own any
    /// more: who comes next may have a new room of the same name.
    fn unseated(&self, member: &str);

    /// The same, a moment later, with no room locked: what it has at the relay ends.
    fn gone(&self, member: &str);

    /// What was relayed for each of these members so far, in their order.
    fn usage(&self, members: &[&str]) -> Vec<Usage>;

    /// What was relayed for those who were members of this room and are not any more.
    fn departed(&self, room: &str) -> Usage;
}

/// Packets one way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flow {
    /// How many.
    pub packets: u64,
    /// Bytes of application data in them.
    pub bytes: u64,
}

/// What was relayed for somebody.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// From the member's relays to their peers.
    pub to_peer: Flow,
    /// From the peers to the member.
    pub to_client: Flow,
}

/// No relay at all.
impl Media for () {
    fn seated(&self, _: &str, _: &str, _: Kind, _: Option<IpAddr>) {}
    fn returned(&self, _: &str, _: Option<IpAddr>) {}
    fn signaled(&self, _: &str, _: &[IpAddr]) {}
    fn unseated(&self, _: &str) {}
    fn gone(&self, _: &str) {}
    fn usage(&self, members: &[&str]) -> Vec<Usage> {
        vec![Usage::default(); members.len()]
    }
    fn departed(&self, _: &str) -> Usage {
        Usage::default()
    }
}
