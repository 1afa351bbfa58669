//! Webhooks over real connections: what is signed, who is trusted, and receivers that do not do what they should.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::response::IntoResponse;
use axum::response::Response;
use callgate::config;
use callgate::config::Environment;
use callgate::webhooks::Decision;
use callgate::webhooks::JoinAsk;
use callgate::webhooks::Role;
use callgate::webhooks::Stats;
use callgate::webhooks::Unusable;
use callgate::webhooks::Webhooks;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use ring::hmac;
use rustls::ServerConfig;
use rustls::crypto::ring as provider;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpSocket;
use tokio_rustls::TlsAcceptor;

use crate::reload::lines;
use crate::support::Callgate;
use crate::support::Guest;
use crate::support::PATIENCE;

const SECRET: &str = "a secret of the test";

/// A request as it came.
#[derive(Clone)]
pub(crate) struct Got {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    text: Bytes,
}

impl Got {
    /// Checks it as README tells people to.
    pub(crate) fn assert_signed(&self, secret: &str) {
        let header = self.headers["callgate-signature"].to_str().unwrap();
        let (t, v1) = header.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert!(t.parse::<u64>().unwrap().abs_diff(now) <= 30, "{header}");
        let tag: Vec<u8> =
            (0..v1.len()).step_by(2).map(|at| u8::from_str_radix(&v1[at..at + 2], 16).unwrap()).collect();
        let message = [t.as_bytes(), b".", &self.text].concat();
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        hmac::verify(&key, &message, &tag).unwrap_or_else(|_| panic!("{header} is not of {:?}", self.text));
    }
}

/// A web server of one's own that notes everything and answers as it is told.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
    connections: Arc<AtomicUsize>,
}

