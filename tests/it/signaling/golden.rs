//! What every dialect says, to the letter: one play for all of them, and one script a dialect (tests/golden).
//!
//! A line of a script is what one client sends (`>`) or hears (`<`). Ids, times and secrets are named by the order in which they
//! appear. `UPDATE=1` writes the scripts anew; read the difference before you commit it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use callgate::signaling::Settings;
use serde_json::Value;
use serde_json::json;

use super::Client;
use super::House;
use super::house;

/// Longer than changes of the directory are gathered.
const GATHERED: Duration = Duration::from_millis(450);

/// After which who has gone is not taken to be there.
const STAYS: Duration = Duration::from_millis(1100);

/// What is written down, with everything that differs from run to run named.
#[derive(Default)]
struct Script {
    text: String,
    names: BTreeMap<String, String>,
}

impl Script {
    fn scene(&mut self, what: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(&format!("# {what}\n"));
    }

    fn line(&mut self, who: &str, way: char, said: &str) {
        let mut said: Value = serde_json::from_str(said).unwrap();
        self.name(None, &mut said);
        self.text.push_str(&format!("{who} {way} {said}\n"));
    }

    fn name(&mut self, key: Option<&str>, value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.name(None, item)),
            Value::Object(map) => {
                // In the order of their names: the same every time.
                let ice = map.contains_key("credential");
                for (key, value) in map.iter_mut() {
                    match key.as_str() {
                        "username" | "credential" if ice => *value = json!(format!("<{key}>")),
                        "resume" | "cursor" => *value = json!(format!("<{key}>")),
                        _ => self.name(Some(key), value),
                    }
                }
            }
            Value::String(text) => {
                let made = match key {
                    Some("createdAt" | "timestamp" | "lastActivity") => Some("<time>".to_owned()),
                    _ if is_peer(text) => Some(self.id("id", text)),
                    _ if uuid::Uuid::parse_str(text).is_ok() => Some(self.id("room", text)),
                    _ => None,
                };
                if let Some(made) = made {
                    *text = made;
                }
            }
            Value::Number(_) if key == Some("createdAt") => *value = json!("<ms>"),
            _ => {}
        }
    }

    fn id(&mut self, kind: &str, id: &str) -> String {
        let next = 1 + self.names.values().filter(|name| name.starts_with(&format!("<{kind}-"))).count();
        self.names.entry(id.to_owned()).or_insert_with(|| format!("<{kind}-{next}>")).clone()
    }
}

