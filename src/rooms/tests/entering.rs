//! Who comes in, and who does not.

use super::*;

fn private() -> Options {
    Options { private: true, ..Options::default() }
}

fn with_password() -> Options {
    Options { password: Some("hash".into()), ..Options::default() }
}

#[test]
fn a_private_room_takes_its_creator_and_who_is_invited() {
    let mut house = House::new(rules());
    let id = room("a");
    house.run(&id, made(Kind::Room, Some("ada"), private())).unwrap();
    assert_eq!(house.enter(&id, Some("bob")), Err(Refusal::Private));
    assert_eq!(house.enter(&id, None), Err(Refusal::Private));
    let ada = house.enter(&id, Some("ada")).unwrap();
    assert_eq!(house.rank(&id, ada), Rank::Creator);
    house.run(&id, invite(By::Peer(ada), "bob")).unwrap();
    let bob = house.enter(&id, Some("bob")).unwrap();
    assert_eq!(house.enter(&id, Some("eve")), Err(Refusal::Private));
    // A member from then on: it may invite others, and come back.
    house.run(&id, leave(bob)).unwrap();
    house.run(&id, invite(By::User("bob"), "carol")).unwrap();
    house.enter(&id, Some("bob")).unwrap();
    house.enter(&id, Some("carol")).unwrap();
    assert_eq!(house.run(&id, invite(By::User("eve"), "eve")), Err(Refusal::NotAMember));
    // Whoever is put out needs another invitation.
    house.run(&id, Command::Kick { by: By::Peer(ada), target: Target::User("carol"), ban: false }).unwrap();
    assert_eq!(house.enter(&id, Some("carol")), Err(Refusal::Private));
    // An invitation can be taken back.
    house.run(&id, invite(By::Peer(ada), "dave")).unwrap();
    house.run(&id, Command::Pardon { by: By::Peer(ada), user: "dave" }).unwrap();
    assert_eq!(house.enter(&id, Some("dave")), Err(Refusal::Private));
}

#[test]
fn a_password_opens_a_room_to_strangers_and_others_need_none() {
    let mut house = House::new(rules());
    for options in [with_password(), Options { private: true, ..with_password() }] {
        let id = room("a");
        house.run(&id, made(Kind::Room, Some("ada"), options)).unwrap();
        assert_eq!(house.enter(&id, Some("bob")), Err(Refusal::PasswordRequired));
        let wrong = Join { password: Some("another hash".into()), ..house.who(Some("bob")) };
        assert_eq!(house.take_seat(&id, wrong), Err(Refusal::PasswordRequired));
        let right = Join { password: Some("hash".into()), ..house.who(Some("bob")) };
        let bob = house.take_seat(&id, right).unwrap();
        assert_eq!(house.rank(&id, bob), Rank::Member);
        house.enter(&id, Some("ada")).unwrap();
        house.run(&id, invite(By::Peer(bob), "carol")).unwrap();
        house.enter(&id, Some("carol")).unwrap();
        house.run(&id, CLOSE).unwrap();
    }
}

#[test]
fn nobodys_room_opens_to_no_stranger_because_it_is_empty() {
    let mut house = House::new(rules());
    let id = room("a");
    house.run(&id, made(Kind::Room, None, with_password())).unwrap();
    assert_eq!(house.enter(&id, Some("eve")), Err(Refusal::PasswordRequired));
    let right = Join { password: Some("hash".into()), ..house.who(Some("bob")) };
    let bob = house.take_seat(&id, right).unwrap();
    assert_eq!(house.rank(&id, bob), Rank::Creator, "whoever comes first has it");
    house.run(&id, CLOSE).unwrap();
    house.run(&id, made(Kind::Room, None, private())).unwrap();
    assert_eq!(house.enter(&id, Some("eve")), Err(Refusal::Private));
    house.run(&id, CLOSE).unwrap();
    house.run(&id, create(None)).unwrap();
    house.run(&id, kick(Target::User("eve"), true)).unwrap();
    assert_eq!(house.enter(&id, Some("eve")), Err(Refusal::Banned));
    house.run(&id, lock(By::Operator, None, Some(true))).unwrap();
    house.wait(&id, Some("bob"));
}

