//! What a room knows of people, and what some may do to others.

use proptest::prelude::*;

use super::*;

#[test]
fn a_member_that_is_put_out_is_told_and_so_are_the_others() {
    let mut house = House::new(rules());
    let id = room("a");
    let [a, b, c] = [0; 3].map(|_| house.join(&id, Kind::Room).unwrap());
    house.told.clear();
    house.run(&id, kick(Target::Peer(b), false)).unwrap();
    assert_eq!(
        [a, b, c].map(|peer| house.told(peer)),
        [vec!["left:kicked"], vec!["closed:kicked"], vec!["left:kicked"]]
    );
    assert_eq!(house.run(&id, kick(Target::Peer(b), false)), Err(Refusal::NoSuchPeer));
    assert_eq!(house.run(&id, kick(Target::User("nobody"), false)), Err(Refusal::NoSuchPeer));
    assert_eq!(house.run(&room("b"), kick(Target::Peer(a), false)), Err(Refusal::NoSuchRoom));
    // Users: 1, 2, 0, 1.
    let d = house.join(&id, Kind::Room).unwrap();
    house.run(&id, kick(Target::User("user1"), false)).unwrap();
    assert_eq!(house.rooms[&id].members.iter().map(|m| m.peer).collect::<Vec<_>>(), [c]);
    assert_eq!(house.told(d), ["closed:kicked"]);
    // The last one takes the room along; a call ends for the other one too.
    house.run(&id, kick(Target::Peer(c), false)).unwrap();
    let [a, b] = [0; 2].map(|_| house.join(&id, Kind::Call).unwrap());
    house.run(&id, kick(Target::Peer(a), false)).unwrap();
    assert_eq!(house.told(a), ["joined", "closed:kicked"]);
    assert_eq!(house.told(b), ["left:kicked", "closed:peer-kicked"]);
    assert!(house.rooms.is_empty());
}

#[test]
fn a_banned_user_stays_out_for_as_long_as_the_room_lives() {
    let mut house = House::new(Rules { capacity: 9, ..rules() });
    let id = room("a");
    // Users: 1, 2, 0, 1.
    let [a, b, c, d] = [0; 4].map(|_| house.join(&id, Kind::Room).unwrap());
    house.run(&id, kick(Target::Peer(a), true)).unwrap();
    assert_eq!(
        house.rooms[&id].members.iter().map(|m| m.peer).collect::<Vec<_>>(),
        [b, c],
        "all of that user's"
    );
    assert_eq!(house.run(&id, resume(d)), Err(Refusal::ResumeFailed));
    house.next = 4;
    assert_eq!(house.join(&id, Kind::Room), Err(Refusal::Banned));
    house.join(&id, Kind::Room).unwrap();
    // Who is not here may be banned too, once or twice.
    for _ in 0..2 {
        house.run(&id, kick(Target::User("later"), true)).unwrap();
    }
    assert_eq!(house.rooms[&id].details().people.len(), 2);
    for n in 0..Details::MOST_PEOPLE - 2 {
        house.run(&id, kick(Target::User(&format!("u{n}")), true)).unwrap();
    }
    assert_eq!(house.run(&id, kick(Target::User("user2"), true)), Err(Refusal::TooManyPeople));
    assert!(house.rooms[&id].member(b).is_some(), "a refusal changes nothing");
    // The next room of that name knows nothing of it.
    house.run(&id, CLOSE).unwrap();
    house.next = 4;
    house.join(&id, Kind::Room).unwrap();
}

