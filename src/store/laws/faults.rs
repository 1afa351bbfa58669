//! What a store does when its ledger fails, and while it is slow.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use serde_json::value::RawValue;
use tokio::sync::Notify;

use super::*;

/// A ledger whose disk is full when it is told so, and that writes nothing until it is let.
#[derive(Default)]
struct Disk {
    full: AtomicBool,
    slow: AtomicBool,
    go: Notify,
    noted: Mutex<Vec<String>>,
}

struct Ledgered(Arc<Disk>, Volatile);

impl Ledger for Ledgered {
    fn load(&self) -> Result<Vec<Room>, Fault> {
        self.1.load()
    }

    fn write(&self, records: Vec<Record>) -> super::super::Answer<Written> {
        if self.0.full.load(Relaxed) {
            return Box::pin(std::future::ready(Err(Fault("the disk is full".into()))));
        }
        let written = self.1.write(records);
        let disk = Arc::clone(&self.0);
        Box::pin(async move {
            if disk.slow.load(Relaxed) {
                disk.go.notified().await;
            }
            written.await
        })
    }

    fn note(&self, records: Vec<Record>) {
        self.0.noted.lock().unwrap().extend(records.iter().map(|record| format!("{record:?}")));
    }

    fn history(
        &self,
        room: &RoomId,
        before: Option<PeerId>,
        most: usize,
    ) -> super::super::Answer<Vec<Message>> {
        self.1.history(room, before, most)
    }

    fn calls(
        &self,
        room: Option<&RoomId>,
        before: Option<u64>,
        most: usize,
    ) -> super::super::Answer<Vec<(u64, Call)>> {
        self.1.calls(room, before, most)
    }

    fn health(&self) -> Health {
        self.1.health()
    }

    fn flush(&self) -> super::super::Answer<()> {
        self.1.flush()
    }
}

fn open(disk: &Arc<Disk>, now: Now) -> Live {
    Live::open(rules(), MANY, Box::new(Ledgered(Arc::clone(disk), Volatile::new(KEEP))), now.at).unwrap()
}

#[test]
fn what_cannot_be_kept_is_refused_and_changes_nothing() {
    let (disk, now, amy, a) = (Arc::<Disk>::default(), now(), user("amy"), id("a"));
    let store = open(&disk, now);
    run(&store, &a, &create(Kind::Channel, amy.clone(), 0), now).unwrap();
    run(&store, &a, &join(None, 1, amy.clone()), now).unwrap();
    run(&store, &a, &join(None, 2, user("bob")), now).unwrap();
    let before = look(&store, &a, |room| room.map(lasting));
    disk.full.store(true, Relaxed);
    let by = By::Peer(peer(1));
    for command in [
        Command::Chat(&message(1, 1, &amy, Some("x"))),
        Command::Invite { by, user: "dan", customer: 0 },
        Command::Lock { by, locked: Some(true), lobby: None },
        Command::Close { by },
        join(None, 3, user("cy")),
    ] {
        assert_eq!(run(&store, &a, &command, now), Err(Refusal::NotStored), "{command:?}");
        assert_eq!(look(&store, &a, |room| room.map(lasting)), before, "{command:?}");
    }
    let new = create(Kind::Room, amy.clone(), 0);
    assert_eq!(run(&store, &id("b"), &new, now), Err(Refusal::NotStored));
    assert!(look(&store, &id("b"), |room| room.is_none()));
    // What needs no disk goes on.
    let data = RawValue::from_string("1".into()).unwrap();
    let signal = Command::Signal { from: peer(1), to: None, kind: "offer", data: &data };
    run(&store, &a, &signal, now).unwrap();
    run(&store, &id("c"), &join(Some(Kind::Call), 4, Who::default()), now).unwrap();
    // And so does everything once there is room.
    disk.full.store(false, Relaxed);
    assert_eq!(run(&store, &a, &Command::Chat(&message(2, 1, &amy, Some("x"))), now), Ok(Said::Done));
}

#[test]
fn what_was_taken_for_something_that_cannot_be_kept_is_given_back() {
    let (disk, now, amy) = (Arc::<Disk>::default(), now(), user("amy"));
    let ledger = Ledgered(Arc::clone(&disk), Volatile::new(KEEP));
    let store = Live::open(rules(), Limits { rooms: 2, rooms_of_one: 1 }, Box::new(ledger), now.at).unwrap();
    let new = create(Kind::Channel, amy, 6);
    disk.full.store(true, Relaxed);
    for _ in 0..5 {
        assert_eq!(run(&store, &id("a"), &new, now), Err(Refusal::NotStored));
    }
    disk.full.store(false, Relaxed);
    run(&store, &id("a"), &new, now).unwrap();
    assert_eq!(run(&store, &id("b"), &new, now), Err(Refusal::TooManyOfYours));
    disk.full.store(true, Relaxed);
    let invite = Command::Invite { by: By::User("amy"), user: "dan", customer: 0 };
    assert_eq!(run(&store, &id("a"), &invite, now), Err(Refusal::NotStored));
    assert!(store.invitations_of("dan", 9).is_empty());
}

