//! The lobby: who waits, who hears of it, who lets in.

use proptest::prelude::*;

use super::*;

fn lobby() -> Options {
    Options { lobby: true, ..Options::default() }
}

/// A room with a lobby, and its creator in it.
fn house_with_lobby(kind: Kind) -> (House, RoomId, PeerId) {
    let mut house = House::new(rules());
    let id = room("a");
    house.run(&id, made(kind, Some("ada"), lobby())).unwrap();
    let ada = house.enter(&id, Some("ada")).unwrap();
    (house, id, ada)
}

fn admit(by: PeerId, peer: PeerId, admit: bool) -> Command<'static> {
    Command::Admit { by: By::Peer(by), peer, admit }
}

#[test]
fn a_stranger_waits_until_it_is_let_in_or_turned_away() {
    let (mut house, id, ada) = house_with_lobby(Kind::Room);
    let bob = house.wait(&id, Some("bob"));
    let eve = house.wait(&id, None);
    assert_eq!(house.told(ada), ["waits", "waits"]);
    // Who waits is no member.
    assert_eq!(house.signal(&id, bob, None, "hi"), Err(Refusal::NotAMember));
    assert_eq!(house.run(&id, admit(bob, eve, true)), Err(Refusal::NotAMember));
    house.signal(&id, ada, None, "among us").unwrap();
    house.run(&id, admit(ada, bob, true)).unwrap();
    assert_eq!(house.told(bob), ["admitted"]);
    assert_eq!(house.told(ada), ["joined", "waits-not"]);
    assert_eq!(house.run(&id, admit(bob, eve, true)), Err(Refusal::Forbidden));
    house.run(&id, admit(ada, eve, false)).unwrap();
    assert_eq!(house.told(eve), ["denied"]);
    assert!(house.told(bob).is_empty(), "a member does not hear who waits");
    assert_eq!(house.run(&id, admit(ada, eve, true)), Err(Refusal::NoSuchPeer));
    assert_eq!(house.rooms[&id].members.len(), 2);
}

#[test]
fn who_is_invited_or_belongs_does_not_wait() {
    let (mut house, id, ada) = house_with_lobby(Kind::Channel);
    house.run(&id, invite(By::Peer(ada), "bob")).unwrap();
    let bob = house.enter(&id, Some("bob")).unwrap();
    house.lost(&id, bob);
    house.pass(31 * SECOND);
    let bob = house.enter(&id, Some("bob")).unwrap();
    house.enter(&id, Some("ada")).unwrap();
    house.run(&id, leave(bob)).unwrap();
    house.wait(&id, Some("bob"));
}

#[test]
fn who_waits_may_go_and_a_lost_connection_is_going() {
    let (mut house, id, ada) = house_with_lobby(Kind::Room);
    let bob = house.wait(&id, Some("bob"));
    house.run(&id, leave(bob)).unwrap();
    let carol = house.wait(&id, Some("carol"));
    let session = u64::from(carol.bytes()[0]);
    // An earlier connection says nothing about it.
    house.run(&id, Command::Lost { peer: carol, session: session + 1, keep: true }).unwrap();
    assert_eq!(house.rooms[&id].details().waiting.len(), 1);
    house.run(&id, Command::Lost { peer: carol, session, keep: true }).unwrap();
    assert!(house.rooms[&id].details().waiting.is_empty());
    assert_eq!(house.told(ada), ["waits", "waits-not", "waits", "waits-not"]);
    assert!(house.told(carol).is_empty());
}

#[test]
fn when_the_room_ends_so_does_the_waiting() {
    for (end, said) in [(CLOSE, "closed:deleted"), (kick(Target::User("ada"), false), "closed:kicked")] {
        let (mut house, id, ada) = house_with_lobby(Kind::Room);
        let bob = house.wait(&id, Some("bob"));
        house.run(&id, end).unwrap();
        assert!(house.rooms.is_empty());
        assert_eq!(house.told(bob), ["denied"]);
        assert_eq!(house.told(ada), ["waits", said]);
    }
    // In a room that nobody comes to.
    let mut house = House::new(rules());
    let id = room("a");
    house.run(&id, made(Kind::Room, None, lobby())).unwrap();
    let bob = house.wait(&id, Some("bob"));
    house.pass(30 * SECOND);
    assert_eq!(house.told(bob), ["denied"]);
    assert!(house.rooms.is_empty());
}

