//! Records as rows, and rows as what they were.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::OptionalExtension;
use rusqlite::Row;
use rusqlite::named_params;
use rusqlite::params;
use serde_json::value::RawValue;

use crate::rooms::Details;
use crate::rooms::Kind;
use crate::rooms::Media;
use crate::rooms::Message;
use crate::rooms::Participant;
use crate::rooms::PeerId;
use crate::rooms::Person;
use crate::rooms::Room;
use crate::rooms::RoomId;
use crate::rooms::Source;
use crate::rooms::Standing;
use crate::rooms::Status;
use crate::store::ledger::Call;
use crate::store::ledger::Record;

type Result<T> = rusqlite::Result<T>;

/// A number as SQLite has them: up to 2⁶³ − 1. Times and counts never come near it.
fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn number(row: &Row<'_>, at: usize) -> Result<u64> {
    row.get::<_, i64>(at).map(|number| u64::try_from(number).unwrap_or(0))
}

/// Writes one record. Returns whether it was a message of a room that is there and had not been said before.
pub(super) fn write(db: &Connection, record: &Record) -> Result<bool> {
    match record {
        Record::Room(room) => write_room(db, room)?,
        Record::RoomGone(room) => {
            db.prepare_cached("DELETE FROM rooms WHERE id = ?1")?.execute([room.as_str()])?;
        }
        Record::Person { room, user, person: Some(person) } => {
            db.prepare_cached(
                "INSERT INTO people (room, user, standing, name, since, inviter, invited_from)
                 SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 WHERE EXISTS (SELECT 1 FROM rooms WHERE id = ?1)
                 ON CONFLICT DO UPDATE SET standing = ?3, name = ?4, since = ?5, inviter = ?6, invited_from = ?7",
            )?
            .execute(params![
                room.as_str(),
                &**user,
                person.standing.name(),
                person.name.as_deref(),
                int(person.since),
                person.by.as_ref().and_then(|by| by.user.as_deref()),
                person.by.as_ref().map(|by| by.customer)
            ])?;
        }
        Record::Person { room, user, person: None } => {
            db.prepare_cached("DELETE FROM people WHERE room = ?1 AND user = ?2")?
                .execute([room.as_str(), user])?;
        }
        Record::Yielded { room, user, since } => {
            db.prepare_cached(
                "DELETE FROM people WHERE room = ?1 AND user = ?2 AND standing = ?3 AND since = ?4",
            )?
            .execute(params![room.as_str(), &**user, Standing::Invited.name(), int(*since)])?;
        }
        Record::Message { room, message } => return write_message(db, room, message),
        Record::Call(call) => write_call(db, call)?,
    }
    Ok(false)
}

fn write_room(db: &Connection, room: &Room) -> Result<()> {
    let details = room.details();
    // One of the same name from earlier, whose end could not be written: nothing of it is this one's.
    db.prepare_cached("DELETE FROM rooms WHERE id = ?1 AND created_at <> ?2")?
        .execute(params![room.id.as_str(), int(room.created_at)])?;
    db.prepare_cached(
        "INSERT INTO rooms (id, kind, name, description, media, creator, private, listed, locked, lobby, auto_delete,
                            password, capacity, created_at, maker)
         VALUES (:id, :kind, :name, :description, :media, :creator, :private, :listed, :locked, :lobby, :auto_delete,
                 :password, :capacity, :created_at, :maker)
         ON CONFLICT DO UPDATE SET kind = :kind, name = :name, description = :description, media = :media,
             creator = :creator, private = :private, listed = :listed, locked = :locked, lobby = :lobby,
             auto_delete = :auto_delete, password = :password, capacity = :capacity, maker = :maker",
    )?
    .execute(named_params! {
        ":id": room.id.as_str(),
        ":kind": room.kind.name(),
        ":name": details.name.as_deref(),
        ":description": details.description.as_deref(),
        ":media": details.media.map(Media::name),
        ":creator": details.creator.as_deref(),
        ":private": details.private,
        ":listed": details.listed,
        ":locked": details.locked,
        ":lobby": details.lobby,
        ":auto_delete": details.auto_delete,
        ":password": details.password.as_deref(),
        ":capacity": int(room.capacity as u64),
        ":created_at": int(room.created_at),
        // A hash: all its bits count.
        ":maker": room.maker.cast_signed(),
    })?;
    Ok(())
}

