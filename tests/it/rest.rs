//! REST: rooms made and run by back ends, what everybody may see, logs, tokens, one shape of errors, and the document that says so.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use reqwest::Client;
use reqwest::Method;
use reqwest::RequestBuilder;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::Value;
use serde_json::json;

use crate::support::Callgate;
use crate::support::Guest;

const ADMIN: &str = "a-token-of-the-operator";
const KEY: &str = "a-key-of-a-back-end";

fn daemon(config: &str) -> Callgate {
    let auth = if config.contains("[auth]") { "" } else { "[auth]\napi_keys = [\"a-key-of-a-back-end\"]\n" };
    Callgate::start(&format!("[admin]\ntoken = \"{ADMIN}\"\n{auth}{config}"))
}

struct Said {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Said {
    fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }

    /// The address of the next page.
    fn next(&self) -> Option<String> {
        let link = self.headers.get("link")?.to_str().unwrap();
        let (address, rel) = link.strip_prefix('<').unwrap().split_once('>').unwrap();
        assert_eq!(rel, "; rel=\"next\"");
        Some(address.to_owned())
    }
}

async fn send(request: RequestBuilder) -> Said {
    let answer = request.timeout(Duration::from_secs(10)).send().await.unwrap();
    let (status, headers) = (answer.status(), answer.headers().clone());
    let text = answer.text().await.unwrap();
    Said { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
}

async fn get(daemon: &Callgate, path: &str) -> Said {
    send(Client::new().get(daemon.url(path))).await
}

async fn get_as(daemon: &Callgate, key: &str, path: &str) -> Said {
    send(Client::new().get(daemon.url(path)).bearer_auth(key)).await
}

async fn post(daemon: &Callgate, path: &str, body: Value) -> Said {
    send(Client::new().post(daemon.url(path)).bearer_auth(KEY).json(&body)).await
}

fn ids(said: &Said) -> Vec<&str> {
    said.body.as_array().unwrap().iter().map(|room| room["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_back_end_makes_rooms_and_everybody_finds_those_in_the_directory() {
    let daemon = daemon("");
    let wanted = json!({"id": "tea", "name": "Tea & biscuits", "kind": "channel", "description": "at five", "media": "video",
        "capacity": 9, "listed": true, "password": "open sesame", "creator": "ada"});
    let made = post(&daemon, "/api/rooms", wanted).await;
    assert_eq!(
        (made.status, &made.headers["location"]),
        (StatusCode::CREATED, &"/api/rooms/tea".parse().unwrap())
    );
    assert_eq!(made.body["creator"], "ada");
    assert!(!made.body.to_string().contains("argon2") && !made.body.to_string().contains("sesame"));
    let again = post(&daemon, "/api/rooms", json!({"id": "tea"})).await;
    assert_eq!((again.status, again.code()), (StatusCode::CONFLICT, "room-exists"));
    for room in [json!({"id": "secret", "listed": true, "private": true}), json!({"id": "quiet"})] {
        assert_eq!(post(&daemon, "/api/rooms", room).await.status, StatusCode::CREATED);
    }
    let named =
        post(&daemon, "/api/rooms", json!({"listed": true})).await.body["id"].as_str().unwrap().to_owned();
    assert_eq!(named.len(), 36, "made up: {named}");

    let listed = get(&daemon, "/api/rooms").await;
    assert_eq!(listed.status, StatusCode::OK);
    assert_eq!(ids(&listed).into_iter().collect::<BTreeSet<_>>(), BTreeSet::from(["tea", &named]));
    let tea = listed.body.as_array().unwrap().iter().find(|room| room["id"] == "tea").unwrap();
    assert_eq!(
        (&tea["participants"], &tea["memberCount"], &tea["hasPassword"]),
        (&json!([]), &json!(0), &json!(true))
    );
    assert_eq!(
        (&tea["name"], &tea["capacity"], &tea["media"]),
        (&json!("Tea & biscuits"), &json!(9), &json!("video"))
    );
    assert!(tea["createdAt"].as_str().unwrap().ends_with('Z') && tea.get("creator").is_none(), "{tea}");
    assert_eq!(ids(&get_as(&daemon, KEY, "/api/rooms").await).len(), 2, "a back end knows its rooms");
    assert_eq!(ids(&get_as(&daemon, ADMIN, "/api/rooms").await).len(), 4);
    assert_eq!(get_as(&daemon, "wrong", "/api/rooms").await.status, StatusCode::UNAUTHORIZED);

    for (search, found) in [("BISCUIT", 1), ("five", 1), ("tea", 1), ("sesame", 0), ("", 2)] {
        assert_eq!(ids(&get(&daemon, &format!("/api/rooms?search={search}")).await).len(), found, "{search}");
    }
    // Live counts.
    let mut guest = Guest::connect(&daemon, json!({})).await;
    let joined = guest.ask("room.join", json!({"room": "quiet", "name": "Bob"})).await;
    assert_eq!(joined["ok"], true, "{joined}");
    let quiet = get(&daemon, "/api/rooms/quiet").await.body;
    assert_eq!(
        (&quiet["memberCount"], &quiet["participants"]),
        (&json!(1), &json!([joined["self"]["peerId"]]))
    );
    let whole = get_as(&daemon, KEY, "/api/rooms/quiet").await.body;
    assert_eq!(whole["members"][0]["name"], "Bob");
    assert_eq!(get(&daemon, "/api/rooms/secret").await.body["private"], true, "whoever knows its name");
}

#[tokio::test]
async fn a_room_of_the_mesh_is_listed_while_somebody_is_in_it() {
    let daemon = daemon("");
    assert_eq!(get(&daemon, "/api/rooms").await.body, json!([]));
    let room = "1f0c5c3e-53a0-4f1c-9c9a-0d6e8f5b7a11";
    let mut guests = Vec::new();
    for user in ["ada", "bob"] {
        let mut guest = Guest::connect(&daemon, json!({})).await;
        guest.ask("join-room", json!({"roomId": room, "userId": user})).await;
        guests.push(guest);
    }
    let listed = get(&daemon, "/api/rooms").await.body;
    let [one] = listed.as_array().unwrap().as_slice() else { panic!("{listed}") };
    assert_eq!((&one["id"], one["participants"].as_array().unwrap().len()), (&json!(room), 2));
    assert_eq!(
        get(&daemon, &format!("/api/rooms/{room}")).await.body,
        *one,
        "the same alone and in the list"
    );
    for guest in &mut guests {
        guest.ask("leave-room", json!({"roomId": room})).await;
    }
    assert_eq!(get(&daemon, "/api/rooms").await.body, json!([]));
    assert_eq!(get(&daemon, &format!("/api/rooms/{room}")).await.code(), "no-such-room");
}

#[tokio::test]
async fn pages_have_every_room_once() {
    let daemon = daemon("");
    for n in 0..23 {
        let name = if n % 2 == 0 { "even" } else { "odd" };
        let room = json!({"id": format!("r{n}"), "listed": n < 20, "name": name});
        assert_eq!(post(&daemon, "/api/rooms", room).await.status, StatusCode::CREATED);
    }
    for (key, path, count) in [
        ("", "/api/rooms?limit=7", 20),
        (ADMIN, "/api/rooms?limit=5", 23),
        ("", "/api/rooms?limit=3&search=odd", 10),
        (ADMIN, "/api/rooms?limit=1&search=even", 12),
    ] {
        let mut found = Vec::new();
        let mut next = Some(path.to_owned());
        while let Some(path) = next {
            let page =
                if key.is_empty() { get(&daemon, &path).await } else { get_as(&daemon, key, &path).await };
            assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.body);
            found.extend(ids(&page).into_iter().map(str::to_owned));
            next = page.next();
            assert!(found.len() <= 23, "{path} never ends");
        }
        let newest_first = found.windows(2).all(|two| two[0] != two[1]);
        assert!(newest_first && found.len() == count, "{path}: {found:?}");
        assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), count, "{found:?}");
    }
    for bad in ["limit=0", "limit=101", "limit=x", "after=x", "after=1.a%20b"] {
        let refused = get(&daemon, &format!("/api/rooms?{bad}")).await;
        assert_eq!((refused.status, refused.code()), (StatusCode::BAD_REQUEST, "bad-request"), "{bad}");
    }
}

