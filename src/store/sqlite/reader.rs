//! The thread that reads: what was said, and which calls were.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::SyncSender;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::rooms::Message;
use crate::rooms::PeerId;
use crate::rooms::RoomId;
use crate::store::ledger::Answer;
use crate::store::ledger::Call;
use crate::store::ledger::Fault;

use super::fault::Trouble;
use super::file;
use super::pulse;
use super::rows;

/// The most questions that wait.
const MOST: usize = 1024;

type Told<T> = oneshot::Sender<Result<T, Fault>>;

enum Question {
    History { room: RoomId, before: Option<PeerId>, most: usize, told: Told<Vec<Message>> },
    Calls { room: Option<RoomId>, before: Option<u64>, most: usize, told: Told<Vec<(u64, Call)>> },
}

/// Answers questions, one after the other.
#[derive(Debug)]
pub(super) struct Reader {
    questions: Option<SyncSender<Question>>,
    thread: Option<JoinHandle<()>>,
    late: Duration,
}

impl Reader {
    /// `kept`: messages of a room that are shown. A disk that takes longer than `late` does not answer.
    pub(super) fn start(path: PathBuf, kept: usize, late: Duration) -> io::Result<Reader> {
        let (questions, asked) = sync_channel(MOST);
        let body = move || Reading { path, kept, db: None }.run(&asked);
        let thread = thread::Builder::new().name("store-read".to_owned()).spawn(body)?;
        Ok(Reader { questions: Some(questions), thread: Some(thread), late })
    }

    pub(super) fn history(&self, room: RoomId, before: Option<PeerId>, most: usize) -> Answer<Vec<Message>> {
        self.ask(|told| Question::History { room, before, most, told })
    }

    pub(super) fn calls(
        &self,
        room: Option<RoomId>,
        before: Option<u64>,
        most: usize,
    ) -> Answer<Vec<(u64, Call)>> {
        self.ask(|told| Question::Calls { room, before, most, told })
    }

    fn ask<T: Send + 'static>(&self, question: impl FnOnce(Told<T>) -> Question) -> Answer<T> {
        let ((told, answer), late) = (oneshot::channel(), self.late);
        let asked = self.questions.as_ref().is_some_and(|to| to.try_send(question(told)).is_ok());
        Box::pin(async move {
            if !asked {
                return Err(Fault("too many questions wait for the store already".into()));
            }
            match tokio::time::timeout(late, answer).await {
                Ok(answer) => answer.unwrap_or_else(|_| Err(Fault("the store is closed".into()))),
                Err(_) => Err(Fault(format!("the disk has not answered for {late:?}").into())),
            }
        })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.questions = None;
        let began = Instant::now();
        if let Some(thread) = self.thread.take() {
            // A disk that does not answer is not waited for.
            let _ = pulse::ends(thread, || began.elapsed() >= self.late);
        }
    }
}

struct Reading {
    path: PathBuf,
    kept: usize,
    db: Option<Connection>,
}

impl Reading {
    fn run(mut self, asked: &Receiver<Question>) {
        while let Ok(question) = asked.recv() {
            match question {
                Question::History { room, before, most, told } => {
                    let kept = self.kept;
                    // Who does not wait any more is not told.
                    let _ = told.send(self.read(|db| rows::history(db, &room, before, most, kept)));
                }
                Question::Calls { room, before, most, told } => {
                    let _ = told.send(self.read(|db| rows::calls(db, room.as_ref(), before, most)));
                }
            }
        }
    }

    fn read<T>(&mut self, rows: impl Fn(&Connection) -> rusqlite::Result<T>) -> Result<T, Fault> {
        let outcome = match &self.db {
            Some(db) => rows(db).map_err(Trouble::from),
            None => file::read(&self.path).and_then(|db| {
                let outcome = rows(&db).map_err(Trouble::from);
                self.db = Some(db);
                outcome
            }),
        };
        outcome.map_err(|trouble| {
            // Opened anew for the next question.
            self.db = None;
            if matches!(trouble, Trouble::Damaged(_)) {
                file::suspect(&self.path);
            }
            trouble.fault()
        })
    }
}
