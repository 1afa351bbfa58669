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

#[test]
fn a_full_room_gives_the_longest_lost_seat_to_a_newcomer() {
    let mut house = House::new(rules());
    let id = room("a");
    let [a, b, c] = [0; 3].map(|_| house.join(&id, Kind::Room).unwrap());
    house.lost(&id, c);
    house.pass(SECOND);
    house.lost(&id, b);
    house.pass(SECOND);
    let d = house.join(&id, Kind::Room).unwrap();
    assert_eq!(house.told(a), ["joined", "joined", "away", "away", "left:lost", "joined"]);
    assert!(house.rooms[&id].member(c).is_none() && house.rooms[&id].member(d).is_some());
    // In a call too, and the call goes on.
    let id = room("b");
    let a = house.join(&id, Kind::Call).unwrap();
    let b = house.join(&id, Kind::Call).unwrap();
    house.lost(&id, b);
    house.join(&id, Kind::Call).unwrap();
    assert_eq!(house.told(a), ["joined", "away", "left:lost", "joined"]);
    house.pass(3600 * SECOND);
    assert_eq!(house.rooms[&id].members.len(), 2);
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
