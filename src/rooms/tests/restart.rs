//! Seats of before a restart.

use super::*;

/// What a token says of this member.
fn restore(room: &Room, peer: PeerId) -> Restore {
    let member = room.member(peer).unwrap();
    let rank = if room.kind == Kind::Channel { Rank::Member } else { member.rank };
    let who = Who { user: member.user.clone(), name: member.name.clone(), rank };
    let (listed, stored) = (room.details().listed, room.is_stored());
    Restore { kind: room.kind, listed, stored, who, order: member.order, joined_at: member.joined_at }
}

fn back(peer: PeerId, restore: &Restore) -> Command<'static> {
    let restore = Some(restore.clone());
    Command::Resume { peer, session: 77, customer: 0, holder: Holder::Anybody, restore }
}

/// What is left of rooms when the process ends: those on disk, without members.
pub(super) fn restart(house: &mut House) {
    house.rooms.retain(|_, room| room.is_stored());
    for room in house.rooms.values_mut() {
        room.members.clear();
        // As it was when the room was written.
        (room.joined, room.status) = (0, Status::Waiting);
        if let Some(details) = &mut room.details {
            details.waiting.clear();
            details.said.clear();
            details.log = None;
        }
        room.expires = expires_when_loaded(room, &house.rules, house.now);
    }
}

#[test]
fn a_room_in_memory_is_made_anew_by_those_who_come_back() {
    let mut house = House::new(rules());
    let id = room("a");
    let peers = [0; 3].map(|_| house.join(&id, Kind::Room).unwrap());
    let tokens = peers.map(|peer| restore(&house.rooms[&id], peer));
    restart(&mut house);
    assert!(house.rooms.is_empty());
    house.told.clear();
    // The last one first.
    for n in [2, 0, 1] {
        let seated = Answer::Seated { peer: peers[n], resumed: true, restored: true };
        assert_eq!(house.run(&id, back(peers[n], &tokens[n])), Ok(seated));
    }
    let members = &house.rooms[&id].members;
    assert_eq!(
        members.iter().map(|it| (it.peer, it.order)).collect::<Vec<_>>(),
        [0, 1, 2].map(|n| (peers[n], n as u64))
    );
    assert_eq!(house.rooms[&id].status, Status::Active);
    // It is whose it was.
    assert_eq!(peers.map(|peer| house.rank(&id, peer)), [Rank::Creator, Rank::Member, Rank::Moderator]);
    assert_eq!(house.told(peers[2]), ["changed", "back", "back"]);
    // The same token again: the same seat.
    let seated = Answer::Seated { peer: peers[1], resumed: true, restored: false };
    assert_eq!(house.run(&id, back(peers[1], &tokens[1])), Ok(seated));
}

#[test]
fn strangers_who_come_first_take_no_ones_place_in_the_order() {
    let mut house = House::new(rules());
    let id = room("a");
    let peers = [0; 2].map(|_| house.join(&id, Kind::Room).unwrap());
    let tokens = peers.map(|peer| restore(&house.rooms[&id], peer));
    restart(&mut house);
    let stranger = house.join(&id, Kind::Room).unwrap();
    for n in [0, 1] {
        house.run(&id, back(peers[n], &tokens[n])).unwrap();
    }
    let room = &house.rooms[&id];
    let [a, b, c] = [peers[0], peers[1], stranger].map(|peer| room.member(peer).unwrap());
    for (me, them) in [(a, b), (b, c), (a, c)] {
        assert_ne!(Room::polite(me, them), Room::polite(them, me));
    }
    // A full room is full.
    let full = tokens[1].clone();
    assert_eq!(house.run(&id, back(PeerId::new([99; 16]), &full)), Err(Refusal::ResumeFailed));
}

