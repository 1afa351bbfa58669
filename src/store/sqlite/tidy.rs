//! What is too old, or too many, goes: in small steps, between the writes that somebody waits for.

use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use rusqlite::Connection;
use rusqlite::TransactionBehavior;
use rusqlite::params;

use crate::rooms::RoomId;

use crate::store::ledger::Keep;

/// Rows that go in one step.
const ROWS: usize = 500;
/// Rooms that are looked at in one step.
const ROOMS: usize = 100;
/// How often all is gone through.
const EVERY: Duration = Duration::from_secs(3600);
/// Between two steps.
const PAUSE: Duration = Duration::from_millis(5);
/// One message in this many looks whether its room has too many.
const CHANCE: u32 = 16;

/// Where the way through has come to.
#[derive(Debug)]
enum At {
    Messages,
    OldCalls,
    ManyCalls,
    /// After the room of this id.
    Rooms(String),
}

/// Deletes what is not to be kept any longer.
#[derive(Debug)]
pub(super) struct Tidy {
    keep: Keep,
    at: At,
    next: Instant,
    began: (Instant, Duration),
    chance: u32,
    calls: u64,
}

impl Tidy {
    pub(super) fn new(keep: Keep) -> Tidy {
        let now = Instant::now();
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Tidy {
            keep,
            at: At::Messages,
            next: now,
            began: (now, unix),
            chance: unix.subsec_nanos() | 1,
            calls: 0,
        }
    }

    /// How long until there is something to do.
    pub(super) fn wait(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }

    /// A message was written: its room may have too many now. Some rooms have a few more than they should for a while; who
    /// reads them does not see those.
    pub(super) fn said(&mut self, db: &Connection, room: &RoomId) -> rusqlite::Result<()> {
        // Xorshift: which message it is must not be the sender's choice, and need not be more than that.
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 17;
        self.chance ^= self.chance << 5;
        if self.chance.is_multiple_of(CHANCE) { self.shorten(db, room.as_str()) } else { Ok(()) }
    }

    /// It cannot be done: not before the next hour.
    pub(super) fn give_up(&mut self) {
        self.next = Instant::now() + EVERY;
    }

    /// A call was written.
    pub(super) fn called(&mut self) {
        self.calls += 1;
        if self.calls > self.keep.calls / 8 + 100 {
            self.next = Instant::now();
        }
    }

    fn shorten(&self, db: &Connection, room: &str) -> rusqlite::Result<()> {
        db.prepare_cached(
            "DELETE FROM messages WHERE room = ?1
             AND seq <= (SELECT seq FROM messages WHERE room = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2)",
        )?
        .execute(params![room, count(self.keep.history as u64)])?;
        Ok(())
    }

    /// Does the next step, if it is time for one.
    pub(super) fn step(&mut self, db: &mut Connection) -> rusqlite::Result<()> {
        if !self.wait().is_zero() {
            return Ok(());
        }
        // Set first: a step that fails is not tried again at once.
        self.next = Instant::now() + PAUSE;
        let more = match &self.at {
            At::Messages => self.older(
                db,
                self.keep.history_ttl,
                "DELETE FROM messages WHERE seq IN (SELECT seq FROM messages WHERE at < ?1 ORDER BY at LIMIT ?2)",
            )?,
            At::OldCalls => self.older(
                db,
                self.keep.calls_ttl,
                "DELETE FROM calls WHERE number IN (SELECT number FROM calls WHERE ended_at < ?1 ORDER BY ended_at LIMIT ?2)",
            )?,
            At::ManyCalls => {
                let gone = db
                    .prepare_cached(
                        "DELETE FROM calls WHERE number IN (SELECT number FROM calls ORDER BY number LIMIT ?2)
                         AND number <= (SELECT number FROM calls ORDER BY number DESC LIMIT 1 OFFSET ?1)",
                    )?
                    .execute(params![count(self.keep.calls), count(ROWS as u64)])?;
                gone == ROWS
            }
            At::Rooms(after) => {
                let last = self.rooms(db, after)?;
                let more = last.is_some();
                if let Some(last) = last {
                    self.at = At::Rooms(last);
                }
                more
            }
        };
        if !more {
            self.at = match self.at {
                At::Messages => At::OldCalls,
                At::OldCalls => At::ManyCalls,
                At::ManyCalls => At::Rooms(String::new()),
                At::Rooms(_) => {
                    self.calls = 0;
                    self.next = Instant::now() + EVERY;
                    At::Messages
                }
            };
        }
        Ok(())
    }

    fn older(&self, db: &Connection, ttl: Duration, sql: &str) -> rusqlite::Result<bool> {
        if ttl.is_zero() {
            return Ok(false);
        }
        // Of the clock of the start: one that jumps ahead must not take everything along.
        let (at, unix) = self.began;
        let limit = (unix + at.elapsed()).saturating_sub(ttl).as_millis();
        let gone = db
            .prepare_cached(sql)?
            .execute(params![i64::try_from(limit).unwrap_or(0), count(ROWS as u64)])?;
        Ok(gone == ROWS)
    }

    /// Shortens the next rooms; returns the last of them.
    fn rooms(&self, db: &mut Connection, after: &str) -> rusqlite::Result<Option<String>> {
        let step = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let ids: Vec<String> = step
            .prepare_cached("SELECT id FROM rooms WHERE id > ?1 ORDER BY id LIMIT ?2")?
            .query_map(params![after, count(ROOMS as u64)], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        for id in &ids {
            self.shorten(&step, id)?;
        }
        step.commit()?;
        Ok(ids.into_iter().last())
    }
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