#[test]
fn who_leaves_a_channel_belongs_to_it_no_more_and_who_goes_does() {
    let mut house = House::new(rules());
    let id = room("a");
    house.run(&id, made(Kind::Channel, Some("ada"), Options::default())).unwrap();
    let [one, two] = [0; 2].map(|_| house.enter(&id, Some("bob")).unwrap());
    let standing = |house: &House| house.rooms[&id].details().standing("bob");
    assert_eq!(standing(&house), Some(Standing::Member));
    // Another device is still there.
    house.run(&id, leave(one)).unwrap();
    assert_eq!(standing(&house), Some(Standing::Member));
    house.lost(&id, two);
    house.pass(31 * SECOND);
    assert_eq!(standing(&house), Some(Standing::Member));
    let three = house.enter(&id, Some("bob")).unwrap();
    // The page is loaded again: the seat of before is only kept, and is no other device.
    house.lost(&id, three);
    let four = house.enter(&id, Some("bob")).unwrap();
    house.run(&id, leave(four)).unwrap();
    assert_eq!(standing(&house), None);
    assert_eq!(house.run(&id, resume(three)), Err(Refusal::ResumeFailed));
    // Nobody without a name belongs to anything.
    let nobody = house.enter(&id, None).unwrap();
    assert_eq!(house.rooms[&id].details().people.len(), 1);
    house.run(&id, leave(nobody)).unwrap();
    // It stays as long as somebody belongs to it.
    house.pass(1_000_000 * SECOND);
    let ada = house.enter(&id, Some("ada")).unwrap();
    house.run(&id, leave(ada)).unwrap();
    house.pass(3599 * SECOND);
    assert!(house.rooms.contains_key(&id));
    house.pass(SECOND);
    assert!(house.rooms.is_empty());
}

#[test]
fn who_is_not_there_can_be_put_out_of_a_channel() {
    let mut house = House::new(rules());
    let id = room("a");
    for ban in [false, true] {
        house.run(&id, made(Kind::Channel, Some("ada"), Options::default())).unwrap();
        let bob = house.enter(&id, Some("bob")).unwrap();
        house.lost(&id, bob);
        house.pass(31 * SECOND);
        house.run(&id, Command::Kick { by: By::User("ada"), target: Target::User("bob"), ban }).unwrap();
        assert_eq!(house.rooms[&id].details().standing("bob"), ban.then_some(Standing::Banned));
        // The last who belongs to it: it does not stay for ever.
        house.run(&id, kick(Target::User("ada"), ban)).unwrap();
        assert_eq!(house.creator(&id), None);
        house.pass(3600 * SECOND);
        assert!(house.rooms.is_empty(), "{ban}");
    }
}

#[test]
fn a_ban_is_lifted_by_who_may_ban() {
    let mut house = House::new(Rules { capacity: 9, ..rules() });
    let id = room("a");
    house.run(&id, made(Kind::Room, Some("ada"), Options::default())).unwrap();
    let [ada, bob, carol] = ["ada", "bob", "carol"].map(|user| house.enter(&id, Some(user)).unwrap());
    house.run(&id, Command::Kick { by: By::Peer(ada), target: Target::Peer(carol), ban: true }).unwrap();
    assert_eq!(house.run(&id, Command::Pardon { by: By::Peer(bob), user: "carol" }), Err(Refusal::Forbidden));
    assert_eq!(house.run(&id, invite(By::Peer(bob), "carol")), Err(Refusal::Forbidden));
    assert_eq!(
        house.run(&id, Command::Pardon { by: By::User("carol"), user: "carol" }),
        Err(Refusal::NotAMember)
    );
    house.run(&id, Command::Pardon { by: By::Peer(ada), user: "carol" }).unwrap();
    assert_eq!(
        house.run(&id, Command::Pardon { by: By::Peer(ada), user: "carol" }),
        Err(Refusal::NoSuchPeer)
    );
    let carol = house.enter(&id, Some("carol")).unwrap();
    house.run(&id, Command::Kick { by: By::Peer(ada), target: Target::Peer(carol), ban: true }).unwrap();
    house.run(&id, invite(By::Peer(ada), "carol")).unwrap();
    house.enter(&id, Some("carol")).unwrap();
    // Without a name there is nothing to know it by.
    let nobody = house.enter(&id, None).unwrap();
    let ban = Command::Kick { by: By::Peer(ada), target: Target::Peer(nobody), ban: true };
    assert_eq!(house.run(&id, ban), Err(Refusal::NoLabel));
}

