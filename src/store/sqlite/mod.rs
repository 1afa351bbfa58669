//! A ledger in one SQLite file. One thread writes (`writer`), one reads (`reader`), and other programs may read meanwhile.
//!
//! What is acknowledged is on the disk: the log is synced once a batch. When the file cannot be written to, whoever waits is told, what
//! nobody waits for is held for a while (bounded), and it is tried again, so a full disk mends itself once there is room.

mod backup;
mod fault;
mod file;
mod pulse;
mod queue;
mod reader;
mod rows;
mod schema;
#[cfg(test)]
mod tests;
mod tidy;
mod writer;

use std::collections::VecDeque;
use std::fmt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc::Sender;
use std::sync::mpsc::channel;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::rooms::Message;
use crate::rooms::PeerId;
use crate::rooms::Room;
use crate::rooms::RoomId;

use super::LATE;
use super::ledger::Answer;
use super::ledger::Call;
use super::ledger::Fault;
use super::ledger::Health;
use super::ledger::Keep;
use super::ledger::Ledger;
use super::ledger::Record;
use super::ledger::Written;

use fault::Trouble;
use file::Lock;
use queue::Asker;
use queue::Job;
use queue::Queue;
use reader::Reader;
use tidy::Tidy;
use writer::Figures;
use writer::Writer;

pub use backup::Copied;
pub use backup::backup;