#[test]
fn a_full_room_lets_nobody_in_and_the_waiting_goes_on() {
    let (mut house, id, ada) = house_with_lobby(Kind::Room);
    let [b, c, d, again] = ["b", "c", "d", "c"].map(|user| house.wait(&id, Some(user)));
    for peer in [b, c] {
        house.run(&id, admit(ada, peer, true)).unwrap();
    }
    assert_eq!(house.run(&id, admit(ada, d, true)), Err(Refusal::Full));
    house.lost(&id, c);
    // But to a seat of its own from before.
    assert_eq!(house.run(&id, admit(ada, d, true)), Err(Refusal::Full));
    house.run(&id, admit(ada, again, true)).unwrap();
    assert!(house.rooms[&id].member(c).is_none() && house.rooms[&id].member(again).is_some());
}

#[test]
fn whoever_may_let_in_from_now_on_learns_who_waits() {
    let (mut house, id, ada) = house_with_lobby(Kind::Channel);
    house.run(&id, invite(By::Peer(ada), "bob")).unwrap();
    house.run(&id, invite(By::Peer(ada), "carol")).unwrap();
    let bob = house.enter(&id, Some("bob")).unwrap();
    let waits = house.wait(&id, Some("eve"));
    // Made a moderator.
    assert!(house.told(bob).is_empty());
    house
        .run(&id, Command::Promote { by: By::Peer(ada), target: Target::Peer(bob), moderator: true })
        .unwrap();
    assert_eq!(house.told(bob), ["changed", "waits"]);
    // Come back to a room that one may rule.
    house.lost(&id, ada);
    house.pass(31 * SECOND);
    let ada = house.enter(&id, Some("ada")).unwrap();
    assert_eq!(house.told(ada), ["waits"]);
    // The creator has gone, and the heir was no moderator.
    let carol = house.enter(&id, Some("carol")).unwrap();
    house.run(&id, leave(bob)).unwrap();
    house.told(carol);
    house.run(&id, leave(ada)).unwrap();
    assert_eq!(house.told(carol), ["left:left", "changed", "waits"]);
    house.run(&id, admit(carol, waits, true)).unwrap();
}

#[test]
fn a_banned_user_does_not_wait_either() {
    let (mut house, id, ada) = house_with_lobby(Kind::Room);
    let eve = house.wait(&id, Some("eve"));
    house.run(&id, Command::Kick { by: By::Peer(ada), target: Target::User("eve"), ban: true }).unwrap();
    assert_eq!(
        (house.told(eve), house.told(ada)),
        (vec!["denied".to_owned()], vec!["waits".into(), "waits-not".into()])
    );
    assert_eq!(house.run(&id, admit(ada, eve, true)), Err(Refusal::NoSuchPeer));
    assert_eq!(house.enter(&id, Some("eve")), Err(Refusal::Banned));
}

#[test]
fn the_lobby_is_bounded() {
    let (mut house, id, _) = house_with_lobby(Kind::Room);
    for _ in 0..Details::MOST_WAITING {
        house.wait(&id, None);
    }
    assert_eq!(house.enter(&id, None), Err(Refusal::LobbyFull));
}

/// Somebody comes from there, to wait.
fn come(house: &mut House, id: &RoomId, user: Option<&str>, customer: u32) -> Result<PeerId, Refusal> {
    let join = Join { customer, ..house.who(user) };
    let peer = join.peer;
    house.run(id, Command::Join(join)).map(|answer| {
        assert_eq!(answer, Answer::Waits { peer });
        peer
    })
}

