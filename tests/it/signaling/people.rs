//! People: invitations, presence, passwords, moderators, and who is put out by whom.

use super::*;

async fn create(by: &mut Client, how: Value) -> String {
    let made = by.ask("room.create", how).await;
    made["room"]["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
}

#[tokio::test(start_paused = true)]
async fn an_invitation_reaches_who_is_there_and_who_comes_later() {
    let house = house(settings()).await;
    let mut ada = Client::user(&house, "ada").await;
    let room = create(&mut ada, json!({"kind": "channel", "name": "Tea", "private": true})).await;
    let mut here = Client::user(&house, "bob").await;
    assert_eq!(here.fail("room.join", json!({"room": room})).await, "private-room");
    for user in ["bob", "carol"] {
        let invited = ada.ask("room.invite", json!({"room": room, "userId": user})).await;
        assert_eq!(invited, json!({"ok": true}));
    }
    let heard = here.event("room.invited").await;
    assert_eq!(
        (&heard["room"]["id"], &heard["room"]["name"], &heard["by"]["userId"]),
        (&json!(room), &json!("Tea"), &json!("ada"))
    );
    assert!(heard["room"].get("password").is_none());
    here.join(&room).await;
    let mut later = Client::user(&house, "carol").await;
    let heard = later.event("room.invited").await;
    assert_eq!((&heard["room"]["id"], &heard["by"]["userId"]), (&json!(room), &json!("ada")));
    later.join(&room).await;
    // Used up: a member is not invited.
    let mut again = Client::user(&house, "carol").await;
    assert!(again.events("room.invited").await.is_empty());
    let mut eve = Client::user(&house, "eve").await;
    assert_eq!(eve.fail("room.invite", json!({"room": room, "userId": "eve"})).await, "not-a-member");
    assert_eq!(eve.fail("room.join", json!({"room": room})).await, "private-room");
}

/// Anybody may invite anybody: it blanks out nothing of theirs, and there is an end to it.
#[tokio::test(start_paused = true)]
async fn a_thousand_invitations_leave_a_users_own_rooms_and_contacts_as_they_were() {
    let house = house(settings()).await;
    let mut ada = Client::user(&house, "ada").await;
    let own = create(&mut ada, json!({"kind": "channel", "name": "Own", "private": true})).await;
    ada.ask("room.invite", json!({"room": own, "userId": "dan"})).await;
    let mut dan = Client::user(&house, "dan").await;
    dan.join(&own).await;
    dan.breaks().await;
    a_moment().await;
    ada.events("presence").await;
    let mut eve = Client::user(&house, "eve").await;
    let mut refused = 0;
    let mut last = Value::Null;
    for _ in 0..1000 {
        let room = create(&mut eve, json!({"kind": "channel", "private": true})).await;
        let answer = eve.ask("room.invite", json!({"room": room, "userId": "dan"})).await;
        if answer["ok"] == false {
            assert_eq!(answer["error"]["code"], "too-many-requests");
            assert!(answer["error"]["message"].as_str().unwrap().contains("invitations"), "{answer}");
            refused += 1;
        } else {
            last = json!(room);
        }
    }
    assert_eq!(refused, 1000 - 32);
    let hello = json!({"dialect": "community", "userId": "dan"}).to_string();
    let mut dan = Client::connect_with(&house, "", &hello).await;
    assert_eq!(dan.event("contactOnline").await["userId"], "ada");
    assert_eq!(ada.events("presence").await, [json!({"userId": "dan", "online": true})]);
    let rooms = dan.event("roomsList").await;
    assert_eq!((rooms.as_array().unwrap().len(), &rooms[0]["id"]), (1, &json!(own)));
    for _ in 0..32 {
        dan.event("roomInvitation").await;
    }
    // Others still invite, and so do back ends.
    let another = create(&mut ada, json!({"kind": "channel", "private": true})).await;
    assert_eq!(ada.ask("room.invite", json!({"room": another, "userId": "dan"})).await["ok"], true);
    let parlour = RoomId::parse(create(&mut eve, json!({"kind": "channel"})).await.as_str()).unwrap();
    house.signaling.invite(&parlour, "dan").await.unwrap();
    // One that is taken up or taken back makes room for another.
    dan.ask("joinRoom", json!({"roomId": last})).await;
    let room = create(&mut eve, json!({"kind": "channel", "private": true})).await;
    assert_eq!(eve.ask("room.invite", json!({"room": room, "userId": "dan"})).await["ok"], true);
    assert_eq!(eve.ask("room.pardon", json!({"room": room, "userId": "dan"})).await["ok"], true);
    assert_eq!(eve.ask("room.invite", json!({"room": room, "userId": "dan"})).await["ok"], true);
}

#[tokio::test(start_paused = true)]
async fn who_shares_a_channel_hears_of_the_first_device_and_of_the_last() {
    let house = house(settings()).await;
    let mut ada = Client::user(&house, "ada").await;
    let room = create(&mut ada, json!({"kind": "channel"})).await;
    let mut bob = Client::user(&house, "bob").await;
    bob.join(&room).await;
    let seen = |user: &str, online: bool| vec![json!({"userId": user, "online": online})];
    bob.breaks().await;
    a_moment().await;
    assert_eq!(ada.events("presence").await, seen("bob", false));
    let mut one = Client::user(&house, "bob").await;
    assert_eq!(one.events("presence").await, seen("ada", true), "who is here already");
    let two = Client::user(&house, "bob").await;
    assert_eq!(ada.events("presence").await, seen("bob", true), "once");
    two.breaks().await;
    a_moment().await;
    assert!(ada.events("presence").await.is_empty());
    one.post("41").await;
    a_moment().await;
    assert_eq!(ada.events("presence").await, seen("bob", false));
    // Strangers see nothing, nor do those who share just a room.
    let mut eve = Client::user(&house, "eve").await;
    eve.join("plain").await;
    ada.join("plain").await;
    let bob = Client::user(&house, "bob").await;
    assert!(eve.events("presence").await.is_empty());
    ada.events("presence").await;
    // Nor do those who have left it.
    ada.ask("room.join", json!({"room": room})).await;
    assert_eq!(ada.ask("room.leave", json!({"room": room})).await, json!({"ok": true}));
    bob.breaks().await;
    a_moment().await;
    assert!(ada.events("presence").await.is_empty());
}

/// As long as it takes until somebody who has gone is not there any more.
async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(1010)).await;
}

