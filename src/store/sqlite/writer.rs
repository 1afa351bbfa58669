//! The thread that writes. It takes all that waits, writes it in one transaction, and tells everybody once that is on the
//! disk: while the disk works on one batch, the next one gathers.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::time::Instant;

use rusqlite::Connection;
use rusqlite::TransactionBehavior;

use crate::store::ledger::Fault;
use crate::store::ledger::Health;
use crate::store::ledger::Record;
use crate::store::ledger::Written;

use super::fault::Trouble;
use super::file;
use super::pulse::Pulse;
use super::queue::Asker;
use super::queue::Job;
use super::queue::Queue;
use super::queue::Taken;
use super::queue::weight;
use super::rows;
use super::schema;
use super::tidy::Tidy;

/// How often it is tried again when writing fails and nobody asks for it.
const RETRY: Duration = Duration::from_secs(1);

/// The most records that are held for later while writing fails.
const MOST_HELD: usize = 4096;
/// The most bytes of theirs.
const MOST_HELD_BYTES: usize = 8 << 20;

/// How it goes, for who looks from outside.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) pulse: Pulse,
    fault: Mutex<Option<Fault>>,
    batches: AtomicU64,
    records: AtomicU64,
    given_up: AtomicU64,
    held: AtomicU64,
}

impl Figures {
    /// `late`: a disk that takes longer does not answer.
    pub(super) fn new(late: Duration) -> Figures {
        Figures {
            pulse: Pulse::new(late),
            fault: Mutex::default(),
            batches: AtomicU64::new(0),
            records: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
            held: AtomicU64::new(0),
        }
    }

    /// Why the last write failed.
    fn failed(&self) -> Option<Fault> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn health(&self, queued: usize) -> Health {
        Health {
            fault: self.pulse.fault().or_else(|| self.failed()),
            batches: self.batches.load(Relaxed),
            records: self.records.load(Relaxed),
            given_up: self.given_up.load(Relaxed),
            waiting: queued as u64 + self.held.load(Relaxed),
        }
    }

    /// Nobody waited for these, and there is no room for them.
    pub(super) fn give_up(&self, records: usize) {
        self.given_up.fetch_add(records as u64, Relaxed);
    }

    /// Returns what it was before.
    fn set(&self, fault: Option<Fault>) -> Option<Fault> {
        std::mem::replace(&mut *self.fault.lock().unwrap_or_else(PoisonError::into_inner), fault)
    }

    fn wrote(&self, records: usize) {
        self.batches.fetch_add(1, Relaxed);
        self.records.fetch_add(records as u64, Relaxed);
    }
}

pub(super) struct Writer {
    pub(super) path: PathBuf,
    /// Which file it was at the start.
    pub(super) identity: Option<(u64, u64)>,
    /// None: to be opened anew.
    pub(super) db: Option<Connection>,
    pub(super) queue: Arc<Queue>,
    pub(super) figures: Arc<Figures>,
    pub(super) tidy: Tidy,
    /// What nobody waits for and could not be written yet, in order.
    pub(super) held: VecDeque<Record>,
    pub(super) held_bytes: usize,
    /// When writing failed last.
    pub(super) failed: Option<Instant>,
}

impl Writer {
    /// Until the queue is closed, and all in it done.
    pub(super) fn run(mut self) {
        loop {
            let wait = match self.failed {
                Some(at) => RETRY.saturating_sub(at.elapsed()),
                None => self.tidy.wait(),
            };
            match self.queue.take(Some(wait)) {
                Taken::Jobs(jobs) => self.turn(jobs),
                Taken::Nothing if self.failed.is_some() => self.try_again(),
                Taken::Nothing => {}
                Taken::Closed => break,
            }
            if self.failed.is_none() {
                self.tidy();
            }
            self.figures.pulse.rests();
        }
        if !self.held.is_empty() {
            self.try_again();
            let lost = self.held.len();
            if lost > 0 {
                self.figures.give_up(lost);
                tracing::error!(lost, "the store ends, and what nobody waited for could not be written");
            }
            self.figures.pulse.rests();
        }
    }

    /// Nobody asks, but it may be possible again.
    pub(super) fn try_again(&mut self) {
        let held: Vec<Record> = self.held.iter().cloned().collect();
        let parts: &[&[Record]] = if held.is_empty() { &[] } else { &[&held] };
        // Writes even if there is nothing to be written.
        let outcome = self.transaction(parts, true);
        match outcome {
            Ok(_) => self.succeeded(held.len(), 0),
            Err(trouble) if trouble.is_of_the_file() => self.fails(&trouble),
            Err(_) => self.held_alone(),
        }
    }

    fn turn(&mut self, jobs: Vec<Job>) {
        if !self.held.is_empty() {
            // They were told first.
            self.try_again();
            if let (Some(_), Some(fault)) = (self.failed, self.figures.failed()) {
                return jobs.into_iter().for_each(|job| self.refuse(job, &fault));
            }
        }
        let parts: Vec<&[Record]> = jobs.iter().map(|job| job.records.as_slice()).collect();
        let records = parts.iter().map(|part| part.len()).sum();
        match self.transaction(&parts, false) {
            Ok(written) => {
                self.succeeded(0, records);
                for (job, written) in jobs.into_iter().zip(written) {
                    tell(job.asker, Ok(written));
                }
            }
            Err(trouble) if trouble.is_of_the_file() => self.all_fail(jobs, &trouble),
            // One of them cannot be written: the others shall not suffer.
            Err(_) => self.one_by_one(jobs),
        }
    }