fn write_message(db: &Connection, room: &RoomId, message: &Message) -> Result<bool> {
    let written = db
        .prepare_cached(
            "INSERT INTO messages (room, id, from_peer, user, name, text, attachments, at, sender, client_id)
             SELECT :room, :id, :from_peer, :user, :name, :text, :attachments, :at, :sender, :client_id
             WHERE EXISTS (SELECT 1 FROM rooms WHERE id = :room)
             ON CONFLICT DO NOTHING",
        )?
        .execute(named_params! {
            ":room": room.as_str(),
            ":id": message.id.to_string(),
            ":from_peer": message.from.to_string(),
            ":user": message.user.as_deref(),
            ":name": message.name.as_deref(),
            ":text": &*message.text,
            ":attachments": message.attachments.as_deref().map(RawValue::get),
            ":at": int(message.at),
            ":sender": &*message.by(),
            ":client_id": message.client_id.as_deref(),
        })?;
    Ok(written > 0)
}

fn write_call(db: &Connection, call: &Call) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO calls (room, kind, name, started_at, ended_at, reason, relayed_bytes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        call.room.as_str(),
        call.kind.name(),
        call.name.as_deref(),
        int(call.started_at),
        int(call.ended_at),
        &*call.reason,
        int(call.relayed_bytes)
    ])?;
    let number = db.last_insert_rowid();
    let mut one = db.prepare_cached(
        "INSERT INTO participants (call, place, peer, user, name, joined_at, left_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for (place, who) in call.participants.iter().enumerate() {
        one.execute(params![
            number,
            int(place as u64),
            who.peer.to_string(),
            who.user.as_deref(),
            who.name.as_deref(),
            int(who.joined_at),
            int(who.left_at)
        ])?;
    }
    Ok(())
}

/// The message that this sender has said in that room under the same id of its own: ours, and when.
pub(super) fn said(db: &Connection, room: &RoomId, message: &Message) -> Result<Option<(PeerId, u64)>> {
    let Some(client_id) = &message.client_id else { return Ok(None) };
    let found = db
        .prepare_cached("SELECT id, at FROM messages WHERE room = ?1 AND sender = ?2 AND client_id = ?3")?
        .query_row([room.as_str(), &message.by(), client_id], |row| Ok((peer(row, 0)?, number(row, 1)?)))
        .optional()?;
    Ok(found)
}

/// An id of ours; one that was edited by hand into something else is nobody's.
fn peer(row: &Row<'_>, at: usize) -> Result<PeerId> {
    let text = row.get_ref(at)?.as_str()?;
    Ok(PeerId::parse(text).unwrap_or(PeerId::new([0; 16])))
}

/// All rooms in the order of their ids, without people. Rows that mean nothing to this version are passed over and counted.
pub(super) fn rooms(db: &Connection) -> Result<(Vec<Room>, u64)> {
    let mut statement = db.prepare(
        "SELECT id, kind, name, description, media, creator, private, listed, locked, lobby, auto_delete, password,
                capacity, created_at, maker
         FROM rooms ORDER BY id",
    )?;
    let mut rows = statement.query([])?;
    let (mut rooms, mut strange) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        match room(row)? {
            Some(room) => rooms.push(room),
            None => strange += 1,
        }
    }
    Ok((rooms, strange))
}

fn room(row: &Row<'_>) -> Result<Option<Room>> {
    let id = RoomId::parse(row.get_ref(0)?.as_str()?);
    let kind = Kind::parse(row.get_ref(1)?.as_str()?);
    let (Some(id), Some(kind)) = (id, kind) else { return Ok(None) };
    let details = Details {
        name: row.get(2)?,
        description: row.get(3)?,
        media: row.get_ref(4)?.as_str_or_null()?.and_then(Media::parse),
        creator: row.get(5)?,
        private: row.get(6)?,
        listed: row.get(7)?,
        locked: row.get(8)?,
        lobby: row.get(9)?,
        auto_delete: row.get(10)?,
        password: row.get(11)?,
        stored: true,
        ..Details::default()
    };
    Ok(Some(Room {
        id,
        kind,
        capacity: usize::try_from(number(row, 12)?).unwrap_or(usize::MAX),
        created_at: number(row, 13)?,
        status: Status::Waiting,
        members: Vec::new(),
        expires: None,
        joined: 0,
        maker: row.get::<_, i64>(14)?.cast_unsigned(),
        details: Some(Box::new(details)),
    }))
}

/// What one room's people are, by user.
pub(super) type People = BTreeMap<Arc<str>, Person>;