#[tokio::test(start_paused = true)]
async fn who_goes_and_comes_back_at_once_has_not_been_away() {
    let house = house(settings()).await;
    let mut ada = Client::user(&house, "ada").await;
    let room = create(&mut ada, json!({"kind": "channel"})).await;
    let mut bob = Client::user(&house, "bob").await;
    for client in [&mut bob, &mut Client::user(&house, "carol").await] {
        client.join(&room).await;
    }
    a_moment().await;
    ada.events("presence").await;
    let seen = |user: &str, online: bool| json!({"userId": user, "online": online});
    // Over one transport, again and again.
    for _ in 0..50 {
        bob.post("41").await;
        bob.hello(&format!("40{}", json!({"dialect": "native", "userId": "bob"}))).await;
    }
    a_moment().await;
    assert!(ada.events("presence").await.is_empty());
    // Who comes while he is away for a moment hears that he is there, and like all others that he is not.
    bob.post("41").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut carol = Client::user(&house, "carol").await;
    let mut heard = carol.events("presence").await;
    heard.sort_by_key(Value::to_string);
    assert_eq!(heard, [seen("ada", true), seen("bob", true)]);
    assert!(ada.events("presence").await.is_empty(), "another device");
    tokio::time::sleep(Duration::from_millis(510)).await;
    for client in [&mut ada, &mut carol] {
        assert_eq!(client.events("presence").await, [seen("bob", false)]);
    }
    // Back in the second after that, he is told of at once.
    bob.hello(&format!("40{}", json!({"dialect": "native", "userId": "bob"}))).await;
    assert_eq!(ada.events("presence").await, [seen("bob", true)]);
}

