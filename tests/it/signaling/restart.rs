//! The daemon ends and another one begins, with the same key and the same or another store.

use std::pin::Pin;

use callgate::rooms::Message;
use callgate::rooms::Room;
use callgate::signaling::Candidate;
use callgate::signaling::News;
use callgate::signaling::Verdict;
use callgate::store::Answer;
use callgate::store::Call;
use callgate::store::Fault;
use callgate::store::Health;
use callgate::store::Record;
use callgate::store::Sqlite;
use callgate::store::Written;

use super::*;

/// A file that can be taken away from whoever still holds the ledger: the transport's library keeps what it was given for as
/// long as the process lives.
#[derive(Clone)]
struct OnLoan(Arc<Mutex<Option<Sqlite>>>);

impl OnLoan {
    fn open(folder: &tempfile::TempDir) -> OnLoan {
        let sqlite = Sqlite::open(&folder.path().join("callgate.db"), KEEP).unwrap();
        OnLoan(Arc::new(Mutex::new(Some(sqlite))))
    }

    fn close(&self) {
        *self.0.lock().unwrap() = None;
    }

    fn with<R>(&self, then: impl FnOnce(&Sqlite) -> R) -> R {
        then(self.0.lock().unwrap().as_ref().unwrap())
    }
}

impl Ledger for OnLoan {
    fn load(&self) -> Result<Vec<Room>, Fault> {
        self.with(Ledger::load)
    }

    fn write(&self, records: Vec<Record>) -> Answer<Written> {
        self.with(|it| it.write(records))
    }

    fn note(&self, records: Vec<Record>) {
        self.with(|it| it.note(records));
    }

    fn history(&self, room: &RoomId, before: Option<PeerId>, most: usize) -> Answer<Vec<Message>> {
        self.with(|it| it.history(room, before, most))
    }

    fn calls(&self, room: Option<&RoomId>, before: Option<u64>, most: usize) -> Answer<Vec<(u64, Call)>> {
        self.with(|it| it.calls(room, before, most))
    }

    fn health(&self) -> Health {
        self.with(Ledger::health)
    }

    fn flush(&self) -> Answer<()> {
        self.with(Ledger::flush)
    }
}

fn memory() -> Box<dyn Ledger> {
    Box::new(callgate::store::Volatile::new(KEEP))
}

#[tokio::test]
async fn who_did_not_hear_that_it_is_back_in_a_new_process_is_told_again_and_hears_everything_since() {
    let before = house_over(settings(), memory(), [7; 32]).await;
    let (mut ada, mut bob) = (Client::user(&before, "ada").await, Client::user(&before, "bob").await);
    let (first, second) = (ada.join("r").await, bob.join("r").await);
    before.signaling.close().await;

    let after = house_over(settings(), memory(), [7; 32]).await;
    let back = |seat: &Value| json!({"room": "r", "resume": seat["resume"], "have": 57});
    let (mut ada, mut bob) = (Client::user(&after, "ada").await, Client::user(&after, "bob").await);
    ada.ask("room.join", back(&first)).await;
    bob.ask("room.join", back(&second)).await;
    ada.ask("chat", json!({"room": "r", "text": "hi"})).await;
    // Nothing of that has reached him: he counts as before.
    let mut again = Client::user(&after, "bob").await;
    let answer = again.ask("room.join", back(&second)).await;
    assert_eq!((&answer["resumed"], &answer["restored"]), (&json!(true), &json!(true)), "{answer}");
    assert_eq!(again.event("chat").await["text"], "hi");
    // Now he has heard of it.
    let mut again = Client::user(&after, "bob").await;
    let have = json!({"room": "r", "resume": answer["resume"], "have": 1});
    let answer = again.ask("room.join", have).await;
    assert_eq!((&answer["resumed"], &answer["restored"]), (&json!(true), &Value::Null), "{answer}");
}

