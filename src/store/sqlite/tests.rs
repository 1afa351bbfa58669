//! What the file must stand: the end of the process, other programs, damage, a full disk.

mod copy;
mod held;
mod stuck;

use std::process::Command;
use std::time::Instant;

use serde_json::value::RawValue;
use tempfile::TempDir;

use super::*;
use crate::rooms::Details;
use crate::rooms::Kind;
use crate::rooms::Participant;
use crate::rooms::Person;
use crate::rooms::Standing;
use crate::rooms::Status;

const KEEP: Keep = Keep { history: 50, history_ttl: Duration::ZERO, calls: 100, calls_ttl: Duration::ZERO };

fn wait<T>(answer: Answer<T>) -> Result<T, Fault> {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(answer)
}

fn id(name: &str) -> RoomId {
    RoomId::parse(name).unwrap()
}

fn peer(n: u64) -> PeerId {
    let mut bytes = [7; 16];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    PeerId::new(bytes)
}

fn room(name: &str) -> Room {
    let details = Details {
        name: Some("Tea & <biscuits>".into()),
        description: Some("ä\n\"quoted\"".into()),
        media: Some(crate::rooms::Media::Audio),
        creator: Some("amy".into()),
        private: true,
        lobby: true,
        stored: true,
        password: Some("$argon2id$hash".into()),
        ..Details::default()
    };
    Room {
        id: id(name),
        kind: Kind::Channel,
        capacity: 12,
        created_at: 1_700_000_000_123,
        status: Status::Waiting,
        members: Vec::new(),
        expires: None,
        joined: 0,
        maker: u64::MAX - 5,
        details: Some(Box::new(details)),
    }
}

fn made(name: &str) -> Vec<Record> {
    vec![Record::Room(Box::new(room(name)))]
}

fn person(name: &str, user: &str, standing: Option<Standing>) -> Record {
    let person = standing.map(|standing| Person { standing, name: Some("Bob".into()), since: 9, by: None });
    Record::Person { room: id(name), user: user.into(), person }
}

fn message(n: u64, client_id: Option<&str>) -> Message {
    Message {
        id: peer(n),
        from: peer(1_000_000),
        user: (n.is_multiple_of(2)).then(|| "amy".into()),
        name: Some("Amy".into()),
        text: format!("message {n} ☕").into(),
        attachments: (n.is_multiple_of(3)).then(|| RawValue::from_string("[{\"a\": 1}]".into()).unwrap()),
        at: 1_700_000_000_000 + n,
        client_id: client_id.map(Into::into),
    }
}

fn said(name: &str, message: &Message) -> Vec<Record> {
    vec![Record::Message { room: id(name), message: Arc::new(message.clone()) }]
}

fn call(name: &str, n: u64) -> Call {
    let participant =
        Participant { peer: peer(n), user: None, name: Some("Cy".into()), joined_at: n, left_at: n + 5 };
    Call {
        room: id(name),
        kind: Kind::Call,
        name: None,
        started_at: n,
        ended_at: n + 10,
        reason: "left".into(),
        participants: vec![participant.clone(), Participant { user: Some("dan".into()), ..participant }],
        relayed_bytes: 77,
    }
}

/// All that can be compared.
fn shown<T: fmt::Debug>(what: &T) -> String {
    format!("{what:#?}")
}

fn open_in(folder: &TempDir) -> Sqlite {
    Sqlite::open(&folder.path().join("callgate.db"), KEEP).unwrap()
}

