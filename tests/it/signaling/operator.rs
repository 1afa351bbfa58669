//! What the operator sees and does.

use super::*;

#[tokio::test]
async fn who_is_put_out_is_told_and_loses_its_credential() {
    let house = house(Settings { waiting_timeout: Duration::ZERO, ..Settings::default() }).await;
    let room = RoomId::parse("r").unwrap();
    let (mut a, mut b) = (Client::connect(&house).await, Client::connect(&house).await);
    let join = |user: &str| json!({"room": "r", "userId": user});
    let first = a.ask("room.join", join("ada")).await;
    b.ask("room.join", join("bob")).await;
    let peer = PeerId::parse(first["self"]["peerId"].as_str().unwrap()).unwrap();
    assert_eq!(house.signaling.kick(&room, Target::Peer(peer), true).await, Ok(1));
    assert_eq!(house.relay.gone(), [member_id(&first)]);
    assert_eq!(a.event("room.closed").await, json!({"seq": 2, "room": "r", "reason": "kicked"}));
    let left = json!({"seq": 1, "room": "r", "peerId": peer.to_string(), "reason": "kicked"});
    assert_eq!(b.event("room.peer-left").await, left);
    // The connection stays, and is in no room any more.
    let say = json!({"room": "r", "text": "still here?"});
    assert_eq!(a.ask("chat", say).await["error"]["code"], "not-a-member");
    assert_eq!(a.ask("room.join", join("ada")).await["error"]["code"], "banned");
    let resume = json!({"room": "r", "resume": first["resume"]});
    assert_eq!(a.ask("room.join", resume).await["error"]["code"], "resume-failed");
    assert_eq!(a.ask("room.join", join("carol")).await["ok"], true);
    // In the other dialect.
    let mut c = Client::connect(&house).await;
    c.post(r#"42["join",{"roomId":"r","userId":"dave"}]"#).await;
    c.event("joined").await;
    assert_eq!(house.signaling.kick(&room, Target::User("dave"), false).await, Ok(1));
    assert_eq!(c.event("room-closed").await, json!({"roomId": "r", "reason": "kicked"}));
    c.post(r#"42["join",{"roomId":"r","userId":"ada"}]"#).await;
    assert_eq!(c.event("error").await["code"], "banned");
    let stats = house.signaling.stats();
    assert_eq!((stats.peers, stats.errors[Code::Banned as usize]), (2, 2));
}

#[tokio::test]
async fn a_room_that_is_ended_ends_every_credential_of_it() {
    let house = house(Settings::default()).await;
    let room = RoomId::parse("r").unwrap();
    let (mut a, mut b) = (Client::connect(&house).await, Client::connect(&house).await);
    let first = a.ask("room.join", json!({"room": "r"})).await;
    b.post(r#"42["join","r"]"#).await;
    b.event("joined").await;
    house.relay.told();
    house.signaling.close_room(&room).await.unwrap();
    // Nobody's seat is left to whoever makes the room anew.
    let told = house.relay.told();
    let told: Vec<&str> = told.iter().filter_map(|what| what.split(' ').next()).collect();
    assert_eq!(told, ["unseated", "unseated", "gone", "gone"]);
    assert_eq!(a.event("room.closed").await, json!({"seq": 2, "room": "r", "reason": "deleted"}));
    assert_eq!(b.event("room-closed").await, json!({"roomId": "r", "reason": "deleted"}));
    assert_eq!(house.relay.gone()[0], member_id(&first));
    assert_eq!(house.relay.gone().len(), 2);
    assert_eq!(house.signaling.close_room(&room).await, Err(Refusal::NoSuchRoom));
    assert_eq!(house.signaling.room(&room, true), None);
}

#[tokio::test]
async fn the_operator_sees_what_was_relayed_for_each_member_and_in_all() {
    let house = house(Settings::default()).await;
    let (mut a, mut b) = (Client::connect(&house).await, Client::connect(&house).await);
    a.ask("room.join", json!({"room": "r", "userId": "ada"})).await;
    b.ask("room.join", json!({"room": "r"})).await;
    let whole = house.signaling.room(&RoomId::parse("r").unwrap(), true).unwrap();
    let of = |n: u64| json!({"toPeer": {"packets": n, "bytes": 100 * n}, "toClient": {"packets": 2 * n, "bytes": 200 * n}});
    assert_eq!((&whole["members"][0]["relay"], &whole["members"][1]["relay"]), (&of(1), &of(2)));
    assert_eq!(whole["relay"], of(13), "with what those had who have left");
    let outline = house.signaling.room(&RoomId::parse("r").unwrap(), false).unwrap();
    assert!(outline.get("members").is_none() && outline.get("relay").is_none(), "{outline}");
}

fn operator(drained: &Arc<Mutex<u32>>) -> Operator {
    let drained = drained.clone();
    Operator {
        era: Arc::new(|| 0),
        admits: Arc::new(|token, from| token == b"of-the-operator" && from.is_loopback()),
        relay: Arc::new(|| RelayFigures { allocations: 7, usage: Usage::default() }),
        drain: Arc::new(move || *drained.lock().unwrap() += 1),
    }
}

#[tokio::test]
async fn the_operators_namespace_opens_to_the_token_only() {
    let house = house(Settings::default()).await;
    house.signaling.admit(operator(&Arc::default()));
    let mut client = Client::open(Way::Http(reqwest::Client::new()), &house, "").await;
    for auth in ["", r#"{"token":"of-the-operato"}"#, r#"{"token":7}"#, "{}", "[]", r#"{"token":""}"#] {
        client.post(&format!("40/admin,{auth}")).await;
        assert_eq!(client.next("44/admin,").await, r#"{"message":"unauthorized"}"#, "{auth}");
    }
    // What is said there without being let in is heard by nobody.
    client.post(r#"42/admin,1["drain"]"#).await;
    assert_eq!(house.signaling.stats().errors[Code::Unauthorized as usize], 6);
}

#[tokio::test(start_paused = true)]
async fn an_operator_of_an_old_token_is_obeyed_no_more_and_put_out() {
    let (drained, era) = (Arc::<Mutex<u32>>::default(), Arc::<Mutex<u64>>::default());
    // So that no poll is long.
    let house = house(Settings { ping_interval: Duration::from_secs(1), ..Settings::default() }).await;
    let now = era.clone();
    house.signaling.admit(Operator { era: Arc::new(move || *now.lock().unwrap()), ..operator(&drained) });
    let mut client = Client::open(Way::Straight(house.router.clone()), &house, "").await;
    let enter = r#"40/admin,{"token":"of-the-operator"}"#;
    client.post(enter).await;
    client.next(r#"42/admin,["roomStats","#).await;
    *era.lock().unwrap() += 1;
    client.post(r#"42/admin,1["drain"]"#).await;
    let refused = client.next("43/admin,1").await;
    assert!(refused.contains("unauthorized"), "{refused}");
    client.next("41/admin,").await;
    assert_eq!(*drained.lock().unwrap(), 0);
    // Who says nothing is put out when the figures are next due.
    client.post(enter).await;
    client.next(r#"42/admin,["roomStats","#).await;
    *era.lock().unwrap() += 1;
    client.next("41/admin,").await;
}

#[tokio::test(start_paused = true)]
async fn the_operator_is_told_the_figures_and_is_obeyed() {
    let drained = Arc::<Mutex<u32>>::default();
    // So that no poll is long.
    let house = house(Settings { ping_interval: Duration::from_secs(1), ..Settings::default() }).await;
    house.signaling.admit(operator(&drained));
    let mut a = Client::straight(&house).await;
    a.ask("room.join", json!({"room": "r", "userId": "ada"})).await;
    a.ask("room.create", json!({"name": "Tea"})).await;
    let mut admin = Client::straight(&house).await;
    admin.post(r#"40/admin,{"token":"of-the-operator"}"#).await;
    let stats: Value = {
        let rest = admin.next(r#"42/admin,["roomStats","#).await;
        serde_json::from_str(rest.strip_suffix(']').unwrap()).unwrap()
    };
    assert_eq!(
        (&stats["totalRooms"], &stats["emptyRooms"], &stats["totalUsersInRooms"]),
        (&json!(2), &json!(1), &json!(1))
    );
    let [first, second] = stats["roomsBreakdown"].as_array().unwrap().as_slice() else { panic!("{stats}") };
    assert_eq!((&first["id"], &first["name"], &first["userCount"]), (&json!("r"), &json!("r"), &json!(1)));
    assert_eq!(
        (&second["name"], &second["type"], &second["userCount"]),
        (&json!("Tea"), &json!("room"), &json!(0))
    );
    assert_eq!(
        (&first["relay"]["toPeer"]["packets"], &stats["relay"]["allocations"]),
        (&json!(11), &json!(7))
    );
    let [peer] = first["peers"].as_array().unwrap().as_slice() else { panic!("{stats}") };
    assert_eq!((&peer["userId"], &peer["relay"]["toPeer"]["packets"]), (&json!("ada"), &json!(1)));
    let mut acks = 0;
    let mut ask = async |admin: &mut Client, event: Value| -> Value {
        acks += 1;
        admin.post(&format!("42/admin,{acks}{event}")).await;
        let answer = admin.next(&format!("43/admin,{acks}")).await;
        serde_json::from_str::<[Value; 1]>(&answer).unwrap()[0].clone()
    };
    let kicked = ask(&mut admin, json!(["kick", {"roomId": "r", "userId": "ada", "ban": true}])).await;
    assert_eq!(kicked, json!({"ok": true, "kicked": 1}));
    assert_eq!(a.event("room.closed").await["reason"], "kicked");
    let tea = second["id"].clone();
    assert_eq!(ask(&mut admin, json!(["deleteRoom", tea])).await, json!({"ok": true}));
    for (event, code) in [
        (json!(["deleteRoom", {"roomId": tea}]), "no-such-room"),
        (json!(["deleteRoom"]), "bad-request"),
        (json!(["deleteRoom", 7]), "bad-request"),
        (json!(["kick", {"roomId": "r"}]), "bad-request"),
        (json!(["kick", {"roomId": "r", "peerId": "x"}]), "no-such-peer"),
        (json!(["kick", {"roomId": "r", "userId": "ada"}]), "no-such-room"),
        (json!(["room.join", {"room": "r"}]), "unknown-event"),
    ] {
        assert_eq!(ask(&mut admin, event.clone()).await["error"]["code"], code, "{event}");
    }
    // Without an acknowledgement it is said which one it was.
    admin.post(r#"42/admin,["room.join",{"room":"r"}]"#).await;
    let error = admin.next(r#"42/admin,["error","#).await;
    assert!(error.contains(r#""command":"room.join""#), "{error}");
    assert_eq!(*drained.lock().unwrap(), 0);
    assert_eq!(ask(&mut admin, json!(["drain"])).await, json!({"ok": true}));
    assert_eq!(*drained.lock().unwrap(), 1);
    // Ten seconds later, without asking.
    let begun = tokio::time::Instant::now();
    let again = admin.next(r#"42/admin,["roomStats","#).await;
    assert!(again.contains(r#""totalRooms":0"#), "{again}");
    assert!(begun.elapsed() <= Duration::from_secs(11), "{:?}", begun.elapsed());
}
