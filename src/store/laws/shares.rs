//! How much there may be: of rooms in all, of rooms on one account, of one user's invitations.

use super::*;
use crate::rooms::Details;
use crate::rooms::Person;
use crate::rooms::Source;

#[test]
fn a_full_house_takes_no_new_rooms_but_new_members() {
    for way in Way::all() {
        let now = now();
        let store = way.open(Limits { rooms: 1, rooms_of_one: 0 }, now.at);
        let [a, b] = ["a", "b"].map(id);
        let call = |n| join(Some(Kind::Call), n, Who::default());
        run(&store, &a, &call(1), now).unwrap();
        assert_eq!(run(&store, &b, &call(2), now), Err(Refusal::TooManyRooms));
        assert_eq!(run(&store, &b, &create(Kind::Room, Who::default(), 0), now), Err(Refusal::TooManyRooms));
        run(&store, &a, &call(2), now).unwrap();
        assert_eq!(store.counts(), Counts { rooms: [1, 0, 0], empty: 0, members: 2 });
        run(&store, &a, &Command::Leave { peer: peer(1), session: None }, now).unwrap();
        assert_eq!(store.counts(), Counts::default());
        run(&store, &b, &call(2), now).unwrap();
    }
}

#[test]
fn an_account_has_its_share_of_rooms_after_the_next_start_too() {
    for way in Way::all() {
        let (now, limits) = (now(), Limits { rooms: 100, rooms_of_one: 2 });
        let store = way.open(limits, now.at);
        for name in ["a", "b"] {
            run(&store, &id(name), &create(Kind::Channel, user("amy"), 6), now).unwrap();
        }
        let another = create(Kind::Channel, user("amy"), 6);
        assert_eq!(run(&store, &id("c"), &another, now), Err(Refusal::TooManyOfYours));
        run(&store, &id("c"), &create(Kind::Channel, user("bob"), 8), now).unwrap();
        drop(store);
        if way.lasts() {
            let store = way.open(limits, now.at);
            assert_eq!(run(&store, &id("d"), &another, now), Err(Refusal::TooManyOfYours));
            run(&store, &id("a"), &Command::Close { by: By::User("amy") }, now).unwrap();
            run(&store, &id("d"), &another, now).unwrap();
        }
    }
}

/// Asks for a room, and does not wait until it is written.
fn ask(store: &Live, name: &str, maker: u64, now: Now) -> Result<Ticket, Refusal> {
    let mut refused = None;
    let create = create(Kind::Channel, user("amy"), maker);
    let ticket = store.commit(&id(name), &create, now, None, &mut |outcome| refused = outcome.err());
    ticket.ok_or_else(|| refused.unwrap())
}

#[test]
fn rooms_that_are_being_written_count() {
    for way in Way::all() {
        let now = now();
        let store = way.open(Limits { rooms: 3, rooms_of_one: 2 }, now.at);
        let asked =
            [("a", 6), ("b", 6), ("c", 8)].map(|(name, maker)| (name, maker, ask(&store, name, maker, now)));
        assert_eq!(ask(&store, "d", 8, now).err(), Some(Refusal::TooManyRooms));
        assert_eq!(ask(&store, "d", 10, now).err(), Some(Refusal::TooManyRooms));
        for (name, maker, ticket) in asked {
            let ticket = wait(ticket.unwrap().ready());
            let create = create(Kind::Channel, user("amy"), maker);
            let none = store.commit(&id(name), &create, now, ticket, &mut |outcome| assert!(outcome.is_ok()));
            assert!(none.is_none());
        }
        // Each was counted once.
        run(&store, &id("c"), &Command::Close { by: By::User("amy") }, now).unwrap();
        assert_eq!(ask(&store, "d", 6, now).err(), Some(Refusal::TooManyOfYours));
        run(&store, &id("a"), &Command::Close { by: By::User("amy") }, now).unwrap();
        let (e, f) = (ask(&store, "e", 6, now), ask(&store, "f", 6, now));
        assert!(e.is_ok());
        assert_eq!(f.err(), Some(Refusal::TooManyOfYours));
    }
}

