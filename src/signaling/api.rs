//! Rooms for those who are not in them: the operator and back ends, over HTTP.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::Value;
use serde_json::json;
use uuid::Uuid;

use super::Signaling;
use super::dialect::Facts;
use super::directory;
use super::hub::Hub;
use super::moment::Moment;
use crate::rooms::By;
use crate::rooms::Command;
use crate::rooms::Kind;
use crate::rooms::Member;
use crate::rooms::Message;
use crate::rooms::Options;
use crate::rooms::PeerId;
use crate::rooms::Refusal;
use crate::rooms::Room;
use crate::rooms::RoomId;
use crate::rooms::Who;
use crate::store::Call;
use crate::store::Fault;
use crate::store::Place;
use crate::store::cursor;

/// The most members that are named in an outline.
const NAMED: usize = 50;

/// Some of a longer list, each as JSON, and what the next ones are asked for with.
pub type Listed = (Vec<Value>, Option<String>);

/// A room to make for a back end.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its id; none: one is made up.
    pub id: Option<RoomId>,
    /// What for.
    pub kind: Kind,
    /// How, but for its password.
    pub options: Options,
    /// Its password, in plain.
    pub password: Option<String>,
    /// Whose it is to be.
    pub creator: Option<Arc<str>>,
}

/// What everybody who knows its name may see of a room.
pub(super) fn outline(room: &Room) -> Value {
    let details = room.details();
    // Who is in a private room is nobody else's business.
    let named = if details.private { 0 } else { NAMED };
    let mut outline = json!({
        "id": room.id.as_str(),
        "kind": room.kind.name(),
        "status": room.status.name(),
        "createdAt": Moment(room.created_at).to_string(),
        "participants": room.members.iter().take(named).map(|it| it.peer.to_string()).collect::<Vec<_>>(),
        "memberCount": room.members.len(),
        "capacity": room.capacity,
        "hasPassword": details.password.is_some(),
        "private": details.private,
        "locked": details.locked,
        "lobby": details.lobby,
        "persistent": details.stored,
    });
    for (key, text) in [("name", &details.name), ("description", &details.description)] {
        if let Some(text) = text {
            outline[key] = Value::from(&**text);
        }
    }
    if let Some(media) = details.media {
        outline["media"] = media.name().into();
    }
    outline
}

/// Who somebody is.
pub(super) fn person(peer: PeerId, user: Option<&Arc<str>>, name: Option<&Arc<str>>) -> Value {
    let mut it = json!({ "peerId": peer.to_string() });
    for (key, label) in [("userId", user), ("name", name)] {
        if let Some(label) = label {
            it[key] = Value::from(&**label);
        }
    }
    it
}

pub(super) fn of_member(member: &Member) -> Value {
    person(member.peer, member.user.as_ref(), member.name.as_ref())
}

/// A message, as the log has it.
pub(super) fn of_message(room: &RoomId, message: &Message) -> Value {
    let mut it = json!({
        "id": message.id.to_string(),
        "roomId": room.as_str(),
        "from": message.from.to_string(),
        "text": &*message.text,
        "createdAt": Moment(message.at).to_string(),
    });
    for (key, label) in [("userId", &message.user), ("name", &message.name)] {
        if let Some(label) = label {
            it[key] = Value::from(&**label);
        }
    }
    if let Some(attachments) = &message.attachments {
        it["attachments"] = serde_json::from_str(attachments.get()).unwrap_or_default();
    }
    it
}

/// A call that is over.
pub(super) fn of_call(call: &Call) -> Value {
    let participants = call.participants.iter().map(|who| {
        let mut it = person(who.peer, who.user.as_ref(), who.name.as_ref());
        it["joinedAt"] = Moment(who.joined_at).to_string().into();
        it["leftAt"] = Moment(who.left_at).to_string().into();
        it
    });
    let mut it = json!({
        "roomId": call.room.as_str(),
        "kind": call.kind.name(),
        "startedAt": Moment(call.started_at).to_string(),
        "endedAt": Moment(call.ended_at).to_string(),
        "seconds": call.ended_at.saturating_sub(call.started_at) / 1000,
        "reason": &*call.reason,
        "relayedBytes": call.relayed_bytes,
        "participants": participants.collect::<Vec<_>>(),
    });
    if let Some(name) = &call.name {
        it["name"] = Value::from(&**name);
    }
    it
}

/// A page of what was asked for with one more, and whether there is more.
fn ends<T>(mut found: Vec<T>, most: usize) -> (Vec<T>, bool) {
    let more = found.len() > most;
    found.truncate(most);
    (found, more)
}

fn unreadable(fault: &Fault) -> Refusal {
    tracing::warn!(%fault, "what lasts cannot be read");
    Refusal::NotStored
}