#[test]
fn one_address_does_not_fill_a_lobby() {
    let (mut house, id, ada) = house_with_lobby(Kind::Room);
    let bob = come(&mut house, &id, Some("bob"), 7).unwrap();
    let flood: Vec<_> = (1..Details::MOST_WAITING).map(|_| come(&mut house, &id, None, 7).unwrap()).collect();
    assert_eq!(come(&mut house, &id, None, 7), Err(Refusal::LobbyFull));
    house.told(ada);
    // From elsewhere, or from nowhere in particular: the oldest of who has the most goes, and hears of it.
    let others = [8, 0].map(|customer| come(&mut house, &id, None, customer).unwrap());
    assert_eq!(house.told(ada), ["waits-not", "waits", "waits-not", "waits"]);
    assert_eq!([flood[0], flood[1]].map(|peer| house.told(peer)), [["denied"], ["denied"]]);
    let waits = |house: &House, peer| house.rooms[&id].details().waiting.iter().any(|it| it.peer == peer);
    assert!(!waits(&house, flood[1]) && waits(&house, flood[2]) && waits(&house, bob));
    // Until all have as many.
    let all = (2..99).filter(|_| come(&mut house, &id, None, 8).is_ok()).count();
    assert_eq!(all, Details::MOST_WAITING / 2 - 2);
    assert_eq!(come(&mut house, &id, None, 7), Err(Refusal::LobbyFull));
    assert!([others[0], others[1], bob].into_iter().all(|peer| waits(&house, peer)));
}

#[test]
fn a_lobby_full_of_others_is_full_and_who_comes_from_nowhere_in_particular_keeps_its_place() {
    for customers in [1..=64, 0..=0] {
        let (mut house, id, _) = house_with_lobby(Kind::Room);
        for customer in customers.cycle().take(Details::MOST_WAITING) {
            come(&mut house, &id, None, customer).unwrap();
        }
        for customer in [0, 99] {
            assert_eq!(come(&mut house, &id, Some("bob"), customer), Err(Refusal::LobbyFull));
        }
    }
}

proptest! {
    #[test]
    fn whoever_has_less_than_its_share_of_the_lobby_may_wait(steps in prop::collection::vec((0..5_u32, 0..3_u8, any::<bool>()), 1..200)) {
        let (mut house, id, _) = house_with_lobby(Kind::Room);
        for (customer, user, goes) in steps {
            let waiting = |house: &House| house.rooms[&id].details().waiting.clone();
            let from = |house: &House, customer| waiting(house).iter().filter(|it| it.customer == customer).count();
            let before = [0, 1, 2, 3, 4].map(|customer| from(&house, customer));
            let full = waiting(&house).len() == Details::MOST_WAITING;
            let own = before[customer as usize];
            match come(&mut house, &id, (user > 0).then_some(["", "bob", "cy"][usize::from(user)]), customer) {
                Ok(peer) => {
                    prop_assert!(waiting(&house).iter().any(|it| it.peer == peer));
                    prop_assert_eq!(from(&house, customer), own + 1);
                    prop_assert!(from(&house, 0) >= before[0]);
                    for (other, had) in (0..).zip(before) {
                        let has = from(&house, other);
                        prop_assert!(has >= had || (full && has + 1 == had && has > own));
                    }
                }
                Err(refusal) => {
                    prop_assert!(full && refusal == Refusal::LobbyFull);
                    prop_assert!(before[1..].iter().all(|had| *had <= own + 1));
                }
            }
            if goes {
                let first = waiting(&house)[0].peer;
                house.run(&id, leave(first)).unwrap();
            }
        }
    }
}

#[test]
fn a_password_is_asked_for_before_the_waiting() {
    let mut house = House::new(rules());
    let id = room("a");
    let options = Options { password: Some("hash".into()), ..lobby() };
    house.run(&id, made(Kind::Room, Some("ada"), options)).unwrap();
    assert_eq!(house.enter(&id, Some("bob")), Err(Refusal::PasswordRequired));
    let right = Join { password: Some("hash".into()), ..house.who(Some("bob")) };
    let peer = right.peer;
    assert_eq!(house.run(&id, Command::Join(right)), Ok(Answer::Waits { peer }));
}
