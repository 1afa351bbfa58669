//! A disk that does not answer.

use super::*;

/// When this one does not; a busy one takes its time.
const SOON: Duration = Duration::from_secs(2);

fn open(folder: &TempDir) -> Sqlite {
    Sqlite::begin(&folder.path().join("callgate.db"), KEEP, SOON).unwrap()
}

fn is_of_the_disk(fault: &Fault) -> bool {
    fault.0.contains("the disk has not answered")
}

#[test]
fn a_disk_that_does_not_answer_is_a_fault_and_refuses_what_it_has_not_been_given() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(&folder);
    wait(ledger.write(made("a"))).unwrap();
    let disk = ledger.figures.pulse.disk.lock().unwrap();
    // The one is being written; the others wait for their turn.
    let inside = ledger.write(said("a", &message(1, None)));
    until("it is given to the disk", || ledger.queue.len() == 0);
    let behind = ledger.write(said("a", &message(2, None)));
    ledger.note(said("a", &message(3, None)));
    let flush = ledger.flush();
    assert_eq!(ledger.health().fault, None, "a disk may take its time");
    assert!(is_of_the_disk(&wait(behind).unwrap_err()));
    assert!(is_of_the_disk(&wait(flush).unwrap_err()));
    let health = ledger.health();
    assert!(is_of_the_disk(&health.fault.unwrap()));
    assert_eq!(health.waiting, 1, "what nobody waits for waits");
    // Whoever comes now is refused at once.
    assert!(is_of_the_disk(&wait(ledger.write(said("a", &message(4, None)))).unwrap_err()));
    assert!(is_of_the_disk(&wait(ledger.flush()).unwrap_err()));
    ledger.note(said("a", &message(5, None)));
    drop(disk);
    // It is told what became of it, late as it is; and all is well by itself.
    assert_eq!(wait(inside), Ok(Written::Done));
    until("it answers again", || ledger.health().fault.is_none());
    until("it takes what comes", || wait(ledger.write(said("a", &message(6, None)))) == Ok(Written::Done));
    let kept = wait(ledger.history(&id("a"), None, 9)).unwrap();
    let kept: Vec<PeerId> = kept.iter().map(|message| message.id).collect();
    assert_eq!(kept, [6, 5, 3, 1].map(peer), "what was refused is not there");
}

#[test]
fn the_end_does_not_wait_for_a_disk_that_does_not_answer() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(&folder);
    wait(ledger.write(made("a"))).unwrap();
    let figures = Arc::clone(&ledger.figures);
    let disk = figures.pulse.disk.lock().unwrap();
    let never = ledger.write(said("a", &message(1, None)));
    until("it is given to the disk", || ledger.queue.len() == 0);
    let behind = ledger.write(said("a", &message(2, None)));
    let begun = Instant::now();
    drop(ledger);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(wait(behind).is_err());
    // It still writes: nobody else may.
    let why = Sqlite::open(&folder.path().join("callgate.db"), KEEP).unwrap_err();
    assert!(why.0.contains("another callgate"), "{why}");
    drop(disk);
    assert_eq!(wait(never), Ok(Written::Done));
    until("the file is free", || Sqlite::open(&folder.path().join("callgate.db"), KEEP).is_ok());
}

#[test]
fn a_question_that_the_disk_does_not_answer_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    // To open it waits for somebody who writes to it.
    let reader = Reader::start(path.clone(), 9, SOON).unwrap();
    for _ in 0..2 {
        let begun = Instant::now();
        assert!(is_of_the_disk(&wait(reader.history(id("a"), None, 9)).unwrap_err()));
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }
    let begun = Instant::now();
    drop(reader);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    drop(std::fs::OpenOptions::new().write(true).open(&path));
}