/// A room or a channel of ada's, and as many invited by her as may be, the first of them longest ago.
fn full_of_invitations(kind: Kind) -> (House, RoomId) {
    let mut house = House::new(Rules { channel_capacity: 2000, ..rules() });
    let id = room("a");
    house.run(&id, made(kind, Some("ada"), Options::default())).unwrap();
    for n in 0..Details::MOST_INVITED {
        house.run(&id, invite(By::User("ada"), &format!("u{n:04}"))).unwrap();
        house.now += Duration::from_millis(1);
    }
    (house, id)
}

#[test]
fn members_invite_half_as_many_as_a_room_knows() {
    for kind in [Kind::Room, Kind::Channel] {
        let (mut house, id) = full_of_invitations(kind);
        assert_eq!(house.run(&id, invite(By::User("ada"), "one more")), Err(Refusal::TooManyPeople));
        // Who is invited is so still, and the operator's come on top.
        house.run(&id, invite(By::User("ada"), "u0000")).unwrap();
        house.run(&id, invite(By::Operator, "dan")).unwrap();
        house.enter(&id, Some("u0001")).unwrap();
        house.run(&id, invite(By::User("ada"), "one more")).unwrap();
        assert_eq!(house.rooms[&id].details().standing("u0000"), Some(Standing::Invited));
    }
}

#[test]
fn invitations_keep_nobody_from_coming_in_or_from_being_put_out() {
    let (mut house, id) = full_of_invitations(Kind::Channel);
    let standing = |house: &House, user: &str| house.rooms[&id].details().standing(user);
    house.run(&id, invite(By::Operator, "dan")).unwrap();
    for n in house.rooms[&id].details().people.len()..Details::MOST_PEOPLE {
        house.enter(&id, Some(&format!("m{n}"))).unwrap();
    }
    assert_eq!(house.run(&id, invite(By::User("ada"), "one more")), Err(Refusal::TooManyPeople));
    house.enter(&id, Some("bob")).unwrap();
    house.run(&id, Command::Kick { by: By::User("ada"), target: Target::User("eve"), ban: true }).unwrap();
    assert_eq!(["u0000", "u0001"].map(|user| standing(&house, user)), [None; 2]);
    assert_eq!(standing(&house, "u0002"), Some(Standing::Invited));
    // The operator's is the last to go; who belongs, and who is put out, stays so.
    for n in 2..Details::MOST_INVITED {
        assert_eq!(standing(&house, "dan"), Some(Standing::Invited));
        house.enter(&id, Some(&format!("late{n}"))).unwrap();
    }
    house.enter(&id, Some("last")).unwrap();
    assert_eq!(standing(&house, "dan"), None);
    assert_eq!(house.enter(&id, Some("later")), Err(Refusal::TooManyPeople));
    house.enter(&id, Some("bob")).unwrap();
}

#[test]
fn whoever_invites_has_a_fair_share_whatever_it_calls_itself() {
    let mut house = House::new(Rules { channel_capacity: 2000, ..rules() });
    let id = room("a");
    house.run(&id, made(Kind::Channel, Some("ada"), Options::default())).unwrap();
    for user in ["bob", "cy", "dan"].into_iter().map(str::to_owned).chain((0..40).map(|n| format!("eve{n}")))
    {
        house.enter(&id, Some(&user)).unwrap();
    }
    let invite = |house: &mut House, by: &str, customer, user: &str| {
        house.now += Duration::from_millis(1);
        house.run(&id, Command::Invite { by: By::User(by), user, customer })
    };
    let standing = |house: &House, user: &str| house.rooms[&id].details().standing(user);
    invite(&mut house, "bob", 8, "zoe").unwrap();
    // From one address, under many names: they take each other's places alone.
    for n in 0..999 {
        let _ = invite(&mut house, &format!("eve{}", n % 40), 7, &format!("e{n:03}"));
    }
    assert_eq!(standing(&house, "e000"), None);
    for n in 0..Details::MOST_INVITED / 2 - 2 {
        invite(&mut house, "bob", 8, &format!("b{n}")).unwrap();
    }
    assert_eq!(standing(&house, "zoe"), Some(Standing::Invited));
    assert_eq!(invite(&mut house, "bob", 8, "b"), Ok(Answer::Done));
    assert_eq!(invite(&mut house, "bob", 8, "bb"), Err(Refusal::TooManyPeople), "half of the places");
    // Of one address, too, the one who has none takes the place of who has the most.
    invite(&mut house, "cy", 7, "cys").unwrap();
    assert_eq!(standing(&house, "zoe"), Some(Standing::Invited));
    // From nowhere in particular, each is a party of its own.
    invite(&mut house, "dan", 0, "dans").unwrap();
    invite(&mut house, "ada", 0, "adas").unwrap();
    assert!(["cys", "dans", "adas"].into_iter().all(|it| standing(&house, it).is_some()));
}

