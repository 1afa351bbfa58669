//! Clients that mean ill, or do not read.

use callgate::auth::Keyring;
use callgate::auth::Tokens;

use super::*;

/// The transport's session id is the key to the session: nobody else ever sees it, and others do not work.
#[tokio::test]
async fn a_session_is_reached_by_its_own_id_alone_and_that_is_never_told() {
    let house = house(settings()).await;
    let (mut a, mut b) = (Client::connect(&house).await, Client::connect(&house).await);
    let mut told = vec![a.join("r").await.to_string(), b.join("r").await.to_string()];
    a.ask("chat", json!({"room": "r", "text": "hi"})).await;
    a.ask("signal", json!({"room": "r", "kind": "offer", "data": 1})).await;
    a.ask("room.lock", json!({"room": "r", "lobby": true})).await;
    let mut c = Client::connect(&house).await;
    told.push(c.ask("room.join", json!({"room": "r"})).await.to_string());
    a.post("1").await;
    b.event("room.peer-away").await;
    told.extend(a.heard.iter().chain(&b.heard).chain(&c.heard).cloned());
    told.push(house.signaling.room(&RoomId::parse("r").unwrap(), true).unwrap().to_string());
    for text in &told {
        for sid in [&a.sid, &b.sid, &c.sid] {
            assert!(!text.contains(sid.as_str()), "{text}");
        }
    }
    // What is told opens no session; neither does a guess.
    let http = reqwest::Client::new();
    let first: Value = serde_json::from_str(&told[1]).unwrap();
    let peer = peer_id(&first).to_owned();
    let near = b.sid.chars().rev().collect::<String>();
    for sid in [peer.as_str(), near.as_str(), "", "AAAAAAAAAAAAAAAA", "../../x", "%00"] {
        let url = format!("{}&sid={sid}", house.url);
        for request in
            [http.get(&url), http.post(&url).body("42[\"chat\",{\"room\":\"r\",\"text\":\"I am b\"}]")]
        {
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 400, "{sid}");
        }
    }
    // Naming another's peer id as one's own past gives nothing, either.
    let mut eve = Client::open(Way::Http(http), &house, &format!("&reconnecting={peer}")).await;
    eve.hello("40").await;
    assert_eq!(eve.fail("chat", json!({"room": "r", "text": "I am b"})).await, "not-a-member");
    assert_eq!(b.ask("chat", json!({"room": "r", "text": "still me"})).await["ok"], true);
}

/// Two polls at once on one session: whoever has stolen the id is noticed, and the session ends rather than being shared.
#[tokio::test(start_paused = true)]
async fn a_session_is_not_polled_by_two() {
    let house = house(settings()).await;
    let (mut a, b) = (Client::straight(&house).await, Client::straight(&house).await);
    a.join("r").await;
    let (way, url) = (b.way.clone(), b.url.clone());
    let owner = b.stays();
    // When nothing else is to be done, it polls.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (status, _) = tokio::time::timeout(Duration::from_secs(5), way.ask(&url, None)).await.unwrap();
    assert_eq!(status, 400);
    // The owner's poll ends, too: it connects anew, under an id that nobody has stolen.
    assert!(tokio::time::timeout(Duration::from_secs(5), owner.task).await.unwrap().is_err());
    // Nobody else is any the worse for it.
    assert_eq!(a.ask("chat", json!({"room": "r", "text": "hi"})).await["ok"], true);
}

