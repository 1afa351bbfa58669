//! Clients of every dialect that ask for offsets: nothing is lost in a dead path, nothing comes twice, and the others see no difference.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A dialect's words: how a room is joined, and by which event that, or being back, is told.
struct Words {
    dialect: &'static str,
    join: &'static str,
    /// None: by acknowledgement.
    joined: Option<&'static str>,
    back: &'static str,
}

const WORDS: [Words; 4] = [
    Words { dialect: "call", join: "join", joined: Some("joined"), back: "joined" },
    Words { dialect: "mesh", join: "join-room", joined: Some("room-users"), back: "room-users" },
    Words { dialect: "community", join: "joinRoom", joined: Some("joinedRoom"), back: "joinedRoom" },
    Words { dialect: "native", join: "room.join", joined: None, back: "room.admitted" },
];

/// How a client comes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum By {
    Token,
    Name,
}

/// Bob, in one dialect: a client that is careless about nothing but its connections.
struct Bob {
    words: &'static Words,
    client: Client,
    /// What he gives when he connects, if he asks for offsets.
    offsets: BTreeMap<String, String>,
    asks: bool,
    has_asked: bool,
    /// His resume tokens, by room.
    tokens: BTreeMap<String, String>,
    heard: Vec<u64>,
}

impl Bob {
    async fn enter(house: &House, words: &'static Words, asks: bool) -> Bob {
        let offsets = BTreeMap::new();
        let client = connect(house, words, asks.then_some(&offsets), None).await;
        Bob { words, client, offsets, asks, has_asked: asks, tokens: BTreeMap::new(), heard: Vec::new() }
    }

    async fn join(&mut self, room: &str, resume: Option<&str>) -> Value {
        let body = json!({"roomId": room, "resume": resume});
        let told = match self.words.joined {
            Some(joined) => {
                self.client.post(&format!("42{}", json!([self.words.join, body]))).await;
                self.client.event(joined).await
            }
            None => self.client.ask(self.words.join, body).await,
        };
        self.seated(room, &told);
        told
    }

    fn seated(&mut self, room: &str, told: &Value) {
        let token = told["resume"].as_str().unwrap_or_else(|| panic!("{told}"));
        self.tokens.insert(room.to_owned(), token.to_owned());
    }

    /// Another connection, the old one left as it is; what it is told of its seats.
    async fn again(&mut self, house: &House, by: By, asks: bool) -> Vec<Value> {
        self.asks = asks;
        self.has_asked |= asks;
        let before = (by == By::Name).then(|| self.client.sid.clone());
        self.client = connect(house, self.words, asks.then_some(&self.offsets), before.as_deref()).await;
        let mut all = Vec::new();
        for (room, token) in self.tokens.clone() {
            let told = match by {
                By::Token => self.join(&room, Some(&token)).await,
                By::Name => self.client.event(self.words.back).await,
            };
            if by == By::Name {
                let room =
                    told["roomId"].as_str().or_else(|| told["room"]["id"].as_str()).unwrap().to_owned();
                self.seated(&room, &told);
            }
            assert_eq!(told["resumed"], true, "{told}");
            all.push(told);
        }
        all
    }

    /// Reads all that has come.
    async fn reads(&mut self) {
        self.client.ask("nothing at all", json!({})).await;
        for packet in std::mem::take(&mut self.client.heard) {
            let Some(event) = packet.strip_prefix("42") else { continue };
            let body = serde_json::from_str::<Value>(event).unwrap()[1].take();
            let said = ["msg", "text", "candidate", "data"].into_iter().find_map(|key| body.get(key));
            let Some(said) = said else { continue };
            self.heard.push(said.as_u64().unwrap_or_else(|| said.as_str().unwrap().parse().unwrap()));
            match body.get("offset") {
                None => assert!(!self.asks, "{packet}"),
                // What was kept for it when it asked says so still.
                Some(_) if !self.asks => assert!(self.has_asked, "{packet}"),
                Some(offset) => {
                    let room = body.get("roomId").or(body.get("room")).unwrap().as_str().unwrap();
                    self.offsets.insert(room.to_owned(), offset.as_str().unwrap().to_owned());
                }
            }
        }
    }
}

async fn connect(
    house: &House,
    words: &Words,
    offsets: Option<&BTreeMap<String, String>>,
    before: Option<&str>,
) -> Client {
    let query = before.map_or(String::new(), |sid| format!("&reconnecting={sid}"));
    let mut client = Client::open(Way::Straight(house.router.clone()), house, &query).await;
    let mut auth = json!({"dialect": words.dialect, "userId": "bob"});
    if let Some(offsets) = offsets {
        auth["offsets"] = json!(offsets);
    }
    client.hello(&format!("40{auth}")).await;
    client
}

