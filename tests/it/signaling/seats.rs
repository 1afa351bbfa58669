//! Seats and the relay: who is in, who is gone, and what the relay is told of it.

use super::*;

#[tokio::test]
async fn a_member_that_is_gone_is_reported_by_the_id_of_its_credential() {
    let house = house(Settings::default()).await;
    let (mut a, mut b) = (Client::connect(&house).await, Client::connect(&house).await);
    let room = json!({"room": "r"});
    let first = a.ask("room.join", room.clone()).await;
    let turn = &first["iceServers"][1];
    let ways = ["turn:[2001:db8::1]:3478?transport=udp", "turn:[2001:db8::1]:80?transport=tcp"];
    assert_eq!(turn["urls"], json!([ways[0], ways[1], "turns:[2001:db8::1]:443?transport=tcp"]));
    let username = turn["username"].as_str().unwrap();
    assert_eq!(username.split_once(':').unwrap().1, member_id(&first));
    let second = b.ask("room.join", room.clone()).await;
    assert!(house.relay.gone().is_empty());
    assert_eq!(a.ask("room.leave", room).await, json!({"ok": true}));
    assert_eq!(house.relay.gone(), [member_id(&first)]);
    // Saying goodbye is leaving.
    b.post("41").await;
    until("gone", || house.relay.gone() == [member_id(&first), member_id(&second)]).await;
}