#[tokio::test]
async fn a_back_end_locks_invites_and_puts_out() {
    let daemon = daemon("");
    post(&daemon, "/api/rooms", json!({"id": "tea", "kind": "channel", "private": true})).await;
    let mut ada = Guest::connect(&daemon, json!({"userId": "ada", "dialect": "native"})).await;
    let refused = ada.ask("room.join", json!({"room": "tea"})).await;
    assert_eq!(refused["error"]["code"], "private-room", "{refused}");
    let invited = post(&daemon, "/api/rooms/tea/invite", json!({"userId": "ada"})).await;
    assert_eq!((invited.status, invited.body), (StatusCode::NO_CONTENT, json!("")));
    let heard = ada.hear("room.invited").await;
    assert!(heard.to_string().contains("tea"), "{heard}");
    assert_eq!(ada.ask("room.join", json!({"room": "tea"})).await["ok"], true);

    let locked = post(&daemon, "/api/rooms/tea/lock", json!({"locked": true})).await;
    assert_eq!((locked.status, locked.body), (StatusCode::OK, json!({"locked": true, "lobby": false})));
    post(&daemon, "/api/rooms/tea/invite", json!({"userId": "bob"})).await;
    let mut bob = Guest::connect(&daemon, json!({"userId": "bob"})).await;
    assert_eq!(bob.ask("room.join", json!({"room": "tea"})).await["error"]["code"], "room-locked");
    let open = post(&daemon, "/api/rooms/tea/lock", json!({"locked": false, "lobby": true})).await;
    assert_eq!(open.body, json!({"locked": false, "lobby": true}));

    let kicked = post(&daemon, "/api/rooms/tea/kick", json!({"userId": "ada", "ban": true})).await;
    assert_eq!((kicked.status, kicked.body), (StatusCode::OK, json!({"kicked": 1})));
    assert_eq!(ada.hear("room.closed").await["reason"], "kicked");
    assert_eq!(ada.ask("room.join", json!({"room": "tea"})).await["error"]["code"], "banned");
    for (path, body) in [
        ("lock", json!({"locked": true})),
        ("invite", json!({"userId": "x"})),
        ("kick", json!({"userId": "x"})),
    ] {
        let lost = post(&daemon, &format!("/api/rooms/nowhere/{path}"), body).await;
        assert_eq!((lost.status, lost.code()), (StatusCode::NOT_FOUND, "no-such-room"), "{path}");
    }
    assert_eq!(
        send(Client::new().delete(daemon.url("/api/rooms/tea")).bearer_auth(KEY)).await.status,
        StatusCode::NO_CONTENT
    );
}