#[tokio::test]
async fn a_password_is_asked_for_and_never_told() {
    let house = house(settings()).await;
    let mut ada = Client::user(&house, "ada").await;
    let room = create(&mut ada, json!({"password": "open sesame", "private": true})).await;
    let mut bob = Client::user(&house, "bob").await;
    for (password, code) in [
        (json!(null), "password-required"),
        (json!("open sesam"), "wrong-password"),
        (json!(""), "wrong-password"),
        (json!("x".repeat(257)), "bad-request"),
        (json!(7), "bad-request"),
    ] {
        assert_eq!(
            bob.fail("room.join", json!({"room": room, "password": password})).await,
            code,
            "{password}"
        );
    }
    let joined = bob.ask("room.join", json!({"room": room, "password": "open sesame"})).await;
    assert_eq!((&joined["ok"], &joined["room"]["hasPassword"]), (&json!(true), &json!(true)));
    for text in
        [joined.to_string(), house.signaling.room(&RoomId::parse(&room).unwrap(), true).unwrap().to_string()]
    {
        assert!(!text.contains("sesame") && !text.contains("argon2"), "{text}");
    }
    // Its creator needs none.
    ada.join(&room).await;
    assert_eq!(ada.fail("room.create", json!({"password": "x".repeat(257)})).await, "bad-request");
    // Where none is needed, one does no harm.
    assert_eq!(bob.ask("room.join", json!({"room": "plain", "password": "x"})).await["ok"], true);
}

#[tokio::test(start_paused = true)]
async fn moderators_are_made_and_unmade_and_put_out_members() {
    let house = house(settings()).await;
    let mut ada = Client::user(&house, "ada").await;
    let first = ada.join("r").await;
    let mut bob = Client::user(&house, "bob").await;
    let bobs = peer_id(&bob.join("r").await).to_owned();
    let mut carol = Client::user(&house, "carol").await;
    let carols = peer_id(&carol.join("r").await).to_owned();
    let kick = json!({"room": "r", "peerId": carols});
    assert_eq!(bob.fail("room.kick", kick.clone()).await, "forbidden");
    assert_eq!(bob.fail("room.promote", json!({"room": "r", "peerId": bobs})).await, "forbidden");
    assert_eq!(ada.ask("room.promote", json!({"room": "r", "peerId": bobs})).await, json!({"ok": true}));
    let changed = bob.event("room.changed").await;
    assert_eq!(changed["self"]["rank"], "moderator");
    assert_eq!(bob.fail("room.kick", json!({"room": "r", "peerId": peer_id(&first)})).await, "forbidden");
    assert_eq!(bob.fail("room.delete", json!({"room": "r"})).await, "forbidden");
    assert_eq!(bob.ask("room.kick", kick.clone()).await, json!({"ok": true}));
    assert_eq!(carol.event("room.closed").await["reason"], "kicked");
    assert_eq!(bob.fail("room.kick", kick).await, "no-such-peer");
    carol.join("r").await;
    assert_eq!(bob.ask("room.ban", json!({"room": "r", "userId": "carol"})).await, json!({"ok": true}));
    assert_eq!(carol.event("room.closed").await["reason"], "kicked");
    assert_eq!(carol.fail("room.join", json!({"room": "r"})).await, "banned");
    assert_eq!(bob.ask("room.pardon", json!({"room": "r", "userId": "carol"})).await, json!({"ok": true}));
    carol.join("r").await;
    let unmade = json!({"room": "r", "userId": "bob", "moderator": false});
    assert_eq!(ada.ask("room.promote", unmade).await, json!({"ok": true}));
    assert_eq!(bob.fail("room.ban", json!({"room": "r", "userId": "carol"})).await, "forbidden");
    // The creator goes, and the one who has been there for longest has the room.
    ada.ask("room.leave", json!({"room": "r"})).await;
    bob.event("room.peer-left").await;
    let mut rank = Value::Null;
    while rank != "creator" {
        rank = bob.event("room.changed").await["self"]["rank"].clone();
    }
    assert_eq!(bob.ask("room.delete", json!({"room": "r"})).await, json!({"ok": true}));
    assert_eq!(carol.event("room.closed").await["reason"], "deleted");
}

