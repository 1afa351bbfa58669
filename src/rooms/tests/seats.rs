//! Seats: taken, kept, lost, taken again; calls and rooms that begin and end.

use super::*;

#[test]
fn a_call_waits_becomes_active_and_ends_with_the_first_to_leave() {
    let mut house = House::new(rules());
    let id = room("a");
    let a = house.join(&id, Kind::Call).unwrap();
    assert_eq!(house.rooms[&id].status, Status::Waiting);
    let b = house.join(&id, Kind::Call).unwrap();
    assert_eq!(house.rooms[&id].status, Status::Active);
    assert_eq!(house.join(&id, Kind::Call), Err(Refusal::Full));
    house.pass(3600 * SECOND);
    house.run(&id, Command::Leave { peer: b, session: None }).unwrap();
    assert_eq!(house.told(a), ["joined", "left:left", "closed:peer-left"]);
    assert!(house.told(b).is_empty() && house.rooms.is_empty());
}

#[test]
fn a_call_that_nobody_joins_times_out_at_the_very_moment() {
    let mut house = House::new(rules());
    let id = room("a");
    let a = house.join(&id, Kind::Call).unwrap();
    house.pass(30 * SECOND - Duration::from_millis(1));
    assert!(house.told(a).is_empty());
    house.pass(Duration::from_millis(1));
    assert_eq!(house.told(a), ["timeout"]);
    assert!(house.rooms.is_empty());
}

#[test]
fn a_room_waits_for_nobody_and_goes_with_its_last_member() {
    let mut house = House::new(rules());
    let id = room("a");
    let a = house.join(&id, Kind::Room).unwrap();
    house.pass(3600 * SECOND);
    let b = house.join(&id, Kind::Call).unwrap();
    assert_eq!(house.rooms[&id].kind, Kind::Room);
    house.run(&id, Command::Leave { peer: a, session: None }).unwrap();
    assert_eq!(house.told(b), ["left:left", "changed"], "it is the heir, too");
    house.run(&id, Command::Leave { peer: b, session: None }).unwrap();
    assert!(house.rooms.is_empty());
}

#[test]
fn a_room_that_was_made_empty_ends_unless_someone_comes() {
    let mut house = House::new(rules());
    let [a, b] = ["a", "b"].map(room);
    for id in [&a, &b] {
        house.run(id, create(Some(2))).unwrap();
    }
    assert_eq!(house.run(&a, create(None)), Err(Refusal::CannotCreate));
    assert_eq!(house.run(&room("c"), create(Some(0))), Err(Refusal::CannotCreate));
    for (asked, given) in [(1, 1), (3, 3), (4, 3), (u64::MAX, 3)] {
        let id = room(&format!("c{asked}"));
        house.run(&id, create(Some(asked))).unwrap();
        assert_eq!(house.rooms[&id].capacity, given, "no more than the rules allow");
    }
    house.join(&a, Kind::Room).unwrap();
    house.pass(3600 * SECOND);
    assert_eq!(house.rooms.keys().collect::<Vec<_>>(), [&a]);
}

#[test]
fn a_lost_member_may_come_back_within_grace_to_its_own_seat() {
    let mut house = House::new(rules());
    let id = room("a");
    let a = house.join(&id, Kind::Call).unwrap();
    let b = house.join(&id, Kind::Call).unwrap();
    house.lost(&id, b);
    house.pass(29 * SECOND);
    house.signal(&id, a, None, "for b").unwrap();
    let seated = Answer::Seated { peer: b, resumed: true, restored: false };
    assert_eq!(house.run(&id, resume(b)), Ok(seated));
    house.pass(3600 * SECOND);
    assert_eq!(house.told(a), ["joined", "away", "back"]);
    assert_eq!(house.told(b), ["for b"]);
    assert_eq!(house.rooms[&id].members.len(), 2);
    // What the old connection still says about its end means nothing.
    house.run(&id, Command::Lost { peer: b, session: 1, keep: true }).unwrap();
    house.run(&id, Command::Leave { peer: b, session: Some(1) }).unwrap();
    assert!(house.rooms[&id].member(b).unwrap().away.is_none());
}

#[test]
fn a_member_that_stays_away_is_gone_when_grace_ends() {
    let mut house = House::new(rules());
    let id = room("a");
    let a = house.join(&id, Kind::Call).unwrap();
    let b = house.join(&id, Kind::Call).unwrap();
    house.lost(&id, b);
    house.pass(30 * SECOND);
    assert_eq!(house.told(a), ["joined", "away", "left:lost", "closed:peer-lost"]);
    assert_eq!(house.run(&id, resume(b)), Err(Refusal::ResumeFailed));
}

#[test]
fn without_grace_a_lost_member_is_gone_at_once() {
    let mut house = House::new(Rules { grace: Duration::ZERO, ..rules() });
    let id = room("a");
    let a = house.join(&id, Kind::Call).unwrap();
    let b = house.join(&id, Kind::Call).unwrap();
    house.lost(&id, b);
    assert_eq!(house.told(a), ["joined", "left:lost", "closed:peer-lost"]);
    assert!(house.rooms.is_empty());
}