/// All people in the order of their rooms' ids.
pub(super) fn people(db: &Connection) -> Result<Vec<(Box<str>, People)>> {
    let mut statement = db.prepare(
        "SELECT room, user, standing, name, since, inviter, invited_from FROM people ORDER BY room, user",
    )?;
    let mut rows = statement.query([])?;
    let mut all: Vec<(Box<str>, People)> = Vec::new();
    while let Some(row) = rows.next()? {
        let Some(standing) = Standing::parse(row.get_ref(2)?.as_str()?) else { continue };
        let by = match row.get::<_, Option<i64>>(6)?.map(u32::try_from) {
            Some(Ok(customer)) => Some(Source { user: row.get(5)?, customer }),
            _ => None,
        };
        let person = Person { standing, name: row.get(3)?, since: number(row, 4)?, by };
        let room = row.get_ref(0)?.as_str()?;
        match all.last_mut() {
            Some((last, people)) if &**last == room => {
                people.insert(row.get(1)?, person);
            }
            _ => all.push((room.into(), People::from([(row.get(1)?, person)]))),
        }
    }
    Ok(all)
}

/// What was said in a room, newest first: of the last `kept` messages, those before the one of that id.
pub(super) fn history(
    db: &Connection,
    room: &RoomId,
    before: Option<PeerId>,
    most: usize,
    kept: usize,
) -> Result<Vec<Message>> {
    if kept == 0 {
        return Ok(Vec::new());
    }
    // What is beyond these is deleted at leisure.
    let first: i64 = db
        .prepare_cached("SELECT seq FROM messages WHERE room = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2")?
        .query_row(params![room.as_str(), int(kept as u64 - 1)], |row| row.get(0))
        .optional()?
        .unwrap_or(i64::MIN);
    let end: i64 = match before {
        None => i64::MAX,
        Some(id) => {
            let found = db
                .prepare_cached("SELECT seq FROM messages WHERE room = ?1 AND id = ?2")?
                .query_row([room.as_str(), &id.to_string()], |row| row.get(0))
                .optional()?;
            let Some(seq) = found else { return Ok(Vec::new()) };
            seq
        }
    };
    let mut statement = db.prepare_cached(
        "SELECT id, from_peer, user, name, text, attachments, at, client_id FROM messages
         WHERE room = ?1 AND seq >= ?2 AND seq < ?3 ORDER BY seq DESC LIMIT ?4",
    )?;
    let rows = statement.query_map(params![room.as_str(), first, end, int(most as u64)], |row| {
        let attachments = row.get_ref(5)?.as_str_or_null()?;
        Ok(Message {
            id: peer(row, 0)?,
            from: peer(row, 1)?,
            user: row.get(2)?,
            name: row.get(3)?,
            text: row.get(4)?,
            attachments: attachments.and_then(|json| RawValue::from_string(json.to_owned()).ok()),
            at: number(row, 6)?,
            client_id: row.get(7)?,
        })
    })?;
    rows.collect()
}

/// Calls that are over, the last first, each with its number.
pub(super) fn calls(
    db: &Connection,
    room: Option<&RoomId>,
    before: Option<u64>,
    most: usize,
) -> Result<Vec<(u64, Call)>> {
    let columns = "SELECT number, room, kind, name, started_at, ended_at, reason, relayed_bytes FROM calls";
    let before = before.map_or(i64::MAX, int);
    let end = "number < ?1 ORDER BY number DESC LIMIT ?2";
    let read = |row: &Row<'_>| {
        let room = RoomId::parse(row.get_ref(1)?.as_str()?);
        let kind = Kind::parse(row.get_ref(2)?.as_str()?);
        let (Some(room), Some(kind)) = (room, kind) else { return Ok(None) };
        let call = Call {
            room,
            kind,
            name: row.get(3)?,
            started_at: number(row, 4)?,
            ended_at: number(row, 5)?,
            reason: row.get(6)?,
            participants: Vec::new(),
            relayed_bytes: number(row, 7)?,
        };
        Ok(Some((number(row, 0)?, call)))
    };
    let found: Result<Vec<Option<(u64, Call)>>> = match room {
        None => db
            .prepare_cached(&format!("{columns} WHERE {end}"))?
            .query_map(params![before, int(most as u64)], read)?
            .collect(),
        Some(room) => db
            .prepare_cached(&format!("{columns} WHERE room = ?3 AND {end}"))?
            .query_map(params![before, int(most as u64), room.as_str()], read)?
            .collect(),
    };
    let mut calls: Vec<_> = found?.into_iter().flatten().collect();
    for (number, call) in &mut calls {
        call.participants = participants(db, *number)?;
    }
    Ok(calls)
}

fn participants(db: &Connection, call: u64) -> Result<Vec<Participant>> {
    let mut statement = db.prepare_cached(
        "SELECT peer, user, name, joined_at, left_at FROM participants WHERE call = ?1 ORDER BY place",
    )?;
    let rows = statement.query_map([int(call)], |row| {
        Ok(Participant {
            peer: peer(row, 0)?,
            user: row.get(1)?,
            name: row.get(2)?,
            joined_at: number(row, 3)?,
            left_at: number(row, 4)?,
        })
    })?;
    rows.collect()
}
