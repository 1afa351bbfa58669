//! The directory: pages, searches, and who is told of its changes.

use callgate::rooms::Absent;
use callgate::rooms::Command;
use callgate::rooms::Join;
use callgate::rooms::Now;
use callgate::rooms::Who;
use callgate::store::Store;

use super::*;

fn names(page: &Value) -> Vec<&str> {
    page["rooms"].as_array().unwrap().iter().map(|room| room["name"].as_str().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn the_directory_is_read_in_pages_newest_first_and_searched() {
    let house = house(settings()).await;
    let mut ada = Client::user(&house, "ada").await;
    for n in 0..5 {
        let made = json!({"private": false, "name": format!("Tea {n}"), "description": "of the house"});
        ada.ask("room.create", made).await;
        // Rooms are told apart by the time they were made at, and then by id.
        std::thread::sleep(Duration::from_millis(2));
    }
    ada.ask("room.create", json!({"private": true, "name": "Secret tea"})).await;
    ada.ask("room.create", json!({"name": "Unlisted tea"})).await;
    ada.ask("room.create", json!({"private": false, "name": "Coffee", "password": "x"})).await;
    let page = ada.ask("room.list", json!({"limit": 4})).await;
    assert_eq!(names(&page), ["Coffee", "Tea 4", "Tea 3", "Tea 2"]);
    assert_eq!((&page["rooms"][0]["hasPassword"], &page["rooms"][0]["count"]), (&json!(true), &json!(0)));
    let next = ada.ask("room.list", json!({"limit": 4, "cursor": page["cursor"]})).await;
    assert_eq!(names(&next), ["Tea 1", "Tea 0"]);
    assert!(next.get("cursor").is_none(), "{next}");
    for (search, found) in [("TEA", 5), ("coff", 1), ("of the HOUSE", 5), ("secret", 0), ("", 6)] {
        let page = ada.ask("room.list", json!({"search": search})).await;
        assert_eq!(names(&page).len(), found, "{search}");
    }
    for bad in [json!({"cursor": "x"}), json!({"limit": "all"}), json!({"cursor": 7})] {
        assert_eq!(ada.fail("room.list", bad).await, "bad-request");
    }
    assert_eq!(ada.ask("room.list", json!({"limit": 1_000_000})).await["ok"], true);
    assert_eq!(ada.fail("room.list", json!({"search": "x".repeat(600)})).await, "bad-request");
    // A page that ends with the last of them says so.
    for all in
        [json!({"limit": 6}), json!({"limit": 5, "search": "tea"}), json!({"limit": 1, "search": "coffee"})]
    {
        let page = ada.ask("room.list", all).await;
        assert!(
            page["rooms"].as_array().is_some_and(|rooms| !rooms.is_empty()) && page.get("cursor").is_none(),
            "{page}"
        );
    }
    let page = ada.ask("room.list", json!({"limit": 4, "search": "tea"})).await;
    let next = ada.ask("room.list", json!({"limit": 4, "search": "tea", "cursor": page["cursor"]})).await;
    assert_eq!(names(&next), ["Tea 0"]);
}

/// For how long the runtime was held at most, without a break, while this was done; and how often others had their turn.
async fn held<R>(done: impl Future<Output = R>) -> (Duration, usize) {
    let seen = Arc::new(Mutex::new((Duration::ZERO, 0)));
    let looks = Arc::clone(&seen);
    let watch = tokio::spawn(async move {
        loop {
            let begun = Instant::now();
            tokio::task::yield_now().await;
            let mut seen = looks.lock().unwrap();
            *seen = (begun.elapsed().max(seen.0), seen.1 + 1);
        }
    });
    // It is looked before and after.
    tokio::task::yield_now().await;
    done.await;
    tokio::task::yield_now().await;
    watch.abort();
    *seen.lock().unwrap()
}

/// The runtime has one thread here; searches have their own.
#[tokio::test]
async fn among_a_hundred_thousand_rooms_neither_a_page_nor_a_search_holds_others_up() {
    let store = Arc::new(Live::volatile(settings().rules(), settings().limits()));
    let now = Now { at: Instant::now(), unix_ms: 1_000_000 };
    for n in 0..100_000_u64 {
        let mut peer = [7; 16];
        peer[..8].copy_from_slice(&n.to_be_bytes());
        let join = Join {
            absent: Some(Absent { kind: Kind::Room, listed: true }),
            peer: PeerId::new(peer),
            session: n,
            who: Who::default(),
            password: None,
            maker: 0,
            customer: 0,
        };
        let id = RoomId::parse(&format!("a-room-with-a-name-of-some-length-{n}")).unwrap();
        let now = Now { unix_ms: now.unix_ms + n, ..now };
        assert!(
            store.commit(&id, &Command::Join(join), now, None, &mut |done| assert!(done.is_ok())).is_none()
        );
    }
    let house = open(settings(), |parts| parts.store = store).await;
    let mut ada = Client::user(&house, "ada").await;
    // The best of some: others are at work on this machine, too.
    let mut cost = async |body: Value| {
        let (mut least, mut turns) = (Duration::MAX, 0);
        for _ in 0..7 {
            let asked = async { assert_eq!(ada.ask("room.list", body.clone()).await["ok"], true) };
            let (held, others) = held(asked).await;
            (least, turns) = (least.min(held), others.max(turns));
        }
        (least, turns)
    };
    let hundred = cost(json!({"limit": 100})).await;
    // Two thousand are looked at for it.
    let search = cost(json!({"search": "nowhere to be found"})).await;
    eprintln!("held by a page of a hundred, and by a search in vain: {hundred:?} {search:?}");
    assert!(search.1 > hundred.1 + 20, "others had {} turns while it was searched", search.1);
}

#[tokio::test(start_paused = true)]
async fn who_has_asked_hears_of_rooms_that_come_change_and_go() {
    let house = house(settings()).await;
    let (mut ada, mut eve) = (Client::user(&house, "ada").await, Client::user(&house, "eve").await);
    let mut deaf = Client::user(&house, "deaf").await;
    eve.ask("room.list", json!({})).await;
    let made = ada.ask("room.create", json!({"private": false, "name": "Tea"})).await;
    let id = made["room"]["id"].as_str().unwrap().to_owned();
    let heard = eve.event("room.available").await;
    assert_eq!((&heard["room"]["id"], &heard["room"]["count"]), (&json!(id), &json!(0)));
    ada.join(&id).await;
    assert_eq!(eve.event("room.updated").await["room"]["count"], 1);
    // What is said in it is no news to others.
    ada.ask("chat", json!({"room": id, "text": "hi"})).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(eve.events("room.updated").await.is_empty());
    ada.ask("room.leave", json!({"room": id})).await;
    assert_eq!(eve.event("room.removed").await, json!({"room": id}));
    // Nobody hears of what is not listed, or comes and goes at once.
    let made = ada.ask("room.create", json!({"private": true})).await;
    ada.ask("room.delete", json!({"room": made["room"]["id"]})).await;
    let made = ada.ask("room.create", json!({"private": false})).await;
    ada.ask("room.delete", json!({"room": made["room"]["id"]})).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for event in ["room.available", "room.updated", "room.removed"] {
        assert!(eve.events(event).await.is_empty(), "{event}");
        assert!(deaf.events(event).await.is_empty(), "{event}");
    }
}

/// A busy room is told of five times a second, however many come and go.
#[tokio::test(start_paused = true)]
async fn changes_are_gathered() {
    let house = house(settings()).await;
    let (mut ada, mut eve) = (Client::user(&house, "ada").await, Client::user(&house, "eve").await);
    let made = ada.ask("room.create", json!({"private": false, "kind": "channel"})).await;
    let id = made["room"]["id"].as_str().unwrap();
    eve.ask("room.list", json!({})).await;
    for _ in 0..50 {
        ada.join(id).await;
        ada.ask("room.leave", json!({"room": id})).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let told = eve.events("room.updated").await.len();
    assert!((1..=5).contains(&told), "{told}");
}
