//! Locked rooms, and those with a lobby.

use super::*;

async fn room_with_lobby(ada: &mut Client) -> String {
    let made = ada.ask("room.create", json!({"lobby": true, "name": "Tea"})).await;
    let room = made["room"]["id"].as_str().unwrap().to_owned();
    ada.join(&room).await;
    room
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_let_in_by_a_moderator_and_is_nobody_until_then() {
    let house = house(settings()).await;
    let (mut ada, mut bob) = (Client::user(&house, "ada").await, Client::user(&house, "bob").await);
    let room = room_with_lobby(&mut ada).await;
    house.relay.told();
    let waits = bob.ask("room.join", json!({"room": room, "name": "Bob"})).await;
    assert_eq!(
        (&waits["ok"], &waits["waiting"], &waits["room"]["name"]),
        (&json!(true), &json!(true), &json!("Tea"))
    );
    assert!(waits.get("iceServers").is_none() && waits.get("peers").is_none(), "{waits}");
    let heard = ada.event("room.peer-waiting").await;
    assert_eq!((&heard["peer"]["peerId"], &heard["peer"]["userId"]), (&waits["peerId"], &json!("bob")));
    for (name, body) in [
        ("chat", json!({"room": room, "text": "hi"})),
        ("signal", json!({"room": room, "kind": "offer", "data": 1})),
        ("ice.refresh", json!({"room": room})),
        ("room.history", json!({"room": room})),
        ("room.admit", json!({"room": room, "peerId": waits["peerId"]})),
        ("room.invite", json!({"room": room, "userId": "eve"})),
    ] {
        assert_eq!(bob.fail(name, body).await, "not-a-member", "{name}");
    }
    ada.ask("chat", json!({"room": room, "text": "among us"})).await;
    assert!(house.relay.told().is_empty(), "a relay knows nothing of who waits");
    assert_eq!(bob.fail("room.join", json!({"room": room})).await, "already-joined");
    assert_eq!(
        ada.ask("room.admit", json!({"room": room, "peerId": waits["peerId"]})).await,
        json!({"ok": true})
    );
    let inside = bob.event("room.admitted").await;
    assert_eq!((&inside["self"]["peerId"], inside["peers"].as_array().unwrap().len()), (&waits["peerId"], 1));
    assert!(inside["iceServers"].is_array() && inside["resume"].is_string());
    assert_eq!(house.relay.told().len(), 1);
    assert_eq!(ada.event("room.peer-joined").await["peer"]["peerId"], waits["peerId"]);
    assert_eq!(ada.event("room.peer-not-waiting").await["peerId"], waits["peerId"]);
    assert!(bob.events("chat").await.is_empty(), "said before it was in");
    assert_eq!(bob.ask("chat", json!({"room": room, "text": "hi"})).await["ok"], true);
    // Its token is as good as anybody's.
    let resume = json!({"room": room, "resume": inside["resume"]});
    bob.breaks().await;
    let mut again = Client::user(&house, "bob").await;
    assert_eq!(again.ask("room.join", resume).await["resumed"], true);
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_turned_away_or_goes_or_is_lost() {
    let house = house(settings()).await;
    let mut ada = Client::user(&house, "ada").await;
    let room = room_with_lobby(&mut ada).await;
    let join = json!({"room": room});
    let mut bob = Client::user(&house, "bob").await;
    for (n, how) in ["denied", "left", "banned", "lost"].into_iter().enumerate() {
        let waits = bob.ask("room.join", join.clone()).await;
        assert_eq!(waits["waiting"], true, "{how} {waits}");
        assert_eq!(ada.event("room.peer-waiting").await["peer"]["peerId"], waits["peerId"]);
        let peer = json!({"room": room, "peerId": waits["peerId"], "admit": false});
        match n {
            0 => drop(ada.ask("room.admit", peer).await),
            1 => assert_eq!(bob.ask("room.leave", join.clone()).await, json!({"ok": true})),
            2 => drop(ada.ask("room.ban", json!({"room": room, "userId": "bob"})).await),
            _ => {
                bob.breaks().await;
                bob = Client::user(&house, "bob").await;
            }
        }
        assert_eq!(ada.event("room.peer-not-waiting").await["peerId"], waits["peerId"], "{how}");
        if n == 0 || n == 2 {
            assert_eq!(bob.event("room.denied").await["room"], join["room"], "{how}");
        }
        if n == 2 {
            assert_eq!(bob.fail("room.join", join.clone()).await, "banned");
            assert_eq!(ada.ask("room.pardon", json!({"room": room, "userId": "bob"})).await["ok"], true);
        }
    }
    assert_eq!(house.signaling.stats().peers, 1);
}

#[tokio::test(start_paused = true)]
async fn when_a_room_ends_those_who_wait_are_told_and_may_go_elsewhere() {
    let house = house(settings()).await;
    let (mut ada, mut bob) = (Client::user(&house, "ada").await, Client::user(&house, "bob").await);
    let room = room_with_lobby(&mut ada).await;
    bob.ask("room.join", json!({"room": room})).await;
    assert_eq!(ada.ask("room.delete", json!({"room": room})).await, json!({"ok": true}));
    bob.event("room.denied").await;
    assert_eq!(bob.fail("room.leave", json!({})).await, "not-a-member");
    for n in 0..16 {
        bob.join(&format!("r{n}")).await;
    }
    assert_eq!(bob.fail("room.join", json!({"room": "one-more"})).await, "too-many-requests");
}

#[tokio::test(start_paused = true)]
async fn a_moderator_that_comes_later_learns_who_waits() {
    let house = house(settings()).await;
    let mut ada = Client::user(&house, "ada").await;
    let made = ada.ask("room.create", json!({"lobby": true, "kind": "channel"})).await;
    let room = made["room"]["id"].as_str().unwrap();
    let mut bob = Client::user(&house, "bob").await;
    let waits = bob.ask("room.join", json!({"room": room})).await;
    ada.join(room).await;
    assert_eq!(ada.event("room.peer-waiting").await["peer"]["peerId"], waits["peerId"]);
    // And when the lobby is no more, nobody waits who comes.
    assert_eq!(ada.ask("room.lock", json!({"room": room, "lobby": false})).await["ok"], true);
    Client::user(&house, "carol").await.join(room).await;
}

#[tokio::test(start_paused = true)]
async fn a_locked_room_takes_nobody_new_until_it_is_unlocked() {
    let house = house(settings()).await;
    let (mut ada, mut bob) = (Client::user(&house, "ada").await, Client::user(&house, "bob").await);
    ada.join("r").await;
    let seat = bob.join("r").await;
    let join = json!({"room": "r"});
    assert_eq!(bob.fail("room.lock", join.clone()).await, "forbidden");
    assert_eq!(ada.ask("room.lock", join.clone()).await, json!({"ok": true}));
    assert_eq!(bob.event("room.changed").await["state"]["locked"], true);
    let mut carol = Client::user(&house, "carol").await;
    assert_eq!(carol.fail("room.join", join.clone()).await, "room-locked");
    // Coming back is nothing new.
    bob.breaks().await;
    let mut bob = Client::user(&house, "bob").await;
    assert_eq!(bob.ask("room.join", json!({"room": "r", "resume": seat["resume"]})).await["resumed"], true);
    assert_eq!(ada.ask("room.lock", json!({"room": "r", "locked": false})).await["ok"], true);
    carol.join("r").await;
}

#[tokio::test]
async fn who_makes_a_private_room_without_a_name_of_its_own_comes_in_and_nobody_else() {
    let house = house(settings()).await;
    let (mut maker, mut other) = (Client::connect(&house).await, Client::connect(&house).await);
    let made = maker.ask("room.create", json!({"private": true})).await;
    let room = made["room"]["id"].as_str().unwrap().to_owned();
    assert_eq!(other.fail("room.join", json!({"room": room})).await, "private-room");
    assert_eq!(maker.join(&room).await["self"]["rank"], "creator");
    assert_eq!(other.fail("room.join", json!({"room": room})).await, "private-room");
}