#[test]
fn a_users_invitations_are_counted_while_they_are_written_too_and_after_a_restart() {
    for way in Way::all() {
        let now = now();
        let store = way.open(MANY, now.at);
        let most = super::super::index::MOST_INVITATIONS_OF_ONE;
        let rooms: Vec<RoomId> = (0..most + 2).map(|n| id(&format!("r{n}"))).collect();
        for room in &rooms {
            run(&store, room, &create(Kind::Channel, user("amy"), 6), now).unwrap();
        }
        let invite = Command::Invite { by: By::User("amy"), user: "dan", customer: 0 };
        for room in &rooms[..most - 1] {
            run(&store, room, &invite, now).unwrap();
        }
        let first = store.commit(&rooms[most - 1], &invite, now, None, &mut |_| ()).unwrap();
        assert_eq!(run(&store, &rooms[most], &invite, now), Err(Refusal::TooManyInvitations));
        let first = wait(first.ready());
        assert!(store.commit(&rooms[most - 1], &invite, now, first, &mut |_| ()).is_none());
        assert_eq!(store.invitations_of("dan", 999).len(), most);
        assert_eq!(run(&store, &rooms[most], &invite, now), Err(Refusal::TooManyInvitations));
        // Who is invited already is so still; others are not concerned.
        run(&store, &rooms[0], &invite, now).unwrap();
        run(&store, &rooms[0], &Command::Invite { by: By::User("amy"), user: "eve", customer: 0 }, now)
            .unwrap();
        drop(store);
        let store = way.open(MANY, now.at);
        if way.lasts() {
            assert_eq!(run(&store, &rooms[most], &invite, now), Err(Refusal::TooManyInvitations));
            run(&store, &rooms[0], &Command::Pardon { by: By::User("amy"), user: "dan" }, now).unwrap();
            run(&store, &rooms[most], &invite, now).unwrap();
        }
    }
}

#[test]
fn nobody_fills_up_all_of_a_users_places_and_the_operator_needs_none() {
    for way in Way::all() {
        let now = now();
        let store = way.open(MANY, now.at);
        let most = super::super::index::MOST_INVITATIONS_OF_ONE;
        let make = |name: &str, creator: &str, maker| {
            run(&store, &id(name), &create(Kind::Channel, user(creator), maker), now).unwrap();
            id(name)
        };
        let eves = Command::Invite { by: By::User("eve"), user: "dan", customer: 0 };
        let floods = (0..70).map(|n| run(&store, &make(&format!("e{n}"), "eve", 6), &eves, now));
        assert_eq!(floods.filter(Result::is_ok).count(), most);
        let ada = Command::Invite { by: By::User("ada"), user: "dan", customer: 0 };
        run(&store, &make("tea", "ada", 8), &ada, now).unwrap();
        let operator = Command::Invite { by: By::Operator, user: "dan", customer: 0 };
        let asked = (0..70).map(|n| run(&store, &id(&format!("e{n}")), &operator, now));
        assert_eq!(asked.filter(Result::is_ok).count(), 70);
        // That takes nobody's place.
        run(&store, &make("mug", "ada", 8), &ada, now).unwrap();
        assert_eq!(store.invitations_of("dan", 999).len(), 72);
    }
}