#[tokio::test]
async fn what_was_said_and_called_can_be_read_by_those_who_may() {
    let daemon = daemon("");
    post(&daemon, "/api/rooms", json!({"id": "tea", "kind": "channel"})).await;
    let mut ada = Guest::connect(&daemon, json!({"userId": "ada"})).await;
    ada.ask("room.join", json!({"room": "tea"})).await;
    for n in 0..7 {
        let said = ada
            .ask(
                "chat",
                json!({"room": "tea", "text": format!("message {n}"), "attachments": [{"name": "a"}]}),
            )
            .await;
        assert_eq!(said["ok"], true, "{said}");
    }
    assert_eq!(get(&daemon, "/api/rooms/tea/messages").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(get_as(&daemon, KEY, "/api/rooms/nowhere/messages").await.status, StatusCode::NOT_FOUND);
    let mut texts = Vec::new();
    let mut next = Some("/api/rooms/tea/messages?limit=3".to_owned());
    while let Some(path) = next {
        let page = get_as(&daemon, KEY, &path).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        for message in page.body.as_array().unwrap() {
            texts.push(message["text"].as_str().unwrap().to_owned());
            assert_eq!(
                (&message["userId"], &message["attachments"]),
                (&json!("ada"), &json!([{"name": "a"}]))
            );
        }
        next = page.next();
    }
    assert_eq!(texts, (0..7).rev().map(|n| format!("message {n}")).collect::<Vec<_>>());

    let mut bob = Guest::connect(&daemon, json!({"userId": "bob"})).await;
    for guest in [&mut ada, &mut bob] {
        guest.ask("room.join", json!({"room": "talk", "kind": "call"})).await;
    }
    bob.ask("room.leave", json!({"room": "talk"})).await;
    assert_eq!(get(&daemon, "/api/calls").await.status, StatusCode::UNAUTHORIZED);
    let mut calls = get_as(&daemon, KEY, "/api/calls?room=talk").await;
    for _ in 0..400 {
        if calls.body != json!([]) {
            break;
        }
        // The log is written behind.
        tokio::time::sleep(Duration::from_millis(50)).await;
        calls = get_as(&daemon, KEY, "/api/calls?room=talk").await;
    }
    let call = &calls.body[0];
    assert_eq!(
        (&call["roomId"], &call["kind"], &call["reason"]),
        (&json!("talk"), &json!("call"), &json!("peer-left"))
    );
    let users: BTreeSet<_> =
        call["participants"].as_array().unwrap().iter().map(|it| it["userId"].as_str().unwrap()).collect();
    assert_eq!(users, BTreeSet::from(["ada", "bob"]));
    let number = call["number"].as_u64().unwrap();
    assert_eq!(get_as(&daemon, ADMIN, &format!("/api/calls?before={number}")).await.body, json!([]));
}

#[tokio::test]
async fn a_back_end_has_tokens_made_for_its_users() {
    let config = format!(
        "[auth]\nmode = \"jwt\"\nkey = \"a key of thirty-two characters..\"\nissuer = \"callgate\"\napi_keys = [\"{KEY}\"]\n"
    );
    let daemon = daemon(&config);
    let made =
        post(&daemon, "/api/tokens", json!({"userId": "ada", "name": "Ada", "rooms": ["tea"], "ttl": 60}))
            .await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    assert!(made.body["expiresAt"].as_str().unwrap().ends_with('Z'));
    let token = made.body["token"].as_str().unwrap();
    let ice = get_as(&daemon, token, "/api/ice").await;
    assert!(ice.body["iceServers"][1]["username"].as_str().unwrap().ends_with(":ada"), "{}", ice.body);
    let mut ada = Guest::connect(&daemon, json!({ "token": token })).await;
    assert_eq!(ada.ask("room.join", json!({"room": "tea"})).await["ok"], true);
    let members = get_as(&daemon, KEY, "/api/rooms/tea").await.body["members"].clone();
    assert_eq!((&members[0]["userId"], &members[0]["name"]), (&json!("ada"), &json!("Ada")));
    assert_eq!(ada.ask("room.join", json!({"room": "coffee"})).await["error"]["code"], "forbidden");
    // A user is nobody here that a back end is.
    let by_user = send(
        Client::new().post(daemon.url("/api/tokens")).bearer_auth(token).json(&json!({"userId": "eve"})),
    );
    assert_eq!(by_user.await.status, StatusCode::UNAUTHORIZED);
    for bad in [
        json!({}),
        json!({"userId": ""}),
        json!({"userId": "a b"}),
        json!({"userId": "a", "role": "king"}),
        json!({"userId": "a", "rooms": ["a b"]}),
        json!({"userId": "a", "rooms": null}),
        json!({"userId": "a", "ttl": 0}),
        json!({"userId": "a", "ttl": 1.5}),
        json!({"userId": "a", "name": "\u{0}"}),
        json!({"userId": "a", "admin": true}),
    ] {
        let refused = post(&daemon, "/api/tokens", bad.clone()).await;
        assert_eq!((refused.status, refused.code()), (StatusCode::BAD_REQUEST, "bad-request"), "{bad}");
    }
    // No room at all is not all rooms.
    let made = post(&daemon, "/api/tokens", json!({"userId": "bob", "rooms": []})).await;
    let mut bob = Guest::connect(&daemon, json!({ "token": made.body["token"] })).await;
    assert_eq!(bob.ask("room.join", json!({"room": "tea"})).await["error"]["code"], "forbidden");
    let without = self::daemon("");
    let refused = post(&without, "/api/tokens", json!({"userId": "ada"})).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::CONFLICT, "no-key"));
}

