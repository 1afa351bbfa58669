//! What of a decision lasts, and whether anybody has to wait until it is kept.

use std::sync::Arc;

use super::index::Held;
use super::ledger::Call;
use super::ledger::Record;
use crate::rooms::Change;
use crate::rooms::ClosedReason;
use crate::rooms::Command;
use crate::rooms::Details;
use crate::rooms::Event;
use crate::rooms::Log;
use crate::rooms::Notice;
use crate::rooms::Room;
use crate::rooms::RoomId;

/// What of these changes to a room is to be written; `held` is what was taken for them, and from whom.
pub(super) fn of(id: &RoomId, room: Option<&Room>, changes: &[Change], held: &Held) -> Vec<Record> {
    let mut records = Vec::new();
    let stored = room.is_some_and(Room::is_stored);
    let mut after = None;
    for change in changes {
        match change {
            Change::Create(new) if new.is_stored() => {
                records.push(Record::Room(new.clone()));
                let people = new.details().people.iter();
                records.extend(people.map(|(user, person)| Record::Person {
                    room: id.clone(),
                    user: user.clone(),
                    person: Some(person.clone()),
                }));
            }
            _ if !stored => {}
            Change::Delete => records.push(Record::RoomGone(id.clone())),
            Change::Person { user, person } => {
                records.push(Record::Person { room: id.clone(), user: user.clone(), person: person.clone() })
            }
            Change::Said(message) => {
                records.push(Record::Message { room: id.clone(), message: Arc::clone(message) });
            }
            Change::Creator(_) | Change::Lock { .. } => {
                let after = after.get_or_insert_with(|| room.map(row));
                Room::apply(after, change.clone(), 0);
            }
            _ => {}
        }
    }
    if let Some(Some(room)) = after
        && !records.iter().any(|record| matches!(record, Record::RoomGone(_)))
    {
        records.insert(0, Record::Room(Box::new(room)));
    }
    if let Held::Invitation(_, Some(old)) = held {
        let (room, user, since) = (old.room.clone(), old.user.clone(), old.since());
        records.push(Record::Yielded { room, user, since });
    }
    records
}

/// A room without what is written elsewhere, or not at all.
fn row(room: &Room) -> Room {
    let details = room.details();
    let kept = Details {
        name: details.name.clone(),
        description: details.description.clone(),
        creator: details.creator.clone(),
        password: details.password.clone(),
        media: details.media,
        private: details.private,
        listed: details.listed,
        locked: details.locked,
        lobby: details.lobby,
        auto_delete: details.auto_delete,
        stored: details.stored,
        ..Details::default()
    };
    Room { id: room.id.clone(), members: Vec::new(), details: Some(Box::new(kept)), ..*room }
}

/// What is to be done when the records cannot be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Need {
    /// Nothing: the command fails.
    Must,
    /// It is done nevertheless, and whoever asked is told.
    Should,
    /// Nobody waits for it.
    May,
}

/// How much a command needs its records.
pub(super) fn need(command: &Command<'_>) -> Need {
    match command {
        // Whoever is to go goes.
        Command::Leave { .. } | Command::Kick { .. } => Need::Should,
        Command::Tick | Command::Lost { .. } | Command::Resume { .. } => Need::May,
        _ => Need::Must,
    }
}

/// A call that is over: `log` as it is after everybody's leaving.
pub(super) fn call(room: &Room, log: &Log, notices: &[Notice<'_>], ended_at: u64) -> Call {
    let reason = notices.iter().find_map(|notice| match notice.event {
        Event::RoomClosed { reason: ClosedReason::Kicked } => None,
        Event::RoomClosed { reason } => Some(reason.name()),
        Event::RoomTimeout => Some("timeout"),
        _ => None,
    });
    Call {
        room: room.id.clone(),
        kind: room.kind,
        name: room.details().name.clone(),
        started_at: log.started_at,
        ended_at,
        reason: reason.unwrap_or("empty").into(),
        participants: log.left.clone(),
        relayed_bytes: 0,
    }
}
