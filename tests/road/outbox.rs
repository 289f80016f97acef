//! The outbox: nothing committed is lost, nothing dead holds up the living, and it has a bound.

use std::collections::BTreeMap;
use std::time::Duration;

use knarr_model::Class;
use knarr_model::ports::store::EndpointState;

use crate::kit::{
    Cried, Fault, Op, Reply, Road, Told, cry, errand, id, millis_between, send, tell,
};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn pe_090_an_unknown_destination_is_unroutable_and_the_others_are_served() {
    let mut road = Road::with(errand()).start();
    road.broker().reply("gone", Reply::Returned, usize::MAX);
    let begin = road.begin(1, vec![tell("a"), send("queue:gone", "b"), tell("c")]);
    road.settle().await;
    let told: Vec<_> = road.published::<Told>().into_iter().map(|told| told.what).collect();
    assert_eq!(told, ["a", "c"]);
    let rows = road.quarantine();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].class, Class::Unroutable);
    assert_ne!(rows[0].message_id, begin, "it is the message that left, not the one that came");
    assert!(rows[0].reason.contains("gone") && rows[0].reason.contains("NO_ROUTE"));
    assert_eq!(rows[0].instance.map(|id| id.0), Some(id(1)));
    let body: serde_json::Value = serde_json::from_slice(&rows[0].body).expect("an envelope");
    assert_eq!(body["message"]["what"], "b");
    assert_eq!(road.broker().tried("gone"), 1);
    assert_eq!(road.counters(0).unroutable.get(), 1);
    assert_eq!(road.unpublished(0), 0);
    assert_eq!(road.state(id(1)), "Fresh", "the run is untouched");
}

