//! How much there may be: of rooms in all, of rooms on one account, of one user's invitations.

use super::*;

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
        let invite = Command::Invite { by: By::User("amy"), user: "dan" };
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
        run(&store, &rooms[0], &Command::Invite { by: By::User("amy"), user: "eve" }, now).unwrap();
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
        let eves = Command::Invite { by: By::User("eve"), user: "dan" };
        let floods = (0..70).map(|n| run(&store, &make(&format!("e{n}"), "eve", 6), &eves, now));
        assert_eq!(floods.filter(Result::is_ok).count(), most);
        let ada = Command::Invite { by: By::User("ada"), user: "dan" };
        run(&store, &make("tea", "ada", 8), &ada, now).unwrap();
        let operator = Command::Invite { by: By::Operator, user: "dan" };
        let asked = (0..70).map(|n| run(&store, &id(&format!("e{n}")), &operator, now));
        assert_eq!(asked.filter(Result::is_ok).count(), 70);
        // That takes nobody's place.
        run(&store, &make("mug", "ada", 8), &ada, now).unwrap();
        assert_eq!(store.invitations_of("dan", 999).len(), 72);
    }
}