/// Somebody comes from there, as that user or nobody.
fn comes(house: &mut House, id: &RoomId, user: Option<&str>, customer: u32) -> Result<PeerId, Refusal> {
    let absent = Some(Absent { kind: Kind::Call, listed: false });
    let join = Join { absent, customer, ..house.who(user) };
    house.take_seat(id, join)
}

#[test]
fn a_seat_that_is_kept_in_a_full_room_goes_to_its_own_alone() {
    // Whose it is, and from where; who gets it; who does not.
    let (ada, nobody) = (Some("ada"), None);
    for (whose, own, others) in [
        ((ada, 1), (ada, 2), [(Some("eve"), 1), (nobody, 1), (Some("bob"), 2)]),
        ((nobody, 1), (nobody, 1), [(nobody, 2), (nobody, 0), (Some("eve"), 1)]),
        ((nobody, 0), (nobody, 0), [(nobody, 2), (Some("eve"), 0), (Some("bob"), 0)]),
    ] {
        let (mut house, id) = (House::new(rules()), room("a"));
        let bob = comes(&mut house, &id, Some("bob"), 2).unwrap();
        let old = comes(&mut house, &id, whose.0, whose.1).unwrap();
        house.lost(&id, old);
        for (user, customer) in others {
            assert_eq!(comes(&mut house, &id, user, customer), Err(Refusal::Full), "{user:?} {customer}");
        }
        let new = comes(&mut house, &id, own.0, own.1).unwrap();
        assert!(house.rooms[&id].member(old).is_none() && house.rooms[&id].member(new).is_some());
        // The call goes on.
        assert_eq!(house.told(bob), ["joined", "away", "left:lost", "joined"]);
        house.pass(3600 * SECOND);
        assert_eq!(house.rooms[&id].members.len(), 2);
    }
}

#[test]
fn who_has_been_away_for_longest_gives_its_seat_to_who_may_be_it() {
    let (mut house, id) = (House::new(rules()), room("a"));
    house.run(&id, create(Some(3))).unwrap();
    let [_, b, c] = [1; 3].map(|customer| comes(&mut house, &id, None, customer).unwrap());
    house.lost(&id, c);
    house.pass(SECOND);
    house.lost(&id, b);
    comes(&mut house, &id, None, 1).unwrap();
    assert!(house.rooms[&id].member(c).is_none() && house.rooms[&id].member(b).is_some());
}

#[test]
fn a_seat_is_not_kept_from_others_for_who_has_come_in_anew() {
    let (mut house, id) = (House::new(rules()), room("a"));
    // Whoever waits reloads the page: its old seat must not keep out whom it waits for.
    let old = comes(&mut house, &id, None, 1).unwrap();
    house.lost(&id, old);
    let new = comes(&mut house, &id, None, 1).unwrap();
    let callee = comes(&mut house, &id, None, 2).unwrap();
    let seated: Vec<_> = house.rooms[&id].members.iter().map(|it| it.peer).collect();
    assert_eq!(seated, [new, callee]);
    // The one that comes back to it after all needs it again.
    let id = room("b");
    let old = comes(&mut house, &id, None, 1).unwrap();
    house.lost(&id, old);
    comes(&mut house, &id, None, 1).unwrap();
    house.run(&id, resume(old)).unwrap();
    house.lost(&id, old);
    assert_eq!(comes(&mut house, &id, None, 2), Err(Refusal::Full));
}

#[test]
fn who_comes_in_anew_has_no_need_of_one_seat_and_not_of_all_from_its_address() {
    let (mut house, id) = (House::new(Rules { capacity: 4, ..rules() }), room("a"));
    house.run(&id, create(Some(4))).unwrap();
    let [b, c] = [1; 2].map(|customer| comes(&mut house, &id, None, customer).unwrap());
    comes(&mut house, &id, None, 2).unwrap();
    house.lost(&id, c);
    house.pass(SECOND);
    house.lost(&id, b);
    comes(&mut house, &id, None, 1).unwrap();
    comes(&mut house, &id, None, 3).unwrap();
    assert!(house.rooms[&id].member(c).is_none(), "it was lost first");
    assert_eq!(comes(&mut house, &id, None, 4), Err(Refusal::Full), "the other one's is another's");
}

#[test]
fn who_comes_back_from_elsewhere_is_the_one_from_there() {
    let (mut house, id) = (House::new(rules()), room("a"));
    comes(&mut house, &id, None, 2).unwrap();
    let old = comes(&mut house, &id, None, 1).unwrap();
    let holder = Holder::Anybody;
    house.run(&id, Command::Resume { peer: old, session: 9, customer: 3, holder, restore: None }).unwrap();
    house.lost(&id, old);
    assert_eq!(comes(&mut house, &id, None, 1), Err(Refusal::Full));
    comes(&mut house, &id, None, 3).unwrap();
}

