//! Traces: everything that a message causes stands in its trace, whatever it waited for in between.

use std::time::Duration;

use knarr_model::trace::{Span, SpanKind};
use knarr_model::work::Outgoing;
use knarr_model::{Class, Envelope, TraceParent};

use crate::kit::{
    Act, Begin, Go, Reply, Road, Told, ask, attribute, errand, fails, fails_first, id, set, tell,
};

const SECOND: Duration = Duration::from_secs(1);
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn parent() -> TraceParent {
    PARENT.parse().expect("valid")
}

fn begin(road: &mut Road, script: Vec<Act>) -> Envelope {
    let mut begin = road.envelope(&Begin { correlation_id: id(1), script });
    begin.conversation_id = Some(id(70));
    begin
}

/// The span that a message on the wire says it comes from, for both kinds of readers.
fn said(outgoing: &Outgoing) -> TraceParent {
    let text = outgoing.headers.text("traceparent").expect("it has one");
    assert_eq!(outgoing.headers.text("MT-Activity-Id").as_deref(), Some(text.as_str()));
    text.parse().expect("valid")
}

fn assert_under(what: &str, span: &Span, parent: TraceParent) {
    assert_eq!(span.parent, Some(parent), "{what}");
    assert_eq!(span.place.trace, parent.trace, "{what}");
    assert!(span.ended >= span.began, "{what}");
}

#[tokio::test(start_paused = true)]
async fn mt_369_what_a_message_causes_stands_in_its_trace_also_after_a_crash() {
    let mut road = Road::with(errand()).traced().start();
    let script = vec![
        tell("at once"),
        set("one", 2_000),
        Act::OnTimer(vec![tell("after a timer")]),
        ask("x"),
        Act::OnEnd(vec![tell("after a call")]),
    ];
    // What is asked for is only in the store when the process dies, also the message.
    road.broker().reply("Road:Told", Reply::NotTaken, 1);
    let mut first = begin(&mut road, script);
    first.headers.set("traceparent", PARENT);
    first.headers.set("tracestate", "vendor=1");
    road.post(&first);
    while road.tracer().named("process errand").is_empty() {
        road.pass(Duration::from_millis(1)).await;
    }
    road.crash(0);
    road.join();
    road.pass_and_settle(40 * SECOND).await;

    let tracer = road.tracer();
    let process = tracer.one("process errand");
    assert_under("process", &process, parent());
    assert_eq!(process.kind, SpanKind::Consumer);
    assert_eq!(process.state.as_deref(), Some("vendor=1"));
    let timer = tracer.one("timer one");
    assert_under("timer", &timer, process.place);
    let call = tracer.named("call Ask").pop().expect("it was tried");
    assert_under("call", &call, process.place);
    let end = tracer.one("done Ask");
    assert_under("end", &end, process.place);
    assert_eq!(attribute(&end, "knarr.call.id"), attribute(&call, "knarr.call.id"));
    let tried = road.outside().tried("x").pop().expect("it was tried");
    assert_eq!(tried.within, Some(call.place), "what the activity does is done within its span");

    let told = road.sent::<Told>();
    let by = |what: &str| {
        let of = |told: &&(_, Envelope)| told.1.message.get().contains(what);
        said(&told.iter().find(of).expect(what).0.outgoing)
    };
    assert_eq!(by("at once"), process.place);
    assert_eq!(by("after a timer"), timer.place);
    assert_eq!(by("after a call"), end.place);
    for span in tracer.named("send Road:Told") {
        let makers = [process.place, timer.place, end.place];
        assert!(makers.iter().any(|maker| span.parent == Some(*maker)), "{span:?}");
        assert_eq!(span.kind, SpanKind::Producer);
    }
    let refused = |span: &Span| attribute(span, "knarr.outcome") == "unknown";
    let sends = tracer.named("send Road:Told");
    assert!(sends.iter().any(|span| !refused(span) && span.error.is_none()), "{sends:?}");
}

