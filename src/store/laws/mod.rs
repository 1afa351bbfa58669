//! The laws of stores: what holds of live rooms over every ledger there is.

mod bounds;
mod faults;
mod model;
mod shares;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use tempfile::TempDir;

use super::*;
use crate::rooms::Absent;
use crate::rooms::Answer as Said;
use crate::rooms::By;
use crate::rooms::Join;
use crate::rooms::Options;
use crate::rooms::Participant;
use crate::rooms::Rules;
use crate::rooms::Standing;
use crate::rooms::Target;
use crate::rooms::Who;

const SECOND: Duration = Duration::from_secs(1);

/// Messages of a room that are kept.
const HISTORY: usize = 40;

const KEEP: Keep =
    Keep { history: HISTORY, history_ttl: Duration::ZERO, calls: 1000, calls_ttl: Duration::ZERO };

/// A way of keeping rooms.
enum Way {
    Volatile,
    Sqlite(PathBuf, #[expect(dead_code, reason = "held")] TempDir),
}

impl Way {
    fn all() -> Vec<Way> {
        let folder = tempfile::tempdir().unwrap();
        vec![Way::Volatile, Way::Sqlite(folder.path().join("callgate.db"), folder)]
    }

    /// Whether rooms are there after the next start.
    fn lasts(&self) -> bool {
        !matches!(self, Way::Volatile)
    }

    fn open(&self, limits: Limits, now: Instant) -> Live {
        self.keeping(KEEP, limits, now)
    }

    fn keeping(&self, keep: Keep, limits: Limits, now: Instant) -> Live {
        let ledger: Box<dyn Ledger> = match self {
            Way::Volatile => Box::new(Volatile::new(keep)),
            Way::Sqlite(path, _) => Box::new(Sqlite::open(path, keep).unwrap()),
        };
        Live::open(rules(), limits, ledger, now).unwrap()
    }
}

const MANY: Limits = Limits { rooms: 1000, rooms_of_one: 0 };

fn rules() -> Rules {
    Rules {
        capacity: 4,
        channel_capacity: 6,
        waiting_timeout: 30 * SECOND,
        grace: 30 * SECOND,
        idle: 3600 * SECOND,
    }
}

fn id(name: &str) -> RoomId {
    RoomId::parse(name).unwrap()
}

fn peer(n: u8) -> PeerId {
    PeerId::new([n; 16])
}

fn user(name: &str) -> Who {
    Who { user: Some(name.into()), name: Some(name.to_uppercase().into()), ..Who::default() }
}

fn join(kind: Option<Kind>, n: u8, who: Who) -> Command<'static> {
    Command::Join(Join {
        absent: kind.map(|kind| Absent { kind, listed: false }),
        peer: peer(n),
        session: 0,
        who,
        proven: false,
        password: None,
        maker: u64::from(n),
        customer: 0,
    })
}

fn create(kind: Kind, creator: Who, maker: u64) -> Command<'static> {
    let options = Options { name: Some("Tea".into()), listed: true, ..Options::default() };
    Command::Create { kind, options, creator, maker }
}

fn message(n: u64, from: u8, who: &Who, client_id: Option<&str>) -> Arc<Message> {
    let mut bytes = [9; 16];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    Arc::new(Message {
        id: PeerId::new(bytes),
        from: peer(from),
        user: who.user.clone(),
        name: who.name.clone(),
        text: format!("message {n}").into(),
        attachments: None,
        at: n,
        client_id: client_id.map(Into::into),
    })
}

fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

