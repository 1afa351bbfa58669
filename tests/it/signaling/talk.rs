//! What is said: messages, histories, signals, in order.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_message_said_twice_under_one_id_is_one_message() {
    let house = house(settings()).await;
    let (mut ada, mut bob) = (Client::user(&house, "ada").await, Client::user(&house, "bob").await);
    let stored = ada.ask("room.create", json!({"kind": "channel"})).await["room"]["id"].clone();
    for room in [stored, json!("plain")] {
        for client in [&mut ada, &mut bob] {
            client.ask("room.join", json!({"room": room})).await;
        }
        let say = json!({"room": room, "text": "hi", "clientId": "one"});
        let first = ada.ask("chat", say.clone()).await;
        assert_eq!((&first["ok"], &first["clientId"]), (&json!(true), &json!("one")));
        let again = ada.ask("chat", say.clone()).await;
        assert_eq!((&again["id"], &again["createdAt"]), (&first["id"], &first["createdAt"]));
        let other = bob.ask("chat", say).await;
        assert_ne!(other["id"], first["id"]);
        let heard = bob.events("chat").await;
        assert_eq!(heard.iter().map(|it| &it["id"]).collect::<Vec<_>>(), [&first["id"]]);
        assert_eq!((&heard[0]["text"], &heard[0]["userId"]), (&json!("hi"), &json!("ada")));
        assert_eq!(ada.events("chat").await.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn attachments_come_along_and_are_bounded() {
    let house = house(settings()).await;
    let (mut ada, mut bob) = (Client::user(&house, "ada").await, Client::user(&house, "bob").await);
    for client in [&mut ada, &mut bob] {
        client.join("r").await;
    }
    let list = json!([{"name": "a.pdf", "size": 7, "url": "https://example.org/a.pdf"}]);
    assert_eq!(ada.ask("chat", json!({"room": "r", "attachments": list})).await["ok"], true);
    assert_eq!(bob.event("chat").await["attachments"], list);
    for (more, code) in [
        (json!({}), "bad-request"),
        (json!({"text": ""}), "bad-request"),
        (json!({"attachments": []}), "bad-request"),
        (json!({"text": "x", "attachments": {"a": 1}}), "bad-request"),
        (json!({"text": "x", "attachments": vec![1; 17]}), "bad-request"),
        (json!({"text": "x", "attachments": ["x".repeat(9000)]}), "too-large"),
        (json!({"text": "x".repeat(17_000)}), "too-large"),
        (json!({"text": "x", "clientId": "x".repeat(129)}), "bad-request"),
    ] {
        let mut body = more;
        body["room"] = json!("r");
        assert_eq!(ada.fail("chat", body.clone()).await, code, "{body}");
    }
    assert!(bob.events("chat").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_history_is_read_in_pages_by_those_who_belong() {
    let house = house(settings()).await;
    let (mut ada, mut bob) = (Client::user(&house, "ada").await, Client::user(&house, "bob").await);
    let room = ada.ask("room.create", json!({"kind": "channel"})).await["room"]["id"].clone();
    for client in [&mut ada, &mut bob] {
        client.ask("room.join", json!({"room": room})).await;
    }
    for n in 0..7 {
        ada.ask("chat", json!({"room": room, "text": n.to_string()})).await;
    }
    let texts = |page: &Value| -> String {
        page["messages"].as_array().unwrap().iter().map(|it| it["text"].as_str().unwrap()).collect()
    };
    let mut read = Vec::new();
    let mut before = json!(null);
    loop {
        let page = bob.ask("room.history", json!({"room": room, "limit": 3, "before": before})).await;
        read.push(texts(&page));
        before = page["before"].clone();
        if before.is_null() {
            break;
        }
    }
    // Whichever way round a page is, the pages go back in time.
    let digits = |page: &String| {
        let mut digits: Vec<char> = page.chars().collect();
        digits.sort_unstable();
        digits.into_iter().collect::<String>()
    };
    assert_eq!(read.iter().map(digits).collect::<Vec<_>>(), ["456", "123", "0"]);
    // A page that ends with the first message says so.
    let all = bob.ask("room.history", json!({"room": room, "limit": 7})).await;
    assert_eq!((texts(&all).len(), &all["before"]), (7, &Value::Null));
    // A member that is not there may read; a stranger and one who has left may not.
    bob.breaks().await;
    let mut bob = Client::user(&house, "bob").await;
    assert_eq!(bob.ask("room.history", json!({"room": room})).await["ok"], true);
    let mut eve = Client::user(&house, "eve").await;
    assert_eq!(eve.fail("room.history", json!({"room": room})).await, "not-a-member");
    bob.ask("room.join", json!({"room": room})).await;
    bob.ask("room.leave", json!({"room": room})).await;
    assert_eq!(bob.fail("room.history", json!({"room": room})).await, "not-a-member");
    assert_eq!(ada.fail("room.history", json!({"room": room, "before": "x"})).await, "bad-request");
    assert_eq!(ada.fail("room.history", json!({"room": "nowhere"})).await, "no-such-room");
}

#[tokio::test(start_paused = true)]
async fn a_thousand_candidates_of_one_client_come_in_their_order() {
    let house = house(settings()).await;
    let (mut a, mut b) = (Client::straight(&house).await, Client::straight(&house).await);
    for client in [&mut a, &mut b] {
        client.join("r").await;
    }
    let signal = |n: usize| {
        let data = json!({"candidate": format!("candidate:{n} 1 udp 1 203.0.113.7 9 typ host"), "n": n});
        format!("42{}", json!(["signal", {"room": "r", "kind": "candidate", "data": data}]))
    };
    // In requests of very different sizes.
    let mut sent = 0;
    for many in [1, 2, 500, 1, 300, 196] {
        let some: Vec<String> = (sent..sent + many).map(signal).collect();
        a.post_all(&some).await;
        sent += many;
    }
    for n in 0..1000 {
        let heard = b.event("signal").await;
        assert_eq!((&heard["data"]["n"], &heard["seq"]), (&json!(n), &json!(n + 1)));
    }
    assert_eq!(house.signaling.stats().drops.iter().sum::<u64>(), 0);
}

#[tokio::test]
async fn what_comes_right_after_the_hello_is_carried_out_in_order() {
    let house = house(settings()).await;
    for way in [Way::Http(reqwest::Client::new()), Way::Straight(house.router.clone())] {
        let mut client = Client::open(way, &house, "").await;
        client.hello("40").await;
        let early = [
            r#"421["room.join",{"room":"r"}]"#.to_owned(),
            r#"422["chat",{"room":"r","text":"hi"}]"#.to_owned(),
            r#"423["room.leave",{"room":"r"}]"#.to_owned(),
            r#"424["chat",{"room":"r","text":"hi"}]"#.to_owned(),
        ];
        client.post_all(&early).await;
        for (n, ok) in [(1, true), (2, true), (3, true), (4, false)] {
            assert_eq!(client.answer(n).await["ok"], ok, "{n}");
        }
        let acks: Vec<_> = client.heard.iter().collect();
        assert!(acks.is_empty(), "{acks:?}");
    }
}

#[tokio::test]
async fn a_name_is_what_of_it_can_be_shown() {
    let house = house(settings()).await;
    let mut ada = Client::user(&house, "ada").await;
    let room = ada.join("r").await["room"]["id"].clone();
    for (said, shown) in [
        (json!("Ada 🎉 لندن"), json!("Ada 🎉 لندن")),
        (json!("  Ada\u{0}\u{1b}[31m\n"), json!("Ada[31m")),
        (json!("   "), json!(null)),
        (json!("\u{0} \u{7}"), json!(null)),
        (json!(""), json!(null)),
        (json!(null), json!(null)),
    ] {
        // With the join, and in the handshake.
        let mut with_it = Client::connect(&house).await;
        let joined = with_it.ask("room.join", json!({"room": room, "name": said})).await;
        assert_eq!(joined["self"]["name"], shown, "{said}");
        assert_eq!(ada.event("room.peer-joined").await["peer"]["name"], shown, "{said}");
        let auth = json!({"dialect": "native", "username": said}).to_string();
        let mut before = Client::connect_with(&house, "", &auth).await;
        assert_eq!(before.join("r").await["self"]["name"], shown, "{said}");
        ada.event("room.peer-joined").await;
        // A room's, too.
        let made = before.ask("room.create", json!({"name": said})).await;
        assert_eq!(made["room"]["name"], shown, "{said}");
        for client in [&mut with_it, &mut before] {
            client.ask("room.leave", json!({"room": "r"})).await;
        }
    }
    assert_eq!(ada.fail("room.create", json!({"name": "x".repeat(129)})).await, "bad-request");
}

#[tokio::test(start_paused = true)]
async fn who_says_something_wrong_hears_under_which_key() {
    let house = house(settings()).await;
    let mut ada = Client::user(&house, "ada").await;
    ada.join("r").await;
    for (event, body, words) in [
        ("room.join", json!({"room": 7}), &["room: ", "`7`", "a string"][..]),
        ("join", json!({"roomId": {"a": 1}}), &["roomId: ", "a string"]),
        ("room.join", json!({"room": "s", "name": true}), &["name: ", "a string"]),
        ("join-room", json!({"roomId": "s", "userId": 7}), &["userId: ", "`7`"]),
        ("room.create", json!({"capacity": "5"}), &["capacity: ", "a whole number"]),
        ("room.create", json!({"capacity": -3}), &["capacity: ", "a whole number"]),
        ("room.create", json!({"private": "yes"}), &["private: ", "a boolean"]),
        ("room.lock", json!({"room": "r", "locked": 1}), &["locked: ", "a boolean"]),
        ("room.history", json!({"room": "r", "limit": "5"}), &["limit: ", "a whole number"]),
        ("chat-message", json!({"roomId": "r", "msg": 5}), &["msg: ", "a string"]),
        ("offer", json!({"roomId": "r", "targetId": 5, "sdp": {}}), &["targetId: ", "`5`"]),
        ("room.join", json!({"id": 5}), &["id: ", "`5`"]),
        ("room.join", json!({}), &["roomId"]),
        ("offer", json!({"roomId": "r"}), &["sdp"]),
        ("chat-message", json!({"roomId": "r"}), &["msg"]),
        ("room.create", json!({"capacity": 0}), &["capacity"]),
    ] {
        let answer = ada.ask(event, body.clone()).await;
        let message = answer["error"]["message"].as_str().unwrap();
        assert_eq!(answer["error"]["code"], "bad-request", "{body}");
        assert!(words.iter().all(|word| message.contains(word)), "{event} {body}: {message}");
    }
}

/// A channel of ada's with so many messages, each as long as one may be.
async fn told_at_length(house: &House, many: usize) -> (Client, Value) {
    let mut ada = Client::user(house, "ada").await;
    let room = ada.ask("room.create", json!({"kind": "channel"})).await["room"]["id"].clone();
    ada.ask("room.join", json!({"room": room})).await;
    for n in 0..many {
        // Written as JSON it is twice as long.
        let text = format!("{n:03}{}", "\"".repeat((16 << 10) - 3));
        assert_eq!(ada.ask("chat", json!({"room": room, "text": text})).await["ok"], true);
    }
    (ada, room)
}

/// What is handed to a transport is bounded by its number alone, and a short question may have a long answer.
#[tokio::test(start_paused = true)]
async fn a_page_of_a_history_is_so_long_and_the_rest_is_on_the_next() {
    let house = house(settings()).await;
    let (mut ada, room) = told_at_length(&house, 20).await;
    let (mut read, mut before) = (Vec::new(), json!(null));
    loop {
        let page = ada.ask("room.history", json!({"room": room, "limit": 200, "before": before})).await;
        assert!(page.to_string().len() <= 160 << 10, "{}", page.to_string().len());
        let texts = page["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["text"].as_str().unwrap()[..3].to_owned());
        read.splice(0..0, texts);
        before = page["before"].clone();
        if before.is_null() {
            break;
        }
    }
    assert_eq!(read, (0..20).map(|n| format!("{n:03}")).collect::<Vec<_>>());
    // Who comes in hears the last of it.
    let mut bob = Client::user(&house, "bob").await;
    let joined = bob.ask("joinRoom", room.clone()).await;
    assert_eq!(joined["success"], true, "{joined}");
    let told = bob.event("roomHistory").await;
    assert!(told.to_string().len() <= 160 << 10, "{}", told.to_string().len());
    assert!(told["history"].as_array().unwrap().last().unwrap()["text"].as_str().unwrap().starts_with("019"));
}

/// So many seconds, with its heartbeat.
async fn a_while(client: &mut Client, seconds: usize) {
    for _ in 0..seconds {
        tokio::time::sleep(Duration::from_secs(1)).await;
        client.events("nothing").await;
    }
}

/// It is asked for as what is sent is: by bytes a second.
#[tokio::test(start_paused = true)]
async fn who_reads_faster_than_it_may_is_told_when_to_go_on() {
    let house = house(Settings { bytes_per_second: 64 << 10, ..settings() }).await;
    let (mut ada, room) = told_at_length(&house, 5).await;
    a_while(&mut ada, 10).await;
    let mut read = 0;
    for (event, body) in [
        ("room.history", json!({"room": room})),
        ("joinRoom", room.clone()),
        ("room.history", json!({"room": room})),
    ] {
        let mut refused = 0;
        for _ in 0..20 {
            let answer = ada.ask(event, body.clone()).await;
            if answer["ok"] == true || answer["success"] == true {
                read += answer.to_string().len();
                continue;
            }
            refused += 1;
            let error = if event == "joinRoom" { &answer } else { &answer["error"] };
            assert_eq!(error["code"], "too-many-requests", "{answer}");
            assert!(error["retryAfter"].as_u64().is_some_and(|wait| wait > 0), "{answer}");
        }
        assert!(refused >= 10, "{event}: {refused}");
    }
    assert!(read < 600 << 10, "{read}");
    // What it says is not counted with it, and later it reads again.
    assert_eq!(ada.ask("sendMessage", json!({"roomId": room, "text": "hi"})).await["success"], true);
    a_while(&mut ada, 5).await;
    assert_eq!(ada.ask("room.history", json!({"room": room, "limit": 1})).await["ok"], true);
}
