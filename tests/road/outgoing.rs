//! What leaves: in order, numbered without gaps, with the context of what caused it.

use std::time::Duration;

use knarr_model::work::{Addressing, Outgoing};
use knarr_model::{Envelope, HeaderValue};

use crate::kit::{
    Act, Answer, Cried, Go, Phase, Reply, Road, Told, ask, cry, errand, fails_first, id, respond,
    send, set, tell,
};

const SECOND: Duration = Duration::from_secs(1);

fn number(outgoing: &Outgoing) -> (u32, i64) {
    let text = outgoing.headers.text("Knarr-Sequence").expect("it is numbered");
    let (run, n) = text.split_once(',').expect("run,n");
    (run.parse().expect("a number"), n.parse().expect("a number"))
}

#[tokio::test(start_paused = true)]
async fn messages_of_an_instance_leave_in_order_and_are_numbered_without_gaps() {
    let mut road = Road::with(errand()).start();
    road.outside().script("x", [Answer::Hang]);
    let tick = Act::OnTimer(vec![cry("tick"), tell("tock")]);
    road.begin(1, vec![tell("a"), cry("b"), set("one", 1_500), tick, ask("x")]);
    for k in 0..300 {
        let end = Act::OnEnd(vec![tell("answered")]);
        road.go(1, k, vec![send("queue:q", "c"), tell("d"), end]);
    }
    road.pass_and_settle(2 * SECOND).await;
    road.stop(0).await;
    road.join();
    road.go(1, 400, vec![tell("e")]);
    road.pass_and_settle(5 * SECOND).await;
    let sent = road.broker().sent();
    let numbers: Vec<_> = sent.iter().map(|sent| number(&sent.outgoing)).collect();
    let expected: Vec<_> = (1..=2 + 600 + 2 + 1 + 1).map(|n| (1, n)).collect();
    assert_eq!(numbers, expected);
    for sent in &sent {
        let sequence = sent.outgoing.sequence.expect("it is of an instance");
        assert_eq!((sequence.instance.0, sequence.run), (id(1), 1));
    }
    let told = road.published::<Told>();
    assert_eq!(told.last().expect("many").what, "answered");
}

#[tokio::test(start_paused = true)]
async fn mt_302_addresses_say_where_a_message_goes_and_whether_a_return_matters() {
    let mut road = Road::with(errand()).start();
    let script =
        vec![tell("a"), send("queue:q", "b"), send("exchange:Some:Where", "c"), respond("d")];
    let mut go = road.envelope(&Go { correlation_id: id(1), n: 1, script });
    go.response_address = Some("rabbitmq://here/asker".to_owned());
    go.request_id = Some(id(9));
    road.begin(1, vec![]);
    road.post(&go);
    road.settle().await;
    let sent = road.sent::<Told>();
    let exchanges: Vec<_> = sent.iter().map(|(sent, _)| sent.outgoing.exchange.as_str()).collect();
    assert_eq!(exchanges, ["Road:Told", "q", "Some:Where", "asker"]);
    let mandatory: Vec<_> = sent.iter().map(|(sent, _)| sent.outgoing.is_mandatory()).collect();
    assert_eq!(mandatory, [false, true, true, true]);
    assert_eq!(sent[3].0.outgoing.addressing, Addressing::Answer);
    let requests: Vec<_> = sent.iter().map(|(_, envelope)| envelope.request_id).collect();
    assert_eq!(requests, [None, None, None, Some(id(9))]);
    for (_, envelope) in &sent {
        assert_eq!(envelope.source_address.as_deref(), Some("rabbitmq://here/errand"));
        assert_eq!(envelope.correlation_id, Some(id(1)));
    }
    assert_eq!(sent[1].1.destination_address.as_deref(), Some("rabbitmq://here/q"));
}

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A message that carries everything that travels on, and something that does not.
fn laden(road: &mut Road, script: Vec<Act>) -> Envelope {
    let mut go = road.envelope(&Go { correlation_id: id(1), n: 1, script });
    go.conversation_id = Some(id(70));
    go.correlation_id = Some(id(71));
    go.request_id = Some(id(72));
    go.headers.set("Tenant", "north");
    go.headers.set("Weight", HeaderValue::I64(1 << 40));
    go.headers.set("MT-Fault-Message", "not for others");
    go.headers.set("x-death", "nor this");
    go.headers.set("traceparent", PARENT);
    go.headers.set("tracestate", "vendor=1");
    go.headers.set("baggage", "customer=7");
    go
}

fn assert_laden(what: &str, (sent, envelope): &(crate::kit::Sent, Envelope)) {
    assert_eq!(envelope.conversation_id, Some(id(70)), "{what}");
    assert_eq!(envelope.initiator_id, Some(id(71)), "{what}");
    assert_eq!(envelope.request_id, None, "{what}");
    let header = |name: &str| sent.outgoing.headers.text(name);
    assert_eq!(header("Tenant").as_deref(), Some("north"), "{what}");
    assert_eq!(envelope.headers.get("Weight"), Some(&HeaderValue::I64(1 << 40)), "{what}");
    assert_eq!(header("MT-Fault-Message"), None, "{what}");
    assert_eq!(header("x-death"), None, "{what}");
    assert_eq!(header("traceparent").as_deref(), Some(PARENT), "{what}");
    assert_eq!(header("tracestate").as_deref(), Some("vendor=1"), "{what}");
    assert_eq!(header("baggage").as_deref(), Some("customer=7"), "{what}");
}