impl Receiver {
    /// `answer` is given each request and how many came before.
    pub(crate) async fn start<A, F>(tls: Option<TlsAcceptor>, answer: A) -> Receiver
    where
        A: Fn(Got, usize) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Receiver::on(listener, tls, answer)
    }

    fn on<A, F>(listener: TcpListener, tls: Option<TlsAcceptor>, answer: A) -> Receiver
    where
        A: Fn(Got, usize) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response> + Send + 'static,
    {
        let address = listener.local_addr().unwrap();
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let noted = Arc::clone(&got);
        let router = Router::new().fallback(async move |uri: Uri, headers: HeaderMap, text: Bytes| {
            let body = serde_json::from_slice(&text).unwrap_or_default();
            let request = Got { path: uri.to_string(), headers, body, text };
            let before = {
                let mut noted = noted.lock().unwrap();
                noted.push(request.clone());
                noted.len() - 1
            };
            answer(request, before).await
        });
        let connections: Arc<AtomicUsize> = Arc::default();
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            loop {
                let Ok((socket, _)) = listener.accept().await else { return };
                counted.fetch_add(1, Relaxed);
                let (tls, service) = (tls.clone(), TowerToHyperService::new(router.clone()));
                tokio::spawn(async move {
                    let server = auto::Builder::new(TokioExecutor::new());
                    match tls {
                        None => drop(server.serve_connection(TokioIo::new(socket), service).await),
                        Some(tls) => {
                            let Ok(stream) = tls.accept(socket).await else { return };
                            drop(server.serve_connection(TokioIo::new(stream), service).await);
                        }
                    }
                });
            }
        });
        Receiver { address, got, connections }
    }

    /// One that says `200` to everything.
    pub(crate) async fn taking() -> Receiver {
        Receiver::start(None, async |_, _| StatusCode::OK.into_response()).await
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// The requests, once there are so many.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Got> {
        let until = Instant::now() + PATIENCE;
        loop {
            let got = self.got();
            if got.len() >= count {
                return got;
            }
            let came: Vec<_> = got.iter().map(|got| got.body.to_string()).collect();
            assert!(Instant::now() < until, "{} of {count}: {came:#?}", came.len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn webhooks(config: &str) -> Webhooks {
    try_webhooks(config).unwrap()
}

fn try_webhooks(config: &str) -> Result<Webhooks, Unusable> {
    let settings = config::read(None, &format!("[webhooks]\n{config}"), &Environment::new()).unwrap();
    Webhooks::start(&settings.webhooks, &SECRET.into())
}

async fn settled(webhooks: &Webhooks) -> Stats {
    once(webhooks, "nothing waits", |stats| stats.waiting == 0).await;
    webhooks.stats()
}

/// The figures, once they are so.
async fn once(webhooks: &Webhooks, what: &str, so: impl Fn(&Stats) -> bool) -> Stats {
    let until = Instant::now() + PATIENCE;
    loop {
        let stats = webhooks.stats();
        if so(&stats) {
            return stats;
        }
        assert!(Instant::now() < until, "{what}: {stats:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A certificate for localhost as PEM, and an acceptor with it.
fn certificate() -> (String, TlsAcceptor) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (pem, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let config = ServerConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    (pem, TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn what_arrives_is_signed_and_says_what_it_is() {
    let receiver = Receiver::taking().await;
    let at = receiver.address;
    let webhooks = webhooks(&format!("urls = [\"http://{at}/hooks/callgate?of=tests\"]"));
    for n in 0..20 {
        webhooks.tell("tea", "chat.message", json!({ "n": n, "text": "schön, \u{1f375}" }));
    }
    assert_eq!(settled(&webhooks).await.delivered, 20);
    let got = receiver.got();
    for (n, one) in got.iter().enumerate() {
        assert_eq!(one.path, "/hooks/callgate?of=tests");
        assert_eq!(one.headers["callgate-event"], "chat.message");
        assert_eq!(one.headers["content-type"], "application/json");
        assert_eq!(one.headers["host"], at.to_string());
        assert_eq!((&one.body["type"], &one.body["n"]), (&json!("chat.message"), &json!(n)));
        one.assert_signed(SECRET);
    }
    let mut ids: Vec<_> = got.iter().map(|one| one.body["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 20);
    assert_eq!(receiver.connections.load(Relaxed), 1, "a connection serves many");
}

#[tokio::test]
async fn over_tls_a_receiver_is_who_its_certificate_says() {
    let folder = tempfile::tempdir().unwrap();
    let (pem, tls) = certificate();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, pem).unwrap();
    let receiver = Receiver::start(Some(tls), async |_, _| StatusCode::NO_CONTENT.into_response()).await;
    let port = receiver.address.port();
    let good = webhooks(&format!("urls = [\"https://localhost:{port}/\"]\nca = {ca:?}"));
    (0..3).for_each(|n| good.tell("tea", "peer.joined", json!({ "n": n })));
    assert_eq!(settled(&good).await.delivered, 3);
    receiver.got()[0].assert_signed(SECRET);

    // Somebody else's name, and somebody nobody vouches for.
    let other = webhooks(&format!("urls = [\"https://127.0.0.1:{port}/\"]\nca = {ca:?}"));
    let stranger = webhooks(&format!("urls = [\"https://localhost:{port}/\"]"));
    for webhooks in [&other, &stranger] {
        webhooks.tell("tea", "peer.joined", json!({ "n": 9 }));
    }
    for webhooks in [other, stranger] {
        let stats = once(&webhooks, "it is tried again", |stats| stats.retried >= 1).await;
        assert_eq!((stats.delivered, stats.waiting), (0, 1), "{stats:?}");
    }
    assert_eq!(receiver.got().len(), 3);
}

#[tokio::test]
async fn a_file_without_certificates_is_a_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, "nothing\n").unwrap();
    let text = format!("webhooks.urls = [\"https://localhost/\"]\nwebhooks.ca = {ca:?}\n");
    let mistakes = config::read(None, &text, &Environment::new()).unwrap_err();
    assert!(mistakes.0[0].to_string().contains("holds no certificate"), "{mistakes:?}");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let receiver = Receiver::start(None, async |_, _| {
        (StatusCode::TEMPORARY_REDIRECT, [("location", "/elsewhere")]).into_response()
    })
    .await;
    let webhooks = webhooks(&format!("urls = [\"http://{}/here\"]", receiver.address));
    webhooks.tell("tea", "peer.joined", Value::Null);
    let stats = settled(&webhooks).await;
    assert_eq!((stats.failed, stats.delivered, stats.retried), (1, 0, 0));
    assert_eq!(receiver.got().iter().map(|got| got.path.as_str()).collect::<Vec<_>>(), ["/here"]);
}

#[tokio::test]
async fn a_receiver_that_hangs_holds_up_nobody() {
    // Takes connections, and never says a word.
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let receiver = Receiver::taking().await;
    let webhooks = webhooks(&format!(
        "urls = [\"http://{}/\", \"http://{}/\"]\ntimeout = \"200ms\"",
        deaf.local_addr().unwrap(),
        receiver.address
    ));
    let begun = Instant::now();
    (0..10_000).for_each(|n| webhooks.tell("tea", "peer.joined", json!({ "n": n })));
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    // What both queues had room for went to the one that is there; all others are counted.
    receiver.wait_for(256).await;
    // (Where the machine is so busy that one was not answered in time, it came twice.)
    once(&webhooks, "those are delivered, and the other one is tried again", |stats| {
        stats.delivered >= 256
            && stats.retried >= 1
            && stats.delivered + stats.waiting + stats.dropped == 20_000
    })
    .await;
    let begun = Instant::now();
    webhooks.close(Duration::from_secs(1)).await;
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    assert_eq!(webhooks.stats().waiting, 0);
}

#[tokio::test]
async fn a_receiver_that_comes_later_gets_everything_in_order() {
    // A port of ours at which nobody listens yet.
    let reserved = TcpSocket::new_v4().unwrap();
    reserved.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = reserved.local_addr().unwrap();
    let webhooks = webhooks(&format!("urls = [\"http://{address}/\"]"));
    (0..50).for_each(|n| webhooks.tell("tea", "peer.joined", json!({ "n": n })));
    once(&webhooks, "it was tried", |stats| stats.retried >= 1).await;
    let receiver = Receiver::on(reserved.listen(64).unwrap(), None, async |_, before| {
        // Every seventh is refused for now, every fifth is slow.
        if before.is_multiple_of(5) {
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        if before % 25 == 7 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }.into_response()
    });
    let stats = settled(&webhooks).await;
    assert_eq!((stats.delivered, stats.failed, stats.dropped), (50, 0, 0));
    let mut numbers: Vec<_> = receiver.got().iter().map(|got| got.body["n"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    numbers.dedup();
    assert_eq!(numbers, (0..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_connection_that_the_receiver_closed_costs_no_try() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let _ = socket.read(&mut request).await;
            // Says that the connection may be used again, and closes it.
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        }
    });
    let webhooks = webhooks(&format!("urls = [\"http://{address}/\"]"));
    (0..20).for_each(|n| webhooks.tell("tea", "peer.joined", json!({ "n": n })));
    let stats = settled(&webhooks).await;
    assert_eq!((stats.delivered, stats.retried), (20, 0));
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    let long = Receiver::start(None, async |_, _| vec![b'x'; 10 << 20].into_response()).await;
    let webhooks =
        webhooks(&format!("urls = [\"http://{}/\"]\njoin_url = \"http://{}/\"", long.address, long.address));
    webhooks.tell("tea", "peer.joined", Value::Null);
    assert_eq!(settled(&webhooks).await.delivered, 1, "its status is enough");
    assert_eq!(webhooks.may_join(&ask("tea")).await, Decision::Unreachable);
}

fn ask(room: &str) -> JoinAsk<'_> {
    JoinAsk {
        room,
        kind: "room",
        user: Some("ada"),
        name: Some("Ada"),
        address: Some([192, 0, 2, 1].into()),
        dialect: "mesh",
    }
}

#[tokio::test]
async fn a_join_is_asked_about_and_the_answer_counts() {
    let receiver = Receiver::start(None, async |got: Got, _| match got.body["room"].as_str().unwrap() {
        "open" => axum::Json(json!({ "allow": true, "name": "Lady A", "role": "moderator" })).into_response(),
        "closed" => axum::Json(json!({ "allow": false, "code": "members-only", "message": "sign up" }))
            .into_response(),
        "forbidden" => StatusCode::FORBIDDEN.into_response(),
        "slow" => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            axum::Json(json!({ "allow": true })).into_response()
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    })
    .await;
    let asking = |timeout: &str| {
        let at = receiver.address;
        webhooks(&format!("join_url = \"http://{at}/may-join\"\ntimeout = \"{timeout}\""))
    };
    let webhooks = asking("20s");
    let allowed = Decision::Allowed { name: Some("Lady A".to_owned()), role: Some(Role::Moderator) };
    assert_eq!(webhooks.may_join(&ask("open")).await, allowed);
    let got = receiver.got()[0].clone();
    got.assert_signed(SECRET);
    assert_eq!((got.path.as_str(), &got.headers["callgate-event"]), ("/may-join", &"join".parse().unwrap()));
    let mut body = got.body;
    assert!(body["at"].take().is_u64());
    assert_eq!(
        body,
        json!({"type": "join", "at": null, "room": "open", "kind": "room", "user": "ada", "name": "Ada",
            "address": "192.0.2.1", "dialect": "mesh"})
    );
    for (room, code) in [("closed", "members-only"), ("forbidden", "forbidden")] {
        let decision = webhooks.may_join(&ask(room)).await;
        assert!(matches!(&decision, Decision::Denied { code: c, .. } if c == code), "{decision:?}");
    }
    assert_eq!(webhooks.may_join(&ask("broken")).await, Decision::Unreachable);
    assert_eq!(webhooks.stats().joins, [1, 2, 1]);
    let hasty = asking("300ms");
    let begun = Instant::now();
    assert_eq!(hasty.may_join(&ask("slow")).await, Decision::Unreachable);
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    assert_eq!(hasty.stats().joins, [0, 0, 1]);
}

fn seen(got: &[Got]) -> Vec<String> {
    got.iter()
        .map(|got| {
            let reason = got.body["reason"].as_str().map(|reason| format!(" {reason}")).unwrap_or_default();
            let user = got.body["userId"].as_str().map(|user| format!(" {user}")).unwrap_or_default();
            format!("{}{user}{reason}", got.headers["callgate-event"].to_str().unwrap())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_tells_of_its_rooms_to_the_end() {
    // Not in the best of health, which changes nothing.
    let receiver = Receiver::start(None, async |_, before| {
        if before == 1 || before == 9 { StatusCode::BAD_GATEWAY } else { StatusCode::OK }.into_response()
    })
    .await;
    let mut daemon = Callgate::start(&format!("[webhooks]\nurls = [\"http://{}/\"]\n", receiver.address));
    let mut ada = Guest::connect(&daemon, json!({"userId": "ada"})).await;
    let mut bob = Guest::connect(&daemon, json!({"userId": "bob"})).await;
    for guest in [&mut ada, &mut bob] {
        guest.ask("room.join", json!({"room": "talk", "kind": "call", "name": "N"})).await;
    }
    bob.ask("chat", json!({"room": "talk", "text": "hello"})).await;
    bob.ask("room.leave", json!({"room": "talk"})).await;
    let got = receiver.wait_for(9).await;
    let seen_now = seen(&got);
    assert_eq!(
        seen_now,
        [
            "room.created",
            "peer.joined ada",
            "peer.joined ada",
            "peer.joined bob",
            "chat.message",
            "peer.left bob left",
            "peer.left ada closed",
            "call.ended peer-left",
            "room.closed peer-left",
        ]
    );
    let secret = std::fs::read_to_string(daemon.state("webhook-secret")).unwrap();
    got.iter().for_each(|one| one.assert_signed(secret.trim()));
    assert!(got.iter().all(|one| one.body["room"] == "talk"));
    assert_eq!((&got[0].body["kind"], &got[0].body["memberCount"]), (&json!("call"), &json!(1)));
    assert_eq!(got[3].body["name"], "N");
    assert_eq!(
        (&got[4].body["message"]["text"], &got[4].body["message"]["userId"]),
        (&json!("hello"), &json!("bob"))
    );
    assert_eq!(got[7].body["participants"].as_array().unwrap().len(), 2);
    daemon.wait_for_metric("callgate_webhooks_total{result=\"delivered\"}", 8.0).await;
    assert_eq!(daemon.metrics().await["callgate_webhooks_total{result=\"retried\"}"], 1.0);

    // What waits when the daemon ends has one more try, at once.
    ada.ask("room.join", json!({"room": "late"})).await;
    receiver.wait_for(10).await;
    daemon.signal("TERM");
    assert_eq!(daemon.wait().code(), Some(0));
    assert_eq!(seen(&receiver.got())[9..], ["room.created", "room.created", "peer.joined ada"]);
}

#[tokio::test]
async fn a_daemon_lets_in_whom_the_receiver_lets_in() {
    let gatekeeper = Receiver::start(None, async |got: Got, _| match got.body["user"].as_str() {
        Some("ada") => {
            axum::Json(json!({"allow": true, "name": "Lady A", "role": "moderator"})).into_response()
        }
        Some("eve") => {
            axum::Json(json!({"allow": false, "code": "banned", "message": "not you"})).into_response()
        }
        Some("bob") => {
            axum::Json(json!({"allow": false, "code": "members-only", "message": "sign up"})).into_response()
        }
        _ => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            StatusCode::OK.into_response()
        }
    })
    .await;
    let daemon = Callgate::start(&format!(
        "[webhooks]\njoin_url = \"http://{}/\"\ntimeout = \"3s\"\n",
        gatekeeper.address
    ));
    let join = async |user: &str| {
        let mut guest = Guest::connect(&daemon, json!({ "userId": user })).await;
        (guest.ask("room.join", json!({"room": "tea", "name": "me"})).await, guest)
    };
    let (joined, _ada) = join("ada").await;
    assert_eq!(joined["self"]["name"], "Lady A", "{joined}");
    for (user, code, message) in [("eve", "banned", "not you"), ("bob", "forbidden", "sign up")] {
        let (refused, _) = join(user).await;
        assert_eq!(
            (&refused["error"]["code"], &refused["error"]["message"]),
            (&json!(code), &json!(message))
        );
    }
    let (unsure, _) = join("nobody").await;
    assert_eq!(
        (&unsure["error"]["code"], unsure["error"]["retryAfter"].is_u64()),
        (&json!("unavailable"), true)
    );
    // The operator is told once, until there is an answer again.
    for user in ["nobody", "bob", "nobody"] {
        drop(join(user).await);
    }
    let said = lines(&daemon, "webhooks.join_url does not say who may join: nobody joins", 2);
    assert_eq!((said.len(), &said[0]["why"]), (2, &json!("no answer in time")), "{:#?}", daemon.log());
    let asked = gatekeeper.got();
    assert_eq!((&asked[0].body["kind"], &asked[0].body["dialect"]), (&json!("room"), &json!("native")));
    assert_eq!(asked[0].body["address"], "127.0.0.1");
    let figures = daemon.metrics().await;
    let decisions = ["allowed", "denied", "unreachable"]
        .map(|decision| figures[&format!("callgate_join_decisions_total{{decision=\"{decision}\"}}")]);
    assert_eq!(decisions, [1.0, 3.0, 3.0]);
    assert_eq!(
        figures["callgate_rooms{kind=\"room\"}"], 1.0,
        "nothing is made for those who may not come in"
    );
}
