//! Signaling in this process, by a client of our own that polls: over HTTP, or straight into the router, where the clock can
//! be turned. Other people's clients: tests/e2e/signaling.

mod back;
mod directory;
mod golden;
mod hostile;
mod ledger;
mod lobby;
mod offsets;
mod operator;
mod people;
mod replay;
mod restart;
mod seats;
mod talk;

use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use callgate::ice::IceServers;
use callgate::ice::Port;
use callgate::ice::Signer;
use callgate::rooms::Kind;
use callgate::rooms::PeerId;
use callgate::rooms::Refusal;
use callgate::rooms::RoomId;
use callgate::rooms::Target;
use callgate::signaling::Code;
use callgate::signaling::Drop;
use callgate::signaling::Flow;
use callgate::signaling::Media;
use callgate::signaling::Operator;
use callgate::signaling::Parts;
use callgate::signaling::RelayFigures;
use callgate::signaling::Relayed;
use callgate::signaling::Settings;
use callgate::signaling::Signaling;
use callgate::signaling::Usage;
use callgate::signaling::Visitor;
use callgate::store::Keep;
use callgate::store::Ledger;
use callgate::store::Live;
use callgate::turn::credential;
use serde_json::Value;
use serde_json::json;
use tower::ServiceExt;

/// How much a ledger keeps.
const KEEP: Keep = Keep { history: 100, history_ttl: Duration::ZERO, calls: 100, calls_ttl: Duration::ZERO };

struct House {
    signaling: Signaling,
    url: String,
    router: Router,
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
        let from = from.map_or("nowhere".into(), |ip| ip.to_string());
        self.tell(format!("seated {member} {room} {} {from}", kind.name()));
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

/// Settings that limit no test.
fn settings() -> Settings {
    Settings {
        events_per_second: 0,
        bytes_per_second: 0,
        joins_per_minute: 0,
        connects_per_second: 0,
        rooms_of_one: 0,
        ..Settings::default()
    }
}

/// Rooms in memory.
async fn house(settings: Settings) -> House {
    open(settings, |_| ()).await
}

/// Rooms over a ledger, and a key that resume tokens are sealed with.
async fn house_over(settings: Settings, ledger: Box<dyn Ledger>, seal: [u8; 32]) -> House {
    let now = tokio::time::Instant::now().into_std();
    let store = Live::open(settings.rules(), settings.limits(), ledger, now).unwrap();
    open(settings, |parts| (parts.store, parts.seal) = (Arc::new(store), seal)).await
}

async fn open(settings: Settings, change: impl FnOnce(&mut Parts)) -> House {
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
    let mut parts = Parts::volatile(&settings, ice, relay.clone());
    change(&mut parts);
    let (signaling, layer) = Signaling::new(&settings, parts);
    let router = Router::new().layer(layer);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/socket.io/?EIO=4&transport=polling", listener.local_addr().unwrap());
    let served = router.clone();
    tokio::spawn(async move {
        loop {
            let (stream, peer) = listener.accept().await.unwrap();
            let router = served.clone().layer(axum::Extension(Visitor::new(peer)));
            let service = hyper_util::service::TowerToHyperService::new(router);
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(hyper_util::rt::TokioIo::new(stream), service),
            );
        }
    });
    House { signaling, url, router, relay, signer }
}

/// How a client reaches the house.
#[derive(Clone)]
enum Way {
    /// Over TCP.
    Http(reqwest::Client),
    /// Not leaving the process: the clock can be turned.
    Straight(Router),
}

impl Way {
    async fn ask(&self, url: &str, body: Option<String>) -> (u16, String) {
        match self {
            Way::Http(http) => {
                let request = match body {
                    Some(body) => http.post(url).body(body),
                    None => http.get(url),
                };
                let answer = request.send().await.unwrap();
                (answer.status().as_u16(), answer.text().await.unwrap())
            }
            Way::Straight(router) => {
                let method = if body.is_some() { "POST" } else { "GET" };
                let path = &url[url.find("/socket.io").unwrap()..];
                let request = axum::http::Request::builder().method(method).uri(path);
                let mut request = request.body(body.map_or(Body::empty(), Body::from)).unwrap();
                request.extensions_mut().insert(Visitor::new(SocketAddr::from(([127, 0, 0, 1], 9))));
                let answer = router.clone().oneshot(request).await.unwrap();
                let status = answer.status().as_u16();
                let body = axum::body::to_bytes(answer.into_body(), 64 << 20).await.unwrap();
                (status, String::from_utf8(body.into()).unwrap())
            }
        }
    }
}

/// Speaks just enough Engine.IO and Socket.IO.
struct Client {
    way: Way,
    url: String,
    /// What only it and the server know it by.
    sid: String,
    /// What came and was not asked for yet.
    heard: Vec<String>,
    acks: u32,
}

impl Client {
    /// Over TCP, as nobody in particular.
    async fn connect(house: &House) -> Client {
        let mut client = Client::open(Way::Http(reqwest::Client::new()), house, "").await;
        client.hello("40").await;
        client
    }

    /// Within the process, with something in the query (`&key=value`), and `auth` as JSON.
    async fn connect_with(house: &House, query: &str, auth: &str) -> Client {
        let mut client = Client::open(Way::Straight(house.router.clone()), house, query).await;
        client.hello(&format!("40{auth}")).await;
        client
    }

    /// Within the process, as nobody in particular.
    async fn straight(house: &House) -> Client {
        let mut client = Client::open(Way::Straight(house.router.clone()), house, "").await;
        client.hello("40").await;
        client
    }

    /// Within the process, as a user of the project's own dialect.
    async fn user(house: &House, user: &str) -> Client {
        let mut client = Client::open(Way::Straight(house.router.clone()), house, "").await;
        client.hello(&format!("40{}", json!({"dialect": "native", "userId": user}))).await;
        client
    }

