//! What members say to each other: signals, messages; and what was said.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::super::account::written;
use super::super::candidates;
use super::super::decode::Arguments;
use super::super::dialect::Pieces;
use super::super::dialect::Seen;
use super::super::error::Code;
use super::super::error::Failure;
use super::super::hub::Tried;
use super::super::hub::member_id;
use super::Asked;
use super::LABEL;
use super::label;
use super::random;
use crate::rooms::Answer;
use crate::rooms::Command;
use crate::rooms::Event;
use crate::rooms::Message;
use crate::rooms::PeerId;
use crate::rooms::Rank;
use crate::rooms::RoomId;
use crate::rooms::Standing;

/// The longest thing to say, in bytes.
const TEXT: usize = 16 << 10;
/// The longest list of attachments, in bytes of JSON, and how many there may be.
const ATTACHMENTS: usize = 8 << 10;
const MOST_ATTACHMENTS: usize = 16;
/// How many messages a page of history has, and may have.
const PAGE: u64 = 50;
const LONGEST_PAGE: u64 = 200;
/// How long a page may be, in bytes, if it has more than one message: a transport's queue counts packets and not bytes.
pub(super) const PAGE_BYTES: usize = 128 << 10;
/// What a message takes beside what people write: keys, our ids, the time.
const MESSAGE: usize = 256;

impl Asked<'_> {
    /// Passes something on. It never waits: it changes nothing.
    pub(super) fn signal(&self, kind: Option<&str>, it: &Arguments<'_>) -> Result<(), Failure> {
        let seat = self.seat(it)?;
        let kind = match (kind, it.kind.as_deref()) {
            (Some(kind), _) => kind,
            (None, Some(kind)) if !kind.is_empty() && kind.len() <= LABEL => kind,
            (None, _) => return Err(Failure::bad("kind is missing or too long")),
        };
        // The end of candidates is said with none.
        let data = match it.data {
            Some(data) => data,
            None if kind == "candidate" => RawValue::NULL,
            None => {
                return Err(Failure::bad(
                    "there is nothing to pass on: sdp, offer, answer, candidate, action or data is missing",
                ));
            }
        };
        let command = Command::Signal { from: seat.peer, to: it.to.as_deref(), kind, data };
        let addresses = candidates::addresses(data.get());
        let done = self.hub.try_commit(&seat.room, &command, self.now, None, |committed| {
            if !addresses.is_empty() {
                self.hub.media.signaled(&member_id(seat.peer), &addresses);
            }
            self.done();
            if kind == "action" && self.dialect.echoes {
                let event = Event::Signal { from: seat.peer, kind, data };
                self.hub.seats.with(seat.peer, |mine| {
                    let seen = Seen::default();
                    let room = (committed.room, &seen);
                    mine.tell(seat.peer, &event, room, self.now.at, &self.hub.counters);
                });
            }
        });
        match done {
            Tried::Done(done) => Ok(done?),
            Tried::Wait(_) => Err(Failure::new(Code::Internal, "the room is not ready")),
        }
    }

    pub(super) async fn chat(&self, it: &Arguments<'_>) -> Result<(), Failure> {
        let seat = self.seat(it)?;
        let text = it.text.as_deref().unwrap_or_default();
        let attachments = it.attachments.map(attached).transpose()?.flatten();
        if text.is_empty() && attachments.is_none() {
            return Err(Failure::bad("there is nothing said: text (message, msg) is missing or empty"));
        }
        if text.len() > TEXT {
            return Err(Failure::new(Code::TooLarge, format!("longer than {TEXT} bytes")));
        }
        let (mut user, mut name) = (None, None);
        self.hub.store.look(&seat.room, &mut |room| {
            if let Some(member) = room.and_then(|room| room.member(seat.peer)) {
                (user, name) = (member.user.clone(), member.name.clone());
            }
        });
        let message = Arc::new(Message {
            id: PeerId::new(random()),
            from: seat.peer,
            user,
            name,
            text: text.into(),
            attachments,
            at: self.now.unix_ms,
            client_id: label("clientId", it.client.as_ref())?,
        });
        self.commit(&seat.room, &Command::Chat(&message), |committed| {
            let before = match committed.answer {
                Answer::Said { id, at } => Some(Message { id, at, ..Message::clone(&message) }),
                _ => None,
            };
            let said = before.as_ref().unwrap_or(&message);
            let pieces = Pieces { room_id: Some(&seat.room), message: Some(said), ..Pieces::default() };
            self.say(self.dialect.acks.said, pieces);
        })
        .await
    }

    pub(super) async fn history(&self, it: &Arguments<'_>) -> Result<(), Failure> {
        let room = Asked::room(it)?;
        self.allowed(&room)?;
        self.may_read(&room)?;
        let before = match it.from.as_deref() {
            None => None,
            Some(id) => Some(PeerId::parse(id).ok_or_else(|| Failure::bad("before is a message's id"))?),
        };
        let most = usize::try_from(it.limit.unwrap_or(PAGE).clamp(1, LONGEST_PAGE)).unwrap_or(1);
        self.reads(PAGE_BYTES)?;
        let found = self.messages(&room, before, most).await;
        self.read_less(found.as_ref().map_or(&[], |(messages, _)| messages));
        let (messages, more) = found?;
        let oldest = messages.last().filter(|_| more).map(|it| it.id.to_string());
        let pieces = Pieces {
            room_id: Some(&room),
            messages: Some(&messages),
            next: oldest.as_deref(),
            ..Pieces::default()
        };
        self.say(self.dialect.acks.history, pieces);
        Ok(())
    }

    /// What was said in a room, newest first: at most so many, and as much as goes on a page; and whether there is more.
    pub(super) async fn messages(
        &self,
        room: &RoomId,
        before: Option<PeerId>,
        most: usize,
    ) -> Result<(Vec<Message>, bool), Failure> {
        // One more than asked for: whether there is more is to be said.
        let mut found = self.hub.store.history(room, before, most + 1).await.map_err(|fault| {
            tracing::warn!(%fault, "a history cannot be read");
            Failure::new(Code::NotStored, "the history cannot be read just now")
        })?;
        let mut bytes = 0;
        let fits = |message: &&Message| {
            bytes += length(message);
            bytes <= PAGE_BYTES
        };
        let kept = found.iter().take(most).take_while(fits).count().max(1);
        let more = found.len() > kept;
        found.truncate(kept);
        Ok((found, more))
    }

    /// Counts bytes that it asks to be told, before they are looked up: of messages, a page that is full.
    ///
    /// # Errors
    /// It has been told as much as it may be.
    pub(super) fn reads(&self, bytes: usize) -> Result<(), Failure> {
        let counted = self.hub.bank.read(self.connection.accounts(), bytes, self.now.at);
        counted.map_err(|wait| Failure::too_many(wait, "more is read than allowed"))
    }

    /// These messages are all that the page has that was counted: the rest is given back.
    pub(super) fn read_less(&self, messages: &[Message]) {
        let there: usize = messages.iter().map(length).sum();
        self.hub.bank.unread(self.connection.accounts(), PAGE_BYTES.saturating_sub(there));
    }

    /// Members may read, there or not.
    fn may_read(&self, id: &RoomId) -> Result<(), Failure> {
        let seat = self.connection.seat_in(id.as_str());
        let identity = self.connection.identity();
        let user = identity.as_ref().and_then(|identity| identity.user.as_deref());
        let mut found = false;
        let mut may = identity.as_ref().is_some_and(|identity| identity.rank >= Rank::Moderator);
        self.hub.store.look(id, &mut |room| {
            let Some(room) = room else { return };
            found = true;
            may |= seat.as_ref().is_some_and(|seat| room.member(seat.peer).is_some());
            may |= user.and_then(|user| room.details().standing(user)).is_some_and(Standing::belongs);
            may |= user.is_some() && room.details().creator.as_deref() == user;
        });
        match (found, may) {
            (true, true) => Ok(()),
            (true, false) => Err(Failure::new(Code::NotAMember, "you are not in this room")),
            (false, _) => Err(Failure::new(Code::NoSuchRoom, "there is no such room")),
        }
    }

    pub(super) async fn refresh_ice(&self, it: &Arguments<'_>) -> Result<(), Failure> {
        let seat = self.seat(it)?;
        self.commit(&seat.room, &Command::Ask { peer: seat.peer }, |_| {
            let ice = self.mint(seat.peer);
            let renew = self.now.at + self.hub.ice.renew_after(seat.peer.spread());
            self.hub.seats.renew_at(seat.peer, renew);
            self.say(self.dialect.acks.ice, Pieces { ice: Some(&ice), ..Pieces::default() });
        })
        .await
    }
}

