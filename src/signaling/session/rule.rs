//! What members ask of others, and of the room: invitations, locks, who is put out, who is let in.

use std::sync::Arc;

use super::super::decode::Arguments;
use super::super::dialect::Facts;
use super::super::dialect::Pieces;
use super::super::directory;
use super::super::error::Code;
use super::super::error::Failure;
use super::super::identity::Identity;
use super::Asked;
use super::LABEL;
use crate::rooms::By;
use crate::rooms::Command;
use crate::rooms::PeerId;
use crate::rooms::Refusal;
use crate::rooms::RoomId;
use crate::rooms::Target;
use crate::store::place;

/// Who asks.
enum Asker {
    Seat(PeerId),
    User(Arc<str>),
}

/// Whose word a command stands on.
struct Power {
    asker: Asker,
    /// A token says that it may do whatever the operator may.
    admin: bool,
}

impl Power {
    fn by(&self) -> By<'_> {
        match &self.asker {
            _ if self.admin => By::Operator,
            Asker::Seat(peer) => By::Peer(*peer),
            Asker::User(user) => By::User(user),
        }
    }
}

impl Asked<'_> {
    /// The room meant, and what this connection is there: a member, or just a user.
    fn power(&self, it: &Arguments<'_>) -> Result<(RoomId, Power), Failure> {
        let identity = self.connection.identity();
        let admin = identity.as_ref().is_some_and(|identity| identity.admin);
        if it.room.is_none() {
            let seat = self.seat(it)?;
            return Ok((seat.room, Power { asker: Asker::Seat(seat.peer), admin }));
        }
        let room = Asked::room(it)?;
        self.allowed(&room)?;
        if let Some(seat) = self.connection.seat_in(room.as_str()) {
            return Ok((room, Power { asker: Asker::Seat(seat.peer), admin }));
        }
        let user = identity.and_then(|identity: Arc<Identity>| identity.user.clone());
        let user = user.ok_or_else(|| Failure::new(Code::NotAMember, "you are not in this room"))?;
        Ok((room, Power { asker: Asker::User(user), admin }))
    }

    pub(super) async fn delete(&self, it: &Arguments<'_>) -> Result<(), Failure> {
        let (room, power) = self.power(it)?;
        self.commit(&room, &Command::Close { by: power.by() }, |_| self.done()).await
    }

    pub(super) async fn kick(&self, ban: bool, it: &Arguments<'_>) -> Result<(), Failure> {
        let (room, power) = self.power(it)?;
        let target = target(it)?;
        let command = Command::Kick { by: power.by(), target, ban };
        let kept = self.commit(&room, &command, |committed| {
            if committed.kept {
                self.done();
            }
            committed.kept
        });
        // Put out, but who knows for how long.
        if kept.await? { Ok(()) } else { Err(Refusal::NotStored.into()) }
    }

    pub(super) async fn pardon(&self, it: &Arguments<'_>) -> Result<(), Failure> {
        let (room, power) = self.power(it)?;
        let user = user(it)?;
        self.commit(&room, &Command::Pardon { by: power.by(), user }, |_| self.done()).await
    }

    pub(super) async fn lock(&self, it: &Arguments<'_>) -> Result<(), Failure> {
        let (room, power) = self.power(it)?;
        // Without a word it is the room that is locked.
        let locked = if it.lobby.is_none() { Some(it.locked.unwrap_or(true)) } else { it.locked };
        let command = Command::Lock { by: power.by(), locked, lobby: it.lobby };
        self.commit(&room, &command, |_| self.done()).await
    }

    pub(super) async fn admit(&self, it: &Arguments<'_>) -> Result<(), Failure> {
        let (room, power) = self.power(it)?;
        let peer = it.peer.as_deref().or(it.to.as_deref()).and_then(PeerId::parse);
        let peer = peer.ok_or_else(|| Failure::bad("peerId is that of someone in the lobby"))?;
        let command = Command::Admit { by: power.by(), peer, admit: it.admit.unwrap_or(true) };
        self.commit(&room, &command, |_| self.done()).await
    }

    pub(super) async fn promote(&self, it: &Arguments<'_>) -> Result<(), Failure> {
        let (room, power) = self.power(it)?;
        let target = target(it)?;
        let command = Command::Promote { by: power.by(), target, moderator: it.moderator.unwrap_or(true) };
        self.commit(&room, &command, |_| self.done()).await
    }

    pub(super) async fn invite(&self, it: &Arguments<'_>) -> Result<(), Failure> {
        let (room, power) = self.power(it)?;
        let user = user(it)?;
        let mut by = (None, None);
        let facts = self
            .commit(
                &room,
                &Command::Invite { by: power.by(), user, customer: self.customer() },
                |committed| {
                    self.done();
                    // Who is told once is not told again.
                    let room = committed.room.filter(|_| committed.changed)?;
                    by = match &power.asker {
                        Asker::Seat(peer) => {
                            room.member(*peer).map_or((None, None), |it| (it.user.clone(), it.name.clone()))
                        }
                        Asker::User(user) => (Some(Arc::clone(user)), None),
                    };
                    Some(Facts::of(room))
                },
            )
            .await?;
        if let Some(facts) = facts {
            self.hub.invited(user, &facts, by.0.as_deref(), by.1.as_deref());
        }
        Ok(())
    }

    /// A page of the directory; who has asked for one hears of its changes from then on.
    pub(super) async fn list(&self, it: &Arguments<'_>) -> Result<(), Failure> {
        let after = match it.from.as_deref() {
            None => None,
            Some(text) => Some(place(text).ok_or_else(|| Failure::bad("after is no cursor of this list"))?),
        };
        let most = it.limit.and_then(|most| usize::try_from(most).ok()).unwrap_or(directory::LONGEST_PAGE);
        self.hub.watchers.watch(self.connection);
        if it.search.as_deref().is_some_and(|search| !search.is_empty()) {
            let counted = self.hub.bank.search(self.connection.accounts(), self.now.at);
            counted.map_err(|wait| Failure::too_many(wait, "more searches than allowed"))?;
        }
        let page = match it.search.as_deref().filter(|search| !search.is_empty()) {
            None => self.hub.page(after.as_ref(), most),
            Some(search) => self.hub.search(after, most, search).await?,
        };
        self.reads(page.length())?;
        let pieces = Pieces { rooms: Some(&page.rooms), next: page.next.as_deref(), ..Pieces::default() };
        self.say(self.dialect.acks.list, pieces);
        Ok(())
    }
}

/// A peer, or all of a user's.
fn target<'a>(it: &'a Arguments<'_>) -> Result<Target<'a>, Failure> {
    let named = it.peer.as_deref().or(it.to.as_deref());
    match (named, it.user.as_deref()) {
        (Some(name), None) => Ok(PeerId::parse(name).map_or(Target::User(name), Target::Peer)),
        (None, Some(user)) if !user.is_empty() && user.len() <= LABEL => Ok(Target::User(user)),
        _ => Err(Failure::bad("one of peerId and userId, please")),
    }
}

fn user<'a>(it: &'a Arguments<'_>) -> Result<&'a str, Failure> {
    match it.user.as_deref().or(it.to.as_deref()) {
        Some(user) if !user.is_empty() && user.len() <= LABEL => Ok(user),
        Some(_) => Err(Failure::bad(format!("a userId is 1 to {LABEL} bytes"))),
        None => Err(Failure::bad("userId is missing")),
    }
}