    async fn open(way: Way, house: &House, query: &str) -> Client {
        let base = format!("{}{query}", house.url);
        let (_, open) = way.ask(&base, None).await;
        let open: Value = serde_json::from_str(&open[1..]).unwrap();
        let sid = open["sid"].as_str().unwrap().to_owned();
        Client { way, url: format!("{base}&sid={sid}"), sid, heard: Vec::new(), acks: 0 }
    }

    async fn hello(&mut self, packet: &str) {
        self.post(packet).await;
        self.next("40").await;
    }

    async fn post(&self, packet: &str) {
        let (status, answer) = self.way.ask(&self.url, Some(packet.to_owned())).await;
        assert_eq!(status, 200, "{packet}: {answer}");
    }

    /// So many events with some 100 kB attached to each; what each was refused for.
    async fn attach(&mut self, many: usize) -> Vec<String> {
        let acks: Vec<u32> = self.throw(many).await;
        let mut codes = Vec::new();
        for ack in acks {
            codes.push(self.answer(ack).await["error"]["code"].as_str().unwrap().to_owned());
        }
        codes
    }

    /// The same, not waiting for answers.
    async fn throw(&mut self, many: usize) -> Vec<u32> {
        let mut acks = Vec::new();
        for _ in 0..many {
            self.acks += 1;
            let event = json!(["room.join", {"room": {"_placeholder": true, "num": 0}}]);
            let attached = format!("b{}", "AAAA".repeat(33_334));
            self.post_all(&[format!("451-{}{event}", self.acks), attached]).await;
            acks.push(self.acks);
        }
        acks
    }

    /// Several packets in one request.
    async fn post_all(&self, packets: &[String]) {
        self.post(&packets.join("\u{1e}")).await;
    }

    /// The rest of the next packet that starts like this.
    async fn next(&mut self, start: &str) -> String {
        loop {
            if let Some(at) = self.heard.iter().position(|packet| packet.starts_with(start)) {
                return self.heard.remove(at)[start.len()..].to_owned();
            }
            self.poll(start).await;
        }
    }

    async fn poll(&mut self, what: &str) {
        let poll = tokio::time::timeout(Duration::from_secs(20), self.way.ask(&self.url, None)).await;
        let (status, packets) = poll.unwrap_or_else(|_| panic!("no {what} among {:?}", self.heard));
        assert_eq!(status, 200, "waiting for {what}: {packets}");
        for packet in packets.split('\u{1e}') {
            if packet == "2" {
                self.post("3").await;
            } else {
                self.heard.push(packet.to_owned());
            }
        }
    }

    /// The body of the next event of this name.
    async fn event(&mut self, name: &str) -> Value {
        let rest = self.next(&format!("42[\"{name}\",")).await;
        serde_json::from_str(rest.strip_suffix(']').unwrap()).unwrap()
    }

    /// Sends a command and waits for its acknowledgement.
    async fn ask(&mut self, name: &str, body: Value) -> Value {
        let ack = self.say(name, body).await;
        self.answer(ack).await
    }

    /// Sends a command; the number of its acknowledgement.
    async fn say(&mut self, name: &str, body: Value) -> u32 {
        self.acks += 1;
        self.post(&format!("42{}{}", self.acks, json!([name, body]))).await;
        self.acks
    }

    async fn answer(&mut self, ack: u32) -> Value {
        let answer = self.next(&format!("43{ack}[")).await;
        serde_json::from_str(answer.strip_suffix(']').unwrap()).unwrap()
    }

    /// Sends a command that must fail; with which code.
    async fn fail(&mut self, name: &str, body: Value) -> String {
        let answer = self.ask(name, body).await;
        // In the dialect of communities it has another name.
        assert!(answer["ok"] == false || answer["success"] == false, "{answer}");
        answer["error"]["code"].as_str().or(answer["code"].as_str()).unwrap().to_owned()
    }

    /// Joins, as it must be able to.
    async fn join(&mut self, room: &str) -> Value {
        let answer = self.ask("room.join", json!({"room": room})).await;
        assert_eq!(answer["ok"], true, "{answer}");
        answer
    }

    /// The events of this name that have come by now.
    async fn events(&mut self, name: &str) -> Vec<Value> {
        // What was sent before this answer has come with it.
        self.fail("nothing at all", json!({})).await;
        let start = format!("42[\"{name}\",");
        let is_one = |packet: &String| packet.starts_with(&start);
        let (found, rest): (Vec<String>, _) = std::mem::take(&mut self.heard).into_iter().partition(is_one);
        self.heard = rest;
        found.iter().map(|it| serde_json::from_str(&it[start.len()..it.len() - 1]).unwrap()).collect()
    }

    /// Its transport closes without a word of Socket.IO's.
    async fn breaks(self) {
        self.post("1").await;
        // It is noticed in a task of its own.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    /// It goes on reading, and answering pings, on its own.
    fn stays(mut self) -> Staying {
        let (way, url) = (self.way.clone(), self.url.clone());
        let task = tokio::spawn(async move {
            loop {
                self.poll("anything").await;
            }
        });
        Staying { way, url, task }
    }
}

/// A client that only reads.
struct Staying {
    way: Way,
    url: String,
    task: tokio::task::JoinHandle<()>,
}

impl Staying {
    async fn breaks(self) {
        self.task.abort();
        self.way.ask(&self.url, Some("1".into())).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn member_id(answer: &Value) -> String {
    credential::member_id(answer["self"]["peerId"].as_str().unwrap())
}

fn peer_id(answer: &Value) -> &str {
    answer["self"]["peerId"].as_str().unwrap()
}

/// Waits until it is so.
async fn until(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never was: {what}");
}
