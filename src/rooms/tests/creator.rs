//! Whose a room is, and what becomes of it when that one goes.

use super::*;

fn auto_delete() -> Options {
    Options { auto_delete: true, ..Options::default() }
}

fn moderator(by: PeerId, target: Target<'_>, moderator: bool) -> Command<'_> {
    Command::Promote { by: By::Peer(by), target, moderator }
}

#[test]
fn a_room_is_whose_who_came_first_and_then_of_a_moderator_or_the_next() {
    let mut house = House::new(Rules { capacity: 5, ..rules() });
    let id = room("a");
    let first = Join { absent: Some(Absent { kind: Kind::Room, listed: false }), ..house.who(Some("ada")) };
    let ada = house.take_seat(&id, first).unwrap();
    let [bob, carol, dave] = ["bob", "carol", "dave"].map(|user| house.enter(&id, Some(user)).unwrap());
    house.run(&id, moderator(ada, Target::Peer(carol), true)).unwrap();
    house.run(&id, leave(ada)).unwrap();
    assert_eq!(
        [bob, carol, dave].map(|peer| house.rank(&id, peer)),
        [Rank::Member, Rank::Creator, Rank::Member]
    );
    // Lost for good, and who is away comes last.
    house.lost(&id, bob);
    house.pass(SECOND);
    house.lost(&id, carol);
    house.pass(29 * SECOND);
    assert!(house.rooms[&id].member(bob).is_none());
    house.pass(SECOND);
    assert_eq!(house.rank(&id, dave), Rank::Creator);
}

#[test]
fn a_creator_with_two_devices_is_there_until_the_last() {
    let mut house = House::new(rules());
    for kind in [Kind::Room, Kind::Channel] {
        let id = room(kind.name());
        house.run(&id, made(kind, Some("ada"), Options::default())).unwrap();
        let one = house.enter(&id, Some("ada")).unwrap();
        let bob = house.enter(&id, Some("bob")).unwrap();
        let other = house.enter(&id, Some("ada")).unwrap();
        house.run(&id, leave(one)).unwrap();
        assert_eq!((house.rank(&id, other), house.creator(&id)), (Rank::Creator, Some("ada")));
        house.run(&id, leave(other)).unwrap();
        assert_eq!((house.rank(&id, bob), house.creator(&id)), (Rank::Creator, Some("bob")));
        // All of the heir's devices, those to come too.
        let second = house.enter(&id, Some("bob")).unwrap();
        assert_eq!(house.rank(&id, second), Rank::Creator);
        let ada = house.enter(&id, Some("ada")).unwrap();
        assert_eq!(house.rank(&id, ada), Rank::Member);
    }
}

#[test]
fn a_channels_creator_keeps_it_by_being_away_and_not_by_leaving() {
    let mut house = House::new(rules());
    let id = room("a");
    house.run(&id, made(Kind::Channel, Some("ada"), Options::default())).unwrap();
    let ada = house.enter(&id, Some("ada")).unwrap();
    let bob = house.enter(&id, Some("bob")).unwrap();
    house.lost(&id, ada);
    house.pass(31 * SECOND);
    assert_eq!((house.creator(&id), house.rank(&id, bob)), (Some("ada"), Rank::Member));
    // It rules from afar.
    house.run(&id, lock(By::User("ada"), None, Some(true))).unwrap();
    let ada = house.enter(&id, Some("ada")).unwrap();
    // Closing the page is no leaving, either.
    let session = house.rooms[&id].member(ada).unwrap().session;
    house.run(&id, Command::Lost { peer: ada, session, keep: false }).unwrap();
    assert_eq!(house.creator(&id), Some("ada"));
    let ada = house.enter(&id, Some("ada")).unwrap();
    house.run(&id, leave(ada)).unwrap();
    assert_eq!((house.creator(&id), house.rank(&id, bob)), (Some("bob"), Rank::Creator));
    assert_eq!(house.rooms[&id].details().standing("ada"), None);
}

#[test]
fn a_channel_that_is_left_by_all_is_a_moderators_elsewhere() {
    let mut house = House::new(rules());
    let id = room("a");
    house.run(&id, made(Kind::Channel, Some("ada"), Options::default())).unwrap();
    let ada = house.enter(&id, Some("ada")).unwrap();
    for user in ["bob", "carol"] {
        house.pass(SECOND);
        let peer = house.enter(&id, Some(user)).unwrap();
        house.lost(&id, peer);
    }
    house.pass(31 * SECOND);
    house.run(&id, moderator(ada, Target::User("carol"), true)).unwrap();
    house.run(&id, leave(ada)).unwrap();
    assert_eq!(house.creator(&id), Some("carol"));
    house.pass(10_000 * SECOND);
    house.run(&id, kick(Target::User("carol"), false)).unwrap();
    assert_eq!(house.creator(&id), Some("bob"));
    house.run(&id, kick(Target::User("bob"), true)).unwrap();
    assert_eq!(house.creator(&id), None);
    house.pass(3600 * SECOND);
    assert!(house.rooms.is_empty(), "nobody belongs to it");
}

#[test]
fn a_creator_that_is_banned_rules_no_more() {
    for kind in [Kind::Room, Kind::Channel] {
        for there in [true, false] {
            let mut house = House::new(rules());
            let id = room("a");
            house.run(&id, made(kind, Some("ada"), Options::default())).unwrap();
            let bob = house.enter(&id, Some("bob")).unwrap();
            if there {
                house.enter(&id, Some("ada")).unwrap();
            }
            assert_eq!(
                house.run(&id, Command::Kick { by: By::Peer(bob), target: Target::User("ada"), ban: true }),
                Err(Refusal::Forbidden)
            );
            house.run(&id, kick(Target::User("ada"), true)).unwrap();
            assert_eq!((house.creator(&id), house.rank(&id, bob)), (Some("bob"), Rank::Creator));
            assert_eq!(house.enter(&id, Some("ada")), Err(Refusal::Banned));
            assert_eq!(house.run(&id, Command::Close { by: By::User("ada") }), Err(Refusal::NotAMember));
        }
    }
    // With nobody there to have it.
    let mut house = House::new(rules());
    let id = room("a");
    house.run(&id, made(Kind::Room, Some("ada"), Options::default())).unwrap();
    house.run(&id, kick(Target::User("ada"), true)).unwrap();
    assert_eq!(house.creator(&id), None);
    let bob = house.enter(&id, Some("bob")).unwrap();
    assert_eq!(house.rank(&id, bob), Rank::Creator);
}

#[test]
fn a_room_that_goes_with_its_creator_goes_when_the_creator_does() {
    let gone = |id: &RoomId, house: &mut House, ada: PeerId, how: usize| match how {
        0 => drop(house.run(id, leave(ada)).unwrap()),
        1 => drop(house.run(id, kick(Target::Peer(ada), false)).unwrap()),
        _ => {
            house.lost(id, ada);
            house.pass(30 * SECOND);
        }
    };
    for how in 0..3 {
        let mut house = House::new(rules());
        let id = room("a");
        house.run(&id, made(Kind::Room, Some("ada"), auto_delete())).unwrap();
        let ada = house.enter(&id, Some("ada")).unwrap();
        let bob = house.enter(&id, Some("bob")).unwrap();
        gone(&id, &mut house, ada, how);
        assert!(house.rooms.is_empty(), "{how}");
        assert_eq!(house.told(bob).last().unwrap(), "closed:creator-left");
    }
    // A channel's creator goes by leaving.
    for (how, stays) in [(0, false), (1, false), (2, true)] {
        let mut house = House::new(rules());
        let id = room("a");
        house.run(&id, made(Kind::Channel, Some("ada"), auto_delete())).unwrap();
        let ada = house.enter(&id, Some("ada")).unwrap();
        house.enter(&id, Some("bob")).unwrap();
        gone(&id, &mut house, ada, how);
        assert_eq!(house.rooms.contains_key(&id), stays, "{how}");
    }
}

#[test]
fn a_stranger_does_not_end_a_room_by_taking_its_creators_seat() {
    let mut house = House::new(rules());
    let id = room("a");
    house.run(&id, made(Kind::Room, Some("ada"), Options { capacity: Some(2), ..auto_delete() })).unwrap();
    let ada = house.enter(&id, Some("ada")).unwrap();
    let bob = house.enter(&id, Some("bob")).unwrap();
    house.lost(&id, ada);
    assert_eq!(house.enter(&id, Some("eve")), Err(Refusal::Full));
    let ada = house.enter(&id, Some("ada")).unwrap();
    assert_eq!((house.rank(&id, ada), house.told(bob).len()), (Rank::Creator, 3));
    // One who only comes from the same place may be a stranger.
    let id = room("b");
    house.run(&id, made(Kind::Room, None, Options { capacity: Some(2), ..auto_delete() })).unwrap();
    let [first, _] = [0; 2].map(|_| house.enter(&id, None).unwrap());
    house.lost(&id, first);
    assert_eq!(house.enter(&id, None), Err(Refusal::Full));
}

#[test]
fn a_seat_that_is_taken_over_leaves_the_room_to_those_who_are_there() {
    let mut house = House::new(rules());
    let id = room("a");
    let first = Join { absent: Some(Absent { kind: Kind::Room, listed: false }), ..house.who(None) };
    let first = house.take_seat(&id, first).unwrap();
    let bob = house.enter(&id, Some("bob")).unwrap();
    house.lost(&id, first);
    let again = house.enter(&id, None).unwrap();
    let newcomer = house.enter(&id, Some("bob")).unwrap();
    assert!(house.rooms[&id].member(first).is_none());
    // All of the heir's seats, the new one too.
    assert_eq!(
        [bob, again, newcomer].map(|peer| house.rank(&id, peer)),
        [Rank::Creator, Rank::Member, Rank::Creator]
    );
    // Nobody else is there: it is the newcomer's.
    for user in [Some("ada"), None] {
        let id = room(user.unwrap_or("none"));
        let options = Options { capacity: Some(1), ..Options::default() };
        house.run(&id, made(Kind::Room, user, options)).unwrap();
        let ada = house.enter(&id, user).unwrap();
        house.lost(&id, ada);
        assert_eq!(house.enter(&id, Some("eve")), Err(Refusal::Full));
        let again = house.enter(&id, user).unwrap();
        assert_eq!((house.rank(&id, again), house.creator(&id)), (Rank::Creator, user));
    }
}

#[test]
fn moderators_are_made_by_the_creator_there_or_not_and_on_all_devices() {
    let mut house = House::new(rules());
    let id = room("a");
    house.run(&id, made(Kind::Channel, Some("ada"), Options::default())).unwrap();
    let ada = house.enter(&id, Some("ada")).unwrap();
    let [one, two] = [0; 2].map(|_| house.enter(&id, Some("bob")).unwrap());
    let carol = house.enter(&id, Some("carol")).unwrap();
    assert_eq!(house.run(&id, moderator(carol, Target::Peer(carol), true)), Err(Refusal::Forbidden));
    assert_eq!(house.run(&id, moderator(ada, Target::User("nobody"), true)), Err(Refusal::NoSuchPeer));
    assert_eq!(house.run(&id, moderator(ada, Target::Peer(ada), false)), Err(Refusal::Forbidden));
    house.run(&id, moderator(ada, Target::Peer(one), true)).unwrap();
    assert_eq!([one, two].map(|peer| house.rank(&id, peer)), [Rank::Moderator; 2]);
    // Moderators put out members, and neither each other nor the creator.
    house.run(&id, moderator(ada, Target::User("carol"), true)).unwrap();
    for target in [
        Target::Peer(carol),
        Target::User("carol"),
        Target::Peer(ada),
        Target::Peer(one),
        Target::User("ada"),
    ] {
        let kicked = house.run(&id, Command::Kick { by: By::Peer(one), target, ban: false });
        assert_eq!(kicked, Err(Refusal::Forbidden), "{target:?}");
    }
    house.run(&id, moderator(ada, Target::User("carol"), false)).unwrap();
    house.run(&id, Command::Kick { by: By::Peer(two), target: Target::Peer(carol), ban: false }).unwrap();
    assert_eq!(house.rooms[&id].details().standing("carol"), None);
    // Who is not there keeps it, and loses it.
    for peer in [one, two] {
        house.lost(&id, peer);
    }
    house.pass(31 * SECOND);
    let bob = house.enter(&id, Some("bob")).unwrap();
    assert_eq!(house.rank(&id, bob), Rank::Moderator);
    house.lost(&id, bob);
    house.pass(31 * SECOND);
    house.run(&id, moderator(ada, Target::User("bob"), false)).unwrap();
    let bob = house.enter(&id, Some("bob")).unwrap();
    assert_eq!(house.rank(&id, bob), Rank::Member);
    assert_eq!(house.run(&id, Command::Close { by: By::Peer(bob) }), Err(Refusal::Forbidden));
    house.run(&id, Command::Close { by: By::User("ada") }).unwrap();
    assert!(house.rooms.is_empty());
}