/// Its heartbeat would go on: without a word it would take itself for connected, and nobody would hear it.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_that_is_cut_off_is_told_when_it_reads_again() {
    let house = house(settings()).await;
    let (mut a, mut b) = (Client::straight(&house).await, Client::straight(&house).await);
    for client in [&mut a, &mut b] {
        client.ask("room.join", json!({"room": "r"})).await;
    }
    let data = "x".repeat(50_000);
    for _ in 0..120 {
        a.post(&format!("42{}", json!(["signal", {"room": "r", "kind": "offer", "data": data}]))).await;
    }
    a.event("room.peer-away").await;
    b.next("41").await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_with_a_megabyte_waiting_is_cut_off_in_time_and_delays_nobody() {
    let house = house(settings()).await;
    let (mut a, mut b, mut c) =
        (Client::straight(&house).await, Client::straight(&house).await, Client::straight(&house).await);
    let mut seats = Vec::new();
    for client in [&mut a, &mut b, &mut c] {
        seats.push(client.join("r").await);
    }
    // A megabyte and more waits for b, which does not poll; c reads on.
    let data = "x".repeat(10_000);
    let begun = tokio::time::Instant::now();
    for n in 0..120 {
        let body = json!({"room": "r", "kind": "offer", "data": {"n": n, "data": data}});
        a.post(&format!("42{}", json!(["signal", body]))).await;
        if n % 10 == 9 {
            for _ in 0..10 {
                c.event("signal").await;
            }
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    // Five seconds without a step, or the heartbeat's ten.
    for client in [&mut a, &mut c] {
        assert_eq!(client.event("room.peer-away").await["peerId"], json!(peer_id(&seats[1])));
    }
    assert!(begun.elapsed() < Duration::from_secs(18), "{:?}", begun.elapsed());
    let stats = house.signaling.stats();
    assert_eq!(stats.drops[Drop::SlowReader as usize], 1);
    // It comes back, says what it has, and hears the rest; what was too much is counted.
    let mut again = Client::straight(&house).await;
    let back = again.ask("room.join", json!({"room": "r", "resume": seats[1]["resume"], "have": 1})).await;
    assert_eq!(back["resumed"], true);
    let missed = back["missed"].as_u64().unwrap();
    let heard = again.events("signal").await;
    assert!(heard.len() > 10 && missed + heard.len() as u64 >= 120, "{missed} {}", heard.len());
    assert!(heard.iter().map(|it| it["seq"].as_u64()).is_sorted());
    assert_eq!(heard.last().unwrap()["data"]["n"], 119);
}

/// Answered, and not dropped without a word: by its acknowledgement, or by an event that names it.
#[tokio::test(start_paused = true)]
async fn every_event_over_the_rate_is_answered() {
    let house = house(Settings { events_per_second: 1, ..settings() }).await;
    let mut a = Client::open(Way::Straight(house.router.clone()), &house, "").await;
    a.hello("40").await;
    // Five seconds' worth comes through.
    a.join("r").await;
    let said = |n: usize| format!("42{}", json!(["chat", {"room": "r", "text": n.to_string()}]));
    a.post_all(&(0..40).map(said).collect::<Vec<_>>()).await;
    a.post("4277[\"createRoom\",{\"name\":\"r\"}]").await;
    a.post("4278[\"room.join\",{\"room\":\"r\"}]").await;
    a.post("42[\"no such thing\"]").await;
    for _ in 0..36 {
        let refused = a.event("error").await;
        assert_eq!((&refused["code"], &refused["command"]), (&json!("too-many-requests"), &json!("chat")));
        assert!(refused["retryAfter"].as_u64().unwrap() >= 1, "{refused}");
        assert!(refused.to_string().len() < 160, "{refused}");
    }
    // Each in the words of the dialect that it was said in.
    let created = a.answer(77).await;
    assert_eq!((&created["success"], &created["code"]), (&json!(false), &json!("too-many-requests")));
    assert_eq!(a.answer(78).await["error"]["code"], "too-many-requests");
    assert_eq!(a.event("error").await["command"], "no such thing");
    let stats = house.signaling.stats();
    assert_eq!(stats.errors[Code::TooManyRequests as usize], 39);
    assert_eq!(stats.drops, [0; Drop::ALL.len()]);
}

/// What answers would pile up in memory is bounded: then the connection ends, which is counted, and others go on.
#[tokio::test]
async fn a_flood_that_does_not_wait_for_its_answers_is_cut_off() {
    let house = house(Settings { events_per_second: 10, grace: Duration::ZERO, ..settings() }).await;
    let (mut a, mut b) = (Client::connect(&house).await, Client::connect(&house).await);
    a.join("r").await;
    b.join("r").await;
    b.post_all(&vec!["42[\"x\"]".to_owned(); 20_000]).await;
    assert_eq!(a.event("room.peer-left").await["reason"], "lost");
    assert_eq!(a.ask("chat", json!({"room": "r", "text": "still here"})).await["ok"], true);
    let stats = house.signaling.stats();
    assert_eq!((stats.drops[Drop::Flood as usize], stats.drops[Drop::SlowReader as usize]), (1, 0));
    // What was not answered was counted.
    let answered = stats.errors.iter().sum::<u64>() - stats.drops[Drop::Closed as usize];
    assert!(answered < 5_000, "{answered}");
    assert_eq!(stats.errors.iter().sum::<u64>(), 20_000);
    // And it is told once it reads again.
    b.next("41").await;
}

/// What is attached to an event is not carried out; it has come all the same.
#[tokio::test(start_paused = true)]
async fn what_is_attached_counts_as_bytes() {
    let house = house(Settings { bytes_per_second: 20_000, ..settings() }).await;
    let mut a = Client::straight(&house).await;
    let codes = a.attach(4).await;
    assert_eq!(codes[0], "bad-request");
    assert_eq!(codes[1..], ["too-many-requests"; 3]);
}

const KEY: &str = "a key of thirty-two characters..";
const FORGED: &str = "40{\"token\":\"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIiwiZXhwIjoxfQ.AAAA\"}";

/// Where users show tokens signed with `KEY`.
fn tokens() -> Arc<Tokens> {
    let config = format!("[auth]\nkey = \"{KEY}\"");
    let auth = callgate::config::read(None, &config, &Default::default()).unwrap().auth;
    Arc::new(Tokens::new(Keyring::read(&auth).unwrap()))
}

/// Each would have a signature verified. Who is let in does not count, and other addresses are not concerned.
#[tokio::test(start_paused = true)]
async fn who_is_refused_is_not_looked_at_as_often_as_it_likes() {
    let house = open(Settings { events_per_second: 1, ..settings() }, |parts| parts.tokens = tokens()).await;
    let from = |last: u8| {
        let address = SocketAddr::from(([192, 0, 2, last], 9));
        Way::Straight(house.router.clone().layer(axum::Extension(Visitor::new(address))))
    };
    let mut eve = Client::open(from(1), &house, "").await;
    let mut refused = Vec::new();
    for _ in 0..8 {
        eve.post(FORGED).await;
        refused.push(eve.next("44").await);
    }
    assert_eq!(refused[..5], [r#"{"message":"unauthorized"}"#; 5]);
    assert_eq!(refused[5..], [r#"{"message":"too-many-requests"}"#; 3]);
    let mut bob = Client::open(from(2), &house, "").await;
    bob.hello("40").await;
}

/// On loopback nobody has an address of its own: all that come through a reverse proxy.
#[tokio::test(start_paused = true)]
async fn who_is_refused_over_and_over_on_one_transport_waits_for_it_and_is_let_in_at_once() {
    let house = open(settings(), |parts| parts.tokens = tokens()).await;
    let refused = || house.signaling.stats().errors[Code::Unauthorized as usize];
    let mut eve = Client::open(Way::Straight(house.router.clone()), &house, "").await;
    for _ in 0..16 {
        eve.post(FORGED).await;
        assert_eq!(eve.next("44").await, r#"{"message":"unauthorized"}"#);
    }
    let since = tokio::time::Instant::now();
    eve.post(FORGED).await;
    until("the next one is looked at", || refused() == 17).await;
    // While it waits for its answer, nothing else is looked at.
    eve.post_all(&vec![FORGED.to_owned(); 500]).await;
    assert_eq!(eve.next("44").await, r#"{"message":"unauthorized"}"#);
    assert!(since.elapsed() >= Duration::from_secs(1), "{:?}", since.elapsed());
    assert_eq!(refused(), 17);
    // Another connection is another matter; and so is another token on the same one.
    let mut bob = Client::open(Way::Straight(house.router.clone()), &house, "").await;
    bob.post(FORGED).await;
    bob.next("44").await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let token = callgate::auth::mint(
        &KEY.into(),
        &callgate::auth::Minted {
            user: "eve",
            name: None,
            role: callgate::auth::Role::User,
            rooms: None,
            issuer: None,
            audience: None,
            now,
            expires: now + 600,
        },
    );
    let since = tokio::time::Instant::now();
    eve.hello(&format!("40{}", json!({ "token": token }))).await;
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
}

/// On loopback nobody has an address of its own.
#[tokio::test(start_paused = true)]
async fn who_comes_and_goes_over_one_transport_comes_in_line_and_with_the_account_it_had() {
    let limits = Settings { connects_per_second: 1, joins_per_minute: 3, rooms_of_one: 2, ..settings() };
    let house = house(limits).await;
    let mut eve = Client::user(&house, "eve").await;
    let since = tokio::time::Instant::now();
    let mut made = Vec::new();
    for n in 0..30 {
        if n < 4 {
            let answer = eve.ask("room.create", json!({"kind": "channel"})).await;
            made.push(answer["error"]["message"].as_str().unwrap_or("made").to_owned());
        }
        eve.post("41").await;
        eve.hello(&format!("40{}", json!({"dialect": "native", "userId": format!("eve{n}")}))).await;
    }
    // It keeps its share of rooms, and of joins.
    assert_eq!(made, ["made", "made", "you have as many rooms as you may have", "more joins than allowed"]);
    // Twenty at once, then two a second.
    assert!(since.elapsed() > Duration::from_secs(5), "{:?}", since.elapsed());
    // Others have a transport of their own.
    let mut bob = Client::user(&house, "bob").await;
    assert_eq!(bob.ask("room.create", json!({"kind": "channel"})).await["ok"], true);
}

/// Whoever opens each transport once is not held up: a storm of those is paced before this (`daemon::arrivals`).
#[tokio::test(start_paused = true)]
async fn an_address_comes_in_twice_as_often_as_it_may_open_transports() {
    let house = house(Settings { connects_per_second: 1, ..settings() }).await;
    let from = |last: u8| {
        let address = SocketAddr::from(([192, 0, 2, last], 9));
        Way::Straight(house.router.clone().layer(axum::Extension(Visitor::new(address))))
    };
    let since = tokio::time::Instant::now();
    for _ in 0..20 {
        Client::open(from(1), &house, "").await.hello("40").await;
    }
    assert!(since.elapsed() < Duration::from_millis(400), "{:?}", since.elapsed());
    Client::open(from(1), &house, "").await.hello("40").await;
    assert!(since.elapsed() >= Duration::from_millis(400), "{:?}", since.elapsed());
    let since = tokio::time::Instant::now();
    Client::open(from(2), &house, "").await.hello("40").await;
    assert!(since.elapsed() < Duration::from_millis(100), "{:?}", since.elapsed());
}
