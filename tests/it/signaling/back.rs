//! Who comes back, and to which seat: its own, kept for a while, and nobody else's.

use super::*;

/// From that address, within the process; in the dialect of calls.
async fn from(house: &House, address: &str, query: &str) -> Client {
    let from = Visitor::new(SocketAddr::new(address.parse().unwrap(), 9));
    let way = Way::Straight(house.router.clone().layer(axum::Extension(from)));
    let mut client = Client::open(way, house, query).await;
    client.hello("40").await;
    client
}

/// Joins a call; the event that answers.
async fn call(client: &mut Client, answer: &str) -> Value {
    client.post(r#"42["join",{"roomId":"c"}]"#).await;
    client.event(answer).await
}

#[tokio::test(start_paused = true)]
async fn a_seat_kept_in_a_full_call_is_taken_from_the_same_address_and_from_no_other() {
    let house = house(settings()).await;
    let mut ada = from(&house, "203.0.113.1", "").await;
    call(&mut ada, "joined").await;
    let mut bob = from(&house, "2001:db8:1:2::1", "").await;
    let seat = call(&mut bob, "joined").await;
    bob.breaks().await;
    for stranger in ["203.0.113.2", "203.0.113.1", "2001:db8:1:3::1", "127.0.0.1"] {
        call(&mut from(&house, stranger, "").await, "full").await;
    }
    // The page is loaded again; its IPv6 address is another one of the same.
    let mut bob = from(&house, "2001:db8:1:2:ffff::1", "").await;
    assert_ne!(call(&mut bob, "joined").await["self"], seat["self"]);
    assert_eq!(ada.event("peer-left").await["peerId"], seat["self"]);
}

#[tokio::test(start_paused = true)]
async fn on_one_machine_and_behind_a_proxy_a_page_that_is_loaded_again_gets_in_as_well() {
    let house = house(settings()).await;
    let (mut ada, mut bob) =
        (from(&house, "127.0.0.1", "").await, from(&house, "::ffff:127.0.0.1", "").await);
    call(&mut ada, "joined").await;
    call(&mut bob, "joined").await;
    bob.breaks().await;
    call(&mut from(&house, "203.0.113.1", "").await, "full").await;
    call(&mut from(&house, "::1", "").await, "joined").await;
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_and_loads_the_page_again_does_not_keep_the_other_out() {
    let house = house(settings()).await;
    let mut ada = from(&house, "203.0.113.1", "").await;
    call(&mut ada, "joined").await;
    ada.breaks().await;
    let mut ada = from(&house, "203.0.113.1", "").await;
    call(&mut ada, "joined").await;
    let mut bob = from(&house, "203.0.113.2", "").await;
    assert_eq!(call(&mut bob, "joined").await["peers"].as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_users_seat_is_the_users_wherever_it_comes_from() {
    let house = house(settings()).await;
    let mut ada = from(&house, "203.0.113.1", "&userId=ada&dialect=call").await;
    call(&mut ada, "joined").await;
    let bobs = "&userId=bob&dialect=call";
    let mut bob = from(&house, "203.0.113.2", bobs).await;
    call(&mut bob, "joined").await;
    bob.breaks().await;
    call(&mut from(&house, "203.0.113.2", "").await, "full").await;
    call(&mut from(&house, "203.0.113.2", "&userId=eve&dialect=call").await, "full").await;
    call(&mut from(&house, "203.0.113.3", bobs).await, "joined").await;
}

/// A page of the community: what it names, and who it says it is.
async fn page(house: &House, user: &str, before: &str) -> Client {
    let query = format!("&userId={user}&reconnecting={before}");
    let mut client = Client::open(Way::Straight(house.router.clone()), house, &query).await;
    client.hello("40").await;
    client
}

/// Ben's room, with a friend in it who hears what becomes of ben, and ben's seat.
async fn company(house: &House) -> (String, Client, Client, Value) {
    let mut ada = Client::user(house, "ada").await;
    let room = ada.ask("room.create", json!({"kind": "channel"})).await["room"]["id"].clone();
    let room = room.as_str().unwrap().to_owned();
    ada.join(&room).await;
    let mut ben = page(house, "ben", "").await;
    let seat = ben.ask("joinRoom", json!(room)).await;
    assert_eq!(seat["success"], true, "{seat}");
    ben.event("joinedRoom").await;
    (room, ada, ben, seat)
}

async fn names(client: &mut Client, kinds: &[&str]) -> Vec<String> {
    let mut heard = Vec::new();
    for kind in kinds {
        heard.extend(client.events(kind).await.iter().map(|_| (*kind).to_owned()));
    }
    heard
}

const COMINGS: [&str; 4] = ["room.peer-joined", "room.peer-away", "room.peer-reconnected", "room.peer-left"];

#[tokio::test(start_paused = true)]
async fn a_second_tab_that_names_the_connection_of_the_first_does_not_take_its_seat() {
    let house = house(settings()).await;
    let (room, mut ada, mut first, _) = company(&house).await;
    ada.event("room.peer-joined").await;
    let mut second = page(&house, "ben", &first.sid).await;
    // What it says is heard at once.
    let said = json!({"roomId": room, "message": "one"});
    assert_eq!(second.fail("chatMessage", said).await, "not-a-member");
    // Well beyond the time in which a dead connection is found out.
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(45) {
        tokio::join!(first.poll("a ping"), second.poll("a ping"), ada.poll("a ping"));
    }
    let said = first.ask("chatMessage", json!({"roomId": room, "message": "two"})).await;
    assert_eq!(said["success"], true, "{said}");
    assert!(names(&mut ada, &COMINGS).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_found_dead_leaves_its_seat_to_who_has_named_it() {
    let house = house(settings()).await;
    let (room, ada, old, seat) = company(&house).await;
    let ada = ada.stays();
    // The last sign of life.
    let mut old = old;
    old.poll("a ping").await;
    let begun = tokio::time::Instant::now();
    let mut new = page(&house, "ben", &old.sid).await;
    // Nothing is held up.
    let said = json!({"roomId": room, "message": "one"});
    assert_eq!(new.fail("chatMessage", said).await, "not-a-member");
    assert!(new.events("joinedRoom").await.is_empty());
    assert_eq!(begun.elapsed(), Duration::ZERO);
    let back = new.event("joinedRoom").await;
    assert_eq!((&back["resumed"], &back["self"]), (&json!(true), &seat["self"]), "{back}");
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(9) && took <= Duration::from_secs(20), "{took:?}");
    assert_eq!(new.ask("chatMessage", json!({"roomId": room, "message": "back"})).await["success"], true);
    ada.task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_loaded_again_has_its_seat_at_once_whichever_is_noticed_first() {
    let house = house(settings()).await;
    let (room, mut ada, mut old, seat) = company(&house).await;
    ada.event("room.peer-joined").await;
    for before in [true, false, true] {
        let (sid, begun) = (old.sid.clone(), tokio::time::Instant::now());
        let mut new = if before {
            old.breaks().await;
            page(&house, "ben", &sid).await
        } else {
            let new = page(&house, "ben", &sid).await;
            old.breaks().await;
            new
        };
        assert_eq!(new.event("joinedRoom").await["self"], seat["self"]);
        assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
        assert_eq!(names(&mut ada, &COMINGS).await, ["room.peer-away", "room.peer-reconnected"]);
        old = new;
    }
    assert_eq!(old.ask("chatMessage", json!({"roomId": room, "message": "hi"})).await["success"], true);
}

/// socket.io's client repeats its query: until the page is loaded again, it names the same one whenever it comes back.
#[tokio::test(start_paused = true)]
async fn a_page_that_names_the_same_connection_every_time_has_its_seat_every_time() {
    let house = house(settings()).await;
    let (room, mut ada, mut old, seat) = company(&house).await;
    ada.event("room.peer-joined").await;
    let first = old.sid.clone();
    for _ in 0..3 {
        old.breaks().await;
        let mut new = page(&house, "ben", &first).await;
        assert_eq!(new.event("joinedRoom").await["self"], seat["self"]);
        assert_eq!(names(&mut ada, &COMINGS).await, ["room.peer-away", "room.peer-reconnected"]);
        old = new;
    }
    // The one before the last is as good a name, and nobody else's.
    let last = old.sid.clone();
    let mut eve = page(&house, "eve", &first).await;
    old.breaks().await;
    assert!(eve.events("joinedRoom").await.is_empty());
    let mut new = page(&house, "ben", &last).await;
    assert_eq!(new.event("joinedRoom").await["self"], seat["self"]);
    // Its heir lives: naming it takes nothing.
    let mut tab = page(&house, "ben", &first).await;
    assert_eq!(new.ask("chatMessage", json!({"roomId": room, "message": "hi"})).await["success"], true);
    assert!(tab.events("joinedRoom").await.is_empty());
}

/// Whoever named one in vain is not meant by its name.
#[tokio::test(start_paused = true)]
async fn who_has_taken_nothing_is_nobodys_heir() {
    let house = house(settings()).await;
    let (room, _ada, old, seat) = company(&house).await;
    let mut eve = page(&house, "eve", &old.sid).await;
    assert_eq!(eve.ask("joinRoom", json!(room)).await["success"], true);
    let first = old.sid.clone();
    old.breaks().await;
    let mut new = page(&house, "ben", &first).await;
    assert_eq!(new.event("joinedRoom").await["self"], seat["self"]);
}

#[tokio::test(start_paused = true)]
async fn who_shows_that_it_is_alive_keeps_its_seat_for_its_own_return() {
    let house = house(settings()).await;
    let (room, _ada, mut first, seat) = company(&house).await;
    let mut second = page(&house, "ben", &first.sid).await;
    let said = first.ask("chatMessage", json!({"roomId": room, "message": "still here"})).await;
    assert_eq!(said["success"], true);
    let sid = first.sid.clone();
    first.breaks().await;
    assert!(second.events("joinedRoom").await.is_empty(), "it has shown life");
    let mut again = page(&house, "ben", &sid).await;
    assert_eq!(again.event("joinedRoom").await["self"], seat["self"]);
}

#[tokio::test(start_paused = true)]
async fn the_last_to_name_a_connection_has_its_seats_and_no_other_user_has() {
    let house = house(settings()).await;
    let (_, _ada, first, seat) = company(&house).await;
    let mut one = page(&house, "ben", &first.sid).await;
    let mut two = page(&house, "ben", &first.sid).await;
    let mut eve = page(&house, "eve", &first.sid).await;
    first.breaks().await;
    assert_eq!(two.event("joinedRoom").await["self"], seat["self"]);
    assert!(one.events("joinedRoom").await.is_empty() && eve.events("joinedRoom").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_has_joined_by_itself_meanwhile_gives_its_seat_of_before_up() {
    let house = house(settings()).await;
    let (room, mut ada, old, before) = company(&house).await;
    ada.event("room.peer-joined").await;
    let mut new = page(&house, "ben", &old.sid).await;
    let seat = new.ask("joinRoom", json!(room)).await;
    assert_ne!(seat["self"], before["self"], "the old one may be alive");
    new.event("joinedRoom").await;
    assert_eq!(names(&mut ada, &COMINGS).await, ["room.peer-joined"]);
    old.breaks().await;
    assert!(new.events("joinedRoom").await.is_empty());
    let left = ada.event("room.peer-left").await;
    assert_eq!(left["peerId"], before["self"]);
    // The user is there all the time.
    assert!(new.events("userLeft").await.is_empty());
    assert_eq!(new.ask("chatMessage", json!({"roomId": room, "message": "hi"})).await["success"], true);
}

/// In dialects that do not count, what was handed to a dead transport may be lost; what waits on our side is not.
#[tokio::test(start_paused = true)]
async fn what_waited_for_a_connection_goes_to_the_one_that_takes_its_seat_over() {
    let house = house(settings()).await;
    let (mut ada, old) = (Client::user(&house, "ada").await, from(&house, "203.0.113.1", "").await);
    let mut old = old;
    ada.join("r").await;
    old.post(r#"42["join",{"roomId":"r"}]"#).await;
    let seat = old.event("joined").await;
    for n in 0..200 {
        let said = json!({"room": "r", "kind": "candidate", "data": n});
        assert_eq!(ada.ask("signal", said).await["ok"], true);
    }
    let mut new = from(&house, "203.0.113.1", "").await;
    new.post(&format!("42{}", json!(["join", {"roomId": "r", "resume": seat["resume"]}]))).await;
    assert_eq!(new.event("joined").await["resumed"], true);
    ada.ask("signal", json!({"room": "r", "kind": "candidate", "data": 200})).await;
    let mut heard = Vec::new();
    while heard.last() != Some(&200) {
        heard.push(new.event("ice-candidate").await["candidate"].as_u64().unwrap());
    }
    assert!(heard.len() > 100, "{heard:?}");
    assert!(heard.is_sorted_by(|a, b| a + 1 == *b), "{heard:?}");
    assert_eq!(house.signaling.stats().drops.iter().sum::<u64>(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_seat_that_was_taken_again_by_its_token_is_not_taken_by_its_old_connections_name() {
    let house = house(settings()).await;
    let mut ben = Client::user(&house, "ben").await;
    let seat = ben.join("r").await;
    let sid = ben.sid.clone();
    ben.breaks().await;
    let mut again = Client::user(&house, "ben").await;
    let back = again.ask("room.join", json!({"room": "r", "resume": seat["resume"]})).await;
    assert_eq!(back["resumed"], true, "{back}");
    let mut tab = page(&house, "ben", &sid).await;
    assert!(tab.events("room.admitted").await.is_empty());
    let said = again.ask("chat", json!({"room": "r", "text": "still here"})).await;
    assert_eq!(said["ok"], true, "{said}");
}