#[tokio::test]
async fn a_room_in_memory_is_there_again_when_its_members_are() {
    let before = house_over(settings(), memory(), [7; 32]).await;
    let (mut ada, mut bob) = (Client::user(&before, "ada").await, Client::user(&before, "bob").await);
    let (first, second) = (ada.join("r").await, bob.join("r").await);
    before.signaling.close().await;

    let after = house_over(settings(), memory(), [7; 32]).await;
    let back = |seat: &Value| json!({"room": "r", "resume": seat["resume"], "have": 5});
    let mut bob = Client::user(&after, "bob").await;
    let seat = bob.ask("room.join", back(&second)).await;
    assert_eq!((&seat["resumed"], &seat["restored"]), (&json!(true), &json!(true)), "{seat}");
    assert_eq!(peer_id(&seat), peer_id(&second));
    let mut ada = Client::user(&after, "ada").await;
    let seat = ada.ask("room.join", back(&first)).await;
    assert_eq!(
        (&seat["self"]["rank"], &seat["peers"][0]["peerId"]),
        (&json!("creator"), &json!(peer_id(&second)))
    );
    // To the other it was away; numbers begin anew.
    let heard = bob.event("room.peer-reconnected").await;
    assert_eq!(
        (&heard["peerId"], bob.ask("chat", json!({"room": "r", "text": "hi"})).await["ok"].clone()),
        (&json!(peer_id(&first)), json!(true))
    );
    assert_eq!(ada.event("chat").await["seq"], 1);
    // Each by its own token alone, and once more by the new one.
    let mut eve = Client::user(&after, "eve").await;
    for bad in
        [json!("x"), json!(first["resume"].as_str().unwrap().replace('A', "B")), json!("A".repeat(2000))]
    {
        let code = eve.fail("room.join", json!({"room": "r", "resume": bad})).await;
        assert_eq!(code, "resume-failed");
    }
    assert_eq!(eve.fail("room.join", json!({"room": "s", "resume": first["resume"]})).await, "resume-failed");
    bob.breaks().await;
    let mut bob = Client::user(&after, "bob").await;
    assert_eq!(bob.ask("room.join", back(&second)).await["resumed"], true);
}

/// A daemon, and the next one, which is told what the first has left if it was stopped in good order.
async fn next(before: House, in_order: bool) -> House {
    let left = before.signaling.leaves();
    before.signaling.close().await;
    let after = house_over(settings(), memory(), [7; 32]).await;
    if in_order {
        after.signaling.follows(&left);
    }
    after
}

fn back(seat: &Value) -> Value {
    json!({"room": "r", "resume": seat["resume"]})
}

