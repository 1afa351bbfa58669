//! Signaling in this process, by a client of our own over HTTP long polling. Other people's clients: tests/e2e/signaling.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use axum::extract::ConnectInfo;
use callgate::ice::IceServers;
use callgate::ice::Port;
use callgate::ice::Signer;
use callgate::rooms::Kind;
use callgate::rooms::PeerId;
use callgate::rooms::Refusal;
use callgate::rooms::RoomId;
use callgate::rooms::Target;
use callgate::signaling::Code;
use callgate::signaling::Flow;
use callgate::signaling::Media;
use callgate::signaling::Operator;
use callgate::signaling::Parts;
use callgate::signaling::RelayFigures;
use callgate::signaling::Relayed;
use callgate::signaling::Settings;
use callgate::signaling::Signaling;
use callgate::signaling::Usage;
use callgate::turn::credential;
use serde_json::Value;
use serde_json::json;

pub(crate) struct House {
    pub(crate) signaling: Signaling,
    url: String,
    relay: Arc<Relay>,
    signer: Signer,
}

/// Writes down what it is told.
#[derive(Default)]
struct Relay {
    gone: Mutex<Vec<String>>,
    told: Mutex<Vec<String>>,
}

impl Relay {
    fn gone(&self) -> Vec<String> {
        self.gone.lock().unwrap().clone()
    }

    fn tell(&self, what: String) {
        self.told.lock().unwrap().push(what);
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut self.told.lock().unwrap())
    }
}

impl Media for Relay {
    fn seated(&self, member: &str, room: &str, kind: Kind, from: Option<IpAddr>) {
        self.tell(format!("seated {member} {room} {} {}", kind.name(), from.unwrap()));
    }

    fn returned(&self, member: &str, from: Option<IpAddr>) {
        self.tell(format!("returned {member} {}", from.unwrap()));
    }

    fn signaled(&self, member: &str, addresses: &[IpAddr]) {
        self.tell(format!("signaled {member} {addresses:?}"));
    }

    fn unseated(&self, member: &str) {
        self.tell(format!("unseated {member}"));
    }

    fn gone(&self, member: &str) {
        self.tell(format!("gone {member}"));
        self.gone.lock().unwrap().push(member.to_owned());
    }

    fn usage(&self, members: &[&str]) -> Vec<Usage> {
        let flow = |packets| Flow { packets, bytes: 100 * packets };
        (1..).zip(members).map(|(n, _)| Usage { to_peer: flow(n), to_client: flow(2 * n) }).collect()
    }

    fn departed(&self, _room: &str) -> Usage {
        let flow = |packets| Flow { packets, bytes: 100 * packets };
        Usage { to_peer: flow(10), to_client: flow(20) }
    }
}

pub(crate) async fn house(settings: Settings) -> House {
    let relay = Arc::<Relay>::default();
    let port = |number| Some(Port { number, v4: true, v6: true });
    let signer = Signer::new("a secret of the test".into());
    let ice = IceServers {
        host: Some("2001:db8::1".into()),
        addresses: Default::default(),
        udp: port(3478),
        tcp: port(80),
        tls: port(443),
        signer: signer.clone(),
        ttl: Duration::from_secs(3600),
    };
    let (signaling, layer) = Signaling::new(&settings, Parts::volatile(&settings, ice, relay.clone()));
    let router = axum::Router::new().layer(layer);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/socket.io/?EIO=4&transport=polling", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, peer) = listener.accept().await.unwrap();
            let router = router.clone().layer(axum::Extension(ConnectInfo::<SocketAddr>(peer)));
            let service = hyper_util::service::TowerToHyperService::new(router);
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(hyper_util::rt::TokioIo::new(stream), service),
            );
        }
    });
    House { signaling, url, relay, signer }
}

/// Speaks just enough Engine.IO and Socket.IO.
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    /// What only it and the server know it by.
    pub(crate) sid: String,
    /// What came and was not asked for yet.
    pub(crate) heard: Vec<String>,
    acks: u32,
}

impl Client {
    async fn connect(house: &House) -> Client {
        Client::connect_with(house, "", "").await
    }

