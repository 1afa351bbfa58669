//! The API over HTTP: credentials for who is in no room, rooms as everybody and as the operator sees them, members put out.

use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use callgate::turn::credential;
use reqwest::Client;
use reqwest::RequestBuilder;
use reqwest::StatusCode;
use ring::hmac;
use serde_json::Value;
use serde_json::json;

use crate::support::Callgate;

const SECRET: &str = "a secret of the test";
const KEY: &str = "a key of thirty-two characters..";
const ADMIN: &str = "a-token-of-the-operator";

fn daemon(auth: &str) -> Callgate {
    Callgate::start(&format!(
        "[turn]\nlisten = [\"127.0.0.1:0\"]\nsecrets = [\"{SECRET}\"]\n[admin]\ntoken = \"{ADMIN}\"\n[auth]\n{auth}\n"
    ))
}

fn with_keys() -> Callgate {
    daemon(&format!("api_keys = [\"first-key-of-two\", \"second-key-of-two\"]\nkey = \"{KEY}\""))
}

async fn ask(request: RequestBuilder) -> (StatusCode, Value) {
    let answer = request.timeout(Duration::from_secs(10)).send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

async fn get(url: &str) -> (StatusCode, Value) {
    ask(Client::new().get(url)).await
}

fn code(body: &Value) -> &str {
    body["error"]["code"].as_str().unwrap_or_default()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn jwt(header: &Value, claims: &Value, key: &str) -> String {
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
}

fn token(claims: &Value) -> String {
    jwt(&json!({"alg": "HS256", "typ": "JWT"}), claims, KEY)
}

/// The id of a TURN user name, whose password has to be the secret's.
fn id_of(username: &Value, password: &Value) -> String {
    let (expires, id) = username.as_str().unwrap().split_once(':').unwrap();
    let expires: u64 = expires.parse().unwrap();
    assert!((now() + 3540..=now() + 3600).contains(&expires), "{expires}");
    assert_eq!(*password, credential::mint(&SECRET.into(), id, expires).password);
    id.to_owned()
}

#[tokio::test]
async fn a_back_end_with_a_key_gets_ice_servers_for_its_user() {
    let daemon = with_keys();
    for key in ["first-key-of-two", "second-key-of-two"] {
        let request = Client::new().get(daemon.url("/api/ice?user=ada%40example.org")).bearer_auth(key);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["cache-control"], "no-store");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["ttl"], 3600);
        let port = daemon.turn[0].port();
        assert_eq!(body["iceServers"][0]["urls"][0], format!("stun:127.0.0.1:{port}"));
        let turn = &body["iceServers"][1];
        assert_eq!(turn["urls"][0], format!("turn:127.0.0.1:{port}?transport=udp"));
        assert_eq!(id_of(&turn["username"], &turn["credential"]), "ada@example.org");
    }
    for bad in ["a%20b", "", "room-member%2Fx", &"x".repeat(65)] {
        let request =
            Client::new().get(daemon.url(&format!("/api/ice?user={bad}"))).bearer_auth("first-key-of-two");
        let (status, body) = ask(request).await;
        assert_eq!((status, code(&body)), (StatusCode::BAD_REQUEST, "bad-request"), "{bad}");
    }
    let (status, body) = get(&daemon.url("/api/ice")).await;
    assert_eq!((status, code(&body)), (StatusCode::UNAUTHORIZED, "unauthorized"));
    let (status, body) = ask(Client::new().get(daemon.url("/api/ice")).bearer_auth("third-key")).await;
    assert_eq!((status, code(&body)), (StatusCode::UNAUTHORIZED, "unauthorized"));
    assert_eq!(daemon.metrics().await["callgate_unauthorized_total"], 2.0);
}