#[tokio::test]
async fn after_an_orderly_stop_only_who_was_seated_then_comes_back() {
    for in_order in [true, false] {
        let before = house_over(settings(), memory(), [7; 32]).await;
        let mut people = Vec::new();
        for user in ["ada", "bob", "carol", "dave"] {
            let mut client = Client::user(&before, user).await;
            let seat = client.join("r").await;
            people.push((user, client, seat));
        }
        let (_, mut dave, kicked) = people.pop().unwrap();
        let (_, mut carol, left) = people.pop().unwrap();
        let (_, bob, away) = people.pop().unwrap();
        let (_, mut ada, here) = people.pop().unwrap();
        carol.ask("room.leave", json!({"room": "r"})).await;
        let kick = json!({"room": "r", "peerId": kicked["self"]["peerId"]});
        assert_eq!(ada.ask("room.kick", kick).await["ok"], true);
        dave.event("room.closed").await;
        bob.breaks().await;
        let after = next(before, in_order).await;
        for (user, seat, may) in
            [("ada", &here, true), ("bob", &away, true), ("carol", &left, false), ("dave", &kicked, false)]
        {
            let answer = Client::user(&after, user).await.ask("room.join", back(seat)).await;
            let expected = if may || !in_order { json!(true) } else { json!(false) };
            assert_eq!(answer["ok"], expected, "{user} {in_order}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_seat_of_before_is_taken_again_once_and_not_after_it_was_left() {
    for in_order in [true, false] {
        let before = house_over(settings(), memory(), [7; 32]).await;
        let (mut ada, mut bob) = (Client::user(&before, "ada").await, Client::user(&before, "bob").await);
        let (first, second) = (ada.join("r").await, bob.join("r").await);
        let after = next(before, in_order).await;
        let (mut ada, mut bob) = (Client::user(&after, "ada").await, Client::user(&after, "bob").await);
        assert_eq!(ada.ask("room.join", back(&first)).await["restored"], true);
        assert_eq!(bob.ask("room.join", back(&second)).await["restored"], true);
        // As long as it is there it is the same seat, whichever token is shown.
        let mut bob = Client::user(&after, "bob").await;
        assert_eq!(bob.ask("room.join", back(&second)).await["resumed"], true);
        bob.ask("room.leave", json!({"room": "r"})).await;
        assert_eq!(bob.fail("room.join", back(&second)).await, "resume-failed");
    }
}

#[tokio::test]
async fn who_was_not_back_yet_when_it_was_stopped_again_still_comes_back() {
    let before = house_over(settings(), memory(), [7; 32]).await;
    let (mut ada, mut bob) = (Client::user(&before, "ada").await, Client::user(&before, "bob").await);
    let (first, second) = (ada.join("r").await, bob.join("r").await);
    let sid = ada.sid.clone();
    let after = next(before, true).await;
    let mut bob = Client::user(&after, "bob").await;
    let here = bob.ask("room.join", back(&second)).await;
    let last = next(after, true).await;
    assert_eq!(Client::user(&last, "bob").await.ask("room.join", back(&here)).await["restored"], true);
    let by_id =
        Client::open(Way::Straight(last.router.clone()), &last, &format!("&reconnecting={sid}")).await;
    let mut by_id = by_id;
    by_id.hello(r#"40{"dialect":"native","userId":"ada"}"#).await;
    assert_eq!(by_id.event("room.admitted").await["self"]["peerId"], first["self"]["peerId"]);
}

/// Naming one connection, as socket.io's client does whenever it comes back.
async fn naming(house: &House, sid: &str) -> Client {
    let query = format!("&reconnecting={sid}");
    let mut client = Client::open(Way::Straight(house.router.clone()), house, &query).await;
    client.hello(r#"40{"dialect":"native","userId":"ada"}"#).await;
    client
}

#[tokio::test]
async fn who_names_the_same_connection_every_time_has_its_seat_before_and_after_a_restart() {
    let mut house = house_over(settings(), memory(), [7; 32]).await;
    let mut ada = Client::user(&house, "ada").await;
    let (seat, first) = (ada.join("r").await, ada.sid.clone());
    for restart in [false, true, false, true] {
        match restart {
            true => house = next(house, true).await,
            false => ada.breaks().await,
        }
        ada = naming(&house, &first).await;
        assert_eq!(ada.event("room.admitted").await["self"]["peerId"], seat["self"]["peerId"], "{restart}");
    }
}

#[tokio::test]
async fn who_is_back_by_its_token_keeps_its_seat_when_its_connection_of_before_is_named() {
    let before = house_over(settings(), memory(), [7; 32]).await;
    let mut ada = Client::user(&before, "ada").await;
    let (seat, sid) = (ada.join("r").await, ada.sid.clone());
    let after = next(before, true).await;
    let mut ada = Client::user(&after, "ada").await;
    assert_eq!(ada.ask("room.join", back(&seat)).await["restored"], true);
    let query = format!("&reconnecting={sid}");
    let mut tab = Client::open(Way::Straight(after.router.clone()), &after, &query).await;
    tab.hello(r#"40{"dialect":"native","userId":"ada"}"#).await;
    assert!(tab.events("room.admitted").await.is_empty());
    assert_eq!(ada.ask("chat", json!({"room": "r", "text": "still here"})).await["ok"], true);
}

#[tokio::test]
async fn who_was_not_back_yet_after_a_crash_still_comes_back_after_a_stop_in_good_order() {
    let before = house_over(settings(), memory(), [7; 32]).await;
    let mut seats = Vec::new();
    let mut people = Vec::new();
    for user in ["ada", "bob", "carol"] {
        people.push(Client::user(&before, user).await);
        seats.push(people.last_mut().unwrap().join("r").await);
    }
    let after = next(before, false).await;
    let mut ada = Client::user(&after, "ada").await;
    let here = ada.ask("room.join", back(&seats[0])).await;
    let mut carol = Client::user(&after, "carol").await;
    let left = carol.ask("room.join", back(&seats[2])).await;
    assert_eq!(carol.ask("room.leave", json!({"room": "r"})).await["ok"], true);
    let last = next(after, true).await;
    for (user, seat, may) in [("bob", &seats[1], true), ("ada", &here, true), ("carol", &left, false)] {
        let answer = Client::user(&last, user).await.ask("room.join", back(seat)).await;
        assert_eq!(answer["ok"], may, "{user}: {answer}");
    }
    assert_eq!(Client::user(&last, "carol").await.fail("room.join", back(&seats[2])).await, "resume-failed");
}

#[tokio::test]
async fn a_daemon_with_another_key_knows_nobody() {
    let before = house_over(settings(), memory(), [7; 32]).await;
    let first = Client::user(&before, "ada").await.join("r").await;
    let after = house_over(settings(), memory(), [8; 32]).await;
    let resume = json!({"room": "r", "resume": first["resume"]});
    assert_eq!(Client::user(&after, "ada").await.fail("room.join", resume).await, "resume-failed");
}

/// A process of its own: when it ends, all of it ends.
fn process<R>(run: impl Future<Output = R>) -> R {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run)
}

#[test]
fn a_channel_keeps_its_people_its_rules_and_what_was_said() {
    let folder = tempfile::tempdir().unwrap();
    let (room, bobs, said) = process(async {
        let ledger = OnLoan::open(&folder);
        let before = house_over(settings(), Box::new(ledger.clone()), [7; 32]).await;
        let (mut ada, mut bob) = (Client::user(&before, "ada").await, Client::user(&before, "bob").await);
        let how = json!({"kind": "channel", "name": "Tea", "password": "open sesame", "private": false, "lobby": true});
        let made = ada.ask("room.create", how).await;
        let room = made["room"]["id"].as_str().unwrap().to_owned();
        ada.ask("room.invite", json!({"room": room, "userId": "bob"})).await;
        ada.join(&room).await;
        let bobs = bob.join(&room).await;
        let promote = |moderator: bool| json!({"room": room, "userId": "bob", "moderator": moderator});
        ada.ask("room.promote", promote(true)).await;
        ada.ask("room.invite", json!({"room": room, "userId": "carol"})).await;
        ada.ask("room.ban", json!({"room": room, "userId": "eve"})).await;
        ada.ask("room.lock", json!({"room": room, "locked": true})).await;
        let said = ada.ask("chat", json!({"room": room, "text": "hi", "clientId": "one"})).await;
        ada.ask("room.promote", promote(false)).await;
        before.signaling.close().await;
        ledger.close();
        (room, bobs, said)
    });
    process(async {
        let after = house_over(settings(), Box::new(OnLoan::open(&folder)), [7; 32]).await;
        let mut ada = Client::user(&after, "ada").await;
        let listed = ada.ask("room.list", json!({})).await;
        assert_eq!(
            (&listed["rooms"][0]["name"], &listed["rooms"][0]["hasPassword"]),
            (&json!("Tea"), &json!(true))
        );
        let seat = ada.join(&room).await;
        assert_eq!((&seat["self"]["rank"], &seat["room"]["locked"]), (&json!("creator"), &json!(true)));
        let mut bob = Client::user(&after, "bob").await;
        let seat = bob.ask("room.join", json!({"room": room, "resume": bobs["resume"]})).await;
        assert_eq!(
            (&seat["restored"], seat["self"].get("rank")),
            (&json!(true), None),
            "a moderator no more: {seat}"
        );
        let history = bob.ask("room.history", json!({"room": room})).await;
        assert_eq!(history["messages"][0]["id"], said["id"]);
        // Said again under its id, it is the same message.
        let again = ada.ask("chat", json!({"room": room, "text": "hi", "clientId": "one"})).await;
        assert_eq!(again["id"], said["id"]);
        let mut eve = Client::user(&after, "eve").await;
        assert_eq!(eve.fail("room.join", json!({"room": room})).await, "banned");
        let mut carol = Client::user(&after, "carol").await;
        let heard = carol.event("room.invited").await;
        assert_eq!((&heard["room"]["id"], &heard["by"]["userId"]), (&json!(room), &json!("ada")));
        assert_eq!(carol.fail("room.join", json!({"room": room})).await, "room-locked");
        ada.ask("room.lock", json!({"room": room, "locked": false})).await;
        carol.join(&room).await;
        let mut dave = Client::user(&after, "dave").await;
        assert_eq!(dave.fail("room.join", json!({"room": room})).await, "password-required");
    });
}

/// Hears everything.
#[derive(Default)]
struct Ear(Mutex<Vec<(&'static str, Value)>>);

impl News for Ear {
    fn reports(&self) -> bool {
        true
    }

    fn wants(&self, _: &str) -> bool {
        true
    }

    fn tell(&self, _: &str, kind: &'static str, what: Value) {
        self.0.lock().unwrap().push((kind, what));
    }

    fn decides(&self) -> bool {
        false
    }

    fn may_join(&self, _: Candidate) -> Pin<Box<dyn Future<Output = Verdict> + Send + '_>> {
        unreachable!("nobody is asked");
    }
}

#[tokio::test]
async fn after_a_restart_it_is_told_who_is_back_and_no_room_is_told_to_be_new() {
    let before = house_over(settings(), memory(), [7; 32]).await;
    let (mut ada, mut bob) = (Client::user(&before, "ada").await, Client::user(&before, "bob").await);
    let ask = json!({"room": "r", "kind": "call"});
    let (first, second) = (ada.ask("room.join", ask.clone()).await, bob.ask("room.join", ask).await);
    before.signaling.close().await;
    tokio::time::sleep(Duration::from_millis(50)).await;

    let ear = Arc::<Ear>::default();
    let heard = Arc::clone(&ear);
    let after = open(settings(), |parts| (parts.news, parts.seal) = (heard, [7; 32])).await;
    let (mut ada, mut bob) = (Client::user(&after, "ada").await, Client::user(&after, "bob").await);
    for (client, seat) in [(&mut ada, &first), (&mut bob, &second)] {
        assert_eq!(client.ask("room.join", back(seat)).await["restored"], true);
    }
    // Once more, as one that heard no answer, or whose connection broke: it is there already.
    let mut again = Client::user(&after, "bob").await;
    again.ask("room.join", back(&second)).await;
    again.ask("room.leave", json!({"room": "r"})).await;
    let told = std::mem::take(&mut *ear.0.lock().unwrap());
    let kinds: Vec<&str> = told.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(&kinds[..3], ["peer.joined", "peer.joined", "peer.left"], "{told:?}");
    for (n, (seat, user)) in [(&first, "ada"), (&second, "bob")].into_iter().enumerate() {
        assert_eq!(told[n].1, json!({"peerId": peer_id(seat), "userId": user, "restored": true}));
    }
    let (_, call) = told.iter().find(|(kind, _)| *kind == "call.ended").expect("the call is over");
    let at = |it: &Value, key: &str| it[key].as_str().unwrap().to_owned();
    let mut joined: Vec<String> =
        call["participants"].as_array().unwrap().iter().map(|it| at(it, "joinedAt")).collect();
    joined.sort();
    assert_eq!(at(call, "startedAt"), joined[1], "{call}");
}