/// A ledger in a file.
pub struct Sqlite {
    path: PathBuf,
    /// What was read at the start.
    rooms: Mutex<Option<Vec<Room>>>,
    queue: Arc<Queue>,
    figures: Arc<Figures>,
    reader: Reader,
    writer: Option<JoinHandle<()>>,
    /// Dropped, nobody looks on any more.
    _watched: Sender<()>,
    /// Given back when nothing is written any more.
    _lock: Arc<Lock>,
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Sqlite {
    /// Opens the file, or makes it. A damaged one is moved aside (`PATH.corrupt-TIME`) and a new one begun: both are said in the
    /// log. One that can be read but not written to is used: what has to be kept is refused until it can be written to. Blocks.
    ///
    /// # Errors
    /// It cannot be read or made, another daemon uses it, or it is not ours.
    pub fn open(path: &Path, keep: Keep) -> Result<Sqlite, Fault> {
        Sqlite::begin(path, keep, LATE)
            .map_err(|trouble| Fault(format!("{}: {}", path.display(), trouble.why()).into()))
    }

    fn begin(path: &Path, keep: Keep, late: Duration) -> Result<Sqlite, Trouble> {
        let made = file::make(path)?;
        if !made && !file::is_known(path) {
            strange(path)?;
        }
        let lock = Arc::new(Lock::take(path)?);
        let found = match open(path) {
            Err(Trouble::Damaged(why)) => {
                let aside = file::move_aside(path)?;
                let aside = aside.display();
                tracing::error!(
                    %why, %aside,
                    "the store is damaged: it was moved aside, and a new one is begun WITHOUT the rooms that were in it; \
                     what can be read of it: sqlite3 FILE .recover"
                );
                file::make(path)?;
                open(path)
            }
            found => found,
        };
        let (db, rooms, fault) = match found {
            Ok((db, rooms)) => (Some(db), rooms, None),
            Err(trouble @ Trouble::Outside(_)) if made => {
                // A file that was never begun would look like an empty one.
                let _ = std::fs::remove_file(path);
                return Err(trouble);
            }
            Err(Trouble::Outside(why)) => match read_only(path) {
                Ok(rooms) => (None, rooms, Some(Trouble::Outside(why))),
                Err(other) => {
                    return Err(Trouble::Outside(
                        format!("{why}; for reading alone: {}", other.why()).into(),
                    ));
                }
            },
            Err(trouble) => return Err(trouble),
        };
        let (queue, figures) = (Arc::new(Queue::default()), Arc::new(Figures::new(late)));
        let mut writer = Writer {
            path: path.to_owned(),
            identity: file::identity(path),
            db,
            queue: Arc::clone(&queue),
            figures: Arc::clone(&figures),
            tidy: Tidy::new(keep),
            held: VecDeque::new(),
            held_bytes: 0,
            failed: None,
        };
        if let Some(trouble) = fault {
            writer.fails(&trouble);
        }
        let reader = Reader::start(path.to_owned(), keep.history, late)?;
        let (watched, end) = channel();
        pulse::start(path, &queue, &figures, end)?;
        let held = Arc::clone(&lock);
        let body = move || {
            writer.run();
            drop(held);
        };
        let writer = thread::Builder::new().name("store-write".to_owned()).spawn(body)?;
        Ok(Sqlite {
            path: path.to_owned(),
            rooms: Mutex::new(Some(rooms)),
            queue,
            figures,
            reader,
            writer: Some(writer),
            _watched: watched,
            _lock: lock,
        })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Looks at a file that no callgate has had, before anything is done to it or beside it: a slip in `store.url` is to cost nobody a
/// file.
fn strange(path: &Path) -> Result<(), Trouble> {
    match file::read(path).and_then(|db| schema::is_ours(&db)) {
        Err(Trouble::Damaged(_)) => {
            Err(Trouble::NotOurs("it is no database, and no callgate has used it: name another file".into()))
        }
        Err(Trouble::NotOurs(why)) => Err(Trouble::NotOurs(why)),
        // What cannot be looked into is met again.
        _ => Ok(()),
    }
}

fn open(path: &Path) -> Result<(Connection, Vec<Room>), Trouble> {
    let mut db = file::write(path, false)?;
    file::check(path, &db)?;
    if !schema::is_current(&db)? {
        schema::migrate(&mut db)?;
    }
    let rooms = load(path)?;
    Ok((db, rooms))
}

/// All rooms. Those and their people are read at the same time, each in the order of the rooms' ids.
fn load(path: &Path) -> Result<Vec<Room>, Trouble> {
    let (rooms, people) = thread::scope(|scope| {
        let people = scope.spawn(|| -> Result<_, Trouble> { Ok(rows::people(&file::read(path)?)?) });
        let rooms = file::read(path).and_then(|db| Ok(rows::rooms(&db)?));
        (rooms, people.join())
    });
    let Ok(people) = people else { return Err(Trouble::Inside("the reading of people ended early".into())) };
    Ok(joined(rooms?, people?))
}

/// The same where nothing can be written.
fn read_only(path: &Path) -> Result<Vec<Room>, Trouble> {
    let read = |db: Connection| -> Result<_, Trouble> {
        if schema::is_current(&db)? {
            Ok(joined(rows::rooms(&db)?, rows::people(&db)?))
        } else {
            Err(Trouble::Outside("its tables are of an older version, and cannot be changed".into()))
        }
    };
    file::read(path)
        .and_then(read)
        .or_else(|_| file::read_alone(path).and_then(read))
        .or_else(|_| file::read_unchanging(path).and_then(read))
}

fn joined((mut rooms, strange): (Vec<Room>, u64), people: Vec<(Box<str>, rows::People)>) -> Vec<Room> {
    if strange > 0 {
        tracing::warn!(
            rooms = strange,
            "rooms of the store mean nothing to this version, and are passed over"
        );
    }
    let mut people = people.into_iter().peekable();
    for room in &mut rooms {
        while people.next_if(|(id, _)| **id < *room.id.as_str()).is_some() {}
        if let Some((_, of_room)) = people.next_if(|(id, _)| **id == *room.id.as_str())
            && let Some(details) = &mut room.details
        {
            details.people = of_room;
        }
    }
    rooms
}

impl Ledger for Sqlite {
    fn load(&self) -> Result<Vec<Room>, Fault> {
        match self.rooms.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(rooms) => Ok(rooms),
            None => load(&self.path).map_err(|trouble| trouble.fault()),
        }
    }

    fn write(&self, records: Vec<Record>) -> Answer<Written> {
        if let Some(fault) = self.figures.pulse.fault() {
            return Box::pin(std::future::ready(Err(fault)));
        }
        let (told, answer) = oneshot::channel();
        let pushed = self.queue.push(Job { records, asker: Asker::Write(told) });
        Box::pin(async move {
            if pushed.is_err() {
                return Err(Fault("too much waits to be written already".into()));
            }
            answer.await.unwrap_or_else(|_| Err(Fault("the store is closed".into())))
        })
    }

    fn note(&self, records: Vec<Record>) {
        if let Err(job) = self.queue.push(Job { records, asker: Asker::Nobody }) {
            self.figures.give_up(job.records.len());
        }
    }

    fn history(&self, room: &RoomId, before: Option<PeerId>, most: usize) -> Answer<Vec<Message>> {
        self.reader.history(room.clone(), before, most)
    }

    fn calls(&self, room: Option<&RoomId>, before: Option<u64>, most: usize) -> Answer<Vec<(u64, Call)>> {
        self.reader.calls(room.cloned(), before, most)
    }

    fn health(&self) -> Health {
        self.figures.health(self.queue.len())
    }

    fn flush(&self) -> Answer<()> {
        if let Some(fault) = self.figures.pulse.fault() {
            return Box::pin(std::future::ready(Err(fault)));
        }
        let (told, answer) = oneshot::channel();
        let pushed = self.queue.push(Job { records: Vec::new(), asker: Asker::Flush(told) });
        Box::pin(async move {
            if pushed.is_err() {
                return Err(Fault("the store is closed".into()));
            }
            answer.await.unwrap_or_else(|_| Err(Fault("the store is closed".into())))
        })
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.queue.close();
        let Some(writer) = self.writer.take() else { return };
        if !pulse::ends(writer, || self.figures.pulse.fault().is_some())
            && let Some(why) = self.figures.pulse.fault()
        {
            // It may be for ever.
            pulse::refuse(&self.queue, &why);
            tracing::error!(%why, waiting = self.queue.len(), "the store ends without what was to be written");
        }
    }
}