#[tokio::test]
async fn a_seat_taken_with_a_token_is_taken_again_with_one_only() {
    let config = format!("[auth]\nkey = \"a key of thirty-two characters..\"\napi_keys = [\"{KEY}\"]\n");
    let daemon = daemon(&config);
    let token =
        async |user: &str| post(&daemon, "/api/tokens", json!({"userId": user})).await.body["token"].clone();
    let mut ada = Guest::connect(&daemon, json!({ "token": token("ada").await })).await;
    let seat = ada.ask("room.join", json!({"room": "tea"})).await;
    let resume = json!({"room": "tea", "resume": seat["resume"]});
    for auth in [json!({}), json!({"userId": "ada"}), json!({"token": token("eve").await})] {
        let mut other = Guest::connect(&daemon, auth.clone()).await;
        let refused = other.ask("room.join", resume.clone()).await;
        assert_eq!(refused["error"]["code"], "resume-failed", "{auth}");
    }
    let mut again = Guest::connect(&daemon, json!({ "token": token("ada").await })).await;
    assert_eq!(again.ask("room.join", resume.clone()).await["resumed"], true);
    again.ask("room.leave", json!({"room": "tea"})).await;
    let refused = again.ask("room.join", resume).await;
    assert_eq!(
        (&refused["error"]["code"], &refused["error"]["message"]),
        (&json!("resume-failed"), &json!("no seat is kept for this token: join anew"))
    );
}