#[tokio::test(start_paused = true)]
async fn b10_mt_238_context_and_baggage_travel_on_although_the_message_waited() {
    let mut road = Road::with(errand()).start();
    road.begin(1, vec![]);
    // The outbox holds it back first.
    road.broker().reply("Road:Told", Reply::NotTaken, 3);
    let go = laden(&mut road, vec![tell("at once")]);
    road.post(&go);
    road.pass_and_settle(5 * SECOND).await;
    assert_laden("at once", &road.sent::<Told>()[0]);
}

#[tokio::test(start_paused = true)]
async fn b10_context_travels_through_timers_calls_retries_and_deferral() {
    let mut road = Road::with(errand()).start();
    road.begin(1, vec![]);
    road.settle().await;
    let script = vec![
        fails_first("go", 1),
        set("one", 2_000),
        Act::OnTimer(vec![tell("after a timer")]),
        ask("x"),
        Act::OnEnd(vec![tell("after a call")]),
        tell("after a retry"),
    ];
    let go = laden(&mut road, script);
    road.post(&go);
    road.pass_and_settle(SECOND / 2).await;
    road.crash(0);
    road.join();
    road.pass_and_settle(20 * SECOND).await;
    let mut sent = road.sent::<Told>();
    sent.sort_by_key(|(sent, _)| number(&sent.outgoing));
    assert_eq!(sent.len(), 3);
    for (what, sent) in ["after a retry", "after a call", "after a timer"].iter().zip(&sent) {
        assert!(sent.1.message.get().contains(what), "{}", sent.1.message.get());
        assert_laden(what, sent);
    }
}

#[tokio::test(start_paused = true)]
async fn b10_a_first_message_begins_the_conversation_and_raw_json_hands_no_headers_on() {
    let mut road = Road::with(errand()).start();
    let mut begin = road.envelope(&crate::kit::Begin {
        correlation_id: id(1),
        script: vec![tell("a"), Act::Move(Phase::Busy)],
    });
    begin.correlation_id = None;
    begin.request_id = Some(id(8));
    begin.propagates_headers = false;
    begin.headers.set("Tenant", "north");
    road.post(&begin);
    road.settle().await;
    let (sent, envelope) = &road.sent::<Told>()[0];
    assert_eq!(envelope.conversation_id, Some(begin.message_id.0));
    assert_eq!(envelope.initiator_id, Some(id(8)));
    assert_eq!(sent.outgoing.headers.text("Tenant"), None);
}

#[tokio::test(start_paused = true)]
async fn a_message_past_its_life_is_not_published_any_more() {
    let mut road = Road::with(errand()).start();
    road.broker().reply("Road:Told", Reply::NotTaken, usize::MAX);
    road.begin(1, vec![Act::TellFor("soon stale".to_owned(), 4_000), cry("still good")]);
    road.pass(6 * SECOND).await;
    road.broker().heal("Road:Told");
    road.pass_and_settle(10 * SECOND).await;
    assert!(road.published::<Told>().is_empty());
    assert_eq!(road.published::<Cried>().len(), 1);
    assert!(road.rows(|rows| rows.outbox.is_empty()), "its chunk is finished all the same");
    assert_eq!(road.unpublished(0), 0);
    // In time it leaves, and says how long it is of use.
    road.go(1, 1, vec![Act::TellFor("fresh".to_owned(), 4_000)]);
    road.settle().await;
    let (sent, envelope) = &road.sent::<Told>()[0];
    assert_eq!(sent.outgoing.expires_at, envelope.expiration_time);
    assert!(envelope.expiration_time.is_some());
}

#[tokio::test(start_paused = true)]
async fn deciding_again_gives_the_same_ids() {
    // Once without trouble, once with a commit that fails and is decided again: the same messages.
    let mut ids = Vec::new();
    for trouble in [false, true] {
        let mut road = Road::with(errand()).start();
        road.settle().await;
        if trouble {
            road.door(0).plan(crate::kit::Op::Commit, [crate::kit::Fault::Fail; 3]);
        }
        road.begin(1, vec![tell("a"), cry("b"), tell("c")]);
        road.pass_and_settle(5 * SECOND).await;
        let sent = road.broker().sent();
        ids.push(sent.iter().map(|sent| sent.outgoing.id).collect::<Vec<_>>());
    }
    assert_eq!(ids[0].len(), 3);
    assert_eq!(ids[0], ids[1]);
}

#[tokio::test(start_paused = true)]
async fn mt_230_a_routing_key_survives_the_outbox() {
    let mut road = Road::with(errand()).start();
    road.settle().await;
    road.broker().reply("Road:Told", Reply::NotTaken, 1);
    let by = |what: &str, key: &str| Act::TellBy(what.to_owned(), key.to_owned());
    road.begin(1, vec![by("a", "alpha"), by("b", "beta"), tell("c")]);
    // Another node sends what this one had in hand.
    road.pass(Duration::from_millis(4)).await;
    road.crash(0);
    road.join();
    road.pass_and_settle(30 * SECOND).await;
    let mut keys: Vec<_> = road
        .sent::<Told>()
        .into_iter()
        .map(|(sent, _)| (sent.outgoing.sequence.map(|s| s.n), sent.outgoing.routing_key))
        .collect();
    keys.sort();
    keys.dedup();
    let expected = [(1, "alpha"), (2, "beta"), (3, "")];
    assert_eq!(keys, expected.map(|(n, key)| (Some(n), key.to_owned())));
}