#[test]
fn a_call_that_one_comes_back_to_waits_for_the_other_as_any_call() {
    let mut house = House::new(rules());
    let id = room("a");
    let peers = [0; 2].map(|_| house.join(&id, Kind::Call).unwrap());
    let tokens = peers.map(|peer| restore(&house.rooms[&id], peer));
    restart(&mut house);
    house.told.clear();
    house.run(&id, back(peers[0], &tokens[0])).unwrap();
    house.pass(29 * SECOND);
    house.run(&id, back(peers[1], &tokens[1])).unwrap();
    house.pass(3600 * SECOND);
    assert_eq!(house.rooms[&id].status, Status::Active);
    restart(&mut house);
    house.run(&id, back(peers[0], &tokens[0])).unwrap();
    house.pass(30 * SECOND);
    assert_eq!(house.told(peers[0]), ["back", "timeout"]);
}

#[test]
fn a_stored_room_waits_for_its_members_and_knows_whose_it_is() {
    let mut house = House::new(rules());
    let id = room("a");
    let options = Options { lobby: true, private: true, ..Options::default() };
    house.run(&id, made(Kind::Room, Some("ada"), options)).unwrap();
    let ada = house.enter(&id, Some("ada")).unwrap();
    house.run(&id, invite(By::Peer(ada), "bob")).unwrap();
    let bob = house.enter(&id, Some("bob")).unwrap();
    let tokens = [ada, bob].map(|peer| restore(&house.rooms[&id], peer));
    house.run(&id, lock(By::Peer(ada), Some(true), None)).unwrap();
    restart(&mut house);
    house.pass(59 * SECOND);
    house.run(&id, back(bob, &tokens[1])).unwrap();
    assert_eq!(house.rank(&id, bob), Rank::Member);
    house.run(&id, back(ada, &tokens[0])).unwrap();
    assert_eq!(house.rank(&id, ada), Rank::Creator);
    restart(&mut house);
    house.pass(60 * SECOND);
    assert!(house.rooms.is_empty(), "nobody came back");
}

#[test]
fn a_stored_room_that_was_ended_is_not_made_anew_without_its_rules() {
    let mut house = House::new(rules());
    let id = room("a");
    house.run(&id, made(Kind::Room, Some("ada"), Options { private: true, ..Options::default() })).unwrap();
    let ada = house.enter(&id, Some("ada")).unwrap();
    let token = restore(&house.rooms[&id], ada);
    house.run(&id, CLOSE).unwrap();
    restart(&mut house);
    assert_eq!(house.run(&id, back(ada, &token)), Err(Refusal::ResumeFailed));
}

#[test]
fn what_was_changed_in_a_channel_after_a_token_was_made_holds() {
    let mut house = House::new(rules());
    let id = room("a");
    house.run(&id, made(Kind::Channel, Some("ada"), Options::default())).unwrap();
    let users = ["ada", "bob", "carol", "dave"];
    let peers = users.map(|user| house.enter(&id, Some(user)).unwrap());
    let [ada, bob, carol, dave] = peers;
    house
        .run(&id, Command::Promote { by: By::Peer(ada), target: Target::Peer(bob), moderator: true })
        .unwrap();
    let tokens = peers.map(|peer| restore(&house.rooms[&id], peer));
    house
        .run(&id, Command::Promote { by: By::Peer(ada), target: Target::Peer(bob), moderator: false })
        .unwrap();
    house.run(&id, kick(Target::Peer(carol), true)).unwrap();
    house.run(&id, leave(dave)).unwrap();
    house.run(&id, leave(ada)).unwrap();
    restart(&mut house);
    assert_eq!(house.run(&id, back(carol, &tokens[2])), Err(Refusal::Banned));
    for (peer, token) in [(dave, &tokens[3]), (ada, &tokens[0])] {
        assert_eq!(house.run(&id, back(peer, token)), Err(Refusal::ResumeFailed), "it has left");
    }
    house.run(&id, back(bob, &tokens[1])).unwrap();
    assert_eq!(house.rank(&id, bob), Rank::Creator, "it has inherited it");
    // A channel that was ended stays so.
    house.run(&id, CLOSE).unwrap();
    assert_eq!(house.run(&id, back(bob, &tokens[1])), Err(Refusal::ResumeFailed));
}