#[tokio::test(start_paused = true)]
async fn mt_369_spans_tell_of_message_instance_and_states_under_the_conventions_names() {
    let mut road = Road::with(errand()).traced().start();
    let mut first = begin(&mut road, vec![tell("hello")]);
    first.headers.set("MT-Activity-Id", PARENT);
    let message = road.post(&first);
    road.settle().await;
    let tracer = road.tracer();
    let process = tracer.one("process errand");
    assert_under("MassTransit's header is read", &process, parent());
    let message = message.to_string();
    let (conversation, instance) = (id(70).to_string(), id(1).to_string());
    for (name, expected) in [
        ("messaging.system", "rabbitmq"),
        ("messaging.operation.type", "process"),
        ("messaging.operation.name", "process"),
        ("messaging.destination.name", "from-the-test:somewhere:errand"),
        ("messaging.rabbitmq.destination.routing_key", "somewhere"),
        ("messaging.message.id", message.as_str()),
        ("messaging.message.conversation_id", conversation.as_str()),
        ("knarr.endpoint", "errand"),
        ("knarr.saga", "errand"),
        ("knarr.instance.id", instance.as_str()),
        ("knarr.run", "1"),
        ("knarr.event", "Road:Begin"),
        ("knarr.state.from", "Initial"),
        ("knarr.state.to", "Fresh"),
        ("knarr.outcome", "applied"),
        ("knarr.attempt", "1"),
    ] {
        assert_eq!(attribute(&process, name), expected, "{name}: {process:?}");
    }
    assert_eq!(process.error, None);
    let send = tracer.one("send Road:Told");
    let sent = &road.sent::<Told>()[0].0.outgoing;
    for (name, expected) in [
        ("messaging.system", "rabbitmq"),
        ("messaging.operation.type", "send"),
        ("messaging.destination.name", "Road:Told"),
        ("messaging.message.id", &sent.id.to_string()),
        ("knarr.instance.id", &instance),
        ("knarr.outcome", "confirmed"),
    ] {
        assert_eq!(attribute(&send, name), expected, "{name}: {send:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn messages_that_were_decided_together_are_linked_to_their_batch_and_back() {
    let mut road = Road::with(errand()).traced().pace(SECOND).start();
    road.begin(1, vec![]);
    road.pass(SECOND / 2).await;
    for k in 0..5 {
        road.go(1, k, vec![]);
    }
    road.settle().await;
    let batches = road.tracer().named("batch errand");
    assert_eq!(batches.len(), 2, "the first alone, then all that had come meanwhile");
    let all = road.tracer().named("process errand");
    let places: Vec<_> = all[1..].iter().map(|span| span.place).collect();
    assert_eq!(batches[1].links, places);
    assert!(all[1..].iter().all(|span| span.links == [batches[1].place]), "{all:?}");
    assert_eq!(attribute(&batches[1], "messaging.batch.message_count"), "5");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_begins_a_trace_goes_on_in_it_after_it_has_waited() {
    let mut road = Road::with(errand()).traced().start();
    road.begin(1, vec![]);
    road.settle().await;
    road.go(1, 1, vec![fails_first("go", 1), tell("at last")]);
    road.pass_and_settle(10 * SECOND).await;
    let all = road.tracer().named("process errand");
    let [begin, failed, worked] = &all[..] else { panic!("{all:?}") };
    assert_ne!(begin.place.trace, failed.place.trace, "two messages, two traces");
    assert_eq!((failed.parent, attribute(failed, "knarr.outcome").as_str()), (None, "failed"));
    assert!(failed.error.is_some());
    assert_under("the second try", worked, failed.place);
    assert_eq!(attribute(worked, "knarr.outcome"), "applied");
    assert_eq!(attribute(worked, "knarr.attempt"), "2");
    assert_eq!(said(&road.sent::<Told>()[0].0.outgoing), worked.place);
}

#[tokio::test(start_paused = true)]
async fn a_trace_that_its_sender_does_not_keep_is_handed_on_and_not_told() {
    let mut road = Road::with(errand()).traced().start();
    let dropped = PARENT.replace("-01", "-00");
    let mut first = begin(&mut road, vec![tell("hello"), ask("x")]);
    first.headers.set("traceparent", dropped.as_str());
    road.post(&first);
    road.settle().await;
    assert_eq!(road.tracer().all(), []);
    assert_eq!(said(&road.sent::<Told>()[0].0.outgoing).to_string(), dropped);
    let within = road.outside().tried("x")[0].within.expect("it is handed on");
    assert_eq!(within.to_string(), dropped);
}

#[tokio::test(start_paused = true)]
async fn where_nobody_takes_spans_calls_still_know_their_trace() {
    let mut road = Road::with(errand()).start();
    let mut first = begin(&mut road, vec![ask("x")]);
    first.headers.set("traceparent", PARENT);
    road.post(&first);
    road.begin(2, vec![ask("y")]);
    road.settle().await;
    assert_eq!(road.outside().tried("x")[0].within, Some(parent()));
    assert_eq!(road.outside().tried("y")[0].within, None);
}

#[tokio::test(start_paused = true)]
async fn failures_are_spans_with_an_error_and_their_faults_stand_in_the_trace() {
    let mut road = Road::with(errand()).traced().start();
    road.begin(1, vec![]);
    road.settle().await;
    let mut go = road.envelope(&Go { correlation_id: id(1), n: 1, script: vec![fails("no")] });
    go.headers.set("traceparent", PARENT);
    go.fault_address = Some("queue:faults".to_owned());
    road.post(&go);
    road.post_unreadable(b"<html>", Class::Undecodable);
    road.pass_and_settle(120 * SECOND).await;
    let ended: Vec<_> = road.tracer().named("process errand");
    let contained = ended.iter().find(|span| attribute(span, "knarr.outcome") == "contained");
    let contained = contained.expect("the run failed for good");
    assert_eq!(contained.place.trace, parent().trace);
    assert!(contained.error.as_ref().is_some_and(|why| why.contains("no")), "{contained:?}");
    assert_eq!(attribute(contained, "knarr.state.to"), "Purged");
    let unreadable = ended.iter().find(|span| attribute(span, "knarr.outcome") == "quarantined");
    let unreadable = unreadable.expect("it was set aside");
    assert_eq!(attribute(unreadable, "error.type"), "undecodable");
    let sent = road.broker().sent();
    for (exchange, by) in [
        ("faults", contained),
        ("Knarr:IncidentOpened", contained),
        ("MassTransit:ReceiveFault", unreadable),
    ] {
        let of = |sent: &&crate::kit::Sent| sent.outgoing.exchange == exchange;
        let sent = sent.iter().find(of).unwrap_or_else(|| panic!("nothing to {exchange}"));
        assert_eq!(said(&sent.outgoing), by.place, "{exchange}");
    }
}