/// Ids of peers and messages: 16 bytes in base64.
fn is_peer(text: &str) -> bool {
    text.len() == 22 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// One client on the stage.
struct Actor {
    name: &'static str,
    client: Client,
    acks: u32,
}

impl Actor {
    async fn enter(
        house: &House,
        script: &mut Script,
        name: &'static str,
        query: &str,
        auth: Value,
    ) -> Actor {
        let client = Client::connect_with(house, query, &auth.to_string()).await;
        let mut actor = Actor { name, client, acks: 5000 };
        actor.hear(script).await;
        actor
    }

    /// Says something as the clients of its dialect do: nobody waits for an acknowledgement.
    async fn say(&mut self, script: &mut Script, event: Value) {
        script.line(self.name, '>', &event.to_string());
        self.client.post(&format!("42{event}")).await;
    }

    /// Its transport closes without a word of Socket.IO's, and that is noticed.
    async fn breaks(&self) {
        self.client.post("1").await;
        // The clock goes on when nothing else is to be done.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    /// Says something with a callback, and hears everything up to its being called; that is what comes back.
    async fn ask(&mut self, script: &mut Script, event: Value) -> Value {
        script.line(self.name, '>', &event.to_string());
        self.acks += 1;
        let ack = self.acks;
        self.client.post(&format!("42{ack}{event}")).await;
        self.until(script, ack, true).await
    }

    /// Hears all that has been said to it so far.
    async fn hear(&mut self, script: &mut Script) {
        self.acks += 1;
        let ack = self.acks;
        self.client.post(&format!(r#"42{ack}["-"]"#)).await;
        self.until(script, ack, false).await;
    }

    async fn until(&mut self, script: &mut Script, ack: u32, told: bool) -> Value {
        let answer = self.hear_until(script, &format!("43{ack}")).await;
        if told {
            script.line(&format!("{} < ack", self.name), '=', &answer);
        }
        serde_json::from_str::<Vec<Value>>(&answer).unwrap().into_iter().next().unwrap_or_default()
    }

    /// Waits for an event that comes by itself.
    async fn wait(&mut self, script: &mut Script, event: &str) -> Value {
        let start = format!("42[\"{event}\",");
        let body = self.hear_until(script, &start).await;
        script.line(self.name, '<', &format!("[\"{event}\",{body}"));
        serde_json::from_str(body.strip_suffix(']').unwrap()).unwrap()
    }

    /// Writes down what comes before the packet that starts like this, and gives the rest of that one.
    async fn hear_until(&mut self, script: &mut Script, start: &str) -> String {
        let at = loop {
            if let Some(at) = self.client.heard.iter().position(|packet| packet.starts_with(start)) {
                break at;
            }
            self.client.poll(start).await;
        };
        for packet in self.client.heard.drain(..at) {
            match packet.strip_prefix("42") {
                Some(event) => script.line(self.name, '<', event),
                None => script.text.push_str(&format!("{} < {packet}\n", self.name)),
            }
        }
        self.client.heard.remove(0)[start.len()..].to_owned()
    }
}

/// How a dialect says what the play needs.
struct Phrases {
    name: &'static str,
    join: fn(&str) -> Value,
    leave: fn(&str) -> Value,
    signals: fn(&str, &str) -> Vec<Value>,
    chat: fn(&str) -> Vec<Value>,
}

const CALL: Phrases = Phrases {
    name: "call",
    join: |room| json!(["join", {"roomId": room}]),
    leave: |room| json!(["leave", {"roomId": room}]),
    signals: |room, _| {
        vec![
            json!(["offer", {"roomId": room, "sdp": {"type": "offer", "sdp": "v=0"}}]),
            json!(["answer", {"roomId": room, "sdp": {"type": "answer", "sdp": "v=0"}}]),
            json!(["ice-candidate", {"roomId": room, "candidate": {"candidate": "c", "sdpMid": "0"}}]),
        ]
    },
    chat: |room| vec![json!(["chat-message", {"roomId": room, "msg": "hello"}])],
};

const MESH: Phrases = Phrases {
    name: "mesh",
    join: |room| json!(["join-room", {"roomId": room, "userId": "ada"}]),
    leave: |room| json!(["leave-room", {"roomId": room}]),
    signals: |room, to| {
        vec![
            json!(["offer", {"roomId": room, "targetId": to, "offer": {"type": "offer", "sdp": "v=0"}}]),
            json!(["answer", {"roomId": room, "targetId": to, "answer": {"type": "answer", "sdp": "v=0"}}]),
            json!(["ice-candidate", {"roomId": room, "targetId": to, "candidate": {"candidate": "c", "sdpMid": "0"}}]),
        ]
    },
    chat: |room| vec![json!(["chat-message", {"roomId": room, "msg": "hello"}])],
};

const COMMUNITY: Phrases = Phrases {
    name: "community",
    join: |room| json!(["joinRoom", room]),
    leave: |room| json!(["leaveRoom", room]),
    signals: MESH.signals,
    chat: |room| {
        vec![
            json!(["chatMessage", {"roomId": room, "message": "hello"}]),
            json!(["sendMessage", {"roomId": room, "text": "look", "attachments": [{"name": "a.png", "size": 7}]}]),
            json!(["gameAction", {"roomId": room, "action": {"move": "e4"}}]),
        ]
    },
};

const NATIVE: Phrases = Phrases {
    name: "native",
    join: |room| json!(["room.join", {"room": room, "name": "Ada", "userId": "ada"}]),
    leave: |room| json!(["room.leave", {"room": room}]),
    signals: |room, to| {
        vec![
            json!(["signal", {"room": room, "to": to, "kind": "offer", "data": {"type": "offer", "sdp": "v=0"}}]),
            json!(["signal", {"room": room, "kind": "candidate", "data": null}]),
        ]
    },
    chat: |room| vec![json!(["chat", {"room": room, "text": "hello", "clientId": "1"}])],
};

fn settings() -> Settings {
    Settings { joins_per_minute: 0, events_per_second: 0, rooms_of_one: 0, ..Settings::default() }
}

fn native() -> Value {
    json!({"dialect": "native"})
}

/// The part of the play that every dialect has: `a` speaks it; `b` and `c` speak the native one.
async fn common(script: &mut Script, phrases: &Phrases) {
    let house = house(settings()).await;
    let auth = json!({"dialect": phrases.name, "userId": "ada", "username": "Ada"});
    script.scene("b is in a room; a comes, and c");
    let mut b = Actor::enter(&house, script, "b", "", native()).await;
    let join = |name: &str, user: &str| json!(["room.join", {"room": "tea", "name": name, "userId": user}]);
    let seat = b.ask(script, join("Ben", "ben")).await;
    let mut a = Actor::enter(&house, script, "a", "", auth.clone()).await;
    a.say(script, (phrases.join)("tea")).await;
    a.hear(script).await;
    b.hear(script).await;
    let mut c = Actor::enter(&house, script, "c", "", native()).await;
    c.ask(script, json!(["room.join", {"room": "tea"}])).await;
    a.hear(script).await;

    script.scene("they signal and talk");
    for said in (phrases.signals)("tea", "ben").into_iter().chain((phrases.chat)("tea")) {
        a.say(script, said).await;
    }
    a.hear(script).await;
    b.hear(script).await;
    for kind in ["offer", "answer", "candidate", "action", "wave"] {
        b.say(script, json!(["signal", {"room": "tea", "to": "ada", "kind": kind, "data": {"x": 1}}])).await;
    }
    b.say(script, json!(["chat", {"room": "tea", "text": "hi"}])).await;
    b.hear(script).await;
    a.hear(script).await;

    script.scene("b is lost and comes back; c leaves");
    b.breaks().await;
    let mut b = Actor::enter(&house, script, "b", "", native()).await;
    b.ask(script, json!(["room.join", {"room": "tea", "resume": seat["resume"], "have": 99}])).await;
    a.hear(script).await;
    c.ask(script, json!(["room.leave", {"room": "tea"}])).await;
    a.hear(script).await;

    script.scene("a's credentials are renewed");
    house.signaling.renew();
    let fresh = match phrases.name {
        "native" => "ice.servers",
        "community" => "iceServers",
        _ => "ice-servers",
    };
    a.wait(script, fresh).await;
    b.wait(script, "ice.servers").await;

    script.scene("a joins once more, says what nobody understands, leaves, and talks on");
    a.say(script, (phrases.join)("tea")).await;
    a.say(script, json!(["dance", {}])).await;
    a.ask(script, json!(["dance", {}])).await;
    a.ask(script, (phrases.leave)("tea")).await;
    a.say(script, (phrases.chat)("tea").remove(0)).await;
    a.ask(script, (phrases.chat)("tea").remove(0)).await;
    b.hear(script).await;

    script.scene("b opens a lobby: a waits and is turned away, waits and is let in, and put out");
    b.ask(script, json!(["room.lock", {"room": "tea", "locked": false, "lobby": true}])).await;
    for admit in [false, true] {
        if admit {
            a.say(script, (phrases.join)("tea")).await;
        } else {
            a.ask(script, (phrases.join)("tea")).await;
        }
        a.hear(script).await;
        let peer = b.wait(script, "room.peer-waiting").await["peer"]["peerId"].clone();
        b.ask(script, json!(["room.admit", {"room": "tea", "peerId": peer, "admit": admit}])).await;
        a.hear(script).await;
    }
    b.ask(script, json!(["room.kick", {"room": "tea", "userId": "ada"}])).await;
    a.hear(script).await;
    b.ask(script, json!(["room.leave", {"room": "tea"}])).await;

    script.scene("a call of two: no third comes in, and it ends with either");
    b.ask(script, json!(["room.join", {"room": "cup", "kind": "call"}])).await;
    a.ask(script, (phrases.join)("cup")).await;
    let mut d = Actor::enter(&house, script, "d", "", json!({"dialect": phrases.name})).await;
    d.say(script, (phrases.join)("cup")).await;
    d.hear(script).await;
    d.ask(script, (phrases.join)("cup")).await;
    b.ask(script, json!(["room.leave", {"room": "cup"}])).await;
    a.hear(script).await;

    script.scene("the server goes down");
    house.signaling.drain().await;
    a.hear(script).await;
    a.ask(script, (phrases.join)("cup")).await;

    script.scene("a waits in a call that nobody comes to");
    let house = super::house(Settings { waiting_timeout: Duration::from_millis(1500), ..settings() }).await;
    let mut b = Actor::enter(&house, script, "b", "", native()).await;
    let made = b.ask(script, json!(["room.create", {"kind": "call"}])).await;
    let mut a = Actor::enter(&house, script, "a", "", auth).await;
    a.say(script, (phrases.join)(made["room"]["id"].as_str().unwrap())).await;
    let over = match phrases.name {
        "native" => "room.timeout",
        "call" => "room-timeout",
        "mesh" => "room-closed",
        _ => "roomDeleted",
    };
    a.wait(script, over).await;
}

/// Rooms with names, as communities make them.
async fn of_communities(script: &mut Script) {
    let house = house(settings()).await;
    script.scene("ada makes rooms; ben hears of those that are public");
    let mut ada = Actor::enter(&house, script, "ada", "&userId=ada&username=Ada", json!({})).await;
    let mut ben = Actor::enter(&house, script, "ben", "&userId=ben&username=Ben", json!({})).await;
    ada.say(script, json!(["createRoom", {"name": "Garden", "isPrivate": false, "password": "pumpkin", "maxUsers": null}])).await;
    let garden = ada.wait(script, "roomCreated").await["roomId"].clone();
    let shed = json!(["createRoom", {"name": "Shed", "isPublic": false, "description": "Tools"}]);
    let shed = ada.ask(script, shed).await["roomId"].clone();
    let pond =
        ada.ask(script, json!(["createRoom", {"name": "Pond", "isPublic": true}])).await["roomId"].clone();
    tokio::time::sleep(GATHERED).await;
    ada.hear(script).await;
    ben.hear(script).await;

    script.scene("ben joins with and without the password");
    ben.say(script, json!(["joinRoom", {"roomId": garden, "password": "turnip"}])).await;
    ben.ask(script, json!(["joinRoom", {"roomId": garden}])).await;
    ben.ask(script, json!(["joinRoom", "11111111-1111-4111-8111-111111111111"])).await;
    ben.ask(script, json!(["joinRoom", {"roomId": garden, "password": "pumpkin"}])).await;
    ada.ask(script, json!(["sendMessage", {"roomId": garden, "text": "Welcome", "clientId": "m1"}])).await;
    ben.hear(script).await;
    tokio::time::sleep(GATHERED).await;
    ben.hear(script).await;
    ada.hear(script).await;

    script.scene("ben comes with a second device; neither leaving nor losing one is leaving");
    let mut two = Actor::enter(&house, script, "two", "&userId=ben&username=Ben", json!({})).await;
    two.ask(script, json!(["joinRoom", {"roomId": garden, "password": "pumpkin"}])).await;
    ada.hear(script).await;
    two.ask(script, json!(["leaveRoom", garden])).await;
    ada.hear(script).await;
    ben.client.post("41").await;
    ada.hear(script).await;

    script.scene("ada invites ben, and he comes to the room that is private");
    let mut ben = Actor::enter(&house, script, "ben", "&userId=ben&username=Ben", json!({})).await;
    ben.ask(script, json!(["joinRoom", shed])).await;
    ada.ask(script, json!(["inviteToRoom", {"roomId": shed, "userId": "ben"}])).await;
    ben.hear(script).await;
    ben.say(script, json!(["joinRoom", shed])).await;
    ben.hear(script).await;
    ada.hear(script).await;

    script.scene("who shares a lasting room hears who comes and goes");
    ben.client.post("41").await;
    two.client.post("41").await;
    tokio::time::sleep(STAYS).await;
    ada.hear(script).await;
    let mut ben = Actor::enter(&house, script, "ben", "&userId=ben&username=Ben", json!({})).await;
    ada.hear(script).await;
    ben.ask(script, json!(["joinRoom", shed])).await;

    script.scene("ben's connection breaks; it comes back by the old one's id, and nobody else does");
    let before = ben.client.sid.clone();
    ben.breaks().await;
    ada.ask(script, json!(["sendMessage", {"roomId": shed, "text": "Still there?"}])).await;
    let query = format!("&userId=eve&reconnecting={before}");
    let mut eve = Actor::enter(&house, script, "eve", &query, json!({})).await;
    let query = format!("&userId=ben&username=Ben&reconnecting={before}");
    let mut ben = Actor::enter(&house, script, "ben", &query, json!({})).await;
    ada.hear(script).await;
    ben.say(script, json!(["chatMessage", {"roomId": shed, "message": "Yes"}])).await;
    ben.hear(script).await;
    eve.hear(script).await;
    let query = format!("&userId=ben&reconnecting={before}");
    let mut again = Actor::enter(&house, script, "again", &query, json!({})).await;
    again.hear(script).await;

    script.scene("only the creator ends a room");
    ben.say(script, json!(["deleteRoom", shed])).await;
    ben.hear(script).await;
    ada.ask(script, json!(["deleteRoom", shed])).await;
    ben.hear(script).await;
    ada.say(script, json!(["deleteRoom", pond])).await;
    ada.hear(script).await;
    tokio::time::sleep(GATHERED).await;
    ben.hear(script).await;
}

/// What only the native dialect can say.
async fn of_the_native(script: &mut Script) {
    let house = house(settings()).await;
    let auth = |user: &str| json!({"dialect": "native", "userId": user, "username": user});
    script.scene("ada makes a channel, and who has asked for the list hears of it");
    let mut ada = Actor::enter(&house, script, "ada", "", auth("ada")).await;
    let mut ben = Actor::enter(&house, script, "ben", "", auth("ben")).await;
    ben.ask(script, json!(["room.list", {}])).await;
    let garden = json!(["room.create", {"kind": "channel", "name": "Garden", "private": false, "media": "text", "capacity": 8}]);
    let garden = ada.ask(script, garden).await["room"]["id"].clone();
    tokio::time::sleep(GATHERED).await;
    ben.hear(script).await;
    ada.ask(script, json!(["room.join", {"room": garden}])).await;
    tokio::time::sleep(GATHERED).await;
    ben.ask(script, json!(["room.list", {"search": "gard", "limit": 1}])).await;

    script.scene("ben joins, is made a moderator, talks, and reads what was said");
    let ben_s = ben.ask(script, json!(["room.join", {"room": garden}])).await["self"]["peerId"].clone();
    ada.ask(script, json!(["room.promote", {"room": garden, "userId": "ben", "moderator": true}])).await;
    ada.ask(script, json!(["room.promote", {"room": garden, "peerId": ben_s, "moderator": false}])).await;
    ben.ask(script, json!(["chat", {"room": garden, "text": "first", "clientId": "1"}])).await;
    ben.ask(script, json!(["chat", {"room": garden, "text": "first", "clientId": "1"}])).await;
    ada.ask(script, json!(["room.history", {"room": garden, "limit": 10}])).await;
    ben.ask(script, json!(["ice.refresh", {"room": garden}])).await;

    script.scene("invited, banned, pardoned; here and gone");
    let mut eve = Actor::enter(&house, script, "eve", "", auth("eve")).await;
    ada.ask(script, json!(["room.invite", {"room": garden, "userId": "eve"}])).await;
    eve.hear(script).await;
    ada.ask(script, json!(["room.ban", {"room": garden, "userId": "eve"}])).await;
    eve.ask(script, json!(["room.join", {"room": garden}])).await;
    ada.ask(script, json!(["room.pardon", {"room": garden, "userId": "eve"}])).await;
    ben.client.post("41").await;
    tokio::time::sleep(STAYS).await;
    ada.hear(script).await;
    let mut ben = Actor::enter(&house, script, "ben", "", auth("ben")).await;
    ada.hear(script).await;
    ben.ask(script, json!(["room.list", {}])).await;
    ada.ask(script, json!(["room.delete", {"room": garden}])).await;
    tokio::time::sleep(GATHERED).await;
    ben.hear(script).await;
}

fn compare(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.txt"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        return;
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    for (n, (is, was)) in text.lines().zip(golden.lines()).enumerate() {
        assert_eq!(is, was, "tests/golden/{name}.txt, line {}", n + 1);
    }
    assert_eq!(text.lines().count(), golden.lines().count(), "lines of tests/golden/{name}.txt");
}

#[tokio::test(start_paused = true)]
async fn the_call_dialect_is_said_to_the_letter() {
    let mut script = Script::default();
    common(&mut script, &CALL).await;
    compare("call", &script.text);
}

#[tokio::test(start_paused = true)]
async fn the_mesh_dialect_is_said_to_the_letter() {
    let mut script = Script::default();
    common(&mut script, &MESH).await;
    compare("mesh", &script.text);
}

#[tokio::test(start_paused = true)]
async fn the_community_dialect_is_said_to_the_letter() {
    let mut script = Script::default();
    common(&mut script, &COMMUNITY).await;
    of_communities(&mut script).await;
    compare("community", &script.text);
}

#[tokio::test(start_paused = true)]
async fn the_native_dialect_is_said_to_the_letter() {
    let mut script = Script::default();
    common(&mut script, &NATIVE).await;
    of_the_native(&mut script).await;
    compare("native", &script.text);
}