#[test]
fn a_seat_is_taken_again_from_who_must_have_it_and_from_nobody_else() {
    let (mut house, id) = (House::new(rules()), room("a"));
    let [_, b] = [0; 2].map(|_| house.join(&id, Kind::Call).unwrap());
    let session = house.rooms[&id].member(b).unwrap().session;
    let takes = |house: &mut House, holder, session| {
        let done = house.run(&id, Command::Resume { peer: b, session, customer: 0, holder, restore: None });
        let now = house.rooms[&id].member(b).unwrap().session;
        assert_eq!(done.is_ok(), now == session, "{done:?}");
        assert!(done.is_ok() || done == Err(Refusal::ResumeFailed));
        done.is_ok()
    };
    assert!(!takes(&mut house, Holder::Nobody, 70) && !takes(&mut house, Holder::Session(70), 71));
    // Whether it is known yet that its transport is lost, or not.
    assert!(takes(&mut house, Holder::Session(session), 72));
    assert!(!takes(&mut house, Holder::Session(session), 73), "it is another connection's now");
    house.lost(&id, b);
    assert!(!takes(&mut house, Holder::Session(session), 74) && takes(&mut house, Holder::Session(72), 75));
    house.lost(&id, b);
    assert!(takes(&mut house, Holder::Nobody, 76) && takes(&mut house, Holder::Anybody, 77));
}

#[test]
fn a_target_is_a_peer_or_all_peers_of_a_user_and_never_oneself() {
    let mut house = House::new(Rules { capacity: 6, ..rules() });
    let id = room("a");
    // Users: 1, 2, 0, 1, 2, 0.
    let peers = [0; 6].map(|_| house.join(&id, Kind::Room).unwrap());
    house.told.clear();
    house.signal(&id, peers[0], Some(&peers[4].to_string()), "one").unwrap();
    house.signal(&id, peers[0], Some("user0"), "user").unwrap();
    house.signal(&id, peers[0], Some("user1"), "other device").unwrap();
    assert_eq!(house.signal(&id, peers[0], Some(&peers[0].to_string()), "me"), Err(Refusal::NoSuchPeer));
    assert_eq!(house.signal(&id, peers[0], Some("nobody"), "x"), Err(Refusal::NoSuchPeer));
    let told = peers.map(|peer| house.told(peer));
    assert_eq!(told.each_ref().map(Vec::len), [0, 0, 1, 1, 1, 1]);
    assert_eq!((told[3][0].as_str(), told[4][0].as_str()), ("other device", "one"));
}

#[test]
fn a_room_that_is_ended_tells_all_its_members_once() {
    let mut house = House::new(rules());
    let id = room("a");
    let [a, b] = [0; 2].map(|_| house.join(&id, Kind::Room).unwrap());
    house.lost(&id, b);
    house.run(&id, CLOSE).unwrap();
    assert_eq!(house.told(a), ["joined", "away", "closed:deleted"]);
    assert_eq!(house.told(b), ["closed:deleted"]);
    assert!(house.rooms.is_empty());
    assert_eq!(house.run(&id, CLOSE), Err(Refusal::NoSuchRoom));
    // One without members too.
    house.run(&id, create(None)).unwrap();
    house.run(&id, CLOSE).unwrap();
    assert!(house.rooms.is_empty());
}

#[test]
fn a_seat_that_is_taken_over_is_told_though_nobody_knew_it_was_lost() {
    let mut house = House::new(rules());
    let id = room("a");
    let [a, b] = [0; 2].map(|_| house.join(&id, Kind::Room).unwrap());
    house.run(&id, resume(b)).unwrap();
    assert_eq!(house.told(a), ["joined", "back"]);
    assert!(house.told(b).is_empty());
}

#[test]
fn of_two_members_exactly_one_is_polite() {
    let mut house = House::new(rules());
    let id = room("a");
    (0..3).for_each(|_| _ = house.join(&id, Kind::Room).unwrap());
    let members = &house.rooms[&id].members;
    for me in members {
        for them in members.iter().filter(|them| them.peer != me.peer) {
            assert_ne!(Room::polite(me, them), Room::polite(them, me));
        }
    }
}

#[test]
fn outsiders_are_refused_whatever_they_ask() {
    let mut house = House::new(rules());
    let [a, b] = ["a", "b"].map(room);
    let inside = house.join(&a, Kind::Room).unwrap();
    let outside = house.join(&b, Kind::Room).unwrap();
    let data: &RawValue = serde_json::from_str("1").unwrap();
    let message = message(outside, "hi");
    for command in [
        Command::Signal { from: outside, to: None, kind: "offer", data },
        Command::Chat(&message),
        Command::Leave { peer: outside, session: None },
        Command::Lost { peer: outside, session: 2, keep: true },
        Command::Ask { peer: outside },
    ] {
        assert_eq!(house.run(&a, command.clone()), Err(Refusal::NotAMember), "{command:?}");
        assert_eq!(house.run(&room("nowhere"), command), Err(Refusal::NoSuchRoom));
    }
    assert!(house.told(inside).is_empty());
}
