//! Whether the disk still answers. The thread that writes cannot tell while it waits for the disk, so another one looks on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use crate::store::ledger::Fault;

use super::queue::Queue;
use super::writer::Figures;
use super::writer::tell;

/// Since when the thread that writes waits for the disk.
#[derive(Debug)]
pub(super) struct Pulse {
    zero: Instant,
    /// In milliseconds after `zero`, and one more; 0: it does not wait.
    began: AtomicU64,
    /// How long the disk may take.
    late: Duration,
    /// Held by a test, the disk does not answer.
    #[cfg(test)]
    pub(super) disk: std::sync::Mutex<()>,
}

impl Pulse {
    /// A disk that takes longer than `late` does not answer.
    pub(super) fn new(late: Duration) -> Pulse {
        let (zero, began) = (Instant::now(), AtomicU64::new(0));
        #[cfg(test)]
        return Pulse { zero, began, late, disk: std::sync::Mutex::default() };
        #[cfg(not(test))]
        Pulse { zero, began, late }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.zero.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The disk is asked for something.
    pub(super) fn begins(&self) {
        self.began.store(self.now().saturating_add(1), Relaxed);
    }

    /// It has answered, whatever it said.
    pub(super) fn rests(&self) {
        self.began.store(0, Relaxed);
    }

    /// That the disk does not answer, if so.
    pub(super) fn fault(&self) -> Option<Fault> {
        let began = self.began.load(Relaxed).checked_sub(1)?;
        let waits = Duration::from_millis(self.now().saturating_sub(began));
        (waits >= self.late).then(|| Fault(format!("the disk has not answered for {waits:.0?}").into()))
    }
}

/// Looks on until `end` is dropped: while the disk does not answer, who waits for it is refused. What was taken out of the queue
/// before may still be written; whoever waits for that is told once it is known.
pub(super) fn watch(path: &Path, queue: &Queue, figures: &Figures, end: &Receiver<()>) {
    let (path, every) = (path.display(), figures.pulse.late / 5);
    let mut stuck = None;
    while let Err(RecvTimeoutError::Timeout) = end.recv_timeout(every) {
        match (figures.pulse.fault(), stuck) {
            (Some(why), since) => {
                if since.is_none() {
                    tracing::error!(%path, %why, "the store cannot be written to: what has to be kept is refused until it can");
                    stuck = Some(Instant::now());
                }
                refuse(queue, &why);
            }
            (None, Some(since)) => {
                tracing::info!(%path, after = ?since.elapsed(), "the disk answers again");
                stuck = None;
            }
            (None, None) => {}
        }
    }
}

/// Takes out of the queue what somebody waits for: it will not be written.
pub(super) fn refuse(queue: &Queue, why: &Fault) {
    for asker in queue.withdraw() {
        tell(asker, Err(why.clone()));
    }
}

/// Waits for a thread to end, unless it is stuck. Whether it has ended.
pub(super) fn ends(thread: JoinHandle<()>, is_stuck: impl Fn() -> bool) -> bool {
    while !thread.is_finished() {
        if is_stuck() {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    // It tells nobody how it ended.
    let _ = thread.join();
    true
}

/// The thread that looks on.
pub(super) fn start(
    path: &Path,
    queue: &Arc<Queue>,
    figures: &Arc<Figures>,
    end: Receiver<()>,
) -> std::io::Result<()> {
    let (path, queue, figures) = (path.to_owned(), Arc::clone(queue), Arc::clone(figures));
    let body = move || watch(&path, &queue, &figures, &end);
    thread::Builder::new().name("store-watch".to_owned()).spawn(body).map(drop)
}