#[tokio::test(start_paused = true)]
async fn a_creator_rules_a_channel_from_afar_and_nobody_else_does() {
    let house = house(settings()).await;
    let mut ada = Client::user(&house, "ada").await;
    let room = create(&mut ada, json!({"kind": "channel"})).await;
    let mut bob = Client::user(&house, "bob").await;
    bob.join(&room).await;
    let mut eve = Client::user(&house, "eve").await;
    for (name, more) in [
        ("room.kick", json!({"userId": "bob"})),
        ("room.ban", json!({"userId": "bob"})),
        ("room.pardon", json!({"userId": "bob"})),
        ("room.lock", json!({})),
        ("room.promote", json!({"userId": "eve"})),
        ("room.delete", json!({})),
    ] {
        let mut body = more;
        body["room"] = json!(room);
        assert_eq!(eve.fail(name, body.clone()).await, "not-a-member", "{name}");
        let code = bob.fail(name, body).await;
        assert_eq!(code, "forbidden", "{name}");
    }
    assert_eq!(ada.ask("room.lock", json!({"room": room})).await, json!({"ok": true}));
    assert_eq!(ada.ask("room.kick", json!({"room": room, "userId": "bob"})).await, json!({"ok": true}));
    assert_eq!(bob.fail("room.join", json!({"room": room})).await, "room-locked", "it belongs to it no more");
    assert_eq!(ada.ask("room.delete", json!({"room": room})).await, json!({"ok": true}));
    assert_eq!(ada.fail("room.delete", json!({"room": room})).await, "no-such-room");
}

/// A page is handed one for a room of its own, and is not to learn what else its user is in.
#[tokio::test(start_paused = true)]
async fn a_token_for_some_rooms_hears_of_no_others() {
    const KEY: &str = "a key of thirty-two characters..";
    let auth =
        callgate::config::read(None, &format!("[auth]\nkey = \"{KEY}\""), &Default::default()).unwrap().auth;
    let keyring = callgate::auth::Keyring::read(&auth).unwrap();
    let house = open(settings(), |parts| parts.tokens = Arc::new(callgate::auth::Tokens::new(keyring))).await;
    let (mut ada, mut cy) = (Client::user(&house, "ada").await, Client::user(&house, "cy").await);
    let tea = create(&mut ada, json!({"kind": "channel", "name": "Tea", "private": true})).await;
    let work = create(&mut cy, json!({"kind": "channel", "name": "Work", "private": true})).await;
    for (owner, room) in [(&mut ada, &tea), (&mut cy, &work)] {
        assert_eq!(owner.ask("room.invite", json!({"room": room, "userId": "bob"})).await["ok"], true);
    }
    let mut bob = Client::user(&house, "bob").await;
    bob.join(&tea).await;
    bob.join(&work).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let minted = |rooms| callgate::auth::Minted {
        user: "bob",
        name: None,
        role: callgate::auth::Role::User,
        rooms,
        issuer: None,
        audience: None,
        now,
        expires: now + 600,
    };
    let only = [tea.clone()];
    for (rooms, all) in [(None, true), (Some(&only[..]), false)] {
        let token = callgate::auth::mint(&KEY.into(), &minted(rooms));
        let mut page = Client::open(Way::Straight(house.router.clone()), &house, "").await;
        page.hello(&format!("40{}", json!({"dialect": "community", "token": token}))).await;
        let names = |list: &Value| -> Vec<String> {
            list.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect()
        };
        let mut listed = names(&page.event("roomsList").await);
        listed.sort();
        assert_eq!(listed, if all { vec!["Tea", "Work"] } else { vec!["Tea"] });
        let online = |heard: Vec<Value>| {
            let mut users: Vec<String> =
                heard.iter().map(|it| it["userId"].as_str().unwrap().to_owned()).collect();
            users.sort();
            users
        };
        let here = online(page.events("contactOnline").await);
        assert_eq!(here, if all { vec!["ada", "cy"] } else { vec!["ada"] });
        // What becomes of others, and where else its user is invited, is not told either.
        cy.breaks().await;
        a_moment().await;
        assert_eq!(online(page.events("contactOffline").await), if all { vec!["cy"] } else { vec![] });
        cy = Client::user(&house, "cy").await;
        assert_eq!(online(page.events("contactOnline").await), if all { vec!["cy"] } else { vec![] });
        let other = create(&mut cy, json!({"kind": "channel", "name": "Other", "private": true})).await;
        cy.ask("room.invite", json!({"room": other, "userId": "bob"})).await;
        assert_eq!(page.events("roomInvitation").await.len(), usize::from(all));
    }
    let token = callgate::auth::mint(&KEY.into(), &minted(Some(&only[..])));
    let mut page = Client::open(Way::Straight(house.router.clone()), &house, "").await;
    page.hello(&format!("40{}", json!({"dialect": "community", "token": token}))).await;
    assert!(page.events("roomInvitation").await.is_empty());
}
