//! What waits to be written: in order, and bounded.

use std::collections::VecDeque;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::store::ledger::Fault;
use crate::store::ledger::Record;
use crate::store::ledger::Written;

/// The most records that wait.
const MOST: usize = 16_384;
/// The most bytes of theirs that wait.
const MOST_BYTES: usize = 64 << 20;
/// What nobody waits for has this part of the room: half.
const NOTES: usize = 2;
/// The most records that are written in one go.
const BATCH: usize = 1024;

/// Who is told.
#[derive(Debug)]
pub(super) enum Asker {
    /// Nobody.
    Nobody,
    /// Whoever has something written.
    Write(oneshot::Sender<Result<Written, Fault>>),
    /// Whoever wants to know that everything before is written.
    Flush(oneshot::Sender<Result<(), Fault>>),
}

/// Records that are written all or not at all.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) records: Vec<Record>,
    pub(super) asker: Asker,
}

/// About how much memory a record takes, in bytes.
pub(super) fn weight(record: &Record) -> usize {
    let text = match record {
        Record::Message { message, .. } => {
            message.text.len() + message.attachments.as_ref().map_or(0, |json| json.get().len())
        }
        Record::Call(call) => call.participants.len() * 256,
        _ => 0,
    };
    text + 512
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    came: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    jobs: VecDeque<Job>,
    records: usize,
    bytes: usize,
    closed: bool,
}

/// What there is to do.
pub(super) enum Taken {
    /// Never empty.
    Jobs(Vec<Job>),
    /// Nothing in that time.
    Nothing,
    /// Nothing, nor will there be.
    Closed,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves something to do. It comes back if there is no room for it.
    pub(super) fn push(&self, job: Job) -> Result<(), Job> {
        let mut inner = self.lock();
        let bytes: usize = job.records.iter().map(weight).sum();
        let part = if matches!(job.asker, Asker::Nobody) { NOTES } else { 1 };
        // One that is larger than all the room there is goes in when the queue is empty.
        let fits =
            inner.records + job.records.len() <= MOST / part && inner.bytes + bytes <= MOST_BYTES / part;
        if inner.closed || !(fits || inner.jobs.is_empty()) {
            return Err(job);
        }
        inner.records += job.records.len();
        inner.bytes += bytes;
        inner.jobs.push_back(job);
        drop(inner);
        self.came.notify_one();
        Ok(())
    }

    /// Takes what waits, at most a batch of it; waits up to this long (`None`: for ever) if there is nothing.
    pub(super) fn take(&self, wait: Option<Duration>) -> Taken {
        let mut inner = self.lock();
        if inner.jobs.is_empty() && !inner.closed {
            inner = match wait {
                None => self
                    .came
                    .wait_while(inner, |inner| inner.jobs.is_empty() && !inner.closed)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(wait) => {
                    self.came
                        .wait_timeout_while(inner, wait, |inner| inner.jobs.is_empty() && !inner.closed)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
        let (mut jobs, mut records) = (Vec::new(), 0);
        while records < BATCH
            && let Some(job) = inner.jobs.pop_front()
        {
            records += job.records.len();
            inner.records -= job.records.len();
            inner.bytes -= job.records.iter().map(weight).sum::<usize>();
            jobs.push(job);
        }
        match jobs.is_empty() {
            false => Taken::Jobs(jobs),
            true if inner.closed => Taken::Closed,
            true => Taken::Nothing,
        }
    }

    /// Takes out all that somebody waits for, and who waits; what nobody waits for stays.
    pub(super) fn withdraw(&self) -> Vec<Asker> {
        let mut inner = self.lock();
        let (notes, asked): (VecDeque<Job>, VecDeque<Job>) =
            inner.jobs.drain(..).partition(|job| matches!(job.asker, Asker::Nobody));
        inner.jobs = notes;
        for job in &asked {
            inner.records -= job.records.len();
            inner.bytes -= job.records.iter().map(weight).sum::<usize>();
        }
        asked.into_iter().map(|job| job.asker).collect()
    }

    /// How many records wait.
    pub(super) fn len(&self) -> usize {
        self.lock().records
    }

    /// Takes nothing more; what waits is still to be done.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.came.notify_all();
    }
}