impl Hub {
    async fn create(self: &Arc<Self>, plan: Plan) -> Result<RoomId, Refusal> {
        let id = match plan.id {
            Some(id) => id,
            None => RoomId::parse(&Uuid::new_v4().to_string()).ok_or(Refusal::Unavailable)?,
        };
        let password = match plan.password {
            None => None,
            Some(password) => Some(self.passwords.hash(&password).await.map_err(|_| Refusal::Unavailable)?),
        };
        let options = Options { password, ..plan.options };
        // Nobody's, if the back end names nobody: else it would be its who comes first, however private it is.
        let creator = Who { user: Some(plan.creator.unwrap_or_default()), ..Who::default() };
        let command = Command::Create { kind: plan.kind, options, creator, maker: 0 };
        self.commit(&id, &command, Hub::now(), |_| ()).await?;
        Ok(id)
    }

    async fn lock(
        self: &Arc<Self>,
        id: &RoomId,
        locked: Option<bool>,
        lobby: Option<bool>,
    ) -> Result<(bool, bool), Refusal> {
        let command = Command::Lock { by: By::Operator, locked, lobby };
        let now = self.commit(id, &command, Hub::now(), |committed| {
            committed.room.map(|room| (room.details().locked, room.details().lobby))
        });
        now.await?.ok_or(Refusal::NoSuchRoom)
    }

    async fn invite(self: &Arc<Self>, id: &RoomId, user: &str) -> Result<(), Refusal> {
        let command = Command::Invite { by: By::Operator, user, customer: 0 };
        let facts = self.commit(id, &command, Hub::now(), |committed| committed.room.map(Facts::of));
        if let Some(facts) = facts.await? {
            self.invited(user, &facts, None, None);
        }
        Ok(())
    }
}

/// Carries a thing out to its end, whether whoever asked for it waits so long or not: the room waits for it.
async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::spawn(work).await.unwrap_or(Err(Refusal::Unavailable))
}

impl Signaling {
    /// Some rooms after that place, newest first, with this text in their name, description or id: those in the directory,
    /// or all. May take some milliseconds.
    #[must_use]
    pub fn list(&self, all: bool, after: Option<&Place>, most: usize, text: Option<&str>) -> Listed {
        let mut rooms = Vec::new();
        let next =
            directory::walk(&*self.hub.store, all, after, most, text, |room| rooms.push(outline(room)));
        (rooms, next.as_ref().map(cursor))
    }

    /// Makes a room that is kept; its id.
    ///
    /// # Errors
    /// Why not.
    pub async fn create(&self, plan: Plan) -> Result<RoomId, Refusal> {
        let hub = Arc::clone(&self.hub);
        if hub.draining.load(Ordering::Acquire) {
            return Err(Refusal::Unavailable);
        }
        to_its_end(async move { hub.create(plan).await }).await
    }

    /// Locks or unlocks a room and its lobby; `None`: as before. What both are now.
    ///
    /// # Errors
    /// Why not.
    pub async fn lock(
        &self,
        id: &RoomId,
        locked: Option<bool>,
        lobby: Option<bool>,
    ) -> Result<(bool, bool), Refusal> {
        let (hub, id) = (Arc::clone(&self.hub), id.clone());
        to_its_end(async move { hub.lock(&id, locked, lobby).await }).await
    }

    /// Lets a user come into a room, and tells it so if it is there.
    ///
    /// # Errors
    /// Why not.
    pub async fn invite(&self, id: &RoomId, user: &str) -> Result<(), Refusal> {
        let (hub, id, user) = (Arc::clone(&self.hub), id.clone(), user.to_owned());
        to_its_end(async move { hub.invite(&id, &user).await }).await
    }

    /// What was said in a room that is there, newest first, before that message.
    ///
    /// # Errors
    /// Why it cannot be said.
    pub async fn messages(
        &self,
        id: &RoomId,
        before: Option<PeerId>,
        most: usize,
    ) -> Result<Listed, Refusal> {
        let mut there = false;
        self.hub.store.look(id, &mut |room| there = room.is_some());
        if !there {
            return Err(Refusal::NoSuchRoom);
        }
        let found = self.hub.store.history(id, before, most + 1).await;
        let (found, more) = ends(found.map_err(|fault| unreadable(&fault))?, most);
        let next = found.last().filter(|_| more).map(|message| message.id.to_string());
        Ok((found.iter().map(|message| of_message(id, message)).collect(), next))
    }

    /// Calls that are over, the last first, before that number; of this room, or of all.
    ///
    /// # Errors
    /// Why it cannot be said.
    pub async fn calls(
        &self,
        room: Option<&RoomId>,
        before: Option<u64>,
        most: usize,
    ) -> Result<Listed, Refusal> {
        let found = self.hub.store.calls(room, before, most + 1).await;
        let (found, more) = ends(found.map_err(|fault| unreadable(&fault))?, most);
        let next = found.last().filter(|_| more).map(|(number, _)| number.to_string());
        let calls = found.iter().map(|(number, call)| {
            let mut it = of_call(call);
            it["number"] = (*number).into();
            it
        });
        Ok((calls.collect(), next))
    }
}