#[test]
fn a_moderator_that_is_none_any_more_is_none_after_a_restart() {
    let mut house = House::new(rules());
    let id = room("a");
    house.run(&id, made(Kind::Channel, Some("ada"), Options::default())).unwrap();
    let [ada, bob] = ["ada", "bob"].map(|user| house.enter(&id, Some(user)).unwrap());
    let promote = |moderator| Command::Promote { by: By::Peer(ada), target: Target::Peer(bob), moderator };
    house.run(&id, promote(true)).unwrap();
    let token = restore(&house.rooms[&id], bob);
    house.run(&id, promote(false)).unwrap();
    restart(&mut house);
    house.run(&id, back(bob, &token)).unwrap();
    assert_eq!(house.rank(&id, bob), Rank::Member);
}

#[test]
fn a_token_of_before_the_restart_is_needed_to_make_a_seat_anew() {
    let mut house = House::new(rules());
    let id = room("a");
    let peer = house.join(&id, Kind::Room).unwrap();
    assert_eq!(house.run(&id, resume(PeerId::new([99; 16]))), Err(Refusal::ResumeFailed));
    restart(&mut house);
    assert_eq!(house.run(&id, resume(peer)), Err(Refusal::ResumeFailed));
}

#[test]
fn who_was_put_out_does_not_come_back_by_its_token_past_a_door_that_is_kept() {
    let mut house = House::new(rules());
    let id = room("a");
    house.run(&id, create(None)).unwrap();
    let [a, b] = [0; 2].map(|_| house.join(&id, Kind::Room).unwrap());
    let tokens = [a, b].map(|peer| restore(&house.rooms[&id], peer));
    house.run(&id, kick(Target::Peer(b), false)).unwrap();
    house.run(&id, Command::Lock { by: By::Operator, locked: Some(true), lobby: None }).unwrap();
    restart(&mut house);
    for (peer, token) in [a, b].iter().zip(&tokens) {
        assert_eq!(house.run(&id, back(*peer, token)), Err(Refusal::ResumeFailed), "it knocks anew");
    }
    house.run(&id, Command::Lock { by: By::Operator, locked: Some(false), lobby: None }).unwrap();
    house.run(&id, back(a, &tokens[0])).unwrap();
}

#[test]
fn a_call_that_goes_on_after_a_restart_began_when_it_began() {
    let mut house = House::new(rules());
    let id = room("a");
    let peers = [0; 3].map(|_| {
        house.pass(SECOND);
        house.join(&id, Kind::Room).unwrap()
    });
    let tokens = peers.map(|peer| restore(&house.rooms[&id], peer));
    let made = house.rooms[&id].created_at;
    for (order, began) in [([0, 1, 2], [2000, 2000]), ([2, 1, 0], [3000, 2000]), ([2, 0, 1], [3000, 2000])] {
        restart(&mut house);
        house.pass(SECOND);
        house.run(&id, back(peers[order[0]], &tokens[order[0]])).unwrap();
        let room = &house.rooms[&id];
        assert!(room.details().log.is_none(), "one alone is in no call");
        assert!(room.created_at <= tokens[order[0]].joined_at && room.created_at >= made);
        for (n, began) in [(order[1], began[0]), (order[2], began[1])] {
            house.pass(SECOND);
            house.run(&id, back(peers[n], &tokens[n])).unwrap();
            assert_eq!(house.rooms[&id].details().log.as_ref().unwrap().started_at, began, "{order:?}");
        }
    }
    // Somebody new has met nobody before.
    restart(&mut house);
    house.run(&id, back(peers[0], &tokens[0])).unwrap();
    house.pass(SECOND);
    let now = house.unix_ms();
    house.join(&id, Kind::Room).unwrap();
    assert_eq!(house.rooms[&id].details().log.as_ref().unwrap().started_at, now);
}