/// Somebody from there comes in, and goes again: it belongs to the channel still.
fn comes(house: &mut House, id: &RoomId, user: &str, customer: u32, proven: bool) -> Result<(), Refusal> {
    house.now += Duration::from_millis(1);
    let join = Join { customer, proven, ..house.who(Some(user)) };
    let peer = house.take_seat(id, join)?;
    house.run(id, Command::Lost { peer, session: u64::from(peer.bytes()[0]), keep: false }).map(|_| ())
}

#[test]
fn one_address_that_comes_under_many_names_keeps_nobody_out_of_a_channel() {
    let mut house = House::new(Rules { channel_capacity: 2000, ..rules() });
    let id = room("a");
    house.run(&id, made(Kind::Channel, Some("ada"), Options::default())).unwrap();
    let belongs =
        |house: &House, user: &str| house.rooms[&id].details().standing(user) == Some(Standing::Member);
    // Before the others: a user of a token, a friend in the same house, and two from elsewhere.
    for (user, customer, proven) in [("tom", 7, true), ("sam", 7, false), ("bob", 8, false), ("cy", 9, false)]
    {
        comes(&mut house, &id, user, customer, proven).unwrap();
    }
    for n in house.rooms[&id].details().people.len()..Details::MOST_PEOPLE {
        comes(&mut house, &id, &format!("eve{n:04}"), 7, false).unwrap();
    }
    assert_eq!(comes(&mut house, &id, "eve", 7, false), Err(Refusal::TooManyPeople));
    // The last who came goes first; who is here stays.
    let here = house.enter(&id, Some("eve1023")).unwrap();
    for (n, (user, customer, proven)) in
        [("dan", 8, false), ("fay", 10, false), ("gus", 0, false), ("hal", 7, true)].into_iter().enumerate()
    {
        comes(&mut house, &id, user, customer, proven).unwrap();
        assert!(belongs(&house, user) && !belongs(&house, &format!("eve{}", 1022 - n)), "{user}");
    }
    // Who is put out for good is known, too.
    house.run(&id, Command::Kick { by: By::User("ada"), target: Target::User("ivy"), ban: true }).unwrap();
    assert_eq!(house.rooms[&id].details().people.len(), Details::MOST_PEOPLE);
    for user in ["eve1023", "tom", "sam", "bob", "cy"] {
        assert!(belongs(&house, user), "{user}");
    }
    house.run(&id, leave(here)).unwrap();
    // Everybody has a share: half of it is nobody's alone while another wants it.
    let mut came = 0;
    while comes(&mut house, &id, &format!("jo{came}"), 11, false).is_ok() {
        came += 1;
    }
    assert!((450..=520).contains(&came), "{came}");
    assert!(
        ["tom", "sam", "bob", "cy", "dan", "fay", "gus", "hal"].into_iter().all(|user| belongs(&house, user))
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    /// Of a party: its address and its user.
    #[test]
    fn whoever_has_less_than_its_share_of_the_invitations_may_invite(steps in prop::collection::vec((0..4_u32, 0..4_u8), 900..1200)) {
        let mut house = House::new(Rules { channel_capacity: 2000, ..rules() });
        let id = room("a");
        house.run(&id, made(Kind::Channel, Some("u0"), Options::default())).unwrap();
        for n in 1..4 {
            house.enter(&id, Some(&format!("u{n}"))).unwrap();
        }
        for (n, (customer, user)) in steps.into_iter().enumerate() {
            house.now += Duration::from_millis(1);
            let by = format!("u{}", if customer == 3 { 0 } else { user });
            let own = |house: &House| {
                let people = house.rooms[&id].details().people.values().filter_map(|it| it.by.clone());
                people.filter(|it| it.customer == customer && (customer != 0 || it.user.as_deref() == Some(&*by))).count()
            };
            let before = own(&house);
            let done = house.run(&id, Command::Invite { by: By::User(&by), user: &format!("i{n}"), customer });
            // Three addresses, and four users from nowhere in particular.
            prop_assert!(done.is_ok() || before >= Details::MOST_INVITED / 7, "{before}");
            prop_assert!(done.is_err() || own(&house) >= before);
            if n % 10 == 0 {
                house.enter(&id, Some(&format!("m{n}"))).unwrap();
            }
        }
    }
}

#[test]
fn a_message_that_is_said_twice_is_said_once() {
    let mut house = House::new(rules());
    let id = room("a");
    let [a, b] = [0; 2].map(|_| house.join(&id, Kind::Room).unwrap());
    let say = |house: &mut House, from: PeerId, n: u8, client_id: Option<&str>| {
        let message = Message {
            id: PeerId::new([n; 16]),
            client_id: client_id.map(Arc::from),
            ..Message::clone(&message(from, "hi"))
        };
        house.run(&id, Command::Chat(&Arc::new(message)))
    };
    house.told.clear();
    assert_eq!(say(&mut house, a, 101, Some("x")), Ok(Answer::Done));
    assert_eq!(say(&mut house, a, 102, Some("x")), Ok(Answer::Said { id: PeerId::new([101; 16]), at: 0 }));
    // Another's id is another's; and without one every message is new.
    assert_eq!(say(&mut house, b, 103, Some("x")), Ok(Answer::Done));
    for n in [104, 105] {
        assert_eq!(say(&mut house, a, n, None), Ok(Answer::Done));
    }
    assert_eq!(house.told(b), ["chat:hi"; 4]);
    for n in 0..Details::MOST_SAID {
        say(&mut house, a, 106, Some(&n.to_string())).unwrap();
    }
    assert_eq!(say(&mut house, a, 107, Some("x")), Ok(Answer::Done), "bounded");
}

#[test]
fn the_log_of_a_call_has_everybody_who_was_in_it() {
    let mut house = House::new(rules());
    let id = room("a");
    house.run(&id, made(Kind::Channel, Some("ada"), Options::default())).unwrap();
    let ada = house.enter(&id, Some("ada")).unwrap();
    assert!(house.rooms[&id].details().log.is_none() && house.rooms[&id].status == Status::Waiting);
    house.pass(SECOND);
    let bob = house.enter(&id, Some("bob")).unwrap();
    house.pass(SECOND);
    house.run(&id, leave(ada)).unwrap();
    // One alone is still in it; a third joins it.
    let carol = house.enter(&id, Some("carol")).unwrap();
    house.run(&id, leave(bob)).unwrap();
    let log = house.rooms[&id].details().log.as_ref().unwrap();
    let left: Vec<_> =
        log.left.iter().map(|it| (it.user.as_deref().unwrap(), it.joined_at, it.left_at)).collect();
    assert_eq!((log.started_at, left), (1000, vec![("ada", 0, 2000), ("bob", 1000, 2000)]));
    house.run(&id, leave(carol)).unwrap();
    assert!(house.rooms[&id].details().log.is_none() && house.rooms[&id].status == Status::Waiting);
    // The next call begins anew.
    house.pass(SECOND);
    house.enter(&id, Some("ada")).unwrap();
    house.pass(SECOND);
    house.enter(&id, Some("bob")).unwrap();
    assert_eq!(house.rooms[&id].details().log.as_ref().unwrap().started_at, 4000);
}