/// About how long a message is as it is told, in bytes.
fn length(message: &Message) -> usize {
    let labels = [&message.user, &message.name, &message.client_id].into_iter().flatten();
    let attached = message.attachments.as_ref().map_or(0, |it| it.get().len());
    MESSAGE + labels.map(|label| written(label)).sum::<usize>() + written(&message.text) + attached
}

/// What came along with a message: a short array, or nothing.
fn attached(attachments: &RawValue) -> Result<Option<Box<RawValue>>, Failure> {
    let text = attachments.get();
    if text.len() > ATTACHMENTS {
        return Err(Failure::new(Code::TooLarge, format!("attachments are longer than {ATTACHMENTS} bytes")));
    }
    if text == "null" {
        return Ok(None);
    }
    match serde_json::from_str::<Vec<&RawValue>>(text) {
        Ok(list) if list.is_empty() => Ok(None),
        Ok(list) if list.len() <= MOST_ATTACHMENTS => Ok(Some(attachments.to_owned())),
        Ok(_) => Err(Failure::bad(format!("no more than {MOST_ATTACHMENTS} attachments"))),
        Err(_) => Err(Failure::bad("attachments is an array")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_lines_of_a_chat_as_one_may_ask_for_go_on_a_page() {
        let line = Message {
            id: PeerId::new([1; 16]),
            from: PeerId::new([2; 16]),
            user: Some("u".repeat(36).into()),
            name: Some("Ada Lovelace".into()),
            text: "tea? ".repeat(50).into(),
            attachments: None,
            at: 1_800_000_000_000,
            client_id: Some("c".repeat(36).into()),
        };
        let most = usize::try_from(LONGEST_PAGE).unwrap();
        assert!(most * length(&line) <= PAGE_BYTES, "{}", length(&line));
    }
}