#[tokio::test(start_paused = true)]
async fn pe_091_an_impossible_message_is_set_aside_once() {
    let mut road = Road::with(errand()).start();
    road.settle().await;
    road.broker().reply("Road:Cried", Reply::Impossible, usize::MAX);
    // Setting it aside fails at first; that is no reason to forget it.
    road.door(0).plan(Op::Outbox, [Fault::Fail]);
    road.begin(1, vec![cry("too large"), tell("fine")]);
    road.pass_and_settle(10 * SECOND).await;
    let tried = road.broker().tried("Road:Cried");
    road.stop(0).await;
    road.join();
    road.pass_and_settle(3600 * SECOND).await;
    assert_eq!(road.broker().tried("Road:Cried"), tried, "no sweep sends it again");
    let rows = road.quarantine();
    assert_eq!(rows.len(), 1);
    assert!(rows[0].reason.contains("larger than a frame"), "{}", rows[0].reason);
    assert!(road.published::<Cried>().is_empty());
    assert_eq!(road.published::<Told>().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn pe_093_a_dead_destination_waits_alone_and_keeps_the_order_of_its_instances() {
    // One lane: both instances share a way out.
    let mut road = Road::with(errand()).settings(|s| s.lanes = 1).start();
    road.begin(1, vec![tell("1")]);
    road.begin(2, vec![]);
    road.settle().await;
    road.broker().reply("Road:Cried", Reply::NotTaken, usize::MAX);
    road.go(1, 0, vec![cry("2")]);
    road.pass(Duration::from_millis(20)).await;
    // All the while other things are said, at times that fall on its retries as well.
    for k in 3..=150 {
        road.go(1, k, vec![tell(&k.to_string())]);
        road.go(2, k, vec![tell("other")]);
        let before = road.now();
        road.pass(Duration::from_millis(37)).await;
        let others = road.sent::<Told>().into_iter().rev().find(|(sent, _)| {
            sent.outgoing.sequence.is_some_and(|sequence| sequence.instance.0 == id(2))
        });
        let (last, _) = others.expect("the other instance is served");
        assert!(millis_between(before, last.at) >= 0, "it had to wait at {k}");
    }
    road.broker().heal("Road:Cried");
    road.pass_and_settle(20 * SECOND).await;
    let numbers: Vec<_> = road
        .broker()
        .sent()
        .iter()
        .filter_map(|sent| sent.outgoing.sequence)
        .filter(|sequence| sequence.instance.0 == id(1))
        .map(|sequence| sequence.n)
        .collect();
    assert_eq!(numbers, (1..=150).collect::<Vec<_>>());
    assert!(road.rows(|rows| rows.outbox.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn pe_095_a_full_outbox_stops_intake_and_says_so() {
    let mut road = Road::with(errand()).settings(|s| s.outbox_cap = 50).start();
    road.settle().await;
    road.broker().reply("Road:Told", Reply::NotTaken, usize::MAX);
    for n in 1..=20 {
        road.begin(n, vec![tell("x"); 10]);
        road.pass(2 * SECOND).await;
    }
    let unpublished = road.unpublished(0);
    assert!((50..=80).contains(&unpublished), "{unpublished} wait");
    let (ready, held) = road.broker().depth("errand");
    assert!(ready + held >= 12, "{ready} ready, {held} in hand");
    assert!(held <= 4, "what cannot be taken in is left at the broker");
    let health = road.health(0);
    assert!(health.unready.iter().any(|why| why.contains("outbox")), "{health:?}");
    let state = road.rows(|rows| rows.endpoint["errand"].state);
    assert_eq!(state, EndpointState::Open);
    road.broker().heal("Road:Told");
    road.pass_and_settle(60 * SECOND).await;
    assert_eq!(road.published::<Told>().len(), 200);
    assert!(road.health(0).unready.is_empty(), "{:?}", road.health(0));
}

#[tokio::test(start_paused = true)]
async fn pe_102_a_successor_resends_a_half_confirmed_chunk_under_the_same_ids() {
    let mut road = Road::with(errand()).start();
    road.settle().await;
    road.broker().stall_after(Some(100));
    road.begin(1, vec![tell("x"); 256]);
    road.pass(SECOND).await;
    assert_eq!(road.published::<Told>().len(), 100);
    assert_eq!(road.rows(|rows| rows.outbox.len()), 1);
    let lease_end = road.lease_end(0);
    road.crash(0);
    road.broker().stall_after(None);
    road.join();
    road.pass_and_settle(30 * SECOND).await;
    let mut copies: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for sent in road.broker().sent() {
        let sequence = sent.outgoing.sequence.expect("it is of an instance");
        let header = sent.outgoing.headers.text("Knarr-Sequence");
        assert_eq!(header, Some(format!("1,{}", sequence.n)));
        copies.entry(sequence).or_default().push(sent);
    }
    assert_eq!(copies.len(), 256);
    for copies in copies.values() {
        assert!(copies.len() <= 2);
        assert!(copies.iter().all(|sent| sent.outgoing.id == copies[0].outgoing.id));
        assert!(copies.iter().all(|sent| sent.outgoing.body == copies[0].outgoing.body));
        let again = copies.last().expect("at least one");
        assert!(again.at >= lease_end, "published again before the lease ended");
    }
    assert!(road.rows(|rows| rows.outbox.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn mt_229_a_failed_publish_is_repeated_and_the_step_is_not() {
    let mut road = Road::with(errand()).start();
    road.settle().await;
    road.broker().reply("Road:Told", Reply::NotTaken, 2);
    let begin = road.begin(1, vec![tell("a")]);
    road.pass_and_settle(10 * SECOND).await;
    assert_eq!(road.published::<Told>().len(), 1);
    assert_eq!(road.broker().tried("Road:Told"), 3);
    // A confirm that is lost costs a copy under the same id, nothing else.
    road.broker().reply("Road:Cried", Reply::ConfirmLost, 1);
    let go = road.go(1, 1, vec![cry("b")]);
    road.pass_and_settle(10 * SECOND).await;
    let copies = road.sent::<Cried>();
    assert_eq!(copies.len(), 2);
    assert_eq!(copies[0].0.outgoing.id, copies[1].0.outgoing.id);
    for message in [begin, go] {
        assert_eq!(road.watch().times(message).len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_that_says_more_than_a_chunk_holds_loses_nothing() {
    let mut road = Road::with(errand()).start();
    road.begin(1, vec![tell("x"); 700]);
    road.settle().await;
    let numbers: Vec<_> = road
        .broker()
        .sent()
        .iter()
        .filter_map(|sent| sent.outgoing.sequence)
        .map(|s| s.n)
        .collect();
    assert_eq!(numbers, (1..=700).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn rows_that_cannot_be_struck_off_yet_are_not_published_again() {
    let mut road = Road::with(errand()).start();
    road.settle().await;
    road.door(0).plan(Op::Outbox, [Fault::Fail, Fault::LoseAnswer, Fault::Fail]);
    road.begin(1, vec![tell("a")]);
    road.pass_and_settle(20 * SECOND).await;
    assert_eq!(road.published::<Told>().len(), 1);
    assert!(road.rows(|rows| rows.outbox.is_empty()));
}
