//! A ledger that answers late, or not, or with an error.

use callgate::rooms::Message;
use callgate::rooms::Room;
use callgate::store::Answer;
use callgate::store::Call;
use callgate::store::Fault;
use callgate::store::Health;
use callgate::store::Record;
use callgate::store::Volatile;
use callgate::store::Written;

use super::*;

/// What becomes of what is to be written.
#[derive(Clone, Copy)]
enum Mood {
    Well,
    Late(Duration),
    Full,
    Silent,
    /// The disk does not answer: what it was given waits for it, and the rest is refused.
    Stuck,
    /// The same, and it is not known yet.
    Sticking,
}

/// A ledger in memory, in changing moods: for all, or for messages with a certain text in them.
struct Moody {
    inner: Arc<Volatile>,
    mood: Arc<Mutex<(Mood, &'static str)>>,
    answers: Arc<tokio::sync::Notify>,
}

fn moody() -> (Box<Moody>, impl Fn(Mood, &'static str)) {
    let mood = Arc::new(Mutex::new((Mood::Well, "")));
    let answers = Arc::<tokio::sync::Notify>::default();
    let ledger = Moody {
        inner: Arc::new(Volatile::new(KEEP)),
        mood: Arc::clone(&mood),
        answers: Arc::clone(&answers),
    };
    let turn = move |new, about| {
        *mood.lock().unwrap() = (new, about);
        if matches!(new, Mood::Well) {
            answers.notify_waiters();
        }
    };
    (Box::new(ledger), turn)
}

impl Ledger for Moody {
    fn load(&self) -> Result<Vec<Room>, Fault> {
        self.inner.load()
    }

    fn write(&self, records: Vec<Record>) -> Answer<Written> {
        let (mood, about) = *self.mood.lock().unwrap();
        let is_meant = about.is_empty() || format!("{records:?}").contains(about);
        match mood {
            Mood::Late(time) if is_meant => {
                let inner = Arc::clone(&self.inner);
                Box::pin(async move {
                    tokio::time::sleep(time).await;
                    inner.write(records).await
                })
            }
            Mood::Full if is_meant => Box::pin(std::future::ready(Err(Fault("the disk is full".into())))),
            Mood::Silent if is_meant => Box::pin(std::future::pending()),
            Mood::Stuck => Box::pin(std::future::ready(Err(stuck()))),
            Mood::Sticking if is_meant => {
                let (inner, answers) = (Arc::clone(&self.inner), Arc::clone(&self.answers).notified_owned());
                Box::pin(async move {
                    answers.await;
                    inner.write(records).await
                })
            }
            _ => self.inner.write(records),
        }
    }

    fn note(&self, records: Vec<Record>) {
        self.inner.note(records);
    }

    fn history(&self, room: &RoomId, before: Option<PeerId>, most: usize) -> Answer<Vec<Message>> {
        let messages = self.inner.history(room, before, most);
        match *self.mood.lock().unwrap() {
            (Mood::Late(time), "reading") => Box::pin(async move {
                tokio::time::sleep(time).await;
                messages.await
            }),
            _ => messages,
        }
    }

    fn calls(&self, room: Option<&RoomId>, before: Option<u64>, most: usize) -> Answer<Vec<(u64, Call)>> {
        self.inner.calls(room, before, most)
    }

    fn health(&self) -> Health {
        let is_stuck = matches!(self.mood.lock().unwrap().0, Mood::Stuck);
        Health { fault: is_stuck.then(stuck), ..self.inner.health() }
    }

    fn flush(&self) -> Answer<()> {
        self.inner.flush()
    }
}

fn stuck() -> Fault {
    Fault("the disk has not answered".into())
}

async fn channel(by: &mut Client, name: &str) -> String {
    let made = by.ask("room.create", json!({"kind": "channel", "name": name})).await;
    let id = made["room"]["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    by.join(&id).await;
    id
}

fn say(room: &str, text: &str) -> Value {
    json!({"room": room, "text": text})
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_the_disk_is_acknowledged_after_it_and_in_order() {
    let (ledger, mood) = moody();
    let house = house_over(settings(), ledger, [7; 32]).await;
    let (mut ada, mut bob) = (Client::user(&house, "ada").await, Client::user(&house, "bob").await);
    let slow = channel(&mut ada, "slow").await;
    bob.join(&slow).await;
    for client in [&mut ada, &mut bob] {
        client.join("quick").await;
    }
    mood(Mood::Late(Duration::from_secs(3)), "");
    let begun = tokio::time::Instant::now();
    // What one client says after another goes out after it, whatever it waits for; its room, or another.
    let first = ada.say("chat", say(&slow, "one")).await;
    let second = ada.say("signal", json!({"room": slow, "kind": "offer", "data": 1})).await;
    let third = ada.say("chat", say("quick", "two")).await;
    // Others' signals go at once, in this room too.
    assert_eq!(bob.ask("signal", json!({"room": slow, "kind": "answer", "data": 2})).await["ok"], true);
    assert_eq!(bob.ask("chat", say("quick", "at once")).await["ok"], true);
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert!(bob.events("chat").await.is_empty() && bob.events("signal").await.is_empty());
    for ack in [first, second, third] {
        assert_eq!(ada.answer(ack).await["ok"], true);
    }
    assert!((3000..3100).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    let heard: Vec<String> = bob.events("chat").await.iter().map(|it| it["text"].to_string()).collect();
    assert_eq!(heard, ["\"one\"", "\"two\""]);
    let seq = |it: &[Value]| it[0]["seq"].as_u64().unwrap();
    let signal = bob.events("signal").await;
    assert_eq!(signal.len(), 1);
    assert!(seq(&signal) > 1);
}

#[tokio::test(start_paused = true)]
async fn commands_of_several_on_one_room_wait_for_each_other() {
    let (ledger, mood) = moody();
    let house = house_over(settings(), ledger, [7; 32]).await;
    let mut ada = Client::user(&house, "ada").await;
    let room = channel(&mut ada, "slow").await;
    let mut others = Vec::new();
    for n in 0..4 {
        let mut client = Client::user(&house, &format!("user{n}")).await;
        client.join(&room).await;
        others.push(client);
    }
    mood(Mood::Late(Duration::from_secs(1)), "");
    let begun = tokio::time::Instant::now();
    let mut acks = Vec::new();
    for client in &mut others {
        acks.push(client.say("chat", say(&room, "hi")).await);
    }
    // Who comes meanwhile waits as well, and so does who goes.
    let mut late = Client::user(&house, "late").await;
    let join = late.say("room.join", json!({"room": room})).await;
    let leave = ada.say("room.leave", json!({"room": room})).await;
    for (client, ack) in others.iter_mut().zip(acks) {
        assert_eq!(client.answer(ack).await["ok"], true);
    }
    assert_eq!(late.answer(join).await["ok"], true);
    assert_eq!(ada.answer(leave).await["ok"], true);
    assert!((5..=7).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert_eq!(house.signaling.stats().peers, 5);
    for client in &mut others {
        let seqs: Vec<u64> = client.events("chat").await.iter().filter_map(|it| it["seq"].as_u64()).collect();
        assert!(seqs.is_sorted() && seqs.len() == 3, "{seqs:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses_what_must_last_and_lets_calls_go_on() {
    let (ledger, mood) = moody();
    let house = house_over(settings(), ledger, [7; 32]).await;
    let (mut ada, mut bob) = (Client::user(&house, "ada").await, Client::user(&house, "bob").await);
    let room = channel(&mut ada, "Tea").await;
    bob.join(&room).await;
    mood(Mood::Full, "");
    for (name, body) in [
        ("room.create", json!({"name": "Coffee"})),
        ("chat", say(&room, "hi")),
        ("room.invite", json!({"room": room, "userId": "carol"})),
        ("room.lock", json!({"room": room})),
        ("room.promote", json!({"room": room, "userId": "bob"})),
        ("room.delete", json!({"room": room})),
    ] {
        let answer = ada.ask(name, body).await;
        assert_eq!(answer["error"]["code"], "not-stored", "{name}");
        assert!(answer["error"]["retryAfter"].is_u64(), "{name}");
    }
    assert!(bob.events("chat").await.is_empty() && bob.events("room.changed").await.is_empty());
    let mut carol = Client::user(&house, "carol").await;
    assert_eq!(carol.fail("room.join", json!({"room": room})).await, "not-stored");
    // What needs no disk works: signals, rooms in memory, members who come back.
    assert_eq!(ada.ask("signal", json!({"room": room, "kind": "offer", "data": 1})).await["ok"], true);
    bob.event("signal").await;
    carol.join("plain").await;
    assert_eq!(carol.ask("chat", say("plain", "hi")).await["ok"], true);
    bob.breaks().await;
    let mut bob = Client::user(&house, "bob").await;
    bob.join(&room).await;
    // Who is put out is out, and who leaves has left, though it is not written.
    assert_eq!(ada.fail("room.ban", json!({"room": room, "userId": "bob"})).await, "not-stored");
    assert_eq!(bob.event("room.closed").await["reason"], "kicked");
    assert_eq!(bob.fail("room.join", json!({"room": room})).await, "banned");
    assert_eq!(ada.fail("room.leave", json!({"room": room})).await, "not-stored");
    assert_eq!(ada.fail("signal", json!({"room": room, "kind": "offer", "data": 1})).await, "not-a-member");
    let id = RoomId::parse(&room).unwrap();
    until("empty", || house.signaling.room(&id, true).is_some_and(|room| room["memberCount"] == 0)).await;
    // The disk has room again.
    mood(Mood::Well, "");
    carol.ask("room.leave", json!({})).await;
    assert_eq!(carol.ask("room.join", json!({"room": room})).await["ok"], true);
}

/// The clock is turned, not waited for.
#[tokio::test(start_paused = true)]
async fn a_write_that_never_ends_stops_its_own_room_and_nothing_else() {
    let (ledger, mood) = moody();
    let house = house_over(settings(), ledger, [7; 32]).await;
    let (mut ada, mut bob, mut eve) = (
        Client::user(&house, "ada").await,
        Client::user(&house, "bob").await,
        Client::user(&house, "eve").await,
    );
    let stuck = channel(&mut ada, "stuck").await;
    let well = channel(&mut bob, "well").await;
    for client in [&mut ada, &mut eve] {
        client.join(&well).await;
    }
    for client in [&mut bob, &mut eve] {
        client.join(&stuck).await;
    }
    mood(Mood::Silent, "never");
    let never = ada.say("chat", say(&stuck, "never")).await;
    // Others in that room signal; what would change it waits.
    assert_eq!(bob.ask("signal", json!({"room": stuck, "kind": "offer", "data": 1})).await["ok"], true);
    let waits = bob.say("chat", say(&stuck, "behind it")).await;
    // Its sender is held up, with as many commands as an inbox holds; and is told so.
    let mut acks = Vec::new();
    for n in 0..1030 {
        acks.push(ada.say("chat", say(&well, &n.to_string())).await);
    }
    for ack in &acks[1024..] {
        assert_eq!(ada.answer(*ack).await["error"]["code"], "too-many-requests");
    }
    assert_eq!(house.signaling.stats().drops[Drop::InboxFull as usize], 6);
    let (ada, bob) = (ada.stays(), bob.stays());
    // Everybody else's clock goes on: in another room someone is lost, and gone when grace is over.
    let mut carol = Client::user(&house, "carol").await;
    carol.join(&well).await;
    let begun = tokio::time::Instant::now();
    carol.breaks().await;
    eve.event("room.peer-away").await;
    assert_eq!(eve.event("room.peer-left").await["reason"], "lost");
    assert!((29..32).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert_eq!(eve.ask("chat", say(&well, "hi")).await["ok"], true);
    let other = channel(&mut eve, "another").await;
    assert_eq!(eve.ask("chat", say(&other, "hi")).await["ok"], true);
    // Who waits for it and breaks is lost to the other rooms all the same.
    let begun = tokio::time::Instant::now();
    ada.breaks().await;
    bob.breaks().await;
    eve.event("room.peer-away").await;
    eve.event("room.peer-away").await;
    assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
    assert_eq!(eve.event("room.peer-left").await["reason"], "lost");
    let whole = house.signaling.room(&RoomId::parse(&stuck).unwrap(), true).unwrap();
    assert_eq!(whole["memberCount"], 3, "nothing has changed there");
    let _ = (never, waits);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_does_not_answer_refuses_and_what_it_was_given_is_answered_with_what_came_of_it() {
    let (ledger, mood) = moody();
    let house = house_over(settings(), ledger, [7; 32]).await;
    let (mut ada, mut bob, mut eve, mut dan) = (
        Client::user(&house, "ada").await,
        Client::user(&house, "bob").await,
        Client::user(&house, "eve").await,
        Client::user(&house, "dan").await,
    );
    let stuck = channel(&mut ada, "stuck").await;
    let other = channel(&mut eve, "other").await;
    let going = dan.ask("room.create", json!({"name": "going"})).await["room"]["id"].clone();
    dan.join(going.as_str().unwrap()).await;
    bob.join(&stuck).await;
    eve.join(&stuck).await;
    bob.join(&other).await;
    // This one the disk was given, and somebody waits behind it.
    mood(Mood::Sticking, "");
    let begun = tokio::time::Instant::now();
    let inside = ada.say("chat", say(&stuck, "inside")).await;
    let behind = bob.say("chat", say(&stuck, "behind it")).await;
    // To end a room that is stored is written, too, and its last one goes.
    let leave = dan.say("room.leave", json!({})).await;
    mood(Mood::Stuck, "");
    assert_eq!(bob.answer(behind).await["error"]["code"], "not-stored");
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    let _ = dan.answer(leave).await;
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    assert_eq!(dan.fail("signal", json!({"room": going, "kind": "offer", "data": 1})).await, "not-a-member");
    // Everywhere else it is said at once, and who goes is gone.
    let begun = tokio::time::Instant::now();
    assert_eq!(eve.fail("chat", say(&other, "hi")).await, "not-stored");
    assert_eq!(eve.fail("room.ban", json!({"room": other, "userId": "bob"})).await, "not-stored");
    assert_eq!(bob.event("room.closed").await["reason"], "kicked");
    assert_eq!(begun.elapsed(), Duration::ZERO);
    // Nothing is said of what is not known; signals pass.
    assert_eq!(eve.ask("signal", json!({"room": stuck, "kind": "offer", "data": 2})).await["ok"], true);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(eve.events("chat").await.is_empty());
    mood(Mood::Well, "");
    assert_eq!(ada.answer(inside).await["ok"], true);
    assert_eq!(eve.event("chat").await["text"], "inside");
    assert_eq!(bob.ask("chat", say(&stuck, "behind it")).await["ok"], true);
}

#[tokio::test(start_paused = true)]
async fn who_is_let_in_after_its_connection_has_ended_does_not_stay() {
    let (ledger, mood) = moody();
    let house = house_over(settings(), ledger, [7; 32]).await;
    let mut ada = Client::user(&house, "ada").await;
    let room = channel(&mut ada, "slow").await;
    // A newcomer's joining is written, and takes longer than its end waits for.
    mood(Mood::Late(Duration::from_secs(20)), "");
    let mut bob = Client::user(&house, "bob").await;
    bob.say("room.join", json!({"room": room})).await;
    bob.breaks().await;
    ada.event("room.peer-joined").await;
    ada.event("room.peer-away").await;
    assert_eq!(ada.event("room.peer-left").await["reason"], "lost");
    assert_eq!(house.signaling.stats().peers, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_due_while_a_room_waits_for_the_disk_is_done_after_it_and_elsewhere_in_time() {
    let (ledger, mood) = moody();
    let house =
        house_over(Settings { ping_interval: Duration::from_secs(1), ..settings() }, ledger, [7; 32]).await;
    let (mut ada, mut bob) = (Client::user(&house, "ada").await, Client::user(&house, "bob").await);
    let room = channel(&mut ada, "slow").await;
    bob.join(&room).await;
    let (mut eve, mut carol) = (Client::user(&house, "eve").await, Client::user(&house, "carol").await);
    for client in [&mut eve, &mut carol] {
        client.join("plain").await;
    }
    bob.breaks().await;
    ada.event("room.peer-away").await;
    carol.breaks().await;
    // Somebody else's time is over meanwhile, too.
    let elsewhere = tokio::spawn(async move {
        let begun = tokio::time::Instant::now();
        eve.event("room.peer-left").await;
        begun.elapsed()
    });
    // Bob's time is over while something is being written.
    let later = tokio::time::Instant::now() + Duration::from_secs(25);
    while tokio::time::Instant::now() < later {
        // The next ping, at the latest.
        ada.poll("a ping").await;
    }
    mood(Mood::Late(Duration::from_secs(20)), "");
    let begun = tokio::time::Instant::now();
    assert_eq!(ada.ask("chat", say(&room, "hi")).await["ok"], true);
    assert_eq!(ada.event("room.peer-left").await["reason"], "lost");
    assert!((20_000..20_500).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    let elsewhere = elsewhere.await.unwrap();
    assert!((29_000..31_000).contains(&elsewhere.as_millis()), "{elsewhere:?}");
}

/// A newcomer of the community is told what was said before; until that is read it waits.
#[tokio::test(start_paused = true)]
async fn what_is_said_while_a_history_is_read_comes_after_it_and_a_room_may_end_meanwhile() {
    let (ledger, mood) = moody();
    let house = house_over(settings(), ledger, [7; 32]).await;
    let mut ada = Client::user(&house, "ada").await;
    let room = channel(&mut ada, "slow").await;
    ada.ask("chat", say(&room, "before")).await;
    mood(Mood::Late(Duration::from_secs(3)), "reading");
    let mut bob = Client::open(Way::Straight(house.router.clone()), &house, "&userId=bob").await;
    bob.hello("40").await;
    let join = bob.say("joinRoom", json!({"roomId": room})).await;
    ada.event("room.peer-joined").await;
    ada.ask("chat", say(&room, "meanwhile")).await;
    let joined = bob.answer(join).await;
    assert_eq!(joined["success"], true, "{joined}");
    let texts: Vec<_> = joined["messages"].as_array().unwrap().iter().map(|it| it["text"].clone()).collect();
    assert_eq!(texts, ["before"]);
    assert_eq!(bob.event("newMessage").await["text"], "meanwhile");
    // The room ends before the next one has read.
    let mut carol = Client::open(Way::Straight(house.router.clone()), &house, "&userId=carol").await;
    carol.hello("40").await;
    let join = carol.say("joinRoom", json!({"roomId": room})).await;
    ada.event("room.peer-joined").await;
    assert_eq!(ada.ask("room.delete", json!({"room": room})).await["ok"], true);
    let refused = carol.answer(join).await;
    assert_eq!(refused["success"], false, "{refused}");
    // It is in no room now, and may go to as many as anybody.
    let again = carol.ask("joinRoom", json!({"roomId": room})).await;
    assert_eq!(again["success"], false, "{again}");
    assert_eq!(house.signaling.stats().peers, 0);
    let other = ada.ask("room.create", json!({"kind": "channel"})).await["room"]["id"].clone();
    assert_eq!(carol.ask("joinRoom", json!({"roomId": other})).await["success"], true);
}

/// Its connection breaks while it waits, and it is back on another one before the history has been read.
#[tokio::test(start_paused = true)]
async fn who_comes_back_while_its_old_connection_waits_for_a_history_keeps_its_seat() {
    let (ledger, mood) = moody();
    let house = house_over(settings(), ledger, [7; 32]).await;
    let mut ada = Client::user(&house, "ada").await;
    let room = channel(&mut ada, "slow").await;
    mood(Mood::Late(Duration::from_secs(8)), "reading");
    let straight = || Way::Straight(house.router.clone());
    let mut old = Client::open(straight(), &house, "&userId=bob").await;
    old.hello("40").await;
    old.say("joinRoom", json!({"roomId": room})).await;
    let came = ada.event("room.peer-joined").await;
    let sid = old.sid.clone();
    old.breaks().await;
    // That it is gone is not kept waiting for the disk for ever.
    ada.event("room.peer-away").await;
    let mut new = Client::open(straight(), &house, &format!("&userId=bob&reconnecting={sid}")).await;
    new.hello("40").await;
    assert_eq!(new.event("joinedRoom").await["self"], came["peer"]["peerId"]);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(ada.ask("chat", say(&room, "hi")).await["ok"], true);
    assert_eq!(new.event("newMessage").await["text"], "hi");
    assert_eq!(ada.events("room.peer-away").await.len(), 0);
}

/// Both ask while something else is written: who comes by name finds the seat free, and it is not when its turn comes.
#[tokio::test(start_paused = true)]
async fn a_seat_that_is_taken_by_its_token_meanwhile_is_not_taken_by_its_old_connections_name() {
    let (ledger, mood) = moody();
    let house = house_over(settings(), ledger, [7; 32]).await;
    let (mut ada, mut ben) = (Client::user(&house, "ada").await, Client::user(&house, "ben").await);
    let room = channel(&mut ada, "slow").await;
    let (seat, sid) = (ben.join(&room).await, ben.sid.clone());
    ben.breaks().await;
    let mut again = Client::user(&house, "ben").await;
    mood(Mood::Late(Duration::from_secs(3)), "");
    let said = ada.say("chat", say(&room, "one")).await;
    let back = again.say("room.join", json!({"room": room, "resume": seat["resume"]})).await;
    let query = format!("&reconnecting={sid}");
    let mut tab = Client::open(Way::Straight(house.router.clone()), &house, &query).await;
    tab.hello(r#"40{"dialect":"native","userId":"ben"}"#).await;
    assert_eq!(ada.answer(said).await["ok"], true);
    assert_eq!(again.answer(back).await["resumed"], true);
    assert!(tab.events("room.admitted").await.is_empty());
    assert_eq!(again.ask("chat", say(&room, "still here")).await["ok"], true);
}

/// An inbox holds a megabyte, whatever it is of.
#[tokio::test]
async fn what_is_attached_to_what_waits_is_bounded() {
    let (ledger, mood) = moody();
    let house = house_over(settings(), ledger, [7; 32]).await;
    let mut ada = Client::user(&house, "ada").await;
    let stuck = channel(&mut ada, "stuck").await;
    mood(Mood::Silent, "never");
    ada.say("chat", say(&stuck, "never")).await;
    let acks = ada.throw(12).await;
    for ack in &acks[10..] {
        assert_eq!(ada.answer(*ack).await["error"]["code"], "too-many-requests");
    }
    assert_eq!(house.signaling.stats().drops[Drop::InboxFull as usize], 2);
}

/// Bob's connection, in a channel of ada's, and another one of his that names it.
async fn two_of_bobs(house: &House) -> (Client, String, Client, Client) {
    let mut ada = Client::user(house, "ada").await;
    let room = channel(&mut ada, "tea").await;
    let mut old = Client::user(house, "bob").await;
    old.join(&room).await;
    let query = format!("&userId=bob&reconnecting={}", old.sid);
    let mut new = Client::open(Way::Straight(house.router.clone()), house, &query).await;
    new.hello("40").await;
    (ada, room, old, new)
}

#[tokio::test(start_paused = true)]
async fn whoever_is_to_have_a_seat_gets_it_however_much_it_has_asked_for_meanwhile() {
    let (ledger, mood) = moody();
    let house = house_over(settings(), ledger, [7; 32]).await;
    let (_ada, _, old, mut new) = two_of_bobs(&house).await;
    mood(Mood::Late(Duration::from_secs(3)), "later");
    new.say("room.create", json!({"kind": "channel", "name": "later"})).await;
    new.post_all(&vec![r#"42["nonsense"]"#.to_owned(); 1030]).await;
    old.breaks().await;
    assert_eq!(new.event("room.admitted").await["resumed"], true);
}

#[tokio::test(start_paused = true)]
async fn what_was_said_before_a_connection_was_named_is_no_sign_of_life() {
    let (ledger, mood) = moody();
    let house = house_over(settings(), ledger, [7; 32]).await;
    let mut ada = Client::user(&house, "ada").await;
    let room = channel(&mut ada, "tea").await;
    let mut old = Client::user(&house, "bob").await;
    old.join(&room).await;
    mood(Mood::Late(Duration::from_secs(3)), "later");
    let made = old.say("room.create", json!({"kind": "channel", "name": "later"})).await;
    let said = old.say("chat", say(&room, "hi")).await;
    let query = format!("&userId=bob&reconnecting={}", old.sid);
    let mut new = Client::open(Way::Straight(house.router.clone()), &house, &query).await;
    new.hello("40").await;
    assert_eq!(old.answer(made).await["ok"], true);
    assert_eq!(old.answer(said).await["ok"], true);
    old.breaks().await;
    assert_eq!(new.event("room.admitted").await["resumed"], true);
}