#[tokio::test]
async fn a_users_token_is_as_good_as_what_it_says() {
    let daemon = with_keys();
    let ice = |token: String| ask(Client::new().get(daemon.url("/api/ice?user=bob")).bearer_auth(token));
    let (status, body) = ice(token(&json!({"sub": "auth0|ada", "exp": now() + 7200}))).await;
    assert_eq!(status, StatusCode::OK);
    let turn = &body["iceServers"][1];
    assert_eq!(id_of(&turn["username"], &turn["credential"]), "auth0|ada", "its own name, not another's");
    let claims = json!({"sub": "ada", "exp": now() + 60});
    let none = jwt(&json!({"alg": "none"}), &claims, KEY);
    for (what, bad) in [
        ("expired", token(&json!({"sub": "ada", "exp": now() - 60}))),
        ("for later", token(&json!({"sub": "ada", "exp": now() + 60, "nbf": now() + 60}))),
        ("for ever", token(&json!({"sub": "ada"}))),
        ("nobody's", token(&json!({"exp": now() + 60}))),
        ("another key", jwt(&json!({"alg": "HS256"}), &claims, "another key of 32 characters....")),
        ("alg none", none.clone()),
        ("alg none, unsigned", none.rsplit_once('.').unwrap().0.to_owned() + "."),
        ("alg RS256", jwt(&json!({"alg": "RS256"}), &claims, KEY)),
        ("alg HS512", jwt(&json!({"alg": "HS512"}), &claims, KEY)),
        ("huge", token(&json!({"sub": "ada", "exp": now() + 60, "x": "x".repeat(20_000)}))),
        ("deep", token(&serde_json::from_str(&format!("{}{}", "[".repeat(100), "]".repeat(100))).unwrap())),
    ] {
        let (status, body) = ice(bad).await;
        let expected = if what == "expired" { "token-expired" } else { "unauthorized" };
        assert_eq!((status, code(&body)), (StatusCode::UNAUTHORIZED, expected), "{what}");
    }
    let member = token(&json!({"sub": credential::member_id("x"), "exp": now() + 60}));
    assert_eq!(ice(member).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_credential_lives_no_longer_than_the_token_and_a_token_for_no_room_gets_none() {
    let daemon = daemon(&format!("key = \"{KEY}\"\nleeway = \"0s\""));
    let ask_for =
        |path: &str, claims: Value| ask(Client::new().get(daemon.url(path)).bearer_auth(token(&claims)));
    for (path, name) in [("/api/ice", "/iceServers/1/username"), ("/turn?service=turn", "/username")] {
        let exp = now() + 20;
        let (status, body) = ask_for(path, json!({"sub": "ada", "exp": exp, "rooms": ["tea"]})).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert!((1..=20).contains(&body["ttl"].as_u64().unwrap()), "{path}: {}", body["ttl"]);
        let username = body.pointer(name).and_then(Value::as_str).unwrap();
        assert_eq!(username, format!("{exp}:ada"), "{path}");
        let (status, body) = ask_for(path, json!({"sub": "ada", "exp": now() + 7200})).await;
        assert_eq!((status, body["ttl"].as_u64()), (StatusCode::OK, Some(3600)), "{path}");
        let (status, body) = ask_for(path, json!({"sub": "ada", "exp": now() + 60, "rooms": []})).await;
        assert_eq!((status, code(&body)), (StatusCode::FORBIDDEN, "forbidden"), "{path}");
    }
}

#[tokio::test]
async fn a_token_in_the_cookie_is_as_good_unless_a_foreign_page_sends_it() {
    let daemon = daemon(&format!("key = \"{KEY}\"\ncookie = \"session\""));
    let good = token(&json!({"sub": "ada", "exp": now() + 7200}));
    let old = token(&json!({"sub": "ada", "exp": now() - 60}));
    let with = |cookie: &str| Client::new().get(daemon.url("/api/ice")).header("cookie", cookie.to_owned());
    let (status, body) = ask(with(&format!("theme=dark; session={good}"))).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(id_of(&body["iceServers"][1]["username"], &body["iceServers"][1]["credential"]), "ada");
    for (cookie, expected) in [
        (format!("session={old}"), "token-expired"),
        (format!("sessions={good}"), "unauthorized"),
        (format!("session={good}x"), "unauthorized"),
    ] {
        let (status, body) = ask(with(&cookie)).await;
        assert_eq!((status, code(&body)), (StatusCode::UNAUTHORIZED, expected), "{cookie}");
    }
    // The header's token counts, not the cookie's.
    let (status, _) = ask(with(&format!("session={good}")).bearer_auth("wrong")).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    for path in ["/api/ice", "/turn?service=turn", "/socket.io/?EIO=4&transport=polling"] {
        let cookie = format!("session={good}");
        for (origin, expected) in
            [("https://evil.example", 403), ("null", 403), ("http://localhost:5173", 200)]
        {
            let request =
                Client::new().get(daemon.url(path)).header("cookie", &cookie).header("origin", origin);
            assert_eq!(request.send().await.unwrap().status(), expected, "{path} {origin}");
        }
    }
    // Browsers open WebSockets anywhere, with cookies, and ask nobody: the handshake itself is refused.
    for (origin, expected) in [("https://evil.example", 403), ("http://localhost:5173", 101)] {
        let request = Client::new()
            .get(daemon.url("/socket.io/?EIO=4&transport=websocket"))
            .header("cookie", format!("session={good}"))
            .header("origin", origin)
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(request.send().await.unwrap().status(), expected, "{origin}");
    }
}

#[tokio::test]
async fn turn_rest_clients_get_their_form() {
    let daemon = with_keys();
    let port = daemon.turn[0].port();
    let client = Client::new();
    let form = |text: &'static str| {
        let request = client.post(daemon.url("/turn")).body(text);
        request.header("content-type", "application/x-www-form-urlencoded")
    };
    for request in [
        client.get(daemon.url("/turn?service=turn&username=ada&key=first-key-of-two")),
        client.get(daemon.url("/turn?service=turn&username=ada")).bearer_auth("first-key-of-two"),
        client.post(daemon.url("/turn?service=turn&username=ada&key=first-key-of-two")),
        form("service=turn&username=ada&key=second-key-of-two"),
    ] {
        let (status, body) = ask(request).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert_eq!(id_of(&body["username"], &body["password"]), "ada");
        assert_eq!(body["ttl"], 3600);
        assert_eq!(body["uris"][0], format!("turn:127.0.0.1:{port}?transport=udp"));
        assert_eq!(body.as_object().unwrap().len(), 4);
    }
    for (query, expected) in [
        ("", StatusCode::BAD_REQUEST),
        ("?service=stun&key=first-key-of-two", StatusCode::BAD_REQUEST),
        ("?service=turn&key=first-key-of-two&username=a%20b", StatusCode::BAD_REQUEST),
        ("?service=turn", StatusCode::FORBIDDEN),
        ("?service=turn&key=", StatusCode::FORBIDDEN),
        ("?service=turn&key=third-key", StatusCode::FORBIDDEN),
    ] {
        assert_eq!(get(&daemon.url(&format!("/turn{query}"))).await.0, expected, "{query}");
    }
    let foreign = client
        .get(daemon.url("/turn?service=turn&key=first-key-of-two"))
        .header("origin", "https://evil.example");
    assert_eq!(ask(foreign).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn without_keys_nobody_gets_anything_unless_everybody_may() {
    let closed = daemon("");
    for key in ["", "x", ADMIN, "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIiwiZXhwIjo0MTAyNDQ0ODAwfQ."] {
        let request = Client::new().get(closed.url("/api/ice")).bearer_auth(key);
        assert_eq!(ask(request).await.0, StatusCode::UNAUTHORIZED, "{key}");
    }
    let open = daemon("open_ice = true");
    let mut ids = Vec::new();
    for _ in 0..2 {
        let (status, body) = get(&open.url("/api/ice?user=ada")).await;
        assert_eq!(status, StatusCode::OK);
        let turn = &body["iceServers"][1];
        ids.push(id_of(&turn["username"], &turn["credential"]));
    }
    assert!(ids[0].starts_with("guest-") && ids[0] != ids[1], "{ids:?}");
    assert_eq!(get(&open.url("/turn?service=turn")).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_room_is_read_by_its_name_and_ended_by_the_operator_only() {
    let daemon = with_keys();
    let client = Client::new();
    for (room, status) in [
        ("nowhere", StatusCode::NOT_FOUND),
        ("a%20b", StatusCode::NOT_FOUND),
        ("a%00", StatusCode::NOT_FOUND),
    ] {
        let (found, body) = get(&daemon.url(&format!("/api/rooms/{room}"))).await;
        assert_eq!((found, code(&body)), (status, "no-such-room"), "{room}");
    }
    let socket = client.get(daemon.url("/socket.io/?EIO=4&transport=polling"));
    let open = socket.send().await.unwrap().text().await.unwrap();
    let open: Value = serde_json::from_str(&open[1..]).unwrap();
    let poll =
        daemon.url(&format!("/socket.io/?EIO=4&transport=polling&sid={}", open["sid"].as_str().unwrap()));
    let say = async |packet: &'static str| {
        assert_eq!(
            client.post(&poll).body(packet).send().await.unwrap().status(),
            StatusCode::OK,
            "{packet}"
        );
    };
    let hear = async || client.get(&poll).send().await.unwrap().text().await.unwrap();
    say("40").await;
    // Before that, nothing may be said.
    while !hear().await.contains("40{") {}
    say(r#"421["room.join",{"room":"tea","userId":"ada","name":"Ada"}]"#).await;
    let url = daemon.url("/api/rooms/tea");
    let (status, body) = get(&url).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!((body["participants"].as_array().unwrap().len(), body["createdAt"].is_string()), (1, true));
    let mut plain = body;
    for volatile in ["participants", "createdAt"] {
        plain.as_object_mut().unwrap().remove(volatile);
    }
    assert_eq!(
        plain,
        json!({"id": "tea", "kind": "room", "status": "waiting", "memberCount": 1, "capacity": 16, "hasPassword": false,
            "private": false, "locked": false, "lobby": false, "persistent": false})
    );
    assert_eq!(ask(client.get(&url).bearer_auth("third-key")).await.0, StatusCode::UNAUTHORIZED);
    let (status, whole) = ask(client.get(&url).bearer_auth(ADMIN)).await;
    assert_eq!(status, StatusCode::OK);
    let nothing = json!({"toPeer": {"packets": 0, "bytes": 0}, "toClient": {"packets": 0, "bytes": 0}});
    assert_eq!(whole["relay"], nothing);
    let member = &whole["members"][0];
    assert_eq!(
        (&member["userId"], &member["name"], &member["away"]),
        (&json!("ada"), &json!("Ada"), &json!(false))
    );
    assert_eq!((&member["joinedOrder"], &member["relay"]), (&json!(0), &nothing));
    assert!(!whole.to_string().contains("token") && !whole.to_string().contains("resume"));

    let kick = |body: &str| client.post(daemon.url("/api/rooms/tea/kick")).body(body.to_owned());
    assert_eq!(ask(kick(r#"{"userId":"ada"}"#)).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(client.delete(&url)).await.0, StatusCode::UNAUTHORIZED);
    for (body, status) in [
        ("", StatusCode::BAD_REQUEST),
        ("{}", StatusCode::BAD_REQUEST),
        (r#"{"userId":"ada","peerId":"x"}"#, StatusCode::BAD_REQUEST),
        (r#"{"userId":7}"#, StatusCode::BAD_REQUEST),
        (r#"{"userId":"ada","bann":true}"#, StatusCode::BAD_REQUEST),
        (r#"{"userId":"bob"}"#, StatusCode::CONFLICT),
        (r#"{"peerId":"short"}"#, StatusCode::BAD_REQUEST),
        (r#"{"peerId":null,"userId":"ada"}"#, StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(ask(kick(body).bearer_auth(ADMIN)).await.0, status, "{body}");
    }
    let (status, body) = ask(kick(r#"{"userId":"bob","ban":true}"#).bearer_auth(ADMIN)).await;
    assert_eq!((status, body), (StatusCode::OK, json!({"kicked": 0})));
    assert_eq!(ask(client.get(&url).bearer_auth(ADMIN)).await.1["banned"], json!(["bob"]));
    assert_eq!(ask(client.delete(&url).bearer_auth(ADMIN)).await.0, StatusCode::NO_CONTENT);
    assert_eq!(ask(client.delete(&url).bearer_auth(ADMIN)).await.0, StatusCode::NOT_FOUND);
    let mut heard = String::new();
    while !heard.contains("room.closed") {
        heard += &hear().await;
    }
    assert!(heard.contains(r#""room":"tea","reason":"deleted"}]"#), "{heard}");
}