/// Numbers, as messages and as candidates by turns.
async fn say(by: &mut Client, room: &str, from: u64, to: u64) {
    for n in from..to {
        let said = match n % 2 {
            0 => by.ask("chat", json!({"room": room, "text": n.to_string()})).await,
            _ => by.ask("signal", json!({"room": room, "kind": "candidate", "data": n})).await,
        };
        assert_eq!(said["ok"], true, "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_offsets_loses_nothing_in_a_dead_path_and_who_does_not_sees_none() {
    for words in &WORDS {
        for by in [By::Token, By::Name] {
            for asks in [true, false] {
                let house = house(settings()).await;
                let mut ada = Client::user(&house, "ada").await;
                ada.join("r").await;
                let mut bob = Bob::enter(&house, words, asks).await;
                bob.join("r", None).await;
                say(&mut ada, "r", 0, 3).await;
                bob.reads().await;
                // Nobody reads this any more.
                say(&mut ada, "r", 3, 6).await;
                bob.client.post("1").await;
                ada.event("room.peer-away").await;
                say(&mut ada, "r", 6, 9).await;
                let told = bob.again(&house, by, asks).await;
                assert_eq!(told[0]["missed"], Value::Null, "{} {by:?}", words.dialect);
                bob.reads().await;
                say(&mut ada, "r", 9, 11).await;
                bob.reads().await;
                // The dialect of the house itself numbers for everybody, but counts for nobody who does not say what it has.
                let lost = if asks { 3..3 } else { 3..6 };
                let expected: Vec<u64> = (0..11).filter(|n| !lost.contains(n)).collect();
                assert_eq!(bob.heard, expected, "{} {by:?} {asks}", words.dialect);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_handshake_says_it_for_every_room() {
    for words in &WORDS {
        for by in [By::Token, By::Name] {
            let house = house(settings()).await;
            let mut ada = Client::user(&house, "ada").await;
            let mut bob = Bob::enter(&house, words, true).await;
            for room in ["r", "s", "t"] {
                ada.join(room).await;
                bob.join(room, None).await;
            }
            say(&mut ada, "r", 0, 5).await;
            say(&mut ada, "s", 5, 6).await;
            bob.reads().await;
            say(&mut ada, "r", 6, 8).await;
            say(&mut ada, "s", 8, 11).await;
            say(&mut ada, "t", 11, 12).await;
            let told = bob.again(&house, by, true).await;
            assert!(told.iter().all(|it| it["missed"].is_null()), "{told:?}");
            bob.reads().await;
            assert_eq!(bob.heard, (0..12).collect::<Vec<_>>(), "{} {by:?}", words.dialect);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_an_earlier_seat_in_the_room_misleads_nobody() {
    let house = house(settings()).await;
    let mut ada = Client::user(&house, "ada").await;
    ada.join("r").await;
    let mut bob = Bob::enter(&house, &WORDS[1], true).await;
    bob.join("r", None).await;
    say(&mut ada, "r", 0, 20).await;
    bob.reads().await;
    bob.client.ask("leave-room", json!({"roomId": "r"})).await;
    // He joins anew; of the answer and of what comes after it nothing arrives.
    bob.client.ask("join-room", json!({"roomId": "r"})).await;
    say(&mut ada, "r", 20, 23).await;
    bob.again(&house, By::Name, true).await;
    bob.reads().await;
    assert_eq!(bob.heard, (0..23).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn joining_once_more_loses_nothing_and_tells_nothing_twice() {
    for words in &WORDS[1..3] {
        let house = house(settings()).await;
        let mut ada = Client::user(&house, "ada").await;
        ada.join("r").await;
        let mut bob = Bob::enter(&house, words, true).await;
        bob.join("r", None).await;
        say(&mut ada, "r", 0, 3).await;
        // What he says still arrives; what he is told does not.
        bob.client.post(&format!("42{}", json!([words.join, {"roomId": "r"}]))).await;
        say(&mut ada, "r", 3, 5).await;
        bob.again(&house, By::Token, true).await;
        bob.reads().await;
        bob.join("r", None).await;
        bob.reads().await;
        assert_eq!(bob.heard, (0..5).collect::<Vec<_>>(), "{}", words.dialect);
    }
}

#[tokio::test]
async fn offsets_of_an_earlier_process_are_no_offsets_of_this_one() {
    for words in &WORDS {
        let ledger = || Box::new(callgate::store::Volatile::new(KEEP));
        let before = house_over(settings(), ledger(), [7; 32]).await;
        let mut ada = Client::user(&before, "ada").await;
        let seat = ada.join("r").await;
        let mut bob = Bob::enter(&before, words, true).await;
        bob.join("r", None).await;
        say(&mut ada, "r", 0, 9).await;
        bob.reads().await;
        before.signaling.close().await;

        let after = house_over(settings(), ledger(), [7; 32]).await;
        let mut ada = Client::user(&after, "ada").await;
        ada.ask("room.join", json!({"room": "r", "resume": seat["resume"]})).await;
        let old = bob.tokens.clone();
        bob.again(&after, By::Token, true).await;
        say(&mut ada, "r", 9, 12).await;
        // Nothing of it has reached him, not even that he is back.
        bob.tokens = old;
        let told = bob.again(&after, By::Token, true).await;
        assert_eq!((&told[0]["restored"], &told[0]["missed"]), (&json!(true), &Value::Null));
        bob.reads().await;
        say(&mut ada, "r", 12, 13).await;
        bob.client.post("1").await;
        bob.again(&after, By::Name, true).await;
        bob.reads().await;
        assert_eq!(bob.heard, (0..13).collect::<Vec<_>>(), "{}", words.dialect);
    }
}

/// As one that never forgets any has them: of a thousand rooms it was in before.
#[tokio::test]
async fn a_client_that_has_been_in_many_rooms_has_its_seat_again() {
    let house = house(settings()).await;
    let mut bob = Bob::enter(&house, &WORDS[0], true).await;
    bob.join("tea", None).await;
    for n in 1..1000_u32 {
        bob.offsets.insert(format!("r{n}"), format!("{n:08x}-1"));
    }
    bob.again(&house, By::Token, true).await;
    assert_eq!(house.signaling.stats().errors[Code::BadRequest as usize], 0);
}

/// One step of what follows: so much is said, read or not, and then the connection may be lost, noticed or not.
#[derive(Clone, Debug)]
struct Step {
    said: u64,
    reads: bool,
    /// None: the connection goes on.
    lost: Option<Loss>,
}

#[derive(Clone, Debug)]
struct Loss {
    noticed: bool,
    said_meanwhile: u64,
    by: By,
    asks: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let by = prop_oneof![Just(By::Token), Just(By::Name)];
    let loss = (any::<bool>(), 0..4_u64, by, prop::bool::weighted(0.7));
    let loss =
        loss.prop_map(|(noticed, said_meanwhile, by, asks)| Loss { noticed, said_meanwhile, by, asks });
    let step = (0..5_u64, any::<bool>(), prop::option::of(loss));
    prop::collection::vec(step.prop_map(|(said, reads, lost)| Step { said, reads, lost }), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn whatever_becomes_of_the_connections_who_asks_hears_everything_once_and_in_order(
        dialect in 0..WORDS.len(),
        asks in any::<bool>(),
        steps in steps(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let (heard, expected) = runtime.block_on(play(&WORDS[dialect], asks, &steps));
        prop_assert_eq!(heard, expected);
    }
}

/// What Bob hears, and what he should.
async fn play(words: &'static Words, asks: bool, steps: &[Step]) -> (Vec<u64>, Vec<u64>) {
    let house = house(settings()).await;
    let mut ada = Client::user(&house, "ada").await;
    ada.join("r").await;
    let mut bob = Bob::enter(&house, words, asks).await;
    bob.join("r", None).await;
    let (mut next, mut expected) = (0, Vec::new());
    // What was written into his connection and not read.
    let mut unread = Vec::new();
    for step in steps {
        say(&mut ada, "r", next, next + step.said).await;
        unread.extend(next..next + step.said);
        next += step.said;
        if step.reads {
            bob.reads().await;
            expected.append(&mut unread);
        }
        let Some(loss) = &step.lost else { continue };
        let until = next + loss.said_meanwhile;
        // A name is good for nothing before.
        let noticed = loss.noticed || loss.by == By::Name;
        if noticed {
            bob.client.post("1").await;
            ada.event("room.peer-away").await;
        }
        say(&mut ada, "r", next, until).await;
        if !(bob.asks && loss.asks) {
            unread.clear();
        }
        if noticed || (bob.asks && loss.asks) {
            unread.extend(next..until);
        }
        next = until;
        let told = bob.again(&house, loss.by, loss.asks).await;
        assert_eq!(told[0]["missed"], Value::Null);
        // It comes with the answer.
        bob.reads().await;
        expected.append(&mut unread);
    }
    bob.reads().await;
    expected.append(&mut unread);
    (bob.heard, expected)
}