#[test]
fn who_made_a_room_without_saying_who_it_is_comes_in_first() {
    let mut house = House::new(rules());
    for kind in Kind::ALL {
        let id = room(kind.name());
        let options = Options { lobby: true, ..private() };
        house.run(&id, Command::Create { kind, options, creator: Who::default(), maker: 6 }).unwrap();
        let other = Join { maker: 8, ..house.who(None) };
        assert_eq!(house.take_seat(&id, other), Err(Refusal::Private));
        let maker = Join { maker: 6, ..house.who(None) };
        let maker = house.take_seat(&id, maker).unwrap();
        assert_eq!(house.rank(&id, maker), Rank::Creator);
        // Once: it is not a key.
        let again = Join { maker: 6, ..house.who(None) };
        assert_eq!(house.take_seat(&id, again), Err(Refusal::Private));
    }
    let id = room("b");
    let creator = Who::default();
    house
        .run(&id, Command::Create { kind: Kind::Room, options: with_password(), creator, maker: 7 })
        .unwrap();
    let neighbour = Join { maker: 7, ..house.who(None) };
    assert_eq!(house.take_seat(&id, neighbour), Err(Refusal::PasswordRequired), "an address is shared");
}

#[test]
fn a_locked_room_takes_those_who_belong_to_it_and_those_who_come_back() {
    let mut house = House::new(Rules { capacity: 9, ..rules() });
    let id = room("a");
    house.run(&id, made(Kind::Channel, Some("ada"), Options::default())).unwrap();
    let ada = house.enter(&id, Some("ada")).unwrap();
    let bob = house.enter(&id, Some("bob")).unwrap();
    house.run(&id, invite(By::Peer(ada), "carol")).unwrap();
    assert_eq!(house.run(&id, lock(By::Peer(bob), Some(true), None)), Err(Refusal::Forbidden));
    house.run(&id, lock(By::Peer(ada), Some(true), None)).unwrap();
    assert_eq!(house.told(bob), ["changed"]);
    // Twice is once.
    house.run(&id, lock(By::Peer(ada), Some(true), None)).unwrap();
    assert!(house.told(bob).is_empty());
    for user in [Some("dave"), Some("carol"), None] {
        assert_eq!(house.enter(&id, user), Err(Refusal::Locked), "{user:?}");
    }
    house.lost(&id, bob);
    house.run(&id, resume(bob)).unwrap();
    house.lost(&id, bob);
    house.pass(31 * SECOND);
    house.enter(&id, Some("bob")).unwrap();
    house.run(&id, lock(By::User("ada"), Some(false), None)).unwrap();
    house.enter(&id, Some("dave")).unwrap();
}

#[test]
fn a_token_that_makes_a_moderator_opens_everything_and_makes_no_creator() {
    let mut house = House::new(rules());
    for rank in [Rank::Moderator, Rank::Creator] {
        let id = room("a");
        let options = Options { lobby: true, private: true, ..with_password() };
        house.run(&id, made(Kind::Room, Some("ada"), options)).unwrap();
        house.run(&id, lock(By::Operator, Some(true), None)).unwrap();
        house.run(&id, kick(Target::User("mod"), true)).unwrap();
        let token = |user: &str| Who { user: Some(user.into()), name: None, rank };
        let join = Join { who: token("mod"), ..house.who(None) };
        let peer = house.take_seat(&id, join).unwrap();
        assert_eq!(house.rank(&id, peer), Rank::Moderator);
        house.run(&id, CLOSE).unwrap();
    }
}

#[test]
fn a_newcomer_takes_its_own_seat_from_before_and_nobody_elses() {
    let mut house = House::new(rules());
    let id = room("a");
    house.run(&id, create(Some(3))).unwrap();
    let [_, b, c] = ["ada", "bob", "carol"].map(|user| house.enter(&id, Some(user)).unwrap());
    house.lost(&id, b);
    house.pass(SECOND);
    house.lost(&id, c);
    house.enter(&id, Some("carol")).unwrap();
    assert!(house.rooms[&id].member(b).is_some() && house.rooms[&id].member(c).is_none());
    assert_eq!(house.enter(&id, Some("eve")), Err(Refusal::Full));
    house.enter(&id, Some("bob")).unwrap();
    assert!(house.rooms[&id].member(b).is_none());
}

#[test]
fn a_call_is_for_two_whatever_was_asked_for() {
    let mut house = House::new(rules());
    for capacity in [1, 2, 9] {
        let id = room(&format!("c{capacity}"));
        let options = Options { capacity: Some(capacity), ..Options::default() };
        house.run(&id, made(Kind::Call, Some("ada"), options)).unwrap();
        assert_eq!(house.rooms[&id].capacity, 2);
    }
}

#[test]
fn a_channel_is_not_made_by_coming_to_it() {
    let mut house = House::new(rules());
    assert_eq!(house.enter(&room("a"), Some("ada")), Err(Refusal::NoSuchRoom));
    let id = room("b");
    let listed = Join { absent: Some(Absent { kind: Kind::Room, listed: true }), ..house.who(None) };
    house.take_seat(&id, listed).unwrap();
    assert!(house.rooms[&id].details().listed && !house.rooms[&id].is_stored());
}