    /// With something in the query (`&key=value`), and `auth` as JSON.
    pub(crate) async fn connect_with(house: &House, query: &str, auth: &str) -> Client {
        let http = reqwest::Client::new();
        let url = format!("{}{query}", house.url);
        let open = http.get(&url).send().await.unwrap().text().await.unwrap();
        let open: Value = serde_json::from_str(&open[1..]).unwrap();
        let url = format!("{url}&sid={}", open["sid"].as_str().unwrap());
        let mut client = Client { http, url, sid: String::new(), heard: Vec::new(), acks: 0 };
        client.post(&format!("40{auth}")).await;
        let told: Value = serde_json::from_str(&client.next("40").await).unwrap();
        client.sid = told["sid"].as_str().unwrap().to_owned();
        client
    }

    pub(crate) async fn post(&self, packet: &str) {
        let sent = self.http.post(&self.url).body(packet.to_owned()).send().await.unwrap();
        assert!(sent.status().is_success(), "{packet}: {}", sent.status());
    }

    /// The rest of the next packet that starts like this.
    pub(crate) async fn next(&mut self, start: &str) -> String {
        loop {
            if let Some(at) = self.heard.iter().position(|packet| packet.starts_with(start)) {
                return self.heard.remove(at)[start.len()..].to_owned();
            }
            self.poll(start).await;
        }
    }

    /// Takes what has come, or waits until something does.
    pub(crate) async fn poll(&mut self, waiting_for: &str) {
        let poll = self.http.get(&self.url).timeout(Duration::from_secs(5)).send().await.unwrap();
        assert!(poll.status().is_success(), "waiting for {waiting_for}: {}", poll.status());
        let packets = poll.text().await.unwrap();
        for packet in packets.split('\u{1e}') {
            if packet == "2" {
                self.post("3").await;
            } else {
                self.heard.push(packet.to_owned());
            }
        }
    }

    /// The body of the next event of this name.
    pub(crate) async fn event(&mut self, name: &str) -> Value {
        let rest = self.next(&format!("42[\"{name}\",")).await;
        serde_json::from_str(rest.strip_suffix(']').unwrap()).unwrap()
    }

    /// Sends a command and waits for its acknowledgement.
    pub(crate) async fn ask(&mut self, name: &str, body: Value) -> Value {
        self.acks += 1;
        self.post(&format!("42{}{}", self.acks, json!([name, body]))).await;
        let answer = self.next(&format!("43{}", self.acks)).await;
        serde_json::from_str::<[Value; 1]>(&answer).unwrap()[0].clone()
    }
}

fn member_id(answer: &Value) -> String {
    credential::member_id(answer["self"]["peerId"].as_str().unwrap())
}

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
    assert_eq!(house.relay.gone(), [member_id(&first), member_id(&second)]);
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

