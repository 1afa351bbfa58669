//! Lanes and questions under a clock that jumps, with receivers that do what the test says.

use std::collections::VecDeque;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use serde_json::json;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio::time::sleep;

use super::carrier::Answer;
use super::carrier::Failure;
use super::carrier::Reply;
use super::lanes::LANE;
use super::lanes::LANES;
use super::lanes::TRIES;
use super::*;

/// What a receiver does with a message.
#[derive(Clone, Copy)]
enum Does {
    Says(u16),
    SaysLater(u16, u64),
    /// Takes so many milliseconds.
    Slow(u64),
    Hangs,
    Breaks,
}

/// Notes what it gets and when, and does as it is told; takes what it was told nothing about.
#[derive(Default)]
struct Receiver {
    got: Mutex<Vec<(Instant, Value)>>,
    does: Mutex<VecDeque<Does>>,
    then: Mutex<Option<Does>>,
    at_work: AtomicUsize,
    most_at_work: AtomicUsize,
    answer: &'static str,
}

impl Receiver {
    fn told(does: impl IntoIterator<Item = Does>) -> Arc<Receiver> {
        Arc::new(Receiver { does: Mutex::new(does.into_iter().collect()), ..Receiver::default() })
    }

    fn always(does: Does) -> Arc<Receiver> {
        Arc::new(Receiver { then: Mutex::new(Some(does)), ..Receiver::default() })
    }

    fn numbers(&self) -> Vec<i64> {
        self.got.lock().unwrap().iter().map(|(_, body)| body["n"].as_i64().unwrap()).collect()
    }

    fn times(&self) -> Vec<Instant> {
        self.got.lock().unwrap().iter().map(|(at, _)| *at).collect()
    }
}

/// Somebody who may be sent away before it is done.
struct AtWork<'a>(&'a Receiver);

impl AtWork<'_> {
    fn new(receiver: &Receiver) -> AtWork<'_> {
        let now = receiver.at_work.fetch_add(1, Relaxed) + 1;
        receiver.most_at_work.fetch_max(now, Relaxed);
        AtWork(receiver)
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.at_work.fetch_sub(1, Relaxed);
    }
}

struct To(Arc<Receiver>);

impl Carrier for To {
    fn post<'a>(&'a self, _: &'static str, body: &'a Bytes) -> Reply<'a> {
        Box::pin(async move {
            let it = &self.0;
            it.got.lock().unwrap().push((Instant::now(), serde_json::from_slice(body).unwrap()));
            let _at_work = AtWork::new(it);
            let does = it.does.lock().unwrap().pop_front().or(*it.then.lock().unwrap());
            let body = Bytes::from_static(it.answer.as_bytes());
            let says = |status, retry_after| Ok(Answer { status, retry_after, body });
            match does {
                None => says(200, None),
                Some(Does::Says(status)) => says(status, None),
                Some(Does::SaysLater(status, s)) => says(status, Some(Duration::from_secs(s))),
                Some(Does::Slow(ms)) => {
                    sleep(Duration::from_millis(ms)).await;
                    says(200, None)
                }
                Some(Does::Hangs) => {
                    sleep(Duration::from_secs(3)).await;
                    Err(Failure("no answer in time".into()))
                }
                Some(Does::Breaks) => Err(Failure("no connection".into())),
            }
        })
    }

    fn name(&self) -> &str {
        "receiver"
    }
}

fn webhooks(receivers: &[&Arc<Receiver>]) -> Webhooks {
    let carriers = receivers.iter().map(|receiver| Arc::new(To(Arc::clone(receiver))) as Arc<dyn Carrier>);
    Webhooks::with(carriers.collect(), Vec::new(), None)
}

async fn settled(webhooks: &Webhooks) -> Stats {
    while webhooks.stats().waiting > 0 {
        sleep(Duration::from_millis(50)).await;
    }
    webhooks.stats()
}

fn tell(webhooks: &Webhooks, room: &str, n: usize) {
    webhooks.tell(room, "peer.joined", json!({ "n": n }));
}

#[tokio::test(start_paused = true)]
async fn a_message_says_what_happened_where_and_when() {
    let (one, other) = (Receiver::told([]), Receiver::told([Does::Says(500)]));
    let webhooks = webhooks(&[&one, &other]);
    webhooks.tell("tea", "peer.left", json!({ "reason": "left", "room": "not this one" }));
    settled(&webhooks).await;
    let first = one.got.lock().unwrap()[0].1.clone();
    assert_eq!(
        (&first["type"], &first["room"], &first["reason"]),
        (&json!("peer.left"), &json!("tea"), &json!("left"))
    );
    assert!(first["at"].as_u64().unwrap().abs_diff(unix_ms()) < 60_000);
    let got = other.got.lock().unwrap();
    assert_eq!(got.len(), 2);
    assert!(got.iter().all(|(_, again)| *again == first), "the same for everybody, each time: {got:?}");
}