/// Carries a command out, however often it has to wait.
async fn commit<R>(
    store: &Live,
    id: &RoomId,
    command: &Command<'_>,
    now: Now,
    mut then: impl FnMut(Result<Committed<'_>, Refusal>) -> R,
) -> R {
    let mut ticket = None;
    loop {
        let mut came = None;
        let again = store.commit(id, command, now, ticket, &mut |outcome| {
            assert!(came.is_none(), "it is told twice");
            came = Some(then(outcome));
        });
        match (again, came) {
            (Some(wait), None) => ticket = wait.ready().await,
            (None, Some(came)) => return came,
            _ => panic!("either it waits or it is told"),
        }
    }
}

fn run(store: &Live, id: &RoomId, command: &Command<'_>, now: Now) -> Result<Said, Refusal> {
    wait(commit(store, id, command, now, |outcome| {
        outcome.map(|committed| {
            assert!(committed.kept);
            committed.answer
        })
    }))
}

fn now() -> Now {
    Now { at: Instant::now(), unix_ms: 1000 }
}

/// What lasts of a room, to be compared. `expires` is the start's choice.
fn lasting(room: &Room) -> String {
    let details = room.details();
    format!(
        "{:?} {:?} {} {} {} {:?} {:?} {:?} {:?} {} {} {} {} {} {:?} {:?}",
        room.id,
        room.kind,
        room.capacity,
        room.created_at,
        room.maker,
        details.name,
        details.description,
        details.media,
        details.creator,
        details.private,
        details.listed,
        details.locked,
        details.lobby,
        details.auto_delete,
        details.password,
        details.people
    )
}

fn look<R>(store: &Live, id: &RoomId, then: impl FnOnce(Option<&Room>) -> R) -> R {
    let (mut then, mut seen) = (Some(then), None);
    store.look(id, &mut |room| seen = then.take().map(|then| then(room)));
    seen.expect("look calls back")
}

#[test]
fn deadlines_come_and_go_with_the_rooms() {
    for way in Way::all() {
        let now = now();
        let (store, a) = (way.open(MANY, now.at), id("a"));
        run(&store, &a, &join(Some(Kind::Call), 1, Who::default()), now).unwrap();
        let due = now.at + 30 * SECOND;
        assert_eq!(store.next_deadline(), Some(due));
        assert!(store.due(due - Duration::from_millis(1)).is_empty());
        assert_eq!(store.due(due), std::slice::from_ref(&a));
        run(&store, &a, &Command::Tick, Now { at: due, unix_ms: 0 }).unwrap();
        assert_eq!((store.next_deadline(), store.counts()), (None, Counts::default()));
        // The second member stops the clock.
        run(&store, &a, &join(Some(Kind::Call), 1, Who::default()), now).unwrap();
        run(&store, &a, &join(Some(Kind::Call), 2, Who::default()), now).unwrap();
        assert_eq!(store.next_deadline(), None);
        assert_eq!(store.counts(), Counts { rooms: [1, 0, 0], empty: 0, members: 2 });
    }
}

#[test]
fn the_biggest_rooms_come_first_and_no_more_than_asked_for() {
    for way in Way::all() {
        let now = now();
        let store = way.open(MANY, now.at);
        let ids: Vec<_> = (0..40).map(|n| id(&format!("r{n}"))).collect();
        for id in &ids {
            run(&store, id, &create(Kind::Room, Who::default(), 0), now).unwrap();
        }
        assert_eq!(store.counts(), Counts { rooms: [0, 40, 0], empty: 40, members: 0 });
        for (members, id) in [(3, &ids[7]), (1, &ids[30]), (2, &ids[9])] {
            for n in 0..members {
                run(&store, id, &join(None, n, Who::default()), now).unwrap();
            }
        }
        assert_eq!(store.counts(), Counts { rooms: [0, 40, 0], empty: 37, members: 6 });
        assert_eq!(store.biggest(3), [7, 9, 30].map(|n| ids[n].clone()));
        assert_eq!(store.biggest(1), [ids[7].clone()]);
        assert_eq!((store.biggest(0).len(), store.biggest(1000).len()), (0, 40));
        assert_eq!(look(&store, &ids[9], |room| room.map(|room| room.members.len())), Some(2));
        assert!(look(&store, &id("nowhere"), |room| room.is_none()));
    }
}

#[test]
fn rooms_made_on_purpose_last_with_their_people_and_others_do_not() {
    for way in Way::all() {
        let now = now();
        let store = way.open(MANY, now.at);
        let [kept, passing, closed] = ["kept", "passing", "closed"].map(id);
        for name in [&kept, &closed] {
            run(&store, name, &create(Kind::Channel, user("amy"), 0), now).unwrap();
        }
        run(&store, &passing, &join(Some(Kind::Room), 9, user("amy")), now).unwrap();
        run(&store, &kept, &join(None, 1, user("amy")), now).unwrap();
        run(&store, &kept, &join(None, 2, user("bob")), now).unwrap();
        run(&store, &kept, &join(None, 3, user("cy")), now).unwrap();
        let by = By::Peer(peer(1));
        run(&store, &kept, &Command::Invite { by, user: "dan", customer: 0 }, now).unwrap();
        run(&store, &kept, &Command::Promote { by, target: Target::User("bob"), moderator: true }, now)
            .unwrap();
        run(&store, &kept, &Command::Kick { by, target: Target::User("cy"), ban: true }, now).unwrap();
        run(&store, &kept, &Command::Lock { by, locked: Some(true), lobby: Some(true) }, now).unwrap();
        run(&store, &closed, &Command::Close { by: By::User("amy") }, now).unwrap();
        let before = look(&store, &kept, |room| room.map(lasting)).unwrap();
        for standing in ["Moderator", "Invited", "Banned"] {
            assert!(before.contains(standing), "{before}");
        }
        assert_eq!(store.invitations_of("dan", 9), std::slice::from_ref(&kept));
        drop(store);
        let store = way.open(MANY, now.at);
        assert!(look(&store, &passing, |room| room.is_none()));
        assert!(look(&store, &closed, |room| room.is_none()));
        let after = look(&store, &kept, |room| room.map(lasting));
        assert_eq!(after, way.lasts().then_some(before));
        if way.lasts() {
            assert_eq!(store.counts(), Counts { rooms: [0, 0, 1], empty: 1, members: 0 });
            assert_eq!(store.invitations_of("dan", 9), std::slice::from_ref(&kept));
            assert_eq!(store.rooms_of("bob", 9), std::slice::from_ref(&kept));
            assert!(store.rooms_of("dan", 9).is_empty() && store.rooms_of("cy", 9).is_empty());
            assert_eq!(store.listed(None, 9), [(1000, kept.clone())]);
            // And its rules go on.
            assert_eq!(run(&store, &kept, &join(None, 4, user("cy")), now), Err(Refusal::Banned));
            run(&store, &kept, &join(None, 5, user("bob")), now).unwrap();
            assert_eq!(store.next_deadline(), None, "a channel that somebody belongs to stays");
        }
    }
}

#[test]
fn a_message_is_said_once_before_and_after_a_restart() {
    for way in Way::all() {
        let (now, amy, a) = (now(), user("amy"), id("a"));
        let store = way.open(MANY, now.at);
        run(&store, &a, &create(Kind::Channel, amy.clone(), 0), now).unwrap();
        run(&store, &a, &join(None, 1, amy.clone()), now).unwrap();
        let first = message(1, 1, &amy, Some("mine"));
        assert_eq!(run(&store, &a, &Command::Chat(&first), now), Ok(Said::Done));
        let again = message(2, 1, &amy, Some("mine"));
        let said = Said::Said { id: first.id, at: first.at };
        assert_eq!(run(&store, &a, &Command::Chat(&again), now), Ok(said));
        drop(store);
        if way.lasts() {
            let store = way.open(MANY, now.at);
            run(&store, &a, &join(None, 2, amy.clone()), now).unwrap();
            let told = wait(commit(
                &store,
                &a,
                &Command::Chat(&message(3, 2, &amy, Some("mine"))),
                now,
                |outcome| outcome.map(|committed| (committed.answer, committed.notices.len())),
            ));
            assert_eq!(told, Ok((said, 0)), "nobody hears it twice");
            assert_eq!(wait(store.history(&a, None, 9)).unwrap().len(), 1);
        }
    }
}

#[test]
fn history_is_paged_newest_first_and_ends_with_its_room() {
    for way in Way::all() {
        let (now, amy, a) = (now(), user("amy"), id("a"));
        let mut store = way.open(MANY, now.at);
        run(&store, &a, &create(Kind::Channel, amy.clone(), 0), now).unwrap();
        run(&store, &a, &join(None, 1, amy.clone()), now).unwrap();
        let all: Vec<_> = (0..100).map(|n| message(n, 1, &amy, None)).collect();
        for message in &all {
            run(&store, &a, &Command::Chat(message), now).unwrap();
        }
        if way.lasts() {
            drop(store);
            store = way.open(MANY, now.at);
        }
        let (mut seen, mut before) = (Vec::new(), None);
        loop {
            let page = wait(store.history(&a, before, 7)).unwrap();
            assert!(page.len() <= 7);
            let Some(last) = page.last() else { break };
            before = Some(last.id);
            seen.extend(page.iter().map(|message| message.id));
        }
        assert_eq!(seen, all.iter().rev().take(HISTORY).map(|message| message.id).collect::<Vec<_>>());
        assert!(wait(store.history(&a, Some(peer(77)), 7)).unwrap().is_empty());
        run(&store, &a, &Command::Close { by: By::Operator }, now).unwrap();
        assert!(wait(store.history(&a, None, 7)).unwrap().is_empty());
        run(&store, &a, &create(Kind::Channel, amy.clone(), 0), now).unwrap();
        assert!(
            wait(store.history(&a, None, 7)).unwrap().is_empty(),
            "another room of that name begins empty"
        );
    }
}

#[test]
fn the_log_of_calls_is_paged_the_last_first() {
    for way in Way::all() {
        let mut store = way.open(MANY, Instant::now());
        let call = |n: u64| Call {
            room: id(if n.is_multiple_of(2) { "even" } else { "odd" }),
            kind: Kind::Call,
            name: None,
            started_at: n,
            ended_at: n + 1,
            reason: "left".into(),
            participants: vec![Participant {
                peer: peer(1),
                user: Some("amy".into()),
                name: None,
                joined_at: n,
                left_at: n + 1,
            }],
            relayed_bytes: n,
        };
        for n in 0..20 {
            store.log(call(n));
        }
        wait(store.flush()).unwrap();
        if way.lasts() {
            drop(store);
            store = way.open(MANY, Instant::now());
        }
        let all = wait(store.calls(None, None, 100)).unwrap();
        assert_eq!(
            all.iter().map(|(_, call)| call.clone()).collect::<Vec<_>>(),
            (0..20).rev().map(call).collect::<Vec<_>>()
        );
        let page = wait(store.calls(Some(&id("odd")), Some(all[3].0), 3)).unwrap();
        assert_eq!(page.iter().map(|(_, call)| call.started_at).collect::<Vec<_>>(), [15, 13, 11]);
    }
}

#[test]
fn what_is_told_is_in_the_order_of_what_is_kept() {
    const SENDERS: u8 = 6;
    const EACH: u64 = 6;
    for way in Way::all() {
        let (now, a) = (now(), id("a"));
        let store = Arc::new(way.open(MANY, now.at));
        run(&store, &a, &create(Kind::Channel, user("u0"), 0), now).unwrap();
        for n in 0..SENDERS {
            run(&store, &a, &join(None, n, user(&format!("u{n}"))), now).unwrap();
        }
        let told = Arc::new(Mutex::new(Vec::new()));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
        let senders: Vec<_> = (0..SENDERS)
            .map(|n| {
                let (store, a, told) = (Arc::clone(&store), a.clone(), Arc::clone(&told));
                runtime.spawn(async move {
                    for i in 0..EACH {
                        let said = message(
                            u64::from(n) * 1000 + i,
                            n,
                            &user(&format!("u{n}")),
                            Some(&format!("{i}")),
                        );
                        commit(&store, &a, &Command::Chat(&said), now, |outcome| {
                            assert!(outcome.unwrap().kept);
                            told.lock().unwrap().push(said.at);
                        })
                        .await;
                    }
                })
            })
            .collect();
        for sender in senders {
            runtime.block_on(sender).unwrap();
        }
        let told = told.lock().unwrap();
        let mut kept: Vec<u64> = wait(store.history(&a, None, 100)).unwrap().iter().map(|it| it.at).collect();
        kept.reverse();
        assert_eq!(*told, kept);
        for n in 0..u64::from(SENDERS) {
            let of_one: Vec<u64> = told.iter().copied().filter(|at| at / 1000 == n).collect();
            assert_eq!(
                of_one,
                (0..EACH).map(|i| n * 1000 + i).collect::<Vec<_>>(),
                "each sender's own order"
            );
        }
    }
}

#[test]
fn pages_of_all_rooms_have_each_of_them_once_newest_first() {
    for way in Way::all() {
        let at = Instant::now();
        let store = way.open(MANY, at);
        for n in 0..97_u64 {
            // Several of the same millisecond; every third in the directory.
            let now = Now { at, unix_ms: 1000 + n / 4 };
            let options = Options { listed: n % 3 == 0, ..Options::default() };
            let command = Command::Create { kind: Kind::Room, options, creator: user("amy"), maker: 0 };
            run(&store, &id(&format!("r{n}")), &command, now).unwrap();
        }
        for (most, all) in [(1, true), (7, true), (97, true), (500, true), (7, false), (33, false)] {
            let mut found: Vec<Place> = Vec::new();
            loop {
                let after = found.last();
                let page = if all { store.all(after, most) } else { store.listed(after, most) };
                assert!(page.len() <= most);
                if page.is_empty() {
                    break;
                }
                found.extend(page);
            }
            assert_eq!(found.len(), if all { 97 } else { 33 }, "pages of {most}");
            let newest_first =
                |two: &[Place]| two[0].0 > two[1].0 || (two[0].0 == two[1].0 && two[0].1 < two[1].1);
            assert!(found.windows(2).all(newest_first), "{found:?}");
        }
        assert!(store.all(Some(&(0, id("a"))), 9).is_empty());
    }
}