#[tokio::test]
async fn a_call_that_times_out_ends_its_credential() {
    let settings = Settings { waiting_timeout: Duration::from_millis(200), ..Settings::default() };
    let house = house(settings).await;
    let mut a = Client::connect(&house).await;
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

/// Its heartbeat would go on: without a word it would take itself for connected, and nobody would hear it.
#[tokio::test]
async fn a_slow_reader_that_is_cut_off_is_told_when_it_reads_again() {
    let house = house(Settings { events_per_second: 0, bytes_per_second: 0, ..Settings::default() }).await;
    let (mut a, mut b) = (Client::connect(&house).await, Client::connect(&house).await);
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

#[tokio::test]
async fn a_connection_does_not_fill_the_house_with_empty_rooms() {
    let house = house(Settings::default()).await;
    let mut a = Client::connect(&house).await;
    let mut refused = None;
    for _ in 0..11 {
        let answer = a.ask("room.create", json!({})).await;
        if answer["ok"] == false {
            refused = Some(answer);
        }
    }
    let refused = refused.expect("eleven rooms at once");
    assert_eq!(refused["error"]["code"], "too-many-requests");
    assert_eq!(refused["error"]["retryAfter"], 6);
    assert_eq!(house.signaling.stats().rooms[1], 10);
    assert_eq!(a.ask("room.join", json!({"room": "r"})).await["error"]["code"], "too-many-requests");
    // Everything else goes on, and others do.
    assert_eq!(a.ask("room.list", json!({})).await["ok"], true);
    let mut b = Client::connect(&house).await;
    assert_eq!(b.ask("room.join", json!({"room": "r"})).await["ok"], true);
}

#[tokio::test]
async fn the_seat_that_a_waiting_caller_left_behind_does_not_end_its_call() {
    let settings = Settings {
        grace: Duration::from_millis(200),
        waiting_timeout: Duration::ZERO,
        ..Settings::default()
    };
    let house = house(settings).await;
    let mut before = Client::connect(&house).await;
    before.post(r#"42["join","c"]"#).await;
    before.event("joined").await;
    // The page is reloaded: the transport closes without a word of Socket.IO's.
    before.post("1").await;
    let mut a = Client::connect(&house).await;
    a.post(r#"42["join","c"]"#).await;
    a.event("joined").await;
    assert_eq!(a.event("peer-left").await["reason"], "lost");
    assert_eq!(house.signaling.stats().rooms, [1, 0, 0]);
    let mut b = Client::connect(&house).await;
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
async fn after_a_change_of_secrets_everybody_gets_fresh_credentials_soon() {
    let house = house(Settings::default()).await;
    let (mut a, mut b) = (Client::connect(&house).await, Client::connect(&house).await);
    let first = a.ask("room.join", json!({"room": "r"})).await;
    b.post(r#"42["join","r"]"#).await;
    b.event("joined").await;
    let begun = Instant::now();
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
        admits: Arc::new(|token, from| token == b"of-the-operator" && from.is_loopback()),
        relay: Arc::new(|| RelayFigures { allocations: 7, usage: Usage::default() }),
        drain: Arc::new(move || *drained.lock().unwrap() += 1),
    }
}

#[tokio::test]
async fn the_operators_namespace_opens_to_the_token_only() {
    let house = house(Settings::default()).await;
    house.signaling.admit(operator(&Arc::default()));
    let http = reqwest::Client::new();
    let open = http.get(&house.url).send().await.unwrap().text().await.unwrap();
    let open: Value = serde_json::from_str(&open[1..]).unwrap();
    let url = format!("{}&sid={}", house.url, open["sid"].as_str().unwrap());
    let mut client = Client { http, url, sid: String::new(), heard: Vec::new(), acks: 0 };
    for auth in ["", r#"{"token":"of-the-operato"}"#, r#"{"token":7}"#, "{}", "[]", r#"{"token":""}"#] {
        client.post(&format!("40/admin,{auth}")).await;
        assert_eq!(client.next("44/admin,").await, r#"{"message":"unauthorized"}"#, "{auth}");
    }
    // What is said there without being let in is heard by nobody.
    client.post(r#"42/admin,1["drain"]"#).await;
    assert_eq!(house.signaling.stats().errors[Code::Unauthorized as usize], 6);
}

#[tokio::test]
async fn the_operator_is_told_the_figures_and_is_obeyed() {
    let drained = Arc::<Mutex<u32>>::default();
    // So that no poll is long.
    let house = house(Settings { ping_interval: Duration::from_secs(1), ..Settings::default() }).await;
    house.signaling.admit(operator(&drained));
    let mut a = Client::connect(&house).await;
    a.ask("room.join", json!({"room": "r", "userId": "ada"})).await;
    a.ask("room.create", json!({"name": "Tea"})).await;
    let mut admin = Client::connect(&house).await;
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
    assert_eq!(*drained.lock().unwrap(), 0);
    assert_eq!(ask(&mut admin, json!(["drain"])).await, json!({"ok": true}));
    assert_eq!(*drained.lock().unwrap(), 1);
    // Ten seconds later, without asking.
    let begun = Instant::now();
    let again = admin.next(r#"42/admin,["roomStats","#).await;
    assert!(again.contains(r#""totalRooms":0"#), "{again}");
    assert!(begun.elapsed() <= Duration::from_secs(11), "{:?}", begun.elapsed());
}