    fn one_by_one(&mut self, jobs: Vec<Job>) {
        let mut jobs = VecDeque::from(jobs);
        while let Some(job) = jobs.pop_front() {
            match self.transaction(&[&job.records], false) {
                Ok(written) => {
                    self.succeeded(0, job.records.len());
                    tell(job.asker, Ok(written.first().copied().unwrap_or(Written::Done)));
                }
                Err(trouble) if trouble.is_of_the_file() => {
                    jobs.push_front(job);
                    return self.all_fail(jobs.into(), &trouble);
                }
                Err(trouble) => {
                    let why = trouble.why();
                    tracing::warn!(%why, "a record cannot be written");
                    match job.asker {
                        Asker::Nobody => self.figures.give_up(job.records.len()),
                        asker => tell(asker, Err(trouble.fault())),
                    }
                }
            }
        }
    }

    /// The same for what is held.
    fn held_alone(&mut self) {
        while let Some(record) = self.held.pop_front() {
            let bytes = weight(&record);
            self.held_bytes = self.held_bytes.saturating_sub(bytes);
            match self.transaction(&[std::slice::from_ref(&record)], false) {
                Ok(_) => self.figures.wrote(1),
                Err(trouble) if trouble.is_of_the_file() => {
                    self.held_bytes += bytes;
                    self.held.push_front(record);
                    self.figures.held.store(self.held.len() as u64, Relaxed);
                    return self.fails(&trouble);
                }
                Err(_) => self.figures.give_up(1),
            }
        }
        self.succeeded(0, 0);
    }

    /// Writes all of these, or nothing.
    fn transaction(&mut self, parts: &[&[Record]], touch: bool) -> Result<Vec<Written>, Trouble> {
        self.figures.pulse.begins();
        #[cfg(test)]
        drop(self.figures.pulse.disk.lock());
        if file::identity(&self.path) != self.identity {
            let why = format!(
                "{} was moved or replaced while it was in use; restart callgate",
                self.path.display()
            );
            return Err(Trouble::Outside(why.into()));
        }
        // All that waits behind this write would wait each time.
        let again = self.failed.is_some();
        let db = match &mut self.db {
            Some(db) => db,
            None => {
                let mut db = file::write(&self.path, again)?;
                if !schema::is_current(&db)? {
                    schema::migrate(&mut db)?;
                }
                self.db.insert(db)
            }
        };
        file::be_patient(db, again)?;
        let whole = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut outcomes = Vec::with_capacity(parts.len());
        for part in parts {
            outcomes.push(write(&whole, part, &mut self.tidy)?);
        }
        if touch {
            let version: i64 = whole.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            whole.pragma_update(None, "user_version", version)?;
        }
        whole.commit()?;
        Ok(outcomes)
    }

    fn succeeded(&mut self, held: usize, records: usize) {
        self.held.drain(..held.min(self.held.len()));
        if self.held.is_empty() {
            self.held_bytes = 0;
        }
        self.figures.held.store(self.held.len() as u64, Relaxed);
        if held + records > 0 {
            self.figures.wrote(held + records);
        }
        self.failed = None;
        if self.figures.set(None).is_some() {
            tracing::info!(path = %self.path.display(), "the store can be written to again");
        }
    }

    /// Writing has failed, for a reason that others would meet too.
    pub(super) fn fails(&mut self, trouble: &Trouble) {
        // Opened anew for the next try: what it believes of the file may be wrong now.
        self.db = None;
        self.failed = Some(Instant::now());
        let why = trouble.why();
        if self.figures.set(Some(trouble.fault())).is_none() {
            let path = self.path.display();
            tracing::error!(%path, %why, "the store cannot be written to: what has to be kept is refused until it can");
        }
        if matches!(trouble, Trouble::Damaged(_)) {
            file::suspect(&self.path);
        }
    }

    fn all_fail(&mut self, jobs: Vec<Job>, trouble: &Trouble) {
        self.fails(trouble);
        let fault = trouble.fault();
        jobs.into_iter().for_each(|job| self.refuse(job, &fault));
    }

    /// Who waits is told; what nobody waits for is held, if there is room for it.
    fn refuse(&mut self, job: Job, fault: &Fault) {
        if !matches!(job.asker, Asker::Nobody) {
            return tell(job.asker, Err(fault.clone()));
        }
        for record in job.records {
            let bytes = weight(&record);
            if self.held.len() < MOST_HELD && self.held_bytes + bytes <= MOST_HELD_BYTES {
                self.held_bytes += bytes;
                self.held.push_back(record);
            } else {
                self.figures.give_up(1);
            }
        }
        self.figures.held.store(self.held.len() as u64, Relaxed);
    }

    fn tidy(&mut self) {
        let Some(db) = &mut self.db else { return };
        self.figures.pulse.begins();
        if let Err(error) = self.tidy.step(db) {
            let trouble = Trouble::from(error);
            if trouble.is_of_the_file() {
                self.fails(&trouble);
            } else {
                let why = trouble.why();
                tracing::warn!(%why, "the store cannot be tidied up");
                self.tidy.give_up();
            }
        }
    }
}

/// Whoever does not wait any more is not told.
pub(super) fn tell(asker: Asker, outcome: Result<Written, Fault>) {
    match asker {
        Asker::Nobody => {}
        Asker::Write(to) => {
            let _ = to.send(outcome);
        }
        Asker::Flush(to) => {
            let _ = to.send(outcome.map(|_| ()));
        }
    }
}

fn write(db: &Connection, part: &[Record], tidy: &mut Tidy) -> rusqlite::Result<Written> {
    if let [Record::Message { room, message }] = part
        && let Some((id, at)) = rows::said(db, room, message)?
    {
        return Ok(Written::Already { id, at });
    }
    for record in part {
        let said = rows::write(db, record)?;
        match record {
            Record::Message { room, .. } if said => tidy.said(db, room)?,
            Record::Call(_) => tidy.called(),
            _ => {}
        }
    }
    Ok(Written::Done)
}