#[test]
fn an_invitation_that_cannot_be_kept_takes_nobodys_place() {
    let (disk, now) = (Arc::<Disk>::default(), now());
    let store = open(&disk, now);
    shares::fill(&store, now);
    let before = shares::everything(&store);
    let invite = |room: &str| {
        run(&store, &id(room), &Command::Invite { by: By::User("amy"), user: "dan", customer: 0 }, now)
    };
    disk.full.store(true, Relaxed);
    for n in 0..40 {
        assert_eq!(invite(&format!("r100-{n}")), Err(Refusal::NotStored));
    }
    assert_eq!(shares::everything(&store), before);
    disk.full.store(false, Relaxed);
    invite("r100-0").unwrap();
    assert_eq!(shares::standing(&store, "r4-0"), None);
    assert_eq!(store.invitations_of("dan", 9999).len(), shares::ALL);
}

#[test]
fn who_goes_is_gone_whether_or_not_that_can_be_kept() {
    let (disk, now, a) = (Arc::<Disk>::default(), now(), id("a"));
    let store = open(&disk, now);
    run(&store, &a, &create(Kind::Room, user("amy"), 0), now).unwrap();
    run(&store, &a, &join(None, 1, user("amy")), now).unwrap();
    run(&store, &a, &join(None, 2, user("bob")), now).unwrap();
    disk.full.store(true, Relaxed);
    // The room is the other one's now, which would be kept.
    let leave = Command::Leave { peer: peer(1), session: None };
    let (kept, gone) = wait(commit(&store, &a, &leave, now, |outcome| {
        let committed = outcome.unwrap();
        (committed.kept, committed.gone.len())
    }));
    assert_eq!((kept, gone), (false, 1));
    let of = look(&store, &a, |room| room.map(|room| (room.members.len(), room.details().creator.clone())));
    assert_eq!(of, Some((1, Some("bob".into()))));
    // Who is put out does not stay for want of a disk, either.
    disk.full.store(false, Relaxed);
    run(&store, &a, &join(None, 3, user("cy")), now).unwrap();
    disk.full.store(true, Relaxed);
    let kick = Command::Kick { by: By::Operator, target: Target::User("cy"), ban: true };
    let kept = wait(commit(&store, &a, &kick, now, |outcome| outcome.unwrap().kept));
    assert!(!kept);
    assert_eq!(run(&store, &a, &join(None, 4, user("cy")), now), Err(Refusal::Banned));
    // A room that ends by itself ends now; the ledger is told and nobody waits.
    let b = id("b");
    disk.full.store(false, Relaxed);
    run(&store, &b, &create(Kind::Room, Who::default(), 0), now).unwrap();
    disk.full.store(true, Relaxed);
    let later = Now { at: now.at + 3600 * SECOND, ..now };
    run(&store, &b, &Command::Tick, later).unwrap();
    assert!(look(&store, &b, |room| room.is_none()));
    let noted = disk.noted.lock().unwrap();
    assert!(noted.iter().any(|record| record.contains("RoomGone") && record.contains("\"b\"")), "{noted:?}");
}

#[test]
fn while_one_thing_is_written_signals_pass_and_other_changes_wait_their_turn() {
    let (disk, now, a) = (Arc::<Disk>::default(), now(), id("a"));
    let store = Arc::new(open(&disk, now));
    run(&store, &a, &create(Kind::Channel, user("amy"), 0), now).unwrap();
    for (n, name) in [(1, "amy"), (2, "bob")] {
        run(&store, &a, &join(None, n, user(name)), now).unwrap();
    }
    disk.slow.store(true, Relaxed);
    let told = Arc::new(Mutex::new(Vec::new()));
    wait(async {
        let say = |n: u64, from: u8| {
            let (store, a, told) = (Arc::clone(&store), a.clone(), Arc::clone(&told));
            let said = message(n, from, &user(if from == 1 { "amy" } else { "bob" }), None);
            async move {
                commit(&store, &a, &Command::Chat(&said), now, |outcome| {
                    outcome.unwrap();
                    told.lock().unwrap().push(n);
                })
                .await;
            }
        };
        let look_on = async {
            tokio::task::yield_now().await;
            // Nobody has been told of anything that is not kept, and signals do not wait for it.
            assert!(told.lock().unwrap().is_empty());
            let data = RawValue::from_string("1".into()).unwrap();
            let signal = Command::Signal { from: peer(1), to: None, kind: "offer", data: &data };
            let mut passed = false;
            let ticket = store.commit(&a, &signal, now, None, &mut |outcome| passed = outcome.is_ok());
            assert!(ticket.is_none() && passed);
            // Another room is not held up either.
            let mut passed = false;
            let call = join(Some(Kind::Call), 9, Who::default());
            let ticket = store.commit(&id("b"), &call, now, None, &mut |outcome| passed = outcome.is_ok());
            assert!(ticket.is_none() && passed);
            disk.slow.store(false, Relaxed);
            disk.go.notify_one();
        };
        tokio::join!(say(1, 1), say(2, 2), say(3, 1), look_on);
    });
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 3);
    assert_eq!(told[0], 1, "the first to be written is the first to be told");
    let mut kept: Vec<u64> = wait(store.history(&a, None, 9)).unwrap().iter().map(|it| it.at).collect();
    kept.reverse();
    assert_eq!(*told, kept);
}