#[tokio::test]
async fn when_a_call_ends_both_credentials_end() {
    let house = house(Settings::default()).await;
    let (mut a, mut b) = (Client::connect(&house).await, Client::connect(&house).await);
    a.post(r#"42["join",{"roomId":"c"}]"#).await;
    let first = a.event("joined").await;
    b.post(r#"42["join","c"]"#).await;
    let second = b.event("joined").await;
    b.post(r#"42["leave"]"#).await;
    assert_eq!(a.event("room-closed").await, json!({"roomId": "c", "reason": "peer-left"}));
    let ids = [&second, &first].map(|it| credential::member_id(it["self"].as_str().unwrap()));
    assert_eq!(house.relay.gone(), ids);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_times_out_ends_its_credential() {
    let settings = Settings { waiting_timeout: Duration::from_millis(200), ..Settings::default() };
    let house = house(settings).await;
    let mut a = Client::straight(&house).await;
    a.post(r#"42["join",{"roomId":"c"}]"#).await;
    a.event("joined").await;
    a.event("room-timeout").await;
    assert_eq!(house.relay.gone().len(), 1);
    assert_eq!(house.signaling.stats().rooms, [0, 0, 0]);
}

#[tokio::test]
async fn what_happens_is_counted() {
    let house = house(Settings::default()).await;
    let (mut a, mut b) = (Client::connect(&house).await, Client::connect(&house).await);
    for client in [&mut a, &mut b] {
        client.ask("room.join", json!({"room": "r"})).await;
    }
    a.ask("signal", json!({"room": "r", "kind": "offer", "data": 1})).await;
    a.ask("chat", json!({"room": "r", "text": "hi"})).await;
    a.ask("nonsense", json!({})).await;
    let stats = house.signaling.stats();
    assert_eq!((stats.connections, stats.rooms, stats.peers, stats.joins), (2, [0, 1, 0], 2, 2));
    assert_eq!(stats.relayed[Relayed::Offer as usize], 1);
    assert_eq!(stats.relayed[Relayed::Chat as usize], 1);
    assert_eq!(stats.errors[Code::UnknownEvent as usize], 1);
    assert_eq!(stats.errors.iter().sum::<u64>(), 1);
    assert_eq!(stats.drops.iter().sum::<u64>(), 0);
}

#[tokio::test]
async fn draining_is_announced_and_takes_nobody_in() {
    let house = house(Settings::default()).await;
    let (mut a, mut b) = (Client::connect(&house).await, Client::connect(&house).await);
    a.ask("room.join", json!({"room": "r"})).await;
    b.post(r#"42["join","c"]"#).await;
    b.event("joined").await;
    house.signaling.drain().await;
    assert_eq!(a.event("server.draining").await, json!({}));
    assert_eq!(b.event("server-draining").await, json!({}));
    assert_eq!(a.ask("room.join", json!({"room": "s"})).await["error"]["code"], "room-closed");
    // Who is in a room stays there until the end.
    assert_eq!(a.ask("chat", json!({"room": "r", "text": "bye"})).await["ok"], true);
    house.signaling.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_does_not_fill_the_house_with_empty_rooms() {
    let house = house(Settings::default()).await;
    let mut a = Client::straight(&house).await;
    let mut refused = None;
    for _ in 0..11 {
        let answer = a.ask("room.create", json!({})).await;
        if answer["ok"] == false {
            refused = Some(answer);
        }
    }
    let refused = refused.expect("eleven rooms at once");
    assert_eq!(refused["error"]["code"], "too-many-requests");
    // Six seconds, and a whole one more: no time has passed.
    assert_eq!(refused["error"]["retryAfter"], 7);
    assert_eq!(house.signaling.stats().rooms[1], 10);
    assert_eq!(a.ask("room.join", json!({"room": "r"})).await["error"]["code"], "too-many-requests");
    // Everything else goes on, and others do.
    assert_eq!(a.ask("room.list", json!({})).await["ok"], true);
    let mut b = Client::straight(&house).await;
    assert_eq!(b.ask("room.join", json!({"room": "r"})).await["ok"], true);
}

#[tokio::test(start_paused = true)]
async fn the_seat_that_a_waiting_caller_left_behind_does_not_end_its_call() {
    let settings = Settings {
        grace: Duration::from_millis(200),
        waiting_timeout: Duration::ZERO,
        ..Settings::default()
    };
    let house = house(settings).await;
    let mut before = Client::straight(&house).await;
    before.post(r#"42["join","c"]"#).await;
    before.event("joined").await;
    // The page is reloaded: the transport closes without a word of Socket.IO's.
    before.post("1").await;
    let mut a = Client::straight(&house).await;
    a.post(r#"42["join","c"]"#).await;
    a.event("joined").await;
    assert_eq!(a.event("peer-left").await["reason"], "lost");
    assert_eq!(house.signaling.stats().rooms, [1, 0, 0]);
    let mut b = Client::straight(&house).await;
    b.post(r#"42["join","c"]"#).await;
    assert_eq!(b.event("joined").await["peers"].as_array().unwrap().len(), 1);
    // Two that have met are a call: it ends with either.
    b.post("1").await;
    assert_eq!(a.event("room-closed").await["reason"], "peer-lost");
}

/// The relay has to know before anybody acts on it: what is told to clients comes after what is told to the relay.
#[tokio::test]
async fn the_relay_hears_of_members_and_their_addresses_before_the_members_do() {
    let house = house(Settings::default()).await;
    let (mut a, mut b) = (Client::connect(&house).await, Client::connect(&house).await);
    let room = json!({"room": "r"});
    let first = a.ask("room.join", room.clone()).await;
    assert_eq!(house.relay.told(), [format!("seated {} r room 127.0.0.1", member_id(&first))]);
    let second = b.ask("room.join", room.clone()).await;
    assert_eq!(house.relay.told(), [format!("seated {} r room 127.0.0.1", member_id(&second))]);
    let candidate = json!({"candidate": "candidate:1 1 udp 1 203.0.113.7 9 typ srflx raddr 10.0.0.5 rport 9", "sdpMid": "0"});
    a.ask("signal", json!({"room": "r", "kind": "candidate", "data": candidate})).await;
    let signaled = format!("signaled {} [203.0.113.7]", member_id(&first));
    assert_eq!(house.relay.told(), [signaled.as_str()]);
    let sdp = "v=0\r\nc=IN IP4 203.0.113.8\r\na=candidate:1 1 udp 1 2001:db8::5 9 typ host\r\n";
    b.post(&format!("42{}", json!(["offer", {"roomId": "r", "sdp": {"type": "offer", "sdp": sdp}}]))).await;
    a.event("signal").await;
    assert_eq!(house.relay.told(), [format!("signaled {} [2001:db8::5, 203.0.113.8]", member_id(&second))]);
    // Nothing in it, nothing told.
    b.ask("signal", json!({"room": "r", "kind": "candidate", "data": null})).await;
    // On another connection.
    let resume = json!({"room": "r", "resume": first["resume"]});
    let mut again = Client::connect(&house).await;
    assert_eq!(again.ask("room.join", resume).await["resumed"], true);
    again.ask("room.leave", room).await;
    let id = member_id(&first);
    let returned = format!("returned {id} 127.0.0.1");
    assert_eq!(house.relay.told(), [returned, format!("unseated {id}"), format!("gone {id}")]);
}

#[tokio::test]
async fn a_signal_that_is_refused_grants_nothing() {
    let house = house(Settings::default()).await;
    let (mut a, mut b) = (Client::connect(&house).await, Client::connect(&house).await);
    a.ask("room.join", json!({"room": "mine"})).await;
    b.ask("room.join", json!({"room": "theirs"})).await;
    house.relay.told();
    let candidate = "candidate:1 1 udp 1 203.0.113.7 9 typ host";
    for (command, code) in [
        (json!({"room": "theirs", "kind": "candidate", "data": candidate}), "not-a-member"),
        (json!({"room": "mine", "to": "nobody", "kind": "candidate", "data": candidate}), "no-such-peer"),
        (json!({"room": "mine", "data": candidate}), "bad-request"),
    ] {
        assert_eq!(a.ask("signal", command).await["error"]["code"], code);
    }
    assert!(house.relay.told().is_empty());
}

#[tokio::test(start_paused = true)]
async fn after_a_change_of_secrets_everybody_gets_fresh_credentials_soon() {
    let house = house(Settings::default()).await;
    let (mut a, mut b) = (Client::straight(&house).await, Client::straight(&house).await);
    let first = a.ask("room.join", json!({"room": "r"})).await;
    b.post(r#"42["join","r"]"#).await;
    b.event("joined").await;
    let begun = tokio::time::Instant::now();
    house.signer.set("another secret of the test".into());
    house.signaling.renew();
    let fresh = a.event("ice.servers").await["iceServers"][1].clone();
    b.event("ice-servers").await;
    assert!(begun.elapsed() < Duration::from_millis(3500), "{:?}", begun.elapsed());
    let (expires, id) = fresh["username"].as_str().unwrap().split_once(':').unwrap();
    assert_eq!(id, member_id(&first));
    let signed = credential::mint(&"another secret of the test".into(), id, expires.parse().unwrap());
    assert_eq!(fresh["credential"], signed.password);
    // Once.
    tokio::time::sleep(Duration::from_millis(3500)).await;
    assert_eq!(a.ask("chat", json!({"room": "r", "text": "hi"})).await["ok"], true);
    assert!(!a.heard.iter().any(|packet| packet.contains("ice.servers")), "{:?}", a.heard);
}