/// Until it holds, or the test fails.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_was_acknowledged_is_there_after_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open_in(&folder);
    assert!(ledger.load().unwrap().is_empty());
    let mut first = made("b");
    first.push(person("b", "amy", Some(Standing::Moderator)));
    assert_eq!(wait(ledger.write(first)), Ok(Written::Done));
    wait(ledger.write(vec![person("b", "bob", Some(Standing::Invited))])).unwrap();
    wait(ledger.write(made("a"))).unwrap();
    wait(ledger.write(made("gone"))).unwrap();
    for n in 0..5 {
        assert_eq!(wait(ledger.write(said("b", &message(n, None)))), Ok(Written::Done));
    }
    ledger.note(vec![Record::Call(Box::new(call("b", 1))), Record::RoomGone(id("gone"))]);
    wait(ledger.flush()).unwrap();
    // As if killed: nothing is closed.
    std::mem::forget(ledger);
    for suffix in ["", "-wal"] {
        std::fs::copy(
            folder.path().join(format!("callgate.db{suffix}")),
            folder.path().join(format!("copy.db{suffix}")),
        )
        .unwrap();
    }
    let again = Sqlite::open(&folder.path().join("copy.db"), KEEP).unwrap();
    let rooms = again.load().unwrap();
    assert_eq!(rooms.iter().map(|room| room.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let mut wanted = room("b");
    let people = &mut wanted.details.as_mut().unwrap().people;
    for (user, standing) in [("amy", Standing::Moderator), ("bob", Standing::Invited)] {
        people.insert(user.into(), Person { standing, name: Some("Bob".into()), since: 9, by: None });
    }
    assert_eq!(shown(&rooms[1]), shown(&wanted));
    let messages = wait(again.history(&id("b"), None, 100)).unwrap();
    let wanted: Vec<Message> = (0..5).rev().map(|n| message(n, None)).collect();
    assert_eq!(shown(&messages), shown(&wanted));
    assert_eq!(wait(again.calls(None, None, 10)), Ok(vec![(1, call("b", 1))]));
}

#[test]
fn a_room_is_changed_in_place_and_one_of_the_same_name_begins_empty() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open_in(&folder);
    wait(ledger.write(made("a"))).unwrap();
    wait(ledger.write(vec![person("a", "amy", Some(Standing::Member))])).unwrap();
    wait(ledger.write(said("a", &message(1, None)))).unwrap();
    let mut locked = room("a");
    locked.details.as_mut().unwrap().locked = true;
    wait(ledger.write(vec![Record::Room(Box::new(locked))])).unwrap();
    wait(ledger.write(vec![person("a", "amy", None), person("a", "bob", Some(Standing::Banned))])).unwrap();
    assert_eq!(wait(ledger.history(&id("a"), None, 9)).unwrap().len(), 1);
    drop(ledger);
    let ledger = open_in(&folder);
    let rooms = ledger.load().unwrap();
    let details = rooms[0].details();
    assert!(details.locked);
    assert_eq!(details.people.keys().map(|user| &**user).collect::<Vec<_>>(), ["bob"]);
    // Its end could not be written, and somebody takes the name.
    let new = Room { created_at: 5, ..room("a") };
    wait(ledger.write(vec![Record::Room(Box::new(new))])).unwrap();
    assert!(wait(ledger.history(&id("a"), None, 9)).unwrap().is_empty(), "it sees what others said");
    drop(ledger);
    assert!(open_in(&folder).load().unwrap()[0].details().people.is_empty());
}

#[test]
fn what_is_told_of_rooms_that_are_gone_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open_in(&folder);
    wait(ledger.write(made("a"))).unwrap();
    wait(ledger.write(said("a", &message(1, None)))).unwrap();
    wait(ledger.write(vec![Record::RoomGone(id("a"))])).unwrap();
    assert_eq!(wait(ledger.write(said("a", &message(2, Some("x"))))), Ok(Written::Done));
    let late = vec![person("a", "amy", Some(Standing::Member)), Record::RoomGone(id("a"))];
    assert_eq!(wait(ledger.write(late)), Ok(Written::Done));
    assert!(wait(ledger.history(&id("a"), None, 9)).unwrap().is_empty());
    assert_eq!(ledger.health().fault, None);
}

