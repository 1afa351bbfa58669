//! Rooms as the operator sees them, and what it may do to them. Others see little of a room, and must know its name.

use std::sync::Arc;

use serde_json::Value;
use serde_json::json;

use super::api;
use super::hub::Hub;
use super::hub::member_id;
use super::media::Flow;
use super::media::Usage;
use crate::rooms::By;
use crate::rooms::Command;
use crate::rooms::LeftReason;
use crate::rooms::Member;
use crate::rooms::Refusal;
use crate::rooms::Room;
use crate::rooms::RoomId;
use crate::rooms::Standing;
use crate::rooms::Target;

/// The most rooms in the statistics: the biggest.
const BREAKDOWN: usize = 500;

/// The most members that are listed one by one in the statistics.
const PEERS: usize = 2000;

/// How many members' usage is asked for at a time: asking stops the relay's shards for a moment.
const BATCH: usize = 256;

/// The relay as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RelayFigures {
    /// Allocations that exist.
    pub allocations: u64,
    /// What was relayed since the start.
    pub usage: Usage,
}

impl Hub {
    /// What everybody who knows its name may see of a room.
    pub(super) fn outline(&self, id: &RoomId) -> Option<Value> {
        let mut outline = None;
        self.store.look(id, &mut |room| {
            outline = room.map(api::outline);
        });
        outline
    }

    /// All of a room that is not a secret, with what its members had relayed; the sum is of those who have left, too.
    pub(super) fn whole(&self, id: &RoomId) -> Option<Value> {
        let mut found = None;
        self.store.look(id, &mut |room| found = room.cloned());
        let room = found?;
        let usage = self.usage(&room.members);
        let members = room.members.iter().zip(&usage).map(|(member, usage)| of_member(member, usage));
        let details = room.details();
        let mut whole = api::outline(&room);
        for (key, value) in [
            ("members", members.collect::<Value>()),
            ("banned", people(&room, Standing::Banned).into()),
            ("invited", people(&room, Standing::Invited).into()),
            ("belonging", details.belonging().map(|(user, _)| &**user).collect::<Vec<_>>().into()),
            ("relay", of_usage(&self.of_room(&room, &usage))),
            ("listed", details.listed.into()),
            ("autoDelete", details.auto_delete.into()),
        ] {
            whole[key] = value;
        }
        if let Some(creator) = details.creator.as_ref().filter(|creator| !creator.is_empty()) {
            whole["creator"] = Value::from(&**creator);
        }
        Some(whole)
    }

    /// The figures of the house, with its biggest rooms.
    pub(super) fn statistics(&self, relay: &RelayFigures) -> Value {
        let counts = self.store.counts();
        let mut rooms: Vec<Room> = Vec::new();
        for id in self.store.biggest(BREAKDOWN) {
            self.store.look(&id, &mut |room| rooms.extend(room.cloned()));
        }
        let members: Vec<&Member> = rooms.iter().flat_map(|room| &room.members).collect();
        let usage: Vec<Usage> =
            members.chunks(BATCH).flat_map(|some| self.usage(some.iter().copied())).collect();
        let mut rest = usage.as_slice();
        let mut listed = 0;
        let of_room = |room: &Room| {
            let (its, others) = rest.split_at(room.members.len().min(rest.len()));
            rest = others;
            let mut of_it = json!({
                "id": room.id.as_str(),
                "name": room.details().name.as_deref().unwrap_or(room.id.as_str()),
                "type": room.kind.name(),
                "status": room.status.name(),
                "userCount": room.members.len(),
                "createdAt": room.created_at,
                "relay": of_usage(&self.of_room(room, its)),
            });
            listed += room.members.len();
            if listed <= PEERS {
                of_it["peers"] = room.members.iter().zip(its).map(|(m, usage)| of_member(m, usage)).collect();
            }
            of_it
        };
        let breakdown: Vec<Value> = rooms.iter().map(of_room).collect();
        let mut of_relay = of_usage(&relay.usage);
        of_relay["allocations"] = relay.allocations.into();
        json!({
            "totalRooms": counts.rooms.iter().sum::<u64>(),
            "emptyRooms": counts.empty,
            "totalUsersInRooms": counts.members,
            "roomsBreakdown": breakdown,
            "relay": of_relay,
        })
    }

    /// Ends a room.
    pub(super) async fn close(self: &Arc<Self>, id: &RoomId) -> Result<(), Refusal> {
        self.commit(id, &Command::Close { by: By::Operator }, Hub::now(), |_| ()).await
    }

    /// Puts members out; how many.
    pub(super) async fn kick(
        self: &Arc<Self>,
        id: &RoomId,
        target: Target<'_>,
        ban: bool,
    ) -> Result<usize, Refusal> {
        let command = Command::Kick { by: By::Operator, target, ban };
        let (kicked, kept) = self
            .commit(id, &command, Hub::now(), |committed| {
                let kicked = committed.gone.iter().filter(|gone| gone.reason == LeftReason::Kicked).count();
                (kicked, committed.kept)
            })
            .await?;
        if kept { Ok(kicked) } else { Err(Refusal::NotStored) }
    }

    /// What was relayed for a room: for its members, and for those who have left.
    fn of_room(&self, room: &Room, of_members: &[Usage]) -> Usage {
        sum(self.media.departed(room.id.as_str()), of_members)
    }

    fn usage<'a>(&self, members: impl IntoIterator<Item = &'a Member>) -> Vec<Usage> {
        let ids: Vec<String> = members.into_iter().map(|member| member_id(member.peer)).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let mut usage = self.media.usage(&ids);
        usage.resize(ids.len(), Usage::default());
        usage
    }
}

/// Users of that standing.
fn people(room: &Room, standing: Standing) -> Vec<&str> {
    let people = room.details().people.iter();
    people.filter(|(_, person)| person.standing == standing).map(|(user, _)| &**user).collect()
}

fn of_member(member: &Member, usage: &Usage) -> Value {
    let mut it = api::of_member(member);
    it["away"] = member.away.is_some().into();
    it["joinedOrder"] = member.order.into();
    it["rank"] = member.rank.name().into();
    it["relay"] = of_usage(usage);
    it
}

fn of_usage(usage: &Usage) -> Value {
    let flow = |flow: Flow| json!({ "packets": flow.packets, "bytes": flow.bytes });
    json!({ "toPeer": flow(usage.to_peer), "toClient": flow(usage.to_client) })
}

fn sum(first: Usage, others: &[Usage]) -> Usage {
    others.iter().fold(first, |sum, one| {
        let add = |a: Flow, b: Flow| Flow { packets: a.packets + b.packets, bytes: a.bytes + b.bytes };
        Usage { to_peer: add(sum.to_peer, one.to_peer), to_client: add(sum.to_client, one.to_client) }
    })
}