#[tokio::test]
async fn every_error_has_one_shape() {
    let daemon = daemon("");
    let client = Client::new();
    let room = daemon.url("/api/rooms");
    let form = client.post(&room).bearer_auth(KEY).form(&[("a", "b")]);
    let long = client.post(&room).bearer_auth(KEY).body("x".repeat(100_000));
    let deep = client.post(&room).bearer_auth(KEY).body("[".repeat(50_000));
    for (request, status, code) in [
        (client.get(daemon.url("/api/nowhere")), 404, "not-found"),
        (client.get(daemon.url("/nowhere")), 404, "not-found"),
        (client.get(daemon.url("/api/rooms/%ff")), 400, "bad-request"),
        (client.put(&room), 405, "method-not-allowed"),
        (client.delete(daemon.url("/health")), 405, "method-not-allowed"),
        (client.post(daemon.url("/openapi.json")), 405, "method-not-allowed"),
        (long, 413, "too-large"),
        (form, 415, "unsupported-media-type"),
        (deep, 400, "bad-request"),
        (client.post(&room).bearer_auth(KEY), 400, "bad-request"),
        (client.post(&room), 401, "unauthorized"),
        (client.post(&room).bearer_auth("wrong"), 401, "unauthorized"),
        (client.get(daemon.url("/turn?service=turn")), 403, "forbidden"),
        (client.get(&room).header("origin", "https://evil.example"), 403, "origin-not-allowed"),
    ] {
        let said = send(request).await;
        assert_eq!((said.status.as_u16(), said.code()), (status, code), "{}", said.body);
        assert_eq!(said.headers["content-type"], "application/json");
        assert!(said.body["error"]["message"].is_string(), "{}", said.body);
        assert_eq!(status == 405, said.headers.contains_key("allow"), "{:?}", said.headers);
    }
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_may_use_the_api_with_credentials() {
    let daemon = Callgate::start_with("", &[("CLIENT_URL", "https://app.example.org")]);
    let ours = "https://app.example.org";
    let preflight = Client::new()
        .request(Method::OPTIONS, daemon.url("/api/rooms/tea"))
        .header("origin", ours)
        .header("access-control-request-method", "DELETE")
        .header("access-control-request-headers", "authorization,content-type");
    let said = send(preflight).await;
    assert_eq!(said.status, StatusCode::OK);
    let header = |said: &Said, name: &str| said.headers[name].to_str().unwrap().to_ascii_lowercase();
    assert_eq!(header(&said, "access-control-allow-origin"), ours);
    assert_eq!(header(&said, "access-control-allow-credentials"), "true");
    assert!(header(&said, "access-control-allow-methods").contains("delete"));
    assert!(header(&said, "access-control-allow-headers").contains("authorization"));
    for path in ["/api/rooms", "/api/rooms/nowhere", "/health"] {
        let said = send(Client::new().get(daemon.url(path)).header("origin", ours)).await;
        assert_eq!(header(&said, "access-control-allow-origin"), ours, "{path}");
        assert_eq!(header(&said, "access-control-allow-credentials"), "true");
        assert!(header(&said, "access-control-expose-headers").contains("link"));
        assert!(header(&said, "vary").contains("origin"));
    }
}

#[tokio::test]
async fn health_tells_of_the_store_and_the_relay() {
    let daemon = daemon("");
    let said = get(&daemon, "/health").await;
    assert_eq!((&said.body["store"]["status"], &said.body["relay"]["status"]), (&json!("ok"), &json!("ok")));
    assert_eq!(get(&daemon, "/ready").await.body, json!({"status": "ready", "store": "ok"}));
}

fn document() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("web/openapi.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[tokio::test]
async fn the_document_has_every_route_and_every_method_and_no_others() {
    let document = document();
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let told: BTreeSet<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/mod.rs")).unwrap();
    let mut there: BTreeSet<&str> =
        source.split(".route(\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    // A file, as the pages are.
    there.insert("/openapi.json");
    assert_eq!(told, there);

    let daemon = daemon("");
    let served = get(&daemon, "/openapi.json").await;
    assert_eq!(
        (served.status, &served.headers["content-type"]),
        (StatusCode::OK, &"application/json".parse().unwrap())
    );
    assert_eq!(served.body, document);
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let url = daemon.url(&path.replace("{roomId}", "nowhere"));
            let said = send(Client::new().request(method.parse().unwrap(), url).bearer_auth("wrong")).await;
            let known = item.get(method.to_lowercase()).is_some();
            assert_eq!(
                said.status != StatusCode::METHOD_NOT_ALLOWED,
                known,
                "{method} {path}: {}",
                said.status
            );
            if known {
                let answers = &item[method.to_lowercase()]["responses"];
                let limited = path.starts_with("/api") || path == "/turn";
                assert!(!limited || answers.get("429").is_some(), "{method} {path} never says 429");
                assert!(answers.get(said.status.as_str()).is_some(), "{method} {path}: {}", said.status);
            }
        }
    }
}