#[test]
fn a_message_is_said_once_for_each_id_of_its_sender() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open_in(&folder);
    for name in ["a", "b"] {
        wait(ledger.write(made(name))).unwrap();
    }
    let first = message(2, Some("x"));
    // Two at once, as a client does that did not hear the answer: they may be of one batch.
    let both = [ledger.write(said("a", &first)), ledger.write(said("a", &message(4, Some("x"))))];
    let [one, other] = both.map(wait);
    assert_eq!((one, other), (Ok(Written::Done), Ok(Written::Already { id: first.id, at: first.at })));
    // Another sender, another room, another id: other messages.
    for (name, other) in
        [("a", message(3, Some("x"))), ("b", message(6, Some("x"))), ("a", message(8, Some("y")))]
    {
        assert_eq!(wait(ledger.write(said(name, &other))), Ok(Written::Done));
    }
    drop(ledger);
    let ledger = open_in(&folder);
    let again = wait(ledger.write(said("a", &message(10, Some("x")))));
    assert_eq!(again, Ok(Written::Already { id: first.id, at: first.at }));
    assert_eq!(wait(ledger.history(&id("a"), None, 9)).unwrap().len(), 3);
}

#[test]
fn history_comes_in_pages_and_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open_in(&folder);
    wait(ledger.write(made("a"))).unwrap();
    let answers: Vec<_> = (0..400).map(|n| ledger.write(said("a", &message(n, None)))).collect();
    for answer in answers {
        wait(answer).unwrap();
    }
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let page = wait(ledger.history(&id("a"), before, 7)).unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        seen.extend(page.iter().map(|message| message.id));
    }
    assert_eq!(seen, (350..400).rev().map(peer).collect::<Vec<_>>(), "the last 50, newest first");
    assert!(wait(ledger.history(&id("a"), Some(peer(12345)), 9)).unwrap().is_empty(), "of an unknown id");
    assert!(wait(ledger.history(&id("b"), None, 9)).unwrap().is_empty(), "of an unknown room");
    let rows: i64 = file::read(ledger.path())
        .unwrap()
        .query_row("SELECT count(*) FROM messages", [], |row| row.get(0))
        .unwrap();
    assert!((50..250).contains(&rows), "{rows} rows are kept of 400");
    // Smaller bounds hold for what is there already.
    drop(ledger);
    let ledger = Sqlite::open(&folder.path().join("callgate.db"), Keep { history: 5, ..KEEP }).unwrap();
    assert_eq!(wait(ledger.history(&id("a"), None, 100)).unwrap().len(), 5);
    until("the rest goes", || {
        let db = file::read(ledger.path()).unwrap();
        db.query_row("SELECT count(*) FROM messages", [], |row| row.get::<_, i64>(0)).unwrap() == 5
    });
}

#[test]
fn what_is_old_or_too_many_goes() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open_in(&folder);
    wait(ledger.write(made("a"))).unwrap();
    let now = u64::try_from(
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis(),
    )
    .unwrap();
    for n in 0..6_u64 {
        let at = if n.is_multiple_of(2) { 1000 } else { now };
        wait(ledger.write(said("a", &Message { at, ..message(n, None) }))).unwrap();
        let call = Call { ended_at: at, ..call("a", n) };
        wait(ledger.write(vec![Record::Call(Box::new(call))])).unwrap();
    }
    drop(ledger);
    let keep =
        Keep { history_ttl: Duration::from_secs(60), calls_ttl: Duration::from_secs(60), calls: 2, ..KEEP };
    let ledger = Sqlite::open(&folder.path().join("callgate.db"), keep).unwrap();
    until("the old ones go", || wait(ledger.history(&id("a"), None, 9)).unwrap().len() == 3);
    until("the calls go", || {
        let calls = wait(ledger.calls(None, None, 9)).unwrap();
        calls.iter().map(|(_, call)| call.started_at).collect::<Vec<_>>() == [5, 3]
    });
    let db = file::read(ledger.path()).unwrap();
    let left: i64 = db.query_row("SELECT count(*) FROM participants", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 4, "participants go with their calls");
}

