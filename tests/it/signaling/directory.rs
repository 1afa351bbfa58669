//! The directory: pages, searches, and who is told of its changes.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc;

use callgate::rooms::Absent;
use callgate::rooms::Command;
use callgate::rooms::Join;
use callgate::rooms::Message;
use callgate::rooms::Now;
use callgate::rooms::Room;
use callgate::rooms::Who;
use callgate::store::Answer;
use callgate::store::Call;
use callgate::store::Committed;
use callgate::store::Counts;
use callgate::store::Health;
use callgate::store::Place;
use callgate::store::Store;
use callgate::store::Ticket;

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

/// A store that can be made to stand still, and counts how many rooms are looked at.
struct Still {
    inner: Live,
    looks: AtomicUsize,
    /// The next look waits for this, but not for ever.
    until: Mutex<Option<mpsc::Receiver<()>>>,
    /// What became of that look.
    stands: Mutex<Stands>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stands {
    NotYet,
    Now,
    WentOn,
    NobodyCame,
}

impl Store for Still {
    fn look(&self, id: &RoomId, then: &mut dyn FnMut(Option<&Room>)) {
        self.looks.fetch_add(1, SeqCst);
        let until = self.until.lock().unwrap().take();
        if let Some(until) = until {
            *self.stands.lock().unwrap() = Stands::Now;
            let came = until.recv_timeout(Duration::from_secs(60));
            *self.stands.lock().unwrap() = if came.is_ok() { Stands::WentOn } else { Stands::NobodyCame };
        }
        self.inner.look(id, then);
    }

    fn commit<'a>(
        &self,
        id: &RoomId,
        command: &Command<'a>,
        now: Now,
        ticket: Option<Ticket>,
        then: &mut dyn FnMut(Result<Committed<'_>, Refusal>),
    ) -> Option<Ticket> {
        self.inner.commit(id, command, now, ticket, then)
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.inner.next_deadline()
    }

    fn due(&self, now: Instant) -> Vec<RoomId> {
        self.inner.due(now)
    }

    fn biggest(&self, most: usize) -> Vec<RoomId> {
        self.inner.biggest(most)
    }

    fn rooms_of(&self, user: &str, most: usize) -> Vec<RoomId> {
        self.inner.rooms_of(user, most)
    }

    fn invitations_of(&self, user: &str, most: usize) -> Vec<RoomId> {
        self.inner.invitations_of(user, most)
    }

    fn listed(&self, after: Option<&Place>, most: usize) -> Vec<Place> {
        self.inner.listed(after, most)
    }

    fn all(&self, after: Option<&Place>, most: usize) -> Vec<Place> {
        self.inner.all(after, most)
    }

    fn counts(&self) -> Counts {
        self.inner.counts()
    }

    fn history(&self, room: &RoomId, before: Option<PeerId>, most: usize) -> Answer<Vec<Message>> {
        self.inner.history(room, before, most)
    }

    fn calls(&self, room: Option<&RoomId>, before: Option<u64>, most: usize) -> Answer<Vec<(u64, Call)>> {
        self.inner.calls(room, before, most)
    }

    fn log(&self, call: Call) {
        self.inner.log(call);
    }

    fn health(&self) -> Health {
        self.inner.health()
    }

    fn flush(&self) -> Answer<()> {
        self.inner.flush()
    }
}

/// The runtime has one thread here; searches have their own.
#[tokio::test]
async fn among_many_rooms_neither_a_page_nor_a_search_holds_others_up() {
    let store = Arc::new(Still {
        inner: Live::volatile(settings().rules(), settings().limits()),
        looks: AtomicUsize::new(0),
        until: Mutex::new(None),
        stands: Mutex::new(Stands::NotYet),
    });
    let now = Now { at: Instant::now(), unix_ms: 1_000_000 };
    for n in 0..3_000_u64 {
        let mut peer = [7; 16];
        peer[..8].copy_from_slice(&n.to_be_bytes());
        let join = Join {
            absent: Some(Absent { kind: Kind::Room, listed: true }),
            peer: PeerId::new(peer),
            session: n,
            who: Who::default(),
            proven: false,
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
    let house = open(settings(), |parts| parts.store = store.clone()).await;
    let (mut ada, mut bob) = (Client::user(&house, "ada").await, Client::user(&house, "bob").await);
    bob.join("r").await;
    let looks = || store.looks.swap(0, SeqCst);
    looks();
    let page = ada.ask("room.list", json!({"limit": 100})).await;
    assert_eq!((page["rooms"].as_array().unwrap().len(), looks()), (100, 101));

    // A search in vain looks at so many and no more, and can be gone on with.
    let search = json!({"search": "nowhere to be found"});
    let page = ada.ask("room.list", search.clone()).await;
    assert_eq!((page["rooms"].as_array().unwrap().len(), looks()), (0, 2_000));
    assert!(page["cursor"].is_string(), "{page}");

    let (go_on, until_then) = mpsc::channel();
    *store.until.lock().unwrap() = Some(until_then);
    let asked = ada.say("room.list", search).await;
    until("it searches", || *store.stands.lock().unwrap() != Stands::NotYet).await;
    assert_eq!(bob.ask("chat", json!({"room": "r", "text": "hi"})).await["ok"], true);
    assert_eq!(*store.stands.lock().unwrap(), Stands::Now, "others had to wait for the search");
    // However many search: one after another, each is answered, and signals go past them.
    let mut others = Vec::new();
    for n in 0..20 {
        let mut other = Client::user(&house, &format!("searcher-{n}")).await;
        let asked = other.say("room.list", json!({"search": format!("length-{}", 2_900 + n)})).await;
        others.push((other, asked));
    }
    let mut carl = Client::user(&house, "carl").await;
    carl.join("r").await;
    looks();
    for n in 0..10 {
        bob.ask("signal", json!({"room": "r", "kind": "candidate", "data": n})).await;
        assert_eq!(carl.event("signal").await["data"], n);
    }
    assert_eq!(*store.stands.lock().unwrap(), Stands::Now, "others had to wait for the searches");
    assert_eq!(looks(), 0, "one at a time");
    go_on.send(()).unwrap();
    assert_eq!(ada.answer(asked).await["ok"], true);
    for (mut other, asked) in others {
        let page = other.answer(asked).await;
        assert_eq!(
            (&page["ok"], page["rooms"].as_array().map(Vec::is_empty)),
            (&json!(true), Some(false)),
            "{page}"
        );
    }
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

#[tokio::test(start_paused = true)]
async fn whoever_watches_hears_nothing_of_an_unlisted_room_that_takes_a_listed_ones_name() {
    let house = house(settings()).await;
    let (mut ada, mut eve) = (Client::user(&house, "ada").await, Client::user(&house, "eve").await);
    let mut bob = Client::open(Way::Straight(house.router.clone()), &house, "").await;
    bob.hello(r#"40{"dialect":"call"}"#).await;
    eve.ask("room.list", json!({})).await;
    let made = ada.ask("room.create", json!({"private": false, "kind": "channel"})).await;
    let id = made["room"]["id"].as_str().unwrap();
    eve.event("room.available").await;
    ada.ask("room.delete", json!({"room": id})).await;
    bob.post(&format!("42{}", json!(["join", {"roomId": id}]))).await;
    bob.event("joined").await;
    assert_eq!(eve.event("room.removed").await, json!({"room": id}));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(eve.events("room.updated").await.is_empty());
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