#[tokio::test(start_paused = true)]
async fn a_rooms_events_arrive_in_order_through_failures_and_slow_answers() {
    let kinds =
        [Does::Says(503), Does::Slow(700), Does::Breaks, Does::Hangs, Does::Says(200), Does::Says(429)];
    let receiver = Receiver::told((0..60).map(|n| kinds[n * n % 7 % kinds.len()]));
    let webhooks = webhooks(&[&receiver]);
    (0..40).for_each(|n| tell(&webhooks, "tea", n));
    let stats = settled(&webhooks).await;
    assert_eq!((stats.delivered, stats.failed, stats.dropped), (40, 0, 0));
    assert!(stats.retried > 10, "{stats:?}");
    let mut numbers = receiver.numbers();
    assert!(numbers.is_sorted(), "{numbers:?}");
    numbers.dedup();
    assert_eq!(numbers, (0..40).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn tries_are_further_and_further_apart_and_come_to_an_end() {
    let receiver = Receiver::always(Does::Says(500));
    let webhooks = webhooks(&[&receiver]);
    tell(&webhooks, "tea", 0);
    let stats = settled(&webhooks).await;
    assert_eq!((stats.failed, stats.retried), (1, u64::from(TRIES) - 1));
    let times = receiver.times();
    for (pair, longest) in times.windows(2).zip([1.0, 3.0, 9.0, 27.0, 81.0, 243.0, 300.0]) {
        let pause = (pair[1] - pair[0]).as_secs_f64();
        assert!(pause >= longest / 2.0 - 0.01 && pause <= longest + 0.01, "{pause} of {longest}");
    }
    assert_eq!(times.len(), TRIES as usize);
}

#[tokio::test(start_paused = true)]
async fn a_receivers_own_pause_is_kept_within_bounds() {
    let receiver = Receiver::told([Does::SaysLater(429, 40), Does::SaysLater(503, 100_000)]);
    let webhooks = webhooks(&[&receiver]);
    tell(&webhooks, "tea", 0);
    assert_eq!(settled(&webhooks).await.delivered, 1);
    let times = receiver.times();
    assert_eq!((times[1] - times[0]).as_secs(), 40);
    assert_eq!((times[2] - times[1]).as_secs(), 300);
}

#[tokio::test(start_paused = true)]
async fn what_a_receiver_refuses_is_not_sent_again() {
    let refusals = [301, 302, 307, 400, 401, 404, 410, 422];
    let receiver = Receiver::told(refusals.map(Does::Says));
    let webhooks = webhooks(&[&receiver]);
    (0..=refusals.len()).for_each(|n| tell(&webhooks, "tea", n));
    let stats = settled(&webhooks).await;
    assert_eq!((stats.failed, stats.delivered, stats.retried), (refusals.len() as u64, 1, 0));
    assert_eq!(receiver.got.lock().unwrap().len(), refusals.len() + 1);
}

#[tokio::test(start_paused = true)]
async fn a_dead_receiver_holds_up_neither_the_teller_nor_another_receiver() {
    let (dead, alive) = (Receiver::always(Does::Hangs), Receiver::told([]));
    let webhooks = webhooks(&[&dead, &alive]);
    let begun = Instant::now();
    let rooms = 200;
    for n in 0..LANES * LANE * 2 {
        tell(&webhooks, &format!("room-{}", n % rooms), n);
        if n % LANE == 0 {
            // Lets the other one take them.
            sleep(Duration::from_millis(1)).await;
        }
    }
    sleep(Duration::from_millis(1)).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "telling takes no time");
    let stats = webhooks.stats();
    assert_eq!(stats.delivered, (LANES * LANE * 2) as u64);
    assert!(stats.waiting <= (LANES * (LANE + 1)) as u64 && stats.waiting > 1000, "{stats:?}");
    assert_eq!(stats.dropped + stats.waiting, (LANES * LANE * 2) as u64);
    assert!(dead.most_at_work.load(Relaxed) <= LANES);
    // What is older than an hour is not worth a try: the queue is empty long before each had all its tries.
    let begun = Instant::now();
    let stats = settled(&webhooks).await;
    assert!(begun.elapsed() < Duration::from_secs(2 * 3600), "{:?}", begun.elapsed());
    assert_eq!((stats.failed + stats.dropped, stats.waiting), ((LANES * LANE * 2) as u64, 0));
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_bounded_in_bytes_too() {
    let receiver = Receiver::always(Does::Hangs);
    let webhooks = webhooks(&[&receiver]);
    let big = "x".repeat(1 << 20);
    (0..20).for_each(|n| webhooks.tell(&format!("r{n}"), "chat.message", json!({ "n": n, "text": big })));
    let stats = webhooks.stats();
    assert_eq!((stats.waiting, stats.dropped), (7, 13));
}

#[tokio::test(start_paused = true)]
async fn at_the_end_each_has_one_more_try_for_as_long_as_there_is_time() {
    let receiver = Receiver::told([Does::Says(500), Does::Says(500), Does::Slow(500)]);
    let webhooks = webhooks(&[&receiver]);
    (0..3).for_each(|n| tell(&webhooks, "tea", n));
    sleep(Duration::from_millis(10)).await;
    let begun = Instant::now();
    webhooks.close(Duration::from_secs(3)).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "nobody pauses any more: {:?}", begun.elapsed());
    assert_eq!(receiver.numbers(), [0, 0, 1, 2]);
    let stats = webhooks.stats();
    assert_eq!((stats.delivered, stats.failed, stats.waiting), (2, 1, 0));
    tell(&webhooks, "tea", 9);
    assert_eq!(webhooks.stats().dropped, 1, "too late");

    let receiver = Receiver::always(Does::Hangs);
    let webhooks = self::webhooks(&[&receiver]);
    (0..10).for_each(|n| tell(&webhooks, "tea", n));
    let begun = Instant::now();
    webhooks.close(Duration::from_secs(4)).await;
    assert_eq!(begun.elapsed().as_secs(), 4);
    let stats = webhooks.stats();
    assert_eq!((stats.failed + stats.dropped, stats.waiting), (10, 0), "{stats:?}");
}

#[tokio::test(start_paused = true)]
async fn only_what_is_asked_for_is_told() {
    let receiver = Receiver::told([]);
    let carrier: Arc<dyn Carrier> = Arc::new(To(Arc::clone(&receiver)));
    let webhooks = Webhooks::with(vec![carrier], vec!["peer.left"], None);
    assert!(webhooks.wants("peer.left") && !webhooks.wants("peer.joined"));
    tell(&webhooks, "tea", 1);
    webhooks.tell("tea", "peer.left", json!({ "n": 2 }));
    settled(&webhooks).await;
    assert_eq!(receiver.numbers(), [2]);
    assert!(!Webhooks::none().wants("peer.left"));
    tell(&Webhooks::none(), "tea", 1);
    assert_eq!(Webhooks::none().stats(), Stats::default());
}

const ASK: JoinAsk<'static> =
    JoinAsk { room: "tea", kind: "call", user: Some("ada"), name: None, address: None, dialect: "native" };

fn gate(receiver: &Arc<Receiver>, asking: usize, places: usize) -> Webhooks {
    let gatekeeper = Gatekeeper {
        carrier: Box::new(To(Arc::clone(receiver))),
        patience: Duration::from_secs(2),
        asking: Semaphore::new(asking),
        places: Semaphore::new(places),
        failing: AtomicBool::default(),
    };
    Webhooks::with(Vec::new(), Vec::new(), Some(gatekeeper))
}

#[tokio::test(start_paused = true)]
async fn who_may_join_is_the_receivers_word() {
    let yes = Arc::new(Receiver { answer: r#"{"allow":true}"#, ..Receiver::default() });
    let webhooks = gate(&yes, 2, 2);
    assert!(webhooks.asks());
    assert_eq!(webhooks.may_join(&ASK).await, Decision::Allowed { name: None, role: None });
    let asked = yes.got.lock().unwrap()[0].1.clone();
    assert_eq!(
        (&asked["type"], &asked["room"], &asked["user"], &asked["name"]),
        (&json!("join"), &json!("tea"), &json!("ada"), &Value::Null)
    );
    let no = Arc::new(Receiver { answer: r#"{"allow":false}"#, ..Receiver::default() });
    let webhooks = gate(&no, 2, 2);
    assert!(matches!(webhooks.may_join(&ASK).await, Decision::Denied { .. }));
    assert_eq!(webhooks.stats().joins, [0, 1, 0]);
    assert!(!Webhooks::none().asks());
    assert!(matches!(Webhooks::none().may_join(&ASK).await, Decision::Allowed { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_question_nobody_answers_is_a_no_in_time_and_only_so_many_are_asked_at_once() {
    let receiver = Receiver::always(Does::Hangs);
    let webhooks = gate(&receiver, 2, 5);
    let begun = Instant::now();
    let (all_done, done) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    for _ in 0..20 {
        let (webhooks, all_done, done) = (webhooks.clone(), Arc::clone(&all_done), Arc::clone(&done));
        tokio::spawn(async move {
            assert_eq!(webhooks.may_join(&ASK).await, Decision::Unreachable);
            if done.fetch_add(1, Relaxed) + 1 == 20 {
                all_done.notify_one();
            }
        });
    }
    all_done.notified().await;
    assert_eq!(begun.elapsed().as_secs(), 2);
    assert_eq!(receiver.most_at_work.load(Relaxed), 2);
    assert_eq!(webhooks.stats().joins, [0, 0, 20]);
}