#[test]
fn calls_come_in_pages_of_a_room_or_of_all() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open_in(&folder);
    for n in 0..10 {
        let name = if n < 5 { "a" } else { "b" };
        wait(ledger.write(vec![Record::Call(Box::new(call(name, n)))])).unwrap();
    }
    let page = wait(ledger.calls(None, None, 4)).unwrap();
    assert_eq!(page.iter().map(|(_, call)| call.started_at).collect::<Vec<_>>(), [9, 8, 7, 6]);
    let page = wait(ledger.calls(None, Some(page[3].0), 100)).unwrap();
    assert_eq!(page.iter().map(|(_, call)| call.started_at).collect::<Vec<_>>(), [5, 4, 3, 2, 1, 0]);
    let page = wait(ledger.calls(Some(&id("a")), None, 2)).unwrap();
    assert_eq!(page.iter().map(|(_, call)| call.started_at).collect::<Vec<_>>(), [4, 3]);
}

#[test]
fn one_record_that_cannot_be_written_does_not_fail_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open_in(&folder);
    let db = Connection::open(ledger.path()).unwrap();
    db.execute_batch(
        "CREATE TRIGGER refuses BEFORE INSERT ON rooms WHEN NEW.id LIKE 'bad%' BEGIN SELECT RAISE(ABORT, 'not this one'); END",
    )
    .unwrap();
    let names: Vec<String> =
        (0..300).map(|n| format!("{}{n}", if n % 50 == 7 { "bad" } else { "r" })).collect();
    let answers: Vec<_> = names.iter().map(|name| ledger.write(made(name))).collect();
    ledger.note(made("bad-note"));
    for (name, answer) in names.iter().zip(answers) {
        assert_eq!(wait(answer).is_ok(), !name.starts_with("bad"), "{name}");
    }
    wait(ledger.flush()).unwrap();
    let health = ledger.health();
    assert_eq!((health.fault, health.given_up), (None, 1), "the file itself is well");
    drop(ledger);
    assert_eq!(open_in(&folder).load().unwrap().len(), 294);
}

#[test]
fn many_writes_share_a_batch() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open_in(&folder);
    wait(ledger.write(made("a"))).unwrap();
    let answers: Vec<_> = (0..2000).map(|n| ledger.write(said("a", &message(n, None)))).collect();
    for answer in answers {
        wait(answer).unwrap();
    }
    let health = ledger.health();
    assert_eq!((health.records, health.waiting), (2001, 0));
    assert!(health.batches < 1000, "{} batches for 2000 writes", health.batches);
}

#[test]
fn another_program_s_lock_is_a_fault_that_mends_itself() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open_in(&folder);
    wait(ledger.write(made("a"))).unwrap();
    let db = Connection::open(ledger.path()).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    let fault = wait(ledger.write(said("a", &message(1, None)))).unwrap_err();
    assert!(fault.0.contains("another program keeps the file locked"), "{fault}");
    assert_eq!(ledger.health().fault, Some(fault));
    // Reading goes on; what nobody waits for is held.
    assert!(wait(ledger.history(&id("a"), None, 9)).unwrap().is_empty());
    ledger.note(said("a", &message(2, None)));
    until("it is held", || ledger.health().waiting == 1);
    db.execute_batch("COMMIT").unwrap();
    until("it mends itself, with nobody asking", || ledger.health().fault.is_none());
    wait(ledger.write(said("a", &message(3, None)))).unwrap();
    let messages = wait(ledger.history(&id("a"), None, 9)).unwrap();
    assert_eq!(messages.iter().map(|message| message.id).collect::<Vec<_>>(), [peer(3), peer(2)]);
}

#[test]
fn what_nobody_waits_for_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open_in(&folder);
    wait(ledger.write(made("a"))).unwrap();
    let db = Connection::open(ledger.path()).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    let notes = 30_000;
    for n in 0..notes {
        ledger.note(said("a", &message(n, None)));
    }
    let health = ledger.health();
    assert!(health.given_up > 10_000 && health.waiting < 17_000, "{health:?}");
    // Somebody who waits still finds room, and is told.
    wait(ledger.write(said("a", &message(1, None)))).unwrap_err();
    db.execute_batch("COMMIT").unwrap();
    until("all are written or given up", || {
        let health = ledger.health();
        health.waiting == 0 && health.records + health.given_up == notes + 1
    });
}