/// Carries out many commands, so that they are written together.
fn run_all(store: &Live, deeds: &[(RoomId, Command<'_>)], now: Now) {
    let asked: Vec<_> = deeds
        .iter()
        .map(|(room, command)| {
            store.commit(room, command, now, None, &mut |outcome| assert!(outcome.is_ok()))
        })
        .collect();
    for ((room, command), ticket) in deeds.iter().zip(asked) {
        let Some(ticket) = ticket else { continue };
        let ticket = wait(ticket.ready());
        assert!(store.commit(room, command, now, ticket, &mut |outcome| assert!(outcome.is_ok())).is_none());
    }
}

/// Invites `dan` into a room.
fn invite(store: &Live, room: &str, now: Now) -> Result<Said, Refusal> {
    run(store, &id(room), &Command::Invite { by: By::User("amy"), user: "dan", customer: 0 }, now)
}

/// Private rooms of `amy`'s on these accounts, this many of each: `r{account}-{n}`.
fn make(store: &Live, accounts: &[(u64, usize)], now: Now) -> Vec<RoomId> {
    let each = |&(maker, rooms): &(u64, usize)| {
        (0..rooms).map(move |n| {
            let options = Options { private: true, ..Options::default() };
            let create = Command::Create { kind: Kind::Channel, options, creator: user("amy"), maker };
            (id(&format!("r{maker}-{n}")), create)
        })
    };
    let rooms: Vec<_> = accounts.iter().flat_map(each).collect();
    run_all(store, &rooms, now);
    rooms.into_iter().map(|(room, _)| room).collect()
}

/// A store in which all of dan's places are taken.
fn full(way: &Way, now: Now) -> Live {
    let store = way.open(MANY, now.at);
    fill(&store, now);
    store
}

/// Sixteen accounts (2, 4, … 32) take all of dan's places, as many each; the invitation into `r4-0` is the oldest. And there are the
/// rooms `r100-…` and `r102-…`, into which nobody is invited.
pub(super) fn fill(store: &Live, now: Now) {
    let accounts: Vec<(u64, usize)> = (1..=16).map(|n| (2 * n, ONE)).collect();
    let rooms = make(store, &accounts, now);
    make(store, &[(100, 40), (102, 40)], now);
    let first = rooms.iter().position(|room| *room == id("r4-0")).unwrap();
    let invite =
        |at: usize| (rooms[at].clone(), Command::Invite { by: By::User("amy"), user: "dan", customer: 0 });
    run_all(store, &[invite(first)], now);
    let later = Now { unix_ms: now.unix_ms + 1, ..now };
    let others: Vec<_> = (0..rooms.len()).filter(|at| *at != first).map(invite).collect();
    run_all(store, &others, later);
    assert_eq!(store.invitations_of("dan", 999).len(), ALL);
}

pub(super) const ALL: usize = super::super::index::MOST_INVITATIONS;
const ONE: usize = super::super::index::MOST_INVITATIONS_OF_ONE;

pub(super) fn standing(store: &Live, room: &str) -> Option<Standing> {
    look(store, &id(room), |room| room.unwrap().details().standing("dan"))
}

/// What a store says of all its rooms, and of dan.
pub(super) fn everything(store: &Live) -> (Vec<RoomId>, Vec<String>) {
    let rooms = store.all(None, 9999);
    let rooms = rooms.iter().map(|(_, room)| look(store, room, |room| lasting(room.unwrap())));
    (store.invitations_of("dan", 9999), rooms.collect())
}

#[test]
fn where_all_places_are_taken_the_oldest_of_those_who_have_the_most_goes_for_one_who_has_fewer() {
    for way in Way::all() {
        let now = now();
        let mut store = full(&way, now);
        let mut now = Now { unix_ms: now.unix_ms + 10, ..now };
        for n in 0..30 {
            now.unix_ms += 1;
            assert_eq!(invite(&store, &format!("r100-{n}"), now), Ok(Said::Done), "{n}");
            assert_eq!(standing(&store, &format!("r100-{n}")), Some(Standing::Invited));
            let all = store.invitations_of("dan", 9999);
            assert!(all.len() == ALL && !all.contains(&id("r4-0")), "the oldest of all is the first to go");
            // Those who have the most lose one in turn.
            let left = |account: u64| {
                let known = |n: &usize| standing(&store, &format!("r{account}-{n}")).is_some();
                (0..ONE).filter(known).count()
            };
            let left: Vec<_> = (1..=16).map(|n| left(2 * n)).collect();
            assert_eq!(left.iter().sum::<usize>(), ALL - (n + 1));
            assert!(left.iter().max().unwrap() - left.iter().min().unwrap() <= 1, "{left:?}");
            if n == 20 && way.lasts() {
                let before = everything(&store);
                drop(store);
                store = way.open(MANY, now.at);
                assert_eq!(everything(&store), before);
            }
        }
        assert_eq!(invite(&store, "r100-30", now), Ok(Said::Done), "two of them have one more still");
        assert_eq!(invite(&store, "r100-31", now), Err(Refusal::TooManyInvitations));
        assert_eq!(invite(&store, "r102-0", now), Ok(Said::Done), "another may");
        let before = everything(&store);
        drop(store);
        if way.lasts() {
            assert_eq!(everything(&way.open(MANY, now.at)), before);
        }
    }
}

#[test]
fn an_invitation_and_the_one_that_makes_place_for_it_are_written_together() {
    for way in Way::all().into_iter().filter(Way::lasts) {
        let now = now();
        let store = full(&way, now);
        // It is on the disk, and the process ends before anything is made of that.
        let command = Command::Invite { by: By::User("amy"), user: "dan", customer: 0 };
        let ticket = store.commit(&id("r100-0"), &command, now, None, &mut |_| ()).unwrap();
        assert_eq!(standing(&store, "r4-0"), Some(Standing::Invited), "it is not written yet");
        assert!(wait(ticket.ready()).is_some());
        drop(store);
        let store = way.open(MANY, now.at);
        assert_eq!((standing(&store, "r100-0"), standing(&store, "r4-0")), (Some(Standing::Invited), None));
        assert_eq!(store.invitations_of("dan", 9999).len(), ALL);
    }
}

#[test]
fn who_takes_an_invitation_up_that_is_to_make_place_is_a_member() {
    for (asked_first, done_first) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        for way in Way::all() {
            let now = now();
            let store = full(&way, now);
            let deeds = [
                (id("r4-0"), join(None, 1, user("dan"))),
                (id("r100-0"), Command::Invite { by: By::User("amy"), user: "dan", customer: 0 }),
            ];
            let commit = |at: usize, ticket: Option<Ticket>| {
                let (room, command) = &deeds[at];
                store.commit(room, command, now, ticket, &mut |outcome| assert!(outcome.is_ok()))
            };
            // Neither is done before both are on the disk.
            let mut asked = [None, None];
            for at in [asked_first, 1 - asked_first] {
                asked[at] = commit(at, None);
            }
            let mut written = asked.map(|ticket| wait(ticket.unwrap().ready()));
            for at in [done_first, 1 - done_first] {
                assert!(commit(at, written[at].take()).is_none());
            }
            let before = everything(&store);
            assert_eq!(standing(&store, "r4-0"), Some(Standing::Member));
            assert_eq!(standing(&store, "r100-0"), Some(Standing::Invited));
            assert_eq!(before.0.len(), ALL);
            drop(store);
            if way.lasts() {
                assert_eq!(everything(&way.open(MANY, now.at)), before);
            }
        }
    }
}

#[test]
fn an_invitation_made_anew_stays_though_the_one_before_made_place() {
    for way in Way::all() {
        let now = now();
        let store = full(&way, now);
        let command = Command::Invite { by: By::User("amy"), user: "dan", customer: 0 };
        let commit = |ticket| store.commit(&id("r100-0"), &command, now, ticket, &mut |_| ());
        let written = wait(commit(None).unwrap().ready());
        run(&store, &id("r4-0"), &Command::Pardon { by: By::User("amy"), user: "dan" }, now).unwrap();
        invite(&store, "r4-0", Now { unix_ms: now.unix_ms + 1, ..now }).unwrap();
        assert!(commit(written).is_none());
        assert_eq!(standing(&store, "r4-0"), Some(Standing::Invited));
        let before = everything(&store);
        assert_eq!(before.0.len(), ALL);
        drop(store);
        if way.lasts() {
            assert_eq!(everything(&way.open(MANY, now.at)), before);
        }
    }
}

#[test]
fn who_comes_into_a_channel_full_of_invitations_takes_the_place_of_one_after_the_next_start_too() {
    let now = now();
    let [way] = Way::all().into_iter().filter(Way::lasts).collect::<Vec<_>>().try_into().ok().unwrap();
    let room = id("tea");
    let Way::Sqlite(path, _) = &way else { unreachable!() };
    let store = way.open(MANY, now.at);
    run(&store, &room, &create(Kind::Channel, user("amy"), 6), now).unwrap();
    drop(store);
    // As a flood has left it that came before invitations were shared out, and one of amy's.
    let keep = Keep { history: HISTORY, history_ttl: Duration::ZERO, calls: 1000, calls_ttl: Duration::ZERO };
    let ledger = Sqlite::open(path, keep).unwrap();
    let invited = (2..Details::MOST_PEOPLE).map(|n| {
        let by = (n % 2 == 0).then(|| Source { user: Some("eve".into()), customer: 7 });
        let person = Person { standing: Standing::Invited, name: None, since: n as u64, by };
        Record::Person { room: room.clone(), user: format!("u{n:04}").into(), person: Some(person) }
    });
    wait(ledger.write(invited.collect())).unwrap();
    drop(ledger);
    let store = way.open(MANY, now.at);
    let invite = |store: &Live, n: u32, customer| {
        let user = format!("late{n}");
        run(store, &room, &Command::Invite { by: By::User("amy"), user: &user, customer }, now).map(|_| ())
    };
    invite(&store, 0, 8).unwrap();
    let bob = join(None, 1, user("bob"));
    run(&store, &room, &bob, now).unwrap();
    assert_eq!(invite(&store, 1, 7), Ok(()), "amy has none yet of that address's");
    drop(store);
    for _ in 0..2 {
        let store = way.open(MANY, now.at);
        let people = look(&store, &room, |room| room.unwrap().details().people.clone());
        assert_eq!(people.len(), Details::MOST_PEOPLE);
        let standing = |user: &str| people.get(user).map(|person| person.standing);
        // Eve's oldest.
        assert_eq!(["u0002", "u0004", "u0006"].map(standing), [None, None, Some(Standing::Invited)]);
        assert_eq!(["u0003", "late0", "bob"].map(standing).map(|it| it.is_some()), [true; 3]);
        assert_eq!(people["late0"].by, Some(Source { user: Some("amy".into()), customer: 8 }));
        assert!(store.invitations_of("u0002", 9).is_empty() && !store.invitations_of("u0008", 9).is_empty());
    }
}

#[test]
fn one_address_invites_so_many_and_no_more_whoever_they_are() {
    let (now, per_room) = (now(), Details::MOST_INVITED);
    let store = Way::Volatile.open(MANY, now.at);
    let rooms = super::super::index::MOST_INVITATIONS_FROM_ONE as usize / per_room;
    let invite = |room: usize, by, user: &str, customer| {
        run(&store, &id(&format!("r{room}")), &Command::Invite { by, user, customer }, now).map(|_| ())
    };
    let amy = By::User("amy");
    for room in 0..=rooms {
        let maker = 2 * room as u64 + 2;
        run(&store, &id(&format!("r{room}")), &create(Kind::Channel, user("amy"), maker), now).unwrap();
    }
    for n in 0..rooms * per_room {
        invite(n / per_room, amy, &format!("u{n}"), 7).unwrap();
    }
    assert_eq!(invite(rooms, amy, "one more", 7), Err(Refusal::TooManyInvited));
    // Of other addresses, and of nowhere in particular.
    for (by, user, customer) in [(amy, "bob", 8), (amy, "cy", 0), (By::Operator, "dan", 0)] {
        invite(rooms, by, user, customer).unwrap();
    }
    // One comes, one is taken back, one is put out for good, and a room ends.
    run(&store, &id("r0"), &join(None, 1, user("u0")), now).unwrap();
    run(&store, &id("r0"), &Command::Pardon { by: amy, user: "u1" }, now).unwrap();
    run(&store, &id("r0"), &Command::Kick { by: amy, target: Target::User("u2"), ban: true }, now).unwrap();
    for n in 0..3 {
        invite(rooms, amy, &format!("late{n}"), 7).unwrap();
    }
    assert_eq!(invite(rooms, amy, "one more", 7), Err(Refusal::TooManyInvited));
    run(&store, &id("r1"), &Command::Close { by: amy }, now).unwrap();
    for n in 3..Details::MOST_INVITED - 2 {
        invite(rooms, amy, &format!("late{n}"), 7).unwrap();
    }
}