#[test]
fn a_damaged_file_is_moved_aside_and_a_new_one_begun() {
    for (what, from) in [("the header", 0), ("the middle", 8192)] {
        let folder = tempfile::tempdir().unwrap();
        let ledger = open_in(&folder);
        for n in 0..200 {
            wait(ledger.write(made(&format!("room-{n}")))).unwrap();
        }
        drop(ledger);
        let path = folder.path().join("callgate.db");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[from..from + 5000].fill(0x5a);
        std::fs::write(&path, bytes).unwrap();
        let ledger = open_in(&folder);
        assert!(ledger.load().unwrap().is_empty(), "{what}");
        wait(ledger.write(made("new"))).unwrap();
        let names: Vec<String> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let aside = names.iter().find(|name| name.starts_with("callgate.db.corrupt-")).expect("it is kept");
        assert_eq!(std::fs::read(folder.path().join(aside)).unwrap()[from + 100], 0x5a);
    }
}

#[test]
fn a_file_is_one_daemon_s_and_ours() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open_in(&folder);
    let path = folder.path().join("callgate.db");
    let why = Sqlite::open(&path, KEEP).unwrap_err();
    assert!(why.0.contains("another callgate"), "{why}");
    drop(ledger);
    drop(open_in(&folder));
    let strange = folder.path().join("strange.db");
    Connection::open(&strange).unwrap().execute_batch("CREATE TABLE notes (x)").unwrap();
    let text = folder.path().join("settings.toml");
    std::fs::write(&text, "a = 1\n".repeat(1000)).unwrap();
    // Nothing is done to them, nor beside them, however often it is tried.
    for (path, words) in [(&strange, "another program"), (&text, "no callgate has used it")].repeat(2) {
        let before = std::fs::read(path).unwrap();
        let why = Sqlite::open(path, KEEP).unwrap_err();
        assert!(why.0.contains(words), "{why}");
        assert_eq!(std::fs::read(path).unwrap(), before);
        let name = path.file_name().unwrap().to_str().unwrap();
        let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.filter(|it| it.to_str().unwrap().starts_with(name)).count(), 1, "{name}");
    }
}

#[test]
fn a_file_that_is_taken_away_under_it_is_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open_in(&folder);
    wait(ledger.write(made("a"))).unwrap();
    let (path, other) = (folder.path().join("callgate.db"), folder.path().join("other.db"));
    std::fs::rename(&path, &other).unwrap();
    let fault = wait(ledger.write(made("b"))).unwrap_err();
    assert!(fault.0.contains("moved or replaced"), "{fault}");
    std::fs::rename(&other, &path).unwrap();
    until("it is back", || ledger.health().fault.is_none());
    wait(ledger.write(made("b"))).unwrap();
    drop(ledger);
    assert_eq!(open_in(&folder).load().unwrap().len(), 2);
}

#[test]
fn others_may_not_read_the_file_nor_what_is_beside_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let ledger = Sqlite::open(&folder.path().join("new/folder/callgate.db"), KEEP).unwrap();
    wait(ledger.write(made("a"))).unwrap();
    let mut seen = 0;
    for entry in std::fs::read_dir(folder.path().join("new/folder")).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o027, 0, "{mode:o} {:?}", entry.path());
        seen += 1;
    }
    assert!(seen >= 3, "{seen} files");
}

#[test]
fn a_backup_is_whole_and_overwrites_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open_in(&folder);
    let to = folder.path().join("copy.db");
    wait(ledger.write(made("a"))).unwrap();
    wait(
        ledger.write(vec![person("a", "amy", Some(Standing::Member)), Record::Call(Box::new(call("a", 1)))]),
    )
    .unwrap();
    // Somebody writes all the while.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..300 {
                wait(ledger.write(said("a", &message(n, None)))).unwrap();
            }
        });
        let copied = backup(ledger.path(), &to).unwrap();
        assert_eq!((copied.rooms, copied.people, copied.calls), (1, 1, 1));
        assert_eq!(copied.bytes, std::fs::metadata(&to).unwrap().len());
    });
    let why = backup(ledger.path(), &to).unwrap_err();
    assert!(why.0.contains("not overwritten"), "{why}");
    let why = backup(&folder.path().join("nothing.db"), &folder.path().join("x.db")).unwrap_err();
    assert!(why.0.contains("nothing.db"), "{why}");
    let nowhere = folder.path().join("nowhere/x.db");
    let why = backup(ledger.path(), &nowhere).unwrap_err();
    assert!(why.0.contains(&format!("cannot be copied to {}: ", nowhere.display())), "{why}");
    let copy = Sqlite::open(&to, KEEP).unwrap();
    assert_eq!(copy.load().unwrap().len(), 1);
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("half"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A file system of this size, if we may make one.
struct Disk(TempDir);

impl Disk {
    fn new(size: &str) -> Option<Disk> {
        let folder = tempfile::tempdir().unwrap();
        let made = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "callgate-test"])
            .arg(folder.path())
            .output();
        match made {
            Ok(out) if out.status.success() => Some(Disk(folder)),
            _ => {
                eprintln!("no file system can be mounted here: this test needs root");
                None
            }
        }
    }

    fn remount(&self, how: &str) {
        let done = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(self.0.path()).status();
        assert!(done.unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_refuses_and_mends_itself_when_there_is_room() {
    let Some(disk) = Disk::new("2m") else { return };
    let ledger = open_in(&disk.0);
    wait(ledger.write(made("a"))).unwrap();
    let ballast = disk.0.path().join("ballast");
    let mut kept = 0;
    let _ = std::fs::write(&ballast, vec![1; 4 << 20]);
    let fault = loop {
        match wait(ledger.write(said("a", &message(kept, None)))) {
            Ok(_) => kept += 1,
            Err(fault) => break fault,
        }
        assert!(kept < 100_000);
    };
    assert!(fault.0.contains("the disk is full"), "{fault}");
    assert!(ledger.health().fault.is_some());
    // What was kept can be read, and a start in this state finds it.
    let before = wait(ledger.history(&id("a"), None, 10)).unwrap();
    assert_eq!(before.len() as u64, kept.min(10));
    drop(ledger);
    let ledger = open_in(&disk.0);
    assert_eq!(ledger.load().unwrap().len(), 1);
    let _ = std::fs::write(&ballast, vec![1; 4 << 20]);
    std::fs::remove_file(&ballast).unwrap();
    until("there is room again", || ledger.health().fault.is_none());
    wait(ledger.write(said("a", &message(1_000_000, None)))).unwrap();
    let after = wait(ledger.history(&id("a"), None, 100)).unwrap();
    assert_eq!(after.len() as u64, kept.min(49) + 1);
    drop(ledger);
    let db = Connection::open(disk.0.path().join("callgate.db")).unwrap();
    assert_eq!(db.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)).unwrap(), "ok");
}

#[test]
fn a_read_only_disk_refuses_and_what_is_on_it_can_be_read() {
    let Some(disk) = Disk::new("4m") else { return };
    let ledger = open_in(&disk.0);
    wait(ledger.write(made("a"))).unwrap();
    wait(ledger.write(said("a", &message(1, None)))).unwrap();
    drop(ledger);
    disk.remount("ro");
    let ledger = open_in(&disk.0);
    assert_eq!(ledger.load().unwrap().len(), 1);
    assert!(ledger.health().fault.is_some());
    wait(ledger.write(said("a", &message(2, None)))).unwrap_err();
    disk.remount("rw");
    until("it can be written to", || ledger.health().fault.is_none());
    wait(ledger.write(said("a", &message(3, None)))).unwrap();
    assert_eq!(wait(ledger.history(&id("a"), None, 9)).unwrap().len(), 2);
}
